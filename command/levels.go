package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tidemark/api"
	"tidemark/config"
	"tidemark/levels"
	"tidemark/repository"
	"tidemark/service"
)

func (in *invocation) levelsCommand() *cobra.Command {
	var out output
	var at, explain, interval string
	cmd := &cobra.Command{
		Use:   "levels SYMBOL",
		Short: "Print the stored levels of one pair",
		Long: `Print the stored levels of one pair. With several intervals (--interval 1h,4h,1d) the
column "also at" names the others that have a level within a quarter of the ATR of the
shorter interval. Such levels hold no more often than others at their distance:
docs/levels-research.md has the figures.`,
		Args: onePair,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			cfg, name, err := in.pair(cmd, args)
			if err != nil {
				return err
			}
			intervals := []levels.Interval{cfg.AnalysisInterval}
			if interval != "" {
				if intervals, err = api.ParseIntervals(interval); err != nil {
					return config.Usage(fmt.Errorf("--interval: %w", err))
				}
				cfg.AnalysisInterval = intervals[0]
			}
			if len(intervals) > 1 && explain != "" {
				return config.Usage(errors.New("--explain is about a level of one interval"))
			}
			var moment time.Time
			if at != "" {
				moment, err = time.Parse(time.RFC3339, at)
				if err != nil {
					return config.Usage(fmt.Errorf("--at: %q is not a time such as 2026-11-22T19:00:00Z", at))
				}
			}
			if explain != "" {
				if out.csv {
					return config.Usage(errors.New("--explain and --csv exclude each other"))
				}
				level, err := parseLevel(explain)
				if err != nil {
					return err
				}
				if err := in.needDatabase(cmd.Context(), cfg); err != nil {
					return err
				}
				return in.explain(cmd.Context(), cfg, name, moment, level, out)
			}
			db, err := in.openStored(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, db.Close()) }()
			if len(intervals) > 1 {
				stored, err := storedIntervals(cmd.Context(), db, cfg, name, intervals, moment)
				if err != nil {
					return err
				}
				return out.printIntervals(newScreen(in.stdout, in.environ), stored, cfg)
			}
			snap, err := storedAnalysis(cmd.Context(), db, cfg, name, moment)
			if err != nil {
				return err
			}
			return out.print(newScreen(in.stdout, in.environ), snap, time.Now(), cfg)
		},
	}
	out.flags(cmd)
	cmd.Flags().StringVar(&at, "at", "", "print the analysis as of this time (RFC 3339), not the newest")
	cmd.Flags().StringVar(&explain, "explain", "", "explain this level: its name (R1, S2) or id")
	cmd.Flags().StringVar(&interval, "interval", "", "print this interval, or several separated by commas (default ANALYSIS_INTERVAL)")
	config.AddFlags(cmd.Flags())
	return cmd
}

// storedIntervals reads the analyses of a pair on several intervals. Its error says so if
// there is none at all.
func storedIntervals(ctx context.Context, db *repository.DB, cfg config.Config, name service.Spelling, intervals []levels.Interval, at time.Time) (*api.Intervals, error) {
	key, err := storedPair(ctx, db, cfg, name)
	if err != nil {
		return nil, err
	}
	stored := &api.Intervals{Key: key, Intervals: intervals, Snapshots: make([]service.Snapshot, len(intervals)), Missing: make([]error, len(intervals))}
	found := false
	for i := range intervals {
		key.Interval = intervals[i]
		snap, err := db.Snapshot(ctx, key, at)
		switch {
		case errors.Is(err, service.ErrNotAnalyzed):
			stored.Missing[i] = err
		case err != nil:
			return nil, err
		default:
			stored.Snapshots[i], found = snap, true
		}
	}
	if !found {
		return nil, fmt.Errorf("%s %s has not been analysed on any of these intervals; run `tidemark analyze %s`", key.Exchange, key.Symbol, key.Symbol)
	}
	return stored, nil
}

// storedAnalysis reads the analysis of a pair as of a time; zero means the newest.
func storedAnalysis(ctx context.Context, db *repository.DB, cfg config.Config, name service.Spelling, at time.Time) (service.Snapshot, error) {
	key, err := storedPair(ctx, db, cfg, name)
	if err != nil {
		return service.Snapshot{}, err
	}
	snap, err := db.Snapshot(ctx, key, at)
	if errors.Is(err, service.ErrNotAnalyzed) && !at.IsZero() {
		if _, newest := db.Snapshot(ctx, key, time.Time{}); newest == nil {
			return snap, fmt.Errorf("no analysis of %s %s %s as of %s or earlier is stored", key.Exchange, key.Symbol, key.Interval, at.UTC().Format(time.RFC3339))
		}
	}
	if errors.Is(err, service.ErrNotAnalyzed) {
		return snap, fmt.Errorf("%s %s %s has not been analysed; run `tidemark analyze %s`", key.Exchange, key.Symbol, key.Interval, key.Symbol)
	}
	return snap, err
}

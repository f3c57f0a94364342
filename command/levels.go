package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tidemark/config"
	"tidemark/repository"
	"tidemark/service"
)

func (in *invocation) levelsCommand() *cobra.Command {
	var out output
	var at, explain string
	cmd := &cobra.Command{
		Use:   "levels SYMBOL",
		Short: "Print the stored levels of one pair",
		Args:  onePair,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			cfg, name, err := in.pair(cmd, args)
			if err != nil {
				return err
			}
			var moment time.Time
			if at != "" {
				moment, err = time.Parse(time.RFC3339, at)
				if err != nil {
					return config.Usage(fmt.Errorf("--at: %q is not a time such as 2026-11-22T19:00:00Z", at))
				}
			}
			if explain != "" {
				if err := in.needDatabase(cmd.Context(), cfg); err != nil {
					return err
				}
				return in.explain(cmd.Context(), cfg, name, moment, explain, out)
			}
			db, err := in.openStored(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, db.Close()) }()
			snap, err := storedAnalysis(cmd.Context(), db, cfg, name, moment)
			if err != nil {
				return err
			}
			return out.print(newScreen(in.stdout, in.environ), snap, time.Now(), cfg)
		},
	}
	out.flags(cmd)
	cmd.Flags().StringVar(&at, "at", "", "print the analysis as of this time (RFC 3339), not the newest")
	cmd.Flags().StringVar(&explain, "explain", "", "explain the level with this id (--json prints ids)")
	config.AddFlags(cmd.Flags())
	return cmd
}

// storedAnalysis reads the analysis of a pair as of a time; zero means the newest.
func storedAnalysis(ctx context.Context, db *repository.DB, cfg config.Config, name service.Spelling, at time.Time) (service.Snapshot, error) {
	key, err := storedPair(ctx, db, cfg, name)
	if err != nil {
		return service.Snapshot{}, err
	}
	snap, err := db.Snapshot(ctx, key, at)
	if errors.Is(err, service.ErrNotAnalyzed) {
		return snap, fmt.Errorf("%s %s %s has not been analysed; run `tidemark analyze %s`", key.Exchange, key.Symbol, key.Interval, key.Symbol)
	}
	return snap, err
}

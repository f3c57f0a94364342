package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tidemark/api"
	"tidemark/levels"
	"tidemark/repository"
	"tidemark/service"
)

// output is how an analysis is printed.
type output struct{ json, csv bool }

func (o *output) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.json, "json", false, "print the analysis as the HTTP API would")
	cmd.Flags().BoolVar(&o.csv, "csv", false, "print one line a level, separated by commas")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if o.json && o.csv {
			return usageError{errors.New("--json and --csv exclude each other")}
		}
		return nil
	}
}

// pair loads the configuration for a command about one symbol.
func (in *invocation) pair(cmd *cobra.Command, args []string) (Config, string, error) {
	cfg, err := in.config(cmd)
	if err != nil {
		return Config{}, "", err
	}
	symbol, err := api.ParseSymbol(args[0])
	if err != nil {
		return Config{}, "", usageError{err}
	}
	return cfg, symbol, nil
}

// onePair refuses a command line that names no pair, or several.
func onePair(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("one pair must be named, not %d: %s BTCUSDT", len(args), cmd.CommandPath())
	}
	return nil
}

func (in *invocation) analyzeCommand() *cobra.Command {
	var out output
	var store bool
	cmd := &cobra.Command{
		Use:   "analyze SYMBOL",
		Short: "Analyse one pair now and print its levels",
		Args:  onePair,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			cfg, symbol, err := in.pair(cmd, args)
			if err != nil {
				return err
			}
			a, err := open(cmd.Context(), cfg, in.logger(quiet(cfg)))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, a.close()) }()
			snap, err := a.analyzer.Analyze(cmd.Context(), service.Request{Symbol: symbol, Store: store})
			if err != nil {
				return err
			}
			return out.print(newScreen(in.stdout, in.environ), snap)
		},
	}
	out.flags(cmd)
	cmd.Flags().BoolVar(&store, "store", true, "keep the analysis in the database")
	addConfigFlags(cmd.Flags())
	return cmd
}

func (in *invocation) levelsCommand() *cobra.Command {
	var out output
	var at, explain string
	cmd := &cobra.Command{
		Use:   "levels SYMBOL",
		Short: "Print the stored levels of one pair",
		Args:  onePair,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			cfg, symbol, err := in.pair(cmd, args)
			if err != nil {
				return err
			}
			var moment time.Time
			if at != "" {
				if moment, err = time.Parse(time.RFC3339, at); err != nil {
					return usageError{fmt.Errorf("--at: %q is not a time such as 2026-11-22T19:00:00Z", at)}
				}
			}
			if explain != "" {
				if err := in.needDatabase(cmd.Context(), cfg); err != nil {
					return err
				}
				return in.explain(cmd.Context(), cfg, symbol, moment, explain, out)
			}
			db, err := in.openStored(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, db.Close()) }()
			snap, err := storedAnalysis(cmd.Context(), db, cfg, symbol, moment)
			if err != nil {
				return err
			}
			return out.print(newScreen(in.stdout, in.environ), snap)
		},
	}
	out.flags(cmd)
	cmd.Flags().StringVar(&at, "at", "", "the analysis as of this moment (RFC 3339) instead of the newest")
	cmd.Flags().StringVar(&explain, "explain", "", "why the level with this id is there (ids are in --json)")
	addConfigFlags(cmd.Flags())
	return cmd
}

// openStored opens the database to read what is stored. It makes none.
func (in *invocation) openStored(ctx context.Context, cfg Config) (*repository.DB, error) {
	if err := in.needDatabase(ctx, cfg); err != nil {
		return nil, err
	}
	return openDatabase(ctx, budget{cfg: cfg}, in.logger(quiet(cfg)))
}

// needDatabase is an error where the database would have to be made first.
func (in *invocation) needDatabase(ctx context.Context, cfg Config) error {
	found, err := repository.Inspect(ctx, budget{cfg: cfg}.databaseConfig(in.logger(quiet(cfg))), cfg.address())
	if err == nil && found.New {
		err = fmt.Errorf("there is no database at %s; `tidemark sweep` makes one, or DATABASE_URL names another", found.File)
	}
	return err
}

// storedAnalysis reads the analysis of a pair as of a moment; zero means the newest.
func storedAnalysis(ctx context.Context, db *repository.DB, cfg Config, symbol string, at time.Time) (service.Snapshot, error) {
	key := service.Key{Exchange: cfg.Exchange, Symbol: symbol, Interval: cfg.AnalysisInterval}
	snap, err := db.Snapshot(ctx, key, at)
	if errors.Is(err, service.ErrNotAnalyzed) {
		return snap, fmt.Errorf("%s %s %s has not been analysed; `tidemark analyze %s` does it", key.Exchange, symbol, key.Interval, symbol)
	}
	return snap, err
}

// print writes an analysis: a table for people, JSON or CSV for programs.
func (o output) print(w screen, s service.Snapshot) error {
	switch {
	case o.json:
		_, err := w.Write(append(api.AppendAnalysis(nil, &s, time.Now()), '\n'))
		return err
	case o.csv:
		_, err := w.Write(api.AppendCSV(nil, &s, time.Now()))
		return err
	}
	return printTable(w, s, time.Now())
}

func percent(p float64) string { return fmt.Sprintf("%.0f %%", 100*p) }

func printTable(w screen, s service.Snapshot, now time.Time) error {
	price := func(p float64) string { return strconv.FormatFloat(p, 'f', s.Decimals, 64) }
	fmt.Fprintf(w, "%s%s as of %s: last price %s, ATR %s, %d klines, %d missing\n",
		w.simulated(s.Simulated), w.paint(bold, fmt.Sprintf("%s %s %s", s.Exchange, s.Symbol, s.Interval)), s.AsOf.Format("2006-01-02 15:04 UTC"),
		price(s.LastPrice), strconv.FormatFloat(s.ATR, 'g', 4, 64), s.Klines, s.Missing)
	if reason := api.StaleReason(&s, now); reason != "" {
		fmt.Fprintln(w, w.paint(warning, "STALE: "+reason))
	}
	var rows []row
	add := func(role levels.Role, l levels.Level) {
		last := "-"
		if l.Touches > 0 {
			last = time.UnixMilli(l.LastTouch).UTC().Format("2006-01-02 15:04")
		}
		touched, holds, baseline := "-", "-", "-"
		if l.NoOdds == levels.OddsKnown {
			touched, baseline = percent(l.TouchProbability), percent(l.BaselineHold)
			holds = fmt.Sprintf("%.0f–%.0f %%", 100*l.HoldInterval[0], 100*l.HoldInterval[1])
		}
		rows = append(rows, row{sideColour(role, l.HoldInterval[0], l.BaselineHold), []string{
			price(l.Price), price(l.Low) + "–" + price(l.High),
			fmt.Sprintf("%+.2f %%", 100*(l.Price-s.LastPrice)/s.LastPrice), fmt.Sprintf("%+.1f", (l.Price-s.LastPrice)/s.ATR),
			fmt.Sprintf("%.2f", l.Strength), touched, holds, baseline, strconv.Itoa(l.Touches), l.Status.String(), last,
			strings.Join(l.Sources.AppendNames(nil), "+"),
		}})
	}
	for i := len(s.Resistances) - 1; i >= 0; i-- {
		add(levels.Resistance, s.Resistances[i])
	}
	rows = append(rows, row{bold, []string{price(s.LastPrice), "← last price"}})
	for _, l := range s.Supports {
		add(levels.Support, l)
	}
	return w.table([]string{"price", "zone", "distance", "ATR", "strength", "touched", "holds", "any line", "touches", "status", "last touch", "sources"}, rows)
}

func (in *invocation) healthcheckCommand() *cobra.Command {
	var url string
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask a running service whether it is ready; exit code 0 if so",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := in.config(cmd)
			if err != nil {
				return err
			}
			if url == "" {
				url = "http://" + reachable(cfg.HTTPAddr) + "/readyz"
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
			defer cancel()
			return checkHealth(ctx, url)
		},
	}
	cmd.Flags().StringVar(&url, "url", "", "what to ask instead of /readyz at HTTP_ADDR")
	addConfigFlags(cmd.Flags())
	return cmd
}

// reachable is the address at which a service listening on addr answers from
// this machine.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

func checkHealth(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return usageError{err}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("not reachable: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(res.Body, 500))
		return fmt.Errorf("not ready: %s: %s", res.Status, body)
	}
	return nil
}

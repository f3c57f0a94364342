package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tidemark/app"
	"tidemark/config"
	"tidemark/levels"
	"tidemark/levels/evaluate"
	"tidemark/memory"
	"tidemark/service"
)

// evaluateFlags are the flags of evaluate without the configuration.
type evaluateFlags struct {
	klines, every int
	methods       []string
	seed          uint64
	split, pairs  string
	stored, json  bool
	html          string
	table         string
}

func (in *invocation) evaluateCommand() *cobra.Command {
	var flags evaluateFlags
	cmd := &cobra.Command{
		Use:   "evaluate [FOLDER]",
		Short: "Measure how often levels held, and whether more often than chance",
		Long: `Walk forward over candles: at each moment find levels in the candles known at that
time, and judge them and artificial levels by the candles that follow. evaluate prints
the lift over chance with its interval, for the levels of tidemark and of other
methods. docs/evaluation.md explains all figures.

FOLDER contains files named SYMBOL-INTERVAL.csv or .csv.gz, with the first line
open_time_ms,open,high,low,close,volume. Without FOLDER, evaluate fetches the history
of the exchange for the pairs a sweep covers: one year, or the time of --split. With
--stored it uses the candles in the database. These are only as many as the largest
analysis used, so --klines must be smaller.
ANALYSIS_INTERVAL is the candle length, ANALYSIS_KLINE_LIMIT the number of candles
used to find levels. With --table, levels are found with a table of odds that tidemark
calibrate wrote, such as one of a fold, which has not seen the time it is judged on.
The exit code is 3 if some pairs could not be read.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("at most one folder is allowed, got %d", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := in.config(cmd)
			if err != nil {
				return err
			}
			return in.evaluate(cmd.Context(), cfg, flags, args)
		},
	}
	f := cmd.Flags()
	f.IntVar(&flags.klines, "klines", 0, "candles used to find levels at a moment (default ANALYSIS_KLINE_LIMIT)")
	f.IntVar(&flags.every, "every", levels.Horizon+1, "candles between two moments of a pair; without a divisor in common with 24, they rotate through the hours")
	f.StringSliceVar(&flags.methods, "methods", nil, "methods to evaluate, separated by commas (default all: "+strings.Join(methodNames(), ",")+")")
	f.Uint64Var(&flags.seed, "seed", 1, "seed of the random numbers: intervals, random levels")
	f.StringVar(&flags.split, "split", "", "evaluate only FROM..TO, such as 2022-01-01..2023-01-01; either end may be omitted")
	f.StringVar(&flags.pairs, "pairs", "*", "pattern of symbols to evaluate, with * and ? as in a shell")
	f.BoolVar(&flags.stored, "stored", false, "evaluate the candles in the database")
	f.BoolVar(&flags.json, "json", false, "print the report as JSON")
	f.StringVar(&flags.table, "table", "", "file with the table of odds (default the built-in one)")
	f.StringVar(&flags.html, "html", "", "also write the report to this file as an HTML page")
	config.AddFlags(f)
	return cmd
}

func methodNames() []string {
	var names []string
	for _, m := range evaluate.Methods(0, nil) {
		names = append(names, m.Name)
	}
	return names
}

// options converts the command line into the options of an evaluation.
func (f *evaluateFlags) options(cfg config.Config) (evaluate.Options, error) {
	table := levels.Odds()
	if f.table != "" {
		file, err := os.ReadFile(f.table)
		if err == nil {
			table, err = levels.ReadTable(file)
		}
		if err != nil {
			return evaluate.Options{}, fmt.Errorf("--table: %s: %w", f.table, err)
		}
	}
	o := evaluate.Options{
		Table: table.Version, Interval: cfg.AnalysisInterval, Klines: f.klines, Every: f.every, Seed: f.seed,
		Methods: evaluate.Methods(f.seed, table), Workers: runtime.GOMAXPROCS(0),
	}
	if o.Klines == 0 {
		o.Klines = cfg.AnalysisKlineLimit
	}
	if o.Klines < levels.MinCandles {
		return o, fmt.Errorf("--klines: %d is too small: at least %d are needed", o.Klines, levels.MinCandles)
	}
	if o.Every < 1 {
		return o, fmt.Errorf("--every: %d is less than 1", o.Every)
	}
	if len(f.methods) > 0 {
		for _, name := range f.methods {
			if all := methodNames(); !slices.Contains(all, name) {
				return o, fmt.Errorf("--methods: %q is not one of %s%s", name, strings.Join(all, ", "), config.DidYouMean(name, all))
			}
		}
		o.Methods = slices.DeleteFunc(o.Methods, func(m evaluate.Method) bool { return !slices.Contains(f.methods, m.Name) })
	}
	if _, err := path.Match(f.pairs, ""); err != nil {
		return o, fmt.Errorf("--pairs: %q is not a valid pattern: %w", f.pairs, err)
	}
	if f.split == "" {
		return o, nil
	}
	var err error
	if o.From, o.To, err = days(f.split); err != nil {
		return o, fmt.Errorf("--split: %w", err)
	}
	return o, nil
}

// days parses FROM..TO; either end may be missing and is then zero.
func days(s string) (from, to time.Time, err error) {
	first, last, ok := strings.Cut(s, "..")
	var err1, err2 error
	if first != "" {
		from, err1 = time.Parse(time.DateOnly, first)
	}
	if last != "" {
		to, err2 = time.Parse(time.DateOnly, last)
	}
	if !ok || err1 != nil || err2 != nil || !from.IsZero() && !to.IsZero() && !from.Before(to) {
		return from, to, fmt.Errorf("%q is not FROM..TO, such as 2022-01-01..2023-01-01", s)
	}
	return from, to, nil
}

func (in *invocation) evaluate(ctx context.Context, cfg config.Config, flags evaluateFlags, args []string) error {
	o, err := flags.options(cfg)
	if err != nil {
		return config.Usage(err)
	}
	if flags.stored && len(args) > 0 {
		return config.Usage(errors.New("--stored and a folder exclude each other"))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var source *candleSource
	switch {
	case flags.stored:
		source, err = in.storedCandles(ctx, cfg, o)
	case len(args) > 0:
		source, err = folderCandles(args[0], o)
	default:
		source, err = in.exchangeCandles(ctx, cfg, o, flags.pairs, cancel)
		o.Workers = max(o.Workers, cfg.AnalysisConcurrency) // most of them wait for the exchange
	}
	if err != nil {
		return err
	}
	defer source.close()
	series := slices.DeleteFunc(source.series, func(s evaluate.Series) bool { return !matches(flags.pairs, s.Symbol) })
	if len(series) == 0 {
		return config.Usage(fmt.Errorf("--pairs: no pair matches %q", flags.pairs))
	}
	bar := &pairProgress{progress: newProgress(in.stderr, in.environ), source: source}
	o.Progress = bar.show
	report, err := evaluate.Run(ctx, series, o)
	bar.end()
	if cause := context.Cause(ctx); errors.Is(cause, context.Canceled) {
		return errors.New("the evaluation was interrupted")
	} else if cause != nil {
		return cause
	}
	if err != nil {
		return explain(err, report)
	}
	report.Source, report.Simulated = source.name, source.simulated()
	if flags.html != "" {
		if err := writePage(flags.html, report); err != nil {
			return fmt.Errorf("--html: %w", err)
		}
	}
	if flags.json {
		e := json.NewEncoder(in.stdout)
		e.SetIndent("", "  ")
		err = e.Encode(report)
	} else {
		s := newScreen(in.stdout, in.environ)
		err = report.Text(s, func(caption string) string { return s.paint(bold, caption) }, func(head []string, cells [][]string) error {
			rows := make([]row, len(cells))
			for i := range cells {
				rows[i].cells = cells[i]
			}
			return s.table(head, rows)
		})
	}
	if err == nil && len(report.Failures) > 0 {
		err = errPartial
	}
	return err
}

func matches(pattern, symbol string) bool {
	ok, err := path.Match(pattern, symbol)
	return ok && err == nil
}

// explain adds the first failure to an error of an evaluation.
func explain(err error, report *evaluate.Report) error {
	if report == nil || len(report.Failures) == 0 {
		return err
	}
	return fmt.Errorf("%w; the first of them: %s: %s", err, report.Failures[0].Symbol, report.Failures[0].Detail)
}

// candleSource is the source of the candles of an evaluation.
type candleSource struct {
	name      string
	series    []evaluate.Series
	simulated func() bool // final once all series are loaded
	close     func()
}

// folderCandles returns the candles of files. They count as real: files do not record
// whether candles are simulated.
func folderCandles(folder string, o evaluate.Options) (*candleSource, error) {
	series, err := evaluate.Folder(folder, o.Interval)
	if err != nil {
		return nil, err
	}
	if len(series) == 0 {
		return nil, fmt.Errorf("%s contains no file SYMBOL-%s.csv or SYMBOL-%[2]s.csv.gz", folder, o.Interval)
	}
	return &candleSource{folder, series, func() bool { return false }, func() {}}, nil
}

// storedCandles returns the candles in the database of all pairs with analyses.
func (in *invocation) storedCandles(ctx context.Context, cfg config.Config, o evaluate.Options) (*candleSource, error) {
	exchange, err := oneExchange(cfg)
	if err != nil {
		return nil, err
	}
	db, err := app.OpenDatabase(ctx, app.Budget{Config: cfg}, in.logger(quiet(cfg)))
	if err != nil {
		return nil, err
	}
	simulated := false
	s := &candleSource{name: exchange + " (stored)", simulated: func() bool { return simulated }, close: func() { db.Close() }}
	for snap, err := range db.Latest(ctx, exchange, o.Interval) {
		if err != nil && !errors.Is(err, service.ErrUnreadable) { // its candles may still be readable
			db.Close()
			return nil, err
		}
		simulated = simulated || snap.Simulated
		key := snap.Key
		s.series = append(s.series, evaluate.Series{Symbol: key.Symbol, Load: func(ctx context.Context, dst *levels.Candles) error {
			if _, err := db.Candles(ctx, key, 0, dst, nil); !errors.Is(err, service.ErrNotAnalyzed) {
				return err
			}
			return nil // no candles are stored
		}})
	}
	if len(s.series) == 0 {
		db.Close()
		return nil, fmt.Errorf("no pair of %s has been analysed at %s; run `tidemark sweep`", exchange, o.Interval)
	}
	return s, nil
}

// exchangeCandles returns the history of the pairs a sweep covers. A ban cancels the
// evaluation, since it applies to all pairs.
func (in *invocation) exchangeCandles(ctx context.Context, cfg config.Config, o evaluate.Options, pattern string, cancel context.CancelCauseFunc) (_ *candleSource, err error) {
	exchange, err := oneExchange(cfg)
	if err != nil {
		return nil, err
	}
	a, err := app.Open(ctx, cfg, in.logger(quiet(cfg)))
	if err != nil {
		return nil, err
	}
	venue := a.Venues[0]
	s := &candleSource{name: exchange, simulated: func() bool { return venue.Market().Simulated }, close: func() { a.Close() }}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	from := o.From
	if from.IsZero() {
		now, err := venue.Now(ctx)
		if err != nil {
			return nil, err
		}
		from = now.AddDate(-1, 0, 0)
	}
	first := max(from.Add(-time.Duration(o.Klines)*o.Interval.Duration()).UnixMilli(), 0)
	for listing, err := range a.Jobs.Symbols(ctx, exchange) {
		if err != nil {
			return nil, err
		}
		name := listing.Symbol.Name
		if !listing.Selected || !matches(pattern, name) {
			continue
		}
		s.series = append(s.series, evaluate.Series{Symbol: name, Load: func(ctx context.Context, dst *levels.Candles) error {
			err := venue.Candles(ctx, name, first, dst, nil)
			if errors.Is(err, service.ErrBanned) {
				cancel(err)
			}
			return err
		}})
	}
	return s, nil
}

// writePage writes the report as an HTML page to file, atomically.
func writePage(file string, r *evaluate.Report) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".tidemark-*.html")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once renamed
	if err := errors.Join(r.HTML(f), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// pairProgress shows the progress of an evaluation.
type pairProgress struct {
	*progress
	source *candleSource
	drawn  time.Time
}

func (p *pairProgress) show(done, total int) {
	if p.terminal && done < total && time.Since(p.drawn) < p.every() {
		return
	}
	p.drawn = time.Now()
	left := time.Duration(float64(total-done) / float64(done) * float64(time.Since(p.start)))
	p.draw(done, total, fmt.Sprintf("%s%d/%d pairs  %s left  peak %s",
		p.w.simulatedMark(p.source.simulated()), done, total, left.Round(time.Second), config.FormatBytes(memory.Read().PeakRSS)))
}

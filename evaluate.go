package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tidemark/levels"
	"tidemark/levels/evaluate"
	"tidemark/service"
)

// evaluateFlags is the command line of evaluate beside the configuration.
type evaluateFlags struct {
	klines, every int
	methods       []string
	seed          uint64
	split, pairs  string
	json          bool
	html          string
}

func (in *invocation) evaluateCommand() *cobra.Command {
	var flags evaluateFlags
	cmd := &cobra.Command{
		Use:   "evaluate [FOLDER]",
		Short: "Tell how often levels held, and whether more often than chance",
		Long: `Walk forward over candles: at each moment find levels in what was known then, and
judge them, and artificial levels beside them, by the candles after. Printed are
the lift over chance with its interval, for our levels and for what others draw;
docs/evaluation.md says what every figure means.

FOLDER holds files named SYMBOL-INTERVAL.csv or .csv.gz, with the first line
open_time_ms,open,high,low,close,volume. Without it the history of the exchange is
fetched, of a year unless --split says otherwise, for the pairs a sweep covers.
ANALYSIS_INTERVAL chooses the candles, ANALYSIS_KLINE_LIMIT how many levels are
found in. Exit code 3 tells that single pairs could not be read.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := in.config(cmd)
			if err != nil {
				return err
			}
			return in.evaluate(cmd.Context(), cfg, flags, args)
		},
	}
	f := cmd.Flags()
	f.IntVar(&flags.klines, "klines", 0, "candles levels are found in at a moment (default ANALYSIS_KLINE_LIMIT)")
	f.IntVar(&flags.every, "every", levels.Horizon, "candles from one moment to the next")
	f.StringSliceVar(&flags.methods, "methods", nil, "what to evaluate, separated by commas (default all: "+strings.Join(methodNames(), ",")+")")
	f.Uint64Var(&flags.seed, "seed", 1, "of what is drawn: artificial levels, intervals")
	f.StringVar(&flags.split, "split", "", "evaluate within FROM..TO, such as 2022-01-01..2023-01-01; either may be left out")
	f.StringVar(&flags.pairs, "pairs", "*", "symbols to evaluate, with * and ? as in a shell")
	f.BoolVar(&flags.json, "json", false, "print the report as JSON")
	f.StringVar(&flags.html, "html", "", "write the report to this file as a page too")
	addConfigFlags(f)
	return cmd
}

func methodNames() []string {
	var names []string
	for _, m := range evaluate.Methods(0) {
		names = append(names, m.Name)
	}
	return names
}

// options turns the command line into what an evaluation is told.
func (f *evaluateFlags) options(cfg Config) (evaluate.Options, error) {
	o := evaluate.Options{
		Interval: cfg.AnalysisInterval, Klines: f.klines, Every: f.every, Seed: f.seed,
		Methods: evaluate.Methods(f.seed), Workers: runtime.GOMAXPROCS(0),
	}
	if o.Klines == 0 {
		o.Klines = cfg.AnalysisKlineLimit
	}
	if o.Klines < levels.MinCandles {
		return o, fmt.Errorf("--klines: %d are too few: at least %d are needed", o.Klines, levels.MinCandles)
	}
	if o.Every < 1 {
		return o, fmt.Errorf("--every: %d is not at least 1", o.Every)
	}
	if len(f.methods) > 0 {
		for _, name := range f.methods {
			if all := methodNames(); !slices.Contains(all, name) {
				return o, fmt.Errorf("--methods: %q is not one of %s%s", name, strings.Join(all, ", "), didYouMean(name, all))
			}
		}
		o.Methods = slices.DeleteFunc(o.Methods, func(m evaluate.Method) bool { return !slices.Contains(f.methods, m.Name) })
	}
	if _, err := path.Match(f.pairs, ""); err != nil {
		return o, fmt.Errorf("--pairs: %q is no pattern of symbols: %w", f.pairs, err)
	}
	if f.split == "" {
		return o, nil
	}
	from, to, ok := strings.Cut(f.split, "..")
	var err1, err2 error
	if from != "" {
		o.From, err1 = time.Parse(time.DateOnly, from)
	}
	if to != "" {
		o.To, err2 = time.Parse(time.DateOnly, to)
	}
	if !ok || err1 != nil || err2 != nil || !o.From.IsZero() && !o.To.IsZero() && !o.From.Before(o.To) {
		return o, fmt.Errorf("--split: %q is not FROM..TO, such as 2022-01-01..2023-01-01", f.split)
	}
	return o, nil
}

func (in *invocation) evaluate(ctx context.Context, cfg Config, flags evaluateFlags, args []string) error {
	o, err := flags.options(cfg)
	if err != nil {
		return usageError{err}
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	var series []evaluate.Series
	var source string
	var market *history
	bar := &pairProgress{progress: newProgress(in.stderr)}
	if len(args) == 1 {
		source = args[0]
		if series, err = evaluate.Folder(source, o.Interval); err != nil {
			return err
		}
		if len(series) == 0 {
			return fmt.Errorf("%s holds no file SYMBOL-%s.csv or SYMBOL-%[2]s.csv.gz", source, o.Interval)
		}
		series = slices.DeleteFunc(series, func(s evaluate.Series) bool { return !matches(flags.pairs, s.Symbol) })
	} else {
		if market, err = in.openHistory(ctx, cfg, o, flags.pairs); err != nil {
			return err
		}
		defer market.close()
		market.giveUp = giveUp
		series, source = market.series, cfg.Exchange
		o.Workers = max(o.Workers, cfg.AnalysisConcurrency) // most of them wait for the exchange
		bar.market = market
	}
	if len(series) == 0 {
		return usageError{fmt.Errorf("--pairs: no pair matches %q", flags.pairs)}
	}
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
	report.Source, report.Simulated = source, market.simulated()
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
		err = report.Text(in.stdout)
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

// explain adds to an error why pairs could not be read, when none could.
func explain(err error, report *evaluate.Report) error {
	if report == nil || len(report.Failures) == 0 {
		return err
	}
	return fmt.Errorf("%w; the first of them: %s: %s", err, report.Failures[0].Symbol, report.Failures[0].Detail)
}

// history is the candles of an exchange's pairs, fetched once and kept in files
// of a temporary folder, because they are read twice.
type history struct {
	app    *app
	folder string
	series []evaluate.Series
	giveUp context.CancelCauseFunc // ends the evaluation
}

func (in *invocation) openHistory(ctx context.Context, cfg Config, o evaluate.Options, pattern string) (*history, error) {
	a, err := open(ctx, cfg, in.logger(quiet(cfg)))
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "tidemark-evaluate-")
	if err != nil {
		a.close()
		return nil, err
	}
	h := &history{app: a, folder: folder}
	from := o.From
	if from.IsZero() {
		now, err := a.venue.Now(ctx)
		if err != nil {
			h.close()
			return nil, err
		}
		from = now.AddDate(-1, 0, 0)
	}
	from = from.Add(-time.Duration(o.Klines) * o.Interval.Duration())
	for listing, err := range a.analyzer.Symbols(ctx) {
		if err != nil {
			h.close()
			return nil, err
		}
		if name := listing.Symbol.Name; listing.Selected && matches(pattern, name) {
			file := filepath.Join(folder, strconv.Itoa(len(h.series))) // a symbol may be no file name
			h.series = append(h.series, evaluate.Series{Symbol: name, Load: func(ctx context.Context, dst *levels.Candles) error {
				return h.load(ctx, file, name, max(from.UnixMilli(), 0), dst)
			}})
		}
	}
	return h, nil
}

func (h *history) close() {
	os.RemoveAll(h.folder)
	h.app.close()
}

// simulated tells whether the exchange is; a folder does not know.
func (h *history) simulated() bool { return h != nil && h.app.venue.Market().Simulated }

// load reads the pair's file, or fetches its candles and writes the file.
func (h *history) load(ctx context.Context, file, symbol string, from int64, dst *levels.Candles) error {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		err := h.app.venue.Candles(ctx, symbol, from, dst, nil)
		if errors.Is(err, service.ErrBanned) {
			h.giveUp(err) // no pair will fare better
		}
		if err != nil {
			return err
		}
		return writeCandles(file, dst)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	_, err = evaluate.ReadCandles(ctx, z, dst)
	return err
}

// writeCandles writes a gzipped file that evaluate.ReadCandles reads.
func writeCandles(file string, c *levels.Candles) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	z, _ := gzip.NewWriterLevel(f, gzip.BestSpeed)
	w := bufio.NewWriter(z)
	io.WriteString(w, evaluate.Header+"\n")
	var line []byte
	for i := range c.Len() {
		k := c.At(i)
		line = strconv.AppendInt(line[:0], k.OpenTime, 10)
		for _, v := range [...]float64{k.Open, k.High, k.Low, k.Close, k.Volume} {
			line = strconv.AppendFloat(append(line, ','), v, 'g', -1, 64)
		}
		w.Write(append(line, '\n'))
	}
	return errors.Join(w.Flush(), z.Close(), f.Close())
}

// writePage writes the report as a page to file, and leaves nothing half
// written.
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

// pairProgress shows how far an evaluation is.
type pairProgress struct {
	*progress
	market *history // if there is one
	drawn  time.Time
}

func (p *pairProgress) show(done, total int) {
	if p.terminal && done < total && time.Since(p.drawn) < p.every() {
		return
	}
	p.drawn = time.Now()
	left := time.Duration(float64(total-done) / float64(done) * float64(time.Since(p.start)))
	p.draw(done, total, fmt.Sprintf("%s%d/%d pairs, each read twice  %s left  peak %s",
		simulatedMark(p.market.simulated()), done, total, left.Round(time.Second), mebibytes(service.ReadMemory().PeakRSS)))
}

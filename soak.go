package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// soakOptions is what `soak` does.
type soakOptions struct {
	sweeps, pairs int
	setting       string // concurrency/batch
	faults        string
	speed         float64
	postgres      string
	plot          string
	json          bool
}

// soakRun is one service that swept again and again.
type soakRun struct {
	Database string       `json:"database"`
	Samples  []soakSample `json:"samples"`
}

// soakSample is what a service says of itself after a sweep.
type soakSample struct {
	Sweep      int     `json:"sweep"` // from 1
	Seconds    float64 `json:"seconds"`
	Done       int     `json:"symbols_done"`
	Failed     int     `json:"symbols_failed"`
	RSS        int64   `json:"rss_bytes"`
	Files      int64   `json:"file_bytes"` // the part of RSS that is pages of files: the program's code
	Heap       int64   `json:"heap_bytes"`
	Goroutines int     `json:"goroutines"`
	OpenFiles  int     `json:"open_files"`
}

// settled is the sweep after which nothing should grow any more.
const settled = 10

func (in *invocation) soakCommand() *cobra.Command {
	var o soakOptions
	cmd := &cobra.Command{
		Use:   "soak",
		Short: "Sweep hundreds of times under faults, and watch memory, goroutines and files",
		Long: `Have this very program sweep a simulated market again and again, and ask it
after each sweep for its memory, goroutines and open files. The market's clock
runs fast, so that every sweep meets new candles; a share of its answers is
faulty in every way there is. Exchange, service and this command are processes of
their own. With --postgres a second service runs at the same time on that
database.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return in.soak(cmd.Context(), o) },
	}
	flags := cmd.Flags()
	flags.IntVar(&o.sweeps, "sweeps", 200, "how often to sweep")
	flags.IntVar(&o.pairs, "pairs", 500, "pairs of the market")
	flags.StringVar(&o.setting, "setting", "3/20", "concurrency/batch")
	flags.StringVar(&o.faults, "faults", "0.05", "share of the exchange's answers that are faulty, as of simulate")
	flags.Float64Var(&o.speed, "speed", 3600, "how many times as fast as time the market's clock runs")
	flags.StringVar(&o.postgres, "postgres", "", "address of a PostgreSQL database to soak as well, in its schema tidemark_bench, which is made and dropped")
	flags.StringVar(&o.plot, "plot", "", "draw the course to this SVG file")
	flags.BoolVar(&o.json, "json", false, "print every sample as JSON instead of a table")
	return cmd
}

func (in *invocation) soak(ctx context.Context, o soakOptions) error {
	setting, err := parseSetting(o.setting)
	if err != nil {
		return usageError{fmt.Errorf("--setting: %w", err)}
	}
	if o.sweeps <= settled {
		return usageError{fmt.Errorf("--sweeps: %d are too few: what happens after the first %d is what counts", o.sweeps, settled)}
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "tidemark-soak-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var saying sync.Mutex
	b := &bencher{benchOptions: benchOptions{klines: 2000, postgres: o.postgres}, exe: exe, dir: dir, say: func(format string, args ...any) {
		saying.Lock()
		defer saying.Unlock()
		fmt.Fprintf(in.stderr, format+"\n", args...)
	}}
	runs := []soakRun{{Database: "sqlite"}}
	if o.postgres != "" {
		runs = append(runs, soakRun{Database: "postgres"})
		defer b.dropSchema(context.WithoutCancel(ctx))
	}
	errs := make(chan error)
	for i := range runs {
		go func() {
			if err := b.soak(ctx, o, setting, &runs[i]); err != nil {
				errs <- fmt.Errorf("%s: %w", runs[i].Database, err)
				return
			}
			errs <- nil
		}()
	}
	for range runs {
		err = cmp.Or(err, <-errs)
	}
	if err != nil {
		return err
	}
	if o.plot != "" {
		if err := os.WriteFile(o.plot, soakPlot(runs, o), 0o644); err != nil {
			return err
		}
	}
	if o.json {
		return json.NewEncoder(in.stdout).Encode(runs)
	}
	return printSoak(in.stdout, runs)
}

// soak sweeps with one service against a market of its own.
func (b *bencher) soak(ctx context.Context, o soakOptions, setting [2]int, run *soakRun) error {
	market, err := b.start(ctx, "simulate", "--addr", "127.0.0.1:0", "--pairs", strconv.Itoa(o.pairs), "--weight-limit", "10000000",
		"--faults", o.faults, "--speed", strconv.FormatFloat(o.speed, 'g', -1, 64))
	if err != nil {
		return err
	}
	defer market.end()
	// a hanging answer should not take longer than all the others of a sweep
	p, err := b.service(ctx, market, run.Database, setting[0], setting[1], "--exchange-timeout", "1s")
	if err != nil {
		return err
	}
	defer p.end()
	for n := 1; n <= o.sweeps; n++ {
		job, err := sweepOver(ctx, p)
		if err != nil {
			return fmt.Errorf("sweep %d: %w", n, err)
		}
		s := soakSample{Sweep: n, Seconds: job.Finished.Sub(job.Started).Seconds(), Done: job.Done, Failed: job.Failed}
		for name, set := range map[string]func(v float64){
			"process_resident_memory_bytes":      func(v float64) { s.RSS = int64(v) },
			"go_memstats_heap_inuse_bytes":       func(v float64) { s.Heap = int64(v) },
			"go_goroutines":                      func(v float64) { s.Goroutines = int(v) },
			"tidemark_process_file_memory_bytes": func(v float64) { s.Files = int64(v) },
			"process_open_fds":                   func(v float64) { s.OpenFiles = int(v) },
		} {
			v, err := metric(ctx, p, name)
			if err != nil {
				return err
			}
			set(v)
		}
		run.Samples = append(run.Samples, s)
		if n%10 == 0 {
			b.say("%s sweep %d: %s, of it %s program code, %d goroutines, %d files, %d pairs, %d failed", run.Database, n, mebibytes(s.RSS), mebibytes(s.Files), s.Goroutines, s.OpenFiles, s.Done, s.Failed)
		}
	}
	return nil
}

// printSoak prints what was after the sweep from which on nothing should grow,
// after the last, and the most in between.
func printSoak(w io.Writer, runs []soakRun) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "database\tsweeps\tpairs analysed\tfailed\tRSS after sweep %d\tlast\tmost\tgoroutines\tlast\tmost\topen files\tlast\tmost\n", settled)
	for _, r := range runs {
		done, failed := 0, 0
		var rss int64
		var goroutines, files int
		for _, s := range r.Samples {
			done, failed = done+s.Done, failed+s.Failed
		}
		for _, s := range r.Samples[settled-1:] {
			rss, goroutines, files = max(rss, s.RSS), max(goroutines, s.Goroutines), max(files, s.OpenFiles)
		}
		first, last := r.Samples[settled-1], r.Samples[len(r.Samples)-1]
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\n", r.Database, len(r.Samples), done, failed,
			mebibytes(first.RSS), mebibytes(last.RSS), mebibytes(rss), first.Goroutines, last.Goroutines, goroutines, first.OpenFiles, last.OpenFiles, files)
	}
	return t.Flush()
}

// soakPlot draws the course of a soak: a panel each for memory, goroutines and
// open files, over the sweeps, a line for each database.
func soakPlot(runs []soakRun, o soakOptions) []byte {
	const (
		width, panel  = 760, 150 // of a panel's inside
		left, top     = 60, 56
		gap           = 46
		height        = top + 3*(panel+gap)
		right, bottom = 24, 10
	)
	colours := []string{"#0969da", "#bc4c00"}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" fill="#57606a">`+"\n", left+width+right, height+bottom)
	b.WriteString(`<rect width="100%" height="100%" fill="#ffffff"/>` + "\n")
	fmt.Fprintf(&b, `<text x="%d" y="22" font-size="15" fill="#1f2328">%d sweeps of %d simulated pairs at %s, %s of the answers faulty</text>`+"\n", left, o.sweeps, o.pairs, o.setting, o.faults)
	x := left
	for i, r := range runs {
		fmt.Fprintf(&b, `<rect x="%d" y="32" width="18" height="4" fill="%s"/><text x="%d" y="38">%s</text>`+"\n", x, colours[i], x+24, r.Database)
		x += 110
	}
	for i, p := range []struct {
		name  string
		value func(s soakSample) float64
	}{
		{"RSS, MiB", func(s soakSample) float64 { return float64(s.RSS) / (1 << 20) }},
		{"goroutines", func(s soakSample) float64 { return float64(s.Goroutines) }},
		{"open files", func(s soakSample) float64 { return float64(s.OpenFiles) }},
	} {
		most := 0.0
		for _, r := range runs {
			for _, s := range r.Samples {
				most = max(most, p.value(s))
			}
		}
		step := niceStep(most / 4)
		most = math.Ceil(most/step) * step
		from := top + i*(panel+gap) + 20
		at := func(v float64) float64 { return float64(from) + panel*(1-v/most) }
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#1f2328">%s</text>`+"\n", left, from-8, p.name)
		for v := 0.0; v <= most+step/2; v += step {
			fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#d0d7de"/><text x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n", left, at(v), left+width, left-8, at(v)+4, v)
		}
		place := func(sweep int) float64 { return left + width*float64(sweep-1)/float64(o.sweeps-1) }
		for _, n := range []int{1, settled, o.sweeps / 2, o.sweeps} {
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", place(n), from+panel+16, n)
		}
		for j, r := range runs {
			points := make([]string, len(r.Samples))
			for k, s := range r.Samples {
				points[k] = fmt.Sprintf("%.1f,%.1f", place(s.Sweep), at(p.value(s)))
			}
			fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", strings.Join(points, " "), colours[j])
		}
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// niceStep is the smallest of 1, 2 and 5 times a power of ten that is not
// smaller than v.
func niceStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, n := range []float64{1, 2, 5} {
		if n*power >= v {
			return n * power
		}
	}
	return 10 * power
}

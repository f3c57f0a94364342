package bench

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

	"tidemark/config"
)

// SoakOptions are the options of Soak.
type SoakOptions struct {
	Sweeps, Pairs int
	Setting       string // concurrency/batch
	Faults        string
	Speed         float64
	Postgres      string
	Plot          string
	JSON          bool
}

// soakRun is the run of one service.
type soakRun struct {
	Database string       `json:"database"`
	Samples  []soakSample `json:"samples"`
}

// soakSample is the state of a service after a sweep.
type soakSample struct {
	Sweep      int     `json:"sweep"` // from 1
	Seconds    float64 `json:"seconds"`
	Done       int     `json:"symbols_done"`
	Failed     int     `json:"symbols_failed"`
	RSS        int64   `json:"rss_bytes"`
	Files      int64   `json:"file_bytes"` // part of RSS that maps files, mostly the program's code
	Heap       int64   `json:"heap_bytes"`
	Goroutines int     `json:"goroutines"`
	OpenFiles  int     `json:"open_files"`
}

// settled is the sweep after which nothing should grow.
const settled = 10

func Soak(ctx context.Context, o SoakOptions, stdout, stderr io.Writer) error {
	setting, err := parseSetting(o.Setting)
	if err != nil {
		return config.Usage(fmt.Errorf("--setting: %w", err))
	}
	if o.Sweeps <= settled {
		return config.Usage(fmt.Errorf("--sweeps: %d are too few: only those after the first %d are evaluated", o.Sweeps, settled))
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
	b := &Bencher{Options: Options{Klines: 2000, Postgres: o.Postgres}, Exe: exe, Dir: dir, say: func(format string, args ...any) {
		saying.Lock()
		defer saying.Unlock()
		fmt.Fprintf(stderr, format+"\n", args...)
	}}
	runs := []soakRun{{Database: "sqlite"}}
	if o.Postgres != "" {
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
	if o.Plot != "" {
		title := fmt.Sprintf("%d sweeps of %d simulated pairs at %s, %s of the responses faulty", o.Sweeps, o.Pairs, o.Setting, o.Faults)
		if err := os.WriteFile(o.Plot, soakPlot(runs, title, o.Sweeps, strconv.Itoa), 0o644); err != nil {
			return err
		}
	}
	if o.JSON {
		return json.NewEncoder(stdout).Encode(runs)
	}
	return printSoak(stdout, runs)
}

// soak sweeps with one service against its own market.
func (b *Bencher) soak(ctx context.Context, o SoakOptions, setting [2]int, run *soakRun) error {
	market, err := b.Start(ctx, "simulate", "--addr", "127.0.0.1:0", "--pairs", strconv.Itoa(o.Pairs), "--weight-limit", "10000000",
		"--faults", o.Faults, "--speed", strconv.FormatFloat(o.Speed, 'g', -1, 64))
	if err != nil {
		return err
	}
	defer market.End()
	// a response that hangs must not dominate the duration of a sweep
	p, err := b.service(ctx, market, run.Database, setting[0], setting[1], "--exchange-timeout", "1s")
	if err != nil {
		return err
	}
	defer p.End()
	for n := 1; n <= o.Sweeps; n++ {
		job, err := SweepOver(ctx, p)
		if err != nil {
			return fmt.Errorf("sweep %d: %w", n, err)
		}
		s := soakSample{Sweep: n, Seconds: job.FinishedAt.Sub(*job.StartedAt).Seconds(), Done: job.SymbolsDone, Failed: job.SymbolsFailed}
		for name, set := range map[string]func(v float64){
			"process_resident_memory_bytes":      func(v float64) { s.RSS = int64(v) },
			"go_memstats_heap_inuse_bytes":       func(v float64) { s.Heap = int64(v) },
			"go_goroutines":                      func(v float64) { s.Goroutines = int(v) },
			"tidemark_process_file_memory_bytes": func(v float64) { s.Files = int64(v) },
			"process_open_fds":                   func(v float64) { s.OpenFiles = int(v) },
		} {
			v, err := Metric(ctx, p, name)
			if err != nil {
				return err
			}
			set(v)
		}
		run.Samples = append(run.Samples, s)
		if n%10 == 0 {
			b.say("%s sweep %d: %s, of it %s program code, %d goroutines, %d files, %d pairs, %d failed", run.Database, n, config.FormatBytes(s.RSS), config.FormatBytes(s.Files), s.Goroutines, s.OpenFiles, s.Done, s.Failed)
		}
	}
	return nil
}

// printSoak prints the values after the sweep settled and after the last one, and the
// maximum between them.
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
			config.FormatBytes(first.RSS), config.FormatBytes(last.RSS), config.FormatBytes(rss), first.Goroutines, last.Goroutines, goroutines, first.OpenFiles, last.OpenFiles, files)
	}
	return t.Flush()
}

// soakPlot draws the values of a number of samples: one panel each for memory, goroutines and
// open files, one line for each database. label returns what is written below a sample.
func soakPlot(runs []soakRun, title string, samples int, label func(n int) string) []byte {
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
	fmt.Fprintf(&b, `<text x="%d" y="22" font-size="15" fill="#1f2328">%s</text>`+"\n", left, title)
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
		place := func(sweep int) float64 { return left + width*float64(sweep-1)/float64(samples-1) }
		for _, n := range []int{1, settled, samples / 2, samples} {
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", place(n), from+panel+16, label(n))
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

// niceStep returns the smallest of 1, 2 and 5 times a power of ten that is at least v.
func niceStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, n := range []float64{1, 2, 5} {
		if n*power >= v {
			return n * power
		}
	}
	return 10 * power
}

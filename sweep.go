package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tidemark/levels"
	"tidemark/service"
)

// sweepReport is what `sweep --json` prints.
type sweepReport struct {
	State        service.JobState `json:"state"`
	Exchange     string           `json:"exchange"`
	Interval     levels.Interval  `json:"interval"`
	Simulated    bool             `json:"simulated"`
	Symbols      int              `json:"symbols_total"`
	Done         int              `json:"symbols_done"`
	Failed       int              `json:"symbols_failed"`
	Skipped      int              `json:"symbols_skipped"`
	Failures     []failureReport  `json:"failures"`
	Seconds      float64          `json:"seconds"`
	CPUSeconds   float64          `json:"cpu_seconds"`
	PeakRSSBytes int64            `json:"peak_rss_bytes"`
}

type failureReport struct {
	Symbol string `json:"symbol"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

func (in *invocation) sweepCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "Analyse every pair of the exchange once, in the foreground",
		Long: `Analyse every pair of the exchange that passes the filters, store the levels
and print what became of the pairs. Exit code 3 tells that single pairs failed.

The sweep is a job: another process of the same exchange on the same database
helps, and the same sweep under way there is joined. Interrupted, it is cancelled,
unless it was joined: then it goes on there. Killed, it is finished by the next
process of the exchange that works on this database.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := in.config(cmd)
			if err != nil {
				return err
			}
			return in.sweep(cmd.Context(), cfg, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	addConfigFlags(cmd.Flags())
	return cmd
}

// quiet keeps the log out of a progress bar's way unless it was asked for.
func quiet(cfg Config) Config {
	if cfg.LogLevel == 0 { // INFO, the default
		cfg.LogLevel = 4 // WARN
	}
	return cfg
}

func (in *invocation) sweep(ctx context.Context, cfg Config, asJSON bool) (err error) {
	// The work outlives the signal: what is analysed is stored.
	a, err := open(context.WithoutCancel(ctx), cfg, in.logger(quiet(cfg)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	background := context.WithoutCancel(ctx)
	if err := a.work(background); err != nil {
		return err
	}
	dropPages()
	job, err := in.runSweep(ctx, a)
	stopping, cancel := context.WithTimeout(background, cfg.StopTimeout)
	defer cancel()
	if err := errors.Join(err, a.stop(stopping)); err != nil {
		return err
	}
	if job.State == service.JobCancelled {
		// with what had been analysed
		if job, err = a.analyzer.Job(background, job.ID); err != nil {
			return err
		}
	}
	report := sweepReport{
		State: job.State, Exchange: job.Exchange, Interval: job.Interval, Simulated: job.Simulated,
		Symbols: job.Symbols, Done: job.Done, Failed: job.Failed, Skipped: job.Skipped,
		Failures: make([]failureReport, len(job.Failures)), Seconds: job.FinishedAt.Sub(job.StartedAt).Seconds(),
		CPUSeconds: cpuSeconds(), PeakRSSBytes: service.ReadMemory().PeakRSS,
	}
	for i, f := range job.Failures {
		report.Failures[i] = failureReport(f)
	}
	if asJSON {
		err = json.NewEncoder(in.stdout).Encode(report)
	} else {
		err = report.print(newScreen(in.stdout, in.environ))
	}
	switch {
	case err != nil:
		return err
	case job.State == service.JobFailed:
		return fmt.Errorf("the sweep failed: %s", job.Error.Detail)
	case job.State == service.JobCancelled:
		return errors.New("the sweep was cancelled; what it had analysed is stored")
	case job.Failed > 0:
		return errPartial
	}
	return nil
}

// runSweep runs one sweep, shows its progress and returns the ended job. When
// ctx ends, a sweep of its own is cancelled. One that it has joined is not its to
// cancel: that is left, with an error that says so.
func (in *invocation) runSweep(ctx context.Context, a *app) (service.Job, error) {
	background := context.WithoutCancel(ctx)
	job, joined, err := a.analyzer.Submit(background, service.JobRequest{All: true, Store: true})
	if err != nil {
		return service.Job{}, err
	}
	watching := ctx
	if !joined {
		watching = background // to the end, which comes soon
		id := job.ID
		stopped := context.AfterFunc(ctx, func() { a.analyzer.Cancel(background, id) })
		defer stopped()
	}
	bar := newProgress(in.stderr, in.environ)
	for j, err := range a.analyzer.Watch(watching, job.ID, bar.every()) {
		if err != nil {
			return service.Job{}, err
		}
		bar.show(j)
		job = j
	}
	bar.end()
	if !job.State.Final() {
		return job, fmt.Errorf("interrupted; the sweep was begun by another process and goes on as job %s: "+
			"a service on this database shows it at GET /jobs/%[1]s, and DELETE /jobs/%[1]s cancels it", job.ID)
	}
	return job, nil
}

func (r sweepReport) print(w screen) error {
	state, failed := green, uncoloured
	if r.State != service.JobCompleted {
		state = red
	}
	if r.Failed > 0 {
		failed = red
	}
	_, err := fmt.Fprintf(w, "%s%s %s %s: %d of %d pairs analysed, %s, %d skipped in %.1f s; %.2f CPU seconds, peak memory %s\n",
		w.simulated(r.Simulated), r.Exchange, r.Interval, w.paint(state, string(r.State)), r.Done, r.Symbols,
		w.paint(failed, fmt.Sprintf("%d failed", r.Failed)), r.Skipped, r.Seconds, r.CPUSeconds, mebibytes(r.PeakRSSBytes))
	for _, f := range r.Failures {
		fmt.Fprintf(w, "  %-14s %s: %s\n", f.Symbol, w.paint(red, f.Code), f.Detail)
	}
	return err
}

// simulatedMark stands before everything that was made from simulated prices.
func simulatedMark(simulated bool) string {
	if simulated {
		return "SIMULATED "
	}
	return ""
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// cpuSeconds is the processor time of this process so far.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// progress shows how far a command is: a bar on a terminal, a line now and then
// elsewhere, and on a terminal that cannot go back to the beginning of a line.
type progress struct {
	w        screen
	terminal bool
	start    time.Time
	lines    int // tenths already told of, when there is no terminal
}

func newProgress(w io.Writer, environ []string) *progress {
	s := newScreen(w, environ)
	return &progress{w: s, terminal: s.width > 0 && !slices.Contains(environ, "TERM=dumb"), start: time.Now()}
}

func (p *progress) every() time.Duration {
	if p.terminal {
		return 100 * time.Millisecond
	}
	return 500 * time.Millisecond
}

func (p *progress) show(j service.Job) {
	ended := j.Done + j.Failed
	todo := j.Symbols - j.Skipped
	if todo == 0 {
		return // not listed yet
	}
	rate := float64(ended) / time.Since(p.start).Seconds()
	left := "?"
	if ended > 0 {
		left = time.Duration(float64(todo-ended) / rate * float64(time.Second)).Round(time.Second).String()
	}
	p.draw(ended, todo, fmt.Sprintf("%s%d/%d pairs  %d failed  %.0f pairs/s  %s left  peak %s",
		simulatedMark(j.Simulated), ended, todo, j.Failed, rate, left, mebibytes(service.ReadMemory().PeakRSS)))
}

// draw shows that done of total are done, with what text says.
func (p *progress) draw(done, total int, text string) {
	if p.terminal {
		const width = 24
		full := width * done / total
		line := []rune(fmt.Sprintf("[%s%s] %s", strings.Repeat("█", full), strings.Repeat("·", width-full), text))
		// a line that wraps could not be drawn over
		fmt.Fprint(p.w, "\r\x1b[K"+string(line[:min(len(line), p.w.width-1)]))
		return
	}
	if tenth := 10 * done / total; tenth > p.lines {
		p.lines = tenth
		fmt.Fprintln(p.w, text)
	}
}

func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

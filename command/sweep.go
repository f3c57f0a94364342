package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tidemark/app"
	"tidemark/config"
	"tidemark/job"
	"tidemark/levels"
	"tidemark/memory"
	"tidemark/wire"
)

// sweepReport is what `sweep --json` prints.
type sweepReport struct {
	State        job.State       `json:"state"`
	Exchange     string          `json:"exchange"`
	Interval     levels.Interval `json:"interval"`
	Simulated    bool            `json:"simulated"`
	Symbols      int             `json:"symbols_total"`
	Done         int             `json:"symbols_done"`
	Failed       int             `json:"symbols_failed"`
	Skipped      int             `json:"symbols_skipped"`
	Failures     []wire.Outcome  `json:"failures"`
	Seconds      float64         `json:"seconds"`
	CPUSeconds   float64         `json:"cpu_seconds"`
	PeakRSSBytes int64           `json:"peak_rss_bytes"`
}

func (in *invocation) sweepCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "Analyse every pair of the exchange once, in the foreground",
		Long: `Analyse every pair of the exchange that passes the filters, store the levels and
print a report. The exit code is 3 if some pairs failed.

The sweep is a job: other processes of the same exchange on the same database take
part in it. If the same sweep is already under way there, this command joins it. An
interrupt cancels the sweep, but not one that was joined, which continues there. If
this process is killed, the next process of the exchange on this database finishes
the sweep.`,
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
	config.AddFlags(cmd.Flags())
	return cmd
}

// quiet raises the default log level, so that the log does not disturb the progress bar.
func quiet(cfg config.Config) config.Config {
	if cfg.LogLevel == 0 { // INFO, the default
		cfg.LogLevel = 4 // WARN
	}
	return cfg
}

func (in *invocation) sweep(ctx context.Context, cfg config.Config, asJSON bool) (err error) {
	// After a signal, finished analyses are still stored.
	a, err := app.Open(context.WithoutCancel(ctx), cfg, in.logger(quiet(cfg)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	background := context.WithoutCancel(ctx)
	if err := a.Work(background); err != nil {
		return err
	}
	app.DropPages()
	j, err := in.runSweep(ctx, a)
	stopping, cancel := context.WithTimeout(background, cfg.StopTimeout)
	defer cancel()
	if err := errors.Join(err, a.Stop(stopping)); err != nil {
		return err
	}
	// Read the final counts and the failures.
	j, err = a.DB.Job(background, j.ID)
	if err != nil {
		return err
	}
	report := sweepReport{
		State: j.State, Exchange: j.Exchange, Interval: j.Interval, Simulated: j.Simulated,
		Symbols: j.Symbols, Done: j.Done, Failed: j.Failed, Skipped: j.Skipped,
		Failures: make([]wire.Outcome, len(j.Failures)), Seconds: j.Took().Seconds(),
		CPUSeconds: cpuSeconds(), PeakRSSBytes: memory.Read().PeakRSS,
	}
	for i, f := range j.Failures {
		report.Failures[i] = wire.Outcome(f)
	}
	if asJSON {
		err = json.NewEncoder(in.stdout).Encode(report)
	} else {
		err = report.print(newScreen(in.stdout, in.environ))
	}
	switch {
	case err != nil:
		return err
	case j.State == job.Failed:
		return fmt.Errorf("the sweep failed: %s", j.Error.Detail)
	case j.State == job.Cancelled:
		return errors.New("the sweep was cancelled; finished analyses are stored")
	case j.Failed > 0:
		return errPartial
	}
	return nil
}

// runSweep runs one sweep, shows its progress and returns the ended job without its
// failures. If ctx ends, it cancels the sweep. It does not cancel a sweep that it has
// joined, but returns an error with the id of the job.
func (in *invocation) runSweep(ctx context.Context, a *app.App) (job.Job, error) {
	background := context.WithoutCancel(ctx)
	swept, joined, err := a.Jobs.Submit(background, job.Request{All: true, Store: true})
	if err != nil {
		return job.Job{}, err
	}
	watching := ctx
	if !joined {
		watching = background // wait for the cancellation to finish
		id := swept.ID
		stopped := context.AfterFunc(ctx, func() { a.Jobs.Cancel(background, id) })
		defer stopped()
	}
	bar := newProgress(in.stderr, in.environ)
	for j, err := range a.Jobs.Watch(watching, swept.ID, bar.every()) {
		if err != nil {
			return job.Job{}, err
		}
		bar.show(j)
		swept = j
	}
	bar.end()
	if !swept.State.Final() {
		return swept, fmt.Errorf("interrupted; another process started the sweep, and it continues as job %s: "+
			"on a service with this database, GET /jobs/%[1]s shows it and DELETE /jobs/%[1]s cancels it", swept.ID)
	}
	return swept, nil
}

func (r sweepReport) print(w screen) error {
	state, failed := green, uncoloured
	if r.State != job.Completed {
		state = red
	}
	if r.Failed > 0 {
		failed = red
	}
	_, err := fmt.Fprintf(w, "%s%s %s %s: %d of %d pairs analysed, %s, %d skipped in %.1f s; %.2f CPU seconds, peak memory %s\n",
		w.simulated(r.Simulated), r.Exchange, r.Interval, w.paint(state, string(r.State)), r.Done, r.Symbols,
		w.paint(failed, fmt.Sprintf("%d failed", r.Failed)), r.Skipped, r.Seconds, r.CPUSeconds, config.Mebibytes(r.PeakRSSBytes))
	if err != nil {
		return err
	}
	rows := make([]row, len(r.Failures))
	for i, f := range r.Failures {
		rows[i].cells = []string{"  " + f.Symbol, w.paint(red, f.Code) + ": " + f.Detail}
	}
	return w.list(rows)
}

// simulatedMark returns the prefix of everything computed from simulated prices.
func simulatedMark(simulated bool) string {
	if simulated {
		return "SIMULATED "
	}
	return ""
}

// cpuSeconds returns the processor time of this process.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

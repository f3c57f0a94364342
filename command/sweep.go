package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

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
		Short: "Analyse every pair of the exchanges once, in the foreground",
		Long: `Analyse every pair of the exchanges that passes the filters, store the levels and
print a report, one for each exchange. The exit code is 3 if some pairs failed.

The sweep of an exchange is a job: other processes of the same exchange on the same database take
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
	swept, err := in.runSweeps(ctx, a)
	stopping, cancel := context.WithTimeout(background, cfg.StopTimeout)
	defer cancel()
	if err := errors.Join(err, a.Stop(stopping)); err != nil {
		return err
	}
	var failed error
	partial := false
	for _, j := range swept {
		// Read the final counts and the failures.
		j, err := a.DB.Job(background, j.ID)
		if err == nil {
			err = in.reportSweep(j, asJSON)
		}
		if errors.Is(err, errPartial) {
			partial = true
		} else {
			failed = errors.Join(failed, err)
		}
	}
	if failed == nil && partial {
		return errPartial
	}
	return failed
}

// reportSweep prints the report of a sweep that has ended. Its error is errPartial if some
// symbols failed.
func (in *invocation) reportSweep(j job.Job, asJSON bool) (err error) {
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
		return fmt.Errorf("the sweep of %s failed: %s", j.Exchange, j.Error.Detail)
	case j.State == job.Cancelled:
		return errors.New("the sweep was cancelled; finished analyses are stored")
	case j.Failed > 0:
		return errPartial
	}
	return nil
}

// runSweeps runs one sweep of each exchange, all at once, shows their progress one after
// another, and returns the ended jobs without their failures. If ctx ends, it cancels the
// sweeps. It does not cancel a sweep that it has joined, but returns an error with the id
// of the job.
func (in *invocation) runSweeps(ctx context.Context, a *app.App) (swept []job.Job, err error) {
	background := context.WithoutCancel(ctx)
	watching := make([]context.Context, len(a.Venues))
	for i, v := range a.Venues {
		j, joined, err := a.Jobs.Submit(background, job.Request{Exchange: v.Name, All: true, Store: true})
		if err != nil {
			return nil, err
		}
		watching[i] = ctx
		if !joined {
			watching[i] = background // wait for the cancellation to finish
			stopped := context.AfterFunc(ctx, func() { a.Jobs.Cancel(background, j.ID) })
			defer stopped()
		}
		swept = append(swept, j)
	}
	for i := range swept {
		if swept[i], err = in.watchSweep(watching[i], a, swept[i]); err != nil {
			return nil, err
		}
	}
	return swept, nil
}

// watchSweep shows the progress of a sweep and returns the ended job.
func (in *invocation) watchSweep(ctx context.Context, a *app.App, swept job.Job) (job.Job, error) {
	bar := newProgress(in.stderr, in.environ)
	for j, err := range a.Jobs.Watch(ctx, swept.ID, bar.every()) {
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
	_, err := fmt.Fprintln(w, w.simulated(r.Simulated)+w.say("sweep.report", "exchange", r.Exchange, "interval", r.Interval, "state", w.paint(state, w.say("job."+string(r.State))),
		"done", r.Done, "all", r.Symbols, "failed", w.paint(failed, w.say("sweep.failed", "n", r.Failed)), "skipped", r.Skipped,
		"seconds", fmt.Sprintf("%.1f", r.Seconds), "cpu", fmt.Sprintf("%.2f", r.CPUSeconds), "peak", config.FormatBytes(r.PeakRSSBytes)))
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
func (w words) simulatedMark(simulated bool) string {
	if simulated {
		return w.say("simulated") + " "
	}
	return ""
}

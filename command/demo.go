package command

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"tidemark/app"
	"tidemark/config"
	"tidemark/memory"
)

func (in *invocation) demoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Serve a simulated market from a temporary folder and sweep it once",
		Long: `Serve the built-in simulated exchange, with SQLite in a temporary folder, sweep its
market once and print some addresses to try. demo needs no network and no account,
and removes the folder at the end.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			dir, err := os.MkdirTemp("", "tidemark-demo-")
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
			for name, value := range map[string]string{
				"exchange":     "simulated",
				"database-url": "sqlite://" + dir + "/demo.db",
			} {
				if !cmd.Flags().Changed(name) {
					cmd.Flags().Set(name, value)
				}
			}
			cfg, err := in.config(cmd)
			if err != nil {
				return err
			}
			return in.demo(cmd.Context(), quiet(cfg))
		},
	}
	config.AddFlags(cmd.Flags())
	return cmd
}

// demo serves until ctx ends and sweeps once at the start.
func (in *invocation) demo(ctx context.Context, cfg config.Config) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	swept := make(chan struct{})
	err := app.Serve(ctx, cfg, in.openAPI, in.logger(cfg), func(a *app.App, address string) {
		go func() {
			defer close(swept)
			if err := in.demonstrate(ctx, a, "http://"+address); err != nil {
				cancel(err)
			}
		}()
	})
	if err == nil {
		<-swept
		if err = context.Cause(ctx); errors.Is(err, context.Canceled) {
			err = nil // stopped by a signal
		}
	}
	return err
}

// demonstrate sweeps once and prints addresses to try.
func (in *invocation) demonstrate(ctx context.Context, a *app.App, address string) error {
	fmt.Fprintf(in.stdout, "Sweeping a SIMULATED market of %d pairs ...\n", a.Config.ExchangePairs)
	swept, err := in.runSweeps(ctx, a)
	if err != nil || ctx.Err() != nil {
		return err
	}
	job := swept[0]
	memory := memory.Read()
	fmt.Fprintf(in.stdout, `%d pairs analysed in %.1f s, %d failed, %d skipped; memory %s, peak %s

The prices are SIMULATED. Try:

  %[7]s                          the page
  %[7]s/docs                     the documentation of the API
  curl %[7]s/levels/BTCUSDT      the levels of one pair
  curl '%[7]s/levels?limit=10'   the nearest levels of the market
  curl -d '{"symbol":"ETHUSDT"}' %[7]s/analyze
  curl %[7]s/jobs/%[8]s
  curl %[7]s/metrics

Stop with Ctrl-C, which removes all data.
`, job.Done, job.FinishedAt.Sub(job.StartedAt).Seconds(), job.Failed, job.Skipped,
		config.Mebibytes(memory.RSS), config.Mebibytes(memory.PeakRSS), address, job.ID)
	return nil
}

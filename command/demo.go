package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"tidemark/api"
	"tidemark/app"
	"tidemark/config"
	"tidemark/exchange/simulated"
	"tidemark/memory"
)

func (in *invocation) demoCommand() *cobra.Command {
	var data replayFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Serve a simulated market from a temporary folder and sweep it once",
		Long: `Serve the built-in simulated exchange, with SQLite in a temporary folder, sweep its
market once and print some addresses to try. demo needs no network and no account,
and removes the folder at the end. It does not use DATABASE_URL and EXCHANGE of the
environment, only --database-url and --exchange.

` + dataHelp + `

The prices of a replay still count as SIMULATED.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			dir, err := os.MkdirTemp("", "tidemark-demo-")
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
			for name, value := range map[string]string{
				"exchange":      "simulated",
				"database-url":  "sqlite://" + dir + "/demo.db",
				"analysis-live": "false",
			} {
				if !cmd.Flags().Changed(name) {
					cmd.Flags().Set(name, value)
					in.overridden(name, value)
				}
			}
			replay := ""
			if data.folder != "" {
				var options simulated.Options
				if err := data.read(&options, 1); err != nil {
					return err
				}
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return err
				}
				server := api.Server(simulated.New(options))
				defer server.Close()
				go server.Serve(l)
				cmd.Flags().Set("exchange-base-url", "http://"+l.Addr().String())
				replay = replayed(options)
			}
			cfg, err := in.config(cmd)
			if err != nil {
				return err
			}
			return in.demo(cmd.Context(), quiet(cfg), replay)
		},
	}
	data.add(cmd.Flags())
	config.AddFlags(cmd.Flags())
	return cmd
}

// overridden prints a warning if the environment sets a variable that the demo ignores,
// because that setting is for real data.
func (in *invocation) overridden(flag, with string) {
	variable := strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
	for _, v := range in.environ {
		name, value, _ := strings.Cut(v, "=")
		if value != "" && value != with && (name == variable || name == variable+"_FILE") {
			fmt.Fprintf(in.stderr, "The demo does not use %s of the environment; --%s sets it.\n", name, flag)
		}
	}
}

// demo serves until ctx ends and sweeps once at the start. replay says what is replayed.
func (in *invocation) demo(ctx context.Context, cfg config.Config, replay string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	swept := make(chan struct{})
	err := app.Serve(ctx, cfg, in.openAPI, in.logger(cfg), func(a *app.App, address string) {
		go func() {
			defer close(swept)
			if err := in.demonstrate(ctx, a, "http://"+address, replay); err != nil {
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
func (in *invocation) demonstrate(ctx context.Context, a *app.App, address, replay string) error {
	market, kind := fmt.Sprintf("a SIMULATED market of %d pairs", a.Config.ExchangePairs), "SIMULATED"
	if replay != "" {
		market, kind = "the recorded pairs", "RECORDED, not today's"
	}
	fmt.Fprintf(in.stdout, "%sSweeping %s ...\n", replay, market)
	swept, err := in.runSweeps(ctx, a)
	if err != nil || ctx.Err() != nil {
		return err
	}
	job := swept[0]
	memory := memory.Read()
	fmt.Fprintf(in.stdout, `%d pairs analysed in %.1f s, %d failed, %d skipped; memory %s, peak %s

The prices are %[9]s. Try:

  %[7]s                          the page
  %[7]s/docs                     the documentation of the API
  curl %[7]s/levels/BTCUSDT      the levels of one pair
  curl '%[7]s/levels?limit=10'   the nearest levels of the market
  curl -d '{"symbol":"ETHUSDT"}' %[7]s/analyze
  curl %[7]s/jobs/%[8]s
  curl %[7]s/metrics

Stop with Ctrl-C, which removes all data.
`, job.Done, job.FinishedAt.Sub(job.StartedAt).Seconds(), job.Failed, job.Skipped,
		config.FormatBytes(memory.RSS), config.FormatBytes(memory.PeakRSS), address, job.ID, kind)
	return nil
}

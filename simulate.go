package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"tidemark/api"
	"tidemark/exchange/simulated"
	"tidemark/service"
)

func (in *invocation) simulateCommand() *cobra.Command {
	var (
		options      simulated.Options
		addr, faults string
		seed         uint64
		speed        float64
	)
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Run the simulated exchange as a server speaking Binance's wire format",
		Long: `Run a simulated exchange. Its prices are invented; every response says so in
the header X-Tidemark-Simulated, and everything tidemark makes of them carries
"simulated": true. Point a service at it with
EXCHANGE=simulated EXCHANGE_BASE_URL=http://127.0.0.1:8090.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options.Seed = seed
			f, err := simulated.ParseFaults(faults)
			if err != nil {
				return usageError{fmt.Errorf("--faults: %w", err)}
			}
			options.Faults = f
			if !(speed >= 1 && speed <= 1e6) {
				return usageError{fmt.Errorf("--speed: %v is not between 1 and 1,000,000", speed)}
			}
			if start := time.Now(); speed > 1 {
				options.Now = func() time.Time { return start.Add(time.Duration(float64(time.Since(start)) * speed)) }
			}
			return in.simulate(cmd.Context(), addr, options)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&addr, "addr", "127.0.0.1:8090", "address to serve on")
	flags.IntVar(&options.Pairs, "pairs", 500, "healthy pairs quoted in USDT; odd ones come on top")
	flags.Uint64Var(&seed, "seed", 1, "which market is played")
	flags.Float64Var(&speed, "speed", 1, "how many times as fast as time the market's clock runs, from now on")
	flags.DurationVar(&options.Latency, "latency", 0, "time every answer takes")
	flags.DurationVar(&options.Jitter, "jitter", 0, "how much that time varies either way")
	flags.IntVar(&options.WeightLimit, "weight-limit", 6000, "request weight allowed in a minute")
	flags.Int64Var(&options.CacheBytes, "cache-bytes", 0, "bytes of rendered pages to keep")
	flags.StringVar(&faults, "faults", "", "share of answers that are faulty (0.1), or shares by kind (500=0.02,reset=0.01)")
	return cmd
}

func (in *invocation) simulate(ctx context.Context, addr string, options simulated.Options) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("--addr: %w", err)
	}
	server := api.Server(simulated.New(options))
	fmt.Fprintf(in.stdout, "SIMULATED exchange on http://%s\n", l.Addr())
	stopped := context.AfterFunc(ctx, func() { server.Close() })
	defer stopped()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (in *invocation) demoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Try it: serve a simulated market from a temporary folder and sweep it once",
		Long: `Serve on SQLite in a temporary folder against the built-in simulated exchange,
sweep its market once and print what to look at. No network, no account, and
nothing stays behind.`,
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
	addConfigFlags(cmd.Flags())
	return cmd
}

// demo serves until ctx ends, with one sweep at the beginning.
func (in *invocation) demo(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	swept := make(chan struct{})
	err := in.serve(ctx, cfg, func(a *app, address string) {
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
			err = nil // told to stop
		}
	}
	return err
}

// demonstrate sweeps once and tells what there is to look at.
func (in *invocation) demonstrate(ctx context.Context, a *app, address string) error {
	fmt.Fprintf(in.stdout, "Sweeping a SIMULATED market of %d pairs ...\n", a.cfg.ExchangePairs)
	job, err := in.runSweep(ctx, a)
	if err != nil || ctx.Err() != nil {
		return err
	}
	memory := service.ReadMemory()
	fmt.Fprintf(in.stdout, `%d pairs analysed in %.1f s, %d failed, %d skipped; memory now %s, at its peak %s

The prices are SIMULATED. Look at:

  %[7]s                          the page
  %[7]s/docs                     what can be asked
  curl %[7]s/levels/BTCUSDT      the levels of one pair
  curl '%[7]s/levels?limit=10'   the nearest levels of the market
  curl -d '{"symbol":"ETHUSDT"}' %[7]s/analyze
  curl %[7]s/jobs/%[8]s
  curl %[7]s/metrics

Stop with Ctrl-C; nothing stays behind.
`, job.Done, job.FinishedAt.Sub(job.StartedAt).Seconds(), job.Failed, job.Skipped,
		mebibytes(memory.RSS), mebibytes(memory.PeakRSS), address, job.ID)
	return nil
}

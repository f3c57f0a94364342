package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"tidemark/api"
	"tidemark/config"
	"tidemark/exchange/simulated"
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
				return config.Usage(fmt.Errorf("--faults: %w", err))
			}
			options.Faults = f
			if !(speed >= 1 && speed <= 1e6) {
				return config.Usage(fmt.Errorf("--speed: %v is not between 1 and 1,000,000", speed))
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

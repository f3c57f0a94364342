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
		Long: `Run a simulated exchange. Its prices are invented: every response has the header
X-Tidemark-Simulated, and everything tidemark computes from them has
"simulated": true. Connect a service to it with
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
	flags.IntVar(&options.Pairs, "pairs", 500, "normal pairs quoted in USDT; some unusual ones are added")
	flags.Uint64Var(&seed, "seed", 1, "seed of the market")
	flags.Float64Var(&speed, "speed", 1, "speed of the market's clock, as a multiple of real time")
	flags.DurationVar(&options.Latency, "latency", 0, "latency of every response")
	flags.DurationVar(&options.Jitter, "jitter", 0, "random variation of the latency, plus or minus")
	flags.IntVar(&options.WeightLimit, "weight-limit", 6000, "request weight allowed per minute")
	flags.Int64Var(&options.CacheBytes, "cache-bytes", 0, "size of the cache of rendered pages, in bytes")
	flags.StringVar(&faults, "faults", "", "share of faulty responses (0.1), or shares by kind (500=0.02,reset=0.01)")
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

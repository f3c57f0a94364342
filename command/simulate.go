package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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
		data         replayFlags
	)
	venues := strings.Join(simulated.Venues(), ", ")
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Run the simulated exchange as a server speaking a venue's wire format",
		Long: `Run a simulated exchange. Its prices are invented, or with --data replayed from
files: every response has the header X-Tidemark-Simulated, and everything tidemark
computes from them has "simulated": true. Connect a service to it with
EXCHANGE=simulated EXCHANGE_BASE_URL=http://127.0.0.1:8090.

` + dataHelp + `

Venues: ` + venues + `.`,
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
			if options.Pairs < 1 || options.Pairs > 5000 {
				return config.Usage(fmt.Errorf("--pairs: %d is not between 1 and 5000", options.Pairs))
			}
			if options.LimitTimes < 1 {
				return config.Usage(fmt.Errorf("--limit-times: %d is not a positive number", options.LimitTimes))
			}
			if !slices.Contains(simulated.Venues(), options.Venue) {
				return config.Usage(fmt.Errorf("--venue: %q is none of %s", options.Venue, venues))
			}
			if start := time.Now(); speed > 1 {
				options.Now = func() time.Time { return start.Add(time.Duration(float64(time.Since(start)) * speed)) }
			}
			if err := data.read(&options, speed); err != nil {
				return err
			}
			return in.simulate(cmd.Context(), addr, options)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&options.Venue, "venue", "binance", "venue whose wire format to speak")
	cmd.RegisterFlagCompletionFunc("venue", cobra.FixedCompletions(simulated.Venues(), cobra.ShellCompDirectiveNoFileComp))
	data.add(flags)
	flags.StringVar(&addr, "addr", "127.0.0.1:8090", "address to serve on")
	flags.IntVar(&options.Pairs, "pairs", 500, "normal pairs quoted in USDT; some unusual ones are added")
	flags.Uint64Var(&seed, "seed", 1, "seed of the market")
	flags.Float64Var(&speed, "speed", 1, "speed of the market's clock, as a multiple of real time")
	flags.DurationVar(&options.Latency, "latency", 0, "latency of every response")
	flags.DurationVar(&options.Jitter, "jitter", 0, "random variation of the latency, plus or minus")
	flags.IntVar(&options.WeightLimit, "weight-limit", 0, "limit of the venue's first counter, by default the venue's: request weight per minute on binance")
	flags.IntVar(&options.LimitTimes, "limit-times", 1, "multiply all limits of the venue by this")
	flags.Int64Var(&options.CacheBytes, "cache-bytes", 0, "size of the cache of rendered pages, in bytes")
	flags.StringVar(&faults, "faults", "", "share of faulty responses (0.1), or shares by kind (500=0.02,reset=0.01)")
	return cmd
}

func (in *invocation) simulate(ctx context.Context, addr string, options simulated.Options) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return config.Usage(fmt.Errorf("--addr: %w", err))
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("--addr: %w", err)
	}
	server := api.Server(simulated.New(options))
	fmt.Fprintf(in.stdout, "%sSIMULATED %s exchange on http://%s\n", replayed(options), options.Venue, l.Addr())
	stopped := context.AfterFunc(ctx, func() { server.Close() })
	defer stopped()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

const dataHelp = `--data replays a folder of candle files, each of one pair and interval, named
SYMBOL-INTERVAL.csv, .csv.gz or .zip: the columns open time, open, high, low, close and
volume, as in the public data of Binance. The market's clock begins --data-ahead candles
before the end of the data and runs on; then the pairs are halted.`

// replayFlags are the flags of a replay.
type replayFlags struct {
	folder string
	ahead  int
}

func (f *replayFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.folder, "data", "", "folder of candle files to replay instead of invented prices")
	flags.IntVar(&f.ahead, "data-ahead", 100, "candles of the finest interval in --data that are still to come at the start")
}

// read puts the replay into the options, if there is one.
func (f *replayFlags) read(o *simulated.Options, speed float64) error {
	switch {
	case f.folder == "":
		return nil
	case f.ahead < 0:
		return config.Usage(fmt.Errorf("--data-ahead: %d is negative", f.ahead))
	}
	replay, err := simulated.ReadReplay(f.folder)
	if err != nil {
		return config.Usage(fmt.Errorf("--data: %w", err))
	}
	o.Replay, o.Now = replay, replay.Clock(f.ahead, speed)
	return nil
}

// replayed says of which dates a replay is, for the start of a sentence; it is empty for
// invented prices.
func replayed(o simulated.Options) string {
	if o.Replay == nil {
		return ""
	}
	first, last, _ := strings.Cut(o.Replay.Dates(), "/")
	return fmt.Sprintf("REPLAY of %s to %s from %s: ", first, last, o.Now().UTC().Format("2006-01-02 15:04 MST"))
}

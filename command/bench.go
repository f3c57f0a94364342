package command

import (
	"time"

	"github.com/spf13/cobra"

	"tidemark/bench"
)

func (in *invocation) benchCommand() *cobra.Command {
	var o bench.Options
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure memory and speed on this machine against the simulated exchange",
		Long: `Measure this program on this machine. A simulated exchange, the service and the
measuring client run as three processes. For each setting bench starts a new
service, sweeps the market once, and reads its peak memory (VmHWM) and processor
time. Before and after, a bare client fetches the same pages at the same
concurrency and discards them. Then bench measures a market four times as large,
ten sweeps in a row, and for GET /levels/{symbol} the latency at rest and during
a sweep, and the requests a second, compared with a handler that only writes the
same bytes. It takes some minutes.

--parts live measures live pairs: how soon after the message of a close its levels
are served, all pairs of six exchanges in one process, and whether candles are lost
by cuts of connections and kills of the process; live-close, live-venues and live-cuts
are these steps alone. With --hours it instead keeps pairs live for that many hours of
a fast clock. --parts ring measures webhooks: how soon after a price has come to a level
of a live pair one arrives, how many a close with 500 broken levels makes, and how long
200 receivers that hang delay another.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return bench.Run(cmd.Context(), o, in.stdout, in.stderr) },
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Pairs, "pairs", 500, "number of pairs in the market")
	flags.IntVar(&o.Klines, "klines", 2000, "klines per pair")
	flags.DurationVar(&o.Latency, "latency", 20*time.Millisecond, "latency of the exchange")
	flags.StringSliceVar(&o.Settings, "settings", []string{"5/50", "3/20", "2/10", "1/5", "20/50"}, "settings to measure, concurrency/batch")
	flags.StringSliceVar(&o.Parts, "parts", bench.Parts, "what to measure")
	flags.IntVar(&o.Closes, "closes", 5, "closes of a minute to measure with --parts live or ring")
	flags.IntVar(&o.Hours, "hours", 0, "with --parts live: keep pairs live for this many simulated hours instead")
	flags.Float64Var(&o.Speed, "speed", 60, "speed of the market's clock in these hours, as a multiple of real time")
	flags.StringVar(&o.Plot, "plot", "", "write a plot of these hours to this SVG file")
	flags.BoolVar(&o.SQLite, "sqlite", true, "measure SQLite")
	flags.StringVar(&o.Postgres, "postgres", "", "address of a PostgreSQL database to measure too; the schema tidemark_bench is created and dropped")
	flags.BoolVar(&o.JSON, "json", false, "print JSON instead of tables")
	cmd.AddCommand(in.benchLoadCommand(), in.benchBareCommand())
	return cmd
}

// benchLoadCommand is the client of a part of bench, in a process of its own.
func (in *invocation) benchLoadCommand() *cobra.Command {
	var o bench.LoadOptions
	cmd := &cobra.Command{
		Use:    "load",
		Short:  "Ask for a URL as fast as it is answered, and print how often it was",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return bench.Load(cmd.Context(), o, in.stdout) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.URL, "url", "", "what to ask for")
	flags.StringVar(&o.IfNoneMatch, "if-none-match", "", "entity tag to send")
	flags.IntVar(&o.Status, "status", 200, "status every reply must have")
	flags.IntVar(&o.Connections, "connections", 16, "connections, each with one request at a time")
	flags.DurationVar(&o.Time, "time", 3*time.Second, "how long to ask")
	return cmd
}

// benchBareCommand is what a part of bench compares the service with.
func (in *invocation) benchBareCommand() *cobra.Command {
	var url string
	cmd := &cobra.Command{
		Use:    "bare",
		Short:  "Serve a copy of the reply at a URL with a handler that does nothing else",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return bench.Bare(cmd.Context(), url, in.stdout) },
	}
	cmd.Flags().StringVar(&url, "url", "", "what to copy")
	return cmd
}

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
ten sweeps in a row, and the latency of GET /levels/{symbol} at rest and during a
sweep. It takes some minutes.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return bench.Run(cmd.Context(), o, in.stdout, in.stderr) },
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Pairs, "pairs", 500, "number of pairs in the market")
	flags.IntVar(&o.Klines, "klines", 2000, "klines per pair")
	flags.DurationVar(&o.Latency, "latency", 20*time.Millisecond, "latency of the exchange")
	flags.StringSliceVar(&o.Settings, "settings", []string{"5/50", "3/20", "2/10", "1/5", "20/50"}, "settings to measure, concurrency/batch")
	flags.StringSliceVar(&o.Parts, "parts", bench.Parts, "what to measure")
	flags.StringVar(&o.Postgres, "postgres", "", "address of a PostgreSQL database to measure too; the schema tidemark_bench is created and dropped")
	flags.BoolVar(&o.JSON, "json", false, "print JSON instead of tables")
	return cmd
}

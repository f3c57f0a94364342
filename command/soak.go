package command

import (
	"github.com/spf13/cobra"

	"tidemark/bench"
)

func (in *invocation) soakCommand() *cobra.Command {
	var o bench.SoakOptions
	cmd := &cobra.Command{
		Use:   "soak",
		Short: "Sweep hundreds of times under faults, and watch memory, goroutines and files",
		Long: `Have this very program sweep a simulated market again and again, and ask it
after each sweep for its memory, goroutines and open files. The market's clock
runs fast, so that every sweep meets new candles; a share of its answers is
faulty in every way there is. Exchange, service and this command are processes of
their own. With --postgres a second service runs at the same time on that
database.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return bench.Soak(cmd.Context(), o, in.stdout, in.stderr) },
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Sweeps, "sweeps", 200, "how often to sweep")
	flags.IntVar(&o.Pairs, "pairs", 500, "pairs of the market")
	flags.StringVar(&o.Setting, "setting", "3/20", "concurrency/batch")
	flags.StringVar(&o.Faults, "faults", "0.05", "share of the exchange's answers that are faulty, as of simulate")
	flags.Float64Var(&o.Speed, "speed", 3600, "how many times as fast as time the market's clock runs")
	flags.StringVar(&o.Postgres, "postgres", "", "address of a PostgreSQL database to soak as well, in its schema tidemark_bench, which is made and dropped")
	flags.StringVar(&o.Plot, "plot", "", "draw the course to this SVG file")
	flags.BoolVar(&o.JSON, "json", false, "print every sample as JSON instead of a table")
	return cmd
}

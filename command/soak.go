package command

import (
	"github.com/spf13/cobra"

	"tidemark/bench"
)

func (in *invocation) soakCommand() *cobra.Command {
	var o bench.SoakOptions
	cmd := &cobra.Command{
		Use:   "soak",
		Short: "Sweep hundreds of times under faults and record memory, goroutines and files",
		Long: `Sweep a simulated market again and again with this program, and record its memory,
goroutines and open files after each sweep. The market's clock runs fast, so that
every sweep finds new candles, and a share of its responses is faulty, with every
kind of fault. The exchange, the service and this command are separate processes.
With --postgres a second service runs at the same time on that database.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return bench.Soak(cmd.Context(), o, in.stdout, in.stderr) },
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Sweeps, "sweeps", 200, "number of sweeps")
	flags.IntVar(&o.Pairs, "pairs", 500, "number of pairs in the market")
	flags.StringVar(&o.Setting, "setting", "3/20", "concurrency/batch")
	flags.StringVar(&o.Faults, "faults", "0.05", "share of faulty responses of the exchange, as for simulate")
	flags.Float64Var(&o.Speed, "speed", 3600, "speed of the market's clock, as a multiple of real time")
	flags.StringVar(&o.Postgres, "postgres", "", "address of a PostgreSQL database to soak too; the schema tidemark_bench is created and dropped")
	flags.StringVar(&o.Plot, "plot", "", "write a plot to this SVG file")
	flags.BoolVar(&o.JSON, "json", false, "print every sample as JSON instead of a table")
	return cmd
}

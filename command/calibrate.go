package command

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"tidemark/levels/calibrate"
)

func (in *invocation) calibrateCommand() *cobra.Command {
	var klines, out string
	var seed uint64
	cmd := &cobra.Command{
		Use:   "calibrate",
		Short: "Fit the odds of levels on files of candles",
		Long: `Fit the selection of levels and the odds that levels are touched and hold, on all
intervals up to 4h that the files contain or that can be built from them. calibrate
prints the results of such fits on unseen pairs and times, and writes the table that
is compiled into the program; rebuild the program to use a new table. The same files
and seed give the same table. 170 series of 24,000 candles take about ten minutes of
one core and 0.5 GB of memory. docs/levels-research.md explains the figures.

Files are named SYMBOL-INTERVAL.csv.gz, are sorted by time and begin with the line
open_time_ms,open,high,low,close,volume.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			table, err := calibrate.Run(calibrate.Options{
				Folder: klines, Seed: seed, Log: in.stdout,
				Command: fmt.Sprintf("tidemark calibrate --klines DIR --seed %d", seed),
			})
			if err != nil {
				return err
			}
			file, err := table.Encode()
			if err != nil {
				return err
			}
			if err := os.WriteFile(out, file, 0o644); err != nil {
				return err
			}
			fmt.Fprintf(in.stdout, "%s: %d bytes\n", out, len(file))
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&klines, "klines", "", "folder of candle files (required)")
	flags.StringVar(&out, "out", "levels/odds.table", "file to write")
	flags.Uint64Var(&seed, "seed", 1, "seed of the random numbers")
	_ = cmd.MarkFlagRequired("klines")
	return cmd
}

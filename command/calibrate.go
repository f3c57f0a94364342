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
		Long: `Fit, on all intervals up to 4h that the files have or make up, what tells
levels that hold from lines that do not, and the odds that levels are touched and
hold. Prints how such fits do on pairs and times they have not seen, and writes the
table that is built into the program: build it again to use a new one. Equal files
and an equal seed give an equal table. Takes some ten minutes of one core and about
0.5 GB of memory for 170 series of 24,000 candles; docs/levels-research.md tells what
the figures mean.

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
	flags.Uint64Var(&seed, "seed", 1, "seed of what is drawn while fitting")
	_ = cmd.MarkFlagRequired("klines")
	return cmd
}

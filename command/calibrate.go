package command

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"tidemark/config"
	"tidemark/levels"
	"tidemark/levels/calibrate"
)

func (in *invocation) calibrateCommand() *cobra.Command {
	var klines []string
	var out, until, fold string
	var backwards bool
	var seed uint64
	cmd := &cobra.Command{
		Use:   "calibrate",
		Short: "Fit the odds of levels on files of candles",
		Long: `Fit the selection of levels and the odds that levels are touched and hold, on all
intervals up to a day that the files contain or that can be built from them. calibrate
prints the results of such fits on unseen pairs and times, and writes the table that
is compiled into the program; rebuild the program to use a new table. The same files
and seed give the same table. docs/levels-research.md explains the figures, and how
long it takes.

Files are named SYMBOL-INTERVAL.csv.gz, are sorted by time and begin with the line
open_time_ms,open,high,low,close,volume. They may lie in folders below. With --until
later candles are not read, so that they can judge the table: tidemark evaluate --split.

With --fold, calibrate fits once, on what came before that time or, with --backwards, on
what came after it, and prints how the levels do within it. It writes the table of this fit
only if --out is given; tidemark evaluate --table judges it. Do not build a program with it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options := calibrate.Options{Folders: klines, Seed: seed, Log: in.stdout, Command: "tidemark calibrate"}
			for range klines {
				options.Command += " --klines DIR"
			}
			if until != "" {
				var err error
				if options.Until, err = time.Parse(time.DateOnly, until); err != nil {
					return config.Usage(fmt.Errorf("--until: %q is not a day, such as 2024-05-01", until))
				}
				options.Command += " --until " + until
			}
			options.Command += fmt.Sprintf(" --seed %d", seed)
			run := calibrate.Run
			if fold != "" {
				from, to, err := days(fold)
				if err != nil || from.IsZero() || to.IsZero() {
					return config.Usage(fmt.Errorf("--fold: %q is not FROM..TO, such as 2022-10-01..2024-01-01", fold))
				}
				options.Command += " --fold " + fold
				if backwards {
					options.Command += " --backwards"
				}
				run = func(o calibrate.Options) (*levels.Table, error) {
					return calibrate.RunFold(o, calibrate.Fold{From: from, To: to, Backwards: backwards})
				}
			}
			table, err := run(options)
			if err != nil {
				return err
			}
			if fold != "" && !cmd.Flags().Changed("out") {
				return nil
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
	flags.StringArrayVar(&klines, "klines", nil, "folder of candle files (required; may be repeated)")
	flags.StringVar(&until, "until", "", "use only candles that close by this day (UTC), such as 2024-05-01")
	flags.StringVar(&out, "out", "levels/odds.table", "file to write")
	flags.StringVar(&fold, "fold", "", "judge only FROM..TO, such as 2022-10-01..2024-01-01, by a fit on earlier times")
	flags.BoolVar(&backwards, "backwards", false, "with --fold: by a fit on later times")
	flags.Uint64Var(&seed, "seed", 1, "seed of the random numbers")
	_ = cmd.MarkFlagRequired("klines")
	return cmd
}

package command

import (
	"errors"

	"github.com/spf13/cobra"

	"tidemark/app"
	"tidemark/config"
	"tidemark/service"
)

func (in *invocation) analyzeCommand() *cobra.Command {
	var out output
	var store bool
	cmd := &cobra.Command{
		Use:   "analyze SYMBOL",
		Short: "Analyse one pair now and print its levels",
		Args:  onePair,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			cfg, name, err := in.pair(cmd, args)
			if err != nil {
				return err
			}
			a, err := app.Open(cmd.Context(), cfg, in.logger(quiet(cfg)))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, a.Close()) }()
			// the exchange itself says what is wrong with a name that only it can know
			found := service.KnownPair{Exchange: cfg.Exchanges[0], Symbol: name.Plain}
			if len(cfg.Exchanges) > 1 || name.Text != name.Plain {
				found, err = a.Analyzer.Resolve(cmd.Context(), "", name)
				if err != nil {
					return ambiguous(err)
				}
			}
			snap, err := a.Analyzer.Analyze(cmd.Context(), service.Request{Exchange: found.Exchange, Symbol: found.Symbol, Store: store})
			if err != nil {
				return err
			}
			return out.print(newScreen(in.stdout, in.environ), snap, snap.ComputedAt, cfg) // by the clock of the exchange, which may be a replay
		},
	}
	out.flags(cmd)
	cmd.Flags().BoolVar(&store, "store", true, "store the analysis in the database")
	config.AddFlags(cmd.Flags())
	return cmd
}

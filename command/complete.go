package command

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tidemark/app"
	"tidemark/config"
	"tidemark/levels"
	"tidemark/memory"
	"tidemark/repository"
	"tidemark/service"
)

// complete has the shell complete what a command is given: the symbols of pairs
// that are stored, candle lengths, and the values of settings that have only a few.
func (in *invocation) complete(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		if strings.HasSuffix(cmd.Use, " SYMBOL") {
			cmd.ValidArgsFunction = in.completeSymbol
		}
		for _, v := range config.Variables {
			if cmd.Flags().Lookup(v.Flag()) == nil {
				continue
			}
			values := slices.Clone(v.OneOf)
			if v.Name == "ANALYSIS_INTERVAL" {
				for _, i := range levels.Intervals() {
					values = append(values, string(i))
				}
			}
			if len(values) > 0 {
				cmd.RegisterFlagCompletionFunc(v.Flag(), cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
			}
		}
	}
}

// completeSymbol offers the pairs stored for the exchange and the interval of the
// configuration. Nothing is made or brought up to date for it, and nothing is said
// where nothing can be read: the line of the shell is no place for it.
func (in *invocation) completeSymbol(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	const nothing = cobra.ShellCompDirectiveNoFileComp
	cfg, err := in.config(cmd)
	if err != nil || len(args) > 0 {
		return nil, nothing
	}
	b, log := app.NewBudget(cfg, memory.Read().Limit), in.logger(quiet(cfg))
	found, err := repository.Inspect(cmd.Context(), b.DatabaseConfig(log), app.Address(cfg))
	if err != nil || found.Version != found.Known {
		return nil, nothing
	}
	db, err := app.OpenDatabase(cmd.Context(), b, log)
	if err != nil {
		return nil, nothing
	}
	defer db.Close()
	var symbols []string
	for snap, err := range db.Latest(cmd.Context(), cfg.Exchange, cfg.AnalysisInterval) {
		if err != nil && !errors.Is(err, service.ErrUnreadable) {
			break
		}
		if strings.HasPrefix(snap.Symbol, strings.ToUpper(begun)) {
			symbols = append(symbols, snap.Symbol)
		}
	}
	return symbols, nothing
}

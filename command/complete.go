package command

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tidemark/app"
	"tidemark/config"
	"tidemark/exchange/venues"
	"tidemark/levels"
	"tidemark/memory"
	"tidemark/repository"
	"tidemark/service"
	"tidemark/wire"
)

// complete registers the shell completion of stored symbols, intervals, and the values
// of settings with a fixed set of values.
func (in *invocation) complete(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		if strings.Contains(cmd.Use, "SYMBOL") {
			cmd.ValidArgsFunction = in.completeSymbol
		}
		if cmd.Flags().Lookup("interval") != nil {
			cmd.RegisterFlagCompletionFunc("interval", cobra.FixedCompletions(intervalNames(), cobra.ShellCompDirectiveNoFileComp))
		}
		if cmd.Flags().Lookup("kind") != nil {
			cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(wire.EventKinds, cobra.ShellCompDirectiveNoFileComp))
		}
		for _, v := range config.Variables {
			if cmd.Flags().Lookup(v.Flag()) == nil {
				continue
			}
			values := slices.Clone(v.OneOf)
			switch v.Name {
			case "ANALYSIS_INTERVAL":
				values = intervalNames()
			case "EXCHANGE":
				values = venues.Names()
			}
			if len(values) > 0 {
				cmd.RegisterFlagCompletionFunc(v.Flag(), cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
			}
		}
	}
}

func intervalNames() []string {
	var names []string
	for _, i := range levels.Intervals() {
		names = append(names, string(i))
	}
	return names
}

// completeSymbol completes the symbols stored for the configured exchanges and interval.
// It does not create or migrate a database, and it prints no errors, which would disturb
// the command line.
func (in *invocation) completeSymbol(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	const nothing = cobra.ShellCompDirectiveNoFileComp
	cfg, err := in.config(cmd)
	if err != nil || len(args) > 0 {
		return nil, nothing
	}
	b, log := app.NewBudget(cfg, memory.Read().Limit), in.logger(quiet(cfg))
	found, err := repository.Inspect(cmd.Context(), b.DatabaseConfig(log))
	if err != nil || found.Version != found.Known {
		return nil, nothing
	}
	db, err := app.OpenDatabase(cmd.Context(), b, log)
	if err != nil {
		return nil, nothing
	}
	defer db.Close()
	var symbols []string
	for _, exchange := range cfg.Exchanges {
		for snap, err := range db.Latest(cmd.Context(), exchange, cfg.AnalysisInterval) {
			if err != nil && !errors.Is(err, service.ErrUnreadable) {
				break
			}
			if strings.HasPrefix(snap.Symbol, strings.ToUpper(prefix)) {
				symbols = append(symbols, snap.Symbol)
			}
		}
	}
	slices.Sort(symbols)
	return slices.Compact(symbols), nothing
}

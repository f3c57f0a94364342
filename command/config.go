package command

import (
	"github.com/spf13/cobra"

	"tidemark/app"
	"tidemark/config"
	"tidemark/memory"
)

func (in *invocation) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the effective configuration, secrets masked",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := in.config(cmd)
			if err != nil {
				return err
			}
			c.Print(in.stdout)
			app.NewBudget(c, memory.Read().Limit).Print(in.stdout)
			return nil
		},
	}
	config.AddFlags(cmd.Flags())
	return cmd
}

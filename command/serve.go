package command

import (
	"github.com/spf13/cobra"

	"tidemark/app"
	"tidemark/config"
)

func (in *invocation) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve levels over HTTP",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := in.config(cmd)
			if err != nil {
				return err
			}
			return app.Serve(cmd.Context(), cfg, in.openAPI, in.logger(cfg), nil)
		},
	}
	config.AddFlags(cmd.Flags())
	return cmd
}

package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"tidemark/app"
)

func (in *invocation) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(in.stdout, "tidemark", app.BuildVersion())
			return err
		},
	}
}

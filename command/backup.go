package command

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"tidemark/app"
	"tidemark/config"
	"tidemark/memory"
	"tidemark/repository"
)

func (in *invocation) backupCommand() *cobra.Command {
	return in.copyCommand(&cobra.Command{
		Use:   "backup FILE",
		Short: "Write a copy of the database to a new file, while a service runs",
		Long: `Write the state of the database of DATABASE_URL at one moment to a new file. A running
service is not disturbed. The file appears under its name when it is complete and
checked: a SQLite database, or a zip archive of the tables of PostgreSQL.`,
	}, "written", repository.Backup)
}

func (in *invocation) restoreCommand() *cobra.Command {
	return in.copyCommand(&cobra.Command{
		Use:   "restore FILE",
		Short: "Fill a new database from a file of backup",
		Long: `Fill the database of DATABASE_URL from a file of backup. A SQLite file must not exist
yet; a PostgreSQL database or schema must have no data of tidemark. The next start
migrates the data if the backup is of an earlier version.`,
	}, "restored", repository.Restore)
}

// copyCommand completes a command that copies between the database and a file.
func (in *invocation) copyCommand(cmd *cobra.Command, done string, run func(context.Context, repository.Config, string) (repository.Backed, error)) *cobra.Command {
	cmd.Args = cobra.ExactArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := in.config(cmd)
		if err != nil {
			return err
		}
		b, err := run(cmd.Context(), app.NewBudget(cfg, memory.Read().Limit).DatabaseConfig(in.logger(quiet(cfg))), args[0])
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(in.stdout, "%s %s: %s, schema version %d\n", args[0], done, config.FormatBytes(b.Bytes), b.Version)
		return err
	}
	config.AddFlags(cmd.Flags())
	return cmd
}

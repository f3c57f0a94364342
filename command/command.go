// Package command is the command line: a file for each command, and the tables and
// colours of a terminal. It knows no SQL and no wire format.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"tidemark/app"
	"tidemark/config"
)

// The exit codes besides 0.
const (
	ExitFailed  = 1
	ExitUsage   = 2
	ExitPartial = 3 // done, with failures of single symbols
)

// Main runs the command line of this process and ends it.
func Main(openAPI []byte) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the second one kills, as it would without us.
	context.AfterFunc(ctx, stop)
	app.TuneMemory(os.Environ())
	os.Exit(ExitCode(Run(ctx, openAPI, os.Args[1:], os.Environ(), os.Stdout, os.Stderr), os.Stderr))
}

// errPartial ends a command that did its work but for single symbols.
var errPartial = errors.New("some symbols failed")

// ExitCode reports err in one line and turns it into the exit code.
func ExitCode(err error, stderr io.Writer) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errPartial):
		return ExitPartial
	}
	fmt.Fprintln(stderr, "tidemark:", strings.Join(strings.Fields(err.Error()), " "))
	if config.IsUsage(err) {
		return ExitUsage
	}
	return ExitFailed
}

// invocation is what every command is handed.
type invocation struct {
	openAPI        []byte
	environ        []string
	stdout, stderr io.Writer
}

// Run executes one command line. It is Main without the process around it.
// stderr must allow concurrent writes: the log and the progress share it.
func Run(ctx context.Context, openAPI []byte, args, environ []string, stdout, stderr io.Writer) error {
	in := &invocation{openAPI, environ, stdout, stderr}
	began := false
	root := &cobra.Command{
		Use:   "tidemark",
		Short: "Support and resistance levels for every pair of an exchange",
		Long: `tidemark pulls the klines of every pair of an exchange, finds support and
resistance levels and serves them over HTTP. Every setting is an environment
variable and a flag of the same name (ANALYSIS_CONCURRENCY, --analysis-concurrency).

Exit codes: 0 done, 1 failed, 2 wrong use, 3 done with failures of single symbols.`,
		SilenceErrors:    true,
		SilenceUsage:     true,
		PersistentPreRun: func(*cobra.Command, []string) { began = true },
	}
	root.Version = app.BuildVersion()
	root.SetVersionTemplate("tidemark {{.Version}}\n")
	root.SetHelpFunc(shortHelp(root.HelpFunc(), slices.Contains(args, helpAll)))
	root.SetArgs(helpArgs(args))
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(
		in.serveCommand(), in.demoCommand(), in.sweepCommand(), in.analyzeCommand(), in.levelsCommand(), in.watchCommand(),
		in.evaluateCommand(), in.benchCommand(), in.soakCommand(), in.calibrateCommand(), in.simulateCommand(), in.configCommand(), in.doctorCommand(), in.healthcheckCommand(), in.versionCommand(),
	)
	in.complete(root)
	err := root.ExecuteContext(ctx)
	if err != nil && !began {
		return config.Usage(err)
	}
	return err
}

// helpAll is --help with every setting.
const helpAll = "--help-all"

// helpArgs has --help-all reach cobra as --help.
func helpArgs(args []string) []string {
	args = slices.Clone(args)
	for i, a := range args {
		if a == helpAll {
			args[i] = "--help"
		}
	}
	return args
}

// shortHelp is the help of a command with its own flags, and of the settings, which
// most commands share, only where they are described. With all of them it is help.
func shortHelp(help func(*cobra.Command, []string), all bool) func(*cobra.Command, []string) {
	return func(cmd *cobra.Command, args []string) {
		settings := false
		for _, v := range config.Variables {
			if f := cmd.Flags().Lookup(v.Flag()); f != nil {
				settings, f.Hidden = true, !all
			}
		}
		help(cmd, args)
		if settings && !all {
			fmt.Fprintln(cmd.OutOrStdout(), "\nSettings (ANALYSIS_INTERVAL=4h) are flags, too (--analysis-interval 4h): "+helpAll+" lists them.")
		}
	}
}

// config loads the configuration for a command.
func (in *invocation) config(cmd *cobra.Command) (config.Config, error) {
	c, err := config.Load(in.environ, cmd.Flags())
	if err != nil {
		return config.Config{}, config.Usage(err)
	}
	return c, nil
}

// logger writes to stderr, so that stdout carries results only.
func (in *invocation) logger(c config.Config) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(in.stderr, options))
	}
	return slog.New(slog.NewTextHandler(in.stderr, options))
}

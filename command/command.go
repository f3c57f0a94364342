// Package command is the command line: one file for each command, and the tables and
// colours of a terminal. It does not know SQL or wire formats.
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
	"tidemark/exchange/venues"
)

// The exit codes other than 0.
const (
	ExitFailed  = 1
	ExitUsage   = 2
	ExitPartial = 3 // done, but some symbols failed
)

// Main runs the command line of this process and exits.
func Main(openAPI []byte) {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	// The second signal kills the process, as it does by default.
	context.AfterFunc(ctx, stop)
	app.TuneMemory(os.Environ())
	os.Exit(ExitCode(Run(ctx, openAPI, os.Args[1:], os.Environ(), os.Stdout, os.Stderr), os.Stderr))
}

// errPartial is returned by a command that has finished although some symbols failed.
var errPartial = errors.New("some symbols failed")

// ExitCode prints err in one line and returns the exit code.
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

// invocation holds what all commands share.
type invocation struct {
	openAPI        []byte
	environ        []string
	stdout, stderr io.Writer
}

// Run executes one command line. Unlike Main it does not use the state of the process.
// stderr must allow concurrent writes: the log and the progress share it.
func Run(ctx context.Context, openAPI []byte, args, environ []string, stdout, stderr io.Writer) error {
	in := &invocation{openAPI, environ, stdout, stderr}
	parsed := false // the command line is valid
	root := in.root()
	root.SetHelpFunc(shortHelp(root.HelpFunc(), environ, slices.Contains(args, helpAll)))
	root.SetArgs(helpArgs(args))
	root.SetHelpCommand(helpCommand())
	root.InitDefaultCompletionCmd(args...)
	for _, cmd := range root.Commands() {
		switch run := cmd.RunE; {
		case run != nil:
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				parsed = true
				return run(cmd, args)
			}
		case cmd.HasSubCommands():
			cmd.RunE = showHelp
		}
	}
	err := root.ExecuteContext(ctx)
	if err != nil && !parsed {
		if len(args) > 0 && args[0] == "explain" {
			err = errors.New("unknown command explain: use `tidemark levels SYMBOL --explain R1`; `tidemark levels SYMBOL` prints the names")
		}
		err = config.Usage(err)
	}
	if config.IsUsage(err) {
		return dictionaryOf(environ).usage(err)
	}
	return err
}

// root returns the command line.
func (in *invocation) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "tidemark",
		Short: "Support and resistance levels for every pair of an exchange",
		Long: `tidemark fetches the klines of every pair of an exchange, finds support and
resistance levels and serves them over HTTP. Every setting is an environment
variable and a flag of the same name (ANALYSIS_CONCURRENCY, --analysis-concurrency).

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but some symbols failed.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.Version = app.BuildVersion()
	root.SetVersionTemplate("tidemark {{.Version}}\n")
	root.SetOut(in.stdout)
	root.SetErr(in.stderr)
	root.AddCommand(
		in.serveCommand(), in.demoCommand(), in.sweepCommand(), in.analyzeCommand(), in.levelsCommand(), in.watchCommand(), in.eventsCommand(), in.recordCommand(),
		in.evaluateCommand(), in.benchCommand(), in.soakCommand(), in.calibrateCommand(), in.simulateCommand(), in.configCommand(), in.doctorCommand(), in.backupCommand(), in.restoreCommand(), in.healthcheckCommand(), in.versionCommand(),
	)
	in.complete(root)
	return root
}

// Tree returns the command line for manual pages and completion scripts. Of the settings,
// which most commands share, all but those of serve are hidden.
func Tree() *cobra.Command {
	in := &invocation{stdout: io.Discard, stderr: io.Discard}
	root := in.root()
	for _, cmd := range root.Commands() {
		for _, v := range config.Variables {
			if f := cmd.Flags().Lookup(v.Flag()); f != nil && cmd.Name() != "serve" {
				f.Hidden = true
			}
		}
	}
	return root
}

// helpCommand replaces the one of cobra, which succeeds for an unknown command.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Print the help of a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || about == cmd.Root() && len(rest) > 0 {
				return config.Usage(fmt.Errorf("unknown command %q", strings.Join(args, " ")))
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// showHelp is what a command with subcommands does by itself.
func showHelp(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
	}
	return cmd.Help()
}

// helpAll is the flag that prints the help with all settings.
const helpAll = "--help-all"

// helpArgs replaces --help-all with --help for cobra.
func helpArgs(args []string) []string {
	args = slices.Clone(args)
	for i, a := range args {
		if a == helpAll {
			args[i] = "--help"
		}
	}
	return args
}

// config loads the configuration for a command.
func (in *invocation) config(cmd *cobra.Command) (config.Config, error) {
	c, err := config.Load(in.environ, cmd.Flags(), venues.Names())
	if err != nil {
		return config.Config{}, config.Usage(err)
	}
	return c, nil
}

// logger returns a logger that writes to stderr: stdout is for results only.
func (in *invocation) logger(c config.Config) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(in.stderr, options))
	}
	return slog.New(slog.NewTextHandler(in.stderr, options))
}

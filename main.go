// Command tidemark finds support and resistance levels in the klines of every
// pair of an exchange and serves them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"tidemark/service"
)

// version is set by the linker: -ldflags "-X main.version=1.2.3".
var version = "dev"

// The exit codes besides 0.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitPartial = 3 // done, with failures of single symbols
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the second one kills, as it would without us.
	context.AfterFunc(ctx, stop)
	tuneMemory(os.Environ())
	os.Exit(exitCode(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr), os.Stderr))
}

// tuneMemory trades a little processor time for memory unless the environment
// already said otherwise: the heap is a few MiB, so collecting it four times as
// often costs 0.05 s of a sweep of 500 pairs and saves 1.5 MiB at its peak. Still
// more often saves nothing more. Inside a memory limit the collector is told to
// respect it; Go does not read the cgroup by itself. Allocations are sampled for a
// heap profile only once somebody can ask for one (DEBUG_ADDR): the table of what
// was sampled takes 1.5 MiB.
func tuneMemory(environ []string) {
	set := func(name string) bool {
		return slices.ContainsFunc(environ, func(line string) bool { return strings.HasPrefix(line, name+"=") })
	}
	runtime.MemProfileRate = 0
	if !set("GOGC") {
		debug.SetGCPercent(25)
	}
	if limit := service.ReadMemory().Limit; limit > 0 && !set("GOMEMLIMIT") {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

// errPartial ends a command that did its work but for single symbols.
var errPartial = errors.New("some symbols failed")

// usageError is a wrong command line or configuration.
type usageError struct{ error }

// exitCode reports err in one line and turns it into the exit code.
func exitCode(err error, stderr io.Writer) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errPartial):
		return exitPartial
	}
	fmt.Fprintln(stderr, "tidemark:", strings.Join(strings.Fields(err.Error()), " "))
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitFailed
}

// invocation is what every command is handed.
type invocation struct {
	environ        []string
	stdout, stderr io.Writer
}

// run executes one command line. It is main without the process around it.
// stderr must allow concurrent writes: the log and the progress share it.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	in := &invocation{environ, stdout, stderr}
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
	root.Version = buildVersion()
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
		return usageError{err}
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
		for _, v := range variables {
			if f := cmd.Flags().Lookup(v.flag()); f != nil {
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
func (in *invocation) config(cmd *cobra.Command) (Config, error) {
	c, err := loadConfig(in.environ, cmd.Flags())
	if err != nil {
		return Config{}, usageError{err}
	}
	return c, nil
}

// logger writes to stderr, so that stdout carries results only.
func (in *invocation) logger(c Config) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(in.stderr, options))
	}
	return slog.New(slog.NewTextHandler(in.stderr, options))
}

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
			c.print(in.stdout)
			newBudget(c, service.ReadMemory().Limit).print(in.stdout)
			return nil
		},
	}
	addConfigFlags(cmd.Flags())
	return cmd
}

func (in *invocation) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(in.stdout, "tidemark", buildVersion())
			return err
		},
	}
}

// buildVersion adds to the version the revision it was built from, if known.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version
	}
	text := version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			text += " " + s.Value[:min(12, len(s.Value))]
		}
	}
	return text + " " + info.GoVersion
}

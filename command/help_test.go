// Pins that the help and the errors of usage are Chinese in whole, under the rule of the
// other words, and that nothing else is in the dictionary.
package command

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tidemark/config"
)

// fromElsewhere are texts of cobra, pflag, strconv and other packages, and those that config
// puts together.
var fromElsewhere = []string{
	"Usage:", "Available Commands:", "Flags:", `Use "%s [command] --help" for more information about a command.`, "(default %s)", "%s (default %s)",
	"help for %s", "version for %s", "Venues: %s.",
	"Every setting (ANALYSIS_INTERVAL=4h) is also a flag (--analysis-interval 4h): " + helpAll + " lists them.",
	"unknown command %q for %q", "Did you mean this? %s", "unknown flag: --%s", "unknown shorthand flag: %q in -%s", "bad flag syntax: %s",
	"flag needs an argument: --%s", "flag needs an argument: %q in -%s", "invalid argument %q for %q flag: %s",
	"accepts %d arg(s), received %d", "accepts at most %d arg(s), received %d", `required flag(s) "%s" not set`,
	"exactly one symbol is required, got %d: %s BTCUSDT", "at most one folder is allowed, got %d",
	"--klines: %d is too small: at least %d are needed", "--every: %d is less than 1", "--methods: %q is not one of %s%s", "--pairs: %q is not a valid pattern: %w",
	"--split: %w", "%q is not FROM..TO, such as 2022-01-01..2023-01-01",
	"unknown command explain: use `tidemark levels SYMBOL --explain R1`; `tidemark levels SYMBOL` prints the names",
	"strconv.%s: parsing %q: invalid syntax", "strconv.%s: parsing %q: value out of range", "parse error",
	"time: invalid duration %q", "time: unknown unit %q in duration %q", "time: missing unit in duration %q",
	"unknown interval %q: one of %s", "%s is there twice", "%s; in a list they are separated by commas, without spaces",
	"%q is not a symbol such as BTCUSDT", "%q is the name of several pairs: %s; name the exchange too",
	`duration such as "30s" or "5m"`, "log level: DEBUG, INFO, WARN or ERROR", "number of bytes such as 48MiB", "truth value: true or false", "number", "whole number",
	"%s: %q is not a %s between %s and %s", "%s: %q is not a %s of at least %s", "%s: %v is not between %s and %s", "%s: %v is not of at least %s", "; did you mean %s?",
}

// helpTexts yields the paragraphs and lines of the help of cmd and those below it.
func helpTexts(cmd *cobra.Command, yield func(string)) {
	for _, text := range []string{cmd.Short, cmd.Long} {
		for p := range strings.SplitSeq(text, "\n\n") {
			switch {
			case p == "", strings.HasPrefix(p, "\t"), strings.HasPrefix(p, "####"): // what to type
			case strings.HasPrefix(p, "Venues: "):
			default:
				yield(p)
			}
		}
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !slices.ContainsFunc(config.Variables, func(v config.Variable) bool { return v.Flag() == f.Name }) {
			yield(f.Usage)
		}
	})
	for _, sub := range cmd.Commands() {
		if !sub.Hidden {
			helpTexts(sub, yield)
		}
	}
}

// usageErrors returns the formats of the errors of wrong usage in the source: all of config,
// and those of commands that are marked.
func usageErrors(t *testing.T) (formats []string) {
	t.Helper()
	made := regexp.MustCompile("(config\\.Usage\\()?(?:fmt\\.Errorf|errors\\.New)\\((\"(?:[^\"\\\\]|\\\\.)*\"|`[^`]*`)")
	for _, folder := range []string{"../config", "."} {
		files, err := filepath.Glob(folder + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			for _, m := range made.FindAllSubmatch(b, -1) {
				format, err := strconv.Unquote(string(m[2]))
				if err != nil {
					t.Fatal(err)
				}
				if folder == "../config" || len(m[1]) > 0 {
					formats = append(formats, format)
				}
			}
		}
	}
	return formats
}

func TestHelp_IsTranslatedInWhole(t *testing.T) {
	chinese := chineseHelp().texts
	needed := map[string]bool{}
	need := func(text string) { needed[strings.Join(strings.Fields(text), " ")] = true }
	root := (&invocation{stdout: io.Discard, stderr: io.Discard}).root()
	root.SetHelpCommand(helpCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	helpTexts(root, need)
	for _, v := range config.Variables {
		need(v.Help)
	}
	for _, format := range slices.Concat(usageErrors(t), fromElsewhere) {
		need(format)
	}
	for key := range needed {
		if chinese[key] == "" {
			t.Errorf("help.zh.json lacks %q", key)
		}
	}
	values := func(text string) (all []string) {
		for _, m := range verb.FindAllStringSubmatch(text, -1) {
			all = append(all, m[2])
		}
		slices.Sort(all)
		return all
	}
	for key, text := range chinese {
		if !needed[key] {
			t.Errorf("help.zh.json has %q, which nothing uses", key)
		}
		if a, b := values(key), values(text); !slices.Equal(a, b) {
			t.Errorf("%q has the values %q, in English %q", text, b, a)
		}
	}
}

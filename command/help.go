package command

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tidemark/config"
)

// dictionary has the help and the errors of wrong usage in another language. They are written
// in English where they belong, and found by their English: each paragraph, flag, heading
// and error, white space as single spaces, and values as verbs of fmt. A nil dictionary is
// English.
type dictionary struct {
	texts   map[string]string
	formats []format // the most specific ones first
}

// format is a text with values.
type format struct {
	english *regexp.Regexp
	text    string
}

var chineseHelp = sync.OnceValue(func() *dictionary { return newDictionary("zh") })

// dictionaryOf returns the dictionary for the language of the environment.
func dictionaryOf(environ []string) *dictionary {
	if languageOf(environ) == "zh" {
		return chineseHelp()
	}
	return nil
}

// verb matches a verb of fmt. In a translation it may have the number of its value.
var verb = regexp.MustCompile(`%(\[\d\])?([qdsvw])`)

func newDictionary(language string) *dictionary {
	d := &dictionary{texts: readWords("help." + language)}
	literal := func(key string) int { return len(verb.ReplaceAllString(key, "")) }
	for _, key := range slices.SortedFunc(maps.Keys(d.texts), func(a, b string) int { return literal(b) - literal(a) }) {
		if !verb.MatchString(key) {
			continue
		}
		pattern := verb.ReplaceAllStringFunc(regexp.QuoteMeta(key), func(v string) string {
			switch v {
			case "%q":
				return `("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')`
			case "%d":
				return `(-?\d+)`
			}
			return `(.*?)`
		})
		d.formats = append(d.formats, format{regexp.MustCompile("^" + pattern + "$"), verb.ReplaceAllString(d.texts[key], "%${1}s")})
	}
	return d
}

// text returns a text in the language of d, paragraph by paragraph. What d does not have
// stays as it is.
func (d *dictionary) text(english string) string {
	if d == nil {
		return english
	}
	paragraphs := strings.Split(english, "\n\n")
	for i, p := range paragraphs {
		if key := strings.Join(strings.Fields(p), " "); d.texts[key] != "" {
			paragraphs[i] = d.texts[key]
		} else if text := d.format(key); text != "" {
			paragraphs[i] = text
		}
	}
	return strings.Join(paragraphs, "\n\n")
}

// format returns a text with values, which may be texts themselves; "" if d has none for it.
func (d *dictionary) format(english string) string {
	for _, f := range d.formats {
		if found := f.english.FindStringSubmatch(english); found != nil {
			var values []any
			for _, value := range found[1:] {
				values = append(values, d.text(value))
			}
			return fmt.Sprintf(f.text, values...)
		}
	}
	return ""
}

// translated is an error in the language of the user.
type translated struct {
	error
	text string
}

func (t translated) Error() string { return t.text }
func (t translated) Unwrap() error { return t.error }

// usage returns an error of wrong usage in the language of d.
func (d *dictionary) usage(err error) error {
	if d == nil {
		return err
	}
	text, suggestion, suggests := strings.Cut(err.Error(), "; did you mean ")
	if text = d.text(text); suggests {
		text += d.text("; did you mean " + suggestion)
	}
	return translated{err, text}
}

// headings are what cobra and pflag print around the descriptions.
var headings = regexp.MustCompile(`(?m)^(?:Usage|Available Commands|Flags):$|^Use ".*" for more information about a command\.$| ?\(default .*\)$`)

// shortHelp returns a help function in the language of the environment. It lists the flags of
// the command, but not the settings, which most commands share. With all set it lists the
// settings too.
func shortHelp(help func(*cobra.Command, []string), environ []string, all bool) func(*cobra.Command, []string) {
	return func(cmd *cobra.Command, args []string) {
		d := dictionaryOf(environ)
		settings := false
		for _, v := range config.Variables {
			if f := cmd.Flags().Lookup(v.Flag()); f != nil {
				settings, f.Hidden = true, !all
			}
		}
		cmd.Short, cmd.Long = d.text(cmd.Short), d.text(cmd.Long)
		cmd.Flags().VisitAll(func(f *pflag.Flag) { f.Usage = d.text(f.Usage) })
		for _, sub := range cmd.Commands() {
			sub.Short = d.text(sub.Short)
		}
		out := cmd.OutOrStdout()
		var page bytes.Buffer
		cmd.SetOut(&page)
		help(cmd, args)
		cmd.SetOut(out)
		if settings && !all {
			fmt.Fprintln(&page, "\n"+d.text("Every setting (ANALYSIS_INTERVAL=4h) is also a flag (--analysis-interval 4h): "+helpAll+" lists them."))
		}
		io.WriteString(out, headings.ReplaceAllStringFunc(page.String(), d.text))
	}
}

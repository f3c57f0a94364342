package command

import (
	"embed"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
)

// The texts that commands print for people, a file for each language, under the same keys.
// JSON, CSV, logs and errors are English; help and errors of usage are in help.zh.json, by
// their English.
//
//go:embed words/*.json
var wordFiles embed.FS

// words are the texts of a language by key.
type words map[string]string

var (
	english = sync.OnceValue(func() words { return readWords("en") })
	chinese = sync.OnceValue(func() words { return readWords("zh") })
)

func readWords(language string) (w words) {
	b, err := wordFiles.ReadFile("words/" + language + ".json")
	if err == nil {
		err = json.Unmarshal(b, &w)
	}
	if err != nil {
		panic(err) // the file is embedded
	}
	return w
}

// wordsOf returns the texts in the language of the environment.
func wordsOf(environ []string) words {
	if languageOf(environ) == "zh" {
		return chinese()
	}
	return english()
}

// languageOf returns the language of the environment, en or zh: that of LC_ALL, else
// LC_MESSAGES, else LANG (POSIX, section 8.2).
func languageOf(environ []string) string {
	for _, name := range [...]string{"LC_ALL=", "LC_MESSAGES=", "LANG="} {
		value := ""
		for _, line := range environ {
			if v, found := strings.CutPrefix(line, name); found {
				value = v
			}
		}
		switch {
		case value == "":
		case strings.HasPrefix(value, "zh"):
			return "zh"
		default:
			return "en"
		}
	}
	return "en"
}

// say returns the text of a key, with values in place of their names in braces.
func (w words) say(key string, values ...any) string {
	text, known := w[key]
	if !known {
		_, text, _ = strings.Cut(key, ".") // a word of a newer service
	}
	named := make([]string, len(values))
	for i, v := range values {
		if p, is := v.(phrase); is {
			v = w.phrase(p)
		}
		named[i] = fmt.Sprint(v)
		if i%2 == 0 {
			named[i] = "{" + named[i] + "}"
		}
	}
	return strings.NewReplacer(named...).Replace(text)
}

// count is say for a text with a number n, of which the key with .one is for 1.
func (w words) count(key string, n int, values ...any) string {
	if n == 1 {
		key += ".one"
	}
	return w.say(key, append(values, "n", n)...)
}

// phrase is a text in no language yet.
type phrase struct {
	key    string
	values []any
}

func say(key string, values ...any) phrase { return phrase{key, values} }

func (w words) phrase(p phrase) string {
	if p.key == "" {
		return ""
	}
	return w.say(p.key, p.values...)
}

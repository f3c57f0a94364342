// Pins that each language of the page has every text that the page uses, and no others.
package api

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"tidemark/levels"
)

// placeholder is a text in index.html: its key, and the n of a number. Only the page's
// language says how that is written.
var placeholder = regexp.MustCompile(`\{\{([a-z0-9_.]+)(?::([0-9]+))?\}\}`)

// A pageText is a text of the page, in the forms of its language.
type pageText map[string]string

func (w *pageText) UnmarshalJSON(b []byte) error {
	if b[0] == '{' {
		return json.Unmarshal(b, (*map[string]string)(w))
	}
	*w = pageText{"other": ""}
	text := (*w)["other"]
	err := json.Unmarshal(b, &text)
	(*w)["other"] = text
	return err
}

func (w pageText) say(n string) string {
	return strings.ReplaceAll(w["other"], "{n}", n)
}

// names returns what is in braces in a text.
func (w pageText) names() []string {
	names := map[string]bool{}
	for _, form := range w {
		for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(form, -1) {
			names[m[1]] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// pageWords returns the texts of the page in a language, by key.
func pageWords(t *testing.T, language string) map[string]pageText {
	t.Helper()
	b, err := os.ReadFile("page/" + language + ".js")
	if err != nil {
		t.Fatal(err)
	}
	_, object, found := strings.Cut(string(b), "globalThis.words = ")
	words := map[string]pageText{}
	if err := json.Unmarshal([]byte(strings.TrimSuffix(object, ";\n")), &words); err != nil || !found {
		t.Fatalf("%s.js: %v", language, err)
	}
	return words
}

// usedWords returns the keys that index.html and the scripts use, and the beginnings of
// those that a script completes with a value.
func usedWords(t *testing.T) (keys, beginnings map[string]bool) {
	keys, beginnings = map[string]bool{"language": true, "file": true}, map[string]bool{}
	b, err := os.ReadFile("page/index.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range placeholder.FindAllStringSubmatch(string(b), -1) {
		keys[m[1]] = true
	}
	call := regexp.MustCompile(`\bsay\(((?:[^,"()]|\([^()]*\))*)("[^"]*")(?: : ("[^"]*"))?( \+)?`)
	for name, b := range pageSources(t) {
		if !strings.HasSuffix(name, ".js") || name == "words.js" || name == vendored || filesOfLanguage(name) != "" {
			continue
		}
		calls := call.FindAllSubmatch(b, -1)
		if said := regexp.MustCompile(`\bsay\(`).FindAll(b, -1); len(said) != len(calls) {
			t.Errorf("%s: %d of %d keys are not literals", name, len(said)-len(calls), len(said))
		}
		for _, m := range calls {
			for _, literal := range m[2:4] {
				if key := strings.Trim(string(literal), `"`); key == "" {
				} else if len(m[4]) > 0 {
					beginnings[key] = true
				} else {
					keys[key] = true
				}
			}
		}
	}
	return keys, beginnings
}

func TestPage_SaysTheSameInEachLanguage(t *testing.T) {
	keys, beginnings := usedWords(t)
	english := pageWords(t, "en")
	for _, language := range languages {
		words := pageWords(t, language)
		for key := range keys {
			if _, has := words[key]; !has {
				t.Errorf("%s.js lacks %q", language, key)
			}
		}
		for beginning := range beginnings {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(words)), func(key string) bool { return strings.HasPrefix(key, beginning) }) {
				t.Errorf("%s.js lacks %q and a value", language, beginning)
			}
		}
		for key, text := range words {
			used := keys[key]
			for beginning := range beginnings {
				used = used || strings.HasPrefix(key, beginning)
			}
			if !used {
				t.Errorf("%s.js has %q, which nothing uses", language, key)
			}
			if _, has := english[key]; !has {
				t.Errorf("%s.js has %q, which en.js lacks", language, key)
			}
			// an English sentence of the service is written by its values in other languages
			if a, b := text.names(), english[key].names(); !slices.Equal(a, b) && english[key]["other"] != "{text}" {
				t.Errorf("%q has the values %q in %s.js, %q in en.js", key, a, language, b)
			}
			if text["other"] == "" {
				t.Errorf("%s.js: %q is empty", language, key)
			}
		}
		for reason := levels.UnknownInterval; reason <= levels.BeforeOdds; reason++ {
			if _, has := words["reason."+reason.String()]; !has {
				t.Errorf("%s.js does not say that %s", language, reason)
			}
		}
		if len(words) != len(english) {
			t.Errorf("%s.js has %d texts, en.js has %d", language, len(words), len(english))
		}
	}
}

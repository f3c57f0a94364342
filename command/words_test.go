// Pins that commands have every text in each language and use them all, and that wide
// characters keep their columns.
package command

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestWords_AreTheSameInEachLanguage(t *testing.T) {
	keys, beginnings := map[string]bool{}, map[string]bool{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	// the key is a literal, perhaps completed with a value; of count it has two forms
	used := regexp.MustCompile(`\b(say|count)\("([A-Za-z0-9_.]+)"( ?\+)?`)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range used.FindAllSubmatch(b, -1) {
			switch key := string(m[2]); {
			case len(m[3]) > 0:
				beginnings[key] = true
			case string(m[1]) == "count":
				keys[key], keys[key+".one"] = true, true
			default:
				keys[key] = true
			}
		}
		for _, m := range regexp.MustCompile(`(?:answers|side|foundBy)\s*:?= "([a-z_.]+)"`).FindAllSubmatch(b, -1) {
			keys[string(m[1])] = true
		}
	}
	values := regexp.MustCompile(`\{\w+\}`)
	for language, words := range map[string]words{"en": english(), "zh": chinese()} {
		for key := range keys {
			if words[key] == "" {
				t.Errorf("%s.json lacks %q", language, key)
			}
		}
		for key, text := range words {
			begun := slices.ContainsFunc(slices.Collect(maps.Keys(beginnings)), func(b string) bool { return strings.HasPrefix(key, b) })
			if !keys[key] && !begun {
				t.Errorf("%s.json has %q, which nothing uses", language, key)
			}
			original, has := english()[key]
			if !has {
				t.Errorf("%s.json has %q, which en.json lacks", language, key)
			}
			// an English sentence that the program makes elsewhere has one value
			if _, in := strings.CutSuffix(original, "{text}"); in {
				continue
			}
			a, b := values.FindAllString(text, -1), values.FindAllString(original, -1)
			slices.Sort(a)
			slices.Sort(b)
			if !slices.Equal(a, b) {
				t.Errorf("%q has the values %q in %s.json, %q in en.json", key, a, language, b)
			}
		}
		if len(words) != len(english()) {
			t.Errorf("%s.json has %d texts, en.json has %d", language, len(words), len(english()))
		}
	}
}

func TestWords_FollowTheEnvironment(t *testing.T) {
	for environ, want := range map[string]string{
		"":                               "faint",
		"LANG=zh_CN.UTF-8":               "弱",
		"LANG=de_DE.UTF-8":               "faint",
		"LANG=zh_CN.UTF-8 LC_ALL=C":      "faint",
		"LANG=C LC_ALL=zh":               "弱",
		"LANG=C LC_MESSAGES=zh_TW.UTF-8": "弱",
		"LC_ALL= LANG=zh_CN.UTF-8":       "弱",
	} {
		if got := wordsOf(strings.Fields(environ)).say("faint"); got != want {
			t.Errorf("%q: %q, want %q", environ, got, want)
		}
	}
	if got := english().say("happened.risen", "role", "support"); got != "risen" {
		t.Errorf("a kind of a newer service: %q", got)
	}
}

func TestTerminal_WideCharactersTakeTwoColumns(t *testing.T) {
	var b strings.Builder
	s := screen{Writer: &b}
	if err := s.table([]string{"价位", "a"}, []row{{cells: []string{"R1", "守住"}}}); err != nil || b.String() != "  价位     a\n    R1  守住\n" {
		t.Errorf("%v\n%s", err, b.String())
	}
	for width, want := range map[int]string{0: "", 1: "a", 2: "a", 3: "a守", 9: "a守b"} {
		if got := cut("a守b", width); got != want {
			t.Errorf("cut to %d: %q, want %q", width, got, want)
		}
	}
	if got := fmt.Sprint(textWidth("\x1b[31m支撑位\x1b[0m。")); got != "8" {
		t.Errorf("width %s", got)
	}
}

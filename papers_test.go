package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A paper in Chinese names what the one in English names: the same settings and routes, the
// same commands, and in the text and each row of a table the same figures.
func TestPapers_SayTheSameInChinese(t *testing.T) {
	var (
		fenced   = regexp.MustCompile("(?ms)^ *```([a-z]*)$(.*?)^ *```$")
		comment  = regexp.MustCompile(` *#.*`)
		code     = regexp.MustCompile("`[^`]+`")
		target   = regexp.MustCompile(`\]\([^)]*\)`)
		month    = regexp.MustCompile(`[0-9]+ 月`) // written by its name in English
		figure   = regexp.MustCompile(`[0-9]+([.,][0-9]+)*`)
		commands = func(text string) (lines []string) {
			for _, m := range fenced.FindAllStringSubmatch(text, -1) {
				if m[1] == "sh" {
					lines = append(lines, strings.Fields(comment.ReplaceAllString(m[2], ""))...)
				}
			}
			return lines
		}
		set = func(all []string) []string { slices.Sort(all); return slices.Compact(all) }
	)
	for english, chinese := range map[string]string{"README.md": "README.zh-CN.md", "docs/memory.md": "docs/memory.zh-CN.md"} {
		var said [2]struct{ commands, named, figures, rows []string }
		for i, name := range []string{english, chinese} {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			said[i].commands = commands(string(b))
			text := fenced.ReplaceAllString(string(b), "")
			said[i].named = set(code.FindAllString(text, -1))
			text = month.ReplaceAllString(target.ReplaceAllString(text, "]"), "")
			said[i].figures = set(figure.FindAllString(text, -1))
			for line := range strings.Lines(text) {
				if strings.HasPrefix(line, "|") {
					numbers := figure.FindAllString(line, -1)
					slices.Sort(numbers)
					said[i].rows = append(said[i].rows, strings.Join(numbers, " "))
				}
			}
		}
		for what, lists := range map[string][2][]string{
			"commands": {said[0].commands, said[1].commands}, "settings and routes": {said[0].named, said[1].named},
			"figures": {said[0].figures, said[1].figures}, "rows of tables": {said[0].rows, said[1].rows},
		} {
			if !slices.Equal(lists[0], lists[1]) {
				only := func(a, b []string) (list []string) {
					for _, s := range a {
						if !slices.Contains(b, s) {
							list = append(list, s)
						}
					}
					return list
				}
				t.Errorf("%s and %s differ in their %s: %q, %q", english, chinese, what, only(lists[0], lists[1]), only(lists[1], lists[0]))
			}
		}
	}
}

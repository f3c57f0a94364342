package venues

// docs/venues.md has the facts of every market as the program uses them.

import (
	"flag"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"tidemark/exchange"
	"tidemark/levels"
)

var update = flag.Bool("update", false, "write the table of docs/venues.md")

const (
	tableBegin = "<!-- the table is written by: go test ./exchange/venues -run Docs -update -->\n"
	tableEnd   = "<!-- end of the table -->\n"
)

func table() string {
	var b strings.Builder
	b.WriteString("\n| exchange | venue | address | quote assets of a sweep | own candles; others are merged | rows a request | candles of the past | limits of an address | last prices every 10 s |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, v := range All {
		s := v.Spec()
		base, _ := url.Parse(s.BaseURL)
		var own []string
		rows := 0
		for _, i := range levels.Intervals() {
			if n, ok := s.Intervals[i]; ok {
				own = append(own, string(i))
				rows = max(rows, n.Rows)
			}
		}
		history := "all"
		switch {
		case s.Reach == exchange.Newest || s.Reach == exchange.Since:
			history = fmt.Sprintf("newest %d", rows)
		case s.History > 0:
			history = fmt.Sprintf("newest %d", s.History)
		}
		var limits []string
		for _, l := range s.Budgets {
			limits = append(limits, fmt.Sprintf("%s %d in %s", l.Name, l.Limit, period(l.Period)))
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %d | %s | %s | %s |\n", s.Name, s.Label, base.Host, strings.Join(s.Quotes, ", "),
			strings.Join(own, " "), rows, history, strings.Join(limits, "; "), pricesShare(v))
	}
	return b.String() + "\n"
}

// pricesShare returns how much of a limit the last prices of all pairs take, read every ten
// seconds.
func pricesShare(v exchange.Venue) string {
	s := v.Spec()
	pages := map[string]int{"deribit": 4}[s.Name] // of each currency
	share := 0.0
	for i, l := range s.Budgets {
		cost := float64(v.Listing(s.Prices, "").Cost[i] * max(1, pages))
		share = max(share, cost*l.Period.Seconds()/10/float64(l.Limit))
	}
	return fmt.Sprintf("%.2g %%", 100*share)
}

func period(d time.Duration) string {
	if d == time.Minute {
		return "1 min"
	}
	return fmt.Sprintf("%g s", d.Seconds())
}

func TestDocs_TheTableIsThatOfTheProgram(t *testing.T) {
	const file = "../../docs/venues.md"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), tableBegin)
	_, after, ends := strings.Cut(rest, tableEnd)
	if !ok || !ends {
		t.Fatalf("%s has no table", file)
	}
	want := before + tableBegin + table() + tableEnd + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(b) != want {
		t.Errorf("%s does not have the facts of the program: go test ./exchange/venues -run Docs -update", file)
	}
}

func TestDocs_CountTheExchanges(t *testing.T) {
	exchanges := map[string]bool{}
	for _, v := range All {
		name, _, _ := strings.Cut(v.Spec().Name, "-")
		exchanges[name] = true
	}
	b, err := os.ReadFile("../../docs/compared.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf(" %d exchanges", len(exchanges)); !strings.Contains(string(b), want) {
		t.Errorf("docs/compared.md does not say that there are%s", want)
	}
}

// A table of mistakes that the compiler cannot see.
func TestSpecs_AreComplete(t *testing.T) {
	names, groups := map[string]bool{}, map[string][]exchange.Budget{}
	for _, v := range All {
		s := v.Spec()
		switch {
		case s.Name == "" || s.Group == "" || s.Label == "" || len(s.Quotes) == 0 || s.Listings < 1 || s.Listings > 2 || s.Prices < 1 || s.Prices > 2:
			t.Errorf("%s lacks a fact: %+v", s.Name, s)
		case names[s.Name]:
			t.Errorf("%s is listed twice", s.Name)
		case len(s.Budgets) == 0 || len(s.Budgets) > exchange.MaxBudgets:
			t.Errorf("%s has %d budgets", s.Name, len(s.Budgets))
		case groups[s.Group] != nil && fmt.Sprint(groups[s.Group]) != fmt.Sprint(s.Budgets):
			t.Errorf("%s has other budgets than the rest of its group", s.Name)
		}
		names[s.Name], groups[s.Group] = true, s.Budgets
		for i, n := range s.Intervals {
			if i.Duration() == 0 || n.Name == "" || n.Rows < 1 {
				t.Errorf("%s: %s is %+v", s.Name, i, n)
			}
		}
		if _, ok := s.Intervals["1m"]; !ok {
			t.Errorf("%s has no minutes to merge others from", s.Name)
		}
		for i := range s.Prices + 1 {
			if c := v.Listing(i, ""); !positive(c.Cost) {
				t.Errorf("%s: list %d costs nothing", s.Name, i)
			}
		}
		if c := v.Klines("", exchange.Native{Rows: 1}, exchange.Window{}); !positive(c.Cost) {
			t.Errorf("%s: candles cost nothing", s.Name)
		}
	}
}

func positive(c exchange.Cost) bool {
	for _, n := range c {
		if n > 0 {
			return true
		}
	}
	return false
}

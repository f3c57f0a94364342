// This file pins which levels are shown: those with the configured edge, unless a request
// says otherwise, in every format; and that a side without one says so in words.

package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// faintly returns an analysis with a support of edge 6.25, one that has lost its edge since
// it was drawn, one that had none, and a resistance of edge 0.5.
func faintly(now time.Time) service.Snapshot {
	s := snapshot("BTCUSDT", now)
	lost := s.Supports[1]
	lost.Edge, lost.DrawnEdge = 0.99, 5
	none := lost
	none.ID, none.Price, none.Low, none.High, none.Edge, none.DrawnEdge = 2, 90, 89, 91, 4, 2.99
	s.Supports = []levels.Level{s.Supports[0], lost, none}
	s.Resistances[0].Edge, s.Resistances[0].DrawnEdge = 0.5, 0.5
	return s
}

func TestShown_FaintLevelsAreLeftOutUnlessAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(c *Config, _ *service.Config) { c.MinEdge = 3 })
		store(h, faintly(time.Now()))
		for range 2 { // the second time from the cache
			for query, want := range map[string]string{
				"":                          "99 / ",
				"?faint=false":              "99 / ",
				"?faint=true":               "99 95faint 90faint / 103faint",
				"?min_edge=0":               "99 95faint 90faint / 103faint",
				"?min_edge=0.75":            "99 95faint 90faint / ",
				"?min_edge=4&faint=false":   "99 / ",
				"?min_edge=6.25":            "99 / ",
				"?min_edge=6.26":            " / ",
				"?min_edge=0.75&faint=true": "99 95faint 90faint / ",
			} {
				a := decode[analysisJSON](t, h.get("/levels/BTCUSDT"+query))
				text := func(list []levelJSON) string {
					var all []string
					for _, l := range list {
						mark := ""
						if l.Faint {
							mark = "faint"
						}
						all = append(all, fmt.Sprint(l.Price, mark))
					}
					return strings.Join(all, " ")
				}
				if got := text(a.Supports) + " / " + text(a.Resistances); got != want || a.MinEdge != 3 {
					t.Errorf("%s: %s, want %s; least edge %v", query, got, want, a.MinEdge)
				}
			}
		}
		for query, rows := range map[string]int{"": 1, "?faint=true": 4, "?min_edge=0.75": 3, "?sort=-edge&faint=true&limit=2": 2} {
			if got := len(screen(t, h, query).Levels); got != rows {
				t.Errorf("the market%s has %d rows, want %d", query, got, rows)
			}
		}
		if l := screen(t, h, "?sort=edge&faint=true").Levels; l[0].Edge != 0.5 || l[3].Edge != 6.25 {
			t.Errorf("not by edge: %+v", l)
		}
		for target, lines := range map[string]int{
			"/levels/BTCUSDT?format=csv": 2, "/levels/BTCUSDT?format=csv&faint=true": 5, "/levels/BTCUSDT?format=ndjson": 1,
			"/levels?format=csv": 2, "/levels?format=ndjson&faint=true": 4,
		} {
			if got := strings.Count(h.get(target).Body.String(), "\n"); got != lines {
				t.Errorf("%s has %d lines, want %d", target, got, lines)
			}
		}
	})
}

func TestShown_ASideWithoutALevelSaysSoInWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(c *Config, _ *service.Config) { c.MinEdge = 3 })
		s := faintly(time.Now())
		store(h, s)
		a := decode[analysisJSON](t, h.get("/levels/BTCUSDT"))
		const above = "no level with an edge of at least 3 points within 9 ATR above the price; 1 level has less"
		if a.SupportsReason != nil || a.ResistancesReason == nil || *a.ResistancesReason != above {
			t.Errorf("%v, %v", a.SupportsReason, a.ResistancesReason)
		}
		if script := h.get("/levels/BTCUSDT?format=pine").Body.String(); !strings.Contains(script, "No"+above[2:]) || strings.Contains(script, "faint") {
			t.Error(script)
		}
		if script := h.get("/levels/BTCUSDT?format=pine&faint=true").Body.String(); strings.Contains(script, "No level") || !strings.Contains(script, "faint resistance 103, edge 0.5") {
			t.Error(script)
		}
		for show, want := range map[Shown]string{
			{Edge: 1, Least: 7, Faint: true}: "no level with an edge of at least 7 points within 9 ATR below the price; 3 levels have less",
			{Edge: 7}:                        "no level with an edge of at least 7 points within 9 ATR below the price; 3 levels have less",
			{Edge: 1}:                        "",
		} {
			if got := show.Reason(&s, levels.Support); got != want {
				t.Errorf("%+v: %q, want %q", show, got, want)
			}
		}
		s.Supports = []levels.Level{{Price: 90, Edge: 3.5, DrawnEdge: 2.5}, {Price: 80, Edge: 2, DrawnEdge: 2}}
		if got := (&Shown{Edge: 3}).Reason(&s, levels.Support); got != "no drawn level with an edge of at least 3 points within 9 ATR below the price; 1 level has less; 1 level has reached it since levels were last drawn" {
			t.Errorf("with an edge that has risen since: %q", got)
		}
		s.Supports = nil
		if got := (&Shown{Faint: true}).Reason(&s, levels.Support); got != "no level with an edge of at least 0 points within 9 ATR below the price" {
			t.Errorf("without a least edge: %q", got)
		}
		if got := (&Shown{Edge: 1}).Reason(&s, levels.Support); got != "no level with an edge of at least 1 point within 9 ATR below the price" {
			t.Error(got)
		}
		s.ATR = 0
		if got := (&Shown{Edge: 1}).Reason(&s, levels.Support); got != "the price did not move" {
			t.Error(got)
		}
	})
}

func TestAnalyze_FaintLevelsAreInTheReplyIfAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(c *Config, _ *service.Config) { c.MinEdge = 20 })
		for body, some := range map[string]bool{
			`{"symbol":"BTCUSDT"}`: false, `{"symbol":"BTCUSDT","faint":true}`: true, `{"symbol":"BTCUSDT","faint":false}`: false,
			`{"symbol":"BTCUSDT","faint":true,"store":false}`: true,
		} {
			rec := h.do("POST", "/analyze", body)
			want(t, rec, 200)
			var a analysisJSON
			if err := json.Unmarshal(rec.Body.Bytes(), &a); err != nil {
				t.Fatal(err)
			}
			if n := len(a.Supports) + len(a.Resistances); (n > 0) != some {
				t.Errorf("%s: %d levels", body, n)
			}
		}
		want(t, h.do("POST", "/analyze", `{"all":true,"faint":true}`), 400)
	})
}

func TestShown_ANewAnalysisReplacesBothReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(c *Config, _ *service.Config) { c.MinEdge = 3 })
		store(h, faintly(time.Now()))
		targets := []string{"/levels/BTCUSDT", "/levels/BTCUSDT?faint=true"}
		for _, target := range targets {
			want(t, h.get(target), 200)
		}
		time.Sleep(time.Hour)
		s := faintly(time.Now())
		store(h, s)
		h.api.Stored("simulated", "1h", []string{"BTCUSDT"}, []int64{s.AsOf.UnixMilli()})
		for _, target := range targets {
			if a := decode[analysisJSON](t, h.get(target)); time.Since(a.ComputedAt) > time.Minute {
				t.Errorf("%s is still that of %v", target, a.ComputedAt)
			}
		}
	})
}

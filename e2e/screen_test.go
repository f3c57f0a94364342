package e2e

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tidemark/wire"
)

// What the filters of the screener leave is what the pairs say one by one.
func TestScreen_FiltersAgreeWithThePairs(t *testing.T) {
	t.Parallel()
	for name, database := range bothDatabases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, "DATABASE_URL="+database(t), "EXCHANGE_SIMULATED_PAIRS=12", "ANALYSIS_LIVE=false", "PRICES_EVERY=0s", "LEVELS_MIN_EDGE=0")
			for _, interval := range []string{"1h", "4h"} {
				var j jobReply
				s.post(t, `{"all":true,"interval":"`+interval+`"}`, &j)
				s.waitFor(t, j.ID, ended)
			}
			rows := func(query string) map[string]wire.Row {
				t.Helper()
				var page wire.LevelPage[[]wire.Row]
				if status := s.get(t, "/levels?interval=1h&limit=1000&"+query, &page); status != 200 || page.Next != nil {
					t.Fatalf("%s: %d", query, status)
				}
				all := map[string]wire.Row{}
				for _, r := range page.Levels {
					all[r.Symbol+" "+r.ID] = r
				}
				return all
			}
			all := rows("")
			names := func(has func(wire.Row) bool) (out []string) {
				for k, r := range all {
					if has(r) {
						out = append(out, k)
					}
				}
				slices.Sort(out)
				return out
			}
			agree := func(query string, want []string) {
				t.Helper()
				if got := slices.Sorted(maps.Keys(rows(query))); !slices.Equal(got, want) || len(want) == 0 || len(want) == len(all) {
					t.Errorf("%s leaves %d of %d levels, the pairs say %d", query, len(got), len(all), len(want))
				}
			}

			var listed struct {
				Symbols []struct {
					Symbol string
					Volume float64 `json:"quote_volume"`
				}
			}
			s.get(t, "/symbols?selected=true", &listed)
			volumes := map[string]float64{}
			for _, p := range listed.Symbols {
				volumes[p.Symbol] = p.Volume
			}
			middle := slices.Sorted(maps.Values(volumes))[len(volumes)/2]
			agree("min_quote_volume="+strconv.FormatFloat(middle, 'f', -1, 64), names(func(r wire.Row) bool { return volumes[r.Symbol] >= middle }))

			beside := map[string]bool{}
			for symbol := range volumes {
				var of struct {
					Intervals []struct {
						Supports, Resistances []wire.Level
					}
				}
				if s.get(t, "/levels/"+symbol+"?interval=1h,4h", &of); len(of.Intervals) == 0 {
					continue // it has none
				}
				for _, l := range slices.Concat(of.Intervals[0].Supports, of.Intervals[0].Resistances) {
					beside[symbol+" "+l.ID] = len(l.Confluence) > 0
				}
			}
			agree("confluence=4h", names(func(r wire.Row) bool { return beside[r.Symbol+" "+r.ID] }))
			agree("state=untested,broken", names(func(r wire.Row) bool { return r.State == "untested" || r.State == "broken" }))
			agree("min_edge=3", names(func(r wire.Row) bool { return r.Edge >= 3 }))

			some := slices.Sorted(maps.Keys(volumes))[:3]
			res, err := http.Post(s.base+"/watchlists", "application/json", strings.NewReader(`{"name":"some","pairs":["`+strings.Join(some, `","`)+`"]}`))
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			agree("watchlist=some", names(func(r wire.Row) bool { return slices.Contains(some, r.Symbol) }))
		})
	}
}

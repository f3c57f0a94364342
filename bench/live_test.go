package bench

import "testing"

func TestScrape_SumsTheSeriesWithALabel(t *testing.T) {
	s := scrape(`# HELP a_total x
a_total{exchange="x",step="levels"} 3
a_total{exchange="y",step="levels"} 4
a_total{exchange="y",step="candle"} 1e2
ab_total 7
`)
	for name, want := range map[string]float64{`a_total{step="levels"}`: 7, "a_total": 107, "ab_total": 7, "c_total": 0} {
		if got := s.sum(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

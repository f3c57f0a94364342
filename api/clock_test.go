// Pins the clock by which ages are measured: that of a simulated exchange with a time of its
// own, and of all others that of this machine.
package api

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/service"
)

func TestClock_AReplayIsStaleByItsOwnTime(t *testing.T) {
	const years = 5 * 365 * 24 * time.Hour
	for name, c := range map[string]struct {
		simulated bool
		skew      *time.Duration
		stale     bool
	}{
		"a replay":                      {true, new(years), false},
		"a real exchange":               {false, new(years), true},
		"a simulated one of today":      {true, new(30 * time.Second), true},
		"a simulated one not asked yet": {true, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				market := service.Market{Exchange: "simulated", Simulated: c.simulated}
				h := startOn(t, []*fakeExchange{{market: market}}, func(c2 *Config, _ *service.Config) {
					c2.Status = func(string) service.VenueStatus { return service.VenueStatus{ClockSkew: c.skew} }
				})
				store(h, snapshot("BTCUSDT", time.Now().Add(-years)))
				stale := func(when string, want bool) {
					t.Helper()
					for range 2 { // the second time from the cache
						if a := decode[analysisJSON](t, h.get("/levels/BTCUSDT")); a.Stale != want {
							t.Errorf("%s: the analysis is stale: %v", when, a.Stale)
						}
					}
					if rows := h.get("/levels?limit=1").Body.String(); strings.Contains(rows, `"stale":true`) != want {
						t.Errorf("%s: %s", when, rows)
					}
					if csv := h.get("/levels/BTCUSDT?format=csv").Body.String(); strings.Contains(csv, ",true,true,") != want {
						t.Errorf("%s: %s", when, csv)
					}
				}
				stale("when it is found", c.stale)
				time.Sleep(3 * time.Hour)
				stale("three hours later", true)
			})
		})
	}
}

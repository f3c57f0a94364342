package repository

import (
	"sync"
	"testing"
	"time"

	"tidemark/levels"
	"tidemark/scorecard"
	"tidemark/service"
)

// decided returns the event n of a pair, which is the outcome of a touch: on day n/4, every
// other one held, every third one is a retest, and every fifth one had no odds.
func decided(symbol string, n int) service.Event {
	e := happened(symbol, n)
	e.Kind, e.Role = "held", levels.Role(n%2)
	at := time.Date(2026, 11, 1+n/4, n%24, 30, 0, 0, time.UTC)
	e.Touch = &scorecard.Touch{Held: n%2 == 0, Retest: n%3 == 0, At: at, Odds: n%5 > 0, Promised: 5000 + n, Baseline: 4400}
	return e
}

// Two processes store the same events, some of them twice, in batches that overlap: each
// counts once, and still does when the events are deleted.
func TestRecord_CountsEachOutcomeOnceAndOutlivesTheEvents(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		const n = 60
		var processes sync.WaitGroup
		for p := range 2 {
			db := d.open(t)
			processes.Go(func() {
				for i := p; i < n; i += 5 {
					var events []service.Event
					for k := i - 3; k < i+6; k++ {
						if k >= 0 && k < n {
							events = append(events, decided("BTCUSDT", k), happened("ETHUSDT", k), decided("BTCUSDT", k))
						}
					}
					if err := db.Put(t.Context(), watched(snapshot("BTCUSDT", i), "state", events...)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		processes.Wait()
		db := d.open(t)
		if _, err := db.PruneEvents(t.Context(), time.Now().Add(time.Hour), 0); err != nil {
			t.Fatal(err)
		}
		sim := decided("BTCUSDT", n)
		sim.Touch.Simulated = true
		other := decided("SOLUSDT", 1)
		other.Exchange = "okx"
		if err := db.Put(t.Context(), watched(snapshot("BTCUSDT", n), "state", sim, other)); err != nil {
			t.Fatal(err)
		}

		type name struct {
			role      levels.Role
			retest    bool
			simulated bool
			hour      int
		}
		want := map[name]*scorecard.Cell{}
		blocks := map[name]map[int][2]int{}
		for i := range n {
			e := decided("BTCUSDT", i)
			for _, hour := range []int{scorecard.AllHours, e.Touch.At.Hour()} {
				k := name{e.Role, e.Touch.Retest, false, hour}
				if want[k] == nil {
					want[k], blocks[k] = &scorecard.Cell{}, map[int][2]int{}
				}
				b := blocks[k][i/4]
				b[0]++
				if e.Touch.Held {
					b[1]++
				}
				blocks[k][i/4] = b
				if c := want[k]; e.Touch.Odds {
					c.Odds++
					c.Promised += int64(e.Touch.Promised)
					c.Baseline += int64(e.Touch.Baseline)
					if e.Touch.Held {
						c.OddsHeld++
					}
				}
			}
		}
		got, err := db.Record(t.Context(), "binance")
		if err != nil {
			t.Fatal(err)
		}
		simulated := 0
		for i := range got {
			c := &got[i]
			if c.Simulated {
				simulated += c.N
				continue
			}
			k := name{c.Role, c.Retest, false, c.Hour}
			w := want[k]
			if w == nil {
				t.Fatalf("%+v is not expected", c)
			}
			delete(want, k)
			for _, b := range blocks[k] {
				w.Add(b[0], b[1])
			}
			if c.Blocks != w.Blocks || c.Odds != w.Odds || c.OddsHeld != w.OddsHeld || c.Promised != w.Promised || c.Baseline != w.Baseline || c.Interval != "1h" {
				t.Errorf("%+v: %+v, want %+v", k, c, w)
			}
			if c.Hour == scorecard.AllHours && c.Role == levels.Support && !c.Retest && !c.Since.Equal(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)) {
				t.Errorf("since %v", c.Since)
			}
		}
		if len(want) > 0 || simulated != 2 { // all hours, and one
			t.Errorf("%d cells are missing, %d simulated outcomes", len(want), simulated)
		}
		if got, err := db.Record(t.Context(), "okx"); err != nil || len(got) != 2 || got[0].N != 1 || got[0].Hour != scorecard.AllHours || got[1].Hour == scorecard.AllHours {
			t.Errorf("another exchange: %+v, %v", got, err)
		}
	})
}

func TestSeries_AreThoseWithAnAnalysisAndWhatTheListSays(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		put(t, db, snapshot("ETHUSDT", 0), snapshot("BTCUSDT", 0), snapshot("BTCUSDT", 1))
		if err := db.PutPairs(t.Context(), "binance", []service.Symbol{{Name: "BTCUSDT", Base: "BTC", Quote: "USDT", Trading: true, Tick: service.Tick{Units: 5, Decimals: 2}, Digits: 6}}, nil, time.Now()); err != nil {
			t.Fatal(err)
		}
		got, err := db.Series(t.Context(), "binance", "1h")
		want := []service.Series{
			{Key: key("BTCUSDT"), AsOf: snapshot("BTCUSDT", 1).AsOf, Name: "BTC/USDT", Tick: service.Tick{Units: 5, Decimals: 2}, Digits: 6},
			{Key: key("ETHUSDT"), AsOf: snapshot("ETHUSDT", 0).AsOf},
		}
		if err != nil || len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("%+v, %v", got, err)
		}
		if got, err := db.Series(t.Context(), "binance", "4h"); err != nil || len(got) != 0 {
			t.Errorf("another interval: %+v, %v", got, err)
		}
	})
}

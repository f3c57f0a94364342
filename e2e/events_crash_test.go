package e2e

// Processes that are killed lose no event and store none twice, and every outcome is the one
// that the candles of the exchange give.

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"tidemark/exchange"
	"tidemark/exchange/simulated"
	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

// At full length: TIDEMARK_TEST_KILLS=20.
func TestEvents_NoneIsLostOrDoubledByKills(t *testing.T) {
	t.Parallel()
	kills := number(t, "TIDEMARK_TEST_KILLS", 2)
	for name, url := range bothDatabases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, address := market(t, simulated.Options{Pairs: 40, Now: fast(20)}) // a candle of a minute closes every three seconds
			database := url(t)
			start := func() *child {
				return spawn(t, "EXCHANGE_BASE_URL="+address, "DATABASE_URL="+database, "ANALYSIS_LIVE=true", "ANALYSIS_INTERVAL=1m", "ANALYSIS_KLINE_LIMIT=200")
			}
			processes := []*child{start(), start()}
			for n := range kills {
				time.Sleep(time.Duration(3000+rand.IntN(2000)) * time.Millisecond)
				processes[n%2].kill()
				processes[n%2] = start()
			}
			time.Sleep(10 * time.Second)
			for _, p := range processes {
				p.kill()
			}
			checkEvents(t, address, database)
		})
	}
}

// checkEvents compares the stored events with the candles of the exchange.
func checkEvents(t *testing.T, address, database string) {
	t.Helper()
	db, client := reopened(t, address, database)
	type episode struct {
		symbol, level string
		begun         time.Time
	}
	stored, err := db.Events(t.Context(), service.EventQuery{Limit: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	var order []episode
	episodes := map[episode][]wire.Event{}
	counts := map[string]int{}
	for _, s := range stored {
		var e wire.Event
		if err := json.Unmarshal(s.Body, &e); err != nil {
			t.Fatal(err)
		}
		counts[e.Kind]++
		id := episode{e.Symbol, e.Level.ID, e.Begun}
		if episodes[id] == nil {
			order = append(order, id)
		}
		episodes[id] = append(episodes[id], e)
	}
	series, decided := map[string]*levels.Candles{}, 0
	for _, id := range order {
		if series[id.symbol] == nil {
			series[id.symbol] = fetchAll(t, client, id.symbol)
		}
		var snap service.Snapshot
		if snap, err = db.Snapshot(t.Context(), service.Key{Exchange: "simulated", Symbol: id.symbol, Interval: "1m"}, time.Time{}); err != nil {
			t.Fatal(err)
		}
		if checkEpisode(t, episodes[id], series[id.symbol], snap.AsOf) {
			decided++
		}
	}
	if decided == 0 {
		t.Errorf("of %d episodes none is decided: %v", len(order), counts)
	}
	t.Logf("%d events of %d episodes, %d of them decided: %v", len(stored), len(order), decided, counts)
}

// checkEpisode compares the events of an episode with the verdict of the candles up to a
// time, and reports whether it is decided.
func checkEpisode(t *testing.T, events []wire.Event, all *levels.Candles, asOf time.Time) (decided bool) {
	t.Helper()
	rank := map[string]int{"appeared": 0, "vanished": 0, "approaching": 1, "touched": 2, "held": 3, "broke": 3, "flipped": 3}
	last := -1
	var touched, end *wire.Event
	for i := range events {
		e := &events[i]
		if rank[e.Kind] <= last && rank[e.Kind] > 0 {
			t.Errorf("%s %s: %s after rank %d", e.Symbol, e.Level.ID, e.Kind, last)
		}
		last = rank[e.Kind]
		switch {
		case e.Kind == "touched":
			touched = e
		case last == 3:
			end = e
		}
	}
	if touched == nil {
		if end != nil {
			t.Errorf("%s: %s without a touch", end.Symbol, end.Kind)
		}
		return false
	}
	n, _ := slices.BinarySearch(all.OpenTime, touched.Begun.UnixMilli())
	before := all.Slice(max(0, n-200), n)
	known, _ := slices.BinarySearch(all.OpenTime, asOf.UnixMilli())
	judged := all.Slice(0, known)
	v := levels.MomentOf(&before).Judge(touched.Level.Price, &judged)
	switch {
	case v.Outcome != levels.Held && v.Outcome != levels.Broke:
		if end != nil {
			t.Errorf("%s %s: %s, but the candles say %v", end.Symbol, end.Level.ID, end.Kind, v.Outcome)
		}
		return false
	case end == nil:
		t.Errorf("%s %s at %v, touched at %s: lost that it %v at %s", touched.Symbol, touched.Level.ID, touched.Level.Price, touched.OccurredAt,
			v.Outcome, time.UnixMilli(all.OpenTime[v.End]).UTC())
	case (v.Outcome == levels.Broke) != (end.Kind == "broke") || end.Candle.OpenTime.UnixMilli() != all.OpenTime[v.End]:
		t.Errorf("%s %s: %s by the candle of %s, but it %v at %s", end.Symbol, end.Level.ID, end.Kind, end.Candle.OpenTime,
			v.Outcome, time.UnixMilli(all.OpenTime[v.End]).UTC())
	}
	return true
}

// fetchAll returns the last 1,000 candles of a pair.
func fetchAll(t *testing.T, client *exchange.Client, symbol string) *levels.Candles {
	t.Helper()
	c := new(levels.Candles)
	c.Reset("1m", 1000)
	v := client.Visit(symbol, "1m", 1000)
	defer v.Close()
	if err := v.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	now, err := client.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Candles(t.Context(), symbol, now.Add(-999*time.Minute).UnixMilli(), c, make([]byte, 64<<10)); err != nil {
		t.Fatalf("%s: %v", symbol, err)
	}
	return c
}

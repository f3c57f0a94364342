package repository

// These tests pin stored events: each is stored once, with the analysis that showed it or
// in a transaction of its own; readers see them in the order of their numbers and miss none,
// however many processes store some; the state of a series never goes back.

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

func happened(symbol string, n int) service.Event {
	return service.Event{
		ID: fmt.Sprintf("%s-%d", symbol, n), Key: key(symbol), Kind: "touched", Role: levels.Resistance, Level: uint64(n), Edge: float64(n),
		At: time.UnixMilli(int64(n)), Body: fmt.Appendf(nil, `{"id":"%s-%d"}`, symbol, n),
	}
}

func watched(s service.Snapshot, state string, events ...service.Event) service.Results {
	return service.Results{Snapshots: []service.Snapshot{s}, Watches: []service.Watch{{Key: s.Key, AsOf: s.AsOf, State: []byte(state), Events: events}}}
}

func TestEvents_AreStoredOnceWithTheAnalysisThatShowedThem(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		var told []Change
		db.Subscribe(func(c Change) {
			if c.Events {
				told = append(told, c)
			}
		})
		put(t, db, snapshot("BTCUSDT", 0))
		if s, state, err := db.Watched(t.Context(), key("BTCUSDT")); err != nil || state != nil || s.Symbol != "BTCUSDT" {
			t.Errorf("before a watch: %q, %v", state, err)
		}
		for _, r := range []service.Results{
			watched(snapshot("BTCUSDT", 2), "two", happened("BTCUSDT", 1), happened("BTCUSDT", 2)),
			watched(snapshot("BTCUSDT", 2), "two", happened("BTCUSDT", 2), happened("BTCUSDT", 3)), // another process
			watched(snapshot("BTCUSDT", 1), "one", happened("BTCUSDT", 3)),                         // an older candle
		} {
			if err := db.Put(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		_, state, err := db.Watched(t.Context(), key("BTCUSDT"))
		if err != nil || string(state) != "two" {
			t.Errorf("the state is %q, %v", state, err)
		}
		got, err := db.Events(t.Context(), service.EventQuery{Limit: 10})
		if err != nil || len(got) != 3 {
			t.Fatalf("events: %v, %v", got, err)
		}
		for i, e := range got {
			if want := string(happened("BTCUSDT", i+1).Body); string(e.Body) != want || i > 0 && e.Seq <= got[i-1].Seq {
				t.Errorf("event %d is %d %s, want %s", i, e.Seq, e.Body, want)
			}
		}
		if len(told) != 2 {
			t.Errorf("%d notices of new events, want 2", len(told))
		}
		for _, c := range []struct {
			q    service.EventQuery
			want int
		}{
			{service.EventQuery{After: got[0].Seq}, 2},
			{service.EventQuery{Exchange: "binance", Pairs: []service.EventPair{{Exchange: "binance", Symbol: "BTCUSDT"}, {Exchange: "okx", Symbol: "ETHUSDT"}}, Intervals: []string{"1h", "4h"}, Kinds: []string{"touched"}, Role: "resistance", MinEdge: 2}, 2},
			{service.EventQuery{Levels: []uint64{3, 4}}, 1},
			{service.EventQuery{Pairs: []service.EventPair{{Exchange: "okx", Symbol: "BTCUSDT"}, {Exchange: "binance", Symbol: "ETHUSDT"}}}, 0},
			{service.EventQuery{Kinds: []string{"held", "broke"}}, 0},
			{service.EventQuery{Role: "support"}, 0},
		} {
			c.q.Limit = 10
			if got, err := db.Events(t.Context(), c.q); err != nil || len(got) != c.want {
				t.Errorf("%+v: %d events, %v, want %d", c.q, len(got), err, c.want)
			}
		}
		if seq, err := db.EventSeq(t.Context(), "BTCUSDT-2"); err != nil || seq != got[1].Seq {
			t.Errorf("the number of an event is %d, %v", seq, err)
		}
		for at, want := range map[time.Time]int64{time.Now().Add(-time.Minute): got[0].Seq - 1, time.Now().Add(time.Minute): got[2].Seq} {
			if after, err := db.EventsSince(t.Context(), at); err != nil || after != want {
				t.Errorf("since %s: after %d, %v, want %d", at, after, err, want)
			}
		}
		for limit, want := range map[int]int64{1: got[2].Seq - 1, 2: got[0].Seq - 1, 3: got[0].Seq - 1} {
			after, err := db.NewestEvents(t.Context(), service.EventQuery{Levels: []uint64{1, 3}, Limit: limit})
			if err != nil || after != want {
				t.Errorf("the newest %d: after %d, %v, want %d", limit, after, err, want)
			}
		}
		if after, err := db.NewestEvents(t.Context(), service.EventQuery{Role: "support", Limit: 1}); err != nil || after != 0 {
			t.Errorf("without events: after %d, %v", after, err)
		}
		if n, err := db.PruneEvents(t.Context(), time.Now().Add(-time.Minute), 2); err != nil || n != 1 {
			t.Errorf("%d events pruned, %v, want 1", n, err)
		}
		if first, last, err := db.EventBounds(t.Context()); err != nil || first != got[1].Seq || last != got[2].Seq {
			t.Errorf("the events are %d to %d, %v", first, last, err)
		}
		// the newest stays
		if n, err := db.PruneEvents(t.Context(), time.Now().Add(time.Minute), 2); err != nil || n != 1 {
			t.Errorf("%d events pruned, %v, want 1", n, err)
		}
		if first, last, err := db.EventBounds(t.Context()); err != nil || first != got[2].Seq || last != first {
			t.Errorf("the events are %d to %d, %v", first, last, err)
		}
	})
}

func TestCross_StoresWhatAPriceDidToTheNewestAnalysis(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		cross := func(f func(s *service.Snapshot, state []byte) *service.Watch) {
			t.Helper()
			if err := db.Cross(t.Context(), []service.Key{key("ADAUSDT"), key("BTCUSDT")}, f); err != nil {
				t.Fatal(err)
			}
		}
		cross(func(*service.Snapshot, []byte) *service.Watch {
			t.Error("called for a pair without an analysis")
			return nil
		})
		put(t, db, snapshot("BTCUSDT", 0), snapshot("BTCUSDT", 1))
		for n := range 2 {
			cross(func(s *service.Snapshot, state []byte) *service.Watch {
				same(t, snapshot("BTCUSDT", 1), *s)
				if want := []string{"", "near"}[n]; string(state) != want {
					t.Errorf("the state is %q, want %q", state, want)
				}
				return &service.Watch{Key: s.Key, AsOf: s.AsOf, State: []byte("near"), Events: []service.Event{happened("BTCUSDT", 1)}}
			})
		}
		cross(func(*service.Snapshot, []byte) *service.Watch { return nil })
		if got, err := db.Events(t.Context(), service.EventQuery{Limit: 10}); err != nil || len(got) != 1 {
			t.Errorf("events: %v, %v", got, err)
		}
	})
}

// Two processes store events at once, some of them the same; a reader that continues
// after the last number it has seen gets every event once.
// Both see the same price come: without a lock the second may store what comes first in an
// episode after what the first has stored.
func TestCross_SeesWhatTheOneBeforeHasStored(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		one, two := d.open(t), d.open(t)
		put(t, one, snapshot("ADAUSDT", 0), snapshot("BTCUSDT", 0))
		cross := func(db *DB, state string, then func(before string)) error {
			return db.Cross(t.Context(), []service.Key{key("BTCUSDT"), key("ADAUSDT")}, func(s *service.Snapshot, before []byte) *service.Watch {
				then(string(before))
				return &service.Watch{Key: s.Key, AsOf: s.AsOf, State: []byte(state)}
			})
		}
		var second sync.WaitGroup
		began := sync.OnceFunc(func() {
			second.Go(func() {
				err := cross(two, "second", func(before string) {
					if before != "first" {
						t.Errorf("the second began with %q", before)
					}
				})
				if err != nil {
					t.Error(err)
				}
			})
			time.Sleep(50 * time.Millisecond) // in which it would read
		})
		if err := cross(one, "first", func(string) { began() }); err != nil {
			t.Fatal(err)
		}
		second.Wait()
	})
}

func TestEvents_AReaderMissesNoneOfSeveralWriters(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		const writers, each = 4, 25
		dbs := []*DB{d.open(t), d.open(t)}
		for n := range writers {
			put(t, dbs[0], snapshot(fmt.Sprintf("S%d", n), 0))
		}
		var writing sync.WaitGroup
		for n := range writers {
			writing.Go(func() {
				symbol := fmt.Sprintf("S%d", n)
				for i := range each {
					if err := dbs[n%2].Put(t.Context(), watched(snapshot(symbol, i+1), "", happened(symbol, i), happened("shared", i))); err != nil {
						t.Error(err)
					}
				}
			})
		}
		done := make(chan struct{})
		go func() { writing.Wait(); close(done) }()
		var seen []string
		after, last := int64(0), false
		for !last {
			select {
			case <-done:
				last = true
			default:
			}
			got, err := dbs[1].Events(t.Context(), service.EventQuery{After: after, Limit: 1000})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range got {
				seen, after = append(seen, string(e.Body)), e.Seq
			}
		}
		slices.Sort(seen)
		if n := len(slices.Compact(slices.Clone(seen))); n != writers*each+each || len(seen) != n {
			t.Errorf("%d events seen, %d different, want %d", len(seen), n, writers*each+each)
		}
	})
}

package event

// These tests pin how a process watches levels: what an analysis or a price does to them is
// stored once with what caused it, a price rings within a moment and only at levels that are
// recent, and what could not be stored is stored later.

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

// shelf is a Store in memory.
type shelf struct {
	snaps  map[service.Key]*service.Snapshot
	states map[service.Key][]byte
	events []wire.Event
	fails  int // of the next calls
	calls  int
}

func (s *shelf) Cross(_ context.Context, series []service.Key, f func(*service.Snapshot, []byte) *service.Watch) error {
	s.calls++
	if s.fails > 0 {
		s.fails--
		return errors.New("the database is down")
	}
	for _, key := range series {
		if snap := s.snaps[key]; snap != nil {
			s.put(f(snap, s.states[key]))
		}
	}
	return nil
}

func (s *shelf) put(w *service.Watch) {
	if w == nil {
		return
	}
	s.states[w.Key] = w.State
	for _, e := range w.Events {
		var body wire.Event
		if err := json.Unmarshal(e.Body, &body); err != nil {
			panic(err)
		}
		if !slices.ContainsFunc(s.events, func(old wire.Event) bool { return old.ID == body.ID }) {
			s.events = append(s.events, body)
		}
	}
}

func (s *shelf) kinds() (all []string) {
	for _, e := range s.events {
		all = append(all, e.Kind)
	}
	return all
}

// watching runs f in fake time with a watcher that runs. The pair's last price is 100 and its
// ATR 1, and it has one level, a support at 95, whose touch line is at 95.25.
func watching(t *testing.T, f func(t *testing.T, w *Watcher, s *shelf, snap *service.Snapshot)) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{snaps: map[service.Key]*service.Snapshot{}, states: map[service.Key][]byte{}}
		w := NewWatcher(s, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { w.Run(ctx); close(done) }()
		snap := &service.Snapshot{
			Key: service.Key{Exchange: "binance", Symbol: "BTCUSDT", Interval: "1h"}, Name: "BTC/USDT",
			AsOf: time.Now().Truncate(time.Hour), LastPrice: 100, ATR: 1, Algorithm: levels.Algorithm,
			Supports: []levels.Level{{ID: 7, Price: 95, Low: 94.9, High: 95.1, Edge: 5, DrawnEdge: 5, NoOdds: levels.UnknownInterval}},
		}
		f(t, w, s, snap)
		cancel()
		<-done
	})
}

// price notes a price and waits until it is stored.
func price(w *Watcher, p float64) {
	w.Price("binance", "BTCUSDT", p, time.Now())
	synctest.Wait()
}

func TestWatcher_APriceRingsOnceAndAtOnce(t *testing.T) {
	watching(t, func(t *testing.T, w *Watcher, s *shelf, snap *service.Snapshot) {
		if w.Watch(nil, snap, nil, nil) != nil {
			t.Error("the first analysis of a pair is stored with a state, which follows from it")
		}
		price(w, 96) // the analysis is not stored yet
		s.snaps[snap.Key] = snap
		price(w, 99)
		if len(s.events) > 0 || s.calls != 1 {
			t.Fatalf("%d events after %d transactions", len(s.events), s.calls)
		}
		for range 100 {
			price(w, 96.2)
			price(w, 96.3)
		}
		for range 100 {
			price(w, 95.2)
			price(w, 94.9)
		}
		if got := s.kinds(); !slices.Equal(got, []string{"approaching", "touched"}) || s.calls != 3 {
			t.Fatalf("%v after %d transactions", got, s.calls)
		}
		e := s.events[1]
		if e.Price != 95.2 || e.Candle != nil || e.Level.Price != 95 || e.Level.ID != "0000000000000007" || e.Level.Role != "support" ||
			*e.Name != "BTC/USDT" || *e.DistanceATR != 0.2 || e.LateMS != 0 || !e.Begun.Equal(snap.AsOf) || e.Level.HoldProbability != nil ||
			e.Links.Explanation != "/levels/BTCUSDT/0000000000000007?exchange=binance&interval=1h" {
			t.Errorf("the event is %+v", e)
		}
	})
}

func TestWatcher_PricesOfAllPairsRingLikePushedOnes(t *testing.T) {
	watching(t, func(t *testing.T, w *Watcher, s *shelf, snap *service.Snapshot) {
		s.snaps[snap.Key] = snap
		w.Watch(nil, snap, nil, nil)
		list := service.NewPriceList(nil)
		list.Add([]byte("BTCUSDT"), 95)
		w.Prices("okx", list.Prices(time.Now(), time.Second), time.Now())
		synctest.Wait()
		if len(s.events) > 0 {
			t.Error("a price of another exchange rings")
		}
		w.Prices("binance", list.Prices(time.Now(), time.Second), time.Now())
		synctest.Wait()
		if got := s.kinds(); !slices.Equal(got, []string{"touched"}) {
			t.Errorf("%v", got)
		}
	})
}

func TestWatcher_OldLevelsDoNotRingBetweenCloses(t *testing.T) {
	watching(t, func(t *testing.T, w *Watcher, s *shelf, snap *service.Snapshot) {
		s.snaps[snap.Key] = snap
		w.Watch(nil, snap, nil, nil)
		time.Sleep(4 * time.Hour)
		price(w, 95)
		if s.calls > 0 {
			t.Error("a level of four hours ago rings on 1h candles")
		}
	})
}

func TestWatcher_TriesAgainWhatCouldNotBeStored(t *testing.T) {
	watching(t, func(t *testing.T, w *Watcher, s *shelf, snap *service.Snapshot) {
		s.snaps[snap.Key], s.fails = snap, 3
		w.Watch(nil, snap, nil, nil)
		price(w, 95)
		price(w, 99) // has left
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := s.kinds(); !slices.Equal(got, []string{"touched"}) || s.calls != 4 {
			t.Errorf("%v after %d transactions", got, s.calls)
		}
	})
}

func TestWatcher_AnAnalysisGoesOnWithTheStateOfPrices(t *testing.T) {
	watching(t, func(t *testing.T, w *Watcher, s *shelf, snap *service.Snapshot) {
		s.snaps[snap.Key] = snap
		w.Watch(nil, snap, nil, nil)
		price(w, 95)
		at := s.events[0].OccurredAt
		c := &levels.Candles{}
		c.Reset("1h", 0)
		open := snap.AsOf.UnixMilli()
		for i := range int64(3) {
			o := open + (i-1)*time.Hour.Milliseconds()
			candle := levels.Candle{OpenTime: o, Open: 100, High: 100, Low: 95, Close: 97, Volume: 1}
			if i == 0 {
				candle.Low, candle.Close = 100, 100
			}
			if err := c.Append(candle); err != nil {
				t.Fatal(err)
			}
		}
		after := *snap
		after.Name, after.AsOf, after.LastPrice = "", time.UnixMilli(c.AsOf()).UTC(), 97
		time.Sleep(2 * time.Hour)
		for range 2 { // another process finds the same
			s.put(w.Watch(snap, &after, s.states[snap.Key], c))
			s.states[snap.Key] = nil
		}
		if got := s.kinds(); !slices.Equal(got, []string{"touched", "held"}) {
			t.Fatalf("%v", got)
		}
		e := s.events[1]
		if !e.TouchedAt.Equal(at) || e.Promise != nil || *e.Name != "BTC/USDT" || e.Candle.Low != 95 || !e.OccurredAt.Equal(after.AsOf) {
			t.Errorf("the event is %+v", e)
		}
	})
}

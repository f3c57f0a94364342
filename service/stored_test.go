package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"tidemark/levels"
)

// stored returns an analyzer whose store has candles of n series, and those series.
func stored(t *testing.T, cfg Config, n int) (*Analyzer, *fakeStore, []Series) {
	t.Helper()
	s := &fakeStore{}
	c := new(levels.Candles)
	c.Reset("1h", 300)
	if err := wave(time.Now().Add(-300*time.Hour).UnixMilli(), c); err != nil {
		t.Fatal(err)
	}
	s.candles = map[Key]map[int64]keptBlock{}
	var all []Series
	for i := range n {
		k := Key{"fake", fmt.Sprintf("P%02d", i), "1h"}
		s.candles[k] = map[int64]keptBlock{0: {Kept{From: c.OpenTime[0], Simulated: i == 3}, c.Pack(nil, 0, c.Len())}}
		all = append(all, Series{Key: k, AsOf: time.UnixMilli(c.AsOf())})
	}
	return newTestAnalyzer(t, cfg, &fakeExchange{}, s), s, all
}

func TestEachStored_ReadsEachSeriesOnceOnSlots(t *testing.T) {
	a, _, all := stored(t, Config{}, 20)
	all = append(all, Series{Key: Key{"fake", "NONE", "1h"}, AsOf: time.Now()})
	var mu sync.Mutex
	seen := map[string]int{}
	at, most := 0, 0
	err := a.EachStored(t.Context(), all, 200, func(s *Stored) error {
		mu.Lock()
		seen[s.Symbol]++
		at++
		most = max(most, at)
		mu.Unlock()
		want := 200
		if s.Symbol == "NONE" {
			want = 0
		}
		if s.Candles.Len() != want || want > 0 && s.Candles.AsOf() != s.AsOf.UnixMilli() || s.Simulated != (s.Symbol == "P03") {
			t.Errorf("%s: %d candles, simulated %t", s.Symbol, s.Candles.Len(), s.Simulated)
		}
		if want > 0 {
			if got, err := s.Analyze(s.Finder, s.Candles, nil, s.Simulated); err != nil || got.Klines != 200 || !got.AsOf.Equal(s.AsOf) || got.Simulated != s.Simulated {
				t.Errorf("%s: %+v, %v", s.Symbol, got, err)
			}
		}
		mu.Lock()
		at--
		mu.Unlock()
		return nil
	})
	if err != nil || len(seen) != 21 || most > finders(a.cfg.Concurrency) {
		t.Errorf("%d series, %d at once, %v", len(seen), most, err)
	}
	for symbol, n := range seen {
		if n != 1 {
			t.Errorf("%s %d times", symbol, n)
		}
	}
	if slots, bytes := a.slots.inUse(); slots != 0 || bytes != 0 {
		t.Errorf("%d slots and %d bytes are still in use", slots, bytes)
	}
}

func TestEachStored_EndsWithTheFirstError(t *testing.T) {
	a, s, all := stored(t, Config{}, 20)
	broken := errors.New("broken")
	calls := 0
	var mu sync.Mutex
	each := func(ctx context.Context, fn func() error) error {
		calls = 0
		return a.EachStored(ctx, all, 200, func(*Stored) error {
			mu.Lock()
			defer mu.Unlock()
			calls++
			return fn()
		})
	}
	if err := each(t.Context(), func() error { return broken }); err != broken || calls > finders(a.cfg.Concurrency) {
		t.Errorf("%v after %d calls", err, calls)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	if err := each(ctx, func() error { cancel(broken); return nil }); err != broken || calls > finders(a.cfg.Concurrency) {
		t.Errorf("cancelled: %v after %d calls", err, calls)
	}
	if err := each(t.Context(), func() error { panic("broken") }); err == nil {
		t.Error("a panic is no error")
	}
	if err := a.EachStored(t.Context(), all, MaxKlineLimit+1, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("more candles than fit: %v", err)
	}
	s.CandlesErr = ErrStorage
	if err := each(t.Context(), func() error { return nil }); !errors.Is(err, ErrStorage) {
		t.Errorf("without the database: %v", err)
	}
	s.CandlesErr = fmt.Errorf("%w: %w", ErrStorage, ErrDamaged)
	if err := each(t.Context(), func() error { return nil }); err != nil || calls != 20 {
		t.Errorf("damaged candles: %v after %d calls", err, calls)
	}
	a.stop(ErrStopping)
	if err := each(t.Context(), func() error { return nil }); !errors.Is(err, ErrStopping) {
		t.Errorf("stopping: %v", err)
	}
	for range cap(a.finders) { // a panic has not lost one
		<-a.finders
	}
}

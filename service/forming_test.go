package service

// The candle that is not closed: told again for a moment however many ask, never
// for longer, and asked of the exchange by one caller at a time.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
)

func TestForming_ManyWhoLookCostAsMuchAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls, together, most atomic.Int64
		x := &fakeExchange{FormingFunc: func(symbol string, _ levels.Interval) (*Forming, error) {
			most.Store(max(most.Load(), together.Add(1)))
			defer together.Add(-1)
			time.Sleep(20 * time.Millisecond)
			return &Forming{Candle: levels.Candle{Close: float64(calls.Add(1))}, At: time.Now()}, nil
		}}
		a := newTestAnalyzer(t, Config{}, x, &fakeStore{})
		ask := func(symbol string) float64 {
			f, err := a.Forming(t.Context(), symbol, "1h")
			if err != nil {
				t.Error(err)
				return 0
			}
			return f.Close
		}
		var all sync.WaitGroup
		for i := range 30 {
			all.Go(func() { ask(fmt.Sprint("P", i%3)) })
		}
		all.Wait()
		if calls.Load() != 3 || most.Load() != 1 {
			t.Errorf("30 who ask for three pairs are %d calls, %d at once", calls.Load(), most.Load())
		}
		first := ask("P0")
		time.Sleep(formingAge - 100*time.Millisecond)
		if again := ask("P0"); again != first {
			t.Errorf("asked anew after less than %v", formingAge)
		}
		time.Sleep(100 * time.Millisecond)
		if later := ask("P0"); later == first {
			t.Errorf("told again after %v", formingAge)
		}
		if n := len(a.forming.known); n != 1 {
			t.Errorf("%d candles are kept, want only the one that is fresh", n)
		}
	})
}

func TestForming_AnErrorIsNotRepeatedToOthers(t *testing.T) {
	fail := true
	x := &fakeExchange{FormingFunc: func(string, levels.Interval) (*Forming, error) {
		if fail {
			return nil, fmt.Errorf("%w: down", ErrExchange)
		}
		return nil, nil
	}}
	a := newTestAnalyzer(t, Config{}, x, &fakeStore{})
	if _, err := a.Forming(t.Context(), "A", "1h"); !errors.Is(err, ErrExchange) {
		t.Error(err)
	}
	fail = false
	if f, err := a.Forming(t.Context(), "A", "1h"); f != nil || err != nil {
		t.Errorf("of a pair without one: %v, %v", f, err)
	}
	if _, err := a.Forming(t.Context(), "A", "7h"); !errors.Is(err, levels.ErrUnknownInterval) {
		t.Error(err)
	}
	a.forming.turn <- struct{}{} // somebody asks
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := a.Forming(ctx, "A", "1h"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("in vain: %v", err)
	}
}

package service

// These tests pin the forming candle: it is cached for formingAge, concurrent callers
// for a pair share one request, and no pair waits for another.

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
			f, err := a.Forming(t.Context(), Key{Symbol: symbol, Interval: "1h"})
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
		if calls.Load() != 3 || most.Load() != 3 {
			t.Errorf("30 callers for three pairs made %d requests, %d at once", calls.Load(), most.Load())
		}
		first := ask("P0")
		time.Sleep(formingAge - 100*time.Millisecond)
		if again := ask("P0"); again != first {
			t.Errorf("asked again after less than %v", formingAge)
		}
		time.Sleep(100 * time.Millisecond)
		if later := ask("P0"); later == first {
			t.Errorf("the cached candle was returned after %v", formingAge)
		}
		if n := len(a.forming.known); n != 1 {
			t.Errorf("%d candles are cached, want only the fresh one", n)
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
	if _, err := a.Forming(t.Context(), Key{Symbol: "A", Interval: "1h"}); !errors.Is(err, ErrExchange) {
		t.Error(err)
	}
	fail = false
	if f, err := a.Forming(t.Context(), Key{Symbol: "A", Interval: "1h"}); f != nil || err != nil {
		t.Errorf("a pair without a forming candle: %v, %v", f, err)
	}
	if _, err := a.Forming(t.Context(), Key{Symbol: "A", Interval: "7h"}); !errors.Is(err, levels.ErrUnknownInterval) {
		t.Error(err)
	}
}

func TestForming_NoPairWaitsForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		x := &fakeExchange{FormingFunc: func(symbol string, _ levels.Interval) (*Forming, error) {
			if symbol != "B" {
				<-stuck
			}
			return &Forming{At: time.Now()}, nil
		}}
		a := newTestAnalyzer(t, Config{}, x, &fakeStore{})
		ask := func(symbol string, patience time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, err := a.Forming(ctx, Key{Symbol: symbol, Interval: "1h"})
			return err
		}
		first := make(chan error, 1)
		go func() { first <- ask("A", time.Hour) }()
		synctest.Wait()
		if err := ask("A", time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the second caller for a pair without a response: %v", err)
		}
		if err := ask("B", time.Second); err != nil {
			t.Errorf("another pair: %v", err)
		}
		var all sync.WaitGroup
		for i := range formingCalls - 1 {
			all.Go(func() { ask(fmt.Sprint("P", i), time.Hour) })
		}
		synctest.Wait()
		var after *RetryAfterError
		if err := ask("Q", time.Second); !errors.Is(err, ErrBusy) || !errors.As(err, &after) {
			t.Errorf("with %d requests under way: %v", formingCalls, err)
		}
		close(stuck)
		all.Wait()
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}

func TestForming_GoesOnForThoseWhoJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		x := &fakeExchange{FormingFunc: func(string, levels.Interval) (*Forming, error) {
			calls.Add(1)
			time.Sleep(time.Second)
			return &Forming{At: time.Now()}, nil
		}}
		a := newTestAnalyzer(t, Config{}, x, &fakeStore{})
		hasty, leave := context.WithCancel(t.Context())
		go a.Forming(hasty, Key{Symbol: "A", Interval: "1h"})
		synctest.Wait()
		joined := make(chan error, 1)
		go func() { _, err := a.Forming(t.Context(), Key{Symbol: "A", Interval: "1h"}); joined <- err }()
		synctest.Wait()
		leave()
		if err := <-joined; err != nil || calls.Load() != 1 {
			t.Errorf("%v after %d requests", err, calls.Load())
		}
	})
}

func TestForming_APanicIsAnError(t *testing.T) {
	x := &fakeExchange{FormingFunc: func(string, levels.Interval) (*Forming, error) { panic("odd") }}
	a := newTestAnalyzer(t, Config{}, x, &fakeStore{})
	if _, err := a.Forming(t.Context(), Key{Symbol: "A", Interval: "1h"}); Code(err) != "internal" {
		t.Error(err)
	}
}

func TestForming_KeepsABoundedNumberOfPairs(t *testing.T) {
	x := &fakeExchange{FormingFunc: func(string, levels.Interval) (*Forming, error) { return nil, nil }}
	a := newTestAnalyzer(t, Config{}, x, &fakeStore{})
	for i := range 2 * formingKept {
		if _, err := a.Forming(t.Context(), Key{Symbol: fmt.Sprint("P", i), Interval: "1h"}); err != nil {
			t.Fatal(err)
		}
		if n := len(a.forming.known); n > formingKept {
			t.Fatalf("%d candles are kept", n)
		}
	}
}

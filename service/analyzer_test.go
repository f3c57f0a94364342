package service

// These tests pin the Analyzer: it never runs more analyses than slots, it bounds the
// queue, it joins identical requests, a panic fails only its pair, and Stop returns
// in time. Time is fake (testing/synctest), which also fails a test that leaks a
// goroutine.

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"tidemark/levels"
)

// slow makes every fetch take d and then yield a wave.
func slow(d time.Duration) func(context.Context, string, int64, *levels.Candles) error {
	return func(ctx context.Context, _ string, from int64, dst *levels.Candles) error {
		select {
		case <-time.After(d):
			return wave(from, dst)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func TestAnalyze_ReturnsAndStoresTheLastClosedCandles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		a := newTestAnalyzer(t, Config{}, &fakeExchange{}, store)
		time.Sleep(90 * time.Minute) // half way into a candle
		snap, err := a.Analyze(t.Context(), Request{Symbol: "BTCUSDT", KlineLimit: 300, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		if want := time.Now().Truncate(time.Hour); !snap.AsOf.Equal(want) {
			t.Errorf("as of %s, want the last full hour %s", snap.AsOf, want)
		}
		if snap.Klines != 300 || snap.Missing != 0 || snap.Exchange != "fake" || snap.Symbol != "BTCUSDT" {
			t.Errorf("got %d klines, %d missing, %s %s", snap.Klines, snap.Missing, snap.Exchange, snap.Symbol)
		}
		if len(snap.Supports)+len(snap.Resistances) == 0 {
			t.Error("a market swinging between two prices has no levels")
		}
		stored, err := store.Snapshot(t.Context(), snap.Key, time.Time{})
		if err != nil || !stored.AsOf.Equal(snap.AsOf) {
			t.Errorf("stored as of %v, %v", stored.AsOf, err)
		}
		a.Stop(t.Context())
	})
}

func TestAnalyze_WithoutStoreLeavesNothing(t *testing.T) {
	store := &fakeStore{}
	a := newTestAnalyzer(t, Config{}, &fakeExchange{}, store)
	if _, err := a.Analyze(t.Context(), Request{Symbol: "BTCUSDT"}); err != nil {
		t.Fatal(err)
	}
	if len(store.puts) != 0 {
		t.Errorf("%d results stored", len(store.puts))
	}
}

func TestAnalyze_RefusesWhatCannotBe(t *testing.T) {
	a := newTestAnalyzer(t, Config{}, &fakeExchange{SymbolFunc: func(_ context.Context, name string) (Symbol, error) {
		return Symbol{}, fmt.Errorf("%w: %s", ErrUnknownSymbol, name)
	}}, &fakeStore{})
	for _, c := range []struct {
		request Request
		want    error
	}{
		{Request{Symbol: "A", Interval: "7m"}, levels.ErrUnknownInterval},
		{Request{Symbol: "A", KlineLimit: 99}, ErrInvalid},
		{Request{Symbol: "A", KlineLimit: 10_001}, ErrInvalid},
		{Request{Symbol: "A", KlineLimit: -1}, ErrInvalid},
		{Request{Symbol: "NOPE"}, ErrUnknownSymbol},
	} {
		if _, err := a.Analyze(t.Context(), c.request); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.request, err, c.want)
		}
	}
}

func TestAnalyze_NeverExceedsSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &fakeExchange{CandlesFunc: slow(time.Second)}
		a := newTestAnalyzer(t, Config{Concurrency: 4, QueueLimit: 100}, x, &fakeStore{})
		results := make(chan error)
		for i := range 40 {
			go func() {
				_, err := a.Analyze(t.Context(), Request{Symbol: fmt.Sprint("P", i)})
				results <- err
			}()
		}
		start := time.Now()
		for range 40 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if x.maximum != 4 {
			t.Errorf("%d analyses at once, want exactly the 4 slots", x.maximum)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("40 analyses of 1 s on 4 slots took %s, want 10 s", took)
		}
		a.Stop(t.Context())
	})
}

func TestAnalyze_PastTheQueueLimitIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &fakeExchange{CandlesFunc: slow(time.Second)}
		a := newTestAnalyzer(t, Config{Concurrency: 1, QueueLimit: 2}, x, &fakeStore{})
		results := make(chan error, 3)
		for i := range 3 { // one in the slot, two in the queue
			go func() {
				_, err := a.Analyze(t.Context(), Request{Symbol: fmt.Sprint("P", i)})
				results <- err
			}()
		}
		synctest.Wait()
		_, err := a.Analyze(t.Context(), Request{Symbol: "LATE"})
		var retry *RetryAfterError
		if !errors.Is(err, ErrBusy) || !errors.As(err, &retry) || !retry.Until.After(time.Now()) {
			t.Errorf("the fourth request got %v, want ErrBusy with a retry time", err)
		}
		for range 3 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		a.Stop(t.Context())
	})
}

func TestAnalyze_JoinsIdenticalRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &fakeExchange{CandlesFunc: slow(time.Second)}
		a := newTestAnalyzer(t, Config{}, x, &fakeStore{})
		results := make(chan error)
		ask := func(ctx context.Context, limit int) {
			go func() {
				_, err := a.Analyze(ctx, Request{Symbol: "BTCUSDT", KlineLimit: limit})
				results <- err
			}()
		}
		leaving, leave := context.WithCancel(t.Context())
		ask(leaving, 0)
		synctest.Wait() // it leads
		ask(t.Context(), 0)
		ask(t.Context(), 200) // the configured limit, said aloud
		ask(t.Context(), 300) // other work
		synctest.Wait()
		leave() // who leads may leave; the others wait on
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("the caller that left got %v", err)
		}
		for range 3 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if n := x.calls["BTCUSDT"]; n != 2 {
			t.Errorf("the exchange was asked %d times, want 2", n)
		}
		if n := testutil.ToFloat64(a.metrics.joined); n != 2 {
			t.Errorf("%v requests counted as joined, want 2", n)
		}
		a.Stop(t.Context())
	})
}

// Every caller has the whole timeout, whenever the work started.
func TestAnalyze_WhoJoinsHasTheWholeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 10 * time.Second
		x := &fakeExchange{CandlesFunc: func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
			time.Sleep(timeout - time.Second) // the second caller has joined
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) < timeout-2*time.Second {
				return fmt.Errorf("only %s left", time.Until(deadline))
			}
			return slow(3*time.Second)(ctx, symbol, from, dst)
		}}
		a := newTestAnalyzer(t, Config{Timeout: timeout}, x, &fakeStore{})
		start := time.Now()
		first := make(chan error, 1)
		go func() {
			_, err := a.Analyze(t.Context(), Request{Symbol: "A"})
			if took := time.Since(start); took != timeout {
				t.Errorf("the first caller waited %s, want %s", took, timeout)
			}
			first <- err
		}()
		time.Sleep(timeout - 2*time.Second)
		if _, err := a.Analyze(t.Context(), Request{Symbol: "A"}); err != nil {
			t.Errorf("the caller that joined after 8 s got %v", err)
		}
		if took := time.Since(start); took != timeout+2*time.Second {
			t.Errorf("the caller that joined had its result after %s, want one request of 12 s", took)
		}
		if err := <-first; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the first caller got %v, want its deadline", err)
		}
		a.Stop(t.Context())
	})
}

func TestAnalyze_IsGivenUpWhenNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cancelled atomic.Bool
		x := &fakeExchange{CandlesFunc: func(ctx context.Context, _ string, _ int64, _ *levels.Candles) error {
			<-ctx.Done()
			cancelled.Store(true)
			return ctx.Err()
		}}
		a := newTestAnalyzer(t, Config{}, x, &fakeStore{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Analyze(ctx, Request{Symbol: "BTCUSDT"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if !cancelled.Load() {
			t.Error("the fetch continued without a caller")
		}
		a.Stop(t.Context())
	})
}

func TestAnalyze_ContainsPanics(t *testing.T) {
	x := &fakeExchange{CandlesFunc: func(_ context.Context, symbol string, from int64, dst *levels.Candles) error {
		if symbol == "BAD" {
			panic("boom")
		}
		return wave(from, dst)
	}}
	a := newTestAnalyzer(t, Config{Concurrency: 1}, x, &fakeStore{})
	for range 3 {
		_, err := a.Analyze(t.Context(), Request{Symbol: "BAD"})
		if err == nil || Code(err) != "internal" {
			t.Fatalf("a panic returned %v", err)
		}
	}
	if _, err := a.Analyze(t.Context(), Request{Symbol: "GOOD"}); err != nil {
		t.Errorf("after the panics: %v", err)
	}
	if n := testutil.ToFloat64(a.metrics.panics); n != 3 {
		t.Errorf("%v panics counted, want 3", n)
	}
}

func TestAnalyze_DoesNotKeepTheMemoryOfALargeRequest(t *testing.T) {
	a := newTestAnalyzer(t, Config{Concurrency: 1, KlineLimit: 200}, &fakeExchange{}, &fakeStore{})
	if _, err := a.Analyze(t.Context(), Request{Symbol: "BTCUSDT", KlineLimit: MaxKlineLimit}); err != nil {
		t.Fatal(err)
	}
	s, _ := a.slots.acquire(a.slots.of("fake"), SlotBytes(200), nil)
	if n := cap(s.candles.OpenTime); n > 400 {
		t.Errorf("the slot still has room for %d candles", n)
	}
	a.slots.release(s)
}

func TestAnalyzeCandles_IsTheCallersOwn(t *testing.T) {
	x := &fakeExchange{simulated: true}
	a := newTestAnalyzer(t, Config{}, x, &fakeStore{})
	hour := time.Hour.Milliseconds()
	now := time.Now().UnixMilli() / hour * hour
	fill := func(until int64) func(*levels.Candles) error {
		return func(c *levels.Candles) error {
			c.Reset("1h", 200)
			for open := until - 200*hour; open < until; open += hour {
				p := 100 + float64(open/hour%7)
				if err := c.Append(levels.Candle{OpenTime: open, Open: p, High: p + 1, Low: p - 1, Close: p, Volume: 1}); err != nil {
					return err
				}
			}
			return nil
		}
	}
	snap, err := a.AnalyzeCandles(t.Context(), 200, Tick{}, fill(now))
	if err != nil {
		t.Fatal(err)
	}
	if snap.Exchange != "" || snap.Symbol != "" || snap.Simulated || snap.Klines != 200 {
		t.Errorf("the analysis of the caller's candles has exchange %q, symbol %q, simulated %v, %d klines", snap.Exchange, snap.Symbol, snap.Simulated, snap.Klines)
	}
	if _, err := a.AnalyzeCandles(t.Context(), 200, Tick{}, fill(now+hour)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a candle still open: %v, want ErrInvalid", err)
	}
	sentinel := errors.New("the caller's")
	if _, err := a.AnalyzeCandles(t.Context(), 200, Tick{}, func(*levels.Candles) error { return sentinel }); err != sentinel {
		t.Errorf("the error of fill became %v", err)
	}
}

func TestStop_BreaksOffWhatOutlastsItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &fakeExchange{CandlesFunc: slow(time.Hour)}
		a := newTestAnalyzer(t, Config{}, x, &fakeStore{})
		single := make(chan error, 1)
		go func() {
			_, err := a.Analyze(t.Context(), Request{Symbol: "B"})
			single <- err
		}()
		synctest.Wait()
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := a.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stop returned %v", err)
		}
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("Stop took %s, want its 2 s", took)
		}
		if err := <-single; !errors.Is(err, ErrStopping) && !errors.Is(err, context.Canceled) {
			t.Errorf("the cancelled request got %v", err)
		}
	})
}

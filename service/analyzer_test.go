package service

// These tests pin what the executor promises: never more analyses at once than
// slots, a bounded queue, identical requests joined, one transaction a batch,
// a pair's failure or panic kept to the pair, and a stop that loses nothing.
// Time is fake (testing/synctest), which also fails a test that leaves a
// goroutine behind.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/prometheus/client_golang/prometheus"

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
	if len(store.batches) != 0 {
		t.Errorf("%d batches stored", len(store.batches))
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
			t.Errorf("the fourth got %v, want ErrBusy with a time to come back", err)
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
			t.Errorf("who left got %v", err)
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

// Each who waits has the whole timeout, whenever the work was begun.
func TestAnalyze_WhoJoinsHasTheWholeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 10 * time.Second
		x := &fakeExchange{CandlesFunc: func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
			time.Sleep(timeout - time.Second) // the second caller has joined
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) < timeout-2*time.Second {
				return fmt.Errorf("only %s are left", time.Until(deadline))
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
			t.Errorf("who joined after 8 s got %v", err)
		}
		if took := time.Since(start); took != timeout+2*time.Second {
			t.Errorf("who joined had its answer after %s, want the one request to take 12 s", took)
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
			t.Error("the fetch went on for nobody")
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
			t.Fatalf("a panic came out as %v", err)
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
	s, _ := a.slots.acquire(&a.slots.fetching, SlotBytes(200))
	if n := cap(s.candles.OpenTime); n > 400 {
		t.Errorf("the slot kept room for %d candles", n)
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
	snap, err := a.AnalyzeCandles(t.Context(), 200, fill(now))
	if err != nil {
		t.Fatal(err)
	}
	if snap.Exchange != "" || snap.Symbol != "" || snap.Simulated || snap.Klines != 200 {
		t.Errorf("the caller's candles came out as %q %q, simulated %v, %d klines", snap.Exchange, snap.Symbol, snap.Simulated, snap.Klines)
	}
	if _, err := a.AnalyzeCandles(t.Context(), 200, fill(now+hour)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a candle still open: %v, want ErrInvalid", err)
	}
	sentinel := errors.New("the caller's")
	if _, err := a.AnalyzeCandles(t.Context(), 200, func(*levels.Candles) error { return sentinel }); err != sentinel {
		t.Errorf("fill's own error came out as %v", err)
	}
	j, err := a.SubmitCandles(t.Context(), 200, fill(now))
	if err != nil || j.State != JobCompleted || j.Result == nil || j.Done != 1 {
		t.Errorf("as a job: %+v, %v", j, err)
	}
}

func TestSubmit_SweepGivesEveryPairAnOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := market(23)
		all[4].Quote = "BTC"
		all[5].Status, all[5].Trading = "BREAK", false
		all[6].QuoteVolume = 10
		all[7] = Symbol{Name: "USDCUSDT", Base: "USDC", Quote: "USDT", Trading: true, QuoteVolume: 1e9}
		all[8] = Symbol{Name: "P001UPUSDT", Base: "P001UP", Quote: "USDT", Trading: true, QuoteVolume: 1e9}
		all[9] = Symbol{Name: "JUPUSDT", Base: "JUP", Quote: "USDT", Trading: true, QuoteVolume: 1e9}
		x := &fakeExchange{symbols: all, simulated: true, CandlesFunc: func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
			switch symbol {
			case "P010USDT":
				return wave(time.Now().Add(-10*time.Hour).UnixMilli(), dst)
			case "P011USDT":
				return fmt.Errorf("%w: nonsense", ErrExchange)
			case "P012USDT":
				panic("boom")
			}
			return slow(time.Second)(ctx, symbol, from, dst)
		}}
		store := &fakeStore{}
		a := newTestAnalyzer(t, Config{Filter: Filter{QuoteAssets: []string{"USDT"}, MinQuoteVolume: 1000}}, x, store)
		j, _, err := a.Submit(t.Context(), JobRequest{All: true, Store: true})
		if err != nil || j.Kind != KindSweep || j.State != JobQueued {
			t.Fatalf("submitted: %+v, %v", j, err)
		}
		j = finished(t, a, j.ID)
		if j.State != JobCompleted || j.Symbols != 21 || j.Done != 15 || j.Failed != 3 || j.Skipped != 3 ||
			j.Done+j.Failed+j.Skipped != j.Symbols || j.Batches != 4 || j.BatchesDone != 4 || !j.Simulated {
			t.Errorf("ended as %+v", j)
		}
		codes := map[string]string{}
		for _, o := range slices.Concat(j.Failures, j.Skips) {
			codes[o.Symbol] = o.Code
			if o.Detail == "" || strings.Contains(o.Detail, "boom") {
				t.Errorf("%s is explained by %q", o.Symbol, o.Detail)
			}
		}
		for symbol, want := range map[string]string{
			"P006USDT": "quote_volume", "USDCUSDT": "stable_pair", "P001UPUSDT": "leveraged",
			"P010USDT": "too_few_candles", "P011USDT": "exchange_unavailable", "P012USDT": "internal",
		} {
			if codes[symbol] != want {
				t.Errorf("%s ended as %q, want %q", symbol, codes[symbol], want)
			}
		}
		if len(store.snapshots) != 15 || len(store.stored) != 4 {
			t.Errorf("%d snapshots of %d batches, want 15 of 4", len(store.snapshots), len(store.stored))
		}
		stored, err := store.Job(t.Context(), j.ID)
		if err != nil || stored.State != JobCompleted || stored.Done != 15 || stored.Failed != 3 {
			t.Errorf("stored job: %+v, %v", stored, err)
		}
		a.Stop(t.Context())
	})
}

func TestSubmit_KeepsSlotsBusyAcrossBatches(t *testing.T) {
	for _, c := range []struct{ concurrency, batch int }{{1, 5}, {3, 20}, {5, 50}, {20, 50}, {20, 5}, {3, 4}} {
		t.Run(fmt.Sprintf("%d/%d", c.concurrency, c.batch), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := &fakeExchange{symbols: market(120), CandlesFunc: slow(time.Second)}
				a := newTestAnalyzer(t, Config{Concurrency: c.concurrency, BatchSize: c.batch}, x, &fakeStore{})
				start := time.Now()
				j, _, err := a.Submit(t.Context(), JobRequest{All: true, Store: true})
				if err != nil {
					t.Fatal(err)
				}
				j = finished(t, a, j.ID)
				want := time.Duration(120/c.concurrency) * time.Second
				if took := j.FinishedAt.Sub(start); took.Truncate(time.Second) != want {
					t.Errorf("120 pairs of 1 s took %s, want %s: a slot idled at a batch's end", took, want)
				}
				if x.maximum != c.concurrency {
					t.Errorf("%d at once, want %d", x.maximum, c.concurrency)
				}
				a.Stop(t.Context())
			})
		})
	}
}

func TestSubmit_AnswersSingleRequestsDuringASweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &fakeExchange{symbols: market(60), CandlesFunc: slow(time.Second)}
		a := newTestAnalyzer(t, Config{Concurrency: 2}, x, &fakeStore{})
		j, _, err := a.Submit(t.Context(), JobRequest{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(4500 * time.Millisecond)
		start := time.Now()
		if _, err := a.Analyze(t.Context(), Request{Symbol: "BTCUSDT"}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("a single pair waited %s behind a sweep", took)
		}
		finished(t, a, j.ID)
		a.Stop(t.Context())
	})
}

func TestSubmit_JoinsTheSameJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &fakeExchange{symbols: market(20), CandlesFunc: slow(time.Second)}
		a := newTestAnalyzer(t, Config{}, x, &fakeStore{})
		submit := func(r JobRequest) string {
			j, _, err := a.Submit(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			return j.ID
		}
		first := submit(JobRequest{All: true, Store: true})
		if again := submit(JobRequest{All: true, Store: true, Interval: "1h"}); again != first {
			t.Error("the same sweep was started twice")
		}
		if other := submit(JobRequest{All: true, Store: true, Interval: "4h"}); other == first {
			t.Error("a sweep of another interval was joined")
		}
		finished(t, a, first)
		if after := submit(JobRequest{All: true, Store: true}); after == first {
			t.Error("a sweep that has ended was joined")
		} else {
			finished(t, a, after)
		}
		a.Stop(t.Context())
	})
}

func TestSubmit_RefusesWhatCannotBe(t *testing.T) {
	a := newTestAnalyzer(t, Config{}, &fakeExchange{}, &fakeStore{})
	for _, r := range []JobRequest{
		{Store: true},
		{All: true, Symbols: []string{"A"}, Store: true},
		{All: true},
		{Symbols: []string{"A", "B"}},
		{All: true, Store: true, KlineLimit: 5},
	} {
		if _, _, err := a.Submit(t.Context(), r); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", r, err)
		}
	}
}

func TestSubmit_OneSymbolUnstoredCarriesItsResult(t *testing.T) {
	store := &fakeStore{}
	a := newTestAnalyzer(t, Config{}, &fakeExchange{}, store)
	j, _, err := a.Submit(t.Context(), JobRequest{Symbols: []string{"A", "A"}})
	if err != nil {
		t.Fatal(err)
	}
	j = finished(t, a, j.ID)
	if j.State != JobCompleted || j.Done != 1 || j.Result == nil || j.Result.Symbol != "A" {
		t.Errorf("ended as %+v", j)
	}
	if len(store.snapshots) != 0 {
		t.Error("it was stored")
	}
}

func TestCancel_BreaksOffPairsUnderWayAndKeepsWhatIsAnalysed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		x := &fakeExchange{symbols: market(30), CandlesFunc: slow(time.Second)}
		a := newTestAnalyzer(t, Config{Concurrency: 3, BatchSize: 10}, x, store)
		j, _, err := a.Submit(t.Context(), JobRequest{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond) // 3 done, 3 under way
		if j, err := a.Cancel(t.Context(), j.ID); err != nil || j.State != JobCancelled {
			t.Fatalf("cancelled: %+v, %v", j, err)
		}
		synctest.Wait()
		j = finished(t, a, j.ID)
		if j.State != JobCancelled || j.Done != 3 || j.Failed != 0 || len(store.snapshots) != 3 {
			t.Errorf("ended as %s with %d done, %d failed and %d stored, want cancelled with 3, 0 and 3", j.State, j.Done, j.Failed, len(store.snapshots))
		}
		if _, err := a.Cancel(t.Context(), j.ID); !errors.Is(err, ErrJobFinished) {
			t.Errorf("cancelled again: %v", err)
		}
		if _, err := a.Cancel(t.Context(), "nope"); !errors.Is(err, ErrUnknownJob) {
			t.Errorf("cancelling what is not there: %v", err)
		}
		a.Stop(t.Context())
	})
}

// An exchange that wants a pause of a day: whoever asks for something waits.
func TestCancel_FreesTheSlotsThatWaitForTheExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &fakeExchange{symbols: market(30), CandlesFunc: func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
			if strings.HasPrefix(symbol, "P") {
				return slow(24*time.Hour)(ctx, symbol, from, dst)
			}
			return wave(from, dst)
		}}
		a := newTestAnalyzer(t, Config{Concurrency: 3, BatchSize: 10}, x, &fakeStore{})
		other := newTestAnalyzer(t, Config{Concurrency: 3, BatchSize: 10}, x, &fakeStore{})
		for _, cancels := range []*Analyzer{a, other} {
			cancels.store = a.store
			j, _, err := a.Submit(t.Context(), JobRequest{All: true, Store: true})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			if busy, _ := a.slots.inUse(); busy != 3 {
				t.Fatalf("%d slots are busy, want all 3", busy)
			}
			if _, err := cancels.Cancel(t.Context(), j.ID); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if _, err := a.Analyze(t.Context(), Request{Symbol: "BTCUSDT"}); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took > statePoll {
				t.Errorf("a request waited %s for the slots of a cancelled job", took)
			}
			synctest.Wait()
			if busy, _ := a.slots.inUse(); busy != 0 {
				t.Errorf("%d slots are busy, want none", busy)
			}
		}
		a.Stop(t.Context())
		other.Stop(t.Context())
	})
}

func TestCancel_ReachesTheOtherProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		x := &fakeExchange{symbols: market(300), CandlesFunc: slow(time.Second)}
		works := newTestAnalyzer(t, Config{Concurrency: 3, BatchSize: 10}, x, store)
		asks := New(works.cfg, x, store, prometheus.NewRegistry(), works.log) // works for no queue
		j, _, err := works.Submit(t.Context(), JobRequest{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		if joined, _, err := asks.Submit(t.Context(), JobRequest{All: true, Store: true}); err != nil || joined.ID != j.ID {
			t.Errorf("the same sweep asked of another process is %v, %v, want %s joined", joined.ID, err, j.ID)
		}
		time.Sleep(5500 * time.Millisecond)
		if _, err := asks.Cancel(t.Context(), j.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(statePoll) // to see it
		synctest.Wait()
		asked := len(x.calls)
		time.Sleep(time.Minute)
		if len(x.calls) != asked {
			t.Errorf("%d pairs were begun later than %s after the cancellation", len(x.calls)-asked, statePoll)
		}
		if j = finished(t, works, j.ID); j.State != JobCancelled || j.Done < asked-3 || len(store.snapshots) != j.Done {
			t.Errorf("ended as %s with %d done, %d stored, %d asked for", j.State, j.Done, len(store.snapshots), asked)
		}
		works.Stop(t.Context())
		asks.Stop(t.Context())
	})
}

func TestSubmit_ALongBanOrPauseEndsTheJob(t *testing.T) {
	for _, reason := range []error{ErrBanned, ErrRateLimited} {
		t.Run(Code(reason), func(t *testing.T) { longPause(t, reason) })
	}
}

func longPause(t *testing.T, reason error) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		until := time.Now().Add(patience + time.Minute)
		var asked atomic.Int64
		x := &fakeExchange{symbols: market(100), CandlesFunc: func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
			if asked.Add(1) > 20 {
				return &RetryAfterError{reason, until}
			}
			return slow(time.Second)(ctx, symbol, from, dst)
		}}
		a := newTestAnalyzer(t, Config{BatchSize: 10}, x, store)
		j, _, err := a.Submit(t.Context(), JobRequest{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		finished(t, a, j.ID)
		time.Sleep(2 * time.Second) // for the pairs under way
		j = finished(t, a, j.ID)
		if j.State != JobFailed || j.Error == nil || j.Error.Code != Code(reason) || j.Done < 18 || j.Failed != 0 || len(store.snapshots) != j.Done {
			t.Errorf("ended as %+v with %d stored, want all but the two that were under way", j, len(store.snapshots))
		}
		if asked.Load() > 20+3 {
			t.Errorf("%d pairs were asked for after the ban, want at most those under way", asked.Load()-20)
		}
		a.Stop(t.Context())
	})
}

func TestSubmit_AShortBanOrPauseIsWaitedOut(t *testing.T) {
	for _, reason := range []error{ErrBanned, ErrRateLimited} {
		t.Run(Code(reason), func(t *testing.T) { shortPause(t, reason) })
	}
}

func shortPause(t *testing.T, reason error) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		begun := time.Now()
		until := begun.Add(patience - time.Minute)
		asked := map[string]int{}
		var mu sync.Mutex
		var refused, early atomic.Int64
		x := &fakeExchange{symbols: market(100), CandlesFunc: func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
			if now := time.Now(); now.After(begun.Add(5*time.Second)) && now.Before(until) {
				if refused.Add(1); now.After(begun.Add(10 * time.Second)) {
					early.Add(1)
				}
				return &RetryAfterError{reason, until}
			}
			mu.Lock()
			asked[symbol]++
			mu.Unlock()
			return slow(time.Second)(ctx, symbol, from, dst)
		}}
		a := newTestAnalyzer(t, Config{BatchSize: 10}, x, store)
		j, _, err := a.Submit(t.Context(), JobRequest{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if j, err := a.Job(t.Context(), j.ID); err != nil || j.State != JobRunning || j.Done == 100 {
			t.Errorf("while banned the job is %+v, %v", j, err)
		}
		if j = finished(t, a, j.ID); j.State != JobCompleted || j.Done != 100 || j.Failed != 0 || len(asked) != 100 {
			t.Errorf("ended as %+v, %d pairs analysed", j, len(asked))
		}
		if j.FinishedAt.Before(until) || refused.Load() == 0 || early.Load() > 0 {
			t.Errorf("ended at %s with the ban until %s; refused %d times, %d of them long after it was known", j.FinishedAt, until, refused.Load(), early.Load())
		}
		a.Stop(t.Context())
	})
}

// What the exchange asks for is honoured by the job as a whole: its pairs are not
// reported as failed, one by one, within a second.
func TestSubmit_ALongPauseIsWaitedOutOrEndsTheJob(t *testing.T) {
	for name, c := range map[string]struct {
		pause time.Duration
		want  JobState
	}{"short": {patience - time.Minute, JobCompleted}, "long": {patience + time.Minute, JobFailed}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				until := time.Now().Add(c.pause)
				x := &fakeExchange{symbols: market(20), CandlesFunc: func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
					if time.Now().Before(until) {
						return &RetryAfterError{ErrRateLimited, until}
					}
					return wave(from, dst)
				}}
				a := newTestAnalyzer(t, Config{BatchSize: 10}, x, &fakeStore{})
				j, _, err := a.Submit(t.Context(), JobRequest{All: true, Store: true})
				if err != nil {
					t.Fatal(err)
				}
				j = finished(t, a, j.ID)
				if j.State != c.want || j.Failed != 0 || j.State == JobFailed && j.Error.Code != "rate_limited" {
					t.Errorf("ended as %+v, %+v", j, j.Error)
				}
				a.Stop(t.Context())
			})
		})
	}
}

// The last try of a run that takes too long must not leave its job open: the same
// sweep would be joined, and refused to its schedule, for ever.
func TestRun_ThatTakesTooLongOnItsLastTryFailsTheJob(t *testing.T) {
	for _, what := range []string{"plan", "batch"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &fakeStore{}
				forever := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
				x := &fakeExchange{symbols: market(5), CandlesFunc: func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
					if symbol == "P000USDT" {
						return wave(from, dst)
					}
					return forever(ctx)
				}}
				if what == "plan" {
					x.SymbolsFunc = forever
				}
				a := newTestAnalyzer(t, Config{}, x, store)
				store.mu.Lock()
				store.limit = time.Hour
				store.mu.Unlock()
				j, _, err := a.Submit(t.Context(), JobRequest{All: true, Store: true})
				if err != nil {
					t.Fatal(err)
				}
				j = finished(t, a, j.ID)
				if j.State != JobFailed || j.Error.Code != "timeout" {
					t.Errorf("ended as %+v, %+v", j, j.Error)
				}
				if took := j.FinishedAt.Sub(j.CreatedAt); took < 4*time.Hour {
					t.Errorf("it failed after %s, want all four tries of an hour", took)
				}
				if what == "batch" && len(store.snapshots) != 1 {
					t.Errorf("%d stored, want the one that was analysed", len(store.snapshots))
				}
				if again, joined, err := a.Submit(t.Context(), JobRequest{All: true, Store: true}); err != nil || joined {
					t.Errorf("the same sweep again: %+v, joined %v, %v", again, joined, err)
				}
				a.Stop(t.Context())
			})
		})
	}
}

// Two processes of one exchange that are configured with different filters.
func TestSubmit_ASweepIsOfTheFilterItWasAskedWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		symbols := market(10)
		for i := range symbols {
			if i%2 == 1 {
				symbols[i].Quote = "USDC"
			}
		}
		x := &fakeExchange{symbols: symbols}
		filter := func(quotes ...string) Config { return Config{Filter: Filter{QuoteAssets: quotes}} }
		works := newTestAnalyzer(t, filter("USDC"), x, store)
		asks := New(works.cfg, x, store, prometheus.NewRegistry(), works.log) // works for no queue
		asks.cfg.Filter.QuoteAssets = []string{"USDT", "USDC"}
		same := New(works.cfg, x, store, prometheus.NewRegistry(), works.log)
		same.cfg.Filter.QuoteAssets = []string{"USDC", "USDT"}

		store.mu.Lock()
		store.analyzers[works] = works.Workers() // it is busy
		store.mu.Unlock()
		all, _, err := asks.Submit(t.Context(), JobRequest{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		if j, joined, err := same.Submit(t.Context(), JobRequest{All: true, Store: true}); err != nil || !joined || j.ID != all.ID {
			t.Errorf("the same filter in another order: %+v, joined %v, %v", j, joined, err)
		}
		half, joined, err := works.Submit(t.Context(), JobRequest{All: true, Store: true})
		if err != nil || joined || half.ID == all.ID {
			t.Fatalf("a sweep of another filter: %+v, joined %v, %v", half, joined, err)
		}
		one := JobRequest{Symbols: []string{"P000USDT"}, Store: true} // which no filter concerns
		named, _, err := works.Submit(t.Context(), one)
		if err != nil {
			t.Fatal(err)
		}
		if j, joined, err := asks.Submit(t.Context(), one); err != nil || !joined || j.ID != named.ID {
			t.Errorf("the same symbol: %+v, joined %v, %v", j, joined, err)
		}
		store.serves(works)
		if j := finished(t, works, all.ID); j.Done != 10 {
			t.Errorf("the sweep of both quote assets ended as %+v", j)
		}
		if j := finished(t, works, half.ID); j.Done != 5 {
			t.Errorf("the sweep of one quote asset ended as %+v", j)
		}
		finished(t, works, named.ID)
		for _, a := range []*Analyzer{works, asks, same} {
			a.Stop(t.Context())
		}
	})
}

// A job of another process, which has more memory, must not wait for ever for a
// slot that there is not.
func TestRunBatch_OfMoreKlinesThanThisProcessHasRoomForIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		x := &fakeExchange{symbols: market(5)}
		small := newTestAnalyzer(t, Config{Concurrency: 1, Memory: SlotBytes(400)}, x, store)
		large := New(Config{Concurrency: 1, BatchSize: 5, KlineLimit: 5000, QueueLimit: 10, Interval: "1h"}, x, store, prometheus.NewRegistry(), small.log)
		j, _, err := large.Submit(t.Context(), JobRequest{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		if j = finished(t, small, j.ID); j.State != JobFailed || j.Error.Code != "invalid_request" {
			t.Errorf("ended as %+v", j)
		}
		small.Stop(t.Context())
		large.Stop(t.Context())
	})
}

func TestSubmit_ADatabaseThatComesBackLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int64
		store := &fakeStore{PutFunc: func(Batch) error {
			if tries.Add(1) <= 2 {
				return fmt.Errorf("%w: gone", ErrStorage)
			}
			return nil
		}}
		a := newTestAnalyzer(t, Config{}, &fakeExchange{symbols: market(5)}, store)
		j, _, err := a.Submit(t.Context(), JobRequest{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		if j = finished(t, a, j.ID); j.State != JobCompleted || j.Done != 5 || len(store.snapshots) != 5 {
			t.Errorf("ended as %+v", j)
		}
		a.Stop(t.Context())
	})
}

func TestSubmit_ADatabaseThatStaysAwayFailsTheJobAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{PutFunc: func(Batch) error { return fmt.Errorf("%w: disk full", ErrStorage) }}
		a := newTestAnalyzer(t, Config{}, &fakeExchange{symbols: market(50)}, store)
		j, _, err := a.Submit(t.Context(), JobRequest{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		j = finished(t, a, j.ID)
		if j.State != JobFailed || j.Error.Code != "storage_unavailable" || j.Done != 0 {
			t.Errorf("ended as %s with %d done: %+v", j.State, j.Done, j.Error)
		}
		a.Stop(t.Context())
	})
}

func TestSubmit_AnUnlistedMarketFailsTheJob(t *testing.T) {
	a := newTestAnalyzer(t, Config{}, &fakeExchange{SymbolsErr: fmt.Errorf("%w: down", ErrExchange)}, &fakeStore{})
	j, _, err := a.Submit(t.Context(), JobRequest{All: true, Store: true})
	if err != nil {
		t.Fatal(err)
	}
	if j = finished(t, a, j.ID); j.State != JobFailed || j.Error.Code != "exchange_unavailable" {
		t.Errorf("ended as %+v", j)
	}
}

func TestStop_KeepsWhatIsAnalysedAndLeavesTheRestToTheNextProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		x := &fakeExchange{symbols: market(50), CandlesFunc: slow(time.Second)}
		a := newTestAnalyzer(t, Config{Concurrency: 3, BatchSize: 10}, x, store)
		j, _, err := a.Submit(t.Context(), JobRequest{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(4500 * time.Millisecond) // a batch and five pairs
		start := time.Now()
		if err := a.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("the stop waited %s for the exchange", took)
		}
		left, err := store.Job(t.Context(), j.ID)
		if err != nil || left.State != JobRunning || left.Done != 10 || left.BatchesDone != 1 {
			t.Errorf("the job was left as %+v, %v", left, err)
		}
		if len(store.snapshots) != 12 {
			t.Errorf("%d stored, want the 12 done", len(store.snapshots))
		}
		if _, err := a.Analyze(t.Context(), Request{Symbol: "A"}); !errors.Is(err, ErrStopping) {
			t.Errorf("a request after the stop: %v", err)
		}
		if _, _, err := a.Submit(t.Context(), JobRequest{All: true, Store: true}); !errors.Is(err, ErrStopping) {
			t.Errorf("a job after the stop: %v", err)
		}
		ofBatches := map[string]bool{}
		for _, b := range store.batches {
			for _, s := range b.Snapshots {
				ofBatches[s.Symbol] = b.JobID != ""
			}
		}

		next := newTestAnalyzer(t, Config{Concurrency: 3, BatchSize: 10}, x, store)
		j = finished(t, next, j.ID)
		if j.State != JobCompleted || j.Done != 50 || j.BatchesDone != 5 || len(store.snapshots) != 50 {
			t.Errorf("the next process ended it as %+v with %d stored", j, len(store.snapshots))
		}
		for symbol, n := range x.calls {
			if ofBatches[symbol] && n != 1 {
				t.Errorf("%s is of the batch that was stored, and was fetched %d times", symbol, n)
			}
		}
		next.Stop(t.Context())
	})
}

func TestRunBatch_TwiceCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		x := &fakeExchange{symbols: market(5), CandlesFunc: slow(time.Second)}
		a := newTestAnalyzer(t, Config{}, x, store)
		j, _, err := a.Submit(t.Context(), JobRequest{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the batch is under way
		again := []Pair{{"P000USDT", Tick{1, 2}}}
		if err := a.RunBatch(t.Context(), j.ID, 0, again, false); err != nil { // at the same time
			t.Fatal(err)
		}
		j = finished(t, a, j.ID)
		for range 2 { // and afterwards
			if err := a.Plan(t.Context(), j.ID, Scope{}, false); err != nil {
				t.Fatal(err)
			}
			if err := a.RunBatch(t.Context(), j.ID, 0, again, false); err != nil {
				t.Fatal(err)
			}
		}
		if after := finished(t, a, j.ID); j.State != JobCompleted || after.BatchesDone != 1 || after.Done != j.Done {
			t.Errorf("ended as %+v, then %+v", j, after)
		}
		a.Stop(t.Context()) // and with it the first run, which may still be at it
		if x.calls["P000USDT"] > 2 {
			t.Errorf("a stored batch was fetched again")
		}
	})
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
			t.Errorf("stopped with %v", err)
		}
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("the stop took %s, want its 2 s", took)
		}
		if err := <-single; !errors.Is(err, ErrStopping) && !errors.Is(err, context.Canceled) {
			t.Errorf("the request broken off got %v", err)
		}
	})
}

// A database that refuses after its own long time, and one that does not answer at
// all and heeds no context, as a frozen PostgreSQL does.
func TestStop_ReturnsByItsDeadlineWhateverTheDatabaseDoes(t *testing.T) {
	for name, answers := range map[string]time.Duration{"refuses": 29 * time.Second, "frozen": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &fakeStore{PutFunc: func(Batch) error {
					time.Sleep(answers)
					return fmt.Errorf("%w: gone", ErrStorage)
				}}
				a := newTestAnalyzer(t, Config{}, &fakeExchange{symbols: market(5)}, store)
				if _, _, err := a.Submit(t.Context(), JobRequest{All: true, Store: true}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second) // the batch is being stored
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				if err := a.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("stopped with %v", err)
				}
				if took := time.Since(start); took > 5*time.Second+breakOff {
					t.Errorf("the stop took %s, want its 5 s and at most %s", took, breakOff)
				}
			})
		})
	}
}

func TestWatch_EndsWithTheJobOrTheWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &fakeExchange{symbols: market(20), CandlesFunc: slow(time.Second)}
		a := newTestAnalyzer(t, Config{Concurrency: 1}, x, &fakeStore{})
		j, _, err := a.Submit(t.Context(), JobRequest{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		leaving, leave := context.WithTimeout(t.Context(), 5*time.Second)
		defer leave()
		for j, err := range a.Watch(leaving, j.ID, time.Second) {
			if err != nil || j.State.Final() {
				t.Errorf("%+v, %v", j, err)
			}
		}
		done := -1
		for j, err := range a.Watch(t.Context(), j.ID, time.Second) {
			if err != nil || j.Done < done {
				t.Errorf("%d done after %d, %v", j.Done, done, err)
			}
			done = j.Done
		}
		if done != 20 {
			t.Errorf("the last look saw %d done, want 20", done)
		}
		for _, err := range a.Watch(t.Context(), "nope", time.Second) {
			if !errors.Is(err, ErrUnknownJob) {
				t.Errorf("watching nothing: %v", err)
			}
		}
		a.Stop(t.Context())
	})
}

package job

// These tests pin the Runner: every pair has an outcome, slots are never idle between
// batches, requests for the same work are joined, each batch is one transaction, an error
// or panic fails only its pair, jobs wait for bans and pauses to end, and a cancellation
// or stop loses no result. Time is fake (testing/synctest), which also fails a test that
// leaks a goroutine.

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

	"tidemark/levels"
	"tidemark/service"
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

func TestSubmit_SweepGivesEveryPairAnOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := market(23)
		all[4].Quote = "BTC"
		all[5].Status, all[5].Trading = "BREAK", false
		all[6].QuoteVolume = 10
		all[7] = service.Symbol{Name: "USDCUSDT", Base: "USDC", Quote: "USDT", Trading: true, QuoteVolume: 1e9}
		all[8] = service.Symbol{Name: "P001UPUSDT", Base: "P001UP", Quote: "USDT", Trading: true, QuoteVolume: 1e9}
		all[9] = service.Symbol{Name: "JUPUSDT", Base: "JUP", Quote: "USDT", Trading: true, QuoteVolume: 1e9}
		x := &fakeExchange{symbols: all, simulated: true, CandlesFunc: func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
			switch symbol {
			case "P010USDT":
				return wave(time.Now().Add(-10*time.Hour).UnixMilli(), dst)
			case "P011USDT":
				return fmt.Errorf("%w: nonsense", service.ErrExchange)
			case "P012USDT":
				panic("boom")
			}
			return slow(time.Second)(ctx, symbol, from, dst)
		}}
		store := &fakeStore{}
		a := newTestRunner(t, testConfig{Filter: Filter{QuoteAssets: []string{"USDT"}, MinQuoteVolume: 1000}}, x, store)
		j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
		if err != nil || j.Kind != KindSweep || j.State != Queued {
			t.Fatalf("Submit returned %+v, %v", j, err)
		}
		j = finished(t, a, j.ID)
		if j.State != Completed || j.Symbols != 21 || j.Done != 15 || j.Failed != 3 || j.Skipped != 3 ||
			j.Done+j.Failed+j.Skipped != j.Symbols || j.Batches != 4 || j.BatchesDone != 4 || !j.Simulated {
			t.Errorf("ended as %+v", j)
		}
		codes := map[string]string{}
		for _, o := range slices.Concat(j.Failures, j.Skips) {
			codes[o.Symbol] = o.Code
			if o.Detail == "" || strings.Contains(o.Detail, "boom") {
				t.Errorf("the detail of %s is %q", o.Symbol, o.Detail)
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
		if err != nil || stored.State != Completed || stored.Done != 15 || stored.Failed != 3 {
			t.Errorf("stored job: %+v, %v", stored, err)
		}
		a.analyzer.Stop(t.Context())
	})
}

// liveFake keeps some pairs fresh.
type liveFake struct {
	fresh  map[string]bool
	mu     sync.Mutex
	stored []string
}

func (l *liveFake) Fresh(context.Context, string, int) func(service.Key) bool {
	return func(key service.Key) bool { return l.fresh[key.Symbol] }
}

func (l *liveFake) Stored(key service.Key, _ int, _ time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stored = append(l.stored, key.Symbol)
}

func TestSubmit_DoesNotRepeatWhatIsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, live := &fakeExchange{symbols: market(8)}, &liveFake{fresh: map[string]bool{"P001USDT": true, "P006USDT": true}}
		a := newTestRunner(t, testConfig{}, x, &fakeStore{})
		a.cfg.Live = live
		j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		if j = finished(t, a, j.ID); j.State != Completed || j.Done != 8 || j.Failed > 0 {
			t.Errorf("ended as %+v", j)
		}
		if len(x.calls) != 6 || x.calls["P001USDT"]+x.calls["P006USDT"] > 0 || len(live.stored) != 6 {
			t.Errorf("asked for %v, stored %v", x.calls, live.stored)
		}
		for n := range 8 {
			live.fresh[fmt.Sprintf("P%03dUSDT", n)] = true
		}
		j, _, err = a.Submit(t.Context(), Request{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		if j = finished(t, a, j.ID); j.Done != 8 || len(x.calls) != 6 {
			t.Errorf("ended as %+v", j)
		}
		if last, ok := a.LastBatch(); !ok || last.PeakRSS == 0 {
			t.Errorf("a batch with nothing to do took %+v", last)
		}
	})
}

func TestSubmit_KeepsSlotsBusyAcrossBatches(t *testing.T) {
	for _, c := range []struct{ concurrency, batch int }{{1, 5}, {3, 20}, {5, 50}, {20, 50}, {20, 5}, {3, 4}} {
		t.Run(fmt.Sprintf("%d/%d", c.concurrency, c.batch), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := &fakeExchange{symbols: market(120), CandlesFunc: slow(time.Second)}
				a := newTestRunner(t, testConfig{Concurrency: c.concurrency, BatchSize: c.batch}, x, &fakeStore{})
				start := time.Now()
				j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
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
				a.analyzer.Stop(t.Context())
			})
		})
	}
}

func TestSubmit_AnswersSingleRequestsDuringASweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &fakeExchange{symbols: market(60), CandlesFunc: slow(time.Second)}
		a := newTestRunner(t, testConfig{Concurrency: 2}, x, &fakeStore{})
		j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(4500 * time.Millisecond)
		start := time.Now()
		if _, err := a.analyzer.Analyze(t.Context(), service.Request{Symbol: "BTCUSDT"}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("a single pair waited %s behind a sweep", took)
		}
		finished(t, a, j.ID)
		a.analyzer.Stop(t.Context())
	})
}

func TestSubmit_JoinsTheSameJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &fakeExchange{symbols: market(20), CandlesFunc: slow(time.Second)}
		a := newTestRunner(t, testConfig{}, x, &fakeStore{})
		submit := func(r Request) string {
			j, _, err := a.Submit(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			return j.ID
		}
		first := submit(Request{All: true, Store: true})
		if again := submit(Request{All: true, Store: true, Interval: "1h"}); again != first {
			t.Error("the same sweep was started twice")
		}
		if other := submit(Request{All: true, Store: true, Interval: "4h"}); other == first {
			t.Error("a sweep of another interval was joined")
		}
		finished(t, a, first)
		if after := submit(Request{All: true, Store: true}); after == first {
			t.Error("a sweep that has ended was joined")
		} else {
			finished(t, a, after)
		}
		a.analyzer.Stop(t.Context())
	})
}

func TestSubmit_RefusesWhatCannotBe(t *testing.T) {
	a := newTestRunner(t, testConfig{}, &fakeExchange{}, &fakeStore{})
	for _, r := range []Request{
		{Store: true},
		{All: true, Symbols: []string{"A"}, Store: true},
		{All: true},
		{Symbols: []string{"A", "B"}},
		{All: true, Store: true, KlineLimit: 5},
	} {
		if _, _, err := a.Submit(t.Context(), r); !errors.Is(err, service.ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", r, err)
		}
	}
}

func TestSubmit_OneSymbolUnstoredCarriesItsResult(t *testing.T) {
	store := &fakeStore{}
	a := newTestRunner(t, testConfig{}, &fakeExchange{}, store)
	j, _, err := a.Submit(t.Context(), Request{Symbols: []string{"A", "A"}})
	if err != nil {
		t.Fatal(err)
	}
	j = finished(t, a, j.ID)
	if j.State != Completed || j.Done != 1 || j.Result == nil || j.Result.Symbol != "A" {
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
		a := newTestRunner(t, testConfig{Concurrency: 3, BatchSize: 10}, x, store)
		j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond) // 3 done, 3 under way
		if j, err := a.Cancel(t.Context(), j.ID); err != nil || j.State != Cancelled {
			t.Fatalf("Cancel returned %+v, %v", j, err)
		}
		synctest.Wait()
		j = finished(t, a, j.ID)
		if j.State != Cancelled || j.Done != 3 || j.Failed != 0 || len(store.snapshots) != 3 {
			t.Errorf("ended as %s with %d done, %d failed and %d stored, want cancelled with 3, 0 and 3", j.State, j.Done, j.Failed, len(store.snapshots))
		}
		if _, err := a.Cancel(t.Context(), j.ID); !errors.Is(err, service.ErrJobFinished) {
			t.Errorf("the second Cancel returned %v", err)
		}
		if _, err := a.Cancel(t.Context(), "nope"); !errors.Is(err, service.ErrUnknownJob) {
			t.Errorf("Cancel of an unknown job returned %v", err)
		}
		a.analyzer.Stop(t.Context())
	})
}

// The exchange asks for a pause of a day, so all requests wait.
func TestCancel_FreesTheSlotsThatWaitForTheExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &fakeExchange{symbols: market(30), CandlesFunc: func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
			if strings.HasPrefix(symbol, "P") {
				return slow(24*time.Hour)(ctx, symbol, from, dst)
			}
			return wave(from, dst)
		}}
		a := newTestRunner(t, testConfig{Concurrency: 3, BatchSize: 10}, x, &fakeStore{})
		other := newTestRunner(t, testConfig{Concurrency: 3, BatchSize: 10}, x, &fakeStore{})
		for _, cancels := range []*Runner{a, other} {
			cancels.store = a.store
			j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			if busy := x.underWay(); busy != 3 {
				t.Fatalf("%d slots are busy, want all 3", busy)
			}
			if _, err := cancels.Cancel(t.Context(), j.ID); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if _, err := a.analyzer.Analyze(t.Context(), service.Request{Symbol: "BTCUSDT"}); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took > statePoll {
				t.Errorf("a request waited %s for the slots of a cancelled job", took)
			}
			synctest.Wait()
			if busy := x.underWay(); busy != 0 {
				t.Errorf("%d slots are busy, want none", busy)
			}
		}
		a.analyzer.Stop(t.Context())
		other.analyzer.Stop(t.Context())
	})
}

func TestCancel_ReachesTheOtherProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		x := &fakeExchange{symbols: market(300), CandlesFunc: slow(time.Second)}
		works := newTestRunner(t, testConfig{Concurrency: 3, BatchSize: 10}, x, store)
		asks := newIdleRunner(t, testConfig{}, x, store)
		j, _, err := works.Submit(t.Context(), Request{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		if joined, _, err := asks.Submit(t.Context(), Request{All: true, Store: true}); err != nil || joined.ID != j.ID {
			t.Errorf("the same sweep in another process is %v, %v, want %s joined", joined.ID, err, j.ID)
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
			t.Errorf("%d pairs started later than %s after the cancellation", len(x.calls)-asked, statePoll)
		}
		if j = finished(t, works, j.ID); j.State != Cancelled || j.Done < asked-3 || len(store.snapshots) != j.Done {
			t.Errorf("ended as %s with %d done, %d stored, %d asked for", j.State, j.Done, len(store.snapshots), asked)
		}
		works.analyzer.Stop(t.Context())
		asks.analyzer.Stop(t.Context())
	})
}

func TestSubmit_ALongBanOrPauseEndsTheJob(t *testing.T) {
	for _, reason := range []error{service.ErrBanned, service.ErrRateLimited} {
		t.Run(service.Code(reason), func(t *testing.T) { longPause(t, reason) })
	}
}

func longPause(t *testing.T, reason error) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		until := time.Now().Add(maxPause + time.Minute)
		var asked atomic.Int64
		x := &fakeExchange{symbols: market(100), CandlesFunc: func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
			if asked.Add(1) > 20 {
				return &service.RetryAfterError{Err: reason, Until: until}
			}
			return slow(time.Second)(ctx, symbol, from, dst)
		}}
		a := newTestRunner(t, testConfig{BatchSize: 10}, x, store)
		j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		finished(t, a, j.ID)
		time.Sleep(2 * time.Second) // for the pairs under way
		j = finished(t, a, j.ID)
		if j.State != Failed || j.Error == nil || j.Error.Code != service.Code(reason) || j.Done < 18 || j.Failed != 0 || len(store.snapshots) != j.Done {
			t.Errorf("ended as %+v with %d stored, want all but the two that were under way", j, len(store.snapshots))
		}
		if asked.Load() > 20+3 {
			t.Errorf("%d pairs were asked for after the ban, want at most those under way", asked.Load()-20)
		}
		a.analyzer.Stop(t.Context())
	})
}

func TestSubmit_AShortBanOrPauseIsWaitedOut(t *testing.T) {
	for _, reason := range []error{service.ErrBanned, service.ErrRateLimited} {
		t.Run(service.Code(reason), func(t *testing.T) { shortPause(t, reason) })
	}
}

func shortPause(t *testing.T, reason error) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		begun := time.Now()
		until := begun.Add(maxPause - time.Minute)
		asked := map[string]int{}
		var mu sync.Mutex
		var refused, early atomic.Int64
		x := &fakeExchange{symbols: market(100), CandlesFunc: func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
			if now := time.Now(); now.After(begun.Add(5*time.Second)) && now.Before(until) {
				if refused.Add(1); now.After(begun.Add(10 * time.Second)) {
					early.Add(1)
				}
				return &service.RetryAfterError{Err: reason, Until: until}
			}
			mu.Lock()
			asked[symbol]++
			mu.Unlock()
			return slow(time.Second)(ctx, symbol, from, dst)
		}}
		a := newTestRunner(t, testConfig{BatchSize: 10}, x, store)
		j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if j, err := a.store.Job(t.Context(), j.ID); err != nil || j.State != Running || j.Done == 100 {
			t.Errorf("while banned the job is %+v, %v", j, err)
		}
		if j = finished(t, a, j.ID); j.State != Completed || j.Done != 100 || j.Failed != 0 || len(asked) != 100 {
			t.Errorf("ended as %+v, %d pairs analysed", j, len(asked))
		}
		if j.FinishedAt.Before(until) || refused.Load() == 0 || early.Load() > 0 {
			t.Errorf("ended at %s with the ban until %s; refused %d times, %d of them late in the ban", j.FinishedAt, until, refused.Load(), early.Load())
		}
		a.analyzer.Stop(t.Context())
	})
}

// A pause of the exchange applies to the whole job. It does not fail the pairs one by one
// within a second.
func TestSubmit_ALongPauseIsWaitedOutOrEndsTheJob(t *testing.T) {
	for name, c := range map[string]struct {
		pause time.Duration
		want  State
	}{"short": {maxPause - time.Minute, Completed}, "long": {maxPause + time.Minute, Failed}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				until := time.Now().Add(c.pause)
				x := &fakeExchange{symbols: market(20), CandlesFunc: func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
					if time.Now().Before(until) {
						return &service.RetryAfterError{Err: service.ErrRateLimited, Until: until}
					}
					return wave(from, dst)
				}}
				a := newTestRunner(t, testConfig{BatchSize: 10}, x, &fakeStore{})
				j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
				if err != nil {
					t.Fatal(err)
				}
				j = finished(t, a, j.ID)
				if j.State != c.want || j.Failed != 0 || j.State == Failed && j.Error.Code != "rate_limited" {
					t.Errorf("ended as %+v, %+v", j, j.Error)
				}
				a.analyzer.Stop(t.Context())
			})
		})
	}
}

// A job must end when the last attempt of a run exceeds its time limit. Otherwise every
// later request for the sweep would join it, and its schedule would be refused for ever.
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
				a := newTestRunner(t, testConfig{}, x, store)
				store.mu.Lock()
				store.limit = time.Hour
				store.mu.Unlock()
				j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
				if err != nil {
					t.Fatal(err)
				}
				j = finished(t, a, j.ID)
				if j.State != Failed || j.Error.Code != "timeout" {
					t.Errorf("ended as %+v, %+v", j, j.Error)
				}
				if took := j.FinishedAt.Sub(j.CreatedAt); took < 4*time.Hour {
					t.Errorf("it failed after %s, want four attempts of an hour", took)
				}
				if what == "batch" && len(store.snapshots) != 1 {
					t.Errorf("%d stored, want the one that was analysed", len(store.snapshots))
				}
				if again, joined, err := a.Submit(t.Context(), Request{All: true, Store: true}); err != nil || joined {
					t.Errorf("the same sweep again: %+v, joined %v, %v", again, joined, err)
				}
				a.analyzer.Stop(t.Context())
			})
		})
	}
}

// Two processes of one exchange have different filters.
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
		filter := func(quotes ...string) testConfig { return testConfig{Filter: Filter{QuoteAssets: quotes}} }
		works := newTestRunner(t, filter("USDC"), x, store)
		asks := newIdleRunner(t, testConfig{}, x, store)
		asks.cfg.Filters["fake"] = Filter{QuoteAssets: []string{"USDT", "USDC"}}
		same := newIdleRunner(t, testConfig{}, x, store)
		same.cfg.Filters["fake"] = Filter{QuoteAssets: []string{"USDC", "USDT"}}

		store.mu.Lock()
		store.analyzers[works] = map[string]int{"fake": works.Workers()} // it is busy
		store.mu.Unlock()
		all, _, err := asks.Submit(t.Context(), Request{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		if j, joined, err := same.Submit(t.Context(), Request{All: true, Store: true}); err != nil || !joined || j.ID != all.ID {
			t.Errorf("the same filter in another order: %+v, joined %v, %v", j, joined, err)
		}
		half, joined, err := works.Submit(t.Context(), Request{All: true, Store: true})
		if err != nil || joined || half.ID == all.ID {
			t.Fatalf("a sweep of another filter: %+v, joined %v, %v", half, joined, err)
		}
		one := Request{Symbols: []string{"P000USDT"}, Store: true} // which no filter concerns
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
		for _, a := range []*Runner{works, asks, same} {
			a.analyzer.Stop(t.Context())
		}
	})
}

// A job of a process with more memory must not wait for ever for a slot that cannot exist
// here.
func TestRunBatch_OfMoreKlinesThanThisProcessHasRoomForIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		x := &fakeExchange{symbols: market(5)}
		small := newTestRunner(t, testConfig{Concurrency: 1, Memory: service.SlotBytes(400)}, x, store)
		large := newIdleRunner(t, testConfig{Concurrency: 1, KlineLimit: 5000}, x, store)
		j, _, err := large.Submit(t.Context(), Request{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		if j = finished(t, small, j.ID); j.State != Failed || j.Error.Code != "invalid_request" {
			t.Errorf("ended as %+v", j)
		}
		small.analyzer.Stop(t.Context())
		large.analyzer.Stop(t.Context())
	})
}

func TestSubmit_ADatabaseThatComesBackLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int64
		store := &fakeStore{PutFunc: func(Batch) error {
			if tries.Add(1) <= 2 {
				return fmt.Errorf("%w: gone", service.ErrStorage)
			}
			return nil
		}}
		a := newTestRunner(t, testConfig{}, &fakeExchange{symbols: market(5)}, store)
		j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		if j = finished(t, a, j.ID); j.State != Completed || j.Done != 5 || len(store.snapshots) != 5 {
			t.Errorf("ended as %+v", j)
		}
		a.analyzer.Stop(t.Context())
	})
}

func TestSubmit_ADatabaseThatStaysAwayFailsTheJobAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{PutFunc: func(Batch) error { return fmt.Errorf("%w: disk full", service.ErrStorage) }}
		a := newTestRunner(t, testConfig{}, &fakeExchange{symbols: market(50)}, store)
		j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		j = finished(t, a, j.ID)
		if j.State != Failed || j.Error.Code != "storage_unavailable" || j.Done != 0 {
			t.Errorf("ended as %s with %d done: %+v", j.State, j.Done, j.Error)
		}
		a.analyzer.Stop(t.Context())
	})
}

func TestSubmit_AnUnlistedMarketFailsTheJob(t *testing.T) {
	a := newTestRunner(t, testConfig{}, &fakeExchange{SymbolsErr: fmt.Errorf("%w: down", service.ErrExchange)}, &fakeStore{})
	j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
	if err != nil {
		t.Fatal(err)
	}
	if j = finished(t, a, j.ID); j.State != Failed || j.Error.Code != "exchange_unavailable" {
		t.Errorf("ended as %+v", j)
	}
}

func TestStop_KeepsWhatIsAnalysedAndLeavesTheRestToTheNextProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		x := &fakeExchange{symbols: market(50), CandlesFunc: slow(time.Second)}
		a := newTestRunner(t, testConfig{Concurrency: 3, BatchSize: 10}, x, store)
		j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(4500 * time.Millisecond) // a batch and five pairs
		start := time.Now()
		if err := a.analyzer.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("Stop waited %s for the exchange", took)
		}
		left, err := store.Job(t.Context(), j.ID)
		if err != nil || left.State != Running || left.Done != 10 || left.BatchesDone != 1 {
			t.Errorf("the job was left as %+v, %v", left, err)
		}
		if len(store.snapshots) != 12 {
			t.Errorf("%d stored, want the 12 done", len(store.snapshots))
		}
		if _, err := a.analyzer.Analyze(t.Context(), service.Request{Symbol: "A"}); !errors.Is(err, service.ErrStopping) {
			t.Errorf("a request after the stop: %v", err)
		}
		if _, _, err := a.Submit(t.Context(), Request{All: true, Store: true}); !errors.Is(err, service.ErrStopping) {
			t.Errorf("a job after the stop: %v", err)
		}
		ofBatches := map[string]bool{}
		for _, b := range store.batches {
			for _, s := range b.Snapshots {
				ofBatches[s.Symbol] = b.JobID != ""
			}
		}

		next := newTestRunner(t, testConfig{Concurrency: 3, BatchSize: 10}, x, store)
		j = finished(t, next, j.ID)
		if j.State != Completed || j.Done != 50 || j.BatchesDone != 5 || len(store.snapshots) != 50 {
			t.Errorf("in the next process it ended as %+v with %d stored", j, len(store.snapshots))
		}
		for symbol, n := range x.calls {
			if ofBatches[symbol] && n != 1 {
				t.Errorf("%s of the stored batch was fetched %d times", symbol, n)
			}
		}
		next.analyzer.Stop(t.Context())
	})
}

func TestRunBatch_TwiceCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		x := &fakeExchange{symbols: market(5), CandlesFunc: slow(time.Second)}
		a := newTestRunner(t, testConfig{}, x, store)
		j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the batch is under way
		again := []service.Pair{{Name: "P000USDT", Tick: service.Tick{Units: 1, Decimals: 2}}}
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
		if after := finished(t, a, j.ID); j.State != Completed || after.BatchesDone != 1 || after.Done != j.Done {
			t.Errorf("ended as %+v, then %+v", j, after)
		}
		a.analyzer.Stop(t.Context()) // and with it the first run, which may still be at it
		if x.calls["P000USDT"] > 2 {
			t.Errorf("a stored batch was fetched again")
		}
	})
}

// One database returns an error after a long time. The other one never responds and
// ignores the context, like a frozen PostgreSQL.
func TestStop_ReturnsByItsDeadlineWhateverTheDatabaseDoes(t *testing.T) {
	for name, answers := range map[string]time.Duration{"refuses": 29 * time.Second, "frozen": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &fakeStore{PutFunc: func(Batch) error {
					time.Sleep(answers)
					return fmt.Errorf("%w: gone", service.ErrStorage)
				}}
				a := newTestRunner(t, testConfig{}, &fakeExchange{symbols: market(5)}, store)
				if _, _, err := a.Submit(t.Context(), Request{All: true, Store: true}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second) // the batch is being stored
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				if err := a.analyzer.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Stop returned %v", err)
				}
				if took := time.Since(start); took > 6*time.Second {
					t.Errorf("Stop took %s, want 5 s and at most 1 s more", took)
				}
			})
		})
	}
}

func TestWatch_EndsWithTheJobOrTheWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &fakeExchange{symbols: market(20), CandlesFunc: slow(time.Second)}
		a := newTestRunner(t, testConfig{Concurrency: 1}, x, &fakeStore{})
		j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
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
			t.Errorf("the last job watched has %d done, want 20", done)
		}
		for _, err := range a.Watch(t.Context(), "nope", time.Second) {
			if !errors.Is(err, service.ErrUnknownJob) {
				t.Errorf("Watch of an unknown job: %v", err)
			}
		}
		a.analyzer.Stop(t.Context())
	})
}

func TestSweep_JudgesEveryPair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, store := &fakeExchange{symbols: market(7)}, &fakeStore{}
		a := newTestRunner(t, testConfig{KlineLimit: 600}, x, store)
		for _, want := range []int{0, 7} {
			j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
			if err != nil {
				t.Fatal(err)
			}
			if finished(t, a, j.ID); len(store.judged) != want || len(store.promises) != 7 {
				t.Errorf("%d promises judged and %d open, want %d and 7", len(store.judged), len(store.promises), want)
			}
			time.Sleep(levels.Horizon * time.Hour)
		}
	})
}

func TestRunBatch_StoresCandlesAheadAndGoesOnIfThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ahead, most := 0, 0
		store := &fakeStore{PutFunc: func(b Batch) error {
			n := 0
			for _, c := range b.Candles {
				n += c.Bytes()
			}
			most = max(most, n)
			if len(b.Snapshots) > 0 {
				return nil
			}
			ahead++
			return service.ErrStorage
		}}
		a := newTestRunner(t, testConfig{Concurrency: 1, BatchSize: 30, KlineLimit: 2000}, &fakeExchange{symbols: market(30)}, store)
		j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		if j = finished(t, a, j.ID); j.State != Completed || j.Done != 30 {
			t.Errorf("ended as %+v", j)
		}
		if ahead < 2 || most > 2*candlesPerPut {
			t.Errorf("%d times candles were stored ahead, at most %d bytes at once", ahead, most)
		}
	})
}

func TestRunBatch_ReadsNoCandlesOfNewPairs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, store := &fakeExchange{symbols: market(7)}, &fakeStore{}
		a := newTestRunner(t, testConfig{}, x, store)
		for _, want := range []int{0, 7} {
			j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
			if err != nil {
				t.Fatal(err)
			}
			if j = finished(t, a, j.ID); j.Done != 7 || store.reads != want {
				t.Errorf("the candles of %d pairs were read, want %d: %+v", store.reads, want, j)
			}
		}
	})
}

func TestRunBatch_ReadsTheCandlesOfEveryPairIfItCannotTellTheNewOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, store := &fakeExchange{symbols: market(7)}, &fakeStore{WithErr: service.ErrStorage}
		a := newTestRunner(t, testConfig{}, x, store)
		j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		if j = finished(t, a, j.ID); j.Done != 7 || store.reads != 7 {
			t.Errorf("the candles of %d pairs were read: %+v", store.reads, j)
		}
	})
}

func TestRunner_CountsJobsFromZero(t *testing.T) {
	a := newIdleRunner(t, testConfig{}, &fakeExchange{}, &fakeStore{})
	if n := testutil.CollectAndCount(a.metrics.jobs); n != 6 {
		t.Errorf("%d series before the first job, want one of each kind and end", n)
	}
}

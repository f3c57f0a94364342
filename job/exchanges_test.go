package job

// These tests pin the work of several exchanges in one process: each has its own filter
// and schedules, their sweeps share the slots in turn, and an exchange that does not
// answer delays no other.

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// starts records the exchanges of the pairs that start.
type starts struct {
	mu    sync.Mutex
	order []string
}

// at returns an exchange with n pairs, each of which takes a second.
func (s *starts) at(name string, n int) *fakeExchange {
	return &fakeExchange{name: name, symbols: market(n), CandlesFunc: func(ctx context.Context, _ string, from int64, dst *levels.Candles) error {
		s.mu.Lock()
		s.order = append(s.order, name)
		s.mu.Unlock()
		time.Sleep(time.Second)
		return wave(from, dst)
	}}
}

func submit(t *testing.T, r *Runner, q Request) Job {
	t.Helper()
	q.Store = true
	j, _, err := r.Submit(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestExchanges_SweepsTakeSlotsInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var began starts
		r := newTestRunner(t, testConfig{Concurrency: 2}, began.at("one", 40), &fakeStore{}, began.at("two", 40))
		one := submit(t, r, Request{Exchange: "one", All: true})
		time.Sleep(5 * time.Second)
		two := submit(t, r, Request{Exchange: "two", All: true})
		for _, j := range []Job{one, two} {
			if j = finished(t, r, j.ID); j.State != Completed || j.Done != 40 {
				t.Errorf("%s: %s with %d of 40 done", j.Exchange, j.State, j.Done)
			}
		}
		// from the first pair of the second sweep to the last one of the first
		first, last := slices.Index(began.order, "two"), len(began.order)
		for began.order[last-1] != "one" {
			last--
		}
		both := began.order[first:last]
		count := map[string]int{}
		for _, name := range both {
			count[name]++
			// pairs that end at the same moment are replaced in any order
			if d := count["one"] - count["two"]; d < -4 || d > 4 {
				t.Fatalf("while both sweeps run, their pairs start as %v", both)
			}
		}
		if first > 14 || len(both) < 50 {
			t.Errorf("the second sweep began after %d pairs of the first, and shared %d starts with it", first, len(both))
		}
	})
}

func TestExchanges_EachHasItsFilterAndAJobKeepsToItsExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := &fakeExchange{name: "one", symbols: market(3)}, &fakeExchange{name: "two", symbols: market(3)}
		two.symbols[0].Quote = "USD"
		store := &fakeStore{}
		r := newTestRunner(t, testConfig{}, one, store, two)
		r.cfg.Filters["two"] = Filter{QuoteAssets: []string{"USD"}}
		for exchange, want := range map[string]int{"": 3, "one": 3, "two": 1} {
			j := finished(t, r, submit(t, r, Request{Exchange: exchange, All: true}).ID)
			if j.Done != want || exchange != "" && j.Exchange != exchange {
				t.Errorf("%q: %d of %s done, want %d", exchange, j.Done, j.Exchange, want)
			}
			n := 0
			for l, err := range r.Symbols(t.Context(), exchange) {
				if err != nil {
					t.Fatal(err)
				}
				if l.Selected {
					n++
				}
			}
			if n != want {
				t.Errorf("%q lists %d selected pairs, want %d", exchange, n, want)
			}
		}
		finished(t, r, submit(t, r, Request{Exchange: "two", Symbols: []string{"X"}}).ID)
		if one.calls["X"] != 0 || two.calls["X"] != 1 {
			t.Errorf("a pair of two was fetched %d times from one, %d from two", one.calls["X"], two.calls["X"])
		}
		for key := range store.snapshots {
			if key.Symbol == "X" && key.Exchange != "two" || key.Symbol == "P001USDT" && key.Exchange != "one" {
				t.Errorf("stored %v", key)
			}
		}
	})
}

func TestExchanges_OneThatIsNotServedIsRefused(t *testing.T) {
	r := newTestRunner(t, testConfig{}, &fakeExchange{name: "one"}, &fakeStore{}, &fakeExchange{name: "two"})
	const want = `unknown exchange: "three" is not an exchange of this process, which serves one, two`
	_, _, err := r.Submit(t.Context(), Request{Exchange: "three", All: true, Store: true})
	_, _, listErr := r.LastSymbols(t.Context(), "three")
	for _, err := range []error{err, listErr} {
		if !errors.Is(err, service.ErrUnknownExchange) || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestExchanges_OneThatDoesNotAnswerDelaysOnlyItsOwnSweeps(t *testing.T) {
	fromTenPast(t, func(t *testing.T) {
		silent := &fakeExchange{name: "silent", symbols: market(3)}
		ctx := t.Context()
		silent.NowFunc = func() (time.Time, error) {
			if time.Now().Before(at(2, 30, 0)) {
				select {
				case <-time.After(time.Minute): // as a client that tries for long
				case <-ctx.Done():
				}
				return time.Time{}, service.ErrExchange
			}
			return time.Now(), nil
		}
		s := &fakeStore{}
		r := newTestRunner(t, testConfig{}, silent, s, &fakeExchange{name: "answers", symbols: market(3)})
		stop := scheduled(t, r, every("1h", time.Hour))
		defer stop()
		sleepUntil(at(4, 30, 0))
		swept := map[string][]int{}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, j := range s.jobs {
			swept[j.Exchange] = append(swept[j.Exchange], j.CreatedAt.Hour())
		}
		for exchange, want := range map[string][]int{"answers": {1, 2, 3, 4}, "silent": {3, 4}} {
			if got := slices.Sorted(slices.Values(swept[exchange])); !slices.Equal(got, want) {
				t.Errorf("%s was swept at %v, want %v", exchange, got, want)
			}
		}
	})
}

func TestExchanges_RequestsOfJobsAreBackgroundWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		seen := map[string]bool{}
		note := func(what string, ctx context.Context) {
			mu.Lock()
			seen[what] = service.IsBackground(ctx)
			mu.Unlock()
		}
		x := &fakeExchange{
			symbols:     market(1),
			SymbolsFunc: func(ctx context.Context) error { note("plan", ctx); return nil },
			CandlesFunc: func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
				note(symbol, ctx)
				return wave(from, dst)
			},
		}
		r := newTestRunner(t, testConfig{}, x, &fakeStore{})
		finished(t, r, submit(t, r, Request{All: true}).ID)
		if _, err := r.analyzer.Analyze(t.Context(), service.Request{Symbol: "ASKED"}); err != nil {
			t.Fatal(err)
		}
		if !seen["plan"] || !seen["P000USDT"] || seen["ASKED"] {
			t.Errorf("background: %v, want the plan and the pair of the sweep only", seen)
		}
	})
}

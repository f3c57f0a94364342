package service_test

// One of several exchanges does not answer: the sweeps of the others take as long as
// without it, nothing of it holds a slot, and its own sweep goes on once it answers. Real
// clients and the simulated exchange, under fake time.

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/exchange"
	"tidemark/exchange/simulated"
	"tidemark/exchange/venues"
	"tidemark/levels"
	"tidemark/scorecard"
	"tidemark/service"
)

// market is a simulated exchange in this process. While it is dead it answers nothing.
type market struct {
	server *simulated.Server
	dead   atomic.Bool
}

func (m *market) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(40 * time.Millisecond)
	if m.dead.Load() {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	r.RemoteAddr = "192.0.2.1:1"
	rec := httptest.NewRecorder()
	rec.Body = new(bytes.Buffer)
	m.server.ServeHTTP(rec, r)
	return rec.Result(), r.Context().Err()
}

// now is the fake time, moved to this century.
func now() time.Time { return time.Now().AddDate(26, 10, 0) }

// noStore has nothing and stores nothing.
type noStore struct{}

func (noStore) Put(context.Context, service.Results) error { return nil }
func (noStore) Candles(context.Context, service.Key, int64, *levels.Candles, []byte) (service.Kept, error) {
	return service.Kept{}, service.ErrNotAnalyzed
}
func (noStore) Watched(context.Context, service.Key) (service.Snapshot, []byte, error) {
	return service.Snapshot{}, nil, service.ErrNotAnalyzed
}
func (noStore) DuePromise(context.Context, service.Key, time.Time) (scorecard.Promise, bool, error) {
	return scorecard.Promise{}, false, nil
}
func (noStore) FindPairs(context.Context, string, service.Spelling) ([]service.KnownPair, error) {
	return nil, nil
}
func (noStore) HasPairs(context.Context, string) (bool, error) { return true, nil }
func (noStore) Writable() error                                { return nil }

// sweep analyses the pairs of several exchanges at once and returns how long each took
// and how many pairs failed.
func sweep(t *testing.T, names []string, dead string, deadFor time.Duration) (took map[string]time.Duration, failed map[string]int) {
	t.Helper()
	var clients []*exchange.Client
	var exchanges []service.Exchange
	for _, name := range names {
		m := &market{server: simulated.New(simulated.Options{Venue: name, Pairs: 60, LimitTimes: 100, Now: now})}
		if name == dead {
			m.dead.Store(true)
			time.AfterFunc(deadFor, func() { m.dead.Store(false) })
		}
		c := exchange.New(venues.Find(name), exchange.Config{Transport: m, Attempts: 6})
		defer c.Close()
		clients, exchanges = append(clients, c), append(exchanges, c)
	}
	a := service.New(service.Config{Concurrency: 3, KlineLimit: 500, QueueLimit: 10, Interval: "1h", Timeout: 30 * time.Second},
		exchanges, noStore{}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	took, failed = map[string]time.Duration{}, map[string]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	start := time.Now()
	for i, c := range clients {
		all.Go(func() {
			ctx := service.Background(t.Context())
			pairs := func(yield func(service.Pair) bool) {
				for n := 0; n < 40; {
					for s, err := range c.Symbols(ctx) {
						if err != nil {
							time.Sleep(time.Second) // the list of a dead exchange: again
							break
						}
						if s.Trading && s.Quote == venues.Quotes(names[i])[0] {
							if n++; n > 40 || !yield(service.Pair{Name: s.Name, Tick: s.Tick}) {
								return
							}
						}
					}
				}
			}
			r := service.Request{Exchange: names[i], Interval: "1h", KlineLimit: 500}
			err := a.AnalyzeEach(ctx, pairs, r, func(p service.Pair, _ service.Analysis, err error) {
				if err != nil && service.Code(err) != "too_few_candles" {
					mu.Lock()
					failed[names[i]]++
					mu.Unlock()
				}
			})
			if err != nil {
				t.Errorf("%s: %v", names[i], err)
			}
			mu.Lock()
			took[names[i]] = time.Since(start)
			mu.Unlock()
		})
	}
	all.Wait()
	return took, failed
}

func TestAnalyzeEach_ADeadExchangeDelaysNoOther(t *testing.T) {
	var without, with map[string]time.Duration
	var failed map[string]int
	synctest.Test(t, func(t *testing.T) {
		without, _ = sweep(t, []string{"binance", "bybit"}, "", 0)
	})
	synctest.Test(t, func(t *testing.T) {
		with, failed = sweep(t, []string{"binance", "okx", "bybit"}, "okx", 10*time.Minute)
	})
	for name, alone := range without {
		if d := with[name]; d > alone+alone/20 || alone < 100*time.Millisecond {
			t.Errorf("%s took %v beside a dead exchange, %v without it", name, d, alone)
		}
	}
	if d := with["okx"]; d < 10*time.Minute || d > 12*time.Minute {
		t.Errorf("the dead exchange took %v", d)
	}
	t.Log(fmt.Sprint(without, with, failed))
	if len(failed) > 0 {
		t.Errorf("pairs failed: %v", failed)
	}
}

// An exchange that dies during its sweep loses no pair, and holds its slots no longer than
// one request may take.
func TestAnalyzeEach_AnExchangeThatDiesInBetweenDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &market{server: simulated.New(simulated.Options{Pairs: 60, LimitTimes: 100, Now: now})}
		c := exchange.New(venues.Find("binance"), exchange.Config{Transport: m, Attempts: 6})
		defer c.Close()
		reg := prometheus.NewRegistry()
		a := service.New(service.Config{Concurrency: 3, KlineLimit: 500, QueueLimit: 10, Interval: "1h", Timeout: 30 * time.Second},
			[]service.Exchange{c}, noStore{}, reg, slog.New(slog.DiscardHandler))
		time.AfterFunc(300*time.Millisecond, func() { m.dead.Store(true) })
		time.AfterFunc(4*time.Minute, func() { m.dead.Store(false) })
		var busy []float64
		time.AfterFunc(time.Minute, func() { busy = append(busy, gauge(t, reg, "tidemark_slots_busy")) })
		pairs := func(yield func(service.Pair) bool) {
			for _, p := range m.server.Pairs()[:40] {
				if !yield(service.Pair{Name: p.Symbol, Tick: service.Tick{Units: 1, Decimals: p.TickDecimals}}) {
					return
				}
			}
		}
		done := 0
		var mu sync.Mutex
		err := a.AnalyzeEach(service.Background(t.Context()), pairs, service.Request{Interval: "1h", KlineLimit: 500}, func(p service.Pair, _ service.Analysis, err error) {
			mu.Lock()
			defer mu.Unlock()
			done++
			if err != nil {
				t.Errorf("%s: %v", p.Name, err)
			}
		})
		if err != nil || done != 40 {
			t.Errorf("%d pairs, %v", done, err)
		}
		if len(busy) != 1 || busy[0] != 0 {
			t.Errorf("busy slots in the silence: %v", busy)
		}
	})
}

func gauge(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Error(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Errorf("no metric %s", name)
	return 0
}

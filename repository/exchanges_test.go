package repository

// This test pins, with real runners on both databases, that processes of different
// exchanges share a database without doing each other's work.

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/job"
	"tidemark/levels"
	"tidemark/service"
)

// smallVenue lists ten pairs, and counts the analyses of each.
type smallVenue struct {
	name string

	mu      sync.Mutex
	fetched map[string]int
}

func (v *smallVenue) Market() service.Market { return service.Market{Exchange: v.name} }

func (v *smallVenue) symbol(i int) service.Symbol {
	return service.Symbol{Name: fmt.Sprintf("%s-%d", v.name, i), Base: fmt.Sprint("B", i), Quote: "USDT", Trading: true, Tick: service.Tick{Units: 1, Decimals: 2}}
}

func (v *smallVenue) Symbols(context.Context) iter.Seq2[service.Symbol, error] {
	return func(yield func(service.Symbol, error) bool) {
		for i := range 10 {
			if !yield(v.symbol(i), nil) {
				return
			}
		}
	}
}

func (v *smallVenue) LastSymbols(ctx context.Context) (iter.Seq2[service.Symbol, error], time.Time, error) {
	return v.Symbols(ctx), time.Now(), nil
}

func (v *smallVenue) Symbol(_ context.Context, name string) (service.Symbol, error) {
	return service.Symbol{}, fmt.Errorf("%w: %s", service.ErrUnknownSymbol, name)
}

func (v *smallVenue) Now(context.Context) (time.Time, error) { return time.Now(), nil }

func (v *smallVenue) Forming(context.Context, string, levels.Interval) (*service.Forming, error) {
	return nil, nil
}

func (v *smallVenue) History(levels.Interval) int { return 0 }

func (v *smallVenue) Visit(string, levels.Interval, int) service.Visit { return smallVisit{v} }

// smallVisit never waits.
type smallVisit struct{ *smallVenue }

func (smallVisit) Wait(context.Context) error { return nil }
func (smallVisit) Close()                     {}

func (v *smallVenue) Candles(_ context.Context, symbol string, from int64, dst *levels.Candles, _ []byte) error {
	v.mu.Lock()
	v.fetched[symbol]++
	v.mu.Unlock()
	all := venue{now: time.Now().UnixMilli(), seed: rand.Uint64()}
	return all.candles(from, dst)
}

// process runs the work of exchanges on a handle of the database of its own.
func process(t *testing.T, d database, exchanges ...*smallVenue) (*DB, *job.Runner) {
	t.Helper()
	db := d.open(t)
	var analysed []service.Exchange
	var swept []job.Exchange
	for _, x := range exchanges {
		analysed, swept = append(analysed, x), append(swept, x)
	}
	log := slog.New(slog.DiscardHandler)
	a := service.New(service.Config{Concurrency: 2, KlineLimit: 200, QueueLimit: 10, Interval: "1h", Timeout: time.Minute}, analysed, db, prometheus.NewRegistry(), log)
	t.Cleanup(func() { a.Stop(context.Background()) })
	r := job.NewRunner(job.Config{Concurrency: 2, BatchSize: 3, QueueLimit: 10}, a, swept, db, prometheus.NewRegistry(), log)
	workers := map[string]Worker{}
	for _, x := range exchanges {
		workers[x.name] = r
	}
	if err := db.Work(t.Context(), workers); err != nil {
		t.Fatal(err)
	}
	return db, r
}

func TestExchanges_OfTwoProcessesAreSweptByTheirOwn(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		venues := map[string]*smallVenue{}
		for _, name := range []string{"binance", "okx", "kraken"} {
			venues[name] = &smallVenue{name: name, fetched: map[string]int{}}
		}
		one, first := process(t, d, venues["binance"], venues["kraken"])
		two, second := process(t, d, venues["okx"])
		for _, q := range []struct {
			runner   *job.Runner
			exchange string
		}{{first, "binance"}, {second, "okx"}, {first, "kraken"}} {
			j, _, err := q.runner.Submit(t.Context(), job.Request{Exchange: q.exchange, All: true, Store: true})
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "the sweep of "+q.exchange+" is completed", completed(t, one, j.ID))
			if j := getJob(t, two, j.ID); j.Exchange != q.exchange || j.Done != 10 || j.Failed != 0 {
				t.Errorf("the sweep of %s: %+v", q.exchange, j)
			}
		}
		for name, v := range venues {
			if len(v.fetched) != 10 {
				t.Errorf("%s was asked for %v", name, v.fetched)
			}
			for symbol, n := range v.fetched {
				if symbol[:len(name)] != name || n != 1 {
					t.Errorf("%s was asked %d times for %s", name, n, symbol)
				}
			}
		}
	})
}

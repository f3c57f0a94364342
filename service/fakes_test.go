package service

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/levels"
)

// fakeExchange is a venue whose every answer a test may replace. Without
// replacements every symbol exists and has a wave for a market.
type fakeExchange struct {
	symbols     []Symbol
	SymbolFunc  func(ctx context.Context, name string) (Symbol, error)
	CandlesFunc func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error
	SymbolsErr  error
	simulated   bool

	mu           sync.Mutex
	calls        map[string]int // of Candles, by symbol
	now, maximum int            // calls of Candles under way
}

func (f *fakeExchange) Market() Market {
	return Market{Exchange: "fake", Simulated: f.simulated}
}

func (f *fakeExchange) Symbols(ctx context.Context) iter.Seq2[Symbol, error] {
	return func(yield func(Symbol, error) bool) {
		for _, s := range f.symbols {
			if !yield(s, nil) {
				return
			}
		}
		if f.SymbolsErr != nil {
			yield(Symbol{}, f.SymbolsErr)
		}
	}
}

func (f *fakeExchange) Symbol(ctx context.Context, name string) (Symbol, error) {
	if f.SymbolFunc != nil {
		return f.SymbolFunc(ctx, name)
	}
	return Symbol{Name: name, Quote: "USDT", Trading: true, Tick: Tick{1, 2}}, nil
}

func (f *fakeExchange) Candles(ctx context.Context, symbol string, from int64, dst *levels.Candles, buf []byte) error {
	f.mu.Lock()
	if f.calls == nil {
		f.calls = map[string]int{}
	}
	f.calls[symbol]++
	f.now++
	f.maximum = max(f.maximum, f.now)
	f.mu.Unlock()
	defer func() { f.mu.Lock(); f.now--; f.mu.Unlock() }()
	if len(buf) == 0 {
		return fmt.Errorf("no decode buffer was lent")
	}
	if f.CandlesFunc != nil {
		return f.CandlesFunc(ctx, symbol, from, dst)
	}
	return wave(from, dst)
}

func (f *fakeExchange) Now(context.Context) (time.Time, error) { return time.Now(), nil }

// wave fills dst with a market that swings between 90 and 110, from the first
// open time at or after from to the last candle closed by now.
func wave(from int64, dst *levels.Candles) error {
	length := dst.Interval.Milliseconds()
	now := time.Now().UnixMilli()
	for open := (from + length - 1) / length * length; open+length <= now; open += length {
		p := func(t int64) float64 { return 100 + 10*math.Sin(float64(t/length)/9) }
		o, c := p(open), p(open+length)
		err := dst.Append(levels.Candle{OpenTime: open, Open: o, Close: c, High: max(o, c) + 0.5, Low: min(o, c) - 0.5, Volume: 10})
		if err != nil {
			return err
		}
	}
	return nil
}

// fakeStore keeps everything in memory and remembers the batches.
type fakeStore struct {
	PutFunc func(b Batch) error

	mu        sync.Mutex
	batches   []Batch
	snapshots map[Key]Snapshot
	jobs      map[string]Job
}

func (f *fakeStore) Put(ctx context.Context, b Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if f.PutFunc != nil {
		if err := f.PutFunc(b); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	b.Snapshots, b.Failures = slices.Clone(b.Snapshots), slices.Clone(b.Failures)
	f.batches = append(f.batches, b)
	if f.snapshots == nil {
		f.snapshots = map[Key]Snapshot{}
	}
	for _, s := range b.Snapshots {
		f.snapshots[s.Key] = s
	}
	if j, ok := f.jobs[b.JobID]; ok {
		j.Done += b.Done
		j.Failed += len(b.Failures)
		j.Failures = append(j.Failures, b.Failures...)
		j.BatchesDone++
		f.jobs[b.JobID] = j
	}
	return nil
}

func (f *fakeStore) Snapshot(ctx context.Context, key Key, at time.Time) (Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s, ok := f.snapshots[key]; ok {
		return s, nil
	}
	return Snapshot{}, ErrNotAnalyzed
}

func (f *fakeStore) Latest(context.Context, string, levels.Interval) iter.Seq2[Snapshot, error] {
	panic("not used by the executor")
}

func (f *fakeStore) PutJob(ctx context.Context, j Job) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.jobs == nil {
		f.jobs = map[string]Job{}
	}
	if old, ok := f.jobs[j.ID]; ok {
		j.Done, j.Failed, j.BatchesDone, j.Failures = old.Done, old.Failed, old.BatchesDone, old.Failures
	}
	f.jobs[j.ID] = j
	return nil
}

func (f *fakeStore) Job(ctx context.Context, id string) (Job, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if j, ok := f.jobs[id]; ok {
		return j, nil
	}
	return Job{}, ErrUnknownJob
}

func (f *fakeStore) Jobs(ctx context.Context, limit int) ([]Job, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []Job
	for _, j := range f.jobs {
		all = append(all, j)
	}
	slices.SortFunc(all, func(a, b Job) int { return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID)) })
	return all[:min(limit, len(all))], nil
}

func (f *fakeStore) Ping(context.Context) error { return nil }

// market lists n healthy pairs.
func market(n int) []Symbol {
	all := make([]Symbol, n)
	for i := range all {
		base := fmt.Sprintf("P%03d", i)
		all[i] = Symbol{Name: base + "USDT", Base: base, Quote: "USDT", Trading: true, Status: "TRADING", Tick: Tick{1, 2}, QuoteVolume: 1e6}
	}
	return all
}

func newTestAnalyzer(t *testing.T, cfg Config, x *fakeExchange, s *fakeStore) *Analyzer {
	t.Helper()
	cfg.Concurrency = cmp.Or(cfg.Concurrency, 3)
	cfg.BatchSize = cmp.Or(cfg.BatchSize, 5)
	cfg.KlineLimit = cmp.Or(cfg.KlineLimit, 200)
	cfg.QueueLimit = cmp.Or(cfg.QueueLimit, 10)
	cfg.Timeout = cmp.Or(cfg.Timeout, time.Minute)
	cfg.Interval = "1h"
	if cfg.Filter.QuoteAssets == nil {
		cfg.Filter.QuoteAssets = []string{"USDT"}
	}
	a := New(cfg, x, s, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(io.Discard, nil)))
	t.Cleanup(func() { a.Stop(context.Background()) })
	return a
}

// finished waits for the end of a job.
func finished(t *testing.T, a *Analyzer, id string) Job {
	t.Helper()
	var last Job
	for j, err := range a.Watch(t.Context(), id, time.Millisecond) {
		if err != nil {
			t.Fatal(err)
		}
		last = j
	}
	if !last.State.Final() {
		t.Fatalf("watching ended with the job %s", last.State)
	}
	return last
}

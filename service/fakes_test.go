package service

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/levels"
	"tidemark/scorecard"
)

// fakeExchange is a venue with replaceable functions. Without replacements every symbol
// exists and its candles are a wave.
type fakeExchange struct {
	SymbolFunc  func(ctx context.Context, name string) (Symbol, error)
	CandlesFunc func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error
	FormingFunc func(symbol string, interval levels.Interval) (*Forming, error)
	NowFunc     func() (time.Time, error)
	WaitFunc    func(ctx context.Context) error // of a visit
	name        string                          // "fake" if empty
	history     int                             // newest candles there are; 0: all
	simulated   bool
	late        bool

	mu           sync.Mutex
	calls        map[string]int // of Candles, by symbol
	now, maximum int            // calls of Candles under way
}

func (f *fakeExchange) Market() Market {
	return Market{Exchange: cmp.Or(f.name, "fake"), Simulated: f.simulated, LateVolume: f.late}
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
	if f.history > 0 {
		step := dst.Interval.Milliseconds()
		from = max(from, time.Now().UnixMilli()/step*step-int64(f.history)*step)
	}
	if f.CandlesFunc != nil {
		return f.CandlesFunc(ctx, symbol, from, dst)
	}
	return wave(from, dst)
}

func (f *fakeExchange) History(levels.Interval) int { return f.history }

func (f *fakeExchange) Visit(string, levels.Interval, int) Visit { return fakeVisit{f} }

// fakeVisit waits only for WaitFunc.
type fakeVisit struct{ *fakeExchange }

func (v fakeVisit) Wait(ctx context.Context) error {
	if v.WaitFunc != nil {
		return v.WaitFunc(ctx)
	}
	return ctx.Err()
}

func (fakeVisit) Close() {}

func (f *fakeExchange) Now(context.Context) (time.Time, error) {
	if f.NowFunc != nil {
		return f.NowFunc()
	}
	return time.Now(), nil
}

func (f *fakeExchange) Forming(ctx context.Context, symbol string, interval levels.Interval) (*Forming, error) {
	return f.FormingFunc(symbol, interval)
}

// wave fills dst with candles that swing between 90 and 110, from the first open time at
// or after from to the last candle closed by now.
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

// fakeStore stores everything in memory and records what was put.
type fakeStore struct {
	CandlesErr error
	PromiseErr error
	pairs      []KnownPair

	mu        sync.Mutex
	promises  map[Key]scorecard.Promise
	judged    []Judged // of promises that were still there
	puts      []Results
	snapshots map[Key]Snapshot
	candles   map[Key]map[int64]keptBlock
}

func (f *fakeStore) Put(ctx context.Context, r Results) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	r.Snapshots = slices.Clone(r.Snapshots)
	f.puts = append(f.puts, r)
	if f.snapshots == nil {
		f.snapshots = map[Key]Snapshot{}
	}
	for _, j := range r.Judged {
		if p, ok := f.promises[j.Key]; ok && p.AsOf.Equal(j.AsOf) {
			delete(f.promises, j.Key)
			f.judged = append(f.judged, j)
		}
	}
	for _, s := range r.Snapshots {
		f.snapshots[s.Key] = s
		if _, ok := f.promises[s.Key]; ok {
			continue
		}
		if p, ok := s.Promise(); ok {
			if f.promises == nil {
				f.promises = map[Key]scorecard.Promise{}
			}
			f.promises[s.Key] = p
		}
	}
	for _, c := range r.Candles {
		blocks := f.candles[c.Key]
		if blocks == nil {
			blocks = map[int64]keptBlock{}
		}
		maps.DeleteFunc(blocks, func(span int64, _ keptBlock) bool { return span < c.Keep })
		for _, k := range c.Blocks {
			blocks[k.Span] = keptBlock{Kept{k.From, c.Simulated}, slices.Clone(k.Packed)}
		}
		if f.candles == nil {
			f.candles = map[Key]map[int64]keptBlock{}
		}
		f.candles[c.Key] = blocks
	}
	return nil
}

func (f *fakeStore) Watched(ctx context.Context, key Key) (Snapshot, []byte, error) {
	snap, err := f.Snapshot(ctx, key, time.Time{})
	return snap, nil, err
}

func (f *fakeStore) Snapshot(ctx context.Context, key Key, at time.Time) (Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s, ok := f.snapshots[key]; ok {
		return s, nil
	}
	return Snapshot{}, ErrNotAnalyzed
}

func (f *fakeStore) DuePromise(ctx context.Context, key Key, by time.Time) (scorecard.Promise, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.promises[key]
	return p, ok && !p.AsOf.After(by), f.PromiseErr
}

func (f *fakeStore) Writable() error { return nil }

func (f *fakeStore) FindPairs(_ context.Context, exchange string, s Spelling) ([]KnownPair, error) {
	var found []KnownPair
	for _, p := range f.pairs {
		if (exchange == "" || p.Exchange == exchange) && s.rank(&p) < unlike {
			found = append(found, p)
		}
	}
	return found, nil
}

func (f *fakeStore) HasPairs(_ context.Context, exchange string) (bool, error) {
	return slices.ContainsFunc(f.pairs, func(p KnownPair) bool { return p.Exchange == exchange }), nil
}

// keptBlock is a block stored by the fake.
type keptBlock struct {
	Kept
	packed []byte
}

func (f *fakeStore) Candles(ctx context.Context, key Key, from int64, dst *levels.Candles, buf []byte) (kept Kept, err error) {
	if f.CandlesErr != nil {
		return Kept{}, f.CandlesErr
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	spans := slices.Sorted(maps.Keys(f.candles[key]))
	if len(spans) == 0 {
		return Kept{}, ErrNotAnalyzed
	}
	for i, span := range spans {
		b := f.candles[key][span]
		if b.From != dst.AsOf() || i == 0 {
			dst.Truncate(0)
			kept = b.Kept
		}
		if err := dst.AppendBlock(b.packed); err != nil {
			return Kept{}, err
		}
	}
	return kept, nil
}

func newTestAnalyzer(t *testing.T, cfg Config, x *fakeExchange, s *fakeStore) *Analyzer {
	t.Helper()
	cfg.Concurrency = cmp.Or(cfg.Concurrency, 3)
	cfg.KlineLimit = cmp.Or(cfg.KlineLimit, 200)
	cfg.QueueLimit = cmp.Or(cfg.QueueLimit, 10)
	cfg.Timeout = cmp.Or(cfg.Timeout, time.Minute)
	cfg.Interval = "1h"
	a := New(cfg, []Exchange{x}, s, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(io.Discard, nil)))
	t.Cleanup(func() { a.Stop(context.Background()) })
	return a
}

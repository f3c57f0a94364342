package service

import (
	"context"
	"iter"
	"sync"
	"time"

	"tidemark/levels"
)

// Analysis is the analysis of one pair, and the changes that are stored with it.
type Analysis struct {
	Snapshot
	change CandleChange // has no blocks if the stored candles do not change
	judged *Judged      // nil if no promise is due
}

// AddCandles adds the candles of an analysis to r, which may have failed.
func (r *Results) AddCandles(a Analysis) {
	if len(a.change.Blocks) > 0 {
		r.Candles = append(r.Candles, a.change)
	}
}

// Add adds an analysis to r.
func (r *Results) Add(a Analysis) {
	r.Snapshots = append(r.Snapshots, a.Snapshot)
	r.AddCandles(a)
	if a.judged != nil {
		r.Judged = append(r.Judged, *a.judged)
	}
}

// AnalyzeEach analyses each pair as soon as a slot is free and stores nothing. r
// applies to every pair; its Symbol is ignored. AnalyzeEach calls done with each
// outcome, from several goroutines at once and before the slot is released. It
// returns when all analyses it has started have ended. Its error says why pairs were
// not started.
//
// A call starts its first pair after the previous call has started its last one, so
// that slots are never idle between two calls and two calls do not compete.
func (a *Analyzer) AnalyzeEach(ctx context.Context, pairs iter.Seq[Pair], r Request, done func(p Pair, got Analysis, err error)) error {
	if err := a.fits(r.KlineLimit); err != nil {
		return err
	}
	var analyses sync.WaitGroup
	defer analyses.Wait()
	select {
	case a.dispatch <- struct{}{}:
		defer func() { <-a.dispatch }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for p := range pairs {
		s, err := a.acquire(ctx, &a.slots.fetching, r.KlineLimit, 0, false)
		if err != nil {
			return err
		}
		analyses.Go(func() {
			defer a.slots.release(s)
			got, err := a.analyzePair(ctx, s, p, r)
			done(p, got, err)
		})
	}
	return nil
}

// analyzeSymbol fetches the candles of one pair into s and analyses them.
func (a *Analyzer) analyzeSymbol(ctx context.Context, s *slot, p Pair, r Request) (got Analysis, err error) {
	start := time.Now()
	got.Snapshot, err = a.recovered(s, p.Name, func() (Snapshot, error) {
		f, err := a.fetch(ctx, s, p, r.Interval, r.KlineLimit, levels.MinCandles)
		if err != nil {
			return Snapshot{}, err
		}
		if r.Store {
			got.change = a.keep(s, p.Name, f)
			if !f.first { // a new pair has no promise
				got.judged = a.judge(ctx, &s.candles, p.Name, r.KlineLimit)
			}
		}
		f.cut(&s.candles, r.KlineLimit)
		now, err := a.exchange.Now(ctx)
		if err != nil {
			return Snapshot{}, err
		}
		return a.snapshot(s, p, now)
	})
	a.metrics.observe(err, time.Since(start))
	if err == nil {
		a.metrics.missing.Add(float64(got.Missing))
	}
	return got, err
}

// withFinder calls use with a finder for the given number of candles.
func (a *Analyzer) withFinder(candles int, use func(f *levels.Finder) error) error {
	finder, after := new(levels.Finder), new(levels.Finder)
	if candles <= sharedKlines(a.cfg.KlineLimit) {
		finder = <-a.finders
		defer func() { a.finders <- after }()
	}
	err := use(finder)
	after = finder // not reached after a panic, which may have left it inconsistent
	return err
}

// snapshot finds the levels of the candles in s and returns a copy of them.
func (a *Analyzer) snapshot(s *slot, p Pair, now time.Time) (Snapshot, error) {
	var found levels.Analysis
	var all []levels.Level
	supports := 0
	err := a.withFinder(s.candles.Len(), func(f *levels.Finder) (err error) {
		if found, err = f.Find(&s.candles); err != nil {
			return err
		}
		all = make([]levels.Level, 0, len(found.Supports)+len(found.Resistances))
		all = p.Tick.appendRounded(all, found.Supports)
		supports = len(all)
		all = p.Tick.appendRounded(all, found.Resistances)
		return nil
	})
	if err != nil {
		return Snapshot{}, err
	}
	market := a.exchange.Market()
	return Snapshot{
		Key:         Key{Exchange: market.Exchange, Symbol: p.Name, Interval: s.candles.Interval},
		AsOf:        time.UnixMilli(found.AsOf).UTC(),
		ComputedAt:  now.UTC().Truncate(time.Millisecond),
		LastPrice:   p.Tick.Round(found.LastPrice),
		ATR:         found.ATR,
		Klines:      found.Candles,
		Missing:     found.Missing,
		Simulated:   market.Simulated,
		Algorithm:   levels.Algorithm,
		Decimals:    p.Tick.Decimals,
		Supports:    all[:supports:supports],
		Resistances: all[supports:],
	}, nil
}

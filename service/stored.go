package service

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/levels"
)

// Series is a series that has an analysis, with what the exchange's list says about its
// pair.
type Series struct {
	Key
	AsOf   time.Time // of the newest analysis
	Name   string    // canonical; empty if it is not known
	Tick   Tick      // zero, without Digits: unknown, prices are not rounded
	Digits int       // see Symbol
}

// Analyze returns the analysis of c, candles of the series, as one that follows before; nil
// for the first. It is computed at the close of the last candle.
func (p *Series) Analyze(f *levels.Finder, c *levels.Candles, before *Snapshot, simulated bool) (Snapshot, error) {
	s, err := p.analyze(f, c, simulated, time.UnixMilli(c.AsOf()))
	if err != nil {
		return Snapshot{}, err
	}
	s.Name = p.Name
	if before != nil {
		s.replace(before)
	}
	return s, nil
}

// Stored is the stored candles of a series. Candles and Finder belong to a slot.
type Stored struct {
	*Series
	Candles   *levels.Candles // none if they cannot be read
	Simulated bool
	Finder    *levels.Finder
}

// EachStored calls fn with the stored candles of each series, at most the last limit ones
// up to its analysis. It fetches nothing and stores nothing, and needs no exchange.
//
// It calls fn for several series at once, as many as there are processors, each on a slot,
// and ends with the first error of fn or of the database, or with ctx.
func (a *Analyzer) EachStored(ctx context.Context, all []Series, limit int, fn func(s *Stored) error) error {
	if err := a.fits(limit); err != nil {
		return err
	}
	first, err := a.queue(a.slots.local) // for one slot; the others are taken as a sweep does
	if err != nil {
		return err
	}
	defer a.slots.leave(first)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var workers sync.WaitGroup
	for i := range finders(a.cfg.Concurrency) {
		q := first
		if i > 0 {
			q = nil
		}
		workers.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(all) {
					return
				}
				if err := a.withStored(ctx, &all[i], limit, q, fn); err != nil {
					cancel(err)
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

func (a *Analyzer) withStored(ctx context.Context, p *Series, limit int, q *place, fn func(s *Stored) error) error {
	s, err := a.acquire(ctx, a.slots.local, limit, 0, q)
	if err != nil {
		return err
	}
	defer a.slots.release(s)
	_, err = a.recovered(s, p.Symbol, func() (Snapshot, error) {
		c := &s.candles
		c.Reset(p.Interval, limit)
		step := p.Interval.Milliseconds()
		kept, err := a.store.Candles(ctx, p.Key, p.AsOf.UnixMilli()-int64(limit)*step, c, s.buf)
		switch {
		case errors.Is(err, ErrNotAnalyzed) || errors.Is(err, ErrDamaged):
			c.Truncate(0)
		case err != nil:
			return Snapshot{}, err
		}
		c.KeepLast(min(limit, c.Len()))
		return Snapshot{}, a.withFinder(limit, func(f *levels.Finder) error {
			return fn(&Stored{p, c, kept.Simulated, f})
		})
	})
	return err
}

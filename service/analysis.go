package service

import (
	"context"
	"errors"
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
	watch  *Watch       // nil if nothing watches the levels
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
	if a.watch != nil {
		r.Watches = append(r.Watches, *a.watch)
	}
}

// AnalyzeEach analyses each pair of r.Exchange as soon as a slot is free and stores
// nothing. r applies to every pair; its Symbol is ignored. AnalyzeEach calls done with each
// outcome, from several goroutines at once and before the slot is released. It
// returns when all analyses it has started have ended. Its error says why pairs were
// not started.
//
// A call starts its first pair after the previous call for the same exchange has started
// its last one, so that slots are never idle between two calls and two calls do not
// compete. Calls for different exchanges take slots in turn.
func (a *Analyzer) AnalyzeEach(ctx context.Context, pairs iter.Seq[Pair], r Request, done func(p Pair, got Analysis, err error)) error {
	x, err := a.exchange(r.Exchange)
	if err != nil {
		return err
	}
	if err := a.fits(r.KlineLimit); err != nil {
		return err
	}
	dispatch := a.dispatch[x.Market().Exchange]
	var analyses sync.WaitGroup
	defer analyses.Wait()
	if !r.Urgent {
		select {
		case dispatch <- struct{}{}:
			defer func() { <-dispatch }()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for p := range pairs {
		v, s, err := a.start(ctx, x, &p, r)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, ErrStopping):
			return err
		case err != nil:
			done(p, Analysis{}, err)
			continue
		}
		analyses.Go(func() {
			defer v.Close()
			for {
				got, err := a.analyzeSymbol(ctx, x, v, s, p, r)
				if !errors.Is(err, ErrLater) {
					done(p, got, err)
					a.slots.release(s)
					return
				}
				a.slots.release(s)
				if s, err = a.enter(ctx, x, v, r.KlineLimit, nil); err != nil {
					done(p, Analysis{}, err)
					return
				}
			}
		})
	}
	return nil
}

// start looks up the pair, if its tick is unknown, waits for the exchange and takes a slot.
func (a *Analyzer) start(ctx context.Context, x Exchange, p *Pair, r Request) (v Visit, s *slot, err error) {
	if _, err = a.lookUp(ctx, x, p); err != nil {
		a.metrics.observe(err, 0)
		return nil, nil, err
	}
	v = x.Visit(p.Name, r.Interval, r.KlineLimit)
	if s, err = a.enter(ctx, x, v, r.KlineLimit, nil); err != nil {
		v.Close()
		return nil, nil, err
	}
	return v, s, nil
}

// lookUp completes a pair of which only the name is known, and returns its canonical name.
func (a *Analyzer) lookUp(ctx context.Context, x Exchange, p *Pair) (name string, err error) {
	if p.Tick != (Tick{}) || p.Digits > 0 {
		return "", nil
	}
	listed, err := x.Symbol(ctx, p.Name)
	if err == nil {
		name = listed.Canonical()
		*p = Pair{Name: listed.Name, Tick: listed.Tick, Digits: listed.Digits, New: p.New, Whole: p.Whole}
	}
	return name, err
}

// analyzeSymbol fetches the candles of one pair of x into s and analyses them.
func (a *Analyzer) analyzeSymbol(ctx context.Context, x Exchange, v Visit, s *slot, p Pair, r Request) (got Analysis, err error) {
	start := time.Now()
	got.Snapshot, err = a.recovered(s, p.Name, func() (Snapshot, error) {
		f, err := a.fetch(ctx, x, v, s, p, r.Interval, r.KlineLimit, levels.MinCandles)
		if err != nil {
			return Snapshot{}, err
		}
		if r.Store {
			got.change = a.keep(s, p.Name, f)
			if !f.first { // a new pair has no promise
				got.judged = a.judge(ctx, x, &s.candles, p.Name, r.KlineLimit)
			}
		}
		f.cut(&s.candles, r.KlineLimit)
		now, err := x.Now(ctx)
		if err != nil {
			return Snapshot{}, err
		}
		found, err := a.snapshot(&s.candles, x.Market(), p, now)
		switch {
		case err != nil:
		case !f.first:
			got.watch = a.follow(ctx, &found, &s.candles, r.Store)
		case a.cfg.Watch != nil && r.Store:
			got.watch = a.cfg.Watch(nil, &found, nil, &s.candles)
		}
		return found, err
	})
	if errors.Is(err, ErrLater) {
		return got, err
	}
	a.metrics.observe(err, time.Since(start))
	if err == nil {
		a.metrics.missing.Add(float64(got.Missing))
	}
	return got, err
}

// newFinder returns a Finder that finds faint levels, too: they are stored, and whoever
// reads them says from which edge on.
func newFinder() *levels.Finder { return &levels.Finder{Faint: true} }

// withFinder calls use with a finder for the given number of candles.
func (a *Analyzer) withFinder(candles int, use func(f *levels.Finder) error) error {
	if candles > sharedKlines(a.cfg.KlineLimit) {
		return use(newFinder())
	}
	finder := <-a.finders
	intact := false
	defer func() {
		if !intact { // a panic may have left it inconsistent
			finder = newFinder()
		}
		a.finders <- finder
	}()
	err := use(finder)
	intact = true
	return err
}

// snapshot finds the levels of c and returns a copy of them.
func (a *Analyzer) snapshot(c *levels.Candles, market Market, p Pair, now time.Time) (found Snapshot, err error) {
	series := Series{Key: Key{Exchange: market.Exchange, Symbol: p.Name, Interval: c.Interval}, Tick: p.Tick, Digits: p.Digits}
	err = a.withFinder(c.Len(), func(f *levels.Finder) (err error) {
		found, err = series.analyze(f, c, market.Simulated, now)
		return err
	})
	return found, err
}

// analyze finds the levels of c and returns a copy of them.
func (p *Series) analyze(f *levels.Finder, c *levels.Candles, simulated bool, now time.Time) (Snapshot, error) {
	found, err := f.Find(c)
	if err != nil {
		return Snapshot{}, err
	}
	tick := p.Tick
	if p.Digits > 0 {
		tick = significant(found.LastPrice, p.Digits, tick)
	}
	all := make([]levels.Level, 0, len(found.Supports)+len(found.Resistances))
	all = tick.appendRounded(all, found.Supports, found.LastPrice)
	supports := len(all)
	all = tick.appendRounded(all, found.Resistances, found.LastPrice)
	for i := range all {
		all[i].ID = p.LevelID(all[i].ID)
	}
	return Snapshot{
		Key:         p.Key,
		AsOf:        time.UnixMilli(found.AsOf).UTC(),
		ComputedAt:  now.UTC().Truncate(time.Millisecond),
		LastPrice:   tick.Round(found.LastPrice),
		ATR:         found.ATR,
		Klines:      found.Candles,
		Missing:     found.Missing,
		Simulated:   simulated,
		Algorithm:   levels.Algorithm,
		Decimals:    tick.Decimals,
		Supports:    all[:supports:supports],
		Resistances: all[supports:],
	}, nil
}

package service

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"tidemark/levels"
)

// Explain tells why the level id of a stored analysis is there. Its candles are
// those that are kept: none is fetched, and none after the analysis is looked at.
// They are analysed again on a slot. Prices and odds of the level are those of s,
// and the effects of the factors are whole hundredths of a point that add up to the
// difference of its odds.
//
// ErrUnknownLevel when s has no such level; ErrNotExplainable, with the reason,
// when s is not what this version finds in the candles kept.
func (a *Analyzer) Explain(ctx context.Context, s *Snapshot, id uint64) (levels.Explanation, error) {
	stored := s.Level(id)
	switch {
	case stored == nil:
		return levels.Explanation{}, fmt.Errorf("%w: the analysis of %s %s on %s as of %s has no level %016x",
			ErrUnknownLevel, s.Symbol, s.Interval, s.Exchange, s.AsOf.UTC().Format(time.RFC3339), id)
	case s.Algorithm != levels.Algorithm:
		return levels.Explanation{}, notExplainable(s, "it was made by algorithm %s, and this version has algorithm %s", s.Algorithm, levels.Algorithm)
	case s.Klines > a.most:
		return levels.Explanation{}, notExplainable(s, "%d klines need more memory than MEMORY_BUDGET leaves", s.Klines)
	}
	// Blocks are read whole, and those after the analysis too.
	room := min(max(s.Klines, a.cfg.KlineLimit)+BlockCandles, a.most)
	slot, err := a.acquire(ctx, room, true)
	if err != nil {
		return levels.Explanation{}, err
	}
	defer a.slots.release(slot)
	var e levels.Explanation
	_, err = a.contained(slot, s.Symbol, func() (Snapshot, error) {
		if err := a.recall(ctx, slot, s); err != nil {
			return Snapshot{}, err
		}
		return Snapshot{}, a.withFinder(s.Klines, func(f *levels.Finder) (err error) {
			e, err = f.Explain(&slot.candles, id)
			return err
		})
	})
	switch {
	case errors.Is(err, levels.ErrNoLevel):
		return levels.Explanation{}, notExplainable(s, "the candles kept no longer have this level")
	case err != nil:
		return levels.Explanation{}, err
	case !closeTo(e.ATR, s.ATR) || e.Level.Touches != stored.Touches || e.Level.LastTouch != stored.LastTouch || e.Level.Role != stored.Role:
		return levels.Explanation{}, notExplainable(s, "the candles kept are not those it was made from")
	}
	roundEffects(e.Factors, &e.Level, stored)
	e.Level = *stored
	return e, nil
}

// recall fills the slot with the candles that s was made from.
func (a *Analyzer) recall(ctx context.Context, slot *slot, s *Snapshot) error {
	c, asOf := &slot.candles, s.AsOf.UnixMilli()
	c.Reset(s.Interval, s.Klines+BlockCandles)
	from := asOf - int64(s.Klines+s.Missing)*s.Interval.Milliseconds()
	kept, err := a.store.Candles(ctx, s.Key, from, c, slot.buf)
	switch {
	case errors.Is(err, ErrNotAnalyzed):
		return notExplainable(s, "none of its candles are kept")
	case err != nil:
		return err
	case kept.Simulated != s.Simulated:
		return notExplainable(s, "the candles kept are of another market: one of the two is simulated")
	}
	end, _ := slices.BinarySearch(c.OpenTime, asOf)
	c.Truncate(end)
	c.KeepLast(s.Klines)
	if c.Len() != s.Klines || c.AsOf() != asOf || c.Missing() != s.Missing {
		return notExplainable(s, "of its %d candles, %d are kept", s.Klines, c.Len())
	}
	return nil
}

func notExplainable(s *Snapshot, format string, args ...any) error {
	return fmt.Errorf("%w: the analysis of %s %s on %s as of %s cannot be made again: %s; a new analysis will do",
		ErrNotExplainable, s.Symbol, s.Interval, s.Exchange, s.AsOf.UTC().Format(time.RFC3339), fmt.Sprintf(format, args...))
}

// closeTo tells whether two sums of the same candles are the same, but for the
// last digits, which differ between processors.
func closeTo(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Abs(b) }

// roundEffects rounds effects to hundredths of a point, which is what odds are
// rounded to, so that they add up to the difference of the odds of stored: each
// is the difference of two rounded sums. Those of exact are not rounded.
func roundEffects(factors []levels.Factor, exact, stored *levels.Level) {
	sum := 1e4 * (exact.BaselineHold - stored.BaselineHold)
	before := 0.0
	for i := range factors {
		sum += 100 * factors[i].Effect
		rounded := math.Round(sum)
		factors[i].Effect = (rounded - before) / 100
		before = rounded
	}
}

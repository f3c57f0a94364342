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

// Explain explains the level id of a stored analysis. It analyses the kept candles
// again, on a slot: it fetches none, and uses none after the analysis. The prices and
// odds of the level are those of s. The effects of the factors are whole hundredths of
// a point that add up to the difference of its odds.
//
// Explain returns ErrUnknownLevel if s has no such level, and ErrNotExplainable, with
// the reason, if this version does not find s in the kept candles.
func (a *Analyzer) Explain(ctx context.Context, s *Snapshot, id uint64) (levels.Explanation, error) {
	stored := s.Level(id)
	switch {
	case stored == nil && s.Successor(id) != nil:
		return levels.Explanation{}, fmt.Errorf("%w: level %016x of %s %s on %s was replaced by %016x",
			ErrUnknownLevel, id, s.Symbol, s.Interval, s.Exchange, s.Successor(id).ID)
	case stored == nil:
		return levels.Explanation{}, fmt.Errorf("%w: the analysis of %s %s on %s as of %s has no level %016x",
			ErrUnknownLevel, s.Symbol, s.Interval, s.Exchange, s.AsOf.UTC().Format(time.RFC3339), id)
	case s.Algorithm != levels.Algorithm:
		return levels.Explanation{}, notExplainable(s, "algorithm %s made it, and this version has algorithm %s", s.Algorithm, levels.Algorithm)
	}
	var e levels.Explanation
	missing, err := a.recall(ctx, s, s.Klines, 0, func(c *levels.Candles) error {
		return a.withFinder(s.Klines, func(f *levels.Finder) (err error) {
			e, err = f.Explain(c, s.LevelID(stored.ID))
			return err
		})
	})
	switch {
	case missing != "":
		return levels.Explanation{}, notExplainable(s, "%s", missing)
	case errors.Is(err, levels.ErrNoLevel):
		return levels.Explanation{}, notExplainable(s, "this level is not found in the kept candles")
	case err != nil:
		return levels.Explanation{}, err
	case !closeTo(e.ATR, s.ATR) || e.Level.Touches != stored.Touches || e.Level.LastTouch != stored.LastTouch ||
		stored.State != levels.Unjudged && e.Level.Record != stored.Record || e.Level.Role != stored.Role:
		return levels.Explanation{}, notExplainable(s, "the kept candles have changed since the analysis")
	}
	roundEffects(e.Factors, &e.Level, stored)
	e.Level = *stored
	return e, nil
}

// Recall calls fn with at most the last n kept candles of a stored analysis. It fetches
// none. fn must not retain them. The slot also reserves the bytes that fn needs.
//
// Recall returns ErrNotKept, with the reason, if the candles are no longer kept, and
// ErrInvalid if so many bytes can never be reserved.
func (a *Analyzer) Recall(ctx context.Context, s *Snapshot, n int, bytes int64, fn func(c *levels.Candles) error) error {
	missing, err := a.recall(ctx, s, min(n, s.Klines), bytes, fn)
	if missing != "" {
		return fmt.Errorf("%w: the candles of the analysis of %s %s on %s as of %s are not available: %s; analyse the pair again",
			ErrNotKept, s.Symbol, s.Interval, s.Exchange, s.AsOf.UTC().Format(time.RFC3339), missing)
	}
	return err
}

// recall calls fn, on a slot, with the last n candles of the analysis s, or returns
// what is missing.
func (a *Analyzer) recall(ctx context.Context, s *Snapshot, n int, bytes int64, fn func(c *levels.Candles) error) (missing string, err error) {
	if n > a.maxKlines {
		return fmt.Sprintf("%d klines need more memory than MEMORY_BUDGET leaves", n), nil
	}
	// The store reads whole blocks, including those after the analysis.
	room := min(max(n, a.cfg.KlineLimit)+BlockCandles, a.maxKlines)
	if a.cfg.need(room)+bytes > a.slots.limit {
		return "", fmt.Errorf("%w: MEMORY_BUDGET leaves no room for the %d KiB this takes", ErrInvalid, bytes>>10)
	}
	slot, err := a.acquireLocal(ctx, room, bytes)
	if err != nil {
		return "", err
	}
	defer a.slots.release(slot)
	_, err = a.recovered(slot, s.Symbol, func() (Snapshot, error) {
		c, asOf := &slot.candles, s.AsOf.UnixMilli()
		c.Reset(s.Interval, n+BlockCandles)
		from := asOf - int64(n+s.Missing)*s.Interval.Milliseconds()
		kept, err := a.store.Candles(ctx, s.Key, from, c, slot.buf)
		switch {
		case errors.Is(err, ErrNotAnalyzed):
			missing = "none of its candles are kept"
			return Snapshot{}, nil
		case err != nil:
			return Snapshot{}, err
		case kept.Simulated != s.Simulated:
			missing = "the kept candles and the analysis are of different markets: one of them is simulated"
			return Snapshot{}, nil
		}
		end, _ := slices.BinarySearch(c.OpenTime, asOf)
		c.Truncate(end)
		c.KeepLast(n)
		switch {
		case c.Len() != n || c.AsOf() != asOf || n == s.Klines && c.Missing() != s.Missing:
			missing = fmt.Sprintf("of its %d candles, %d are kept", s.Klines, c.Len())
			return Snapshot{}, nil
		// The last price is rounded to a tick, a few units of its last decimal.
		case math.Abs(c.Close[n-1]-s.LastPrice) > 10*math.Pow10(-s.Decimals):
			missing = "the kept candles have changed since the analysis"
			return Snapshot{}, nil
		}
		return Snapshot{}, fn(c)
	})
	return missing, err
}

func notExplainable(s *Snapshot, format string, args ...any) error {
	return fmt.Errorf("%w: the analysis of %s %s on %s as of %s cannot be repeated: %s; analyse the pair again",
		ErrNotExplainable, s.Symbol, s.Interval, s.Exchange, s.AsOf.UTC().Format(time.RFC3339), fmt.Sprintf(format, args...))
}

// closeTo reports whether two sums of the same candles are equal up to the last
// digits, which differ between processors.
func closeTo(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Abs(b) }

// roundEffects rounds effects to hundredths of a point, like odds, so that they add up
// to the difference of the odds of stored: each effect becomes the difference of two
// rounded sums. The odds of exact are not rounded.
func roundEffects(factors []levels.Factor, exact, stored *levels.Level) {
	sum := 1e4*float64(exact.BaselineHold) - math.Round(1e4*float64(stored.BaselineHold))
	before := 0.0
	for i := range factors {
		sum += 100 * factors[i].Effect
		rounded := math.Round(sum)
		factors[i].Effect = (rounded - before) / 100
		before = rounded
	}
}

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

// BlockCandles is how many open times a block of kept candles spans. The block
// that holds the newest candle is stored anew with each new candle; the blocks
// before it are not touched again.
const BlockCandles = 128

// list is the change as Results carry it: nothing, if there is none.
func (c CandleChange) list() []CandleChange {
	if len(c.Blocks) == 0 {
		return nil
	}
	return []CandleChange{c}
}

// spanOf returns the first open time of the block that a candle belongs to.
func spanOf(openTime int64, interval levels.Interval) int64 {
	span := BlockCandles * interval.Milliseconds()
	return openTime / span * span
}

// The reasons to fetch a pair anew although candles of it are kept.
const (
	refetchDisagree  = "disagree"  // the venue's candle is not the one kept
	refetchDamaged   = "damaged"   // what is kept cannot be read
	refetchSimulated = "simulated" // simulated candles are kept of a real market, or the reverse
	refetchShort     = "short"     // they begin after, or end before, the window asked for
)

var refetches = [...]string{refetchDisagree, refetchDamaged, refetchSimulated, refetchShort}

// fetched is what fetch has found out about the candles in a slot.
type fetched struct {
	window int64 // first open time asked for
	from   int64 // Unix ms; the venue has no candle since that is not in the slot
	kept   int   // candles at the front that are stored already
	anew   bool  // nothing stored is of use
	first  bool  // nothing is stored
	market Market
}

// fetch fills s with the last limit closed candles of a pair, and at times some
// before them: those that are kept, and from the exchange those that are not. The last
// one kept is fetched again, and must be the same. What is kept is not used, and
// the whole window fetched, when it cannot be read, when it is not of the same
// market, or when it does not cover the window. A pair of which is known that it
// cannot have as many candles as least yet is levels.ErrTooFewCandles.
func (a *Analyzer) fetch(ctx context.Context, s *slot, symbol string, interval levels.Interval, limit, least int) (fetched, error) {
	now, err := a.exchange.Now(ctx)
	if err != nil {
		return fetched{}, err
	}
	s.candles.Reset(interval, limit+1)
	from := windowOf(now, interval, limit)
	f, reason, err := a.resume(ctx, s, symbol, from, now.UnixMilli(), least)
	if err == nil && reason == "" {
		return f, nil
	}
	if err == nil {
		s.candles.Truncate(0)
		err = a.exchange.Candles(ctx, symbol, from, &s.candles, s.buf)
	}
	if err != nil {
		return fetched{}, fmt.Errorf("klines %s %s: %w", symbol, interval, err)
	}
	a.metrics.candles.WithLabelValues("exchange").Add(float64(s.candles.Len()))
	return fetched{window: from, from: from, anew: true, first: reason == firstTime, market: a.exchange.Market()}, nil
}

// windowOf returns the first moment (Unix ms) at which one of the last limit candles
// closed by now can have opened, wherever the venue aligns the interval (weeks begin
// on Monday, the epoch did not).
func windowOf(now time.Time, interval levels.Interval, limit int) int64 {
	return now.UnixMilli() - int64(limit+1)*interval.Milliseconds() + 1
}

// kept calls fn, on a slot aside of those for fetching, with the last limit closed candles of a pair
// if all of them are kept, which it tells.
func (a *Analyzer) kept(ctx context.Context, symbol string, interval levels.Interval, limit int, fn func(c *levels.Candles) error) (all bool, err error) {
	now, err := a.exchange.Now(ctx)
	if err != nil {
		return false, err
	}
	s, err := a.acquire(ctx, &a.slots.aside, limit, 0, true)
	if err != nil {
		return false, err
	}
	defer a.slots.release(s)
	_, err = a.contained(s, symbol, func() (Snapshot, error) {
		c := &s.candles
		c.Reset(interval, limit+1)
		from, market := windowOf(now, interval, limit), a.exchange.Market()
		kept, err := a.store.Candles(ctx, Key{Exchange: market.Exchange, Symbol: symbol, Interval: interval}, from, c, s.buf)
		if err != nil || unfit(kept, market, c, from, now.UnixMilli()) != "" || now.UnixMilli() >= c.AsOf()+interval.Milliseconds() {
			return Snapshot{}, nil // whoever fetches says what is wrong
		}
		all = true
		a.metrics.candles.WithLabelValues("store").Add(float64(c.Len()))
		fetched{window: from}.cut(c, limit)
		return Snapshot{}, fn(c)
	})
	return all, err
}

// unfit tells why candles kept since from, which c has, cannot be gone on from; it is
// empty if they can.
func unfit(kept Kept, market Market, c *levels.Candles, from, now int64) (reason string) {
	step := c.Interval.Milliseconds()
	switch {
	case kept.Simulated != market.Simulated:
		return refetchSimulated
	case c.AsOf() > now+step:
		return refetchDisagree
	// Candles are a whole number of intervals apart, so that none can be missing
	// in less than one.
	case kept.From > from && c.OpenTime[0]-step >= from, c.OpenTime[c.Len()-1] < from:
		return refetchShort
	}
	return ""
}

// cut drops what is in the slot besides the last limit candles of the window.
func (f fetched) cut(c *levels.Candles, limit int) {
	older, _ := slices.BinarySearch(c.OpenTime, f.window)
	c.KeepLast(min(limit, c.Len()-older))
}

// resume fills s from what is kept and fetches the rest. A reason says that the
// window must be fetched anew instead; it is firstTime for a pair of which
// nothing is kept.
func (a *Analyzer) resume(ctx context.Context, s *slot, symbol string, from, now int64, least int) (f fetched, reason string, err error) {
	c := &s.candles
	step := c.Interval.Milliseconds()
	market := a.exchange.Market()
	key := Key{Exchange: market.Exchange, Symbol: symbol, Interval: c.Interval}
	kept, err := a.store.Candles(ctx, key, from, c, s.buf)
	switch {
	case ctx.Err() != nil:
		return f, "", context.Cause(ctx)
	case errors.Is(err, ErrNotAnalyzed):
		return f, firstTime, nil
	case err != nil:
		return f, a.refetch(key, refetchDamaged, "error", err), nil
	}
	if reason := unfit(kept, market, c, from, now); reason != "" {
		return f, a.refetch(key, reason, "kept_from", kept.From, "kept_to", c.AsOf(), "kept_simulated", kept.Simulated, "wanted_from", from, "venue_time", now), nil
	}
	last := c.Len() - 1
	overlap := c.At(last)
	if most := c.Len() + int(max(0, now-c.AsOf())/step); most < least {
		return f, "", fmt.Errorf("%w: at most %d yet, at least %d are needed", levels.ErrTooFewCandles, most, least)
	}
	f = fetched{window: from, from: kept.From, kept: c.Len(), market: market}
	if now >= c.AsOf()+step {
		c.Truncate(last)
		if err := a.exchange.Candles(ctx, symbol, overlap.OpenTime, c, s.buf); err != nil {
			return f, "", err
		}
		switch {
		case a.exchange.Market() != market:
			return f, a.refetch(key, refetchSimulated, "simulated", kept.Simulated), nil
		case c.Len() == last:
			return f, a.refetch(key, refetchDisagree, "kept", overlap, "venue", "none"), nil
		case c.At(last) != overlap:
			return f, a.refetch(key, refetchDisagree, "kept", overlap, "venue", c.At(last)), nil
		}
		a.metrics.candles.WithLabelValues("exchange").Add(float64(c.Len() - last))
	}
	a.metrics.candles.WithLabelValues("store").Add(float64(f.kept))
	return f, "", nil
}

// firstTime is why a pair is fetched whole of which nothing is kept; it needs
// no words.
const firstTime = "first time"

// refetch says that, and why, a pair is fetched anew.
func (a *Analyzer) refetch(key Key, reason string, details ...any) string {
	a.metrics.refetched.WithLabelValues(reason).Inc()
	args := append([]any{"symbol", key.Symbol, "interval", key.Interval, "reason", reason}, details...)
	if reason == refetchShort {
		a.log.Debug("kept candles do not cover the klines asked for: fetching the pair anew", args...)
	} else {
		a.log.Warn("kept candles cannot be used: fetching the pair anew", args...)
	}
	return reason
}

// change packs what fetch has brought that is not stored yet, in the slot's
// decode buffer. Blocks before the last KlineLimit candles are left out.
func (a *Analyzer) change(s *slot, symbol string, f fetched) (change CandleChange) {
	c, b := &s.candles, s.buf[:0]
	change = CandleChange{
		Key:       Key{Exchange: f.market.Exchange, Symbol: symbol, Interval: c.Interval},
		Simulated: f.market.Simulated,
	}
	if f.kept == c.Len() {
		return change
	}
	step := c.Interval.Milliseconds()
	oldest := spanOf(c.AsOf()-int64(a.cfg.KlineLimit)*step, c.Interval)
	switch change.Keep = oldest; {
	case f.first:
		change.Keep = 0
	case f.anew:
		change.Keep = math.MaxInt64
	}
	span := max(oldest, spanOf(c.OpenTime[f.kept], c.Interval))
	i, _ := slices.BinarySearch(c.OpenTime, span)
	for i < c.Len() {
		span = spanOf(c.OpenTime[i], c.Interval)
		j, _ := slices.BinarySearch(c.OpenTime, span+BlockCandles*step)
		covered := f.from
		if i > 0 {
			covered = c.OpenTime[i-1] + step
		}
		start := len(b)
		b = c.Pack(b, i, j)
		change.Blocks = append(change.Blocks, KeptBlock{Span: span, From: covered, Packed: b[start:len(b):len(b)]})
		i = j
	}
	return change
}

// keep stores or returns what fetch has brought that is not stored yet. The
// candles of a pair fetched whole are stored at once: some 13 KB each would be
// too much to wait for the end of a batch. The few hundred bytes of a new candle
// are returned, to be stored with the analysis.
func (a *Analyzer) keep(ctx context.Context, s *slot, symbol string, f fetched) CandleChange {
	change := a.change(s, symbol, f)
	if !f.anew {
		for i := range change.Blocks {
			b := &change.Blocks[i]
			b.Packed = slices.Clone(b.Packed)
		}
		return change
	}
	if all := change.list(); all != nil {
		if err := a.store.Put(ctx, Results{Candles: all}); err != nil && ctx.Err() == nil && !Unwritable(err) {
			a.log.Warn("candles could not be stored, and will be fetched again", "symbol", symbol, "interval", s.candles.Interval, "error", err)
		}
	}
	return CandleChange{}
}

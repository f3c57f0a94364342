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

// BlockCandles is the number of open times that a block of stored candles spans. Each
// new candle rewrites the newest block; older blocks do not change.
const BlockCandles = 128

// Bytes returns the size of the packed candles of c.
func (c CandleChange) Bytes() (n int) {
	for _, b := range c.Blocks {
		n += len(b.Packed)
	}
	return n
}

// spanOf returns the first open time of a candle's block.
func spanOf(openTime int64, interval levels.Interval) int64 {
	span := BlockCandles * interval.Milliseconds()
	return openTime / span * span
}

// The reasons to fetch the whole window of a pair although candles are stored.
const (
	refetchDisagree  = "disagree"  // the venue's candle differs from the stored one
	refetchDamaged   = "damaged"   // the stored candles cannot be read
	refetchSimulated = "simulated" // one is simulated: the stored candles or the market
	refetchShort     = "short"     // they begin after, or end before, the window
	refetchAudit     = "audit"     // an audit has found another difference
)

var refetches = [...]string{refetchDisagree, refetchDamaged, refetchSimulated, refetchShort, refetchAudit}

// fetched describes the candles that fetch has put into a slot.
type fetched struct {
	window int64 // first open time of the window
	from   int64 // Unix ms; from here to the last candle the slot has all of the venue's
	kept   int   // candles at the front that are stored already
	whole  bool  // the whole window was fetched; no stored candle was used
	first  bool  // no candle is stored
	market Market
}

// fetch fills s with the last limit closed candles of a pair of x, and possibly some older
// ones. It reads stored candles and fetches the rest. It also fetches the last stored
// candle again, which must not have changed, and those from p.Corrected on. It fetches the whole window if the
// stored candles cannot be read, belong to another market or do not cover the window.
// It does not look for stored candles if p.New or p.Whole is set.
// It returns levels.ErrTooFewCandles if the pair is known to have fewer than least
// candles.
func (a *Analyzer) fetch(ctx context.Context, x Exchange, v Visit, s *slot, p Pair, interval levels.Interval, limit, least int) (f fetched, err error) {
	now, err := x.Now(ctx)
	if err != nil {
		return fetched{}, err
	}
	s.candles.Reset(interval, limit+1)
	from := windowOf(now, interval, limit)
	reason := firstTime
	switch {
	case p.Whole:
		reason = refetchAudit
		a.metrics.refetched.WithLabelValues(reason).Inc()
	case !p.New:
		if f, reason, err = a.resume(ctx, x, v, s, p, from, now.UnixMilli(), least); err == nil && reason == "" {
			return f, nil
		}
	}
	if err == nil {
		s.candles.Truncate(0)
		err = v.Candles(ctx, p.Name, from, &s.candles, s.buf)
	}
	if err != nil {
		return fetched{}, fmt.Errorf("klines %s %s: %w", p.Name, interval, err)
	}
	a.metrics.candles.WithLabelValues("exchange").Add(float64(s.candles.Len()))
	return fetched{window: from, from: from, whole: true, first: reason == firstTime, market: x.Market()}, nil
}

// windowOf returns the earliest time (Unix ms) at which one of the last limit candles
// closed by now can have opened. It holds for every alignment of the interval: weeks
// begin on a Monday, the Unix epoch on a Thursday.
func windowOf(now time.Time, interval levels.Interval, limit int) int64 {
	return now.UnixMilli() - int64(limit+1)*interval.Milliseconds() + 1
}

// storedCandles calls fn with the last limit closed candles of a series of x if all of
// them are stored, and reports whether they are. It uses a local slot.
func (a *Analyzer) storedCandles(ctx context.Context, x Exchange, key Key, limit int, fn func(c *levels.Candles) error) (all bool, err error) {
	now, err := x.Now(ctx)
	if err != nil {
		return false, err
	}
	s, err := a.acquireLocal(ctx, limit, 0)
	if err != nil {
		return false, err
	}
	defer a.slots.release(s)
	_, err = a.recovered(s, key.Symbol, func() (Snapshot, error) {
		c := &s.candles
		c.Reset(key.Interval, limit+1)
		from, market := windowOf(now, key.Interval, limit), x.Market()
		key.Exchange = market.Exchange
		history := x.History(key.Interval)
		kept, err := a.store.Candles(ctx, key, from, c, s.buf)
		if err != nil || unusable(kept, market, c, from, now.UnixMilli(), history) != "" || now.UnixMilli() >= c.AsOf()+key.Interval.Milliseconds() {
			return Snapshot{}, nil // fetch logs the reason
		}
		all = true
		a.metrics.candles.WithLabelValues("store").Add(float64(c.Len()))
		fetched{window: from}.cut(c, limit)
		return Snapshot{}, fn(c)
	})
	return all, err
}

// unusable returns the reason why the stored candles in c cannot serve a window that
// begins at from, or "" if they can. The exchange has only its newest history candles; 0:
// all.
func unusable(kept Kept, market Market, c *levels.Candles, from, now int64, history int) (reason string) {
	step := c.Interval.Milliseconds()
	nothingOlder := history > 0 && c.OpenTime[0] <= now-int64(history)*step
	switch {
	case kept.Simulated != market.Simulated:
		return refetchSimulated
	case c.AsOf() > now+step:
		return refetchDisagree
	// Candles are a whole number of intervals apart, so a gap of less than one
	// interval misses none.
	case kept.From > from && c.OpenTime[0]-step >= from && !nothingOlder, c.OpenTime[c.Len()-1] < from:
		return refetchShort
	}
	return ""
}

// cut drops all candles but the last limit ones of the window.
func (f fetched) cut(c *levels.Candles, limit int) {
	older, _ := slices.BinarySearch(c.OpenTime, f.window)
	c.KeepLast(min(limit, c.Len()-older))
}

// resume fills s with stored candles and fetches the rest. If it returns a reason, the
// caller must fetch the whole window; the reason is firstTime for a pair without
// stored candles.
func (a *Analyzer) resume(ctx context.Context, x Exchange, v Visit, s *slot, p Pair, from, now int64, least int) (f fetched, reason string, err error) {
	c := &s.candles
	step := c.Interval.Milliseconds()
	market := x.Market()
	key := Key{Exchange: market.Exchange, Symbol: p.Name, Interval: c.Interval}
	kept, err := a.store.Candles(ctx, key, from, c, s.buf)
	switch {
	case ctx.Err() != nil:
		return f, "", context.Cause(ctx)
	case errors.Is(err, ErrNotAnalyzed):
		return f, firstTime, nil
	case err != nil:
		return f, a.refetch(key, refetchDamaged, "error", err), nil
	}
	if reason := unusable(kept, market, c, from, now, x.History(c.Interval)); reason != "" {
		return f, a.refetch(key, reason, "kept_from", kept.From, "kept_to", c.AsOf(), "kept_simulated", kept.Simulated, "wanted_from", from, "venue_time", now), nil
	}
	if p.Corrected > 0 {
		n, _ := slices.BinarySearch(c.OpenTime, p.Corrected)
		if c.Truncate(n); n == 0 {
			return f, a.refetch(key, refetchShort, "kept_from", kept.From, "corrected", p.Corrected), nil
		}
	}
	last := c.Len() - 1
	overlap := c.At(last)
	available := c.Len() + int(max(0, now-c.AsOf())/step)
	if available < least {
		return f, "", fmt.Errorf("%w: the pair has at most %d, at least %d are needed", levels.ErrTooFewCandles, available, least)
	}
	f = fetched{window: from, from: kept.From, kept: c.Len(), market: market}
	if now >= c.AsOf()+step {
		c.Truncate(last)
		if err := v.Candles(ctx, p.Name, overlap.OpenTime, c, s.buf); err != nil {
			return f, "", err
		}
		if market.LateVolume && c.Len() > last && laterTrades(overlap, c.At(last)) {
			overlap = c.At(last)
			f.kept = last // the stored candle is replaced
		}
		switch {
		case x.Market() != market:
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

// laterTrades reports whether a candle differs from before as if trades were added.
func laterTrades(before, now levels.Candle) bool {
	return now.Volume != before.Volume && now.OpenTime == before.OpenTime && now.Open == before.Open && now.High >= before.High && now.Low <= before.Low
}

// firstTime is the reason for a pair without stored candles. It is not logged.
const firstTime = "first time"

// refetch counts and logs that a pair is fetched again, and returns the reason.
func (a *Analyzer) refetch(key Key, reason string, details ...any) string {
	a.metrics.refetched.WithLabelValues(reason).Inc()
	args := append([]any{"exchange", key.Exchange, "symbol", key.Symbol, "interval", key.Interval, "reason", reason}, details...)
	if reason == refetchShort {
		a.log.Debug("kept candles do not cover the requested klines: fetching the pair again", args...)
	} else {
		a.log.Warn("kept candles cannot be used: fetching the pair again", args...)
	}
	return reason
}

// change packs the candles that are not stored yet into the slot's decode buffer. It
// leaves out blocks older than the last KlineLimit candles.
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
	case f.whole:
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

// keep returns the candles that are not stored yet: a few hundred bytes for a new
// candle, about 13 KB for a whole window.
func (a *Analyzer) keep(s *slot, symbol string, f fetched) CandleChange {
	change := a.change(s, symbol, f)
	packed := make([]byte, 0, change.Bytes())
	for i := range change.Blocks {
		b := &change.Blocks[i]
		start := len(packed)
		packed = append(packed, b.Packed...) // which is in the slot
		b.Packed = packed[start:len(packed):len(packed)]
	}
	return change
}

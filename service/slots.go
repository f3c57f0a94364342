package service

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"tidemark/levels"
)

// slot is what one analysis needs, and the right to run it: the semaphore
// carries the memory.
type slot struct {
	candles levels.Candles
	finder  levels.Finder
	buf     []byte
}

// decodeBuffer is the scratch an exchange client gets to decode in. A kline of
// Binance is about 170 bytes, so this holds 190 of them at a time.
const decodeBuffer = 32 << 10

// busyRetry is what a caller refused for a full queue is told to wait: a slot
// frees within the time of a few requests to the exchange.
const busyRetry = 2 * time.Second

// acquire waits for a slot. Callers from outside are counted against the queue
// limit; the dispatcher of a job is not, there is one of them.
func (a *Analyzer) acquire(ctx context.Context, queued bool) (*slot, error) {
	switch {
	case a.stopping.Err() != nil:
		return nil, ErrStopping
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	select {
	case s := <-a.slots:
		return s, nil
	default:
	}
	if queued {
		if a.waiting.Add(1) > int64(a.cfg.QueueLimit) {
			a.waiting.Add(-1)
			return nil, &RetryAfterError{
				Err:   fmt.Errorf("%w: %d requests wait for a slot already (ANALYSIS_QUEUE_LIMIT)", ErrBusy, a.cfg.QueueLimit),
				Until: time.Now().Add(busyRetry),
			}
		}
		defer a.waiting.Add(-1)
	}
	select {
	case s := <-a.slots:
		return s, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-a.stopping.Done():
		return nil, ErrStopping
	}
}

// release gives a slot back. Memory a large request left in it goes first, so
// that one request of 10,000 candles is not paid for ever after.
func (a *Analyzer) release(s *slot) {
	if cap(s.candles.OpenTime) > 2*a.cfg.KlineLimit {
		s.candles, s.finder = levels.Candles{}, levels.Finder{}
	}
	a.slots <- s
}

// contained runs f and turns a panic into an error: one pair's, never the
// process's. What the panic left in the slot is thrown away.
func (a *Analyzer) contained(s *slot, symbol string, f func() (Snapshot, error)) (snap Snapshot, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.metrics.panics.Inc()
			a.log.Error("analysis panicked", "symbol", symbol, "panic", p, "stack", string(debug.Stack()))
			s.candles, s.finder = levels.Candles{}, levels.Finder{}
			snap, err = Snapshot{}, fmt.Errorf("analysis of %s panicked: %v", symbol, p)
		}
	}()
	return f()
}

// analyzeSymbol fetches the candles of one pair into s and analyses them.
func (a *Analyzer) analyzeSymbol(ctx context.Context, s *slot, p pair, interval levels.Interval, limit int) (Snapshot, error) {
	start := time.Now()
	snap, err := a.contained(s, p.name, func() (Snapshot, error) {
		if err := a.fetch(ctx, s, p.name, interval, limit); err != nil {
			return Snapshot{}, err
		}
		now, err := a.exchange.Now(ctx)
		if err != nil {
			return Snapshot{}, err
		}
		return a.snapshot(s, p, now)
	})
	a.metrics.observe(err, time.Since(start))
	if err == nil {
		a.metrics.missing.Add(float64(snap.Missing))
	}
	return snap, err
}

// fetch fills s with the last limit closed candles of a pair.
func (a *Analyzer) fetch(ctx context.Context, s *slot, symbol string, interval levels.Interval, limit int) error {
	now, err := a.exchange.Now(ctx)
	if err != nil {
		return err
	}
	s.candles.Reset(interval, limit+1)
	// The last limit candles closed by now opened after this moment, wherever
	// the venue aligns the interval (weeks begin on Monday, the epoch did not).
	from := now.UnixMilli() - int64(limit+1)*interval.Milliseconds() + 1
	if err := a.exchange.Candles(ctx, symbol, from, &s.candles, s.buf); err != nil {
		return fmt.Errorf("klines %s %s: %w", symbol, interval, err)
	}
	// One more when a candle closed between the two looks at the clock.
	s.candles.KeepLast(limit)
	return nil
}

// snapshot finds the levels of the candles in s and copies them out.
func (a *Analyzer) snapshot(s *slot, p pair, now time.Time) (Snapshot, error) {
	found, err := s.finder.Find(&s.candles)
	if err != nil {
		return Snapshot{}, err
	}
	all := make([]levels.Level, 0, len(found.Supports)+len(found.Resistances))
	all = p.tick.appendRounded(all, found.Supports)
	supports := len(all)
	all = p.tick.appendRounded(all, found.Resistances)
	market := a.exchange.Market()
	return Snapshot{
		Key:         Key{Exchange: market.Exchange, Symbol: p.name, Interval: s.candles.Interval},
		AsOf:        time.UnixMilli(found.AsOf).UTC(),
		ComputedAt:  now.UTC().Truncate(time.Millisecond),
		LastPrice:   p.tick.Round(found.LastPrice),
		ATR:         found.ATR,
		Klines:      found.Candles,
		Missing:     found.Missing,
		Simulated:   market.Simulated,
		Algorithm:   levels.Algorithm,
		Decimals:    p.tick.Decimals,
		Supports:    all[:supports:supports],
		Resistances: all[supports:],
	}, nil
}

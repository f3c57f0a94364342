package live

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

const (
	auditEvery   = 2 * time.Hour
	auditSeries  = 20 // at a time
	auditCandles = 50 // the last ones of each
)

// audit compares the stored candles of some series, in turn, with those of the exchange
// every few hours until ctx is done.
func (k *Keeper) audit(ctx context.Context) {
	ctx = service.Background(ctx)
	pause := auditEvery/2 + rand.N(auditEvery/2) // processes do not all begin at once
	for {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		pause = auditEvery
		for _, key := range k.recent.someSeries(auditSeries) {
			differences, err := k.compare(ctx, key)
			switch {
			case ctx.Err() != nil:
				return
			case errors.Is(err, service.ErrNotAnalyzed): // not yet
				continue
			case err != nil:
				k.log.Warn("candles cannot be compared with the exchange", "symbol", key.Symbol, "interval", key.Interval, "error", err)
				continue
			}
			k.metrics.audited(key.Exchange, differences)
			k.audits.Add(1)
			k.differences.Add(int64(differences))
			if differences > 0 {
				k.log.Warn("stored candles differ from those of the exchange; the pair is fetched again", "symbol", key.Symbol, "interval", key.Interval, "candles", differences)
				k.recent.distrust(key)
			}
		}
	}
}

// compare returns how many of the last stored candles of a series differ from those of the
// exchange, or exist only on one side.
func (k *Keeper) compare(ctx context.Context, key service.Key) (differences int, err error) {
	at, err := k.venue.Now(ctx)
	if err != nil {
		return 0, err
	}
	from := at.UnixMilli() - (auditCandles+1)*key.Interval.Milliseconds()
	buf := make([]byte, auditBuffer)
	var kept, fetched levels.Candles
	kept.Reset(key.Interval, 3*service.BlockCandles)
	complete, err := k.store.Candles(ctx, key, from, &kept, buf)
	if err != nil {
		return 0, err
	}
	from = max(from, complete.From)
	fetched.Reset(key.Interval, 2*auditCandles)
	if err := k.venue.Candles(ctx, key.Symbol, from, &fetched, buf); err != nil {
		return 0, err
	}
	i, j := 0, 0
	for i < kept.Len() && kept.OpenTime[i] < from {
		i++
	}
	for i < kept.Len() || j < fetched.Len() {
		switch {
		case i == kept.Len(): // newer than the stored ones
			return differences, nil
		case j < fetched.Len() && fetched.OpenTime[j] == kept.OpenTime[i]:
			if fetched.At(j) != kept.At(i) {
				differences++
			}
			i, j = i+1, j+1
		case j < fetched.Len() && fetched.OpenTime[j] < kept.OpenTime[i]:
			differences++
			j++
		default:
			differences++
			i++
		}
	}
	return differences, nil
}

// auditBuffer is the size of the memory for packed candles and for decoding a page.
const auditBuffer = 64 << 10

// Audits returns how many series were compared with the exchange, and how many of their
// candles differed.
func (k *Keeper) Audits() (audits, differences int64) {
	return k.audits.Load(), k.differences.Load()
}

// someSeries returns the next n series in turn.
func (r *Recent) someSeries(n int) []service.Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = min(n, len(r.order))
	some := make([]service.Key, n)
	for i := range some {
		some[i] = r.order[r.audited%len(r.order)].key
		r.audited++
	}
	return some
}

// distrust makes the candles of a series, and of the longer ones merged from it, be fetched
// whole and analysed.
func (r *Recent) distrust(key service.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.series[key]; s != nil {
		r.whole(s)
	}
}

// whole does the work of distrust.
func (r *Recent) whole(s *recent) {
	s.n, s.hole, s.pair.Whole = 0, true, true
	r.enqueue(s)
	for _, l := range s.longer {
		l.merge.sum.OpenTime, l.merge.whole.OpenTime = 0, 0
		r.whole(l)
	}
}

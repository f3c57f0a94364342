// Package live keeps the levels of pairs as fresh as the candles that an exchange pushes:
// a closed candle is analysed as soon as a slot is free.
package live

import (
	"context"
	"slices"
	"sync"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// Recent holds the last closed candles of the live series of an exchange, as they were
// pushed or fetched, and which series have a candle that is not analysed yet. Its methods
// are safe for concurrent use.
type Recent struct {
	metrics *metrics

	mu     sync.Mutex
	series map[service.Key]*recent
	queue  []*recent     // with a candle to analyse, in order of its arrival
	wake   chan struct{} // signalled when an entry is added to the queue
}

// recent is the state of a series.
type recent struct {
	key    service.Key
	pair   service.Pair
	last   [2]levels.Candle // closed, one after the other, the newest last
	n      int8             // how many of last are known
	queued bool
	hole   bool  // candles may be missing: the exchange must be asked
	asked  int64 // the close up to which it was asked, Unix ms
	began  int64 // when the series became live, Unix ms
}

func (s *recent) newest() *levels.Candle { return &s.last[1] }

func newRecent(m *metrics) *Recent {
	return &Recent{metrics: m, series: map[service.Key]*recent{}, wake: make(chan struct{}, 1)}
}

// set makes the series of pairs the live ones, and returns how many are new, which are
// queued, and how many are no longer live. now is the exchange's time, Unix ms.
func (r *Recent) set(exchange string, pairs []service.Pair, intervals []levels.Interval, now int64) (added, gone int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.series
	r.series = make(map[service.Key]*recent, len(pairs)*len(intervals))
	for _, i := range intervals {
		step := i.Milliseconds()
		for _, p := range pairs {
			key := service.Key{Exchange: exchange, Symbol: p.Name, Interval: i}
			s := old[key]
			if s == nil {
				s = &recent{key: key, hole: true, asked: now / step * step, began: now}
				r.enqueue(s)
				added++
			}
			s.pair = p
			r.series[key] = s
		}
	}
	r.queue = slices.DeleteFunc(r.queue, func(s *recent) bool { return r.series[s.key] == nil })
	return added, len(old) + added - len(r.series)
}

// enqueue queues s once.
func (r *Recent) enqueue(s *recent) {
	if s.queued {
		return
	}
	s.queued = true
	r.queue = append(r.queue, s)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Candle notes the state of a candle that was pushed.
func (r *Recent) Candle(key service.Key, c levels.Candle, closed bool, received time.Time) {
	step := key.Interval.Milliseconds()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.series[key]
	if s == nil {
		return
	}
	newest := s.newest()
	switch {
	case !closed:
		// A candle whose predecessor was not pushed as closed shows a hole.
		if s.n > 0 && c.OpenTime > newest.OpenTime+step && s.asked < c.OpenTime {
			s.hole, s.asked = true, c.OpenTime
			r.metrics.hole(key.Exchange, "frame")
			r.enqueue(s)
		}
	case s.n > 0 && c.OpenTime < newest.OpenTime, s.n > 0 && c == *newest:
		// late or repeated
	case s.n > 0 && c.OpenTime == newest.OpenTime: // corrected
		s.n, s.hole = 0, true
		r.metrics.hole(key.Exchange, "corrected")
		r.enqueue(s)
	default:
		r.metrics.late("candle", key.Exchange, received.Sub(time.UnixMilli(c.OpenTime+step)))
		if s.n > 0 && c.OpenTime == newest.OpenTime+step {
			s.last[0], s.n = *newest, 2
		} else {
			s.n = 1
		}
		s.last[1] = c
		r.enqueue(s)
	}
}

// Check queues the series whose last candle closed more than grace before now (Unix ms)
// and was neither pushed nor asked for.
func (r *Recent) Check(now int64, grace time.Duration, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.series {
		step := s.key.Interval.Milliseconds()
		closes := (now - grace.Milliseconds()) / step * step
		if s.n > 0 && s.newest().OpenTime+step >= closes || s.asked >= closes {
			continue
		}
		s.hole, s.asked = true, closes
		r.metrics.hole(s.key.Exchange, reason)
		r.enqueue(s)
	}
}

// next takes the first series of an interval out of the queue; nil if there is none.
func (r *Recent) next(i levels.Interval) *recent {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, s := range r.queue {
		if s.key.Interval == i {
			copy(r.queue[k:], r.queue[k+1:])
			r.queue = r.queue[:len(r.queue)-1]
			s.queued = false
			return s
		}
	}
	return nil
}

// waiting returns the interval of the first series in the queue; "" if it is empty.
func (r *Recent) waiting() levels.Interval {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return ""
	}
	return r.queue[0].key.Interval
}

// current reports whether the last candle of a series that has closed by now is known.
func (r *Recent) current(key service.Key, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.series[key]
	return s != nil && s.n > 0 && !s.hole && s.newest().OpenTime+2*key.Interval.Milliseconds() > now.UnixMilli()
}

// append appends the known candles that opened at or after from to dst. It reports false,
// and appends nothing, if there may be others.
func (r *Recent) append(key service.Key, from int64, dst *levels.Candles) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.series[key]
	if s == nil || s.n == 0 || s.hole || s.last[2-s.n].OpenTime > from || s.newest().OpenTime < from {
		return false
	}
	length := dst.Len()
	for _, c := range s.last[2-s.n:] {
		if c.OpenTime >= from && dst.Append(c) != nil {
			dst.Truncate(length)
			return false
		}
	}
	return true
}

// learn notes the candles that were fetched, unless newer ones were pushed meanwhile.
func (r *Recent) learn(key service.Key, c *levels.Candles) {
	n := c.Len()
	if n == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.series[key]
	if s == nil {
		return
	}
	s.hole = false
	last, step := c.At(n-1), key.Interval.Milliseconds()
	switch {
	case s.n == 2 && s.last[0] == last, s.n > 0 && *s.newest() == last:
		// the candles pushed before stay
	case s.n > 0 && s.newest().OpenTime == last.OpenTime+step: // pushed after the request
		s.last[0], s.n = last, 2
	case s.n > 0 && s.newest().OpenTime > last.OpenTime:
		s.hole = true
		r.enqueue(s)
	default:
		s.last[1], s.n = last, 1
		if n > 1 && c.At(n-2).OpenTime == last.OpenTime-step {
			s.last[0], s.n = c.At(n-2), 2
		}
	}
}

// Counts returns how many series are live, and how many of them have a candle that is not
// analysed yet.
func (r *Recent) Counts() (series, waiting int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.series), len(r.queue)
}

// wasLive reports whether a series was live when a candle closed.
func (r *Recent) wasLive(key service.Key, asOf time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.series[key]
	return s != nil && asOf.UnixMilli() > s.began
}

// exchange is a service.Exchange that takes the candles of live series from Recent, and
// asks the exchange for what is missing.
type exchange struct {
	service.Exchange
	recent *Recent
}

// Visit implements service.Exchange.
func (x exchange) Visit(symbol string, interval levels.Interval, klines int) service.Visit {
	key := service.Key{Exchange: x.Market().Exchange, Symbol: symbol, Interval: interval}
	return &visit{Visit: x.Exchange.Visit(symbol, interval, klines), exchange: x, key: key}
}

type visit struct {
	service.Visit
	exchange exchange
	key      service.Key
	ask      bool // the exchange, because something is missing
}

// Wait implements service.Visit.
func (v *visit) Wait(ctx context.Context) error {
	if !v.ask {
		now, err := v.exchange.Now(ctx)
		v.ask = err != nil || !v.exchange.recent.current(v.key, now)
	}
	if !v.ask {
		return nil
	}
	return v.Visit.Wait(ctx)
}

// Candles implements service.Visit.
func (v *visit) Candles(ctx context.Context, symbol string, from int64, dst *levels.Candles, buf []byte) error {
	if !v.ask {
		if v.exchange.recent.append(v.key, from, dst) {
			return nil
		}
		v.ask = true
		return service.ErrLater
	}
	err := v.Visit.Candles(ctx, symbol, from, dst, buf)
	if err == nil {
		v.exchange.recent.learn(v.key, dst)
	}
	return err
}

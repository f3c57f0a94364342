// Package live keeps the levels of pairs as fresh as the candles that an exchange pushes:
// a closed candle is analysed as soon as a slot is free.
package live

import (
	"cmp"
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
	order  []*recent // the same, the most important first
	asked  []*recent // of these the exchange is asked after each close, though some are pushed
	queues [3]queue
	prices map[string]*quote // by pair

	onPrice func(symbol string, price float64, at time.Time) // see Config.Price

	// refused holds the series that were not pushed though they were asked for. It is true
	// since the last refusal, and false while they are asked for again.
	refused map[service.Key]bool
	marked  bool // the exchange marks closed candles
	sums    bool // merged candles are known to be those of the exchange

	audited  int // of order, modulo its length
	fetching int // how many goroutines take series out of the queue missing
}

// queue holds series with a candle to analyse, in order of its arrival.
type queue struct {
	series []*recent
	wake   chan struct{} // signalled when one is added
}

// The queues: of series whose candle is known, of those for which the exchange must be
// asked, which may take long, and of those that only lack their newest candle. That one is
// asked for without a slot.
const (
	known = iota
	unknown
	missing
)

// quote is the last price of a pair, which all its series share: the close of the open
// candle that was pushed last, of whichever interval.
type quote struct {
	price float64
	at    int64 // when it was received, Unix ns; 0 if none was
}

// recent is the state of a series.
type recent struct {
	key    service.Key
	pair   service.Pair
	quote  *quote
	last   [2]levels.Candle // closed, one after the other, the newest last
	merge  *merge           // nil unless they are merged from those of a shorter series
	longer []*recent        // the series merged from this one
	n      int8             // how many of last are known
	asks   int8             // how often the exchange was asked for the candle that closed at asked
	queued bool
	busy   bool  // taken out of the queue, and not stored yet
	hole   bool  // candles may be missing: the exchange must be asked
	polled bool  // nothing is pushed
	paused bool  // it will be queued after retryAfter
	failed bool  // the candles up to done cannot be analysed
	asked  int64 // the close up to which the exchange was asked, Unix ms
	began  int64 // when the series became live, Unix ms
	done   int64 // the close of the last candle that is analysed, or cannot be, Unix ms
}

func (s *recent) newest() *levels.Candle { return &s.last[1] }

// closed returns the close of the newest known candle, Unix ms; 0 if none is known.
func (s *recent) closed() int64 {
	if s.n == 0 {
		return 0
	}
	return s.newest().OpenTime + s.key.Interval.Milliseconds()
}

func newRecent(m *metrics) *Recent {
	r := &Recent{metrics: m, series: map[service.Key]*recent{}, refused: map[service.Key]bool{}, marked: true}
	for i := range r.queues {
		r.queues[i].wake = make(chan struct{}, 1)
	}
	return r
}

// member is a series to keep live.
type member struct {
	pair     service.Pair
	interval levels.Interval
	polled   bool // nothing is pushed: the exchange is asked after each close
	// from is the interval of the same pair, earlier among the members, whose candles are
	// merged; "" if they are pushed or polled.
	from levels.Interval
}

// set makes the members the live series, the most important first, and returns how many
// are new, which are queued, and how many are no longer live. now is the exchange's time,
// Unix ms.
func (r *Recent) set(exchange string, members []member, now int64) (added, gone int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, quotes := r.series, r.prices
	r.prices = make(map[string]*quote, len(quotes))
	r.series, r.asked, r.order = make(map[service.Key]*recent, len(members)), nil, make([]*recent, 0, len(members))
	for _, m := range members {
		key := service.Key{Exchange: exchange, Symbol: m.pair.Name, Interval: m.interval}
		s := old[key]
		if s == nil {
			s = &recent{key: key, hole: true, asked: m.interval.Floor(now), asks: 1, began: now}
			added++
		}
		whole, corrected := s.pair.Whole, s.pair.Corrected
		s.pair, s.polled = m.pair, m.polled || r.refused[key]
		s.pair.Whole, s.pair.Corrected = whole, corrected
		s.longer = s.longer[:0]
		if shorter := r.series[service.Key{Exchange: exchange, Symbol: m.pair.Name, Interval: m.from}]; shorter == nil {
			s.merge = nil
		} else {
			if shorter.longer = append(shorter.longer, s); s.merge == nil {
				s.merge = new(merge)
			}
			s.merge.sums = r.sums
		}
		if s.quote = r.prices[m.pair.Name]; s.quote == nil {
			s.quote = cmp.Or(quotes[m.pair.Name], new(quote))
			r.prices[m.pair.Name] = s.quote
		}
		r.series[key] = s
		r.order = append(r.order, s)
		if s.merge != nil || s.polled || !r.marked {
			r.asked = append(r.asked, s)
		}
		if old[key] == nil {
			r.enqueue(s)
		}
	}
	for i := range r.queues {
		q := &r.queues[i]
		q.series = slices.DeleteFunc(q.series, func(s *recent) bool { return r.series[s.key] == nil })
	}
	return added, len(old) + added - len(r.series)
}

// Refused makes the exchange be asked for the candles of a series that it does not push. It
// reports whether this is the first refusal.
func (r *Recent) Refused(key service.Key) (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, known := r.refused[key]
	r.refused[key] = true
	if s := r.series[key]; s != nil && !s.polled {
		s.polled = true
		if r.marked && s.merge == nil {
			r.asked = append(r.asked, s)
		}
	}
	return !known
}

// retry must be called before the feed is asked again for all series: those that it refused
// before count as pushed until it refuses them again.
func (r *Recent) retry() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.refused {
		r.refused[key] = false
	}
}

// enqueue queues s once.
func (r *Recent) enqueue(s *recent) {
	if s.queued {
		return
	}
	s.queued = true
	r.queues[s.place()].add(s)
}

// place returns the queue of a series.
func (s *recent) place() int {
	switch {
	case s.n > 0 && !s.hole:
		return known
	case s.n > 0 && s.done >= s.closed() && s.asked <= s.closed()+s.key.Interval.Milliseconds() && !s.pair.Whole && s.pair.Corrected == 0:
		return missing
	}
	return unknown
}

func (q *queue) add(s *recent) {
	q.series = append(q.series, s)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Candle notes the state of a candle that was pushed.
func (r *Recent) Candle(key service.Key, c levels.Candle, closed bool, received time.Time) {
	if r.candle(key, c, closed, received) && r.onPrice != nil {
		r.onPrice(key.Symbol, c.Close, received)
	}
}

// candle does the work of Candle. It reports whether the price of the pair changed.
func (r *Recent) candle(key service.Key, c levels.Candle, closed bool, received time.Time) (moved bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.series[key]
	if s == nil {
		return false
	}
	if closed {
		r.closed(s, c, received)
		return false
	}
	newest := s.newest()
	if at := received.UnixNano(); at > s.quote.at && (s.n == 0 || c.OpenTime > newest.OpenTime) {
		moved = c.Close != s.quote.price
		*s.quote = quote{c.Close, at}
	}
	// A candle whose predecessor was not pushed as closed shows a hole.
	if s.n > 0 && c.OpenTime > newest.OpenTime+key.Interval.Milliseconds() && s.asked < c.OpenTime {
		r.missed(key.Exchange, "frame")
		r.ask(s, c.OpenTime)
	}
	return moved
}

// closed notes a closed candle of s that was pushed, or merged from such. received is zero if it was
// merged from fetched ones.
func (r *Recent) closed(s *recent, c levels.Candle, received time.Time) {
	newest, step := s.newest(), s.key.Interval.Milliseconds()
	switch {
	case s.n > 0 && c == *newest, s.n == 2 && c == s.last[0]:
		// repeated
	case s.n > 0 && c.OpenTime == newest.OpenTime, s.n == 2 && c.OpenTime == s.last[0].OpenTime:
		r.metrics.hole(s.key.Exchange, "corrected")
		r.correct(s, c.OpenTime)
	case s.n > 0 && c.OpenTime < newest.OpenTime:
		// late
	default:
		if !received.IsZero() {
			r.metrics.late("candle", s.key.Exchange, received.Sub(time.UnixMilli(c.OpenTime+step)))
		}
		if s.n > 0 && c.OpenTime == newest.OpenTime+step {
			s.last[0], s.n = *newest, 2
		} else {
			if s.n > 0 { // one between them was lost
				r.missed(s.key.Exchange, "frame")
				s.hole = true
			}
			s.n = 1
		}
		s.last[1] = c
		r.enqueue(s)
		for _, l := range s.longer {
			r.partOf(l, s, c, received)
		}
	}
}

// correct makes the candles of s be fetched from one on that the exchange has corrected, and
// those of longer series that contain it. The old ones may be stored already.
func (r *Recent) correct(s *recent, from int64) {
	if s.pair.Corrected == 0 || from < s.pair.Corrected {
		s.pair.Corrected = from
	}
	s.n, s.hole = 0, true
	r.enqueue(s)
	r.correctLonger(s, from)
}

// missed counts a series for which the exchange must be asked because a closed candle was
// not pushed. Where none is marked as closed, each is asked for: that is a hole only after
// the connection was lost.
func (r *Recent) missed(exchange, reason string) {
	if r.marked || reason == "reconnect" {
		r.metrics.hole(exchange, reason)
	}
}

// Price returns the last price of a live pair that was pushed, and when it was received by
// the clock of this machine; zeros if there is none.
func (r *Recent) Price(symbol string) (price float64, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q := r.prices[symbol]; q != nil && q.at > 0 {
		return q.price, time.Unix(0, q.at)
	}
	return 0, time.Time{}
}

// askAgain is how long after the close of a candle the exchange is asked a second time if
// it did not have it.
const askAgain = 15 * time.Second

// Check queues the pushed series whose last candle closed more than grace before now (Unix
// ms) and was neither pushed nor asked for, and all whose last candle is not analysed by
// then.
func (r *Recent) Check(now int64, grace time.Duration, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.series {
		r.check(s, now, grace, reason)
	}
}

// CheckOf is Check for some series.
func (r *Recent) CheckOf(series []service.Key, now int64, grace time.Duration, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range series {
		if s := r.series[key]; s != nil {
			r.check(s, now, grace, reason)
		}
	}
}

func (r *Recent) check(s *recent, now int64, grace time.Duration, reason string) {
	switch last := s.closeBefore(now - grace.Milliseconds()); {
	case s.queued || s.busy || s.paused:
	case s.closed() < last:
		if !s.polled && s.merge == nil && (r.marked || reason != "silent") && s.due(now, last) {
			r.missed(s.key.Exchange, reason)
			r.ask(s, last)
		}
	case s.closed() == last && s.done < last && s.n > 0:
		r.enqueue(s) // for example fetched for a request that stores nothing
	}
}

// Poll queues at most n of the series that must be asked for, whose last candle closed more than grace before now
// (Unix ms) and was not asked for, and returns how many.
func (r *Recent) Poll(now int64, grace time.Duration, n int) (queued int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.asked {
		if queued == n {
			break
		}
		if last := s.closeBefore(now - grace.Milliseconds()); s.closed() < last && (s.merge == nil || s.merge.wanted >= last) && !s.queued && !s.busy && s.due(now, last) {
			r.ask(s, last)
			queued++
		}
	}
	return queued
}

// closeBefore returns when the last candle of the series closed before a time, Unix ms.
func (s *recent) closeBefore(before int64) int64 {
	return s.key.Interval.Floor(before)
}

// due reports whether the exchange must be asked for the candle that closed at last: once,
// and once more if it did not have it.
func (s *recent) due(now, last int64) bool {
	return s.asked < last || s.asked == last && s.asks == 1 && now >= last+askAgain.Milliseconds()
}

// ask queues a series for which the exchange must be asked.
func (r *Recent) ask(s *recent, last int64) {
	if s.asked < last {
		s.asked, s.asks = last, 0
	}
	s.asks++
	s.hole = true
	r.enqueue(s)
}

// next takes the first series of an interval out of a queue; nil if there is none.
func (r *Recent) next(of int, i levels.Interval) *recent {
	r.mu.Lock()
	defer r.mu.Unlock()
	q := &r.queues[of]
	for k := 0; k < len(q.series); k++ {
		s := q.series[k]
		if s.key.Interval != i {
			continue
		}
		q.series = slices.Delete(q.series, k, k+1)
		if at := s.place(); of == known && at != known { // since it was queued
			r.queues[at].add(s)
			k--
			continue
		}
		s.queued, s.busy = false, true
		return s
	}
	return nil
}

// fetch returns how many more goroutines shall take series out of the queue missing, if
// there are to be at most that many. Each calls nextMissing until that returns false.
func (r *Recent) fetch(most int) (more int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	more = max(0, min(len(r.queues[missing].series), most-r.fetching))
	r.fetching += more
	return more
}

// nextMissing takes the first series out of the queue missing, and returns the open time of
// its newest known candle.
func (r *Recent) nextMissing() (key service.Key, newest int64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q := &r.queues[missing]
	for len(q.series) > 0 {
		s := q.series[0]
		q.series = slices.Delete(q.series, 0, 1)
		if s.place() != missing { // since it was queued
			r.queues[s.place()].add(s)
			continue
		}
		s.queued, s.busy = false, true
		return s.key, s.newest().OpenTime, true
	}
	r.fetching--
	return service.Key{}, 0, false
}

// fetched notes the candles that were fetched of a series from its newest known one on, and
// queues the series if one is not analysed yet. If the known one is different there, all
// is fetched by the analysis.
func (r *Recent) fetched(key service.Key, c *levels.Candles) {
	r.mu.Lock()
	s := r.series[key]
	same := s != nil && s.n > 0 && c.Len() > 0 && (c.At(0) == *s.newest() || s.n == 2 && c.At(0) == s.last[0])
	if s != nil && !same {
		r.changed(s, c)
		s.n, s.busy = 0, false
		r.enqueue(s)
	}
	r.mu.Unlock()
	if !same {
		return
	}
	r.learn(key, c)
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.busy = false; s.n > 0 && s.done < s.closed() && !s.paused {
		r.enqueue(s)
	}
}

// waiting returns the interval of the first series in a queue; "" if it is empty.
func (r *Recent) waiting(of int) levels.Interval {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q := r.queues[of].series; len(q) > 0 {
		return q[0].key.Interval
	}
	return ""
}

// stored notes that the analysis of the candles up to asOf (Unix ms) is stored. It reports whether the series was live when the last of them closed.
func (r *Recent) stored(key service.Key, asOf int64) (live bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.series[key]
	if s == nil {
		return false
	}
	s.done, s.busy, s.failed = max(s.done, asOf), false, false
	if !s.queued { // otherwise they may have been set since
		s.pair.Whole, s.pair.Corrected = false, 0
	}
	return asOf > s.began
}

// skip notes that the present candles of a series cannot be analysed.
func (r *Recent) skip(key service.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.series[key]; s != nil {
		s.done, s.busy, s.failed = max(s.done, s.closed()), false, true
	}
}

// fresh reports whether the last candle that closed by now is analysed.
func (r *Recent) fresh(key service.Key, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.series[key]
	return s != nil && !s.hole && !s.failed && s.n > 0 && s.done >= s.closed() && s.closed()+key.Interval.Milliseconds() > now.UnixMilli()
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
	r.changed(s, c)
	if s.merge != nil {
		s.merge.prove(c)
	}
	last, step := c.At(n-1), key.Interval.Milliseconds()
	switch {
	case s.n == 2 && s.last[0] == last, s.n > 0 && *s.newest() == last:
		// the candles pushed before stay
	case s.n > 0 && s.newest().OpenTime == last.OpenTime+step: // pushed after the request
		s.last[0], s.n = last, 2
	case s.n > 0 && s.newest().OpenTime > last.OpenTime: // its responses are behind its feed
		s.hole, s.paused = true, true
		time.AfterFunc(retryAfter, func() { r.again(key) })
		return
	default:
		s.last[1], s.n = last, 1
		if n > 1 && c.At(n-2).OpenTime == last.OpenTime-step {
			s.last[0], s.n = c.At(n-2), 2
		}
	}
	r.partsOf(s, c)
}

// Counts returns how many series are live, how many of them are polled, how many merged,
// and how many have a candle that is not analysed yet.
func (r *Recent) Counts() (series, polled, merged, waiting int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.order {
		switch {
		case s.merge != nil && !s.merge.differs:
			merged++
		case s.merge != nil || s.polled:
			polled++
		}
	}
	for i := range r.queues {
		waiting += len(r.queues[i].series)
	}
	return len(r.series), polled, merged, waiting
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

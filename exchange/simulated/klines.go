package simulated

import (
	"math"
	"slices"
	"sync"
	"time"
)

// quiet is what a venue answers for a candle without trades.
type quiet uint8

const (
	quietFlat   quiet = iota // a flat row, and none while the market is down
	quietAbsent              // no row
	quietFilled              // a flat row, even while the market is down
)

// form is how an endpoint answers with klines.
type form struct {
	head func(dst []byte, k *klinesQuery, now int64) []byte // now in Unix ms
	// row appends one row; a price may be nan, which the appenders in decimal.go print.
	row  func(dst []byte, k *klinesQuery, c *candle, forming bool) []byte
	tail func(dst []byte, k *klinesQuery, s summary, now int64) []byte
	// columns, if not nil, appends all rows instead of row, column by column.
	columns func(dst []byte, k *klinesQuery, all []candle) []byte

	descending bool // newest first
	closedOnly bool // without the forming candle
	contains   bool // a start inside a candle also selects that candle
	history    int  // only so many closed candles exist; 0 is all
	quiet      quiet
}

// klinesQuery is one request for klines, checked, in the same terms for every venue.
type klinesQuery struct {
	form       *form
	pair       *pair
	iv         interval
	start, end int64 // open times in Unix ms, both inclusive
	hasStart   bool
	limit      int
	newest     bool // of more than limit rows the newest; always without a start
}

// swap reports whether the query is for a contract.
func (k *klinesQuery) swap() bool { return k.pair.swap }

// latestTime bounds times in milliseconds, so that arithmetic cannot overflow.
const latestTime = 253_402_300_799_999

// summary describes the rows that were written.
type summary struct {
	rows      int
	committed int64 // open time of the newest closed row in Unix seconds, 0 without
	closed    bool  // no row can change any more
}

// history is where the candles of a pair come from.
type history interface {
	// candles calls emit for the candles of iv in s, oldest first, until it returns false.
	candles(iv interval, s span, emit func(*candle) bool)
	// count returns the number of candles of iv that open from first to last, for a pair
	// that has data in life.
	count(iv interval, first, last int64, life span) int
	// sum returns s as one candle; ok is false without any data.
	sum(s span) (c candle, ok bool)
	// price returns the last price up to t, in ticks.
	price(t int64) int64
}

// until returns the end of p's data, up to the current second.
func (p *pair) until(now int64) span { return span{p.life.from, min(p.life.to, now+1)} }

// page is the part of a pair's history for a query.
type page struct {
	span              // from the first to the end of the last candle, as far as there is data
	first, last int64 // open times; first > last if empty
}

// resolve finds the page of k, now in Unix seconds.
func (m *market) resolve(k *klinesQuery, now int64) page {
	life := k.pair.until(now)
	if life.from >= life.to {
		return page{first: 1}
	}
	f := k.form
	oldest, newest := k.iv.floor(life.from), k.iv.floor(life.to-1)
	if f.history > 0 {
		oldest = max(oldest, k.iv.back(newest, f.history))
	}
	if f.closedOnly && k.iv.next(newest) > now {
		newest = k.iv.back(newest, 1)
	}
	p := page{first: oldest, last: min(newest, k.iv.floor(floorDiv(k.end, 1000)))}
	if k.hasStart {
		start := k.iv.ceil(floorDiv(k.start+999, 1000))
		if f.contains {
			start = k.iv.floor(floorDiv(k.start, 1000))
		}
		p.first = max(oldest, start)
	}
	if k.newest || !k.hasStart {
		// The newest candles: extend back by the number of missing ones.
		for n := k.limit - 1; ; {
			first := k.iv.back(p.last, n)
			if first <= p.first {
				break
			}
			got := k.count(first, p.last, life)
			if got >= k.limit {
				p.first = first
				break
			}
			n += k.limit - got
		}
	}
	p.span = span{max(life.from, p.first), min(life.to, k.iv.next(p.last))}
	return p
}

// count returns the number of rows of k from open first to open last.
func (k *klinesQuery) count(first, last int64, life span) int {
	switch k.form.quiet {
	case quietAbsent:
		n := 0
		k.pair.history.candles(k.iv, span{first, min(life.to, k.iv.next(last))}, func(c *candle) bool {
			if c.trades > 0 {
				n++
			}
			return true
		})
		return n
	case quietFilled:
		return k.iv.slots(first, last)
	}
	return k.pair.history.count(k.iv, first, last, life)
}

// candles calls emit for the candles of a page, oldest first, until it returns false.
// Those without trades are what the venue makes of them.
func (k *klinesQuery) candles(p page, emit func(*candle) bool) {
	if k.form.quiet != quietFilled {
		k.pair.history.candles(k.iv, p.span, emit)
		return
	}
	price := k.pair.history.price(p.span.from - 1)
	next, more := p.first, true
	fill := func(to int64) bool { // up to but not including to
		for ; next < to && more; next = k.iv.next(next) {
			more = emit(&candle{open: next, o: price, h: price, l: price, c: price})
		}
		return more
	}
	k.pair.history.candles(k.iv, p.span, func(c *candle) bool {
		if fill(c.open) {
			price, next = c.c, k.iv.next(c.open)
			more = emit(c)
		}
		return more
	})
	fill(k.iv.next(p.last))
}

var candlePages = sync.Pool{New: func() any { return new([]candle) }}

// rows writes the rows of a page. spoil, which may be nil, changes the candles of the
// page before, oldest first. now is in Unix seconds.
func (k *klinesQuery) rows(o *out, p page, now int64, spoil func([]candle) []candle) (s summary) {
	s.closed = k.iv.next(p.last) <= min(now, k.pair.life.to)
	if p.first > p.last {
		return s
	}
	put := func(c *candle) bool {
		if c.trades == 0 && k.form.quiet == quietAbsent {
			return true
		}
		if s.rows > 0 {
			o.buf = append(o.buf, ',')
		}
		s.rows++
		closed := k.iv.next(c.open) <= now
		if closed {
			s.committed = max(s.committed, c.open)
		}
		o.buf = k.form.row(o.buf, k, c, !closed)
		o.more()
		return s.rows < k.limit
	}
	if spoil == nil && !k.form.descending && k.form.columns == nil {
		k.candles(p, put)
		return s
	}
	buffer := candlePages.Get().(*[]candle)
	all := (*buffer)[:0]
	k.candles(p, func(c *candle) bool {
		if c.trades > 0 || k.form.quiet != quietAbsent {
			all = append(all, *c)
		}
		return len(all) < k.limit
	})
	if spoil != nil {
		all = spoil(all)
	}
	if k.form.descending {
		slices.Reverse(all)
	}
	if k.form.columns != nil {
		s.rows, o.buf = len(all), k.form.columns(o.buf, k, all)
	} else {
		for i := range all {
			put(&all[i])
		}
	}
	*buffer = all
	candlePages.Put(buffer)
	return s
}

// klines writes the response to k, now in Unix ms, and reports whether all of its rows
// are closed.
func (k *klinesQuery) write(o *out, p page, now int64, spoil func([]candle) []candle) (closed bool) {
	o.buf = k.form.head(o.buf, k, now)
	s := k.rows(o, p, now/1000, spoil)
	o.buf = k.form.tail(o.buf, k, s, now)
	return s.closed
}

// madeUp is the history of a pair of the made-up market.
type madeUp struct {
	market *market
	pair   *pair
}

func (h *madeUp) candles(iv interval, s span, emit func(*candle) bool) {
	w := walk{path: &h.pair.path, iv: iv, span: s, limit: math.MaxInt, holes: h.market.holes(nil, h.pair, s)}
	w.emit = func(c *candle) {
		if !emit(c) {
			w.limit = w.candles
		}
	}
	w.run()
}

func (h *madeUp) count(iv interval, first, last int64, life span) int {
	holes := h.market.holes(nil, h.pair, span{first, iv.next(last)})
	return iv.slots(first, last) - missing(iv, holes, first, last, life)
}

func (h *madeUp) sum(s span) (c candle, ok bool) {
	w := walk{path: &h.pair.path, span: s, limit: 1, everything: true, holes: h.market.holes(nil, h.pair, s)}
	w.emit = func(sum *candle) { c, ok = *sum, true }
	w.run()
	return c, ok
}

func (h *madeUp) price(t int64) int64 {
	var gaps [4]span
	for _, gap := range h.market.holes(gaps[:0], h.pair, span{t, t + 1}) {
		t = min(t, gap.from-1)
	}
	last := h.pair.path.at(t)
	return ticks(last.close)
}

// lastPrice returns the price of p now, in ticks: the close of its forming candle.
func (p *pair) lastPrice(now time.Time) int64 { return p.history.price(p.until(now.Unix()).to - 1) }

// lastDay returns the last 24 hours of p, to the second, as one candle. Without trades,
// or if all of them are in gaps, the last price stays.
func (p *pair) lastDay(now int64) (c candle) {
	s := p.until(now)
	s.from = max(s.from, now+1-day)
	got := false
	if s.from < s.to {
		c, got = p.history.sum(s)
	}
	if !got && p.life.from <= now {
		c.o = p.history.price(min(p.life.to, now+1) - 1)
		c.h, c.l, c.c = c.o, c.o, c.o
	}
	return c
}

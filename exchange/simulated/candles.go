package simulated

import (
	"math"
	"slices"
	"time"
)

// interval is a candle length with a venue's name for it. Candles open at multiples of
// it from the Unix epoch plus offset.
type interval struct {
	name    string
	seconds int64 // 0 for calendar months
	offset  int64
	months  int
}

const (
	minute = 60
	hour   = 3600
	week   = 7 * day
)

// every is an interval of so many seconds, opening at multiples of them, UTC. A week
// opens on Mondays.
func every(name string, seconds int64) interval {
	iv := interval{name: name, seconds: seconds}
	if seconds == week {
		iv.offset = 4 * day
	}
	return iv
}

// monthly is an interval of calendar months, UTC.
func monthly(name string, months int) interval { return interval{name: name, months: months} }

// shifted returns iv opening so many seconds later: -8*hour for midnight at UTC+8.
func (iv interval) shifted(seconds int64) interval {
	iv.offset += seconds
	return iv
}

// floor returns the open time of the candle that contains t, in Unix seconds.
func (iv interval) floor(t int64) int64 {
	if iv.seconds == 0 {
		at := time.Unix(t-iv.offset, 0).UTC()
		month := at.Year()*12 + int(at.Month()) - 1
		return time.Date(0, time.Month(month-month%iv.months+1), 1, 0, 0, 0, 0, time.UTC).Unix() + iv.offset
	}
	return floorDiv(t-iv.offset, iv.seconds)*iv.seconds + iv.offset
}

// next returns the open time after open.
func (iv interval) next(open int64) int64 {
	if iv.seconds == 0 {
		return iv.back(open, -1)
	}
	return open + iv.seconds
}

// ceil returns the first open time at or after t.
func (iv interval) ceil(t int64) int64 {
	open := iv.floor(t)
	if open < t {
		open = iv.next(open)
	}
	return open
}

// back returns the open time n candles before open.
func (iv interval) back(open int64, n int) int64 {
	if iv.seconds == 0 {
		return time.Unix(open-iv.offset, 0).UTC().AddDate(0, -n*iv.months, 0).Unix() + iv.offset
	}
	return open - int64(n)*iv.seconds
}

// slots returns the number of candles from open first to open last.
func (iv interval) slots(first, last int64) int {
	if iv.seconds == 0 {
		a, b := time.Unix(first-iv.offset, 0).UTC(), time.Unix(last-iv.offset, 0).UTC()
		return ((b.Year()-a.Year())*12+int(b.Month()-a.Month()))/iv.months + 1
	}
	return int((last-first)/iv.seconds) + 1
}

// candle is the sum of one interval. Prices are in ticks, volumes in lot steps.
type candle struct {
	open                  int64 // Unix seconds
	o, h, l, c            int64
	volume, taker, trades int64
}

// span is a stretch of time, [from, to) in Unix seconds.
type span struct{ from, to int64 }

// ticks converts a log price to ticks, at least one. Rounding is monotonic, so it
// preserves order.
func ticks(x float64) int64 { return max(1, int64(math.Exp(x)+0.5)) }

// walk adds a pair's path up to candles, in the order of time.
type walk struct {
	path *path
	iv   interval
	span
	holes []span // sorted, disjoint: no trades there

	sum        node // sum of the current candle so far
	began      bool
	open, end  int64 // of that candle
	lastX      float64
	lastTicks  int64
	candles    int
	limit      int
	emit       func(*candle)
	out        candle
	everything bool // one candle for the whole span, for any interval
}

// run emits at most limit candles.
func (w *walk) run() {
	w.end = math.MinInt64
	if w.everything {
		w.open, w.end = w.from, w.to
	}
	for t := w.from; t < w.to && w.candles < w.limit; {
		root := w.path.root(t)
		w.visit(&root)
		t = root.start + root.length
	}
	if w.candles < w.limit {
		w.flush()
	}
}

func (w *walk) visit(n *node) {
	from, to := n.start, n.start+n.length
	if to <= w.from || from >= w.to || w.candles == w.limit {
		return
	}
	whole := from >= w.from && to <= w.to
	for len(w.holes) > 0 && w.holes[0].to <= from {
		w.holes = w.holes[1:]
	}
	if len(w.holes) > 0 && w.holes[0].from < to {
		if w.holes[0].from <= from && to <= w.holes[0].to {
			return
		}
		whole = false
	}
	if whole {
		if from >= w.end {
			w.flush()
			if w.candles == w.limit {
				return
			}
			w.open = w.iv.floor(from)
			w.end = w.iv.next(w.open)
		}
		if to <= w.end {
			w.add(n)
			return
		}
	}
	var l, r node
	w.path.split(n, &l, &r)
	w.visit(&l)
	w.visit(&r)
}

func (w *walk) add(n *node) {
	if !w.began {
		w.sum, w.began = *n, true
		return
	}
	w.sum.close = n.close
	w.sum.high = max(w.sum.high, n.high)
	w.sum.low = min(w.sum.low, n.low)
	w.sum.trades += n.trades
	w.sum.volume += n.volume
	w.sum.taker += n.taker
}

func (w *walk) flush() {
	if !w.began {
		return
	}
	w.began = false
	s := &w.sum
	c := &w.out
	c.open = w.open
	// a candle opens at the close of the previous one, unless there is a gap
	c.o = w.lastTicks
	if c.o == 0 || s.open != w.lastX {
		c.o = ticks(s.open)
	}
	c.c = ticks(s.close)
	w.lastX, w.lastTicks = s.close, c.c
	c.h, c.l = c.o, c.o
	if s.high != s.low {
		c.h, c.l = ticks(s.high), ticks(s.low)
	}
	c.volume, c.taker, c.trades = s.volume, s.taker, s.trades
	w.candles++
	w.emit(c)
}

// A market closes for maintenance about every ten weeks, for one to five
// hours; some pairs stop about every five weeks, for ten minutes to six hours. There
// is one gap in each period, at a random time.
const (
	marketPeriod, marketShortest, marketLongest = 75 * day, 3600, 5 * 3600
	pairPeriod, pairShortest, pairLongest       = 35 * day, 600, 6 * 3600
)

// appendHoles appends the gaps of one hash in [from, to).
func appendHoles(dst []span, hash uint64, s span, period, shortest, longest int64) []span {
	for k := floorDiv(s.from-longest, period); k*period < s.to; k++ {
		b := bits(mix(hash ^ mix(uint64(k)+saltHole)))
		length := (shortest + int64(b.take(20))*(longest-shortest)>>20) / 60 * 60
		from := k*period + int64(b.take(30))*(period-longest)>>30/60*60
		if from < s.to && s.from < from+length {
			dst = append(dst, span{from, from + length})
		}
	}
	return dst
}

// holes appends the gaps of p in s, sorted and disjoint.
func (m *market) holes(dst []span, p *pair, s span) []span {
	dst = appendHoles(dst, m.hash, s, marketPeriod, marketShortest, marketLongest)
	if p.Holes {
		dst = appendHoles(dst, p.path.hash, s, pairPeriod, pairShortest, pairLongest)
		slices.SortFunc(dst, func(a, b span) int { return int(a.from - b.from) })
		apart := dst[:0]
		for _, h := range dst {
			if n := len(apart); n > 0 && h.from <= apart[n-1].to {
				apart[n-1].to = max(apart[n-1].to, h.to)
			} else {
				apart = append(apart, h)
			}
		}
		dst = apart
	}
	return dst
}

// missing returns the number of candles from open first to open last that lie entirely
// in gaps, for a pair that has data in all of life except the gaps.
func missing(iv interval, holes []span, first, last int64, life span) int {
	if iv.seconds == 0 {
		return 0 // no gap is a month long
	}
	n := int64(0)
	for _, h := range holes {
		from, to := iv.ceil(h.from), iv.floor(h.to)
		if h.from <= life.from {
			from = first
		}
		if h.to >= life.to {
			to = iv.next(last)
		}
		n += max(0, min(to, iv.next(last))-max(from, first)) / iv.seconds
	}
	return int(n)
}

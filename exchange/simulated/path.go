package simulated

import (
	"math"
	"sync"
)

// The price of a pair is one path through time, split recursively in two: a root
// of 1,024 days, halves of it, days, hours, minutes, down to the second. A node
// has the start and end of the price, its extremes and its trades; its two parts
// are drawn from its own hash so that together they equal the whole. So a candle
// of any interval, at any time, costs one descent, a run of n candles about n
// splits, and candles of all intervals agree: the day's high is the high of one of
// its minutes.
//
// The end points of the roots are drawn around the pair's base price and not
// from each other, so a price moves for months, returns within years, and reaches
// neither zero nor infinity. Between them it is a Brownian
// bridge (variance v·w·(1−w) at the share w of the variance v) whose variance
// is split unevenly at each cut: the cascade of Mandelbrot, Fisher and Calvet
// (A Multifractal Model of Asset Returns, 1997), from which come fat tails and
// volatility that clusters on every scale. The extremes of a bridge from a to b
// follow (a+b±√((b−a)²+2vE))/2 with E exponential; the part that would get
// further gets the extreme of the whole.

const (
	day         = 86_400
	rootSeconds = 1_024 * day

	// fewTrades is the minimum of a stretch with trades, enough for an open, a high,
	// a low and a close; a stretch is not split below twice that.
	fewTrades = 4
)

// node is one stretch of a pair's path. Prices are natural logarithms of a
// number of ticks.
type node struct {
	start, length          int64 // Unix seconds, seconds
	open, close, low, high float64
	variance               float64 // of the path over the stretch
	trades, volume, taker  int64   // volumes in lot steps; taker is part of volume
	hash                   uint64  // the random source of this node
}

// path holds the parameters of a pair's price.
type path struct {
	hash   uint64
	base   float64 // log of ticks the price returns to
	spread float64 // standard deviation of the roots' ends around base
	quiet  float64 // probability that half of a day, or of less, has no trade
	trades float64 // a day
	lot    float64 // mean volume of a trade, in lot steps
}

// draw holds quantiles of the normal and the exponential distribution, cut into
// equal shares: an index of random bits draws from them.
type draw struct{ normal, wait [1 << drawBits]float64 }

const drawBits = 10

var draws = sync.OnceValue(func() *draw {
	d := new(draw)
	for i := range d.normal {
		u := (float64(i) + 0.5) / float64(len(d.normal))
		d.normal[i] = math.Sqrt2 * math.Erfinv(2*u-1)
		d.wait[i] = -math.Log(u)
	}
	return d
})

// bits returns the bits of one random word.
type bits uint64

func (b *bits) take(n uint) uint64 {
	v := uint64(*b) & (1<<n - 1)
	*b >>= n
	return v
}

// share returns a uniform value in [0, 1), in steps of 2^-12.
func (b *bits) share() float64 { return float64(b.take(12)) / (1 << 12) }

func (d *draw) gauss(b *bits) float64 { return d.normal[b.take(drawBits)] }

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

const (
	saltAnchor = 0x616e63686f72 + iota
	saltRoot
	saltRight
	saltMore
	saltList
	saltHole
	saltFault
	saltJitter
)

// hashString folds a string into a hash (FNV-1a, then mixed).
func hashString(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return mix(h)
}

// floorDiv rounds towards minus infinity.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func (p *path) anchor(k int64) float64 {
	b := bits(mix(p.hash ^ mix(uint64(k)+saltAnchor)))
	return p.base + p.spread*draws().gauss(&b)
}

// root returns the stretch of 1,024 days that contains t.
func (p *path) root(t int64) node {
	k := floorDiv(t, rootSeconds)
	d := draws()
	n := node{
		start: k * rootSeconds, length: rootSeconds,
		open: p.anchor(k), close: p.anchor(k + 1),
		// mean squared difference of the ends of a root
		variance: 2 * p.spread * p.spread,
		hash:     mix(p.hash ^ mix(uint64(k)+saltRoot)),
	}
	b := bits(mix(n.hash ^ saltMore))
	n.high = peak(n.open, n.close, n.variance, d.wait[b.take(drawBits)])
	n.low = -peak(-n.open, -n.close, n.variance, d.wait[b.take(drawBits)])
	n.trades = 1 + int64(p.trades*(rootSeconds/day)*(0.7+0.6*b.share()))
	n.volume = n.trades + int64(float64(n.trades)*p.lot)
	n.taker = int64(float64(n.volume) * (0.47 + 0.06*b.share()))
	return n
}

// peak returns the maximum of a bridge from a to b, given an exponential draw.
func peak(a, b, variance, wait float64) float64 {
	return (a + b + math.Sqrt((b-a)*(b-a)+2*variance*wait)) / 2
}

// cut returns where a stretch is split, in seconds from its start: in halves while
// the halves are whole hours, then into hours, quarters, five minutes, minutes and
// seconds.
func cut(length int64) int64 {
	switch length {
	case 3 * 3600, 900, 180, 15, 3:
		return length / 3
	case 5:
		return 2
	case 300:
		return 120
	}
	return length / 2
}

// split draws the two parts of n. Together they equal n: the inner ends meet, one part
// reaches the high and one the low, and volumes and trades add up.
func (p *path) split(n, l, r *node) {
	d := draws()
	at := cut(n.length)
	share := float64(at) / float64(n.length)
	first, second := bits(mix(n.hash)), bits(mix(n.hash^saltMore))

	// The share of the variance, and from it that of the trades: the part that moves
	// more has more trades.
	w := share * (0.5 + first.share())
	part := w * (0.92 + 0.16*first.share())
	trades := int64(part*float64(n.trades) + first.share())
	sparse := first.share()
	switch {
	case n.trades < 2*fewTrades, n.length <= day && sparse < p.quiet:
		trades = 0
		if first.share() < share {
			trades = n.trades
		}
	case trades < fewTrades:
		trades = 0
	case n.trades-trades < fewTrades:
		trades = n.trades
	}
	if trades == 0 || trades == n.trades {
		// All trades are in one part; in the other the price does not move.
		*l, *r = *n, *n
		if trades == 0 {
			l.rest(n.open)
		} else {
			r.rest(n.close)
		}
	} else {
		l.trades, r.trades = trades, n.trades-trades
		volume := int64(float64(n.volume) * float64(trades) / float64(n.trades) * (0.9 + 0.2*second.share()))
		l.volume = min(max(volume, l.trades), n.volume-r.trades)
		r.volume = n.volume - l.volume
		taker := int64(float64(n.taker) * float64(l.volume) / float64(n.volume) * (0.95 + 0.1*second.share()))
		l.taker = min(max(taker, n.taker-r.volume, 0), n.taker, l.volume)
		r.taker = n.taker - l.taker
		p.bend(n, l, r, w, d, second)
	}
	l.start, l.length, l.hash = n.start, at, mix(n.hash^saltRoot)
	r.start, r.length, r.hash = n.start+at, n.length-at, mix(n.hash^saltRight)
}

// rest makes n a stretch without trades.
func (n *node) rest(price float64) {
	n.open, n.close, n.low, n.high = price, price, price, price
	n.variance, n.trades, n.volume, n.taker = 0, 0, 0, 0
}

// bend draws the prices of the two parts; the first has the share w of the variance.
func (p *path) bend(n, l, r *node, w float64, d *draw, b bits) {
	v := n.variance
	l.variance, r.variance = v*w, v*(1-w)
	mid := n.open + (n.close-n.open)*w + math.Sqrt(v*w*(1-w))*d.gauss(&b)
	// reflected at the extremes, which are given
	if mid > n.high {
		mid = 2*n.high - mid
	}
	if mid < n.low {
		mid = 2*n.low - mid
	}
	mid = min(max(mid, n.low), n.high)

	// One number determines a part's excursions in both directions; the exponential
	// of the other side of the distribution is as good as an independent one.
	i, j := b.take(drawBits), b.take(drawBits)
	const mask = 1<<drawBits - 1
	lh, rh := peak(n.open, mid, l.variance, d.wait[i]), peak(mid, n.close, r.variance, d.wait[j])
	ll, rl := -peak(-n.open, -mid, l.variance, d.wait[mask-i]), -peak(-mid, -n.close, r.variance, d.wait[mask-j])

	// The extremes are given too. If the parts would not reach one, the price between
	// them is moved that way, because otherwise the whole excursion would be in a
	// single second.
	up, down := n.high-max(lh, rh), min(ll, rl)-n.low
	shift := 0.0
	if up > down && up > 0 {
		shift = min(0.7*up, n.high-mid)
	} else if down > 0 {
		shift = -min(0.7*down, mid-n.low)
	}
	mid += shift
	l.open, l.close, r.open, r.close = n.open, mid, mid, n.close
	l.high = min(max(lh+shift/2, l.open, l.close), n.high)
	r.high = min(max(rh+shift/2, r.open, r.close), n.high)
	l.low = max(min(ll+shift/2, l.open, l.close), n.low)
	r.low = max(min(rl+shift/2, r.open, r.close), n.low)
	if l.high >= r.high {
		l.high = n.high
	} else {
		r.high = n.high
	}
	if l.low <= r.low {
		l.low = n.low
	} else {
		r.low = n.low
	}
}

// at returns the second t of a path.
func (p *path) at(t int64) node {
	n := p.root(t)
	for n.length > 1 {
		var l, r node
		p.split(&n, &l, &r)
		n = l
		if t >= r.start {
			n = r
		}
	}
	return n
}

package levels

import (
	"math"
	"slices"
)

// A test is an approach of price to a level, judged by the definition of Moment.Judge
// with the ATR at the close before it: the touch line is a quarter of that ATR before
// the level, and the test has held when price is back by one ATR from that line, and
// broken the level when it is through by one. After a test the next one counts only
// once price has left the level by leaveATR, so price that moves about a level tests
// it once.

// leaveATR is how far price must be from a level before another test of it counts: one
// ATR beyond the touch line, which is where a test has held.
const leaveATR = frontRun + race

// RecentTests is the number of decided tests in Level.Recent.
const RecentTests = 4

// State is what tests say of a level in its present role. Highs and lows decide tests, not
// closes: a wick that goes through a level by one ATR from the touch line breaks it, even if
// the candle closes back; a shorter one does not. Price also passes a level without a decided
// test: when a test stays undecided and price leaves on the other side, or when the last
// close is beyond it.
type State uint8

// The states.
const (
	Untested  State = iota // no test in its present role is decided, and price has not passed it
	Stood                  // held at least once since it took its present role
	Crossed                // price passed it into its present role, and no test since is decided
	Reclaimed              // passed, and passed back before it held from the far side
	Unjudged               // found by a version that judged no tests; Find never sets it
)

func (s State) String() string {
	return [...]string{"untested", "held", "broken", "reclaimed", "unknown"}[s]
}

// Recent is the outcomes of the last decided tests, at most RecentTests: a one bit for
// each that held, the newest in the lowest bit, below a leading one.
type Recent uint8

// Len returns the number of outcomes.
func (r Recent) Len() int {
	n := 0
	for r > 1 {
		r >>= 1
		n++
	}
	return n
}

// Held returns how many of the outcomes are Held.
func (r Recent) Held() int {
	n := 0
	for ; r > 1; r >>= 1 {
		n += int(r & 1)
	}
	return n
}

// Newest returns outcome i, counted from the newest.
func (r Recent) Newest(i int) Outcome {
	if r>>i&1 == 1 {
		return Held
	}
	return Broke
}

func (r Recent) push(held bool) Recent {
	r = max(r, 1) << 1
	if held {
		r |= 1
	}
	if r >= 1<<(RecentTests+1) {
		r = r&(1<<RecentTests-1) | 1<<RecentTests
	}
	return r
}

// Record is the tests of a level in the candles of an analysis.
type Record struct {
	Tests       uint16 // all, including those that are undecided or pending
	Held, Broke uint16 // decided tests
	// HeldInRole counts the tests that held since the level took its present role. It
	// is positive exactly if State is Stood.
	HeldInRole uint16
	Recent     Recent
	State      State
}

// atrs appends to dst the mean true range of the last hundred candles at the close
// of every candle of c, or of all up to it, if fewer.
func atrs(dst []float64, c *Candles) []float64 {
	n := c.Len()
	high, low, cls := c.High[:n], c.Low[:n], c.Close[:n]
	const share = 1. / atrCandles // applied to each range, so that the sum cannot overflow
	dst = append(slices.Grow(dst[:0], n), (high[0]-low[0])*share)
	for i := 1; i < n; i++ {
		dst = append(dst, (max(high[i], cls[i-1])-min(low[i], cls[i-1]))*share)
	}
	// A window is the end of one block of a hundred and the start of the next, so no
	// range is ever subtracted from a sum: that would leave a rounding error of the
	// greatest range so far.
	var ends [atrCandles + 1]float64
	for block := (n - 1) / atrCandles * atrCandles; block >= 0; block -= atrCandles {
		if block > 0 {
			for k := atrCandles - 1; k > 0; k-- {
				ends[k] = ends[k+1] + dst[block-atrCandles+k]
			}
		}
		sum := 0.0
		for i := block; i < min(block+atrCandles, n); i++ {
			sum += dst[i]
			if dst[i] = sum + ends[i-block+1]; block == 0 {
				dst[i] = min(sum*(atrCandles/float64(i+1)), math.MaxFloat64)
			}
		}
	}
	return dst
}

// stretch is what some consecutive candles reach at most. Where even that does not touch a
// level, none of them does, so a search for the next touch passes over most candles.
type stretch struct {
	low, high float64
	atr       float64 // the greatest at the close before one of the candles
}

// stretchCandles is the number of candles of a stretch.
const stretchCandles = 16

// stretchesOf appends the stretches of c to dst, without the last candles that fill none.
func stretchesOf(dst []stretch, c *Candles, atr []float64) []stretch {
	dst = dst[:0]
	for end := stretchCandles; end <= c.Len(); end += stretchCandles {
		from := end - stretchCandles
		s := stretch{c.Low[from], c.High[from], atr[max(from-1, 0)]}
		for i := from + 1; i < end; i++ {
			s.low, s.high, s.atr = min(s.low, c.Low[i]), max(s.high, c.High[i]), max(s.atr, atr[i-1])
		}
		dst = append(dst, s)
	}
	return dst
}

// trial is one test.
type trial struct {
	start, end int  // candles: that of the touch and the last one seen, which settles a decided test
	above      bool // whether price came from above
	outcome    Outcome
}

// trials finds the tests of the level at price, oldest first.
type trials struct {
	c         *Candles
	atr       []float64 // see atrs
	stretches []stretch // see stretchesOf; without them all candles are looked at
	price     float64
	at        int  // the next candle
	side      int8 // -1 or 1: where price last left the level; 0 before it has
	armed     bool // whether price has left since the last test
}

// next returns the next test; ok is false if there is none.
func (t *trials) next() (x trial, ok bool) {
	n := len(t.c.OpenTime)
	if !t.armed && !t.leave() {
		return x, false
	}
	// low and high are those of a level below the price, or mirrored
	low, atr, p, i := t.c.Low[:n], t.atr[:n], t.price, t.at
	high := t.c.High[:n]
	for i < n {
		end := n
		if k := i / stretchCandles; k < len(t.stretches) {
			end = (k + 1) * stretchCandles
			if s := &t.stretches[k]; t.side > 0 && s.low > p+frontRun*s.atr || t.side < 0 && s.high < p-frontRun*s.atr {
				i = end
				continue
			}
		}
		if t.side > 0 {
			for i < end && low[i] > p+frontRun*atr[i-1] {
				i++
			}
		} else {
			for i < end && high[i] < p-frontRun*atr[i-1] {
				i++
			}
		}
		if i < end {
			break
		}
	}
	if t.at = i; i == n {
		return x, false
	}
	x = trial{start: i, above: t.side > 0}
	t.judge(&x)
	t.at, t.armed = x.end, false
	if last := t.c.Close[x.end]; x.outcome == Held && last != t.price && (last > t.price) == x.above {
		t.at, t.armed = x.end+1, true // where it held it has left
	}
	return x, true
}

// leave moves past the next candle that is leaveATR away from the level and closes on
// that side; ok is false if there is none.
func (t *trials) leave() (ok bool) {
	n := len(t.c.OpenTime)
	high, low, cls, atr := t.c.High[:n], t.c.Low[:n], t.c.Close[:n], t.atr[:n]
	for i := max(t.at, 1); i < n; i++ {
		far := leaveATR * atr[i-1]
		switch last := cls[i]; {
		case far == 0:
			continue
		case high[i] >= t.price+far && last > t.price:
			t.side = 1
		case low[i] <= t.price-far && last < t.price:
			t.side = -1
		default:
			continue
		}
		t.at, t.armed = i+1, true
		return true
	}
	t.at = n
	return false
}

// judge sets the outcome and the end of x, whose start is known, as Moment.Judge does.
func (t *trials) judge(x *trial) {
	c, a := t.c, t.atr[x.start-1]
	if x.end = x.start; a == 0 {
		x.outcome = Undecided // without a unit of distance
		return
	}
	line := t.price - frontRun*a
	if x.above {
		line = t.price + frontRun*a
	}
	above, below := line+race*a, line-race*a
	over := c.OpenTime[x.start-1] + (1+Horizon)*c.length
	for i := x.start; i < len(c.OpenTime); i++ {
		if c.OpenTime[i] >= over {
			x.outcome = Undecided
			return
		}
		x.end = i
		up, down := c.High[i] >= above, c.Low[i] <= below
		if i == x.start { // the order inside the candle is unknown
			up, down = up && !x.above, down && x.above
		}
		switch {
		case up && down:
			x.outcome = Undecided
		case up || down:
			if x.outcome = Broke; up == x.above {
				x.outcome = Held
			}
		default:
			continue
		}
		return
	}
}

// count adds one to n, unless n is the greatest number.
func count(n *uint16) {
	if *n < math.MaxUint16 {
		*n++
	}
}

// record returns the record of the level at price, in the role, and the open times of the
// candles that began the first and the last test.
func record(price float64, role Role, c *Candles, atr []float64, stretches []stretch) (r Record, first, last int64) {
	t := trials{c: c, atr: atr, stretches: stretches, price: price}
	side, crossed, reclaimed := int8(0), false, false
	cross := func(to int8) {
		if side != 0 {
			reclaimed = crossed && r.HeldInRole == 0
			crossed = true
		}
		side, r.HeldInRole = to, 0
	}
	for x, ok := t.next(); ok; x, ok = t.next() {
		if count(&r.Tests); r.Tests == 1 {
			first = c.OpenTime[x.start]
		}
		last = c.OpenTime[x.start]
		from := int8(-1)
		if x.above {
			from = 1
		}
		if from != side {
			cross(from)
		}
		switch x.outcome {
		case Held:
			count(&r.Held)
			count(&r.HeldInRole)
			r.Recent = r.Recent.push(true)
		case Broke:
			count(&r.Broke)
			r.Recent = r.Recent.push(false)
			cross(-from)
		}
	}
	if t.armed && t.side != side {
		cross(t.side)
	}
	now := int8(1)
	if role == Resistance {
		now = -1
	}
	if now != side {
		cross(now)
	}
	switch {
	case r.HeldInRole > 0:
		r.State = Stood
	case reclaimed:
		r.State = Reclaimed
	case crossed:
		r.State = Crossed
	}
	return r, first, last
}

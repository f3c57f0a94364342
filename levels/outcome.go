package levels

import (
	"math"
	"slices"
)

// The definition of an outcome, as shares of the ATR at the moment of the analysis.
const (
	// frontRun is the distance of the touch line from the level, towards the last
	// price. Orders just before a level may hold it so that it never trades: a test
	// that required a trade at the exact price would miss the levels that hold.
	frontRun = 0.25
	// race is the distance from the touch line that price must move back to hold,
	// or through to break.
	race = 1.0
)

// Moment is the reference for the outcomes of all levels of one analysis.
type Moment struct {
	AsOf      int64   // close time of the last known candle, exclusive, Unix ms
	LastPrice float64 // its close
	ATR       float64 // mean true range of the last 100 candles, price units
}

// MomentOf returns the moment at which the last candle of c closed; the zero Moment
// without candles.
func MomentOf(c *Candles) Moment {
	n := c.Len()
	if n == 0 {
		return Moment{}
	}
	return Moment{AsOf: c.AsOf(), LastPrice: c.Close[n-1], ATR: meanTrueRange(c, n-min(n, atrCandles))}
}

// Outcome is the result for a level within Horizon candles.
type Outcome uint8

// The outcomes. Only Held and Broke are decided.
const (
	Pending   Outcome = iota // not decided, and the candles end before the horizon does
	Untouched                // price did not reach the touch line
	Undecided                // touched; then neither, or both in one candle
	Held                     // back by one ATR from the touch line before it was through by one
	Broke                    // through by one ATR before it was back by one
)

func (o Outcome) String() string {
	return [...]string{"pending", "untouched", "undecided", "held", "broke"}[o]
}

// Verdict is an outcome and the candles that determine it.
type Verdict struct {
	Outcome Outcome
	// Touch and End are indexes into the judged candles: the one that reaches the
	// touch line and the one that settles the outcome; -1 for none.
	Touch, End int
	// Missing is the number of candles of the horizon absent before the outcome.
	// Their prices are unknown: the outcome comes from the candles that exist.
	Missing int
}

// TouchLine returns the price that must be reached for the level at price to count as
// touched: a quarter of the ATR nearer to the last price, though not past it.
func (m Moment) TouchLine(price float64) float64 {
	if price <= m.LastPrice {
		return min(price+frontRun*m.ATR, m.LastPrice)
	}
	return max(price-frontRun*m.ATR, m.LastPrice)
}

// Reach returns the extremes of the candles that Judge uses: a level whose touch line lies
// beyond them is not touched. Without candles the highest is below the lowest.
func (m Moment) Reach(c *Candles) (lowest, highest float64) {
	lowest, highest = math.Inf(1), math.Inf(-1)
	end := m.AsOf + Horizon*c.length
	i, _ := slices.BinarySearch(c.OpenTime, m.AsOf)
	for ; i < len(c.OpenTime) && c.OpenTime[i] < end; i++ {
		lowest, highest = min(lowest, c.Low[i]), max(highest, c.High[i])
	}
	return lowest, highest
}

// Judgement is the outcome of one level as candles arrive: Moment.Judge, one candle at a
// time. While it is pending, Touched is all that it keeps of the candles it has seen.
type Judgement struct {
	Outcome Outcome
	Touched bool

	up           bool  // a resistance
	asOf, end    int64 // the candles that open in this span count
	length       int64
	line, atr    float64
	below, above float64 // a candle between them changes nothing
}

// Judging returns the judgement of a level at price before any candle or, with touched, of
// one that an earlier candle has touched and none has decided. length is that of a candle
// in ms.
func (m Moment) Judging(price float64, length int64, touched bool) Judgement {
	j := Judgement{
		up: price > m.LastPrice, asOf: m.AsOf, end: m.AsOf + Horizon*length, length: length,
		line: m.TouchLine(price), atr: m.ATR, below: math.Inf(-1), above: math.Inf(1),
	}
	switch {
	case touched:
		j.touch()
	case j.up:
		j.above = j.line
	default:
		j.below = j.line
	}
	return j
}

// Next judges the next candle, which opens at open (Unix ms). It ignores a candle that
// opens before the moment, and all candles once the outcome is not Pending.
func (j *Judgement) Next(open int64, high, low float64) {
	if j.Outcome != Pending || open < j.asOf {
		return
	}
	if open < j.end && j.step(high, low) {
		return
	}
	if open+j.length >= j.end {
		j.expire()
	}
}

func (j *Judgement) touch() {
	j.Touched, j.below, j.above = true, j.line-race*j.atr, j.line+race*j.atr
}

// step judges a candle within the horizon and reports whether it settles the outcome.
func (j *Judgement) step(high, low float64) bool {
	if !(low <= j.below || high >= j.above) {
		return false
	}
	return j.settle(high, low)
}

// settle is step for a candle that touches the level or ends the race.
func (j *Judgement) settle(high, low float64) bool {
	touching := !j.Touched
	if touching {
		j.touch()
	}
	// for a support; a resistance is its mirror image
	broke, held := low <= j.below, high >= j.above
	if j.up {
		broke, held = held, broke
	}
	switch held = held && !touching; {
	case broke && held:
		j.Outcome = Undecided
	case broke:
		j.Outcome = Broke
	case held:
		j.Outcome = Held
	}
	return j.Outcome != Pending
}

// expire ends the horizon.
func (j *Judgement) expire() {
	j.Outcome = Untouched
	if j.Touched {
		j.Outcome = Undecided
	}
}

// Judge returns the outcome of a level at price, which is a support at or below the
// last price of the moment and a resistance above it. It uses the candles of c that
// open at or after the moment and within Horizon intervals of it, and ignores all
// others. The ATR must be positive.
//
// A level is touched by the first candle that reaches its touch line. It holds when
// price is back by one ATR from that line before it is through by one, and breaks
// the other way round. The touching candle may break a level but not hold it,
// because the order inside a candle is unknown. A later candle that does both leaves
// the level undecided, as does the end of the horizon.
//
// The horizon is a span of time: missing candles do not extend it. As candles
// arrive, an outcome changes only while it is Pending. Judge does not allocate.
func (m Moment) Judge(price float64, c *Candles) Verdict {
	j := m.Judging(price, c.length, false)
	v := Verdict{Touch: -1, End: -1}
	n := len(c.OpenTime)
	first, _ := slices.BinarySearch(c.OpenTime, m.AsOf)
	i := first
	for high, low := c.High[:n], c.Low[:n]; i < n && c.OpenTime[i] < j.end; i++ {
		settled := j.step(high[i], low[i])
		if v.Touch < 0 && j.Touched {
			v.Touch = i
		}
		if settled {
			v.Outcome, v.End = j.Outcome, i
			v.Missing = int((c.OpenTime[i]-m.AsOf)/c.length) - (i - first)
			return v
		}
	}
	if i < n || i > first && c.OpenTime[i-1]+c.length >= j.end {
		j.expire()
		v.Outcome, v.Missing = j.Outcome, Horizon-(i-first)
	}
	return v
}

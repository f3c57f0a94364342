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
	line := m.TouchLine(price)
	up := price > m.LastPrice
	back, through := line+race*m.ATR, line-race*m.ATR
	if up {
		back, through = through, back
	}
	v := Verdict{Touch: -1, End: -1}
	end := m.AsOf + Horizon*c.length
	first, _ := slices.BinarySearch(c.OpenTime, m.AsOf)
	i := first
	for ; i < len(c.OpenTime) && c.OpenTime[i] < end; i++ {
		high, low := c.High[i], c.Low[i]
		// for a support; a resistance is its mirror image
		touched, broke, held := low <= line, low <= through, high >= back
		if up {
			touched, broke, held = high >= line, high >= through, low <= back
		}
		if v.Touch < 0 {
			if !touched {
				continue
			}
			v.Touch, held = i, false
		}
		if !broke && !held {
			continue
		}
		v.End = i
		switch {
		case broke && held:
			v.Outcome = Undecided
		case broke:
			v.Outcome = Broke
		default:
			v.Outcome = Held
		}
		v.Missing = int((c.OpenTime[i]-m.AsOf)/c.length) - (i - first)
		return v
	}
	if over := i < len(c.OpenTime) || i > first && c.OpenTime[i-1]+c.length >= end; !over {
		return v
	}
	v.Outcome, v.Missing = Untouched, Horizon-(i-first)
	if v.Touch >= 0 {
		v.Outcome = Undecided
	}
	return v
}

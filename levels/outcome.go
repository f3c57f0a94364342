package levels

import "slices"

// The definitions an outcome rests on, as shares of the ATR at the moment of
// the analysis.
const (
	// frontRun is how far from a level towards the last price its touch line
	// lies. A level held by orders just before it is never traded at: asked for
	// a trade at the very price, a test condemns exactly the levels that hold.
	frontRun = 0.25
	// race is how far from the touch line price must be back to have held, or
	// through to have broken.
	race = 1.0
)

// Moment is what the outcomes of all levels of one analysis are measured
// against.
type Moment struct {
	AsOf      int64   // close time of the last candle known, exclusive, Unix ms
	LastPrice float64 // its close
	ATR       float64 // mean true range of the last 100 candles, price units
}

// MomentOf is the moment at which the last candle of c has closed. Of no
// candles it is the zero Moment.
func MomentOf(c *Candles) Moment {
	n := c.Len()
	if n == 0 {
		return Moment{}
	}
	return Moment{AsOf: c.AsOf(), LastPrice: c.Close[n-1], ATR: meanTrueRange(c, n-min(n, atrCandles))}
}

// Outcome is what became of a level within Horizon candles.
type Outcome uint8

// The outcomes. Only Held and Broke are decided.
const (
	Pending   Outcome = iota // not decided, and the candles end before the horizon does
	Untouched                // price did not come to the touch line
	Undecided                // touched; then neither, or both in one candle
	Held                     // back by one ATR from the touch line before it was through by one
	Broke                    // through by one ATR before it was back by one
)

func (o Outcome) String() string {
	return [...]string{"pending", "untouched", "undecided", "held", "broke"}[o]
}

// Verdict is an outcome and the candles it rests on.
type Verdict struct {
	Outcome Outcome
	// Touch and End are indexes into the candles judged by: the one that came to
	// the touch line and the one that settled the outcome; -1 for none.
	Touch, End int
	// Missing is how many candles of the horizon were absent before the outcome
	// was settled. What price did meanwhile is not known: the outcome is that of
	// the candles there are.
	Missing int
}

// TouchLine is the price that must be reached for the level at price to count as
// touched: a quarter of the ATR nearer to the last price, though not past it.
func (m Moment) TouchLine(price float64) float64 {
	if price <= m.LastPrice {
		return min(price+frontRun*m.ATR, m.LastPrice)
	}
	return max(price-frontRun*m.ATR, m.LastPrice)
}

// Judge tells what became of a level at price, which is a support at or below
// the last price of the moment and a resistance above it, by the candles of c
// that opened at or after the moment and within Horizon intervals of it. Other
// candles are ignored. The ATR must be positive.
//
// A level is touched by the first candle that reaches its touch line. It has
// held when price is back by one ATR from that line before it is through by
// one, and broke the other way round. The touching candle may break but not
// hold, since the order inside a candle is unknown; a later candle that does
// both leaves the level undecided, and so does the end of the horizon.
//
// The horizon is a span of time: candles that are missing shorten what a level
// is judged by, they do not lengthen how long it is. As candles arrive an
// outcome changes only while it is Pending, and Judge allocates nothing.
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
		// for a support; a resistance is one in the mirror
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

package levels

import (
	"fmt"
	"math"
	"slices"
)

// atrCandles is how many candles the ATR of an analysis is the mean of.
const atrCandles = 100

// Finder finds levels and owns the scratch memory that takes, so that after
// the first few series it allocates nothing. A Finder must not be used by two
// goroutines at once; its zero value is ready. What it found before never
// changes what it finds next.
//
// The scratch is about 50 KiB for 2,000 candles and 110 KiB for 10,000. A Finder
// keeps what its greediest series needed; see FinderBytes.
type Finder struct {
	swings   swingFinder
	profile  profile
	clusters clusterer
	tracker  tracker

	supports, resistances [MaxSide]Level
}

// FinderBytes is the memory that a Finder holds on to after many series of n
// candles: bins of the profile, swings and zones. That depends on the markets met;
// the constants cover random walks from quiet to wild, as a test holds them to.
func FinderBytes(n int) int {
	const fixed, each = 36 << 10, 26
	return fixed + each*n
}

// Find analyses c, which it does not change. Fewer than MinCandles candles are
// ErrTooFewCandles. The levels in the result are valid until the next Find.
//
// A series whose last candles did not move at all (ATR 0) has no levels: there
// is no unit to tell near from far in.
func (f *Finder) Find(c *Candles) (Analysis, error) {
	n := c.Len()
	if n < MinCandles {
		return Analysis{}, fmt.Errorf("%w: %d, at least %d are needed", ErrTooFewCandles, n, MinCandles)
	}
	a := Analysis{AsOf: c.AsOf(), LastPrice: c.Close[n-1], ATR: meanTrueRange(c, n-min(n, atrCandles)), Candles: n, Missing: c.Missing()}
	s := measure(c)
	if !(a.ATR > 0 && s.unit > 0) {
		return a, nil
	}
	g := newGrid(s.low, s.high, s.unit, profileMargin)
	reach := max(clusterReach*a.ATR, g.width)

	swings := f.swings.find(c, swingSpan)
	f.profile.build(c, g, s)
	f.clusters.collect(swings, &f.profile, a.ATR)
	zones := f.clusters.cluster(swings, reach)
	f.tracker.track(zones, c, &g)
	a.Supports, a.Resistances = f.choose(zones, c, &a)
	return a, nil
}

// extent is what one pass over a series tells.
type extent struct {
	low, high float64 // extremes of the series
	unit      float64 // mean true range of all candles: the scale of the profile
	volume    float64 // the greatest
}

func measure(c *Candles) extent {
	s := extent{low: c.Low[0], high: c.High[0], volume: c.Volume[0]}
	high, vol := c.High[:len(c.Low)], c.Volume[:len(c.Low)]
	for i, low := range c.Low {
		if low < s.low {
			s.low = low
		}
		if high[i] > s.high {
			s.high = high[i]
		}
		if vol[i] > s.volume {
			s.volume = vol[i]
		}
	}
	s.unit = meanTrueRange(c, 0)
	return s
}

// meanTrueRange is the plain mean (a simple average, not Wilder's smoothing) of
// the true range of the candles from index from on, in price units. The true
// range runs from low to high and includes the close before; the first candle
// of a series has none before (Wilder, New Concepts in Technical Trading
// Systems, 1978).
func meanTrueRange(c *Candles, from int) float64 {
	share := 1 / float64(c.Len()-from) // taken of each range, so that no sum overflows
	high, cls := c.High[:len(c.Low)], c.Close[:len(c.Low)]
	mean, start := 0.0, from
	if from == 0 {
		mean, start = (high[0]-c.Low[0])*share, 1
	}
	for i := start; i < len(high); i++ {
		top, bottom, before := high[i], c.Low[i], cls[i-1]
		if before > top {
			top = before
		}
		if before < bottom {
			bottom = before
		}
		mean += (top - bottom) * share
	}
	return min(mean, math.MaxFloat64) // rounding may carry even a mean past it
}

// choose turns the strongest zones on either side of the last close into
// levels, nearest first. A level exactly at the last close is a support: price
// stands on it.
func (f *Finder) choose(zones []zone, c *Candles, a *Analysis) (supports, resistances []Level) {
	above := 0
	for above < len(zones) && zones[above].price <= a.LastPrice {
		above++
	}
	supports, resistances = f.supports[:0], f.resistances[:0]
	for k := above - 1; k >= 0; k-- {
		supports = f.keep(supports, &zones[k], c, a)
	}
	for k := above; k < len(zones); k++ {
		resistances = f.keep(resistances, &zones[k], c, a)
	}
	return supports, resistances
}

// keep appends the level of a zone to side, and drops the weakest if that makes
// one too many, the farthest of equals. A zone without an anchor is none: a
// price where much volume passed and no candle closed was crossed, not accepted.
func (f *Finder) keep(side []Level, n *zone, c *Candles, a *Analysis) []Level {
	if n.anchor < 0 {
		return side
	}
	strength := f.strength(n, a)
	if len(side) == MaxSide {
		weakest := 0
		for i := range side {
			if side[i].Strength <= side[weakest].Strength {
				weakest = i
			}
		}
		if strength <= side[weakest].Strength {
			return side
		}
		side = slices.Delete(side, weakest, weakest+1)
	}
	l := Level{
		ID: id(c.OpenTime[n.anchor], n.kind), Role: Support, Status: n.status, Sources: n.sources,
		Price: n.price, Low: n.low, High: n.high, Strength: strength, Touches: int(n.touches),
	}
	if n.price > a.LastPrice {
		l.Role = Resistance
	}
	if n.touches > 0 {
		l.FirstTouch, l.LastTouch = c.OpenTime[n.first], c.OpenTime[n.last]
	}
	return append(side, l)
}

// The weights of what makes a level strong; their sum is 1. They are a choice,
// not a fit: volume and touches first, since extremes alone tend to break.
const (
	weightVolume     = 0.30
	weightTouches    = 0.25
	weightRecency    = 0.20
	weightProminence = 0.15
	weightConfluence = 0.10
)

// strength ranks zones, 0 to 1. Each part runs from 0 to 1, and all but the
// last change smoothly, so that ranks do not jump from candle to candle:
//
//   - volume: how busy the price is, as a share of the busiest;
//   - touches: t/(t+3);
//   - recency: 1/(1+age/Horizon) of the last touch, in candles;
//   - prominence: p/(p+swingHalf) of the most prominent swing, in ATR;
//   - confluence: independent sources beyond the first, of swing highs, swing
//     lows and the volume profile (its parts all come from the same volume).
func (f *Finder) strength(n *zone, a *Analysis) float64 {
	touches, recency := 0.0, 0.0
	if n.touches > 0 {
		t, age := float64(n.touches), float64(a.Candles-1-int(n.last))
		touches, recency = t/(t+3), 1/(1+age/Horizon)
	}
	independent := -1
	for _, found := range [...]bool{n.highs, n.lows, n.sources&^SourceSwing != 0} {
		if found {
			independent++
		}
	}
	return weightVolume*f.profile.share(n.price) +
		weightTouches*touches +
		weightRecency*recency +
		weightProminence*n.prominence/(n.prominence+swingHalf*a.ATR) +
		weightConfluence*float64(independent)/2
}

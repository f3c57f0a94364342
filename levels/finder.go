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
// The scratch is about 100 KiB for 2,000 candles and 160 KiB for 10,000. A Finder
// keeps what its greediest series needed; see FinderBytes.
type Finder struct {
	swings   swingFinder
	profile  profile
	clusters clusterer
	tracker  tracker
	around   surroundings
	about    [features]float32 // the zone looked at
	excess   []float64         // by zone of a side; see Fit.excess
	drawn    []zone            // see draw; the clusterer's memory
	chosen   []zone            // those of them that become levels

	supports, resistances [MaxSide]Level
}

// FinderBytes is the memory that a Finder holds on to after many series of n
// candles: bins of the profile, swings, ends and zones. That depends on the markets
// met; the constants cover random walks from quiet to wild, as a test holds them to.
func FinderBytes(n int) int {
	const fixed, each = 54 << 10, 26
	return fixed + each*n
}

// redraw is how many candles lie between two drawings: which levels there are is
// decided anew whenever the number of intervals since 1970 is a multiple of it,
// and stays until the next time. Redrawn with every candle, one level in ten
// would be gone by the next one, for no better reason than that it is as good as
// its neighbour. What a level is at the last close (its role, touches, status,
// strength and odds) is never older than that.
const redraw = 6

// drawn is how many candles of c, from the first, the present levels are drawn
// from: those that had closed at the last drawing, or all, if those were too few.
func drawn(c *Candles) int {
	n := c.Len()
	at := c.AsOf() / c.length
	at = (at - at%redraw) * c.length
	k := n
	for k > 0 && c.OpenTime[k-1]+c.length > at {
		k--
	}
	if k < MinCandles {
		return n
	}
	return k
}

// Find analyses c, which it does not change. Fewer than MinCandles candles are
// ErrTooFewCandles. The levels in the result are valid until the next Find.
//
// A series whose last candles did not move at all (ATR 0) has no levels: there
// is no unit to tell near from far in.
func (f *Finder) Find(c *Candles) (Analysis, error) {
	a, err := f.draw(c)
	if len(f.drawn) == 0 {
		return a, err
	}
	fit, own := Odds().For(c.Interval)
	f.chosen = f.chosen[:0]
	above := 0
	for above < len(f.drawn) && f.drawn[above].price <= f.around.last {
		above++
	}
	f.choose(f.drawn[:above], fit)
	f.choose(f.drawn[above:], fit)
	f.follow(f.chosen, c, &a)
	a.Supports, a.Resistances = f.tell(c, &a, fit, own)
	return a, nil
}

// draw finds the zones there are as of the last drawing, ascending, and leaves
// them in f.drawn and what surrounded them then in f.around; there are none for
// a market that does not move. The analysis it returns is of all candles.
func (f *Finder) draw(c *Candles) (Analysis, error) {
	f.drawn = nil
	n := c.Len()
	if n < MinCandles {
		return Analysis{}, fmt.Errorf("%w: %d, at least %d are needed", ErrTooFewCandles, n, MinCandles)
	}
	a := Analysis{AsOf: c.AsOf(), LastPrice: c.Close[n-1], ATR: meanTrueRange(c, n-min(n, atrCandles)), Candles: n, Missing: c.Missing()}
	known := c.first(drawn(c))
	atr := meanTrueRange(&known, known.Len()-min(known.Len(), atrCandles))
	s := measure(&known)
	if !(a.ATR > 0 && atr > 0 && s.unit > 0) {
		return a, nil
	}
	g := newGrid(s.low, s.high, s.unit, profileMargin)
	reach := max(clusterReach*atr, g.width)

	swings := f.swings.find(&known, swingSpan)
	f.profile.build(&known, g, s)
	f.clusters.collect(&known, &g, swings, &f.profile, atr)
	zones := f.clusters.cluster(swings, reach)
	f.tracker.track(zones, &known, &g)
	f.around.look(&known, atr)
	f.drawn = slices.DeleteFunc(zones, func(n zone) bool { return n.anchor < 0 })
	return a, nil
}

// follow brings zones, and what surrounds them, from the last drawing to the
// last candle of c.
func (f *Finder) follow(zones []zone, c *Candles, a *Analysis) {
	if from := f.around.candles; from < a.Candles {
		advance(zones, c, from)
		f.around.look(c, a.ATR)
	}
}

// advance brings zones from the candles of c before from to all of them.
func advance(zones []zone, c *Candles, from int) {
	n := c.Len()
	for i := from; i < n; i++ {
		low, high := min(c.Low[i], c.Close[i-1]), max(c.High[i], c.Close[i-1])
		for k := range zones {
			if z := &zones[k]; z.low <= high && z.high >= low {
				z.meet(int32(i), c.Close[i])
			}
		}
	}
	for k := range zones {
		if z := &zones[k]; from < n && int(z.seen) < n-1 {
			z.leave()
		}
	}
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

// KeepExcess is by how much more often than any line at its distance a level
// must be expected to hold to be kept beside the best of its side. A line that
// is no better than its neighbours is not worth drawing.
const KeepExcess = 0.01

// choose appends to f.chosen the zones of one side that are kept, ascending:
// those that exceed by at least KeepExcess, at most MaxSide, the greatest, and
// always the best one.
func (f *Finder) choose(side []zone, fit *Fit) {
	f.excess = f.excess[:0]
	best := math.Inf(-1)
	for k := range side {
		f.around.describe(&f.about, &side[k], &f.profile)
		f.excess = append(f.excess, fit.excess(&f.about))
		best = max(best, f.excess[k])
	}
	least := min(best, KeepExcess)
	from := len(f.chosen)
	for k := range side {
		if f.excess[k] < least {
			continue
		}
		if n := len(f.chosen); n-from == MaxSide {
			weakest := from
			for i := from; i < n; i++ {
				if f.chosen[i].excess <= f.chosen[weakest].excess {
					weakest = i
				}
			}
			if f.excess[k] <= f.chosen[weakest].excess {
				continue
			}
			f.chosen = slices.Delete(f.chosen, weakest, weakest+1)
		}
		f.chosen = append(f.chosen, side[k])
		f.chosen[len(f.chosen)-1].excess = f.excess[k]
	}
}

// tell turns the chosen zones into levels, nearest first. A level exactly at the
// last close is a support: price stands on it. Those that price has crossed
// since they were drawn may make a side too many; the farthest are left out.
func (f *Finder) tell(c *Candles, a *Analysis, fit *Fit, own bool) (supports, resistances []Level) {
	above := 0
	for above < len(f.chosen) && f.chosen[above].price <= a.LastPrice {
		above++
	}
	supports, resistances = f.supports[:0], f.resistances[:0]
	for k := above - 1; k >= 0 && len(supports) < MaxSide; k-- {
		supports = append(supports, f.level(&f.chosen[k], Support, c, fit, own))
	}
	for k := above; k < len(f.chosen) && len(resistances) < MaxSide; k++ {
		resistances = append(resistances, f.level(&f.chosen[k], Resistance, c, fit, own))
	}
	return supports, resistances
}

func (f *Finder) level(n *zone, role Role, c *Candles, fit *Fit, own bool) Level {
	f.around.describe(&f.about, n, &f.profile)
	excess := fit.excess(&f.about)
	l := Level{
		ID: id(c.OpenTime[n.anchor], n.kind), Role: role, Status: n.status, Sources: n.sources,
		Price: n.price, Low: n.low, High: n.high, Strength: fit.strength(excess), Touches: int(n.touches),
	}
	if n.touches > 0 {
		l.FirstTouch, l.LastTouch = c.OpenTime[n.first], c.OpenTime[n.last]
	}
	switch {
	case !own:
		l.NoOdds = UnknownInterval
	case c.Len() < MinOddsCandles:
		l.NoOdds = ShortHistory
	default:
		fit.odds(&l, &f.about, excess)
	}
	return l
}

// Candidate is a zone an analysis chooses its levels from, and what its odds
// are made of.
type Candidate struct {
	Price    float64
	Distance float64 // from the last close, in ATR
	Role     Role    // at the last close
	// Drawn are the features at the last drawing, by which it was decided whether
	// the zone is a level, DrawnRole the side it lay on then; Features those at
	// the last close. See FeatureNames. They belong to the Finder.
	Drawn, Features []float32
	DrawnRole       Role
}

// Candidates calls yield for every zone of c that could be a level, from the
// lowest to the highest: what a calibration fits odds on.
func (f *Finder) Candidates(c *Candles, yield func(Candidate)) error {
	a, err := f.draw(c)
	zones := f.drawn
	then := make([]Candidate, len(zones))
	for k := range zones {
		f.around.describe(&f.about, &zones[k], &f.profile)
		then[k].Drawn = append([]float32(nil), f.about[:]...)
		if zones[k].price > f.around.last {
			then[k].DrawnRole = Resistance
		}
	}
	if len(zones) > 0 {
		f.follow(zones, c, &a)
	}
	for k := range zones {
		f.around.describe(&f.about, &zones[k], &f.profile)
		one := &then[k]
		one.Price, one.Distance, one.Features = zones[k].price, float64(f.about[featureDistance]), f.about[:]
		if zones[k].price > a.LastPrice {
			one.Role = Resistance
		}
		yield(*one)
	}
	return err
}

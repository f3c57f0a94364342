package levels

import (
	"fmt"
	"math"
	"slices"
)

// atrCandles is the number of candles in the ATR of an analysis.
const atrCandles = 100

// Finder finds levels. It owns the scratch memory, so it does not allocate after the
// first few series. The zero value is ready to use. A Finder must not be used by
// two goroutines at once. Earlier series do not affect later results.
//
// Find returns the levels with an edge of DrawEdge; see Level.Faint. With Faint set it also
// returns fainter ones, with an edge of at least 0; the others are the same.
//
// The scratch memory is about 130 KiB for 2,000 candles and 250 KiB for 10,000. It
// stays at the size of the most demanding series; see FinderBytes.
type Finder struct {
	Faint bool
	Table *Table // nil for that of Odds

	swings    swingFinder
	profile   profile
	clusters  clusterer
	tracker   tracker
	around    surroundings
	past      excursions
	about     [features]float32 // of the current zone
	batch     batch             // of the current zones
	drawn     []zone            // see draw; the clusterer's memory
	chosen    []zone            // the drawn zones that become levels
	atrs      []float64         // by candle; see atrs
	stretches []stretch         // see stretchesOf

	supports, resistances [MaxSide]Level
}

// FinderBytes returns the memory that a Finder keeps after many series of n candles:
// bins of the profile, swings, ends and zones. It depends on the markets; a test
// checks that the constants cover random walks of low and high volatility.
func FinderBytes(n int) int {
	const fixed, each = 62 << 10, 36
	return fixed + each*n
}

// redraw is the number of candles between two choices of the levels. The levels are
// chosen again when the number of intervals since 1970 is a multiple of it.
// Recomputing at every candle would replace about 10 % of the levels, because
// near-equal zones swap rank and price moves towards and away from them. The role, touches, status, edge and odds of a level are
// always those at the last close.
const redraw = 8

// drawn returns how many candles of c, from the first, the current levels are drawn
// from: those closed at the last drawing, or all if those were too few.
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

// Find analyses c and does not change it. It returns ErrTooFewCandles for fewer than
// MinCandles candles. The levels in the result are valid until the next Find.
//
// A series whose last candles do not move (ATR 0) has no levels, because there is no
// unit of distance.
func (f *Finder) Find(c *Candles) (Analysis, error) {
	a, err := f.draw(c)
	if len(f.drawn) == 0 {
		return a, err
	}
	fit, exact := f.table().For(c.Interval)
	f.chosen = f.chosen[:0]
	above := 0
	for above < len(f.drawn) && f.drawn[above].price <= f.around.last {
		above++
	}
	f.rank(f.drawn, fit)
	f.choose(f.drawn[:above])
	f.choose(f.drawn[above:])
	f.follow(f.chosen, c, &a)
	f.review(fit)
	f.around.measureMoment(c)
	f.past.measure(c)
	a.Supports, a.Resistances = f.levels(c, &a, fit, exact)
	return a, nil
}

func (f *Finder) table() *Table {
	if f.Table != nil {
		return f.Table
	}
	return Odds()
}

// draw finds the zones as of the last drawing, ascending. It sets f.drawn and
// f.around; a market that does not move has no zones. The returned analysis is of
// all candles.
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
	f.around.measure(&known, atr)
	f.drawn = slices.DeleteFunc(zones, func(n zone) bool { return n.anchor < 0 })
	return a, nil
}

// follow updates zones and f.around from the last drawing to the last candle of c.
func (f *Finder) follow(zones []zone, c *Candles, a *Analysis) {
	if from := f.around.candles; from < a.Candles {
		advance(zones, c, from)
		f.around.measure(c, a.ATR)
	}
}

// advance updates zones with the candles of c from index from on.
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

// extent is the result of one pass over a series.
type extent struct {
	low, high float64 // extremes of the series
	unit      float64 // mean true range of all candles: the scale of the profile
	volume    float64 // the greatest of one candle
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
// range runs from low to high and includes the previous close; the first candle of
// a series has none (Wilder, New Concepts in Technical Trading
// Systems, 1978).
func meanTrueRange(c *Candles, from int) float64 {
	share := 1 / float64(c.Len()-from) // applied to each range, so that the sum cannot overflow
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
	return min(mean, math.MaxFloat64) // rounding may exceed it
}

// rank sets the excess of the zones.
func (f *Finder) rank(zones []zone, fit *Fit) {
	for part := range slices.Chunk(zones, lanes) {
		f.batch.n = 0
		for k := range part {
			f.around.describe(&f.about, &part[k], &f.profile)
			f.batch.add(&f.about)
		}
		excess := f.batch.sum(fit.Rank)
		for k := range part {
			part[k].excess = excess[k]
		}
	}
}

// choose appends to f.chosen the ranked zones of one side to keep, ascending: those within
// DrawDistance with enough edge, at most the best MaxSide.
func (f *Finder) choose(side []zone) {
	from := len(f.chosen)
	for k := range side {
		n := side[k]
		n.drawn = n.excess
		if math.Abs(n.price-f.around.last) > DrawDistance*f.around.atr || !f.shown(&n) {
			continue
		}
		f.chosen = append(f.chosen, n)
		if len(f.chosen)-from > MaxSide {
			f.dropWeakest(from, len(f.chosen))
		}
	}
}

// shown reports whether Find returns n.
func (f *Finder) shown(n *zone) bool { return !n.faint() || f.Faint && n.excess >= 0 }

func (n *zone) faint() bool { return faint(100*n.drawn, 100*n.excess, DrawEdge, KeepEdge) }

// review updates the edge of the chosen zones to the last close, and drops those that
// no longer have enough.
func (f *Finder) review(fit *Fit) {
	f.rank(f.chosen, fit)
	f.chosen = slices.DeleteFunc(f.chosen, func(n zone) bool { return !f.shown(&n) })
}

// dropWeakest deletes the zone with the least edge of the chosen from from up to, not
// including, to; faint ones first, and of equals the highest.
func (f *Finder) dropWeakest(from, to int) {
	weakest := from
	for i := from + 1; i < to; i++ {
		a, b := &f.chosen[i], &f.chosen[weakest]
		if a.faint() == b.faint() && a.excess <= b.excess || a.faint() && !b.faint() {
			weakest = i
		}
	}
	f.chosen = slices.Delete(f.chosen, weakest, weakest+1)
}

// levels turns the chosen zones into levels, nearest first. A level exactly at the
// last close is a support. Zones that price has crossed since they were drawn may
// give a side more than MaxSide levels; the weakest are dropped.
func (f *Finder) levels(c *Candles, a *Analysis, fit *Fit, exact bool) (supports, resistances []Level) {
	above := 0
	for above < len(f.chosen) && f.chosen[above].price <= a.LastPrice {
		above++
	}
	for ; above > MaxSide; above-- {
		f.dropWeakest(0, above)
	}
	for len(f.chosen)-above > MaxSide {
		f.dropWeakest(above, len(f.chosen))
	}
	f.atrs = atrs(f.atrs, c)
	f.stretches = stretchesOf(f.stretches, c, f.atrs)
	supports, resistances = f.supports[:0], f.resistances[:0]
	for k := above - 1; k >= 0; k-- {
		supports = append(supports, f.level(&f.chosen[k], Support, c, fit))
	}
	for k := above; k < len(f.chosen); k++ {
		resistances = append(resistances, f.level(&f.chosen[k], Resistance, c, fit))
	}
	reason := OddsKnown
	switch {
	case !exact:
		reason = UnknownInterval
	case c.Len() < MinOddsCandles:
		reason = ShortHistory
	default:
		f.estimate(supports, resistances, fit)
	}
	for _, side := range [...][]Level{supports, resistances} {
		for k := range side {
			side[k].NoOdds = reason
		}
	}
	return supports, resistances
}

// estimate sets the odds of the levels.
func (f *Finder) estimate(supports, resistances []Level, fit *Fit) {
	done := 0
	for part := range slices.Chunk(f.chosen, lanes) {
		var of [lanes]*Level
		var excess [lanes]float32
		f.batch.n = 0
		for k := range part {
			role := Support
			if done < len(supports) {
				of[k] = &supports[len(supports)-1-done]
			} else {
				role, of[k] = Resistance, &resistances[done-len(supports)]
			}
			done++
			excess[k] = part[k].excess
			f.around.describe(&f.about, &part[k], &f.profile)
			f.around.describeMoment(&f.about, role, &f.past)
			f.batch.add(&f.about)
		}
		fit.odds(of[:len(part)], &f.batch, &excess)
	}
}

func (f *Finder) level(n *zone, role Role, c *Candles, fit *Fit) Level {
	l := Level{
		ID: id(c.OpenTime[n.anchor], n.kind), Role: role, Status: n.status, Sources: n.sources,
		Price: n.price, Low: n.low, High: n.high, Edge: 100 * n.excess, DrawnEdge: 100 * n.drawn, Strength: fit.strength(n.excess),
		Touches: uint16(min(n.touches, math.MaxUint16)),
	}
	l.Record, l.FirstTested, l.LastTested = record(n.price, role, c, f.atrs, f.stretches)
	if n.touches > 0 {
		l.FirstTouch, l.LastTouch = c.OpenTime[n.first], c.OpenTime[n.last]
	}
	return l
}

// Candidate is a zone that may become a level, with the features of its odds.
type Candidate struct {
	Price    float64
	Distance float64 // from the last close, in ATR
	Role     Role    // at the last close
	// Drawn are the first HoldFeatures at the last drawing, which decide whether the
	// zone is a level, and DrawnRole its side at that time. Features are those at the last
	// close. See FeatureNames. They belong to the Finder.
	Drawn, Features []float32
	DrawnRole       Role
}

// Candidates calls yield for every zone of c that may become a level, from the lowest
// to the highest. The calibration fits odds on them.
func (f *Finder) Candidates(c *Candles, yield func(Candidate)) error {
	a, err := f.draw(c)
	zones := f.drawn
	then := make([]Candidate, len(zones))
	for k := range zones {
		f.around.describe(&f.about, &zones[k], &f.profile)
		then[k].Drawn = append([]float32(nil), f.about[:holdFeatures]...)
		if zones[k].price > f.around.last {
			then[k].DrawnRole = Resistance
		}
	}
	if len(zones) > 0 {
		f.follow(zones, c, &a)
	}
	if len(zones) > 0 {
		f.around.measureMoment(c)
		f.past.measure(c)
	}
	for k := range zones {
		one := &then[k]
		if zones[k].price > a.LastPrice {
			one.Role = Resistance
		}
		f.around.describe(&f.about, &zones[k], &f.profile)
		f.around.describeMoment(&f.about, one.Role, &f.past)
		one.Price, one.Distance, one.Features = zones[k].price, float64(f.about[featureDistance]), f.about[:]
		yield(*one)
	}
	return err
}

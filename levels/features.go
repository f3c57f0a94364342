package levels

import (
	"fmt"
	"math"
)

// spans are the numbers of candles over which the extremes of price are
// compared with a level.
var spans = [spanCount]int{12, 24, 48, 100, 200, 400, 1000, 2000}

const spanCount = 8

// The features that determine the odds of a level. Lengths are in ATR and positive
// away from the last price, so that features do not change when prices are mirrored
// or rescaled.
const (
	featureDistance = 0                           // from the last price to the level
	featureExtreme  = 1                           // from the extreme of the last spans[k] candles on this side to the level
	featureOpposite = featureExtreme + spanCount  // the same from the extreme on the other side
	featurePosition = featureOpposite + spanCount // that as a share of the range between the two
	featureZone     = featurePosition + spanCount // features of the zone start here

	featureAge        = featureZone + 0 // ln of the candles since price last met the zone
	featureTouches    = featureZone + 1 // ln(1 + touches)
	featureStay       = featureZone + 2 // candles that met the zone for each episode: how slowly price passes
	featureProminence = featureZone + 3 // of the most prominent swing, p/(p+swingHalf)
	featureSame       = featureZone + 4 // swing highs in a resistance, swing lows in a support
	featureOther      = featureZone + 5 // swing lows in a resistance, swing highs in a support
	featureShare      = featureZone + 6 // volume there as a share of that at the busiest price
	featureContrast   = featureZone + 7 // ln of that volume over the mean of that one ATR to either side

	// The following features describe the moment. They do not help to rank levels, so
	// only the odds use them.
	holdFeatures  = featureZone + 8
	featureRange  = holdFeatures              // ln of the mean true range of ranges[k] candles over the ATR
	featureMoves  = featureRange + rangeCount // ln of the mean squared move from close to close of moves[k] candles, ATR²
	featureTrend  = featureMoves + moveCount  // move of the price away from the level in trends[k] candles, ATR·√candles
	featureSurge  = featureTrend + trendCount // ln of the mean volume of surges[k] candles over that of many
	holdOddsWidth = featureSurge + surgeCount // only touch odds use those from here on

	featureReflection = holdOddsWidth + 0 // touch odds of a driftless random walk
	featureExcursion  = holdOddsWidth + 1 // how often price went as far on this side in the same time
	featureOtherSide  = holdOddsWidth + 2 // the same on the other side
	features          = holdOddsWidth + 3
)

// The numbers of candles of the features of the moment.
var (
	ranges = [rangeCount]int{14, 48, 500, 2000}
	moves  = [moveCount]int{24, 100, 1000}
	trends = [trendCount]int{24, 100, 400, 1000}
	surges = [surgeCount][2]int{{14, 500}, {100, 2000}}
)

const (
	rangeCount = 4
	moveCount  = 3
	trendCount = 4
	surgeCount = 2
)

// farATR bounds every feature that is a length.
const farATR = 20

// surroundings holds features of the series that all levels share.
type surroundings struct {
	high, low [spanCount]float64 // extremes of the last spans[k] candles
	ranges    [rangeCount]float64
	moves     [moveCount]float64
	trends    [trendCount]float64 // upwards
	surges    [surgeCount]float64
	squared   float64 // mean squared move of 100 candles, ATR²
	last, atr float64
	candles   int
}

// measure sets s from c, whose last hundred candles have the mean true range atr.
func (s *surroundings) measure(c *Candles, atr float64) {
	n := c.Len()
	s.last, s.atr, s.candles = c.Close[n-1], atr, n
	high, low := c.High[n-1], c.Low[n-1]
	i := n - 1
	for k, span := range spans {
		for ; i >= max(0, n-span); i-- {
			high, low = max(high, c.High[i]), min(low, c.Low[i])
		}
		s.high[k], s.low[k] = high, low
	}
}

// measureMoment sets the features of the moment.
func (s *surroundings) measureMoment(c *Candles) {
	n := c.Len()
	for k, span := range ranges {
		s.ranges[k] = math.Log(max(meanTrueRange(c, n-min(n, span))/s.atr, 1e-6))
	}
	sum, i := 0.0, n-1
	for k, span := range moves {
		count := min(n-1, span)
		for ; i >= n-count; i-- {
			move := (c.Close[i] - c.Close[i-1]) / s.atr
			sum += move * move
		}
		s.moves[k] = math.Log(max(sum/float64(count), 1e-6))
		if span == atrCandles {
			s.squared = sum / float64(count)
		}
	}
	for k, span := range trends {
		count := min(n-1, span)
		s.trends[k] = (s.last - c.Close[n-1-count]) / (s.atr * math.Sqrt(float64(count)))
	}
	for k, span := range surges {
		few, many := meanVolume(c, span[0]), meanVolume(c, span[1])
		s.surges[k] = 0
		if few > 0 && many > 0 {
			s.surges[k] = math.Log(few / many)
		}
	}
}

// meanVolume returns the mean volume of the last span candles, or of all.
func meanVolume(c *Candles, span int) float64 {
	n := c.Len()
	span = min(n, span)
	mean := 0.0
	for _, v := range c.Volume[n-span:] {
		mean += v / float64(span) // divided first, so that the sum cannot overflow
	}
	return mean
}

// excursions holds how far price went within Horizon candles on either side, in ATR
// of then, from every few candles in the past; the slices are scratch memory.
type excursions struct {
	up, down        []float64
	highest, lowest []float64 // of blocks of excursionStep candles, from the last candle back
}

// excursionStep is the number of candles from one start to the next.
const excursionStep = 8

// measure sets e from c.
func (e *excursions) measure(c *Candles) {
	const blocks = Horizon / excursionStep
	n := c.Len()
	e.up, e.down, e.highest, e.lowest = e.up[:0], e.down[:0], e.highest[:0], e.lowest[:0]
	for end := n; end >= excursionStep; end -= excursionStep {
		high, low := c.High[end-1], c.Low[end-1]
		for i := end - excursionStep; i < end-1; i++ {
			high, low = max(high, c.High[i]), min(low, c.Low[i])
		}
		e.highest, e.lowest = append(e.highest, high), append(e.lowest, low)
	}
	for width := 1; width < 16; width *= 2 { // then each value is that of 16 blocks, and two of them overlap in blocks
		for i := range max(len(e.highest)-width, 0) {
			e.highest[i], e.lowest[i] = max(e.highest[i], e.highest[i+width]), min(e.lowest[i], e.lowest[i+width])
		}
	}
	// sum is that of the true ranges of the candles from first up to, not including,
	// end; both move back with the start.
	sum, first, end := 0.0, n-Horizon, n-Horizon
	for k := blocks; k <= len(e.highest); k++ {
		start := n - k*excursionStep // the first candle after the start
		if start < atrCandles {
			break
		}
		for ; end > start; end-- {
			sum -= trueRange(c, end-1)
		}
		for ; first > start-atrCandles+1; first-- {
			sum += trueRange(c, first-1)
		}
		atr := sum / (atrCandles - 1)
		if !(atr > 0) {
			continue
		}
		high := max(e.highest[k-blocks], e.highest[k-16])
		low := min(e.lowest[k-blocks], e.lowest[k-16])
		from := c.Close[start-1]
		e.up, e.down = append(e.up, (high-from)/atr), append(e.down, (from-low)/atr)
	}
}

// trueRange returns the true range of candle i, which is not the first.
func trueRange(c *Candles, i int) float64 {
	return max(c.High[i], c.Close[i-1]) - min(c.Low[i], c.Close[i-1])
}

// share returns the share of past values that reach distance, drawn towards a half
// where they are few.
func share(past []float64, distance float64) float64 {
	as := 0 // as far; counting is faster than sorting for so few levels
	for _, x := range past {
		if x >= distance {
			as++
		}
	}
	return (float64(as) + 1) / (float64(len(past)) + 2)
}

// Reflection returns the probability that a driftless random walk with the given
// mean squared step reaches distance within Horizon steps: 2Φ(−x), by the
// reflection principle.
func Reflection(distance, squared float64) float64 {
	return math.Erfc(distance / math.Sqrt(2*Horizon*max(squared, 1e-6)))
}

// describe sets v to the features of zone n.
func (s *surroundings) describe(v *[features]float32, n *zone, p *profile) {
	away, same, other := 1.0, n.highs, n.lows
	if n.price <= s.last {
		away, same, other = -1, n.lows, n.highs
	}
	beyond := func(price float64) float64 {
		return min(max(away*(n.price-price)/s.atr, -farATR), farATR)
	}
	distance := beyond(s.last)
	v[featureDistance] = float32(distance)
	for k := range spans {
		near, far := s.high[k], s.low[k]
		if away < 0 {
			near, far = far, near
		}
		opposite := beyond(far)
		v[featureExtreme+k] = float32(beyond(near))
		v[featureOpposite+k] = float32(opposite)
		v[featurePosition+k] = float32(min(max(opposite/max((s.high[k]-s.low[k])/s.atr, 0.1), -1), 3))
	}
	v[featureAge] = float32(math.Log(float64(s.candles - int(n.seen))))
	v[featureTouches] = float32(math.Log1p(float64(n.touches)))
	v[featureStay] = float32(n.met) / float32(n.touches+1)
	v[featureProminence] = float32(n.prominence / (n.prominence + swingHalf*s.atr))
	v[featureSame], v[featureOther] = float32(same), float32(other)
	share, around := p.share(n.price), (p.share(n.price-s.atr)+p.share(n.price+s.atr))/2
	v[featureShare] = float32(share)
	v[featureContrast] = float32(math.Log((share + 0.01) / (around + 0.01)))
}

// describeMoment sets the features of v that describe the moment. Those of the zone
// must be set.
func (s *surroundings) describeMoment(v *[features]float32, role Role, e *excursions) {
	for k, x := range s.ranges {
		v[featureRange+k] = float32(x)
	}
	for k, x := range s.moves {
		v[featureMoves+k] = float32(x)
	}
	away, this, other := -1.0, e.up, e.down // price away from a resistance is down
	if role == Support {
		away, this, other = 1, e.down, e.up
	}
	for k, x := range s.trends {
		v[featureTrend+k] = float32(away * x)
	}
	for k, x := range s.surges {
		v[featureSurge+k] = float32(x)
	}
	line := max(float64(v[featureDistance])-frontRun, 0)
	v[featureReflection] = float32(Reflection(line, s.squared))
	v[featureExcursion] = float32(share(this, line))
	v[featureOtherSide] = float32(share(other, line))
}

// FeatureNames returns the names of the features of a Candidate, in their order.
// The first HoldFeatures describe the zone and rank it; those after the first
// OddsFeatures are for touch odds only.
func FeatureNames() []string {
	names := []string{"distance"}
	for _, kind := range [...]string{"extreme", "opposite", "position"} {
		for _, span := range spans {
			names = append(names, fmt.Sprintf("%s_%d", kind, span))
		}
	}
	names = append(names, "age", "touches", "stay", "prominence", "same", "other", "share", "contrast")
	for _, span := range ranges {
		names = append(names, fmt.Sprintf("range_%d", span))
	}
	for _, span := range moves {
		names = append(names, fmt.Sprintf("moves_%d", span))
	}
	for _, span := range trends {
		names = append(names, fmt.Sprintf("trend_%d", span))
	}
	for _, span := range surges {
		names = append(names, fmt.Sprintf("surge_%d", span[0]))
	}
	return append(names, "reflection", "excursion", "other_side")
}

// HoldFeatures is the number of features, from the first, that rank levels.
const HoldFeatures = holdFeatures

// OddsFeatures is the number of features, from the first, that hold odds may use.
const OddsFeatures = holdOddsWidth

// ReflectionFeature is the index of the feature that touch odds start from: the touch
// odds of a driftless random walk, by the reflection principle.
const ReflectionFeature = featureReflection

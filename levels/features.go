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

	// The following features describe the moment, and only touch odds use them:
	// they do not help to rank levels, and their relation to hold rates drifts from
	// year to year.
	holdFeatures      = featureZone + 8
	featureRange14    = holdFeatures + 0 // ln of the mean true range of 14 candles over the ATR
	featureRange500   = holdFeatures + 1 // the same of 500
	featureRangeAll   = holdFeatures + 2 // the same of 2,000
	featureMoves      = holdFeatures + 3 // mean squared move from close to close over 100 candles, ATR²
	featureReflection = holdFeatures + 4 // touch odds of a driftless random walk
	features          = holdFeatures + 5
)

// farATR bounds every feature that is a length.
const farATR = 20

// surroundings holds features of the series that all levels share.
type surroundings struct {
	high, low                   [spanCount]float64 // extremes of the last spans[k] candles
	range14, range500, rangeAll float64            // ln of mean true ranges over the ATR
	moves                       float64            // mean squared move from close to close, ATR²
	last, atr                   float64
	candles                     int
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
	relative := func(span int) float64 { return math.Log(max(meanTrueRange(c, n-min(n, span))/atr, 1e-6)) }
	s.range14, s.range500, s.rangeAll = relative(14), relative(500), relative(2000)
	s.moves = 0
	count := min(n-1, atrCandles)
	for i := n - count; i < n; i++ {
		move := (c.Close[i] - c.Close[i-1]) / atr
		s.moves += move * move / float64(count)
	}
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
	v[featureRange14], v[featureRange500], v[featureRangeAll] = float32(s.range14), float32(s.range500), float32(s.rangeAll)
	v[featureMoves] = float32(s.moves)
	v[featureReflection] = float32(Reflection(max(distance-frontRun, 0), s.moves))
}

// FeatureNames returns the names of the features of a Candidate, in their order.
// Those after the first HoldFeatures describe the moment; only touch odds use them.
func FeatureNames() []string {
	names := []string{"distance"}
	for _, kind := range [...]string{"extreme", "opposite", "position"} {
		for _, span := range spans {
			names = append(names, fmt.Sprintf("%s_%d", kind, span))
		}
	}
	return append(names,
		"age", "touches", "stay", "prominence", "same", "other", "share", "contrast",
		"range_14", "range_500", "range_2000", "moves", "reflection")
}

// HoldFeatures is the number of features, from the first, that hold odds may use.
const HoldFeatures = holdFeatures

// ReflectionFeature is the index of the feature that touch odds start from: the touch
// odds of a driftless random walk, by the reflection principle.
const ReflectionFeature = featureReflection

package levels

import "errors"

// Algorithm names the rules by which levels are found. It changes whenever
// equal candles would give other levels, so that a reader can tell a market
// that moved from a method that did.
const Algorithm = "2"

// Horizon is how many candles ahead the outcome of a level is judged.
const Horizon = 168

// MinCandles is the least an analysis is made from. Below it the mean true
// range and every count rest on too little to say anything.
const MinCandles = 50

// MaxSide is how many levels an analysis keeps on either side of the price,
// the strongest ones.
const MaxSide = 10

// ErrTooFewCandles is wrapped by Find for fewer than MinCandles candles.
var ErrTooFewCandles = errors.New("too few candles")

// Role is the side of a level relative to the as-of close; derived, never
// sticky.
type Role uint8

// The two roles.
const (
	Support    Role = iota // below the last close, or exactly at it: price stands on it
	Resistance             // above the last close
)

func (r Role) String() string {
	if r == Support {
		return "support"
	}
	return "resistance"
}

// Status tells what price last did to a level.
type Status uint8

// The states of a level. A wick through a zone that closes back breaks
// nothing.
const (
	Active  Status = iota // never closed through since it formed
	Broken                // closed through and not held from the far side since
	Flipped               // closed through, then held on the retest from the far side
)

func (s Status) String() string { return [...]string{"active", "broken", "flipped"}[s] }

// Sources is the set of independent methods that found a level.
type Sources uint16

// The methods. The names are part of the HTTP contract.
const (
	SourceSwing          Sources = 1 << iota // confirmed swing highs and lows
	SourcePointOfControl                     // the busiest price of the volume profile
	SourceValueArea                          // an edge of the 70 % value area
	SourceVolume                             // a high-volume node
	SourceEnds                               // highs, lows and closes of candles crowd there
)

var sourceNames = [...]string{"swing", "poc", "value_area", "volume", "ends"}

// AppendNames appends the names of the sources in s, in a fixed order.
func (s Sources) AppendNames(dst []string) []string {
	for i, name := range sourceNames {
		if s&(1<<i) != 0 {
			dst = append(dst, name)
		}
	}
	return dst
}

// Level is one price at which a market may turn, and the zone around it.
type Level struct {
	// ID stays the same from run to run while the level does: it is made of
	// the candle that anchors the level, not of its price, which drifts as
	// volume and touches arrive.
	ID        uint64
	Role      Role
	Status    Status
	Sources   Sources
	Price     float64 // representative price, Low ≤ Price ≤ High
	Low, High float64 // the zone
	// Strength ranks, 0 to 1, and is no probability: the share of all zones that
	// are expected to exceed the lines at their distance by less than this one.
	Strength float64
	// Touches counts episodes, since the first swing of the level (or the first
	// candle, where no swing made it): price entered the zone after having been
	// outside. Candles in a row that meet the zone are one touch, the one that
	// is still under way among them.
	Touches int
	// FirstTouch and LastTouch are the open times, in Unix ms, of the candles
	// that began the first and the last episode; 0 and 0 with no touches.
	FirstTouch, LastTouch int64

	// NoOdds is why the level has no odds; where it is not OddsKnown, what
	// follows is zero and says nothing. What touched, held and broke mean is told
	// at Judge. Odds come from the table of this program, see Odds.
	NoOdds           NoOdds
	TouchProbability float64 // that price comes to the touch line within Horizon candles
	HoldProbability  float64 // that the level holds, given that it is touched and decided
	// HoldInterval is the 95 % interval of HoldProbability: how far hold rates
	// strayed, from week to week, from odds like these on pairs and weeks the fit
	// had not seen.
	HoldInterval [2]float64
	BaselineHold float64 // how often any line at that distance held: what to compare HoldProbability with
	Samples      int     // decided outcomes HoldInterval rests on
}

// Analysis is what one series of candles says as of the close of its last one.
type Analysis struct {
	AsOf      int64   // close time of the last closed candle, exclusive, Unix ms
	LastPrice float64 // its close
	ATR       float64 // mean true range of the last 100 candles (all, if fewer), price units
	Candles   int
	Missing   int // holes between the first and the last candle
	// Supports and Resistances run from the nearest level outwards. They belong
	// to the Finder and are overwritten by its next Find.
	Supports, Resistances []Level
}

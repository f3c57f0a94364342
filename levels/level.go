package levels

import "errors"

// Algorithm names the rules for finding levels. It changes whenever equal candles
// would give different levels, so that readers can distinguish a change of the
// market from a change of the method.
const Algorithm = "4"

// Horizon is how many candles ahead the outcome of a level is judged.
const Horizon = 168

// MinCandles is the minimum number of candles for an analysis. With fewer, the mean
// true range and all counts are unreliable.
const MinCandles = 50

// MaxSide is the maximum number of levels on either side of the price; an analysis
// keeps the strongest.
const MaxSide = 10

// DrawEdge is the edge, in points, from which Find returns a level at the time it is
// drawn; KeepEdge is the least it must have at every close until levels are drawn again.
// A side may have no such level. See Level.Faint.
const (
	DrawEdge = 3
	KeepEdge = 1
)

// DrawDistance is the maximum distance of a level from the last price, in ATR, at the time
// it is drawn. Price may then move away from it until levels are drawn again.
const DrawDistance = 9

// ErrTooFewCandles is wrapped by Find for fewer than MinCandles candles.
var ErrTooFewCandles = errors.New("too few candles")

// Role is the side of a level relative to the as-of close. It is derived from the
// price and never stored as a state.
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

// Status is what price last did to a level.
type Status uint8

// The statuses, which only closes decide: a wick through a zone that closes back does not
// break it. State, which replaces them, is decided by tests, where it does if it goes through
// by an ATR: see Record.
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
	SourceEnds                               // a cluster of highs, lows and closes of candles
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

// separating are the methods that find levels more often than lines moved at random by
// up to two ATR. The others find both equally often: see docs/levels-research.md.
const separating = SourcePointOfControl | SourceVolume

// FoundBy returns the methods of Sources that tell the level from others. Without any,
// it was found where candles turned and closed, as every level is.
func (l *Level) FoundBy() Sources { return l.Sources & separating }

// Level is one price at which a market may turn, and the zone around it. Analyses hold
// and store many, so a Level is kept small: the fields are ordered by size, and counts
// stop at 65,535, which no series that the service analyses reaches.
type Level struct {
	// ID is stable from run to run: it is derived from the level's anchor candle,
	// not from its price, which drifts with new volume and touches.
	ID uint64
	// Replaces is the ID of a level that this one has replaced; 0 for none. Find does
	// not set it: it knows one series. Earlier are the ones that level had replaced, the
	// newest first; 0 for none.
	Replaces uint64
	Earlier  [2]uint64

	Price     float64 // representative price, Low ≤ Price ≤ High
	Low, High float64 // the zone

	// FirstTouch and LastTouch are the open times, in Unix ms, of the candles
	// that began the first and the last episode; 0 and 0 with no touches.
	FirstTouch, LastTouch int64

	// FirstTested and LastTested are the open times, in Unix ms, of the candles that
	// began the first and the last test; 0 and 0 without tests.
	FirstTested, LastTested int64

	// The odds come from the built-in table, see Odds. Moment.Judge defines touched, held
	// and broke. Unless NoOdds is OddsKnown, the fields up to BaselineHold, and Samples,
	// are zero and have no meaning.
	TouchProbability float32 // that price reaches the touch line within Horizon candles
	HoldProbability  float32 // that the level holds, given that it is touched and decided
	// HoldInterval is the 95 % interval of the hold rate of levels with about this
	// HoldProbability, over years: how far the rate of later times and of pairs outside
	// the fit deviated from such odds in bootstrap samples of blocks of time. In a single
	// week, or on a single pair, rates deviate further.
	HoldInterval [2]float32
	BaselineHold float32 // hold rate of any line at that distance, to compare with HoldProbability

	// Edge is how much more often than any line at its distance the level is expected
	// to hold if it is touched, in points (hundredths of a probability). Levels are
	// ranked and chosen by it. It depends on the level and its place, not on the
	// moment; HoldProbability depends on both, so it does not exceed BaselineHold by
	// exactly Edge.
	Edge float32
	// DrawnEdge is the Edge at the time the levels were last drawn; see Faint.
	DrawnEdge float32
	// Strength is the rank of Edge from 0 to 1: the share of levels with a smaller
	// one, of those with at least 0.
	Strength float32
	Samples  int32 // decided outcomes behind HoldInterval

	// Record is what tests of the price have shown.
	Record

	// Touches counts episodes since the first swing of the level, or since the
	// first candle if it has no swing: price enters the zone after having been
	// outside. Consecutive candles that meet the zone are one touch. An episode
	// that has not ended is included. Record.Tests replaces it: a price that moves
	// about a zone touches it often and tests it once.
	Touches uint16
	// Sources are all methods that have a finding in the zone. See FoundBy.
	Sources Sources
	Role    Role
	// Status is what the closes in the zone say. Record.State replaces it, which speaks
	// of the present role.
	Status Status
	NoOdds NoOdds // the reason why the level has no odds
}

// Faint reports whether the level has too little edge to be shown unasked, if levels are
// shown from an edge of least points on: less at the time they were drawn, or more than
// two points below it now. With one limit for both, levels near it would come and go with
// every candle.
func (l *Level) Faint(least float64) bool {
	return faint(l.DrawnEdge, l.Edge, float32(least), float32(least-(DrawEdge-KeepEdge)))
}

func faint(drawn, now, draw, keep float32) bool { return !(drawn >= draw && now >= keep) }

// Analysis is the result for one series of candles as of its last close.
type Analysis struct {
	AsOf      int64   // close time of the last closed candle, exclusive, Unix ms
	LastPrice float64 // its close
	ATR       float64 // mean true range of the last 100 candles (all, if fewer), price units
	Candles   int
	Missing   int // candles absent between the first and the last
	// Supports and Resistances are sorted from the nearest level outwards. They
	// belong to the Finder, and its next Find overwrites them.
	Supports, Resistances []Level
}

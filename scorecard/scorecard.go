// Package scorecard compares the odds of levels with their outcomes. It is pure
// arithmetic on closed candles: no clock, no I/O.
//
// Each series has at most one open promise: the first analysis stored while it has none.
// Once a horizon of candles has closed after the promise, the next stored analysis judges
// it with its own candles and becomes the new promise. So the judged moments are at least
// a horizon apart, as in the calibration: if every candle were judged, 168 outcomes would
// share nearly all their candles and count as 168 times the evidence. A moment is chosen
// before its outcome exists, and independently of the analysis.
package scorecard

import (
	"math"
	"slices"
	"time"

	"tidemark/levels"
)

// Bins is the number of bins for each kind of odds. Hold odds are close together: they
// use the bins of the calibration, which hold equal numbers of outcomes. Touch odds are
// spread out: their bins are tenths.
const Bins = 10

// MinSamples is the number of outcomes needed for a skill and a calibration error. Even
// perfect odds differ from the outcomes by chance: in ten bins of 100 outcomes at one
// half by 0.05·√(2/π) = 0.04 on average, more than the error of a good fit.
const MinSamples = 1000

// Promise is an analysis with odds that are not judged yet.
type Promise struct {
	AsOf           time.Time // UTC
	LastPrice, ATR float64
	Simulated      bool
	// Algorithm and Table (levels.OddsVersion) are the source of the odds. If the
	// stored promise cannot be read, both are empty and there are no levels.
	Algorithm, Table string
	Levels           []PromisedLevel
}

// PromisedLevel is a level with the odds that were published.
type PromisedLevel struct {
	Price             float64 // rounded to the pair's tick
	Hold, Touch       float64 // odds
	HoldBin, TouchBin int     // of Bins
}

// Score compares odds with their outcomes.
type Score struct {
	Samples, Realised int     // all outcomes, and positive ones
	Promised          float64 // sum of the odds
	SquaredError      float64 // sum of the squared differences between odds and outcomes, 1 or 0
}

func (s *Score) add(odds float64, realised bool) {
	outcome := 0.0
	if realised {
		outcome = 1
		s.Realised++
	}
	s.Samples++
	s.Promised += odds
	s.SquaredError += (odds - outcome) * (odds - outcome)
}

// Add adds the sums of o.
func (s *Score) Add(o Score) {
	s.Samples += o.Samples
	s.Realised += o.Realised
	s.Promised += o.Promised
	s.SquaredError += o.SquaredError
}

// Means returns the mean odds, the share of positive outcomes and the Brier score. ok is
// false if there are no outcomes.
func (s Score) Means() (promised, realised, brier float64, ok bool) {
	n := float64(s.Samples)
	return s.Promised / n, float64(s.Realised) / n, s.SquaredError / n, s.Samples > 0
}

// Skill returns the Brier skill score against the share of positive outcomes. ok is false
// if there are fewer than MinSamples outcomes or all outcomes are equal.
func (s Score) Skill() (skill float64, ok bool) {
	if s.Samples < MinSamples || s.Realised == 0 || s.Realised == s.Samples {
		return 0, false
	}
	_, base, brier, _ := s.Means()
	return 1 - brier/(base*(1-base)), true
}

// Scores holds the scores of one kind of odds, by bin.
type Scores [Bins]Score

// Total returns the sum of all bins.
func (s *Scores) Total() (total Score) {
	for _, b := range s {
		total.Add(b)
	}
	return total
}

// CalibrationError returns the expected calibration error: the mean absolute difference
// between promised and realised over all outcomes. ok is false if there are fewer than
// MinSamples outcomes.
func (s *Scores) CalibrationError() (mean float64, ok bool) {
	total := s.Total()
	if total.Samples < MinSamples {
		return 0, false
	}
	for _, b := range s {
		mean += math.Abs(b.Promised-float64(b.Realised)) / float64(total.Samples)
	}
	return mean, true
}

// Tally holds the scores of levels: Touch of all levels, Hold of those that held or broke.
type Tally struct{ Hold, Touch Scores }

// Judgement is the outcome of a promise.
type Judgement struct {
	AsOf             time.Time // of the promise
	Simulated        bool
	Algorithm, Table string // of the promise
	// Skipped is the reason why the promise could not be judged; the tally is then
	// empty.
	Skipped string
	Tally
}

// Card is the sum of all judgements of an exchange and interval with the same algorithm,
// table and kind of market.
type Card struct {
	Exchange         string
	Interval         levels.Interval
	Simulated        bool
	Algorithm, Table string
	Since, Until     time.Time // AsOf of the first and last promise that was due
	Moments          int       // judged promises
	Skipped          int       // promises that were due but could not be judged
	Tally
}

// Current reports whether c is the card of the odds that this program publishes for such
// a market.
func (c *Card) Current(simulated bool) bool {
	return c.Algorithm == levels.Algorithm && c.Table == levels.OddsVersion() && c.Simulated == simulated
}

// Open counts the promises of an interval that are not judged yet.
type Open struct {
	Interval levels.Interval
	Count    int
	First    time.Time // AsOf of the oldest
}

// Judge judges a promise whose horizon has passed, with the candles in c. simulated
// reports whether c is of a simulated market.
func (p *Promise) Judge(c *levels.Candles, simulated bool) Judgement {
	j := Judgement{AsOf: p.AsOf, Simulated: p.Simulated, Algorithm: p.Algorithm, Table: p.Table}
	asOf, step := p.AsOf.UnixMilli(), c.Interval.Milliseconds()
	first, _ := slices.BinarySearch(c.OpenTime, asOf)
	last := first + levels.Horizon - 1
	switch {
	case p.Algorithm == "":
		j.Skipped = "the promise cannot be read"
	case p.Simulated != simulated:
		j.Skipped = "the market has changed between real and simulated"
	case last >= c.Len(), c.OpenTime[first] != asOf, c.OpenTime[last] != asOf+(levels.Horizon-1)*step:
		j.Skipped = "candles of its horizon are missing"
	default:
		m := levels.Moment{AsOf: asOf, LastPrice: p.LastPrice, ATR: p.ATR}
		for _, l := range p.Levels {
			outcome := m.Judge(l.Price, c).Outcome
			j.Touch[l.TouchBin].add(l.Touch, outcome != levels.Untouched)
			if outcome == levels.Held || outcome == levels.Broke {
				j.Hold[l.HoldBin].add(l.Hold, outcome == levels.Held)
			}
		}
	}
	return j
}

// Package scorecard compares the odds of levels with what came of them. It is
// arithmetic on closed candles: no clock, no I/O.
//
// Of each series one analysis at a time is kept as a promise: the first one stored
// while there is none. Once a horizon of candles has closed since, the next analysis
// that is stored judges it by the candles it has, and becomes the promise itself. So
// the moments judged lie a horizon apart, as those of the calibration do: judged at
// every candle, 168 outcomes would share nearly all of their candles and be counted
// as if they were 168 times as much evidence. The moment is chosen before its outcome
// exists, and not by what the analysis says.
package scorecard

import (
	"math"
	"slices"
	"time"

	"tidemark/levels"
)

// Bins is in how many bins odds are told apart. Hold odds lie close together:
// theirs are those of the calibration, with as many outcomes each. Touch odds lie
// all over: theirs are tenths.
const Bins = 10

// MinSamples is the number of outcomes from which on skill and calibration error
// are told. Odds that are all true miss by chance: in ten bins of 100 outcomes at
// one half by 0.05·√(2/π) = 0.04 on average, which is more than a good fit's error.
const MinSamples = 1000

// Promise is what the odds of one analysis promised, until they can be judged.
type Promise struct {
	AsOf           time.Time // UTC
	LastPrice, ATR float64
	Simulated      bool
	// Algorithm and Table (levels.OddsVersion) are those the odds come from. Both
	// are empty, and there are no levels, where what is stored cannot be read.
	Algorithm, Table string
	Levels           []PromisedLevel
}

// PromisedLevel is a level as it was given out.
type PromisedLevel struct {
	Price             float64 // rounded to the pair's tick
	Hold, Touch       float64 // odds
	HoldBin, TouchBin int     // of Bins
}

// Score compares odds with what came of them.
type Score struct {
	Samples, Realised int     // outcomes, and those that came to pass
	Promised          float64 // sum of the odds
	Missed            float64 // sum of the squared differences between odds and outcome, 1 or 0
}

func (s *Score) add(odds float64, came bool) {
	outcome := 0.0
	if came {
		outcome = 1
		s.Realised++
	}
	s.Samples++
	s.Promised += odds
	s.Missed += (odds - outcome) * (odds - outcome)
}

// Add adds what o counts.
func (s *Score) Add(o Score) {
	s.Samples += o.Samples
	s.Realised += o.Realised
	s.Promised += o.Promised
	s.Missed += o.Missed
}

// Means returns the mean of the odds, the share that came to pass and the Brier
// score; ok is false without outcomes.
func (s Score) Means() (promised, realised, brier float64, ok bool) {
	n := float64(s.Samples)
	return s.Promised / n, float64(s.Realised) / n, s.Missed / n, s.Samples > 0
}

// Skill is the Brier skill score against the share that came to pass; ok is false
// below MinSamples outcomes, and where all were the same.
func (s Score) Skill() (skill float64, ok bool) {
	if s.Samples < MinSamples || s.Realised == 0 || s.Realised == s.Samples {
		return 0, false
	}
	_, base, brier, _ := s.Means()
	return 1 - brier/(base*(1-base)), true
}

// Scores are those of odds of one kind, by bin.
type Scores [Bins]Score

// Total adds up all bins.
func (s *Scores) Total() (total Score) {
	for _, b := range s {
		total.Add(b)
	}
	return total
}

// CalibrationError is the expected calibration error, the mean distance of
// promised from realised over all outcomes; ok is false below MinSamples of them.
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

// Tally counts what became of levels: Touch of all of them, Hold of those decided.
type Tally struct{ Hold, Touch Scores }

// Judgement is what became of a promise.
type Judgement struct {
	AsOf             time.Time // of the promise
	Simulated        bool
	Algorithm, Table string // of the promise
	// Skipped says why the promise could not be judged: the tally is empty then.
	Skipped string
	Tally
}

// Card is what became of all promises of an exchange and interval that were
// made by the same algorithm and table, in the same kind of market.
type Card struct {
	Exchange         string
	Interval         levels.Interval
	Simulated        bool
	Algorithm, Table string
	Since, Until     time.Time // moments of the first and last promise that was due
	Moments          int       // judged
	Skipped          int       // due, but not to be judged
	Tally
}

// Current reports whether the odds this program gives out, in a market that is
// simulated or not, belong to c.
func (c *Card) Current(simulated bool) bool {
	return c.Algorithm == levels.Algorithm && c.Table == levels.OddsVersion() && c.Simulated == simulated
}

// Open counts the promises of an interval that are not judged yet.
type Open struct {
	Interval levels.Interval
	Count    int
	First    time.Time // AsOf of the oldest
}

// Judge judges a promise whose horizon has passed by the candles in c, of a market
// that is simulated or not.
func (p *Promise) Judge(c *levels.Candles, simulated bool) Judgement {
	j := Judgement{AsOf: p.AsOf, Simulated: p.Simulated, Algorithm: p.Algorithm, Table: p.Table}
	asOf, step := p.AsOf.UnixMilli(), c.Interval.Milliseconds()
	first, _ := slices.BinarySearch(c.OpenTime, asOf)
	last := first + levels.Horizon - 1
	switch {
	case p.Algorithm == "":
		j.Skipped = "it cannot be read"
	case p.Simulated != simulated:
		j.Skipped = "the market has become another"
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

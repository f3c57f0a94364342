package scorecard

import (
	"math"
	"time"

	"tidemark/levels"
)

// BlockOf returns the block of a time: outcomes within a block depend on each other, those
// of different blocks hardly. A block is a whole number of days (UTC), at least 24 candles.
func BlockOf(i levels.Interval, t time.Time) int64 {
	return t.UnixMilli() / day.Milliseconds() / blockDays(i)
}

const day = 24 * time.Hour

func blockDays(i levels.Interval) int64 { return max(1, int64(24*i.Duration()/day)) }

// MinBlocks and MinDecided are the least blocks and outcomes for an interval: the spread of
// fewer says little about the spread of others.
const (
	MinBlocks  = 5
	MinDecided = 30
)

// Blocks is the sums of a rate over blocks of time: what its interval is made of.
type Blocks struct {
	Blocks     int
	N, Held    int
	NN, NH, HH float64 // sums over the blocks of N², N·Held and Held²
}

// Add adds a block.
func (b *Blocks) Add(n, held int) {
	b.Blocks++
	b.N += n
	b.Held += held
	x, y := float64(n), float64(held)
	b.NN, b.NH, b.HH = b.NN+x*x, b.NH+x*y, b.HH+y*y
}

// Rate returns the share that held. ok is false without outcomes.
func (b *Blocks) Rate() (rate float64, ok bool) {
	return float64(b.Held) / float64(b.N), b.N > 0
}

// Interval95 returns the 95 % interval of Rate. ok is false with fewer than MinBlocks blocks
// or MinDecided outcomes.
//
// It is Wilson's interval of as many independent outcomes as have the spread that the rate
// has over the blocks, at most N (the design effect of cluster sampling; Kish, Survey
// Sampling, 1965), with the quantile of Student's distribution for the number of blocks.
func (b *Blocks) Interval95() (interval [2]float64, ok bool) {
	p, ok := b.Rate()
	if !ok || b.Blocks < MinBlocks || b.N < MinDecided {
		return interval, false
	}
	n := float64(b.N)
	independent := n
	if spread := variance(b.HH-2*p*b.NH+p*p*b.NN, b.Blocks) / (n * n); p == 0 || p == 1 {
		independent = float64(b.Blocks) // nothing is known of their dependence
	} else if spread > 0 {
		independent = min(n, p*(1-p)/spread)
	}
	t := student(b.Blocks - 1)
	centre := (p + t*t/(2*independent)) / (1 + t*t/independent)
	half := t / (1 + t*t/independent) * math.Sqrt(p*(1-p)/independent+t*t/(4*independent*independent))
	return [2]float64{max(0, centre-half), min(1, centre+half)}, true
}

// variance returns the variance of a sum of blocks from the sum of their squared deviations.
func variance(squares float64, blocks int) float64 {
	return max(0, squares) * float64(blocks) / float64(blocks-1)
}

// student returns the 0.975 quantile of Student's distribution, within 1 % from 4 degrees of
// freedom on (Cornish-Fisher expansion; Abramowitz and Stegun 26.7.5).
func student(freedom int) float64 {
	const z = 1.959964
	v := float64(freedom)
	return z + (z*z*z+z)/(4*v) + (5*math.Pow(z, 5)+16*z*z*z+3*z)/(96*v*v) + (3*math.Pow(z, 7)+19*math.Pow(z, 5)+17*z*z*z-15*z)/(384*v*v*v)
}

// Pair is the outcomes of a block: those of levels, and those of a control, which may be
// weighted.
type Pair struct {
	N, Held               float64
	ControlN, ControlHeld float64
}

// Lift returns how much more often levels held than the control, as a probability, and its
// 95 % interval. ok is false if one of them has no outcomes; known if the interval is, see
// Interval95.
func Lift(blocks []Pair) (lift float64, interval [2]float64, known, ok bool) {
	var sum Pair
	n := 0
	for _, b := range blocks {
		sum.N, sum.Held = sum.N+b.N, sum.Held+b.Held
		sum.ControlN, sum.ControlHeld = sum.ControlN+b.ControlN, sum.ControlHeld+b.ControlHeld
		if b.N > 0 {
			n++
		}
	}
	if sum.N == 0 || sum.ControlN == 0 {
		return 0, interval, false, false
	}
	p, q := sum.Held/sum.N, sum.ControlHeld/sum.ControlN
	lift = p - q
	if n < MinBlocks || sum.N < MinDecided {
		return lift, interval, false, true
	}
	squares := 0.0
	for _, b := range blocks {
		d := (b.Held-p*b.N)/sum.N - (b.ControlHeld-q*b.ControlN)/sum.ControlN
		squares += d * d
	}
	half := student(n-1) * math.Sqrt(max(variance(squares, n), p*(1-p)/sum.N))
	return lift, [2]float64{max(-1, lift-half), min(1, lift+half)}, true, true
}

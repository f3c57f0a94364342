package calibrate

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"tidemark/levels"
)

const (
	blocks = 5 // of time, with about as many moments each
	halves = 2 // of the pairs
	best   = 3 // judged levels a side, by strength
)

// level is a level as the service would return it, with its outcome.
type level struct {
	moment, row int32
	excess      float64
	hold, touch float64 // odds
	judged      bool    // among the best of its side, within the judged distances
	control     int     // the nearest artificial level
	week        int64
	block       int
}

// split separates the data of a fit from the data that judges it.
type split struct {
	name string
	// train reports whether a moment may be used to fit for the block from … to, whose
	// outcomes lie within it. The outcomes of the moment itself end at until.
	train func(at, until, from, to int64) bool
}

// splits are all splits: pairs are separate in each.
var splits = []split{
	{"other pairs, other times", func(at, until, from, to int64) bool { return until < from || at > to }},
	{"other pairs, earlier times", func(_, until, from, _ int64) bool { return until < from }},
	{"other pairs, later times", func(at, _, _, to int64) bool { return at > to }},
}

// borders divides time into blocks with about equal numbers of judged moments.
func (d *data) borders() []int64 {
	var at []int64
	for i := range d.moments {
		if d.moments[i].judged {
			at = append(at, d.moments[i].at)
		}
	}
	slices.Sort(at)
	borders := make([]int64, blocks+1)
	for b := range blocks {
		borders[b] = at[b*len(at)/blocks]
	}
	borders[blocks] = math.MaxInt64
	return borders
}

// half returns the half that a pair belongs to.
func half(pair int32) int32 { return pair * 7 % 5 % halves }

// predict returns the levels of all moments for whose interval s leaves data to fit
// on, by fits that used neither their pairs nor their times on any interval. Moments
// whose outcomes lie in two blocks are not judged.
func (d *data) predict(s split, seed uint64) []level {
	borders := d.borders()
	all := make([][]level, blocks*halves)
	var work sync.WaitGroup
	room := make(chan struct{}, runtime.GOMAXPROCS(0))
	for b := range blocks {
		for h := range int32(halves) {
			k := b*halves + int(h)
			work.Go(func() {
				room <- struct{}{}
				defer func() { <-room }()
				from, to := borders[b], borders[b+1]-1
				train := func(m *moment) bool {
					return half(m.pair) != h && s.train(m.at, m.at+d.horizon(m), from, to)
				}
				taught, of := make([]int, len(d.intervals)), make([]int, len(d.intervals))
				for i := range d.moments {
					one := &d.moments[i]
					of[one.interval]++
					if train(one) {
						taught[one.interval]++
					}
				}
				m := d.fit(train, seed+uint64(k))
				for i := range d.moments {
					one := &d.moments[i]
					if taught[one.interval] < of[one.interval]/20 {
						continue // too little data to fit on
					}
					if one.judged && one.at >= from && one.at+d.horizon(one) <= to && half(one.pair) == h {
						all[k] = d.choose(all[k], m, int32(i), b)
					}
				}
			})
		}
	}
	work.Wait()
	return slices.Concat(all...)
}

// choose appends the levels of a moment as Find would: chosen at the last drawing,
// with their current features.
func (d *data) choose(all []level, m *model, index int32, block int) []level {
	one := &d.moments[index]
	var kept []level
	for _, role := range [...]levels.Role{levels.Support, levels.Resistance} {
		var side []level
		for r := one.from; r < one.to; r++ {
			if d.drawnRole[r] == role {
				side = append(side, level{row: r, excess: sum(d.drawn, m.hold, one.drawn+r-one.from)})
			}
		}
		slices.SortStableFunc(side, func(a, b level) int { return cmp.Compare(b.excess, a.excess) })
		for i, l := range side {
			if i < levels.MaxSide && (i == 0 || l.excess >= levels.KeepExcess) {
				l.moment, l.week, l.block = index, (one.at/86_400_000+3)/7, block
				l.excess = sum(d.bins, m.hold, l.row)
				l.hold = clamp(baseline(&m.baseline[one.interval], d.distance[l.row]) + l.excess)
				l.touch = clamp(float64(d.reflection[l.row]) + sum(d.bins, m.touch, l.row))
				kept = append(kept, l)
			}
		}
	}
	slices.SortStableFunc(kept, func(a, b level) int { return cmp.Compare(b.excess, a.excess) })
	var judged [2]int
	for _, l := range kept {
		role := d.role[l.row]
		if x := d.distance[l.row]; x >= nearest && x <= farthest && judged[role] < best {
			judged[role]++
			l.judged = true
			l.control = int(math.Round(float64(x-nearest) / (farthest - nearest) * (controls - 1)))
		}
		all = append(all, l)
	}
	return all
}

func clamp(p float64) float64 { return min(max(p, 0.01), 0.99) }

// rates counts decided and held outcomes, of levels and of their controls.
type rates struct{ decided, held, controls, controlsHeld float64 }

func (r *rates) add(o rates) {
	r.decided += o.decided
	r.held += o.held
	r.controls += o.controls
	r.controlsHeld += o.controlsHeld
}

// lift returns the lift in points: hundredths of probability.
func (r *rates) lift() float64 { return 100 * (r.held/r.decided - r.controlsHeld/r.controls) }

// report is the result for levels; 95 % intervals are from bootstrap samples of weeks.
type report struct {
	levels, perSide           float64
	lift, neighbour, terciles [3]float64 // points: value, lower end, upper end
	byBlock                   []float64  // lift of each block of time; NaN for none
	holdSkill, holdError      float64    // Brier skill against the base rate, calibration error
	touchSkill, touchError    float64    // Brier skill above the reflection principle's, calibration error
	holdBins, touchBins       []levels.ReliabilityBin
}

// bands are the borders, in steps of the controls, within which an artificial level
// counts as a neighbour: 0.5, 1.5, … 6.5, 8 ATR.
func band(control int) int { return min(control/20, 6) }

// judge compares levels with artificial ones at the same moment, on the same side, at
// the distances of all levels on that side. Instead of drawing a few it weighs all of
// them by the frequency of their distance, so the result is not random.
func (d *data) judge(all []level) report {
	var pool [2][controls]float64
	sides := map[[2]int32]bool{}
	for _, l := range all {
		if l.judged {
			pool[d.role[l.row]][l.control]++
		}
	}
	weeks := map[int64]int{}
	var lifts, neighbours []rates
	var strong [][2]rates // of the top and the bottom tercile
	byBlock := make([]rates, blocks)
	var r report
	var odds, touch []pair
	var excess []float64
	for _, l := range all {
		if l.judged {
			excess = append(excess, l.excess)
		}
	}
	slices.Sort(excess)
	low, high := excess[len(excess)/3], excess[len(excess)*2/3]
	var reflected, reflectedAll float64
	for _, l := range all {
		if !l.judged {
			continue
		}
		w, ok := weeks[l.week]
		if !ok {
			w = len(lifts)
			weeks[l.week] = w
			lifts, neighbours, strong = append(lifts, rates{}), append(neighbours, rates{}), append(strong, [2]rates{})
		}
		role, o := d.role[l.row], d.outcome[l.row]
		sides[[2]int32{l.moment, int32(role)}] = true
		r.levels++
		var one, near rates
		if decided(o) {
			one.decided, one.held = 1, share(o == levels.Held)
			odds = append(odds, pair{l.hold, one.held})
			if l.excess > high {
				strong[w][0].add(one)
			} else if l.excess <= low {
				strong[w][1].add(one)
			}
		}
		touch = append(touch, pair{l.touch, share(touched(o))})
		miss, missAll := float64(d.reflection[l.row])-share(touched(o)), float64(d.sigma[l.row])-share(touched(o))
		reflected += miss * miss
		reflectedAll += missAll * missAll
		near = one
		weight, nearby := 0.0, 0.0
		for k, n := range pool[role] {
			weight += n
			if band(k) == band(l.control) {
				nearby += n
			}
		}
		for k, n := range pool[role] {
			c := d.controls[d.moments[l.moment].control][role][k]
			if n == 0 || !decided(c) {
				continue
			}
			one.controls += n / weight
			one.controlsHeld += n / weight * share(c == levels.Held)
			if band(k) == band(l.control) {
				near.controls += n / nearby
				near.controlsHeld += n / nearby * share(c == levels.Held)
			}
		}
		lifts[w].add(one)
		neighbours[w].add(near)
		byBlock[l.block].add(one)
	}
	r.perSide = r.levels / float64(len(sides))
	r.lift = resample(len(lifts), func(at []int) float64 {
		var t rates
		for _, w := range at {
			t.add(lifts[w])
		}
		return t.lift()
	})
	r.neighbour = resample(len(lifts), func(at []int) float64 {
		var t rates
		for _, w := range at {
			t.add(neighbours[w])
		}
		return t.lift()
	})
	r.terciles = resample(len(lifts), func(at []int) float64 {
		var top, bottom rates
		for _, w := range at {
			top.add(strong[w][0])
			bottom.add(strong[w][1])
		}
		return 100 * (top.held/top.decided - bottom.held/bottom.decided)
	})
	for b := range byBlock {
		r.byBlock = append(r.byBlock, byBlock[b].lift())
	}
	r.holdSkill = skill(odds)
	r.holdBins, r.holdError = tenths(odds)
	r.touchBins, r.touchError = tenths(touch)
	// against the better of two volatilities: of 100 candles and of the window
	mean := 0.0
	for _, p := range touch {
		mean += p.came / float64(len(touch))
	}
	spread := mean * (1 - mean) * float64(len(touch))
	r.touchSkill = skill(touch) - (1 - min(reflected, reflectedAll)/spread)
	return r
}

// resample returns f of all n weeks and its 95 % interval over a thousand bootstrap
// samples of weeks.
func resample(n int, f func(at []int) float64) [3]float64 {
	at := make([]int, n)
	for i := range at {
		at[i] = i
	}
	value := f(at)
	random := rand.New(rand.NewPCG(1, 2))
	all := make([]float64, 1000)
	for k := range all {
		for i := range at {
			at[i] = random.IntN(n)
		}
		all[k] = f(at)
	}
	slices.Sort(all)
	return [3]float64{value, all[25], all[974]}
}

// pair is odds and the outcome, 1 or 0.
type pair struct{ odds, came float64 }

// skill returns the Brier skill score against the base rate.
func skill(all []pair) float64 {
	mean, miss := 0.0, 0.0
	for _, p := range all {
		mean += p.came / float64(len(all))
		miss += (p.odds - p.came) * (p.odds - p.came)
	}
	return 1 - miss/(mean*(1-mean)*float64(len(all)))
}

// tenths compares odds with outcomes in ten bins of equal size, and returns the
// expected calibration error over them.
func tenths(all []pair) (bins []levels.ReliabilityBin, calibrationError float64) {
	slices.SortStableFunc(all, func(a, b pair) int { return cmp.Compare(a.odds, b.odds) })
	for b := range 10 {
		part := all[b*len(all)/10 : (b+1)*len(all)/10]
		if len(part) == 0 {
			continue
		}
		var sum pair
		off := 0.0
		for _, p := range part {
			sum.odds += p.odds
			sum.came += p.came
			off += p.odds - p.came
		}
		n := float64(len(part))
		bins = append(bins, levels.ReliabilityBin{Promised: rounded(sum.odds / n), Realised: rounded(sum.came / n), Samples: len(part)})
		calibrationError += math.Abs(off) / float64(len(all))
	}
	return bins, calibrationError
}

// rounded returns x to six decimals, which is more than the precision of any figure
// here.
func rounded(x float64) float64 { return math.Round(x*1e6) / 1e6 }

// validation converts r to the form of the table. It fails if the levels are too few
// for one of the figures.
func (r *report) validation(i levels.Interval, s split) (levels.Validation, error) {
	v := levels.Validation{
		Interval: i, LearntFrom: s.name, Levels: int(r.levels),
		HoldSkill: rounded(r.holdSkill), HoldError: rounded(r.holdError),
		TouchSkill: rounded(r.touchSkill), TouchError: rounded(r.touchError),
		HoldBins: r.holdBins, TouchBins: r.touchBins,
	}
	known := v.HoldSkill + v.HoldError + v.TouchSkill + v.TouchError
	for k := range 3 {
		v.Lift[k], v.NeighbourLift[k], v.Terciles[k] = rounded(r.lift[k]), rounded(r.neighbour[k]), rounded(r.terciles[k])
		known += v.Lift[k] + v.NeighbourLift[k] + v.Terciles[k]
	}
	if math.IsNaN(known) || math.IsInf(known, 0) {
		return v, fmt.Errorf("%s: too few touched levels to validate the fits on %s: %v", i, s.name, r)
	}
	return v, nil
}

// reliability returns how far outcomes deviated from the odds of unseen levels, in ten
// bins of equal size.
func (d *data) reliability(all []level) []levels.Reliability {
	var some []level
	for _, l := range all {
		if decided(d.outcome[l.row]) {
			some = append(some, l)
		}
	}
	slices.SortStableFunc(some, func(a, b level) int { return cmp.Compare(a.hold, b.hold) })
	var bins []levels.Reliability
	for b := range 10 {
		part := some[b*len(some)/10 : (b+1)*len(some)/10]
		if len(part) == 0 {
			continue
		}
		to := float32(part[len(part)-1].hold)
		if b == 9 {
			to = 1
		}
		index := map[int64]int{}
		var off []pair // of each week: sum of outcomes minus odds, number
		for _, l := range part {
			w, ok := index[l.week]
			if !ok {
				w = len(off)
				index[l.week] = w
				off = append(off, pair{})
			}
			off[w].odds += share(d.outcome[l.row] == levels.Held) - l.hold
			off[w].came++
		}
		strays := resample(len(off), func(at []int) float64 {
			var t pair
			for _, w := range at {
				t.odds += off[w].odds
				t.came += off[w].came
			}
			return t.odds / t.came
		})
		bins = append(bins, levels.Reliability{To: to, Half: float32(max(math.Abs(strays[1]), math.Abs(strays[2]))), Samples: int32(len(part))})
	}
	return bins
}

func (r *report) String() string {
	s := fmt.Sprintf("lift %s  neighbour %s  terciles %s  hold skill %+.4f error %.4f  touch skill %+.4f error %.4f  levels %.0f, %.2f a side  by block",
		interval(r.lift), interval(r.neighbour), interval(r.terciles), r.holdSkill, r.holdError, r.touchSkill, r.touchError, r.levels, r.perSide)
	for _, l := range r.byBlock {
		s += fmt.Sprintf(" %+.2f", l)
	}
	return s
}

func interval(v [3]float64) string { return fmt.Sprintf("%+.2f [%+.2f, %+.2f]", v[0], v[1], v[2]) }

package calibrate

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"tidemark/levels"
)

const (
	blocks = 4 // of time, with about as many moments each
	halves = 2 // of the base assets
	best   = 3 // judged levels a side, by edge
	// minBlocks is the minimum of clusters for an interval of 95 %, as in package
	// evaluate; odds without one are not given.
	minBlocks = 8
	// step is the distance of two artificial levels, and near how many of them are
	// within one ATR.
	step = (farthest - nearest) / (controls - 1)
	near = int((controls - 1) / (farthest - nearest))
)

// level is a level as the service would return it, with its outcome.
type level struct {
	moment, row int32
	excess      float64
	hold, touch float64 // odds
	judged      bool    // among the best of its side, within the judged distances
	control     int     // the nearest artificial level
	cluster     int64   // two horizons of calendar time, and at least a week
	block       int
}

// split separates the data of a fit from the data that judges it.
type split struct {
	name string
	// train reports whether a moment may be used to fit for the block from … to, whose
	// outcomes lie within it. The outcomes of the moment itself end at until.
	train func(at, until, from, to int64) bool
}

// splits are all splits: base assets are separate in each. The first is a forecast:
// its results are those of a table that was used after it was made.
var splits = []split{
	{"other pairs, earlier times", func(_, until, from, _ int64) bool { return until < from }},
	{"other pairs, other times", func(at, until, from, to int64) bool { return until < from || at > to }},
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

// half returns the half that a base asset belongs to.
func (d *data) half(asset int32) int32 {
	sum := sha256.Sum256([]byte(d.assets[asset]))
	return int32(sum[0]) % halves
}

// predict returns the levels of all moments for whose interval s leaves data to fit
// on, by fits that used neither their assets nor their times on any interval. Moments
// whose outcomes lie in two blocks are not judged. moments is the number of those that
// are, by interval; many have no level. fitted is called after each fit.
func (d *data) predict(s split, seed uint64, fitted func()) (predicted []level, moments []int) {
	borders := d.borders()
	all, judged := make([][]level, blocks*halves), make([][]int, blocks*halves)
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
					return d.half(m.asset) != h && s.train(m.at, m.at+d.horizon(m), from, to)
				}
				taught, of := make([]int, len(d.intervals)), make([]int, len(d.intervals))
				enough := false
				for i := range d.moments {
					one := &d.moments[i]
					of[one.interval]++
					if train(one) {
						taught[one.interval]++
					}
				}
				for k := range of {
					enough = enough || taught[k] > 0 && taught[k] >= of[k]/20
				}
				defer fitted()
				if !enough {
					return // too little data to fit on
				}
				m := d.fit(train, seed+uint64(k), inTurn)
				judged[k] = make([]int, len(d.intervals))
				for i := range d.moments {
					one := &d.moments[i]
					if taught[one.interval] == 0 || taught[one.interval] < of[one.interval]/20 {
						continue
					}
					if one.judged && one.at >= from && one.at+d.horizon(one) <= to && d.half(one.asset) == h {
						all[k] = d.choose(all[k], m, int32(i), b)
						judged[k][one.interval]++
					}
				}
			})
		}
	}
	work.Wait()
	moments = make([]int, len(d.intervals))
	for _, some := range judged {
		for i, n := range some {
			moments[i] += n
		}
	}
	return slices.Concat(all...), moments
}

// choose appends the levels of a moment as Find would: chosen at the last drawing, with
// their current edge and odds.
func (d *data) choose(all []level, m *model, index int32, block int) []level {
	one := &d.moments[index]
	var kept []level
	for _, role := range [...]levels.Role{levels.Support, levels.Resistance} {
		var side []level
		for r := one.from; r < one.to; r++ {
			if d.drawnRole[r] == role && !d.beyond[r] {
				if excess := sum(d.drawn, m.rank, one.drawn+r-one.from); excess >= levels.DrawEdge/100.0 {
					side = append(side, level{row: r, excess: excess})
				}
			}
		}
		slices.SortStableFunc(side, func(a, b level) int { return cmp.Compare(b.excess, a.excess) })
		for _, l := range side[:min(len(side), levels.MaxSide)] {
			if l.excess = sum(d.bins, m.rank, l.row); l.excess >= levels.KeepEdge/100.0 {
				kept = append(kept, l)
			}
		}
	}
	slices.SortStableFunc(kept, func(a, b level) int { return cmp.Compare(b.excess, a.excess) })
	length := max(2*d.horizon(one), 7*24*3_600_000)
	var judged [2]int
	for _, l := range kept {
		l.moment, l.block = index, block
		l.cluster = (one.at + 3*24*3_600_000) / length
		l.hold = clamp(baseline(&m.baseline[one.interval], d.distance[l.row]) + d.holdExcess(m, l.row))
		l.touch = d.touchOdds(m, l.row)
		role := d.role[l.row]
		if x := d.distance[l.row]; x >= nearest && x <= farthest && judged[role] < best {
			judged[role]++
			l.judged = true
			l.control = stepOf(x)
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

// report is the result for levels; 95 % intervals are from bootstrap samples of
// clusters of time.
type report struct {
	levels, coverage          float64 // judged levels; share of sides with one
	clusters                  int
	lift, neighbour, terciles [3]float64 // points: value, lower end, upper end
	byBlock                   []float64  // lift of each block of time; NaN for none
	holdSkill, holdError      float64    // Brier skill against the base rate, calibration error
	touchSkill, touchError    float64    // Brier skill above the reflection principle's, calibration error
	holdBins, touchBins       []levels.ReliabilityBin
}

// cluster is what is counted in a cluster of time.
type cluster struct {
	lift, neighbour rates
	strong          [2]rates // of the top and the bottom tercile
}

// judge compares levels with artificial ones at the same moment, on the same side, at
// the distances of all levels on that side, or of those within one ATR of the level's
// own. Instead of drawing a few it weighs all of them by the frequency of their
// distance, so the result is not random. moments is the number of moments judged.
func (d *data) judge(all []level, moments int) report {
	var before [2][controls + 1]float64 // levels nearer than each artificial one
	var pool [2][controls]float64
	sides := map[[2]int32]bool{}
	var excess []float64
	for _, l := range all {
		if l.judged {
			pool[d.role[l.row]][l.control]++
			excess = append(excess, l.excess)
		}
	}
	for role := range pool {
		for k, n := range pool[role] {
			before[role][k+1] = before[role][k] + n
		}
	}
	slices.Sort(excess)
	low, high := excess[len(excess)/3], excess[len(excess)*2/3]
	numbers := map[int64]int{}
	var clusters []cluster
	byBlock := make([]rates, blocks)
	var r report
	var odds, touch []pair
	var reflected, reflectedAll float64
	for _, l := range all {
		if !l.judged {
			continue
		}
		w, ok := numbers[l.cluster]
		if !ok {
			w = len(clusters)
			numbers[l.cluster] = w
			clusters = append(clusters, cluster{})
		}
		role, o := d.role[l.row], d.outcome[l.row]
		sides[[2]int32{l.moment, int32(role)}] = true
		r.levels++
		var one, close rates
		if decided(o) {
			one.decided, one.held = 1, share(o == levels.Held)
			odds = append(odds, pair{l.hold, one.held})
			if l.excess > high {
				clusters[w].strong[0].add(one)
			} else if l.excess <= low {
				clusters[w].strong[1].add(one)
			}
		}
		touch = append(touch, pair{l.touch, share(touched(o))})
		miss, missAll := float64(d.reflection[l.row])-share(touched(o)), float64(d.sigma[l.row])-share(touched(o))
		reflected += miss * miss
		reflectedAll += missAll * missAll
		close = one
		from, to := neighbours(l.control)
		weight, nearby := before[role][controls], before[role][to]-before[role][from]
		for k, n := range pool[role] {
			c := d.controls[d.moments[l.moment].control][role][k]
			if n == 0 || !decided(c) {
				continue
			}
			held := share(c == levels.Held)
			one.controls += n / weight
			one.controlsHeld += n / weight * held
			if k >= from && k < to {
				close.controls += n / nearby
				close.controlsHeld += n / nearby * held
			}
		}
		clusters[w].lift.add(one)
		clusters[w].neighbour.add(close)
		byBlock[l.block].add(one)
	}
	r.clusters = len(clusters)
	r.coverage = float64(len(sides)) / float64(2*moments)
	of := func(figure func(t *cluster) float64) [3]float64 {
		return resample(len(clusters), func(at []int) float64 {
			var t cluster
			for _, w := range at {
				t.lift.add(clusters[w].lift)
				t.neighbour.add(clusters[w].neighbour)
				t.strong[0].add(clusters[w].strong[0])
				t.strong[1].add(clusters[w].strong[1])
			}
			return figure(&t)
		})
	}
	r.lift = of(func(t *cluster) float64 { return t.lift.lift() })
	r.neighbour = of(func(t *cluster) float64 { return t.neighbour.lift() })
	r.terciles = of(func(t *cluster) float64 {
		return 100 * (t.strong[0].held/t.strong[0].decided - t.strong[1].held/t.strong[1].decided)
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

// resample returns f of all n clusters and its 95 % interval over a thousand bootstrap
// samples of them.
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
func (r *report) validation(i levels.Interval, learntFrom string) (levels.Validation, error) {
	v := levels.Validation{
		Interval: i, LearntFrom: learntFrom, Levels: int(r.levels),
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
		return v, fmt.Errorf("%s: too few touched levels to validate the fits on %s: %v", i, learntFrom, r)
	}
	return v, nil
}

// reliability returns how far outcomes of an interval deviated from the odds of unseen
// levels, in ten bins of equal size.
func (d *data) reliability(all []level, interval int8) []levels.Reliability {
	var some []level
	for _, l := range all {
		if d.moments[l.moment].interval == interval && decided(d.outcome[l.row]) {
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
		var off []pair // of each cluster: sum of outcomes minus odds, number
		for _, l := range part {
			w, ok := index[l.cluster]
			if !ok {
				w = len(off)
				index[l.cluster] = w
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
	s := fmt.Sprintf("lift %s  neighbour %s  terciles %s  hold skill %+.4f error %.4f  touch skill %+.4f error %.4f  levels %.0f on %.0f %% of the sides, %d clusters  by block",
		interval(r.lift), interval(r.neighbour), interval(r.terciles), r.holdSkill, r.holdError, r.touchSkill, r.touchError, r.levels, 100*r.coverage, r.clusters)
	for _, l := range r.byBlock {
		if math.IsNaN(l) {
			s += " –"
			continue
		}
		s += fmt.Sprintf(" %+.2f", l)
	}
	return s
}

func interval(v [3]float64) string { return fmt.Sprintf("%+.2f [%+.2f, %+.2f]", v[0], v[1], v[2]) }

package calibrate

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"

	"tidemark/levels"
)

// The settings of the fits. They are the same for all intervals;
// docs/levels-research.md lists the alternatives.
const (
	maxBins     = 64     // distinct values of a feature
	shrinkage   = 500    // rows of zero effect averaged into every leaf
	rowShare    = 0.12   // of the rows, drawn for each tree
	rowLimit    = 100000 // about the most rows drawn for a tree
	columnShare = 0.30   // of the features, drawn for each tree
	// besideShare is the share of the sum fitted to the neighbours in the rank. With
	// one half, the rank still predicts the excess over the baseline.
	besideShare = 0.5
	maxDepth    = 4
	// stretch multiplies the leaves of touch odds: averaged with rows of zero effect, they
	// keep the odds of unseen times too near to the reflection principle.
	stretch = 1.1
)

// boosting are the settings of one sum of trees.
type boosting struct {
	trees, depth int
	rate         float64 // share of the residual that each tree corrects
	columns      []int   // the features it may use
}

// model is a fit in terms of bins. Its trees are shared by all intervals, because they
// compare values in ATR, candles and shares.
type model struct {
	baseline   [][3]float64 // by interval
	rank, odds []tree       // the second knows the moment, too
	touch      []tree
}

// tree makes the same comparisons for all rows, so it is a table of its leaves.
type tree struct {
	depth   int
	feature [maxDepth]int
	cut     [maxDepth]uint8
	leaf    [1 << maxDepth]float32
}

// of returns the leaf of a row.
func (t *tree) of(bins [][]uint8, row int32) int {
	k := 0
	for i := range t.depth {
		if bins[t.feature[i]][row] > t.cut[i] {
			k |= 1 << i
		}
	}
	return k
}

func sum(bins [][]uint8, trees []tree, row int32) float64 {
	total := float32(0)
	for i := range trees {
		total += trees[i].leaf[trees[i].of(bins, row)]
	}
	return float64(total)
}

func decided(o levels.Outcome) bool { return o == levels.Held || o == levels.Broke }

func touched(o levels.Outcome) bool { return o != levels.Untouched && o != levels.Pending }

// share returns 1 for an event that happened and 0 for one that did not.
func share(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// training are the rows of a fit.
type training struct {
	baseline [][3]float64 // by interval
	all      []int32
	decided  []int32   // rows with a decided outcome
	above    []float32 // by row: its outcome minus the baseline; 0 unless it is decided
	compared []int32   // decided rows of judged moments within the judged distances
	beside   []float32 // by row: its outcome minus the mean of its neighbours'
}

// prepare collects the rows of the moments that train accepts. An interval without
// such rows has no baseline.
func (d *data) prepare(train func(*moment) bool) *training {
	m := &training{
		baseline: make([][3]float64, len(d.intervals)), above: make([]float32, len(d.role)), beside: make([]float32, len(d.role)),
	}
	first := 0 // first row of an interval
	for i := range d.moments {
		one := &d.moments[i]
		if train(one) {
			step := int32(1)
			if one.judged {
				step = thin
				d.compare(m, one)
			}
			for r := one.from + int32(i)%step; r < one.to; r += step {
				m.all = append(m.all, r)
				if decided(d.outcome[r]) {
					m.decided = append(m.decided, r)
				}
			}
		}
		if (i == len(d.moments)-1 || d.moments[i+1].interval != one.interval) && len(m.decided) > first {
			b := &m.baseline[one.interval]
			*b = d.baseline(m.decided[first:])
			for _, r := range m.decided[first:] {
				m.above[r] = float32(share(d.outcome[r] == levels.Held) - baseline(b, d.distance[r]))
			}
			first = len(m.decided)
		}
	}
	return m
}

// compare adds the rows of a judged moment that have decided neighbours: artificial
// levels within one ATR, at the same moment and on the same side.
func (d *data) compare(t *training, m *moment) {
	for r := m.from; r < m.to; r++ {
		if x := d.distance[r]; x < nearest || x > compared || !decided(d.outcome[r]) {
			continue
		}
		var n, held float64
		around := d.controls[m.control][d.role[r]]
		from, to := neighbours(stepOf(d.distance[r]))
		to = min(to, stepOf(compared)+1)
		for _, o := range around[from:to] {
			if decided(o) {
				n++
				held += share(o == levels.Held)
			}
		}
		if n > 0 {
			t.compared = append(t.compared, r)
			t.beside[r] = float32(share(d.outcome[r] == levels.Held) - held/n)
		}
	}
}

// stepOf returns the number of the artificial level nearest to a distance.
func stepOf(distance float32) int { return int(math.Round((float64(distance) - nearest) / step)) }

// neighbours returns the artificial levels within one ATR of one: from the first up to,
// not including, the second.
func neighbours(k int) (from, to int) { return max(0, k-near), min(controls, k+near+1) }

func baseline(b *[3]float64, distance float32) float64 {
	x := float64(distance)
	return b[0] + b[1]*x + b[2]*x*x
}

// baseline fits the rate at which rows hold by least squares.
func (d *data) baseline(rows []int32) [3]float64 {
	var a [3][4]float64
	for _, r := range rows {
		x := float64(d.distance[r])
		v := [4]float64{1, x, x * x, share(d.outcome[r] == levels.Held)}
		for i := range 3 {
			for j := range 4 {
				a[i][j] += v[i] * v[j]
			}
		}
	}
	for i := range 3 { // Gauss and Jordan; the matrix is positive definite
		pivot := a[i][i]
		for j := range 4 {
			a[i][j] /= pivot
		}
		for k := range 3 {
			if factor := a[k][i]; k != i {
				for j := range 4 {
					a[k][j] -= factor * a[i][j]
				}
			}
		}
	}
	return [3]float64{a[0][3], a[1][3], a[2][3]}
}

// cell is a bin of a leaf.
type cell struct{ sum, count float64 }

// boost fits a sum of trees to rest by least squares and subtracts it from rest. Each
// tree uses its own random rows and features.
func (d *data) boost(o boosting, rows []int32, rest []float32, random *rand.Rand) []tree {
	var sum []tree
	var some []int32
	drawn := min(rowShare, rowLimit/float64(len(rows)+1))
	weight := shrinkage * drawn
	for range o.trees {
		some = some[:0]
		for i := skip(random, drawn); i < len(rows); i += 1 + skip(random, drawn) {
			some = append(some, rows[i])
		}
		var columns []int
		for _, k := range o.columns {
			if random.Float64() < columnShare {
				columns = append(columns, k)
			}
		}
		t, ok := d.grow(some, rest, columns, o.depth, weight)
		if !ok {
			continue
		}
		var leaves [1 << maxDepth]cell
		for _, r := range some {
			k := t.of(d.bins, r)
			leaves[k].sum += float64(rest[r])
			leaves[k].count++
		}
		for k, l := range leaves {
			t.leaf[k] = float32(o.rate * l.sum / (l.count + weight))
		}
		for _, r := range rows {
			rest[r] -= t.leaf[t.of(d.bins, r)]
		}
		sum = append(sum, t)
	}
	return sum
}

// skip returns how many rows are left out before the next one that is drawn with
// probability p.
func skip(random *rand.Rand, p float64) int {
	return int(math.Log(1-random.Float64()) / math.Log1p(-p))
}

// grow chooses the comparisons of a tree, one after the other, by the variance that
// they explain; ok is false if none explains any.
func (d *data) grow(rows []int32, rest []float32, columns []int, depth int, weight float64) (t tree, ok bool) {
	gain := func(s, n float64) float64 { return s * s / (n + weight) }
	node := make([]uint8, len(rows))
	values := make([]float32, len(rows))
	for i, r := range rows {
		values[i] = rest[r]
	}
	cells := make([]cell, maxBins<<(maxDepth-1))
	for level := range depth {
		nodes := 1 << level
		best, feature, cut := 0.0, -1, 0
		for _, k := range columns {
			clear(cells[:nodes*maxBins])
			bins := d.bins[k]
			for i, r := range rows {
				c := &cells[int(node[i])*maxBins|int(bins[r])]
				c.sum += float64(values[i])
				c.count++
			}
			var left, all [1 << (maxDepth - 1)]cell
			for q := range nodes {
				for _, c := range cells[q*maxBins : (q+1)*maxBins] {
					all[q].sum += c.sum
					all[q].count += c.count
				}
			}
			for b := range d.cuts[k] {
				total := 0.0
				for q := range nodes {
					c := &cells[q*maxBins|b]
					left[q].sum += c.sum
					left[q].count += c.count
					total += gain(left[q].sum, left[q].count) + gain(all[q].sum-left[q].sum, all[q].count-left[q].count) - gain(all[q].sum, all[q].count)
				}
				if total > best {
					best, feature, cut = total, k, b
				}
			}
		}
		if feature < 0 {
			return t, false
		}
		t.depth = level + 1
		t.feature[level], t.cut[level] = feature, uint8(cut)
		for i, r := range rows {
			if d.bins[feature][r] > uint8(cut) {
				node[i] |= 1 << level
			}
		}
	}
	return t, true
}

// fit fits all sums on the rows of the moments that train accepts. The sums do not
// depend on each other; run calls their fits, in any order or at once, and returns when all
// have ended.
func (d *data) fit(train func(*moment) bool, seed uint64, run func(fits ...func())) *model {
	t := d.prepare(train)
	m := &model{baseline: t.baseline}
	columns := make([]int, len(d.bins))
	for k := range columns {
		columns[k] = k
	}
	rank := boosting{320, 2, 0.06, columns[:levels.HoldFeatures]}
	odds := boosting{320, 2, 0.06, columns[:levels.OddsFeatures]}
	touch := boosting{200, 4, 0.06, columns}
	var fits []func()
	add := func(to *[]tree, o boosting, rows []int32, rest []float32) {
		random := rand.New(rand.NewPCG(seed, uint64(len(fits))))
		fits = append(fits, func() { *to = d.boost(o, rows, slices.Clone(rest), random) })
	}
	var beside []tree
	add(&m.rank, rank, t.decided, t.above)
	add(&beside, rank, t.compared, t.beside)
	add(&m.odds, odds, t.decided, t.above)
	reached := make([]float32, len(d.role))
	for _, r := range t.all {
		reached[r] = float32(share(touched(d.outcome[r]))) - d.reflection[r]
	}
	add(&m.touch, touch, t.all, reached)
	run(fits...)
	for i := range m.touch {
		for l := range m.touch[i].leaf {
			m.touch[i].leaf[l] *= stretch
		}
	}
	for _, one := range beside {
		for l := range one.leaf {
			one.leaf[l] *= besideShare
		}
		m.rank = append(m.rank, one)
	}
	return m
}

// atOnce calls all functions at once.
func atOnce(all ...func()) {
	var work sync.WaitGroup
	for _, f := range all {
		work.Go(f)
	}
	work.Wait()
}

// inTurn calls one function after the other.
func inTurn(all ...func()) {
	for _, f := range all {
		f()
	}
}

// holdExcess returns the excess of a row as hold odds have it.
func (d *data) holdExcess(m *model, row int32) float64 {
	return (sum(d.bins, m.rank, row) + sum(d.bins, m.odds, row)) / 2
}

// touchOdds returns the touch odds of a row.
func (d *data) touchOdds(m *model, row int32) float64 {
	return clamp(float64(d.reflection[row]) + sum(d.bins, m.touch, row))
}

// trees converts the sums of m to the form of the table.
func (d *data) trees(m *model) *levels.Trees {
	return &levels.Trees{Rank: d.export(m.rank), Hold: d.export(m.odds), Touch: d.exportDeep(m.touch)}
}

// export converts a sum of trees of two comparisons to the form of the table.
func (d *data) export(sum []tree) []levels.Tree {
	all := make([]levels.Tree, len(sum))
	for i, t := range sum {
		copy(all[i].Leaf[:], t.leaf[:])
		for k := range all[i].Feature {
			all[i].Feature[k], all[i].Cut[k] = uint8(t.feature[k]), d.cuts[t.feature[k]][t.cut[k]]
		}
	}
	return all
}

// exportDeep converts a sum of trees of four comparisons.
func (d *data) exportDeep(sum []tree) []levels.DeepTree {
	all := make([]levels.DeepTree, len(sum))
	for i, t := range sum {
		all[i].Leaf = t.leaf
		for k := range all[i].Feature {
			all[i].Feature[k], all[i].Cut[k] = uint8(t.feature[k]), d.cuts[t.feature[k]][t.cut[k]]
		}
	}
	return all
}

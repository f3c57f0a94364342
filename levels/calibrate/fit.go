package calibrate

import (
	"math/rand/v2"
	"slices"

	"tidemark/levels"
)

// The settings of the fits. They were chosen once, for 1h, and not tuned for each
// interval; docs/levels-research.md lists the alternatives.
const (
	maxBins     = 64  // distinct values of a feature
	holdTrees   = 320 // of each sum
	averaged    = 2   // sums of hold odds; their random draws differ
	touchTrees  = 160
	holdRate    = 0.06 // share of the residual that each tree corrects
	touchRate   = 0.10
	shrinkage   = 500  // rows of zero effect averaged into every leaf
	rowShare    = 0.12 // of the rows, drawn for each tree
	columnShare = 0.30 // of the features, drawn for each tree
)

// model is a fit in terms of bins. Its trees are shared by all intervals, because they
// compare values in ATR, candles and shares.
type model struct {
	baseline    [][3]float64 // by interval
	hold, touch []tree
}

type tree struct {
	feature [2]int
	cut     [2]uint8
	leaf    [4]float32
}

// of returns the leaf of a row.
func (t *tree) of(bins [][]uint8, row int32) int {
	k := 0
	if bins[t.feature[0]][row] > t.cut[0] {
		k = 1
	}
	if bins[t.feature[1]][row] > t.cut[1] {
		k += 2
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

// fit fits all sums on the rows of the moments that train accepts. An interval without
// such rows has no baseline.
func (d *data) fit(train func(*moment) bool, seed uint64) *model {
	m := &model{baseline: make([][3]float64, len(d.intervals))}
	var rows, all []int32
	above := make([]float32, len(d.role)) // outcome of a row minus its baseline
	first := 0                            // first row of an interval
	for i := range d.moments {
		one := &d.moments[i]
		if train(one) {
			step := int32(1)
			if one.judged {
				step = thin
			}
			for r := one.from; r < one.to; r += step {
				all = append(all, r)
				if decided(d.outcome[r]) {
					rows = append(rows, r)
				}
			}
		}
		if (i == len(d.moments)-1 || d.moments[i+1].interval != one.interval) && len(rows) > first {
			b := &m.baseline[one.interval]
			*b = d.baseline(rows[first:])
			for _, r := range rows[first:] {
				above[r] = float32(share(d.outcome[r] == levels.Held) - baseline(b, d.distance[r]))
			}
			first = len(rows)
		}
	}
	for k := range averaged {
		sum := d.boost(holdTrees, holdRate, rows, slices.Clone(above), levels.HoldFeatures, rand.New(rand.NewPCG(seed, uint64(k))))
		for _, t := range sum {
			for l := range t.leaf {
				t.leaf[l] /= averaged
			}
			m.hold = append(m.hold, t)
		}
	}
	for _, r := range all {
		above[r] = float32(share(touched(d.outcome[r]))) - d.reflection[r]
	}
	m.touch = d.boost(touchTrees, touchRate, all, above, len(d.bins), rand.New(rand.NewPCG(seed, averaged)))
	return m
}

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
// tree makes the same two comparisons for all rows, so it is a table of four leaves,
// and uses its own random rows and features.
func (d *data) boost(trees int, rate float64, rows []int32, rest []float32, width int, random *rand.Rand) []tree {
	var sum []tree
	for range trees {
		some := make([]int32, 0, len(rows)/7)
		for _, r := range rows {
			if random.Float64() < rowShare {
				some = append(some, r)
			}
		}
		var columns []int
		for k := range width {
			if random.Float64() < columnShare {
				columns = append(columns, k)
			}
		}
		t, ok := d.grow(some, rest, columns)
		if !ok {
			continue
		}
		var leaves [4]cell
		for _, r := range some {
			k := t.of(d.bins, r)
			leaves[k].sum += float64(rest[r])
			leaves[k].count++
		}
		for k, l := range leaves {
			t.leaf[k] = float32(rate * l.sum / (l.count + shrinkage*rowShare))
		}
		for _, r := range rows {
			rest[r] -= t.leaf[t.of(d.bins, r)]
		}
		sum = append(sum, t)
	}
	return sum
}

// grow chooses the two comparisons of a tree, one after the other, by the variance
// that they explain; ok is false if none explains any.
func (d *data) grow(rows []int32, rest []float32, columns []int) (t tree, ok bool) {
	gain := func(s, n float64) float64 { return s * s / (n + shrinkage*rowShare) }
	node := make([]uint8, len(rows))
	for level := range 2 {
		nodes := 1 << level
		best, feature, cut := 0.0, -1, 0
		for _, k := range columns {
			var cells [2 * maxBins]cell
			bins := d.bins[k]
			for i, r := range rows {
				c := &cells[int(node[i])*maxBins|int(bins[r])]
				c.sum += float64(rest[r])
				c.count++
			}
			var left, all [2]cell
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
		t.feature[level], t.cut[level] = feature, uint8(cut)
		for i, r := range rows {
			if d.bins[feature][r] > uint8(cut) {
				node[i] |= 1 << level
			}
		}
	}
	return t, true
}

// export converts a sum of trees to the form of the table.
func (d *data) export(sum []tree) []levels.Tree {
	all := make([]levels.Tree, len(sum))
	for i, t := range sum {
		all[i].Leaf = t.leaf
		for k := range 2 {
			all[i].Feature[k], all[i].Cut[k] = uint8(t.feature[k]), d.cuts[t.feature[k]][t.cut[k]]
		}
	}
	return all
}

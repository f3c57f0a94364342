package levels

// lanes is the number of zones in a batch.
const lanes = 8

// batch holds the features of up to lanes zones, by feature. Sums of trees are computed
// with the trees in the outer loop and the zones in the inner one. It is fast because a tree
// is read once for all zones, its comparisons become bits without a branch to predict, and
// the additions for one zone do not wait for those for another. The leaves of each zone
// are added in the order of the trees, so its sum is that of sum to the last bit.
type batch struct {
	of [featureRoom][lanes]float32
	n  int // zones
}

// featureRoom is a power of two, so that a masked index needs no check.
const featureRoom = 64

const _ = uint(featureRoom - features)

// add adds a zone.
func (b *batch) add(v *[features]float32) {
	for i, x := range v {
		b.of[i][b.n%lanes] = x
	}
	b.n++
}

// sum returns the sum of each zone; those of lanes without a zone have no meaning. The
// loop over the lanes is written out to keep the sums in registers.
func (b *batch) sum(trees []Tree) (total [lanes]float32) {
	var t0, t1, t2, t3, t4, t5, t6, t7 float32
	for i := range trees {
		t := &trees[i]
		one, other := &b.of[t.Feature[0]%featureRoom], &b.of[t.Feature[1]%featureRoom]
		cut1, cut2, leaf := t.Cut[0], t.Cut[1], &t.Leaf
		t0 += leaf[bit(one[0] > cut1)|bit(other[0] > cut2)<<1]
		t1 += leaf[bit(one[1] > cut1)|bit(other[1] > cut2)<<1]
		t2 += leaf[bit(one[2] > cut1)|bit(other[2] > cut2)<<1]
		t3 += leaf[bit(one[3] > cut1)|bit(other[3] > cut2)<<1]
		t4 += leaf[bit(one[4] > cut1)|bit(other[4] > cut2)<<1]
		t5 += leaf[bit(one[5] > cut1)|bit(other[5] > cut2)<<1]
		t6 += leaf[bit(one[6] > cut1)|bit(other[6] > cut2)<<1]
		t7 += leaf[bit(one[7] > cut1)|bit(other[7] > cut2)<<1]
	}
	return [lanes]float32{t0, t1, t2, t3, t4, t5, t6, t7}
}

// sumDeep is sum for deep trees.
func (b *batch) sumDeep(trees []DeepTree) (total [lanes]float32) {
	for i := range trees {
		t := &trees[i]
		v0, v1 := &b.of[t.Feature[0]%featureRoom], &b.of[t.Feature[1]%featureRoom]
		v2, v3 := &b.of[t.Feature[2]%featureRoom], &b.of[t.Feature[3]%featureRoom]
		for z := range lanes {
			k := bit(v0[z] > t.Cut[0]) | bit(v1[z] > t.Cut[1])<<1 | bit(v2[z] > t.Cut[2])<<2 | bit(v3[z] > t.Cut[3])<<3
			total[z] += t.Leaf[k]
		}
	}
	return total
}

// bit returns 1 for true. The compiler makes it one instruction.
func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

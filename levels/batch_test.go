// This file pins that sums of a batch are those of the definition, to the last bit.

package levels

import (
	"math/rand/v2"
	"testing"
)

// sumDeep is sum for deep trees.
func sumDeep(trees []DeepTree, v *[features]float32) float32 {
	total := float32(0)
	for i := range trees {
		t, k := &trees[i], 0
		for j, feature := range t.Feature {
			if v[feature] > t.Cut[j] {
				k |= 1 << j
			}
		}
		total += t.Leaf[k]
	}
	return total
}

func TestBatch_SumsAreThoseOfTheDefinitionToTheLastBit(t *testing.T) {
	trees := Odds().Trees
	random := rand.New(rand.NewPCG(1, 2))
	var b batch
	for range 300 {
		zones := make([][features]float32, 1+random.IntN(lanes))
		b.n = 0
		for k := range zones {
			for i := range zones[k] {
				zones[k][i] = float32(4 * random.NormFloat64())
			}
			// at a cut
			t := &trees.Rank[random.IntN(len(trees.Rank))]
			zones[k][t.Feature[0]] = t.Cut[0]
			b.add(&zones[k])
		}
		rank, hold, touch := b.sum(trees.Rank), b.sum(trees.Hold), b.sumDeep(trees.Touch)
		for k := range zones {
			v := &zones[k]
			if rank[k] != sum(trees.Rank, v) || hold[k] != sum(trees.Hold, v) || touch[k] != sumDeep(trees.Touch, v) {
				t.Fatalf("zone %d of %d: %v %v %v", k, len(zones), rank[k], hold[k], touch[k])
			}
		}
	}
}

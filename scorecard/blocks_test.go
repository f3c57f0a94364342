package scorecard

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// Outcomes of a block are alike: its rate differs from that of others. The interval contains
// the true rate in about 95 of 100 cases, where one of independent outcomes does in 70.
func TestBlocks_TheIntervalKnowsThatOutcomesOfADayDependOnEachOther(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	covered, naive := 0, 0
	const runs = 2000
	for range runs {
		var b Blocks
		for range 30 {
			n := 1 + r.IntN(60)
			p := 0.45 + 0.15*(2*r.Float64()-1)
			held := 0
			for range n {
				if r.Float64() < p {
					held++
				}
			}
			b.Add(n, held)
		}
		i, ok := b.Interval95()
		rate, _ := b.Rate()
		if !ok || !(i[0] < rate && rate < i[1]) {
			t.Fatalf("%v of %+v", i, b)
		}
		if i[0] <= 0.45 && 0.45 <= i[1] {
			covered++
		}
		if math.Abs(rate-0.45) <= 1.96*math.Sqrt(rate*(1-rate)/float64(b.N)) {
			naive++
		}
	}
	if share := float64(covered) / runs; share < 0.93 || share > 0.975 {
		t.Errorf("covered in %.3f of the cases; without blocks %.3f", share, float64(naive)/runs)
	}
}

func TestBlocks_SayNothingOfTooFew(t *testing.T) {
	var b Blocks
	if _, ok := b.Rate(); ok {
		t.Error("a rate of nothing")
	}
	for i := range MinBlocks {
		if _, ok := b.Interval95(); ok {
			t.Errorf("an interval of %d blocks", i)
		}
		b.Add(MinDecided/MinBlocks, MinDecided/MinBlocks)
	}
	if i, ok := b.Interval95(); !ok || i[1] != 1 || i[0] < 0.3 || i[0] > 0.6 {
		t.Errorf("all held on %d days: %v, %v", MinBlocks, i, ok)
	}
	for v, want := range map[int]float64{4: 2.776, 9: 2.262, 29: 2.045, 1000: 1.962} {
		if got := student(v); math.Abs(got-want) > 0.01*want {
			t.Errorf("%d degrees of freedom: %v, want %v", v, got, want)
		}
	}
	at := time.Date(2026, 11, 28, 23, 0, 0, 0, time.UTC)
	if BlockOf("1h", at) == BlockOf("1h", at.Add(time.Hour)) || BlockOf("1h", at) != BlockOf("15m", at) || !BlockStart("1d", BlockOf("1d", at)).Before(at) || BlockOf("1d", at) != BlockOf("1d", BlockStart("1d", BlockOf("1d", at))) {
		t.Error("blocks")
	}
}

func TestLift_ComparesWithTheControlOfTheSameDays(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	covered := 0
	const runs = 1000
	for range runs {
		blocks := make([]Pair, 25)
		for i := range blocks {
			p := 0.45 + 0.3*(2*r.Float64()-1) // of the day, for both
			n, m := 1+r.IntN(20), 30.0
			blocks[i] = Pair{N: float64(n), ControlN: m, ControlHeld: p * m}
			for range n {
				if r.Float64() < p+0.05 {
					blocks[i].Held++
				}
			}
		}
		lift, i, known, ok := Lift(blocks)
		if !ok || !known || !(i[0] < lift && lift < i[1]) {
			t.Fatal(lift, i, known, ok)
		}
		if i[0] <= 0.05 && 0.05 <= i[1] {
			covered++
		}
	}
	if share := float64(covered) / runs; share < 0.92 || share > 0.99 {
		t.Errorf("covered in %.3f of the cases", share)
	}
	if _, _, known, ok := Lift([]Pair{{N: 10, Held: 5, ControlN: 2, ControlHeld: 1}}); known || !ok {
		t.Error("an interval of one block")
	}
	if _, _, _, ok := Lift([]Pair{{N: 10, Held: 5}}); ok {
		t.Error("a lift without control")
	}
}

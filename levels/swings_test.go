// This file pins what a swing is (an extreme over candles on both sides, the
// earliest of equals), when it is known, that a longer series never changes
// it, and how prominence weighs it.

package levels

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestAppendExtremes_HandDrawn(t *testing.T) {
	for _, test := range []struct {
		name  string
		p     []float64
		span  int
		highs []int32
		lows  []int32
	}{
		{"one peak", []float64{1, 2, 3, 2, 1}, 2, []int32{2}, nil},
		{"one valley", []float64{3, 2, 1, 2, 3}, 2, nil, []int32{2}},
		{"zigzag", []float64{1, 3, 2, 5, 1, 4, 2}, 1, []int32{1, 3, 5}, []int32{2, 4}},
		{"a rise has none", []float64{1, 2, 3, 4, 5, 6}, 1, nil, nil},
		{"equals: the earliest", []float64{1, 2, 5, 5, 5, 2, 1}, 2, []int32{2}, nil},
		{"equals within reach, apart", []float64{1, 5, 2, 5, 1, 0, 0}, 2, nil, []int32{}},
		{"equals out of reach", []float64{1, 2, 5, 1, 2, 5, 2, 1}, 2, []int32{2, 5}, []int32{3}},
		{"not confirmed yet", []float64{1, 2, 3, 9, 2}, 2, nil, nil},
		{"confirmed one later", []float64{1, 2, 3, 9, 2, 1}, 2, []int32{3}, nil},
		{"too short", []float64{1, 2, 1}, 2, nil, nil},
		{"flat", []float64{4, 4, 4, 4, 4, 4, 4}, 2, nil, nil},
		{"nothing", nil, 2, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := appendExtremes(nil, test.p, 1, test.span); !slices.Equal(got, test.highs) {
				t.Errorf("highs %v, want %v", got, test.highs)
			}
			if got := appendExtremes(nil, test.p, -1, test.span); !slices.Equal(got, test.lows) {
				t.Errorf("lows %v, want %v", got, test.lows)
			}
		})
	}
}

// The definition, literally and slowly.
func TestAppendExtremes_AgreesWithTheDefinition(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		span, p := 1+r.IntN(5), make([]float64, r.IntN(120))
		for i := range p {
			p[i] = float64(r.IntN(3 + r.IntN(40))) // many ties
		}
		var want []int32
		for i := span; i < len(p)-span; i++ {
			extreme := true
			for j := i - span; j <= i+span; j++ {
				if p[j] > p[i] || p[j] == p[i] && j < i {
					extreme = false
				}
			}
			if extreme {
				want = append(want, int32(i))
			}
		}
		if got := appendExtremes(nil, p, 1, span); !slices.Equal(got, want) {
			t.Fatalf("seed %d, span %d: %v\ngot  %v\nwant %v", seed, span, p, got, want)
		}
	}
}

func TestSwings_ALongerSeriesNeverChangesAConfirmedOne(t *testing.T) {
	type known struct {
		index int32
		low   bool
		price float64
	}
	find := func(c *Candles, before int) (all []known) {
		var f swingFinder
		for _, s := range f.find(c, swingSpan) {
			if int(s.index) < before {
				all = append(all, known{s.index, s.low, s.price})
			}
		}
		return all
	}
	for seed := range uint64(5) {
		c := generate(seed, 1200)
		for end := MinCandles; end < c.Len(); end += 37 {
			early := find(window(c, 0, end), end)
			late := find(c, end-swingSpan)
			if !slices.Equal(early, late) {
				t.Fatalf("seed %d: %d candles know the swings\n%v\nall candles know, up to there,\n%v", seed, end, early, late)
			}
			if len(early) == 0 && end > 200 {
				t.Fatalf("seed %d: no swing in %d candles", seed, end)
			}
		}
	}
}

func TestProminences_HandDrawn(t *testing.T) {
	for _, test := range []struct {
		name                 string
		peaks, valleys, want []float64
	}{
		{"alone: down to the nearer end", []float64{10}, []float64{3, 5}, []float64{5}},
		{"foothills", []float64{5, 10, 7}, []float64{0, 3, 4, 0}, []float64{2, 10, 3}},
		{"behind a lower one", []float64{10, 4, 8}, []float64{0, 2, 3, 0}, []float64{10, 1, 6}},
		{"of equals the earlier is the higher", []float64{6, 6}, []float64{0, 4, 0}, []float64{6, 2}},
		{"a staircase", []float64{3, 5, 7}, []float64{0, 2, 4, 1}, []float64{1, 1, 6}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var p prominences
			if got := p.of(test.peaks, test.valleys); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestSwings_ProminenceIsTheWayBackToAHigherPeak(t *testing.T) {
	// A hill of 16 candles up to 30 and down to 12, a lower one up to 20, and
	// the end at 10. The feet are 1 below the tips.
	var rows [][5]float64
	slope := func(from, to float64, n int) {
		for i := range n {
			p := from + (to-from)*float64(i)/float64(n)
			rows = append(rows, [5]float64{p, p, p - 1, p, 1})
		}
	}
	slope(10, 30, 20)
	slope(30, 12, 18)
	slope(12, 20, 16)
	slope(20, 10, 20)
	c := draw(t, rows...)
	var f swingFinder
	want := []swing{
		{index: 20, price: 30, prominence: 30 - 9.5},     // after it down to 9.5, before it to 9
		{index: 54, price: 20, prominence: 20 - 11},      // the least foot between: 12 - 1
		{index: 38, low: true, price: 11, prominence: 9}, // up to the lower hill, 20
	}
	got := f.find(c, swingSpan)
	if len(got) != 3 {
		t.Fatalf("got %v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("swing %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
}

// This file pins how candidates become zones: near ones join, far ones do not,
// a row of them does not chain into one, zones do not overlap, and the anchor
// of a zone determines its ID.

package levels

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// swingsAt makes swing highs of the given prices and prominences, 20 candles
// apart.
func swingsAt(pairs ...float64) []swing {
	var s []swing
	for i := 0; i < len(pairs); i += 2 {
		s = append(s, swing{index: int32(10 * i), price: pairs[i], prominence: pairs[i+1]})
	}
	return s
}

func zonesOf(swings []swing, p *profile, atr float64) []zone {
	var z clusterer
	z.collect(&Candles{}, nil, swings, p, atr) // no candles: swings and profile decide
	return z.cluster(swings, atr/2)
}

func TestCluster_NearJoinFarStayApart(t *testing.T) {
	// ATR 2, so that one cluster reaches 1 to either side
	zones := zonesOf(swingsAt(100, 8, 110, 8, 100.5, 8, 103, 2), &profile{}, 2)
	want := []float64{100.25, 103, 110}
	if len(zones) != len(want) {
		t.Fatalf("got %+v, want zones at %v", zones, want)
	}
	for i, z := range zones {
		// the seed is one of the two; the other weighs half at half a reach
		if math.Abs(z.price-want[i]) > 0.1 || z.low != z.price-1 || z.high != z.price+1 {
			t.Errorf("zone %d: %v in %v to %v, want %v", i, z.price, z.low, z.high, want[i])
		}
		if z.sources != SourceSwing || z.highs == 0 || z.lows != 0 {
			t.Errorf("zone %d: %+v, want swing highs", i, z)
		}
	}
}

func TestCluster_PriceLeansToTheProminent(t *testing.T) {
	zones := zonesOf(swingsAt(100, 20, 100.4, 1), &profile{}, 2)
	if len(zones) != 1 || !(100 < zones[0].price && zones[0].price < 100.1) {
		t.Errorf("got %+v, want one zone just above 100", zones)
	}
}

func TestCluster_ARowDoesNotChain(t *testing.T) {
	var pairs []float64
	for i := range 101 {
		pairs = append(pairs, 100+float64(i)*0.3, 5+3*math.Sin(float64(i)))
	}
	zones := zonesOf(swingsAt(pairs...), &profile{}, 2) // 30 units of price, 1 a reach
	if len(zones) < 10 {
		t.Errorf("30 reaches of candidates made %d zones", len(zones))
	}
	for _, z := range zones {
		if z.high-z.low > 2+1e-9 {
			t.Errorf("a zone of %v to %v is wider than two reaches", z.low, z.high)
		}
	}
}

func TestCluster_SourcesAreThoseOfTheCandidatesInside(t *testing.T) {
	p := &profile{busiest: 1, poc: 100, val: 95, vah: 108, nodes: []node{{100, 1}, {120, 0.2}}}
	zones := zonesOf(swingsAt(95.1, 4, 130, 4), p, 2)
	want := map[float64]Sources{
		95: SourceSwing | SourceValueArea, 100: SourcePointOfControl | SourceVolume,
		108: SourceValueArea, 120: SourceVolume, 130: SourceSwing,
	}
	if len(zones) != len(want) {
		t.Fatalf("got %+v", zones)
	}
	for _, z := range zones {
		if s := want[math.Round(z.price)]; z.sources != s {
			t.Errorf("zone at %v has sources %v, want %v", z.price, z.sources.AppendNames(nil), s.AppendNames(nil))
		}
	}
}

func TestCluster_TheMostProminentSwingAnchors(t *testing.T) {
	swings := []swing{
		{index: 40, price: 100, prominence: 3},
		{index: 90, price: 100.1, prominence: 7, low: true},
		{index: 60, price: 100.2, prominence: 7},
	}
	zones := zonesOf(swings, &profile{}, 2)
	if len(zones) != 1 {
		t.Fatalf("got %+v", zones)
	}
	z := zones[0]
	if z.anchor != 60 || z.kind != anchorHigh || z.prominence != 7 || z.formed != 40 || z.highs != 2 || z.lows != 1 {
		t.Errorf("got %+v, want the earlier of the two most prominent, formed by the first", z)
	}
}

func TestCluster_ZonesAscendAndDoNotOverlap(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var pairs []float64
		for range 1 + r.IntN(200) {
			pairs = append(pairs, 10+math.Floor(r.Float64()*300)/float64(1+r.IntN(30)), r.Float64()*5)
		}
		swings := swingsAt(pairs...)
		zones := zonesOf(swings, &profile{}, 0.5+3*r.Float64())
		if len(zones) == 0 {
			t.Fatalf("seed %d: no zone of %d swings", seed, len(swings))
		}
		end, anchors := 0.0, map[int32]bool{}
		for _, z := range zones {
			if !(end <= z.low && z.low <= z.price && z.price <= z.high) {
				t.Fatalf("seed %d: zone %v in %v to %v after one that ends at %v", seed, z.price, z.low, z.high, end)
			}
			if anchors[z.anchor] {
				t.Fatalf("seed %d: two zones have one anchor", seed)
			}
			end, anchors[z.anchor] = z.high, true
		}
	}
}

func TestCluster_NeighboursAreCutHalfway(t *testing.T) {
	var z clusterer
	z.add(100, 1)
	z.add(100.5, 1)
	z.add(100.5, 1) // the same price again is not a second level
	z.add(102, 1)
	want := [][3]float64{{99, 100, 100.25}, {100.25, 100.5, 101.25}, {101.25, 102, 103}}
	if len(z.zones) != len(want) {
		t.Fatalf("got %+v", z.zones)
	}
	for i, n := range z.zones {
		if got := [3]float64{n.low, n.price, n.high}; got != want[i] {
			t.Errorf("zone %d: %v, want %v", i, got, want[i])
		}
	}
	z.zones = nil
	z.add(1, 10)
	if z.zones[0].low != 0.5 {
		t.Errorf("a zone wider than its price begins at %v, want half the price", z.zones[0].low)
	}
}

// The definition, literally and slowly: no greater density within reach, and
// no equal one before.
func TestCluster_PeaksAgreeWithTheDefinition(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 2))
		var z clusterer
		price := 10.0
		for range 1 + r.IntN(40) {
			price += float64(r.IntN(8)) / 8
			z.candidates = append(z.candidates, candidate{price: price})
			z.density = append(z.density, float64(r.IntN(6))) // many ties
		}
		var got, want []int
		for i := 0; i < len(z.candidates); {
			peak, next := z.peak(i, 1)
			if peak {
				got = append(got, i)
			}
			i = next
		}
		for i, k := range z.candidates {
			highest := true
			for j, other := range z.candidates {
				if math.Abs(other.price-k.price) <= 1 && (z.density[j] > z.density[i] || z.density[j] == z.density[i] && j < i) {
					highest = false
				}
			}
			if highest {
				want = append(want, i)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: peaks %v, want %v of %v at %v", seed, got, want, z.density, z.candidates)
		}
	}
}

func TestID_OneToOne(t *testing.T) {
	seen := map[uint64]bool{}
	for at := range int64(20_000) {
		for kind := range anchorVolume + 1 {
			seen[id(1_600_000_000_000+at*hour, kind)] = true
		}
	}
	if len(seen) != 60_000 {
		t.Errorf("60000 anchors have %d IDs", len(seen))
	}
	// IDs are stored and linked to: these must never change.
	if got := id(1_600_000_000_000, anchorLow); got != 0xb8eaa7fa6c913bea {
		t.Errorf("id is %#x", got)
	}
}

// This file pins volume by price: a candle's volume is spread evenly over its
// range, none is lost, and the point of control, the value area and the
// high-volume nodes are at the expected places.

package levels

import (
	"math"
	"slices"
	"testing"
)

// profileOf builds the profile of c as Find does.
func profileOf(c *Candles) *profile {
	s := measure(c)
	p := new(profile)
	p.build(c, newGrid(s.low, s.high, s.unit, profileMargin), s)
	return p
}

func TestProfile_SpreadsVolumeEvenlyOverTheRange(t *testing.T) {
	c := draw(t,
		[5]float64{16, 20, 16, 20, 8},     // four bins of 2 each
		[5]float64{18, 18, 18, 18, 5},     // a point, on the lower edge of a bin
		[5]float64{17.5, 19, 17.5, 18, 6}, // half a bin and a whole one
		[5]float64{16.25, 16.75, 16.25, 16.5, 3},
		[5]float64{18.9, 19.1, 18.9, 19, 4}, // across an edge, less than a bin
	)
	p := profile{grid: grid{width: 1, perPrice: 1, origin: 15, bins: 7}}
	p.volume = zeros(nil, 7)
	p.spread(c, 8) // the greatest: volumes are scaled by 1/16
	want := []float64{0, 2 + 3, 2 + 2, 2 + 5 + 4 + 2, 2 + 2, 0, 0}
	for i, v := range p.volume {
		if math.Abs(v*16-want[i]) > 1e-12 {
			t.Errorf("bin %d holds %v, want %v", i, v*16, want[i])
		}
	}
}

func TestProfile_SpreadAgreesWithTheDefinitionAndLosesNothing(t *testing.T) {
	c := generate(3, 1500)
	s := measure(c)
	p := profile{grid: newGrid(s.low, s.high, s.unit, profileMargin)}
	p.volume = zeros(nil, p.grid.bins)
	p.spread(c, s.volume)
	_, exponent := math.Frexp(s.volume)
	want, total := make([]float64, p.grid.bins), 0.0
	for i := range c.Low {
		x, y := p.grid.at(c.Low[i]), p.grid.at(c.High[i])
		for b := int(x); b <= int(y); b++ {
			covered := min(y, float64(b+1)) - max(x, float64(b))
			want[b] += math.Ldexp(c.Volume[i], -exponent) * covered / (y - x)
		}
		total += math.Ldexp(c.Volume[i], -exponent)
	}
	sum := 0.0
	for b, v := range p.volume {
		sum += v
		if math.Abs(v-want[b]) > 1e-9*total {
			t.Fatalf("bin %d holds %v, want %v", b, v, want[b])
		}
	}
	if math.Abs(sum-total) > 1e-9*total {
		t.Errorf("%v of volume came in, %v is in the bins", total, sum)
	}
}

func TestProfile_PointOfControlValueAreaAndNodes(t *testing.T) {
	// Three places: much at 100, less at 120, a little at 140; each candle is 4
	// wide and centred there. 100 holds 75 % of the volume.
	var rows [][5]float64
	at := func(price, volume float64, n int) {
		for range n {
			rows = append(rows, [5]float64{price, price + 2, price - 2, price, volume})
		}
	}
	at(100, 15, 20)
	at(120, 4, 20)
	at(140, 1, 20)
	p := profileOf(draw(t, rows...))
	unit := 4.0
	if math.Abs(p.poc-100) > unit/16 {
		t.Errorf("point of control %v, want 100", p.poc)
	}
	if !(97 <= p.val && p.val < 100 && 100 < p.vah && p.vah <= 103) {
		t.Errorf("value area %v to %v, want within 97 to 103", p.val, p.vah)
	}
	if len(p.nodes) != 3 {
		t.Fatalf("nodes %v, want three", p.nodes)
	}
	for i, want := range []node{{100, 1}, {120, 4. / 15}, {140, 1. / 15}} {
		if math.Abs(p.nodes[i].price-want.price) > unit/16 || math.Abs(p.nodes[i].weight-want.weight) > 1e-6 {
			t.Errorf("node %d: %v, want %v", i, p.nodes[i], want)
		}
	}
	if s := p.share(120); math.Abs(s-4./15) > 1e-6 {
		t.Errorf("120 is %v as busy as 100", s)
	}
	if s := p.share(110); s != 0 {
		t.Errorf("110, where nothing traded, has a share of %v", s)
	}
}

func TestProfile_ValueAreaHoldsSeventyPercentAndThePointOfControl(t *testing.T) {
	areas := 0
	for seed := range uint64(20) {
		p := profileOf(generate(seed, 800))
		if !(p.val <= p.poc && p.poc <= p.vah) {
			t.Errorf("seed %d: value area %v to %v, point of control %v", seed, p.val, p.vah, p.poc)
		}
		if !slices.ContainsFunc(p.nodes, func(n node) bool { return n.price == p.poc && n.weight == 1 }) {
			t.Errorf("seed %d: the point of control is not a node", seed)
		}
		if !slices.IsSortedFunc(p.nodes, func(a, b node) int { return int(math.Copysign(1, a.price-b.price)) }) {
			t.Errorf("seed %d: nodes are not ascending", seed)
		}
		if p.val == p.low || p.vah == p.high {
			continue // cut at the range of the series
		}
		areas++
		total, inside, edge := 0.0, 0.0, 0.0
		from, to := int(p.grid.at(p.val)), int(p.grid.at(p.vah))
		for i, v := range p.volume {
			total += v
			if i >= from && i < to {
				inside += v
			}
		}
		edge = max(p.volume[from], p.volume[to-1])
		if inside < valueArea*total*(1-1e-12) || inside-2*edge > valueArea*total {
			t.Errorf("seed %d: the value area holds %v of the volume", seed, inside/total)
		}
	}
	if areas < 10 {
		t.Errorf("only %d areas were measured", areas)
	}
}

func TestProfile_WithoutVolumeHasNothingToSay(t *testing.T) {
	c := generate(1, 200)
	clear(c.Volume)
	p := profileOf(c)
	if p.busiest != 0 || len(p.nodes) != 0 || p.share(c.Close[0]) != 0 {
		t.Errorf("busiest %v, %d nodes", p.busiest, len(p.nodes))
	}
}

func TestGrid_IsBoundedStaysPutAndDoubles(t *testing.T) {
	for _, test := range []struct{ low, high, unit float64 }{
		{100, 110, 0.5}, {1e-8, 3e-8, 1e-9}, {1, 1e5, 1e-6}, {5e-324, math.MaxFloat64, 1},
		{5e-324, 1e-320, 5e-324}, {1e308, 1.7e308, 1e300}, {3, 3, 1}, {1e15, 1e15 + 1, 0.125},
	} {
		g := newGrid(test.low, test.high, test.unit, profileMargin)
		if g.bins < 1+2*profileMargin || g.bins > maxBins+2+2*profileMargin {
			t.Errorf("%v: %d bins", test, g.bins)
		}
		if a, b := int(g.at(test.low)), int(g.at(test.high)); a != profileMargin || b != g.bins-1-profileMargin && b != g.bins-profileMargin {
			t.Errorf("%v: from bin %d to bin %d of %d", test, a, b, g.bins)
		}
		if g.width*g.perPrice != 1 || math.IsInf(g.perPrice, 0) {
			t.Errorf("%v: width %v, inverse %v", test, g.width, g.perPrice)
		}
	}
	a, b := newGrid(100, 110, 0.5, 0), newGrid(99, 110, 0.6, 0)
	if shift := a.origin - b.origin; a.width != b.width || shift != math.Trunc(shift) {
		t.Errorf("a little more range moved the edges: %+v, %+v", a, b)
	}
	if d := newGrid(200, 220, 1, 0); d.width != 2*a.width || d.origin != a.origin || d.bins != a.bins {
		t.Errorf("doubled prices made %+v of %+v", d, a)
	}
}

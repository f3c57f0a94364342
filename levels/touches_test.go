// This file pins touches and status: touches are episodes, a close through breaks a
// zone, a wick does not, and a retest that holds flips it.

package levels

import (
	"testing"
)

// follow tracks one zone, 99 to 101, through candles given as low, high, close.
func follow(t *testing.T, formed int32, candles ...[3]float64) zone {
	t.Helper()
	var rows [][5]float64
	for _, k := range candles {
		rows = append(rows, [5]float64{k[2], k[1], k[0], k[2], 1})
	}
	c := draw(t, rows...)
	s := measure(c)
	g := newGrid(min(s.low, 99), max(s.high, 101), 2, profileMargin)
	zones := []zone{{price: 100, low: 99, high: 101, seen: -2, formed: formed, anchor: formed}}
	new(tracker).track(zones, c, &g)
	return zones[0]
}

func TestTrack_TouchesAndStatus(t *testing.T) {
	below, above := [3]float64{95, 97, 96}, [3]float64{103, 105, 104}
	inside := [3]float64{98, 100, 100}
	type candles = [][3]float64
	for _, test := range []struct {
		name        string
		candles     candles
		touches     int32
		first, last int32
		status      Status
	}{
		{"never reached", candles{below, below, below}, 0, 0, 0, Active},
		{"touched and turned", candles{below, {96, 99.5, 97}, below}, 1, 1, 1, Active},
		{"the edge counts", candles{below, {96, 99, 97}, below}, 1, 1, 1, Active},
		{"a run of candles is one touch", candles{below, {96, 99.5, 97}, inside, {97, 100, 98}, below}, 1, 1, 1, Active},
		{"leaving and coming back is two", candles{below, {96, 99.5, 97}, below, {96, 99.5, 97}, below}, 2, 1, 3, Active},
		{"one still under way", candles{below, {96, 99.5, 97}, below, inside}, 2, 1, 3, Active},
		{"a wick through breaks nothing", candles{below, {96, 104, 97}, below}, 1, 1, 1, Active},
		{"a close inside breaks nothing", candles{below, {96, 101, 100.5}, {97, 100, 97}, below}, 1, 1, 1, Active},
		{"a close through breaks", candles{below, {96, 99.5, 97}, below, {96, 103, 102}, above}, 2, 1, 3, Broken},
		{"the first close outside only tells the side", candles{inside, {98, 104, 102}, above}, 1, 0, 0, Active},
		{"broken, not retested", candles{below, {96, 99.5, 97}, {96, 104, 103}, above, above}, 1, 1, 1, Broken},
		{"retested and held: flipped", candles{below, {96, 99.5, 97}, {96, 104, 103}, above, {100, 104, 103}, above}, 2, 1, 4, Flipped},
		{"a retest under way has not held", candles{below, {96, 99.5, 97}, {96, 104, 103}, above, {100, 104, 103}}, 2, 1, 4, Broken},
		{"a wick through on the retest holds", candles{below, {96, 99.5, 97}, {96, 104, 103}, above, {95, 104, 103}, above}, 2, 1, 4, Flipped},
		{"a retest that fails", candles{below, {96, 99.5, 97}, {96, 104, 103}, above, {95, 104, 97}, below}, 2, 1, 4, Broken},
		{"failed, then held from there", candles{below, {96, 99.5, 97}, {96, 104, 103}, above, {95, 104, 97}, below, {96, 100, 97}, below}, 3, 1, 6, Flipped},
		{"flipped, then broken again", candles{below, {96, 99.5, 97}, {96, 104, 103}, above, {100, 104, 103}, above, {95, 104, 97}, below}, 3, 1, 6, Broken},
		{"through and back in one episode", candles{below, {96, 99.5, 97}, {96, 104, 103}, {97, 103, 97}, below}, 1, 1, 1, Broken},
		{"jumped over between two candles", candles{below, {96, 99.5, 97}, below, above, above}, 2, 1, 3, Broken},
	} {
		t.Run(test.name, func(t *testing.T) {
			z := follow(t, 0, test.candles...)
			if z.touches != test.touches || z.status != test.status {
				t.Errorf("%d touches, %v; want %d, %v", z.touches, z.status, test.touches, test.status)
			}
			if test.touches > 0 && (z.first != test.first || z.last != test.last) {
				t.Errorf("touched first at %d and last at %d, want %d and %d", z.first, z.last, test.first, test.last)
			}
			// the same from above: reflected at 100
			var mirrored candles
			for _, k := range test.candles {
				mirrored = append(mirrored, [3]float64{200 - k[1], 200 - k[0], 200 - k[2]})
			}
			if m := follow(t, 0, mirrored...); m.touches != z.touches || m.status != z.status || m.first != z.first || m.last != z.last {
				t.Errorf("mirrored: %+v, want as %+v", m, z)
			}
		})
	}
}

func TestTrack_NothingCountsBeforeTheZoneFormed(t *testing.T) {
	z := follow(t, 3, [3]float64{95, 97, 96}, [3]float64{96, 104, 103}, [3]float64{95, 104, 97}, [3]float64{96, 100, 97}, [3]float64{95, 97, 96})
	if z.touches != 1 || z.first != 3 || z.status != Active {
		t.Errorf("got %+v, want one touch, at the candle that formed it", z)
	}
}

func TestTrack_AZoneOfVolumeIsAnchoredByTheBusiestCloseInside(t *testing.T) {
	c := draw(t,
		[5]float64{95, 100, 95, 100, 5},
		[5]float64{100, 102, 99, 100.5, 7}, // the busiest that closed inside
		[5]float64{100, 108, 95, 107, 90},  // passed through
		[5]float64{107, 107, 100, 100, 7},
		[5]float64{100, 104, 100, 101, 50}, // on the upper border, which is the next zone's
	)
	g := newGrid(95, 108, 2, profileMargin)
	zones := []zone{{low: 99, price: 100, high: 101, seen: -2, anchor: -1, kind: anchorVolume}, {low: 101, price: 102, high: 103, seen: -2, anchor: -1, kind: anchorVolume}}
	new(tracker).track(zones, c, &g)
	if zones[0].anchor != 1 || zones[1].anchor != 4 {
		t.Errorf("anchored by candles %d and %d, want 1 and 4", zones[0].anchor, zones[1].anchor)
	}
}

// track finds the zones a candle meets through a table; here it is compared
// with looking at every zone for every candle.
func TestTrack_FindsEveryZoneACandleMeets(t *testing.T) {
	for seed := range uint64(10) {
		c := generate(seed, 600)
		var f Finder
		c = window(c, 0, drawn(c))
		if _, err := f.draw(c); err != nil {
			t.Fatal(err)
		}
		for k, z := range f.drawn {
			var touches int32
			met := false
			for i := int(z.formed); i < c.Len(); i++ {
				before := c.Close[max(i-1, 0)]
				meets := min(c.Low[i], before) <= z.high && max(c.High[i], before) >= z.low
				if meets && !met {
					touches++
				}
				met = meets
			}
			if z.touches != touches {
				t.Errorf("seed %d, zone %d: %d touches, want %d", seed, k, z.touches, touches)
			}
		}
	}
}

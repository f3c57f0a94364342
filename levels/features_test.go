// This file pins the features of the moment: what they measure is compared with its
// definition.

package levels

import (
	"math"
	"slices"
	"testing"
)

func TestExcursions_AreHowFarPriceWentInAHorizon(t *testing.T) {
	for _, n := range []int{60, 100, 268, 269, 276, 277, 500, 2000, 2003} {
		c := generate(3, n)
		var e excursions
		e.measure(generate(4, 3000)) // used before
		e.measure(c)
		var up, down []float64
		for start := n - Horizon; start >= atrCandles; start -= excursionStep {
			atr := 0.0
			for i := start - atrCandles + 1; i < start; i++ {
				atr += trueRange(c, i) / (atrCandles - 1)
			}
			from := c.Close[start-1]
			up = append(up, (slices.Max(c.High[start:start+Horizon])-from)/atr)
			down = append(down, (from-slices.Min(c.Low[start:start+Horizon]))/atr)
		}
		close := func(a, b []float64) bool {
			return slices.EqualFunc(a, b, func(x, y float64) bool { return math.Abs(x-y) < 1e-9 })
		}
		if !close(e.up, up) || !close(e.down, down) {
			t.Errorf("%d candles: up %v, want %v; down %v, want %v", n, e.up, up, e.down, down)
		}
	}
}

func TestShare_IsThatOfPastExcursionsAsFarAndAHalfWithoutAny(t *testing.T) {
	past := []float64{1, 2, 2, 4}
	for distance, want := range map[float64]float64{0: 5.0 / 6, 2: 4.0 / 6, 2.5: 2.0 / 6, 9: 1.0 / 6} {
		if got := share(past, distance); got != want {
			t.Errorf("%v: %v, want %v", distance, got, want)
		}
	}
	if got := share(nil, 1); got != 0.5 {
		t.Errorf("without a past %v, want a half", got)
	}
}

func TestMeasureMoment_ByHand(t *testing.T) {
	// 400 candles that rise by 1 each, with a range of 2 and the last 14 with three
	// times the volume
	c := new(Candles)
	c.Reset("1h", 400)
	for i := range 400 {
		p := 1000 + float64(i)
		k := Candle{OpenTime: int64(i) * 3_600_000, Open: p, High: p + 1, Low: p - 1, Close: p, Volume: 1}
		if i >= 386 {
			k.Volume = 3
		}
		if err := c.Append(k); err != nil {
			t.Fatal(err)
		}
	}
	var s surroundings
	s.measure(c, 2)
	s.measureMoment(c)
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	near("range of 14", s.ranges[0], 0)
	near("moves of 24", s.moves[0], math.Log(0.25))
	near("mean squared move", s.squared, 0.25)
	near("trend of 24", s.trends[0], 24/(2*math.Sqrt(24)))
	near("trend of all 399", s.trends[3], 399/(2*math.Sqrt(399)))
	near("surge", s.surges[0], math.Log(3/(428.0/400)))

	// a support lies away from a rise: its trend is positive, a resistance's negative
	var e excursions
	e.measure(c)
	var v [features]float32
	v[featureDistance] = 2
	s.describeMoment(&v, Support, &e)
	if v[featureTrend] <= 0 || v[featureExcursion] >= v[featureOtherSide] {
		t.Errorf("below a rise: trend %v, reached %v of times below and %v above", v[featureTrend], v[featureExcursion], v[featureOtherSide])
	}
	s.describeMoment(&v, Resistance, &e)
	if v[featureTrend] >= 0 || v[featureExcursion] <= v[featureOtherSide] {
		t.Errorf("above a rise: trend %v, reached %v of times above and %v below", v[featureTrend], v[featureExcursion], v[featureOtherSide])
	}
}

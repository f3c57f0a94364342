// This file pins the meaning of touched, held and broke: on hand-drawn candles, by
// the laws of an outcome, and with missing candles and at the end of the series.

package levels

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// moment is one at 100 with an ATR of 4, just before the first drawn candle: a
// support at 90 has its touch line at 91, holds at 95 and breaks at 87.
var moment = Moment{AsOf: 0, LastPrice: 100, ATR: 4}

// span draws a candle of which only the range matters.
func span(low, high float64) [5]float64 { return [5]float64{low, high, low, high, 1} }

// still is n candles that reach no line.
func still(n int) [][5]float64 { return slices.Repeat([][5]float64{span(93, 94)}, n) }

func TestMoment_JudgesBySectionSix(t *testing.T) {
	for _, test := range []struct {
		name       string
		rows       [][5]float64
		outcome    Outcome
		touch, end int
	}{
		{"price stays away", still(168), Untouched, -1, -1},
		{"just short of the line", slices.Concat([][5]float64{span(91.01, 99)}, still(167)), Untouched, -1, -1},
		{"a front-run level counts", [][5]float64{span(91, 93), span(92, 95)}, Held, 0, 1},
		{"back by a hair too little", slices.Concat([][5]float64{span(91, 93), span(92, 94.99)}, still(166)), Undecided, 0, -1},
		{"through", [][5]float64{span(90, 93), span(87, 92)}, Broke, 0, 1},
		{"through by a hair too little", slices.Concat([][5]float64{span(90, 93), span(87.01, 92)}, still(166)), Undecided, 0, -1},
		{"the touching candle may break", [][5]float64{span(86, 93)}, Broke, 0, 0},
		{"even if it was back as well", [][5]float64{span(86, 99)}, Broke, 0, 0},
		{"the touching candle may not hold", slices.Concat([][5]float64{span(91, 96)}, still(167)), Undecided, 0, -1},
		{"a later candle that does both", [][5]float64{span(91, 93), span(87, 95), span(80, 81)}, Undecided, 0, 1},
		{"the first decision stays", [][5]float64{span(91, 93), span(92, 96), span(80, 92)}, Held, 0, 1},
		{"touched by the last candle", slices.Concat(still(167), [][5]float64{span(91, 93)}), Undecided, 167, -1},
		{"touched after the horizon", slices.Concat(still(168), [][5]float64{span(80, 93)}), Untouched, -1, -1},
		{"decided after the horizon", slices.Concat(still(167), [][5]float64{span(91, 93), span(80, 93)}), Undecided, 167, -1},
		{"no candles yet", nil, Pending, -1, -1},
		{"not touched yet", still(167), Pending, -1, -1},
		{"touched, not decided yet", slices.Concat(still(100), [][5]float64{span(91, 93)}, still(66)), Pending, 100, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := Verdict{Outcome: test.outcome, Touch: test.touch, End: test.end}
			c := draw(t, test.rows...)
			if v := moment.Judge(90, c); v != want {
				t.Errorf("support: %+v, want %+v", v, want)
			}
			// The same in the mirror at 100.
			for i := range test.rows {
				c.Low[i], c.High[i] = 200-c.High[i], 200-c.Low[i]
			}
			if v := moment.Judge(110, c); v != want {
				t.Errorf("resistance: %+v, want %+v", v, want)
			}
		})
	}
}

func TestMoment_TouchLineNeverPassesTheLastPrice(t *testing.T) {
	for price, line := range map[float64]float64{90: 91, 99: 100, 99.5: 100, 100: 100, 100.5: 100, 101: 100, 110: 109} {
		if got := moment.TouchLine(price); got != line {
			t.Errorf("the touch line of %v is %v, want %v", price, got, line)
		}
	}
}

func TestMoment_JudgesAcrossHolesByTheCandlesThereAre(t *testing.T) {
	series := func(at []int64, rows ...[5]float64) *Candles {
		c := draw(t, rows...)
		for i := range at {
			c.OpenTime[i] = at[i] * hour
		}
		return c
	}
	for _, test := range []struct {
		name    string
		c       *Candles
		verdict Verdict
	}{
		{"absent before the touch", series([]int64{0, 10, 11}, span(93, 94), span(91, 92), span(92, 96)), Verdict{Held, 1, 2, 9}},
		{"price jumped the line meanwhile", series([]int64{0, 10}, span(93, 94), span(80, 81)), Verdict{Broke, 1, 1, 9}},
		{"a hole does not lengthen the horizon", series([]int64{0, 168}, span(93, 94), span(80, 81)), Verdict{Untouched, -1, -1, 167}},
		{"the last candle of the horizon is enough to end it", series([]int64{167}, span(93, 94)), Verdict{Untouched, -1, -1, 167}},
		{"a series that ends is pending", series([]int64{0, 166}, span(93, 94), span(91, 92)), Verdict{Pending, 1, -1, 0}},
		{"nothing in the whole horizon", series([]int64{200}, span(80, 81)), Verdict{Untouched, -1, -1, 168}},
	} {
		if v := moment.Judge(90, test.c); v != test.verdict {
			t.Errorf("%s: %+v, want %+v", test.name, v, test.verdict)
		}
	}
}

func TestMoment_IgnoresWhatWasKnown(t *testing.T) {
	c := draw(t, slices.Concat([][5]float64{span(80, 120), span(80, 120)}, still(168))...)
	m := moment
	m.AsOf = 2 * hour
	if v := m.Judge(90, c); v.Outcome != Untouched {
		t.Errorf("%+v: judged by candles before the moment", v)
	}
}

func TestMoment_ADecisionIsFinal(t *testing.T) {
	c := generate(3, 2600)
	decided := 0
	for from := 500; from+Horizon < c.Len(); from += 97 {
		known := c.Slice(0, from)
		m := MomentOf(&known)
		for _, d := range []float64{-6, -2, -0.5, 0.7, 3} {
			price := m.LastPrice + d*m.ATR
			before := Verdict{}
			for n := from; n <= from+Horizon+10 && n <= c.Len(); n++ {
				prefix := c.Slice(0, n)
				v := m.Judge(price, &prefix)
				if before.Outcome != Pending && v != before {
					t.Fatalf("with %d candles %+v, with the next %+v", n-1, before, v)
				}
				before = v
			}
			if v := m.Judge(price, c); v != before {
				t.Fatalf("%+v by the horizon, %+v by all candles", before, v)
			}
			if before.Outcome == Held || before.Outcome == Broke {
				decided++
			}
		}
	}
	if decided < 50 {
		t.Errorf("only %d levels were decided: the test covers too little", decided)
	}
}

// Candle by candle, restored before each from all that a pending judgement keeps.
func TestJudgement_AgreesWithJudgeAfterEveryCandle(t *testing.T) {
	c := generate(3, 2600)
	c.OpenTime = slices.Delete(c.OpenTime, 900, 920) // a hole
	c.High, c.Low, c.Close = slices.Delete(c.High, 900, 920), slices.Delete(c.Low, 900, 920), slices.Delete(c.Close, 900, 920)
	seen := map[Outcome]int{}
	for from := 500; from+Horizon+10 < c.Len(); from += 61 {
		known := c.Slice(0, from)
		m := MomentOf(&known)
		for _, d := range []float64{-9, -6, -2, -0.5, 0, 0.2, 0.7, 3, 7} {
			price := m.LastPrice + d*m.ATR
			j := m.Judging(price, hour, false)
			for n := from - 1; n < from+Horizon+10; n++ {
				if j.Outcome == Pending {
					j = m.Judging(price, hour, j.Touched)
				}
				j.Next(c.OpenTime[n], c.High[n], c.Low[n])
				prefix := c.first(n + 1)
				if v := m.Judge(price, &prefix); v.Outcome != j.Outcome || v.Touch >= 0 != j.Touched {
					t.Fatalf("%v ATR from candle %d, at candle %d: %+v, Judge %+v", d, from, n, j, v)
				}
			}
			seen[j.Outcome]++
		}
	}
	for _, o := range []Outcome{Untouched, Undecided, Held, Broke} {
		if seen[o] == 0 {
			t.Errorf("no level was %s", o)
		}
	}
}

func TestMoment_JudgesWhateverTheScaleAndTheMirror(t *testing.T) {
	c, up, flipped := generate(5, 4000), generate(5, 4000), generate(5, 4000)
	top := 2 * slices.Max(c.High)
	for i := range c.Len() {
		up.Open[i], up.High[i], up.Low[i], up.Close[i] = 4*c.Open[i], 4*c.High[i], 4*c.Low[i], 4*c.Close[i]
		flipped.Open[i], flipped.High[i], flipped.Low[i], flipped.Close[i] = top-c.Open[i], top-c.Low[i], top-c.High[i], top-c.Close[i]
	}
	seen := map[Outcome]int{}
	for from := 400; from < c.Len(); from += 31 {
		known, scaled, mirrored := c.Slice(0, from), up.Slice(0, from), flipped.Slice(0, from)
		m, s, f := MomentOf(&known), MomentOf(&scaled), MomentOf(&mirrored)
		if m.ATR != f.ATR {
			t.Fatalf("the mirror has an ATR of %v, not %v", f.ATR, m.ATR)
		}
		for _, d := range []float64{-8, -3, -1, 1, 3, 8} {
			price := m.LastPrice + math.Round(d*m.ATR*256)/256
			v := m.Judge(price, c)
			seen[v.Outcome]++
			if w := s.Judge(4*price, up); w != v {
				t.Errorf("prices × 4: %+v, want %+v", w, v)
			}
			if w := f.Judge(top-price, flipped); w != v {
				t.Errorf("mirrored: %+v, want %+v", w, v)
			}
		}
	}
	for _, o := range []Outcome{Pending, Untouched, Undecided, Held, Broke} {
		if seen[o] == 0 {
			t.Errorf("no level was %s", o)
		}
	}
}

// A driftless walk holds 44 to 46 %, by how finely it moves: the touching candle
// can break a level but not hold it.
func TestMoment_ARandomWalkHoldsLessThanHalf(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	c := new(Candles)
	c.Reset("1h", 60_000)
	price := 1e6
	for i := range 60_000 {
		k := Candle{OpenTime: int64(i) * hour, Open: price, High: price, Low: price}
		for range 60 {
			price += 10 * random.NormFloat64()
			k.High, k.Low = max(k.High, price), min(k.Low, price)
		}
		k.Close = price
		if err := c.Append(k); err != nil {
			t.Fatal(err)
		}
	}
	held, broke := 0, 0
	for from := 200; from+Horizon < c.Len(); from += Horizon {
		known := c.Slice(0, from)
		m := MomentOf(&known)
		for range 24 {
			d := (0.5 + 7.5*random.Float64()) * m.ATR
			if random.IntN(2) == 0 {
				d = -d
			}
			switch m.Judge(m.LastPrice+d, c).Outcome {
			case Held:
				held++
			case Broke:
				broke++
			}
		}
	}
	share := float64(held) / float64(held+broke)
	t.Logf("%d decided, %.3f held", held+broke, share)
	if share < 0.43 || share > 0.48 {
		t.Errorf("%.3f of the levels of a random walk held, want about 0.45", share)
	}
}

func TestMomentOf_IsWhatAnAnalysisSays(t *testing.T) {
	var f Finder
	for _, n := range []int{50, 99, 100, 101, 700} {
		c := generate(2, n)
		a, err := f.Find(c)
		if err != nil {
			t.Fatal(err)
		}
		if m := MomentOf(c); m != (Moment{a.AsOf, a.LastPrice, a.ATR}) {
			t.Errorf("%d candles: %+v, the analysis says %v, %v, %v", n, m, a.AsOf, a.LastPrice, a.ATR)
		}
	}
	if m := MomentOf(new(Candles)); m != (Moment{}) {
		t.Errorf("of no candles: %+v", m)
	}
}

func TestMoment_JudgesWithoutAllocating(t *testing.T) {
	c := generate(1, 1000)
	known := c.Slice(0, 800)
	m := MomentOf(&known)
	if n := testing.AllocsPerRun(100, func() { m.Judge(m.LastPrice-2*m.ATR, c) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCandles_ASliceCannotWriteBehindItself(t *testing.T) {
	c := generate(1, 60)
	view, next := c.Slice(10, 20), c.At(20)
	if view.Len() != 10 || view.At(0) != c.At(10) || view.AsOf() != c.OpenTime[19]+hour {
		t.Fatalf("%d candles from %+v", view.Len(), view.At(0))
	}
	if err := view.Append(Candle{view.AsOf(), 1, 1, 1, 1, 1}); err != nil {
		t.Fatal(err)
	}
	if c.At(20) != next {
		t.Error("appending to a view changed the series behind it")
	}
}

func TestReach_IsBeyondEveryLineThatIsTouched(t *testing.T) {
	c := generate(3, 1200)
	for end := 200; end < c.Len(); end += 50 {
		known := c.first(end)
		m := MomentOf(&known)
		lowest, highest := m.Reach(c)
		for d := -12.0; d <= 12; d += 0.05 {
			price := m.LastPrice + d*m.ATR
			line := m.TouchLine(price)
			within := price <= m.LastPrice && line >= lowest || price > m.LastPrice && line <= highest
			if touched := m.Judge(price, c).Touch >= 0; touched != within {
				t.Fatalf("candle %d, %v ATR: touched %v, within the reach of %v to %v %v", end, d, touched, lowest, highest, within)
			}
		}
	}
}

// This file pins tests of a level: when one begins, that each has the outcome of
// Moment.Judge, and what the record says of them.

package levels

import (
	"math"
	"slices"
	"testing"
)

// walk draws candles one unit long whose close moves in steps of at most a half from
// 110 through the prices, so that the ATR is about 1.
func walk(t *testing.T, through ...float64) *Candles {
	t.Helper()
	rows := slices.Repeat([][5]float64{{110, 110.5, 109.5, 110, 1}}, 20)
	at := 110.0
	for _, to := range through {
		for at != to {
			at += min(max(to-at, -0.5), 0.5)
			rows = append(rows, [5]float64{at, at + 0.5, at - 0.5, at, 1})
		}
	}
	return draw(t, rows...)
}

func TestRecord_OfDrawnPrices(t *testing.T) {
	for _, test := range []struct {
		name               string
		through            []float64
		tests, held, broke uint16
		state              State
		inRole             uint16
	}{
		{"never near", []float64{105}, 0, 0, 0, Untested, 0},
		{"held", []float64{100.5, 105}, 1, 1, 0, Stood, 1},
		{"held twice", []float64{100.5, 102, 100.5, 105}, 2, 2, 0, Stood, 2},
		{"back before it left by an ATR is the same test", []float64{100.5, 100.7, 100.5, 100.7, 100.5, 105}, 1, 1, 0, Stood, 1},
		{"under way", []float64{100.5}, 1, 0, 0, Untested, 0},
		{"beyond it by less than an ATR, so no test is decided", []float64{99.8}, 1, 0, 0, Crossed, 0},
		{"broken, not retested", []float64{97}, 1, 0, 1, Crossed, 0},
		{"held, then broken", []float64{100.5, 105, 97}, 2, 1, 1, Crossed, 0},
		{"broken, then held from below", []float64{97, 99.5, 95}, 2, 1, 1, Stood, 1},
		{"broken, held from below twice", []float64{97, 99.5, 95, 99.5, 95}, 3, 2, 1, Stood, 2},
		{"broken and taken back before it held from below", []float64{97, 105}, 2, 0, 2, Reclaimed, 0},
		{"taken back before price had left by an ATR", []float64{99.6, 105}, 1, 0, 1, Reclaimed, 0},
		{"taken back and held", []float64{97, 105, 100.5, 105}, 3, 1, 2, Stood, 1},
		{"broken, held from below, broken upwards", []float64{97, 99.5, 95, 105}, 3, 1, 2, Crossed, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := walk(t, test.through...)
			role := Support
			if c.Close[c.Len()-1] < 100 {
				role = Resistance
			}
			r, _, _ := record(100, role, c, atrs(nil, c), nil)
			if r.Tests != test.tests || r.Held != test.held || r.Broke != test.broke || r.State != test.state || r.HeldInRole != test.inRole {
				t.Errorf("got %+v, want %d tests, %d held, %d broke, %v, %d in its role", r, test.tests, test.held, test.broke, test.state, test.inRole)
			}
		})
	}
}

func TestRecord_TellsTheLastFourTests(t *testing.T) {
	c := walk(t, 97, 99.5, 95, 99.5, 95, 105, 100.5, 105, 100.5, 105) // B H H B H H
	r, first, last := record(100, Support, c, atrs(nil, c), nil)
	if r.Held != 4 || r.Broke != 2 || r.Recent.Len() != 4 || r.Recent.Held() != 3 {
		t.Fatalf("got %+v", r)
	}
	for i, want := range []Outcome{Held, Held, Broke, Held} {
		if got := r.Recent.Newest(i); got != want {
			t.Errorf("the test %d before the last: %v, want %v", i, got, want)
		}
	}
	if c.Low[slices.Index(c.OpenTime, first)] > 100.3 || last <= first {
		t.Errorf("tested from %d to %d", first, last)
	}
}

func TestRanges_AreTheMeanTrueRangeAtEachClose(t *testing.T) {
	for _, n := range []int{1, 2, 99, 100, 101, 250, 1000} {
		c := generate(1, n)
		for i, got := range atrs(make([]float64, 3), c) {
			known := c.first(i + 1)
			if want := MomentOf(&known).ATR; math.Abs(got-want) > 1e-12*want {
				t.Fatalf("%d candles: %v at candle %d, want %v", n, got, i, want)
			}
		}
	}
}

// Each test has the outcome of Moment.Judge at the close before it, begins at the touch
// that Judge finds, and lies an ATR of price away from the test before.
func TestTrials_HaveTheOutcomeOfJudge(t *testing.T) {
	series := []*Candles{generate(1, 2000), generate(2, 900)}
	for _, file := range realFiles(t, "*-1h.csv.gz", 4) {
		c, _ := load(t, file, 2000)
		series = append(series, c)
	}
	outcomes := map[Outcome]int{}
	for k, c := range series {
		atr := atrs(nil, c)
		for _, l := range all(find(t, c)) {
			x := trials{c: c, atr: atr, price: l.Price}
			end, before := 0, math.Inf(1) // of the test before: its end, and the ATR it is judged by
			for one, ok := x.next(); ok; one, ok = x.next() {
				known := c.Slice(0, one.start)
				m := MomentOf(&known)
				left := false
				for i := end; i < one.start; i++ {
					left = left || math.Max(c.High[i]-l.Price, l.Price-c.Low[i]) >= (leaveATR-1e-9)*min(atr[max(i-1, 0)], before)
				}
				if end, before = one.end, atr[one.start-1]; !left {
					t.Fatalf("series %d, %v: price had not left before the test at candle %d", k, l.Price, one.start)
				}
				if math.Abs(m.LastPrice-l.Price) < frontRun*m.ATR {
					continue // the ATR grew, and the touch line is the last price
				}
				v := m.Judge(l.Price, c)
				if v.Touch != one.start || v.Outcome != one.outcome || (v.Outcome == Held || v.Outcome == Broke) && v.End != one.end {
					t.Fatalf("series %d, %v: test %+v, Judge says %+v", k, l.Price, one, v)
				}
				outcomes[one.outcome]++
			}
		}
	}
	if outcomes[Held] < 50 || outcomes[Broke] < 50 || outcomes[Undecided] == 0 {
		t.Errorf("%v: too few outcomes for this test", outcomes)
	}
}

func TestStretches_ChangeNoRecord(t *testing.T) {
	for seed := range uint64(20) {
		c := generate(seed, 400+int(seed)*37)
		atr := atrs(nil, c)
		stretches := stretchesOf(nil, c, atr)
		for _, share := range []float64{0, 0.1, 0.25, 0.5, 0.75, 0.9, 1} {
			price := slices.Min(c.Low) + share*(slices.Max(c.High)-slices.Min(c.Low))
			with, first, last := record(price, Support, c, atr, stretches)
			without, from, to := record(price, Support, c, atr, nil)
			if with != without || first != from || last != to {
				t.Fatalf("series %d, %v: %+v, without stretches %+v", seed, price, with, without)
			}
		}
	}
}

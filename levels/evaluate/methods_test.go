// This file pins the levels of each reference method on hand-drawn candles: a wrong
// reference would make ours look good.

package evaluate

import (
	"math"
	"slices"
	"testing"
	"time"

	"tidemark/levels"
)

// days is candles of hours from midnight of the given date on, with these
// ranges; they close in the middle.
func days(t *testing.T, date string, ranges ...[2]float64) *levels.Candles {
	t.Helper()
	from, err := time.Parse(time.DateOnly, date)
	if err != nil {
		t.Fatal(err)
	}
	c := new(levels.Candles)
	c.Reset("1h", len(ranges))
	for i, r := range ranges {
		middle := (r[0] + r[1]) / 2
		err := c.Append(levels.Candle{OpenTime: from.UnixMilli() + int64(i)*hour, Open: middle, High: r[1], Low: r[0], Close: middle, Volume: 1})
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// proposed are the prices a method draws, ascending, and their scores.
func proposed(t *testing.T, name string, c *levels.Candles) (prices, scores []float64) {
	t.Helper()
	all := methods(t, name)[0].New()(nil, c)
	slices.SortFunc(all, func(a, b Price) int { return compare(a.Price, b.Price) })
	for _, p := range all {
		prices, scores = append(prices, math.Round(p.Price*1e6)/1e6), append(scores, p.Score)
	}
	return prices, scores
}

func want(t *testing.T, what string, got []float64, want ...float64) {
	t.Helper()
	if !slices.EqualFunc(got, want, func(a, b float64) bool { return math.Abs(a-b) < 1e-6 }) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func quietHours(n int) [][2]float64 { return slices.Repeat([][2]float64{{99, 101}}, n) }

func TestPivots_AreThoseOfTheLastWholeDay(t *testing.T) {
	ranges := quietHours(24 + 24 + 10)
	ranges[3] = [2]float64{50, 150}   // the day before the last whole one
	ranges[30] = [2]float64{99, 110}  // high 110
	ranges[40] = [2]float64{94, 101}  // low 94
	ranges[47] = [2]float64{101, 107} // close 104
	ranges[50] = [2]float64{80, 120}  // today
	// P = (110+94+104)/3, floor formulas.
	const p, high, low = 308.0 / 3, 110.0, 94.0
	prices, scores := proposed(t, "pivots", days(t, "2024-05-01", ranges...))
	want(t, "prices", prices, round6(low-2*(high-p)), round6(p-(high-low)), round6(2*p-high), round6(p), round6(2*p-low), round6(p+high-low), round6(high+2*(p-low)))
	want(t, "scores", scores, 1, 2, 3, 4, 3, 2, 1)
	if none, _ := proposed(t, "pivots", days(t, "2024-05-01", quietHours(23)...)); len(none) != 0 {
		t.Errorf("pivots %v without a whole day", none)
	}
}

func round6(x float64) float64 { return math.Round(x*1e6) / 1e6 }

func TestExtremes_AreOfWholePeriodsOnly(t *testing.T) {
	// From Monday 2024-04-01 to Friday 2024-05-10: the last whole month is April,
	// the last whole week the one of April 29, the last whole day May 9.
	ranges := quietHours(39*24 + 6)
	hourOf := func(date string) int {
		at, err := time.Parse(time.DateOnly, date)
		if err != nil {
			t.Fatal(err)
		}
		return int(at.Sub(time.Date(2024, 4, 1, 0, 0, 0, 0, time.UTC)).Hours())
	}
	ranges[hourOf("2024-04-10")] = [2]float64{80, 130}
	ranges[hourOf("2024-05-02")] = [2]float64{85, 120}
	ranges[hourOf("2024-05-07")] = [2]float64{70, 140} // this week, before the last whole day
	ranges[hourOf("2024-05-09")+5] = [2]float64{90, 110}
	ranges[hourOf("2024-05-10")+2] = [2]float64{60, 150} // today
	prices, scores := proposed(t, "extremes", days(t, "2024-04-01", ranges...))
	want(t, "prices", prices, 80, 85, 90, 110, 120, 130)
	want(t, "scores", scores, 3, 2, 1, 1, 2, 3)
	// A week of candles contains neither a whole month nor a whole week.
	prices, _ = proposed(t, "extremes", days(t, "2024-04-04", ranges[:30]...))
	want(t, "a young pair", prices, 99, 101)
}

func TestRound_RanksTheRounderFirst(t *testing.T) {
	// Last price 100, ATR 2: from 76 to 124 with steps of at least 2.
	prices, scores := proposed(t, "round", days(t, "2024-05-01", quietHours(60)...))
	want(t, "prices", prices, 77.5, 80, 82.5, 85, 87.5, 90, 92.5, 95, 97.5, 100, 102.5, 105, 107.5, 110, 112.5, 115, 117.5, 120, 122.5)
	// 1000, 500, 250, 100, 50, 25, 10, 5 and 2.5 in this order
	want(t, "scores", scores, -9, -7, -9, -8, -9, -7, -9, -8, -9, -4, -9, -8, -9, -7, -9, -8, -9, -7, -9)
}

func TestSwings_ClusterWithinHalfAnATR(t *testing.T) {
	ranges := quietHours(120)
	for i, high := range map[int]float64{10: 105, 30: 105.6, 50: 105.2, 70: 109, 117: 115} {
		ranges[i][1] = high
	}
	ranges[90][0] = 95
	// The high at 117 is not confirmed by five candles after it.
	c := days(t, "2024-05-01", ranges...)
	prices, scores := proposed(t, "swings", c)
	keep := func(v []float64) (out []float64) {
		for i := range v {
			if p := prices[i]; p != 99 && p != 101 && p != 100 {
				out = append(out, v[i])
			}
		}
		return out
	}
	want(t, "prices", keep(prices), 95, 105.2, 109)
	want(t, "scores", keep(scores), 1, 3, 1)
}

func TestVolume_PeaksWhereMostIsTraded(t *testing.T) {
	ranges := quietHours(80)
	for i := 60; i < 80; i++ {
		ranges[i] = [2]float64{109, 110}
	}
	ranges[59] = [2]float64{100, 110}
	prices, scores := proposed(t, "volume", days(t, "2024-05-01", ranges...))
	busiest := prices[slices.Index(scores, slices.Max(scores))]
	if busiest < 99 || busiest > 101 {
		t.Errorf("the busiest price is %v, want one between 99 and 101", busiest)
	}
	if top := prices[len(prices)-1]; top < 109 || top > 110 {
		t.Errorf("the highest peak is at %v, want one between 109 and 110", top)
	}
	total := 0.0
	for _, s := range scores {
		total += s
	}
	if total <= 0 {
		t.Error("peaks without volume")
	}
	if flat, _ := proposed(t, "volume", days(t, "2024-05-01", slices.Repeat([][2]float64{{100, 100}}, 60)...)); len(flat) != 0 {
		t.Errorf("peaks %v of a price that never moved", flat)
	}
}

func TestDensity_PeaksWhereSwingsAreDense(t *testing.T) {
	ranges := quietHours(120)
	for i, high := range map[int]float64{10: 105, 30: 105.3, 50: 104.7, 70: 112} {
		ranges[i][1] = high
	}
	c := days(t, "2024-05-01", ranges...)
	prices, scores := proposed(t, "kde", c)
	atr := levels.MomentOf(c).ATR
	at := prices[slices.Index(scores, slices.Max(scores))]
	if math.Abs(at-105) > atr/10 {
		t.Errorf("the densest price is %v, want 105 within a tenth of the ATR of %v", at, atr)
	}
	if !slices.ContainsFunc(prices, func(p float64) bool { return math.Abs(p-112) <= atr/10 }) {
		t.Errorf("no mode at the lone swing at 112: %v", prices)
	}
}

func TestRandom_IsUniformOverTheDistancesJudged(t *testing.T) {
	var distances []float64
	for seed := range uint64(400) {
		k := walk(seed, 60, false)
		m := levels.MomentOf(k)
		for _, p := range uniform(1)(nil, k) {
			distances = append(distances, math.Abs(p.Price-m.LastPrice)/m.ATR)
		}
	}
	slices.Sort(distances)
	// Kolmogorov and Smirnov: at 2400 draws 0.0333 is passed by one sample in a hundred.
	worst := 0.0
	for i, d := range distances {
		worst = max(worst, math.Abs((d-nearest)/(farthest-nearest)-float64(i)/float64(len(distances))))
	}
	if len(distances) != 2400 || worst > 0.0333 {
		t.Errorf("%d distances are %v from uniform", len(distances), worst)
	}
}

func TestMethods_ProposeOnlyWhatIsKnownAndChangeNothing(t *testing.T) {
	c := walk(4, 4200, true)
	for _, m := range Methods(1, nil) {
		used := m.New()
		for end := 600; end < 4200; end += 397 {
			known := c.Slice(end-500, end)
			got := used(nil, &known)
			// the same candles without later ones, and a new Find
			alone := new(levels.Candles)
			alone.Reset("1h", 500)
			for i := range 500 {
				if err := alone.Append(known.At(i)); err != nil {
					t.Fatal(err)
				}
			}
			if fresh := m.New()(nil, alone); !slices.EqualFunc(got, fresh, identical) {
				t.Errorf("%s at %d: a used Find says %v, a fresh one %v", m.Name, end, got, fresh)
			}
			for i := range 500 {
				if alone.At(i) != known.At(i) {
					t.Fatalf("%s changed candle %d", m.Name, i)
				}
			}
			for _, p := range got {
				if !(p.Price > 0 && p.Price < math.Inf(1)) || p.Score != p.Score {
					t.Errorf("%s proposes %+v", m.Name, p)
				}
			}
		}
	}
}

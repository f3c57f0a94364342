// This file pins marks on hand-drawn and real series, and measures what became of each
// kind:
//
//	go test ./levels -run TestMarkRecords -v -measure DIR,DIR
//
// prints the table of markrecords.go for all 1h files of those folders.

package levels

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// hourly returns n candles from start on, at prices in a band of a half about at.
func hourly(t *testing.T, start time.Time, n int, at func(i int) float64) *Candles {
	t.Helper()
	c := new(Candles)
	c.Reset("1h", n)
	before := at(0)
	for i := range n {
		p := at(i)
		err := c.Append(Candle{start.UnixMilli() + int64(i)*hour, before, max(before, p) + 0.25, min(before, p) - 0.25, p, 1})
		if err != nil {
			t.Fatal(err)
		}
		before = p
	}
	return c
}

func marksOf(c *Candles, kind PriceMarkKind) (found []PriceMark) {
	for _, m := range Marks(c) {
		if m.Kind == kind {
			found = append(found, m)
		}
	}
	return found
}

func TestMarks_OfDaysWeeksAndMonths(t *testing.T) {
	start := time.Date(2023, 6, 28, 0, 0, 0, 0, time.UTC) // a Wednesday
	at := func(day, hour int) int { return 24*day + hour }
	peaks := map[int]float64{
		at(1, 3): 103, at(1, 5): 97, // 29 June
		at(5, 2): 101.5, at(5, 9): 98, // 3 July, a Monday
		at(13, 20): 102, at(13, 8): 98.5, // 11 July
	}
	c := hourly(t, start, at(14, 6), func(i int) float64 { // until 12 July, 06:00, a Wednesday
		if p, ok := peaks[i]; ok {
			return p
		}
		return 100 + float64(i%5)/10
	})
	for _, test := range []struct {
		kind  PriceMarkKind
		price float64
		at    int
	}{
		{DayHigh, 102.25, at(13, 20)}, {DayLow, 98.25, at(13, 8)}, {DayClose, 100, at(14, 0)}, {DayOpen, 100, at(14, 0)},
		{WeekHigh, 101.75, at(5, 2)}, {WeekLow, 97.75, at(5, 9)},
	} {
		m := marksOf(c, test.kind)
		if len(m) != 1 || math.Abs(m[0].Price-test.price) > 1e-9 || m[0].Time != c.OpenTime[0]+int64(test.at)*hour || m[0].Label() == "" {
			t.Errorf("%v: %+v, want %v at candle %d", test.kind, m, test.price, test.at)
		}
	}
	if m := marksOf(c, MonthHigh); len(m) != 0 {
		t.Errorf("the candles begin within June, and yet its high is %+v", m)
	}
	if m := marksOf(c, MonthOpen); len(m) != 1 || m[0].Time != time.Date(2023, 7, 1, 0, 0, 0, 0, time.UTC).UnixMilli() {
		t.Errorf("the month's open is %+v", m)
	}
	long := window(c, 0, c.Len())
	long.Interval, long.length = "1d", Interval("1d").Milliseconds()
	for i := range long.OpenTime {
		long.OpenTime = slices.Clone(long.OpenTime)
		long.OpenTime[i] = start.UnixMilli() + int64(i)*long.length
	}
	if m := marksOf(long, DayHigh); len(m) != 0 {
		t.Errorf("daily candles have a previous day's high: %+v", m)
	}
}

func TestMarks_OfEqualHighsAndLows(t *testing.T) {
	start := time.Date(2023, 6, 28, 0, 0, 0, 0, time.UTC)
	// wave has a top of the given height every 40 candles, with valleys at 90 between
	wave := func(tops ...float64) *Candles {
		return hourly(t, start, 40*len(tops)+20, func(i int) float64 {
			k := i / 40
			if k == len(tops) {
				return 92
			}
			return 90 + (tops[k]-90)*(1-math.Abs(float64(i%40)-20)/20)
		})
	}
	for _, test := range []struct {
		name  string
		tops  []float64
		label string
	}{
		{"two at one price", []float64{100, 100.1}, "Double top"},
		{"three at one price", []float64{100, 100.1, 99.95}, "Triple top"},
		{"four at one price", []float64{100, 100.1, 99.95, 100}, "Row of 4 tops"},
		{"the first was exceeded", []float64{100, 104, 100}, ""},
		{"apart", []float64{104, 100}, ""},
	} {
		c := wave(test.tops...)
		m := marksOf(c, EqualHighs)
		if test.label == "" {
			if len(m) != 0 {
				t.Errorf("%s: %+v", test.name, m)
			}
			continue
		}
		if len(m) != 1 || m[0].Label() != test.label || m[0].Count != len(test.tops) || math.Abs(m[0].Price-slices.Max(test.tops)-0.25) > 0.3 {
			t.Errorf("%s: %+v", test.name, m)
			continue
		}
		mirrored := wave(test.tops...)
		for i := range mirrored.OpenTime {
			mirrored.Open[i], mirrored.Close[i] = 200-c.Open[i], 200-c.Close[i]
			mirrored.High[i], mirrored.Low[i] = 200-c.Low[i], 200-c.High[i]
		}
		if lows := marksOf(mirrored, EqualLows); len(lows) != 1 || math.Abs(lows[0].Price-(200-m[0].Price)) > 1e-9 || lows[0].Time != m[0].Time || lows[0].Count != m[0].Count {
			t.Errorf("%s, mirrored: %+v", test.name, lows)
		}
	}
}

func TestMarks_AreFewFiniteAndInOrder(t *testing.T) {
	series := []*Candles{generate(1, 2000), generate(2, 60), scaled(generate(3, 900), 1e-9), scaled(generate(3, 900), 1e12), draw(t, flat(60, 1)...)}
	for _, file := range realFiles(t, "*.csv.gz", 20) {
		c, _ := load(t, file, 2000)
		series = append(series, c)
	}
	for k, c := range series {
		got := Marks(c)
		m := MomentOf(c)
		if len(got) > 60 || !slices.Equal(got, Marks(c)) {
			t.Errorf("series %d: %d marks", k, len(got))
		}
		for i, x := range got {
			if !(math.Abs(x.Price-m.LastPrice) <= rangeATR*m.ATR) || x.Price <= 0 || x.Kind >= markKinds || x.Label() == "" || i > 0 && x.Price < got[i-1].Price {
				t.Errorf("series %d: mark %d is %+v", k, i, x)
			}
			if x.Kind == RoundNumber != (x.Time == 0) || x.Time < 0 || x.Time > c.AsOf() {
				t.Errorf("series %d: %+v", k, x)
			}
		}
	}
	if got := Marks(new(Candles)); got != nil {
		t.Errorf("marks of nothing: %+v", got)
	}
}

// The records are measured at moments 169 candles apart, on marks from half an ATR to
// eight away. Beside each stand lines moved from it at random by up to two ATR on its
// side, which the record is to be compared with.
func TestMarkRecords(t *testing.T) {
	var files []string
	for dir := range strings.SplitSeq(*measured, ",") {
		more, err := filepath.Glob(filepath.Join(dir, "*-1h.csv.gz"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	for _, r := range MarkRecords() {
		if r.Decided < 500 || r.Held <= 0 || r.Held >= r.Decided || !(0.3 < r.LineHold && r.LineHold < 0.6) {
			t.Errorf("%v: %+v", r.Kind, r)
		}
	}
	if len(files) == 0 {
		return
	}
	random := rand.New(rand.NewPCG(7, 8))
	var of, lines [markKinds]outcomes
	weekly := map[int64]*[markKinds][2]outcomes{}
	for _, file := range files {
		c, _ := load(t, file, math.MaxInt)
		for end := 2000; end <= c.Len()-Horizon; end += 169 {
			known, after := c.Slice(end-2000, end), c.Slice(end, end+Horizon)
			m := MomentOf(&known)
			week := weekly[m.AsOf/(7*24*hour)]
			if week == nil {
				week = new([markKinds][2]outcomes)
				weekly[m.AsOf/(7*24*hour)] = week
			}
			for _, x := range Marks(&known) {
				d := (x.Price - m.LastPrice) / m.ATR
				if math.Abs(d) < 0.5 || math.Abs(d) > 8 {
					continue
				}
				o := m.Judge(x.Price, &after).Outcome
				of[x.Kind].add(o, 0, 0)
				week[x.Kind][0].add(o, 0, 0)
				for range 4 {
					e := math.Abs(d) + 4*random.Float64() - 2
					if e < 0.5 || e > 8 {
						continue
					}
					o := m.Judge(m.LastPrice+math.Copysign(e, d)*m.ATR, &after).Outcome
					lines[x.Kind].add(o, 0, 0)
					week[x.Kind][1].add(o, 0, 0)
				}
			}
		}
	}
	var b strings.Builder
	for kind := range markKinds {
		lift := func(weeks []*[markKinds][2]outcomes) float64 {
			var sum [2]outcomes
			for _, w := range weeks {
				for i := range 2 {
					sum[i].n, sum[i].held = sum[i].n+w[kind][i].n, sum[i].held+w[kind][i].held
				}
			}
			return 100 * (sum[0].held/max(sum[0].n, 1) - sum[1].held/max(sum[1].n, 1))
		}
		var list, again []*[markKinds][2]outcomes
		for _, week := range slices.Sorted(maps.Keys(weekly)) {
			list = append(list, weekly[week])
		}
		var draws []float64
		for range 500 {
			again = again[:0]
			for range list {
				again = append(again, list[random.IntN(len(list))])
			}
			draws = append(draws, lift(again))
		}
		slices.Sort(draws)
		fmt.Fprintf(&b, "\t{%q, %.0f, %.0f, %.4f}, // %+.2f [%+.2f, %+.2f]\n", kind.String(), of[kind].held, of[kind].n, lines[kind].held/max(lines[kind].n, 1), lift(list), draws[12], draws[487])
	}
	t.Log("\n" + b.String())
}

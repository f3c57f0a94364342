// This file pins Find as a whole: properties of every analysis (finite, ordered, no
// two levels in one place), the laws of price (scaling, mirroring), that a Finder
// keeps no state between series, the results on unusual series, and, in
// testdata/*.txt, the results on generated ones; -update rewrites those.

package levels

import (
	"cmp"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// check fails the test if an analysis violates a property that Find guarantees.
func check(t testing.TB, c *Candles, a Analysis) {
	t.Helper()
	n := c.Len()
	if a.AsOf != c.AsOf() || a.LastPrice != c.Close[n-1] || a.Candles != n || a.Missing != c.Missing() {
		t.Fatalf("the analysis is of another series: %+v", a)
	}
	if !(a.ATR >= 0 && a.ATR <= math.MaxFloat64) {
		t.Fatalf("ATR %v", a.ATR)
	}
	ids := map[uint64]bool{}
	side := func(role Role, levels []Level) {
		if len(levels) > MaxSide {
			t.Fatalf("%d levels on one side", len(levels))
		}
		for i, l := range levels {
			if l.Role != role || (l.Price > a.LastPrice) != (role == Resistance) {
				t.Fatalf("%v at %v, last price %v", l.Role, l.Price, a.LastPrice)
			}
			if !(0 < l.Low && l.Low <= l.Price && l.Price <= l.High && l.High <= math.MaxFloat64) {
				t.Fatalf("zone %v to %v around %v", l.Low, l.High, l.Price)
			}
			if !(0 <= l.Strength && l.Strength <= 1) || l.Sources == 0 || l.Status > Flipped {
				t.Fatalf("level %+v", l)
			}
			switch {
			case l.Touches == 0:
				if l.FirstTouch != 0 || l.LastTouch != 0 || l.Status != Active {
					t.Fatalf("untouched level %+v", l)
				}
			case l.FirstTouch < c.OpenTime[0] || l.FirstTouch > l.LastTouch || l.LastTouch >= a.AsOf || int(l.Touches) > n:
				t.Fatalf("touches of %+v in a series from %d to %d", l, c.OpenTime[0], a.AsOf)
			}
			switch r := l.Record; {
			case r.Tests == 0:
				if l.FirstTested != 0 || l.LastTested != 0 || r.Recent.Len() != 0 || r.HeldInRole != 0 {
					t.Fatalf("untested level %+v", l)
				}
			case l.FirstTested <= c.OpenTime[0] || l.FirstTested > l.LastTested || l.LastTested >= a.AsOf || int(r.Tests) > n:
				t.Fatalf("tests of %+v in a series from %d to %d", l, c.OpenTime[0], a.AsOf)
			}
			if r := l.Record; r.Held+r.Broke > r.Tests || r.HeldInRole > r.Held ||
				(r.State == Stood) != (r.HeldInRole > 0) || r.State > Reclaimed ||
				r.Recent.Len() != min(int(r.Held+r.Broke), RecentTests) || r.Recent.Held() > int(r.Held) || r.Recent.Len()-r.Recent.Held() > int(r.Broke) {
				t.Fatalf("record %+v", r)
			}
			if ids[l.ID] {
				t.Fatalf("two levels have the ID %x", l.ID)
			}
			ids[l.ID] = true
			if i == 0 {
				continue
			}
			before := levels[i-1]
			if role == Support && !(l.High <= before.Low && l.Price < before.Price) ||
				role == Resistance && !(before.High <= l.Low && before.Price < l.Price) {
				t.Fatalf("%v: %+v comes after %+v", role, l, before)
			}
		}
	}
	side(Support, a.Supports)
	side(Resistance, a.Resistances)
	if len(a.Supports) > 0 && len(a.Resistances) > 0 && a.Supports[0].High > a.Resistances[0].Low {
		t.Fatalf("%+v overlaps %+v", a.Supports[0], a.Resistances[0])
	}
}

// find uses a new Finder, so that the caller may keep the result.
func find(t testing.TB, c *Candles) Analysis {
	t.Helper()
	a, err := (&Finder{Faint: true}).Find(c)
	if err != nil {
		t.Fatal(err)
	}
	check(t, c, a)
	return a
}

func all(a Analysis) []Level { return slices.Concat(a.Supports, a.Resistances) }

func TestFinder_FindsWhatAHandWouldDraw(t *testing.T) {
	// Price swings between 100 and 120, eleven candles each way, ten times, and
	// stops halfway down: a floor at 100 and a ceiling at 120, never broken.
	var rows [][5]float64
	for k := range 20 {
		for i := range 11 {
			p, next := 100+20*float64(i)/11, 100+20*float64(i+1)/11
			if k%2 == 1 {
				p, next = 220-p, 220-next
			}
			rows = append(rows, [5]float64{p, max(p, next), min(p, next), next, 10})
		}
	}
	for i := range 6 {
		p := 100 + 2*float64(i)
		rows = append(rows, [5]float64{p, p + 2, p, p + 2, 10})
	}
	c := draw(t, rows...)
	a := find(t, c)
	if math.Abs(a.ATR-20./11) > 0.02 {
		t.Errorf("ATR %v, want about %v", a.ATR, 20./11)
	}
	if len(a.Supports) == 0 || len(a.Resistances) == 0 {
		t.Fatalf("got %+v", a)
	}
	// Not at the very extremes, where stops lie and levels break, but where price
	// turns on the way to them.
	floor, ceiling := a.Supports[len(a.Supports)-1], a.Resistances[len(a.Resistances)-1]
	if !(100 <= floor.Price && floor.Price < 100+1.5*a.ATR) || floor.Touches < 10 {
		t.Errorf("got %+v, want a floor just above 100, touched each time", floor)
	}
	if !(120-1.5*a.ATR < ceiling.Price && ceiling.Price <= 120) || ceiling.Touches < 10 {
		t.Errorf("got %+v, want a ceiling just below 120, touched each time", ceiling)
	}
}

func TestFinder_TooFewCandlesIsAnError(t *testing.T) {
	var f Finder
	c := generate(1, MinCandles)
	for _, n := range []int{0, 1, MinCandles - 1} {
		if _, err := f.Find(window(c, 0, n)); !errors.Is(err, ErrTooFewCandles) || !strings.Contains(err.Error(), fmt.Sprint(n)) {
			t.Errorf("%d candles: %v", n, err)
		}
	}
	find(t, c)
}

func TestFinder_ASeriesThatDoesNotMoveHasNoLevels(t *testing.T) {
	for name, c := range map[string]*Candles{
		"all flat":      draw(t, flat(500, 3)...),
		"flat at last":  draw(t, append(draw100(), flat(101, 25)...)...),
		"flat and tiny": draw(t, flat(60, 5e-324)...),
	} {
		t.Run(name, func(t *testing.T) {
			if a := find(t, c); a.ATR != 0 || len(all(a)) != 0 || a.LastPrice != c.Close[c.Len()-1] {
				t.Errorf("got %+v", a)
			}
		})
	}
}

// draw100 is 100 candles that end at 25.
func draw100() (rows [][5]float64) {
	for i := range 100 {
		p := 20 + 5*math.Sin(float64(i)/5)
		rows = append(rows, [5]float64{p, p + 1, p - 1, p, 1})
	}
	rows[99] = [5]float64{25, 25, 25, 25, 1}
	return rows
}

func TestFinder_WithoutVolumePricesAreEnough(t *testing.T) {
	c := generate(4, 1000)
	clear(c.Volume)
	a := find(t, c)
	if len(all(a)) == 0 {
		t.Fatal("no levels")
	}
	for _, l := range all(a) {
		if l.Sources&^(SourceSwing|SourceEnds) != 0 {
			t.Errorf("sources %v", l.Sources.AppendNames(nil))
		}
	}
}

func TestFinder_ALevelAtTheLastCloseIsASupport(t *testing.T) {
	c := generate(1, 1000)
	a := find(t, c)
	fit, own := Odds().For(c.Interval)
	var f Finder
	if _, err := f.draw(c); err != nil {
		t.Fatal(err)
	}
	f.chosen = append(f.chosen, f.drawn[:3]...)
	a.LastPrice = f.chosen[1].price
	supports, resistances := f.levels(c, &a, fit, own)
	if len(supports) != 2 || supports[0].Price != a.LastPrice || supports[0].Role != Support || len(resistances) != 1 {
		t.Errorf("got supports %+v and resistances %+v", supports, resistances)
	}
}

func TestFinder_ATRIsTheMeanTrueRangeOfTheLastHundred(t *testing.T) {
	var rows [][5]float64
	for range 60 {
		rows = append(rows, [5]float64{100, 150, 50, 100, 1}) // 100 each
	}
	for range 98 {
		rows = append(rows, [5]float64{100, 101, 99, 100, 1}) // 2 each
	}
	rows = append(rows, [5]float64{110, 111, 109, 111, 1}) // 11, from the close before
	rows = append(rows, [5]float64{90, 90, 89, 89, 1})     // 22
	if a := find(t, draw(t, rows...)); math.Abs(a.ATR-(98*2+11+22)/100.) > 1e-9 {
		t.Errorf("ATR %v, want %v", a.ATR, (98*2+11+22)/100.)
	}
	if a := find(t, draw(t, rows[:60]...)); math.Abs(a.ATR-100) > 1e-9 {
		t.Errorf("ATR of 60 candles %v, want 100", a.ATR)
	}
	if a := find(t, draw(t, rows[:80]...)); math.Abs(a.ATR-(60*100+20*2)/80.) > 1e-9 {
		t.Errorf("ATR of 80 candles %v, want %v", a.ATR, (60*100+20*2)/80.)
	}
}

// scaled is c with all prices multiplied.
func scaled(c *Candles, by float64) *Candles {
	d := window(c, 0, c.Len())
	times := func(v []float64) []float64 {
		w := make([]float64, len(v))
		for i := range v {
			w[i] = v[i] * by
		}
		return w
	}
	d.Open, d.High, d.Low, d.Close = times(c.Open), times(c.High), times(c.Low), times(c.Close)
	return d
}

func TestFinder_PricesTimesAPowerOfTwoGiveLevelsTimesThat(t *testing.T) {
	for seed := range uint64(5) {
		c := generate(seed, 1500)
		want := find(t, c)
		for _, exponent := range []int{-60, -40, -13, -1, 1, 2, 7, 40} {
			by := math.Ldexp(1, exponent)
			got := find(t, scaled(c, by))
			if got.ATR != want.ATR*by {
				t.Fatalf("seed %d, 2^%d: ATR %v of %v", seed, exponent, got.ATR, want.ATR)
			}
			expected := all(want)
			for i := range expected {
				expected[i].Price *= by
				expected[i].Low *= by
				expected[i].High *= by
			}
			if !slices.Equal(all(got), expected) {
				t.Fatalf("seed %d, 2^%d: got\n%+v\nwant\n%+v", seed, exponent, all(got), expected)
			}
		}
	}
}

// Other factors shift the grid of the profile by less than a quarter of an ATR, so a
// zone close to DrawEdge may cross it.
func TestFinder_PricesTimesAnythingGiveNearlyTheSameLevels(t *testing.T) {
	found, strongest := 0, 0
	for seed := range uint64(10) {
		c := generate(seed, 1500)
		want := find(t, c)
		for _, by := range []float64{1e-8, 0.3, 3, 7.7, 1e5} {
			got := find(t, scaled(c, by))
			if math.Abs(got.ATR/by/want.ATR-1) > 1e-9 {
				t.Fatalf("seed %d × %v: ATR %v of %v", seed, by, got.ATR, want.ATR)
			}
			top := all(want)
			slices.SortFunc(top, func(a, b Level) int { return cmp.Compare(b.Strength, a.Strength) })
			for _, l := range top[:min(12, len(top))] {
				strongest++
				if slices.ContainsFunc(all(got), func(g Level) bool {
					return math.Abs(g.Price/by-l.Price) < 0.25*want.ATR && g.Role == l.Role && math.Abs(float64(g.Strength-l.Strength)) < 0.1
				}) {
					found++
				}
			}
		}
	}
	t.Logf("%d of %d strongest levels found again", found, strongest)
	if float64(found) < 0.85*float64(strongest) {
		t.Errorf("only %d of %d strongest levels found again", found, strongest)
	}
}

func TestFinder_MirroredPricesSwapRoles(t *testing.T) {
	const pivot = 1 << 15
	for seed := range uint64(10) {
		c := generate(seed, 1500)
		m := window(c, 0, c.Len())
		mirror := func(v []float64) []float64 {
			w := make([]float64, len(v))
			for i := range v {
				w[i] = pivot - v[i]
			}
			return w
		}
		m.Open, m.High, m.Low, m.Close = mirror(c.Open), mirror(c.Low), mirror(c.High), mirror(c.Close)
		a, b := find(t, c), find(t, m)
		if a.ATR != b.ATR {
			t.Fatalf("seed %d: ATR %v and %v", seed, a.ATR, b.ATR)
		}
		same := func(one, other []Level) {
			t.Helper()
			if len(one) != len(other) {
				t.Fatalf("seed %d: %d levels against %d", seed, len(one), len(other))
			}
			for i := range one {
				x, y := one[i], other[i]
				close := func(p, q float64) bool { return math.Abs(p-q) < 1e-6*a.ATR }
				if !close(x.Price, pivot-y.Price) || !close(x.Low, pivot-y.High) || math.Abs(float64(x.Strength-y.Strength)) > 1e-9 ||
					x.Role == y.Role || x.Status != y.Status || x.Sources != y.Sources || x.Touches != y.Touches ||
					x.FirstTouch != y.FirstTouch || x.LastTouch != y.LastTouch || x.Record != y.Record {
					t.Fatalf("seed %d: %+v\nmirrored: %+v", seed, x, y)
				}
			}
		}
		same(a.Supports, b.Resistances)
		same(a.Resistances, b.Supports)
	}
}

func TestFinder_RemembersNothing(t *testing.T) {
	used := Finder{Faint: true}
	before := []*Candles{generate(1, 3000), draw(t, flat(60, 1)...), generate(2, 60), scaled(generate(3, 900), 1e-9)}
	for seed := range uint64(20) {
		if _, err := used.Find(before[seed%4]); err != nil {
			t.Fatal(err)
		}
		c := generate(seed+10, 200+50*int(seed))
		got, err := used.Find(c)
		if err != nil {
			t.Fatal(err)
		}
		want := find(t, c)
		if !slices.Equal(all(got), all(want)) || got.ATR != want.ATR || len(got.Supports) != len(want.Supports) {
			t.Fatalf("seed %d: a used Finder found\n%+v\na new one\n%+v", seed, got, want)
		}
	}
}

func TestFinder_ChangesNoCandle(t *testing.T) {
	c, same := generate(1, 500), generate(1, 500)
	find(t, c)
	for i := range c.OpenTime {
		if c.At(i) != same.At(i) {
			t.Fatalf("candle %d was %v and is %v", i, same.At(i), c.At(i))
		}
	}
}

func TestFinder_AllocatesNothingOnceWarm(t *testing.T) {
	f := Finder{Faint: true}
	series := []*Candles{generate(1, 2000), generate(2, 2000), generate(3, 700)}
	round := func() {
		for _, c := range series {
			if _, err := f.Find(c); err != nil {
				t.Fatal(err)
			}
		}
	}
	round()
	if n := testing.AllocsPerRun(20, round); n != 0 {
		t.Errorf("%v allocations a round of %d analyses", n, len(series))
	}
}

// findDrawn is find without the faint levels.
func findDrawn(t testing.TB, c *Candles) Analysis {
	t.Helper()
	a, err := new(Finder).Find(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestFinder_KeepsTheStrongestOfASideAndDrawsThoseWithAnEdge(t *testing.T) {
	full, empty, faint := 0, 0, 0
	for seed := range uint64(60) {
		c := generate(seed, 3000)
		c = window(c, 0, drawn(c)) // drawn from all of it
		a, solid := find(t, c), findDrawn(t, c)
		fit, _ := Odds().For(c.Interval)
		excess := map[Role]map[float64]float32{Support: {}, Resistance: {}}
		err := new(Finder).Candidates(c, func(k Candidate) {
			if k.Distance <= DrawDistance {
				excess[k.Role][k.Price] = fit.excess((*[features]float32)(k.Features))
			}
			if k.Role != k.DrawnRole || !slices.Equal(k.Drawn, k.Features[:HoldFeatures]) {
				t.Fatalf("seed %d: just drawn, and yet %v has changed", seed, k.Price)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		for role, sides := range map[Role][2][]Level{Support: {a.Supports, solid.Supports}, Resistance: {a.Resistances, solid.Resistances}} {
			side := sides[0]
			weakest := float32(math.Inf(1))
			for _, l := range side {
				x, ok := excess[role][l.Price]
				if !ok || l.Edge != 100*x || l.Strength != fit.strength(x) {
					t.Fatalf("seed %d: %+v is not a zone of excess %v", seed, l, x)
				}
				if x < 0 || l.Faint(DrawEdge) != (100*x < DrawEdge) {
					t.Errorf("seed %d: %v was kept with an excess of %v, faint: %v", seed, l.Price, x, l.Faint(DrawEdge))
				}
				if l.Faint(DrawEdge) {
					faint++
				}
				weakest = min(weakest, x)
				delete(excess[role], l.Price)
			}
			for price, x := range excess[role] {
				switch {
				case x < 0:
				case len(side) < MaxSide:
					t.Errorf("seed %d: %v of excess %v was left out though there was room", seed, price, x)
				case x > weakest:
					t.Errorf("seed %d: %v of excess %v was left out for one of %v", seed, price, x, weakest)
				}
			}
			if want := slices.DeleteFunc(slices.Clone(side), func(l Level) bool { return l.Faint(DrawEdge) }); !slices.Equal(sides[1], want) {
				t.Errorf("seed %d: without faint ones %+v, want %+v", seed, sides[1], want)
			}
			if len(side) == MaxSide {
				full++
			}
			if len(sides[1]) == 0 {
				empty++
			}
		}
	}
	t.Logf("%d sides full, %d without a level to draw, %d faint levels", full, empty, faint)
	if full == 0 || empty == 0 || faint == 0 {
		t.Error("not every case occurred: the test proves too little")
	}
}

func TestFinder_DropsALevelBetweenDrawingsOnceItsEdgeIsLow(t *testing.T) {
	kept, gone := 0, 0
	for seed := range uint64(80) {
		c := generate(seed, 2004)
		n := drawn(c)
		fit, _ := Odds().For(c.Interval)
		type edge struct{ then, now, distance float32 }
		want := map[float64]edge{}
		err := new(Finder).Candidates(c, func(k Candidate) {
			var then [features]float32
			copy(then[:], k.Drawn)
			want[k.Price] = edge{100 * fit.excess(&then), 100 * fit.excess((*[features]float32)(k.Features)), k.Drawn[0]}
		})
		if err != nil {
			t.Fatal(err)
		}
		if n == c.Len() {
			continue // just drawn
		}
		found := map[float64]bool{}
		for _, l := range all(findDrawn(t, c)) {
			found[l.Price] = true
			if e := want[l.Price]; e.then < DrawEdge || e.distance > DrawDistance || e.now < KeepEdge || l.Edge != e.now {
				t.Errorf("seed %d: %v is a level of edge %v; it was drawn with %v at %v ATR and has %v", seed, l.Price, l.Edge, e.then, e.distance, e.now)
			}
		}
		for price, e := range want {
			if e.distance > DrawDistance {
				continue
			}
			if e.then >= DrawEdge && e.now < KeepEdge {
				gone++
			}
			if e.then >= DrawEdge && e.now >= KeepEdge {
				kept++
				if !found[price] && len(found) < MaxSide {
					t.Errorf("seed %d: %v, drawn with %v and now at %v, is missing", seed, price, e.then, e.now)
				}
			}
		}
	}
	t.Logf("%d kept, %d dropped", kept, gone)
	if kept == 0 || gone == 0 {
		t.Error("not every case occurred: the test proves too little")
	}
}

func TestFinder_Golden(t *testing.T) {
	for _, test := range []struct {
		seed uint64
		n    int
	}{{1, 2000}, {2, 500}, {3, MinCandles}, {4, 10_000}} {
		name := fmt.Sprintf("generated-%d-%d.txt", test.seed, test.n)
		t.Run(name, func(t *testing.T) {
			a := find(t, generate(test.seed, test.n))
			var b strings.Builder
			fmt.Fprintf(&b, "# Made by generate(%d, %d) of series_test.go; no outside data. Rewritten by go test -update.\n", test.seed, test.n)
			fmt.Fprintf(&b, "as of %d, last price %.8g, ATR %.8g, %d candles, %d missing, algorithm %s\n", a.AsOf, a.LastPrice, a.ATR, a.Candles, a.Missing, Algorithm)
			for _, l := range all(a) {
				fmt.Fprintf(&b, "%016x %-10v %-7v %.8g in %.8g to %.8g, strength %.4f, %d touches from %d to %d, %s\n",
					l.ID, l.Role, l.Status, l.Price, l.Low, l.High, l.Strength, l.Touches, l.FirstTouch, l.LastTouch,
					strings.Join(l.Sources.AppendNames(nil), " "))
				fmt.Fprintf(&b, "%16s %v: %d tests from %d to %d, %d held, %d broke, %d of the last %d held, %d in its role\n", "",
					l.State, l.Tests, l.FirstTested, l.LastTested, l.Held, l.Broke, l.Recent.Held(), l.Recent.Len(), l.HeldInRole)
			}
			path := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if b.String() != string(want) {
				t.Errorf("found\n%s\nthe golden file says\n%s\nif the change is intended, run go test ./levels -update and change Algorithm", b.String(), want)
			}
		})
	}
}

func TestFinder_HoldsOnRealCandles(t *testing.T) {
	computes(t)
	for _, file := range realFiles(t, "*.csv.gz", 24) {
		c, _ := load(t, file, 8000)
		f := Finder{Faint: true}
		levels, moments := 0, 0
		for end := 300; end <= c.Len(); end += 997 {
			w := window(c, max(0, end-2000), end)
			a, err := f.Find(w)
			if err != nil {
				t.Fatal(err)
			}
			check(t, w, a)
			levels, moments = levels+len(all(a)), moments+1
		}
		if levels < 2*moments {
			t.Errorf("%s: %d levels at %d moments", filepath.Base(file), levels, moments)
		}
	}
}

// FuzzFind makes candles of any bytes: of eight for a raw float each, of two
// for a step of a walk, at any scale, with any length.
func FuzzFind(f *testing.F) {
	f.Add([]byte("a walk up and down and up again, and so on and on"), int16(3), uint16(300), false)
	f.Add([]byte{0}, int16(0), uint16(60), false)
	f.Add([]byte{128, 255, 128, 0, 0, 0}, int16(-1070), uint16(2000), false)
	f.Add([]byte{255, 3, 200, 7, 1, 9, 90, 250}, int16(1010), uint16(800), false)
	f.Add(binary.LittleEndian.AppendUint64(nil, math.Float64bits(math.MaxFloat64)), int16(0), uint16(70), true)
	f.Add(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, 1), math.Float64bits(1e300)), int16(0), uint16(70), true)
	f.Fuzz(func(t *testing.T, data []byte, scale int16, n uint16, raw bool) {
		if len(data) == 0 {
			return
		}
		at := 0
		next := func() byte { at++; return data[(at-1)%len(data)] }
		number := func() float64 {
			var b [8]byte
			for i := range b {
				b[i] = next()
			}
			return math.Abs(math.Float64frombits(binary.LittleEndian.Uint64(b[:])))
		}
		price, c := 1.0, new(Candles)
		c.Reset("1h", int(n%3000))
		for i := range int64(n % 3000) {
			var k Candle
			if raw {
				k = Candle{i * hour, number(), 0, 0, number(), number()}
				k.High, k.Low = max(k.Open, k.Close), min(k.Open, k.Close)
			} else {
				step := math.Ldexp(1+float64(int8(next()))/512, int(int8(next()))/64)
				k = Candle{i * hour, math.Ldexp(price, int(scale)), 0, 0, math.Ldexp(price*step, int(scale)), float64(next())}
				k.High, k.Low = max(k.Open, k.Close), min(k.Open, k.Close)*(1-float64(next()%32)/64)
				price *= step
			}
			if c.Append(k) != nil { // its own tests say what it refuses
				price = 1
			}
		}
		a, err := new(Finder).Find(c)
		if c.Len() < MinCandles {
			if !errors.Is(err, ErrTooFewCandles) {
				t.Fatalf("%d candles: %v", c.Len(), err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		check(t, c, a)
	})
}

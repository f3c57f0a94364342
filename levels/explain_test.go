// Pins explanations: the touches are those counted, with the outcomes of hand-drawn
// ones, the sources are those of the level, the effects of all factors add up to the
// odds and are Shapley values by their definition, and everything agrees with Find,
// for scaled and mirrored prices and for a used Finder.
package levels

import (
	"cmp"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// explainAll explains every level of c, in the order of all.
func explainAll(t *testing.T, c *Candles) (found []Level, why []Explanation) {
	t.Helper()
	f := Finder{Faint: true}
	found = all(find(t, c))
	for _, l := range found {
		e, err := f.Explain(c, l.ID)
		if err != nil {
			t.Fatal(err)
		}
		why = append(why, e)
	}
	return found, why
}

// explained are the series most tests here go over.
func explained(t *testing.T) []*Candles {
	list := []*Candles{generate(1, 2000), generate(2, 500), generate(3, 3001), generate(4, 2000)}
	for _, path := range realFiles(t, "*1h*", 4) {
		c, _ := load(t, path, 2000)
		list = append(list, c)
	}
	return list
}

func TestExplain_TellsTheLevelOfFind(t *testing.T) {
	for k, c := range explained(t) {
		a := find(t, c)
		found, why := explainAll(t, c)
		for i, e := range why {
			if e.Level != found[i] {
				t.Errorf("series %d: %+v, found %+v", k, e.Level, found[i])
			}
			if e.AsOf != a.AsOf || e.LastPrice != a.LastPrice || e.ATR != a.ATR || e.Candles != a.Candles || e.Missing != a.Missing {
				t.Errorf("series %d: %+v, found %+v", k, e, a)
			}
		}
	}
}

func TestExplain_TouchesAreThoseOfTheLevel(t *testing.T) {
	outcomes := map[Outcome]int{}
	for k, c := range explained(t) {
		_, why := explainAll(t, c)
		for _, e := range why {
			l := e.Level
			if len(e.Touches) != int(l.Touches) {
				t.Fatalf("series %d: %d touches of %+v", k, len(e.Touches), l)
			}
			for i, x := range e.Touches {
				outcomes[x.Outcome]++
				if i > 0 && x.From < e.Touches[i-1].To || x.Candles < 1 || x.To > e.AsOf || x.To-x.From < int64(x.Candles)*c.length {
					t.Errorf("series %d: touch %d of %+v: %+v", k, i, l, x)
				}
				if x.Above && x.Extreme > l.High || !x.Above && x.Extreme < l.Low {
					t.Errorf("series %d: touch %d does not reach %+v: %+v", k, i, l, x)
				}
				if x.Outcome == Untouched {
					t.Errorf("series %d: touch %d of %+v was none: %+v", k, i, l, x)
				}
			}
			if n := len(e.Touches); n > 0 && (e.Touches[0].From != l.FirstTouch || e.Touches[n-1].From != l.LastTouch) {
				t.Errorf("series %d: first and last touch of %+v: %+v, %+v", k, l, e.Touches[0], e.Touches[n-1])
			}
		}
	}
	if outcomes[Held] < 100 || outcomes[Broke] < 100 {
		t.Errorf("%v: too few outcomes for this test", outcomes)
	}
}

func TestExplain_TestsAreThoseOfTheRecord(t *testing.T) {
	for k, c := range explained(t) {
		_, why := explainAll(t, c)
		for _, e := range why {
			l, held, broke := e.Level, uint16(0), uint16(0)
			var recent Recent
			for i, x := range e.Tests {
				if i > 0 && x.From < e.Tests[i-1].To || x.To <= x.From || x.To > e.AsOf {
					t.Errorf("series %d: test %d of %+v: %+v", k, i, l, x)
				}
				switch x.Outcome {
				case Held:
					held++
					recent = recent.push(true)
				case Broke:
					broke++
					recent = recent.push(false)
				}
			}
			if len(e.Tests) != int(l.Tests) || held != l.Held || broke != l.Broke || recent != l.Recent {
				t.Errorf("series %d: %d tests, %d held, %d broke, recently %b, want as in %+v", k, len(e.Tests), held, broke, recent, l.Record)
			}
			if n := len(e.Tests); n > 0 && (e.Tests[0].From != l.FirstTested || e.Tests[n-1].From != l.LastTested) {
				t.Errorf("series %d: first and last test of %+v: %+v, %+v", k, l, e.Tests[0], e.Tests[n-1])
			}
		}
	}
}

func TestExplain_OutcomesOfDrawnTouches(t *testing.T) {
	// Quiet candles of a range of 1 make an ATR of 1; the zone is 99.8 to 100.2.
	quiet := func(n int, price float64) [][5]float64 {
		return slices.Repeat([][5]float64{{price, price + 0.5, price - 0.5, price, 1}}, n)
	}
	touch := [5]float64{98, 99.9, 97.9, 98.6, 1} // comes to 99.9, from below
	for name, test := range map[string]struct {
		after [][5]float64
		want  Outcome
	}{
		"held":           {[][5]float64{{98.6, 99, 98.5, 98.6, 1}}, Held}, // 1 ATR below the edge is 98.8
		"broke":          {[][5]float64{{99, 101, 99, 100.9, 1}}, Broke},
		"both at once":   {[][5]float64{{99, 101, 98, 100, 1}}, Undecided},
		"not over yet":   {[][5]float64{{99, 99.7, 98.9, 99.5, 1}}, Pending},
		"nothing at all": {nil, Pending},
	} {
		c := draw(t, slices.Concat(quiet(20, 98), [][5]float64{touch}, test.after)...)
		n := zone{price: 100, low: 99.8, high: 100.2}
		touches := n.episodes(c)
		if len(touches) != 1 || touches[0].Outcome != test.want || touches[0].Above || touches[0].From != c.OpenTime[20] {
			t.Errorf("%s: %+v, want %v", name, touches, test.want)
			continue
		}
		// the same in the mirror at 100
		mirrored := draw(t, slices.Concat(quiet(20, 98), [][5]float64{touch}, test.after)...)
		for i := range mirrored.Len() {
			mirrored.Open[i], mirrored.Close[i] = 200-c.Open[i], 200-c.Close[i]
			mirrored.High[i], mirrored.Low[i] = 200-c.Low[i], 200-c.High[i]
		}
		m := n.episodes(mirrored)
		if len(m) != 1 || m[0].Outcome != test.want || !m[0].Above || math.Abs(m[0].Extreme-(200-touches[0].Extreme)) > 1e-9 {
			t.Errorf("%s, mirrored: %+v, want %v", name, m, test.want)
		}
	}
}

func TestExplain_SourcesAreThoseOfTheLevel(t *testing.T) {
	for k, c := range explained(t) {
		_, why := explainAll(t, c)
		for _, e := range why {
			l, weight := e.Level, 0.0
			var methods Sources
			for _, s := range e.Found {
				if methods >= s.Method {
					t.Errorf("series %d: %v after %v in %+v", k, s.Method, methods, l)
				}
				methods |= s.Method
				weight += s.Weight
				if s.Count < 1 || s.Weight < 0 || s.Method != SourceEnds && len(s.Marks) != s.Count || s.Method == SourceEnds && s.Marks != nil {
					t.Errorf("series %d: %+v in %+v", k, s, l)
				}
				for _, m := range s.Marks {
					i, found := slices.BinarySearch(c.OpenTime, m.Time)
					swing := m.Kind == SwingHigh && found && c.High[i] == m.Price || m.Kind == SwingLow && found && c.Low[i] == m.Price
					if m.Price < l.Low || m.Price > l.High || swing != (s.Method == SourceSwing) || swing != (m.Prominence > 0) || m.Share < 0 || m.Share > 1 {
						t.Errorf("series %d: %+v in %+v", k, m, l)
					}
				}
			}
			if methods != l.Sources || math.Abs(weight-1) > 1e-9 {
				t.Errorf("series %d: sources %b of weight %v in %+v", k, methods, weight, l)
			}
		}
	}
}

// A candidate exactly on the border of two zones belongs to the lower one alone.
func TestExplain_ACandidateOnABorderBelongsToOneZone(t *testing.T) {
	for _, source := range []Sources{SourcePointOfControl, SourceVolume} {
		f := Finder{Faint: true}
		f.around.atr = 1
		f.clusters.candidates = []candidate{{100, 5, -1, SourceEnds}, {100.5, 0, -1, source}, {101, 5, -1, SourceEnds}}
		zones := f.clusters.cluster(nil, 0.6)
		if len(zones) != 2 || zones[0].high != 100.5 || zones[1].low != 100.5 {
			t.Fatalf("the border is not at the candidate: %+v", zones)
		}
		c := draw(t, flat(1, 100)...)
		lower, upper := f.found(&zones[0], c), f.found(&zones[1], c)
		if len(lower) != 2 || len(upper) != 1 || upper[0].Method != SourceEnds {
			t.Errorf("the lower zone has %+v, the upper %+v", lower, upper)
		}
	}
}

// FuzzExplain_Found draws zones around candidates that often share a price or lie on
// a border: Explain finds in a zone exactly its candidates.
func FuzzExplain_Found(f *testing.F) {
	f.Add([]byte{10, 5, 0, 11, 0, 2, 12, 5, 0}, uint8(6))
	f.Add([]byte{10, 5, 0, 10, 9, 1, 11, 0, 2, 12, 5, 3}, uint8(8))
	f.Fuzz(func(t *testing.T, data []byte, reach uint8) {
		methods := [...]Sources{SourceEnds, SourceVolume, SourcePointOfControl, SourceValueArea}
		finder := Finder{Faint: true}
		finder.around.atr = 1
		k := &finder.clusters.candidates
		for ; len(data) >= 3; data = data[3:] {
			*k = append(*k, candidate{float64(1+int(data[0])) / 2, float64(data[1]), -1, methods[data[2]%4]})
		}
		slices.SortStableFunc(*k, func(a, b candidate) int { return cmp.Compare(a.price, b.price) })
		c := draw(t, flat(1, 100)...)
		given := 0
		for _, n := range finder.clusters.cluster(nil, float64(1+int(reach))/10) {
			var sources Sources
			for _, s := range finder.found(&n, c) {
				sources |= s.Method
				given += len(s.Marks)
			}
			if sources != n.sources {
				t.Errorf("found %b in %+v", sources, n)
			}
		}
		if given > len(*k) {
			t.Errorf("%d marks of %d candidates", given, len(*k))
		}
	})
}

func TestExplain_EffectsAddUpToTheOdds(t *testing.T) {
	moved := 0
	for k, c := range explained(t) {
		f := Finder{Faint: true}
		var mean, zones float64
		fit, _ := Odds().For(c.Interval)
		err := f.Candidates(c, func(z Candidate) {
			mean += fit.holdExcess((*[features]float32)(z.Features))
			zones++
		})
		if err != nil {
			t.Fatal(err)
		}
		_, why := explainAll(t, c)
		for _, e := range why {
			l, sum := e.Level, 0.0
			names := map[string]bool{}
			for i, x := range e.Factors {
				sum += x.Effect
				names[x.Name] = true
				if i > 0 && math.Abs(x.Effect) > math.Abs(e.Factors[i-1].Effect) {
					t.Errorf("series %d: %+v after %+v", k, x, e.Factors[i-1])
				}
				if x.Text == "" || x.Unit == "" || math.IsNaN(x.Value) || math.IsInf(x.Value, 0) {
					t.Errorf("series %d: %+v", k, x)
				}
				if x.Name == "zones" {
					// the rest after all other factors must be the mean
					// of all zones, but for the rounding of the odds
					if math.Abs(x.Effect-100*mean/zones) > 0.02 || x.Value != zones {
						t.Errorf("series %d: %+v, want %v of %v", k, x, 100*mean/zones, zones)
					}
				} else if math.Abs(x.Effect) > 0.1 {
					moved++
				}
			}
			if math.Abs(sum-100*(float64(l.HoldProbability)-float64(l.BaselineHold))) > 1e-9 {
				t.Errorf("series %d: effects add up to %v, the odds are %v against %v", k, sum, l.HoldProbability, l.BaselineHold)
			}
			if len(names) != factorCount+1 || len(e.Factors) != factorCount+1 {
				t.Errorf("series %d: %d factors, %v", k, len(e.Factors), names)
			}
		}
	}
	if moved == 0 {
		t.Error("no factor moved any odds")
	}
}

func TestExplain_BoundsAreAFactorWhereOddsWouldPassThem(t *testing.T) {
	for _, excess := range []float32{0.9, -0.9} {
		fit := &Fit{
			Interval: "1h", Baseline: [3]float64{0.45, 0, 0}, Ranks: []float32{0, 1}, Reliability: []Reliability{{To: 1, Half: 0.1, Samples: 9}},
			Trees: &Trees{Rank: []Tree{{Leaf: [4]float32{excess, excess, excess, excess}}}, Hold: []Tree{{Leaf: [4]float32{excess, excess, excess, excess}}}, Touch: []DeepTree{{}}},
		}
		c := generate(1, 600)
		f := Finder{Faint: true}
		if _, err := f.Find(c); err != nil {
			t.Fatal(err)
		}
		advance(f.drawn, c, drawn(c))
		f.chosen = f.chosen[:1]
		f.chosen[0].excess = excess
		side := []Level{f.level(&f.chosen[0], Support, c, fit)}
		f.estimate(side, nil, fit)
		l := side[0]
		var sum, bounds float64
		for _, x := range f.factors(&l, &f.chosen[0], nil, fit) {
			sum += x.Effect
			if x.Name == "bounds" {
				bounds = x.Effect
			}
		}
		if want := 100*(float64(l.HoldProbability)-0.45) - 100*float64(excess); math.Abs(bounds-want) > 1e-5 || bounds == 0 {
			t.Errorf("bounds moved %v points, want %v", bounds, want)
		}
		if math.Abs(sum-100*(float64(l.HoldProbability)-float64(l.BaselineHold))) > 1e-9 {
			t.Errorf("effects add up to %v for %v against %v", sum, l.HoldProbability, l.BaselineHold)
		}
	}
}

// Shapley's definition, literally: the mean contribution of a factor over all orders
// in which the factors may become known.
func TestExplain_EffectsAreShapleyValues(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var v, w [features]float32
		for i := range v {
			v[i], w[i] = r.Float32(), r.Float32()
		}
		tree := Tree{
			Feature: [2]uint8{uint8(r.IntN(holdFeatures)), uint8(r.IntN(holdFeatures))}, Cut: [2]float32{r.Float32(), r.Float32()},
			Leaf: [4]float32{r.Float32(), r.Float32(), r.Float32(), r.Float32()},
		}
		value := func(known ...int) float64 {
			x := w
			for i := range holdFeatures {
				if slices.Contains(known, factorOf(uint8(i))) {
					x[i] = v[i]
				}
			}
			return float64(sum([]Tree{tree}, &x))
		}
		var got, want [factorCount]float64
		tree.attribute(&got, &v, &w)
		// factors that the tree does not use add nothing in any order
		a, b := factorOf(tree.Feature[0]), factorOf(tree.Feature[1])
		if a == b {
			want[a] = value(a) - value()
		} else {
			want[a] = (value(a) - value() + value(a, b) - value(b)) / 2
			want[b] = (value(b) - value() + value(a, b) - value(a)) / 2
		}
		for k := range got {
			if math.Abs(got[k]-want[k]) > 1e-6 {
				t.Fatalf("factor %d of %+v: %v, want %v", k, tree, got[k], want[k])
			}
		}
	}
}

func TestExplain_EveryHoldFeatureBelongsToAFactor(t *testing.T) {
	seen := map[int]int{}
	for i, name := range FeatureNames()[:OddsFeatures] {
		k := factorOf(uint8(i))
		if k < 0 || k >= factorCount {
			t.Fatalf("%s belongs to %d", name, k)
		}
		seen[k]++
	}
	want := map[int]int{factorShort: 9, factorMiddle: 6, factorLong: 9, factorTrend: OddsFeatures - HoldFeatures}
	for k := range factorCount {
		if n := max(want[k], 1); seen[k] != n {
			t.Errorf("factor %d has %d features, want %d", k, seen[k], n)
		}
	}
}

func TestExplain_MirroredPricesMirror(t *testing.T) {
	const pivot = 1 << 15
	for seed := range uint64(4) {
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
		_, one := explainAll(t, c)
		_, other := explainAll(t, m)
		for i := range one {
			x := one[i]
			k := slices.IndexFunc(other, func(e Explanation) bool { return math.Abs(e.Level.Price-(pivot-x.Level.Price)) < 1e-6*x.ATR })
			if k < 0 || other[k].Level.Role == x.Level.Role {
				t.Fatalf("seed %d: %+v has no mirror", seed, x.Level)
			}
			y := other[k]
			for j, a := range x.Touches {
				b := y.Touches[j]
				if a.From != b.From || a.To != b.To || a.Above == b.Above || a.Outcome != b.Outcome || a.Extreme != pivot-b.Extreme || a.Candles != b.Candles {
					t.Errorf("seed %d: %+v, mirrored %+v", seed, a, b)
				}
			}
			effects := func(e Explanation) map[string]float64 {
				by := map[string]float64{}
				for _, f := range e.Factors {
					by[f.Name] = f.Effect
				}
				return by
			}
			for name, effect := range effects(x) {
				if math.Abs(effects(y)[name]-effect) > 1e-6 {
					t.Errorf("seed %d: %s moved %v, mirrored %v", seed, name, effect, effects(y)[name])
				}
			}
		}
	}
}

func TestExplain_AnswerDoesNotBelongToTheFinder(t *testing.T) {
	c, d := generate(1, 2000), generate(2, 2500)
	id := all(find(t, c))[0].ID
	fresh, used := Finder{Faint: true}, Finder{Faint: true}
	want, err := fresh.Explain(c, id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := used.Find(d); err != nil {
		t.Fatal(err)
	}
	got, err := used.Explain(c, id)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all(find(t, d)) {
		if _, err := used.Explain(d, l.ID); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nfrom a finder in use %+v", want, got)
	}
	if a, err := used.Find(c); err != nil || !reflect.DeepEqual(all(a), all(find(t, c))) {
		t.Errorf("Find after Explain: %+v, %v", a, err)
	}
}

func TestExplain_WithoutOddsThereAreNoFactors(t *testing.T) {
	short := generate(1, MinOddsCandles-1)
	weeks := new(Candles)
	weeks.Reset("1w", 0)
	for i, k := range func() (list []Candle) {
		c := generate(1, 600)
		for i := range c.Len() {
			list = append(list, c.At(i))
		}
		return list
	}() {
		k.OpenTime = int64(i+1000) * 168 * hour
		if err := weeks.Append(k); err != nil {
			t.Fatal(err)
		}
	}
	for reason, c := range map[NoOdds]*Candles{ShortHistory: short, UnknownInterval: weeks} {
		_, why := explainAll(t, c)
		for _, e := range why {
			if e.Level.NoOdds != reason || e.Factors != nil || len(e.Found) == 0 {
				t.Errorf("%v: %+v", reason, e)
			}
		}
		if len(why) == 0 {
			t.Errorf("%v: no levels", reason)
		}
	}
}

func TestExplain_RefusesWhatIsNotThere(t *testing.T) {
	f := Finder{Faint: true}
	if _, err := f.Explain(generate(1, 2000), 1); !errors.Is(err, ErrNoLevel) {
		t.Errorf("no such ID: %v", err)
	}
	if _, err := f.Explain(draw(t, flat(80, 5)...), 1); !errors.Is(err, ErrNoLevel) {
		t.Errorf("a market that does not move: %v", err)
	}
	if _, err := f.Explain(generate(1, MinCandles-1), 1); !errors.Is(err, ErrTooFewCandles) {
		t.Errorf("too few candles: %v", err)
	}
}

// Words that would contradict each other are explained, with the figures of the level.
func TestExplain_SaysWhyFiguresDiffer(t *testing.T) {
	for _, c := range []struct {
		held, broke uint16
		edge        float32
		odds        NoOdds
		hold        float32
		want        string
	}{
		{0, 6, 7.3, OddsKnown, 0.5, "it held 0 of 6 tests, less often than any line, and has an edge of 7.3 points: both can be true"},
		{0, 1, 3, OddsKnown, 0.5, "it held 0 of 1 test, "},
		{3, 3, 7.3, OddsKnown, 0.5, ""},
		{0, 0, 7.3, OddsKnown, 0.5, ""},
		{0, 6, 0, OddsKnown, 0.4, ""},
		{0, 6, 7.3, UnknownInterval, 0, ""},
		{3, 3, 4, OddsKnown, 0.45, "its odds of holding are 45.0 %, no better than the 45.0 % of any line, and it has an edge of 4.0 points"},
		{0, 1, 4, OddsKnown, 0.44, "it held 0 of 1 test, less often than any line, and has an edge of 4.0 points: both can be true"},
	} {
		l := Level{Edge: c.edge, BaselineHold: 0.45, HoldProbability: c.hold, NoOdds: c.odds, Record: Record{Tests: 9, Held: c.held, Broke: c.broke}}
		if got := l.RecordNote(); got != c.want && (c.want == "" || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%+v: %q", c, got)
		}
	}
	for _, c := range explained(t) {
		_, why := explainAll(t, c)
		for _, e := range why {
			times := plural(len(e.Touches), "time")
			if note := e.EntriesNote(); !strings.HasPrefix(note, "price entered the zone "+times+" since it formed; tests are another count") {
				t.Errorf("%d touches, %q", len(e.Touches), note)
			}
			for _, f := range e.Factors {
				if f.Name == "touches" && f.Text != "price entered the zone "+times {
					t.Errorf("%d touches, %q", len(e.Touches), f.Text)
				}
			}
			note := e.Level.FoundByNote()
			for _, name := range e.Level.Sources.AppendNames(nil) {
				if named := slices.Contains(e.Level.FoundBy().AppendNames(nil), name); strings.Contains(note, "found by "+name) != named && strings.Contains(note, " and "+name) != named {
					t.Errorf("sources %v, found by %v: %q", e.Level.Sources.AppendNames(nil), e.Level.FoundBy().AppendNames(nil), note)
				}
			}
			if none := e.Level.FoundBy() == 0; strings.HasPrefix(note, "not found by any method that distinguishes it from random prices") != none {
				t.Errorf("found by %v: %q", e.Level.FoundBy().AppendNames(nil), note)
			}
		}
	}
}

// This file pins the laws of episodes on random walks, with holes and prices between closes,
// and that outcomes are those of levels.Moment.Judge on real series.

package event

import (
	"cmp"
	"compress/gzip"
	"encoding/csv"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tidemark/levels"
	"tidemark/service"
)

// walk returns n hourly candles of a random walk, with some holes.
func walk(t tester, seed uint64, n int) *levels.Candles {
	r := rand.New(rand.NewPCG(seed, 1))
	c := new(levels.Candles)
	c.Reset("1h", n)
	price, at := 1000.0, int64(1_600_000_000_000/hour*hour)
	for range n {
		k := levels.Candle{OpenTime: at, Open: price, High: price, Low: price}
		for range 4 {
			price = max(price+math.Round(r.NormFloat64()*8)/4, 100)
			k.High, k.Low = max(k.High, price), min(k.Low, price)
		}
		k.Close = price
		add(t, c, k)
		if at += hour; r.IntN(60) == 0 {
			at += hour * int64(1+r.IntN(4))
		}
	}
	return c
}

// at returns an analysis of the first n candles of c with levels.
func at(c *levels.Candles, n int, all ...levels.Level) *service.Snapshot {
	known := c.Slice(0, n)
	return analysis(levels.MomentOf(&known), all...)
}

func TestState_Laws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const first = 60 // candles of the first analysis
		n := first + rapid.IntRange(1, 250).Draw(t, "candles")
		c := walk(t, rapid.Uint64().Draw(t, "seed"), n)
		var all []levels.Level
		for i := range rapid.IntRange(1, 4).Draw(t, "levels") {
			all = append(all, shown(uint64(i+1), c.Close[first]+float64(rapid.IntRange(-60, 60).Draw(t, "level"))))
		}
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "choices"), 2))

		// Candle by candle, with prices between; another state is restored before each step.
		var s, restored State
		s.Close(nil, at(c, first, all...), c)
		restored = s
		var out []Transition
		for i := first; i < n; i++ {
			before, after := at(c, i, all...), at(c, i+1, all...)
			both := func(use func(s *State) []Transition) {
				var err error
				if restored, err = Decode(restored.Append(nil)); err != nil {
					t.Fatal(err)
				}
				x, y := use(&s), use(&restored)
				if !reflect.DeepEqual(x, y) {
					t.Fatalf("candle %d: %+v, restored %+v", i, x, y)
				}
				out = append(out, x...)
			}
			for range random.IntN(3) {
				p := c.Low[i] + (c.High[i]-c.Low[i])*(1.4*random.Float64()-0.2)
				when := before.AsOf.Add(time.Duration(random.Int64N(int64(70 * time.Minute))))
				both(func(s *State) []Transition {
					below, above := s.Alarm(before)
					out := s.Price(before, p, when)
					if (p <= below || p >= above) != (len(out) > 0) {
						t.Fatalf("candle %d: alarms at %v and %v, at %v %+v", i, below, above, p, out)
					}
					return out
				})
			}
			both(func(s *State) []Transition { return s.Close(before, after, c) })
		}
		check(t, out, c, n)

		// Without prices, in steps of any number of candles.
		run := func(step func() int) (out []Transition) {
			var s State
			s.Close(nil, at(c, first, all...), c)
			for i := first; i < n; {
				to := min(i+step(), n)
				out = append(out, s.Close(at(c, i, all...), at(c, to, all...), c)...)
				i = to
			}
			slices.SortStableFunc(out, func(a, b Transition) int {
				return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Level.ID, b.Level.ID))
			})
			for i := range out { // what depends on the analyses between
				x := &out[i]
				if x.Kind == Flipped {
					x.Kind = Held
				}
				x.Level, x.Passed, x.Retest, x.Promise = levels.Level{ID: x.Level.ID, Price: x.Level.Price}, false, false, nil
			}
			return out
		}
		single := run(func() int { return 1 })
		several := run(func() int { return 1 + random.IntN(40) })
		if !reflect.DeepEqual(single, several) {
			t.Fatalf("candle by candle %+v, in steps %+v", single, several)
		}
		check(t, single, c, n)
	})
}

// check checks the transitions of the first n candles of c: each kind once in an episode, in
// order, and decided as by levels.Moment.Judge of its moment.
func check(t tester, out []Transition, c *levels.Candles, n int) {
	t.Helper()
	type id struct {
		level uint64
		begun int64
	}
	known, length := c.Slice(0, n), c.Interval.Milliseconds()
	episodes := map[id][]Transition{}
	ids := map[string]bool{}
	vanished := map[uint64][]int64{}
	for _, x := range out {
		if e := EventID(service.Key{}, x); ids[e] {
			t.Fatalf("twice: %+v", x)
		} else {
			ids[e] = true
		}
		if x.Kind == Vanished {
			vanished[x.Level.ID] = append(vanished[x.Level.ID], x.At.UnixMilli())
		}
		if x.Kind != Appeared && x.Kind != Vanished {
			k := id{x.Level.ID, x.Begun.UnixMilli()}
			episodes[k] = append(episodes[k], x)
		}
	}
	closeOf := func(i int) int64 { return known.OpenTime[i] + length }
	for k, of := range episodes {
		i, ok := slices.BinarySearch(known.OpenTime, k.begun-length)
		if !ok {
			t.Fatalf("no candle closes where %+v begins", of[0])
		}
		m, price := levels.Moment{AsOf: k.begun, LastPrice: c.Close[i], ATR: of[0].ATR}, of[0].Level.Price
		v := m.Judge(price, &known)
		last := Approaching
		var touched, decided *Transition
		for i := range of {
			x := &of[i]
			kind := x.Kind
			if kind == Flipped {
				kind = Held
			}
			switch {
			case x.Level.Price != price || x.ATR != m.ATR:
				t.Fatalf("the episode changes: %+v", of)
			case i > 0 && (kind <= last || last >= Held) || i > 0 && x.At.Before(of[i-1].At) && of[i-1].Candle != nil:
				t.Fatalf("not in order: %+v", of)
			}
			last = kind
			switch kind {
			case Touched:
				touched = x
				if x.Candle != nil && x.At.UnixMilli() != closeOf(v.Touch) {
					t.Fatalf("touched at %v, Judge says %+v", x.At, v)
				}
			case Held, Broke:
				decided = x
				if o := map[Kind]levels.Outcome{Held: levels.Held, Broke: levels.Broke}[kind]; o != v.Outcome || x.At.UnixMilli() != closeOf(v.End) {
					t.Fatalf("%v at %v, Judge says %+v", kind, x.At, v)
				}
				if touched == nil || x.TouchedAt.UnixMilli() != min(touched.At.UnixMilli(), closeOf(v.Touch)) {
					t.Fatalf("decided, not touched: %+v", of)
				}
			}
		}
		if decided == nil && v.Touch >= 0 && !(touched != nil && touched.Candle != nil && v.Outcome != levels.Held && v.Outcome != levels.Broke) {
			// It ended before a candle touched the level, or its end is missing.
			line, ended := m.TouchLine(price), false
			for i := i + 1; i < v.Touch; i++ {
				ended = ended || math.Abs(c.Close[i]-line) > away*m.ATR
			}
			for _, at := range vanished[k.level] {
				ended = ended || at >= k.begun && at < closeOf(v.Touch)
			}
			if !ended && (v.Outcome == levels.Held || v.Outcome == levels.Broke || touched == nil) {
				t.Fatalf("%+v, Judge says %+v", of, v)
			}
		}
	}
}

// load reads candles of a gzipped CSV file of klines.
func load(t *testing.T, path string, limit int) *levels.Candles {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	rows := csv.NewReader(unzipped)
	rows.ReuseRecord = true
	if _, err := rows.Read(); err != nil { // names
		t.Fatal(err)
	}
	name := strings.TrimSuffix(filepath.Base(path), ".csv.gz")
	c := new(levels.Candles)
	c.Reset(levels.Interval(name[strings.LastIndex(name, "-")+1:]), limit)
	for c.Len() < limit {
		row, err := rows.Read()
		if err != nil {
			break
		}
		var v [6]float64
		for i := range v {
			if v[i], err = strconv.ParseFloat(row[i], 64); err != nil {
				t.Fatal(err)
			}
		}
		_ = c.Append(levels.Candle{OpenTime: int64(v[0]), Open: v[1], High: v[2], Low: v[3], Close: v[4], Volume: v[5]})
	}
	return c
}

// All levels of real series, faint ones included, from moments that rotate through the hours.
func TestState_AgreesWithJudgeOnRealSeries(t *testing.T) {
	shared := cmp.Or(os.Getenv("TIDEMARK_SHARED"), filepath.Join("..", "..", "shared"))
	files, err := filepath.Glob(filepath.Join(shared, "klines", "*.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skipf("no real candles under %s", shared)
	}
	counts := [len(kinds)]int{}
	finder := levels.Finder{Faint: true}
	for number, file := range files {
		if testing.Short() && number%16 > 0 { // with the race detector
			continue
		}
		c := load(t, file, 1000)
		first := 400 + number*37%levels.Horizon
		if c.Len() <= first {
			continue
		}
		var s State
		var before *service.Snapshot
		var out []Transition
		for n := first; n <= c.Len(); n++ {
			known := c.Slice(0, n)
			after := &service.Snapshot{Key: service.Key{Interval: c.Interval}, AsOf: utc(known.AsOf()), LastPrice: c.Close[n-1]}
			if redraw := n == first || known.AsOf()/c.Interval.Milliseconds()%24 == 0; redraw {
				a, err := finder.Find(&known)
				if err != nil {
					t.Fatal(err)
				}
				after.ATR = a.ATR
				after.Supports, after.Resistances = slices.Clone(a.Supports), slices.Clone(a.Resistances)
				for _, side := range sides(after) {
					for i := range side {
						side[i].Edge, side[i].DrawnEdge = 5, 5
					}
				}
			} else {
				after.ATR = levels.MomentOf(&known).ATR
				after.Supports, after.Resistances = before.Supports, before.Resistances
			}
			out = append(out, s.Close(before, after, &known)...)
			before = after
		}
		check(t, out, c, c.Len())
		for _, x := range out {
			counts[x.Kind]++
		}
	}
	t.Log(counts)
	for k, n := range counts {
		if n == 0 {
			t.Errorf("nothing was %v", Kind(k))
		}
	}
}

func TestState_CostsLittleWhereNothingHappens(t *testing.T) {
	before, after, c, s := quiet(t)
	state := s
	if n := testing.AllocsPerRun(100, func() {
		s.asOf = state.asOf
		if out := s.Close(before, after, c); out != nil {
			t.Fatal(out)
		}
		if out := s.Price(after, after.LastPrice, after.AsOf); out != nil {
			t.Fatal(out)
		}
		s.Alarm(after)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// quiet is a step of a series with ten levels, of which two have an episode, in which nothing happens.
func quiet(t testing.TB) (before, after *service.Snapshot, c *levels.Candles, s State) {
	c = walk(t, 1, 2000)
	known := c.Slice(0, 1999)
	m := levels.MomentOf(&known)
	c.Low[1999], c.High[1999], c.Close[1999] = m.LastPrice, m.LastPrice, m.LastPrice
	var all []levels.Level
	for i := range 5 {
		d := (1 + 2*float64(i)) * m.ATR
		all = append(all, shown(uint64(2*i+1), m.LastPrice-d), shown(uint64(2*i+2), m.LastPrice+d))
	}
	before, after = analysis(m, all...), at(c, 2000, all...)
	s.settle(analysis(m), before)
	if s.asOf = m.AsOf; len(s.tracks) != 2 || s.tracks[0].phase != open {
		t.Fatalf("%+v", s)
	}
	return before, after, c, s
}

func BenchmarkState_Close(b *testing.B) {
	before, after, c, s := quiet(b)
	asOf := s.asOf
	b.ReportAllocs()
	for b.Loop() {
		s.asOf = asOf
		s.Close(before, after, c)
	}
}

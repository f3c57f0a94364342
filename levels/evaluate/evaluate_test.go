// This file pins what is judged, and against what: which moments, which levels,
// which controls; that the report depends on nothing else; and that a method
// that looks ahead or repaints is detected.

package evaluate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark/levels"
)

// line returns n hourly candles from the given hour on that swing between 99 and 101
// about 100, so that the ATR is 2.
func line(from, n int) *levels.Candles {
	c := new(levels.Candles)
	c.Reset("1h", n)
	for i := range n {
		err := c.Append(levels.Candle{OpenTime: int64(from+i) * hour, Open: 100, High: 101, Low: 99, Close: 100, Volume: 1})
		if err != nil {
			panic(err)
		}
	}
	return c
}

// at proposes fixed prices, strongest first.
func at(name string, prices ...float64) Method {
	return Method{Name: name, New: func() Find {
		return func(dst []Price, _ *levels.Candles) []Price {
			for i, p := range prices {
				dst = append(dst, unsure(p, float64(-i)))
			}
			return dst
		}
	}}
}

func TestRun_IsTheSameForAnyNumberOfWorkers(t *testing.T) {
	series := slices.Clone(echoes()[:6])
	series[2].Load = func(context.Context, *levels.Candles) error { return errors.New("the disk is on fire") }
	counts := []int{1, 2, 5, 5}
	if testing.Short() {
		counts = []int{1, 5}
	}
	var first []byte
	for _, workers := range counts {
		o := options(Methods(7, nil)...)
		o.Workers = workers
		r, err := Run(context.Background(), series, o)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b
			if want := []Failure{{"P3USDT", "the disk is on fire"}}; !slices.Equal(r.Failures, want) || r.Pairs != 5 {
				t.Errorf("%d pairs, failures %v, want 5 and %v", r.Pairs, r.Failures, want)
			}
		}
		if !bytes.Equal(b, first) {
			t.Errorf("%d workers: another report", workers)
		}
	}
	o := options(Methods(7, nil)...)
	o.Seed = 2
	r, _ := Run(context.Background(), series, o)
	if b, _ := json.Marshal(r); bytes.Equal(b, bytes.Replace(first, []byte(`"seed":1`), []byte(`"seed":2`), 1)) {
		t.Error("the seed changes nothing")
	}
}

// unshifted returns a symbol whose moments are multiples of every.
func unshifted(every int) string {
	for i := 0; ; i++ {
		if name := fmt.Sprintf("S%d", i); hash(name)%uint64(every) == 0 {
			return name
		}
	}
}

func TestRun_RotatesMomentsThroughTheHoursAndStaggersPairs(t *testing.T) {
	o := options(at("none"))
	o.Klines = 100
	starts, hours := map[int64]bool{}, map[int64]bool{}
	for _, name := range []string{"AUSDT", "BUSDT", "CUSDT", "DUSDT"} {
		p := observe(context.Background(), []Series{given(name, line(0, 30*169))}, &o)[0]
		starts[p.moments[0]/hour] = true
		for _, m := range p.moments {
			hours[m/hour%24] = true
		}
		if gap := (p.moments[1] - p.moments[0]) / hour; gap != 169 {
			t.Errorf("moments are %d hours apart", gap)
		}
	}
	if len(starts) < 3 || len(hours) != 24 {
		t.Errorf("four pairs begin at %d times and have moments at %d hours of the day", len(starts), len(hours))
	}
}

func TestRun_TakesMomentsOffTheClockOfAPairAndWithinTheBounds(t *testing.T) {
	// A clock of 168 hours without a shift; candles from hour 10 on, so with a window
	// of 100 the first moment is at hour 168, and with 900 candles the last horizon
	// that is covered ends at hour 840.
	moments := func(c *levels.Candles, change func(*Options)) (hours []int64, p pairFindings) {
		o := options(at("none"))
		o.Klines, o.Every = 100, levels.Horizon
		if change != nil {
			change(&o)
		}
		p = observe(context.Background(), []Series{given(unshifted(o.Every), c)}, &o)[0]
		if p.err != nil {
			t.Fatal(p.err)
		}
		for _, m := range p.moments {
			hours = append(hours, m/hour)
		}
		return hours, p
	}
	is := func(what string, got []int64, want ...int64) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: moments at hours %v, want %v", what, got, want)
		}
	}
	all, p := moments(line(10, 900), nil)
	is("all", all, 168, 336, 504, 672)
	if p.unfinished != 1 {
		t.Errorf("%d moments cut off, want the one at 840", p.unfinished)
	}
	later, _ := moments(line(100, 810), nil)
	is("a younger pair", later, 336, 504, 672)
	exact, _ := moments(line(68, 100+168), nil)
	is("exactly enough candles", exact, 168)
	short, _ := moments(line(68, 100+167), nil)
	is("one candle short", short)
	hourAt := func(h int64) time.Time { return time.UnixMilli(h * hour) }
	split, _ := moments(line(10, 900), func(o *Options) { o.From, o.To = hourAt(169), hourAt(504+168) })
	is("between bounds", split, 336, 504)
	before, _ := moments(line(10, 900), func(o *Options) { o.To = hourAt(504 + 167) })
	is("no horizon beyond the bound", before, 168, 336)
	often, _ := moments(line(68, 100+200), func(o *Options) { o.Every = 10 })
	is("every ten", often, 170, 180, 190, 200)

	holed := line(10, 900)
	holed.OpenTime = slices.Delete(holed.OpenTime, 325, 326) // the candle of hour 335
	for _, column := range []*[]float64{&holed.Open, &holed.High, &holed.Low, &holed.Close, &holed.Volume} {
		*column = slices.Delete(*column, 325, 326)
	}
	holes, p := moments(holed, nil)
	is("no candle closes at 336", holes, 168, 504, 672)
	if p.stale != 1 || p.missing != 1 {
		t.Errorf("%d moments without candle, %d candles missing, want 1 and 1", p.stale, p.missing)
	}
	still := line(10, 900)
	for i := range 300 {
		still.High[i], still.Low[i] = 100, 100
	}
	flat, p := moments(still, nil)
	is("nothing moved before 304", flat, 336, 504, 672)
	if p.flat != 1 {
		t.Errorf("%d moments without movement, want 1", p.flat)
	}
}

func TestRun_JudgesTheStrongestThreeASideWithinReach(t *testing.T) {
	// ATR 2 and a last price of 100: levels count from 99 down to 76 and from 101
	// up to 124.
	prices := []float64{99.2, 75.9, 95, 90, 101.5, 76, 97, 125, 124, 100, 112}
	o := options(at("fixed", prices...))
	o.Klines, o.Every = 100, levels.Horizon
	p := observe(context.Background(), []Series{given(unshifted(o.Every), line(68, 100+168))}, &o)[0]
	var supports, resistances []float64
	for _, r := range p.methods[0].records {
		if r.role == levels.Support {
			supports = append(supports, 100-2*float64(r.distance))
		} else {
			resistances = append(resistances, 100+2*float64(r.distance))
		}
	}
	if want := []float64{95, 90, 76}; !slices.Equal(supports, want) {
		t.Errorf("supports %v, want %v", supports, want)
	}
	if want := []float64{101.5, 124, 112}; !slices.Equal(resistances, want) {
		t.Errorf("resistances %v, want %v", resistances, want)
	}
	if p.methods[0].covered != 2 {
		t.Errorf("%d sides covered, want 2", p.methods[0].covered)
	}
}

func TestControls_AreWeighedByTheMethodsOwnDistances(t *testing.T) {
	c := line(68, 100+168+1)
	c.Low[150], c.High[160] = 92, 109 // supports down to 92 are touched, resistances up to 109
	o := options(at("touched and not", 93, 85, 108), at("only far", 85, 86, 115))
	o.Klines, o.Every = 100, levels.Horizon
	p := observe(context.Background(), []Series{given(unshifted(o.Every), c)}, &o)[0]
	near, far := p.methods[0].records, p.methods[1].records
	if len(near) != 3 || len(far) != 3 {
		t.Fatalf("%d and %d levels are judged, want 3 and 3", len(near), len(far))
	}
	// One support of two is touched at its distance, so exactly half the controls are;
	// the neighbours of either are those at its own distance.
	for i, want := range []struct{ control, neighbour float32 }{{0.5, 1}, {0.5, 0}, {1, 1}} {
		if r := near[i]; r.control.touched != want.control || r.neighbour.touched != want.neighbour {
			t.Errorf("level %d: %v of the controls and %v of the neighbours are touched, want %v", i, r.control.touched, r.neighbour.touched, want)
		}
	}
	for _, r := range far {
		if r.control.touched != 0 {
			t.Errorf("%v of the controls of a method with only far levels are touched", r.control.touched)
		}
	}
}

func TestNeighbours_LieWithinOneATR(t *testing.T) {
	// The ATR is 2: supports at 96, 94.2 and 93.8 are 2, 2.9 and 3.1 ATR away.
	c := line(68, 100+168+1)
	c.Low[150] = 94.5 // touch lines a half below it: the level at 94.2 is touched, that at 93.8 is not
	o := options(at("m", 96, 94.2, 93.8))
	o.Klines, o.Every = 100, levels.Horizon
	p := observe(context.Background(), []Series{given(unshifted(o.Every), c)}, &o)[0]
	for i, want := range []float32{1, 2.0 / 3, 0.5} {
		if got := p.methods[0].records[i].neighbour.touched; got != want {
			t.Errorf("level %d: %v of the neighbours are touched, want %v", i, got, want)
		}
	}
}

func TestRun_FindsOutAMethodThatLooksAhead(t *testing.T) {
	all := walk(1, 4200, true)
	seer := Method{Name: "seer", New: func() Find {
		return func(dst []Price, known *levels.Candles) []Price {
			// the extremes of the next day: they hold by hindsight
			i, _ := slices.BinarySearch(all.OpenTime, known.AsOf())
			j := min(i+100, all.Len())
			return append(dst, unsure(slices.Min(all.Low[i:j]), 1), unsure(slices.Max(all.High[i:j]), 1))
		}
	}}
	_, found := evaluate(t, []Series{given("A", all)}, options(seer))
	if m := found["seer"]; m.Lift.Value < 0.2 {
		t.Errorf("hindsight has a lift of %s: the test does not see look-ahead", m.Lift.points())
	}
}

func TestRun_FindsOutAMethodThatRepaints(t *testing.T) {
	forgetful := Method{Name: "repaints", New: func() Find {
		highest := 0.0
		return func(dst []Price, c *levels.Candles) []Price {
			highest = max(highest, slices.Max(c.High)) // remembers what it saw of later candles
			return append(dst, unsure(highest, 1))
		}
	}}
	r, found := evaluate(t, walks()[:4], options(append(Methods(1, nil), forgetful)...))
	for name, m := range found {
		if m.Asked != r.Moments {
			t.Errorf("%s was asked again %d times, want at each of %d moments", name, m.Asked, r.Moments)
		}
		if name == "repaints" && m.Repainted == 0 {
			t.Error("a method that repaints was not found out")
		}
		if name != "repaints" && m.Repainted != 0 {
			t.Errorf("%s repainted %d of %d moments", name, m.Repainted, m.Asked)
		}
	}
}

func TestChurn_CountsTheStrongestTwelveByNameAndByPrice(t *testing.T) {
	var before []Price
	for i := range 14 {
		before = append(before, Price{ID: uint64(i + 1), Price: 100 + float64(i), Low: 99.8 + float64(i), High: 100.2 + float64(i), Score: float64(100 - i)})
	}
	calls := 0
	m := Method{Name: "drifts", New: func() Find {
		return func(dst []Price, _ *levels.Candles) []Price {
			dst = append(dst, before...)
			calls++
			switch calls % 5 { // the moment, again for what lasts, one later, 24 later, the moment again
			case 3:
				return slices.Delete(dst, 2, 3)
			case 4:
				dst[0].Price += 0.3               // beyond its zone, under its name
				dst[1].ID = 99                    // in its place, under another name
				return slices.Delete(dst, 12, 14) // of the others nobody asks
			}
			return dst
		}
	}}
	o := options(m)
	o.Klines, o.Every, o.Workers = 100, levels.Horizon, 1
	r, err := Run(context.Background(), []Series{given(unshifted(o.Every), line(68, 100+168))}, o)
	if err != nil {
		t.Fatal(err)
	}
	got := r.MethodsFound[0].Churn
	twelfth := func(n int) Figure { return Figure(n) / 12 }
	want := []Churn{{1, twelfth(11), twelfth(11)}, {24, twelfth(11), twelfth(11)}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestRun_SaysWhatIsWrong(t *testing.T) {
	series := []Series{given("A", line(0, 400))}
	for name, change := range map[string]func(*Options){
		`unknown interval "1M"`:    func(o *Options) { o.Interval = "1M" },
		"are too few":              func(o *Options) { o.Klines = 49 },
		"one candle apart":         func(o *Options) { o.Every = 0 },
		"no method":                func(o *Options) { o.Methods = nil },
		"there is no time between": func(o *Options) { o.From, o.To = time.UnixMilli(2), time.UnixMilli(1) },
	} {
		o := options(at("none"))
		change(&o)
		if _, err := Run(context.Background(), series, o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %q", err, name)
		}
	}
	if _, err := Run(context.Background(), series, options(at("none"))); !errors.Is(err, ErrNothing) {
		t.Errorf("%v, want ErrNothing for 400 candles and a window of 500", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, series, options(at("none"))); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
}

func TestReflection_IsThatOfAWalkWithoutDrift(t *testing.T) {
	// 2Φ(−1) = 0.3173: a touch line one standard deviation of the horizon away.
	sigma := 0.01
	price := 100 * math.Exp(-sigma*math.Sqrt(levels.Horizon))
	m := levels.Moment{LastPrice: 100, ATR: 1e-9}
	if p := reflection(m, price, sigma); math.Abs(p-0.31731) > 1e-4 {
		t.Errorf("%v, want 0.3173", p)
	}
}

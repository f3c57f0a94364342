// This file pins the arithmetic of the report, by numbers worked out by hand.

package evaluate

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"tidemark/levels"
)

func near(t *testing.T, what string, got Figure, want float64) {
	t.Helper()
	if !(math.Abs(float64(got)-want) < 1e-6) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// pair makes findings of one method from records.
func pair(records ...record) []pairFindings {
	return []pairFindings{{moments: []int64{0}, methods: []findings{{records: records}}}}
}

func describeAll(t *testing.T, records []record) MethodReport {
	t.Helper()
	clock := map[uint16]bool{}
	for _, r := range records {
		clock[r.block] = true
	}
	return describe(Method{Name: "m"}, 0, pair(records...), clock, 1, 1).MethodReport
}

func TestReport_RatesAndLifts(t *testing.T) {
	none := float32(math.NaN())
	level := func(o levels.Outcome, control, neighbour tally) record {
		return record{outcome: o, touched: o != levels.Untouched, control: control, neighbour: neighbour, touch: none, hold: none, reflection: 0.5}
	}
	m := describeAll(t, []record{
		level(levels.Held, tally{0.8, 0.5, 0.2}, tally{0.9, 0.8, 0.4}),
		level(levels.Held, tally{0.6, 0.5, 0.2}, tally{0.9, 0.8, 0.4}),
		level(levels.Broke, tally{1, 0.6, 0.3}, tally{0.9, 0.8, 0.3}),
		level(levels.Undecided, tally{0.4, 0.4, 0.1}, tally{0, 0, 0}),
		level(levels.Untouched, tally{}, tally{}),
	})
	near(t, "touched", m.Touched, 0.8)
	near(t, "control touched", m.ControlTouched, 28.0/50)
	near(t, "touch lift", m.TouchLift.Value, 0.8-0.56)
	near(t, "undecided", m.Undecided, 0.25)
	near(t, "held", m.Held, 2.0/3)
	near(t, "control held", m.ControlHeld, 0.4)
	near(t, "lift", m.Lift.Value, 2.0/3-0.4)
	near(t, "neighbour lift", m.NeighbourLift.Value, 2.0/3-11.0/24)
	if m.Decided != 3 || m.TouchOdds != nil || m.HoldOdds != nil {
		t.Errorf("%d decided, odds %v, %v: want 3 and none", m.Decided, m.TouchOdds, m.HoldOdds)
	}
	if !math.IsNaN(float64(m.Lift.Low)) {
		t.Errorf("one week has an interval: %v", m.Lift)
	}
}

func TestReport_OddsAgainstHand(t *testing.T) {
	// Ten say 0.2 and two of them are touched, ten say 0.7 and eight are.
	var records []record
	for i := range 20 {
		r := record{touch: 0.2, touched: i < 2, outcome: levels.Untouched, reflection: 0.5, hold: float32(math.NaN())}
		if i >= 10 {
			r.touch, r.touched = 0.7, i < 18
		}
		if r.touched {
			r.outcome, r.hold = levels.Broke, 0.25
		}
		records = append(records, r)
	}
	m := describeAll(t, records)
	o := m.TouchOdds
	if o == nil || o.Levels != 20 || len(o.Bins) != 10 {
		t.Fatalf("%+v", o)
	}
	brier := (2*0.64 + 8*0.04 + 8*0.09 + 2*0.49) / 20
	near(t, "base", o.Base, 0.5)
	near(t, "Brier", o.Brier, brier)
	near(t, "skill", o.Skill.Value, 1-brier/0.25)
	// Bins of two: 0.2 promised and 1 observed once, 0 four times; 0.7 promised
	// and 1 observed four times, 0 once.
	near(t, "calibration error", o.CalibrationError, (0.8+4*0.2+4*0.3+0.7)/10)
	near(t, "first bin", o.Bins[0].Observed, 1)
	near(t, "last bin", o.Bins[9].Promised, 0.7)
	near(t, "reflection", m.Reflection.Skill.Value, 0)
	near(t, "over reflection", m.OverReflection.Value, 1-brier/0.25)
	if m.HoldOdds.Levels != 10 {
		t.Errorf("hold odds of %d levels, want those of the 10 decided", m.HoldOdds.Levels)
	}
	near(t, "hold calibration error", m.HoldOdds.CalibrationError, 0.25)
}

func TestReport_TercilesByStrength(t *testing.T) {
	var records []record
	for i := range 30 {
		r := record{score: float32(i), outcome: levels.Broke, touched: true, block: uint16(i % 10), neighbour: tally{1, 1, 0.4}}
		if i%10 < 3+i/10 { // 3, 4, 5 of ten hold
			r.outcome = levels.Held
		}
		records = append(records, r)
	}
	m := describeAll(t, records)
	for i, held := range []float64{0.3, 0.4, 0.5} {
		near(t, "held", m.Terciles[i].Held, held)
		near(t, "lift", m.Terciles[i].Lift.Value, held-0.4)
		if m.Terciles[i].Levels != 10 {
			t.Errorf("tercile %d has %d levels", i, m.Terciles[i].Levels)
		}
	}
	near(t, "top − bottom", m.TopMinusBottom.Value, 0.2)
	near(t, "top holds more", m.TopHoldsMore.Value, 0.2)

	// Three strengths of ten each are the three terciles; one strength is none.
	for _, test := range []struct {
		strength func(int) float32
		want     [3]int
	}{
		{func(i int) float32 { return float32(i % 3) }, [3]int{10, 10, 10}},
		{func(int) float32 { return 1 }, [3]int{0, 30, 0}},
	} {
		for i := range records {
			records[i].score = test.strength(i)
		}
		m := describeAll(t, records)
		if got := [3]int{m.Terciles[0].Levels, m.Terciles[1].Levels, m.Terciles[2].Levels}; got != test.want {
			t.Errorf("terciles of %v levels, want %v", got, test.want)
		}
	}
}

// The interval must reflect the spread of whole weeks, not of levels: levels of a
// week are correlated.
func TestBootstrap_TakesBlocksAsOne(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const weeks, each = 100, 200
	var records []record
	for w := range uint16(weeks) {
		hold := 0.5 + 0.1*random.NormFloat64()
		for range each {
			r := record{outcome: levels.Broke, touched: true, block: w, control: tally{1, 1, 0.5}}
			if random.Float64() < hold {
				r.outcome = levels.Held
			}
			records = append(records, r)
		}
	}
	m := describeAll(t, records)
	// The standard error of weeks is √(0.1² + 0.25/200)/√100 = 0.0106; that of
	// levels would be 0.0035.
	if width := float64(m.Lift.High - m.Lift.Low); width < 2*1.96*0.0106*0.75 || width > 2*1.96*0.0106*1.25 {
		t.Errorf("the interval is %v wide, want about %v", width, 2*1.96*0.0106)
	}
}

func TestFigure_IsNullWhenUnknown(t *testing.T) {
	b, err := json.Marshal([]Figure{Figure(math.NaN()), 0.1234567})
	if err != nil || string(b) != "[null,0.123457]" {
		t.Errorf("%s, %v", b, err)
	}
}

func TestBlocks_AreTwoHorizonsLongAndAtLeastAWeekFromMonday(t *testing.T) {
	const sunday, monday = 1_704_067_199_999, 1_704_067_200_000 // 2023-12-31, 2024-01-01
	for i, days := range map[levels.Interval]int64{"1m": 7, "15m": 7, "30m": 7, "1h": 14, "4h": 56, "1d": 336} {
		if got := blockLength(i); got != days*day {
			t.Errorf("%s: blocks of %v days, want %d", i, float64(got)/day, days)
		}
	}
	if blockOf(monday, "15m")-blockOf(sunday, "15m") != 1 || blockOf(monday, "15m") != blockOf(monday+7*day-1, "15m") {
		t.Errorf("blocks %d, %d", blockOf(sunday, "15m"), blockOf(monday, "15m"))
	}
}

func TestAheadOfVolume_ComparesTheSameBlocks(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var own, other []record
	for b := range uint16(40) {
		market := 0.5 + 0.2*random.NormFloat64() // moves both alike
		for range 100 {
			r := record{outcome: levels.Broke, touched: true, block: b, control: tally{1, 1, 0.5}}
			x := random.Float64()
			if x < market+0.05 {
				r.outcome = levels.Held
			}
			own = append(own, r)
			if r.outcome = levels.Broke; x < market {
				r.outcome = levels.Held
			}
			other = append(other, r)
		}
	}
	both := []pairFindings{{moments: []int64{0}, methods: []findings{{records: own}, {records: other}}}}
	clock := map[uint16]bool{}
	for _, r := range own {
		clock[r.block] = true
	}
	volume := describe(Method{Name: volumeMethod}, 1, both, clock, 1, 1)
	ours := describe(Method{Name: "m"}, 0, both, clock, 1, 1)
	m := ours.ahead(&volume)
	if e := m.AheadOfVolume; math.Abs(float64(e.Value)-0.05) > 0.02 || !e.Above(0.02) || m.Lift.Above(0.02) {
		t.Errorf("ahead by %s, want about 5 points with a narrow interval; the lift alone is %s", e.points(), m.Lift.points())
	}
	if e := volume.ahead(&volume).AheadOfVolume; !math.IsNaN(float64(e.Value)) {
		t.Errorf("the volume profile is ahead of itself by %s", e.points())
	}
}

func TestCompare_WidensIntervalsByTheirNumber(t *testing.T) {
	none := Figure(math.NaN())
	unknown := Estimate{none, none, none}
	r := Report{MethodsFound: []MethodReport{
		{Name: "a", Lift: Estimate{0.02, 0.001, 0.039}, NeighbourLift: Estimate{0.02, 0.01, 0.03}, AheadOfVolume: unknown},
		{Name: "b", Lift: Estimate{-0.02, -0.03, -0.01}, NeighbourLift: unknown, AheadOfVolume: unknown},
	}}
	r.compare()
	near(t, "widening", r.Widening, 2.3939798/1.9599640) // of 1 − 5 %/3
	if r.Comparisons != 3 || !slices.Equal(r.MethodsFound[0].Excludes, []string{"lift over its neighbours"}) || !slices.Equal(r.MethodsFound[1].Excludes, []string{"lift"}) {
		t.Errorf("%d intervals; %v and %v exclude 0", r.Comparisons, r.MethodsFound[0].Excludes, r.MethodsFound[1].Excludes)
	}
}

// This file checks the evaluation itself: it finds no lift in random levels, finds
// planted levels, and detects a lift of 4.6 points, the best ever published (Osler
// 2000).

package evaluate

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"tidemark/levels"
)

// aroundZero fails unless the interval, made wider, contains 0, and is narrow enough to be
// meaningful as it is. Of many intervals of 95 % one misses 0 by chance; among n those of
// 1 − 5 %/n (Bonferroni) are wider.
func aroundZero(t *testing.T, what string, e Estimate, wider, width Figure) {
	t.Helper()
	if !(e.Value-wider*(e.Value-e.Low) <= 0 && e.Value+wider*(e.High-e.Value) >= 0) {
		t.Errorf("%s: %s, want an interval around 0", what, e.points())
	}
	if !(e.High-e.Low <= width) {
		t.Errorf("%s: %s is too wide to say anything", what, e.points())
	}
}

func TestRandomLevels_HaveNoLift(t *testing.T) {
	computes(t)
	check := func(t *testing.T, series []Series, o Options) {
		_, found := evaluate(t, series, o)
		m := found["random"]
		const twelve = 2.87 / 1.96
		aroundZero(t, "lift", m.Lift, twelve, 0.06)
		aroundZero(t, "over its neighbour", m.NeighbourLift, twelve, 0.06)
		aroundZero(t, "touch lift", m.TouchLift, twelve, 0.06)
		aroundZero(t, "top − bottom", m.TopMinusBottom, twelve, 0.15)
	}
	t.Run("a walk", func(t *testing.T) { check(t, walks(), options(methods(t, "random")...)) })
	t.Run("where levels do hold", func(t *testing.T) { check(t, echoes(), options(methods(t, "random")...)) })
	t.Run("real candles", func(t *testing.T) {
		series := realPairs(t, 15)
		if series == nil {
			t.Skip("the shared folder is absent")
		}
		o := options(methods(t, "random")...)
		o.Klines = 2000
		check(t, series, o)
	})
}

func TestPlantedLevels_AreFound(t *testing.T) {
	computes(t)
	o := options(append(methods(t, "swings", "kde", "volume"), oracle())...)
	_, found := evaluate(t, echoes(), o)
	if m := found["oracle"]; !m.Lift.Above(0.2) {
		t.Errorf("levels that do reflect have a lift of only %s", m.Lift.points())
	}
	if m := found["oracle"]; !m.NeighbourLift.Above(0.1) {
		t.Errorf("levels that do reflect are worth only %s over their neighbours", m.NeighbourLift.points())
	}
	// not ours: their rank is fitted on real markets, where price does not turn again
	// exactly where it did before
	for _, name := range []string{"swings", "kde"} {
		if m := found[name]; !m.Lift.Above(0) {
			t.Errorf("%s did not find what was planted: %s", name, m.Lift.points())
		}
	}
}

func TestShuffledReturns_MakeEveryLiftVanish(t *testing.T) {
	computes(t)
	check := func(t *testing.T, series []Series, klines int, width Figure) {
		series = slices.Clone(series)
		for i := range series {
			series[i] = shuffled(series[i], 1)
		}
		o := options(Methods(1, nil)...)
		o.Klines = klines
		_, found := evaluate(t, series, o)
		for name, m := range found {
			aroundZero(t, name, m.Lift, 2.73/1.96, width) // of eight
		}
	}
	t.Run("of a market with planted levels", func(t *testing.T) { check(t, echoes(), 500, 0.08) })
	t.Run("of real candles", func(t *testing.T) {
		series := realPairs(t, 15)
		if series == nil {
			t.Skip("the shared folder is absent")
		}
		// tidemark draws a third as many levels as the other methods, so its interval is
		// wider: six points with these pairs.
		check(t, series, 2000, 0.08)
	})
}

func TestAnInjectedEffectOf46Points_ReachesSignificance(t *testing.T) {
	computes(t)
	check := func(t *testing.T, series []Series, klines int) {
		o := options(methods(t, "random")...)
		o.Klines = klines
		pairs := observe(context.Background(), series, &o)
		lift := func() *MethodReport {
			r, err := summarise(series, pairs, o)
			if err != nil {
				t.Fatal(err)
			}
			return &r.MethodsFound[0]
		}
		m := lift()
		without, broke := m.Lift, 1-float64(m.Held)
		random := rand.New(rand.NewPCG(4, 6))
		for i := range pairs {
			records := pairs[i].methods[0].records
			for j := range records {
				if r := &records[j]; r.outcome == levels.Broke && random.Float64() < 0.046/broke {
					r.outcome = levels.Held
				}
			}
		}
		with := lift().Lift
		t.Logf("without: %s; with 4.6 points injected: %s", without.points(), with.points())
		if without.Above(0) || !with.Above(0) {
			t.Errorf("without the effect %s, with it %s: want only the second above 0", without.points(), with.points())
		}
		if got := with.Value - without.Value; got < 0.03 || got > 0.062 {
			t.Errorf("4.6 points were injected, %.1f were found", 100*got)
		}
	}
	t.Run("in a walk", func(t *testing.T) { check(t, walks(), 500) })
	t.Run("in real candles", func(t *testing.T) {
		series := realPairs(t, 15)
		if series == nil {
			t.Skip("the shared folder is absent")
		}
		check(t, series, 2000)
	})
}

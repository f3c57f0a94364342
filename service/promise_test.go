package service

// These tests pin the judging of promises: an analysis is judged once, when its horizon
// has passed, and only by the candles after it. A promise that cannot be judged is
// counted as skipped. An analysis that was late is not a promise.

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
	"tidemark/scorecard"
)

var promised = Key{"fake", "P000USDT", "1h"}

const horizon = levels.Horizon * time.Hour

func TestAnalyze_JudgesAPromiseOnceItsHorizonHasPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, store := &fakeExchange{}, &fakeStore{}
		a := newTestAnalyzer(t, Config{KlineLimit: 600}, x, store)
		first := analyzeOne(t, a, 600)
		for _, wait := range []time.Duration{time.Minute, time.Hour, horizon - 2*time.Hour} {
			time.Sleep(wait)
			analyzeOne(t, a, 600)
			if len(store.judged) > 0 || !store.promises[promised].AsOf.Equal(first.AsOf) {
				t.Fatalf("before the end of the horizon %v are judged, and the promise is of %v", store.judged, store.promises[promised].AsOf)
			}
		}
		time.Sleep(time.Hour)
		next := analyzeOne(t, a, 600)
		if len(store.judged) != 1 {
			t.Fatalf("%d promises are judged, want one", len(store.judged))
		}
		got := store.judged[0]
		if got.Skipped != "" || got.Key != promised || !got.AsOf.Equal(first.AsOf) || got.Algorithm != levels.Algorithm || got.Table != levels.OddsVersion() || got.Simulated {
			t.Errorf("judged: %+v", got)
		}

		// the outcome of each level, by the venue's candles of the horizon only
		var after levels.Candles
		after.Reset("1h", 200)
		if err := wave(first.AsOf.UnixMilli(), &after); err != nil {
			t.Fatal(err)
		}
		if after.Len() != levels.Horizon {
			t.Fatalf("%d candles since", after.Len())
		}
		m := levels.Moment{AsOf: first.AsOf.UnixMilli(), LastPrice: first.LastPrice, ATR: first.ATR}
		type sums struct {
			samples, realised int
			promised, missed  float64
		}
		add := func(s *sums, odds float64, came bool) {
			outcome := 0.0
			if came {
				outcome = 1
				s.realised++
			}
			s.samples++
			s.promised += odds
			s.missed += (odds - outcome) * (odds - outcome)
		}
		var hold, touch sums
		for _, l := range append(first.Supports, first.Resistances...) {
			outcome := m.Judge(l.Price, &after).Outcome
			add(&touch, rounded(l.TouchProbability), outcome != levels.Untouched)
			if outcome == levels.Held || outcome == levels.Broke {
				add(&hold, rounded(l.HoldProbability), outcome == levels.Held)
			}
		}
		for _, c := range []struct {
			got  scorecard.Score
			want sums
		}{{got.Touch.Total(), touch}, {got.Hold.Total(), hold}} {
			if c.want.samples == 0 || c.got.Samples != c.want.samples || c.got.Realised != c.want.realised ||
				math.Abs(c.got.Promised-c.want.promised) > 1e-9 || math.Abs(c.got.SquaredError-c.want.missed) > 1e-9 {
				t.Errorf("counted %+v, want %+v", c.got, c.want)
			}
		}
		if p := store.promises[promised]; !p.AsOf.Equal(next.AsOf) {
			t.Errorf("the promise is of %v, want that of the analysis that judged: %v", p.AsOf, next.AsOf)
		}
		time.Sleep(time.Hour)
		analyzeOne(t, a, 600)
		if len(store.judged) != 1 {
			t.Error("the next analysis judged again")
		}
	})
}

func TestAnalyze_TellsPromisesThatCannotBeJudged(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(x *fakeExchange, s *fakeStore)
		later time.Duration
		want  string
	}{
		{"a candle is missing", func(x *fakeExchange, s *fakeStore) {
			hole := time.Now().Add(50 * time.Hour).Truncate(time.Hour).UnixMilli()
			x.CandlesFunc = func(_ context.Context, _ string, from int64, dst *levels.Candles) error {
				var all levels.Candles
				all.Reset(dst.Interval, 700)
				if err := wave(from, &all); err != nil {
					return err
				}
				for i := range all.Len() {
					if k := all.At(i); k.OpenTime != hole {
						if err := dst.Append(k); err != nil {
							return err
						}
					}
				}
				return nil
			}
		}, horizon, "candles of its horizon are missing"},
		{"the candles begin later", func(*fakeExchange, *fakeStore) {}, 700 * time.Hour, "candles of its horizon are missing"},
		{"the market is simulated now", func(x *fakeExchange, s *fakeStore) { x.simulated = true }, horizon, "the market has changed between real and simulated"},
		{"it cannot be read", func(x *fakeExchange, s *fakeStore) {
			s.promises[promised] = scorecard.Promise{AsOf: s.promises[promised].AsOf}
		}, horizon, "the promise cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, store := &fakeExchange{}, &fakeStore{}
				a := newTestAnalyzer(t, Config{KlineLimit: 600}, x, store)
				analyzeOne(t, a, 600)
				c.spoil(x, store)
				time.Sleep(c.later)
				last := analyzeOne(t, a, 600)
				if len(store.judged) != 1 || store.judged[0].Skipped != c.want || store.judged[0].Tally != (scorecard.Tally{}) {
					t.Errorf("judged: %+v", store.judged)
				}
				if p := store.promises[promised]; !p.AsOf.Equal(last.AsOf) || p.Simulated != x.simulated {
					t.Errorf("the next promise is %+v", p)
				}
			})
		})
	}
}

func TestAnalyze_JudgesLaterWhatItCannotJudgeNow(t *testing.T) {
	for name, try := range map[string]func(t *testing.T, a *Analyzer, s *fakeStore){
		"by too few klines": func(t *testing.T, a *Analyzer, s *fakeStore) {
			s.candles = nil // those kept would reach back
			analyzeOne(t, a, 100)
		},
		"while the store does not answer": func(t *testing.T, a *Analyzer, s *fakeStore) {
			s.PromiseErr = errors.New("away")
			analyzeOne(t, a, 600)
			s.PromiseErr = nil
		},
		"while nothing is stored": func(t *testing.T, a *Analyzer, s *fakeStore) {
			if _, err := a.Analyze(t.Context(), Request{Symbol: "P000USDT", KlineLimit: 600}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &fakeStore{}
				a := newTestAnalyzer(t, Config{KlineLimit: 600}, &fakeExchange{}, store)
				first := analyzeOne(t, a, 600)
				time.Sleep(horizon)
				if try(t, a, store); len(store.judged) > 0 {
					t.Fatalf("judged: %+v", store.judged)
				}
				analyzeOne(t, a, 600)
				if len(store.judged) != 1 || store.judged[0].Skipped != "" || !store.judged[0].AsOf.Equal(first.AsOf) {
					t.Errorf("later judged: %+v", store.judged)
				}
			})
		})
	}
}

func TestPromise_IsOfWhatCouldBeUsedInTime(t *testing.T) {
	asOf := time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)
	whole := func() Snapshot {
		return Snapshot{
			Key: promised, AsOf: asOf, ComputedAt: asOf.Add(time.Hour - time.Millisecond), LastPrice: 100, ATR: 1, Simulated: true, Algorithm: "x",
			Supports:    []levels.Level{{Price: 99, HoldProbability: 0.01, TouchProbability: 0.99}, {Price: 98, NoOdds: levels.ShortHistory}},
			Resistances: []levels.Level{{Price: 101, HoldProbability: 0.99, TouchProbability: 0.31}},
		}
	}
	s := whole()
	p, ok := s.Promise()
	if !ok || !p.AsOf.Equal(asOf) || p.LastPrice != 100 || p.ATR != 1 || !p.Simulated || p.Algorithm != "x" || p.Table != levels.OddsVersion() {
		t.Errorf("%v: %+v", ok, p)
	}
	want := []scorecard.PromisedLevel{
		{Price: 99, Hold: 0.01, Touch: 0.99, HoldBin: 0, TouchBin: 9},
		{Price: 101, Hold: 0.99, Touch: 0.31, HoldBin: 9, TouchBin: 3},
	}
	if len(p.Levels) != 2 || p.Levels[0] != want[0] || p.Levels[1] != want[1] {
		t.Errorf("levels %+v, want %+v: those with odds", p.Levels, want)
	}
	for name, spoil := range map[string]func(s *Snapshot){
		"computed when the next candle had closed": func(s *Snapshot) { s.ComputedAt = asOf.Add(time.Hour) },
		"of an interval without odds":              func(s *Snapshot) { s.Interval = "1m" },
		"of a market that does not move":           func(s *Snapshot) { s.ATR = 0 },
		"without levels":                           func(s *Snapshot) { s.Supports, s.Resistances = nil, nil },
		"without odds":                             func(s *Snapshot) { s.Supports, s.Resistances = s.Supports[1:], nil },
	} {
		s := whole()
		spoil(&s)
		if p, ok := s.Promise(); ok {
			t.Errorf("an analysis %s promises %+v", name, p)
		}
	}
}

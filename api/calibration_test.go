package api

// These tests pin GET /calibration: it tells where the odds of each interval come
// from, how they did on what the fit had not seen, and what became of those given
// out, and says why where there is too little to tell.

import (
	"strings"
	"testing"
	"time"

	"tidemark/levels"
	"tidemark/scorecard"
	"tidemark/service"
	"tidemark/wire"
)

func TestCalibration_TellsWhereTheOddsComeFrom(t *testing.T) {
	h := start(t)
	rec := h.get("/calibration")
	want(t, rec, 200)
	got := decode[wire.Calibration](t, rec)
	if got.Exchange != "simulated" || !got.Simulated || got.Algorithm != levels.Algorithm || got.Table != levels.OddsVersion() ||
		got.HorizonCandles != levels.Horizon || !strings.HasPrefix(got.Command, "tidemark calibrate ") || len(got.Intervals) != len(levels.Odds().Fits) {
		t.Errorf("%+v", got)
	}
	for _, i := range got.Intervals {
		if i.Reason != nil || i.FittedOn == nil || i.FittedOn.Pairs < 20 || len(i.FittedOn.Files) != i.FittedOn.Pairs ||
			!i.FittedOn.From.Before(i.FittedOn.To) || i.FittedOn.Candles < 100_000 || len(i.FittedOn.SHA256) != 64 {
			t.Errorf("%s is fitted on %+v", i.Interval, i.FittedOn)
		}
		if len(i.OutOfSample) != 2 {
			t.Fatalf("%s: %d ways of keeping apart what is judged", i.Interval, len(i.OutOfSample))
		}
		for _, u := range i.OutOfSample {
			samples := 0
			for k, b := range u.Touch.Bins {
				samples += b.Samples
				if k > 0 && b.Promised < u.Touch.Bins[k-1].Promised {
					t.Errorf("%s: %s: touch odds do not rise", i.Interval, u.LearntFrom)
				}
			}
			if u.Levels < 1000 || samples != u.Levels || len(u.Touch.Bins) != 10 || len(u.Hold.Bins) != 10 ||
				!(u.Lift.Interval[0] < u.Lift.Points && u.Lift.Points < u.Lift.Interval[1]) {
				t.Errorf("%s: %s: %+v", i.Interval, u.LearntFrom, u)
			}
		}
		if i.Live.Reason == nil || !strings.Contains(*i.Live.Reason, "no analysis") || len(i.Live.Scorecards) != 0 || i.Live.NextDue != nil {
			t.Errorf("%s: live: %+v", i.Interval, i.Live)
		}
	}
}

func TestCalibration_TellsWhatBecameOfTheOddsGivenOut(t *testing.T) {
	h := start(t)
	asOf := time.Date(2026, 11, 15, 19, 0, 0, 0, time.UTC)
	card := scorecard.Card{
		Exchange: "binance", Interval: "1h", Algorithm: levels.Algorithm, Table: levels.OddsVersion(),
		Since: asOf, Until: asOf.Add(24 * time.Hour), Moments: 90, Skipped: 2,
	}
	card.Touch[3] = scorecard.Score{Samples: 600, Realised: 150, Promised: 210, SquaredError: 114}
	card.Touch[8] = scorecard.Score{Samples: 400, Realised: 350, Promised: 330, SquaredError: 45}
	card.Hold[4] = scorecard.Score{Samples: 480, Realised: 240, Promised: 228, SquaredError: 120}
	earlier, another := card, card
	earlier.Table, earlier.Tally = "before", scorecard.Tally{}
	another.Simulated = true
	h.store.cards = []scorecard.Card{earlier, another, card}
	h.store.open = []scorecard.Open{{Interval: "1h", Count: 7, First: asOf}, {Interval: "4h", Count: 3, First: asOf}}

	rec := h.get("/calibration?exchange=binance&interval=1h")
	want(t, rec, 200)
	got := decode[wire.Calibration](t, rec)
	if got.Exchange != "binance" || got.Simulated || len(got.Intervals) != 1 {
		t.Fatalf("%+v", got)
	}
	live := got.Intervals[0].Live
	if live.Waiting != 7 || live.NextDue == nil || !live.NextDue.Equal(asOf.Add(168*time.Hour)) || live.Reason != nil || len(live.Scorecards) != 3 {
		t.Fatalf("%+v", live)
	}
	c := live.Scorecards[0]
	if !c.Current || live.Scorecards[1].Current || live.Scorecards[2].Current || !live.Scorecards[2].Simulated || live.Scorecards[1].Table != "before" {
		t.Errorf("the current one is not first: %+v", live.Scorecards)
	}
	if c.Moments != 90 || c.Skipped != 2 || c.Levels != 1000 || c.Touched != 500 || c.Decided != 480 || c.Held != 240 ||
		!c.Since.Equal(asOf) || !c.Until.Equal(asOf.Add(24*time.Hour)) {
		t.Errorf("%+v", c)
	}
	equal := func(name string, got *float64, want float64) {
		if got == nil || *got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	equal("touch odds", c.Touch.Promised, 0.54)
	equal("touched", c.Touch.Realised, 0.5)
	equal("Brier score", c.Touch.BrierScore, 0.159)
	equal("Brier skill", c.Touch.BrierSkill, 0.364)
	equal("calibration error", c.Touch.CalibrationError, 0.08)
	if c.Touch.Reason != nil || len(c.Touch.Bins) != 2 || c.Touch.Bins[0] != (wire.Bin{Promised: 0.35, Realised: 0.25, Samples: 600}) {
		t.Errorf("%+v", c.Touch)
	}
	equal("hold odds", c.Hold.Promised, 0.475)
	if c.Hold.BrierSkill != nil || c.Hold.CalibrationError != nil || c.Hold.Reason == nil || !strings.Contains(*c.Hold.Reason, "480 outcomes") {
		t.Errorf("of 480 outcomes: %+v", c.Hold)
	}
	if none := live.Scorecards[1].Hold; none.Promised != nil || none.Reason == nil || !strings.HasPrefix(*none.Reason, "0 outcomes") {
		t.Errorf("of no outcomes: %+v", none)
	}

	rec = h.get("/calibration?exchange=binance&interval=4h")
	want(t, rec, 200)
	if live := decode[wire.Calibration](t, rec).Intervals[0].Live; live.Reason == nil || !strings.Contains(*live.Reason, "2026-12-13T19:00:00Z") {
		t.Errorf("before the first is due: %+v", live)
	}
}

func TestCalibration_SaysWhyAnIntervalHasNoOdds(t *testing.T) {
	h := start(t)
	rec := h.get("/calibration?interval=1m")
	want(t, rec, 200)
	got := decode[wire.Calibration](t, rec)
	if len(got.Intervals) != 1 {
		t.Fatalf("%+v", got)
	}
	if i := got.Intervals[0]; i.Reason == nil || i.FittedOn != nil || len(i.OutOfSample) != 0 || i.Live.Reason == nil || *i.Live.Reason != *i.Reason {
		t.Errorf("%+v", i)
	}
}

func TestCalibration_ShowsTheRecordOfTouchedLevels(t *testing.T) {
	h := start(t)
	since := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	cell := func(i levels.Interval, hour, blocks int) scorecard.Cell {
		c := scorecard.Cell{Interval: i, Role: levels.Resistance, Retest: true, Hour: hour, Since: since}
		for range blocks {
			c.Add(10, 4)
		}
		c.Odds, c.OddsHeld, c.Promised, c.Baseline = 5*blocks, 3*blocks, int64(5*blocks*4700), int64(5*blocks*4400)
		return c
	}
	none := cell("1m", scorecard.AllHours, 1)
	none.Odds = 0
	h.store.record = []scorecard.Cell{none, cell("1h", scorecard.AllHours, 20), cell("1h", 3, 2), cell("1h", 14, 18)}

	rec := h.get("/calibration?exchange=binance")
	want(t, rec, 200)
	var rows = map[string][]wire.RecordRow{}
	for _, i := range decode[wire.Calibration](t, rec).Intervals {
		rows[i.Interval] = i.Record
	}
	if len(rows["1h"]) != 1 || len(rows["1m"]) != 1 || rows["4h"] == nil || len(rows["4h"]) != 0 {
		t.Fatalf("%+v", rows)
	}
	r := rows["1h"][0]
	if r.Simulated || r.Role != "resistance" || r.Kind != "retest" || !r.Since.Equal(since) || r.Decided != 200 || r.Held != 80 || r.HoldRate != 0.4 ||
		r.HoldInterval == nil || !(r.HoldInterval[0] > 0.3 && r.HoldInterval[0] < 0.4 && r.HoldInterval[1] < 0.5) ||
		r.WithOdds != 100 || *r.Promised != 0.47 || *r.Realised != 0.6 || *r.Baseline != 0.44 {
		t.Errorf("%+v", r)
	}
	if len(r.Hours) != 2 || r.Hours[0].Hour != 3 || r.Hours[0].HoldInterval != nil || r.Hours[1].Decided != 180 || r.Hours[1].HoldInterval == nil {
		t.Errorf("%+v", r.Hours)
	}
	if r := rows["1m"][0]; r.Promised != nil || r.Realised != nil || r.Baseline != nil || r.HoldRate != 0.4 {
		t.Errorf("without odds: %+v", r)
	}
}

func TestCalibration_RefusesWhatItDoesNotKnow(t *testing.T) {
	h := start(t)
	for _, query := range []string{"?interval=7x", "?exchange=No+Name", "?symbol=BTCUSDT"} {
		want(t, h.get("/calibration"+query), 400)
	}
	h.store.err = service.ErrStorage
	want(t, h.get("/calibration"), 503)
}

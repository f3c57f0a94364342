package api

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"tidemark/levels"
	"tidemark/scorecard"
)

// calibration is the reply of GET /calibration. It is asked for seldom and small,
// so that encoding/json does.
type calibration struct {
	Exchange  string                `json:"exchange"`
	Simulated bool                  `json:"simulated"`
	Algorithm string                `json:"algorithm"`
	Table     string                `json:"table"`
	Command   string                `json:"command"`
	Horizon   int                   `json:"horizon_candles"`
	Intervals []calibrationInterval `json:"intervals"`
}

type calibrationInterval struct {
	Interval    levels.Interval      `json:"interval"`
	Reason      *string              `json:"reason"` // why there are no odds
	FittedOn    *calibrationData     `json:"fitted_on"`
	OutOfSample []calibrationUnseen  `json:"out_of_sample"`
	Live        calibrationLiveScore `json:"live"`
}

type calibrationData struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Pairs   int       `json:"pairs"`
	Candles int       `json:"candles"`
	Files   []string  `json:"files"`
	SHA256  string    `json:"sha256"`
}

type calibrationUnseen struct {
	LearntFrom string            `json:"learnt_from"`
	Levels     int               `json:"levels"`
	Lift       calibrationPoints `json:"lift"`
	Neighbour  calibrationPoints `json:"neighbour_lift"`
	Terciles   calibrationPoints `json:"strength_terciles"`
	Hold       struct {
		BrierSkill       float64          `json:"brier_skill"`
		CalibrationError float64          `json:"calibration_error"`
		Bins             []calibrationBin `json:"bins"`
	} `json:"hold"`
	Touch struct {
		SkillAboveReflection float64          `json:"brier_skill_above_reflection"`
		CalibrationError     float64          `json:"calibration_error"`
		Bins                 []calibrationBin `json:"bins"`
	} `json:"touch"`
}

// calibrationPoints is a value in points with its 95 % interval.
type calibrationPoints struct {
	Value    float64    `json:"points"`
	Interval [2]float64 `json:"interval"`
}

type calibrationBin struct {
	Promised float64 `json:"promised"`
	Realised float64 `json:"realised"`
	Samples  int     `json:"samples"`
}

type calibrationLiveScore struct {
	Waiting    int               `json:"waiting"`
	NextDue    *time.Time        `json:"next_due"`
	Reason     *string           `json:"reason"` // why there is no current scorecard
	Scorecards []calibrationCard `json:"scorecards"`
}

type calibrationCard struct {
	Current   bool             `json:"current"`
	Algorithm string           `json:"algorithm"`
	Table     string           `json:"table"`
	Simulated bool             `json:"simulated"`
	Since     time.Time        `json:"since"`
	Until     time.Time        `json:"until"`
	Moments   int              `json:"moments"`
	Skipped   int              `json:"skipped"`
	Levels    int              `json:"levels"`
	Touched   int              `json:"touched"`
	Decided   int              `json:"decided"`
	Held      int              `json:"held"`
	Hold      calibrationScore `json:"hold"`
	Touch     calibrationScore `json:"touch"`
}

type calibrationScore struct {
	Promised         *float64         `json:"promised"`
	Realised         *float64         `json:"realised"`
	BrierScore       *float64         `json:"brier_score"`
	BrierSkill       *float64         `json:"brier_skill"`
	CalibrationError *float64         `json:"calibration_error"`
	Reason           *string          `json:"reason"` // why one of them is null
	Bins             []calibrationBin `json:"bins"`
}

// getCalibration answers GET /calibration: where the odds come from, how they did
// on what the fit had not seen, and what has become of those given out.
func (a *API) getCalibration(w *reply, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, "exchange", "interval")
	if err != nil {
		return err
	}
	exchange, err := q.exchange(a)
	if err != nil {
		return err
	}
	var only levels.Interval
	if q.get("interval") != "" {
		if only, err = q.interval(a); err != nil {
			return err
		}
	}
	cards, open, err := a.Store.Scorecards(r.Context(), exchange)
	if err != nil {
		return err
	}
	odds, market := levels.Odds(), a.Market()
	// of another exchange's market nothing is known but what its scorecards say
	all := calibration{
		Exchange: exchange, Simulated: market.Simulated && exchange == market.Exchange, Algorithm: levels.Algorithm, Table: levels.OddsVersion(),
		Command: odds.Provenance.Command, Horizon: levels.Horizon, Intervals: []calibrationInterval{},
	}
	for _, i := range levels.Intervals() {
		one := calibrationOf(i)
		one.Live = liveOf(i, cards, open, all.Simulated)
		if only == i || only == "" && (one.Reason == nil || len(one.Live.Scorecards) > 0) {
			all.Intervals = append(all.Intervals, one)
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return sendJSON(w, append(b, '\n'))
}

// calibrationOf tells of the odds of an interval what is known from the fit.
func calibrationOf(i levels.Interval) calibrationInterval {
	odds := levels.Odds()
	one := calibrationInterval{Interval: i, OutOfSample: []calibrationUnseen{}}
	if _, own := odds.For(i); !own {
		reason := levels.UnknownInterval.String()
		one.Reason = &reason
		return one
	}
	for _, s := range odds.Provenance.Series {
		if s.Interval == i {
			one.FittedOn = &calibrationData{
				From: time.UnixMilli(s.From).UTC(), To: time.UnixMilli(s.To).UTC(),
				Pairs: len(s.Files), Candles: s.Candles, Files: s.Files, SHA256: s.SHA256,
			}
		}
	}
	points := func(v [3]float64) calibrationPoints { return calibrationPoints{v[0], [2]float64{v[1], v[2]}} }
	bins := func(from []levels.ReliabilityBin) []calibrationBin {
		to := make([]calibrationBin, len(from))
		for k, b := range from {
			to[k] = calibrationBin(b)
		}
		return to
	}
	for _, v := range odds.Validations(i) {
		u := calibrationUnseen{
			LearntFrom: v.LearntFrom, Levels: v.Levels,
			Lift: points(v.Lift), Neighbour: points(v.NeighbourLift), Terciles: points(v.Terciles),
		}
		u.Hold.BrierSkill, u.Hold.CalibrationError, u.Hold.Bins = v.HoldSkill, v.HoldError, bins(v.HoldBins)
		u.Touch.SkillAboveReflection, u.Touch.CalibrationError, u.Touch.Bins = v.TouchSkill, v.TouchError, bins(v.TouchBins)
		one.OutOfSample = append(one.OutOfSample, u)
	}
	return one
}

// liveOf tells what became of the odds given out for an interval, the current
// scorecard first.
func liveOf(i levels.Interval, cards []scorecard.Card, open []scorecard.Open, simulated bool) calibrationLiveScore {
	live := calibrationLiveScore{Scorecards: []calibrationCard{}}
	for _, o := range open {
		if o.Interval == i {
			due := o.First.Add(levels.Horizon * i.Duration())
			live.Waiting, live.NextDue = o.Count, &due
		}
	}
	current := false
	for k := range cards {
		c := &cards[k]
		if c.Interval != i {
			continue
		}
		touch, hold := c.Touch.Total(), c.Hold.Total()
		card := calibrationCard{
			Current: c.Current(simulated), Algorithm: c.Algorithm, Table: c.Table, Simulated: c.Simulated,
			Since: c.Since, Until: c.Until, Moments: c.Moments, Skipped: c.Skipped,
			Levels: touch.Samples, Touched: touch.Realised, Decided: hold.Samples, Held: hold.Realised,
			Hold: scoreOf(&c.Hold), Touch: scoreOf(&c.Touch),
		}
		if card.Current {
			current = true
			live.Scorecards = slices.Insert(live.Scorecards, 0, card)
		} else {
			live.Scorecards = append(live.Scorecards, card)
		}
	}
	if !current {
		reason := "no analysis with these odds has been stored yet, before the next candle had closed"
		if _, own := levels.Odds().For(i); !own {
			reason = levels.UnknownInterval.String()
		} else if live.Waiting > 0 {
			reason = fmt.Sprintf("the first of the analyses that wait can be judged from %s on, %d candles after it",
				live.NextDue.Format(time.RFC3339), levels.Horizon)
		}
		live.Reason = &reason
	}
	return live
}

// scoreOf tells what the sums of a scorecard say, and where they say too little.
func scoreOf(s *scorecard.Scores) calibrationScore {
	told := func(v float64, ok bool) *float64 {
		if !ok {
			return nil
		}
		v = math.Round(v*1e6) / 1e6
		return &v
	}
	total := s.Total()
	promised, realised, brier, ok := total.Means()
	c := calibrationScore{
		Promised: told(promised, ok), Realised: told(realised, ok), BrierScore: told(brier, ok),
		BrierSkill: told(total.Skill()), CalibrationError: told(s.CalibrationError()),
		Bins: []calibrationBin{},
	}
	for _, b := range s {
		if promised, realised, _, ok := b.Means(); ok {
			c.Bins = append(c.Bins, calibrationBin{*told(promised, true), *told(realised, true), b.Samples})
		}
	}
	reason := ""
	if total.Samples < scorecard.MinSamples {
		reason = fmt.Sprintf("%d outcomes: skill and calibration error are told from %d on", total.Samples, scorecard.MinSamples)
	} else if c.BrierSkill == nil {
		reason = "all outcomes were the same: there is no base rate to compare with"
	}
	if reason != "" {
		c.Reason = &reason
	}
	return c
}

package api

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"tidemark/levels"
	"tidemark/scorecard"
	"tidemark/wire"
)

// getCalibration serves GET /calibration: the origin of the odds, how they did on data
// that the fit had not seen, and the outcomes of the odds given out.
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
	record, err := a.Store.Record(r.Context(), exchange)
	if err != nil {
		return err
	}
	odds := levels.Odds()
	// the market of an exchange of another process is known only from its scorecards
	market, _ := a.Analyzer.Market(exchange)
	all := wire.Calibration{
		Exchange: exchange, Simulated: market.Simulated, Algorithm: levels.Algorithm, Table: levels.OddsVersion(),
		Command: odds.Provenance.Command, HorizonCandles: levels.Horizon, Intervals: []wire.CalibrationInterval{},
	}
	for _, i := range levels.Intervals() {
		one := calibrationOf(i)
		one.Live = liveOf(i, cards, open, all.Simulated)
		one.Record = recordOf(i, record)
		if only == i || only == "" && (one.Reason == nil || len(one.Live.Scorecards) > 0 || len(one.Record) > 0) {
			all.Intervals = append(all.Intervals, one)
		}
	}
	return sendJSON(w, &all)
}

// calibrationOf returns what the fit says about the odds of an interval.
func calibrationOf(i levels.Interval) wire.CalibrationInterval {
	odds := levels.Odds()
	one := wire.CalibrationInterval{Interval: string(i), OutOfSample: []wire.OutOfSample{}}
	if _, known := odds.For(i); !known {
		reason := levels.UnknownInterval.String()
		one.Reason = &reason
		return one
	}
	for _, s := range odds.Provenance.Series {
		if s.Interval == i {
			files := odds.Provenance.FilesOf(i)
			one.FittedOn = &wire.FittedOn{
				From: time.UnixMilli(s.From).UTC(), To: time.UnixMilli(s.To).UTC(),
				Pairs: len(files), Candles: s.Candles, Files: files, SHA256: s.SHA256,
			}
		}
	}
	points := func(v [3]float64) wire.Points { return wire.Points{Points: v[0], Interval: [2]float64{v[1], v[2]}} }
	bins := func(from []levels.ReliabilityBin) []wire.Bin {
		to := make([]wire.Bin, len(from))
		for k, b := range from {
			to[k] = wire.Bin(b)
		}
		return to
	}
	for _, v := range odds.Validations(i) {
		u := wire.OutOfSample{
			LearntFrom: v.LearntFrom, Levels: v.Levels,
			Lift: points(v.Lift), NeighbourLift: points(v.NeighbourLift), StrengthTerciles: points(v.Terciles),
			Hold:  wire.HoldSkill{BrierSkill: v.HoldSkill, CalibrationError: v.HoldError, Bins: bins(v.HoldBins)},
			Touch: wire.TouchSkill{BrierSkillAboveReflection: v.TouchSkill, CalibrationError: v.TouchError, Bins: bins(v.TouchBins)},
		}
		one.OutOfSample = append(one.OutOfSample, u)
	}
	return one
}

// liveOf returns the outcomes of the odds given out for an interval, the current
// scorecard first.
func liveOf(i levels.Interval, cards []scorecard.Card, open []scorecard.Open, simulated bool) wire.Live {
	live := wire.Live{Scorecards: []wire.Scorecard{}}
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
		card := wire.Scorecard{
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
		if _, known := levels.Odds().For(i); !known {
			reason = levels.UnknownInterval.String()
		} else if live.Waiting > 0 {
			reason = fmt.Sprintf("the first of the analyses that wait can be judged from %s on, %d candles after it",
				live.NextDue.Format(time.RFC3339), levels.Horizon)
		}
		live.Reason = &reason
	}
	return live
}

// scoreOf returns the results of a scorecard, with a reason if the samples do not
// suffice.
func scoreOf(s *scorecard.Scores) wire.LiveScore {
	pointer := func(v float64, ok bool) *float64 {
		if !ok {
			return nil
		}
		v = math.Round(v*1e6) / 1e6
		return &v
	}
	total := s.Total()
	promised, realised, brier, ok := total.Means()
	c := wire.LiveScore{
		Promised: pointer(promised, ok), Realised: pointer(realised, ok), BrierScore: pointer(brier, ok),
		BrierSkill: pointer(total.Skill()), CalibrationError: pointer(s.CalibrationError()),
		Bins: []wire.Bin{},
	}
	for _, b := range s {
		if promised, realised, _, ok := b.Means(); ok {
			c.Bins = append(c.Bins, wire.Bin{Promised: *pointer(promised, true), Realised: *pointer(realised, true), Samples: b.Samples})
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

// recordOf returns the record of an interval.
func recordOf(i levels.Interval, cells []scorecard.Cell) []wire.RecordRow {
	rows := []wire.RecordRow{}
	for k := range cells {
		c := &cells[k]
		if c.Interval != i {
			continue
		}
		h := recordHour(c)
		if c.Hour != scorecard.AllHours {
			row := &rows[len(rows)-1]
			row.Hours = append(row.Hours, h)
			continue
		}
		kind := "test"
		if c.Retest {
			kind = "retest"
		}
		rows = append(rows, wire.RecordRow{
			Simulated: c.Simulated, Role: c.Role.String(), Kind: kind, Since: c.Since,
			Decided: h.Decided, Held: h.Held, HoldRate: h.HoldRate, HoldInterval: h.HoldInterval,
			WithOdds: h.WithOdds, Promised: h.Promised, Realised: h.Realised, Baseline: h.Baseline, Hours: []wire.RecordHour{},
		})
	}
	return rows
}

func recordHour(c *scorecard.Cell) wire.RecordHour {
	share := func(part float64, of int) float64 { return wire.Rounded(part/float64(of), 4) }
	h := wire.RecordHour{Hour: c.Hour, Decided: c.N, Held: c.Held, HoldRate: share(float64(c.Held), c.N), WithOdds: c.Odds}
	if i, ok := c.Interval95(); ok {
		h.HoldInterval = &[2]float64{wire.Rounded(i[0], 4), wire.Rounded(i[1], 4)}
	}
	if c.Odds > 0 {
		h.Promised, h.Baseline = new(share(float64(c.Promised)/1e4, c.Odds)), new(share(float64(c.Baseline)/1e4, c.Odds))
		h.Realised = new(share(float64(c.OddsHeld), c.Odds))
	}
	return h
}

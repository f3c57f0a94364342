package event

import (
	"fmt"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// RedrawnEvery is how many candles apart Replay finds levels. To find them at every close,
// as a running service does, takes a hundred times as long.
const RedrawnEvery = 120

// Replay finds what happened to the levels of a series from a time on, as analyses at some
// closes would have: the first at that time, or after levels.MinOddsCandles candles if
// fewer are older; and one every so many candles after it, at closes that depend on the
// series only, so that those of several series are spread over the hours. An analysis uses
// the candles up to it. Between two, and after the last, all candles count, closed ones
// only.
//
// It calls yield with each analysis, the state of its levels and what has happened since
// the one before, and at last with the levels of the last one at the newest candle. yield
// must not retain the state and the list. Replay returns levels.ErrTooFewCandles if no candle
// follows the first analysis.
func Replay(s *service.Stored, from time.Time, every int, yield func(a *service.Snapshot, state *State, happened []Transition)) error {
	return replay(s, from, every, func(r *replayed) { yield(r.analysis, &r.state, r.happened) })
}

// replayed is a step of Replay.
type replayed struct {
	analysis *service.Snapshot
	state    State
	happened []Transition
	moments  []levels.Moment // see momentsSince
}

func replay(s *service.Stored, from time.Time, every int, yield func(r *replayed)) error {
	c := s.Candles
	n := firstAnalysis(c, from)
	if n >= c.Len() {
		return fmt.Errorf("%w: %d are stored", levels.ErrTooFewCandles, c.Len())
	}
	length := c.Interval.Milliseconds()
	phase := int64(s.LevelID(0) % uint64(every))
	period := func(i int) int64 { return (c.OpenTime[i]/length + phase) / int64(every) }
	r := replayed{happened: make([]Transition, 0, 64)}
	for {
		known := c.Slice(0, n)
		before := r.analysis
		var after service.Snapshot
		if n < c.Len() {
			var err error
			if after, err = s.Analyze(s.Finder, &known, before, s.Simulated); err != nil {
				return err
			}
		} else {
			m := levels.MomentOf(&known)
			after = *before
			after.AsOf, after.LastPrice, after.ATR = utc(m.AsOf), m.LastPrice, m.ATR
		}
		r.analysis = &after
		if before != nil {
			r.moments = momentsSince(r.moments[:0], before, &after, &known)
		}
		r.happened = r.state.appendClose(r.happened[:0], before, &after, &known, r.moments)
		yield(&r)
		if n == c.Len() {
			return nil
		}
		for n++; n < c.Len() && period(n) == period(n-1); n++ {
		}
	}
}

// firstAnalysis returns how many candles the first analysis of Replay has.
func firstAnalysis(c *levels.Candles, from time.Time) int {
	n := levels.MinOddsCandles
	for n < c.Len() && c.OpenTime[n] < from.UnixMilli() {
		n++
	}
	return n
}

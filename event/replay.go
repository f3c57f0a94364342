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
// fewer are older; the last at the newest candle; and one every so many candles between
// them, at closes that depend on the series only, so that those of several series are spread
// over the hours. An analysis uses the candles up to it. Between two, all candles count,
// closed ones only.
//
// It calls yield with each analysis, the state of its levels and what has happened since
// the one before; yield must not retain the state. It returns levels.ErrTooFewCandles if no
// candle follows the first analysis.
func Replay(s *service.Stored, from time.Time, every int, yield func(a *service.Snapshot, state *State, happened []Transition)) error {
	c := s.Candles
	n := firstAnalysis(c, from)
	if n >= c.Len() {
		return fmt.Errorf("%w: %d are stored", levels.ErrTooFewCandles, c.Len())
	}
	length := c.Interval.Milliseconds()
	phase := int64(s.LevelID(0) % uint64(every))
	period := func(i int) int64 { return (c.OpenTime[i]/length + phase) / int64(every) }
	var state State
	var before *service.Snapshot
	for {
		known := c.Slice(0, n)
		after, err := s.Analyze(s.Finder, &known, before, s.Simulated)
		if err != nil {
			return err
		}
		yield(&after, &state, state.Close(before, &after, &known))
		if n == c.Len() {
			return nil
		}
		before = &after
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

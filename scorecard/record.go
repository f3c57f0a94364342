package scorecard

import (
	"time"

	"tidemark/levels"
)

// Touch is the outcome of a level that was touched.
type Touch struct {
	Held   bool // it broke otherwise
	Retest bool // price came from the side to which it had passed the level
	// Simulated reports whether the market is.
	Simulated bool
	At        time.Time
	// Odds reports whether the level had odds at the touch: Promised that it holds, and
	// Baseline, the hold rate of any line at its distance; in ten-thousandths.
	Odds               bool
	Promised, Baseline int
}

// HourOf returns the hour of the day (UTC) of a touch, which is known at the close of its
// candle: on intervals longer than an hour, the last of the candle.
func HourOf(t time.Time) int { return t.Add(-time.Millisecond).UTC().Hour() }

// AllHours is the hour of a Cell of all hours.
const AllHours = -1

// Cell is the record of touched levels of a series of exchange and interval that can be
// compared: one side of the price, first touches or retests, and an hour of the day.
type Cell struct {
	Interval  levels.Interval
	Simulated bool
	Role      levels.Role
	Retest    bool
	Hour      int       // of the touch, UTC; or AllHours
	Since     time.Time // begin of the first block
	Blocks              // of all decided touches
	// Of those that had odds: how many, how many held, and the sums of Promised and Baseline.
	Odds, OddsHeld     int
	Promised, Baseline int64
}

// BlockStart returns the begin of a block of BlockOf.
func BlockStart(i levels.Interval, block int64) time.Time {
	return time.UnixMilli(block * blockDays(i) * day.Milliseconds()).UTC()
}

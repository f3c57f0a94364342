// Package levels finds support and resistance in closed candles. It is pure
// arithmetic: no clock, no I/O, no symbols, no context and no logs. Equal
// candles give equal levels, bit for bit.
package levels

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Interval is the length of a candle, in the spelling exchanges share: "15m",
// "1h", "1w". Calendar months are not supported: they have no fixed length, so
// counting missing candles or checking whether one is closed would need a
// calendar instead of one subtraction.
type Interval string

var intervals = []struct {
	name   Interval
	length time.Duration
}{
	{"1m", time.Minute}, {"3m", 3 * time.Minute}, {"5m", 5 * time.Minute},
	{"15m", 15 * time.Minute}, {"30m", 30 * time.Minute},
	{"1h", time.Hour}, {"2h", 2 * time.Hour}, {"4h", 4 * time.Hour},
	{"6h", 6 * time.Hour}, {"8h", 8 * time.Hour}, {"12h", 12 * time.Hour},
	{"1d", 24 * time.Hour}, {"3d", 72 * time.Hour}, {"1w", 168 * time.Hour},
}

// ErrUnknownInterval is wrapped by ParseInterval.
var ErrUnknownInterval = errors.New("unknown interval")

// Intervals returns all intervals, shortest first.
func Intervals() []Interval {
	all := make([]Interval, len(intervals))
	for i, v := range intervals {
		all[i] = v.name
	}
	return all
}

// ParseInterval accepts exactly the names that Intervals returns; for anything else
// it returns ErrUnknownInterval with the valid names. Case matters: on most venues "1M"
// is a month and "1m" a minute.
func ParseInterval(s string) (Interval, error) {
	if i := Interval(s); i.Duration() > 0 {
		return i, nil
	}
	names := make([]string, len(intervals))
	for i, v := range intervals {
		names[i] = string(v.name)
	}
	return "", fmt.Errorf("%w %q: one of %s", ErrUnknownInterval, s, strings.Join(names, ", "))
}

// Duration returns the length of one candle; 0 for an unknown interval.
func (i Interval) Duration() time.Duration {
	for _, v := range intervals {
		if v.name == i {
			return v.length
		}
	}
	return 0
}

// Milliseconds returns Duration in the unit of open times.
func (i Interval) Milliseconds() int64 { return i.Duration().Milliseconds() }

// NextBoundary returns the first moment after t, in UTC, that is a multiple of d
// since the Unix epoch; d is at least a millisecond. For the length of an interval
// it is the close of the candle that is open at t. Multiples of weeks are counted
// from a Monday, as venues align weekly candles.
func NextBoundary(t time.Time, d time.Duration) time.Time {
	const week, monday = 168 * time.Hour, 4 * 24 * time.Hour // the epoch was a Thursday
	var origin int64
	if d%week == 0 {
		origin = monday.Milliseconds()
	}
	step := d.Milliseconds()
	since := t.UnixMilli() - origin
	past := since % step
	if past < 0 { // before the origin
		past += step
	}
	return time.UnixMilli(origin + since - past + step).UTC()
}

// Candle is one closed candle, checked: every price is finite and positive,
// Low ≤ Open, Close ≤ High, Volume is finite and not negative.
type Candle struct {
	OpenTime                       int64 // Unix ms UTC, inclusive; it names the candle
	Open, High, Low, Close, Volume float64
}

// Candles holds closed candles of one interval in columns, oldest first. Gaps are
// not filled. Reset keeps the memory, so one value can serve many pairs.
type Candles struct {
	Interval                       Interval
	OpenTime                       []int64
	Open, High, Low, Close, Volume []float64

	length int64 // of one candle in ms
}

// CandlesBytes returns the memory of Candles with room for n candles: six columns of
// 8 bytes, plus a sixth that the allocator may add by rounding up.
func CandlesBytes(n int) int { return 6 * 8 * (n + 1) * 7 / 6 }

// ErrBadCandle is wrapped by Append, with the reason.
var ErrBadCandle = errors.New("bad candle")

// Reset empties the columns, grows them for n candles and sets the interval,
// which must be one that ParseInterval accepts.
func (c *Candles) Reset(interval Interval, n int) {
	c.Interval, c.length = interval, interval.Milliseconds()
	c.OpenTime = slices.Grow(c.OpenTime[:0], n)
	c.Open = slices.Grow(c.Open[:0], n)
	c.High = slices.Grow(c.High[:0], n)
	c.Low = slices.Grow(c.Low[:0], n)
	c.Close = slices.Grow(c.Close[:0], n)
	c.Volume = slices.Grow(c.Volume[:0], n)
}

// Append adds the next candle. It returns ErrBadCandle for a price that is not
// finite and positive, a range that does not contain open and close, a volume
// that is negative or not finite, or an open time less than one interval after
// the previous one. This is the only validation; later code assumes valid candles.
func (c *Candles) Append(k Candle) error {
	if err := c.check(k); err != nil {
		return err
	}
	if n := len(c.OpenTime); n > 0 {
		if err := c.follows(c.OpenTime[n-1], k.OpenTime); err != nil {
			return err
		}
	}
	c.add(k)
	return nil
}

// Check returns ErrBadCandle for a candle that cannot be.
func (k Candle) Check() error {
	switch {
	// written so that a NaN fails every comparison and is refused
	case !(k.Low > 0 && k.High <= math.MaxFloat64):
		return fmt.Errorf("%w: prices must be finite and positive: low %v, high %v", ErrBadCandle, k.Low, k.High)
	case !(k.Low <= k.High):
		return fmt.Errorf("%w: high %v is below low %v", ErrBadCandle, k.High, k.Low)
	case !(k.Low <= k.Open && k.Open <= k.High):
		return fmt.Errorf("%w: open %v lies outside low %v and high %v", ErrBadCandle, k.Open, k.Low, k.High)
	case !(k.Low <= k.Close && k.Close <= k.High):
		return fmt.Errorf("%w: close %v lies outside low %v and high %v", ErrBadCandle, k.Close, k.Low, k.High)
	case !(k.Volume >= 0 && k.Volume <= math.MaxFloat64):
		return fmt.Errorf("%w: volume must be finite and not negative: %v", ErrBadCandle, k.Volume)
	case k.OpenTime < 0 || k.OpenTime > maxOpenTime:
		return fmt.Errorf("%w: open time %d is not Unix milliseconds", ErrBadCandle, k.OpenTime)
	}
	return nil
}

// check is Check for a candle of the series.
func (c *Candles) check(k Candle) error {
	if c.length == 0 {
		return fmt.Errorf("%w: the series has no interval: call Reset first", ErrBadCandle)
	}
	return k.Check()
}

// follows returns ErrBadCandle unless a candle that opens at next may follow one that
// opened at last.
func (c *Candles) follows(last, next int64) error {
	switch {
	case next == last:
		return fmt.Errorf("%w: open time %d is repeated", ErrBadCandle, next)
	case next < last:
		return fmt.Errorf("%w: open time %d comes after %d: not in ascending order", ErrBadCandle, next, last)
	case next-last < c.length:
		return fmt.Errorf("%w: open time %d is less than one interval (%s) after %d", ErrBadCandle, next, c.Interval, last)
	}
	return nil
}

func (c *Candles) add(k Candle) {
	c.OpenTime = append(c.OpenTime, k.OpenTime)
	c.Open = append(c.Open, k.Open)
	c.High = append(c.High, k.High)
	c.Low = append(c.Low, k.Low)
	c.Close = append(c.Close, k.Close)
	c.Volume = append(c.Volume, k.Volume)
}

// Stage adds a candle of a page that may be in descending order. It checks all that
// Append checks but the order; Settle must follow before anything else is called.
func (c *Candles) Stage(k Candle) error {
	if err := c.check(k); err != nil {
		return err
	}
	c.add(k)
	return nil
}

// Settle ends a page that was staged from index from on: it turns a descending page, drops
// exact repeats of a candle and checks the order as Append does.
func (c *Candles) Settle(from int) error {
	if n := len(c.OpenTime); n-from > 1 && c.OpenTime[from] > c.OpenTime[n-1] {
		slices.Reverse(c.OpenTime[from:])
		slices.Reverse(c.Open[from:])
		slices.Reverse(c.High[from:])
		slices.Reverse(c.Low[from:])
		slices.Reverse(c.Close[from:])
		slices.Reverse(c.Volume[from:])
	}
	kept := from
	for i := from; i < len(c.OpenTime); i++ {
		if kept > 0 {
			if c.At(i) == c.At(kept-1) {
				continue
			}
			if err := c.follows(c.OpenTime[kept-1], c.OpenTime[i]); err != nil {
				return err
			}
		}
		if kept < i {
			c.OpenTime[kept], c.Open[kept], c.High[kept] = c.OpenTime[i], c.Open[i], c.High[i]
			c.Low[kept], c.Close[kept], c.Volume[kept] = c.Low[i], c.Close[i], c.Volume[i]
		}
		kept++
	}
	c.Truncate(kept)
	return nil
}

// Floor returns the open time (Unix ms) of the candle that contains t, for candles that
// open at multiples of their length since the Unix epoch, and weeks on a Monday.
func (i Interval) Floor(t int64) int64 {
	return NextBoundary(time.UnixMilli(t), i.Duration()).UnixMilli() - i.Milliseconds()
}

// maxOpenTime is the end of the year 9999, the last one RFC 3339 can print.
const maxOpenTime = 253402300799999

// Len returns the number of candles.
func (c *Candles) Len() int { return len(c.OpenTime) }

// At returns a copy of candle i.
func (c *Candles) At(i int) Candle {
	return Candle{c.OpenTime[i], c.Open[i], c.High[i], c.Low[i], c.Close[i], c.Volume[i]}
}

// first returns a view of the first n candles.
func (c *Candles) first(n int) Candles {
	v := *c
	v.OpenTime, v.Open, v.High, v.Low = c.OpenTime[:n], c.Open[:n], c.High[:n], c.Low[:n]
	v.Close, v.Volume = c.Close[:n], c.Volume[:n]
	return v
}

// AsOf returns the close time of the last candle, exclusive, in Unix ms; 0 without
// candles.
func (c *Candles) AsOf() int64 {
	if len(c.OpenTime) == 0 {
		return 0
	}
	return c.OpenTime[len(c.OpenTime)-1] + c.length
}

// Missing returns the number of candles absent between the first and the last,
// because the venue had no trades or no data. They are never filled.
func (c *Candles) Missing() int {
	n := len(c.OpenTime)
	if n == 0 || c.length == 0 {
		return 0
	}
	span := (c.OpenTime[n-1] - c.OpenTime[0] + c.length/2) / c.length
	return int(span) + 1 - n
}

// Slice returns a view of the candles from index from up to, not including, to. It
// shares their memory, so it is valid until the next Reset or KeepLast of c.
func (c *Candles) Slice(from, to int) Candles {
	return Candles{
		Interval: c.Interval, length: c.length,
		OpenTime: c.OpenTime[from:to:to], Open: c.Open[from:to:to], High: c.High[from:to:to],
		Low: c.Low[from:to:to], Close: c.Close[from:to:to], Volume: c.Volume[from:to:to],
	}
}

// KeepLast drops all but the last n candles.
func (c *Candles) KeepLast(n int) {
	if cut := len(c.OpenTime) - n; cut > 0 {
		c.OpenTime = slices.Delete(c.OpenTime, 0, cut)
		c.Open = slices.Delete(c.Open, 0, cut)
		c.High = slices.Delete(c.High, 0, cut)
		c.Low = slices.Delete(c.Low, 0, cut)
		c.Close = slices.Delete(c.Close, 0, cut)
		c.Volume = slices.Delete(c.Volume, 0, cut)
	}
}

// Truncate drops all but the first n candles.
func (c *Candles) Truncate(n int) {
	c.OpenTime = c.OpenTime[:n]
	c.Open, c.High, c.Low, c.Close = c.Open[:n], c.High[:n], c.Low[:n], c.Close[:n]
	c.Volume = c.Volume[:n]
}

package api

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"tidemark/levels"
	"tidemark/service"
)

// The number of elements in a kline row. Rows may be longer than needed, as those of
// exchanges are; the elements after the volume are ignored.
const (
	minColumns = 6
	maxColumns = 16
)

// rows holds the klines of a request in pieces, so that their memory grows only by what
// they need.
type rows struct {
	given     bool
	maxKlines int // maximum number of klines
	pieces    [][]levels.Candle
	n         int
	unit      timeUnit
	// precision has the number of decimals of the prices up to each kline that has more
	// than all before.
	precision []precisionFrom
}

type precisionFrom struct{ kline, decimals int }

// rowsPiece is the number of klines in a piece.
const rowsPiece = 256

func (k *rows) add(c levels.Candle) {
	if k.n%rowsPiece == 0 {
		k.pieces = append(k.pieces, make([]levels.Candle, 0, rowsPiece))
	}
	last := &k.pieces[len(k.pieces)-1]
	*last = append(*last, c)
	k.n++
}

// at returns kline i.
func (k *rows) at(i int) *levels.Candle { return &k.pieces[i/rowsPiece][i%rowsPiece] }

// fill copies the klines to dst, with their times in milliseconds, and keeps the last limit
// of them, or all if limit is 0. levels.Candles.Append checks each kline. The error names
// the first one refused.
func (k *rows) fill(dst *levels.Candles, interval levels.Interval, limit int) (timeUnit, error) {
	if err := k.settleTimes(interval); err != nil {
		return k.unit, err
	}
	dst.Reset(interval, k.n)
	for i := range k.n {
		if err := dst.Append(*k.at(i)); err != nil {
			return k.unit, badField("/klines/"+strconv.Itoa(i), "kline %d: %v", i, err)
		}
	}
	if limit > 0 {
		dst.KeepLast(limit)
	}
	return k.unit, nil
}

// timeUnit is the unit of the times of a request.
type timeUnit int

const (
	inMilliseconds timeUnit = iota
	inSeconds
	inMicroseconds
)

func (u timeUnit) String() string {
	return [...]string{"milliseconds", "seconds", "microseconds"}[u]
}

// ms returns a time of this unit in milliseconds. ok is false if it is not a whole number
// of them.
func (u timeUnit) ms(t int64) (ms int64, ok bool) {
	switch u {
	case inSeconds:
		return t * 1000, true
	case inMicroseconds:
		return t / 1000, t%1000 == 0
	}
	return t, true
}

// The last milliseconds and microseconds of the year 9999, and a time in seconds that is
// later: a series in milliseconds before it ends in 1973.
const (
	lastMilliseconds = 253402300799999
	lastMicroseconds = 253402300799999_999
	lateSeconds      = 100_000_000_000
)

// settleTimes finds the unit of the open times and converts them to milliseconds. Other
// units are recognised only where the klines could not be in milliseconds: a series in
// microseconds would be after the year 9999, and one in seconds would have more candles
// than intervals.
func (k *rows) settleTimes(interval levels.Interval) error {
	if k.n == 0 {
		return nil
	}
	first, last, length := k.at(0).OpenTime, k.at(k.n-1).OpenTime, interval.Milliseconds()
	span, gaps := last-first, int64(k.n-1)
	switch {
	case first > lastMicroseconds:
		return badField("/klines/0/0", "kline 0: open time %d is later than the year 9999 in microseconds; divide nanoseconds by 1,000,000", first)
	case first > lastMilliseconds:
		k.unit = inMicroseconds
	case last < lateSeconds && span < gaps*length && span >= gaps*(length/1000):
		k.unit = inSeconds
	default:
		return nil
	}
	for i := range k.n {
		ms, ok := k.unit.ms(k.at(i).OpenTime)
		if !ok {
			return badField("/klines/"+strconv.Itoa(i)+"/0", "kline %d: open time %d is not a whole number of milliseconds", i, k.at(i).OpenTime)
		}
		k.at(i).OpenTime = ms
	}
	return nil
}

// The precision of prices from which a tick is inferred. A number of more digits is a
// result of floating-point arithmetic and says nothing about the tick.
const (
	maxDecimals = 12
	maxDigits   = 15
)

// imprecise is the precision of numbers with too many digits.
const imprecise = maxDecimals + 1

// decimalsOf returns the number of decimals of a JSON number, without zeros at its end; at
// most imprecise.
func decimalsOf(text []byte) int {
	decimals := 0
	if i := bytes.IndexAny(text, "eE"); i >= 0 {
		exponent, err := strconv.Atoi(string(text[i+1:]))
		if err != nil || exponent < -maxDecimals || exponent > maxDecimals {
			return imprecise
		}
		decimals, text = -exponent, text[:i]
	}
	digits, zeros, point := 0, 0, false // significant ones; zeros behind them
	for _, c := range text {
		switch {
		case c == '.':
			point = true
			continue
		case c == '0':
			zeros++
		case '1' <= c && c <= '9':
			if digits > 0 {
				digits += zeros
			}
			digits, zeros = digits+1, 0
		default:
			continue // the sign
		}
		if point {
			decimals++
		}
	}
	if decimals = max(0, decimals-zeros); decimals > maxDecimals || digits > maxDigits {
		return imprecise
	}
	return decimals
}

// note takes the precision of a price of the kline that is being read into account.
func (k *rows) note(decimals int) {
	last := len(k.precision) - 1
	switch {
	case last >= 0 && decimals <= k.precision[last].decimals:
	case last >= 0 && k.precision[last].kline == k.n:
		k.precision[last].decimals = decimals
	default:
		k.precision = append(k.precision, precisionFrom{k.n, decimals})
	}
}

// tick returns the tick that the decimals of the first n klines imply: zero if they are no
// decimals of a market.
func (k *rows) tick(n int) service.Tick {
	decimals := imprecise
	for _, p := range k.precision {
		if p.kline >= n {
			break
		}
		decimals = p.decimals
	}
	if decimals == imprecise {
		return service.Tick{}
	}
	return service.Tick{Units: 1, Decimals: decimals}
}

// tickOrInferred returns the tick of a size, or without one that of the first n klines.
func tickOrInferred(size float64, k *rows, n int) service.Tick {
	if size == 0 {
		return k.tick(n)
	}
	tick, _ := parseTick(size) // checked when it was read
	return tick
}

// parseTick returns the tick of a size. ok is false if it is not a decimal number above 0
// of at most 15 digits and 18 decimals.
func parseTick(size float64) (tick service.Tick, ok bool) {
	if !(size > 0) || size > 1e15 {
		return tick, false
	}
	whole, fraction, _ := strings.Cut(string(appendFloat(nil, size)), ".")
	units, err := strconv.ParseInt(whole+fraction, 10, 64)
	return service.Tick{Units: units, Decimals: len(fraction)}, err == nil && units < 1e15 && len(fraction) <= 18
}

// UnmarshalJSONFrom reads the rows one at a time.
func (k *rows) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if _, err := token(dec, "[", "must be a list of rows [open_time, open, high, low, close, volume]"); err != nil {
		return err
	}
	k.given = true
	for dec.PeekKind() != ']' {
		c, err := k.read(dec)
		if err != nil {
			return err
		}
		if k.n == k.maxKlines {
			if k.maxKlines < service.MaxKlineLimit {
				return badValue(dec, "more than the %d klines MEMORY_BUDGET leaves room for", k.maxKlines)
			}
			return badValue(dec, "more than %d klines", k.maxKlines)
		}
		k.add(c)
	}
	_, err := dec.ReadToken()
	return err
}

// read reads [open time, open, high, low, close, volume, ...].
func (k *rows) read(dec *jsontext.Decoder) (c levels.Candle, err error) {
	t, err := dec.ReadToken()
	if err != nil {
		return c, err
	}
	if t.Kind() != '[' {
		return c, badValue(dec, "kline %d must be a row [open_time, open, high, low, close, volume]", k.n)
	}
	var column [minColumns]float64
	n := 0
	for ; dec.PeekKind() != ']'; n++ {
		switch {
		case n >= maxColumns:
			return c, badValue(dec, "kline %d has more than %d elements", k.n, maxColumns)
		case n >= minColumns:
			err = k.scalar(dec)
		default:
			var decimals int
			if column[n], decimals, err = k.number(dec); err == nil && 0 < n && n < 5 {
				k.note(decimals)
			}
		}
		if err != nil {
			return c, err
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return c, err
	}
	if n < minColumns {
		return c, badValue(dec, "kline %d has %d elements; it must have %d: open_time, open, high, low, close, volume", k.n, n, minColumns)
	}
	if t := column[0]; t != math.Trunc(t) || math.Abs(t) > math.MaxInt64/2 {
		return c, badValue(dec, "kline %d: open time %v is not Unix milliseconds", k.n, t)
	}
	return levels.Candle{
		OpenTime: int64(column[0]),
		Open:     column[1], High: column[2], Low: column[3], Close: column[4], Volume: column[5],
	}, nil
}

// scalar skips an unused value of a row. It refuses lists and objects: no exchange
// sends them there, and one could be as long as the body.
func (k *rows) scalar(dec *jsontext.Decoder) error {
	t, err := dec.ReadToken()
	if err == nil && (t.Kind() == '[' || t.Kind() == '{') {
		return badValue(dec, "kline %d: a row holds numbers and strings", k.n)
	}
	return err
}

// number reads a number, either bare or in a string as exchanges write it, and counts its
// decimals.
func (k *rows) number(dec *jsontext.Decoder) (f float64, decimals int, err error) {
	if kind := dec.PeekKind(); kind == '[' || kind == '{' {
		return 0, 0, k.scalar(dec)
	}
	v, err := dec.ReadValue()
	if err != nil {
		return 0, 0, err
	}
	text := []byte(v)
	if len(text) >= 2 && text[0] == '"' {
		text = text[1 : len(text)-1]
	}
	// Go also accepts hexadecimal, underscores, Inf and NaN; JSON does not
	for _, c := range text {
		if !('0' <= c && c <= '9' || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E') {
			return 0, 0, badValue(dec, "kline %d: %s is not a number", k.n, clip(string(v)))
		}
	}
	if f, err = strconv.ParseFloat(string(text), 64); err != nil {
		return 0, 0, badValue(dec, "kline %d: %s is not a number", k.n, clip(string(v)))
	}
	return f, decimalsOf(text), nil
}

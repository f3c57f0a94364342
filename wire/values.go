package wire

import (
	"math"
	"strconv"
	"time"
)

// Rounded returns f with at most n decimals.
func Rounded(f float64, n int) float64 {
	if scale := math.Pow10(n); math.Abs(f) < 1e15 { // larger numbers have no decimals
		f = math.Round(f*scale) / scale
	}
	if f == 0 {
		return 0 // not "-0"
	}
	return f
}

// SixDigits returns f with six significant digits: enough for a mean, however small the
// prices of a pair are.
func SixDigits(f float64) float64 {
	var text [32]byte
	f, _ = strconv.ParseFloat(string(strconv.AppendFloat(text[:0], f, 'e', 5, 64)), 64)
	return f
}

// Moment returns t in UTC with milliseconds.
func Moment(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// AppendID appends the id of a level as 16 hexadecimal digits.
func AppendID(b []byte, id uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, digits[id>>shift&15])
	}
	return b
}

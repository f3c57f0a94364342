package exchange

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"

	"tidemark/service"
)

// pow10 holds the powers of ten a float64 represents exactly.
var pow10 = [...]float64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// ScanDecimal reads the decimal number at the start of b, in JSON's grammar
// ("-12.50e3"; no "+1", ".5", "1.", "007", "NaN", "Inf" or "0x1"), and returns
// it with its length in bytes; the caller checks what follows. The value is
// the float64 nearest to the decimal, bit for bit what strconv.ParseFloat
// returns. A length of 0 means that b does not start with a finite number.
//
// A mantissa below 2^53 and a power of ten up to 10^22 are both exact in a
// float64, so one division rounds once and correctly (Clinger, How to Read
// Floating Point Numbers Accurately, 1990). Everything else goes to strconv.
func ScanDecimal(b []byte) (value float64, length int) {
	p := 0
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		p = 1
	}
	first := p
	var mantissa uint64 // wraps after 19 digits; not used then
	for p < len(b) && b[p]-'0' <= 9 {
		mantissa = mantissa*10 + uint64(b[p]-'0')
		p++
	}
	digits := p - first
	if digits == 0 || digits > 1 && b[first] == '0' {
		return 0, 0
	}
	decimals := 0
	if p < len(b) && b[p] == '.' {
		p++
		point := p
		if p+8 <= len(b) { // venues often print eight decimals
			if v := binary.LittleEndian.Uint64(b[p:]); eightDigits(v) {
				mantissa = mantissa*100_000_000 + parseEight(v)
				p += 8
			}
		}
		for p < len(b) && b[p]-'0' <= 9 {
			mantissa = mantissa*10 + uint64(b[p]-'0')
			p++
		}
		decimals = p - point
		if decimals == 0 {
			return 0, 0
		}
		digits += decimals
	}
	if p < len(b) && b[p]|0x20 == 'e' || digits > 19 {
		return scanLong(b, p)
	}
	end := p
	for mantissa >= 1<<53 && decimals > 0 && mantissa%10 == 0 { // "1343961239.70000000"
		mantissa /= 10
		decimals--
	}
	if mantissa >= 1<<53 {
		return scanLong(b, end)
	}
	value = float64(mantissa) / pow10[decimals]
	if negative {
		value = -value
	}
	return value, end
}

// scanLong is the slow path of ScanDecimal; p is after the checked digits.
func scanLong(b []byte, p int) (float64, int) {
	if p < len(b) && b[p]|0x20 == 'e' {
		p++
		if p < len(b) && (b[p] == '+' || b[p] == '-') {
			p++
		}
		exponent := p
		for p < len(b) && b[p]-'0' <= 9 {
			p++
		}
		if p == exponent {
			return 0, 0
		}
	}
	f, err := strconv.ParseFloat(string(b[:p]), 64)
	if err != nil { // out of range: the rest of the grammar has been checked
		return 0, 0
	}
	return f, p
}

// eightDigits reports whether all eight bytes of v are ASCII digits: the high
// half of each is 3, and still is when 6 is added.
func eightDigits(v uint64) bool {
	return (v&0xf0f0f0f0f0f0f0f0)|(((v+0x0606060606060606)&0xf0f0f0f0f0f0f0f0)>>4) == 0x3333333333333333
}

// parseEight turns eight ASCII digits, the first in the lowest byte, into
// their number: pairs, then fours, then all, three multiplications instead of
// eight (Lemire, Number Parsing at a Gigabyte per Second, 2021).
func parseEight(v uint64) uint64 {
	const mask = 0x000000ff000000ff
	v -= 0x3030303030303030
	v = v*10 + v>>8
	return ((v&mask)*(100+1_000_000<<32) + (v>>16&mask)*(1+10_000<<32)) >> 32
}

// ParseTick parses a price step as venues print it, exactly: "0.00050000" is {5, 4}, and
// "1e-05" {1, 5}. A step of zero, which means none, is the zero Tick. ParseTick returns an
// error for more than 18 digits, and for anything but digits with at most one point
// between them and an exponent of -18 to 0.
func ParseTick(b []byte) (service.Tick, error) {
	var t service.Tick
	point := -1
	if i := bytes.IndexAny(b, "eE"); i >= 0 {
		exponent, err := strconv.Atoi(string(b[i+1:]))
		if err != nil || exponent < -18 || exponent > 0 {
			return service.Tick{}, fmt.Errorf("%.40q is not a price step", b)
		}
		t.Decimals = -exponent
		b = b[:i]
	}
	for i, c := range b {
		switch {
		case c == '.' && point < 0 && i > 0 && i < len(b)-1:
			point = i
		case c >= '0' && c <= '9' && t.Units < 1e17:
			t.Units = t.Units*10 + int64(c-'0')
		default:
			return service.Tick{}, fmt.Errorf("%.40q is not a price step", b)
		}
	}
	if len(b) == 0 || len(b) > 24 {
		return service.Tick{}, fmt.Errorf("%.40q is not a price step", b)
	}
	if t.Units == 0 {
		return service.Tick{}, nil
	}
	if point >= 0 {
		t.Decimals += len(b) - 1 - point
	}
	for t.Decimals > 0 && t.Units%10 == 0 {
		t.Units /= 10
		t.Decimals--
	}
	if t.Decimals >= len(pow10) {
		return service.Tick{}, fmt.Errorf("%.40q is not a price step", b)
	}
	return t, nil
}

package simulated

import (
	"bytes"
	"math"
	"strconv"
)

// nan is a number of units that is printed as NaN, for a fault.
const nan = math.MinInt64

var pow10 = [...]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8}

const digitPairs = "00010203040506070809" + "10111213141516171819" + "20212223242526272829" +
	"30313233343536373839" + "40414243444546474849" + "50515253545556575859" +
	"60616263646566676869" + "70717273747576777879" + "80818283848586878889" + "90919293949596979899"

// appendDecimal appends units × 10^-decimals with eight decimals, as the venue
// prints every price and volume. units is not negative, decimals is 0 to 8.
func appendDecimal(dst []byte, units int64, decimals int) []byte {
	if units == nan {
		return append(dst, "NaN"...)
	}
	whole, rest := units, int64(0)
	if decimals > 0 {
		whole = units / pow10[decimals]
		rest = (units - whole*pow10[decimals]) * pow10[8-decimals]
	}
	return appendParts(dst, whole, rest)
}

// appendParts appends whole and hundred-millionths.
func appendParts(dst []byte, whole, rest int64) []byte {
	dst = strconv.AppendInt(dst, whole, 10)
	r := uint32(rest)
	a, b := r/10000, r%10000
	a1, a2, b1, b2 := a/100*2, a%100*2, b/100*2, b%100*2
	return append(dst, '.',
		digitPairs[a1], digitPairs[a1+1], digitPairs[a2], digitPairs[a2+1],
		digitPairs[b1], digitPairs[b1+1], digitPairs[b2], digitPairs[b2+1])
}

// appendAmount appends a non-negative number with eight decimals, truncated, not
// rounded. The maximum is 9e18.
func appendAmount(dst []byte, v float64) []byte {
	v = min(v, 9e18)
	whole := math.Floor(v)
	return appendParts(dst, int64(whole), int64((v-whole)*1e8))
}

// appendTrimmed appends units × 10^-decimals as short as possible, as most venues
// print prices and volumes.
func appendTrimmed(dst []byte, units int64, decimals int) []byte {
	if units == nan {
		return append(dst, "NaN"...)
	}
	for decimals > 0 && units%10 == 0 {
		units, decimals = units/10, decimals-1
	}
	return appendPlaces(dst, units, decimals)
}

// appendPlaces appends units × 10^-decimals with that number of decimals.
func appendPlaces(dst []byte, units int64, decimals int) []byte {
	if units == nan {
		return append(dst, "NaN"...)
	}
	if decimals <= 0 {
		return strconv.AppendInt(dst, units, 10)
	}
	whole := units / pow10[decimals]
	dst = append(strconv.AppendInt(dst, whole, 10), '.')
	rest := units - whole*pow10[decimals]
	for d := decimals - 1; d >= 0; d-- {
		dst = append(dst, byte('0'+rest/pow10[d]%10))
	}
	return dst
}

// appendTrimmedAmount appends a non-negative number with at most eight decimals, as
// short as possible.
func appendTrimmedAmount(dst []byte, v float64) []byte {
	if v >= 9e10 {
		return strconv.AppendInt(dst, int64(min(v, 9e18)), 10)
	}
	return appendTrimmed(dst, int64(v*1e8), 8)
}

// appendScientific appends v as Java's Double.toString does: 0.5, 12.0, 1.25E7.
func appendScientific(dst []byte, v float64) []byte {
	if v == 0 || v >= 1e-3 && v < 1e7 {
		n := len(dst)
		dst = strconv.AppendFloat(dst, v, 'f', -1, 64)
		if bytes.IndexByte(dst[n:], '.') < 0 {
			dst = append(dst, ".0"...)
		}
		return dst
	}
	if v != v {
		return append(dst, "NaN"...)
	}
	var b [32]byte
	mantissa, exponent, _ := bytes.Cut(strconv.AppendFloat(b[:0], v, 'E', -1, 64), []byte("E"))
	dst = append(dst, mantissa...)
	if bytes.IndexByte(mantissa, '.') < 0 {
		dst = append(dst, ".0"...)
	}
	dst = append(dst, 'E')
	if exponent[0] == '-' {
		dst = append(dst, '-')
	}
	return append(dst, bytes.TrimLeft(exponent, "+-0")...)
}

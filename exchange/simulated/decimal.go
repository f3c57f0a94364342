package simulated

import (
	"math"
	"strconv"
)

var pow10 = [...]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8}

const digitPairs = "00010203040506070809" + "10111213141516171819" + "20212223242526272829" +
	"30313233343536373839" + "40414243444546474849" + "50515253545556575859" +
	"60616263646566676869" + "70717273747576777879" + "80818283848586878889" + "90919293949596979899"

// appendDecimal appends units × 10^-decimals with eight decimals, as the venue
// prints every price and volume. units is not negative, decimals is 0 to 8.
func appendDecimal(dst []byte, units int64, decimals int) []byte {
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

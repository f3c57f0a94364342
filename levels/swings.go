package levels

// swingSpan is the number of candles on either side over which a swing is the
// extreme. 2,000 hourly candles of Binance have about 80 swing highs and 80 swing
// lows.
const swingSpan = 8

// swing is a confirmed extreme. It is known only at the close of candle
// index+swingSpan, so the last swingSpan candles of a series contain none.
type swing struct {
	index      int32 // of its candle
	low        bool  // a swing low, not a swing high
	price      float64
	prominence float64 // see prominences; price units
}

// appendExtremes appends the indices at which sign·p is the greatest value of
// span candles on either side, the earliest of equals. It depends only on
// values within span, so a longer series never changes the result.
func appendExtremes(dst []int32, p []float64, sign float64, span int) []int32 {
next:
	for i := span; i < len(p)-span; {
		v := sign * p[i]
		for j := i + 1; j <= i+span; j++ {
			if sign*p[j] > v {
				i = j // all in between are lower than p[j] and within its span
				continue next
			}
		}
		i += span + 1 // all in between follow an equal or greater value
		for _, q := range p[i-2*span-1 : i-span-1] {
			if sign*q >= v {
				continue next
			}
		}
		dst = append(dst, int32(i-span-1))
	}
	return dst
}

// swingFinder finds the swings of a series and their prominence; the slices are
// scratch memory.
type swingFinder struct {
	swings       []swing
	at           []int32
	peak, valley []float64
	prominence   prominences
}

// find returns the swing highs, then the swing lows, each in order of time.
// The result is valid until the next find.
func (f *swingFinder) find(c *Candles, span int) []swing {
	f.swings = f.swings[:0]
	f.add(c.High, c.Low, 1, span)
	f.add(c.Low, c.High, -1, span)
	return f.swings
}

// add adds the swings of one kind: extremes of sign·tip. The valley between two
// of them is the least sign·foot of the candles in between; their own feet do
// not count, because the order inside a candle is unknown.
func (f *swingFinder) add(tip, foot []float64, sign float64, span int) {
	f.at = appendExtremes(f.at[:0], tip, sign, span)
	if len(f.at) == 0 {
		return
	}
	f.peak, f.valley = f.peak[:0], f.valley[:0]
	start := 0
	for _, i := range f.at {
		f.peak = append(f.peak, sign*tip[i])
		f.valley = append(f.valley, lowest(foot[start:i], sign))
		start = int(i) + 1
	}
	f.valley = append(f.valley, lowest(foot[start:], sign))
	for k, height := range f.prominence.of(f.peak, f.valley) {
		i := f.at[k]
		f.swings = append(f.swings, swing{index: i, low: sign < 0, price: tip[i], prominence: height})
	}
}

// lowest returns the least sign·v; v is not empty.
func lowest(v []float64, sign float64) float64 {
	least := sign * v[0]
	for _, x := range v[1:] {
		x *= sign
		if x < least {
			least = x
		}
	}
	return least
}

// prominences measures topographic prominence: the descent from a peak to the lowest
// point before a higher peak or the end of the series, on the side where that is
// less. Of equal peaks the earlier counts as the higher.
type prominences struct {
	height []float64
	stack  []summit
}

// summit is a peak with no higher one after it so far, and the lowest valley
// between it and the summit before it.
type summit struct{ peak, valley float64 }

// of returns one prominence for each peak; valley[k] lies before peak k, the
// last valley after the last peak. The result is valid until the next call.
func (p *prominences) of(peak, valley []float64) []float64 {
	p.height, p.stack = p.height[:0], p.stack[:0]
	for k, v := range peak {
		least := valley[k]
		for n := len(p.stack) - 1; n >= 0 && p.stack[n].peak < v; n-- {
			least = min(least, p.stack[n].valley)
			p.stack = p.stack[:n]
		}
		p.stack = append(p.stack, summit{v, least})
		p.height = append(p.height, v-least)
	}
	p.stack = p.stack[:0]
	for k := len(peak) - 1; k >= 0; k-- {
		v, least := peak[k], valley[k+1]
		for n := len(p.stack) - 1; n >= 0 && p.stack[n].peak <= v; n-- {
			least = min(least, p.stack[n].valley)
			p.stack = p.stack[:n]
		}
		p.stack = append(p.stack, summit{v, least})
		p.height[k] = min(p.height[k], v-least)
	}
	return p.height
}

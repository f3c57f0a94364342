package service

import (
	"math"

	"tidemark/levels"
)

// Round returns the multiple of the tick nearest to p, as the float64 nearest to that
// decimal, so that it prints as the venue writes it.
func (t Tick) Round(p float64) float64 {
	if t.Units <= 0 {
		return p
	}
	scale := math.Pow10(t.Decimals)
	units := math.Round(p*scale/float64(t.Units)) * float64(t.Units)
	if units == 0 {
		units = float64(t.Units) // a price is never zero
	}
	return units / scale
}

// oddsDecimals is the number of decimals of odds: far more than their precision, and
// few enough to be stored exactly.
const oddsDecimals = 4

func roundOdds(p float32) float32 {
	scale := math.Pow10(oddsDecimals)
	return float32(math.Round(float64(p)*scale) / scale)
}

// roundEdge returns an edge in hundredths of a point, rounded down, so that none passes a
// limit that it does not reach.
func roundEdge(points float32) float32 {
	return float32(math.Floor(100*float64(points)) / 100)
}

// appendRounded appends ls to dst, with prices rounded to the tick, odds to oddsDecimals
// and edges to hundredths. A resistance that rounds to the last price becomes the next
// tick: a level exactly at the last price is a support. If two levels round to the same
// price, it keeps only the one with the larger edge, the nearer of equals.
func (t Tick) appendRounded(dst, ls []levels.Level, last float64) []levels.Level {
	begin := len(dst)
	last = t.Round(last)
	for _, l := range ls {
		l.Price, l.Low, l.High = t.Round(l.Price), t.Round(l.Low), t.Round(l.High)
		if l.Role == levels.Resistance && l.Price <= last && t.Units > 0 {
			l.Price = t.Round(last + float64(t.Units)/math.Pow10(t.Decimals))
			l.High = max(l.High, l.Price)
		}
		if n := len(dst); n > begin && dst[n-1].Price == l.Price {
			if l.Edge <= dst[n-1].Edge {
				continue
			}
			dst = dst[:n-1]
		}
		l.Edge, l.DrawnEdge = roundEdge(l.Edge), roundEdge(l.DrawnEdge)
		l.TouchProbability, l.HoldProbability, l.BaselineHold = roundOdds(l.TouchProbability), roundOdds(l.HoldProbability), roundOdds(l.BaselineHold)
		l.HoldInterval = [2]float32{roundOdds(l.HoldInterval[0]), roundOdds(l.HoldInterval[1])}
		dst = append(dst, l)
	}
	return dst
}

// significant returns the price step at a price for an exchange that rounds prices to a
// number of significant digits: 0.01 at 123.45 with five. Whole numbers are always valid.
// finest, if it is not zero, is the smallest step at any price.
func significant(price float64, digits int, finest Tick) Tick {
	decimals := max(0, digits-1-int(math.Floor(math.Log10(price))))
	if math.Pow10(finest.Decimals-decimals) < float64(finest.Units) {
		return finest
	}
	return Tick{Units: 1, Decimals: decimals}
}

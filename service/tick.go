package service

import (
	"math"

	"tidemark/levels"
)

// Round returns the multiple of the tick nearest to p, as the float64 nearest
// to that decimal, so that it prints as the venue would write it.
func (t Tick) Round(p float64) float64 {
	if t.Units <= 0 {
		return p
	}
	scale := math.Pow10(t.Decimals)
	units := math.Round(p*scale/float64(t.Units)) * float64(t.Units)
	if units == 0 {
		units = float64(t.Units) // no price is zero, however fine the level
	}
	return units / scale
}

// oddsDecimals is how many decimals of odds are kept: far more than they are known
// to, and few enough to be stored exactly.
const oddsDecimals = 4

func roundOdds(p float64) float64 {
	scale := math.Pow10(oddsDecimals)
	return math.Round(p*scale) / scale
}

// appendRounded appends ls to dst with their prices on the tick and their odds on
// four decimals. Where the
// tick is coarser than the levels are apart, the nearer of two that fall
// together stands for both.
func (t Tick) appendRounded(dst, ls []levels.Level) []levels.Level {
	begin := len(dst)
	for _, l := range ls {
		l.Price, l.Low, l.High = t.Round(l.Price), t.Round(l.Low), t.Round(l.High)
		if n := len(dst); n > begin && dst[n-1].Price == l.Price {
			continue
		}
		l.TouchProbability, l.HoldProbability, l.BaselineHold = roundOdds(l.TouchProbability), roundOdds(l.HoldProbability), roundOdds(l.BaselineHold)
		l.HoldInterval = [2]float64{roundOdds(l.HoldInterval[0]), roundOdds(l.HoldInterval[1])}
		dst = append(dst, l)
	}
	return dst
}

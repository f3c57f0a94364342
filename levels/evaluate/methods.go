package evaluate

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"time"

	"tidemark/levels"
)

// Methods returns the levels of this module, named tidemark, and the reference
// methods: small, faithful forms of common methods. seed is that of the uniform
// random one. table ranks our levels and has their odds; nil is the built-in one.
func Methods(seed uint64, table *levels.Table) []Method {
	return []Method{
		{"tidemark", "this program: zones where candles turned or closed, ranked by edge", func() Find { return newOurs(table) }},
		{"swings", "clusters of swing highs and lows (five candles either side), by size; go-sr, and the fractals of Williams, Trading Chaos, 1995", newSwings},
		{volumeMethod, "peaks of volume by price in 200 rows, by volume; Steidlmayer's profile, rows as TradingView's", newVolume},
		{"kde", "modes of a Gaussian density of swing prices, half an ATR wide; Silverman, Density Estimation, 1986", newDensity},
		{"extremes", "high and low of the last whole day, week and month (UTC), longest period first", newExtremes},
		{"pivots", "floor pivots P, R1 to R3, S1 to S3 of the last whole day (UTC), nearest to P first", newPivots},
		{"round", "round numbers, 10^k × 1, ½, ¼, rounder first; Osler, Journal of Finance 58, 2003", newRound},
		{"random", "three prices a side, uniform over the judged distances: a lift here is an error of the test", func() Find { return uniform(seed) }},
	}
}

// volumeMethod is the name of the simplest method with a lift, which every other is
// compared with.
const volumeMethod = "volume"

// unsure returns a price without an ID, a zone or odds.
func unsure(price, score float64) Price {
	return Price{Price: price, Score: score, Touch: math.NaN(), Hold: math.NaN()}
}

func newOurs(table *levels.Table) Find {
	f := &levels.Finder{Table: table}
	return func(dst []Price, c *levels.Candles) []Price {
		a, err := f.Find(c)
		if err != nil {
			return dst // too few candles: nothing is proposed
		}
		for _, side := range [...][]levels.Level{a.Supports, a.Resistances} {
			for i := range side {
				l := &side[i]
				p := Price{ID: l.ID, Price: l.Price, Low: l.Low, High: l.High, Score: float64(l.Edge), Touch: float64(l.TouchProbability), Hold: float64(l.HoldProbability)}
				if l.NoOdds != levels.OddsKnown {
					p.Touch, p.Hold = math.NaN(), math.NaN()
				}
				dst = append(dst, p)
			}
		}
		return dst
	}
}

// fractalSpan is the number of candles on either side over which a swing of a
// reference method is the extreme; the last ones are not confirmed yet.
const fractalSpan = 5

// appendSwings appends the prices of all swing highs and lows, of equals in
// reach of each other the first.
func appendSwings(dst []float64, c *levels.Candles) []float64 {
	const k = fractalSpan
	for i := k; i+k < c.Len(); i++ {
		high, low := true, true
		for j := 1; j <= k && (high || low); j++ {
			high = high && c.High[i-j] < c.High[i] && c.High[i+j] <= c.High[i]
			low = low && c.Low[i-j] > c.Low[i] && c.Low[i+j] >= c.Low[i]
		}
		if high {
			dst = append(dst, c.High[i])
		}
		if low {
			dst = append(dst, c.Low[i])
		}
	}
	return dst
}

// newSwings joins swing prices, ascending, while the next is within half an ATR
// of the cluster's median so far, which is the level.
func newSwings() Find {
	var swings []float64
	return func(dst []Price, c *levels.Candles) []Price {
		swings = appendSwings(swings[:0], c)
		slices.Sort(swings)
		reach := levels.MomentOf(c).ATR / 2
		for from := 0; from < len(swings); {
			to := from + 1
			for to < len(swings) && swings[to]-swings[(from+to)/2] <= reach {
				to++
			}
			dst = append(dst, unsure(swings[(from+to)/2], float64(to-from)))
			from = to
		}
		return dst
	}
}

// newVolume spreads the volume of each candle evenly over its range and takes
// the rows busier than both neighbours, after averaging three.
func newVolume() Find {
	const rows = 200
	var part, step, smooth [rows + 2]float64 // an empty row at either end
	return func(dst []Price, c *levels.Candles) []Price {
		low, high := slices.Min(c.Low), slices.Max(c.High)
		if !(high > low) {
			return dst
		}
		clear(part[:])
		clear(step[:])
		height := (high - low) / rows
		for i, volume := range c.Volume {
			from, to := (c.Low[i]-low)/height, (c.High[i]-low)/height
			a, b := min(int(from), rows-1), min(int(to), rows-1)
			if a == b {
				part[a+1] += volume
				continue
			}
			each := volume / (to - from)
			part[a+1] += each * (float64(a+1) - from)
			part[b+1] += each * (to - float64(b))
			step[a+2] += each
			step[b+1] -= each
		}
		sum := 0.0
		for i := range part {
			sum += step[i]
			part[i] += max(sum, 0)
		}
		for i := 1; i <= rows; i++ {
			smooth[i] = (part[i-1] + part[i] + part[i+1]) / 3
		}
		for i := 1; i <= rows; i++ {
			if smooth[i] > smooth[i-1] && smooth[i] >= smooth[i+1] {
				dst = append(dst, unsure(low+(float64(i)-0.5)*height, smooth[i]))
			}
		}
		return dst
	}
}

// newDensity puts a Gaussian of half an ATR on every swing price and takes the
// modes, on a grid of a tenth of an ATR within reach of the last price.
func newDensity() Find {
	const each = 10 // grid points in an ATR
	const half = int(farthest)*each + 2*each
	var swings []float64
	var density [2*half + 1]float64
	var bell [2 * each]float64 // out to four widths
	for i := range bell {
		x := float64(i) / each / 0.5
		bell[i] = math.Exp(-x * x / 2)
	}
	return func(dst []Price, c *levels.Candles) []Price {
		m := levels.MomentOf(c)
		swings = appendSwings(swings[:0], c)
		clear(density[:])
		for _, s := range swings {
			at := math.Round((s - m.LastPrice) / m.ATR * each)
			if !(math.Abs(at) < float64(half+len(bell))) {
				continue
			}
			for i := -len(bell) + 1; i < len(bell); i++ {
				if k := int(at) + i + half; k >= 0 && k < len(density) {
					density[k] += bell[max(i, -i)]
				}
			}
		}
		for i := 1; i+1 < len(density); i++ {
			if density[i] > density[i-1] && density[i] >= density[i+1] {
				dst = append(dst, unsure(m.LastPrice+float64(i-half)*m.ATR/each, density[i]))
			}
		}
		return dst
	}
}

// newExtremes returns the extremes of whole periods that the candles cover.
func newExtremes() Find {
	return func(dst []Price, c *levels.Candles) []Price {
		first := len(dst)
		month, monday, today := starts(c.AsOf())
		for i, p := range [...][2]int64{{startOfMonth(month - day), month}, {monday - 7*day, monday}, {today - day, today}} {
			high, low, _, ok := period(c, p[0], p[1])
			if !ok {
				continue
			}
			for _, price := range [...]float64{high, low} {
				known := func(p Price) bool { return p.Price == price }
				if !slices.ContainsFunc(dst[first:], known) { // the day's may be the month's as well
					dst = append(dst, unsure(price, float64(3-i)))
				}
			}
		}
		return dst
	}
}

// newPivots computes the floor pivots: P = (H+L+C)/3, R1 = 2P−L, S1 = 2P−H,
// R2 = P+H−L, S2 = P−(H−L), R3 = H+2(P−L), S3 = L−2(H−P).
func newPivots() Find {
	return func(dst []Price, c *levels.Candles) []Price {
		_, _, today := starts(c.AsOf())
		high, low, last, ok := period(c, today-day, today)
		if !ok {
			return dst
		}
		p := (high + low + last) / 3
		return append(dst, unsure(p, 4),
			unsure(2*p-low, 3), unsure(2*p-high, 3),
			unsure(p+high-low, 2), unsure(p-(high-low), 2),
			unsure(high+2*(p-low), 1), unsure(low-2*(high-p), 1))
	}
}

const day = 86_400_000 // ms

// starts returns the start of the month, the week and the day of t, UTC, all in
// Unix ms.
func starts(t int64) (month, monday, today int64) {
	today = t - t%day
	return startOfMonth(t), today - (t/day+3)%7*day, today
}

func startOfMonth(t int64) int64 {
	at := time.UnixMilli(t).UTC()
	return time.Date(at.Year(), at.Month(), 1, 0, 0, 0, 0, time.UTC).UnixMilli()
}

// period returns the extremes and the last close of the candles that open from from
// up to, not including, to. ok is false unless the candles reach back to from and at
// least two lie within.
func period(c *levels.Candles, from, to int64) (high, low, last float64, ok bool) {
	i, _ := slices.BinarySearch(c.OpenTime, from)
	j, _ := slices.BinarySearch(c.OpenTime, to)
	if c.OpenTime[0] > from || j-i < 2 {
		return 0, 0, 0, false
	}
	return slices.Max(c.High[i:j]), slices.Min(c.Low[i:j]), c.Close[j-1], true
}

// newRound returns round numbers within reach: powers of ten, their halves and
// quarters, if they are at least one ATR apart from the next of their kind.
func newRound() Find {
	return func(dst []Price, c *levels.Candles) []Price {
		m := levels.MomentOf(c)
		if !(m.ATR > 0) {
			return dst
		}
		first := len(dst)
		low, high := m.LastPrice-farthest*m.ATR, m.LastPrice+farthest*m.ATR
		score := 0.0
		for power := math.Ceil(math.Log10(high)); ; power-- {
			for _, share := range [...]float64{1, 0.5, 0.25} {
				step := share * math.Pow(10, power)
				score--
				if step < m.ATR {
					return dst
				}
				for n := math.Max(1, math.Ceil(low/step)); n*step <= high; n++ {
					// a multiple of a rounder step may differ by a rounding
					known := func(p Price) bool { return math.Abs(p.Price-n*step) < step/1000 }
					if !slices.ContainsFunc(dst[first:], known) {
						dst = append(dst, unsure(n*step, score))
					}
				}
			}
		}
	}
}

// uniform draws three prices a side, seeded by seed and the last candle.
func uniform(seed uint64) Find {
	return func(dst []Price, c *levels.Candles) []Price {
		m := levels.MomentOf(c)
		random := rand.New(rand.NewPCG(seed^math.Float64bits(m.LastPrice)^bits.RotateLeft64(math.Float64bits(m.ATR), 32), uint64(m.AsOf)))
		for range perSide {
			for _, side := range [...]float64{-1, 1} {
				d := nearest + (farthest-nearest)*random.Float64()
				dst = append(dst, unsure(m.LastPrice+side*d*m.ATR, random.Float64()))
			}
		}
		return dst
	}
}

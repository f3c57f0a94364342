package levels

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"
)

// PriceMark is a price that every trader sees: last week's high, a triple top, a round
// number. Marks are a layer of their own, beside levels: they are not ranked and have no
// odds. What became of each kind is measured, see MarkRecords.
type PriceMark struct {
	Kind  PriceMarkKind
	Price float64
	// Time is when the mark was made, in Unix ms: the open time of the candle with the
	// high, low or last top, or the start or the end of the period; 0 for a round number.
	Time int64
	// Count is the number of tops or bottoms; 0 for other kinds.
	Count int
}

// PriceMarkKind is the kind of a PriceMark.
type PriceMarkKind uint8

// The kinds. Days, weeks from Monday on, and months are those of UTC.
const (
	DayHigh    PriceMarkKind = iota // of the previous day
	DayLow                          // of the previous day
	DayClose                        // of the previous day
	DayOpen                         // of the present day
	WeekHigh                        // of the previous week
	WeekLow                         // of the previous week
	WeekClose                       // of the previous week
	WeekOpen                        // of the present week
	MonthHigh                       // of the previous month
	MonthLow                        // of the previous month
	MonthOpen                       // of the present month
	EqualHighs                      // two or more swing highs at one price, not exceeded since
	EqualLows                       // two or more swing lows at one price, not undercut since
	RoundNumber

	markKinds
)

var markNames = [markKinds]string{"day_high", "day_low", "day_close", "day_open", "week_high", "week_low", "week_close", "week_open",
	"month_high", "month_low", "month_open", "equal_highs", "equal_lows", "round"}

func (k PriceMarkKind) String() string { return markNames[k] }

var markLabels = [markKinds]string{"Previous day's high", "Previous day's low", "Previous day's close", "Day's open",
	"Previous week's high", "Previous week's low", "Previous week's close", "Week's open",
	"Previous month's high", "Previous month's low", "Month's open", "", "", "Round number"}

// Label returns the mark in plain English.
func (m *PriceMark) Label() string {
	what := "top"
	switch m.Kind {
	case EqualHighs:
	case EqualLows:
		what = "bottom"
	default:
		return markLabels[m.Kind]
	}
	switch m.Count {
	case 2:
		return "Double " + what
	case 3:
		return "Triple " + what
	}
	return "Row of " + strconv.Itoa(m.Count) + " " + what + "s"
}

const (
	// equalReach is how far from the highest of several tops the others may be, and how
	// far price may exceed it, in ATR.
	equalReach = 0.25
	// equalProminence is the least prominence of a top, in ATR: what two charts agree on.
	equalProminence = 3
	// equalApart is the least number of candles between two tops.
	equalApart = 2 * swingSpan
	// roundStep is the least distance between round numbers, in ATR.
	roundStep = 4
)

// Marks returns the marks of c within rangeATR of its last close, by price, and of equal
// prices by kind. They are those of the last close and, unlike levels, change with each
// candle. There are none without an ATR.
func Marks(c *Candles) []PriceMark {
	m := MomentOf(c)
	if !(m.ATR > 0) {
		return nil
	}
	var all []PriceMark
	add := func(kind PriceMarkKind, price float64, at int64, count int) {
		if math.Abs(price-m.LastPrice) <= rangeATR*m.ATR {
			all = append(all, PriceMark{kind, price, at, count})
		}
	}
	markPeriods(c, add)
	markEquals(c, m.ATR, add)
	markRound(m, add)
	slices.SortFunc(all, func(a, b PriceMark) int { return cmp.Or(cmp.Compare(a.Price, b.Price), cmp.Compare(a.Kind, b.Kind)) })
	return all
}

// markPeriods adds the extremes, closes and opens of days, weeks and months. A period
// counts only if the candles reach back to its start, and if they are shorter than it.
func markPeriods(c *Candles, add func(PriceMarkKind, float64, int64, int)) {
	const day, week = 24 * time.Hour, 7 * 24 * time.Hour
	asOf := time.UnixMilli(c.AsOf()).UTC()
	today := asOf.Truncate(day)
	monday := today.AddDate(0, 0, -int(today.Weekday()+6)%7)
	month := time.Date(asOf.Year(), asOf.Month(), 1, 0, 0, 0, 0, time.UTC)
	length := time.Duration(c.length) * time.Millisecond
	for _, p := range [...]struct {
		before, start, end     time.Time
		high, low, close, open PriceMarkKind
	}{
		{today.Add(-day), today, today.Add(day), DayHigh, DayLow, DayClose, DayOpen},
		{monday.Add(-week), monday, monday.Add(week), WeekHigh, WeekLow, WeekClose, WeekOpen},
		{month.AddDate(0, -1, 0), month, month.AddDate(0, 1, 0), MonthHigh, MonthLow, markKinds, MonthOpen},
	} {
		// The candles must open where the period does: those of three days do not in a week,
		// and those of a week not in a month.
		if 2*length > p.end.Sub(p.start) || day%length != 0 {
			continue
		}
		i, _ := slices.BinarySearch(c.OpenTime, p.before.UnixMilli())
		j, _ := slices.BinarySearch(c.OpenTime, p.start.UnixMilli())
		if j < c.Len() && j > 0 && c.OpenTime[j] == p.start.UnixMilli() { // the candles begin before it
			add(p.open, c.Open[j], c.OpenTime[j], 0)
		}
		if j-i < 2 || c.OpenTime[0] > p.before.UnixMilli() {
			continue
		}
		high, low := i, i
		for k := i; k < j; k++ {
			if c.High[k] > c.High[high] {
				high = k
			}
			if c.Low[k] < c.Low[low] {
				low = k
			}
		}
		add(p.high, c.High[high], c.OpenTime[high], 0)
		add(p.low, c.Low[low], c.OpenTime[low], 0)
		if p.close != markKinds {
			add(p.close, c.Close[j-1], c.OpenTime[j-1]+c.length, 0)
		}
	}
}

// markEquals adds double and triple tops and bottoms: prominent swings within equalReach
// of the farthest of them, beyond which price has not gone since the first.
func markEquals(c *Candles, atr float64, add func(PriceMarkKind, float64, int64, int)) {
	swings := new(swingFinder).find(c, swingSpan)
	for _, side := range [...]struct {
		low  bool
		sign float64
		tip  []float64
		kind PriceMarkKind
	}{{false, 1, c.High, EqualHighs}, {true, -1, c.Low, EqualLows}} {
		// from the newest, and with the farthest price since
		beyond, last := math.Inf(-1), c.Len()
		var tops []swing // not exceeded since
		for k := len(swings) - 1; k >= 0; k-- {
			s := swings[k]
			if s.low != side.low || s.prominence < equalProminence*atr {
				continue
			}
			for ; last > int(s.index)+1; last-- {
				beyond = max(beyond, side.sign*side.tip[last-1])
			}
			if side.sign*s.price+equalReach*atr >= beyond {
				tops = append(tops, s)
			}
		}
		// each group has the farthest price that is left, and the tops within reach of it
		slices.SortStableFunc(tops, func(a, b swing) int { return cmp.Compare(side.sign*b.price, side.sign*a.price) })
		for len(tops) > 0 {
			first, n := tops[0], 1
			for n < len(tops) && side.sign*(first.price-tops[n].price) <= equalReach*atr {
				n++
			}
			group := slices.Clone(tops[:n])
			tops = tops[n:]
			slices.SortFunc(group, func(a, b swing) int { return int(a.index - b.index) })
			count, at := 0, int32(-equalApart)
			for _, s := range group {
				if s.index-at >= equalApart {
					count, at = count+1, s.index
				}
			}
			if count >= 2 {
				add(side.kind, first.price, c.OpenTime[at], count)
			}
		}
	}
}

// markRound adds the roundest numbers: the multiples of the least of 10^k and 5·10^k
// that is at least roundStep apart.
func markRound(m Moment, add func(PriceMarkKind, float64, int64, int)) {
	least := roundStep * m.ATR
	exponent := math.Floor(math.Log10(least))
	unit := math.Pow(10, exponent)
	step := unit
	for _, times := range [...]float64{1, 5, 10} {
		if step = times * unit; step >= least {
			break
		}
	}
	if !(step > 0) || math.IsInf(step, 0) || m.LastPrice/step > 1<<52 { // or n+1 would be n
		return
	}
	for n := math.Max(1, math.Ceil((m.LastPrice-rangeATR*m.ATR)/step)); n*step <= m.LastPrice+rangeATR*m.ATR; n++ {
		add(RoundNumber, decimal(n*step, step), 0, 0)
	}
}

// decimal returns f, a multiple of step up to rounding, as the float64 nearest to its
// decimal form.
func decimal(f, step float64) float64 {
	digits := max(0, -int(math.Floor(math.Log10(step)+1e-9)))
	if digits > 300 {
		return f
	}
	g, err := strconv.ParseFloat(strconv.FormatFloat(f, 'f', digits, 64), 64)
	if err != nil {
		return f
	}
	return g
}

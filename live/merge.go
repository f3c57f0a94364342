package live

import (
	"math"
	"slices"
	"time"

	"tidemark/levels"
)

// merge adds up the closed candles of a pair to those of a longer interval, so that the
// exchange need not push or be asked for them. Candles of the exchange and merged ones must
// be equal to the last digit, because stored candles are compared with fetched ones. So the
// volumes are added as decimals, and the exchange is asked for the longer candle until the
// merged one has been equal proven times.
type merge struct {
	sum      levels.Candle // of the parts so far; without them its OpenTime is 0
	next     int64         // when the next part opens, Unix ms
	units    int64         // their volume, in units of 10^-decimals
	decimals int
	whole    levels.Candle // the longer candle that was merged last
	equal    int           // how many of these the exchange had, too
	differs  bool          // it had another
	sums     bool          // merged candles are known to be those of the exchange
	wanted   int64         // the close of the longer candle to ask the exchange for, Unix ms
}

// proven is how many merged candles of a series must be equal to those of the exchange
// before the exchange is not asked any more.
const proven = 2

// trusted reports whether the exchange need not be asked for what was merged.
func (m *merge) trusted() bool { return (m.sums || m.equal >= proven) && !m.differs }

// add adds a part, of a length in ms, and reports whether it completes a candle of the longer
// interval, which is in whole then. Without all earlier parts it does not.
func (m *merge) add(part levels.Candle, length int64, to levels.Interval) bool {
	open := to.Floor(part.OpenTime)
	switch {
	case part.OpenTime == open:
		m.sum, m.units, m.decimals = part, 0, 0
	case m.sum.OpenTime == open && part.OpenTime < m.next:
		return false // a repeat
	case m.sum.OpenTime == open && part.OpenTime == m.next && m.units == 0 && part.Volume > 0 && part.Open != m.sum.Close:
		// The first trade. The parts before have the price of the trade before them. At Binance
		// the longer candle opens with the first trade; of others it is not known.
		if !m.sums {
			m.sum.OpenTime = 0
			return false
		}
		m.sum, m.units, m.decimals = part, 0, 0
		m.sum.OpenTime = open
	case m.sum.OpenTime == open && part.OpenTime == m.next:
		m.sum.High, m.sum.Low, m.sum.Close = max(m.sum.High, part.High), min(m.sum.Low, part.Low), part.Close
	default:
		m.sum.OpenTime = 0
		return false
	}
	m.next = part.OpenTime + length
	if !m.addVolume(part.Volume) {
		m.sum.OpenTime = 0
		return false
	}
	if m.next < open+to.Milliseconds() {
		return false
	}
	m.sum.Volume = float64(m.units) / powers[m.decimals]
	m.whole, m.sum.OpenTime = m.sum, 0
	return true
}

// powers of ten, up to the most decimals of a volume.
var powers = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12}

// mostUnits is the most that a sum of volumes may have for a float64 to hold it, and the
// product of a volume and a power of ten, to the last digit.
const mostUnits = 1e15

// addVolume adds a volume, which is the float64 nearest to a decimal. It reports false if the
// sum may not be right to the last digit.
func (m *merge) addVolume(v float64) bool {
	for d := m.decimals; d < len(powers); d++ {
		units := math.Round(v * powers[d])
		if units >= mostUnits {
			return false
		}
		if units/powers[d] != v {
			continue
		}
		sum := float64(m.units)*powers[d-m.decimals] + units
		m.units, m.decimals = int64(sum), d
		return sum < mostUnits
	}
	return false
}

// partOf adds a closed candle of s to those of the longer series l. received is zero if it was
// fetched. The caller holds r.mu.
func (r *Recent) partOf(l, s *recent, c levels.Candle, received time.Time) {
	m, step := l.merge, s.key.Interval.Milliseconds()
	if m.add(c, step, l.key.Interval) && m.trusted() && l.n > 0 && l.closed() == m.whole.OpenTime {
		r.closed(l, m.whole, received)
		return
	}
	r.passed(l, s, c.OpenTime+step)
}

// passed makes Poll ask for the last candle of l that has closed by a time, Unix ms, if it is
// not known. If candles of s are missing, it may be merged once those are fetched.
func (r *Recent) passed(l, s *recent, by int64) {
	if end := l.key.Interval.Floor(by); l.closed() < end && !s.hole {
		l.merge.wanted = max(l.merge.wanted, end)
	}
}

// partsOf adds the fetched candles of s to those of its longer series, from the first candle
// of these that is not known on.
func (r *Recent) partsOf(s *recent, c *levels.Candles) {
	last := c.At(c.Len() - 1)
	for _, l := range s.longer {
		from := l.key.Interval.Floor(last.OpenTime)
		if l.n > 0 {
			from = min(from, l.closed())
		}
		first, _ := slices.BinarySearch(c.OpenTime, from)
		if c.OpenTime[0] <= from {
			l.merge.sum.OpenTime = 0 // a part may have been corrected
		}
		for i := first; i < c.Len(); i++ {
			r.partOf(l, s, c.At(i), time.Time{})
		}
		if newest := *s.newest(); newest.OpenTime > last.OpenTime { // pushed after the request
			r.partOf(l, s, newest, time.Time{})
		}
		r.passed(l, s, s.asked) // there may be no candle at its end
	}
}

// changed corrects the longer candles that contain known ones of s which were fetched and
// are different now: the exchange has corrected them, or counts late trades.
func (r *Recent) changed(s *recent, c *levels.Candles) {
	for _, known := range s.last[2-s.n:] {
		if i, ok := slices.BinarySearch(c.OpenTime, known.OpenTime); ok && c.At(i) != known {
			r.correctLonger(s, known.OpenTime)
		}
	}
}

// correctLonger corrects the candles of longer series that contain a corrected one of s.
func (r *Recent) correctLonger(s *recent, from int64) {
	for _, l := range s.longer {
		open := l.key.Interval.Floor(from)
		l.merge.sum.OpenTime = 0
		if l.merge.whole.OpenTime == open { // the exchange has another by now
			l.merge.whole.OpenTime = 0
		}
		if open < l.closed() {
			r.correct(l, open)
		}
	}
}

// prove compares the candle that was merged last with those that were fetched of its series.
func (m *merge) prove(c *levels.Candles) {
	i, ok := slices.BinarySearch(c.OpenTime, m.whole.OpenTime)
	if !ok { // not fetched yet, or compared before
		return
	}
	switch {
	case c.At(i) != m.whole:
		m.differs = true
	case m.whole.Volume > 0: // without trades all are equal
		m.equal++
	}
	m.whole.OpenTime = 0
}

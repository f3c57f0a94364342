package service

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"sort"
	"time"

	"tidemark/levels"
)

// Prices are the last prices of the pairs of an exchange, all read with one request. They
// do not change; newer ones replace them. Each pair takes 12 bytes and its name.
type Prices struct {
	At    time.Time     // when they were read, by the clock of this machine
	Every time.Duration // from one reading to the next
	names []byte        // in the order of the names, one after the other
	ends  []uint32      // of each name
	last  []float64     // in the quote asset
}

// Until returns the time from which the prices are too old to be current: the next
// three readings have failed.
func (p *Prices) Until() time.Time { return p.At.Add(3 * p.Every) }

// Pairs returns the number of pairs with a price.
func (p *Prices) Pairs() int { return len(p.last) }

func (p *Prices) name(i int) []byte {
	from := uint32(0)
	if i > 0 {
		from = p.ends[i-1]
	}
	return p.names[from:p.ends[i]]
}

// Last returns the last price of a pair.
func (p *Prices) Last(symbol string) (price float64, ok bool) {
	i := sort.Search(len(p.ends), func(i int) bool { return string(p.name(i)) >= symbol })
	if i == len(p.ends) || string(p.name(i)) != symbol {
		return 0, false
	}
	return p.last[i], true
}

// PriceList collects prices. Its zero value is empty.
type PriceList struct{ all Prices }

// NewPriceList returns an empty list with room for as many pairs as p has, which may be
// nil, and a few more.
func NewPriceList(p *Prices) *PriceList {
	l := new(PriceList)
	if p != nil {
		l.all.names = make([]byte, 0, len(p.names)+len(p.names)/16)
		l.all.ends, l.all.last = make([]uint32, 0, len(p.ends)+len(p.ends)/16), make([]float64, 0, len(p.ends)+len(p.ends)/16)
	}
	return l
}

// Add adds the last price of a pair. A pair that was never traded has none: a price that
// is not finite and positive is ignored.
func (l *PriceList) Add(symbol []byte, price float64) {
	if price > 0 && !math.IsInf(price, 1) {
		l.all.names = append(l.all.names, symbol...)
		l.all.ends = append(l.all.ends, uint32(len(l.all.names)))
		l.all.last = append(l.all.last, price)
	}
}

// Len returns the number of prices added.
func (l *PriceList) Len() int { return len(l.all.last) }

// Cut drops the prices after the first n.
func (l *PriceList) Cut(n int) {
	l.all.ends, l.all.last = l.all.ends[:n], l.all.last[:n]
	l.all.names = l.all.names[:0]
	if n > 0 {
		l.all.names = l.all.names[:l.all.ends[n-1]]
	}
}

// Prices returns the prices added, as of a time. Of a pair that was added more than once
// the first one counts.
func (l *PriceList) Prices(at time.Time, every time.Duration) *Prices {
	order := make([]int32, l.Len())
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(bytes.Compare(l.all.name(int(a)), l.all.name(int(b))), cmp.Compare(a, b))
	})
	p := &Prices{
		At: at, Every: every,
		names: make([]byte, 0, len(l.all.names)), ends: make([]uint32, 0, l.Len()), last: make([]float64, 0, l.Len()),
	}
	for _, i := range order {
		name := l.all.name(int(i))
		if n := len(p.ends); n > 0 && bytes.Equal(p.name(n-1), name) {
			continue
		}
		p.names = append(p.names, name...)
		p.ends = append(p.ends, uint32(len(p.names)))
		p.last = append(p.last, l.all.last[i])
	}
	return p
}

// Reprice returns s as of a price that is newer than its last close: with the levels that
// price has passed on their new sides. Levels are moved only between the sides, so each
// side is still in the order of distance. The slices of s do not change.
func (s *Snapshot) Reprice(price float64, at time.Time) *Snapshot {
	c := *s
	c.Price, c.PriceAt = price, at
	switch {
	case price < s.LastPrice:
		n := 0
		for n < len(s.Supports) && s.Supports[n].Price > price {
			n++
		}
		c.Supports, c.Resistances, c.passed[levels.Resistance] = s.Supports[n:], passed(s.Supports[:n], s.Resistances), n
	case price > s.LastPrice:
		n := 0
		for n < len(s.Resistances) && s.Resistances[n].Price <= price {
			n++
		}
		c.Resistances, c.Supports, c.passed[levels.Support] = s.Resistances[n:], passed(s.Resistances[:n], s.Supports), n
	}
	return &c
}

// passed returns the levels that price has passed, the last one first, and then those of
// their new side.
func passed(moved, side []levels.Level) []levels.Level {
	if len(moved) == 0 {
		return side
	}
	all := slices.Grow(slices.Clone(moved), len(side))
	slices.Reverse(all)
	return append(all, side...)
}

// Passed reports whether price has passed level i of a side since the last close: its side
// was the other one then.
func (s *Snapshot) Passed(role levels.Role, i int) bool { return i < s.passed[role] }

// Newest returns the time of the newest price in s.
func (s *Snapshot) Newest() time.Time {
	if s.PriceAt.After(s.AsOf) {
		return s.PriceAt
	}
	return s.AsOf
}

// Reference returns the price that distances are measured from: the live one, or else the
// last close.
func (s *Snapshot) Reference() float64 {
	if s.PriceAt.IsZero() {
		return s.LastPrice
	}
	return s.Price
}

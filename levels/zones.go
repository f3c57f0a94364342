package levels

import (
	"math"
	"slices"
)

const (
	// clusterReach is the maximum distance between two candidates of one level, as
	// a share of one ATR. A zone extends that far to either side of its price, but
	// at most halfway to its neighbour.
	clusterReach = 0.25
	// rangeATR is the maximum distance of a zone from the last price, in ATR.
	// Fewer than one in ten of the farther prices is reached within Horizon.
	rangeATR = 12
	// endsHalf is the age, in candles, at which the ends of a candle have half
	// their initial weight.
	endsHalf = 1000
	// swingHalf is the prominence, in ATR, of a swing with the weight 1/2. The
	// maximum is 1.
	swingHalf = 4
	// nodeWeight is the weight of the point of control; other high-volume nodes
	// have less weight, by their prominence. A series has about 7 nodes and 160
	// swings: with the weight of a swing the nodes would have no effect.
	nodeWeight = 3
	// valueAreaWeight is the weight of either edge of the value area.
	valueAreaWeight = 1
)

// candidate is a price that one method proposes.
type candidate struct {
	price  float64
	weight float64 // compared with other candidates
	swing  int32   // index into the swings, or -1 for other prices
	source Sources
}

// zone is a possible level: a band around a price and the candidates in it. Zones
// are ascending and do not overlap.
type zone struct {
	price, low, high float64
	sources          Sources
	from             int32   // its first candidate; the last one is the last at or below high
	highs, lows      int32   // the swing highs, swing lows it holds
	prominence       float64 // of its most prominent swing, price units

	// The candle that anchors the zone and gives its ID: the one of its most
	// prominent swing or, without swings, the one with the greatest volume of those
	// that close inside; -1 if there is none.
	anchor int32
	kind   anchorKind
	formed int32 // first candle that counts for the zone: its first swing, or 0

	// set by track
	touches     int32
	first, last int32 // candles that start the first and the last episode
	seen        int32 // the last candle that met the zone
	side        int8  // of the last close outside: -1 below, 1 above, 0 none yet
	status      Status
	broke       bool    // in the current episode
	met         int32   // candles that met the zone
	volume      float64 // of the anchor of a zone without swings

	// Set when it is chosen, see Fit.excess. drawn is that at the last drawing.
	excess, drawn float32
}

// anchorKind is the role of the anchor candle in a zone. The numbers are part of all
// stored IDs and must not change.
type anchorKind uint64

const (
	anchorHigh anchorKind = iota
	anchorLow
	anchorVolume
)

// id maps a candle and its anchorKind to 64 random-looking bits, one to one: two
// anchors never share an ID. The mixing is the finalizer of splitmix64 (Steele,
// Lea, Flood 2014).
func id(openTime int64, kind anchorKind) uint64 {
	z := uint64(openTime)<<2 | uint64(kind) // open times stay below 2^48
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// clusterer groups candidates into zones; the slices are scratch memory.
type clusterer struct {
	ends       []float64 // by bin: the weight of the candles' ends; shares the profile's memory
	others     []candidate
	candidates []candidate
	density    []float64
	weights    []float64 // prefix sums of weight and of weight·place
	moments    []float64
	zones      []zone
}

// collect sets the candidates to those within rangeATR of the last close, ascending:
// the bins with highs, lows and closes of candles, and the prices of swings and of
// the profile.
//
// Ends are where price turned or closed. They have most of the weight, and so
// determine the place of zones; swings and profile add sources.
func (z *clusterer) collect(c *Candles, g *grid, swings []swing, p *profile, atr float64) {
	z.propose(swings, p, atr)
	z.candidates = z.candidates[:0]
	if c.Len() == 0 {
		z.candidates = append(z.candidates, z.others...)
		return
	}
	last := c.Close[c.Len()-1]
	low, high := last-rangeATR*atr, last+rangeATR*atr
	e := g.coarser(clusterReach * atr / 3)
	p.inner = zeros(p.inner, e.bins) // reuses memory that the profile no longer needs
	z.ends = p.inner
	z.count(c, &e)
	next := 0
	for next < len(z.others) && z.others[next].price < low {
		next++
	}
	from := int(max(e.at(low)+0.5, 0))
	for i := from; i < len(z.ends); i++ {
		price := (e.origin + float64(i) + 0.5) * e.width
		if price > high {
			break
		}
		for ; next < len(z.others) && z.others[next].price < price; next++ {
			z.candidates = append(z.candidates, z.others[next])
		}
		if z.ends[i] > 0 {
			price = min(max(price, p.low), p.high)
			z.candidates = append(z.candidates, candidate{price, z.ends[i], -1, SourceEnds})
		}
	}
	for ; next < len(z.others) && z.others[next].price <= high; next++ {
		z.candidates = append(z.candidates, z.others[next])
	}
}

// count fills ends, which must be zero. Each high, low and close has the weight
// 1/(1+age/endsHalf), divided by distance between the two bins whose middles
// enclose it, so that the weight of a bin does not jump at its edges.
func (z *clusterer) count(c *Candles, g *grid) {
	ends, n := z.ends, c.Len()
	high, low, cls := c.High[:n], c.Low[:n], c.Close[:n]
	for i := range n {
		w := endsHalf / float64(endsHalf+n-1-i)
		for _, price := range [...]float64{high[i], low[i], cls[i]} {
			at := g.at(price) - 0.5
			k := int(at)
			upper := (at - float64(k)) * w
			ends[k] += w - upper
			ends[k+1] += upper
		}
	}
}

// propose sets others to the prices of the swings and the profile, ascending.
func (z *clusterer) propose(swings []swing, p *profile, atr float64) {
	z.others = z.others[:0]
	for i, s := range swings {
		w := s.prominence / (s.prominence + swingHalf*atr)
		z.others = append(z.others, candidate{s.price, w, int32(i), SourceSwing})
	}
	if p.busiest > 0 {
		z.others = append(z.others,
			candidate{p.poc, 0, -1, SourcePointOfControl}, // has its weight as a node
			candidate{p.val, valueAreaWeight, -1, SourceValueArea},
			candidate{p.vah, valueAreaWeight, -1, SourceValueArea})
		for _, n := range p.nodes {
			z.others = append(z.others, candidate{n.price, nodeWeight * n.weight, -1, SourceVolume})
		}
	}
	slices.SortFunc(z.others, func(a, b candidate) int {
		switch {
		case a.price < b.price:
			return -1
		case a.price > b.price:
			return 1
		}
		return int(a.swing - b.swing)
	})
}

// cluster turns the candidates into zones. A zone lies where the density of
// candidates (a triangular kernel of the given reach) is greater than anywhere
// within reach. Its price is the weighted mean under the kernel, and it extends one
// reach to either side, but at most halfway to its neighbour. So a cluster cannot
// chain along a whole range, and one more candidate changes only nearby zones, and
// those smoothly.
func (z *clusterer) cluster(swings []swing, reach float64) []zone {
	z.zones = z.zones[:0]
	z.estimate(reach)
	for i := 0; i < len(z.candidates); {
		peak, next := z.peak(i, reach)
		if peak {
			z.add(z.center(i, reach), reach)
		}
		i = next
	}
	z.assign(swings)
	return z.zones
}

// estimate computes the density at each candidate, in one pass with two
// pointers. Places are in units of reach from the first candidate.
func (z *clusterer) estimate(reach float64) {
	k := z.candidates
	z.density = z.density[:0]
	z.weights, z.moments = append(z.weights[:0], 0), append(z.moments[:0], 0)
	var w, m float64
	for i := range k {
		w += k[i].weight
		m += k[i].weight * (k[i].price - k[0].price) / reach
		z.weights, z.moments = append(z.weights, w), append(z.moments, m)
	}
	from, to := 0, 0
	for i := range k {
		for k[i].price-k[from].price > reach {
			from++
		}
		for to < len(k) && k[to].price-k[i].price <= reach {
			to++
		}
		at := (k[i].price - k[0].price) / reach
		left := (z.weights[i]-z.weights[from])*(1-at) + z.moments[i] - z.moments[from]
		right := (z.weights[to]-z.weights[i])*(1+at) - z.moments[to] + z.moments[i]
		z.density = append(z.density, left+right)
	}
}

// peak reports whether candidate i has the greatest density within reach, the lowest
// of equals, and returns the next candidate to check.
func (z *clusterer) peak(i int, reach float64) (bool, int) {
	k, d := z.candidates, z.density
	j := i + 1
	for ; j < len(k) && k[j].price-k[i].price <= reach; j++ {
		if d[j] > d[i] {
			return false, j
		}
	}
	for h := i - 1; h >= 0 && k[i].price-k[h].price <= reach; h-- {
		if d[h] >= d[i] {
			return false, j
		}
	}
	return true, j
}

// center returns the weighted mean price under the kernel at candidate i.
func (z *clusterer) center(i int, reach float64) float64 {
	k := z.candidates
	var sum, moment float64
	for j := i - 1; j >= 0 && k[i].price-k[j].price < reach; j-- {
		away := k[i].price - k[j].price
		w := k[j].weight * (1 - away/reach)
		sum, moment = sum+w, moment-w*away
	}
	for j := i; j < len(k) && k[j].price-k[i].price < reach; j++ {
		away := k[j].price - k[i].price
		w := k[j].weight * (1 - away/reach)
		sum, moment = sum+w, moment+w*away
	}
	if sum == 0 {
		return k[i].price
	}
	return k[i].price + moment/sum
}

// add appends a zone around price and cuts it and the previous one where they would
// overlap. A zone never extends below half its price: price minus reach may be
// negative, which is not a valid price.
func (z *clusterer) add(price, reach float64) {
	n := zone{price: price, low: max(price-reach, price/2, math.SmallestNonzeroFloat64), high: min(price+reach, math.MaxFloat64), seen: -2, anchor: -1, kind: anchorVolume}
	if len(z.zones) > 0 {
		before := &z.zones[len(z.zones)-1]
		if !(before.price < price) {
			return // the same level again, to the precision of a float
		}
		if n.low < before.high {
			middle := before.price + (price-before.price)/2
			n.low, before.high = max(n.low, middle), min(before.high, middle)
		}
	}
	z.zones = append(z.zones, n)
}

// assign gives each zone its candidates and drops zones without any. A candidate on
// the border of two zones belongs to the lower.
func (z *clusterer) assign(swings []swing) {
	next := 0
	for i := range z.zones {
		n := &z.zones[i]
		for next < len(z.candidates) && z.candidates[next].price < n.low {
			next++
		}
		n.from = int32(next)
		for ; next < len(z.candidates) && z.candidates[next].price <= n.high; next++ {
			k := &z.candidates[next]
			n.sources |= k.source
			if k.swing >= 0 {
				n.addSwing(&swings[k.swing])
			}
		}
	}
	z.zones = slices.DeleteFunc(z.zones, func(n zone) bool { return n.sources == 0 })
}

// addSwing adds a swing that lies in the zone.
func (n *zone) addSwing(s *swing) {
	if s.low {
		n.lows++
	} else {
		n.highs++
	}
	first := n.anchor < 0
	if first || s.index < n.formed {
		n.formed = s.index
	}
	if first || s.prominence > n.prominence || s.prominence == n.prominence && s.index < n.anchor {
		n.anchor, n.prominence, n.kind = s.index, s.prominence, anchorHigh
		if s.low {
			n.kind = anchorLow
		}
	}
}

package levels

// tracker follows price through the zones; the slice is scratch memory.
type tracker struct {
	first []uint16 // by bin: the first zone that is not wholly below the bin
}

// track finds the touches and the status of every zone, starting at the candle that
// formed it.
//
// A candle meets a zone when its true range (from low to high, including the
// previous close) overlaps it, so a jump across a zone is detected. A touch is an
// episode: a run of candles that meet the zone. A close beyond the side price
// last closed on breaks the zone; a wick does not. A later episode that begins
// and ends on the far side of the break without closing through is a retest
// that held: the zone is flipped.
func (t *tracker) track(zones []zone, c *Candles, g *grid) {
	t.index(zones, g)
	high, cls := c.High[:len(c.Low)], c.Close[:len(c.Low)]
	previous := c.Close[0]
	for i, from := range c.Low {
		from, to, last := min(from, previous), max(high[i], previous), cls[i]
		previous = last
		k := int(t.first[int(g.at(from))])
		for k < len(zones) && zones[k].high < from {
			k++
		}
		for ; k < len(zones) && zones[k].low <= to; k++ {
			if n := &zones[k]; int32(i) >= n.formed {
				n.meet(int32(i), last)
				if n.kind == anchorVolume {
					n.updateAnchor(int32(i), last, c.Volume[i])
				}
			}
		}
	}
	for i := range zones {
		if n := &zones[i]; int(n.seen) < c.Len()-1 {
			n.leave()
		}
	}
}

// index builds the table from bins to zones.
func (t *tracker) index(zones []zone, g *grid) {
	t.first = t.first[:0]
	for k := range zones {
		for end := int(g.at(zones[k].high)); len(t.first) <= end && len(t.first) < g.bins; {
			t.first = append(t.first, uint16(k))
		}
	}
	for len(t.first) < g.bins {
		t.first = append(t.first, uint16(len(zones)))
	}
}

// meet records that candle i meets the zone and closes at last.
func (n *zone) meet(i int32, last float64) {
	n.met++
	if n.seen != i-1 { // price was outside: a new episode
		n.leave()
		n.touches++
		n.last, n.broke = i, false
		if n.touches == 1 {
			n.first = i
		}
	}
	n.seen = i
	side := int8(0)
	if last > n.high {
		side = 1
	} else if last < n.low {
		side = -1
	}
	if side == 0 || side == n.side {
		return
	}
	if n.side != 0 {
		n.status, n.broke = Broken, true
	}
	n.side = side
}

// leave ends the current episode, if any. The candle that ends it does not meet the
// zone, so the last close of the episode was outside, on the side stored in the
// zone.
func (n *zone) leave() {
	if n.status == Broken && !n.broke {
		n.status = Flipped
	}
}

// updateAnchor makes candle i the anchor of a zone without swings if it has the
// greatest volume so far of those that close inside, including the lower border.
func (n *zone) updateAnchor(i int32, last, volume float64) {
	if last >= n.low && last < n.high && volume > n.volume {
		n.anchor, n.volume = i, volume
	}
}

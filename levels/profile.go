package levels

import "math"

const (
	// maxBins bounds the memory of a profile for any range of prices.
	maxBins = 2048
	// valueArea is the share of the volume the value area holds (Steidlmayer's
	// Market Profile, CBOT 1985, rounds one standard deviation to 70 %).
	valueArea = 0.70
	// nodeProminence is the minimum prominence of a high-volume node, as a share of
	// the height of the point of control.
	nodeProminence = 0.05
)

// grid divides the price axis into bins. Its width is a power of two and its edges
// are multiples of the width, so the grid does not move as the window of candles
// slides, and doubling all prices doubles it exactly.
type grid struct {
	width, perPrice float64 // perPrice is 1/width, exactly
	origin          float64 // lower edge of bin 0, in bins
	bins            int
}

// newGrid returns a grid from low to high in bins of an eighth to a sixteenth of
// unit, or wider if that exceeds maxBins, with margin empty bins beyond both ends.
func newGrid(low, high, unit float64, margin int) grid {
	_, fine := math.Frexp(unit / 8)
	_, coarse := math.Frexp((high - low) / maxBins)
	exponent := max(fine-1, coarse, -1000) // 2^1000 and 2^-1000 are both finite
	g := grid{width: math.Ldexp(1, exponent), perPrice: math.Ldexp(1, -exponent)}
	g.origin = math.Floor(low*g.perPrice) - float64(margin)
	g.bins = int(math.Floor(high*g.perPrice)-g.origin) + 1 + margin
	return g
}

// coarser returns the grid with bins doubled in width as long as they are not wider
// than width, and with at least one bin of margin at either end.
func (g *grid) coarser(width float64) grid {
	e := *g
	for e.width*2 <= width {
		e.width, e.perPrice = e.width*2, e.perPrice/2
		e.origin, e.bins = math.Floor(e.origin/2), e.bins/2+2
	}
	return e
}

// at returns the place of a price on the grid, in bins from its lower end. Its whole
// part is the bin. By rounding, a price just below an edge may count as the edge,
// even at the top of the grid, where it falls into the margin.
func (g *grid) at(price float64) float64 { return price*g.perPrice - g.origin }

// smoothing returns the radius in bins of each of the two averaging passes over a
// profile: together a triangle that reaches about half a unit.
func (g *grid) smoothing(unit float64) int {
	return min(int(unit*g.perPrice/4+0.5), profileMargin/2)
}

// profileMargin is the number of empty bins smoothing needs beyond both ends.
const profileMargin = 8

// node is a peak of the profile.
type node struct {
	price  float64
	weight float64 // prominence as a share of the point of control's height, 0 to 1
}

// profile is volume by price. It is an estimate: the volume of a candle is spread
// evenly over its range.
type profile struct {
	grid grid
	// low and high are the extremes of the series.
	low, high float64
	volume    []float64 // smoothed, by bin; only ratios have a meaning
	busiest   float64   // the greatest of volume; 0 without volume

	poc, val, vah float64 // prices; val ≤ poc ≤ vah
	nodes         []node  // high-volume nodes, including the point of control

	inner, scratch []float64
	at             []int32
	peak, valley   []float64
	prominence     prominences
}

// build fills the profile of c, whose extent is s, on the grid g.
func (p *profile) build(c *Candles, g grid, s extent) {
	p.grid, p.busiest, p.nodes = g, 0, p.nodes[:0]
	p.low, p.high = s.low, s.high
	p.volume = zeros(p.volume, g.bins)
	if s.volume == 0 {
		return
	}
	p.spread(c, s.volume)
	p.smooth(g.smoothing(s.unit))
	total, top := 0.0, 0
	for i, v := range p.volume {
		total += v
		if v > p.volume[top] {
			top = i
		}
	}
	p.busiest = p.volume[top]
	p.poc = p.price(p.summit(top))
	p.findValueArea(top, valueArea*total)
	p.findNodes()
}

// spread adds the volume of each candle, evenly over its range, in constant time:
// partly covered bins are added directly, fully covered ones as a step up and a
// step down that a running sum turns into values.
func (p *profile) spread(c *Candles, volume float64) {
	// scaled by a power of two, so that sums are finite and ratios exact
	_, exponent := math.Frexp(volume)
	scale := math.Ldexp(1, -max(exponent, -1000))

	p.inner = zeros(p.inner, p.grid.bins)
	part, inner, g := p.volume, p.inner, p.grid
	high, vol := c.High[:len(c.Low)], c.Volume[:len(c.Low)]
	for i, low := range c.Low {
		v := vol[i] * scale
		x, y := g.at(low), g.at(high[i])
		a, b := int(x), int(y)
		if a == b {
			part[a] += v
			continue
		}
		v /= y - x
		part[a] += v * (float64(a+1) - x)
		part[b] += v * (y - float64(b))
		if b > a+1 { // not for a range below one bin, which would make v huge
			inner[a+1] += v
			inner[b] -= v
		}
	}
	sum := 0.0
	for i, step := range inner {
		sum += step
		part[i] += max(sum, 0) // rounding may leave the sum slightly negative
	}
}

// smooth averages twice over radius bins either side, which is a triangular
// kernel. It does not divide, because only ratios of heights matter.
func (p *profile) smooth(radius int) {
	p.scratch = zeros(p.scratch, len(p.volume))
	box(p.scratch, p.volume, radius)
	box(p.volume, p.scratch, radius)
}

// box sets dst[i] to the sum of src from i-radius to i+radius.
func box(dst, src []float64, radius int) {
	sum, n := 0.0, len(src)
	for i := -radius; i < n; i++ {
		if i+radius < n {
			sum += src[i+radius]
		}
		if i < 0 {
			continue
		}
		dst[i] = max(sum, 0)
		if i-radius >= 0 {
			sum -= src[i-radius]
		}
	}
}

// summit returns the place of the top of peak i, in bins: the vertex of the parabola
// through it and its neighbours, or the middle of a flat top that starts at i.
func (p *profile) summit(i int) float64 {
	end := i
	for end+1 < len(p.volume) && p.volume[end+1] == p.volume[i] {
		end++
	}
	middle := float64(i+end+1) / 2
	if end > i || i == 0 || i == len(p.volume)-1 {
		return middle
	}
	before, after := p.volume[i]-p.volume[i-1], p.volume[i]-p.volume[i+1]
	return middle + (before-after)/(before+after)/2
}

// findValueArea extends the value area from the point of control, always into the
// neighbouring bin with more volume, into both if they are equal.
func (p *profile) findValueArea(top int, enough float64) {
	from, to, sum := top, top, p.volume[top]
	for sum < enough && (from > 0 || to < len(p.volume)-1) {
		below, above := -1.0, -1.0
		if from > 0 {
			below = p.volume[from-1]
		}
		if to < len(p.volume)-1 {
			above = p.volume[to+1]
		}
		if below >= above {
			from--
			sum += below
		}
		if above >= below {
			to++
			sum += above
		}
	}
	p.val, p.vah = p.price(float64(from)), p.price(float64(to+1))
}

// findNodes finds the high-volume nodes: peaks by prominence.
func (p *profile) findNodes() {
	p.at, p.peak, p.valley = p.at[:0], p.peak[:0], p.valley[:0]
	least, rising := 0.0, -1 // rising: where the current rise reached its height
	for i := 1; i < len(p.volume); i++ {
		before, v := p.volume[i-1], p.volume[i]
		switch {
		case v > before:
			rising = i
		case v < before && rising >= 0:
			p.at = append(p.at, int32(rising))
			p.peak, p.valley = append(p.peak, before), append(p.valley, least)
			rising, least = -1, v
		case rising < 0:
			least = min(least, v)
		}
	}
	p.valley = append(p.valley, 0) // both margins are empty
	for k, height := range p.prominence.of(p.peak, p.valley) {
		if weight := height / p.busiest; weight >= nodeProminence {
			p.nodes = append(p.nodes, node{p.price(p.summit(int(p.at[k]))), weight})
		}
	}
}

// price returns the price at a place of the grid, limited to the range of the series:
// smoothed volume reaches slightly beyond that range, levels must not.
func (p *profile) price(at float64) float64 {
	return min(max((p.grid.origin+at)*p.grid.width, p.low), p.high)
}

// share returns the volume at a price as a share of that at the busiest price, 0 to 1.
// It is interpolated between the middles of bins, so that it does not jump.
func (p *profile) share(price float64) float64 {
	if p.busiest == 0 {
		return 0
	}
	at := min(max(p.grid.at(price)-0.5, 0), float64(len(p.volume)-1)) // price may lie outside the grid
	i := min(int(at), len(p.volume)-2)
	past := min(at-float64(i), 1)
	return (p.volume[i]*(1-past) + p.volume[i+1]*past) / p.busiest
}

// zeros returns a slice of n zeros, in v's memory if it is large enough.
func zeros(v []float64, n int) []float64 {
	if cap(v) < n {
		return make([]float64, n)
	}
	v = v[:n]
	clear(v)
	return v
}

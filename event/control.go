package event

import (
	"math"

	"tidemark/levels"
	"tidemark/scorecard"
	"tidemark/service"
)

// The control of a preview are lines at prices without meaning, to which the same State is
// applied. A level of the rule counts for an analysis if it is far (see phase) and not near
// price at that moment: what it does afterwards is unknown. For each analysis and side
// there is a line in each of the bins of distance, which stands for as many lines as levels
// count. In the end the bins are weighted by how many levels, of all series and moments on
// that side, had such a distance. That is the mean of all draws of one line for each level,
// at the same moment and on the same side, from the distances of all levels.
//
// Neither side of the comparison depends on what came later: levels count whether they are
// touched or not. If only touched ones did, the moments before large moves, after which
// most lines break, would count more for the lines than for the levels.

// The bins of distance from the last price, in ATR: the first begins where a level is no
// longer near, the last ends beyond levels.DrawDistance.
const (
	distanceFrom = 1.25
	distanceStep = 0.5
	distances    = 16
)

func distanceBin(atr float64) int {
	return max(0, min(distances-1, int((atr-distanceFrom)/distanceStep)))
}

// counts are the outcomes of the touches in a block of time.
type counts struct {
	n, held int                                     // of all levels of the rule
	compare scorecard.Pair                          // of levels that count
	lines   [2][distances]struct{ n, held float64 } // by side
}

// control judges lines beside the levels of a series.
type control struct {
	state  State
	before *service.Snapshot
	lines  []line // by id - 1
}

// line is a line.
type line struct {
	role   levels.Role
	bin    int
	weight int // levels that it stands for
}

// next advances the lines to the analysis a, and draws others: weights are how many levels
// count on each side. It calls decided with each outcome and the time of the touch.
func (x *control) next(a *service.Snapshot, c *levels.Candles, moments []levels.Moment, weights [2]int, decided func(l line, touched int64, held bool)) {
	drawn := &service.Snapshot{Key: a.Key, AsOf: a.AsOf, LastPrice: a.LastPrice, ATR: a.ATR, Simulated: a.Simulated, Algorithm: a.Algorithm}
	seed := a.LevelID(0) % 1000
	for role, weight := range weights {
		if weight == 0 {
			continue
		}
		side := &drawn.Supports
		if levels.Role(role) == levels.Resistance {
			side = &drawn.Resistances
		}
		*side = make([]levels.Level, 0, distances)
		for bin := range distances {
			x.lines = append(x.lines, line{levels.Role(role), bin, weight})
			id := uint64(len(x.lines))
			// any place in the bin: the fractions of multiples of the golden ratio are
			// spread evenly
			_, place := math.Modf(math.Phi * float64(seed+id))
			distance := (distanceFrom + (float64(bin)+place)*distanceStep) * a.ATR
			l := levels.Level{ID: id, Role: levels.Role(role), Price: a.LastPrice - distance, Edge: 100, DrawnEdge: 100, NoOdds: levels.BeforeOdds}
			if l.Role == levels.Resistance {
				l.Price = a.LastPrice + distance
			}
			if l.Price > 0 {
				*side = append(*side, l)
			}
		}
	}
	x.state.advance(x.before, drawn, c, moments, func(t *track, kind Kind, _ levels.Moment, _ int) {
		if kind == Held || kind == Flipped || kind == Broke {
			decided(x.lines[t.id-1], t.TouchedAt, kind != Broke)
		}
	})
	x.before = drawn
}

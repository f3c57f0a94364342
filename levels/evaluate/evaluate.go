// Package evaluate measures whether levels hold more often than chance, and whether
// their odds are accurate. It walks forward over candles: at each moment a method
// sees only earlier candles, and later candles decide the outcomes, as defined by
// levels.Moment. Every level is compared with artificial ones, because a hold rate
// means nothing without a control: even a random walk holds 45 %.
//
// Equal candles, options and seed give an equal report, bit for bit, for any number
// of workers.
package evaluate

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"sync"
	"time"

	"tidemark/levels"
)

// The definitions of the evaluation; see docs/evaluation.md.
const (
	// perSide is the number of levels judged on either side of the price: the
	// strongest within reach.
	perSide = 3
	// nearest and farthest bound the distance of a judged level, in ATR.
	nearest, farthest = 0.5, 12.0
	// steps is the number of artificial levels of every moment on either side, evenly
	// from nearest to farthest; stepATR is the distance between two, in ATR.
	steps   = 231
	stepATR = (farthest - nearest) / (steps - 1)
	// reach is the number of steps within which an artificial level is a neighbour:
	// one ATR.
	reach = int((steps - 1) / (farthest - nearest))
	// topLevels is the number of strongest levels that are searched again later.
	topLevels = 12
)

// later is the number of candles after which the strongest levels are searched
// again.
var later = [...]int{1, 24}

// Price is a price that a method proposes at a moment.
type Price struct {
	ID        uint64  // stable from run to run; 0 for a method without IDs
	Price     float64 // finite and positive
	Low, High float64 // its zone; both 0 for a method without zones
	Score     float64 // a rank, greater is stronger; no other meaning
	Touch     float64 // P(touched within the horizon); NaN for none
	Hold      float64 // P(held, given decided); NaN for none
}

// Find appends to dst the prices that a method proposes as of the close of the last
// candle of c, in any order. It must depend only on c, and must not change or keep
// it. One goroutine at a time calls it.
type Find func(dst []Price, c *levels.Candles) []Price

// Method is a way of finding levels.
type Method struct {
	Name string
	// About describes it in one line, with the source of the definition.
	About string
	// New returns a Find with its own scratch memory; every worker has one.
	New func() Find
}

// Series is a pair whose candles can be loaded.
type Series struct {
	Symbol string
	// Load appends the pair's candles, oldest first, to dst, which is empty and has
	// the interval set.
	Load func(ctx context.Context, dst *levels.Candles) error
}

// Options are the options of an evaluation. Zero values are not defaults.
type Options struct {
	Interval levels.Interval
	Klines   int       // candles that a method sees at a moment, at least levels.MinCandles
	Every    int       // candles from one moment to the next
	Seed     uint64    // of the intervals and of random levels
	From, To time.Time // moments lie at or after From, their horizons end at or before To; zero for no bound
	Methods  []Method
	Table    string // version of the table that ranks our levels, for the report
	Workers  int    // pairs evaluated at once; each needs memory for the candles of one
	// Progress, if not nil, is called after each pair. Calls do not overlap.
	Progress func(done, total int)
}

// ErrNothing is wrapped by Run if there is no moment to judge.
var ErrNothing = errors.New("nothing to evaluate")

// sides of the price; indexes by role.
const sides = 2

// record is one level with its outcome and those of its controls.
type record struct {
	distance    float32 // from the last price, in ATR
	score       float32
	touch, hold float32 // odds; NaN for none
	reflection  float32 // touch odds of a walk without drift
	moment      int32   // of the pair
	block       uint16  // of calendar time; see blockOf
	role        levels.Role
	outcome     levels.Outcome
	touched     bool
	holes       bool // candles were missing before its outcome
	control     tally
	neighbour   tally // controls within one ATR of its distance
}

// step returns the artificial level nearest to the distance of r.
func (r *record) step() int { return int(math.Round((float64(r.distance) - nearest) / stepATR)) }

// tally holds the shares of artificial levels with an outcome, by their weight.
type tally struct{ touched, decided, held float32 }

// grid is the outcomes of the artificial levels of one side at a moment, two bits
// each.
type grid [(steps + 3) / 4]byte

const (
	gridUntouched = iota
	gridUndecided
	gridHeld
	gridBroke
)

// judge sets g to the outcomes at a moment.
func (g *grid) judge(m levels.Moment, role levels.Role, c *levels.Candles) {
	*g = grid{}
	lowest, highest := m.Reach(c)
	for i := range steps {
		price := m.LastPrice + (nearest+float64(i)*stepATR)*m.ATR
		if role == levels.Support {
			price = 2*m.LastPrice - price
		}
		if line := m.TouchLine(price); role == levels.Support && line < lowest || role == levels.Resistance && line > highest {
			return // nor are those farther away touched
		}
		code := gridUntouched
		switch v := m.Judge(price, c); {
		case v.Outcome == levels.Held:
			code = gridHeld
		case v.Outcome == levels.Broke:
			code = gridBroke
		case v.Touch >= 0:
			code = gridUndecided
		}
		g[i/4] |= byte(code << (i % 4 * 2))
	}
}

func (g *grid) at(i int) int { return int(g[i/4]>>(i%4*2)) & 3 }

// persistence counts the strongest levels that remain, for each of later.
type persistence struct{ levels, byID, byPrice [len(later)]int }

// findings are the results of one method for one pair.
type findings struct {
	records []record
	covered int // sides with a level that is judged
	lasting persistence
	asked   int // moments at which the method ran twice
	changed int // of them: the result differed
}

// pairFindings are the results of all methods for one pair.
type pairFindings struct {
	candles, missing int
	moments          []int64       // as-of times, Unix ms
	grids            [][sides]grid // by moment
	stale, flat      int
	unfinished       int
	methods          []findings
	err              error
}

// Run evaluates the methods on the series. A series that cannot be loaded is
// reported as a failure; the others are evaluated without it.
func Run(ctx context.Context, series []Series, o Options) (*Report, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	pairs := observe(ctx, series, &o)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return summarise(series, pairs, o)
}

// observe runs the methods on all pairs, then weighs their controls. It stops early
// when ctx ends.
func observe(ctx context.Context, series []Series, o *Options) []pairFindings {
	pairs := make([]pairFindings, len(series))
	done := 0
	var mu sync.Mutex
	next := make(chan int)
	var workers sync.WaitGroup
	for range max(1, min(o.Workers, len(series))) {
		workers.Go(func() {
			w := newWorker(o)
			for i := range next {
				if p := &pairs[i]; ctx.Err() == nil {
					w.candles.Reset(o.Interval, 0)
					if err := series[i].Load(ctx, &w.candles); err != nil {
						p.err = err
					} else {
						w.find(series[i], p)
					}
				}
				mu.Lock()
				done++
				if o.Progress != nil && ctx.Err() == nil {
					o.Progress(done, len(series))
				}
				mu.Unlock()
			}
		})
	}
	for i := range series {
		next <- i
	}
	close(next)
	workers.Wait()
	if ctx.Err() != nil {
		return pairs
	}
	for i := range o.Methods {
		control(pairs, i)
	}
	return pairs
}

func (o *Options) check() error {
	switch {
	case o.Interval.Duration() == 0:
		return fmt.Errorf("%w %q", levels.ErrUnknownInterval, o.Interval)
	case o.Klines < levels.MinCandles:
		return fmt.Errorf("%d candles at a moment are too few: at least %d are needed", o.Klines, levels.MinCandles)
	case o.Every < 1:
		return fmt.Errorf("moments must be at least one candle apart, not %d", o.Every)
	case len(o.Methods) == 0:
		return errors.New("no method to evaluate")
	case !o.From.IsZero() && !o.To.IsZero() && !o.From.Before(o.To):
		return fmt.Errorf("there is no time between %s and %s", o.From.Format(time.DateOnly), o.To.Format(time.DateOnly))
	}
	return nil
}

// worker evaluates one pair at a time.
type worker struct {
	o       *Options
	candles levels.Candles
	finds   []Find
	prices  []Price
	again   []Price
	top     []Price
}

func newWorker(o *Options) *worker {
	w := &worker{o: o, finds: make([]Find, len(o.Methods))}
	for i, m := range o.Methods {
		w.finds[i] = m.New()
	}
	return w
}

// walk visits the moments of the worker's candles: every so many candles from the
// epoch, shifted for each pair, so that at any time some pairs have one. At a moment
// the last of Klines candles has just closed, and the whole horizon is known. end is
// the index of the first candle after it.
func (w *worker) walk(s Series, p *pairFindings, visit func(end int, m levels.Moment)) {
	c := &w.candles
	if c.Len() < w.o.Klines {
		return
	}
	length := w.o.Interval.Milliseconds()
	phase := c.OpenTime[0] % length // weeks begin on Monday, the epoch did not
	phase += int64(hash(s.Symbol)%uint64(w.o.Every)) * length
	step := int64(w.o.Every) * length
	first := c.OpenTime[w.o.Klines-1] + length
	if !w.o.From.IsZero() {
		first = max(first, w.o.From.UnixMilli())
	}
	at := phase + (first-phase+step-1)/step*step
	for ; at <= c.AsOf(); at += step {
		horizon := at + levels.Horizon*length
		if !w.o.To.IsZero() && horizon > w.o.To.UnixMilli() {
			return
		}
		if horizon > c.AsOf() {
			p.unfinished++
			continue
		}
		end, _ := slices.BinarySearch(c.OpenTime, at)
		known := c.Slice(end-w.o.Klines, end)
		m := levels.MomentOf(&known)
		switch {
		case m.AsOf != at:
			p.stale++
		case !(m.ATR > 0):
			p.flat++
		default:
			visit(end, m)
		}
	}
}

// find runs every method at every moment of a pair and judges the results.
func (w *worker) find(s Series, p *pairFindings) {
	c := &w.candles
	p.candles, p.missing = c.Len(), c.Missing()
	p.methods = make([]findings, len(w.finds))
	w.walk(s, p, func(end int, m levels.Moment) {
		known := c.Slice(end-w.o.Klines, end)
		sigma := volatility(&known)
		for i, find := range w.finds {
			w.judge(&p.methods[i], find, end, m, sigma, len(p.moments))
		}
		p.moments = append(p.moments, m.AsOf)
		var both [sides]grid
		for role := range levels.Role(sides) {
			both[role].judge(m, role, c)
		}
		p.grids = append(p.grids, both)
	})
	for i := range p.methods {
		p.methods[i].records = slices.Clip(p.methods[i].records)
	}
}

// judge runs one method at one moment and judges its levels.
func (w *worker) judge(f *findings, find Find, end int, m levels.Moment, sigma float64, moment int) {
	c, o := &w.candles, w.o
	known := c.Slice(end-o.Klines, end)
	w.prices = find(w.prices[:0], &known)
	for role := range levels.Role(sides) {
		best := strongest(w.prices, m, role)
		if len(best) > 0 {
			f.covered++
		}
		for _, p := range best {
			v := m.Judge(p.Price, c)
			f.records = append(f.records, record{
				distance: float32(math.Abs(p.Price-m.LastPrice) / m.ATR), score: float32(p.Score),
				touch: float32(p.Touch), hold: float32(p.Hold), reflection: float32(reflection(m, p.Price, sigma)),
				block: blockOf(m.AsOf, o.Interval), moment: int32(moment), role: role,
				outcome: v.Outcome, touched: v.Touch >= 0, holes: v.Missing > 0,
			})
		}
	}
	w.top = w.at(w.top, find, end)
	slices.SortStableFunc(w.top, func(a, b Price) int { return compare(b.Score, a.Score) })
	w.top = w.top[:min(topLevels, len(w.top))]
	for k, n := range later {
		w.again = w.at(w.again, find, end+n)
		f.lasting.count(k, w.top, w.again, m.ATR)
	}
	// After it has seen later candles, the method must give the same result.
	w.again = find(w.again[:0], &known)
	f.asked++
	if !slices.EqualFunc(w.prices, w.again, identical) {
		f.changed++
	}
}

// at runs a method on the candles before one within the horizon of a moment, and
// reuses the memory of prices.
func (w *worker) at(prices []Price, find Find, end int) []Price {
	known := w.candles.Slice(end-w.o.Klines, end)
	return find(prices[:0], &known)
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// identical reports whether two prices are equal bit by bit; odds may be NaN.
func identical(a, b Price) bool {
	bits := math.Float64bits
	return a.ID == b.ID && bits(a.Price) == bits(b.Price) && bits(a.Low) == bits(b.Low) && bits(a.High) == bits(b.High) &&
		bits(a.Score) == bits(b.Score) && bits(a.Touch) == bits(b.Touch) && bits(a.Hold) == bits(b.Hold)
}

// strongest returns the judged levels of one side, strongest first; equals are in
// the order proposed.
func strongest(prices []Price, m levels.Moment, role levels.Role) []Price {
	var buf [perSide + 1]Price
	best := buf[:0]
	for _, p := range prices {
		d := (p.Price - m.LastPrice) / m.ATR
		if role == levels.Support {
			d = -d
		}
		if !(d >= nearest && d <= farthest) {
			continue
		}
		i := len(best)
		for i > 0 && best[i-1].Score < p.Score {
			i--
		}
		best = slices.Insert(best, i, p)
		if len(best) > perSide {
			best = best[:perSide]
		}
	}
	return slices.Clone(best)
}

// count counts how many of the levels before remain now: by ID, and by a level in
// their zone, which without a zone is a tenth of the ATR to either side.
func (p *persistence) count(k int, before, now []Price, atr float64) {
	for _, b := range before {
		low, high := b.Low, b.High
		if high == 0 {
			low, high = b.Price-atr/10, b.Price+atr/10
		}
		p.levels[k]++
		if b.ID != 0 && slices.ContainsFunc(now, func(n Price) bool { return n.ID == b.ID }) {
			p.byID[k]++
		}
		if slices.ContainsFunc(now, func(n Price) bool { return low <= n.Price && n.Price <= high }) {
			p.byPrice[k]++
		}
	}
}

// blockLength returns the length of a block of calendar time in ms: two horizons, so
// that an outcome reaches into one other block at most, and at least a week.
func blockLength(i levels.Interval) int64 {
	return max(2*levels.Horizon*i.Milliseconds(), 7*day)
}

// blockOf returns the number of blocks from a Monday in 1969 to t, in Unix ms.
func blockOf(t int64, i levels.Interval) uint16 { return uint16((t + 3*day) / blockLength(i)) }

// control weighs the artificial levels for all levels of a method: at the same
// moment, on the same side, each as often as the method has a level at that distance
// on that side over all pairs and moments, all of them or those within one ATR. They
// do not depend on the level's outcome, and nothing is drawn.
func control(pairs []pairFindings, method int) {
	var pool [sides][steps]float64
	for i := range pairs {
		if pairs[i].err != nil {
			continue
		}
		for _, r := range pairs[i].methods[method].records {
			pool[r.role][r.step()]++
		}
	}
	for i := range pairs {
		if pairs[i].err != nil {
			continue
		}
		records := pairs[i].methods[method].records
		var sum [steps + 1][4]float64 // of the weights before a step: all, touched, decided, held
		for k := range records {
			r := &records[k]
			if k == 0 || r.moment != records[k-1].moment || r.role != records[k-1].role {
				g := &pairs[i].grids[r.moment][r.role]
				for s, n := range pool[r.role] {
					sum[s+1] = sum[s]
					sum[s+1][0] += n
					code := g.at(s)
					if code != gridUntouched {
						sum[s+1][1] += n
					}
					if code >= gridHeld {
						sum[s+1][2] += n
					}
					if code == gridHeld {
						sum[s+1][3] += n
					}
				}
			}
			between := func(from, to int) tally {
				all := sum[to][0] - sum[from][0]
				share := func(i int) float32 { return float32((sum[to][i] - sum[from][i]) / all) }
				return tally{share(1), share(2), share(3)}
			}
			at := r.step()
			r.control = between(0, steps)
			r.neighbour = between(max(0, at-reach), min(steps, at+reach+1))
		}
	}
}

// hash mixes names into the seed of their draws.
func hash(names ...string) uint64 {
	h := fnv.New64a()
	for _, n := range names {
		h.Write([]byte(n))
		h.Write([]byte{0})
	}
	return h.Sum64()
}

// volatility is the standard deviation of the change from close to close of one
// candle, without drift, as a share of the price, over as many candles
// as the horizon: shorter and longer windows predict touches less well.
func volatility(c *levels.Candles) float64 {
	last := c.Close[max(0, c.Len()-levels.Horizon-1):]
	sum := 0.0
	for i := 1; i < len(last); i++ {
		r := math.Log(last[i] / last[i-1])
		sum += r * r
	}
	return math.Sqrt(sum / float64(len(last)-1))
}

// reflection returns the probability that a walk without drift reaches the touch line
// of a level within the horizon, by the reflection principle: 2Φ(−d/(σ√H)).
func reflection(m levels.Moment, price, sigma float64) float64 {
	d := math.Abs(math.Log(m.TouchLine(price) / m.LastPrice))
	return math.Erfc(d / (sigma * math.Sqrt(2*levels.Horizon)))
}

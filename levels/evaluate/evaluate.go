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
	"math/rand/v2"
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
	nearest, farthest = 0.5, 8.0
	// draws is the number of artificial levels for each level.
	draws = 10
	// topLevels is the number of strongest levels that are searched again later.
	topLevels = 12
)

// later is the number of candles after which the strongest levels are searched
// again.
var later = [...]int{1, 24}

// bands are the borders of the distances, in ATR, within which an artificial level
// counts as a neighbour.
var bands = [...]float32{nearest, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, farthest}

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

// Series is a pair whose candles can be loaded. They are loaded twice, because the
// distances of all levels must be known before the first artificial one is drawn.
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
	Seed     uint64    // of all random draws
	From, To time.Time // moments lie at or after From, their horizons end at or before To; zero for no bound
	Methods  []Method
	Workers  int // pairs evaluated at once; each needs memory for the candles of one
	// Progress, if not nil, is called after each read of a pair, two for each pair.
	// Calls do not overlap.
	Progress func(done, total int)
}

// ErrNothing is wrapped by Run if there is no moment to judge.
var ErrNothing = errors.New("nothing to evaluate")

// sides of the price; indexes by role.
const sides = 2

// record is one level with its outcome and that of its controls.
type record struct {
	distance    float32 // from the last price, in ATR
	score       float32
	touch, hold float32 // odds; NaN for none
	reflection  float32 // touch odds of a walk without drift
	moment      int32   // of the pair
	week        uint16  // calendar weeks since the epoch
	role        levels.Role
	outcome     levels.Outcome
	touched     bool
	holes       bool // candles were missing before its outcome
	control     tally
	neighbour   tally // controls in the band of its distance
}

// tally counts the outcomes of draws artificial levels.
type tally struct{ touched, decided, held uint8 }

func (t *tally) add(v levels.Verdict) {
	if v.Touch >= 0 {
		t.touched++
	}
	switch v.Outcome {
	case levels.Held:
		t.decided++
		t.held++
	case levels.Broke:
		t.decided++
	}
}

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
	moments          []int64 // as-of times, Unix ms
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

// observe runs the methods on all pairs, then judges their controls. It stops early
// when ctx ends.
func observe(ctx context.Context, series []Series, o *Options) []pairFindings {
	pairs := make([]pairFindings, len(series))
	done := 0
	var mu sync.Mutex
	each := func(do func(w *worker, s Series, p *pairFindings)) {
		next := make(chan int)
		var workers sync.WaitGroup
		for range max(1, min(o.Workers, len(series))) {
			workers.Go(func() {
				w := newWorker(o)
				for i := range next {
					if p := &pairs[i]; p.err == nil && ctx.Err() == nil {
						w.candles.Reset(o.Interval, 0)
						if err := series[i].Load(ctx, &w.candles); err != nil {
							p.err = err
						} else {
							do(w, series[i], p)
						}
					}
					mu.Lock()
					done++
					if o.Progress != nil && ctx.Err() == nil {
						o.Progress(done, 2*len(series))
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
	}
	each(func(w *worker, _ Series, p *pairFindings) { w.find(p) })
	if ctx.Err() != nil {
		return pairs
	}
	pools := make([]pool, len(o.Methods))
	for i := range pools {
		pools[i].collect(pairs, i)
	}
	each(func(w *worker, s Series, p *pairFindings) { w.control(s, p, pools) })
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

// walk visits the moments of the worker's candles. All pairs share one clock:
// moments are whole multiples of Every candles from the epoch, so that events that
// move all pairs fall into the same week. At a moment the last of Klines candles has
// just closed, and the whole horizon is known. end is the index of the first candle
// after it.
func (w *worker) walk(p *pairFindings, visit func(end int, m levels.Moment)) {
	c := &w.candles
	if c.Len() < w.o.Klines {
		return
	}
	length := w.o.Interval.Milliseconds()
	phase := c.OpenTime[0] % length // weeks begin on Monday, the epoch did not
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
func (w *worker) find(p *pairFindings) {
	c := &w.candles
	p.candles, p.missing = c.Len(), c.Missing()
	p.methods = make([]findings, len(w.finds))
	w.walk(p, func(end int, m levels.Moment) {
		known := c.Slice(end-w.o.Klines, end)
		sigma := volatility(&known)
		for i, find := range w.finds {
			w.judge(&p.methods[i], find, end, m, sigma, len(p.moments))
		}
		p.moments = append(p.moments, m.AsOf)
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
				week: week(m.AsOf), moment: int32(moment), role: role,
				outcome: v.Outcome, touched: v.Touch >= 0, holes: v.Missing > 0,
			})
		}
	}
	// A method may redraw its levels on a clock aligned with the moments, as ours
	// does every sixth candle. So persistence starts at each candle of a day in turn.
	since := end + moment%later[len(later)-1]
	w.top = w.at(w.top, find, since)
	slices.SortStableFunc(w.top, func(a, b Price) int { return compare(b.Score, a.Score) })
	w.top = w.top[:min(topLevels, len(w.top))]
	for k, n := range later {
		w.again = w.at(w.again, find, since+n)
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

// week returns the number of calendar weeks, starting on Monday, since the week of
// the epoch; t is in Unix ms.
func week(t int64) uint16 { return uint16((t/86_400_000 + 3) / 7) }

// pool holds the distances of all levels of one method, ascending, by side.
type pool [sides][]float32

func (l *pool) collect(pairs []pairFindings, method int) {
	for i := range pairs {
		if pairs[i].err != nil {
			continue
		}
		for _, r := range pairs[i].methods[method].records {
			l[r.role] = append(l[r.role], r.distance)
		}
	}
	for role := range l {
		slices.Sort(l[role])
	}
}

// near returns the distances of one side within the band of d.
func (l *pool) near(role levels.Role, d float32) []float32 {
	k := 1
	for k < len(bands)-1 && d >= bands[k] {
		k++
	}
	from, _ := slices.BinarySearch(l[role], bands[k-1])
	to := len(l[role])
	if k < len(bands)-1 {
		to, _ = slices.BinarySearch(l[role], bands[k])
	}
	return l[role][from:to]
}

// control judges artificial levels for those of a pair: at the same moment, on the
// same side, at distances drawn from the method's own on that side, all of them or
// those of the same band. They are drawn regardless of the level's outcome.
func (w *worker) control(s Series, p *pairFindings, pools []pool) {
	c := &w.candles
	next := make([]int, len(p.methods)) // records of each method done
	moment := 0
	again := pairFindings{candles: c.Len(), missing: c.Missing()}
	w.walk(&again, func(_ int, m levels.Moment) {
		if moment == len(p.moments) || p.moments[moment] != m.AsOf {
			again.candles = -1
			return
		}
		for i := range p.methods {
			random := rand.New(rand.NewPCG(w.o.Seed^hash(s.Symbol, w.o.Methods[i].Name), uint64(m.AsOf)))
			records := p.methods[i].records
			for ; next[i] < len(records) && int(records[next[i]].moment) == moment; next[i]++ {
				r := &records[next[i]]
				draw := func(t *tally, from []float32) {
					for range draws {
						d := float64(from[random.IntN(len(from))]) * m.ATR
						if r.role == levels.Support {
							d = -d
						}
						t.add(m.Judge(m.LastPrice+d, c))
					}
				}
				draw(&r.control, pools[i][r.role])
				draw(&r.neighbour, pools[i].near(r.role, r.distance))
			}
		}
		moment++
	})
	if again.candles != p.candles || moment != len(p.moments) {
		p.err = errors.New("the candles changed during the evaluation")
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

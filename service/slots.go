package service

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"runtime/debug"
	"slices"
	"sort"
	"sync"
	"time"

	"tidemark/levels"
)

// slot is what one analysis needs, and the right to run it: the semaphore
// carries the memory.
type slot struct {
	lane    *lane // it belongs to
	candles levels.Candles
	buf     []byte

	// bytes is what the slot is accounted: while it is busy what its holder may
	// need, while it is idle what its workspace has kept; 0 for an empty one.
	bytes int64
}

// clear gives the workspace of s to the collector.
func (s *slot) clear() { *s = slot{lane: s.lane} }

// decodeBuffer is the scratch an exchange client gets to decode in. A kline of
// Binance is about 170 bytes, so this holds 190 of them at a time.
const decodeBuffer = 32 << 10

// connection is what the holder of a slot takes besides its workspace: a kept
// TLS connection to the exchange (28 KiB of heap and 10 KiB of stacks, measured
// over 40 of them with net/http of Go 1.26) and a goroutine's stack of 8 KiB.
const connection = 46 << 10

// packedCandle is what a kept candle takes at most, packed, in the decode buffer:
// 6.4 bytes on average over 3.7 million real ones, 11.3 in the greediest series.
const packedCandle = 16

// SlotBytes is the memory a slot may need for an analysis of the given number of
// klines: columns, decode buffer, connection, and on top of them the quarter
// by which GOGC=25 lets a heap grow before it is collected.
func SlotBytes(klines int) int64 {
	buffer := max(decodeBuffer, packedCandle*int64(klines))
	return (int64(levels.CandlesBytes(klines)) + buffer + connection) * 5 / 4
}

// FindersBytes is the memory the finders may hold that the slots share, with the
// quarter that GOGC=25 leaves uncollected.
func FindersBytes(concurrency, klineLimit int) int64 {
	return int64(finders(concurrency)) * finderBytes(sharedKlines(klineLimit))
}

// finders is how many finders the slots share: as many as can compute at once.
// An analysis waits for its klines most of its time, and needs one for 0.15 ms.
func finders(concurrency int) int { return min(concurrency, runtime.GOMAXPROCS(0)) }

// sharedKlines is the largest analysis that uses a shared finder. A larger one
// has a finder for itself, or its scratch would be kept for ever.
func sharedKlines(klineLimit int) int { return min(2*klineLimit, MaxKlineLimit) }

func finderBytes(klines int) int64 { return int64(levels.FinderBytes(klines)) * 5 / 4 }

// need is what an analysis of so many klines is admitted with.
func (c Config) need(klines int) int64 {
	if klines > sharedKlines(c.KlineLimit) {
		return SlotBytes(klines) + finderBytes(klines)
	}
	return SlotBytes(klines)
}

// busyRetry is what a caller refused for a full queue is told to wait: a slot
// frees within the time of a few requests to the exchange.
const busyRetry = 2 * time.Second

// lane is a number of slots for one kind of work.
type lane struct {
	size int
	idle []*slot // the one used last at the end: few slots in use stay few with memory
}

// waiter is a caller in line.
type waiter struct {
	lane  *lane
	need  int64
	ready chan *slot // holds one
}

// pool is the semaphore: a fixed number of slots, and a number of bytes that
// they never exceed together. Those for fetching may all be waiting for the
// exchange, for as long as it wants a pause. What needs no exchange has one more
// slot for itself, so that it need not wait for that, and any that nobody who
// fetches wants.
//
// There is one line for all: who comes first is served first. Who waits for a slot
// of its lane lets the other lane pass, but who waits for bytes lets nobody pass,
// or a large request, and what comes beside a sweep, would wait for ever.
type pool struct {
	limit    int64 // bytes
	keep     int64 // bytes of workspace an idle slot may hold on to
	mu       sync.Mutex
	fetching lane
	aside    lane // one slot, of what needs no exchange
	waiting  []*waiter
	busy     int64 // bytes of busy slots
	idling   int64 // bytes of idle ones
}

func newPool(size int, limit, keep int64) *pool {
	p := &pool{limit: limit, keep: keep}
	p.fetching.size, p.aside.size = size, 1
	for _, l := range p.lanes() {
		for range l.size {
			l.idle = append(l.idle, &slot{lane: l})
		}
	}
	return p
}

func (p *pool) lanes() [2]*lane { return [...]*lane{&p.fetching, &p.aside} }

// open returns the lane that has an idle slot for who comes to l, nil for none. It is
// called with p.mu held.
func (p *pool) open(l *lane) *lane {
	if l == &p.aside && len(l.idle) == 0 && !slices.ContainsFunc(p.waiting, func(w *waiter) bool { return w.lane == &p.fetching }) {
		l = &p.fetching
	}
	if len(l.idle) == 0 {
		return nil
	}
	return l
}

// take takes an idle slot of l for a holder of so many bytes, for which there is
// room. It is called with p.mu held.
func (p *pool) take(l *lane, need int64) *slot {
	last := len(l.idle) - 1
	s := l.idle[last]
	l.idle = l.idle[:last]
	p.idling -= s.bytes
	if s.bytes < need || p.busy+s.bytes > p.limit {
		s.clear() // too small, and growing would overshoot; or larger than what is left
	}
	s.bytes = max(s.bytes, need)
	p.busy += s.bytes
	for _, each := range p.lanes() {
		for _, cold := range each.idle {
			if p.busy+p.idling <= p.limit {
				return s
			}
			p.idling -= cold.bytes
			cold.clear()
		}
	}
	return s
}

// acquire returns a slot at once, or a place in line for one of l.
func (p *pool) acquire(l *lane, need int64) (*slot, *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := &waiter{l, need, make(chan *slot, 1)}
	p.waiting = append(p.waiting, w)
	p.serve()
	select {
	case s := <-w.ready:
		return s, nil
	default:
		return nil, w
	}
}

// leave gives up a place in line, or the slot that came meanwhile.
func (p *pool) leave(w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, w); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		p.serve() // those behind may need less
		return
	}
	p.put(<-w.ready)
}

// release gives a slot back. Memory a large request left in it goes first, so
// that one request of 10,000 candles is not paid for ever after.
func (p *pool) release(s *slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put(s)
}

// put makes s idle and serves the line. It is called with p.mu held.
func (p *pool) put(s *slot) {
	p.busy -= s.bytes
	// what it has, which may be less than what its holder might have needed
	if s.bytes = min(s.bytes, SlotBytes(cap(s.candles.OpenTime))); s.bytes > p.keep {
		s.clear()
	}
	p.idling += s.bytes
	s.lane.idle = append(s.lane.idle, s)
	p.serve()
}

// serve hands slots to the first in line. It is called with p.mu held.
func (p *pool) serve() {
	for i := 0; i < len(p.waiting); {
		w := p.waiting[i]
		l := p.open(w.lane)
		if l == nil {
			i++
			continue
		}
		if p.busy+w.need > p.limit {
			return
		}
		w.ready <- p.take(l, w.need)
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
}

// inUse returns the number of busy slots of those for fetching, and what all busy slots may
// need, in bytes.
func (p *pool) inUse() (slots int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetching.size - len(p.fetching.idle), p.busy
}

// most is the largest number of klines, up to MaxKlineLimit, whose analysis has
// room in so many bytes at all.
func (c Config) most(limit int64) int {
	return sort.Search(MaxKlineLimit, func(n int) bool { return c.need(n+1) > limit })
}

// fits refuses a number of klines that would wait for ever.
func (a *Analyzer) fits(klines int) error {
	if klines <= a.most {
		return nil
	}
	return fmt.Errorf("%w: an analysis of %d klines needs more memory than MEMORY_BUDGET leaves: ask for at most %d", ErrInvalid, klines, a.most)
}

// acquire waits in the line of l for a slot that has room for so many klines, and for more bytes
// that its holder takes while it has it. Callers from outside are counted against the
// queue limit; the dispatcher of a job is not, there is one of them.
func (a *Analyzer) acquire(ctx context.Context, l *lane, klines int, more int64, queued bool) (*slot, error) {
	switch {
	case a.stopping.Err() != nil:
		return nil, ErrStopping
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	s, place := a.slots.acquire(l, a.cfg.need(klines)+more)
	if place != nil && queued {
		if a.waiting.Add(1) > int64(a.cfg.QueueLimit) {
			a.waiting.Add(-1)
			a.slots.leave(place)
			return nil, &RetryAfterError{
				Err:   fmt.Errorf("%w: %d requests wait for a slot already (ANALYSIS_QUEUE_LIMIT)", ErrBusy, a.cfg.QueueLimit),
				Until: time.Now().Add(busyRetry),
			}
		}
		defer a.waiting.Add(-1)
	}
	if place != nil {
		select {
		case s = <-place.ready:
		case <-ctx.Done():
			a.slots.leave(place)
			return nil, context.Cause(ctx)
		case <-a.stopping.Done():
			a.slots.leave(place)
			return nil, ErrStopping
		}
	}
	if s.buf == nil {
		s.buf = make([]byte, decodeBuffer)
	}
	return s, nil
}

// contained runs f and turns a panic into an error: one pair's, never the
// process's. What the panic left in the slot is thrown away.
func (a *Analyzer) contained(s *slot, symbol string, f func() (Snapshot, error)) (snap Snapshot, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.metrics.panics.Inc()
			a.log.Error("analysis panicked", "symbol", symbol, "panic", p, "stack", string(debug.Stack()))
			s.candles = levels.Candles{}
			snap, err = Snapshot{}, fmt.Errorf("analysis of %s panicked: %v", symbol, p)
		}
	}()
	return f()
}

// Analysis is the analysis of one pair, with what is stored beside it.
type Analysis struct {
	Snapshot
	change CandleChange // of the candles kept; no blocks: none
	judged *Judged      // nil for none
}

// Add adds an analysis to what is to be stored.
func (r *Results) Add(a Analysis) {
	r.Snapshots = append(r.Snapshots, a.Snapshot)
	r.Candles = append(r.Candles, a.change.list()...)
	if a.judged != nil {
		r.Judged = append(r.Judged, *a.judged)
	}
}

// AnalyzeEach analyses pairs, each as soon as a slot is free, as r says but for its
// Symbol, and stores nothing. It calls done with the outcome of each, from several
// goroutines at once and before the slot is free again. It returns when all that have
// begun have ended; its error says why others have not begun.
//
// A call begins its pairs when the call before it has begun its last one: slots never
// idle between two calls, and two calls do not compete.
func (a *Analyzer) AnalyzeEach(ctx context.Context, pairs iter.Seq[Pair], r Request, done func(p Pair, got Analysis, err error)) error {
	if err := a.fits(r.KlineLimit); err != nil {
		return err
	}
	var analyses sync.WaitGroup
	defer analyses.Wait()
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for p := range pairs {
		s, err := a.acquire(ctx, &a.slots.fetching, r.KlineLimit, 0, false)
		if err != nil {
			return err
		}
		analyses.Go(func() {
			defer a.slots.release(s)
			got, err := a.analyzePair(ctx, s, p, r)
			done(p, got, err)
		})
	}
	return nil
}

// analyzeSymbol fetches the candles of one pair into s and analyses them.
func (a *Analyzer) analyzeSymbol(ctx context.Context, s *slot, p Pair, r Request) (got Analysis, err error) {
	start := time.Now()
	got.Snapshot, err = a.contained(s, p.Name, func() (Snapshot, error) {
		f, err := a.fetch(ctx, s, p.Name, r.Interval, r.KlineLimit, levels.MinCandles)
		if err != nil {
			return Snapshot{}, err
		}
		if r.Store {
			got.change = a.keep(ctx, s, p.Name, f)
			if !f.first { // a new pair has no promise
				got.judged = a.judge(ctx, &s.candles, p.Name, r.KlineLimit)
			}
		}
		f.cut(&s.candles, r.KlineLimit)
		now, err := a.exchange.Now(ctx)
		if err != nil {
			return Snapshot{}, err
		}
		return a.snapshot(s, p, now)
	})
	a.metrics.observe(err, time.Since(start))
	if err == nil {
		a.metrics.missing.Add(float64(got.Missing))
	}
	return got, err
}

// withFinder lends use a finder for so many candles.
func (a *Analyzer) withFinder(candles int, use func(f *levels.Finder) error) error {
	finder, after := new(levels.Finder), new(levels.Finder)
	if candles <= sharedKlines(a.cfg.KlineLimit) {
		finder = <-a.finders
		defer func() { a.finders <- after }()
	}
	err := use(finder)
	after = finder // unless it panicked, which may have left it odd
	return err
}

// snapshot finds the levels of the candles in s and copies them out.
func (a *Analyzer) snapshot(s *slot, p Pair, now time.Time) (Snapshot, error) {
	var found levels.Analysis
	var all []levels.Level
	supports := 0
	err := a.withFinder(s.candles.Len(), func(f *levels.Finder) (err error) {
		if found, err = f.Find(&s.candles); err != nil {
			return err
		}
		all = make([]levels.Level, 0, len(found.Supports)+len(found.Resistances))
		all = p.Tick.appendRounded(all, found.Supports)
		supports = len(all)
		all = p.Tick.appendRounded(all, found.Resistances)
		return nil
	})
	if err != nil {
		return Snapshot{}, err
	}
	market := a.exchange.Market()
	return Snapshot{
		Key:         Key{Exchange: market.Exchange, Symbol: p.Name, Interval: s.candles.Interval},
		AsOf:        time.UnixMilli(found.AsOf).UTC(),
		ComputedAt:  now.UTC().Truncate(time.Millisecond),
		LastPrice:   p.Tick.Round(found.LastPrice),
		ATR:         found.ATR,
		Klines:      found.Candles,
		Missing:     found.Missing,
		Simulated:   market.Simulated,
		Algorithm:   levels.Algorithm,
		Decimals:    p.Tick.Decimals,
		Supports:    all[:supports:supports],
		Resistances: all[supports:],
	}, nil
}

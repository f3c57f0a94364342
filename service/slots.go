package service

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sort"
	"sync"
	"time"

	"tidemark/levels"
)

// slot is the workspace of one analysis and the permission to run it.
type slot struct {
	lane    *lane
	candles levels.Candles
	buf     []byte

	// bytes is the memory accounted to the slot: what the holder of a busy slot may
	// need, or what an idle slot still holds.
	bytes int64
}

// clear releases the workspace of s to the garbage collector.
func (s *slot) clear() { *s = slot{lane: s.lane} }

// decodeBuffer is the size, in bytes, of the scratch buffer of an exchange client. A
// kline of Binance is about 170 bytes, so the buffer holds 95 of them.
const decodeBuffer = 16 << 10

// ConnectionBytes is the memory, in bytes, of the holder of a slot outside its workspace:
// an idle TLS connection to the exchange (28 KiB of heap and 10 KiB of stacks,
// measured over 40 connections with net/http of Go 1.26) and a goroutine stack of
// 8 KiB.
const ConnectionBytes = 46 << 10

// packedCandle is an upper bound of the size, in bytes, of a packed candle in the
// decode buffer: 3.7 million real candles took 6.4 bytes on average, and 11.3 in the
// largest series.
const packedCandle = 16

// SlotBytes returns the memory a slot may need for an analysis of the given number
// of klines: columns, decode buffer and connection, plus the quarter by which GOGC=25
// allows the heap to grow between collections.
func SlotBytes(klines int) int64 {
	buffer := max(decodeBuffer, packedCandle*int64(klines))
	return (int64(levels.CandlesBytes(klines)) + buffer + ConnectionBytes) * 5 / 4
}

// FindersBytes returns the memory the shared finders may hold, plus the quarter for
// GOGC=25.
func FindersBytes(concurrency, klineLimit int) int64 {
	return int64(finders(concurrency)) * finderBytes(sharedKlines(klineLimit))
}

// finders returns the number of finders the slots share: as many as can compute at
// once. An analysis mostly waits for its klines and needs a finder for 0.15 ms.
func finders(concurrency int) int { return min(concurrency, runtime.GOMAXPROCS(0)) }

// sharedKlines returns the size of the largest analysis that uses a shared finder. A
// larger one gets its own, because a shared finder never shrinks.
func sharedKlines(klineLimit int) int { return min(2*klineLimit, MaxKlineLimit) }

func finderBytes(klines int) int64 { return int64(levels.FinderBytes(klines)) * 5 / 4 }

// need returns the memory that an analysis of the given number of klines reserves.
func (c Config) need(klines int) int64 {
	if klines > sharedKlines(c.KlineLimit) {
		return SlotBytes(klines) + finderBytes(klines)
	}
	return SlotBytes(klines)
}

// busyRetry is the Retry-After of a request refused because the queue is full. A slot
// becomes free within the time of a few requests to the exchange.
const busyRetry = 2 * time.Second

// lane is the set of slots for one kind of work.
type lane struct {
	name    string // of the exchange
	size    int
	idle    []*slot // a stack: reusing the last slot keeps few workspaces allocated
	waiting int     // requests that wait for the exchange or a slot
}

// place is the place of a request among those that wait for a lane, until it gets its slot.
type place struct {
	lane *lane
	held bool
}

// leave is called with the mutex of the pool held.
func (q *place) leave() {
	if q != nil && q.held {
		q.held = false
		q.lane.waiting--
	}
}

// waiter is a caller in the queue.
type waiter struct {
	lane  *lane
	place *place // nil for the pairs of a sweep
	need  int64
	ready chan *slot // holds one
}

// pool is the semaphore: a fixed number of slots for each exchange, and a number of
// bytes that all of them never exceed together. The slots of an exchange may all be
// waiting for its responses. Work that does not need an exchange has a slot of its
// own, so that it does not wait with them. It may also borrow an idle fetching slot
// when no fetch is queued.
//
// All callers wait in one queue, in order of arrival. A caller that waits for a slot
// of its lane does not block callers of the other lane. A caller that waits for bytes
// blocks all later ones; otherwise smaller requests, such as the pairs of a sweep,
// could starve a large one.
type pool struct {
	limit    int64 // bytes
	keep     int64 // bytes of workspace an idle slot may keep
	mu       sync.Mutex
	fetching []*lane // one for each exchange
	local    *lane   // one slot, for work that does not need an exchange
	waiting  []*waiter
	busy     int64 // bytes of busy slots
	idling   int64 // bytes of idle ones
}

// newPool returns a pool with size slots for each of the exchanges.
func newPool(size int, exchanges []string, limit, keep int64) *pool {
	p := &pool{limit: limit, keep: keep}
	for _, name := range exchanges {
		p.fetching = append(p.fetching, newLane(name, size))
	}
	p.local = newLane("", 1)
	return p
}

func newLane(name string, size int) *lane {
	l := &lane{name: name, size: size}
	for range size {
		l.idle = append(l.idle, &slot{lane: l})
	}
	return l
}

// of returns the lane of an exchange.
func (p *pool) of(exchange string) *lane {
	for _, l := range p.fetching {
		if l.name == exchange {
			return l
		}
	}
	return nil
}

// lanes yields all lanes.
func (p *pool) lanes(yield func(*lane) bool) {
	for _, l := range p.fetching {
		if !yield(l) {
			return
		}
	}
	yield(p.local)
}

// available returns the lane with an idle slot for a caller of l, or nil. It is called
// with p.mu held.
func (p *pool) available(l *lane) *lane {
	if len(l.idle) > 0 {
		return l
	}
	if l == p.local && !slices.ContainsFunc(p.waiting, func(w *waiter) bool { return w.lane != p.local }) {
		for _, fetching := range p.fetching {
			if len(fetching.idle) > 0 {
				return fetching
			}
		}
	}
	return nil
}

// take removes an idle slot from l and reserves need bytes, which the caller has
// checked to fit. It is called with p.mu held.
func (p *pool) take(l *lane, need int64) *slot {
	last := len(l.idle) - 1
	s := l.idle[last]
	l.idle = l.idle[:last]
	p.idling -= s.bytes
	if s.bytes < need || p.busy+s.bytes > p.limit {
		s.clear() // too small, and growing it would exceed the limit; or larger than what is left
	}
	s.bytes = max(s.bytes, need)
	p.busy += s.bytes
	for each := range p.lanes {
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

// queue returns a place among those that wait for l, or nil if limit requests wait that
// no idle slot is left for.
func (p *pool) queue(l *lane, limit int) *place {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.waiting >= limit+len(l.idle) {
		return nil
	}
	l.waiting++
	return &place{l, true}
}

// leave gives up a place.
func (p *pool) leave(q *place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q.leave()
}

// acquire returns a slot, or a waiter in the queue if none is free.
func (p *pool) acquire(l *lane, need int64, q *place) (*slot, *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := &waiter{l, q, need, make(chan *slot, 1)}
	p.waiting = append(p.waiting, w)
	p.serve()
	select {
	case s := <-w.ready:
		return s, nil
	default:
		return nil, w
	}
}

// cancel removes w from the queue, or releases the slot it has received meanwhile.
func (p *pool) cancel(w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, w); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		p.serve() // later waiters may need fewer bytes
		return
	}
	p.put(<-w.ready)
}

// release returns a slot to the pool. It drops a workspace larger than p.keep, so
// that one request of 10,000 candles does not hold its memory for ever.
func (p *pool) release(s *slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put(s)
}

// put makes s idle and serves the queue. It is called with p.mu held.
func (p *pool) put(s *slot) {
	p.busy -= s.bytes
	// The workspace may be smaller than the reservation.
	if s.bytes = min(s.bytes, SlotBytes(cap(s.candles.OpenTime))); s.bytes > p.keep {
		s.clear()
	}
	p.idling += s.bytes
	s.lane.idle = append(s.lane.idle, s)
	p.serve()
}

// serve hands slots to the waiters, first come, first served. It is called with p.mu
// held.
func (p *pool) serve() {
	for i := 0; i < len(p.waiting); {
		w := p.waiting[i]
		l := p.available(w.lane)
		if l == nil {
			i++
			continue
		}
		if p.busy+w.need > p.limit {
			return
		}
		w.place.leave()
		w.ready <- p.take(l, w.need)
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
}

// inUse returns the number of busy fetching slots, and the bytes that all busy slots
// have reserved.
func (p *pool) inUse() (slots int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.fetching {
		slots += l.size - len(l.idle)
	}
	return slots, p.busy
}

// waitingMost returns the most requests that wait for one lane.
func (p *pool) waitingMost() (most int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.lanes {
		most = max(most, l.waiting)
	}
	return most
}

// maxKlines returns the largest number of klines, at most MaxKlineLimit, whose
// analysis needs no more than limit bytes.
func (c Config) maxKlines(limit int64) int {
	return sort.Search(MaxKlineLimit, func(n int) bool { return c.need(n+1) > limit })
}

// fits returns ErrInvalid if an analysis of so many klines could never get a slot.
func (a *Analyzer) fits(klines int) error {
	if klines <= a.maxKlines {
		return nil
	}
	return fmt.Errorf("%w: an analysis of %d klines needs more memory than MEMORY_BUDGET leaves: ask for at most %d", ErrInvalid, klines, a.maxKlines)
}

// queue returns the place of a request in the queue of a lane, or an error if too many wait
// already.
func (a *Analyzer) queue(l *lane) (*place, error) {
	if q := a.slots.queue(l, a.cfg.QueueLimit); q != nil {
		return q, nil
	}
	return nil, &RetryAfterError{
		Err:   fmt.Errorf("%w: %d requests already wait for a slot (ANALYSIS_QUEUE_LIMIT)", ErrBusy, a.cfg.QueueLimit),
		Until: time.Now().Add(busyRetry),
	}
}

// enter waits until the exchange may be asked, and then for a slot.
func (a *Analyzer) enter(ctx context.Context, x Exchange, v Visit, klines int, q *place) (*slot, error) {
	if a.stopping.Err() != nil {
		return nil, ErrStopping
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(a.stopping, func() { cancel(ErrStopping) })()
	if err := v.Wait(ctx); err != nil {
		return nil, err
	}
	return a.acquire(ctx, a.slots.of(x.Market().Exchange), klines, 0, q)
}

// acquireLocal waits for a slot that needs no exchange.
func (a *Analyzer) acquireLocal(ctx context.Context, klines int, extra int64) (*slot, error) {
	q, err := a.queue(a.slots.local)
	if err != nil {
		return nil, err
	}
	defer a.slots.leave(q)
	return a.acquire(ctx, a.slots.local, klines, extra, q)
}

// acquire waits for a slot of l and reserves memory for the given number of klines
// and extra bytes. A request gives up its place with it; the dispatchers of jobs have none.
func (a *Analyzer) acquire(ctx context.Context, l *lane, klines int, extra int64, q *place) (*slot, error) {
	switch {
	case a.stopping.Err() != nil:
		return nil, ErrStopping
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	s, w := a.slots.acquire(l, a.cfg.need(klines)+extra, q)
	if w != nil {
		select {
		case s = <-w.ready:
		case <-ctx.Done():
			a.slots.cancel(w)
			return nil, context.Cause(ctx)
		case <-a.stopping.Done():
			a.slots.cancel(w)
			return nil, ErrStopping
		}
	}
	if s.buf == nil {
		s.buf = make([]byte, decodeBuffer)
	}
	return s, nil
}

// recovered calls f and converts a panic into an error, so that a panic fails one
// pair and not the process. It drops the candles of the slot after a panic.
func (a *Analyzer) recovered(s *slot, symbol string, f func() (Snapshot, error)) (snap Snapshot, err error) {
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

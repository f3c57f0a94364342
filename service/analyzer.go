package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/levels"
)

// Config is the configuration of an Analyzer.
type Config struct {
	Concurrency int             // slots of each exchange: pairs analysed at once, each with its workspace
	KlineLimit  int             // candles per pair, unless a request says otherwise
	Memory      int64           // bytes all busy slots may need together, by SlotBytes; 0: no limit
	QueueLimit  int             // requests that may wait for a slot of an exchange; one more is ErrBusy
	Interval    levels.Interval // unless a request says otherwise
	Timeout     time.Duration   // of Analyze, including the wait for a slot
	// Watch says what happened to the levels of before, the stored analysis, up to after,
	// which will be stored; nil if nothing is to be stored. before is nil for a new pair, and
	// may be of the same candle as after. state is that of the levels at before, nil if none
	// is stored; c has the candles of after. A nil Watch watches nothing.
	Watch func(before, after *Snapshot, state []byte, c *levels.Candles) *Watch
}

// The bounds of a request's kline limit.
const (
	MinKlineLimit = 100
	MaxKlineLimit = 10_000
)

// Request asks for the analysis of one pair. Zero values of Exchange, Interval and
// KlineLimit select the configured ones: of several exchanges, the first.
type Request struct {
	Exchange   string
	Symbol     string
	Interval   levels.Interval
	KlineLimit int
	Store      bool
	// Urgent is for AnalyzeEach: pairs are started beside those of other calls, because
	// their candles have arrived.
	Urgent bool
}

// Analyzer runs analyses on a fixed number of slots. A slot is a workspace: candle
// columns and a decode buffer. There are Config.Concurrency slots for each exchange, and
// one more for work that does not need any. Together they never hold more than
// Config.Memory.
//
// The exchanges share the slots.
type Analyzer struct {
	cfg       Config
	exchanges []Exchange
	store     Store
	log       *slog.Logger
	metrics   *metrics

	slots     *pool
	finders   chan *levels.Finder      // shared by the slots
	maxKlines int                      // largest analysis that fits in Config.Memory
	dispatch  map[string]chan struct{} // by exchange; holds one element while a call of AnalyzeEach is starting pairs
	forming   forming

	mu      sync.Mutex
	flights map[Request]*flight

	// stopping ends when new work is refused; killing ends later and cancels the
	// work itself.
	stopping, killing context.Context
	stop, kill        context.CancelCauseFunc
	work              sync.WaitGroup
}

// New returns an Analyzer of one or more exchanges that registers its metrics with reg.
func New(cfg Config, exchanges []Exchange, store Store, reg prometheus.Registerer, log *slog.Logger) *Analyzer {
	names := make([]string, len(exchanges))
	for i, x := range exchanges {
		names[i] = x.Market().Exchange
	}
	a := &Analyzer{
		cfg: cfg, exchanges: exchanges, store: store, log: log,
		slots:    newPool(cfg.Concurrency, names, cmp.Or(cfg.Memory, math.MaxInt64), SlotBytes(2*cfg.KlineLimit)),
		finders:  make(chan *levels.Finder, finders(cfg.Concurrency)),
		dispatch: map[string]chan struct{}{},
		flights:  map[Request]*flight{},
	}
	for _, name := range names {
		a.dispatch[name] = make(chan struct{}, 1)
	}
	a.maxKlines = cfg.maxKlines(a.slots.limit)
	for range finders(cfg.Concurrency) {
		a.finders <- newFinder()
	}
	a.stopping, a.stop = context.WithCancelCause(context.Background())
	a.killing, a.kill = context.WithCancelCause(context.Background())
	a.metrics = newMetrics(reg, a)
	return a
}

// cancelGrace is how long Stop waits for cancelled work to end.
const cancelGrace = time.Second

// Stop refuses new work and waits for the work under way: single analyses and work
// registered by Begin. When ctx is done first, Stop cancels the rest and waits for
// at most cancelGrace, because a database that does not respond must not keep the
// process from ending.
func (a *Analyzer) Stop(ctx context.Context) error {
	a.mu.Lock()
	a.stop(ErrStopping)
	a.mu.Unlock()
	done := make(chan struct{})
	go func() { a.work.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	a.kill(ErrStopping)
	select {
	case <-done:
	case <-time.After(cancelGrace):
	}
	return fmt.Errorf("work under way was cancelled: %w", context.Cause(ctx))
}

// Begin registers work. Stop waits until done is called. Begin returns ErrStopping
// after Stop has been called.
func (a *Analyzer) Begin() (done func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopping.Err() != nil {
		return nil, ErrStopping
	}
	a.work.Add(1)
	return a.work.Done, nil
}

// Stopping returns a context that ends when Stop is called.
func (a *Analyzer) Stopping() context.Context { return a.stopping }

// Killing returns a context that ends when Stop cancels the work under way.
func (a *Analyzer) Killing() context.Context { return a.killing }

// Defaults returns the configured interval and kline limit.
func (a *Analyzer) Defaults() (levels.Interval, int) { return a.cfg.Interval, a.cfg.KlineLimit }

// Settle sets the interval and the kline limit to the configured ones if they are
// zero. It returns ErrInvalid if they are out of range or the analysis does not fit
// in memory.
func (a *Analyzer) Settle(interval *levels.Interval, limit *int) error {
	if *interval == "" {
		*interval = a.cfg.Interval
	}
	if _, err := levels.ParseInterval(string(*interval)); err != nil {
		return err
	}
	if *limit == 0 {
		*limit = a.cfg.KlineLimit
	}
	if *limit < MinKlineLimit || *limit > MaxKlineLimit {
		return fmt.Errorf("%w: kline_limit %d is not between %d and %d", ErrInvalid, *limit, MinKlineLimit, MaxKlineLimit)
	}
	return a.fits(*limit)
}

// flight is one analysis under way, the context of its work, and the number of
// callers that wait for it. It is cancelled when the last of them has left.
type flight struct {
	context.Context
	cancel  context.CancelCauseFunc
	until   atomic.Pointer[time.Time]
	waiters int
	done    chan struct{}
	snap    Snapshot
	err     error
}

// Deadline implements context.Context. It returns the latest deadline of the callers
// that wait, so a caller that joins may move it.
func (f *flight) Deadline() (time.Time, bool) { return *f.until.Load(), true }

// Analyze analyses one pair, within Config.Timeout. A request that is identical to
// one under way joins it. The work continues while a caller waits for it, and every
// caller has the whole timeout.
func (a *Analyzer) Analyze(ctx context.Context, r Request) (Snapshot, error) {
	x, err := a.exchange(r.Exchange)
	if err != nil {
		return Snapshot{}, err
	}
	r.Exchange = x.Market().Exchange
	if err := a.Settle(&r.Interval, &r.KlineLimit); err != nil {
		return Snapshot{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	a.mu.Lock()
	if a.stopping.Err() != nil {
		a.mu.Unlock()
		return Snapshot{}, ErrStopping
	}
	f := a.flights[r]
	if f == nil {
		f = a.launch(x, r, deadline)
	} else {
		a.metrics.joined.Inc()
		if deadline.After(*f.until.Load()) {
			f.until.Store(&deadline)
		}
	}
	f.waiters++
	a.mu.Unlock()

	select {
	case <-f.done:
		return f.snap, f.err
	case <-ctx.Done():
		a.mu.Lock()
		if f.waiters--; f.waiters == 0 {
			f.cancel(context.Cause(ctx))
			if a.flights[r] == f {
				delete(a.flights, r) // the next caller must not join a cancelled flight
			}
		}
		a.mu.Unlock()
		return Snapshot{}, context.Cause(ctx)
	}
}

// launch starts a flight. It is called with a.mu held.
func (a *Analyzer) launch(x Exchange, r Request, deadline time.Time) *flight {
	f := &flight{done: make(chan struct{})}
	f.Context, f.cancel = context.WithCancelCause(a.killing)
	f.until.Store(&deadline)
	a.flights[r] = f
	a.work.Go(func() {
		defer f.cancel(nil)
		f.snap, f.err = a.analyze(f, x, r)
		a.mu.Lock()
		if a.flights[r] == f {
			delete(a.flights, r)
		}
		a.mu.Unlock()
		close(f.done)
	})
	return f
}

// analyze takes a slot, analyses one pair and stores the result if r.Store is set.
func (a *Analyzer) analyze(ctx context.Context, x Exchange, r Request) (Snapshot, error) {
	if r.Store {
		if err := a.store.Writable(); err != nil {
			return Snapshot{}, err // without fetching anything
		}
	}
	q, err := a.queue(a.slots.of(x.Market().Exchange))
	if err != nil {
		return Snapshot{}, err
	}
	defer a.slots.leave(q)
	p := Pair{Name: r.Symbol}
	name, err := a.lookUp(ctx, x, &p)
	if err != nil {
		a.metrics.observe(err, 0)
		return Snapshot{}, err
	}
	var got Analysis
	err = a.visit(ctx, x, r.Symbol, r.Interval, r.KlineLimit, q, func(v Visit, s *slot) (err error) {
		got, err = a.analyzeSymbol(ctx, x, v, s, p, r)
		return err
	})
	got.Name = name
	if !r.Store {
		return got.Snapshot, err
	}
	var results Results
	if err != nil {
		results.AddCandles(got)
		if results.Candles != nil {
			if err := a.store.Put(ctx, results); err != nil && ctx.Err() == nil && !Unwritable(err) {
				a.log.Warn("candles could not be stored and will be fetched again", "exchange", r.Exchange, "symbol", r.Symbol, "interval", r.Interval, "error", err)
			}
		}
		return Snapshot{}, err
	}
	results.Add(got)
	if err := a.store.Put(ctx, results); err != nil {
		return Snapshot{}, err
	}
	return got.Snapshot, nil
}

// visit waits for the exchange, takes a slot and calls use, again as long as use returns
// ErrLater.
func (a *Analyzer) visit(ctx context.Context, x Exchange, symbol string, interval levels.Interval, klines int, q *place, use func(v Visit, s *slot) error) error {
	v := x.Visit(symbol, interval, klines)
	defer v.Close()
	for {
		s, err := a.enter(ctx, x, v, klines, q)
		if err != nil {
			return err
		}
		err = use(v, s)
		a.slots.release(s)
		if !errors.Is(err, ErrLater) {
			return err
		}
	}
}

// MaxKlines returns the largest number of klines whose analysis fits in memory.
func (a *Analyzer) MaxKlines() int { return a.maxKlines }

// AnalyzeCandles analyses n candles that the caller supplies. It takes a slot with
// room for n candles, calls fill to reset and fill the slot's columns, and returns the
// analysis with prices rounded to the tick, if there is one. Its Key has no exchange and no
// symbol, and it is never stored. If the last candle is not closed yet, the error is
// ErrInvalid. Errors of fill are returned unchanged.
func (a *Analyzer) AnalyzeCandles(ctx context.Context, n int, tick Tick, fill func(dst *levels.Candles) error) (Snapshot, error) {
	if err := a.fits(n); err != nil {
		return Snapshot{}, err
	}
	s, err := a.acquireLocal(ctx, n, 0)
	if err != nil {
		return Snapshot{}, err
	}
	defer a.slots.release(s)
	return a.recovered(s, "the caller's klines", func() (Snapshot, error) {
		if err := fill(&s.candles); err != nil {
			return Snapshot{}, err
		}
		now := time.Now()
		if err := closedBy(&s.candles, now); err != nil {
			return Snapshot{}, err
		}
		return a.snapshot(&s.candles, Market{}, Pair{Tick: tick}, now)
	})
}

// closedBy returns ErrInvalid if the last of the caller's candles closes after now.
func closedBy(c *levels.Candles, now time.Time) error {
	if asOf := time.UnixMilli(c.AsOf()); asOf.After(now) {
		return fmt.Errorf("%w: the last of the %d klines closes at %s, in the future: send closed klines only",
			ErrInvalid, c.Len(), asOf.UTC().Format(time.RFC3339))
	}
	return nil
}

// MaxWindow returns the largest window of Past.
func (a *Analyzer) MaxWindow() int { return min(sharedKlines(a.cfg.KlineLimit), a.maxKlines) }

// Past calls use with an analysis of each window of c in turn, as AnalyzeCandles would
// return it for these candles alone: those from index From up to, not including, To, at
// most MaxWindow. An analysis of too few candles fails with levels.ErrTooFewCandles, which
// is passed to use; an error of use ends Past.
//
// c belongs to the caller, and Past takes no slot: between two calls of use it waits for a
// finder, as other analyses do, and holds it while it computes. use may therefore be slow.
func (a *Analyzer) Past(ctx context.Context, c *levels.Candles, windows iter.Seq[Window], use func(w Window, s Snapshot, err error) error) error {
	if a.stopping.Err() != nil {
		return ErrStopping
	}
	now := time.Now()
	if err := closedBy(c, now); err != nil {
		return err
	}
	for w := range windows {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case a.killing.Err() != nil:
			return context.Cause(a.killing)
		}
		part := c.Slice(w.From, w.To)
		s, err := a.snapshot(&part, Market{}, Pair{Tick: w.Tick}, now)
		if err := use(w, s, err); err != nil {
			return err
		}
	}
	return nil
}

// Window is a part of a series that Past analyses, and the tick of its prices.
type Window struct {
	From, To int
	Tick     Tick // zero: prices are not rounded
}

// Candles calls fn with the last limit closed candles of a series. They belong to a
// slot: fn must not retain them. Stored candles are not fetched. If all of them are
// stored, the call does not wait for the slots that fetch. Fetched candles are not
// stored, because reading must not write.
func (a *Analyzer) Candles(ctx context.Context, key Key, limit int, fn func(c *levels.Candles) error) error {
	x, err := a.exchange(key.Exchange)
	if err != nil {
		return err
	}
	if _, err := levels.ParseInterval(string(key.Interval)); err != nil {
		return err
	}
	if err := a.fits(limit); err != nil {
		return err
	}
	all, err := a.storedCandles(ctx, x, key, limit, fn)
	if all || err != nil {
		return err
	}
	q, err := a.queue(a.slots.of(x.Market().Exchange))
	if err != nil {
		return err
	}
	defer a.slots.leave(q)
	return a.visit(ctx, x, key.Symbol, key.Interval, limit, q, func(v Visit, s *slot) error {
		_, err := a.recovered(s, key.Symbol, func() (Snapshot, error) {
			f, err := a.fetch(ctx, x, v, s, Pair{Name: key.Symbol}, key.Interval, limit, 1)
			if err != nil {
				return Snapshot{}, err
			}
			f.cut(&s.candles, limit)
			return Snapshot{}, fn(&s.candles)
		})
		return err
	})
}

// CountJoined counts a request that has joined identical work under way.
func (a *Analyzer) CountJoined() { a.metrics.joined.Inc() }

package service

import (
	"cmp"
	"context"
	"fmt"
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
	Concurrency int             // slots: pairs analysed at once, each with its workspace
	KlineLimit  int             // candles per pair, unless a request says otherwise
	Memory      int64           // bytes the slots may need together, by SlotBytes; 0: no bound but their number
	QueueLimit  int             // requests that may wait for a slot; one more is ErrBusy
	Interval    levels.Interval // unless a request says otherwise
	Timeout     time.Duration   // of one analysis asked for by itself, waiting included
}

// Bounds of a request's kline limit.
const (
	MinKlineLimit = 100
	MaxKlineLimit = 10_000
)

// Request asks for the analysis of one pair. Zero values mean the configured
// ones.
type Request struct {
	Symbol     string
	Interval   levels.Interval
	KlineLimit int
	Store      bool
}

// Analyzer runs analyses on a fixed number of slots. A slot is a workspace:
// the candle columns and the decode buffer its holder needs. There are
// exactly Config.Concurrency of them, and one more for what needs no exchange, and
// together they never hold more than Config.Memory, so memory is a configured number.
type Analyzer struct {
	cfg      Config
	exchange Exchange
	store    Store
	log      *slog.Logger
	metrics  *metrics

	slots   *pool
	finders chan *levels.Finder // shared by the slots
	most    int                 // klines an analysis has room for
	waiting atomic.Int64        // requests waiting for a slot
	turn    chan struct{}       // held by the call of AnalyzeEach that is beginning pairs
	forming forming

	mu      sync.Mutex
	flights map[Request]*flight

	// stopping ends the taking of new work; killing, later, the work itself.
	stopping, killing context.Context
	stop, kill        context.CancelCauseFunc
	work              sync.WaitGroup
}

// New returns an Analyzer that registers its metrics with reg.
func New(cfg Config, exchange Exchange, store Store, reg prometheus.Registerer, log *slog.Logger) *Analyzer {
	a := &Analyzer{
		cfg: cfg, exchange: exchange, store: store, log: log,
		slots:   newPool(cfg.Concurrency, cmp.Or(cfg.Memory, math.MaxInt64), SlotBytes(2*cfg.KlineLimit)),
		finders: make(chan *levels.Finder, finders(cfg.Concurrency)),
		turn:    make(chan struct{}, 1),
		flights: map[Request]*flight{},
	}
	a.most = cfg.most(a.slots.limit)
	for range finders(cfg.Concurrency) {
		a.finders <- new(levels.Finder)
	}
	a.stopping, a.stop = context.WithCancelCause(context.Background())
	a.killing, a.kill = context.WithCancelCause(context.Background())
	a.metrics = newMetrics(reg, a)
	return a
}

// breakOff is how long what is broken off may take to end.
const breakOff = time.Second

// Stop accepts no new work and waits for what is under way: single analyses, and
// work that was registered by Begin. When ctx is done first, what is left is
// cancelled and has breakOff to end; then Stop returns anyway: a database that does
// not answer must not keep the process from ending.
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
	case <-time.After(breakOff):
	}
	return fmt.Errorf("work was broken off: %w", context.Cause(ctx))
}

// Begin registers work that Stop is to wait for, until done is called. It is
// ErrStopping after Stop was called.
func (a *Analyzer) Begin() (done func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopping.Err() != nil {
		return nil, ErrStopping
	}
	a.work.Add(1)
	return a.work.Done, nil
}

// Stopping ends when Stop is called.
func (a *Analyzer) Stopping() context.Context { return a.stopping }

// Killing ends when Stop does not wait any longer.
func (a *Analyzer) Killing() context.Context { return a.killing }

// Defaults returns the interval and kline limit of a request that names none.
func (a *Analyzer) Defaults() (levels.Interval, int) { return a.cfg.Interval, a.cfg.KlineLimit }

// Settle fills in the interval and the kline limit that a request leaves out, and
// refuses with ErrInvalid what is out of range or has no room.
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

// flight is one analysis under way, the context of its work, and who waits for
// it. It ends when the last of them has left.
type flight struct {
	context.Context
	cancel  context.CancelCauseFunc
	until   atomic.Pointer[time.Time]
	waiters int
	done    chan struct{}
	snap    Snapshot
	err     error
}

// Deadline implements context.Context: the latest of those who wait. It moves on
// with each who joins.
func (f *flight) Deadline() (time.Time, bool) { return *f.until.Load(), true }

// Analyze analyses one pair now, within Config.Timeout. Identical requests under
// way are joined: the work goes on while anyone waits for it, and each waits for
// as long as if it had been the first.
func (a *Analyzer) Analyze(ctx context.Context, r Request) (Snapshot, error) {
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
		f = a.launch(r, deadline)
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
				delete(a.flights, r) // who asks next wants it done, not cancelled
			}
		}
		a.mu.Unlock()
		return Snapshot{}, context.Cause(ctx)
	}
}

// launch starts a flight. It is called with a.mu held.
func (a *Analyzer) launch(r Request, deadline time.Time) *flight {
	f := &flight{done: make(chan struct{})}
	f.Context, f.cancel = context.WithCancelCause(a.killing)
	f.until.Store(&deadline)
	a.flights[r] = f
	a.work.Go(func() {
		defer f.cancel(nil)
		f.snap, f.err = a.analyze(f, r)
		a.mu.Lock()
		if a.flights[r] == f {
			delete(a.flights, r)
		}
		a.mu.Unlock()
		close(f.done)
	})
	return f
}

// analyze takes a slot, analyses one pair and stores the result if asked to.
func (a *Analyzer) analyze(ctx context.Context, r Request) (Snapshot, error) {
	if r.Store {
		if err := a.store.Writable(); err != nil {
			return Snapshot{}, err // before anything is fetched for it
		}
	}
	s, err := a.acquire(ctx, &a.slots.fetching, r.KlineLimit, 0, true)
	if err != nil {
		return Snapshot{}, err
	}
	got, err := a.analyzePair(ctx, s, Pair{Name: r.Symbol}, r)
	a.slots.release(s)
	if err != nil || !r.Store {
		return got.Snapshot, err
	}
	var results Results
	results.Add(got)
	if err := a.store.Put(ctx, results); err != nil {
		return Snapshot{}, err
	}
	return got.Snapshot, nil
}

// analyzePair analyses one pair on s, whose tick it looks up if p has none.
func (a *Analyzer) analyzePair(ctx context.Context, s *slot, p Pair, r Request) (Analysis, error) {
	if p.Tick == (Tick{}) {
		listed, err := a.exchange.Symbol(ctx, p.Name)
		if err != nil {
			a.metrics.observe(err, 0)
			return Analysis{}, err
		}
		p = Pair{listed.Name, listed.Tick}
	}
	return a.analyzeSymbol(ctx, s, p, r)
}

// MostKlines is the largest number of klines whose analysis has room.
func (a *Analyzer) MostKlines() int { return a.most }

// AnalyzeCandles analyses n candles of the caller's own: it takes a slot with room
// for so many, lets fill reset and fill the slot's columns, and returns the analysis,
// whose Key has neither exchange nor symbol and which is never stored. A last candle that
// is not closed yet is ErrInvalid. Errors of fill are returned as they are.
func (a *Analyzer) AnalyzeCandles(ctx context.Context, n int, fill func(dst *levels.Candles) error) (Snapshot, error) {
	if err := a.fits(n); err != nil {
		return Snapshot{}, err
	}
	s, err := a.acquire(ctx, &a.slots.aside, n, 0, true)
	if err != nil {
		return Snapshot{}, err
	}
	defer a.slots.release(s)
	return a.contained(s, "the caller's klines", func() (Snapshot, error) {
		if err := fill(&s.candles); err != nil {
			return Snapshot{}, err
		}
		now := time.Now()
		if asOf := time.UnixMilli(s.candles.AsOf()); asOf.After(now) {
			return Snapshot{}, fmt.Errorf("%w: the last of the %d klines closes at %s, which has not come yet: send closed klines only",
				ErrInvalid, s.candles.Len(), asOf.UTC().Format(time.RFC3339))
		}
		snap, err := a.snapshot(s, Pair{}, now)
		snap.Exchange, snap.Simulated = "", false // the candles are not the exchange's
		return snap, err
	})
}

// Candles lends the last limit closed candles of a pair to fn, whose slot they
// are in: fn must not keep them. Those that are kept are not fetched, and when all
// are, no slot of an analysis is waited for; those that are fetched are not stored,
// since reading must not write.
func (a *Analyzer) Candles(ctx context.Context, symbol string, interval levels.Interval, limit int, fn func(c *levels.Candles) error) error {
	if _, err := levels.ParseInterval(string(interval)); err != nil {
		return err
	}
	if err := a.fits(limit); err != nil {
		return err
	}
	if all, err := a.kept(ctx, symbol, interval, limit, fn); all || err != nil {
		return err
	}
	s, err := a.acquire(ctx, &a.slots.fetching, limit, 0, true)
	if err != nil {
		return err
	}
	defer a.slots.release(s)
	_, err = a.contained(s, symbol, func() (Snapshot, error) {
		f, err := a.fetch(ctx, s, symbol, interval, limit, 1)
		if err != nil {
			return Snapshot{}, err
		}
		f.cut(&s.candles, limit)
		return Snapshot{}, fn(&s.candles)
	})
	return err
}

// CountJoined counts a request that joined identical work under way.
func (a *Analyzer) CountJoined() { a.metrics.joined.Inc() }

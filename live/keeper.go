package live

import (
	"context"
	"errors"
	"hash/fnv"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/levels"
	"tidemark/service"
)

// Feed pushes the candles of an exchange to the functions that it was made with.
type Feed interface {
	// Has reports whether candles of an interval are pushed.
	Has(levels.Interval) bool
	// Want sets the series to push.
	Want([]service.Key)
	// Connections returns how many connections so many series take.
	Connections(series int) int
	// Run keeps the feed until ctx is done.
	Run(ctx context.Context)
}

// Clock is the clock of an exchange; see service.Exchange.
type Clock interface {
	Now(ctx context.Context) (time.Time, error)
	Market() service.Market
}

// Lister lists the pairs of an exchange that are kept live: those that a sweep covers.
type Lister interface {
	Pairs(ctx context.Context, exchange string) ([]service.Pair, error)
}

// Store stores analyses, and which processes keep the pairs of an exchange live.
type Store interface {
	Put(ctx context.Context, r service.Results) error
	// KeepLive says that this process keeps pairs of the exchange live. It returns the
	// ids of all that do and have said so lately, and the one of this process.
	KeepLive(ctx context.Context, exchange string) (keepers []string, self string, err error)
	// LeaveLive says that this process keeps no pairs of the exchange live any more.
	LeaveLive(ctx context.Context, exchange string) error
}

// Analyzer analyses pairs; see service.Analyzer.
type Analyzer interface {
	AnalyzeEach(ctx context.Context, pairs iter.Seq[service.Pair], r service.Request, done func(service.Pair, service.Analysis, error)) error
	Begin() (done func(), err error)
}

// Config is the configuration of a Keeper.
type Config struct {
	Exchange   string
	Intervals  []levels.Interval
	KlineLimit int
	BatchSize  int // most analyses of a transaction
}

// Keeper analyses the live pairs of an exchange whenever one of their candles closes.
type Keeper struct {
	cfg      Config
	recent   *Recent
	feed     Feed // nil: nothing is pushed, and every candle is asked for
	clock    Clock
	lister   Lister
	analyzer Analyzer
	store    Store
	log      *slog.Logger
	metrics  *metrics

	pairs   []service.Pair // of the exchange's list
	keepers []string       // that share them, sorted
	since   time.Time      // since when this process is one of several keepers
	shared  bool           // the series were set for keepers
}

// Metrics are the metrics of all live exchanges of a process.
type Metrics struct{ metrics }

// NewMetrics registers the metrics with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{}
	m.metrics.register(reg)
	return m
}

// Wrap returns an exchange that takes the newest candles of its live series from what was
// pushed, and the Recent that receives them.
func Wrap(x service.Exchange, m *Metrics) (service.Exchange, *Recent) {
	r := newRecent(&m.metrics)
	return exchange{x, r}, r
}

// NewKeeper returns a Keeper of what recent receives from feed.
func NewKeeper(cfg Config, recent *Recent, feed Feed, clock Clock, lister Lister, analyzer Analyzer, store Store, log *slog.Logger) *Keeper {
	recent.metrics.announce(cfg.Exchange)
	return &Keeper{cfg: cfg, recent: recent, feed: feed, clock: clock, lister: lister, analyzer: analyzer, store: store,
		log: log.With("exchange", cfg.Exchange), metrics: recent.metrics}
}

const (
	listEvery = time.Hour        // between two reads of the list of pairs
	listAgain = 10 * time.Second // after one that failed
	// shareEvery is how often a process says that it keeps pairs live, and looks who else
	// does. One that joins takes its pairs after joining.
	shareEvery = 3 * time.Second
	joining    = 2*shareEvery + time.Second
	dialogue   = 2 * time.Second // for the last word
	// grace is how long after the close of a candle it may be pushed, while the exchange
	// pushes others, before the exchange is asked for it.
	grace = 5 * time.Second
	// linger is how long analyses wait for others to be stored with them.
	linger = 30 * time.Millisecond
)

// Run keeps the levels fresh until ctx is done.
func (k *Keeper) Run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	if k.feed != nil {
		all.Go(func() { k.feed.Run(ctx) })
	}
	all.Go(func() { k.check(ctx) })
	all.Go(func() { k.analyze(ctx) })
	all.Go(func() {
		<-ctx.Done()
		leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialogue)
		defer cancel()
		if err := k.store.LeaveLive(leaving, k.cfg.Exchange); err != nil {
			k.log.Warn("other processes learn later that this one stops", "error", err)
		}
	})
	var listed time.Time
	for {
		if time.Since(listed) > listEvery {
			if err := k.list(ctx); err == nil {
				listed = time.Now()
			} else if ctx.Err() == nil {
				k.log.Warn("the pairs to keep live cannot be listed", "error", err)
				listed = time.Now().Add(listAgain - listEvery)
			}
		}
		k.share(ctx)
		select {
		case <-time.After(shareEvery):
		case <-ctx.Done():
			return
		}
	}
}

// list reads the pairs to keep live.
func (k *Keeper) list(ctx context.Context) error {
	pairs, err := k.lister.Pairs(ctx, k.cfg.Exchange)
	if err == nil {
		k.pairs, k.shared = pairs, false
	}
	return err
}

// share divides the pairs among the processes that keep the exchange live. One that joins
// waits until the others have given up the pairs it takes, so that each is live in one
// process at most; candles that close in between are fetched.
func (k *Keeper) share(ctx context.Context) {
	keepers, self, err := k.store.KeepLive(ctx, k.cfg.Exchange)
	if err != nil {
		if ctx.Err() == nil {
			k.log.Warn("this process cannot say that it keeps pairs live", "error", err)
		}
		return
	}
	if !slices.Equal(keepers, k.keepers) {
		k.keepers, k.shared = keepers, false
	}
	if k.since.IsZero() {
		k.since = time.Now()
		if len(keepers) == 1 {
			k.since = k.since.Add(-joining)
		}
	}
	if k.shared || len(k.pairs) == 0 || time.Since(k.since) < joining {
		return
	}
	k.shared = true
	own := make([]service.Pair, 0, len(k.pairs)/len(keepers)+1)
	for _, p := range k.pairs {
		if keeperOf(p.Name, keepers) == self {
			own = append(own, p)
		}
	}
	k.keep(ctx, own)
}

// keeperOf returns the process that keeps a pair live: the one with the greatest hash
// together with it. If one leaves, only its own pairs change hands (Thaler and
// Ravishankar, Using Name-Based Mappings to Increase Hit Rates, 1998).
func keeperOf(symbol string, keepers []string) (best string) {
	most := uint64(0)
	for _, id := range keepers {
		h := fnv.New64a()
		h.Write([]byte(id))
		h.Write([]byte(symbol))
		if v := mix(h.Sum64()); best == "" || v > most {
			best, most = id, v
		}
	}
	return best
}

// mix spreads the bits of a hash, of which FNV changes the high ones little (splitmix64).
func mix(v uint64) uint64 {
	v = (v ^ v>>30) * 0xbf58476d1ce4e5b9
	v = (v ^ v>>27) * 0x94d049bb133111eb
	return v ^ v>>31
}

// keep sets the pairs that this process keeps live.
func (k *Keeper) keep(ctx context.Context, pairs []service.Pair) {
	var pushed []levels.Interval
	for _, i := range k.cfg.Intervals {
		if k.feed != nil && k.feed.Has(i) {
			pushed = append(pushed, i)
		}
	}
	keys := make([]service.Key, 0, len(pairs)*len(pushed))
	for _, i := range pushed {
		for _, p := range pairs {
			keys = append(keys, service.Key{Exchange: k.cfg.Exchange, Symbol: p.Name, Interval: i})
		}
	}
	// First they are pushed and then fetched, so that no candle closes in between.
	connections := 0
	if k.feed != nil {
		k.feed.Want(keys)
		connections = k.feed.Connections(len(keys))
	}
	var now int64 // if it is not known, a candle may be asked for twice
	if at, err := k.clock.Now(ctx); err == nil {
		now = at.UnixMilli()
	}
	if added, gone := k.recent.set(k.cfg.Exchange, pairs, k.cfg.Intervals, now); added+gone > 0 {
		k.log.Info("levels are kept fresh", "pairs", len(pairs), "of", len(k.pairs), "processes", len(k.keepers), "intervals", k.cfg.Intervals,
			"pushed", pushed, "connections", connections, "new_series", added, "given_up", gone)
	}
}

// check asks the exchange for candles that were not pushed.
func (k *Keeper) check(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		k.ask(ctx, grace, "silent")
	}
}

// Broken must be called when pushes may have been missed.
func (k *Keeper) Broken() { go k.ask(context.Background(), 0, "reconnect") }

// ask queues the series whose last candle closed more than grace ago and is not known.
func (k *Keeper) ask(ctx context.Context, grace time.Duration, reason string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if now, err := k.clock.Now(ctx); err == nil {
		k.recent.Check(now.UnixMilli(), max(grace, k.clock.Market().Settles), reason)
	}
}

// analyze analyses and stores the queued series until ctx is done.
func (k *Keeper) analyze(ctx context.Context) {
	done := make(chan service.Analysis)
	var storing sync.WaitGroup
	defer storing.Wait()
	defer close(done)
	storing.Go(func() { k.put(context.WithoutCancel(ctx), done) })
	for {
		i := k.recent.waiting()
		if i == "" {
			select {
			case <-k.recent.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		end, err := k.analyzer.Begin()
		if err != nil { // the process stops
			return
		}
		err = k.analyzer.AnalyzeEach(ctx, k.queued(i), service.Request{
			Exchange: k.cfg.Exchange, Interval: i, KlineLimit: k.cfg.KlineLimit, Store: true,
		}, func(p service.Pair, got service.Analysis, err error) {
			if err != nil {
				k.failed(ctx, p, i, err)
				return
			}
			done <- got
		})
		end()
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			k.log.Warn("live pairs cannot be analysed", "error", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
		}
	}
}

// queued takes the queued pairs of an interval out of the queue, one after the other.
func (k *Keeper) queued(i levels.Interval) iter.Seq[service.Pair] {
	return func(yield func(service.Pair) bool) {
		for s := k.recent.next(i); s != nil && yield(s.pair); s = k.recent.next(i) {
		}
	}
}

// failed queues a pair again that could not be analysed for a reason that passes.
func (k *Keeper) failed(ctx context.Context, p service.Pair, i levels.Interval, err error) {
	if ctx.Err() != nil {
		return
	}
	k.metrics.failed.WithLabelValues(k.cfg.Exchange).Inc()
	if errors.Is(err, levels.ErrTooFewCandles) || errors.Is(err, service.ErrUnknownSymbol) {
		k.log.Debug("a live pair cannot be analysed", "symbol", p.Name, "interval", i, "error", err)
		return
	}
	k.log.Warn("a live pair could not be analysed", "symbol", p.Name, "interval", i, "error", err)
	key := service.Key{Exchange: k.cfg.Exchange, Symbol: p.Name, Interval: i}
	time.AfterFunc(retryAfter, func() { k.recent.again(key) })
}

const retryAfter = 5 * time.Second

// put stores analyses until done is closed, up to BatchSize in a transaction.
func (k *Keeper) put(ctx context.Context, done <-chan service.Analysis) {
	var r service.Results
	flush := func() {
		if len(r.Snapshots) == 0 {
			return
		}
		if err := k.store.Put(ctx, r); err != nil {
			k.log.Error("live analyses cannot be stored", "pairs", len(r.Snapshots), "error", err)
			for i := range r.Snapshots {
				key := r.Snapshots[i].Key
				time.AfterFunc(retryAfter, func() { k.recent.again(key) })
			}
		} else {
			now := time.Now()
			for i := range r.Snapshots {
				if s := &r.Snapshots[i]; k.recent.wasLive(s.Key, s.AsOf) {
					k.metrics.late("levels", k.cfg.Exchange, now.Sub(s.AsOf))
				}
			}
		}
		r = service.Results{}
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case got, ok := <-done:
			if !ok {
				flush()
				return
			}
			r.Add(got)
			if len(r.Snapshots) == 1 {
				timer.Reset(linger)
			}
			if len(r.Snapshots) == k.cfg.BatchSize {
				flush()
			}
		case <-timer.C:
			flush()
		}
	}
}

// again queues a series after a failure.
func (r *Recent) again(key service.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.series[key]; s != nil {
		r.enqueue(s)
	}
}

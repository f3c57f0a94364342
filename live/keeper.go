package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/levels"
	"tidemark/service"
)

// Feed pushes the candles of an exchange to the functions that it was made with.
type Feed interface {
	// Has reports whether candles of an interval are pushed.
	Has(levels.Interval) bool
	// Marks reports whether the exchange marks closed candles.
	Marks() bool
	// Want sets the series to push, and asks again for those that were refused.
	Want([]service.Key)
	// Connections returns how many connections a number of series take, and the most series
	// that the exchange allows.
	Connections(series int) (connections, most int)
	// Run keeps the feed until ctx is done.
	Run(ctx context.Context)
}

// Venue is an exchange as a Keeper needs it: its clock and what requests cost; see
// service.Exchange.
type Venue interface {
	Now(ctx context.Context) (time.Time, error)
	Market() service.Market
	// Candles appends the closed candles of a pair from a time on, Unix ms; see
	// service.Visit.
	Candles(ctx context.Context, symbol string, from int64, dst *levels.Candles, buf []byte) error
	// Requests returns how many requests a number of candles of an interval take, and
	// how many a second the limits of the exchange leave for work that nobody waits for.
	Requests(i levels.Interval, klines int) (n int, perSecond float64)
}

// Lister lists the pairs of an exchange that are kept live: those that a sweep covers, the
// most traded first.
type Lister interface {
	Pairs(ctx context.Context, exchange string) ([]service.Pair, error)
}

// Store stores analyses, and which processes keep the pairs of an exchange live.
type Store interface {
	Put(ctx context.Context, r service.Results) error
	// Candles reads stored candles; see service.Store.
	Candles(ctx context.Context, key service.Key, from int64, dst *levels.Candles, buf []byte) (service.Kept, error)
	// Snapshot reads the newest analysis of a series if at is zero.
	Snapshot(ctx context.Context, key service.Key, at time.Time) (service.Snapshot, error)
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
	Requests   int // most at once for single candles
	Memory     int // bytes for the live series of the exchange; 0: no limit
	// Price, if not nil, receives each pushed price of a live pair that differs from the one
	// before, and when it was received, by the clock of this machine. It is called from the
	// connections of the feed, several at once, and must return soon.
	Price func(symbol string, price float64, at time.Time)
}

// Keeper analyses the live pairs of an exchange whenever one of their candles closes.
type Keeper struct {
	cfg      Config
	recent   *Recent
	feed     Feed // nil: nothing is pushed, and every candle is asked for
	venue    Venue
	lister   Lister
	analyzer Analyzer
	store    Store
	log      *slog.Logger
	metrics  *metrics

	pairs   []service.Pair  // of the exchange's list, and those of halted
	halted  map[string]bool // in the list before, and not in the last one
	keepers []string        // that share them, sorted
	since   time.Time       // since when this process is one of several keepers
	heard   time.Time       // when it said so last
	shared  bool            // the series were set for keepers
	none    bool            // the last list had no pairs

	mu     sync.Mutex
	waits  time.Time // until then the exchange demands a pause, as far as was logged
	sharer sharer    // since keep

	unkept              atomic.Int64 // series that the limits do not allow, of all processes
	audits, differences atomic.Int64 // compared series, and candles that differed
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
func NewKeeper(cfg Config, recent *Recent, feed Feed, venue Venue, lister Lister, analyzer Analyzer, store Store, log *slog.Logger) *Keeper {
	cfg.Requests = max(1, cfg.Requests)
	recent.metrics.announce(cfg.Exchange)
	recent.onPrice, recent.marked, recent.sums = cfg.Price, feed == nil || feed.Marks(), venue.Market().Sums
	return &Keeper{cfg: cfg, recent: recent, feed: feed, venue: venue, lister: lister, analyzer: analyzer, store: store,
		log: log.With("exchange", cfg.Exchange), metrics: recent.metrics}
}

const (
	listEvery = time.Hour        // between two reads of the list of pairs
	listAgain = 10 * time.Second // after one that failed
	listEmpty = time.Minute      // after one without pairs
	// shareEvery is how often a process says that it keeps pairs live, and looks who else
	// does. One that joins takes its pairs after joining.
	shareEvery = 3 * time.Second
	joining    = 2*shareEvery + time.Second
	dialogue   = 2 * time.Second // for the last word
	// grace is how long after the close of a candle it may be pushed, while the exchange
	// pushes others, before the exchange is asked for it. Where nothing is pushed, it is
	// asked after pollGrace, because some have a closed candle only a moment later.
	grace      = 5 * time.Second
	pollGrace  = 2 * time.Second
	checkEvery = 250 * time.Millisecond // for such candles
	// putTimeout is how long the database may take to store some analyses. After it they are
	// made again.
	putTimeout = 30 * time.Second
	// linger is how long analyses wait for others to be stored with them.
	linger = 30 * time.Millisecond
	// putsAtOnce is how many transactions store analyses at once: while one waits for
	// PostgreSQL, the next is on its way.
	putsAtOnce = 2
)

// Run keeps the levels fresh until ctx is done.
func (k *Keeper) Run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	if k.feed != nil {
		all.Go(func() { k.feed.Run(ctx) })
	}
	all.Go(func() { k.check(ctx) })
	all.Go(func() { k.audit(ctx) })
	all.Go(func() { k.fetch(service.Background(ctx), &all) })
	done := make(chan service.Analysis, k.cfg.BatchSize) // slots do not wait for the database
	var analyses sync.WaitGroup
	analyses.Go(func() { k.analyze(ctx, known, done) })
	for range 2 { // the second starts pairs while those of the first end
		analyses.Go(func() { k.analyze(service.Background(ctx), unknown, done) })
	}
	all.Go(func() { k.put(context.WithoutCancel(ctx), done) })
	all.Go(func() { analyses.Wait(); close(done) })
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
			} else if errors.Is(err, errNoPairs) {
				if !k.none {
					k.log.Warn("no pairs are kept live: the filter selects none of those that the exchange lists as trading")
				}
				k.none = true
				listed = time.Now().Add(listEmpty - listEvery)
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
	switch {
	case err != nil:
		return err
	case len(pairs) == 0: // those before stay: perhaps the exchange has halted all for a while
		return errNoPairs
	}
	k.pairs, k.shared, k.none = k.carryOver(pairs), false, false
	return nil
}

// carryOver returns the pairs of a new list, and after them those that only the list before
// had: perhaps the exchange has halted them for a while.
func (k *Keeper) carryOver(pairs []service.Pair) []service.Pair {
	listed := make(map[string]bool, len(pairs))
	for _, p := range pairs {
		listed[p.Name] = true
	}
	pairs = slices.Clip(pairs) // of the lister
	halted := map[string]bool{}
	for _, p := range k.pairs {
		if !listed[p.Name] && !k.halted[p.Name] {
			pairs, halted[p.Name] = append(pairs, p), true
		}
	}
	if k.halted = halted; len(halted) > 0 {
		k.log.Info("pairs that are not selected any more are kept live until the next list", "pairs", len(halted), "first", pairs[len(pairs)-len(halted)].Name)
	}
	return pairs
}

var errNoPairs = errors.New("no pairs")

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
	} else if time.Since(k.heard) > joining {
		// The database was down, perhaps for the others, too. They may still keep their
		// pairs, although they have not said so lately.
		k.since = time.Now()
	}
	k.heard = time.Now()
	if k.shared || len(k.pairs) == 0 || time.Since(k.since) < joining {
		return
	}
	k.shared = true
	k.keep(ctx, self)
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

// sharer is how pairs are divided: among which keepers, and which of them this process is.
type sharer struct {
	self    string
	keepers []string
}

// keep sets the series that this process keeps live.
func (k *Keeper) keep(ctx context.Context, self string) {
	k.mu.Lock()
	k.sharer = sharer{self, k.keepers}
	k.mu.Unlock()
	all := k.plan(k.pairs)
	var own []member
	var keys []service.Key
	polled, merged, pairs := 0, 0, map[string]bool{}
	for _, m := range all.members {
		if keeperOf(m.pair.Name, k.keepers) != self {
			continue
		}
		own = append(own, m)
		pairs[m.pair.Name] = true
		switch {
		case m.from != "":
			merged++
		case m.polled:
			polled++
		default:
			keys = append(keys, service.Key{Exchange: k.cfg.Exchange, Symbol: m.pair.Name, Interval: m.interval})
		}
	}
	k.unkept.Store(int64(all.unkept))
	// First they are pushed and then fetched, so that no candle closes in between.
	connections := 0
	if k.feed != nil {
		k.recent.retry()
		k.feed.Want(keys)
		connections, _ = k.feed.Connections(len(keys))
	}
	var now int64 // if it is not known, a candle may be asked for twice
	if at, err := k.venue.Now(ctx); err == nil {
		now = at.UnixMilli()
	}
	added, gone := k.recent.set(k.cfg.Exchange, own, now)
	if added+gone == 0 {
		return
	}
	first, rate := k.venue.Requests(k.cfg.Intervals[0], k.cfg.KlineLimit)
	k.log.Info("levels are kept fresh", "pairs", len(pairs), "of", len(k.pairs), "processes", len(k.keepers), "intervals", k.cfg.Intervals,
		"pushed_series", len(keys), "connections", connections, "polled_series", polled, "merged_series", merged, "unkept_series", all.unkept,
		"new_series", added, "given_up", gone, "requests_at_the_start", fmt.Sprintf("%d to %d", added, first*added),
		"requests_a_minute_at_most", int(60*rate), "polls_of_the_limit", fmt.Sprintf("%.1f%%", 100*all.share))
	if all.unkept > 0 {
		k.log.Warn("the limits of the exchange, or the memory, do not allow to keep all series fresh; the most traded pairs are kept",
			"unkept_series", all.unkept, "first_unkept", all.firstUnkept)
	}
}

// pollShare is the most that requests after each close take, on average, of what the limits
// of the exchange allow.
const pollShare = 0.5

// The memory of a live series, and of a connection on which series are pushed, in bytes.
const (
	seriesBytes     = 640
	connectionBytes = 64 << 10
)

// plan is which series are kept, by all processes together, and how.
type plan struct {
	members     []member
	unkept      int
	firstUnkept string  // the most traded pair of them
	share       float64 // of the limit of requests that polls take on average
}

// plan decides how the series of pairs, the most traded first, are kept: they are pushed as
// far as the connections allow, and the others asked for as far as the limit of requests
// does. Those of longer intervals are merged from a shorter one if it is kept.
func (k *Keeper) plan(pairs []service.Pair) (p plan) {
	room, memory, series := 0, float64(cmp.Or(k.cfg.Memory, math.MaxInt)), float64(seriesBytes)
	if k.feed != nil {
		_, room = k.feed.Connections(0)
		one, _ := k.feed.Connections(1000)
		series += float64(one) * connectionBytes / 1000
	}
	p.members = make([]member, 0, len(pairs)*len(k.cfg.Intervals))
	intervals := slices.SortedFunc(slices.Values(k.cfg.Intervals), func(a, b levels.Interval) int { return cmp.Compare(a.Milliseconds(), b.Milliseconds()) })
	shares := make([]float64, len(intervals)) // of the limit, by interval
	kept := make([]bool, len(intervals))      // of a pair
	for n, i := range intervals {
		requests, rate := k.venue.Requests(i, 1)
		shares[n] = float64(requests) / rate / (float64(i.Milliseconds()) / 1000)
	}
	for _, pair := range pairs {
		for n, i := range intervals {
			m := member{pair: pair, interval: i}
			if from := shorter(intervals, kept, n); from >= 0 {
				m.from = intervals[from]
			}
			kept[n] = true
			switch {
			case memory < series:
				p.unkept++
			case m.from != "":
				memory -= seriesBytes
				p.members = append(p.members, m)
				continue
			case k.feed != nil && k.feed.Has(i) && room > 0 && (k.recent.marked || p.share+shares[n] <= pollShare):
				if !k.recent.marked { // its closed candles are asked for
					p.share += shares[n]
				}
				room--
				memory -= series
				p.members = append(p.members, m)
				continue
			case p.share+shares[n] <= pollShare:
				m.polled = true
				p.share += shares[n]
				memory -= seriesBytes
				p.members = append(p.members, m)
				continue
			default:
				p.unkept++
			}
			if kept[n] = false; p.firstUnkept == "" {
				p.firstUnkept = pair.Name
			}
		}
	}
	return p
}

// shorter returns the longest of the kept intervals, shorter than number n, whose candles can be
// merged to its candles; -1 if there is none. The venue may align candles of three days
// otherwise, and weeks divide no longer interval.
func shorter(intervals []levels.Interval, kept []bool, n int) int {
	for from := n - 1; from >= 0 && intervals[n] != "3d"; from-- {
		if kept[from] && intervals[from] != "3d" && intervals[n].Milliseconds()%intervals[from].Milliseconds() == 0 {
			return from
		}
	}
	return -1
}

// Unkept returns how many series are not kept by any process, because the limits of the
// exchange or the memory do not allow it.
func (k *Keeper) Unkept() int { return int(k.unkept.Load()) }

// check asks the exchange for candles that were not pushed.
func (k *Keeper) check(ctx context.Context) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	last, credit := time.Now(), 0.0
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if at, ok := k.now(ctx); ok {
			k.recent.Check(at, max(grace, k.venue.Market().Settles), "silent")
		}
		// As many a second as the limits allow: then requests of people find room at any time.
		rate := math.Inf(1) // of polls, a second; an exchange may change its limits
		for _, i := range k.cfg.Intervals {
			n, r := k.venue.Requests(i, 1)
			rate = min(rate, r/float64(n))
		}
		now := time.Now()
		credit = min(credit+rate*now.Sub(last).Seconds(), max(1, rate))
		last = now
		if credit >= 1 {
			if at, ok := k.now(ctx); ok {
				credit -= float64(k.recent.Poll(at, max(pollGrace, k.venue.Market().Settles), int(credit)))
			}
		}
	}
}

// fetch asks the exchange for the newest candles of series that lack no others, as soon as
// there are some, until ctx is done. all counts the goroutines.
func (k *Keeper) fetch(ctx context.Context, all *sync.WaitGroup) {
	for {
		select {
		case <-k.recent.queues[missing].wake:
		case <-ctx.Done():
			return
		}
		for range k.recent.fetch(k.cfg.Requests) {
			all.Go(func() { k.fetchMissing(ctx) })
		}
	}
}

// fetchBuffer is the size of the memory for decoding a few candles.
const fetchBuffer = 8 << 10

// fetchMissing takes series out of the queue missing until it is empty.
func (k *Keeper) fetchMissing(ctx context.Context) {
	buf := make([]byte, fetchBuffer)
	var c levels.Candles
	for key, newest, ok := k.recent.nextMissing(); ok; key, newest, ok = k.recent.nextMissing() {
		c.Reset(key.Interval, 3)
		if err := k.venue.Candles(ctx, key.Symbol, newest, &c, buf); err != nil {
			k.failed(ctx, service.Pair{Name: key.Symbol}, key.Interval, err)
			continue
		}
		k.recent.fetched(key, &c)
	}
}

// now returns the time of the exchange, Unix ms, if it is known.
func (k *Keeper) now(ctx context.Context) (int64, bool) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	at, err := k.venue.Now(ctx)
	return at.UnixMilli(), err == nil
}

// Broken must be called when pushes of some series may have been missed.
func (k *Keeper) Broken(series []service.Key) {
	go func() { // the feed does not wait for the exchange
		if at, ok := k.now(context.Background()); ok {
			k.recent.CheckOf(series, at, k.venue.Market().Settles, "reconnect")
		}
	}()
}

// Fresh implements job.Live.
func (k *Keeper) Fresh(ctx context.Context, _ string, klines int) func(service.Key) bool {
	at, ok := int64(0), false
	if klines == k.cfg.KlineLimit {
		at, ok = k.now(ctx)
	}
	k.mu.Lock()
	by := k.sharer
	k.mu.Unlock()
	return func(key service.Key) bool {
		switch {
		case !ok:
			return false
		case len(by.keepers) > 1 && slices.Contains(k.cfg.Intervals, key.Interval) && keeperOf(key.Symbol, by.keepers) != by.self:
			return k.storedFresh(ctx, key, at)
		}
		return k.recent.fresh(key, time.UnixMilli(at))
	}
}

// storedFresh reports whether the stored analysis of a pair that another process keeps live
// is as of the last candle that closed by now, Unix ms, and of as many candles as this
// process would use. A young pair has fewer, and is not fresh.
func (k *Keeper) storedFresh(ctx context.Context, key service.Key, now int64) bool {
	s, err := k.store.Snapshot(ctx, key, time.Time{})
	return err == nil && s.AsOf.UnixMilli()+key.Interval.Milliseconds() > now && s.Klines == k.cfg.KlineLimit &&
		s.Algorithm == levels.Algorithm && s.Simulated == k.venue.Market().Simulated
}

// Stored implements job.Live.
func (k *Keeper) Stored(key service.Key, klines int, asOf time.Time) {
	if klines == k.cfg.KlineLimit {
		k.recent.stored(key, asOf.UnixMilli())
	}
}

// analyze analyses the series of a queue until ctx is done.
func (k *Keeper) analyze(ctx context.Context, of int, done chan<- service.Analysis) {
	for {
		i := k.recent.waiting(of)
		if i == "" {
			select {
			case <-k.recent.queues[of].wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		end, err := k.analyzer.Begin()
		if err != nil { // the process stops
			return
		}
		err = k.analyzer.AnalyzeEach(ctx, k.queued(of, i), service.Request{
			Exchange: k.cfg.Exchange, Interval: i, KlineLimit: k.cfg.KlineLimit, Store: true, Urgent: of == known,
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

// queued takes the queued pairs of an interval out of a queue, one after the other, and
// at most BatchSize of those that must be asked for, so that jobs have their turn.
func (k *Keeper) queued(of int, i levels.Interval) iter.Seq[service.Pair] {
	return func(yield func(service.Pair) bool) {
		n := 0
		for s := k.recent.next(of, i); s != nil && yield(s.pair); s = k.recent.next(of, i) {
			if n++; of == unknown && n == k.cfg.BatchSize {
				return
			}
		}
	}
}

// failed queues a pair again that could not be analysed for a reason that passes.
func (k *Keeper) failed(ctx context.Context, p service.Pair, i levels.Interval, err error) {
	if ctx.Err() != nil {
		return
	}
	key := service.Key{Exchange: k.cfg.Exchange, Symbol: p.Name, Interval: i}
	pause := retryAfter
	switch later, ok := errors.AsType[*service.RetryAfterError](err); {
	case errors.Is(err, levels.ErrTooFewCandles) || errors.Is(err, service.ErrUnknownSymbol):
		k.metrics.failed.WithLabelValues(k.cfg.Exchange).Inc()
		k.log.Debug("a live pair cannot be analysed", "symbol", p.Name, "interval", i, "error", err)
		k.recent.skip(key)
		return
	case ok: // the exchange demands a pause
		pause = max(pause, time.Until(later.Until))
		k.mu.Lock()
		known := later.Until.Sub(k.waits) < time.Second
		k.waits = later.Until
		k.mu.Unlock()
		if !known {
			k.log.Warn("live pairs wait for the exchange", "error", err)
		}
	default:
		k.metrics.failed.WithLabelValues(k.cfg.Exchange).Inc()
		k.log.Warn("a live pair could not be analysed", "symbol", p.Name, "interval", i, "error", err)
	}
	time.AfterFunc(pause, func() { k.recent.again(key) })
}

const retryAfter = 5 * time.Second

// put stores analyses until done is closed, up to BatchSize in a transaction.
func (k *Keeper) put(ctx context.Context, done <-chan service.Analysis) {
	var r service.Results
	var storing sync.WaitGroup
	defer storing.Wait()
	places := make(chan struct{}, putsAtOnce)
	flush := func() {
		if len(r.Snapshots) == 0 {
			return
		}
		places <- struct{}{}
		some := r
		r = service.Results{}
		storing.Go(func() {
			k.putAll(ctx, some)
			<-places
		})
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

// putAll stores analyses in one transaction.
func (k *Keeper) putAll(ctx context.Context, r service.Results) {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	if err := k.store.Put(ctx, r); err != nil {
		k.log.Error("live analyses cannot be stored", "pairs", len(r.Snapshots), "error", err)
		for i := range r.Snapshots {
			key := r.Snapshots[i].Key
			time.AfterFunc(retryAfter, func() { k.recent.again(key) })
		}
		return
	}
	now := time.Now()
	for i := range r.Snapshots {
		if s := &r.Snapshots[i]; k.recent.stored(s.Key, s.AsOf.UnixMilli()) {
			k.metrics.late("levels", k.cfg.Exchange, now.Sub(s.AsOf))
		}
	}
}

// again queues a series after a pause.
func (r *Recent) again(key service.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.series[key]; s != nil {
		s.busy, s.paused = false, false
		r.enqueue(s)
	}
}

package event

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/levels"
	"tidemark/service"
)

// Store is the storage of states. Its errors are those of service.Store.
type Store interface {
	// Cross calls f with the newest analysis of each series that has one and the state of
	// its levels, nil if none is stored, and stores the watches that f returns, in one
	// transaction. f may be called again if the transaction fails.
	Cross(ctx context.Context, series []service.Key, f func(s *service.Snapshot, state []byte) *service.Watch) error
}

// Watcher advances the states of the levels of all series that a process analyses: at the
// close of a candle with the analysis, and between closes when a price comes to a level. Its
// methods are safe for concurrent use.
type Watcher struct {
	store  Store
	log    *slog.Logger
	events *prometheus.CounterVec

	mu      sync.Mutex
	pairs   map[pair][]*alarm
	crossed []*alarm
	wake    chan struct{} // signalled when one is added
}

// pair is what a price belongs to.
type pair struct{ exchange, symbol string }

// alarm is the prices at which something happens to the levels of a series.
type alarm struct {
	key          service.Key
	below, above float64
	asOf         time.Time // of the analysis with the levels
	queued       bool
	price        float64 // that crossed, and when
	at           time.Time
}

// maxAge is how long after its last candle the levels of an analysis ring between closes, in
// candles. Older ones may have been replaced long ago.
const maxAge = 2

// NewWatcher returns a Watcher that registers its metrics with reg.
func NewWatcher(store Store, reg prometheus.Registerer, log *slog.Logger) *Watcher {
	w := &Watcher{store: store, log: log, pairs: map[pair][]*alarm{}, wake: make(chan struct{}, 1)}
	w.events = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tidemark_events_total",
		Help: "What this process found to have happened to levels, by kind. Another process may have found the same.",
	}, []string{"exchange", "kind"})
	reg.MustRegister(w.events)
	return w
}

// Announce makes the metrics of an exchange exist before anything has happened.
func (w *Watcher) Announce(exchange string) {
	for _, kind := range kinds {
		w.events.WithLabelValues(exchange, kind)
	}
}

// Watch implements service.Config.Watch.
func (w *Watcher) Watch(before, after *service.Snapshot, stored []byte, c *levels.Candles) *service.Watch {
	var state State
	if before != nil {
		state = w.state(before, stored)
	}
	happened := state.Close(before, after, c)
	w.arm(&state, after)
	if before == nil {
		return nil // the state follows from the analysis
	}
	named := *after
	named.Name = cmp.Or(after.Name, before.Name) // analyses of a job do not know it
	return w.watch(&state, &named, happened)
}

// state returns the stored state of the levels of s; if none is stored, or it cannot be read,
// that of a first analysis.
func (w *Watcher) state(s *service.Snapshot, stored []byte) State {
	if stored != nil {
		state, err := Decode(stored)
		if err == nil {
			return state
		}
		w.log.Warn("the state of a pair's levels is lost; those near the price ring again once it has left them", "exchange", s.Exchange, "symbol", s.Symbol, "interval", s.Interval, "error", err)
	}
	var state State
	state.Close(nil, s, nil)
	return state
}

// watch returns what is stored of a state and of what happened to the levels of s.
func (w *Watcher) watch(state *State, s *service.Snapshot, happened []Transition) *service.Watch {
	now := time.Now()
	stored := &service.Watch{Key: s.Key, AsOf: s.AsOf, State: state.Append(nil)}
	for i := range happened {
		stored.Events = append(stored.Events, newEvent(s, &happened[i], now))
		w.events.WithLabelValues(s.Exchange, happened[i].Kind.String()).Inc()
	}
	return stored
}

// arm sets the alarm of a series.
func (w *Watcher) arm(state *State, s *service.Snapshot) {
	below, above := state.Alarm(s)
	p := pair{s.Exchange, s.Symbol}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.pairs[p] {
		if a.key.Interval == s.Interval {
			if !s.AsOf.Before(a.asOf) {
				a.below, a.above, a.asOf = below, above, s.AsOf
			}
			return
		}
	}
	w.pairs[p] = append(w.pairs[p], &alarm{key: s.Key, below: below, above: above, asOf: s.AsOf})
}

// Price notes the last price of a pair at a time of the exchange's clock.
func (w *Watcher) Price(exchange, symbol string, price float64, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.price(w.pairs[pair{exchange, symbol}], price, at)
}

// Prices notes the last prices of the pairs of an exchange at a time of its clock.
func (w *Watcher) Prices(exchange string, p *service.Prices, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for pair, alarms := range w.pairs {
		if pair.exchange == exchange {
			if price, ok := p.Last(pair.symbol); ok {
				w.price(alarms, price, at)
			}
		}
	}
}

func (w *Watcher) price(alarms []*alarm, price float64, at time.Time) {
	for _, a := range alarms {
		if price > a.below && price < a.above || at.Sub(a.asOf) > (1+maxAge)*a.key.Interval.Duration() || at.Before(a.asOf) {
			continue
		}
		a.price, a.at = price, at
		if !a.queued {
			a.queued = true
			w.crossed = append(w.crossed, a)
			select {
			case w.wake <- struct{}{}:
			default:
			}
		}
	}
}

// crossing is a price that has come to a level of a series.
type crossing struct {
	key          service.Key
	price        float64
	at           time.Time
	asOf         time.Time // of the alarm
	below, above float64   // of the alarm
}

// next takes the series that prices have crossed, at most crossAtOnce.
func (w *Watcher) next() []crossing {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(len(w.crossed), crossAtOnce)
	all := make([]crossing, n)
	for i, a := range w.crossed[:n] {
		all[i] = crossing{a.key, a.price, a.at, a.asOf, a.below, a.above}
		// until it is stored, no other price matters
		a.queued, a.below, a.above = false, 0, math.Inf(1)
	}
	w.crossed = append(w.crossed[:0], w.crossed[n:]...)
	slices.SortFunc(all, func(a, b crossing) int { // in the same order in all processes
		return cmp.Or(cmp.Compare(a.key.Exchange, b.key.Exchange), cmp.Compare(a.key.Interval, b.key.Interval), cmp.Compare(a.key.Symbol, b.key.Symbol))
	})
	return all
}

const (
	crossAtOnce = 50          // in a transaction
	crossAgain  = time.Second // after one that failed
)

// Run stores what prices between closes do to levels, until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	ctx = service.Background(ctx)
	failing := false
	for {
		all := w.next()
		if len(all) == 0 {
			select {
			case <-w.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		err := w.cross(ctx, all)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			failing = false
			continue
		case !failing:
			w.log.Warn("what prices do to levels cannot be stored; it is tried again", "error", err)
		}
		failing = true
		select {
		case <-time.After(crossAgain):
		case <-ctx.Done():
			return
		}
		w.again(all)
	}
}

// again queues series whose crossing could not be stored.
func (w *Watcher) again(all []crossing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range all {
		if a := w.alarm(x.key); !a.queued {
			a.queued, a.price, a.at = true, x.price, x.at
			w.crossed = append(w.crossed, a)
		}
	}
}

// alarm returns the alarm of a series, nil if it has none.
func (w *Watcher) alarm(key service.Key) *alarm {
	for _, a := range w.pairs[pair{key.Exchange, key.Symbol}] {
		if a.key == key {
			return a
		}
	}
	return nil
}

// cross stores what prices do to levels.
func (w *Watcher) cross(ctx context.Context, all []crossing) error {
	keys := make([]service.Key, len(all))
	for i, x := range all {
		keys[i] = x.key
	}
	type result struct {
		state State
		snap  service.Snapshot
	}
	results := map[service.Key]*result{}
	err := w.store.Cross(ctx, keys, func(s *service.Snapshot, stored []byte) *service.Watch {
		x := all[slices.Index(keys, s.Key)]
		state := w.state(s, stored)
		happened := state.Price(s, x.price, x.at)
		results[s.Key] = &result{state, *s}
		if len(happened) == 0 {
			return nil
		}
		return w.watch(&state, s, happened)
	})
	if err != nil {
		return err
	}
	for _, x := range all {
		if r := results[x.key]; r != nil && !r.snap.AsOf.Before(x.asOf) {
			w.arm(&r.state, &r.snap)
		} else { // the analysis of the alarm is not stored yet
			w.restore(x)
		}
	}
	return nil
}

// restore gives an alarm the prices back that it had at a crossing.
func (w *Watcher) restore(x crossing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a := w.alarm(x.key); a.asOf.Equal(x.asOf) {
		a.below, a.above = x.below, x.above
	}
}

package alert

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tidemark/levels"
	"tidemark/wire"
)

const (
	// dispatchLimit is the most events of a transaction, and dueLimit the most groups of one
	// query.
	dispatchLimit = 500
	dueLimit      = 50
	// The longest time between two looks: while there is something to do, and while not.
	busyTick = 10 * time.Second
	idleTick = time.Minute
	// afterError is the pause after an error of the database.
	afterError = time.Second
	// window is how much earlier an event of a longer interval may have been matched to
	// cover one of a shorter interval.
	window = time.Minute
)

// Queue runs the attempts that are queued by Tx.Queue.
type Queue interface {
	// StartDeliveries begins to call f with attempts, until StopDeliveries or the end of
	// the process.
	StartDeliveries(f func(ctx context.Context, delivery int64, attempts int, l Lane) error) error
	// StopDeliveries waits for the running calls.
	StopDeliveries(ctx context.Context) error
}

// Wake makes Run look for new events and changed rules.
func (a *Alerts) Wake() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run dispatches events, and makes the queue run attempts, until ctx ends. Several
// processes may do so at once. Without rules and open deliveries it only looks for some.
func (a *Alerts) Run(ctx context.Context, q Queue) {
	running, failing := false, false
	pruned := time.Time{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		case <-timer.C:
		}
		next, idle, err := a.Dispatch(ctx)
		if err == nil && idle == running {
			if running {
				err = q.StopDeliveries(ctx)
			} else {
				err = q.StartDeliveries(a.Attempt)
			}
			if err == nil {
				running = !running
			}
		}
		if err == nil && running && time.Since(pruned) > time.Hour {
			pruned = time.Now()
			_, err = a.store.PruneDeliveries(ctx, a.cfg.Now().Add(-a.cfg.Retention))
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			a.log.Warn("events are not turned into messages; trying again", "error", err)
		} else if err == nil && failing {
			a.log.Info("events are turned into messages again")
		}
		failing = err != nil
		wait := busyTick
		switch {
		case failing:
			wait = afterError
		case idle:
			wait = idleTick
		case !next.IsZero():
			wait = min(wait, max(0, next.Sub(a.cfg.Now())))
		}
		timer.Reset(wait)
	}
}

// Dispatch turns new events into messages, and ends gatherings that are due. It returns
// when the next one ends, and whether there are neither rules nor open deliveries.
func (a *Alerts) Dispatch(ctx context.Context) (next time.Time, idle bool, err error) {
	for {
		due, next, idle, err := a.store.AlertsDue(ctx, a.cfg.Now())
		if err != nil || !due {
			return next, idle, err
		}
		if err := a.dispatch(ctx); err != nil {
			return next, idle, err
		}
	}
}

// dispatch turns the next events into messages, and ends gatherings that are due.
func (a *Alerts) dispatch(ctx context.Context) error {
	if err := a.readVolumes(ctx); err != nil {
		return err
	}
	var d *dispatcher
	err := a.store.Dispatch(ctx, func(tx Tx) error {
		c, err := a.compile(tx.Configured)
		if err != nil {
			return err
		}
		d = a.newDispatcher(tx, c)
		after, err := tx.Position()
		if err != nil {
			return err
		}
		env := Env{Now: d.now, Volume: a.volumes.of, Silences: c.silences}
		last := after
		if err := tx.Events(after, dispatchLimit, func(e Numbered) error {
			last = e.Seq
			d.route(e, env)
			return nil
		}); err != nil {
			return err
		}
		if err := d.store(); err != nil {
			return err
		}
		if last > after {
			if err := tx.SetPosition(last); err != nil {
				return err
			}
		}
		return d.freeze()
	})
	if err == nil {
		d.count()
	}
	return err
}

// count adds what was done to the metrics, once it is committed.
func (d *dispatcher) count() {
	for reason, n := range d.withheld {
		d.metrics.withheld.WithLabelValues(reason).Add(float64(n))
	}
	for state, n := range d.ended {
		d.metrics.ended.WithLabelValues(state).Add(float64(n))
	}
}

// dispatcher is one call of dispatch.
type dispatcher struct {
	*Alerts
	tx        Tx
	c         *compiled
	now       time.Time
	groups    []*group
	byKey     map[string]*group
	last      map[[2]string]*group       // by receiver and level, that of the last event
	receivers map[string]*StoredReceiver // by id
	withheld  map[string]int             // events that are not sent, by reason
	ended     map[string]int             // deliveries, by state
}

func (a *Alerts) newDispatcher(tx Tx, c *compiled) *dispatcher {
	return &dispatcher{
		Alerts: a, tx: tx, c: c, now: a.cfg.Now(), byKey: map[string]*group{}, last: map[[2]string]*group{}, receivers: map[string]*StoredReceiver{}, withheld: map[string]int{}, ended: map[string]int{},
	}
}

// group is a delivery that gathers, with the events to add to it.
type group struct {
	number      int // in the order of the dispatcher, from 1 on
	key, reason string
	rule        *Rule // nil: of several
	receiver    *StoredReceiver
	until       time.Time     // the end of the gathering
	most        time.Duration // the longest gathering; 0: until does not move
	events      []Matched
}

// route gives an event to the groups of the rules that want it. A receiver gets it once,
// by the first rule.
func (d *dispatcher) route(e Numbered, env Env) {
	var given []string
	noted := map[string]bool{}
	for _, r := range d.c.rules {
		ok, why := r.Match(e.Event, env)
		hold := why == QuietTime && r.quiet.hold
		if reason := withheldReason(why); reason != "" && !hold && !noted[reason] {
			noted[reason] = true
			d.withheld[reason]++
		}
		if !ok && !hold {
			continue
		}
		for _, name := range r.Receivers {
			receiver := d.c.receiver(name)
			if receiver == nil || slices.Contains(given, receiver.ID) {
				continue
			}
			given = append(given, receiver.ID)
			g := group{rule: r, receiver: receiver}
			switch {
			case hold:
				g.until, _ = r.quiet.until(d.now)
				g.reason = ForQuiet
				g.key = join(ForQuiet, r.ID, receiver.ID)
			case e.Candle == nil:
				g.reason, g.until = ForEvent, d.now
				g.key = join(ForEvent, r.ID, receiver.ID, strconv.FormatInt(e.Seq, 10))
			default:
				g.reason, g.until, g.most = ForClose, d.now.Add(r.groupWait()), maxGroupWait
				g.key = join(ForClose, r.ID, receiver.ID, e.Exchange, e.Interval, foundAt(e.Event))
			}
			d.add(g, e)
		}
	}
}

func withheldReason(why Reason) string {
	switch why {
	case Silenced:
		return silenced
	case QuietTime:
		return quieted
	}
	return ""
}

// foundAt is the close at which an event was found. It is later than the event when closes
// were missed; so what happened to a level at several of them stays in one message.
func foundAt(e *wire.Event) string { return strconv.FormatInt(e.AsOf.UnixMilli(), 10) }

func join(parts ...string) string { return strings.Join(parts, " ") }

// expiry returns when an event is out of date; zero: never.
func expiry(e *wire.Event) time.Time {
	switch e.Kind {
	case "approaching", "touched":
		return e.OccurredAt.Add(levels.Interval(e.Interval).Duration())
	case "appeared", "vanished":
		return e.OccurredAt.Add(24 * time.Hour)
	}
	return time.Time{}
}

func (d *dispatcher) add(g group, e Numbered) {
	key, level := g.key, [2]string{g.receiver.ID, e.Level.ID}
	known, last := d.byKey[key], d.last[level]
	if known != nil && last != nil && known.number < last.number { // it must not arrive before the last event of its level
		g.key, known = join(key, strconv.FormatInt(e.Seq, 10)), nil
	}
	if known == nil {
		known = &g
		d.byKey[key] = known
		d.groups = append(d.groups, known)
		known.number = len(d.groups)
	}
	d.last[level] = known
	known.events = append(known.events, Matched{Seq: e.Seq, Level: e.Level.ID, Symbol: e.Symbol})
}

// store stores the groups and their events.
func (d *dispatcher) store() error {
	for _, g := range d.groups {
		id, err := d.open(g)
		if err != nil {
			return err
		}
		for i := range g.events {
			g.events[i].Delivery = id
		}
		if err := d.tx.AddEvents(g.events); err != nil {
			return err
		}
	}
	d.groups, d.byKey, d.last = nil, map[string]*group{}, map[[2]string]*group{}
	return nil
}

// open returns the id of the delivery of a group, a new one or the one that gathers, which
// then waits for longer.
func (d *dispatcher) open(g *group) (int64, error) {
	if g.reason != ForEvent && g.reason != ForReplay {
		s, err := d.tx.Gathering(g.key)
		if err != nil {
			return 0, err
		}
		overtakes := false
		if s != nil && len(g.events) > 0 {
			if overtakes, err = d.tx.Overtakes(s, g.events); err != nil {
				return 0, err
			}
		}
		if overtakes { // a later message is about an earlier event of one of the levels
			g.key = join(g.key, strconv.FormatInt(g.events[0].Seq, 10))
		} else if s != nil {
			if g.most > 0 {
				s.DueAt = g.until
				if last := s.CreatedAt.Add(g.most); last.Before(s.DueAt) {
					s.DueAt = last
				}
				err = d.tx.Update(s)
			}
			return s.ID, err
		}
	}
	s := StoredDelivery{
		Message: "msg_" + newID(), Reason: g.reason, Receiver: g.receiver.ID, ReceiverName: g.receiver.Name,
		Key: g.key, State: Gathering, CreatedAt: d.now, DueAt: g.until,
	}
	if g.rule != nil {
		s.Rule, s.RuleName = g.rule.ID, g.rule.Name
	}
	err := d.tx.Insert(&s)
	return s.ID, err
}

// freeze ends the gatherings that are due: it renders their messages and queues them.
func (d *dispatcher) freeze() error {
	for {
		due, err := d.tx.Due(d.now, dueLimit)
		if err != nil {
			return err
		}
		for i := range due {
			if err := d.freezeOne(&due[i]); err != nil {
				return err
			}
		}
		if len(due) < dueLimit {
			return nil
		}
	}
}

func (d *dispatcher) receiver(id string) (*StoredReceiver, error) {
	if r := d.receivers[id]; r != nil {
		return r, nil
	}
	r, err := d.tx.Receiver(id)
	if err == nil {
		d.receivers[id] = r
	}
	return r, err
}

func (d *dispatcher) freezeOne(s *StoredDelivery) error {
	receiver, err := d.receiver(s.Receiver)
	switch {
	case errors.Is(err, ErrUnknown):
		return d.end(s, Cancelled, "the receiver was deleted")
	case err != nil:
		return err
	}
	rule := d.c.rule(s.Rule)
	sum := d.newSummary(rule, d.now)
	if rule != nil && rule.Inhibit && len(rule.Intervals) != 1 && s.Reason != ForQuiet {
		if err := d.cover(s, sum); err != nil {
			return err
		}
	}
	if err := d.tx.Matched(s.ID, func(e Numbered) error { sum.add(e); return nil }); err != nil {
		return err
	}
	if err := sum.drop(d.tx, s); err != nil {
		return err
	}
	d.withheld[inhibited] += sum.inhibited
	d.withheld[expired] += sum.expired
	switch {
	case sum.events == 0 && sum.expired > 0:
		return d.end(s, Expired, "the events were out of date before the message was queued")
	case sum.events == 0 && s.LeftOut > 0:
		return d.end(s, Cancelled, "levels of longer intervals cover all of the events")
	case sum.events == 0:
		return d.end(s, Cancelled, "the events were deleted")
	case !receiver.DisabledAt.IsZero():
		d.withheld[toDisabled] += sum.events
		return d.end(s, Failed, "the receiver is disabled: "+receiver.DisabledWhy)
	}
	minute, limit := d.now.Unix()/60, receiver.PerMinute
	if s.Reason == ForBudget {
		limit = 1 << 30 // the summary itself is counted, and always sent
	}
	if within, err := d.tx.Spend(receiver.ID, minute, limit); err != nil {
		return err
	} else if !within {
		d.withheld[overBudget] += sum.events
		to, err := d.open(&group{
			key: join(ForBudget, receiver.ID), reason: ForBudget, receiver: receiver, until: time.Unix((minute+1)*60, 0),
		})
		if err != nil {
			return err
		}
		return d.tx.MoveEvents(s.ID, to, d.now)
	}
	sum.render(s, receiver)
	s.Key, s.State, s.QueuedAt, s.DueAt = "", Pending, d.now, d.now
	if err := d.tx.Update(s); err != nil {
		return err
	}
	return d.tx.Queue(s.ID, 0, d.now, receiver.lane())
}

// lane returns the queue of the next attempt to a receiver.
func (r *StoredReceiver) lane() Lane {
	switch {
	case r.Quick:
		return Quick
	case !r.FailingSince.IsZero():
		return Failing
	case r.SucceededAt.IsZero():
		return Untried
	}
	return Slow
}

// end ends a delivery that gathers.
func (d *dispatcher) end(s *StoredDelivery, state, why string) error {
	d.ended[state]++
	s.Key, s.State, s.Error, s.FinalAt, s.DueAt = "", state, why, d.now, time.Time{}
	return d.tx.Finish(s, d.now)
}

// cover gives sum the levels of longer intervals that cover others.
func (d *dispatcher) cover(s *StoredDelivery, sum *summary) error {
	return d.tx.Related(s, s.CreatedAt.Add(-window), func(e Numbered) error {
		sum.covers = append(sum.covers, coverOf(e.Event))
		return nil
	})
}

// cover is a level with an event, which covers levels of shorter intervals in its zone.
type cover struct {
	exchange, symbol, kind string
	interval               time.Duration
	low, high              float64
}

func coverOf(e *wire.Event) cover {
	return cover{e.Exchange, e.Symbol, e.Kind, levels.Interval(e.Interval).Duration(), e.Level.Low, e.Level.High}
}

func (c cover) covers(e *wire.Event) bool {
	return c.exchange == e.Exchange && c.symbol == e.Symbol && c.kind == e.Kind &&
		levels.Interval(e.Interval).Duration() < c.interval && c.low <= e.Level.Price && e.Level.Price <= c.high
}

// Replay makes messages again of the events of a rule, those with numbers after one and up
// to another, at most 500 in a call. It does not look at pauses, quiet hours and silences.
// Events that are out of date are left out.
func (a *Alerts) Replay(ctx context.Context, rule string, after, upTo int64) (wire.Replay, error) {
	r, err := a.Rule(ctx, rule)
	if err != nil {
		return wire.Replay{}, err
	}
	if err := a.readVolumes(ctx); err != nil {
		return wire.Replay{}, err
	}
	again := *r
	again.Paused, again.Until, again.quiet = false, nil, nil
	var result wire.Replay
	var d *dispatcher
	err = a.store.Dispatch(ctx, func(tx Tx) error {
		result = wire.Replay{}
		c, err := a.compile(tx.Configured)
		if err != nil {
			return err
		}
		d = a.newDispatcher(tx, c)
		prefix := join(ForReplay, newID())
		read, last := 0, after
		if err := tx.Events(after, dispatchLimit, func(e Numbered) error {
			if read, last = read+1, e.Seq; e.Seq > upTo {
				return nil
			}
			result.Events++
			if ok, _ := again.Match(e.Event, Env{Now: d.now, Volume: a.volumes.of}); !ok {
				return nil
			}
			result.Matched++
			if until := expiry(e.Event); !until.IsZero() && !d.now.Before(until) {
				result.Expired++
				return nil
			}
			for _, name := range again.Receivers {
				if receiver := c.receiver(name); receiver != nil {
					key := join(prefix, receiver.ID, e.Exchange, e.Interval, foundAt(e.Event))
					if e.Candle == nil {
						key = join(prefix, receiver.ID, strconv.FormatInt(e.Seq, 10))
					}
					d.add(group{key: key, reason: ForReplay, rule: &again, receiver: receiver, until: d.now}, e)
				}
			}
			return nil
		}); err != nil {
			return err
		}
		if read == dispatchLimit && last < upTo {
			result.Next = last
		}
		result.Deliveries = len(d.groups)
		if err := d.store(); err != nil {
			return err
		}
		return d.freeze()
	})
	if err != nil {
		return wire.Replay{}, fmt.Errorf("replay of rule %q: %w", rule, err)
	}
	d.count()
	a.Wake()
	return result, nil
}

// volumes keeps the 24 h volumes of the exchanges of this process.
type volumes struct {
	read func(ctx context.Context, exchange string) (map[string]float64, error)

	mu sync.Mutex
	by map[string]volume // by exchange
}

type volume struct {
	at   time.Time
	pair map[string]float64 // nil: not known
}

// volumeAge is the age at which volumes are read again.
const volumeAge = 5 * time.Minute

// of implements Env.Volume.
func (v *volumes) of(exchange, symbol string) (float64, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	pairs := v.by[exchange].pair
	return pairs[symbol], pairs != nil
}

// readVolumes reads the volumes that rules need and that are too old. An exchange that does
// not answer keeps its old ones.
func (a *Alerts) readVolumes(ctx context.Context) error {
	if a.volumes.read == nil {
		return nil
	}
	c, err := a.configured(ctx)
	if err != nil {
		return err
	}
	for _, r := range c.rules {
		if r.MinQuoteVolume <= 0 || r.Paused {
			continue
		}
		exchanges := r.Exchanges
		if len(exchanges) == 0 {
			exchanges = a.cfg.Exchanges
		}
		for _, exchange := range exchanges {
			a.volumes.mu.Lock()
			old := a.volumes.by[exchange]
			a.volumes.mu.Unlock()
			if time.Since(old.at) < volumeAge {
				continue
			}
			pairs, err := a.volumes.read(ctx, exchange)
			if err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				a.log.Warn("the 24 h volumes of an exchange cannot be read; rules with min_quote_volume use older ones", "exchange", exchange, "error", err)
				pairs = old.pair
			}
			a.volumes.mu.Lock()
			a.volumes.by[exchange] = volume{time.Now(), pairs}
			a.volumes.mu.Unlock()
		}
	}
	return nil
}

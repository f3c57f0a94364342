package exchange

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"tidemark/service"
)

// BudgetKind says how a venue counts requests.
type BudgetKind uint8

// The kinds of budgets.
const (
	// Rolling allows Limit in every period of length Period. It also suits a venue that
	// counts in fixed windows and does not say when they begin.
	Rolling BudgetKind = iota
	// Aligned allows Limit in each whole period of the venue's clock, such as a minute.
	Aligned
	// Bucket allows a burst of Burst, which fills again by Limit in a Period.
	Bucket
)

// Budget is one limit of a venue on requests from an address.
type Budget struct {
	Name   string // in metrics: "weight", "klines"
	Kind   BudgetKind
	Limit  int // cost in a Period
	Period time.Duration
	Burst  int // for Bucket
}

// MaxBudgets is the number of budgets a venue may have.
const MaxBudgets = 4

// Cost is what a request takes from each of a venue's budgets, in their order.
type Cost [MaxBudgets]int

// within reports whether c is no more than d of any budget.
func (c Cost) within(d Cost) bool {
	for i := range c {
		if c[i] > d[i] {
			return false
		}
	}
	return true
}

func (c Cost) minus(d Cost) Cost {
	for i := range c {
		c[i] -= d[i]
	}
	return c
}

func (c Cost) times(n int) Cost {
	for i := range c {
		c[i] *= n
	}
	return c
}

// Limiter decides when a request may be sent to a venue. It keeps the venue's budgets,
// and a gate that is shut while the venue demands a pause. Markets of one venue behind
// one address share a Limiter.
//
// Requests that somebody waits for go before those of a sweep (service.Background): the
// latter leave a tenth of each budget and wait while one of the former waits.
type Limiter struct {
	clock *Clock

	mu      sync.Mutex
	budgets []spending
	strict  int // markets that have not said that their limits are looser
	people  int // requests waiting that are not of a sweep
	until   time.Time
	reason  error         // why the gate is shut
	strikes int           // backoffs in a row
	changed chan struct{} // closed when the gate is shut, or shut for longer
}

// NewLimiter returns a Limiter whose gate is open. It spends at most share, 0 to 1, of
// each budget, but never less than the cost of the heaviest request, floor: that request
// could otherwise never be sent. clock is the venue's, for aligned budgets.
func NewLimiter(budgets []Budget, share float64, floor Cost, clock *Clock) *Limiter {
	l := &Limiter{clock: clock, changed: make(chan struct{}), budgets: make([]spending, len(budgets))}
	for i, b := range budgets {
		l.budgets[i] = spending{Budget: b, share: share, floor: floor[i]}
	}
	return l
}

// Ticket is permission to send requests.
type Ticket struct {
	cost   Cost
	window [MaxBudgets]int64 // of each aligned budget, that the venue's clock had certainly reached
}

// Acquire waits until requests of this cost may be sent, and counts them. The caller
// must call Done for what it sends and Cancel for what it does not. Acquire returns a
// RetryAfterError at once if a ban shuts the gate, or if the wait would exceed patience
// or the context's deadline.
func (l *Limiter) Acquire(ctx context.Context, cost Cost, patience time.Duration) (Ticket, error) {
	return l.acquire(ctx, cost, patience, patience)
}

// acquire is Acquire with another patience, pause, while the gate is shut.
func (l *Limiter) acquire(ctx context.Context, cost Cost, patience, pause time.Duration) (Ticket, error) {
	start := time.Now()
	sweep := service.IsBackground(ctx)
	waiting := false
	defer func() {
		if waiting {
			l.mu.Lock()
			l.people--
			l.mu.Unlock()
		}
	}()
	for {
		if ctx.Err() != nil {
			return Ticket{}, context.Cause(ctx)
		}
		l.mu.Lock()
		now := time.Now()
		until, reason := l.blocked(now, cost, sweep)
		changed := l.changed
		latest := start.Add(patience)
		if now.Before(l.until) {
			latest = start.Add(pause)
		}
		var ticket Ticket
		if reason == nil {
			ticket = l.take(cost)
		} else if !sweep && !waiting {
			waiting = true
			l.people++
		}
		l.mu.Unlock()
		if reason == nil {
			return ticket, nil
		}
		if until.After(latest) {
			return Ticket{}, &service.RetryAfterError{Err: reason, Until: until}
		}
		if err := refuseWait(ctx, until, reason); err != nil {
			return Ticket{}, err
		}
		timer := time.NewTimer(until.Sub(now))
		select {
		case <-timer.C:
		case <-changed: // perhaps a ban, which is never waited for
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// refuseWait returns a RetryAfterError for a pointless wait: for the end of a ban, or
// past the context's deadline.
func refuseWait(ctx context.Context, until time.Time, reason error) error {
	deadline, limited := ctx.Deadline()
	if errors.Is(reason, service.ErrBanned) || limited && deadline.Before(until) {
		return &service.RetryAfterError{Err: reason, Until: until}
	}
	return nil
}

// Check returns the error that Acquire would return at once, or nil.
func (l *Limiter) Check(ctx context.Context, cost Cost) error {
	l.mu.Lock()
	until, reason := l.blocked(time.Now(), cost, service.IsBackground(ctx))
	l.mu.Unlock()
	if reason == nil {
		return nil
	}
	return refuseWait(ctx, until, reason)
}

// Watch is for a caller that waits for the response to another caller's request.
// While the gate is shut it returns the error of Check; changed is closed when the
// gate is shut, or shut for longer.
func (l *Limiter) Watch(ctx context.Context) (changed <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Now().Before(l.until) {
		err = refuseWait(ctx, l.until, l.reason)
	}
	return l.changed, err
}

// yieldFor is how long a request of a sweep waits before it looks again whether somebody
// still waits for another one.
const yieldFor = 50 * time.Millisecond

// blocked returns until when requests must wait, and why; the error is nil if they need
// not wait. It is called with l.mu held.
func (l *Limiter) blocked(now time.Time, cost Cost, sweep bool) (until time.Time, reason error) {
	if now.Before(l.until) {
		return l.until, l.reason
	}
	if sweep && l.people > 0 {
		return now.Add(yieldFor), service.ErrRateLimited
	}
	for i := range l.budgets {
		if cost[i] == 0 {
			continue
		}
		if end := l.budgets[i].blocked(now, cost[i], sweep, l.clock); end.After(until) {
			until, reason = end, service.ErrRateLimited
		}
	}
	return until, reason
}

// Fit returns how many requests of a cost, at most n, a sweep may ever hold at once.
func (l *Limiter) Fit(cost Cost, n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.budgets {
		if cost[i] == 0 {
			continue
		}
		most := l.budgets[i].allowed(true)
		if l.budgets[i].Kind == Bucket {
			most = int(l.budgets[i].capacity())
		}
		n = min(n, most/cost[i])
	}
	return max(1, n)
}

// take counts requests as under way. It is called with l.mu held.
func (l *Limiter) take(cost Cost) Ticket {
	t := Ticket{cost: cost}
	for i := range l.budgets {
		b := &l.budgets[i]
		b.inFlight += cost[i]
		b.used += cost[i]
		b.tokens -= float64(cost[i])
		t.window[i] = b.window
	}
	return t
}

// Done ends requests, with or without responses. They stay counted, because the venue may
// have counted them.
func (l *Limiter) Done(cost Cost) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for i := range l.budgets {
		l.budgets[i].done(now, cost[i])
	}
}

// Cancel gives back requests that were never sent.
func (l *Limiter) Cancel(cost Cost) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for i := range l.budgets {
		l.budgets[i].cancel(now, cost[i])
	}
}

// Usage is what a venue says about a budget in the headers of a response.
type Usage struct {
	Budget int // index in Spec.Budgets
	// Used is what the address has used in this window; -1 if the venue does not say.
	Used int
	// Remaining is what it may still use; -1 if the venue does not say.
	Remaining int
	Limit     int // of the venue; 0 if it does not say
}

// Observe applies what the venue says in the response to a request of ticket t, with the
// Date header of the same response (zero if it has none). It never lowers the count: the
// venue's number includes other processes behind the address, but may not include
// requests in progress.
func (l *Limiter) Observe(t Ticket, u Usage, date time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if u.Budget >= len(l.budgets) {
		return
	}
	b := &l.budgets[u.Budget]
	now := time.Now()
	if u.Limit > 0 && u.Limit <= maxLimit {
		b.Limit = u.Limit
	}
	if u.Remaining >= 0 && u.Remaining <= b.size() {
		u.Used = b.size() - u.Remaining
	}
	if u.Used < 0 {
		return
	}
	b.roll(now, l.clock)
	switch b.Kind {
	case Aligned:
		b.observe(now, t.window[u.Budget], u.Used, date)
	case Rolling:
		if more := u.Used + b.inFlight - b.total(); more > 0 {
			b.slices[b.slice] += more
		}
	case Bucket:
		b.tokens = min(b.tokens, b.capacity()-float64(u.Used+b.inFlight))
	}
}

// join adds a market that shares l.
func (l *Limiter) join() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.strict++
}

// loosen multiplies the budgets: a simulated exchange says that its limits are so many
// times those of the venue. It is called once for a market, and takes effect with the last
// of those that share l, because a real one among them has the limits of the venue.
func (l *Limiter) loosen(times int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.strict--; l.strict > 0 {
		return
	}
	for i := range l.budgets {
		l.budgets[i].Limit *= times
		l.budgets[i].Burst *= times
	}
}

// SetLimit sets the limit of a budget as the venue reports it.
func (l *Limiter) SetLimit(budget, limit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.budgets[budget].Limit = limit
}

// Pause shuts the gate: no request starts before until. The reason is ErrRateLimited
// or ErrBanned. Pause never shortens a pause and never turns a ban into a rate limit.
// It reports whether the pause is worth logging: responses to concurrent requests
// each move the end slightly.
func (l *Limiter) Pause(until time.Time, reason error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pause(until, reason)
}

func (l *Limiter) pause(until time.Time, reason error) bool {
	now := time.Now()
	shut := now.Before(l.until)
	worse := errors.Is(reason, service.ErrBanned) && !(shut && errors.Is(l.reason, service.ErrBanned))
	longer := until.After(l.until)
	if !until.After(now) || !worse && !longer {
		return false
	}
	changed := worse || until.Sub(l.until) > time.Second
	if longer {
		l.until = until
	}
	if worse || !shut {
		l.reason = reason
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return changed
}

// Hold shuts the gate at least until then, while the body of a response is still being
// read. Waiting requests are notified by the Pause that follows, or by Announce, once
// the duration and the reason are known. It reports whether the gate was open.
func (l *Limiter) Hold(until time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	open := !time.Now().Before(l.until)
	if until.After(l.until) {
		l.until = until
		if open {
			l.reason = service.ErrRateLimited
		}
	}
	return open
}

// Announce makes waiting requests check the gate again.
func (l *Limiter) Announce() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

// The bounds of the time for which Backoff shuts the gate; it doubles from the first
// to the last.
const (
	firstBackoff = 500 * time.Millisecond
	lastBackoff  = time.Minute
)

// Backoff shuts the gate for a venue that refuses requests without a duration: twice
// as long after each consecutive refusal. Refusals that arrive while it is shut have
// no effect.
func (l *Limiter) Backoff() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Before(l.until) {
		return
	}
	d := min(firstBackoff<<min(l.strikes, 16), lastBackoff)
	l.strikes++
	l.pause(now.Add(d), service.ErrRateLimited)
}

// Healthy resets the count of consecutive refusals of Backoff.
func (l *Limiter) Healthy() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.strikes = 0
}

// Open reports whether the gate is open now.
func (l *Limiter) Open() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !time.Now().Before(l.until)
}

// Stats is the state of a Limiter.
type Stats struct {
	Budgets     []Spent
	PausedUntil time.Time // zero, or past, when requests may be sent
	Banned      bool      // the pause is a ban
}

// Spent is the state of a budget.
type Spent struct {
	Budget     // with the limit that the venue reported last
	Used   int // in the current window, as far as known
}

// Share returns the part of the limit that is used.
func (s Spent) Share() float64 { return float64(s.Used) / float64(s.Limit) }

// Stats returns the current state.
func (l *Limiter) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	s := Stats{PausedUntil: l.until, Banned: now.Before(l.until) && errors.Is(l.reason, service.ErrBanned)}
	for i := range l.budgets {
		b := &l.budgets[i]
		b.roll(now, l.clock)
		s.Budgets = append(s.Budgets, Spent{b.Budget, b.spent()})
	}
	return s
}

// Rate returns how many requests of a cost a second the budgets leave for sweeps in the
// long run.
func (l *Limiter) Rate(cost Cost) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	rate := math.Inf(1)
	for i := range l.budgets {
		if b := &l.budgets[i]; cost[i] > 0 {
			rate = min(rate, float64(b.allowed(true))/b.Period.Seconds()/float64(cost[i]))
		}
	}
	return rate
}

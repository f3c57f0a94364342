package exchange

import (
	"context"
	"errors"
	"sync"
	"time"

	"tidemark/service"
)

// Limiter decides when a request may be sent to a venue. It has a weight budget for
// each minute of the venue's clock, and a gate that is shut while the venue demands a
// pause.
type Limiter struct {
	clock *Clock
	share float64
	floor int

	mu       sync.Mutex
	limit    int
	minute   int64     // of the venue's clock, counted by the window; 0 if unknown
	opened   time.Time // local start of the window, at or after its start at the venue
	used     int
	inFlight int // weight of the requests in progress
	until    time.Time
	reason   error         // why the gate is shut
	strikes  int           // backoffs in a row
	changed  chan struct{} // closed when the gate is shut, or shut for longer
}

// LimiterConfig is the configuration of a Limiter.
type LimiterConfig struct {
	Clock *Clock
	Limit int     // weight a minute, until the venue reports its own
	Share float64 // of the limit, above 0, at most 1
	// Floor is the weight of the heaviest request. The budget is never smaller,
	// because that request could then never be sent.
	Floor int
}

// NewLimiter returns a Limiter whose gate is open.
func NewLimiter(cfg LimiterConfig) *Limiter {
	return &Limiter{
		clock: cfg.Clock, share: cfg.Share, floor: cfg.Floor, limit: cfg.Limit,
		changed: make(chan struct{}),
	}
}

// Ticket is permission to send one request.
type Ticket struct {
	weight int
	minute int64 // that the venue's clock had certainly reached
}

// Acquire waits until a request of this weight may be sent, and counts it. The caller
// must call Done. Acquire returns a RetryAfterError at once if a ban shuts the gate,
// or if the wait would exceed patience or the context's deadline.
func (l *Limiter) Acquire(ctx context.Context, weight int, patience time.Duration) (Ticket, error) {
	latest := time.Now().Add(patience)
	for {
		if ctx.Err() != nil {
			return Ticket{}, context.Cause(ctx)
		}
		l.mu.Lock()
		now := time.Now()
		until, reason := l.blocked(now, weight)
		changed, ticket := l.changed, Ticket{weight, l.minute}
		if reason == nil {
			l.used += weight
			l.inFlight += weight
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
func (l *Limiter) Check(ctx context.Context, weight int) error {
	l.mu.Lock()
	until, reason := l.blocked(time.Now(), weight)
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

// blocked returns until when a request must wait, and why; the error is nil if it need
// not wait. It is called with l.mu held.
func (l *Limiter) blocked(now time.Time, weight int) (time.Time, error) {
	if now.Before(l.until) {
		return l.until, l.reason
	}
	l.roll(now)
	if l.used+weight <= max(int(l.share*float64(l.limit)), l.floor) {
		return time.Time{}, nil
	}
	// The window ends a minute after its local start, or earlier at the venue's next
	// full minute. The clock is a lower bound, so that end is late rather than early.
	left := time.Minute - now.Sub(l.opened)
	if venue, ok := l.clock.Now(); ok && venue/60_000 == l.minute {
		left = min(left, time.Duration((l.minute+1)*60_000-venue)*time.Millisecond)
	}
	return now.Add(max(left, time.Millisecond)), service.ErrRateLimited
}

// roll starts a new window when the venue's minute is over. The venue may count
// requests in progress in either minute; they are counted here in both.
func (l *Limiter) roll(now time.Time) {
	venue, _ := l.clock.Now()
	if minute := venue / 60_000; minute > l.minute && l.minute != 0 || now.Sub(l.opened) >= time.Minute {
		l.minute, l.opened, l.used = minute, now, l.inFlight
	} else if l.minute == 0 {
		l.minute = minute // the clock became known during the first window
	}
}

// Done ends the request of t, with or without a response. The weight stays counted,
// because the venue may have counted it.
func (l *Limiter) Done(t Ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight -= t.weight
}

// ObserveUsed applies the weight that, by the response to t, this address has used in
// the minute of the Date header of the same response (zero if it has none). It never
// lowers the count: the venue's number includes other processes behind the address,
// but may not include requests in progress.
func (l *Limiter) ObserveUsed(t Ticket, used int, date time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.roll(now)
	if !date.IsZero() {
		minute := date.Unix() / 60
		if minute < l.minute || minute > t.minute && date.Unix()%60 == 0 {
			// The count of the last minute. Date has whole seconds: in the first
			// second of a minute, only requests sent within it certainly count.
			return
		}
		if minute > l.minute {
			if l.minute != 0 {
				l.opened, l.used = now, 0
			}
			l.minute = minute
		}
	} else if t.minute != l.minute {
		return
	}
	l.used = max(l.used, used+l.inFlight)
}

// SetLimit sets the limit reported by the venue, weight a minute.
func (l *Limiter) SetLimit(limit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = limit
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
	UsedWeight  int       // in the current minute, as far as known
	WeightLimit int       // of the venue, a minute; only a share is used
	PausedUntil time.Time // zero, or past, when requests may be sent
}

// Stats returns the current state.
func (l *Limiter) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.roll(time.Now())
	return Stats{UsedWeight: l.used, WeightLimit: l.limit, PausedUntil: l.until}
}

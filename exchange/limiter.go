package exchange

import (
	"context"
	"errors"
	"sync"
	"time"

	"tidemark/service"
)

// Limiter is the one place that decides when a request may be sent to a venue:
// a weight budget for each minute of the venue's clock, and a gate that is shut
// while the venue has asked to be left alone.
type Limiter struct {
	clock *Clock
	share float64
	floor int

	mu       sync.Mutex
	limit    int
	minute   int64     // of the venue's clock, that the window counts; 0 if unknown
	opened   time.Time // when the window was begun here, at or after it began there
	used     int
	inFlight int // weight of the requests under way
	until    time.Time
	reason   error         // why the gate is shut
	strikes  int           // backoffs in a row
	changed  chan struct{} // closed when the gate is shut for longer
}

// LimiterConfig is what a Limiter is told once.
type LimiterConfig struct {
	Clock *Clock
	Limit int     // weight a minute, until the venue tells its own
	Share float64 // of the limit, above 0, at most 1
	// Floor is the heaviest single request: the budget is never smaller, or
	// that request could not be made at all.
	Floor int
}

// NewLimiter returns a Limiter whose gate is open.
func NewLimiter(cfg LimiterConfig) *Limiter {
	return &Limiter{
		clock: cfg.Clock, share: cfg.Share, floor: cfg.Floor, limit: cfg.Limit,
		changed: make(chan struct{}),
	}
}

// Ticket is the leave to send one request.
type Ticket struct {
	weight int
	minute int64 // that the venue's clock had certainly reached by then
}

// Acquire waits until a request of this weight may be sent, and counts it; Done
// must follow. It returns a RetryAfterError at once when the gate is shut by a
// ban, or when the wait would be longer than patience or than the context lasts.
func (l *Limiter) Acquire(ctx context.Context, weight int, patience time.Duration) (Ticket, error) {
	latest := time.Now().Add(patience)
	for {
		if ctx.Err() != nil {
			return Ticket{}, context.Cause(ctx)
		}
		l.mu.Lock()
		now := time.Now()
		until, reason := l.hold(now, weight)
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
		case <-changed: // perhaps a ban, for which nobody waits
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// refuseWait returns a RetryAfterError for a wait that is not worth its while: for
// the end of a ban, or past the context's deadline.
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
	until, reason := l.hold(time.Now(), weight)
	l.mu.Unlock()
	if reason == nil {
		return nil
	}
	return refuseWait(ctx, until, reason)
}

// Watch is for a caller that waits for the answer to another's request. While
// the gate is shut it returns what Check does; changed is closed when it is shut
// or shut for longer.
func (l *Limiter) Watch(ctx context.Context) (changed <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Now().Before(l.until) {
		err = refuseWait(ctx, l.until, l.reason)
	}
	return l.changed, err
}

// hold says until when a request must wait, and why; nil if it need not. It is
// called with l.mu held.
func (l *Limiter) hold(now time.Time, weight int) (time.Time, error) {
	if now.Before(l.until) {
		return l.until, l.reason
	}
	l.roll(now)
	if l.used+weight <= max(int(l.share*float64(l.limit)), l.floor) {
		return time.Time{}, nil
	}
	// The window ends a minute after it was seen to have begun, or earlier: at
	// the venue's next full minute. Its clock, a lower bound, errs on the late
	// side.
	left := time.Minute - now.Sub(l.opened)
	if venue, ok := l.clock.Now(); ok && venue/60_000 == l.minute {
		left = min(left, time.Duration((l.minute+1)*60_000-venue)*time.Millisecond)
	}
	return now.Add(max(left, time.Millisecond)), service.ErrRateLimited
}

// roll begins a new window when the venue's minute is over. Requests under way
// may be counted there in either; here they are counted in both.
func (l *Limiter) roll(now time.Time) {
	venue, _ := l.clock.Now()
	if minute := venue / 60_000; minute > l.minute && l.minute != 0 || now.Sub(l.opened) >= time.Minute {
		l.minute, l.opened, l.used = minute, now, l.inFlight
	} else if l.minute == 0 {
		l.minute = minute // the clock has become known within the first window
	}
}

// Done ends what Acquire began: the answer is there, or never will be. The
// weight stays counted, for the venue may have counted it.
func (l *Limiter) Done(t Ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight -= t.weight
}

// Saw takes, from the answer to the request of t, the weight the venue says
// this address has used in the minute of the Date header of the same response
// (zero if it has none). It only ever raises what is counted here: other
// processes behind the address count too, and requests under way may not be in
// it yet.
func (l *Limiter) Saw(t Ticket, used int, date time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.roll(now)
	if !date.IsZero() {
		minute := date.Unix() / 60
		if minute < l.minute || minute > t.minute && date.Unix()%60 == 0 {
			// Last minute's count. Date has whole seconds: in a minute's first
			// one, only what was sent within the minute is counted in it for sure.
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

// SetLimit takes the venue's own limit, weight a minute.
func (l *Limiter) SetLimit(limit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = limit
}

// Pause shuts the gate: no request starts before until. The reason is
// ErrRateLimited or ErrBanned. A pause is never made shorter, and a ban never
// less than a ban. It reports whether that is news: the answers to requests sent
// together each move the end by a hair.
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
	news := worse || until.Sub(l.until) > time.Second
	if longer {
		l.until = until
	}
	if worse || !shut {
		l.reason = reason
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return news
}

// Hold shuts the gate until then at least, for an answer whose body is still to be
// read. Requests that wait are told by the Pause that follows, or by Announce, and not
// before it is known for how long and why. It reports whether the gate was open.
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

// Announce tells the requests that wait how the gate is.
func (l *Limiter) Announce() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

// backoff bounds how long Backoff shuts the gate: doubling from the first to
// the last.
const (
	firstBackoff = 500 * time.Millisecond
	lastBackoff  = time.Minute
)

// Backoff shuts the gate for a venue that refuses without saying for how long:
// twice as long with each refusal in a row. Refusals that arrive while it is
// shut belong to the same wave and change nothing.
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

// Healthy ends the row of refusals Backoff counts.
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

// Stats is a Limiter at one moment.
type Stats struct {
	UsedWeight  int       // in the present minute, as far as is known
	WeightLimit int       // the venue's own, a minute, of which a share is used
	PausedUntil time.Time // zero, or past, when requests may be sent
}

// Stats returns the state now.
func (l *Limiter) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.roll(time.Now())
	return Stats{UsedWeight: l.used, WeightLimit: l.limit, PausedUntil: l.until}
}

package exchange

import (
	"fmt"
	"sync"
	"time"
)

// Clock is a lower bound of a venue's clock: the best timestamp from the venue plus
// the local time since it was received. The timestamp was already in the past then,
// so the venue's clock has certainly reached the value of Now.
type Clock struct {
	mu     sync.Mutex
	bound  stamp
	skew   time.Duration // how far a Date header is ahead of the bound
	behind bool          // a response showed the bound to be far from the venue's clock
	lagged stamp         // the last stamp, if it was far behind the bound
}

// stamp is a time of the venue's clock and the local time of its receipt; zero for
// none.
type stamp struct {
	ms int64 // Unix
	at time.Time
}

// now returns the time that the venue's clock has reached, Unix ms.
func (s stamp) now() int64 {
	if s.at.IsZero() {
		return 0
	}
	// 0.1 % is subtracted, so that a fast local clock cannot overtake the venue's.
	return s.ms + time.Since(s.at).Milliseconds()*999/1000
}

const (
	// maxClockAge is how long a stamp is trusted to be accurate. The estimate is
	// always a lower bound, but falls behind while this machine is suspended.
	maxClockAge = 5 * time.Minute
	// recheck is the time before another request to a venue whose responses
	// contradict the bound.
	recheck = time.Second
	// maxLead is how far a stamp may be ahead of all other clocks: the bound, the
	// Date header and this machine's. With a wrong stamp, open candles would count
	// as closed.
	maxLead = 30 * time.Second
	// maxLag is how far a stamp of a slow response or a cache may be behind the
	// bound. Two stamps further behind, consistent with each other within maxDrift,
	// show that the bound is wrong or the venue's clock was set back.
	maxLag   = 5 * time.Second
	maxDrift = 500 * time.Millisecond
)

// Set applies a timestamp of the venue, Unix ms, received at the local time at, with
// the Date header of the same response (zero if it has none), because the clock of a
// front server may differ from the venue's. The bound rises; it falls only to a
// stamp that confirms another. For a stamp that is implausibly far ahead, Set
// returns an error and changes nothing.
func (c *Clock) Set(ms int64, at, date time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	received := stamp{ms, at}
	now := received.now()
	known := max(c.bound.now(), time.Now().UnixMilli())
	if !date.IsZero() {
		known = max(known, date.Add(time.Since(at)).UnixMilli())
	}
	if lead := millis(now - known); lead > maxLead {
		return fmt.Errorf("the exchange's clock shows %s, %v ahead of its Date header and of this machine's clock",
			time.UnixMilli(ms).UTC().Format(time.RFC3339), lead.Round(time.Second))
	}
	lag := millis(c.bound.now() - now)
	c.behind = lag > maxLag
	switch {
	case lag <= 0 || c.behind && c.confirms(received):
		c.bound, c.lagged, c.behind = received, stamp{}, false
	default:
		c.bound = stamp{c.bound.now(), time.Now()}
		if !c.behind {
			c.lagged = stamp{}
		} else if c.lagged.at.IsZero() || time.Since(c.lagged.at) >= recheck {
			c.lagged = received
		}
	}
	c.skew = 0
	if !date.IsZero() {
		c.skew = max(0, date.Add(time.Since(at)).Sub(time.UnixMilli(c.bound.now())))
	}
	return nil
}

// confirms reports whether a stamp agrees with the last one that lagged. A repeated
// stamp from a cache does not.
func (c *Clock) confirms(s stamp) bool {
	return !c.lagged.at.IsZero() && s.at.Sub(c.lagged.at) >= recheck && millis(s.now()-c.lagged.now()).Abs() <= maxDrift
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// Now returns the lower bound in Unix ms, and false before the first stamp.
func (c *Clock) Now() (int64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bound.now(), !c.bound.at.IsZero()
}

// ObserveDate compares the Date header of a response with the estimate. A header that
// is ahead (the venue's clock is faster, or this machine was suspended) makes the
// estimate stale.
func (c *Clock) ObserveDate(date time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.bound.at.IsZero() && date.Add(-c.skew).UnixMilli() >= c.bound.now()+1000 {
		c.behind = true
	}
}

// Fresh reports whether the estimate is accurate enough without another request. If
// responses contradict it, it allows at most one request a second.
func (c *Clock) Fresh() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	age := time.Since(c.bound.at)
	return !c.bound.at.IsZero() && age < maxClockAge && !(c.behind && age >= recheck)
}

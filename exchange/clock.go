package exchange

import (
	"fmt"
	"sync"
	"time"
)

// Clock is a lower bound of a venue's clock: the best stamp the venue sent,
// plus the time that has passed here since it was received. The stamp was
// already in the past then, so the venue has certainly reached what Now says.
type Clock struct {
	mu     sync.Mutex
	bound  stamp
	skew   time.Duration // by which a Date header is ahead of the bound
	behind bool          // a response showed the bound to be far from the venue's clock
	lagged stamp         // the last stamp, if it was far behind the bound
}

// stamp is a moment of the venue's clock and when it was here; zero for none.
type stamp struct {
	ms int64 // Unix
	at time.Time
}

// now returns what the venue's clock has reached since, Unix ms.
func (s stamp) now() int64 {
	if s.at.IsZero() {
		return 0
	}
	// One in a thousand is given away, so that a clock that runs fast here
	// cannot overtake the venue's.
	return s.ms + time.Since(s.at).Milliseconds()*999/1000
}

const (
	// maxClockAge is how long one stamp is trusted to be near: the estimate stays
	// a lower bound for ever, but falls behind when this machine was suspended.
	maxClockAge = 5 * time.Minute
	// recheck is how soon a venue is asked again whose answers contradict the bound.
	recheck = time.Second
	// maxLead is how far a stamp may be ahead of every other clock at hand: the
	// bound, the Date header and this machine's. With a wrong one candles would
	// count as closed that are not.
	maxLead = 30 * time.Second
	// maxLag is how far a stamp may be behind the bound, as those of slow answers
	// and of caches are. Two further behind, with the right time between them to
	// within maxDrift, show that the bound is wrong or the venue's clock was set
	// back.
	maxLag   = 5 * time.Second
	maxDrift = 500 * time.Millisecond
)

// Set takes a stamp of the venue, Unix ms, received at a moment of this
// process, with the Date header of the same response (zero if there is none):
// a front server's clock may differ from that of the venue behind it. The bound
// rises; it falls only to a stamp that confirms another. A stamp too far ahead
// to be believed is an error and changes nothing.
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

// confirms reports whether a stamp agrees with the last one that lagged. A cache
// that sends the same one again does not.
func (c *Clock) confirms(s stamp) bool {
	return !c.lagged.at.IsZero() && s.at.Sub(c.lagged.at) >= recheck && millis(s.now()-c.lagged.now()).Abs() <= maxDrift
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// Now returns the lower bound in Unix ms; false before the first stamp.
func (c *Clock) Now() (int64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bound.now(), !c.bound.at.IsZero()
}

// Saw compares the Date header of a response with the estimate. One that is
// ahead (the venue's clock runs faster than ours, or ours stood still) makes
// the estimate stale.
func (c *Clock) Saw(date time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.bound.at.IsZero() && date.Add(-c.skew).UnixMilli() >= c.bound.now()+1000 {
		c.behind = true
	}
}

// Fresh reports whether the estimate is near enough to be used without asking
// again. A venue whose answers contradict it is asked at most once a second.
func (c *Clock) Fresh() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	age := time.Since(c.bound.at)
	return !c.bound.at.IsZero() && age < maxClockAge && !(c.behind && age >= recheck)
}

package exchange

import (
	"sync"
	"time"
)

// Clock is a lower bound of a venue's clock: the newest stamp the venue sent,
// plus the time that has passed here since it was received. The stamp was
// already in the past then, so the venue has certainly reached what Now says.
type Clock struct {
	mu     sync.Mutex
	stamp  int64     // the venue's, Unix ms
	at     time.Time // when it was received; zero before the first
	skew   time.Duration
	behind bool // a Date header showed the estimate to be
}

// maxClockAge is how long one stamp is trusted to be near: the estimate stays
// a lower bound for ever, but falls behind when this machine was suspended.
const maxClockAge = 5 * time.Minute

// Set takes a stamp of the venue, Unix ms, received at a moment of this
// process, with the Date header of the same response (zero if there is none):
// a front server's clock may differ from that of the venue behind it.
func (c *Clock) Set(stamp int64, at, date time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stamp, c.at, c.behind = stamp, at, false
	c.skew = max(0, date.Sub(time.UnixMilli(stamp)))
}

// Now returns the lower bound in Unix ms; false before the first stamp.
func (c *Clock) Now() (int64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now(), !c.at.IsZero()
}

func (c *Clock) now() int64 {
	if c.at.IsZero() {
		return 0
	}
	// One in a thousand is given away, so that a clock that runs fast here
	// cannot overtake the venue's.
	return c.stamp + time.Since(c.at).Milliseconds()*999/1000
}

// Saw compares the Date header of a response with the estimate. One that is
// ahead (the venue's clock runs faster than ours, or ours stood still) makes
// the estimate stale.
func (c *Clock) Saw(date time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at.IsZero() && date.Add(-c.skew).UnixMilli() >= c.now()+1000 {
		c.behind = true
	}
}

// Fresh reports whether the estimate is near enough to be used without asking
// again. A venue whose clock keeps running ahead is asked at most once a second.
func (c *Clock) Fresh() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	age := time.Since(c.at)
	return !c.at.IsZero() && age < maxClockAge && !(c.behind && age >= time.Second)
}

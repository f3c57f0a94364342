package simulated

import (
	"sync"
	"time"
)

// window is how a counter forgets.
type window uint8

const (
	aligned window = iota // at multiples of the period since the Unix epoch
	rolling               // each request one period after it
	bucket                // evenly, limit in each period
)

// counter is one of a venue's limits for each remote address.
type counter struct {
	name   string
	limit  int
	period time.Duration
	window window
	burst  int // capacity of a bucket; 0 is limit
	// stop makes an exceeded counter refuse every request of the address until its
	// window ends, or for pause if that is set. Otherwise it refuses only the
	// requests that do not fit.
	stop  bool
	pause time.Duration
}

// cost is what a request is charged.
type cost struct{ counter, weight int }

// usage is the state of a counter after a request.
type usage struct {
	*counter
	used  int
	reset time.Time // when the counter is empty, or its window ends
}

// left returns what remains of the limit.
func (u *usage) left() int { return max(0, u.limit-u.used) }

// limits counts requests as the venue does, with one account for each remote address.
// It uses real time, not the venue's clock, because clients wait in real time.
type limits struct {
	counters        []counter
	banAfter        int // requests refused in one pause before the address is banned; 0 is never
	ban, longestBan time.Duration

	mu       sync.Mutex
	accounts map[string]*account
}

// account is the state of one address.
type account struct {
	counts  []count
	until   time.Time // everything is refused before this
	banned  bool
	over    int // the counter that made the pause; -1 for a fault
	refused int // in this pause
	bans    int
	promise // of the end of the pause
}

// promise is a pause that the client was told about.
type promise struct {
	announced time.Time // end of the first response that told it; zero before
	promised  time.Time // the latest end that any of them gave
}

// count is the state of a counter.
type count struct {
	window int64 // aligned: number of the period
	used   int
	spent  []spent   // rolling: not yet forgotten
	full   time.Time // bucket: when it is full again
	promise
}

type spent struct {
	at     time.Time
	weight int
}

const maxAccounts = 1 << 10

// verdict is the decision for one request.
type verdict struct {
	usage   [3]usage // of the counters that it was charged to
	refused bool
	banned  bool
	counter int           // that is exceeded and refuses only its own requests; -1 otherwise
	over    int           // the exceeded counter, also of a pause; -1 for a fault
	pause   time.Duration // until the request may be repeated
	// For a request during an announced pause, early is the time since the
	// announcement and left the remaining pause. Both are zero otherwise.
	early, left time.Duration
}

// seconds returns the pause in whole seconds, rounded up.
func (v *verdict) seconds() int { return int((v.pause + time.Second - 1) / time.Second) }

func (p *promise) check(v *verdict, now time.Time) {
	if !now.Before(p.promised) {
		p.announced = time.Time{}
	}
	if left := p.promised.Sub(now); !p.announced.IsZero() && now.After(p.announced) && left > v.left {
		v.early, v.left = now.Sub(p.announced), left
	}
}

func (l *limits) account(address string, now time.Time) *account {
	a := l.accounts[address]
	if a == nil {
		if len(l.accounts) >= maxAccounts {
			for k, v := range l.accounts {
				if !now.Before(v.until) && !now.Before(v.promised) {
					delete(l.accounts, k)
				}
			}
		}
		a = &account{counts: make([]count, len(l.counters))}
		l.accounts[address] = a
	}
	if !now.Before(a.until) {
		a.banned, a.refused = false, 0
	}
	return a
}

// admit counts a request and decides whether it is refused.
func (l *limits) admit(address string, costs *[3]cost, now time.Time) verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(address, now)
	v := verdict{counter: -1, over: -1}
	a.check(&v, now)
	paused := now.Before(a.until)
	for i, c := range costs {
		if c.weight == 0 {
			break
		}
		n := &a.counts[c.counter]
		n.check(&v, now)
		u, wait := n.charge(&l.counters[c.counter], c.weight, paused, now)
		v.usage[i] = u
		switch {
		case wait == 0 || paused || v.refused:
		case u.stop:
			a.until = now.Add(wait)
			if u.pause > 0 {
				a.until = now.Add(u.pause)
			}
			a.refused, a.over = 1, c.counter
			v.refuse(a, now)
		default:
			v.refused, v.counter, v.over, v.pause = true, c.counter, c.counter, wait
		}
	}
	if paused {
		a.refused++
		if l.banAfter > 0 && a.refused > l.banAfter && !a.banned {
			l.banish(a, now)
		}
		v.refuse(a, now)
	}
	return v
}

// charge adds weight to a counter. wait is zero if it fits, or how long until it would.
// Windows count what does not fit only if they are aligned, and nothing in a pause
// otherwise.
func (n *count) charge(c *counter, weight int, paused bool, now time.Time) (u usage, wait time.Duration) {
	u.counter = c
	switch c.window {
	case aligned:
		w := now.UnixNano() / int64(c.period)
		if w != n.window {
			n.window, n.used = w, 0
		}
		n.used += weight
		u.used, u.reset = n.used, time.Unix(0, (w+1)*int64(c.period))
		if n.used > c.limit {
			wait = u.reset.Sub(now)
		}
	case rolling:
		for len(n.spent) > 0 && now.Sub(n.spent[0].at) >= c.period {
			n.used -= n.spent[0].weight
			n.spent = n.spent[1:]
		}
		if n.used+weight > c.limit {
			over := n.used + weight - c.limit
			for _, s := range n.spent {
				wait = s.at.Add(c.period).Sub(now)
				if over -= s.weight; over <= 0 {
					break
				}
			}
			wait = max(wait, 1)
		} else if !paused {
			n.used += weight
			n.spent = append(n.spent, spent{now, weight})
		}
		u.used, u.reset = n.used, now.Add(c.period)
	case bucket:
		capacity := c.burst
		if capacity == 0 {
			capacity = c.limit
		}
		each := c.period / time.Duration(c.limit)
		if n.full.Before(now) {
			n.full = now
		}
		full := n.full.Add(time.Duration(weight) * each)
		if wait = full.Sub(now) - time.Duration(capacity)*each; wait <= 0 {
			wait = 0
			if !paused {
				n.full = full
			}
		}
		u.used, u.reset = int((n.full.Sub(now)+each-1)/each), n.full
	}
	return u, wait
}

func (l *limits) banish(a *account, now time.Time) {
	a.until = now.Add(min(l.ban<<min(a.bans, 20), l.longestBan))
	a.banned = true
	a.bans++
}

func (v *verdict) refuse(a *account, now time.Time) {
	v.refused, v.banned, v.counter, v.over = true, a.banned, -1, a.over
	v.pause = a.until.Sub(now)
}

// impose pauses or bans an address, for a fault.
func (l *limits) impose(address string, v *verdict, ban bool, pause time.Duration, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(address, now)
	a.over = -1
	if ban {
		l.banish(a, now)
	} else if until := now.Add(pause); until.After(a.until) {
		a.until = until
	}
	v.refuse(a, now)
}

// announce records that the client was told to wait for pause from now on.
func (l *limits) announce(address string, v *verdict, pause time.Duration, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(address, now)
	p := &a.promise
	if v.counter >= 0 {
		p = &a.counts[v.counter].promise
	}
	if !now.Before(p.promised) {
		p.announced = time.Time{}
	}
	if p.announced.IsZero() {
		p.announced = now
	}
	if t := now.Add(pause); t.After(p.promised) {
		p.promised = t
	}
}

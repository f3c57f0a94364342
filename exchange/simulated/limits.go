package simulated

import (
	"sync"
	"time"
)

// limits counts request weight as the venue does, with one account for each remote
// address. It uses real time, not the venue's clock, because clients wait in real
// time.
type limits struct {
	limit    int // weight a minute
	banAfter int // requests refused in one pause before the address is banned

	mu       sync.Mutex
	accounts map[string]*account
}

// account is the state of one address.
type account struct {
	minute    int64 // since the epoch
	used      int
	until     time.Time // refused before this
	banned    bool
	refused   int // in this pause
	bans      int
	announced time.Time // end of the first response with a Retry-After; zero before
	promised  time.Time // the latest end that any of them gave, in whole seconds
}

const (
	maxAccounts = 1 << 10
	firstBan    = 2 * time.Minute // then twice as long each time
	longestBan  = 72 * time.Hour
)

// verdict is the decision for one request.
type verdict struct {
	used       int
	refused    bool
	banned     bool
	retryAfter int // seconds
	// For a request during an announced pause, early is the time since the
	// announcement and left the remaining pause. Both are zero otherwise.
	early, left time.Duration
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
		a = new(account)
		l.accounts[address] = a
	}
	if minute := now.Unix() / 60; minute != a.minute {
		a.minute, a.used = minute, 0
	}
	if !now.Before(a.until) {
		a.banned, a.refused = false, 0
	}
	if !now.Before(a.promised) {
		a.announced = time.Time{}
	}
	return a
}

// admit counts a request and decides whether it is refused.
func (l *limits) admit(address string, weight int, now time.Time) verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(address, now)
	a.used += weight
	v := verdict{used: a.used}
	if !a.announced.IsZero() && now.After(a.announced) {
		v.early, v.left = now.Sub(a.announced), a.promised.Sub(now)
	}
	if now.Before(a.until) {
		a.refused++
		if a.refused > l.banAfter && !a.banned {
			a.ban(now)
		}
		v.refuse(a, now)
	} else if a.used > l.limit {
		a.until = now.Truncate(time.Minute).Add(time.Minute)
		a.refused = 1
		v.refuse(a, now)
	}
	return v
}

func (a *account) ban(now time.Time) {
	a.until = now.Add(min(firstBan<<min(a.bans, 20), longestBan))
	a.banned = true
	a.bans++
}

func (v *verdict) refuse(a *account, now time.Time) {
	v.refused, v.banned = true, a.banned
	v.retryAfter = int((a.until.Sub(now) + time.Second - 1) / time.Second)
}

// impose pauses or bans an address, for a fault.
func (l *limits) impose(address string, ban bool, pause time.Duration, now time.Time) verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(address, now)
	if ban {
		a.ban(now)
	} else if until := now.Add(pause); until.After(a.until) {
		a.until = until
	}
	v := verdict{used: a.used}
	v.refuse(a, now)
	return v
}

// announce records that a response with a Retry-After was sent; the client counts from
// now.
func (l *limits) announce(address string, v verdict, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(address, now)
	if a.announced.IsZero() {
		a.announced = now
	}
	if t := now.Add(time.Duration(v.retryAfter) * time.Second); t.After(a.promised) {
		a.promised = t
	}
}

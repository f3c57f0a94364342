package api

import (
	"net/netip"
	"sync"
	"time"
)

// client identifies the client of a request: the number of its key, or 0 and its
// address.
type client struct {
	key  int
	addr netip.Addr
}

// maxClients bounds the memory of the limiter to about 400 KiB.
const maxClients = 4096

// limiter is a token bucket for each client, as the generic cell rate algorithm (ITU-T
// I.371): it stores only the time at which a client's bucket will be full again. A
// client whose time has passed is like a new one, so removing it changes nothing.
type limiter struct {
	every time.Duration // between requests at the full rate; 0 disables the limiter
	depth time.Duration // how far ahead of the clock full may be: burst × every

	mu   sync.Mutex
	full map[client]time.Time
}

func (l *limiter) init(rate float64, burst int) {
	if !(rate > 0) {
		return
	}
	if burst <= 0 {
		burst = max(1, int(2*rate))
	}
	l.every = max(1, time.Duration(float64(time.Second)/rate))
	l.depth = l.every * time.Duration(burst)
	l.full = make(map[client]time.Time)
}

func (l *limiter) on() bool { return l.every > 0 }

// take takes one request from c's bucket. If there is none, it returns how long c must
// wait.
func (l *limiter) take(c client, now time.Time) (wait time.Duration) {
	if !l.on() {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	full, known := l.full[c]
	if full.Before(now) {
		full = now
	}
	full = full.Add(l.every)
	if wait = full.Sub(now) - l.depth; wait > 0 {
		return wait
	}
	if !known && len(l.full) >= maxClients {
		l.forget(now)
	}
	l.full[c] = full
	return 0
}

// forget removes every client whose bucket is full. If few are, it also removes some
// others: with that many clients at once, no single one overloads the service.
func (l *limiter) forget(now time.Time) {
	for c, full := range l.full {
		if !full.After(now) {
			delete(l.full, c)
		}
	}
	for c := range l.full {
		if len(l.full) < maxClients*15/16 {
			return
		}
		delete(l.full, c)
	}
}

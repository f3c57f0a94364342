package repository

import (
	"fmt"
	"sync"
	"sync/atomic"

	"tidemark/service"
)

// unreadable are the series in which a stored analysis was found that cannot be
// read. Each is counted and logged once, until the next analysis of it is stored.
type unreadable struct {
	mu    sync.Mutex
	found map[service.Key]bool
	count atomic.Int64
}

// Unreadable returns how many series with a stored analysis that cannot be read
// were found since Open. One that was analysed again and is found again counts
// again.
func (db *DB) Unreadable() int64 { return db.unreadable.count.Load() }

// cannotRead notes that a stored analysis of key cannot be read, and returns what
// the caller is told: there is none, and why.
func (db *DB) cannotRead(key service.Key, err error) error {
	u := &db.unreadable
	u.mu.Lock()
	known := u.found[key]
	if !known {
		if u.found == nil {
			u.found = map[service.Key]bool{}
		}
		u.found[key] = true
	}
	u.mu.Unlock()
	if !known {
		u.count.Add(1)
		db.log.Error("a stored analysis cannot be read; the next analysis of the pair replaces it",
			"exchange", key.Exchange, "symbol", key.Symbol, "interval", key.Interval, "error", err)
	}
	return fmt.Errorf("%w: %s %s on %s: %w; the next analysis of the pair replaces it", service.ErrUnreadable, key.Symbol, key.Interval, key.Exchange, err)
}

// healed forgets what was found in the series of those stored.
func (u *unreadable) healed(stored []*analysis) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.found) == 0 {
		return
	}
	for _, a := range stored {
		delete(u.found, a.key)
	}
}

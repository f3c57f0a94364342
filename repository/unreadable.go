package repository

import (
	"fmt"
	"sync"
	"sync/atomic"

	"tidemark/service"
)

// unreadable is the set of series with a stored analysis that cannot be read. Each is
// counted and logged once, until its next analysis is stored.
type unreadable struct {
	mu    sync.Mutex
	found map[service.Key]bool
	count atomic.Int64
}

// Unreadable returns the number of series found since Open with a stored analysis that
// cannot be read. A series counts again if that happens after another analysis of it.
func (db *DB) Unreadable() int64 { return db.unreadable.count.Load() }

// cannotRead records that a stored analysis of key cannot be read. It returns
// service.ErrUnreadable with the reason.
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

// healed removes the series of the stored analyses from the set.
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

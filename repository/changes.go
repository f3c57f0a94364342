package repository

import "tidemark/levels"

// Change says that the newest analyses of some symbols are others than before.
type Change struct {
	Exchange string // empty: anything may have changed
	Interval levels.Interval
	Symbols  []string // in order; the callee must not keep or change it
	// AsOf is up to when each of the analyses goes, in Unix ms, where this process has
	// stored them; else it is nil.
	AsOf []int64
}

// Subscribe has f called after each change: of this process synchronously,
// after the commit and before Put returns; of others that use the same
// database within a moment on PostgreSQL, within about a second on SQLite. f
// must be quick, may be called by several goroutines at once, and is called
// until Close.
func (db *DB) Subscribe(f func(Change)) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.subscribers = append(db.subscribers, f)
}

func (db *DB) emit(c Change) {
	db.mu.RLock()
	subscribers := db.subscribers
	db.mu.RUnlock()
	for _, f := range subscribers {
		f(c)
	}
}

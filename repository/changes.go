package repository

import "tidemark/levels"

// Change lists the symbols of a market whose newest analysis has changed, or says that
// there are new events. The zero Change means that anything may have changed.
type Change struct {
	Events   bool // there are new events; nothing else is set
	Exchange string
	Interval levels.Interval
	Symbols  []string // sorted; the callee must not retain or modify it
	// AsOf is the AsOf of each analysis, in Unix ms, if this process has stored them;
	// else nil.
	AsOf []int64
}

// Subscribe registers f to be called after each change, until Close. Changes of this
// process are reported after the commit and before Put returns; those of other processes
// on the same database at once on PostgreSQL, and within about a second on SQLite. f
// must be quick, and may be called by several goroutines at once.
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

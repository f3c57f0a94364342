package repository

import (
	"context"
	"sync"
	"time"

	"tidemark/service"
)

// room tracks whether the disk has room for new data. The first write that fails for
// lack of room marks the disk as full, and a successful probe clears the mark. Callers
// with much to store check the mark instead of retrying.
type room struct {
	mu      sync.Mutex
	err     error         // why nothing can be stored; nil if the disk is not full
	since   time.Time     // when the disk was marked as full; else zero
	cleared time.Time     // when the mark was last cleared
	pause   time.Duration // before the next probe
	marked  chan struct{} // signals a new mark; capacity 1
}

// The pauses between probes double. If the disk is marked again within a minute after
// the mark was cleared, they do not start over: a probe may find room where a batch
// does not.
const (
	firstProbe = time.Second
	lastProbe  = 30 * time.Second
	relapse    = time.Minute
)

// Full returns the time since which the disk of the database has been full, or the zero
// time if it is not full.
func (db *DB) Full() time.Time {
	db.room.mu.Lock()
	defer db.room.mu.Unlock()
	return db.room.since
}

// Writable returns why nothing can be stored at present, or nil if nothing is known to
// prevent it.
func (db *DB) Writable() error {
	if err := db.present(); err != nil {
		return err
	}
	db.room.mu.Lock()
	defer db.room.mu.Unlock()
	return db.room.err
}

// noteFull marks the disk as full if err means that.
func (db *DB) noteFull(err error) {
	if err == nil || !db.engine.full(err) {
		return
	}
	r := &db.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return
	}
	now := time.Now()
	if r.pause == 0 || now.Sub(r.cleared) > relapse {
		r.pause = firstProbe
	}
	r.err, r.since = &storageError{service.ErrFull, db.engine.explain(err), err}, now
	db.log.Error("nothing can be stored until there is room again", "error", r.err)
	select {
	case r.marked <- struct{}{}:
	default:
	}
}

// keepRoom probes a full disk and clears the mark, until ctx ends.
func (db *DB) keepRoom(ctx context.Context) {
	r := &db.room
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.marked:
		}
		for full := true; full; {
			r.mu.Lock()
			pause := r.pause
			r.pause = min(2*pause, lastProbe)
			r.mu.Unlock()
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			if db.engine.probe(ctx) != nil {
				continue
			}
			r.mu.Lock()
			full = false
			db.log.Info("there is room again: what waited is stored now", "after", time.Since(r.since).Round(time.Second).String())
			r.err, r.since, r.cleared = nil, time.Time{}, time.Now()
			r.mu.Unlock()
		}
	}
}

// probeBytes is the size of a probe. It exceeds the size of a batch, so that a batch
// fits after a successful probe.
const probeBytes = 1 << 20

package repository

import (
	"context"
	"sync"
	"time"

	"tidemark/service"
)

// room knows whether there is any for what is to be stored. The first write that the
// disk has no room for closes the door, and a probe opens it again: those who have
// much to store look at the door instead of trying over and over.
type room struct {
	mu     sync.Mutex
	err    error         // why nothing can be stored; nil if it can
	since  time.Time     // since when
	opened time.Time     // when the door was opened last
	pause  time.Duration // before the next probe
	closed chan struct{} // of capacity 1: the door was closed
}

// The pauses between probes double, and go on from where they were if the door is
// closed again within a minute of having been opened: a probe may find room where a
// batch does not.
const (
	firstProbe = time.Second
	lastProbe  = 30 * time.Second
	relapse    = time.Minute
)

// Full tells since when the disk of the database has been full; the zero time if it
// is not.
func (db *DB) Full() time.Time {
	db.room.mu.Lock()
	defer db.room.mu.Unlock()
	return db.room.since
}

// Writable tells why nothing can be stored at present; nil if nothing is known to be
// in the way.
func (db *DB) Writable() error {
	if err := db.present(); err != nil {
		return err
	}
	db.room.mu.Lock()
	defer db.room.mu.Unlock()
	return db.room.err
}

// noteFull closes the door if err says that the disk is full.
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
	if r.pause == 0 || now.Sub(r.opened) > relapse {
		r.pause = firstProbe
	}
	r.err, r.since = &storageError{service.ErrFull, db.engine.explain(err), err}, now
	db.log.Error("nothing can be stored until there is room again", "error", r.err)
	select {
	case r.closed <- struct{}{}:
	default:
	}
}

// keepRoom opens the door again, until ctx ends.
func (db *DB) keepRoom(ctx context.Context) {
	r := &db.room
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.closed:
		}
		for shut := true; shut; {
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
			shut = false
			db.log.Info("there is room again: what waited is stored now", "after", time.Since(r.since).Round(time.Second).String())
			r.err, r.since, r.opened = nil, time.Time{}, time.Now()
			r.mu.Unlock()
		}
	}
}

// probeBytes is what a probe writes: more than a batch is, so that there is room for
// one once there is for a probe.
const probeBytes = 1 << 20

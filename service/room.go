package service

import (
	"context"
	"errors"
	"time"
)

// While nothing can be stored, batches stand still where they are: they begin no pair,
// and keep what they have analysed until it is stored. Nothing is fetched twice for it,
// however long it takes.

const (
	// roomPoll is how often who waits looks whether there is room.
	roomPoll = time.Second
	// roomPatience is how long a call of the queue waits. Then it is put off, for
	// roomPause, as the queue bounds how long a call may take.
	roomPatience = 30 * time.Minute
	roomPause    = time.Minute
)

// noRoom tells the errors after which nothing can be stored for a while.
func noRoom(err error) bool { return errors.Is(err, ErrFull) || errors.Is(err, ErrGone) }

// writable waits until the store can store. Its error is the context's, or a
// RetryAfterError after roomPatience.
func (a *Analyzer) writable(ctx context.Context) error {
	patience := time.Now().Add(roomPatience)
	for {
		err := a.store.Writable()
		if err == nil {
			return nil
		}
		if time.Now().After(patience) {
			return &RetryAfterError{err, time.Now().Add(roomPause)}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(roomPoll):
		}
	}
}

// whenWritable calls f once the store can store, and again while it finds that there
// is no room.
func (a *Analyzer) whenWritable(ctx context.Context, f func() error) error {
	for {
		if err := a.writable(ctx); err != nil {
			return err
		}
		if err := f(); !noRoom(err) || a.store.Writable() == nil {
			return err
		}
	}
}

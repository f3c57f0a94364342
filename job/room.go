package job

import (
	"context"
	"time"

	"tidemark/service"
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

// writable waits until the store can store. Its error is the context's, or a
// RetryAfterError after roomPatience.
func (r *Runner) writable(ctx context.Context) error {
	patience := time.Now().Add(roomPatience)
	for {
		err := r.store.Writable()
		if err == nil {
			return nil
		}
		if time.Now().After(patience) {
			return &service.RetryAfterError{Err: err, Until: time.Now().Add(roomPause)}
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
func (r *Runner) whenWritable(ctx context.Context, f func() error) error {
	for {
		if err := r.writable(ctx); err != nil {
			return err
		}
		if err := f(); !service.Unwritable(err) || r.store.Writable() == nil {
			return err
		}
	}
}

package job

import (
	"context"
	"time"

	"tidemark/service"
)

// While nothing can be stored, batches pause: they start no pair, and hold their
// analyses until they can be stored. So nothing is fetched twice.

const (
	// writablePoll is how often a waiting batch calls Store.Writable.
	writablePoll = time.Second
	// maxWritableWait bounds the wait of one run, because the queue bounds the
	// duration of a run. The run is then retried after writablePause.
	maxWritableWait = 30 * time.Minute
	writablePause   = time.Minute
)

// waitWritable waits until the store can store. Its error is the context's, or a
// RetryAfterError after maxWritableWait.
func (r *Runner) waitWritable(ctx context.Context) error {
	deadline := time.Now().Add(maxWritableWait)
	for {
		err := r.store.Writable()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return &service.RetryAfterError{Err: err, Until: time.Now().Add(writablePause)}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(writablePoll):
		}
	}
}

// whenWritable calls f once the store can store. It calls f again while f finds the
// store unwritable.
func (r *Runner) whenWritable(ctx context.Context, f func() error) error {
	for {
		if err := r.waitWritable(ctx); err != nil {
			return err
		}
		err := f()
		if !service.Unwritable(err) || r.store.Writable() == nil {
			return err
		}
	}
}

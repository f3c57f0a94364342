package exchange

import (
	"context"
	"errors"
	"sync"
	"time"

	"tidemark/service"
)

// refresher serialises refreshes: one request runs at a time, and all callers wait for
// its result. The request continues when a waiting caller gives up, so that callers
// that come and go do not cause more requests. It ends when the client is closed.
type refresher struct {
	limiter *Limiter
	work    *background
	cost    Cost          // of the request
	pause   time.Duration // after a failure, during which callers get the same error
	fetch   func(ctx context.Context) error

	mu       sync.Mutex
	flight   *flight   // in progress; nil if none
	err      error     // of the last flight; nil if it succeeded
	failedAt time.Time // of err
}

// flight is one request in progress.
type flight struct {
	began time.Time
	done  chan struct{} // closed when it ends
	err   error         // valid after that
}

// errSlow means that the response takes longer than the caller's patience.
var errSlow = errors.New("no response yet")

// do waits for a request, unless fresh returns true. With a patience above 0 it
// returns errSlow once the request has taken that long. Like Limiter.Acquire it
// returns a RetryAfterError at once if waiting is pointless.
func (r *refresher) do(ctx context.Context, patience time.Duration, fresh func() bool) error {
	r.mu.Lock()
	f := r.flight
	if f == nil {
		err := r.begin(ctx, fresh)
		f = r.flight
		if f == nil {
			r.mu.Unlock()
			return err
		}
	}
	r.mu.Unlock()
	var slow <-chan time.Time
	if patience > 0 {
		timer := time.NewTimer(time.Until(f.began.Add(patience)))
		defer timer.Stop()
		slow = timer.C
	}
	for {
		select {
		case <-f.done:
			return f.err
		default:
		}
		changed, err := r.limiter.Watch(ctx)
		if err != nil {
			return err
		}
		select {
		case <-f.done:
		case <-changed:
		case <-slow:
			return errSlow
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// begin starts a flight or returns an error; it does neither if none is needed. It is
// called with r.mu held.
func (r *refresher) begin(ctx context.Context, fresh func() bool) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case fresh():
		return nil
	case r.err != nil && time.Since(r.failedAt) < r.pause:
		return r.err
	}
	if err := r.limiter.Check(ctx, r.cost); err != nil {
		return err
	}
	f := &flight{began: time.Now(), done: make(chan struct{})}
	err := r.work.begin(func(ctx context.Context) {
		f.err = r.fetch(ctx)
		r.mu.Lock()
		r.flight, r.err = nil, nil
		// The next caller gets the end of a rate limit from the limiter.
		if !errors.Is(f.err, service.ErrRateLimited) {
			r.err, r.failedAt = f.err, time.Now()
		}
		r.mu.Unlock()
		close(f.done)
	})
	if err == nil {
		r.flight = f
	}
	return err
}

// background runs requests that no single caller owns, until it is closed.
type background struct {
	ctx  context.Context
	stop context.CancelCauseFunc

	mu      sync.Mutex
	running sync.WaitGroup
}

var errClosed = errors.New("the client is closed")

func newBackground() *background {
	b := new(background)
	b.ctx, b.stop = context.WithCancelCause(context.Background())
	return b
}

// begin runs f with a context that ends when b is closed.
func (b *background) begin(f func(ctx context.Context)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() != nil {
		return context.Cause(b.ctx)
	}
	b.running.Go(func() { f(b.ctx) })
	return nil
}

// close cancels everything that runs, and waits for it.
func (b *background) close() {
	b.mu.Lock()
	b.stop(errClosed)
	b.mu.Unlock()
	b.running.Wait()
}

package binance

import (
	"context"
	"errors"
	"sync"
	"time"

	"tidemark/exchange"
	"tidemark/service"
)

// refresher makes a request that many callers need the answer to, once for all
// of them. The request goes on when a caller that waits for it gives up, so that
// callers who come and go cost the venue no more than one, and ends when the
// client is closed.
type refresher struct {
	limiter *exchange.Limiter
	work    *background
	weight  int           // of the request
	pause   time.Duration // after a failure, within which callers get the same error
	fetch   func(ctx context.Context) error

	mu       sync.Mutex
	flight   *flight   // under way; nil if none is
	err      error     // of the last flight; nil if it succeeded
	failedAt time.Time // of err
}

// flight is one request under way.
type flight struct {
	began time.Time
	done  chan struct{} // closed when it has ended
	err   error         // valid then
}

// errSlow: the answer takes longer than the caller wants to wait for it.
var errSlow = errors.New("no answer yet")

// do waits until the request has been made, unless fresh says that it need not
// be. With a patience above 0 it returns errSlow once the request has been under
// way for so long. Like Limiter.Acquire it returns a RetryAfterError at once when
// the wait would be in vain.
func (r *refresher) do(ctx context.Context, patience time.Duration, fresh func() bool) error {
	r.mu.Lock()
	f := r.flight
	if f == nil {
		err := r.begin(ctx, fresh)
		if f = r.flight; f == nil {
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

// begin starts a flight, or returns why there is none; nil if none is needed. It
// is called with r.mu held.
func (r *refresher) begin(ctx context.Context, fresh func() bool) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case fresh():
		return nil
	case r.err != nil && time.Since(r.failedAt) < r.pause:
		return r.err
	}
	if err := r.limiter.Check(ctx, r.weight); err != nil {
		return err
	}
	f := &flight{began: time.Now(), done: make(chan struct{})}
	err := r.work.begin(func(ctx context.Context) {
		f.err = r.fetch(ctx)
		r.mu.Lock()
		r.flight, r.err = nil, nil
		// The end of a rate limit is known, and the next caller is told of it.
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

// background runs what no single caller owns, until it is closed.
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

// begin runs f, whose context ends when b is closed.
func (b *background) begin(f func(ctx context.Context)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() != nil {
		return context.Cause(b.ctx)
	}
	b.running.Go(func() { f(b.ctx) })
	return nil
}

// close ends what runs, and waits for that.
func (b *background) close() {
	b.mu.Lock()
	b.stop(errClosed)
	b.mu.Unlock()
	b.running.Wait()
}

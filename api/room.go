package api

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/service"
)

// room is memory that the replies, or the request bodies, in progress share. Callers
// that find too little free wait in line, first come, first served, but not for long: a
// client that is asked to retry holds no memory meanwhile.
type room struct {
	size    int64 // bytes; 0 means no bound
	refused prometheus.Counter

	mu      sync.Mutex
	used    int64
	waiting []*roomWaiter
}

type roomWaiter struct {
	need  int64
	ready chan struct{} // closed once it has been given its bytes
}

// roomWait is the longest wait for room.
const roomWait = 2 * time.Second

// take takes need bytes, or the whole size if need is larger. The caller must give
// taken back. The error wraps service.ErrBusy if they were not free within roomWait.
func (m *room) take(ctx context.Context, need int64) (taken int64, err error) {
	return m.takeWithin(ctx, need, roomWait)
}

// takeWithin is like take with another wait.
func (m *room) takeWithin(ctx context.Context, need int64, wait time.Duration) (taken int64, err error) {
	size := m.size
	if size <= 0 {
		size = math.MaxInt64
	}
	need = min(need, size)
	m.mu.Lock()
	if len(m.waiting) == 0 && m.used <= size-need {
		m.used += need
		m.mu.Unlock()
		return need, nil
	}
	w := &roomWaiter{need, make(chan struct{})}
	m.waiting = append(m.waiting, w)
	m.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-w.ready:
		return need, nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-timer.C:
		err = &service.RetryAfterError{
			Err:   fmt.Errorf("%w: what others are being sent or send takes all the memory there is for it", service.ErrBusy),
			Until: time.Now().Add(roomWait),
		}
		m.refused.Inc()
	}
	m.mu.Lock()
	i := slices.Index(m.waiting, w)
	if i < 0 {
		m.mu.Unlock()
		m.give(need) // it arrived meanwhile
		return 0, err
	}
	m.waiting = slices.Delete(m.waiting, i, i+1)
	m.serve() // the next waiters may need less
	m.mu.Unlock()
	return 0, err
}

// give returns bytes to m.
func (m *room) give(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used -= bytes
	m.serve()
}

// serve gives memory to the first waiters while it suffices. The caller must hold m.mu.
func (m *room) serve() {
	for len(m.waiting) > 0 && m.used <= m.size-m.waiting[0].need {
		m.used += m.waiting[0].need
		close(m.waiting[0].ready)
		m.waiting = slices.Delete(m.waiting, 0, 1)
	}
}

// inUse returns the bytes taken.
func (m *room) inUse() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// hold takes room for a reply until it is written, once per request. The reply of a
// tool counts toolCopies times.
func (a *API) hold(ctx context.Context, w *reply, bytes int64) error {
	return a.holdWithin(ctx, w, bytes, roomWait)
}

// holdWithin is like hold with another wait.
func (a *API) holdWithin(ctx context.Context, w *reply, bytes int64, wait time.Duration) error {
	if w.outer != nil {
		w, bytes = w.outer, toolCopies*bytes
	}
	if w.held.Load() > 0 {
		return nil
	}
	taken, err := a.replies.takeWithin(ctx, bytes, wait)
	if err == nil && !w.held.CompareAndSwap(0, taken) { // a batch of calls
		a.replies.give(taken)
	}
	return err
}

// toolCopies is the number of copies of a tool's reply in memory at once: the route's
// reply, text, structured content and the message.
const toolCopies = 4

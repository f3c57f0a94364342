package service

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"tidemark/levels"
)

const (
	// formingAge is how long a forming candle is cached. The number of clients that
	// look at a pair does not change the number of requests to the exchange.
	formingAge = 2 * time.Second
	// formingTimeout bounds one request for a forming candle, which is useless when
	// it is late.
	formingTimeout = 5 * time.Second
	// formingCalls is the maximum number of concurrent requests to an exchange.
	formingCalls = 16
	// formingKept is the maximum number of cached pairs.
	formingKept = 256
)

// forming caches the candles that are not closed. All callers for a pair share one
// request. They do not wait for the requests of other pairs.
type forming struct {
	mu    sync.Mutex
	calls map[Key]*formingCall // under way, at most formingCalls of an exchange
	known map[Key]known        // at most formingKept
}

// known is a cached forming candle, nil if the pair has none.
type known struct {
	candle *Forming
	at     time.Time // by this machine's clock
}

// formingCall is a request to the exchange.
type formingCall struct {
	done   chan struct{} // closed once candle and err are set
	candle *Forming
	err    error
}

// Forming returns the open candle of a series, at most some seconds old, or nil if the
// pair has none. It takes no slot. The candle is not stored or analysed.
func (a *Analyzer) Forming(ctx context.Context, key Key) (*Forming, error) {
	x, err := a.exchange(key.Exchange)
	if err != nil {
		return nil, err
	}
	if _, err := levels.ParseInterval(string(key.Interval)); err != nil {
		return nil, err
	}
	key.Exchange = x.Market().Exchange
	f := &a.forming
	f.mu.Lock()
	if k, ok := f.known[key]; ok && time.Since(k.at) < formingAge {
		f.mu.Unlock()
		return k.candle, nil
	}
	call := f.calls[key]
	if call == nil {
		var err error
		call, err = a.callForming(x, key)
		if err != nil {
			f.mu.Unlock()
			return nil, err
		}
	}
	f.mu.Unlock()
	select {
	case <-call.done:
		return call.candle, call.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// callForming starts a request. It continues when its first caller has left, because
// others may have joined. It is called with a.forming.mu held.
func (a *Analyzer) callForming(x Exchange, key Key) (*formingCall, error) {
	f := &a.forming
	calls := 0
	for under := range f.calls {
		if under.Exchange == key.Exchange {
			calls++
		}
	}
	if calls == formingCalls {
		return nil, &RetryAfterError{
			Err:   fmt.Errorf("%w: %d requests for forming candles are already under way", ErrBusy, formingCalls),
			Until: time.Now().Add(busyRetry),
		}
	}
	call := &formingCall{done: make(chan struct{})}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopping.Err() != nil {
		return nil, ErrStopping
	}
	if f.calls == nil {
		f.calls, f.known = map[Key]*formingCall{}, map[Key]known{}
	}
	f.calls[key] = call
	a.work.Go(func() {
		ctx, cancel := context.WithTimeout(a.stopping, formingTimeout)
		defer cancel()
		call.candle, call.err = a.askForming(ctx, x, key)
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.calls, key)
		if call.err == nil {
			f.keep(key, call.candle)
		}
		close(call.done)
	})
	return call, nil
}

// askForming asks the exchange and recovers a panic: its goroutine has no handler that
// would.
func (a *Analyzer) askForming(ctx context.Context, x Exchange, key Key) (candle *Forming, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.metrics.panics.Inc()
			a.log.Error("request for a forming candle panicked", "exchange", key.Exchange, "symbol", key.Symbol, "panic", p, "stack", string(debug.Stack()))
			candle, err = nil, fmt.Errorf("forming candle of %s: panicked: %v", key.Symbol, p)
		}
	}()
	return x.Forming(ctx, key.Symbol, key.Interval)
}

// keep caches the candle of a pair and drops those that are too old. It is called with
// f.mu held.
func (f *forming) keep(key Key, candle *Forming) {
	now := time.Now()
	for k, of := range f.known {
		if now.Sub(of.at) >= formingAge {
			delete(f.known, k)
		}
	}
	if len(f.known) >= formingKept {
		clear(f.known)
	}
	f.known[key] = known{candle, now}
}

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
	// formingAge is how long a forming candle is repeated before the exchange is
	// asked again: many who look at a pair cost it as much as one does.
	formingAge = 2 * time.Second
	// formingTimeout bounds one request for a forming candle, which is of no use
	// when it comes late.
	formingTimeout = 5 * time.Second
	// formingCalls is for how many pairs the exchange is asked at once.
	formingCalls = 16
	// formingKept is how many pairs are kept for formingAge.
	formingKept = 256
)

// forming shares what the exchange says of candles that are not closed: those who
// ask for a pair wait for one request, and for no other pair's.
type forming struct {
	mu    sync.Mutex
	calls map[Key]*formingCall // under way, at most formingCalls
	known map[Key]known        // at most formingKept
}

// known is a forming candle, nil for none, and when it was learnt.
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

// Forming returns the candle of a pair that is not closed, at most some seconds
// old, or nil if there is none. It takes no slot, and nothing of it is kept or
// analysed.
func (a *Analyzer) Forming(ctx context.Context, symbol string, interval levels.Interval) (*Forming, error) {
	if _, err := levels.ParseInterval(string(interval)); err != nil {
		return nil, err
	}
	key := Key{Exchange: a.exchange.Market().Exchange, Symbol: symbol, Interval: interval}
	f := &a.forming
	f.mu.Lock()
	if k, ok := f.known[key]; ok && time.Since(k.at) < formingAge {
		f.mu.Unlock()
		return k.candle, nil
	}
	call := f.calls[key]
	if call == nil {
		var err error
		if call, err = a.callForming(key); err != nil {
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

// callForming starts a request, which goes on when the caller that wanted it first
// has gone: others may have joined. It is called with a.forming.mu held.
func (a *Analyzer) callForming(key Key) (*formingCall, error) {
	f := &a.forming
	if len(f.calls) == formingCalls {
		return nil, &RetryAfterError{
			Err:   fmt.Errorf("%w: the forming candles of %d pairs are being asked for already", ErrBusy, formingCalls),
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
		call.candle, call.err = a.askForming(ctx, key)
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

// askForming asks the exchange and contains a panic, which no handler would.
func (a *Analyzer) askForming(ctx context.Context, key Key) (candle *Forming, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.metrics.panics.Inc()
			a.log.Error("asking for a forming candle panicked", "symbol", key.Symbol, "panic", p, "stack", string(debug.Stack()))
			candle, err = nil, fmt.Errorf("the forming candle of %s: panicked: %v", key.Symbol, p)
		}
	}()
	return a.exchange.Forming(ctx, key.Symbol, key.Interval)
}

// keep adds what was learnt of a pair and drops what has become too old. It is
// called with f.mu held.
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

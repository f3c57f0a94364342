package service

import (
	"context"
	"time"

	"tidemark/levels"
)

// formingAge is how long a forming candle is told again before the exchange is
// asked anew: many who look at a pair cost it as much as one does.
const formingAge = 2 * time.Second

// forming keeps for a moment what the exchange has told of candles that are not
// closed. One call at a time keeps it small, and from using up the request weight.
type forming struct {
	turn  chan struct{} // holds a token while the exchange is asked
	known map[Key]told  // only for who has the turn
}

// told is a forming candle, nil for none, with when it was told.
type told struct {
	candle *Forming
	at     time.Time // by this machine's clock
}

// Forming returns the candle of a pair that is not closed, at most some seconds
// old, or nil if there is none. It takes no slot, and nothing of it is kept or
// analysed.
func (a *Analyzer) Forming(ctx context.Context, symbol string, interval levels.Interval) (*Forming, error) {
	if _, err := levels.ParseInterval(string(interval)); err != nil {
		return nil, err
	}
	f := &a.forming
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	key := Key{Exchange: a.exchange.Market().Exchange, Symbol: symbol, Interval: interval}
	if t, ok := f.known[key]; ok && time.Since(t.at) < formingAge {
		return t.candle, nil
	}
	candle, err := a.exchange.Forming(ctx, symbol, interval)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for k, t := range f.known {
		if now.Sub(t.at) >= formingAge {
			delete(f.known, k)
		}
	}
	if f.known == nil {
		f.known = map[Key]told{}
	}
	f.known[key] = told{candle, now}
	return candle, nil
}

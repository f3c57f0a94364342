package api

import (
	"time"

	"tidemark/service"
)

// pricesOf returns the last prices of an exchange, or nil if they are out of date.
func (a *API) pricesOf(exchange string) *service.Prices {
	if a.Prices == nil {
		return nil
	}
	p := a.Prices(exchange)
	if p == nil || !time.Now().Before(p.Until()) {
		return nil
	}
	return p
}

// pushedPrice returns the last price of a pair that the exchange has pushed and when it was
// received, by the clock of this machine. It reports false if there is none, and if it is
// out of date: the next readings of all prices had time to replace it.
func (a *API) pushedPrice(exchange, symbol string) (price float64, at time.Time, ok bool) {
	if a.Prices == nil || a.Pushed == nil {
		return 0, time.Time{}, false
	}
	p := a.Prices(exchange)
	if p == nil {
		return 0, time.Time{}, false
	}
	price, at = a.Pushed(exchange, symbol)
	return price, at, !at.IsZero() && time.Since(at) < 3*p.Every
}

// priceOf returns the newest price of a pair, read or pushed, and the time of it by the
// clock of this machine.
func (a *API) priceOf(exchange, symbol string) (price float64, at time.Time, ok bool) {
	price, at, ok = a.pushedPrice(exchange, symbol)
	if p := a.pricesOf(exchange); p != nil && !(ok && at.After(p.At)) {
		if read, known := p.Last(symbol); known {
			return read, p.At, true
		}
	}
	return price, at, ok
}

// pushedFor is how long a reply with a pushed price is sent again although a newer one was
// pushed: some exchanges push many times a second.
const pushedFor = time.Second

// pricesVersion changes with the prices that the replies about a pair show.
func (a *API) pricesVersion(exchange, symbol string) (version int64) {
	if p := a.pricesOf(exchange); p != nil {
		version = p.At.UnixNano()
	}
	if _, at, ok := a.pushedPrice(exchange, symbol); ok {
		version = max(version, at.Truncate(pushedFor).UnixNano())
	}
	return version
}

// nextPrice returns when there may be a newer price of a pair, by the clock of its exchange;
// zero if this process has none.
func (a *API) nextPrice(exchange, symbol string) time.Time {
	if a.Prices == nil {
		return time.Time{}
	}
	p := a.Prices(exchange)
	if p == nil {
		return time.Time{}
	}
	next := p.At.Add(p.Every)
	if _, at, ok := a.pushedPrice(exchange, symbol); ok {
		if at = at.Truncate(pushedFor).Add(pushedFor); at.Before(next) || !time.Now().Before(next) {
			next = at
		}
	}
	return a.clock(exchange, next)
}

// atPrice returns s as of the last price of its pair, at the time now of its exchange. If
// that price is older than the last close, this close is the last price. Without a price of
// now it returns s itself: a pair that is not traded has none, and a simulated price says
// nothing about levels of a real market, nor the other way round.
func (a *API) atPrice(s *service.Snapshot, now time.Time) *service.Snapshot {
	if delisted(s, now) {
		return s
	}
	price, at, ok := a.priceOf(s.Exchange, s.Symbol)
	if !ok {
		return s
	}
	if market, err := a.Analyzer.Market(s.Exchange); err != nil || market.Simulated != s.Simulated {
		return s
	}
	if at = a.clock(s.Exchange, at); at.Before(s.AsOf) {
		price, at = s.LastPrice, s.AsOf
	}
	return s.Reprice(price, at)
}

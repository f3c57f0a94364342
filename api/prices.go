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

// pricesVersion changes with the prices that the replies about an exchange show.
func (a *API) pricesVersion(exchange string) int64 {
	if p := a.pricesOf(exchange); p != nil {
		return p.At.UnixNano()
	}
	return 0
}

// nextPrice returns when the prices of an exchange will be read next, by its clock; zero if
// this process reads none.
func (a *API) nextPrice(exchange string) time.Time {
	if a.Prices == nil {
		return time.Time{}
	}
	p := a.Prices(exchange)
	if p == nil {
		return time.Time{}
	}
	return a.clock(exchange, p.At.Add(p.Every))
}

// atPrice returns s as of the last price of its pair, at the time now of its exchange. If
// that price is older than the last close, this close is the last price. Without a price of
// now it returns s itself: a pair that is not traded has none, and a simulated price says
// nothing about levels of a real market, nor the other way round.
func (a *API) atPrice(s *service.Snapshot, now time.Time) *service.Snapshot {
	p := a.pricesOf(s.Exchange)
	if p == nil || delisted(s, now) {
		return s
	}
	price, ok := p.Last(s.Symbol)
	if !ok {
		return s
	}
	if market, err := a.Analyzer.Market(s.Exchange); err != nil || market.Simulated != s.Simulated {
		return s
	}
	at := a.clock(s.Exchange, p.At)
	if at.Before(s.AsOf) {
		price, at = s.LastPrice, s.AsOf
	}
	return s.Reprice(price, at)
}

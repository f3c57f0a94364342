package api

import (
	"fmt"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// ParseSymbol turns the ways people write a pair into the exchange's own
// (btcusdt, BTC-USDT, BTC/USDT: BTCUSDT), or says in a sentence that it cannot.
func ParseSymbol(s string) (string, error) {
	if symbol, ok := canonical(s); ok {
		return symbol, nil
	}
	return "", fmt.Errorf("%q is not a symbol such as BTCUSDT", clip(s))
}

// AppendAnalysis appends s as GET /levels/{symbol} shows it at the moment now.
func AppendAnalysis(b []byte, s *service.Snapshot, now time.Time) []byte {
	return appendAnalysis(b, s, staleReason(s, now))
}

// AppendCSV appends a header and the levels of s, the columns being those of
// GET /levels as CSV at the moment now.
func AppendCSV(b []byte, s *service.Snapshot, now time.Time) []byte {
	b = append(b, csvHeader...)
	q := screenQuery{exchange: s.Exchange, interval: s.Interval}
	r := row{symbol: s.Symbol, asOf: s.AsOf, last: s.LastPrice, atr: s.ATR, stale: now.After(staleAfter(s)), simulated: s.Simulated}
	for _, role := range [...]levels.Role{levels.Support, levels.Resistance} {
		for _, r.level = range side(s, role) {
			b = appendCSV(b, &q, &r)
		}
	}
	return b
}

// StaleReason says in words why s is stale at the moment now, or is empty.
func StaleReason(s *service.Snapshot, now time.Time) string { return staleReason(s, now) }

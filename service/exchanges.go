package service

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// exchange returns a configured exchange: the first one for "", otherwise the one with
// this name. Its error is ErrUnknownExchange.
func (a *Analyzer) exchange(name string) (Exchange, error) {
	if name == "" {
		return a.exchanges[0], nil
	}
	for _, x := range a.exchanges {
		if x.Market().Exchange == name {
			return x, nil
		}
	}
	names := make([]string, len(a.exchanges))
	for i, x := range a.exchanges {
		names[i] = x.Market().Exchange
	}
	return nil, fmt.Errorf("%w: %.60q is not an exchange of this process, which serves %s", ErrUnknownExchange, name, strings.Join(names, ", "))
}

// Market returns the market of an exchange of this process: of the first one for "". Its
// error is ErrUnknownExchange.
func (a *Analyzer) Market(exchange string) (Market, error) {
	x, err := a.exchange(exchange)
	if err != nil {
		return Market{}, err
	}
	return x.Market(), nil
}

// Markets returns the markets of all exchanges of this process, in their order.
func (a *Analyzer) Markets() []Market {
	markets := make([]Market, len(a.exchanges))
	for i, x := range a.exchanges {
		markets[i] = x.Market()
	}
	return markets
}

// VenueStatus is the state of an exchange client. An empty part is unknown.
type VenueStatus struct {
	Budgets     []BudgetStatus
	PausedUntil time.Time // no request is sent before; in the past or zero: requests are sent
	Banned      bool      // the pause is a ban
	ClockSkew   *time.Duration
	LastSuccess time.Time   // of a request
	Reachable   *bool       // whether the last request was answered
	Replay      string      // the first and the last day that a simulated exchange replays
	Live        *LiveStatus // nil if this process keeps no pair of it live
	Prices      *Prices     // read last, empty before the first; nil if this process reads none
}

// LiveStatus is the state of the live pairs of an exchange.
type LiveStatus struct {
	Series        int   // pairs times intervals that this process keeps live
	Polled        int   // of these are not pushed: the exchange is asked after each close
	Merged        int   // are put together from candles of a shorter interval
	Unkept        int   // series that no process keeps live, because limits do not allow it
	Waiting       int   // series with a candle to analyse
	Audits        int64 // series compared with the exchange
	Differences   int64 // candles of these that differed
	Connections   int   // to the exchange's feed
	Subscriptions int   // on them
	Frames        int64
	Reconnects    map[string]int64 // by reason
	LastFrame     time.Time        // zero before the first
}

// BudgetStatus is a limit of requests, as the venue counts it.
type BudgetStatus struct {
	Name        string  // weight, requests
	Used, Limit int     // in the current period
	Share       float64 // of Limit that the client uses at most
}

// background marks contexts.
type background struct{}

// Background returns a context for work that nobody waits for, such as a sweep. An
// exchange client keeps a share of each request budget for other work.
func Background(ctx context.Context) context.Context {
	return context.WithValue(ctx, background{}, true)
}

// IsBackground reports whether ctx comes from Background.
func IsBackground(ctx context.Context) bool { return ctx.Value(background{}) != nil }

package app

import (
	"context"
	"time"

	"tidemark/config"
	"tidemark/service"
)

// readsPrices reports whether a process that serves reads the prices between closes.
func readsPrices(c config.Config) bool { return c.PricesEvery > 0 }

// prices returns the prices of an exchange that were read last, empty before the first
// reading; nil if this process reads none of it.
func (a *App) prices(exchange string) *service.Prices {
	if !readsPrices(a.Config) {
		return nil
	}
	for _, v := range a.Venues {
		if v.Name == exchange {
			if p := v.Prices(); p != nil {
				return p
			}
			return &service.Prices{Every: a.Config.PricesEvery}
		}
	}
	return nil
}

// keepPrices reads the prices of the exchange number i until ctx ends. The exchanges are
// read one after the other within a period, so that their responses are not in memory at
// the same time.
func (a *App) keepPrices(ctx context.Context, v Venue, i int) {
	select {
	case <-time.After(a.Config.PricesEvery / time.Duration(len(a.Venues)) * time.Duration(i)):
		v.KeepPrices(ctx, a.Config.PricesEvery, func(p *service.Prices) { a.events.Prices(v.Name, p, v.At(p.At)) })
	case <-ctx.Done():
	}
}

package exchange

import (
	"context"
	"fmt"
	"time"

	"tidemark/service"
)

// PricesEndpoint is the name of the requests for prices in metrics, logs and errors,
// whatever the endpoint of the venue.
const PricesEndpoint = "prices"

// KeepPrices reads the last prices of all pairs, now and then in every period, until ctx
// ends. They take turns with other requests for the budgets of the venue. A reading that
// fails is not repeated: the next one is near. read is called after each.
func (c *Client) KeepPrices(ctx context.Context, every time.Duration, read func(*service.Prices)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for failed := false; ; {
		err := c.readPrices(service.Background(ctx), every)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failed:
			c.log.Warn("the prices between closes cannot be read", "error", err)
		case err == nil && failed:
			c.log.Info("the prices between closes are read again")
		}
		failed = err != nil
		if !failed {
			read(c.prices.Load())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Prices returns the last prices that were read, however old; nil before the first.
func (c *Client) Prices() *service.Prices { return c.prices.Load() }

// readPrices reads the last price of every pair.
func (c *Client) readPrices(ctx context.Context, every time.Duration) error {
	list := service.NewPriceList(c.prices.Load())
	var at time.Time
	e := newEffort()
	for cursor, page := "", 0; ; page++ {
		if page == maxPages {
			return fmt.Errorf("%w: the prices have more than %d pages", service.ErrExchange, maxPages)
		}
		var dst *Listing
		call, before := c.venue.Listing(c.spec.Prices, cursor), list.Len()
		call.Endpoint, call.attempts = PricesEndpoint, 1
		err := c.readListing(ctx, e, call, func(s *Scanner, _ time.Time) error {
			if page == 0 { // those of later pages are newer
				at = time.Now()
			}
			list.Cut(before)
			dst = &Listing{page: cursor, prices: list}
			if err := c.venue.DecodeListing(c.spec.Prices, s, dst); err != nil {
				return err
			}
			return dst.err
		})
		if err != nil {
			return err
		}
		if cursor = dst.cursor; cursor == "" {
			break
		}
	}
	if list.Len() == 0 {
		return fmt.Errorf("%w: the response has no prices", service.ErrExchange)
	}
	c.prices.Store(list.Prices(at, every))
	return nil
}

package exchange

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// visit implements service.Visit.
type visit struct {
	c      *Client
	effort effort
	call   Call // of one page
	pages  int
	err    error // of the interval
}

// Visit implements service.Exchange.
func (c *Client) Visit(_ string, interval levels.Interval, klines int) service.Visit {
	v := &visit{c: c, effort: effort{left: patience, holding: true}}
	src, err := c.spec.source(interval)
	if err != nil {
		v.err = err
		return v
	}
	v.call = c.klines("", src.native, Window{Rows: src.native.Rows, Step: interval.Milliseconds()})
	v.pages = c.spec.pages(src, klines)
	return v
}

// History implements service.Exchange.
func (c *Client) History(interval levels.Interval) int {
	src, err := c.spec.source(interval)
	if err != nil {
		return 0
	}
	return c.spec.History / src.ratio
}

// Between two tries to reach an exchange that does not answer.
const (
	firstTry = time.Second
	lastTry  = 15 * time.Second
)

// Wait implements service.Visit.
func (v *visit) Wait(ctx context.Context) error {
	if v.err != nil {
		return v.err
	}
	v.Close()
	e := &v.effort
	if e.wait > 0 {
		if err := sleep(ctx, e.wait); err != nil {
			return err
		}
		e.left -= e.wait
		e.wait = 0
	}
	for pause := firstTry; ; pause = min(2*pause, lastTry) {
		tried := time.Now()
		err := v.answers(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// Nobody should wait for an exchange that is known not to answer, but a sweep may.
		if !service.IsBackground(ctx) || e.left < pause || errors.Is(err, service.ErrRateLimited) {
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		e.left -= time.Since(tried)
	}
	if e.short { // there were more pages than expected
		e.short = false
		v.pages++
	}
	n := v.c.caller.limiter.Fit(v.call.Cost, v.pages)
	e.partial = n < v.pages
	asked := time.Now()
	ticket, err := v.c.caller.limiter.Acquire(ctx, v.call.Cost.times(n), e.left)
	e.left -= time.Since(asked)
	if err != nil {
		return v.c.caller.noPermission(err, v.call, e, e.left)
	}
	e.ticket, e.cost, e.reserved = ticket, v.call.Cost, n
	return nil
}

// answers returns nil if the exchange answers, as far as is known, and its time is known.
// Of all callers for an exchange that did not answer, one request is made.
func (v *visit) answers(ctx context.Context) error {
	if silent := &v.c.caller.silent; silent.Load() {
		if err := v.c.clocks.do(ctx, 0, func() bool { return !silent.Load() }); err != nil {
			return err
		}
	}
	_, err := v.c.Now(ctx)
	return err
}

// Candles implements service.Visit.
func (v *visit) Candles(ctx context.Context, symbol string, from int64, dst *levels.Candles, buf []byte) error {
	if v.err != nil {
		return v.err
	}
	if e := &v.effort; e.left <= 0 && e.failure != nil {
		return fmt.Errorf("%w: %s failed %d times within %v: %w", service.ErrExchange, v.call.Endpoint, e.failures, patience, e.failure)
	}
	return v.c.candles(ctx, &v.effort, symbol, from, dst, buf)
}

// Close implements service.Visit.
func (v *visit) Close() {
	if e := &v.effort; e.reserved > 0 {
		v.c.caller.limiter.Cancel(e.cost.times(e.reserved))
		e.reserved = 0
	}
}

// Requests returns how many requests the newest klines candles of an interval take, and how
// many such requests a second the budgets leave for background work.
func (c *Client) Requests(interval levels.Interval, klines int) (n int, perSecond float64) {
	src, err := c.spec.source(interval)
	if err != nil {
		return 1, 0
	}
	n = c.spec.pages(src, klines)
	rows := min(src.native.Rows, (klines+2)*src.ratio)
	call := c.klines("", src.native, Window{Rows: rows, Step: src.from.Milliseconds()})
	return n, c.caller.limiter.Rate(call.Cost)
}

// Package binance reads market data of Binance Spot: pairs, 24 h volumes,
// klines and the venue's clock. It needs no key and never sends one. Facts of
// the API are from binance-spot-api-docs, rest-api.md and errors.md, as of
// July 2026, unless a comment says otherwise.
package binance

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

// defaultBaseURL serves market data only, without a key.
var defaultBaseURL = &url.URL{Scheme: "https", Host: "data-api.binance.vision"}

// defaultWeightLimit is the venue's weight limit, a minute and address, until
// exchangeInfo reports it.
const defaultWeightLimit = 6000

// Request weights. That of all 24 h tickers is the heaviest.
const (
	tickersWeight = 80
	listWeight    = 20
)

// Config is the configuration of a Client. The zero value is Binance itself with the
// defaults below.
type Config struct {
	Name        string        // of the venue in our API; "binance"
	BaseURL     *url.URL      // http or https; API paths are appended to its path; nil: defaultBaseURL
	WeightShare float64       // maximum share of the venue's request weight limit, 0 to 1; 0.7
	Timeout     time.Duration // of one attempt, including its body; 10 s
	Attempts    int           // attempts of a request with retryable failures; 5
	Concurrency int           // concurrent calls, and connections kept; 4

	// Simulated is set if the venue is known to be a simulated exchange before its
	// first response; the responses say so in any case.
	Simulated bool

	// OnBan is called for each ban by the venue. It may be called from several
	// goroutines.
	OnBan func(until time.Time)

	// Observe is called for each attempt with "klines", "exchangeInfo",
	// "ticker/24hr" or "time", the HTTP status (0 without a response), and the
	// duration including reading and decoding the body. May be nil.
	Observe   func(endpoint string, status int, took time.Duration)
	Transport http.RoundTripper // nil: a new one
	Log       *slog.Logger      // nil: none
}

// Client implements service.Exchange. Its methods are safe for concurrent use; they
// share one weight budget.
type Client struct {
	name   string
	base   *url.URL
	log    *slog.Logger
	clock  *exchange.Clock
	caller *exchange.Caller
	idle   func() // closes kept connections

	work                      *background
	clocks, listings, tickers *refresher

	mu   sync.Mutex // held to replace list
	list atomic.Pointer[listing]
}

var _ service.Exchange = (*Client)(nil)

// New returns a Client. It sends no request before the first call.
func New(cfg Config) *Client {
	c := &Client{
		name: cfg.Name, log: cfg.Log, clock: new(exchange.Clock), idle: func() {}, work: newBackground(),
	}
	if c.name == "" {
		c.name = "binance"
	}
	base := cfg.BaseURL
	if base == nil {
		base = defaultBaseURL
	}
	c.base = base.JoinPath("/") // a base without any path would make relative ones
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	share := cfg.WeightShare
	if !(share > 0 && share <= 1) {
		share = 0.7
	}
	transport := cfg.Transport
	if transport == nil {
		conns := cfg.Concurrency
		if conns <= 0 {
			conns = 4
		}
		t := exchange.NewTransport(conns + 1) // one for the clock and the list
		transport, c.idle = t, t.CloseIdleConnections
	}
	c.caller = &exchange.Caller{
		Transport: transport,
		Limiter: exchange.NewLimiter(exchange.LimiterConfig{
			Clock: c.clock, Limit: defaultWeightLimit, Share: share, Floor: tickersWeight,
		}),
		Clock:      c.clock,
		Timeout:    cfg.Timeout,
		Attempts:   cfg.Attempts,
		Observe:    cfg.Observe,
		OnBan:      cfg.OnBan,
		Log:        c.log,
		UsedWeight: usedWeight,
		Refuse:     c.refuse,
	}
	if c.caller.Timeout <= 0 {
		c.caller.Timeout = 10 * time.Second
	}
	if c.caller.Attempts <= 0 {
		c.caller.Attempts = 5
	}
	if cfg.Simulated {
		c.caller.MarkSimulated()
	}
	refresh := func(weight int, pause time.Duration, fetch func(context.Context) error) *refresher {
		return &refresher{limiter: c.caller.Limiter, work: c.work, weight: weight, pause: pause, fetch: fetch}
	}
	c.clocks = refresh(1, failurePause, c.fetchTime)
	c.listings = refresh(listWeight, failurePause, c.fetchListing)
	c.tickers = refresh(tickersWeight, tickerPause, c.fetchVolumes)
	return c
}

func usedWeight(h http.Header) (int, bool) {
	n, err := strconv.Atoi(h.Get("X-Mbx-Used-Weight-1m"))
	return n, err == nil && n >= 0 && n <= maxRequestWeight
}

// Close cancels requests for the clock, the list and the volumes, and closes idle
// connections. The Client must not be used after it.
func (c *Client) Close() {
	c.work.close()
	c.idle()
}

// Ban makes every call fail with ErrBanned until then, as a ban by the venue does. It
// is for a ban received by another process behind the same address.
func (c *Client) Ban(until time.Time) { c.caller.Limiter.Pause(until, service.ErrBanned) }

// Stats returns the current weight budget and the end of a pause.
func (c *Client) Stats() exchange.Stats { return c.caller.Limiter.Stats() }

// Market returns the name from Config, and whether any response so far was marked as
// simulated.
func (c *Client) Market() service.Market {
	return service.Market{Exchange: c.name, Simulated: c.caller.Simulated()}
}

// call makes one request; its URL is completed here.
func (c *Client) call(ctx context.Context, call exchange.Call, query string, decode func(body io.Reader, date time.Time) error) error {
	call.URL = c.base.JoinPath("api/v3", call.Endpoint)
	call.URL.RawQuery = query
	return c.caller.Do(ctx, call, func(body io.Reader, h http.Header) error { return decode(body, exchange.Date(h)) })
}

// Candles implements service.Exchange: pages of up to 1,000 klines, forward in
// time. Both ends of a requested range are inclusive open times, so the next page
// starts one interval after the last kline of this one, for any alignment of the
// interval. The range ends with the last closed candle, so the venue does not send
// the forming one. After an error dst is unchanged.
func (c *Client) Candles(ctx context.Context, symbol string, from int64, dst *levels.Candles, buf []byte) error {
	step := dst.Interval.Milliseconds()
	if step == 0 {
		return fmt.Errorf("%w %q", levels.ErrUnknownInterval, dst.Interval)
	}
	if !validName(symbol) {
		return unknown(symbol)
	}
	now, err := c.Now(ctx)
	if err != nil {
		return err
	}
	through := now.UnixMilli() - step // later ones are not certainly closed
	before := dst.Len()
	next := max(from, 0)
	if before > 0 {
		next = max(next, dst.AsOf())
	}
	// Gaps make pages short. Twice the pages of a series without gaps is the limit,
	// for a venue that sends row by row.
	pages := 2 + 2*max(0, through-next)/(step*maxKlines)
	query := make([]byte, 0, 160)
	for ; next <= through; pages-- {
		if pages == 0 {
			dst.Truncate(before)
			return fmt.Errorf("%w: the pages of klines are too short", service.ErrExchange)
		}
		rows := int(min(maxKlines, (through-next)/step+1))
		query = append(query[:0], "symbol="...)
		query = append(query, url.QueryEscape(symbol)...)
		query = append(query, "&interval="...)
		query = append(query, dst.Interval...)
		query = append(query, "&startTime="...)
		query = strconv.AppendInt(query, next, 10)
		query = append(query, "&endTime="...)
		query = strconv.AppendInt(query, through, 10)
		query = append(query, "&limit="...)
		query = strconv.AppendInt(query, int64(rows), 10)
		mark := dst.Len()
		call := exchange.Call{Endpoint: "klines", Weight: 2, MaxBody: int64(rows+4) * maxRow}
		err := c.call(ctx, call, string(query), func(body io.Reader, _ time.Time) error {
			dst.Truncate(mark) // undo an earlier attempt
			return decodeKlines(body, buf, dst, window{next, through, rows})
		})
		if err != nil {
			dst.Truncate(before)
			return err
		}
		if dst.Len() == mark {
			return nil // no candles in the rest of the range: the pair is halted, or has a gap to the end
		}
		next = dst.AsOf()
	}
	return nil
}

// Forming implements service.Exchange. It requests the newest kline, which closed long
// ago if the pair is halted.
func (c *Client) Forming(ctx context.Context, symbol string, interval levels.Interval) (*service.Forming, error) {
	if interval.Milliseconds() == 0 {
		return nil, fmt.Errorf("%w %q", levels.ErrUnknownInterval, interval)
	}
	if !validName(symbol) {
		return nil, unknown(symbol)
	}
	at, err := c.Now(ctx)
	if err != nil {
		return nil, err
	}
	var newest levels.Candles
	newest.Reset(interval, 1)
	buf := make([]byte, minBuffer)
	query := "symbol=" + url.QueryEscape(symbol) + "&interval=" + string(interval) + "&limit=1"
	call := exchange.Call{Endpoint: "klines", Weight: 2, MaxBody: 4 * maxRow}
	err = c.call(ctx, call, query, func(body io.Reader, _ time.Time) error {
		newest.Truncate(0)
		return decodeKlines(body, buf, &newest, window{0, math.MaxInt64, 1})
	})
	if err != nil {
		return nil, err
	}
	now, _ := c.clock.Now()
	if newest.Len() == 0 || newest.AsOf() <= now {
		return nil, nil
	}
	return &service.Forming{Candle: newest.At(0), At: at}, nil
}

// stalePatience is how long a call waits for a newer value if it can use an older one
// instead.
const stalePatience = 3 * time.Second

// Now implements service.Exchange. It requests the venue's time if the last stamp is
// old, or if a response has shown that the venue's clock is ahead. If that fails, it
// returns the known lower bound.
func (c *Client) Now(ctx context.Context) (time.Time, error) {
	_, known := c.clock.Now()
	if !c.clock.Fresh() && !(known && !c.caller.Limiter.Open()) {
		patience := time.Duration(0)
		if known {
			patience = stalePatience
		}
		if err := c.clocks.do(ctx, patience, c.clock.Fresh); err != nil {
			if ctx.Err() != nil {
				return time.Time{}, context.Cause(ctx)
			}
			if !known {
				return time.Time{}, err
			}
		}
	}
	ms, _ := c.clock.Now()
	return time.UnixMilli(ms).UTC(), nil
}

func (c *Client) fetchTime(ctx context.Context) error {
	call := exchange.Call{Endpoint: "time", Weight: 1, MaxBody: maxServerTime}
	return c.call(ctx, call, "", func(body io.Reader, date time.Time) error {
		stamp, err := decodeTime(body)
		if err != nil {
			return err
		}
		return c.clock.Set(stamp, time.Now(), date)
	})
}

// Symbols implements service.Exchange, by name.
func (c *Client) Symbols(ctx context.Context) iter.Seq2[service.Symbol, error] {
	return func(yield func(service.Symbol, error) bool) {
		l, err := c.priced(ctx, 0)
		if err != nil {
			yield(service.Symbol{}, err)
			return
		}
		l.all(yield)
	}
}

// LastSymbols implements service.Exchange, by name.
func (c *Client) LastSymbols(ctx context.Context) (iter.Seq2[service.Symbol, error], time.Time, error) {
	patience := time.Duration(0)
	if old := c.list.Load(); old != nil && !old.pricedAt.IsZero() {
		patience = stalePatience
	}
	l, err := c.priced(ctx, patience)
	if err != nil {
		l = c.list.Load()
		if l == nil || l.pricedAt.IsZero() || ctx.Err() != nil {
			return nil, time.Time{}, err
		}
		if err != errSlow {
			c.log.Warn("the list of pairs cannot be read: using an old one", "read_at", l.readAt(), "error", err)
		}
	}
	return l.all, l.readAt(), nil
}

// Symbol implements service.Exchange. It uses a list at most an hour old, and reads it
// again for a missing name, at most once a minute.
func (c *Client) Symbol(ctx context.Context, name string) (service.Symbol, error) {
	if !validName(name) {
		return service.Symbol{}, unknown(name)
	}
	patience := time.Duration(0)
	if c.list.Load() != nil {
		patience = stalePatience
	}
	l, err := c.listed(ctx, listingAge, patience)
	if err != nil {
		l = c.list.Load()
		if l == nil || ctx.Err() != nil {
			return service.Symbol{}, err
		}
		// Use the old list while the venue is unreachable.
	}
	if s, ok := l.find(name); ok {
		return s, nil
	}
	if l, err = c.listed(ctx, freshListing, 0); err != nil {
		return service.Symbol{}, err
	}
	if s, ok := l.find(name); ok {
		return s, nil
	}
	return service.Symbol{}, unknown(name)
}

func unknown(name string) error { return fmt.Errorf("%w: %.60q", service.ErrUnknownSymbol, name) }

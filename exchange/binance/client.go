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

// The venue's weight limit, a minute and address, until exchangeInfo tells it.
const defaultWeightLimit = 6000

// heaviest is the weight of the heaviest request made, all 24 h tickers, and
// listWeight that of the list of pairs.
const (
	heaviest   = 80
	listWeight = 20
)

// Config is what a Client is told once. The zero value is Binance itself with
// the defaults named below.
type Config struct {
	Name        string        // of the venue in our API; "binance"
	BaseURL     *url.URL      // http or https; a path is kept, and API paths follow it; nil: defaultBaseURL
	WeightShare float64       // of the venue's request weight limit to stay under, 0 to 1; 0.7
	Timeout     time.Duration // of one attempt, its body included; 10 s
	Attempts    int           // tries of a request that fails in a way that may heal; 5
	Concurrency int           // calls at once; so many connections are kept; 4

	// Simulated is set when the venue is known to be a simulated exchange before
	// it has answered; its responses say so in any case.
	Simulated bool

	// OnBan is told of each ban by the venue. It may be called from several
	// goroutines.
	OnBan func(until time.Time)

	// Observe is told of each attempt: "klines", "exchangeInfo", "ticker/24hr"
	// or "time", the HTTP status (0 if no response came), and how long it took
	// with reading and decoding the body. May be nil.
	Observe   func(endpoint string, status int, took time.Duration)
	Transport http.RoundTripper // nil: one of its own
	Log       *slog.Logger      // nil: none
}

// Client implements service.Exchange. All its methods may be called at once
// from any number of goroutines; they share one weight budget.
type Client struct {
	name   string
	base   *url.URL
	log    *slog.Logger
	clock  *exchange.Clock
	caller *exchange.Caller
	idle   func() // closes kept connections

	work                      *background
	clocks, listings, tickers *refresher

	mu   sync.Mutex // for those who replace list
	list atomic.Pointer[listing]
}

var _ service.Exchange = (*Client)(nil)

// New returns a Client. It sends nothing before the first call of a method.
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
			Clock: c.clock, Limit: defaultWeightLimit, Share: share, Floor: heaviest,
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
	c.tickers = refresh(heaviest, tickerPause, c.fetchVolumes)
	return c
}

func usedWeight(h http.Header) (int, bool) {
	n, err := strconv.Atoi(h.Get("X-Mbx-Used-Weight-1m"))
	return n, err == nil && n >= 0 && n <= maxRequestWeight
}

// Close ends requests for the clock, the list and the volumes that are under way,
// and closes the connections kept for later. The Client is not used after it.
func (c *Client) Close() {
	c.work.close()
	c.idle()
}

// Ban has every call fail with ErrBanned until then, as a ban by the venue does:
// for one that another process behind the same address was given.
func (c *Client) Ban(until time.Time) { c.caller.Limiter.Pause(until, service.ErrBanned) }

// Stats returns the weight budget and the end of a pause, as of now.
func (c *Client) Stats() exchange.Stats { return c.caller.Limiter.Stats() }

// Market returns the name from Config, and whether any response so far said
// that it is simulated.
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
// time. Both ends of the range asked for are inclusive open times, so the next
// page begins one interval after the last kline of this one, wherever the venue
// aligns the interval; and the range ends with the last candle that is closed,
// so the forming one is not even sent. After an error dst is as it was.
func (c *Client) Candles(ctx context.Context, symbol string, from int64, dst *levels.Candles, buf []byte) error {
	step := dst.Interval.Milliseconds()
	if step == 0 {
		return fmt.Errorf("%w %q", levels.ErrUnknownInterval, dst.Interval)
	}
	if !plausible(symbol) {
		return unknown(symbol)
	}
	now, err := c.Now(ctx)
	if err != nil {
		return err
	}
	through := now.UnixMilli() - step // opened later: not certainly closed
	before := dst.Len()
	next := max(from, 0)
	if before > 0 {
		next = max(next, dst.AsOf())
	}
	// Holes make pages short, so twice the pages of a series without any must
	// do; a venue that sends row by row is not followed for ever.
	pages := 2 + 2*max(0, through-next)/(step*maxKlines)
	query := make([]byte, 0, 160)
	for ; next <= through; pages-- {
		if pages == 0 {
			dst.Truncate(before)
			return fmt.Errorf("%w: klines come in pages too short to get anywhere", service.ErrExchange)
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
			dst.Truncate(mark) // what an earlier attempt left
			return decodeKlines(body, buf, dst, window{next, through, rows})
		})
		if err != nil {
			dst.Truncate(before)
			return err
		}
		if dst.Len() == mark {
			return nil // nothing opened in what was left: the pair is halted, or has holes to the end
		}
		next = dst.AsOf()
	}
	return nil
}

// Forming implements service.Exchange. It asks for the newest kline, whichever that
// is: of a pair that is halted it closed long ago.
func (c *Client) Forming(ctx context.Context, symbol string, interval levels.Interval) (*service.Forming, error) {
	if interval.Milliseconds() == 0 {
		return nil, fmt.Errorf("%w %q", levels.ErrUnknownInterval, interval)
	}
	if !plausible(symbol) {
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

// standIn is how long something newer is waited for where something older can
// stand in for it.
const standIn = 3 * time.Second

// Now implements service.Exchange. It asks the venue when the last stamp is
// old, or a response has shown that the venue's clock is further on. What is
// known stays a lower bound, and stands in for what cannot be had.
func (c *Client) Now(ctx context.Context) (time.Time, error) {
	_, known := c.clock.Now()
	if !c.clock.Fresh() && !(known && !c.caller.Limiter.Open()) {
		patience := time.Duration(0)
		if known {
			patience = standIn
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
		patience = standIn
	}
	l, err := c.priced(ctx, patience)
	if err != nil {
		if l = c.list.Load(); l == nil || l.pricedAt.IsZero() || ctx.Err() != nil {
			return nil, time.Time{}, err
		}
		if err != errSlow {
			c.log.Warn("an old list of pairs stands in for one that cannot be had", "read_at", l.readAt(), "error", err)
		}
	}
	return l.all, l.readAt(), nil
}

// Symbol implements service.Exchange. It answers from a list at most an hour
// old, and reads it anew for a name that is not there, at most once a minute.
func (c *Client) Symbol(ctx context.Context, name string) (service.Symbol, error) {
	if !plausible(name) {
		return service.Symbol{}, unknown(name)
	}
	patience := time.Duration(0)
	if c.list.Load() != nil {
		patience = standIn
	}
	l, err := c.listed(ctx, listingAge, patience)
	if err != nil {
		if l = c.list.Load(); l == nil || ctx.Err() != nil {
			return service.Symbol{}, err
		}
		// The old list stands in while the venue cannot be reached.
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

package exchange

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"tidemark/levels"
	"tidemark/service"
)

// Config is the configuration of a Client. The zero value is the venue itself with the
// defaults below.
type Config struct {
	Name        string        // in our API, instead of Spec.Name
	BaseURL     *url.URL      // http or https; paths are appended to its path; nil: Spec.BaseURL
	WeightShare float64       // maximum share of the venue's budgets, 0 to 1; 0.7
	Timeout     time.Duration // of one attempt, including its body; 10 s
	Attempts    int           // attempts of a request with retryable failures; 5
	Concurrency int           // concurrent calls, and connections kept; 4

	// Group is shared by the markets of one venue behind one address; nil: one of its own.
	Group *Group

	// Simulated is set if the venue is known to be a simulated exchange before its
	// first response; the responses say so in any case.
	Simulated bool

	// OnBan is called for each ban by the venue. It may be called from several
	// goroutines.
	OnBan func(until time.Time)

	// Observe is called for each attempt with the endpoint of the Call, the HTTP status
	// (0 without a response), and the duration including reading and decoding the body.
	// May be nil.
	Observe   func(endpoint string, status int, took time.Duration)
	Transport http.RoundTripper // nil: a new one
	Log       *slog.Logger      // nil: none
}

// Group holds what the markets of one venue behind one address share: its budgets, its
// pauses and its clock.
type Group struct {
	limiter *Limiter
	clock   *Clock
}

// NewGroup returns the group of a venue's markets, which spends at most share, 0 to 1, of
// the budgets.
func NewGroup(spec *Spec, share float64) *Group {
	if !(share > 0 && share <= 1) {
		share = 0.7
	}
	clock := new(Clock)
	return &Group{NewLimiter(spec.Budgets, share, spec.Heaviest, clock), clock}
}

// Client implements service.Exchange for a Venue. Its methods are safe for concurrent
// use.
type Client struct {
	name   string
	venue  Venue
	spec   *Spec
	log    *slog.Logger
	clock  *Clock
	caller *caller
	idle   func() // closes kept connections

	elsewhere bool // another server stands for the venue

	work                      *background
	clocks, listings, tickers *refresher

	mu   sync.Mutex // held to replace list
	list atomic.Pointer[listing]

	prices atomic.Pointer[service.Prices]
}

var _ service.Exchange = (*Client)(nil)

// New returns a Client. It sends no request before the first call.
func New(venue Venue, cfg Config) *Client {
	spec := venue.Spec()
	group := cfg.Group
	if group == nil {
		group = NewGroup(spec, cfg.WeightShare)
	}
	c := &Client{
		name: cfg.Name, venue: venue, spec: spec, log: cfg.Log, clock: group.clock, idle: func() {}, work: newBackground(),
		elsewhere: cfg.BaseURL != nil,
	}
	if c.name == "" {
		c.name = spec.Name
	}
	base := cfg.BaseURL
	if base == nil {
		var err error
		if base, err = url.Parse(spec.BaseURL); err != nil {
			panic(err) // of a constant
		}
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.log = c.log.With("exchange", c.name)
	transport := cfg.Transport
	if transport == nil {
		conns := cfg.Concurrency
		if conns <= 0 {
			conns = 4
		}
		t := NewTransport(conns + 1) // one for the clock and the list
		transport, c.idle = t, t.CloseIdleConnections
	}
	c.caller = &caller{
		venue: venue, label: spec.Label,
		base:      base.JoinPath("/"), // a base without any path would make relative ones
		transport: transport,
		limiter:   group.limiter,
		clock:     group.clock,
		timeout:   cfg.Timeout,
		attempts:  cfg.Attempts,
		record:    cfg.Observe,
		onBan:     cfg.OnBan,
		log:       c.log,
	}
	if c.caller.timeout <= 0 {
		c.caller.timeout = 10 * time.Second
	}
	if c.caller.attempts <= 0 {
		c.caller.attempts = 5
	}
	c.caller.simulated.Store(cfg.Simulated)
	group.limiter.join()
	refresh := func(cost Cost, pause time.Duration, fetch func(context.Context) error) *refresher {
		return &refresher{limiter: c.caller.limiter, work: c.work, cost: cost, pause: pause, fetch: fetch}
	}
	c.clocks = refresh(spec.Clock.Cost, failurePause, c.fetchTime)
	c.listings = refresh(venue.Listing(0, "").Cost, failurePause, c.fetchListing)
	c.tickers = refresh(venue.Listing(1, "").Cost, tickerPause, c.fetchVolumes)
	return c
}

// Close cancels requests for the clock, the list and the volumes, and closes idle
// connections. The Client must not be used after it.
func (c *Client) Close() {
	c.work.close()
	c.idle()
}

// Ban makes every call fail with ErrBanned until then, as a ban by the venue does. It
// is for a ban received by another process behind the same address.
func (c *Client) Ban(until time.Time) { c.caller.limiter.Pause(until, service.ErrBanned) }

// At returns the time of the venue's clock at a time of this machine's clock, as far as it is
// known; else it returns t.
func (c *Client) At(t time.Time) time.Time {
	ms, ok := c.clock.Now()
	if !ok {
		return t
	}
	return time.UnixMilli(ms).Add(-time.Since(t)).UTC()
}

// Status is the state of a Client.
type Status struct {
	Stats
	Skew        *time.Duration // this machine's clock less the venue's; nil if unknown
	Pairs       int            // of the last list that was read
	LastSuccess time.Time      // zero before it
	Silent      bool           // the last request got no response
	Replay      string         // the first and the last day that a simulated venue replays; empty without
}

// Status returns the current state.
func (c *Client) Status() Status {
	s := Status{Stats: c.caller.limiter.Stats(), Silent: c.caller.silent.Load()}
	if ms, ok := c.clock.Now(); ok {
		skew := time.Since(time.UnixMilli(ms)).Round(time.Millisecond)
		s.Skew = &skew
	}
	if l := c.list.Load(); l != nil {
		s.Pairs = len(l.symbols)
	}
	if dates := c.caller.replay.Load(); dates != nil {
		s.Replay = *dates
	}
	if ms := c.caller.lastGood.Load(); ms > 0 {
		s.LastSuccess = time.UnixMilli(ms).UTC()
	}
	return s
}

// Market returns the name from Config, whether any response so far was marked as
// simulated, and what is special about the candles.
func (c *Client) Market() service.Market {
	return service.Market{Exchange: c.name, Simulated: c.caller.simulated.Load(), LateVolume: c.spec.LateVolume, Settles: c.spec.Settles, Sums: c.spec.Sums}
}

// stalePatience is how long a call waits for a newer value if it can use an older one
// instead.
const stalePatience = 3 * time.Second

// Now implements service.Exchange. It requests the venue's time if the last stamp is
// old, or if a response has shown that the venue's clock is ahead. If that fails, it
// returns the known lower bound.
func (c *Client) Now(ctx context.Context) (time.Time, error) {
	_, known := c.clock.Now()
	if !c.clock.Fresh() && !(known && !c.caller.limiter.Open()) {
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
	call := c.spec.Clock
	if call.MaxBody == 0 {
		call.MaxBody = maxServerTime
	}
	if c.caller.silent.Load() {
		call.attempts = 1 // this is how an exchange that does not answer is tried
	}
	return c.caller.do(ctx, call, newEffort(), func(body io.Reader, h http.Header) error {
		date := Date(h)
		stamp, err := c.venue.DecodeClock(NewScanner(body, make([]byte, minBuffer)))
		switch {
		case err != nil:
			return err
		case stamp == 0 && date.IsZero():
			return fmt.Errorf("a response with neither a time nor a Date header")
		case stamp == 0:
			stamp = date.UnixMilli()
		case stamp < earliestStamp || stamp > latestStamp:
			return fmt.Errorf("the time %d is not Unix milliseconds", stamp)
		}
		return c.clock.Set(stamp, time.Now(), date)
	})
}

// Symbols implements job.Exchange, by name.
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

// LastSymbols implements job.Exchange, by name.
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

// checkPair returns an error for a symbol or interval that cannot be requested.
func checkPair(symbol string, interval levels.Interval) error {
	if interval.Milliseconds() == 0 {
		return fmt.Errorf("%w %q", levels.ErrUnknownInterval, interval)
	}
	if !validName(symbol) {
		return unknown(symbol)
	}
	return nil
}

// validName reports whether a name may be a pair's: at most 40 characters of valid UTF-8,
// without white space, control characters and those with a meaning in a URL or in JSON. A
// slash is valid: it is in canonical names and in ids such as Hyperliquid's PURR/USDC.
func validName(name string) bool {
	if name == "" || !utf8.ValidString(name) || utf8.RuneCountInString(name) > maxSymbolRunes {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsPrint(r) || unicode.IsSpace(r) || strings.ContainsRune(`"'\?&#%<>`, r)
	})
}

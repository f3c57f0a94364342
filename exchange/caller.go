// Package exchange is the shared part of all venue clients: the gate and the weight
// budget, retries, the venue's clock, and parsing of decimals. Each venue has its own
// package.
package exchange

import (
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"tidemark/service"
)

// Caller makes GET requests to one venue. Its fields must be set before the first
// call and not changed afterwards.
type Caller struct {
	Transport http.RoundTripper
	Limiter   *Limiter
	Clock     *Clock
	Timeout   time.Duration // of one attempt, including its body
	Attempts  int           // of one call, at least 1; waiting for a rate limit is not an attempt
	Observe   func(endpoint string, status int, took time.Duration)
	OnBan     func(until time.Time)
	Log       *slog.Logger

	// UsedWeight reads the weight used in this minute, as reported by the venue.
	UsedWeight func(h http.Header) (int, bool)
	// Refuse turns a response other than 200 into an error: a *Pause, a *Final, or
	// an error worth another attempt. body is the start of the body.
	Refuse func(status int, h http.Header, body []byte) error

	simulated atomic.Bool
}

// Call is one request.
type Call struct {
	Endpoint string // its name in metrics, logs and errors
	URL      *url.URL
	Weight   int
	MaxBody  int64 // bytes, after decompression; a longer body is an error
	// Compress requests gzip, for long, repetitive and rare responses. Pages are not
	// compressed, see NewTransport.
	Compress bool
}

// Final is an error for which another attempt is pointless.
type Final struct{ Err error }

func (e *Final) Error() string { return e.Err.Error() }

// Unwrap returns the underlying error.
func (e *Final) Unwrap() error { return e.Err }

// Pause is a refusal that concerns the whole client. With ErrRateLimited in Err
// callers wait and continue, with ErrBanned they fail until it ends, and any other
// error counts as a failed attempt.
type Pause struct {
	Err error
	For time.Duration // 0 if the venue gives none
}

func (e *Pause) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *Pause) Unwrap() error { return e.Err }

const (
	// pauseMargin is added to the pause a venue demands: its clock and ours differ,
	// and a request too early extends a ban.
	pauseMargin = 250 * time.Millisecond
	// maxPause bounds how long a rate limit or ban shuts the gate; Binance's
	// longest ban is three days.
	maxPause = 4 * 24 * time.Hour
	// maxFaultPause bounds the pause by the Retry-After of any other failure, which
	// may come from a gateway in front of the venue.
	maxFaultPause = 30 * time.Second
	defaultPause  = time.Minute     // after a rate limit without Retry-After
	defaultBan    = 2 * time.Minute // Binance's shortest
	// maxPauses is the number of consecutive rate limits that one call waits for,
	// and patience its total wait for the gate, for the weight budget and between
	// attempts. After that the caller gets a RetryAfterError.
	maxPauses = 10
	patience  = 5 * time.Minute

	firstSleep = 250 * time.Millisecond
	lastSleep  = 8 * time.Second
	maxRefusal = 4 << 10 // bytes read of a response other than 200
)

// errHeld means that the gate was shut while the request waited for its connection.
var errHeld = errors.New("held back")

// Do makes one call and passes the body of a 200 to decode, which must read it to its
// end. decode runs once for each attempt and must undo earlier ones. In addition to
// the attempts Do waits at most 5 minutes (patience). It returns a Final error of
// decode, a RetryAfterError, the context's cause, or ErrExchange with the last of
// Attempts failures.
func (c *Caller) Do(ctx context.Context, call Call, decode func(body io.Reader, h http.Header) error) error {
	var failure error // of the last counted attempt
	left := patience
	for attempt, pauses := 1, 0; ; {
		asked := time.Now()
		ticket, err := c.Limiter.Acquire(ctx, call.Weight, left)
		left -= time.Since(asked)
		if err != nil {
			wait, paused := errors.AsType[*service.RetryAfterError](err)
			if paused && failure != nil && !errors.Is(err, service.ErrBanned) && time.Until(wait.Until) > left {
				return fmt.Errorf("%w: %s failed %d times within %v: %w", service.ErrExchange, call.Endpoint, attempt-1, patience, failure)
			}
			return err
		}
		err = c.attempt(ctx, call, ticket, decode)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == errHeld {
			continue
		}
		if final, ok := errors.AsType[*Final](err); ok {
			return fmt.Errorf("%s: %w", call.Endpoint, final.Err)
		}
		paused, ok := errors.AsType[*Pause](err)
		if ok && errors.Is(paused.Err, service.ErrRateLimited) {
			pauses++
			if errors.Is(paused.Err, service.ErrBanned) || pauses == maxPauses {
				return &service.RetryAfterError{Err: paused.Err, Until: c.Limiter.Stats().PausedUntil}
			}
			continue
		}
		if attempt >= c.Attempts {
			if errors.Is(err, service.ErrUnknownSymbol) {
				return fmt.Errorf("%s: %w", call.Endpoint, err)
			}
			return fmt.Errorf("%w: %s failed %d times: %w", service.ErrExchange, call.Endpoint, attempt, err)
		}
		c.Log.Debug("retrying a request to the exchange", "endpoint", call.Endpoint, "attempt", attempt, "error", err)
		if !ok { // after a Pause Acquire waits
			// Full jitter: callers that fail together do not retry together.
			d := rand.N(min(firstSleep<<min(attempt-1, 16), lastSleep))
			if deadline, limited := ctx.Deadline(); limited && time.Until(deadline) < d {
				return fmt.Errorf("%w: %s failed %d times and there is no time for more: %w", service.ErrExchange, call.Endpoint, attempt, err)
			}
			if err := sleep(ctx, d); err != nil {
				return err
			}
			left -= d
		}
		failure = err
		attempt++
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// attempt sends the request once. It needs no http.Client, because it follows no
// redirects and stores no cookies.
func (c *Caller) attempt(parent context.Context, call Call, ticket Ticket, decode func(io.Reader, http.Header) error) (err error) {
	ctx, cancel := context.WithTimeout(parent, c.Timeout)
	defer cancel()
	start, status := time.Now(), 0
	defer func() {
		if err == errHeld {
			return
		}
		if c.Observe != nil {
			c.Observe(call.Endpoint, status, time.Since(start))
		}
		if (status == 0 || status == http.StatusOK) && err != nil && ctx.Err() != nil && parent.Err() == nil {
			// Not the context's error, which the caller would take for its own deadline.
			err = fmt.Errorf("no complete response within %v", c.Timeout)
		}
	}()

	header := plainHeader
	if call.Compress {
		header = gzipHeader
	}
	if user := call.URL.User; user != nil {
		header = header.Clone()
		password, _ := user.Password()
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	var held atomic.Bool
	req := (&http.Request{
		Method: http.MethodGet, URL: call.URL, Host: call.URL.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// A request may wait for its connection, and the transport sends it again if
		// a kept connection is dead. The gate may be shut by then; this is the last
		// check before bytes are sent.
		GotConn: func(info httptrace.GotConnInfo) {
			if !c.Limiter.Open() {
				held.Store(true)
				cancel()
				info.Conn.Close()
			}
		},
	}))
	resp, err := c.Transport.RoundTrip(req)
	c.Limiter.Done(ticket)
	if err != nil {
		if held.Load() {
			return errHeld
		}
		return err
	}
	defer resp.Body.Close()
	status = resp.StatusCode
	after, hasAfter := retryAfter(resp.Header)
	if status >= 400 && hasAfter {
		// First of all, because no further request may start. After the body is read,
		// Refuse decides whether a longer pause is needed.
		shut := maxFaultPause
		if status == http.StatusTooManyRequests || status == http.StatusTeapot {
			shut = max(shut, c.Timeout)
		}
		if until := time.Now().Add(min(after, shut) + pauseMargin); c.Limiter.Hold(until) {
			c.Log.Warn("the exchange demands a pause", "endpoint", call.Endpoint, "status", status, "until", until)
		}
		defer c.Limiter.Announce()
	}
	c.observe(ticket, resp.Header)
	if status != http.StatusOK {
		// A truncated response still has its status.
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
		err = c.Refuse(status, resp.Header, body)
	} else {
		err = readBody(resp, call.MaxBody, decode)
	}
	if paused, ok := errors.AsType[*Pause](err); ok {
		c.pause(paused, after, hasAfter)
	} else if err == nil {
		c.Limiter.Healthy()
	}
	return err
}

// The headers of requests are shared and must not be changed.
var (
	plainHeader = http.Header{"User-Agent": {"tidemark"}, "Accept": {"application/json"}}
	gzipHeader  = http.Header{"User-Agent": {"tidemark"}, "Accept": {"application/json"}, "Accept-Encoding": {"gzip"}}
)

// readBody passes the decompressed body of a 200 to decode, up to limit bytes.
func readBody(resp *http.Response, limit int64, decode func(io.Reader, http.Header) error) error {
	switch encoding := resp.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
		return decode(&limitedReader{r: resp.Body, left: limit, limit: limit}, resp.Header)
	case "gzip":
		inflated, err := gzip.NewReader(resp.Body)
		if err != nil {
			return fmt.Errorf("gzip: %w", err)
		}
		return decode(&limitedReader{r: inflated, left: limit, limit: limit}, resp.Header)
	default:
		return fmt.Errorf("the body is encoded as %.20q", encoding)
	}
}

// observe reads the headers of a response.
func (c *Caller) observe(t Ticket, h http.Header) {
	if h.Get("X-Tidemark-Simulated") == "true" {
		c.MarkSimulated()
	}
	date := Date(h)
	if !date.IsZero() {
		c.Clock.ObserveDate(date)
	}
	if used, ok := c.UsedWeight(h); ok && h.Get("Age") == "" { // a cache's count is of another minute
		c.Limiter.ObserveUsed(t, used, date)
	}
}

// MarkSimulated records that responses come from a simulated exchange. It cannot be
// undone.
func (c *Caller) MarkSimulated() { c.simulated.Store(true) }

// Simulated reports whether any response came from a simulated exchange.
func (c *Caller) Simulated() bool { return c.simulated.Load() }

// pause shuts the gate for a refusal of the venue.
func (c *Caller) pause(p *Pause, after time.Duration, hasAfter bool) {
	d := p.For
	switch {
	case hasAfter && errors.Is(p.Err, service.ErrRateLimited):
		d = after
	case hasAfter:
		d = min(after, maxFaultPause)
	case d > 0:
	case errors.Is(p.Err, service.ErrBanned):
		d = defaultBan
	case errors.Is(p.Err, service.ErrRateLimited):
		d = defaultPause
	default:
		c.Limiter.Backoff()
		return
	}
	until := time.Now().Add(min(d, maxPause) + pauseMargin)
	banned := errors.Is(p.Err, service.ErrBanned)
	reason := service.ErrRateLimited
	if banned {
		reason = service.ErrBanned
	}
	if c.Limiter.Pause(until, reason) {
		c.Log.Warn("the exchange demands a pause", "reason", p.Err, "until", until)
		if banned && c.OnBan != nil {
			c.OnBan(until)
		}
	}
}

// retryAfter reads Retry-After: seconds, or a date (RFC 9110, 10.2.3), which is
// relative to the response's own Date.
func retryAfter(h http.Header) (time.Duration, bool) {
	v := h.Get("Retry-After")
	if v == "" {
		return 0, false
	}
	if n, err := strconv.ParseInt(v, 10, 64); err == nil {
		if n < 0 {
			return 0, false
		}
		return time.Duration(min(n, int64(maxPause/time.Second))) * time.Second, true
	}
	t, err := http.ParseTime(v)
	from := Date(h)
	if err != nil || from.IsZero() || t.Before(from) {
		return 0, false
	}
	return min(t.Sub(from), maxPause), true
}

// Date returns the Date header, which has whole seconds; zero if absent.
func Date(h http.Header) time.Time {
	t, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	return t
}

// limitedReader returns an error for a body longer than limit bytes.
type limitedReader struct {
	r           io.Reader
	left, limit int64
}

func (c *limitedReader) Read(p []byte) (int, error) {
	if int64(len(p)) > c.left+1 {
		p = p[:c.left+1]
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	if c.left < 0 {
		return 0, fmt.Errorf("the response exceeds %d bytes", c.limit)
	}
	return n, err
}

// NewTransport returns a transport that keeps up to conns connections.
//
// HTTP/1.1 only: each caller reads one response at a time, and its own connection
// needs no flow control. Compression is off, to save memory and CPU at the cost of
// bandwidth: a recorded page of 1,000 klines is 175 KB, or 58 KB as
// gzip; inflating it takes five times as long as decoding it (0.96 ms and
// 0.17 ms) and 50 KB of memory for each connection.
func NewTransport(conns int) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		Protocols:              protocols,
		DisableCompression:     true,
		MaxIdleConns:           conns,
		MaxIdleConnsPerHost:    conns,
		IdleConnTimeout:        30 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: 32 << 10,
		// Large reads bypass the read buffer; a request is 300 bytes.
		ReadBufferSize:  4 << 10,
		WriteBufferSize: 1 << 10,
	}
}

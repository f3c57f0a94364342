package binance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

// apiError is the venue's own error, {"code":-1121,"msg":"Invalid symbol."}.
// Codes: binance-spot-api-docs, errors.md.
type apiError struct {
	Code int    `json:"code"`
	Msg  string `json:"msg"`
}

func (e *apiError) Error() string { return fmt.Sprintf("Binance error %d: %.200q", e.Code, e.Msg) }

// Unwrap returns the error of package service or levels for the code.
func (e *apiError) Unwrap() error {
	switch {
	case e.Code == -1121, // invalid symbol
		e.Code == -1100 && strings.Contains(e.Msg, "'symbol'"): // illegal characters
		return service.ErrUnknownSymbol
	case e.Code == -1120:
		return levels.ErrUnknownInterval
	case e.Code == -1003: // too many requests
		return service.ErrRateLimited
	}
	return service.ErrExchange
}

// envelope reads an error sent with HTTP 200. Such a response is contradictory, so it
// is worth another attempt, except for a rate limit.
func envelope(body []byte) error {
	var e apiError
	if err := json.Unmarshal(body, &e); err != nil || e.Code == 0 {
		return fmt.Errorf("neither data nor an error: %.60q", body)
	}
	return e.asError()
}

// asError returns the error of a call for an error sent with HTTP 200.
func (e *apiError) asError() error {
	switch e.Code {
	case 0:
		return errors.New("neither data nor an error")
	case -1003:
		return &exchange.Pause{Err: service.ErrRateLimited}
	}
	return e
}

var (
	errHTML     = errors.New("HTML instead of JSON: a proxy between here and Binance answered")
	errFirewall = errors.New("HTTP 403: Binance's firewall (CloudFront) blocks this address or request for now")
	errRegion   = errors.New("HTTP 451: Binance does not serve this region; use another EXCHANGE_BASE_URL or another region")
)

func notJSON(body []byte) error {
	body = bytes.TrimSpace(body)
	if len(body) > 0 && body[0] == '<' {
		return errHTML
	}
	return fmt.Errorf("not JSON: %.60q", body)
}

// refuse returns the error for a response other than 200.
func (c *Client) refuse(status int, h http.Header, body []byte) error {
	var e apiError
	if json.Unmarshal(body, &e) != nil {
		e = apiError{}
	}
	switch {
	case status == http.StatusTeapot:
		return &exchange.Pause{Err: service.ErrBanned, For: c.banLeft(h, e.Msg)}
	case status == http.StatusTooManyRequests, e.Code == -1003:
		return &exchange.Pause{Err: service.ErrRateLimited}
	case status == http.StatusUnavailableForLegalReasons:
		return &exchange.Final{Err: fmt.Errorf("%w: %w", service.ErrExchange, errRegion)}
	case status == http.StatusForbidden && e.Code == 0:
		return &exchange.Pause{Err: errFirewall}
	case status >= 400 && status < 500 && e.Code != 0:
		return &exchange.Final{Err: &e}
	case status >= 300 && status < 400:
		return &exchange.Final{Err: fmt.Errorf("%w: HTTP %d redirects to %.100q; the API never redirects, so the base URL is wrong", service.ErrExchange, status, h.Get("Location"))}
	case e.Code != 0:
		return fmt.Errorf("HTTP %d: Binance error %d: %.200q", status, e.Code, e.Msg)
	case len(body) == 0 || json.Valid(body):
		return fmt.Errorf("HTTP %d without a reason", status)
	}
	return fmt.Errorf("HTTP %d: %w", status, notJSON(body))
}

// banLeft reads "IP banned until 1660090423228" (Unix ms of the venue's clock)
// from the text of a ban; 0 without it. The current time is the venue's clock or the
// Date header, because this machine's may be wrong.
func (c *Client) banLeft(h http.Header, msg string) time.Duration {
	_, rest, ok := strings.Cut(msg, "banned until ")
	if !ok {
		return 0
	}
	digits := rest
	if i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits = rest[:i]
	}
	until, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0
	}
	now, ok := c.clock.Now()
	if !ok {
		if date := exchange.Date(h); !date.IsZero() {
			now = date.UnixMilli()
		} else {
			now = time.Now().UnixMilli()
		}
	}
	// The end may be in the past, but the status still means a ban.
	return max(0, min(time.Duration(until-now), time.Duration(1<<40))) * time.Millisecond
}

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

// Unwrap returns the error of ours that the code stands for.
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

// envelope reads an error that came with HTTP 200: an answer that contradicts
// itself, so it may heal, except for a rate limit, which is taken at its word.
func envelope(body []byte) error {
	var e apiError
	if err := json.Unmarshal(body, &e); err != nil || e.Code == 0 {
		return fmt.Errorf("neither data nor an error: %.60q", body)
	}
	return e.asError()
}

// asError is what an error that came with HTTP 200 means for the call.
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
	errHTML     = errors.New("HTML instead of JSON: something between here and Binance answers in its place")
	errFirewall = errors.New("HTTP 403: Binance's firewall (CloudFront) blocks this address or request for now")
	errPlace    = errors.New("HTTP 451: Binance does not serve the place this address belongs to; use another EXCHANGE_BASE_URL or run elsewhere")
)

func notJSON(body []byte) error {
	if body = bytes.TrimSpace(body); len(body) > 0 && body[0] == '<' {
		return errHTML
	}
	return fmt.Errorf("not JSON: %.60q", body)
}

// refuse judges every answer that is not 200.
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
		return &exchange.Final{Err: fmt.Errorf("%w: %w", service.ErrExchange, errPlace)}
	case status == http.StatusForbidden && e.Code == 0:
		return &exchange.Pause{Err: errFirewall}
	case status >= 400 && status < 500 && e.Code != 0:
		return &exchange.Final{Err: &e}
	case status >= 300 && status < 400:
		return &exchange.Final{Err: fmt.Errorf("%w: HTTP %d sends elsewhere (%.100q); the API does not, so the base URL is wrong", service.ErrExchange, status, h.Get("Location"))}
	case e.Code != 0:
		return fmt.Errorf("HTTP %d: Binance error %d: %.200q", status, e.Code, e.Msg)
	case len(body) == 0 || json.Valid(body):
		return fmt.Errorf("HTTP %d without a reason", status)
	}
	return fmt.Errorf("HTTP %d: %w", status, notJSON(body))
}

// banLeft reads "IP banned until 1660090423228" (Unix ms of the venue's clock)
// from the text of a ban; 0 if it is not there. The venue's own time is taken
// from its clock or the Date header: this machine's may be wrong.
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
	// An end that has passed bans nobody, but the status says there is a ban.
	return max(0, min(time.Duration(until-now), time.Duration(1<<40))) * time.Millisecond
}

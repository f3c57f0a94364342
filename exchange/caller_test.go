package exchange

// A body is decompressed and never longer than its limit, a request is repeated whole, and
// a refusal means the same wherever it is. The tests of the Binance client pin the rest.

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"tidemark/levels"
	"tidemark/service"
)

func TestRead_NoBodyIsLongerThanItMayBe(t *testing.T) {
	packed := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		io.WriteString(z, text)
		z.Close()
		return b.String()
	}
	text := strings.Repeat("x", 1000)
	for _, tt := range []struct {
		name, encoding, body string
		limit                int64
		ok                   bool
	}{
		{"just as long", "", text, 1000, true},
		{"a byte too long", "", text, 999, false},
		{"empty", "", "", 0, true},
		{"inflated as long", "gzip", packed(text), 1000, true},
		{"inflated a byte too long", "gzip", packed(text), 999, false},
		{"a bomb", "gzip", packed(strings.Repeat("x", 10<<20)), 1000, false},
		{"half a gzip", "gzip", packed(text)[:20], 1000, false},
		{"no gzip", "gzip", text, 1000, false},
		{"another encoding", "zstd", text, 1000, false},
	} {
		resp := &http.Response{Header: http.Header{"Content-Encoding": {tt.encoding}}, Body: io.NopCloser(strings.NewReader(tt.body))}
		var got []byte
		err := readBody(resp, tt.limit, func(body io.Reader, _ http.Header) (err error) {
			got, err = io.ReadAll(body)
			return err
		})
		if (err == nil) != tt.ok || int64(len(got)) > tt.limit {
			t.Errorf("%s: %d bytes, %v", tt.name, len(got), err)
		}
	}
}

// posting is a fake whose candles are requested with a body.
type posting struct {
	*fake
	refusal func() error // of every body
}

func (p posting) Klines(symbol string, n Native, w Window) Call {
	call := p.fake.Klines(symbol, n, w)
	call.Body = `{"req":{"coin":"` + symbol + `"}}`
	return call
}

func (p posting) DecodeKlines(s *Scanner, n Native, yield func(levels.Candle) error) error {
	if p.refusal != nil {
		s.Skip()
		return p.refusal()
	}
	return p.fake.DecodeKlines(s, n, yield)
}

func (p posting) Refuse(int, http.Header, []byte) error {
	if p.refusal == nil {
		return nil
	}
	return p.refusal()
}

func TestCaller_PostsTheWholeBodyInEveryAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(Bounded, 100, "1h")
		n := 0
		f.respond = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/klines" {
				return false
			}
			body, err := io.ReadAll(r.Body)
			if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.ContentLength != int64(len(body)) || string(body) != `{"req":{"coin":"A"}}` || err != nil {
				t.Errorf("%s %s: %s, %v", r.Method, r.Header, body, err)
			}
			if n++; n < 3 {
				w.WriteHeader(500)
				return true
			}
			return false
		}
		c := New(posting{fake: f}, Config{Transport: served{f}})
		defer c.Close()
		if got, err := fetch(t, c, "1h", fakeNow.UnixMilli()-50*3_600_000); err != nil || len(got) != 49 || n != 3 {
			t.Errorf("%d candles after %d requests, %v", len(got), n, err)
		}
	})
}

// Whether a refusal is final, pauses the client or is retried depends on its meaning, not only
// on the HTTP status.
func TestCaller_WhatARefusalMeans(t *testing.T) {
	for _, tt := range []struct {
		refusal  error
		status   int
		requests int
		want     error
	}{
		{&Refusal{Code: "1", Err: service.ErrUnknownSymbol}, 200, 1, service.ErrUnknownSymbol},
		{&Refusal{Code: "1", Err: service.ErrUnknownSymbol}, 400, 1, service.ErrUnknownSymbol},
		{&Refusal{Code: "1", Err: service.ErrUnknownSymbol}, 500, 1, service.ErrUnknownSymbol},
		{&Refusal{Code: "1", Err: levels.ErrUnknownInterval}, 200, 1, levels.ErrUnknownInterval},
		{&Refusal{Code: "1", Err: service.ErrExchange}, 200, 3, service.ErrExchange},
		{&Refusal{Code: "1", Err: service.ErrExchange}, 500, 3, service.ErrExchange},
		{&Refusal{Code: "1", Err: service.ErrExchange}, 400, 1, service.ErrExchange},
		{&Refusal{Code: "1", Err: service.ErrRateLimited}, 200, maxPauses, service.ErrRateLimited},
		{&Refusal{Code: "1", Err: service.ErrRateLimited}, 400, maxPauses, service.ErrRateLimited},
		{&Refusal{Code: "1", Err: service.ErrRateLimited}, 429, maxPauses, service.ErrRateLimited},
		{&Pause{Err: service.ErrBanned}, 200, 1, service.ErrBanned},
		{&Final{service.ErrExchange}, 200, 1, service.ErrExchange},
		{nil, 418, 1, service.ErrBanned},
		{nil, 429, maxPauses, service.ErrRateLimited},
		{nil, 451, 1, service.ErrExchange},
		{nil, 404, 3, service.ErrExchange},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(Bounded, 100, "1h")
			f.respond = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/klines" {
					return false
				}
				w.Header().Set("Retry-After", "1")
				if tt.status < 400 || tt.status == 404 || tt.status == 500 {
					w.Header().Del("Retry-After")
				}
				if errors.Is(tt.refusal, service.ErrRateLimited) {
					w.Header().Set("Retry-After", "1")
				}
				w.WriteHeader(tt.status)
				io.WriteString(w, "[]")
				return true
			}
			v := posting{fake: f}
			if tt.refusal != nil {
				v.refusal = func() error { return tt.refusal }
			}
			c := New(v, Config{Transport: served{f}, Attempts: 3})
			defer c.Close()
			_, err := fetch(t, c, "1h", fakeNow.UnixMilli()-50*3_600_000)
			if n := len(f.requested()); n != tt.requests || !errors.Is(err, tt.want) {
				t.Errorf("%v with %d: %v after %d requests, want %d", tt.refusal, tt.status, err, n, tt.requests)
			}
		})
	}
}

func TestCaller_SaysHowOftenARequestFailed(t *testing.T) {
	for attempts, want := range map[int]string{1: "time failed: ", 2: "time failed 2 times: "} {
		synctest.Test(t, func(t *testing.T) {
			c := newFake(Bounded, 10, "1h").client(Config{Attempts: attempts})
			c.caller.transport = broken{}
			if _, err := c.Now(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%d attempts: %v", attempts, err)
			}
			c.Close()
		})
	}
}

type broken struct{}

func (broken) RoundTrip(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }

package deribit

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

func scan(body string) *exchange.Scanner { return exchange.NewScanner(strings.NewReader(body), nil) }

func decode(v exchange.Venue, body string) (all []levels.Candle, err error) {
	err = v.DecodeKlines(scan(body), exchange.Native{}, func(k levels.Candle) error {
		all = append(all, k)
		return nil
	})
	return all, err
}

// replies are bodies of HTTP 200 by the request: the path, and the query if there are
// several.
type replies map[string]string

func (r replies) RoundTrip(req *http.Request) (*http.Response, error) {
	body, ok := r[req.URL.Path+"?"+req.URL.RawQuery]
	if !ok {
		body = r[req.URL.Path]
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// list returns the pairs that a client reads from replies.
func list(t *testing.T, v exchange.Venue, r replies) (all []service.Symbol, err error) {
	t.Helper()
	c := exchange.New(v, exchange.Config{Transport: r, Attempts: 1})
	defer c.Close()
	for s, err := range c.Symbols(t.Context()) {
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

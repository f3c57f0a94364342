package mexc

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

// recordings reads the bodies recorded from the venue, by name: they are in a folder
// outside the repository, which is optional.
func recordings(t *testing.T) map[string]string {
	t.Helper()
	dir := os.Getenv("TIDEMARK_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared")
	}
	files, _ := filepath.Glob(filepath.Join(dir, "exchanges", "fixtures", "mexc", "*.json"))
	if len(files) == 0 {
		t.Log("recorded responses are not here")
	}
	all := map[string]string{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var r struct {
			Response struct{ Body json.RawMessage }
		}
		if err := json.Unmarshal(b, &r); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".json")] = string(r.Response.Body)
	}
	return all
}

func scan(body string) *exchange.Scanner { return exchange.NewScanner(strings.NewReader(body), nil) }

func decode(v exchange.Venue, body string) (all []levels.Candle, err error) {
	err = v.DecodeKlines(scan(body), exchange.Native{}, func(k levels.Candle) error {
		all = append(all, k)
		return nil
	})
	return all, err
}

// replies are bodies of HTTP 200 by path.
type replies map[string]string

func (r replies) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(r[req.URL.Path]))}, nil
}

// list returns the pairs that a client reads from bodies.
func list(t *testing.T, v exchange.Venue, pairs, tickers string) (all []service.Symbol, err error) {
	t.Helper()
	r := replies{"/" + v.Listing(0, "").Path: pairs, "/" + v.Listing(1, "").Path: tickers}
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

func benchmark(b *testing.B, v exchange.Venue, body string, rows int) {
	buf := make([]byte, 32<<10)
	r := strings.NewReader(body)
	n := 0
	count := func(levels.Candle) error { n++; return nil }
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(body)
		n = 0
		if err := v.DecodeKlines(exchange.NewScanner(r, buf), exchange.Native{}, count); err != nil || n != rows {
			b.Fatal(n, err)
		}
	}
}

func allocations(t *testing.T, v exchange.Venue, body string) {
	t.Helper()
	r, buf := strings.NewReader(body), make([]byte, 32<<10)
	if n := testing.AllocsPerRun(20, func() {
		r.Reset(body)
		if err := v.DecodeKlines(exchange.NewScanner(r, buf), exchange.Native{}, func(levels.Candle) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("%v allocations", n)
	}
}

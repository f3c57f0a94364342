package coinbase

import (
	"bytes"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark/exchange"
	"tidemark/exchange/exchangetest"
	"tidemark/exchange/simulated"
	"tidemark/levels"
)

var noon = time.Date(2026, 11, 20, 12, 0, 17, 0, time.UTC)

// connect returns a new client that reads from h.
func connect(t *testing.T, h http.Handler) *exchange.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := exchange.New(Exchange, exchange.Config{BaseURL: base, Group: exchangetest.Unlimited(Exchange)})
	t.Cleanup(c.Close)
	return c
}

func same(a, b levels.Candle) bool {
	return a.OpenTime == b.OpenTime && a.Open == b.Open && a.High == b.High && a.Low == b.Low && a.Close == b.Close &&
		math.Abs(a.Volume-b.Volume) <= 1e-9*b.Volume
}

// content is the content network in front of the venue: for 300 seconds it returns the
// first response to an address again.
type content struct {
	venue http.Handler
	now   func() time.Time

	mu   sync.Mutex
	kept map[string]*httptest.ResponseRecorder
	made map[string]time.Time
	hits int
}

func (c *content) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key, now := r.URL.String(), c.now()
	w2, age := c.kept[key], now.Sub(c.made[key])
	if w2 == nil || age >= 300*time.Second || !strings.HasSuffix(r.URL.Path, "/candles") {
		w2, age = httptest.NewRecorder(), 0
		c.venue.ServeHTTP(w2, r)
		c.kept[key], c.made[key] = w2, now
	} else {
		c.hits++
		w.Header().Set("Age", "1")
	}
	w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
	w.WriteHeader(w2.Code)
	w.Write(w2.Body.Bytes())
}

// late is a venue whose newest closed row appears 20 seconds after its close.
type late struct {
	venue http.Handler
	now   func() time.Time
}

func (l *late) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	recorded := httptest.NewRecorder()
	l.venue.ServeHTTP(recorded, r)
	body := recorded.Body.Bytes()
	newest := l.now().Truncate(time.Hour)
	if strings.HasSuffix(r.URL.Path, "/candles") && l.now().Sub(newest) < 20*time.Second {
		for range 2 { // the forming row and the closed one
			if i := bytes.Index(body, []byte("],[")); i > 0 {
				body = append([]byte("["), body[i+2:]...)
			}
		}
	}
	w.WriteHeader(recorded.Code)
	w.Write(body)
}

// A response from the cache that lacks the newest candles is not taken for hours without
// trades: a few seconds later the client asks at another address.
func TestClient_DoesNotBelieveAnOldResponse(t *testing.T) {
	var mu sync.Mutex
	now := noon
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	made := simulated.Options{Venue: "coinbase", Pairs: 30, Seed: 5, Now: clock, LimitTimes: 1000}
	venue := simulated.New(made)
	cache := &content{venue: &late{venue, clock}, now: clock, kept: map[string]*httptest.ResponseRecorder{}, made: map[string]time.Time{}}
	truth := simulated.New(made)
	from := noon.Add(-200 * time.Hour).Truncate(4 * time.Hour).UnixMilli()
	for _, interval := range []levels.Interval{"1h", "4h"} { // its own, and merged
		for _, later := range []time.Duration{0, 30 * time.Second, 50 * time.Second, 2 * time.Minute} {
			mu.Lock()
			now = noon.Add(later)
			mu.Unlock()
			// new clients, whose clocks follow the venue's
			got := exchangetest.Read(t, connect(t, cache), "BTC-USD", interval, from)
			want := exchangetest.Read(t, connect(t, truth), "BTC-USD", interval, from)
			if whole := slices.EqualFunc(got, want, same); whole != (later > 0) {
				t.Errorf("%s, %v after the close: %d candles, %d expected: %v", interval, later, len(got), len(want), whole)
			}
		}
	}
	// The past comes from the cache.
	past := noon.Add(-5000 * time.Hour).Truncate(time.Hour).UnixMilli()
	client := connect(t, cache)
	exchangetest.Read(t, client, "BTC-USD", "1h", past)
	hits := cache.hits
	exchangetest.Read(t, client, "BTC-USD", "1h", past)
	if cache.hits-hits < 15 {
		t.Errorf("%d responses of the cache", cache.hits-hits)
	}
}

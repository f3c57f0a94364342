package coinbase

// The client over a real socket, against the simulated exchange that speaks as Coinbase
// does: its candles, pairs and volumes are those of the same market that speaks as Binance
// does, which has every interval itself.

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
	"tidemark/exchange/binance"
	"tidemark/exchange/exchangetest"
	"tidemark/exchange/simulated"
	"tidemark/levels"
	"tidemark/service"
)

var noon = time.Date(2026, 11, 20, 12, 0, 17, 0, time.UTC)

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

// venueOf returns the simulated exchange of 30 pairs.
func venueOf(t *testing.T, dialect, faults string, now func() time.Time) *simulated.Server {
	t.Helper()
	f, err := simulated.ParseFaults(faults)
	if err != nil {
		t.Fatal(err)
	}
	return simulated.New(simulated.Options{Venue: dialect, Pairs: 30, Seed: 5, Now: now, LimitTimes: 1000, Faults: f, Hang: time.Second})
}

// connect returns a client of v that reads from h.
func connect(t *testing.T, v exchange.Venue, h http.Handler, group *exchange.Group) *exchange.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := exchange.New(v, exchange.Config{BaseURL: base, Attempts: 8, Timeout: 2 * time.Second, Group: group})
	t.Cleanup(c.Close)
	return c
}

// read returns candles with trades: the venue has no others.
func read(t *testing.T, c *exchange.Client, id string, interval levels.Interval, from int64) []levels.Candle {
	t.Helper()
	var dst levels.Candles
	dst.Reset(interval, 0)
	if err := c.Candles(t.Context(), id, from, &dst, make([]byte, 32<<10)); err != nil {
		t.Fatalf("%s %s: %v", id, interval, err)
	}
	all := make([]levels.Candle, 0, dst.Len())
	for i := range dst.Len() {
		if k := dst.At(i); k.Volume > 0 {
			all = append(all, k)
		}
	}
	return all
}

func same(a, b levels.Candle) bool {
	return a.OpenTime == b.OpenTime && a.Open == b.Open && a.High == b.High && a.Low == b.Low && a.Close == b.Close &&
		math.Abs(a.Volume-b.Volume) <= 1e-9*b.Volume
}

func TestClient_ReadsTheCandlesOfTheMarket(t *testing.T) {
	truth := connect(t, binance.Spot, venueOf(t, "binance", "", at(noon)), nil)
	venue := venueOf(t, "coinbase", "", at(noon))
	c := connect(t, Exchange, venue, exchangetest.Unlimited(Exchange))
	for _, p := range venue.Pairs()[:2] {
		theirs := p.Base + "USDT"
		for _, interval := range levels.Intervals() {
			// several pages, and not from the start of a candle
			from := noon.Add(-min(777*interval.Duration(), 700*24*time.Hour) - time.Second).UnixMilli()
			got, want := read(t, c, p.Symbol, interval, from), read(t, truth, theirs, interval, from)
			if len(want) < 50 || !slices.EqualFunc(got, want, same) {
				t.Errorf("%s %s: %d candles, want %d", p.Symbol, interval, len(got), len(want))
			}
			forming, err := c.Forming(t.Context(), p.Symbol, interval)
			wanted, _ := truth.Forming(t.Context(), theirs, interval)
			if err != nil || forming == nil || wanted == nil || !same(forming.Candle, wanted.Candle) {
				t.Errorf("%s %s: forming %+v, %v, want %+v", p.Symbol, interval, forming, err, wanted)
			}
		}
	}
	if s := venue.Stats(); s.Refused != 0 || s.Requests["other"] != 0 {
		t.Errorf("%+v", s)
	}
}

func TestClient_ReadsThePairsOfTheMarket(t *testing.T) {
	volume := map[string]float64{}
	for s, err := range connect(t, binance.Spot, venueOf(t, "binance", "", at(noon)), nil).Symbols(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		volume[s.Base+"/"+strings.Replace(s.Quote, "USDT", "USD", 1)] = s.QuoteVolume
	}
	venue := venueOf(t, "coinbase", "", at(noon))
	got := map[string]service.Symbol{}
	for s, err := range connect(t, Exchange, venue, exchangetest.Unlimited(Exchange)).Symbols(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got[s.Name] = s
	}
	for _, p := range venue.Pairs() {
		s := got[p.Symbol]
		want := service.Symbol{
			Name: p.Symbol, Base: p.Base, Quote: p.Quote, Trading: p.Kind != simulated.Halted, Status: "online",
			Tick: service.Tick{Units: 1, Decimals: p.TickDecimals}, QuoteVolume: s.QuoteVolume,
		}
		if !want.Trading {
			want.Status = "delisted"
		}
		// The last price is not the mean.
		if v := volume[s.Canonical()]; s != want || math.Abs(s.QuoteVolume-v) > 0.1*v {
			t.Errorf("%+v, want %+v and a volume of %v", s, want, v)
		}
	}
	if len(got) != len(venue.Pairs()) || len(got) < 50 {
		t.Errorf("%d pairs, want %d", len(got), len(venue.Pairs()))
	}
}

func TestClient_FaultsChangeNothing(t *testing.T) {
	clean := connect(t, Exchange, venueOf(t, "coinbase", "", at(noon)), exchangetest.Unlimited(Exchange))
	venue := venueOf(t, "coinbase", "500=0.05,truncated=0.05,envelope=0.05,unordered=0.05,nan=0.05", at(noon))
	faulty := connect(t, Exchange, venue, exchangetest.Unlimited(Exchange))
	from := noon.Add(-2_000 * time.Hour).UnixMilli()
	for _, id := range []string{"BTC-USD", "ETH-USD"} {
		want := read(t, clean, id, "1h", from)
		if got := read(t, faulty, id, "1h", from); len(want) < 1_900 || !slices.Equal(got, want) {
			t.Errorf("%s: %d candles, want %d", id, len(got), len(want))
		}
	}
	if s := venue.Stats(); len(s.Faults) == 0 {
		t.Error("no faults")
	}
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
	venue := venueOf(t, "coinbase", "", clock)
	cache := &content{venue: &late{venue, clock}, now: clock, kept: map[string]*httptest.ResponseRecorder{}, made: map[string]time.Time{}}
	truth := venueOf(t, "coinbase", "", clock)
	from := noon.Add(-200 * time.Hour).Truncate(4 * time.Hour).UnixMilli()
	for _, interval := range []levels.Interval{"1h", "4h"} { // its own, and merged
		for _, later := range []time.Duration{0, 30 * time.Second, 50 * time.Second, 2 * time.Minute} {
			mu.Lock()
			now = noon.Add(later)
			mu.Unlock()
			// new clients, whose clocks follow the venue's
			got := read(t, connect(t, Exchange, cache, exchangetest.Unlimited(Exchange)), "BTC-USD", interval, from)
			want := read(t, connect(t, Exchange, truth, exchangetest.Unlimited(Exchange)), "BTC-USD", interval, from)
			if whole := slices.EqualFunc(got, want, same); whole != (later > 0) {
				t.Errorf("%s, %v after the close: %d candles, %d expected: %v", interval, later, len(got), len(want), whole)
			}
		}
	}
	// The past comes from the cache.
	past := noon.Add(-5000 * time.Hour).Truncate(time.Hour).UnixMilli()
	client := connect(t, Exchange, cache, exchangetest.Unlimited(Exchange))
	read(t, client, "BTC-USD", "1h", past)
	hits := cache.hits
	read(t, client, "BTC-USD", "1h", past)
	if cache.hits-hits < 15 {
		t.Errorf("%d responses of the cache", cache.hits-hits)
	}
}

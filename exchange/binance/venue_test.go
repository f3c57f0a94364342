package binance

// The fake venue of the tests of this package.

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tidemark/exchange"
	"tidemark/levels"
)

type (
	Config = exchange.Config
	Client = exchange.Client
)

// New returns a client of Spot.
func New(cfg Config) *Client { return exchange.New(Spot, cfg) }

// window is a range of open times, Unix ms, both inclusive.
type window struct{ from, through int64 }

// decodeKlines appends the klines of a body that lie in w.
func decodeKlines(r io.Reader, buf []byte, dst *levels.Candles, w window) error {
	return Spot.DecodeKlines(exchange.NewScanner(r, buf), exchange.Native{}, func(k levels.Candle) error {
		if k.OpenTime < w.from || k.OpenTime > w.through {
			return nil
		}
		return dst.Append(k)
	})
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// venue answers as Binance does: 24 klines a day, both ends of a range
// inclusive, weight counted by the minute of its own clock. fault may answer
// in its place.
type venue struct {
	now    func() time.Time
	listed time.Time             // open time of the first kline of every pair
	absent func(open int64) bool // klines there are none of; nil: none
	fault  func(n int, w http.ResponseWriter, r *http.Request) bool
	delay  time.Duration
	others int           // weight other processes have used in every minute
	list   func() string // the pairs; nil: listedPairs

	mu     sync.Mutex
	seen   []seen
	minute int64
	used   int
}

// seen is one request as the venue saw it.
type seen struct {
	endpoint string
	query    string
	at       time.Time // by the test's clock
	venue    time.Time // by the venue's
	weight   int
}

var venueStart = time.Date(2026, 11, 20, 10, 30, 7, 0, time.UTC)

const listedPairs = `[
 {"symbol":"ETHBTC","status":"TRADING","baseAsset":"ETH","quoteAsset":"BTC","isSpotTradingAllowed":true,"permissions":[],"filters":[{"filterType":"LOT_SIZE","stepSize":"0.1"},{"filterType":"PRICE_FILTER","minPrice":"0.00001000","tickSize":"0.00001000"}]},
 {"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT","isSpotTradingAllowed":true,"filters":[{"tickSize":"0.01000000","filterType":"PRICE_FILTER"}]},
 {"symbol":"OLDUSDT","status":"BREAK","baseAsset":"OLD","quoteAsset":"USDT","isSpotTradingAllowed":true,"filters":[]},
 {"symbol":"PERPUSDT","status":"TRADING","baseAsset":"PERP","quoteAsset":"USDT","isSpotTradingAllowed":false,"filters":[]},
 {"symbol":"\u5e01\u5b89USDT","status":"TRADING","baseAsset":"币安","quoteAsset":"USDT","isSpotTradingAllowed":true,"filters":[]}]`

func exchangeInfo(serverTime int64, symbols string) string {
	return fmt.Sprintf(`{"timezone":"UTC","serverTime":%d,"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":6000},`+
		`{"rateLimitType":"RAW_REQUESTS","interval":"MINUTE","intervalNum":5,"limit":61000}],"exchangeFilters":[],"symbols":%s}`, serverTime, symbols)
}

func (v *venue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	endpoint := strings.TrimPrefix(r.URL.Path, "/api/v3/")
	weight := map[string]int{"klines": 2, "exchangeInfo": 20, "ticker/24hr": 80, "time": 1}[endpoint]
	v.mu.Lock()
	now := v.now()
	if m := now.Unix() / 60; m != v.minute {
		v.minute, v.used = m, v.others
	}
	v.used += weight
	n := len(v.seen)
	v.seen = append(v.seen, seen{endpoint, r.URL.RawQuery, time.Now(), now, weight})
	used := v.used
	v.mu.Unlock()
	w.Header()["Date"] = []string{now.UTC().Format(http.TimeFormat)}
	w.Header().Set("X-MBX-USED-WEIGHT-1M", strconv.Itoa(used))
	if v.fault != nil && v.fault(n, w, r) {
		return
	}
	time.Sleep(v.delay)
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	switch endpoint {
	case "time":
		fmt.Fprintf(w, `{"serverTime":%d}`, now.UnixMilli())
	case "exchangeInfo":
		pairs := listedPairs
		if v.list != nil {
			pairs = v.list()
		}
		io.WriteString(w, exchangeInfo(now.UnixMilli(), pairs))
	case "ticker/24hr":
		io.WriteString(w, `[{"symbol":"BTCUSDT","volume":"1","quoteVolume":"2354076638.59660790","count":7},{"symbol":"币安USDT","quoteVolume":"12.5"},{"symbol":"GONE","quoteVolume":"9"}]`)
	case "klines":
		io.WriteString(w, v.klines(r))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (v *venue) klines(r *http.Request) string {
	q := r.URL.Query()
	num := func(name string) int64 { n, _ := strconv.ParseInt(q.Get(name), 10, 64); return n }
	step := map[string]int64{"1h": hour, "1m": hour / 60}[q.Get("interval")]
	var rows []string
	open := max((num("startTime")+step-1)/step*step, v.listed.UnixMilli())
	if !q.Has("startTime") { // the newest there are
		for at := v.now().UnixMilli() / step * step; at >= open && int64(len(rows)) < num("limit"); at -= step {
			if v.absent == nil || !v.absent(at) {
				rows = append([]string{plainRow(at)}, rows...)
			}
		}
		return page(rows...)
	}
	for ; open <= num("endTime") && open <= v.now().UnixMilli() && int64(len(rows)) < num("limit"); open += step {
		if v.absent == nil || !v.absent(open) {
			rows = append(rows, plainRow(open))
		}
	}
	return page(rows...)
}

// requests returns what was asked of an endpoint ("" for all).
func (v *venue) requests(endpoint string) []seen {
	v.mu.Lock()
	defer v.mu.Unlock()
	var of []seen
	for _, s := range v.seen {
		if endpoint == "" || s.endpoint == endpoint {
			of = append(of, s)
		}
	}
	return of
}

// steady is a clock that starts at venueStart and runs as the test's does.
func steady() func() time.Time {
	start := time.Now()
	return func() time.Time { return venueStart.Add(time.Since(start)) }
}

// address is the base URL of a test server.
func address(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// overSocket serves v on a real socket.
func overSocket(t *testing.T, v *venue, cfg Config) *Client {
	t.Helper()
	if v.now == nil {
		v.now = steady()
	}
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	cfg.BaseURL = address(t, server.URL)
	c := New(cfg)
	t.Cleanup(c.Close)
	return c
}

// inProcess serves v without sockets, for use under fake time.
func inProcess(v *venue, cfg Config) *Client {
	if v.now == nil {
		v.now = steady()
	}
	cfg.Transport = handlerTransport{v}
	return New(cfg)
}

type handlerTransport struct{ h http.Handler }

func (t handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	rec.Body = new(bytes.Buffer)
	t.h.ServeHTTP(rec, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return rec.Result(), nil
}

func refuseWith(w http.ResponseWriter, status int, after, body string) bool {
	if after != "" {
		w.Header().Set("Retry-After", after)
	}
	w.WriteHeader(status)
	io.WriteString(w, body)
	return true
}

const hour = int64(3_600_000)

// row prints a kline of an hour as the venue does.
func row(open int64, o, h, l, c, v string) string {
	return fmt.Sprintf(`[%d,"%s","%s","%s","%s","%s",%d,"8814.24909230",154,"1291.91558990","4797.43586685","0"]`,
		open, o, h, l, c, v, open+hour-1)
}

func plainRow(open int64) string {
	return row(open, "3701.23000000", "3810.16000000", "3642.00000000", "3797.14000000", "23741.68703300")
}

func page(rows ...string) string { return "[" + strings.Join(rows, ",") + "]" }

// stalePatience is how long a call waits for a newer value if it has an older one.
const stalePatience = 3 * time.Second

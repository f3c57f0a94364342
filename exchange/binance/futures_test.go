package binance

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidemark/exchange"
	"tidemark/exchange/simulated"
	"tidemark/levels"
	"tidemark/service"
)

// futuresRecordings reads the bodies recorded from USD-M, by name: they are in a folder
// outside the repository, which is optional.
func futuresRecordings(t *testing.T) map[string]string {
	t.Helper()
	dir := os.Getenv("TIDEMARK_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared")
	}
	files, _ := filepath.Glob(filepath.Join(dir, "exchanges", "fixtures", "binance_usdm", "*.json"))
	if len(files) == 0 {
		t.Logf("recorded responses are not here")
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

func scanFutures(body string) *exchange.Scanner {
	return exchange.NewScanner(strings.NewReader(body), nil)
}

func decodeFutures(v exchange.Venue, body string) (all []levels.Candle, err error) {
	err = v.DecodeKlines(scanFutures(body), exchange.Native{}, func(k levels.Candle) error {
		all = append(all, k)
		return nil
	})
	return all, err
}

// futuresReplies are bodies of HTTP 200 by the end of the path.
type futuresReplies map[string]string

func (r futuresReplies) RoundTrip(req *http.Request) (*http.Response, error) {
	body := r[req.URL.Path[strings.Index(req.URL.Path, "/v1/")+4:]]
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func listFutures(t *testing.T, v exchange.Venue, info, tickers string) (all []service.Symbol, err error) {
	t.Helper()
	c := exchange.New(v, exchange.Config{Transport: futuresReplies{"exchangeInfo": info, "ticker/24hr": tickers}, Attempts: 1})
	defer c.Close()
	for s, err := range c.Symbols(t.Context()) {
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Every recording decodes to its values. Those of web sockets are left out, as no feed is
// read; ticker24hr_BTCUSDT is a ticker without its list.
func TestFutures_Recordings(t *testing.T) {
	left := futuresRecordings(t)
	for name, body := range left {
		switch kind, _, _ := strings.Cut(name, "_"); kind {
		case "klines":
			var rows [][]any
			if err := json.Unmarshal([]byte(body), &rows); err != nil {
				t.Fatal(err)
			}
			for _, v := range []exchange.Venue{USDM, COINM} {
				volume := 5
				if v == COINM {
					volume = 7
				}
				var want []levels.Candle
				for _, r := range rows {
					f := func(i int) float64 { n, _ := strconv.ParseFloat(r[i].(string), 64); return n }
					want = append(want, levels.Candle{OpenTime: int64(r[0].(float64)), Open: f(1), High: f(2), Low: f(3), Close: f(4), Volume: f(volume)})
				}
				if got, err := decodeFutures(v, body); err != nil || len(got) < 2 || !slices.Equal(got, want) {
					t.Errorf("%s: %v, %v, want %v", name, got, err, want)
				}
			}
		case "exchangeInfo":
			got, err := listFutures(t, USDM, body, `[]`)
			if want := futuresSymbols(t, body); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %v\n%+v, want\n%+v", name, err, got, want)
			}
		case "error":
			want := map[string]error{"error_klines_dapi_range_too_long": service.ErrExchange, "error_ticker24hr_expired_symbol": service.ErrUnknownSymbol}[name]
			if err := COINM.Refuse(http.StatusBadRequest, nil, []byte(body)); want == nil || !errors.Is(err, want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if body, ok := left["ticker24hr_all"]; ok {
		got, err := listFutures(t, USDM, left["exchangeInfo_2021"], body)
		i := slices.IndexFunc(got, func(s service.Symbol) bool { return s.Name == "BTCUSDT" })
		if err != nil || i < 0 || got[i].QuoteVolume != 10941924833.36 || got[i].Canonical() != "BTC/USDT:USDT" {
			t.Errorf("%v, %+v", err, got)
		}
	}
}

func futuresSymbols(t *testing.T, body string) (all []service.Symbol) {
	t.Helper()
	var l struct {
		Symbols []struct {
			Symbol, Status, BaseAsset, QuoteAsset, MarginAsset, ContractType string
			DeliveryDate                                                     int64
			Filters                                                          []struct{ FilterType, TickSize string }
		}
	}
	if err := json.Unmarshal([]byte(body), &l); err != nil {
		t.Fatal(err)
	}
	for _, p := range l.Symbols {
		s := service.Symbol{Name: p.Symbol, Base: p.BaseAsset, Quote: p.QuoteAsset, Settle: p.MarginAsset, Status: p.Status, Trading: p.Status == "TRADING"}
		if p.ContractType == "CURRENT_QUARTER" {
			s.Unusual, s.Expiry = service.Dated, time.UnixMilli(p.DeliveryDate).UTC().Format("060102")
		}
		for _, f := range p.Filters {
			if f.FilterType == "PRICE_FILTER" {
				s.Tick, _ = exchange.ParseTick([]byte(f.TickSize))
			}
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b service.Symbol) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func TestFutures_ListSaysWhatIsUnusual(t *testing.T) {
	pair := func(name, base, kind, more string) string {
		return `{"symbol":"` + name + `","contractType":"` + kind + `","deliveryDate":1798704000000,"status":"TRADING","baseAsset":"` + base +
			`","quoteAsset":"USDT","marginAsset":"USDT"` + more + `}`
	}
	got, err := listFutures(t, USDM, `{"symbols":[`+strings.Join([]string{
		pair("AUSDT", "A", "PERPETUAL", `,"underlyingType":"COIN"`),
		pair("BUSDT", "B", "", `,"underlyingType":"COIN"`), // not yet trading
		pair("CUSDT", "C", "TRADIFI_PERPETUAL", `,"underlyingType":"KR_EQUITY"`),
		pair("DUSDT", "D", "TRADIFI_PERPETUAL", `,"underlyingType":"COMMODITY"`),
		pair("EUSDT", "E", "PERPETUAL", `,"underlyingType":"PREMARKET"`),
		pair("FUSDT", "F", "PERPETUAL DELIVERING", ``),
		pair("GUSDT_261231", "G", "NEXT_QUARTER", ``),
		pair("HUSDT_261231", "H", "CURRENT_QUARTER DELIVERING", ``),
	}, ",")+`]}`, `[]`)
	want := []string{"A/USDT:USDT ", "B/USDT:USDT ", "C/USDT:USDT stock", "D/USDT:USDT stock", "E/USDT:USDT pre_listing", "F/USDT:USDT ",
		"G/USDT:USDT-261231 dated", "H/USDT:USDT-261231 dated"}
	var all []string
	for _, s := range got {
		all = append(all, s.Canonical()+" "+string(s.Unusual))
	}
	if err != nil || !slices.Equal(all, want) {
		t.Errorf("%v\n%q, want\n%q", err, all, want)
	}
}

func TestFutures_COINMNamesStatusAndVolumeItsOwnWay(t *testing.T) {
	info := `{"symbols":[{"symbol":"BTCUSD_PERP","pair":"BTCUSD","contractType":"PERPETUAL","deliveryDate":4133404800000,"contractStatus":"TRADING",` +
		`"contractSize":100,"marginAsset":"BTC","baseAsset":"BTC","quoteAsset":"USD","filters":[{"filterType":"PRICE_FILTER","tickSize":"0.1"}]}]}`
	ticker := `[{"symbol":"BTCUSD_PERP","pair":"BTCUSD","weightedAvgPrice":"20000.5","volume":"500","baseVolume":"2.5"}]`
	got, err := listFutures(t, COINM, info, ticker)
	want := []service.Symbol{{
		Name: "BTCUSD_PERP", Base: "BTC", Quote: "USD", Settle: "BTC", Trading: true, Status: "TRADING",
		Tick: service.Tick{Units: 1, Decimals: 1}, QuoteVolume: 50001.25,
	}}
	if err != nil || !slices.Equal(got, want) || got[0].Canonical() != "BTC/USD:BTC" {
		t.Errorf("%v, %+v", err, got)
	}
	for _, missing := range []string{"weightedAvgPrice", "baseVolume"} {
		if got, err := listFutures(t, COINM, info, strings.Replace(ticker, missing, "x", 1)); err == nil {
			t.Errorf("without %s: %+v", missing, got)
		}
	}
	if got, err := listFutures(t, USDM, info, ticker); err == nil {
		t.Errorf("without quoteVolume: %+v", got)
	}
}

// A range of COIN-M is at most 200 days long, and a page of either the cheapest per row.
func TestFutures_RequestsStayWithinRangeAndWeight(t *testing.T) {
	for _, v := range []exchange.Venue{USDM, COINM} {
		for i, n := range v.Spec().Intervals {
			w := exchange.Window{Through: int64(n.Rows)*i.Milliseconds() - 1, Rows: n.Rows}
			call := v.Klines("BTCUSD_PERP", n, w)
			if n.Rows > 499 || call.Cost[0] > 2 || v == COINM && w.Through-w.From > 200*24*time.Hour.Milliseconds() {
				t.Errorf("%s %s: %d rows, %+v", v.Spec().Name, i, n.Rows, call)
			}
		}
	}
	if got, want := COINM.Klines("BTCUSD_PERP", exchange.Native{Name: "1h"}, exchange.Window{From: 3_600_000, Through: 7_199_999, Rows: 1}),
		"symbol=BTCUSD_PERP&interval=1h&startTime=3600000&endTime=7199999&limit=1"; got.Path != "dapi/v1/klines" || got.Query != want {
		t.Errorf("%+v", got)
	}
}

func TestFutures_ClientReadsTheSimulatedMarket(t *testing.T) {
	now := venueStart
	connect := func(v exchange.Venue) *exchange.Client {
		server := httptest.NewServer(simulated.New(simulated.Options{
			Venue: v.Spec().Name, Pairs: 8, LimitTimes: 1_000, Now: func() time.Time { return now },
		}))
		t.Cleanup(server.Close)
		c := exchange.New(v, exchange.Config{BaseURL: address(t, server.URL)})
		t.Cleanup(c.Close)
		return c
	}
	candles := func(c *exchange.Client, symbol string, i levels.Interval) (all []levels.Candle) {
		t.Helper()
		var dst levels.Candles
		dst.Reset(i, 1_000)
		if err := c.Candles(t.Context(), symbol, now.Add(-900*i.Duration()).UnixMilli(), &dst, make([]byte, 32<<10)); err != nil {
			t.Fatalf("%s %s: %v", symbol, i, err)
		}
		for n := range dst.Len() {
			all = append(all, dst.At(n))
		}
		return all
	}
	spot := connect(Spot)
	for v, name := range map[exchange.Venue]string{USDM: "BTC/USDT:USDT", COINM: "BTC/USD:BTC"} {
		c := connect(v)
		n := 0
		for s, err := range c.Symbols(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; s.Trading && !(s.QuoteVolume > 1_000 && !math.IsInf(s.QuoteVolume, 0)) {
				t.Errorf("%+v", s)
			}
		}
		btc, err := c.Symbol(t.Context(), name)
		if err != nil || n < 18 {
			t.Fatalf("%s: %d pairs, %v", name, n, err)
		}
		for _, i := range levels.Intervals() {
			if got, want := candles(c, btc.Name, i), candles(spot, "BTCUSDT", i); len(got) < 400 || !slices.Equal(got, want) {
				t.Errorf("%s %s: %d candles, want %d", name, i, len(got), len(want))
			}
		}
	}
}

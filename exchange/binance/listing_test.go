package binance

// The list of pairs and the 24 h tickers are read strictly and as streams, and take
// little memory.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"tidemark/exchange"
	"tidemark/service"
)

// bodies answers with a fixed body for each endpoint.
type bodies map[string]string

func (b bodies) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, b[strings.TrimPrefix(r.URL.Path, "/api/v3/")])
}

// listed reads the list and the volumes as the client does.
func listed(t testing.TB, market exchange.Venue, info, tickers string) ([]service.Symbol, *Client, error) {
	c := exchange.New(market, Config{Attempts: 1, Transport: handlerTransport{bodies{"exchangeInfo": info, "ticker/24hr": tickers}}})
	defer c.Close()
	var all []service.Symbol
	for s, err := range c.Symbols(t.Context()) {
		if err != nil {
			return nil, nil, err
		}
		all = append(all, s)
	}
	return all, c, nil
}

func TestDecodeExchangeInfo_RefusesWhatItIsNot(t *testing.T) {
	stamp := venueStart.UnixMilli()
	pair := func(name string) string {
		return fmt.Sprintf(`{"symbol":"%s","status":"TRADING","baseAsset":"A","quoteAsset":"B","isSpotTradingAllowed":true,"filters":[]}`, name)
	}
	for _, tt := range []struct{ name, body, says string }{
		{"nothing", "", "empty"},
		{"HTML", "<html></html>", "HTML"},
		{"an error", `{"code":-1000,"msg":"unknown"}`, "-1000"},
		{"a list", `[]`, "instead of"},
		{"no pairs", exchangeInfo(stamp, "[]"), "no pairs"},
		{"no list of pairs", `{"serverTime":1700000000000}`, "neither data nor an error"},
		{"pairs that are no list", exchangeInfo(stamp, `{"a":1}`), "instead of"},
		{"a pair that is no object", exchangeInfo(stamp, `["AB"]`), "instead of"},
		{"a pair without a name", exchangeInfo(stamp, "["+strings.Replace(pair("x"), `"symbol":"x",`, "", 1)+"]"), "without symbol"},
		{"a pair without a status", exchangeInfo(stamp, "["+strings.Replace(pair("x"), `"status":"TRADING",`, "", 1)+"]"), "without symbol, status"},
		{"a name that is a number", exchangeInfo(stamp, "["+strings.Replace(pair("x"), `"x"`, "7", 1)+"]"), "instead of a string"},
		{"a name without end", exchangeInfo(stamp, "["+pair(strings.Repeat("A", 5000))+"]"), "longer than 1024 bytes"},
		{"an asset without end", exchangeInfo(stamp, "["+strings.Replace(pair("x"), `"A"`, `"`+strings.Repeat("A", 500)+`"`, 1)+"]"), "longer than 128 bytes"},
		{"a status without end", exchangeInfo(stamp, "["+strings.Replace(pair("x"), "TRADING", strings.Repeat("A", 500), 1)+"]"), "longer than 128 bytes"},
		{"a flag that is a word", exchangeInfo(stamp, "["+strings.Replace(pair("x"), `true`, `"yes"`, 1)+"]"), "true or false"},
		{"a pair twice", exchangeInfo(stamp, "["+pair("AB")+","+pair("AB")+"]"), "twice"},
		{"a tick that is none", exchangeInfo(stamp, "["+strings.Replace(pair("x"), `[]`, `[{"filterType":"PRICE_FILTER","tickSize":"-1"}]`, 1)+"]"), "price step"},
		{"a tick that is a number", exchangeInfo(stamp, "["+strings.Replace(pair("x"), `[]`, `[{"filterType":"PRICE_FILTER","tickSize":0.1}]`, 1)+"]"), "instead of a string"},
		{"a time in seconds", exchangeInfo(1700000000, "["+pair("AB")+"]"), "not Unix milliseconds"},
		{"cut off", exchangeInfo(stamp, "["+pair("AB")+"]")[:250], "ends in the middle"},
		{"more", exchangeInfo(stamp, "["+pair("AB")+"]") + "{}", "after the end"},
	} {
		if _, _, err := listed(t, Spot, tt.body, "[]"); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v; want it to say %q", tt.name, err, tt.says)
		}
	}
}

func TestDecodeExchangeInfo_LeavesOutImpossibleNames(t *testing.T) {
	got, _, err := listed(t, Spot, exchangeInfo(venueStart.UnixMilli(),
		`[{"symbol":"A B","status":"TRADING","baseAsset":"A","quoteAsset":"B"},{"symbol":"AB","status":"TRADING","baseAsset":"A","quoteAsset":"B"}]`), "[]")
	if err != nil || len(got) != 1 || got[0].Name != "AB" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestDecodeExchangeInfo_StopsAtALimitOfPairs(t *testing.T) {
	var b strings.Builder
	b.WriteByte('[')
	for i := range 20_001 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"symbol":"A%dB","status":"S","baseAsset":"A%d","quoteAsset":"B"}`, i, i)
	}
	b.WriteByte(']')
	_, _, err := listed(t, Spot, exchangeInfo(venueStart.UnixMilli(), b.String()), "[]")
	if err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%v", err)
	}
}

func TestDecodeExchangeInfo_UnbelievableLimitsAreNotTaken(t *testing.T) {
	for limit, want := range map[string]int{"0": 6000, "-5": 6000, "99999999999": 6000, "1200": 1200} {
		body := strings.Replace(exchangeInfo(venueStart.UnixMilli(), listedPairs), `"limit":6000`, `"limit":`+limit, 1)
		if _, c, err := listed(t, Spot, body, "[]"); err != nil || c.Status().Budgets[0].Limit != want {
			t.Errorf("%s: %v", limit, err)
		}
	}
}

// The pairs of COIN-M have another name for the status, and volumes in the base asset; a
// contract that expires, is traded before its asset or is on a stock says so.
func TestDecodeExchangeInfo_Futures(t *testing.T) {
	contract := func(name, base, quote, margin, more string) string {
		return fmt.Sprintf(`{"symbol":"%s","baseAsset":"%s","quoteAsset":"%s","marginAsset":"%s","filters":[{"filterType":"PRICE_FILTER","tickSize":"0.10"}],%s}`,
			name, base, quote, margin, more)
	}
	tick := service.Tick{Units: 1, Decimals: 1}
	for _, tt := range []struct {
		market       exchange.Venue
		list, volume string
		want         service.Symbol
		canonical    string
	}{
		{USDM, contract("BTCUSDT", "BTC", "USDT", "USDT", `"status":"TRADING","contractType":"PERPETUAL","deliveryDate":4133404800000,"underlyingType":"COIN"`),
			`{"symbol":"BTCUSDT","quoteVolume":"7.5"}`,
			service.Symbol{Name: "BTCUSDT", Base: "BTC", Quote: "USDT", Settle: "USDT", Trading: true, Status: "TRADING", Tick: tick, QuoteVolume: 7.5}, "BTC/USDT:USDT"},
		{USDM, contract("BTCUSDT_261225", "BTC", "USDT", "USDT", `"status":"TRADING","contractType":"CURRENT_QUARTER","deliveryDate":1798185600000,"underlyingType":"COIN"`),
			`{"symbol":"BTCUSDT_261225","quoteVolume":"7.5"}`,
			service.Symbol{Name: "BTCUSDT_261225", Base: "BTC", Quote: "USDT", Settle: "USDT", Expiry: "261225", Unusual: service.Dated, Trading: true, Status: "TRADING", Tick: tick, QuoteVolume: 7.5}, "BTC/USDT:USDT-261225"},
		{USDM, contract("TSLAUSDT", "TSLA", "USDT", "USDT", `"status":"TRADING","contractType":"TRADIFI_PERPETUAL","deliveryDate":4133404800000,"underlyingType":"EQUITY"`),
			`{"symbol":"TSLAUSDT","quoteVolume":"1"}`,
			service.Symbol{Name: "TSLAUSDT", Base: "TSLA", Quote: "USDT", Settle: "USDT", Unusual: service.Stock, Trading: true, Status: "TRADING", Tick: tick, QuoteVolume: 1}, "TSLA/USDT:USDT"},
		{USDM, contract("NEWUSDT", "NEW", "USDT", "USDT", `"status":"PENDING_TRADING","contractType":"PERPETUAL","deliveryDate":4133404800000,"underlyingType":"PREMARKET"`),
			`{"symbol":"NEWUSDT","quoteVolume":"0"}`,
			service.Symbol{Name: "NEWUSDT", Base: "NEW", Quote: "USDT", Settle: "USDT", Unusual: service.PreListing, Status: "PENDING_TRADING", Tick: tick}, "NEW/USDT:USDT"},
		{COINM, contract("BTCUSD_PERP", "BTC", "USD", "BTC", `"contractStatus":"TRADING","contractType":"PERPETUAL","deliveryDate":4133404800000,"underlyingType":"COIN"`),
			`{"symbol":"BTCUSD_PERP","volume":"300","baseVolume":"2.5","weightedAvgPrice":"60000"}`,
			service.Symbol{Name: "BTCUSD_PERP", Base: "BTC", Quote: "USD", Settle: "BTC", Trading: true, Status: "TRADING", Tick: tick, QuoteVolume: 150_000}, "BTC/USD:BTC"},
	} {
		info := exchangeInfo(venueStart.UnixMilli(), "["+tt.list+"]")
		v := bodies{}
		for _, prefix := range []string{"fapi/v1/", "dapi/v1/"} {
			v["/"+prefix+"exchangeInfo"], v["/"+prefix+"ticker/24hr"] = info, "["+tt.volume+"]"
		}
		c := exchange.New(tt.market, Config{Attempts: 1, Transport: handlerTransport{v}})
		for got, err := range c.Symbols(t.Context()) {
			if err != nil || got != tt.want || got.Canonical() != tt.canonical {
				t.Errorf("%s: %+v (%s), %v", tt.want.Name, got, got.Canonical(), err)
			}
		}
		c.Close()
	}
}

func TestDecodeTicker_RefusesWhatItIsNot(t *testing.T) {
	info := exchangeInfo(venueStart.UnixMilli(), listedPairs)
	for _, tt := range []struct{ name, body, says string }{
		{"nothing", "", "empty"},
		{"HTML", " <html>", "HTML"},
		{"an error", `{"code":-1000,"msg":"unknown"}`, "-1000"},
		{"one ticker", `{"symbol":"BTCUSDT","quoteVolume":"1"}`, "neither data nor an error"},
		{"no volume", `[{"symbol":"BTCUSDT"}]`, "without symbol or volume"},
		{"no symbol", `[{"quoteVolume":"1"}]`, "without symbol or volume"},
		{"a negative volume", `[{"symbol":"A","quoteVolume":"-1"}]`, "without symbol or volume"},
		{"NaN", `[{"symbol":"A","quoteVolume":"NaN"}]`, "instead of a decimal"},
		{"null", `[{"symbol":"A","quoteVolume":null}]`, "instead of a decimal"},
		{"a number for a symbol", `[{"symbol":1,"quoteVolume":"1"}]`, "instead of a string"},
		{"cut off", `[{"symbol":"A","quoteVolume":"1"},{"sym`, "ends in the middle"},
		{"cut off between", `[{"symbol":"A","quoteVolume":"1"},`, "ends in the middle"},
		{"cut off after", `[{"symbol":"A","quoteVolume":"1"}`, "ends in the middle"},
		{"more", `[] []`, "after the end"},
	} {
		if _, _, err := listed(t, Spot, info, tt.body); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v; want it to say %q", tt.name, err, tt.says)
		}
	}
}

func TestDecodeTime_RefusesWhatItIsNot(t *testing.T) {
	now := func(body string) (time.Time, error) {
		c := New(Config{Attempts: 1, Transport: handlerTransport{bodies{"time": body}}})
		defer c.Close()
		return c.Now(t.Context())
	}
	for _, body := range []string{"", "<html>", "{}", `{"serverTime":0}`, `{"serverTime":1700000000}`, `{"serverTime":1700000000000}x`,
		`{"serverTime":1700000000000`, `{"serverTime":1.7e12}`, `{"code":-1000,"msg":"unknown"}`, "[]"} {
		if at, err := now(body); err == nil {
			t.Errorf("%s is %v", body, at)
		}
	}
	if at, err := now(`{"serverTime":1700000000000}`); err != nil || at.UnixMilli() < 1700000000000 || at.UnixMilli() > 1700000060000 {
		t.Errorf("%v, %v", at, err)
	}
}

// manyPairs prints an exchangeInfo of n pairs with the filters and words of a
// real one.
func manyPairs(n int) string {
	var b strings.Builder
	b.WriteByte('[')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"symbol":"C%dUSDT","status":"TRADING","baseAsset":"C%d","baseAssetPrecision":8,"quoteAsset":"USDT","quotePrecision":8,`+
			`"quoteAssetPrecision":8,"baseCommissionPrecision":8,"quoteCommissionPrecision":8,"orderTypes":["LIMIT","LIMIT_MAKER","MARKET","STOP_LOSS","STOP_LOSS_LIMIT","TAKE_PROFIT","TAKE_PROFIT_LIMIT"],`+
			`"icebergAllowed":true,"ocoAllowed":true,"otoAllowed":true,"quoteOrderQtyMarketAllowed":true,"allowTrailingStop":true,"cancelReplaceAllowed":true,"amendAllowed":true,"isSpotTradingAllowed":true,"isMarginTradingAllowed":false,`+
			`"filters":[{"filterType":"PRICE_FILTER","minPrice":"0.00001000","maxPrice":"922327.00000000","tickSize":"0.00001000"},{"filterType":"LOT_SIZE","minQty":"0.00010000","maxQty":"100000.00000000","stepSize":"0.00010000"},`+
			`{"filterType":"ICEBERG_PARTS","limit":10},{"filterType":"MARKET_LOT_SIZE","minQty":"0.00000000","maxQty":"1378.22417541","stepSize":"0.00000000"},{"filterType":"TRAILING_DELTA","minTrailingAboveDelta":10,"maxTrailingAboveDelta":2000,"minTrailingBelowDelta":10,"maxTrailingBelowDelta":2000},`+
			`{"filterType":"NOTIONAL","minNotional":"0.00010000","applyMinToMarket":true,"maxNotional":"9000000.00000000","applyMaxToMarket":false,"avgPriceMins":5},{"filterType":"MAX_NUM_ORDERS","maxNumOrders":200},{"filterType":"MAX_NUM_ALGO_ORDERS","maxNumAlgoOrders":5}],`+
			`"permissions":[],"permissionSets":[],"defaultSelfTradePreventionMode":"EXPIRE_MAKER","allowedSelfTradePreventionModes":["EXPIRE_TAKER","EXPIRE_MAKER","EXPIRE_BOTH","DECREMENT"]}`, i, i)
	}
	b.WriteByte(']')
	return exchangeInfo(venueStart.UnixMilli(), b.String())
}

func TestDecodeExchangeInfo_KeepsLittle(t *testing.T) {
	body := manyPairs(3500)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c := New(Config{Attempts: 1, Transport: handlerTransport{bodies{"exchangeInfo": body, "ticker/24hr": "[]"}}})
	if _, err := c.Symbol(t.Context(), "C17USDT"); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	kept := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d bytes of text, %d pairs, %d bytes kept", len(body), c.Status().Pairs, kept)
	if kept > 1<<20 {
		t.Errorf("%d bytes kept", kept)
	}
	c.Close()
	runtime.KeepAlive(c)
	runtime.KeepAlive(body)
}

func BenchmarkDecodeExchangeInfo(b *testing.B) {
	body := manyPairs(3500)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Spot.DecodeListing(0, exchange.NewScanner(strings.NewReader(body), nil), new(exchange.Listing)); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzExchangeInfo(f *testing.F) {
	f.Add([]byte(exchangeInfo(venueStart.UnixMilli(), listedPairs)))
	f.Add([]byte(`{"code":-1000,"msg":"unknown"}`))
	f.Add([]byte(`{"symbols":[{"filters":[{"filterType":"PRICE_FILTER","tickSize":"0.1"}]}]}`))
	f.Add([]byte(exchangeInfo(venueStart.UnixMilli(), `[{"symbol":"A\u0042","status":"S","baseAsset":"A","quoteAsset":"B","filters":[]}]`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		read := func(r io.Reader) error {
			return Spot.DecodeListing(0, exchange.NewScanner(r, nil), new(exchange.Listing))
		}
		err := read(bytes.NewReader(body))
		if err2 := read(iotest.OneByteReader(bytes.NewReader(body))); (err == nil) != (err2 == nil) {
			t.Fatalf("%v as a whole, %v in pieces", err, err2)
		}
		if err != nil {
			return
		}
		if !json.Valid(body) {
			t.Fatal("encoding/json refuses what was accepted")
		}
		got, c, err := listed(t, Spot, string(body), "[]")
		if err != nil {
			return
		}
		for _, s := range got {
			if s.Status == "" || s.Base == "" || s.Quote == "" || s.Tick.Units < 0 || s.Tick.Decimals < 0 || s.Trading && s.Status != "TRADING" {
				t.Fatalf("%+v", s)
			}
		}
		if n := c.Status().Pairs; n != len(got) {
			t.Fatalf("%d pairs, then %d", n, len(got))
		}
	})
}

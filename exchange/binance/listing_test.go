package binance

// The list of pairs and the 24 h tickers are read strictly and as streams, and take
// little memory.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"tidemark/service"
)

func TestDecodeExchangeInfo_RefusesWhatItIsNot(t *testing.T) {
	stamp := venueStart.UnixMilli()
	pair := func(name string) string {
		return fmt.Sprintf(`{"symbol":"%s","status":"TRADING","baseAsset":"A","quoteAsset":"B","isSpotTradingAllowed":true,"filters":[]}`, name)
	}
	for _, tt := range []struct{ name, body, says string }{
		{"nothing", "", "ends in the middle"},
		{"HTML", "<html></html>", "HTML"},
		{"an error", `{"code":-1000,"msg":"unknown"}`, "-1000"},
		{"a list", `[]`, "instead of"},
		{"no pairs", exchangeInfo(stamp, "[]"), "no pairs"},
		{"no list of pairs", `{"serverTime":1700000000000}`, "no pairs"},
		{"pairs that are no list", exchangeInfo(stamp, `{"a":1}`), "instead of"},
		{"a pair that is no object", exchangeInfo(stamp, `["AB"]`), "instead of"},
		{"a pair without a name", exchangeInfo(stamp, "["+strings.Replace(pair("x"), `"symbol":"x",`, "", 1)+"]"), "without symbol"},
		{"a pair without a status", exchangeInfo(stamp, "["+strings.Replace(pair("x"), `"status":"TRADING",`, "", 1)+"]"), "without symbol, status"},
		{"a name that is a number", exchangeInfo(stamp, "["+strings.Replace(pair("x"), `"x"`, "7", 1)+"]"), "not a short string"},
		{"a name without end", exchangeInfo(stamp, "["+pair(strings.Repeat("A", 5000))+"]"), "longer than 1024 bytes"},
		{"an asset without end", exchangeInfo(stamp, "["+strings.Replace(pair("x"), `"A"`, `"`+strings.Repeat("A", 500)+`"`, 1)+"]"), "not a short string"},
		{"a status without end", exchangeInfo(stamp, "["+strings.Replace(pair("x"), "TRADING", strings.Repeat("A", 500), 1)+"]"), "not a word"},
		{"a flag that is a word", exchangeInfo(stamp, "["+strings.Replace(pair("x"), `true`, `"yes"`, 1)+"]"), "true or false"},
		{"a pair twice", exchangeInfo(stamp, "["+pair("AB")+","+pair("AB")+"]"), "twice"},
		{"a tick that is none", exchangeInfo(stamp, "["+strings.Replace(pair("x"), `[]`, `[{"filterType":"PRICE_FILTER","tickSize":"-1"}]`, 1)+"]"), "price step"},
		{"a tick that is a number", exchangeInfo(stamp, "["+strings.Replace(pair("x"), `[]`, `[{"filterType":"PRICE_FILTER","tickSize":0.1}]`, 1)+"]"), "not a string"},
		{"no time", strings.Replace(exchangeInfo(stamp, "["+pair("AB")+"]"), "serverTime", "time", 1), "serverTime 0"},
		{"a time in seconds", exchangeInfo(1700000000, "["+pair("AB")+"]"), "serverTime"},
		{"cut off", exchangeInfo(stamp, "["+pair("AB")+"]")[:200], "ends in the middle"},
		{"more", exchangeInfo(stamp, "["+pair("AB")+"]") + "{}", "data after the end"},
	} {
		var dst info
		if err := decodeExchangeInfo(strings.NewReader(tt.body), &dst); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v; want it to say %q", tt.name, err, tt.says)
		}
	}
}

func TestDecodeExchangeInfo_LeavesOutImpossibleNames(t *testing.T) {
	var dst info
	err := decodeExchangeInfo(strings.NewReader(exchangeInfo(venueStart.UnixMilli(),
		`[{"symbol":"A B","status":"TRADING","baseAsset":"A","quoteAsset":"B"},{"symbol":"AB","status":"TRADING","baseAsset":"A","quoteAsset":"B"}]`)), &dst)
	if err != nil || dst.skipped != 1 || len(dst.symbols) != 1 || dst.symbols[0].Name != "AB" || dst.symbols[0].Trading {
		t.Errorf("%+v, %v", dst, err)
	}
}

func TestDecodeExchangeInfo_StopsAtALimitOfPairs(t *testing.T) {
	var b strings.Builder
	b.WriteByte('[')
	for i := range maxSymbols + 1 {
		fmt.Fprintf(&b, `{"symbol":"A%dB","status":"S","baseAsset":"A%d","quoteAsset":"B"},`, i, i)
	}
	var dst info
	err := decodeExchangeInfo(strings.NewReader(exchangeInfo(venueStart.UnixMilli(), b.String())), &dst)
	if err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%v", err)
	}
}

func TestDecodeExchangeInfo_UnbelievableLimitsAreNotTaken(t *testing.T) {
	for limit, want := range map[string]int{"0": 0, "-5": 0, "99999999999": 0, "1200": 1200} {
		var dst info
		body := strings.Replace(exchangeInfo(venueStart.UnixMilli(), listedPairs), "6000", limit, 1)
		if err := decodeExchangeInfo(strings.NewReader(body), &dst); err != nil || dst.weightLimit != want {
			t.Errorf("%s: %d, %v", limit, dst.weightLimit, err)
		}
	}
}

func TestDecodeTicker_RefusesWhatItIsNot(t *testing.T) {
	for _, tt := range []struct{ name, body, says string }{
		{"nothing", "", "ends in the middle"},
		{"HTML", " <html>", "HTML"},
		{"an error", `{"code":-1000,"msg":"unknown"}`, "-1000"},
		{"one ticker", `{"symbol":"BTCUSDT","quoteVolume":"1"}`, "neither data nor an error"},
		{"no volume", `[{"symbol":"BTCUSDT"}]`, "without symbol or quoteVolume"},
		{"no symbol", `[{"quoteVolume":"1"}]`, "without symbol or quoteVolume"},
		{"a negative volume", `[{"symbol":"A","quoteVolume":"-1"}]`, "quoteVolume"},
		{"NaN", `[{"symbol":"A","quoteVolume":"NaN"}]`, "not a finite decimal"},
		{"a number", `[{"symbol":"A","quoteVolume":1}]`, "not a string"},
		{"null", `[{"symbol":"A","quoteVolume":null}]`, "not a string"},
		{"a number for a symbol", `[{"symbol":1,"quoteVolume":"1"}]`, ""},
		{"cut off", `[{"symbol":"A","quoteVolume":"1"},{"sym`, "ends in the middle"},
		{"cut off between", `[{"symbol":"A","quoteVolume":"1"},`, "ends in the middle"},
		{"cut off after", `[{"symbol":"A","quoteVolume":"1"}`, "ends in the middle"},
		{"more", `[] []`, "data after the end"},
	} {
		err := decodeTicker(strings.NewReader(tt.body), func([]byte, float64) {})
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v; want it to say %q", tt.name, err, tt.says)
		}
	}
}

func TestDecodeTime_RefusesWhatItIsNot(t *testing.T) {
	for _, body := range []string{"", "<html>", "{}", `{"serverTime":0}`, `{"serverTime":"1700000000000"}`, `{"serverTime":1700000000}`,
		`{"serverTime":1700000000000}x`, `{"serverTime":1700000000000`, `{"serverTime":1.7e12}`, `{"code":-1000,"msg":"unknown"}`, "[]"} {
		if at, err := decodeTime(strings.NewReader(body)); err == nil {
			t.Errorf("%s is %d", body, at)
		}
	}
	if at, err := decodeTime(strings.NewReader(`{"serverTime":1700000000000}`)); err != nil || at != 1700000000000 {
		t.Errorf("%d, %v", at, err)
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
	var dst info
	if err := decodeExchangeInfo(strings.NewReader(body), &dst); err != nil {
		t.Fatal(err)
	}
	dst.symbols = slices.Clip(dst.symbols)
	runtime.GC()
	runtime.ReadMemStats(&after)
	kept := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d bytes of text, %d pairs, %d bytes kept", len(body), len(dst.symbols), kept)
	if kept > 1<<20 {
		t.Errorf("%d bytes kept", kept)
	}
	runtime.KeepAlive(&dst)
	runtime.KeepAlive(body)
}

func BenchmarkDecodeExchangeInfo(b *testing.B) {
	body := manyPairs(3500)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var dst info
		if err := decodeExchangeInfo(strings.NewReader(body), &dst); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzExchangeInfo(f *testing.F) {
	f.Add([]byte(exchangeInfo(venueStart.UnixMilli(), listedPairs)))
	f.Add([]byte(`{"code":-1000,"msg":"unknown"}`))
	f.Add([]byte(`{"symbols":[{"filters":[{"filterType":"PRICE_FILTER","tickSize":"0.1"}]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var dst info
		err := decodeExchangeInfo(bytes.NewReader(body), &dst)
		var again info
		if err2 := decodeExchangeInfo(iotest.OneByteReader(bytes.NewReader(body)), &again); (err == nil) != (err2 == nil) {
			t.Fatalf("%v as a whole, %v in pieces", err, err2)
		}
		if err != nil {
			return
		}
		// Names with escapes are not looked for, so what the oracle finds under
		// them may be missing here; what is here, it must find.
		var whole struct {
			Symbols []struct{ Symbol, Status string }
		}
		if err := json.Unmarshal(body, &whole); err != nil {
			t.Fatalf("encoding/json refuses what was accepted: %v", err)
		}
		if !slices.Equal(dst.symbols, again.symbols) {
			t.Fatal("pieces give another list")
		}
		for _, s := range dst.symbols {
			if !validName(s.Name) || s.Status == "" || s.Tick.Units < 0 || s.Tick.Decimals < 0 || s.Trading && s.Status != "TRADING" {
				t.Fatalf("%+v", s)
			}
		}
	})
}

func TestEnvelope_IsDistinguishedFromInvalidBodies(t *testing.T) {
	if err := envelope([]byte(`{"code":-1121,"msg":"Invalid symbol."}`)); !errors.Is(err, service.ErrUnknownSymbol) {
		t.Error(err)
	}
	for _, body := range []string{`{}`, `{"code":0,"msg":"ok"}`, `{"code":"-1121"}`, `{`, ``} {
		if err := envelope([]byte(body)); err == nil || errors.Is(err, service.ErrUnknownSymbol) {
			t.Errorf("%s: %v", body, err)
		}
	}
	if err := notJSON([]byte("\n<html>")); err != errHTML {
		t.Error(err)
	}
}

package simulated

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func init() {
	start, end := testTime.Truncate(time.Hour).Unix()-19*3600, testTime.Truncate(time.Hour).Unix()
	spot := func(symbol string) string {
		return fmt.Sprintf("/api/v1/market/candles?type=1hour&symbol=%s&startAt=%d&endAt=%d", symbol, start, end+1)
	}
	unknown := `{"msg":"This pair is not provided at present","code":"400100"}`
	venueTests["kucoin"] = venueTest{
		klines: "/api/v1/market/candles?type=1hour&symbol=BTC-USDT", // 1,500: there is no limit
		limited: []limitTest{
			{spot("BTC-USDT"), 666, 30 * time.Second},
			{"/api/v2/symbols", 500, 30 * time.Second},
			{"/api/v1/market/allTickers", 133, 30 * time.Second},
		},
		recorded: map[string]string{
			"kucoin/candles_ETH-BTC_15min_ccxt": spot("BTC-USDT"),
			"kucoin/docs_Spot_GetKlines":        spot("BTC-USDT"),
			"kucoin/docs_Spot_GetSymbols":       "/api/v2/symbols",
			"kucoin/docs_Spot_GetTickers":       "/api/v1/market/allTickers",
			"kucoin/error_400100_validation":    spot("NOPE-USDT"),
		},
		refused: []refusedTest{
			{spot("NOPE-USDT"), 200, unknown},
			{spot("XEM-USDT"), 200, unknown}, // delisted
			{"/api/v1/bullet-public", 404, `{"msg":"Url Not Found","code":"404000"}`},
			{"POST /api/v2/symbols {}", 404, `{"msg":"Url Not Found","code":"404000"}`},
			{"/api/v1/market/candles?type=1h&symbol=BTC-USDT", 200, `{"msg":"Incorrect candlestick type.","code":"400100"}`},
		},
	}
	swap := func(symbol string) string {
		return fmt.Sprintf("/api/v1/kline/query?granularity=60&symbol=%s&from=%d&to=%d", symbol, start*1000, end*1000)
	}
	venueTests["kucoin-futures"] = venueTest{
		klines:  "/api/v1/kline/query?granularity=60&symbol=XBTUSDTM",
		limited: []limitTest{{swap("XBTUSDTM"), 666, 30 * time.Second}, {"/api/v1/contracts/active", 666, 30 * time.Second}},
		refused: []refusedTest{
			{swap("BTCUSDTM"), 404, `{"msg":"The contract information you requested does not exist","code":"404000"}`},
			{"/api/v1/kline/query?granularity=7&symbol=XBTUSDTM", 400, `{"msg":"Invalid granularity","code":"300000"}`},
		},
	}
}

// kucoinOpens asks for klines and returns their open times, Unix seconds.
func kucoinOpens(t *testing.T, s *Server, path string) (opens []int64) {
	t.Helper()
	var body struct{ Data [][]json.RawMessage }
	w := ask(s, path)
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 200 {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	for _, row := range body.Data {
		var open int64
		fmt.Sscan(strings.Trim(string(row[0]), `"`), &open)
		if open > 1e11 {
			open /= 1000
		}
		opens = append(opens, open)
	}
	return opens
}

func TestKucoin_PagesEndBeforeEndAtAndLeaveQuietMinutesOut(t *testing.T) {
	spot, swap := New(Options{Venue: "kucoin", Pairs: 30, Now: clock, LimitTimes: 100}), New(Options{Venue: "kucoin-futures", Pairs: 1, Now: clock})
	const hour = 3600
	forming := testTime.Truncate(time.Hour).Unix()
	from := quietStretch(spot, 1600*3600)
	q := "/api/v1/market/candles?symbol=BTC-USDT&type="
	for _, c := range []struct {
		name, path  string
		count       int
		first, last int64
	}{
		{"the newest 1500, the forming one first", q + "1hour", 1500, forming, -1},
		{"the start is inclusive, the end is not", q + fmt.Sprintf("1hour&startAt=%d&endAt=%d", from, from+4*hour), 4, from + 3*hour, from},
		{"of a longer range the newest", q + fmt.Sprintf("1hour&startAt=%d&endAt=%d", from, from+1600*hour), 1500, from + 1599*hour, from + 100*hour},
		{"weeks open on Thursdays", q + fmt.Sprintf("1week&startAt=%d", forming-7*24*hour), 1, time.Date(2026, 11, 19, 0, 0, 0, 0, time.UTC).Unix(), -1},
	} {
		got := kucoinOpens(t, spot, c.path)
		if len(got) != c.count || got[0] != c.first || c.last >= 0 && got[len(got)-1] != c.last {
			t.Errorf("%s: %d rows: %v, want %d: %d to %d", c.name, len(got), got, c.count, c.first, c.last)
		}
		slices.Reverse(got)
		if !slices.IsSorted(got) {
			t.Errorf("%s: not newest first", c.name)
		}
	}
	query := fmt.Sprintf("/api/v1/kline/query?symbol=XBTUSDTM&granularity=60&from=%d&to=%d", from*1000, (from+300*hour)*1000)
	if got := kucoinOpens(t, swap, query); len(got) != 200 || got[0] != from || got[199] != from+199*hour {
		t.Errorf("contracts: %d rows: %v", len(got), got)
	}

	for i := range spot.market.pairs {
		p := &spot.market.pairs[i]
		if !p.Thin {
			continue
		}
		day := testTime.Truncate(24 * time.Hour).Unix()
		got := kucoinOpens(t, spot, fmt.Sprintf("/api/v1/market/candles?symbol=%s&type=1min&startAt=%d&endAt=%d", p.Symbol, day-86400, day))
		if len(got) == 0 || len(got) >= 1440 {
			t.Errorf("%s: %d minutes of a day with quiet ones", p.Symbol, len(got))
		}
	}
}

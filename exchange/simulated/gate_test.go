package simulated

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func init() {
	forming := testTime.Truncate(time.Hour).Unix()
	spot := func(id string) string {
		return fmt.Sprintf("/api/v4/spot/candlesticks?interval=1h&currency_pair=%s&from=%d&to=%d", id, forming-19*3600, forming)
	}
	venueTests["gate"] = venueTest{
		klines: "/api/v4/spot/candlesticks?interval=1h&limit=20&currency_pair=BTC_USDT",
		limited: []limitTest{
			{spot("BTC_USDT"), 200, 10 * time.Second},
			{"/api/v4/spot/currency_pairs", 200, 10 * time.Second},
			{"/api/v4/spot/tickers", 200, 10 * time.Second},
		},
		recorded: map[string]string{
			"gate/ccxt_comment_fetchSpotMarkets_0#0": "/api/v4/spot/currency_pairs",
			"gate/ccxt_comment_parseTicker_0#0":      "/api/v4/spot/tickers",
			"gate/error_invalid_currency_pair":       spot("BTCUSDT"),
			"gate/error_candlestick_too_long_ago":    "/api/v4/spot/candlesticks?interval=1m&currency_pair=BTC_USDT&from=1500000000&to=1500000600",
		},
		refused: []refusedTest{
			{spot("BTCUSDT"), 400, `{"label":"INVALID_CURRENCY_PAIR","message":"Invalid currency pair BTCUSDT"}`},
			{spot("NOPE_USDT"), 400, `{"label":"INVALID_CURRENCY","message":"Invalid currency NOPE"}`},
			{spot("XEM_USDT"), 400, `{"label":"INVALID_CURRENCY","message":"currency XEM is delisted"}`},
			{spot("BTC_USDT") + "&limit=10", 400, `{"label":"INVALID_PARAM_VALUE","message":"limit conflicts with from and to"}`},
			{fmt.Sprintf("/api/v4/spot/candlesticks?interval=1h&currency_pair=BTC_USDT&from=%d&to=%d", forming-1000*3600, forming), 400,
				`{"label":"INVALID_PARAM_VALUE","message":"Candlestick range too broad. Maximum 1000 data points are allowed per request"}`},
		},
	}
	swap := func(id string) string {
		return strings.Replace(strings.Replace(spot(id), "/spot/", "/futures/usdt/", 1), "currency_pair", "contract", 1)
	}
	venueTests["gate-futures"] = venueTest{
		klines:  "/api/v4/futures/usdt/candlesticks?interval=1h&limit=20&contract=BTC_USDT",
		limited: []limitTest{{swap("BTC_USDT"), 200, 10 * time.Second}},
		recorded: map[string]string{
			"gate/futures_contracts_2023":       "/api/v4/futures/usdt/contracts",
			"gate/ccxt_comment_parseTicker_1#0": "/api/v4/futures/usdt/tickers",
		},
		refused: []refusedTest{{swap("NOPE_USDT"), 400, `{"label":"CONTRACT_NOT_FOUND"}`}},
	}
}

// gateOpens asks for klines and returns their open times, and of spot the flags.
func gateOpens(t *testing.T, s *Server, path string) (opens []int64, closed []string) {
	t.Helper()
	var rows []json.RawMessage
	w := ask(s, path)
	if err := json.Unmarshal(w.Body.Bytes(), &rows); err != nil || w.Code != 200 {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	for _, row := range rows {
		var object struct{ T int64 }
		var columns []string
		if json.Unmarshal(row, &columns) == nil {
			fmt.Sscan(columns[0], &object.T)
			closed = append(closed, columns[7])
		} else if err := json.Unmarshal(row, &object); err != nil {
			t.Fatal(err)
		}
		opens = append(opens, object.T)
	}
	return opens, closed
}

func TestGate_RangesAreInclusiveAndTenThousandPointsLong(t *testing.T) {
	spot, swap := New(Options{Venue: "gate", Pairs: 1, Now: clock}), New(Options{Venue: "gate-futures", Pairs: 1, Now: clock})
	const hour = 3600
	forming := testTime.Truncate(time.Hour).Unix()
	from := quietStretch(spot, 1600*3600)
	for _, c := range []struct {
		name        string
		s           *Server
		path        string
		count       int
		first, last int64
	}{
		{"the newest 100, the forming one last", spot, "spot/candlesticks?currency_pair=BTC_USDT&interval=1h", 100, forming - 99*hour, forming},
		{"a limit", spot, "spot/candlesticks?currency_pair=BTC_USDT&interval=1h&limit=2", 2, forming - hour, forming},
		{"both ends are inclusive", spot, fmt.Sprintf("spot/candlesticks?currency_pair=BTC_USDT&interval=1h&from=%d&to=%d", from, from+4*hour), 5, from, from + 4*hour},
		{"1000 rows", spot, fmt.Sprintf("spot/candlesticks?currency_pair=BTC_USDT&interval=1h&from=%d&to=%d", from, from+999*hour), 1000, from, from + 999*hour},
		{"2000 contracts' rows", swap, fmt.Sprintf("futures/usdt/candlesticks?contract=BTC_USDT&interval=1m&from=%d&to=%d", forming-1999*60, forming), 2000, forming - 1999*60, forming},
		{"weeks open on Thursdays", spot, "spot/candlesticks?currency_pair=BTC_USDT&interval=7d&limit=1", 1, time.Date(2026, 11, 19, 0, 0, 0, 0, time.UTC).Unix(), -1},
	} {
		got, closed := gateOpens(t, c.s, "/api/v4/"+c.path)
		if len(got) != c.count || got[0] != c.first || c.last >= 0 && got[len(got)-1] != c.last {
			t.Errorf("%s: %d rows: %v, want %d: %d to %d", c.name, len(got), got, c.count, c.first, c.last)
		}
		for i, flag := range closed {
			if (flag == "false") != (got[i] >= forming || strings.Contains(c.path, "7d")) {
				t.Errorf("%s: closed is %s at %d", c.name, flag, got[i])
			}
		}
	}
}

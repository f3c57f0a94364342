package simulated

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"
)

func init() {
	const usdm, coinm = "/fapi/v1/", "/dapi/v1/"
	venueTests["binance-usdm"] = venueTest{
		klines: usdm + "klines?interval=1h&limit=20&symbol=BTCUSDT",
		limited: []limitTest{
			{usdm + "klines?interval=1h&limit=99&symbol=BTCUSDT", 2_400, time.Minute},
			{usdm + "klines?interval=1h&limit=499&symbol=BTCUSDT", 1_200, time.Minute},
			{usdm + "klines?interval=1h&limit=1000&symbol=BTCUSDT", 480, time.Minute},
			{usdm + "klines?interval=1h&limit=1500&symbol=BTCUSDT", 240, time.Minute},
			{usdm + "ticker/24hr", 60, time.Minute},
		},
		recorded: map[string]string{
			"binance_usdm/klines_BTCUSDT_1d_2023":                  usdm + "klines?interval=1d&limit=7&symbol=BTCUSDT",
			"binance_usdm/exchangeInfo_2021@rateLimits#rateLimits": usdm + "exchangeInfo",
			"binance_usdm/error_ticker24hr_expired_symbol":         usdm + "ticker/24hr?symbol=BTCUSD_201225",
		},
		refused: []refusedTest{
			{usdm + "klines?interval=1h&symbol=NOPEUSDT", 400, `{"code":-1121,"msg":"Invalid symbol."}`},
			{usdm + "klines?interval=7h&symbol=BTCUSDT", 400, `{"code":-1120,"msg":"Invalid interval."}`},
			{"/api/v3/time", 404, "<html><body><h2>404 Not found</h2></body></html>"},
		},
	}
	const year = "&startTime=1546300800000&endTime=1577836800000"
	venueTests["binance-coinm"] = venueTest{
		klines: coinm + "klines?interval=1h&limit=20&symbol=BTCUSD_PERP",
		recorded: map[string]string{
			"binance_usdm/klines_BTCUSDT_1d_2023":           coinm + "klines?interval=1d&limit=7&symbol=BTCUSD_PERP",
			"binance_usdm/error_klines_dapi_range_too_long": coinm + "klines?interval=1d&limit=1000&symbol=BTCUSD_PERP" + year,
		},
		refused: []refusedTest{
			{coinm + "klines?interval=1h&symbol=BTCUSDT", 400, `{"code":-1121,"msg":"Invalid symbol."}`},
			{coinm + "klines?interval=1d&limit=1000&symbol=BTCUSD_PERP" + year, 400, `{"code":-4088,"msg":"Maximum time interval is 200 days."}`},
		},
	}
}

// members returns the names of an object's members, sorted.
func members(t *testing.T, b []byte) []string {
	t.Helper()
	var object map[string]json.RawMessage
	if err := json.Unmarshal(b, &object); err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(object))
}

// The recorder of these sorted the members, so only their names are compared.
func TestBinanceFutures_HaveTheRecordedMembers(t *testing.T) {
	s := New(Options{Venue: "binance-usdm", Pairs: 1, Now: clock})
	for name, c := range map[string]struct{ recorded, ours, target string }{
		"binance_usdm/ticker24hr_BTCUSDT": {"", "", "/fapi/v1/ticker/24hr?symbol=BTCUSDT"},
		"binance_usdm/ticker24hr_all":     {"0", "0", "/fapi/v1/ticker/24hr"},
		"binance_usdm/exchangeInfo_2021":  {"symbols.0", "symbols.0", "/fapi/v1/exchangeInfo"},
	} {
		old, ok := fixture(t, name)
		if !ok {
			continue
		}
		got, want := members(t, part(t, ask(s, c.target).Body.Bytes(), c.ours)), members(t, part(t, old, c.recorded))
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q\nrecorded %q", c.target, got, want)
		}
	}
}

func TestBinanceFutures_COINMCountsContractsAndTheBaseAsset(t *testing.T) {
	linear := New(Options{Venue: "binance-usdm", Pairs: 2, Now: clock})
	inverse := New(Options{Venue: "binance-coinm", Pairs: 2, Now: clock})
	var a, b [][]any
	for target, rows := range map[string]*[][]any{
		"/fapi/v1/klines?symbol=BTCUSDT&interval=1d&limit=1600":     &a,
		"/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1d&limit=1600": &b,
	} {
		s := linear
		if rows == &b {
			s = inverse
		}
		if err := json.Unmarshal(ask(s, target).Body.Bytes(), rows); err != nil || len(*rows) != 1_500 {
			t.Fatalf("%s: %d rows, %v", target, len(*rows), err)
		}
	}
	for i := range a {
		if a[i][5] != b[i][7] || a[i][1] != b[i][1] || a[i][5] == b[i][5] {
			t.Fatalf("%v and %v", a[i], b[i])
		}
	}
}

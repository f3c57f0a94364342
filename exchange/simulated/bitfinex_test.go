package simulated

import (
	"encoding/json"
	"testing"
	"time"
)

func init() {
	const candles = "/v2/candles/trade:1h:"
	venueTests["bitfinex"] = venueTest{
		klines: candles + "tBTCUSD/hist?limit=20",
		limited: []limitTest{
			{candles + "tBTCUSD/hist?limit=20", 30, time.Minute},
			{"/v2/tickers?symbols=ALL", 30, time.Minute},
			{"/v2/conf/pub:info:pair,pub:list:pair:securities", 30, time.Minute},
		},
		refused: []refusedTest{
			{candles + "tNOPE/hist", 500, `["error",10020,"symbol: invalid"]`},
			{candles + "tBTCUSD/hist?limit=10001", 500, `["error",10020,"limit: invalid"]`}, // as recorded with a limit of 1,000 (arthurk/bitfinex-ohlc-import)
			{"/v2/candles/trade:2h:tBTCUSD/hist", 500, `["error",10020,"time_frame: invalid"]`},
		},
	}
}

func TestBitfinex_PagesAreNewestFirstUnlessSorted(t *testing.T) {
	s := New(Options{Venue: "bitfinex", Pairs: 8, Now: clock, LimitTimes: 100})
	const hour = 3_600_000
	forming := testTime.Truncate(time.Hour).UnixMilli()
	from := quietStretch(s, 1200*3600) * 1000
	q := "/v2/candles/trade:1h:tBTCUSD/hist"
	for _, c := range []struct {
		name, target string
		count        int
		first, last  int64
	}{
		{"the newest 100, the forming one first", q, 100, forming, -1},
		{"oldest first", q + "?sort=1&limit=3&start=" + itoa(from), 3, from, from + 2*hour},
		{"both ends inclusive", q + "?sort=1&start=" + itoa(from) + "&end=" + itoa(from+5*hour), 6, from, from + 5*hour},
		{"a start inside a candle", q + "?sort=1&limit=1&start=" + itoa(from+1), 1, from + hour, from + hour},
		{"the newest of a range", q + "?limit=2&start=" + itoa(from) + "&end=" + itoa(from+5*hour), 2, from + 5*hour, from + 4*hour},
		{"a colon in the name", "/v2/candles/trade:1D:tDOGE:USD/hist?limit=1", 1, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC).UnixMilli(), -1},
	} {
		var rows [][]float64
		w := ask(s, c.target)
		if err := json.Unmarshal(w.Body.Bytes(), &rows); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %s", c.name, w.Code, w.Body)
		}
		if n := len(rows); n != c.count || int64(rows[0][0]) != c.first || c.last >= 0 && int64(rows[n-1][0]) != c.last {
			t.Errorf("%s: %d rows, %.0f to %.0f, want %d: %d to %d", c.name, n, rows[0][0], rows[n-1][0], c.count, c.first, c.last)
		}
	}
}

// The list of tickers is JSON, with rows of pairs and of lending.
func TestBitfinex_Tickers(t *testing.T) {
	s := New(Options{Venue: "bitfinex", Pairs: 3, Now: clock})
	var rows [][]any
	if err := json.Unmarshal(ask(s, "/v2/tickers?symbols=ALL").Body.Bytes(), &rows); err != nil {
		t.Fatal(err)
	}
	for i, row := range rows {
		if pair := row[0].(string)[0] == 't'; pair != (i > 0) || pair != (len(row) == 11) || pair && !(row[8].(float64) > 0 && row[9].(float64) >= row[10].(float64)) {
			t.Errorf("%v", row)
		}
	}
}

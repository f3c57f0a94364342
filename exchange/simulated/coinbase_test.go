package simulated

import (
	"encoding/json"
	"testing"
	"time"
)

func init() {
	const btc = "/products/BTC-USD/candles?granularity="
	venueTests["coinbase"] = venueTest{
		klines:  btc + "3600", // 350: there is no limit
		limited: []limitTest{{btc + "3600", 15, 100 * time.Millisecond}, {"/products", 15, 100 * time.Millisecond}},
		recorded: map[string]string{
			"coinbase_exchange/candles_00_BTC_USD_candles_granularity_60":                               btc + "60",
			"coinbase_exchange/candles_01_BTC_USD_candles_end_1755496686_granularity_60_start_17554963": btc + "60&start=" + unix(-5*time.Minute) + "&end=" + unix(0),
			"coinbase_exchange/products_2025_0":                                                         "/products",
			"coinbase_exchange/error_not_found":                                                         "/products/NOPE-USD/candles?granularity=60",
		},
		refused: []refusedTest{
			{"/products/NOPE-USD/candles?granularity=60", 404, `{"message":"NotFound"}`},
			{"/nothing", 404, `{"message":"NotFound"}`},
			{btc + "180", 400, `{"message":"Unsupported granularity"}`},
			{btc + "60&start=0&end=18001", 400, `{"message":"granularity too small for the requested time range. Count of aggregations requested exceeds 300"}`},
		},
	}
}

// unix returns the test's time and d more in Unix seconds.
func unix(d time.Duration) string { return itoa(testTime.Add(d).Unix()) }

func coinbaseOpens(t *testing.T, s *Server, query string) (opens []int64) {
	t.Helper()
	var rows [][]float64
	w := ask(s, "/products/BTC-USD/candles?"+query)
	if err := json.Unmarshal(w.Body.Bytes(), &rows); err != nil || w.Code != 200 {
		t.Fatalf("%s: %d %s", query, w.Code, w.Body)
	}
	for _, row := range rows {
		opens = append(opens, int64(row[0]))
	}
	return opens
}

func TestCoinbase_PagesAreNewestFirstAndARangeHas300Candles(t *testing.T) {
	s := New(Options{Venue: "coinbase", Pairs: 1, Now: clock, LimitTimes: 100})
	const hour = 3600
	forming := testTime.Truncate(time.Hour).Unix()
	from := quietStretch(s, 301*hour)
	for _, c := range []struct {
		name, query string
		count       int
		first, last int64
	}{
		{"350 without a range, the forming one first", "granularity=3600", 350, forming, -1},
		{"and with half a range", "granularity=3600&start=" + itoa(from), 350, forming, -1},
		{"both ends are inclusive", "granularity=3600&start=" + itoa(from) + "&end=" + itoa(from+300*hour), 301, from + 300*hour, from},
		{"in the middle of candles", "granularity=3600&start=" + itoa(from+1) + "&end=" + itoa(from+4*hour-1), 3, from + 3*hour, from + hour},
		{"in ISO 8601", "granularity=3600&start=" + time.Unix(from, 0).UTC().Format(time.RFC3339) + "&end=" + time.Unix(from+hour, 0).UTC().Format(time.RFC3339), 2, from + hour, from},
	} {
		got := coinbaseOpens(t, s, c.query)
		if len(got) != c.count || got[0] != c.first || c.last >= 0 && got[len(got)-1] != c.last {
			t.Errorf("%s: %d rows, want %d: %d to %d", c.name, len(got), c.count, c.first, c.last)
		}
	}
}

func TestCoinbase_ColumnsAreLowHighOpenClose(t *testing.T) {
	s := New(Options{Venue: "coinbase", Pairs: 1, Now: clock, LimitTimes: 100})
	var rows [][]float64
	if err := json.Unmarshal(ask(s, "/products/BTC-USD/candles?granularity=86400").Body.Bytes(), &rows); err != nil {
		t.Fatal(err)
	}
	rising := 0
	for _, r := range rows {
		if r[1] > r[3] || r[1] > r[4] || r[2] < r[3] || r[2] < r[4] {
			t.Errorf("%v", r)
		}
		if r[4] > r[3] {
			rising++
		}
	}
	if rising == 0 || rising == len(rows) {
		t.Errorf("%d of %d rise", rising, len(rows))
	}
}

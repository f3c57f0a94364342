package simulated

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

func init() {
	snapshot := func(coin, interval string, hours int) string {
		start := testTime.Truncate(time.Hour).Add(-time.Duration(hours-1) * time.Hour)
		return fmt.Sprintf(`POST /info {"type":"candleSnapshot","req":{"coin":%q,"interval":%q,"startTime":%d,"endTime":%d}}`,
			coin, interval, start.UnixMilli(), testTime.UnixMilli())
	}
	const malformed = "Failed to deserialize the JSON body into the target type"
	list, status := `POST /info {"type":"metaAndAssetCtxs"}`, `POST /info {"type":"exchangeStatus"}`
	venueTests["hyperliquid"] = venueTest{
		klines: `POST /info {"type":"candleSnapshot","req":{"coin":"BTC","interval":"1h","startTime":0}}`,
		limited: []limitTest{
			{snapshot("BTC", "1h", 20), 60, time.Minute},
			{snapshot("BTC", "1h", 1200), 30, time.Minute}, // 20 more for 1,200 rows
			{list, 60, time.Minute},
			{status, 600, time.Minute},
		},
		recorded: map[string]string{
			"hyperliquid/candleSnapshot":                      snapshot("BTC", "1h", 24),
			"hyperliquid/candle_row_ccxt":                     snapshot("BTC", "1h", 1),
			"hyperliquid/ccxt_comment_fetchSwapMarkets_0":     list,
			"hyperliquid/ccxt_comment_fetchSwapMarkets_0@1#1": list,
		},
		refused: []refusedTest{
			{snapshot("NOPE", "1h", 20), 500, "null"},
			{snapshot("BTC", "6h", 20), 422, malformed},
			{`POST /info {"type":"candleSnapshot","req":{"coin":"BTC","interval":"1h","startTime":-1,"endTime":5}}`, 422, malformed},
			{`POST /info {"type":"spotMetaAndAssetCtxs"}`, 422, malformed},
			{"/info", 404, ""},
		},
	}
	btc := hyperliquidSpot(&Pair{Base: "BTC", Quote: "USDC"})
	spot := `POST /info {"type":"spotMetaAndAssetCtxs"}`
	venueTests["hyperliquid-spot"] = venueTest{
		klines: fmt.Sprintf(`POST /info {"type":"candleSnapshot","req":{"coin":%q,"interval":"1h","startTime":0}}`, btc),
		recorded: map[string]string{
			"hyperliquid/candleSnapshot_spot_1h":                             snapshot(btc, "1h", 5),
			"hyperliquid/ccxt_comment_fetchSpotMarkets_1#0.tokens.0":         spot,
			"hyperliquid/ccxt_comment_parseTicker_0@dayNtlVlm#1.1.dayNtlVlm": spot,
		},
		refused: []refusedTest{{snapshot("BTC", "1h", 20), 500, "null"}},
	}
}

func TestHyperliquid_PagesAreOfTheNewest5000AndContainTheirStart(t *testing.T) {
	s := New(Options{Venue: "hyperliquid", Pairs: 1, Now: clock, LimitTimes: 100})
	const hour = 3_600_000
	forming := testTime.Truncate(time.Hour).UnixMilli()
	from := forming - 1000*hour
	for _, c := range []struct {
		name, interval string
		start, end     int64
		count          int
		first, last    int64
	}{
		{"both ends inclusive", "1h", from, from + 5*hour, 6, from, from + 5*hour},
		{"the candle that contains the start", "1h", from + 1, from + 5*hour - 1, 5, from, from + 4*hour},
		{"the forming one last", "1h", forming - hour, forming + 100*hour, 2, forming - hour, forming},
		{"only 5000 closed ones", "1h", 0, forming, -1, forming - 5000*hour, forming},
		{"nothing before them", "1h", 0, forming - 5001*hour, 0, 0, 0},
		{"weeks open on Thursdays", "1w", forming, forming, 1, time.Date(2026, 11, 19, 0, 0, 0, 0, time.UTC).UnixMilli(), -1},
	} {
		var got []int64
		w := send(s, fmt.Sprintf(`POST /info {"type":"candleSnapshot","req":{"coin":"BTC","interval":%q,"startTime":%d,"endTime":%d}}`, c.interval, c.start, c.end))
		var rows []map[string]json.RawMessage
		if err := json.Unmarshal(w.Body.Bytes(), &rows); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %s", c.name, w.Code, w.Body)
		}
		for _, row := range rows {
			var open int64
			fmt.Sscan(string(row["t"]), &open)
			got = append(got, open)
		}
		n := len(got)
		if c.count >= 0 && n != c.count || c.count < 0 && n < 4900 {
			t.Errorf("%s: %d rows", c.name, n)
		} else if n > 0 && (got[0] != c.first || c.last >= 0 && got[n-1] != c.last) {
			t.Errorf("%s: %d to %d, want %d to %d", c.name, got[0], got[n-1], c.first, c.last)
		}
	}
}

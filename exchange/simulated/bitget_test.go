package simulated

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

func init() {
	const candles = "/api/v2/spot/market/candles?granularity=1h&limit=20&symbol=BTCUSDT"
	old := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC).UnixMilli()
	fails := func(code, msg string) string {
		return fmt.Sprintf(`{"code":%q,"msg":%q,"requestTime":%d,"data":null}`, code, msg, testTime.UnixMilli())
	}
	venueTests["bitget"] = venueTest{
		klines: candles,
		limited: []limitTest{
			{candles, 20, time.Second},
			{fmt.Sprint("/api/v2/spot/market/history-candles?granularity=1h&symbol=BTCUSDT&endTime=", old), 20, time.Second},
			{"/api/v2/spot/public/symbols", 20, time.Second},
			{"/api/v2/spot/market/tickers", 20, time.Second},
		},
		recorded: map[string]string{
			"bitget/candles_BTCUSDT_1h_2026": candles,
			"bitget/candles_BTCUSDT_1min":    "/api/v2/spot/market/candles?granularity=1min&symbol=BTCUSDT",
			"bitget/symbols_v2":              "/api/v2/spot/public/symbols",
			"bitget/tickers_v2":              "/api/v2/spot/market/tickers",
		},
		refused: []refusedTest{
			{"/api/v2/spot/market/candles?granularity=1h&symbol=NOPEUSDT", 400, fails("40034", "Parameter NOPEUSDT does not exist")},
			{"/api/v2/spot/market/candles?granularity=1h&symbol=XEMUSDT", 400, fails("40309", "The contract has been removed")},
			{"/api/v2/spot/market/candles?granularity=2h&symbol=BTCUSDT", 400, fails("400171", "Parameter verification failed granularity")},
			{"/api/v2/spot/market/history-candles?granularity=1h&symbol=BTCUSDT", 400, fails("40019", "Parameter endTime cannot be empty")},
		},
	}
	const futures = "/api/v2/mix/market/candles?productType=USDT-FUTURES&granularity=1H&limit=20&symbol=BTCUSDT"
	venueTests["bitget-futures"] = venueTest{
		klines:  futures,
		limited: []limitTest{{futures, 20, time.Second}},
		refused: []refusedTest{
			{"/api/v2/mix/market/candles?productType=USDT-FUTURES&granularity=1h&symbol=BTCUSDT", 400, fails("400171", "Parameter verification failed granularity")},
			{"/api/v2/mix/market/candles?granularity=1H&symbol=BTCUSDT", 400, fails("40017", "Parameter verification failed productType")},
			{fmt.Sprintf("/api/v2/mix/market/candles?productType=USDT-FUTURES&granularity=1Dutc&symbol=BTCUSDT&startTime=%d&endTime=%d", old, old+91*day*1000), 400,
				fails("40017", "Parameter verification failed startTime || endTime")},
		},
	}
}

func TestBitget_PagesEndBeforeAnExclusiveEnd(t *testing.T) {
	const hour = 3_600_000
	forming := testTime.Truncate(time.Hour).UnixMilli()
	for _, c := range []struct {
		name, venue, query string
		count              int
		first, last        int64
	}{
		{"the newest 100, the forming one last", "bitget", "spot/market/candles?granularity=1h", 100, forming - 99*hour, forming},
		{"a limit above 1000 is cut down", "bitget", "spot/market/candles?granularity=1h&limit=2000", 1000, -1, forming},
		{"endTime is exclusive", "bitget", fmt.Sprint("spot/market/candles?granularity=1h&limit=2&endTime=", forming), 2, forming - 2*hour, forming - hour},
		{"the newest win", "bitget", fmt.Sprintf("spot/market/candles?granularity=1h&limit=2&startTime=%d", forming-9*hour), 2, forming - hour, forming},
		{"candles go back 60 days", "bitget", fmt.Sprintf("spot/market/candles?granularity=1h&endTime=%d", forming-1438*hour), 1, forming - 1439*hour, -1},
		{"history-candles without a start", "bitget", fmt.Sprintf("spot/market/history-candles?granularity=1h&limit=300&startTime=%d&endTime=%d", forming-9*hour, forming), 200, -1, forming - hour},
		{"history-candles with one", "bitget-futures", fmt.Sprintf("mix/market/history-candles?productType=usdt-futures&granularity=1H&startTime=%d&endTime=%d", forming-9*hour, forming), 9, forming - 9*hour, forming - hour},
		{"days at UTC+8", "bitget", "spot/market/candles?granularity=1day&limit=1", 1, time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC).UnixMilli(), -1},
		{"days at UTC", "bitget", "spot/market/candles?granularity=1Dutc&limit=1", 1, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC).UnixMilli(), -1},
	} {
		s := New(Options{Venue: c.venue, Pairs: 1, Now: clock, LimitTimes: 100})
		var body struct{ Data [][]string }
		w := ask(s, "/api/v2/"+c.query+"&symbol=BTCUSDT")
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 200 || len(body.Data) != c.count {
			t.Errorf("%s: %d, %d rows: %.200s", c.name, w.Code, len(body.Data), w.Body)
			continue
		}
		first, last := body.Data[0][0], body.Data[len(body.Data)-1][0]
		if c.first >= 0 && first != itoa(c.first) || c.last >= 0 && last != itoa(c.last) {
			t.Errorf("%s: from %s to %s, want %d to %d", c.name, first, last, c.first, c.last)
		}
	}
}

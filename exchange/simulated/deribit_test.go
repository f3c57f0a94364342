package simulated

import (
	"encoding/json"
	"testing"
	"time"
)

func init() {
	const public = "/api/v2/public/"
	tail := `,"usIn":` + itoa(testTime.UnixMicro()) + `,"usOut":` + itoa(testTime.UnixMicro()+250) + `,"usDiff":250,"testnet":false}`
	chart := public + "get_tradingview_chart_data?resolution=60&instrument_name=BTC_USDC-PERPETUAL&start_timestamp=0&end_timestamp=9999999999999"
	venueTests["deribit"] = venueTest{
		klines: chart,
		limited: []limitTest{
			{chart, 20, time.Second},
			{public + "get_instruments?currency=any&kind=future", 20, time.Second},
		},
		refused: []refusedTest{
			{public + "get_tradingview_chart_data?resolution=60&instrument_name=NOPE&start_timestamp=0&end_timestamp=1", 400,
				`{"jsonrpc":"2.0","error":{"message":"Invalid params","data":{"reason":"wrong format","param":"instrument_name"},"code":-32602}` + tail},
			{public + "get_tradingview_chart_data?resolution=240&instrument_name=BTC_USDC-PERPETUAL&start_timestamp=0&end_timestamp=1", 400,
				`{"jsonrpc":"2.0","error":{"message":"Invalid params","data":{"reason":"invalid resolution","param":"resolution"},"code":-32602}` + tail},
			{public + "get_book_summary_by_currency", 400,
				`{"jsonrpc":"2.0","error":{"message":"Invalid params","data":{"reason":"invalid currency","param":"currency"},"code":-32602}` + tail},
		},
	}
}

func TestDeribit_PagesAreColumnsAndBothEndsInclusive(t *testing.T) {
	s := New(Options{Venue: "deribit", Pairs: 1, Now: clock, LimitTimes: 100})
	const hour = 3_600_000
	forming := testTime.Truncate(time.Hour).UnixMilli()
	from := quietStretch(s, 1200*3600) * 1000
	for _, c := range []struct {
		start, end  int64
		count       int
		first, last int64
		status      string
	}{
		{from, from + 5*hour, 6, from, from + 5*hour, "ok"},
		{from + 1, from + 5*hour - 1, 4, from + hour, from + 4*hour, "ok"},
		{forming - hour, forming + 9*hour, 2, forming - hour, forming, "ok"},
		{from + 1, from + 2, 0, 0, 0, "no_data"},
	} {
		var body struct {
			Result struct {
				Ticks                                []int64
				Open, High, Low, Close, Volume, Cost []float64
				Status                               string
			}
		}
		w := ask(s, "/api/v2/public/get_tradingview_chart_data?resolution=60&instrument_name=BTC_USDC-PERPETUAL&start_timestamp="+itoa(c.start)+"&end_timestamp="+itoa(c.end))
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		r := body.Result
		n := len(r.Ticks)
		for _, column := range [][]float64{r.Open, r.High, r.Low, r.Close, r.Volume, r.Cost} {
			if len(column) != n {
				t.Errorf("%+v", r)
			}
		}
		if n != c.count || r.Status != c.status || n > 0 && (r.Ticks[0] != c.first || r.Ticks[n-1] != c.last) {
			t.Errorf("%+v: %+v", c, r)
		}
	}
}

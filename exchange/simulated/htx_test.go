package simulated

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

func init() {
	const klines = "/market/history/kline?symbol=btcusdt&period=60min&size=20"
	fails := func(msg string) string {
		return fmt.Sprintf(`{"ts":%d,"status":"error","err-code":"invalid-parameter","err-msg":%q}`, testTime.UnixMilli(), msg)
	}
	venueTests["htx"] = venueTest{
		klines:  klines,
		limited: []limitTest{{klines, 10, time.Second}, {"/market/tickers", 10, time.Second}},
		recorded: map[string]string{
			"htx/kline_btcusdt_60min_2026":      klines,
			"htx/v1_common_symbols_2021":        "/v1/common/symbols",
			"htx/error_invalid_symbol":          "/market/history/kline?symbol=nope&period=60min",
			"htx/docs_GetTickers@data.0#data.3": "/market/tickers",
		},
		refused: []refusedTest{
			{"/market/history/kline?symbol=nope&period=60min", 200, fails("invalid symbol")},
			{"/market/history/kline?symbol=BTCUSDT&period=60min", 200, fails("invalid symbol")},
			{"/market/history/kline?symbol=xemusdt&period=60min", 200, fails("symbol trade not open now")},
			{"/market/history/kline?symbol=btcusdt&period=1h", 200, fails("invalid period")},
			{"/market/history/kline?symbol=btcusdt&period=60min&size=2001", 200, fails("invalid size, valid range: [1,2000]")},
		},
	}
}

func TestHTX_PagesAreTheNewestRowsNewestFirst(t *testing.T) {
	s := New(Options{Venue: "htx", Pairs: 1, Now: clock, LimitTimes: 100})
	const hour = 3_600
	forming := testTime.Truncate(time.Hour).Unix()
	for _, c := range []struct {
		name, query string
		count       int
		first, last int64
	}{
		{"150 without a size", "60min", 150, forming, forming - 149*hour},
		{"at most 2000", "60min&size=2000", 2000, forming, forming - 1999*hour},
		{"no range", fmt.Sprintf("60min&size=2&from=%d&to=%d", forming-9*hour, forming-5*hour), 2, forming, forming - hour},
		{"days at UTC+8", "1day&size=1", 1, time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC).Unix(), -1},
	} {
		var body struct{ Data []struct{ ID int64 } }
		w := ask(s, "/market/history/kline?symbol=btcusdt&period="+c.query)
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || len(body.Data) != c.count {
			t.Errorf("%s: %d, %d rows: %.200s", c.name, w.Code, len(body.Data), w.Body)
			continue
		}
		if first, last := body.Data[0].ID, body.Data[c.count-1].ID; first != c.first || c.last >= 0 && last != c.last {
			t.Errorf("%s: from %d to %d, want %d to %d", c.name, first, last, c.first, c.last)
		}
	}
}

func TestTakeHTX(t *testing.T) {
	s := New(Options{Venue: "htx", Pairs: 20, Now: clock, Stream: StreamFaults{Refuse: "ethusdt"}})
	ts := testTime.UnixMilli()
	fails := func(msg string) string {
		return fmt.Sprintf(`{"id":"5","status":"error","err-code":"bad-request","err-msg":%q,"ts":%d}`, msg, ts)
	}
	sub := func(topic string) string { return fmt.Sprintf(`{"sub":%q,"id":"5"}`, topic) }
	for _, tt := range []struct {
		message string
		subs    int
		answer  string
	}{
		{sub("market.btcusdt.kline.60min"), 1, fmt.Sprintf(`{"id":"5","status":"ok","subbed":"market.btcusdt.kline.60min","ts":%d}`, ts)},
		{sub("market.ethusdt.kline.1min"), 0, fails("invalid symbol ethusdt")},
		{sub("market.nope.kline.1min"), 0, fails("invalid symbol nope")},
		{sub("market.btcusdt.kline.3min"), 0, fails("invalid topic market.btcusdt.kline.3min")},
		{`{"ping":7}`, 0, `{"pong":7}`},
		{`{"pong":7}`, 0, ""},
	} {
		if subs, answer := takeHTX(s, []byte(tt.message)); len(subs) != tt.subs || string(answer) != tt.answer {
			t.Errorf("%s: %d, %s, want %s", tt.message, len(subs), answer, tt.answer)
		}
	}
	if subs, answer := takeHTX(s, []byte("hello")); len(subs) > 0 || !json.Valid(answer) {
		t.Errorf("%s", answer)
	}
}

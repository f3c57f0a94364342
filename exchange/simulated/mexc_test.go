package simulated

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

func init() {
	const klines = "/api/v3/klines?symbol=BTCUSDT&interval=60m&limit=20"
	venueTests["mexc"] = venueTest{
		klines: klines,
		limited: []limitTest{
			{klines, 300, 10 * time.Second},
			{"/api/v3/exchangeInfo", 30, 10 * time.Second},
			{"/api/v3/ticker/24hr", 7, 10 * time.Second},
		},
		recorded: map[string]string{
			"mexc/klines_BTCUSDT_60m_2026": klines,
			"mexc/docs_GetKlines":          "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1",
			"mexc/GetExchangeInfo":         "/api/v3/exchangeInfo",
			"mexc/error_invalid_symbol":    "/api/v3/klines?symbol=NOPE&interval=60m",
		},
		refused: []refusedTest{
			{"/api/v3/klines?symbol=NOPE&interval=60m", 400, `{"msg":"invalid symbol","code":-1121}`},
			{"/api/v3/klines?symbol=XEMUSDT&interval=60m", 400, `{"msg":"invalid symbol","code":-1121}`},
			{"/api/v3/klines?symbol=BTCUSDT&interval=1h", 400, `{"msg":"Invalid interval.","code":-1121}`},
		},
	}
}

func TestMEXC_PagesNeedBothEndsAndTheSecondIsExclusive(t *testing.T) {
	s := New(Options{Venue: "mexc", Pairs: 1, Now: clock, LimitTimes: 100})
	const hour = 3_600_000
	forming := testTime.Truncate(time.Hour).UnixMilli()
	for _, c := range []struct {
		name, query string
		count       int
		first, last int64
	}{
		{"the newest 500, the forming one last", "", 500, -1, forming},
		{"a limit above 500 is cut down", "&limit=1000", 500, -1, forming},
		{"a start alone is ignored", fmt.Sprintf("&limit=2&startTime=%d", forming-9*hour), 2, forming - hour, forming},
		{"both", fmt.Sprintf("&startTime=%d&endTime=%d", forming-9*hour, forming), 9, forming - 9*hour, forming - hour},
		{"the last millisecond", fmt.Sprintf("&startTime=%d&endTime=%d", forming-9*hour, forming-1), 9, forming - 9*hour, forming - hour},
	} {
		var rows [][]any
		w := ask(s, "/api/v3/klines?symbol=BTCUSDT&interval=60m"+c.query)
		if err := json.Unmarshal(w.Body.Bytes(), &rows); err != nil || len(rows) != c.count {
			t.Errorf("%s: %d, %d rows: %.200s", c.name, w.Code, len(rows), w.Body)
			continue
		}
		if first, last := rows[0][0], rows[len(rows)-1][0]; c.first >= 0 && first != float64(c.first) || last != float64(c.last) {
			t.Errorf("%s: from %v to %v, want %d to %d", c.name, first, last, c.first, c.last)
		}
		if end := rows[0][6]; end != rows[0][0].(float64)+hour {
			t.Errorf("%s: the first closes at %.0f", c.name, end)
		}
	}
}

func TestTakeMEXC(t *testing.T) {
	s := New(Options{Venue: "mexc", Pairs: 3, Stream: StreamFaults{Refuse: "ETHUSDT"}})
	good, refused, unknown := mexcChannel+"BTCUSDT@Hour4", mexcChannel+"ETHUSDT@Min1", mexcChannel+"BTCUSDT@Min3"
	for _, tt := range []struct {
		method, params string
		subs           int
		msg            string
	}{
		{"SUBSCRIPTION", good, 1, good},
		{"SUBSCRIPTION", good + `","` + refused + `","` + unknown, 1, "Subscribed successful! [" + good + "]. Not Subscribed successfully! [" + refused + "," + unknown + "].  Reason： Blocked! "},
		{"SUBSCRIPTION", refused, 0, "Not Subscribed successfully! [" + refused + "].  Reason： Blocked! "},
		{"PING", "", 0, "PONG"},
		{"LOGIN", "", 0, "msg format invalid"},
	} {
		message := fmt.Sprintf(`{"method":%q,"params":["%s"],"id":5}`, tt.method, tt.params)
		if tt.params == "" {
			message = fmt.Sprintf(`{"method":%q}`, tt.method)
		}
		var m struct {
			ID, Code int
			Msg      string
		}
		subs, answer := takeMEXC(s, []byte(message))
		if err := json.Unmarshal(answer, &m); err != nil || len(subs) != tt.subs || m.Code != 0 || m.Msg != tt.msg || (m.ID == 5) != (tt.params != "") {
			t.Errorf("%s: %d, %s", message, len(subs), answer)
		}
	}
}

package simulated

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func init() {
	unknown := `{"retCode":10001,"retMsg":"Not supported symbols","result":{},"retExtInfo":{},"time":` + itoa(testTime.UnixMilli()) + `}`
	for category, symbol := range map[string]string{"spot": "BTCUSDT", "linear": "BTCUSDT", "inverse": "BTCUSD"} {
		klines := func(symbol string) string {
			return "/v5/market/kline?category=" + category + "&interval=60&limit=20&symbol=" + symbol
		}
		v := venueTest{
			klines:  klines(symbol),
			limited: []limitTest{{klines(symbol), 600, 10 * time.Minute}},
			refused: []refusedTest{
				{klines("NOPEUSDT"), 200, unknown},
				{klines("XEM" + symbol[3:]), 200, unknown}, // delisted
			},
			recorded: map[string]string{
				"bybit/error_10001_unknown_symbol": klines("NOPE"),
			},
		}
		tickers, pairs := "/v5/market/tickers?category="+category, "/v5/market/instruments-info?category="+category
		switch category {
		case "spot":
			v.recorded["bybit/kline_BTCUSDT_60_spot"] = klines(symbol)
			v.recorded["bybit/instruments_spot@result.list#result.list"] = pairs
			v.recorded["bybit/ccxt_comment_parseTicker_2#result.list.0"] = tickers
			venueTests["bybit"] = v
			continue
		case "linear":
			v.recorded["bybit/kline_linear_synthetic"] = klines(symbol)
			v.recorded["bybit/instruments_linear@result.list.0#result.list.0"] = pairs
		case "inverse":
			v.recorded["bybit/kline_inverse_60_ccxt@result.list#result.list"] = klines(symbol)
			v.recorded["bybit/ccxt_comment_fetchTickers_0"] = tickers
		}
		venueTests["bybit-"+category] = v
	}
}

// bybitOpens asks for klines and returns their open times.
func bybitOpens(t *testing.T, s *Server, query string) (opens []int64) {
	t.Helper()
	var body struct{ Result struct{ List [][]string } }
	w := ask(s, "/v5/market/kline?"+query)
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 200 {
		t.Fatalf("%s: %d %s", query, w.Code, w.Body)
	}
	for _, row := range body.Result.List {
		var open int64
		fmt.Sscan(row[0], &open)
		opens = append(opens, open)
	}
	return opens
}

func TestBybit_PagesAreNewestFirstAndAStartSelectsItsCandle(t *testing.T) {
	s := New(Options{Venue: "bybit", Pairs: 1, Now: clock})
	const hour = 3_600_000
	forming := testTime.Truncate(time.Hour).UnixMilli()
	from := quietStretch(s, 1200*3600) * 1000
	q := "category=spot&symbol=BTCUSDT&interval=60"
	for _, c := range []struct {
		name, query string
		count       int
		first, last int64
	}{
		{"the newest 200, the forming one first", q, 200, forming, forming - 199*hour},
		{"a limit above 1000 is cut down", q + "&limit=2000&end=" + itoa(from+1100*hour), 1000, from + 1100*hour, from + 101*hour},
		{"both ends are inclusive", q + "&start=" + itoa(from) + "&end=" + itoa(from+4*hour), 5, from + 4*hour, from},
		{"a start inside a candle selects it", q + "&start=" + itoa(from+1) + "&end=" + itoa(from+4*hour), 5, from + 4*hour, from},
		{"an end inside a candle too", q + "&start=" + itoa(from) + "&end=" + itoa(from+4*hour-1), 4, from + 3*hour, from},
		{"the newest win", q + "&limit=2&start=" + itoa(from) + "&end=" + itoa(from+9*hour), 2, from + 9*hour, from + 8*hour},
		{"of a start alone the oldest", q + "&limit=2&start=" + itoa(from), 2, from + hour, from},
		{"weeks open on Mondays", "category=spot&symbol=BTCUSDT&interval=W&limit=1", 1, time.Date(2026, 11, 16, 0, 0, 0, 0, time.UTC).UnixMilli(), -1},
	} {
		got := bybitOpens(t, s, c.query)
		if len(got) != c.count || got[0] != c.first || c.last >= 0 && got[len(got)-1] != c.last {
			t.Errorf("%s: %d rows: %v, want %d: %d to %d", c.name, len(got), got, c.count, c.first, c.last)
		}
		slices.Reverse(got)
		if !slices.IsSorted(got) {
			t.Errorf("%s: not newest first", c.name)
		}
	}
}

func TestBybit_ListsContractsInPages(t *testing.T) {
	for _, venue := range []string{"linear", "inverse"} {
		s := New(Options{Venue: "bybit-" + venue, Pairs: 1200, Now: clock})
		var names []string
		sizes := []int{}
		for cursor := ""; ; {
			var body struct {
				Result struct {
					NextPageCursor string
					List           []struct{ Symbol string }
				}
			}
			w := ask(s, "/v5/market/instruments-info?category="+venue+"&cursor="+cursor)
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatal(err)
			}
			sizes = append(sizes, len(body.Result.List))
			for _, p := range body.Result.List {
				names = append(names, p.Symbol)
			}
			if w := ask(s, "/v5/market/instruments-info?status=PreLaunch&category="+venue+"&cursor="+cursor); !bytes.Contains(w.Body.Bytes(), []byte(`"nextPageCursor":"","list":[]`)) {
				t.Errorf("contracts in PreLaunch: %s", w.Body)
			}
			if cursor = body.Result.NextPageCursor; cursor == "" {
				break
			}
		}
		var want []string
		for _, p := range s.Pairs() {
			if p.Kind != Halted {
				want = append(want, p.Symbol)
			}
		}
		if !slices.Equal(names, want) || !slices.Equal(sizes, []int{500, 500, len(want) - 1000}) {
			t.Errorf("%s: pages of %v, %d pairs, want %d", venue, sizes, len(names), len(want))
		}
	}
}

func TestBybit_AnAddressAboveTheLimitMustStopForTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Venue: "bybit", Pairs: 1, Now: clock, WeightLimit: 5})
		for range 5 {
			ask(s, "/v5/market/time")
		}
		w := ask(s, "/v5/market/time")
		if w.Code != http.StatusForbidden || w.Body.String() != "access too frequent" || w.Header().Get("Retry-After") != "" {
			t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
		}
		time.Sleep(9 * time.Minute)
		if w := ask(s, "/v5/market/tickers?category=spot"); w.Code != http.StatusForbidden {
			t.Errorf("after nine minutes: %d", w.Code)
		}
		if got := s.Stats(); got.EarlyCount != 1 || got.Refused != 2 || got.Limits["requests"] != (LimitStats{7, 5, 2, 1}) {
			t.Errorf("%+v", got)
		}
		time.Sleep(time.Minute)
		if w = ask(s, "/v5/market/time"); w.Code != 200 {
			t.Errorf("after ten minutes: %d", w.Code)
		}
	})
}

func TestTakeBybit(t *testing.T) {
	for _, tt := range []struct{ category, args, want string }{
		{"spot", `"kline.1.BTCUSDT","kline.D.ETHUSDT"`, "2 true "},
		{"spot", `"kline.1.BTCUSDT","kline.1.NOUSDT"`, "0 false Invalid symbol :[kline.1.NOUSDT]"},
		{"linear", `"kline.1.BTCUSDT","kline.7.BTCUSDT"`, "0 false error:handler not found,topic:kline.7.BTCUSDT"},
		{"linear", `"tickers.BTCUSDT"`, "0 false error:handler not found,topic:tickers.BTCUSDT"},
		{"inverse", `"kline.60.BTCUSD"`, "1 true "},
		{"spot", strings.Repeat(`"kline.1.BTCUSDT",`, 10) + `"kline.1.ETHUSDT"`, "0 false args size >10"},
		{"linear", strings.Repeat(`"kline.1.BTCUSDT",`, 10) + `"kline.1.ETHUSDT"`, "11 true "},
		{"spot", `"kline.1.SOLUSDT"`, "0 false Invalid symbol :[kline.1.SOLUSDT]"},
	} {
		venue := "bybit-" + tt.category
		if tt.category == "spot" {
			venue = "bybit"
		}
		s := New(Options{Venue: venue, Pairs: 3, Stream: StreamFaults{Refuse: "SOLUSDT"}})
		subs, answer := takeBybit(s, []byte(`{"req_id":"5","op":"subscribe","args":[`+tt.args+`]}`), tt.category)
		var m struct {
			Success bool
			Msg     string `json:"ret_msg"`
			ID      string `json:"req_id"`
			Op      string
		}
		err := json.Unmarshal(answer, &m)
		if got := fmt.Sprintf("%d %t %s", len(subs), m.Success, m.Msg); err != nil || got != tt.want || m.ID != "5" || m.Op != "subscribe" {
			t.Errorf("%s %s: %s, want %s: %s", tt.category, tt.args, got, tt.want, answer)
		}
	}
	s := New(Options{Venue: "bybit", Pairs: 1})
	for message, want := range map[string]string{`{"op":"ping"}`: "pong", `{"op":"x"}`: "invalid op", "hello": "Failed to decode"} {
		if _, answer := takeBybit(s, []byte(message), "spot"); !json.Valid(answer) || !strings.Contains(string(answer), want) {
			t.Errorf("%s: %s", message, answer)
		}
	}
}

package simulated

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func init() {
	const candles, spot = "/api/v5/market/candles?bar=1H&limit=20&instId=", "BTC-USDT"
	limited := []limitTest{
		{candles + spot, 40, 2 * time.Second},
		{"/api/v5/market/history-candles?instId=" + spot, 20, 2 * time.Second},
		{"/api/v5/market/tickers?instType=SPOT", 20, 2 * time.Second},
		{"/api/v5/public/instruments?instType=SPOT", 20, 2 * time.Second},
	}
	unknown := refusedTest{candles + "NOPE-USDT", 200, `{"code":"51001","data":[],"msg":"Instrument ID does not exist."}`}
	venueTests["okx"] = venueTest{
		klines:  candles + spot,
		limited: limited,
		recorded: map[string]string{
			"okx/history_candles_BTC-USDT_1H":       "/api/v5/market/history-candles?bar=1H&limit=4&instId=" + spot,
			"okx/instruments_SPOT_2025":             "/api/v5/public/instruments?instType=SPOT",
			"okx/ccxt_comment_fetchTickers_0":       "/api/v5/market/tickers?instType=SPOT",
			"okx/ccxt_comment_parseTicker_2#data.0": "/api/v5/market/tickers?instType=SPOT",
			"okx/error_50014_missing_param":         "/api/v5/public/instruments",
		},
		refused: []refusedTest{
			unknown,
			{candles + "XEM-USDT", 200, unknown.body}, // delisted
			{"/api/v5/public/instruments", 400, `{"code":"50014","data":[],"msg":"instType cannot be empty"}`},
			{"/api/v5/market/candles?bar=1h&instId=" + spot, 400, `{"code":"51000","data":[],"msg":"Parameter bar error"}`},
		},
	}
	const swap = "BTC-USDT-SWAP"
	venueTests["okx-swap"] = venueTest{
		klines: candles + swap,
		recorded: map[string]string{
			"okx/candles_SWAP_1m_confirmed":        "/api/v5/market/candles?bar=1m&limit=2&instId=" + swap,
			"okx/history_candles_BTC-USDT-SWAP_1H": "/api/v5/market/history-candles?bar=1H&limit=4&instId=" + swap,
		},
		refused: []refusedTest{{candles + spot, 200, unknown.body}},
	}
}

// okxRows asks for candles and returns their open times and flags.
func okxRows(t *testing.T, s *Server, query string) (opens []int64, confirm []string) {
	t.Helper()
	var body struct{ Data [][]string }
	w := ask(s, "/api/v5/market/"+query)
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 200 {
		t.Fatalf("%s: %d %s", query, w.Code, w.Body)
	}
	for _, row := range body.Data {
		var open int64
		fmt.Sscan(row[0], &open)
		opens, confirm = append(opens, open), append(confirm, row[8])
	}
	return opens, confirm
}

func TestOKX_PagesAreNewestFirstAndBothEndsExclusive(t *testing.T) {
	s := New(Options{Venue: "okx", Pairs: 1, Now: clock, LimitTimes: 100})
	const hour = 3_600_000
	forming := testTime.Truncate(time.Hour).UnixMilli()
	from := quietStretch(s, 1200*3600) * 1000
	q := "?instId=BTC-USDT&bar=1H"
	for _, c := range []struct {
		name, query string
		count       int
		first, last int64
	}{
		{"the newest 100, the forming one first", "candles" + q, 100, forming, forming - 99*hour},
		{"a limit above 300 is cut down", "candles" + q + "&limit=1000", 300, forming, -1},
		{"a limit above 100 of history too", "history-candles" + q + "&limit=300", 100, forming - hour, forming - 100*hour},
		{"history without the forming one", "history-candles" + q + "&limit=2", 2, forming - hour, forming - 2*hour},
		{"after is exclusive", "history-candles" + q + "&limit=2&after=" + itoa(from), 2, from - hour, -1},
		{"before is exclusive, and the newest win", "history-candles" + q + "&limit=2&before=" + itoa(from), 2, forming - hour, forming - 2*hour},
		{"both", "history-candles" + q + "&before=" + itoa(from) + "&after=" + itoa(from+4*hour), 3, from + 3*hour, from + hour},
		{"only 1440 closed ones on candles", "candles" + q + "&limit=300&after=" + itoa(forming-1438*hour), 2, forming - 1439*hour, forming - 1440*hour},
		{"days at UTC+8", "history-candles?instId=BTC-USDT&bar=1D&limit=1", 1, time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC).UnixMilli(), -1},
		{"days at UTC", "history-candles?instId=BTC-USDT&bar=1Dutc&limit=1", 1, time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC).UnixMilli(), -1},
		{"months at UTC+8", "history-candles?instId=BTC-USDT&bar=1M&limit=1", 1, time.Date(2026, 9, 30, 16, 0, 0, 0, time.UTC).UnixMilli(), -1},
	} {
		got, confirm := okxRows(t, s, c.query)
		if len(got) != c.count || got[0] != c.first || c.last >= 0 && got[len(got)-1] != c.last {
			t.Errorf("%s: %d rows: %v, want %d: %d to %d", c.name, len(got), got, c.count, c.first, c.last)
			continue
		}
		for i, flag := range confirm {
			if (flag == "0") != (got[i] == forming) {
				t.Errorf("%s: confirm is %s at %d", c.name, flag, got[i])
			}
		}
	}
}

func TestOKX_ALimitOfOneEndpointLeavesTheOthers(t *testing.T) {
	s := New(Options{Venue: "okx", Pairs: 1, Now: clock})
	for range 50 {
		ask(s, "/api/v5/market/candles?instId=BTC-USDT")
	}
	if w := ask(s, "/api/v5/market/history-candles?instId=BTC-USDT"); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	got := s.Stats()
	if l := got.Limits["candles"]; l.Refused != 10 || l.Most != 40 || l.Cost != 50 || got.EarlyCount != 0 {
		t.Errorf("%+v", got)
	}
}

// quietStretch returns a time, in Unix seconds, long ago with no gap for so many seconds
// after it.
func quietStretch(s *Server, seconds int64) int64 {
	from := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC).Unix()
	for len(s.market.holes(nil, &s.market.pairs[0], span{from - day, from + seconds})) > 0 {
		from += day
	}
	return from
}

func TestTakeOKX(t *testing.T) {
	s := New(Options{Venue: "okx-swap", Pairs: 3, Stream: StreamFaults{Refuse: "ETH-USDT-SWAP"}})
	arg := func(channel, id string) string { return `{"channel":"` + channel + `","instId":"` + id + `"}` }
	subs, answer := takeOKX(s, []byte(`{"id":"5","op":"subscribe","args":[`+arg("candle1Dutc", "BTC-USDT-SWAP")+","+arg("candle1m", "ETH-USDT-SWAP")+","+
		arg("candle1m", "NO-USDT-SWAP")+","+arg("candle1x", "BTC-USDT-SWAP")+","+arg("tickers", "BTC-USDT-SWAP")+`]}`))
	if len(subs) != 1 || subs[0].pair.Symbol != "BTC-USDT-SWAP" || subs[0].iv.name != "1Dutc" {
		t.Errorf("%+v", subs)
	}
	events := ""
	for line := range strings.Lines(string(answer)) {
		var m struct{ ID, Event, Code, Msg string }
		if err := json.Unmarshal([]byte(line), &m); err != nil || m.ID != "5" {
			t.Errorf("%s: %v", line, err)
		}
		events += m.Event + m.Code + " "
	}
	if events != "subscribe error60018 error60018 error60018 error60018 " {
		t.Errorf("%s", answer)
	}
	if _, answer := takeOKX(s, []byte("ping")); string(answer) != "pong" {
		t.Errorf("ping: %s", answer)
	}
	for _, message := range []string{`{"op":"login"}`, `{`, `{"op":"subscribe"}`, "a\nb\"c"} {
		if subs, answer := takeOKX(s, []byte(message)); len(subs) > 0 || !json.Valid(answer) || !strings.Contains(string(answer), "60012") {
			t.Errorf("%s: %s", message, answer)
		}
	}
}

// A client that sends nothing is cut off.
func TestStream_EndsWhenTheClientIsIdle(t *testing.T) {
	t.Parallel() // it only waits
	s := New(Options{Venue: "okx", Pairs: 1})
	d, sock := *s.dialect, *s.dialect.socket
	if sock.idle != 30*time.Second {
		t.Errorf("idle for %v", sock.idle)
	}
	sock.idle = 3 * time.Second
	d.socket, s.dialect = &sock, &d
	server := httptest.NewServer(s)
	defer server.Close()
	conn, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(server.URL, "http")+sock.path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	for range 4 {
		time.Sleep(800 * time.Millisecond)
		if err := conn.Write(t.Context(), websocket.MessageText, []byte("ping")); err != nil {
			t.Fatal(err)
		}
		if _, b, err := conn.Read(t.Context()); err != nil || string(b) != "pong" {
			t.Fatalf("%s, %v", b, err)
		}
	}
	began := time.Now()
	if _, b, err := conn.Read(t.Context()); err == nil || time.Since(began) > 20*time.Second {
		t.Errorf("%s, %v after %v", b, err, time.Since(began))
	}
}

package bybit

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tidemark/exchange"
	"tidemark/exchange/exchangetest"
	"tidemark/levels"
	"tidemark/service"
)

var streamers = []exchange.Streamer{Spot.(exchange.Streamer), Linear.(exchange.Streamer), Inverse.(exchange.Streamer)}

// frameOracle reads candles with encoding/json.
func frameOracle(v exchange.Streamer, body string) (all []exchange.Push, ok bool) {
	volume := "volume"
	if v.Spec().Name == "bybit-inverse" {
		volume = "turnover"
	}
	var name string
	if json.Unmarshal(exchangetest.Member([]byte(body), "topic"), &name) != nil {
		return nil, false
	}
	rest, ok := strings.CutPrefix(name, "kline.")
	data := exchangetest.Member([]byte(body), "data")
	candles, ok2 := exchangetest.Objects(data, 1, "start", "open", "high", "low", "close", volume)
	var rows []map[string]json.RawMessage
	if !ok || !ok2 || json.Unmarshal(data, &rows) != nil {
		return nil, false
	}
	wire, symbol, _ := strings.Cut(rest, ".")
	at, _ := exchangetest.Number(exchangetest.Member([]byte(body), "ts"))
	for i, k := range candles {
		all = append(all, exchange.Push{Symbol: []byte(symbol), Wire: wire, Candle: k, Closed: strings.Trim(string(rows[i]["confirm"]), `"`) == "true", At: at})
	}
	return all, true
}

const (
	open   = `{"topic":"kline.5.BTCUSDT","data":[{"start":1672324800000,"end":1672325099999,"interval":"5","open":"16649.5","close":"16677","high":"16677","low":"16608","volume":"2.081","turnover":"34666.4005","confirm":false,"timestamp":1672324988882}],"ts":1672324988882,"type":"snapshot"}`
	closed = `{"type":"snapshot","ts":5,"data":[{"confirm":true,"start":60000,"open":"2","high":"4","low":"1","close":"3","volume":"600","turnover":"0.25"},{"confirm":true,"start":0,"open":"1","high":"2","low":"1","close":"2","volume":"300","turnover":"0.125"}],"topic":"kline.1.BTCUSD"}`
)

func TestDecodeFrame(t *testing.T) {
	turnover := []exchange.Push{
		{Symbol: []byte("BTCUSD"), Wire: "1", Closed: true, At: 5, Candle: levels.Candle{OpenTime: 60000, Open: 2, High: 4, Low: 1, Close: 3, Volume: 0.25}},
		{Symbol: []byte("BTCUSD"), Wire: "1", Closed: true, At: 5, Candle: levels.Candle{OpenTime: 0, Open: 1, High: 2, Low: 1, Close: 2, Volume: 0.125}},
	}
	volume := slices.Clone(turnover)
	volume[0].Candle.Volume, volume[1].Candle.Volume = 600, 300
	for i, tt := range []struct {
		venue exchange.Streamer
		body  string
		want  []exchange.Push
	}{
		{streamers[0], open, []exchange.Push{{Symbol: []byte("BTCUSDT"), Wire: "5", At: 1672324988882, Candle: levels.Candle{OpenTime: 1672324800000, Open: 16649.5, High: 16677, Low: 16608, Close: 16677, Volume: 2.081}}}},
		{streamers[1], closed, volume},
		{streamers[2], closed, turnover}, // in the base asset, as by REST
		{streamers[0], `{"success":true,"ret_msg":"","conn_id":"x","req_id":"1","op":"subscribe"}`, nil},
		{streamers[0], `{"success":true,"ret_msg":"pong","conn_id":"x","req_id":"","op":"ping"}`, nil},
		{streamers[1], `{"req_id":"test","op":"pong","args":["1675418560633"],"conn_id":"x"}`, nil},
		{streamers[0], `{"topic":"tickers.BTCUSDT","type":"snapshot","data":{"symbol":"BTCUSDT"},"ts":1}`, nil},
	} {
		if f, err := exchangetest.DecodeFrame(tt.venue, tt.body); err != nil || !exchangetest.SamePushes(f.Pushes(), tt.want) || f.Refused != "" || f.Closing {
			t.Errorf("%d: %v, %+v, want %+v", i, err, f, tt.want)
		}
	}
	for name, body := range exchangetest.Bodies(t, "bybit") {
		if !strings.HasPrefix(name, "ws_") {
			continue
		}
		f, err := exchangetest.DecodeFrame(streamers[0], body)
		want, ok := frameOracle(streamers[0], body)
		if err != nil || ok != strings.Contains(name, "kline") || !exchangetest.SamePushes(f.Pushes(), want) || ok == (f.Refused != "") {
			t.Errorf("%s: %v, %+v, want %+v", name, err, f, want)
		}
	}
}

func TestDecodeFrame_SaysWhatIsRefused(t *testing.T) {
	message := func(text string) string {
		return `{"success":false,"ret_msg":"` + text + `","conn_id":"x","req_id":"7","op":"subscribe"}`
	}
	for text, want := range map[string]exchange.Frame{
		"Invalid symbol :[kline.1.NOPEUSDT]":              {Refused: "Invalid symbol :[kline.1.NOPEUSDT]", RefusedSymbol: "NOPEUSDT", RefusedWire: "1", RefusedAll: true},
		"error:handler not found,topic:kline.D.BTC-30DEC": {Refused: "error:handler not found,topic:kline.D.BTC-30DEC", RefusedSymbol: "BTC-30DEC", RefusedWire: "D", RefusedAll: true},
		"error:already subscribed,topic:kline.60.BTCUSDT": {RefusedSymbol: "BTCUSDT", RefusedWire: "60", RefusedAll: true},
		"args size >10":                        {Refused: "args size >10"},
		"Invalid topic: invalid.topic.BTCUSDT": {Refused: "Invalid topic: invalid.topic.BTCUSDT"},
	} {
		f, err := exchangetest.DecodeFrame(streamers[0], message(text))
		if err != nil || f.Refused != want.Refused || f.RefusedID != 7 || f.RefusedSymbol != want.RefusedSymbol || f.RefusedWire != want.RefusedWire || f.RefusedAll != want.RefusedAll {
			t.Errorf("%s: %v, %+v", text, err, f)
		}
	}
	for _, body := range []string{`pong`, `[]`, open[:len(open)-1], strings.Replace(open, `"16608"`, `"x"`, 1), strings.Replace(open, `[{`, `[1,{`, 1), strings.Replace(open, `"volume"`, `"v"`, 1)} {
		if f, err := exchangetest.DecodeFrame(streamers[0], body); err == nil {
			t.Errorf("%s: %+v", body, f)
		}
	}
}

func TestSubscribe(t *testing.T) {
	got := string(streamers[1].Subscribe(3, []service.Key{{Symbol: "BTCUSDT", Interval: "1h"}, {Symbol: "BTCPERP", Interval: "1h"}}))
	if want := `{"req_id":"3","op":"subscribe","args":["kline.60.BTCUSDT","kline.60.BTCPERP"]}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for i, v := range streamers {
		if s := v.Stream(); !strings.HasSuffix(s.URL, []string{"/spot", "/linear", "/inverse"}[i]) || (s.Batch == 10) != (i == 0) {
			t.Errorf("%+v", s)
		}
	}
}

// A message that is refused as a whole because one of its topics is unknown, or pushed
// already, is sent again without that topic.
func TestFeed_AsksAgainForTheOthersOfAMessage(t *testing.T) {
	pushed, unknown := "BUSDT", "DUSDT"
	asked := make(chan []string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		for {
			_, b, err := conn.Read(r.Context())
			var m struct {
				ReqID string `json:"req_id"`
				Args  []string
			}
			if err != nil || json.Unmarshal(b, &m) != nil {
				return
			}
			answer := `{"success":true,"ret_msg":"","req_id":"` + m.ReqID + `","op":"subscribe"}`
			for _, topic := range m.Args {
				if strings.HasSuffix(topic, pushed) {
					answer = `{"success":false,"ret_msg":"error:already subscribed,topic:` + topic + `","req_id":"` + m.ReqID + `","op":"subscribe"}`
					break
				} else if strings.HasSuffix(topic, unknown) {
					answer = `{"success":false,"ret_msg":"error:handler not found,topic:` + topic + `","req_id":"` + m.ReqID + `","op":"subscribe"}`
					break
				}
			}
			asked <- m.Args
			if conn.Write(r.Context(), websocket.MessageText, []byte(answer)) != nil {
				return
			}
		}
	}))
	defer server.Close()
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := exchange.New(Linear, exchange.Config{BaseURL: base})
	defer c.Close()
	refused := make(chan service.Key, 10)
	feed := c.Feed(exchange.Sink{
		Candle:  func(service.Key, levels.Candle, bool, time.Time) {},
		Broken:  func([]service.Key) {},
		Refused: func(s service.Key, _ string) { refused <- s },
	})
	var all []service.Key
	for _, symbol := range []string{"AUSDT", pushed, "CUSDT", unknown, "EUSDT"} {
		all = append(all, service.Key{Exchange: "bybit-linear", Symbol: symbol, Interval: "1m"})
	}
	feed.Want(all)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	done := make(chan struct{})
	go func() { defer close(done); feed.Run(ctx) }()
	defer func() { stop(); <-done }()
	for _, want := range []string{"A B C D E", "A C D E", "A C E"} {
		select {
		case got := <-asked:
			if s := strings.NewReplacer("kline.1.", "", "USDT", "").Replace(strings.Join(got, " ")); s != want {
				t.Errorf("%s is asked for, want %s", s, want)
			}
		case <-ctx.Done():
			t.Fatal("nothing is asked for")
		}
	}
	select {
	case got := <-refused:
		if got.Symbol != unknown || got.Interval != "1m" {
			t.Errorf("%+v is refused", got)
		}
	case <-ctx.Done():
		t.Fatal("nothing is refused")
	}
	if n := feed.Counts().Subscriptions; n != 4 || len(refused) > 0 {
		t.Errorf("%d subscriptions, %d more refusals", n, len(refused))
	}
}

func FuzzDecodeFrame(f *testing.F) {
	f.Add(open)
	f.Add(closed)
	f.Add(`{"success":false,"ret_msg":"error:handler not found,topic:kline.1.A","req_id":"1","op":"subscribe"}`)
	f.Add(`{"success":true,"ret_msg":"pong","op":"ping"}`)
	exchangetest.FuzzFrames(f, frameOracle, streamers...)
}

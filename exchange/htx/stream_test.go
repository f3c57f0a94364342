package htx

import (
	"encoding/json"
	"strings"
	"testing"

	"tidemark/exchange"
	"tidemark/exchange/exchangetest"
	"tidemark/levels"
	"tidemark/service"
)

const (
	tick    = `{"ch":"market.btcusdt.kline.1min","ts":1489474082831,"tick":{"id":1489464480,"amount":1821.49,"count":4,"open":7962.62,"close":8014.56,"low":5110.14,"high":1.496277E4,"vol":4.4}}`
	ping    = `{"ping":1629715504949}`
	refusal = `{"id":"7","status":"error","err-code":"bad-request","err-msg":"invalid symbol nopeusdt","ts":1494301904959}`
)

var pushes = Spot.(exchange.Streamer)

// frameOracle reads a candle with encoding/json.
func frameOracle(_ exchange.Streamer, body string) ([]exchange.Push, bool) {
	message := []byte(body)
	var topic, status string
	_ = json.Unmarshal(exchangetest.Member(message, "ch"), &topic)
	_ = json.Unmarshal(exchangetest.Member(message, "status"), &status)
	rest, _ := strings.CutPrefix(topic, "market.")
	symbol, wire, ok := strings.Cut(rest, ".kline.")
	rows, read := exchangetest.Objects([]byte("["+string(exchangetest.Member(message, "tick"))+"]"), 1000, "id", "open", "high", "low", "close", "amount")
	if !ok || !read || len(rows) != 1 || status == "error" {
		return nil, false
	}
	at, _ := exchangetest.Number(exchangetest.Member(message, "ts"))
	return []exchange.Push{{Symbol: []byte(symbol), Wire: wire, Candle: rows[0], At: at}}, true
}

func TestStream_Frames(t *testing.T) {
	f, err := exchangetest.DecodeFrame(pushes, tick)
	want := []exchange.Push{{Symbol: []byte("btcusdt"), Wire: "1min", At: 1489474082831,
		Candle: levels.Candle{OpenTime: 1489464480000, Open: 7962.62, High: 14962.77, Low: 5110.14, Close: 8014.56, Volume: 1821.49}}}
	if err != nil || !exchangetest.SamePushes(f.Pushes(), want) || f.Reply != nil {
		t.Errorf("%v, %+v", err, f)
	}
	f, err = exchangetest.DecodeFrame(pushes, ping)
	if err != nil || string(f.Reply) != `{"pong":1629715504949}` || len(f.Pushes()) > 0 || f.Refused != "" {
		t.Errorf("%v, %+v", err, f)
	}
	f, err = exchangetest.DecodeFrame(pushes, refusal)
	if err != nil || f.Refused != "bad-request invalid symbol nopeusdt" || f.RefusedID != 7 || f.RefusedSymbol != "" || f.RefusedAll {
		t.Errorf("%v, %+v", err, f)
	}
	for _, message := range []string{
		`{"id":"1","status":"ok","subbed":"market.btcusdt.kline.1min","ts":1489474081631}`,
		`{"ch":"market.btcusdt.detail","ts":1,"tick":{"id":1,"close":2}}`,
		`{"pong":1}`,
	} {
		if f, err := exchangetest.DecodeFrame(pushes, message); err != nil || len(f.Pushes()) > 0 || f.Refused != "" || f.Reply != nil {
			t.Errorf("%s: %v, %+v", message, err, f)
		}
	}
	for _, message := range []string{
		strings.Replace(tick, `"amount":1821.49,`, "", 1),
		`{"id":"8","status":"error","err-code":"bad-request","err-msg":"429 too many request topic is market.btcusdt.kline.1min"}`, // not about the pair
		`{"ping":"x"}`, tick[:80],
	} {
		if f, err := exchangetest.DecodeFrame(pushes, message); err == nil {
			t.Errorf("%s: %+v", message, f)
		}
	}
}

func TestStream_Recordings(t *testing.T) {
	n := 0
	for _, name := range []string{"ws_*", "docs_ws_*"} {
		for _, frame := range exchangetest.Frames(t, "htx", name) {
			if frame == "" { // a message of the client
				continue
			}
			f, err := exchangetest.DecodeFrame(pushes, frame)
			if want, _ := frameOracle(pushes, frame); err != nil || !exchangetest.SamePushes(f.Pushes(), want) {
				t.Errorf("%s: %v, %+v, want %+v", frame, err, f, want)
			}
			n += len(f.Pushes())
		}
	}
	t.Logf("%d recorded candles", n)
}

func TestStream_Subscribe(t *testing.T) {
	message := pushes.Subscribe(3, []service.Key{{Symbol: "btcusdt", Interval: "1h"}})
	if string(message) != `{"sub":"market.btcusdt.kline.60min","id":"3"}` {
		t.Errorf("%s", message)
	}
}

func TestStream_EqualsREST(t *testing.T) {
	t.Parallel()
	exchangetest.Pushed(t, Spot)
}

func FuzzDecodeFrame(f *testing.F) {
	for _, seed := range []string{tick, ping, refusal, `{"tick":null,"ch":"market.a.kline.b"}`} {
		f.Add(seed)
	}
	exchangetest.FuzzFrames(f, frameOracle, pushes)
}

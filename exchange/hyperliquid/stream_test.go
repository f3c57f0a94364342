package hyperliquid

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"tidemark/exchange"
	"tidemark/exchange/exchangetest"
	"tidemark/levels"
	"tidemark/service"
)

const (
	update = `{"channel":"candle","data":{"t":1710146280000,"T":1710146339999,"s":"BTC","i":"1m","o":"71400.0","c":"71411.0","h":"71422.0",` +
		`"l":"71389.0","v":"1.20407","n":20}}`
	refusal = `{"channel":"error","data":"Invalid subscription {\"type\":\"candle\",\"interval\":\"1d\",\"coin\":\"NOPE\"}"}`
)

var pushes = Perps.(exchange.Streamer)

// frameOracle reads candles with encoding/json.
func frameOracle(_ exchange.Streamer, body string) (all []exchange.Push, ok bool) {
	message := []byte(body)
	var channel string
	_ = json.Unmarshal(exchangetest.Member(message, "channel"), &channel)
	data := exchangetest.Member(message, "data")
	var items []json.RawMessage
	if json.Unmarshal(data, &items) != nil {
		items = []json.RawMessage{data}
	}
	for _, item := range items {
		var symbol, wire string
		_ = json.Unmarshal(exchangetest.Member(item, "s"), &symbol)
		_ = json.Unmarshal(exchangetest.Member(item, "i"), &wire)
		candle, ok := exchangetest.Objects([]byte("["+string(item)+"]"), 1, "t", "o", "h", "l", "c", "v")
		if channel == "candle" && ok && exchangetest.Member(item, "s") != nil && wire != "" {
			all = append(all, exchange.Push{Symbol: []byte(symbol), Wire: wire, Candle: candle[0]})
		}
	}
	return all, true
}

func TestStream_Frames(t *testing.T) {
	want := exchange.Push{
		Symbol: []byte("BTC"), Wire: "1m",
		Candle: levels.Candle{OpenTime: 1710146280000, Open: 71400, High: 71422, Low: 71389, Close: 71411, Volume: 1.20407},
	}
	two := want
	two.Symbol = []byte("PURR/USDC")
	_, data, _ := strings.Cut(strings.TrimSuffix(update, "}"), `"data":`)
	for message, want := range map[string][]exchange.Push{
		update: {want},
		`{"data":[` + data + `,` + strings.Replace(data, `"BTC"`, `"PURR/USDC"`, 1) + `],"channel":"candle"}`:                            {want, two},
		strings.Replace(update, `"candle"`, `"other"`, 1):                                                                                nil,
		strings.Replace(update, `"v"`, `"w"`, 1):                                                                                         nil,
		`{"channel":"subscriptionResponse","data":{"method":"subscribe","subscription":{"type":"candle","interval":"1m","coin":"BTC"}}}`: nil,
		`{"channel":"pong"}`: nil,
		`{"channel":"error","data":"Already subscribed: {\"type\":\"candle\",\"interval\":\"1m\",\"coin\":\"BTC\"}"}`: nil,
	} {
		if f, err := exchangetest.DecodeFrame(pushes, message); err != nil || f.Refused != "" || !exchangetest.SamePushes(f.Pushes(), want) {
			t.Errorf("%s: %v, %+v", message, err, f)
		}
	}
	for message, want := range map[string]exchange.Frame{
		refusal: {Refused: `error: Invalid subscription {"type":"candle","interval":"1d","coin":"NOPE"}`, RefusedSymbol: "NOPE", RefusedWire: "1d"},
		`{"channel":"error","data":"Error parsing JSON into valid websocket request: {}"}`: {Refused: "error: Error parsing JSON into valid websocket request: {}"},
		`{"channel":"error"}`: {Refused: "error: "},
	} {
		if f, err := exchangetest.DecodeFrame(pushes, message); err != nil || fmt.Sprintf("%+v", f) != fmt.Sprintf("%+v", want) {
			t.Errorf("%s: %v, %+v", message, err, f)
		}
	}
}

func TestStream_Subscribe(t *testing.T) {
	message := pushes.Subscribe(1, []service.Key{{Symbol: "PURR/USDC", Interval: "12h"}})
	if want := `{"method":"subscribe","subscription":{"type":"candle","coin":"PURR/USDC","interval":"12h"}}`; string(message) != want {
		t.Errorf("%s", message)
	}
}

// The limits are those of an address, on which both markets are.
func TestStream_LimitsOfAnAddress(t *testing.T) {
	series, connections, opened, messages := 0, 0, 0.0, 0.0
	for _, v := range []exchange.Venue{Perps, Spot} {
		facts := v.(exchange.Streamer).Stream()
		series += facts.Series * facts.Most
		connections += 2 * facts.Most // one and its replacement
		opened += 60 / facts.Connects.Seconds()
		messages += float64(facts.Most) * 60 / facts.Pace.Seconds()
	}
	if series > 1_000 || connections > 10 || opened > 30 || messages > 2_000 {
		t.Errorf("%d series, %d connections, %.1f opened and %.0f messages in a minute", series, connections, opened, messages)
	}
}

func TestStream_EqualsREST(t *testing.T) {
	t.Parallel()
	exchangetest.Pushed(t, Perps) // the list of Spot has pairs that do not trade
}

func FuzzDecodeFrame(f *testing.F) {
	for _, seed := range []string{update, refusal, `{"data":[{"t":1,"o":1,"h":1,"l":1,"c":1,"v":0,"s":"","i":"1m"},1],"channel":"candle"}`, `{"data":null,"channel":"error"}`} {
		f.Add(seed)
	}
	exchangetest.FuzzFrames(f, frameOracle, pushes)
}

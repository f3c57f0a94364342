package okx

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"tidemark/exchange"
	"tidemark/exchange/exchangetest"
	"tidemark/levels"
	"tidemark/service"
)

var streamers = []exchange.Streamer{Spot.(exchange.Streamer), Swap.(exchange.Streamer)}

// frameOracle reads candles with encoding/json.
func frameOracle(v exchange.Streamer, body string) (all []exchange.Push, ok bool) {
	volume := 5
	if v.Spec().Name == "okx-swap" {
		volume = 6
	}
	var name, symbol string
	arg := exchangetest.Member([]byte(body), "arg")
	if exchangetest.Member([]byte(body), "event") != nil || json.Unmarshal(exchangetest.Member(arg, "channel"), &name) != nil {
		return nil, false
	}
	_ = json.Unmarshal(exchangetest.Member(arg, "instId"), &symbol)
	wire, ok := strings.CutPrefix(name, "candle")
	data := exchangetest.Member([]byte(body), "data")
	candles, ok2 := exchangetest.Rows(data, 1, 9, 0, 1, 2, 3, 4, volume)
	var rows [][]json.RawMessage
	if !ok || !ok2 || json.Unmarshal(data, &rows) != nil {
		return nil, false
	}
	for i, k := range candles {
		confirm := strings.Trim(string(rows[i][8]), `"`)
		all = append(all, exchange.Push{Symbol: []byte(symbol), Wire: wire, Candle: k, Closed: confirm == "1"})
	}
	return all, true
}

const (
	open   = `{"arg":{"channel":"candle1m","instId":"BTC-USDT"},"data":[["1705431600000","43016.1","43183.8","42946","43169.7","404.74","17447600.21","17447600.21","0"]]}`
	closed = `{"data":[["1705431660000","1","4","0.5","2","7","70","140","1"],["1705431600000","1","3","0.5","1","5","50","100","1"]],"arg":{"instId":"BTC-USDT-SWAP","channel":"candle1Dutc"}}`
)

func TestDecodeFrame(t *testing.T) {
	swaps := []exchange.Push{
		{Symbol: []byte("BTC-USDT-SWAP"), Wire: "1Dutc", Closed: true, Candle: levels.Candle{OpenTime: 1705431660000, Open: 1, High: 4, Low: 0.5, Close: 2, Volume: 70}},
		{Symbol: []byte("BTC-USDT-SWAP"), Wire: "1Dutc", Closed: true, Candle: levels.Candle{OpenTime: 1705431600000, Open: 1, High: 3, Low: 0.5, Close: 1, Volume: 50}},
	}
	spot := slices.Clone(swaps)
	spot[0].Candle.Volume, spot[1].Candle.Volume = 7, 5
	for i, tt := range []struct {
		venue exchange.Streamer
		body  string
		want  []exchange.Push
	}{
		{streamers[0], open, []exchange.Push{{Symbol: []byte("BTC-USDT"), Wire: "1m", Candle: levels.Candle{OpenTime: 1705431600000, Open: 43016.1, High: 43183.8, Low: 42946, Close: 43169.7, Volume: 404.74}}}},
		{streamers[1], closed, swaps}, // the volumes are contracts, base and quote
		{streamers[0], closed, spot},
		{streamers[0], `{"id":"1","event":"subscribe","arg":{"channel":"candle1m","instId":"BTC-USDT"},"connId":"a4d3ae55"}`, nil},
		{streamers[0], `{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"last":"1"}]}`, nil},
	} {
		if f, err := exchangetest.DecodeFrame(tt.venue, tt.body); err != nil || !exchangetest.SamePushes(f.Pushes(), tt.want) || f.Refused != "" || f.Closing {
			t.Errorf("%d: %v, %+v, want %+v", i, err, f, tt.want)
		}
	}
	for name, body := range exchangetest.Bodies(t, "okx") {
		if !strings.HasPrefix(name, "ws_") {
			continue
		}
		f, err := exchangetest.DecodeFrame(streamers[0], body)
		want, ok := frameOracle(streamers[0], body)
		if err != nil || ok != strings.Contains(name, "candle") || !exchangetest.SamePushes(f.Pushes(), want) {
			t.Errorf("%s: %v, %+v, want %+v", name, err, f, want)
		}
	}
}

// The volume of a row that is pushed is that of the same row of REST.
func TestDecodeFrame_HasTheVolumesOfDecodeKlines(t *testing.T) {
	row := `["1705431600000","1","3","0.5","1","5","50","100","1"]`
	for _, v := range streamers {
		rest, err := exchangetest.Decode(v, `{"code":"0","msg":"","data":[`+row+`]}`)
		f, err2 := exchangetest.DecodeFrame(v, `{"arg":{"channel":"candle1H","instId":"A"},"data":[`+row+`]}`)
		if err != nil || err2 != nil || len(rest) != 1 || len(f.Pushes()) != 1 || f.Pushes()[0].Candle != rest[0] {
			t.Errorf("%s: %+v (%v), want %+v (%v)", v.Spec().Name, f, err2, rest, err)
		}
	}
}

func TestDecodeFrame_SaysWhatIsRefused(t *testing.T) {
	message := func(code, msg string) string {
		return `{"id":"7","event":"error","code":"` + code + `","msg":"` + msg + `","connId":"a4d3ae55"}`
	}
	missing := "Wrong URL or channel:candle1Dutc,instId:A-USDT-SWAP doesn't exist. Please use the correct URL, channel and parameters referring to API document."
	for body, want := range map[string]exchange.Frame{
		message("60018", missing): {Refused: "60018 " + missing, RefusedID: 7, RefusedSymbol: "A-USDT-SWAP", RefusedWire: "1Dutc", RefusedAll: true},
		`{"event":"error","msg":"channel:candle1m,instId:A-USDT doesn't exist","code":"60018"}`: {
			Refused: "60018 channel:candle1m,instId:A-USDT doesn't exist", RefusedSymbol: "A-USDT", RefusedWire: "1m", RefusedAll: true,
		},
		message("60012", "Invalid request: {}"): {Refused: "60012 Invalid request: {}", RefusedID: 7},
		`{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please reconnect."}`: {Closing: true},
		`{"event":"channel-conn-count","channel":"candle1m","connCount":"2","connId":"abc"}`:                                    {},
	} {
		f, err := exchangetest.DecodeFrame(streamers[1], body)
		if err != nil || f.Refused != want.Refused || f.RefusedID != want.RefusedID || f.RefusedSymbol != want.RefusedSymbol ||
			f.RefusedWire != want.RefusedWire || f.RefusedAll != want.RefusedAll || f.Closing != want.Closing || len(f.Pushes()) > 0 {
			t.Errorf("%s: %v, %+v", body, err, f)
		}
	}
	for _, body := range []string{ // the connection is of no use
		message("60014", "Requests too frequent"), message("64007", "Operation failed due to WebSocket internal error."),
		`{"event":"channel-conn-count-error","channel":"candle1m","connCount":"31","connId":"abc"}`,
		`pong?`, `[]`, open[:len(open)-1], strings.Replace(open, `"1705431600000"`, `"x"`, 1), strings.Replace(open, `[["`, `["1",["`, 1),
	} {
		if f, err := exchangetest.DecodeFrame(streamers[0], body); err == nil {
			t.Errorf("%s: %+v", body, f)
		}
	}
}

func TestSubscribe(t *testing.T) {
	got := string(streamers[0].Subscribe(3, []service.Key{{Symbol: "BTC-USDT", Interval: "1h"}, {Symbol: "ETH-USDT", Interval: "1h"}}))
	if want := `{"id":"3","op":"subscribe","args":[{"channel":"candle1H","instId":"BTC-USDT"},{"channel":"candle1H","instId":"ETH-USDT"}]}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := string(streamers[1].Subscribe(1, []service.Key{{Symbol: "BTC-USDT-SWAP", Interval: "1d"}})); !strings.Contains(got, `"candle1Dutc"`) {
		t.Error(got)
	}
}

func FuzzDecodeFrame(f *testing.F) {
	f.Add(open)
	f.Add(closed)
	f.Add(`{"id":"7","event":"error","code":"60018","msg":"channel:candle1m,instId:A doesn't exist"}`)
	f.Add(`{"event":"notice","code":"64008"}`)
	exchangetest.FuzzFrames(f, frameOracle, streamers...)
}

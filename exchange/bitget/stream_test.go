package bitget

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tidemark/exchange"
	"tidemark/exchange/exchangetest"
	"tidemark/levels"
	"tidemark/service"
)

const (
	snapshot = `{"action":"snapshot","arg":{"instType":"SPOT","channel":"candle1m","instId":"ETHUSDT"},"data":[` +
		`["1695672660000","2200.3","2200.9","2199.8","2200","5.1","11220.1","11220.1"],` +
		`["1695672720000","2200","2200.4","2199.9","2200.1","7.25","15950.5","15950.5"],` +
		`["1695672780000","2200.1","2200.1","2200.1","2200.1","0","0","0"]],"ts":1695672781821}`
	refusal = `{"event":"error","arg":{"instType":"SPOT","channel":"candle1m","instId":"NOPEUSDT"},"code":30001,` +
		`"msg":"instType:SPOT,channel:candle1m,instId:NOPEUSDT doesn't exist","op":"subscribe"}`
)

var pushes = Spot.(exchange.Streamer)

// frameOracle reads the newest two candles of a message with encoding/json.
func frameOracle(_ exchange.Streamer, body string) ([]exchange.Push, bool) {
	message := []byte(body)
	var event, symbol, wire string
	arg := exchangetest.Member(message, "arg")
	_ = json.Unmarshal(exchangetest.Member(message, "event"), &event)
	_ = json.Unmarshal(exchangetest.Member(arg, "instId"), &symbol)
	_ = json.Unmarshal(exchangetest.Member(arg, "channel"), &wire)
	rows, ok := exchangetest.Rows(exchangetest.Member(message, "data"), 1, 6, 0, 1, 2, 3, 4, 5)
	if !ok || event == "error" || wire == "" || exchangetest.Member(arg, "instId") == nil {
		return nil, true
	}
	at, _ := exchangetest.Number(exchangetest.Member(message, "ts"))
	last := map[int64]levels.Candle{}
	var opens []int64
	for _, k := range rows {
		last[k.OpenTime] = k
		opens = append(opens, k.OpenTime)
	}
	slices.Sort(opens)
	opens = slices.Compact(opens)
	var all []exchange.Push
	for _, open := range opens[max(0, len(opens)-2):] {
		all = append(all, exchange.Push{Symbol: []byte(symbol), Wire: wire, Candle: last[open], At: at})
	}
	return all, true
}

func TestStream_Frames(t *testing.T) {
	f, err := exchangetest.DecodeFrame(pushes, snapshot)
	want := []exchange.Push{
		{Symbol: []byte("ETHUSDT"), Wire: "candle1m", Candle: levels.Candle{OpenTime: 1695672720000, Open: 2200, High: 2200.4, Low: 2199.9, Close: 2200.1, Volume: 7.25}, At: 1695672781821},
		{Symbol: []byte("ETHUSDT"), Wire: "candle1m", Candle: levels.Candle{OpenTime: 1695672780000, Open: 2200.1, High: 2200.1, Low: 2200.1, Close: 2200.1}, At: 1695672781821},
	}
	if err != nil || !exchangetest.SamePushes(f.Pushes(), want) {
		t.Errorf("%v, %+v", err, f.Pushes())
	}
	f, err = exchangetest.DecodeFrame(pushes, refusal)
	if err != nil || !strings.HasPrefix(f.Refused, "30001 instType:SPOT") || f.RefusedSymbol != "NOPEUSDT" || f.RefusedWire != "candle1m" || len(f.Pushes()) > 0 {
		t.Errorf("%v, %+v", err, f)
	}
	for _, message := range []string{
		`{"event":"subscribe","arg":{"instType":"SPOT","channel":"candle1m","instId":"ETHUSDT"}}`,
		`{"action":"snapshot","arg":{"instType":"SPOT","channel":"candle1m","instId":"ETHUSDT"},"data":[],"ts":1}`,
	} {
		if f, err := exchangetest.DecodeFrame(pushes, message); err != nil || len(f.Pushes()) > 0 || f.Refused != "" {
			t.Errorf("%s: %v, %+v", message, err, f)
		}
	}
}

// The newest two candles of a history are kept in whatever order they come.
func TestStream_Order(t *testing.T) {
	for _, order := range [][]int64{{1, 2, 3}, {1, 3, 2}, {2, 1, 3}, {2, 3, 1}, {3, 1, 2}, {3, 2, 1}, {3, 3, 2, 2, 1, 3}} {
		var rows []string
		for _, open := range order {
			rows = append(rows, fmt.Sprintf(`["%d","1","1","1","1","%d"]`, open*60_000, len(rows)))
		}
		message := `{"data":[` + strings.Join(rows, ",") + `],"arg":{"instId":"A","channel":"candle1m"}}`
		f, err := exchangetest.DecodeFrame(pushes, message)
		if want, _ := frameOracle(pushes, message); err != nil || len(want) != 2 || !exchangetest.SamePushes(f.Pushes(), want) {
			t.Errorf("%v: %v, %+v, want %+v", order, err, f.Pushes(), want)
		}
	}
}

// The recorded frames are of API v1, whose rows have fewer columns.
func TestStream_Recordings(t *testing.T) {
	frames := exchangetest.Frames(t, "bitget", "ws_*")
	n, histories := 0, 0
	for _, frame := range frames {
		f, err := exchangetest.DecodeFrame(pushes, frame)
		if want, _ := frameOracle(pushes, frame); err != nil || f.Refused != "" || !exchangetest.SamePushes(f.Pushes(), want) {
			t.Errorf("%.200s: %v, %+v, want %+v", frame, err, f.Pushes(), want)
		}
		n += len(f.Pushes())
		if strings.Contains(frame, `"snapshot"`) {
			histories++
		}
	}
	if frames != nil && (histories == 0 || n < 2*histories) {
		t.Errorf("%d pushes, %d histories", n, histories)
	}
}

func TestStream_Subscribe(t *testing.T) {
	s := pushes
	var series []service.Key
	for i := range s.Stream().Batch {
		series = append(series, service.Key{Symbol: fmt.Sprintf("A%dUSDT", i), Interval: "1d"})
	}
	var got struct {
		Op   string
		Args []struct{ InstType, Channel, InstID string }
	}
	message := s.Subscribe(1, series)
	if err := json.Unmarshal(message, &got); err != nil || got.Op != "subscribe" || len(got.Args) != len(series) || len(message) > s.Stream().Message {
		t.Fatalf("%s: %v", message, err)
	}
	if a := got.Args[1]; a.InstType != "SPOT" || a.Channel != "candle1Dutc" || a.InstID != "A1USDT" {
		t.Errorf("%+v", a)
	}
}

func TestStream_EqualsREST(t *testing.T) {
	t.Parallel()
	exchangetest.Pushed(t, Spot)
}

func FuzzDecodeFrame(f *testing.F) {
	for _, seed := range []string{snapshot, refusal, `{"data":null,"arg":{"instId":"A","channel":"candle1m"}}`, `{"data":[["3","1","1","1","1","1"],["2","1","1","1","1","1"]],"arg":{"instId":"A","channel":"c"}}`} {
		f.Add(seed)
	}
	exchangetest.FuzzFrames(f, frameOracle, pushes)
}

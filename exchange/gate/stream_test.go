package gate

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"tidemark/exchange"
	"tidemark/exchange/exchangetest"
	"tidemark/levels"
	"tidemark/service"
)

const update = `{"time":1606292600,"time_ms":1606292600376,"channel":"spot.candlesticks","event":"update","result":` +
	`{"t":"1606292580","v":"2362.32035","c":"19128.1","h":"19130","l":"19127.5","o":"19129.9","n":"1m_BTC_USDT","a":"3.8283","w":true}}`

var pushedCandle = levels.Candle{OpenTime: 1606292580000, Open: 19129.9, High: 19130, Low: 19127.5, Close: 19128.1, Volume: 3.8283}

var pushes = Spot.(exchange.Streamer)

// frameOracle reads an update with encoding/json.
func frameOracle(_ exchange.Streamer, body string) ([]exchange.Push, bool) {
	message := []byte(body)
	text := func(object []byte, name string) string {
		return strings.Trim(string(exchangetest.Member(object, name)), `"`)
	}
	result := exchangetest.Member(message, "result")
	if text(message, "channel") != "spot.candlesticks" || text(message, "event") != "update" {
		return nil, true
	}
	row := "[["
	for _, name := range []string{"t", "o", "h", "l", "c", "a"} {
		row += string(exchangetest.Member(result, name)) + ","
	}
	candles, ok := exchangetest.Rows([]byte(strings.TrimSuffix(row, ",")+"]]"), 1_000, 6, 0, 1, 2, 3, 4, 5)
	interval, pair, cut := strings.Cut(text(result, "n"), "_")
	if !ok || !cut {
		return nil, true
	}
	at, _ := exchangetest.Number(exchangetest.Member(message, "time_ms"))
	if at == 0 {
		at, _ = exchangetest.Number(exchangetest.Member(message, "time"))
		at *= 1_000
	}
	closed, _ := strconv.ParseBool(text(result, "w"))
	return []exchange.Push{{Symbol: []byte(pair), Wire: interval, Candle: candles[0], Closed: closed, At: at}}, true
}

// The volume of a push is that of the kline of REST, in the base asset.
func TestStream_Volume(t *testing.T) {
	f, err := exchangetest.DecodeFrame(pushes, update)
	want := exchange.Push{Symbol: []byte("BTC_USDT"), Wire: "1m", Candle: pushedCandle, Closed: true, At: 1606292600376}
	if err != nil || !exchangetest.SamePushes(f.Pushes(), []exchange.Push{want}) {
		t.Fatalf("%v, %+v", err, f.Pushes())
	}
	fetched, err := exchangetest.Decode(Spot, `[["1606292580","2362.32035","19128.1","19130","19127.5","19129.9","3.8283","true"]]`)
	if err != nil || len(fetched) != 1 || fetched[0] != pushedCandle {
		t.Errorf("%v, %+v", err, fetched)
	}
}

func TestStream_Frames(t *testing.T) {
	forming := strings.Replace(update, `,"w":true`, "", 1)
	if f, err := exchangetest.DecodeFrame(pushes, forming); err != nil || len(f.Pushes()) != 1 || f.Pushes()[0].Closed {
		t.Errorf("without a flag: %v, %+v", err, f)
	}
	for _, message := range []string{
		`{"time":1619093532,"channel":"spot.candlesticks","event":"subscribe","result":{"status":"success"}}`,
		`{"time":1619093532,"channel":"spot.pong","event":"","error":null,"result":null}`,
		`{"time":1619093532,"channel":"spot.ping","event":"","error":{"code":1,"message":"no time"},"result":null}`,
		strings.Replace(update, `,"a":"3.8283"`, "", 1), // of 2021
		strings.Replace(update, "spot.candlesticks", "spot.tickers", 1),
	} {
		if f, err := exchangetest.DecodeFrame(pushes, message); err != nil || len(f.Pushes()) > 0 || f.Refused != "" {
			t.Errorf("%s: %v, %+v", message, err, f)
		}
	}
	refusal := `{"time":1606292218,"time_ms":1606292218231,"id":7,"channel":"spot.candlesticks","event":"subscribe",` +
		`"error":{"code":2,"message":"unknown currency pair: GIBBERISH_USD"},"result":null}`
	if f, err := exchangetest.DecodeFrame(pushes, refusal); err != nil || f.Refused != "2 unknown currency pair: GIBBERISH_USD" || f.RefusedID != 7 {
		t.Errorf("%v, %+v", err, f)
	}
}

// The recorded frames are of 2021, when a push had no volume in the base asset. With one
// they decode to their candles.
func TestStream_Recordings(t *testing.T) {
	frames := exchangetest.Frames(t, "gate", "ws_*")
	updates := 0
	for _, frame := range frames {
		f, err := exchangetest.DecodeFrame(pushes, frame)
		if err != nil || len(f.Pushes()) > 0 || f.Refused != "" {
			t.Errorf("%s: %v, %+v", frame, err, f)
		}
		if !strings.Contains(frame, `"update"`) {
			continue
		}
		updates++
		frame = strings.Replace(frame, `"v":`, `"a":"0.25","v":`, 1)
		f, err = exchangetest.DecodeFrame(pushes, frame)
		want, _ := frameOracle(pushes, frame)
		if err != nil || len(want) != 1 || want[0].Candle.Volume != 0.25 || !exchangetest.SamePushes(f.Pushes(), want) {
			t.Errorf("%s: %v, %+v, want %+v", frame, err, f.Pushes(), want)
		}
	}
	if frames != nil && updates != 14 {
		t.Errorf("%d updates", updates)
	}
}

func TestStream_Subscribe(t *testing.T) {
	s := pushes
	message := s.Subscribe(9, []service.Key{{Symbol: "BTC_USDT", Interval: "1h"}})
	var got struct {
		Time           int64
		ID             int
		Channel, Event string
		Payload        []string
	}
	if err := json.Unmarshal(message, &got); err != nil || got.ID != 9 || got.Time == 0 || got.Channel != "spot.candlesticks" ||
		got.Event != "subscribe" || strings.Join(got.Payload, " ") != "1h BTC_USDT" {
		t.Errorf("%s: %v", message, err)
	}
	if s.Stream().Intervals["2h"] != "" {
		t.Error("there are no pushed candles of 2h")
	}
}

func TestStream_EqualsREST(t *testing.T) {
	t.Parallel()
	exchangetest.Pushed(t, Spot)
}

func FuzzDecodeFrame(f *testing.F) {
	for _, seed := range []string{update, strings.Replace(update, "true", "false", 1), `{"channel":"spot.pong","result":null}`, `{"result":[],"event":"update","channel":"spot.candlesticks"}`} {
		f.Add(seed)
	}
	exchangetest.FuzzFrames(f, frameOracle, pushes)
}

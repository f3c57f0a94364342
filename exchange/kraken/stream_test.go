package kraken

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidemark/exchange"
	"tidemark/exchange/exchangetest"
	"tidemark/levels"
	"tidemark/service"
)

const (
	pushedUpdate = `{"channel":"ohlc","type":"update","timestamp":"2023-10-04T16:26:30.524394914Z","data":[{"symbol":"MATIC/USD","open":0.5624,"high":0.5628,` +
		`"low":0.5622,"close":0.5627,"trades":12,"volume":30927.68066226,"vwap":0.5626,"interval_begin":"2023-10-04T16:25:00.000000000Z","interval":5,` +
		`"timestamp":"2023-10-04T16:30:00.000000Z"}]}`
	pushedRefusal = `{"error":"Currency pair not supported FOO/USD","method":"subscribe","req_id":3,"success":false,"symbol":"FOO/USD",` +
		`"time_in":"2023-10-04T16:25:00.000000Z","time_out":"2023-10-04T16:25:00.000001Z"}`
)

var pushes = Spot.(exchange.Streamer)

// frameOracle reads candles with encoding/json. Of several of a pair in a row it keeps the
// newest two.
func frameOracle(_ exchange.Streamer, body string) (all []exchange.Push, ok bool) {
	message := []byte(body)
	var items []json.RawMessage
	if json.Unmarshal(exchangetest.Member(message, "data"), &items) != nil {
		return nil, true
	}
	var run []exchange.Push
	flush := func() {
		last := map[int64]exchange.Push{}
		var opens []int64
		for _, p := range run {
			last[p.Candle.OpenTime] = p
			opens = append(opens, p.Candle.OpenTime)
		}
		slices.Sort(opens)
		opens = slices.Compact(opens)
		for _, open := range opens[max(0, len(opens)-2):] {
			all = append(all, last[open])
		}
		run = nil
	}
	for _, item := range items {
		begin, err := time.Parse(time.RFC3339Nano, strings.Trim(string(exchangetest.Member(item, "interval_begin")), `"`))
		symbol, interval := exchangetest.Member(item, "symbol"), exchangetest.Member(item, "interval")
		if err != nil || symbol == nil || interval == nil {
			continue
		}
		row := "[[" + strconv.FormatInt(begin.UnixMilli(), 10)
		for _, name := range []string{"open", "high", "low", "close", "volume"} {
			row += "," + string(exchangetest.Member(item, name))
		}
		k, ok := exchangetest.Rows([]byte(row+"]]"), 1, 6, 0, 1, 2, 3, 4, 5)
		if !ok {
			continue
		}
		p := exchange.Push{Symbol: []byte(strings.Trim(string(symbol), `"`)), Wire: strings.Trim(string(interval), `"`), Candle: k[0]}
		if len(run) > 0 && (string(run[0].Symbol) != string(p.Symbol) || run[0].Wire != p.Wire) {
			flush()
		}
		run = append(run, p)
	}
	flush()
	return all, true
}

func TestStream_Frames(t *testing.T) {
	f, err := exchangetest.DecodeFrame(pushes, pushedUpdate)
	want := []exchange.Push{{Symbol: []byte("MATIC/USD"), Wire: "5", Candle: levels.Candle{
		OpenTime: time.Date(2023, 10, 4, 16, 25, 0, 0, time.UTC).UnixMilli(), Open: 0.5624, High: 0.5628, Low: 0.5622, Close: 0.5627, Volume: 30927.68066226,
	}}}
	if err != nil || !exchangetest.SamePushes(f.Pushes(), want) {
		t.Errorf("%v, %+v", err, f.Pushes())
	}
	f, err = exchangetest.DecodeFrame(pushes, pushedRefusal)
	if err != nil || f.Refused != "Currency pair not supported FOO/USD" || f.RefusedID != 3 || f.RefusedSymbol != "FOO/USD" {
		t.Errorf("%v, %+v", err, f)
	}
	for _, message := range []string{
		`{"channel":"heartbeat"}`,
		`{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online","api_version":"v2","connection_id":12393906104898154338}]}`,
		`{"method":"pong","req_id":101,"time_in":"2023-09-24T14:10:23.799685Z","time_out":"2023-09-24T14:10:23.799703Z"}`,
		`{"method":"subscribe","req_id":1,"result":{"channel":"ohlc","interval":1,"snapshot":false,"symbol":"BTC/USD","warnings":["x"]},"success":true}`,
	} {
		if f, err := exchangetest.DecodeFrame(pushes, message); err != nil || len(f.Pushes()) > 0 || f.Refused != "" {
			t.Errorf("%s: %v, %+v", message, err, f)
		}
	}
	for _, message := range []string{`{"Error":"Exceeded msg rate"}`, `{"error":"Exceeded msg rate","method":"subscribe","success":false,"req_id":2}`} {
		if f, err := exchangetest.DecodeFrame(pushes, message); err == nil || f.Refused != "" {
			t.Errorf("%s: %v, %+v", message, err, f)
		}
	}
}

// A history has many candles of a pair; two of each are added.
func TestStream_History(t *testing.T) {
	var items []string
	for _, symbol := range []string{"BTC/USD", "ETH/USD"} {
		for minute := range 60 {
			items = append(items, `{"symbol":"`+symbol+`","interval":1,"interval_begin":"2023-10-04T16:`+strconv.Itoa(minute/10)+strconv.Itoa(minute%10)+
				`:00.000000000Z","open":1,"high":1,"low":1,"close":1,"volume":`+strconv.Itoa(minute)+`}`)
		}
	}
	f, err := exchangetest.DecodeFrame(pushes, `{"channel":"ohlc","type":"snapshot","data":[`+strings.Join(items, ",")+`]}`)
	if err != nil || len(f.Pushes()) != 4 {
		t.Fatalf("%v, %+v", err, f.Pushes())
	}
	for i, p := range f.Pushes() {
		if want := []string{"BTC/USD", "ETH/USD"}[i/2]; string(p.Symbol) != want || p.Candle.Volume != float64(58+i%2) {
			t.Errorf("%s %+v", p.Symbol, p.Candle)
		}
	}
}

func TestStream_Recordings(t *testing.T) {
	n := 0
	frames := exchangetest.Frames(t, "kraken", "ws_*")
	for _, frame := range frames {
		f, err := exchangetest.DecodeFrame(pushes, frame)
		if want, _ := frameOracle(pushes, frame); err != nil || f.Refused != "" || !exchangetest.SamePushes(f.Pushes(), want) {
			t.Errorf("%s: %v, %+v, want %+v", frame, err, f.Pushes(), want)
		}
		n += len(f.Pushes())
	}
	if frames != nil && n != 1 {
		t.Errorf("%d pushes", n)
	}
}

func TestStream_Names(t *testing.T) {
	for id, want := range map[string]string{
		"XXBTZUSD": "BTC/USD", "XETHXXBT": "ETH/BTC", "XDGUSD": "DOGE/USD", "ETHAUD": "ETH/AUD", "XTZUSD": "XTZ/USD", "SOLUSDT": "SOL/USDT",
		"USDTZUSD": "USDT/USD", "ZEURZUSD": "EUR/USD", "TUSDUSD": "TUSD/USD", "XBTUSDC": "BTC/USDC", "AAPLxUSD": "AAPLx/USD",
		"LUNA2USD": "LUNA2/USD", "USD": "", "": "", "ABCXYZ": "",
	} {
		if got := symbolOf(id); got != want {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
	// The list gives the name of API v1, with XBT and XDG.
	old := strings.NewReplacer("XBT/", "BTC/", "/XBT", "/BTC", "XDG/", "DOGE/")
	for name, r := range exchangetest.Recordings(t, "kraken", "AssetPairs*") {
		var pairs map[string]struct{ Wsname string }
		if err := json.Unmarshal(exchangetest.Member([]byte(r.Body), "result"), &pairs); err != nil {
			t.Fatal(err)
		}
		for id, p := range pairs {
			if want := old.Replace(p.Wsname); want != "" && !strings.Contains(id, ":") && symbolOf(id) != want {
				t.Errorf("%s: %s is %q, want %q", name, id, symbolOf(id), want)
			}
		}
	}
}

// A pair without a name on the wire is not asked for.
func TestStream_Unnamed(t *testing.T) {
	c := exchange.New(Spot, exchange.Config{})
	defer c.Close()
	var refused []service.Key
	feed := c.Feed(exchange.Sink{Refused: func(key service.Key, _ string) { refused = append(refused, key) }})
	unnamed := service.Key{Exchange: "kraken", Symbol: "ABCXYZ", Interval: "1m"}
	feed.Want([]service.Key{{Exchange: "kraken", Symbol: "SOLUSD", Interval: "1m"}, unnamed})
	if len(refused) != 1 || refused[0] != unnamed {
		t.Errorf("%v", refused)
	}
}

func TestStream_Subscribe(t *testing.T) {
	s := pushes
	message := s.Subscribe(4, []service.Key{{Symbol: "XXBTZUSD", Interval: "1h"}, {Symbol: "SOLUSD", Interval: "1h"}})
	want := `{"method":"subscribe","params":{"channel":"ohlc","interval":60,"snapshot":false,"symbol":["BTC/USD","SOL/USD"]},"req_id":4}`
	if string(message) != want {
		t.Errorf("%s, want %s", message, want)
	}
}

func TestStream_EqualsREST(t *testing.T) {
	t.Parallel()
	exchangetest.Pushed(t, Spot)
}

func FuzzDecodeFrame(f *testing.F) {
	for _, seed := range []string{pushedUpdate, pushedRefusal, `{"channel":"heartbeat"}`, `{"data":[1,{"symbol":"A"},null]}`} {
		f.Add(seed)
	}
	exchangetest.FuzzFrames(f, frameOracle, pushes)
}

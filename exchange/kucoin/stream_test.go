package kucoin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidemark/exchange"
	"tidemark/exchange/exchangetest"
	"tidemark/exchange/simulated"
	"tidemark/levels"
	"tidemark/service"
)

const (
	update = `{"topic":"/market/candles:BTC-USDT_1hour","type":"message","subject":"trade.candles.update","data":{"symbol":"BTC-USDT",` +
		`"candles":["1589968800","9786.9","9740.8","9806.1","9732","27.45649579","268280.09830877"],"time":1589970010253893337}}`
	notFound = `{"id":"3","type":"error","code":404,"data":"topic /market/candles:NOPE-USDT_1min is not found"}`
)

var pushes = Spot.(exchange.Streamer)

// frameOracle reads a candle with encoding/json.
func frameOracle(_ exchange.Streamer, body string) ([]exchange.Push, bool) {
	message := []byte(body)
	var kind, topic, symbol string
	_ = json.Unmarshal(exchangetest.Member(message, "type"), &kind)
	data := exchangetest.Member(message, "data")
	if json.Unmarshal(exchangetest.Member(message, "topic"), &topic) != nil || json.Unmarshal(exchangetest.Member(data, "symbol"), &symbol) != nil {
		return nil, true
	}
	_, names, _ := strings.Cut(topic, "/market/candles:")
	names, _, _ = strings.Cut(names, " ")
	i := strings.LastIndexByte(names, '_')
	row := exchangetest.Member(data, "candles")
	// Open, CLOSE, HIGH, LOW.
	rows, ok := exchangetest.Rows([]byte("["+string(row)+"]"), 1_000, 6, 0, 1, 3, 4, 2, 5)
	if kind != "message" || i < 0 || names[:i] != symbol || i+1 == len(names) || !ok || len(rows) != 1 {
		return nil, true
	}
	at, _ := strconv.ParseInt(strings.Trim(string(exchangetest.Member(data, "time")), `"`), 10, 64)
	return []exchange.Push{{Symbol: []byte(symbol), Wire: names[i+1:], Candle: rows[0], At: at / 1_000_000}}, true
}

func TestStream_Frames(t *testing.T) {
	f, err := exchangetest.DecodeFrame(pushes, update)
	want := []exchange.Push{{
		Symbol: []byte("BTC-USDT"), Wire: "1hour", At: 1589970010253,
		Candle: levels.Candle{OpenTime: 1589968800000, Open: 9786.9, High: 9806.1, Low: 9732, Close: 9740.8, Volume: 27.45649579},
	}}
	if err != nil || !exchangetest.SamePushes(f.Pushes(), want) {
		t.Errorf("%v, %+v", err, f.Pushes())
	}
	for message, want := range map[string]exchange.Frame{
		notFound: {Refused: "404 topic /market/candles:NOPE-USDT_1min is not found", RefusedID: 3, RefusedSymbol: "NOPE-USDT", RefusedWire: "1min", RefusedAll: true},
		`{"id":"4","type":"error","code":404,"data":"topic /market/candles:A-B_1min,C-D_1min is not found"}`: {
			Refused: "404 topic /market/candles:A-B_1min,C-D_1min is not found", RefusedID: 4, RefusedAll: true,
		},
		`{"id":"4","type":"error","code":404,"data":"topic does not exist"}`: {Refused: "404 topic does not exist", RefusedID: 4, RefusedAll: true},
		`{"id":"2","type":"ack"}`:                                {},
		`{"id":"hQvf8jkno","type":"welcome"}`:                    {},
		`{"id":"ping","type":"pong","timestamp":17300000000000}`: {},
	} {
		f, err := exchangetest.DecodeFrame(pushes, message)
		if err != nil || fmt.Sprintf("%+v", f) != fmt.Sprintf("%+v", want) {
			t.Errorf("%s: %v, %+v", message, err, f)
		}
	}
	for _, message := range []string{
		`{"id":"1","type":"error","code":401,"data":"token is expired"}`,
		`{"id":"1","type":"error","code":509,"data":"exceed max permits per 10 seconds"}`,
	} {
		if f, err := exchangetest.DecodeFrame(pushes, message); !errors.Is(err, service.ErrExchange) || f.Refused != "" {
			t.Errorf("%s: %v, %+v", message, err, f)
		}
	}
}

func TestStream_Recordings(t *testing.T) {
	frames := exchangetest.Frames(t, "kucoin", "*ws_*")
	n := 0
	for _, frame := range frames {
		f, err := exchangetest.DecodeFrame(pushes, frame)
		if want, _ := frameOracle(pushes, frame); err != nil || f.Refused != "" || !exchangetest.SamePushes(f.Pushes(), want) {
			t.Errorf("%.200s: %v, %+v, want %+v", frame, err, f.Pushes(), want)
		}
		n += len(f.Pushes())
	}
	if frames != nil && n < 7 {
		t.Errorf("%d pushes in %d messages", n, len(frames))
	}
}

// A message has no more topics, and is no longer, than a refusal that repeats it can be.
func TestStream_Subscribe(t *testing.T) {
	message := pushes.Subscribe(7, []service.Key{{Symbol: "BTC-USDT", Interval: "12h"}, {Symbol: "ETH-BTC", Interval: "12h"}})
	var got struct {
		ID, Type, Topic          string
		PrivateChannel, Response bool
	}
	if err := json.Unmarshal(message, &got); err != nil || got.ID != "7" || got.Type != "subscribe" || got.PrivateChannel || !got.Response ||
		got.Topic != "/market/candles:BTC-USDT_12hour,ETH-BTC_12hour" {
		t.Errorf("%s: %v, %+v", message, err, got)
	}
}

func TestStream_Access(t *testing.T) {
	facts := pushes.Stream()
	if c := facts.Access; c.Path != "api/v1/bullet-public" || c.Body != "{}" || c.Cost != (exchange.Cost{10}) {
		t.Errorf("%+v", c)
	}
	server := `{"endpoint":"wss://ws-api-spot.kucoin.com/","encrypt":true,"protocol":"websocket","pingInterval":18000,"pingTimeout":10000}`
	for body, want := range map[string]exchange.Address{
		`{"code":"200000","data":{"token":"2nea+/b==.W","instanceServers":[` + server + `,{"endpoint":"wss://other","pingInterval":1}]}}`: {
			URL: "wss://ws-api-spot.kucoin.com/?token=2nea%2B%2Fb%3D%3D.W", PingEvery: 15 * time.Second,
		},
		`{"data":{"instanceServers":[{"endpoint":"wss://a","pingInterval":0}],"token":"b"}}`: {URL: "wss://a?token=b"},
	} {
		if got, err := facts.DecodeAccess(exchangetest.Scan(body)); err != nil || got != want {
			t.Errorf("%s: %v, %+v", body, err, got)
		}
	}
	for _, body := range []string{
		`{"code":"429000","msg":"Too Many Requests"}`, `{"code":"200000","data":{"token":"","instanceServers":[` + server + `]}}`,
		`{"code":"200000","data":{"token":"a","instanceServers":[]}}`, `{"code":"200000","data":null}`, `{}`, `[]`, ``,
	} {
		if got, err := facts.DecodeAccess(exchangetest.Scan(body)); err == nil {
			t.Errorf("%s: %+v", body, got)
		}
	}
}

func TestStream_EqualsREST(t *testing.T) {
	t.Parallel()
	exchangetest.Pushed(t, Spot)
}

// impatient is the market with connections that count as silent early.
type impatient struct {
	exchange.Streamer
	facts exchange.Stream
}

func (v *impatient) Stream() *exchange.Stream { return &v.facts }

// When its token expires, or nothing comes any more, a connection ends, and the next one has
// another token, asked for within the limits of requests.
func TestStream_TheNextConnectionHasAnotherToken(t *testing.T) {
	t.Parallel()
	for reason, faults := range map[string]simulated.StreamFaults{
		"closed": {Token: 300 * time.Millisecond},
		"silent": {Silent: 300 * time.Millisecond},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			market := simulated.New(simulated.Options{Venue: "kucoin", Pairs: 2, Stream: faults})
			server := httptest.NewServer(market)
			defer server.Close()
			base, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			v := &impatient{pushes, *pushes.Stream()}
			v.facts.Silence = 2 * time.Second
			c := exchange.New(v, exchange.Config{BaseURL: base})
			defer c.Close()
			broken := make(chan struct{}, 100)
			feed := c.Feed(exchange.Sink{
				Candle:  func(service.Key, levels.Candle, bool, time.Time) {},
				Broken:  func([]service.Key) { broken <- struct{}{} },
				Refused: func(s service.Key, reason string) { t.Errorf("%+v is refused: %s", s, reason) },
			})
			ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
			defer stop()
			feed.Want([]service.Key{{Exchange: "kucoin", Symbol: "BTC-USDT", Interval: "1m"}})
			done := make(chan struct{})
			go func() { defer close(done); feed.Run(ctx) }()
			for range 3 { // opened, ended, opened again
				select {
				case <-broken:
				case <-ctx.Done():
					t.Fatalf("%+v", feed.Counts())
				}
			}
			counts := feed.Counts()
			stop()
			<-done
			n, stats := market.StreamStats().Accepted, market.Stats()
			if n < 2 || stats.Requests["bullet-public"] < n || stats.Limits["weight"].Cost != 10*stats.Requests["bullet-public"] || counts.Reconnects[reason] < 1 {
				t.Errorf("%d connections, %+v, %+v", n, stats, counts)
			}
		})
	}
}

func FuzzDecodeFrame(f *testing.F) {
	for _, seed := range []string{update, notFound, `{"data":{"candles":["1",1,1,1,1,1],"symbol":"A"},"type":"message","topic":"/market/candles:A_1min"}`, `{"data":[],"type":"error","code":404}`} {
		f.Add(seed)
	}
	exchangetest.FuzzFrames(f, frameOracle, pushes)
}

func FuzzDecodeAccess(f *testing.F) {
	f.Add(`{"code":"200000","data":{"token":"a","instanceServers":[{"endpoint":"wss://a/","pingInterval":18000}]}}`)
	f.Add(`{"code":"429000","msg":"Too Many Requests","data":null}`)
	f.Fuzz(func(t *testing.T, body string) {
		a, err := pushes.Stream().DecodeAccess(exchangetest.Scan(body))
		if err == nil && (!json.Valid([]byte(body)) || !strings.Contains(a.URL, "?token=") || a.PingEvery < 0 || a.PingEvery > time.Hour) {
			t.Errorf("%q: %+v", body, a)
		}
	})
}

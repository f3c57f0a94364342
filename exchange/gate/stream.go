package gate

import (
	"bytes"
	"strconv"
	"time"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

// streamed is the spot market, which pushes candles. From Gate's documentation (Spot
// WebSocket v4, channel spot.candlesticks) and frames recorded in 2021: a message asks for
// one pair; there are no candles of 2h; the server pings with control frames, and answers
// the message spot.ping. The documentation states no limit of subscriptions or messages:
// the pace is GoCryptoTrader's, 120 ms. Slow readers are closed (gateio/gatews#25).
type streamed struct {
	*market
	stream exchange.Stream
}

var _ exchange.Streamer = (*streamed)(nil)

// pushed returns the market with its sockets.
func pushed(m *market) exchange.Venue {
	names := map[levels.Interval]string{}
	for i, n := range m.spec.Intervals {
		if i != "2h" {
			names[i] = n.Name
		}
	}
	return &streamed{m, exchange.Stream{
		URL: "wss://api.gateio.ws/ws/v4/", Intervals: names,
		Series: 500, Batch: 1, Message: 4_000,
		Pace: 120 * time.Millisecond, Connects: time.Second,
		Ping: []byte(`{"channel":"spot.ping"}`), PingEvery: 15 * time.Second,
		Silence: 45 * time.Second,
	}}
}

func (m *streamed) Stream() *exchange.Stream { return &m.stream }

// Subscribe asks for one series. The venue answers with the same id.
func (m *streamed) Subscribe(id int, series []service.Key) []byte {
	b := append(make([]byte, 0, 160), `{"time":`...)
	b = strconv.AppendInt(b, time.Now().Unix(), 10)
	b = strconv.AppendInt(append(b, `,"id":`...), int64(id), 10)
	b = append(b, `,"channel":"spot.candlesticks","event":"subscribe","payload":["`...)
	b = append(b, m.stream.Intervals[series[0].Interval]...)
	b = append(b, `","`...)
	b = append(b, series[0].Symbol...)
	return append(b, `"]}`...)
}

// DecodeFrame reads {"time":…,"time_ms":…,"channel":"spot.candlesticks","event":"update",
// "result":{…}}, and the answer to a subscription, which has an id and a null error or
// {"code":2,"message":…}.
func (m *streamed) DecodeFrame(s *exchange.Scanner, f *exchange.Frame) error {
	var push exchange.Push
	var channel, event, refused string
	var seconds int64
	id, whole := 0, false
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "time":
			seconds = s.Int()
		case "time_ms":
			push.At = s.Int()
		case "id":
			id = int(s.Int())
		case "channel":
			channel = string(s.Scalar())
		case "event":
			event = string(s.Scalar())
		case "error":
			if !s.IsObject() { // null
				s.Skip()
				continue
			}
			refused = decodeRefusal(s)
		case "result":
			if !s.IsObject() {
				s.Skip()
				continue
			}
			whole = decodePush(s, &push)
		default:
			s.Skip()
		}
	}
	if err := s.End(); err != nil {
		return err
	}
	switch {
	case channel != "spot.candlesticks":
	case event == "update" && whole:
		if push.At == 0 {
			push.At = seconds * 1_000
		}
		f.Add(push)
	case event == "subscribe" && refused != "":
		f.Refused, f.RefusedID = refused, id
	}
	return nil
}

func decodeRefusal(s *exchange.Scanner) string {
	var code int64
	var message string
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "code":
			code = s.Int()
		case "message":
			message = string(s.Text())
		default:
			s.Skip()
		}
	}
	return strconv.FormatInt(code, 10) + " " + message
}

// decodePush reads {"t":"1606292580","v":"2362.32","c":"19128.1","h":"19128.1",
// "l":"19128.1","o":"19128.1","n":"1m_BTC_USDT","a":"3.8283","w":true}. v is the volume in
// the quote asset, as in the second column of a kline, and a that in the base asset; w says
// that the candle is closed. It reports false for anything else: frames of 2021 had no a,
// and without it there is no candle.
func decodePush(s *exchange.Scanner, p *exchange.Push) bool {
	const all = 1<<7 - 1
	seen := 0
	k := &p.Candle
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "t":
			k.OpenTime = s.Int() * 1_000
			seen |= 1
		case "o":
			k.Open = s.Decimal()
			seen |= 2
		case "h":
			k.High = s.Decimal()
			seen |= 4
		case "l":
			k.Low = s.Decimal()
			seen |= 8
		case "c":
			k.Close = s.Decimal()
			seen |= 16
		case "a":
			k.Volume = s.Decimal()
			seen |= 32
		case "n":
			interval, pair, ok := bytes.Cut(s.Bytes(), []byte("_"))
			if ok {
				p.Wire, p.Symbol = string(interval), bytes.Clone(pair)
				seen |= 64
			}
		case "w":
			p.Closed = s.Bool()
		default:
			s.Skip()
		}
	}
	return seen == all
}

package bitget

import (
	"bytes"
	"time"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

// streamed is the spot market, which pushes candles. From Bitget's documentation (Websocket
// API; Candlestick Channel): 300 connections in five minutes and 100 at once from an
// address, each ended after 24 hours; 240 requests of subscriptions an hour and 10 messages
// a second on a connection, pings included; at most 1,000 channels, and no more than 50
// strongly recommended. The client sends the text ping every 30 seconds and gets pong;
// without a ping for two minutes the connection is closed. There is no 3m channel. Plain
// 6H, 12H and 1D open at midnight at UTC+8. Unconfirmed: how long a message may be.
type streamed struct {
	*market
	stream exchange.Stream
}

var _ exchange.Streamer = (*streamed)(nil)

// pushed returns the market with its sockets.
func pushed(m *market) exchange.Venue {
	return &streamed{m, exchange.Stream{
		URL: "wss://ws.bitget.com/v2/ws/public",
		Intervals: map[levels.Interval]string{
			"1m": "candle1m", "5m": "candle5m", "15m": "candle15m", "30m": "candle30m", "1h": "candle1H", "4h": "candle4H",
			"6h": "candle6Hutc", "12h": "candle12Hutc", "1d": "candle1Dutc",
		},
		Unmarked: true,
		Series:   50, Batch: 50, Message: 4_000,
		Pace: 150 * time.Millisecond, Connects: 1_100 * time.Millisecond,
		Ping: []byte("ping"), PingEvery: 30 * time.Second, Pong: []byte("pong"),
		Silence: 75 * time.Second, Lifetime: 24 * time.Hour,
	}}
}

func (m *streamed) Stream() *exchange.Stream { return &m.stream }

func (m *streamed) Subscribe(_ int, series []service.Key) []byte {
	b := append(make([]byte, 0, 64+72*len(series)), `{"op":"subscribe","args":[`...)
	for i, s := range series {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"instType":"SPOT","channel":"`...)
		b = append(b, m.stream.Intervals[s.Interval]...)
		b = append(b, `","instId":"`...)
		b = append(b, s.Symbol...)
		b = append(b, `"}`...)
	}
	return append(b, `]}`...)
}

// DecodeFrame reads {"action":"update","arg":{…},"data":[[…]],"ts":…}, of which only the
// newest two candles are added: the first message of a subscription, with the action
// snapshot, has hundreds. No candle is marked as closed. It also reads the refusal
// {"event":"error","arg":{…},"code":30001,"msg":…}.
func (m *streamed) DecodeFrame(s *exchange.Scanner, f *exchange.Frame) error {
	var push exchange.Push
	var candles exchange.Latest
	var code, msg string
	failed := false
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "event":
			failed = string(s.Scalar()) == "error"
		case "arg":
			if !s.IsObject() {
				s.Skip()
				continue
			}
			decodeArg(s, &push)
		case "data":
			if !s.IsArray() {
				s.Skip()
				continue
			}
			decodeRows(s, &candles)
		case "ts":
			push.At = s.Int()
		case "code":
			code = string(s.Scalar())
		case "msg":
			msg = string(s.Text())
		default:
			s.Skip()
		}
	}
	if err := s.End(); err != nil {
		return err
	}
	if failed {
		f.Refused, f.RefusedSymbol, f.RefusedWire = code+" "+msg, string(push.Symbol), push.Wire
		return nil
	}
	if push.Symbol != nil && push.Wire != "" {
		for _, push.Candle = range candles.All() {
			f.Add(push)
		}
	}
	return nil
}

// decodeArg reads {"instType":"SPOT","channel":"candle1m","instId":"BTCUSDT"}.
func decodeArg(s *exchange.Scanner, p *exchange.Push) {
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "channel":
			p.Wire = string(s.Bytes())
		case "instId":
			p.Symbol = bytes.Clone(s.Bytes())
		default:
			s.Skip()
		}
	}
}

// decodeRows reads rows of strings as those of klines: open time (Unix ms), open, high,
// low, close and base volume. API v1 had no more; v2 adds quote volumes.
func decodeRows(s *exchange.Scanner, candles *exchange.Latest) {
	for s.Array(); s.More(); {
		var k levels.Candle
		s.Array()
		k.OpenTime = s.Int()
		k.Open, k.High, k.Low, k.Close = s.Decimal(), s.Decimal(), s.Decimal(), s.Decimal()
		k.Volume = s.Decimal()
		s.Close()
		if s.Err() == nil {
			candles.Add(k)
		}
	}
}

package hyperliquid

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

// streamed is a market that pushes candles. From Hyperliquid's documentation (Websocket:
// Subscriptions, Timeouts and heartbeats; Rate limits): an address may have 10 connections,
// open 30 in a minute, have 1,000 subscriptions and send 2,000 messages in a minute; both
// markets share them. A message asks for one series. A connection on which the venue has
// sent nothing for 60 seconds is closed; it answers {"method":"ping"}. A candle is pushed
// with trades, and none is marked as closed: of 69 minutes that a client recorded in July
// 2026, the last push of 65 came before the close, and was the whole candle. The
// documentation has lists of candles, the venue sends one. As other clients read it, an
// unknown coin is refused by a text; on other channels it ended the connection in 2026.
// Nothing announces the end of a connection. Unconfirmed: how many series of candles a
// connection carries; 356 of other channels were measured.
type streamed struct {
	*market
	stream exchange.Stream
}

var _ exchange.Streamer = (*streamed)(nil)

// pushed returns a market with its sockets: at most most connections, each with at most
// series series.
func pushed(m *market, series, most int) exchange.Venue {
	names := map[levels.Interval]string{}
	for i, n := range m.spec.Intervals {
		names[i] = n.Name
	}
	return &streamed{m, exchange.Stream{
		URL: "wss://api.hyperliquid.xyz/ws", Intervals: names, Unmarked: true,
		Series: series, Most: most, Batch: 1, Message: 4_000,
		Pace: 100 * time.Millisecond, Connects: 4_100 * time.Millisecond,
		Ping: []byte(`{"method":"ping"}`), PingEvery: 20 * time.Second,
		Silence: 50 * time.Second,
	}}
}

func (m *streamed) Stream() *exchange.Stream { return &m.stream }

// Subscribe asks for one series. The answer repeats its names.
func (m *streamed) Subscribe(_ int, series []service.Key) []byte {
	b := append(make([]byte, 0, 128), `{"method":"subscribe","subscription":{"type":"candle","coin":"`...)
	b = append(b, series[0].Symbol...) // a valid id has no quotes or controls
	b = append(b, `","interval":"`...)
	b = append(b, m.stream.Intervals[series[0].Interval]...)
	return append(b, `"}}`...)
}

// DecodeFrame reads {"channel":"candle","data":{…}}, with a candle as in DecodeKlines, and
// {"channel":"error","data":"Invalid subscription {\"type\":\"candle\",\"interval\":\"1m\",
// \"coin\":\"NOPE\"}"}. Other texts, such as about the limits, are reported only.
func (m *streamed) DecodeFrame(s *exchange.Scanner, f *exchange.Frame) error {
	var channel, text string
	var pushes []exchange.Push
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "channel":
			channel = string(s.Scalar())
		case "data":
			switch {
			case s.IsObject():
				pushes = decodePush(s, pushes)
			case s.IsArray():
				for s.Array(); s.More(); {
					if !s.IsObject() {
						s.Skip()
						continue
					}
					pushes = decodePush(s, pushes)
				}
			case s.IsString():
				text = string(s.Text())
			default:
				s.Skip()
			}
		default:
			s.Skip()
		}
	}
	if err := s.End(); err != nil {
		return err
	}
	switch channel {
	case "candle":
		for _, p := range pushes {
			f.Add(p)
		}
	case "error":
		if strings.HasPrefix(text, "Already ") { // it is pushed
			return nil
		}
		f.Refused = "error: " + text
		var about struct{ Coin, Interval string }
		if _, names, ok := strings.Cut(text, "Invalid subscription "); ok && json.Unmarshal([]byte(names), &about) == nil {
			f.RefusedSymbol, f.RefusedWire = about.Coin, about.Interval
		}
	}
	return nil
}

// decodePush appends the candle of an object that has all its fields.
func decodePush(s *exchange.Scanner, pushes []exchange.Push) []exchange.Push {
	var p exchange.Push
	seen := 0
	for s.Object(); s.More(); {
		switch key := s.Key(); string(key) {
		case "s":
			p.Symbol = bytes.Clone(s.Bytes())
		case "i":
			p.Wire = string(s.Bytes())
		default:
			seen |= decodeField(s, key, &p.Candle)
		}
	}
	if seen != allFields || p.Symbol == nil || p.Wire == "" {
		return pushes
	}
	return append(pushes, p)
}

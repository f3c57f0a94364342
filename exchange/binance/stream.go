package binance

import (
	"strconv"
	"strings"
	"time"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

// streamed is a market that pushes candles. From web-socket-streams.md of July 2026: at
// most 1,024 streams on a connection, which ends after 24 hours; five messages a second to
// the server, its pings and our pongs included, which come every 20 seconds; 300
// connections in five minutes from an address. A message of more than some 4,096 bytes is
// ignored without an answer (JKorf/Binance.Net#1180).
type streamed struct {
	*market
	stream exchange.Stream
}

var _ exchange.Streamer = (*streamed)(nil)

// pushed returns the market with its sockets.
func pushed(m *market, url string, silence time.Duration) exchange.Venue {
	names := map[levels.Interval]string{}
	for i, n := range m.spec.Intervals {
		names[i] = n.Name
	}
	return &streamed{m, exchange.Stream{
		URL: url, Intervals: names,
		Series: 1_000, Batch: 200, Message: 4_000,
		Pace: 250 * time.Millisecond, Connects: time.Second,
		Silence: silence, Lifetime: 24 * time.Hour,
	}}
}

func (m *streamed) Stream() *exchange.Stream { return &m.stream }

// Subscribe asks for streams such as btcusdt@kline_1h.
func (m *streamed) Subscribe(id int, series []service.Key) []byte {
	b := append(make([]byte, 0, 64+32*len(series)), `{"method":"SUBSCRIBE","params":[`...)
	for i, s := range series {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, strings.ToLower(s.Symbol)...)
		b = append(b, "@kline_"...)
		b = append(b, m.stream.Intervals[s.Interval]...)
		b = append(b, '"')
	}
	b = append(b, `],"id":`...)
	return append(strconv.AppendInt(b, int64(id), 10), '}')
}

// DecodeFrame reads the event of a candle, {"e":"kline","E":…,"s":…,"k":{…}}, the
// announcement {"e":"serverShutdown"}, and the answer to a subscription, which has an id
// and a null result or an error.
func (m *streamed) DecodeFrame(s *exchange.Scanner, f *exchange.Frame) error {
	var push exchange.Push
	var refused refusal
	id := 0
	for s.Object(); s.More(); {
		switch name := string(s.Key()); name {
		case "e":
			f.Closing = string(s.Bytes()) == "serverShutdown"
		case "E":
			push.At = s.Int()
		case "k":
			m.decodeKline(s, &push)
		case "id":
			id = int(s.Int())
		case "error":
			for s.Object(); s.More(); {
				refused.decode(s, string(s.Key()))
			}
		default:
			refused.decode(s, name)
		}
	}
	if err := s.End(); err != nil {
		return err
	}
	if refused != (refusal{}) {
		f.Refused, f.RefusedID = strconv.FormatInt(refused.code, 10)+" "+refused.msg, id
	}
	if push.Symbol != nil {
		f.Add(push)
	}
	return nil
}

// decodeKline reads the candle of an event.
func (m *streamed) decodeKline(s *exchange.Scanner, p *exchange.Push) {
	k := &p.Candle
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "t":
			k.OpenTime = s.Int()
		case "s":
			p.Symbol = append([]byte(nil), s.Bytes()...)
		case "i":
			p.Wire = string(s.Bytes())
		case "o":
			k.Open = s.Decimal()
		case "h":
			k.High = s.Decimal()
		case "l":
			k.Low = s.Decimal()
		case "c":
			k.Close = s.Decimal()
		case "v":
			k.Volume = s.Decimal()
		case "x":
			p.Closed = s.Bool()
		default:
			s.Skip()
		}
	}
}

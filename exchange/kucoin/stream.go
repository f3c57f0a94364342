package kucoin

import (
	"bytes"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

// streamed is the spot market, which pushes candles. From KuCoin's documentation (Websocket
// API: Introduction, Get Public Token, Klines, and rate limits) and its clients: a
// connection needs a token, which lives for 24 hours, and goes to the address that comes
// with it; the venue reads nothing before it has sent {"type":"welcome"}. There may be 50
// connections, and 30 new ones in a minute; on each 100 messages in ten seconds, 100 topics
// in a message, and 300 topics (400 in newer versions). The response with the token says how
// often a ping is wanted (18 s), and how long it is waited for (10 s). Nothing announces the
// end of a connection. No candle is marked as closed: the last state of a minute may come
// with the first trade of a later one, beside the new candle (recorded).
//
// Unconfirmed: whether topics count as messages in the ten seconds, as "exceed max permits
// per 10 seconds" in bmoscon/cryptofeed#838 may mean, so that they are paced as if they did;
// and whether a topic that does not exist refuses the others of its message, which are asked
// for again.
//
// The futures market has such a channel (/contractMarket/limitCandle), whose documentation
// says of the volume that it is incorrect. It is not read.
type streamed struct {
	*market
	stream exchange.Stream
}

var _ exchange.Streamer = (*streamed)(nil)

// pushed returns the market with its sockets.
func pushed(m *market) exchange.Venue {
	names := map[levels.Interval]string{}
	for i, n := range m.spec.Intervals {
		names[i] = n.Name
	}
	return &streamed{m, exchange.Stream{
		URL:          "wss://ws-api-spot.kucoin.com/",
		Access:       exchange.Call{Endpoint: "bullet-public", Path: "api/v1/bullet-public", Body: "{}", Cost: exchange.Cost{10}, MaxBody: 16 << 10},
		DecodeAccess: m.decodeAccess, Greets: true,
		Intervals: names, Unmarked: true,
		Series: 300, Most: 50, Batch: 100, Message: 1_000, // so that a refusal that repeats it can be read
		Pace: 110 * time.Millisecond, Each: 110 * time.Millisecond, Connects: 2_100 * time.Millisecond,
		Ping: []byte(`{"id":"ping","type":"ping"}`), PingEvery: 15 * time.Second,
		Silence: 60 * time.Second, Lifetime: 24 * time.Hour,
	}}
}

// decodeAccess reads {"code":"200000","data":{"token":"…","instanceServers":[{"endpoint":
// "wss://ws-api-spot.kucoin.com/","protocol":"websocket","pingInterval":18000,…}]}}. The
// first server is used.
func (m *market) decodeAccess(s *exchange.Scanner) (exchange.Address, error) {
	var refused refusal
	var a exchange.Address
	token := ""
	for s.Object(); s.More(); {
		if key := s.Key(); string(key) != "data" || !s.IsObject() {
			refused.member(s, key)
			continue
		}
		for s.Object(); s.More(); {
			switch string(s.Key()) {
			case "token":
				token = string(s.Text())
			case "instanceServers":
				for s.Array(); s.More(); {
					if a.URL != "" {
						s.Skip()
						continue
					}
					decodeServer(s, &a)
				}
			default:
				s.Skip()
			}
		}
	}
	if err := m.end(s, &refused, token != "" && a.URL != ""); err != nil {
		return exchange.Address{}, err
	}
	a.URL += "?token=" + url.QueryEscape(token)
	return a, nil
}

// decodeServer reads the address of a server, and how often it wants pings: a sixth of the
// time is left for them to arrive.
func decodeServer(s *exchange.Scanner, a *exchange.Address) {
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "endpoint":
			a.URL = string(s.Text())
		case "pingInterval":
			if ms := s.Int(); ms >= 1_000 && ms <= 3_600_000 {
				a.PingEvery = time.Duration(ms) * time.Millisecond * 5 / 6
			}
		default:
			s.Skip()
		}
	}
}

func (m *streamed) Stream() *exchange.Stream { return &m.stream }

const topic = "/market/candles:"

func (m *streamed) Subscribe(id int, series []service.Key) []byte {
	b := append(make([]byte, 0, 128+24*len(series)), `{"id":"`...)
	b = strconv.AppendInt(b, int64(id), 10)
	b = append(b, `","type":"subscribe","privateChannel":false,"response":true,"topic":"`+topic...)
	for i, s := range series {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, s.Symbol...), '_')
		b = append(b, m.stream.Intervals[s.Interval]...)
	}
	return append(b, `"}`...)
}

// DecodeFrame reads {"type":"message","topic":"/market/candles:BTC-USDT_1min","subject":
// "trade.candles.update","data":{"symbol":"BTC-USDT","candles":[…],"time":…}}, and errors,
// {"id":"1","type":"error","code":404,"data":"topic /market/candles:A-B_1min is not found"}.
// One that is not about topics ends the connection, such as that the token is expired or the
// messages were too many.
func (m *streamed) DecodeFrame(s *exchange.Scanner, f *exchange.Frame) error {
	var push exchange.Push
	var kind, id, code, text, about string
	whole := false
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "type":
			kind = string(s.Scalar())
		case "id":
			id = string(s.Scalar())
		case "code":
			code = string(s.Scalar())
		case "topic":
			about = string(s.Scalar())
		case "data":
			switch {
			case s.IsObject():
				whole = decodeCandle(s, &push)
			case s.IsArray():
				s.Skip()
			default:
				text = string(s.Scalar())
			}
		default:
			s.Skip()
		}
	}
	if err := s.End(); err != nil {
		return err
	}
	switch {
	case kind == "error" && code == "404":
		f.Refused, f.RefusedAll = strings.TrimSpace(code+" "+text), true
		f.RefusedID, _ = strconv.Atoi(id)
		if names, ok := after(text, topic); ok && !strings.Contains(names, ",") {
			f.RefusedSymbol, f.RefusedWire = split(names)
		}
	case kind == "error":
		return &exchange.Refusal{Venue: m.spec.Label, Code: code, Msg: text, Err: service.ErrExchange}
	case kind == "message" && whole:
		names, _ := after(about, topic)
		symbol, wire := split(names) // the data has no interval
		if symbol == string(push.Symbol) && wire != "" {
			push.Wire = wire
			f.Add(push)
		}
	}
	return nil
}

// after returns the word of text that begins with a prefix, without it.
func after(text, prefix string) (string, bool) {
	_, rest, ok := strings.Cut(text, prefix)
	word, _, _ := strings.Cut(rest, " ")
	return word, ok
}

// split splits BTC-USDT_1min.
func split(name string) (symbol, wire string) {
	i := strings.LastIndexByte(name, '_')
	if i < 0 {
		return "", ""
	}
	return name[:i], name[i+1:]
}

// decodeCandle reads {"symbol":"BTC-USDT","candles":[open time (Unix seconds), open, CLOSE,
// HIGH, LOW, volume, turnover],"time":…}, all strings but the time, which is in
// nanoseconds. It reports false for anything else.
func decodeCandle(s *exchange.Scanner, p *exchange.Push) (whole bool) {
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "symbol":
			p.Symbol = bytes.Clone(s.Bytes())
		case "candles":
			k := &p.Candle
			s.Array()
			k.OpenTime = s.Int() * 1_000
			k.Open, k.Close, k.High, k.Low = s.Decimal(), s.Decimal(), s.Decimal(), s.Decimal()
			k.Volume = s.Decimal()
			s.Close()
			whole = true
		case "time":
			ns, _ := strconv.ParseInt(string(s.Scalar()), 10, 64) // 19 digits
			p.At = ns / 1_000_000
		default:
			s.Skip()
		}
	}
	return whole && p.Symbol != nil
}

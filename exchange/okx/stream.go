package okx

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"time"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

var _ exchange.Streamer = (*market)(nil)

// stream holds the facts of the sockets, from the documentation of API v5 as quoted by
// public sources of 2025 and 2026, unless a comment says otherwise. Candles are pushed by
// /business, not by /public. Not documented are a lifetime and a maximum of subscriptions.
var stream = exchange.Stream{
	URL: "wss://ws.okx.com:8443/ws/v5/business", Intervals: wires(),
	// All channels together have at most 64 KB, "candle12Hutc" of an id of 25 characters
	// 68 bytes. Older documentation, and GoCryptoTrader, say 4,096 bytes: so long a message
	// is. Of a connection, 480 messages are read, and another one every 7.5 s.
	Series: 900, Batch: 80, Message: 4_000, Pace: 250 * time.Millisecond,
	Connects: time.Second, // three in a second from an address, which two markets share
	// The venue closes a connection that is silent for 30 s, of either side.
	Ping: []byte("ping"), Pong: []byte("pong"), PingEvery: 20 * time.Second,
	Silence: 45 * time.Second,
}

// wires returns the names of the bars: the channels are candle1H or candle1Dutc.
func wires() map[levels.Interval]string {
	names := map[levels.Interval]string{}
	for i, n := range intervals {
		names[i] = n.Name
	}
	return names
}

const channel = "candle"

var errRow = errors.New("a candle is not an array")

func (m *market) Stream() *exchange.Stream { return &stream }

// Subscribe asks for channels such as candle1H of BTC-USDT.
func (m *market) Subscribe(id int, series []service.Key) []byte {
	b := append(make([]byte, 0, 64+64*len(series)), `{"id":"`...)
	b = append(strconv.AppendInt(b, int64(id), 10), `","op":"subscribe","args":[`...)
	for i, s := range series {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"channel":"`+channel...)
		b = append(b, stream.Intervals[s.Interval]...)
		b = append(b, `","instId":"`...)
		b = append(b, s.Symbol...)
		b = append(b, `"}`...)
	}
	return append(b, `]}`...)
}

// DecodeFrame reads candles, {"arg":{"channel":"candle1H","instId":…},"data":[[…]]}, whose
// rows are those of DecodeKlines, and what has an event: the answer to a subscription, and
// the notice 64008 that the connection will be closed.
func (m *market) DecodeFrame(s *exchange.Scanner, f *exchange.Frame) error {
	var event, code, msg, id string
	var name, symbol []byte
	var room [2]exchange.Push // most messages have one row
	rows, other := room[:0], false
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "event":
			event = string(s.Bytes())
		case "code":
			code = string(s.Scalar())
		case "msg":
			msg = string(s.Text())
		case "id":
			id = string(s.Scalar())
		case "arg":
			for s.Object(); s.More(); {
				switch string(s.Key()) {
				case "channel":
					name = append(name[:0], s.Bytes()...)
				case "instId":
					symbol = append(symbol[:0], s.Bytes()...)
				default:
					s.Skip()
				}
			}
		case "data":
			if !bytes.HasPrefix(name, []byte(channel)) && name != nil { // of another channel
				s.Skip()
				break
			}
			for s.Array(); s.More(); {
				if !s.IsArray() {
					other = true
					s.Skip()
					continue
				}
				var p exchange.Push
				p.Candle = m.row(s)
				p.Closed = string(s.Scalar()) == "1"
				s.Close()
				rows = append(rows, p)
			}
		default:
			s.Skip()
		}
	}
	if err := s.End(); err != nil {
		return err
	}
	switch event {
	case "":
		wire, ok := strings.CutPrefix(string(name), channel)
		if !ok {
			return nil
		}
		if other {
			return errRow
		}
		for i := range rows {
			rows[i].Symbol, rows[i].Wire = symbol, wire
			f.Add(rows[i])
		}
	case "notice":
		f.Closing = code == "64008"
	case "error":
		return m.refuseStream(code, msg, id, f)
	case "channel-conn-count-error": // more than 30 connections have the channel
		return m.refusal(event, "too many connections")
	}
	return nil
}

// refuseStream reads the refusal of a channel: "Wrong URL or channel:candle1m,instId:A-USDT
// doesn't exist. Please use …". Recorded messages are of one argument. Whether the others of
// a message are pushed is unconfirmed, so they are asked for again.
func (m *market) refuseStream(code, msg, id string, f *exchange.Frame) error {
	switch code {
	case "60014", // too many requests
		"64007": // an internal error; try again later
		return m.refusal(code, msg)
	}
	f.Refused = code + " " + msg
	f.RefusedID, _ = strconv.Atoi(id)
	_, rest, ok := strings.Cut(msg, "channel:"+channel)
	wire, rest, named := strings.Cut(rest, ",instId:")
	if ok && named && code == "60018" {
		f.RefusedWire, f.RefusedAll = wire, true
		f.RefusedSymbol, _, _ = strings.Cut(rest, " ")
	}
	return nil
}

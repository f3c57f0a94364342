package bybit

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

// newStream returns the facts of the sockets, from the documentation of API v5 (ws/connect)
// as quoted by public sources of 2026, unless a comment says otherwise. Not documented are a
// lifetime and a rate of messages.
func newStream(category string) exchange.Stream {
	names := map[levels.Interval]string{}
	for i, n := range intervals {
		names[i] = n.Name
	}
	s := exchange.Stream{
		URL: "wss://stream.bybit.com/v5/public/" + category, Intervals: names,
		// The topics of a connection have at most 21,000 characters, "kline.720." of an id of
		// 22 characters 35 with quotes and a comma.
		Series: 600, Batch: 200, Message: 20_000,
		Pace: 100 * time.Millisecond, // 200 messages at once were read in a measurement of 2026
		// 500 in five minutes from an address, which three markets share.
		Connects: 2 * time.Second,
		// A connection on which the client sends nothing is closed after 61 s (measured by
		// others in 2026). The answer is a message like others.
		Ping: []byte(`{"op":"ping"}`), PingEvery: 20 * time.Second,
		Silence: 45 * time.Second,
	}
	if category == "spot" {
		s.Batch = 10 // more are refused: "args size >10"
	}
	return s
}

const topic = "kline."

var errMember = errors.New("a candle without all of its values")

func (m *market) Stream() *exchange.Stream { return &m.stream }

// Subscribe asks for topics such as kline.60.BTCUSDT.
func (m *market) Subscribe(id int, series []service.Key) []byte {
	b := append(make([]byte, 0, 64+32*len(series)), `{"req_id":"`...)
	b = append(strconv.AppendInt(b, int64(id), 10), `","op":"subscribe","args":[`...)
	for i, s := range series {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `"`+topic...)
		b = append(b, m.stream.Intervals[s.Interval]...)
		b = append(b, '.')
		b = append(b, s.Symbol...)
		b = append(b, '"')
	}
	return append(b, `]}`...)
}

// DecodeFrame reads candles, {"topic":"kline.60.BTCUSDT","data":[{…}],"ts":…}, and answers,
// {"success":…,"ret_msg":…,"req_id":…,"op":"subscribe"}.
func (m *market) DecodeFrame(s *exchange.Scanner, f *exchange.Frame) error {
	var name, op []byte
	var msg string
	var at int64
	id, refused := 0, false
	var room [2]exchange.Push // most messages have one candle
	rows := room[:0]
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "topic":
			name = append(name[:0], s.Bytes()...)
		case "ts":
			at = s.Int()
		case "data":
			if !bytes.HasPrefix(name, []byte(topic)) && name != nil || !s.IsArray() { // of another topic
				s.Skip()
				break
			}
			for s.Array(); s.More(); {
				rows = append(rows, m.decodeKline(s))
			}
		case "op":
			op = append(op[:0], s.Bytes()...)
		case "success":
			refused = !s.Bool()
		case "ret_msg":
			msg = string(s.Text())
		case "req_id":
			id, _ = strconv.Atoi(string(s.Scalar()))
		default:
			s.Skip()
		}
	}
	if err := s.End(); err != nil {
		return err
	}
	if refused && string(op) == "subscribe" {
		refuseStream(msg, id, f)
	}
	if rest, ok := strings.CutPrefix(string(name), topic); ok {
		wire, symbol, _ := strings.Cut(rest, ".")
		for i := range rows {
			rows[i].Symbol, rows[i].Wire, rows[i].At = []byte(symbol), wire, at
			f.Add(rows[i])
		}
	}
	return nil
}

// decodeKline reads a candle, whose volume is that of DecodeKlines.
func (m *market) decodeKline(s *exchange.Scanner) (p exchange.Push) {
	volume := "volume"
	if m.category == "inverse" {
		volume = "turnover"
	}
	k := &p.Candle
	var read [6]bool
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "start":
			k.OpenTime, read[0] = s.Int(), true
		case "open":
			k.Open, read[1] = s.Decimal(), true
		case "high":
			k.High, read[2] = s.Decimal(), true
		case "low":
			k.Low, read[3] = s.Decimal(), true
		case "close":
			k.Close, read[4] = s.Decimal(), true
		case volume:
			k.Volume, read[5] = s.Decimal(), true
		case "confirm":
			p.Closed = s.Bool()
		default:
			s.Skip()
		}
	}
	if read != [6]bool{true, true, true, true, true, true} {
		s.Fail(errMember)
	}
	return p
}

// refuseStream reads the refusal of a topic: "Invalid symbol :[kline.1.AUSDT]" of spot,
// "error:handler not found,topic:kline.1.AUSDT" of contracts, both recorded. It refuses the
// whole message and names its first such topic; so does a topic that is pushed already,
// "error:already subscribed,topic:kline.1.AUSDT" (ccxt#30284).
func refuseStream(msg string, id int, f *exchange.Frame) {
	f.Refused, f.RefusedID = msg, id
	_, rest, ok := strings.Cut(msg, topic)
	if !ok {
		return
	}
	if end := strings.IndexAny(rest, "], "); end >= 0 {
		rest = rest[:end]
	}
	f.RefusedWire, f.RefusedSymbol, f.RefusedAll = strings.Cut(rest, ".")
	if f.RefusedAll && strings.Contains(msg, "already subscribed") {
		f.Refused = ""
	}
}

package mexc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

var _ exchange.Streamer = (*market)(nil)

// stream holds the facts of the sockets, from MEXC's documentation (Websocket Market Streams,
// https://www.mexc.com/api-docs/spot-v3/websocket-market-streams) unless a comment says
// otherwise: candles are pushed in Protocol Buffers, none is marked as closed; a connection
// has at most 30 subscriptions and is ended after 24 hours; one without data is closed after a
// minute unless the client pings. 100 messages a second are read (apis.io). Unconfirmed: how
// many connections an address may open, and the hour at which Day1 begins, so days are not
// asked for.
var stream = exchange.Stream{
	URL: "wss://wbs-api.mexc.com/ws",
	Intervals: map[levels.Interval]string{
		"1m": "Min1", "5m": "Min5", "15m": "Min15", "30m": "Min30", "1h": "Min60", "4h": "Hour4",
	},
	Unmarked: true,
	// One subscription a message, because the answer to several says in words which of them
	// are refused.
	Series: 30, Batch: 1, Message: 1_000, Binary: decodePush,
	Pace: 50 * time.Millisecond, Connects: 500 * time.Millisecond,
	Ping: []byte(`{"method":"PING"}`), PingEvery: 20 * time.Second,
	Silence: 45 * time.Second, Lifetime: 24 * time.Hour,
}

// channel precedes the pair and the interval in the name of a channel, as in
// spot@public.kline.v3.api.pb@BTCUSDT@Min1.
const channel = "spot@public.kline.v3.api.pb@"

func (m *market) Stream() *exchange.Stream { return &stream }

func (m *market) Subscribe(id int, series []service.Key) []byte {
	b := append(make([]byte, 0, 120), `{"id":`...)
	b = strconv.AppendInt(b, int64(id), 10)
	b = append(b, `,"method":"SUBSCRIPTION","params":["`+channel...)
	b = append(b, series[0].Symbol...)
	b = append(b, '@')
	b = append(b, stream.Intervals[series[0].Interval]...)
	return append(b, `"]}`...)
}

// DecodeFrame reads the answer to a message, {"id":1,"code":0,"msg":"…"}. Its msg is the
// channel, PONG, or "Not Subscribed successfully! [spot@public.kline.v3.api.pb@AUSDT@Min1].
// Reason： Blocked! ", which has the code 0, too.
func (m *market) DecodeFrame(s *exchange.Scanner, f *exchange.Frame) error {
	var msg string
	id, code := 0, "0"
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "id":
			id, _ = strconv.Atoi(string(s.Scalar()))
		case "code":
			code = string(s.Scalar())
		case "msg":
			if s.IsString() {
				msg = string(s.Text())
			} else {
				s.Skip()
			}
		default:
			s.Skip()
		}
	}
	if err := s.End(); err != nil {
		return err
	}
	if code == "0" && !strings.Contains(msg, "Not Subscribed") {
		return nil
	}
	f.Refused, f.RefusedID = strings.TrimSpace(msg), id
	if code != "0" {
		f.Refused = code + " " + f.Refused
	}
	if _, rest, ok := strings.Cut(msg, "["+channel); ok {
		name, _, _ := strings.Cut(rest, "]")
		f.RefusedSymbol, f.RefusedWire, _ = strings.Cut(name, "@")
	}
	return nil
}

// The numbers of the fields of PushDataV3ApiWrapper and of PublicSpotKlineV3Api
// (https://github.com/mexcdevelop/websocket-proto).
const (
	wrapperChannel = 1
	wrapperCreated = 5 // Unix ms
	wrapperSent    = 6 // Unix ms
	wrapperKline   = 308

	klineStart  = 2 // Unix s
	klineOpen   = 3
	klineClose  = 4
	klineHigh   = 5
	klineLow    = 6
	klineVolume = 7 // of the base asset
)

// latest bounds times in seconds, so that they can be multiplied.
const latest = 1 << 40

// decodePush reads a candle. The format leaves out fields that are empty; a candle with such
// a field is not added.
func decodePush(message []byte, f *exchange.Frame) error {
	var name []byte
	var created, sent, start int64
	var texts [klineVolume + 1][]byte // by number
	kline := func(number protowire.Number, text []byte, value int64) error {
		switch {
		case number == klineStart && text == nil:
			start = value
		case number >= klineOpen && number <= klineVolume && text != nil:
			texts[number] = text
		}
		return nil
	}
	err := fields(message, func(number protowire.Number, text []byte, value int64) error {
		switch {
		case number == wrapperChannel && text != nil:
			name = text
		case number == wrapperCreated && text == nil:
			created = value
		case number == wrapperSent && text == nil:
			sent = value
		case number == wrapperKline && text != nil:
			return fields(text, kline)
		}
		return nil
	})
	if err != nil {
		return err
	}
	rest, ok := strings.CutPrefix(string(name), channel)
	symbol, wire, named := strings.Cut(rest, "@")
	if !ok || !named || start == 0 {
		return nil
	}
	if start > latest || start < -latest {
		return fmt.Errorf("the time %d is not Unix seconds", start)
	}
	p := exchange.Push{Symbol: []byte(symbol), Wire: wire, At: created}
	if sent > 0 {
		p.At = sent
	}
	k := &p.Candle
	k.OpenTime = start * 1000
	for i, dst := range [...]*float64{&k.Open, &k.Close, &k.High, &k.Low, &k.Volume} { // as they are numbered
		text := texts[klineOpen+i]
		if len(text) == 0 {
			return nil
		}
		v, n := exchange.ScanDecimal(text)
		if n == 0 || n < len(text) || n > maxDecimal {
			return fmt.Errorf("%.40q is not a decimal", text)
		}
		*dst = v
	}
	f.Add(p)
	return nil
}

const maxDecimal = 64 // bytes

var errNumber = errors.New("a field has a number that none may have")

// fields calls yield for the fields of a message in Protocol Buffers: with the text of
// strings and messages, or with the value of varints. Fields of other types are left out.
func fields(b []byte, yield func(number protowire.Number, text []byte, value int64) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if !number.IsValid() {
			return errNumber
		}
		b = b[n:]
		var text []byte
		var value uint64
		switch kind {
		case protowire.BytesType:
			text, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			value, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if kind != protowire.BytesType && kind != protowire.VarintType {
			continue
		}
		if err := yield(number, text, int64(value)); err != nil {
			return err
		}
	}
	return nil
}

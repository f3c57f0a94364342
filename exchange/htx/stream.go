package htx

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

var _ exchange.Streamer = (*market)(nil)

// stream holds the facts of the sockets, from HTX's documentation (Websocket Market Data,
// https://huobiapi.github.io/docs/spot/v1/en/#websocket-market-data): all messages are
// compressed with gzip; the server pings every five seconds, in JSON, and closes a connection
// on which two pings in a row are not answered; a message subscribes to one topic. No candle
// is marked as closed, and none says when it was pushed last. Not documented are the most
// topics of a connection (ccxt subscribes to all pairs on one: ccxt#6834), a rate of
// subscriptions, and a lifetime. HTX's sockets of accounts read 50 messages a second, and
// BitTrade, which speaks the same protocol, acknowledged 45 at once.
var stream = exchange.Stream{
	URL: "wss://api.huobi.pro/ws",
	Intervals: map[levels.Interval]string{
		"1m": "1min", "5m": "5min", "15m": "15min", "30m": "30min", "1h": "60min", "4h": "4hour",
	},
	Unmarked: true,
	Series:   500, Batch: 1, Message: 1_000, Gzip: true,
	Pace: 25 * time.Millisecond, Connects: 500 * time.Millisecond,
	Silence: 20 * time.Second,
}

func (m *market) Stream() *exchange.Stream { return &stream }

// Subscribe asks for a topic such as market.btcusdt.kline.1min.
func (m *market) Subscribe(id int, series []service.Key) []byte {
	b := append(make([]byte, 0, 80), `{"sub":"market.`...)
	b = append(b, series[0].Symbol...)
	b = append(b, ".kline."...)
	b = append(b, stream.Intervals[series[0].Interval]...)
	b = append(b, `","id":"`...)
	return append(strconv.AppendInt(b, int64(id), 10), `"}`...)
}

// DecodeFrame reads a candle, {"ch":"market.btcusdt.kline.1min","ts":…,"tick":{…}}, whose tick
// is a row of DecodeKlines; a ping, {"ping":1629715504949}; and the refusal of a topic,
// {"id":"1","status":"error","err-code":"bad-request","err-msg":"invalid symbol nopeusdt"}.
func (m *market) DecodeFrame(s *exchange.Scanner, f *exchange.Frame) error {
	var p exchange.Push
	var topic, status, code, msg string
	id, has := 0, 0
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "ch":
			topic = string(s.Scalar())
		case "ts":
			p.At = s.Int()
		case "tick":
			if !s.IsObject() {
				s.Skip()
				continue
			}
			p.Candle, has = decodeRow(s)
		case "ping":
			f.Reply = append(strconv.AppendInt([]byte(`{"pong":`), s.Int(), 10), '}')
		case "id":
			id, _ = strconv.Atoi(string(s.Scalar()))
		case "status":
			status = string(s.Scalar())
		case "err-code":
			code = string(s.Scalar())
		case "err-msg":
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
	if status == "error" {
		if strings.Contains(msg, "too many") { // "429 too many request topic is …"
			return fmt.Errorf("%s: %s", code, msg)
		}
		f.Refused, f.RefusedID = strings.TrimSpace(code+" "+msg), id
		return nil
	}
	rest, _ := strings.CutPrefix(topic, "market.")
	symbol, wire, ok := strings.Cut(rest, ".kline.")
	if !ok {
		return nil
	}
	if has != hasAll {
		return fmt.Errorf("%.60s: fields are missing", topic)
	}
	p.Symbol, p.Wire = []byte(symbol), wire
	f.Add(p)
	return nil
}

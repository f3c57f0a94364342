package kraken

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

// streamed is the spot market, which pushes candles. From docs.kraken.com (Spot WebSocket
// v2: ohlc, heartbeat, ping): a candle is pushed after each trade, none is marked as
// closed, and each pair of a message is answered on its own; a heartbeat comes every second
// in which nothing else is pushed; an idle connection is closed after about a minute. An address may open 150 connections in ten minutes. Not documented, but
// reported by many clients: a connection carries one interval of a pair, "Already
// subscribed to one ohlc interval on this symbol", and 300 pairs on it work. The limit of
// messages is dynamic: one too many is answered by {"Error":"Exceeded msg rate"}.
type streamed struct {
	*spot
	stream exchange.Stream
}

var _ exchange.Streamer = (*streamed)(nil)

// pushed returns the market with its sockets.
func pushed(m *spot) exchange.Venue {
	names := map[levels.Interval]string{}
	for i, n := range m.spec.Intervals {
		names[i] = n.Name
	}
	return &streamed{m, exchange.Stream{
		URL: "wss://ws.kraken.com/v2", Intervals: names, Name: symbolOf, OneInterval: true, Unmarked: true,
		Series: 300, Batch: 100, Message: 4_000,
		Pace: time.Second, Connects: 4_100 * time.Millisecond,
		Ping: []byte(`{"method":"ping"}`), PingEvery: 30 * time.Second,
		Silence: 20 * time.Second,
	}}
}

func (m *streamed) Stream() *exchange.Stream { return &m.stream }

// The assets whose names have four letters in the ids of old pairs, and the quote assets of
// all others, the longest first (AssetPairs, 2021 and 2025).
var (
	oldAssets = []string{
		"XETC", "XETH", "XLTC", "XMLN", "XREP", "XXBT", "XXDG", "XXLM", "XXMR", "XXRP", "XZEC",
		"ZAUD", "ZCAD", "ZEUR", "ZGBP", "ZJPY", "ZUSD",
	}
	quoteAssets = []string{
		"PYUSD", "RLUSD", "USDC", "USDG", "USDQ", "USDR", "USDT", "EURC", "EURQ", "EURR", "EURT",
		"AED", "AUD", "CAD", "CHF", "DAI", "DOT", "ETH", "EUR", "GBP", "JPY", "SOL", "USD", "XBT",
	}
)

// symbolOf returns the name of a pair in API v2 of the sockets: BTC/USD of XXBTZUSD. An id
// has no separator; one that is split in the wrong place gives a name that no pair has,
// because the venue's ids without one are unique, too.
func symbolOf(id string) string {
	base, quote := "", ""
	if len(id) == 8 && slices.Contains(oldAssets, id[4:]) && (slices.Contains(oldAssets, id[:4]) || id[:4] == "USDT") {
		base, quote = id[:4], id[5:]
		if base != "USDT" {
			base = base[1:]
		}
	} else {
		for _, q := range quoteAssets {
			if b, ok := strings.CutSuffix(id, q); ok && b != "" {
				base, quote = b, q
				break
			}
		}
	}
	if base == "" {
		return ""
	}
	return renamed(base) + "/" + renamed(quote)
}

// renamed returns the name of an asset in API v2 of the sockets, which renames two.
func renamed(asset string) string {
	switch asset {
	case "XBT":
		return "BTC"
	case "XDG":
		return "DOGE"
	}
	return asset
}

// Subscribe asks for no history, since candles are fetched after it.
func (m *streamed) Subscribe(id int, series []service.Key) []byte {
	b := append(make([]byte, 0, 128+16*len(series)), `{"method":"subscribe","params":{"channel":"ohlc","interval":`...)
	b = append(b, m.stream.Intervals[series[0].Interval]...)
	b = append(b, `,"snapshot":false,"symbol":[`...)
	for i, s := range series {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), symbolOf(s.Symbol)...), '"')
	}
	b = append(b, `]},"req_id":`...)
	return append(strconv.AppendInt(b, int64(id), 10), '}')
}

// DecodeFrame reads {"channel":"ohlc","type":"update","data":[{…}]}, and the answer to a
// subscription, {"method":"subscribe","success":true,"req_id":…} with an error and a symbol
// if it is refused. Other errors are about the connection. The timestamp of a message is
// not documented, and not read.
func (m *streamed) DecodeFrame(s *exchange.Scanner, f *exchange.Frame) error {
	var method, problem, symbol string
	id, success := 0, true
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "data":
			if !s.IsArray() {
				s.Skip()
				continue
			}
			decodeItems(s, f)
		case "method":
			method = string(s.Scalar())
		case "success":
			success = s.Bool()
		case "error", "Error":
			problem = string(s.Scalar())
		case "symbol":
			symbol = string(s.Scalar())
		case "req_id":
			id = int(s.Int())
		default:
			s.Skip()
		}
	}
	if err := s.End(); err != nil || success && problem == "" {
		return err
	}
	if method != "subscribe" || strings.Contains(problem, "rate") {
		return fmt.Errorf("%s: %s", label, problem)
	}
	f.Refused, f.RefusedID, f.RefusedSymbol = cmp.Or(problem, "no reason"), id, symbol
	return nil
}

// decodeItems reads candles. Of several of one pair, as a history has, the newest two are
// added.
func decodeItems(s *exchange.Scanner, f *exchange.Frame) {
	var last exchange.Push // whose symbol and interval the candles are of
	var candles exchange.Latest
	flush := func() {
		for _, last.Candle = range candles.All() {
			f.Add(last)
		}
		candles = exchange.Latest{}
	}
	for s.Array(); s.More(); {
		var p exchange.Push
		if !s.IsObject() {
			s.Skip()
			continue
		}
		if !decodeItem(s, &p) || s.Err() != nil {
			continue
		}
		if !bytes.Equal(p.Symbol, last.Symbol) || p.Wire != last.Wire {
			flush()
			last = p
		}
		candles.Add(p.Candle)
	}
	flush()
}

// decodeItem reads {"symbol":"BTC/USD","interval":1,"interval_begin":
// "2023-10-04T16:25:00.000000000Z","open":106038.2,"high":106044.3,"low":106038.1,
// "close":106040.1,"volume":30927.68066226,"vwap":106039.6,"trades":12}. It reports false
// for anything else, such as the data of another channel.
func decodeItem(s *exchange.Scanner, p *exchange.Push) bool {
	const all = 1<<8 - 1
	seen := 0
	k := &p.Candle
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "symbol":
			p.Symbol = bytes.Clone(s.Bytes())
			seen |= 1
		case "interval":
			p.Wire = string(s.Scalar())
			seen |= 2
		case "interval_begin":
			t, err := time.Parse(time.RFC3339Nano, string(s.Bytes()))
			if err != nil {
				s.Fail(err)
			}
			k.OpenTime = t.UnixMilli()
			seen |= 4
		case "open":
			k.Open = s.Decimal()
			seen |= 8
		case "high":
			k.High = s.Decimal()
			seen |= 16
		case "low":
			k.Low = s.Decimal()
			seen |= 32
		case "close":
			k.Close = s.Decimal()
			seen |= 64
		case "volume":
			k.Volume = s.Decimal()
			seen |= 128
		default:
			s.Skip()
		}
	}
	return seen == all
}

// Package bitfinex holds the exchange pairs of Bitfinex. Its perpetuals (tBTCF0:USTF0) are
// left out.
//
// Facts are from Bitfinex's documentation (rest-public-candles, rest-public-conf,
// rest-public-tickers), ccxt 4.5.84, GoCryptoTrader and Bitfinex.Net; no response is
// recorded. Unconfirmed are the limits of tickers and conf, of which the least that is
// named is used, and the days on which weeks open, so they are merged from days.
package bitfinex

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

// Spot is the market of exchange pairs.
var Spot exchange.Venue = &market{exchange.Spec{
	Name: "bitfinex", Group: "bitfinex", Label: "Bitfinex", BaseURL: "https://api-pub.bitfinex.com",
	Quotes:    []string{"USD"},
	Intervals: intervals,
	Reach:     exchange.Oldest,
	Budgets:   []exchange.Budget{candles: limit("candles"), conf: limit("conf"), tickers: limit("tickers"), status: limit("status")},
	Heaviest:  exchange.Cost{1, 1, 1, 1},
	Clock:     exchange.Call{Endpoint: "status", Path: "v2/platform/status", Cost: exchange.Cost{status: 1}},
	Listings:  2, Prices: 1,
}}

// The budgets.
const (
	candles = iota
	conf
	tickers
	status
)

// limit is 30 requests a minute: candles allowed 90 once and allow 30 now (documentation;
// thrasher-corp/gocryptotrader#2175).
func limit(name string) exchange.Budget {
	return exchange.Budget{Name: name, Kind: exchange.Rolling, Limit: 30, Period: time.Minute}
}

// Candles without trades are absent (bitfinexcom/bitfinex-api-py#198).
var intervals = func() map[levels.Interval]exchange.Native {
	all := map[levels.Interval]exchange.Native{"1d": {Name: "1D", Rows: 10_000}}
	for _, i := range []levels.Interval{"1m", "5m", "15m", "30m", "1h", "6h", "12h"} {
		all[i] = exchange.Native{Name: string(i), Rows: 10_000}
	}
	return all
}()

type market struct{ spec exchange.Spec }

func (m *market) Spec() *exchange.Spec { return &m.spec }

func (m *market) Listing(i int, _ string) exchange.Call {
	if i == 0 {
		return exchange.Call{Endpoint: "conf", Path: "v2/conf/pub:info:pair,pub:list:pair:securities", Cost: exchange.Cost{conf: 1}}
	}
	return exchange.Call{Endpoint: "tickers", Path: "v2/tickers", Query: "symbols=ALL", Cost: exchange.Cost{tickers: 1}}
}

// Klines requests a range by open times, both inclusive, oldest first.
func (m *market) Klines(symbol string, n exchange.Native, w exchange.Window) exchange.Call {
	query := make([]byte, 0, 80)
	query = append(query, "start="...)
	query = strconv.AppendInt(query, w.From, 10)
	query = append(query, "&end="...)
	query = strconv.AppendInt(query, w.Through, 10)
	query = append(query, "&limit="...)
	query = strconv.AppendInt(query, int64(w.Rows), 10)
	query = append(query, "&sort=1"...)
	return exchange.Call{
		Endpoint: "candles", Path: "v2/candles/trade:" + n.Name + ":" + url.PathEscape(symbol) + "/hist", Query: string(query),
		Cost: exchange.Cost{candles: 1},
	}
}

// DecodeKlines reads rows of open time (Unix ms), open, close, high, low and base volume,
// as numbers.
func (m *market) DecodeKlines(s *exchange.Scanner, _ exchange.Native, yield func(levels.Candle) error) error {
	if s.IsObject() {
		return m.refused(s)
	}
	var k levels.Candle
	for s.Array(); s.More(); {
		if s.IsString() {
			return m.refused(s)
		}
		s.Array()
		k.OpenTime = s.Int()
		k.Open, k.Close, k.High, k.Low = s.Decimal(), s.Decimal(), s.Decimal(), s.Decimal()
		k.Volume = s.Decimal()
		s.Close()
		if s.Err() != nil {
			break
		}
		if err := yield(k); err != nil {
			return err
		}
	}
	return s.End()
}

// DecodeClock reads [1], or [0] during maintenance. It has no time.
func (m *market) DecodeClock(s *exchange.Scanner) (int64, error) {
	if s.IsObject() {
		return 0, m.refused(s)
	}
	for s.Array(); s.More(); {
		if s.IsString() {
			return 0, m.refused(s)
		}
		s.Int()
	}
	return 0, s.End()
}

func (m *market) DecodeListing(i int, s *exchange.Scanner, dst *exchange.Listing) error {
	if s.IsObject() {
		return m.refused(s)
	}
	if i == 1 {
		return m.decodeTickers(s, dst)
	}
	var names []string
	securities := map[string]bool{}
	s.Array()
	if s.IsString() {
		return m.refused(s)
	}
	for s.Array(); s.More(); {
		s.Array()
		names = append(names, string(s.Text()))
		s.Close()
	}
	for s.Array(); s.More(); {
		securities[string(s.Text())] = true
	}
	s.Close()
	if err := s.End(); err != nil {
		return err
	}
	for _, name := range names {
		base, quote, ok := strings.Cut(name, ":")
		if !ok && len(name) == 6 {
			base, quote = name[:3], name[3:]
		}
		switch {
		case base == "" || quote == "",
			strings.HasPrefix(base, "TEST"), strings.HasSuffix(base, "F0"): // of its paper trading; perpetuals
			continue
		}
		p := service.Symbol{
			Name: "t" + name, Base: asset(base), Quote: asset(quote), Trading: true, Status: "listed", Digits: 5,
		}
		if securities[name] {
			p.Unusual = service.Stock
		}
		dst.Add(p)
	}
	return nil
}

// decodeTickers reads rows of symbol, bid, its size, ask, its size, two changes, last
// price and base volume of pairs; others are of lending.
func (m *market) decodeTickers(s *exchange.Scanner, dst *exchange.Listing) error {
	var name []byte
	for s.Array(); s.More(); {
		if s.IsString() {
			return m.refused(s)
		}
		s.Array()
		name = append(name[:0], s.Text()...)
		if len(name) > 0 && name[0] == 't' {
			for range 6 {
				s.Skip()
			}
			last, volume := s.Amount(), s.Amount()
			if s.Err() == nil {
				dst.Price(name, last)
				dst.Volume(name, last*volume)
			}
		}
		s.Close()
	}
	return s.End()
}

// assets holds the usual names of those that have another one here (ccxt 4.5.84).
var assets = map[string]string{
	"UST": "USDT", "UDC": "USDC", "TSD": "TUSD", "EUT": "EURT", "EUS": "EURS", "XCH": "XCHF", "ALG": "ALGO",
	"STJ": "STORJ", "AMP": "AMPL", "ATO": "ATOM", "BCHABC": "XEC", "BCHN": "BCH", "DAT": "DATA", "DOG": "MDOGE",
	"DSH": "DASH", "EDO": "PNT", "HTX": "HT", "IDX": "ID", "IOT": "IOTA", "IQX": "IQ", "LUNA": "LUNC",
	"LUNA2": "LUNA", "MNA": "MANA", "PAS": "PASS", "QSH": "QASH", "QTM": "QTUM", "RBT": "RBTC", "SNG": "SNGLS",
	"TERRAUST": "USTC", "YGG": "YEED", "YYW": "YOYOW", "VSY": "VSYS", "WAX": "WAXP", "ZBT": "ZB",
}

func asset(name string) string {
	if usual, ok := assets[name]; ok {
		return usual
	}
	return name
}

// refused reads a refusal: the rest of ["error",10020,"symbol: invalid"], of which the
// array is open, or {"error":"ERR_RATE_LIMIT"}.
func (m *market) refused(s *exchange.Scanner) error {
	e := refusal{}
	if s.IsObject() {
		for s.Object(); s.More(); {
			if string(s.Key()) == "error" {
				e.msg = string(s.Scalar())
			} else {
				s.Skip()
			}
		}
	} else {
		s.Skip()
		e.code, e.msg = s.Int(), string(s.Text())
		s.Close()
	}
	if err := s.End(); err != nil {
		return err
	}
	return m.error(e)
}

type refusal struct {
	code int64
	msg  string
}

func (m *market) error(r refusal) error {
	e := &exchange.Refusal{Venue: m.spec.Label, Msg: r.msg, Err: service.ErrExchange}
	if r.code != 0 {
		e.Code = strconv.FormatInt(r.code, 10)
	}
	switch {
	case r.code == 11010 || r.msg == "ERR_RATE_LIMIT":
		e.Err = service.ErrRateLimited // for a minute (documentation), as is usual
	case r.code == 10020 && strings.HasPrefix(r.msg, "symbol"):
		e.Err = service.ErrUnknownSymbol
	}
	return e
}

func (m *market) Refuse(_ int, _ http.Header, body []byte) error {
	body = bytes.TrimSpace(body)
	var row []json.RawMessage
	if json.Unmarshal(body, &row) == nil && len(row) == 3 {
		var e refusal
		var kind string
		if json.Unmarshal(row[0], &kind) == nil && kind == "error" && json.Unmarshal(row[1], &e.code) == nil && json.Unmarshal(row[2], &e.msg) == nil {
			return m.error(e)
		}
	}
	var object struct{ Error string }
	if json.Unmarshal(body, &object) == nil && object.Error != "" {
		return m.error(refusal{msg: object.Error})
	}
	return nil
}

func (m *market) Usage(http.Header, func(exchange.Usage)) {}

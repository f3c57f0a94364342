// Package mexc holds the spot market of MEXC, API v3.
//
// Facts are from MEXC's documentation (apidocs, spot v3), ccxt 4.5.84 and recorded
// responses. The documentation and other sources disagree about the most rows of a page
// (1,000; in practice 500, ccxt) and about the limit (500 for each endpoint in 10 s; 300
// for all of them): the smaller count. Unconfirmed: whether the window of the limit rolls,
// what ticker/24hr costs (40, as on Binance), and the day on which 1W begins, so weeks are
// merged from days. Those begin at 00:00 UTC (mexc-api-sdk, issue 28).
package mexc

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

// Spot is the market.
var Spot exchange.Venue = &market{exchange.Spec{
	Name: "mexc", Group: "mexc", Label: "MEXC", BaseURL: "https://api.mexc.com",
	Quotes: []string{"USDT"},
	Intervals: map[levels.Interval]exchange.Native{
		"1m": {Name: "1m", Rows: maxRows}, "5m": {Name: "5m", Rows: maxRows}, "15m": {Name: "15m", Rows: maxRows},
		"30m": {Name: "30m", Rows: maxRows}, "1h": {Name: "60m", Rows: maxRows}, "4h": {Name: "4h", Rows: maxRows},
		"1d": {Name: "1d", Rows: maxRows},
	},
	Budgets:  []exchange.Budget{{Name: "weight", Limit: 300, Period: 10 * time.Second}},
	Heaviest: exchange.Cost{40},
	Clock:    exchange.Call{Endpoint: "time", Path: "api/v3/time", Cost: exchange.Cost{1}},
	Listings: 2, Prices: 2,
}}

const maxRows = 500

type market struct{ spec exchange.Spec }

func (m *market) Spec() *exchange.Spec { return &m.spec }

func (m *market) Listing(i int, _ string) exchange.Call {
	switch i {
	case 0:
		return exchange.Call{Endpoint: "exchangeInfo", Path: "api/v3/exchangeInfo", Cost: exchange.Cost{10}}
	case 2: // mexc.com/api-docs/spot-v3, "Symbol Price Ticker"
		return exchange.Call{Endpoint: "ticker/price", Path: "api/v3/ticker/price", Cost: exchange.Cost{2}, MaxBody: 16 << 20}
	}
	return exchange.Call{Endpoint: "ticker/24hr", Path: "api/v3/ticker/24hr", Cost: exchange.Cost{40}, MaxBody: 16 << 20}
}

// Klines requests a range. Its end is the last millisecond of the last candle, which is
// right whether the end is exclusive, as ccxt reads it, or inclusive. A start without an
// end is ignored (mexc-api-sdk, issues 28 and 57). Without a range the newest candles
// come, the forming one included.
func (m *market) Klines(symbol string, n exchange.Native, w exchange.Window) exchange.Call {
	step := max(w.Step, 1)
	query := make([]byte, 0, 160)
	query = append(query, "symbol="...)
	query = append(query, url.QueryEscape(symbol)...)
	query = append(query, "&interval="...)
	query = append(query, n.Name...)
	if w.Through <= w.Now {
		query = append(query, "&startTime="...)
		query = strconv.AppendInt(query, w.From, 10)
		query = append(query, "&endTime="...)
		query = strconv.AppendInt(query, (w.Through/step+1)*step-1, 10)
	}
	query = append(query, "&limit="...)
	query = strconv.AppendInt(query, int64(w.Rows), 10)
	return exchange.Call{Path: "api/v3/klines", Query: string(query), Cost: exchange.Cost{1}}
}

// DecodeKlines reads rows of eight columns: open time (Unix ms), open, high, low, close
// and base volume as strings, close time, quote volume.
func (m *market) DecodeKlines(s *exchange.Scanner, _ exchange.Native, yield func(levels.Candle) error) error {
	if s.IsObject() {
		return m.failure(s)
	}
	var k levels.Candle
	for s.Array(); s.More(); {
		s.Array()
		k.OpenTime = s.Int()
		k.Open, k.High, k.Low, k.Close = s.Decimal(), s.Decimal(), s.Decimal(), s.Decimal()
		k.Volume = s.Decimal()
		s.Int() // a row without the rest is not a kline
		s.Decimal()
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

func (m *market) DecodeClock(s *exchange.Scanner) (int64, error) {
	var t int64
	var r refusal
	for s.Object(); s.More(); {
		if key := s.Key(); string(key) == "serverTime" {
			t = s.Int()
		} else {
			r.read(s, key)
		}
	}
	if err := s.End(); err != nil || t != 0 {
		return t, err
	}
	return 0, m.in200(r)
}

func (m *market) DecodeListing(i int, s *exchange.Scanner, dst *exchange.Listing) error {
	switch i {
	case 1:
		return m.decodeTickers(s, dst)
	case 2:
		return m.decodePrices(s, dst)
	}
	var r refusal
	listed := false
	for s.Object(); s.More(); {
		switch key := s.Key(); string(key) {
		case "serverTime":
			dst.Clock(s.Int())
		case "symbols":
			listed = true
			for s.Array(); s.More(); {
				if p := decodePair(s, dst); s.Err() == nil {
					dst.Add(p)
				}
			}
		default:
			r.read(s, key)
		}
	}
	if err := s.End(); err != nil || listed {
		return err
	}
	return m.in200(r)
}

// decodePair reads a pair. isSpotTradingAllowed says only whether orders by the API are
// allowed, so it is left out.
func decodePair(s *exchange.Scanner, dst *exchange.Listing) service.Symbol {
	p := service.Symbol{Tick: service.Tick{Units: 1, Decimals: -1}}
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "symbol":
			p.Name = string(s.Text())
		case "status": // 1 online, 2 paused, 3 offline
			p.Status = dst.Word(s.Scalar())
		case "baseAsset":
			p.Base = string(s.Text())
		case "quoteAsset":
			p.Quote = dst.Word(s.Text())
		case "quoteAssetPrecision": // of prices, as ccxt reads it
			p.Tick.Decimals = int(s.Int())
		default:
			s.Skip()
		}
	}
	if p.Tick.Decimals < 0 || p.Tick.Decimals > 24 {
		s.Fail(fmt.Errorf("a pair without decimals: %.40q", p.Name))
	}
	if strings.HasPrefix(p.Name, p.Base) {
		p.Base = p.Name[:len(p.Base)] // saves one allocation
	}
	if exchange.IsLeveraged(p.Base) { // the list does not say it in another way
		p.Unusual = service.Leveraged
	}
	p.Trading = p.Status == "1"
	return p
}

// decodePrices reads [{"symbol":"YGUSDT","price":"0.21"}].
func (m *market) decodePrices(s *exchange.Scanner, dst *exchange.Listing) error {
	if s.IsObject() {
		return m.failure(s)
	}
	for s.Array(); s.More(); {
		dst.Ticker(s, "symbol", "price", "")
	}
	return s.End()
}

// decodeTickers reads the 24 h volumes. The quote volume of some pairs is null: then it is
// the base volume times the last price.
func (m *market) decodeTickers(s *exchange.Scanner, dst *exchange.Listing) error {
	if s.IsObject() {
		return m.failure(s)
	}
	var name []byte
	for s.Array(); s.More(); {
		name = name[:0]
		quote, base, last := 0.0, 0.0, 0.0
		known := false
		for s.Object(); s.More(); {
			switch string(s.Key()) {
			case "symbol":
				name = append(name, s.Text()...)
			case "quoteVolume":
				quote, known = s.Amount(), true
			case "volume":
				base = s.Amount()
			case "lastPrice":
				last = s.Amount()
			default:
				s.Skip()
			}
		}
		if s.Err() != nil {
			break
		}
		switch {
		case !known:
			quote = -1
		case quote == 0:
			quote = base * last
		}
		dst.Volume(name, quote)
	}
	return s.End()
}

// refusal is the venue's own error, {"msg":"invalid symbol","code":-1121}. The code of
// some is 0.
type refusal struct {
	code  int64
	msg   string
	found bool // there is a code
}

// read reads the value of a key.
func (r *refusal) read(s *exchange.Scanner, key []byte) {
	switch string(key) {
	case "code":
		r.code, r.found = s.Int(), true
	case "msg":
		if s.IsString() {
			r.msg = string(s.Text())
		} else {
			s.Skip()
		}
	default:
		s.Skip()
	}
}

// failure reads a refusal sent with HTTP 200.
func (m *market) failure(s *exchange.Scanner) error {
	var r refusal
	for s.Object(); s.More(); {
		r.read(s, s.Key())
	}
	if err := s.End(); err != nil {
		return err
	}
	return m.in200(r)
}

func (m *market) in200(r refusal) error {
	if !r.found {
		return errors.New("neither data nor an error")
	}
	return m.error(r)
}

// error returns the refusal with its meaning. Codes: apidocs, spot v3, Error Code.
func (m *market) error(r refusal) *exchange.Refusal {
	e := &exchange.Refusal{Venue: m.spec.Label, Code: strconv.FormatInt(r.code, 10), Msg: r.msg, Err: service.ErrExchange}
	switch r.code {
	case -1121, 10007, 30014, 30021: // invalid symbol
		e.Err = service.ErrUnknownSymbol
		if strings.Contains(r.msg, "interval") {
			e.Err = levels.ErrUnknownInterval
		}
	case 429, 510: // too many requests
		e.Err = service.ErrRateLimited
	}
	return e
}

// Refuse leaves bans (418) and 429 to the client, which reads the header Retry-After.
func (m *market) Refuse(status int, _ http.Header, body []byte) error {
	var e struct {
		Code *int64
		Msg  string
	}
	if status == http.StatusTeapot || status == http.StatusTooManyRequests || json.Unmarshal(body, &e) != nil || e.Code == nil {
		return nil
	}
	return m.error(refusal{code: *e.Code, msg: e.Msg})
}

// Usage does nothing: the responses do not say what is left.
func (m *market) Usage(http.Header, func(exchange.Usage)) {}

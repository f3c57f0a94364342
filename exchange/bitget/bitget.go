// Package bitget holds the markets of Bitget, API v2: spot, and perpetual contracts
// settled in USDT.
//
// Facts are from Bitget's documentation (Get Candlestick Data, Get History Candlestick
// Data), ccxt 4.5.84, hummingbot and recorded responses. That endTime is exclusive is
// how ccxt, bbgo and hummingbot page. How far back candles reach is the smaller of the
// documentation's and of what ccxt has measured, less two days. Unconfirmed: the days of
// 3Dutc and 1Wutc, so those intervals are merged from days; and whether an address has
// one more limit for all endpoints together (6,000 a minute), which the others keep.
package bitget

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

// The markets.
var (
	Spot                   = pushed(newSpot())
	Futures exchange.Venue = newFutures()
)

// Indices of budgets, for both markets.
const (
	spotCandles = iota
	spotHistory
	futuresCandles
	futuresHistory
)

type market struct {
	spec             exchange.Spec
	product          string // start of the query
	prefix           string // of paths
	symbols          string // endpoint
	candles, history int    // budgets
}

const day = 24 * time.Hour

func newSpot() *market {
	m := &market{prefix: "api/v2/spot/market/", symbols: "api/v2/spot/public/symbols", candles: spotCandles, history: spotHistory}
	m.spec = spec("bitget", "Bitget", m.candles)
	m.spec.Reach = exchange.Until // older candles have no startTime
	m.spec.Intervals = natives("min", "h", func(i levels.Interval, rows int) int {
		if i == "1d" {
			return min(rows, 300)
		}
		return rows
	})
	return m
}

func newFutures() *market {
	m := &market{prefix: "api/v2/mix/market/", symbols: "api/v2/mix/market/contracts", product: "productType=USDT-FUTURES", candles: futuresCandles, history: futuresHistory}
	m.spec = spec("bitget-futures", "Bitget Futures", m.candles)
	// A range is at most 90 days long (error 40017, measured by Gainium).
	m.spec.Intervals = natives("m", "H", func(i levels.Interval, rows int) int {
		return min(rows, int(90*day/i.Duration()))
	})
	return m
}

// spec returns what the markets have in common. Each endpoint has its own limit; the
// lists and the clock are counted as candles, because they are few.
func spec(name, label string, candles int) exchange.Spec {
	s := exchange.Spec{
		Name: name, Group: "bitget", Label: label, BaseURL: "https://api.bitget.com",
		Quotes:   []string{"USDT"},
		Heaviest: exchange.Cost{1, 1, 1, 1},
		Clock:    exchange.Call{Endpoint: "time", Path: "api/v2/public/time"},
		Listings: 2, Prices: 1,
	}
	for _, name := range []string{"candles", "history-candles", "futures candles", "futures history-candles"} {
		s.Budgets = append(s.Budgets, exchange.Budget{Name: name, Limit: 20, Period: time.Second})
	}
	s.Clock.Cost[candles] = 1
	return s
}

// natives returns the intervals with the names of a market; plain 6h, 12h and days open
// at midnight at UTC+8.
func natives(minutes, hours string, most func(levels.Interval, int) int) map[levels.Interval]exchange.Native {
	all := map[levels.Interval]exchange.Native{}
	for _, n := range []struct {
		interval levels.Interval
		name     string
		days     int // that candles reach back
	}{
		{"1m", "1" + minutes, 30}, {"3m", "3" + minutes, 30}, {"5m", "5" + minutes, 30}, {"15m", "15" + minutes, 30}, {"30m", "30" + minutes, 30},
		{"1h", "1" + hours, 60}, {"4h", "4" + hours, 240}, {"6h", "6Hutc", 360}, {"12h", "12Hutc", 720}, {"1d", "1Dutc", 1440},
	} {
		rows := most(n.interval, 1_000)
		recent := time.Duration(n.days-2) * day / n.interval.Duration()
		all[n.interval] = exchange.Native{Name: n.name, Rows: rows, Recent: int(recent), Older: min(rows, 200)}
	}
	return all
}

func (m *market) Spec() *exchange.Spec { return &m.spec }

func (m *market) cost(budget int) (c exchange.Cost) {
	c[budget] = 1
	return c
}

func (m *market) Listing(i int, _ string) exchange.Call {
	call := exchange.Call{Endpoint: "symbols", Path: m.symbols, Query: m.product, Cost: m.cost(m.candles)}
	if i == 1 {
		call.Endpoint, call.Path, call.MaxBody = "tickers", m.prefix+"tickers", 16<<20
	}
	return call
}

// Klines requests a range with an exclusive end. Both ends are multiples of the interval:
// the venue may round them down, and limits the length of the range. Without a range the
// newest candles come, the forming one included.
func (m *market) Klines(symbol string, n exchange.Native, w exchange.Window) exchange.Call {
	call := exchange.Call{Path: m.prefix + "candles", Cost: m.cost(m.candles)}
	if w.Old {
		call.Endpoint, call.Path, call.Cost = "history-candles", m.prefix+"history-candles", m.cost(m.history)
	}
	step := max(w.Step, 1)
	query := make([]byte, 0, 160)
	if m.product != "" {
		query = append(append(query, m.product...), '&')
	}
	query = append(query, "symbol="...)
	query = append(query, url.QueryEscape(symbol)...)
	query = append(query, "&granularity="...)
	query = append(query, n.Name...)
	if w.Through <= w.Now {
		if !w.Old || m.product != "" {
			query = append(query, "&startTime="...)
			query = strconv.AppendInt(query, (w.From+step-1)/step*step, 10)
		}
		query = append(query, "&endTime="...)
		query = strconv.AppendInt(query, (w.Through/step+1)*step, 10)
	}
	query = append(query, "&limit="...)
	query = strconv.AppendInt(query, int64(w.Rows), 10)
	call.Query = string(query)
	return call
}

// decode reads {"code":"00000","msg":"success","requestTime":…,"data":…} in any order.
// data is called for its value, which it must read; without it that is an error.
func (m *market) decode(s *exchange.Scanner, data func() error) error {
	var code, msg string
	good, read := false, false
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "code":
			if c := s.Scalar(); string(c) == ok {
				good = true
			} else {
				code = string(c)
			}
		case "msg":
			if s.IsString() {
				if t := s.Text(); string(t) != "success" {
					msg = string(t)
				}
			} else {
				s.Skip()
			}
		case "data":
			if !s.IsArray() && !s.IsObject() { // null
				s.Skip()
				continue
			}
			if err := data(); err != nil {
				return err
			}
			read = true
		default:
			s.Skip()
		}
	}
	if err := s.End(); err != nil {
		return err
	}
	if code != "" {
		return m.error(code, msg)
	}
	if !good || !read {
		return errors.New("neither data nor an error")
	}
	return nil
}

// ok is the code of a success.
const ok = "00000"

// DecodeKlines reads rows of strings: open time (Unix ms), open, high, low, close, base
// volume, and one or two quote volumes. A pair that was just listed may have the body "".
func (m *market) DecodeKlines(s *exchange.Scanner, _ exchange.Native, yield func(levels.Candle) error) error {
	if s.IsString() {
		if body := s.Bytes(); len(body) > 0 {
			return errors.New("a text instead of klines")
		}
		return s.End()
	}
	var k levels.Candle
	return m.decode(s, func() error {
		for s.Array(); s.More(); {
			s.Array()
			k.OpenTime = s.Int()
			k.Open, k.High, k.Low, k.Close = s.Decimal(), s.Decimal(), s.Decimal(), s.Decimal()
			k.Volume = s.Decimal()
			s.Decimal() // a row without it is not a kline
			s.Close()
			if s.Err() != nil {
				break
			}
			if err := yield(k); err != nil {
				return err
			}
		}
		return nil
	})
}

func (m *market) DecodeClock(s *exchange.Scanner) (t int64, err error) {
	err = m.decode(s, func() error {
		for s.Object(); s.More(); {
			if string(s.Key()) == "serverTime" {
				t = s.Int()
			} else {
				s.Skip()
			}
		}
		return nil
	})
	return t, err
}

func (m *market) DecodeListing(i int, s *exchange.Scanner, dst *exchange.Listing) error {
	return m.decode(s, func() error {
		for s.Array(); s.More(); {
			if i == 0 {
				if p := m.decodePair(s, dst); s.Err() == nil {
					dst.Add(p)
				}
				continue
			}
			dst.Ticker(s, "symbol", "lastPr", "quoteVolume")
		}
		return nil
	})
}

// decodePair reads a pair. The tick of a contract is priceEndStep in the last of its
// pricePlace decimals.
func (m *market) decodePair(s *exchange.Scanner, dst *exchange.Listing) service.Symbol {
	var p service.Symbol
	step := int64(1)
	dated := false
	var expiry int64
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "symbol":
			p.Name = string(s.Text())
		case "baseCoin":
			p.Base = string(s.Text())
		case "quoteCoin":
			p.Quote = dst.Word(s.Text())
		case "status", "symbolStatus":
			p.Status = dst.Word(s.Text())
		case "pricePrecision", "pricePlace":
			p.Tick.Decimals = int(min(s.Int(), 1_000))
		case "priceEndStep":
			step = s.Int()
		case "supportMarginCoins":
			for s.Array(); s.More(); {
				if coin := s.Text(); p.Settle == "" {
					p.Settle = dst.Word(coin)
				}
			}
		case "symbolType":
			dated = string(s.Bytes()) == "delivery"
		case "deliveryTime": // "" of a perpetual
			if t := s.Scalar(); len(t) > 0 {
				expiry, _ = strconv.ParseInt(string(t), 10, 64)
			}
		case "isRwa":
			if string(s.Scalar()) == "YES" {
				p.Unusual = service.Stock
			}
		default:
			s.Skip()
		}
	}
	if p.Tick.Decimals < 0 || p.Tick.Decimals > 24 || step < 1 {
		s.Fail(errors.New("a pair without a price step: " + strconv.Quote(p.Name)))
		return p
	}
	p.Tick.Units = step
	for p.Tick.Decimals > 0 && p.Tick.Units%10 == 0 {
		p.Tick.Units, p.Tick.Decimals = p.Tick.Units/10, p.Tick.Decimals-1
	}
	if strings.HasPrefix(p.Name, p.Base) {
		p.Base = p.Name[:len(p.Base)] // saves one allocation
	}
	if m.product == "" {
		if isStock(p.Base) {
			p.Unusual = service.Stock
		}
	} else if p.Settle == "" {
		p.Settle = p.Quote
	}
	if dated {
		p.Unusual = service.Dated
		p.Expiry = time.UnixMilli(expiry).UTC().Format("060102")
	}
	p.Trading = p.Status == "online" || p.Status == "normal"
	return p
}

// isStock reports whether the base of a spot pair is a tokenised stock: rTSLA. The list
// says it in no other way (699 of them, counted by a public client in September 2026).
func isStock(base string) bool {
	return len(base) > 1 && base[0] == 'r' && base[1] >= 'A' && base[1] <= 'Z'
}

// error returns the refusal with its meaning.
func (m *market) error(code, msg string) *exchange.Refusal {
	e := &exchange.Refusal{Venue: m.spec.Label, Code: code, Msg: msg, Err: service.ErrExchange}
	switch code {
	case "40034", // Parameter BTCUSDT_UMCBL does not exist
		"40309": // The contract has been removed
		e.Err = service.ErrUnknownSymbol
	case "400171": // names the granularities
		e.Err = levels.ErrUnknownInterval
	case "429":
		e.Err = service.ErrRateLimited
	}
	return e
}

// Refuse leaves 429 to the client, whatever the code.
func (m *market) Refuse(status int, _ http.Header, body []byte) error {
	var e struct{ Code, Msg string }
	if status == http.StatusTooManyRequests || json.Unmarshal(body, &e) != nil || e.Code == "" || e.Code == ok {
		return nil
	}
	return m.error(e.Code, e.Msg)
}

// Usage does nothing: the responses do not say what is left.
func (m *market) Usage(http.Header, func(exchange.Usage)) {}

// Package htx holds the spot market of HTX, which was Huobi.
//
// Facts are from HTX's documentation, ccxt 4.5.84, JKorf's HTX.Net and recorded responses.
//
//   - Candles are requested by number only, from market/history/kline. ccxt pages through
//     market/history/candles, but HTX documents no such endpoint, so it is left out, and
//     with it everything before the newest 2,000 candles.
//   - The list of pairs is v1/common/symbols, not v2/settings/common/symbols: it was
//     recorded, ccxt reads it, and it has the underlying of leveraged tokens.
//   - 1day opens at 00:00 UTC+8 (huobiapi/API_Docs_en, issue 8), and so must 1week. Days
//     and weeks are merged from 4hour.
//   - Unconfirmed: whether the window of the limit rolls, and that a page of errors comes
//     with HTTP 200.
package htx

import (
	"bytes"
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
	Name: "htx", Group: "htx", Label: "HTX", BaseURL: "https://api.huobi.pro",
	Quotes: []string{"USDT"},
	Intervals: map[levels.Interval]exchange.Native{
		"1m": {Name: "1min", Rows: maxRows}, "5m": {Name: "5min", Rows: maxRows}, "15m": {Name: "15min", Rows: maxRows},
		"30m": {Name: "30min", Rows: maxRows}, "1h": {Name: "60min", Rows: maxRows}, "4h": {Name: "4hour", Rows: maxRows},
	},
	Reach:    exchange.Newest,
	History:  maxRows,
	Budgets:  []exchange.Budget{{Name: "requests", Limit: 10, Period: time.Second}},
	Heaviest: exchange.Cost{1},
	Clock:    exchange.Call{Endpoint: "timestamp", Path: "v1/common/timestamp", Cost: exchange.Cost{1}},
	Listings: 2, Prices: 1,
}}

const maxRows = 2_000

type market struct{ spec exchange.Spec }

func (m *market) Spec() *exchange.Spec { return &m.spec }

func (m *market) Listing(i int, _ string) exchange.Call {
	if i == 0 {
		return exchange.Call{Endpoint: "symbols", Path: "v1/common/symbols", Cost: exchange.Cost{1}}
	}
	return exchange.Call{Endpoint: "tickers", Path: "market/tickers", Cost: exchange.Cost{1}, MaxBody: 16 << 20}
}

// Klines requests the newest candles, the forming one included.
func (m *market) Klines(symbol string, n exchange.Native, w exchange.Window) exchange.Call {
	query := make([]byte, 0, 80)
	query = append(query, "symbol="...)
	query = append(query, url.QueryEscape(symbol)...)
	query = append(query, "&period="...)
	query = append(query, n.Name...)
	query = append(query, "&size="...)
	query = strconv.AppendInt(query, int64(w.Rows), 10)
	return exchange.Call{Path: "market/history/kline", Query: string(query), Cost: exchange.Cost{1}}
}

// decode reads {"status":"ok","data":[…]} or {"status":"error","err-code":…,"err-msg":…},
// in any order. data is called for the value of data, which it must read.
func (m *market) decode(s *exchange.Scanner, data func() error) error {
	var status, code, msg string
	read := false
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "status":
			if t := s.Text(); string(t) == ok {
				status = ok
			} else {
				status = string(t)
			}
		case "err-code":
			code = string(s.Scalar())
		case "err-msg":
			if s.IsString() {
				msg = string(s.Text())
			} else {
				s.Skip()
			}
		case "data":
			if !s.IsArray() { // null
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
	switch {
	case status != ok && status != "" || code != "":
		return m.error(code, msg)
	case status == "" || !read:
		return errors.New("neither data nor an error")
	}
	return nil
}

// ok is the status of a success.
const ok = "ok"

// The fields that a candle must have.
const (
	hasTime = 1 << iota
	hasOpen
	hasHigh
	hasLow
	hasClose
	hasAmount
	hasAll = 1<<iota - 1
)

// DecodeKlines reads rows with the open time id (Unix seconds), the base volume amount and
// the quote volume vol.
func (m *market) DecodeKlines(s *exchange.Scanner, _ exchange.Native, yield func(levels.Candle) error) error {
	return m.decode(s, func() error {
		for s.Array(); s.More(); {
			k, has := decodeRow(s)
			switch {
			case s.Err() != nil:
				return nil
			case has != hasAll:
				return fmt.Errorf("kline at %d: fields are missing", k.OpenTime)
			}
			if err := yield(k); err != nil {
				return err
			}
		}
		return nil
	})
}

// decodeRow reads a candle, and returns which of its fields it has.
func decodeRow(s *exchange.Scanner) (k levels.Candle, has int) {
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "id":
			if k.OpenTime = s.Int(); k.OpenTime > latest || k.OpenTime < -latest {
				s.Fail(fmt.Errorf("the time %d is not Unix seconds", k.OpenTime))
			}
			k.OpenTime *= 1000
			has |= hasTime
		case "open":
			k.Open = s.Decimal()
			has |= hasOpen
		case "close":
			k.Close = s.Decimal()
			has |= hasClose
		case "low":
			k.Low = s.Decimal()
			has |= hasLow
		case "high":
			k.High = s.Decimal()
			has |= hasHigh
		case "amount":
			k.Volume = s.Decimal()
			has |= hasAmount
		default:
			s.Skip()
		}
	}
	return k, has
}

// latest bounds times in seconds, so that they can be multiplied.
const latest = 1 << 40

// DecodeClock reads {"status":"ok","data":1629715504949}.
func (m *market) DecodeClock(s *exchange.Scanner) (t int64, err error) {
	var status, code, msg string
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "data":
			t, _ = strconv.ParseInt(string(s.Scalar()), 10, 64) // or null
		case "status":
			status = string(s.Text())
		case "err-code":
			code = string(s.Scalar())
		case "err-msg":
			msg = string(s.Scalar())
		default:
			s.Skip()
		}
	}
	switch err := s.End(); {
	case err != nil:
		return 0, err
	case status != ok:
		return 0, m.error(code, msg)
	}
	return t, nil
}

func (m *market) DecodeListing(i int, s *exchange.Scanner, dst *exchange.Listing) error {
	return m.decode(s, func() error {
		for s.Array(); s.More(); {
			if i == 0 {
				if p := decodePair(s, dst); s.Err() == nil {
					dst.Add(p)
				}
				continue
			}
			dst.Ticker(s, "symbol", "close", "vol")
		}
		return nil
	})
}

// decodePair reads a pair. HTX writes assets small.
func decodePair(s *exchange.Scanner, dst *exchange.Listing) service.Symbol {
	p := service.Symbol{Tick: service.Tick{Units: 1, Decimals: -1}}
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "symbol":
			p.Name = string(s.Text())
		case "base-currency":
			p.Base = dst.Word(bytes.ToUpper(s.Text()))
		case "quote-currency":
			p.Quote = dst.Word(bytes.ToUpper(s.Text()))
		case "state":
			p.Status = dst.Word(s.Text())
		case "price-precision":
			p.Tick.Decimals = int(s.Int())
		case "underlying": // BTCUSDT of btc3lusdt
			if u := s.Scalar(); len(u) > 0 && string(u) != "null" {
				p.Unusual = service.Leveraged
			}
		case "tags":
			if tags := s.Scalar(); bytes.Contains(tags, []byte("etp")) {
				p.Unusual = service.Leveraged
			}
		default:
			s.Skip()
		}
	}
	if p.Tick.Decimals < 0 || p.Tick.Decimals > 24 {
		s.Fail(fmt.Errorf("a pair without decimals: %.40q", p.Name))
	}
	p.Trading = p.Status == "online"
	return p
}

// error returns the refusal with its meaning: the text says more than the code.
func (m *market) error(code, msg string) *exchange.Refusal {
	e := &exchange.Refusal{Venue: m.spec.Label, Code: code, Msg: msg, Err: service.ErrExchange}
	switch {
	case code == "base-symbol-error", code == "base-symbol-trade-disabled",
		strings.Contains(msg, "invalid symbol"), strings.Contains(msg, "symbol trade not open"):
		e.Err = service.ErrUnknownSymbol
	case strings.Contains(msg, "invalid period"):
		e.Err = levels.ErrUnknownInterval
	case code == "base-request-exceed-frequency-limit", code == "rate-too-many-requests",
		strings.Contains(msg, "request limit"), strings.Contains(msg, "rate limit"):
		e.Err = service.ErrRateLimited
	}
	return e
}

// Refuse leaves 429 to the client, whatever the code.
func (m *market) Refuse(status int, _ http.Header, body []byte) error {
	var e struct {
		Status string `json:"status"`
		Code   string `json:"err-code"`
		Msg    string `json:"err-msg"`
	}
	if status == http.StatusTooManyRequests || json.Unmarshal(body, &e) != nil || e.Status == ok || e.Code == "" {
		return nil
	}
	return m.error(e.Code, e.Msg)
}

// Usage does nothing: the responses do not say what is left.
func (m *market) Usage(http.Header, func(exchange.Usage)) {}

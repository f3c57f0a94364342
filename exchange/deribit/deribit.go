// Package deribit holds the futures of Deribit: perpetuals in USD and USDC, and dated ones.
//
// Facts are from Deribit's documentation (get_tradingview_chart_data, get_instruments,
// get_book_summary_by_currency, rate limits), ccxt 4.5.84 and Nautilus; no response is
// recorded. Unconfirmed are the limit of an address without an account, of which that of
// an account is used, whether the ends of a range are inclusive, and the hours at which
// candles longer than two hours open, so those are merged.
package deribit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

// Futures is the market of futures.
var Futures exchange.Venue = &market{exchange.Spec{
	Name: "deribit", Group: "deribit", Label: "Deribit", BaseURL: "https://www.deribit.com",
	Quotes:    []string{"USD", "USDC"},
	Intervals: intervals,
	Reach:     exchange.Bounded,
	Budgets:   []exchange.Budget{{Name: "requests", Kind: exchange.Rolling, Limit: 20, Period: time.Second}},
	Heaviest:  exchange.Cost{1},
	Clock:     exchange.Call{Endpoint: "get_time", Path: public + "get_time", Cost: exchange.Cost{1}},
	Listings:  2, Prices: 1,
}}

const public = "api/v2/public/"

// maxRows is the most candles of a response (ccxt).
const maxRows = 5_000

var intervals = map[levels.Interval]exchange.Native{
	"1m": {Name: "1", Rows: maxRows}, "3m": {Name: "3", Rows: maxRows}, "5m": {Name: "5", Rows: maxRows}, "15m": {Name: "15", Rows: maxRows},
	"30m": {Name: "30", Rows: maxRows}, "1h": {Name: "60", Rows: maxRows}, "2h": {Name: "120", Rows: maxRows},
}

// currencies are those that the volumes are requested for, one after the other.
var currencies = []string{"BTC", "ETH", "USDC", "USDT"}

type market struct{ spec exchange.Spec }

func (m *market) Spec() *exchange.Spec { return &m.spec }

func (m *market) Listing(i int, cursor string) exchange.Call {
	if i == 0 {
		return exchange.Call{Endpoint: "get_instruments", Path: public + "get_instruments", Query: "currency=any&kind=future&expired=false", Cost: exchange.Cost{1}}
	}
	if cursor == "" {
		cursor = currencies[0]
	}
	return exchange.Call{
		Endpoint: "get_book_summary_by_currency", Path: public + "get_book_summary_by_currency",
		Query: "currency=" + cursor + "&kind=future", Cost: exchange.Cost{1},
	}
}

// Klines requests a range by open times. Both ends are moved by a millisecond, so that it
// does not matter whether they are inclusive: ccxt moves the start too.
func (m *market) Klines(symbol string, n exchange.Native, w exchange.Window) exchange.Call {
	query := make([]byte, 0, 160)
	query = append(query, "instrument_name="...)
	query = append(query, url.QueryEscape(symbol)...)
	query = append(query, "&resolution="...)
	query = append(query, n.Name...)
	query = append(query, "&start_timestamp="...)
	query = strconv.AppendInt(query, max(0, w.From-1), 10)
	query = append(query, "&end_timestamp="...)
	query = strconv.AppendInt(query, w.Through+1, 10)
	return exchange.Call{
		Endpoint: "get_tradingview_chart_data", Path: public + "get_tradingview_chart_data", Query: string(query), Cost: exchange.Cost{1},
	}
}

// The columns of a page.
const (
	ticks = iota
	open
	high
	low
	closing
	volume
	columns
)

var names = [columns]string{"ticks", "open", "high", "low", "close", "volume"}

// page is the memory of a page: its columns come one after the other, in any order, so it
// is complete only at its end.
type page struct {
	rows    []levels.Candle
	lengths [columns]int
}

// tolerated is the number of rows beyond maxRows before an error.
const tolerated = 100

var pages = sync.Pool{New: func() any { return &page{rows: make([]levels.Candle, 0, maxRows+tolerated)} }}

// DecodeKlines reads columns: ticks are the open times (Unix ms), volume is in the base
// asset, and cost in USD.
func (m *market) DecodeKlines(s *exchange.Scanner, _ exchange.Native, yield func(levels.Candle) error) error {
	p := pages.Get().(*page)
	defer pages.Put(p)
	p.rows, p.lengths = p.rows[:0], [columns]int{-1, -1, -1, -1, -1, -1}
	err := m.envelope(s, func() {
		for s.Object(); s.More(); {
			switch i := column(s.Key()); i {
			case columns:
				s.Skip()
			default:
				p.read(s, i)
			}
		}
	})
	if err != nil {
		return err
	}
	for i, n := range p.lengths {
		if n != len(p.rows) {
			return fmt.Errorf("%d values of %s for %d candles", n, names[i], len(p.rows))
		}
	}
	for _, k := range p.rows {
		if err := yield(k); err != nil {
			return err
		}
	}
	return nil
}

// column returns the index of a column, or columns for another member.
func column(key []byte) int {
	for i, name := range names {
		if string(key) == name {
			return i
		}
	}
	return columns
}

func (p *page) read(s *exchange.Scanner, column int) {
	n := 0
	for s.Array(); s.More(); n++ {
		if n == len(p.rows) {
			if n == cap(p.rows) {
				s.Fail(fmt.Errorf("more than %d candles", maxRows))
				return
			}
			p.rows = append(p.rows, levels.Candle{})
		}
		switch k := &p.rows[n]; column {
		case ticks:
			k.OpenTime = s.Int()
		case open:
			k.Open = s.Decimal()
		case high:
			k.High = s.Decimal()
		case low:
			k.Low = s.Decimal()
		case closing:
			k.Close = s.Decimal()
		case volume:
			k.Volume = s.Decimal()
		}
	}
	p.lengths[column] = n
}

func (m *market) DecodeClock(s *exchange.Scanner) (int64, error) {
	var t int64
	err := m.envelope(s, func() { t = s.Int() })
	return t, err
}

func (m *market) DecodeListing(i int, s *exchange.Scanner, dst *exchange.Listing) error {
	if i == 1 {
		at := max(0, slices.Index(currencies, dst.Page()))
		if at+1 < len(currencies) {
			dst.Cursor(currencies[at+1])
		}
		return m.envelope(s, func() { decodeSummaries(s, dst) })
	}
	return m.envelope(s, func() {
		for s.Array(); s.More(); {
			if p := decodePair(s, dst); s.Err() == nil {
				dst.Add(p)
			}
		}
	})
}

func decodePair(s *exchange.Scanner, dst *exchange.Listing) service.Symbol {
	p := service.Symbol{Status: "closed"}
	perpetual := false
	var expiry int64
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "instrument_name":
			p.Name = string(s.Text())
		case "base_currency":
			p.Base = dst.Word(s.Text())
		case "counter_currency": // quote_currency is that of the premium of an option
			p.Quote = dst.Word(s.Text())
		case "settlement_currency":
			p.Settle = dst.Word(s.Text())
		case "settlement_period":
			perpetual = string(s.Bytes()) == "perpetual"
		case "expiration_timestamp":
			expiry = s.Int()
		case "is_active":
			if p.Trading = s.Bool(); p.Trading {
				p.Status = "open"
			}
		case "tick_size":
			tick, err := exchange.ParseTick(strconv.AppendFloat(nil, s.Decimal(), 'f', -1, 64)) // 1.0e-4
			if err != nil {
				s.Fail(err)
			}
			p.Tick = tick
		default:
			s.Skip()
		}
	}
	if !perpetual {
		p.Unusual, p.Expiry = service.Dated, time.UnixMilli(expiry).UTC().Format("060102")
	}
	return p
}

// decodeSummaries reads the 24 h volumes of one currency, in USD.
func decodeSummaries(s *exchange.Scanner, dst *exchange.Listing) {
	var name []byte
	for s.Array(); s.More(); {
		name = name[:0]
		usd, notional, last := -1.0, -1.0, 0.0
		for s.Object(); s.More(); {
			switch string(s.Key()) {
			case "instrument_name":
				name = append(name, s.Text()...)
			case "volume_usd":
				usd = s.Amount()
			case "volume_notional":
				notional = s.Amount()
			case "last": // null before the first trade
				last = s.Amount()
			default:
				s.Skip()
			}
		}
		if notional >= 0 { // in the quote asset
			usd = notional
		}
		if s.Err() == nil {
			dst.Price(name, last)
			dst.Volume(name, usd)
		}
	}
}

// envelope reads a JSON-RPC response: result is called for its result. Members come in
// any order.
func (m *market) envelope(s *exchange.Scanner, result func()) error {
	var refused *refusal
	found := false
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "result":
			found = true
			result()
		case "error":
			refused = new(refusal)
			for s.Object(); s.More(); {
				switch string(s.Key()) {
				case "code":
					refused.Code = s.Int()
				case "message":
					refused.Message = string(s.Text())
				case "data":
					if !s.IsObject() {
						s.Skip()
						continue
					}
					for s.Object(); s.More(); {
						switch string(s.Key()) {
						case "param":
							refused.Data.Param = string(s.Scalar())
						case "reason":
							refused.Data.Reason = string(s.Scalar())
						default:
							s.Skip()
						}
					}
				default:
					s.Skip()
				}
			}
		default:
			s.Skip()
		}
	}
	switch err := s.End(); {
	case err != nil:
		return err
	case refused != nil:
		return m.error(refused)
	case !found:
		return errors.New("neither a result nor an error")
	}
	return nil
}

// refusal is {"code":-32602,"message":"Invalid params","data":{"param":"currency","reason":"…"}}.
type refusal struct {
	Code    int64
	Message string
	Data    struct{ Param, Reason string }
}

// error returns the refusal with its meaning (documentation, RPC error codes).
func (m *market) error(r *refusal) error {
	e := &exchange.Refusal{Venue: m.spec.Label, Code: strconv.FormatInt(r.Code, 10), Msg: r.Message, Err: service.ErrExchange}
	if r.Data.Param != "" || r.Data.Reason != "" {
		e.Msg = fmt.Sprintf("%s: %s %s", r.Message, r.Data.Param, r.Data.Reason)
	}
	switch {
	case r.Code == 10028 || r.Code == 10066: // too many requests
		e.Err = service.ErrRateLimited
	case r.Code == 10020 || r.Code == 13020, r.Code == -32602 && r.Data.Param == "instrument_name":
		e.Err = service.ErrUnknownSymbol
	case r.Code == -32602 && r.Data.Param == "resolution":
		e.Err = levels.ErrUnknownInterval
	}
	return e
}

func (m *market) Refuse(_ int, _ http.Header, body []byte) error {
	var e struct{ Error json.RawMessage }
	var r refusal
	if json.Unmarshal(bytes.TrimSpace(body), &e) != nil || json.Unmarshal(e.Error, &r) != nil || r.Code == 0 {
		return nil
	}
	return m.error(&r)
}

func (m *market) Usage(http.Header, func(exchange.Usage)) {}

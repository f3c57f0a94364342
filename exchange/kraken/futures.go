package kraken

import (
	"bytes"
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

const futuresLabel = "Kraken Futures"

// Futures is the market of Kraken Futures: linear contracts in the base asset (PF_, and
// FF_ with an expiry), and inverse ones of one dollar (PI_, FI_).
//
// No response of it was recorded for this project. Addresses, fields and units are those
// of docs.kraken.com (futures-charts-rest, Get Instruments, Get Tickers), as ccxt 4.5.84,
// Nautilus, GoCryptoTrader and JKorf's Kraken.Net read them. That a response has the
// oldest 2,000 candles of a longer range was measured by a user of Jesse, who published
// the request. Public requests are free by the documentation; the budget is what Nautilus
// uses. Unconfirmed: on which day weeks open (they are merged from days), and the body of
// a 404.
var Futures exchange.Venue = &futures{exchange.Spec{
	Name: "kraken-futures", Group: "kraken-futures", Label: futuresLabel, BaseURL: "https://futures.kraken.com",
	Quotes: []string{"USD"},
	Intervals: map[levels.Interval]exchange.Native{
		"1m": {Name: "1m", Rows: 2000}, "5m": {Name: "5m", Rows: 2000}, "15m": {Name: "15m", Rows: 2000}, "30m": {Name: "30m", Rows: 2000},
		"1h": {Name: "1h", Rows: 2000}, "4h": {Name: "4h", Rows: 2000}, "12h": {Name: "12h", Rows: 2000}, "1d": {Name: "1d", Rows: 2000},
	},
	Reach:    exchange.Bounded,
	Budgets:  []exchange.Budget{{Name: "requests", Kind: exchange.Rolling, Limit: 10, Period: 2 * time.Second}},
	Heaviest: one,
	// The kinds of candles, the shortest response there is. Its time is the Date header.
	Clock:    exchange.Call{Endpoint: "charts", Path: charts, Cost: one},
	Listings: 2, Prices: 1,
}}

const (
	charts = "api/charts/v1/"
	api    = "derivatives/api/v3/"
)

type futures struct{ spec exchange.Spec }

func (m *futures) Spec() *exchange.Spec { return &m.spec }

func (m *futures) Listing(i int, _ string) exchange.Call {
	name := "instruments"
	if i == 1 {
		name = "tickers"
	}
	return exchange.Call{Endpoint: name, Path: api + name, Cost: one}
}

// Klines requests a range in seconds.
func (m *futures) Klines(symbol string, n exchange.Native, w exchange.Window) exchange.Call {
	query := make([]byte, 0, 48)
	query = append(query, "from="...)
	query = strconv.AppendInt(query, (w.From+999)/1000, 10)
	query = append(query, "&to="...)
	query = strconv.AppendInt(query, w.Through/1000+1, 10) // whether it is inclusive or not
	return exchange.Call{Path: charts + "trade/" + url.PathEscape(symbol) + "/" + n.Name, Query: string(query), Cost: one}
}

// DecodeKlines reads {"candles":[{"time":1731715200000,"open":"91069",…}],"more_candles":false}.
// The volume is in the base asset, but of an inverse contract in dollars.
func (m *futures) DecodeKlines(s *exchange.Scanner, _ exchange.Native, yield func(levels.Candle) error) error {
	var r result
	for s.Object(); s.More(); {
		switch key := s.Key(); string(key) {
		case "candles":
			r.found = true
			for s.Array(); s.More(); {
				k := decodeCandle(s)
				if s.Err() != nil {
					break
				}
				if err := yield(k); err != nil {
					return err
				}
			}
		default:
			r.read(s, key)
		}
	}
	return r.end(s)
}

var errColumns = errors.New("a candle lacks its time, a price or its volume")

func decodeCandle(s *exchange.Scanner) (k levels.Candle) {
	seen := 0
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "time":
			k.OpenTime = s.Int()
			seen |= 1
		case "open":
			k.Open = s.Decimal()
			seen |= 2
		case "high":
			k.High = s.Decimal()
			seen |= 4
		case "low":
			k.Low = s.Decimal()
			seen |= 8
		case "close":
			k.Close = s.Decimal()
			seen |= 16
		case "volume":
			k.Volume = s.Decimal()
			seen |= 32
		default:
			s.Skip()
		}
	}
	if seen != 63 {
		s.Fail(errColumns)
	}
	return k
}

// DecodeClock reads ["mark","spot","trade"].
func (m *futures) DecodeClock(s *exchange.Scanner) (int64, error) {
	var r result
	if s.IsArray() {
		r.found = true
		s.Skip()
		return 0, r.end(s)
	}
	for s.Object(); s.More(); {
		r.read(s, s.Key())
	}
	return 0, r.end(s)
}

func (m *futures) DecodeListing(i int, s *exchange.Scanner, dst *exchange.Listing) error {
	var r result
	for s.Object(); s.More(); {
		switch key := s.Key(); string(key) {
		case "instruments":
			r.found = true
			for s.Array(); s.More(); {
				if p, ok := decodeInstrument(s, dst); s.Err() == nil && ok {
					dst.Add(p)
				}
			}
		case "tickers":
			r.found = true
			for s.Array(); s.More(); {
				decodeFuturesTicker(s, dst)
			}
		case "serverTime":
			if t, err := time.Parse(time.RFC3339, string(s.Text())); err == nil {
				dst.Clock(t.UnixMilli())
			}
		default:
			r.read(s, key)
		}
	}
	return r.end(s)
}

// decodeInstrument reads a contract. ok is false for an index.
func decodeInstrument(s *exchange.Scanner, dst *exchange.Listing) (p service.Symbol, ok bool) {
	tradeable, postOnly, expired, inverse := false, false, false, false
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "symbol":
			p.Name = string(s.Text())
		case "type":
			kind := s.Bytes()
			ok = bytes.HasSuffix(kind, []byte("futures")) || bytes.HasPrefix(kind, []byte("futures_"))
			inverse = string(kind) == "futures_inverse"
		case "base":
			p.Base = asset(dst.Word(s.Text()))
		case "quote":
			p.Quote = dst.Word(s.Text())
		case "tickSize": // a number, 1e-10
			var b [32]byte
			tick, err := exchange.ParseTick(strconv.AppendFloat(b[:0], s.Decimal(), 'f', -1, 64))
			if err != nil {
				s.Fail(err)
			}
			p.Tick = tick
		case "lastTradingTime": // 2026-12-26T15:00:00Z; perpetual contracts have none
			if t := s.Scalar(); len(t) >= len("2026-12-26") {
				p.Expiry = string([]byte{t[2], t[3], t[5], t[6], t[8], t[9]})
			}
		case "category":
			if string(s.Scalar()) == "Pre-IPO" {
				p.Unusual = service.PreListing
			}
		case "tradfi":
			if s.Bool() && p.Unusual == "" {
				p.Unusual = service.Stock
			}
		case "tradeable":
			tradeable = s.Bool()
		case "postOnly":
			postOnly = s.Bool()
		case "isExpired":
			expired = s.Bool()
		default:
			s.Skip()
		}
	}
	p.Settle = p.Quote
	if inverse {
		p.Settle = p.Base
	}
	switch {
	case p.Expiry != "":
		p.Unusual = service.Dated
	case p.Unusual == "" && strings.HasSuffix(p.Base, "x"): // AAPLx
		p.Unusual = service.Stock
	}
	switch {
	case expired:
		p.Status = "expired"
	case !tradeable:
		p.Status = "suspended"
	case postOnly:
		p.Status = "post_only"
	default:
		p.Status, p.Trading = "tradeable", true
	}
	return p, ok
}

// decodeFuturesTicker reads the volume of 24 hours: in the quote asset, or, of an inverse
// contract, in contracts of one dollar.
func decodeFuturesTicker(s *exchange.Scanner, dst *exchange.Listing) {
	var buf [64]byte
	name := buf[:0]
	quote, size, last := -1.0, -1.0, 0.0
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "symbol":
			name = append(name[:0], s.Text()...)
		case "volumeQuote":
			quote = s.Amount()
		case "vol24h":
			size = s.Amount()
		case "last":
			last = s.Amount()
		default:
			s.Skip()
		}
	}
	if s.Err() == nil {
		dst.Price(name, last)
	}
	switch {
	case s.Err() != nil, size < 0: // an index
	case len(name) > 1 && name[1]|0x20 == 'i': // PI_, FI_
		dst.Volume(name, size)
	case quote >= 0:
		dst.Volume(name, quote)
	default:
		dst.Volume(name, size*last)
	}
}

// result is what a response says besides its data: {"result":"error","error":"…"}.
type result struct {
	found   bool // the data
	refused string
}

// read reads the member of a key that is not the data.
func (r *result) read(s *exchange.Scanner, key []byte) {
	if string(key) == "error" && s.IsString() {
		r.refused = string(s.Text())
	} else {
		s.Skip()
	}
}

func (r *result) end(s *exchange.Scanner) error {
	switch err := s.End(); {
	case err != nil:
		return err
	case r.refused != "":
		return futuresRefusal(r.refused)
	case !r.found:
		return errEmpty
	}
	return nil
}

func futuresRefusal(code string) *exchange.Refusal {
	e := &exchange.Refusal{Venue: futuresLabel, Code: code, Err: service.ErrExchange}
	switch code {
	case "contractNotFound":
		e.Err = service.ErrUnknownSymbol
	case "apiLimitExceeded":
		e.Err = service.ErrRateLimited
	}
	return e
}

// Refuse takes a 404 in JSON for an unknown contract: the address of candles names it.
func (m *futures) Refuse(status int, _ http.Header, body []byte) error {
	var e struct {
		Error string `json:"error"`
	}
	body = bytes.TrimSpace(body)
	err := json.Unmarshal(body, &e)
	switch {
	case err == nil && e.Error != "":
		return futuresRefusal(e.Error)
	case status == http.StatusNotFound && json.Valid(body):
		return &exchange.Refusal{Venue: futuresLabel, Code: "404", Err: service.ErrUnknownSymbol}
	}
	return nil
}

// Usage yields nothing: the venue's headers do not say.
func (m *futures) Usage(http.Header, func(exchange.Usage)) {}

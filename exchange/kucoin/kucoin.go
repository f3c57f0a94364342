// Package kucoin holds the markets of KuCoin: spot, and futures in one list of linear
// and inverse contracts. Facts are from KuCoin's own specification
// (kucoin-universal-sdk, November 2025) and recorded responses, and as ccxt 4.5.84 and
// GoCryptoTrader read them, unless a comment says otherwise.
package kucoin

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

// The markets. They share the public budget of an address.
var (
	Spot = pushed(&market{
		klines: "api/v1/market/candles",
		// 1,500 rows. A window ends where its next candle opens, so that it does not
		// matter whether that end is inclusive.
		spec: spec("kucoin", "KuCoin", "https://api.kucoin.com", 2, 1_499, map[levels.Interval]string{
			"1m": "1min", "3m": "3min", "5m": "5min", "15m": "15min", "30m": "30min",
			"1h": "1hour", "2h": "2hour", "4h": "4hour", "6h": "6hour", "8h": "8hour", "12h": "12hour", "1d": "1day",
		}),
	})
	// Futures is the market of contracts. A response has 200 rows, as ccxt requests and
	// another client measured in September 2026; the specification says 500. The volume of
	// a candle is in contracts, whose size is another for each pair.
	Futures exchange.Venue = &market{
		futures: true,
		klines:  "api/v1/kline/query",
		spec: spec("kucoin-futures", "KuCoin Futures", "https://api-futures.kucoin.com", 1, 199, map[levels.Interval]string{
			"1m": "1", "5m": "5", "15m": "15", "30m": "30",
			"1h": "60", "2h": "120", "4h": "240", "8h": "480", "12h": "720", "1d": "1440",
		}),
	}
)

// spec returns the facts of a market. Weeks, which open on Thursdays, are left out.
func spec(name, label, base string, listings, rows int, intervals map[levels.Interval]string) exchange.Spec {
	native := map[levels.Interval]exchange.Native{}
	for i, n := range intervals {
		native[i] = exchange.Native{Name: n, Rows: rows}
	}
	return exchange.Spec{
		Name: name, Group: "kucoin", Label: label, BaseURL: base,
		Quotes:    []string{"USDT"},
		Intervals: native,
		Reach:     exchange.Bounded,
		Budgets:   []exchange.Budget{{Name: "weight", Kind: exchange.Rolling, Limit: 2_000, Period: 30 * time.Second}},
		Heaviest:  exchange.Cost{tickersCost},
		Clock:     exchange.Call{Endpoint: "time", Path: "api/v1/timestamp", Cost: exchange.Cost{3}},
		Listings:  listings, Prices: 1,
	}
}

const tickersCost = 15

type market struct {
	spec    exchange.Spec
	futures bool
	klines  string // path
}

func (m *market) Spec() *exchange.Spec { return &m.spec }

func (m *market) Listing(i int, _ string) exchange.Call {
	switch {
	case m.futures && i == 1:
		// kucoin.com/docs-new, futures, "Get All Tickers"
		return exchange.Call{Endpoint: "allTickers", Path: "api/v1/allTickers", Cost: exchange.Cost{5}}
	case m.futures:
		return exchange.Call{Endpoint: "contracts", Path: "api/v1/contracts/active", Cost: exchange.Cost{3}}
	case i == 0:
		return exchange.Call{Endpoint: "symbols", Path: "api/v2/symbols", Cost: exchange.Cost{4}}
	}
	return exchange.Call{Endpoint: "tickers", Path: "api/v1/market/allTickers", Cost: exchange.Cost{tickersCost}}
}

// Klines requests the candles that open from a time, inclusive, to another: exclusive on
// spot, unconfirmed on futures.
func (m *market) Klines(symbol string, n exchange.Native, w exchange.Window) exchange.Call {
	names, unit := [...]string{"&type=", "&startAt=", "&endAt="}, int64(1_000)
	if m.futures {
		names, unit = [...]string{"&granularity=", "&from=", "&to="}, 1
	}
	end := w.Through + 1
	if w.Step > 0 {
		end = w.Through - w.Through%w.Step + w.Step
	}
	query := make([]byte, 0, 128)
	query = append(query, "symbol="...)
	query = append(query, url.QueryEscape(symbol)...)
	query = append(query, names[0]...)
	query = append(query, n.Name...)
	query = append(query, names[1]...)
	query = strconv.AppendInt(query, (w.From+unit-1)/unit, 10)
	query = append(query, names[2]...)
	query = strconv.AppendInt(query, (end+unit-1)/unit, 10)
	return exchange.Call{Path: m.klines, Query: string(query), Cost: exchange.Cost{3}}
}

// DecodeKlines reads rows newest first: open time (Unix seconds), open, CLOSE, HIGH, LOW,
// volume and turnover as strings. Those of futures are oldest first and numbers: open
// time (Unix ms), open, high, low, close, contracts and, since 2025, turnover.
func (m *market) DecodeKlines(s *exchange.Scanner, _ exchange.Native, yield func(levels.Candle) error) error {
	var refused refusal
	var k levels.Candle
	listed := false
	for s.Object(); s.More(); {
		if key := s.Key(); string(key) != "data" {
			refused.member(s, key)
			continue
		}
		if !s.IsArray() { // null, of a refusal
			s.Skip()
			continue
		}
		listed = true
		for s.Array(); s.More(); {
			s.Array()
			if m.futures {
				k.OpenTime = s.Int()
				k.Open, k.High, k.Low, k.Close = s.Decimal(), s.Decimal(), s.Decimal(), s.Decimal()
				k.Volume = s.Decimal()
			} else {
				k.OpenTime = s.Int() * 1_000
				k.Open, k.Close, k.High, k.Low = s.Decimal(), s.Decimal(), s.Decimal(), s.Decimal()
				k.Volume = s.Decimal()
				s.Skip()
			}
			s.Close()
			if s.Err() != nil {
				break
			}
			if err := yield(k); err != nil {
				return err
			}
		}
	}
	return m.end(s, &refused, listed)
}

func (m *market) DecodeClock(s *exchange.Scanner) (int64, error) {
	var t int64
	var refused refusal
	for s.Object(); s.More(); {
		if key := s.Key(); string(key) == "data" && !s.IsObject() && !s.IsArray() {
			t, _ = strconv.ParseInt(string(s.Scalar()), 10, 64) // null, of a refusal, is 0
		} else {
			refused.member(s, key)
		}
	}
	return t, m.end(s, &refused, t != 0)
}

func (m *market) DecodeListing(i int, s *exchange.Scanner, dst *exchange.Listing) error {
	var refused refusal
	listed := false
	list := func() {
		listed = true
		for s.Array(); s.More(); {
			switch {
			case m.futures && i == 1:
				dst.Ticker(s, "symbol", "price", "")
			case m.futures:
				if p := decodeContract(s, dst); s.Err() == nil {
					dst.Add(p)
				}
			case i == 0:
				if p := decodePair(s, dst); s.Err() == nil {
					dst.Add(p)
				}
			default:
				dst.Ticker(s, "symbol", "last", "volValue")
			}
		}
	}
	for s.Object(); s.More(); {
		switch key := s.Key(); {
		case string(key) != "data":
			refused.member(s, key)
		case s.IsArray():
			list()
		case s.IsObject(): // of the tickers
			for s.Object(); s.More(); {
				if string(s.Key()) == "ticker" {
					list()
				} else {
					s.Skip()
				}
			}
		default:
			s.Skip()
		}
	}
	return m.end(s, &refused, listed)
}

func decodePair(s *exchange.Scanner, dst *exchange.Listing) service.Symbol {
	var p service.Symbol
	var wrong error
	var shown string
	leveraged := false
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "symbol":
			p.Name = string(s.Text())
		case "name":
			shown = string(s.Text())
		case "baseCurrency":
			p.Base = string(s.Text())
		case "quoteCurrency":
			p.Quote = dst.Word(s.Text())
		case "market":
			leveraged = string(s.Scalar()) == "ETF"
		case "priceIncrement":
			p.Tick, wrong = exchange.ParseTick(s.Scalar())
		case "enableTrading":
			p.Trading = s.Bool()
		default:
			s.Skip()
		}
	}
	if wrong != nil {
		s.Fail(wrong)
	}
	if base, _, ok := strings.Cut(shown, "-"); ok && base != "" {
		p.Base = base // BSV, where the id and baseCurrency stay BCHSV
	}
	p.Status = "disabled" // the list has no words for it
	if p.Trading {
		p.Status = "enabled"
	}
	if leveraged || exchange.IsLeveraged(p.Base) {
		p.Unusual = service.Leveraged
	}
	return p
}

// decodeContract reads a contract with its 24 h volume. The turnover of an inverse one is
// in the base asset, and its volume in contracts of multiplier USD, which is negative.
func decodeContract(s *exchange.Scanner, dst *exchange.Listing) service.Symbol {
	var p service.Symbol
	var wrong error
	var turnover, volume, multiplier float64
	var expiry int64
	inverse, traditional := false, false
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "symbol":
			p.Name = string(s.Text())
		case "baseCurrency":
			p.Base = dst.Word(usual(s.Text()))
		case "quoteCurrency":
			p.Quote = dst.Word(usual(s.Text()))
		case "settleCurrency":
			p.Settle = dst.Word(usual(s.Text()))
		case "status":
			p.Status = dst.Word(s.Text())
		case "tickSize":
			p.Tick, wrong = parseTick(s.Scalar())
		case "multiplier":
			multiplier = s.Amount()
		case "isInverse":
			inverse = s.Bool()
		case "expireDate":
			expiry, _ = strconv.ParseInt(string(s.Scalar()), 10, 64) // null: never
		case "turnoverOf24h":
			turnover = s.Amount()
		case "volumeOf24h":
			volume = s.Amount()
		case "marketStage":
			if string(s.Scalar()) == "PRE_MARKET" {
				p.Unusual = service.PreListing
			}
		case "assetClass": // as another client read it in October 2026
			switch string(s.Scalar()) {
			case "STOCK", "INDEX", "METAL", "COMMODITY", "FOREX":
				traditional = true
			}
		default:
			s.Skip()
		}
	}
	if wrong != nil {
		s.Fail(wrong)
	}
	if traditional && p.Unusual == "" {
		p.Unusual = service.Stock
	}
	if expiry > 0 {
		p.Unusual = service.Dated
		p.Expiry = time.UnixMilli(expiry).UTC().Format("060102")
	}
	p.Trading = p.Status == "Open"
	p.QuoteVolume = turnover
	if inverse {
		p.QuoteVolume = volume * max(multiplier, -multiplier)
	}
	return p
}

// usual returns the name that most venues have for an asset.
func usual(asset []byte) []byte {
	if string(asset) == "XBT" {
		return []byte("BTC")
	}
	return asset
}

// parseTick is exchange.ParseTick for numbers, which may have an exponent: 1E-7.
func parseTick(b []byte) (service.Tick, error) {
	i := bytes.IndexAny(b, "eE")
	if i < 0 {
		return exchange.ParseTick(b)
	}
	t, err := exchange.ParseTick(b[:i])
	exponent, wrong := strconv.Atoi(string(b[i+1:]))
	if err != nil || wrong != nil || exponent < -18 || exponent > 6 || t.Units > 1e9 {
		return service.Tick{}, fmt.Errorf("%.40q is not a price step", b)
	}
	for ; exponent > 0; exponent-- {
		t.Units *= 10
	}
	t.Decimals -= exponent
	return t, nil
}

// refusal is the venue's own error, {"code":"400100","msg":"..."}, with HTTP 200 or not.
type refusal struct{ code, msg string }

// member reads a member of the envelope other than the data.
func (r *refusal) member(s *exchange.Scanner, key []byte) {
	switch string(key) {
	case "code":
		if code := s.Scalar(); string(code) != success {
			r.code = string(code)
		}
	case "msg":
		if s.IsString() {
			r.msg = string(s.Text())
			return
		}
		s.Skip()
	default:
		s.Skip()
	}
}

const success = "200000"

// end returns the error of a response after its last value.
func (m *market) end(s *exchange.Scanner, r *refusal, complete bool) error {
	if err := s.End(); err != nil {
		return err
	}
	switch {
	case r.code != "":
		return m.error(r)
	case !complete:
		return errors.New("neither data nor an error")
	}
	return nil
}

// error returns the refusal with its meaning. Messages of 400100, a wrong parameter, are
// as clients quote them: "This pair is not provided at present" for an unknown pair, and
// "Incorrect candlestick type.".
func (m *market) error(r *refusal) *exchange.Refusal {
	e := &exchange.Refusal{Venue: m.spec.Label, Code: r.code, Msg: r.msg, Err: service.ErrExchange}
	switch {
	case r.code == "429000":
		e.Err = service.ErrRateLimited
	case r.code == "900001", // trading pair does not exist
		r.code == "404000" && strings.Contains(r.msg, "contract"), // does not exist
		r.code == "400100" && strings.Contains(r.msg, "pair"):
		e.Err = service.ErrUnknownSymbol
	case r.code == "300000" && m.futures, // a granularity that there is not
		r.code == "400100" && strings.Contains(r.msg, "candlestick type"):
		e.Err = levels.ErrUnknownInterval
	}
	return e
}

func (m *market) Refuse(status int, h http.Header, body []byte) error {
	var r struct {
		Code json.RawMessage `json:"code"`
		Msg  string          `json:"msg"`
	}
	if json.Unmarshal(bytes.TrimSpace(body), &r) != nil {
		return nil
	}
	code := strings.Trim(string(r.Code), `"`)
	if code == "" || code == success || code == "null" {
		return nil
	}
	e := m.error(&refusal{code, r.Msg})
	if e.Err == service.ErrRateLimited {
		// The header says how long, in ms.
		if ms, err := strconv.Atoi(h.Get("Gw-Ratelimit-Reset")); err == nil && ms >= 0 {
			return &exchange.Pause{Err: service.ErrRateLimited, For: time.Duration(min(ms, 3_600_000)) * time.Millisecond}
		}
	}
	return e
}

func (m *market) Usage(h http.Header, yield func(exchange.Usage)) {
	limit, err := strconv.Atoi(h.Get("Gw-Ratelimit-Limit"))
	remaining, wrong := strconv.Atoi(h.Get("Gw-Ratelimit-Remaining"))
	if err == nil && wrong == nil && limit >= 100 && limit <= 10_000_000 && remaining >= 0 {
		yield(exchange.Usage{Budget: 0, Used: -1, Remaining: remaining, Limit: limit})
	}
}

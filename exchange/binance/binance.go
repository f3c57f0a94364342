// Package binance holds the markets of Binance: Spot, USD-M futures and COIN-M futures.
// Facts are from binance-spot-api-docs (rest-api.md, errors.md, enums.md) as of July
// 2026, and for the futures from Binance's own documentation as read by ccxt 4.5.84,
// GoCryptoTrader and recorded responses, unless a comment says otherwise.
package binance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
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
//
// Weights of ticker/price without a symbol: developers.binance.com/docs, Spot "Symbol price
// ticker" 4, USD-M "Symbol Price Ticker V2" 2, COIN-M "Symbol Price Ticker" 2.
var (
	// Spot serves market data only, without a key, at its own address.
	Spot = pushed(&market{
		prefix: "api/v3/",
		info:   "showPermissionSets=false", tickers: "type=MINI",
		listCost: 20, tickersCost: 80,
		klinesCost: func(int) int { return 2 },
		spec: exchange.Spec{
			Name: "binance", Group: "binance", Label: "Binance", BaseURL: "https://data-api.binance.vision",
			Quotes:    []string{"USDT"},
			Intervals: native(1_000),
			Reach:     exchange.Oldest,
			Sums:      true, // docs/live.md
			Budgets:   weight(6_000),
			Heaviest:  exchange.Cost{80},
			Clock:     exchange.Call{Endpoint: "time", Path: "api/v3/time", Cost: exchange.Cost{1}},
			Listings:  2, Prices: 2,
		},
		prices: "api/v3/", pricesCost: 4,
	}, "wss://data-stream.binance.vision/ws", time.Minute) // it pings every 20 seconds
	// USDM is the market of contracts settled in USDT or USDC. It shares its weight with
	// COINM.
	USDM = pushed(futures("binance-usdm", "Binance USD-M", "https://fapi.binance.com", "fapi/v1/", []string{"USDT"}),
		"wss://fstream.binance.com/market/ws", 7*time.Minute) // it pings every three minutes
	// COINM is the market of contracts settled in the base asset. A range of klines is at
	// most 200 days long (error -4088, recorded).
	COINM exchange.Venue = futures("binance-coinm", "Binance COIN-M", "https://dapi.binance.com", "dapi/v1/", []string{"USD"})
)

func futures(name, label, base, prefix string, quotes []string) *market {
	m := &market{
		prefix: prefix,
		prices: prefix, pricesCost: 2,
		listCost: 1, tickersCost: 40,
		klinesCost: futuresCost,
		spec: exchange.Spec{
			Name: name, Group: "binance-futures", Label: label, BaseURL: base,
			Quotes: quotes,
			// 499 rows cost 2, 1,000 cost 5 and 1,500 cost 10.
			Intervals: native(499),
			Reach:     exchange.Oldest,
			Budgets:   weight(2_400),
			Heaviest:  exchange.Cost{40},
			Clock:     exchange.Call{Endpoint: "time", Path: prefix + "time", Cost: exchange.Cost{1}},
			Listings:  2, Prices: 2,
		},
	}
	if name == "binance-usdm" {
		m.prices = "fapi/v2/"
	}
	if name == "binance-coinm" {
		m.inverse = true
		m.spec.Reach = exchange.Bounded // because of the longest range
		for i, n := range m.spec.Intervals {
			n.Rows = min(n.Rows, int(200*24*time.Hour/i.Duration()))
			m.spec.Intervals[i] = n
		}
	}
	return m
}

// futuresCost returns the weight of a request for klines: ccxt, binance.js, and
// GoCryptoTrader, ratelimit.go.
func futuresCost(rows int) int {
	switch {
	case rows < 100:
		return 1
	case rows < 500:
		return 2
	case rows <= 1_000:
		return 5
	}
	return 10
}

func weight(limit int) []exchange.Budget {
	return []exchange.Budget{{Name: "weight", Kind: exchange.Aligned, Limit: limit, Period: time.Minute}}
}

// native returns the intervals, all of which the venue has under our names.
func native(rows int) map[levels.Interval]exchange.Native {
	all := map[levels.Interval]exchange.Native{}
	for _, i := range levels.Intervals() {
		all[i] = exchange.Native{Name: string(i), Rows: rows}
	}
	return all
}

type market struct {
	spec                  exchange.Spec
	prefix, prices        string // of paths, and of that of the prices
	info, tickers         string // queries
	listCost, tickersCost int
	pricesCost            int
	klinesCost            func(rows int) int
	inverse               bool // volumes are in contracts, and in the base asset
}

func (m *market) Spec() *exchange.Spec { return &m.spec }

func (m *market) Listing(i int, _ string) exchange.Call {
	switch i {
	case 0:
		return exchange.Call{Endpoint: "exchangeInfo", Path: m.prefix + "exchangeInfo", Query: m.info, Cost: exchange.Cost{m.listCost}}
	case 2:
		return exchange.Call{Endpoint: "ticker/price", Path: m.prices + "ticker/price", Cost: exchange.Cost{m.pricesCost}, MaxBody: 16 << 20}
	}
	return exchange.Call{Endpoint: "ticker/24hr", Path: m.prefix + "ticker/24hr", Query: m.tickers, Cost: exchange.Cost{m.tickersCost}, MaxBody: 16 << 20}
}

// Klines requests a range by open times, both inclusive, so the next page starts one
// interval after the last kline of this one, for any alignment of the interval.
func (m *market) Klines(symbol string, n exchange.Native, w exchange.Window) exchange.Call {
	query := make([]byte, 0, 160)
	query = append(query, "symbol="...)
	query = append(query, url.QueryEscape(symbol)...)
	query = append(query, "&interval="...)
	query = append(query, n.Name...)
	query = append(query, "&startTime="...)
	query = strconv.AppendInt(query, w.From, 10)
	query = append(query, "&endTime="...)
	query = strconv.AppendInt(query, w.Through, 10)
	query = append(query, "&limit="...)
	query = strconv.AppendInt(query, int64(w.Rows), 10)
	return exchange.Call{Path: m.prefix + "klines", Query: string(query), Cost: exchange.Cost{m.klinesCost(w.Rows)}}
}

// DecodeKlines reads rows of twelve columns: open time (Unix ms), open, high, low, close
// and volume as strings, close time, quote volume, trades, two taker volumes, and an
// unused one. The volume of COIN-M is in contracts, and its quote volume in the base
// asset.
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
		s.Int()
		if m.inverse {
			k.Volume = s.Decimal()
		} else {
			s.Skip()
		}
		for range 4 { // a row without them is not a kline
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
	return s.End()
}

func (m *market) DecodeClock(s *exchange.Scanner) (int64, error) {
	var t int64
	var refused refusal
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "serverTime":
			t = s.Int()
		case "code":
			refused.code = s.Int()
		case "msg":
			refused.msg = string(s.Text())
		default:
			s.Skip()
		}
	}
	if err := s.End(); err != nil || t != 0 {
		return t, err
	}
	return 0, m.in200(refused)
}

func (m *market) DecodeListing(i int, s *exchange.Scanner, dst *exchange.Listing) error {
	switch i {
	case 1:
		return m.decodeTickers(s, dst)
	case 2:
		return m.decodePrices(s, dst)
	}
	var refused refusal
	listed := false
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "serverTime":
			dst.Clock(s.Int())
		case "rateLimits":
			for s.Array(); s.More(); {
				m.decodeLimit(s, dst)
			}
		case "symbols":
			listed = true
			for s.Array(); s.More(); {
				if p := m.decodePair(s, dst); s.Err() == nil {
					dst.Add(p)
				}
			}
		case "code":
			refused.code = s.Int()
		case "msg":
			refused.msg = string(s.Text())
		default:
			s.Skip()
		}
	}
	if err := s.End(); err != nil || listed {
		return err
	}
	return m.in200(refused)
}

func (m *market) decodeLimit(s *exchange.Scanner, dst *exchange.Listing) {
	var weight, minute bool
	var count, limit int64
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "rateLimitType":
			weight = string(s.Bytes()) == "REQUEST_WEIGHT"
		case "interval":
			minute = string(s.Bytes()) == "MINUTE"
		case "intervalNum":
			count = s.Int()
		case "limit":
			limit = s.Int()
		default:
			s.Skip()
		}
	}
	if weight && minute && count == 1 {
		dst.Limit(0, limit)
	}
}

func (m *market) decodePair(s *exchange.Scanner, dst *exchange.Listing) service.Symbol {
	var p service.Symbol
	trading, contract := true, ""
	var expiry int64
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "symbol":
			p.Name = string(s.Text())
		case "status", "contractStatus": // of COIN-M
			p.Status = dst.Word(s.Text())
		case "baseAsset":
			p.Base = string(s.Text())
		case "quoteAsset":
			p.Quote = dst.Word(s.Text())
		case "marginAsset":
			p.Settle = dst.Word(s.Text())
		case "isSpotTradingAllowed":
			trading = s.Bool()
		case "contractType":
			contract = dst.Word(s.Text())
		case "deliveryDate":
			expiry = s.Int()
		case "underlyingType":
			if string(s.Bytes()) == "PREMARKET" {
				p.Unusual = service.PreListing
			}
		case "filters":
			for s.Array(); s.More(); {
				decodeFilter(s, &p.Tick)
			}
		default:
			s.Skip()
		}
	}
	if strings.HasPrefix(p.Name, p.Base) {
		p.Base = p.Name[:len(p.Base)] // saves one allocation
	}
	switch {
	case strings.Contains(contract, "QUARTER") || strings.Contains(contract, "MONTH"):
		p.Unusual = service.Dated
		p.Expiry = time.UnixMilli(expiry).UTC().Format("060102")
	case strings.HasPrefix(contract, "TRADIFI") && p.Unusual == "":
		p.Unusual = service.Stock
	}
	p.Trading = p.Status == "TRADING" && trading
	return p
}

func decodeFilter(s *exchange.Scanner, dst *service.Tick) {
	price := false
	var tick service.Tick
	var wrong error // matters only if this is the price filter
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "filterType":
			price = string(s.Bytes()) == "PRICE_FILTER"
		case "tickSize":
			tick, wrong = exchange.ParseTick(s.Bytes())
		default:
			s.Skip()
		}
	}
	if price && wrong != nil {
		s.Fail(wrong)
	} else if price {
		*dst = tick
	}
}

// decodePrices reads the last prices, [{"symbol":"LTCBTC","price":"4.00000200"}].
func (m *market) decodePrices(s *exchange.Scanner, dst *exchange.Listing) error {
	if s.IsObject() {
		return m.failure(s)
	}
	for s.Array(); s.More(); {
		dst.Ticker(s, "symbol", "price", "")
	}
	return s.End()
}

// decodeTickers reads the 24 h volumes. Those of COIN-M are the base volume; its value in
// USD is that times the mean price.
func (m *market) decodeTickers(s *exchange.Scanner, dst *exchange.Listing) error {
	if s.IsObject() {
		return m.failure(s)
	}
	var name []byte
	for s.Array(); s.More(); {
		name = name[:0]
		quote, base, mean := math.NaN(), math.NaN(), math.NaN() // a ticker without them is not one
		for s.Object(); s.More(); {
			switch string(s.Key()) {
			case "symbol":
				name = append(name, s.Text()...)
			case "quoteVolume":
				quote = s.Decimal()
			case "baseVolume":
				base = s.Decimal()
			case "weightedAvgPrice":
				mean = s.Decimal()
			default:
				s.Skip()
			}
		}
		if s.Err() == nil {
			if m.inverse {
				quote = base * mean
			}
			dst.Volume(name, quote)
		}
	}
	return s.End()
}

// refusal is the venue's own error, {"code":-1121,"msg":"Invalid symbol."}.
type refusal struct {
	code int64
	msg  string
}

// decode reads the value of a member, which may be another one than those of a refusal.
func (r *refusal) decode(s *exchange.Scanner, name string) {
	switch name {
	case "code":
		r.code = s.Int()
	case "msg":
		r.msg = string(s.Text())
	default:
		s.Skip()
	}
}

// failure reads a refusal sent with HTTP 200.
func (m *market) failure(s *exchange.Scanner) error {
	var r refusal
	for s.Object(); s.More(); {
		r.decode(s, string(s.Key()))
	}
	if err := s.End(); err != nil {
		return err
	}
	return m.in200(r)
}

// in200 returns the error for a refusal sent with HTTP 200. Such a response contradicts
// itself, so it is worth another attempt, except for a rate limit.
func (m *market) in200(r refusal) error {
	switch r.code {
	case 0:
		return fmt.Errorf("neither data nor an error")
	case -1003:
		return m.error(r)
	}
	return fmt.Errorf("a response of HTTP 200: %w", m.error(r))
}

// error returns the refusal with its meaning. Codes: binance-spot-api-docs, errors.md.
func (m *market) error(r refusal) *exchange.Refusal {
	e := &exchange.Refusal{Venue: m.spec.Label, Code: strconv.FormatInt(r.code, 10), Msg: r.msg, Err: service.ErrExchange}
	switch {
	case r.code == -1121, // invalid symbol
		r.code == -1100 && strings.Contains(r.msg, "'symbol'"): // illegal characters
		e.Err = service.ErrUnknownSymbol
	case r.code == -1120:
		e.Err = levels.ErrUnknownInterval
	case r.code == -1003: // too many requests
		e.Err = service.ErrRateLimited
	}
	return e
}

func (m *market) Refuse(status int, h http.Header, body []byte) error {
	var e struct {
		Code int64  `json:"code"`
		Msg  string `json:"msg"`
	}
	if json.Unmarshal(bytes.TrimSpace(body), &e) != nil {
		e.Code, e.Msg = 0, ""
	}
	if status == http.StatusTeapot {
		return &exchange.Pause{Err: service.ErrBanned, Until: bannedUntil(e.Msg)}
	}
	if e.Code == 0 {
		return nil
	}
	return m.error(refusal{e.Code, e.Msg})
}

// bannedUntil reads "IP banned until 1660090423228" (Unix ms of the venue's clock) from
// the text of a ban; 0 without it.
func bannedUntil(msg string) int64 {
	_, rest, ok := strings.Cut(msg, "banned until ")
	if !ok {
		return 0
	}
	if i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		rest = rest[:i]
	}
	until, err := strconv.ParseInt(rest, 10, 64)
	if err != nil {
		return 0
	}
	return until
}

func (m *market) Usage(h http.Header, yield func(exchange.Usage)) {
	n, err := strconv.Atoi(h.Get("X-Mbx-Used-Weight-1m"))
	if err == nil && n >= 0 && n <= 10_000_000 {
		yield(exchange.Usage{Budget: 0, Used: n, Remaining: -1})
	}
}

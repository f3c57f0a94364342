// Package bybit holds the markets of Bybit: spot, linear contracts (settled in USDT or
// USDC) and inverse ones (settled in the base asset). Facts are from the documentation of
// API v5 as quoted by public sources of 2026, from recorded responses, and from ccxt
// 4.5.84 and nautilus_trader, unless a comment says otherwise. Unconfirmed is whether the
// limit of requests counts in fixed windows or rolling ones.
package bybit

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

// The markets. They share the limit of an address.
var (
	Spot    exchange.Venue = newMarket("bybit", "Bybit", "spot", "USDT")
	Linear  exchange.Venue = newMarket("bybit-linear", "Bybit Linear", "linear", "USDT")
	Inverse exchange.Venue = newMarket("bybit-inverse", "Bybit Inverse", "inverse", "USD")
)

func newMarket(name, label, category, quote string) *market {
	return &market{category: category, stream: newStream(category), spec: exchange.Spec{
		Name: name, Group: "bybit", Label: label, BaseURL: "https://api.bybit.com",
		Quotes:    []string{quote},
		Intervals: intervals,
		Reach:     exchange.Bounded,
		Budgets:   []exchange.Budget{{Name: "requests", Kind: exchange.Rolling, Limit: 600, Period: 5 * time.Second}},
		Heaviest:  one,
		Clock:     exchange.Call{Endpoint: "time", Path: "v5/market/time", Cost: one},
		Listings:  2, Prices: 1,
	}}
}

var one = exchange.Cost{1}

var intervals = map[levels.Interval]exchange.Native{
	"1m": native("1"), "3m": native("3"), "5m": native("5"), "15m": native("15"), "30m": native("30"),
	"1h": native("60"), "2h": native("120"), "4h": native("240"), "6h": native("360"), "12h": native("720"),
	"1d": native("D"), "1w": native("W"),
}

// native returns an interval. A response has up to 1,000 rows, one of which may be the
// candle that contains the start, see Klines.
func native(name string) exchange.Native { return exchange.Native{Name: name, Rows: 999} }

// ban is how long an address that sent too many requests must send none, "at least".
const ban = 10 * time.Minute

type market struct {
	spec     exchange.Spec
	stream   exchange.Stream
	category string
}

func (m *market) Spec() *exchange.Spec { return &m.spec }

// preLaunch is the status of contracts before their asset is listed, and the start of the
// cursors of their list, which follows that of the others: without a status the venue
// lists those that trade.
const preLaunch = "PreLaunch"

// Listing requests the contracts in pages; spot has only one.
func (m *market) Listing(i int, cursor string) exchange.Call {
	c := exchange.Call{Endpoint: "instruments-info", Path: "v5/market/instruments-info", Query: "category=" + m.category, Cost: one}
	switch {
	case i == 1:
		c.Endpoint, c.Path = "tickers", "v5/market/tickers"
		return c
	case m.category == "spot":
		return c
	}
	c.Query += "&limit=1000"
	if after, ok := strings.CutPrefix(cursor, preLaunch); ok {
		c.Query += "&status=" + preLaunch
		cursor = after
	}
	if cursor != "" {
		c.Query += "&cursor=" + url.QueryEscape(cursor)
	}
	return c
}

// Klines requests a range by open times, both inclusive. A start inside a candle also
// selects that candle, so the limit is one row more: the response then has all rows of the
// range, even if the venue drops one at either end.
func (m *market) Klines(symbol string, n exchange.Native, w exchange.Window) exchange.Call {
	query := make([]byte, 0, 120)
	query = append(query, "category="...)
	query = append(query, m.category...)
	query = append(query, "&symbol="...)
	query = append(query, url.QueryEscape(symbol)...)
	query = append(query, "&interval="...)
	query = append(query, n.Name...)
	query = append(query, "&start="...)
	query = strconv.AppendInt(query, w.From, 10)
	query = append(query, "&end="...)
	query = strconv.AppendInt(query, w.Through, 10)
	query = append(query, "&limit="...)
	query = strconv.AppendInt(query, int64(w.Rows+1), 10)
	return exchange.Call{Endpoint: "kline", Path: "v5/market/kline", Query: string(query), Cost: one}
}

// envelope reads {"retCode":0,"retMsg":"OK","result":{…},"time":…} in any order of
// members. It calls item, unless it is nil, for each element of result.list, and returns
// the time, Unix ms, and result.nextPageCursor.
func (m *market) envelope(s *exchange.Scanner, item func() error) (at int64, cursor string, err error) {
	code, msg, list := int64(0), "", false
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "retCode":
			code = s.Int()
		case "retMsg":
			if text := s.Text(); len(text) > 0 && string(text) != "OK" {
				msg = string(text)
			}
		case "time":
			at = s.Int()
		case "result":
			if !s.IsObject() { // null, with an error
				s.Skip()
				break
			}
			for s.Object(); s.More(); {
				switch string(s.Key()) {
				case "nextPageCursor":
					if !s.IsString() { // null
						s.Skip()
					} else if next := s.Text(); len(next) > 0 {
						cursor = string(next)
					}
				case "list":
					if item == nil {
						s.Skip()
						break
					}
					list = true
					for s.Array(); s.More(); {
						if err := item(); err != nil {
							return 0, "", err
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
		return 0, "", err
	case code != 0:
		return 0, "", m.refusal(code, msg)
	case !list && item != nil:
		return 0, "", errors.New("neither data nor an error")
	}
	return at, cursor, nil
}

// DecodeKlines reads rows of seven columns, newest first: open time (Unix ms), open, high,
// low, close, volume and turnover. The volume of an inverse contract is in US dollars, and
// its turnover in the base asset.
func (m *market) DecodeKlines(s *exchange.Scanner, _ exchange.Native, yield func(levels.Candle) error) error {
	inverse := m.category == "inverse"
	var k levels.Candle
	_, _, err := m.envelope(s, func() error {
		s.Array()
		k.OpenTime = s.Int()
		k.Open, k.High, k.Low, k.Close = s.Decimal(), s.Decimal(), s.Decimal(), s.Decimal()
		if inverse {
			s.Bytes()
		}
		k.Volume = s.Decimal()
		if !inverse {
			s.Bytes()
		}
		s.Close()
		if s.Err() != nil {
			return s.Err()
		}
		return yield(k)
	})
	return err
}

func (m *market) DecodeClock(s *exchange.Scanner) (int64, error) {
	at, _, err := m.envelope(s, nil)
	return at, err
}

func (m *market) DecodeListing(i int, s *exchange.Scanner, dst *exchange.Listing) error {
	if i == 1 {
		return m.decodeTickers(s, dst)
	}
	status := ""
	at, cursor, err := m.envelope(s, func() error {
		if p := m.decodePair(s, dst); s.Err() == nil {
			status = p.Status
			dst.Add(p)
		}
		return s.Err()
	})
	switch {
	case err != nil:
		return err
	case m.category == "spot":
		cursor = ""
	case status == preLaunch && cursor != "":
		cursor = preLaunch + cursor
	case m.category == "linear" && status != "" && status != preLaunch && cursor == "":
		cursor = preLaunch
	}
	dst.Clock(at)
	dst.Cursor(cursor)
	return nil
}

func (m *market) decodePair(s *exchange.Scanner, dst *exchange.Listing) service.Symbol {
	var p service.Symbol
	var delivery int64
	dated, auction := false, true
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "symbol":
			p.Name = string(s.Text())
		case "baseCoin":
			p.Base = dst.Word(s.Text())
		case "quoteCoin":
			p.Quote = dst.Word(s.Text())
		case "settleCoin":
			p.Settle = dst.Word(s.Text())
		case "status":
			p.Status = dst.Word(s.Text())
		case "contractType": // LinearPerpetual, InversePerpetual, LinearFutures or InverseFutures
			dated = bytes.HasSuffix(s.Bytes(), []byte("Futures"))
		case "deliveryTime":
			delivery = s.Int()
		case "symbolType":
			switch string(s.Bytes()) {
			case "xstocks", "mstocks", "stock", "etf", "commodity", "forex":
				p.Unusual = service.Stock
			}
		case "preListingInfo":
			auction = decodeAuction(s)
		case "priceFilter":
			for s.Object(); s.More(); {
				if string(s.Key()) == "tickSize" {
					p.Tick = tick(s)
				} else {
					s.Skip()
				}
			}
		default:
			s.Skip()
		}
	}
	switch {
	case dated:
		p.Unusual = service.Dated
		p.Expiry = time.UnixMilli(delivery).UTC().Format("060102")
	case p.Status == preLaunch:
		p.Unusual = service.PreListing
	case m.category == "spot" && exchange.IsLeveraged(p.Base): // nothing else marks them
		p.Unusual = service.Leveraged
	}
	p.Trading = p.Status == "Trading" || p.Status == preLaunch && !auction
	return p
}

// decodeAuction reads preListingInfo, an object or null, and reports whether the contract
// is not in continuous trading yet.
func decodeAuction(s *exchange.Scanner) bool {
	if !s.IsObject() {
		s.Skip()
		return true
	}
	auction := true
	for s.Object(); s.More(); {
		if string(s.Key()) == "curAuctionPhase" {
			auction = string(s.Bytes()) != "ContinuousTrading"
		} else {
			s.Skip()
		}
	}
	return auction
}

// tick reads a price step, which a contract before its launch may not have.
func tick(s *exchange.Scanner) service.Tick {
	b := s.Bytes()
	if s.Err() != nil || len(b) == 0 {
		return service.Tick{}
	}
	t, err := exchange.ParseTick(b)
	if err != nil {
		s.Fail(err)
	}
	return t
}

// decodeTickers reads the 24 h volumes: turnover24h is in the quote asset, but for inverse
// contracts volume24h is.
func (m *market) decodeTickers(s *exchange.Scanner, dst *exchange.Listing) error {
	quoted := "turnover24h"
	if m.category == "inverse" {
		quoted = "volume24h"
	}
	_, _, err := m.envelope(s, func() error {
		dst.Ticker(s, "symbol", "lastPrice", quoted)
		return s.Err()
	})
	return err
}

// refusal returns an error of the venue with its meaning.
func (m *market) refusal(code int64, msg string) *exchange.Refusal {
	e := &exchange.Refusal{Venue: m.spec.Label, Code: strconv.FormatInt(code, 10), Msg: msg, Err: service.ErrExchange}
	switch code {
	case 10006, // too many visits of a user to an endpoint
		10018, // and of an address
		429:
		e.Err = service.ErrRateLimited
	case 10029: // the symbol is invalid
		e.Err = service.ErrUnknownSymbol
	case 10001: // a parameter; the texts are recorded
		switch text := strings.ToLower(msg); {
		case strings.Contains(text, "symbol"): // "Not supported symbols", "Symbol Is Invalid"
			e.Err = service.ErrUnknownSymbol
		case strings.Contains(text, "period"), strings.Contains(text, "interval"): // "Invalid period!", "intervalTime is invalid"
			e.Err = levels.ErrUnknownInterval
		}
	}
	return e
}

// Refuse returns a ban for HTTP 403 "access too frequent": the documentation calls it one.
// Other responses of 403 are of a firewall, for example because of the region.
func (m *market) Refuse(status int, _ http.Header, body []byte) error {
	if status == http.StatusForbidden && bytes.Contains(bytes.ToLower(body), []byte("access too frequent")) {
		return &exchange.Pause{Err: service.ErrBanned, For: ban}
	}
	var e struct {
		Code int64  `json:"retCode"`
		Msg  string `json:"retMsg"`
	}
	if json.Unmarshal(bytes.TrimSpace(body), &e) != nil || e.Code == 0 {
		return nil
	}
	return m.refusal(e.Code, e.Msg)
}

// Usage yields nothing: X-Bapi-Limit and X-Bapi-Limit-Status are of a user's requests to
// one endpoint in a second, not of the address.
func (m *market) Usage(http.Header, func(exchange.Usage)) {}

// Package okx holds the markets of OKX: spot and perpetual swaps. Facts are from the
// documentation of API v5 as quoted by public sources of 2025 and 2026, from recorded
// responses, and from ccxt 4.5.84, GoCryptoTrader and nautilus_trader, which agree,
// unless a comment says otherwise. Unconfirmed is how OKX counts requests: in fixed
// windows or rolling ones.
package okx

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

// The markets. They share the limits of an address.
var (
	Spot exchange.Venue = newMarket("okx", "OKX", "SPOT")
	// Swap is the market of perpetual swaps, settled in USDT, USDC or the base asset.
	Swap exchange.Venue = newMarket("okx-swap", "OKX Swap", "SWAP")
)

// Indices of the budgets, one for each endpoint. That of the time, 10 requests in 2 s,
// is left out: it is asked at most once a second.
const (
	candles = iota
	history
	instruments
	tickers
)

func newMarket(name, label, kind string) *market {
	budget := func(name string, limit int) exchange.Budget {
		return exchange.Budget{Name: name, Kind: exchange.Rolling, Limit: limit, Period: 2 * time.Second}
	}
	return &market{kind: kind, spec: exchange.Spec{
		Name: name, Group: "okx", Label: label, BaseURL: "https://www.okx.com",
		Quotes:    []string{"USDT"},
		Intervals: intervals,
		Reach:     exchange.Bounded,
		Budgets: []exchange.Budget{
			candles: budget("candles", 40), history: budget("history-candles", 20),
			instruments: budget("instruments", 20), tickers: budget("tickers", 20),
		},
		Heaviest: exchange.Cost{1, 1, 1, 1},
		Clock:    exchange.Call{Endpoint: "time", Path: "api/v5/public/time"},
		Listings: 2, Prices: 1,
	}}
}

// intervals are the bars. From six hours on they open at midnight in Hong Kong, unless
// the name says utc. There is no 8h, and where 3Dutc opens is unconfirmed.
var intervals = map[levels.Interval]exchange.Native{
	"1m": native("1m"), "3m": native("3m"), "5m": native("5m"), "15m": native("15m"), "30m": native("30m"),
	"1h": native("1H"), "2h": native("2H"), "4h": native("4H"),
	"6h": native("6Hutc"), "12h": native("12Hutc"), "1d": native("1Dutc"), "1w": native("1Wutc"),
}

// native returns a bar. candles has the newest 1,440 rows of each; the boundary moves
// while pages are turned, and other rows are near it. Older ones come from
// history-candles, which once sent 100 rows, and according to newer documentation sends
// 300.
func native(bar string) exchange.Native {
	return exchange.Native{Name: bar, Rows: 300, Recent: 1_400, Older: 300, Sure: 100}
}

type market struct {
	spec exchange.Spec
	kind string // instType
}

func (m *market) Spec() *exchange.Spec { return &m.spec }

func (m *market) Listing(i int, _ string) exchange.Call {
	c := exchange.Call{Endpoint: "instruments", Path: "api/v5/public/instruments", Query: "instType=" + m.kind}
	if i == 1 {
		c.Endpoint, c.Path = "tickers", "api/v5/market/tickers"
		c.Cost[tickers] = 1
		return c
	}
	c.Cost[instruments] = 1
	return c
}

// Klines requests a range. Its ends are exclusive: before is the older one.
func (m *market) Klines(symbol string, n exchange.Native, w exchange.Window) exchange.Call {
	c := exchange.Call{Endpoint: "candles", Path: "api/v5/market/candles"}
	if w.Old {
		c.Endpoint, c.Path = "history-candles", "api/v5/market/history-candles"
		c.Cost[history] = 1
	} else {
		c.Cost[candles] = 1
	}
	query := make([]byte, 0, 120)
	query = append(query, "instId="...)
	query = append(query, url.QueryEscape(symbol)...)
	query = append(query, "&bar="...)
	query = append(query, n.Name...)
	query = append(query, "&before="...)
	query = strconv.AppendInt(query, max(w.From-1, 0), 10)
	query = append(query, "&after="...)
	query = strconv.AppendInt(query, w.Through+1, 10)
	query = append(query, "&limit="...)
	query = strconv.AppendInt(query, int64(w.Rows), 10)
	c.Query = string(query)
	return c
}

// envelope reads {"code":"0","msg":"","data":[…]} in any order of members, and calls item
// for each element of data.
func (m *market) envelope(s *exchange.Scanner, item func() error) error {
	var code, msg string
	data := false
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "code":
			if c := s.Scalar(); string(c) != "0" {
				code = string(c)
			}
		case "msg":
			if text := s.Text(); len(text) > 0 {
				msg = string(text)
			}
		case "data":
			data = true
			for s.Array(); s.More(); {
				if err := item(); err != nil {
					return err
				}
			}
		default:
			s.Skip()
		}
	}
	switch err := s.End(); {
	case err != nil:
		return err
	case code != "":
		return m.refusal(code, msg)
	case !data:
		return errors.New("neither data nor an error")
	}
	return nil
}

// DecodeKlines reads rows of nine columns, newest first: open time (Unix ms), open, high,
// low, close, three volumes, and whether the candle is closed. The volumes are base,
// quote and quote for spot, and contracts, base and quote for swaps, inverse ones too.
func (m *market) DecodeKlines(s *exchange.Scanner, _ exchange.Native, yield func(levels.Candle) error) error {
	return m.envelope(s, func() error {
		k := m.row(s)
		s.Bytes()
		s.Close()
		if s.Err() != nil {
			return s.Err()
		}
		return yield(k)
	})
}

// row opens a row and reads all of its columns but the last.
func (m *market) row(s *exchange.Scanner) (k levels.Candle) {
	swap := m.kind == "SWAP"
	s.Array()
	k.OpenTime = s.Int()
	k.Open, k.High, k.Low, k.Close = s.Decimal(), s.Decimal(), s.Decimal(), s.Decimal()
	if swap {
		s.Bytes()
	}
	k.Volume = s.Decimal()
	if !swap {
		s.Bytes()
	}
	s.Bytes()
	return k
}

func (m *market) DecodeClock(s *exchange.Scanner) (t int64, err error) {
	err = m.envelope(s, func() error {
		for s.Object(); s.More(); {
			if string(s.Key()) == "ts" {
				t = s.Int()
			} else {
				s.Skip()
			}
		}
		return s.Err()
	})
	return t, err
}

func (m *market) DecodeListing(i int, s *exchange.Scanner, dst *exchange.Listing) error {
	if i == 1 {
		return m.decodeTickers(s, dst)
	}
	return m.envelope(s, func() error {
		if p := m.decodePair(s, dst); s.Err() == nil {
			dst.Add(p)
		}
		return s.Err()
	})
}

// decodePair reads an instrument. The assets are those of its id, BTC-USDT or
// BTC-USDT-SWAP: a swap has no baseCcy and quoteCcy. BTC-USD_UM-SWAP is quoted in USD.
func (m *market) decodePair(s *exchange.Scanner, dst *exchange.Listing) service.Symbol {
	var p service.Symbol
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "instId":
			p.Name = string(s.Text())
		case "settleCcy":
			p.Settle = dst.Word(s.Text())
		case "state": // live, suspend, rebase, preopen or test
			p.Status = dst.Word(s.Text())
		case "tickSz":
			p.Tick = tick(s)
		case "ruleType": // normal, pre_market or rebase_contract, which is in the pre-market
			if rule := s.Bytes(); p.Unusual == "" && (string(rule) == "pre_market" || string(rule) == "rebase_contract") {
				p.Unusual = service.PreListing
			}
		case "instCategory": // 1: crypto, 3: stocks; 4 are commodities and 5 currencies in recorded lists
			if category := s.Scalar(); len(category) > 0 && string(category) != "1" {
				p.Unusual = service.Stock
			}
		default:
			s.Skip()
		}
	}
	base, quote, _ := strings.Cut(p.Name, "-")
	quote, _, _ = strings.Cut(quote, "-")
	quote, _, _ = strings.Cut(quote, "_")
	p.Base, p.Quote = base, dst.Word([]byte(quote))
	p.Trading = p.Status == "live"
	return p
}

// tick reads a price step, which an instrument that is not open yet may not have.
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

// decodeTickers reads the 24 h volumes. volCcy24h is the quote volume for spot, and the
// base volume for swaps, whose value is taken at the last price.
func (m *market) decodeTickers(s *exchange.Scanner, dst *exchange.Listing) error {
	var name []byte
	return m.envelope(s, func() error {
		name = name[:0]
		volume, last := -1.0, 0.0
		for s.Object(); s.More(); {
			switch string(s.Key()) {
			case "instId":
				name = append(name, s.Text()...)
			case "volCcy24h":
				volume = s.Amount()
			case "last":
				last = s.Amount()
			default:
				s.Skip()
			}
		}
		if s.Err() != nil {
			return s.Err()
		}
		dst.Price(name, last)
		if m.kind == "SWAP" {
			volume *= last
		}
		dst.Volume(name, volume)
		return nil
	})
}

// refusal returns an error of the venue with its meaning.
func (m *market) refusal(code, msg string) *exchange.Refusal {
	e := &exchange.Refusal{Venue: m.spec.Label, Code: code, Msg: msg, Err: service.ErrExchange}
	switch code {
	case "50011": // too many requests
		e.Err = service.ErrRateLimited
	case "51001", // the instrument does not exist
		"51015": // it is of another type
		e.Err = service.ErrUnknownSymbol
	case "51000": // "Parameter bar error"
		if strings.Contains(msg, "bar") {
			e.Err = levels.ErrUnknownInterval
		} else if strings.Contains(msg, "instId") {
			e.Err = service.ErrUnknownSymbol
		}
	}
	return e
}

func (m *market) Refuse(_ int, _ http.Header, body []byte) error {
	var e struct {
		Code string `json:"code"`
		Msg  string `json:"msg"`
	}
	if json.Unmarshal(bytes.TrimSpace(body), &e) != nil || e.Code == "" || e.Code == "0" {
		return nil
	}
	return m.refusal(e.Code, e.Msg)
}

// Usage yields nothing: no header says what was used.
func (m *market) Usage(http.Header, func(exchange.Usage)) {}

// Package gate holds the markets of Gate: spot, and perpetual contracts settled in USDT.
// Facts are from Gate's own documentation (gateapi-go, July 2025) and recorded responses,
// and as ccxt 4.5.84 and GoCryptoTrader read them. What the documentation leaves open
// rests on a client that measured the API in September 2026: both ends of a range are
// inclusive, no wider than 1,000 rows; a minute without trades is a flat row; unknown ids
// have three labels.
package gate

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

// The markets. Each endpoint has its own budget, so the markets share none.
var (
	Spot = pushed(&market{
		path: "api/v4/spot/", pairs: "currency_pairs", id: "currency_pair=",
		spec: spec("gate", "Gate", 1_000),
	})
	// Futures is the market of contracts. The volume of a candle is in contracts, whose
	// size is another for each pair.
	Futures exchange.Venue = &market{
		futures: true,
		path:    "api/v4/futures/usdt/", pairs: "contracts", id: "contract=",
		spec: spec("gate-futures", "Gate Futures", 1_999), // 2,000; ccxt requests one less
	}
)

// spec returns the facts of a market. Days open at 00:00 UTC, because candles are
// multiples of their length since 1970; 7d, which therefore opens on Thursdays, is left
// out. The oldest candle that may be requested is 10,000 intervals old; ten less allow for
// the venue's clock and for waiting. That contracts have this limit too is unconfirmed.
func spec(name, label string, rows int) exchange.Spec {
	native := map[levels.Interval]exchange.Native{}
	for _, i := range []levels.Interval{"1m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "1d"} {
		native[i] = exchange.Native{Name: string(i), Rows: rows}
	}
	return exchange.Spec{
		Name: name, Group: name, Label: label, BaseURL: "https://api.gateio.ws",
		Quotes:    []string{"USDT"},
		Intervals: native,
		Reach:     exchange.Bounded,
		History:   9_990,
		// Each endpoint has a budget of this size. Here all share one, because nearly all
		// requests are for candles, and headers do not say which budget they are about.
		Budgets:  []exchange.Budget{{Name: "requests", Kind: exchange.Rolling, Limit: 200, Period: 10 * time.Second}},
		Heaviest: exchange.Cost{1},
		Clock:    exchange.Call{Endpoint: "time", Path: "api/v4/spot/time", Cost: exchange.Cost{1}},
		Listings: 2, Prices: 1,
	}
}

type market struct {
	spec    exchange.Spec
	futures bool
	path    string
	pairs   string // endpoint
	id      string // parameter
}

func (m *market) Spec() *exchange.Spec { return &m.spec }

func (m *market) Listing(i int, _ string) exchange.Call {
	endpoint := m.pairs
	if i == 1 {
		endpoint = "tickers"
	}
	return exchange.Call{Endpoint: endpoint, Path: m.path + endpoint, Cost: exchange.Cost{1}}
}

// Klines requests a range by the open times of its first and last candle, both inclusive,
// because the venue counts the intervals between. It refuses a limit beside a range.
func (m *market) Klines(symbol string, n exchange.Native, w exchange.Window) exchange.Call {
	step := max(w.Step, 1_000)
	from := (w.From + step - 1) / step * step
	to := max(from, w.Through/step*step) // a window without a candle asks for the next one
	query := make([]byte, 0, 128)
	query = append(query, m.id...)
	query = append(query, url.QueryEscape(symbol)...)
	query = append(query, "&interval="...)
	query = append(query, n.Name...)
	query = append(query, "&from="...)
	query = strconv.AppendInt(query, from/1_000, 10)
	query = append(query, "&to="...)
	query = strconv.AppendInt(query, to/1_000, 10)
	return exchange.Call{Path: m.path + "candlesticks", Query: string(query), Cost: exchange.Cost{1}}
}

// DecodeKlines reads rows oldest first. Those of spot are strings: open time (Unix
// seconds), QUOTE volume, CLOSE, HIGH, LOW, OPEN, base volume and, since 2022, whether the
// candle is closed. Those of futures are objects, with the volume in contracts.
func (m *market) DecodeKlines(s *exchange.Scanner, _ exchange.Native, yield func(levels.Candle) error) error {
	if s.IsObject() {
		return m.failure(s)
	}
	var k levels.Candle
	for s.Array(); s.More(); {
		if m.futures {
			decodeObject(s, &k)
		} else {
			s.Array()
			k.OpenTime = s.Int() * 1_000
			s.Skip()
			k.Close, k.High, k.Low, k.Open = s.Decimal(), s.Decimal(), s.Decimal(), s.Decimal()
			k.Volume = s.Decimal()
			s.Close()
		}
		if s.Err() != nil {
			break
		}
		if err := yield(k); err != nil {
			return err
		}
	}
	return s.End()
}

// decodeObject reads {"t":1632873600,"v":12,"o":"1","h":"1","l":"1","c":"1","sum":"12"},
// with its members in any order.
func decodeObject(s *exchange.Scanner, k *levels.Candle) {
	const all = 1<<6 - 1
	seen := 0
	for s.Object(); s.More(); {
		key := s.Key()
		if len(key) != 1 {
			s.Skip()
			continue
		}
		switch key[0] {
		case 't':
			k.OpenTime = s.Int() * 1_000
			seen |= 1
		case 'o':
			k.Open = s.Decimal()
			seen |= 2
		case 'h':
			k.High = s.Decimal()
			seen |= 4
		case 'l':
			k.Low = s.Decimal()
			seen |= 8
		case 'c':
			k.Close = s.Decimal()
			seen |= 16
		case 'v':
			k.Volume = s.Decimal()
			seen |= 32
		default:
			s.Skip()
		}
	}
	if seen != all {
		s.Fail(errors.New("a kline without time, prices or volume"))
	}
}

func (m *market) DecodeClock(s *exchange.Scanner) (int64, error) {
	var t int64
	var r refusal
	for s.Object(); s.More(); {
		if key := s.Key(); string(key) == "server_time" {
			t = s.Int()
		} else {
			r.member(s, key)
		}
	}
	if err := s.End(); err != nil || t != 0 {
		return t, err
	}
	return 0, m.in200(&r)
}

func (m *market) DecodeListing(i int, s *exchange.Scanner, dst *exchange.Listing) error {
	if s.IsObject() {
		return m.failure(s)
	}
	for s.Array(); s.More(); {
		if i == 1 {
			if m.futures {
				dst.Ticker(s, "contract", "last", "volume_24h_quote")
			} else {
				dst.Ticker(s, "currency_pair", "last", "quote_volume")
			}
			continue
		}
		decode := decodePair
		if m.futures {
			decode = decodeContract
		}
		if p := decode(s, dst); s.Err() == nil {
			dst.Add(p)
		}
	}
	return s.End()
}

// decodePair reads a spot pair. Tokenised stocks are told by the full name of their asset,
// which a few lack.
func decodePair(s *exchange.Scanner, dst *exchange.Listing) service.Symbol {
	var p service.Symbol
	stock := false
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "id":
			p.Name = string(s.Text())
		case "base":
			p.Base = string(s.Text())
		case "base_name":
			name := s.Scalar()
			stock = bytes.Contains(name, []byte("xStock")) || bytes.Contains(name, []byte("Ondo Tokenized"))
		case "quote":
			p.Quote = dst.Word(s.Text())
		case "precision":
			if n := s.Int(); n < 0 || n > 18 {
				s.Fail(errors.New("a price has between 0 and 18 decimals"))
			} else {
				p.Tick = service.Tick{Units: 1, Decimals: int(n)}
			}
		case "trade_status":
			p.Status = dst.Word(s.Text())
		case "type":
			if string(s.Scalar()) == "premarket" {
				p.Unusual = service.PreListing
			}
		default:
			s.Skip()
		}
	}
	if strings.HasPrefix(p.Name, p.Base) {
		p.Base = p.Name[:len(p.Base)] // saves one allocation
	}
	switch {
	case p.Unusual != "":
	case stock:
		p.Unusual = service.Stock
	case exchange.IsLeveraged(p.Base): // the list does not mark them
		p.Unusual = service.Leveraged
	}
	p.Trading = p.Status == "tradable"
	return p
}

func decodeContract(s *exchange.Scanner, dst *exchange.Listing) service.Symbol {
	var p service.Symbol
	var wrong error
	leaving, traditional := false, false
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "name":
			p.Name = string(s.Text())
		case "status":
			p.Status = dst.Word(s.Text())
		case "in_delisting":
			leaving = s.Bool()
		case "order_price_round":
			p.Tick, wrong = exchange.ParseTick(s.Scalar())
		case "is_pre_market":
			if s.Bool() {
				p.Unusual = service.PreListing
			}
		case "contract_type": // empty, or an asset of another market
			switch string(s.Scalar()) {
			case "stocks", "indices", "metals", "commodities", "forex":
				traditional = true
			}
		default:
			s.Skip()
		}
	}
	if wrong != nil {
		s.Fail(wrong)
	}
	if i := strings.LastIndexByte(p.Name, '_'); i > 0 {
		p.Base, p.Quote = p.Name[:i], dst.Word([]byte(p.Name[i+1:]))
	}
	p.Settle = "USDT"
	if p.Status == "" { // before 2025
		p.Status = "trading"
	}
	p.Trading = p.Status == "trading" && !leaving
	if leaving && p.Status == "trading" {
		p.Status = "delisting"
	}
	if traditional && p.Unusual == "" {
		p.Unusual = service.Stock
	}
	return p
}

// refusal is the venue's own error, {"label":"INVALID_CURRENCY","message":"..."}.
type refusal struct{ label, message string }

func (r *refusal) member(s *exchange.Scanner, key []byte) {
	switch k := string(key); {
	case k == "label" && s.IsString():
		r.label = string(s.Text())
	case (k == "message" || k == "detail") && s.IsString():
		r.message = string(s.Text())
	default:
		s.Skip()
	}
}

// failure reads a refusal sent with HTTP 200.
func (m *market) failure(s *exchange.Scanner) error {
	var r refusal
	for s.Object(); s.More(); {
		r.member(s, s.Key())
	}
	if err := s.End(); err != nil {
		return err
	}
	return m.in200(&r)
}

func (m *market) in200(r *refusal) error {
	if r.label == "" {
		return errors.New("neither data nor an error")
	}
	return m.error(r)
}

// error returns the refusal with its meaning.
func (m *market) error(r *refusal) *exchange.Refusal {
	e := &exchange.Refusal{Venue: m.spec.Label, Code: r.label, Msg: r.message, Err: service.ErrExchange}
	switch {
	case r.label == "INVALID_CURRENCY_PAIR", r.label == "INVALID_CURRENCY", r.label == "CONTRACT_NOT_FOUND":
		e.Err = service.ErrUnknownSymbol
	case r.label == "INVALID_PARAM_VALUE" && strings.Contains(r.message, "interval"):
		e.Err = levels.ErrUnknownInterval
	case r.label == "TOO_MANY_REQUESTS":
		e.Err = service.ErrRateLimited
	}
	return e
}

func (m *market) Refuse(status int, h http.Header, body []byte) error {
	var r struct{ Label, Message, Detail string }
	if json.Unmarshal(bytes.TrimSpace(body), &r) != nil || r.Label == "" {
		return nil
	}
	if r.Message == "" {
		r.Message = r.Detail
	}
	e := m.error(&refusal{r.Label, r.Message})
	if e.Err == service.ErrRateLimited {
		// The header says until when, Unix seconds; there is no Retry-After.
		until, err := strconv.ParseInt(h.Get("X-Gate-Ratelimit-Reset-Timestamp"), 10, 64)
		if err == nil && until > 0 && until < 1e11 {
			return &exchange.Pause{Err: service.ErrRateLimited, Until: until * 1_000}
		}
	}
	return e
}

func (m *market) Usage(h http.Header, yield func(exchange.Usage)) {
	limit, err := strconv.Atoi(h.Get("X-Gate-Ratelimit-Limit"))
	remaining, wrong := strconv.Atoi(h.Get("X-Gate-Ratelimit-Requests-Remain"))
	if err == nil && wrong == nil && limit >= 10 && limit <= 10_000_000 && remaining >= 0 {
		yield(exchange.Usage{Budget: 0, Used: -1, Remaining: remaining, Limit: limit})
	}
}

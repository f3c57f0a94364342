// Package kraken holds the markets of Kraken: spot, and Kraken Futures.
//
// Facts are from docs.kraken.com, recorded responses, and ccxt 4.5.84, Nautilus and
// Hummingbot, unless a comment says otherwise. Unconfirmed: on which day weeks open (they
// are merged from days), and the HTTP status of a rate limit.
package kraken

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
	"unicode"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

const (
	label  = "Kraken"
	latest = 1e11 // Unix seconds
)

var (
	errEmpty = errors.New("neither data nor an error")
	one      = exchange.Cost{1}
)

// Spot serves the newest 720 candles of each length, and the forming one.
var Spot = pushed(&spot{exchange.Spec{
	Name: "kraken", Group: "kraken", Label: label, BaseURL: "https://api.kraken.com",
	Quotes: []string{"USD"},
	Intervals: map[levels.Interval]exchange.Native{
		"1m": {Name: "1", Rows: 720}, "5m": {Name: "5", Rows: 720}, "15m": {Name: "15", Rows: 720}, "30m": {Name: "30", Rows: 720},
		"1h": {Name: "60", Rows: 720}, "4h": {Name: "240", Rows: 720}, "1d": {Name: "1440", Rows: 720},
	},
	Reach:      exchange.Since,
	History:    720,
	LateVolume: true, // ccxt#6742
	// Not documented for public requests. Hummingbot uses 1 a second, ccxt 1 in 1.2 s.
	Budgets:  []exchange.Budget{{Name: "requests", Kind: exchange.Bucket, Limit: 1, Period: time.Second, Burst: 1}},
	Heaviest: one,
	Clock:    exchange.Call{Endpoint: "Time", Path: "0/public/Time", Cost: one},
	Listings: 2, Prices: 1,
}})

type spot struct{ spec exchange.Spec }

func (m *spot) Spec() *exchange.Spec { return &m.spec }

// tokenized is the class of tokenised stocks, which the venue lists only if it is named. Their
// volumes are not read: a sweep leaves stocks out.
const tokenized = "tokenized_asset"

func (m *spot) Listing(i int, cursor string) exchange.Call {
	if i == 1 {
		return exchange.Call{Endpoint: "Ticker", Path: "0/public/Ticker", Cost: one}
	}
	call := exchange.Call{Endpoint: "AssetPairs", Path: "0/public/AssetPairs", Cost: one}
	if cursor != "" {
		call.Query = "aclass_base=" + cursor
	}
	return call
}

// Klines requests the candles that open after a time, which is exclusive.
func (m *spot) Klines(symbol string, n exchange.Native, w exchange.Window) exchange.Call {
	query := make([]byte, 0, 96)
	query = append(query, "pair="...)
	query = append(query, url.QueryEscape(symbol)...)
	query = append(query, "&interval="...)
	query = append(query, n.Name...)
	query = append(query, "&since="...)
	query = strconv.AppendInt(query, max(0, (w.From+999)/1000-1), 10)
	if strings.ContainsFunc(symbol, unicode.IsLower) { // AAPLxUSD, and no other pair
		query = append(query, "&asset_class="+tokenized...)
	}
	return exchange.Call{Path: "0/public/OHLC", Query: string(query), Cost: one}
}

// DecodeKlines reads {"error":[],"result":{"XXBTZUSD":[…],"last":1762820160}}, with rows of
// eight columns: open time (Unix seconds), open, high, low, close, mean price, volume and
// trades. The key is the venue's, whatever name was requested.
func (m *spot) DecodeKlines(s *exchange.Scanner, _ exchange.Native, yield func(levels.Candle) error) error {
	return envelope(s, func() error {
		for s.Object(); s.More(); {
			if string(s.Key()) == "last" {
				s.Skip()
				continue
			}
			for s.Array(); s.More(); {
				var k levels.Candle
				s.Array()
				seconds := s.Int()
				k.Open, k.High, k.Low, k.Close = s.Decimal(), s.Decimal(), s.Decimal(), s.Decimal()
				s.Decimal()
				k.Volume = s.Decimal()
				s.Int()
				s.Close()
				if seconds > latest {
					s.Fail(fmt.Errorf("the time %d is not in Unix seconds", seconds))
				}
				if s.Err() != nil {
					break
				}
				k.OpenTime = seconds * 1000
				if err := yield(k); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// DecodeClock reads {"error":[],"result":{"unixtime":1591502873,"rfc1123":"…"}}.
func (m *spot) DecodeClock(s *exchange.Scanner) (int64, error) {
	var seconds int64
	err := envelope(s, func() error {
		for s.Object(); s.More(); {
			if string(s.Key()) == "unixtime" {
				seconds = s.Int()
			} else {
				s.Skip()
			}
		}
		return nil
	})
	return min(seconds, latest) * 1000, err
}

func (m *spot) DecodeListing(i int, s *exchange.Scanner, dst *exchange.Listing) error {
	pairs, stocks := 0, false
	err := envelope(s, func() error {
		for s.Object(); s.More(); {
			if i == 1 {
				decodeTicker(s, dst)
				continue
			}
			p, ok := decodePair(s, dst)
			if s.Err() == nil && ok {
				pairs++
				stocks = stocks || p.Unusual == service.Stock
				dst.Add(p)
			}
		}
		return nil
	})
	if i == 0 && pairs > 0 && !stocks {
		dst.Cursor(tokenized)
	}
	return err
}

// decodePair reads a pair with its key. ok is false for a pair of another venue that
// Kraken routes orders to, XBTUSD:BTNL, as ccxt sets it apart.
func decodePair(s *exchange.Scanner, dst *exchange.Listing) (p service.Symbol, ok bool) {
	p.Name = string(s.Key())
	p.Status = "online" // before 2022 there was no status
	var base, quote, display string
	var decimals int64
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "wsname":
			display = string(s.Text())
		case "base":
			base = dst.Word(s.Text())
		case "quote":
			quote = dst.Word(s.Text())
		case "status":
			p.Status = dst.Word(s.Text())
		case "aclass_base":
			if string(s.Bytes()) == tokenized {
				p.Unusual = service.Stock
			}
		case "pair_decimals":
			decimals = s.Int()
		case "tick_size":
			tick, err := exchange.ParseTick(s.Bytes())
			if err != nil {
				s.Fail(err)
			}
			p.Tick = tick
		default:
			s.Skip()
		}
	}
	if a, b, ok := strings.Cut(display, "/"); ok {
		base, quote = a, dst.Word([]byte(b))
	}
	p.Base, p.Quote = asset(base), asset(quote)
	if p.Tick == (service.Tick{}) && decimals > 0 && decimals <= 18 {
		p.Tick = service.Tick{Units: 1, Decimals: int(decimals)}
	}
	p.Trading = p.Status == "online"
	return p, !strings.Contains(p.Name, ":")
}

// asset returns the usual name of one of the venue's assets. The old ones have a letter in
// front, X for a coin and Z for a currency. The others are as in ccxt.
func asset(name string) string {
	if len(name) == 4 && (name[0] == 'X' || name[0] == 'Z') {
		switch name[1:] {
		case "XBT", "ETH", "LTC", "XRP", "ETC", "XLM", "XMR", "ZEC", "REP", "MLN", "XDG",
			"USD", "EUR", "GBP", "CAD", "JPY", "AUD":
			name = name[1:]
		}
	}
	switch name {
	case "XBT":
		return "BTC"
	case "XDG":
		return "DOGE"
	case "LUNA":
		return "LUNC"
	case "LUNA2":
		return "LUNA"
	case "UST":
		return "USTC"
	case "REP":
		return "REPV1"
	case "REPV2":
		return "REP"
	}
	return name
}

// decodeTicker reads "XXBTZUSD":{"c":["105961.1","0.00010"],"v":["0.78","163.28"],
// "p":["105960.6","105904.3"],…}. c is the last price and its size; of v and p the second is
// of 24 hours. The volume is in the base asset; its value is that times the mean price.
func decodeTicker(s *exchange.Scanner, dst *exchange.Listing) {
	var buf [64]byte
	name := append(buf[:0], s.Key()...)
	var last, base, mean float64
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "c":
			s.Array()
			last = s.Amount()
			s.Skip()
			s.Close()
		case "v":
			base = second(s)
		case "p":
			mean = second(s)
		default:
			s.Skip()
		}
	}
	if s.Err() == nil {
		dst.Price(name, last)
		dst.Volume(name, base*mean)
	}
}

// second reads the second number of an array.
func second(s *exchange.Scanner) float64 {
	s.Array()
	s.Skip()
	v := s.Decimal()
	s.Close()
	return v
}

// envelope reads {"error":[],"result":…}: result reads the result, unless it is null. An
// error is the venue's refusal.
func envelope(s *exchange.Scanner, result func() error) error {
	refused, found := "", false
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "error":
			for s.Array(); s.More(); {
				if text := s.Text(); len(text) > 0 && text[0] != 'W' { // a warning
					refused = string(text)
				}
			}
		case "result":
			if !s.IsObject() {
				s.Skip()
				continue
			}
			found = true
			if err := result(); err != nil {
				return err
			}
		default:
			s.Skip()
		}
	}
	switch err := s.End(); {
	case err != nil:
		return err
	case refused != "":
		return refusal(refused)
	case !found:
		return errEmpty
	}
	return nil
}

// refusal returns the meaning of an error such as "EQuery:Unknown asset pair".
func refusal(text string) *exchange.Refusal {
	e := &exchange.Refusal{Venue: label, Msg: text, Err: service.ErrExchange}
	if code, msg, ok := strings.Cut(text, ":"); ok {
		e.Code, e.Msg = code, msg
	}
	switch {
	case strings.HasPrefix(text, "EQuery:Unknown asset"), strings.HasPrefix(text, "EQuery:Invalid asset"):
		e.Err = service.ErrUnknownSymbol
	case text == "EGeneral:Invalid arguments": // recorded for an interval
		e.Err = levels.ErrUnknownInterval
	case text == "EGeneral:Too many requests", text == "EGeneral:Temporary lockout", strings.HasSuffix(text, ":Rate limit exceeded"):
		e.Err = service.ErrRateLimited
	}
	return e
}

func (m *spot) Refuse(_ int, _ http.Header, body []byte) error {
	var e struct {
		Error []string `json:"error"`
	}
	if json.Unmarshal(bytes.TrimSpace(body), &e) != nil || len(e.Error) == 0 {
		return nil
	}
	return refusal(e.Error[0])
}

// Usage yields nothing: the venue's headers do not say.
func (m *spot) Usage(http.Header, func(exchange.Usage)) {}

// Package coinbase holds the market of Coinbase Exchange.
//
// Coinbase Advanced serves the same books at another address. Coinbase Exchange is used
// because its limits are documented for an address without a key, its list has each book
// once (Advanced also lists BTC-USDC with the volume of BTC-USD), and a row of its candles
// is half as long.
//
// It has no feed of candles. The channels of Coinbase Exchange (docs.cdp.coinbase.com/exchange/
// websocket-feed/channels) have none, and those made from its matches would not be the
// venue's. Coinbase Advanced has a channel of candles of five minutes (advanced-trade-ws.
// coinbase.com; needs no key), for the names of Advanced, where BTC-USDC stands for BTC-USD.
// It marks none as closed, leaves out those without trades, and was seen to bring different
// values for one open time (ccxt/ccxt#29375). No recording shows whether its last values are
// those of Coinbase Exchange, so each candle would still have to be fetched, and not
// before Settles has passed, which is when it is fetched without a feed.
//
// Facts are from docs.cdp.coinbase.com and from recorded responses of 2025. Unconfirmed:
// the texts of the refusals other than "NotFound", which are as other public clients
// read them; and how long after its close a candle may still be absent or change. The
// statistics of all products are not documented: their form is that which XChange and
// others read. That both ends of a range are inclusive is not certain, and not needed.
package coinbase

import (
	"bytes"
	"encoding/json"
	"errors"
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

const (
	label = "Coinbase"
	// A range of more than 300 candles is refused. The ten others are for the end of the
	// newest page, see Klines.
	rows = 290
	// cacheAge is how old a response may be that the venue's content network returns
	// again for the same address: 300 s by its Cache-Control, and a minute for a candle
	// that was complete only after its close.
	cacheAge = int64(6 * time.Minute / time.Millisecond)
	latest   = 1e11 // Unix seconds
)

// Exchange is the spot market.
var Exchange exchange.Venue = &market{exchange.Spec{
	Name: "coinbase", Group: "coinbase", Label: label, BaseURL: "https://api.exchange.coinbase.com",
	Quotes: []string{"USD"},
	Intervals: map[levels.Interval]exchange.Native{
		"1m": {Name: "60", Rows: rows}, "5m": {Name: "300", Rows: rows}, "15m": {Name: "900", Rows: rows},
		"1h": {Name: "3600", Rows: rows}, "6h": {Name: "21600", Rows: rows}, "1d": {Name: "86400", Rows: rows},
	},
	Reach:      exchange.Bounded,
	LateVolume: true, // unconfirmed: nothing says when a candle is final
	Settles:    10 * time.Second,
	Budgets:    []exchange.Budget{{Name: "requests", Kind: exchange.Bucket, Limit: 10, Period: time.Second, Burst: 15}},
	Heaviest:   one,
	Clock:      exchange.Call{Endpoint: "time", Path: "time", Cost: one},
	Listings:   2, Prices: 1,
}}

var one = exchange.Cost{1}

type market struct{ spec exchange.Spec }

func (m *market) Spec() *exchange.Spec { return &m.spec }

func (m *market) Listing(i int, _ string) exchange.Call {
	if i == 0 {
		return exchange.Call{Endpoint: "products", Path: "products", Cost: one}
	}
	return exchange.Call{Endpoint: "products/stats", Path: "products/stats", Cost: one}
}

// Klines requests a range in seconds. The content network may return an old response for
// the same address, which is fine for a range of the past, but would lack the newest
// candles, or have them as they were before their close. So the newest page ends at the
// current second and its address changes with time.
func (m *market) Klines(symbol string, n exchange.Native, w exchange.Window) exchange.Call {
	end := w.Through
	if w.Now-w.Through < w.Step+cacheAge {
		end = w.Now
	}
	query := make([]byte, 0, 64)
	query = append(query, "granularity="...)
	query = append(query, n.Name...)
	query = append(query, "&start="...)
	query = strconv.AppendInt(query, (w.From+999)/1000, 10)
	query = append(query, "&end="...)
	query = strconv.AppendInt(query, end/1000+1, 10)
	return exchange.Call{Path: "products/" + url.PathEscape(symbol) + "/candles", Query: string(query), Cost: one}
}

// DecodeKlines reads rows of six columns: open time (Unix seconds), low, high, open,
// close and volume. The response has no rows for intervals without trades.
func (m *market) DecodeKlines(s *exchange.Scanner, _ exchange.Native, yield func(levels.Candle) error) error {
	if s.IsObject() {
		return failure(s)
	}
	var k levels.Candle
	for s.Array(); s.More(); {
		s.Array()
		seconds := s.Int()
		k.Low, k.High, k.Open, k.Close = s.Decimal(), s.Decimal(), s.Decimal(), s.Decimal()
		k.Volume = s.Decimal()
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
	return s.End()
}

// DecodeClock reads {"iso":"2020-05-12T08:00:51.504Z","epoch":1589270451.504}.
func (m *market) DecodeClock(s *exchange.Scanner) (int64, error) {
	var epoch float64
	msg := ""
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "epoch":
			epoch = s.Decimal()
		case "message":
			msg = string(s.Text())
		default:
			s.Skip()
		}
	}
	if err := s.End(); err != nil {
		return 0, err
	}
	if epoch <= 0 || epoch > latest {
		return 0, refusal(msg)
	}
	return int64(math.Round(epoch * 1000)), nil
}

func (m *market) DecodeListing(i int, s *exchange.Scanner, dst *exchange.Listing) error {
	if i == 1 {
		return decodeStats(s, dst)
	}
	if s.IsObject() {
		return failure(s)
	}
	for s.Array(); s.More(); {
		if p := decodeProduct(s, dst); s.Err() == nil {
			dst.Add(p)
		}
	}
	return s.End()
}

func decodeProduct(s *exchange.Scanner, dst *exchange.Listing) service.Symbol {
	var p service.Symbol
	closed := false
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "id":
			p.Name = string(s.Text())
		case "status":
			p.Status = dst.Word(s.Text())
		case "quote_increment":
			tick, err := exchange.ParseTick(s.Bytes())
			if err != nil {
				s.Fail(err)
			}
			p.Tick = tick
		case "trading_disabled", "cancel_only":
			closed = s.Bool() || closed
		default:
			s.Skip()
		}
	}
	// The fields of the assets do not tell BTCAUCTION-USD from BTC-USD.
	var quote string
	p.Base, quote, _ = strings.Cut(p.Name, "-")
	if p.Base == "CGLD" {
		p.Base = "CELO"
	}
	p.Quote = dst.Word([]byte(quote))
	p.Trading = p.Status == "online" && !closed
	return p
}

// decodeStats reads the statistics of all products by id. The volume is in the base asset;
// its value is that times the last price.
func decodeStats(s *exchange.Scanner, dst *exchange.Listing) error {
	var name []byte
	msg := ""
	for s.Object(); s.More(); {
		name = append(name[:0], s.Key()...)
		if s.IsString() {
			msg = string(s.Text()) // of {"message":"…"}
			continue
		}
		var base, last float64
		for s.Object(); s.More(); {
			if string(s.Key()) != "stats_24hour" {
				s.Skip()
				continue
			}
			for s.Object(); s.More(); {
				switch string(s.Key()) {
				case "volume":
					base = s.Amount()
				case "last":
					last = s.Amount()
				default:
					s.Skip()
				}
			}
		}
		if s.Err() == nil {
			dst.Price(name, last)
			dst.Volume(name, base*last)
		}
	}
	if err := s.End(); err != nil || msg == "" {
		return err
	}
	return refusal(msg)
}

// failure reads a refusal, {"message":"NotFound"}.
func failure(s *exchange.Scanner) error {
	msg := ""
	for s.Object(); s.More(); {
		if string(s.Key()) == "message" {
			msg = string(s.Text())
		} else {
			s.Skip()
		}
	}
	if err := s.End(); err != nil {
		return err
	}
	return refusal(msg)
}

func refusal(msg string) error {
	e := &exchange.Refusal{Venue: label, Msg: msg, Err: service.ErrExchange}
	switch {
	case msg == "":
		return errors.New("neither data nor an error")
	case msg == "NotFound", msg == "Product not found":
		e.Err = service.ErrUnknownSymbol
	case msg == "Unsupported granularity":
		e.Err = levels.ErrUnknownInterval
	case strings.Contains(msg, "rate limit exceeded"):
		e.Err = service.ErrRateLimited
	}
	return e
}

func (m *market) Refuse(_ int, _ http.Header, body []byte) error {
	var e struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(bytes.TrimSpace(body), &e) != nil || e.Message == "" {
		return nil
	}
	return refusal(e.Message)
}

// Usage yields nothing: the venue's headers do not say.
func (m *market) Usage(http.Header, func(exchange.Usage)) {}

// Package hyperliquid holds the markets of Hyperliquid: the perpetuals of its first
// exchange and Spot. The perpetuals of builders (HIP-3, names such as xyz:TSLA) are on
// lists of their own and are left out.
//
// Everything is a POST to /info. Facts are from Hyperliquid's documentation (rate limits,
// tick and lot size, info endpoint), recorded responses, ccxt 4.5.84, Nautilus 0.64 and
// @nktkas/hyperliquid 0.30. Unconfirmed are whether the minutes of the limit are those of
// the clock, and what a range from before the oldest candle gets; weeks open on Thursdays
// (rainbow-me/rainbow#6920) and three days perhaps anywhere, so they are merged from days.
// A candle without trades may be absent at first and appear later as a flat one
// (enarjord/passivbot#1410).
package hyperliquid

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

// The markets. They share the 1,000 series that are pushed to an address.
var (
	Perps = pushed(&market{
		list: "metaAndAssetCtxs", decimals: 6,
		spec: spec("hyperliquid", "Hyperliquid"),
	}, 325, 2)
	Spot = pushed(&market{
		list: "spotMetaAndAssetCtxs", decimals: 8, spot: true,
		spec: spec("hyperliquid-spot", "Hyperliquid Spot"),
	}, 350, 1)
)

// history is the number of candles that there are.
const history = 5_000

func spec(name, label string) exchange.Spec {
	return exchange.Spec{
		Name: name, Group: "hyperliquid", Label: label, BaseURL: "https://api.hyperliquid.xyz",
		Quotes:    []string{"USDC"},
		Intervals: intervals,
		Reach:     exchange.Bounded,
		History:   history,
		Budgets:   []exchange.Budget{{Name: "weight", Kind: exchange.Rolling, Limit: 1_200, Period: time.Minute}},
		Heaviest:  exchange.Cost{snapshotCost(history)},
		// The time of the last block, which is at most as late as the venue's clock.
		Clock:    exchange.Call{Endpoint: "exchangeStatus", Path: path, Body: `{"type":"exchangeStatus"}`, Cost: exchange.Cost{2}},
		Listings: 1, Prices: 1,
	}
}

const path = "info"

var intervals = func() map[levels.Interval]exchange.Native {
	all := map[levels.Interval]exchange.Native{}
	for _, i := range []levels.Interval{"1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d"} {
		all[i] = exchange.Native{Name: string(i), Rows: history}
	}
	return all
}()

// snapshotCost returns the weight of a request for rows candles: 20, and 1 for each 60
// of the response, which may have one more (documentation, rate limits).
func snapshotCost(rows int) int { return 20 + (rows+60)/60 }

type market struct {
	spec     exchange.Spec
	list     string
	decimals int // most decimals of a price, less those of a size
	spot     bool
}

func (m *market) Spec() *exchange.Spec { return &m.spec }

// Listing requests the pairs, or the middle between bid and ask of each: the venue has no
// list of last trades. It is the last trade of a pair without bids or asks (documentation,
// "Retrieve mids for all coins").
func (m *market) Listing(i int, _ string) exchange.Call {
	if i == 1 {
		return exchange.Call{Endpoint: "allMids", Path: path, Body: `{"type":"allMids"}`, Cost: exchange.Cost{2}}
	}
	return exchange.Call{Endpoint: m.list, Path: path, Body: `{"type":"` + m.list + `"}`, Cost: exchange.Cost{20}}
}

// Klines requests a range by open times, both inclusive. A start inside a candle also
// selects that candle (recorded).
func (m *market) Klines(symbol string, n exchange.Native, w exchange.Window) exchange.Call {
	body := make([]byte, 0, 160)
	body = append(body, `{"type":"candleSnapshot","req":{"coin":`...)
	body = strconv.AppendQuote(body, symbol) // a valid id has no quotes or controls
	body = append(body, `,"interval":"`...)
	body = append(body, n.Name...)
	body = append(body, `","startTime":`...)
	body = strconv.AppendInt(body, max(w.From, 0), 10) // HTTP 422 for a negative one
	body = append(body, `,"endTime":`...)
	body = strconv.AppendInt(body, max(w.Through, 0), 10)
	body = append(body, `}}`...)
	return exchange.Call{Endpoint: "candleSnapshot", Path: path, Body: string(body), Cost: exchange.Cost{snapshotCost(w.Rows)}}
}

// The fields of a candle.
const (
	openTime = 1 << iota
	open
	high
	low
	closing
	volume
	allFields = 1<<iota - 1
)

// DecodeKlines reads objects: t and T are the open and the close time, s and i the coin
// and the interval, n the number of trades, and v the volume in the base asset.
func (m *market) DecodeKlines(s *exchange.Scanner, _ exchange.Native, yield func(levels.Candle) error) error {
	if !s.IsArray() && s.Err() == nil {
		word := s.Scalar() // perhaps null
		if err := s.End(); err != nil {
			return err
		}
		return &exchange.Refusal{Venue: m.spec.Label, Msg: string(word), Err: service.ErrExchange}
	}
	for s.Array(); s.More(); {
		var k levels.Candle
		seen := 0
		for s.Object(); s.More(); {
			seen |= decodeField(s, s.Key(), &k)
		}
		if s.Err() != nil {
			break
		}
		if seen != allFields {
			return fmt.Errorf("a candle without all of t, o, h, l, c and v, after %d", k.OpenTime)
		}
		if err := yield(k); err != nil {
			return err
		}
	}
	return s.End()
}

// decodeField reads the value of a member of a candle into k, and returns which field it
// is; 0 for others.
func decodeField(s *exchange.Scanner, key []byte, k *levels.Candle) int {
	switch string(key) {
	case "t":
		k.OpenTime = s.Int()
		return openTime
	case "o":
		k.Open = s.Decimal()
		return open
	case "h":
		k.High = s.Decimal()
		return high
	case "l":
		k.Low = s.Decimal()
		return low
	case "c":
		k.Close = s.Decimal()
		return closing
	case "v":
		k.Volume = s.Decimal()
		return volume
	}
	s.Skip()
	return 0
}

func (m *market) DecodeClock(s *exchange.Scanner) (int64, error) {
	var t int64
	for s.Object(); s.More(); {
		if string(s.Key()) == "time" {
			t = s.Int()
		} else {
			s.Skip()
		}
	}
	return t, s.End()
}

// DecodeListing reads an array of two: the pairs, and the state of each.
func (m *market) DecodeListing(i int, s *exchange.Scanner, dst *exchange.Listing) error {
	if i == 1 {
		return decodeMids(s, dst)
	}
	var pairs []pair
	var tokens map[int64]token
	s.Array()
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "universe":
			for s.Array(); s.More(); {
				pairs = append(pairs, m.decodePair(s))
				bound(s, len(pairs))
			}
		case "tokens":
			tokens = map[int64]token{}
			for s.Array(); s.More(); {
				t := decodeToken(s, dst)
				tokens[t.index] = t
				bound(s, len(tokens))
			}
		default:
			s.Skip()
		}
	}
	if m.spot {
		return m.addSpot(s, dst, pairs, tokens)
	}
	return m.addPerps(s, dst, pairs)
}

// decodeMids reads {"BTC":"80868.5","PURR/USDC":"0.067131"}, the pairs of Spot and the
// perpetuals in one.
func decodeMids(s *exchange.Scanner, dst *exchange.Listing) error {
	var buf [64]byte
	for s.Object(); s.More(); {
		id := append(buf[:0], s.Key()...)
		if price := s.Amount(); s.Err() == nil {
			dst.Price(id, price)
		}
	}
	return s.End()
}

// bound refuses a list of more than most entries, which are held until its end.
func bound(s *exchange.Scanner, entries int) {
	const most = 20_000
	if entries > most {
		s.Fail(fmt.Errorf("a list of more than %d entries", most))
	}
}

// pair is an entry of the list.
type pair struct {
	name        string
	base, quote int64 // tokens of Spot
	decimals    int64 // of a size; -1 without
	delisted    bool
}

func (m *market) decodePair(s *exchange.Scanner) pair {
	p := pair{base: -1, quote: -1, decimals: -1}
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "name":
			p.name = string(s.Text())
		case "szDecimals":
			p.decimals = s.Int()
		case "isDelisted":
			p.delisted = s.Bool()
		case "tokens":
			s.Array()
			p.base, p.quote = s.Int(), s.Int()
			s.Close()
		default:
			s.Skip()
		}
	}
	return p
}

// token is an asset of Spot. Tokens are numbered by their index, which is not their place
// in the list (richkuo/go-trader#831).
type token struct {
	name            string
	index, decimals int64
}

func decodeToken(s *exchange.Scanner, dst *exchange.Listing) token {
	t := token{index: -1, decimals: -1}
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "name":
			t.name = dst.Word(s.Text())
		case "index":
			t.index = s.Int()
		case "szDecimals":
			t.decimals = s.Int()
		default:
			s.Skip()
		}
	}
	return t
}

// decodeContext reads the state of a pair: its name, which only Spot has, and its 24 h
// volume in the quote asset.
func decodeContext(s *exchange.Scanner) (coin string, quoteVolume float64) {
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case "coin":
			coin = string(s.Text())
		case "dayNtlVlm":
			quoteVolume = s.Decimal()
		default:
			s.Skip()
		}
	}
	return coin, quoteVolume
}

// addPerps adds the perpetuals. Their states are in the same order.
func (m *market) addPerps(s *exchange.Scanner, dst *exchange.Listing, pairs []pair) error {
	n := 0
	for s.Array(); s.More(); n++ {
		_, quoteVolume := decodeContext(s)
		if s.Err() != nil || n >= len(pairs) {
			continue
		}
		p := pairs[n]
		tick, err := m.tick(p.name, p.decimals)
		if err != nil {
			s.Fail(err)
		}
		status := "listed"
		if p.delisted {
			status = "delisted"
		}
		dst.Add(service.Symbol{
			Name: p.name, Base: p.name, Quote: "USDC", Settle: "USDC",
			Trading: !p.delisted, Status: status, Tick: tick, Digits: digits, QuoteVolume: quoteVolume,
		})
	}
	s.Close()
	if err := s.End(); err != nil {
		return err
	}
	if n != len(pairs) {
		return fmt.Errorf("%d perpetuals and the states of %d", len(pairs), n)
	}
	return nil
}

// addSpot adds the pairs of Spot. Their states are in another order, and others are among
// them (hyperliquid-dex/hyperliquid-python-sdk#308).
func (m *market) addSpot(s *exchange.Scanner, dst *exchange.Listing, pairs []pair, tokens map[int64]token) error {
	volumes := map[string]float64{}
	for s.Array(); s.More(); {
		coin, quoteVolume := decodeContext(s)
		volumes[coin] = quoteVolume
		bound(s, len(volumes))
	}
	s.Close()
	if err := s.End(); err != nil {
		return err
	}
	for _, p := range pairs {
		base, quote := tokens[p.base], tokens[p.quote]
		if base.name == "" || quote.name == "" {
			continue
		}
		tick, err := m.tick(p.name, base.decimals)
		if err != nil {
			return err
		}
		dst.Add(service.Symbol{
			Name: p.name, Base: asset(base.name), Quote: asset(quote.name),
			Trading: true, Status: "listed", Tick: tick, Digits: digits, QuoteVolume: volumes[p.name],
		})
	}
	return nil
}

// digits is the number of significant digits of a price.
const digits = 5

// tick returns the finest price step (documentation, tick and lot size). A price has at
// most five significant digits as well, unless it is whole.
func (m *market) tick(name string, decimals int64) (service.Tick, error) {
	if decimals < 0 || decimals > 18 {
		return service.Tick{}, fmt.Errorf("%s has sizes of %d decimals", name, decimals)
	}
	return service.Tick{Units: 1, Decimals: max(0, m.decimals-int(decimals))}, nil
}

// asset returns the usual name of a token. Those that stand for an asset of another chain
// have names of their own; ccxt 4.5.84 has the same list.
func asset(token string) string {
	switch token {
	case "UBTC", "UETH", "USOL", "UPUMP", "UBONK", "UXPL":
		return token[1:]
	case "UFART":
		return "FARTCOIN"
	case "UUUSPX":
		return "SPX"
	case "UDZ":
		return "2Z"
	case "HPENGU":
		return "PENGU"
	case "USDT0", "XAUT0":
		return token[:4]
	}
	return token
}

// Refuse knows HTTP 422, "Failed to deserialize the JSON body into the target type", of
// an invalid request (ccxt/ccxt#27160).
func (m *market) Refuse(status int, _ http.Header, body []byte) error {
	text := bytes.TrimSpace(body)
	if status != http.StatusUnprocessableEntity || len(text) == 0 || text[0] == '<' {
		return nil
	}
	return &exchange.Refusal{Venue: m.spec.Label, Code: "422", Msg: string(text), Err: service.ErrExchange}
}

func (m *market) Usage(http.Header, func(exchange.Usage)) {}

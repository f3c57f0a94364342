package simulated

// The dialects of Binance's futures: USD-M and COIN-M perpetual contracts. They answer as
// Spot does, with other weights, prices of as many decimals as the tick, and fields for
// contracts. Sources: recorded responses, ccxt 4.5.84, GoCryptoTrader. Unconfirmed: which
// errors malformed parameters get.

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func init() {
	usdm := binanceSpot
	usdm.venue, usdm.swap = "binance-usdm", true
	usdm.id = func(p *Pair) string {
		if !swappable(p, "USDT") {
			return ""
		}
		return p.Base + p.Quote
	}
	usdm.contentType = "application/json"
	usdm.counters = []counter{{name: "weight", limit: 2_400, period: time.Minute, stop: true}}
	usdm.parse = parseBinanceFutures
	market := *usdm.socket
	market.path, market.ping = "/market/ws", 3*time.Minute
	usdm.socket = &market
	coinm := usdm
	coinm.socket = nil
	coinm.venue, coinm.quote = "binance-coinm", "USD"
	coinm.id = func(p *Pair) string {
		if !swappable(p, "USD") {
			return ""
		}
		return p.Base + p.Quote + "_PERP"
	}
	register(&usdm)
	register(&coinm)
}

// A contract of COIN-M is worth 100 USD of BTC or 10 USD of another asset.
func (p *pair) contractValue() int {
	if p.Base == "BTC" {
		return 100
	}
	return 10
}

func (p *pair) coinMargined() bool { return p.Quote == "USD" }

// contracts returns the volume of a candle of COIN-M in contracts.
func (c *candle) contracts(p *pair) int64 { return int64(c.quote(p) / float64(p.contractValue())) }

// maxFuturesKlines is the most rows; longestRange, in milliseconds, is that of COIN-M.
const (
	maxFuturesKlines = 1_500
	longestRange     = 200 * day * 1000
)

var errRange = bad(-4088, "Maximum time interval is 200 days.")

func parseBinanceFutures(s *Server, r *http.Request, now time.Time) (q request) {
	m, raw := s.market, r.URL.RawQuery
	prefix := "/fapi/v1/"
	if s.dialect.quote == "USD" {
		prefix = "/dapi/v1/"
	}
	name, ok := strings.CutPrefix(r.URL.Path, prefix)
	weight := 1
	var err error
	switch {
	case ok && name == "klines":
		q.endpoint = name
		var k klinesQuery
		if k, err = m.parseKlines(raw, maxFuturesKlines); err == nil {
			k.form = futuresKlines
			weight = futuresWeight(k.limit)
			if k.pair.coinMargined() && k.hasStart && k.end != latestTime && k.end-k.start > longestRange {
				err = errRange
			}
			q.klines = &k
		}
	case ok && name == "ticker/24hr":
		q.endpoint = name
		var k tickerQuery
		if k, err = m.parseTicker(raw, now.Unix()); err == nil && k.list {
			weight = 40
		}
		q.write = func(o *out, now time.Time) {
			row := func(dst []byte, p *pair) []byte { return p.appendFuturesTicker(dst, now) }
			if !k.list {
				o.buf = row(o.buf, k.pairs[0])
				return
			}
			o.buf = append(o.buf, '[')
			o.list(m, func(p *pair) bool { return k.pairs == nil || slices.Contains(k.pairs, p) }, row)
			o.buf = append(o.buf, ']')
		}
	case ok && name == "ticker/price" && s.dialect.quote == "USD", r.URL.Path == "/fapi/v2/ticker/price" && s.dialect.quote == "":
		q.endpoint, weight = "ticker/price", 2
		q.write = m.lastPrices
	case ok && name == "exchangeInfo":
		q.endpoint = name
		q.write = func(o *out, now time.Time) { m.futuresInfo(o, s.limits.counters[0].limit, now) }
	case ok && name == "time":
		q.endpoint = name
		q.write = func(o *out, now time.Time) { o.buf = fmt.Appendf(o.buf, `{"serverTime":%d}`, now.UnixMilli()) }
	default:
		q.endpoint = "other"
		q.contentType = htmlType
		q.reply(http.StatusNotFound, []byte("<html><body><h2>404 Not found</h2></body></html>"))
	}
	q.charge(0, weight)
	if r.Method != http.MethodGet {
		err = errMethod
	}
	if err != nil {
		e := err.(*apiError)
		q.reply(e.status, e.append(nil))
	}
	return q
}

// futuresWeight returns the weight of a request for klines.
func futuresWeight(limit int) int {
	switch {
	case limit < 100:
		return 1
	case limit < 500:
		return 2
	case limit <= 1_000:
		return 5
	}
	return 10
}

var futuresKlines = &form{head: binanceKlines.head, row: appendFuturesKline, tail: binanceKlines.tail}

// appendFuturesKline appends a row as that of Spot. Of COIN-M, the volumes are in
// contracts, and the second ones in the base asset.
func appendFuturesKline(dst []byte, k *klinesQuery, c *candle, _ bool) []byte {
	p := k.pair
	dst = appendMs(append(dst, '['), c.open)
	for _, v := range [...]int64{c.o, c.h, c.l, c.c} {
		dst = append(appendPlaces(append(dst, `,"`...), v, p.TickDecimals), '"')
	}
	all := [2]candle{*c, *c}
	all[1].volume = c.taker
	for i := range all {
		dst = append(dst, `,"`...)
		if p.coinMargined() {
			dst = strconv.AppendInt(dst, all[i].contracts(p), 10)
		} else {
			dst = appendPlaces(dst, all[i].volume, p.LotDecimals)
		}
		dst = append(dst, `",`...)
		if i == 0 {
			dst = append(strconv.AppendInt(dst, k.iv.next(c.open)*1000-1, 10), ',')
		}
		dst = append(dst, '"')
		if p.coinMargined() {
			dst = appendPlaces(dst, all[i].volume, p.LotDecimals)
		} else {
			dst = strconv.AppendFloat(dst, all[i].quote(p), 'f', 5, 64)
		}
		dst = append(dst, '"')
		if i == 0 {
			dst = strconv.AppendInt(append(dst, ','), c.trades, 10)
		}
	}
	return append(dst, `,"0"]`...)
}

func (p *pair) appendFuturesTicker(dst []byte, now time.Time) []byte {
	c := p.lastDay(now.Unix())
	place := func(ticks int64) string { return string(appendPlaces(nil, ticks, p.TickDecimals)) }
	change, sign := c.c-c.o, ""
	if change < 0 {
		change, sign = -change, "-"
	}
	dst = fmt.Appendf(dst, `{"symbol":%q,`, p.Symbol)
	if p.coinMargined() {
		dst = fmt.Appendf(dst, `"pair":"%sUSD",`, p.Base)
	}
	mean := c.mean(p)
	dst = fmt.Appendf(dst, `"priceChange":"%s%s","priceChangePercent":"%.3f","weightedAvgPrice":"%.8f","lastPrice":%q,"lastQty":"1","openPrice":%q,`+
		`"highPrice":%q,"lowPrice":%q,`, sign, place(change), 100*float64(c.c-c.o)/float64(max(1, c.o)), mean, place(c.c), place(c.o), place(c.h), place(c.l))
	if p.coinMargined() {
		dst = fmt.Appendf(dst, `"volume":"%d","baseVolume":%q,`, c.contracts(p), p.size(c.volume))
	} else {
		dst = fmt.Appendf(dst, `"volume":%q,"quoteVolume":"%.2f",`, p.size(c.volume), c.quote(p))
	}
	return fmt.Appendf(dst, `"openTime":%d,"closeTime":%d,"firstId":1,"lastId":%d,"count":%[3]d}`, now.UnixMilli()-day*1000, now.UnixMilli(), c.trades)
}

// forever is the delivery date of a perpetual contract.
const forever = 4_133_404_800_000

func (m *market) futuresInfo(o *out, limit int, now time.Time) {
	kind := "U_MARGINED"
	if len(m.pairs) > 0 && m.pairs[0].coinMargined() {
		kind = "D_MARGINED"
	}
	o.buf = fmt.Appendf(o.buf, `{"timezone":"UTC","serverTime":%d,"futuresType":%q,"rateLimits":[`+
		`{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":%d},{"rateLimitType":"ORDERS","interval":"MINUTE","intervalNum":1,"limit":1200}],`+
		`"exchangeFilters":[],"assets":[{"asset":"USDT","marginAvailable":true,"autoAssetExchange":"-10000"}],"symbols":[`, now.UnixMilli(), kind, limit)
	o.list(m, func(*pair) bool { return true }, func(dst []byte, p *pair) []byte {
		status, delivery := "TRADING", int64(forever)
		if !p.trading(now.Unix()) {
			status, delivery = "SETTLING", p.Halted.UnixMilli()
		}
		key, margin := "status", p.Quote
		name := p.Base + p.Quote
		if p.coinMargined() {
			key, margin = "contractStatus", p.Base
		}
		dst = fmt.Appendf(dst, `{"symbol":%q,"pair":%q,"contractType":"PERPETUAL","deliveryDate":%d,"onboardDate":%d,%q:%q,`,
			p.Symbol, name, delivery, p.Listed.UnixMilli(), key, status)
		if p.coinMargined() {
			dst = fmt.Appendf(dst, `"contractSize":%d,`, p.contractValue())
		}
		return fmt.Appendf(dst, `"maintMarginPercent":"2.5000","requiredMarginPercent":"5.0000","baseAsset":%q,"quoteAsset":%q,"marginAsset":%q,`+
			`"pricePrecision":%d,"quantityPrecision":%d,"baseAssetPrecision":8,"quotePrecision":8,"underlyingType":"COIN","underlyingSubType":[],`+
			`"settlePlan":0,"triggerProtect":"0.0500","liquidationFee":"0.012000","marketTakeBound":"0.30","filters":[`+
			`{"minPrice":%q,"maxPrice":"1000000","filterType":"PRICE_FILTER","tickSize":%[6]q},`+
			`{"stepSize":%q,"filterType":"LOT_SIZE","maxQty":"1000","minQty":%[7]q}],`+
			`"orderTypes":["LIMIT","MARKET","STOP","STOP_MARKET","TAKE_PROFIT","TAKE_PROFIT_MARKET","TRAILING_STOP_MARKET"],"timeInForce":["GTC","IOC","FOK","GTX"]}`,
			p.Base, p.Quote, margin, p.TickDecimals, p.LotDecimals,
			string(appendPlaces(nil, 1, p.TickDecimals)), string(appendPlaces(nil, 1, p.LotDecimals)))
	})
	o.buf = append(o.buf, `]}`...)
}

package simulated

// The dialects of KuCoin: spot, and linear perpetual contracts. Unconfirmed: whether its
// window rolls, that the end of a range of contracts is inclusive, the refusal of an
// unknown contract by its klines, and which rows of a longer range win.

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func init() {
	spot := dialect{
		venue:       "kucoin",
		id:          func(p *Pair) string { return p.Base + "-" + p.Quote },
		contentType: "application/json",
		counters:    []counter{{name: "weight", limit: 2000, period: 30 * time.Second, window: rolling}},
		usage: func(h http.Header, u usage) {
			h["Gw-Ratelimit-Limit"] = []string{strconv.Itoa(u.limit)}
			h["Gw-Ratelimit-Remaining"] = []string{strconv.Itoa(u.left())}
			h["Gw-Ratelimit-Reset"] = []string{strconv.FormatInt(time.Until(u.reset).Milliseconds()+1, 10)}
		},
		parse:   parseKucoin,
		failure: kucoinFailure,
		socket: &socket{
			path: "/endpoint", take: takeKucoin, push: pushKucoin, traded: true,
			greeting: `{"id":"0","type":"welcome"}`,
			token:    24 * time.Hour, issued: kucoinIssued, expired: `{"id":"0","type":"error","code":401,"data":"token is expired"}`,
			invalid: `{"id":"0","type":"error","code":401,"data":"token is invalid"}`,
			ping:    unlimited, lifetime: 24 * time.Hour, idle: 28 * time.Second, longest: 64 << 10,
		},
	}
	swap := spot
	swap.venue, swap.swap, swap.socket = "kucoin-futures", true, nil
	swap.id = func(p *Pair) string {
		if !swappable(p, "USDT") {
			return ""
		}
		return kucoinBase(p) + p.Quote + "M"
	}
	register(&spot)
	register(&swap)
}

// kucoinBase is the name of an asset on futures.
func kucoinBase(p *Pair) string {
	if p.Base == "BTC" {
		return "XBT"
	}
	return p.Base
}

var (
	kucoinTypes = []interval{
		every("1min", minute), every("3min", 3*minute), every("5min", 5*minute), every("15min", 15*minute), every("30min", 30*minute),
		every("1hour", hour), every("2hour", 2*hour), every("4hour", 4*hour), every("6hour", 6*hour), every("8hour", 8*hour), every("12hour", 12*hour),
		every("1day", day), every("1week", week).shifted(-4 * day), monthly("1month", 1), // weeks open on Thursdays
	}
	kucoinGranularities = []interval{
		every("1", minute), every("5", 5*minute), every("15", 15*minute), every("30", 30*minute),
		every("60", hour), every("120", 2*hour), every("240", 4*hour), every("480", 8*hour), every("720", 12*hour),
		every("1440", day), every("10080", week).shifted(-4 * day),
	}
	kucoinSpot  = &form{head: kucoinHead, row: appendKucoin, tail: kucoinTail, descending: true, quiet: quietAbsent}
	kucoinSwaps = &form{head: kucoinHead, row: appendKucoinSwap, tail: kucoinTail, quiet: quietAbsent}
)

const kucoinBegin = `{"code":"200000","data":`

func kucoinHead(dst []byte, _ *klinesQuery, _ int64) []byte {
	return append(append(dst, kucoinBegin...), '[')
}

func kucoinTail(dst []byte, _ *klinesQuery, _ summary, _ int64) []byte { return append(dst, `]}`...) }

// appendKucoin appends [time, open, close, high, low, volume, turnover].
func appendKucoin(dst []byte, k *klinesQuery, c *candle, _ bool) []byte {
	p := k.pair
	dst = append(strconv.AppendInt(append(dst, `["`...), c.open, 10), '"')
	for _, v := range [...]int64{c.o, c.c, c.h, c.l} {
		dst = append(appendTrimmed(append(dst, `,"`...), v, p.TickDecimals), '"')
	}
	dst = appendTrimmed(append(dst, `,"`...), c.volume, p.LotDecimals)
	dst = appendTrimmedAmount(append(dst, `","`...), c.quote(p))
	return append(dst, `"]`...)
}

// appendKucoinSwap appends [ms, open, high, low, close, contracts, turnover].
func appendKucoinSwap(dst []byte, k *klinesQuery, c *candle, _ bool) []byte {
	p := k.pair
	dst = appendMs(append(dst, '['), c.open)
	for _, v := range [...]int64{c.o, c.h, c.l, c.c} {
		dst = appendTrimmed(append(dst, ','), v, p.TickDecimals)
	}
	dst = appendTrimmed(append(dst, ','), c.volume, contractDecimals)
	dst = appendTrimmedAmount(append(dst, ','), c.quote(p))
	return append(dst, ']')
}

func parseKucoin(s *Server, r *http.Request, now time.Time) (q request) {
	fail := func(status int, code, msg string) {
		q.reply(status, fmt.Appendf(nil, `{"msg":%q,"code":%q}`, msg, code))
	}
	params := r.URL.Query()
	path := r.URL.Path
	const bullet = "/api/v1/bullet-public"
	if (r.Method == http.MethodPost) != (path == bullet) || r.Method != http.MethodGet && r.Method != http.MethodPost {
		path = ""
	}
	swap := s.dialect.swap
	k := klinesQuery{pair: s.market.byName[params.Get("symbol")]}
	known := k.pair != nil && k.pair.trading(now.Unix())
	switch {
	case path == "/api/v1/timestamp":
		q.endpoint = "time"
		q.charge(0, 3)
		q.write = func(o *out, now time.Time) { o.buf = fmt.Appendf(o.buf, `%s%d}`, kucoinBegin, now.UnixMilli()) }
	case path == bullet && !swap:
		q.endpoint = "bullet-public"
		q.charge(0, 10)
		scheme := "ws"
		if r.TLS != nil {
			scheme = "wss"
		}
		q.write = func(o *out, _ time.Time) {
			o.buf = fmt.Appendf(o.buf, `%s{"token":%q,"instanceServers":[{"endpoint":"%s://%s%s","encrypt":%t,"protocol":"websocket","pingInterval":18000,"pingTimeout":10000}]}}`,
				kucoinBegin, kucoinToken(), scheme, r.Host, s.dialect.socket.path, r.TLS != nil)
		}
	case path == "/api/v1/market/candles" && !swap:
		q.endpoint = "klines"
		q.charge(0, 3)
		start, ok1 := whole(params, "startAt", 0)
		end, ok2 := whole(params, "endAt", 0)
		iv, ok := intervalNamed(kucoinTypes, params.Get("type"))
		if end == 0 {
			end = now.Unix() + 1
		}
		switch {
		case !ok:
			fail(http.StatusOK, "400100", "Incorrect candlestick type.")
		case !known:
			fail(http.StatusOK, "400100", "This pair is not provided at present")
		case !ok1 || !ok2:
			fail(http.StatusBadRequest, "400100", "Parameter error")
		default: // the end is exclusive
			k.form, k.iv, k.limit, k.newest = kucoinSpot, iv, 1500, true
			k.start, k.hasStart, k.end = start*1000, start > 0, min(end, latestTime/1000)*1000-1
			q.klines = &k
		}
	case path == "/api/v1/kline/query" && swap:
		q.endpoint = "klines"
		q.charge(0, 3)
		from, ok1 := whole(params, "from", -1)
		to, ok2 := whole(params, "to", latestTime)
		iv, ok := intervalNamed(kucoinGranularities, params.Get("granularity"))
		switch {
		case !ok:
			fail(http.StatusBadRequest, "300000", "Invalid granularity")
		case !known:
			fail(http.StatusNotFound, "404000", "The contract information you requested does not exist")
		case !ok1 || !ok2:
			fail(http.StatusBadRequest, "100001", "Parameter error")
		default: // of a longer range the oldest
			k.form, k.iv, k.limit = kucoinSwaps, iv, 200
			k.start, k.hasStart, k.end = from, from >= 0, to
			q.klines = &k
		}
	case path == "/api/v2/symbols" && !swap:
		q.endpoint = "symbols"
		q.charge(0, 4)
		q.write = kucoinList(s, func(*pair) bool { return true }, func(dst []byte, p *pair) []byte { return appendKucoinPair(dst, p, now) }, "")
	case path == "/api/v1/market/allTickers" && !swap:
		q.endpoint = "tickers"
		q.charge(0, 15)
		head := fmt.Sprintf(`{"time":%d,"ticker":`, now.UnixMilli())
		q.write = kucoinList(s, trading(now), func(dst []byte, p *pair) []byte { return appendKucoinTicker(dst, p, now) }, head)
	case path == "/api/v1/contracts/active" && swap:
		q.endpoint = "contracts"
		q.charge(0, 3)
		q.write = kucoinList(s, trading(now), func(dst []byte, p *pair) []byte { return appendKucoinContract(dst, p, now) }, "")
	case path == "/api/v1/allTickers" && swap:
		q.endpoint = "allTickers"
		q.charge(0, 5)
		q.write = kucoinList(s, trading(now), func(dst []byte, p *pair) []byte {
			price := p.price(p.lastPrice(now))
			return fmt.Appendf(dst, `{"sequence":1,"symbol":%q,"side":"sell","size":1,"tradeId":"1","price":%q,"bestBidPrice":%[2]q,"bestBidSize":1,`+
				`"bestAskPrice":%[2]q,"bestAskSize":1,"ts":%[3]d}`, p.Symbol, price, now.UnixNano())
		}, "")
	default:
		q.endpoint = "other"
		fail(http.StatusNotFound, "404000", "Url Not Found")
	}
	return q
}

// kucoinList writes a list, in an object that head opens.
func kucoinList(s *Server, keep func(*pair) bool, row func([]byte, *pair) []byte, head string) func(*out, time.Time) {
	return func(o *out, _ time.Time) {
		o.buf = append(append(append(o.buf, kucoinBegin...), head...), '[')
		o.list(s.market, keep, row)
		o.buf = append(o.buf, ']')
		if head != "" {
			o.buf = append(o.buf, '}')
		}
		o.buf = append(o.buf, '}')
	}
}

func appendKucoinPair(dst []byte, p *pair, now time.Time) []byte {
	zone := p.Quote
	if p.Kind == Leveraged {
		zone = "ETF"
	} else if slices.Contains([]string{"USDT", "USDC"}, p.Quote) {
		zone = "USDS"
	}
	return fmt.Appendf(dst, `{"symbol":%q,"name":%[1]q,"baseCurrency":%q,"quoteCurrency":%q,"feeCurrency":%[3]q,"market":%q,"baseMinSize":%q,"quoteMinSize":"0.1",`+
		`"baseMaxSize":"10000000000","quoteMaxSize":"99999999","baseIncrement":%[5]q,"quoteIncrement":"0.000001","priceIncrement":%q,"priceLimitRate":"0.1",`+
		`"minFunds":"0.1","isMarginEnabled":true,"enableTrading":%t}`,
		p.Symbol, p.Base, p.Quote, zone, p.size(1), p.price(1), p.trading(now.Unix()))
}

func appendKucoinTicker(dst []byte, p *pair, now time.Time) []byte {
	c := p.lastDay(now.Unix())
	rate := "0"
	if c.o > 0 {
		rate = strconv.FormatFloat(float64(c.c-c.o)/float64(c.o), 'f', 4, 64)
	}
	change := p.price(max(c.c-c.o, c.o-c.c))
	if c.c < c.o {
		change = "-" + change
	}
	return fmt.Appendf(dst, `{"symbol":%q,"symbolName":%[1]q,"buy":%q,"sell":%q,"bestBidSize":%q,"bestAskSize":%[4]q,"changeRate":%q,"changePrice":%q,`+
		`"high":%q,"low":%q,"vol":%q,"volValue":%q,"last":%[2]q,"averagePrice":%[11]q,"takerFeeRate":"0.001","makerFeeRate":"0.001",`+
		`"takerCoefficient":"1","makerCoefficient":"1"}`,
		p.Symbol, p.price(c.c), p.price(c.c+1), p.size(c.volume/1000), rate, change, p.price(c.h), p.price(c.l), p.size(c.volume), amount(c.quote(p)), p.price((c.o+c.c)/2))
}

func appendKucoinContract(dst []byte, p *pair, now time.Time) []byte {
	c := p.lastDay(now.Unix())
	base := kucoinBase(&p.Pair)
	return fmt.Appendf(dst, `{"symbol":%q,"rootSymbol":%q,"type":"FFWCSX","firstOpenDate":%d,"expireDate":null,"settleDate":null,"baseCurrency":%q,`+
		`"quoteCurrency":%[2]q,"settleCurrency":%[2]q,"maxOrderQty":1000000,"maxPrice":1000000.0000000000,"lotSize":1,"tickSize":%[5]s,"indexPriceTickSize":%[5]s,`+
		`"multiplier":%[6]s,"initialMargin":0.01,"maintainMargin":0.005,"maxRiskLimit":2000000,"minRiskLimit":2000000,"riskStep":1000000,"makerFeeRate":0.00020,`+
		`"takerFeeRate":0.00060,"takerFixFee":0.0000000000,"makerFixFee":0.0000000000,"settlementFee":null,"isDeleverage":true,"isQuanto":true,"isInverse":false,`+
		`"markMethod":"FairPrice","fairMethod":"FundingRate","fundingBaseSymbol":".%[4]sINT8H","fundingQuoteSymbol":".USDTINT8H","fundingRateSymbol":".%[1]sFPI8H",`+
		`"indexSymbol":".K%[4]sUSDT","settlementSymbol":"","status":"Open","fundingFeeRate":0.000100,"predictedFundingFeeRate":0.000100,"openInterest":"9876432",`+
		`"turnoverOf24h":%[7]s,"volumeOf24h":%[8]s,"markPrice":%[9]s,"indexPrice":%[9]s,"lastTradePrice":%[9]s,"nextFundingRateTime":25242841,"maxLeverage":100,`+
		`"sourceExchanges":["okex","binance","kucoin"],"premiumsSymbol1M":".%[1]sPI","premiumsSymbol8H":".%[1]sPI8H","fundingBaseSymbol1M":".%[4]sINT",`+
		`"fundingQuoteSymbol1M":".USDTINT","lowPrice":%[10]s,"highPrice":%[11]s,"priceChgPct":0.0004,"priceChg":13}`,
		p.Symbol, p.Quote, p.Listed.UnixMilli(), base, kucoinStep(p), p.contract(), amount(c.quote(p)), p.size(c.volume), p.price(c.c), p.price(c.l), p.price(c.h))
}

// kucoinStep is the tick as Java prints a small number.
func kucoinStep(p *pair) string {
	if p.TickDecimals > 6 {
		return "1E-" + strconv.Itoa(p.TickDecimals)
	}
	return p.price(1)
}

// kucoinToken returns a token for a connection, which has its time in it.
func kucoinToken() string { return strconv.FormatInt(time.Now().UnixNano(), 10) + "/+x==" }

// kucoinIssued returns when a token was issued.
func kucoinIssued(token string) (time.Time, bool) {
	stamp, ok := strings.CutSuffix(token, "/+x==")
	ns, err := strconv.ParseInt(stamp, 10, 64)
	return time.Unix(0, ns), ok && err == nil
}

// takeKucoin reads {"id":"1","type":"subscribe","topic":"/market/candles:BTC-USDT_1min,
// ETH-USDT_1min","response":true}, and {"id":"2","type":"ping"}. A topic that there is not
// refuses the message.
func takeKucoin(s *Server, message []byte) (subs []subscription, answer []byte) {
	var m struct {
		ID, Type, Topic string
		Response        bool
	}
	err := json.Unmarshal(message, &m)
	fail := func(code int, text string) ([]subscription, []byte) {
		return nil, fmt.Appendf(nil, `{"id":%q,"type":"error","code":%d,"data":%q}`, m.ID, code, text)
	}
	names, known := strings.CutPrefix(m.Topic, "/market/candles:")
	switch {
	case err == nil && m.Type == "ping":
		return nil, fmt.Appendf(nil, `{"id":%q,"type":"pong","timestamp":%d}`, m.ID, s.options.Now().UnixMicro())
	case err != nil || m.Type != "subscribe":
		return fail(415, "type is not supported")
	case !known:
		return fail(404, "topic "+m.Topic+" is not found")
	}
	topics := strings.Split(names, ",")
	if len(topics) > 100 {
		return fail(509, "exceed max subscription count limitation of 100 per time")
	}
	for _, topic := range topics {
		symbol, name, _ := strings.Cut(topic, "_")
		iv, ok := intervalNamed(kucoinTypes, name)
		p := s.market.byName[symbol]
		if p == nil || !ok || s.options.Stream.refuses(p) {
			return fail(404, "topic /market/candles:"+topic+" is not found")
		}
		subs = append(subs, subscription{pair: p, iv: iv})
	}
	if m.Response {
		answer = fmt.Appendf(nil, `{"id":%q,"type":"ack"}`, m.ID)
	}
	return subs, answer
}

// pushKucoin appends the state of a candle; nothing says whether it is closed.
func pushKucoin(dst []byte, sub *subscription, c *candle, _ bool, now int64) []byte {
	p := sub.pair
	dst = fmt.Appendf(dst, `{"topic":"/market/candles:%s_%s","type":"message","subject":"trade.candles.update","data":{"symbol":%[1]q,"candles":`, p.Symbol, sub.iv.name)
	dst = appendKucoin(dst, &klinesQuery{pair: p}, c, false)
	return fmt.Appendf(dst, `,"time":%d}}`, now*1_000_000)
}

// kucoinFailure: a header of every response says when the window is empty.
func kucoinFailure(kind fault, v *verdict, _ time.Time) answer {
	switch kind {
	case fault500:
		return answer{status: http.StatusInternalServerError, body: `{"code":"500000","msg":"Internal Server Error"}`}
	case faultEnvelope:
		return answer{status: http.StatusOK, body: `{"code":"500000","msg":"Internal Server Error"}`}
	case faultBan:
		return pages[fault403]
	}
	return answer{
		status: http.StatusTooManyRequests, announced: true,
		header: http.Header{"Gw-Ratelimit-Reset": {strconv.FormatInt(v.pause.Milliseconds()+1, 10)}},
		body:   `{"code":"429000","msg":"Too Many Requests"}`,
	}
}

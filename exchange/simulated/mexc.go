package simulated

// The dialect of MEXC spot, v3. Unconfirmed: whether its window rolls, the weight of
// ticker/24hr, the rows of quiet minutes, the text of a bad interval, and which rows win
// when more than 500 fit.

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

func init() {
	register(&dialect{
		venue:       "mexc",
		id:          func(p *Pair) string { return p.Base + p.Quote },
		contentType: "application/json;charset=utf-8",
		counters:    []counter{{name: "weight", limit: 300, period: 10 * time.Second, window: rolling, stop: true}},
		bans:        true,
		parse:       parseMEXC,
		failure:     mexcFailure,
		socket: &socket{
			path: "/ws", take: takeMEXC, push: pushMEXC, binary: true,
			ping: unlimited, idle: time.Minute, lifetime: 24 * time.Hour, // the client pings
		},
	})
}

var mexcIntervals = []interval{
	every("1m", minute), every("5m", 5*minute), every("15m", 15*minute), every("30m", 30*minute), every("60m", hour),
	every("4h", 4*hour), every("1d", day), every("1W", week), monthly("1M", 1),
}

var mexcForm = &form{
	head: func(dst []byte, _ *klinesQuery, _ int64) []byte { return append(dst, '[') },
	tail: func(dst []byte, _ *klinesQuery, _ summary, _ int64) []byte { return append(dst, ']') },
	row: func(dst []byte, k *klinesQuery, c *candle, _ bool) []byte {
		p := k.pair
		dst = appendMs(append(dst, '['), c.open)
		for _, v := range [...]int64{c.o, c.h, c.l, c.c} {
			dst = append(appendTrimmed(append(dst, `,"`...), v, p.TickDecimals), '"')
		}
		dst = appendTrimmed(append(dst, `,"`...), c.volume, p.LotDecimals)
		dst = appendMs(append(dst, `",`...), k.iv.next(c.open)) // not a millisecond before
		return append(appendTrimmedAmount(append(dst, `,"`...), c.quote(p)), `"]`...)
	},
}

func mexcError(code int, msg string) []byte {
	return fmt.Appendf(nil, `{"msg":%q,"code":%d}`, msg, code)
}

func parseMEXC(s *Server, r *http.Request, now time.Time) (q request) {
	fail := func(code int, msg string) { q.reply(http.StatusBadRequest, mexcError(code, msg)) }
	name, ok := strings.CutPrefix(r.URL.Path, "/api/v3/")
	if !ok || r.Method != http.MethodGet {
		name = ""
	}
	q.endpoint = name
	params := r.URL.Query()
	switch name {
	case "klines":
		q.charge(0, 1)
		k := klinesQuery{form: mexcForm, newest: true, pair: s.market.byName[params.Get("symbol")]}
		start, ok1 := whole(params, "startTime", -1)
		end, ok2 := whole(params, "endTime", -1)
		limit, ok3 := whole(params, "limit", 500)
		k.iv, ok = intervalNamed(mexcIntervals, params.Get("interval"))
		switch {
		case k.pair == nil || !k.pair.trading(now.Unix()):
			fail(-1121, "invalid symbol")
		case !ok:
			fail(-1121, "Invalid interval.")
		case !ok1 || !ok2 || !ok3 || limit < 1:
			fail(700008, "Illegal characters found in parameter")
		default:
			if end < 0 { // a start alone is ignored
				start, end = -1, latestTime
			}
			k.start, k.hasStart, k.end, k.limit = start, start >= 0, end-1, int(min(limit, 500))
			q.klines = &k
		}
	case "exchangeInfo":
		q.charge(0, 10)
		q.write = func(o *out, now time.Time) {
			o.buf = fmt.Appendf(o.buf, `{"timezone":"CST","serverTime":%d,"rateLimits":[],"exchangeFilters":[],"symbols":[`, now.UnixMilli())
			o.list(s.market, func(*pair) bool { return true }, func(dst []byte, p *pair) []byte { return appendMEXCPair(dst, p, now) })
			o.buf = append(o.buf, `]}`...)
		}
	case "ticker/24hr":
		q.charge(0, 40)
		q.write = func(o *out, now time.Time) {
			o.buf = append(o.buf, '[')
			o.list(s.market, trading(now), func(dst []byte, p *pair) []byte { return appendMEXCTicker(dst, p, now) })
			o.buf = append(o.buf, ']')
		}
	case "ticker/price":
		q.charge(0, 2)
		q.write = s.market.lastPrices
	case "time":
		q.charge(0, 1)
		q.write = func(o *out, now time.Time) {
			o.buf = append(strconv.AppendInt(append(o.buf, `{"serverTime":`...), now.UnixMilli(), 10), '}')
		}
	default:
		q.endpoint = "other"
		q.reply(http.StatusNotFound, mexcError(404, "Not Found"))
	}
	return q
}

func appendMEXCPair(dst []byte, p *pair, now time.Time) []byte {
	status := "1"
	if !p.trading(now.Unix()) {
		status = "3"
	}
	return fmt.Appendf(dst, `{"symbol":%q,"status":%q,"baseAsset":%q,"baseAssetPrecision":%d,"quoteAsset":%q,"quotePrecision":%d,"quoteAssetPrecision":%[6]d,`+
		`"baseCommissionPrecision":%[4]d,"quoteCommissionPrecision":%[6]d,"orderTypes":["LIMIT","MARKET","LIMIT_MAKER"],"isSpotTradingAllowed":%[7]t,`+
		`"isMarginTradingAllowed":false,"quoteAmountPrecision":"1","baseSizePrecision":"0","permissions":["SPOT"],"filters":[],"maxQuoteAmount":"2000000",`+
		`"makerCommission":"0.0005","takerCommission":"0.0005","quoteAmountPrecisionMarket":"1","maxQuoteAmountMarket":"100000","fullName":%[3]q,"tradeSideType":1}`,
		p.Symbol, status, p.Base, p.LotDecimals, p.Quote, p.TickDecimals, status == "1")
}

func appendMEXCTicker(dst []byte, p *pair, now time.Time) []byte {
	c := p.lastDay(now.Unix())
	return fmt.Appendf(dst, `{"symbol":%q,"priceChange":"%s%s","priceChangePercent":"%.4f","prevClosePrice":%q,"lastPrice":%q,"bidPrice":%[6]q,"bidQty":%q,`+
		`"askPrice":%q,"askQty":%[7]q,"openPrice":%[5]q,"highPrice":%[9]q,"lowPrice":%q,"volume":%q,"quoteVolume":%q,"openTime":%d,"closeTime":%d,"count":null}`,
		p.Symbol, map[bool]string{true: "-"}[c.c < c.o], p.price(max(c.c-c.o, c.o-c.c)), change(&c), p.price(c.o), p.price(c.c), p.size(c.volume/1000),
		p.price(c.c+1), p.price(c.h), p.price(c.l), p.size(c.volume), amount(c.quote(p)), now.Add(-24*time.Hour).UnixMilli(), now.UnixMilli())
}

func mexcFailure(kind fault, _ *verdict, _ time.Time) answer {
	switch kind {
	case fault500:
		return answer{status: http.StatusInternalServerError, body: string(mexcError(500, "Internal error"))}
	case faultEnvelope:
		return answer{status: http.StatusOK, body: string(mexcError(500, "Internal error"))}
	case faultBan:
		return answer{status: http.StatusTeapot, body: string(mexcError(418, "IP banned")), retryAfter: true}
	}
	return answer{status: http.StatusTooManyRequests, body: string(mexcError(429, "Too Many Requests")), retryAfter: true}
}

const mexcChannel = "spot@public.kline.v3.api.pb@"

// mexcPushed are the candles that are pushed.
var mexcPushed = []interval{
	every("Min1", minute), every("Min5", 5*minute), every("Min15", 15*minute), every("Min30", 30*minute), every("Min60", hour),
	every("Hour4", 4*hour), every("Hour8", 8*hour), every("Day1", day), every("Week1", week), monthly("Month1", 1),
}

// takeMEXC reads {"id":1,"method":"SUBSCRIPTION","params":["spot@public.kline.v3.api.pb@BTCUSDT@Min1"]}
// and {"method":"PING"}. A refusal has the code of a success; only its text differs.
func takeMEXC(s *Server, message []byte) (subs []subscription, answer []byte) {
	var m struct {
		ID     int
		Method string
		Params []string
	}
	if json.Unmarshal(message, &m) != nil {
		return nil, []byte(`{"id":0,"code":0,"msg":"msg format invalid"}`)
	}
	var taken, refused []string
	for _, name := range m.Params {
		rest, ok := strings.CutPrefix(name, mexcChannel)
		symbol, wire, _ := strings.Cut(rest, "@")
		iv, known := intervalNamed(mexcPushed, wire)
		p := s.market.byName[symbol]
		if !ok || !known || p == nil || s.options.Stream.refuses(p) {
			refused = append(refused, name)
			continue
		}
		taken = append(taken, name)
		subs = append(subs, subscription{pair: p, iv: iv})
	}
	msg := strings.Join(taken, ",")
	switch {
	case m.Method == "PING":
		msg = "PONG"
	case m.Method != "SUBSCRIPTION":
		return nil, []byte(`{"id":0,"code":0,"msg":"msg format invalid"}`)
	case len(refused) > 0:
		if msg != "" {
			msg = "Subscribed successful! [" + msg + "]. "
		}
		msg += "Not Subscribed successfully! [" + strings.Join(refused, ",") + "].  Reason： Blocked! "
	}
	return subs, fmt.Appendf(nil, `{"id":%d,"code":0,"msg":%q}`, m.ID, msg)
}

// pushMEXC appends a PushDataV3ApiWrapper with a PublicSpotKlineV3Api
// (https://github.com/mexcdevelop/websocket-proto); nothing says whether the candle is closed.
func pushMEXC(dst []byte, sub *subscription, c *candle, _ bool, now int64) []byte {
	text := func(dst []byte, number protowire.Number, v string) []byte {
		return protowire.AppendString(protowire.AppendTag(dst, number, protowire.BytesType), v)
	}
	number := func(dst []byte, number protowire.Number, v int64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(dst, number, protowire.VarintType), uint64(v))
	}
	p := sub.pair
	kline := text(nil, 1, sub.iv.name)
	kline = number(kline, 2, c.open)
	for i, v := range [...]string{p.price(c.o), p.price(c.c), p.price(c.h), p.price(c.l), p.size(c.volume), amount(c.quote(p))} {
		kline = text(kline, protowire.Number(3+i), v)
	}
	kline = number(kline, 9, sub.iv.next(c.open))
	dst = text(dst, 1, mexcChannel+p.Symbol+"@"+sub.iv.name)
	dst = text(dst, 3, p.Symbol)
	dst = number(dst, 5, now)
	dst = number(dst, 6, now)
	return protowire.AppendBytes(protowire.AppendTag(dst, 308, protowire.BytesType), kline)
}

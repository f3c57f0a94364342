package simulated

// The dialects of Hyperliquid: perpetuals and spot. Prices have more digits than the
// venue's. Unconfirmed: whether its minute rolls, the words of its HTTP 429, and that an
// unknown coin gets HTTP 500 with null.

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/http"
	"strconv"
	"time"
)

func init() {
	perps := dialect{
		venue: "hyperliquid",
		id: func(p *Pair) string {
			if !swappable(p, "USDC") {
				return ""
			}
			return p.Base
		},
		quote: "USDC", swap: true,
		contentType: "application/json",
		counters:    []counter{{name: "weight", limit: 1_200, period: time.Minute, window: rolling}},
		parse:       parseHyperliquid,
		failure:     hyperliquidFailure,
		socket: &socket{ // closed after a minute in which nothing is sent, which it is when a client pings
			path: "/ws", take: takeHyperliquid, push: pushHyperliquid, traded: true,
			ping: unlimited, lifetime: unlimited, longest: 64 << 10,
		},
	}
	spot := perps
	spot.venue, spot.swap = "hyperliquid-spot", false
	spot.id = hyperliquidSpot
	register(&perps)
	register(&spot)
}

// hyperliquidSpot returns the name of a spot pair: most have a number, the oldest has a
// name.
func hyperliquidSpot(p *Pair) string {
	switch {
	case p.Quote != "USDC" || p.Kind == Leveraged:
		return ""
	case p.Base == "DOGE":
		return "DOGE/USDC"
	}
	return "@" + strconv.Itoa(1+int(crc32.ChecksumIEEE([]byte(p.Base))%1_000_000))
}

const hyperliquidHistory = 5_000

// Weeks open on Thursdays.
var hyperliquidIntervals = []interval{
	every("1m", minute), every("3m", 3*minute), every("5m", 5*minute), every("15m", 15*minute), every("30m", 30*minute),
	every("1h", hour), every("2h", 2*hour), every("4h", 4*hour), every("8h", 8*hour), every("12h", 12*hour),
	every("1d", day), every("3d", 3*day), every("1w", week).shifted(-4 * day), monthly("1M", 1),
}

var hyperliquidKlines = &form{
	head:     func(dst []byte, _ *klinesQuery, _ int64) []byte { return append(dst, '[') },
	row:      appendHyperliquid,
	tail:     func(dst []byte, _ *klinesQuery, _ summary, _ int64) []byte { return append(dst, ']') },
	contains: true, history: hyperliquidHistory,
}

// appendHyperliquid appends a candle. Both orders of its members are recorded.
func appendHyperliquid(dst []byte, k *klinesQuery, c *candle, _ bool) []byte {
	p := k.pair
	order := "tTsioChlvn"
	if k.swap() {
		order = "TChilnostv"
	}
	for i, key := range []byte(order) {
		if i == 0 {
			dst = append(dst, '{')
		} else {
			dst = append(dst, ',')
		}
		name := key
		if key == 'C' {
			name = 'c'
		}
		dst = append(dst, '"', name, '"', ':')
		switch key {
		case 't':
			dst = appendMs(dst, c.open)
		case 'T':
			dst = strconv.AppendInt(dst, k.iv.next(c.open)*1000-1, 10)
		case 's':
			dst = appendString(dst, p.Symbol)
		case 'i':
			dst = appendString(dst, k.iv.name)
		case 'o':
			dst = appendWithPoint(dst, c.o, p.TickDecimals)
		case 'C':
			dst = appendWithPoint(dst, c.c, p.TickDecimals)
		case 'h':
			dst = appendWithPoint(dst, c.h, p.TickDecimals)
		case 'l':
			dst = appendWithPoint(dst, c.l, p.TickDecimals)
		case 'v':
			dst = appendWithPoint(dst, c.volume, p.LotDecimals)
		case 'n':
			dst = strconv.AppendInt(dst, c.trades, 10)
		}
	}
	return append(dst, '}')
}

// appendWithPoint appends a quoted number as short as possible, with at least one decimal.
func appendWithPoint(dst []byte, units int64, decimals int) []byte {
	dst = append(dst, '"')
	if units != nan && units%pow10[decimals] == 0 {
		dst = appendPlaces(dst, units/pow10[decimals]*10, 1)
	} else {
		dst = appendTrimmed(dst, units, decimals)
	}
	return append(dst, '"')
}

func parseHyperliquid(s *Server, r *http.Request, now time.Time) (q request) {
	q.endpoint = "other"
	if r.URL.Path != "/info" || r.Method != http.MethodPost {
		q.reply(http.StatusNotFound, nil)
		return q
	}
	malformed := func() {
		q.contentType = "text/plain; charset=utf-8"
		q.reply(http.StatusUnprocessableEntity, []byte("Failed to deserialize the JSON body into the target type"))
	}
	var b struct {
		Type string
		Req  *struct {
			Coin, Interval     string
			StartTime, EndTime *uint64
		}
	}
	if json.Unmarshal(body(r), &b) != nil {
		q.charge(0, 20)
		malformed()
		return q
	}
	list := "spotMetaAndAssetCtxs"
	if s.dialect.swap {
		list = "metaAndAssetCtxs"
	}
	weight := 20
	switch b.Type {
	case "exchangeStatus":
		q.endpoint, weight = b.Type, 2
		q.write = func(o *out, now time.Time) {
			o.buf = fmt.Appendf(o.buf, `{"specialStatuses":null,"time":%d}`, now.UnixMilli())
		}
	case "allMids":
		q.endpoint, weight = b.Type, 2
		q.write = func(o *out, now time.Time) {
			o.buf = append(o.buf, '{')
			o.list(s.market, trading(now), func(dst []byte, p *pair) []byte {
				return fmt.Appendf(dst, `%q:%q`, p.Symbol, p.price(p.lastPrice(now)))
			})
			o.buf = append(o.buf, '}')
		}
	case list:
		q.endpoint = b.Type
		if s.dialect.swap {
			q.write = func(o *out, now time.Time) { s.market.hyperliquidPerps(o, now) }
		} else {
			q.write = func(o *out, now time.Time) { s.market.hyperliquidSpot(o, now) }
		}
	case "candleSnapshot":
		q.endpoint = b.Type
		if b.Req == nil || b.Req.StartTime == nil {
			malformed()
			break
		}
		k := klinesQuery{form: hyperliquidKlines, hasStart: true, limit: hyperliquidHistory + 1, end: latestTime}
		k.start = int64(min(*b.Req.StartTime, latestTime))
		if b.Req.EndTime != nil {
			k.end = int64(min(*b.Req.EndTime, latestTime))
		}
		var known bool
		k.iv, known = intervalNamed(hyperliquidIntervals, b.Req.Interval)
		k.pair = s.market.byName[b.Req.Coin]
		switch {
		case !known:
			malformed()
		case k.pair == nil:
			q.reply(http.StatusInternalServerError, []byte("null"))
		default:
			if p := s.market.resolve(&k, now.Unix()); p.first <= p.last {
				weight += min(k.iv.slots(p.first, p.last), k.limit) / 60
			}
			q.klines = &k
		}
	default:
		malformed()
	}
	q.charge(0, weight)
	return q
}

// takeHyperliquid reads {"method":"subscribe","subscription":{"type":"candle","coin":"BTC",
// "interval":"1m"}}, and {"method":"ping"}.
func takeHyperliquid(s *Server, message []byte) (subs []subscription, answer []byte) {
	type candles struct {
		Type     string `json:"type"`
		Interval string `json:"interval"`
		Coin     string `json:"coin"`
	}
	var m struct {
		Method       string   `json:"method"`
		Subscription *candles `json:"subscription"`
	}
	err := json.Unmarshal(message, &m)
	fail := func(text string) ([]subscription, []byte) {
		return nil, append(appendString([]byte(`{"channel":"error","data":`), text), '}')
	}
	switch {
	case err == nil && m.Method == "ping":
		return nil, []byte(`{"channel":"pong"}`)
	case err != nil || m.Method != "subscribe" || m.Subscription == nil || m.Subscription.Type != "candle":
		return fail("Error parsing JSON into valid websocket request: " + string(message))
	}
	names, err := json.Marshal(m.Subscription)
	iv, ok := intervalNamed(hyperliquidIntervals, m.Subscription.Interval)
	p := s.market.byName[m.Subscription.Coin]
	if err != nil || !ok || p == nil || s.options.Stream.refuses(p) {
		return fail("Invalid subscription " + string(names))
	}
	return []subscription{{pair: p, iv: iv}}, fmt.Appendf(nil, `{"channel":"subscriptionResponse","data":{"method":"subscribe","subscription":%s}}`, names)
}

// pushHyperliquid appends the state of a candle; nothing says whether it is closed.
func pushHyperliquid(dst []byte, sub *subscription, c *candle, _ bool, _ int64) []byte {
	dst = append(dst, `{"channel":"candle","data":`...)
	return append(appendHyperliquid(dst, &klinesQuery{pair: sub.pair, iv: sub.iv}, c, false), '}')
}

// hyperliquidPerps writes the perpetuals, and their states in the same order.
func (m *market) hyperliquidPerps(o *out, now time.Time) {
	all := func(*pair) bool { return true }
	o.buf = append(o.buf, `[{"universe":[`...)
	o.list(m, all, func(dst []byte, p *pair) []byte {
		dst = fmt.Appendf(dst, `{"maxLeverage":50,"name":%q,"onlyIsolated":false,"szDecimals":%d`, p.Symbol, p.LotDecimals)
		if !p.trading(now.Unix()) {
			dst = append(dst, `,"isDelisted":true`...)
		}
		return append(dst, '}')
	})
	o.buf = append(o.buf, `]},[`...)
	o.list(m, all, func(dst []byte, p *pair) []byte {
		c := p.lastDay(now.Unix())
		return fmt.Appendf(dst, `{"dayNtlVlm":%q,"funding":"0.0000125","impactPxs":[%q,%q],"markPx":%[2]q,"midPx":%[2]q,"openInterest":%[4]q,`+
			`"oraclePx":%[2]q,"premium":"0.00055561","prevDayPx":%[5]q}`,
			amount(c.quote(p)), p.price(c.c), p.price(c.c+1), p.size(c.volume/10), p.price(c.o))
	})
	o.buf = append(o.buf, `]]`...)
}

// hyperliquidSpot writes the pairs, the tokens, and the states. A state is at the index of
// its pair, and a token at its own, where those of delisted pairs leave gaps: the states
// have other markets there (hyperliquid-dex/hyperliquid-python-sdk#308), and behind a gap
// a token is no longer at its index (richkuo/go-trader#831), which here is the last one.
func (m *market) hyperliquidSpot(o *out, now time.Time) {
	all := func(*pair) bool { return true }
	index := func(i int) int { return i + i/7 }
	tokenIndex := func(i int) int {
		if i == len(m.pairs)-1 {
			i += 20
		}
		return i + 1
	}
	o.buf = append(o.buf, `[{"universe":[`...)
	i := 0
	o.list(m, all, func(dst []byte, p *pair) []byte {
		dst = fmt.Appendf(dst, `{"tokens":[%d,0],"name":%q,"index":%d,"isCanonical":%t}`, tokenIndex(i), p.Symbol, index(i), p.Symbol[0] != '@')
		i++
		return dst
	})
	token := func(dst []byte, name string, decimals, index int) []byte {
		return fmt.Appendf(dst, `{"name":%q,"szDecimals":%d,"weiDecimals":%d,"index":%d,"tokenId":"0x%032x","isCanonical":true,"evmContract":null,"fullName":null}`,
			name, decimals, decimals+5, index, index)
	}
	o.buf = append(token(append(o.buf, `],"tokens":[`...), "USDC", 8, 0), ',')
	i = 0
	o.list(m, all, func(dst []byte, p *pair) []byte {
		name := p.Base
		switch name {
		case "BTC", "ETH", "SOL":
			name = "U" + name
		}
		dst = token(dst, name, p.LotDecimals, tokenIndex(i))
		i++
		return dst
	})
	o.buf = append(o.buf, `]},[`...)
	i = 0
	o.list(m, all, func(dst []byte, p *pair) []byte {
		if i > 0 && index(i) > index(i-1)+1 {
			dst = fmt.Appendf(dst, `{"prevDayPx":"0.5","dayNtlVlm":"0.0","markPx":"0.5","midPx":null,"circulatingSupply":"0.0","coin":"#%d","totalSupply":"0.0","dayBaseVlm":"0.0"},`, i)
		}
		i++
		c := p.lastDay(now.Unix())
		return fmt.Appendf(dst, `{"prevDayPx":%q,"dayNtlVlm":%q,"markPx":%q,"midPx":%[3]q,"circulatingSupply":"998949190.0","coin":%q,"totalSupply":"998949190.0","dayBaseVlm":%q}`,
			p.price(c.o), amount(c.quote(p)), p.price(c.c), p.Symbol, p.size(c.volume))
	})
	o.buf = append(o.buf, `]]`...)
}

// hyperliquidFailure: nothing says how long to wait.
func hyperliquidFailure(kind fault, _ *verdict, _ time.Time) answer {
	switch kind {
	case fault500:
		return answer{status: http.StatusInternalServerError, body: "null"}
	case faultEnvelope:
		return answer{status: http.StatusOK, body: "null"}
	case faultBan:
		return pages[fault403]
	}
	return answer{status: http.StatusTooManyRequests, body: "null"}
}

package simulated

// The dialect of Coinbase Exchange. Unconfirmed: that both ends of a range are inclusive,
// when the forming row appears, and the texts of a bad granularity and of a bad range. Its
// content network, which returns the same response for 300 seconds, is not simulated.

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

func init() {
	register(&dialect{
		venue:       "coinbase",
		quote:       "USD",
		id:          func(p *Pair) string { return p.Base + "-" + p.Quote },
		contentType: "application/json; charset=utf-8",
		counters:    []counter{{name: "requests", limit: 10, period: time.Second, window: bucket, burst: 15}},
		parse:       parseCoinbase,
		failure:     coinbaseFailure,
	})
}

const (
	coinbaseRange  = 300 // candles, at most, of a range
	coinbaseNewest = 350 // without a range
)

var coinbaseGranularities = []interval{
	every("60", minute), every("300", 5*minute), every("900", 15*minute), every("3600", hour), every("21600", 6*hour), every("86400", day),
}

var coinbaseForm = &form{
	descending: true,
	quiet:      quietAbsent,
	head:       func(dst []byte, _ *klinesQuery, _ int64) []byte { return append(dst, '[') },
	// [time, low, high, open, close, volume]
	row: func(dst []byte, k *klinesQuery, c *candle, _ bool) []byte {
		dst = strconv.AppendInt(append(dst, '['), c.open, 10)
		for _, v := range [...]int64{c.l, c.h, c.o, c.c} {
			dst = appendTrimmed(append(dst, ','), v, k.pair.TickDecimals)
		}
		return append(appendTrimmed(append(dst, ','), c.volume, k.pair.LotDecimals), ']')
	},
	tail: func(dst []byte, _ *klinesQuery, _ summary, _ int64) []byte { return append(dst, ']') },
}

func parseCoinbase(s *Server, r *http.Request, now time.Time) (q request) {
	q.charge(0, 1)
	fail := func(status int, message string) {
		q.reply(status, fmt.Appendf(nil, `{"message":%q}`, message))
	}
	path := strings.Trim(r.URL.Path, "/")
	q.endpoint = path
	product, isCandles := strings.CutSuffix(path, "/candles")
	switch {
	case r.Method != http.MethodGet:
		q.endpoint = "other"
		fail(http.StatusNotFound, "NotFound")
	case path == "time":
		q.write = func(o *out, now time.Time) {
			o.buf = fmt.Appendf(o.buf, `{"iso":%q,"epoch":%d.%03d}`, now.UTC().Format("2006-01-02T15:04:05.000Z"), now.Unix(), now.UnixMilli()%1000)
		}
	case path == "products":
		q.write = func(o *out, now time.Time) {
			o.buf = append(o.buf, '[')
			o.list(s.market, func(*pair) bool { return true }, func(dst []byte, p *pair) []byte { return appendCoinbaseProduct(dst, p, now) })
			o.buf = append(o.buf, ']')
		}
	case path == "products/stats":
		q.write = func(o *out, now time.Time) {
			o.buf = append(o.buf, '{')
			o.list(s.market, trading(now), func(dst []byte, p *pair) []byte { return appendCoinbaseStats(dst, p, now) })
			o.buf = append(o.buf, '}')
		}
	case isCandles && strings.HasPrefix(product, "products/"):
		q.endpoint = "candles"
		k := klinesQuery{form: coinbaseForm, pair: s.market.byName[strings.TrimPrefix(product, "products/")], end: latestTime, limit: coinbaseNewest}
		params := r.URL.Query()
		granularity := params.Get("granularity")
		if granularity == "" {
			granularity = "60"
		}
		var known bool
		k.iv, known = intervalNamed(coinbaseGranularities, granularity)
		start, ok1 := coinbaseTime(params, "start")
		end, ok2 := coinbaseTime(params, "end")
		switch {
		case k.pair == nil:
			fail(http.StatusNotFound, "NotFound")
		case !known:
			fail(http.StatusBadRequest, "Unsupported granularity")
		case !ok1 || !ok2:
			fail(http.StatusBadRequest, "Invalid start or end")
		case start < 0 || end < 0: // if one is missing both are ignored
			q.klines = &k
		case end < start:
			fail(http.StatusBadRequest, "start must be before end")
		case end-start > coinbaseRange*k.iv.seconds:
			fail(http.StatusBadRequest, "granularity too small for the requested time range. Count of aggregations requested exceeds 300")
		default:
			k.start, k.hasStart, k.end = start*1000, true, end*1000
			k.limit = coinbaseRange + 1 // of a range whose ends are both the open time of a candle
			q.klines = &k
		}
	default:
		q.endpoint = "other"
		fail(http.StatusNotFound, "NotFound")
	}
	return q
}

// coinbaseTime parses Unix seconds or ISO 8601; -1 without the parameter.
func coinbaseTime(params url.Values, name string) (int64, bool) {
	if t, err := time.Parse(time.RFC3339, params.Get(name)); err == nil {
		return min(max(t.Unix(), 0), latestTime/1000), true
	}
	n, ok := whole(params, name, -1)
	return min(n, latestTime/1000), ok && (n >= 0 || params.Get(name) == "")
}

func appendCoinbaseProduct(dst []byte, p *pair, now time.Time) []byte {
	status := "online"
	if !p.trading(now.Unix()) {
		status = "delisted"
	}
	slippage := "0.03"
	if p.Kind == Stable {
		slippage = "0.01"
	}
	return fmt.Appendf(dst, `{"id":%q,"base_currency":%q,"quote_currency":%q,"quote_increment":%q,"base_increment":%q,"display_name":%[1]q,`+
		`"min_market_funds":"1","margin_enabled":false,"post_only":false,"limit_only":false,"cancel_only":false,"status":%[6]q,"status_message":"",`+
		`"trading_disabled":%[7]t,"fx_stablecoin":%[8]t,"max_slippage_percentage":%q,"auction_mode":false,"high_bid_limit_percentage":""}`,
		p.Symbol, p.Base, p.Quote, p.price(1), p.size(1), status, status != "online", p.Kind == Stable, slippage)
}

// appendCoinbaseStats makes up the volume of 30 days from that of one.
func appendCoinbaseStats(dst []byte, p *pair, now time.Time) []byte {
	c := p.lastDay(now.Unix())
	month := int64(math.Min(30*float64(c.volume), math.MaxInt64/4))
	return fmt.Appendf(dst, `%q:{"stats_30day":{"volume":%q},"stats_24hour":{"open":%q,"high":%q,"low":%q,"last":%q,"volume":%q}}`,
		p.Symbol, p.size(month), p.price(c.o), p.price(c.h), p.price(c.l), p.price(c.c), p.size(c.volume))
}

// coinbaseFailure: nothing says how long to wait.
func coinbaseFailure(kind fault, _ *verdict, _ time.Time) answer {
	switch kind {
	case fault500:
		return answer{status: http.StatusInternalServerError, body: `{"message":"Internal server error"}`}
	case faultEnvelope:
		return answer{status: http.StatusOK, body: `{"message":"The exchange is under maintenance"}`}
	case faultBan:
		return pages[fault403]
	}
	return answer{status: http.StatusTooManyRequests, body: `{"message":"Public rate limit exceeded"}`}
}

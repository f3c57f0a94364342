package simulated

// The dialect of Bitfinex. No response is recorded; it follows the documentation and what
// ccxt 4.5.84 reads. Unconfirmed: its limits but that of candles, whether its minutes
// roll, and where weeks open.

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

func init() {
	limit := func(name string) counter {
		return counter{name: name, limit: 30, period: time.Minute, window: rolling, stop: true, pause: time.Minute}
	}
	register(&dialect{
		venue: "bitfinex",
		id: func(p *Pair) string {
			if p.Kind == Leveraged {
				return ""
			}
			if len(p.Base) == 3 && len(p.Quote) == 3 {
				return "t" + p.Base + p.Quote
			}
			return "t" + p.Base + ":" + p.Quote
		},
		quote:       "USD",
		contentType: "application/json",
		counters:    []counter{bitfinexCandles: limit("candles"), bitfinexConf: limit("conf"), bitfinexTickers: limit("tickers"), bitfinexStatus: limit("status")},
		parse:       parseBitfinex,
		failure:     bitfinexFailure,
	})
}

// Indices of counters.
const (
	bitfinexCandles = iota
	bitfinexConf
	bitfinexTickers
	bitfinexStatus
)

var bitfinexFrames = []interval{
	every("1m", minute), every("5m", 5*minute), every("15m", 15*minute), every("30m", 30*minute),
	every("1h", hour), every("3h", 3*hour), every("6h", 6*hour), every("12h", 12*hour),
	every("1D", day), every("7D", week), every("14D", 2*week), monthly("1M", 1),
}

// Without sort=1 the newest candle is first.
var (
	bitfinexOldest = &form{head: binanceKlines.head, row: appendBitfinex, tail: binanceKlines.tail, quiet: quietAbsent}
	bitfinexNewest = &form{head: binanceKlines.head, row: appendBitfinex, tail: binanceKlines.tail, quiet: quietAbsent, descending: true}
)

// appendBitfinex appends [open time, open, close, high, low, base volume].
func appendBitfinex(dst []byte, k *klinesQuery, c *candle, _ bool) []byte {
	p := k.pair
	dst = appendMs(append(dst, '['), c.open)
	for _, v := range [...]int64{c.o, c.c, c.h, c.l} {
		dst = appendTrimmed(append(dst, ','), v, p.TickDecimals)
	}
	return append(appendTrimmed(append(dst, ','), c.volume, p.LotDecimals), ']')
}

func parseBitfinex(s *Server, r *http.Request, now time.Time) (q request) {
	fail := func(code int, msg string) {
		q.reply(http.StatusInternalServerError, fmt.Appendf(nil, `["error",%d,%q]`, code, msg))
	}
	q.endpoint = "other"
	path, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	if !ok || r.Method != http.MethodGet {
		q.reply(http.StatusNotFound, []byte(`{"error":"Not Found"}`))
		return q
	}
	params := r.URL.Query()
	key, isCandles := strings.CutPrefix(path, "candles/trade:")
	switch {
	case isCandles:
		q.endpoint = "candles"
		q.charge(bitfinexCandles, 1)
		key, hist := strings.CutSuffix(key, "/hist")
		frame, symbol, _ := strings.Cut(key, ":")
		sort, ok1 := whole(params, "sort", -1)
		start, ok2 := whole(params, "start", -1)
		end, ok3 := whole(params, "end", latestTime)
		limit, ok4 := whole(params, "limit", 100)
		k := klinesQuery{form: bitfinexOldest, pair: s.market.byName[symbol], start: start, hasStart: start >= 0, end: end}
		var known bool
		k.iv, known = intervalNamed(bitfinexFrames, frame)
		switch {
		case !hist:
			fail(10020, "section: invalid")
		case k.pair == nil:
			fail(10020, "symbol: invalid")
		case !known:
			fail(10020, "time_frame: invalid")
		case !ok1 || !ok2 || !ok3:
			fail(10020, "start: invalid")
		case !ok4 || limit < 1 || limit > 10_000:
			fail(10020, "limit: invalid")
		default:
			if sort != 1 {
				k.form, k.newest = bitfinexNewest, true
			}
			k.limit = int(limit)
			q.klines = &k
		}
	case strings.HasPrefix(path, "conf/"):
		q.endpoint = "conf"
		q.charge(bitfinexConf, 1)
		q.write = func(o *out, _ time.Time) {
			for i, label := range strings.Split(path[len("conf/"):], ",") {
				o.buf = append(o.buf, "[,"[min(i, 1)], '[')
				switch label {
				case "pub:info:pair":
					o.list(s.market, trading(now), func(dst []byte, p *pair) []byte {
						return fmt.Appendf(dst, `[%q,[null,null,null,%q,"5000.0",null,null,null,null,null,null,null]]`, p.Symbol[1:], p.size(1))
					})
				case "pub:list:pair:securities":
					o.buf = append(o.buf, `"ALT2612:USD"`...)
				}
				o.buf = append(o.buf, ']')
			}
			o.buf = append(o.buf, ']')
		}
	case path == "tickers":
		q.endpoint = path
		q.charge(bitfinexTickers, 1)
		if params.Get("symbols") != "ALL" {
			fail(10020, "symbols: invalid")
			break
		}
		q.write = func(o *out, now time.Time) {
			o.buf = append(o.buf, `[["fUSD",0.0003,0.00029,120,9001.5,0.00031,2,1200.25,0.00001,0.05,0.0003,150000.5,0.0004,0.0002,null,null,1000.5],`...)
			o.list(s.market, trading(now), func(dst []byte, p *pair) []byte {
				c := p.lastDay(now.Unix())
				change, relative := float64(c.c-c.o)*p.tick, float64(c.c-c.o)/float64(max(1, c.o))
				return fmt.Appendf(dst, `[%q,%s,%s,%s,%[3]s,%.8[5]f,%.8f,%[2]s,%[7]s,%s,%s]`, p.Symbol, p.price(c.c), p.size(c.volume/1000), p.price(c.c+1),
					change, relative, p.size(c.volume), p.price(c.h), p.price(c.l))
			})
			o.buf = append(o.buf, ']')
		}
	case path == "platform/status":
		q.endpoint = "status"
		q.charge(bitfinexStatus, 1)
		q.reply(http.StatusOK, []byte("[1]"))
	default:
		q.reply(http.StatusNotFound, []byte(`{"error":"Not Found"}`))
	}
	return q
}

// bitfinexFailure: an address is blocked for a minute, which only the documentation says.
func bitfinexFailure(kind fault, _ *verdict, _ time.Time) answer {
	switch kind {
	case fault500:
		return answer{status: http.StatusInternalServerError, body: `["error",10000,"unknown error"]`}
	case faultEnvelope:
		return answer{status: http.StatusOK, body: `["error",20060,"maintenance"]`}
	case faultBan:
		return answer{status: http.StatusTooManyRequests, body: `{"error":"ERR_RATE_LIMIT"}`}
	}
	return answer{status: http.StatusTooManyRequests, body: `["error",11010,"ratelimit: error"]`}
}

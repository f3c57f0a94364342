package simulated

// The dialect of HTX spot. Unconfirmed: whether its window rolls, and the texts of a bad
// period and size.

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

func init() {
	register(&dialect{
		venue:       "htx",
		id:          func(p *Pair) string { return strings.ToLower(p.Base + p.Quote) },
		contentType: "application/json;charset=utf-8",
		counters:    []counter{{name: "requests", limit: 10, period: time.Second, window: rolling}},
		parse:       parseHTX,
		failure:     htxFailure,
		socket: &socket{
			path: "/ws", take: takeHTX, push: pushHTX, gzip: true, ping: 5 * time.Second, idle: 15 * time.Second,
			call: func(dst []byte, now int64) []byte { return fmt.Appendf(dst, `{"ping":%d}`, now) },
		},
	})
}

// Candles of a day and more open at midnight at UTC+8.
var htxPeriods = []interval{
	every("1min", minute), every("5min", 5*minute), every("15min", 15*minute), every("30min", 30*minute), every("60min", hour),
	every("4hour", 4*hour), every("1day", day).shifted(-8 * hour), every("1week", week).shifted(-8 * hour),
	monthly("1mon", 1).shifted(-8 * hour), monthly("1year", 12).shifted(-8 * hour),
}

var htxForm = &form{
	descending: true,
	quiet:      quietFilled,
	head: func(dst []byte, k *klinesQuery, now int64) []byte {
		return fmt.Appendf(dst, `{"ch":"market.%s.kline.%s","status":"ok","ts":%d,"data":[`, k.pair.Symbol, k.iv.name, now)
	},
	row: func(dst []byte, k *klinesQuery, c *candle, _ bool) []byte {
		p := k.pair
		dst = strconv.AppendInt(append(dst, `{"id":`...), c.open, 10)
		dst = appendScientific(append(dst, `,"open":`...), c.value(p, c.o))
		dst = appendScientific(append(dst, `,"close":`...), c.value(p, c.c))
		dst = appendScientific(append(dst, `,"low":`...), c.value(p, c.l))
		dst = appendScientific(append(dst, `,"high":`...), c.value(p, c.h))
		dst = appendScientific(append(dst, `,"amount":`...), c.base(p))
		dst = appendScientific(append(dst, `,"vol":`...), c.quote(p))
		return append(strconv.AppendInt(append(dst, `,"count":`...), c.trades, 10), '}')
	},
	tail: func(dst []byte, _ *klinesQuery, _ summary, _ int64) []byte { return append(dst, `]}`...) },
}

func htxError(code, msg string, now time.Time) []byte {
	return fmt.Appendf(nil, `{"ts":%d,"status":"error","err-code":%q,"err-msg":%q}`, now.UnixMilli(), code, msg)
}

func parseHTX(s *Server, r *http.Request, now time.Time) (q request) {
	q.charge(0, 1)
	fail := func(msg string) { q.reply(http.StatusOK, htxError("invalid-parameter", msg, now)) }
	path := r.URL.Path
	if r.Method != http.MethodGet {
		path = ""
	}
	params := r.URL.Query()
	switch path {
	case "/market/history/kline":
		q.endpoint = "kline"
		k := klinesQuery{form: htxForm, newest: true, end: latestTime, pair: s.market.byName[params.Get("symbol")]}
		size, ok1 := whole(params, "size", 150)
		var ok bool
		k.iv, ok = intervalNamed(htxPeriods, params.Get("period"))
		switch {
		case k.pair == nil:
			fail("invalid symbol")
		case !k.pair.trading(now.Unix()):
			fail("symbol trade not open now")
		case !ok:
			fail("invalid period")
		case !ok1 || size < 1 || size > 2000:
			fail("invalid size, valid range: [1,2000]")
		default:
			k.limit = int(size)
			q.klines = &k
		}
	case "/v1/common/symbols":
		q.endpoint = "symbols"
		q.write = func(o *out, now time.Time) {
			o.buf = append(o.buf, `{"status":"ok","data":[`...)
			o.list(s.market, func(*pair) bool { return true }, func(dst []byte, p *pair) []byte { return appendHTXPair(dst, p, now) })
			o.buf = append(o.buf, `]}`...)
		}
	case "/market/tickers":
		q.endpoint = "tickers"
		q.write = func(o *out, now time.Time) {
			o.buf = append(o.buf, `{"data":[`...)
			o.list(s.market, trading(now), func(dst []byte, p *pair) []byte { return appendHTXTicker(dst, p, now) })
			o.buf = fmt.Appendf(o.buf, `],"status":"ok","ts":%d}`, now.UnixMilli())
		}
	case "/v1/common/timestamp":
		q.endpoint = "timestamp"
		q.write = func(o *out, now time.Time) { o.buf = fmt.Appendf(o.buf, `{"status":"ok","data":%d}`, now.UnixMilli()) }
	default:
		q.endpoint = "other"
		q.reply(http.StatusNotFound, htxError("bad-request", "invalid url", now))
	}
	return q
}

func appendHTXPair(dst []byte, p *pair, now time.Time) []byte {
	state := "online"
	if !p.trading(now.Unix()) {
		state = "offline"
	}
	fund, tags := "", ""
	if p.Kind == Leveraged {
		fund, tags = `"underlying":"btcusdt","mgmt-fee-rate":0.035000000000000000,"charge-time":"23:55:00","rebal-time":"00:00:00","rebal-threshold":-5,`+
			`"init-nav":10.000000000000000000,`, "etp,nav,holdinglimit"
	}
	return fmt.Appendf(dst, `{"base-currency":%q,"quote-currency":%q,"price-precision":%d,"amount-precision":%d,"symbol-partition":"main","symbol":%q,`+
		`"state":%q,"value-precision":8,"min-order-amt":%s,"max-order-amt":800000000,"min-order-value":5,"limit-order-min-order-amt":%[7]s,`+
		`"limit-order-max-order-amt":800000000,"limit-order-max-buy-amt":800000000,"limit-order-max-sell-amt":800000000,"sell-market-min-order-amt":%[7]s,`+
		`"sell-market-max-order-amt":80000000,"buy-market-max-order-value":1000000,%s"api-trading":"enabled","tags":%q}`,
		strings.ToLower(p.Base), strings.ToLower(p.Quote), p.TickDecimals, p.LotDecimals, p.Symbol, state, p.size(1), fund, tags)
}

func appendHTXTicker(dst []byte, p *pair, now time.Time) []byte {
	c := p.lastDay(now.Unix())
	for _, v := range [...]struct {
		name  string
		value float64
	}{
		{`{"symbol":"` + p.Symbol + `","open":`, c.value(p, c.o)}, {`,"high":`, c.value(p, c.h)}, {`,"low":`, c.value(p, c.l)}, {`,"close":`, c.value(p, c.c)},
		{`,"amount":`, c.base(p)}, {`,"vol":`, c.quote(p)}, {`,"count":`, -1}, {`,"bid":`, c.value(p, c.c)}, {`,"bidSize":`, c.base(p) / 1000},
		{`,"ask":`, c.value(p, c.c+1)}, {`,"askSize":`, c.base(p) / 1000},
	} {
		dst = append(dst, v.name...)
		if v.value < 0 {
			dst = strconv.AppendInt(dst, c.trades, 10)
		} else {
			dst = appendScientific(dst, v.value)
		}
	}
	return append(dst, '}')
}

// htxFailure: errors come with HTTP 200, and a limit looks like a bad parameter.
func htxFailure(kind fault, _ *verdict, now time.Time) answer {
	a := answer{status: http.StatusOK, body: string(htxError("gateway-internal-error", "Failed to load data. Try again later.", now))}
	switch kind {
	case fault500:
		a.status = http.StatusInternalServerError
	case faultEnvelope:
	case faultBan:
		return pages[fault403]
	default:
		a.body = string(htxError("invalid-parameter", "request limit", now))
	}
	return a
}

// takeHTX reads {"sub":"market.btcusdt.kline.1min","id":"1"}, {"ping":1629715504949}, and the
// answers to pings.
func takeHTX(s *Server, message []byte) (subs []subscription, answer []byte) {
	var m struct {
		Sub, ID    string
		Ping, Pong *int64
	}
	now := s.options.Now()
	fail := func(msg string) ([]subscription, []byte) {
		return nil, fmt.Appendf(nil, `{"id":%q,"status":"error","err-code":"bad-request","err-msg":%q,"ts":%d}`, m.ID, msg, now.UnixMilli())
	}
	switch err := json.Unmarshal(message, &m); {
	case err != nil:
		return fail("not json, is not json string")
	case m.Ping != nil:
		return nil, fmt.Appendf(nil, `{"pong":%d}`, *m.Ping)
	case m.Pong != nil:
		return nil, nil
	}
	rest, ok := strings.CutPrefix(m.Sub, "market.")
	symbol, wire, _ := strings.Cut(rest, ".kline.")
	iv, known := intervalNamed(htxPeriods, wire)
	switch p := s.market.byName[symbol]; {
	case !ok || !known:
		return fail("invalid topic " + m.Sub)
	case p == nil || s.options.Stream.refuses(p):
		return fail("invalid symbol " + symbol)
	case !p.trading(now.Unix()):
		return fail("symbol:" + symbol + " trade not open now ")
	default:
		return []subscription{{pair: p, iv: iv}}, fmt.Appendf(nil, `{"id":%q,"status":"ok","subbed":%q,"ts":%d}`, m.ID, m.Sub, now.UnixMilli())
	}
}

// pushHTX appends the state of a candle; nothing says whether it is closed.
func pushHTX(dst []byte, sub *subscription, c *candle, _ bool, now int64) []byte {
	k := klinesQuery{pair: sub.pair, iv: sub.iv}
	dst = fmt.Appendf(dst, `{"ch":"market.%s.kline.%s","ts":%d,"tick":`, sub.pair.Symbol, sub.iv.name, now)
	return append(htxForm.row(dst, &k, c, false), '}')
}

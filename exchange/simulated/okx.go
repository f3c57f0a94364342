package simulated

// The dialects of OKX v5: spot and linear perpetual contracts. Unconfirmed: whether its
// windows roll, the rows of quiet minutes, and the alignment of 2D, 3D and 3M. A page of
// history-candles has 100 rows here: older documentation says so, newer says 300.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

func init() {
	okx := dialect{
		venue:       "okx",
		id:          func(p *Pair) string { return p.Base + "-" + p.Quote },
		contentType: "application/json",
		counters: []counter{
			okxCandles:     {name: "candles", limit: 40, period: 2 * time.Second, window: rolling},
			okxHistory:     {name: "history-candles", limit: 20, period: 2 * time.Second, window: rolling},
			okxInstruments: {name: "instruments", limit: 20, period: 2 * time.Second, window: rolling},
			okxTickers:     {name: "tickers", limit: 20, period: 2 * time.Second, window: rolling},
			okxTime:        {name: "time", limit: 10, period: 2 * time.Second, window: rolling},
		},
		parse:   parseOKX,
		failure: okxFailure,
		socket: &socket{
			path: "/ws/v5/business", take: takeOKX, push: pushOKX,
			goodbye: `{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please reconnect.","connId":"a4d3ae55"}`,
			idle:    30 * time.Second, longest: 64 << 10,
		},
	}
	swap := okx
	swap.venue, swap.swap = "okx-swap", true
	swap.id = func(p *Pair) string {
		if !swappable(p, "USDT") {
			return ""
		}
		return p.Base + "-" + p.Quote + "-SWAP"
	}
	register(&okx)
	register(&swap)
}

// Indices of counters.
const (
	okxCandles = iota
	okxHistory
	okxInstruments
	okxTickers
	okxTime
)

// Candles of six hours and more open at midnight at UTC+8, unless they say utc.
var okxBars = []interval{
	every("1s", 1), every("1m", minute), every("3m", 3*minute), every("5m", 5*minute), every("15m", 15*minute), every("30m", 30*minute),
	every("1H", hour), every("2H", 2*hour), every("4H", 4*hour),
	every("6H", 6*hour).shifted(-8 * hour), every("12H", 12*hour).shifted(-8 * hour),
	every("1D", day).shifted(-8 * hour), every("2D", 2*day).shifted(-8 * hour), every("3D", 3*day).shifted(-8 * hour),
	every("1W", week).shifted(-8 * hour), monthly("1M", 1).shifted(-8 * hour), monthly("3M", 3).shifted(-8 * hour),
	every("6Hutc", 6*hour), every("12Hutc", 12*hour), every("1Dutc", day), every("2Dutc", 2*day), every("3Dutc", 3*day),
	every("1Wutc", week), monthly("1Mutc", 1), monthly("3Mutc", 3),
}

var (
	okxRecent = &form{head: okxHead, row: appendOKX, tail: okxTail, descending: true, history: 1440}
	okxOlder  = &form{head: okxHead, row: appendOKX, tail: okxTail, descending: true, closedOnly: true}
)

func okxHead(dst []byte, _ *klinesQuery, _ int64) []byte {
	return append(dst, `{"code":"0","msg":"","data":[`...)
}

func okxTail(dst []byte, _ *klinesQuery, _ summary, _ int64) []byte { return append(dst, `]}`...) }

// appendOKX appends [ts, o, h, l, c, vol, volCcy, volCcyQuote, confirm]. The volumes
// are base, quote, quote for spot and contracts, base, quote for contracts.
func appendOKX(dst []byte, k *klinesQuery, c *candle, forming bool) []byte {
	p := k.pair
	dst = append(appendMs(append(dst, `["`...), c.open), '"')
	for _, v := range [...]int64{c.o, c.h, c.l, c.c} {
		dst = append(appendTrimmed(append(dst, `,"`...), v, p.TickDecimals), '"')
	}
	dst = append(dst, `,"`...)
	if k.swap() {
		dst = appendTrimmed(dst, c.volume, contractDecimals)
		dst = appendTrimmed(append(dst, `","`...), c.volume, p.LotDecimals)
	} else {
		dst = appendTrimmed(dst, c.volume, p.LotDecimals)
		dst = appendTrimmedAmount(append(dst, `","`...), c.quote(p))
	}
	dst = appendTrimmedAmount(append(dst, `","`...), c.quote(p))
	if forming {
		return append(dst, `","0"]`...)
	}
	return append(dst, `","1"]`...)
}

func parseOKX(s *Server, r *http.Request, now time.Time) (q request) {
	fail := func(status int, code, msg string) {
		q.reply(status, fmt.Appendf(nil, `{"code":%q,"data":[],"msg":%q}`, code, msg))
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/api/v5/")
	if !ok || r.Method != http.MethodGet {
		q.endpoint = "other"
		fail(http.StatusNotFound, "404", "Not Found")
		return q
	}
	q.endpoint = name
	params := r.URL.Query()
	instType := "SPOT"
	if s.dialect.swap {
		instType = "SWAP"
	}
	switch name {
	case "market/candles", "market/history-candles":
		k, most := klinesQuery{form: okxRecent, newest: true}, int64(300)
		q.endpoint = strings.TrimPrefix(name, "market/")
		if name == "market/candles" {
			q.charge(okxCandles, 1)
		} else {
			q.charge(okxHistory, 1)
			k.form, most = okxOlder, 100
		}
		id, bar := params.Get("instId"), params.Get("bar")
		if bar == "" {
			bar = "1m"
		}
		before, ok1 := whole(params, "before", -1)
		after, ok2 := whole(params, "after", latestTime)
		limit, ok3 := whole(params, "limit", 100)
		k.iv, ok = intervalNamed(okxBars, bar)
		k.pair = s.market.byName[id]
		switch {
		case id == "":
			fail(http.StatusBadRequest, "50014", "Parameter instId can not be empty")
		case !ok:
			fail(http.StatusBadRequest, "51000", "Parameter bar error")
		case !ok1 || !ok2 || !ok3 || limit < 1:
			fail(http.StatusBadRequest, "51000", "Parameter error")
		case k.pair == nil || !k.pair.trading(now.Unix()):
			fail(http.StatusOK, "51001", "Instrument ID does not exist.")
		default:
			// both ends are exclusive
			k.start, k.hasStart, k.end = before+1, before >= 0, after-1
			k.limit = int(min(limit, most))
			q.klines = &k
		}
	case "public/instruments", "market/tickers":
		q.endpoint = name[strings.IndexByte(name, '/')+1:]
		q.charge(map[string]int{"instruments": okxInstruments, "tickers": okxTickers}[q.endpoint], 1)
		if params.Get("instType") == "" {
			fail(http.StatusBadRequest, "50014", "instType cannot be empty")
			return q
		}
		row := appendOKXSpot
		switch {
		case q.endpoint == "tickers":
			row = func(dst []byte, p *pair) []byte { return appendOKXTicker(dst, p, instType, now) }
		case s.dialect.swap:
			row = appendOKXSwap
		}
		keep := trading(now)
		if params.Get("instType") != instType {
			keep = func(*pair) bool { return false }
		}
		q.write = func(o *out, _ time.Time) {
			o.buf = okxHead(o.buf, nil, 0)
			o.list(s.market, keep, row)
			o.buf = append(o.buf, `]}`...)
		}
	case "public/time":
		q.endpoint = "time"
		q.charge(okxTime, 1)
		q.write = func(o *out, now time.Time) {
			o.buf = fmt.Appendf(o.buf, `{"code":"0","msg":"","data":[{"ts":"%d"}]}`, now.UnixMilli())
		}
	default:
		q.endpoint = "other"
		fail(http.StatusNotFound, "404", "Not Found")
	}
	return q
}

func appendOKXSpot(dst []byte, p *pair) []byte {
	return fmt.Appendf(dst, `{"alias":"","auctionEndTime":"","baseCcy":%q,"category":"1","ctMult":"","ctType":"","ctVal":"","ctValCcy":"","expTime":"",`+
		`"instFamily":"","instId":%q,"instType":"SPOT","lever":"","listTime":"%d","lotSz":%q,"maxIcebergSz":"9999999999.0000000000000000",`+
		`"maxLmtAmt":"20000000","maxLmtSz":"9999999999","maxMktAmt":"1000000","maxMktSz":"1000000","maxStopSz":"1000000",`+
		`"maxTriggerSz":"9999999999.0000000000000000","maxTwapSz":"9999999999.0000000000000000","minSz":%[4]q,"optType":"","quoteCcy":%q,`+
		`"ruleType":"normal","settleCcy":"","state":"live","stk":"","tickSz":%q,"uly":""}`,
		p.Base, p.Symbol, p.Listed.UnixMilli(), p.size(1), p.Quote, p.price(1))
}

func appendOKXSwap(dst []byte, p *pair) []byte {
	family := p.Base + "-" + p.Quote
	return fmt.Appendf(dst, `{"alias":"","auctionEndTime":"","baseCcy":"","category":"1","contTdSwTime":"","ctMult":"1","ctType":"linear","ctVal":%q,"ctValCcy":%q,`+
		`"expTime":"","futureSettlement":false,"instFamily":%q,"instId":%q,"instIdCode":%d,"instType":"SWAP","lever":"100","listTime":"%d","lotSz":"0.01",`+
		`"maxIcebergSz":"100000000.0000000000000000","maxLmtAmt":"20000000","maxLmtSz":"100000000","maxMktAmt":"","maxMktSz":"20000","maxPlatOILmt":"",`+
		`"maxStopSz":"20000","maxTriggerSz":"100000000.0000000000000000","maxTwapSz":"100000000.0000000000000000","minSz":"0.01","openType":"","optType":"",`+
		`"posLmtAmt":"","posLmtPct":"","preMktSwTime":"","quoteCcy":"","ruleType":"normal","settleCcy":%q,"state":"live","stk":"","tickSz":%q,`+
		`"tradeQuoteCcyList":[],"uly":%[3]q}`,
		p.contract(), p.Base, family, p.Symbol, p.path.hash%100_000, p.Listed.UnixMilli(), p.Quote, p.price(1))
}

func appendOKXTicker(dst []byte, p *pair, instType string, now time.Time) []byte {
	c := p.lastDay(now.Unix())
	volume, currency := p.size(c.volume), amount(c.quote(p))
	if instType == "SWAP" {
		volume, currency = string(appendTrimmed(nil, c.volume, contractDecimals)), volume
	}
	return fmt.Appendf(dst, `{"instType":%q,"instId":%q,"last":%q,"lastSz":%q,"askPx":%q,"askSz":%q,"bidPx":%[3]q,"bidSz":%[6]q,"open24h":%q,`+
		`"high24h":%q,"low24h":%q,"volCcy24h":%q,"vol24h":%q,"ts":"%d","sodUtc0":%[7]q,"sodUtc8":%[7]q}`,
		instType, p.Symbol, p.price(c.c), p.size(c.volume/max(1, c.trades)), p.price(c.c+1), p.size(c.volume/1000), p.price(c.o),
		p.price(c.h), p.price(c.l), currency, volume, now.UnixMilli())
}

// okxFailure: nothing says how long to wait, and the firewall bans.
func okxFailure(kind fault, _ *verdict, _ time.Time) answer {
	switch kind {
	case fault500:
		return answer{status: http.StatusInternalServerError, body: `{"code":"50026","msg":"System error. Try again later.","data":[]}`}
	case faultEnvelope:
		return answer{status: http.StatusOK, body: `{"code":"50013","msg":"Systems are busy. Please try again later.","data":[]}`}
	case faultBan:
		return pages[fault403]
	}
	return answer{status: http.StatusTooManyRequests, body: `{"msg":"Too Many Requests","code":"50011"}`}
}

// takeOKX reads {"id":"1","op":"subscribe","args":[{"channel":"candle1m","instId":"BTC-USDT"}]}
// and the text ping. Each argument is answered; whether a message with one that does not
// exist is refused as a whole is unconfirmed: here only that argument is.
func takeOKX(s *Server, message []byte) (subs []subscription, answer []byte) {
	if string(message) == "ping" {
		return nil, []byte("pong")
	}
	var m struct {
		ID, Op string
		Args   []struct{ Channel, InstID string }
	}
	if json.Unmarshal(message, &m) != nil || m.Op != "subscribe" || len(m.Args) == 0 {
		quoted, _ := json.Marshal("Invalid request: " + string(message)) // strings are always valid
		return nil, fmt.Appendf(nil, `{"id":%q,"event":"error","code":"60012","msg":%s,"connId":"a4d3ae55"}`, m.ID, bytes.ReplaceAll(quoted, []byte("\n"), nil))
	}
	for _, a := range m.Args {
		bar, named := strings.CutPrefix(a.Channel, "candle")
		iv, ok := intervalNamed(okxBars, bar)
		p := s.market.byName[a.InstID]
		if !named || !ok || p == nil || a.InstID == s.options.Stream.Refuse {
			answer = fmt.Appendf(answer, `{"id":%q,"event":"error","code":"60018","msg":"Wrong URL or channel:%s,instId:%s doesn't exist. `+
				`Please use the correct URL, channel and parameters referring to API document.","connId":"a4d3ae55"}`+"\n", m.ID, a.Channel, a.InstID)
			continue
		}
		subs = append(subs, subscription{pair: p, iv: iv})
		answer = fmt.Appendf(answer, `{"id":%q,"event":"subscribe","arg":{"channel":%q,"instId":%q},"connId":"a4d3ae55"}`+"\n", m.ID, a.Channel, a.InstID)
	}
	return subs, answer
}

// pushOKX appends the state of a candle: the row of candles in an envelope.
func pushOKX(dst []byte, sub *subscription, c *candle, closed bool, _ int64) []byte {
	dst = append(append(dst, `{"arg":{"channel":"candle`...), sub.iv.name...)
	dst = appendString(append(dst, `","instId":`...), sub.pair.Symbol)
	dst = append(dst, `},"data":[`...)
	dst = appendOKX(dst, &klinesQuery{pair: sub.pair, iv: sub.iv}, c, !closed)
	return append(dst, `]}`...)
}

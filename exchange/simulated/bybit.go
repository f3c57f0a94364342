package simulated

// The dialects of Bybit v5: spot, linear and inverse perpetual contracts. Unconfirmed:
// whether its window rolls, that the newest rows win of a range with both ends, the rows of quiet minutes, and that a
// limit above 1000 is cut down. The headers X-Bapi-Limit are left out: they are of a
// user's requests to one endpoint. There are no contracts in PreLaunch.

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

func init() {
	for _, category := range []string{"spot", "linear", "inverse"} {
		d := &dialect{
			venue:       "bybit-" + category,
			id:          func(p *Pair) string { return p.Base + p.Quote },
			contentType: "application/json; charset=utf-8",
			counters:    []counter{{name: "requests", limit: 600, period: 5 * time.Second, window: rolling, stop: true, pause: bybitPause}},
			ban:         bybitPause, longestBan: bybitPause,
			parse: func(s *Server, r *http.Request, now time.Time) request {
				return parseBybit(s, r, category, now)
			},
			failure: bybitFailure,
			socket: &socket{
				path: "/v5/public/" + category, push: func(dst []byte, sub *subscription, c *candle, closed bool, now int64) []byte {
					return pushBybit(dst, sub, category, c, closed, now)
				},
				take: func(s *Server, message []byte) ([]subscription, []byte) { return takeBybit(s, message, category) },
				idle: time.Minute, longest: 21_000,
			},
		}
		switch category {
		case "spot":
			d.venue = "bybit"
		case "linear":
			d.swap = true
			d.id = func(p *Pair) string {
				if !swappable(p, "USDT") {
					return ""
				}
				return p.Base + p.Quote
			}
		case "inverse":
			d.swap, d.quote = true, "USD"
			d.id = func(p *Pair) string {
				if !swappable(p, "USD") {
					return ""
				}
				return p.Base + p.Quote
			}
		}
		register(d)
	}
}

// bybitPause is how long an address must stop that was above the limit.
const bybitPause = 10 * time.Minute

var bybitIntervals = []interval{
	every("1", minute), every("3", 3*minute), every("5", 5*minute), every("15", 15*minute), every("30", 30*minute),
	every("60", hour), every("120", 2*hour), every("240", 4*hour), every("360", 6*hour), every("720", 12*hour),
	every("D", day), every("W", week), monthly("M", 1),
}

var bybitForms = map[string]*form{"spot": bybitForm("spot"), "linear": bybitForm("linear"), "inverse": bybitForm("inverse")}

func bybitForm(category string) *form {
	head := `{"retCode":0,"retMsg":"OK","result":{"category":"` + category + `","symbol":"`
	return &form{
		descending: true,
		contains:   true,
		head: func(dst []byte, k *klinesQuery, _ int64) []byte {
			return append(append(append(dst, head...), k.pair.Symbol...), `","list":[`...)
		},
		row: func(dst []byte, k *klinesQuery, c *candle, _ bool) []byte {
			p := k.pair
			dst = append(appendMs(append(dst, `["`...), c.open), '"')
			for _, v := range [...]int64{c.o, c.h, c.l, c.c} {
				dst = append(appendTrimmed(append(dst, `,"`...), v, p.TickDecimals), '"')
			}
			dst = appendBybitVolumes(append(dst, `,"`...), p, category, c, `","`)
			return append(dst, `"]`...)
		},
		tail: func(dst []byte, _ *klinesQuery, _ summary, now int64) []byte {
			return appendBybitEnd(append(dst, ']'), now)
		},
	}
}

// appendBybitVolumes appends the volume and the turnover. Those of inverse contracts are
// in dollars, and in the coin.
func appendBybitVolumes(dst []byte, p *pair, category string, c *candle, between string) []byte {
	if category == "inverse" {
		dst = append(strconv.AppendInt(dst, int64(c.quote(p)), 10), between...)
		return appendTrimmedAmount(dst, c.base(p))
	}
	dst = append(appendTrimmed(dst, c.volume, p.LotDecimals), between...)
	return appendTrimmedAmount(dst, c.quote(p))
}

// appendBybitEnd closes the result.
func appendBybitEnd(dst []byte, now int64) []byte {
	dst = strconv.AppendInt(append(dst, `},"retExtInfo":{},"time":`...), now, 10)
	return append(dst, '}')
}

func appendBybitError(dst []byte, code int, msg string, now int64) []byte {
	return appendBybitEnd(fmt.Appendf(dst, `{"retCode":%d,"retMsg":%q,"result":{`, code, msg), now)
}

func parseBybit(s *Server, r *http.Request, category string, now time.Time) (q request) {
	q.charge(0, 1)
	params := r.URL.Query()
	fail := func(code int, msg string) {
		q.reply(http.StatusOK, appendBybitError(nil, code, msg, now.UnixMilli()))
	}
	begin := `{"retCode":0,"retMsg":"OK","result":{`
	name, ok := strings.CutPrefix(r.URL.Path, "/v5/market/")
	q.endpoint = name
	switch asked := params.Get("category"); {
	case !ok || r.Method != http.MethodGet:
		name = ""
	case name == "time":
	case asked != category:
		fail(10001, "params error: Category is invalid")
		return q
	}
	switch name {
	case "kline":
		k := klinesQuery{form: bybitForms[category], newest: true, pair: s.market.byName[params.Get("symbol")]}
		start, ok1 := whole(params, "start", -1)
		end, ok2 := whole(params, "end", latestTime)
		limit, ok3 := whole(params, "limit", 200)
		k.iv, ok = intervalNamed(bybitIntervals, params.Get("interval"))
		switch {
		case k.pair == nil || !k.pair.trading(now.Unix()):
			fail(10001, "Not supported symbols")
		case !ok:
			fail(10001, "Invalid period!")
		case !ok1 || !ok2 || !ok3 || limit < 1:
			fail(10001, "Request parameter error.")
		default:
			k.start, k.hasStart, k.end, k.limit = start, start >= 0, end, int(min(limit, 1000))
			k.newest = !k.hasStart || params.Has("end") // ccxt turns pages by the start alone
			q.klines = &k
		}
	case "instruments-info":
		size, cursor := int64(len(s.market.pairs)), int64(0) // spot is one page
		if category != "spot" {
			var ok1, ok2 bool
			size, ok1 = whole(params, "limit", 500)
			cursor, ok2 = whole(params, "cursor", 0)
			if !ok1 || !ok2 || size < 1 || cursor < 0 {
				fail(10001, "Request parameter error.")
				return q
			}
			size = min(size, 1000)
		}
		status := params.Get("status")
		listed := status == "" || status == "Trading"
		q.write = func(o *out, now time.Time) {
			from, n := cursor, int64(0)
			next := ""
			for _, p := range s.market.pairs {
				if p.trading(now.Unix()) {
					n++
				}
			}
			if from+size < n {
				next = strconv.FormatInt(from+size, 10)
			}
			if !listed {
				next = ""
			}
			o.buf = fmt.Appendf(o.buf, `%s"category":%q,"nextPageCursor":%q,"list":[`, begin, category, next)
			n = -1
			keep := func(p *pair) bool {
				if !listed || !p.trading(now.Unix()) {
					return false
				}
				n++
				return n >= from && n < from+size
			}
			o.list(s.market, keep, func(dst []byte, p *pair) []byte { return appendBybitPair(dst, p, category) })
			o.buf = appendBybitEnd(append(o.buf, ']'), now.UnixMilli())
		}
	case "tickers":
		q.write = func(o *out, now time.Time) {
			o.buf = fmt.Appendf(o.buf, `%s"category":%q,"list":[`, begin, category)
			o.list(s.market, trading(now), func(dst []byte, p *pair) []byte { return appendBybitTicker(dst, p, category, now) })
			o.buf = appendBybitEnd(append(o.buf, ']'), now.UnixMilli())
		}
	case "time":
		q.write = func(o *out, now time.Time) {
			o.buf = fmt.Appendf(o.buf, `%s"timeSecond":"%d","timeNano":"%d"`, begin, now.Unix(), now.UnixNano())
			o.buf = appendBybitEnd(o.buf, now.UnixMilli())
		}
	default:
		q.endpoint = "other"
		q.reply(http.StatusNotFound, nil)
	}
	return q
}

func appendBybitPair(dst []byte, p *pair, category string) []byte {
	if category == "spot" {
		return fmt.Appendf(dst, `{"symbol":%q,"baseCoin":%q,"quoteCoin":%q,"innovation":"0","status":"Trading","marginTrading":"utaOnly",`+
			`"lotSizeFilter":{"basePrecision":%q,"quotePrecision":"0.00000001","minOrderQty":%[4]q,"maxOrderQty":"9000000","minOrderAmt":"1","maxOrderAmt":"1000000"},`+
			`"priceFilter":{"tickSize":%q}}`, p.Symbol, p.Base, p.Quote, p.size(1), p.price(1))
	}
	contract, settle, step := "LinearPerpetual", p.Quote, p.size(1)
	if category == "inverse" {
		contract, settle, step = "InversePerpetual", p.Base, "1"
	}
	return fmt.Appendf(dst, `{"symbol":%q,"contractType":%q,"status":"Trading","baseCoin":%q,"quoteCoin":%q,"launchTime":"%d","deliveryTime":"0",`+
		`"deliveryFeeRate":"0.0005","priceScale":"%d","leverageFilter":{"minLeverage":"1","maxLeverage":"100.00","leverageStep":"0.01"},`+
		`"priceFilter":{"minPrice":%q,"maxPrice":%q,"tickSize":%[7]q},"lotSizeFilter":{"maxOrderQty":"9000000","minOrderQty":%[9]q,"qtyStep":%[9]q,`+
		`"postOnlyMaxOrderQty":"9000000","maxMktOrderQty":"500000","minNotionalValue":"5"},"unifiedMarginTrade":true,"fundingInterval":480,"settleCoin":%q}`,
		p.Symbol, contract, p.Base, p.Quote, p.Listed.UnixMilli(), p.TickDecimals, p.price(1), p.price(1_999_998*pow10[min(p.TickDecimals, 4)]), step, settle)
}

func appendBybitTicker(dst []byte, p *pair, category string, now time.Time) []byte {
	c := p.lastDay(now.Unix())
	change := 0.0
	if c.o > 0 {
		change = float64(c.c-c.o) / float64(c.o)
	}
	if category == "spot" {
		return fmt.Appendf(dst, `{"symbol":%q,"bid1Price":%q,"bid1Size":%q,"ask1Price":%q,"ask1Size":%q,"lastPrice":%[2]q,"prevPrice24h":%[6]q,`+
			`"price24hPcnt":"%.4f","highPrice24h":%q,"lowPrice24h":%q,"turnover24h":%q,"volume24h":%q,"usdIndexPrice":%[2]q}`,
			p.Symbol, p.price(c.c), p.size(c.volume/1000), p.price(c.c+1), p.size(c.volume/1200), p.price(c.o),
			change, p.price(c.h), p.price(c.l), amount(c.quote(p)), p.size(c.volume))
	}
	volume, turnover := p.size(c.volume), amount(c.quote(p))
	if category == "inverse" {
		volume, turnover = strconv.FormatInt(int64(c.quote(p)), 10), amount(c.base(p))
	}
	return fmt.Appendf(dst, `{"symbol":%q,"lastPrice":%q,"indexPrice":%[2]q,"markPrice":%[2]q,"prevPrice24h":%q,"price24hPcnt":"%.6f","highPrice24h":%q,`+
		`"lowPrice24h":%q,"prevPrice1h":%[2]q,"openInterest":%[7]q,"openInterestValue":%[8]q,"turnover24h":%[8]q,"volume24h":%[7]q,"fundingRate":"0.0001",`+
		`"nextFundingTime":"%[9]d","predictedDeliveryPrice":"","basisRate":"","deliveryFeeRate":"","deliveryTime":"0","ask1Size":"1","bid1Price":%[2]q,`+
		`"ask1Price":%[10]q,"bid1Size":"1"}`,
		p.Symbol, p.price(c.c), p.price(c.o), change, p.price(c.h), p.price(c.l), volume, turnover,
		now.Truncate(8*time.Hour).Add(8*time.Hour).UnixMilli(), p.price(c.c+1))
}

func bybitFailure(kind fault, v *verdict, now time.Time) answer {
	code, msg, status := 10006, "Too many visits. Exceeded the API Rate Limit.", http.StatusOK
	a := answer{}
	switch {
	case kind == fault500:
		code, msg, status = 10016, "Internal System Error.", http.StatusInternalServerError
	case kind == faultEnvelope:
		code, msg = 10016, "Internal System Error."
	case kind == faultBan, v.over >= 0:
		// documented to last ten minutes
		return answer{status: http.StatusForbidden, contentType: "text/plain", body: "access too frequent", announced: true}
	default:
		a.announced = true
		a.header = http.Header{
			"X-Bapi-Limit-Status":          {"0"},
			"X-Bapi-Limit-Reset-Timestamp": {strconv.FormatInt(now.Add(v.pause).UnixMilli(), 10)},
		}
	}
	a.status, a.body = status, string(appendBybitError(nil, code, msg, now.UnixMilli()))
	return a
}

// takeBybit reads {"op":"subscribe","args":["kline.1.BTCUSDT"],"req_id":"1"} and
// {"op":"ping"}. One topic that does not exist refuses the whole message; spot words that
// differently, and takes at most ten topics.
func takeBybit(s *Server, message []byte, category string) (subs []subscription, answer []byte) {
	var m struct {
		Op    string
		ReqID string `json:"req_id"`
		Args  []string
	}
	reply := func(success bool, msg string) []byte {
		return fmt.Appendf(nil, `{"success":%t,"ret_msg":%q,"conn_id":"cejreaspqfm9se7usbrg-2xh","req_id":%q,"op":%q}`, success, msg, m.ReqID, m.Op)
	}
	switch err := json.Unmarshal(message, &m); {
	case err != nil:
		return nil, reply(false, "Failed to decode incoming data")
	case m.Op == "ping":
		return nil, reply(true, "pong")
	case m.Op != "subscribe":
		return nil, reply(false, "error:invalid op")
	case category == "spot" && len(m.Args) > 10:
		return nil, reply(false, "args size >10")
	}
	for _, topic := range m.Args {
		wire, named := strings.CutPrefix(topic, "kline.")
		wire, symbol, _ := strings.Cut(wire, ".")
		iv, ok := intervalNamed(bybitIntervals, wire)
		p := s.market.byName[symbol]
		switch {
		case named && ok && p != nil && symbol != s.options.Stream.Refuse:
			subs = append(subs, subscription{pair: p, iv: iv})
		case category == "spot":
			return nil, reply(false, "Invalid symbol :["+topic+"]")
		default:
			return nil, reply(false, "error:handler not found,topic:"+topic)
		}
	}
	return subs, reply(true, "")
}

// pushBybit appends the state of a candle.
func pushBybit(dst []byte, sub *subscription, category string, c *candle, closed bool, now int64) []byte {
	p := sub.pair
	dst = append(append(append(append(dst, `{"topic":"kline.`...), sub.iv.name...), '.'), p.Symbol...)
	dst = appendMs(append(dst, `","data":[{"start":`...), c.open)
	dst = strconv.AppendInt(append(dst, `,"end":`...), sub.iv.next(c.open)*1000-1, 10)
	dst = appendString(append(dst, `,"interval":`...), sub.iv.name)
	for i, v := range [...]int64{c.o, c.c, c.h, c.l} {
		dst = append(append(append(dst, `,"`...), [...]string{"open", "close", "high", "low"}[i]...), `":"`...)
		dst = append(appendTrimmed(dst, v, p.TickDecimals), '"')
	}
	dst = appendBybitVolumes(append(dst, `,"volume":"`...), p, category, c, `","turnover":"`)
	dst = strconv.AppendBool(append(dst, `","confirm":`...), closed)
	dst = strconv.AppendInt(append(dst, `,"timestamp":`...), now, 10)
	dst = strconv.AppendInt(append(dst, `}],"ts":`...), now, 10)
	return append(dst, `,"type":"snapshot"}`...)
}

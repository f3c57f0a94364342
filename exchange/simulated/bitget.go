package simulated

// The dialects of Bitget v2: spot and USDT contracts. Unconfirmed: whether its windows
// roll, what a start before the reach of candles gets, and the rows of quiet minutes.

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
		venue:       "bitget",
		id:          func(p *Pair) string { return p.Base + p.Quote },
		contentType: "application/json",
		parse:       parseBitget,
		failure:     bitgetFailure,
		socket: &socket{
			path: "/v2/ws/public", take: takeBitget, joined: joinBitget, push: pushBitget,
			ping: unlimited, lifetime: 24 * time.Hour, // the client pings
		},
	}
	for _, name := range []string{"candles", "history-candles", "symbols", "tickers", "time"} {
		spot.counters = append(spot.counters, counter{name: name, limit: 20, period: time.Second, window: rolling})
	}
	futures := spot
	futures.venue, futures.swap, futures.socket = "bitget-futures", true, nil
	futures.id = func(p *Pair) string {
		if !swappable(p, "USDT") {
			return ""
		}
		return p.Base + p.Quote
	}
	register(&spot)
	register(&futures)
}

// Indices of counters.
const (
	bitgetCandles = iota
	bitgetHistory
	bitgetSymbols
	bitgetTickers
	bitgetTime
)

// Candles of six hours and more open at midnight at UTC+8, unless they say utc.
var (
	bitgetSpotIntervals    = bitgetIntervals("min", "h", "1day", "3day", "1week")
	bitgetFuturesIntervals = bitgetIntervals("m", "H", "1D", "3D", "1W")
)

func bitgetIntervals(m, h, oneDay, threeDays, oneWeek string) []interval {
	return []interval{
		every("1"+m, minute), every("3"+m, 3*minute), every("5"+m, 5*minute), every("15"+m, 15*minute), every("30"+m, 30*minute),
		every("1"+h, hour), every("4"+h, 4*hour), every("6"+h, 6*hour).shifted(-8 * hour), every("12"+h, 12*hour).shifted(-8 * hour),
		every(oneDay, day).shifted(-8 * hour), every(threeDays, 3*day).shifted(-8 * hour), every(oneWeek, week).shifted(-8 * hour),
		monthly("1M", 1).shifted(-8 * hour),
		every("6Hutc", 6*hour), every("12Hutc", 12*hour), every("1Dutc", day), every("3Dutc", 3*day), every("1Wutc", week), monthly("1Mutc", 1),
	}
}

// bitgetReach returns how far back candles go; history-candles has everything.
func bitgetReach(iv interval) int64 {
	switch {
	case iv.seconds == 0 || iv.seconds >= day:
		return 1440 * max(day, iv.seconds)
	case iv.seconds < hour:
		return 30 * day
	}
	return 60 * day * (iv.seconds / hour)
}

var bitgetForm = &form{head: bitgetHead, row: appendBitget, tail: bitgetTail}

func bitgetHead(dst []byte, _ *klinesQuery, now int64) []byte {
	return append(strconv.AppendInt(append(dst, `{"code":"00000","msg":"success","requestTime":`...), now, 10), `,"data":[`...)
}

func bitgetTail(dst []byte, _ *klinesQuery, _ summary, _ int64) []byte { return append(dst, `]}`...) }

// appendBitget appends [ts, o, h, l, c, base volume, quote volume], of spot with the
// volume in USDT before the last.
func appendBitget(dst []byte, k *klinesQuery, c *candle, _ bool) []byte {
	p := k.pair
	dst = append(appendMs(append(dst, `["`...), c.open), '"')
	for _, v := range [...]int64{c.o, c.h, c.l, c.c} {
		dst = append(appendTrimmed(append(dst, `,"`...), v, p.TickDecimals), '"')
	}
	dst = appendTrimmed(append(dst, `,"`...), c.volume, p.LotDecimals)
	dst = appendTrimmedAmount(append(dst, `","`...), c.quote(p))
	if !k.swap() {
		dst = appendTrimmedAmount(append(dst, `","`...), c.quote(p))
	}
	return append(dst, `"]`...)
}

func bitgetError(code, msg string, now time.Time) []byte {
	return fmt.Appendf(nil, `{"code":%q,"msg":%q,"requestTime":%d,"data":null}`, code, msg, now.UnixMilli())
}

// bitgetProducts are the types of contracts, all pairs are of the first. Those with an S
// are for practice.
var bitgetProducts = []string{"USDT-FUTURES", "COIN-FUTURES", "USDC-FUTURES", "SUSDT-FUTURES", "SCOIN-FUTURES", "SUSDC-FUTURES"}

func parseBitget(s *Server, r *http.Request, now time.Time) (q request) {
	fail := func(code, msg string) { q.reply(http.StatusBadRequest, bitgetError(code, msg, now)) }
	q.endpoint = "other"
	params := r.URL.Query()
	path := "/api/v2/spot/market/"
	symbols, intervals, row, ticker := "/api/v2/spot/public/symbols", bitgetSpotIntervals, appendBitgetPair, appendBitgetTicker
	if s.dialect.swap {
		path = "/api/v2/mix/market/"
		symbols, intervals, row, ticker = path+"contracts", bitgetFuturesIntervals, appendBitgetContract, appendBitgetFuturesTicker
	}
	list := func(endpoint string, counter int, keep func(*pair) bool, row func(dst []byte, p *pair, now time.Time) []byte) {
		q.endpoint = endpoint
		q.charge(counter, 1)
		q.write = func(o *out, now time.Time) {
			o.buf = bitgetHead(o.buf, nil, now.UnixMilli())
			o.list(s.market, keep, func(dst []byte, p *pair) []byte { return row(dst, p, now) })
			o.buf = append(o.buf, `]}`...)
		}
	}
	product := strings.ToUpper(params.Get("productType"))
	listed := trading(now)
	if s.dialect.swap && product != bitgetProducts[0] {
		listed = func(*pair) bool { return false }
	}
	switch {
	case r.Method != http.MethodGet:
		q.reply(http.StatusNotFound, nil)
	case r.URL.Path == "/api/v2/public/time":
		q.endpoint = "time"
		q.charge(bitgetTime, 1)
		q.write = func(o *out, now time.Time) {
			o.buf = fmt.Appendf(o.buf, `{"code":"00000","msg":"success","requestTime":%d,"data":{"serverTime":"%[1]d"}}`, now.UnixMilli())
		}
	case s.dialect.swap && strings.HasPrefix(r.URL.Path, path) && !slices.Contains(bitgetProducts, product):
		fail("40017", "Parameter verification failed productType")
	case r.URL.Path == symbols && s.dialect.swap:
		list("symbols", bitgetSymbols, listed, row)
	case r.URL.Path == symbols:
		list("symbols", bitgetSymbols, func(*pair) bool { return true }, row)
	case r.URL.Path == path+"tickers":
		list("tickers", bitgetTickers, listed, ticker)
	case r.URL.Path == path+"candles", r.URL.Path == path+"history-candles":
		q.endpoint = strings.TrimPrefix(r.URL.Path, path)
		history := q.endpoint == "history-candles"
		most, counter := int64(1_000), bitgetCandles
		if history {
			most, counter = 200, bitgetHistory
		}
		q.charge(counter, 1)
		k := klinesQuery{form: bitgetForm, newest: true, pair: s.market.byName[params.Get("symbol")]}
		var ok bool
		k.iv, ok = intervalNamed(intervals, params.Get("granularity"))
		start, ok1 := whole(params, "startTime", -1)
		end, ok2 := whole(params, "endTime", latestTime)
		limit, ok3 := whole(params, "limit", 100)
		if history && !s.dialect.swap {
			start = -1 // no parameter of this endpoint
		}
		switch {
		case params.Get("symbol") == "":
			fail("40019", "Parameter symbol cannot be empty")
		case k.pair == nil, s.dialect.swap && product != bitgetProducts[0]:
			fail("40034", "Parameter "+params.Get("symbol")+" does not exist")
		case !k.pair.trading(now.Unix()):
			fail("40309", "The contract has been removed")
		case !ok:
			fail("400171", "Parameter verification failed granularity")
		case history && params.Get("endTime") == "":
			fail("40019", "Parameter endTime cannot be empty")
		case !ok1 || !ok2 || !ok3 || limit < 1 || s.dialect.swap && start >= 0 && end < latestTime && end-start > 90*day*1000:
			fail("40017", "Parameter verification failed startTime || endTime")
		default:
			if !history {
				start = max(start, (now.Unix()-bitgetReach(k.iv))*1000)
			}
			// the end is exclusive, and the newest rows win
			k.start, k.hasStart, k.end, k.limit = start, start >= 0, end-1, int(min(limit, most))
			q.klines = &k
		}
	default:
		q.reply(http.StatusNotFound, bitgetError("40404", "Request URL NOT FOUND", now))
	}
	return q
}

func appendBitgetPair(dst []byte, p *pair, now time.Time) []byte {
	status := "online"
	if !p.trading(now.Unix()) {
		status = "offline"
	}
	return fmt.Appendf(dst, `{"symbol":%q,"baseCoin":%q,"quoteCoin":%q,"minTradeAmount":"0","maxTradeAmount":"10000000000","takerFeeRate":"0.002",`+
		`"makerFeeRate":"0.002","pricePrecision":"%d","quantityPrecision":"%d","quotePrecision":"8","status":%q,"minTradeUSDT":"5",`+
		`"buyLimitPriceRatio":"0.05","sellLimitPriceRatio":"0.05","areaSymbol":"no"}`,
		p.Symbol, p.Base, p.Quote, p.TickDecimals, p.LotDecimals, status)
}

func appendBitgetContract(dst []byte, p *pair, _ time.Time) []byte {
	return fmt.Appendf(dst, `{"symbol":%q,"baseCoin":%q,"quoteCoin":%q,"buyLimitPriceRatio":"0.01","sellLimitPriceRatio":"0.01","feeRateUpRatio":"0.005",`+
		`"makerFeeRate":"0.0002","takerFeeRate":"0.0006","openCostUpRatio":"0.01","supportMarginCoins":[%[3]q],"minTradeNum":%[4]q,"priceEndStep":"1",`+
		`"volumePlace":"%[5]d","pricePlace":"%[6]d","sizeMultiplier":%[4]q,"symbolType":"perpetual","minTradeUSDT":"5","maxSymbolOrderNum":"200",`+
		`"maxProductOrderNum":"400","maxPositionNum":"150","symbolStatus":"normal","offTime":"-1","limitOpenTime":"-1","deliveryTime":"",`+
		`"deliveryStartTime":"","deliveryPeriod":"","launchTime":"","fundInterval":"8","minLever":"1","maxLever":"125","posLimit":"0.05",`+
		`"maintainTime":"","isRwa":"NO"}`,
		p.Symbol, p.Base, p.Quote, p.size(1), p.LotDecimals, p.TickDecimals)
}

func appendBitgetTicker(dst []byte, p *pair, now time.Time) []byte {
	c := p.lastDay(now.Unix())
	return fmt.Appendf(dst, `{"open":%q,"symbol":%q,"high24h":%q,"low24h":%q,"lastPr":%q,"quoteVolume":%q,"baseVolume":%q,"usdtVolume":%[6]q,`+
		`"ts":"%[8]d","bidPr":%[5]q,"askPr":%[9]q,"bidSz":%[10]q,"askSz":%[10]q,"openUtc":%[1]q,"changeUtc24h":"%.5[11]f","change24h":"%.5[11]f"}`,
		p.price(c.o), p.Symbol, p.price(c.h), p.price(c.l), p.price(c.c), amount(c.quote(p)), p.size(c.volume),
		now.UnixMilli(), p.price(c.c+1), p.size(c.volume/1000), change(&c))
}

func appendBitgetFuturesTicker(dst []byte, p *pair, now time.Time) []byte {
	c := p.lastDay(now.Unix())
	return fmt.Appendf(dst, `{"symbol":%q,"lastPr":%q,"askPr":%q,"bidPr":%[2]q,"bidSz":%[4]q,"askSz":%[4]q,"high24h":%q,"low24h":%q,"ts":"%d","change24h":"%.5f",`+
		`"baseVolume":%q,"quoteVolume":%q,"usdtVolume":%[10]q,"openUtc":%[11]q,"changeUtc24h":"%.5[8]f","indexPrice":%[2]q,"fundingRate":"0.0001",`+
		`"holdingAmount":%[9]q,"deliveryStartTime":null,"deliveryTime":null,"deliveryStatus":"","open24h":%[11]q,"markPrice":%[2]q}`,
		p.Symbol, p.price(c.c), p.price(c.c+1), p.size(c.volume/1000), p.price(c.h), p.price(c.l), now.UnixMilli(), change(&c),
		p.size(c.volume), amount(c.quote(p)), p.price(c.o))
}

// change returns how far a candle moved, as a share of its open.
func change(c *candle) float64 {
	if c.o == 0 {
		return 0
	}
	return float64(c.c-c.o) / float64(c.o)
}

// bitgetFailure: nothing says how long to wait, and the firewall bans.
func bitgetFailure(kind fault, _ *verdict, now time.Time) answer {
	switch kind {
	case fault500:
		return answer{status: http.StatusInternalServerError, body: string(bitgetError("40015", "System is abnormal, please try again later", now))}
	case faultEnvelope:
		return answer{status: http.StatusOK, body: string(bitgetError("40015", "System is abnormal, please try again later", now))}
	case faultBan:
		return pages[fault403]
	}
	return answer{status: http.StatusTooManyRequests, body: string(bitgetError("429", "Too Many Requests", now))}
}

// bitgetChannels are the candles that are pushed; there is no 3m channel.
var bitgetChannels = []interval{
	every("candle1m", minute), every("candle5m", 5*minute), every("candle15m", 15*minute), every("candle30m", 30*minute),
	every("candle1H", hour), every("candle4H", 4*hour),
	every("candle6H", 6*hour).shifted(-8 * hour), every("candle12H", 12*hour).shifted(-8 * hour), every("candle1D", day).shifted(-8 * hour),
	every("candle6Hutc", 6*hour), every("candle12Hutc", 12*hour), every("candle1Dutc", day),
}

// takeBitget reads {"op":"subscribe","args":[{"instType":"SPOT","channel":"candle1m",
// "instId":"BTCUSDT"}]}, and the text ping.
func takeBitget(s *Server, message []byte) (subs []subscription, answer []byte) {
	if string(message) == "ping" {
		return nil, []byte("pong")
	}
	var m struct {
		Op   string
		Args []struct{ InstType, Channel, InstID string }
	}
	if json.Unmarshal(message, &m) != nil || m.Op != "subscribe" {
		return nil, []byte(`{"event":"error","code":30003,"msg":"Invalid op"}`)
	}
	for _, a := range m.Args {
		iv, ok := intervalNamed(bitgetChannels, a.Channel)
		p := s.market.byName[a.InstID]
		if !ok || a.InstType != "SPOT" || p != nil && s.options.Stream.refuses(p) {
			p = nil
		}
		iv.name = a.Channel
		subs = append(subs, subscription{pair: p, iv: iv, name: a.InstID})
	}
	return subs, nil
}

const bitgetHistoryPushed = 500 // candles of a snapshot, as recorded

// joinBitget answers a subscription, and sends its history.
func joinBitget(s *Server, sub *subscription, now time.Time) [][]byte {
	arg := fmt.Sprintf(`"arg":{"instType":"SPOT","channel":%q,"instId":%q}`, sub.iv.name, sub.name)
	p := sub.pair
	if p == nil {
		return [][]byte{fmt.Appendf(nil, `{"event":"error",%s,"code":30001,"msg":"instType:SPOT,channel:%s,instId:%s doesn't exist","op":"subscribe"}`,
			arg, sub.iv.name, sub.name)}
	}
	life := p.until(now.Unix())
	span := span{max(life.from, sub.iv.back(sub.open, bitgetHistoryPushed-1)), life.to}
	k := klinesQuery{pair: p}
	dst := append(append([]byte(`{"action":"snapshot",`), arg...), `,"data":[`...)
	first := true
	p.history.candles(sub.iv, span, func(c *candle) bool {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendBitget(dst, &k, c, false)
		return true
	})
	return [][]byte{fmt.Appendf(nil, `{"event":"subscribe",%s}`, arg), fmt.Appendf(dst, `],"ts":%d}`, now.UnixMilli())}
}

// pushBitget appends the state of a candle; nothing says whether it is closed.
func pushBitget(dst []byte, sub *subscription, c *candle, _ bool, now int64) []byte {
	dst = fmt.Appendf(dst, `{"action":"update","arg":{"instType":"SPOT","channel":%q,"instId":%q},"data":[`, sub.iv.name, sub.pair.Symbol)
	dst = appendBitget(dst, &klinesQuery{pair: sub.pair}, c, false)
	return fmt.Appendf(dst, `],"ts":%d}`, now)
}

package simulated

// The dialects of Gate: spot, and linear perpetual contracts settled in USDT. Unconfirmed:
// whether its windows roll, the texts of a bad interval and of a limit beside a range, and
// that contracts too have a limited history.

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
		venue:       "gate",
		id:          func(p *Pair) string { return p.Base + "_" + p.Quote },
		contentType: "application/json",
		counters: []counter{
			gateCandles: {name: "candlesticks", limit: 200, period: 10 * time.Second, window: rolling},
			gatePairs:   {name: "pairs", limit: 200, period: 10 * time.Second, window: rolling},
			gateTickers: {name: "tickers", limit: 200, period: 10 * time.Second, window: rolling},
			gateTime:    {name: "time", limit: 200, period: 10 * time.Second, window: rolling},
		},
		usage: func(h http.Header, u usage) {
			h["X-Gate-Ratelimit-Limit"] = []string{strconv.Itoa(u.limit)}
			h["X-Gate-Ratelimit-Requests-Remain"] = []string{strconv.Itoa(u.left())}
			h["X-Gate-Ratelimit-Reset-Timestamp"] = []string{strconv.FormatInt(u.reset.Unix()+1, 10)}
		},
		parse:   parseGate,
		failure: gateFailure,
		socket:  &socket{path: "/ws/v4/", take: takeGate, push: pushGate, ping: 20 * time.Second, lifetime: unlimited},
	}
	swap := spot
	swap.venue, swap.swap, swap.socket = "gate-futures", true, nil
	swap.id = func(p *Pair) string {
		if !swappable(p, "USDT") {
			return ""
		}
		return p.Base + "_" + p.Quote
	}
	register(&spot)
	register(&swap)
}

// Indices of counters.
const (
	gateCandles = iota
	gatePairs
	gateTickers
	gateTime
)

var (
	// 7d opens on Thursdays, 30d is a month.
	gateIntervals = []interval{
		every("10s", 10), every("1m", minute), every("5m", 5*minute), every("15m", 15*minute), every("30m", 30*minute),
		every("1h", hour), every("2h", 2*hour), every("4h", 4*hour), every("8h", 8*hour), every("1d", day),
		every("7d", week).shifted(-4 * day), monthly("30d", 1),
	}
	gateSpot  = &form{head: gateHead, row: appendGate, tail: gateTail}
	gateSwaps = &form{head: gateHead, row: appendGateSwap, tail: gateTail}
)

func gateHead(dst []byte, _ *klinesQuery, _ int64) []byte { return append(dst, '[') }

func gateTail(dst []byte, _ *klinesQuery, _ summary, _ int64) []byte { return append(dst, ']') }

// appendGate appends [time, quote volume, close, high, low, open, base volume, closed].
func appendGate(dst []byte, k *klinesQuery, c *candle, forming bool) []byte {
	p := k.pair
	dst = strconv.AppendInt(append(dst, `["`...), c.open, 10)
	dst = append(appendTrimmedAmount(append(dst, `","`...), c.quote(p)), '"')
	for _, v := range [...]int64{c.c, c.h, c.l, c.o} {
		dst = append(appendTrimmed(append(dst, `,"`...), v, p.TickDecimals), '"')
	}
	dst = appendTrimmed(append(dst, `,"`...), c.volume, p.LotDecimals)
	if forming {
		return append(dst, `","false"]`...)
	}
	return append(dst, `","true"]`...)
}

func appendGateSwap(dst []byte, k *klinesQuery, c *candle, _ bool) []byte {
	p := k.pair
	dst = appendTrimmed(append(dst, `{"o":"`...), c.o, p.TickDecimals)
	dst = appendTrimmed(append(dst, `","v":`...), c.volume, contractDecimals)
	dst = strconv.AppendInt(append(dst, `,"t":`...), c.open, 10)
	dst = appendTrimmed(append(dst, `,"c":"`...), c.c, p.TickDecimals)
	dst = appendTrimmed(append(dst, `","l":"`...), c.l, p.TickDecimals)
	dst = appendTrimmed(append(dst, `","h":"`...), c.h, p.TickDecimals)
	dst = appendTrimmedAmount(append(dst, `","sum":"`...), c.quote(p))
	return append(dst, `"}`...)
}

func parseGate(s *Server, r *http.Request, now time.Time) (q request) {
	fail := func(label, message string) {
		q.reply(http.StatusBadRequest, fmt.Appendf(nil, `{"label":%q,"message":%q}`, label, message))
	}
	swap := s.dialect.swap
	root := "/api/v4/spot/"
	if swap {
		root = "/api/v4/futures/usdt/"
	}
	name, ok := strings.CutPrefix(r.URL.Path, root)
	if r.URL.Path == "/api/v4/spot/time" { // also for contracts
		name, ok = "time", true
	}
	q.endpoint = name
	if !ok || r.Method != http.MethodGet {
		q.endpoint = ""
	}
	switch {
	case q.endpoint == "candlesticks":
		q.charge(gateCandles, 1)
		parseGateCandles(s, r, now, &q, fail)
	case q.endpoint == "currency_pairs" && !swap || q.endpoint == "contracts" && swap:
		q.charge(gatePairs, 1)
		row := func(dst []byte, p *pair) []byte { return appendGatePair(dst, p, now) }
		if swap {
			row = func(dst []byte, p *pair) []byte { return appendGateContract(dst, p, now) }
		}
		q.write = gateList(s, func(*pair) bool { return true }, row)
	case q.endpoint == "tickers":
		q.charge(gateTickers, 1)
		q.write = gateList(s, trading(now), func(dst []byte, p *pair) []byte { return appendGateTicker(dst, p, now) })
	case q.endpoint == "time":
		q.charge(gateTime, 1)
		q.write = func(o *out, now time.Time) { o.buf = fmt.Appendf(o.buf, `{"server_time":%d}`, now.UnixMilli()) }
	default:
		q.endpoint = "other"
		q.reply(http.StatusNotFound, []byte(`{"label":"NOT_FOUND","message":"no such endpoint"}`))
	}
	return q
}

// parseGateCandles: both ends are inclusive, and a range has at most so many points, none
// of them more than 10,000 ago.
func parseGateCandles(s *Server, r *http.Request, now time.Time, q *request, fail func(label, message string)) {
	params := r.URL.Query()
	k := klinesQuery{form: gateSpot, newest: true}
	id, most := params.Get("currency_pair"), int64(1000)
	if s.dialect.swap {
		k.form = gateSwaps
		id, most = params.Get("contract"), 2000
	}
	k.pair = s.market.byName[id]
	name := params.Get("interval")
	if name == "" {
		name = "30m"
	}
	iv, ok := intervalNamed(gateIntervals, name)
	limit, ok1 := whole(params, "limit", 0)
	from, ok2 := whole(params, "from", -1)
	to, ok3 := whole(params, "to", now.Unix())
	ranged := params.Has("from") || params.Has("to")
	switch {
	case s.dialect.swap && (k.pair == nil || !k.pair.trading(now.Unix())):
		q.reply(http.StatusBadRequest, []byte(`{"label":"CONTRACT_NOT_FOUND"}`))
		return
	case !strings.Contains(id, "_"):
		fail("INVALID_CURRENCY_PAIR", "Invalid currency pair "+id)
		return
	case k.pair == nil:
		base, _, _ := strings.Cut(id, "_")
		fail("INVALID_CURRENCY", "Invalid currency "+base)
		return
	case !k.pair.trading(now.Unix()):
		fail("INVALID_CURRENCY", "currency "+k.pair.Base+" is delisted")
		return
	case !ok:
		fail("INVALID_PARAM_VALUE", "invalid argument: interval")
		return
	case !ok1 || !ok2 || !ok3 || limit < 0 || limit > most:
		fail("INVALID_PARAM_VALUE", "invalid argument")
		return
	case limit > 0 && ranged:
		fail("INVALID_PARAM_VALUE", "limit conflicts with from and to")
		return
	}
	if limit == 0 {
		limit = 100
	}
	if !ranged {
		k.iv, k.end, k.limit = iv, latestTime, int(limit)
		q.klines = &k
		return
	}
	if from < 0 {
		from = to - 99*max(iv.seconds, day)
	}
	if iv.seconds > 0 {
		switch {
		case from > to:
			fail("INVALID_PARAM_VALUE", "invalid argument: from")
			return
		case (to-from)/iv.seconds >= most:
			fail("INVALID_PARAM_VALUE", fmt.Sprintf("Candlestick range too broad. Maximum %d data points are allowed per request", most))
			return
		case from < iv.floor(now.Unix())-10_000*iv.seconds:
			fail("INVALID_PARAM_VALUE", "Candlestick too long ago. Maximum 10000 points ago are allowed")
			return
		}
	}
	k.iv, k.limit = iv, int(most)
	k.start, k.hasStart, k.end = from*1000, true, min(to, latestTime/1000)*1000
	q.klines = &k
}

func gateList(s *Server, keep func(*pair) bool, row func([]byte, *pair) []byte) func(*out, time.Time) {
	return func(o *out, _ time.Time) {
		o.buf = append(o.buf, '[')
		o.list(s.market, keep, row)
		o.buf = append(o.buf, ']')
	}
}

func appendGatePair(dst []byte, p *pair, now time.Time) []byte {
	status := "untradable"
	if p.trading(now.Unix()) {
		status = "tradable"
	}
	return fmt.Appendf(dst, `{"id":%q,"base":%q,"base_name":%[2]q,"quote":%q,"quote_name":%[3]q,"fee":"0.2","min_base_amount":%q,"min_quote_amount":"3",`+
		`"max_quote_amount":"5000000","amount_precision":%d,"precision":%d,"trade_status":%q,"sell_start":%d,"buy_start":%[8]d,"type":"normal",`+
		`"trade_url":"https://www.gate.com/trade/%[1]s"}`,
		p.Symbol, p.Base, p.Quote, p.size(1), p.LotDecimals, p.TickDecimals, status, p.Listed.Unix())
}

func appendGateContract(dst []byte, p *pair, now time.Time) []byte {
	c := p.lastDay(now.Unix())
	return fmt.Appendf(dst, `{"funding_rate_indicative":"0.0001","mark_price_round":%q,"funding_offset":0,"in_delisting":%t,"risk_limit_base":"500000",`+
		`"interest_rate":"0.0003","index_price":%q,"order_price_round":%[1]q,"order_size_min":1,"ref_rebate_rate":"0.2","name":%[4]q,"ref_discount_rate":"0",`+
		`"order_price_deviate":"0.1","maintenance_rate":"0.025","mark_type":"index","funding_interval":28800,"type":"direct","risk_limit_step":"500000",`+
		`"enable_bonus":false,"leverage_min":"1","funding_rate":"0.0001","last_price":%[3]q,"mark_price":%[3]q,"order_size_max":1000000,`+
		`"funding_next_apply":%[5]d,"short_users":43,"enable_credit":true,"config_change_time":%[6]d,"create_time":%[6]d,"trade_size":160438129,`+
		`"position_size":51137,"long_users":61,"quanto_multiplier":%[7]q,"funding_impact_value":"5000","leverage_max":"20","risk_limit_max":"5000000",`+
		`"maker_fee_rate":"-0.000152","taker_fee_rate":"0.00075","orders_limit":30,"trade_id":1441091,"orderbook_id":988820401}`,
		p.price(1), !p.trading(now.Unix()), p.price(c.c), p.Symbol, now.Truncate(8*time.Hour).Add(8*time.Hour).Unix(), p.Listed.Unix(), p.contract())
}

func appendGateTicker(dst []byte, p *pair, now time.Time) []byte {
	c := p.lastDay(now.Unix())
	change := 0.0
	if c.o > 0 {
		change = 100 * float64(c.c-c.o) / float64(c.o)
	}
	if !p.swap {
		return fmt.Appendf(dst, `{"currency_pair":%q,"last":%q,"lowest_ask":%q,"highest_bid":%[2]q,"change_percentage":"%.2[4]f","base_volume":%q,"quote_volume":%q,`+
			`"high_24h":%q,"low_24h":%q}`,
			p.Symbol, p.price(c.c), p.price(c.c+1), change, p.size(c.volume), amount(c.quote(p)), p.price(c.h), p.price(c.l))
	}
	contracts, quote := string(appendTrimmed(nil, c.volume, contractDecimals)), amount(c.quote(p))
	return fmt.Appendf(dst, `{"contract":%q,"last":%q,"low_24h":%q,"high_24h":%q,"change_percentage":"%.2f","total_size":%q,"volume_24h":%[6]q,`+
		`"volume_24h_btc":%q,"volume_24h_usd":%q,"volume_24h_base":%[7]q,"volume_24h_quote":%[8]q,"volume_24h_settle":%[8]q,"mark_price":%[2]q,`+
		`"funding_rate":"0.0001","funding_rate_indicative":"0.0001","index_price":%[2]q}`,
		p.Symbol, p.price(c.c), p.price(c.l), p.price(c.h), change, contracts, p.size(c.volume), quote)
}

// gateFailure: a header of every response says when the window is empty. There is no
// Retry-After.
func gateFailure(kind fault, v *verdict, now time.Time) answer {
	switch kind {
	case fault500:
		return answer{status: http.StatusInternalServerError, body: `{"label":"SERVER_ERROR","message":"Internal server error"}`}
	case faultEnvelope:
		return answer{status: http.StatusOK, body: `{"label":"SERVER_ERROR","message":"Internal server error"}`}
	case faultBan:
		return pages[fault403]
	}
	return answer{
		status: http.StatusTooManyRequests, announced: true,
		header: http.Header{"X-Gate-Ratelimit-Reset-Timestamp": {strconv.FormatInt(now.Add(v.pause).Unix()+1, 10)}},
		body:   `{"label":"TOO_MANY_REQUESTS","message":"Request Rate Limit Exceeded"}`,
	}
}

// gatePushed are the intervals of the channel spot.candlesticks; there is no 2h.
var gatePushed = slices.DeleteFunc(slices.Clone(gateIntervals), func(iv interval) bool { return iv.name == "2h" || iv.name == "30d" })

// takeGate reads {"time":…,"id":1,"channel":"spot.candlesticks","event":"subscribe",
// "payload":["1m","BTC_USDT"]}, and {"channel":"spot.ping"}.
func takeGate(s *Server, message []byte) (subs []subscription, answer []byte) {
	var m struct {
		ID             int
		Channel, Event string
		Payload        []string
	}
	err := json.Unmarshal(message, &m)
	now := s.options.Now()
	if m.Channel == "spot.ping" {
		return nil, fmt.Appendf(nil, `{"time":%d,"time_ms":%d,"channel":"spot.pong","event":"","result":null}`, now.Unix(), now.UnixMilli())
	}
	payload, _ := json.Marshal(m.Payload)
	head := fmt.Appendf(nil, `{"time":%d,"time_ms":%d,"id":%d,"conn_id":"5e74253e9c793974","channel":%q,"event":%q,"payload":%s,`,
		now.Unix(), now.UnixMilli(), m.ID, m.Channel, m.Event, payload)
	fail := func(text string) ([]subscription, []byte) {
		return nil, fmt.Appendf(head, `"error":{"code":2,"message":%q},"result":{"status":"fail"}}`, text)
	}
	if err != nil || m.Channel != "spot.candlesticks" || m.Event != "subscribe" || len(m.Payload) != 2 {
		return fail("invalid argument")
	}
	iv, ok := intervalNamed(gatePushed, m.Payload[0])
	p := s.market.byName[m.Payload[1]]
	switch {
	case !ok:
		return fail("unknown interval " + m.Payload[0])
	case p == nil || s.options.Stream.refuses(p):
		return fail("unknown currency pair: " + m.Payload[1])
	}
	return []subscription{{pair: p, iv: iv}}, append(head, `"result":{"status":"success"}}`...)
}

// pushGate appends the update of a candle, whose v is the quote volume and a the base
// volume.
func pushGate(dst []byte, sub *subscription, c *candle, closed bool, now int64) []byte {
	p := sub.pair
	dst = fmt.Appendf(dst, `{"time":%d,"time_ms":%d,"channel":"spot.candlesticks","event":"update","result":{"t":"%d","v":"`, now/1000, now, c.open)
	dst = appendTrimmedAmount(dst, c.quote(p))
	dst = appendTrimmed(append(dst, `","c":"`...), c.c, p.TickDecimals)
	dst = appendTrimmed(append(dst, `","h":"`...), c.h, p.TickDecimals)
	dst = appendTrimmed(append(dst, `","l":"`...), c.l, p.TickDecimals)
	dst = appendTrimmed(append(dst, `","o":"`...), c.o, p.TickDecimals)
	dst = fmt.Appendf(dst, `","n":"%s_%s","a":"`, sub.iv.name, p.Symbol)
	dst = appendTrimmed(dst, c.volume, p.LotDecimals)
	return append(strconv.AppendBool(append(dst, `","w":`...), closed), `}}`...)
}

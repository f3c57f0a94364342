package simulated

// The dialects of Kraken and of Kraken Futures. Unconfirmed for Kraken: the HTTP status of
// a rate limit, how many requests fit in a burst, and that weeks open on Thursdays (as
// multiples of a week). No response of Kraken Futures was recorded; its bodies are as
// docs.kraken.com and public clients describe them. Unconfirmed there: all limits, the
// body of an unknown contract, and the rows of quiet minutes.

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
		venue:       "kraken",
		quote:       "USD",
		id:          krakenID,
		contentType: "application/json; charset=utf-8",
		counters:    []counter{{name: "requests", limit: 1, period: time.Second, window: bucket}},
		parse:       parseKraken,
		failure:     krakenFailure,
		socket: &socket{
			path: "/v2", take: takeKraken, joined: joinKraken, push: pushKraken, traded: true,
			another:   "Already subscribed to one ohlc interval on this symbol",
			greeting:  `{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online","api_version":"v2","connection_id":12393906104898154338}]}`,
			heartbeat: `{"channel":"heartbeat"}`,
			ping:      unlimited, lifetime: unlimited,
		},
	})
	register(&dialect{
		venue: "kraken-futures",
		quote: "USD",
		swap:  true,
		id: func(p *Pair) string {
			if !swappable(p, "USD") {
				return ""
			}
			return "PF_" + krakenAsset(p.Base) + "USD"
		},
		contentType: "application/json",
		counters:    []counter{{name: "requests", limit: 10, period: 2 * time.Second, window: rolling}},
		parse:       parseKrakenFutures,
		failure:     krakenFuturesFailure,
	})
}

// krakenAsset returns the venue's name of an asset.
func krakenAsset(name string) string {
	switch name {
	case "BTC":
		return "XBT"
	case "DOGE":
		return "XDG"
	}
	return name
}

// krakenOld returns the name of an old asset, with a letter in front; "" for a newer one.
func krakenOld(name string) string {
	switch name {
	case "BTC", "ETH", "XRP", "LTC", "ETC", "XLM":
		return "X" + krakenAsset(name)
	case "DOGE":
		return "XXDG"
	case "USD", "EUR":
		return "Z" + name
	}
	return ""
}

// krakenID returns the key of a pair: XXBTZUSD of two old assets, SOLUSD of others.
func krakenID(p *Pair) string {
	if base, quote := krakenOld(p.Base), krakenOld(p.Quote); base != "" && quote != "" && p.Base != "DOGE" && p.Base != "EUR" {
		return base + quote
	}
	return krakenAltname(p)
}

func krakenAltname(p *Pair) string { return krakenAsset(p.Base) + krakenAsset(p.Quote) }

// krakenPair finds a pair by its key or its altname.
func krakenPair(m *market, name string) *pair {
	if p := m.byName[name]; p != nil {
		return p
	}
	for i := range m.pairs {
		if p := &m.pairs[i]; krakenAltname(&p.Pair) == name {
			return p
		}
	}
	return nil
}

var krakenIntervals = []interval{
	every("1", minute), every("5", 5*minute), every("15", 15*minute), every("30", 30*minute), every("60", hour), every("240", 4*hour),
	every("1440", day), every("10080", week).shifted(-4 * day), every("21600", 15*day),
}

const krakenCommitted = 720 // candles, besides the forming one

var krakenForm = &form{
	quiet:   quietFilled,
	history: krakenCommitted,
	head: func(dst []byte, k *klinesQuery, _ int64) []byte {
		return append(append(append(dst, `{"error":[],"result":{"`...), k.pair.Symbol...), `":[`...)
	},
	// [time, open, high, low, close, mean price, volume, trades]
	row: func(dst []byte, k *klinesQuery, c *candle, _ bool) []byte {
		p := k.pair
		dst = strconv.AppendInt(append(dst, '['), c.open, 10)
		for _, v := range [...]int64{c.o, c.h, c.l, c.c} {
			dst = append(appendPlaces(append(dst, `,"`...), v, p.TickDecimals), '"')
		}
		if c.trades == 0 {
			dst = append(dst, `,"0.0"`...)
		} else {
			dst = append(appendPlaces(append(dst, `,"`...), int64(c.mean(p)/p.tick), p.TickDecimals), '"')
		}
		dst = append(appendDecimal(append(dst, `,"`...), c.volume, p.LotDecimals), `",`...)
		return append(strconv.AppendInt(dst, c.trades, 10), ']')
	},
	tail: func(dst []byte, _ *klinesQuery, s summary, _ int64) []byte {
		return append(strconv.AppendInt(append(dst, `],"last":`...), s.committed, 10), `}}`...)
	},
}

func parseKraken(s *Server, r *http.Request, now time.Time) (q request) {
	q.charge(0, 1)
	fail := func(text string) { q.reply(http.StatusOK, fmt.Appendf(nil, `{"error":[%q]}`, text)) }
	name, ok := strings.CutPrefix(r.URL.Path, "/0/public/")
	if !ok || r.Method != http.MethodGet {
		name = "other"
	}
	q.endpoint = name
	params := r.URL.Query()
	switch name {
	case "OHLC":
		k := klinesQuery{form: krakenForm, pair: krakenPair(s.market, params.Get("pair")), end: latestTime, limit: krakenCommitted + 1, newest: true}
		minutes := params.Get("interval")
		if minutes == "" {
			minutes = "1"
		}
		since, ok := whole(params, "since", -1)
		var known bool
		k.iv, known = intervalNamed(krakenIntervals, minutes)
		switch {
		case k.pair == nil || !k.pair.trading(now.Unix()):
			fail("EQuery:Unknown asset pair")
		case !known || !ok:
			fail("EGeneral:Invalid arguments")
		default:
			// exclusive, but the forming candle is always there
			k.start = min(since+1, k.iv.floor(now.Unix())) * 1000
			k.hasStart = since >= 0
			q.klines = &k
		}
	case "AssetPairs":
		keep := trading(now)
		if class := params.Get("aclass_base"); class != "" && class != "currency" {
			keep = func(*pair) bool { return false } // no tokenised stocks
		}
		q.write = krakenList(s, keep, appendKrakenPair)
	case "Ticker":
		q.write = krakenList(s, trading(now), func(dst []byte, p *pair) []byte { return appendKrakenTicker(dst, p, now) })
	case "Time":
		q.write = func(o *out, now time.Time) {
			o.buf = fmt.Appendf(o.buf, `{"error":[],"result":{"unixtime":%d,"rfc1123":%q}}`, now.Unix(), now.UTC().Format("Mon, _2 Jan 06 15:04:05 -0700"))
		}
	default:
		q.endpoint = "other"
		fail("EGeneral:Unknown method")
	}
	return q
}

func krakenList(s *Server, keep func(*pair) bool, row func([]byte, *pair) []byte) func(*out, time.Time) {
	return func(o *out, _ time.Time) {
		o.buf = append(o.buf, `{"error":[],"result":{`...)
		o.list(s.market, keep, row)
		o.buf = append(o.buf, `}}`...)
	}
}

func appendKrakenPair(dst []byte, p *pair) []byte {
	base, quote := krakenOld(p.Base), krakenOld(p.Quote)
	if base == "" {
		base = p.Base
	}
	if quote == "" {
		quote = p.Quote
	}
	return fmt.Appendf(dst, `%q:{"altname":%q,"wsname":"%s/%s","aclass_base":"currency","base":%q,"aclass_quote":"currency","quote":%q,"lot":"unit",`+
		`"cost_decimals":5,"pair_decimals":%d,"lot_decimals":%d,"lot_multiplier":1,"leverage_buy":[2,3,4,5,6,7,8,9,10],"leverage_sell":[2,3,4,5,6,7,8,9,10],`+
		`"fees":[[0,0.4],[10000,0.35]],"fees_maker":[[0,0.25],[10000,0.2]],"fee_volume_currency":"ZUSD","margin_call":80,"margin_stop":40,`+
		`"ordermin":%q,"costmin":"0.5","tick_size":%q,"status":"online","long_position_limit":80,"short_position_limit":80}`,
		p.Symbol, krakenAltname(&p.Pair), krakenAsset(p.Base), krakenAsset(p.Quote), base, quote, p.TickDecimals, p.LotDecimals, p.size(1), p.price(1))
}

// appendKrakenTicker gives today the numbers of the last 24 hours.
func appendKrakenTicker(dst []byte, p *pair, now time.Time) []byte {
	c := p.lastDay(now.Unix())
	mean := "0.0"
	if c.trades > 0 {
		mean = strconv.FormatFloat(c.mean(p), 'f', p.TickDecimals+4, 64)
	}
	return fmt.Appendf(dst, `%q:{"a":[%q,"1","1.000"],"b":[%q,"1","1.000"],"c":[%[3]q,%[4]q],"v":[%[5]q,%[5]q],"p":[%[6]q,%[6]q],"t":[%[7]d,%[7]d],`+
		`"l":[%[8]q,%[8]q],"h":[%[9]q,%[9]q],"o":%[10]q}`,
		p.Symbol, p.price(c.c+1), p.price(c.c), p.size(c.volume/max(1, c.trades)), p.size(c.volume), mean, c.trades, p.price(c.l), p.price(c.h), p.price(c.o))
}

// krakenFailure: all of them are HTTP 200, and nothing says how long to wait.
func krakenFailure(kind fault, _ *verdict, _ time.Time) answer {
	text := "EGeneral:Too many requests"
	switch kind {
	case fault500:
		return answer{status: http.StatusInternalServerError, body: `{"error":["EGeneral:Internal error"]}`}
	case faultEnvelope:
		text = "EService:Unavailable"
	case faultBan:
		text = "EGeneral:Temporary lockout"
	}
	return answer{status: http.StatusOK, body: `{"error":["` + text + `"]}`}
}

var krakenFuturesResolutions = []interval{
	every("1m", minute), every("5m", 5*minute), every("15m", 15*minute), every("30m", 30*minute), every("1h", hour), every("4h", 4*hour),
	every("12h", 12*hour), every("1d", day), every("1w", week),
}

const krakenFuturesRows = 2000

var krakenFuturesForm = &form{
	head: func(dst []byte, _ *klinesQuery, _ int64) []byte { return append(dst, `{"candles":[`...) },
	row: func(dst []byte, k *klinesQuery, c *candle, _ bool) []byte {
		p := k.pair
		dst = appendMs(append(dst, `{"time":`...), c.open)
		dst = appendTrimmed(append(dst, `,"open":"`...), c.o, p.TickDecimals)
		dst = appendTrimmed(append(dst, `","high":"`...), c.h, p.TickDecimals)
		dst = appendTrimmed(append(dst, `","low":"`...), c.l, p.TickDecimals)
		dst = appendTrimmed(append(dst, `","close":"`...), c.c, p.TickDecimals)
		dst = appendDecimal(append(dst, `","volume":"`...), c.volume, p.LotDecimals)
		return append(dst, `"}`...)
	},
	tail: func(dst []byte, k *klinesQuery, s summary, _ int64) []byte {
		return append(strconv.AppendBool(append(dst, `],"more_candles":`...), s.rows == k.limit), '}')
	},
}

func parseKrakenFutures(s *Server, r *http.Request, now time.Time) (q request) {
	q.charge(0, 1)
	fail := func(status int, code string) {
		q.reply(status, fmt.Appendf(nil, `{"result":"error","error":%q,"serverTime":%q}`, code, now.UTC().Format(krakenStamp)))
	}
	path := strings.TrimPrefix(r.URL.Path, "/")
	parts := strings.Split(path, "/")
	switch {
	case r.Method != http.MethodGet:
		q.endpoint = "other"
		fail(http.StatusNotFound, "notFound")
	case path == "derivatives/api/v3/instruments":
		q.endpoint = "instruments"
		q.write = krakenFuturesList(s, q.endpoint, now, appendKrakenInstrument)
	case path == "derivatives/api/v3/tickers":
		q.endpoint = "tickers"
		q.write = krakenFuturesList(s, q.endpoint, now, func(dst []byte, p *pair) []byte { return appendKrakenFuturesTicker(dst, p, now) })
	case path == "api/charts/v1/":
		q.endpoint = "charts"
		q.reply(http.StatusOK, []byte(`["mark","spot","trade"]`))
	case strings.HasPrefix(path, "api/charts/v1/trade/") && len(parts) == 6:
		q.endpoint = "candles"
		params := r.URL.Query()
		k := klinesQuery{form: krakenFuturesForm, pair: s.market.byName[parts[4]]}
		from, ok1 := whole(params, "from", -1)
		to, ok2 := whole(params, "to", latestTime/1000)
		count, ok3 := whole(params, "count", krakenFuturesRows)
		var known bool
		k.iv, known = intervalNamed(krakenFuturesResolutions, parts[5])
		switch {
		case k.pair == nil || !k.pair.trading(now.Unix()), !known:
			fail(http.StatusNotFound, "contractNotFound")
		case !ok1 || !ok2 || !ok3 || count < 1:
			fail(http.StatusBadRequest, "invalidArgument")
		default:
			k.limit = int(min(count, krakenFuturesRows))
			k.start, k.hasStart, k.end = min(from, latestTime/1000)*1000, from >= 0, min(to, latestTime/1000)*1000
			q.klines = &k
		}
	default:
		q.endpoint = "other"
		fail(http.StatusNotFound, "notFound")
	}
	return q
}

const krakenStamp = "2006-01-02T15:04:05.000Z"

func krakenFuturesList(s *Server, name string, now time.Time, row func([]byte, *pair) []byte) func(*out, time.Time) {
	return func(o *out, _ time.Time) {
		o.buf = fmt.Appendf(o.buf, `{"result":"success","%s":[`, name)
		o.list(s.market, trading(now), row)
		o.buf = fmt.Appendf(o.buf, `],"serverTime":%q}`, now.UTC().Format(krakenStamp))
	}
}

func appendKrakenInstrument(dst []byte, p *pair) []byte {
	return fmt.Appendf(dst, `{"symbol":%q,"type":"flexible_futures","tickSize":%s,"contractSize":1,"tradeable":true,"impactMidSize":1,"maxPositionSize":1000000,`+
		`"openingDate":%q,"marginLevels":[{"numNonContractUnits":0,"initialMargin":0.02,"maintenanceMargin":0.01}],"fundingRateCoefficient":24,`+
		`"maxRelativeFundingRate":0.0025,"contractValueTradePrecision":%d,"postOnly":false,"mtf":true,"category":"Layer 1","base":%q,"quote":%q,"pair":"%[5]s:%[6]s"}`,
		p.Symbol, strconv.FormatFloat(p.tick, 'g', -1, 64), p.Listed.UTC().Format(time.RFC3339), p.LotDecimals, p.Base, p.Quote)
}

func appendKrakenFuturesTicker(dst []byte, p *pair, now time.Time) []byte {
	c := p.lastDay(now.Unix())
	return fmt.Appendf(dst, `{"symbol":%q,"last":%s,"lastTime":%q,"tag":"perpetual","pair":"%s:%s","markPrice":%[2]s,"bid":%[2]s,"bidSize":1,"ask":%[6]s,"askSize":1,`+
		`"vol24h":%[7]s,"volumeQuote":%[8]s,"openInterest":%[7]s,"open24h":%[9]s,"high24h":%[10]s,"low24h":%[11]s,"lastSize":1,"fundingRate":0.00001,`+
		`"fundingRatePrediction":0.00001,"suspended":false,"indexPrice":%[2]s,"postOnly":false,"change24h":0}`,
		p.Symbol, p.price(c.c), now.UTC().Format(krakenStamp), p.Base, p.Quote, p.price(c.c+1), p.size(c.volume), amount(c.quote(p)), p.price(c.o), p.price(c.h), p.price(c.l))
}

// krakenFuturesFailure: nothing says how long to wait.
func krakenFuturesFailure(kind fault, _ *verdict, now time.Time) answer {
	body := func(code string) string {
		return fmt.Sprintf(`{"result":"error","error":%q,"serverTime":%q}`, code, now.UTC().Format(krakenStamp))
	}
	switch kind {
	case fault500:
		return answer{status: http.StatusInternalServerError, body: body("Server Error")}
	case faultEnvelope:
		return answer{status: http.StatusOK, body: body("Unavailable")}
	case faultBan:
		return pages[fault403]
	}
	return answer{status: http.StatusTooManyRequests, body: body("apiLimitExceeded")}
}

// krakenSymbol returns the name of a pair in API v2 of the sockets: BTC/USD.
func krakenSymbol(p *Pair) string { return p.Base + "/" + p.Quote }

// takeKraken reads {"method":"subscribe","params":{"channel":"ohlc","symbol":["BTC/USD"],
// "interval":1,"snapshot":false},"req_id":1}, and {"method":"ping"}.
func takeKraken(s *Server, message []byte) (subs []subscription, answer []byte) {
	var m struct {
		Method string
		Params struct {
			Channel  string
			Symbol   []string
			Interval int
		}
		ReqID int `json:"req_id"`
	}
	err := json.Unmarshal(message, &m)
	iv, ok := intervalNamed(krakenIntervals, strconv.Itoa(m.Params.Interval))
	switch {
	case m.Method == "ping":
		return nil, fmt.Appendf(nil, `{"method":"pong","req_id":%d,"success":true,%s}`, m.ReqID, krakenTimes(s.options.Now()))
	case err != nil || m.Method != "subscribe" || m.Params.Channel != "ohlc":
		return nil, []byte(`{"error":"Unsupported method or channel","method":"subscribe","success":false}`)
	case !ok:
		return nil, fmt.Appendf(nil, `{"error":"Subscription ohlc interval not supported","method":"subscribe","req_id":%d,"success":false}`, m.ReqID)
	}
	names := map[string]*pair{}
	for i := range s.market.pairs {
		p := &s.market.pairs[i]
		names[krakenSymbol(&p.Pair)] = p
	}
	for _, name := range m.Params.Symbol {
		p := names[name]
		if p != nil && s.options.Stream.refuses(p) {
			p = nil
		}
		subs = append(subs, subscription{pair: p, iv: iv, id: m.ReqID, name: name, refusal: "Currency pair not supported " + name})
	}
	return subs, nil
}

func krakenTimes(now time.Time) string {
	t := now.UTC().Format("2006-01-02T15:04:05.000000Z")
	return fmt.Sprintf(`"time_in":%q,"time_out":%[1]q`, t)
}

// joinKraken answers a subscription: there is an answer for each pair.
func joinKraken(_ *Server, sub *subscription, now time.Time) [][]byte {
	if sub.pair == nil {
		return [][]byte{fmt.Appendf(nil, `{"error":%q,"method":"subscribe","req_id":%d,"success":false,"symbol":%q,%s}`,
			sub.refusal, sub.id, sub.name, krakenTimes(now))}
	}
	return [][]byte{fmt.Appendf(nil, `{"method":"subscribe","req_id":%d,"result":{"channel":"ohlc","interval":%s,"snapshot":false,"symbol":%q},"success":true,%s}`,
		sub.id, sub.iv.name, sub.name, krakenTimes(now))}
}

// pushKraken appends the state of a candle; nothing says whether it is closed.
func pushKraken(dst []byte, sub *subscription, c *candle, _ bool, now int64) []byte {
	const stamp = "2006-01-02T15:04:05.000000000Z"
	p := sub.pair
	dst = fmt.Appendf(dst, `{"channel":"ohlc","type":"update","timestamp":%q,"data":[{"symbol":%q,"open":`, time.UnixMilli(now).UTC().Format(stamp), sub.name)
	dst = appendPlaces(dst, c.o, p.TickDecimals)
	dst = appendPlaces(append(dst, `,"high":`...), c.h, p.TickDecimals)
	dst = appendPlaces(append(dst, `,"low":`...), c.l, p.TickDecimals)
	dst = appendPlaces(append(dst, `,"close":`...), c.c, p.TickDecimals)
	dst = strconv.AppendInt(append(dst, `,"trades":`...), c.trades, 10)
	dst = appendTrimmed(append(dst, `,"volume":`...), c.volume, p.LotDecimals)
	dst = appendPlaces(append(dst, `,"vwap":`...), int64(c.mean(p)/p.tick), p.TickDecimals)
	return fmt.Appendf(dst, `,"interval_begin":%q,"interval":%s,"timestamp":%q}]}`, time.Unix(c.open, 0).UTC().Format(stamp), sub.iv.name,
		time.Unix(sub.iv.next(c.open), 0).UTC().Format("2006-01-02T15:04:05.000000Z"))
}

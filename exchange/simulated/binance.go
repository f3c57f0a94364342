package simulated

// The dialect of Binance Spot. Sources: binance-spot-api-docs, rest-api.md, errors.md
// and enums.md.

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

func init() { register(&binanceSpot) }

var binanceSpot = dialect{
	venue:       "binance",
	id:          func(p *Pair) string { return p.Base + p.Quote },
	contentType: jsonType,
	counters:    []counter{{name: "weight", limit: 6_000, period: time.Minute, stop: true}},
	bans:        true,
	parse:       parseBinance,
	usage: func(h http.Header, u usage) {
		used := []string{strconv.Itoa(u.used)}
		h["X-Mbx-Used-Weight"], h["X-Mbx-Used-Weight-1m"] = used, used
	},
	failure: binanceFailure,
	socket: &socket{
		path: "/ws", take: takeBinance, push: pushBinance,
		goodbye: `{"e":"serverShutdown","E":0}`,
		ping:    20 * time.Second, lifetime: 24 * time.Hour,
	},
}

// The venue's list (enums.md). The alignment of three-day candles is not documented.
var intervals = []interval{
	every("1s", 1), every("1m", minute), every("3m", 3*minute), every("5m", 5*minute), every("15m", 15*minute), every("30m", 30*minute),
	every("1h", hour), every("2h", 2*hour), every("4h", 4*hour), every("6h", 6*hour), every("8h", 8*hour), every("12h", 12*hour),
	every("1d", day), every("3d", 3*day), every("1w", week), monthly("1M", 1),
}

const prefix = "/api/v3/"

var errMethod = &apiError{http.StatusMethodNotAllowed, -1020, "This operation is not supported."}

func parseBinance(s *Server, r *http.Request, now time.Time) (q request) {
	var err error
	m, raw := s.market, r.URL.RawQuery
	weight := 1
	switch name, ok := strings.CutPrefix(r.URL.Path, prefix); {
	case ok && name == "klines":
		q.endpoint, weight = name, 2
		var k klinesQuery
		if k, err = m.parseKlines(raw, maxKlines); err == nil {
			q.klines = &k
		}
	case ok && name == "ticker/24hr":
		q.endpoint, weight = name, 2
		var k tickerQuery
		if k, err = m.parseTicker(raw, now.Unix()); err == nil {
			weight = k.weight()
		}
		q.write = func(o *out, now time.Time) { m.tickers(o, &k, now.UnixMilli()) }
	case ok && name == "ticker/price":
		q.endpoint, weight = name, 4
		q.write = m.lastPrices
	case ok && name == "exchangeInfo":
		q.endpoint, weight = name, 20
		var k infoQuery
		k, err = m.parseInfo(raw, now.Unix())
		q.write = func(o *out, now time.Time) { m.info(o, &k, s.limits.counters[0].limit, now.UnixMilli()) }
	case ok && name == "time":
		q.endpoint = name
		_, err = parseQuery(raw)
		q.write = func(o *out, now time.Time) {
			o.buf = strconv.AppendInt(append(o.buf, `{"serverTime":`...), now.UnixMilli(), 10)
			o.buf = append(o.buf, '}')
		}
	case ok && name == "ping":
		q.endpoint = name
		_, err = parseQuery(raw)
		q.write = func(o *out, _ time.Time) { o.buf = append(o.buf, "{}"...) }
	default:
		q.endpoint = "other"
		q.charge(0, 1)
		q.contentType = htmlType
		q.reply(http.StatusNotFound, []byte("<html><body><h2>404 Not found</h2></body></html>"))
		return q
	}
	q.charge(0, weight)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		err = errMethod
	}
	if err != nil {
		e := err.(*apiError)
		q.reply(e.status, e.append(nil))
	}
	return q
}

func binanceFailure(kind fault, v *verdict, now time.Time) answer {
	e := &apiError{http.StatusTooManyRequests, -1003, ""}
	switch kind {
	case fault500:
		e = &apiError{http.StatusInternalServerError, -1000, "An unknown error occurred while processing the request."}
	case faultEnvelope:
		e = &apiError{http.StatusOK, -1001, "Internal error; unable to process your request. Please try again."}
	case fault429:
		e.msg = fmt.Sprintf("Too much request weight used; current limit is %d request weight per 1 MINUTE. "+
			"Please use WebSocket Streams for live updates to avoid polling the API.", v.usage[0].limit)
	case faultBan:
		e.status = http.StatusTeapot
		e.msg = fmt.Sprintf("Way too much request weight used; IP banned until %d. "+
			"Please use WebSocket Streams for live updates to avoid bans.", now.Add(time.Duration(v.seconds())*time.Second).UnixMilli())
	}
	return answer{status: e.status, body: string(e.append(nil)), retryAfter: v != nil}
}

// apiError is an error as the venue words it. Codes and texts:
// binance-spot-api-docs, errors.md; if the documentation does not say which error a
// request gets, the simulation chooses one.
type apiError struct {
	status int
	code   int
	msg    string
}

func (e *apiError) Error() string { return fmt.Sprintf("%d %s", e.code, e.msg) }

func (e *apiError) append(dst []byte) []byte {
	dst = append(dst, `{"code":`...)
	dst = strconv.AppendInt(dst, int64(e.code), 10)
	dst = append(dst, `,"msg":`...)
	return append(appendString(dst, e.msg), '}')
}

// appendString appends s in quotes, with the escapes that this package needs.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

func bad(code int, format string, args ...any) *apiError {
	return &apiError{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}

var (
	errSymbol     = bad(-1121, "Invalid symbol.")
	errInterval   = bad(-1120, "Invalid interval.")
	errStatus     = bad(-1122, "Invalid symbolStatus.")
	errTickerType = bad(-1139, "Invalid ticker type.")
	errTwice      = bad(-1151, "Symbol is present multiple times in the list.")
	errTogether   = bad(-1128, "Combination of optional parameters invalid.")
	errOther      = bad(-1220, "The symbol's status does not match the requested symbolStatus.")
)

const (
	symbolRange  = `^[\w\-._&&[^a-z]]{1,50}$`
	symbolsRange = `^\["[\w\-._&&[^a-z]]{1,50}"(,"[\w\-._&&[^a-z]]{1,50}"){0,}\]$`
	numberRange  = `^[0-9]{1,20}$`
)

func illegal(name, legal string) *apiError {
	return bad(-1100, "Illegal characters found in parameter '%s'; legal range is '%s'.", name, legal)
}

// parseQuery parses a query string that may contain the named parameters, each once
// and not empty.
func parseQuery(raw string, names ...string) (url.Values, error) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, bad(-1100, "Illegal characters found in a parameter.")
	}
	known := 0
	for _, name := range names {
		v, ok := q[name]
		switch {
		case !ok:
			continue
		case len(v) > 1:
			return nil, bad(-1101, "Duplicate values for parameter '%s' detected.", name)
		case v[0] == "":
			return nil, bad(-1105, "Parameter '%s' was empty.", name)
		}
		known++
	}
	if known < len(q) {
		if len(names) == 0 {
			return nil, bad(-1101, "Too many parameters; expected '0' and received '%d'.", len(q))
		}
		return nil, bad(-1104, "Not all sent parameters were read; read '%d' parameter(s) but was sent '%d'.", known, len(q))
	}
	return q, nil
}

// number parses a whole number parameter; ok is false without it.
func number(q url.Values, name string) (n int64, ok bool, err error) {
	s := q.Get(name)
	if s == "" {
		return 0, false, nil
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || i == 20 {
			return 0, false, illegal(name, numberRange)
		}
	}
	n, err = strconv.ParseInt(s, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return 0, false, bad(-1108, "Parameter '%s' overflowed.", name)
	}
	return n, err == nil, err
}

const (
	defaultKlines = 500
	maxKlines     = 1_000
)

func (m *market) parseKlines(raw string, most int64) (k klinesQuery, err error) {
	q, err := parseQuery(raw, "symbol", "interval", "startTime", "endTime", "timeZone", "limit")
	if err != nil {
		return k, err
	}
	for _, name := range []string{"symbol", "interval"} {
		if !q.Has(name) {
			return k, bad(-1102, "Mandatory parameter '%s' was not sent, was empty/null, or malformed.", name)
		}
	}
	if k.pair, err = m.lookUp(q.Get("symbol")); err != nil {
		return k, err
	}
	var ok bool
	if k.iv, ok = intervalNamed(intervals, q.Get("interval")); !ok {
		return k, errInterval
	}
	k.form = binanceKlines
	if z := q.Get("timeZone"); z != "" && z != "0" && z != "00:00" {
		return k, bad(-1130, "Data sent for parameter 'timeZone' is not valid.")
	}
	start, hasStart, err := number(q, "startTime")
	if err != nil {
		return k, err
	}
	k.start, k.hasStart = min(start, latestTime), hasStart
	end, hasEnd, err := number(q, "endTime")
	if err != nil {
		return k, err
	}
	k.end = min(end, latestTime)
	if !hasEnd {
		k.end = latestTime
	}
	limit, hasLimit, err := number(q, "limit")
	switch {
	case err != nil:
		return k, err
	case !hasLimit:
		limit = defaultKlines
	case limit == 0:
		return k, bad(-1130, "Data sent for parameter 'limit' is not valid.")
	}
	k.limit = int(min(limit, most)) // a greater limit is silently reduced
	return k, nil
}

func (m *market) lookUp(symbol string) (*pair, error) {
	if !legal(symbol) {
		return nil, illegal("symbol", symbolRange)
	}
	if p, ok := m.byName[symbol]; ok {
		return p, nil
	}
	return nil, errSymbol
}

// selection returns the pairs of the parameters symbol, symbols and symbolStatus; all
// is true without them.
func (m *market) selection(q url.Values) (selected []*pair, all bool, err error) {
	if q.Has("symbol") && q.Has("symbols") {
		return nil, false, errTogether
	}
	switch {
	case q.Has("symbol"):
		p, err := m.lookUp(q.Get("symbol"))
		return []*pair{p}, false, err
	case q.Has("symbols"):
		var names []string
		if json.Unmarshal([]byte(q.Get("symbols")), &names) != nil || len(names) == 0 {
			return nil, false, illegal("symbols", symbolsRange)
		}
		seen := map[string]bool{}
		for _, name := range names {
			if !legal(name) {
				return nil, false, illegal("symbols", symbolsRange)
			}
			p, ok := m.byName[name]
			switch {
			case seen[name]:
				return nil, false, errTwice
			case !ok:
				return nil, false, errSymbol
			}
			seen[name] = true
			selected = append(selected, p)
		}
		return selected, false, nil
	}
	return nil, true, nil
}

// infoQuery is one request for exchangeInfo, checked.
type infoQuery struct {
	keep func(*pair) bool
	sets bool // print permissionSets
}

func (m *market) parseInfo(raw string, now int64) (k infoQuery, err error) {
	q, err := parseQuery(raw, "symbol", "symbols", "symbolStatus", "permissions", "showPermissionSets")
	if err != nil {
		return k, err
	}
	selected, all, err := m.selection(q)
	if err != nil {
		return k, err
	}
	if !all && (q.Has("symbolStatus") || q.Has("permissions")) {
		return k, errTogether
	}
	status := q.Get("symbolStatus")
	if err := checkStatus(status); err != nil {
		return k, err
	}
	permissions := []string{"SPOT", "MARGIN", "LEVERAGED"}
	if v := q.Get("permissions"); v != "" {
		permissions = nil
		if v[0] != '[' {
			permissions = []string{v}
		} else if json.Unmarshal([]byte(v), &permissions) != nil {
			return k, bad(-1135, "JSON sent for parameter 'permissions' is not valid")
		}
		for _, v := range permissions {
			if !slices.Contains(knownPermissions, v) {
				return k, bad(-1130, "Data sent for parameter 'permissions' is not valid.")
			}
		}
	}
	switch v := q.Get("showPermissionSets"); v {
	case "", "true":
		k.sets = true
	case "false":
	default:
		return k, illegal("showPermissionSets", "^(true|false)$")
	}
	k.keep = func(p *pair) bool {
		if !all {
			return slices.Contains(selected, p)
		}
		return (status == "" || p.status(now) == status) &&
			slices.ContainsFunc(permissions, func(v string) bool { return slices.Contains(p.permissions(), v) })
	}
	return k, nil
}

var knownPermissions = []string{"SPOT", "MARGIN", "LEVERAGED"}

func checkStatus(status string) error {
	switch status {
	case "", "TRADING", "HALT", "BREAK":
		return nil
	}
	return errStatus
}

// tickerQuery is one request for ticker/24hr, checked.
type tickerQuery struct {
	pairs  []*pair // nil: all
	list   bool    // reply with an array
	status string
	mini   bool
}

func (m *market) parseTicker(raw string, now int64) (k tickerQuery, err error) {
	q, err := parseQuery(raw, "symbol", "symbols", "type", "symbolStatus")
	if err != nil {
		return k, err
	}
	var all bool
	if k.pairs, all, err = m.selection(q); err != nil {
		return k, err
	}
	k.list = all || q.Has("symbols")
	switch q.Get("type") {
	case "", "FULL":
	case "MINI":
		k.mini = true
	default:
		return k, errTickerType
	}
	k.status = q.Get("symbolStatus")
	if err := checkStatus(k.status); err != nil {
		return k, err
	}
	if !all && k.status != "" && slices.ContainsFunc(k.pairs, func(p *pair) bool { return p.status(now) != k.status }) {
		return k, errOther
	}
	return k, nil
}

// weight returns the request weight of a ticker/24hr request.
func (k *tickerQuery) weight() int {
	switch n := len(k.pairs); {
	case n == 0 || n > 100:
		return 80
	case n > 20:
		return 40
	}
	return 2
}

// appendKline appends a row as the venue prints it: open time, prices, volume,
// close time (inclusive, one millisecond before the next), quote volume,
// trades, and what the takers bought.
var binanceKlines = &form{
	head: func(dst []byte, _ *klinesQuery, _ int64) []byte { return append(dst, '[') },
	row: func(dst []byte, k *klinesQuery, c *candle, _ bool) []byte {
		return k.pair.appendKline(dst, k.iv, c)
	},
	tail: func(dst []byte, _ *klinesQuery, _ summary, _ int64) []byte { return append(dst, ']') },
}

// appendKline appends a row as the venue prints it: open time, prices, volume,
// close time (inclusive, one millisecond before the next), quote volume,
// trades, and what the takers bought.
func (p *pair) appendKline(dst []byte, iv interval, c *candle) []byte {
	price := c.mean(p)
	dst = append(dst, '[')
	dst = strconv.AppendInt(dst, c.open*1000, 10)
	for _, v := range [...]int64{c.o, c.h, c.l, c.c} {
		dst = p.appendPrice(append(dst, ','), v)
	}
	dst = p.appendVolume(append(dst, ','), c.volume)
	dst = strconv.AppendInt(append(dst, ','), iv.next(c.open)*1000-1, 10)
	dst = appendQuoted(append(dst, ','), float64(c.volume)*p.lot*price)
	dst = strconv.AppendInt(append(dst, ','), c.trades, 10)
	dst = p.appendVolume(append(dst, ','), c.taker)
	dst = appendQuoted(append(dst, ','), float64(c.taker)*p.lot*price)
	return append(dst, `,"0"]`...)
}

// takeBinance reads {"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":1}
// (web-socket-streams.md).
func takeBinance(s *Server, message []byte) (subs []subscription, answer []byte) {
	var m struct {
		Method string
		Params []string
		ID     int
	}
	fail := func(text string) []byte {
		return fmt.Appendf(nil, `{"error":{"code":2,"msg":%q},"id":%d}`, "Invalid request: "+text, m.ID)
	}
	if json.Unmarshal(message, &m) != nil || m.Method != "SUBSCRIBE" {
		return nil, fail("unknown method")
	}
	for _, stream := range m.Params {
		name, wire, _ := strings.Cut(stream, "@kline_")
		p := s.market.byName[strings.ToUpper(name)]
		iv, ok := intervalNamed(intervals, wire)
		if !ok || s.options.Stream.Refuse != "" && strings.EqualFold(name, s.options.Stream.Refuse) {
			return nil, fail("invalid stream " + stream)
		}
		if p != nil { // the venue accepts streams of pairs that it does not have
			subs = append(subs, subscription{pair: p, iv: iv})
		}
	}
	return subs, fmt.Appendf(nil, `{"result":null,"id":%d}`, m.ID)
}

// pushBinance appends the event of a candle.
func pushBinance(dst []byte, sub *subscription, c *candle, closed bool, now int64) []byte {
	p := sub.pair
	price := c.mean(p)
	dst = strconv.AppendInt(append(dst, `{"e":"kline","E":`...), now, 10)
	dst = appendString(append(dst, `,"s":`...), p.Symbol)
	dst = strconv.AppendInt(append(dst, `,"k":{"t":`...), c.open*1000, 10)
	dst = strconv.AppendInt(append(dst, `,"T":`...), sub.iv.next(c.open)*1000-1, 10)
	dst = appendString(append(dst, `,"s":`...), p.Symbol)
	dst = appendString(append(dst, `,"i":`...), sub.iv.name)
	dst = append(dst, `,"f":100,"L":200`...)
	for i, v := range [...]int64{c.o, c.c, c.h, c.l} {
		dst = append(dst, `,"`...)
		dst = append(dst, "ochl"[i])
		dst = p.appendPrice(append(dst, `":`...), v)
	}
	dst = p.appendVolume(append(dst, `,"v":`...), c.volume)
	dst = strconv.AppendInt(append(dst, `,"n":`...), c.trades, 10)
	dst = strconv.AppendBool(append(dst, `,"x":`...), closed)
	dst = appendQuoted(append(dst, `,"q":`...), float64(c.volume)*p.lot*price)
	dst = p.appendVolume(append(dst, `,"V":`...), c.taker)
	dst = appendQuoted(append(dst, `,"Q":`...), float64(c.taker)*p.lot*price)
	return append(dst, `,"B":"0"}}`...)
}

// ticker writes the last 24 hours of p, to the second. Trades are numbered
// from the listing on, at the pair's mean rate.
func (m *market) ticker(o *out, p *pair, mini bool, nowMs int64) {
	now := nowMs / 1000
	c := p.lastDay(now)
	mean := c.mean(p)
	firstID, lastID := int64(-1), int64(-1)
	if c.trades > 0 {
		lastID = int64(p.path.trades*float64(now-p.life.from)/day) + c.trades
		firstID = lastID - c.trades + 1
	}
	b := append(o.buf, `{"symbol":"`...)
	b = append(b, p.Symbol...)
	price := func(name string, ticks int64) {
		b = append(append(b, name...), '"')
		if ticks < 0 {
			b, ticks = append(b, '-'), -ticks
		}
		b = append(appendDecimal(b, ticks, p.TickDecimals), '"')
	}
	integer := func(name string, v int64) { b = strconv.AppendInt(append(b, name...), v, 10) }
	b = append(b, '"')
	if !mini {
		change, percent := c.c-c.o, 0.0
		if c.o > 0 {
			percent = 100 * float64(change) / float64(c.o)
		}
		price(`,"priceChange":`, change)
		b = append(b, `,"priceChangePercent":"`...)
		b = strconv.AppendFloat(b, percent, 'f', 3, 64)
		b = appendQuoted(append(b, `","weightedAvgPrice":`...), mean)
		price(`,"prevClosePrice":`, c.o)
		price(`,"lastPrice":`, c.c)
		b = p.appendVolume(append(b, `,"lastQty":`...), c.volume/max(1, c.trades))
		price(`,"bidPrice":`, c.c)
		b = p.appendVolume(append(b, `,"bidQty":`...), c.volume/1000)
		price(`,"askPrice":`, c.c+1)
		b = p.appendVolume(append(b, `,"askQty":`...), c.volume/1200)
	}
	price(`,"openPrice":`, c.o)
	price(`,"highPrice":`, c.h)
	price(`,"lowPrice":`, c.l)
	if mini {
		price(`,"lastPrice":`, c.c)
	}
	b = p.appendVolume(append(b, `,"volume":`...), c.volume)
	b = appendQuoted(append(b, `,"quoteVolume":`...), float64(c.volume)*p.lot*mean)
	integer(`,"openTime":`, nowMs-day*1000)
	integer(`,"closeTime":`, nowMs)
	integer(`,"firstId":`, firstID)
	integer(`,"lastId":`, lastID)
	integer(`,"count":`, c.trades)
	o.buf = append(b, '}')
	o.more()
}

func (m *market) tickers(o *out, k *tickerQuery, nowMs int64) {
	if !k.list {
		m.ticker(o, k.pairs[0], k.mini, nowMs)
		return
	}
	o.buf = append(o.buf, '[')
	first := true
	one := func(p *pair) {
		if k.status != "" && p.status(nowMs/1000) != k.status || o.failed {
			return
		}
		if !first {
			o.buf = append(o.buf, ',')
		}
		first = false
		m.ticker(o, p, k.mini, nowMs)
	}
	if k.pairs != nil {
		for _, p := range k.pairs {
			one(p)
		}
	} else {
		for i := range m.pairs {
			one(&m.pairs[i])
		}
	}
	o.buf = append(o.buf, ']')
}

// lastPrices writes ticker/price without a symbol.
func (m *market) lastPrices(o *out, now time.Time) {
	o.buf = append(o.buf, '[')
	o.list(m, func(*pair) bool { return true }, func(dst []byte, p *pair) []byte {
		dst = append(append(append(dst, `{"symbol":"`...), p.Symbol...), `","price":"`...)
		return append(appendDecimal(dst, p.lastPrice(now), p.TickDecimals), `"}`...)
	})
	o.buf = append(o.buf, ']')
}

// permissions returns the permissions of which an account needs one to trade p.
func (p *pair) permissions() []string {
	switch {
	case p.Kind == Leveraged:
		return knownPermissions[2:]
	case p.Kind == Healthy:
		return knownPermissions[:2]
	}
	return knownPermissions[:1]
}

// info writes exchangeInfo.
func (m *market) info(o *out, k *infoQuery, weightLimit int, nowMs int64) {
	o.buf = append(o.buf, `{"timezone":"UTC","serverTime":`...)
	o.buf = strconv.AppendInt(o.buf, nowMs, 10)
	o.buf = append(o.buf, `,"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":`...)
	o.buf = strconv.AppendInt(o.buf, int64(weightLimit), 10)
	o.buf = append(o.buf, `},{"rateLimitType":"ORDERS","interval":"SECOND","intervalNum":10,"limit":100},`+
		`{"rateLimitType":"ORDERS","interval":"DAY","intervalNum":1,"limit":200000},`+
		`{"rateLimitType":"RAW_REQUESTS","interval":"MINUTE","intervalNum":5,"limit":61000}],"exchangeFilters":[],"symbols":[`...)
	first := true
	for i := range m.pairs {
		p := &m.pairs[i]
		if o.failed || !k.keep(p) {
			continue
		}
		if !first {
			o.buf = append(o.buf, ',')
		}
		first = false
		o.buf = p.appendInfo(o.buf, k.sets, nowMs/1000)
		o.more()
	}
	o.buf = append(o.buf, `]}`...)
}

func (p *pair) appendInfo(b []byte, sets bool, now int64) []byte {
	text := func(name, v string) {
		b = append(append(b, name...), '"')
		b = append(append(b, v...), '"')
	}
	decimal := func(name string, units int64, decimals int) {
		b = append(append(b, name...), '"')
		b = append(appendDecimal(b, units, decimals), '"')
	}
	text(`{"symbol":`, p.Symbol)
	text(`,"status":`, p.status(now))
	text(`,"baseAsset":`, p.Base)
	text(`,"baseAssetPrecision":8,"quoteAsset":`, p.Quote)
	b = append(b, `,"quotePrecision":8,"quoteAssetPrecision":8,"baseCommissionPrecision":8,"quoteCommissionPrecision":8,`+
		`"orderTypes":["LIMIT","LIMIT_MAKER","MARKET","STOP_LOSS","STOP_LOSS_LIMIT","TAKE_PROFIT","TAKE_PROFIT_LIMIT"],`+
		`"icebergAllowed":true,"ocoAllowed":true,"otoAllowed":true,"quoteOrderQtyMarketAllowed":true,"allowTrailingStop":true,`+
		`"cancelReplaceAllowed":true,"amendAllowed":true,"isSpotTradingAllowed":true,"isMarginTradingAllowed":`...)
	b = strconv.AppendBool(b, p.Kind == Healthy)
	decimal(`,"filters":[{"filterType":"PRICE_FILTER","minPrice":`, 1, p.TickDecimals)
	// as far above the price as the venue leaves room
	decimal(`,"maxPrice":`, int64(math.Pow10(int(p.path.base/math.Ln10)+3)), p.TickDecimals)
	decimal(`,"tickSize":`, 1, p.TickDecimals)
	decimal(`},{"filterType":"LOT_SIZE","minQty":`, 1, p.LotDecimals)
	b = append(b, `,"maxQty":"9000000.00000000"`...)
	decimal(`,"stepSize":`, 1, p.LotDecimals)
	b = append(b, `},{"filterType":"ICEBERG_PARTS","limit":10},`+
		`{"filterType":"MARKET_LOT_SIZE","minQty":"0.00000000","maxQty":"9000.00000000","stepSize":"0.00000000"},`+
		`{"filterType":"TRAILING_DELTA","minTrailingAboveDelta":10,"maxTrailingAboveDelta":2000,"minTrailingBelowDelta":10,"maxTrailingBelowDelta":2000},`+
		`{"filterType":"PERCENT_PRICE_BY_SIDE","bidMultiplierUp":"5","bidMultiplierDown":"0.2","askMultiplierUp":"5","askMultiplierDown":"0.2","avgPriceMins":5},`+
		`{"filterType":"NOTIONAL","minNotional":"5.00000000","applyMinToMarket":true,"maxNotional":"9000000.00000000","applyMaxToMarket":false,"avgPriceMins":5},`+
		`{"filterType":"MAX_NUM_ORDERS","maxNumOrders":200},{"filterType":"MAX_NUM_ALGO_ORDERS","maxNumAlgoOrders":5}],"permissions":[],"permissionSets":[`...)
	if sets {
		separator := byte('[')
		for _, v := range p.permissions() {
			b = append(append(append(b, separator, '"'), v...), '"')
			separator = ','
		}
		b = append(b, ']')
	}
	return append(b, `],"defaultSelfTradePreventionMode":"EXPIRE_MAKER","allowedSelfTradePreventionModes":["EXPIRE_TAKER","EXPIRE_MAKER","EXPIRE_BOTH","DECREMENT"]}`...)
}

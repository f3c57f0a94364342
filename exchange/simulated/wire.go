package simulated

import (
	"math"
	"net/http"
	"strconv"
	"sync"
)

// out is a response being written. A response larger than a few pages of klines is
// streamed without Content-Length, so that a list of five thousand pairs takes no
// memory; kept makes out hold all of it, for faults.
type out struct {
	buf    []byte
	w      http.ResponseWriter
	kept   bool
	sent   bool // part of it is sent
	failed bool // the client disconnected
}

const (
	outRoom = 32 << 10 // of a pooled buffer
	outSend = 30 << 10 // beyond which it is sent
)

var outs = sync.Pool{New: func() any { return &out{buf: make([]byte, 0, outRoom)} }}

// more is called after each row and sends a full buffer.
func (o *out) more() {
	if len(o.buf) < outSend || o.kept {
		return
	}
	if !o.failed {
		_, err := o.w.Write(o.buf)
		o.sent, o.failed = true, err != nil
	}
	o.buf = o.buf[:0]
}

// release returns the buffer to the pool, unless it grew.
func (o *out) release() {
	if cap(o.buf) <= 2*outRoom {
		*o = out{buf: o.buf[:0]}
		outs.Put(o)
	}
}

func (p *pair) appendPrice(dst []byte, ticks int64) []byte {
	dst = append(dst, '"')
	return append(appendDecimal(dst, ticks, p.TickDecimals), '"')
}

func (p *pair) appendVolume(dst []byte, lots int64) []byte {
	dst = append(dst, '"')
	return append(appendDecimal(dst, lots, p.LotDecimals), '"')
}

func appendQuoted(dst []byte, v float64) []byte {
	return append(appendAmount(append(dst, '"'), v), '"')
}

// mean returns the price for the quote volume of a candle.
func (c *candle) mean(p *pair) float64 {
	return float64(c.o+c.h+c.l+c.c) / 4 * p.tick
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

// until returns the end of p's data, up to the current second.
func (p *pair) until(now int64) span { return span{p.life.from, min(p.life.to, now+1)} }

// page is the part of a pair's history for a query.
type page struct {
	span              // from the first to the end of the last candle, as far as there is data
	first, last int64 // open times; first > last if empty
}

// resolve finds the page of k, now in Unix seconds.
func (m *market) resolve(k *klinesQuery, now int64) page {
	life := k.pair.until(now)
	if life.from >= life.to {
		return page{first: 1}
	}
	oldest, newest := k.iv.floor(life.from), k.iv.floor(life.to-1)
	p := page{last: min(newest, k.iv.floor(floorDiv(k.end, 1000)))}
	if k.hasStart {
		p.first = max(oldest, k.iv.ceil(floorDiv(k.start+999, 1000)))
	} else {
		// The newest candles: extend back by the number of missing ones.
		n := k.limit - 1
		for {
			p.first = max(oldest, k.iv.back(p.last, n))
			holes := m.holes(nil, k.pair, span{p.first, k.iv.next(p.last)})
			gone := missing(k.iv, holes, p.first, p.last, life)
			if n+1-gone >= k.limit || p.first == oldest {
				break
			}
			n = k.limit - 1 + gone
		}
	}
	p.span = span{max(life.from, p.first), min(life.to, k.iv.next(p.last))}
	return p
}

// klines writes the rows of k, and reports whether all of them are closed.
func (m *market) klines(o *out, k *klinesQuery, p page, now int64) (closed bool) {
	o.buf = append(o.buf, '[')
	if p.first <= p.last {
		first := true
		w := walk{path: &k.pair.path, iv: k.iv, span: p.span, limit: k.limit}
		w.holes = m.holes(nil, k.pair, p.span)
		w.emit = func(c *candle) {
			if !first {
				o.buf = append(o.buf, ',')
			}
			first = false
			o.buf = k.pair.appendKline(o.buf, k.iv, c)
			o.more()
		}
		w.run()
	}
	o.buf = append(o.buf, ']')
	return k.iv.next(p.last) <= min(now, k.pair.life.to)
}

// ticker writes the last 24 hours of p, to the second. Trades are numbered
// from the listing on, at the pair's mean rate.
func (m *market) ticker(o *out, p *pair, mini bool, nowMs int64) {
	now := nowMs / 1000
	s := p.until(now)
	s.from = max(s.from, now+1-day)
	var c candle
	got := false
	if s.from < s.to {
		w := walk{path: &p.path, span: s, limit: 1, everything: true, holes: m.holes(nil, p, s)}
		w.emit = func(sum *candle) { c, got = *sum, true }
		w.run()
	}
	if !got && p.life.from <= now {
		// No trades, or all in gaps: the last price stays.
		last := p.path.at(min(p.life.to, now+1) - 1)
		c.o = ticks(last.close)
		c.h, c.l, c.c = c.o, c.o, c.o
	}
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

// at returns the second t of a path.
func (p *path) at(t int64) node {
	n := p.root(t)
	for n.length > 1 {
		var l, r node
		p.split(&n, &l, &r)
		n = l
		if t >= r.start {
			n = r
		}
	}
	return n
}

func (m *market) tickers(o *out, k *tickerQuery, nowMs int64) {
	if !k.list {
		m.ticker(o, k.pairs[0], k.mini, nowMs)
		return
	}
	o.buf = append(o.buf, '[')
	first := true
	one := func(p *pair) {
		if k.status != "" && p.Status != k.status || o.failed {
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
		o.buf = p.appendInfo(o.buf, k.sets)
		o.more()
	}
	o.buf = append(o.buf, `]}`...)
}

func (p *pair) appendInfo(b []byte, sets bool) []byte {
	text := func(name, v string) {
		b = append(append(b, name...), '"')
		b = append(append(b, v...), '"')
	}
	decimal := func(name string, units int64, decimals int) {
		b = append(append(b, name...), '"')
		b = append(appendDecimal(b, units, decimals), '"')
	}
	text(`{"symbol":`, p.Symbol)
	text(`,"status":`, p.Status)
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

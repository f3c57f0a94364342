package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// own refuses an exchange this process does not talk to.
func (a *API) own(q *query) (string, error) {
	name, err := q.exchange(a)
	if served := a.Analyzer.Market().Exchange; err == nil && name != served {
		return "", unknownExchange(name, served)
	}
	return name, err
}

// getSymbols answers GET /symbols: every pair of the exchange, with whether a
// sweep covers it and why not.
func (a *API) getSymbols(w *reply, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, "exchange", "symbol", "quote", "selected", "trading", "reason")
	if err != nil {
		return err
	}
	exchange, err := a.own(&q)
	if err != nil {
		return err
	}
	var prefix string
	if text := q.get("symbol"); text != "" {
		ok := false
		if prefix, ok = canonical(text); !ok {
			return badParameter("symbol", "%q cannot begin a symbol", clip(text))
		}
	}
	quote := strings.ToUpper(q.get("quote"))
	reason := q.get("reason")
	selected, onlySelected, err := q.boolean("selected")
	if err != nil {
		return err
	}
	trading, onlyTrading, err := q.boolean("trading")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), slotTimeout)
	defer cancel()
	w.wait(r)
	h := w.Header()
	h["Content-Type"] = contentJSON
	h["Cache-Control"] = noCache
	out := stream{w: w}
	out.buf = append(out.buf, `{"exchange":`...)
	out.buf = appendString(out.buf, exchange)
	out.buf = append(out.buf, `,"symbols":[`...)
	n := 0
	for l, err := range a.Analyzer.Symbols(ctx) {
		if err != nil {
			return err
		}
		if !strings.HasPrefix(l.Name, prefix) || quote != "" && l.Quote != quote ||
			onlySelected && l.Selected != selected || onlyTrading && l.Trading != trading ||
			reason != "" && l.Reason.Code != reason {
			continue
		}
		if n > 0 {
			out.buf = append(out.buf, ',')
		}
		n++
		out.buf = appendListing(out.buf, &l)
		if err := out.spill(); err != nil {
			return err
		}
	}
	// known for certain only once the exchange has answered
	out.buf = append(out.buf, `],"count":`...)
	out.buf = strconv.AppendInt(out.buf, int64(n), 10)
	out.buf = append(out.buf, `,"simulated":`...)
	out.buf = strconv.AppendBool(out.buf, a.Analyzer.Market().Simulated)
	out.buf = append(out.buf, "}\n"...)
	return out.flush()
}

// defaultKlines is how many klines GET /klines returns when it is not told.
const defaultKlines = 500

// getKlines answers GET /klines/{symbol} from the columns of a slot. The slot
// is held while the client reads, so the whole reply has one deadline.
func (a *API) getKlines(w *reply, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, "exchange", "interval", "limit")
	if err != nil {
		return err
	}
	key, err := a.ownSeries(&q, w, r)
	if err != nil {
		return err
	}
	limit, err := q.integer("limit", 1, service.MaxKlineLimit, defaultKlines)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), slotTimeout)
	defer cancel()
	w.wait(r)
	return a.Analyzer.Candles(ctx, key.Symbol, key.Interval, limit, func(c *levels.Candles) error {
		w.deadline(writeTimeout)
		h := w.Header()
		h["Content-Type"] = contentJSON
		h["Cache-Control"] = noCache
		out := stream{w: w, bounded: true}
		out.buf = a.appendSeries(out.buf, key)
		out.buf = append(out.buf, `,"missing_klines":`...)
		out.buf = strconv.AppendInt(out.buf, int64(c.Missing()), 10)
		out.buf = append(out.buf, `,"klines":[`...)
		for i := range c.Len() {
			if i > 0 {
				out.buf = append(out.buf, ',')
			}
			out.buf = appendKline(out.buf, c.At(i))
			if err := out.spill(); err != nil {
				return err
			}
		}
		out.buf = append(out.buf, "]}\n"...)
		return out.flush()
	})
}

// formingTimeout bounds the wait for a forming candle, which is of use to nobody
// when it comes late.
const formingTimeout = 5 * time.Second

// getForming answers GET /klines/{symbol}/forming.
func (a *API) getForming(w *reply, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, "exchange", "interval")
	if err != nil {
		return err
	}
	key, err := a.ownSeries(&q, w, r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), formingTimeout)
	defer cancel()
	f, err := a.Analyzer.Forming(ctx, key.Symbol, key.Interval)
	if err != nil {
		return err
	}
	h := w.Header()
	h["Content-Type"] = contentJSON
	h["Cache-Control"] = noCache
	b := a.appendSeries(nil, key)
	if f == nil {
		return write(w, append(b, `,"at":null,"closes_at":null,"kline":null}`+"\n"...))
	}
	b = append(b, `,"at":`...)
	b = appendTime(b, f.At)
	b = append(b, `,"closes_at":`...)
	b = appendMillis(b, f.OpenTime+key.Interval.Milliseconds())
	b = append(b, `,"kline":`...)
	return write(w, append(appendKline(b, f.Candle), "}\n"...))
}

// ownSeries returns the series a request names, of the exchange this process
// talks to.
func (a *API) ownSeries(q *query, w *reply, r *http.Request) (key service.Key, err error) {
	if key.Exchange, err = a.own(q); err != nil {
		return key, err
	}
	if key.Symbol, err = pathSymbol(w, r); err != nil {
		return key, err
	}
	key.Interval, err = q.interval(a)
	return key, err
}

// appendSeries begins an object that is about candles of a series.
func (a *API) appendSeries(b []byte, key service.Key) []byte {
	b = append(b, `{"symbol":`...)
	b = appendString(b, key.Symbol)
	b = append(b, `,"exchange":`...)
	b = appendString(b, key.Exchange)
	b = append(b, `,"interval":`...)
	b = appendString(b, string(key.Interval))
	b = append(b, `,"simulated":`...)
	return strconv.AppendBool(b, a.Analyzer.Market().Simulated)
}

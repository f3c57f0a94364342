package api

import (
	"context"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidemark/job"
	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

// getExchanges serves GET /exchanges: the exchanges this process serves, and the others
// with levels in the database.
func (a *API) getExchanges(w *reply, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	stored, err := a.Store.Markets(r.Context())
	if err != nil {
		return err
	}
	pairs, err := a.Store.PairCounts(r.Context())
	if err != nil {
		return err
	}
	var list wire.ExchangeList
	for _, m := range a.Analyzer.Markets() {
		list.Exchanges = append(list.Exchanges, wire.Exchange{
			Exchange: m.Exchange, Served: true, Status: a.statusOf(m), Intervals: []wire.StoredInterval{},
		})
	}
	for _, m := range stored {
		at := slices.IndexFunc(list.Exchanges, func(e wire.Exchange) bool { return e.Exchange == m.Exchange })
		if at < 0 {
			at = len(list.Exchanges)
			list.Exchanges = append(list.Exchanges, wire.Exchange{Exchange: m.Exchange})
		}
		e := &list.Exchanges[at]
		e.Intervals = append(e.Intervals, wire.StoredInterval{Interval: string(m.Interval), Pairs: m.Pairs, AsOf: wire.Moment(m.AsOf)})
	}
	for i := range list.Exchanges {
		if n, known := pairs[list.Exchanges[i].Exchange]; known {
			list.Exchanges[i].Pairs = &n
		}
	}
	return sendJSON(w, &list)
}

// statusOf returns how requests to an exchange of this process fare.
func (a *API) statusOf(m service.Market) *wire.ExchangeStatus {
	var s service.VenueStatus
	if a.Status != nil {
		s = a.Status(m.Exchange)
	}
	out := &wire.ExchangeStatus{Simulated: m.Simulated, Replay: stringOrNil(s.Replay), Budgets: []wire.Budget{}, LastSuccess: momentOrNil(s.LastSuccess), Reachable: s.Reachable}
	for _, b := range s.Budgets {
		used := 0.0
		if b.Limit > 0 {
			used = wire.Rounded(float64(b.Used)/float64(b.Limit), 3)
		}
		out.Budgets = append(out.Budgets, wire.Budget{Name: b.Name, Used: b.Used, Limit: b.Limit, UsedShare: used, Share: b.Share})
	}
	if time.Now().Before(s.PausedUntil) {
		reason := service.Code(service.ErrRateLimited)
		if s.Banned {
			reason = service.Code(service.ErrBanned)
		}
		out.PausedUntil, out.PauseReason = momentOrNil(s.PausedUntil), &reason
	}
	if s.ClockSkew != nil {
		out.ClockSkewMS = new(s.ClockSkew.Milliseconds())
	}
	if l := s.Live; l != nil {
		out.Live = &wire.LivePairs{
			Series: l.Series, Polled: l.Polled, Merged: l.Merged, Unkept: l.Unkept, Waiting: l.Waiting, Connections: l.Connections, Subscriptions: l.Subscriptions,
			Frames: l.Frames, LastFrame: momentOrNil(l.LastFrame), Audits: l.Audits, Differences: l.Differences,
			Reconnects: wire.Reconnects{Planned: l.Reconnects["planned"], Closed: l.Reconnects["closed"], Silent: l.Reconnects["silent"], Failed: l.Reconnects["failed"]},
		}
	}
	if p := s.Prices; p != nil {
		out.Prices = &wire.PricesRead{Pairs: p.Pairs(), ReadAt: momentOrNil(p.At), EverySeconds: p.Every.Seconds(), Current: time.Now().Before(p.Until())}
	}
	return out
}

// symbolsFresh is how long a client may cache the list of pairs and their volumes: the
// exchange client reads them no more often.
const symbolsFresh = time.Minute

// getSymbols serves GET /symbols: every pair of the exchanges, and whether a sweep covers
// it and why not. Age is the age of the oldest list; it exceeds symbolsFresh if an
// exchange does not answer.
func (a *API) getSymbols(w *reply, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, "exchange", "symbol", "quote", "selected", "trading", "reason")
	if err != nil {
		return err
	}
	exchanges, err := q.exchanges(a)
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
	lists := make([]iter.Seq2[job.Listing, error], len(exchanges))
	at := time.Now()
	for i, exchange := range exchanges {
		listed, read, err := a.Jobs.LastSymbols(ctx, exchange)
		if err != nil {
			return err
		}
		lists[i] = listed
		if read.Before(at) {
			at = read
		}
	}
	h := w.Header()
	h["Content-Type"] = contentJSON
	h["Cache-Control"] = []string{a.scope + "max-age=" + strconv.Itoa(int(symbolsFresh/time.Second))}
	h["Age"] = []string{strconv.FormatInt(int64(max(0, time.Since(at))/time.Second), 10)}
	out := stream{w: w}
	list := wire.SymbolList[each[wire.Symbol]]{Exchange: nameOf(exchanges)}
	send := func(exchange string, listed iter.Seq2[job.Listing, error], yield func(*wire.Symbol) error) error {
		for l, err := range listed {
			if err != nil {
				return err
			}
			if !startsWith(l.Name, prefix) || quote != "" && l.Quote != quote ||
				onlySelected && l.Selected != selected || onlyTrading && l.Trading != trading ||
				reason != "" && l.Reason.Code != reason {
				continue
			}
			if list.Count == 0 {
				if err := a.hold(ctx, w, 2*streamBuffer); err != nil {
					return err
				}
			}
			list.Count++
			s := symbolOf(exchange, &l)
			if err := yield(&s); err != nil {
				return err
			}
		}
		market, err := a.Analyzer.Market(exchange) // known for certain only once the exchange has answered
		list.Simulated = list.Simulated || market.Simulated
		return err
	}
	list.Symbols = func(yield func(*wire.Symbol) error) error {
		for i, exchange := range exchanges {
			if err := send(exchange, lists[i], yield); err != nil {
				return err
			}
		}
		return nil
	}
	if err := out.encode(&list); err != nil { // out reads the fields after the symbols once these are written
		return err
	}
	return out.flush()
}

// defaultKlines is the default limit of GET /klines.
const defaultKlines = 500

// klineBytes is about the size of a kline in a reply.
const klineBytes = 80

// getKlines serves GET /klines/{symbol} from the columns of a slot. It encodes the
// reply while it holds the slot and sends it after releasing the slot, so that a slow
// client delays no analysis.
func (a *API) getKlines(w *reply, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, "exchange", "interval", "limit")
	if err != nil {
		return err
	}
	key, name, err := a.series(&q, w, r)
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
	// Without room for the reply, refuse before anything is fetched. The room is not
	// held while the request waits for the exchange, so that other replies can use it,
	// nor is it waited for while the request holds a slot.
	taken, err := a.replies.take(ctx, int64(limit)*klineBytes)
	if err != nil {
		return err
	}
	a.replies.give(taken)
	var b []byte
	encode := func(c *levels.Candles, simulated bool) error {
		if err := a.holdWithin(ctx, w, int64(c.Len())*klineBytes, 0); err != nil {
			return err
		}
		b = appendJSON(make([]byte, 0, 256+klineBytes*c.Len()), &wire.KlineList[each[kline]]{
			Symbol: key.Symbol, Name: name, Exchange: key.Exchange, Interval: string(key.Interval), Simulated: simulated, MissingKlines: c.Missing(),
			Klines: func(yield func(*kline) error) error {
				var k kline
				for i := range c.Len() {
					k = kline(c.At(i))
					if err := yield(&k); err != nil {
						return err
					}
				}
				return nil
			},
		})
		b = append(b, '\n')
		return nil
	}
	if _, unserved := a.Analyzer.Market(key.Exchange); unserved == nil {
		err = a.Analyzer.Candles(ctx, key, limit, func(c *levels.Candles) error {
			market, err := a.Analyzer.Market(key.Exchange)
			if err != nil {
				return err
			}
			return encode(c, market.Simulated)
		})
	} else {
		// Another process serves the other exchange; the candles it has analysed are
		// stored.
		var snap service.Snapshot
		if snap, err = a.Store.Snapshot(ctx, key, time.Time{}); err != nil {
			return err
		}
		err = a.Analyzer.Recall(ctx, &snap, limit, 0, func(c *levels.Candles) error {
			return encode(c, snap.Simulated)
		})
	}
	if err != nil {
		return err
	}
	w.deadline(writeTimeout)
	h := w.Header()
	h["Content-Type"] = contentJSON
	h["Cache-Control"] = noCache
	return write(w, b)
}

// getForming serves GET /klines/{symbol}/forming.
func (a *API) getForming(w *reply, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, "exchange", "interval")
	if err != nil {
		return err
	}
	key, name, err := a.series(&q, w, r)
	if err != nil {
		return err
	}
	f, err := a.Analyzer.Forming(r.Context(), key)
	if err != nil {
		return err
	}
	market, err := a.Analyzer.Market(key.Exchange)
	if err != nil {
		return err
	}
	h := w.Header()
	h["Content-Type"] = contentJSON
	h["Cache-Control"] = noCache
	reply := wire.FormingKline{Symbol: key.Symbol, Name: name, Exchange: key.Exchange, Interval: string(key.Interval), Simulated: market.Simulated}
	if f != nil {
		reply.At, reply.ClosesAt = momentOrNil(f.At), new(time.UnixMilli(f.OpenTime+key.Interval.Milliseconds()).UTC())
		reply.Kline = &wire.Kline{float64(f.OpenTime), f.Open, f.High, f.Low, f.Close, f.Volume}
	}
	return write(w, append(appendJSON(nil, &reply), '\n'))
}

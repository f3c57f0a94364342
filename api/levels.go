package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// getLevels serves GET /levels/{symbol}, from the cache if possible.
func (a *API) getLevels(w *reply, r *http.Request) error {
	err := a.sendLevels(w, r)
	if err != nil {
		w.Header()["Vary"] = varyAccept
	}
	return err
}

func (a *API) sendLevels(w *reply, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, "interval", "exchange", "at", "format", "min_edge", "faint")
	if err != nil {
		return err
	}
	several, err := q.intervals()
	if err != nil {
		return err
	}
	key, pair, err := a.written(&q, w, r)
	if err != nil {
		return err
	}
	if key.Exchange == allExchanges {
		if several != nil {
			return badParameter("interval", "only one with exchange=all")
		}
		return a.sendTogether(w, r, &q, pair, key.Interval)
	}
	at, err := q.moment("at")
	if err != nil {
		return err
	}
	f, err := q.format(r, "json", "csv", "ndjson", "pine")
	if err != nil {
		return err
	}
	if several != nil && f == formatPine {
		return badParameter("format", "a script draws one interval")
	}
	show, err := q.shown(a)
	if err != nil {
		return err
	}
	now := w.start
	if at.After(now) {
		return badParameter("at", "%s has not come yet", at.Format(time.RFC3339))
	}
	// Most requests name the pair as the exchange does, and need no look at the others.
	if key.Exchange == "" {
		of, err := a.resolve(r.Context(), "", pair)
		if err != nil {
			return err
		}
		key.Exchange, key.Symbol = of.exchange, of.symbol
	}
	send := func(key service.Key) error {
		now := a.clock(key.Exchange, now)
		if several != nil {
			return a.sendIntervals(w, r, key, several, f, show, at, now)
		}
		if !at.IsZero() || f != formatJSON || show.Least > 0 {
			return a.uncached(w, r, key, f, show, at, now)
		}
		return a.cachedLevels(w, r, key, show, now)
	}
	missing := send(key)
	if !errors.Is(missing, service.ErrNotAnalyzed) || errors.Is(missing, service.ErrUnreadable) {
		return missing
	}
	of, err := a.resolve(r.Context(), key.Exchange, pair)
	switch {
	case err != nil:
		return err
	case of.exchange == key.Exchange && of.symbol == key.Symbol:
		return missing
	}
	return send(service.Key{Exchange: of.exchange, Symbol: of.symbol, Interval: key.Interval})
}

// newest returns the reply with the newest analysis, from the cache if possible.
func (a *API) newest(ctx context.Context, key service.Key, show Shown, now time.Time) (*cached, error) {
	prices := a.pricesVersion(key.Exchange, key.Symbol)
	e, generation := a.cache.get(cacheKey{Key: key, faint: show.Faint}, now, prices)
	if e != nil {
		a.metrics.hits.Inc()
		return e, nil
	}
	a.metrics.misses.Inc()
	snap, err := a.Store.Snapshot(ctx, key, time.Time{})
	if err != nil {
		return nil, err
	}
	e = a.encodeNewest(key, &snap, show, now, prices)
	a.cache.put(e, generation)
	return e, nil
}

// encodeNewest builds the reply with the newest analysis of a pair, as of its last price.
// The version of the prices is that of a moment before the call.
func (a *API) encodeNewest(key service.Key, s *service.Snapshot, show Shown, now time.Time, prices int64) *cached {
	e := encodeLevels(key, formatJSON, a.atPrice(s, now), show, now)
	e.prices = prices
	if next := a.nextPrice(key.Exchange, key.Symbol); !next.IsZero() && next.Before(e.fresh) {
		e.fresh = next
	}
	return e
}

// cachedLevels answers with the newest analysis, from the cache if possible.
func (a *API) cachedLevels(w *reply, r *http.Request, key service.Key, show Shown, now time.Time) error {
	e, err := a.newest(r.Context(), key, show, now)
	if err != nil {
		return err
	}
	// There can be no newer analysis before the next candle has closed, and no newer price
	// before the next reading.
	cacheControl := noCache
	if left := e.fresh.Sub(now); left >= time.Second {
		cacheControl = e.maxAge(a.scope, int64(left/time.Second))
	}
	return e.send(w, r, cacheControl)
}

// maxAge returns the value of Cache-Control with seconds left. It is made once for each
// second.
func (e *cached) maxAge(scope string, seconds int64) []string {
	m := e.age.Load()
	if m == nil || m.seconds != seconds {
		m = &maxAge{seconds, [1]string{scope + "max-age=" + strconv.FormatInt(seconds, 10)}}
		e.age.Store(m)
	}
	return m.value[:]
}

// pastAge is how long a client may cache an answer about the past.
const pastAge = 5 * time.Minute

// uncached answers in any format with the newest analysis. If at is not zero, it
// answers with the analysis that was the newest at that time, judged at that time and
// without a price between closes. The
// answer seldom changes once the next candle has been analysed, but a batch may be
// late, and old analyses are deleted.
func (a *API) uncached(w *reply, r *http.Request, key service.Key, f format, show Shown, at, now time.Time) error {
	snap, err := a.Store.Snapshot(r.Context(), key, at)
	if err != nil {
		return err
	}
	cacheControl := noCache
	s := &snap
	switch {
	case !at.IsZero():
		cacheControl = a.pastControl(key.Interval, at, now)
		now = at
	case f != formatPine: // a script is drawn later, too
		s = a.atPrice(s, now)
	}
	return encodeLevels(key, f, s, show, now).send(w, r, cacheControl)
}

// pastControl returns the value of Cache-Control of an answer about the time at.
func (a *API) pastControl(interval levels.Interval, at, now time.Time) []string {
	if !now.After(at.Add(2 * interval.Duration())) {
		return noCache
	}
	return []string{a.scope + "max-age=" + strconv.Itoa(int(pastAge/time.Second))}
}

// encodeLevels builds the reply with s, judged at the time now.
func encodeLevels(key service.Key, f format, s *service.Snapshot, show Shown, now time.Time) *cached {
	b := make([]byte, 0, 1024+512*(len(s.Supports)+len(s.Resistances)))
	switch f {
	case formatJSON:
		b = append(AppendAnalysis(b, s, now, show), '\n')
	case formatPine:
		b = appendPine(b, s, now, show)
	default:
		b = appendRows(b, f, s, now, show)
	}
	e := newCached(cacheKey{Key: key, faint: show.Faint}, b, formatTypes[f], s, now)
	if f == formatJSON {
		e.outline = outlineOf(s, show, now)
		e.outline.locate(e.body)
	}
	e.vary = varyAccept
	e.lines = []byte("Etag: " + e.etag[0] + "\r\nLast-Modified: " + e.lastModified[0] + "\r\nVary: " + e.vary[0] + "\r\n")
	return e
}

// newCached returns the reply with body b, which shows s, judged at the time now.
func newCached(key cacheKey, b []byte, contentType []string, s *service.Snapshot, now time.Time) *cached {
	e := newReply(append(make([]byte, 0, len(b)), b...), contentType, s.Newest())
	e.key, e.fresh = key, s.AsOf.Add(s.Interval.Duration())
	if at := staleAfter(s); !now.After(at) {
		e.flips = at
	}
	return e
}

// newReply returns the reply with body b, which it keeps. Nothing in it is newer than newest.
func newReply(b []byte, contentType []string, newest time.Time) *cached {
	sum := sha256.Sum256(b)
	return &cached{
		body:         b,
		contentType:  contentType,
		etag:         []string{`"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`},
		length:       []string{strconv.Itoa(len(b))},
		lastModified: []string{newest.UTC().Format(http.TimeFormat)},
	}
}

// send writes the reply, or 304 if the client has it. It ignores If-Modified-Since: a
// reply that becomes stale, or is made again from more klines, has the same
// Last-Modified.
func (e *cached) send(w *reply, r *http.Request, cacheControl []string) error {
	same := slices.ContainsFunc(r.Header["If-None-Match"], func(list string) bool { return matches(list, e.etag[0]) })
	hold := false
	if c := w.direct(r); c != nil && e.lines != nil {
		// net/http copies a header map, sorts it and checks each value. With these
		// headers in the map, that costs as much as the rest of the reply. It also
		// sends a body longer than its buffer in two pieces, and the first one wakes
		// the client for nothing.
		hold = !same && r.Method == http.MethodGet && len(e.body) > 0
		b := append(w.appendHead(c.lines[:0]), e.lines...)
		b = append(append(append(b, "Cache-Control: "...), cacheControl[0]...), "\r\n"...)
		c.addLines(b, hold)
	} else {
		h := w.Header()
		h["Etag"] = e.etag
		h["Cache-Control"] = cacheControl
		h["Last-Modified"] = e.lastModified
		if e.vary != nil {
			h["Vary"] = e.vary
		}
	}
	if same {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h := w.Header()
	h["Content-Type"] = e.contentType
	h["Content-Length"] = e.length // otherwise net/http would send it in chunks
	if hold {
		_ = http.NewResponseController(w.ResponseWriter).Flush()
	}
	return write(w, e.body)
}

// matches reports whether an If-None-Match list contains the strong tag etag, by the
// weak comparison of RFC 9110, section 13.1.2. A malformed list is read up to the
// error.
func matches(list, etag string) bool {
	if strings.TrimSpace(list) == "*" {
		return true
	}
	for {
		list = strings.TrimLeft(list, " \t,")
		list = strings.TrimPrefix(list, "W/")
		if !strings.HasPrefix(list, `"`) {
			return false
		}
		end := strings.IndexByte(list[1:], '"')
		if end < 0 {
			return false
		}
		if list[:end+2] == etag {
			return true
		}
		list = list[end+2:]
	}
}

// side returns the levels of one role.
func side(s *service.Snapshot, role levels.Role) []levels.Level {
	if role == levels.Support {
		return s.Supports
	}
	return s.Resistances
}

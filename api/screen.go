package api

import (
	"cmp"
	"container/heap"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

// Bounds of a page of GET /levels.
const (
	defaultPage = 100
	maxPage     = 1000
)

// row is a level of a pair, with the fields of its analysis that are shown beside it.
type row struct {
	symbol    string
	name      string // canonical
	asOf      int64  // Unix ms
	last, atr float64
	price     float64 // from which distances are
	priceAt   int64   // Unix ms; 0 if price is last
	stale     bool
	simulated bool
	passed    bool  // the level, by price since asOf
	exchange  uint8 // in the list of the query
	level     levels.Level

	key float64 // the sort key of the page, ascending; 0 when sorting by symbol
}

// screenQuery holds the parameters of GET /levels.
type screenQuery struct {
	exchanges []string
	interval  levels.Interval
	format    format

	role, status  string
	states        []string // nil for all
	foundBy       string
	found         levels.Sources // that of foundBy
	source        levels.Sources
	sources       bool // source is given
	shown         Shown
	minStrength   float64
	maxPct        float64
	maxATR        float64
	minVolume     float64           // of 24 h, in the quote asset
	confluence    []levels.Interval // on each of them there is a level beside
	prefix        string
	symbols       []string
	watchlist     string                              // its name; empty for all pairs
	listed        func(symbol, canonical string) bool // on the watchlist
	sortBy        string
	descending    bool
	limit         int // 0 means all, as CSV or NDJSON
	after         cursor
	paged         bool // after is given
	filterAndSort string
}

// sorts are the sort keys of a page. The value of a level is never NaN.
var sorts = map[string]func(r *row) float64{
	"distance_atr": func(r *row) float64 {
		if _, d, ok := distance(&r.level, r.price, r.atr); ok {
			return math.Abs(d)
		}
		return math.Inf(1)
	},
	"distance_pct": func(r *row) float64 { d, _, _ := distance(&r.level, r.price, r.atr); return math.Abs(d) },
	"edge":         func(r *row) float64 { return float64(r.level.Edge) },
	"strength":     func(r *row) float64 { return float64(r.level.Strength) },
	"touches":      func(r *row) float64 { return float64(r.level.Touches) },
	"last_touch":   func(r *row) float64 { return float64(r.level.LastTouch) },
	"tests":        func(r *row) float64 { return float64(r.level.Tests) },
	"last_tested":  func(r *row) float64 { return float64(r.level.LastTested) },
	"symbol":       func(*row) float64 { return 0 },
}

// sortNames lists the keys of sorts, for messages.
const sortNames = "distance_atr, distance_pct, edge, strength, tests, last_tested, touches, last_touch, symbol"

// sourceByName returns the source with a name in the contract.
func sourceByName(name string) (levels.Sources, bool) {
	for bit := levels.Sources(1); bit != 0; bit <<= 1 {
		if names := bit.AppendNames(nil); len(names) == 1 && names[0] == name {
			return bit, true
		}
	}
	return 0, false
}

func (a *API) screenQuery(r *http.Request) (s screenQuery, err error) {
	q, err := parseQuery(r.URL.RawQuery, "exchange", "interval", "role", "state", "found_by", "status", "source", "min_edge", "faint", "min_strength",
		"max_distance_pct", "max_distance_atr", "min_quote_volume", "confluence", "symbol", "symbols", "watchlist", "sort", "limit", "cursor", "format")
	if err != nil {
		return s, err
	}
	if s.exchanges, err = q.exchanges(a); err != nil {
		return s, err
	}
	if s.interval, err = q.interval(a); err != nil {
		return s, err
	}
	if s.role, err = q.oneOf("role", "support", "resistance"); err != nil {
		return s, err
	}
	if s.states, err = q.someOf("state", "untested", "held", "broken", "reclaimed", "unknown"); err != nil {
		return s, err
	}
	if s.confluence, err = q.confluence(s.interval); err != nil {
		return s, err
	}
	if s.foundBy, err = q.oneOf("found_by", "poc", "volume"); err != nil {
		return s, err
	}
	s.found, _ = sourceByName(s.foundBy)
	if s.shown, err = q.shown(a); err != nil {
		return s, err
	}
	if s.status, err = q.oneOf("status", "active", "broken", "flipped"); err != nil {
		return s, err
	}
	if text := q.get("source"); text != "" {
		if s.source, s.sources = sourceByName(text); !s.sources {
			return s, badParameter("source", "%q is no source of levels", clip(text))
		}
	}
	for _, n := range [...]struct {
		name string
		to   *float64
		none float64
	}{{"min_strength", &s.minStrength, 0}, {"min_quote_volume", &s.minVolume, 0}, {"max_distance_pct", &s.maxPct, math.Inf(1)}, {"max_distance_atr", &s.maxATR, math.Inf(1)}} {
		given := false
		if *n.to, given, err = q.number(n.name); err != nil {
			return s, err
		}
		if !given {
			*n.to = n.none
		}
	}
	if text := q.get("symbol"); text != "" {
		ok := false
		if s.prefix, ok = canonical(text); !ok {
			return s, badParameter("symbol", "%q cannot begin a symbol", clip(text))
		}
	}
	if text := q.get("symbols"); text != "" {
		for part := range strings.SplitSeq(text, ",") {
			name, ok := canonical(part)
			if !ok {
				return s, badParameter("symbols", "%q is not a symbol such as BTCUSDT", clip(part))
			}
			s.symbols = append(s.symbols, name)
		}
		if len(s.symbols) > maxSymbols {
			return s, badParameter("symbols", "more than %d symbols", maxSymbols)
		}
		slices.Sort(s.symbols)
	}
	if s.watchlist = q.get("watchlist"); s.watchlist != "" {
		if s.listed, err = a.Alerts.Listed(r.Context(), s.watchlist); err != nil {
			return s, err
		}
		if s.listed == nil {
			return s, badParameter("watchlist", "unknown watchlist %q", clip(s.watchlist))
		}
	}
	if s.format, err = q.format(r, "json", "csv", "ndjson"); err != nil {
		return s, err
	}

	order := q.get("sort")
	s.sortBy, s.descending = strings.CutPrefix(order, "-")
	all := s.format != formatJSON && q.get("limit") == "" && q.get("cursor") == ""
	switch {
	case order == "" && all:
		s.sortBy = "symbol"
	case order == "":
		s.sortBy = "distance_atr"
	case sorts[s.sortBy] == nil:
		return s, badParameter("sort", "%q is none of %s, with a - before it for descending", clip(order), sortNames)
	case all && order != "symbol":
		return s, badParameter("sort", "all levels come by symbol; give a limit to have them sorted otherwise")
	}
	if !all {
		if s.limit, err = q.integer("limit", 1, maxPage, defaultPage); err != nil {
			return s, err
		}
	}
	s.filterAndSort = s.fingerprint()
	if text := q.get("cursor"); text != "" {
		if s.after, s.paged = parseCursor(text); !s.paged || s.after.query != hash(s.filterAndSort) {
			return s, badParameter("cursor", "not a cursor of this list; take the one in next and leave the other parameters as they were")
		}
	}
	return s, nil
}

// fingerprint returns a string that differs for lists with another order or selection.
func (s *screenQuery) fingerprint() string {
	b := make([]byte, 0, 128)
	for _, part := range append([]string{strings.Join(s.exchanges, ","), string(s.interval), s.role, strings.Join(s.states, ","), s.foundBy, s.status, s.prefix, s.watchlist, s.sortBy}, s.symbols...) {
		b = append(append(b, part...), 0)
	}
	for _, i := range s.confluence {
		b = append(append(b, i...), 0)
	}
	b = strconv.AppendBool(b, s.descending)
	b = strconv.AppendBool(b, s.shown.Faint)
	b = strconv.AppendUint(append(b, 0), uint64(s.source), 10)
	for _, f := range [...]float64{s.minStrength, s.minVolume, s.maxPct, s.maxATR, s.shown.Least, s.shown.Edge} {
		b = strconv.AppendFloat(append(b, 0), f, 'g', -1, 64)
	}
	return string(b)
}

func hash(s string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(s))
	return h.Sum32()
}

// rows yields the selected levels in the order of the store: by exchange and symbol, each
// pair's supports from the nearest outwards, then its resistances. The row is valid until
// the next. unreadable is the number of pairs that could not be read.
func (a *API) rows(r *http.Request, s *screenQuery, now time.Time, yield func(*row) error) (unreadable int, err error) {
	for i := range s.exchanges {
		n, err := a.rowsOf(r, s, i, now, yield)
		if unreadable += n; err != nil {
			return unreadable, err
		}
	}
	return unreadable, r.Context().Err()
}

// lists reports whether a name of a pair is among the requested symbols.
func (s *screenQuery) lists(name string) bool {
	plain, _ := canonical(name)
	_, listed := slices.BinarySearch(s.symbols, plain)
	return listed
}

// rowsOf yields the rows of one of the exchanges.
func (a *API) rowsOf(r *http.Request, s *screenQuery, exchange int, now time.Time, yield func(*row) error) (unreadable int, err error) {
	key := sorts[s.sortBy]
	now = a.clock(s.exchanges[exchange], now)
	traded, err := a.traded(r.Context(), s.exchanges[exchange], s.minVolume)
	if err != nil {
		return 0, err
	}
	others := a.others(r.Context(), s, s.exchanges[exchange])
	defer others.close()
	for snap, err := range a.Store.Latest(r.Context(), s.exchanges[exchange], s.interval) {
		damaged := errors.Is(err, service.ErrUnreadable)
		if err != nil && !damaged {
			return unreadable, err
		}
		if !startsWith(snap.Symbol, s.prefix) {
			continue
		}
		if s.symbols != nil && !s.lists(snap.Symbol) && !s.lists(snap.Name) {
			continue
		}
		if s.listed != nil && !s.listed(snap.Symbol, snap.Name) {
			continue
		}
		if damaged {
			unreadable++
			continue
		}
		if traded != nil && !traded[snap.Symbol] {
			continue
		}
		if err := others.find(snap.Symbol, now); err != nil {
			return unreadable, err
		}
		snap := a.atPrice(&snap, now)
		others.of = outline{atr: snap.ATR, length: snap.Interval.Duration(), simulated: snap.Simulated, stale: StaleReason(snap, now) != ""}
		out := rowOf(snap, now)
		out.exchange = uint8(exchange)
		for _, role := range [...]levels.Role{levels.Support, levels.Resistance} {
			if s.role != "" && s.role != role.String() {
				continue
			}
			for i, l := range side(snap, role) {
				l.Role = role
				if out.level, out.passed = l, snap.Passed(role, i); !s.shown.has(&out.level) || !s.selects(&out) || !others.beside(l.Price) {
					continue
				}
				if out.key = key(&out); s.descending {
					out.key = -out.key
				}
				if err := yield(&out); err != nil {
					return unreadable, err
				}
			}
		}
	}
	return unreadable, nil
}

// rowOf returns what all rows of s have in common.
func rowOf(s *service.Snapshot, now time.Time) row {
	r := row{
		symbol: s.Symbol, name: s.Name, asOf: s.AsOf.UnixMilli(), last: s.LastPrice, atr: s.ATR, price: s.Reference(),
		stale: now.After(staleAfter(s)), simulated: s.Simulated,
	}
	if !s.PriceAt.IsZero() {
		r.priceAt = s.PriceAt.UnixMilli()
	}
	return r
}

func (s *screenQuery) selects(r *row) bool {
	pct, inATR, ok := distance(&r.level, r.price, r.atr)
	return (s.status == "" || s.status == r.level.Status.String()) &&
		(s.states == nil || slices.Contains(s.states, r.level.State.String())) &&
		(s.foundBy == "" || r.level.FoundBy()&s.found != 0) &&
		(!s.sources || r.level.Sources&s.source != 0) &&
		float64(r.level.Strength) >= s.minStrength &&
		math.Abs(pct) <= s.maxPct &&
		(ok && math.Abs(inATR) <= s.maxATR || math.IsInf(s.maxATR, 1))
}

// before is the order of a page: by key, then by symbol, exchange and level. It is total, so
// that a page begins exactly where the previous one ended.
func (s *screenQuery) before(x, y position) int {
	symbols := cmp.Compare(x.symbol, y.symbol)
	if s.descending && s.sortBy == "symbol" {
		symbols = -symbols
	}
	return cmp.Or(cmp.Compare(x.key, y.key), symbols, cmp.Compare(x.exchange, y.exchange), cmp.Compare(x.id, y.id), cmp.Compare(x.role, y.role))
}

// position is the place of a row in the order of a page.
type position struct {
	key      float64
	symbol   string
	exchange uint8
	id       uint64
	role     levels.Role
}

func (r *row) position() position {
	return position{r.key, r.symbol, r.exchange, r.level.ID, r.level.Role}
}

// page is a heap of the best rows so far, the worst of them on top.
type page struct {
	s    *screenQuery
	rows []row
}

func (p *page) Len() int           { return len(p.rows) }
func (p *page) Less(i, j int) bool { return p.s.before(p.rows[i].position(), p.rows[j].position()) > 0 }
func (p *page) Swap(i, j int)      { p.rows[i], p.rows[j] = p.rows[j], p.rows[i] }
func (p *page) Push(x any)         { p.rows = append(p.rows, *x.(*row)) }
func (p *page) Pop() any           { panic("a page only grows or replaces its top") }

// add keeps r if it is among the first limit rows after the cursor. It sets more once a
// row is left out.
func (p *page) add(r *row, more *bool) {
	if p.s.paged && p.s.before(r.position(), p.s.after.position) <= 0 {
		return
	}
	if len(p.rows) < p.s.limit {
		heap.Push(p, r)
		return
	}
	*more = true
	if p.s.before(r.position(), p.rows[0].position()) < 0 {
		p.rows[0] = *r
		heap.Fix(p, 0)
	}
}

// unreadableHeader is the number of pairs left out because their stored analyses cannot
// be read, if any: a header of a page, a trailer of a list of all rows.
const unreadableHeader = "Tidemark-Unreadable"

// getScreen serves GET /levels. It reads everything stored and holds one page of it.
func (a *API) getScreen(w *reply, r *http.Request) error {
	w.Header()["Vary"] = varyAccept
	s, err := a.screenQuery(r)
	if err != nil {
		return err
	}
	w.wait(r)
	now := time.Now()
	if s.limit == 0 {
		return a.streamRows(w, r, &s, now)
	}
	if err := a.hold(r.Context(), w, ScreenBytes+s.joinedBytes()); err != nil {
		return err
	}
	p := page{s: &s}
	more := false
	unreadable, err := a.rows(r, &s, now, func(r *row) error { p.add(r, &more); return nil })
	if err != nil {
		return err
	}
	w.deadline(writeTimeout)
	slices.SortFunc(p.rows, func(x, y row) int { return s.before(x.position(), y.position()) })

	h := w.Header()
	h["Cache-Control"] = noCache
	if unreadable > 0 {
		h.Set(unreadableHeader, strconv.Itoa(unreadable))
	}
	next := ""
	if more {
		last := p.rows[len(p.rows)-1]
		next = cursor{hash(s.filterAndSort), last.position()}.String()
		q := r.URL.Query()
		q.Set("cursor", next)
		u := url.URL{Path: "/levels", RawQuery: q.Encode()}
		h.Set("Link", "<"+u.String()+`>; rel="next"`)
	}
	out := stream{w: w, bounded: true}
	h["Content-Type"] = formatTypes[s.format]
	var values rowValues
	if s.format == formatJSON {
		err = out.encode(&wire.LevelPage[each[wire.Row]]{
			Exchange: nameOf(s.exchanges), Interval: string(s.interval), OddsReason: stringOrNil(pageOddsReason(s.interval)),
			Levels: func(yield func(*wire.Row) error) error {
				for i := range p.rows {
					if err := yield(values.of(&s, &p.rows[i])); err != nil {
						return err
					}
				}
				return nil
			},
			Unreadable: unreadable, Next: stringOrNil(next),
		})
		if err != nil {
			return err
		}
		return out.flush()
	}
	out.buf = appendHeader(out.buf, s.format)
	for i := range p.rows {
		out.buf = appendRow(out.buf, s.format, values.of(&s, &p.rows[i]))
		if err := out.spill(); err != nil {
			return err
		}
	}
	return out.flush()
}

// rowValues is a row of a reply, with the values of its pointers.
type rowValues struct {
	levelValues
	row         wire.Row
	name        string
	marketPrice float64
	priceAt     time.Time
}

// of converts r to a row of a reply. The result is valid until the next call.
func (v *rowValues) of(s *screenQuery, r *row) *wire.Row {
	v.name = r.name
	v.row = wire.Row{
		Symbol: r.symbol, Exchange: s.exchanges[r.exchange], Interval: string(s.interval), AsOf: time.UnixMilli(r.asOf).UTC(),
		LastPrice: r.last, ATR: wire.SixDigits(r.atr), Stale: r.stale, Simulated: r.simulated, Role: r.level.Role.String(),
		Level: v.level(&r.level, r.price, r.atr, s.shown.Edge, r.passed),
	}
	if v.name != "" {
		v.row.Name = &v.name
	}
	if r.priceAt != 0 {
		v.marketPrice, v.priceAt = r.price, time.UnixMilli(r.priceAt).UTC()
		v.row.MarketPrice, v.row.MarketPriceAt = &v.marketPrice, &v.priceAt
	}
	return &v.row
}

// streamRows sends all selected levels, row by row.
func (a *API) streamRows(w *reply, r *http.Request, s *screenQuery, now time.Time) error {
	if err := a.hold(r.Context(), w, streamBytes+s.joinedBytes()); err != nil {
		return err
	}
	h := w.Header()
	h["Content-Type"] = formatTypes[s.format]
	h["Cache-Control"] = noCache
	h.Set("Content-Disposition", `inline; filename="levels-`+nameOf(s.exchanges)+"-"+string(s.interval)+"."+string(s.format)+`"`)
	out := stream{w: w}
	out.buf = appendHeader(out.buf, s.format)
	var values rowValues
	unreadable, err := a.rows(r, s, now, func(r *row) error {
		out.buf = appendRow(out.buf, s.format, values.of(s, r))
		return out.spill()
	})
	if err != nil {
		return err
	}
	if unreadable > 0 { // known only after the rows
		h.Set(http.TrailerPrefix+unreadableHeader, strconv.Itoa(unreadable))
	}
	return out.flush()
}

// cursor is the position in a list at which a page ended. It is opaque to clients.
type cursor struct {
	query uint32 // hash of the parameters that select and order the list
	position
}

func (c cursor) String() string {
	b := binary.BigEndian.AppendUint32(nil, c.query)
	b = binary.BigEndian.AppendUint64(b, math.Float64bits(c.key))
	b = binary.BigEndian.AppendUint64(b, c.id)
	b = append(b, byte(c.role)|c.exchange<<1)
	b = append(b, c.symbol...)
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(text string) (c cursor, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	const fixed = 4 + 8 + 8 + 1
	if err != nil || len(b) <= fixed || len(b) > fixed+4*maxSymbol {
		return cursor{}, false
	}
	c.query = binary.BigEndian.Uint32(b)
	c.key = math.Float64frombits(binary.BigEndian.Uint64(b[4:]))
	c.id = binary.BigEndian.Uint64(b[12:])
	c.role, c.exchange = levels.Role(b[20]&1), b[20]>>1
	c.symbol = string(b[fixed:])
	return c, !math.IsNaN(c.key)
}

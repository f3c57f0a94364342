package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

// contentIntervals is the type of the levels of a pair on several intervals.
var contentIntervals = []string{"application/vnd.tidemark.intervals+json"}

// intervalBytes is the memory that a reply needs for each of several intervals: the
// analysis, its reply, and two copies while they are put together.
const intervalBytes = 64 << 10

// outline is what the confluence of an analysis with others rests on.
type outline struct {
	atr              float64
	length           time.Duration // of a candle
	asOf, newest     time.Time     // newest is that of a price between closes, or asOf
	simulated, stale bool
	places           []place // of the levels that are shown: supports, then resistances
}

// place is a level in an outline.
type place struct {
	id    uint64
	price float64
	end   int // index of the closing brace of the level in the reply as JSON
}

// placeBytes is the size of a place.
const placeBytes = 24

// outlineOf returns the outline of s at the time now.
func outlineOf(s *service.Snapshot, show Shown, now time.Time) outline {
	o := outline{atr: s.ATR, length: s.Interval.Duration(), asOf: s.AsOf, newest: s.Newest(), simulated: s.Simulated, stale: StaleReason(s, now) != ""}
	for _, role := range [...]levels.Role{levels.Support, levels.Resistance} {
		for _, l := range side(s, role) {
			if show.has(&l) {
				o.places = append(o.places, place{id: l.ID, price: l.Price})
			}
		}
	}
	return o
}

// locate finds the places in the encoded analysis. A level has no object and no brace
// within, and no other object of an analysis begins with an id.
func (o *outline) locate(body []byte) {
	at := 0
	for i := range o.places {
		at += bytes.Index(body[at:], []byte(`{"id":"`))
		at += bytes.IndexByte(body[at:], '}')
		o.places[i].end = at
	}
}

// counts reports whether levels of other count as confluence of o: simulated and real
// ones do not for each other, and stale ones not for those that are not.
func (o *outline) counts(other *outline) bool {
	return o.simulated == other.simulated && (o.stale || !other.stale)
}

// near reports whether levels at these prices count as one: they are within sharedWithin
// ATR of the shorter interval.
func (o *outline) near(other *outline, price, of float64) bool {
	atr := o.atr
	if other.length < o.length {
		atr = other.atr
	}
	return math.Abs(price-of) <= sharedWithin*atr
}

// onInterval is the analysis of a pair on one of several intervals, or why there is none.
type onInterval struct {
	outline
	interval levels.Interval
	body     []byte            // of the reply with it alone; nil if rows are asked for
	rows     *service.Snapshot // nil unless rows are asked for
	missing  error             // wraps service.ErrNotAnalyzed; nil if there is an analysis
}

// confluence returns, for each place of all[i], the levels of the others that count as one
// with it. A side does not matter: as analyses close at different times, a level may be a
// support in one and a resistance in the other.
func confluence(all []onInterval, i int) [][]wire.LevelRef {
	o := &all[i].outline
	found := make([][]wire.LevelRef, len(o.places))
	for k, p := range o.places {
		found[k] = []wire.LevelRef{}
		for j := range all {
			other := &all[j].outline
			if j == i || !o.counts(other) {
				continue
			}
			for _, q := range other.places {
				if o.near(other, p.price, q.price) {
					found[k] = append(found[k], wire.LevelRef{Interval: string(all[j].interval), ID: string(wire.AppendID(nil, q.id))})
				}
			}
		}
	}
	return found
}

// sendIntervals serves GET /levels/{symbol}?interval=1h,4h: what one interval would be
// answered with, for each, and which levels lie beside levels of the others. key is that
// of the pair; its interval is ignored.
func (a *API) sendIntervals(w *reply, r *http.Request, key service.Key, intervals []levels.Interval, f format, show Shown, at, now time.Time) error {
	if err := a.hold(r.Context(), w, int64(len(intervals))*intervalBytes); err != nil {
		return err
	}
	all := make([]onInterval, len(intervals))
	var newest time.Time
	for i := range all {
		key.Interval = intervals[i]
		var err error
		if all[i], err = a.onInterval(r.Context(), key, f, show, at, now); err != nil {
			return err
		}
		if all[i].newest.After(newest) {
			newest = all[i].newest
		}
	}
	if newest.IsZero() {
		return allMissing(key, all)
	}
	var e *cached
	switch {
	case f == formatJSON:
		e = newReply(append(appendIntervals(nil, key, all), '\n'), contentIntervals, newest)
	case at.IsZero():
		e = newReply(appendIntervalRows(nil, f, all, now, show), formatTypes[f], newest)
	default:
		e = newReply(appendIntervalRows(nil, f, all, at, show), formatTypes[f], newest)
	}
	e.vary = varyAccept
	cacheControl := noCache
	switch first, longest := firstClose(all); {
	case first.IsZero():
	case !at.IsZero():
		cacheControl = a.pastControl(longest, at, now)
	case f == formatJSON && show.Least == 0: // as of one interval
		if next := a.nextPrice(key.Exchange, key.Symbol); !next.IsZero() && next.Before(first) {
			first = next
		}
		if left := first.Sub(now); left >= time.Second {
			cacheControl = e.maxAge(a.scope, int64(left/time.Second))
		}
	}
	return e.send(w, r, cacheControl)
}

// firstClose returns when the first of the next candles closes, and the longest interval.
// It is zero if an analysis is missing: that may come any time.
func firstClose(all []onInterval) (first time.Time, longest levels.Interval) {
	for i := range all {
		if all[i].missing != nil {
			return time.Time{}, ""
		}
		if closes := all[i].asOf.Add(all[i].length); i == 0 || closes.Before(first) {
			first = closes
		}
		if i == 0 || all[i].length > longest.Duration() {
			longest = all[i].interval
		}
	}
	return first, longest
}

// onInterval reads the analysis of key: as its reply, from the cache if possible, or for
// rows.
func (a *API) onInterval(ctx context.Context, key service.Key, f format, show Shown, at, now time.Time) (onInterval, error) {
	of := onInterval{interval: key.Interval}
	var err error
	if f == formatJSON && at.IsZero() && show.Least == 0 {
		var e *cached
		if e, err = a.newest(ctx, key, show, now); err == nil {
			of.outline, of.body = e.outline, e.body
		}
	} else {
		var s service.Snapshot
		if s, err = a.Store.Snapshot(ctx, key, at); err == nil {
			if at.IsZero() {
				of.set(a.atPrice(&s, now), f, show, now)
			} else {
				of.set(&s, f, show, at)
			}
		}
	}
	if errors.Is(err, service.ErrNotAnalyzed) {
		of.missing, err = err, nil
	}
	return of, err
}

// set makes o show s.
func (o *onInterval) set(s *service.Snapshot, f format, show Shown, now time.Time) {
	if f != formatJSON {
		o.outline, o.rows = outlineOf(s, show, now), s
		return
	}
	e := encodeLevels(s.Key, f, s, show, now)
	o.outline, o.body = e.outline, e.body
}

// allMissing returns the error if no interval has an analysis: ErrUnreadable if a stored
// one cannot be read, otherwise ErrNotAnalyzed.
func allMissing(key service.Key, all []onInterval) error {
	names := make([]string, len(all))
	for i := range all {
		if errors.Is(all[i].missing, service.ErrUnreadable) {
			return all[i].missing
		}
		names[i] = string(all[i].interval)
	}
	return fmt.Errorf("%w: %s %s on %s", service.ErrNotAnalyzed, key.Symbol, strings.Join(names, ", "), key.Exchange)
}

// appendIntervals appends the analyses as one JSON object. Each is as in its own reply, to
// the byte, but for the confluence at the end of each level. The replies are copied:
// a JSON encoder that checks them again takes twice as long.
func appendIntervals(b []byte, key service.Key, all []onInterval) []byte {
	size := 256
	for i := range all {
		size += len(all[i].body) + confluenceBytes*len(all[i].places)
	}
	b = appendJSON(slices.Grow(b, size), &wire.PairOnIntervals[wire.OnInterval]{Symbol: key.Symbol, Exchange: key.Exchange, Intervals: []wire.OnInterval{}})
	b = bytes.TrimSuffix(b, []byte("]}"))
	for i := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = all[i].append(b, confluence(all, i))
	}
	return append(b, "]}"...)
}

// confluenceBytes is about what the confluence of a level takes.
const confluenceBytes = 80

// append appends the entry of o, with the confluence of each of its levels.
func (o *onInterval) append(b []byte, confluence [][]wire.LevelRef) []byte {
	if o.missing != nil {
		return appendJSON(b, &wire.MissingInterval{
			Interval: string(o.interval), Problem: wire.Reason{Code: service.Code(o.missing), Detail: o.missing.Error()},
		})
	}
	from := 0
	for k, refs := range confluence {
		end := o.places[k].end
		b = append(append(b, o.body[from:end]...), `,"confluence":`...)
		if from = end; len(refs) == 0 {
			b = append(b, "[]"...)
		} else {
			b = appendJSON(b, &refs)
		}
	}
	return append(b, bytes.TrimSuffix(o.body[from:], []byte("\n"))...)
}

// appendIntervalRows appends the levels of all intervals as rows with one column more. An
// interval without an analysis has none.
func appendIntervalRows(b []byte, f format, all []onInterval, now time.Time, show Shown) []byte {
	if f == formatCSV {
		b = append(append(b, strings.TrimSuffix(csvHeader, "\r\n")...), ","+confluenceColumn+"\r\n"...)
	}
	for i := range all {
		if all[i].missing == nil {
			b = appendLevels(b, f, all[i].rows, now, show, confluence(all, i))
		}
	}
	return b
}

// Intervals is the stored analyses of a pair on several intervals, for programs without
// HTTP.
type Intervals struct {
	Key       service.Key // its Interval is ignored
	Intervals []levels.Interval
	Snapshots []service.Snapshot // of Intervals
	Missing   []error            // of Intervals; nil for those with an analysis
}

func (s *Intervals) all(f format, show Shown, now time.Time) []onInterval {
	all := make([]onInterval, len(s.Intervals))
	for i := range all {
		all[i].interval, all[i].missing = s.Intervals[i], s.Missing[i]
		if s.Missing[i] == nil {
			all[i].set(&s.Snapshots[i], f, show, now)
		}
	}
	return all
}

// AppendJSON appends the analyses as GET /levels/{symbol} answers several intervals.
func (s *Intervals) AppendJSON(b []byte, now time.Time, show Shown) []byte {
	return appendIntervals(b, s.Key, s.all(formatJSON, show, now))
}

// AppendCSV appends a header and the levels.
func (s *Intervals) AppendCSV(b []byte, now time.Time, show Shown) []byte {
	return appendIntervalRows(b, formatCSV, s.all(formatCSV, show, now), now, show)
}

// Beside returns, by id, the other intervals that have a level beside one of interval i, in
// their order.
func (s *Intervals) Beside(i int, now time.Time, show Shown) map[uint64][]string {
	all := s.all(formatCSV, show, now)
	beside := map[uint64][]string{}
	for k, refs := range confluence(all, i) {
		id := all[i].places[k].id
		for _, r := range refs {
			if !slices.Contains(beside[id], r.Interval) {
				beside[id] = append(beside[id], r.Interval)
			}
		}
	}
	return beside
}

package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tidemark/service"
	"tidemark/wire"
)

const (
	// eventsAtOnce is the number of events read from the store at once.
	eventsAtOnce = 32
	// eventsBytes is the memory of so many, and of the buffer they are sent from.
	eventsBytes = 128 << 10
	// eventPause is the shortest time between two reads of a stream of events: what is
	// stored meanwhile comes in one read.
	eventPause = 100 * time.Millisecond
	// maxEventWait bounds the wait for events of a request.
	maxEventWait = time.Minute
	// maxEventLevels bounds the levels of a request for events.
	maxEventLevels = 100
)

// EventsStored says that there may be new events. It is called after each transaction that
// stores some, in any process.
func (a *API) EventsStored() { a.events.send() }

// broadcast wakes all that wait for it.
type broadcast struct {
	mu   sync.Mutex
	next chan struct{} // closed by the next send; nil if nobody waits
}

// wait returns a channel that is closed by the next send.
func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		b.next = make(chan struct{})
	}
	return b.next
}

func (b *broadcast) send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next != nil {
		close(b.next)
		b.next = nil
	}
}

// eventReader reads the events of a query from the store, a few at a time.
type eventReader struct {
	store Store
	// query.After is the number up to which all events have been read or passed over.
	query service.EventQuery
}

// behind returns the number of the newest event, which is query.After if there is nothing
// to read. missed is set if events after query.After have been deleted.
func (e *eventReader) behind(ctx context.Context) (last int64, missed bool, err error) {
	first, last, err := e.store.EventBounds(ctx)
	after := e.query.After
	if err == nil && after > last {
		err = badParameter("since", "no event has the number %d yet, the newest is %d: the number is of another database", after, last)
	}
	return last, after > 0 && first > after+1, err
}

// read returns the next events, at most n, and none if there are no more now. last is of
// behind.
//
// Events are committed in the order of their numbers. So the query sees every event up to
// last, which was read before it, and up to the greatest number that it returns: those
// among them that it does not return are not selected.
func (e *eventReader) read(ctx context.Context, n int, last int64) ([]service.StoredEvent, error) {
	if e.query.After == last {
		return nil, nil
	}
	e.query.Limit = n
	events, err := e.store.Events(ctx, e.query)
	if err != nil {
		return nil, err
	}
	if len(events) > 0 {
		e.query.After = events[len(events)-1].Seq
	}
	if len(events) < n {
		e.query.After = max(e.query.After, last)
	}
	return events, nil
}

// next is behind and read.
func (e *eventReader) next(ctx context.Context, n int) (events []service.StoredEvent, missed bool, err error) {
	last, missed, err := e.behind(ctx)
	if err == nil {
		events, err = e.read(ctx, n, last)
	}
	return events, missed, err
}

// eventRequest holds the parameters of GET /events.
type eventRequest struct {
	eventReader
	format format
	limit  int
	wait   time.Duration
}

// getEvents serves GET /events: what happened to levels, as a page or as a stream.
func (a *API) getEvents(w *reply, r *http.Request) error {
	w.Header()["Vary"] = varyAccept
	w.Header()["Cache-Control"] = noStore
	e, err := a.eventRequest(r)
	if err != nil {
		return err
	}
	if e.format == formatEvents {
		return a.streamEvents(w, r, e)
	}
	return a.sendEvents(w, r, e)
}

func (a *API) eventRequest(r *http.Request) (*eventRequest, error) {
	q, err := parseQuery(r.URL.RawQuery, "since", "limit", "wait", "exchange", "symbol", "symbols", "interval", "kind", "role", "min_edge", "level", "format")
	if err != nil {
		return nil, err
	}
	e := &eventRequest{eventReader: eventReader{store: a.Store}}
	if e.format, err = q.format(r, "json", "ndjson", "sse"); err != nil {
		return nil, err
	}
	if e.limit, err = q.integer("limit", 1, maxPage, defaultPage); err != nil {
		return nil, err
	}
	if text := q.get("wait"); text != "" {
		if e.wait, err = time.ParseDuration(text); err != nil || e.wait < 0 || e.wait > maxEventWait {
			return nil, badParameter("wait", "%q is not a duration from 0s to %s, such as 20s", clip(text), maxEventWait)
		}
	}
	if err := a.eventFilter(r.Context(), &q, &e.query); err != nil {
		return nil, err
	}
	name, since := "since", q.get("since")
	if last := r.Header.Get("Last-Event-Id"); last != "" && e.format == formatEvents {
		if name, since = "Last-Event-ID", last; !isNumber(last) {
			return nil, badParameter(name, "%q is not the number of an event", clip(last))
		}
	}
	if e.query.After, err = a.eventsAfter(r.Context(), name, since, e.query, e.limit); err != nil {
		return nil, err
	}
	return e, nil
}

// eventFilter sets which events are selected.
func (a *API) eventFilter(ctx context.Context, q *query, to *service.EventQuery) (err error) {
	if q.get("exchange") != "" {
		if to.Exchange, err = q.exchange(a); err != nil {
			return err
		}
	}
	if text := q.get("interval"); text != "" {
		all, err := ParseIntervals(text)
		if err != nil {
			return badParameter("interval", "%v", err)
		}
		for _, i := range all {
			to.Intervals = append(to.Intervals, string(i))
		}
	}
	if text := q.get("kind"); text != "" {
		for kind := range strings.SplitSeq(text, ",") {
			if !slices.Contains(wire.EventKinds, kind) {
				return badParameter("kind", "%q is none of %s", clip(kind), strings.Join(wire.EventKinds, ", "))
			}
			to.Kinds = append(to.Kinds, kind)
		}
	}
	if to.Role, err = q.oneOf("role", "support", "resistance"); err != nil {
		return err
	}
	if to.MinEdge, _, err = q.number("min_edge"); err != nil {
		return err
	}
	if text := q.get("level"); text != "" {
		for id := range strings.SplitSeq(text, ",") {
			n, err := ParseLevelID(id)
			if err != nil {
				return badParameter("level", "%q is not the id of a level, which has 16 hexadecimal digits", clip(id))
			}
			to.Levels = append(to.Levels, n)
		}
		if len(to.Levels) > maxEventLevels {
			return badParameter("level", "more than %d levels", maxEventLevels)
		}
	}
	var pairs []string
	if text := q.get("symbol"); text != "" {
		pairs = append(pairs, text)
	}
	if text := q.get("symbols"); text != "" {
		pairs = slices.AppendSeq(pairs, strings.SplitSeq(text, ","))
	}
	if len(pairs) > maxSymbols {
		return badParameter("symbols", "more than %d symbols", maxSymbols)
	}
	for _, text := range pairs {
		p, err := parsePair(text)
		if err != nil {
			return badParameter("symbols", "%v", err)
		}
		found, err := a.eventPairs(ctx, to.Exchange, p)
		if err != nil {
			return err
		}
		to.Pairs = append(to.Pairs, found...)
	}
	return nil
}

// eventPairs returns the pairs that a name means: of all exchanges if none is given and this
// process has several.
func (a *API) eventPairs(ctx context.Context, exchange string, p pairText) (all []service.EventPair, err error) {
	if exchange != "" || len(a.markets) == 1 {
		of, err := a.resolve(ctx, exchange, p)
		return []service.EventPair{{Exchange: of.exchange, Symbol: of.symbol}}, err
	}
	as := service.Spell(p.text, p.plain)
	found, err := a.Store.FindPairs(ctx, "", as)
	if err != nil {
		return nil, err
	}
	for _, k := range service.Best(found, as) {
		all = append(all, service.EventPair{Exchange: k.Exchange, Symbol: k.Symbol})
	}
	if len(all) == 0 { // perhaps analysed before any sweep
		for _, exchange := range a.markets {
			all = append(all, service.EventPair{Exchange: exchange, Symbol: p.plain})
		}
	}
	return all, nil
}

// eventsAfter returns the number after which a request wants events, by the value of the
// named parameter: the newest limit of those that q selects if it is empty.
func (a *API) eventsAfter(ctx context.Context, name, since string, q service.EventQuery, limit int) (int64, error) {
	switch {
	case since == "":
		q.Limit = limit
		return a.Store.NewestEvents(ctx, q)
	case since == "latest":
		_, last, err := a.Store.EventBounds(ctx)
		return last, err
	case isNumber(since):
		return strconv.ParseInt(since, 10, 64)
	}
	if ago, ok := parseAgo(since); ok {
		return a.Store.EventsSince(ctx, time.Now().Add(-ago))
	}
	if at, err := time.Parse(time.RFC3339, since); err == nil {
		return a.Store.EventsSince(ctx, at)
	}
	if !saneID(since) {
		return 0, badParameter(name, "%q is neither a number, a time such as 2026-11-22T19:00:00Z, a duration such as 1h or 2d, latest, nor the id of an event", clip(since))
	}
	seq, err := a.Store.EventSeq(ctx, since)
	if err == nil && seq == 0 {
		err = badParameter(name, "no event with the id %q is stored; old ones are deleted, and a number or a time continues without them", clip(since))
	}
	return seq, err
}

// isNumber reports whether text may be the number of an event. The id of an event is longer.
func isNumber(text string) bool {
	return text != "" && len(text) <= 18 && strings.Trim(text, "0123456789") == ""
}

// parseAgo reads a duration such as 90s, 1h30m or 2d.
func parseAgo(text string) (time.Duration, bool) {
	if days, is := strings.CutSuffix(text, "d"); is {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err == nil
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d >= 0
}

// missedHeader says that events after the requested number have been deleted.
const missedHeader = "Tidemark-Missed"

// sendEvents sends a page of events: a JSON object, or a line for each event.
func (a *API) sendEvents(w *reply, r *http.Request, e *eventRequest) error {
	w.wait(r)
	events, missed, err := a.awaitEvents(w, r, e)
	if err != nil {
		return err
	}
	h := w.Header()
	h["Content-Type"] = formatTypes[e.format]
	out := stream{w: w}
	separator := "\n"
	if e.format == formatJSON {
		separator = ","
		out.buf = append(out.buf, `{"events":[`...)
	} else if missed {
		h.Set(missedHeader, "true")
	}
	sent := 0
	for len(events) > 0 {
		for i := range events {
			if sent > 0 {
				out.buf = append(out.buf, separator...)
			}
			out.buf = appendStored(out.buf, &events[i])
			sent++
		}
		if err := out.spill(); err != nil {
			return err
		}
		if sent == e.limit {
			break
		}
		if events, _, err = e.next(r.Context(), min(eventsAtOnce, e.limit-sent)); err != nil {
			return err
		}
	}
	switch {
	case e.format == formatJSON:
		more := false
		if sent == e.limit {
			ahead := e.eventReader
			events, _, err := ahead.next(r.Context(), 1)
			if err != nil {
				return err
			}
			more = len(events) > 0
		}
		out.buf = append(strconv.AppendInt(append(out.buf, `],"next":`...), e.query.After, 10), `,"more":`...)
		out.buf = append(strconv.AppendBool(out.buf, more), `,"missed":`...)
		out.buf = append(strconv.AppendBool(out.buf, missed), "}\n"...)
	case sent > 0:
		out.buf = append(out.buf, separator...)
	}
	return out.flush()
}

// awaitEvents returns the first events of a page, and holds the memory of the reply. If
// there are none it waits for them, as long as the request says, without that memory.
func (a *API) awaitEvents(w *reply, r *http.Request, e *eventRequest) (events []service.StoredEvent, missed bool, err error) {
	var late <-chan time.Time
	for {
		stored := a.events.wait()
		if err := a.hold(r.Context(), w, eventsBytes); err != nil {
			return nil, false, err
		}
		events, deleted, err := e.next(r.Context(), min(eventsAtOnce, e.limit))
		missed = missed || deleted
		if err != nil || len(events) > 0 || e.wait == 0 || r.Method == http.MethodHead {
			return events, missed, err
		}
		if late == nil {
			done, err := a.openStream("ask without wait")
			if err != nil {
				return nil, false, err
			}
			defer done()
			timer := time.NewTimer(e.wait)
			defer timer.Stop()
			late = timer.C
		}
		a.replies.give(w.held.Swap(0))
		select {
		case <-stored:
		case <-late:
			return nil, missed, nil
		case <-w.keys.over:
			return nil, missed, nil
		case <-r.Context().Done():
			return nil, false, r.Context().Err()
		}
	}
}

// openStream takes a place for a request that stays open. The caller must call done.
func (a *API) openStream(instead string) (done func(), err error) {
	select {
	case a.streams <- struct{}{}:
		return func() { <-a.streams }, nil
	default:
		return nil, fmt.Errorf("%w: %d event streams are open already; %s instead", service.ErrBusy, cap(a.streams), instead)
	}
}

// appendStored appends the JSON object of an event: as it is stored, with its number.
func appendStored(b []byte, e *service.StoredEvent) []byte {
	b = append(strconv.AppendInt(append(b, `{"seq":`...), e.Seq, 10), ',')
	return append(b, e.Body[1:]...) // without its brace
}

// streamEvents sends the events after a number and then those that are stored later, until
// the client leaves or the API is closed.
func (a *API) streamEvents(w *reply, r *http.Request, e *eventRequest) error {
	done, err := a.openStream("ask for a page")
	if err != nil {
		return err
	}
	defer done()
	h := w.Header()
	h["Content-Type"] = contentEvents
	h["X-Accel-Buffering"] = []string{"no"} // disables buffering in nginx
	if r.Method == http.MethodHead {
		return nil
	}
	w.wait(r)
	ctx := r.Context()
	s := eventStream{eventReader: &e.eventReader, w: w, room: &a.replies, over: w.keys.over}
	for {
		stored, began := a.events.wait(), time.Now()
		full, err := s.send(ctx)
		switch {
		case ctx.Err() != nil:
			return nil // the client went away
		case err != nil:
			return err
		case full:
			if !s.pause(ctx, nil, 0) {
				return nil
			}
		case !s.pause(ctx, stored, heartbeat-time.Since(s.written)) || !s.pause(ctx, nil, eventPause-time.Since(began)):
			return nil
		}
	}
}

// eventStream sends events as server-sent events (WHATWG HTML, section 9.2). Their ids are
// the numbers, and their names the kinds.
type eventStream struct {
	*eventReader
	w       *reply
	room    *room
	over    <-chan struct{}
	written time.Time // when something was sent last; zero before the first piece
	id      int64     // sent last
}

// send sends what there is to send, a heartbeat included. full is set if there may be more.
func (s *eventStream) send(ctx context.Context) (full bool, err error) {
	after := s.query.After
	last, missed, err := s.behind(ctx)
	if err != nil {
		return false, err
	}
	var b []byte
	if s.written.IsZero() {
		// a client that reconnects before the first event continues here, too
		b = s.appendID(append(b, "retry: 2000\n"...), after)
		b = append(b, '\n')
	}
	if missed {
		b = append(strconv.AppendInt(append(b, "event: missed\ndata: {\"after\":"...), after, 10), "}\n\n"...)
	}
	if last > after {
		taken, err := s.room.takeWithin(ctx, eventsBytes, writeTimeout)
		if err != nil {
			return false, err
		}
		defer s.room.give(taken)
		events, err := s.read(ctx, eventsAtOnce, last)
		if err != nil {
			return false, err
		}
		for i := range events {
			e := &events[i]
			b = append(append(s.appendID(b, e.Seq), "event: "...), e.Kind...)
			b = append(appendStored(append(b, "\ndata: "...), e), "\n\n"...)
		}
		full = len(events) == eventsAtOnce
	}
	if len(b) == 0 && time.Since(s.written) >= heartbeat {
		b = append(b, ": still here\n"...)
		if s.query.After > s.id { // what the filter has passed over need not be read again
			b = s.appendID(b, s.query.After)
		}
		b = append(b, '\n')
	}
	if len(b) == 0 {
		return full, nil
	}
	s.written = time.Now()
	s.w.deadline(writeTimeout)
	if _, err = s.w.Write(b); err == nil {
		err = http.NewResponseController(s.w).Flush()
	}
	if err != nil {
		return false, &problem{code: "client_gone", detail: "the client went away or did not read: " + err.Error()}
	}
	return full, nil
}

func (s *eventStream) appendID(b []byte, id int64) []byte {
	s.id = id
	return append(strconv.AppendInt(append(b, "id: "...), id, 10), '\n')
}

// pause waits until c is closed or a time is over, and reports whether the stream goes on.
func (s *eventStream) pause(ctx context.Context, c <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-c:
	case <-timer.C:
	case <-s.over:
	case <-ctx.Done():
	}
	select {
	case <-s.over:
		return false
	default:
		return ctx.Err() == nil
	}
}

// AppendEvent appends e as a JSON object, as GET /events does.
func AppendEvent(b []byte, e *wire.Event) []byte { return appendJSON(b, e) }

// EventCSVHeader names the columns of AppendEventCSV.
const EventCSVHeader = "seq,id,kind,exchange,symbol,name,interval,simulated,occurred_at,emitted_at,price,distance_atr,level,role,level_price,low,high,edge," +
	"hold_probability,baseline_hold_probability,promised_hold_probability,promised_baseline_hold_probability,touched_at\r\n"

// AppendEventCSV appends e as a line of CSV (RFC 4180). A missing value is an empty cell.
func AppendEventCSV(b []byte, e *wire.Event) []byte {
	cell := func(text string) { b = append(appendCell(b, text), ',') }
	number := func(f *float64) {
		if f != nil {
			b = appendFloat(b, *f)
		}
		b = append(b, ',')
	}
	cell(strconv.FormatInt(e.Seq, 10))
	cell(e.ID)
	cell(e.Kind)
	cell(e.Exchange)
	cell(e.Symbol)
	name := ""
	if e.Name != nil {
		name = *e.Name
	}
	cell(name)
	cell(e.Interval)
	cell(strconv.FormatBool(e.Simulated))
	cell(e.OccurredAt.Format(time.RFC3339Nano))
	cell(e.EmittedAt.Format(time.RFC3339Nano))
	number(&e.Price)
	number(e.DistanceATR)
	cell(e.Level.ID)
	cell(e.Level.Role)
	for _, f := range [...]*float64{&e.Level.Price, &e.Level.Low, &e.Level.High, &e.Level.Edge, e.Level.HoldProbability, e.Level.BaselineHoldProbability} {
		number(f)
	}
	var promised, baseline *float64
	if e.Promise != nil {
		promised, baseline = &e.Promise.HoldProbability, &e.Promise.BaselineHoldProbability
	}
	number(promised)
	number(baseline)
	if e.TouchedAt != nil {
		b = e.TouchedAt.AppendFormat(b, time.RFC3339Nano)
	}
	return append(b, "\r\n"...)
}

package api

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net/http"
	"sort"
	"strconv"
	"time"
	"unsafe"

	"github.com/go-json-experiment/json/jsontext"

	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

// maxMoments bounds the list of moments of a request: one for each kline.
const maxMoments = service.MaxKlineLimit

// historyBody is the body of POST /analyze/history.
type historyBody wire.HistoryRequest[rows, []instant, instant]

// instant is a time in a body. If it is a number, its unit is that of the open times, which
// may come later.
type instant struct {
	t     int64 // Unix ms, unless it is a number
	given bool
	raw   bool // a number
}

// ms returns the time in Unix ms.
func (i instant) ms(u timeUnit) int64 {
	if !i.raw {
		return i.t
	}
	ms, _ := u.ms(i.t)
	return ms
}

func readInstant(dec *jsontext.Decoder, to *instant) error {
	const must = "must be a time: RFC 3339, or a whole number in the unit of the open times"
	t, err := token(dec, `0"`, must)
	if err != nil {
		return err
	}
	to.given = true
	if t.Kind() == '"' {
		at, err := time.Parse(time.RFC3339, t.String())
		if err != nil {
			return badValue(dec, "%s", must)
		}
		to.t = at.UnixMilli()
		return nil
	}
	to.raw = true
	if to.t, err = strconv.ParseInt(t.String(), 10, 64); err != nil || to.t < 0 || to.t > math.MaxInt64/1000 {
		return badValue(dec, "%s", must)
	}
	return nil
}

func readInstants(dec *jsontext.Decoder, to *[]instant) error {
	if _, err := token(dec, "[", "must be a list of times"); err != nil {
		return err
	}
	for dec.PeekKind() != ']' {
		var one instant
		if err := readInstant(dec, &one); err != nil {
			return err
		}
		if len(*to) == maxMoments {
			return badValue(dec, "more than %d moments", maxMoments)
		}
		*to = append(*to, one)
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	if len(*to) == 0 {
		return badValue(dec, "the list of moments is empty")
	}
	return nil
}

func readEvery(dec *jsontext.Decoder, to *int64) error {
	const must = "must be a whole number of intervals, at least 1"
	t, err := token(dec, "0", must)
	if err != nil {
		return err
	}
	if *to, err = strconv.ParseInt(t.String(), 10, 64); err != nil || *to < 1 {
		return badValue(dec, "%s", must)
	}
	return nil
}

func readMinEdge(dec *jsontext.Decoder, to **float64) error {
	t, err := token(dec, "0", "must be a number of points")
	if err != nil {
		return err
	}
	f, err := strconv.ParseFloat(t.String(), 64)
	if err != nil {
		return badValue(dec, "must be a number of points")
	}
	*to = &f
	return nil
}

// decodeHistory decodes a body with at most maxKlines klines, and refuses what is not in
// the contract.
func decodeHistory(r io.Reader, maxKlines, maxWindow int) (*historyBody, error) {
	b := &historyBody{Klines: rows{maxKlines: maxKlines}}
	if err := decodeBody(r, b, "klines, interval, moments, every, from, kline_limit, tick_size, faint, min_edge"); err != nil {
		return nil, err
	}
	switch {
	case !b.Klines.given:
		return nil, badField("/klines", "klines are needed")
	case b.Klines.n == 0:
		return nil, badField("/klines", "the list of klines is empty")
	case b.Interval == "":
		return nil, badField("/interval", "klines of one's own need their interval")
	case b.Moments == nil && b.Every == 0:
		return nil, badField("", "one of moments and every is needed")
	case b.Moments != nil && b.Every != 0:
		return nil, badField("/every", "only one of moments and every may be given")
	case b.From.given && b.Every == 0:
		return nil, badField("/from", "from goes with every only")
	case b.KlineLimit > maxWindow:
		return nil, badField("/kline_limit", "at most %d: twice ANALYSIS_KLINE_LIMIT, or what MEMORY_BUDGET leaves room for", maxWindow)
	}
	if _, err := levels.ParseInterval(clip(b.Interval)); err != nil {
		return nil, badField("/interval", "%v", err)
	}
	return b, nil
}

// momentsBytes is the memory of the moments of a body of a given size.
func momentsBytes(length int64) int64 {
	n := int64(maxMoments)
	if length >= 0 {
		n = min(n, length/2)
	}
	return 2 * n * int64(unsafe.Sizeof(instant{})) // in a growing slice
}

// historyKlines returns how many klines of a request the replies have room for.
func (a *API) historyKlines() int {
	n := a.Analyzer.MaxKlines()
	if a.ReplyBytes > 0 {
		n = sort.Search(n, func(n int) bool { return historyBytes(n+1, 0) > a.ReplyBytes })
	}
	return n
}

// historyBytes is the memory of a reply while it is sent: candles, moments and what is
// encoded of it.
func historyBytes(klines, moments int) int64 {
	return int64(levels.CandlesBytes(klines)) + int64(moments)*int64(unsafe.Sizeof(instant{})) + 2*streamBuffer
}

// postHistory serves POST /analyze/history.
//
// A slow client must hold no slot, and the whole reply would be larger than what it is
// computed from. So the candles are held, as part of the reply, and each moment is
// analysed when the client has read those before.
func (a *API) postHistory(w *reply, r *http.Request) error {
	if err := a.acceptsBody(w, r); err != nil {
		return err
	}
	maxKlines := a.historyKlines()
	var body *historyBody
	drop, err := a.upload(w, r, uploadBytes(r.ContentLength, maxKlines)+momentsBytes(r.ContentLength), func(in io.Reader, _ bool) (err error) {
		body, err = decodeHistory(in, maxKlines, a.Analyzer.MaxWindow())
		return err
	})
	if err != nil {
		return err
	}
	defer drop()
	w.wait(r)
	if err := a.hold(r.Context(), w, historyBytes(body.Klines.n, len(body.Moments))); err != nil {
		return err
	}
	h := history{body: body}
	if h.unit, err = body.Klines.fill(&h.candles, levels.Interval(body.Interval), 0); err != nil {
		return err
	}
	precision := body.Klines.precision
	body.Klines = rows{n: body.Klines.n, precision: precision}
	drop()
	_, configured := a.Analyzer.Defaults()
	h.limit = cmp.Or(body.KlineLimit, min(configured, a.Analyzer.MaxWindow()))
	if err := h.checkMoments(); err != nil {
		return err
	}

	show := Shown{Edge: a.MinEdge, Faint: body.MinEdge != nil}
	if body.MinEdge != nil {
		show.Least = *body.MinEdge
	}
	if body.Faint != nil {
		show.Faint = *body.Faint
	}
	out := stream{w: w}
	header := w.Header()
	header["Content-Type"] = contentJSON
	header["Cache-Control"] = noStore
	reply := wire.History[each[wire.HistoryMoment]]{
		Interval: body.Interval, Klines: body.Klines.n, KlineLimit: h.limit, TimeUnit: h.unit.String(),
		Algorithm: levels.Algorithm, MinEdge: a.MinEdge,
		Moments: func(yield func(*wire.HistoryMoment) error) error {
			var m historyMoment
			begun := time.Now()
			return a.Analyzer.Past(r.Context(), &h.candles, h.windows(), func(win service.Window, s service.Snapshot, err error) error {
				if err := m.set(&h, win, &s, err, &show); err != nil {
					return err
				}
				if m.Problem == nil {
					a.metrics.past.Inc()
				} else {
					a.metrics.tooFew.Inc()
				}
				out.worked(time.Since(begun))
				err = yield(&m.HistoryMoment)
				begun = time.Now()
				return err
			})
		},
	}
	if body.TickSize != 0 {
		reply.TickSize = &body.TickSize
	}
	if err := out.encode(&reply); err != nil {
		return err
	}
	return out.flush()
}

// history is a request in progress.
type history struct {
	body    *historyBody
	candles levels.Candles
	unit    timeUnit
	limit   int   // candles of a window
	at      int64 // moment of the current window, Unix ms
}

// checkMoments refuses moments that the klines do not reach.
func (h *history) checkMoments() error {
	end := h.candles.AsOf() + levels.Interval(h.body.Interval).Milliseconds()
	for i, m := range h.body.Moments {
		if at := m.ms(h.unit); at >= end {
			return badField("/moments/"+strconv.Itoa(i), "moment %d is later than the klines, the last of which closes at %s; send the klines up to that moment",
				i, time.UnixMilli(h.candles.AsOf()).UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// windows yields the candles that had closed at each moment, at most h.limit.
func (h *history) windows() iter.Seq[service.Window] {
	c, length := &h.candles, levels.Interval(h.body.Interval).Milliseconds()
	window := func(n int) service.Window {
		return service.Window{From: max(0, n-h.limit), To: n, Tick: tickOrInferred(h.body.TickSize, &h.body.Klines, n)}
	}
	return func(yield func(service.Window) bool) {
		for _, m := range h.body.Moments {
			h.at = m.ms(h.unit)
			closed := sort.Search(c.Len(), func(i int) bool { return c.OpenTime[i]+length > h.at })
			if !yield(window(closed)) {
				return
			}
		}
		if h.body.Moments != nil {
			return
		}
		from := h.body.From.ms(h.unit)
		for i, open := range c.OpenTime {
			h.at = open + length
			if h.at >= from && h.at/length%h.body.Every == 0 && !yield(window(i+1)) {
				return
			}
		}
	}
}

// historyMoment is one that is encoded, with what its pointers point to.
type historyMoment struct {
	wire.HistoryMoment
	asOf   time.Time
	price  float64
	atr    float64
	values []levelValues
}

// set sets m to the analysis s of a window, or to err if there are too few candles for one.
// Other errors are returned. m is valid until the next call.
func (m *historyMoment) set(h *history, win service.Window, s *service.Snapshot, err error, show *Shown) error {
	m.HistoryMoment = wire.HistoryMoment{At: time.UnixMilli(h.at).UTC(), Klines: win.To - win.From, Levels: m.Levels[:0]}
	if win.To > 0 {
		part := h.candles.Slice(win.From, win.To)
		m.asOf = time.UnixMilli(part.AsOf()).UTC()
		m.AsOf = &m.asOf
	}
	if m.Levels == nil {
		m.Levels = []wire.HistoryLevel{}
	}
	if errors.Is(err, levels.ErrTooFewCandles) {
		m.Problem = &wire.Reason{Code: service.Code(err), Detail: err.Error()}
		return nil
	}
	if err != nil {
		return fmt.Errorf("the levels as of %s: %w", m.At.Format(time.RFC3339), err)
	}
	m.price, m.atr = s.LastPrice, wire.SixDigits(s.ATR)
	m.LastPrice, m.ATR = &m.price, &m.atr
	if n := len(s.Supports) + len(s.Resistances); len(m.values) < n {
		m.values = make([]levelValues, n)
	}
	k := 0
	for _, role := range [...]levels.Role{levels.Support, levels.Resistance} {
		list := side(s, role)
		for i := range list {
			if !show.has(&list[i]) {
				continue
			}
			l := m.values[k].level(&list[i], s.LastPrice, s.ATR, show.Edge, false)
			k++
			m.Levels = append(m.Levels, wire.HistoryLevel{
				ID: l.ID, Role: role.String(), Price: l.Price, Low: l.Low, High: l.High, Edge: l.Edge, Faint: l.Faint, State: l.State,
				TouchProbability: l.TouchProbability, HoldProbability: l.HoldProbability, BaselineHoldProbability: l.BaselineHoldProbability,
			})
		}
	}
	return nil
}

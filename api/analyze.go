package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"tidemark/job"
	"tidemark/levels"
	"tidemark/service"
)

// directBytes is the longest body that is read as a whole. A longer body is decoded
// from the connection, its klines into rows.
const directBytes = 16 << 10

// uploadBytes returns the memory needed for a body of a given size, -1 if unknown. The
// body is read and decoded in pieces, and its klines, at most maxKlines, are kept as
// numbers.
func uploadBytes(length int64, maxKlines int) int64 {
	const decoder = 16 << 10
	const shortest = int64(len(`[0,1,1,1,1,1],`))
	n := int64(maxKlines)
	if length >= 0 {
		n = min(n, length/shortest)
	} else {
		length = directBytes
	}
	size := int64(unsafe.Sizeof(levels.Candle{}))
	return decoder + 2*min(length, directBytes) + (n+rowsPiece)*size
}

// arriving reads a body with two deadlines: for the next piece, and for all bytes so
// far, at the slowest permitted rate.
type arriving struct {
	io.Reader
	c     *http.ResponseController
	pause time.Duration // there may be
	due   time.Time
}

func (b *arriving) Read(p []byte) (int, error) {
	due := time.Now().Add(b.pause)
	if b.due.Before(due) {
		due = b.due
	}
	_ = b.c.SetReadDeadline(due) // a recorder has no connection to bound
	n, err := b.Reader.Read(p)
	b.due = b.due.Add(time.Duration(n) * time.Second / slowest)
	return n, err
}

// acceptsBody refuses a request by its query, media type or declared length.
func (a *API) acceptsBody(w *reply, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	if err := jsonBody(r); err != nil {
		return err
	}
	if r.ContentLength > a.MaxBodyBytes {
		// refused without reading the body, so the connection cannot be used again
		w.Header().Set("Connection", "close")
		p := tooLarge(a.MaxBodyBytes)
		return &p
	}
	return nil
}

// upload waits for memory for the body of r, and has decode read it: in pieces if it is
// long, that is, of more than directBytes. The caller calls drop, once or more, when it
// has finished with the decoded body.
func (a *API) upload(w *reply, r *http.Request, bytesNeeded int64, decode func(in io.Reader, long bool) error) (drop func(), err error) {
	held, err := a.uploads.take(r.Context(), bytesNeeded)
	if err != nil {
		w.Header().Set("Connection", "close") // does not wait for the rest of the body
		return nil, err
	}
	give := sync.OnceFunc(func() { a.uploads.give(held) })
	defer func() {
		if err != nil {
			give()
		}
	}()
	// net/http needs its own type to close the connection
	in := &arriving{
		Reader: http.MaxBytesReader(w.ResponseWriter, r.Body, a.MaxBodyBytes), c: http.NewResponseController(w.ResponseWriter),
		pause: a.uploadTimeout, due: time.Now().Add(2 * a.uploadTimeout),
	}
	head, err := io.ReadAll(io.LimitReader(in, directBytes+1))
	if err != nil {
		return nil, bodyError(err, "")
	}
	if len(head) > directBytes {
		err = decode(&tokens{r: io.MultiReader(bytes.NewReader(head), in)}, true)
	} else {
		r.Body = http.NoBody // read completely
		err = decode(bytes.NewReader(head), false)
	}
	if err != nil {
		return nil, err
	}
	r.Body = http.NoBody // read completely
	return give, nil
}

// postAnalyze serves POST /analyze.
func (a *API) postAnalyze(w *reply, r *http.Request) error {
	if err := a.acceptsBody(w, r); err != nil {
		return err
	}
	async := preferAsync(r)
	if async {
		w.Header().Set("Preference-Applied", "respond-async")
	}

	maxKlines := a.Analyzer.MaxKlines()
	var body *analyzeBody
	drop, err := a.upload(w, r, uploadBytes(r.ContentLength, maxKlines), func(in io.Reader, long bool) (err error) {
		body, err = decodeAnalyze(in, maxKlines)
		if err == nil && long && !body.Klines.given {
			err = errNotKlines(directBytes)
		}
		return err
	})
	if err != nil {
		return err
	}
	defer drop()
	w.wait(r)
	if async && body.faint() {
		return badField("/faint", "the result of a job has no faint levels; leave out Prefer: respond-async, or ask GET /levels/{symbol} for them")
	}
	if body.Klines.given {
		return a.analyzeKlines(w, r, async, body, drop)
	}
	drop()
	if err := a.settlePairs(r.Context(), body); err != nil {
		return err
	}
	if err := a.settleStore(body); err != nil {
		return err
	}
	if body.Symbol != "" && !async {
		return a.analyzeSymbol(w, r, body)
	}
	symbols := body.Symbols
	if body.Symbol != "" {
		symbols = []string{body.Symbol}
	}
	j, _, err := a.Jobs.Submit(r.Context(), job.Request{
		Exchange: body.Exchange, All: body.All, Symbols: symbols, Interval: levels.Interval(body.Interval), KlineLimit: body.KlineLimit, Store: body.stored(),
	})
	if err != nil {
		return err
	}
	if !(body.Symbol != "" && async) {
		w.Header().Del("Preference-Applied") // there was no choice
	}
	return a.accepted(w, &j)
}

// analyzeSymbol analyses one pair. If the analysis is stored, the reply is also cached
// for GET /levels/{symbol}.
func (a *API) analyzeSymbol(w *reply, r *http.Request, body *analyzeBody) error {
	key := service.Key{Exchange: body.Exchange, Symbol: body.Symbol, Interval: levels.Interval(body.Interval)}
	if key.Interval == "" {
		key.Interval, _ = a.Analyzer.Defaults()
	}
	prices := a.pricesVersion(key.Exchange, key.Symbol)
	watch := a.cache.await(key)
	snap, err := a.Analyzer.Analyze(r.Context(), service.Request{
		Exchange: body.Exchange, Symbol: body.Symbol, Interval: levels.Interval(body.Interval), KlineLimit: body.KlineLimit, Store: body.stored(),
	})
	var e *cached
	if err == nil && body.stored() && snap.Key == key {
		e = a.encodeNewest(key, &snap, a.unasked(), snap.ComputedAt, prices)
	}
	a.cache.done(watch, e, snap.AsOf.UnixMilli())
	switch {
	case err != nil:
		return err
	case e != nil && !body.faint():
		return sendAnalysis(w, e.body)
	}
	return a.analysis(w, &snap, body)
}

// settlePairs replaces the names of pairs by the exchange's ids, and sets the exchange if
// none is given.
func (a *API) settlePairs(ctx context.Context, b *analyzeBody) error {
	if b.Exchange != "" || len(a.markets) == 1 {
		market, err := a.Analyzer.Market(b.Exchange)
		if err != nil {
			return err
		}
		b.Exchange = market.Exchange
	}
	if b.All && b.Exchange == "" {
		return badField("/exchange", "a sweep is of one exchange; name one of %s", strings.Join(a.markets, ", "))
	}
	answers := true
	settle := func(text *string, pointer string) error {
		p, err := parsePair(*text)
		if err != nil {
			return badField(pointer, "%v", err)
		}
		of, err := a.resolve(ctx, b.Exchange, p)
		if err != nil {
			return err
		}
		if of.name == "" && answers { // perhaps listed since the last sweep
			switch listed, err := a.Analyzer.AskList(ctx, of.exchange, service.Spell(p.text, p.plain)); {
			case err == nil:
				of.symbol = listed.Symbol
			case !errors.Is(err, service.ErrUnknownSymbol):
				answers = false // the analysis says why
			}
		}
		*text, b.Exchange = of.symbol, of.exchange
		return nil
	}
	if b.Symbol != "" {
		return settle(&b.Symbol, "/symbol")
	}
	if b.Exchange == "" && b.Symbols != nil {
		return badField("/exchange", "a list of symbols is of one exchange; name one of %s", strings.Join(a.markets, ", "))
	}
	for i := range b.Symbols {
		if err := settle(&b.Symbols[i], "/symbols/"+strconv.Itoa(i)); err != nil {
			return err
		}
	}
	return nil
}

// settleStore decides whether the analysis is stored if the request does not say so. It
// is not if its number of klines differs from the configured one, since all clients
// read the stored analysis.
func (a *API) settleStore(b *analyzeBody) error {
	_, configured := a.Analyzer.Defaults()
	if b.Store != nil || b.KlineLimit == 0 || b.KlineLimit == configured {
		return nil
	}
	if b.Symbol == "" {
		return badField("/store", "analyses of %d klines would replace the stored ones, which are of %d (ANALYSIS_KLINE_LIMIT): send store true if that is meant, or leave kline_limit out", b.KlineLimit, configured)
	}
	b.Store = new(false)
	return nil
}

// analyzeKlines analyses klines that the client sent. They are dropped once they are in
// a slot.
func (a *API) analyzeKlines(w *reply, r *http.Request, async bool, body *analyzeBody, drop func()) error {
	ctx, cancel := context.WithTimeout(r.Context(), slotTimeout)
	defer cancel()
	klines := &body.Klines
	tick := tickOrInferred(body.TickSize, klines, klines.n)
	fill := func(dst *levels.Candles) error {
		unit, err := klines.fill(dst, levels.Interval(body.Interval), body.KlineLimit)
		*klines = rows{}
		drop()
		if err == nil {
			w.Header().Set("Tidemark-Time-Unit", unit.String())
			if size := tickOf(tick); size != nil {
				w.Header().Set("Tidemark-Tick-Size", string(appendFloat(nil, *size)))
			}
		}
		return err
	}
	if async {
		j, err := a.Jobs.SubmitCandles(ctx, klines.n, tick, fill)
		if err != nil {
			return err
		}
		return a.accepted(w, &j)
	}
	snap, err := a.Analyzer.AnalyzeCandles(ctx, klines.n, tick, fill)
	if err != nil {
		return err
	}
	snap.Exchange = body.Exchange
	return a.analysis(w, &snap, body)
}

// analysis sends a new analysis. Staleness is judged at the time of the analysis: a
// halted pair, or old klines, are stale at once.
func (a *API) analysis(w *reply, s *service.Snapshot, body *analyzeBody) error {
	show := Shown{Edge: a.MinEdge, Faint: body.faint()}
	return sendAnalysis(w, append(AppendAnalysis(make([]byte, 0, 8<<10), a.atPrice(s, s.ComputedAt), s.ComputedAt, show), '\n'))
}

func sendAnalysis(w *reply, body []byte) error {
	w.deadline(writeTimeout)
	h := w.Header()
	h["Content-Type"] = contentJSON
	h["Cache-Control"] = noStore
	return write(w, body)
}

// accepted sends a job in progress, with its URL.
func (a *API) accepted(w *reply, j *job.Job) error {
	w.deadline(writeTimeout)
	h := w.Header()
	h.Set("Location", "/jobs/"+j.ID)
	h["Content-Type"] = contentJSON
	h["Cache-Control"] = noStore
	w.WriteHeader(http.StatusAccepted)
	return write(w, append(appendJSON(nil, a.jobOf(j)), '\n'))
}

// jsonBody refuses a body whose Content-Type is not JSON. A missing type counts as
// JSON, and so does the form type that curl -d sends.
func jsonBody(r *http.Request) error {
	text := r.Header.Get("Content-Type")
	if text == "" {
		return nil
	}
	media, _, err := mime.ParseMediaType(text)
	if err != nil || media != "application/json" && media != "application/x-www-form-urlencoded" && !strings.HasSuffix(media, "+json") {
		return &problem{code: "unsupported_media_type", detail: clip(text) + " is not application/json", header: "Accept-Post", value: "application/json"}
	}
	return nil
}

// preferAsync reports whether the client prefers not to wait (RFC 7240).
func preferAsync(r *http.Request) bool {
	for _, line := range r.Header["Prefer"] {
		for p := range strings.SplitSeq(line, ",") {
			if name, _, _ := strings.Cut(p, ";"); strings.EqualFold(strings.TrimSpace(name), "respond-async") {
				return true
			}
		}
	}
	return false
}

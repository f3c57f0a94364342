package api

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"

	"tidemark/service"
)

// handler answers a request or returns an error. It builds the reply before it writes
// anything, so that an error still gets its own status. Streams are the exception: they
// abort the connection.
type handler func(w *reply, r *http.Request) error

// route is one route of the router.
type route struct {
	pattern string
	metrics *routeMetrics
}

// open reports whether the route needs no key: probes of orchestrators, and the page,
// which holds no data and must load to ask for a key.
func (rt *route) open() bool {
	switch rt.pattern {
	case "/healthz", "/readyz", "/", "/page/{file}":
		return true
	}
	return false
}

// reply is the ResponseWriter of every handler. It records what was sent.
type reply struct {
	http.ResponseWriter
	route     *route
	start     time.Time
	requestID [1]string // also the header value
	symbol    string    // from the path, if the router was bypassed
	headed    bool      // the common headers are set
	status    int       // 0 until the header is written
	bytes     int64
	held      atomic.Int64 // bytes taken from API.replies until the reply is written
	keys      *keyring     // the keys that count for the request
	shared    bool         // it may go to pages of other origins
	secret    bool         // only a client with a key gets it
	outer     *reply       // the reply of the tool call that this answers, or nil
}

// Header returns the headers, including the common ones.
func (w *reply) Header() http.Header {
	h := w.ResponseWriter.Header()
	if !w.headed {
		w.headed = true
		h["X-Content-Type-Options"] = nosniff
		h["Referrer-Policy"] = noReferrer
		h["X-Request-Id"] = w.requestID[:]
	}
	return h
}

func (w *reply) WriteHeader(status int) {
	w.begin(status)
	w.ResponseWriter.WriteHeader(status)
}

// begin records the status. No header can be set after it.
func (w *reply) begin(status int) {
	if w.status != 0 {
		return
	}
	w.status = status
	if !w.headed {
		w.Header()
	}
	if w.shared {
		vary(w.ResponseWriter.Header(), "Origin")
	}
	if w.secret { // a page without the key must not get it from the browser's cache
		vary(w.ResponseWriter.Header(), "Authorization, X-Api-Key")
	}
}

// direct returns the connection of w if it accepts header lines and no header is set
// yet, else nil.
func (w *reply) direct(r *http.Request) *doorConn {
	c, _ := r.Context().Value(doorKey{}).(*doorConn)
	if _, sends := w.ResponseWriter.(http.Flusher); w.headed || !sends { // the reply of a tool has no connection
		return nil
	}
	return c
}

// appendHead appends the common headers as lines. It replaces Header.
func (w *reply) appendHead(b []byte) []byte {
	w.headed = true
	b = append(b, "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nX-Request-Id: "...)
	return append(append(b, w.requestID[0]...), "\r\n"...)
}

func (w *reply) Write(b []byte) (int, error) {
	w.begin(http.StatusOK)
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *reply) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// deadline bounds the time in which the client must read what is written from now on; 0
// removes the bound.
func (w *reply) deadline(d time.Duration) {
	var t time.Time
	if d > 0 {
		t = time.Now().Add(d)
	}
	// a recorder has no connection to bound
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(t)
}

// wait removes the server's deadlines for a handler that takes long: it bounds its own
// work, and later its writing. The read deadline must go too, since net/http treats its
// expiry as a client that went away. It must stay while part of the body is unread:
// net/http reads the rest after the handler, and would wait forever.
func (w *reply) wait(r *http.Request) {
	w.deadline(0)
	if r.Body == http.NoBody {
		_ = http.NewResponseController(w.ResponseWriter).SetReadDeadline(time.Time{})
	}
}

// Header values shared by all replies. net/http does not change them.
var (
	nosniff     = []string{"nosniff"}
	noReferrer  = []string{"no-referrer"}
	noStore     = []string{"no-store"}
	noCache     = []string{"no-cache"}
	contentJSON = []string{"application/json"}
)

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

func (a *API) answer(rw http.ResponseWriter, r *http.Request) {
	w := &reply{ResponseWriter: rw, start: time.Now(), requestID: [1]string{a.ids.of(r)}, keys: a.keys.now.Load(), shared: len(a.origins.listed) > 0}
	a.metrics.inFlight.Inc()
	defer a.finish(w, r)
	// The router copies the request and allocates a context and a map, which costs as
	// much as the rest of a cached reply. The one route with heavy traffic bypasses it.
	// The router has that route too, for unusual requests.
	if symbol, is := strings.CutPrefix(r.URL.Path, "/levels/"); is && r.Method == http.MethodGet &&
		r.URL.RawPath == "" && symbol != "" && strings.IndexByte(symbol, '/') < 0 {
		w.symbol = symbol
		a.levels(w, r)
		return
	}
	if path, is := pairPath(r.URL); is {
		r = r.Clone(r.Context())
		r.URL.RawPath = path
	}
	a.router.ServeHTTP(w, r)
}

// pairPath returns the escaped path of a request whose path has the canonical name of a
// pair as two segments, /levels/BTC/USDT, with the name as one segment.
func pairPath(u *url.URL) (string, bool) {
	parts := strings.Split(u.Path, "/")
	if u.RawPath != "" || len(parts) < 4 || len(parts) > 5 || parts[2] == "" || parts[3] == "" {
		return "", false
	}
	below := func(part string) bool { // of a pair, in the routes; an id is longer than QUOTE:SETTLE
		return parts[1] == "levels" && (len(part) > 12 || part == "chart.svg" || part == "chart.png" || part == "marks") || parts[1] == "klines" && part == "forming"
	}
	if parts[1] != "levels" && parts[1] != "klines" || len(parts) == 4 && below(parts[3]) || len(parts) == 5 && !below(parts[4]) {
		return "", false
	}
	path := "/" + parts[1] + "/" + url.PathEscape(parts[2]) + "%2F" + url.PathEscape(parts[3])
	if len(parts) == 5 {
		path += "/" + parts[4]
	}
	return path, true
}

// finish recovers from a panic and records the request. It must be deferred directly,
// since recover works only there.
func (a *API) finish(w *reply, r *http.Request) {
	p := recover()
	a.replies.give(w.held.Load())
	if p != nil && p != http.ErrAbortHandler {
		a.log.Error("a handler panicked", "panic", p, "stack", string(debug.Stack()), "method", r.Method,
			"path", r.URL.Path, "request_id", w.requestID[0], "traceparent", r.Header.Get("Traceparent"))
		if p = http.ErrAbortHandler; w.status == 0 {
			a.problem(w, r, status(r, errPanicked))
			p = nil
		}
	}
	if p == nil {
		w.begin(http.StatusOK) // the default status
	}
	a.record(w, r)
	if p != nil {
		panic(p)
	}
}

// errPanicked is the error of a handler that panicked. The client sees only that it is
// an internal error.
var errPanicked = errors.New("the handler panicked")

func (a *API) record(w *reply, r *http.Request) {
	took := time.Since(w.start)
	a.metrics.inFlight.Dec()
	code := w.status
	if code == 0 {
		code = http.StatusOK
	}
	if w.route != nil {
		w.route.metrics.observe(code, took)
	}
	if a.log.Enabled(r.Context(), slog.LevelDebug) {
		a.log.LogAttrs(r.Context(), slog.LevelDebug, "request",
			slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", code),
			slog.Int64("bytes", w.bytes), slog.Duration("took", took), slog.String("remote", r.RemoteAddr),
			slog.String("request_id", w.requestID[0]), slog.String("traceparent", r.Header.Get("Traceparent")))
	}
}

// serve converts h to a handler for the router: it checks key, rate, host and origin,
// runs h, and sends its error as a problem.
func (a *API) serve(rt *route, h handler) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		w := rw.(*reply)
		w.route = rt
		err := a.admit(rt, w, r)
		if err == nil {
			err = h(w, r)
		}
		if err != nil {
			a.fail(w, r, err)
		}
	}
}

// fail sends err as a problem. If the reply has already begun, it aborts the
// connection, which is the only way left to signal an incomplete reply.
func (a *API) fail(w *reply, r *http.Request, err error) {
	p := status(r, err)
	level := slog.LevelDebug
	switch {
	case refusedAtDoor(r.Context()): // any number of clients, without key or rate; Door counts them
	case p.status == 500:
		level = slog.LevelError
	case p.status > 500:
		level = slog.LevelWarn
	}
	if a.log.Enabled(r.Context(), level) {
		a.log.Log(r.Context(), level, "request failed", "error", err, "status", p.status, "method", r.Method,
			"path", r.URL.Path, "request_id", w.requestID[0], "traceparent", r.Header.Get("Traceparent"))
	}
	switch {
	case w.status != 0:
		panic(http.ErrAbortHandler)
	case p.status == 499:
		w.status = p.status // no client is there to read it
	default:
		a.problem(w, r, p)
	}
}

// problem sends p. It removes the headers that a handler set for its own reply.
func (a *API) problem(w *reply, r *http.Request, p problem) {
	h := w.Header()
	for _, name := range [...]string{"Age", "Etag", "Last-Modified", "Content-Disposition", "Link", "Location", "Preference-Applied", "Tidemark-Time-Unit", "Tidemark-Tick-Size"} {
		delete(h, name)
	}
	h["Content-Type"] = contentProblem
	h["Cache-Control"] = noStore
	if p.retry > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((p.retry+time.Second-1)/time.Second), 10))
	}
	if p.header != "" {
		h.Set(p.header, p.value)
	}
	body := appendProblem(nil, p, r.URL.EscapedPath(), w.requestID[0])
	w.WriteHeader(p.status)
	_ = write(w, body)
}

// admit checks key, rate, host and origin.
func (a *API) admit(rt *route, w *reply, r *http.Request) error {
	if refusedAtDoor(r.Context()) {
		return fmt.Errorf("%w: all the connections there may be are in use", service.ErrBusy)
	}
	if rt.open() {
		return nil
	}
	var c client
	authorized, needsKey := true, len(w.keys.sums) > 0
	if needsKey {
		w.secret = true
		c.key, authorized = w.keys.find(key(r))
	}
	if c.key == 0 && a.limiter.on() {
		c.addr = address(r)
	}
	if local := !needsKey && c.addr.IsLoopback(); local {
		// local users have free access
	} else if wait := a.limiter.take(c, w.start); wait > 0 {
		return &problem{code: "too_many_requests", retry: wait, detail: fmt.Sprintf("more than %v requests a second", a.RateLimit)}
	}
	if !authorized {
		return &problem{code: "unauthorized", detail: "send a key: Authorization: Bearer …, or X-API-Key: …", header: "Www-Authenticate", value: `Bearer realm="tidemark"`}
	}
	if !needsKey && !rt.anyHost() {
		if err := a.checkHost(r); err != nil {
			return err
		}
	}
	return a.checkOrigin(rt, r, needsKey)
}

// address returns the address that a request without a (known) key counts against.
// Proxy headers are ignored, since a client can forge them.
func address(r *http.Request) netip.Addr {
	at, _ := netip.ParseAddrPort(r.RemoteAddr)
	addr := at.Addr().Unmap().WithZone("")
	if !addr.Is6() || addr.IsLoopback() {
		return addr
	}
	// a household or a server gets a whole /64
	p, _ := addr.Prefix(64)
	return p.Addr()
}

// key returns the key that a request has, or "".
func key(r *http.Request) string {
	if text := r.Header.Get("X-Api-Key"); text != "" {
		return text
	}
	if scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "bearer") {
		return strings.TrimLeft(token, " ")
	}
	return ""
}

// requestIDs assigns request IDs: the client's own if it is valid, else a number unique
// in this process, with a prefix unique to this process.
type requestIDs struct {
	prefix string
	last   atomic.Uint64
}

func (ids *requestIDs) init() {
	var b [4]byte
	rand.Read(b[:])
	ids.prefix = hex.EncodeToString(b[:]) + "-"
}

func (ids *requestIDs) of(r *http.Request) string {
	if given := r.Header["X-Request-Id"]; len(given) > 0 && saneID(given[0]) {
		return given[0]
	}
	var b [32]byte
	return string(strconv.AppendUint(append(b[:0], ids.prefix...), ids.last.Add(1), 36))
}

// saneID accepts 1 to 64 letters, digits, dots, underscores and hyphens.
func saneID(s string) bool {
	if len(s) < 1 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

func noRoute(*reply, *http.Request) error {
	return &problem{code: "not_found", detail: "there is nothing at this path; GET /openapi.yaml lists what there is"}
}

// wrongMethod lists the methods that the path supports.
func (a *API) wrongMethod(_ *reply, r *http.Request) error {
	path := r.URL.RawPath
	if path == "" {
		path = r.URL.Path
	}
	var allowed []string
	for _, method := range [...]string{"GET", "POST", "PUT", "DELETE"} {
		if a.router.Match(chi.NewRouteContext(), method, path) {
			allowed = append(allowed, method)
			if method == "GET" {
				allowed = append(allowed, "HEAD")
			}
		}
	}
	list := strings.Join(allowed, ", ")
	return &problem{code: "method_not_allowed", detail: "this path allows " + list, header: "Allow", value: list}
}

// headAsGet routes HEAD like GET; net/http drops the body.
func headAsGet(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			chi.RouteContext(r.Context()).RouteMethod = http.MethodGet
		}
		next.ServeHTTP(w, r)
	})
}

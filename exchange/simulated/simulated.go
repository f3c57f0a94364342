// Package simulated is an exchange with invented prices that speaks Binance Spot's
// wire format. It allows tests, measurements and fault injection with the real client
// without a network. Every response has the header X-Tidemark-Simulated: true.
//
// It serves /api/v3/ping, time, exchangeInfo, ticker/24hr and klines. Properties of
// every market, for any seed:
//
//   - A candle is the same in every page, in any order of requests, and after a
//     restart; a market depends only on its seed, the names of its pairs and time.
//     (Another processor architecture may round the last digit of a price
//     differently.)
//   - Candles of all intervals are sums of the same seconds: open, high, low,
//     close, volume, trades and taker volume agree exactly. Quote volumes are
//     each candle's volume times its own mean price, and agree roughly.
//   - A candle opens at the close of the previous one, unless there is a gap.
//   - Prices are at least one tick, and return to the pair's base within years.
//   - There are no planted levels.
//
// Not simulated: correlation, since pairs move independently of each other (ETHBTC is not the
// quotient of ETHUSDT and BTCUSDT, and BTCUP does not follow BTC), time zones
// other than UTC in klines, and the limit of raw requests.
package simulated

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options are the options of a market. The zero value is a market of 500 healthy
// pairs, without faults and latency, at the real time.
type Options struct {
	Pairs int    // healthy pairs quoted in USDT, default 500; plus 29 special ones (see Kind)
	Seed  uint64 // selects the market
	// Now is the venue's clock, default time.Now. It determines the candles, the
	// time endpoint and the Date header. Weight, pauses, bans and latency use real
	// time. It is called from many goroutines.
	Now func() time.Time

	Latency time.Duration // of every response
	Jitter  time.Duration // Latency varies uniformly by up to this, up or down

	WeightLimit int // request weight a minute and address, default 6000
	BanAfter    int // requests refused in one pause before the address is banned, default 40

	Faults     Faults
	RetryAfter time.Duration // of an injected 429, whole seconds, default 1 s
	Hang       time.Duration // maximum duration of a hanging response, default 30 s

	CacheBytes int64 // of rendered pages of closed candles to keep, default none
}

// Server is a simulated exchange. It implements http.Handler.
type Server struct {
	options Options
	market  *market
	limits  *limits
	cache   *pageCache // nil without

	requests atomic.Uint64 // seeds the draws of faults and jitter
	running  atomic.Int64

	mu    sync.Mutex
	stats Stats
}

// Stats are the counters of a server since it was created.
type Stats struct {
	Requests map[string]int // all received, by endpoint: "klines", "ticker/24hr", ...; "other" for unknown ones
	Faults   map[string]int // injected, by kind as in Faults
	Refused  int            // refused with 429 or 418 by a limit, pause or ban
	Peak     int            // maximum of concurrent requests
	// Early holds the first thousand requests that arrived during an announced
	// pause, EarlyCount their number.
	Early      []Early
	EarlyCount int
}

// Early is a request that arrived before the end of a Retry-After. A request that was
// already on its way when the pause was announced has a small After.
type Early struct {
	Endpoint string
	After    time.Duration // since the end of the response that announced the pause
	Left     time.Duration // remaining time of the pause
}

const keptEarly = 1_000

// New returns the server of a market. It does nothing until the first request.
func New(o Options) *Server {
	if o.Pairs <= 0 {
		o.Pairs = 500
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.WeightLimit <= 0 {
		o.WeightLimit = 6_000
	}
	if o.BanAfter <= 0 {
		o.BanAfter = 40
	}
	if o.RetryAfter <= 0 {
		o.RetryAfter = time.Second
	}
	if o.Hang <= 0 {
		o.Hang = 30 * time.Second
	}
	s := &Server{
		options: o,
		market:  newMarket(o.Seed, o.Pairs, o.Now()),
		limits:  &limits{limit: o.WeightLimit, banAfter: o.BanAfter, accounts: map[string]*account{}},
		stats:   Stats{Requests: map[string]int{}, Faults: map[string]int{}},
	}
	if o.CacheBytes > 0 {
		s.cache = &pageCache{room: o.CacheBytes, pages: map[pageKey][]byte{}}
	}
	return s
}

// Pairs returns the properties of all pairs, in the order of exchangeInfo.
func (s *Server) Pairs() []Pair {
	all := make([]Pair, len(s.market.pairs))
	for i := range all {
		all[i] = s.market.pairs[i].Pair
	}
	return all
}

// Stats returns a copy of the counters.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.stats
	c.Requests, c.Faults = maps.Clone(c.Requests), maps.Clone(c.Faults)
	c.Early = append([]Early(nil), c.Early...)
	return c
}

// request is one parsed request.
type request struct {
	endpoint string // in Stats
	weight   int
	err      *apiError
	klines   *klinesQuery // for that endpoint
	write    func(o *out, now time.Time)
}

const prefix = "/api/v3/"

var errMethod = &apiError{http.StatusMethodNotAllowed, -1020, "This operation is not supported."}

func (s *Server) parse(r *http.Request) (q request) {
	var err error
	m, raw := s.market, r.URL.RawQuery
	switch name, ok := strings.CutPrefix(r.URL.Path, prefix); {
	case ok && name == "klines":
		q.endpoint, q.weight = name, 2
		var k klinesQuery
		if k, err = m.parseKlines(raw); err == nil {
			q.klines = &k
		}
	case ok && name == "ticker/24hr":
		q.endpoint, q.weight = name, 2
		var k tickerQuery
		if k, err = m.parseTicker(raw); err == nil {
			q.weight = k.weight()
		}
		q.write = func(o *out, now time.Time) { m.tickers(o, &k, now.UnixMilli()) }
	case ok && name == "exchangeInfo":
		q.endpoint, q.weight = name, 20
		var k infoQuery
		k, err = m.parseInfo(raw)
		q.write = func(o *out, now time.Time) { m.info(o, &k, s.options.WeightLimit, now.UnixMilli()) }
	case ok && name == "time":
		q.endpoint, q.weight = name, 1
		_, err = parseQuery(raw)
		q.write = func(o *out, now time.Time) {
			o.buf = strconv.AppendInt(append(o.buf, `{"serverTime":`...), now.UnixMilli(), 10)
			o.buf = append(o.buf, '}')
		}
	case ok && name == "ping":
		q.endpoint, q.weight = name, 1
		_, err = parseQuery(raw)
		q.write = func(o *out, _ time.Time) { o.buf = append(o.buf, "{}"...) }
	default:
		q.endpoint, q.weight = "other", 1
		q.err = &apiError{status: http.StatusNotFound}
		return q
	}
	if err != nil {
		q.err = err.(*apiError)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		q.err = errMethod
	}
	return q
}

var headerSimulated = []string{"true"}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	running := int(s.running.Add(1))
	defer s.running.Add(-1)
	h := w.Header()
	h["X-Tidemark-Simulated"] = headerSimulated
	q := s.parse(r)
	address := remote(r)
	v := s.limits.admit(address, q.weight, time.Now())
	s.note(q.endpoint, running, &v)
	hash := mix(s.options.Seed ^ mix(s.requests.Add(1)+saltFault))
	if !v.refused && sleep(r.Context(), s.latency(hash)) != nil {
		return
	}
	now := s.options.Now()
	h["Date"] = []string{now.UTC().Format(http.TimeFormat)}
	h["Content-Type"] = []string{jsonType}
	used := []string{strconv.Itoa(v.used)}
	h["X-Mbx-Used-Weight"], h["X-Mbx-Used-Weight-1m"] = used, used

	kind := noFault
	if !v.refused {
		kind = s.options.Faults.draw(hash)
	}
	switch {
	case v.refused:
		s.refuse(w, address, v, now)
	case kind == fault429 || kind == faultBan:
		s.count(kind)
		s.refuse(w, address, s.limits.impose(address, kind == faultBan, s.options.RetryAfter, time.Now()), now)
	case kind != noFault:
		o := &out{kept: true}
		switch {
		case q.err != nil:
			o.buf = q.err.append(o.buf)
		case q.klines != nil:
			at := now.Unix()
			s.market.klines(o, q.klines, s.market.resolve(q.klines, at), at)
		default:
			q.write(o, now)
		}
		var body []byte
		kind, body = distort(kind, mix(hash), o.buf, q.klines != nil)
		s.count(kind)
		s.inject(w, r, kind, body)
	case q.err != nil:
		s.fail(w, q.err)
	case q.klines != nil:
		s.page(w, q.klines, now.Unix())
	default:
		o := outs.Get().(*out)
		o.w = w
		q.write(o, now)
		o.finish()
	}
}

// finish sends the rest of o, with Content-Length if nothing was sent before.
func (o *out) finish() {
	if !o.sent {
		o.w.Header()["Content-Length"] = []string{strconv.Itoa(len(o.buf))}
	}
	_, _ = o.w.Write(o.buf)
	o.release()
}

// page replies with klines, from the cache if present.
func (s *Server) page(w http.ResponseWriter, k *klinesQuery, now int64) {
	p := s.market.resolve(k, now)
	if s.cache == nil {
		o := outs.Get().(*out)
		o.w = w
		s.market.klines(o, k, p, now)
		o.finish()
		return
	}
	key := pageKey{k.pair, k.iv.name, p.first, p.last, k.limit}
	body := s.cache.get(key)
	if body == nil {
		o := outs.Get().(*out)
		o.kept = true
		closed := s.market.klines(o, k, p, now)
		body = bytes.Clone(o.buf)
		o.release()
		if closed && p.first <= p.last {
			s.cache.put(key, body)
		}
	}
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	_, _ = w.Write(body)
}

// fail replies with an error as the venue words it.
func (s *Server) fail(w http.ResponseWriter, err *apiError) {
	body := []byte("<html><body><h2>404 Not found</h2></body></html>")
	if err.status == http.StatusNotFound {
		w.Header()["Content-Type"] = []string{htmlType}
	} else {
		body = err.append(body[:0])
	}
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(err.status)
	_, _ = w.Write(body)
}

// refuse replies with 429 or 418, and records when the response was sent.
func (s *Server) refuse(w http.ResponseWriter, address string, v verdict, now time.Time) {
	err := &apiError{http.StatusTooManyRequests, -1003, fmt.Sprintf("Too much request weight used; current limit is %d request weight per 1 MINUTE. "+
		"Please use WebSocket Streams for live updates to avoid polling the API.", s.options.WeightLimit)}
	if v.banned {
		until := now.Add(time.Duration(v.retryAfter) * time.Second).UnixMilli()
		err = &apiError{http.StatusTeapot, -1003, fmt.Sprintf("Way too much request weight used; IP banned until %d. "+
			"Please use WebSocket Streams for live updates to avoid bans.", until)}
	}
	w.Header()["Retry-After"] = []string{strconv.Itoa(v.retryAfter)}
	s.fail(w, err)
	_ = http.NewResponseController(w).Flush()
	s.limits.announce(address, v, time.Now())
}

func (s *Server) latency(hash uint64) time.Duration {
	if s.options.Jitter <= 0 {
		return s.options.Latency
	}
	b := bits(mix(hash ^ saltJitter))
	return s.options.Latency + time.Duration((2*b.share()-1)*float64(s.options.Jitter))
}

// remote returns the address of the client, without its port.
func remote(r *http.Request) string {
	if a, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return a.Addr().Unmap().String()
	}
	return r.RemoteAddr
}

// note counts an incoming request.
func (s *Server) note(endpoint string, running int, v *verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Requests[endpoint]++
	s.stats.Peak = max(s.stats.Peak, running)
	if v.refused {
		s.stats.Refused++
	}
	if v.left > 0 {
		s.stats.EarlyCount++
		if len(s.stats.Early) < keptEarly {
			s.stats.Early = append(s.stats.Early, Early{endpoint, v.early, v.left})
		}
	}
}

func (s *Server) count(kind fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Faults[faultNames[kind]]++
}

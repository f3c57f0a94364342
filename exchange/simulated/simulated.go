// Package simulated is an exchange with invented prices that speaks Binance
// Spot's wire format, so that the real client can be tried, measured and
// tormented without a network. Every response says what it is in the header
// X-Tidemark-Simulated: true.
//
// It serves /api/v3/ping, time, exchangeInfo, ticker/24hr and klines. What is
// true of every market, whatever the seed:
//
//   - A candle is the same whichever page it is asked for in, in whatever
//     order, and after a restart; a market is made of its seed, the names of
//     its pairs and time alone. (Another processor architecture may round the
//     last digit of a price differently.)
//   - Candles of all intervals are sums of the same seconds: open, high, low,
//     close, volume, trades and taker volume agree exactly. Quote volumes are
//     each candle's volume times its own mean price, and agree roughly.
//   - A candle opens where the one before closed, unless a hole lies between.
//   - Prices are at least one tick, and come back to the pair's base within
//     years.
//   - No levels are planted: it is a plain market.
//
// What is left out: pairs move independently of each other (ETHBTC is not the
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

// Options is what a market is made of. The zero value is a market of 500
// healthy pairs, without faults, at once, at the real time.
type Options struct {
	Pairs int    // healthy pairs quoted in USDT, default 500; 29 odd ones come on top (see Kind)
	Seed  uint64 // which market is played
	// Now is the venue's clock, default time.Now: it decides which candles there
	// are, and what time and Date say. Weight, pauses, bans and latency go by
	// real time all the same. Called from many goroutines.
	Now func() time.Time

	Latency time.Duration // of every answer
	Jitter  time.Duration // Latency is varied evenly by up to this, either way

	WeightLimit int // request weight a minute and address, default 6000
	BanAfter    int // requests refused in one pause before the address is banned, default 40

	Faults     Faults
	RetryAfter time.Duration // of a 429 that is a fault, whole seconds, default 1 s
	Hang       time.Duration // how long a hanging answer hangs at most, default 30 s

	CacheBytes int64 // of rendered pages of closed candles to keep, default none
}

// Server is a simulated exchange. It implements http.Handler.
type Server struct {
	options Options
	market  *market
	limits  *limits
	cache   *pageCache // nil without

	requests atomic.Uint64 // numbers them, for the draws of faults and jitter
	running  atomic.Int64

	mu    sync.Mutex
	stats Stats
}

// Stats is what a server has seen and done since it was made.
type Stats struct {
	Requests map[string]int // all that arrived, by endpoint: "klines", "ticker/24hr", ...; "other" for what there is not
	Faults   map[string]int // injected, by kind as in Faults
	Refused  int            // answered 429 or 418 for the sake of a limit, pause or ban
	Peak     int            // most requests at the same time
	// Early holds the first thousand of the requests that arrived in a pause
	// after it had been announced, EarlyCount how many there were.
	Early      []Early
	EarlyCount int
}

// Early is a request that arrived before a Retry-After it should have heeded had
// ended. One that was on its way when the pause was announced has a small After.
type Early struct {
	Endpoint string
	After    time.Duration // since the response that announced the pause was finished
	Left     time.Duration // what the pause had left to go
}

const keptEarly = 1_000

// New returns the server of a market. Nothing runs until it is asked something.
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

// Pairs returns the truth about every pair, in the order of exchangeInfo.
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

// request is one request, read but not answered.
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

// finish sends what is left in o, with its length if that is all.
func (o *out) finish() {
	if !o.sent {
		o.w.Header()["Content-Length"] = []string{strconv.Itoa(len(o.buf))}
	}
	_, _ = o.w.Write(o.buf)
	o.release()
}

// page answers with klines, from the cache if it is there.
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

// fail answers with an error in the venue's words.
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

// refuse answers 429 or 418, and notes when the answer was out.
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

// remote is the address a request came from, without its port.
func remote(r *http.Request) string {
	if a, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return a.Addr().Unmap().String()
	}
	return r.RemoteAddr
}

// note counts a request as it arrives.
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

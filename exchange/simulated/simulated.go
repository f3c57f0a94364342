// Package simulated is an exchange with invented prices, or with recorded ones (see
// Replay), that speaks the wire format of a venue (see Options.Venue). It allows tests,
// measurements and fault injection with the real client without a network. Every response
// has the header X-Tidemark-Simulated: true.
//
// What differs between venues is a dialect, one file each. Properties of every made-up
// market, for any seed:
//
//   - A candle is the same in every page, in any order of requests, and after a
//     restart; a market depends only on its seed, the names of its pairs and time, and is
//     the same at every venue. (Another processor architecture may round the last digit
//     of a price differently.)
//   - Candles of all intervals are sums of the same seconds: open, high, low,
//     close, volume, trades and taker volume agree exactly. Quote volumes are
//     each candle's volume times its own mean price, and agree roughly.
//   - A candle opens at the close of the previous one, unless there is a gap.
//   - Prices are at least one tick, and return to the pair's base within years.
//   - There are no planted levels.
//
// Not simulated: correlation, since pairs move independently of each other (ETHBTC is not the
// quotient of ETHUSDT and BTCUSDT, and BTCUP does not follow BTC), time zones
// other than UTC in Binance's klines, and its limit of raw requests.
package simulated

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Options are the options of a market. The zero value is a market of 500 healthy
// pairs, without faults and latency, at the real time.
type Options struct {
	Venue string // whose wire format, one of Venues; default binance

	Pairs int    // healthy pairs quoted in USDT, default 500; plus 29 special ones (see Kind)
	Seed  uint64 // selects the market
	// Now is the venue's clock, default time.Now. It determines the candles, the
	// time endpoint and the Date header. Weight, pauses, bans and latency use real
	// time. It is called from many goroutines.
	Now func() time.Time

	// Replay is served instead of a made-up market; Now is then its Clock. Every response
	// has the header X-Tidemark-Replay with its dates.
	Replay *Replay

	Latency time.Duration // of every response
	Jitter  time.Duration // Latency varies uniformly by up to this, up or down

	WeightLimit int // limit of the venue's first counter, default the venue's; Binance's is the weight a minute
	LimitTimes  int // all limits are multiplied by this, default 1
	BanAfter    int // requests refused in one pause before the address is banned, where the venue does that, default 40

	// OnClosed is called before each message of a closed candle, with its open time in Unix
	// seconds. It may be nil.
	OnClosed func(symbol string, open int64)
	// OnPushed is called before each message of a candle, with its last price. It may be nil.
	OnPushed func(symbol string, price float64)

	Stream     StreamFaults
	Faults     Faults
	RetryAfter time.Duration // of an injected 429, whole seconds, default 1 s
	Hang       time.Duration // maximum duration of a hanging response, default 30 s

	CacheBytes int64 // of rendered pages of closed candles to keep, default none
}

// Server is a simulated exchange. It implements http.Handler.
type Server struct {
	options Options
	dialect *dialect
	market  *market
	limits  *limits
	cache   *pageCache // nil without
	replay  []string   // its dates; nil without

	requests atomic.Uint64 // seeds the draws of faults and jitter
	running  atomic.Int64

	mu    sync.Mutex
	stats Stats

	streams streamCounters
	cutting sync.Mutex
	cuts    map[int64]func() // by connection
}

// Stats are the counters of a server since it was created.
type Stats struct {
	Requests map[string]int        // all received, by endpoint: "klines", "ticker/24hr", ...; "other" for unknown ones
	Faults   map[string]int        // injected, by kind as in Faults
	Refused  int                   // refused by a limit, pause or ban
	Limits   map[string]LimitStats // by the name of the counter
	Peak     int                   // maximum of concurrent requests
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

// LimitStats are the counts of one of the venue's limits, for all addresses.
type LimitStats struct {
	Cost    int // of all requests
	Most    int // that an address had used at once
	Refused int // requests
	Early   int // requests during an announced pause
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
	if o.BanAfter <= 0 {
		o.BanAfter = 40
	}
	if o.RetryAfter <= 0 {
		o.RetryAfter = time.Second
	}
	if o.Hang <= 0 {
		o.Hang = 30 * time.Second
	}
	d := dialectOf(o.Venue)
	counters := slices.Clone(d.counters)
	for i := range counters {
		counters[i].limit *= max(1, o.LimitTimes)
		counters[i].burst *= max(1, o.LimitTimes)
	}
	if o.WeightLimit > 0 {
		counters[0].limit = o.WeightLimit
	}
	s := &Server{
		options: o,
		dialect: d,
		limits:  &limits{counters: counters, ban: d.ban, longestBan: d.longestBan, accounts: map[string]*account{}},
		stats:   Stats{Requests: map[string]int{}, Faults: map[string]int{}, Limits: map[string]LimitStats{}},
	}
	if o.Replay != nil {
		s.market = o.Replay.market(d.swap, o.Now())
		s.replay = []string{o.Replay.Dates()}
	} else {
		s.market = makeUp(o.Seed, o.Pairs, o.Now())
	}
	s.market.speak(d)
	if d.bans {
		s.limits.banAfter = o.BanAfter
	}
	if d.ban == 0 {
		s.limits.ban, s.limits.longestBan = 2*time.Minute, 72*time.Hour
	}
	if o.CacheBytes > 0 {
		s.cache = &pageCache{room: o.CacheBytes, pages: map[pageKey]cached{}}
	}
	return s
}

// Pairs returns the properties of all pairs that the venue lists, in its order.
func (s *Server) Pairs() []Pair {
	all := make([]Pair, len(s.market.pairs))
	now := s.options.Now().Unix()
	for i := range all {
		all[i] = s.market.pairs[i].Pair
		all[i].Status = s.market.pairs[i].status(now)
	}
	return all
}

// Stats returns a copy of the counters.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.stats
	c.Requests, c.Faults, c.Limits = maps.Clone(c.Requests), maps.Clone(c.Faults), maps.Clone(c.Limits)
	c.Early = append([]Early(nil), c.Early...)
	return c
}

var headerSimulated = []string{"true"}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	running := int(s.running.Add(1))
	defer s.running.Add(-1)
	h := w.Header()
	h["X-Tidemark-Simulated"] = headerSimulated
	if n := s.options.LimitTimes; n > 1 {
		h["X-Tidemark-Limit-Times"] = []string{strconv.Itoa(n)} // the client may go that much faster
	}
	if s.replay != nil {
		h["X-Tidemark-Replay"] = s.replay
	}
	d := s.dialect
	if d.socket != nil && r.URL.Path == d.socket.path {
		s.stream(w, r)
		return
	}
	now := s.options.Now()
	q := d.parse(s, r, now)
	address := remote(r)
	v := s.limits.admit(address, &q.costs, time.Now())
	s.note(&q, running, &v)
	hash := mix(s.options.Seed ^ mix(s.requests.Add(1)+saltFault))
	if delay := s.latency(hash); !v.refused && delay > 0 {
		if sleep(r.Context(), delay) != nil {
			return
		}
		now = s.options.Now()
	}
	h["Date"] = []string{now.UTC().Format(http.TimeFormat)}
	h["Content-Type"] = []string{d.contentType}
	if d.usage != nil {
		for _, u := range v.usage {
			if u.counter != nil {
				d.usage(h, u)
			}
		}
	}

	kind := noFault
	if !v.refused {
		kind = s.options.Faults.draw(hash)
	}
	switch {
	case v.refused:
		refused := v // so that only this one is on the heap
		s.refuse(w, address, &refused, now)
	case kind == fault429 || kind == faultBan:
		s.count(kind)
		refused := v
		s.limits.impose(address, &refused, kind == faultBan, s.options.RetryAfter, time.Now())
		s.refuse(w, address, &refused, now)
	case kind != noFault:
		s.inject(w, r, kind, &q, mix(hash), now)
	case q.klines != nil:
		s.prepare(h, &q)
		s.page(w, q.klines, now.UnixMilli())
	default:
		status := s.prepare(h, &q)
		o := outs.Get().(*out)
		o.w, o.status = w, status
		q.write(o, now)
		o.finish()
	}
}

// prepare sets the headers that are q's own, and returns the status.
func (s *Server) prepare(h http.Header, q *request) (status int) {
	maps.Copy(h, q.header)
	if q.contentType != "" {
		h["Content-Type"] = []string{q.contentType}
	}
	if q.status == 0 {
		return http.StatusOK
	}
	return q.status
}

// finish sends the rest of o, with Content-Length if nothing was sent before.
func (o *out) finish() {
	if !o.sent {
		o.w.Header()["Content-Length"] = []string{strconv.Itoa(len(o.buf))}
	}
	o.send()
	o.release()
}

// page replies with klines, from the cache if present. now is in Unix ms.
func (s *Server) page(w http.ResponseWriter, k *klinesQuery, now int64) {
	p := s.market.resolve(k, now/1000)
	o := outs.Get().(*out)
	o.w = w
	if s.cache == nil {
		k.write(o, p, now, nil)
		o.finish()
		return
	}
	key := pageKey{k.form, k.pair, k.iv.name, p.first, p.last, k.limit}
	c, ok := s.cache.get(key)
	if !ok {
		rows := outs.Get().(*out)
		rows.kept = true
		c.summary = k.rows(rows, p, now/1000, nil)
		c.rows = bytes.Clone(rows.buf)
		rows.release()
		if c.closed && p.first <= p.last {
			s.cache.put(key, c)
		}
	}
	head := len(k.form.head(o.buf, k, now))
	o.buf = k.form.tail(k.form.head(o.buf, k, now), k, c.summary, now)
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(o.buf) + len(c.rows))}
	_, _ = w.Write(o.buf[:head])
	_, _ = w.Write(c.rows)
	_, _ = w.Write(o.buf[head:])
	o.release()
}

// send replies with a fixed body.
func (s *Server) send(w http.ResponseWriter, a answer) {
	maps.Copy(w.Header(), a.header)
	if a.contentType != "" {
		w.Header()["Content-Type"] = []string{a.contentType}
	}
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(a.body))}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

// refuse replies as the venue does over a limit, in a pause or in a ban, and records
// when a response that says how long was sent.
func (s *Server) refuse(w http.ResponseWriter, address string, v *verdict, now time.Time) {
	kind := fault429
	if v.banned {
		kind = faultBan
	}
	a := s.dialect.failure(kind, v, now)
	pause := v.pause
	if a.retryAfter {
		w.Header()["Retry-After"] = []string{strconv.Itoa(v.seconds())}
		pause = time.Duration(v.seconds()) * time.Second
	}
	s.send(w, a)
	if a.retryAfter || a.announced {
		_ = http.NewResponseController(w).Flush()
		s.limits.announce(address, v, pause, time.Now())
	}
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
func (s *Server) note(q *request, running int, v *verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Requests[q.endpoint]++
	s.stats.Peak = max(s.stats.Peak, running)
	for i, u := range v.usage {
		if u.counter == nil {
			break
		}
		l := s.stats.Limits[u.name]
		l.Cost += q.costs[i].weight
		l.Most = max(l.Most, u.used)
		if v.refused && (v.counter < 0 || v.counter == q.costs[i].counter) {
			l.Refused++
		}
		if v.left > 0 {
			l.Early++
		}
		s.stats.Limits[u.name] = l
	}
	if v.refused {
		s.stats.Refused++
	}
	if v.left > 0 {
		s.stats.EarlyCount++
		if len(s.stats.Early) < keptEarly {
			s.stats.Early = append(s.stats.Early, Early{q.endpoint, v.early, v.left})
		}
	}
}

func (s *Server) count(kind fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Faults[faultNames[kind]]++
}

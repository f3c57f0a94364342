// Package api serves HTTP: routes, JSON shapes, status codes, event streams and the
// page. It knows no SQL and no exchange. The contract is openapi.yaml; the tests check
// every response of every handler against it.
package api

import (
	"cmp"
	"context"
	"iter"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tidemark/event/alert"
	"tidemark/job"
	"tidemark/levels"
	"tidemark/scorecard"
	"tidemark/service"
)

// Store is the storage that the API reads. Its errors are those of service.Store and
// job.Store.
type Store interface {
	// Snapshot returns the newest analysis with AsOf not after at, or the newest of all
	// if at is zero. Its error is service.ErrNotAnalyzed if there is none, and
	// service.ErrUnreadable, which wraps the former, if it cannot be read.
	Snapshot(ctx context.Context, key service.Key, at time.Time) (service.Snapshot, error)
	// Latest streams the newest analysis of every pair of an exchange and interval that
	// is not delisted, by symbol. The slices of a Snapshot are valid until the next. An
	// analysis that cannot be read comes as its Key with service.ErrUnreadable, and the
	// sequence continues; any other error ends it.
	Latest(ctx context.Context, exchange string, interval levels.Interval) iter.Seq2[service.Snapshot, error]
	// Series returns the series of an exchange and interval that have an analysis.
	Series(ctx context.Context, exchange string, interval levels.Interval) ([]service.Series, error)
	// Markets returns the exchanges and intervals that have analyses, without delisted
	// pairs: by exchange, then the shortest interval first.
	Markets(ctx context.Context) ([]service.StoredMarket, error)
	// Scorecards returns the scorecards of an exchange, the shortest interval first,
	// and the promises that are not judged yet, in the same order.
	Scorecards(ctx context.Context, exchange string) ([]scorecard.Card, []scorecard.Open, error)
	// Record returns what became of the touched levels of an exchange: the shortest interval
	// first, and for each the cells of all hours before those of one.
	Record(ctx context.Context, exchange string) ([]scorecard.Cell, error)
	// Job returns a job with its failures and skips.
	Job(ctx context.Context, id string) (job.Job, error)
	// Progress returns a job without its details: failures, skips and result.
	Progress(ctx context.Context, id string) (job.Job, error)
	// Jobs returns the newest limit jobs of an exchange, or of all if it is empty, newest
	// first, without their details.
	Jobs(ctx context.Context, exchange string, limit int) ([]job.Job, error)
	// FindPairs is service.Store.FindPairs.
	FindPairs(ctx context.Context, exchange string, s service.Spelling) ([]service.KnownPair, error)
	// PairCounts returns the number of pairs of each exchange that are listed and trading.
	PairCounts(ctx context.Context) (map[string]int, error)
	// Schedules returns the schedules of an exchange, the shortest interval first.
	Schedules(ctx context.Context, exchange string) ([]job.ScheduleState, error)
	// Events returns the selected events in the order of their numbers, q.Limit at most.
	Events(ctx context.Context, q service.EventQuery) ([]service.StoredEvent, error)
	// NewestEvents returns the number after which the newest q.Limit of the selected events
	// come.
	NewestEvents(ctx context.Context, q service.EventQuery) (after int64, err error)
	// EventsSince returns a number after which all events come that were stored at a time or
	// later.
	EventsSince(ctx context.Context, at time.Time) (after int64, err error)
	// EventSeq returns the number of the event with an id; 0 if it is not stored.
	EventSeq(ctx context.Context, id string) (int64, error)
	// EventBounds returns the numbers of the oldest and the newest stored event; 0 and 0 if
	// none was ever stored.
	EventBounds(ctx context.Context) (first, last int64, err error)
	// Ping returns an error if the database does not answer or cannot store.
	Ping(ctx context.Context) error
}

// Config is the configuration of an API. Analyzer, Jobs, Store, Registerer
// and Gatherer are required.
type Config struct {
	Analyzer   *service.Analyzer
	Jobs       *job.Runner
	Alerts     *alert.Alerts
	Status     func(exchange string) service.VenueStatus                   // of an exchange of the Analyzer; nil: unknown
	Prices     func(exchange string) *service.Prices                       // those read last, empty before the first; nil, or a nil function: none are read, nor those pushed shown
	Pushed     func(exchange, symbol string) (price float64, at time.Time) // the last one, and when it was received; zeros: none was
	Store      Store
	Registerer prometheus.Registerer // for the metrics of this package
	Gatherer   prometheus.Gatherer   // read by GET /metrics
	OpenAPI    []byte                // the document served at /openapi.yaml

	// Keys are the API keys that clients may use; empty means that no key is needed.
	// Only their SHA-256 is kept.
	Keys []string
	// Hosts are the names of the service, in addition to IP addresses and localhost.
	// Without keys, requests for any other name are refused (DNS rebinding).
	Hosts []string
	// Origins are those whose pages may use the service, such as https://charts.example.org,
	// in small letters; "*", which needs keys, stands for all.
	Origins []string
	// RateLimit is the number of requests a second permitted for each key, or without
	// keys for each client address except loopback, which all local clients share; 0
	// means no limit. A client that has been idle may send Burst requests at once; 0
	// means two seconds' worth.
	RateLimit float64
	Burst     int
	// CacheBytes bounds the memory of the cache of encoded replies; 0 disables it.
	CacheBytes int64
	// ReplyBytes bounds the total memory of large replies in progress: pages and
	// streams of levels, klines, pictures, replies to agents. Other requests wait for a
	// moment, and are then asked to retry. 0 means no bound.
	ReplyBytes int64
	// UploadBytes bounds the total memory of request bodies in progress in the same
	// way. 0 means no bound.
	UploadBytes int64
	// Streams bounds the event streams open at once, and the requests that wait for
	// events; 0 means 100. Each takes StreamBytes, in addition to its connection.
	Streams int
	// MemoryBudget is the memory the process may take, in bytes, shown by GET /memory;
	// 0 means no bound.
	MemoryBudget int64
	// MaxBodyBytes bounds a request body; 0 means 2 MiB, which holds 10,000 klines in
	// the exchange's own format.
	MaxBodyBytes int64

	// MCPRules permits the tools of POST /mcp that create, preview and delete rules.
	MCPRules bool

	// MinEdge is the edge, in points, from which levels are shown unasked; see Shown.
	MinEdge float64

	Log     *slog.Logger // nil means none
	Version string
}

// ScreenBytes is the memory needed to build the largest page of GET /levels: a buffer,
// and 1,000 rows of 216 bytes in a growing slice, which is briefly in memory twice.
const ScreenBytes = 320 << 10

// StreamBytes is the memory of an event stream in addition to its connection: buffers
// and a goroutine that watches the job. Events of levels are sent from ReplyBytes.
const StreamBytes = 16 << 10

const (
	defaultBodyBytes = 2 << 20
	defaultStreams   = 100
	// slotTimeout bounds the wait for a slot and the work in it, for requests that do
	// not run under the Analyzer's own timeout.
	slotTimeout = 30 * time.Second
	// writeTimeout bounds the writing of a reply, or of one piece of a stream.
	writeTimeout = 10 * time.Second
	// slowest is the lowest average rate, in bytes a second, at which a client may send
	// a long body or read a long reply.
	slowest = 32 << 10
	// defaultUploadTimeout bounds a pause within a body.
	defaultUploadTimeout = 3 * time.Second
)

// API is the HTTP handler of the service.
type API struct {
	Config
	log     *slog.Logger
	handler http.Handler
	router  *chi.Mux
	levels  http.HandlerFunc // handler of GET /levels/{symbol}, for ServeHTTP
	keys    keys
	hosts   map[string]bool // by hostname
	limiter limiter
	cache   cache
	names   names
	markets []string // the exchanges of this process
	skews   sync.Map // *skewAt by exchange
	metrics *metrics
	origins origins
	prom    http.Handler
	ids     requestIDs
	page    map[string]asset // files of the page, by name
	mcp     func() http.Handler

	messages chan struct{} // one token for each message to POST /mcp in progress
	reads    chan struct{} // one token for each reading tool in progress
	previews chan struct{} // one token for each preview in progress

	scope         string        // the Cache-Control scope: may shared caches store a reply
	uploadTimeout time.Duration // defaultUploadTimeout, except in tests
	drawing       chan struct{} // holds a token while a picture is drawn
	streams       chan struct{} // one token for each open event stream
	events        broadcast     // that events were stored
	readiness     readiness
	scraping      chan struct{} // holds a token while the metrics are collected
	replies       room
	uploads       room
}

// New returns an API that registers its metrics with c.Registerer.
func New(c Config) *API {
	if c.MaxBodyBytes <= 0 {
		c.MaxBodyBytes = defaultBodyBytes
	}
	a := &API{
		Config:  c,
		log:     c.Log,
		origins: newOrigins(c.Origins),
		// OpenMetrics is off: with it, Go's own collector has a gauge and a counter of
		// the same name, which strict parsers refuse, and the le labels of buckets
		// change.
		prom:    promhttp.HandlerFor(c.Gatherer, promhttp.HandlerOpts{}),
		drawing: make(chan struct{}, 1),
		streams: make(chan struct{}, cmp.Or(c.Streams, defaultStreams)),

		messages: make(chan struct{}, mcpMessages),
		reads:    make(chan struct{}, mcpReads),
		previews: make(chan struct{}, 1),
		page:     readPage(),
		scope:    "public, ",

		scraping: make(chan struct{}, 1),

		uploadTimeout: defaultUploadTimeout,
	}
	a.replies.size, a.uploads.size = c.ReplyBytes, c.UploadBytes
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.keys.set(c.Keys); len(c.Keys) > 0 {
		a.scope = "private, "
	}
	a.Config.Keys = nil
	a.hosts = map[string]bool{}
	for _, name := range c.Hosts {
		a.hosts[hostname(name)] = true
	}
	delete(a.hosts, "")
	a.ids.init()
	a.limiter.init(c.RateLimit, c.Burst)
	a.cache.init(c.CacheBytes)
	for _, m := range c.Analyzer.Markets() {
		a.markets = append(a.markets, m.Exchange)
	}
	a.metrics = newMetrics(c.Registerer, a)
	a.mcp = sync.OnceValue(a.newMCP)
	a.router = a.routing()
	a.handler = a.origins.share(http.HandlerFunc(a.answer))
	return a
}

// routing registers all routes.
func (a *API) routing() *chi.Mux {
	m := chi.NewRouter()
	m.Use(headAsGet)
	handle := func(method, pattern string, h handler) http.HandlerFunc {
		f := a.serve(&route{pattern: pattern, metrics: a.metrics.route(method, pattern)}, h)
		m.Method(method, pattern, f)
		return f
	}
	handle("POST", "/analyze", a.postAnalyze)
	handle("POST", "/analyze/history", a.postHistory)
	handle("GET", "/levels", a.getScreen)
	a.levels = handle("GET", "/levels/{symbol}", a.getLevels)
	handle("GET", "/levels/{symbol}/chart.svg", a.getSVG)
	handle("GET", "/levels/{symbol}/chart.png", a.getPNG)
	handle("GET", "/levels/{symbol}/marks", a.getMarks)
	handle("GET", "/levels/{symbol}/{id}", a.getLevel)
	handle("GET", "/jobs", a.getJobs)
	handle("GET", "/jobs/{id}", a.getJob)
	handle("DELETE", "/jobs/{id}", a.deleteJob)
	handle("GET", "/jobs/{id}/events", a.getJobEvents)
	handle("GET", "/events", a.getEvents)
	handle("GET", "/schedules", a.getSchedules)
	handle("GET", "/calibration", a.getCalibration)
	handle("GET", "/exchanges", a.getExchanges)
	handle("GET", "/symbols", a.getSymbols)
	handle("GET", "/klines/{symbol}", a.getKlines)
	handle("GET", "/klines/{symbol}/forming", a.getForming)
	a.handleAlerts(handle)
	handle("GET", "/memory", a.getMemory)
	handle("POST", "/mcp", a.postMCP)
	handle("GET", "/metrics", a.getMetrics)
	handle("GET", "/healthz", a.getHealth)
	handle("GET", "/readyz", a.getReady)
	handle("GET", "/openapi.yaml", a.getOpenAPI)
	handle("GET", "/docs", a.getDocs)
	handle("GET", "/", a.getPage)
	handle("GET", "/page/{file}", a.getAsset)
	m.NotFound(a.serve(a.unmatched(), noRoute).ServeHTTP)
	m.MethodNotAllowed(a.serve(a.unmatched(), a.wrongMethod).ServeHTTP)
	return m
}

// unmatched is the route of requests that match no other. They share one label, so that
// a scanner of paths cannot grow the metrics.
func (a *API) unmatched() *route {
	return &route{pattern: "none", metrics: a.metrics.route("other", "none")}
}

// Invalidate drops cached replies: those of the symbols; without symbols, all of the
// exchange and interval; with an empty exchange, all replies. A reply read from the
// store before the call is not cached after it.
func (a *API) Invalidate(exchange string, interval levels.Interval, symbols []string) {
	a.cache.invalidate(exchange, interval, symbols, nil)
}

// Stored is like Invalidate, for analyses that this process has just stored, one for
// each symbol; asOf holds their AsOf in Unix ms. If POST /analyze asked for one of
// them, its reply is cached.
func (a *API) Stored(exchange string, interval levels.Interval, symbols []string, asOf []int64) {
	a.cache.invalidate(exchange, interval, symbols, asOf)
}

// Close ends the event streams, which would otherwise keep a server from
// shutting down until their jobs have ended. It is meant for
// http.Server.RegisterOnShutdown.
func (a *API) Close() { a.keys.close() }

// Server returns a server for h with limits against slow or greedy clients: headers
// within 5 s and 16 KiB, a request within 30 s, a reply within 30 s unless its handler
// sets its own deadlines.
func Server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		// net/http adds 4 KiB for its own buffer
		MaxHeaderBytes: 12 << 10,
	}
}

// write sends b as the whole body of a reply. It ignores a client that went away.
func write(w http.ResponseWriter, b []byte) error {
	_, _ = w.Write(b)
	return nil
}

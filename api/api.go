// Package api is the HTTP door: routes, JSON shapes, status codes, event streams
// and the page. It knows no SQL and no exchange. The contract is openapi.yaml; the
// tests hold every response of every handler against it.
package api

import (
	"cmp"
	"context"
	"crypto/sha256"
	"iter"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tidemark/job"
	"tidemark/levels"
	"tidemark/scorecard"
	"tidemark/service"
)

// Store is what the API reads. Its errors are those of service.Store and job.Store.
type Store interface {
	// Snapshot returns the newest analysis with AsOf not after at; a zero at
	// means the newest of all. service.ErrNotAnalyzed when there is none, which is
	// service.ErrUnreadable when it cannot be read.
	Snapshot(ctx context.Context, key service.Key, at time.Time) (service.Snapshot, error)
	// Latest streams the newest analysis of every pair of an exchange and
	// interval that is not delisted, by symbol. The slices of a Snapshot are valid
	// until the next. One that cannot be read comes as its Key with
	// service.ErrUnreadable, and the others follow; any other error ends the
	// sequence.
	Latest(ctx context.Context, exchange string, interval levels.Interval) iter.Seq2[service.Snapshot, error]
	// Markets returns the exchanges and intervals of analyses, without delisted
	// pairs, by exchange, and of each the shortest interval first.
	Markets(ctx context.Context) ([]service.StoredMarket, error)
	// Scorecards returns those of an exchange, the shortest interval first, and
	// the promises that are not judged yet, in the same order.
	Scorecards(ctx context.Context, exchange string) ([]scorecard.Card, []scorecard.Open, error)
	// Job returns a job with its failures and skips.
	Job(ctx context.Context, id string) (job.Job, error)
	// Progress returns a job without its details: failures, skips and result.
	Progress(ctx context.Context, id string) (job.Job, error)
	// Jobs returns the newest limit jobs, newest first, without their details.
	Jobs(ctx context.Context, limit int) ([]job.Job, error)
	// Schedules returns the schedules of an exchange, the shortest interval first.
	Schedules(ctx context.Context, exchange string) ([]job.ScheduleState, error)
	// Ping returns an error if the database does not answer or cannot store.
	Ping(ctx context.Context) error
}

// Config is the configuration of an API. Analyzer, Jobs, Market, Store, Registerer
// and Gatherer are required.
type Config struct {
	Analyzer   *service.Analyzer
	Jobs       *job.Runner
	Market     func() service.Market // of the exchange this process serves
	Store      Store
	Registerer prometheus.Registerer // of the metrics of this package
	Gatherer   prometheus.Gatherer   // what GET /metrics shows
	OpenAPI    []byte                // the document served at /openapi.yaml

	// Keys that clients must present; empty means that none is needed. Only
	// their SHA-256 is kept.
	Keys []string
	// Hosts are names the service is reached under, beside addresses and localhost.
	// Without keys it answers under no other (DNS rebinding).
	Hosts []string
	// RateLimit is how many requests a second each key may make, or without
	// keys each client address but the loopback, on which one address is
	// everyone; 0 means no limit. A client that was quiet may make Burst of them
	// at once; 0 means two seconds' worth.
	RateLimit float64
	Burst     int
	// CacheBytes bounds the memory of the cache of encoded replies; 0 turns it
	// off.
	CacheBytes int64
	// ReplyBytes bounds the memory of large replies under way together: pages and
	// streams of levels, klines, pictures, what agents ask for. Others wait for a
	// moment, and are then told to come again. 0 means no bound.
	ReplyBytes int64
	// UploadBytes bounds the memory of request bodies under way together in the same
	// way. 0 means no bound.
	UploadBytes int64
	// Streams bounds the event streams open at once; 0 means 100. Each holds
	// StreamBytes besides its connection for as long as its job runs.
	Streams int
	// MemoryBudget is what the process may take, in bytes, as GET /memory shows
	// it; 0 for no bound.
	MemoryBudget int64
	// MaxBodyBytes bounds a request body; 0 means 2 MiB, which holds 10,000
	// klines as the exchange itself writes them.
	MaxBodyBytes int64

	Log     *slog.Logger // nil means none
	Version string
}

// ScreenBytes is what the largest page of GET /levels takes while it is put
// together: 1,000 rows of 144 bytes in a slice that grows, so that for a moment
// there are two of it, and a buffer.
const ScreenBytes = 320 << 10

// StreamBytes is what an event stream takes besides its connection: a goroutine that
// watches its job, and buffers.
const StreamBytes = 16 << 10

const (
	defaultBodyBytes = 2 << 20
	defaultStreams   = 100
	// slotTimeout bounds the wait for a slot and the work in it, for requests
	// that do not run under the Analyzer's own timeout.
	slotTimeout = 30 * time.Second
	// writeTimeout bounds the writing of a reply, or of one piece of a stream.
	writeTimeout = 10 * time.Second
	// slowest is how fast, in bytes a second, a client must at least send a long body
	// or read a long reply, on the whole.
	slowest = 32 << 10
	// defaultUploadTimeout bounds a pause within a body.
	defaultUploadTimeout = 3 * time.Second
)

// API is the handler of the whole service.
type API struct {
	Config
	log     *slog.Logger
	router  *chi.Mux
	levels  http.HandlerFunc // of GET /levels/{symbol}, for ServeHTTP
	keys    [][sha256.Size]byte
	hosts   map[string]bool // by hostname
	limiter limiter
	cache   cache
	metrics *metrics
	origins *http.CrossOriginProtection
	prom    http.Handler
	ids     requestIDs
	page    map[string]asset // files of the page, by name
	mcp     func() http.Handler

	messages chan struct{} // one token for each message to POST /mcp under way
	reads    chan struct{} // one token for each tool among them that reads

	scope         string        // what a reply says about caching by others than its reader
	uploadTimeout time.Duration // defaultUploadTimeout, but for tests
	drawing       chan struct{} // holds a token while a picture is drawn
	streams       chan struct{} // one token for each open event stream
	readiness     readiness
	scraping      chan struct{} // holds a token while the metrics are put together
	replies       room
	uploads       room
	closing       chan struct{} // closed by Close
	closeOnce     sync.Once
}

// New returns an API that registers its metrics with c.Registerer.
func New(c Config) *API {
	if c.MaxBodyBytes <= 0 {
		c.MaxBodyBytes = defaultBodyBytes
	}
	a := &API{
		Config:  c,
		log:     c.Log,
		origins: http.NewCrossOriginProtection(),
		// Without OpenMetrics: in it Go's own collector has a gauge and a counter of one
		// name, which strict readers refuse, and the le labels of buckets change.
		prom:    promhttp.HandlerFor(c.Gatherer, promhttp.HandlerOpts{}),
		drawing: make(chan struct{}, 1),
		streams: make(chan struct{}, cmp.Or(c.Streams, defaultStreams)),
		closing: make(chan struct{}),

		messages: make(chan struct{}, mcpMessages),
		reads:    make(chan struct{}, mcpReads),
		page:     readPage(),
		scope:    "public, ",

		scraping: make(chan struct{}, 1),

		uploadTimeout: defaultUploadTimeout,
	}
	a.replies.size, a.uploads.size = c.ReplyBytes, c.UploadBytes
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	for _, k := range c.Keys {
		a.keys = append(a.keys, sha256.Sum256([]byte(k)))
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
	a.metrics = newMetrics(c.Registerer, a)
	a.mcp = sync.OnceValue(a.newMCP)
	a.router = a.routing()
	return a
}

// routing registers every route there is.
func (a *API) routing() *chi.Mux {
	m := chi.NewRouter()
	m.Use(headAsGet)
	handle := func(method, pattern string, h handler) http.HandlerFunc {
		f := a.serve(&route{pattern: pattern, metrics: a.metrics.route(method, pattern)}, h)
		m.Method(method, pattern, f)
		return f
	}
	handle("POST", "/analyze", a.postAnalyze)
	handle("GET", "/levels", a.getScreen)
	a.levels = handle("GET", "/levels/{symbol}", a.getLevels)
	handle("GET", "/levels/{symbol}/chart.svg", a.getSVG)
	handle("GET", "/levels/{symbol}/chart.png", a.getPNG)
	handle("GET", "/levels/{symbol}/{id}", a.getLevel)
	handle("GET", "/jobs", a.getJobs)
	handle("GET", "/jobs/{id}", a.getJob)
	handle("DELETE", "/jobs/{id}", a.deleteJob)
	handle("GET", "/jobs/{id}/events", a.getEvents)
	handle("GET", "/schedules", a.getSchedules)
	handle("GET", "/calibration", a.getCalibration)
	handle("GET", "/exchanges", a.getExchanges)
	handle("GET", "/symbols", a.getSymbols)
	handle("GET", "/klines/{symbol}", a.getKlines)
	handle("GET", "/klines/{symbol}/forming", a.getForming)
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

// unmatched is the route of requests that match none. They share one label, so
// that a scanner of paths cannot grow the metrics.
func (a *API) unmatched() *route {
	return &route{pattern: "none", metrics: a.metrics.route("other", "none")}
}

// Invalidate drops cached replies: those of the symbols, or with no symbols all
// of the exchange and interval, or with an empty exchange everything. A reply
// read from the store before the call is not cached after it.
func (a *API) Invalidate(exchange string, interval levels.Interval, symbols []string) {
	a.cache.invalidate(exchange, interval, symbols, nil)
}

// Stored is Invalidate for the analyses that this process has just stored, one for each
// symbol; asOf is up to when they go, in Unix ms. If one was asked for by POST /analyze,
// the cache gets the reply that is sent.
func (a *API) Stored(exchange string, interval levels.Interval, symbols []string, asOf []int64) {
	a.cache.invalidate(exchange, interval, symbols, asOf)
}

// Close ends the event streams, which would otherwise keep a server from
// shutting down until their jobs have ended. It is meant for
// http.Server.RegisterOnShutdown.
func (a *API) Close() { a.closeOnce.Do(func() { close(a.closing) }) }

// Server returns a server for h with the limits that keep slow or greedy
// clients from holding memory: headers within 5 s and 16 KiB, a request within
// 30 s, a reply within 30 s unless its handler sets deadlines of its own.
func Server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		// net/http allows 4 KiB more than it is told, for its own buffer
		MaxHeaderBytes: 12 << 10,
	}
}

// write sends b as the whole body of a reply. A client that went away is not
// an error of ours.
func write(w http.ResponseWriter, b []byte) error {
	_, _ = w.Write(b)
	return nil
}

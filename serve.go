package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"tidemark/api"
	"tidemark/exchange/binance"
	"tidemark/exchange/simulated"
	"tidemark/repository"
	"tidemark/service"
)

//go:embed openapi.yaml
var openAPI []byte

// app is the process without its HTTP door: database, exchange and executor.
type app struct {
	cfg      Config
	budget   budget
	log      *slog.Logger
	registry *prometheus.Registry
	db       *repository.DB
	venue    *binance.Client
	analyzer *service.Analyzer
	clients  clients
	// market is the built-in simulated exchange, if that is the one.
	market *http.Server

	deafen  context.CancelFunc // ends hearing
	hearing sync.WaitGroup
}

// open wires an app. The caller closes it.
func open(ctx context.Context, cfg Config, log *slog.Logger) (*app, error) {
	a := &app{cfg: cfg, budget: newBudget(cfg, service.ReadMemory().Limit), log: log, registry: prometheus.NewRegistry()}
	db, err := openDatabase(ctx, a.budget, log)
	if err != nil {
		return nil, err
	}
	a.db = db
	baseURL := cfg.ExchangeBaseURL
	if cfg.Exchange == "simulated" && baseURL == "" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			db.Close()
			return nil, fmt.Errorf("the simulated exchange: %w", err)
		}
		a.market = api.Server(simulated.New(simulated.Options{Pairs: cfg.ExchangePairs, Seed: cfg.ExchangeSeed}))
		go a.market.Serve(l)
		baseURL = "http://" + l.Addr().String()
	}
	requests := newExchangeMetrics(a.registry)
	a.venue = binance.New(binance.Config{
		Name:        cfg.Exchange,
		BaseURL:     baseURL,
		WeightShare: cfg.ExchangeWeightShare,
		Timeout:     cfg.ExchangeTimeout,
		Attempts:    cfg.ExchangeAttempts,
		Concurrency: cfg.AnalysisConcurrency,
		Simulated:   cfg.Exchange == "simulated",
		OnBan:       a.rememberBan,
		Observe:     requests.observe,
		Log:         log,
	})
	if err := a.heedBan(ctx); err != nil {
		a.close()
		return nil, err
	}
	a.hearOfBans()
	registerProcessMetrics(a.registry, a.db, a.venue, a.budget)
	// last, so that what stands by now is measured and not guessed
	slots, clients, memory, err := a.budget.settle(0)
	a.clients = clients
	if err != nil {
		a.close()
		return nil, err
	}
	if slots > 0 {
		log.Info("memory budget", "bytes", a.budget.total, "from", a.budget.source, "taken_at_start_bytes", memory.RSS,
			"slots_bytes", slots, "slots_at_once", min(int64(cfg.AnalysisConcurrency), slots/a.budget.slot()),
			"connections", clients.connections, "streams", clients.streams, "replies_bytes", clients.replies, "uploads_bytes", clients.uploads)
	}
	a.analyzer = service.New(service.Config{
		Concurrency: cfg.AnalysisConcurrency,
		BatchSize:   cfg.AnalysisBatchSize,
		KlineLimit:  cfg.AnalysisKlineLimit,
		Memory:      slots,
		QueueLimit:  cfg.AnalysisQueueLimit,
		Interval:    cfg.AnalysisInterval,
		Timeout:     cfg.AnalysisTimeout,
		Filter:      cfg.filter(),
	}, a.venue, db, a.registry, log)
	return a, nil
}

func openDatabase(ctx context.Context, b budget, log *slog.Logger) (*repository.DB, error) {
	return repository.Open(ctx, b.databaseConfig(log))
}

// databaseConfig is the configuration of the database.
func (b budget) databaseConfig(log *slog.Logger) repository.Config {
	cfg := b.cfg
	return repository.Config{
		URL:         cfg.DatabaseURL,
		PoolSize:    cfg.DBPoolSize,
		MaxOverflow: cfg.DBMaxOverflow,
		PoolRecycle: time.Duration(cfg.DBPoolRecycle) * time.Second,
		PrePing:     cfg.DBPoolPrePing,
		History:     cfg.AnalysisHistory,
		CacheBytes:  b.pages() / 5 * 4, // and a quarter of it for the connection that reads
		Log:         log,
	}
}

// address names what the exchange bans: the address it sees this process under.
func (c Config) address() string {
	if c.ExchangeEgress == "" {
		return c.Exchange
	}
	return c.Exchange + " " + c.ExchangeEgress
}

// rememberBan keeps a ban over a restart, and from the other processes behind
// the address. The exchange counts every request made while banned, and lengthens
// the ban.
func (a *app) rememberBan(until time.Time) {
	a.log.Error("banned by the exchange", "exchange", a.cfg.Exchange, "until", until)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := a.db.PutBan(ctx, a.cfg.address(), until); err != nil {
		a.log.Error("the ban could not be stored", "error", err)
	}
}

// heedBan looks for a ban from before, or of another process.
func (a *app) heedBan(ctx context.Context) error {
	until, err := a.db.Ban(ctx, a.cfg.address())
	if err == nil && time.Now().Before(until) {
		a.venue.Ban(until)
	}
	return err
}

// hearOfBans has bans of other processes heeded, until close.
func (a *app) hearOfBans() {
	changed := make(chan struct{}, 1)
	a.db.Subscribe(func(c repository.Change) {
		if c.Exchange == "" { // anything may have changed
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	})
	hearing, stop := context.WithCancel(context.Background())
	a.deafen = stop
	a.hearing.Go(func() {
		for {
			select {
			case <-changed:
			case <-hearing.Done():
				return
			}
			if err := a.heedBan(hearing); err != nil && hearing.Err() == nil {
				a.log.Warn("whether another process was banned could not be read", "error", err)
			}
		}
	})
}

// work has this process do the work of jobs of its exchange.
func (a *app) work(ctx context.Context) error {
	return a.db.Work(ctx, map[string]repository.Worker{a.cfg.Exchange: a.analyzer})
}

// stop ends the work under way, at most until ctx is done, and says so if it had
// to be broken off.
func (a *app) stop(ctx context.Context) error {
	return a.cfg.stopped(errors.Join(a.analyzer.Stop(ctx), a.db.StopWork(ctx)))
}

// stopped is what is said of a stop that ended with err.
func (c Config) stopped(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("what was under way did not end within %s (STOP_TIMEOUT) and was broken off; jobs go on with the next process", c.StopTimeout)
	}
	return err
}

// forgetJobs prunes the jobs that ended long ago, now and every hour until ctx
// ends. Any number of processes may do so.
func (a *app) forgetJobs(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		switch n, err := a.db.PruneJobs(ctx, time.Now().Add(-a.cfg.JobRetention)); {
		case ctx.Err() != nil:
			return
		case err != nil:
			a.log.Warn("old jobs could not be pruned", "error", err)
		case n > 0:
			a.log.Info("old jobs pruned", "jobs", n)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// waitBriefly waits for goroutines that were told to end, and not for long: a
// database that does not answer may hold them, and must not keep the process.
func waitBriefly(work *sync.WaitGroup) {
	done := make(chan struct{})
	go func() { work.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Second):
	}
}

// close releases what open took.
func (a *app) close() error {
	if a.deafen != nil {
		a.deafen()
		waitBriefly(&a.hearing)
	}
	if a.market != nil {
		a.market.Close()
	}
	if a.venue != nil {
		a.venue.Close()
	}
	return a.db.Close()
}

func (in *invocation) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve levels over HTTP",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := in.config(cmd)
			if err != nil {
				return err
			}
			return in.serve(cmd.Context(), cfg, nil)
		},
	}
	addConfigFlags(cmd.Flags())
	return cmd
}

// listen takes the addresses of serve: that of the API, and that of the profiles, which
// is nil where DEBUG_ADDR is empty. The doctor takes them too, to see whether it can.
func (c *Config) listen() (api, profiles net.Listener, err error) {
	if api, err = net.Listen("tcp", c.HTTPAddr); err != nil {
		return nil, nil, fmt.Errorf("HTTP_ADDR: %w", err)
	}
	if c.DebugAddr == "" {
		return api, nil, nil
	}
	if profiles, err = net.Listen("tcp", c.DebugAddr); err != nil {
		api.Close()
		return nil, nil, fmt.Errorf("DEBUG_ADDR: %w", err)
	}
	return api, profiles, nil
}

// serve runs the service until ctx ends. ready, if not nil, is called once
// requests are answered, with the address.
func (in *invocation) serve(ctx context.Context, cfg Config, ready func(a *app, address string)) error {
	if err := cfg.checkExposure(); err != nil {
		return usageError{err}
	}
	schedules, err := cfg.schedules()
	if err != nil {
		return usageError{err}
	}
	log := in.logger(cfg)
	log.Info("configuration", "effective", cfg)
	if cfg.DebugAddr != "" {
		runtime.MemProfileRate = 512 << 10 // Go's own default
	}
	a, err := open(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() {
		if err := a.close(); err != nil {
			log.Error("closing", "error", err)
		}
	}()
	handler := api.New(api.Config{
		Analyzer:   a.analyzer,
		Store:      a.db,
		Registerer: a.registry,
		Gatherer:   a.registry,
		OpenAPI:    openAPI,
		Keys:       cfg.APIKeys,
		Hosts:      cfg.hosts(),
		RateLimit:  cfg.HTTPRateLimit,
		CacheBytes: a.budget.replies(),

		ReplyBytes:  a.clients.replies,
		UploadBytes: a.clients.uploads,
		Streams:     a.clients.streams,
		Log:         log,

		MemoryBudget: a.budget.total,
		Version:      buildVersion(),
	})
	a.db.Subscribe(func(c repository.Change) { handler.Invalidate(c.Exchange, c.Interval, c.Symbols) })

	listener, profiles, err := cfg.listen()
	if err != nil {
		return err
	}
	if cfg.Role != roleAPI {
		if err := a.work(ctx); err != nil {
			listener.Close()
			if profiles != nil {
				profiles.Close()
			}
			return err
		}
	}
	var background sync.WaitGroup
	defer waitBriefly(&background)
	tending, stopTending := context.WithCancel(ctx)
	defer stopTending()
	background.Go(func() { a.forgetJobs(tending) })
	if cfg.Role != roleAPI {
		background.Go(func() { a.analyzer.RunSchedules(tending, schedules) })
	}

	var root http.Handler = handler
	if cfg.Role == roleWorker {
		root = onlyHealth(handler)
	}
	server := api.Server(root)
	server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	server.RegisterOnShutdown(handler.Close)
	answering, breakOff := context.WithCancelCause(context.WithoutCancel(ctx))
	defer breakOff(nil)
	server.BaseContext = func(net.Listener) context.Context { return answering }
	sendBuffer := 0
	if a.budget.total > 0 {
		sendBuffer = 64 << 10
	}
	door := api.NewDoor(a.clients.connections, sendBuffer, a.registry)
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(door.Guard(server, listener)) }()
	var debug *http.Server
	if profiles != nil {
		debug = &http.Server{Handler: debugHandler(), ReadHeaderTimeout: 5 * time.Second}
		go func() { failed <- debug.Serve(profiles) }()
		log.Info("profiles are served", "address", profiles.Addr().String())
	}
	if len(cfg.APIKeys) == 0 && !loopback(cfg.HTTPAddr) {
		log.Warn("anyone who reaches the address is served (ALLOW_ANONYMOUS)", "address", cfg.HTTPAddr)
	}
	log.Info("serving", "address", listener.Addr().String(), "role", cfg.Role, "exchange", cfg.Exchange, "version", buildVersion())
	dropPages()
	if ready != nil {
		ready(a, listener.Addr().String())
	}

	select {
	case err = <-failed:
		err = fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
		log.Info("stopping", "timeout", cfg.StopTimeout)
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.StopTimeout)
	defer cancel()
	// New work is refused from here on. Answers of what runs are still sent; what
	// waits for longer, as for the exchange, is told to come back, so that the other
	// half of the time is left to end in.
	time.AfterFunc(cfg.StopTimeout/2, func() { breakOff(service.ErrStopping) })
	worked := make(chan error, 1)
	go func() { worked <- a.stop(stopping) }()
	shut := server.Shutdown(stopping)
	if shut != nil {
		server.Close()
	}
	if debug != nil {
		debug.Close()
	}
	// of both, which may have been broken off, one sentence
	if stop := cfg.stopped(errors.Join(<-worked, shut)); err == nil && stop == nil {
		log.Info("stopped")
	} else {
		err = errors.Join(err, stop)
	}
	return err
}

// The values of ROLE besides all.
const (
	roleAPI    = "api"
	roleWorker = "worker"
)

// onlyHealth is what a worker serves of an API.
func onlyHealth(h http.Handler) http.Handler {
	mux := http.NewServeMux()
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		mux.Handle(path, h)
	}
	return mux
}

// debugHandler serves runtime profiles. They show memory and cost processor
// time, so they have an address of their own.
func debugHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

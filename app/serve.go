package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"tidemark/api"
	"tidemark/config"
	"tidemark/job"
	"tidemark/repository"
	"tidemark/service"
)

// Work makes this process work on the jobs of its exchanges.
func (a *App) Work(ctx context.Context) error {
	workers := map[string]repository.Worker{}
	for _, v := range a.Venues {
		workers[v.Name] = a.Jobs
	}
	return a.DB.Work(ctx, workers)
}

// stopped returns the error to report for a stop that ended with err.
func stopped(c config.Config, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("what was under way did not end within %s (STOP_TIMEOUT) and was broken off; jobs go on with the next process", c.StopTimeout)
	}
	return err
}

// waitBriefly waits at most a second for goroutines whose contexts have ended. A
// database that does not answer may block them, and must not keep the process running.
func waitBriefly(work *sync.WaitGroup) {
	done := make(chan struct{})
	go func() { work.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Second):
	}
}

// Listen opens the listeners of serve: of the API, and of the profiles, which is nil if
// DEBUG_ADDR is empty. The doctor also calls it, to check that the addresses are free.
func Listen(c config.Config) (api, profiles net.Listener, err error) {
	if api, err = net.Listen("tcp", c.HTTPAddr); err != nil {
		return nil, nil, fmt.Errorf("HTTP_ADDR: %w%s", err, otherAddress(err, c.HTTPAddr, "--http-addr"))
	}
	if c.DebugAddr == "" {
		return api, nil, nil
	}
	if profiles, err = net.Listen("tcp", c.DebugAddr); err != nil {
		api.Close()
		return nil, nil, fmt.Errorf("DEBUG_ADDR: %w%s", err, otherAddress(err, c.DebugAddr, "--debug-addr"))
	}
	return api, profiles, nil
}

// InUse reports whether err of Listen means that another program listens on the address.
func InUse(err error) bool {
	const windows = syscall.Errno(10048) // WSAEADDRINUSE
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, windows)
}

// otherAddress returns what to do about an address on which another program listens, empty
// for other errors.
func otherAddress(err error, address, flag string) string {
	host, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	if !InUse(err) || n == 0 {
		return ""
	}
	return fmt.Sprintf("; use another port, such as %s %s", flag, net.JoinHostPort(host, strconv.Itoa(n%65535+1)))
}

// Serve runs the service until ctx ends. ready, if not nil, is called once
// requests are answered, with the address.
func Serve(ctx context.Context, cfg config.Config, openAPI []byte, log *slog.Logger, ready func(a *App, address string)) error {
	if err := cfg.CheckExposure(); err != nil {
		return config.Usage(err)
	}
	configured, err := cfg.Schedules()
	if err != nil {
		return config.Usage(err)
	}
	schedules := make([]job.Schedule, len(configured))
	for i, s := range configured {
		schedules[i] = job.Schedule(s)
	}
	log.Info("configuration", "effective", cfg)
	if cfg.DebugAddr != "" {
		runtime.MemProfileRate = 512 << 10 // Go's own default
	}
	a, err := open(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() {
		if err := a.Close(); err != nil {
			log.Error("closing", "error", err)
		}
	}()
	if err := a.loadRules(ctx); err != nil {
		return err
	}
	handler := api.New(api.Config{
		Analyzer:   a.Analyzer,
		Jobs:       a.Jobs,
		Alerts:     a.Alerts,
		Status:     a.status,
		Prices:     a.prices,
		Pushed:     lives(a.lives).price,
		Store:      a.DB,
		Registerer: a.registry,
		Gatherer:   a.registry,
		OpenAPI:    openAPI,
		Keys:       cfg.APIKeys,
		Hosts:      cfg.AllowedHosts(),
		Origins:    cfg.HTTPOrigins,
		RateLimit:  cfg.HTTPRateLimit,
		CacheBytes: a.budget.replies(),

		ReplyBytes:  a.clients.replies,
		UploadBytes: a.clients.uploads,
		Streams:     a.clients.streams,
		MCPRules:    cfg.MCPRules,
		MinEdge:     cfg.LevelsMinEdge,
		Log:         log,

		MemoryBudget: a.budget.Total,
		Version:      BuildVersion(),
	})
	a.DB.Subscribe(func(c repository.Change) {
		if c.Events || c.Exchange == "" {
			handler.EventsStored()
		}
		if !c.Events {
			handler.Stored(c.Exchange, c.Interval, c.Symbols, c.AsOf)
		}
	})

	listener, profiles, err := Listen(cfg)
	if err != nil {
		return err
	}
	if cfg.Role != roleAPI {
		if err := a.Work(ctx); err != nil {
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
	background.Go(func() { a.prune(tending) })
	background.Go(func() { a.events.Run(tending) })
	background.Go(func() { a.deliver(tending) })
	background.Go(func() { a.rereadKeys(tending, &cfg, handler) })
	if readsPrices(cfg) {
		for i, v := range a.Venues {
			background.Go(func() { a.keepPrices(tending, v, i) })
		}
	}
	if cfg.Role != roleAPI {
		background.Go(func() { a.Jobs.RunSchedules(tending, a.DB, schedules) })
		for _, k := range a.lives {
			background.Go(func() { k.keeper.Run(ctx) })
		}
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
	if a.budget.Total > 0 {
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
	if len(cfg.APIKeys) == 0 && !config.Loopback(cfg.HTTPAddr) {
		log.Warn("anyone who reaches the address is served (ALLOW_ANONYMOUS)", "address", cfg.HTTPAddr)
	}
	log.Info("serving", "address", listener.Addr().String(), "role", cfg.Role, "exchange", strings.Join(cfg.Exchanges, ","), "version", BuildVersion())
	releaseMemory()
	percent := gcPercent
	if a.budget.Total == 0 {
		percent = freePercent
	}
	heap := growHeap(leastHeap, percent)
	defer heap.stop()
	a.requests.heap.Store(heap)
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
	// New work is refused from here on, and requests under way are answered. Those that
	// still wait after half of the time, for example for the exchange, are answered with
	// ErrStopping, so that the other half remains for an orderly end.
	time.AfterFunc(cfg.StopTimeout/2, func() { breakOff(service.ErrStopping) })
	worked := make(chan error, 1)
	go func() { worked <- a.Stop(stopping) }()
	shut := server.Shutdown(stopping)
	if shut != nil {
		server.Close()
	}
	if debug != nil {
		debug.Close()
	}
	// either may have been cancelled: one sentence for both
	if stop := stopped(cfg, errors.Join(<-worked, shut)); err == nil && stop == nil {
		log.Info("stopped")
	} else {
		err = errors.Join(err, stop)
	}
	return err
}

// The values of ROLE other than all.
const (
	roleAPI    = "api"
	roleWorker = "worker"
)

// onlyHealth returns the part of the API that a worker serves: health and metrics.
func onlyHealth(h http.Handler) http.Handler {
	mux := http.NewServeMux()
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		mux.Handle(path, h)
	}
	return mux
}

// debugHandler serves runtime profiles. They reveal memory and take processor time, so
// they have a separate address.
func debugHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

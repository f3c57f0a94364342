// Package app is the process: it wires database, exchange, analyses and HTTP by a
// configuration, divides the memory budget among them, and exports what the process uses.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/api"
	"tidemark/config"
	"tidemark/exchange/binance"
	"tidemark/exchange/simulated"
	"tidemark/repository"
	"tidemark/service"
)

// App is the process without its HTTP door: database, exchange and executor.
type App struct {
	Config   config.Config
	budget   Budget
	log      *slog.Logger
	registry *prometheus.Registry
	DB       *repository.DB
	Venue    *binance.Client
	Analyzer *service.Analyzer
	clients  clients
	requests *exchangeMetrics
	// market is the built-in simulated exchange, if that is the one.
	market *http.Server

	deafen  context.CancelFunc // ends hearing
	hearing sync.WaitGroup
}

// Open wires an app. The caller closes it.
func Open(ctx context.Context, cfg config.Config, log *slog.Logger) (*App, error) {
	a := &App{Config: cfg, budget: NewBudget(cfg, service.ReadMemory().Limit), log: log, registry: prometheus.NewRegistry()}
	db, err := OpenDatabase(ctx, a.budget, log)
	if err != nil {
		return nil, err
	}
	a.DB = db
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
	a.requests = newExchangeMetrics(a.registry)
	a.Venue = binance.New(binance.Config{
		Name:        cfg.Exchange,
		BaseURL:     baseURL,
		WeightShare: cfg.ExchangeWeightShare,
		Timeout:     cfg.ExchangeTimeout,
		Attempts:    cfg.ExchangeAttempts,
		Concurrency: cfg.AnalysisConcurrency,
		Simulated:   cfg.Exchange == "simulated",
		OnBan:       a.rememberBan,
		Observe:     a.requests.observe,
		Log:         log,
	})
	if err := a.heedBan(ctx); err != nil {
		a.Close()
		return nil, err
	}
	a.hearOfBans()
	registerProcessMetrics(a.registry, a.DB, a.Venue, a.budget)
	// last, so that what stands by now is measured and not guessed
	slots, clients, memory, err := a.budget.Settle(0)
	a.clients = clients
	if err != nil {
		a.Close()
		return nil, err
	}
	if slots > 0 {
		log.Info("memory budget", "bytes", a.budget.Total, "from", a.budget.Source, "taken_at_start_bytes", memory.RSS,
			"slots_bytes", slots, "slots_at_once", min(int64(cfg.AnalysisConcurrency), slots/a.budget.Slot()),
			"connections", clients.connections, "streams", clients.streams, "replies_bytes", clients.replies, "uploads_bytes", clients.uploads)
	}
	a.Analyzer = service.New(service.Config{
		Concurrency: cfg.AnalysisConcurrency,
		BatchSize:   cfg.AnalysisBatchSize,
		KlineLimit:  cfg.AnalysisKlineLimit,
		Memory:      slots,
		QueueLimit:  cfg.AnalysisQueueLimit,
		Interval:    cfg.AnalysisInterval,
		Timeout:     cfg.AnalysisTimeout,
		Filter:      filter(cfg),
	}, a.Venue, db, a.registry, log)
	return a, nil
}

// Stop ends the work under way, at most until ctx is done, and says so if it had
// to be broken off.
func (a *App) Stop(ctx context.Context) error {
	return stopped(a.Config, errors.Join(a.Analyzer.Stop(ctx), a.DB.StopWork(ctx)))
}

// forgetJobs prunes the jobs that ended long ago, now and every hour until ctx
// ends. Any number of processes may do so.
func (a *App) forgetJobs(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		switch n, err := a.DB.PruneJobs(ctx, time.Now().Add(-a.Config.JobRetention)); {
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

// Close releases what open took.
func (a *App) Close() error {
	if a.deafen != nil {
		a.deafen()
		waitBriefly(&a.hearing)
	}
	if a.market != nil {
		a.market.Close()
	}
	if a.Venue != nil {
		a.Venue.Close()
	}
	return a.DB.Close()
}

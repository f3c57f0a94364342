// Package app is the process: it connects database, exchange, analyses and HTTP as the
// configuration says, divides the memory budget among them, and exports metrics of the
// process.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/api"
	"tidemark/config"
	"tidemark/exchange"
	"tidemark/exchange/binance"
	"tidemark/exchange/simulated"
	"tidemark/job"
	"tidemark/memory"
	"tidemark/repository"
	"tidemark/service"
)

// App is the process without its HTTP server: database, exchange and executor.
type App struct {
	Config   config.Config
	budget   Budget
	log      *slog.Logger
	registry *prometheus.Registry
	DB       *repository.DB
	Venue    *exchange.Client
	Analyzer *service.Analyzer
	Jobs     *job.Runner
	clients  clients
	requests *exchangeMetrics
	market   *http.Server // the built-in simulated exchange; nil for any other

	stopBanWatch context.CancelFunc
	banWatch     sync.WaitGroup
}

// Open connects the parts of an App. The caller closes it.
func Open(ctx context.Context, cfg config.Config, log *slog.Logger) (*App, error) {
	baseURL, err := cfg.ExchangeURL()
	if err != nil {
		return nil, config.Usage(err)
	}
	a := &App{Config: cfg, budget: NewBudget(cfg, memory.Read().Limit), log: log, registry: prometheus.NewRegistry()}
	db, err := OpenDatabase(ctx, a.budget, log)
	if err != nil {
		return nil, err
	}
	a.DB = db
	if cfg.Exchange == "simulated" && baseURL == nil {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			db.Close()
			return nil, fmt.Errorf("the simulated exchange: %w", err)
		}
		a.market = api.Server(simulated.New(simulated.Options{Pairs: cfg.ExchangePairs, Seed: cfg.ExchangeSeed}))
		go a.market.Serve(l)
		baseURL = &url.URL{Scheme: "http", Host: l.Addr().String()}
	}
	a.requests = newExchangeMetrics(a.registry)
	a.Venue = exchange.New(binance.Spot, exchange.Config{
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
	if err := a.applyStoredBan(ctx); err != nil {
		a.Close()
		return nil, err
	}
	a.watchBans()
	registerProcessMetrics(a.registry, a.DB, a.Venue, a.budget)
	// last, so that the memory of everything opened before is measured, not estimated
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
		KlineLimit:  cfg.AnalysisKlineLimit,
		Memory:      slots,
		QueueLimit:  cfg.AnalysisQueueLimit,
		Interval:    cfg.AnalysisInterval,
		Timeout:     cfg.AnalysisTimeout,
	}, a.Venue, db, a.registry, log)
	a.Jobs = job.NewRunner(job.Config{
		Concurrency: cfg.AnalysisConcurrency,
		BatchSize:   cfg.AnalysisBatchSize,
		QueueLimit:  cfg.AnalysisQueueLimit,
		Filter:      filter(cfg),
	}, a.Analyzer, a.Venue, db, a.registry, log)
	return a, nil
}

// Stop waits for the work under way until ctx is done, then cancels it and returns an
// error that says so.
func (a *App) Stop(ctx context.Context) error {
	return stopped(a.Config, errors.Join(a.Analyzer.Stop(ctx), a.DB.StopWork(ctx)))
}

// forgetJobs deletes the jobs that ended longer ago than JOB_RETENTION, now and every
// hour until ctx ends. Several processes may do so at once.
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

// Close releases what Open opened.
func (a *App) Close() error {
	if a.stopBanWatch != nil {
		a.stopBanWatch()
		waitBriefly(&a.banWatch)
	}
	if a.market != nil {
		a.market.Close()
	}
	if a.Venue != nil {
		a.Venue.Close()
	}
	return a.DB.Close()
}

// Package app is the process: it connects database, exchanges, analyses and HTTP as the
// configuration says, divides the memory budget among them, and exports metrics of the
// process.
package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/config"
	"tidemark/event"
	"tidemark/event/alert"
	"tidemark/event/notify"
	"tidemark/job"
	"tidemark/live"
	"tidemark/memory"
	"tidemark/repository"
	"tidemark/service"
)

// App is the process without its HTTP server: database, exchanges and executor.
type App struct {
	Config   config.Config
	budget   Budget
	log      *slog.Logger
	registry *prometheus.Registry
	DB       *repository.DB
	Venues   []Venue // in the order of EXCHANGE
	Analyzer *service.Analyzer
	Jobs     *job.Runner
	events   *event.Watcher
	Alerts   *alert.Alerts
	sealer   *notify.Sealer  // of the Alerts; nil without SECRETS_KEY
	lives    map[string]kept // by exchange
	clients  clients
	requests *exchangeMetrics
	market   *http.Server // the built-in simulated exchange; nil without it

	stopBanWatch context.CancelFunc
	banWatch     sync.WaitGroup
}

// Open connects the parts of an App that keeps no pairs live. The caller closes it.
func Open(ctx context.Context, cfg config.Config, log *slog.Logger) (*App, error) {
	cfg.AnalysisLive = false
	return open(ctx, cfg, log)
}

// open connects the parts of an App.
func open(ctx context.Context, cfg config.Config, log *slog.Logger) (*App, error) {
	a := &App{Config: cfg, budget: NewBudget(cfg, memory.Read().Limit), log: log, registry: prometheus.NewRegistry()}
	// Package initialisers and migrations each touch some MiB of the program's file; with
	// both in memory the start would be the peak of a small service.
	DropPages()
	db, err := OpenDatabase(ctx, a.budget, log)
	if err != nil {
		return nil, err
	}
	DropPages()
	a.DB = db
	a.requests = newExchangeMetrics(a.registry)
	if err := a.openVenues(log); err != nil {
		a.Close()
		return nil, err
	}
	if err := a.applyStoredBans(ctx); err != nil {
		a.Close()
		return nil, err
	}
	a.watchBans()
	registerProcessMetrics(a.registry, a.DB, a.Venues, a.prices, a.budget)
	// last, so that the memory of everything opened before is measured, not estimated
	slots, clients, memory, err := a.budget.Settle(0)
	a.clients = clients
	if err != nil {
		a.Close()
		return nil, err
	}
	if slots > 0 {
		log.Info("memory budget", "bytes", a.budget.Total, "from", a.budget.Source, "taken_at_start_bytes", memory.RSS,
			"slots_bytes", slots, "slots_at_once", min(int64(cfg.AnalysisConcurrency*len(cfg.Exchanges)), slots/a.budget.Slot()),
			"connections", clients.connections, "streams", clients.streams, "replies_bytes", clients.replies, "uploads_bytes", clients.uploads)
	}
	var liveMetrics *live.Metrics
	if a.live() {
		liveMetrics = live.NewMetrics(a.registry)
	}
	analysed, swept, filters := make([]service.Exchange, len(a.Venues)), make([]job.Exchange, len(a.Venues)), map[string]job.Filter{}
	recents := make([]*live.Recent, len(a.Venues))
	a.lives = map[string]kept{}
	for i, v := range a.Venues {
		analysed[i], swept[i], filters[v.Name] = v, v, filter(cfg, v.Venue)
		if a.live() {
			analysed[i], recents[i] = live.Wrap(v, liveMetrics)
		}
	}
	if err := a.openAlerts(log); err != nil {
		a.Close()
		return nil, err
	}
	a.events = event.NewWatcher(db, a.registry, log)
	for _, v := range a.Venues {
		a.events.Announce(v.Name)
	}
	a.Analyzer = service.New(service.Config{
		Concurrency: cfg.AnalysisConcurrency,
		KlineLimit:  cfg.AnalysisKlineLimit,
		Memory:      slots,
		QueueLimit:  cfg.AnalysisQueueLimit,
		Interval:    cfg.AnalysisInterval,
		Timeout:     cfg.AnalysisTimeout,
		Watch:       a.events.Watch,
	}, analysed, db, a.registry, log)
	a.Jobs = job.NewRunner(job.Config{
		Concurrency: cfg.AnalysisConcurrency,
		BatchSize:   cfg.AnalysisBatchSize,
		QueueLimit:  cfg.AnalysisQueueLimit,
		Filters:     filters,
		Live:        lives(a.lives),
	}, a.Analyzer, swept, db, a.registry, log)
	for i, v := range a.Venues {
		if recents[i] != nil {
			a.keep(v, recents[i], log)
		}
	}
	if len(a.lives) > 0 {
		a.registry.MustRegister(liveCollector(a.lives))
	}
	return a, nil
}

// Stop waits for the work under way until ctx is done, then cancels it and returns an
// error that says so.
func (a *App) Stop(ctx context.Context) error {
	return stopped(a.Config, errors.Join(a.Analyzer.Stop(ctx), a.DB.StopWork(ctx)))
}

// prune deletes the jobs that ended longer ago than JOB_RETENTION and the events beyond
// EVENTS_KEEP and EVENTS_MAX, now and every hour until ctx ends. Several processes may do so
// at once.
func (a *App) prune(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		now := time.Now()
		for what, prune := range map[string]func() (int, error){
			"jobs":   func() (int, error) { return a.DB.PruneJobs(ctx, now.Add(-a.Config.JobRetention)) },
			"events": func() (int, error) { return a.DB.PruneEvents(ctx, now.Add(-a.Config.EventsKeep), a.Config.EventsMax) },
		} {
			switch n, err := prune(); {
			case ctx.Err() != nil:
				return
			case err != nil:
				a.log.Warn("old "+what+" could not be pruned", "error", err)
			case n > 0:
				a.log.Info("old "+what+" pruned", what, n)
			}
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
	for _, v := range a.Venues {
		v.Close()
	}
	return a.DB.Close()
}

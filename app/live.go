package app

import (
	"context"
	"log/slog"
	"time"

	"tidemark/config"
	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/live"
	"tidemark/service"
)

// live reports whether this process keeps the pairs of an exchange live.
func (a *App) live() bool {
	return a.Config.AnalysisLive && a.Config.Role != roleAPI
}

// kept is what keeps the pairs of an exchange live.
type kept struct {
	keeper *live.Keeper
	recent *live.Recent
	feed   *exchange.Feed // nil: nothing is pushed
}

// lives implements job.Live for several exchanges. It may be filled after the jobs began.
type lives map[string]kept

// Fresh implements job.Live.
func (l lives) Fresh(ctx context.Context, exchange string, klines int) func(service.Key) bool {
	if k, ok := l[exchange]; ok {
		return k.keeper.Fresh(ctx, exchange, klines)
	}
	return func(service.Key) bool { return false }
}

// Stored implements job.Live.
func (l lives) Stored(key service.Key, klines int, asOf time.Time) {
	if k, ok := l[key.Exchange]; ok {
		k.keeper.Stored(key, klines, asOf)
	}
}

// price returns the last price of a pair that was pushed; see live.Recent.Price.
func (l lives) price(exchange, symbol string) (price float64, at time.Time) {
	if k, ok := l[exchange]; ok {
		return k.recent.Price(symbol)
	}
	return 0, time.Time{}
}

// status returns the state of the live pairs.
func (k kept) status() *service.LiveStatus {
	s := new(service.LiveStatus)
	s.Series, s.Polled, s.Merged, s.Waiting = k.recent.Counts()
	s.Unkept = k.keeper.Unkept()
	s.Audits, s.Differences = k.keeper.Audits()
	if k.feed != nil {
		c := k.feed.Counts()
		s.Connections, s.Subscriptions, s.Frames, s.Reconnects, s.LastFrame = c.Connections, c.Subscriptions, c.Frames, c.Reconnects, c.LastFrame
	}
	return s
}

// keep makes the keeper of the pairs of an exchange.
func (a *App) keep(v Venue, recent *live.Recent, log *slog.Logger) {
	var k *live.Keeper
	var feed live.Feed
	pushed := v.Feed(exchange.Sink{
		Candle: recent.Candle,
		Broken: func(series []service.Key) { k.Broken(series) },
		Refused: func(key service.Key, reason string) {
			level := slog.LevelDebug
			if recent.Refused(key) {
				level = slog.LevelWarn
			}
			log.Log(context.Background(), level, "the exchange does not push the candles of a pair; it is asked for them, and for pushes again every hour", "exchange", key.Exchange, "symbol", key.Symbol, "interval", key.Interval, "reason", reason)
		},
	})
	if pushed != nil {
		feed = pushed
	}
	k = live.NewKeeper(live.Config{
		Exchange:   v.Name,
		Intervals:  liveIntervals(a.Config),
		KlineLimit: a.Config.AnalysisKlineLimit,
		BatchSize:  a.Config.AnalysisBatchSize,
		Requests:   2 * a.Config.AnalysisConcurrency,
		Memory:     int(a.budget.live()) / len(a.Venues),
		Price:      func(symbol string, price float64, at time.Time) { a.events.Price(v.Name, symbol, price, v.At(at)) },
	}, recent, feed, v, a.Jobs, a.Analyzer, a.DB, log)
	a.lives[v.Name] = kept{k, recent, pushed}
}

// liveIntervals returns ANALYSIS_INTERVALS, which config has checked.
func liveIntervals(cfg config.Config) []levels.Interval {
	all := make([]levels.Interval, len(cfg.AnalysisIntervals))
	for i, name := range cfg.AnalysisIntervals {
		all[i] = levels.Interval(name)
	}
	return all
}

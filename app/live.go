package app

import (
	"context"
	"log/slog"

	"tidemark/config"
	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/live"
	"tidemark/service"
)

// live reports whether this process keeps the pairs of an exchange live.
func (a *App) live(v Venue) bool {
	return a.Config.AnalysisLive && a.Config.Role != roleAPI && v.Streams()
}

// keeper returns what keeps the pairs of an exchange live.
func (a *App) keeper(v Venue, recent *live.Recent, log *slog.Logger) *live.Keeper {
	var k *live.Keeper
	feed := v.Feed(exchange.Sink{
		Candle: recent.Candle,
		Broken: func([]service.Key) {
			if now, err := v.Now(context.Background()); err == nil {
				k.Broken(now)
			}
		},
		Refused: func(key service.Key, reason string) {
			log.Warn("the exchange does not push the candles of a pair", "exchange", key.Exchange, "symbol", key.Symbol, "interval", key.Interval, "reason", reason)
		},
	})
	k = live.NewKeeper(live.Config{
		Exchange:   v.Name,
		Intervals:  liveIntervals(a.Config),
		KlineLimit: a.Config.AnalysisKlineLimit,
		BatchSize:  a.Config.AnalysisBatchSize,
	}, recent, feed, a.Jobs, a.Analyzer, a.DB, log)
	return k
}

// liveIntervals returns ANALYSIS_INTERVALS, or ANALYSIS_INTERVAL without.
func liveIntervals(cfg config.Config) []levels.Interval {
	if len(cfg.AnalysisIntervals) == 0 {
		return []levels.Interval{cfg.AnalysisInterval}
	}
	all := make([]levels.Interval, len(cfg.AnalysisIntervals))
	for i, name := range cfg.AnalysisIntervals {
		all[i] = levels.Interval(name)
	}
	return all
}

package app

import (
	"log/slog"

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

// keeper returns what keeps the pairs of an exchange live.
func (a *App) keeper(v Venue, recent *live.Recent, log *slog.Logger) *live.Keeper {
	var k *live.Keeper
	var feed live.Feed
	if pushed := v.Feed(exchange.Sink{
		Candle: recent.Candle,
		Broken: func([]service.Key) { k.Broken() },
		Refused: func(key service.Key, reason string) {
			log.Warn("the exchange does not push the candles of a pair", "exchange", key.Exchange, "symbol", key.Symbol, "interval", key.Interval, "reason", reason)
		},
	}); pushed != nil {
		feed = pushed
	}
	k = live.NewKeeper(live.Config{
		Exchange:   v.Name,
		Intervals:  liveIntervals(a.Config),
		KlineLimit: a.Config.AnalysisKlineLimit,
		BatchSize:  a.Config.AnalysisBatchSize,
	}, recent, feed, v, a.Jobs, a.Analyzer, a.DB, log)
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

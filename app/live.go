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

// kept is what the status of the live pairs of an exchange is read from.
type kept struct {
	recent *live.Recent
	feed   *exchange.Feed // nil: nothing is pushed
}

// status returns the state of the live pairs.
func (k kept) status() *service.LiveStatus {
	s := new(service.LiveStatus)
	s.Series, s.Waiting = k.recent.Counts()
	if k.feed != nil {
		c := k.feed.Counts()
		s.Connections, s.Subscriptions, s.Frames, s.Reconnects, s.LastFrame = c.Connections, c.Subscriptions, c.Frames, c.Reconnects, c.LastFrame
	}
	return s
}

// keeper returns what keeps the pairs of an exchange live.
func (a *App) keeper(v Venue, recent *live.Recent, log *slog.Logger) *live.Keeper {
	var k *live.Keeper
	var feed live.Feed
	pushed := v.Feed(exchange.Sink{
		Candle: recent.Candle,
		Broken: func([]service.Key) { k.Broken() },
		Refused: func(key service.Key, reason string) {
			log.Warn("the exchange does not push the candles of a pair", "exchange", key.Exchange, "symbol", key.Symbol, "interval", key.Interval, "reason", reason)
		},
	})
	if pushed != nil {
		feed = pushed
	}
	a.lives[v.Name] = kept{recent, pushed}
	k = live.NewKeeper(live.Config{
		Exchange:   v.Name,
		Intervals:  liveIntervals(a.Config),
		KlineLimit: a.Config.AnalysisKlineLimit,
		BatchSize:  a.Config.AnalysisBatchSize,
	}, recent, feed, v, a.Jobs, a.Analyzer, a.DB, log)
	return k
}

// liveIntervals returns ANALYSIS_INTERVALS, which config has checked.
func liveIntervals(cfg config.Config) []levels.Interval {
	all := make([]levels.Interval, len(cfg.AnalysisIntervals))
	for i, name := range cfg.AnalysisIntervals {
		all[i] = levels.Interval(name)
	}
	return all
}

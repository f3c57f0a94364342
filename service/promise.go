package service

import (
	"context"
	"math"
	"time"

	"tidemark/levels"
	"tidemark/scorecard"
)

// Promise returns the promise of s. ok is false if s cannot be judged: it has no odds,
// the market did not move, or s was computed when the next candle may already have
// closed. Odds that were not available before the outcome are not evidence.
func (s *Snapshot) Promise() (p scorecard.Promise, ok bool) {
	fit, calibrated := levels.Odds().For(s.Interval)
	if !calibrated || !(s.ATR > 0) || !s.ComputedAt.Before(s.AsOf.Add(s.Interval.Duration())) {
		return scorecard.Promise{}, false
	}
	p = scorecard.Promise{
		AsOf: s.AsOf, LastPrice: s.LastPrice, ATR: s.ATR, Simulated: s.Simulated,
		Algorithm: s.Algorithm, Table: levels.OddsVersion(),
	}
	for _, side := range [...][]levels.Level{s.Supports, s.Resistances} {
		for i := range side {
			if l := &side[i]; l.NoOdds == levels.OddsKnown {
				p.Levels = append(p.Levels, scorecard.PromisedLevel{
					Price: l.Price, Hold: rounded(l.HoldProbability), Touch: rounded(l.TouchProbability),
					HoldBin:  min(fit.HoldBin(rounded(l.HoldProbability)), scorecard.Bins-1),
					TouchBin: min(int(rounded(l.TouchProbability)*scorecard.Bins), scorecard.Bins-1),
				})
			}
		}
	}
	return p, len(p.Levels) > 0
}

// rounded returns odds of roundOdds as the float64 nearest to their decimals.
func rounded(p float32) float64 {
	scale := math.Pow10(oddsDecimals)
	return math.Round(float64(p)*scale) / scale
}

// judge judges the promise of the series in c. It returns nil if no promise is due.
// limit is the kline limit of the analysis. An error does not fail the analysis: the
// promise stays due.
func (a *Analyzer) judge(ctx context.Context, x Exchange, c *levels.Candles, symbol string, limit int) *Judged {
	if c.Len() == 0 {
		return nil
	}
	market := x.Market()
	key := Key{Exchange: market.Exchange, Symbol: symbol, Interval: c.Interval}
	p, due, err := a.store.DuePromise(ctx, key, time.UnixMilli(c.AsOf()-levels.Horizon*c.Interval.Milliseconds()))
	if err != nil && ctx.Err() == nil {
		a.log.Warn("a promise could not be read and will be judged later", "symbol", symbol, "interval", c.Interval, "error", err)
	}
	if err != nil || !due {
		return nil
	}
	readable := p.Algorithm != "" && p.Simulated == market.Simulated
	if readable && c.OpenTime[0] > p.AsOf.UnixMilli() && limit < a.cfg.KlineLimit {
		return nil // an analysis of the configured length has older candles
	}
	j := p.Judge(c, market.Simulated)
	if j.Skipped != "" {
		a.log.Info("odds are not judged", "symbol", symbol, "interval", c.Interval, "as_of", p.AsOf, "reason", j.Skipped)
	}
	return &Judged{key, j}
}

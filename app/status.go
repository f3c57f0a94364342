package app

import (
	"tidemark/service"
)

// status returns the state of the client of an exchange.
func (a *App) status(exchange string) service.VenueStatus {
	var s service.VenueStatus
	for _, v := range a.Venues {
		if v.Name != exchange {
			continue
		}
		of := v.Status()
		for _, b := range of.Budgets {
			s.Budgets = append(s.Budgets, service.BudgetStatus{Name: b.Name, Used: b.Used, Limit: b.Limit, Share: v.WeightShare})
		}
		s.PausedUntil, s.Banned, s.ClockSkew, s.LastSuccess = of.PausedUntil, of.Banned, of.Skew, of.LastSuccess
		s.Replay = of.Replay
		if reachable := !of.Silent; of.Silent || !of.LastSuccess.IsZero() {
			s.Reachable = &reachable
		}
	}
	s.Prices = a.prices(exchange)
	if k, ok := a.lives[exchange]; ok {
		s.Live = k.status()
	}
	return s
}

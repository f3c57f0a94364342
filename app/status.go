package app

import (
	"sync"
	"time"

	"tidemark/service"
)

// fares keeps how the requests to each exchange end.
type fares struct {
	mu sync.Mutex
	of map[string]fare
}

type fare struct {
	success     time.Time // the last one
	reachable   bool      // the last request was answered
	asked       bool      // there was one
	bannedUntil time.Time
}

// request notes the end of a request; status is 0 if there was no answer.
func (f *fares) request(exchange string, status int) {
	f.change(exchange, func(of *fare) {
		of.asked, of.reachable = true, status != 0
		if status/100 == 2 {
			of.success = time.Now()
		}
	})
}

func (f *fares) banned(exchange string, until time.Time) {
	f.change(exchange, func(of *fare) { of.bannedUntil = until })
}

func (f *fares) change(exchange string, set func(of *fare)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == nil {
		f.of = map[string]fare{}
	}
	of := f.of[exchange]
	set(&of)
	f.of[exchange] = of
}

func (f *fares) get(exchange string) fare {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.of[exchange]
}

// status returns the state of the client of an exchange.
func (a *App) status(exchange string) service.VenueStatus {
	var s service.VenueStatus
	for _, v := range a.Venues {
		if v.Name != exchange {
			continue
		}
		stats, fare := v.Stats(), a.fares.get(exchange)
		s.Budgets = []service.BudgetStatus{{Name: "weight", Used: stats.UsedWeight, Limit: stats.WeightLimit, Share: v.WeightShare}}
		s.PausedUntil = stats.PausedUntil
		s.Banned = !fare.bannedUntil.Before(stats.PausedUntil)
		s.LastSuccess = fare.success
		if fare.asked {
			s.Reachable = &fare.reachable
		}
	}
	return s
}

package app

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"

	"tidemark/api"
	"tidemark/config"
	"tidemark/exchange"
	"tidemark/exchange/simulated"
	"tidemark/exchange/venues"
)

// Venue is an exchange of the configuration and its client.
type Venue struct {
	*exchange.Client
	config.Venue
}

// Address names what the exchange bans: the network address of this process, as
// EXCHANGE_EGRESS calls it. The markets of one venue are banned together.
func Address(v config.Venue) string {
	name := v.Name
	if known := venues.Find(v.Name); known != nil && v.Name != venues.Simulated {
		name = known.Spec().Group
	}
	if v.Egress == "" {
		return name
	}
	return name + " " + v.Egress
}

// OpenVenue returns a client of an exchange. cfg has the hooks of the caller.
func OpenVenue(v config.Venue, cfg exchange.Config) Venue {
	cfg.Name, cfg.BaseURL, cfg.WeightShare, cfg.Timeout = v.Name, v.BaseURL, v.WeightShare, v.Timeout
	cfg.Attempts = cmp.Or(cfg.Attempts, v.Attempts)
	cfg.Simulated = v.Name == venues.Simulated
	return Venue{exchange.New(venues.Find(v.Name), cfg), v}
}

// openVenues opens the clients of all exchanges. Close closes them.
func (a *App) openVenues(log *slog.Logger) error {
	groups := map[string]*exchange.Group{} // by address
	shares := map[string]float64{}         // the smallest that is set
	for _, v := range a.Config.Venues() {
		if share, ok := shares[Address(v)]; !ok || v.WeightShare < share {
			shares[Address(v)] = v.WeightShare
		}
	}
	for _, v := range a.Config.Venues() {
		v.WeightShare = shares[Address(v)]
		if v.Name == venues.Simulated && v.BaseURL == nil {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return fmt.Errorf("the simulated exchange: %w", err)
			}
			a.market = api.Server(simulated.New(simulated.Options{Pairs: a.Config.ExchangePairs, Seed: a.Config.ExchangeSeed}))
			go a.market.Serve(l)
			v.BaseURL = &url.URL{Scheme: "http", Host: l.Addr().String()}
		}
		if groups[Address(v)] == nil {
			groups[Address(v)] = exchange.NewGroup(venues.Find(v.Name).Spec(), v.WeightShare)
		}
		requests := a.Config.AnalysisConcurrency
		if a.live() { // for single candles
			requests *= 2
		}
		a.Venues = append(a.Venues, OpenVenue(v, exchange.Config{
			Group:       groups[Address(v)],
			Concurrency: requests,
			OnBan:       func(until time.Time) { a.rememberBan(v, until) },
			Observe: func(endpoint string, status int, took time.Duration) {
				a.requests.observe(v.Name, endpoint, status, took)
			},
			Log: log,
		}))
	}
	return nil
}

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
	"tidemark/exchange/binance"
	"tidemark/exchange/simulated"
	"tidemark/exchange/venues"
)

// Venue is an exchange of the configuration and its client.
type Venue struct {
	*binance.Client
	config.Venue
}

// Address names what the exchange bans: the network address of this process, as
// EXCHANGE_EGRESS calls it.
func Address(v config.Venue) string {
	if v.Egress == "" {
		return v.Name
	}
	return v.Name + " " + v.Egress
}

// OpenVenue returns a client of an exchange. cfg has the hooks of the caller.
func OpenVenue(v config.Venue, cfg binance.Config) (Venue, error) {
	if v.BaseURL == nil && v.Name != "binance" {
		return Venue{}, fmt.Errorf("EXCHANGE: this version has no client for %s", v.Name)
	}
	cfg.Name, cfg.BaseURL, cfg.WeightShare, cfg.Timeout = v.Name, v.BaseURL, v.WeightShare, v.Timeout
	cfg.Attempts = cmp.Or(cfg.Attempts, v.Attempts)
	cfg.Simulated = v.Name == venues.Simulated
	return Venue{binance.New(cfg), v}, nil
}

// openVenues opens the clients of all exchanges. Close closes them.
func (a *App) openVenues(log *slog.Logger) error {
	for _, v := range a.Config.Venues() {
		if v.Name == venues.Simulated && v.BaseURL == nil {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return fmt.Errorf("the simulated exchange: %w", err)
			}
			a.market = api.Server(simulated.New(simulated.Options{Pairs: a.Config.ExchangePairs, Seed: a.Config.ExchangeSeed}))
			go a.market.Serve(l)
			v.BaseURL = &url.URL{Scheme: "http", Host: l.Addr().String()}
		}
		venue, err := OpenVenue(v, binance.Config{
			Concurrency: a.Config.AnalysisConcurrency,
			OnBan:       func(until time.Time) { a.rememberBan(v, until) },
			Observe: func(endpoint string, status int, took time.Duration) {
				a.requests.observe(v.Name, endpoint, status, took)
				a.fares.request(v.Name, status)
			},
			Log: log.With("exchange", v.Name),
		})
		if err != nil {
			return config.Usage(err)
		}
		a.Venues = append(a.Venues, venue)
	}
	return nil
}

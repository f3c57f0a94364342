package app

import (
	"context"
	"time"

	"tidemark/config"
	"tidemark/repository"
)

// Address names what the exchange bans: the address it sees this process under.
func Address(c config.Config) string {
	if c.ExchangeEgress == "" {
		return c.Exchange
	}
	return c.Exchange + " " + c.ExchangeEgress
}

// rememberBan keeps a ban over a restart, and from the other processes behind
// the address. The exchange counts every request made while banned, and lengthens
// the ban.
func (a *App) rememberBan(until time.Time) {
	a.log.Error("banned by the exchange", "exchange", a.Config.Exchange, "until", until)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := a.DB.PutBan(ctx, Address(a.Config), until); err != nil {
		a.log.Error("the ban could not be stored", "error", err)
	}
}

// heedBan looks for a ban from before, or of another process.
func (a *App) heedBan(ctx context.Context) error {
	until, err := a.DB.Ban(ctx, Address(a.Config))
	if err == nil && time.Now().Before(until) {
		a.Venue.Ban(until)
	}
	return err
}

// hearOfBans has bans of other processes heeded, until close.
func (a *App) hearOfBans() {
	changed := make(chan struct{}, 1)
	a.DB.Subscribe(func(c repository.Change) {
		if c.Exchange == "" { // anything may have changed
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	})
	hearing, stop := context.WithCancel(context.Background())
	a.deafen = stop
	a.hearing.Go(func() {
		for {
			select {
			case <-changed:
			case <-hearing.Done():
				return
			}
			if err := a.heedBan(hearing); err != nil && hearing.Err() == nil {
				a.log.Warn("whether another process was banned could not be read", "error", err)
			}
		}
	})
}

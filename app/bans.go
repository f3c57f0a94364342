package app

import (
	"context"
	"time"

	"tidemark/config"
	"tidemark/repository"
)

// Address names what the exchange bans: the network address of this process, as
// EXCHANGE_EGRESS calls it.
func Address(c config.Config) string {
	if c.ExchangeEgress == "" {
		return c.Exchange
	}
	return c.Exchange + " " + c.ExchangeEgress
}

// rememberBan stores a ban, so that it survives a restart and stops the other
// processes behind the address. The exchange lengthens a ban with every request
// made during it.
func (a *App) rememberBan(until time.Time) {
	a.log.Error("banned by the exchange", "exchange", a.Config.Exchange, "until", until)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := a.DB.PutBan(ctx, Address(a.Config), until); err != nil {
		a.log.Error("the ban could not be stored", "error", err)
	}
}

// applyStoredBan stops requests until the end of the stored ban, if there is one: from
// before a restart, or of another process.
func (a *App) applyStoredBan(ctx context.Context) error {
	until, err := a.DB.Ban(ctx, Address(a.Config))
	if err == nil && time.Now().Before(until) {
		a.Venue.Ban(until)
	}
	return err
}

// watchBans applies the bans of other processes as they are stored, until Close.
func (a *App) watchBans() {
	changed := make(chan struct{}, 1)
	a.DB.Subscribe(func(c repository.Change) {
		if c.Exchange == "" { // anything may have changed
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	})
	ctx, stop := context.WithCancel(context.Background())
	a.stopBanWatch = stop
	a.banWatch.Go(func() {
		for {
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
			if err := a.applyStoredBan(ctx); err != nil && ctx.Err() == nil {
				a.log.Warn("whether another process was banned could not be read", "error", err)
			}
		}
	})
}

package app

import (
	"context"
	"time"

	"tidemark/config"
	"tidemark/repository"
)

// rememberBan stores a ban, so that it survives a restart and stops the other
// processes behind the address. The exchange lengthens a ban with every request
// made during it.
func (a *App) rememberBan(v config.Venue, until time.Time) {
	a.log.Error("banned by the exchange", "exchange", v.Name, "until", until)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := a.DB.PutBan(ctx, Address(v), until); err != nil {
		a.log.Error("the ban could not be stored", "exchange", v.Name, "error", err)
	}
}

// applyStoredBans stops requests to each exchange until the end of its stored ban, if
// there is one: from before a restart, or of another process.
func (a *App) applyStoredBans(ctx context.Context) error {
	for _, v := range a.Venues {
		until, err := a.DB.Ban(ctx, Address(v.Venue))
		if err != nil {
			return err
		}
		if time.Now().Before(until) {
			v.Ban(until)
		}
	}
	return nil
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
			if err := a.applyStoredBans(ctx); err != nil && ctx.Err() == nil {
				a.log.Warn("whether another process was banned could not be read", "error", err)
			}
		}
	})
}

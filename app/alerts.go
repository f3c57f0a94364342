package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/config"
	"tidemark/event/alert"
	"tidemark/event/notify"
	"tidemark/exchange/venues"
	"tidemark/repository"
)

// delivers reports whether a process turns events into messages and sends them: without
// SECRETS_KEY it cannot read where to.
func delivers(c config.Config) bool { return c.Role != roleAPI && c.SecretsKey != "" }

// openAlerts makes the alerts. Run dispatches them.
func (a *App) openAlerts(log *slog.Logger) error {
	if a.Config.SecretsKey != "" {
		var err error
		if a.sealer, err = notify.NewSealer(a.Config.SecretsKey); err != nil {
			return config.Usage(fmt.Errorf("SECRETS_KEY: %w", err))
		}
	}
	private, networks := a.Config.ReceiverNetworks()
	a.Alerts = alert.New(alert.Config{
		Exchanges: venues.Names(),
		Sealer:    a.sealer,
		Sender:    notify.NewSender(notify.Options{AllowPrivate: private, Allow: networks, Agent: "tidemark/" + BuildVersion()}),
		Volumes:   a.volumes,
		PublicURL: a.Config.PublicURL,
		Retention: a.Config.DeliveryRetention,
	}, a.DB, a.registry, log)
	a.registry.MustRegister(deliveryCollector{a.DB})
	a.DB.Subscribe(func(c repository.Change) {
		if c.Events || c.Exchange == "" { // or anything may have changed
			a.Alerts.Wake()
		}
	})
	return nil
}

// loadRules reads RULES_FILE, if it is set.
func (a *App) loadRules(ctx context.Context) error {
	path := a.Config.RulesFile
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return config.Usage(fmt.Errorf("RULES_FILE: %w", err))
	}
	err = a.Alerts.LoadFile(ctx, data)
	if errors.As(err, new(*alert.Invalid)) {
		return config.Usage(fmt.Errorf("RULES_FILE: %s: %w", path, err))
	}
	return err
}

// deliver dispatches events until ctx ends. Without SECRETS_KEY it only warns if there are
// receivers.
func (a *App) deliver(ctx context.Context) {
	if delivers(a.Config) {
		a.Alerts.Run(ctx, a.DB)
		return
	}
	if all, err := a.Alerts.Receivers(ctx); err == nil && len(all) > 0 {
		a.log.Warn("this process sends no messages, because SECRETS_KEY is not set", "receivers", len(all))
	}
}

// volumes returns the 24 h volumes of an exchange, nil if this process does not serve it.
func (a *App) volumes(ctx context.Context, exchange string) (map[string]float64, error) {
	for _, v := range a.Venues {
		if v.Name != exchange {
			continue
		}
		all := map[string]float64{}
		list, _, err := v.LastSymbols(ctx)
		if err != nil {
			return nil, err
		}
		for s, err := range list {
			if err != nil {
				return nil, err
			}
			all[s.Name] = s.QuoteVolume
		}
		return all, nil
	}
	return nil, nil
}

// deliveryCollector collects the state of the deliveries in the database.
type deliveryCollector struct{ db *repository.DB }

var (
	openDeliveriesDesc = describe("tidemark_deliveries_open",
		"Deliveries that are gathering or pending. All processes of a database report the same value.")
	oldestDeliveryDesc = describe("tidemark_delivery_oldest_pending_seconds",
		"Age of the oldest delivery that is queued and not final; 0 if there is none. All processes of a database report the same value.")
	receiversDisabledDesc = describe("tidemark_receivers_disabled",
		"Receivers that are disabled now. All processes of a database report the same value.")
)

func (deliveryCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{openDeliveriesDesc, oldestDeliveryDesc, receiversDisabledDesc} {
		ch <- d
	}
}

func (c deliveryCollector) Collect(ch chan<- prometheus.Metric) {
	s, err := c.db.DeliveryStats(context.Background())
	if err != nil {
		return // unknown values are omitted
	}
	gauge(ch, openDeliveriesDesc, float64(s.Open))
	gauge(ch, oldestDeliveryDesc, s.Age.Seconds())
	gauge(ch, receiversDisabledDesc, float64(s.Disabled))
}

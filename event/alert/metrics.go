package alert

import (
	"github.com/prometheus/client_golang/prometheus"

	"tidemark/event/notify"
)

type metrics struct {
	attempts *prometheus.CounterVec // by kind of receiver and outcome
	ended    *prometheus.CounterVec // by kind of receiver and state
	withheld *prometheus.CounterVec // by reason
	disabled *prometheus.CounterVec // by kind of receiver
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemark_delivery_attempts_total", Help: "Attempts to deliver a message, by kind of receiver and outcome: delivered, retry, gone, refused.",
		}, []string{"kind", "outcome"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemark_deliveries_total", Help: "Deliveries that ended, by state: delivered, expired, failed, cancelled.",
		}, []string{"state"}),
		withheld: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemark_alert_events_withheld_total", Help: "Events that a rule selects and that were not sent, or only counted in a summary: silenced, quiet, inhibited, expired, over_budget, disabled.",
		}, []string{"reason"}),
		disabled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemark_receivers_disabled_total", Help: "Receivers that were disabled because they refuse or fail, by kind.",
		}, []string{"kind"}),
	}
	reg.MustRegister(m.attempts, m.ended, m.withheld, m.disabled)
	// counters exist before they first count, so that their increase is seen
	for _, kind := range notify.Kinds() {
		for _, outcome := range []notify.Outcome{notify.Delivered, notify.Retry, notify.Gone, notify.Refused} {
			m.attempts.WithLabelValues(kind, string(outcome))
		}
		m.disabled.WithLabelValues(kind)
	}
	for _, state := range []string{Delivered, Expired, Failed, Cancelled} {
		m.ended.WithLabelValues(state)
	}
	for _, reason := range []string{silenced, quieted, inhibited, expired, overBudget, toDisabled} {
		m.withheld.WithLabelValues(reason)
	}
	return m
}

// Why events are not sent, in metrics.
const (
	silenced   = "silenced"
	quieted    = "quiet"
	inhibited  = "inhibited"
	expired    = "expired"
	overBudget = "over_budget"
	toDisabled = "disabled"
)

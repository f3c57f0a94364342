package live

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	lateness *prometheus.HistogramVec
	holes    *prometheus.CounterVec
	failed   *prometheus.CounterVec
	audits   *prometheus.CounterVec
	differs  *prometheus.CounterVec
}

func (m *metrics) register(reg prometheus.Registerer) {
	m.lateness = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "tidemark_live_late_seconds",
		Help:    "Time from the close of a candle until it was received (candle), and until its levels were stored (levels).",
		Buckets: []float64{.01, .03, .1, .2, .3, .5, 1, 2, 5, 10, 30, 60},
	}, []string{"exchange", "step"})
	m.holes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tidemark_live_holes_total",
		Help: "Series for which the exchange was asked because a candle may not have been pushed, by reason.",
	}, []string{"exchange", "reason"})
	m.failed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tidemark_live_failures_total",
		Help: "Analyses of live pairs that failed.",
	}, []string{"exchange"})
	m.audits = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tidemark_live_audits_total",
		Help: "Live series whose last stored candles were compared with those of the exchange.",
	}, []string{"exchange"})
	m.differs = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tidemark_live_audit_differences_total",
		Help: "Candles of these that differed from those of the exchange, or existed only on one side. Their pairs are fetched again.",
	}, []string{"exchange"})
	reg.MustRegister(m.lateness, m.holes, m.failed, m.audits, m.differs)
}

// announce makes the metrics of an exchange exist before anything has happened.
func (m *metrics) announce(exchange string) {
	for _, step := range [...]string{"candle", "levels"} {
		m.lateness.WithLabelValues(exchange, step)
	}
	for _, reason := range [...]string{"frame", "corrected", "silent", "reconnect"} {
		m.holes.WithLabelValues(exchange, reason)
	}
	m.failed.WithLabelValues(exchange)
	m.audits.WithLabelValues(exchange)
	m.differs.WithLabelValues(exchange)
}

// audited counts a compared series.
func (m *metrics) audited(exchange string, differences int) {
	m.audits.WithLabelValues(exchange).Inc()
	m.differs.WithLabelValues(exchange).Add(float64(differences))
}

func (m *metrics) late(step, exchange string, d time.Duration) {
	m.lateness.WithLabelValues(exchange, step).Observe(max(0, d.Seconds()))
}

func (m *metrics) hole(exchange, reason string) { m.holes.WithLabelValues(exchange, reason).Inc() }

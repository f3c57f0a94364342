package service

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the metrics of the Analyzer. Symbols are never labels: 2,000 pairs would
// be 2,000 series that are never removed.
type metrics struct {
	symbols  *prometheus.CounterVec // by outcome
	analysis prometheus.Histogram
	joined   prometheus.Counter
	panics   prometheus.Counter
	missing  prometheus.Counter

	candles   *prometheus.CounterVec // by source
	refetched *prometheus.CounterVec // by reason
}

func newMetrics(reg prometheus.Registerer, a *Analyzer) *metrics {
	f := promauto.With(reg)
	gauge := func(name, help string, value func() float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	gauge("tidemark_slots", "Slots of the executor: pairs that can be analysed at once.",
		func() float64 { return float64(a.cfg.Concurrency * len(a.exchanges)) })
	gauge("tidemark_slots_busy", "Slots in use.",
		func() float64 { n, _ := a.slots.inUse(); return float64(n) })
	gauge("tidemark_slots_admitted_bytes", "Memory reserved by the analyses under way.",
		func() float64 { _, bytes := a.slots.inUse(); return float64(bytes) })
	gauge("tidemark_slots_limit_bytes", "Memory that all analyses may reserve, from the memory budget; 0 for no limit.",
		func() float64 { return float64(a.cfg.Memory) })
	gauge("tidemark_queue_waiting", "Requests waiting for a slot of the exchange for which most wait.",
		func() float64 { return float64(a.slots.waitingMost()) })
	gauge("tidemark_queue_limit", "Requests that may wait for a slot of an exchange before one is refused.",
		func() float64 { return float64(a.cfg.QueueLimit) })
	m := &metrics{
		symbols: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemark_symbols_total",
			Help: "Analyses ended, by outcome: analyzed, or the code of the failure.",
		}, []string{"outcome"}),
		analysis: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "tidemark_analysis_duration_seconds",
			Help:    "Duration of one analysis with a slot, including fetching.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60},
		}),
		joined: f.NewCounter(prometheus.CounterOpts{
			Name: "tidemark_requests_joined_total",
			Help: "Requests that joined identical work under way instead of repeating it.",
		}),
		panics: f.NewCounter(prometheus.CounterOpts{
			Name: "tidemark_analysis_panics_total",
			Help: "Panics recovered while analysing one pair. Any is a defect.",
		}),
		missing: f.NewCounter(prometheus.CounterOpts{
			Name: "tidemark_klines_missing_total",
			Help: "Candles missing inside the analysed windows: counted, never filled.",
		}),
		candles: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemark_candles_total",
			Help: "Candles analysed or returned, by source: exchange or store.",
		}, []string{"source"}),
		refetched: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemark_candle_refetches_total",
			Help: "Pairs whose whole window was fetched although candles are stored, by reason: disagree (the venue's candle differs), damaged, simulated (another market), short (the window is not covered), audit (an audit found a difference).",
		}, []string{"reason"}),
	}
	m.symbols.WithLabelValues("analyzed") // the series exists before the first pair does
	for _, source := range [...]string{"exchange", "store"} {
		m.candles.WithLabelValues(source)
	}
	for _, reason := range refetches {
		m.refetched.WithLabelValues(reason)
	}
	return m
}

func (m *metrics) observe(err error, took time.Duration) {
	outcome := "analyzed"
	if err != nil {
		outcome = Code(err)
	}
	m.symbols.WithLabelValues(outcome).Inc()
	m.analysis.Observe(took.Seconds())
}

package service

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics of the executor. Symbols are never labels: 2,000 pairs would be
// 2,000 series that nothing ever removes.
type metrics struct {
	symbols  *prometheus.CounterVec // by outcome
	analysis prometheus.Histogram
	batch    prometheus.Histogram
	peak     prometheus.Gauge
	sweep    prometheus.Histogram
	swept    *prometheus.GaugeVec // by interval
	jobs     *prometheus.CounterVec
	joined   prometheus.Counter
	panics   prometheus.Counter
	missing  prometheus.Counter

	scheduled       *prometheus.CounterVec // by interval and outcome
	nextRun, period *prometheus.GaugeVec   // by interval
	candles         *prometheus.CounterVec // by source
	refetched       *prometheus.CounterVec // by reason
}

func newMetrics(reg prometheus.Registerer, a *Analyzer) *metrics {
	f := promauto.With(reg)
	gauge := func(name, help string, value func() float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	gauge("tidemark_slots", "Slots of the executor: pairs that can be analysed at once.",
		func() float64 { return float64(a.slots.fetching.size) })
	gauge("tidemark_slots_busy", "Slots in use.",
		func() float64 { n, _ := a.slots.inUse(); return float64(n) })
	gauge("tidemark_slots_admitted_bytes", "Memory that the analyses under way may need: the sum of what they were admitted with.",
		func() float64 { _, bytes := a.slots.inUse(); return float64(bytes) })
	gauge("tidemark_slots_limit_bytes", "Memory that analyses may need at once, as the memory budget leaves it; 0 for no bound.",
		func() float64 { return float64(a.cfg.Memory) })
	gauge("tidemark_queue_waiting", "Requests waiting for a slot.",
		func() float64 { return float64(a.waiting.Load()) })
	gauge("tidemark_queue_limit", "Requests that may wait for a slot before one is refused.",
		func() float64 { return float64(a.cfg.QueueLimit) })
	gauge("tidemark_jobs_running", "Jobs this process is working on.",
		func() float64 { return float64(a.working()) })
	m := &metrics{
		symbols: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemark_symbols_total",
			Help: "Analyses ended, by outcome: analyzed, or the code of the failure.",
		}, []string{"outcome"}),
		analysis: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "tidemark_analysis_duration_seconds",
			Help:    "Time of one analysis from holding a slot to having levels, fetching included.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60},
		}),
		batch: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "tidemark_batch_duration_seconds",
			Help:    "Time of one batch from its first request to its commit.",
			Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}),
		peak: f.NewGauge(prometheus.GaugeOpts{
			Name: "tidemark_batch_peak_memory_bytes",
			Help: "Highest resident set size seen during the last batch, sampled after every pair.",
		}),
		sweep: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "tidemark_sweep_duration_seconds",
			Help:    "Time of one completed sweep.",
			Buckets: []float64{1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600},
		}),
		swept: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tidemark_last_completed_sweep_timestamp_seconds",
			Help: "When the last sweep completed, in Unix time, by interval.",
		}, []string{"interval"}),
		jobs: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemark_jobs_total",
			Help: "Jobs ended by this process, by kind and state.",
		}, []string{"kind", "state"}),
		joined: f.NewCounter(prometheus.CounterOpts{
			Name: "tidemark_requests_joined_total",
			Help: "Requests that joined identical work under way instead of repeating it.",
		}),
		panics: f.NewCounter(prometheus.CounterOpts{
			Name: "tidemark_analysis_panics_total",
			Help: "Panics contained to one pair. Any is a defect.",
		}),
		missing: f.NewCounter(prometheus.CounterOpts{
			Name: "tidemark_klines_missing_total",
			Help: "Candles absent inside the windows analysed: counted, never filled.",
		}),
		scheduled: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemark_queue_scheduled_runs_total",
			Help: "Scheduled sweeps this process saw to, by interval and outcome: started, caught_up (a minute or more late) or refused (the one before was still open).",
		}, []string{"interval", "outcome"}),
		nextRun: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tidemark_queue_next_scheduled_run_timestamp_seconds",
			Help: "When the next scheduled sweep is due, in Unix time, by interval.",
		}, []string{"interval"}),
		period: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tidemark_queue_schedule_period_seconds",
			Help: "Longest time between two of the next hundred scheduled sweeps, by interval.",
		}, []string{"interval"}),
		candles: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemark_candles_total",
			Help: "Candles analysed or shown, by where they came from: exchange, or store for those kept.",
		}, []string{"source"}),
		refetched: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemark_candle_refetches_total",
			Help: "Pairs fetched whole although candles of them are kept, by reason: disagree (the venue's last one differs), damaged, simulated (of another market), short (they do not cover the klines asked for).",
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

package job

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	batch prometheus.Histogram
	peak  prometheus.Gauge
	sweep prometheus.Histogram
	swept *prometheus.GaugeVec   // by exchange and interval
	jobs  *prometheus.CounterVec // by kind and state

	scheduled       *prometheus.CounterVec // by exchange, interval and outcome
	nextRun, period *prometheus.GaugeVec   // by exchange and interval
}

func newMetrics(reg prometheus.Registerer, r *Runner) *metrics {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tidemark_jobs_running",
		Help: "Jobs this process is working on.",
	}, func() float64 { return float64(len(r.working())) })
	m := &metrics{
		batch: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "tidemark_batch_duration_seconds",
			Help:    "Duration of one batch from its first request to its commit.",
			Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}),
		peak: f.NewGauge(prometheus.GaugeOpts{
			Name: "tidemark_batch_peak_memory_bytes",
			Help: "Highest resident set size seen during the last batch, sampled after every pair.",
		}),
		sweep: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "tidemark_sweep_duration_seconds",
			Help:    "Duration of one completed sweep.",
			Buckets: []float64{1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600},
		}),
		swept: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tidemark_last_completed_sweep_timestamp_seconds",
			Help: "When the last sweep completed, in Unix time, by exchange and interval.",
		}, []string{"exchange", "interval"}),
		jobs: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemark_jobs_total",
			Help: "Jobs ended by this process, by kind and state.",
		}, []string{"kind", "state"}),
		scheduled: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemark_queue_scheduled_runs_total",
			Help: "Scheduled sweeps of this process, by exchange, interval and outcome: started, caught_up (a minute or more late) or refused (the previous sweep was still open).",
		}, []string{"exchange", "interval", "outcome"}),
		nextRun: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tidemark_queue_next_scheduled_run_timestamp_seconds",
			Help: "When the next scheduled sweep is due, in Unix time, by exchange and interval.",
		}, []string{"exchange", "interval"}),
		period: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tidemark_queue_schedule_period_seconds",
			Help: "Longest time between two of the next hundred scheduled sweeps, by exchange and interval.",
		}, []string{"exchange", "interval"}),
	}
	for _, kind := range []string{KindSweep, KindAnalysis} {
		for _, state := range []State{Completed, Failed, Cancelled} {
			m.jobs.WithLabelValues(kind, string(state)) // without the series, rates miss the first job
		}
	}
	return m
}

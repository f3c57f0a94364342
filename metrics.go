package main

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"tidemark/exchange/binance"
	"tidemark/repository"
	"tidemark/service"
)

// exchangeMetrics counts what the exchange client does. The client itself
// knows no Prometheus.
type exchangeMetrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newExchangeMetrics(reg prometheus.Registerer) *exchangeMetrics {
	f := promauto.With(reg)
	return &exchangeMetrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemark_exchange_requests_total",
			Help: "Requests sent to the exchange, by endpoint and HTTP status; status 0 means that no answer came.",
		}, []string{"endpoint", "status"}),
		duration: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tidemark_exchange_request_duration_seconds",
			Help:    "Time of one request to the exchange, its body read and decoded.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 5, 10},
		}, []string{"endpoint"}),
	}
}

func (m *exchangeMetrics) observe(endpoint string, status int, took time.Duration) {
	m.requests.WithLabelValues(endpoint, strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(endpoint).Observe(took.Seconds())
}

// registerProcessMetrics adds the Go runtime, the process, its cgroup, the
// exchange's weight and the database pools.
func registerProcessMetrics(reg prometheus.Registerer, db *repository.DB, venue *binance.Client, b budget) {
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		memoryCollector{}, poolCollector{db}, weightCollector{venue},
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "tidemark_build_info",
			Help:        "Constant 1; the version is in the label.",
			ConstLabels: prometheus.Labels{"version": buildVersion()},
		}, func() float64 { return 1 }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tidemark_memory_budget_bytes",
			Help: "Memory this process may take, as MEMORY_BUDGET or its cgroup says; 0 for no bound.",
		}, func() float64 { return float64(b.total) }),
	)
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

// memoryCollector reads what the operating system says at every scrape. RSS
// itself is process_resident_memory_bytes.
type memoryCollector struct{}

var (
	peakDesc = describe("tidemark_process_peak_resident_memory_bytes",
		"High-water mark of the resident set size since the process began (VmHWM).")
	workingSetDesc = describe("tidemark_cgroup_working_set_bytes",
		"Memory of the cgroup less its inactive page cache, as docker stats counts; 0 outside a cgroup.")
	limitDesc = describe("tidemark_cgroup_memory_limit_bytes",
		"Memory limit of the cgroup; 0 for none.")
)

func (memoryCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- peakDesc
	ch <- workingSetDesc
	ch <- limitDesc
}

func (memoryCollector) Collect(ch chan<- prometheus.Metric) {
	m := service.ReadMemory()
	gauge(ch, peakDesc, float64(m.PeakRSS))
	gauge(ch, workingSetDesc, float64(m.WorkingSet))
	gauge(ch, limitDesc, float64(m.Limit))
}

// weightCollector shows the exchange's request budget.
type weightCollector struct{ venue *binance.Client }

var (
	weightDesc = describe("tidemark_exchange_used_weight",
		"Request weight used in the present minute, as the exchange counts it.")
	weightLimitDesc = describe("tidemark_exchange_weight_limit",
		"Request weight the exchange allows in a minute.")
	pausedDesc = describe("tidemark_exchange_paused_until_timestamp_seconds",
		"When the exchange may be asked again, in Unix time, after a 429 or a ban; 0 when it may now.")
)

func (weightCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- weightDesc
	ch <- weightLimitDesc
	ch <- pausedDesc
}

func (c weightCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.venue.Stats()
	gauge(ch, weightDesc, float64(s.UsedWeight))
	gauge(ch, weightLimitDesc, float64(s.WeightLimit))
	paused := 0.0
	if s.PausedUntil.After(time.Now()) {
		paused = float64(s.PausedUntil.UnixMilli()) / 1000
	}
	gauge(ch, pausedDesc, paused)
}

// poolCollector shows the database connections, by pool.
type poolCollector struct{ db *repository.DB }

var (
	openDesc     = describe("tidemark_db_connections_open", "Open database connections.", "pool")
	inUseDesc    = describe("tidemark_db_connections_in_use", "Database connections in use.", "pool")
	maxOpenDesc  = describe("tidemark_db_connections_max", "Most database connections there may be.", "pool")
	waitDesc     = describe("tidemark_db_waits_total", "Times a connection had to be waited for.", "pool")
	waitTimeDesc = describe("tidemark_db_wait_seconds_total", "Time spent waiting for a connection.", "pool")
)

func (poolCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{openDesc, inUseDesc, maxOpenDesc, waitDesc, waitTimeDesc} {
		ch <- d
	}
}

func (c poolCollector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c.db.Stats() {
		gauge(ch, openDesc, float64(s.OpenConnections), s.Name)
		gauge(ch, inUseDesc, float64(s.InUse), s.Name)
		gauge(ch, maxOpenDesc, float64(s.MaxOpenConnections), s.Name)
		counter(ch, waitDesc, float64(s.WaitCount), s.Name)
		counter(ch, waitTimeDesc, s.WaitDuration.Seconds(), s.Name)
	}
}

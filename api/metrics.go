package api

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	duration     *prometheus.HistogramVec
	inFlight     prometheus.Gauge
	hits, misses prometheus.Counter
	past, tooFew prometheus.Counter // moments of POST /analyze/history
}

func newMetrics(reg prometheus.Registerer, a *API) *metrics {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tidemark_http_cache_bytes", Help: "Memory of the cached replies.",
	}, func() float64 { bytes, _ := a.cache.usage(); return float64(bytes) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tidemark_http_cache_entries", Help: "Replies in the cache.",
	}, func() float64 { _, n := a.cache.usage(); return float64(n) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tidemark_http_event_streams", Help: "Event streams open.",
	}, func() float64 { return float64(len(a.streams)) })
	for _, m := range []struct {
		of   string
		room *room
	}{{"replies", &a.replies}, {"uploads", &a.uploads}} {
		labels := prometheus.Labels{"of": m.of}
		f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tidemark_http_held_bytes", Help: "Memory that large replies and request bodies under way may need.", ConstLabels: labels,
		}, func() float64 { return float64(m.room.inUse()) })
		f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tidemark_http_held_limit_bytes", Help: "Memory there is for large replies and request bodies under way; 0 for no bound.", ConstLabels: labels,
		}, func() float64 { return float64(m.room.size) })
		m.room.refused = f.NewCounter(prometheus.CounterOpts{
			Name: "tidemark_http_held_refused_total", Help: "Requests answered with 503 because others held all of that memory.", ConstLabels: labels,
		})
	}
	requests := f.NewCounterVec(prometheus.CounterOpts{
		Name: "tidemark_http_cache_requests_total", Help: "Lookups in the cache of replies, by result: hit or miss.",
	}, []string{"result"})
	moments := f.NewCounterVec(prometheus.CounterOpts{
		Name: "tidemark_history_moments_total", Help: "Moments of POST /analyze/history, by outcome: analysed or too_few_candles.",
	}, []string{"outcome"})
	return &metrics{
		past:   moments.WithLabelValues("analysed"),
		tooFew: moments.WithLabelValues("too_few_candles"),
		duration: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tidemark_http_request_duration_seconds",
			Help:    "Time from the parsed header of a request to the end of its reply. Routes are patterns; requests that match none share the route none.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"method", "route", "code"}),
		inFlight: f.NewGauge(prometheus.GaugeOpts{
			Name: "tidemark_http_requests_in_flight", Help: "Requests being answered, event streams included.",
		}),
		hits:   requests.WithLabelValues("hit"),
		misses: requests.WithLabelValues("miss"),
	}
}

// routeMetrics holds the histograms of a route, one for each status answered so far, so
// that a request needs no label lookup.
type routeMetrics struct {
	vec           *prometheus.HistogramVec
	method, route string
	byStatus      [len(observed)]atomic.Pointer[prometheus.Observer]
}

// observed lists the statuses whose histograms are cached, the frequent ones first.
var observed = [...]int{200, 304, 404, 202, 400, 401, 422, 429, 503}

func (m *metrics) route(method, pattern string) *routeMetrics {
	return &routeMetrics{vec: m.duration, method: method, route: pattern}
}

func (m *routeMetrics) observe(status int, took time.Duration) {
	for i, s := range observed {
		if s != status {
			continue
		}
		o := m.byStatus[i].Load()
		if o == nil {
			made := m.vec.WithLabelValues(m.method, m.route, strconv.Itoa(status))
			o = &made
			m.byStatus[i].Store(o)
		}
		(*o).Observe(took.Seconds())
		return
	}
	m.vec.WithLabelValues(m.method, m.route, strconv.Itoa(status)).Observe(took.Seconds())
}

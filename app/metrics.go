package app

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/memory"
	"tidemark/repository"
	"tidemark/scorecard"
	"tidemark/service"
)

// exchangeMetrics are the metrics of the exchange clients, which do not import
// Prometheus.
type exchangeMetrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	heap     atomic.Pointer[grower] // of which each request is a step; nil for none
}

func newExchangeMetrics(reg prometheus.Registerer) *exchangeMetrics {
	f := promauto.With(reg)
	return &exchangeMetrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemark_exchange_requests_total",
			Help: "Requests sent to the exchange, by exchange, endpoint and HTTP status; status 0 means no response.",
		}, []string{"exchange", "endpoint", "status"}),
		duration: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tidemark_exchange_request_duration_seconds",
			Help:    "Duration of one request to the exchange, including reading and decoding the body.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 5, 10},
		}, []string{"exchange", "endpoint"}),
	}
}

func (m *exchangeMetrics) observe(venue, endpoint string, status int, took time.Duration) {
	if endpoint != exchange.PricesEndpoint { // which is little and regular
		m.heap.Load().step()
	}
	m.requests.WithLabelValues(venue, endpoint, strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(venue, endpoint).Observe(took.Seconds())
}

// registerProcessMetrics registers the metrics of the Go runtime, the process, its cgroup,
// the weight of each exchange, the database pools, the queue and the scorecard.
func registerProcessMetrics(reg prometheus.Registerer, db *repository.DB, venues []Venue, prices func(exchange string) *service.Prices, b Budget) {
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		memoryCollector{}, poolCollector{db}, venueCollector{venues, prices}, &queueCollector{db: db}, &scorecardCollector{db: db, markets: markets(venues)},
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "tidemark_build_info",
			Help:        "Constant 1; the version is in the label.",
			ConstLabels: prometheus.Labels{"version": BuildVersion()},
		}, func() float64 { return 1 }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tidemark_memory_budget_bytes",
			Help: "Memory this process may use, from MEMORY_BUDGET or its cgroup; 0 for no limit.",
		}, func() float64 { return float64(b.Total) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tidemark_storage_full",
			Help: "1 while the disk of the database is full and nothing can be stored; otherwise 0.",
		}, func() float64 {
			if db.Full().IsZero() {
				return 0
			}
			return 1
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "tidemark_stored_analyses_unreadable_total",
			Help: "Pairs and intervals with an unreadable stored analysis: each is counted once until it is analysed again.",
		}, func() float64 { return float64(db.Unreadable()) }),
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

// memoryCollector reads the memory use from the operating system at every scrape. The RSS
// is process_resident_memory_bytes.
type memoryCollector struct{}

var (
	peakDesc = describe("tidemark_process_peak_resident_memory_bytes",
		"Maximum resident set size since the process started (VmHWM).")
	filesDesc = describe("tidemark_process_file_memory_bytes",
		"Part of the resident set size that maps files, mostly the program's code, which the kernel can reclaim.")
	workingSetDesc = describe("tidemark_cgroup_working_set_bytes",
		"Memory of the cgroup without its inactive page cache, as in docker stats; 0 outside a cgroup.")
	limitDesc = describe("tidemark_cgroup_memory_limit_bytes",
		"Memory limit of the cgroup; 0 for none.")
)

func (memoryCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- peakDesc
	ch <- filesDesc
	ch <- workingSetDesc
	ch <- limitDesc
}

func (memoryCollector) Collect(ch chan<- prometheus.Metric) {
	m := memory.Read()
	gauge(ch, peakDesc, float64(m.PeakRSS))
	gauge(ch, filesDesc, float64(m.Files))
	gauge(ch, workingSetDesc, float64(m.WorkingSet))
	gauge(ch, limitDesc, float64(m.Limit))
}

// venueCollector collects the state of the clients of the exchanges.
type venueCollector struct {
	venues []Venue
	prices func(exchange string) *service.Prices // nil for an exchange of which none are read
}

var (
	weightDesc = describe("tidemark_exchange_used_weight",
		"Requests by weight that count against a budget of the exchange now.", "exchange", "budget")
	weightLimitDesc = describe("tidemark_exchange_weight_limit",
		"Requests by weight that a budget of the exchange allows in its period.", "exchange", "budget")
	pausedDesc = describe("tidemark_exchange_paused_until_timestamp_seconds",
		"End of the pause after a rate limit or a ban, in Unix time; 0 without a pause.", "exchange")
	skewDesc = describe("tidemark_exchange_clock_skew_seconds",
		"Clock of this machine less that of the exchange, as far as it is known.", "exchange")
	pairsDesc = describe("tidemark_exchange_pairs",
		"Pairs in the list of the exchange that was read last.", "exchange")
	pricesDesc = describe("tidemark_prices_pairs",
		"Pairs with a last price, for the distances and roles between closes; 0 while those read last are out of date.", "exchange")
	pricesReadDesc = describe("tidemark_prices_read_timestamp_seconds",
		"Unix time at which the last prices of the pairs were read; 0 before the first time. Only of processes that read them.", "exchange")
	successDesc = describe("tidemark_exchange_last_success_timestamp_seconds",
		"Unix time of the last successful request to the exchange; 0 before the first.", "exchange")
)

func (venueCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{weightDesc, weightLimitDesc, pausedDesc, skewDesc, pairsDesc, successDesc, pricesDesc, pricesReadDesc} {
		ch <- d
	}
}

// unix returns a time in seconds; 0 for the zero time.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func (c venueCollector) Collect(ch chan<- prometheus.Metric) {
	for _, v := range c.venues {
		s := v.Status()
		for _, b := range s.Budgets {
			gauge(ch, weightDesc, float64(b.Used), v.Name, b.Name)
			gauge(ch, weightLimitDesc, float64(b.Limit), v.Name, b.Name)
		}
		paused := 0.0
		if s.PausedUntil.After(time.Now()) {
			paused = unix(s.PausedUntil)
		}
		gauge(ch, pausedDesc, paused, v.Name)
		gauge(ch, pairsDesc, float64(s.Pairs), v.Name)
		gauge(ch, successDesc, unix(s.LastSuccess), v.Name)
		if p := c.prices(v.Name); p != nil {
			pairs := 0
			if time.Now().Before(p.Until()) {
				pairs = p.Pairs()
			}
			gauge(ch, pricesDesc, float64(pairs), v.Name)
			gauge(ch, pricesReadDesc, unix(p.At), v.Name)
		}
		if s.Skew != nil {
			gauge(ch, skewDesc, s.Skew.Seconds(), v.Name)
		}
	}
}

// liveCollector collects the state of the feeds, by exchange.
type liveCollector lives

var (
	seriesDesc = describe("tidemark_live_series",
		"Pairs times intervals that this process keeps live.", "exchange")
	polledDesc = describe("tidemark_live_polled_series",
		"Live series that are not pushed: the exchange is asked after each close.", "exchange")
	mergedDesc = describe("tidemark_live_merged_series",
		"Live series whose candles are put together from those of a shorter interval.", "exchange")
	unkeptDesc = describe("tidemark_live_unkept_series",
		"Series that no process keeps live, because the limits of the exchange or the memory do not allow it.", "exchange")
	liveWaitingDesc = describe("tidemark_live_waiting",
		"Live series with a candle that is not analysed yet.", "exchange")
	feedConnectionsDesc = describe("tidemark_feed_connections",
		"Open connections to the feed of an exchange.", "exchange")
	feedSubscriptionsDesc = describe("tidemark_feed_subscriptions",
		"Series asked for on the connections to the feed of an exchange.", "exchange")
	feedFramesDesc = describe("tidemark_feed_frames_total",
		"Messages received from the feed of an exchange.", "exchange")
	feedLastDesc = describe("tidemark_feed_last_frame_timestamp_seconds",
		"Unix time of the last message from the feed of an exchange; 0 before the first.", "exchange")
	feedReconnectsDesc = describe("tidemark_feed_reconnects_total",
		"Connections to the feed of an exchange that were opened again, by reason.", "exchange", "reason")
)

func (liveCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{seriesDesc, polledDesc, mergedDesc, unkeptDesc, liveWaitingDesc, feedConnectionsDesc, feedSubscriptionsDesc, feedFramesDesc, feedLastDesc, feedReconnectsDesc} {
		ch <- d
	}
}

func (c liveCollector) Collect(ch chan<- prometheus.Metric) {
	for exchange, k := range c {
		s := k.status()
		gauge(ch, seriesDesc, float64(s.Series), exchange)
		gauge(ch, polledDesc, float64(s.Polled), exchange)
		gauge(ch, mergedDesc, float64(s.Merged), exchange)
		gauge(ch, unkeptDesc, float64(s.Unkept), exchange)
		gauge(ch, liveWaitingDesc, float64(s.Waiting), exchange)
		if k.feed == nil {
			continue
		}
		gauge(ch, feedConnectionsDesc, float64(s.Connections), exchange)
		gauge(ch, feedSubscriptionsDesc, float64(s.Subscriptions), exchange)
		counter(ch, feedFramesDesc, float64(s.Frames), exchange)
		gauge(ch, feedLastDesc, unix(s.LastFrame), exchange)
		for reason, n := range s.Reconnects {
			counter(ch, feedReconnectsDesc, float64(n), exchange, reason)
		}
	}
}

// poolCollector collects the database connections, by pool.
type poolCollector struct{ db *repository.DB }

var (
	openDesc     = describe("tidemark_db_connections_open", "Open database connections.", "pool")
	inUseDesc    = describe("tidemark_db_connections_in_use", "Database connections in use.", "pool")
	maxOpenDesc  = describe("tidemark_db_connections_max", "Maximum number of database connections.", "pool")
	waitDesc     = describe("tidemark_db_waits_total", "Number of waits for a connection.", "pool")
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

// queueCollector collects the state of the queue in the database, at most once in every
// queueFor. The numbers are of all processes.
type queueCollector struct {
	db *repository.DB

	mu    sync.Mutex
	read  time.Time
	stats repository.QueueStats
	err   error
}

const queueFor = 5 * time.Second

var (
	piecesDesc = describe("tidemark_queue_pieces",
		"Plans and batches of jobs in the queue, by state: waiting, running, or delayed after an error or a ban. All processes of a database report the same value.", "state")
	oldestDesc = describe("tidemark_queue_oldest_waiting_seconds",
		"Age of the oldest waiting plan or batch; 0 if none is waiting. All processes of a database report the same value.")
	retriesDesc = describe("tidemark_queue_retries_total",
		"Errors of this process after which a plan or batch was returned to the queue for a retry.")
	rescuedDesc = describe("tidemark_queue_rescued_total",
		"Plans and batches this process returned to the queue: those of dead processes, and its own whose end could not be stored.")
)

func (*queueCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{piecesDesc, oldestDesc, retriesDesc, rescuedDesc} {
		ch <- d
	}
}

func (c *queueCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.read) >= queueFor {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		c.stats, c.err = c.db.QueueStats(ctx)
		c.read = time.Now()
	}
	counter(ch, retriesDesc, float64(c.stats.Retries))
	counter(ch, rescuedDesc, float64(c.stats.Rescued))
	if c.err != nil {
		return // unknown values are omitted
	}
	gauge(ch, piecesDesc, float64(c.stats.Waiting), "waiting")
	gauge(ch, piecesDesc, float64(c.stats.Running), "running")
	gauge(ch, piecesDesc, float64(c.stats.Delayed), "delayed")
	gauge(ch, oldestDesc, c.stats.Oldest.Seconds())
}

// scorecardCollector collects the scorecards of the odds of this version, in the markets of
// this process. The numbers are of all processes. Those of other versions and markets are
// only in GET /calibration.
type scorecardCollector struct {
	db      *repository.DB
	markets func() []service.Market

	mu    sync.Mutex
	read  time.Time
	cards []marketCards
	err   error
}

// marketCards are the scorecards of one market.
type marketCards struct {
	exchange string
	cards    map[levels.Interval]scorecard.Card
	open     map[levels.Interval]int
}

// markets returns a function that returns the markets of the exchanges.
func markets(venues []Venue) func() []service.Market {
	return func() []service.Market {
		all := make([]service.Market, len(venues))
		for i, v := range venues {
			all[i] = v.Market()
		}
		return all
	}
}

// scorecardFor is how long the scorecards are cached: they change when candles close.
const scorecardFor = time.Minute

var (
	outcomesDesc = describe("tidemark_scorecard_outcomes_total",
		"Outcomes of levels with odds, judged a horizon later: for touch odds all levels, for hold odds those that held or broke. All metrics of the scorecard are of the odds of this version; all processes of a database report the same values.", "exchange", "interval", "kind")
	realisedDesc = describe("tidemark_scorecard_realised_total",
		"Positive outcomes: levels that were touched, or held.", "exchange", "interval", "kind")
	promisedDesc = describe("tidemark_scorecard_promised_total",
		"Sum of the odds of the outcomes: the expected number of positive outcomes.", "exchange", "interval", "kind")
	missedDesc = describe("tidemark_scorecard_squared_error_total",
		"Sum of the squared differences between odds and outcomes, 1 or 0; divided by the number of outcomes it is the Brier score.", "exchange", "interval", "kind")
	momentsDesc = describe("tidemark_scorecard_promises_total",
		"Analyses whose horizon has passed: judged, or skipped because candles are missing.", "exchange", "interval", "outcome")
	openPromisesDesc = describe("tidemark_scorecard_open_promises",
		"Analyses that will be judged once their horizon has passed.", "exchange", "interval")
)

func (*scorecardCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{outcomesDesc, realisedDesc, promisedDesc, missedDesc, momentsDesc, openPromisesDesc} {
		ch <- d
	}
}

func (c *scorecardCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.read) >= scorecardFor {
		c.refresh()
	}
	if c.err != nil {
		return // unknown values are omitted
	}
	for _, of := range c.cards {
		of.collect(ch)
	}
}

func (m marketCards) collect(ch chan<- prometheus.Metric) {
	for _, fit := range levels.Odds().Fits {
		interval := string(fit.Interval)
		card := m.cards[fit.Interval] // the zero card before the first judgement
		for _, part := range [...]struct {
			kind string
			of   scorecard.Score
		}{{"touch", card.Touch.Total()}, {"hold", card.Hold.Total()}} {
			counter(ch, outcomesDesc, float64(part.of.Samples), m.exchange, interval, part.kind)
			counter(ch, realisedDesc, float64(part.of.Realised), m.exchange, interval, part.kind)
			counter(ch, promisedDesc, part.of.Promised, m.exchange, interval, part.kind)
			counter(ch, missedDesc, part.of.SquaredError, m.exchange, interval, part.kind)
		}
		counter(ch, momentsDesc, float64(card.Moments), m.exchange, interval, "judged")
		counter(ch, momentsDesc, float64(card.Skipped), m.exchange, interval, "skipped")
		gauge(ch, openPromisesDesc, float64(m.open[fit.Interval]), m.exchange, interval)
	}
}

// refresh reads the scorecards. It is called with c.mu held.
func (c *scorecardCollector) refresh() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	c.cards, c.err, c.read = nil, nil, time.Now()
	for _, market := range c.markets() {
		cards, open, err := c.db.Scorecards(ctx, market.Exchange)
		if err != nil {
			c.err = err
			return
		}
		of := marketCards{market.Exchange, map[levels.Interval]scorecard.Card{}, map[levels.Interval]int{}}
		for _, card := range cards {
			if card.Current(market.Simulated) {
				of.cards[card.Interval] = card
			}
		}
		for _, o := range open {
			of.open[o.Interval] = o.Count
		}
		c.cards = append(c.cards, of)
	}
}

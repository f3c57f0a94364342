package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"tidemark/exchange/simulated"
	"tidemark/repository"
	"tidemark/service"
	"tidemark/wire"
)

// The part "ring": how soon after a price has come to a level a webhook arrives, how many
// messages a close with many events makes, and how long receivers that hang delay another.
const (
	partRing      = "ring"
	ringLevels    = 500
	ringReceivers = 3
	ringDead      = 200
)

// ringSecret signs the messages to the receivers of the benchmark.
const ringSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

type ringResult struct {
	Database string  `json:"database"`
	Series   int     `json:"series"`
	Events   int     `json:"events_between_closes"`
	P50      float64 `json:"p50_seconds"` // from the push of the price to the webhook's arrival
	P99      float64 `json:"p99_seconds"`
	Most     float64 `json:"most_seconds"`

	Closes   int     `json:"closes"`   // with messages
	Messages int     `json:"messages"` // about them
	CloseP99 float64 `json:"close_p99_seconds"`

	Broken      int     `json:"levels_at_one_close"`
	PerReceiver float64 `json:"messages_for_each_receiver"`

	Dead     int     `json:"receivers_that_hang"`
	Alone    float64 `json:"alone_seconds"`         // from the event to the webhook's arrival, without dead ones; the longest
	AtOnce   float64 `json:"hang_at_once_seconds"`  // while those that have answered so far hang
	KnownBad float64 `json:"known_to_hang_seconds"` // afterwards
	PeakRSS  int64   `json:"peak_rss_bytes"`
}

// arrival is a message that a receiver of the benchmark got.
type arrival struct {
	to    string // the path
	at    time.Time
	Type  string
	Data  json.RawMessage
	count int // of its events
}

// ring is a service with rules, and its receivers.
type ring struct {
	*Process
	address  string // of the database
	mu       sync.Mutex
	arrived  []arrival
	hanging  bool // those whose path begins with /dead
	released chan struct{}
}

// ring starts the receivers, and a service that sends to them what rules say. more are flags.
func (b *Bencher) ring(ctx context.Context, market *Process, db, rules string, names []string, more ...string) (*ring, func(), error) {
	r := &ring{released: make(chan struct{})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	hooks := &http.Server{Handler: r}
	go hooks.Serve(l)
	end := func() {
		close(r.released)
		hooks.Close()
		if r.Process != nil {
			r.End()
		}
	}
	var receivers []string
	for _, name := range names {
		receivers = append(receivers, fmt.Sprintf(`{"name":%q,"kind":"webhook","per_minute":600,"config":{"url":"http://%s/%s","secret":%q}}`, name, l.Addr(), name, ringSecret))
	}
	path := filepath.Join(b.Dir, "rules.json")
	if err := os.WriteFile(path, fmt.Appendf(nil, `{"receivers":[%s],"rules":[%s]}`, strings.Join(receivers, ","), rules), 0o600); err != nil {
		end()
		return nil, nil, err
	}
	if r.address, err = b.database(ctx, db); err == nil {
		r.Process, err = b.startWith(ctx, []string{"SECRETS_KEY=" + strings.Repeat("ab", 32), "RECEIVERS_ALLOW=private", "RULES_FILE=" + path},
			append([]string{"serve", "--http-addr", "127.0.0.1:0", "--http-rate-limit", "0", "--log-format", "json", "--exchange", "simulated", "--exchange-base-url", market.Base,
				"--database-url", r.address, "--analysis-kline-limit", fmt.Sprint(b.Klines), "--analysis-concurrency", "10", "--analysis-batch-size", "50", "--exchange-weight-share", "1"}, more...)...)
	}
	if err != nil {
		end()
		return nil, nil, err
	}
	return r, end, nil
}

func (r *ring) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	a := arrival{to: q.URL.Path, at: time.Now()}
	body, err := io.ReadAll(q.Body)
	if err == nil {
		err = json.Unmarshal(body, &a)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	group := struct{ Count int }{1}
	_ = json.Unmarshal(a.Data, &group) // an event has no count
	a.count = group.Count
	r.mu.Lock()
	r.arrived = append(r.arrived, a)
	hanging := r.hanging && strings.HasPrefix(a.to, "/dead")
	r.mu.Unlock()
	if hanging {
		select {
		case <-r.released:
		case <-q.Context().Done():
		}
	}
}

// to returns what has arrived at the receivers whose names begin with prefix.
func (r *ring) to(prefix string) (all []arrival) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.arrived {
		if strings.HasPrefix(a.to, "/"+prefix) {
			all = append(all, a)
		}
	}
	return all
}

// until waits until the receivers whose names begin with prefix have got n messages.
func (r *ring) until(ctx context.Context, prefix string, n int) ([]arrival, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		all := r.to(prefix)
		if len(all) >= n {
			return all, nil
		}
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return nil, fmt.Errorf("%d of %d messages arrived at %s: %w", len(all), n, prefix, err)
		}
	}
}

// ringPart measures the part.
func (b *Bencher) ringPart(ctx context.Context, report *benchReport, db string) error {
	r := ringResult{Database: db, Broken: ringLevels, Dead: ringDead}
	for _, step := range []func(context.Context, string, *ringResult) error{b.ringPrices, b.ringClose, b.ringHangs} {
		if err := step(ctx, db, &r); err != nil {
			return err
		}
	}
	report.Ring = append(report.Ring, r)
	return nil
}

// pushed is a price that the market has pushed.
type pushed struct {
	price float64
	at    time.Time
}

// ringPrices keeps pairs live for some closes, and measures each message about a price
// between two closes from the push of that price.
func (b *Bencher) ringPrices(ctx context.Context, db string, result *ringResult) error {
	b.say("%s messages of %d live pairs over %d closes", db, livePairs, b.Closes)
	var mu sync.Mutex
	prices := map[string][]pushed{} // by pair
	_, market, end, err := push(simulated.Options{Pairs: livePairs, Latency: b.Latency, OnPushed: func(symbol string, price float64) {
		mu.Lock()
		defer mu.Unlock()
		prices[symbol] = append(prices[symbol], pushed{price, time.Now()})
	}})
	if err != nil {
		return err
	}
	defer end()
	r, end, err := b.ring(ctx, market, db, `{"name":"all","receivers":["live"],"min_edge":0}`, []string{"live"},
		"--analysis-live=true", "--analysis-interval", "1m", "--prices-every", "0s")
	if err != nil {
		return err
	}
	defer end()
	if result.Series, err = waitLive(ctx, r.Process); err != nil {
		return err
	}
	begun := time.Now()
	last := begun.Truncate(time.Minute).Add(time.Duration(b.Closes) * time.Minute)
	if err := pause(ctx, time.Until(last.Add(7*time.Second))); err != nil {
		return err
	}
	var took, closes []float64
	seen := map[time.Time]bool{}
	for _, a := range r.to("live") {
		if a.at.Before(begun) {
			continue
		}
		var e wire.Event
		var group struct{ To time.Time }
		if a.Type == "level.events" || json.Unmarshal(a.Data, &e) == nil && e.Candle != nil {
			if err := json.Unmarshal(a.Data, &group); err != nil {
				return err
			}
			close := group.To
			if e.Candle != nil {
				close = e.OccurredAt
			}
			seen[close] = true
			closes = append(closes, a.at.Sub(close).Seconds())
			continue
		}
		mu.Lock()
		for _, p := range slices.Backward(prices[e.Symbol]) {
			if p.price == e.Price && p.at.Before(a.at) {
				took = append(took, a.at.Sub(p.at).Seconds())
				break
			}
		}
		mu.Unlock()
		result.Events++
	}
	if len(took) == 0 || len(took) < result.Events {
		return fmt.Errorf("of %d messages about prices, %d are about prices that were pushed", result.Events, len(took))
	}
	slices.Sort(took)
	slices.Sort(closes)
	result.P50, result.P99, result.Most = took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
	result.Closes, result.Messages = len(seen), len(closes)
	if len(closes) > 0 {
		result.CloseP99 = closes[len(closes)*99/100]
	}
	m, err := metrics(ctx, r.Process)
	result.PeakRSS = int64(m.sum("tidemark_process_peak_resident_memory_bytes"))
	return err
}

// ringStoring starts a ring with a market of its own and returns a function that stores
// events as a process that analyses does.
func (b *Bencher) ringStoring(ctx context.Context, db, rules string, names []string) (r *ring, store func(events ...wire.Event) error, end func(), err error) {
	_, market, endMarket, err := push(simulated.Options{Pairs: 5})
	if err != nil {
		return nil, nil, nil, err
	}
	r, endRing, err := b.ring(ctx, market, db, rules, names)
	if err != nil {
		endMarket()
		return nil, nil, nil, err
	}
	to, err := repository.Open(ctx, repository.Config{URL: r.address, PoolSize: 2, History: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		endRing()
		endMarket()
		return nil, nil, nil, err
	}
	return r, func(events ...wire.Event) error {
		var w service.Watch
		for _, e := range events {
			w.Key = service.Key{Exchange: "simulated", Symbol: e.Symbol, Interval: "1h"}
			w.AsOf = e.AsOf
			body, err := json.Marshal(e)
			if err != nil {
				return err
			}
			w.Events = append(w.Events, service.Event{ID: e.ID, Key: w.Key, Kind: e.Kind, Edge: e.Level.Edge, At: e.OccurredAt, Body: body})
		}
		return to.Put(ctx, service.Results{Watches: []service.Watch{w}})
	}, func() { to.Close(); endRing(); endMarket() }, nil
}

// ringEvent is an event of level n, which a candle decided if closed is set.
func ringEvent(symbol, kind string, n int, closed bool) wire.Event {
	now := time.Now().UTC()
	e := wire.Event{
		ID: fmt.Sprintf("%s-%s-%d-%d", symbol, kind, n, now.UnixNano()), Kind: kind, Exchange: "simulated", Symbol: symbol, Interval: "1h", Simulated: true,
		OccurredAt: now, EmittedAt: now, AsOf: now, Price: 100, ATR: 1, Begun: now,
		Level: wire.EventLevel{ID: fmt.Sprintf("%016x", n+1), Role: "support", Price: 100, Low: 99, High: 101, Edge: 5, State: "intact"},
	}
	if closed {
		e.OccurredAt = now.Truncate(time.Hour)
		e.AsOf = e.OccurredAt
		e.Candle = &wire.EventCandle{OpenTime: e.OccurredAt.Add(-time.Hour), Open: 1, High: 1, Low: 1, Close: 1}
	}
	return e
}

// ringClose counts the messages about a close at which many levels broke, and others
// appeared and were touched.
func (b *Bencher) ringClose(ctx context.Context, db string, result *ringResult) error {
	b.say("%s %d levels broken at one close", db, ringLevels)
	r, store, end, err := b.ringStoring(ctx, db, `{"name":"all","receivers":["live0","live1","live2"],"min_edge":0}`, []string{"live0", "live1", "live2"})
	if err != nil {
		return err
	}
	defer end()
	for n := range ringLevels { // in as many transactions, as the batches of a close
		events := []wire.Event{ringEvent(fmt.Sprintf("P%dUSDT", n%100), "broke", n, true)}
		if n%5 == 0 {
			events = append(events, ringEvent(events[0].Symbol, "touched", 1000+n, true), ringEvent(events[0].Symbol, "appeared", 2000+n, true))
		}
		if err := store(events...); err != nil {
			return err
		}
	}
	if _, err := r.until(ctx, "live", ringReceivers); err != nil {
		return err
	}
	if err := pause(ctx, 5*time.Second); err != nil { // for any more
		return err
	}
	all, events := r.to("live"), 0
	for _, a := range all {
		events += a.count
	}
	if want := ringReceivers * (ringLevels + 2*(ringLevels/5)); events != want {
		return fmt.Errorf("the messages are about %d events, not %d", events, want)
	}
	result.PerReceiver = float64(len(all)) / ringReceivers
	return nil
}

// ringHangs measures how long an event takes to a receiver while many others hang.
func (b *Bencher) ringHangs(ctx context.Context, db string, result *ringResult) error {
	b.say("%s %d receivers that hang", db, ringDead)
	names, dead := []string{"live"}, []string(nil)
	for n := range ringDead {
		names = append(names, fmt.Sprintf("dead%d", n))
		dead = append(dead, fmt.Sprintf(`"dead%d"`, n))
	}
	rules := `{"name":"live","receivers":["live"],"pairs":["ETHUSDT"]},{"name":"dead","receivers":[` + strings.Join(dead, ",") + `],"pairs":["BTCUSDT"]}`
	r, store, end, err := b.ringStoring(ctx, db, rules, names)
	if err != nil {
		return err
	}
	defer end()
	if err := store(ringEvent("BTCUSDT", "broke", 0, false)); err != nil { // which all accept
		return err
	}
	if _, err := r.until(ctx, "dead", ringDead); err != nil {
		return err
	}
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	n := 0
	// longest returns the longest time of some events, after one for the dead receivers.
	longest := func(hang bool) (most float64, err error) {
		before := len(r.to("dead"))
		if hang {
			if err := store(ringEvent("BTCUSDT", "broke", 1000+n, false)); err != nil {
				return 0, err
			}
			if _, err := r.until(ctx, "dead", before+1); err != nil {
				return 0, err
			}
		}
		for range 20 {
			n++
			stored := time.Now()
			if err := store(ringEvent("ETHUSDT", "broke", n, false)); err != nil {
				return 0, err
			}
			all, err := r.until(ctx, "live", n)
			if err != nil {
				return 0, err
			}
			most = max(most, all[n-1].at.Sub(stored).Seconds())
		}
		return most, nil
	}
	if result.Alone, err = longest(false); err != nil {
		return err
	}
	r.mu.Lock()
	r.hanging = true
	r.mu.Unlock()
	if result.AtOnce, err = longest(true); err != nil {
		return err
	}
	if err := pause(ctx, 10*time.Second); err != nil {
		return err
	}
	result.KnownBad, err = longest(true)
	return err
}

// What the tests of this package share: an API on the real service.Analyzer with
// a hand-written exchange and store, and a way to send it requests that holds
// every response against openapi.yaml.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"math"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.uber.org/goleak"

	"tidemark/job"
	"tidemark/levels"
	"tidemark/scorecard"
	"tidemark/service"
)

func TestMain(m *testing.M) {
	for _, media := range []string{"text/html", "text/css", "text/javascript", "image/svg+xml", "image/png", "text/event-stream", "text/csv", "application/x-ndjson", "text/plain"} {
		openapi3filter.RegisterBodyDecoder(media, func(r io.Reader, _ http.Header, _ *openapi3.SchemaRef, _ openapi3filter.EncodingFn) (any, error) {
			b, err := io.ReadAll(r)
			return string(b), err
		})
	}
	// a server keeps a connection it hung up on for half a second
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// fakeExchange lists pairs and makes candles up. Its candles end at the last
// close before now.
type fakeExchange struct {
	CandlesFunc func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error
	FormingFunc func(ctx context.Context) (*service.Forming, error)
	SymbolsFunc func(yield func(service.Symbol, error) bool)
	market      service.Market
	list        []service.Symbol // its pairs; nil: some of Binance
	listAge     time.Duration    // of the list of pairs
}

func (x *fakeExchange) Market() service.Market { return x.market }

func (x *fakeExchange) pairs() []service.Symbol {
	if x.list != nil {
		return x.list
	}
	list := []service.Symbol{
		{Name: "BTCUSDT", Base: "BTC", Quote: "USDT", Tick: service.Tick{Units: 1, Decimals: 2}, QuoteVolume: 1.5e9},
		{Name: "ETHUSDT", Base: "ETH", Quote: "USDT", Tick: service.Tick{Units: 1, Decimals: 2}, QuoteVolume: 9e8},
		{Name: "PEPEUSDT", Base: "PEPE", Quote: "USDT", Tick: service.Tick{Units: 1, Decimals: 8}, QuoteVolume: 1e8},
		{Name: "YOUNGUSDT", Base: "YOUNG", Quote: "USDT", Tick: service.Tick{Units: 5, Decimals: 4}, QuoteVolume: 1e4},
		{Name: "USDCUSDT", Base: "USDC", Quote: "USDT", Tick: service.Tick{Units: 1, Decimals: 4}, QuoteVolume: 1e9},
		{Name: "ETHBTC", Base: "ETH", Quote: "BTC", QuoteVolume: 900},
		{Name: "OLDUSDT", Base: "OLD", Quote: "USDT", Status: "BREAK"},
	}
	for i := range list {
		if list[i].Status == "" {
			list[i].Status, list[i].Trading = "TRADING", true
		}
	}
	return list
}

func (x *fakeExchange) Symbols(context.Context) iter.Seq2[service.Symbol, error] {
	if x.SymbolsFunc != nil {
		return x.SymbolsFunc
	}
	return func(yield func(service.Symbol, error) bool) {
		for _, s := range x.pairs() {
			if !yield(s, nil) {
				return
			}
		}
	}
}

func (x *fakeExchange) LastSymbols(ctx context.Context) (iter.Seq2[service.Symbol, error], time.Time, error) {
	return x.Symbols(ctx), time.Now().Add(-x.listAge), nil
}

func (x *fakeExchange) Symbol(_ context.Context, name string) (service.Symbol, error) {
	for _, s := range x.pairs() {
		if s.Name == name && s.Trading {
			return s, nil
		}
	}
	return service.Symbol{}, fmt.Errorf("%w: %s", service.ErrUnknownSymbol, name)
}

func (x *fakeExchange) History(levels.Interval) int { return 0 }

func (x *fakeExchange) Visit(string, levels.Interval, int) service.Visit { return fakeVisit{x} }

// fakeVisit never waits.
type fakeVisit struct{ *fakeExchange }

func (fakeVisit) Wait(ctx context.Context) error { return ctx.Err() }
func (fakeVisit) Close()                         {}

func (x *fakeExchange) Candles(ctx context.Context, symbol string, from int64, dst *levels.Candles, _ []byte) error {
	if x.CandlesFunc != nil {
		return x.CandlesFunc(ctx, symbol, from, dst)
	}
	if _, err := x.Symbol(ctx, symbol); err != nil {
		return err
	}
	step := dst.Interval.Milliseconds()
	last := time.Now().UnixMilli()/step*step - step
	first := (from + step - 1) / step * step
	if symbol == "YOUNGUSDT" {
		first = last - 9*step
	}
	scale := 50000.0
	if symbol == "PEPEUSDT" {
		scale = 0.00001
	}
	for t := first; t <= last; t += step {
		if err := dst.Append(waves(t, step, scale)); err != nil {
			return err
		}
	}
	return nil
}

// waves is a candle of a market that swings, a function of its open time alone.
func waves(t, step int64, scale float64) levels.Candle {
	price := func(i int64) float64 {
		x := float64(i)
		return scale * (1 + 0.05*math.Sin(x/17) + 0.03*math.Sin(x/5.3) + 0.01*math.Sin(x*1.7))
	}
	i := t / step
	open, cls := price(i), price(i+1)
	return levels.Candle{OpenTime: t, Open: open, Close: cls,
		High: max(open, cls) * 1.002, Low: min(open, cls) * 0.998, Volume: 100 + 50*math.Sin(float64(i)/3)}
}

func (x *fakeExchange) Forming(ctx context.Context, symbol string, interval levels.Interval) (*service.Forming, error) {
	if x.FormingFunc != nil {
		return x.FormingFunc(ctx)
	}
	if _, err := x.Symbol(ctx, symbol); err != nil {
		return nil, err
	}
	now, step := time.Now(), interval.Milliseconds()
	return &service.Forming{Candle: waves(now.UnixMilli()/step*step, step, 50000), At: now}, nil
}

func (x *fakeExchange) Now(context.Context) (time.Time, error) { return time.Now(), nil }

func (s *fakeStore) FindPairs(_ context.Context, exchange string, as service.Spelling) (found []service.KnownPair, err error) {
	for _, p := range s.pairs {
		if exchange == "" || p.Exchange == exchange {
			found = append(found, p)
		}
	}
	return found, s.err
}

func (s *fakeStore) HasPairs(_ context.Context, exchange string) (bool, error) {
	return slices.ContainsFunc(s.pairs, func(p service.KnownPair) bool { return p.Exchange == exchange }), s.err
}

func (s *fakeStore) ActivePairs(context.Context, string) (map[string]bool, error) { return nil, nil }

func (s *fakeStore) PutPairs(context.Context, string, []service.Symbol, []string, time.Time) error {
	return nil
}

// fakeStore keeps everything in memory.
type fakeStore struct {
	pairs        []service.KnownPair
	SnapshotFunc func(service.Key, time.Time) (service.Snapshot, error)
	PingFunc     func(context.Context) error
	CandlesFunc  func(key service.Key, from int64, dst *levels.Candles) (service.Kept, error)
	err          error // of every call, if set

	mu    sync.Mutex
	snaps map[service.Key][]service.Snapshot
	jobs  map[string]job.Job
	works map[string]string // what an open job does, by its id
	order []string

	schedules []job.ScheduleState
	cards     []scorecard.Card
	record    []scorecard.Cell
	open      []scorecard.Open
	reports   int // calls of Job

	events []happening
	reads  int // calls of Events

	runner *job.Runner           // does the work of jobs
	stored func(service.Results) // called by Put, as a subscriber is
}

func (s *fakeStore) Put(ctx context.Context, r service.Results) error {
	_, err := s.PutBatch(ctx, job.Batch{Results: r})
	return err
}

func (s *fakeStore) PutBatch(_ context.Context, b job.Batch) (ended bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, snap := range b.Snapshots {
		s.snaps[snap.Key] = append(s.snaps[snap.Key], snap)
	}
	if j, ok := s.jobs[b.JobID]; ok {
		j.Done += b.Done
		j.Failed += len(b.Failures)
		j.Failures = append(slices.Clip(j.Failures), b.Failures...)
		j.BatchesDone++
		if b.Result != nil {
			j.Result = b.Result
		}
		if ended = j.State == job.Running && j.BatchesDone == j.Batches; ended {
			j.State, j.FinishedAt = job.Completed, time.Now()
		}
		s.jobs[b.JobID] = j
	}
	if s.stored != nil {
		s.stored(b.Results)
	}
	return ended, s.err
}

func (s *fakeStore) Series(_ context.Context, exchange string, interval levels.Interval) (all []service.Series, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, snaps := range s.snaps {
		if key.Exchange == exchange && key.Interval == interval {
			all = append(all, service.Series{Key: key, AsOf: snaps[0].AsOf})
		}
	}
	return all, s.err
}

func (s *fakeStore) Watched(ctx context.Context, key service.Key) (service.Snapshot, []byte, error) {
	snap, err := s.Snapshot(ctx, key, time.Time{})
	return snap, nil, err
}

func (s *fakeStore) Snapshot(_ context.Context, key service.Key, at time.Time) (service.Snapshot, error) {
	if s.SnapshotFunc != nil {
		return s.SnapshotFunc(key, at)
	}
	if s.err != nil {
		return service.Snapshot{}, s.err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *service.Snapshot
	for i, snap := range s.snaps[key] {
		if (at.IsZero() || !snap.AsOf.After(at)) && (found == nil || !snap.AsOf.Before(found.AsOf)) {
			found = &s.snaps[key][i]
		}
	}
	if found == nil {
		return service.Snapshot{}, fmt.Errorf("%w: %s %s on %s", service.ErrNotAnalyzed, key.Symbol, key.Interval, key.Exchange)
	}
	return *found, nil
}

// Candles has none, unless a test says otherwise: every kline is fetched.
func (s *fakeStore) Candles(_ context.Context, key service.Key, from int64, dst *levels.Candles, _ []byte) (service.Kept, error) {
	if s.CandlesFunc != nil {
		return s.CandlesFunc(key, from, dst)
	}
	return service.Kept{}, service.ErrNotAnalyzed
}

// DuePromise has none: the scorecard's figures are set by the test.
func (s *fakeStore) DuePromise(context.Context, service.Key, time.Time) (scorecard.Promise, bool, error) {
	return scorecard.Promise{}, false, nil
}

func (s *fakeStore) Scorecards(_ context.Context, exchange string) ([]scorecard.Card, []scorecard.Open, error) {
	if exchange != "binance" {
		return nil, nil, s.err
	}
	return s.cards, s.open, s.err
}

func (s *fakeStore) Record(_ context.Context, exchange string) ([]scorecard.Cell, error) {
	if exchange != "binance" {
		return nil, s.err
	}
	return s.record, s.err
}

func (s *fakeStore) Listed(context.Context, string) (map[string]job.PairState, error) {
	return nil, s.err
}

func (s *fakeStore) SetListed(context.Context, string, []string, []string, time.Time) error {
	return s.err
}

func (s *fakeStore) Markets(context.Context) (all []service.StoredMarket, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, of := range s.snaps {
		if i := slices.IndexFunc(all, func(m service.StoredMarket) bool { return m.Exchange == key.Exchange && m.Interval == key.Interval }); i >= 0 {
			all[i].Pairs++
		} else {
			all = append(all, service.StoredMarket{Exchange: key.Exchange, Interval: key.Interval, Pairs: 1, AsOf: of[0].AsOf})
		}
	}
	slices.SortFunc(all, func(a, b service.StoredMarket) int { return strings.Compare(a.Exchange, b.Exchange) })
	return all, s.err
}

func (s *fakeStore) Latest(_ context.Context, exchange string, interval levels.Interval) iter.Seq2[service.Snapshot, error] {
	return func(yield func(service.Snapshot, error) bool) {
		s.mu.Lock()
		keys := slices.SortedFunc(maps.Keys(s.snaps), func(a, b service.Key) int { return strings.Compare(a.Symbol, b.Symbol) })
		s.mu.Unlock()
		if s.err != nil {
			yield(service.Snapshot{}, s.err)
			return
		}
		for _, k := range keys {
			if k.Exchange != exchange || k.Interval != interval {
				continue
			}
			snap, err := s.Snapshot(context.Background(), k, time.Time{})
			if err != nil {
				snap.Key = k
			}
			if !yield(snap, err) {
				return
			}
		}
	}
}

func (s *fakeStore) PutJob(_ context.Context, j job.Job) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order = append(s.order, j.ID)
	s.jobs[j.ID] = j
	return s.err
}

// SubmitJob has the work done in goroutines; a batch that fails ends its job.
func (s *fakeStore) SubmitJob(_ context.Context, j job.Job, work string, scope job.Scope, limit int) (job.Job, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := 0
	for _, other := range s.jobs {
		if !other.State.Final() {
			open++
			if s.works[other.ID] == work {
				return other, true, s.err
			}
		}
	}
	switch {
	case s.err != nil:
		return job.Job{}, false, s.err
	case open >= limit:
		return job.Job{}, false, service.ErrBusy
	}
	s.order = append(s.order, j.ID)
	s.jobs[j.ID], s.works[j.ID] = j, work
	go s.runner.Plan(context.Background(), j.ID, scope, true)
	return j, false, nil
}

// change changes a job, if it is open.
func (s *fakeStore) change(id string, f func(j *job.Job)) (ended bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j, ok := s.jobs[id]
	if !ok || j.State.Final() {
		return false, s.err
	}
	f(&j)
	s.jobs[id] = j
	return j.State.Final(), s.err
}

func (s *fakeStore) PlanJob(_ context.Context, id string, started time.Time, p job.Plan) (bool, error) {
	return s.change(id, func(j *job.Job) {
		j.State, j.StartedAt = job.Running, started
		j.Symbols, j.Skips, j.Skipped, j.Simulated = len(p.Pairs)+len(p.Skips), p.Skips, len(p.Skips), p.Simulated
		for pairs := range slices.Chunk(p.Pairs, p.BatchSize) {
			go s.runner.RunBatch(context.Background(), id, j.Batches, pairs, true)
			j.Batches++
		}
	})
}

func (s *fakeStore) WithCandles(context.Context, string, levels.Interval, []string) (map[string]bool, error) {
	return nil, nil
}

func (s *fakeStore) BatchProgress(ctx context.Context, id string, _ int) (job.Job, bool, error) {
	j, err := s.Progress(ctx, id)
	return j, false, err
}

func (s *fakeStore) EndJob(_ context.Context, id string, state job.State, reason *job.Outcome) (bool, error) {
	return s.change(id, func(j *job.Job) { j.State, j.Error, j.FinishedAt = state, reason, time.Now() })
}

func (s *fakeStore) Progress(ctx context.Context, id string) (job.Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j, err := s.job(id)
	j.Failures, j.Skips, j.Result = nil, nil, nil
	return j, err
}

func (s *fakeStore) Job(_ context.Context, id string) (job.Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports++
	return s.job(id)
}

// job is called with s.mu held.
func (s *fakeStore) job(id string) (job.Job, error) {
	j, ok := s.jobs[id]
	if s.err != nil {
		return j, s.err
	}
	if !ok {
		return j, fmt.Errorf("%w: %s", service.ErrUnknownJob, id)
	}
	return j, nil
}

func (s *fakeStore) Schedules(_ context.Context, exchange string) ([]job.ScheduleState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.schedules), func(of job.ScheduleState) bool { return of.Exchange != exchange }), s.err
}

func (s *fakeStore) PairCounts(context.Context) (map[string]int, error) {
	counts := map[string]int{}
	for _, p := range s.pairs {
		counts[p.Exchange]++
	}
	return counts, s.err
}

func (s *fakeStore) Jobs(_ context.Context, exchange string, limit int) ([]job.Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []job.Job
	for _, id := range slices.Backward(s.order) {
		j := s.jobs[id]
		if len(list) < limit && (exchange == "" || j.Exchange == exchange) {
			j.Failures, j.Skips, j.Result = nil, nil, nil
			list = append(list, j)
		}
	}
	return list, s.err
}

// happening is a stored event.
type happening struct {
	service.Event
	seq      int64
	storedAt time.Time
}

// matching returns the stored events that q selects.
func (s *fakeStore) matching(q service.EventQuery) (all []happening) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	for _, e := range s.events {
		if e.seq > q.After && (q.Exchange == "" || q.Exchange == e.Exchange) && in(q.Intervals, string(e.Interval)) && in(q.Kinds, e.Kind) &&
			(q.Role == "" || q.Role == e.Role.String()) && e.Edge >= q.MinEdge && (len(q.Levels) == 0 || slices.Contains(q.Levels, e.Level)) &&
			(len(q.Pairs) == 0 || slices.Contains(q.Pairs, service.EventPair{Exchange: e.Exchange, Symbol: e.Symbol})) {
			all = append(all, e)
		}
	}
	return all
}

func (s *fakeStore) Events(_ context.Context, q service.EventQuery) (list []service.StoredEvent, err error) {
	all := s.matching(q)
	for _, e := range all[:min(len(all), q.Limit)] {
		list = append(list, service.StoredEvent{Seq: e.seq, Kind: e.Kind, Body: e.Body})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	return list, s.err
}

func (s *fakeStore) NewestEvents(_ context.Context, q service.EventQuery) (int64, error) {
	if all := s.matching(q); len(all) > 0 {
		return all[max(0, len(all)-q.Limit)].seq - 1, s.err
	}
	return 0, s.err
}

func (s *fakeStore) EventsSince(_ context.Context, at time.Time) (int64, error) {
	_, after, err := s.EventBounds(context.Background())
	for _, e := range slices.Backward(s.events) {
		if !e.storedAt.Before(at) {
			after = e.seq - 1
		}
	}
	return after, err
}

func (s *fakeStore) EventSeq(_ context.Context, id string) (int64, error) {
	for _, e := range s.events {
		if e.ID == id {
			return e.seq, s.err
		}
	}
	return 0, s.err
}

func (s *fakeStore) EventBounds(context.Context) (first, last int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.events) > 0 {
		first, last = s.events[0].seq, s.events[len(s.events)-1].seq
	}
	return first, last, s.err
}

func (s *fakeStore) Writable() error { return nil }

func (s *fakeStore) Ping(ctx context.Context) error {
	if s.PingFunc != nil {
		return s.PingFunc(ctx)
	}
	return s.err
}

// harness is an API and what it stands on.
type harness struct {
	t        testing.TB
	api      *API
	analyzer *service.Analyzer
	exchange *fakeExchange // the first one
	store    *fakeStore
	registry *prometheus.Registry
	log      *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start returns a harness that is stopped when the test ends.
func start(t testing.TB, change ...func(*Config, *service.Config)) *harness {
	t.Helper()
	return startOn(t, []*fakeExchange{{market: service.Market{Exchange: "simulated", Simulated: true}}}, change...)
}

// startOn is start with other exchanges.
func startOn(t testing.TB, exchanges []*fakeExchange, change ...func(*Config, *service.Config)) *harness {
	t.Helper()
	h := &harness{
		t:        t,
		exchange: exchanges[0],
		store:    &fakeStore{snaps: map[service.Key][]service.Snapshot{}, jobs: map[string]job.Job{}, works: map[string]string{}},
		registry: prometheus.NewRegistry(),
		log:      &lockedBuffer{},
	}
	log := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	sc := service.Config{
		Concurrency: 2, KlineLimit: 500, QueueLimit: 10, Interval: "1h", Timeout: 10 * time.Second,
	}
	c := Config{ // MinEdge is 0: the generated market has few levels with much edge
		Store: h.store, Registerer: h.registry, Gatherer: h.registry, OpenAPI: document(t).source,
		CacheBytes: 1 << 20, Log: log, Version: "test",
	}
	for _, f := range change {
		f(&c, &sc)
	}
	var analysed []service.Exchange
	var swept []job.Exchange
	filters := map[string]job.Filter{}
	for _, x := range exchanges {
		analysed, swept = append(analysed, x), append(swept, x)
		filters[x.market.Exchange] = job.Filter{QuoteAssets: []string{"USDT"}}
	}
	h.analyzer = service.New(sc, analysed, h.store, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	h.store.runner = job.NewRunner(job.Config{
		Concurrency: sc.Concurrency, BatchSize: sc.Concurrency, QueueLimit: sc.QueueLimit, Filters: filters,
	}, h.analyzer, swept, h.store, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	c.Analyzer, c.Jobs = h.analyzer, h.store.runner
	if c.Alerts == nil {
		c.Alerts = withoutAlerts()
	}
	h.api = New(c)
	t.Cleanup(func() {
		h.api.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		h.analyzer.Stop(ctx)
	})
	return h
}

// do sends a request and checks the response against openapi.yaml. Headers are
// pairs of name and value.
func (h *harness) do(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	h.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req := localRequest(method, target, r)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return h.send(req)
}

// localRequest is a request as a browser or a program on this machine makes it.
func localRequest(method, target string, body io.Reader) *http.Request {
	r := httptest.NewRequest(method, target, body)
	r.Host = "127.0.0.1:8080"
	return r
}

func (h *harness) get(target string, headers ...string) *httptest.ResponseRecorder {
	h.t.Helper()
	return h.do("GET", target, "", headers...)
}

func (h *harness) send(req *http.Request) *httptest.ResponseRecorder {
	h.t.Helper()
	rec := httptest.NewRecorder()
	h.api.ServeHTTP(rec, req)
	if err := conforms(document(h.t), req, rec.Code, rec.Header(), rec.Body.Bytes()); err != nil {
		h.t.Errorf("%s %s: the response does not conform to openapi.yaml: %v\nstatus %d, header %v\n%s",
			req.Method, req.URL, err, rec.Code, rec.Header(), rec.Body)
	}
	return rec
}

// contract is openapi.yaml, read.
type contract struct {
	source []byte
	doc    *openapi3.T
	router routers.Router

	mu      sync.Mutex
	schemas *jsonschema.Compiler // of the document at contractURL
	bodies  map[string]*jsonschema.Schema
}

const contractURL = "https://tidemark.example/openapi.json"

var loaded = sync.OnceValues(func() (*contract, error) {
	source, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(source)
	if err != nil {
		return nil, err
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		return nil, err
	}
	text, err := doc.MarshalJSON()
	if err != nil {
		return nil, err
	}
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	return &contract{source: source, doc: doc, router: router, schemas: compiler, bodies: map[string]*jsonschema.Schema{}},
		compiler.AddResource(contractURL, whole)
})

// schema returns the compiled schema at a pointer into the document. openapi3 compiles a
// schema for each body, which takes most of the time of a test of many responses.
func (c *contract) schema(pointer ...string) (*jsonschema.Schema, error) {
	url := contractURL + "#"
	for _, part := range pointer {
		url += "/" + strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(part)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.bodies[url]; s != nil {
		return s, nil
	}
	s, err := c.schemas.Compile(url)
	c.bodies[url] = s
	return s, err
}

// body holds a JSON body against the schema that a route has for it, and reports whether
// there is one.
func (c *contract) body(route *routers.Route, status int, contentType string, body []byte) (is bool, err error) {
	name := strconv.Itoa(status)
	response := route.Operation.Responses.Value(name)
	if response == nil {
		return false, nil
	}
	media, _, _ := mime.ParseMediaType(contentType)
	if content := response.Value.Content[media]; content == nil || content.Schema == nil || !strings.HasSuffix(media, "json") || media == "application/x-ndjson" {
		return false, nil
	}
	at := []string{"paths", route.Path, strings.ToLower(route.Method), "responses", name}
	if response.Ref != "" {
		at = strings.Split(strings.TrimPrefix(response.Ref, "#/"), "/")
	}
	schema, err := c.schema(append(at, "content", media, "schema")...)
	if err != nil {
		return true, err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return true, err
	}
	return true, schema.Validate(value)
}

func document(t testing.TB) *contract {
	t.Helper()
	c, err := loaded()
	if err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	return c
}

// conforms holds a response against the document. What is outside it (an
// unknown path, a method the path does not have) must be a problem all the same.
func conforms(c *contract, req *http.Request, status int, header http.Header, body []byte) error {
	if header.Get("X-Request-Id") == "" || header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Referrer-Policy") != "no-referrer" {
		return fmt.Errorf("a header that every response has is missing")
	}
	rpc := req.URL.Path == "/mcp" && status == 404 // an error of JSON-RPC, as that protocol wants it
	if status >= 400 && req.Method != "HEAD" && !rpc {
		if got := header.Get("Content-Type"); got != "application/problem+json" {
			return fmt.Errorf("an error of type %q", got)
		}
		var doc any
		if err := json.Unmarshal(body, &doc); err != nil {
			return err
		}
		schema, err := c.schema("components", "schemas", "Problem")
		if err != nil {
			return err
		}
		if err := schema.Validate(doc); err != nil {
			return err
		}
		if got := doc.(map[string]any)["status"]; got != float64(status) {
			return fmt.Errorf("the problem says %v", got)
		}
		if got := doc.(map[string]any)["request_id"]; got != header.Get("X-Request-Id") {
			return fmt.Errorf("the problem says request %v", got)
		}
	}
	find := req
	if req.Method == "HEAD" { // documented once, in prose
		find = req.Clone(req.Context())
		find.Method = "GET"
	}
	if path, is := pairPath(find.URL); is { // in the document the name is one segment
		find = find.Clone(find.Context())
		find.URL.Path = strings.ReplaceAll(path, "%2F", "-")
	}
	route, params, err := c.router.FindRoute(find)
	if err != nil {
		if status == 404 || status == 405 || status == 401 || status == 429 {
			return nil
		}
		return fmt.Errorf("not in the document: %w", err)
	}
	if status == 404 && len(params) > 0 && strings.Contains(strings.Join(slices.Collect(maps.Values(params)), ""), "/") {
		return nil // the document's router is laxer about slashes than ours
	}
	checked := false
	if req.Method != "HEAD" && len(body) > 0 {
		checked, err = c.body(route, status, header.Get("Content-Type"), body)
	}
	if err != nil {
		return err
	}
	return openapi3filter.ValidateResponse(req.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route},
		Status:                 status,
		Header:                 header,
		Body:                   io.NopCloser(bytes.NewReader(body)),
		Options:                &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true, ExcludeResponseBody: checked},
	})
}

// problemOf decodes a problem document.
func problemOf(t testing.TB, rec *httptest.ResponseRecorder) (p struct {
	Status int
	Code   string
	Detail string
	Errors []struct {
		Detail, Parameter string
		Pointer           *string
	}
}) {
	t.Helper()
	if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil {
		t.Fatalf("not a problem: %v: %s", err, rec.Body)
	}
	return p
}

// decode reads a JSON body.
func decode[T any](t testing.TB, rec *httptest.ResponseRecorder) (v T) {
	t.Helper()
	if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil {
		t.Fatalf("status %d, not JSON: %v: %s", rec.Code, err, rec.Body)
	}
	return v
}

// want fails the test unless the status is as it should be.
func want(t testing.TB, rec *httptest.ResponseRecorder, status int) {
	t.Helper()
	if rec.Code != status {
		t.Fatalf("status %d, want %d: %s", rec.Code, status, rec.Body)
	}
}

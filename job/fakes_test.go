package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/levels"
	"tidemark/scorecard"
	"tidemark/service"
)

// fakeExchange is a venue with replaceable functions. Without replacements every symbol
// exists and its candles are a wave.
type fakeExchange struct {
	symbols     []service.Symbol
	SymbolFunc  func(ctx context.Context, name string) (service.Symbol, error)
	CandlesFunc func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error
	SymbolsErr  error
	SymbolsFunc func(ctx context.Context) error // called before the first
	NowFunc     func() (time.Time, error)
	name        string // "fake" if empty
	simulated   bool
	settles     time.Duration

	mu           sync.Mutex
	calls        map[string]int // of Candles, by symbol
	now, maximum int            // calls of Candles under way
}

func (f *fakeExchange) Market() service.Market {
	return service.Market{Exchange: cmp.Or(f.name, "fake"), Simulated: f.simulated, Settles: f.settles}
}

func (f *fakeExchange) Symbols(ctx context.Context) iter.Seq2[service.Symbol, error] {
	return func(yield func(service.Symbol, error) bool) {
		if f.SymbolsFunc != nil {
			if err := f.SymbolsFunc(ctx); err != nil {
				yield(service.Symbol{}, err)
				return
			}
		}
		for _, s := range f.symbols {
			if !yield(s, nil) {
				return
			}
		}
		if f.SymbolsErr != nil {
			yield(service.Symbol{}, f.SymbolsErr)
		}
	}
}

func (f *fakeExchange) LastSymbols(ctx context.Context) (iter.Seq2[service.Symbol, error], time.Time, error) {
	return f.Symbols(ctx), time.Now(), nil
}

func (f *fakeExchange) Symbol(ctx context.Context, name string) (service.Symbol, error) {
	if f.SymbolFunc != nil {
		return f.SymbolFunc(ctx, name)
	}
	return service.Symbol{Name: name, Quote: "USDT", Trading: true, Tick: service.Tick{Units: 1, Decimals: 2}}, nil
}

func (f *fakeExchange) History(levels.Interval) int { return 0 }

func (f *fakeExchange) Visit(string, levels.Interval, int) service.Visit { return fakeVisit{f} }

// fakeVisit never waits.
type fakeVisit struct{ *fakeExchange }

func (fakeVisit) Wait(ctx context.Context) error { return ctx.Err() }
func (fakeVisit) Close()                         {}

func (f *fakeExchange) Candles(ctx context.Context, symbol string, from int64, dst *levels.Candles, buf []byte) error {
	f.mu.Lock()
	if f.calls == nil {
		f.calls = map[string]int{}
	}
	f.calls[symbol]++
	f.now++
	f.maximum = max(f.maximum, f.now)
	f.mu.Unlock()
	defer func() { f.mu.Lock(); f.now--; f.mu.Unlock() }()
	if len(buf) == 0 {
		return fmt.Errorf("no decode buffer was lent")
	}
	if f.CandlesFunc != nil {
		return f.CandlesFunc(ctx, symbol, from, dst)
	}
	return wave(from, dst)
}

func (f *fakeExchange) Now(context.Context) (time.Time, error) {
	if f.NowFunc != nil {
		return f.NowFunc()
	}
	return time.Now(), nil
}

func (f *fakeExchange) Forming(context.Context, string, levels.Interval) (*service.Forming, error) {
	panic("no job asks for a forming candle")
}

// underWay counts the calls of Candles under way. Each holds a slot.
func (f *fakeExchange) underWay() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// wave fills dst with a market that swings between 90 and 110, from the first
// open time at or after from to the last candle closed by now.
func wave(from int64, dst *levels.Candles) error {
	length := dst.Interval.Milliseconds()
	now := time.Now().UnixMilli()
	for open := (from + length - 1) / length * length; open+length <= now; open += length {
		p := func(t int64) float64 { return 100 + 10*math.Sin(float64(t/length)/9) }
		o, c := p(open), p(open+length)
		err := dst.Append(levels.Candle{OpenTime: open, Open: o, Close: c, High: max(o, c) + 0.5, Low: min(o, c) - 0.5, Volume: 10})
		if err != nil {
			return err
		}
	}
	return nil
}

// fakeStore stores everything in memory and records the batches. Its queue calls the
// runners registered with it, at most Workers calls at once for each, and retries a
// second after an error, three times.
type fakeStore struct {
	PutFunc      func(b Batch) error
	WritableFunc func() error
	ListedFunc   func() error // called before SetListed
	WithErr      error        // of WithCandles

	mu          sync.Mutex
	pairs       map[string]service.Symbol // of the list, by id
	listed      map[string]PairState      // pairs there is something stored about
	promises    map[service.Key]scorecard.Promise
	judged      []service.Judged // of promises that were still there
	batches     []Batch
	snapshots   map[service.Key]service.Snapshot
	jobs        map[string]Job
	open        map[string]string // id of the open job, by work
	stored      map[string]bool   // batches
	queue       []fakeWork
	limit       time.Duration              // of one call; 0: none
	analyzers   map[*Runner]map[string]int // calls under way, by exchange
	reads       int                        // calls of Candles
	schedules   []ScheduleState
	scheduleErr error // of SetSchedules
}

// fakeWork is queued work of an exchange.
type fakeWork struct {
	exchange string
	call     func(ctx context.Context, a *Runner, last bool) error
}

// work hands queued work to the runners with free workers until the queue is empty. It is
// called with f.mu held.
func (f *fakeStore) work() {
	for a, busy := range f.analyzers {
		for _, x := range a.exchanges {
			name := x.Market().Exchange
			for busy[name] < a.Workers() {
				i := slices.IndexFunc(f.queue, func(w fakeWork) bool { return w.exchange == name })
				if i < 0 {
					break
				}
				w := f.queue[i]
				f.queue = slices.Delete(f.queue, i, i+1)
				busy[name]++
				go f.call(a, w)
			}
		}
	}
}

func (f *fakeStore) call(a *Runner, w fakeWork) {
	var err error
	f.mu.Lock()
	limit := cmp.Or(f.limit, math.MaxInt64)
	f.mu.Unlock()
	for try := 1; try <= 4; try++ {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		err = w.call(ctx, a, try == 4)
		cancel()
		if err == nil || errors.Is(err, service.ErrStopping) {
			break
		}
		if ban, ok := errors.AsType[*service.RetryAfterError](err); ok && errors.Is(err, service.ErrRateLimited) {
			try--
			time.Sleep(time.Until(ban.Until))
		}
		time.Sleep(time.Second)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if busy, ok := f.analyzers[a]; ok {
		busy[w.exchange]--
	}
	if err != nil {
		f.queue = append(f.queue, w)
		delete(f.analyzers, a) // it has stopped
	}
	f.work()
}

// serves registers a with the queue.
func (f *fakeStore) serves(a *Runner) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.analyzers == nil {
		f.analyzers = map[*Runner]map[string]int{}
	}
	f.analyzers[a] = map[string]int{}
	f.work()
}

func (f *fakeStore) SubmitJob(ctx context.Context, j Job, work string, scope Scope, limit int) (Job, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.submit(j, work, scope, limit)
}

// submit is SubmitJob with f.mu held.
func (f *fakeStore) submit(j Job, work string, scope Scope, limit int) (Job, bool, error) {
	if id, ok := f.open[work]; ok && !f.jobs[id].State.Final() {
		return f.jobs[id], true, nil
	}
	open := 0
	for _, other := range f.jobs {
		if other.Exchange == j.Exchange && !other.State.Final() {
			open++
		}
	}
	if open >= limit {
		return Job{}, false, service.ErrBusy
	}
	if f.jobs == nil {
		f.jobs, f.open = map[string]Job{}, map[string]string{}
	}
	f.jobs[j.ID], f.open[work] = j, j.ID
	f.queue = append(f.queue, fakeWork{j.Exchange, func(ctx context.Context, a *Runner, last bool) error {
		return a.Plan(ctx, j.ID, scope, last)
	}})
	f.work()
	return j, false, nil
}

func (f *fakeStore) SetSchedules(ctx context.Context, exchange string, schedules []ScheduleState, now time.Time) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.scheduleErr != nil {
		return 0, f.scheduleErr
	}
	var kept []ScheduleState
	for _, s := range f.schedules {
		if s.Exchange != exchange {
			kept = append(kept, s)
		}
	}
	f.schedules = slices.DeleteFunc(f.schedules, func(s ScheduleState) bool { return s.Exchange != exchange })
	for _, s := range schedules {
		if i := slices.IndexFunc(f.schedules, func(o ScheduleState) bool { return o.Interval == s.Interval }); i >= 0 {
			was := f.schedules[i]
			f.schedules = slices.Delete(f.schedules, i, i+1)
			if was.Text == s.Text || !now.Before(was.NextRun) {
				s.NextRun = was.NextRun
			}
			s.LastRun, s.LastJob = was.LastRun, was.LastJob
		}
		kept = append(kept, s)
	}
	removed := len(f.schedules)
	f.schedules = kept
	return removed, nil
}

func (f *fakeStore) Schedules(ctx context.Context, exchange string) ([]ScheduleState, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.schedules), func(s ScheduleState) bool { return s.Exchange != exchange }), nil
}

func (f *fakeStore) RunSchedule(ctx context.Context, due ScheduleState, next time.Time, j Job, work string, scope Scope, limit int) (run ScheduledRun, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.Index(f.schedules, due)
	if i < 0 {
		return ScheduledRun{Elsewhere: true}, nil
	}
	if run.Job, run.Joined, err = f.submit(j, work, scope, limit); err != nil {
		return ScheduledRun{}, err
	}
	f.schedules[i].NextRun = next
	if !run.Joined {
		f.schedules[i].LastRun, f.schedules[i].LastJob = j.CreatedAt, j.ID
	}
	return run, nil
}

func (f *fakeStore) PlanJob(ctx context.Context, id string, started time.Time, p Plan) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	j := f.jobs[id]
	if j.State != Queued || j.Batches > 0 {
		return false, nil
	}
	j.Symbols, j.Skips, j.Skipped, j.Simulated = len(p.Pairs)+len(p.Skips), p.Skips, len(p.Skips), p.Simulated
	for pairs := range slices.Chunk(p.Pairs, p.BatchSize) {
		index := j.Batches
		j.Batches++
		f.queue = append(f.queue, fakeWork{j.Exchange, func(ctx context.Context, a *Runner, last bool) error {
			return a.RunBatch(ctx, id, index, pairs, last)
		}})
	}
	j.State, j.StartedAt = Running, started
	ended := j.Batches == 0
	if ended {
		j.State, j.FinishedAt = Completed, time.Now()
	}
	f.jobs[id] = j
	f.work()
	return ended, nil
}

func (f *fakeStore) BatchProgress(ctx context.Context, id string, index int) (Job, bool, error) {
	j, err := f.Progress(ctx, id)
	f.mu.Lock()
	defer f.mu.Unlock()
	return j, f.stored[fmt.Sprint(id, index)], err
}

func (f *fakeStore) WithCandles(ctx context.Context, exchange string, interval levels.Interval, symbols []string) (map[string]bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	with := map[string]bool{}
	for _, s := range symbols {
		if _, ok := f.snapshots[service.Key{Exchange: exchange, Symbol: s, Interval: interval}]; ok {
			with[s] = true
		}
	}
	return with, f.WithErr
}

func (f *fakeStore) EndJob(ctx context.Context, id string, state State, reason *Outcome) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	j, ok := f.jobs[id]
	if !ok || j.State.Final() {
		return false, nil
	}
	j.State, j.Error, j.FinishedAt = state, reason, time.Now()
	f.jobs[id] = j
	return true, nil
}

func (f *fakeStore) Progress(ctx context.Context, id string) (Job, error) {
	j, err := f.Job(ctx, id)
	j.Failures, j.Skips, j.Result = nil, nil, nil
	return j, err
}

func (f *fakeStore) Put(ctx context.Context, r service.Results) error {
	_, err := f.PutBatch(ctx, Batch{Results: r})
	return err
}

func (f *fakeStore) PutBatch(ctx context.Context, b Batch) (ended bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if f.PutFunc != nil {
		if err := f.PutFunc(b); err != nil {
			return false, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	b.Snapshots, b.Failures = slices.Clone(b.Snapshots), slices.Clone(b.Failures)
	if b.JobID != "" {
		key := fmt.Sprint(b.JobID, b.Index)
		if f.stored[key] {
			return false, nil
		}
		if f.stored == nil {
			f.stored = map[string]bool{}
		}
		f.stored[key] = true
	}
	f.batches = append(f.batches, b)
	if f.snapshots == nil {
		f.snapshots = map[service.Key]service.Snapshot{}
	}
	for _, j := range b.Judged {
		if p, ok := f.promises[j.Key]; ok && p.AsOf.Equal(j.AsOf) {
			delete(f.promises, j.Key)
			f.judged = append(f.judged, j)
		}
	}
	for _, s := range b.Snapshots {
		f.snapshots[s.Key] = s
		if _, ok := f.promises[s.Key]; ok {
			continue
		}
		if p, ok := s.Promise(); ok {
			if f.promises == nil {
				f.promises = map[service.Key]scorecard.Promise{}
			}
			f.promises[s.Key] = p
		}
	}
	if j, ok := f.jobs[b.JobID]; ok {
		j.Done += b.Done
		j.Failed += len(b.Failures)
		j.Failures = append(j.Failures, b.Failures...)
		j.BatchesDone++
		j.Simulated = j.Simulated || b.Simulated
		if b.Result != nil {
			j.Result = b.Result
		}
		if ended = j.State == Running && j.BatchesDone == j.Batches; ended {
			j.State, j.FinishedAt = Completed, time.Now()
		}
		f.jobs[b.JobID] = j
	}
	return ended, nil
}

func (f *fakeStore) Watched(ctx context.Context, key service.Key) (service.Snapshot, []byte, error) {
	snap, err := f.Snapshot(ctx, key, time.Time{})
	return snap, nil, err
}

func (f *fakeStore) Snapshot(ctx context.Context, key service.Key, at time.Time) (service.Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s, ok := f.snapshots[key]; ok {
		return s, nil
	}
	return service.Snapshot{}, service.ErrNotAnalyzed
}

func (f *fakeStore) DuePromise(ctx context.Context, key service.Key, by time.Time) (scorecard.Promise, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.promises[key]
	return p, ok && !p.AsOf.After(by), nil
}

func (f *fakeStore) Writable() error {
	if f.WritableFunc != nil {
		return f.WritableFunc()
	}
	return nil
}

func (f *fakeStore) Listed(context.Context, string) (map[string]PairState, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.listed), nil
}

func (f *fakeStore) SetListed(_ context.Context, _ string, gone, back []string, _ time.Time) error {
	if f.ListedFunc != nil {
		if err := f.ListedFunc(); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, symbol := range gone {
		f.listed[symbol] = PairState{Delisted: true}
	}
	for _, symbol := range back {
		f.listed[symbol] = PairState{Listed: true}
	}
	return nil
}

func (f *fakeStore) ActivePairs(_ context.Context, exchange string) (map[string]bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	active := map[string]bool{}
	for name, s := range f.pairs {
		active[name] = s.Trading
	}
	maps.DeleteFunc(active, func(_ string, trading bool) bool { return !trading })
	return active, nil
}

func (f *fakeStore) PutPairs(_ context.Context, exchange string, listed []service.Symbol, gone []string, _ time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pairs == nil {
		f.pairs = map[string]service.Symbol{}
	}
	for _, s := range listed {
		f.pairs[s.Name] = s
	}
	for _, name := range gone {
		s := f.pairs[name]
		s.Trading = false
		f.pairs[name] = s
	}
	return nil
}

func (f *fakeStore) FindPairs(context.Context, string, service.Spelling) ([]service.KnownPair, error) {
	return nil, nil
}

func (f *fakeStore) HasPairs(context.Context, string) (bool, error) { return false, nil }

// Candles returns ErrStorage, so that every pair is fetched whole: the tests of service
// cover stored candles.
func (f *fakeStore) Candles(context.Context, service.Key, int64, *levels.Candles, []byte) (service.Kept, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	return service.Kept{}, service.ErrStorage
}

func (f *fakeStore) PutJob(ctx context.Context, j Job) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.jobs == nil {
		f.jobs = map[string]Job{}
	}
	f.jobs[j.ID] = j
	return nil
}

func (f *fakeStore) Job(ctx context.Context, id string) (Job, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if j, ok := f.jobs[id]; ok {
		return j, nil
	}
	return Job{}, service.ErrUnknownJob
}

// textLog writes to w, which only one goroutine at a time may read.
func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// market lists n healthy pairs.
func market(n int) []service.Symbol {
	all := make([]service.Symbol, n)
	for i := range all {
		base := fmt.Sprintf("P%03d", i)
		all[i] = service.Symbol{Name: base + "USDT", Base: base, Quote: "USDT", Trading: true, Status: "TRADING", Tick: service.Tick{Units: 1, Decimals: 2}, QuoteVolume: 1e6}
	}
	return all
}

// testConfig is the configuration of a Runner and of its Analyzer. Zero values are
// replaced by small ones.
type testConfig struct {
	Concurrency, BatchSize, KlineLimit, QueueLimit int
	Memory                                         int64
	Filter                                         Filter
}

// newTestRunner returns a Runner registered with the queue of s.
func newTestRunner(t *testing.T, cfg testConfig, x *fakeExchange, s *fakeStore, more ...*fakeExchange) *Runner {
	t.Helper()
	r := newIdleRunner(t, cfg, x, s, more...)
	s.serves(r)
	return r
}

// newIdleRunner returns a Runner that is not registered with a queue.
func newIdleRunner(t *testing.T, cfg testConfig, x *fakeExchange, s *fakeStore, more ...*fakeExchange) *Runner {
	t.Helper()
	cfg.Concurrency, cfg.QueueLimit = cmp.Or(cfg.Concurrency, 3), cmp.Or(cfg.QueueLimit, 10)
	if cfg.Filter.QuoteAssets == nil {
		cfg.Filter.QuoteAssets = []string{"USDT"}
	}
	var analysed []service.Exchange
	var swept []Exchange
	filters := map[string]Filter{}
	for _, x := range append([]*fakeExchange{x}, more...) {
		analysed, swept = append(analysed, x), append(swept, x)
		filters[x.Market().Exchange] = cfg.Filter
	}
	log := slog.New(slog.DiscardHandler)
	a := service.New(service.Config{
		Concurrency: cfg.Concurrency, KlineLimit: cmp.Or(cfg.KlineLimit, 200), Memory: cfg.Memory,
		QueueLimit: cfg.QueueLimit, Interval: "1h", Timeout: time.Minute,
	}, analysed, s, prometheus.NewRegistry(), log)
	t.Cleanup(func() { a.Stop(context.Background()) })
	return NewRunner(Config{
		Concurrency: cfg.Concurrency, BatchSize: cmp.Or(cfg.BatchSize, 5), QueueLimit: cfg.QueueLimit, Filters: filters,
	}, a, swept, s, prometheus.NewRegistry(), log)
}

// finished waits for the end of a job.
func finished(t *testing.T, a *Runner, id string) Job {
	t.Helper()
	var last Job
	for j, err := range a.Watch(t.Context(), id, time.Millisecond) {
		if err != nil {
			t.Fatal(err)
		}
		last = j
	}
	if !last.State.Final() {
		t.Fatalf("watching ended with the job %s", last.State)
	}
	last, err := a.store.Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return last
}

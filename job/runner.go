package job

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/levels"
	"tidemark/memory"
	"tidemark/service"
)

// Config is the configuration of a Runner.
type Config struct {
	Concurrency int // slots of the Analyzer
	BatchSize   int // pairs stored in one transaction
	QueueLimit  int // open jobs of an exchange in all processes; a further one returns service.ErrBusy
	// Filters says which pairs a sweep covers, by exchange.
	Filters map[string]Filter
	Live    Live // nil if no pairs are kept live
}

// Live keeps pairs fresh beside the jobs.
type Live interface {
	// Fresh returns a function that reports whether an analysis of a series with this
	// number of candles, through the last one that has closed by now, is stored: a job does
	// not repeat it.
	Fresh(ctx context.Context, exchange string, klines int) func(service.Key) bool
	// Stored notes that a job has stored an analysis with this number of candles.
	Stored(key service.Key, klines int, asOf time.Time)
}

// Runner submits jobs of several exchanges and runs them with an Analyzer.
type Runner struct {
	cfg       Config
	analyzer  *service.Analyzer
	exchanges []Exchange
	store     Store
	log       *slog.Logger
	metrics   *metrics
	latest    atomic.Pointer[BatchStats]

	mu      sync.Mutex
	runs    map[*run]struct{}
	poll    *poll         // of the jobs of runs; nil if there are no runs
	changed chan struct{} // closed when this process changes a job, and replaced
}

// NewRunner returns a Runner that registers its metrics with reg. The exchanges are those
// of the Analyzer. Stopping the Analyzer stops it.
func NewRunner(cfg Config, analyzer *service.Analyzer, exchanges []Exchange, store Store, reg prometheus.Registerer, log *slog.Logger) *Runner {
	r := &Runner{
		cfg: cfg, analyzer: analyzer, exchanges: exchanges, store: store, log: log,
		runs:    map[*run]struct{}{},
		changed: make(chan struct{}),
	}
	r.metrics = newMetrics(reg, r)
	return r
}

// exchange returns the exchange with this name, the first one for "". Its error is
// service.ErrUnknownExchange.
func (r *Runner) exchange(name string) (Exchange, error) {
	market, err := r.analyzer.Market(name)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(r.exchanges, func(x Exchange) bool { return x.Market().Exchange == market.Exchange })
	return r.exchanges[i], nil
}

// filter returns which pairs of x a sweep covers.
func (r *Runner) filter(x Exchange) *Filter {
	f := r.cfg.Filters[x.Market().Exchange]
	return &f
}

// Request asks for a job: All pairs that pass the filter, or the named Symbols.
type Request struct {
	Exchange   string // empty: the first one
	All        bool
	Symbols    []string // in this order, without repeats
	Interval   levels.Interval
	KlineLimit int
	Store      bool // may be false only for a single symbol; the job then carries the analysis
}

// busyRetry is the Retry-After of a request refused because too many jobs are open.
const busyRetry = 2 * time.Second

// Submit queues a job and returns at once. If a job of the same work is queued or
// running in any process, Submit returns that job, and joined is true.
func (r *Runner) Submit(ctx context.Context, q Request) (j Job, joined bool, err error) {
	x, err := r.exchange(q.Exchange)
	if err != nil {
		return Job{}, false, err
	}
	if err := r.analyzer.Settle(&q.Interval, &q.KlineLimit); err != nil {
		return Job{}, false, err
	}
	q.Symbols = unique(q.Symbols)
	switch {
	case q.All == (len(q.Symbols) > 0):
		return Job{}, false, fmt.Errorf("%w: a job covers either all pairs or the named symbols", service.ErrInvalid)
	case !q.Store && len(q.Symbols) != 1:
		return Job{}, false, fmt.Errorf("%w: the analyses of several pairs must be stored", service.ErrInvalid)
	case r.analyzer.Stopping().Err() != nil:
		return Job{}, false, service.ErrStopping
	}
	created, scope := newJob(x, q), r.scope(x, q)
	j, joined, err = r.store.SubmitJob(ctx, created, scope.work(created), scope, r.cfg.QueueLimit)
	switch {
	case errors.Is(err, service.ErrBusy):
		return Job{}, false, &service.RetryAfterError{
			Err:   fmt.Errorf("%w: %d jobs are already open (ANALYSIS_QUEUE_LIMIT)", service.ErrBusy, r.cfg.QueueLimit),
			Until: time.Now().Add(busyRetry),
		}
	case err != nil:
		return Job{}, false, err
	case joined:
		r.analyzer.CountJoined()
	}
	return j, joined, nil
}

// scope returns the scope of a request. All means the pairs that the filter of this
// process selects.
func (r *Runner) scope(x Exchange, q Request) Scope {
	if q.All {
		return Scope{Filter: r.filter(x)}
	}
	return Scope{Symbols: q.Symbols}
}

// work returns a key of everything that shapes the result of a job. Jobs of the same
// work have equal keys.
func (s Scope) work(j Job) string {
	b := fmt.Appendf(nil, "%q %v %d %v %q", j.Exchange, j.Interval, j.KlineLimit, j.Store, s.Symbols)
	if f := s.Filter; f != nil {
		b = fmt.Appendf(b, " %q %v %v %v", slices.Sorted(slices.Values(f.QuoteAssets)), f.MinQuoteVolume, f.KeepLeveraged, f.KeepStablePairs)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func newJob(x Exchange, q Request) Job {
	kind := KindAnalysis
	if q.All {
		kind = KindSweep
	}
	market := x.Market()
	return Job{
		ID: strings.ToLower(rand.Text()), Kind: kind, State: Queued,
		Exchange: market.Exchange, Simulated: market.Simulated,
		Interval: q.Interval, KlineLimit: q.KlineLimit, Store: q.Store,
		Symbols: len(q.Symbols), CreatedAt: time.Now().UTC().Truncate(time.Millisecond),
	}
}

// SubmitCandles analyses candles of the caller, as Analyzer.AnalyzeCandles does, and
// returns a completed job with the analysis as its Result.
func (r *Runner) SubmitCandles(ctx context.Context, n int, tick service.Tick, fill func(dst *levels.Candles) error) (Job, error) {
	created := time.Now().UTC().Truncate(time.Millisecond)
	snap, err := r.analyzer.AnalyzeCandles(ctx, n, tick, fill)
	if err != nil {
		return Job{}, err
	}
	j := Job{
		ID: strings.ToLower(rand.Text()), Kind: KindAnalysis, State: Completed,
		Interval: snap.Interval, KlineLimit: snap.Klines,
		Symbols: 1, Done: 1, Batches: 1, BatchesDone: 1,
		CreatedAt: created, StartedAt: created, FinishedAt: snap.ComputedAt,
		Result: &snap,
	}
	if err := r.store.PutJob(ctx, j); err != nil {
		return Job{}, err
	}
	return j, nil
}

// Cancel ends a job in all processes and returns it. No further pair starts, and
// requests to the exchange are cancelled. Finished analyses are stored and added to the
// job's counts. Cancel returns service.ErrJobFinished if the job had already ended.
func (r *Runner) Cancel(ctx context.Context, id string) (Job, error) {
	ended, err := r.store.EndJob(ctx, id, Cancelled, nil)
	if err != nil {
		return Job{}, err
	}
	if ended {
		r.endRuns(id, service.ErrCancelled)
		r.ended(ctx, id)
	}
	j, err := r.store.Job(ctx, id)
	if err == nil && !ended {
		err = fmt.Errorf("%w: it is %s", service.ErrJobFinished, j.State)
	}
	return j, err
}

// GiveUp fails a job whose plan or batch has started the given number of times and
// never finished: the process was killed each time, most likely because of this work.
func (r *Runner) GiveUp(ctx context.Context, id string, starts int) error {
	err := fmt.Errorf("a part of the job was started %d times, and each time the process died before it finished", starts)
	return r.endFailed(ctx, id, err, Outcome{Code: "interrupted", Detail: err.Error()})
}

// failJob ends a job as failed, because of err.
func (r *Runner) failJob(ctx context.Context, id string, err error) error {
	return r.endFailed(ctx, id, err, Outcome{Code: service.Code(err), Detail: detail(err)})
}

func (r *Runner) endFailed(ctx context.Context, id string, err error, reason Outcome) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	ended, failed := r.store.EndJob(ctx, id, Failed, &reason)
	if failed != nil {
		return fmt.Errorf("a job that failed (%w) could not be ended: %w", err, failed)
	}
	if ended {
		r.log.Error("job failed", "job", id, "error", err)
		r.endRuns(id, service.ErrCancelled)
		r.ended(ctx, id)
	}
	return nil
}

// ended counts and logs a job that this process has ended, and wakes its watchers.
func (r *Runner) ended(ctx context.Context, id string) {
	r.notify()
	j, err := r.store.Progress(context.WithoutCancel(ctx), id)
	if err != nil {
		r.log.Warn("a job that ended cannot be read", "job", id, "error", err)
		return
	}
	r.metrics.jobs.WithLabelValues(j.Kind, string(j.State)).Inc()
	took := j.Took()
	if j.Kind == KindSweep && j.State == Completed {
		r.metrics.sweep.Observe(took.Seconds())
		r.metrics.swept.WithLabelValues(j.Exchange, string(j.Interval)).Set(float64(j.FinishedAt.UnixMilli()) / 1000)
	}
	used := memory.Read()
	r.log.Info("job ended", "job", j.ID, "kind", j.Kind, "exchange", j.Exchange, "interval", j.Interval, "state", j.State, "symbols", j.Symbols,
		"done", j.Done, "failed", j.Failed, "skipped", j.Skipped, "seconds", took.Seconds(),
		"rss_bytes", used.RSS, "peak_rss_bytes", used.PeakRSS, "simulated", j.Simulated)
}

// notify wakes the callers of Watch in this process.
func (r *Runner) notify() {
	r.mu.Lock()
	close(r.changed)
	r.changed = make(chan struct{})
	r.mu.Unlock()
}

// watchPoll is how often a watched job is read: other processes may change it.
const watchPoll = time.Second

// Watch yields the current job, and again after each change, but at most once in every
// interval. The last job it yields has ended. The jobs have no failures, skips and
// result.
func (r *Runner) Watch(ctx context.Context, id string, every time.Duration) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		var seen [5]int
		var state State
		for {
			r.mu.Lock()
			changed := r.changed
			r.mu.Unlock()
			j, err := r.store.Progress(ctx, id)
			if ctx.Err() != nil {
				return
			}
			now := [...]int{j.Symbols, j.Done, j.Failed, j.Batches, j.BatchesDone}
			if err != nil || j.State != state || now != seen {
				if !yield(j, err) || err != nil || j.State.Final() {
					return
				}
				seen, state = now, j.State
			}
			if !wait(ctx, every, nil) || !wait(ctx, watchPoll-every, changed) {
				return
			}
		}
	}
}

// wait waits for d or ready, whichever is first. It returns false if ctx ends.
func wait(ctx context.Context, d time.Duration, ready <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ready:
	case <-ctx.Done():
		return false
	}
	return true
}

func unique(names []string) []string {
	seen := make(map[string]bool, len(names))
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		if seen[n] {
			return true
		}
		seen[n] = true
		return false
	})
}

// detail returns the text of an error for clients: the whole chain of a known error, and
// no details of an internal one.
func detail(err error) string {
	if service.Code(err) == "internal" {
		return "an internal error; the log has the details"
	}
	return err.Error()
}

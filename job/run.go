package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"tidemark/memory"
	"tidemark/service"
)

// The queue of the Store calls Plan once for every job and RunBatch once for every
// batch, in any process that serves the job's exchange. It calls them again after a
// process died or an error. Both are idempotent. Their error tells the queue what to
// do with the call:
//
//   - nil: the call is finished, even if the job failed.
//   - service.ErrStopping: call again in another process, or in this one after a restart.
//   - a RetryAfterError around service.ErrRateLimited: call again at that time. The
//     call does not count as an attempt.
//   - any other error: call again later. If last is set, this was the last attempt,
//     and the call ends the job instead of returning such an error.
//
// One such call is a run. Everything in a run, requests to the exchange included, uses
// the context of the run, which ends early for one of four causes:
//
//   - service.ErrCancelled: the job has ended. A run in the same process ends at once,
//     one in another process within statePoll. The run is finished.
//   - service.ErrStopping: the process stops. The run returns to the queue at once.
//   - a RetryAfterError around service.ErrRateLimited: a run of the same job met a ban
//     or a pause of the exchange. The run is repeated at its end. If that is later
//     than maxPause from now, the job fails.
//   - context.DeadlineExceeded: the queue bounds each run. The run counts as an
//     attempt, and the last attempt fails the job.
//
// In all cases no further pair starts, requests to the exchange are cancelled, and
// finished analyses are stored.

// Workers returns the number of calls of Plan and RunBatch that the queue of each exchange
// should run at once in this process: enough to keep every slot busy while the last pairs of some
// batches are under way and the next batch is fetched. With more, batches would wait
// here that other processes could run.
func (r *Runner) Workers() int {
	const fetching = 10 // pairs that may start while the queue fetches a batch
	return (r.cfg.Concurrency+fetching)/r.cfg.BatchSize + 2
}

// run is one call of Plan or RunBatch under way.
type run struct {
	jobID string
	end   context.CancelCauseFunc
}

// begin registers a run and returns its context.
func (r *Runner) begin(ctx context.Context, jobID string) (context.Context, func(), error) {
	done, err := r.analyzer.Begin()
	if err != nil {
		return nil, nil, err
	}
	ctx, end := context.WithCancelCause(service.Background(ctx))
	unregister := context.AfterFunc(r.analyzer.Stopping(), func() { end(service.ErrStopping) })
	current := &run{jobID, end}
	r.mu.Lock()
	r.runs[current] = struct{}{}
	if r.poll == nil {
		r.poll = r.startPoll()
	}
	r.mu.Unlock()
	return ctx, func() {
		unregister()
		end(nil)
		var last *poll
		r.mu.Lock()
		delete(r.runs, current)
		if len(r.runs) == 0 {
			last, r.poll = r.poll, nil
		}
		r.mu.Unlock()
		if last != nil {
			last.stop()
			<-last.done
		}
		done()
	}, nil
}

// poll checks every statePoll whether other processes have ended a job of this one.
type poll struct {
	stop context.CancelFunc
	done chan struct{}
}

func (r *Runner) startPoll() *poll {
	ctx, stop := context.WithCancel(context.Background())
	p := &poll{stop, make(chan struct{})}
	go func() {
		defer close(p.done)
		for wait(ctx, statePoll, nil) {
			for id := range r.working() {
				j, err := r.store.Progress(ctx, id)
				if errors.Is(err, service.ErrUnknownJob) || err == nil && j.State.Final() {
					r.endRuns(id, service.ErrCancelled)
				}
			}
		}
	}()
	return p
}

// endRuns ends the runs of a job in this process.
func (r *Runner) endRuns(jobID string, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for active := range r.runs {
		if active.jobID == jobID {
			active.end(cause)
		}
	}
}

// working returns the ids of the jobs with runs in this process.
func (r *Runner) working() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	jobs := map[string]bool{}
	for active := range r.runs {
		jobs[active.jobID] = true
	}
	return jobs
}

// Plan lists the pairs that a job covers and queues its batches.
func (r *Runner) Plan(ctx context.Context, jobID string, scope Scope, last bool) error {
	ctx, done, err := r.begin(ctx, jobID)
	if err != nil {
		return err
	}
	defer done()
	started := time.Now()
	j, err := r.store.Progress(ctx, jobID)
	if errors.Is(err, service.ErrUnknownJob) || err == nil && j.State.Final() {
		return nil
	}
	var ended bool
	if err == nil {
		var p Plan
		if p, err = r.plan(ctx, j.Exchange, scope, nil); err == nil {
			ended, err = r.putPlan(ctx, j, started, p)
		}
	}
	switch {
	case err == nil && ended:
		r.ended(ctx, jobID)
	case err == nil:
		r.notify()
	}
	return r.conclude(ctx, jobID, err, last, r.log.With("job", jobID, "work", "plan"))
}

// putPlan stores the plan of a job as soon as the store is writable.
func (r *Runner) putPlan(ctx context.Context, j Job, started time.Time, p Plan) (ended bool, err error) {
	err = r.whenWritable(ctx, func() (err error) {
		ended, err = r.store.PlanJob(ctx, j.ID, started, p)
		return err
	})
	if err == nil {
		r.log.Info("job started", "job", j.ID, "kind", j.Kind, "exchange", j.Exchange, "interval", j.Interval, "simulated", p.Simulated)
	}
	return ended, err
}

// conclude converts the error of a run into the error for the queue, and ends the job
// if the error is final.
func (r *Runner) conclude(ctx context.Context, jobID string, err error, last bool, log *slog.Logger) error {
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("the run exceeded its time limit: %w", err)
		} else if !errors.Is(err, service.ErrCancelled) && !errors.Is(err, service.ErrRateLimited) {
			err = service.ErrStopping
		}
	}
	switch {
	case err == nil, errors.Is(err, service.ErrCancelled):
		return nil
	case errors.Is(err, service.ErrStopping):
		return service.ErrStopping
	case retryable(err):
		log.Info("work is postponed", "reason", err)
		return err
	case last, endsJob(err):
		return r.failJob(ctx, jobID, err)
	}
	log.Warn("work failed, retrying", "error", err)
	return err
}

// Pairs lists the pairs of an exchange that a sweep covers, those with the greatest 24 h
// volume in the quote asset first, and stores what the list says.
func (r *Runner) Pairs(ctx context.Context, exchange string) ([]service.Pair, error) {
	var volumes map[string]float64
	p, err := r.plan(ctx, exchange, Scope{}, func(s *service.Symbol) {
		if volumes == nil {
			volumes = map[string]float64{}
		}
		volumes[s.Name] = s.QuoteVolume
	})
	slices.SortStableFunc(p.Pairs, func(a, b service.Pair) int { return cmp.Compare(volumes[b.Name], volumes[a.Name]) })
	return p.Pairs, err
}

// plan lists the pairs a job covers and those that the filter rejects.
// It calls selected, which may be nil, with each pair of a sweep.
func (r *Runner) plan(ctx context.Context, exchange string, scope Scope, selected func(s *service.Symbol)) (Plan, error) {
	x, err := r.exchange(exchange)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{BatchSize: r.cfg.BatchSize, Simulated: x.Market().Simulated}
	if len(scope.Symbols) > 0 {
		p.Pairs = make([]service.Pair, len(scope.Symbols))
		for i, name := range scope.Symbols {
			p.Pairs[i].Name = name
		}
		return p, nil
	}
	stored, err := r.store.Listed(ctx, exchange)
	if err != nil {
		return Plan{}, err
	}
	var delisted delisting
	known, err := r.newPairs(ctx, exchange)
	if err != nil {
		return Plan{}, err
	}
	for l, err := range filtered(x, x.Symbols(ctx), cmp.Or(scope.Filter, r.filter(x))) {
		switch {
		case ctx.Err() != nil:
			return Plan{}, context.Cause(ctx)
		case err != nil:
			return Plan{}, err
		}
		if l.Trading {
			delisted.observe(stored, l.Name)
		}
		if err := known.add(ctx, &l.Symbol); err != nil {
			return Plan{}, err
		}
		switch {
		case l.Selected:
			if selected != nil {
				selected(&l.Symbol)
			}
			p.Pairs = append(p.Pairs, service.Pair{Name: l.Name, Tick: l.Tick, Digits: l.Digits})
		case l.Reason.Code != quoteAsset && l.Reason.Code != notTrading:
			p.Skips = append(p.Skips, l.Reason)
		}
	}
	p.Simulated = x.Market().Simulated
	if err := known.end(ctx); err != nil {
		return Plan{}, err
	}
	return p, r.setListed(ctx, exchange, stored, &delisted)
}

// maxPause is the longest ban or pause of the exchange that a job waits for. A longer
// one fails the job: the candles would be of a much later time than the request.
const maxPause = time.Hour

// endsJob reports whether err ends a job. Other errors fail one pair.
func endsJob(err error) bool { return clientBlocked(err) && !retryable(err) }

// clientBlocked reports whether err is a ban or a pause of the exchange, which affects
// all pairs.
func clientBlocked(err error) bool {
	_, until := errors.AsType[*service.RetryAfterError](err)
	return errors.Is(err, service.ErrBanned) || until && errors.Is(err, service.ErrRateLimited)
}

// retryable reports whether the job continues later, at the time in err.
func retryable(err error) bool {
	later, ok := errors.AsType[*service.RetryAfterError](err)
	return ok && (errors.Is(err, service.ErrRateLimited) && time.Until(later.Until) <= maxPause || service.Unwritable(err))
}

// statePoll is how often a process checks whether another one has ended a job it works
// on.
const statePoll = time.Second

// RunBatch analyses the pairs of one batch and stores the results in one transaction.
// The next batch starts after the last pair of this one has started, so that slots are
// never idle between them.
func (r *Runner) RunBatch(ctx context.Context, jobID string, index int, pairs []service.Pair, last bool) error {
	ctx, done, err := r.begin(ctx, jobID)
	if err != nil {
		return err
	}
	defer done()
	j, stored, err := r.store.BatchProgress(ctx, jobID, index)
	if errors.Is(err, service.ErrUnknownJob) || err == nil && (stored || j.State.Final()) {
		return nil
	}
	if err == nil {
		err = r.runBatch(ctx, j, index, pairs)
	}
	return r.conclude(ctx, jobID, err, last, r.log.With("job", jobID, "work", "batch", "batch", index))
}

// BatchStats describes a stored batch.
type BatchStats struct {
	Pairs   int // including failed ones
	Failed  int
	Took    time.Duration // from its first request to its commit
	PeakRSS int64         // bytes, sampled after every pair
	Ended   time.Time
}

// LastBatch returns the last batch this process has stored, if any.
func (r *Runner) LastBatch() (BatchStats, bool) {
	if b := r.latest.Load(); b != nil {
		return *b, true
	}
	return BatchStats{}, false
}

func (r *Runner) runBatch(ctx context.Context, j Job, index int, pairs []service.Pair) error {
	x, err := r.exchange(j.Exchange)
	if err != nil {
		return err
	}
	start := time.Now()
	b := Batch{JobID: j.ID, Index: index}
	var (
		mu        sync.Mutex // guards b, cancelled and peak
		cancelled error      // why started pairs were cancelled, if any were
		peak      = memory.RSS()
	)
	pairs = r.markNew(ctx, j, pairs)
	request := service.Request{Exchange: j.Exchange, Interval: j.Interval, KlineLimit: j.KlineLimit, Store: j.Store}
	var unwritable error // why pairs were not started, if nothing can be stored
	whenWritable := func(yield func(service.Pair) bool) {
		fresh := func(service.Key) bool { return false }
		if r.cfg.Live != nil && j.Store {
			fresh = r.cfg.Live.Fresh(ctx, j.Exchange, j.KlineLimit)
		}
		for _, p := range pairs {
			if fresh(service.Key{Exchange: j.Exchange, Symbol: p.Name, Interval: j.Interval}) {
				mu.Lock()
				b.Done++
				mu.Unlock()
				continue
			}
			unwritable = r.waitWritable(ctx)
			if unwritable != nil || !yield(p) {
				return
			}
		}
	}
	err = r.analyzer.AnalyzeEach(ctx, whenWritable, request, func(p service.Pair, got service.Analysis, err error) {
		if clientBlocked(err) {
			// No pair of the job can continue. End all its runs, including this one,
			// before another pair gets the slot.
			r.endRuns(j.ID, err)
		}
		mu.Lock()
		peak = max(peak, memory.RSS())
		if err != nil && ctx.Err() != nil {
			cancelled = context.Cause(ctx)
			mu.Unlock()
			return
		}
		b.add(j, p.Name, got, err)
		candles := b.takeCandles()
		mu.Unlock()
		if candles != nil {
			r.putCandles(ctx, j, candles)
		}
	})
	switch {
	case err != nil:
	case unwritable != nil:
		err = unwritable
	default:
		err = cancelled
	}
	b.Simulated = x.Market().Simulated

	if err != nil && !errors.Is(err, service.ErrCancelled) && !endsJob(err) {
		// Store the finished analyses. The batch is not done.
		if b.Snapshots != nil || b.Candles != nil {
			stored := r.put(ctx, j.ID, index, func(ctx context.Context) error { return r.store.Put(ctx, b.Results) })
			if stored != nil {
				r.log.Warn("analyses of an interrupted batch could not be stored", "job", j.ID, "batch", index, "error", stored)
			}
		}
		return err
	}
	if endsJob(err) {
		// Fail the job before storing the batch: the last batch would complete it.
		if failed := r.failJob(ctx, j.ID, err); failed != nil {
			return failed
		}
	}
	ended := false
	stored := r.put(ctx, j.ID, index, func(ctx context.Context) (err error) {
		ended, err = r.store.PutBatch(ctx, b)
		return err
	})
	if stored != nil {
		return fmt.Errorf("batch %d: %w", index, stored)
	}
	if live := r.cfg.Live; live != nil {
		for i := range b.Snapshots {
			live.Stored(b.Snapshots[i].Key, j.KlineLimit, b.Snapshots[i].AsOf)
		}
	}
	took := time.Since(start)
	r.metrics.batch.Observe(took.Seconds())
	r.metrics.peak.Set(float64(peak))
	r.latest.Store(&BatchStats{Pairs: len(pairs), Failed: len(b.Failures), Took: took, PeakRSS: peak, Ended: start.Add(took)})
	r.log.Info("batch stored", "job", j.ID, "exchange", j.Exchange, "batch", index, "symbols", len(pairs),
		"done", b.Done, "failed", len(b.Failures), "seconds", took.Seconds(), "peak_rss_bytes", peak)
	if ended {
		r.ended(ctx, j.ID)
	} else {
		r.notify()
	}
	return err
}

// markNew returns pairs with New set for those without stored candles: one query instead
// of one for each new pair.
func (r *Runner) markNew(ctx context.Context, j Job, pairs []service.Pair) []service.Pair {
	if len(pairs) < 2 {
		return pairs
	}
	symbols := make([]string, len(pairs))
	for i, p := range pairs {
		symbols[i] = p.Name
	}
	with, err := r.store.WithCandles(ctx, j.Exchange, j.Interval, symbols)
	if err != nil {
		return pairs // each analysis looks for the candles itself
	}
	pairs = slices.Clone(pairs)
	for i := range pairs {
		pairs[i].New = !with[pairs[i].Name]
	}
	return pairs
}

// add adds the outcome of one pair.
func (b *Batch) add(j Job, symbol string, got service.Analysis, err error) {
	switch {
	case err != nil:
		b.AddCandles(got)
		b.Failures = append(b.Failures, Outcome{Symbol: symbol, Code: service.Code(err), Detail: detail(err)})
		return
	case j.Store:
		b.Add(got)
	default:
		b.Result = &got.Snapshot
	}
	b.Done++
}

// candlesPerPut is how many bytes of packed candles are held before they are stored,
// ahead of their batch: those of six or seven whole windows.
const candlesPerPut = 96 << 10

// takeCandles returns the candles of b and removes them, if there are enough to be
// stored ahead; nil if not.
func (b *Batch) takeCandles() []service.CandleChange {
	n := 0
	for _, c := range b.Candles {
		n += c.Bytes()
	}
	if n < candlesPerPut {
		return nil
	}
	all := b.Candles
	b.Candles = nil
	return all
}

// putCandles stores candles ahead of their batch. If that fails, they are fetched again
// with a later analysis.
func (r *Runner) putCandles(ctx context.Context, j Job, candles []service.CandleChange) {
	err := r.store.Put(ctx, service.Results{Candles: candles})
	if err != nil && ctx.Err() == nil && !service.Unwritable(err) {
		r.log.Warn("candles could not be stored and will be fetched again", "job", j.ID, "pairs", len(candles), "error", err)
	}
}

// put calls store, even if the run has been cancelled, and retries storage errors. While
// the store is unwritable it waits, until the run ends. Once Stop cancels work, put makes
// one last attempt.
func (r *Runner) put(run context.Context, jobID string, index int, store func(ctx context.Context) error) (err error) {
	ctx := context.WithoutCancel(run)
	for _, pause := range [...]time.Duration{0, 200 * time.Millisecond, time.Second, 3 * time.Second} {
		select {
		case <-time.After(pause):
		case <-r.analyzer.Killing().Done(): // make the last attempt at once
		}
		last := r.analyzer.Killing().Err() != nil
		for {
			attempt, cancel := context.WithTimeout(ctx, 30*time.Second)
			err = store(attempt)
			cancel()
			if err == nil || last || !errors.Is(err, service.ErrStorage) {
				return err
			}
			if !service.Unwritable(err) || r.store.Writable() == nil {
				break
			}
			if waitErr := r.waitWritable(run); waitErr != nil {
				if retryable(waitErr) {
					err = waitErr
				}
				return err
			}
		}
		r.log.Warn("a batch could not be stored", "job", jobID, "batch", index, "error", err)
	}
	return err
}

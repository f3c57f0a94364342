package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"tidemark/memory"
	"tidemark/service"
)

// The queue of the Store calls Plan once for every job and RunBatch once for
// every batch, in any process that serves the job's exchange, and again where a
// process died or an error says so. Both leave the same behind however often they
// run. Their errors say what to do with the call: nil, it is done with, whatever
// became of the job; service.ErrStopping, hand it to another process, or to this one once
// it has started again; a RetryAfterError around service.ErrRateLimited, call again then,
// which is no further try; anything else, try again later. With last set, another
// try would be no use: they end the job instead.
//
// One such call is a run. All that it waits for, the exchange included, it waits
// for with the context of the run, which ends early for one of four causes:
//
//   - service.ErrCancelled: the job has ended, as seen from this process at once and from
//     others within statePoll. The run is done with.
//   - service.ErrStopping: the process stops. The run is handed back at once.
//   - a RetryAfterError around service.ErrRateLimited: a run of the same job met a ban or a
//     pause of the exchange. The run is called again at its end; if that is more
//     than patience away, the job fails.
//   - context.DeadlineExceeded: the queue bounds each run. It was a try, and the
//     last one fails the job.
//
// Whatever the cause, no further pair begins, those that wait for the exchange are
// broken off, and what has been analysed by then is stored.

// Workers is how many calls of Plan and RunBatch a queue should have open in
// this process: as many as it takes to keep every slot busy while the last pairs
// of some batches are under way and the next is fetched. More would be batches
// that wait here and that other processes miss in the end.
func (r *Runner) Workers() int {
	const fetching = 10 // pairs that may be begun while the queue fetches a batch
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
	ctx, end := context.WithCancelCause(ctx)
	stopWaiting := context.AfterFunc(r.analyzer.Stopping(), func() { end(service.ErrStopping) })
	one := &run{jobID, end}
	r.mu.Lock()
	r.runs[one] = struct{}{}
	if r.poll == nil {
		r.poll = r.startPoll()
	}
	r.mu.Unlock()
	return ctx, func() {
		stopWaiting()
		end(nil)
		var last *poll
		r.mu.Lock()
		delete(r.runs, one)
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

// poll looks once every statePoll whether other processes have ended a job that
// this one works on.
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
func (r *Runner) endRuns(jobID string, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for one := range r.runs {
		if one.jobID == jobID {
			one.end(why)
		}
	}
}

// working returns the jobs this process is working on.
func (r *Runner) working() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	jobs := map[string]bool{}
	for one := range r.runs {
		jobs[one.jobID] = true
	}
	return jobs
}

// Plan finds out which pairs a job covers, and has the queue hand out its
// batches.
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
		if p, err = r.plan(ctx, scope); err == nil {
			ended, err = r.putPlan(ctx, j, started, p)
		}
	}
	switch {
	case err == nil && ended:
		r.ended(ctx, jobID)
	case err == nil:
		r.tell()
	}
	return r.conclude(ctx, jobID, err, last, r.log.With("job", jobID, "work", "plan"))
}

// putPlan stores the plan of a job, once there is room for it.
func (r *Runner) putPlan(ctx context.Context, j Job, started time.Time, p Plan) (ended bool, err error) {
	err = r.whenWritable(ctx, func() (err error) {
		ended, err = r.store.PlanJob(ctx, j.ID, started, p)
		return err
	})
	if err == nil {
		r.log.Info("job started", "job", j.ID, "kind", j.Kind, "interval", j.Interval, "simulated", p.Simulated)
	}
	return ended, err
}

// conclude turns the error of a run into what the queue is told, and ends the job
// where the error does.
func (r *Runner) conclude(ctx context.Context, jobID string, err error, last bool, log *slog.Logger) error {
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("it took longer than one run may: %w", err)
		} else if !errors.Is(err, service.ErrCancelled) && !errors.Is(err, service.ErrRateLimited) {
			err = service.ErrStopping
		}
	}
	switch {
	case err == nil, errors.Is(err, service.ErrCancelled):
		return nil
	case errors.Is(err, service.ErrStopping):
		return service.ErrStopping
	case putsOff(err):
		log.Info("work is put off", "reason", err)
		return err
	case last, endsJob(err):
		return r.failJob(ctx, jobID, err)
	}
	log.Warn("work failed, trying again", "error", err)
	return err
}

// plan lists the pairs a job covers, and what the filter removes.
func (r *Runner) plan(ctx context.Context, scope Scope) (Plan, error) {
	p := Plan{BatchSize: r.cfg.BatchSize, Simulated: r.exchange.Market().Simulated}
	if len(scope.Symbols) > 0 {
		p.Pairs = make([]service.Pair, len(scope.Symbols))
		for i, name := range scope.Symbols {
			p.Pairs[i].Name = name
		}
		return p, nil
	}
	exchange := r.exchange.Market().Exchange
	stored, err := r.store.Listed(ctx, exchange)
	if err != nil {
		return Plan{}, err
	}
	var delisted delisting
	for l, err := range r.list(ctx, cmp.Or(scope.Filter, &r.cfg.Filter)) {
		switch {
		case ctx.Err() != nil:
			return Plan{}, context.Cause(ctx)
		case err != nil:
			return Plan{}, err
		}
		if l.Trading {
			delisted.saw(stored, l.Name)
		}
		switch {
		case l.Selected:
			p.Pairs = append(p.Pairs, service.Pair{Name: l.Name, Tick: l.Tick})
		case l.Reason.Code != quoteAsset && l.Reason.Code != notTrading:
			p.Skips = append(p.Skips, l.Reason)
		}
	}
	p.Simulated = r.exchange.Market().Simulated
	return p, r.setListed(ctx, exchange, stored, &delisted)
}

// patience is the longest ban or pause that a job waits out. After a longer one
// its sweep would be of another time than the one it was asked at: it fails.
const patience = time.Hour

// endsJob tells the errors that end a job from those that are one pair's line
// in its report.
func endsJob(err error) bool { return heldBack(err) && !putsOff(err) }

// heldBack tells that the whole client may not ask the exchange for a while, not only
// the pair that met it.
func heldBack(err error) bool {
	_, until := errors.AsType[*service.RetryAfterError](err)
	return errors.Is(err, service.ErrBanned) || until && errors.Is(err, service.ErrRateLimited)
}

// putsOff tells the errors after which a job goes on later.
func putsOff(err error) bool {
	later, ok := errors.AsType[*service.RetryAfterError](err)
	return ok && (errors.Is(err, service.ErrRateLimited) && time.Until(later.Until) <= patience || service.Unwritable(err))
}

// statePoll is how often a batch under way looks whether its job has been ended
// from elsewhere.
const statePoll = time.Second

// RunBatch analyses the pairs of one batch and stores what came of them in one
// transaction. The next batch begins when the last pair of this one has, so that
// slots never idle between them.
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

// BatchStats is what a batch took.
type BatchStats struct {
	Pairs   int           // analysed or not
	Failed  int           // of them
	Took    time.Duration // from its first request to its commit
	PeakRSS int64         // bytes, sampled after every pair
	Ended   time.Time
}

// LastBatch returns the last batch this process stored, if it stored any.
func (r *Runner) LastBatch() (BatchStats, bool) {
	if b := r.latest.Load(); b != nil {
		return *b, true
	}
	return BatchStats{}, false
}

func (r *Runner) runBatch(ctx context.Context, j Job, index int, pairs []service.Pair) error {
	start := time.Now()
	b := Batch{JobID: j.ID, Index: index}
	var (
		mu     sync.Mutex // guards b, broken and peak
		broken error      // why pairs that had begun were broken off, if any were
		peak   int64      // RSS
	)
	request := service.Request{Interval: j.Interval, KlineLimit: j.KlineLimit, Store: j.Store}
	var full error // why pairs were not begun, if nothing can be stored
	whenWritable := func(yield func(service.Pair) bool) {
		for _, p := range pairs {
			if full = r.writable(ctx); full != nil || !yield(p) {
				return
			}
		}
	}
	err := r.analyzer.AnalyzeEach(ctx, whenWritable, request, func(p service.Pair, got service.Analysis, err error) {
		if heldBack(err) {
			// This run too, and before another pair gets the slot: none of the job can
			// go on.
			r.endRuns(j.ID, err)
		}
		mu.Lock()
		defer mu.Unlock()
		peak = max(peak, memory.RSS())
		if err != nil && ctx.Err() != nil {
			broken = context.Cause(ctx)
			return
		}
		b.add(j, p.Name, got, err)
	})
	switch {
	case err != nil:
	case full != nil:
		err = full
	default:
		err = broken
	}
	b.Simulated = r.exchange.Market().Simulated

	if err != nil && !errors.Is(err, service.ErrCancelled) && !endsJob(err) {
		// What is analysed is worth keeping, but the batch is not done.
		if b.Snapshots != nil {
			stored := r.put(ctx, j.ID, index, func(ctx context.Context) error { return r.store.Put(ctx, b.Results) })
			if stored != nil {
				r.log.Warn("analyses of a batch broken off could not be stored", "job", j.ID, "batch", index, "error", stored)
			}
		}
		return err
	}
	if endsJob(err) {
		// First, or the last of the batches that met it would complete the job.
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
	took := time.Since(start)
	r.metrics.batch.Observe(took.Seconds())
	r.metrics.peak.Set(float64(peak))
	r.latest.Store(&BatchStats{Pairs: len(pairs), Failed: len(b.Failures), Took: took, PeakRSS: peak, Ended: start.Add(took)})
	r.log.Info("batch stored", "job", j.ID, "batch", index, "symbols", len(pairs),
		"done", b.Done, "failed", len(b.Failures), "seconds", took.Seconds(), "peak_rss_bytes", peak)
	if ended {
		r.ended(ctx, j.ID)
	} else {
		r.tell()
	}
	return err
}

// add notes the outcome of one pair.
func (b *Batch) add(j Job, symbol string, got service.Analysis, err error) {
	switch {
	case err != nil:
		b.Failures = append(b.Failures, Outcome{Symbol: symbol, Code: service.Code(err), Detail: detail(err)})
		return
	case j.Store:
		b.Add(got)
	default:
		b.Result = &got.Snapshot
	}
	b.Done++
}

// put calls store, although the job may be over, and again where a database may come
// back: what was fetched is not thrown away lightly. While there is no room it waits,
// as long as the run may. Once the process is being stopped, no further try follows.
func (r *Runner) put(run context.Context, jobID string, index int, store func(ctx context.Context) error) (err error) {
	ctx := context.WithoutCancel(run)
	for _, pause := range [...]time.Duration{0, 200 * time.Millisecond, time.Second, 3 * time.Second} {
		select {
		case <-time.After(pause):
		case <-r.analyzer.Killing().Done(): // one last try, at once
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
			if waited := r.writable(run); waited != nil {
				if putsOff(waited) {
					err = waited
				}
				return err
			}
		}
		r.log.Warn("a batch could not be stored", "job", jobID, "batch", index, "error", err)
	}
	return err
}

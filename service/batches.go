package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// The queue of the Store calls Plan once for every job and RunBatch once for
// every batch, in any process that serves the job's exchange, and again where a
// process died or an error says so. Both leave the same behind however often they
// run. Their errors say what to do with the call: nil, it is done with, whatever
// became of the job; ErrStopping, hand it to another process, or to this one once
// it has started again; a RetryAfterError around ErrRateLimited, call again then,
// which is no further try; anything else, try again later. With last set, another
// try would be no use: they end the job instead.
//
// One such call is a run. All that it waits for, the exchange included, it waits
// for with the context of the run, which ends early for one of four causes:
//
//   - ErrCancelled: the job has ended, as seen from this process at once and from
//     others within statePoll. The run is done with.
//   - ErrStopping: the process stops. The run is handed back at once.
//   - a RetryAfterError around ErrRateLimited: a run of the same job met a ban or a
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
func (a *Analyzer) Workers() int {
	const fetching = 10 // pairs that may be begun while the queue fetches a batch
	return (a.cfg.Concurrency+fetching)/a.cfg.BatchSize + 2
}

// run is one call of Plan or RunBatch under way.
type run struct {
	jobID string
	end   context.CancelCauseFunc
}

// begin registers a run and returns its context.
func (a *Analyzer) begin(ctx context.Context, jobID string) (context.Context, func(), error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopping.Err() != nil {
		return nil, nil, ErrStopping
	}
	ctx, end := context.WithCancelCause(ctx)
	r := &run{jobID, end}
	a.runs[r] = struct{}{}
	a.work.Add(1)
	stopWaiting := context.AfterFunc(a.stopping, func() { end(ErrStopping) })
	return ctx, func() {
		stopWaiting()
		end(nil)
		a.mu.Lock()
		delete(a.runs, r)
		a.mu.Unlock()
		a.work.Done()
	}, nil
}

// endRuns ends the runs of a job in this process.
func (a *Analyzer) endRuns(jobID string, why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for r := range a.runs {
		if r.jobID == jobID {
			r.end(why)
		}
	}
}

// working counts the jobs this process is working on.
func (a *Analyzer) working() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	jobs := map[string]bool{}
	for r := range a.runs {
		jobs[r.jobID] = true
	}
	return len(jobs)
}

// Plan finds out which pairs a job covers, and has the queue hand out its
// batches.
func (a *Analyzer) Plan(ctx context.Context, jobID string, scope Scope, last bool) error {
	ctx, done, err := a.begin(ctx, jobID)
	if err != nil {
		return err
	}
	defer done()
	var j Job
	err = a.whenWritable(ctx, func() (err error) {
		j, err = a.store.StartJob(ctx, jobID)
		return err
	})
	if errors.Is(err, ErrUnknownJob) || err == nil && j.State.Final() {
		return nil
	}
	var ended bool
	if err == nil {
		a.tell()
		a.log.Info("job started", "job", j.ID, "kind", j.Kind, "interval", j.Interval, "simulated", j.Simulated)
		var p Plan
		if p, err = a.plan(ctx, scope); err == nil {
			err = a.whenWritable(ctx, func() (err error) {
				ended, err = a.store.PlanJob(ctx, jobID, p)
				return err
			})
		}
	}
	switch {
	case err == nil && ended:
		a.ended(ctx, jobID)
	case err == nil:
		a.tell()
	}
	return a.conclude(ctx, jobID, err, last, a.log.With("job", jobID, "work", "plan"))
}

// conclude turns the error of a run into what the queue is told, and ends the job
// where the error does.
func (a *Analyzer) conclude(ctx context.Context, jobID string, err error, last bool, log *slog.Logger) error {
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("it took longer than one run may: %w", err)
		} else if !errors.Is(err, ErrCancelled) && !errors.Is(err, ErrRateLimited) {
			err = ErrStopping
		}
	}
	switch {
	case err == nil, errors.Is(err, ErrCancelled):
		return nil
	case errors.Is(err, ErrStopping):
		return ErrStopping
	case putsOff(err):
		log.Info("work is put off", "reason", err)
		return err
	case last, endsJob(err):
		return a.failJob(ctx, jobID, err)
	}
	log.Warn("work failed, trying again", "error", err)
	return err
}

// plan lists the pairs a job covers, and what the filter removes.
func (a *Analyzer) plan(ctx context.Context, scope Scope) (Plan, error) {
	p := Plan{BatchSize: a.cfg.BatchSize, Simulated: a.exchange.Market().Simulated}
	if len(scope.Symbols) > 0 {
		p.Pairs = make([]Pair, len(scope.Symbols))
		for i, name := range scope.Symbols {
			p.Pairs[i].Name = name
		}
		return p, nil
	}
	exchange := a.exchange.Market().Exchange
	stored, err := a.store.Listed(ctx, exchange)
	if err != nil {
		return Plan{}, err
	}
	var delisted delisting
	for l, err := range a.list(ctx, cmp.Or(scope.Filter, &a.cfg.Filter)) {
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
			p.Pairs = append(p.Pairs, Pair{l.Name, l.Tick})
		case l.Reason.Code != quoteAsset && l.Reason.Code != notTrading:
			p.Skips = append(p.Skips, l.Reason)
		}
	}
	p.Simulated = a.exchange.Market().Simulated
	return p, a.setListed(ctx, exchange, stored, &delisted)
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
	_, until := errors.AsType[*RetryAfterError](err)
	return errors.Is(err, ErrBanned) || until && errors.Is(err, ErrRateLimited)
}

// putsOff tells the errors after which a job goes on later.
func putsOff(err error) bool {
	later, ok := errors.AsType[*RetryAfterError](err)
	return ok && (errors.Is(err, ErrRateLimited) && time.Until(later.Until) <= patience || noRoom(err))
}

// statePoll is how often a batch under way looks whether its job has been ended
// from elsewhere.
const statePoll = time.Second

// RunBatch analyses the pairs of one batch and stores what came of them in one
// transaction. The next batch begins when the last pair of this one has, so that
// slots never idle between them.
func (a *Analyzer) RunBatch(ctx context.Context, jobID string, index int, pairs []Pair, last bool) error {
	ctx, done, err := a.begin(ctx, jobID)
	if err != nil {
		return err
	}
	defer done()
	stored := false
	j, err := a.store.Progress(ctx, jobID)
	if err == nil {
		stored, err = a.store.BatchStored(ctx, jobID, index)
	}
	switch {
	case errors.Is(err, ErrUnknownJob), err == nil && (stored || j.State.Final()):
		return nil
	case err == nil:
		if err = a.fits(j.KlineLimit); err == nil {
			err = a.runBatch(ctx, j, index, pairs)
		}
	}
	return a.conclude(ctx, jobID, err, last, a.log.With("job", jobID, "work", "batch", "batch", index))
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
func (a *Analyzer) LastBatch() (BatchStats, bool) {
	if b := a.latest.Load(); b != nil {
		return *b, true
	}
	return BatchStats{}, false
}

func (a *Analyzer) runBatch(ctx context.Context, j Job, index int, pairs []Pair) error {
	start := time.Now()
	b := Batch{JobID: j.ID, Index: index}
	var (
		mu       sync.Mutex // guards b and broken
		broken   error      // why pairs that had begun were broken off, if some were
		analyses sync.WaitGroup
		polling  sync.WaitGroup
		peak     atomic.Int64 // RSS
	)
	polled, endPolling := context.WithCancel(ctx)
	defer endPolling()
	polling.Go(func() { a.pollState(polled, j.ID) })
	err := a.handOut(ctx, pairs, j.KlineLimit, func(s *slot, p Pair) {
		analyses.Go(func() {
			snap, more, err := a.analyzePair(ctx, s, p, j)
			if heldBack(err) {
				// This run too, and before another pair gets the slot: none of the job can
				// go on.
				a.endRuns(j.ID, err)
			}
			a.slots.release(s)
			raise(&peak, RSS())
			mu.Lock()
			defer mu.Unlock()
			if err != nil && ctx.Err() != nil {
				broken = context.Cause(ctx)
				return
			}
			b.add(j, p.Name, snap, more, err)
		})
	})
	analyses.Wait()
	if err == nil {
		err = broken
	}
	endPolling()
	polling.Wait()
	b.Simulated = a.exchange.Market().Simulated

	if err != nil && !errors.Is(err, ErrCancelled) && !endsJob(err) {
		// What is analysed is worth keeping, but the batch is not done.
		if b.Snapshots != nil {
			if _, stored := a.put(ctx, Batch{Snapshots: b.Snapshots, Candles: b.Candles, Judged: b.Judged}); stored != nil {
				a.log.Warn("analyses of a batch broken off could not be stored", "job", j.ID, "batch", index, "error", stored)
			}
		}
		return err
	}
	if endsJob(err) {
		// First, or the last of the batches that met it would complete the job.
		if failed := a.failJob(ctx, j.ID, err); failed != nil {
			return failed
		}
	}
	ended, stored := a.put(ctx, b)
	if stored != nil {
		return fmt.Errorf("batch %d: %w", index, stored)
	}
	took := time.Since(start)
	a.metrics.batch.Observe(took.Seconds())
	a.metrics.peak.Set(float64(peak.Load()))
	a.latest.Store(&BatchStats{Pairs: len(pairs), Failed: len(b.Failures), Took: took, PeakRSS: peak.Load(), Ended: start.Add(took)})
	a.log.Info("batch stored", "job", j.ID, "batch", index, "symbols", len(pairs),
		"done", b.Done, "failed", len(b.Failures), "seconds", took.Seconds(), "peak_rss_bytes", peak.Load())
	if ended {
		a.ended(ctx, j.ID)
	} else {
		a.tell()
	}
	return err
}

// pollState ends the runs of a job in this process once another process has
// ended it, until ctx ends.
func (a *Analyzer) pollState(ctx context.Context, jobID string) {
	tick := time.NewTicker(statePoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		j, err := a.store.Progress(ctx, jobID)
		if errors.Is(err, ErrUnknownJob) || err == nil && j.State.Final() {
			a.endRuns(jobID, ErrCancelled)
			return
		}
	}
}

// handOut waits its turn and then begins one pair after the other, each as
// soon as a slot is free.
func (a *Analyzer) handOut(ctx context.Context, pairs []Pair, klines int, begin func(*slot, Pair)) error {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for _, p := range pairs {
		if err := a.writable(ctx); err != nil {
			return err
		}
		s, err := a.acquire(ctx, &a.slots.fetching, klines, 0, false)
		if err != nil {
			return err
		}
		begin(s, p)
	}
	return nil
}

// analyzePair runs one pair of a job.
func (a *Analyzer) analyzePair(ctx context.Context, s *slot, p Pair, j Job) (Snapshot, besides, error) {
	r := Request{Symbol: p.Name, Interval: j.Interval, KlineLimit: j.KlineLimit, Store: j.Store}
	if p.Tick != (Tick{}) {
		return a.analyzeSymbol(ctx, s, p, r)
	}
	return a.lookUpAndAnalyze(ctx, s, r)
}

// add notes the outcome of one pair.
func (b *Batch) add(j Job, symbol string, snap Snapshot, more besides, err error) {
	switch {
	case err != nil:
		b.Failures = append(b.Failures, Outcome{Symbol: symbol, Code: Code(err), Detail: detail(err)})
		return
	case j.Store:
		b.keep(snap, more)
	default:
		b.Result = &snap
	}
	b.Done++
}

// keep adds an analysis that is to be stored.
func (b *Batch) keep(snap Snapshot, more besides) {
	b.Snapshots = append(b.Snapshots, snap)
	b.Candles = append(b.Candles, more.change.list()...)
	if more.judged != nil {
		b.Judged = append(b.Judged, *more.judged)
	}
}

// put stores a batch although its job may be over, and tries again where a
// database may come back: what was fetched is not thrown away lightly. While there is
// no room it waits, as long as the run may. Once the process is made to stop, no
// further try follows.
func (a *Analyzer) put(run context.Context, b Batch) (ended bool, err error) {
	ctx := context.WithoutCancel(run)
	for _, pause := range [...]time.Duration{0, 200 * time.Millisecond, time.Second, 3 * time.Second} {
		select {
		case <-time.After(pause):
		case <-a.killing.Done(): // one last try, at once
		}
		last := a.killing.Err() != nil
		for {
			attempt, cancel := context.WithTimeout(ctx, 30*time.Second)
			ended, err = a.store.Put(attempt, b)
			cancel()
			if err == nil || last || !errors.Is(err, ErrStorage) {
				return ended, err
			}
			if !noRoom(err) || a.store.Writable() == nil {
				break
			}
			if waited := a.writable(run); waited != nil {
				if putsOff(waited) {
					err = waited
				}
				return false, err
			}
		}
		a.log.Warn("a batch could not be stored", "job", b.JobID, "batch", b.Index, "error", err)
	}
	return false, err
}

// raise sets v to n if n is larger.
func raise(v *atomic.Int64, n int64) {
	for old := v.Load(); n > old && !v.CompareAndSwap(old, n); old = v.Load() {
	}
}

package service

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"tidemark/levels"
)

// The kinds of a job.
const (
	KindSweep    = "sweep"    // every pair of the exchange that passes the filter
	KindAnalysis = "analysis" // named symbols, or the caller's own klines
)

// JobRequest asks for a job: All pairs that pass the filter, or those named.
type JobRequest struct {
	All        bool
	Symbols    []string // order kept, repeats dropped
	Interval   levels.Interval
	KlineLimit int
	Store      bool // false only for a single symbol, whose analysis the job then carries
}

// heartbeat is how often a running job's row is touched. A job not touched for
// several of them belongs to a process that died.
const heartbeat = 30 * time.Second

// run is a job of this process: what is asked, how far it is, who watches.
type run struct {
	request JobRequest
	key     string // equal for the same work
	cancel  context.CancelCauseFunc

	mu      sync.Mutex
	job     Job
	changed chan struct{} // closed at every change, and replaced
}

func (r *run) update(f func(j *Job)) {
	r.mu.Lock()
	f(&r.job)
	close(r.changed)
	r.changed = make(chan struct{})
	r.mu.Unlock()
}

// look returns the job as it stands and a channel closed at its next change.
func (r *run) look() (Job, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j := r.job
	// appending to the job's own slices must not reach the copies
	j.Failures = slices.Clip(j.Failures)
	return j, r.changed
}

// Submit starts a job and returns at once. The same work already queued or
// running is joined: the job returned is that one.
func (a *Analyzer) Submit(ctx context.Context, r JobRequest) (Job, error) {
	if err := a.settle(&r.Interval, &r.KlineLimit); err != nil {
		return Job{}, err
	}
	r.Symbols = unique(r.Symbols)
	switch {
	case r.All == (len(r.Symbols) > 0):
		return Job{}, fmt.Errorf("%w: a job covers either all pairs or the symbols named", ErrInvalid)
	case !r.Store && len(r.Symbols) != 1:
		return Job{}, fmt.Errorf("%w: without storing, the analyses of several pairs could not be read", ErrInvalid)
	}
	key := fmt.Sprint(r.All, r.Interval, r.KlineLimit, r.Store, r.Symbols)

	a.mu.Lock()
	if a.stopping.Err() != nil {
		a.mu.Unlock()
		return Job{}, ErrStopping
	}
	for _, other := range a.jobs {
		if j, _ := other.look(); other.key == key && !j.State.Final() {
			a.mu.Unlock()
			a.metrics.joined.Inc()
			return j, nil
		}
	}
	if len(a.jobs) >= a.cfg.QueueLimit {
		a.mu.Unlock()
		return Job{}, &RetryAfterError{
			Err:   fmt.Errorf("%w: %d jobs are open already (ANALYSIS_QUEUE_LIMIT)", ErrBusy, a.cfg.QueueLimit),
			Until: time.Now().Add(busyRetry),
		}
	}
	jobCtx, cancel := context.WithCancelCause(a.killing)
	j := &run{request: r, key: key, cancel: cancel, job: a.newJob(r), changed: make(chan struct{})}
	a.jobs[j.job.ID] = j
	a.work.Add(1)
	a.mu.Unlock()

	if err := a.store.PutJob(ctx, j.job); err != nil {
		cancel(err)
		a.forget(j)
		return Job{}, err
	}
	snapshot, _ := j.look()
	go a.runJob(jobCtx, j)
	return snapshot, nil
}

// forget drops a job that has ended from those of this process.
func (a *Analyzer) forget(j *run) {
	a.mu.Lock()
	delete(a.jobs, j.job.ID)
	a.mu.Unlock()
	a.work.Done()
}

func (a *Analyzer) newJob(r JobRequest) Job {
	kind := KindAnalysis
	if r.All {
		kind = KindSweep
	}
	market := a.exchange.Market()
	return Job{
		ID: strings.ToLower(rand.Text()), Kind: kind, State: JobQueued,
		Exchange: market.Exchange, Simulated: market.Simulated,
		Interval: r.Interval, KlineLimit: r.KlineLimit, Store: r.Store,
		Symbols: len(r.Symbols), CreatedAt: time.Now().UTC().Truncate(time.Millisecond),
	}
}

// SubmitCandles analyses the caller's own candles as AnalyzeCandles does, and
// returns a job that is complete and carries the analysis as its Result.
func (a *Analyzer) SubmitCandles(ctx context.Context, fill func(dst *levels.Candles, most int) error) (Job, error) {
	created := time.Now().UTC().Truncate(time.Millisecond)
	snap, err := a.AnalyzeCandles(ctx, fill)
	if err != nil {
		return Job{}, err
	}
	j := Job{
		ID: strings.ToLower(rand.Text()), Kind: KindAnalysis, State: JobCompleted,
		Interval: snap.Interval, KlineLimit: snap.Klines,
		Symbols: 1, Done: 1, Batches: 1, BatchesDone: 1,
		CreatedAt: created, StartedAt: created, FinishedAt: snap.ComputedAt,
		Result: &snap,
	}
	if err := a.store.PutJob(ctx, j); err != nil {
		return Job{}, err
	}
	return j, nil
}

// Job returns a job as it stands.
func (a *Analyzer) Job(ctx context.Context, id string) (Job, error) {
	if r := a.running(id); r != nil {
		j, _ := r.look()
		return j, nil
	}
	return a.store.Job(ctx, id)
}

// Jobs returns the newest limit jobs, newest first, without failures, skips
// and results.
func (a *Analyzer) Jobs(ctx context.Context, limit int) ([]Job, error) {
	jobs, err := a.store.Jobs(ctx, limit)
	for i := range jobs {
		if r := a.running(jobs[i].ID); r != nil {
			jobs[i], _ = r.look()
			jobs[i].Failures, jobs[i].Skips = nil, nil
		}
	}
	return jobs, err
}

func (a *Analyzer) running(id string) *run {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.jobs[id]
}

// Cancel asks a job to stop and returns it as it stands; pairs under way
// finish first and are stored. ErrJobFinished if it has ended.
func (a *Analyzer) Cancel(ctx context.Context, id string) (Job, error) {
	r := a.running(id)
	var j Job
	var err error
	if r != nil {
		j, _ = r.look()
	} else {
		j, err = a.store.Job(ctx, id)
	}
	switch {
	case err != nil:
		return Job{}, err
	case j.State.Final():
		return j, fmt.Errorf("%w: it is %s", ErrJobFinished, j.State)
	case r != nil:
		r.cancel(ErrCancelled)
		return j, nil
	}
	return j, fmt.Errorf("%w: the job runs in another process", ErrInvalid)
}

// Watch yields the job as it stands and again whenever it changed, at most
// once in every interval, until it has ended, which is the last one yielded.
func (a *Analyzer) Watch(ctx context.Context, id string, every time.Duration) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		for {
			var changed <-chan struct{}
			var j Job
			var err error
			pause := every
			if r := a.running(id); r != nil {
				j, changed = r.look()
			} else if j, err = a.store.Job(ctx, id); err == nil {
				pause = max(every, time.Second) // another process has it; ask the database
			}
			if !yield(j, err) || err != nil || j.State.Final() {
				return
			}
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			}
			if changed == nil {
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
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

// runJob runs a job from queued to its end.
func (a *Analyzer) runJob(ctx context.Context, r *run) {
	defer a.forget(r)
	defer r.cancel(nil)
	defer context.AfterFunc(a.stopping, func() { r.cancel(ErrStopping) })()
	log := a.log.With("job", r.job.ID, "kind", r.job.Kind, "interval", r.request.Interval)
	start := time.Now()
	r.update(func(j *Job) { j.State, j.StartedAt = JobRunning, start.UTC().Truncate(time.Millisecond) })
	log.Info("job started", "simulated", r.job.Simulated)

	beating, stopBeat := context.WithCancel(ctx)
	var beat sync.WaitGroup
	beat.Go(func() { a.beat(beating, r) })
	err := a.runBatches(ctx, r)
	stopBeat()
	beat.Wait()

	r.update(func(j *Job) {
		j.FinishedAt = time.Now().UTC().Truncate(time.Millisecond)
		j.Simulated = a.exchange.Market().Simulated
		switch {
		case err == nil:
			j.State = JobCompleted
		case errors.Is(err, ErrCancelled):
			j.State = JobCancelled
		default:
			j.State, j.Error = JobFailed, &Outcome{Code: Code(err), Detail: detail(err)}
		}
	})
	job, _ := r.look()
	if err := a.saveJob(ctx, job); err != nil {
		log.Error("the end of the job could not be stored", "error", err)
	}
	a.metrics.jobs.WithLabelValues(job.Kind, string(job.State)).Inc()
	took := time.Since(start)
	if job.Kind == KindSweep && job.State == JobCompleted {
		a.metrics.sweep.Observe(took.Seconds())
		a.metrics.swept.WithLabelValues(string(job.Interval)).Set(float64(job.FinishedAt.UnixMilli()) / 1000)
	}
	memory := ReadMemory()
	if job.Error != nil {
		log.Error("job failed", "error", err)
	}
	log.Info("job ended", "state", job.State, "symbols", job.Symbols, "done", job.Done,
		"failed", job.Failed, "skipped", job.Skipped, "seconds", took.Seconds(),
		"rss_bytes", memory.RSS, "peak_rss_bytes", memory.PeakRSS, "simulated", job.Simulated)
}

// saveJob stores the job although its own context may be over.
func (a *Analyzer) saveJob(ctx context.Context, j Job) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return a.store.PutJob(ctx, j)
}

// beat touches the job's row until ctx ends.
func (a *Analyzer) beat(ctx context.Context, r *run) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			j, _ := r.look()
			if err := a.store.PutJob(ctx, j); err != nil && ctx.Err() == nil {
				a.log.Warn("a running job could not be touched", "job", j.ID, "error", err)
			}
		}
	}
}

// detail is what a client may read of an error: the chain where the code tells
// it is one of ours, and no more than that it happened where it is not.
func detail(err error) string {
	if Code(err) == "internal" {
		return "an internal error; the log has the details"
	}
	return err.Error()
}

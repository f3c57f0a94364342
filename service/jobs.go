package service

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
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

// Submit queues a job and returns at once. The same work already queued or
// running, in whichever process, is joined: the job returned is that one.
func (a *Analyzer) Submit(ctx context.Context, r JobRequest) (j Job, joined bool, err error) {
	if err := a.settle(&r.Interval, &r.KlineLimit); err != nil {
		return Job{}, false, err
	}
	r.Symbols = unique(r.Symbols)
	switch {
	case r.All == (len(r.Symbols) > 0):
		return Job{}, false, fmt.Errorf("%w: a job covers either all pairs or the symbols named", ErrInvalid)
	case !r.Store && len(r.Symbols) != 1:
		return Job{}, false, fmt.Errorf("%w: without storing, the analyses of several pairs could not be read", ErrInvalid)
	case a.stopping.Err() != nil:
		return Job{}, false, ErrStopping
	}
	created, scope := a.newJob(r), a.scope(r)
	j, joined, err = a.store.SubmitJob(ctx, created, scope.work(created), scope, a.cfg.QueueLimit)
	switch {
	case errors.Is(err, ErrBusy):
		return Job{}, false, &RetryAfterError{
			Err:   fmt.Errorf("%w: %d jobs are open already (ANALYSIS_QUEUE_LIMIT)", ErrBusy, a.cfg.QueueLimit),
			Until: time.Now().Add(busyRetry),
		}
	case err != nil:
		return Job{}, false, err
	case joined:
		a.metrics.joined.Inc()
	}
	return j, joined, nil
}

// scope is what a request covers: all pairs are those that the filter of this
// process selects.
func (a *Analyzer) scope(r JobRequest) Scope {
	if r.All {
		return Scope{Filter: &a.cfg.Filter}
	}
	return Scope{Symbols: r.Symbols}
}

// work names what a job does, by all that shapes its result: equal for the same
// work, and short.
func (s Scope) work(j Job) string {
	b := fmt.Appendf(nil, "%q %v %d %v %q", j.Exchange, j.Interval, j.KlineLimit, j.Store, s.Symbols)
	if f := s.Filter; f != nil {
		b = fmt.Appendf(b, " %q %v %v %v", slices.Sorted(slices.Values(f.QuoteAssets)), f.MinQuoteVolume, f.KeepLeveraged, f.KeepStablePairs)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
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
func (a *Analyzer) SubmitCandles(ctx context.Context, n int, fill func(dst *levels.Candles) error) (Job, error) {
	created := time.Now().UTC().Truncate(time.Millisecond)
	snap, err := a.AnalyzeCandles(ctx, n, fill)
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
func (a *Analyzer) Job(ctx context.Context, id string) (Job, error) { return a.store.Job(ctx, id) }

// Progress returns a job without failures, skips and result.
func (a *Analyzer) Progress(ctx context.Context, id string) (Job, error) {
	return a.store.Progress(ctx, id)
}

// Jobs returns the newest limit jobs, newest first, without failures, skips
// and results.
func (a *Analyzer) Jobs(ctx context.Context, limit int) ([]Job, error) {
	return a.store.Jobs(ctx, limit)
}

// Cancel ends a job at once, whichever process works on it, and returns it. No
// further pair begins and none waits for the exchange any more; what has been
// analysed is stored, and still added to the job's counts. ErrJobFinished if the
// job has ended.
func (a *Analyzer) Cancel(ctx context.Context, id string) (Job, error) {
	ended, err := a.store.EndJob(ctx, id, JobCancelled, nil)
	if err != nil {
		return Job{}, err
	}
	if ended {
		a.endRuns(id, ErrCancelled)
		a.ended(ctx, id)
	}
	j, err := a.store.Job(ctx, id)
	if err == nil && !ended {
		err = fmt.Errorf("%w: it is %s", ErrJobFinished, j.State)
	}
	return j, err
}

// GiveUp ends a job of which a plan or a batch was begun so many times and never
// came to an end: the process was killed each time, most likely by that work.
func (a *Analyzer) GiveUp(ctx context.Context, id string, begun int) error {
	err := fmt.Errorf("a part of the job was begun %d times, and each time the process died before its end", begun)
	return a.endFailed(ctx, id, err, Outcome{Code: "interrupted", Detail: err.Error()})
}

// failJob ends a job for good, because of err.
func (a *Analyzer) failJob(ctx context.Context, id string, err error) error {
	return a.endFailed(ctx, id, err, Outcome{Code: Code(err), Detail: detail(err)})
}

func (a *Analyzer) endFailed(ctx context.Context, id string, err error, reason Outcome) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	ended, failed := a.store.EndJob(ctx, id, JobFailed, &reason)
	if failed != nil {
		return fmt.Errorf("a job that failed (%w) could not be ended: %w", err, failed)
	}
	if ended {
		a.log.Error("job failed", "job", id, "error", err)
		a.endRuns(id, ErrCancelled)
		a.ended(ctx, id)
	}
	return nil
}

// ended counts and logs a job this process has ended, and tells who watches.
func (a *Analyzer) ended(ctx context.Context, id string) {
	a.tell()
	j, err := a.store.Progress(context.WithoutCancel(ctx), id)
	if err != nil {
		a.log.Warn("job ended, and cannot be read", "job", id, "error", err)
		return
	}
	a.metrics.jobs.WithLabelValues(j.Kind, string(j.State)).Inc()
	took := j.FinishedAt.Sub(j.CreatedAt)
	if !j.StartedAt.IsZero() {
		took = j.FinishedAt.Sub(j.StartedAt)
	}
	if j.Kind == KindSweep && j.State == JobCompleted {
		a.metrics.sweep.Observe(took.Seconds())
		a.metrics.swept.WithLabelValues(string(j.Interval)).Set(float64(j.FinishedAt.UnixMilli()) / 1000)
	}
	memory := ReadMemory()
	a.log.Info("job ended", "job", j.ID, "kind", j.Kind, "interval", j.Interval, "state", j.State, "symbols", j.Symbols,
		"done", j.Done, "failed", j.Failed, "skipped", j.Skipped, "seconds", took.Seconds(),
		"rss_bytes", memory.RSS, "peak_rss_bytes", memory.PeakRSS, "simulated", j.Simulated)
}

// tell wakes those in this process who watch a job.
func (a *Analyzer) tell() {
	a.mu.Lock()
	close(a.changed)
	a.changed = make(chan struct{})
	a.mu.Unlock()
}

// watchPoll is how often a watched job is looked up: other processes work on it
// too.
const watchPoll = time.Second

// Watch yields the job as it stands and again whenever it changed, at most
// once in every interval, until it has ended, which is the last one yielded. All
// are without failures, skips and result.
func (a *Analyzer) Watch(ctx context.Context, id string, every time.Duration) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		var seen [5]int
		var state JobState
		for {
			a.mu.Lock()
			changed := a.changed
			a.mu.Unlock()
			j, err := a.store.Progress(ctx, id)
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

// wait waits for d, or for ready if that comes first; false if ctx ended.
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

// detail is what a client may read of an error: the chain where the code tells
// it is one of ours, and no more than that it happened where it is not.
func detail(err error) string {
	if Code(err) == "internal" {
		return "an internal error; the log has the details"
	}
	return err.Error()
}

package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// runBatches lists the symbols of a job, cuts them into batches and runs them.
// It is where a durable queue takes over: plan tells what to enqueue, and
// runBatch is one job of it, safe to run twice.
func (a *Analyzer) runBatches(ctx context.Context, r *run) error {
	pairs, err := a.plan(ctx, r)
	if err != nil {
		return err
	}
	size := a.cfg.BatchSize
	r.update(func(j *Job) {
		j.Symbols = len(pairs) + len(j.Skips)
		j.Skipped = len(j.Skips)
		j.Batches = (len(pairs) + size - 1) / size
	})
	job, _ := r.look()
	if err := a.store.PutJob(ctx, job); err != nil {
		return err
	}

	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	// As many batches are open as it takes to keep every slot busy while the
	// last pairs of the oldest are still under way.
	open := make(chan struct{}, a.cfg.Concurrency/size+2)
	var batches sync.WaitGroup
	index := 0
	for part := range slices.Chunk(pairs, size) {
		select {
		case open <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		i := index
		index++
		handedOut := make(chan struct{})
		batches.Go(func() {
			if err := a.runBatch(ctx, r, i, part, handedOut); err != nil {
				fail(err)
			}
			<-open
		})
		<-handedOut
	}
	batches.Wait()
	return context.Cause(ctx)
}

// pair is what a batch knows of a symbol: little, since the pairs of a whole
// market wait in memory.
type pair struct {
	name string
	tick Tick
}

// plan returns the pairs a job covers, with what the filter removed noted in
// the job. Pairs named by the caller have no tick yet.
func (a *Analyzer) plan(ctx context.Context, r *run) ([]pair, error) {
	if !r.request.All {
		named := make([]pair, len(r.request.Symbols))
		for i, name := range r.request.Symbols {
			named[i].name = name
		}
		return named, nil
	}
	var selected []pair
	var skips []Outcome
	for l, err := range a.Symbols(ctx) {
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			return nil, err
		case l.Selected:
			selected = append(selected, pair{l.Name, l.Tick})
		case l.Reason.Code != quoteAsset && l.Reason.Code != notTrading:
			skips = append(skips, l.Reason)
		}
	}
	r.update(func(j *Job) {
		j.Skips = skips
		j.Simulated = a.exchange.Market().Simulated
	})
	return selected, nil
}

// endsRun tells the errors that end a job from those that are one pair's line
// in its report.
func endsRun(err error) bool {
	return errors.Is(err, ErrBanned) || errors.Is(err, ErrStopping) || errors.Is(err, ErrCancelled)
}

// runBatch analyses the pairs of one batch and stores what came of them in one
// transaction. handedOut is closed when its last pair has begun, so that the
// next batch fills the slots as they come free. When ctx ends or a pair meets
// an error that ends the run, no further pair begins; those under way finish,
// and what they found is stored all the same.
func (a *Analyzer) runBatch(ctx context.Context, r *run, index int, pairs []pair, handedOut chan<- struct{}) error {
	start := time.Now()
	b := Batch{JobID: r.job.ID, Index: index}
	var (
		mu   sync.Mutex // guards b
		work sync.WaitGroup
		peak atomic.Int64 // RSS
	)
	handing, end := context.WithCancelCause(ctx)
	defer end(nil)
	err := a.handOut(handing, pairs, r.request.KlineLimit, func(s *slot, p pair) {
		work.Go(func() {
			snap, err := a.analyzePair(s, p, r.request)
			a.slots.release(s)
			raise(&peak, RSS())
			if err != nil && endsRun(err) {
				end(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			b.add(r, p.name, snap, err)
		})
	})
	close(handedOut)
	work.Wait()
	if err == nil {
		err = context.Cause(handing) // of a pair that met it last
	}

	if stored := a.put(ctx, b); stored != nil {
		r.update(func(j *Job) { j.Done -= b.Done; j.Failed -= len(b.Failures) })
		return fmt.Errorf("batch %d: %w", index, stored)
	}
	took := time.Since(start)
	a.metrics.batch.Observe(took.Seconds())
	a.metrics.peak.Set(float64(peak.Load()))
	a.log.Info("batch stored", "job", r.job.ID, "batch", index, "symbols", len(pairs),
		"done", b.Done, "failed", len(b.Failures), "seconds", took.Seconds(), "peak_rss_bytes", peak.Load())
	if err == nil {
		r.update(func(j *Job) { j.BatchesDone++ })
	}
	return err
}

// handOut waits its turn and then begins one pair after the other, each as
// soon as a slot is free.
func (a *Analyzer) handOut(ctx context.Context, pairs []pair, klines int, begin func(*slot, pair)) error {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for _, p := range pairs {
		s, err := a.acquire(ctx, klines, false)
		if err != nil {
			return err
		}
		begin(s, p)
	}
	return nil
}

// analyzePair runs one pair of a job. A cancelled job does not cut it off,
// only the process being made to stop does.
func (a *Analyzer) analyzePair(s *slot, p pair, r JobRequest) (snap Snapshot, err error) {
	ctx := a.killing
	if r.All {
		snap, err = a.analyzeSymbol(ctx, s, p, r.Interval, r.KlineLimit)
	} else {
		snap, err = a.lookUpAndAnalyze(ctx, s, Request{Symbol: p.name, Interval: r.Interval, KlineLimit: r.KlineLimit})
	}
	if ctx.Err() != nil {
		return Snapshot{}, context.Cause(ctx)
	}
	return snap, err
}

// add notes the outcome of one pair in the batch, which is what will be
// stored, and in the job, which is what watchers see meanwhile.
func (b *Batch) add(r *run, symbol string, snap Snapshot, err error) {
	if err != nil {
		failure := Outcome{Symbol: symbol, Code: Code(err), Detail: detail(err)}
		b.Failures = append(b.Failures, failure)
		r.update(func(j *Job) { j.Failed++; j.Failures = append(j.Failures, failure) })
		return
	}
	b.Done++
	if r.request.Store {
		b.Snapshots = append(b.Snapshots, snap)
	}
	r.update(func(j *Job) {
		j.Done++
		if !r.request.Store {
			j.Result = &snap
		}
	})
}

// put stores a batch although its job may be over, and tries again where a
// database may come back: what was fetched is not thrown away lightly.
func (a *Analyzer) put(ctx context.Context, b Batch) error {
	ctx = context.WithoutCancel(ctx)
	var err error
	for _, pause := range [...]time.Duration{0, 200 * time.Millisecond, time.Second, 3 * time.Second} {
		select {
		case <-time.After(pause):
		case <-a.killing.Done():
			pause = 0 // one last try, at once
		}
		attempt, cancel := context.WithTimeout(ctx, 30*time.Second)
		err = a.store.Put(attempt, b)
		cancel()
		if err == nil || !errors.Is(err, ErrStorage) {
			return err
		}
		a.log.Warn("a batch could not be stored", "job", b.JobID, "batch", b.Index, "error", err)
	}
	return err
}

// raise sets v to n if n is larger.
func raise(v *atomic.Int64, n int64) {
	for old := v.Load(); n > old && !v.CompareAndSwap(old, n); old = v.Load() {
	}
}

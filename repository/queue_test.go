package repository

// These tests pin what the queue promises the work of jobs, on both databases:
// every piece reaches a worker, of whichever process; what a process that died
// or stopped had taken goes to another; an error is tried again; what was lost
// while its end could not be stored is found.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"tidemark/service"
)

// fakeWorker plans jobs of ten batches and stores them, unless told otherwise.
type fakeWorker struct {
	db        *DB
	PlanFunc  func(jobID string, symbols []string, last bool) error
	BatchFunc func(index int) error

	mu   sync.Mutex
	seen []int // the batches begun
}

func (w *fakeWorker) Workers() int { return 3 }

func (w *fakeWorker) Plan(ctx context.Context, jobID string, symbols []string, last bool) error {
	if w.PlanFunc != nil {
		return w.PlanFunc(jobID, symbols, last)
	}
	if _, err := w.db.StartJob(ctx, jobID); err != nil {
		return err
	}
	p := service.Plan{BatchSize: 2}
	for i := range 20 {
		p.Pairs = append(p.Pairs, service.Pair{Name: symbolOf(i), Tick: service.Tick{Units: 5, Decimals: i}})
	}
	_, err := w.db.PlanJob(ctx, jobID, p)
	return err
}

func (w *fakeWorker) RunBatch(ctx context.Context, jobID string, index int, pairs []service.Pair, last bool) error {
	if len(pairs) != 2 || pairs[1] != (service.Pair{Name: symbolOf(2*index + 1), Tick: service.Tick{Units: 5, Decimals: 2*index + 1}}) {
		return fmt.Errorf("batch %d came with %v", index, pairs)
	}
	w.mu.Lock()
	w.seen = append(w.seen, index)
	w.mu.Unlock()
	if w.BatchFunc != nil {
		if err := w.BatchFunc(index); err != nil {
			return err
		}
	}
	_, err := w.db.Put(ctx, service.Batch{JobID: jobID, Index: index, Done: 2})
	return err
}

func (w *fakeWorker) begun() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(slices.Values(w.seen))
}

// works starts the work of w on db.
func works(t testing.TB, db *DB, w *fakeWorker) *fakeWorker {
	t.Helper()
	w.db = db
	if err := db.Work(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	return w
}

// eventually waits for something that other goroutines do.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func completed(t testing.TB, db *DB, id string) func() bool {
	return func() bool { return getJob(t, db, id).State == service.JobCompleted }
}

func TestQueue_EveryBatchIsWorkedOnWhicheverProcessSubmitted(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		asks, one, two := d.open(t), d.open(t), d.open(t)
		a, b := works(t, one, &fakeWorker{}), works(t, two, &fakeWorker{})
		submitted(t, asks, "j", "w")
		eventually(t, "the job is completed", completed(t, asks, "j"))
		if all := slices.Sorted(slices.Values(append(a.begun(), b.begun()...))); !slices.Equal(all, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
			t.Errorf("batches begun: %v, want each once", all)
		}
		if j := getJob(t, asks, "j"); j.Done != 20 || j.Symbols != 20 {
			t.Errorf("%+v", j)
		}
	})
}

func TestQueue_WorkOfADeadProcessGoesToAnother(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		dies := d.open(t)
		block := make(chan struct{})
		defer close(block)
		dead := works(t, dies, &fakeWorker{BatchFunc: func(int) error { <-block; return service.ErrStopping }})
		submitted(t, dies, "j", "w")
		eventually(t, "three batches are begun", func() bool { return len(dead.begun()) == 3 })
		// as if it were killed: it says no more that it lives
		dies.queue.stop()
		dies.queue.beat.Wait()
		if _, err := exec(t.Context(), dies.write, `UPDATE processes SET seen_at = seen_at - ?`, deadAfter.Milliseconds()); err != nil {
			t.Fatal(err)
		}

		lives := d.open(t)
		heir := works(t, lives, &fakeWorker{})
		eventually(t, "the job is completed", completed(t, lives, "j"))
		if got := heir.begun(); !slices.Equal(got, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
			t.Errorf("the other process worked on %v, want all ten", got)
		}
		if n := count(t, lives, "processes"); n != 1 {
			t.Errorf("%d processes are said to live, want 1", n)
		}
		if s := queueStats(t, lives); s.Rescued < 3 || s.Rescued > 4 || s.Retries != 0 {
			t.Errorf("counted: %+v, want three batches rescued, and perhaps the plan, whose end is stored a moment after it", s)
		}
	})
}

func TestQueue_WhatAStoppingProcessGivesBackIsTakenAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		leaves := d.open(t)
		stopping := make(chan struct{})
		leaver := works(t, leaves, &fakeWorker{BatchFunc: func(int) error { <-stopping; return service.ErrStopping }})
		submitted(t, leaves, "j", "w")
		eventually(t, "three batches are begun", func() bool { return len(leaver.begun()) == 3 })
		stopped := make(chan error)
		go func() { stopped <- leaves.StopWork(t.Context()) }()
		time.Sleep(50 * time.Millisecond) // for the stop to begin; without, it would be given the same again
		close(stopping)
		if err := <-stopped; err != nil {
			t.Fatal(err)
		}
		if n := count(t, leaves, "processes"); n != 0 {
			t.Errorf("%d processes are said to live, want none", n)
		}
		stays := d.open(t)
		works(t, stays, &fakeWorker{})
		eventually(t, "the job is completed", completed(t, stays, "j"))
		if j := getJob(t, stays, "j"); j.Done != 20 {
			t.Errorf("%+v", j)
		}
	})
}

func TestQueue_AnErrorIsTriedAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		var mu sync.Mutex
		failed := map[int]bool{}
		w := works(t, db, &fakeWorker{BatchFunc: func(index int) error {
			mu.Lock()
			defer mu.Unlock()
			if index%5 == 0 && !failed[index] {
				failed[index] = true
				return errors.New("a disk that hiccups")
			}
			return nil
		}})
		submitted(t, db, "j", "w")
		eventually(t, "the job is completed", completed(t, db, "j"))
		if got := w.begun(); !slices.Equal(got, []int{0, 0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9}) {
			t.Errorf("batches begun: %v, want 0 and 5 twice", got)
		}
		if s := queueStats(t, db); s.Retries != 2 || s.Rescued != 0 {
			t.Errorf("counted: %+v, want 2 retries", s)
		}
	})
}

func TestQueue_APauseOfTheExchangeIsNoTry(t *testing.T) {
	for _, reason := range []error{service.ErrBanned, service.ErrRateLimited} {
		db := new(DB)
		q := &queue{db: db, held: map[int64]bool{}}
		until := time.Now().Add(20 * time.Minute)
		err := q.run(1, 0, 1, func(bool) error { return fmt.Errorf("klines: %w", &service.RetryAfterError{Err: reason, Until: until}) })
		snooze, ok := errors.AsType[*river.JobSnoozeError](err)
		if !ok || time.Until(until.Add(-snooze.Duration)).Abs() > time.Minute || db.retries.Load() != 0 {
			t.Errorf("%v: %v, %d retries", reason, err, db.retries.Load())
		}
	}
	q := &queue{db: new(DB), held: map[int64]bool{}}
	if err := q.run(1, 0, 1, func(bool) error { return &service.RetryAfterError{Err: service.ErrBusy} }); !errors.Is(err, service.ErrBusy) {
		t.Errorf("busy: %v", err)
	}
}

func TestQueue_TheLastTryIsToldSo(t *testing.T) {
	// the count is of errors, so it can be had without waiting for the pauses
	q := &queue{held: map[int64]bool{}}
	for errs := range 6 {
		q.run(1, errs, errs+1, func(last bool) error {
			if last != (errs+1 >= tries) {
				t.Errorf("after %d errors: last is %v", errs, last)
			}
			return nil
		})
	}
	q.run(1, 0, begins, func(last bool) error {
		if !last {
			t.Error("what was begun as often as may be is not told so")
		}
		return nil
	})
}

func TestQueue_NamedSymbolsReachThePlan(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		got := make(chan []string, 1)
		works(t, db, &fakeWorker{PlanFunc: func(id string, symbols []string, last bool) error {
			got <- symbols
			return nil
		}})
		want := []string{"BTCUSDT", `O"DD'Ü`}
		if _, _, err := db.SubmitJob(t.Context(), service.Job{ID: "j", State: service.JobQueued, CreatedAt: start}, "w", want, 100); err != nil {
			t.Fatal(err)
		}
		if symbols := <-got; !slices.Equal(symbols, want) {
			t.Errorf("the plan was called with %q, want %q", symbols, want)
		}
	})
}

func TestQueue_WorkWhoseEndWasNotStoredIsFound(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		calls := make(chan struct{}, 10)
		works(t, db, &fakeWorker{PlanFunc: func(string, []string, bool) error { calls <- struct{}{}; return nil }})
		submitted(t, db, "j", "w")
		<-calls
		eventually(t, "its end is stored", func() bool {
			n, err := exec(t.Context(), db.write, `UPDATE river_job SET state = 'running', finalized_at = NULL WHERE state = 'completed'`)
			return err == nil && n == 1
		})
		<-calls
		if s := queueStats(t, db); s.Rescued != 1 {
			t.Errorf("counted: %+v, want 1 rescued", s)
		}
	})
}

func queueStats(t testing.TB, db *DB) QueueStats {
	t.Helper()
	s, err := db.QueueStats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestQueueStats_TellWhatWaitsRunsAndIsDelayed(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		looks, db := d.open(t), d.open(t)
		same(t, QueueStats{}, queueStats(t, looks))
		submitted(t, db, "j", "w")
		hourAgo := `datetime('now', '-1 hour', 'subsec')`
		if d.postgres {
			hourAgo = `now() - interval '1 hour'`
		}
		if _, err := exec(t.Context(), db.write, `UPDATE river_job SET scheduled_at = `+hourAgo); err != nil {
			t.Fatal(err)
		}
		s := queueStats(t, looks)
		if s.Waiting != 1 || s.Running != 0 || s.Oldest < time.Hour || s.Oldest > 2*time.Hour {
			t.Errorf("before anybody works: %+v", s)
		}

		block := make(chan struct{})
		works(t, db, &fakeWorker{BatchFunc: func(index int) error {
			<-block
			if index == 0 {
				return errors.New("once more")
			}
			return nil
		}})
		eventually(t, "three batches run and seven wait", func() bool {
			s := queueStats(t, looks)
			return s.Running == 3 && s.Waiting == 7 && s.Oldest < time.Hour
		})
		close(block)
		eventually(t, "all but one are done, and that one is delayed", func() bool {
			s := queueStats(t, looks)
			return s.Running == 0 && s.Waiting == 0 && s.Oldest == 0 && s.Delayed == 1
		})
	})
}

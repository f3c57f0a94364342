package repository

// These tests pin the guarantees of the queue on both databases: every piece of work
// reaches a worker of some process; the work of a dead or stopped process goes to
// another; work that fails is tried again; work whose end could not be stored is found.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"tidemark/job"
	"tidemark/service"
)

// fakeWorker plans jobs of ten batches and stores them, unless its functions are set.
type fakeWorker struct {
	db        *DB
	PlanFunc  func(jobID string, scope job.Scope, last bool) error
	BatchFunc func(index int) error

	mu    sync.Mutex
	seen  []int    // the batches started
	of    []string // their jobs
	given []string // the jobs given up
}

// What River's maintenance could not do now must alarm nobody.
func TestQueue_MaintenanceDoesNotAlarm(t *testing.T) {
	var log strings.Builder
	river := (&DB{log: slog.New(slog.NewTextHandler(&log, nil))}).queueLog().With("a", 1)
	river.Error("maintenance.JobCleaner: Error cleaning jobs", "error", "database is locked")
	river.Warn("leadership.Elector: Current leader stepping down because the reelection deadline elapsed")
	river.Error("Producer: Error fetching jobs", "err", "gone")
	river.Info("Producer: Heartbeat")
	var lines []string
	for line := range strings.Lines(log.String()) {
		_, line, _ = strings.Cut(line, " ") // the time
		lines = append(lines, line)
	}
	want := []string{
		"level=WARN msg=\"maintenance of the queue, tried again later: Error cleaning jobs\" a=1 part=maintenance.JobCleaner error=\"database is locked\"\n",
		"level=INFO msg=\"maintenance of the queue, tried again later: Current leader stepping down because the reelection deadline elapsed\" a=1 part=leadership.Elector\n",
		"level=ERROR msg=\"Producer: Error fetching jobs\" a=1 err=gone\n",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("%q\nwant %q", lines, want)
	}
}

func (w *fakeWorker) Workers() int { return 3 }

func (w *fakeWorker) Plan(ctx context.Context, jobID string, scope job.Scope, last bool) error {
	if w.PlanFunc != nil {
		return w.PlanFunc(jobID, scope, last)
	}
	p := job.Plan{BatchSize: 2}
	for i := range 20 {
		p.Pairs = append(p.Pairs, service.Pair{Name: symbolOf(i), Tick: service.Tick{Units: 5, Decimals: i}})
	}
	_, err := w.db.PlanJob(ctx, jobID, time.Now(), p)
	return err
}

func (w *fakeWorker) RunBatch(ctx context.Context, jobID string, index int, pairs []service.Pair, last bool) error {
	if len(pairs) != 2 || pairs[1] != (service.Pair{Name: symbolOf(2*index + 1), Tick: service.Tick{Units: 5, Decimals: 2*index + 1}}) {
		return fmt.Errorf("batch %d came with %v", index, pairs)
	}
	w.mu.Lock()
	w.seen, w.of = append(w.seen, index), append(w.of, jobID)
	w.mu.Unlock()
	if w.BatchFunc != nil {
		if err := w.BatchFunc(index); err != nil {
			return err
		}
	}
	_, err := w.db.PutBatch(ctx, job.Batch{JobID: jobID, Index: index, Done: 2})
	return err
}

func (w *fakeWorker) GiveUp(ctx context.Context, jobID string, begun int) error {
	w.mu.Lock()
	w.given = append(w.given, jobID)
	w.mu.Unlock()
	_, err := w.db.EndJob(ctx, jobID, job.Failed, &job.Outcome{Code: "interrupted", Detail: fmt.Sprint(begun)})
	return err
}

func (w *fakeWorker) begun() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(slices.Values(w.seen))
}

// works runs the work of the test jobs' exchange on w.
func works(t testing.TB, db *DB, w *fakeWorker) *fakeWorker {
	t.Helper()
	w.db = db
	if err := db.Work(t.Context(), map[string]Worker{"binance": w}); err != nil {
		t.Fatal(err)
	}
	return w
}

// eventually waits until other goroutines have made the condition true.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func completed(t testing.TB, db *DB, id string) func() bool {
	return func() bool { return getJob(t, db, id).State == job.Completed }
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

// River limits how often a client notifies of inserted work. The batches of a job that is
// planned within moments must not wait for the next poll.
func TestQueue_BatchesOfAJobPlannedAtOnceAreTakenAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		works(t, db, &fakeWorker{})
		// The poll is once a second. A slow machine may need several rounds for one without it.
		var took [5]time.Duration
		for round := range 5 {
			for i := range took {
				begun, id := time.Now(), fmt.Sprint("j", round, i)
				submitted(t, db, id, id)
				eventually(t, "the job is completed", completed(t, db, id))
				took[i] = time.Since(begun)
			}
			slices.Sort(took[:])
			if took[2] <= 600*time.Millisecond {
				return
			}
		}
		t.Errorf("jobs took %v", took)
	})
}

func TestQueue_WorkOfADeadProcessGoesToAnother(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d database) {
		dies := d.open(t)
		block := make(chan struct{})
		defer close(block)
		dead := works(t, dies, &fakeWorker{BatchFunc: func(int) error { <-block; return service.ErrStopping }})
		submitted(t, dies, "j", "w")
		eventually(t, "three batches are begun", func() bool { return len(dead.begun()) == 3 })
		// as if it were killed: no more heartbeats
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
		time.Sleep(50 * time.Millisecond) // for the stop to begin; otherwise it would get the same work again
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
	t.Parallel()
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
		// On a slow machine an end may be stored so late that its work is rescued.
		if s := queueStats(t, db); s.Retries != 2 {
			t.Errorf("counted: %+v, want 2 retries", s)
		}
	})
}

func TestQueue_APauseOfTheExchangeIsNoTry(t *testing.T) {
	for _, reason := range []error{service.ErrBanned, service.ErrRateLimited} {
		db := new(DB)
		q := &queue{db: db, working: map[int64]bool{}, workers: map[string]Worker{}}
		until := time.Now().Add(20 * time.Minute)
		err := q.run(t.Context(), &rivertype.JobRow{ID: 1, Attempt: 1}, "j", func(Worker, bool) error {
			return fmt.Errorf("klines: %w", &service.RetryAfterError{Err: reason, Until: until})
		})
		snooze, ok := errors.AsType[*river.JobSnoozeError](err)
		if !ok || time.Until(until.Add(-snooze.Duration)).Abs() > time.Minute || db.retries.Load() != 0 {
			t.Errorf("%v: %v, %d retries", reason, err, db.retries.Load())
		}
	}
	q := &queue{db: new(DB), working: map[int64]bool{}, workers: map[string]Worker{}}
	if err := q.run(t.Context(), &rivertype.JobRow{ID: 1, Attempt: 1}, "j", func(Worker, bool) error { return &service.RetryAfterError{Err: service.ErrBusy} }); !errors.Is(err, service.ErrBusy) {
		t.Errorf("busy: %v", err)
	}
}

func TestQueue_TheLastTryIsToldSo(t *testing.T) {
	// the errors are counted, so the test needs no pauses
	q := &queue{working: map[int64]bool{}, workers: map[string]Worker{}}
	for errs := range 6 {
		row := &rivertype.JobRow{ID: 1, Attempt: errs + 1, Errors: make([]rivertype.AttemptError, errs)}
		q.run(t.Context(), row, "j", func(_ Worker, last bool) error {
			if last != (errs+1 >= tries) {
				t.Errorf("after %d errors: last is %v", errs, last)
			}
			return nil
		})
	}
	q.run(t.Context(), &rivertype.JobRow{ID: 1, Attempt: maxStarts}, "j", func(_ Worker, last bool) error {
		if !last {
			t.Error("what was begun as often as may be is not told so")
		}
		return nil
	})
}

func TestQueue_TheScopeOfAJobReachesItsPlan(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		got := make(chan job.Scope, 1)
		works(t, db, &fakeWorker{PlanFunc: func(id string, scope job.Scope, last bool) error {
			got <- scope
			return nil
		}})
		for i, want := range []job.Scope{
			{Symbols: []string{"BTCUSDT", `O"DD'Ü`}},
			{Filter: &job.Filter{QuoteAssets: []string{"USDT", "FDUSD"}, MinQuoteVolume: 1.5e6, KeepLeveraged: true, KeepStablePairs: true}},
			{Filter: &job.Filter{}},
		} {
			j := job.Job{ID: fmt.Sprint(i), Exchange: "binance", State: job.Queued, CreatedAt: start}
			if _, _, err := db.SubmitJob(t.Context(), j, j.ID, want, 100); err != nil {
				t.Fatal(err)
			}
			same(t, want, <-got)
		}
	})
}

func TestQueue_WorkIsDoneByProcessesOfItsExchangeOnly(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d database) {
		asks, elsewhere := d.open(t), d.open(t)
		other, second := &fakeWorker{db: elsewhere}, &fakeWorker{db: elsewhere}
		if err := elsewhere.Work(t.Context(), map[string]Worker{"binance-usdm": other, "kraken": second}); err != nil {
			t.Fatal(err)
		}
		submitted(t, asks, "j", "w")
		for _, exchange := range []string{"binance-usdm", "kraken"} {
			j := job.Job{ID: exchange, Exchange: exchange, Kind: "sweep", State: job.Queued, CreatedAt: start}
			if _, _, err := asks.SubmitJob(t.Context(), j, j.ID, job.Scope{}, 100); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the job of "+exchange+" is completed", completed(t, asks, exchange))
		}
		if j := getJob(t, asks, "j"); j.State != job.Queued {
			t.Errorf("with no process of its exchange the job is %+v", j)
		}
		serves := works(t, d.open(t), &fakeWorker{})
		eventually(t, "the job is completed", completed(t, asks, "j"))
		for id, w := range map[string]*fakeWorker{"binance-usdm": other, "kraken": second, "j": serves} {
			w.mu.Lock()
			if of := slices.Compact(slices.Clone(w.of)); !slices.Equal(of, []string{id}) {
				t.Errorf("who works for the exchange of job %s began batches of %v", id, of)
			}
			w.mu.Unlock()
		}
	})
}

// Older versions have one queue for all exchanges, and may run at the same time.
func TestQueue_WorkOfTheSharedQueueGoesToThatOfItsExchange(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		submitted(t, db, "before", "before")
		shared := func() {
			if n, err := exec(t.Context(), db.write, `UPDATE river_job SET queue = 'tidemark', max_attempts = 100 WHERE state = 'available'`); err != nil || n != 1 {
				t.Fatalf("%d rows, %v", n, err)
			}
		}
		shared()
		if s := queueStats(t, db); s.Waiting != 1 {
			t.Errorf("counted: %+v, want 1 waiting", s)
		}
		works(t, d.open(t), &fakeWorker{})
		eventually(t, "the job is completed", completed(t, db, "before"))

		old := d.open(t) // works for another exchange, so it takes nothing
		if err := old.Work(t.Context(), map[string]Worker{"kraken": &fakeWorker{db: old}}); err != nil {
			t.Fatal(err)
		}
		j := job.Job{ID: "while", Exchange: "nobody", Kind: "sweep", State: job.Queued, CreatedAt: start}
		if _, _, err := db.SubmitJob(t.Context(), j, "while", job.Scope{}, 100); err != nil {
			t.Fatal(err)
		}
		shared()
		if _, err := exec(t.Context(), db.write, `UPDATE jobs SET exchange = 'binance' WHERE id = 'while'`); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a job of a process that still runs is completed", completed(t, db, "while"))
	})
}

func TestQueue_WorkThatKillsItsProcessIsGivenUp(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		submitted(t, db, "j", "w")
		holder := `'["dead"]'`
		if d.postgres {
			holder = `'{dead}'`
		}
		// the state after its process has died for the last time
		if n, err := exec(t.Context(), db.write, `UPDATE river_job SET state = 'running', attempt = ?, attempted_by = `+holder, maxStarts); err != nil || n != 1 {
			t.Fatalf("%d rows, %v", n, err)
		}
		w := works(t, db, &fakeWorker{PlanFunc: func(string, job.Scope, bool) error {
			t.Error("it was begun once more")
			return nil
		}})
		eventually(t, "the job has ended", func() bool { return getJob(t, db, "j").State.Final() })
		if j := getJob(t, db, "j"); j.State != job.Failed || j.Error.Code != "interrupted" || j.Error.Detail != fmt.Sprint(maxStarts) {
			t.Errorf("it ended as %+v, %+v", j, j.Error)
		}
		if !slices.Equal(w.given, []string{"j"}) {
			t.Errorf("given up: %v", w.given)
		}
		eventually(t, "nothing is left in the queue", func() bool {
			s := queueStats(t, db)
			return s.Waiting == 0 && s.Running == 0 && s.Delayed == 0
		})
	})
}

func TestQueue_WorkWhoseEndWasNotStoredIsFound(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		calls := make(chan struct{}, 10)
		works(t, db, &fakeWorker{PlanFunc: func(string, job.Scope, bool) error { calls <- struct{}{}; return nil }})
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
	t.Parallel()
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

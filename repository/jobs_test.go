package repository

// These tests pin stored jobs: a repeated batch does not count twice, the same work has
// one open job, a job passes through its states, and bans outlive the process.

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"tidemark/job"
	"tidemark/service"
)

func testJob(id string) job.Job {
	return job.Job{
		ID: id, Kind: "sweep", State: job.Running, Exchange: "binance", Interval: "1h", KlineLimit: 2000, Store: true,
		Simulated: true, Symbols: 10, Skipped: 2, Batches: 2,
		Skips:     []job.Outcome{{Symbol: "UPUSDT", Code: "leveraged", Detail: "a leveraged token"}, {Symbol: "AUSDT", Code: "quote_volume", Detail: "too little of it"}},
		CreatedAt: start, StartedAt: start.Add(time.Millisecond),
	}
}

func putJob(t testing.TB, db *DB, j job.Job) {
	t.Helper()
	if err := db.PutJob(t.Context(), j); err != nil {
		t.Fatal(err)
	}
}

func getJob(t testing.TB, db *DB, id string) job.Job {
	t.Helper()
	j, err := db.Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestJob_ComesBackAsItWasCreated(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		result := snapshot("", 0)
		result.Key = service.Key{Interval: "4h"}
		whole := testJob("whole")
		whole.State, whole.Done, whole.Failed, whole.BatchesDone = job.Failed, 7, 1, 2
		whole.Failures = []job.Outcome{{Symbol: "XUSDT", Code: "too_few_candles", Detail: "it's \"young\""}}
		whole.FinishedAt = start.Add(time.Minute)
		whole.Error = &job.Outcome{Code: "banned", Detail: "go away"}
		whole.Result = &result
		for _, want := range []job.Job{whole, testJob("plain"), {ID: "queued", State: job.Queued, CreatedAt: start}} {
			putJob(t, db, want)
			same(t, want, getJob(t, db, want.ID))
		}
	})
}

func TestJob_Unknown(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		if _, err := db.Job(t.Context(), "nobody"); !errors.Is(err, service.ErrUnknownJob) {
			t.Errorf("Job: %v", err)
		}
		_, err := db.PutBatch(t.Context(), job.Batch{JobID: "nobody", Done: 1, Results: service.Results{Snapshots: []service.Snapshot{snapshot("BTCUSDT", 0)}}})
		if !errors.Is(err, service.ErrUnknownJob) {
			t.Errorf("Put: %v", err)
		}
		same(t, []string(nil), market(t, db))
	})
}

// submitted submits a job of the given work, or joins the open one.
func submitted(t testing.TB, db *DB, id, work string) (got string, joined bool) {
	t.Helper()
	j, joined, err := db.SubmitJob(t.Context(), job.Job{ID: id, Kind: "sweep", Exchange: "binance", State: job.Queued, CreatedAt: start}, work, job.Scope{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	return j.ID, joined
}

func TestSubmitJob_OneOpenJobForTheSameWorkInAllProcesses(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db, other := d.open(t), d.open(t)
		var work sync.WaitGroup
		var mu sync.Mutex
		jobs, joins := map[string]bool{}, 0
		for i := range 10 {
			for name, on := range map[string]*DB{"a": db, "b": other} {
				work.Go(func() {
					id, joined := submitted(t, on, fmt.Sprint(name, i), "same")
					mu.Lock()
					defer mu.Unlock()
					jobs[id] = true
					if joined {
						joins++
					}
				})
			}
		}
		work.Wait()
		if len(jobs) != 1 || joins != 19 {
			t.Errorf("%d jobs, %d joins, want 1 and 19", len(jobs), joins)
		}
		if n := count(t, db, "river_job"); n != 1 {
			t.Errorf("%d plans are queued, want 1", n)
		}
		if id, joined := submitted(t, db, "other", "other work"); id != "other" || joined {
			t.Errorf("other work got job %s, joined %v", id, joined)
		}
		for id := range jobs {
			if ended, err := db.EndJob(t.Context(), id, job.Cancelled, nil); !ended || err != nil {
				t.Errorf("cancelling: %v, %v", ended, err)
			}
			if ended, err := other.EndJob(t.Context(), id, job.Cancelled, nil); ended || err != nil {
				t.Errorf("cancelling again: %v, %v", ended, err)
			}
		}
		if id, joined := submitted(t, other, "after", "same"); id != "after" || joined {
			t.Errorf("a job that has ended was joined: %s", id)
		}
	})
}

func TestSubmitJob_RefusesMoreOpenJobsThanTheLimit(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		submitted(t, db, "one", "one")
		two := job.Job{ID: "two", Exchange: "binance", State: job.Queued, CreatedAt: start}
		if _, _, err := db.SubmitJob(t.Context(), two, "two", job.Scope{}, 1); !errors.Is(err, service.ErrBusy) {
			t.Errorf("a second: %v", err)
		}
		if _, joined, err := db.SubmitJob(t.Context(), two, "one", job.Scope{}, 1); !joined || err != nil {
			t.Errorf("joining: %v, %v", joined, err)
		}
		if jobs, plans := count(t, db, "jobs"), count(t, db, "river_job"); jobs != 1 || plans != 1 {
			t.Errorf("%d jobs, %d plans", jobs, plans)
		}
		// the open jobs of an exchange that does not answer take no place of another's
		if _, _, err := db.SubmitJob(t.Context(), job.Job{ID: "okx", Exchange: "okx", State: job.Queued, CreatedAt: start}, "okx", job.Scope{}, 1); err != nil {
			t.Errorf("of another exchange: %v", err)
		}
	})
}

func TestJob_FromQueuedToCompleted(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		submitted(t, db, "j", "w")
		skips := []job.Outcome{{Symbol: "UPUSDT", Code: "leveraged", Detail: "a leveraged token"}}
		for i := range 2 { // a plan may run twice
			ended, err := db.PlanJob(t.Context(), "j", at(i), job.Plan{BatchSize: 2, Skips: skips, Pairs: []service.Pair{{Name: "A"}, {Name: "B"}, {Name: "C"}}})
			if ended || err != nil {
				t.Fatalf("planned: %v, %v", ended, err)
			}
		}
		if j := getJob(t, db, "j"); j.State != job.Running || !j.StartedAt.Equal(at(0)) {
			t.Errorf("planned: %+v", j)
		}
		if n := count(t, db, "river_job"); n != 3 {
			t.Errorf("%d pieces are queued, want a plan and two batches", n)
		}
		result := snapshot("C", 0)
		for i, b := range []job.Batch{{JobID: "j", Index: 1, Done: 1, Simulated: true, Result: &result},
			{JobID: "j", Index: 0, Done: 1, Failures: []job.Outcome{{Symbol: "A", Code: "x"}}}} {
			_, stored, err := db.BatchProgress(t.Context(), "j", b.Index)
			if stored || err != nil {
				t.Errorf("batch %d before it is: %v, %v", b.Index, stored, err)
			}
			ended, err := db.PutBatch(t.Context(), b)
			if ended != (i == 1) || err != nil {
				t.Errorf("batch %d: ended %v, %v", b.Index, ended, err)
			}
			if _, stored, err = db.BatchProgress(t.Context(), "j", b.Index); !stored || err != nil {
				t.Errorf("batch %d after it is: %v, %v", b.Index, stored, err)
			}
		}
		j := getJob(t, db, "j")
		if j.State != job.Completed || j.FinishedAt.IsZero() || j.Symbols != 4 || j.Done != 2 || j.Failed != 1 || j.Skipped != 1 ||
			j.Batches != 2 || j.BatchesDone != 2 || !j.Simulated || j.Result == nil || len(j.Skips) != 1 || len(j.Failures) != 1 {
			t.Errorf("ended as %+v", j)
		}
		p, err := db.Progress(t.Context(), "j")
		j.Skips, j.Failures, j.Result = nil, nil, nil
		if err != nil {
			t.Fatal(err)
		}
		same(t, j, p)
		if _, err := db.Progress(t.Context(), "nobody"); !errors.Is(err, service.ErrUnknownJob) {
			t.Errorf("progress of nothing: %v", err)
		}
	})
}

func TestPlanJob_WithoutPairsIsComplete(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		submitted(t, db, "j", "w")
		if ended, err := db.PlanJob(t.Context(), "j", at(0), job.Plan{BatchSize: 2}); !ended || err != nil {
			t.Errorf("ended %v, %v", ended, err)
		}
		if j := getJob(t, db, "j"); j.State != job.Completed || j.FinishedAt.IsZero() {
			t.Errorf("%+v", j)
		}
	})
}

func TestPut_OfAJobThatWasEndedCountsAndLeavesItEnded(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		putJob(t, db, testJob("j"))
		why := &job.Outcome{Code: "banned", Detail: "until tomorrow"}
		if ended, err := db.EndJob(t.Context(), "j", job.Failed, why); !ended || err != nil {
			t.Fatal(ended, err)
		}
		for i := range 2 {
			if ended, err := db.PutBatch(t.Context(), job.Batch{JobID: "j", Index: i, Done: 1}); ended || err != nil {
				t.Errorf("batch %d: ended %v, %v", i, ended, err)
			}
		}
		if j := getJob(t, db, "j"); j.State != job.Failed || *j.Error != *why || j.Done != 2 {
			t.Errorf("%+v", j)
		}
	})
}

func TestPut_ABatchCountsOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		putJob(t, db, testJob("j"))
		first := job.Batch{JobID: "j", Done: 2, Failures: []job.Outcome{{Symbol: "BUSDT", Code: "x"}}, Results: service.Results{Snapshots: []service.Snapshot{snapshot("AUSDT", 0)}}}
		again := first
		again.Done, again.Snapshots, again.Failures = 9, []service.Snapshot{snapshot("AUSDT", 5), snapshot("ZUSDT", 5)}, nil
		for _, b := range []job.Batch{first, again, {JobID: "j", Index: 1, Done: 1}, {JobID: "j", Index: 1, Done: 1}} {
			if _, err := db.PutBatch(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		got := getJob(t, db, "j")
		if got.Done != 3 || got.Failed != 1 || got.BatchesDone != 2 || len(got.Failures) != 1 {
			t.Errorf("done %d, failed %d, batches %d, failures %v; want 3, 1, 2 and one", got.Done, got.Failed, got.BatchesDone, got.Failures)
		}
		same(t, []string{"AUSDT 0"}, market(t, db))
	})
}

func TestPut_ABatchRunByTwoProcessesCountsOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db, other := d.open(t), d.open(t)
		putJob(t, db, testJob("j"))
		var work sync.WaitGroup
		for i := range 10 {
			for _, on := range []*DB{db, other} {
				work.Go(func() {
					b := job.Batch{JobID: "j", Index: i, Done: 1, Failures: []job.Outcome{{Symbol: fmt.Sprint(2 * i)}, {Symbol: fmt.Sprint(2*i + 1)}}, Results: service.Results{Snapshots: []service.Snapshot{snapshot(symbolOf(i), 0), snapshot("SAME", i)}}}
					if _, err := on.PutBatch(t.Context(), b); err != nil {
						t.Error(err)
					}
				})
			}
		}
		work.Wait()
		got := getJob(t, db, "j")
		if got.Done != 10 || got.Failed != 20 || len(got.Failures) != 20 || got.BatchesDone != 10 {
			t.Errorf("done %d, failed %d, batches %d, want 10, 20, 10", got.Done, got.Failed, got.BatchesDone)
		}
		for i, f := range got.Failures {
			if f.Symbol != fmt.Sprint(i) {
				t.Errorf("failure %d is number %s: not in order", i, f.Symbol)
			}
		}
	})
}

func TestJobs_NewestFirstWithoutTheirDetails(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		for _, n := range []int{2, 0, 3, 1} {
			j := testJob(fmt.Sprint("job", n))
			j.CreatedAt, j.Failures = at(n), []job.Outcome{{Symbol: "X"}}
			result := snapshot("BTCUSDT", n)
			j.Result = &result
			putJob(t, db, j)
		}
		got, err := db.Jobs(t.Context(), "", 3)
		if err != nil {
			t.Fatal(err)
		}
		var want []job.Job
		for _, n := range []int{3, 2, 1} {
			j := testJob(fmt.Sprint("job", n))
			j.CreatedAt, j.Skips = at(n), nil
			want = append(want, j)
		}
		same(t, want, got)
	})
}

func TestPruneJobs_OnlyFinishedOnesAndAllOfThem(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		for id, finished := range map[string]time.Time{"old": at(0), "new": at(2), "open": {}} {
			j := testJob(id)
			j.FinishedAt = finished
			putJob(t, db, j)
			if _, err := db.PutBatch(t.Context(), job.Batch{JobID: id, Failures: j.Skips, Results: service.Results{Snapshots: []service.Snapshot{snapshot("X", 0)}}}); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := db.PruneJobs(t.Context(), at(2)); n != 1 || err != nil {
			t.Errorf("%d jobs pruned, %v; want 1", n, err)
		}
		if _, err := db.Job(t.Context(), "old"); !errors.Is(err, service.ErrUnknownJob) {
			t.Errorf("the old job: %v", err)
		}
		getJob(t, db, "new")
		getJob(t, db, "open")
		if batches, outcomes := count(t, db, "job_batches"), count(t, db, "job_outcomes"); batches != 2 || outcomes != 8 {
			t.Errorf("%d batches and %d outcomes left, want 2 and 8", batches, outcomes)
		}
		same(t, []string{"X 0"}, market(t, db))
	})
}

func TestBan_OutlivesTheProcessAndGetsNoShorter(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		for _, c := range []struct {
			put  time.Time
			want time.Time
		}{{at(1), at(1)}, {at(3), at(3)}, {at(2), at(3)}} {
			if err := db.PutBan(t.Context(), "binance", c.put); err != nil {
				t.Fatal(err)
			}
			for _, on := range []*DB{db, d.open(t)} {
				if got, err := on.Ban(t.Context(), "binance"); err != nil || !got.Equal(c.want) {
					t.Errorf("after %v: %v, %v; want %v", c.put, got, err, c.want)
				}
			}
		}
		if got, err := db.Ban(t.Context(), "okx"); err != nil || !got.IsZero() {
			t.Errorf("never banned: %v, %v; want the zero time", got, err)
		}
	})
}

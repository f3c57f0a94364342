package repository

// These tests pin what is stored of jobs: progress that a repeated batch does
// not count twice, what belongs to PutJob and what to Put, what becomes of jobs
// whose process died, and bans that outlive it.

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"tidemark/service"
)

func job(id string) service.Job {
	return service.Job{
		ID: id, Kind: "sweep", State: service.JobRunning, Exchange: "binance", Interval: "1h", KlineLimit: 2000, Store: true,
		Simulated: true, Symbols: 10, Skipped: 2, Batches: 2,
		Skips:     []service.Outcome{{Symbol: "UPUSDT", Code: "leveraged", Detail: "a leveraged token"}, {Symbol: "AUSDT", Code: "quote_volume", Detail: "too little of it"}},
		CreatedAt: start, StartedAt: start.Add(time.Millisecond),
	}
}

func putJob(t testing.TB, db *DB, j service.Job) {
	t.Helper()
	if err := db.PutJob(t.Context(), j); err != nil {
		t.Fatal(err)
	}
}

func getJob(t testing.TB, db *DB, id string) service.Job {
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
		whole := job("whole")
		whole.State, whole.Done, whole.Failed, whole.BatchesDone = service.JobFailed, 7, 1, 2
		whole.Failures = []service.Outcome{{Symbol: "XUSDT", Code: "too_few_candles", Detail: "it's \"young\""}}
		whole.FinishedAt = start.Add(time.Minute)
		whole.Error = &service.Outcome{Code: "banned", Detail: "go away"}
		whole.Result = &result
		for _, want := range []service.Job{whole, job("plain"), {ID: "queued", State: service.JobQueued, CreatedAt: start}} {
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
		err := db.Put(t.Context(), service.Batch{JobID: "nobody", Done: 1, Snapshots: []service.Snapshot{snapshot("BTCUSDT", 0)}})
		if !errors.Is(err, service.ErrUnknownJob) {
			t.Errorf("Put: %v", err)
		}
		same(t, []string(nil), market(t, db))
	})
}

func TestPutJob_LeavesProgressAndFailuresToPut(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		putJob(t, db, job("j"))
		broken := []service.Outcome{{Symbol: "BUSDT", Code: "x", Detail: "y"}, {Symbol: "AUSDT", Code: "x", Detail: "z"}}
		if err := db.Put(t.Context(), service.Batch{JobID: "j", Index: 1, Done: 3, Failures: broken}); err != nil {
			t.Fatal(err)
		}
		changed := job("j")
		changed.State, changed.FinishedAt, changed.Simulated, changed.Symbols = service.JobCompleted, at(1), false, 8
		changed.Done, changed.Failed, changed.BatchesDone, changed.Failures = 100, 100, 100, nil
		changed.Skips, changed.Skipped = changed.Skips[1:], 1
		putJob(t, db, changed)

		want := changed
		want.Done, want.Failed, want.BatchesDone, want.Failures = 3, 2, 1, broken
		same(t, want, getJob(t, db, "j"))
	})
}

func TestPut_ABatchCountsOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		putJob(t, db, job("j"))
		first := service.Batch{JobID: "j", Done: 2, Snapshots: []service.Snapshot{snapshot("AUSDT", 0)},
			Failures: []service.Outcome{{Symbol: "BUSDT", Code: "x"}}}
		again := first
		again.Done, again.Snapshots, again.Failures = 9, []service.Snapshot{snapshot("AUSDT", 5), snapshot("ZUSDT", 5)}, nil
		for _, b := range []service.Batch{first, again, {JobID: "j", Index: 1, Done: 1}, {JobID: "j", Index: 1, Done: 1}} {
			if err := db.Put(t.Context(), b); err != nil {
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
		putJob(t, db, job("j"))
		var work sync.WaitGroup
		for i := range 10 {
			for _, on := range []*DB{db, other} {
				work.Go(func() {
					b := service.Batch{JobID: "j", Index: i, Done: 1, Snapshots: []service.Snapshot{snapshot(symbolOf(i), 0), snapshot("SAME", i)},
						Failures: []service.Outcome{{Symbol: fmt.Sprint(2 * i)}, {Symbol: fmt.Sprint(2*i + 1)}}}
					if err := on.Put(t.Context(), b); err != nil {
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
			j := job(fmt.Sprint("job", n))
			j.CreatedAt, j.Failures = at(n), []service.Outcome{{Symbol: "X"}}
			result := snapshot("BTCUSDT", n)
			j.Result = &result
			putJob(t, db, j)
		}
		got, err := db.Jobs(t.Context(), 3)
		if err != nil {
			t.Fatal(err)
		}
		var want []service.Job
		for _, n := range []int{3, 2, 1} {
			j := job(fmt.Sprint("job", n))
			j.CreatedAt, j.Skips = at(n), nil
			want = append(want, j)
		}
		same(t, want, got)
	})
}

func TestFailStale_OnlyOpenJobsNobodyTouched(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		for _, id := range []string{"queued", "running", "completed", "touched by PutJob", "touched by Put"} {
			j := job(id)
			switch id {
			case "queued":
				j.State = service.JobQueued
			case "completed":
				j.State, j.FinishedAt = service.JobCompleted, at(1)
			}
			putJob(t, db, j)
		}
		if n, err := db.FailStale(t.Context(), time.Hour); n != 0 || err != nil {
			t.Errorf("%d jobs failed, %v; none is stale", n, err)
		}
		if _, err := exec(t.Context(), db.write, `UPDATE jobs SET updated_at = updated_at - ?`, 2*time.Hour.Milliseconds()); err != nil {
			t.Fatal(err)
		}
		putJob(t, db, job("touched by PutJob"))
		if err := db.Put(t.Context(), service.Batch{JobID: "touched by Put"}); err != nil {
			t.Fatal(err)
		}
		if n, err := db.FailStale(t.Context(), time.Hour); n != 2 || err != nil {
			t.Errorf("%d jobs failed, %v; want 2", n, err)
		}
		for id, want := range map[string]service.JobState{
			"queued": service.JobFailed, "running": service.JobFailed, "completed": service.JobCompleted,
			"touched by PutJob": service.JobRunning, "touched by Put": service.JobRunning,
		} {
			j := getJob(t, db, id)
			if j.State != want {
				t.Errorf("%s: %s, want %s", id, j.State, want)
			}
			if want == service.JobFailed && (j.Error == nil || j.Error.Code != "interrupted" || j.Error.Detail == "" || j.FinishedAt.IsZero()) {
				t.Errorf("%s: error %v, finished %v", id, j.Error, j.FinishedAt)
			}
		}
	})
}

func TestPruneJobs_OnlyFinishedOnesAndAllOfThem(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		for id, finished := range map[string]time.Time{"old": at(0), "new": at(2), "open": {}} {
			j := job(id)
			j.FinishedAt = finished
			putJob(t, db, j)
			if err := db.Put(t.Context(), service.Batch{JobID: id, Snapshots: []service.Snapshot{snapshot("X", 0)}, Failures: j.Skips}); err != nil {
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

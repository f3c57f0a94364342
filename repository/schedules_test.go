package repository

// These tests pin stored schedules on both databases: one process starts a due run, with
// its job and its plan in one transaction, or none does; after a change of the
// configuration each interval has one row, and a run due before the change still starts.

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidemark/job"
	"tidemark/levels"
	"tidemark/service"
)

// hourly returns the state of a schedule of the exchange binance.
func hourly(interval levels.Interval, next time.Time) job.ScheduleState {
	return job.ScheduleState{Exchange: "binance", Interval: interval, Text: "1h", NextRun: next}
}

func setSchedules(t testing.TB, db *DB, now time.Time, states ...job.ScheduleState) (removed int) {
	t.Helper()
	removed, err := db.SetSchedules(t.Context(), "binance", states, now)
	if err != nil {
		t.Fatal(err)
	}
	return removed
}

func schedules(t testing.TB, db *DB) []job.ScheduleState {
	t.Helper()
	all, err := db.Schedules(t.Context(), "binance")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func sweepJob(id string) job.Job {
	return job.Job{ID: id, Kind: "sweep", State: job.Queued, Exchange: "binance", Interval: "1h", CreatedAt: at(1).Add(3 * time.Second)}
}

func TestSetSchedules_OneRowForAnIntervalAndNoOthers(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		same(t, []job.ScheduleState{}, schedules(t, db))
		day, hour := hourly("1d", at(5)), hourly("1h", at(1))
		if n := setSchedules(t, db, at(0), day, hour); n != 0 {
			t.Errorf("%d removed from an empty table", n)
		}
		elsewhere := job.ScheduleState{Exchange: "simulated", Interval: "1h", Text: "1h", NextRun: at(1)}
		if _, err := db.SetSchedules(t.Context(), "simulated", []job.ScheduleState{elsewhere}, at(0)); err != nil {
			t.Fatal(err)
		}
		same(t, []job.ScheduleState{hour, day}, schedules(t, db)) // the shortest first

		// the same text: unchanged, due or not
		setSchedules(t, db, at(2), hourly("1h", at(3)), hourly("1d", at(9)))
		same(t, []job.ScheduleState{hour, day}, schedules(t, db))

		// another text: the new one, but a due run still starts
		changedHour, changedDay := hourly("1h", at(4)), hourly("1d", at(9))
		changedHour.Text, changedDay.Text = "2h", "0 4 * * *"
		setSchedules(t, db, at(2), changedHour, changedDay)
		changedHour.NextRun = hour.NextRun
		same(t, []job.ScheduleState{changedHour, changedDay}, schedules(t, db))

		// one interval is no longer swept; then none
		if n := setSchedules(t, db, at(2), changedDay); n != 1 {
			t.Errorf("%d removed, want 1", n)
		}
		same(t, []job.ScheduleState{changedDay}, schedules(t, db))
		other := d.open(t)
		works(t, other, &fakeWorker{})
		if n := setSchedules(t, db, time.Time{}); n != 0 {
			t.Errorf("a process without schedules removed %d of another that works", n)
		}
		if err := other.StopWork(t.Context()); err != nil {
			t.Fatal(err)
		}
		works(t, db, &fakeWorker{})
		if n := setSchedules(t, db, time.Time{}); n != 1 {
			t.Errorf("working alone it removed %d, want 1", n)
		}
		same(t, []job.ScheduleState{}, schedules(t, db))
		if n := count(t, db, "schedules"); n != 1 {
			t.Errorf("%d rows, want the one of the other exchange", n)
		}
	})
}

func TestRunSchedule_OneOfManyProcessesBeginsTheRun(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		processes := []*DB{d.open(t), d.open(t)}
		due := hourly("1h", at(1))
		setSchedules(t, processes[0], at(0), due)
		var begun, elsewhere atomic.Int64
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				// as if the first sweep had ended at once: nothing else stops the others
				// from starting one
				run, err := processes[i%2].RunSchedule(t.Context(), due, at(2).Add(time.Duration(i)), sweepJob(fmt.Sprint("job", i)), fmt.Sprint("work", i), job.Scope{}, 100)
				switch {
				case err != nil:
					t.Error(err)
				case run.Elsewhere:
					elsewhere.Add(1)
				case !run.Joined:
					begun.Add(1)
				}
			})
		}
		all.Wait()
		if begun.Load() != 1 || elsewhere.Load() != 9 {
			t.Errorf("%d processes began the run, %d found it begun", begun.Load(), elsewhere.Load())
		}
		if jobs, plans := count(t, processes[0], "jobs"), count(t, processes[0], "river_job"); jobs != 1 || plans != 1 {
			t.Errorf("%d jobs, %d plans queued, want 1 and 1", jobs, plans)
		}
		got := schedules(t, processes[1])
		if len(got) != 1 || !got[0].NextRun.Equal(at(2)) || !got[0].LastRun.Equal(sweepJob("").CreatedAt) || got[0].LastJob == "" {
			t.Errorf("afterwards: %+v", got)
		}
	})
}

func TestRunSchedule_JoinsOpenWorkAndIsPutOff(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		due := hourly("1h", at(1))
		setSchedules(t, db, at(0), due)
		submitted(t, db, "open", "same")
		run, err := db.RunSchedule(t.Context(), due, at(2), sweepJob("new"), "same", job.Scope{}, 100)
		if err != nil || !run.Joined || run.Elsewhere || run.Job.ID != "open" {
			t.Errorf("%+v, %v", run, err)
		}
		same(t, []job.ScheduleState{hourly("1h", at(2))}, schedules(t, db)) // and no last run
		if n := count(t, db, "jobs"); n != 1 {
			t.Errorf("%d jobs", n)
		}
	})
}

func TestRunSchedule_StaysDueWhenTheJobCannotBeCreated(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		due := hourly("1h", at(1))
		setSchedules(t, db, at(0), due)
		submitted(t, db, "open", "other work")
		if _, err := db.RunSchedule(t.Context(), due, at(2), sweepJob("new"), "work", job.Scope{}, 1); !errors.Is(err, service.ErrBusy) {
			t.Errorf("beyond the limit of open jobs: %v", err)
		}
		same(t, []job.ScheduleState{due}, schedules(t, db))
	})
}

func TestRunSchedule_LeavesAReplacedScheduleAlone(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		old := hourly("1h", at(1))
		setSchedules(t, db, at(0), old)
		changed := old
		changed.Text = "2h"
		setSchedules(t, db, at(0), changed)
		if run, err := db.RunSchedule(t.Context(), old, at(2), sweepJob("new"), "work", job.Scope{}, 100); err != nil || !run.Elsewhere {
			t.Errorf("another text: %+v, %v", run, err)
		}
		setSchedules(t, db, at(0))
		if run, err := db.RunSchedule(t.Context(), changed, at(2), sweepJob("new"), "work", job.Scope{}, 100); err != nil || !run.Elsewhere {
			t.Errorf("removed: %+v, %v", run, err)
		}
		if n := count(t, db, "jobs"); n != 0 {
			t.Errorf("%d jobs", n)
		}
	})
}

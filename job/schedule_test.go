package job

// These tests pin the schedules, under fake time: a run starts shortly after a candle has
// closed by the venue's clock, never before, and once for all processes. One run replaces
// all missed ones. No run starts while the previous sweep is open. A changed
// configuration removes the old schedules.

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"tidemark/levels"
	"tidemark/service"
)

func every(interval levels.Interval, d time.Duration) Schedule {
	return Schedule{Interval: interval, Text: d.String(), Next: func(t time.Time) time.Time { return levels.NextBoundary(t, d) }}
}

// at returns a time on the day on which fake time begins.
func at(hour, minute, second int) time.Time {
	return time.Date(2000, 1, 1, hour, minute, second, 0, time.UTC)
}

// fromTenPast runs f in fake time that begins at 0:10.
func fromTenPast(t *testing.T, f func(t *testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		sleepUntil(at(0, 10, 0))
		f(t)
	})
}

func sleepUntil(t time.Time) { time.Sleep(time.Until(t)) }

// scheduled runs schedules on an analyzer until the returned function is called.
func scheduled(t *testing.T, a *Runner, schedules ...Schedule) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { a.RunSchedules(ctx, a.store.(ScheduleStore), schedules) })
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return stop
}

// began returns the start times of the sweeps of an interval.
func began(s *fakeStore, interval levels.Interval) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []time.Time
	for _, j := range s.jobs {
		if j.Kind == KindSweep && j.Interval == interval {
			all = append(all, j.CreatedAt)
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	return all
}

// wantBegan checks that one sweep started shortly after each moment.
func wantBegan(t *testing.T, s *fakeStore, interval levels.Interval, moments ...time.Time) {
	t.Helper()
	got := began(s, interval)
	ok := len(got) == len(moments)
	for i := range min(len(got), len(moments)) {
		// a poll may be 0.1 s late
		ok = ok && !got[i].Before(moments[i].Add(closeMargin)) && got[i].Before(moments[i].Add(closeMargin+startSpread+time.Second))
	}
	if !ok {
		t.Errorf("sweeps of %s started at %v, want shortly after %v", interval, got, moments)
	}
}

func runs(a *Runner, interval, outcome string) float64 {
	return testutil.ToFloat64(a.metrics.scheduled.WithLabelValues("fake", interval, outcome))
}

func TestRunSchedules_BeginsAfterEachCloseAndNoOftener(t *testing.T) {
	fromTenPast(t, func(t *testing.T) {
		s := &fakeStore{}
		a := newTestRunner(t, testConfig{}, &fakeExchange{symbols: market(7)}, s)
		stop := scheduled(t, a, every("1h", 30*time.Minute), every("4h", 30*time.Minute))
		sleepUntil(at(4, 30, 0))
		wantBegan(t, s, "1h", at(1, 0, 0), at(2, 0, 0), at(3, 0, 0), at(4, 0, 0))
		wantBegan(t, s, "4h", at(4, 0, 0))
		if n := runs(a, "1h", runStarted); n != 4 {
			t.Errorf("%v runs counted, want 4", n)
		}
		states, err := a.store.(ScheduleStore).Schedules(t.Context(), "fake")
		if err != nil || len(states) != 2 || states[0].NextRun.Before(at(5, 0, 2)) || states[1].NextRun.Before(at(8, 0, 2)) || states[0].LastJob == "" {
			t.Errorf("afterwards: %+v, %v", states, err)
		}
		if got := testutil.ToFloat64(a.metrics.nextRun.WithLabelValues("fake", "4h")); math.Abs(got-float64(at(8, 0, 17).Unix())) > 16 {
			t.Errorf("the metric of the next run of 4h is %v", got)
		}
		if got := testutil.ToFloat64(a.metrics.period.WithLabelValues("fake", "4h")); got != 4*3600 {
			t.Errorf("the metric of the period of 4h is %v", got)
		}
		stop()
		sleepUntil(at(6, 30, 0))
		wantBegan(t, s, "1h", at(1, 0, 0), at(2, 0, 0), at(3, 0, 0), at(4, 0, 0))
	})
}

func TestRunSchedules_RunsOfOneMomentAreSpread(t *testing.T) {
	s := every("1h", time.Hour)
	seen := map[int64]bool{}
	for range 200 {
		run := s.after(at(9, 30, 0), 0)
		if run.Before(at(10, 0, 2)) || !run.Before(at(10, 0, 32)) {
			t.Fatalf("a run at %s", run)
		}
		seen[run.Unix()] = true
	}
	if len(seen) < 15 {
		t.Errorf("200 runs begin in %d different seconds", len(seen))
	}
	if run := every("1m", time.Minute).after(at(9, 30, 30), 0); !run.Before(at(9, 31, 8)) {
		t.Errorf("a run of one-minute candles begins at %s", run)
	}
}

func TestRunSchedules_TheVenuesClockDecides(t *testing.T) {
	fromTenPast(t, func(t *testing.T) {
		behind := 20 * time.Minute
		x := &fakeExchange{symbols: market(3), NowFunc: func() (time.Time, error) { return time.Now().Add(-behind), nil }}
		s := &fakeStore{}
		a := newTestRunner(t, testConfig{}, x, s)
		sleepUntil(at(0, 30, 0))
		scheduled(t, a, every("1h", time.Hour))
		sleepUntil(at(1, 19, 59))
		if got := began(s, "1h"); len(got) != 0 {
			t.Errorf("a sweep started at %v, before the candle closed by the venue's clock", got)
		}
		sleepUntil(at(2, 0, 0))
		wantBegan(t, s, "1h", at(1, 20, 0))
	})
}

func TestRunSchedules_OnceInAllProcesses(t *testing.T) {
	fromTenPast(t, func(t *testing.T) {
		s, x := &fakeStore{}, &fakeExchange{symbols: market(7)}
		var all []*Runner
		for range 3 {
			a := newTestRunner(t, testConfig{}, x, s)
			scheduled(t, a, every("1h", time.Hour), every("4h", time.Hour))
			all = append(all, a)
		}
		sleepUntil(at(8, 30, 0))
		wantBegan(t, s, "4h", at(4, 0, 0), at(8, 0, 0))
		if n := len(began(s, "1h")); n != 8 {
			t.Errorf("%d hourly sweeps in 8 hours", n)
		}
		counted, refused := 0.0, 0.0
		for _, a := range all {
			counted += runs(a, "1h", runStarted)
			refused += runs(a, "1h", runRefused)
		}
		if counted != 8 || refused != 0 {
			t.Errorf("%v runs counted as started, %v as refused", counted, refused)
		}
	})
}

func TestRunSchedules_MissedRunsAreCaughtUpOnce(t *testing.T) {
	fromTenPast(t, func(t *testing.T) {
		s, x := &fakeStore{}, &fakeExchange{symbols: market(7)}
		first := newTestRunner(t, testConfig{}, x, s)
		stop := scheduled(t, first, every("1h", time.Hour))
		sleepUntil(at(1, 30, 0))
		stop()
		sleepUntil(at(6, 30, 0)) // five runs were due
		a := newTestRunner(t, testConfig{}, x, s)
		scheduled(t, a, every("1h", time.Hour))
		sleepUntil(at(6, 31, 0))
		if got := began(s, "1h"); len(got) != 2 || got[1].Sub(at(6, 30, 0)) > time.Second {
			t.Errorf("sweeps began at %v", got)
		}
		if n := runs(a, "1h", runCaughtUp); n != 1 {
			t.Errorf("%v runs counted as caught up", n)
		}
		sleepUntil(at(7, 30, 0))
		if n := len(began(s, "1h")); n != 3 || runs(a, "1h", runStarted) != 1 {
			t.Errorf("%d sweeps after the next hour, %v of them counted as on time", n, runs(a, "1h", runStarted))
		}
	})
}

func TestRunSchedules_AVenueThatWasSilentIsCaughtUp(t *testing.T) {
	fromTenPast(t, func(t *testing.T) {
		var silent bool
		var mu sync.Mutex
		x := &fakeExchange{symbols: market(3), NowFunc: func() (time.Time, error) {
			mu.Lock()
			defer mu.Unlock()
			if silent {
				return time.Time{}, service.ErrExchange
			}
			return time.Now(), nil
		}}
		s := &fakeStore{}
		a := newTestRunner(t, testConfig{}, x, s)
		set := func(v bool) { mu.Lock(); silent = v; mu.Unlock() }
		set(true) // from the start
		scheduled(t, a, every("1h", time.Hour))
		sleepUntil(at(0, 30, 0))
		set(false)
		sleepUntil(at(0, 50, 0))
		set(true)
		sleepUntil(at(3, 20, 0))
		set(false)
		sleepUntil(at(3, 30, 0))
		if got := began(s, "1h"); len(got) != 1 || got[0].Sub(at(3, 20, 0)) > schedulePoll || runs(a, "1h", runCaughtUp) != 1 {
			t.Errorf("sweeps began at %v, %v caught up", got, runs(a, "1h", runCaughtUp))
		}
	})
}

func TestRunSchedules_RefusesWhileTheOneBeforeIsOpen(t *testing.T) {
	fromTenPast(t, func(t *testing.T) {
		hold := make(chan struct{})
		x := &fakeExchange{symbols: market(3), CandlesFunc: func(ctx context.Context, _ string, from int64, dst *levels.Candles) error {
			select {
			case <-hold:
			case <-ctx.Done():
				return ctx.Err()
			}
			return wave(from, dst)
		}}
		s := &fakeStore{}
		a := newTestRunner(t, testConfig{}, x, s)
		scheduled(t, a, every("1h", time.Hour))
		sleepUntil(at(3, 30, 0))
		wantBegan(t, s, "1h", at(1, 0, 0))
		if n := runs(a, "1h", runRefused); n != 2 {
			t.Errorf("%v runs refused, want 2", n)
		}
		close(hold)
		sleepUntil(at(4, 30, 0))
		wantBegan(t, s, "1h", at(1, 0, 0), at(4, 0, 0))
	})
}

// A sweep that began earlier would find the candles of the last one.
func TestRunSchedules_BeginOnceTheCandleHasSettled(t *testing.T) {
	fromTenPast(t, func(t *testing.T) {
		s := &fakeStore{}
		a := newTestRunner(t, testConfig{}, &fakeExchange{symbols: market(1), settles: 10 * time.Second}, s)
		scheduled(t, a, every("1h", time.Hour), every("1m", time.Minute))
		sleepUntil(at(12, 30, 0))
		for _, interval := range []levels.Interval{"1h", "1m"} {
			all := began(s, interval)
			for _, start := range all {
				if past := start.Sub(start.Truncate(interval.Duration())); past < 10*time.Second+closeMargin || past > time.Minute {
					t.Errorf("a sweep of %s began %v after the close", interval, past)
				}
			}
			if want := int(12 * time.Hour / interval.Duration()); len(all) < want-1 {
				t.Errorf("%d sweeps of %s, want %d", len(all), interval, want)
			}
		}
	})
}

func TestRunSchedules_WaitsForRoomAmongTheOpenJobs(t *testing.T) {
	fromTenPast(t, func(t *testing.T) {
		s := &fakeStore{}
		a := newTestRunner(t, testConfig{QueueLimit: 1}, &fakeExchange{symbols: market(3)}, s)
		s.mu.Lock()
		s.jobs, s.open = map[string]Job{"other": {ID: "other", Exchange: (&fakeExchange{}).Market().Exchange, State: Running}}, map[string]string{}
		s.mu.Unlock()
		scheduled(t, a, every("1h", time.Hour))
		sleepUntil(at(1, 10, 0))
		if got := began(s, "1h"); len(got) != 0 {
			t.Errorf("beyond the limit a sweep began at %v", got)
		}
		s.EndJob(t.Context(), "other", Cancelled, nil)
		sleepUntil(at(1, 11, 0))
		if got := began(s, "1h"); len(got) != 1 || runs(a, "1h", runCaughtUp) != 1 {
			t.Errorf("sweeps began at %v, %v caught up", got, runs(a, "1h", runCaughtUp))
		}
	})
}

func TestRunSchedules_ChangedConfigurationLeavesNothingBehind(t *testing.T) {
	fromTenPast(t, func(t *testing.T) {
		s, x := &fakeStore{}, &fakeExchange{symbols: market(3)}
		old := newTestRunner(t, testConfig{}, x, s)
		scheduled(t, old, every("1h", time.Hour), every("15m", time.Hour)) // and goes on
		sleepUntil(at(1, 30, 0))
		scheduled(t, newTestRunner(t, testConfig{}, x, s), every("1h", 2*time.Hour))
		sleepUntil(at(4, 30, 0))
		wantBegan(t, s, "1h", at(1, 0, 0), at(2, 0, 0), at(4, 0, 0))
		wantBegan(t, s, "15m", at(1, 0, 0))
		if n := testutil.CollectAndCount(old.metrics.nextRun); n != 0 {
			t.Errorf("the old process still has %d next runs in its metrics", n)
		}
		scheduled(t, newTestRunner(t, testConfig{}, x, s)) // switched off
		sleepUntil(at(8, 30, 0))
		wantBegan(t, s, "1h", at(1, 0, 0), at(2, 0, 0), at(4, 0, 0))
		if states, err := old.store.(ScheduleStore).Schedules(t.Context(), "fake"); len(states) != 0 || err != nil {
			t.Errorf("stored schedules: %+v, %v", states, err)
		}
	})
}

func TestRunSchedules_SubmitsTheWorkThatARequestForAllPairsIs(t *testing.T) {
	fromTenPast(t, func(t *testing.T) {
		hold := make(chan struct{})
		x := &fakeExchange{symbols: market(3), CandlesFunc: func(_ context.Context, _ string, from int64, dst *levels.Candles) error {
			<-hold
			return wave(from, dst)
		}}
		s := &fakeStore{}
		a := newTestRunner(t, testConfig{}, x, s)
		scheduled(t, a, every("1h", time.Hour))
		sleepUntil(at(1, 5, 0))
		states, err := a.store.(ScheduleStore).Schedules(t.Context(), "fake")
		if err != nil {
			t.Fatal(err)
		}
		j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
		if err != nil || j.ID != states[0].LastJob {
			t.Errorf("a request for all pairs got job %s (%v), want the scheduled one, %s", j.ID, err, states[0].LastJob)
		}
		close(hold)
		if end := finished(t, a, j.ID); end.Done != 3 || end.Kind != KindSweep {
			t.Errorf("it ended as %+v", end)
		}
	})
}

func TestRunSchedules_AStoreThatFailsIsSaidOnceAndTriedAgain(t *testing.T) {
	fromTenPast(t, func(t *testing.T) {
		var log strings.Builder
		s := &fakeStore{scheduleErr: errors.New("no disk")}
		a := newTestRunner(t, testConfig{}, &fakeExchange{symbols: market(3)}, s)
		a.log = textLog(&log)
		stop := scheduled(t, a, every("1h", time.Hour))
		time.Sleep(time.Minute)
		s.mu.Lock()
		s.scheduleErr = nil
		s.mu.Unlock()
		sleepUntil(at(1, 30, 0))
		wantBegan(t, s, "1h", at(1, 0, 0))
		stop()
		if n := strings.Count(log.String(), "no disk"); n != 1 {
			t.Errorf("the failure is in the log %d times:\n%s", n, log.String())
		}
	})
}

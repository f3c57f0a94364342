package job

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// Schedule says when sweeps of one interval begin without being asked for.
type Schedule struct {
	Interval levels.Interval
	Text     string // as it was configured; another text is another schedule
	// Next returns the first moment after t that the schedule names, in UTC.
	Next func(t time.Time) time.Time
}

// ScheduleState is a schedule as it is stored, shared by all processes.
type ScheduleState struct {
	Exchange string
	Interval levels.Interval
	Text     string    // of the Schedule
	NextRun  time.Time // when the next sweep begins, by the venue's clock
	LastRun  time.Time // when the last one was begun; zero before the first
	LastJob  string    // the job of that one, which may be forgotten by now
}

const (
	// closeMargin is how long after a candle's close a run begins at the
	// earliest: a venue may take a moment to print its last trades.
	closeMargin = 2 * time.Second
	// startSpread is within how long after that runs begin, at random, so that
	// intervals, and deployments that know nothing of each other, do not all ask
	// a venue in the same second: half of the minute over which venues count
	// weight. For short candles it is a tenth of their length. Within a run the
	// slots and the request budget spread the pairs.
	startSpread = 30 * time.Second
	// scheduleLook is how often a process looks whether a run is due.
	scheduleLook = 5 * time.Second
	// caughtUpAfter is how late a run is when it counts as caught up.
	caughtUpAfter = time.Minute
)

// moment returns the first moment of the schedule at which a candle has closed
// that had not at t: sweeping sooner would find the same candles.
func (s Schedule) moment(t time.Time) time.Time {
	closes := levels.NextBoundary(t, s.Interval.Duration())
	return s.Next(closes.Add(-time.Millisecond))
}

// run returns when to begin the first run after one that begins now.
func (s Schedule) run(now time.Time) time.Time {
	spread := min(startSpread, s.Interval.Duration()/10)
	return s.moment(now.Add(-closeMargin)).Add(closeMargin + rand.N(spread)).Truncate(time.Millisecond)
}

// longest returns the longest time between two of the next hundred runs.
func (s Schedule) longest(now time.Time) time.Duration {
	var most time.Duration
	for last, i := s.moment(now), 0; i < 100; i++ {
		next := s.moment(last)
		most = max(most, next.Sub(last))
		last = next
	}
	return most
}

// ScheduledRun is the outcome of a run that was due.
type ScheduledRun struct {
	Job       Job
	Joined    bool // Job was open already; none was created
	Elsewhere bool // another process has begun the run; Job is zero
}

// ScheduleStore keeps schedules. Its errors are those of Store.
type ScheduleStore interface {
	// SetSchedules makes these the schedules of an exchange, and returns how many of
	// other intervals it removed. One that is there with the same text stays as it
	// is; under another text it becomes the new one, unless it is due by now: then
	// that run is still made. None removes all, but only from a process that works
	// alone: one that was started without them must not stop the others'.
	SetSchedules(ctx context.Context, exchange string, schedules []ScheduleState, now time.Time) (removed int, err error)
	// Schedules returns the schedules of an exchange, the shortest interval first.
	Schedules(ctx context.Context, exchange string) ([]ScheduleState, error)
	// RunSchedule puts off a schedule that is due to its next run, and submits j as
	// Store.SubmitJob does, in one transaction. If the schedule has changed since it
	// was due, another process has done so, and this one does nothing.
	RunSchedule(ctx context.Context, due ScheduleState, next time.Time, j Job, work string, scope Scope, limit int) (ScheduledRun, error)
}

// scheduler begins the runs of some schedules.
type scheduler struct {
	*Runner
	store     ScheduleStore
	schedules []Schedule
	set       bool                     // the store has them
	replaced  map[levels.Interval]bool // logged as replaced by another process
	busy      bool                     // logged as waiting for an open job to end
}

// RunSchedules makes these the schedules of the exchange, in place of all it had,
// and submits a sweep of all pairs whenever one is due, until ctx ends. Any
// number of processes may do so with the same schedules: each run is begun once.
// If they differ, those of the process that began last count.
//
// A run is due by the venue's clock, of which a lower bound is known, so that its
// candle has certainly closed. Runs missed while no process was there are made up
// for by one, at once. A run that is due while the sweep of the same work is
// still open is refused.
func (r *Runner) RunSchedules(ctx context.Context, store ScheduleStore, schedules []Schedule) {
	s := &scheduler{Runner: r, store: store, schedules: schedules, replaced: map[levels.Interval]bool{}}
	failing := false
	for {
		pause, err := s.look(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && len(schedules) == 0:
			return
		case err != nil && !failing:
			r.log.Warn("the schedules cannot be looked at, trying again; what is due meanwhile is caught up", "error", err)
		}
		if failing = err != nil; failing {
			pause = scheduleLook
		}
		if !wait(ctx, pause, nil) {
			return
		}
	}
}

// look begins what is due and returns how long to wait before the next look.
func (s *scheduler) look(ctx context.Context) (time.Duration, error) {
	if !s.set {
		if err := s.install(ctx); err != nil {
			return 0, err
		}
	}
	if len(s.schedules) == 0 {
		return 0, nil
	}
	now, err := s.exchange.Now(ctx)
	if err != nil {
		return 0, err
	}
	states, err := s.store.Schedules(ctx, s.exchange.Market().Exchange)
	if err != nil {
		return 0, err
	}
	pause := scheduleLook
	for _, schedule := range s.schedules {
		state, ok := s.find(states, schedule)
		if !ok {
			continue
		}
		if !now.Before(state.NextRun) {
			if state, err = s.begin(ctx, schedule, state, now); err != nil {
				return 0, err
			}
		}
		s.metrics.nextRun.WithLabelValues(string(schedule.Interval)).Set(float64(state.NextRun.UnixMilli()) / 1000)
		if left := state.NextRun.Sub(now); left > 0 {
			pause = min(pause, max(left, 100*time.Millisecond))
		}
	}
	return pause, nil
}

// install makes the schedules those of the exchange.
func (s *scheduler) install(ctx context.Context) error {
	exchange := s.exchange.Market().Exchange
	states := make([]ScheduleState, len(s.schedules))
	var now time.Time
	if len(states) > 0 {
		var err error
		if now, err = s.exchange.Now(ctx); err != nil {
			return err
		}
	}
	for i, schedule := range s.schedules {
		states[i] = ScheduleState{Exchange: exchange, Interval: schedule.Interval, Text: schedule.Text, NextRun: schedule.run(now)}
	}
	removed, err := s.store.SetSchedules(ctx, exchange, states, now)
	if err != nil {
		return err
	}
	s.set = true
	if removed > 0 {
		s.log.Warn("schedules that are not configured any more were removed, for all processes", "exchange", exchange, "schedules", removed)
	}
	if states, err = s.store.Schedules(ctx, s.exchange.Market().Exchange); err != nil {
		return err
	}
	for _, state := range states {
		s.log.Info("scheduled", "interval", state.Interval, "schedule", state.Text, "next_run", state.NextRun)
	}
	for _, schedule := range s.schedules {
		s.metrics.period.WithLabelValues(string(schedule.Interval)).Set(schedule.longest(now).Seconds())
		for _, outcome := range []string{runStarted, runCaughtUp, runRefused} {
			s.metrics.scheduled.WithLabelValues(string(schedule.Interval), outcome) // exists before the first run
		}
	}
	return nil
}

// find returns the state of a schedule; false, and a word in the log, if another
// process has replaced it.
func (s *scheduler) find(states []ScheduleState, schedule Schedule) (ScheduleState, bool) {
	for _, state := range states {
		if state.Interval == schedule.Interval && state.Text == schedule.Text {
			s.replaced[schedule.Interval] = false
			return state, true
		}
	}
	if !s.replaced[schedule.Interval] {
		s.replaced[schedule.Interval] = true
		s.metrics.nextRun.DeleteLabelValues(string(schedule.Interval))
		s.metrics.period.DeleteLabelValues(string(schedule.Interval))
		s.log.Warn("a process that began later has another schedule, which counts; all should have the same",
			"interval", schedule.Interval, "schedule", schedule.Text)
	}
	return ScheduleState{}, false
}

// What became of a run that was due.
const (
	runStarted  = "started"
	runCaughtUp = "caught_up"
	runRefused  = "refused"
)

// begin begins the run that state says is due, unless another process has, and
// returns the state as it is then.
func (s *scheduler) begin(ctx context.Context, schedule Schedule, state ScheduleState, now time.Time) (ScheduleState, error) {
	q := Request{All: true, Interval: schedule.Interval, Store: true}
	if err := s.analyzer.Settle(&q.Interval, &q.KlineLimit); err != nil {
		return state, err
	}
	created, scope := s.newJob(q), s.scope(q)
	next := schedule.run(now)
	run, err := s.store.RunSchedule(ctx, state, next, created, scope.work(created), scope, s.cfg.QueueLimit)
	if errors.Is(err, service.ErrBusy) {
		if !s.busy {
			s.log.Warn("a scheduled sweep waits: as many jobs are open as ANALYSIS_QUEUE_LIMIT allows", "interval", schedule.Interval)
		}
		s.busy = true
		return state, nil
	}
	if err != nil {
		return state, err
	}
	s.busy = false
	late := now.Sub(state.NextRun)
	due := state.NextRun
	state.NextRun = next
	outcome := runStarted
	switch {
	case run.Elsewhere:
		return state, nil // the next look tells when it is due again
	case run.Joined:
		outcome = runRefused
		s.log.Warn("a scheduled sweep was refused: the one before is still open", "interval", schedule.Interval, "job", run.Job.ID, "next_run", next)
	case late >= caughtUpAfter:
		outcome = runCaughtUp
		s.log.Info("a scheduled sweep is caught up", "interval", schedule.Interval, "job", run.Job.ID, "due", due, "next_run", next)
	default:
		s.log.Info("a scheduled sweep begins", "interval", schedule.Interval, "job", run.Job.ID, "next_run", next)
	}
	s.metrics.scheduled.WithLabelValues(string(schedule.Interval), outcome).Inc()
	return state, nil
}

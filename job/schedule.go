package job

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// Schedule is the times at which sweeps of one interval start.
type Schedule struct {
	Interval levels.Interval
	Text     string // as configured; identifies the schedule
	// Next returns the first time of the schedule after t, in UTC.
	Next func(t time.Time) time.Time
}

// ScheduleState is a schedule as it is stored, shared by all processes.
type ScheduleState struct {
	Exchange string
	Interval levels.Interval
	Text     string    // of the Schedule
	NextRun  time.Time // start of the next sweep, by the venue's clock
	LastRun  time.Time // start of the last sweep; zero before the first
	LastJob  string    // job of the last sweep, which may have been pruned
}

const (
	// closeMargin is the least time between the close of a candle and a run. The
	// venue may need a moment to report its last trades.
	closeMargin = 2 * time.Second
	// startSpread bounds the random delay added to closeMargin, so that intervals and
	// independent deployments do not all send requests in the same second. It is half
	// of the minute over which venues count weight. For short candles the bound is a
	// tenth of their length. Within a run, slots and the request budget spread the
	// pairs.
	startSpread = 30 * time.Second
	// schedulePoll is how often a process checks whether a run is due.
	schedulePoll = 5 * time.Second
	// caughtUpAfter is the delay from which a run counts as caught up.
	caughtUpAfter = time.Minute
)

// moment returns the first time of the schedule at or after the next close of a candle.
// An earlier sweep would find the same candles as one at t.
func (s Schedule) moment(t time.Time) time.Time {
	closes := levels.NextBoundary(t, s.Interval.Duration())
	return s.Next(closes.Add(-time.Millisecond))
}

// after returns the start of the first run after one that starts now, on an exchange whose
// candles settle that long after their close.
func (s Schedule) after(now time.Time, settles time.Duration) time.Time {
	spread, margin := min(startSpread, s.Interval.Duration()/10), closeMargin+settles
	return s.moment(now.Add(-margin)).Add(margin + rand.N(spread)).Truncate(time.Millisecond)
}

// longest returns the longest time between two of the next hundred runs.
func (s Schedule) longest(now time.Time) time.Duration {
	var longest time.Duration
	last := s.moment(now)
	for range 100 {
		next := s.moment(last)
		longest = max(longest, next.Sub(last))
		last = next
	}
	return longest
}

// ScheduledRun is the outcome of a run that was due.
type ScheduledRun struct {
	Job       Job
	Joined    bool // Job was open already; no job was created
	Elsewhere bool // another process has started the run; Job is zero
}

// ScheduleStore stores schedules. Its errors are those of Store.
type ScheduleStore interface {
	// SetSchedules replaces the schedules of an exchange and returns the number of
	// removed schedules, those of other intervals. A stored schedule with the same
	// text does not change. One with another text is replaced, but if it is due by
	// now, that run still starts. An empty list removes all schedules, but only if no
	// other process is running: a process without schedules must not stop those of
	// the others.
	SetSchedules(ctx context.Context, exchange string, schedules []ScheduleState, now time.Time) (removed int, err error)
	// Schedules returns the schedules of an exchange, the shortest interval first.
	Schedules(ctx context.Context, exchange string) ([]ScheduleState, error)
	// RunSchedule sets the next run of a due schedule and submits j as
	// Store.SubmitJob does, in one transaction. If the schedule has changed since due
	// was read, another process has started the run, and RunSchedule does nothing.
	RunSchedule(ctx context.Context, due ScheduleState, next time.Time, j Job, work string, scope Scope, limit int) (ScheduledRun, error)
}

// scheduler starts the runs of the schedules of one exchange.
type scheduler struct {
	*Runner
	exchange  Exchange
	store     ScheduleStore
	schedules []Schedule
	installed bool                     // the store has the schedules
	replaced  map[levels.Interval]bool // logged as replaced by another process
	busy      bool                     // logged as waiting for an open job to end
}

// RunSchedules replaces the schedules of every exchange and submits a sweep of all pairs
// of an exchange whenever one is due, until ctx ends. An exchange that does not answer
// delays only its own sweeps. Any number of processes may call it with the same
// schedules: each run starts once. If their schedules differ, those of the process that
// started last apply.
//
// A run is due by a lower bound of the venue's clock, so its candle has certainly
// closed. One run, at once, replaces all runs that were missed while no process was
// running. A run that is due while a sweep of the same work is open is refused.
func (r *Runner) RunSchedules(ctx context.Context, store ScheduleStore, schedules []Schedule) {
	ctx = service.Background(ctx)
	var each sync.WaitGroup
	defer each.Wait()
	for _, x := range r.exchanges {
		s := &scheduler{Runner: r, exchange: x, store: store, schedules: schedules, replaced: map[levels.Interval]bool{}}
		each.Go(func() { s.run(ctx) })
	}
}

// run starts the runs of one exchange until ctx ends.
func (s *scheduler) run(ctx context.Context) {
	failing := false
	for {
		pause, err := s.startDue(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && len(s.schedules) == 0:
			return
		case err != nil && !failing:
			s.log.Warn("the schedules cannot be read, retrying; missed runs will be caught up", "exchange", s.name(), "error", err)
		}
		failing = err != nil
		if failing {
			pause = schedulePoll
		}
		if !wait(ctx, pause, nil) {
			return
		}
	}
}

// name returns the name of the exchange.
func (s *scheduler) name() string { return s.exchange.Market().Exchange }

// startDue starts the runs that are due and returns how long to wait before the next
// call.
func (s *scheduler) startDue(ctx context.Context) (time.Duration, error) {
	if !s.installed {
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
	states, err := s.store.Schedules(ctx, s.name())
	if err != nil {
		return 0, err
	}
	pause := schedulePoll
	for _, schedule := range s.schedules {
		state, ok := s.find(states, schedule)
		if !ok {
			continue
		}
		if !now.Before(state.NextRun) {
			state, err = s.start(ctx, schedule, state, now)
			if err != nil {
				return 0, err
			}
		}
		s.metrics.nextRun.WithLabelValues(s.name(), string(schedule.Interval)).Set(float64(state.NextRun.UnixMilli()) / 1000)
		if left := state.NextRun.Sub(now); left > 0 {
			pause = min(pause, max(left, 100*time.Millisecond))
		}
	}
	return pause, nil
}

// install stores the schedules as those of the exchange.
func (s *scheduler) install(ctx context.Context) error {
	exchange := s.name()
	states := make([]ScheduleState, len(s.schedules))
	var now time.Time
	if len(states) > 0 {
		var err error
		now, err = s.exchange.Now(ctx)
		if err != nil {
			return err
		}
	}
	for i, schedule := range s.schedules {
		states[i] = ScheduleState{Exchange: exchange, Interval: schedule.Interval, Text: schedule.Text, NextRun: schedule.after(now, s.exchange.Market().Settles)}
	}
	removed, err := s.store.SetSchedules(ctx, exchange, states, now)
	if err != nil {
		return err
	}
	s.installed = true
	if removed > 0 {
		s.log.Warn("schedules that are no longer configured were removed, for all processes", "exchange", exchange, "schedules", removed)
	}
	states, err = s.store.Schedules(ctx, exchange)
	if err != nil {
		return err
	}
	for _, state := range states {
		s.log.Info("scheduled", "exchange", exchange, "interval", state.Interval, "schedule", state.Text, "next_run", state.NextRun)
	}
	for _, schedule := range s.schedules {
		s.metrics.period.WithLabelValues(exchange, string(schedule.Interval)).Set(schedule.longest(now).Seconds())
		for _, outcome := range []string{runStarted, runCaughtUp, runRefused} {
			s.metrics.scheduled.WithLabelValues(exchange, string(schedule.Interval), outcome) // exists before the first run
		}
	}
	return nil
}

// find returns the state of a schedule. If another process has replaced the schedule,
// find logs it once and returns false.
func (s *scheduler) find(states []ScheduleState, schedule Schedule) (ScheduleState, bool) {
	for _, state := range states {
		if state.Interval == schedule.Interval && state.Text == schedule.Text {
			s.replaced[schedule.Interval] = false
			return state, true
		}
	}
	if !s.replaced[schedule.Interval] {
		s.replaced[schedule.Interval] = true
		s.metrics.nextRun.DeleteLabelValues(s.name(), string(schedule.Interval))
		s.metrics.period.DeleteLabelValues(s.name(), string(schedule.Interval))
		s.log.Warn("a process that started later has replaced this schedule; all processes should have the same schedules",
			"exchange", s.name(), "interval", schedule.Interval, "schedule", schedule.Text)
	}
	return ScheduleState{}, false
}

// The outcomes of a run that was due.
const (
	runStarted  = "started"
	runCaughtUp = "caught_up"
	runRefused  = "refused"
)

// start starts the run that is due, unless another process has, and returns the new
// state.
func (s *scheduler) start(ctx context.Context, schedule Schedule, state ScheduleState, now time.Time) (ScheduleState, error) {
	q := Request{All: true, Interval: schedule.Interval, Store: true}
	if err := s.analyzer.Settle(&q.Interval, &q.KlineLimit); err != nil {
		return state, err
	}
	created, scope := newJob(s.exchange, q), s.scope(s.exchange, q)
	next := schedule.after(now, s.exchange.Market().Settles)
	run, err := s.store.RunSchedule(ctx, state, next, created, scope.work(created), scope, s.cfg.QueueLimit)
	if errors.Is(err, service.ErrBusy) {
		if !s.busy {
			s.log.Warn("a scheduled sweep waits: ANALYSIS_QUEUE_LIMIT jobs are open", "exchange", s.name(), "interval", schedule.Interval)
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
		return state, nil // the next call reads the time of the next run
	case run.Joined:
		outcome = runRefused
		s.log.Warn("a scheduled sweep was refused: the previous sweep is still open", "exchange", s.name(), "interval", schedule.Interval, "job", run.Job.ID, "next_run", next)
	case late >= caughtUpAfter:
		outcome = runCaughtUp
		s.log.Info("a missed scheduled sweep started", "exchange", s.name(), "interval", schedule.Interval, "job", run.Job.ID, "due", due, "next_run", next)
	default:
		s.log.Info("a scheduled sweep started", "exchange", s.name(), "interval", schedule.Interval, "job", run.Job.ID, "next_run", next)
	}
	s.metrics.scheduled.WithLabelValues(s.name(), string(schedule.Interval), outcome).Inc()
	return state, nil
}

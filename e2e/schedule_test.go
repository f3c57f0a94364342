package e2e

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidemark/config"
	"tidemark/exchange/simulated"
	"tidemark/exchange/venues"
	"tidemark/job"
)

// These tests pin ANALYSIS_SCHEDULE and ANALYSIS_INTERVALS: what is accepted and
// how it is understood, what is refused in one sentence with an example of what
// is not, and that running services sweep by it, one for all of them.

func TestSchedules_DurationsAndCronInUTC(t *testing.T) {
	from := time.Date(2026, 11, 23, 1, 20, 30, 0, time.FixedZone("elsewhere", 5*3600)) // a Sunday evening in UTC
	for _, c := range []struct{ schedule, text, next string }{
		{"1h", "1h", "2026-11-22T21:00:00Z"},
		{"60m", "1h", "2026-11-22T21:00:00Z"},
		{"90m", "1h30m", "2026-11-22T21:00:00Z"},
		{"24h", "24h", "2026-11-23T00:00:00Z"},
		{"168h", "168h", "2026-11-23T00:00:00Z"},
		{"0 */4 * * *", "0 */4 * * *", "2026-11-23T00:00:00Z"},
		{"  30   6 * * MON-FRI ", "30 6 * * MON-FRI", "2026-11-23T06:30:00Z"},
		{"*/15 * * * *", "*/15 * * * *", "2026-11-22T20:30:00Z"},
	} {
		cfg, err := config.Load([]string{"ANALYSIS_SCHEDULE=" + c.schedule, "ANALYSIS_INTERVALS=1d, 1h"}, nil, venues.Names())
		if err != nil {
			t.Errorf("%s: %v", c.schedule, err)
			continue
		}
		all, err := cfg.Schedules()
		if err != nil || len(all) != 2 || all[0].Interval != "1d" || all[1].Interval != "1h" {
			t.Fatalf("%s: %+v, %v", c.schedule, all, err)
		}
		for _, s := range all {
			if next := s.Next(from).Format(time.RFC3339); s.Text != c.text || next != c.next {
				t.Errorf("%s is %q, next at %s, want %q and %s", c.schedule, s.Text, next, c.text, c.next)
			}
		}
	}
}

func TestSchedules_IntervalsAreANALYSIS_INTERVALUnlessNamed(t *testing.T) {
	cfg, err := config.Load([]string{"ANALYSIS_INTERVAL=4h", "ANALYSIS_SCHEDULE=4h"}, nil, venues.Names())
	if err != nil || strings.Join(cfg.AnalysisIntervals, " ") != "4h" {
		t.Errorf("intervals are %q, %v", cfg.AnalysisIntervals, err)
	}
	// empty, as a compose file passes what is not set
	if cfg, err = config.Load([]string{"ANALYSIS_SCHEDULE=", "ANALYSIS_INTERVALS="}, nil, venues.Names()); err != nil || strings.Join(cfg.AnalysisIntervals, " ") != "1h" {
		t.Fatalf("empty, the intervals are %q, %v", cfg.AnalysisIntervals, err)
	}
	if all, err := cfg.Schedules(); len(all) != 0 || err != nil {
		t.Errorf("without a schedule there are %d, %v", len(all), err)
	}
}

func TestSchedules_RefusedInOneSentence(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{"ANALYSIS_SCHEDULE=hourly", `ANALYSIS_SCHEDULE: "hourly" is neither a duration such as 1h nor five cron fields`},
		{"ANALYSIS_SCHEDULE=@hourly", `is neither a duration such as 1h nor five cron fields`},
		{"ANALYSIS_SCHEDULE=-1h", "is shorter than the shortest of ANALYSIS_INTERVALS"},
		{"ANALYSIS_SCHEDULE=0s", "is shorter than the shortest of ANALYSIS_INTERVALS"},
		{"ANALYSIS_SCHEDULE=15m", "use 1h or more"},
		{"ANALYSIS_SCHEDULE=1h\nANALYSIS_INTERVALS=1d,4h", "use 4h or more"},
		{"ANALYSIS_SCHEDULE=90m30s", "is not a number of whole minutes"},
		{"ANALYSIS_SCHEDULE=0 0 0 * * *", "is no cron expression: expected exactly 5 fields, found 6"},
		{"ANALYSIS_SCHEDULE=61 * * * *", "is no cron expression: end of range (61) above maximum (59)"},
		{"ANALYSIS_SCHEDULE=TZ=Asia/Tokyo 0 * * * *", "names a time zone: cron fields are in UTC"},
		{"ANALYSIS_SCHEDULE=CRON_TZ=UTC 0 * * *", "names a time zone"},
		{"ANALYSIS_SCHEDULE=0 0 30 2 *", "names no moment"},
		{"ANALYSIS_INTERVALS=1h,7m", `ANALYSIS_INTERVALS: unknown interval "7m"`},
		{"ANALYSIS_INTERVALS=1h,4h,1h", "ANALYSIS_INTERVALS: 1h is named twice"},
	} {
		_, err := config.Load(strings.Split(c.lines, "\n"), nil, venues.Names())
		switch {
		case err == nil:
			t.Errorf("%s was accepted", c.lines)
		case !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "ANALYSIS_"):
			t.Errorf("%s: %q does not say %q", c.lines, err, c.want)
		case strings.Contains(err.Error(), "\n"):
			t.Errorf("%s: more than one line: %q", c.lines, err)
		}
	}
}

func TestServe_SweepsByScheduleOnceForAllProcesses(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func(*testing.T) string{"sqlite": sqliteURL, "postgres": postgresURL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The process that stores the schedule must be up before the hour is full.
			for left := 5 * time.Second; !sweptBySchedule(t, url(t), left); left *= 4 {
				if left > time.Minute {
					t.Fatalf("a process took %s to start", left)
				}
			}
		})
	}
}

// sweptBySchedule starts processes on a new database while an hour of the venue is full in
// the given time, and checks the sweep that begins then. It returns false if they were up
// too late for that.
func sweptBySchedule(t *testing.T, database string, left time.Duration) bool {
	// The venue's clock stands until the process that only answers is up. The next one
	// stores the schedule.
	hour := time.Now().UTC().Truncate(time.Hour).Add(time.Hour)
	before := hour.Add(-left)
	var started atomic.Pointer[time.Time]
	_, exchange := market(t, simulated.Options{Pairs: 5, Now: func() time.Time {
		if s := started.Load(); s != nil {
			return before.Add(time.Since(*s))
		}
		return before
	}})
	environ := []string{"EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + database, "ANALYSIS_SCHEDULE=1h", "ANALYSIS_INTERVALS=1m"}
	door := serve(t, append(environ, "ROLE=api")...)
	now := time.Now()
	started.Store(&now)
	processes := []*running{door, serve(t, environ...)}
	var got struct {
		Schedules []struct {
			Interval, Schedule string
			NextRun            time.Time  `json:"next_run"`
			LastRun            *time.Time `json:"last_run"`
			LastJob            string     `json:"last_job"`
		}
	}
	until := func(what string, is func() bool) {
		for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
			if status := door.get(t, "/schedules", &got); status != http.StatusOK {
				t.Fatalf("the schedules: %d", status)
			}
			if is() {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("no %s: %+v", what, got)
			}
		}
	}
	until("schedule", func() bool { return len(got.Schedules) == 1 })
	if s := got.Schedules[0]; s.LastRun == nil && s.NextRun.After(hour.Add(30*time.Minute)) {
		for _, p := range processes {
			p.end(t)
		}
		return false
	}
	serve(t, append(environ, "ROLE=worker")...)
	until("run", func() bool { return len(got.Schedules) == 1 && got.Schedules[0].LastRun != nil })
	s := got.Schedules[0]
	if s.Interval != "1m" || s.Schedule != "1h" {
		t.Errorf("the schedule is %+v", s)
	}
	j := door.waitFor(t, s.LastJob, ended)
	if j.State != job.Completed || j.Done < 5 {
		t.Errorf("the sweep ended as %+v", j)
	}
	var jobs struct{ Jobs []jobReply }
	if door.get(t, "/jobs", &jobs); len(jobs.Jobs) != 1 {
		t.Errorf("%d jobs, want 1", len(jobs.Jobs))
	}
	var a analysisReply
	if status := door.get(t, "/levels/BTCUSDT?interval=1m", &a); status != http.StatusOK {
		t.Errorf("BTCUSDT: %d", status)
	}
	if a.AsOf.Before(hour) {
		t.Errorf("the levels are as of %s, without the candle that closed at %s", a.AsOf, hour)
	}
	return true
}

package exchange

// The gate and the budget by themselves: whose count is believed for which
// minute, how long a window lasts whatever the clocks do, and that a pause only
// ever grows. What they add up to is pinned at the client of a venue.

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/service"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// newLimiter allows 100 a minute; the venue's clock shows the time given.
func newLimiter(venue time.Time) *Limiter {
	clock := new(Clock)
	if !venue.IsZero() {
		clock.Set(venue.UnixMilli(), time.Now(), time.Time{})
	}
	return NewLimiter(LimiterConfig{Clock: clock, Limit: 200, Share: 0.5, Floor: 10})
}

func acquire(t *testing.T, l *Limiter, weight int) Ticket {
	t.Helper()
	ticket, err := l.Acquire(t.Context(), weight)
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

func TestLimiter_WaitsForTheVenuesNextMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(noon.Add(40 * time.Second))
		start := time.Now()
		l.Done(acquire(t, l, 100))
		l.Done(acquire(t, l, 1))
		if d := time.Since(start); d < 20*time.Second || d > 20*time.Second+100*time.Millisecond {
			t.Errorf("waited %v", d)
		}
	})
}

func TestLimiter_WaitsAMinuteWithoutAClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(time.Time{})
		start := time.Now()
		l.Done(acquire(t, l, 100))
		l.Done(acquire(t, l, 100))
		if d := time.Since(start); d != time.Minute {
			t.Errorf("waited %v", d)
		}
	})
}

func TestLimiter_AClockThatGoesBackDoesNotStopIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(noon)
		l.Done(acquire(t, l, 100))
		l.clock.Set(noon.Add(-1000*time.Hour).UnixMilli(), time.Now(), time.Time{})
		start := time.Now()
		l.Done(acquire(t, l, 100))
		if d := time.Since(start); d != time.Minute {
			t.Errorf("waited %v", d)
		}
	})
}

func TestLimiter_CountsWhatIsUnderWayInBothMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(noon.Add(59 * time.Second))
		late := acquire(t, l, 60)
		time.Sleep(2 * time.Second)
		if s := l.Stats(); s.UsedWeight != 60 {
			t.Errorf("%+v", s)
		}
		l.Done(late)
		time.Sleep(time.Minute)
		if s := l.Stats(); s.UsedWeight != 0 || s.WeightLimit != 200 {
			t.Errorf("%+v", s)
		}
	})
}

func TestLimiter_BelievesCountsOfThisMinuteOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
		for _, tt := range []struct {
			name        string
			sent, heard int // seconds after noon, by the venue's clock
			date        time.Time
			want        int
		}{
			{"this minute", 10, 11, at(11), 70},
			{"without a date", 10, 11, time.Time{}, 70},
			{"last minute, arrived late", 59, 61, at(59), 10},
			{"last minute, without a date", 59, 61, time.Time{}, 10},
			{"perhaps last minute", 59, 61, at(60), 10},
			{"this minute's first second, sent in it", 60, 61, at(60), 70},
			{"sent in the last, counted in this", 59, 62, at(61), 70},
			{"a minute our clock has not seen", 30, 31, at(125), 70},
		} {
			l := newLimiter(at(tt.sent))
			l.roll(time.Now()) // the window has begun
			ticket := acquire(t, l, 10)
			time.Sleep(time.Duration(tt.heard-tt.sent)*time.Second + 100*time.Millisecond)
			l.roll(time.Now())
			l.Saw(ticket, 60, tt.date)
			if got := l.used; got != tt.want {
				t.Errorf("%s: %d counted, want %d", tt.name, got, tt.want)
			}
			l.Saw(ticket, 5, tt.date)
			if l.used != tt.want {
				t.Errorf("%s: a lower count was believed", tt.name)
			}
			l.Done(ticket)
		}
	})
}

func TestLimiter_APauseOnlyGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(noon)
		now := time.Now()
		in := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
		for _, tt := range []struct {
			until  time.Time
			reason error
			news   bool
			want   time.Time
			banned bool
		}{
			{in(-5), service.ErrRateLimited, false, time.Time{}, false},
			{in(30), service.ErrRateLimited, true, in(30), false},
			{in(20), service.ErrRateLimited, false, in(30), false},
			{in(30).Add(time.Millisecond), service.ErrRateLimited, false, in(30).Add(time.Millisecond), false},
			{in(20), service.ErrBanned, true, in(30).Add(time.Millisecond), true},
			{in(60), service.ErrRateLimited, true, in(60), true},
			{in(90), service.ErrBanned, true, in(90), true},
			{in(90), service.ErrBanned, false, in(90), true},
		} {
			if news := l.Pause(tt.until, tt.reason); news != tt.news {
				t.Errorf("until %v: news %v", tt.until.Sub(now), news)
			}
			if got := l.Stats().PausedUntil; !got.Equal(tt.want) || l.Open() != tt.want.IsZero() {
				t.Errorf("until %v: paused until %v", tt.until.Sub(now), got.Sub(now))
			}
			if banned := errors.Is(l.reason, service.ErrBanned); banned != tt.banned {
				t.Errorf("until %v: banned %v", tt.until.Sub(now), banned)
			}
		}
		time.Sleep(90 * time.Second)
		if !l.Open() {
			t.Error("still shut")
		}
		l.Pause(in(100), service.ErrRateLimited)
		if errors.Is(l.reason, service.ErrBanned) {
			t.Error("a ban that has ended makes a rate limit a ban")
		}
	})
}

func TestLimiter_BackoffDoublesByWaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(noon)
		for _, want := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second} {
			for range 7 {
				l.Backoff()
			}
			if d := time.Until(l.Stats().PausedUntil); d != want {
				t.Errorf("%v, want %v", d, want)
			}
			time.Sleep(want)
		}
		for range 10 {
			l.Backoff()
			time.Sleep(time.Until(l.Stats().PausedUntil))
		}
		l.Backoff()
		if d := time.Until(l.Stats().PausedUntil); d != time.Minute {
			t.Errorf("at most %v", d)
		}
		time.Sleep(time.Minute)
		l.Healthy()
		l.Backoff()
		if d := time.Until(l.Stats().PausedUntil); d != 500*time.Millisecond {
			t.Errorf("%v after a good answer", d)
		}
	})
}

func TestLimiter_HonoursTheContextWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(noon)
		l.Pause(time.Now().Add(time.Hour), service.ErrRateLimited)
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		start := time.Now()
		if _, err := l.Acquire(ctx, 1); err != why || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestClock_GivesAwayAThousandth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(Clock)
		if _, ok := c.Now(); ok || c.Fresh() {
			t.Error("known before the first stamp")
		}
		c.Set(1_000_000, time.Now(), time.Time{})
		time.Sleep(100 * time.Second)
		if ms, ok := c.Now(); !ok || ms != 1_000_000+99_900 {
			t.Errorf("%d, %v", ms, ok)
		}
	})
}

func TestClock_IsStaleWhenOldOrBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(Clock)
		// A front server's clock that is always three seconds ahead tells nothing.
		c.Set(noon.UnixMilli(), time.Now(), noon.Add(3*time.Second))
		time.Sleep(10 * time.Second)
		c.Saw(noon.Add(13 * time.Second))
		if !c.Fresh() {
			t.Error("a Date ahead by what it was ahead from the start")
		}
		c.Saw(noon.Add(20 * time.Second))
		if c.Fresh() {
			t.Error("a Date ahead by seven seconds more")
		}
		c.Set(noon.UnixMilli(), time.Now(), noon)
		c.Saw(noon.Add(time.Hour))
		if !c.Fresh() {
			t.Error("asked for again at once")
		}
		time.Sleep(time.Second)
		if c.Fresh() {
			t.Error("not asked for again")
		}
		c.Set(noon.UnixMilli(), time.Now(), noon)
		time.Sleep(maxClockAge)
		if c.Fresh() {
			t.Error("fresh when old")
		}
	})
}

func TestRetryAfter_SecondsOrDate(t *testing.T) {
	date := noon.Format(http.TimeFormat)
	for _, tt := range []struct {
		value, date string
		want        time.Duration
		ok          bool
	}{
		{"", date, 0, false}, {"0", date, 0, true}, {"30", "", 30 * time.Second, true}, {"-1", date, 0, false}, {"1.5", date, 0, false},
		{"99999999999", date, maxPause, true}, {"99999999999999999999999", date, 0, false}, {"soon", date, 0, false},
		{noon.Add(45 * time.Second).Format(http.TimeFormat), date, 45 * time.Second, true},
		{noon.Add(45 * time.Second).Format(http.TimeFormat), "", 0, false},
		{noon.Add(-time.Second).Format(http.TimeFormat), date, 0, false},
		{noon.Add(1e6 * time.Hour).Format(http.TimeFormat), date, maxPause, true},
	} {
		h := http.Header{"Retry-After": {tt.value}, "Date": {tt.date}}
		if got, ok := retryAfter(h); got != tt.want || ok != tt.ok {
			t.Errorf("%q at %q: %v, %v", tt.value, tt.date, got, ok)
		}
	}
}

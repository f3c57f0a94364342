package exchange

// The gate and the budget alone: which count applies to which minute, how long a
// window lasts for any clocks, and that a pause is never shortened. The tests of
// the Binance client pin their combination.

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
		clock.Set(venue.UnixMilli(), time.Now(), venue)
	}
	return NewLimiter(LimiterConfig{Clock: clock, Limit: 200, Share: 0.5, Floor: 10})
}

func acquire(t *testing.T, l *Limiter, weight int) Ticket {
	t.Helper()
	ticket, err := l.Acquire(t.Context(), weight, time.Hour)
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
		back := noon.Add(-1000 * time.Hour)
		l.clock.Set(back.UnixMilli(), time.Now(), back)
		time.Sleep(2 * time.Second)
		l.clock.Set(back.Add(2*time.Second).UnixMilli(), time.Now(), back.Add(2*time.Second))
		if now, _ := l.clock.Now(); now >= noon.UnixMilli() {
			t.Fatal("the clock did not go back")
		}
		start := time.Now()
		l.Done(acquire(t, l, 100))
		if d := time.Since(start); d != time.Minute-2*time.Second {
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
			l.ObserveUsed(ticket, 60, tt.date)
			if got := l.used; got != tt.want {
				t.Errorf("%s: %d counted, want %d", tt.name, got, tt.want)
			}
			l.ObserveUsed(ticket, 5, tt.date)
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
		if _, err := l.Acquire(ctx, 1, 2*time.Hour); err != why || time.Since(start) != time.Second {
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
		c.ObserveDate(noon.Add(13 * time.Second))
		if !c.Fresh() {
			t.Error("a Date ahead by what it was ahead from the start")
		}
		c.ObserveDate(noon.Add(20 * time.Second))
		if c.Fresh() {
			t.Error("a Date ahead by seven seconds more")
		}
		c.Set(noon.UnixMilli(), time.Now(), noon)
		c.ObserveDate(noon.Add(time.Hour))
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

func TestClock_AnOldStampDoesNotMoveItBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(Clock)
		set := func(stamp time.Time) {
			t.Helper()
			if err := c.Set(stamp.UnixMilli(), time.Now(), stamp); err != nil {
				t.Error(err)
			}
		}
		set(noon)
		last := noon.UnixMilli()
		// A cache answers with what is up to a minute old, and with one answer often.
		for i, age := range []int{0, 60, 3, 59, 60, 61, 62, 7, 6, 60, 20} {
			set(noon.Add(time.Duration(i-age) * time.Second))
			if now, _ := c.Now(); now < last {
				t.Errorf("moved back by %d ms by a stamp %d s old", last-now, age)
			}
			time.Sleep(time.Second)
			last, _ = c.Now()
		}
	})
}

func TestClock_FollowsAVenueWhoseClockIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(Clock)
		c.Set(noon.Add(time.Hour).UnixMilli(), time.Now(), noon.Add(time.Hour)) // wrong, and its Date too
		c.Set(noon.UnixMilli(), time.Now(), noon)
		if now, _ := c.Now(); now < noon.Add(time.Hour).UnixMilli() {
			t.Error("moved back by a single stamp")
		}
		time.Sleep(time.Second)
		if c.Fresh() {
			t.Error("a stamp an hour behind is not asked about again")
		}
		c.Set(noon.Add(time.Second).UnixMilli(), time.Now(), noon)
		if now, _ := c.Now(); now != noon.Add(time.Second).UnixMilli() {
			t.Errorf("%v although a second stamp confirms the first", time.UnixMilli(now).UTC())
		}
	})
}

func TestClock_AStampAheadOfAllOtherClocksIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here := time.Now()
		const far = 10 * time.Minute
		for _, tt := range []struct {
			name        string
			bound       time.Time // zero: none yet
			stamp, date time.Time
			ok          bool
		}{
			{"the first, with its Date", time.Time{}, noon, noon, true},
			{"the first, with this machine's clock", time.Time{}, here, time.Time{}, true},
			{"the first, behind", time.Time{}, here.Add(-far), here, true},
			{"the first, ahead of its Date", time.Time{}, noon.Add(far), noon, false},
			{"the first, ahead of this machine's clock", time.Time{}, here.Add(far), time.Time{}, false},
			{"ahead of the bound", noon, noon.Add(far), noon, false},
			{"ahead of the bound, without a Date", noon, noon.Add(far), time.Time{}, false},
			{"ahead of the bound, as this machine was suspended", noon, noon.Add(far), noon.Add(far), true},
			{"a little ahead", noon, noon.Add(10 * time.Second), noon, true},
		} {
			c := new(Clock)
			if !tt.bound.IsZero() {
				c.Set(tt.bound.UnixMilli(), time.Now(), tt.bound)
			}
			before, _ := c.Now()
			err := c.Set(tt.stamp.UnixMilli(), time.Now(), tt.date)
			now, _ := c.Now()
			if (err == nil) != tt.ok || err != nil && now != before || err == nil && now != tt.stamp.UnixMilli() {
				t.Errorf("%s: %v, the clock shows %v", tt.name, err, time.UnixMilli(now).UTC())
			}
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

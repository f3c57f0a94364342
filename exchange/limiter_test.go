package exchange

// The gate and the budgets alone: no limit of any kind is exceeded whenever the venue
// counts, which count applies to which minute, how long a window lasts for any clocks,
// people go before sweeps, and a pause is never shortened. The tests of the Binance
// client pin their combination.

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
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
	return NewLimiter([]Budget{{Name: "weight", Kind: Aligned, Limit: 200, Period: time.Minute}}, 0.5, Cost{10}, clock)
}

func acquire(t *testing.T, l *Limiter, weight int) Ticket {
	t.Helper()
	ticket, err := l.Acquire(t.Context(), Cost{weight}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

func TestLimiter_WaitsForTheVenuesNextMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(noon.Add(40 * time.Second))
		start := time.Now()
		l.Done(acquire(t, l, 100).cost)
		l.Done(acquire(t, l, 1).cost)
		if d := time.Since(start); d < 20*time.Second || d > 20*time.Second+100*time.Millisecond {
			t.Errorf("waited %v", d)
		}
	})
}

func TestLimiter_WaitsAMinuteWithoutAClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(time.Time{})
		start := time.Now()
		l.Done(acquire(t, l, 100).cost)
		l.Done(acquire(t, l, 100).cost)
		if d := time.Since(start); d < time.Minute || d > time.Minute+100*time.Millisecond {
			t.Errorf("waited %v", d)
		}
	})
}

func TestLimiter_AClockThatGoesBackDoesNotStopIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(noon)
		l.Done(acquire(t, l, 100).cost)
		back := noon.Add(-1000 * time.Hour)
		l.clock.Set(back.UnixMilli(), time.Now(), back)
		time.Sleep(2 * time.Second)
		l.clock.Set(back.Add(2*time.Second).UnixMilli(), time.Now(), back.Add(2*time.Second))
		if now, _ := l.clock.Now(); now >= noon.UnixMilli() {
			t.Fatal("the clock did not go back")
		}
		start := time.Now()
		l.Done(acquire(t, l, 100).cost)
		if d := time.Since(start); d < time.Minute-2*time.Second || d > time.Minute-2*time.Second+100*time.Millisecond {
			t.Errorf("waited %v", d)
		}
	})
}

func TestLimiter_CountsWhatIsUnderWayInBothMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(noon.Add(59 * time.Second))
		late := acquire(t, l, 60)
		time.Sleep(2 * time.Second)
		if s := l.Stats(); s.Budgets[0].Used != 60 {
			t.Errorf("%+v", s)
		}
		l.Done(late.cost)
		time.Sleep(time.Minute)
		if s := l.Stats(); s.Budgets[0].Used != 0 || s.Budgets[0].Limit != 200 {
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
			l.budgets[0].roll(time.Now(), l.clock) // the window has begun
			ticket := acquire(t, l, 10)
			time.Sleep(time.Duration(tt.heard-tt.sent)*time.Second + 100*time.Millisecond)
			l.budgets[0].roll(time.Now(), l.clock)
			l.Observe(ticket, Usage{Used: 60, Remaining: -1}, tt.date)
			if got := l.budgets[0].used; got != tt.want {
				t.Errorf("%s: %d counted, want %d", tt.name, got, tt.want)
			}
			l.Observe(ticket, Usage{Used: 5, Remaining: -1}, tt.date)
			if l.budgets[0].used != tt.want {
				t.Errorf("%s: a lower count was believed", tt.name)
			}
			l.Done(ticket.cost)
		}
	})
}

// The lower bound of the venue's clock loses a thousandth, so a window ends by the local
// clock about when the bound shows the next one: it ends once.
func TestLimiter_AWindowEndsOnce(t *testing.T) {
	for after := time.Duration(0); after < 100*time.Millisecond; after += 300 * time.Microsecond {
		synctest.Test(t, func(t *testing.T) {
			l := newLimiter(noon)
			l.Done(acquire(t, l, 100).cost)
			time.Sleep(time.Minute + after)
			ticket, err := l.Acquire(t.Context(), Cost{100}, 100*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			l.Done(ticket.cost)
			for range 40 {
				if _, err := l.Acquire(t.Context(), Cost{1}, 0); err == nil {
					t.Fatalf("a window is spent twice, %v after its end", after)
				}
				time.Sleep(300 * time.Microsecond)
			}
		})
	}
}

// counted is a request as a venue counted it.
type counted struct {
	at   time.Time
	cost int
}

// mostIn returns the greatest sum within any period.
func mostIn(all []counted, period time.Duration) int {
	slices.SortFunc(all, func(a, b counted) int { return a.at.Compare(b.at) })
	most, sum, first := 0, 0, 0
	for _, c := range all {
		sum += c.cost
		for c.at.Sub(all[first].at) >= period {
			sum -= all[first].cost
			first++
		}
		most = max(most, sum)
	}
	return most
}

// mostInFixed returns the greatest sum in a whole period of the venue's clock, which
// began at the Unix epoch and an offset.
func mostInFixed(all []counted, period, offset time.Duration) int {
	sums := map[int64]int{}
	most := 0
	for _, c := range all {
		n := (c.at.UnixNano() - int64(offset)) / int64(period)
		sums[n] += c.cost
		most = max(most, sums[n])
	}
	return most
}

// lowest returns the lowest level of a bucket that is full at first.
func lowest(all []counted, b Budget) float64 {
	slices.SortFunc(all, func(a, b counted) int { return a.at.Compare(b.at) })
	level := float64(b.Burst)
	low := level
	for i, c := range all {
		if i > 0 {
			level = min(float64(b.Burst), level+c.at.Sub(all[i-1].at).Seconds()*float64(b.Limit)/b.Period.Seconds())
		}
		level -= float64(c.cost)
		low = min(low, level)
	}
	return low
}

// The venue counts a request at any moment between its start and its end.
func TestLimiter_NoBudgetIsExceededWheneverTheVenueCounts(t *testing.T) {
	budgets := []Budget{
		{Name: "minute", Kind: Aligned, Limit: 300, Period: time.Minute},
		{Name: "window", Kind: Rolling, Limit: 40, Period: 2 * time.Second},
		{Name: "bucket", Kind: Bucket, Limit: 10, Period: time.Second, Burst: 20},
	}
	for seed := range uint64(12) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 13))
				var mu sync.Mutex
				n := func(most int) int { mu.Lock(); defer mu.Unlock(); return rnd.IntN(most) }
				clock := new(Clock)
				behind := time.Duration(n(900)) * time.Millisecond // what the venue's clock is ahead of the bound
				venue := func() time.Time { return time.Now().Add(behind) }
				clock.Set(time.Now().UnixMilli(), time.Now(), time.Now())
				l := NewLimiter(budgets, 1, Cost{}, clock)
				seen := make([][]counted, len(budgets))
				slowest := []int{1, 100, 3000}[seed%3]
				var wg sync.WaitGroup
				start := time.Now()
				for worker := range 8 {
					ctx := t.Context()
					if worker%2 == 0 {
						ctx = service.Background(ctx)
					}
					wg.Go(func() {
						for time.Since(start) < 4*time.Minute {
							cost := Cost{n(4), n(4), n(3)}
							ticket, err := l.Acquire(ctx, cost, time.Hour)
							if err != nil {
								t.Error(err)
								return
							}
							if n(20) == 0 {
								time.Sleep(time.Duration(n(500)) * time.Millisecond)
								l.Cancel(ticket.cost)
								continue
							}
							took := time.Duration(n(slowest*1000)) * time.Microsecond
							until := took
							switch n(3) { // on arrival, at the response, or between
							case 0:
								until = 0
							case 1:
								until = time.Duration(n(int(took/time.Microsecond)+1)) * time.Microsecond
							}
							time.Sleep(until)
							mu.Lock()
							for i := range budgets {
								seen[i] = append(seen[i], counted{venue(), cost[i]})
							}
							mu.Unlock()
							time.Sleep(took - until)
							l.Done(ticket.cost)
							time.Sleep(time.Duration(n(20)) * time.Millisecond)
						}
					})
				}
				wg.Wait()
				if most := mostInFixed(seen[0], time.Minute, 0); most > 300 || slowest < 1000 && most < 250 {
					t.Errorf("%d in a minute, of 300", most)
				}
				if most := mostIn(seen[1], 2*time.Second); most > 40 {
					t.Errorf("%d in two seconds, of 40", most)
				}
				if low := lowest(seen[2], budgets[2]); low < -1e-6 {
					t.Errorf("the bucket was at %v", low)
				}
			})
		})
	}
}

// What is allowed is also reached.
func TestLimiter_EachKindReachesItsLimit(t *testing.T) {
	for _, tt := range []struct {
		budget      Budget
		least, most int // in ten minutes
	}{
		{Budget{Kind: Aligned, Limit: 100, Period: time.Minute}, 1000, 1100},
		{Budget{Kind: Rolling, Limit: 100, Period: time.Minute}, 900, 1000},
		{Budget{Kind: Rolling, Limit: 1, Period: time.Second}, 540, 600},
		{Budget{Kind: Bucket, Limit: 100, Period: time.Minute, Burst: 20}, 1000, 1020},
	} {
		synctest.Test(t, func(t *testing.T) {
			clock := new(Clock)
			clock.Set(time.Now().UnixMilli(), time.Now(), time.Now())
			l := NewLimiter([]Budget{tt.budget}, 1, Cost{1}, clock)
			n := 0
			for start := time.Now(); ; n++ {
				l.Done(acquire(t, l, 1).cost)
				if time.Since(start) > 10*time.Minute {
					break
				}
			}
			if n < tt.least || n > tt.most {
				t.Errorf("%+v: %d in ten minutes, want %d to %d", tt.budget, n, tt.least, tt.most)
			}
		})
	}
}

func TestLimiter_AllBudgetsOrNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter([]Budget{
			{Kind: Rolling, Limit: 10, Period: time.Minute}, {Kind: Bucket, Limit: 1, Period: time.Second, Burst: 2},
		}, 1, Cost{}, new(Clock))
		use := func(cost Cost) time.Duration {
			start := time.Now()
			ticket, err := l.Acquire(t.Context(), cost, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			l.Done(ticket.cost)
			return time.Since(start).Round(10 * time.Millisecond)
		}
		if d := use(Cost{9, 2}); d != 0 {
			t.Errorf("waited %v", d)
		}
		if _, err := l.Acquire(t.Context(), Cost{2, 1}, time.Second); !errors.Is(err, service.ErrRateLimited) {
			t.Errorf("%v", err)
		}
		time.Sleep(2 * time.Second)
		if d := use(Cost{0, 2}); d != 0 { // which the refused one has not used
			t.Errorf("waited %v", d)
		}
		if d := use(Cost{1, 0}); d != 0 {
			t.Errorf("waited %v for a budget that is not used", d)
		}
		if d := use(Cost{1, 1}); d < 50*time.Second {
			t.Errorf("waited only %v", d)
		}
	})
}

// A tenth of each budget is for people, and no sweep starts a request while one of
// theirs waits.
func TestLimiter_PeopleGoBeforeSweeps(t *testing.T) {
	for _, budget := range []Budget{
		{Kind: Aligned, Limit: 100, Period: time.Minute}, {Kind: Rolling, Limit: 100, Period: time.Minute},
		{Kind: Bucket, Limit: 60, Period: time.Minute, Burst: 100},
	} {
		synctest.Test(t, func(t *testing.T) {
			clock := new(Clock)
			clock.Set(time.Now().UnixMilli(), time.Now(), time.Now())
			l := NewLimiter([]Budget{budget}, 1, Cost{1}, clock)
			sweep := service.Background(t.Context())
			for n := 0; ; n++ {
				ticket, err := l.Acquire(sweep, Cost{1}, 0)
				if err != nil {
					if budget.Kind != Bucket && n != 90 || budget.Kind == Bucket && n != 99 {
						t.Errorf("%+v: a sweep took %d", budget, n)
					}
					break
				}
				l.Done(ticket.cost)
			}
			if _, err := l.Acquire(t.Context(), Cost{1}, 0); err != nil {
				t.Errorf("%+v: nothing is left for people: %v", budget, err)
			}
			l.Done(Cost{1})
			for {
				ticket, err := l.Acquire(t.Context(), Cost{1}, 0)
				if err != nil {
					break
				}
				l.Done(ticket.cost)
			}
			// Both wait now, the sweep first.
			var order []string
			var mu sync.Mutex
			var wg sync.WaitGroup
			wait := func(ctx context.Context, who string, cost int) {
				wg.Go(func() {
					ticket, err := l.Acquire(ctx, Cost{cost}, time.Hour)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					order = append(order, who)
					mu.Unlock()
					l.Done(ticket.cost)
				})
			}
			wait(sweep, "sweep", 1)
			synctest.Wait()
			wait(t.Context(), "person", 40)
			wg.Wait()
			if !slices.Equal(order, []string{"person", "sweep"}) {
				t.Errorf("%+v: %v", budget, order)
			}
		})
	}
}

func TestLimiter_CancelGivesBackAReservation(t *testing.T) {
	for _, budget := range []Budget{
		{Kind: Aligned, Limit: 10, Period: time.Minute}, {Kind: Rolling, Limit: 10, Period: time.Minute},
		{Kind: Bucket, Limit: 10, Period: time.Minute, Burst: 10},
	} {
		synctest.Test(t, func(t *testing.T) {
			clock := new(Clock)
			clock.Set(noon.UnixMilli(), time.Now(), noon)
			l := NewLimiter([]Budget{budget}, 1, Cost{1}, clock)
			for range 3 {
				ticket := acquire(t, l, 10)
				if _, err := l.Acquire(t.Context(), Cost{1}, 0); !errors.Is(err, service.ErrRateLimited) {
					t.Errorf("%+v: %v", budget, err)
				}
				l.Cancel(ticket.cost)
			}
			reserved := acquire(t, l, 10)
			time.Sleep(5 * time.Minute) // over windows, reservations are kept
			if _, err := l.Acquire(t.Context(), Cost{1}, 0); !errors.Is(err, service.ErrRateLimited) {
				t.Errorf("%+v: %v", budget, err)
			}
			l.Done(Cost{4})
			l.Cancel(Cost{6})
			if used := l.Stats().Budgets[0].Used; used != 4 {
				t.Errorf("%+v: %d used of %v, want 4", budget, used, reserved.cost)
			}
			l.Done(acquire(t, l, 6).cost)
		})
	}
}

func TestLimiter_ObservesWhatTheVenueSays(t *testing.T) {
	for _, tt := range []struct {
		budget Budget
		usage  Usage
		want   int // used, after one of ours that is over and one of 10 in progress
	}{
		{Budget{Kind: Aligned, Limit: 100, Period: time.Minute}, Usage{Used: 40, Remaining: -1}, 50},
		{Budget{Kind: Aligned, Limit: 100, Period: time.Minute}, Usage{Used: -1, Remaining: 60}, 50},
		{Budget{Kind: Rolling, Limit: 100, Period: time.Minute}, Usage{Used: 40, Remaining: -1}, 50},
		{Budget{Kind: Rolling, Limit: 100, Period: time.Minute}, Usage{Used: -1, Remaining: 60}, 50},
		{Budget{Kind: Rolling, Limit: 100, Period: time.Minute}, Usage{Used: -1, Remaining: 5000}, 11}, // of another budget
		{Budget{Kind: Rolling, Limit: 100, Period: time.Minute}, Usage{Used: -1, Remaining: 160, Limit: 200}, 50},
		{Budget{Kind: Rolling, Limit: 100, Period: time.Minute}, Usage{Used: 40, Remaining: -1, Limit: 1 << 40}, 50},
		{Budget{Kind: Bucket, Limit: 100, Period: time.Minute, Burst: 80}, Usage{Used: -1, Remaining: 40}, 50},
		{Budget{Kind: Bucket, Limit: 100, Period: time.Minute, Burst: 80}, Usage{Used: 40, Remaining: -1}, 50},
		{Budget{Kind: Rolling, Limit: 100, Period: time.Minute}, Usage{Used: -1, Remaining: -1}, 11},
		{Budget{Kind: Rolling, Limit: 100, Period: time.Minute}, Usage{Budget: 3, Used: 40}, 11}, // no such budget
	} {
		synctest.Test(t, func(t *testing.T) {
			clock := new(Clock)
			clock.Set(noon.UnixMilli(), time.Now(), noon)
			l := NewLimiter([]Budget{tt.budget}, 1, Cost{1}, clock)
			ticket := acquire(t, l, 1)
			l.Done(ticket.cost)
			under := acquire(t, l, 10)
			for range 2 { // the same count twice is no more
				l.Observe(ticket, tt.usage, noon)
				if got := l.Stats().Budgets[0].Used; got != tt.want {
					t.Errorf("%+v, %+v: %d used, want %d", tt.budget, tt.usage, got, tt.want)
				}
			}
			l.Observe(ticket, Usage{Used: 0, Remaining: -1}, noon)
			l.Observe(ticket, Usage{Used: -1, Remaining: l.budgets[0].size()}, noon)
			if got := l.Stats().Budgets[0].Used; got != tt.want {
				t.Errorf("%+v, %+v: a lower count was believed: %d", tt.budget, tt.usage, got)
			}
			l.Done(under.cost)
			time.Sleep(10 * time.Minute)
			if got := l.Stats().Budgets[0]; got.Used != 0 || got.Limit != 100 && got.Limit != tt.usage.Limit {
				t.Errorf("%+v after ten minutes", got)
			}
		})
	}
}

func TestLimiter_FollowsTheVenuesLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(noon)
		l.SetLimit(0, 1000)
		l.Done(acquire(t, l, 500).cost)
		if _, err := l.Acquire(t.Context(), Cost{1}, 0); !errors.Is(err, service.ErrRateLimited) || l.Stats().Budgets[0].Limit != 1000 {
			t.Errorf("%v", err)
		}
		l.SetLimit(0, 2) // the heaviest request stays possible
		time.Sleep(time.Minute)
		l.Done(acquire(t, l, 10).cost)
	})
}

func TestLimiter_Fit(t *testing.T) {
	l := NewLimiter([]Budget{
		{Kind: Rolling, Limit: 100, Period: time.Second}, {Kind: Bucket, Limit: 100, Period: time.Second, Burst: 20},
	}, 0.5, Cost{}, new(Clock))
	for _, tt := range []struct {
		cost    Cost
		n, want int
	}{
		{Cost{1, 0}, 10, 10}, {Cost{1, 0}, 100, 45}, {Cost{2, 0}, 100, 22}, {Cost{1, 1}, 100, 10}, {Cost{0, 3}, 5, 3}, {Cost{1000, 0}, 5, 1}, {Cost{}, 7, 7},
	} {
		if got := l.Fit(tt.cost, tt.n); got != tt.want {
			t.Errorf("%v: %d of %d, want %d", tt.cost, got, tt.n, tt.want)
		}
	}
}

func TestLimiter_AllocatesNothing(t *testing.T) {
	l := newLimiter(noon)
	ctx := service.Background(t.Context())
	if n := testing.AllocsPerRun(50, func() {
		ticket, err := l.Acquire(ctx, Cost{1}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		l.Done(ticket.cost)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLimiter(b *testing.B) {
	clock := new(Clock)
	clock.Set(noon.UnixMilli(), time.Now(), noon)
	l := NewLimiter([]Budget{
		{Kind: Aligned, Limit: 1 << 50, Period: time.Minute}, {Kind: Rolling, Limit: 1 << 50, Period: time.Second},
		{Kind: Bucket, Limit: 1 << 50, Period: time.Second, Burst: 1 << 50},
	}, 1, Cost{}, clock)
	ctx := service.Background(b.Context())
	b.ReportAllocs()
	for b.Loop() {
		ticket, err := l.Acquire(ctx, Cost{2, 1, 1}, time.Hour)
		if err != nil {
			b.Fatal(err)
		}
		l.Done(ticket.cost)
	}
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
		if _, err := l.Acquire(ctx, Cost{1}, 2*time.Hour); err != why || time.Since(start) != time.Second {
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

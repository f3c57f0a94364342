package exchange

// A visit waits without memory and reserves its pages; what a sweep holds memory for is
// soon over, with data or with ErrLater.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// used is what a client has spent of its first budget.
func used(c *Client) int { return c.Status().Budgets[0].Used }

// visitAll makes visits until the candles are there, and returns how often Candles was called
// and the longest time that it took.
func visitAll(ctx context.Context, c *Client, interval levels.Interval, n int, dst *levels.Candles) (times int, longest time.Duration, err error) {
	v := c.Visit("BTCUSDT", interval, n)
	defer v.Close()
	for {
		if err := v.Wait(ctx); err != nil {
			return times, longest, err
		}
		dst.Reset(interval, 0)
		start := time.Now()
		times++
		err := v.Candles(ctx, "A", fakeNow.UnixMilli()-int64(n)*interval.Milliseconds(), dst, nil)
		longest = max(longest, time.Since(start))
		if !errors.Is(err, service.ErrLater) {
			return times, longest, err
		}
		if dst.Len() != 0 {
			return times, longest, errors.New("candles are left after ErrLater")
		}
	}
}

func TestVisit_WaitReservesThePagesAndCloseGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(Bounded, 100, "1h")
		f.cost = func(rows int) Cost { return Cost{1 + rows/50} } // 3 for a page, less for a shorter one
		f.spec.Heaviest = Cost{3}
		c := f.client(Config{})
		defer c.Close()
		if _, err := c.Now(t.Context()); err != nil {
			t.Fatal(err)
		}
		v := c.Visit("BTCUSDT", "1h", 249)
		if used(c) != 1 {
			t.Errorf("%d used before Wait", used(c))
		}
		for range 3 { // another Wait reserves anew
			if err := v.Wait(t.Context()); err != nil || used(c) != 1+3*3 {
				t.Errorf("%v, %d used", err, used(c))
			}
		}
		v.Close()
		v.Close()
		if used(c) != 1 || len(f.requested()) != 0 {
			t.Errorf("%d used after Close, %d requests", used(c), len(f.requested()))
		}
		if err := v.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		var dst levels.Candles
		dst.Reset("1h", 0)
		if err := v.Candles(t.Context(), "A", fakeNow.UnixMilli()-229*3_600_000, &dst, nil); err != nil || dst.Len() != 228 {
			t.Errorf("%d candles, %v", dst.Len(), err)
		}
		if want := 1 + 3 + 3 + 1; used(c) != want { // the last page is short
			t.Errorf("%d used, want %d", used(c), want)
		}
		v.Close()
		if n := len(f.requested()); n != 3 {
			t.Errorf("%d pages", n)
		}
	})
}

func TestVisit_AnUnknownIntervalIsAnError(t *testing.T) {
	f := newFake(Bounded, 100, "1h")
	c := f.client(Config{})
	defer c.Close()
	v := c.Visit("BTCUSDT", "1m", 100)
	defer v.Close()
	if err := v.Wait(t.Context()); !errors.Is(err, levels.ErrUnknownInterval) {
		t.Error(err)
	}
	var dst levels.Candles
	dst.Reset("1m", 0)
	if err := v.Candles(t.Context(), "A", 0, &dst, nil); !errors.Is(err, levels.ErrUnknownInterval) {
		t.Error(err)
	}
}

// Wait waits for a budget and Candles does not, if all pages fit into it.
func TestVisit_TheBudgetIsWaitedForWithoutMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(Bounded, 100, "1h")
		f.spec.Budgets = []Budget{{Name: "requests", Kind: Rolling, Limit: 20, Period: time.Minute}}
		c := f.client(Config{})
		defer c.Close()
		var mu sync.Mutex
		var longest time.Duration
		var wg sync.WaitGroup
		start := time.Now()
		for range 8 {
			wg.Go(func() {
				var dst levels.Candles
				_, took, err := visitAll(service.Background(t.Context()), c, "1h", 590, &dst)
				if err != nil || dst.Len() != 589 {
					t.Errorf("%d candles, %v", dst.Len(), err)
				}
				mu.Lock()
				defer mu.Unlock()
				longest = max(longest, took)
			})
		}
		wg.Wait()
		if longest > time.Second || time.Since(start) < 2*time.Minute { // 48 requests, 20 a minute
			t.Errorf("held memory for %v, all took %v", longest, time.Since(start))
		}
	})
}

// A pair with more pages than the budgets ever allow at once comes to its end.
func TestVisit_MorePagesThanTheBudgetAllowsAtOnce(t *testing.T) {
	for _, budget := range []Budget{
		{Kind: Rolling, Limit: 5, Period: time.Second}, {Kind: Rolling, Limit: 5, Period: 40 * time.Second},
		{Kind: Aligned, Limit: 9, Period: time.Minute}, {Kind: Bucket, Limit: 5, Period: 20 * time.Second, Burst: 3},
	} {
		t.Run(fmt.Sprintf("%+v", budget), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(Bounded, 100, "1h")
				f.spec.Budgets = []Budget{budget}
				c := f.client(Config{})
				defer c.Close()
				var dst levels.Candles
				times, _, err := visitAll(service.Background(t.Context()), c, "1h", 2690, &dst) // 27 pages
				if err != nil || dst.Len() != 2689 || times > 2 || len(f.requested()) != 27 {
					t.Errorf("%d candles after %d times and %d requests, %v", dst.Len(), times, len(f.requested()), err)
				}
			})
		})
	}
}

// One that needs more requests than were reserved reserves more the next time.
func TestVisit_MorePagesThanExpected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(Oldest, 100, "1h")
		f.spec.Budgets = []Budget{{Name: "requests", Kind: Rolling, Limit: 8, Period: time.Minute}}
		last := fakeNow.UnixMilli() - 10*3_600_000
		f.absent = func(_, open int64) bool { return open > last } // so that an empty page ends them
		c := f.client(Config{})
		defer c.Close()
		var dst levels.Candles
		times, longest, err := visitAll(service.Background(t.Context()), c, "1h", 790, &dst)
		if err != nil || dst.Len() == 0 || times > 3 || longest > 70*time.Second {
			t.Errorf("%d candles after %d times, %v; %v", dst.Len(), times, longest, err)
		}
	})
}

// A request that gets no response ends the attempt, and of all who wait for the venue then
// one request at a time is made.
func TestVisit_AVenueThatGoesSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(Bounded, 100, "1h")
		var mu sync.Mutex
		silentFrom, silentTo := time.Now().Add(time.Minute), time.Now().Add(4*time.Minute)
		under, most, probes := 0, 0, 0
		f.respond = func(w http.ResponseWriter, r *http.Request) bool {
			if time.Now().Before(silentFrom) || !time.Now().Before(silentTo) {
				return false
			}
			if r.URL.Path == "/time" {
				mu.Lock()
				under++
				probes++
				most = max(most, under)
				mu.Unlock()
				defer func() { mu.Lock(); under--; mu.Unlock() }()
			}
			<-r.Context().Done()
			return true
		}
		c := f.client(Config{Timeout: 5 * time.Second})
		defer c.Close()
		var wg sync.WaitGroup
		var longest time.Duration
		for i := range 12 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 10 * time.Second)
				var dst levels.Candles
				_, took, err := visitAll(service.Background(t.Context()), c, "1h", 590, &dst)
				if err != nil || dst.Len() != 589 {
					t.Errorf("%d: %d candles, %v", i, dst.Len(), err)
				}
				mu.Lock()
				defer mu.Unlock()
				longest = max(longest, took)
			})
		}
		wg.Wait()
		if longest > 6*time.Second || most != 1 || probes < 3 || probes > 40 {
			t.Errorf("held memory for %v; %d probes, at most %d at once", longest, probes, most)
		}
		// Nobody who waits himself waits for a silent venue.
		silentFrom, silentTo = time.Now(), time.Now().Add(time.Hour)
		v := c.Visit("BTCUSDT", "1h", 100)
		defer v.Close()
		var dst levels.Candles
		dst.Reset("1h", 0)
		if err := v.Wait(t.Context()); err != nil {
			t.Fatal(err) // it is not known yet
		}
		if err := v.Candles(t.Context(), "A", fakeNow.UnixMilli()-90*3_600_000, &dst, nil); !errors.Is(err, service.ErrLater) {
			t.Errorf("%v", err)
		}
		start := time.Now()
		if err := v.Wait(t.Context()); !errors.Is(err, service.ErrExchange) || time.Since(start) > 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// A venue that is silent for longer than anybody's patience is an error in the end.
func TestVisit_AVenueThatStaysSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(Bounded, 100, "1h")
		start := time.Now()
		f.respond = func(w http.ResponseWriter, r *http.Request) bool {
			if time.Since(start) < time.Second {
				return false
			}
			<-r.Context().Done()
			return true
		}
		c := f.client(Config{Timeout: 5 * time.Second})
		defer c.Close()
		if _, err := c.Now(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		var dst levels.Candles
		_, longest, err := visitAll(service.Background(t.Context()), c, "1h", 590, &dst)
		if took := time.Since(start); !errors.Is(err, service.ErrExchange) || longest > 6*time.Second || took < time.Minute || took > 6*time.Minute {
			t.Errorf("%v after %v, memory held for %v", err, took, longest)
		}
	})
}

// While the venue demands a pause nothing is held, and the pages are read after it.
func TestVisit_APauseIsWaitedForWithoutMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(Bounded, 100, "1h")
		var mu sync.Mutex
		var seen []time.Time
		var paused time.Time
		f.respond = func(w http.ResponseWriter, r *http.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, time.Now())
			if len(seen) != 4 {
				return false
			}
			paused = time.Now()
			w.Header().Set("Retry-After", "100")
			w.WriteHeader(429)
			return true
		}
		c := f.client(Config{})
		defer c.Close()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				var dst levels.Candles
				_, longest, err := visitAll(service.Background(t.Context()), c, "1h", 590, &dst)
				if err != nil || dst.Len() != 589 || longest > time.Second {
					t.Errorf("%d candles, %v; memory held for %v", dst.Len(), err, longest)
				}
			})
		}
		wg.Wait()
		slices.SortFunc(seen, time.Time.Compare)
		for _, s := range seen {
			if s.After(paused) && s.Before(paused.Add(100*time.Second)) {
				t.Errorf("a request %v into the pause", s.Sub(paused))
			}
		}
	})
}

func TestVisit_ABanIsAnErrorAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(Bounded, 100, "1h")
		c := f.client(Config{})
		defer c.Close()
		v := c.Visit("BTCUSDT", "1h", 590)
		if err := v.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Ban(time.Now().Add(time.Hour))
		var dst levels.Candles
		dst.Reset("1h", 0)
		if err := v.Candles(t.Context(), "A", fakeNow.UnixMilli()-590*3_600_000, &dst, nil); !errors.Is(err, service.ErrLater) {
			t.Errorf("%v", err)
		}
		start := time.Now()
		if err := v.Wait(t.Context()); !errors.Is(err, service.ErrBanned) || time.Since(start) != 0 {
			t.Errorf("%v", err)
		}
		v.Close()
		if used(c) != 1 || len(f.requested()) != 0 {
			t.Errorf("%d used, %d requests", used(c), len(f.requested()))
		}
	})
}

func TestVisit_HonoursItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(Bounded, 100, "1h")
		f.spec.Budgets = []Budget{{Name: "requests", Kind: Rolling, Limit: 6, Period: time.Minute}}
		c := f.client(Config{})
		defer c.Close()
		first, second := c.Visit("BTCUSDT", "1h", 490), c.Visit("BTCUSDT", "1h", 490)
		if err := first.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(3*time.Second, func() { cancel(why) })
		start := time.Now()
		if err := second.Wait(ctx); err != why || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		second.Close()
		first.Close()
		if used(c) != 1 {
			t.Errorf("%d used", used(c))
		}
	})
}

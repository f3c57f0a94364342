package binance

// These tests pin the rules that avoid a ban: no request before the end of a
// Retry-After, no request during a ban, and all callers together stay under their
// share of the weight of every minute of the venue's clock. They check the requests
// that the venue received; time is fake, except if a socket is needed.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// sweep lets callers fetch 100 hours each, n times, and returns their errors.
func sweep(ctx context.Context, c *Client, callers, n int) []error {
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range n {
				if _, err := lastHours(ctx, c, "BTCUSDT", 100); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return errs
}

func TestGate_NothingIsSentBeforeRetryAfterEnds(t *testing.T) {
	for _, tt := range []struct {
		name, after, body string
		status            int
		pause             time.Duration
	}{
		{"429", "30", `{"code":-1003,"msg":"Too much request weight used."}`, 429, 30 * time.Second},
		{"429 without a time", "", "", 429, time.Minute},
		{"429 with nonsense for a time", "soon", "", 429, time.Minute},
		{"429 with a date", "DATE", "", 429, 45 * time.Second},
		{"an error in 200 that says so", "20", `{"code":-1003,"msg":"Too many requests."}`, 200, 20 * time.Second},
		{"503 with a time", "15", "", 503, 15 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var refusedAt []time.Time
				v := &venue{listed: time.UnixMilli(0), delay: 20 * time.Millisecond}
				v.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
					if n != 32 && n != 33 && n != 75 {
						return false
					}
					time.Sleep(10 * time.Millisecond)
					mu.Lock()
					refusedAt = append(refusedAt, time.Now())
					mu.Unlock()
					after := tt.after
					if after == "DATE" {
						date, _ := http.ParseTime(w.Header().Get("Date"))
						after = date.Add(tt.pause).Format(http.TimeFormat)
					}
					return refuseWith(w, tt.status, after, tt.body)
				}
				attempts := 1 // waiting for a rate limit is not an attempt
				if tt.status == 503 {
					attempts = 3
				}
				c := inProcess(v, Config{Attempts: attempts})
				start := time.Now()
				for _, err := range sweep(t.Context(), c, 10, 12) {
					t.Error(err)
				}
				all := v.requests("")
				if len(all) != 1+10*12+3 || len(refusedAt) != 3 {
					t.Fatalf("%d requests, %d refusals", len(all), len(refusedAt))
				}
				for _, s := range all {
					for _, r := range refusedAt {
						// At the very moment of the refusal others may be on their way.
						if s.at.After(r) && s.at.Before(r.Add(tt.pause)) {
							t.Errorf("%s sent %v after a refusal, %v too early", s.endpoint, s.at.Sub(r), tt.pause-s.at.Sub(r))
						}
					}
				}
				if took := time.Since(start); took > 2*tt.pause+10*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestGate_NoCallWaitsOutALongPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{listed: time.UnixMilli(0)}
		v.fault = func(n int, w http.ResponseWriter, _ *http.Request) bool {
			return n == 1 && refuseWith(w, 429, "86400", "")
		}
		c := inProcess(v, Config{})
		start := time.Now()
		for _, after := range []time.Duration{0, time.Hour, 22 * time.Hour} {
			time.Sleep(after)
			asked := time.Now()
			_, err := lastHours(t.Context(), c, "BTCUSDT", 100) // without a deadline
			wait, ok := errors.AsType[*service.RetryAfterError](err)
			if !ok || !errors.Is(err, service.ErrRateLimited) || errors.Is(err, service.ErrBanned) || time.Since(asked) > 4*time.Second {
				t.Fatalf("%v after %v", err, time.Since(asked))
			}
			if d := wait.Until.Sub(start); d < 24*time.Hour || d > 24*time.Hour+time.Second {
				t.Errorf("retry after %v", d)
			}
		}
		if n := len(v.requests("")); n != 2 {
			t.Errorf("%d requests into the pause", n-2)
		}
		time.Sleep(2 * time.Hour)
		if _, err := lastHours(t.Context(), c, "BTCUSDT", 100); err != nil {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestGate_AFailureShutsItForAMomentOnly(t *testing.T) {
	for _, status := range []int{500, 502, 503, 504, 403, 404} {
		synctest.Test(t, func(t *testing.T) {
			v := &venue{listed: time.UnixMilli(0)}
			v.fault = func(n int, w http.ResponseWriter, _ *http.Request) bool {
				return n == 1 && refuseWith(w, status, "86400", "")
			}
			c := inProcess(v, Config{})
			start := time.Now()
			_, err := lastHours(t.Context(), c, "BTCUSDT", 100)
			if took := time.Since(start); err != nil || took < 30*time.Second || took > 31*time.Second {
				t.Errorf("%d: %v after %v", status, err, took)
			}
		})
	}
}

func TestGate_ACallWaitsForFiveMinutesInAll(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault func(w http.ResponseWriter) bool
		want  error
	}{
		{"each answer asks for another minute", func(w http.ResponseWriter) bool { return refuseWith(w, 429, "60", "") }, service.ErrRateLimited},
		{"each answer is a failure", func(w http.ResponseWriter) bool { return refuseWith(w, 503, "60", "") }, service.ErrExchange},
		{"a firewall", func(w http.ResponseWriter) bool { return refuseWith(w, 403, "", "<html>") }, service.ErrExchange},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := &venue{listed: time.UnixMilli(0)}
				v.fault = func(n int, w http.ResponseWriter, _ *http.Request) bool { return n > 0 && tt.fault(w) }
				c := inProcess(v, Config{Attempts: 20})
				start := time.Now()
				_, err := lastHours(t.Context(), c, "BTCUSDT", 100)
				if took := time.Since(start); !errors.Is(err, tt.want) || took < 3*time.Minute || took > 5*time.Minute {
					t.Errorf("%v after %v", err, took)
				}
			})
		})
	}
}

func TestBudget_ACallWaitsForFiveMinutesInAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{listed: time.UnixMilli(0)}
		c := inProcess(v, Config{WeightShare: 0.001}) // 80 a minute, the weight of 40 requests
		start := time.Now()
		errs := sweep(t.Context(), c, 400, 1)
		if took := time.Since(start); took > 5*time.Minute || len(errs) < 100 || len(errs) > 240 {
			t.Errorf("%d of 400 calls failed within %v", len(errs), took)
		}
		for _, err := range errs {
			wait, ok := errors.AsType[*service.RetryAfterError](err)
			if !ok || !errors.Is(err, service.ErrRateLimited) || !wait.Until.After(time.Now()) {
				t.Fatal(err)
			}
		}
	})
}

func TestGate_ACallerThatCannotWaitGetsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{listed: time.UnixMilli(0)}
		v.fault = func(n int, w http.ResponseWriter, _ *http.Request) bool {
			return n == 1 && refuseWith(w, 429, "30", "")
		}
		c := inProcess(v, Config{})
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := lastHours(ctx, c, "BTCUSDT", 100)
		wait, ok := errors.AsType[*service.RetryAfterError](err)
		if !ok || !errors.Is(err, service.ErrRateLimited) || errors.Is(err, service.ErrBanned) {
			t.Fatalf("%v", err)
		}
		if d := wait.Until.Sub(start); d < 30*time.Second || d > 31*time.Second {
			t.Errorf("retry after %v", d)
		}
		if time.Since(start) != 0 {
			t.Errorf("waited %v in vain", time.Since(start))
		}
		if s := c.Status(); !s.PausedUntil.Equal(wait.Until) {
			t.Errorf("%+v", s)
		}
	})
}

func TestGate_ARateLimitWithoutEndIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{listed: time.UnixMilli(0)}
		v.fault = func(n int, w http.ResponseWriter, _ *http.Request) bool { return n > 0 && refuseWith(w, 429, "0", "") }
		_, err := lastHours(t.Context(), inProcess(v, Config{}), "BTCUSDT", 100)
		if !errors.Is(err, service.ErrRateLimited) || len(v.requests("klines")) != 10 {
			t.Errorf("%v after %d requests", err, len(v.requests("klines")))
		}
	})
}

func TestGate_ABanStopsEveryone(t *testing.T) {
	ban := func(until time.Time) string {
		return fmt.Sprintf(`{"code":-1003,"msg":"Way too much request weight used; IP banned until %d. Please use the websocket for live updates to avoid bans."}`, until.UnixMilli())
	}
	for _, tt := range []struct {
		name, after string
		body        func(now time.Time) string
		least, most time.Duration
	}{
		{"Retry-After", "300", func(time.Time) string { return "" }, 300 * time.Second, 301 * time.Second},
		// The venue's clock is years away from the test's.
		{"the time in the text", "", func(now time.Time) string { return ban(now.Add(7 * time.Minute)) }, 7 * time.Minute, 7*time.Minute + 2*time.Second},
		{"nothing", "", func(time.Time) string { return `{"code":-1003,"msg":"banned"}` }, 2 * time.Minute, 121 * time.Second},
		{"a time that has passed", "", func(now time.Time) string { return ban(now.Add(-time.Hour)) }, 2 * time.Minute, 121 * time.Second},
		{"a time beyond belief", "", func(now time.Time) string { return ban(now.Add(1e6 * time.Hour)) }, 95 * time.Hour, 97 * time.Hour},
		{"a number beyond all", "", func(now time.Time) string { return `{"code":-1003,"msg":"IP banned until 99999999999999999999."}` }, 2 * time.Minute, 121 * time.Second},
		{"HTML", "120", func(now time.Time) string { return `<html>` }, 2 * time.Minute, 121 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := &venue{listed: time.UnixMilli(0), delay: 10 * time.Millisecond}
				v.fault = func(n int, w http.ResponseWriter, _ *http.Request) bool {
					return n >= 20 && n < 30 && refuseWith(w, 418, tt.after, tt.body(v.now()))
				}
				var reported []time.Time
				var mu sync.Mutex
				c := inProcess(v, Config{OnBan: func(until time.Time) {
					mu.Lock()
					defer mu.Unlock()
					reported = append(reported, until)
				}})
				start := time.Now()
				errs := sweep(t.Context(), c, 10, 10)
				for _, err := range errs {
					if _, ok := errors.AsType[*service.RetryAfterError](err); !ok || !errors.Is(err, service.ErrBanned) {
						t.Fatalf("%v", err)
					}
				}
				if len(errs) == 0 || time.Since(start) > time.Second {
					t.Errorf("%d errors after %v", len(errs), time.Since(start))
				}
				if len(reported) != 1 {
					t.Fatalf("OnBan called %d times for one ban", len(reported))
				}
				if d := reported[0].Sub(start); d < tt.least || d > tt.most {
					t.Errorf("banned for %v", d)
				}
				// Those on their way when the ban came may arrive; none starts after.
				n := len(v.requests(""))
				if n > 30 {
					t.Errorf("%d requests", n)
				}
				time.Sleep(time.Until(reported[0]) - time.Millisecond)
				if _, err := c.Symbol(t.Context(), "BTCUSDT"); !errors.Is(err, service.ErrBanned) || len(v.requests("")) != n {
					t.Errorf("just before the end: %v, %d requests", err, len(v.requests(""))-n)
				}
				time.Sleep(time.Minute)
				v.fault = nil
				if _, err := lastHours(t.Context(), c, "BTCUSDT", 100); err != nil {
					t.Errorf("after the end: %v", err)
				}
			})
		})
	}
}

func TestGate_AWaitingCallerLearnsOfABan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{listed: time.UnixMilli(0)}
		v.fault = func(n int, w http.ResponseWriter, _ *http.Request) bool {
			switch n {
			case 1: // arrives second
				time.Sleep(2 * time.Second)
				return refuseWith(w, 418, "600", "")
			case 2:
				time.Sleep(time.Second)
				return refuseWith(w, 429, "60", "")
			}
			return false
		}
		c := inProcess(v, Config{})
		if _, err := c.Now(t.Context()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		errs := sweep(t.Context(), c, 2, 1)
		if len(errs) != 2 || !errors.Is(errs[0], service.ErrBanned) || !errors.Is(errs[1], service.ErrBanned) {
			t.Errorf("%v", errs)
		}
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("returned after %v", d)
		}
	})
}

func TestGate_ABanFromBeforeIsWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{listed: time.UnixMilli(0)}
		c := inProcess(v, Config{OnBan: func(time.Time) { t.Error("OnBan called for a known ban") }})
		c.Ban(time.Now().Add(time.Hour))
		if _, err := c.Now(t.Context()); !errors.Is(err, service.ErrBanned) {
			t.Errorf("%v", err)
		}
		for _, err := range c.Symbols(t.Context()) {
			if !errors.Is(err, service.ErrBanned) {
				t.Errorf("%v", err)
			}
		}
		if n := len(v.requests("")); n != 0 {
			t.Errorf("%d requests", n)
		}
		time.Sleep(time.Hour)
		if _, err := c.Now(t.Context()); err != nil {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestGate_ABanOfAnotherProcessApplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{}
		c := inProcess(v, Config{OnBan: func(time.Time) { t.Error("OnBan called for a ban set by Ban") }})
		if _, err := c.Now(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Ban(time.Now().Add(time.Hour))
		if _, err := c.Symbol(t.Context(), "BTCUSDT"); !errors.Is(err, service.ErrBanned) || len(v.requests("")) != 1 {
			t.Errorf("%v after %d requests", err, len(v.requests("")))
		}
	})
}

func TestGate_AFirewallIsNotHammered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{listed: time.UnixMilli(0), delay: 5 * time.Millisecond}
		v.fault = func(n int, w http.ResponseWriter, _ *http.Request) bool {
			time.Sleep(v.delay) // so that those who ask together are refused together
			return n > 0 && refuseWith(w, 403, "", "<HTML>Request blocked. Generated by cloudfront (CloudFront)</HTML>")
		}
		c := inProcess(v, Config{Attempts: 8})
		start := time.Now()
		errs := sweep(t.Context(), c, 5, 1)
		for _, err := range errs {
			if !errors.Is(err, service.ErrExchange) || !strings.Contains(err.Error(), "firewall") {
				t.Errorf("%v", err)
			}
		}
		// 0.5 + 1 + 2 + 4 + 8 + 16 + 32 s between eight waves of five
		if n, took := len(v.requests("klines")), time.Since(start); len(errs) != 5 || n != 40 || took < 63*time.Second {
			t.Errorf("%d errors, %d requests in %v", len(errs), n, took)
		}
		v.fault = nil
		time.Sleep(2 * time.Minute)
		if _, err := lastHours(t.Context(), c, "BTCUSDT", 100); err != nil {
			t.Error(err)
		}
	})
}

// minutes sums what the venue saw in each minute of its clock.
func minutes(all []seen) map[int64]int {
	sum := map[int64]int{}
	for _, s := range all {
		sum[s.venue.Unix()/60] += s.weight
	}
	return sum
}

func TestBudget_EveryMinuteOfTheVenueStaysUnderTheShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{listed: time.UnixMilli(0), delay: 90 * time.Millisecond}
		c := inProcess(v, Config{WeightShare: 0.1}) // 600 a minute
		start := time.Now()
		for _, err := range sweep(t.Context(), c, 20, 60) {
			t.Error(err)
		}
		most := 0
		for _, n := range minutes(v.requests("")) {
			most = max(most, n)
		}
		if most > 600 || most < 560 {
			t.Errorf("at most %d in one minute, of 600", most)
		}
		// 2,400 in all: 600 until the first full minute, then three more
		if took := time.Since(start); took > 4*time.Minute {
			t.Errorf("took %v", took)
		}
		for minute, n := range minutes(v.requests("")) {
			t.Log(time.Unix(minute*60, 0).UTC(), n)
		}
	})
}

func TestBudget_OtherProcessesCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{listed: time.UnixMilli(0), delay: 90 * time.Millisecond, others: 400}
		c := inProcess(v, Config{WeightShare: 0.1})
		for _, err := range sweep(t.Context(), c, 20, 30) {
			t.Error(err)
		}
		for minute, n := range minutes(v.requests("")) {
			if n+v.others > 600 {
				t.Errorf("%d and %d of others in minute %d, of 600", n, v.others, minute)
			}
		}
		if s := c.Status(); s.Budgets[0].Used < 400 {
			t.Errorf("%+v", s)
		}
	})
}

func TestBudget_ClientsBehindOneAddressStayUnderTheShareTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients, callers = 3, 5
		v := &venue{listed: time.UnixMilli(0), delay: 90 * time.Millisecond}
		var wg sync.WaitGroup
		for range clients {
			c := inProcess(v, Config{WeightShare: 0.1}) // 600 a minute
			wg.Go(func() {
				for _, err := range sweep(t.Context(), c, callers, 60) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		most := 0
		for _, n := range minutes(v.requests("")) {
			most = max(most, n)
		}
		// one request of each caller of the others may be under way unseen
		if under := (clients - 1) * callers * 2; most > 600+under || most < 560 {
			t.Errorf("at most %d in one minute, of 600 and %d under way", most, under)
		}
	})
}

func TestBudget_ACallerThatCannotWaitGetsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{listed: time.UnixMilli(0), others: 5000}
		c := inProcess(v, Config{})
		if _, err := c.Now(t.Context()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := lastHours(ctx, c, "BTCUSDT", 100)
		wait, ok := errors.AsType[*service.RetryAfterError](err)
		if !ok || !errors.Is(err, service.ErrRateLimited) || time.Since(start) != 0 {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
		// venueStart is seven seconds past a full minute
		if d := wait.Until.Sub(start); d < 52*time.Second || d > 54*time.Second {
			t.Errorf("retry after %v", d)
		}
		v.others = 0
		time.Sleep(time.Until(wait.Until))
		if _, err := lastHours(t.Context(), c, "BTCUSDT", 100); err != nil {
			t.Errorf("then: %v", err)
		}
	})
}

func TestBudget_TheHeaviestRequestIsPossibleWithTheSmallestShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{}
		for _, err := range inProcess(v, Config{WeightShare: 0.001}).Symbols(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestGate_HoldsBackWhatWaitsForItsConnection(t *testing.T) {
	// The second caller passes the gate while it is open and then waits for its
	// connection; the first is refused meanwhile. Nothing may be sent then.
	var mu sync.Mutex
	var arrived []time.Time // requests for klines
	var refusedAt time.Time
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasSuffix(r.URL.Path, "time") {
			fmt.Fprintf(w, `{"serverTime":%d}`, venueStart.UnixMilli())
			return
		}
		arrived = append(arrived, time.Now())
		if len(arrived) == 1 {
			refuseWith(w, 429, "1", `{"code":-1003,"msg":"Too many requests."}`)
			refusedAt = time.Now()
			return
		}
		io.WriteString(w, "[]")
	}))
	defer server.Close()
	dialing, released := make(chan struct{}), make(chan struct{})
	var dials atomic.Int32
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) == 2 { // the first is for the clock
			close(dialing)
			<-released
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	defer transport.CloseIdleConnections()
	c := New(Config{BaseURL: address(t, server.URL), Transport: transport, Attempts: 1})
	defer c.Close()
	if _, err := c.Now(t.Context()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ask := func() {
		var dst levels.Candles
		dst.Reset("1h", 10)
		if err := c.Candles(t.Context(), "BTCUSDT", venueStart.UnixMilli()-10*hour, &dst, nil); err != nil {
			t.Error(err)
		}
	}
	wg.Go(ask)
	<-dialing
	wg.Go(ask)
	for !c.Status().PausedUntil.After(time.Now()) {
		time.Sleep(time.Millisecond)
	}
	close(released)
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	if len(arrived) != 3 {
		t.Errorf("%d requests, want one refused and one of each caller", len(arrived))
	}
	for _, a := range arrived[1:] {
		if d := a.Sub(refusedAt); d < time.Second {
			t.Errorf("a request arrived %v after the refusal", d)
		}
	}
}

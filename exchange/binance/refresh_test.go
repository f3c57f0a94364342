package binance

// Concurrent callers share one read, even if some give up, and use the previous
// value if a newer one is not available.

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/service"
)

// volume lists all pairs and returns the volume of BTCUSDT.
func volume(ctx context.Context, c *Client) (v float64, err error) {
	for s, err := range c.Symbols(ctx) {
		if err != nil {
			return 0, err
		}
		if s.Name == "BTCUSDT" {
			v = s.QuoteVolume
		}
	}
	return v, nil
}

func TestSymbols_ListAndVolumesAreReadOnceAMinuteForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{delay: time.Second}
		c := inProcess(v, Config{})
		defer c.Close()
		ask := func() {
			if got, err := volume(t.Context(), c); err != nil || got != 2354076638.5966079 {
				t.Errorf("%v, %v", got, err)
			}
		}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(ask)
		}
		wg.Wait()
		for range 20 {
			ask()
			time.Sleep(2 * time.Second)
		}
		if l, n := len(v.requests("exchangeInfo")), len(v.requests("ticker/24hr")); l != 1 || n != 1 {
			t.Errorf("%d lists and %d tickers", l, n)
		}
		start := time.Now()
		for time.Since(start) < 10*time.Minute {
			ask()
			c.Symbol(t.Context(), "NOPEUSDT")
			time.Sleep(time.Second)
		}
		if l, n := len(v.requests("exchangeInfo")), len(v.requests("ticker/24hr")); l < 10 || l > 12 || n < 10 || n > 12 {
			t.Errorf("%d lists and %d tickers in eleven minutes", l, n)
		}
	})
}

func TestSymbols_CallersWhoGiveUpCostNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{delay: 20 * time.Second}
		c := inProcess(v, Config{Timeout: time.Minute})
		defer c.Close()
		gone := errors.New("the caller went away")
		for range 100 {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(100*time.Millisecond, func() { cancel(gone) })
			start := time.Now()
			if _, err := volume(ctx, c); err != gone || time.Since(start) != 100*time.Millisecond {
				t.Fatalf("%v after %v", err, time.Since(start))
			}
		}
		if _, err := volume(t.Context(), c); err != nil {
			t.Error(err)
		}
		if n := len(v.requests("")); n != 2 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestSymbols_FailingTickersAreNotAskedForByEveryone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{}
		v.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
			return strings.HasSuffix(r.URL.Path, "24hr") && refuseWith(w, 500, "", "")
		}
		c := inProcess(v, Config{Attempts: 2})
		defer c.Close()
		for range 30 {
			if _, err := volume(t.Context(), c); !errors.Is(err, service.ErrExchange) {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if n := len(v.requests("ticker/24hr")); n != 2 {
			t.Errorf("%d requests in half a minute", n)
		}
	})
}

func TestSymbols_ACallerThatCannotWaitGetsTheEnd(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault func(n int, w http.ResponseWriter) bool
		other int
	}{
		{"a pause", func(n int, w http.ResponseWriter) bool { return n == 1 && refuseWith(w, 429, "50", "") }, 0},
		{"no weight left", func(int, http.ResponseWriter) bool { return false }, 5000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := &venue{others: tt.other}
				v.fault = func(n int, w http.ResponseWriter, _ *http.Request) bool { return tt.fault(n, w) }
				c := inProcess(v, Config{})
				defer c.Close()
				if _, err := c.Now(t.Context()); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					start := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
					_, err := volume(ctx, c)
					cancel()
					wait, ok := errors.AsType[*service.RetryAfterError](err)
					if !ok || time.Since(start) != 0 {
						t.Fatalf("%v after %v", err, time.Since(start))
					}
					if d := wait.Until.Sub(start); d < 49*time.Second || d > 54*time.Second {
						t.Errorf("retry after %v", d)
					}
				}
			})
		})
	}
}

func TestLastSymbols_AnOldListStandsInAndSaysHowOldItIs(t *testing.T) {
	for _, tt := range []struct {
		name, down string
		fault      func(w http.ResponseWriter)
		took       time.Duration
	}{
		{"all is down", "", func(w http.ResponseWriter) { refuseWith(w, 500, "", "") }, stalePatience},
		{"the list is down", "exchangeInfo", func(w http.ResponseWriter) { refuseWith(w, 500, "", "") }, stalePatience},
		{"the volumes are down", "24hr", func(w http.ResponseWriter) { refuseWith(w, 500, "", "") }, stalePatience},
		{"a pause", "", func(w http.ResponseWriter) { refuseWith(w, 429, "86400", "") }, 0},
		{"silence", "", func(w http.ResponseWriter) { time.Sleep(time.Minute) }, stalePatience},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := &venue{}
				c := inProcess(v, Config{Attempts: 2})
				defer c.Close()
				last := func() (pairs int, age time.Duration) {
					t.Helper()
					start := time.Now()
					all, at, err := c.LastSymbols(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if took := time.Since(start); took > tt.took {
						t.Errorf("took %v", took)
					}
					for s := range all {
						pairs++
						if s.Name == "BTCUSDT" && s.QuoteVolume == 0 {
							t.Error("without its volume")
						}
					}
					return pairs, time.Since(at)
				}
				if pairs, age := last(); pairs != 5 || age != 0 {
					t.Errorf("%d pairs, %v old", pairs, age)
				}
				time.Sleep(time.Hour)
				v.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
					if !strings.HasSuffix(r.URL.Path, tt.down) {
						return false
					}
					tt.fault(w)
					return true
				}
				for range 3 {
					if pairs, age := last(); pairs != 5 || age < time.Hour || age > time.Hour+3*stalePatience {
						t.Errorf("%d pairs, %v old", pairs, age)
					}
				}
				if tt.took > 0 { // without it a call would wait for the end of the pause
					if _, err := volume(t.Context(), c); !errors.Is(err, service.ErrExchange) {
						t.Errorf("a sweep got a list an hour old: %v", err)
					}
				}
				time.Sleep(25 * time.Hour)
				v.fault = nil
				if pairs, age := last(); pairs != 5 || age != 0 {
					t.Errorf("afterwards %d pairs, %v old", pairs, age)
				}
			})
		})
	}
}

func TestSymbols_ANewPairIsNotListedWithoutItsVolume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{}
		lists := 0
		v.list = func() string { // BTCUSDT is listed between the first and the second
			if lists++; lists == 1 {
				return strings.Replace(listedPairs, "BTCUSDT", "ANDUSDT", 1)
			}
			return listedPairs
		}
		c := inProcess(v, Config{})
		defer c.Close()
		if s, err := c.Symbol(t.Context(), "ANDUSDT"); err != nil || s.Name != "ANDUSDT" {
			t.Fatalf("%+v, %v", s, err)
		}
		time.Sleep(59 * time.Second)
		if got, err := volume(t.Context(), c); err != nil || got != 0 { // the volumes are read now, for the first list
			t.Fatalf("%v, %v", got, err)
		}
		time.Sleep(50 * time.Second) // the list is old, the volumes are not
		if got, err := volume(t.Context(), c); err != nil || got != 2354076638.5966079 {
			t.Errorf("%v, %v", got, err)
		}
		if n := len(v.requests("ticker/24hr")); lists != 2 || n != 2 {
			t.Errorf("%d lists, %d tickers", lists, n)
		}
	})
}

func TestNow_DoesNotWaitWithALowerBound(t *testing.T) {
	for name, fault := range map[string]func(w http.ResponseWriter) bool{
		"a pause":           func(w http.ResponseWriter) bool { return refuseWith(w, 429, "86400", "") },
		"a ban":             func(w http.ResponseWriter) bool { return refuseWith(w, 418, "86400", "") },
		"a failure's pause": func(w http.ResponseWriter) bool { return refuseWith(w, 503, "86400", "") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := &venue{listed: time.UnixMilli(0)}
				c := inProcess(v, Config{})
				defer c.Close()
				if _, err := c.Now(t.Context()); err != nil {
					t.Fatal(err)
				}
				v.fault = func(_ int, w http.ResponseWriter, _ *http.Request) bool { return fault(w) }
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				lastHours(ctx, c, "BTCUSDT", 100) // shuts the gate
				cancel()
				for _, old := range []time.Duration{0, clockAge, time.Hour} {
					time.Sleep(old)
					start := time.Now()
					now, err := c.Now(t.Context())
					if err != nil || time.Since(start) > stalePatience {
						t.Fatalf("%v after %v", err, time.Since(start))
					}
					if lag := v.now().Sub(now); lag < 0 || lag > 10*time.Second {
						t.Errorf("%v behind the venue", lag)
					}
				}
			})
		})
	}
}

// clockAge is longer than a stamp of the venue is trusted to be near.
const clockAge = 6 * time.Minute

func TestNow_AVenueThatDoesNotAnswerHoldsNobodyUpTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{}
		c := inProcess(v, Config{Attempts: 3})
		defer c.Close()
		if _, err := c.Now(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		v.fault = func(_ int, _ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }
		start := time.Now()
		for range 50 {
			if _, err := c.Now(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took != stalePatience {
			t.Errorf("50 calls took %v", took)
		}
	})
}

func TestClose_EndsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{}
		v.fault = func(_ int, _ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }
		c := inProcess(v, Config{})
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.Symbol(t.Context(), "BTCUSDT"); err == nil || !strings.Contains(err.Error(), "the client is closed") {
				t.Errorf("%v", err)
			}
		})
		synctest.Wait()
		start := time.Now()
		c.Close()
		wg.Wait()
		if _, err := c.Now(t.Context()); err == nil || !strings.Contains(err.Error(), "the client is closed") || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

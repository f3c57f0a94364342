package simulated

// The limits of the venue: 429 over the weight limit until the minute ends, 418 for
// clients that continue, longer each time; and requests that arrive too early are
// recorded.

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// refusal reads a 429 or 418.
func refusal(t *testing.T, w *httptest.ResponseRecorder) (code int, msg string, retry time.Duration) {
	t.Helper()
	var body struct {
		Code int
		Msg  string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("%d: %v: %s", w.Code, err, w.Body)
	}
	seconds, err := strconv.Atoi(w.Header().Get("Retry-After"))
	if err != nil || seconds <= 0 {
		t.Fatalf("%d: Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	return body.Code, body.Msg, time.Duration(seconds) * time.Second
}

func TestWeight_OverTheLimitIsRefusedUntilTheMinuteEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Pairs: 2, WeightLimit: 100, Now: clock})
		time.Sleep(17*time.Second + 300*time.Millisecond) // into the minute
		for i := range 5 {
			if w := ask(s, "/api/v3/exchangeInfo"); w.Code != 200 {
				t.Fatalf("request %d: %d", i, w.Code)
			}
		}
		w := ask(s, "/api/v3/ping")
		code, msg, retry := refusal(t, w)
		if w.Code != http.StatusTooManyRequests || code != -1003 || retry != 43*time.Second ||
			msg != "Too much request weight used; current limit is 100 request weight per 1 MINUTE. Please use WebSocket Streams for live updates to avoid polling the API." {
			t.Errorf("%d %d %v %q", w.Code, code, retry, msg)
		}
		if w.Header().Get("X-MBX-USED-WEIGHT-1M") != "101" {
			t.Errorf("used weight %v", w.Header())
		}
		// Another address is not concerned.
		other := httptest.NewRequest(http.MethodGet, "/api/v3/ping", nil)
		other.RemoteAddr = "[2001:db8::1]:999"
		if w := httptest.NewRecorder(); true {
			s.ServeHTTP(w, other)
			if w.Code != 200 {
				t.Errorf("another address: %d", w.Code)
			}
		}
		time.Sleep(10 * time.Second)
		if w := ask(s, "/api/v3/ping"); w.Code != http.StatusTooManyRequests {
			t.Errorf("too early: %d", w.Code)
		}
		stats := s.Stats()
		if stats.EarlyCount != 1 || len(stats.Early) != 1 || stats.Early[0] != (Early{"ping", 10 * time.Second, 33 * time.Second}) || stats.Refused != 2 {
			t.Errorf("%+v", stats)
		}
		time.Sleep(33 * time.Second)
		if w := ask(s, "/api/v3/ping"); w.Code != 200 || w.Header().Get("X-MBX-USED-WEIGHT-1M") != "1" {
			t.Errorf("after the pause: %d %v", w.Code, w.Header())
		}
		if n := s.Stats().EarlyCount; n != 1 {
			t.Errorf("%d early requests", n)
		}
	})
}

func TestWeight_WhoGoesOnIsBannedAndLongerEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Pairs: 1, WeightLimit: 10, BanAfter: 5, Now: clock})
		for _, ban := range []time.Duration{2 * time.Minute, 4 * time.Minute} {
			ask(s, "/api/v3/exchangeInfo")
			for i := range 4 {
				if w := ask(s, "/api/v3/ping"); w.Code != http.StatusTooManyRequests {
					t.Fatalf("refusal %d: %d", i, w.Code)
				}
			}
			w := ask(s, "/api/v3/ping")
			code, msg, retry := refusal(t, w)
			until := testTime.Add(ban).UnixMilli()
			if w.Code != http.StatusTeapot || code != -1003 || retry != ban ||
				msg != "Way too much request weight used; IP banned until "+itoa(until)+". Please use WebSocket Streams for live updates to avoid bans." {
				t.Errorf("%d %d %v %q", w.Code, code, retry, msg)
			}
			time.Sleep(ban - time.Second)
			if w := ask(s, "/api/v3/ping"); w.Code != http.StatusTeapot || w.Header().Get("Retry-After") != "1" {
				t.Errorf("a second before the end: %d %v", w.Code, w.Header())
			}
			time.Sleep(time.Second)
			if w := ask(s, "/api/v3/ping"); w.Code != 200 {
				t.Errorf("after the ban: %d", w.Code)
			}
			time.Sleep(time.Minute)
		}
	})
}

func TestEarly_CountsFromTheEndOfTheFirstRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults, err := ParseFaults("429=1")
		if err != nil {
			t.Fatal(err)
		}
		s := New(Options{Pairs: 1, Now: clock, Faults: faults, RetryAfter: 3 * time.Second, Latency: time.Second})
		if w := ask(s, "/api/v3/ping"); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "3" {
			t.Fatalf("%d %v", w.Code, w.Header())
		}
		time.Sleep(2500 * time.Millisecond)
		// refused for half a second, which rounds to one
		if w := ask(s, "/api/v3/ping"); w.Header().Get("Retry-After") != "1" {
			t.Errorf("%v", w.Header())
		}
		time.Sleep(700 * time.Millisecond)
		ask(s, "/api/v3/ping") // the first promise is over, the second is not
		want := []Early{{"ping", 2500 * time.Millisecond, 500 * time.Millisecond}, {"ping", 3200 * time.Millisecond, 300 * time.Millisecond}}
		if got := s.Stats().Early; len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

func TestEarly_KeepsABoundedNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Pairs: 1, WeightLimit: 1, BanAfter: 1 << 30, Now: clock})
		ask(s, "/api/v3/ping")
		ask(s, "/api/v3/ping")
		time.Sleep(time.Millisecond)
		for range keptEarly + 10 {
			ask(s, "/api/v3/ping")
		}
		if stats := s.Stats(); len(stats.Early) != keptEarly || stats.EarlyCount != keptEarly+10 {
			t.Errorf("%d kept of %d", len(stats.Early), stats.EarlyCount)
		}
	})
}

func TestAccounts_OfAddressesThatComeAndGoAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Pairs: 1, Now: clock})
		for i := range 5 * maxAccounts {
			r := httptest.NewRequest(http.MethodGet, "/api/v3/ping", nil)
			r.RemoteAddr = "10.0." + strconv.Itoa(i/256) + "." + strconv.Itoa(i%256) + ":1"
			s.ServeHTTP(httptest.NewRecorder(), r)
		}
		if n := len(s.limits.accounts); n > maxAccounts {
			t.Errorf("%d accounts are kept", n)
		}
	})
}

func TestLatency_IsVariedByTheJitterAndEndsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Pairs: 1, Now: clock, Latency: 20 * time.Millisecond, Jitter: 10 * time.Millisecond})
		least, most := time.Hour, time.Duration(0)
		for range 500 {
			start := time.Now()
			ask(s, "/api/v3/ping")
			took := time.Since(start)
			least, most = min(least, took), max(most, took)
		}
		if least < 10*time.Millisecond || least > 11*time.Millisecond || most > 30*time.Millisecond || most < 29*time.Millisecond {
			t.Errorf("from %v to %v, want 10 to 30 ms", least, most)
		}
	})
}

func TestStats_CountRequestsAndThoseAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Pairs: 1, Now: clock, Latency: time.Second})
		var wg sync.WaitGroup
		for range 7 {
			wg.Go(func() { ask(s, "/api/v3/klines?symbol=BTCUSDT&interval=1h") })
		}
		wg.Wait()
		ask(s, "/api/v3/time")
		ask(s, "/nothing")
		got := s.Stats()
		if got.Requests["klines"] != 7 || got.Requests["time"] != 1 || got.Requests["other"] != 1 || got.Peak != 7 || len(got.Faults) != 0 {
			t.Errorf("%+v", got)
		}
		got.Requests["klines"] = 0
		if s.Stats().Requests["klines"] != 7 {
			t.Error("Stats hands out its own map")
		}
	})
}

func TestServer_TakesManyAtOnce(t *testing.T) {
	faults, err := ParseFaults("500=0.1,nan=0.1,429=0.01")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{Pairs: 20, Now: clock, CacheBytes: 1 << 20, Faults: faults})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 40 {
				target := []string{"klines?interval=1h&limit=100&symbol=" + s.market.pairs[(g+i)%10].Symbol, "ticker/24hr", "exchangeInfo", "time"}[i%4]
				if w := ask(s, "/api/v3/"+target); w.Code == 0 || strings.Contains(w.Body.String(), "panic") {
					t.Error(w.Code)
				}
				s.Stats()
			}
		})
	}
	wg.Wait()
	if n := s.Stats().Requests["time"]; n != 80 {
		t.Errorf("%d requests for the time", n)
	}
}

// tried counts how many of n requests of weight 1 are admitted now.
func tried(l *limits, n int) (admitted int) {
	for range n {
		if v := l.admit("a", &[3]cost{{0, 1}}, time.Now()); !v.refused {
			admitted++
		}
	}
	return admitted
}

func TestCounters_ForgetAsTheirWindowSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			window window
			burst  int
			want   [5]int // admitted of 20 at 0, 4, 6, 9.999 and 10 s
		}{
			{aligned, 0, [5]int{10, 0, 0, 0, 10}},
			{rolling, 0, [5]int{10, 0, 0, 0, 10}},
			{bucket, 0, [5]int{10, 4, 2, 3, 1}},
			{bucket, 15, [5]int{15, 4, 2, 3, 1}},
		} {
			time.Sleep(time.Until(time.Now().Truncate(time.Hour).Add(time.Hour)))
			l := &limits{counters: []counter{{name: "c", limit: 10, period: 10 * time.Second, window: c.window, burst: c.burst}}, accounts: map[string]*account{}}
			start := time.Now()
			var got [5]int
			for i, at := range []time.Duration{0, 4 * time.Second, 6 * time.Second, 9999 * time.Millisecond, 10 * time.Second} {
				time.Sleep(at - time.Since(start))
				got[i] = tried(l, 20)
			}
			if got != c.want {
				t.Errorf("window %d, burst %d: %v, want %v", c.window, c.burst, got, c.want)
			}
		}
		// A rolling window forgets each request for itself, an aligned one all at once.
		for w, want := range map[window]int{aligned: 10, rolling: 4} {
			time.Sleep(time.Until(time.Now().Truncate(time.Hour).Add(time.Hour)))
			l := &limits{counters: []counter{{limit: 10, period: 10 * time.Second, window: w}}, accounts: map[string]*account{}}
			time.Sleep(5 * time.Second)
			tried(l, 4)
			time.Sleep(4 * time.Second)
			tried(l, 6)
			time.Sleep(6 * time.Second)
			if got := tried(l, 20); got != want {
				t.Errorf("window %d: %d admitted in the next period, want %d", w, got, want)
			}
		}
	})
}

func TestCounters_OneThatIsAnnouncedIsEarlyForItsOwnRequestsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &limits{accounts: map[string]*account{}, counters: []counter{
			{name: "one", limit: 1, period: 10 * time.Second, window: rolling},
			{name: "two", limit: 100, period: 10 * time.Second, window: rolling},
		}}
		ask := func(counter int) verdict { return l.admit("a", &[3]cost{{counter, 1}}, time.Now()) }
		ask(0)
		time.Sleep(4 * time.Second)
		v := ask(0)
		if !v.refused || v.counter != 0 || v.over != 0 || v.pause != 6*time.Second || v.left != 0 {
			t.Errorf("%+v", v)
		}
		l.announce("a", &v, v.pause, time.Now())
		time.Sleep(time.Second)
		if v := ask(1); v.refused || v.left != 0 {
			t.Errorf("another counter: %+v", v)
		}
		if v := ask(0); !v.refused || v.early != time.Second || v.left != 5*time.Second {
			t.Errorf("too early: %+v", v)
		}
		time.Sleep(5 * time.Second)
		if v := ask(0); v.refused || v.left != 0 {
			t.Errorf("after it: %+v", v)
		}
	})
}

package binance

// Requests of the client and its handling of responses: pages by time, no row
// twice, no partial page, no open candle, a small list of pairs that is rarely
// read, and a retry or a named error for every fault.

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// lastHours fetches n hours as the service does.
func lastHours(ctx context.Context, c *Client, symbol string, n int) (*levels.Candles, error) {
	now, err := c.Now(ctx)
	if err != nil {
		return nil, err
	}
	var dst levels.Candles
	dst.Reset("1h", n+1)
	err = c.Candles(ctx, symbol, now.UnixMilli()-int64(n+1)*hour+1, &dst, make([]byte, 32<<10))
	return &dst, err
}

func TestCandles_TwoThousandTakeTwoRequests(t *testing.T) {
	v := &venue{listed: time.UnixMilli(0)}
	c := overSocket(t, v, Config{})
	got, err := lastHours(t.Context(), c, "BTCUSDT", 2000)
	if err != nil {
		t.Fatal(err)
	}
	asked := v.requests("klines")
	if got.Len() != 2000 || got.Missing() != 0 || len(asked) != 2 {
		t.Fatalf("%d candles, %d missing, %d requests", got.Len(), got.Missing(), len(asked))
	}
	if want := venueStart.Truncate(time.Hour).UnixMilli(); got.AsOf() != want {
		t.Errorf("the last candle closed at %d, want %d", got.AsOf(), want)
	}
	for _, r := range asked {
		if !strings.Contains(r.query, "symbol=BTCUSDT&interval=1h&startTime=") || !strings.Contains(r.query, "limit=1000") {
			t.Error(r.query)
		}
	}
}

func TestCandles_AsksNoMoreThanThereCanBe(t *testing.T) {
	for _, tt := range []struct {
		name                        string
		n                           int
		listed                      time.Duration // before venueStart
		absent                      func(open int64) bool
		candles, missing, requests_ int
	}{
		{"a short series", 150, 1e5 * time.Hour, nil, 150, 0, 1},
		{"exactly a page", 1000, 1e5 * time.Hour, nil, 1000, 0, 1},
		{"one more than a page", 1001, 1e5 * time.Hour, nil, 1001, 0, 2},
		{"a young pair", 2000, 300*time.Hour - time.Minute, nil, 299, 0, 1},
		{"a pair listed within this hour", 2000, 0, nil, 0, 0, 1},
		{"a hole", 2000, 1e5 * time.Hour, between(500, 503), 1997, 3, 2},
		{"a hole at the end of a page", 2000, 1e5 * time.Hour, between(1000, 1003), 1997, 3, 2},
		{"a pair halted a while ago", 2000, 1e5 * time.Hour, between(0, 500), 1500, 0, 3},
		{"a pair halted before", 2000, 1e5 * time.Hour, between(0, 2500), 0, 0, 1},
	} {
		v := &venue{listed: venueStart.Add(-tt.listed).Truncate(time.Hour), absent: tt.absent}
		if tt.listed > 0 && tt.listed < 1e5*time.Hour {
			v.listed = v.listed.Add(time.Hour)
		}
		got, err := lastHours(t.Context(), overSocket(t, v, Config{}), "BTCUSDT", tt.n)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got.Len() != tt.candles || got.Missing() != tt.missing || len(v.requests("klines")) != tt.requests_ {
			t.Errorf("%s: %d candles, %d missing, %d requests; want %d, %d, %d", tt.name,
				got.Len(), got.Missing(), len(v.requests("klines")), tt.candles, tt.missing, tt.requests_)
		}
	}
}

// between leaves out the hours that closed more than from and at most to hours
// before the present one opened.
func between(from, to int64) func(int64) bool {
	end := venueStart.Truncate(time.Hour).UnixMilli()
	return func(open int64) bool { return open >= end-to*hour && open < end-from*hour }
}

func TestCandles_ContinueWhatIsThere(t *testing.T) {
	v := &venue{listed: time.UnixMilli(0)}
	c := overSocket(t, v, Config{})
	got, err := lastHours(t.Context(), c, "BTCUSDT", 100)
	if err != nil {
		t.Fatal(err)
	}
	n := got.Len()
	got.Truncate(n - 3)
	if err := c.Candles(t.Context(), "BTCUSDT", 0, got, nil); err != nil || got.Len() != n || got.Missing() != 0 {
		t.Errorf("%d of %d candles, %v", got.Len(), n, err)
	}
	if err := c.Candles(t.Context(), "BTCUSDT", 0, got, nil); err != nil || got.Len() != n || len(v.requests("klines")) != 2 {
		t.Errorf("a series that is complete was asked for again: %v", err)
	}
}

func TestCandles_DropTheFormingOneByTime(t *testing.T) {
	// A venue that ignores endTime sends the candle that is still open.
	v := &venue{listed: time.UnixMilli(0)}
	v.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "klines") {
			q := r.URL.Query()
			q.Set("endTime", "9999999999999")
			r.URL.RawQuery = q.Encode()
		}
		return false
	}
	c := overSocket(t, v, Config{})
	var dst levels.Candles
	dst.Reset("1h", 0)
	from := venueStart.Add(-3 * time.Hour).Truncate(time.Hour)
	if err := c.Candles(t.Context(), "BTCUSDT", from.UnixMilli(), &dst, nil); err != nil {
		t.Fatal(err)
	}
	if want := venueStart.Truncate(time.Hour).UnixMilli(); dst.Len() != 3 || dst.AsOf() != want {
		t.Errorf("%d candles to %d, want 3 to %d", dst.Len(), dst.AsOf(), want)
	}
}

func TestForming_IsTheCandleThatIsOpenOrNone(t *testing.T) {
	opened := venueStart.Truncate(time.Hour)
	for _, tt := range []struct {
		name   string
		absent func(open int64) bool
		none   bool
	}{
		{"a pair that trades", nil, false},
		{"a pair halted a while ago", func(open int64) bool { return open > opened.UnixMilli()-3*hour }, true},
		{"a pair halted at the close", func(open int64) bool { return open >= opened.UnixMilli() }, true},
		{"a pair without a kline", func(int64) bool { return true }, true},
	} {
		v := &venue{listed: opened.Add(-1e4 * time.Hour), absent: tt.absent}
		c := overSocket(t, v, Config{})
		f, err := c.Forming(t.Context(), "BTCUSDT", "1h")
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		// and the next one, because the venue's clock may have passed the end meanwhile
		query := fmt.Sprintf("symbol=BTCUSDT&interval=1h&startTime=%d&endTime=%d&limit=2", opened.UnixMilli(), opened.UnixMilli()+2*hour-1)
		if asked := v.requests("klines"); len(asked) != 1 || asked[0].query != query {
			t.Errorf("%s: asked for %v", tt.name, asked)
		}
		switch {
		case tt.none != (f == nil):
			t.Errorf("%s: %+v", tt.name, f)
		case f != nil && (f.OpenTime != opened.UnixMilli() || f.Close == 0 || f.At.Before(venueStart) || f.At.After(v.now())):
			t.Errorf("%s: %+v, opened at %v", tt.name, f, opened)
		}
	}
}

// The hour ends while the request is under way: what was open when it was asked
// for has closed since, and what has opened since is as good.
func TestForming_OverTheEndOfACandle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := time.Now()
		v := &venue{listed: time.UnixMilli(0), delay: time.Second}
		v.now = func() time.Time {
			return venueStart.Truncate(time.Hour).Add(time.Hour - 500*time.Millisecond + time.Since(late))
		}
		closing := v.now().Truncate(time.Hour).UnixMilli()
		v.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "klines") {
				return false
			}
			body := v.klines(r) // made before the delay
			time.Sleep(v.delay)
			io.WriteString(w, body)
			return true
		}
		c := inProcess(v, Config{})
		late = time.Now()
		if _, err := c.Now(t.Context()); err != nil { // takes a second, too
			t.Fatal(err)
		}
		late = time.Now()
		if f, err := c.Forming(t.Context(), "BTCUSDT", "1h"); err != nil || f != nil && f.OpenTime == closing {
			t.Errorf("a candle that closed meanwhile is returned as forming: %+v, %v", f, err)
		}
		if f, err := c.Forming(t.Context(), "BTCUSDT", "1h"); err != nil || f == nil || f.OpenTime != closing+hour {
			t.Errorf("after the close %+v, %v", f, err)
		}
	})
}

func TestForming_RefusesWhatCannotBeAskedAndWhatWasNotAskedFor(t *testing.T) {
	v := &venue{listed: time.UnixMilli(0)}
	c := overSocket(t, v, Config{Attempts: 1})
	if _, err := c.Forming(t.Context(), "BTC USDT", "1h"); !errors.Is(err, service.ErrUnknownSymbol) {
		t.Error(err)
	}
	if _, err := c.Forming(t.Context(), "BTCUSDT", "2d"); !errors.Is(err, levels.ErrUnknownInterval) {
		t.Error(err)
	}
	if len(v.requests("klines")) != 0 {
		t.Error("what cannot be was asked for")
	}
	v.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "klines") {
			return false
		}
		io.WriteString(w, page(plainRow(hour), plainRow(2*hour)))
		return true
	}
	if f, err := c.Forming(t.Context(), "BTCUSDT", "1h"); !errors.Is(err, service.ErrExchange) {
		t.Errorf("rows of another time: %+v, %v", f, err)
	}
}

// An invalid candle of the venue is an error of the venue, not of the caller.
func TestCandles_OneThatCannotBeIsTheExchangesFault(t *testing.T) {
	v := &venue{now: steady(), fault: func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "klines") {
			start, _ := strconv.ParseInt(r.URL.Query().Get("startTime"), 10, 64)
			io.WriteString(w, page(row((start+hour-1)/hour*hour, "1", "1", "2", "1", "1")))
			return true
		}
		return false
	}}
	_, err := lastHours(t.Context(), overSocket(t, v, Config{Attempts: 1}), "BTCUSDT", 10)
	if !errors.Is(err, levels.ErrBadCandle) || service.Code(err) != "exchange_unavailable" {
		t.Errorf("%v is %q", err, service.Code(err))
	}
}

func TestCandles_HealWhatCanHeal(t *testing.T) {
	whole := func(r *http.Request) string {
		return (&venue{now: func() time.Time { return venueStart.Add(time.Minute) }}).klines(r)
	}
	hijack := func(w http.ResponseWriter, head, body string) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(conn, head+"\r\n\r\n"+body)
		conn.(*net.TCPConn).SetLinger(0) // a reset, not an end
		conn.Close()
	}
	faults := map[string]func(w http.ResponseWriter, r *http.Request){
		"an encoding not asked for": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			io.WriteString(w, whole(r))
		},
		"500":           func(w http.ResponseWriter, r *http.Request) { refuseWith(w, 500, "", `{"code":-1000,"msg":"unknown"}`) },
		"502 HTML":      func(w http.ResponseWriter, r *http.Request) { refuseWith(w, 502, "", "<html>Bad Gateway</html>") },
		"503 empty":     func(w http.ResponseWriter, r *http.Request) { refuseWith(w, 503, "", "") },
		"404 HTML":      func(w http.ResponseWriter, r *http.Request) { refuseWith(w, 404, "", "<html>") },
		"403 HTML":      func(w http.ResponseWriter, r *http.Request) { refuseWith(w, 403, "", "<HTML>CloudFront</HTML>") },
		"HTML with 200": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<!DOCTYPE html>") },
		"empty":         func(w http.ResponseWriter, r *http.Request) {},
		"error in 200":  func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"code":-1001,"msg":"disconnected"}`) },
		"cut off":       func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, whole(r)[:5000]) },
		"too short for its length": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "40000")
			io.WriteString(w, whole(r)[:20_000])
		},
		"malformed": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, whole(r)[:9000]+"}}") },
		"NaN": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, strings.Replace(whole(r), "3701.23000000", "NaN", 1))
		},
		"something after": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, whole(r)+"[]") },
		"other rows": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, page(plainRow(hour), plainRow(2*hour)))
		},
		"rows too many": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, whole(r)[:len(whole(r))-1]+strings.Repeat(","+plainRow(venueStart.UnixMilli()), 1001)+"]")
		},
		"a body without end": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, whole(r))
			for range 100 {
				if _, err := io.WriteString(w, strings.Repeat(" ", 64<<10)); err != nil {
					return
				}
			}
		},
		"reset before": func(w http.ResponseWriter, r *http.Request) { hijack(w, "", "") },
		"reset inside": func(w http.ResponseWriter, r *http.Request) {
			hijack(w, "HTTP/1.1 200 OK\r\nContent-Length: 40000", whole(r)[:20_000])
		},
		"no HTTP": func(w http.ResponseWriter, r *http.Request) { hijack(w, "SSH-2.0-OpenSSH_9.2", "") },
		"silence": func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"silence inside": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, whole(r)[:3000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var hit atomic.Int32
			v := &venue{listed: time.UnixMilli(0)}
			v.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
				// the second page fails, so that there is a first one to keep
				if !strings.HasSuffix(r.URL.Path, "klines") || len(v.requests("klines")) != 2 {
					return false
				}
				hit.Add(1)
				fault(w, r)
				return true
			}
			var statuses []string
			timeout := 10 * time.Second
			if strings.HasPrefix(name, "silence") {
				timeout = time.Second
			}
			c := overSocket(t, v, Config{Timeout: timeout, Observe: func(endpoint string, status int, d time.Duration) {
				statuses = append(statuses, fmt.Sprint(endpoint, " ", status))
			}})
			got, err := lastHours(t.Context(), c, "BTCUSDT", 2000)
			if err != nil || hit.Load() != 1 {
				t.Fatalf("after %d faults: %v", hit.Load(), err)
			}
			if got.Len() != 2000 || got.Missing() != 0 || len(v.requests("klines")) != 3 {
				t.Errorf("%d candles, %d missing, %d requests", got.Len(), got.Missing(), len(v.requests("klines")))
			}
			if len(statuses) != 4 || statuses[1] != "klines 200" || statuses[3] != "klines 200" {
				t.Errorf("observed %v", statuses)
			}
		})
	}
}

func TestCandles_GiveUpAfterTheLastAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{listed: time.UnixMilli(0)}
		v.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
			return n > 2 && refuseWith(w, 500, "", `{"code":-1000,"msg":"An unknown error occurred."}`)
		}
		c := inProcess(v, Config{Attempts: 4})
		var dst levels.Candles
		dst.Reset("1h", 0)
		from := venueStart.Add(-5000 * time.Hour).UnixMilli()
		if err := dst.Append(levels.Candle{OpenTime: from - hour, Open: 1, High: 1, Low: 1, Close: 1}); err != nil {
			t.Fatal(err)
		}
		err := c.Candles(t.Context(), "BTCUSDT", from, &dst, nil)
		if !errors.Is(err, service.ErrExchange) || !strings.Contains(err.Error(), "An unknown error") || !strings.Contains(err.Error(), "4 times") {
			t.Errorf("%v", err)
		}
		if n := len(v.requests("klines")); n != 2+4 {
			t.Errorf("%d requests, want 2 good and 4 failed", n)
		}
		if dst.Len() != 1 {
			t.Errorf("%d candles are left, want the one from before", dst.Len())
		}
	})
}

func TestClient_NamesWhatDoesNotHeal(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		want   error
		says   string
	}{
		{400, `{"code":-1121,"msg":"Invalid symbol."}`, service.ErrUnknownSymbol, "Invalid symbol"},
		{400, `{"code":-1100,"msg":"Illegal characters found in parameter 'symbol'; legal range is '^[\\w\\-._&&[^a-z]]{1,50}$'."}`, service.ErrUnknownSymbol, "Illegal"},
		{400, `{"code":-1120,"msg":"Invalid interval."}`, levels.ErrUnknownInterval, "interval"},
		{400, `{"code":-1102,"msg":"Mandatory parameter 'symbol' was not sent."}`, service.ErrExchange, "-1102"},
		{403, `{"code":-2015,"msg":"Invalid API-key."}`, service.ErrExchange, "-2015"},
		{451, `{"code":0,"msg":"Service unavailable from a restricted location."}`, service.ErrExchange, "region"},
		{302, ``, service.ErrExchange, "redirects"},
	} {
		v := &venue{listed: time.UnixMilli(0)}
		v.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
			return strings.HasSuffix(r.URL.Path, "klines") && refuseWith(w, tt.status, "", tt.body)
		}
		_, err := lastHours(t.Context(), overSocket(t, v, Config{}), "BTCUSDT", 100)
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || len(v.requests("klines")) != 1 {
			t.Errorf("%d %s: %v after %d requests", tt.status, tt.body, err, len(v.requests("klines")))
		}
	}
}

func TestClient_AnUnknownSymbolIn200IsOneInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{}
		v.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
			return strings.HasSuffix(r.URL.Path, "klines") && refuseWith(w, 200, "", `{"code":-1121,"msg":"Invalid symbol."}`)
		}
		_, err := lastHours(t.Context(), inProcess(v, Config{Attempts: 3}), "BTCUSDT", 100)
		if service.Code(err) != "unknown_symbol" || len(v.requests("klines")) != 3 {
			t.Errorf("%v after %d requests", err, len(v.requests("klines")))
		}
	})
}

func TestCandles_RefuseWhatCannotBeAsked(t *testing.T) {
	v := &venue{}
	c := overSocket(t, v, Config{})
	var dst levels.Candles
	if err := c.Candles(t.Context(), "BTCUSDT", 0, &dst, nil); !errors.Is(err, levels.ErrUnknownInterval) {
		t.Errorf("no interval: %v", err)
	}
	dst.Reset("1h", 0)
	if err := c.Candles(t.Context(), "BTC USDT", 0, &dst, nil); !errors.Is(err, service.ErrUnknownSymbol) {
		t.Errorf("a space: %v", err)
	}
	if n := len(v.requests("")); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestCandles_EndWhenTheVenueGetsNowhere(t *testing.T) {
	v := &venue{listed: time.UnixMilli(0)}
	v.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		q := r.URL.Query()
		q.Set("limit", "1") // one row a page, whatever is asked
		r.URL.RawQuery = q.Encode()
		return false
	}
	_, err := lastHours(t.Context(), overSocket(t, v, Config{}), "BTCUSDT", 2000)
	if !errors.Is(err, service.ErrExchange) || len(v.requests("klines")) > 10 {
		t.Errorf("%v after %d requests", err, len(v.requests("klines")))
	}
}

func TestClient_ConnectionsAreKept(t *testing.T) {
	v := &venue{listed: time.UnixMilli(0), now: steady()}
	v.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
		return n%5 == 4 && refuseWith(w, 400, "", `{"code":-1121,"msg":"Invalid symbol."}`)
	}
	var opened atomic.Int32
	server := httptest.NewUnstartedServer(v)
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	c := New(Config{BaseURL: address(t, server.URL)})
	defer c.Close()
	for range 20 {
		lastHours(t.Context(), c, "BTCUSDT", 1500)
	}
	for _, err := range c.Symbols(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections for %d requests one after the other", n, len(v.requests("")))
	}
}

func TestClient_HonoursItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("the caller went away")
		v := &venue{listed: time.UnixMilli(0)}
		v.fault = func(n int, w http.ResponseWriter, r *http.Request) bool { return n > 0 && refuseWith(w, 500, "", "") }
		c := inProcess(v, Config{Attempts: 20})
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(5*time.Second, func() { cancel(why) })
		if _, err := lastHours(ctx, c, "BTCUSDT", 100); err != why {
			t.Errorf("cancelled: %v", err)
		}
		n := len(v.requests(""))
		if _, err := lastHours(ctx, c, "BTCUSDT", 100); err != why || len(v.requests("")) != n {
			t.Errorf("cancelled before: %v, %d requests", err, len(v.requests(""))-n)
		}
		// A deadline that the next sleep would pass is not slept up to.
		short, stop := context.WithTimeout(t.Context(), 3*time.Second)
		defer stop()
		if _, err := lastHours(short, c, "BTCUSDT", 100); !errors.Is(err, service.ErrExchange) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a short deadline: %v", err)
		}
	})
}

func TestClient_ATimeoutIsTheVenuesFault(t *testing.T) {
	v := &venue{}
	v.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }
	c := overSocket(t, v, Config{Timeout: 20 * time.Millisecond, Attempts: 2})
	_, err := c.Now(t.Context())
	if !errors.Is(err, service.ErrExchange) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestClient_NothingListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	var statuses []int
	c := New(Config{BaseURL: &url.URL{Scheme: "http", Host: l.Addr().String()}, Attempts: 2, Observe: func(_ string, status int, _ time.Duration) { statuses = append(statuses, status) }})
	if _, err := c.Symbol(t.Context(), "BTCUSDT"); !errors.Is(err, service.ErrExchange) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v", err)
	}
	if !slices.Equal(statuses, []int{0, 0}) {
		t.Errorf("observed %v", statuses)
	}
}

func TestNew_APathOfTheAddressIsKept(t *testing.T) {
	var path atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path.Store(r.URL.Path)
		fmt.Fprintf(w, `{"serverTime":%d}`, venueStart.UnixMilli())
	}))
	defer server.Close()
	c := New(Config{BaseURL: address(t, server.URL+"/mirror/")})
	defer c.Close()
	if _, err := c.Now(t.Context()); err != nil || path.Load() != "/mirror/api/v3/time" {
		t.Errorf("%v, %v", path.Load(), err)
	}
}

func TestNew_AUserOfTheAddressIsSentAndNeverSaid(t *testing.T) {
	var log bytes.Buffer
	var refuse atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "me" || password != "p@ss" || refuse.Load() {
			refuseWith(w, 401, "", "")
			return
		}
		fmt.Fprintf(w, `{"serverTime":%d}`, time.Now().UnixMilli())
	}))
	c := New(Config{BaseURL: address(t, strings.Replace(server.URL, "//", "//me:p%40ss@", 1)), Attempts: 2, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	defer c.Close()
	if _, err := c.Now(t.Context()); err != nil {
		t.Error(err)
	}
	refuse.Store(true)
	_, refused := c.Symbol(t.Context(), "BTCUSDT")
	server.Close()
	_, down := lastHours(t.Context(), c, "BTCUSDT", 100)
	if text := fmt.Sprint(refused, down, log.String()); refused == nil || down == nil || strings.Contains(text, "p@ss") || strings.Contains(text, "p%40ss") {
		t.Error(text)
	}
}

func TestMarket_TheResponsesSayWhatIsSimulated(t *testing.T) {
	v := &venue{}
	c := overSocket(t, v, Config{Name: "elsewhere"})
	if _, err := c.Now(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m := c.Market(); m != (service.Market{Exchange: "elsewhere", Sums: true}) {
		t.Errorf("%+v", m)
	}
	v.fault = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("X-Tidemark-Simulated", "true")
		return refuseWith(w, 400, "", `{"code":-1100,"msg":"x"}`)
	}
	lastHours(t.Context(), c, "BTCUSDT", 100)
	if !c.Market().Simulated || c.Status().Replay != "" {
		t.Error("a header of a refusal is not enough, or a replay is said to be")
	}
	for _, dates := range []string{"2021-04-04/2023-12-30", "<b>today</b>/2023-12-30"} {
		v.fault = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("X-Tidemark-Simulated", "true")
			w.Header().Set("X-Tidemark-Replay", dates)
			return refuseWith(w, 400, "", `{"code":-1100,"msg":"x"}`)
		}
		lastHours(t.Context(), c, "BTCUSDT", 100)
		if got := c.Status().Replay; got != "2021-04-04/2023-12-30" {
			t.Errorf("after %q it replays %q", dates, got)
		}
	}
}

func TestSymbols_JoinTheListWithTheVolumes(t *testing.T) {
	v := &venue{}
	c := overSocket(t, v, Config{})
	var got []service.Symbol
	for s, err := range c.Symbols(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, s)
	}
	want := []service.Symbol{
		{Name: "BTCUSDT", Base: "BTC", Quote: "USDT", Trading: true, Status: "TRADING", Tick: service.Tick{Units: 1, Decimals: 2}, QuoteVolume: 2354076638.5966079},
		{Name: "ETHBTC", Base: "ETH", Quote: "BTC", Trading: true, Status: "TRADING", Tick: service.Tick{Units: 1, Decimals: 5}},
		{Name: "OLDUSDT", Base: "OLD", Quote: "USDT", Status: "BREAK"},
		{Name: "PERPUSDT", Base: "PERP", Quote: "USDT", Status: "TRADING"},
		{Name: "币安USDT", Base: "币安", Quote: "USDT", Trading: true, Status: "TRADING", QuoteVolume: 12.5},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	if q := v.requests("exchangeInfo")[0].query; q != "showPermissionSets=false" {
		t.Errorf("exchangeInfo?%s", q)
	}
	if s := c.Status(); s.Budgets[0].Limit != 6000 || s.Budgets[0].Used < 100 {
		t.Errorf("%+v", s)
	}
	for range c.Symbols(t.Context()) {
		break // who has seen enough stops
	}
}

func TestSymbols_ComeCompressedIfTheVenueCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := exchangeInfo(venueStart.UnixMilli(), listedPairs)
		packed := func(text string) []byte {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			io.WriteString(z, text)
			z.Close()
			return b.Bytes()
		}
		answers := [][]byte{packed(list)[:200], []byte("no gzip"), packed(list + "[]"), packed(list)}
		v := &venue{}
		v.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
			if asked := r.Header.Get("Accept-Encoding"); asked != "gzip" {
				t.Errorf("%s asks for %q", r.URL.Path, asked)
			}
			if n >= len(answers) {
				return false
			}
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(answers[n])
			return true
		}
		n := 0
		for _, err := range inProcess(v, Config{}).Symbols(t.Context()) {
			n++
			if err != nil {
				t.Fatal(err)
			}
		}
		if n != 5 || len(v.requests("exchangeInfo")) != len(answers) {
			t.Errorf("%d pairs after %d requests", n, len(v.requests("exchangeInfo")))
		}
	})
}

func TestSymbols_AnErrorEndsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{}
		v.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
			return strings.HasSuffix(r.URL.Path, "24hr") && refuseWith(w, 200, "", `[{"symbol":"BTCUSDT","quoteVolume":"-1"}]`)
		}
		n := 0
		for s, err := range inProcess(v, Config{Attempts: 2}).Symbols(t.Context()) {
			n++
			if !errors.Is(err, service.ErrExchange) || s != (service.Symbol{}) {
				t.Errorf("%+v, %v", s, err)
			}
		}
		if n != 1 {
			t.Errorf("%d items", n)
		}
	})
}

func TestSymbol_ReadsTheListSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{}
		c := inProcess(v, Config{})
		lists := func() int { return len(v.requests("exchangeInfo")) }
		for range 50 {
			if s, err := c.Symbol(t.Context(), "币安USDT"); err != nil || s.Base != "币安" || s.QuoteVolume != 0 {
				t.Fatalf("%+v, %v", s, err)
			}
		}
		if lists() != 1 {
			t.Fatalf("%d lists for one pair", lists())
		}
		for range 5 {
			if _, err := c.Symbol(t.Context(), "NOPEUSDT"); !errors.Is(err, service.ErrUnknownSymbol) {
				t.Fatal(err)
			}
		}
		if lists() != 1 {
			t.Errorf("a fresh list was read again for an unknown pair")
		}
		time.Sleep(2 * time.Minute)
		for range 5 {
			c.Symbol(t.Context(), "NOPEUSDT")
			c.Symbol(t.Context(), "BTCUSDT")
		}
		if lists() != 2 {
			t.Errorf("%d lists, want one more: the pair may have been listed since", lists())
		}
		time.Sleep(2 * time.Hour)
		c.Symbol(t.Context(), "BTCUSDT")
		if lists() != 3 {
			t.Errorf("%d lists, want one more after the hour", lists())
		}
		for _, name := range []string{"", "BTC USDT", "BTC\x00", "BTC\nUSDT", strings.Repeat("A", 41), "\xff", "A&limit=5", "<b>", "a/b"} {
			if _, err := c.Symbol(t.Context(), name); !errors.Is(err, service.ErrUnknownSymbol) {
				t.Errorf("%q: %v", name, err)
			}
		}
		if lists() != 3 {
			t.Error("the list was read for a name that cannot be")
		}
	})
}

func TestSymbol_OneListServesAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{delay: time.Second}
		c := inProcess(v, Config{})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := c.Symbol(t.Context(), "BTCUSDT"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := len(v.requests("exchangeInfo")); n != 1 {
			t.Errorf("%d lists", n)
		}
	})
}

func TestSymbol_AnOldListStandsInForAVenueThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{}
		c := inProcess(v, Config{Attempts: 2})
		if _, err := c.Symbol(t.Context(), "BTCUSDT"); err != nil {
			t.Fatal(err)
		}
		v.fault = func(_ int, w http.ResponseWriter, _ *http.Request) bool { return refuseWith(w, 500, "", "") }
		time.Sleep(2 * time.Hour)
		for range 10 {
			if s, err := c.Symbol(t.Context(), "BTCUSDT"); err != nil || s.Name != "BTCUSDT" {
				t.Fatalf("%+v, %v", s, err)
			}
		}
		if n := len(v.requests("exchangeInfo")); n != 1+2 {
			t.Errorf("%d requests, want the first and two in vain: the failure is remembered", n)
		}
		if _, err := c.Symbol(t.Context(), "NOPEUSDT"); !errors.Is(err, service.ErrExchange) {
			t.Errorf("whether a pair exists cannot be known: %v", err)
		}
	})
}

func TestNow_IsNeverAheadOfTheVenue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &venue{delay: 700 * time.Millisecond, listed: time.UnixMilli(0)}
		c := inProcess(v, Config{})
		for range 200 {
			now, err := c.Now(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if behind := v.now().Sub(now); behind < 0 || behind > 2*time.Second {
				t.Fatalf("%v behind the venue", behind)
			}
			time.Sleep(11 * time.Second)
		}
		if n := len(v.requests("time")); n < 4 || n > 10 {
			t.Errorf("asked %d times in 37 minutes", n)
		}
	})
}

func TestNow_FollowsAVenueThatRunsFaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		v := &venue{listed: time.UnixMilli(0), now: func() time.Time { return venueStart.Add(600 * time.Since(start)) }}
		c := inProcess(v, Config{})
		for range 30 {
			got, err := lastHours(t.Context(), c, "BTCUSDT", 100)
			if err != nil || got.Len() < 100 {
				t.Fatalf("%v, %v", got, err)
			}
			if now := v.now(); got.AsOf() > now.UnixMilli() || now.Sub(time.UnixMilli(got.AsOf())) > 3*time.Hour {
				t.Fatalf("candles to %v at %v", time.UnixMilli(got.AsOf()).UTC(), now)
			}
			time.Sleep(6 * time.Second) // an hour there
		}
	})
}

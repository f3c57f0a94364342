// Pins what a client is told of each error, and what it is never told.
package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

func TestStatus_EveryErrorOfTheServiceHasItsStatus(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{service.ErrInvalid, 400, "invalid_request"},
		{levels.ErrUnknownInterval, 400, "invalid_request"},
		{service.ErrNotAnalyzed, 404, "not_analyzed"},
		{service.ErrUnknownLevel, 404, "unknown_level"},
		{service.ErrUnknownJob, 404, "unknown_job"},
		{service.ErrJobFinished, 409, "job_finished"},
		{service.ErrNotExplainable, 409, "not_explainable"},
		{service.ErrCancelled, 409, "cancelled"},
		{service.ErrUnknownSymbol, 422, "unknown_symbol"},
		{service.ErrUnknownExchange, 422, "unknown_exchange"},
		{levels.ErrTooFewCandles, 422, "too_few_candles"},
		{service.ErrExchange, 502, "exchange_unavailable"},
		{fmt.Errorf("%w: kline 3: %w", service.ErrExchange, levels.ErrBadCandle), 502, "exchange_unavailable"},
		{service.ErrBusy, 503, "busy"},
		{service.ErrStopping, 503, "stopping"},
		{service.ErrBanned, 503, "banned"},
		{service.ErrRateLimited, 503, "rate_limited"},
		{service.ErrStorage, 503, "storage_unavailable"},
		{context.DeadlineExceeded, 504, "timeout"},
		{errors.New("anything else"), 500, "internal"},
		{context.Canceled, 500, "internal"}, // while the client waits, nobody may have cancelled
	} {
		p := status(httptest.NewRequest("GET", "/", nil), fmt.Errorf("reading: %w", c.err))
		if p.status != c.status || p.code != c.code {
			t.Errorf("%v: %d %s, want %d %s", c.err, p.status, p.code, c.status, c.code)
		}
		if p.code != service.Code(c.err) {
			t.Errorf("%v: the client reads %q, a report line says %q", c.err, p.code, service.Code(c.err))
		}
		if (p.status == 503) != (p.retry > 0) {
			t.Errorf("%v: status %d with Retry-After %v", c.err, p.status, p.retry)
		}
		if statuses[p.code].title == "" {
			t.Errorf("%v: no title", c.err)
		}
	}
}

// The codes are a private table of the service; its source is read so that a
// line added there cannot be forgotten here.
func TestStatus_KnowsEveryCodeTheServiceNames(t *testing.T) {
	source, err := os.ReadFile("../service/errors.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`\{[\w.]+, "(\w+)"\},`).FindAllStringSubmatch(string(source), -1)
	if len(found) < 17 {
		t.Fatalf("only %d codes found in service/errors.go", len(found))
	}
	for _, m := range found {
		if statuses[m[1]].status == 0 {
			t.Errorf("code %q has no status", m[1])
		}
	}
}

func TestStatus_RetryAfterIsWhatTheErrorSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := httptest.NewRequest("GET", "/", nil)
		err := fmt.Errorf("klines: %w", &service.RetryAfterError{Err: service.ErrBanned, Until: time.Now().Add(90 * time.Second)})
		if p := status(r, err); p.status != 503 || p.retry != 90*time.Second {
			t.Errorf("%+v", p)
		}
		over := &service.RetryAfterError{Err: service.ErrBusy, Until: time.Now().Add(-time.Hour)}
		if p := status(r, over); p.retry != time.Second {
			t.Errorf("a moment that is over: %v, want the least there is, 1s", p.retry)
		}
	})
}

func TestStatus_AClientThatLeftIsNotAFault(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
	if p := status(r, fmt.Errorf("reading: %w", context.Canceled)); p.status != 499 {
		t.Errorf("status %d", p.status)
	}
	if p := status(r, errors.New("disk on fire")); p.status != 500 {
		t.Errorf("a real fault hides behind a client that left: %d", p.status)
	}
}

func TestFail_InternalsGoToTheLogOnly(t *testing.T) {
	h := start(t)
	for _, err := range []error{
		errors.New("pq: password authentication failed for user tide at 10.1.2.3"),
		fmt.Errorf("%w: dial tcp 10.1.2.3:5432: connection refused", service.ErrStorage),
	} {
		h.store.SnapshotFunc = func(service.Key, time.Time) (service.Snapshot, error) { return service.Snapshot{}, err }
		rec := h.get("/levels/BTCUSDT", "Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
		if rec.Code < 500 || strings.Contains(rec.Body.String(), "10.1.2.3") {
			t.Errorf("status %d: %s", rec.Code, rec.Body)
		}
		id := rec.Header().Get("X-Request-Id")
		log := h.log.String()
		if !strings.Contains(log, "10.1.2.3") || !strings.Contains(log, "request_id="+id) || !strings.Contains(log, "4bf92f3577b34da6") {
			t.Errorf("the log lacks the cause, the request %s or its trace: %s", id, log)
		}
	}
}

func TestFail_PanicsAreContained(t *testing.T) {
	h := start(t)
	h.store.SnapshotFunc = func(service.Key, time.Time) (service.Snapshot, error) { panic("secret 123") }
	rec := h.get("/levels/BTCUSDT")
	want(t, rec, 500)
	if p := problemOf(t, rec); p.Code != "internal" || strings.Contains(rec.Body.String(), "secret") {
		t.Errorf("%s", rec.Body)
	}
	if log := h.log.String(); !strings.Contains(log, "secret 123") || !strings.Contains(log, "errors_test.go") {
		t.Errorf("the log has no panic or no stack: %s", log)
	}
	h.store.SnapshotFunc = nil
	want(t, h.get("/levels/BTCUSDT"), 404)
	if got := metric(t, h, "tidemark_http_requests_in_flight"); got != 0 {
		t.Errorf("%v requests in flight after the panic", got)
	}
}

func TestFail_AStreamThatBreaksIsBrokenOff(t *testing.T) {
	h := start(t)
	h.exchange.SymbolsFunc = func(yield func(service.Symbol, error) bool) {
		for range 2000 { // the Analyzer lists all before it yields any
			if !yield(service.Symbol{Name: strings.Repeat("X", 30), Quote: "USDT", Trading: true}, nil) {
				return
			}
		}
	}
	h.store.snaps[service.Key{Exchange: "simulated", Symbol: "BTCUSDT", Interval: "1h"}] = nil
	srv := httptest.NewServer(h.api)
	defer srv.Close()
	res, err := http.Get(srv.URL + "/symbols")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := readAll(res); err != nil || !strings.HasSuffix(b, "}\n") {
		t.Fatalf("a stream that does not break: %v", err)
	}
	// a failure after the first piece has been sent
	h.store.mu.Lock()
	h.store.snaps = map[service.Key][]service.Snapshot{}
	h.store.mu.Unlock()
	market(h, 200)
	calls := 0
	h.store.SnapshotFunc = func(k service.Key, _ time.Time) (service.Snapshot, error) {
		if calls++; calls > 150 {
			panic("the store broke")
		}
		return snapshot(k.Symbol, time.Now()), nil
	}
	if res, err = http.Get(srv.URL + "/levels?format=csv"); err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 {
		t.Fatalf("status %d; the failure was to come after the header", res.StatusCode)
	}
	if _, err := readAll(res); err == nil {
		t.Error("half a reply looks whole to the client")
	}
}

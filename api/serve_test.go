// Pins what holds for every route: keys, rates, origins, request ids, methods,
// limits of the server, and what is measured.
package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/service"
)

func readAll(res *http.Response) (string, error) {
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

// metric returns the value of a metric without labels, or the sum over labels.
func metric(t testing.TB, h *harness, name string) float64 {
	t.Helper()
	families, err := h.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		sum := 0.0
		for _, m := range f.GetMetric() {
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
		return sum
	}
	t.Fatalf("no metric %s", name)
	return 0
}

const key1, key2 = "correct-horse-battery", "staple-staple-staple"

func withKeys(c *Config, _ *service.Config) { c.Keys = []string{key1, key2} }

func TestKeys_EverythingButProbesAndThePageNeedsOne(t *testing.T) {
	h := start(t, withKeys)
	for path, item := range document(t).doc.Paths.Map() {
		for method := range item.Operations() {
			target := strings.NewReplacer("{symbol}", "BTCUSDT", "{id}", "x", "{file}", "main.js").Replace(path)
			rec := h.do(method, target, "")
			open := path == "/healthz" || path == "/readyz" || path == "/" || path == "/page/{file}"
			if open != (rec.Code == 200) || !open && rec.Code != 401 {
				t.Errorf("%s %s without a key: %d", method, path, rec.Code)
			}
		}
	}
	if rec := h.get("/nowhere"); rec.Code != 401 {
		t.Errorf("a path that is not there: %d; a stranger learns what there is", rec.Code)
	}
}

func TestKeys_AreTakenFromEitherHeader(t *testing.T) {
	h := start(t, withKeys)
	for _, c := range []struct {
		name, value string
		status      int
	}{
		{"Authorization", "Bearer " + key1, 200},
		{"Authorization", "bearer  " + key2, 200},
		{"X-API-Key", key2, 200},
		{"Authorization", "Bearer " + key1 + "x", 401},
		{"Authorization", "Bearer", 401},
		{"Authorization", "Basic " + key1, 401},
		{"Authorization", key1, 401},
		{"X-API-Key", key1[:5], 401},
		{"X-API-Key", strings.Repeat("x", 10000), 401},
	} {
		rec := h.get("/jobs", c.name, c.value)
		if rec.Code != c.status {
			t.Errorf("%s: %.40s: %d, want %d", c.name, c.value, rec.Code, c.status)
		}
		if rec.Code == 401 && rec.Header().Get("WWW-Authenticate") == "" {
			t.Error("401 without WWW-Authenticate")
		}
	}
	if log := h.log.String(); strings.Contains(log, key1) || strings.Contains(log, key2) {
		t.Error("a key is in the log")
	}
}

func TestKeys_MakeRepliesPrivate(t *testing.T) {
	for _, keys := range []bool{false, true} {
		h := start(t, func(c *Config, s *service.Config) {
			if keys {
				withKeys(c, s)
			}
		})
		h.store.Put(context.Background(), service.Results{Snapshots: []service.Snapshot{snapshot("BTCUSDT", time.Now())}})
		head := h.get("/levels/BTCUSDT", "X-API-Key", key1).Header()
		got, vary := head.Get("Cache-Control"), strings.Join(head["Vary"], ", ")
		if strings.HasPrefix(got, "private") != keys && got != "no-cache" || strings.Contains(vary, "Authorization, X-Api-Key") != keys {
			t.Errorf("keys %v: %q, Vary %q", keys, got, vary)
		}
	}
}

func TestRateLimit_IsPerKeyAndSaysWhenToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, withKeys, func(c *Config, _ *service.Config) { c.RateLimit, c.Burst = 0.5, 3 })
		ask := func(key string) *httptest.ResponseRecorder { return h.get("/jobs", "X-API-Key", key) }
		for range 3 {
			want(t, ask(key1), 200)
		}
		rec := ask(key1)
		want(t, rec, 429)
		if got := rec.Header().Get("Retry-After"); got != "2" {
			t.Errorf("Retry-After %q, want 2: one request every two seconds", got)
		}
		want(t, ask(key2), 200)
		want(t, h.get("/healthz"), 200)
		time.Sleep(2 * time.Second)
		want(t, ask(key1), 200)
		want(t, ask(key1), 429)
	})
}

func TestRateLimit_WithoutKeysIsPerAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(c *Config, _ *service.Config) { c.RateLimit, c.Burst = 1, 1 })
		ask := func(addr string, headers ...string) int {
			r := localRequest("GET", "/jobs", nil)
			r.RemoteAddr = addr
			for i := 0; i < len(headers); i += 2 {
				r.Header.Set(headers[i], headers[i+1])
			}
			return h.send(r).Code
		}
		for _, c := range []struct {
			addr string
			want int
		}{
			{"10.0.0.1:1000", 200}, {"10.0.0.1:2000", 429}, {"10.0.0.2:1000", 200},
			{"[2001:db8::1]:1", 200}, {"[2001:db8::ffff]:1", 429}, {"[2001:db8:0:1::1]:1", 200},
			{"[::ffff:10.0.0.2]:1", 429},
			{"127.0.0.1:1", 200}, {"127.0.0.1:2", 200}, {"[::1]:1", 200}, {"[::1]:2", 200}, // one address is everyone
		} {
			if got := ask(c.addr); got != c.want {
				t.Errorf("%s: %d, want %d", c.addr, got, c.want)
			}
		}
		if got := ask("10.0.0.1:1", "X-Forwarded-For", "1.2.3.4"); got != 429 {
			t.Errorf("a client that claims to be another: %d", got)
		}
	})
}

func TestRateLimit_GuessedKeysAreLimitedByAddress(t *testing.T) {
	h := start(t, withKeys, func(c *Config, _ *service.Config) { c.RateLimit, c.Burst = 0.001, 2 })
	want(t, h.get("/jobs", "X-API-Key", "guess1"), 401)
	want(t, h.get("/jobs", "X-API-Key", "guess2"), 401)
	want(t, h.get("/jobs", "X-API-Key", "guess3"), 429)
	want(t, h.get("/jobs", "X-API-Key", key1), 200)
}

func TestLimiter_RemembersABoundedNumberOfClients(t *testing.T) {
	var l limiter
	l.init(1, 1)
	now := time.Now()
	for i := range 5 * maxClients {
		c := client{addr: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}
		if l.take(c, now) > 0 {
			t.Fatal("a client never seen is refused")
		}
		if len(l.full) > maxClients {
			t.Fatalf("%d clients are remembered", len(l.full))
		}
	}
	// those whose bucket is full again are the first to be forgotten
	later := now.Add(time.Hour)
	debtor := client{key: 1}
	l.take(debtor, later)
	for i := range maxClients / 2 { // so many that the table is full once
		l.take(client{key: 2 + i}, later.Add(-time.Minute))
	}
	if len(l.full) > maxClients/2+1 {
		t.Errorf("%d are remembered, buckets that are full again among them", len(l.full))
	}
	if l.take(debtor, later) == 0 {
		t.Error("the one client in debt was forgotten")
	}
}

func TestLimiter_AllowsTheRateInTheLongRun(t *testing.T) {
	var l limiter
	l.init(10, 5)
	now, allowed := time.Now(), 0
	for range 10_000 { // ten seconds, a thousand requests a second
		now = now.Add(time.Millisecond)
		if l.take(client{key: 1}, now) == 0 {
			allowed++
		}
	}
	if allowed < 100 || allowed > 106 {
		t.Errorf("%d requests in 10 s at 10 a second and a burst of 5", allowed)
	}
}

func TestOrigins_PagesOfOthersMayNotChangeAnything(t *testing.T) {
	h := start(t)
	want(t, h.do("POST", "/analyze", `{"all":true}`, "Sec-Fetch-Site", "cross-site"), 403)
	want(t, h.do("POST", "/analyze", `{"all":true}`, "Origin", "https://evil.example"), 403)
	want(t, h.do("DELETE", "/jobs/x", "", "Sec-Fetch-Site", "same-site"), 403)
	want(t, h.get("/jobs", "Sec-Fetch-Site", "cross-site"), 403) // it costs work
	want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`, "Sec-Fetch-Site", "same-origin"), 200)
}

func TestRequestID_IsTheClientsIfItIsSane(t *testing.T) {
	h := start(t)
	for _, id := range []string{"a", "Req-1.2_3", strings.Repeat("x", 64)} {
		if got := h.get("/healthz", "X-Request-Id", id).Header().Get("X-Request-Id"); got != id {
			t.Errorf("%q became %q", id, got)
		}
	}
	seen := map[string]bool{}
	for _, id := range []string{"", "a b", "é", "x\"y", strings.Repeat("x", 65), "a=b"} {
		got := h.get("/healthz", "X-Request-Id", id).Header().Get("X-Request-Id")
		if got == id || !saneID(got) || seen[got] {
			t.Errorf("%q became %q", id, got)
		}
		seen[got] = true
	}
}

func TestRouter_UnknownPathsAndMethodsAreProblems(t *testing.T) {
	h := start(t)
	for _, path := range []string{"/nowhere", "/levels/", "/levels/a/b/c", "/jobs/x/y", "//", "/favicon.ico", "/docs/"} {
		if rec := h.get(path); rec.Code != 404 || problemOf(t, rec).Code != "not_found" {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
	for _, c := range []struct{ method, path, allow string }{
		{"GET", "/analyze", "POST"}, {"POST", "/levels", "GET, HEAD"}, {"PUT", "/jobs/x", "GET, HEAD, DELETE"},
		{"DELETE", "/levels/BTCUSDT", "GET, HEAD"}, {"PATCH", "/levels/BTC%2FUSDT", "GET, HEAD"},
	} {
		rec := h.do(c.method, c.path, "")
		if rec.Code != 405 || rec.Header().Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, Allow %q", c.method, c.path, rec.Code, rec.Header().Get("Allow"))
		}
	}
}

func TestRouter_HeadIsGetWithoutABody(t *testing.T) {
	h := start(t)
	h.store.Put(context.Background(), service.Results{Snapshots: []service.Snapshot{snapshot("BTCUSDT", time.Now())}})
	srv := httptest.NewServer(h.api)
	defer srv.Close()
	for _, path := range []string{"/levels/BTCUSDT", "/levels", "/healthz", "/docs", "/metrics", "/levels/NOPE"} {
		get, err := http.Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		head, err := http.Head(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := readAll(head)
		readAll(get)
		if head.StatusCode != get.StatusCode || body != "" || head.Header.Get("ETag") != get.Header.Get("ETag") {
			t.Errorf("HEAD %s: %d, GET %d; body %q", path, head.StatusCode, get.StatusCode, body)
		}
	}
}

func TestMetrics_RoutesAreLabelsAndPathsAreNot(t *testing.T) {
	h := start(t)
	for i := range 50 {
		h.get(fmt.Sprintf("/scan/%d", i))
		h.get(fmt.Sprintf("/levels/S%dUSDT", i))
		h.do("BREW", "/levels", "")
	}
	rec := h.get("/metrics")
	want(t, rec, 200)
	text := rec.Body.String()
	for _, line := range []string{
		`tidemark_http_request_duration_seconds_count{code="404",method="GET",route="/levels/{symbol}"} 50`,
		`tidemark_http_request_duration_seconds_count{code="404",method="other",route="none"} 50`,
		`tidemark_http_request_duration_seconds_count{code="405",method="other",route="none"} 50`,
		`tidemark_http_requests_in_flight 1`,
		`tidemark_http_cache_requests_total{result="miss"} 50`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(text, "scan") || strings.Contains(text, "S1USDT") || strings.Contains(text, "BREW") {
		t.Error("what a client sent became a label")
	}
}

func TestMetrics_AreServedInEachTypeTheDocumentNames(t *testing.T) {
	h := start(t)
	accept := map[string]string{
		"text/plain":                      "text/plain",
		"application/vnd.google.protobuf": "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
	}
	documented := document(t).doc.Paths.Value("/metrics").Get.Responses.Value("200").Value.Content
	if got, want := slices.Sorted(maps.Keys(documented)), slices.Sorted(maps.Keys(accept)); !slices.Equal(got, want) {
		t.Errorf("documented are %q, want %q", got, want)
	}
	accept["application/openmetrics-text"] = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
	for kind, asked := range accept {
		req := httptest.NewRequest("GET", "/metrics", nil)
		req.Header.Set("Accept", asked)
		rec := httptest.NewRecorder()
		h.api.ServeHTTP(rec, req)
		want(t, rec, 200)
		if kind == "application/openmetrics-text" {
			kind = "text/plain"
		}
		if got, _, _ := strings.Cut(rec.Header().Get("Content-Type"), ";"); got != kind {
			t.Errorf("Accept: %s is answered with %s", asked, got)
		}
	}
}

func TestHealth_AsksNobodyAndReadinessAsksTheDatabase(t *testing.T) {
	h := start(t)
	want(t, h.get("/healthz"), 200)
	want(t, h.get("/readyz"), 200)
	h.store.err = fmt.Errorf("connection refused")
	want(t, h.get("/healthz"), 200)
	rec := h.get("/readyz")
	want(t, rec, 503)
	if problemOf(t, rec).Code != "storage_unavailable" || rec.Header().Get("Retry-After") == "" {
		t.Errorf("%s", rec.Body)
	}
}

// serving is an API behind a real socket, with the limits of Server.
func serving(t *testing.T, h *harness, change func(*http.Server)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Server(h.api)
	s.RegisterOnShutdown(h.api.Close)
	if change != nil {
		change(s)
	}
	done := make(chan struct{})
	go func() { s.Serve(l); close(done) }()
	t.Cleanup(func() { s.Close(); <-done })
	return l.Addr().String()
}

func TestServer_SlowHeadersAreCutOff(t *testing.T) {
	h := start(t)
	if d := Server(h.api).ReadHeaderTimeout; d != 5*time.Second {
		t.Errorf("headers may take %v", d)
	}
	addr := serving(t, h, func(s *http.Server) { s.ReadHeaderTimeout = 50 * time.Millisecond })
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
	if b, err := io.ReadAll(c); err != nil || strings.Contains(string(b), "200") {
		t.Errorf("the connection is not cut off: %v, %q", err, b)
	}
}

func TestServer_LongHeadersAreRefused(t *testing.T) {
	addr := serving(t, start(t), nil)
	for size, want := range map[int]int{8 << 10: 200, 24 << 10: 431} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: %s\r\n\r\n", strings.Repeat("x", size))
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != want {
			t.Errorf("%d bytes of headers: %v, %v", size, res, err)
		}
		c.Close()
	}
}

func TestServer_WorkMayTakeLongerThanReadingAndWriting(t *testing.T) {
	t.Parallel() // it mostly waits
	h := start(t)
	slow := make(chan struct{})
	h.exchange.CandlesFunc = slowly(h, slow)
	addr := serving(t, h, func(s *http.Server) { s.ReadTimeout, s.WriteTimeout = time.Second, time.Second })
	go func() { time.Sleep(1500 * time.Millisecond); close(slow) }()
	for _, req := range []string{
		"POST /analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n{\"symbol\":\"BTCUSDT\"}",
		"GET /klines/ETHUSDT HTTP/1.1\r\nHost: localhost\r\n\r\n",
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, req)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != 200 {
			t.Errorf("%.20s: %v, %v", req, res, err)
		}
		c.Close()
	}
}

func TestServer_SlowBodiesAreCutOffAndHoldNoSlot(t *testing.T) {
	t.Parallel() // it mostly waits
	h := start(t, func(_ *Config, s *service.Config) { s.Concurrency = 1 })
	h.api.uploadTimeout = 500 * time.Millisecond
	addr := serving(t, h, func(s *http.Server) { s.ReadTimeout = 500 * time.Millisecond })
	for _, r := range []struct {
		request, sent string
		status        int
		says          string
	}{
		{"POST /analyze", `{"symbol":`, 400, "in time"},
		{"POST /analyze", klinesBody(2000, true)[:50_000], 400, "in time"},
		{"POST /analyze", `{"interval":"1h","klines":[5` + strings.Repeat(" ", 20<<10), 400, "kline 0"},
		// net/http reads what is left of a body before it answers
		{"POST /analyze?x=1", "", 400, "unknown parameter"},
		{"GET /symbols", "", 200, "BTCUSDT"},
		{"GET /levels?format=csv", "", 200, "symbol,"},
		{"GET /klines/BTCUSDT", "", 200, "BTCUSDT"},
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n%s", r.request, r.sent)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := readAll(res); res.StatusCode != r.status || !strings.Contains(body, r.says) {
			t.Errorf("%s: %d %s", r.request, res.StatusCode, body)
		}
		c.Close()
	}
	want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`), 200)
}

// A database whose calls do not even end with their context: every probe is
// answered, and there is one call under way and not one for each probe.
func TestReady_AnswersWhateverTheDatabaseDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		release := make(chan struct{})
		var calls atomic.Int64
		h.store.PingFunc = func(context.Context) error {
			calls.Add(1)
			<-release
			return nil
		}
		for range 5 {
			asked := time.Now()
			rec := h.get("/readyz")
			want(t, rec, 503)
			if took := time.Since(asked); took >= 2*time.Second {
				t.Errorf("answered after %v", took)
			}
			if p := problemOf(t, rec); p.Detail != "the database does not answer" {
				t.Errorf("%+v", p)
			}
		}
		if n := calls.Load(); n != 1 {
			t.Errorf("%d calls under way, want 1", n)
		}
		close(release)
		synctest.Wait()
		want(t, h.get("/readyz"), 200)
	})
}

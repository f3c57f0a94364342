// Pins the door: there are never more connections than may be, who is without a
// request makes way, who has one is not cut off, and probes are answered when all
// connections are in use. Nor do slow readers hold more replies than there is memory
// for.
package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"tidemark/service"
)

// guarded serves h behind a door and returns the address.
func guarded(t *testing.T, h *harness, limit int) string {
	t.Helper()
	return guardedListener(t, h, limit, func(l net.Listener) net.Listener { return l })
}

// guardedListener has more done to the listener behind the door.
func guardedListener(t *testing.T, h *harness, limit int, more func(net.Listener) net.Listener) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Server(h.api)
	s.RegisterOnShutdown(h.api.Close)
	door := NewDoor(limit, 0, h.registry)
	done := make(chan struct{})
	go func() { s.Serve(door.Guard(s, more(l))); close(done) }()
	t.Cleanup(func() { h.api.Close(); s.Close(); <-done })
	return l.Addr().String()
}

// dialer is a client with one connection.
type dialer struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *dialer {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return &dialer{c, bufio.NewReader(c)}
}

// ask returns the status of a reply, 0 if the connection is closed.
func (d *dialer) ask(path string) int {
	fmt.Fprintf(d, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
	res, err := http.ReadResponse(d.r, nil)
	if err != nil {
		return 0
	}
	io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

func TestDoor_WhoIsWithoutARequestMakesWay(t *testing.T) {
	h := start(t)
	addr := guarded(t, h, 8)
	var all []*dialer
	for i := range 300 {
		d := dial(t, addr)
		all = append(all, d)
		switch i % 3 { // 2: it never says anything
		case 0:
			if status := d.ask("/healthz"); status != 200 {
				t.Fatalf("connection %d: %d", i, status)
			}
		case 1:
			io.WriteString(d, "GET /healthz HTTP/1.1\r\nX-Half")
		}
		if open := metric(t, h, "tidemark_http_connections"); open > 8+doorReserve {
			t.Fatalf("%v connections are open", open)
		}
	}
	if status := all[0].ask("/healthz"); status != 0 {
		t.Errorf("the first connection is still there: %d", status)
	}
	if status := all[299].ask("/healthz"); status != 200 {
		t.Errorf("the last one is not: %d", status)
	}
	if n := metric(t, h, "tidemark_http_connections_refused_total"); n < 270 {
		t.Errorf("%v were counted", n)
	}
}

func TestDoor_ProbesAreAnsweredWhenAllHaveRequests(t *testing.T) {
	h := start(t, func(_ *Config, s *service.Config) { s.QueueLimit = 100 })
	release := make(chan struct{})
	h.exchange.CandlesFunc = slowly(h, release)
	addr := guarded(t, h, 4)
	answers := make(chan int, 4)
	for i := range 4 {
		d := dial(t, addr)
		go func() { answers <- d.ask(fmt.Sprintf("/klines/BTCUSDT?limit=%d", 100+i)) }()
	}
	for metric(t, h, "tidemark_http_requests_in_flight") < 4 {
		time.Sleep(time.Millisecond)
	}
	idle := dial(t, addr)
	for _, path := range []string{"/healthz", "/readyz", "/healthz"} {
		if status := idle.ask(path); status != 200 {
			t.Errorf("%s: %d", path, status)
		}
	}
	for range 3 * doorReserve {
		d := dial(t, addr)
		// a body that never comes must not keep the place of a probe
		io.WriteString(d, "POST /analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n")
		if res, err := http.ReadResponse(d.r, nil); err == nil && (res.StatusCode != 503 || res.Header.Get("Retry-After") == "") {
			t.Errorf("a request that is not a probe: %d %v", res.StatusCode, res.Header)
		}
	}
	if status := dial(t, addr).ask("/levels/BTCUSDT"); status != 503 {
		t.Errorf("a reading request: %d", status)
	}
	if status := dial(t, addr).ask("/healthz"); status != 200 {
		t.Errorf("a probe in between: %d", status)
	}
	close(release)
	for range 4 {
		if status := <-answers; status != 200 {
			t.Errorf("one of those that were there: %d", status)
		}
	}
	for metric(t, h, "tidemark_http_connections") >= 4+doorReserve {
		time.Sleep(time.Millisecond)
	}
	// who has no key and keeps to no rate must not fill the disk with the log
	if log := h.log.String(); strings.Contains(log, "level=WARN") {
		t.Errorf("those refused at the door are in the log:\n%s", log)
	}
}

// What waits for the exchange has nothing to send yet.
func TestKlines_HoldNoReplyWhileTheExchangeIsSlow(t *testing.T) {
	h := start(t, func(c *Config, _ *service.Config) { c.ReplyBytes = ScreenBytes + 100<<10 })
	release := make(chan struct{})
	h.exchange.CandlesFunc = slowly(h, release)
	addr := serving(t, h, nil)
	answer := make(chan int, 1)
	d := dial(t, addr)
	go func() { answer <- d.ask("/klines/BTCUSDT?limit=5000") }()
	for metric(t, h, "tidemark_http_requests_in_flight") < 1 {
		time.Sleep(time.Millisecond)
	}
	if status := dial(t, addr).ask("/levels"); status != 200 {
		t.Errorf("stored levels: %d", status)
	}
	close(release)
	if status := <-answer; status != 200 {
		t.Errorf("klines: %d", status)
	}
}

func TestScreen_SlowReadersHoldNoMoreThanThereIs(t *testing.T) {
	h := start(t, func(c *Config, _ *service.Config) { c.ReplyBytes = 2 * streamBytes })
	for i := range 4000 { // more than what the kernel keeps of a reply
		s := snapshot(fmt.Sprintf("P%dUSDT", i), time.Now())
		h.store.snaps[s.Key] = []service.Snapshot{s}
	}
	addr := serving(t, h, nil)
	for range 30 {
		c := dial(t, addr)
		c.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		io.WriteString(c, "GET /levels?format=ndjson HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	for metric(t, h, "tidemark_http_held_refused_total") < 28 {
		time.Sleep(5 * time.Millisecond)
	}
	if held := h.api.replies.inUse(); held > 2*streamBytes {
		t.Errorf("%d bytes are held", held)
	}
	res, err := http.Get("http://" + addr + "/levels?limit=1")
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := readAll(res); res.StatusCode != 503 || res.Header.Get("Retry-After") != "2" || !strings.Contains(body, `"busy"`) {
		t.Errorf("one more: %d %s", res.StatusCode, body)
	}
}

// writes counts what is written to the connections of a listener.
type writes struct {
	net.Listener
	sizes chan int
}

func (l *writes) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &writesConn{c, l.sizes}, err
}

type writesConn struct {
	net.Conn
	sizes chan int
}

func (c *writesConn) Write(p []byte) (int, error) {
	c.sizes <- len(p)
	return c.Conn.Write(p)
}

// The connection writes headers itself that net/http would be slow with. What a client
// sees is the same, whatever comes before and after on the same connection.
var seconds = regexp.MustCompile(`max-age=[1-9][0-9]*`)

func TestDoor_ACachedReplyHasTheHeadersOfTheHandler(t *testing.T) {
	h := start(t)
	want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`), 200)
	tiny := snapshot("TINYUSDT", time.Now().UTC().Truncate(time.Hour))
	tiny.Supports, tiny.Resistances = nil, nil
	store(h, tiny)
	addr := guarded(t, h, 8)
	tag := h.get("/levels/BTCUSDT").Header().Get("ETag")
	d := dial(t, addr)
	for _, c := range []struct {
		method, path string
		header       []string
		status       int
	}{
		{"GET", "/levels/BTCUSDT", nil, 200},
		{"GET", "/levels/BTCUSDT", []string{"If-None-Match", tag}, 304},
		{"GET", "/levels/BTCUSDT?interval=17m", nil, 400},
		{"HEAD", "/levels/BTCUSDT", nil, 200},
		{"HEAD", "/levels/BTCUSDT", []string{"If-None-Match", tag}, 304},
		{"GET", "/levels/NONEUSDT", nil, 404},
		{"GET", "/levels/TINYUSDT", nil, 200},
		{"GET", "/levels/TINYUSDT?format=ndjson", nil, 200}, // without levels: no rows
		{"GET", "/levels/BTCUSDT?format=csv", nil, 200},
		{"GET", "/levels/BTCUSDT", []string{"X-Request-Id", "mine"}, 200},
		{"GET", "/healthz", nil, 200},
		{"GET", "/levels/BTCUSDT", []string{"Connection", "close"}, 200},
	} {
		direct := h.do(c.method, c.path, "", c.header...)
		fmt.Fprintf(d, "%s %s HTTP/1.1\r\nHost: localhost\r\n", c.method, c.path)
		for i := 0; i < len(c.header); i += 2 {
			fmt.Fprintf(d, "%s: %s\r\n", c.header[i], c.header[i+1])
		}
		io.WriteString(d, "\r\n")
		res, err := http.ReadResponse(d.r, &http.Request{Method: c.method})
		if err != nil {
			t.Fatalf("%s %s: %v", c.method, c.path, err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatalf("%s %s: %v", c.method, c.path, err)
		}
		got, handler := res.Header, direct.Header()
		for _, header := range []http.Header{got, handler} { // a second may pass between the two
			if age := header.Get("Cache-Control"); age != "" {
				header.Set("Cache-Control", seconds.ReplaceAllString(age, "max-age=N"))
			}
		}
		if got.Get("Date") == "" || got.Get("X-Request-Id") == "" {
			t.Errorf("%s %s: %v", c.method, c.path, got)
		}
		for _, name := range []string{"Date", "Connection", "Content-Length"} { // net/http's own
			got.Del(name)
			handler.Del(name)
		}
		if len(c.header) == 0 || c.header[0] != "X-Request-Id" {
			got.Del("X-Request-Id")
			handler.Del("X-Request-Id")
		}
		wantBody := direct.Body.String()
		if c.method == "HEAD" {
			wantBody = ""
		}
		if res.StatusCode != c.status || direct.Code != c.status || !reflect.DeepEqual(got, handler) {
			t.Errorf("%s %s %v: %d %v\nthe handler: %d %v", c.method, c.path, c.header, res.StatusCode, got, direct.Code, handler)
		}
		if c.status != 400 && c.status != 404 && string(body) != wantBody { // problems name the request
			t.Errorf("%s %s %v: a body of %d bytes, of the handler %d", c.method, c.path, c.header, len(body), len(wantBody))
		}
	}
	if _, err := d.r.ReadByte(); err != io.EOF {
		t.Errorf("after the last reply: %v", err)
	}
}

// A reply that is longer than net/http's buffer is not sent in two pieces.
func TestDoor_ACachedBodyIsWrittenAsAWhole(t *testing.T) {
	h := start(t)
	want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`), 200)
	body := h.get("/levels/BTCUSDT").Body.Len()
	if body <= 4<<10 {
		t.Fatalf("a body of %d bytes fits the buffer", body)
	}
	sizes := make(chan int, 100)
	addr := guardedListener(t, h, 8, func(l net.Listener) net.Listener { return &writes{l, sizes} })
	d := dial(t, addr)
	for range 3 {
		if status := d.ask("/levels/BTCUSDT"); status != 200 {
			t.Fatal(status)
		}
		// without writev, which is of TCP connections: first the head, then the body
		if head, rest := <-sizes, <-sizes; head > 1<<10 || rest != body || len(sizes) > 0 {
			t.Errorf("pieces of %d, %d and %d more; the body has %d", head, rest, len(sizes), body)
		}
	}
}

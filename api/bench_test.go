// What the service adds to net/http: BenchmarkLevelsCached and
// BenchmarkLevels304 against BenchmarkBareHandler, which writes the same bytes,
// in the process and over a real socket.
package api

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tidemark/service"
)

// discard is a ResponseWriter that keeps nothing.
type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

// cachedReply is an API that has the reply for /levels/BTCUSDT in its cache,
// the reply itself, and a handler that only writes it.
func cachedReply(b *testing.B) (h *harness, reply *httptest.ResponseRecorder, bare http.Handler) {
	h = start(b, quiet, func(c *Config, _ *service.Config) { readPrices(c, 50_000) })
	want(b, h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`), 200)
	reply = h.get("/levels/BTCUSDT?interval=1h")
	want(b, reply, 200)
	body := reply.Body.Bytes()
	return h, reply, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(body)
	})
}

func inProcess(b *testing.B, h http.Handler, headers ...string) {
	r := localRequest("GET", "/levels/BTCUSDT?interval=1h", nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := &discard{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.h)
		h.ServeHTTP(w, r)
	}
}

// overSocket sends one request after the other on one connection, written and
// read by hand so that the client costs next to nothing.
func overSocket(b *testing.B, h http.Handler, headers string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := Server(h)
	go s.Serve(l)
	defer s.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	request := []byte("GET /levels/BTCUSDT?interval=1h HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n")
	in := bufio.NewReaderSize(c, 64<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		length := 0
		for {
			line, err := in.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			if len(line) == 2 {
				break
			}
			if v, is := strings.CutPrefix(string(line), "Content-Length: "); is {
				for _, d := range strings.TrimSpace(v) {
					length = length*10 + int(d-'0')
				}
			}
			if strings.HasPrefix(string(line), "Transfer-Encoding: ") {
				length = -1
			}
		}
		if length < 0 { // chunked
			for {
				line, err := in.ReadSlice('\n')
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				for _, d := range strings.TrimSpace(string(line)) {
					n = n*16 + strings.IndexRune("0123456789abcdef", d)
				}
				in.Discard(n + 2)
				if n == 0 {
					break
				}
			}
		} else if _, err := io.CopyN(io.Discard, in, int64(length)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBareHandler(b *testing.B) {
	_, _, bare := cachedReply(b)
	b.Run("process", func(b *testing.B) { inProcess(b, bare) })
	b.Run("socket", func(b *testing.B) { overSocket(b, bare, "") })
}

func BenchmarkLevelsCached(b *testing.B) {
	h, _, _ := cachedReply(b)
	b.Run("process", func(b *testing.B) { inProcess(b, h.api) })
	b.Run("socket", func(b *testing.B) { overSocket(b, h.api, "") })
}

func BenchmarkLevels304(b *testing.B) {
	h, reply, _ := cachedReply(b)
	tag := reply.Header().Get("ETag")
	b.Run("process", func(b *testing.B) { inProcess(b, h.api, "If-None-Match", tag) })
	b.Run("socket", func(b *testing.B) { overSocket(b, h.api, "If-None-Match: "+tag+"\r\n") })
}

// BenchmarkScreen is one page out of 400 pairs.
func BenchmarkScreen(b *testing.B) {
	h := start(b, quiet)
	market(h, 400)
	want(b, h.get("/levels"), 200)
	inProcessScreen := localRequest("GET", "/levels", nil)
	w := &discard{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.h)
		h.api.ServeHTTP(w, inProcessScreen)
	}
}

// BenchmarkAnalyzeBody decodes 1,000 klines as an exchange writes them.
func BenchmarkAnalyzeBody(b *testing.B) {
	body := klinesBody(1000, true)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeAnalyze(&tokens{r: strings.NewReader(body)}, 10_000); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReplies are replies that are made for each request.
func BenchmarkReplies(b *testing.B) {
	h := start(b, quiet)
	want(b, h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`), 200)
	market(h, 400)
	for _, reply := range [...]struct{ name, path string }{
		{"past", "/levels/BTCUSDT?at=" + time.Now().UTC().Format(time.RFC3339)}, {"rows", "/levels?format=ndjson"}, {"csv", "/levels?format=csv"},
		{"symbols", "/symbols"}, {"klines", "/klines/BTCUSDT?limit=1000"}, {"jobs", "/jobs"},
	} {
		b.Run(reply.name, func(b *testing.B) {
			want(b, h.get(reply.path), 200)
			r := localRequest("GET", reply.path, nil)
			w := &discard{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.h)
				h.api.ServeHTTP(w, r)
			}
		})
	}
}

// BenchmarkIntervals is three cached analyses put together.
func BenchmarkIntervals(b *testing.B) {
	h := start(b, quiet)
	for _, interval := range []string{"1h", "4h", "1d"} {
		want(b, h.do("POST", "/analyze", `{"symbol":"BTCUSDT","interval":"`+interval+`"}`), 200)
	}
	r := localRequest("GET", "/levels/BTCUSDT?interval=1h,4h,1d", nil)
	w := &discard{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.h)
		h.api.ServeHTTP(w, r)
	}
}

package notify

import (
	"encoding/json"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quiet is the log of servers whose failures are wanted.
var quiet = log.New(io.Discard, "", 0)

var (
	noon   = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	sample = Message{
		ID: "evt_9", Type: "level.touched", Title: "BTC/USDT touched 64,000 <1h> & more", Text: "held 7 of 10\nodds *62 %* _now_",
		Link: "https://tidemark.example/levels/BTCUSDT?a=1&b=2", Time: noon,
		Body: []byte(`{"type":"level.touched","timestamp":"2026-11-28T12:00:00Z","data":{"price":64000.5,"id":1732800000000,"symbols":["A","B"]}}`),
	}
)

// local sends to receivers on this machine, at noon.
func local() *Sender {
	return NewSender(Options{AllowPrivate: true, Timeout: 10 * time.Second, Now: func() time.Time { return noon }})
}

func parsed(t testing.TB, kind string, members map[string]any) Receiver {
	t.Helper()
	config, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Parse(kind, config)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// with returns members with others in their place.
func with(members map[string]any, others map[string]any) map[string]any {
	all := maps.Clone(members)
	maps.Copy(all, others)
	return all
}

// received is a request that a receiver got.
type received struct {
	method, path string // as on the wire
	header       http.Header
	body         []byte
}

// receiver is an HTTP server that records requests and answers as told.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	requests []received
}

func serve(t testing.TB, answer http.HandlerFunc) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		r.mu.Lock()
		r.requests = append(r.requests, received{q.Method, q.RequestURI, q.Header, body})
		r.mu.Unlock()
		if answer != nil {
			answer(w, q)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// last returns the last request of at least one.
func (r *receiver) last(t testing.TB) received {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.requests) == 0 {
		t.Fatal("no request")
	}
	return r.requests[len(r.requests)-1]
}

func (r *receiver) count() int { r.mu.Lock(); defer r.mu.Unlock(); return len(r.requests) }

func answer(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func prefix(t testing.TB, text string) netip.Prefix {
	t.Helper()
	p, err := netip.ParsePrefix(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const (
	secretA = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	secretB = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	botKey  = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
	hookKey = "aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789_-aBcDeFgHiJkLmNoPqRsTuVwXyZ"
)

// valid are configurations of every kind; URLs lead to base.
func valid(base string) map[string]map[string]any {
	return map[string]map[string]any{
		"webhook":  {"url": base + "/hooks/9f8e7d6c5b4a3210", "secret": secretA, "headers": map[string]string{"Authorization": "Bearer abcdefghijkl"}},
		"telegram": {"token": botKey, "chat": "-1001234567890", "server": base},
		"discord":  {"url": base + "/api/webhooks/123456789012345678/" + hookKey},
		"slack":    {"url": base + "/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"},
		"ntfy":     {"server": base, "topic": "tide_9f8e7d6c", "token": "tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2"},
		"matrix":   {"server": base, "room": "!abc/d:example.org", "token": "syt_dGlkZQ_abcdefghijklmnop"},
		"email":    {"server": base[strings.LastIndex(base, "/")+1:], "user": "u@example.com", "password": "hunter2-hunter2", "from": "Tide <tide@example.com>", "to": "you@example.org"},
	}
}

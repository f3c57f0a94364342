// Pins the client that asks as fast as it is answered, and the handler the service is
// compared with: the client counts whole replies of the right status only, and the handler
// sends the bytes of the service.
package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestReplyLength_IsKnownOnceTheHeadIsThere(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nDate: today\r\nContent-Length: 12\r\n\r\n"
	for _, c := range []struct {
		reply  string
		status int
		want   int
		fails  bool
	}{
		{"", 200, -1, false},
		{head[:len(head)-1], 200, -1, false},
		{head, 200, len(head) + 12, false},
		{head + "twelve", 200, len(head) + 12, false},
		{head, 304, 0, true},
		{"HTTP/1.1 304 Not Modified\r\nDate: today\r\n\r\n", 304, 42, false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, 0, true},
		{"junk\r\n\r\n", 200, 0, true},
	} {
		got, err := replyLength([]byte(c.reply), c.status)
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%q, %d: %d, %v", c.reply, c.status, got, err)
		}
	}
}

func TestLoad_CountsTheRepliesOfBare(t *testing.T) {
	was := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(was) })
	percent := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(percent) })

	body := strings.Repeat("0123456789", 1000) // several reads
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/reply" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Etag", `"tag"`)
		io.WriteString(w, body)
	}))
	defer origin.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := Bare(ctx, origin.URL+"/none", io.Discard); err == nil {
		t.Error("a reply of 404 was copied")
	}
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- Bare(ctx, origin.URL+"/reply", in) }()
	var told struct{ Address string }
	if err := json.NewDecoder(out).Decode(&told); err != nil {
		t.Fatal(err)
	}
	url := "http://" + told.Address + "/reply"
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || string(got) != body || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%d bytes, %v, %v", len(got), err, res.Header)
	}
	for _, c := range []struct {
		tag    string
		status int
		fails  bool
	}{{"", 200, false}, {`"tag"`, 304, false}, {`"tag"`, 200, true}} {
		var printed bytes.Buffer
		err := Load(ctx, LoadOptions{URL: url, IfNoneMatch: c.tag, Status: c.status, Connections: 3, Time: 50 * time.Millisecond}, &printed)
		var r loadResult
		if (err != nil) != c.fails || err == nil && (json.Unmarshal(printed.Bytes(), &r) != nil || r.Requests < 3 || r.Seconds <= 0) {
			t.Errorf("%+v: %v: %s", c, err, printed.String())
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestLoad_CountsNothingTwice(t *testing.T) {
	was := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(was) })
	var answered atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answered.Add(1)
		io.WriteString(w, "short")
	}))
	defer s.Close()
	var printed bytes.Buffer
	if err := Load(t.Context(), LoadOptions{URL: s.URL, Status: 200, Connections: 2, Time: 20 * time.Millisecond}, &printed); err != nil {
		t.Fatal(err)
	}
	var r loadResult
	if err := json.Unmarshal(printed.Bytes(), &r); err != nil || int64(r.Requests) != answered.Load() {
		t.Errorf("%s, %v; %d were answered", printed.String(), err, answered.Load())
	}
}

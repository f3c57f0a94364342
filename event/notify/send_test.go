package notify

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestSend_TheAnswerDecidesTheOutcome(t *testing.T) {
	elsewhere := serve(t, nil)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   Result
	}{
		"200":      {answer(200, "ok"), Result{Outcome: Delivered}},
		"204":      {answer(204, ""), Result{Outcome: Delivered}},
		"301":      {answer(301, "", "Location", elsewhere.URL), Result{Outcome: Refused, Error: "301 Moved Permanently: redirects are not followed"}},
		"307":      {answer(307, "", "Location", elsewhere.URL), Result{Outcome: Refused, Error: "redirects"}},
		"304":      {answer(304, ""), Result{Outcome: Refused, Error: "304"}},
		"410":      {answer(410, "bye", "Retry-After", "5"), Result{Outcome: Gone, Error: "410 Gone: bye"}},
		"404":      {answer(404, "no such hook"), Result{Outcome: Retry, Error: "the receiver answered 404 Not Found: no such hook"}},
		"500":      {answer(500, "<html>\n"), Result{Outcome: Retry, Error: "500 Internal Server Error"}},
		"418":      {answer(418, "a\nb\x00\xffc"), Result{Outcome: Retry, Error: ": a bc"}},
		"599":      {answer(599, ""), Result{Outcome: Retry, Error: "the receiver answered 599"}},
		"429":      {answer(429, "", "Retry-After", "120"), Result{Outcome: Retry, RetryAfter: 2 * time.Minute, Error: "429"}},
		"429 date": {answer(429, "", "Retry-After", noon.Add(90*time.Second).Format(http.TimeFormat)), Result{Outcome: Retry, RetryAfter: 90 * time.Second, Error: "429"}},
		"503":      {answer(503, "", "Retry-After", "7"), Result{Outcome: Retry, RetryAfter: 7 * time.Second, Error: "503"}},
		"503 past": {answer(503, "", "Retry-After", noon.Add(-time.Hour).Format(http.TimeFormat)), Result{Outcome: Retry, Error: "503"}},
		"503 much": {answer(503, "", "Retry-After", "99999999999999999999"), Result{Outcome: Retry, RetryAfter: maxRetryAfter, Error: "503"}},
		"503 text": {answer(503, "", "Retry-After", "soon"), Result{Outcome: Retry, Error: "503"}},
		"503 -1":   {answer(503, "", "Retry-After", "-1"), Result{Outcome: Retry, Error: "503"}},
		"503 NaN":  {answer(503, "", "Retry-After", "NaN"), Result{Outcome: Retry, Error: "503"}},
		"secrets":  {answer(500, "path /hooks/9f8e7d6c5b4a3210 secret "+secretA+" and abcdefghijkl"), Result{Outcome: Retry, Error: "path [secret] secret [secret] and [secret]"}},
		"cut":      {answer(500, strings.Repeat("x", maxResponse-12)+" "+secretA), Result{Outcome: Retry, Error: "xxx…"}},
	} {
		server := serve(t, c.answer)
		got := local().Send(t.Context(), parsed(t, "webhook", valid(server.URL)["webhook"]), sample)
		if got.Outcome != c.want.Outcome || got.RetryAfter != c.want.RetryAfter || !strings.HasSuffix(strings.TrimSuffix(got.Error, " "), c.want.Error) && !strings.Contains(got.Error, c.want.Error) || c.want.Error == "" && got.Error != "" || got.Status == 0 || got.Latency <= 0 {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		if server.count() != 1 {
			t.Errorf("%s: %d requests", name, server.count())
		}
	}
	if elsewhere.count() != 0 {
		t.Error("a redirect was followed")
	}
}

// raw is a server that answers with what is written to the connection.
func raw(t *testing.T, serve func(c net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return "http://" + l.Addr().String()
}

// request reads a whole request.
func readRequest(c net.Conn) {
	q, err := http.ReadRequest(bufio.NewReader(c))
	if err == nil {
		io.Copy(io.Discard, q.Body)
	}
}

func TestSend_HostileReceivers(t *testing.T) {
	var written atomic.Int64
	flood := func(c net.Conn, text string) {
		for range 20 << 20 / len(text) {
			n, err := io.WriteString(c, text)
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	}
	kilobyte := strings.Repeat("x", 1<<10)
	wait := func(c net.Conn) { io.Copy(io.Discard, c) }
	for name, c := range map[string]struct {
		serve func(c net.Conn)
		short bool // the timeout ends it
		want  Result
	}{
		"20 MB, accepted": {func(c net.Conn) {
			readRequest(c)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
			flood(c, kilobyte)
		}, false, Result{Outcome: Delivered, Status: 200}},
		"20 MB, failed": {func(c net.Conn) {
			readRequest(c)
			io.WriteString(c, "HTTP/1.1 500 X\r\n\r\n")
			flood(c, kilobyte)
		}, false, Result{Outcome: Retry, Status: 500, Error: "xxx…"}},
		"endless headers": {func(c net.Conn) {
			readRequest(c)
			io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			flood(c, "A: "+kilobyte+"\r\n")
		}, false, Result{Outcome: Retry, Error: "too long"}},
		"endless line":           {func(c net.Conn) { readRequest(c); flood(c, kilobyte) }, false, Result{Outcome: Retry, Error: "too long"}},
		"only 100s":              {func(c net.Conn) { readRequest(c); flood(c, "HTTP/1.1 100 Continue\r\n\r\n") }, false, Result{Outcome: Retry, Error: "informational"}},
		"100, then 200":          {func(c net.Conn) { readRequest(c); io.WriteString(c, "HTTP/1.1 100 X\r\n\r\nHTTP/1.1 200 OK\r\n\r\n") }, false, Result{Outcome: Delivered, Status: 200}},
		"garbage":                {func(c net.Conn) { readRequest(c); io.WriteString(c, "\x16\x03\x01\x00\xff garbage\r\n\r\n") }, false, Result{Outcome: Retry, Error: "malformed"}},
		"closes":                 {func(c net.Conn) {}, false, Result{Outcome: Retry, Error: "without a response"}},
		"never answers":          {wait, true, Result{Outcome: Retry, Error: "no response in time"}},
		"answers, reads nothing": {func(c net.Conn) { io.WriteString(c, "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"); wait(c) }, false, Result{Outcome: Gone, Status: 410}},
		"half a header":          {func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200"); wait(c) }, true, Result{Outcome: Retry, Error: "no response in time"}},
		"half a body": {func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 500 X\r\nContent-Length: 9\r\n\r\nabc")
			wait(c)
		}, false, Result{Outcome: Retry, Status: 500, Error: ": abc"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := raw(t, c.serve)
			s := local()
			if name == "half a body" {
				s.options.body = 50 * time.Millisecond
			}
			if c.short {
				s.options.Timeout = 50 * time.Millisecond
			}
			got := s.Send(t.Context(), parsed(t, "webhook", valid(url)["webhook"]), sample)
			if got.Outcome != c.want.Outcome || got.Status != c.want.Status || !strings.Contains(got.Error, c.want.Error) {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
	t.Cleanup(func() {
		if n := written.Load(); n > 32<<20 { // what the system's buffers take, of 100 MB
			t.Errorf("%d bytes were taken from floods", n)
		}
	})
}

func TestSend_EndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	url := raw(t, func(c net.Conn) { readRequest(c); cancel(); io.Copy(io.Discard, c) })
	got := local().Send(ctx, parsed(t, "webhook", valid(url)["webhook"]), sample)
	if got.Outcome != Retry || got.Error != "the attempt was cancelled" {
		t.Errorf("%+v", got)
	}
}

func TestSend_TLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.ProtoMajor != 1 {
			t.Errorf("protocol %s", q.Proto)
		}
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = quiet
	server.StartTLS()
	defer server.Close()
	r := parsed(t, "webhook", valid(server.URL)["webhook"])
	if got := local().Send(t.Context(), r, sample); got.Outcome != Retry || !strings.Contains(got.Error, "the certificate is not valid") {
		t.Errorf("a certificate of nobody: %+v", got)
	}
	s := local()
	s.options.roots = x509.NewCertPool()
	s.options.roots.AddCert(server.Certificate())
	if got := s.Send(t.Context(), r, sample); got.Outcome != Delivered {
		t.Errorf("%+v", got)
	}
}

func TestSend_IgnoresProxiesOfTheEnvironment(t *testing.T) {
	proxy, server := serve(t, nil), serve(t, nil)
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	if got := local().Send(t.Context(), parsed(t, "slack", valid(server.URL)["slack"]), sample); got.Outcome != Delivered || proxy.count() != 0 {
		t.Errorf("%+v, %d requests at the proxy", got, proxy.count())
	}
}

func TestAddresses(t *testing.T) {
	public := NewSender(Options{})
	home := NewSender(Options{AllowPrivate: true})
	listed := NewSender(Options{Allow: []netip.Prefix{prefix(t, "192.168.7.0/24"), prefix(t, "169.254.169.254/32"), prefix(t, "64:ff9b::/96")}})
	for text, want := range map[string]string{ // which of the three allow it
		"93.184.216.34": "phl", "2606:2800:220:1:248:1893:25c8:1946": "phl", "::ffff:93.184.216.34": "phl", "172.32.0.1": "phl", "100.128.0.1": "phl",
		"127.0.0.1": "h", "127.255.0.1": "h", "::1": "h", "10.0.0.1": "h", "172.16.0.1": "h", "172.31.255.255": "h", "192.168.1.1": "h", "100.64.0.1": "h", "100.127.255.255": "h", "fc00::1": "h", "fd00:ec2::254": "h",
		"::ffff:127.0.0.1": "h", "::ffff:10.0.0.1": "h", "192.168.7.9": "hl", "::ffff:192.168.7.9": "hl",
		"169.254.169.254": "l", "::ffff:169.254.169.254": "l", "169.254.0.1": "", "fe80::1": "", "fe80::1%eth0": "", "168.63.129.16": "",
		"0.0.0.0": "", "0.1.2.3": "", "::": "", "224.0.0.1": "", "239.255.255.250": "", "255.255.255.255": "", "240.0.0.1": "", "ff02::1": "",
		"192.0.0.192": "", "192.0.2.1": "", "198.51.100.1": "", "203.0.113.1": "", "198.18.0.1": "", "198.19.255.255": "", "192.88.99.1": "", "2001:db8::1": "", "3fff::1": "",
		"64:ff9b::a00:1": "l", "64:ff9b:1::a00:1": "", "2002:a00:1::": "", "2001::1": "", "2001:2::1": "", "::10.0.0.1": "", "fec0::1": "", "::ffff:0:10.0.0.1": "", "5f00::1": "", "100::1": "",
	} {
		got := ""
		for n, s := range []*Sender{public, home, listed} {
			if err := s.control("tcp", net.JoinHostPort(text, "80"), nil); err == nil {
				got += "phl"[n : n+1]
			} else if !strings.Contains(err.Error(), "refused address: ") {
				t.Errorf("%s: %v", text, err)
			}
		}
		if got != want {
			t.Errorf("%s is allowed by %q, want %q", text, got, want)
		}
	}
}

func TestSend_RefusesPrivateAddressesWhenItDials(t *testing.T) {
	server := serve(t, nil)
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]", "169.254.169.254", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "10.0.0.1"} {
		base := "http://" + host + ":" + port
		for kind, members := range valid(base) {
			if kind == "email" && host == "localhost" {
				members["server"] = "localhost:" + port
			}
			got := NewSender(Options{}).Send(t.Context(), parsed(t, kind, members), sample)
			if got.Outcome != Refused || got.Status != 0 || !strings.Contains(got.Error, "refused address: ") {
				t.Errorf("%s at %s: %+v", kind, host, got)
			}
		}
	}
	if server.count() != 0 {
		t.Error("a refused receiver was reached")
	}
}

// A name that is public when it is checked and private when it is dialled.
func TestSend_ChecksTheAddressThatIsDialled(t *testing.T) {
	server := serve(t, nil)
	var asked atomic.Int64
	resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			for answerDNS(there, func() string {
				if asked.Add(1) == 1 {
					return "93.184.216.34"
				}
				return "127.0.0.1"
			}) {
			}
		}()
		return here, nil
	}}
	addresses, err := resolver.LookupNetIP(t.Context(), "ip4", "receiver.example.")
	if s := NewSender(Options{}); err != nil || len(addresses) != 1 || s.permit(addresses[0]) != nil {
		t.Fatalf("the first lookup: %v, %v", addresses, err)
	}
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	r := parsed(t, "webhook", valid("http://receiver.example.:" + port)["webhook"])
	s := NewSender(Options{resolver: resolver})
	if got := s.Send(t.Context(), r, sample); got.Outcome != Refused || got.Error != "refused address: 127.0.0.1 is private" || server.count() != 0 {
		t.Errorf("%+v, %d requests", got, server.count())
	}
	s = NewSender(Options{resolver: resolver, AllowPrivate: true})
	if got := s.Send(t.Context(), r, sample); got.Outcome != Delivered {
		t.Errorf("the resolver of the test does not work: %+v", got)
	}
}

// answerDNS answers one question for an IPv4 address, over TCP (RFC 1035); others have
// no answer.
func answerDNS(c net.Conn, address func() string) bool {
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return false
	}
	q := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, q); err != nil {
		return false
	}
	end := 12
	for q[end] != 0 {
		end += int(q[end]) + 1
	}
	kind := binary.BigEndian.Uint16(q[end+1:])
	a := append([]byte{q[0], q[1], 0x84, 0, 0, 1, 0, 0, 0, 0, 0, 0}, q[12:end+5]...)
	if kind == 1 {
		a[7] = 1
		a = append(a, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		a = append(a, netip.MustParseAddr(address()).AsSlice()...)
	}
	_, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...))
	return err == nil
}

func TestSend_SaysWhatFailed(t *testing.T) {
	nowhere := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, fmt.Errorf("no network") }}
	s := NewSender(Options{resolver: nowhere})
	if got := s.Send(t.Context(), parsed(t, "slack", valid("https://receiver.example.")["slack"]), sample); got.Outcome != Retry || got.Error != "the host receiver.example. cannot be resolved" {
		t.Errorf("%+v", got)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if got := local().Send(t.Context(), parsed(t, "slack", valid("http://" + l.Addr().String())["slack"]), sample); got.Outcome != Retry || !strings.Contains(got.Error, "connection refused") {
		t.Errorf("%+v", got)
	}
}

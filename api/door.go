package api

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// ConnectionBytes is what a connection takes in this process: the goroutine that
// serves it with its stack, buffers of 4 KiB to read and to write, and its request.
// Measured, see docs/memory.md.
const ConnectionBytes = 20 << 10

// doorReserve is how many connections more there may be for probes.
const doorReserve = 16

// Door bounds the connections of a server. When there are as many as may be, the one
// that has been without a request the longest makes way for a new one. When all have
// requests, a few more are accepted for health probes, and the
// others of those few are told to come again; beyond, connections are closed.
type Door struct {
	limit int
	// sendBuffer, if positive, bounds what the kernel keeps of a reply that is not read.
	sendBuffer int

	mu    sync.Mutex
	open  int
	quiet doorConn // ring of those without a request: quiet.next is the longest so

	changed chan struct{} // gets a token when a connection has ended or its request has

	refused *prometheus.CounterVec
}

// NewDoor returns a Door for limit connections and a few of reserve, and registers its
// metrics.
func NewDoor(limit, sendBuffer int, reg prometheus.Registerer) *Door {
	d := &Door{limit: limit, sendBuffer: sendBuffer, changed: make(chan struct{}, 1)}
	d.quiet.next, d.quiet.previous = &d.quiet, &d.quiet
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tidemark_http_connections", Help: "Connections of clients that are open.",
	}, func() float64 { d.mu.Lock(); defer d.mu.Unlock(); return float64(d.open) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tidemark_http_connections_limit", Help: "Connections of clients there may be, besides a few kept for probes.",
	}, func() float64 { return float64(limit) })
	d.refused = f.NewCounterVec(prometheus.CounterOpts{
		Name: "tidemark_http_connections_refused_total",
		Help: "Connections given up because there were as many as may be, by what became of them: idle, closed while it had no request; busy, told by 503 to come again; closed, closed unheard.",
	}, []string{"reason"})
	for _, reason := range []string{"idle", "busy", "closed"} {
		d.refused.WithLabelValues(reason)
	}
	return d
}

// Guard has server, which is not serving yet, keep to the bound, and returns the
// listener it is to serve.
func (d *Door) Guard(server *http.Server, l net.Listener) net.Listener {
	next := server.Handler
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Context().Value(doorKey{}).(*doorConn)
		if c == nil {
			next.ServeHTTP(w, r)
			return
		}
		if !d.busy(c) || d.probe(r) {
			next.ServeHTTP(w, r)
			return
		}
		d.refused.WithLabelValues("busy").Inc()
		w.Header().Set("Connection", "close")
		// What is left of a body is read for a moment only, lest the reply be lost, and
		// no longer than nobody else wants the place.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		r.Body = http.NoBody
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), refusedKey{}, true)))
		d.rest(c)
	})
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, doorKey{}, c)
	}
	server.ConnState = func(nc net.Conn, state http.ConnState) {
		c, ok := nc.(*doorConn)
		if !ok {
			return
		}
		switch state {
		case http.StateIdle:
			d.rest(c)
		case http.StateClosed, http.StateHijacked:
			d.gone(c)
		}
	}
	return &doorListener{l, d}
}

type (
	doorKey    struct{} // of the doorConn in a request's context
	refusedKey struct{} // of true in the context of a request that is to be refused
)

// refusedAtDoor reports whether there is no room for the connection of a request.
func refusedAtDoor(ctx context.Context) bool { return ctx.Value(refusedKey{}) != nil }

// probe tells the requests that are answered when all connections are in use. What may
// take its time has half of the reserve.
func (d *Door) probe(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.ContentLength != 0 {
		return false
	}
	switch r.URL.Path {
	case "/healthz":
		return true
	case "/readyz", "/metrics":
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.open <= d.limit+doorReserve/2
	}
	return false
}

// doorConn is a connection of a client.
type doorConn struct {
	net.Conn
	reserve bool // let in beyond the limit
	heard   bool // it has had a request
	counted bool

	next, previous *doorConn // in the ring Door.quiet, nil while it has a request

	began   atomic.Int64 // when it was first read from, in Unix ns
	reading atomic.Bool  // it is being waited for what it sends

	lines   []byte // to be added to the head of a reply, which is written next
	holding bool   // head is to be sent with what is written after it
	head    []byte
	parts   [2][]byte
	both    net.Buffers
}

func (c *doorConn) Read(p []byte) (int, error) {
	if c.began.Load() == 0 {
		c.began.Store(time.Now().UnixNano())
	}
	c.reading.Store(true)
	n, err := c.Conn.Read(p)
	c.reading.Store(false)
	return n, err
}

// addLines has lines, each with its end, stand in the head of the reply that is written
// next. If hold is set, that head waits for the body, which must follow, and leaves in
// one system call with it.
func (c *doorConn) addLines(lines []byte, hold bool) { c.lines, c.holding = lines, hold }

// Write writes to the client. What is written next after addLines begins with the status
// line of a reply.
func (c *doorConn) Write(p []byte) (int, error) {
	if len(c.lines) > 0 {
		i := bytes.IndexByte(p, '\n') + 1
		c.head = append(append(append(c.head[:0], p[:i]...), c.lines...), p[i:]...)
		c.lines = c.lines[:0]
		if c.holding {
			return len(p), nil
		}
		_, err := c.Conn.Write(c.head)
		return len(p), err
	}
	if !c.holding {
		return c.Conn.Write(p)
	}
	c.holding = false
	c.parts = [2][]byte{c.head, p}
	c.both = c.parts[:]
	n, err := c.both.WriteTo(c.Conn)
	c.parts, c.both = [2][]byte{}, nil
	return max(0, int(n)-len(c.head)), err
}

// join puts c at the end of a ring.
func (c *doorConn) join(ring *doorConn) {
	c.next, c.previous = ring, ring.previous
	c.next.previous, c.previous.next = c, c
}

// leave takes c out of the ring it is in, if it is.
func (c *doorConn) leave() {
	if c.next != nil {
		c.next.previous, c.previous.next = c.previous, c.next
		c.next, c.previous = nil, nil
	}
}

// busy notes that c has a request, and reports whether there is no room for it.
func (d *Door) busy(c *doorConn) (beyond bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.leave()
	c.reserve = c.reserve && d.open > d.limit
	return c.reserve
}

// rest notes that c has no request any more.
func (d *Door) rest(c *doorConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.heard = true; c.counted && c.next == nil {
		c.join(&d.quiet)
	}
	d.tell()
}

// gone notes that c is closed, and nothing of it left.
func (d *Door) gone(c *doorConn) {
	d.busy(c)
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.counted {
		c.counted = false
		d.open--
	}
	d.tell()
}

func (d *Door) tell() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// doorPatience is how long a new connection is listened to for its first request when
// others want its place, and how long one more waits for another to end.
const doorPatience = 20 * time.Millisecond

// admit counts a new connection in, if need be in the place of one without a request.
// It is nil when there is none.
func (d *Door) admit(nc net.Conn) *doorConn {
	c, since := &doorConn{Conn: nc}, time.Now()
	for {
		d.mu.Lock()
		if d.open < d.limit {
			break
		}
		if old := d.idlest(); old != nil {
			old.leave()
			d.mu.Unlock()
			d.refused.WithLabelValues("idle").Inc()
			old.Close()
			d.await(doorPatience, func() bool { return !old.counted })
			continue
		}
		if d.open < d.limit+doorReserve {
			c.reserve = true
			break
		}
		full := d.quiet.next == &d.quiet && time.Since(since) >= doorPatience
		d.mu.Unlock()
		if full {
			d.refused.WithLabelValues("closed").Inc()
			return nil
		}
		d.await(doorPatience, func() bool { return d.open < d.limit+doorReserve || d.idlest() != nil })
	}
	d.open++
	c.counted = true
	c.join(&d.quiet)
	d.mu.Unlock()
	return c
}

// idlest returns the connection that has been without a request the longest, of those
// whose next may be long in coming. A new one is left until it has been listened to
// for a moment in vain. It is called with d.mu held.
func (d *Door) idlest() *doorConn {
	for c := d.quiet.next; c != &d.quiet; c = c.next {
		if began := c.began.Load(); c.heard || c.reading.Load() && time.Now().UnixNano()-began >= int64(doorPatience) {
			return c
		}
	}
	return nil
}

// await waits until what is asked under d.mu is true, but not for long. A connection
// that was closed counts until it holds no memory any more, so that a flood of new ones
// cannot outrun the ends of the old.
func (d *Door) await(patience time.Duration, is func() bool) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		d.mu.Lock()
		done := is()
		d.mu.Unlock()
		if done {
			return
		}
		select {
		case <-d.changed:
		case <-timer.C:
			return
		}
	}
}

type doorListener struct {
	net.Listener
	door *Door
}

// tooMany is what a connection is told that is closed unheard.
var tooMany = []byte(strings.Join([]string{"HTTP/1.1 503 Service Unavailable", "Retry-After: 2", "Connection: close", "Content-Length: 0", "", ""}, "\r\n"))

func (l *doorListener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if t, ok := nc.(*net.TCPConn); ok && l.door.sendBuffer > 0 {
			_ = t.SetWriteBuffer(l.door.sendBuffer)
		}
		if c := l.door.admit(nc); c != nil {
			return c, nil
		}
		_ = nc.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		_, _ = nc.Write(tooMany)
		nc.Close()
	}
}

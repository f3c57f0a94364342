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

// ConnectionBytes is the memory a connection takes: its goroutine and stack, a read and
// a write buffer of 4 KiB each, and its request. Measured, see docs/memory.md.
const ConnectionBytes = 20 << 10

// doorReserve is the number of connections beyond the limit that are kept for probes.
const doorReserve = 16

// Door bounds the connections of a server. At the limit, the connection that has been
// idle the longest is closed to accept a new one. If no connection is idle, the reserve
// is accepted for health probes. Other requests on the reserve are answered with 503.
// Connections beyond the reserve are closed.
type Door struct {
	limit int
	// sendBuffer, if positive, bounds the unread reply bytes that the kernel keeps.
	sendBuffer int

	mu   sync.Mutex
	open int
	idle doorConn // ring of connections without a request; idle.next is idle the longest

	changed chan struct{} // gets a token when a connection or its request has ended

	refused *prometheus.CounterVec
}

// NewDoor returns a Door for limit connections and the reserve. It registers its
// metrics with reg.
func NewDoor(limit, sendBuffer int, reg prometheus.Registerer) *Door {
	d := &Door{limit: limit, sendBuffer: sendBuffer, changed: make(chan struct{}, 1)}
	d.idle.next, d.idle.previous = &d.idle, &d.idle
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

// Guard bounds the connections of server, which must not be serving yet. It returns the
// listener that server must serve.
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
		// The rest of the body is read only briefly: long enough that the client gets
		// the reply, short enough that the place is soon free.
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
	doorKey    struct{} // context key of the request's *doorConn
	refusedKey struct{} // context key, set in a request that must be refused
)

// refusedAtDoor reports whether the connection limit refuses the request of ctx.
func refusedAtDoor(ctx context.Context) bool { return ctx.Value(refusedKey{}) != nil }

// probe reports whether r is answered when all connections are in use. Probes that may
// take time get half of the reserve.
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

// doorConn is a client connection.
type doorConn struct {
	net.Conn
	reserve bool // accepted beyond the limit
	served  bool // it has had a request
	counted bool

	next, previous *doorConn // in the ring Door.idle; nil during a request

	began   atomic.Int64 // time of the first Read, in Unix ns
	reading atomic.Bool  // a Read is in progress

	lines   []byte // header lines to add to the next reply
	holding bool   // head is sent together with the next write
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

// addLines adds lines, each with its line end, to the header of the next reply. If hold
// is set, that header waits for the body, which must follow. Both are then sent in one
// system call.
func (c *doorConn) addLines(lines []byte, hold bool) { c.lines, c.holding = lines, hold }

// Write writes to the client. After addLines, the next write must begin with the status
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

// join puts c at the end of ring.
func (c *doorConn) join(ring *doorConn) {
	c.next, c.previous = ring, ring.previous
	c.next.previous, c.previous.next = c, c
}

// leave removes c from its ring, if it is in one.
func (c *doorConn) leave() {
	if c.next != nil {
		c.next.previous, c.previous.next = c.previous, c.next
		c.next, c.previous = nil, nil
	}
}

// busy marks c as serving a request. It reports whether c is beyond the limit.
func (d *Door) busy(c *doorConn) (beyond bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.leave()
	c.reserve = c.reserve && d.open > d.limit
	return c.reserve
}

// rest marks c as idle.
func (d *Door) rest(c *doorConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.served = true; c.counted && c.next == nil {
		c.join(&d.idle)
	}
	d.notify()
}

// gone marks c as closed, with its memory released.
func (d *Door) gone(c *doorConn) {
	d.busy(c)
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.counted {
		c.counted = false
		d.open--
	}
	d.notify()
}

func (d *Door) notify() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// doorWait is how long a new connection may take to send its first request when
// other clients wait for its place, and how long a new connection waits for another to
// end.
const doorWait = 20 * time.Millisecond

// admit counts a new connection, after closing an idle one if necessary. It returns nil
// if the limit is reached and no connection is idle.
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
			d.await(doorWait, func() bool { return !old.counted })
			continue
		}
		if d.open < d.limit+doorReserve {
			c.reserve = true
			break
		}
		full := d.idle.next == &d.idle && time.Since(since) >= doorWait
		d.mu.Unlock()
		if full {
			d.refused.WithLabelValues("closed").Inc()
			return nil
		}
		d.await(doorWait, func() bool { return d.open < d.limit+doorReserve || d.idlest() != nil })
	}
	d.open++
	c.counted = true
	c.join(&d.idle)
	d.mu.Unlock()
	return c
}

// idlest returns the connection that has been idle the longest, or nil. It skips a new
// connection that has not yet been read from for doorWait. The caller must hold
// d.mu.
func (d *Door) idlest() *doorConn {
	for c := d.idle.next; c != &d.idle; c = c.next {
		if began := c.began.Load(); c.served || c.reading.Load() && time.Now().UnixNano()-began >= int64(doorWait) {
			return c
		}
	}
	return nil
}

// await waits until is, called under d.mu, returns true, but at most for wait. A
// closed connection counts until its memory is released, so that a flood of new
// connections cannot outrun the ends of the old.
func (d *Door) await(wait time.Duration, is func() bool) {
	timer := time.NewTimer(wait)
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

// tooMany is the reply to a connection that is closed without reading its request.
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

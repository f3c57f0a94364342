package api

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
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
// requests, a few more are let in for whoever asks whether the process lives, and the
// others of those few are told to come again; beyond, connections are closed.
type Door struct {
	limit int
	// sendBuffer, if positive, bounds what the kernel keeps of a reply that is not read.
	sendBuffer int

	mu     sync.Mutex
	open   int
	quiet  list.List     // of *doorConn without a request, the longest so first
	closed chan struct{} // gets a token when a connection has ended

	refused *prometheus.CounterVec
}

// NewDoor returns a Door for limit connections and a few of reserve, and registers its
// metrics.
func NewDoor(limit, sendBuffer int, reg prometheus.Registerer) *Door {
	d := &Door{limit: limit, sendBuffer: sendBuffer, closed: make(chan struct{}, 1)}
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
		d.busy(c)
		if !c.reserve || d.probe(r) {
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

// refusedAtDoor tells whether there is no room for the connection of a request.
func refusedAtDoor(ctx context.Context) bool { return ctx.Value(refusedKey{}) != nil }

// probe tells the requests that are answered when all connections are in use. Metrics
// take their time, so half of the reserve is kept from them.
func (d *Door) probe(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.ContentLength != 0 {
		return false
	}
	switch r.URL.Path {
	case "/healthz", "/readyz":
		return true
	case "/metrics":
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.open <= d.limit+doorReserve/2
	}
	return false
}

// doorConn is a connection of a client.
type doorConn struct {
	net.Conn
	reserve bool          // let in beyond the limit
	place   *list.Element // in Door.quiet, nil while it has a request
	counted bool
}

func (d *Door) busy(c *doorConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.place != nil {
		d.quiet.Remove(c.place)
		c.place = nil
	}
}

func (d *Door) rest(c *doorConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.counted && c.place == nil {
		c.place = d.quiet.PushBack(c)
	}
}

func (d *Door) gone(c *doorConn) {
	d.busy(c)
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.counted {
		c.counted = false
		d.open--
	}
	select {
	case d.closed <- struct{}{}:
	default:
	}
}

// admit counts a new connection in, if need be in the place of one without a request.
func (d *Door) admit(nc net.Conn) *doorConn {
	c := &doorConn{Conn: nc}
	for {
		d.mu.Lock()
		if d.open >= d.limit {
			if first := d.quiet.Front(); first != nil {
				old := d.quiet.Remove(first).(*doorConn)
				old.place = nil
				d.mu.Unlock()
				d.refused.WithLabelValues("idle").Inc()
				old.Close()
				d.await(old)
				continue
			}
			if c.reserve = true; d.open >= d.limit+doorReserve {
				d.mu.Unlock()
				d.refused.WithLabelValues("closed").Inc()
				return nil
			}
		}
		d.open++
		c.counted = true
		c.place = d.quiet.PushBack(c)
		d.mu.Unlock()
		return c
	}
}

// await waits until a connection that was closed holds no memory any more: until then
// it counts, so that a flood of new ones cannot outrun the ends of the old.
func (d *Door) await(c *doorConn) {
	patience := time.NewTimer(50 * time.Millisecond)
	defer patience.Stop()
	for {
		d.mu.Lock()
		ended := !c.counted
		d.mu.Unlock()
		if ended {
			return
		}
		select {
		case <-d.closed:
		case <-patience.C:
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

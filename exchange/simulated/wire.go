package simulated

import (
	"net/http"
	"sync"
)

// out is a response being written. A response larger than a few pages of klines is
// streamed without Content-Length, so that a list of five thousand pairs takes no
// memory; kept makes out hold all of it, for faults.
type out struct {
	buf    []byte
	w      http.ResponseWriter
	status int // of the first bytes that are sent; 0 is 200
	kept   bool
	sent   bool // part of it is sent
	failed bool // the client disconnected
}

const (
	outRoom = 32 << 10 // of a pooled buffer
	outSend = 30 << 10 // beyond which it is sent
)

var outs = sync.Pool{New: func() any { return &out{buf: make([]byte, 0, outRoom)} }}

// more is called after each row and sends a full buffer.
func (o *out) more() {
	if len(o.buf) < outSend || o.kept {
		return
	}
	o.send()
	o.buf = o.buf[:0]
}

func (o *out) send() {
	if !o.sent && o.status > 0 {
		o.w.WriteHeader(o.status)
	}
	if !o.failed {
		_, err := o.w.Write(o.buf)
		o.sent, o.failed = true, err != nil
	}
}

// release returns the buffer to the pool, unless it grew.
func (o *out) release() {
	if cap(o.buf) <= 2*outRoom {
		*o = out{buf: o.buf[:0]}
		outs.Put(o)
	}
}

func (p *pair) appendPrice(dst []byte, ticks int64) []byte {
	dst = append(dst, '"')
	return append(appendDecimal(dst, ticks, p.TickDecimals), '"')
}

func (p *pair) appendVolume(dst []byte, lots int64) []byte {
	dst = append(dst, '"')
	return append(appendDecimal(dst, lots, p.LotDecimals), '"')
}

func appendQuoted(dst []byte, v float64) []byte {
	return append(appendAmount(append(dst, '"'), v), '"')
}

// mean returns the price for the quote volume of a candle.
func (c *candle) mean(p *pair) float64 {
	return float64(c.o+c.h+c.l+c.c) / 4 * p.tick
}

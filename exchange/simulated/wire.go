package simulated

import (
	"math"
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
	last := c.c
	if last == nan {
		last = c.o
	}
	return float64(c.o+c.h+c.l+last) / 4 * p.tick
}

// base returns the volume of a candle in the base asset, quote in the quote asset.
func (c *candle) base(p *pair) float64  { return float64(c.volume) * p.lot }
func (c *candle) quote(p *pair) float64 { return c.base(p) * c.mean(p) }

// value returns ticks as a number; it is not a number for nan.
func (c *candle) value(p *pair, ticks int64) float64 {
	if ticks == nan {
		return math.NaN()
	}
	return float64(ticks) / math.Pow10(p.TickDecimals)
}

// list writes row for each pair that keep accepts, with commas between them.
func (o *out) list(m *market, keep func(*pair) bool, row func(dst []byte, p *pair) []byte) {
	first := true
	for i := range m.pairs {
		p := &m.pairs[i]
		if o.failed || !keep(p) {
			continue
		}
		if !first {
			o.buf = append(o.buf, ',')
		}
		first = false
		o.buf = row(o.buf, p)
		o.more()
	}
}

// price returns ticks as text, as short as possible, and size lot steps.
func (p *pair) price(ticks int64) string { return string(appendTrimmed(nil, ticks, p.TickDecimals)) }
func (p *pair) size(lots int64) string   { return string(appendTrimmed(nil, lots, p.LotDecimals)) }

// amount returns v with at most eight decimals, as short as possible.
func amount(v float64) string { return string(appendTrimmedAmount(nil, v)) }

package simulated

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fault is a kind of faulty response.
type fault uint8

const (
	noFault fault = iota
	fault500
	fault502
	fault503
	faultReset
	faultHang
	faultShort
	faultTruncated
	faultMalformed
	faultHTML
	fault403
	fault429
	faultBan
	faultNaN
	faultHighLow
	faultRepeat
	faultUnordered
	faultEnvelope
	faultCount
)

var faultNames = [faultCount]string{
	"", "500", "502", "503", "reset", "hang", "short", "truncated", "malformed", "html", "403", "429", "ban",
	"nan", "highlow", "repeat", "unordered", "envelope",
}

// Faults are the shares of faulty responses by kind. The zero value has none. The
// kinds:
//
//	500, 502, 503  server errors: JSON, HTML and a plain text
//	reset          the connection is reset in the middle of the body
//	hang           no response for Options.Hang, then a closed connection
//	short          half of the body that Content-Length promises
//	truncated      half of the JSON, with a Content-Length that fits
//	malformed      JSON with garbage in the middle
//	html           HTTP 200 with a web page
//	403            the firewall's web page
//	429            a pause of Options.RetryAfter without a reason
//	ban            418, a ban of two minutes or more
//	nan            a closed kline with the close NaN
//	highlow        a closed kline with high and low swapped
//	repeat         a closed kline twice
//	unordered      two klines in the wrong order
//	envelope       HTTP 200 with an error in the body
//
// nan, highlow, repeat and unordered need a page of klines; any other response, and
// one that is too short, is malformed instead.
type Faults struct {
	shares [faultCount]float64
}

// mixed are the kinds for a plain share: all except the ban, which ends a run. A client
// can detect each of them.
var mixed = func() (kinds []fault) {
	for f := fault500; f < faultCount; f++ {
		if f != faultBan {
			kinds = append(kinds, f)
		}
	}
	return kinds
}()

// ParseFaults parses a share between 0 and 1, "0.1", which is divided evenly among all
// kinds except the ban; or shares by kind, "500=0.02,reset=0.01"; or an empty string.
func ParseFaults(spec string) (Faults, error) {
	var f Faults
	spec = strings.TrimSpace(spec)
	if spec == "" {
		return f, nil
	}
	if !strings.Contains(spec, "=") {
		share, err := parseShare(spec)
		if err != nil {
			return Faults{}, fmt.Errorf("%w, or kinds with shares as in 500=0.02,reset=0.01", err)
		}
		for _, kind := range mixed {
			f.shares[kind] = share / float64(len(mixed))
		}
		return f, nil
	}
	sum := 0.0
	for part := range strings.SplitSeq(spec, ",") {
		name, value, ok := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		kind := fault(max(0, slices.Index(faultNames[:], name)))
		switch {
		case kind == noFault:
			return Faults{}, fmt.Errorf("unknown fault %q: one of %s", name, strings.Join(faultNames[1:], ", "))
		case !ok:
			return Faults{}, fmt.Errorf("fault %q has no share: write %s=0.01", name, name)
		case f.shares[kind] > 0:
			return Faults{}, fmt.Errorf("fault %q is given twice", name)
		}
		share, err := parseShare(strings.TrimSpace(value))
		if err != nil {
			return Faults{}, fmt.Errorf("fault %q: %w", name, err)
		}
		f.shares[kind] = share
		sum += share
	}
	if sum > 1+1e-9 {
		return Faults{}, fmt.Errorf("the shares of faults add up to %g, more than 1", sum)
	}
	return f, nil
}

func parseShare(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= 0 && v <= 1) {
		return 0, fmt.Errorf("%q is not a share between 0 and 1", s)
	}
	return v + 0, nil // not -0
}

// String returns the shares by kind, in the format of ParseFaults.
func (f Faults) String() string {
	var parts []string
	for kind, share := range f.shares {
		if share > 0 {
			parts = append(parts, faultNames[kind]+"="+strconv.FormatFloat(share, 'g', -1, 64))
		}
	}
	return strings.Join(parts, ",")
}

// draw picks the fault of a request from its hash.
func (f *Faults) draw(hash uint64) fault {
	u := float64(hash>>11) / (1 << 53)
	for kind, share := range f.shares {
		u -= share
		if u < 0 && share > 0 {
			return fault(kind)
		}
	}
	return noFault
}

const (
	jsonType = "application/json;charset=UTF-8"
	htmlType = "text/html"
)

// pages are the responses of what stands before any venue's servers.
var pages = map[fault]answer{
	fault502: {status: 502, contentType: htmlType, body: "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"},
	fault503: {status: 503, contentType: "text/plain", body: "Unknown error, please check your request or try again later."},
	fault403: {status: 403, contentType: htmlType, body: "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 4.01 Transitional//EN\" \"http://www.w3.org/TR/html4/loose.dtd\">\n" +
		"<HTML><HEAD><TITLE>ERROR: The request could not be satisfied</TITLE></HEAD><BODY>\n<H1>403 ERROR</H1>\n" +
		"<H2>The request could not be satisfied.</H2>\nRequest blocked.\n</BODY></HTML>"},
	faultHTML: {status: 200, contentType: htmlType, body: "<!DOCTYPE html>\n<html><head><title>Maintenance</title></head><body><h1>We will be back soon</h1></body></html>\n"},
}

// inject replies to q with a fault.
func (s *Server) inject(w http.ResponseWriter, r *http.Request, kind fault, q *request, hash uint64, now time.Time) {
	if a, ok := pages[kind]; ok {
		s.count(kind)
		s.send(w, a)
		return
	}
	if kind == fault500 || kind == faultEnvelope {
		s.count(kind)
		s.send(w, s.dialect.failure(kind, nil, now))
		return
	}
	if kind == faultHang {
		s.count(kind)
		_ = sleep(r.Context(), s.options.Hang)
		panic(http.ErrAbortHandler)
	}

	// The others are made from the good response.
	o := &out{kept: true}
	s.prepare(w.Header(), q)
	if q.klines == nil {
		q.write(o, now)
	} else {
		spoiled := false
		q.klines.write(o, s.market.resolve(q.klines, now.Unix()), now.UnixMilli(), func(all []candle) []candle {
			all, spoiled = spoil(kind, hash, all)
			return all
		})
		if spoiled {
			s.count(kind)
			s.send(w, answer{status: http.StatusOK, body: string(o.buf)})
			return
		}
	}
	body := o.buf
	switch kind {
	case faultNaN, faultHighLow, faultRepeat, faultUnordered:
		kind = faultMalformed
		fallthrough
	case faultMalformed:
		half := len(body) / 2
		body = slices.Concat(body[:half], []byte("\x01<<>>"), body[half:])
	case faultTruncated:
		body = body[:len(body)/2]
	}
	s.count(kind)
	switch kind {
	case faultReset:
		reset(w, body)
	case faultShort:
		w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	default:
		s.send(w, answer{status: http.StatusOK, body: string(body)})
	}
}

// reset sends half of the response and then a TCP reset, which net/http cannot do.
func reset(w http.ResponseWriter, body []byte) {
	header := w.Header()
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer conn.Close()
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n", len(body))
	_ = header.Write(&b)
	b.WriteString("\r\n")
	b.Write(body[:len(body)/2])
	_, _ = conn.Write(b.Bytes())
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

// spoil makes one of the faults of klines of a page, never in its newest candle, which
// a client may drop unread.
func spoil(kind fault, hash uint64, all []candle) ([]candle, bool) {
	n := len(all) - 1 // of those to choose from
	if n < 1 || kind == faultUnordered && n < 2 {
		return all, false
	}
	b := bits(hash)
	i := int(b.share() * float64(n))
	switch kind {
	case faultNaN:
		all[i].c = nan
	case faultHighLow:
		if all[i].h == all[i].l {
			all[i].h = 0
		} else {
			all[i].h, all[i].l = all[i].l, all[i].h
		}
	case faultRepeat:
		all = slices.Insert(all, i, all[i])
	case faultUnordered:
		i = min(i, n-2)
		all[i], all[i+1] = all[i+1], all[i]
	default:
		return all, false
	}
	return all, true
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

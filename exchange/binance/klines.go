package binance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"

	"tidemark/exchange"
	"tidemark/levels"
)

// A kline is a row of twelve columns: open time (Unix ms), open, high, low,
// close and volume as strings, close time, quote volume, trades, two taker
// volumes, and an unused one. Rows are about 175 bytes long.
const (
	maxRow     = 1 << 10 // bytes; a longer row is refused
	minBuffer  = 4 * maxRow
	ownBuffer  = 32 << 10 // used if the caller's buffer is smaller than minBuffer
	maxKlines  = 1000     // rows in one response; the limit of the venue
	emptyReads = 100      // consecutive empty reads before an error
)

// window is the range of rows of a response.
type window struct {
	from, through int64 // open times, Unix ms, both inclusive
	rows          int   // maximum number
}

// decodeKlines appends the rows of one response to dst, reading r to its end
// through buf. A row that opened after w.through is still open, or closed after the
// venue's clock was read; it is dropped. Any other row outside w is an error, as is
// everything that Candles.Append refuses. After an error dst may contain some of the
// rows.
func decodeKlines(r io.Reader, buf []byte, dst *levels.Candles, w window) error {
	if len(buf) < minBuffer {
		buf = make([]byte, ownBuffer)
	}
	s := scanner{r: r, buf: buf}
	if err := s.fill(); err != nil {
		return err
	}
	s.space()
	if s.buf[s.pos] != '[' {
		return s.notKlines()
	}
	s.pos++
	s.space()
	if s.buf[s.pos] == ']' {
		s.pos++
		return s.finish()
	}
	var k levels.Candle
	for n := 0; ; n++ {
		if n == w.rows {
			return fmt.Errorf("more than the %d klines requested", w.rows)
		}
		if s.end-s.pos < maxRow && !s.eof {
			if err := s.fill(); err != nil {
				return err
			}
		}
		s.space()
		length, column := parseRow(s.buf[s.pos:s.end+1], &k)
		if column > 0 {
			return s.badRow(n, length, column)
		}
		s.pos += length
		if k.OpenTime < w.from {
			return fmt.Errorf("kline %d opened at %d, before the requested start %d", n, k.OpenTime, w.from)
		}
		if k.OpenTime <= w.through {
			if err := dst.Append(k); err != nil {
				return fmt.Errorf("kline %d: %w", n, err)
			}
		}
		s.space()
		switch s.buf[s.pos] {
		case ',':
			s.pos++
		case ']':
			s.pos++
			return s.finish()
		default:
			return s.bad(s.pos, fmt.Sprintf("after kline %d", n))
		}
	}
}

// scanner is a window on a body. buf[end] is always 0, a byte that no token
// contains, so that scanning stops there without a comparison of lengths.
type scanner struct {
	r        io.Reader
	buf      []byte
	pos, end int
	eof      bool
}

// fill moves the rest to the front and reads until the buffer contains at least one
// row, or the body ends.
func (s *scanner) fill() error {
	s.end = copy(s.buf, s.buf[s.pos:s.end])
	s.pos = 0
	for idle := 0; s.end < maxRow && !s.eof; {
		n, err := s.r.Read(s.buf[s.end : len(s.buf)-1])
		s.end += n
		switch {
		case err == io.EOF:
			s.eof = true
		case err != nil:
			return fmt.Errorf("the body is truncated: %w", err)
		case n > 0:
			idle = 0
		default:
			idle++
			if idle == emptyReads {
				return io.ErrNoProgress
			}
		}
	}
	s.buf[s.end] = 0
	// A buffer takes about 50 µs to decode, and more data may be available already.
	// Yield to waiting requests in between.
	runtime.Gosched()
	return nil
}

// space skips JSON's white space. The venue sends none, but a proxy may.
func (s *scanner) space() {
	for isSpace(s.buf[s.pos]) {
		s.pos++
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// finish returns an error unless only white space follows.
func (s *scanner) finish() error {
	for {
		s.space()
		if s.pos < s.end {
			return s.bad(s.pos, "after the end of the list")
		}
		if s.eof {
			return nil
		}
		if err := s.fill(); err != nil {
			return err
		}
	}
}

var errTruncated = errors.New("the body ends in the middle")

func (s *scanner) badRow(n, at, column int) error {
	if s.end-s.pos-at > 0 {
		return s.bad(s.pos+at, fmt.Sprintf("in column %d of kline %d", column, n))
	}
	if !s.eof {
		return fmt.Errorf("kline %d is longer than %d bytes", n, maxRow)
	}
	return fmt.Errorf("%w: kline %d", errTruncated, n)
}

func (s *scanner) bad(at int, where string) error {
	if at >= s.end {
		return fmt.Errorf("%w: %s", errTruncated, where)
	}
	return fmt.Errorf("not a list of klines: unexpected %.20q %s", s.buf[at:s.end], where)
}

// notKlines returns the error for a body that is not a list.
func (s *scanner) notKlines() error {
	b := bytes.TrimSpace(s.buf[s.pos:s.end])
	switch {
	case len(b) == 0:
		return errors.New("the body is empty")
	case b[0] == '{':
		// The body of an error is short; a longer one is not an error.
		n, err := io.ReadFull(s.r, s.buf[s.end:len(s.buf)-1])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return fmt.Errorf("the body is truncated: %w", err)
		}
		return envelope(s.buf[s.pos : s.end+n])
	}
	return notJSON(b)
}

// parseRow reads one row from the start of b, which ends in a byte 0. It
// returns the length of the row and column 0, or the position and the column (from
// 1) of the first invalid byte.
func parseRow(b []byte, k *levels.Candle) (length, column int) {
	p := 0
	if b[p] != '[' {
		return p, 1
	}
	p++
	for isSpace(b[p]) {
		p++
	}
	first := p
	var t int64
	for b[p]-'0' <= 9 {
		t = t*10 + int64(b[p]-'0')
		p++
	}
	// 18 digits cannot overflow; Candles.Append checks the range.
	if p == first || p-first > 18 || b[first] == '0' && p-first > 1 {
		return p, 1
	}
	k.OpenTime = t
	for i, dst := range [...]*float64{&k.Open, &k.High, &k.Low, &k.Close, &k.Volume} {
		if b[p] != ',' {
			p = comma(b, p)
			if b[p] != ',' {
				return p, i + 1
			}
		}
		p++
		for isSpace(b[p]) {
			p++
		}
		if b[p] != '"' {
			return p, i + 2
		}
		p++
		v, n := exchange.ScanDecimal(b[p:])
		if n == 0 {
			return cutOff(b, p), i + 2
		}
		p += n
		if b[p] != '"' {
			return p, i + 2
		}
		p++
		*dst = v
	}
	// The remaining columns are not used, but a row without them is not a kline.
	for i, quoted := range [...]bool{false, true, false, true, true, true} {
		if b[p] != ',' {
			p = comma(b, p)
			if b[p] != ',' {
				return p, i + 6
			}
		}
		p++
		for isSpace(b[p]) {
			p++
		}
		if quoted {
			if b[p] != '"' {
				return p, i + 7
			}
			p++
		}
		first := p
		for b[p]-'0' <= 9 || quoted && b[p] == '.' {
			p++
		}
		if p == first || !quoted && b[first] == '0' && p-first > 1 {
			return p, i + 7
		}
		if quoted {
			if b[p] != '"' {
				return p, i + 7
			}
			p++
		}
	}
	p = comma(b, p)
	if b[p] != ']' {
		return p, 12
	}
	return p + 1, 0
}

// comma skips white space before a comma or bracket.
func comma(b []byte, p int) int {
	for isSpace(b[p]) {
		p++
	}
	return p
}

// cutOff returns the position of the error in the decimal at p: p if it is invalid, the
// end of b if it is truncated.
func cutOff(b []byte, p int) int {
	q := p
	for q < len(b)-1 && (b[q]-'0' <= 9 || bytes.IndexByte([]byte("+-.eE"), b[q]) >= 0) {
		q++
	}
	if q == len(b)-1 {
		return q
	}
	return p
}

package exchange

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"runtime"
)

// Scanner reads JSON as a stream through a fixed buffer, so that a body of any size
// takes no memory of its own. It reads a body in order: a decoder opens an array or
// object, reads its values, and leaves out what it does not need with Skip or Close.
//
// The first error is kept. After it every method returns a zero value at once, More
// returns false, and Err returns the error; so a decoder checks Err only where it must
// not use a value that was not read.
//
//	for s.Array(); s.More(); {
//		s.Array()
//		k.OpenTime, k.Open = s.Int(), s.Decimal()
//		s.Close()
//		if s.Err() == nil { … }
//	}
//	return s.End()
type Scanner struct {
	r        io.Reader
	buf      []byte
	pos, end int // of the unread part of buf; buf[end] is 0, which is in no token
	before   int64
	eof      bool
	err      error

	comma   bool   // a value was read, so a comma or the end must follow
	colon   bool   // a name was read whose colon was not
	depth   int    // open arrays and objects
	objects uint64 // bit n is set if the one at depth n+1 is an object
}

const (
	// maxToken is the greatest length of a value that is read, in bytes, with quotes.
	maxToken = 1 << 10
	// minBuffer is the smallest buffer of a Scanner: the rest of one token, and a read
	// that is worth it.
	minBuffer  = 4 * maxToken
	ownBuffer  = 32 << 10 // allocated if the caller's is smaller than minBuffer
	maxDepth   = 16
	maxEscape  = 6   // of a string, as in \u00e4
	emptyReads = 100 // reads in a row without data before an error
)

var (
	errTruncated = errors.New("the body ends in the middle")
	errHTML      = errors.New("HTML instead of JSON: a proxy or firewall answered instead of the exchange")
	errNoBody    = errors.New("the body is empty")
)

// NewScanner returns a Scanner of r that reads through buf.
func NewScanner(r io.Reader, buf []byte) *Scanner {
	if len(buf) < minBuffer {
		buf = make([]byte, ownBuffer)
	}
	s := &Scanner{r: r, buf: buf}
	s.fill()
	s.space()
	if s.err == nil && s.pos == s.end {
		s.fail(errNoBody)
	}
	return s
}

// Err returns the first error.
func (s *Scanner) Err() error { return s.err }

// Fail makes err the error of s, unless it has one.
func (s *Scanner) Fail(err error) { s.fail(err) }

func (s *Scanner) fail(err error) {
	if s.err == nil {
		s.err = err
	}
	s.pos, s.end = 0, 0 // no byte is read any more
	s.buf[0] = 0
	s.eof = true
}

// fill moves the unread part to the front and reads until the buffer holds a whole
// token, or the body ends.
func (s *Scanner) fill() {
	s.before += int64(s.pos)
	s.end = copy(s.buf, s.buf[s.pos:s.end])
	s.pos = 0
	for idle := 0; s.end < maxToken+1 && !s.eof; {
		n, err := s.r.Read(s.buf[s.end : len(s.buf)-1])
		s.end += n
		switch {
		case err == io.EOF:
			s.eof = true
		case err != nil:
			s.fail(fmt.Errorf("the body is truncated: %w", err))
			return
		case n > 0:
			idle = 0
		default:
			if idle++; idle == emptyReads {
				s.fail(io.ErrNoProgress)
				return
			}
		}
	}
	s.buf[s.end] = 0
	// A buffer takes about 50 µs to decode, and more data may be available already.
	// Yield to waiting requests in between.
	runtime.Gosched()
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// space skips white space and makes sure that the token after it is in the buffer.
func (s *Scanner) space() {
	for {
		for isSpace(s.buf[s.pos]) {
			s.pos++
		}
		if s.end-s.pos > maxToken || s.eof {
			return
		}
		s.fill()
		if !isSpace(s.buf[s.pos]) {
			return
		}
	}
}

// bad sets the error for an unexpected byte.
func (s *Scanner) bad(where string) {
	switch at := s.pos; {
	case s.err != nil:
	case at >= s.end && s.eof:
		s.fail(errTruncated)
	case s.depth == 0 && s.buf[at] == '<':
		s.fail(errHTML)
	default:
		s.fail(fmt.Errorf("unexpected %.20q %s, at byte %d", s.buf[at:s.end], where, s.before+int64(at)))
	}
}

// next goes to the start of the next value.
func (s *Scanner) next() {
	// The usual case: the value, perhaps after a comma, follows at once, and is in the
	// buffer.
	if s.end-s.pos > maxToken+1 {
		switch c := s.buf[s.pos]; {
		case !s.comma && c > ' ':
			return
		case s.comma && c == ',' && s.depth > 0 && s.buf[s.pos+1] > ' ':
			s.pos++
			s.comma = false
			return
		}
	}
	s.separate()
}

// separate skips white space, and a colon or comma, before a value.
func (s *Scanner) separate() {
	s.space()
	if s.colon {
		if s.buf[s.pos] != ':' {
			s.bad("instead of a colon")
			return
		}
		s.pos++
		s.colon = false
		s.space()
	}
	if s.comma {
		if s.buf[s.pos] != ',' || s.depth == 0 {
			s.bad("instead of a comma")
			return
		}
		s.pos++
		s.comma = false
		if c := s.buf[s.pos]; c <= ' ' || s.end-s.pos <= maxToken {
			s.space()
		}
	}
}

func (s *Scanner) open(bracket byte) {
	s.next()
	if s.buf[s.pos] != bracket {
		s.bad("instead of " + string(bracket))
		return
	}
	if s.depth == maxDepth {
		s.fail(fmt.Errorf("nested deeper than %d levels", maxDepth))
		return
	}
	s.pos++
	s.objects <<= 1
	if bracket == '{' {
		s.objects |= 1
	}
	s.depth++
}

// Array opens an array.
func (s *Scanner) Array() { s.open('[') }

// Object opens an object.
func (s *Scanner) Object() { s.open('{') }

// IsArray reports whether the next value is an array.
func (s *Scanner) IsArray() bool { s.next(); return s.buf[s.pos] == '[' }

// IsObject reports whether the next value is an object.
func (s *Scanner) IsObject() bool { s.next(); return s.buf[s.pos] == '{' }

// IsString reports whether the next value is a string.
func (s *Scanner) IsString() bool { s.next(); return s.buf[s.pos] == '"' }

// More reports whether the open array or object has another element. If not, it closes
// it.
func (s *Scanner) More() bool {
	if s.buf[s.pos] <= ' ' || s.end-s.pos <= maxToken {
		s.space()
	}
	bracket := byte(']')
	if s.objects&1 == 1 {
		bracket = '}'
	}
	if s.comma && s.buf[s.pos] == ',' && s.end-s.pos > maxToken+1 && s.depth > 0 { // the usual case
		if c := s.buf[s.pos+1]; c > ' ' && c != bracket {
			s.pos++
			s.comma = false
			return true
		}
	}
	s.space()
	if s.buf[s.pos] == bracket && s.depth > 0 {
		s.pos++
		s.depth--
		s.objects >>= 1
		s.comma = true
		return false
	}
	if s.comma {
		if s.buf[s.pos] != ',' {
			s.bad("instead of a comma or the end of a list")
			return false
		}
		s.pos++
		s.comma = false
		if s.buf[s.pos] <= ' ' || s.end-s.pos <= maxToken {
			s.space()
		}
		if s.buf[s.pos] == bracket {
			s.bad("after a comma")
			return false
		}
	}
	if s.err == nil && s.pos == s.end && s.eof {
		s.fail(errTruncated)
	}
	return s.err == nil
}

// Close skips the rest of the open array or object.
func (s *Scanner) Close() {
	for s.More() {
		if s.objects&1 == 1 {
			s.Key()
		}
		s.Skip()
	}
}

// Key reads the name of a member, as it is written between the quotes. It is valid until
// the next call.
func (s *Scanner) Key() []byte {
	raw := s.quoted()
	if s.err != nil {
		return nil
	}
	s.comma = false
	if s.buf[s.pos] == ':' {
		s.pos++
	} else { // the next read may move the name in the buffer
		s.colon = true
	}
	return raw[1 : len(raw)-1]
}

// quoted reads a string and returns it with its quotes.
func (s *Scanner) quoted() []byte {
	s.next()
	if s.buf[s.pos] != '"' {
		s.bad("instead of a string")
		return nil
	}
	start := s.pos
	unread := s.buf[:s.end+1]
	for p := start + 1; p < len(unread); p++ {
		c := unread[p]
		if c > '"' && c != '\\' { // of most strings every byte
			continue
		}
		switch {
		case c == '"':
			s.pos = p + 1
			s.comma = true
			if p+1-start > maxToken {
				s.fail(fmt.Errorf("a string is longer than %d bytes", maxToken))
				return nil
			}
			return s.buf[start : p+1]
		case c == '\\':
			n := escape(s.buf[p:s.end])
			if n == 0 {
				s.pos = p
				s.badEscape()
				return nil
			}
			p += n - 1
		case c < ' ':
			s.pos = p
			if p == s.end && p-start > maxToken {
				s.fail(fmt.Errorf("a string is longer than %d bytes", maxToken))
			}
			s.bad("in a string")
			return nil
		}
	}
	s.pos = s.end
	s.bad("in a string")
	return nil
}

// escape returns the length of the escape at the start of b; 0 if there is none.
func escape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) >= maxEscape {
			for _, c := range b[2:maxEscape] {
				if c-'0' > 9 && (c|0x20)-'a' > 5 {
					return 0
				}
			}
			return maxEscape
		}
	}
	return 0
}

// badEscape sets the error for the invalid escape at the position of s.
func (s *Scanner) badEscape() {
	if rest := s.buf[s.pos:s.end]; len(rest) < maxEscape && bytes.IndexByte(rest, '"') < 0 {
		s.pos = s.end // the body ends in it
	}
	s.bad("in a string")
}

// Bytes reads a string and returns it as it is written between the quotes, escapes
// included. It is valid until the next call.
func (s *Scanner) Bytes() []byte {
	raw := s.quoted()
	if s.err != nil {
		return nil
	}
	return raw[1 : len(raw)-1]
}

// Text reads a string without its escapes. It is valid until the next call.
func (s *Scanner) Text() []byte {
	raw := s.quoted()
	if s.err != nil {
		return nil
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		s.fail(fmt.Errorf("%.40q is not a string", raw))
		return nil
	}
	return []byte(text)
}

// plain reads a number, or one of true, false and null.
func (s *Scanner) plain() []byte {
	s.next()
	start := s.pos
	if p := start + decimal(s.buf[start:s.end+1]); p > start && p-start <= maxToken {
		switch s.buf[p] {
		case ',', ']', '}', ' ', '\n', '\r', '\t':
			s.pos = p
			s.comma = true
			return s.buf[start:p]
		}
	}
	for {
		switch c := s.buf[s.pos]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '+', c == '-', c == '.':
			s.pos++
			continue
		}
		break
	}
	word := s.buf[start:s.pos]
	switch {
	case len(word) == 0:
		s.bad("instead of a value")
		return nil
	case len(word) > maxToken:
		s.fail(fmt.Errorf("a value is longer than %d bytes", maxToken))
		return nil
	case string(word) == "true", string(word) == "false", string(word) == "null", isNumber(word):
	case s.pos == s.end && s.eof:
		s.fail(errTruncated)
		return nil
	default:
		s.fail(fmt.Errorf("%.40q is not a value", word))
		return nil
	}
	s.comma = true
	return word
}

// decimal returns the length of the number without an exponent at the start of b, which
// ends in a byte 0; 0 if there is none.
func decimal(b []byte) int {
	p := 0
	if b[0] == '-' {
		p = 1
	}
	first := p
	for b[p]-'0' <= 9 {
		p++
	}
	if p == first || b[first] == '0' && p-first > 1 {
		return 0
	}
	if b[p] != '.' {
		return p
	}
	p++
	point := p
	for b[p]-'0' <= 9 {
		p++
	}
	if p == point {
		return 0
	}
	return p
}

// isNumber reports whether b is a number in JSON's grammar, of any size.
func isNumber(b []byte) bool {
	digits := func() int {
		n := 0
		for n < len(b) && b[n]-'0' <= 9 {
			n++
		}
		b = b[n:]
		return n
	}
	if len(b) > 0 && b[0] == '-' {
		b = b[1:]
	}
	zero := len(b) > 0 && b[0] == '0'
	if n := digits(); n == 0 || n > 1 && zero {
		return false
	}
	if len(b) > 0 && b[0] == '.' {
		b = b[1:]
		if digits() == 0 {
			return false
		}
	}
	if len(b) > 0 && b[0]|0x20 == 'e' {
		b = b[1:]
		if len(b) > 0 && (b[0] == '+' || b[0] == '-') {
			b = b[1:]
		}
		if digits() == 0 {
			return false
		}
	}
	return len(b) == 0
}

// scalar reads a string, which it returns without quotes, or a number or word.
func (s *Scanner) scalar() []byte {
	if s.IsString() {
		return s.Bytes()
	}
	return s.plain()
}

// Scalar reads a string, without its quotes, a number, or one of true, false and null.
// It is valid until the next call.
func (s *Scanner) Scalar() []byte { return s.scalar() }

// Int reads a whole number, with or without quotes, of at most 18 digits.
func (s *Scanner) Int() int64 {
	s.next()
	p := s.pos
	quoted := s.buf[p] == '"'
	if quoted {
		p++
	}
	negative := s.buf[p] == '-'
	if negative {
		p++
	}
	first := p
	var n int64
	if s.end-p >= 8 { // a time has ten digits or more
		if v := binary.LittleEndian.Uint64(s.buf[p:]); eightDigits(v) {
			n = int64(parseEight(v))
			p += 8
		}
	}
	for s.buf[p]-'0' <= 9 && p-first < 19 {
		n = n*10 + int64(s.buf[p]-'0')
		p++
	}
	digits := p - first
	if digits == 0 || digits > 18 || digits > 1 && s.buf[first] == '0' {
		s.cut(p, "instead of a whole number")
		return 0
	}
	if quoted {
		if s.buf[p] != '"' {
			s.cut(p, "in a whole number")
			return 0
		}
		p++
	} else if s.buf[p] == '.' || s.buf[p]|0x20 == 'e' {
		s.cut(p, "in a whole number")
		return 0
	}
	s.pos = p
	s.comma = true
	if negative {
		n = -n
	}
	return n
}

// cut sets the error for an invalid number that was read up to p.
func (s *Scanner) cut(p int, where string) {
	for q := p; q < s.end; q++ { // a number that the body cuts off is truncated, not invalid
		if c := s.buf[q]; c-'0' > 9 && bytes.IndexByte([]byte("+-.eE"), c) < 0 {
			s.bad(where)
			return
		}
	}
	s.pos = s.end
	s.bad(where)
}

// Decimal reads a decimal number in JSON's grammar, with or without quotes, as
// ScanDecimal does.
func (s *Scanner) Decimal() float64 {
	s.next()
	p := s.pos
	quoted := s.buf[p] == '"'
	if quoted {
		p++
	}
	v, n := ScanDecimal(s.buf[p : s.end+1])
	if n == 0 {
		s.cut(p, "instead of a decimal")
		return 0
	}
	p += n
	if quoted {
		if s.buf[p] != '"' {
			s.pos = p
			s.bad("in a decimal")
			return 0
		}
		p++
	}
	if p-s.pos > maxToken {
		s.fail(fmt.Errorf("a number is longer than %d bytes", maxToken))
		return 0
	}
	s.pos = p
	s.comma = true
	return v
}

// Amount is Decimal for a volume: null and an empty string are 0.
func (s *Scanner) Amount() float64 {
	s.next()
	switch rest := s.buf[s.pos:s.end]; {
	case bytes.HasPrefix(rest, []byte("null")):
		s.pos += 4
	case bytes.HasPrefix(rest, []byte(`""`)):
		s.pos += 2
	default:
		return s.Decimal()
	}
	s.comma = true
	return 0
}

// Bool reads true or false.
func (s *Scanner) Bool() bool {
	switch b := s.scalar(); {
	case string(b) == "true":
		return true
	case string(b) == "false":
	case s.err == nil:
		s.fail(fmt.Errorf("%.40q is not true or false", b))
	}
	return false
}

// Skip leaves out a value of any kind and size.
func (s *Scanner) Skip() {
	s.next()
	switch s.buf[s.pos] {
	case '[':
		s.Array()
		s.Close()
	case '{':
		s.Object()
		s.Close()
	case '"':
		s.skipString()
	default:
		s.plain()
	}
}

// skipString leaves out a string, which may be longer than the buffer.
func (s *Scanner) skipString() {
	for s.pos++; ; {
		p := s.pos
		for s.end-p >= 8 { // of most strings every byte is as written
			n := unescaped(binary.LittleEndian.Uint64(s.buf[p:]))
			p += n
			if n < 8 {
				break
			}
		}
		s.pos = p
		if p >= s.end {
			if s.eof {
				s.bad("in a string")
				return
			}
			s.fill()
			continue
		}
		switch c := s.buf[p]; {
		case c == '"':
			s.pos++
			s.comma = true
			return
		case c == '\\':
			if s.end-s.pos < maxEscape && !s.eof {
				s.fill()
			}
			n := escape(s.buf[s.pos:s.end])
			if n == 0 {
				s.badEscape()
				return
			}
			s.pos += n - 1
		case c < ' ':
			s.bad("in a string")
			return
		}
		s.pos++
	}
}

// unescaped returns how many of the eight bytes of v, from the lowest, are neither a
// quote, a backslash nor a control character. Each term sets the high bit of the bytes
// it is about; a borrow may set it in a byte above such a one, never below (Anderson,
// Bit Twiddling Hacks, "Determine if a word has a zero byte").
func unescaped(v uint64) int {
	const each, high = 0x0101010101010101, 0x8080808080808080
	quote, backslash := v^'"'*each, v^'\\'*each
	found := (quote-each)&^quote | (backslash-each)&^backslash | (v-' '*each)&^v
	return bits.TrailingZeros64(found&high) / 8
}

// End returns the error of s, or one if more than white space follows. Reading to the
// end also allows the connection to be used again.
func (s *Scanner) End() error {
	s.space()
	if s.err == nil && s.depth > 0 {
		s.fail(errTruncated)
	}
	if s.err == nil && s.pos < s.end {
		s.bad("after the end")
	}
	return s.err
}

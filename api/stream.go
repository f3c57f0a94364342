package api

import (
	"errors"
	"time"

	"github.com/go-json-experiment/json"
)

// streamBuffer is how much of a streamed reply is held before it is sent. A
// failure before that still gets a status of its own.
const streamBuffer = 32 << 10

// streamBytes is what a stream of levels takes: its buffer, and a page of analyses as
// the store reads them, encoded and decoded.
const streamBytes = 256 << 10

// stream sends a long reply in pieces. Each piece must be read by the client
// within writeTimeout, and the whole in the time the slowest client there may be takes.
type stream struct {
	w   *reply
	buf []byte
	due time.Time // when what has been sent must have been read; zero before the first piece
	// bounded is set when the caller has set a deadline for the whole reply
	bounded bool
}

// Write implements io.Writer.
func (s *stream) Write(p []byte) (int, error) {
	s.buf = append(s.buf, p...)
	return len(p), s.spill()
}

// encode writes v, a pointer to a value of wire, and a line feed. Its error is the cause
// alone, without where in v it came up.
func (s *stream) encode(v any) error {
	err := writeJSON(s, v)
	if where := (*json.SemanticError)(nil); errors.As(err, &where) {
		return where.Err
	}
	return err
}

// spill sends what is buffered if it is enough to be worth it.
func (s *stream) spill() error {
	if len(s.buf) < streamBuffer {
		return nil
	}
	return s.flush()
}

func (s *stream) flush() error {
	if !s.bounded {
		now := time.Now()
		if s.due.IsZero() {
			s.due = now.Add(writeTimeout)
		}
		s.due = s.due.Add(time.Duration(len(s.buf)) * time.Second / slowest)
		s.w.deadline(max(min(s.due.Sub(now), writeTimeout), time.Millisecond)) // 0 would lift it
	}
	_, err := s.w.Write(s.buf)
	s.buf = s.buf[:0]
	if err != nil {
		return &problem{code: "client_gone", detail: "the client went away or did not read: " + err.Error()}
	}
	return nil
}

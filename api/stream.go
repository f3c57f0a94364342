package api

import (
	"errors"
	"time"

	"github.com/go-json-experiment/json"
)

// streamBuffer is the part of a streamed reply that is buffered before it is sent. An
// error before that still gets its own status.
const streamBuffer = 32 << 10

// streamBytes is the memory of a stream of levels: its buffer, and a page of analyses
// from the store, encoded and decoded.
const streamBytes = 256 << 10

// stream sends a long reply in pieces. The client must read each piece within
// writeTimeout, and the whole at the slowest permitted rate.
type stream struct {
	w   *reply
	buf []byte
	due time.Time // deadline for reading what has been sent; zero before the first piece
	// bounded is set if the caller has set a deadline for the whole reply
	bounded bool
}

// Write implements io.Writer.
func (s *stream) Write(p []byte) (int, error) {
	s.buf = append(s.buf, p...)
	return len(p), s.spill()
}

// encode writes v, a pointer to a value of wire, and a line feed. Its error is only the
// cause, without the place in v.
func (s *stream) encode(v any) error {
	err := writeJSON(s, v)
	if where := (*json.SemanticError)(nil); errors.As(err, &where) {
		return where.Err
	}
	return err
}

// worked moves the deadline of the client by the time it took to compute what is sent next.
func (s *stream) worked(d time.Duration) {
	if !s.due.IsZero() {
		s.due = s.due.Add(d)
	}
}

// spill sends the buffer if it is large enough.
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
		s.w.deadline(max(min(s.due.Sub(now), writeTimeout), time.Millisecond)) // 0 would remove the deadline
	}
	_, err := s.w.Write(s.buf)
	s.buf = s.buf[:0]
	if err != nil {
		return &problem{code: "client_gone", detail: "the client went away or did not read: " + err.Error()}
	}
	return nil
}

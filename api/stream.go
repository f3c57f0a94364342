package api

// streamBuffer is how much of a streamed reply is held before it is sent. A
// failure before that still gets a status of its own.
const streamBuffer = 32 << 10

// stream sends a long reply in pieces. Each piece must be read by the client
// within writeTimeout.
type stream struct {
	w   *reply
	buf []byte
	// bounded is set when the caller has set a deadline for the whole reply
	bounded bool
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
		s.w.deadline(writeTimeout)
	}
	_, err := s.w.Write(s.buf)
	s.buf = s.buf[:0]
	if err != nil {
		return &problem{code: "client_gone", detail: "the client went away or did not read: " + err.Error()}
	}
	return nil
}

package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"tidemark/levels"
)

// A State is encoded as its version, the size of an episode, AsOf, the number of levels, the
// levels, and a checksum of everything before it. Integers are varints, an episode is as
// encoding/binary writes it, little-endian. The size is there because an episode contains a
// levels.Level, and a change of that must not be misread. A level takes 18 bytes
// outside an episode, and about 230 in one.
const version = 1

// ErrState is wrapped by the errors of Decode.
var ErrState = errors.New("a stored state of levels cannot be read")

var (
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
	episodeSize = binary.Size(episode{})
)

// Append appends the state to dst.
func (s *State) Append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, version)
	dst = binary.AppendUvarint(dst, uint64(episodeSize))
	dst = binary.AppendVarint(dst, s.asOf)
	dst = binary.AppendUvarint(dst, uint64(len(s.tracks)))
	for i := range s.tracks {
		t := &s.tracks[i]
		dst = binary.LittleEndian.AppendUint64(dst, t.id)
		dst = append(dst, byte(t.phase), byte(t.past))
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(t.price))
		if t.phase == open {
			dst, _ = binary.Append(dst, binary.LittleEndian, &t.episode) // of a fixed size: no error
		}
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// Decode restores the state that Append has written. For anything else it returns ErrState,
// with the reason.
func Decode(b []byte) (State, error) {
	end := len(b) - crc32.Size
	if end < 1 || crc32.Checksum(b[:end], castagnoli) != binary.LittleEndian.Uint32(b[end:]) {
		return State{}, fmt.Errorf("%w: its checksum is wrong", ErrState)
	}
	if b[0] != version {
		return State{}, fmt.Errorf("%w: version %d", ErrState, b[0])
	}
	r := reader{b: b[1:end]}
	if size := r.uvarint(); size != uint64(episodeSize) {
		return State{}, fmt.Errorf("%w: an episode has %d bytes, not %d", ErrState, size, episodeSize)
	}
	s := State{asOf: r.varint()}
	n := r.uvarint()
	if n > maxTracks {
		return State{}, fmt.Errorf("%w: %d levels", ErrState, n)
	}
	for range n {
		t := track{id: r.uint64(), phase: phase(r.byte()), past: past(r.byte()), price: math.Float64frombits(r.uint64())}
		if t.phase == open {
			t.episode = r.episode()
		}
		if l := &t.Level; r.failed || t.phase >= phases || t.past > heldIn(levels.Resistance) ||
			l.Role > levels.Resistance || l.Status > levels.Flipped || l.State > levels.Unjudged || l.NoOdds > levels.BeforeOdds {
			return State{}, fmt.Errorf("%w: a level is damaged", ErrState)
		}
		s.tracks = append(s.tracks, t)
	}
	if r.failed || len(r.b) > 0 {
		return State{}, fmt.Errorf("%w: its length is wrong", ErrState)
	}
	return s, nil
}

// reader reads what Append has written. After the end it returns zeros and is failed.
type reader struct {
	b      []byte
	failed bool
}

// take returns the next n bytes.
func (r *reader) take(n int) []byte {
	if n <= 0 || n > len(r.b) {
		r.b, r.failed = nil, true
		return make([]byte, max(n, 8))
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) byte() byte { return r.take(1)[0] }

func (r *reader) uint64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.take(n)
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	r.take(n)
	return v
}

func (r *reader) episode() (e episode) {
	_, err := binary.Decode(r.take(episodeSize), binary.LittleEndian, &e)
	r.failed = r.failed || err != nil
	return e
}

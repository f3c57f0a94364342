package event

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"reflect"
	"testing"
	"testing/quick"

	"tidemark/levels"
)

// some returns a state with levels in each phase.
func some() State {
	s := State{asOf: 1_700_000_000_000}
	random := rand.New(rand.NewPCG(1, 1))
	for i := range 7 {
		t := track{id: random.Uint64(), phase: phase(i % int(phases)), past: past(i % 5), price: random.Float64()}
		if t.phase == open {
			t.episode = episode{Level: shown(t.id, t.price), Moment: levels.Moment{AsOf: s.asOf, LastPrice: 1, ATR: 0.1}, TouchedAt: 9}
		}
		s.tracks = append(s.tracks, t)
	}
	return s
}

func TestDecode_RestoresWhatAppendWrote(t *testing.T) {
	for _, want := range []State{{}, {asOf: -1}, some()} {
		b := want.Append([]byte("before"))[len("before"):]
		if got, err := Decode(b); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
	// Every field, of whatever value.
	if err := quick.Check(func(e episode, id uint64) bool {
		e.Level.Role, e.Level.Status, e.Level.State, e.Level.NoOdds = 1, 2, 3, 1
		s := State{tracks: []track{{id: id, phase: open, episode: e}}}
		got, err := Decode(s.Append(nil))
		return err == nil && reflect.DeepEqual(got, s)
	}, nil); err != nil {
		t.Error(err)
	}
}

func TestDecode_RefusesDamage(t *testing.T) {
	s := some()
	b := s.Append(nil)
	for i := range b {
		if _, err := Decode(b[:i]); !errors.Is(err, ErrState) {
			t.Errorf("%d of %d bytes: %v", i, len(b), err)
		}
		for bit := range 8 {
			b[i] ^= 1 << bit
			if _, err := Decode(b); !errors.Is(err, ErrState) {
				t.Errorf("byte %d, bit %d: %v", i, bit, err)
			}
			b[i] ^= 1 << bit
		}
	}
	s.tracks = make([]track, maxTracks+1)
	if _, err := Decode(s.Append(nil)); !errors.Is(err, ErrState) {
		t.Errorf("too many levels: %v", err)
	}
}

// What Decode accepts can be used and is written as it was read; the checksum is made right
// so that the rest is reached.
func FuzzDecode(f *testing.F) {
	s := some()
	f.Add(s.Append(nil))
	s = State{}
	f.Add(s.Append(nil))
	before, after, c, _ := quiet(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = Decode(b)
		if len(b) > crc32.Size {
			body := b[: len(b)-crc32.Size : len(b)-crc32.Size]
			b = binary.LittleEndian.AppendUint32(body, crc32.Checksum(body, castagnoli))
		}
		s, err := Decode(b)
		if err != nil {
			return
		}
		written := s.Append(nil)
		again, err := Decode(written)
		if err != nil || string(again.Append(nil)) != string(written) {
			t.Fatalf("%x is written as %x, %v", b, written, err)
		}
		s.asOf = before.AsOf.UnixMilli()
		s.Price(before, before.LastPrice/2, before.AsOf)
		s.Alarm(before)
		for _, x := range s.Close(before, after, c) {
			_, _ = x.Kind.String(), x.Level.State.String()
		}
	})
}

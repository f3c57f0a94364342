package exchange

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"tidemark/levels"
	"tidemark/service"
)

// zipped is a venue whose messages are compressed; each is one list of numbers, which are
// the open times of candles.
type zipped struct{ *fake }

func (zipped) Stream() *Stream                     { return &Stream{Gzip: true} }
func (zipped) Subscribe(int, []service.Key) []byte { return nil }
func (zipped) DecodeFrame(s *Scanner, f *Frame) error {
	for s.Array(); s.More(); {
		f.Add(Push{Candle: levels.Candle{OpenTime: s.Int()}})
	}
	return s.End()
}

func compress(t testing.TB, text string) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func opens(f *Frame) (all []int64) {
	for _, p := range f.Pushes() {
		all = append(all, p.Candle.OpenTime)
	}
	return all
}

func TestDecoder_Gzip(t *testing.T) {
	d := newDecoder(zipped{})
	var f Frame
	check := func(name string, binary bool, message []byte, fails bool, want ...int64) {
		t.Helper()
		if err := d.frame(binary, message, &f); (err != nil) != fails || !fails && !slices.Equal(opens(&f), want) {
			t.Errorf("%s: %v, %d", name, err, opens(&f))
		}
	}
	message := compress(t, "[1,2,3]")
	check("compressed", true, message, false, 1, 2, 3)
	check("cut off", true, message[:len(message)-1], true)
	broken := slices.Clone(message)
	broken[len(broken)-6] ^= 1
	check("another checksum", true, broken, true)
	check("more behind it", true, append(slices.Clone(message), 1), true)
	check("not compressed", true, []byte("[1]"), true)
	check("a text", false, []byte("[4]"), false, 4)
	check("compressed again", true, compress(t, "[5]"), false, 5)
}

// A message that holds four times what is read takes no memory.
func TestDecoder_GzipIsBounded(t *testing.T) {
	d := newDecoder(zipped{})
	var f Frame
	if err := d.frame(true, compress(t, "[1]"), &f); err != nil {
		t.Fatal(err)
	}
	bomb := compress(t, "["+strings.Repeat(" ", 4*maxFrame)+"1]")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := d.frame(true, bomb, &f)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, errLongFrame) || took > 64<<10 {
		t.Errorf("%v, %d bytes allocated", err, took)
	}
}

// A compressed message says what the same message says as a text.
func FuzzDecoder_Gzip(f *testing.F) {
	for _, text := range []string{"[1,2]", "", "[", "[1] ", "[1]]"} {
		f.Add(compress(f, text))
	}
	f.Add([]byte{0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0, 255, 255})
	d := newDecoder(zipped{})
	f.Fuzz(func(t *testing.T, message []byte) {
		var got, want Frame
		err := d.frame(true, message, &got)
		var text []byte
		r, bad := gzip.NewReader(bytes.NewReader(message))
		if bad == nil {
			text, bad = io.ReadAll(io.LimitReader(r, maxFrame+1))
		}
		if bad == nil && len(text) > maxFrame {
			bad = errLongFrame
		}
		if bad == nil {
			bad = d.frame(false, text, &want)
		}
		if (err == nil) != (bad == nil) || err == nil && !slices.Equal(opens(&got), opens(&want)) {
			t.Fatalf("%v, %d, want %v, %d", err, opens(&got), bad, opens(&want))
		}
	})
}

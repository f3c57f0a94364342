package binance

// The memory of a body is bounded, also for white space, long values, large objects
// and deep nesting.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"tidemark/levels"
)

// endless repeats a text so that so many bytes come of it, none of which are kept.
func endless(text string, size int64) io.Reader { return io.LimitReader(&repeated{text: text}, size) }

type repeated struct {
	text string
	pos  int
}

func (r *repeated) Read(p []byte) (n int, err error) {
	for n < len(p) {
		c := copy(p[n:], r.text[r.pos:])
		r.pos = (r.pos + c) % len(r.text)
		n += c
	}
	return n, nil
}

func TestDecode_NoBodyTakesMoreMemoryThanAnHonestOne(t *testing.T) {
	const size = 1 << 20
	body := func(before, repeat, after string) io.Reader {
		return io.MultiReader(strings.NewReader(before), endless(repeat, size), strings.NewReader(after))
	}
	pair := `{"symbol":"AB","status":"TRADING","baseAsset":"A","quoteAsset":"B","isSpotTradingAllowed":true`
	list := fmt.Sprintf(`{"serverTime":%d,"symbols":[%s}]}`, venueStart.UnixMilli(), pair)
	for name, make := range map[string]func() io.Reader{
		"white space":                func() io.Reader { return body("", " ", "") },
		"mixed white space":          func() io.Reader { return body("", " \t\r\n", "") },
		"white space before":         func() io.Reader { return body("", "\n", list) },
		"white space after":          func() io.Reader { return body(list, "\n", "") },
		"white space before a name":  func() io.Reader { return body(`{`, " ", list[1:]) },
		"white space in a row":       func() io.Reader { return body(`[[1,`, " ", "") },
		"white space in a pair":      func() io.Reader { return body(`{"symbols":[`+pair+`,"x":`, " ", "1}]}") },
		"white space in a ticker":    func() io.Reader { return body(`[{"symbol":`, " ", `"A","quoteVolume":"1"}]`) },
		"a long string":              func() io.Reader { return body(`{"symbols":[{"symbol":"`, "A", `"}]}`) },
		"a long string of escapes":   func() io.Reader { return body(`{"symbols":[{"symbol":"`, `\"`, `"}]}`) },
		"a long name":                func() io.Reader { return body(`{"`, "A", `":1}`) },
		"a long number":              func() io.Reader { return body(`{"serverTime":`, "1", "}") },
		"a long number to skip":      func() io.Reader { return body(`{"x":`, "1", "}") },
		"a long word":                func() io.Reader { return body("", "true", "") },
		"a list for a name":          func() io.Reader { return body(`{"symbols":[{"symbol":[1`, ",1", "]}]}") },
		"a list for a ticker":        func() io.Reader { return body(`[{"symbol":[1`, ",1", "]}]") },
		"a list for a member's name": func() io.Reader { return body(`{[1`, ",1", "]:1}") },
		"a list for a time":          func() io.Reader { return body(`{"serverTime":[1`, ",1", "]}") },
		"an object without end":      func() io.Reader { return numbered(`{"x":{`, size) },
		"an error without end":       func() io.Reader { return numbered(`{`, size) },
		"pairs nested in each other": func() io.Reader { return body("", `{"x":`, "") },
		"lists nested in each other": func() io.Reader { return body(`{"x":`, "[", "") },
	} {
		for decoder, decode := range map[string]func(r io.Reader){
			"exchangeInfo": func(r io.Reader) { decodeExchangeInfo(r, new(info)) },
			"ticker/24hr":  func(r io.Reader) { decodeTicker(r, func([]byte, float64) {}) },
			"time":         func(r io.Reader) { decodeTime(r) },
			"klines": func(r io.Reader) {
				var c levels.Candles
				c.Reset("1h", 10)
				decodeKlines(r, nil, &c, everything)
			},
		} {
			r := make()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			decode(r)
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > 512<<10 {
				t.Errorf("%s as %s: %d KiB", name, decoder, took>>10)
			}
		}
	}
}

// numbered starts with a text and continues with members of different names.
func numbered(before string, size int64) io.Reader {
	r, n := &members{}, int64(len(before))
	return io.MultiReader(strings.NewReader(before), io.LimitReader(r, size-n))
}

type members struct {
	n    int
	left []byte
}

func (m *members) Read(p []byte) (int, error) {
	if len(m.left) == 0 {
		m.left = fmt.Appendf(m.left, `"%d":1,`, m.n)
		m.n++
	}
	n := copy(p, m.left)
	m.left = m.left[:copy(m.left, m.left[n:])]
	return n, nil
}

func TestGuard_PassesWhiteSpaceInsideStrings(t *testing.T) {
	for body, want := range map[string]string{
		` { "a b" :  [ 1 ,  "  \"  " ] } `: ` { "a b" : [ 1 , "  \"  " ] } `,
		"[1\n\t 2]":                        "[1\n2]",
		`"\\"  "  "`:                       `"\\" "  "`,
		"":                                 "",
		"   ":                              " ",
	} {
		got, err := io.ReadAll(&guard{r: iotest.OneByteReader(strings.NewReader(body))})
		if err != nil || string(got) != want {
			t.Errorf("%q: %q, %v; want %q", body, got, err, want)
		}
	}
}

func FuzzGuard(f *testing.F) {
	f.Add([]byte(exchangeInfo(venueStart.UnixMilli(), listedPairs)))
	f.Add([]byte(` { "a\\" : [ 1 , "  \"  " ] } `))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := io.ReadAll(&guard{r: bytes.NewReader(body)})
		pieces, err2 := io.ReadAll(&guard{r: iotest.OneByteReader(bytes.NewReader(body))})
		if !bytes.Equal(got, pieces) || (err == nil) != (err2 == nil) {
			t.Fatalf("%q, %v; in pieces %q, %v", got, err, pieces, err2)
		}
		if err != nil {
			return
		}
		if json.Valid(got) != json.Valid(body) {
			t.Fatalf("%q became %q", body, got)
		}
		var a, b bytes.Buffer
		if json.Compact(&a, body) == nil && (json.Compact(&b, got) != nil || !bytes.Equal(a.Bytes(), b.Bytes())) {
			t.Fatalf("%q became %q", body, got)
		}
	})
}

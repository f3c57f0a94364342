package exchange

// A stream of JSON is read strictly and exactly, whatever the pieces it arrives in, and
// no body takes more memory than the buffer. The oracle is encoding/json.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

// pieces are the ways in which a body arrives.
var pieces = map[string]func(io.Reader) io.Reader{
	"whole": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader,
	"halves": iotest.HalfReader, "end with data": iotest.DataErrReader,
}

// values reads the next value with the methods of s as encoding/json decodes it, numbers
// as json.Number. Duplicate names are kept by order of appearance, the last wins.
func values(s *Scanner) any {
	switch {
	case s.IsObject():
		all := map[string]any{}
		for s.Object(); s.More(); {
			raw := s.Key()
			if s.Err() != nil {
				return nil
			}
			var key string
			if err := json.Unmarshal(append(append([]byte{'"'}, raw...), '"'), &key); err != nil {
				s.Fail(err)
				return nil
			}
			v := values(s)
			if s.Err() == nil {
				all[key] = v
			}
		}
		return all
	case s.IsArray():
		all := []any{}
		for s.Array(); s.More(); {
			all = append(all, values(s))
		}
		return all
	case s.IsString():
		return string([]rune(string(s.Text()))) // invalid UTF-8 is replaced, as there
	}
	switch word := string(s.Scalar()); word {
	case "true":
		return true
	case "false":
		return false
	case "null":
		return nil
	default:
		return json.Number(word)
	}
}

func read(r io.Reader, size int) (any, error) {
	s := NewScanner(r, make([]byte, size))
	v := values(s)
	return v, s.End()
}

func skip(r io.Reader, size int) error {
	s := NewScanner(r, make([]byte, size))
	s.Skip()
	return s.End()
}

func TestScanner_AgreesWithEncodingJSON(t *testing.T) {
	long := strings.Repeat("x", 900)
	for _, body := range []string{
		`[]`, `{}`, ` [ ] `, "\t{\r\n}\n", `[[],{},[[]],{"a":{}}]`, `0`, `-0`, `-1.5e-7`, `1E400`, `"x"`, `true`, `null`,
		`[1,-2,3.5,"4",null,true,false]`, ` [ 1 , 2 ] `, `{"a":1,"b":[2,{"c":"d"}],"a":3}`, `{ "a" : 1 , "b" : 2 }`,
		`["\"\\\/\b\f\n\r\t\u00e4\ud83d\ude00\ud800"]`, `{"\u0061\"":1}`, "[\"\xff\x7fä\"]", `["","` + long + `"]`,
		`{"` + long + `":1}`, `{"` + long + `"` + strings.Repeat(" ", 5000) + `:1}`,
		"[" + strings.Repeat(" ", 10_000) + "1" + strings.Repeat("\n", 10_000) + ",2" + strings.Repeat("\t", 10_000) + "]" + strings.Repeat(" ", 10_000),
		"[" + strings.Repeat("1.25,", 5000) + "1]", strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth),
		`[` + strings.Repeat(`{"open":"3701.23000000","high":1,"x":[1,2]},`, 500) + `{}]`,
	} {
		d := json.NewDecoder(strings.NewReader(body))
		d.UseNumber()
		var want any
		if err := d.Decode(&want); err != nil {
			t.Fatal(body, err)
		}
		for how, wrap := range pieces {
			for _, size := range []int{minBuffer, minBuffer + 1, 0} {
				got, err := read(wrap(strings.NewReader(body)), size)
				a, _ := json.Marshal(got)
				b, _ := json.Marshal(want)
				if err != nil || !bytes.Equal(a, b) {
					t.Errorf("%.60s (%s, %d): %v, %.80s", body, how, size, err, a)
				}
				if err := skip(wrap(strings.NewReader(body)), size); err != nil {
					t.Errorf("%.60s skipped (%s, %d): %v", body, how, size, err)
				}
			}
		}
	}
}

func TestScanner_RefusesWhatIsNoJSON(t *testing.T) {
	for _, body := range []string{
		``, ` `, `x`, `tru`, `truex`, `nul`, `nulll`, `True`, `NaN`, `Infinity`, `+1`, `.5`, `1.`, `01`, `-`, `-x`, `1e`, `1e+`, `0x10`, `0x1p99999`,
		`+1e999`, `01e999`, `1.e999`, `.5e999`, `1_0`, `1 2`, `[1 2]`, `[1,]`, `[,1]`, `[,]`, `[`, `]`, `[1`, `[1}`, `{"a":1]`, `{`, `{}}`, `[]]`, `[][]`, `{"a"}`, `{"a",1}`, `{"a":}`,
		`{"a":1,}`, `{,}`, `{a:1}`, `{1:2}`, `{"a":1 "b":2}`, `{"a"::1}`, `{null:1}`, `{[]:1}`, `"`, `"a`, `"\`, `"\"`, `"\q"`, `"\u12"`, `"\u12G4"`, `"\'"`, "\"a\nb\"", "\"\x00\"",
		"[1]\x00", "\x00[1]", "[\x001]", `'a'`, `[1]//`, `/**/1`, "\v1", "1\u00a0", "\ufeff[]", `[1;2]`, `["a" "b"]`, `["\u00zz"]`, `{"\x":1}`, `{"a":1,"b"}`,
	} {
		if json.Valid([]byte(body)) {
			t.Fatalf("%q is JSON", body)
		}
		for how, wrap := range pieces {
			if err := skip(wrap(strings.NewReader(body)), 0); err == nil {
				t.Errorf("%q is skipped (%s)", body, how)
			}
			if got, err := read(wrap(strings.NewReader(body)), 0); err == nil {
				t.Errorf("%q is %v (%s)", body, got, how)
			}
		}
	}
	for name, body := range map[string]string{
		"longer than 1024": `["` + strings.Repeat("x", maxToken) + `"]`, "longer than": "[" + strings.Repeat("1", 2*maxToken) + "]",
		"deeper than 16": strings.Repeat("[", maxDepth+1), "HTML": " <html>", "empty": "\n",
	} {
		if _, err := read(strings.NewReader(body), 0); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%.30s: %v, want %q", body, err, name)
		}
	}
}

func TestScanner_SaysThatABodyIsTruncated(t *testing.T) {
	body := `{"a":[1,-2.5e-3,"x\u00e4\n",true,null,{}],"b" : {"c":false} }`
	for n := 1; n < len(body); n++ {
		for how, wrap := range pieces {
			if err := skip(wrap(strings.NewReader(body[:n])), 0); !errors.Is(err, errTruncated) {
				t.Errorf("%s skipped (%s): %v", body[:n], how, err)
			}
			if _, err := read(wrap(strings.NewReader(body[:n])), 0); !errors.Is(err, errTruncated) {
				t.Errorf("%s (%s): %v", body[:n], how, err)
			}
		}
	}
}

func TestScanner_PassesOnReadErrors(t *testing.T) {
	broken := errors.New("connection reset by peer")
	for _, n := range []int{0, 1, 5000, 20_000} {
		body := "[" + strings.Repeat("1,", 10_000)
		if err := skip(io.MultiReader(strings.NewReader(body[:n]), iotest.ErrReader(broken)), minBuffer); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	if err := skip(stuck{}, 0); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestScanner_Numbers(t *testing.T) {
	for _, tt := range []struct {
		body    string
		integer int64
		decimal float64
		isInt   bool
		ok      bool // a decimal
	}{
		{`0`, 0, 0, true, true}, {`"0"`, 0, 0, true, true}, {`-7`, -7, -7, true, true}, {`"-7"`, -7, -7, true, true},
		{`123456789012345678`, 123456789012345678, 123456789012345678, true, true}, {`1234567890123456789`, 0, 1234567890123456789, false, true},
		{`"1.5"`, 0, 1.5, false, true}, {`1.0`, 0, 1, false, true}, {`1e3`, 0, 1000, false, true}, {`"1E3"`, 0, 1000, false, true},
		{`4.9e-324`, 0, 4.9e-324, false, true}, {`1e-400`, 0, 0, false, true}, {`1e999`, 0, 0, false, false}, {`"1e999"`, 0, 0, false, false},
		{`""`, 0, 0, false, false}, {`"`, 0, 0, false, false}, {`-`, 0, 0, false, false}, {`01`, 0, 0, false, false}, {`"01"`, 0, 0, false, false}, {`+1`, 0, 0, false, false},
		{`" 1"`, 0, 0, false, false}, {`"1 "`, 0, 0, false, false}, {`1x`, 0, 0, false, false}, {`"1x"`, 0, 0, false, false}, {`1.`, 0, 0, false, false},
		{`"0x10"`, 0, 0, false, false}, {`"NaN"`, 0, 0, false, false}, {`null`, 0, 0, false, false}, {`[1]`, 0, 0, false, false}, {`"1`, 0, 0, false, false}, {`1_0`, 0, 0, false, false},
	} {
		for how, wrap := range pieces {
			s := NewScanner(wrap(strings.NewReader(tt.body)), nil)
			n := s.Int()
			if err := s.End(); (err == nil) != tt.isInt || err == nil && n != tt.integer {
				t.Errorf("%s (%s): %d, %v", tt.body, how, n, err)
			}
			s = NewScanner(wrap(strings.NewReader(tt.body)), nil)
			f := s.Decimal()
			if err := s.End(); (err == nil) != tt.ok || err == nil && f != tt.decimal {
				t.Errorf("%s (%s): %v, %v", tt.body, how, f, err)
			}
		}
	}
	// What Int and Decimal take does not depend on the pieces either.
	for _, digits := range []int{maxToken - 2, maxToken, maxToken + 1, 3 * maxToken, 9 * maxToken} {
		for _, quote := range []string{"", `"`} {
			body := quote + "0." + strings.Repeat("1", digits) + quote
			ok := 0
			for _, wrap := range pieces {
				for _, size := range []int{minBuffer, ownBuffer} {
					s := NewScanner(wrap(strings.NewReader(body)), make([]byte, size))
					if s.Decimal(); s.End() == nil {
						ok++
					}
				}
			}
			if ok != 0 && ok != 2*len(pieces) {
				t.Errorf("%d digits with %q: accepted %d times of %d", digits, quote, ok, 2*len(pieces))
			}
		}
	}
}

func TestScanner_OtherValues(t *testing.T) {
	amount := func(body string) (float64, error) {
		s := NewScanner(strings.NewReader(body), nil)
		v := s.Amount()
		return v, s.End()
	}
	for body, want := range map[string]float64{`null`: 0, `""`: 0, `"1.5"`: 1.5, `2`: 2} {
		if got, err := amount(body); err != nil || got != want {
			t.Errorf("%s: %v, %v", body, got, err)
		}
	}
	for _, body := range []string{`nul`, `nullx`, `"x"`, `" "`, `true`, `"" ""`} {
		if got, err := amount(body); err == nil {
			t.Errorf("%s: %v", body, got)
		}
	}
	for body, want := range map[string]bool{`true`: true, `false`: false, `"true"`: true} {
		s := NewScanner(strings.NewReader(body), nil)
		if got := s.Bool(); got != want || s.End() != nil {
			t.Errorf("%s: %v, %v", body, got, s.Err())
		}
	}
	for _, body := range []string{`1`, `null`, `"yes"`, `[]`} {
		if s := NewScanner(strings.NewReader(body), nil); s.Bool() || s.End() == nil {
			t.Errorf("%s is a bool", body)
		}
	}
}

// The first error is kept, and everything after it returns at once.
func TestScanner_StopsAtTheFirstError(t *testing.T) {
	s := NewScanner(strings.NewReader(`{"a":"x","b":2}`), nil)
	s.Object()
	s.More()
	s.Key()
	if s.Int() != 0 || s.Err() == nil {
		t.Fatal("a word is a number")
	}
	first := s.Err()
	s.Fail(errors.New("another"))
	if s.More() || s.Key() != nil || s.Bytes() != nil || s.Text() != nil || s.Scalar() != nil || s.Int() != 0 || s.Decimal() != 0 || s.Amount() != 0 || s.Bool() || s.IsArray() || s.IsObject() || s.IsString() {
		t.Error("a value after an error")
	}
	s.Array()
	s.Object()
	s.Close()
	s.Skip()
	if s.End() != first {
		t.Errorf("%v, want %v", s.End(), first)
	}
}

// A value that was not read is left out by Close; one that is read twice is an error.
func TestScanner_Close(t *testing.T) {
	s := NewScanner(strings.NewReader(`[[1,2,{"a":[3]},"x"],{"a":1,"b":{"c":2}},[]]`), nil)
	s.Array()
	s.Array()
	if s.Int() != 1 {
		t.Error(s.Err())
	}
	s.Close()
	s.Object()
	s.More()
	if string(s.Key()) != "a" || s.Int() != 1 {
		t.Error(s.Err())
	}
	s.Close()
	s.Array()
	s.Close()
	s.Close()
	if err := s.End(); err != nil {
		t.Error(err)
	}
	s = NewScanner(strings.NewReader(`{"a":1}`), nil)
	s.Object()
	s.More()
	s.Key()
	s.Key()
	if s.End() == nil {
		t.Error("a number is a name")
	}
}

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

func TestScanner_NoBodyTakesMoreMemoryThanTheBuffer(t *testing.T) {
	if testing.Short() {
		t.Skip("only computes")
	}
	const size = 1 << 20
	for _, tt := range []struct{ name, before, repeat, after string }{
		{"white space", "", " ", ""},
		{"mixed white space", "", " \t\r\n", ""},
		{"white space before", "", "\n", `{"a":1}`},
		{"white space after", `[1]`, "\n", ""},
		{"white space before a name", `{`, " ", `"a":1}`},
		{"white space before a colon", `{"a"`, " ", `:1}`},
		{"white space before a value", `{"a":`, " ", `1}`},
		{"white space in a list", `[1`, " ", `]`},
		{"a long string", `["`, "A", `"]`},
		{"a long string of escapes", `["`, `\"`, `"]`},
		{"a long string of code points", `["`, `\u00e4`, `"]`},
		{"a long name", `{"`, "A", `":1}`},
		{"a long number", `[`, "1", `]`},
		{"a long fraction", `[0.`, "1", `]`},
		{"a long quoted number", `["`, "1", `"]`},
		{"a long word", `[`, "true", `]`},
		{"a long list", `[1`, ",1", `]`},
		{"a long object", `{"a":1`, `,"a":1`, `}`},
		{"nested lists", ``, "[", ``},
		{"nested objects", ``, `{"a":`, ``},
		{"nested in each other", ``, `{"a":[`, ``},
	} {
		for how, use := range map[string]func(s *Scanner){
			"skipped": (*Scanner).Skip,
			"closed":  func(s *Scanner) { s.Array(); s.Int(); s.Close() },
			"members": func(s *Scanner) {
				for s.Object(); s.More(); {
					s.Key()
					s.Scalar()
				}
			},
			"texts": func(s *Scanner) {
				for s.Array(); s.More(); {
					s.Text()
				}
			},
			"numbers": func(s *Scanner) {
				for s.Array(); s.More(); {
					s.Decimal()
				}
			},
			"a listing": func(s *Scanner) {
				dst := new(Listing)
				for s.Object(); s.More(); {
					dst.Word(s.Key())
					dst.Word(s.Text())
				}
			},
		} {
			r := io.MultiReader(strings.NewReader(tt.before), endless(tt.repeat, size), strings.NewReader(tt.after))
			buf := make([]byte, minBuffer)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			s := NewScanner(r, buf)
			use(s)
			s.End()
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > 64<<10 {
				t.Errorf("%s, %s: %d KiB", tt.name, how, took>>10)
			}
		}
	}
}

func TestScanner_AllocatesNothing(t *testing.T) {
	body := []byte(`[` + strings.Repeat(`{"t":1700000000000,"open":"3701.23000000","x":[1,"2",null],"ok":true},`, 200) + `{}]`)
	buf := make([]byte, ownBuffer)
	r := bytes.NewReader(body)
	allocs := testing.AllocsPerRun(20, func() {
		r.Reset(body)
		s := NewScanner(r, buf)
		for s.Array(); s.More(); {
			for s.Object(); s.More(); {
				switch string(s.Key()) {
				case "t":
					s.Int()
				case "open":
					s.Decimal()
				case "ok":
					s.Bool()
				default:
					s.Skip()
				}
			}
		}
		if err := s.End(); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 1 { // the Scanner
		t.Errorf("%v allocations", allocs)
	}
}

func FuzzScanner(f *testing.F) {
	for _, s := range []string{
		``, ` `, `[]`, `{"a":[1,-2.5e-3,"x\u00e4\n",true,null,{}],"b" : {"c":false} }`, `0x1p99999`, `01e999`, `1e999`, `{"a" :1,"a":2}`, `["\ud800"]`, `["\u00zz"]`,
		`[[1,"2","3.0"],[4,"5",null]]`, "[\"\xff\"]", `{"code":"0","msg":"","data":[["1597026383085","3.721","3.743"]]}`, strings.Repeat("[", 17), "tru", "<html>",
	} {
		f.Add([]byte(s), uint16(0))
	}
	f.Fuzz(func(t *testing.T, body []byte, size uint16) {
		valid := json.Valid(body)
		skipped := skip(bytes.NewReader(body), int(size))
		got, err := read(bytes.NewReader(body), int(size))
		if !valid && (skipped == nil || err == nil) {
			t.Fatalf("no JSON: skipped %v, read %v", skipped, err)
		}
		tooMuch := func(err error) bool {
			return err != nil && (strings.Contains(err.Error(), "longer than") || strings.Contains(err.Error(), "deeper than"))
		}
		if valid && (skipped != nil && !tooMuch(skipped) || err != nil && !tooMuch(err)) {
			t.Fatalf("JSON: skipped %v, read %v", skipped, err)
		}
		if again := skip(iotest.OneByteReader(bytes.NewReader(body)), 0); (skipped == nil) != (again == nil) {
			t.Fatalf("skipped %v, in pieces %v", skipped, again)
		}
		again, err2 := read(iotest.OneByteReader(bytes.NewReader(body)), 0)
		if fmt.Sprint(err) != fmt.Sprint(err2) {
			t.Fatalf("%v, in pieces %v", err, err2)
		}
		if err != nil {
			return
		}
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		var want any
		if err := d.Decode(&want); err != nil {
			t.Fatal(err)
		}
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		c, _ := json.Marshal(again)
		if !bytes.Equal(a, b) || !bytes.Equal(a, c) {
			t.Fatalf("%s, want %s, in pieces %s", a, b, c)
		}
		// A number is what strconv reads, or refused for its size.
		if n, ok := want.(json.Number); ok {
			s := NewScanner(bytes.NewReader(body), nil)
			f := s.Decimal()
			if w, err := strconv.ParseFloat(n.String(), 64); s.End() == nil != (err == nil) || err == nil && f != w {
				t.Fatalf("%v (%v), want %v (%v)", f, s.Err(), w, err)
			}
		}
	})
}

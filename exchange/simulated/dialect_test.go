package simulated

// What every dialect has in common: its bodies have the fields, their order and their
// kinds of numbers as recorded from the venue; its limits refuse what is above them and
// nothing else; every fault reaches the client. Each dialect's own test file adds a
// venueTest.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// venueTest says how to ask a dialect. A target is a path with a query, or POST, a
// path and a body: "POST /info {...}".
type venueTest struct {
	// klines asks for 20 candles of one hour of a healthy pair, UTC.
	klines string
	// limited are targets with the number of requests in a row that are not refused,
	// and how long to wait until the next one is not.
	limited []limitTest
	// recorded are targets by fixture (folder/name below the shared fixtures). A name
	// with # and a path compares that part of the body of the target; one with @ and a
	// path, before it, that part of the recorded body.
	recorded map[string]string
	// refused are targets with the exact body and status that they get.
	refused []refusedTest
}

type limitTest struct {
	target string
	count  int
	wait   time.Duration
}

type refusedTest struct {
	target string
	status int
	body   string
}

var venueTests = map[string]venueTest{}

// send asks for a target, as from one address.
func send(s *Server, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, newRequest(target))
	return w
}

func newRequest(target string) *http.Request {
	method, path, body := http.MethodGet, target, ""
	if rest, ok := strings.CutPrefix(target, "POST "); ok {
		method = http.MethodPost
		path, body, _ = strings.Cut(rest, " ")
	}
	return httptest.NewRequest(method, path, strings.NewReader(body))
}

func TestDialects_AllHaveATest(t *testing.T) {
	for _, venue := range Venues() {
		if _, ok := venueTests[venue]; !ok && venue != "binance" {
			t.Errorf("%s has no venueTest", venue)
		}
	}
}

func eachVenue(t *testing.T, test func(t *testing.T, venue string, v venueTest)) {
	for _, venue := range slices.Sorted(maps.Keys(venueTests)) {
		t.Run(venue, func(t *testing.T) { test(t, venue, venueTests[venue]) })
	}
}

// fixture reads the body of a recorded response; ok is false, and said, where the shared
// folder is absent.
func fixture(t *testing.T, name string) (body []byte, ok bool) {
	t.Helper()
	shared := os.Getenv("TIDEMARK_SHARED")
	if shared == "" {
		shared = "../../../shared"
	}
	b, err := os.ReadFile(filepath.Join(shared, "exchanges/fixtures", name+".json"))
	if err != nil {
		t.Logf("not compared with what was recorded: %v", err)
		return nil, false
	}
	var f struct {
		Response struct{ Body json.RawMessage }
	}
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	return f.Response.Body, true
}

var (
	numeric = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?(E-?[0-9]+)?$`)
	decoder = func(b []byte) *json.Decoder {
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		return d
	}
)

// style describes a JSON value: keys in their order, the columns of an array of scalars,
// the first element of an array of others, and of scalars the type: "n" and "s" are
// strings with and without a number, n a number, and E one with an exponent.
func style(t *testing.T, b []byte) string {
	t.Helper()
	d := decoder(b)
	s := styleOf(t, d)
	if _, err := d.Token(); err != io.EOF {
		t.Errorf("not one JSON value: %.300s", b)
	}
	return s
}

func styleOf(t *testing.T, d *json.Decoder) string {
	t.Helper()
	token, err := d.Token()
	if err != nil {
		t.Fatal(err)
	}
	switch v := token.(type) {
	case json.Delim:
		var parts []string
		for d.More() {
			if v == '{' {
				key, err := d.Token()
				if err != nil {
					t.Fatal(err)
				}
				parts = append(parts, fmt.Sprint(key, ":", styleOf(t, d)))
			} else {
				parts = append(parts, styleOf(t, d))
			}
		}
		if _, err := d.Token(); err != nil {
			t.Fatal(err)
		}
		if v == '{' {
			return "{" + strings.Join(parts, " ") + "}"
		}
		if len(parts) > 0 && strings.ContainsAny(parts[0], "{[") {
			return "[" + parts[0] + "...]"
		}
		return "[" + strings.Join(parts, " ") + "]"
	case string:
		if numeric.MatchString(v) {
			return `"n"`
		}
		return `"s"`
	case json.Number:
		if strings.Contains(v.String(), "E") {
			return "E"
		}
		return "n"
	}
	return fmt.Sprint(token)
}

// part returns the value at a path of keys and indices.
func part(t *testing.T, b []byte, path string) []byte {
	t.Helper()
	for _, key := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' }) {
		var object map[string]json.RawMessage
		var array []json.RawMessage
		if json.Unmarshal(b, &object) == nil {
			b = object[key]
		} else if err := json.Unmarshal(b, &array); err == nil {
			i := 0
			fmt.Sscan(key, &i)
			if i >= len(array) {
				t.Fatalf("%s: %d elements", path, len(array))
			}
			b = array[i]
		} else {
			t.Fatalf("%s: %v: %.300s", path, err, b)
		}
	}
	return b
}

func TestDialects_LookLikeTheRecordings(t *testing.T) {
	eachVenue(t, func(t *testing.T, venue string, v venueTest) {
		s := New(Options{Venue: venue, Pairs: 3, Now: clock, LimitTimes: 100})
		for name, target := range v.recorded {
			name, path, _ := strings.Cut(name, "#")
			name, oldPath, _ := strings.Cut(name, "@")
			old, ok := fixture(t, name)
			if !ok {
				continue
			}
			if !strings.Contains(name, "/") {
				t.Errorf("%s has no folder", name)
			}
			got := part(t, send(s, target).Body.Bytes(), path)
			if a, b := style(t, got), style(t, part(t, old, oldPath)); a != b {
				t.Errorf("%s\nis         %s\n%s\nrecorded is %s", target, a, name, b)
			}
		}
		for _, r := range v.refused {
			w := send(s, r.target)
			if w.Code != r.status || w.Body.String() != r.body {
				t.Errorf("%s: %d %s\nwant %d %s", r.target, w.Code, w.Body, r.status, r.body)
			}
			if w.Header().Get("X-Tidemark-Simulated") != "true" {
				t.Errorf("%s does not say that it is simulated", r.target)
			}
		}
	})
}

func TestDialects_RefuseWhatIsAboveALimitAndNothingElse(t *testing.T) {
	if testing.Short() {
		t.Skip("only computes")
	}
	eachVenue(t, func(t *testing.T, venue string, v venueTest) {
		for _, l := range v.limited {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Minute) // no window that begins at the epoch
				s := New(Options{Venue: venue, Pairs: 1, Now: clock})
				want := send(s, l.target).Body.String()
				for i := 1; i < l.count; i++ {
					if w := send(s, l.target); w.Body.String() != want || w.Code >= 400 {
						t.Fatalf("%s: request %d of %d: %d %s", l.target, i+1, l.count, w.Code, w.Body)
					}
				}
				if stats := s.Stats(); stats.Refused != 0 {
					t.Fatalf("%s: %+v", l.target, stats)
				}
				if w := send(s, l.target); w.Body.String() == want || s.Stats().Refused != 1 {
					t.Errorf("%s: request %d: %d %s", l.target, l.count+1, w.Code, w.Body)
				}
				time.Sleep(l.wait)
				if w := send(s, l.target); w.Body.String() != want {
					t.Errorf("%s: after %v: %d %s", l.target, l.wait, w.Code, w.Body)
				}
				stats := s.Stats()
				refused := 0
				for _, l := range stats.Limits {
					refused += l.Refused
				}
				if stats.EarlyCount != 0 || stats.Refused != 1 || refused < 1 {
					t.Errorf("%s: %+v", l.target, stats)
				}
			})
		}
	})
}

func TestDialects_HaveEveryFault(t *testing.T) {
	if testing.Short() {
		t.Skip("only computes")
	}
	eachVenue(t, func(t *testing.T, venue string, v venueTest) {
		clean := send(New(Options{Venue: venue, Pairs: 3, Now: clock}), v.klines).Body.String()
		if !json.Valid([]byte(clean)) || strings.Count(clean, ",") < 60 {
			t.Fatalf("%s: %s", v.klines, clean)
		}
		for _, kind := range faultNames[1:] {
			if kind == "reset" || kind == "hang" || kind == "short" {
				continue // which need a socket, and are the same for all
			}
			faults, err := ParseFaults(kind + "=1")
			if err != nil {
				t.Fatal(err)
			}
			s := New(Options{Venue: venue, Pairs: 3, Now: clock, Faults: faults})
			w := send(s, v.klines)
			body := w.Body.String()
			bad := false
			switch kind {
			case "nan":
				bad = strings.Count(body, "NaN") != 1 || strings.Contains(body, "-")
			case "repeat":
				bad = len(body) <= len(clean)
			case "highlow":
				bad = body == clean
			case "unordered":
				a, b := strings.Split(body, ""), strings.Split(clean, "")
				slices.Sort(a)
				slices.Sort(b)
				bad = body == clean || !slices.Equal(a, b)
			case "malformed", "truncated":
				bad = json.Valid([]byte(body))
			case "envelope":
				bad = w.Code != 200 || body == clean || !json.Valid([]byte(body))
			case "html":
				bad = w.Code != 200 || body[0] != '<'
			case "500", "502", "503", "403":
				bad = w.Code != int(kind[0]-'0')*100+int(kind[2]-'0')
			case "429", "ban":
				bad = body == clean
				if again := send(s, v.klines); again.Body.String() == clean || s.Stats().Refused != 1 {
					t.Errorf("%s does not last: %s", kind, again.Body)
				}
			}
			if bad || s.Stats().Faults[kind] != 1 {
				t.Errorf("%s: %d %.400s %v", kind, w.Code, body, s.Stats().Faults)
			}
		}
	})
}

// FuzzDialects: no request makes any dialect panic or send what is not JSON as JSON.
func FuzzDialects(f *testing.F) {
	servers := map[string]*Server{}
	for _, venue := range Venues() {
		servers[venue] = New(Options{Venue: venue, Pairs: 3, Now: clock, LimitTimes: 1 << 20})
		v := venueTests[venue]
		f.Add(v.klines)
		for _, target := range v.recorded {
			f.Add(target)
			f.Add(target + "&start=9999999999999999&end=-5&limit=0&before=1e9&after=x")
		}
		for _, r := range v.refused {
			f.Add(r.target)
		}
	}
	f.Fuzz(func(t *testing.T, target string) {
		method, rest, post := strings.Cut(target, " ")
		path, body, _ := strings.Cut(rest, " ")
		if !post || method != "POST" {
			method, path = http.MethodGet, target
		}
		if r, err := http.NewRequest(method, "http://localhost"+path, strings.NewReader(body)); err != nil || r.URL.Host != "localhost" {
			return
		}
		for venue, s := range servers {
			r, err := http.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
			if err != nil {
				return
			}
			r.RemoteAddr = "192.0.2.1:1234"
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") && w.Body.Len() > 0 && !json.Valid(w.Body.Bytes()) {
				t.Fatalf("%s: %s: %d %.500s", venue, target, w.Code, w.Body)
			}
		}
	})
}

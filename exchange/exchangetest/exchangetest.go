// Package exchangetest holds what the tests of the venues share: the recorded responses,
// an oracle that reads candles with encoding/json, and checks that hold for every venue.
package exchangetest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

// Recording is a recorded response.
type Recording struct {
	Status  int // 0: not recorded
	Headers map[string]string
	Body    string
}

// Recordings reads the responses whose names match, by name. They are in a folder outside
// the repository, TIDEMARK_SHARED, which is optional: without it there are none.
func Recordings(t testing.TB, venue, pattern string) map[string]Recording {
	t.Helper()
	dir := os.Getenv("TIDEMARK_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared")
	}
	dir = filepath.Join(dir, "exchanges", "fixtures", venue)
	if _, err := os.Stat(dir); err != nil {
		t.Logf("recorded responses are not here: %v", err)
		return nil
	}
	files, err := filepath.Glob(filepath.Join(dir, pattern+".json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recording matches %s: %v", pattern, err)
	}
	all := map[string]Recording{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var r struct {
			Response struct {
				Status  int
				Headers map[string]string
				Body    json.RawMessage
			}
		}
		if err := json.Unmarshal(b, &r); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		body := string(r.Response.Body)
		var text string // a body that is not JSON is recorded as a string
		if json.Unmarshal(r.Response.Body, &text) == nil {
			body = text
		}
		all[strings.TrimSuffix(filepath.Base(f), ".json")] = Recording{r.Response.Status, r.Response.Headers, body}
	}
	return all
}

// Bodies returns the bodies of all recordings of a venue, by name.
func Bodies(t testing.TB, venue string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for name, r := range Recordings(t, venue, "*") {
		all[name] = r.Body
	}
	return all
}

// Scan returns a Scanner of a body.
func Scan(body string) *exchange.Scanner {
	return exchange.NewScanner(strings.NewReader(body), nil)
}

// Decode returns the candles of a body.
func Decode(v exchange.Venue, body string) (all []levels.Candle, err error) {
	err = v.DecodeKlines(Scan(body), exchange.Native{}, func(k levels.Candle) error {
		all = append(all, k)
		return nil
	})
	return all, err
}

// Replies are the bodies of HTTP 200 by path and query, or by path for any query.
type Replies map[string]string

// RoundTrip returns the body for a request, which is empty if there is none.
func (r Replies) RoundTrip(req *http.Request) (*http.Response, error) {
	body, ok := r[req.URL.Path+"?"+req.URL.RawQuery]
	if !ok {
		body = r[req.URL.Path]
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// List returns the pairs that a client reads from the responses to Listing, in order: of
// the pairs, and of their volumes if those are another request.
func List(t testing.TB, v exchange.Venue, bodies ...string) ([]service.Symbol, error) {
	t.Helper()
	r := Replies{}
	for i, body := range bodies {
		r["/"+v.Listing(i, "").Path] = body
	}
	return ListFrom(t, v, r)
}

// ListFrom returns the pairs that a client reads from replies.
func ListFrom(t testing.TB, v exchange.Venue, r Replies) (all []service.Symbol, err error) {
	t.Helper()
	c := exchange.New(v, exchange.Config{Transport: r, Attempts: 1, Group: Unlimited(v)})
	defer c.Close()
	for s, err := range c.Symbols(t.Context()) {
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Unlimited returns budgets that no test waits for.
func Unlimited(v exchange.Venue) *exchange.Group {
	spec := *v.Spec()
	spec.Budgets = slices.Clone(spec.Budgets)
	for i, b := range spec.Budgets {
		spec.Budgets[i] = exchange.Budget{Name: b.Name, Kind: exchange.Rolling, Limit: 1e6, Period: time.Second}
	}
	return exchange.NewGroup(&spec, 1)
}

// Read returns the candles that a client reads.
func Read(t testing.TB, c *exchange.Client, symbol string, interval levels.Interval, from int64) []levels.Candle {
	t.Helper()
	var dst levels.Candles
	dst.Reset(interval, 0)
	if err := c.Candles(t.Context(), symbol, from, &dst, make([]byte, 32<<10)); err != nil {
		t.Errorf("%s %s: %v", symbol, interval, err)
	}
	all := make([]levels.Candle, dst.Len())
	for i := range all {
		all[i] = dst.At(i)
	}
	return all
}

// Refused reports an error that is not the refusal in a body, or means something else.
func Refused(t testing.TB, where, body string, err, want error) {
	t.Helper()
	refused, ok := errors.AsType[*exchange.Refusal](err)
	if !ok || want == nil || !errors.Is(err, want) || refused.Venue == "" || !strings.Contains(body, refused.Code) || !strings.Contains(body, refused.Msg) {
		t.Errorf("%s in %s: %v, want %v", body, where, err, want)
	}
}

// RefusesParts checks that no start of a page of candles is taken for a whole one, and
// that the error of yield ends the decoding.
func RefusesParts(t testing.TB, v exchange.Venue, page string) {
	t.Helper()
	if got, err := Decode(v, page); err != nil || len(got) < 2 {
		t.Errorf("the whole page: %v, %v", got, err)
	}
	for i := range len(page) {
		if got, err := Decode(v, page[:i]); err == nil {
			t.Errorf("cut at %d: %v", i, got)
		}
	}
	stop := errors.New("stop")
	if err := v.DecodeKlines(Scan(page), exchange.Native{}, func(levels.Candle) error { return stop }); err != stop {
		t.Errorf("%v instead of the error of yield", err)
	}
}

// RefusesPages checks that a venue does not take another's page, such as that of a proxy,
// for a refusal of its own.
func RefusesPages(t testing.TB, v exchange.Venue, status int, pages ...string) {
	t.Helper()
	for _, page := range pages {
		if err := v.Refuse(status, http.Header{}, []byte(page)); err != nil {
			t.Errorf("%q: %v", page, err)
		}
	}
}

// AllocatesLittle checks that a page of candles takes no memory of its own.
func AllocatesLittle(t testing.TB, v exchange.Venue, page string) {
	t.Helper()
	r, buf := strings.NewReader(page), make([]byte, 32<<10)
	if n := testing.AllocsPerRun(20, func() {
		r.Reset(page)
		if err := v.DecodeKlines(exchange.NewScanner(r, buf), exchange.Native{}, func(levels.Candle) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkKlines measures the decoding of a page of candles.
func BenchmarkKlines(b *testing.B, v exchange.Venue, page string, rows int) {
	r, buf := strings.NewReader(page), make([]byte, 32<<10)
	n := 0
	count := func(levels.Candle) error { n++; return nil }
	b.SetBytes(int64(len(page)))
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(page)
		n = 0
		if err := v.DecodeKlines(exchange.NewScanner(r, buf), exchange.Native{}, count); err != nil || n != rows {
			b.Fatal(n, err)
		}
	}
}

// An Oracle reads the candles of a body with encoding/json. It returns false for what is
// no whole page of them.
type Oracle func(v exchange.Venue, body string) ([]levels.Candle, bool)

// Member returns a member of a JSON object, or nil.
func Member(object []byte, name string) json.RawMessage {
	var all map[string]json.RawMessage
	if json.Unmarshal(object, &all) != nil {
		return nil
	}
	return all[name]
}

// Rows reads candles from a JSON array of arrays, of at least a number of columns, whose
// open time, open, high, low, close and volume are in the given columns. The open times
// are in units of so many ms.
func Rows(array []byte, unit int64, least int, columns ...int) ([]levels.Candle, bool) {
	var rows [][]json.RawMessage
	if json.Unmarshal(array, &rows) != nil || rows == nil {
		return nil, false
	}
	all := make([]levels.Candle, 0, len(rows))
	for _, row := range rows {
		if len(row) < least {
			return nil, false
		}
		var fields [6]json.RawMessage
		for i, c := range columns {
			fields[i] = row[c]
		}
		k, ok := candle(fields, unit)
		if !ok {
			return nil, false
		}
		all = append(all, k)
	}
	return all, true
}

// Objects reads candles from a JSON array of objects in the same way, by the names of
// their members.
func Objects(array []byte, unit int64, names ...string) ([]levels.Candle, bool) {
	var rows []map[string]json.RawMessage
	if json.Unmarshal(array, &rows) != nil || rows == nil {
		return nil, false
	}
	all := make([]levels.Candle, 0, len(rows))
	for _, row := range rows {
		var fields [6]json.RawMessage
		for i, name := range names {
			fields[i] = row[name]
		}
		k, ok := candle(fields, unit)
		if !ok {
			return nil, false
		}
		all = append(all, k)
	}
	return all, true
}

// Number reads a whole number, which may be in a string.
func Number(b json.RawMessage) (int64, bool) {
	n, err := strconv.ParseInt(strings.Trim(string(b), `"`), 10, 64)
	return n, err == nil
}

// candle reads numbers, which may be in strings.
func candle(fields [6]json.RawMessage, unit int64) (k levels.Candle, ok bool) {
	open, ok := Number(fields[0])
	if !ok {
		return k, false
	}
	var v [6]float64
	for i := 1; i < len(v); i++ {
		var err error
		if v[i], err = strconv.ParseFloat(strings.Trim(string(fields[i]), `"`), 64); err != nil {
			return k, false
		}
	}
	return levels.Candle{OpenTime: open * unit, Open: v[1], High: v[2], Low: v[3], Close: v[4], Volume: v[5]}, true
}

// Agrees checks that a body decodes to candles, those of the oracle.
func Agrees(t testing.TB, name string, v exchange.Venue, body string, oracle Oracle) {
	t.Helper()
	got, err := Decode(v, body)
	if want, ok := oracle(v, body); err != nil || !ok || len(got) == 0 || !slices.Equal(got, want) {
		t.Errorf("%s: %v, %v, want %v", name, got, err, want)
	}
}

// FuzzKlines checks that bodies of candles that a venue accepts are JSON and whole, and
// that they decode to the candles of the oracle. Of two members of the same name the
// decoders read both and encoding/json the last: bodies with two of once are not compared.
func FuzzKlines(f *testing.F, oracle Oracle, once string, venues ...exchange.Venue) {
	f.Fuzz(func(t *testing.T, body string) {
		for _, v := range venues {
			got, err := Decode(v, body)
			if err != nil {
				continue
			}
			if !json.Valid([]byte(body)) {
				t.Fatalf("%q is accepted", body)
			}
			if once != "" && strings.Count(body, `"`+once+`"`) > 1 || strings.Contains(body, `\`) {
				continue // a name may be written with escapes
			}
			if want, ok := oracle(v, body); !ok || !slices.Equal(got, want) {
				t.Fatalf("%s: %q: %v, want %v", v.Spec().Name, body, got, want)
			}
		}
	})
}

// FuzzListing checks that lists that a venue accepts are JSON.
func FuzzListing(f *testing.F, venues ...exchange.Venue) {
	f.Fuzz(func(t *testing.T, body string) {
		for _, v := range venues {
			for i := range v.Spec().Prices + 1 {
				if err := v.DecodeListing(i, Scan(body), new(exchange.Listing)); err == nil && !json.Valid([]byte(body)) {
					t.Fatalf("%s, list %d: %q is accepted", v.Spec().Name, i, body)
				}
			}
		}
	})
}

// DecodeFrame returns what a message of a socket says.
func DecodeFrame(v exchange.Streamer, body string) (f exchange.Frame, err error) {
	err = v.DecodeFrame(Scan(body), &f)
	return f, err
}

// SamePushes reports whether two lists of states of candles are equal.
func SamePushes(a, b []exchange.Push) bool {
	return slices.EqualFunc(a, b, func(a, b exchange.Push) bool {
		return string(a.Symbol) == string(b.Symbol) && a.Wire == b.Wire && a.Candle == b.Candle && a.Closed == b.Closed && a.At == b.At
	})
}

// A FrameOracle reads the states of candles in a message with encoding/json. It returns
// false for what is no whole message of them.
type FrameOracle func(v exchange.Streamer, body string) ([]exchange.Push, bool)

// FuzzFrames checks that messages that a venue accepts are JSON and whole, and that they
// decode to the states of the oracle. Those with escapes, two members of one name or
// invalid UTF-8, which encoding/json reads in another way, are not compared.
func FuzzFrames(f *testing.F, oracle FrameOracle, venues ...exchange.Streamer) {
	f.Fuzz(func(t *testing.T, body string) {
		for _, v := range venues {
			got, err := DecodeFrame(v, body)
			if err != nil {
				continue
			}
			if !json.Valid([]byte(body)) {
				t.Fatalf("%q is accepted", body)
			}
			if strings.Contains(body, `\`) || !utf8.ValidString(body) || repeats(body) {
				continue
			}
			if want, ok := oracle(v, body); (ok || len(got.Pushes()) > 0) && !SamePushes(got.Pushes(), want) {
				t.Fatalf("%s: %q: %+v, want %+v", v.Spec().Name, body, got.Pushes(), want)
			}
		}
	})
}

// repeats reports whether an object in a body has two members of one name.
func repeats(body string) bool {
	d := json.NewDecoder(strings.NewReader(body))
	var value func() bool
	value = func() bool {
		t, err := d.Token()
		if err != nil {
			return true
		}
		bracket, ok := t.(json.Delim)
		if !ok {
			return false
		}
		names := map[json.Token]bool{}
		for d.More() {
			if bracket == '{' {
				name, err := d.Token()
				if err != nil || names[name] {
					return true
				}
				names[name] = true
			}
			if value() {
				return true
			}
		}
		_, err = d.Token()
		return err != nil
	}
	return value()
}

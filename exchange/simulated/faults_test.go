package simulated

// Every fault as a client receives it over a real socket, the syntax of Faults, and
// that faults have the requested frequency and repeat for the same seed.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serve starts a market on a socket, in which every answer has a fault.
func serve(t *testing.T, spec string, o Options) (*Server, *http.Client, string) {
	t.Helper()
	faults, err := ParseFaults(spec)
	if err != nil {
		t.Fatal(err)
	}
	o.Faults, o.Pairs, o.Now = faults, 3, clock
	s := New(o)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server.Client(), server.URL + "/api/v3/"
}

// fetch reads a response to its end.
func fetch(client *http.Client, url string) (*http.Response, []byte, error) {
	res, err := client.Get(url)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res, b, err
}

const page20 = "klines?symbol=BTCUSDT&interval=1h&limit=20"

func TestFaults_AsAClientMeetsThem(t *testing.T) {
	clean := New(Options{Pairs: 3, Now: clock})
	var truth [][]any
	if err := json.Unmarshal(ask(clean, "/api/v3/"+page20).Body.Bytes(), &truth); err != nil {
		t.Fatal(err)
	}
	column := func(rows [][]any, i int) (all []any) {
		for _, row := range rows {
			all = append(all, row[i])
		}
		return all
	}
	parsed := func(t *testing.T, res *http.Response, body []byte, err error) (rows [][]any) {
		t.Helper()
		if err != nil || res.StatusCode != 200 || json.Unmarshal(body, &rows) != nil {
			t.Fatalf("%v %v %s", res, err, body)
		}
		return rows
	}
	page := func(status int, contentType, part string) func(*testing.T, *http.Response, []byte, error) {
		return func(t *testing.T, res *http.Response, body []byte, err error) {
			if err != nil || res.StatusCode != status || !strings.HasPrefix(res.Header.Get("Content-Type"), contentType) || !strings.Contains(string(body), part) {
				t.Errorf("%v %v %s", res, err, body)
			}
		}
	}
	for kind, check := range map[string]func(*testing.T, *http.Response, []byte, error){
		"500":      page(500, "application/json", `"code":-1000`),
		"502":      page(502, "text/html", "<html>"),
		"503":      page(503, "text/plain", "Unknown error"),
		"html":     page(200, "text/html", "<!DOCTYPE html>"),
		"403":      page(403, "text/html", "403 ERROR"),
		"envelope": page(200, "application/json", `"code":-1001`),
		"429": func(t *testing.T, res *http.Response, body []byte, err error) {
			page(429, "application/json", `"code":-1003`)(t, res, body, err)
			if res.Header.Get("Retry-After") != "1" {
				t.Errorf("Retry-After %q", res.Header.Get("Retry-After"))
			}
		},
		"ban": func(t *testing.T, res *http.Response, body []byte, err error) {
			page(418, "application/json", "IP banned until "+itoa(testTime.Add(2*time.Minute).UnixMilli()))(t, res, body, err)
			if res.Header.Get("Retry-After") != "120" {
				t.Errorf("Retry-After %q", res.Header.Get("Retry-After"))
			}
		},
		"reset": func(t *testing.T, res *http.Response, body []byte, err error) {
			if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%v %v after %d bytes", res, err, len(body))
			}
		},
		"hang": func(t *testing.T, res *http.Response, _ []byte, err error) {
			if err == nil || !errors.Is(err, io.EOF) {
				t.Errorf("%v %v", res, err)
			}
		},
		"short": func(t *testing.T, res *http.Response, body []byte, err error) {
			if !errors.Is(err, io.ErrUnexpectedEOF) || int64(len(body)) >= res.ContentLength || len(body) == 0 {
				t.Errorf("%v: %d bytes of %v", err, len(body), res)
			}
		},
		"truncated": func(t *testing.T, res *http.Response, body []byte, err error) {
			if err != nil || res.ContentLength != int64(len(body)) || json.Valid(body) || len(body) < 1000 {
				t.Errorf("%v %v: %s", res, err, body)
			}
		},
		"malformed": func(t *testing.T, res *http.Response, body []byte, err error) {
			if err != nil || json.Valid(body) || len(body) < 3000 || body[len(body)-1] != ']' {
				t.Errorf("%v %v: %s", res, err, body)
			}
		},
		"nan": func(t *testing.T, res *http.Response, body []byte, err error) {
			if i := slices.Index(column(parsed(t, res, body, err), 4), any("NaN")); i < 0 || i == len(truth)-1 {
				t.Errorf("row %d has no close", i)
			}
		},
		"highlow": func(t *testing.T, res *http.Response, body []byte, err error) {
			wrong := 0
			for i, row := range parsed(t, res, body, err) {
				if decimal(t, row[2]) < decimal(t, row[3]) && i < len(truth)-1 {
					wrong++
				}
			}
			if wrong != 1 {
				t.Errorf("%d rows have high below low", wrong)
			}
		},
		"repeat": func(t *testing.T, res *http.Response, body []byte, err error) {
			opens := column(parsed(t, res, body, err), 0)
			if len(opens) != len(truth)+1 || !slices.Equal(slices.Compact(opens), column(truth, 0)) {
				t.Errorf("%v", opens)
			}
		},
		"unordered": func(t *testing.T, res *http.Response, body []byte, err error) {
			rows := parsed(t, res, body, err)
			wrong := 0
			for i := range rows {
				if rows[i][0] != truth[i][0] {
					wrong++
				}
			}
			if wrong != 2 || rows[len(rows)-1][0] != truth[len(truth)-1][0] {
				t.Errorf("%d rows are elsewhere", wrong)
			}
		},
	} {
		t.Run(kind, func(t *testing.T) {
			s, client, base := serve(t, kind+"=1", Options{Hang: 50 * time.Millisecond})
			res, body, err := fetch(client, base+page20)
			if res != nil && res.Header.Get("X-Tidemark-Simulated") != "true" {
				t.Errorf("a faulty answer does not say that it is simulated: %v", res.Header)
			}
			check(t, res, body, err)
			// The transport may have tried a broken connection again.
			if n := s.Stats().Faults[kind]; n < 1 || len(s.Stats().Faults) != 1 {
				t.Errorf("counted %v", s.Stats().Faults)
			}
		})
	}
	if n := len(faultNames) - 1; n != 17 {
		t.Errorf("%d kinds of faults; the test knows 17", n)
	}
}

func TestFaults_OfKlinesAreMalformedElsewhere(t *testing.T) {
	for _, kind := range []string{"nan", "highlow", "repeat", "unordered"} {
		s, client, base := serve(t, kind+"=1", Options{})
		targets := []string{"time", "klines?symbol=BTCUSDT&interval=1h&limit=1", "klines?symbol=NOPE&interval=1h", "exchangeInfo"}
		for _, target := range targets {
			if res, body, err := fetch(client, base+target); err != nil || res.StatusCode != 200 || json.Valid(body) {
				t.Errorf("%s of %s: %v %v %s", kind, target, res, err, body)
			}
		}
		if got := s.Stats().Faults; got["malformed"] != len(targets) || len(got) != 1 {
			t.Errorf("counted %v", got)
		}
	}
}

func TestFaults_HangEndsWithTheClient(t *testing.T) {
	_, client, base := serve(t, "hang=1", Options{Hang: time.Hour})
	client.Timeout = 50 * time.Millisecond
	if _, _, err := fetch(client, base+"time"); err == nil {
		t.Error("an answer came")
	}
	// The server is closed at the end of the test, which waits for its requests.
}

func TestFaults_APauseLasts(t *testing.T) {
	s, client, base := serve(t, "429=1", Options{RetryAfter: 30 * time.Second})
	for i := range 3 {
		if res, _, err := fetch(client, base+"ping"); err != nil || res.StatusCode != 429 {
			t.Errorf("request %d: %v %v", i, res, err)
		}
	}
	if got := s.Stats(); got.Faults["429"] != 1 || got.Refused != 2 || got.EarlyCount != 2 {
		t.Errorf("%+v", got)
	}
}

func TestFaults_ComeAsOftenAsAskedForAndTheSameEachTime(t *testing.T) {
	const n = 4000
	run := func(seed uint64) (map[string]int, []int) {
		faults, err := ParseFaults("500=0.05,503=0.02,nan=0.03")
		if err != nil {
			t.Fatal(err)
		}
		s := New(Options{Pairs: 1, Now: clock, Seed: seed, Faults: faults, WeightLimit: 1 << 30})
		var where []int
		for i := range n {
			if w := ask(s, "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=3"); w.Code != 200 {
				where = append(where, i)
			}
		}
		return s.Stats().Faults, where
	}
	counts, where := run(1)
	for kind, share := range map[string]float64{"500": 0.05, "503": 0.02, "nan": 0.03} {
		if got, want := float64(counts[kind]), share*n; math.Abs(got-want) > 4*math.Sqrt(want) {
			t.Errorf("%s came %v times of %d, want about %v", kind, got, n, want)
		}
	}
	again, same := run(1)
	if !maps.Equal(counts, again) || !slices.Equal(where, same) {
		t.Errorf("%v, and the next time %v", counts, again)
	}
	if _, other := run(2); slices.Equal(where, other) {
		t.Error("another seed has the same faults")
	}
}

func TestParseFaults_ReadsSharesAndKinds(t *testing.T) {
	for spec, want := range map[string]string{
		"": "", " ": "", "0": "", "500=0": "", "500=0.02,reset=0.01,429=0.01,ban=0.001": "500=0.02,reset=0.01,429=0.01,ban=0.001",
		" nan = 1 ": "nan=1", "ban=1": "ban=1", "hang=0.5 , short=0.5": "hang=0.5,short=0.5", "403=1e-3": "403=0.001",
	} {
		got, err := ParseFaults(spec)
		if err != nil || got.String() != want {
			t.Errorf("%q is %q, %v, want %q", spec, got, err, want)
		}
	}
	for _, spec := range []string{"0.1", "1"} {
		got, err := ParseFaults(spec)
		if err != nil || strings.Contains(got.String(), "ban") || strings.Count(got.String(), "=") != len(faultNames)-2 {
			t.Errorf("%s is %q, %v; want all kinds but the ban", spec, got, err)
		}
		sum := 0.0
		for _, share := range got.shares {
			sum += share
		}
		if math.Abs(share(spec)-sum) > 1e-12 {
			t.Errorf("%s adds up to %v", spec, sum)
		}
	}
}

// share reads a plain share.
func share(spec string) (v float64) {
	fmt.Sscan(spec, &v)
	return v
}

func TestParseFaults_SaysWhatIsWrong(t *testing.T) {
	for spec, want := range map[string]string{
		"oops=1":           `unknown fault "oops": one of 500, 502, 503, reset`,
		"=1":               `unknown fault ""`,
		"500=0.1,":         `unknown fault ""`,
		"500=0.1,reset":    `fault "reset" has no share: write reset=0.01`,
		"500=0.1,500=0.1":  `fault "500" is given twice`,
		"500=2":            `fault "500": "2" is not a share between 0 and 1`,
		"500=-0.1":         `"-0.1" is not a share`,
		"500=NaN":          `"NaN" is not a share`,
		"500=":             `"" is not a share`,
		"500=0.6,nan=0.5":  "add up to 1.1, more than 1",
		"1.5":              `"1.5" is not a share between 0 and 1, or kinds with shares`,
		"many":             `"many" is not a share`,
		"500=0.1;502=0.1":  `"0.1;502=0.1" is not a share`,
		"500=0.1=0.2":      `"0.1=0.2" is not a share`,
		"500=0.1,BAN=0.01": `unknown fault "BAN"`,
	} {
		if got, err := ParseFaults(spec); err == nil || !strings.Contains(err.Error(), want) || got != (Faults{}) {
			t.Errorf("%q: %v, want %q", spec, err, want)
		}
	}
}

func FuzzParseFaults(f *testing.F) {
	for _, seed := range []string{"", "0.1", "500=0.02,reset=0.01,429=0.01,ban=0.001", "nan=1", "500=1e-300", "a=b", ",", "=", "0x1p-3", "500=0.5,502=0.5,503=0", "0\n0,="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		got, err := ParseFaults(spec)
		if err != nil {
			if got != (Faults{}) || strings.ContainsAny(err.Error(), "\n\r") {
				t.Fatalf("%q: %+v %v", spec, got, err)
			}
			return
		}
		sum := 0.0
		for _, share := range got.shares {
			if !(share >= 0 && share <= 1) {
				t.Fatalf("%q: a share of %v", spec, share)
			}
			sum += share
		}
		if sum > 1.000001 || got.shares[noFault] != 0 {
			t.Fatalf("%q adds up to %v", spec, sum)
		}
		if again, err := ParseFaults(got.String()); err != nil || again != got {
			t.Fatalf("%q prints as %q, which is %+v, %v", spec, got, again, err)
		}
		for _, hash := range []uint64{0, 1 << 63, math.MaxUint64} {
			if kind := got.draw(hash); kind != noFault && got.shares[kind] == 0 {
				t.Fatalf("%q draws %s", spec, faultNames[kind])
			}
		}
	})
}

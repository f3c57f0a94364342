package e2e

// These tests pin what the pages of other origins may do in a real browser: those of
// HTTP_CORS_ORIGINS read everything, headers included, and others nothing.

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"tidemark/wire"
)

// pageScript is what the tests' own page can do with the service at base: read sends a request
// and returns what the script sees, streamed waits for the first event of an EventSource,
// and firstOf for the first bytes of a stream that needs headers.
const pageScript = `
const read = (url, init) => fetch(url, init).then(async r => ({status: r.status, headers: Object.fromEntries(r.headers), body: await r.text()}), e => ({refused: e.name}))
const streamed = url => new Promise(done => {
	const source = new EventSource(url)
	source.onopen = () => (source.close(), done("open"))
	source.onerror = () => (source.close(), done("refused"))
})
const firstOf = (url, init) => fetch(url, init).then(async r => {
	const reader = r.body.getReader(), {value} = await reader.read()
	reader.cancel()
	return r.status + " " + new TextDecoder().decode(value)
}, e => e.name)
`

// seen is what a script sees of a reply.
type seen struct {
	Refused string
	Status  int
	Headers map[string]string
	Body    string
}

// exposed are the headers that scripts of listed origins can read, if a reply has them.
var exposed = []string{"Age", "Content-Disposition", "ETag", "Link", "Location", "Preference-Applied", "Retry-After", "Tidemark-Tick-Size", "Tidemark-Time-Unit", "X-Request-Id"}

func TestCORS_InABrowser(t *testing.T) {
	t.Parallel()
	pages := func() (port string) {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(w, "<!doctype html><title>a page</title><link rel=icon href=data:,><script>%s</script>", pageScript)
		}))
		t.Cleanup(s.Close)
		return s.URL[strings.LastIndex(s.URL, ":"):]
	}
	port, another := pages(), pages()
	listed := "http://localhost" + port
	const key = "correct-horse-battery"
	const allowed = "HTTP_CORS_ORIGINS="
	service := func(environ ...string) *running {
		return serve(t, append([]string{"DATABASE_URL=" + sqliteURL(t), "EXCHANGE_SIMULATED_PAIRS=4"}, environ...)...)
	}
	open, keyed := service(allowed+listed), service(allowed+listed, "API_KEYS="+key)
	anyone, nobody := service(allowed+"*", "API_KEYS="+key), service()

	b := browse(t)
	page := func(t *testing.T, origin string) {
		t.Helper()
		b.do(t, chromedp.Navigate(origin+"/"))
		b.until(t, `location.origin === "`+origin+`" && typeof read === "function"`)
	}
	read := func(t *testing.T, url, init string) seen {
		t.Helper()
		return eval[seen](t, b, fmt.Sprintf("read(%q, %s)", url, init))
	}
	withKey := func(more string) string { return `{headers: {"X-API-Key": "` + key + `"` + more + `}}` }
	const sweep = `{method: "POST", body: '{"all":true}', headers: {"Content-Type": "application/json", "X-API-Key": "` + key + `"}}`

	page(t, listed)
	for name, s := range map[string]*running{"without a key": open, "with a key": keyed, "any origin": anyone} {
		t.Run(name, func(t *testing.T) {
			got := read(t, s.base+"/analyze", sweep)
			job := got.Headers["location"]
			if got.Status != http.StatusAccepted || !strings.HasPrefix(job, "/jobs/") {
				t.Fatalf("a sweep: %+v", got)
			}
			if got = read(t, s.base+job+"/events", withKey("")); !strings.Contains(got.Body, `"state":"completed"`) {
				t.Fatalf("its events: %+v", got)
			}
			for path, want := range map[string][]string{
				"/levels/BTCUSDT":                      {"ETag", "X-Request-Id"},
				"/levels?limit=1&faint=true":           {"Link"},
				"/levels/BTCUSDT?format=csv":           {},
				"/levels/BTCUSDT?interval=1h,4h":       {},
				"/klines/BTCUSDT?limit=5":              {},
				"/symbols?selected=true":               {"Age"},
				"/events?since=1h":                     {},
				"/levels/BTCUSDT/chart.svg?candles=50": {"ETag"},
				"/levels/NONEUSDT":                     {"X-Request-Id"},
				"/exchanges":                           {},
			} {
				got := read(t, s.base+path, withKey(""))
				res := getWithKey(t, s.base+path, key)
				res.Body.Close()
				if got.Status != res.StatusCode || got.Body == "" {
					t.Errorf("%s: %+v, elsewhere %s", path, got, res.Status)
				}
				for _, header := range exposed {
					if has := got.Headers[strings.ToLower(header)] != ""; has != (res.Header.Get(header) != "") || slices.Contains(want, header) && !has {
						t.Errorf("%s: the page reads %s %q, sent is %q", path, header, got.Headers[strings.ToLower(header)], res.Header.Get(header))
					}
				}
			}
			got = read(t, s.base+"/levels/BTCUSDT", withKey(""))
			if got = read(t, s.base+"/levels/BTCUSDT", withKey(fmt.Sprintf(`, "If-None-Match": %q`, got.Headers["etag"]))); got.Status != http.StatusNotModified {
				t.Errorf("with its ETag: %+v", got)
			}
			if got := eval[string](t, b, fmt.Sprintf(`firstOf(%q, %s)`, s.base+"/events?since=0", withKey(`, "Accept": "text/event-stream"`))); !strings.HasPrefix(got, "200 ") {
				t.Errorf("events by fetch: %s", got)
			}
			got, opened := read(t, s.base+"/levels/BTCUSDT", "{}"), eval[string](t, b, fmt.Sprintf(`streamed(%q)`, s.base+"/events"))
			if s == open {
				if got.Status != http.StatusOK || opened != "open" {
					t.Errorf("a simple request: %+v, EventSource: %s", got, opened)
				}
			} else if got.Status != http.StatusUnauthorized || !strings.Contains(got.Body, "unauthorized") || opened != "refused" {
				t.Errorf("without its key: %+v, EventSource: %s", got, opened)
			}
		})
	}

	t.Run("ReadsHowLongToWait", func(t *testing.T) {
		slow := service(allowed+listed, "API_KEYS="+key, "HTTP_RATE_LIMIT=1")
		for range 20 {
			if got := read(t, slow.base+"/jobs", withKey("")); got.Status == http.StatusTooManyRequests {
				if got.Headers["retry-after"] == "" {
					t.Errorf("%+v", got)
				}
				return
			}
		}
		t.Error("no request is refused")
	})

	t.Run("OthersAreRefused", func(t *testing.T) {
		jobs := func(s *running) string {
			res := getWithKey(t, s.base+"/jobs", key)
			var list struct{ Jobs []wire.Job }
			decode(t, res, &list)
			var ids []string
			for _, j := range list.Jobs {
				ids = append(ids, j.ID)
			}
			return strings.Join(ids, " ")
		}
		for _, c := range []struct {
			origin   string
			services []*running
		}{
			{listed, []*running{nobody}},
			{"http://127.0.0.1" + port, []*running{open, keyed, nobody}},    // another host
			{"http://localhost" + another, []*running{open, keyed, nobody}}, // another port
		} {
			page(t, c.origin)
			for i, s := range c.services {
				before := jobs(s)
				b.mu.Lock()
				b.faults = nil
				b.mu.Unlock()
				for _, path := range []string{"/levels/BTCUSDT", "/levels?limit=1", "/events?since=1h", "/jobs"} {
					for _, init := range []string{"{}", withKey("")} {
						if got := read(t, s.base+path, init); got.Refused != "TypeError" {
							t.Errorf("%s reads %s of service %d: %+v", c.origin, path, i, got)
						}
					}
				}
				if got := eval[string](t, b, fmt.Sprintf(`streamed(%q)`, s.base+"/events")); got != "refused" {
					t.Errorf("%s follows the events of service %d: %s", c.origin, i, got)
				}
				for _, init := range []string{sweep, `{method: "POST", body: '{"all":true}'}`, `{method: "POST", mode: "no-cors", body: '{"all":true}'}`} {
					if got := read(t, s.base+"/analyze", init); got.Refused == "" && got.Status != 0 {
						t.Errorf("%s starts a sweep: %+v", c.origin, got)
					}
				}
				if after := jobs(s); after != before {
					t.Errorf("%s started %s, before %s", c.origin, after, before)
				}
				b.mu.Lock()
				if !slices.ContainsFunc(b.faults, func(f string) bool { return strings.Contains(f, "has been blocked by CORS policy") }) {
					t.Errorf("the browser says %q", b.faults)
				}
				b.mu.Unlock()
			}
		}
		page(t, "http://localhost"+another)
		if got := read(t, anyone.base+"/levels/BTCUSDT", withKey("")); got.Status != http.StatusOK {
			t.Errorf("any origin: %+v", got)
		}
	})
}

// getWithKey sends a request with a key from outside a browser.
func getWithKey(t *testing.T, url, key string) *http.Response {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

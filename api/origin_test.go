// Pins who may ask a service without keys: nobody under a name that is not its own, and
// no page of another origin, on any route that costs something.
package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"tidemark/service"
)

// routes yields every route there is, with a path that matches it.
func routes(t *testing.T, a *API, each func(method, pattern, path string)) {
	t.Helper()
	err := chi.Walk(a.router, func(method, pattern string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		each(method, pattern, strings.NewReplacer("{symbol}", "BTCUSDT", "{id}", "00000000000000ab", "{file}", "main.js").Replace(pattern))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// code sends r and returns the status, and the code of a problem.
func (h *harness) code(r *http.Request) (int, string) {
	h.t.Helper()
	rec := h.send(r)
	if rec.Header().Get("Content-Type") != "application/problem+json" {
		return rec.Code, ""
	}
	return rec.Code, problemOf(h.t, rec).Code
}

func TestHost_WithoutKeysEveryRouteRefusesANameThatIsNotItsOwn(t *testing.T) {
	h := start(t)
	under := func(method, path, host string) (int, string) {
		r := httptest.NewRequest(method, path, nil)
		r.Host = host
		return h.code(r)
	}
	checked := 0
	routes(t, h.api, func(method, pattern, path string) {
		switch pattern {
		case "/healthz", "/readyz", "/metrics", "/", "/page/{file}":
			if status, code := under(method, path, "evil.example"); code == "forbidden_host" {
				t.Errorf("%s %s: %d under any name", method, path, status)
			}
			return
		}
		checked++
		if status, code := under(method, path, "evil.example:8080"); status != 403 || code != "forbidden_host" {
			t.Errorf("%s %s under a stranger's name: %d %s", method, path, status, code)
		}
		if status, code := under(method, path, "127.0.0.1:8080"); status == 403 {
			t.Errorf("%s %s under its address: %d %s", method, path, status, code)
		}
	})
	if checked < 15 {
		t.Errorf("%d routes are checked", checked)
	}
}

func TestHost_AddressesLocalhostAndNamesThatAreSetAreItsOwn(t *testing.T) {
	h := start(t, func(c *Config, _ *service.Config) { c.Hosts = []string{"tidemark", "Levels.example.org", ""} })
	for host, status := range map[string]int{
		"127.0.0.1:8080": 200, "[::1]:8080": 200, "10.1.2.3": 200, "203.0.113.7:80": 200, "[2001:db8::1]": 200,
		"localhost:8080": 200, "LOCALHOST": 200, "localhost.": 200, "a.localhost": 200,
		"tidemark:8080": 200, "levels.example.org": 200, "LEVELS.example.org:443": 200, "levels.example.org.": 200,
		"evil.example": 403, "evil.example:8080": 403, "127.0.0.1.evil.example": 403, "xlocalhost": 403, "levels.example.org.evil.example": 403,
		"tidemark2": 403, "": 403, ":8080": 403,
	} {
		r := httptest.NewRequest("GET", "/jobs", nil)
		r.Host = host
		rec := h.send(r)
		if rec.Code != status || status == 403 && !strings.Contains(rec.Body.String(), "HTTP_ALLOWED_HOSTS") {
			t.Errorf("%q: %d %s, want %d", host, rec.Code, rec.Body, status)
		}
	}
}

func TestHost_IsNotLookedAtWhenThereAreKeys(t *testing.T) {
	h := start(t, func(c *Config, _ *service.Config) { c.Keys = []string{"secret-secret-secret"} })
	for key, status := range map[string]int{"": 401, "wrong": 401, "secret-secret-secret": 200} {
		r := httptest.NewRequest("GET", "/jobs", nil)
		r.Host = "levels.example"
		r.Header.Set("X-Api-Key", key)
		if got, code := h.code(r); got != status {
			t.Errorf("%q: %d %s, want %d", key, got, code, status)
		}
	}
}

func TestOrigin_WithoutKeysAPageOfAnotherGetsNothing(t *testing.T) {
	h := start(t)
	send := func(method, path string, headers ...string) (int, string) {
		r := localRequest(method, path, nil)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		return h.code(r)
	}
	routes(t, h.api, func(method, pattern, path string) {
		want := "cross_origin"
		switch {
		case pattern == "/healthz", pattern == "/readyz", pattern == "/metrics", pattern == "/", pattern == "/page/{file}", strings.Contains(pattern, "/chart."):
			want = "" // whatever else it is
		}
		for _, headers := range [][]string{
			{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"},
			{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"},
		} {
			if status, code := send(method, path, headers...); (code == "cross_origin") != (want == "cross_origin") {
				t.Errorf("%s %s, %q: %d %s", method, path, headers, status, code)
			}
		}
		for _, headers := range [][]string{
			{"Origin", "http://127.0.0.1:8080"}, {"Origin", "http://127.0.0.1:8080", "Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}, {},
		} {
			if status, code := send(method, path, headers...); status == 403 {
				t.Errorf("%s %s, %q: %d %s", method, path, headers, status, code)
			}
		}
	})
	if status, code := send("GET", "/jobs", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"); status != 200 {
		t.Errorf("a link: %d %s", status, code)
	}
}

func TestOrigin_PagesOfListedOriginsMayUseTheService(t *testing.T) {
	const charts = "https://charts.example.org"
	ask := func(a *API, method, path, origin string, headers ...string) *httptest.ResponseRecorder {
		r := localRequest(method, path, nil)
		r.Header.Set("Origin", origin)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		rec := httptest.NewRecorder()
		a.ServeHTTP(rec, r)
		return rec
	}
	preflight := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type,x-api-key"}
	for _, keys := range [][]string{nil, {"secret-secret-secret"}} {
		h := start(t, func(c *Config, _ *service.Config) {
			c.Keys, c.Origins = keys, []string{charts, "http://localhost:3000"}
		})
		key := []string{"X-Api-Key", strings.Join(keys, "")}
		want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`, key...), 200)
		for path, status := range map[string]int{"/levels/BTCUSDT": 200, "/levels": 200, "/levels/NONEUSDT": 404, "/": 200} {
			for range 2 { // the second reply is a cached one
				rec := ask(h.api, "GET", path, charts, key...)
				if head := rec.Header(); rec.Code != status || head.Get("Access-Control-Allow-Origin") != charts ||
					!strings.Contains(head.Get("Access-Control-Expose-Headers"), "Etag") || !strings.Contains(strings.Join(head["Vary"], ","), "Origin") {
					t.Errorf("%d keys, GET %s: %d %v", len(keys), path, rec.Code, head)
				}
			}
			rec := ask(h.api, "GET", path, "https://evil.example", key...)
			if rec.Header().Get("Access-Control-Allow-Origin") != "" || len(keys) == 0 && path != "/" && rec.Code != 403 || !strings.Contains(strings.Join(rec.Header()["Vary"], ","), "Origin") {
				t.Errorf("%d keys, GET %s of another: %d %v", len(keys), path, rec.Code, rec.Header())
			}
		}
		if rec := ask(h.api, "POST", "/analyze", charts, append(key, "Content-Type", "application/json")...); rec.Code != 400 { // the body is empty
			t.Errorf("%d keys, POST: %d", len(keys), rec.Code)
		}
		if rec := ask(h.api, "POST", "/analyze", "https://evil.example", append(key, "Content-Type", "application/json")...); rec.Code != 403 {
			t.Errorf("%d keys, POST of another: %d", len(keys), rec.Code)
		}
		// a browser asks first, without the key
		if rec := ask(h.api, "OPTIONS", "/analyze", charts, preflight...); rec.Code != 200 || rec.Header().Get("Access-Control-Allow-Methods") != "POST" || rec.Header().Get("Access-Control-Allow-Headers") == "" {
			t.Errorf("%d keys, preflight: %d %v", len(keys), rec.Code, rec.Header())
		}
		if rec := ask(h.api, "OPTIONS", "/analyze", "https://evil.example", preflight...); rec.Header().Get("Access-Control-Allow-Methods") != "" {
			t.Errorf("%d keys, preflight of another: %v", len(keys), rec.Header())
		}
	}
	h := start(t, func(c *Config, _ *service.Config) {
		c.Keys, c.Origins = []string{"secret-secret-secret"}, []string{"*"}
	})
	if rec := ask(h.api, "POST", "/analyze", "null", "X-Api-Key", "secret-secret-secret"); rec.Code != 400 || rec.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("a page of any origin: %d %v", rec.Code, rec.Header())
	}
	if rec := ask(start(t).api, "OPTIONS", "/analyze", charts, preflight...); rec.Code != 405 || len(rec.Header()["Vary"]) > 0 {
		t.Errorf("without origins: %d %v", rec.Code, rec.Header())
	}
}

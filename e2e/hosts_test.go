package e2e

// With DNS rebinding, a page resolves its own name to this machine and sends that name as
// the host.

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestServe_AnswersUnderItsOwnNamesOnly(t *testing.T) {
	r := serve(t, "DATABASE_URL="+sqliteURL(t), "EXCHANGE_SIMULATED_PAIRS=4", "HTTP_ALLOWED_HOSTS=tidemark, levels.example.org")
	for _, c := range []struct {
		method, path, host string
		status             int
	}{
		{"GET", "/jobs", "", 200}, {"GET", "/jobs", "tidemark:8080", 200}, {"GET", "/jobs", "levels.example.org", 200}, {"GET", "/jobs", "192.0.2.7", 200},
		{"GET", "/jobs", "evil.example", 403}, {"POST", "/analyze", "evil.example", 403}, {"DELETE", "/jobs/x", "evil.example", 403}, {"POST", "/mcp", "evil.example", 403},
		{"GET", "/metrics", "monitored.example", 200}, {"GET", "/readyz", "monitored.example", 200},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, r.base+c.path, strings.NewReader(`{"all":true}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = c.host
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != c.status || c.status == 403 && !strings.Contains(string(body), "HTTP_ALLOWED_HOSTS") {
			t.Errorf("%s %s as %q: %s %.300s", c.method, c.path, c.host, res.Status, body)
		}
	}
}

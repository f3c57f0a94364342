// Pins what happens when the keys of a running service are replaced.
package api

import (
	"bufio"
	"net/http"
	"testing"

	"tidemark/service"
)

func TestKeys_AReplacedKeyIsRefusedAndItsStreamsEnd(t *testing.T) {
	const before, both, after = "key-before-key-before", "key-both-key-both", "key-after-key-after"
	h := start(t, func(c *Config, _ *service.Config) { c.Keys = []string{before, both} })
	check := func(key string, status int) {
		t.Helper()
		want(t, h.do("GET", "/jobs", "", "X-Api-Key", key), status)
	}
	base := "http://" + serving(t, h, nil)
	follow := func(key string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", base+"/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+key)
		r.Header.Set("Accept", "text/event-stream")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		return res
	}
	check(before, 200)
	check(both, 200)
	check(after, 401)
	stream := follow(before)
	if stream.StatusCode != 200 {
		t.Fatal(stream.Status)
	}
	h.api.SetKeys([]string{after, both})
	for lines := bufio.NewScanner(stream.Body); lines.Scan(); { // until the stream ends
	}
	check(before, 401)
	check(both, 200)
	check(after, 200)
	if res := follow(before); res.StatusCode != 401 {
		t.Errorf("the stream of a removed key: %s", res.Status)
	}
	h.api.Close()
	h.api.SetKeys([]string{both})
	if stream = follow(both); stream.StatusCode == 200 {
		for lines := bufio.NewScanner(stream.Body); lines.Scan(); {
		}
	}
}

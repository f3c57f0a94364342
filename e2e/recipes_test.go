package e2e

// This test holds docs/recipes.md against a running service: each request of a recipe is
// answered, and what the recipe reads is in the reply.

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	yaml "github.com/oasdiff/yaml3"

	"tidemark/exchange/simulated"
)

func TestRecipes_AreAnsweredByTheService(t *testing.T) {
	t.Parallel()
	blocks := map[string]string{} // by heading
	for _, section := range strings.Split(text(t, "docs/recipes.md"), "\n## ")[1:] {
		heading, rest, _ := strings.Cut(section, "\n")
		if m := regexp.MustCompile("(?s)```[a-z]+\n(.*?)```").FindStringSubmatch(rest); m != nil {
			blocks[heading] = m[1]
		}
	}
	_, exchange := market(t, simulated.Options{Pairs: 8})
	keys, secret := filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "secret")
	write := func(file, content string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(keys, "a-key-of-some-length\n")
	write(secret, strings.Repeat("5e", 32))
	r := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+sqliteURL(t), "API_KEYS_FILE="+keys,
		"SECRETS_KEY_FILE="+secret, "RECEIVERS_ALLOW=private")
	ask := func(method, target, body string, into any) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, strings.Replace(target, "http://tidemark:8080", r.base, 1), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-API-Key", "a-key-of-some-length")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		answer, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK && res.StatusCode != http.StatusCreated || json.Unmarshal(answer, into) != nil {
			t.Fatalf("%s: %s %v %s", target, res.Status, err, answer)
		}
	}
	var analysis map[string]any
	ask("POST", r.base+"/analyze", `{"symbol":"BTCUSDT"}`, &analysis)

	// Home Assistant reads attributes of the first support.
	var assistant struct {
		Rest []struct {
			Resource string
			Headers  map[string]string
			Sensor   []struct {
				Value      string   `yaml:"value_template"`
				Attributes []string `yaml:"json_attributes"`
			}
		}
	}
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(blocks["Home Assistant"], "!secret ", "")), &assistant); err != nil || len(assistant.Rest) != 1 {
		t.Fatalf("%v: %+v", err, assistant)
	}
	var reply struct {
		Stale    *bool
		Supports []map[string]any
	}
	ask("GET", assistant.Rest[0].Resource, "", &reply)
	if reply.Stale == nil || len(reply.Supports) == 0 || assistant.Rest[0].Headers["X-API-Key"] == "" {
		t.Fatalf("%+v", reply)
	}
	for _, sensor := range assistant.Rest[0].Sensor {
		for _, name := range sensor.Attributes {
			if _, is := reply.Supports[0][name]; !is {
				t.Errorf("a level has no %s", name)
			}
		}
		for _, m := range regexp.MustCompile(`value_json\.(\w+)`).FindAllStringSubmatch(sensor.Value, -1) {
			if _, is := analysis[m[1]]; !is {
				t.Errorf("an analysis has no %s", m[1])
			}
		}
	}

	// Discord gets a message by the two requests and the test that the page names.
	posted := make(chan string, 1)
	discord := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		posted <- r.Method + " " + r.URL.Path + " " + string(body)
		io.WriteString(w, "{}")
	}))
	t.Cleanup(discord.Close)
	requests := regexp.MustCompile(`(?s)(http://tidemark:8080/\S+) -d '(.*?)'`).FindAllStringSubmatch(blocks["Discord"], -1)
	if len(requests) != 2 {
		t.Fatalf("%d requests for Discord", len(requests))
	}
	ids := make([]string, 2)
	for i, m := range requests {
		body := strings.NewReplacer("https://discord.com", discord.URL, "TOKEN", strings.Repeat("t", 68)).Replace(m[2])
		var stored struct{ ID string }
		ask("POST", m[1], body, &stored)
		ids[i] = stored.ID
	}
	var tried map[string]any
	ask("POST", r.base+"/receivers/"+ids[0]+"/test", "", &tried)
	select {
	case got := <-posted:
		if !strings.HasPrefix(got, "POST /api/webhooks/123456789012345678/t") || !strings.Contains(got, `"content":`) {
			t.Errorf("Discord got %s", got)
		}
	default:
		t.Errorf("Discord got nothing: %v", tried)
	}

	// A receiver that is stored again after the key is replaced needs only the new key.
	for i, lines := range []string{"a7\n5e", "a7"} {
		both := strings.NewReplacer("a7", strings.Repeat("a7", 32), "5e", strings.Repeat("5e", 32)).Replace(lines)
		write(secret, both)
		waitFor(t, "the new key", func() bool {
			return strings.Contains(r.log.String(), fmt.Sprintf(`"variable":"SECRETS_KEY","keys":%d`, 2-i))
		})
		ask("PUT", r.base+"/receivers/"+ids[0], strings.NewReplacer("https://discord.com", discord.URL, "TOKEN", strings.Repeat("u", 68)).Replace(requests[0][2]), &tried)
		ask("POST", r.base+"/receivers/"+ids[0]+"/test", "", &tried)
		if got := <-posted; !strings.HasPrefix(got, "POST /api/webhooks/123456789012345678/u") {
			t.Errorf("after the new key Discord got %s", got)
		}
	}

	var page struct{ Levels []map[string]any }
	var n8n struct {
		Nodes []struct {
			Name       string
			Parameters struct {
				URL   string
				Query struct {
					Parameters []struct{ Name, Value string }
				} `json:"queryParameters"`
				Split string `json:"fieldToSplitOut"`
			}
		}
		Connections map[string]struct{ Main [][]struct{ Node string } }
	}
	if err := json.Unmarshal([]byte(blocks["n8n"]), &n8n); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, node := range n8n.Nodes {
		names = append(names, node.Name)
		if node.Parameters.URL != "" {
			q := url.Values{}
			for _, p := range node.Parameters.Query.Parameters {
				q.Set(p.Name, p.Value)
			}
			ask("GET", node.Parameters.URL+"?"+q.Encode(), "", &page)
		}
		if of := node.Parameters.Split; of != "" && of != "levels" {
			t.Errorf("n8n splits %s", of)
		}
	}
	for from, to := range n8n.Connections {
		if !slices.Contains(names, from) || !slices.Contains(names, to.Main[0][0].Node) {
			t.Errorf("n8n connects %s and %+v", from, to)
		}
	}

	var flow []struct {
		ID, Type, URL string
		Wires         [][]string
	}
	if err := json.Unmarshal([]byte(blocks["Node-RED"]), &flow); err != nil {
		t.Fatal(err)
	}
	for i, node := range flow {
		if node.URL != "" {
			page.Levels = nil
			ask("GET", node.URL, "", &page)
		}
		if i+1 < len(flow) && node.Wires[0][0] != flow[i+1].ID {
			t.Errorf("Node-RED wires %s to %v", node.ID, node.Wires)
		}
	}
	if page.Levels == nil {
		t.Error("no list of levels was read")
	}

	// The key is replaced without a restart.
	status := func() int {
		req, err := http.NewRequestWithContext(t.Context(), "GET", r.base+"/jobs", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-API-Key", "a-key-of-some-length")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	write(keys, "short\n") // and is refused
	waitFor(t, "the refusal of the file", func() bool { return strings.Contains(r.log.String(), "those before remain valid") })
	if got := status(); got != http.StatusOK {
		t.Errorf("after a file with a short key: %d", got)
	}
	write(keys, "another-key-of-some-length\n")
	waitFor(t, "the end of the key", func() bool { return status() == http.StatusUnauthorized })
}

// waitFor waits until a condition holds, at most for a minute.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

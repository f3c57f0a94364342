package e2e

// This test pins clients/typescript: its types are the output of openapi-typescript for
// openapi.yaml, the responses of a running service match them, and followEvents loses no event.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tidemark/exchange/simulated"
)

func TestTypeScript_TypesAreThoseOfTheContractAndOfRealAnswers(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, name := range []string{"clients/typescript/package.json", "clients/typescript/package-lock.json", "clients/typescript/events.js", "clients/typescript/events.d.ts", "openapi.yaml"} {
		if err := os.WriteFile(filepath.Join(folder, filepath.Base(name)), []byte(text(t, name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tool := func(name string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = folder
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := tool("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	made := filepath.Join(folder, "tidemark.d.ts")
	if out, err := tool("node_modules/.bin/openapi-typescript", "openapi.yaml", "--output", made); err != nil {
		t.Fatalf("openapi-typescript: %v\n%s", err, out)
	}
	types, err := os.ReadFile(made)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("UPDATE_TYPES") != "" {
		if err := os.WriteFile("clients/typescript/tidemark.d.ts", types, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text(t, "clients/typescript/tidemark.d.ts") != string(types) {
		t.Error("tidemark.d.ts is not what openapi.yaml makes: UPDATE_TYPES=1 go test -run TypeScript ./e2e")
	}

	_, exchange := market(t, simulated.Options{Pairs: 5})
	database := sqliteURL(t)
	r := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+database)
	j := r.sweepTo(t)
	var a analysisReply
	r.get(t, "/levels/BTCUSDT", &a)
	all := append(a.Supports, a.Resistances...)
	if len(all) == 0 {
		t.Fatal("BTCUSDT has no level")
	}
	var code bytes.Buffer
	code.WriteString("import type { components } from \"./tidemark\";\ntype Schemas = components[\"schemas\"];\n")
	for n, answer := range []struct{ schema, path string }{
		{"Analysis", "/levels/BTCUSDT"}, {"PairOnIntervals", "/levels/BTCUSDT?interval=1h,4h"}, {"LevelPage", "/levels?limit=5"}, {"Explanation", "/levels/BTCUSDT/" + all[0].ID},
		{"Job", "/jobs/" + j.ID}, {"ExchangeList", "/exchanges"}, {"SymbolList", "/symbols?symbol=BTC"}, {"KlineList", "/klines/BTCUSDT?limit=3"}, {"FormingKline", "/klines/BTCUSDT/forming"},
		{"EventPage", "/events"}, {"Calibration", "/calibration"}, {"Memory", "/memory"}, {"Problem", "/levels/NOPE"},
	} {
		var body json.RawMessage
		r.get(t, answer.path, &body)
		fmt.Fprintf(&code, "export const answer%d: Schemas[%q] = %s;\n", n, answer.schema, body)
	}
	for schema, path := range map[string]string{"Analysis": "", "History": "/history"} {
		var list struct{ Klines json.RawMessage }
		r.get(t, "/klines/BTCUSDT?limit=200", &list)
		request := map[string]string{"Analysis": "AnalyzeRequest", "History": "HistoryRequest"}[schema]
		body := fmt.Sprintf(`{"interval":"1h","tick_size":0.01,"klines":%s}`, list.Klines)
		if path != "" {
			body = strings.Replace(body, "{", `{"every":30,`, 1)
		}
		res, err := http.Post(r.base+"/analyze"+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		var answer json.RawMessage
		if status := decode(t, res, &answer); status != http.StatusOK {
			t.Fatalf("%s: %d %s", path, status, answer)
		}
		fmt.Fprintf(&code, "export const sent%s: Schemas[%q] = %s;\nexport const got%s: Schemas[%q] = %s;\n", schema, request, body, schema, schema, answer)
	}
	check := func(files map[string]string) (string, error) {
		args := []string{"--noEmit", "--strict", "--target", "es2022", "--module", "es2022", "--moduleResolution", "bundler", "--skipLibCheck", "false"}
		for name, code := range files {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(code), 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args, name)
		}
		return tool("node_modules/.bin/tsc", args...)
	}
	follow := `import { followEvents } from "./events.js";
const until = new AbortController();
for await (const e of followEvents({ kinds: ["held"], signal: until.signal })) { const price: number = e.price; void price; }
`
	if out, err := check(map[string]string{"real.ts": code.String(), "follow.ts": follow}); err != nil {
		t.Errorf("answers of the service, or followEvents, have other types: %v\n%s", err, out)
	}
	bad := code.String()
	for _, wrong := range [][2]string{{`"status":"`, `"status":"x`}, {`"simulated":true`, `"simulated":"yes"`}} {
		bad = strings.Replace(bad, wrong[0], wrong[1], 1)
	}
	out, err := check(map[string]string{"real.ts": bad, "follow.ts": strings.Replace(follow, "held", "hold", 1)})
	if err == nil || strings.Count(out, "real.ts(") < 2 || !strings.Contains(out, "follow.ts(") {
		t.Errorf("of two mistakes in answers and a kind that does not exist the check finds: %v\n%s", err, out)
	}
	followInNode(t, folder, r, storing(t, database))
}

// followInNode follows the events of a service in Node over streams that break off within
// events, and over an answer that refuses for a moment.
func followInNode(t *testing.T, folder string, r *running, store func(symbol string, n int)) {
	t.Helper()
	const events = 120
	script := fmt.Sprintf(`import { followEvents, ServiceError } from "./events.mjs";
let streams = 0, refused = 0;
const cut = async (url, options) => {
  if (++streams === 2) return new Response('{"code":"busy"}', { status: 503, headers: { "Retry-After": "0" } });
  const answer = await fetch(url, options);
  if (streams > 4) return answer;
  let left = 5001 * streams;
  return new Response(answer.body.pipeThrough(new TransformStream({ transform(part, to) {
    if ((left -= part.length) >= 0) return to.enqueue(part);
    to.enqueue(part.slice(0, part.length + left));
    to.error(new Error("cut"));
  } })), answer);
};
const seen = [];
for await (const e of followEvents({ baseUrl: %q, since: 0, fetch: cut, onReconnect: () => refused++ })) {
  seen.push(e.seq);
  if (seen.length === %d) break;
}
let refusal;
try { for await (const e of followEvents({ baseUrl: %q, since: 99999 })) void e; } catch (error) { refusal = error; }
const until = new AbortController();
setTimeout(() => until.abort(), 50);
for await (const e of followEvents({ baseUrl: %q, signal: until.signal })) void e;
console.log(JSON.stringify({ seen, streams, refused, status: refusal instanceof ServiceError && refusal.status }));
`, r.base, events, r.base, r.base)
	if err := os.WriteFile(filepath.Join(folder, "follow.mjs"), []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(folder, "events.js"), filepath.Join(folder, "events.mjs")); err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		for n := range events {
			store("BTCUSDT", n)
		}
	}()
	cmd := exec.CommandContext(t.Context(), "node", "follow.mjs")
	cmd.Dir = folder
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	<-written
	if err != nil {
		t.Fatalf("node: %v\n%s", err, stderr.String())
	}
	var got struct {
		Seen                     []int64
		Streams, Refused, Status int
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for i, seq := range got.Seen {
		if i > 0 && seq <= got.Seen[i-1] {
			t.Errorf("event %d after %d", seq, got.Seen[i-1])
		}
	}
	if len(got.Seen) != events || got.Streams < 5 || got.Refused != got.Streams-1 || got.Status != 400 {
		t.Errorf("%d events of %d, %+v", len(got.Seen), events, got)
	}
}

// Pins POST /mcp: what its tools are, that each answers just what its route answers, in
// the shape it declares, and who may not call it. The client is the SDK's own.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

// The tools, and where in openapi.yaml they are described.
var mcpTools = []struct{ name, title, description, operation string }{
	{"get_levels", "Levels of a pair", "The stored support and resistance levels of one trading pair, with the odds that each is touched and holds. Says whether they are stale or simulated. With several intervals (1h,4h,1d) it has each, and which levels lie beside one of another interval (confluence).", "getLevels"},
	{"analyze_symbol", "Analyse a pair now", "Fetch the candles of one pair from the exchange and find its levels now. Nothing is stored. Slower than get_levels; for pairs that get_levels does not know, or knows too old.", "analyze"},
	{"list_symbols", "Pairs of the exchange", "The trading pairs of the exchange, which of them sweeps cover, and why not the others. Give symbol or quote: an exchange has thousands.", "listSymbols"},
	{"market_screen", "Levels of the whole market", "Levels of all analysed pairs as rows, those nearest to their price first, with filters, sort and pages.", "listLevels"},
	{"list_events", "What happened to levels", "What happened to levels, in the order in which it was found: a level appeared, price approached, touched, held, broke or flipped it, or it vanished; with the odds that were promised at the touch. Without since the newest 50; with since (1h, 2d, a time, or next of the answer before) what came after.", "listEvents"},
	{"explain_level", "Why a level is there", "The touches of one level with what became of them, what was found in its zone, and by how many points each factor moves its odds. The id is one of get_levels.", "explainLevel"},
	{"list_rules", "Rules", "The rules: which events are sent to which receivers.", "listRules"},
	{"list_receivers", "Receivers", "Where rules can send to, by name, and whether it works. Addresses and secrets are not shown.", "listReceivers"},
	{"preview_rule", "What a rule would have sent", "How often a rule would have sent a message in the last days, and what became of its levels, compared with lines at prices without meaning. Nothing is stored or sent. Do this before create_rule.", "previewRule"},
	{"create_rule", "Create a rule", "Store a rule: from now on its events are sent to its receivers, which must exist. Ask the user first.", "createRule"},
	{"delete_rule", "Delete a rule", "Delete the rule with an id of list_rules. Messages that it has caused are still delivered. Ask the user first.", "deleteRule"},
}

// describeTools makes what mcp.json must be of openapi.yaml.
func describeTools(t *testing.T) []byte {
	t.Helper()
	doc := document(t).doc
	operations := map[string]*openapi3.Operation{}
	for _, item := range doc.Paths.Map() {
		for _, op := range item.Operations() {
			operations[op.OperationID] = op
		}
	}
	schema := func(v any) (m map[string]any) {
		b, err := json.Marshal(v)
		if err == nil {
			err = json.Unmarshal(bytes.ReplaceAll(b, []byte(`"#/components/schemas/`), []byte(`"#/$defs/`)), &m)
		}
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	// withDefs adds to m the schemas it names, and those they name.
	withDefs := func(m map[string]any) map[string]any {
		defs := map[string]any{}
		var add func(v any)
		add = func(v any) {
			switch v := v.(type) {
			case map[string]any:
				delete(v, "x-enum-descriptions")
				delete(v, "example")
				if f, _ := v["format"].(string); numberWidth(f) {
					delete(v, "format")
				}
				if ref, is := v["$ref"].(string); is {
					if name := strings.TrimPrefix(ref, "#/$defs/"); defs[name] == nil {
						def := schema(doc.Components.Schemas[name].Value)
						defs[name] = def
						add(def)
					}
				}
				for _, part := range v {
					add(part)
				}
			case []any:
				for _, part := range v {
					add(part)
				}
			}
		}
		add(m)
		if len(defs) > 0 {
			m["$defs"] = defs
		}
		return m
	}
	var all []map[string]any
	for _, tool := range mcpTools {
		op := operations[tool.operation]
		if op == nil {
			t.Fatalf("openapi.yaml has no operation %s", tool.operation)
		}
		properties, required := map[string]any{}, []string{}
		for _, p := range op.Parameters {
			if p.Value.In == "header" || p.Value.Name == "format" || p.Value.Name == "wait" {
				continue
			}
			one := schema(p.Value.Schema)
			one["description"] = p.Value.Description
			if tool.name == "list_events" && p.Value.Name == "limit" {
				one["default"] = 50
			}
			properties[p.Value.Name] = one
			if p.Value.Required {
				required = append(required, p.Value.Name)
			}
		}
		if tool.name == "analyze_symbol" {
			body := doc.Components.Schemas["AnalyzeRequest"].Value.Properties
			for _, name := range []string{"symbol", "exchange", "interval", "kline_limit"} {
				properties[name] = schema(body[name])
			}
			required = append(required, "symbol")
		}
		switch tool.name {
		case "create_rule", "preview_rule":
			body := doc.Components.Schemas["RuleSettings"].Value
			for name, one := range body.Properties {
				properties[name] = schema(one)
			}
			required = body.Required
		case "delete_rule":
			properties["id"], required = map[string]any{"type": "string", "description": "Of the rule."}, []string{"id"}
		}
		done := op.Responses.Value("200")
		if done == nil {
			done = op.Responses.Value("201")
		}
		if done == nil { // deleted
			done = &openapi3.ResponseRef{Value: openapi3.NewResponse().WithJSONSchema(openapi3.NewObjectSchema().WithProperty("deleted", openapi3.NewStringSchema()).WithRequired([]string{"deleted"}).WithoutAdditionalProperties())}
		}
		content := done.Value.Content
		output := schema(content["application/json"].Schema.Value)
		if several := content[contentIntervals[0]]; several != nil { // clients want an object, and no more is the same in both
			output = map[string]any{"type": "object", "anyOf": []any{schema(content["application/json"].Schema), schema(several.Schema)}}
		}
		all = append(all, map[string]any{
			"name": tool.name, "title": tool.title, "description": tool.description,
			"inputSchema":  withDefs(map[string]any{"type": "object", "additionalProperties": false, "properties": properties, "required": required}),
			"outputSchema": withDefs(output),
		})
	}
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

func TestMCP_Tools(t *testing.T) {
	want := describeTools(t)
	if *update {
		if err := os.WriteFile("mcp.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(mcpFile, want) {
		t.Error("mcp.json is not what openapi.yaml says: go test ./api -run TestMCP_Tools -update")
	}
}

// withKey sends a key with every request.
type withKey struct{ key string }

func (k withKey) RoundTrip(r *http.Request) (*http.Response, error) {
	if r = r.Clone(r.Context()); k.key != "" {
		r.Header.Set("X-Api-Key", k.key)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// connect serves h and connects a client to it.
func connect(t *testing.T, h *harness, key string) (*httptest.Server, *mcp.ClientSession, error) {
	t.Helper()
	srv := httptest.NewServer(h.api)
	t.Cleanup(srv.Close)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint: srv.URL + "/mcp", HTTPClient: &http.Client{Transport: withKey{key}}, DisableStandaloneSSE: true, MaxRetries: -1,
	}, nil)
	if err == nil {
		t.Cleanup(func() { _ = session.Close() })
	}
	return srv, session, err
}

func TestMCP_ToolsAnswerWhatTheirRoutesAnswer(t *testing.T) {
	h := start(t)
	keeps(h)
	want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`), 200)
	for n := range 70 {
		h.happen("BTCUSDT", wire.EventKinds[n%len(wire.EventKinds)])
	}
	_, session, err := connect(t, h, "")
	if err != nil {
		t.Fatal(err)
	}
	list, err := session.ListTools(t.Context(), nil)
	if err != nil || len(list.Tools) != len(mcpTools)-len(ruleTools) {
		t.Fatalf("%v: %d tools", err, len(list.Tools))
	}
	schemas := map[string]*jsonschema.Resolved{}
	for _, tool := range list.Tools {
		if !tool.Annotations.ReadOnlyHint || tool.Description == "" {
			t.Errorf("%s: %+v", tool.Name, tool.Annotations)
		}
		for _, s := range []any{tool.InputSchema, tool.OutputSchema} {
			b, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			parsed := new(jsonschema.Schema)
			if err := json.Unmarshal(b, parsed); err != nil {
				t.Fatalf("%s: %v", tool.Name, err)
			}
			if schemas[tool.Name], err = parsed.Resolve(nil); err != nil {
				t.Fatalf("%s: %v", tool.Name, err)
			}
		}
	}
	var a struct{ Supports, Resistances []struct{ ID string } }
	if err := json.Unmarshal(h.get("/levels/BTCUSDT").Body.Bytes(), &a); err != nil {
		t.Fatal(err)
	}
	id := append(a.Supports, a.Resistances...)[0].ID
	for _, c := range []struct {
		tool      string
		arguments map[string]any
		path      string // "" where answers differ by when they were made
	}{
		{"get_levels", map[string]any{"symbol": "btc/usdt"}, "/levels/BTCUSDT"},
		{"get_levels", map[string]any{"symbol": "BTCUSDT", "interval": "1h", "exchange": "simulated"}, "/levels/BTCUSDT"},
		{"get_levels", map[string]any{"symbol": "BTCUSDT", "interval": "4h,1h"}, "/levels/BTCUSDT?interval=4h,1h"},
		{"explain_level", map[string]any{"symbol": "BTCUSDT", "id": id}, "/levels/BTCUSDT/" + id},
		{"market_screen", map[string]any{"limit": 2, "max_distance_atr": 50.5, "sort": "-strength"}, "/levels?limit=2&max_distance_atr=50.5&sort=-strength"},
		{"list_symbols", map[string]any{"selected": true, "quote": "USDT"}, "/symbols?selected=true&quote=USDT"},
		{"list_events", map[string]any{"since": 1, "kind": "held,broke", "limit": 2}, "/events?since=1&kind=held,broke&limit=2"},
		{"list_events", map[string]any{}, "/events?limit=50"},
		{"analyze_symbol", map[string]any{"symbol": "ETHUSDT", "kline_limit": 300}, ""},
	} {
		result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: c.tool, Arguments: c.arguments})
		if err != nil || result.IsError {
			t.Errorf("%s %v: %v %+v", c.tool, c.arguments, err, result)
			continue
		}
		if err := schemas[c.tool].Validate(result.StructuredContent); err != nil {
			t.Errorf("%s %v: %v", c.tool, c.arguments, err)
		}
		got, err := json.Marshal(result.StructuredContent)
		if err != nil {
			t.Fatal(err)
		}
		text := result.Content[0].(*mcp.TextContent).Text
		if c.path != "" && (canonicalJSON(t, got) != canonicalJSON(t, h.get(c.path).Body.Bytes()) || canonicalJSON(t, []byte(text)) != canonicalJSON(t, got)) {
			t.Errorf("%s %v:\n%s\nand GET %s:\n%s", c.tool, c.arguments, got, c.path, h.get(c.path).Body)
		}
	}
	if rec := h.get("/levels/ETHUSDT"); rec.Code != 404 {
		t.Errorf("analyze_symbol stored what it found: %d", rec.Code)
	}
	for _, c := range []struct {
		tool      string
		arguments map[string]any
		want      string
	}{
		{"get_levels", nil, "symbol"},
		{"get_levels", map[string]any{"symbol": "NOPE"}, "not_analyzed"},
		{"get_levels", map[string]any{"symbol": "BTCUSDT", "interval": "7h"}, "interval"},
		{"get_levels", map[string]any{"symbol": "BTCUSDT", "format": "pine"}, "format"},
		{"get_levels", map[string]any{"symbol": "BTCUSDT", "at": []int{1}}, "at"},
		{"explain_level", map[string]any{"symbol": "BTCUSDT", "id": "00000000000000ab"}, "unknown_level"},
		{"market_screen", map[string]any{"depth": 3}, "unknown parameter"},
		{"list_events", map[string]any{"wait": "20s"}, "does not wait"},
		{"analyze_symbol", map[string]any{"all": true}, "symbol"},
		{"analyze_symbol", map[string]any{"symbol": "BTCUSDT", "store": true}, "symbol"},
	} {
		result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: c.tool, Arguments: c.arguments})
		if err != nil || !result.IsError || !strings.Contains(result.Content[0].(*mcp.TextContent).Text, c.want) {
			t.Errorf("%s %v: %v %+v, want an error that says %q", c.tool, c.arguments, err, result, c.want)
		}
	}
	if _, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "buy"}); err == nil {
		t.Error("there is a tool to buy")
	}
}

func TestMCP_RulesNeedPermission(t *testing.T) {
	h, _ := withAlerts(t, secretsKey)
	_, session, err := connect(t, h, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "list_rules"}); err == nil {
		t.Error("rules are listed without permission")
	}

	h, _ = withAlerts(t, secretsKey, func(c *Config) { c.MCPRules = true })
	created(t, h, "/receivers", `{"name":"phone","kind":"webhook","config":{"url":"https://example.com/hook/token","secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}`)
	if _, session, err = connect(t, h, ""); err != nil {
		t.Fatal(err)
	}
	list, err := session.ListTools(t.Context(), nil)
	if err != nil || len(list.Tools) != len(mcpTools) {
		t.Fatalf("%v: %d tools", err, len(list.Tools))
	}
	for _, tool := range list.Tools {
		if changes := ruleTools[tool.Name]; tool.Annotations.ReadOnlyHint == changes || *tool.Annotations.DestructiveHint != (tool.Name == "delete_rule") {
			t.Errorf("%s: %+v", tool.Name, tool.Annotations)
		}
	}
	call := func(tool string, arguments map[string]any) (text string, isError bool) {
		t.Helper()
		result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: arguments})
		if err != nil {
			t.Fatalf("%s: %v", tool, err)
		}
		return result.Content[0].(*mcp.TextContent).Text, result.IsError
	}
	if text, bad := call("list_receivers", nil); bad || !strings.Contains(text, `"name":"phone"`) || strings.Contains(text, "token") || strings.Contains(text, "MfKQ9r8") {
		t.Errorf("receivers: %s", text)
	}
	rule := map[string]any{"name": "touches", "receivers": []string{"phone"}, "pairs": []string{"BTC/USDT"}, "kinds": []string{"touched"}, "min_edge": 4.5}
	preview := map[string]any{"days": 7}
	for name, value := range rule {
		preview[name] = value
	}
	if text, bad := call("preview_rule", preview); bad || !strings.Contains(text, `"days":7`) {
		t.Errorf("preview: %s", text)
	}
	if text, bad := call("create_rule", map[string]any{"name": "x", "receivers": []string{"nobody"}}); !bad || !strings.Contains(text, "nobody") {
		t.Errorf("to a receiver that does not exist: %s", text)
	}
	text, bad := call("create_rule", rule)
	stored := decode[wire.RuleList](t, h.get("/rules"))
	if bad || len(stored.Rules) != 1 || stored.Rules[0].MinEdge != 4.5 || !strings.Contains(text, stored.Rules[0].ID) {
		t.Fatalf("created: %s; stored are %+v", text, stored)
	}
	if text, bad := call("list_rules", nil); bad || canonicalJSON(t, []byte(text)) != canonicalJSON(t, h.get("/rules").Body.Bytes()) {
		t.Errorf("rules: %s", text)
	}
	for n, want := range []string{`{"deleted":"` + stored.Rules[0].ID + `"}`, "not_found"} {
		if text, bad := call("delete_rule", map[string]any{"id": stored.Rules[0].ID}); bad != (n > 0) || !strings.Contains(text, want) {
			t.Errorf("deleted: %s", text)
		}
	}
}

// canonicalJSON is b with its members in order.
func canonicalJSON(t *testing.T, b []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	out, _ := json.Marshal(v)
	return string(out)
}

func TestMCP_NeedsAKeyAndNoOtherOrigin(t *testing.T) {
	h := start(t, func(c *Config, _ *service.Config) { c.Keys = []string{"secret-secret-secret"} })
	if _, _, err := connect(t, h, ""); err == nil {
		t.Error("connected without a key")
	}
	srv, session, err := connect(t, h, "secret-secret-secret")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.ListTools(t.Context(), nil); err != nil {
		t.Error(err)
	}
	const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	for _, c := range []struct {
		name, value, body string
		status            int
	}{
		{"Accept", "application/json, text/event-stream", ping, 200},
		{"Origin", "https://evil.example", ping, 403},
		{"Host", "levels.example", ping, 200},
		{"Accept", "application/json, text/event-stream", "{" + strings.Repeat(" ", mcpBytes) + "}", 413},
	} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL+"/mcp", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json, text/event-stream")
		r.Header.Set("X-Api-Key", "secret-secret-secret")
		if r.Header.Set(c.name, c.value); c.name == "Host" {
			r.Host = c.value
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%s %s: %d %s, want %d", c.name, c.value, res.StatusCode, body, c.status)
		}
	}
}

// message sends one message to POST /mcp.
func (h *harness) message(body string, headers ...string) *httptest.ResponseRecorder {
	h.t.Helper()
	return h.do("POST", "/mcp", body, headers...)
}

func callTool(id, name, arguments string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, id, name, arguments)
}

func TestMCP_ListsOfMessagesAreRefusedBeforeAnyRuns(t *testing.T) {
	h := start(t)
	ran := 0
	h.store.SnapshotFunc = func(key service.Key, _ time.Time) (service.Snapshot, error) {
		ran++
		return service.Snapshot{}, service.ErrNotAnalyzed
	}
	one := callTool("1", "get_levels", `{"symbol":"BTCUSDT"}`)
	want(t, h.message(one), 200)
	if ran != 1 {
		t.Fatalf("the tool ran %d times for one message", ran)
	}
	for _, version := range []string{"", "2025-03-26", "2025-06-18"} {
		for _, body := range []string{"[" + one + "]", " \n[" + one + "," + one + "]", "[]"} {
			rec := h.message(body, "Mcp-Protocol-Version", version)
			if rec.Code != 400 || !strings.Contains(problemOf(t, rec).Detail, "batches") {
				t.Errorf("%q of %s: %d %s", version, body, rec.Code, rec.Body)
			}
		}
	}
	for _, body := range []string{"", "1", "null", `"x"`, "{", `{"jsonrpc":"2.0","id":1}`, `{"jsonrpc":"2.0","id":1,"method":5}`, `{"jsonrpc":"2.0","id":{},"method":"ping"}`,
		`{"jsonrpc":"2.0","id":null,"method":"ping"}`, one + one, `{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}`, `{"id":1,"method":"ping"}`} {
		if rec := h.message(body); rec.Code != 400 {
			t.Errorf("%s: %d %s", body, rec.Code, rec.Body)
		}
	}
	if ran != 1 {
		t.Errorf("the tool ran %d times", ran)
	}
}

func TestMCP_AnswersUnderTheIDItWasGiven(t *testing.T) {
	h := start(t)
	for _, id := range []string{"1", "1.5", "-0.25", "9007199254740993", "1e3", `"a"`, `"1.5"`, `"\u00e9 \"x\""`, "0"} {
		for _, m := range []string{`{"jsonrpc":"2.0","id":` + id + `,"method":"ping"}`, callTool(id, "get_levels", `{"symbol":"NOPE"}`), `{"method":"nonsense","id":` + id + `,"jsonrpc":"2.0"}`} {
			rec := h.message(m)
			want(t, rec, 200)
			var reply struct {
				JSONRPC string
				ID      json.RawMessage
			}
			if err := json.Unmarshal(rec.Body.Bytes(), &reply); err != nil || string(reply.ID) != id || reply.JSONRPC != "2.0" {
				t.Errorf("%s: %v: %s", m, err, rec.Body)
			}
		}
	}
}

func TestMCP_SaysThatThereIsNoSuchMethod(t *testing.T) {
	h := start(t)
	for _, method := range []string{"nonsense", "tools/fetch", "prompts/list", "resources/list", "subscriptions/listen", "logging/setLevel"} {
		for version, status := range map[string]int{"": 200, "2025-11-25": 200, "2026-07-28": 404} {
			rec := h.message(`{"jsonrpc":"2.0","id":7,"method":"`+method+`"}`, "Mcp-Protocol-Version", version)
			var reply struct {
				ID    int
				Error struct{ Code int }
			}
			if err := json.Unmarshal(rec.Body.Bytes(), &reply); err != nil || rec.Code != status || reply.ID != 7 || reply.Error.Code != -32601 {
				t.Errorf("%s of %q: %d %s", method, version, rec.Code, rec.Body)
			}
		}
	}
	for _, silent := range []string{`{"jsonrpc":"2.0","method":"notifications/initialized"}`, `{"jsonrpc":"2.0","method":"notifications/whatever"}`, `{"jsonrpc":"2.0","id":3,"result":{}}`} {
		if rec := h.message(silent); rec.Code != 202 || rec.Body.Len() > 0 {
			t.Errorf("%s: %d %s", silent, rec.Code, rec.Body)
		}
	}
	_, session, err := connect(t, h, "")
	if err != nil {
		t.Fatal(err)
	}
	var refused *jsonrpc.Error
	if _, err := session.ListPrompts(t.Context(), nil); !errors.As(err, &refused) || refused.Code != jsonrpc.CodeMethodNotFound {
		t.Errorf("the library reads it as %v", err)
	}
}

func TestMCP_ALongReplyIsAnErrorThatSaysHowToNarrowIt(t *testing.T) {
	h := start(t)
	h.exchange.SymbolsFunc = func(yield func(service.Symbol, error) bool) {
		for i := range 3000 {
			if !yield(service.Symbol{Name: fmt.Sprintf("P%dUSDT", i), Base: fmt.Sprint("P", i), Quote: "USDT", Trading: true, Status: "TRADING"}, nil) {
				return
			}
		}
	}
	rec := h.message(callTool("1", "list_symbols", `{}`))
	var reply struct {
		Result struct {
			IsError bool
			Content []struct{ Text string }
		}
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &reply); err != nil || !reply.Result.IsError || !strings.Contains(reply.Result.Content[0].Text, "narrow") || rec.Body.Len() > 2000 {
		t.Errorf("%v: %d bytes: %.300s", err, rec.Body.Len(), rec.Body)
	}
	rec = h.message(callTool("1", "list_symbols", `{"symbol":"P299"}`))
	if reply.Result.IsError = false; json.Unmarshal(rec.Body.Bytes(), &reply) != nil || reply.Result.IsError || !strings.Contains(rec.Body.String(), "P2999USDT") {
		t.Errorf("narrowed: %.300s", rec.Body)
	}
}

func TestMCP_TheWorkEndsWhenTheClientGoes(t *testing.T) {
	for _, version := range []string{"", "2025-06-18"} {
		h := start(t)
		began, ended := make(chan struct{}), make(chan struct{})
		h.exchange.CandlesFunc = func(ctx context.Context, _ string, _ int64, _ *levels.Candles) error {
			close(began)
			<-ctx.Done()
			close(ended)
			return ctx.Err()
		}
		srv := httptest.NewServer(h.api)
		ctx, leave := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "POST", srv.URL+"/mcp", strings.NewReader(callTool("1", "analyze_symbol", `{"symbol":"BTCUSDT"}`)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Mcp-Protocol-Version", version)
		go func() { <-began; leave() }()
		if _, err := http.DefaultClient.Do(r); !errors.Is(err, context.Canceled) {
			t.Errorf("%q: %v", version, err)
		}
		select {
		case <-ended:
		case <-time.After(9 * time.Second): // the analysis has ten
			t.Errorf("%q: the work goes on without its client", version)
		}
		srv.Close() // once the handler has ended
		if log := h.log.String(); strings.Contains(log, "panic") {
			t.Errorf("%q: %s", version, log)
		}
	}
}

func TestMCP_ANumberOfMessagesIsAnsweredAtOnceAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(_ *Config, c *service.Config) { c.QueueLimit = 100 })
		open := make(chan struct{})
		h.exchange.CandlesFunc = slowly(h, open)
		h.exchange.SymbolsFunc = func(yield func(service.Symbol, error) bool) {
			<-open
			yield(service.Symbol{Name: "AUSDT"}, nil)
		}
		replies := make(chan int, mcpMessages)
		send := func(m string) { replies <- h.message(m).Code }
		for range mcpReads {
			go send(callTool("1", "list_symbols", "{}"))
		}
		synctest.Wait()
		for range 2 {
			go send(callTool("1", "get_levels", `{"symbol":"BTCUSDT"}`))
		}
		synctest.Wait()
		if len(replies) > 0 || len(h.api.reads) != mcpReads {
			t.Errorf("%d tools read, %d have been answered", len(h.api.reads), len(replies))
		}
		for i := mcpReads + 2; i < mcpMessages; i++ {
			go send(callTool("1", "analyze_symbol", `{"symbol":"BTCUSDT"}`))
		}
		synctest.Wait()
		rec := h.message(callTool("1", "get_levels", `{"symbol":"BTCUSDT"}`))
		if rec.Code != 503 || rec.Header().Get("Retry-After") == "" {
			t.Errorf("one message too many: %d %s", rec.Code, rec.Body)
		}
		close(open)
		for range mcpMessages {
			if code := <-replies; code != 200 {
				t.Errorf("answered with %d", code)
			}
		}
		synctest.Wait()
		if len(h.api.reads)+len(h.api.messages) != 0 {
			t.Errorf("%d and %d are still counted", len(h.api.reads), len(h.api.messages))
		}
	})
}

func TestMCP_AToolThatPanicsIsAnErrorOfTheTool(t *testing.T) {
	h := start(t)
	h.store.SnapshotFunc = func(service.Key, time.Time) (service.Snapshot, error) { panic("odd") }
	rec := h.message(callTool("1", "get_levels", `{"symbol":"BTCUSDT"}`))
	if !strings.Contains(rec.Body.String(), `"isError":true`) || !strings.Contains(rec.Body.String(), "internal") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

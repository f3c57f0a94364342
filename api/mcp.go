package api

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// mcpFile describes the tools of the Model Context Protocol: their names, parameters
// and results. The results are those in openapi.yaml. TestMCP_Tools compares the file
// with that document; with -update it rewrites the file.
//
//go:embed mcp.json
var mcpFile []byte

// mcpTool is a tool: a GET route of this API, an analysis that is not stored, or one of the
// ruleTools.
type mcpTool struct {
	Name         string          `json:"name"`
	Title        string          `json:"title"`
	Description  string          `json:"description"`
	InputSchema  json.RawMessage `json:"inputSchema"`
	OutputSchema json.RawMessage `json:"outputSchema"`
}

// ruleTools need Config.MCPRules. The value is whether one changes something.
var ruleTools = map[string]bool{"list_rules": false, "list_receivers": false, "preview_rule": false, "create_rule": true, "delete_rule": true}

const (
	// mcpBytes bounds a message to POST /mcp, in bytes.
	mcpBytes = 64 << 10
	// mcpReply bounds the reply of a tool, in bytes. Several copies of it, among them
	// text in JSON, are in memory until it is sent: about 1 MiB for the largest.
	mcpReply = 128 << 10
	// mcpMessages bounds the messages in progress, and mcpReads the reading tools that
	// build their replies. An analysis has a short reply; the slots and
	// ANALYSIS_QUEUE_LIMIT bound analyses.
	mcpMessages = 32
	mcpReads    = 4
)

// mcpMethods are the supported requests. There are no prompts, resources or
// subscriptions.
var mcpMethods = map[string]bool{"initialize": true, "ping": true, "server/discover": true, "tools/list": true, "tools/call": true}

// postMCP serves POST /mcp: the Model Context Protocol over streamable HTTP without
// sessions (revision 2025-03-26 and later), with every reply as JSON. Key, rate, Host
// and Origin are checked as on every route. The server is made at the first request.
func (a *API) postMCP(w *reply, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	if err := jsonBody(r); err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w.ResponseWriter, r.Body, mcpBytes))
	if err != nil {
		return bodyError(err, "")
	}
	r.Body = http.NoBody // read completely
	w.wait(r)
	m, err := parseMessage(body)
	if err != nil {
		return err
	}
	h := w.Header()
	h["Cache-Control"] = noStore
	if m.ID == nil { // a notification, or an unexpected response
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	if !mcpMethods[m.Method] {
		h["Content-Type"] = contentJSON
		if r.Header.Get("Mcp-Protocol-Version") >= "2026-07-28" {
			w.WriteHeader(http.StatusNotFound)
		}
		refusal := mcpRefusal{JSONRPC: "2.0", ID: m.ID}
		refusal.Error.Code, refusal.Error.Message = -32601, "method not found: "+clip(m.Method)
		b, err := jsonv2.Marshal(&refusal, wireOptions, jsontext.PreserveRawStrings(true))
		if err != nil {
			return err
		}
		return write(w, append(b, '\n'))
	}
	select {
	case a.messages <- struct{}{}:
		defer func() { <-a.messages }()
	default:
		return &problem{code: "busy", detail: fmt.Sprintf("%d messages of agents are being answered already", mcpMessages)}
	}
	message, err := m.renamed()
	if err != nil {
		return err
	}
	call := &mcpCall{client: r.Context()}
	var done context.CancelFunc
	call.reply, done = context.WithCancel(context.WithoutCancel(r.Context()))
	defer done()
	r = r.WithContext(context.WithValue(r.Context(), mcpCallKey{}, call))
	r.Body = io.NopCloser(bytes.NewReader(message))
	// The reply is JSON even if the client also accepts other types.
	r.Header["Accept"] = []string{"application/json, text/event-stream"}
	var out answer
	a.mcp().ServeHTTP(&out, r.WithContext(context.WithValue(r.Context(), outerKey{}, w)))
	done()
	w.deadline(writeTimeout)
	if out.status == 0 {
		if err := r.Context().Err(); err != nil {
			return err
		}
		return errors.New("the message was not answered")
	}
	if code := mcpCodes[out.status]; code != "" && !strings.HasPrefix(out.Header().Get("Content-Type"), "application/json") {
		return &problem{code: code, detail: strings.TrimSpace(string(out.body))}
	}
	rest, is := bytes.CutPrefix(out.body, []byte(renamedReply))
	if !is {
		return fmt.Errorf("the reply to a message does not begin with its id: %.60q", out.body)
	}
	for name, values := range out.header {
		h[name] = values
	}
	h["Cache-Control"] = noStore
	w.WriteHeader(out.status)
	_, _ = w.Write(append(append([]byte(`{"jsonrpc":"2.0","id":`), m.ID...), ','))
	return write(w, rest)
}

// mcpCall is a message in progress. It is passed in the context of its request: the
// library passes that context to a tool, but does not always cancel it.
type mcpCall struct {
	client context.Context // cancelled when the client disconnects
	reply  context.Context // cancelled once the reply is built
}

type mcpCallKey struct{}

// mcpMessage is a JSON-RPC message.
type mcpMessage struct {
	ID     jsontext.Value `json:"id,omitzero"` // a string or a number, unchanged; nil if absent
	Method string         `json:"method,omitzero"`
	Result jsontext.Value `json:"result,omitzero"`
	Error  jsontext.Value `json:"error,omitzero"`
	Rest   jsontext.Value `json:",embed"` // all other members, unchanged
}

// The library gets the message under another id, since it would change 1.5 to 1.
const renamedReply = `{"jsonrpc":"2.0","id":1,`

func (m mcpMessage) renamed() ([]byte, error) {
	m.ID = jsontext.Value("1")
	return jsonv2.Marshal(&m)
}

// parseMessage reads one JSON-RPC message. It refuses lists of messages (the batches of
// revision 2025-03-26): one request would count for any number.
func parseMessage(body []byte) (m mcpMessage, err error) {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	switch d.PeekKind() {
	case '[':
		return m, badField("", "lists of messages (batches) are not taken: send one message a request")
	case 'n', 't', 'f', '"', '0':
		return m, badField("", "the body must be a JSON-RPC message, an object")
	}
	if err := jsonv2.UnmarshalDecode(d, &m); err != nil {
		return m, bodyError(err, "jsonrpc, id, method, params")
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return m, badField("", "something follows the message")
	}
	if m.ID != nil && m.ID.Kind() != '"' && m.ID.Kind() != '0' {
		return m, badField("/id", "must be a string or a number")
	}
	switch {
	case m.Method == "" && (m.Result != nil || m.Error != nil):
		m.ID = nil
	case m.Method == "":
		return m, badField("/method", "it is missing")
	}
	return m, nil
}

// mcpRefusal is the reply to an unsupported request.
type mcpRefusal struct {
	JSONRPC string         `json:"jsonrpc"`
	ID      jsontext.Value `json:"id"`
	Error   struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// mcpCodes are the problem codes for requests that the library refuses in plain text.
var mcpCodes = map[int]string{
	http.StatusBadRequest: "invalid_request", http.StatusForbidden: "cross_origin",
	http.StatusRequestEntityTooLarge: "body_too_large", http.StatusUnsupportedMediaType: "unsupported_media_type",
}

// newMCP returns the handler of POST /mcp.
func (a *API) newMCP() http.Handler {
	server := mcp.NewServer(&mcp.Implementation{Name: "tidemark", Version: a.Version}, &mcp.ServerOptions{
		Instructions: "Support and resistance levels of trading pairs, with odds. Say so when an answer is simulated or stale. Odds are of " +
			"holding once touched and of being touched, within horizon_candles; compare hold_probability with baseline_hold_probability, " +
			"which is that of any line as far away. Not advice.",
		Capabilities: &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}},
	})
	var tools []mcpTool
	if err := json.Unmarshal(mcpFile, &tools); err != nil {
		panic(fmt.Sprintf("api: mcp.json: %v", err)) // the file is embedded
	}
	openWorld := false // these tools reach only this exchange
	for _, t := range tools {
		changes, ofRules := ruleTools[t.Name]
		if ofRules && !a.MCPRules {
			continue
		}
		destroys := t.Name == "delete_rule"
		server.AddTool(&mcp.Tool{
			Name: t.Name, Title: t.Title, Description: t.Description, InputSchema: t.InputSchema, OutputSchema: t.OutputSchema,
			Annotations: &mcp.ToolAnnotations{Title: t.Title, ReadOnlyHint: !changes, IdempotentHint: t.Name != "create_rule", DestructiveHint: &destroys, OpenWorldHint: &openWorld},
		}, func(ctx context.Context, call *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return a.callTool(ctx.Value(mcpCallKey{}).(*mcpCall), t.Name, call.Params.Arguments), nil
		})
	}
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true, DisableLocalhostProtection: true})
}

// callTool returns the reply of the route behind a tool. A problem becomes an error of
// the tool, which a model may read and correct.
func (a *API) callTool(call *mcpCall, name string, arguments json.RawMessage) *mcp.CallToolResult {
	body, err := a.tool(call, name, arguments)
	if err != nil {
		r, _ := http.NewRequestWithContext(call.client, "POST", "/mcp", nil)
		p := status(r, err)
		text := p.code + ": " + p.detail
		if p.retry > 0 {
			text += fmt.Sprintf(" (try again in %s)", p.retry.Round(time.Second))
		}
		return &mcp.CallToolResult{IsError: true, Content: []mcp.Content{&mcp.TextContent{Text: text}}}
	}
	return &mcp.CallToolResult{
		Content:           []mcp.Content{&mcp.TextContent{Text: string(body)}},
		StructuredContent: json.RawMessage(body),
	}
}

// tool runs a tool, after waiting for a place if it reads. It recovers from panics,
// since the library's goroutine does not.
func (a *API) tool(call *mcpCall, name string, arguments json.RawMessage) (body []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.log.Error("a tool panicked", "panic", p, "stack", string(debug.Stack()), "tool", name)
			body, err = nil, errPanicked
		}
	}()
	if name != "analyze_symbol" {
		select {
		case a.reads <- struct{}{}:
			context.AfterFunc(call.reply, func() { <-a.reads })
		case <-call.client.Done():
			return nil, context.Cause(call.client)
		}
	}
	return a.askTool(call.client, name, arguments)
}

// askTool calls the handler behind a tool.
func (a *API) askTool(ctx context.Context, name string, arguments json.RawMessage) ([]byte, error) {
	given := map[string]any{}
	if len(arguments) > 0 {
		d := json.NewDecoder(bytes.NewReader(arguments))
		d.UseNumber()
		if err := d.Decode(&given); err != nil {
			return nil, badField("", "the arguments must be a JSON object: %v", err)
		}
	}
	path := chi.NewRouteContext()
	take := func(name string) (string, error) {
		text, is := given[name].(string)
		if !is || text == "" {
			return "", badParameter(name, "it must be given, as text")
		}
		delete(given, name)
		return text, nil
	}
	var h handler
	target, inPath := "", []string(nil)
	switch name {
	case "get_levels":
		if given["exchange"] == allExchanges {
			return nil, badParameter("exchange", "name one exchange; market_screen with symbols shows a pair on all")
		}
		h, target, inPath = a.getLevels, "/levels/{symbol}", []string{"symbol"}
	case "explain_level":
		h, target, inPath = a.getLevel, "/levels/{symbol}/{id}", []string{"symbol", "id"}
	case "market_screen":
		h, target = a.getScreen, "/levels"
	case "list_symbols":
		h, target = a.getSymbols, "/symbols"
	case "list_events":
		if given["wait"] != nil {
			return nil, badParameter("wait", "a tool does not wait")
		}
		if given["limit"] == nil {
			given["limit"] = json.Number("50") // a hundred would be longer than a reply may be
		}
		h, target = a.getEvents, "/events"
	case "analyze_symbol":
		if _, is := given["symbol"].(string); !is || given["store"] != nil || given["klines"] != nil || given["all"] != nil || given["symbols"] != nil {
			return nil, badParameter("symbol", "it must be given, as text, with at most exchange, interval and kline_limit beside it")
		}
		given["store"] = false
		return a.post(ctx, a.postAnalyze, "/analyze", given)
	case "list_rules":
		h, target = a.rules().getAll, "/rules"
	case "list_receivers":
		h, target = a.receivers().getAll, "/receivers"
	case "create_rule":
		return a.post(ctx, a.rules().post, "/rules", given)
	case "preview_rule":
		target := "/rules/preview"
		if days, is := given["days"]; is {
			target += "?" + url.Values{"days": {fmt.Sprint(days)}}.Encode()
			delete(given, "days")
		}
		return a.post(ctx, a.postPreview, target, given)
	case "delete_rule":
		id, err := take("id")
		if err != nil {
			return nil, err
		}
		if err := a.Alerts.DeleteRule(ctx, id); err != nil {
			return nil, alertError(err)
		}
		return appendJSON(nil, &struct {
			Deleted string `json:"deleted"`
		}{id}), nil
	default:
		return nil, badParameter("name", "there is no tool %q", clip(name))
	}
	for _, name := range inPath {
		text, err := take(name)
		if err != nil {
			return nil, err
		}
		path.URLParams.Add(name, text)
		target = strings.Replace(target, "{"+name+"}", url.PathEscape(text), 1)
	}
	query := url.Values{}
	for name, value := range given {
		switch v := value.(type) {
		case string:
			query.Set(name, v)
		case json.Number:
			query.Set(name, v.String())
		case bool:
			query.Set(name, fmt.Sprint(v))
		default:
			return nil, badParameter(name, "it must be text, a number, true or false")
		}
	}
	if query.Has("format") {
		return nil, badParameter("format", "a tool answers with JSON")
	}
	r, err := http.NewRequestWithContext(context.WithValue(ctx, chi.RouteCtxKey, path), "GET", target, nil)
	if err != nil {
		return nil, err
	}
	r.URL = &url.URL{Path: r.URL.Path, RawQuery: query.Encode()}
	return a.ask(h, r)
}

// post returns the answer of h to a body, which is encoded as JSON.
func (a *API) post(ctx context.Context, h handler, target string, body any) ([]byte, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, "POST", target, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	r.Header["Content-Type"] = contentJSON
	return a.ask(h, r)
}

// outerKey is the context key of the reply to the agent, in a tool's request.
type outerKey struct{}

// ask returns the answer of h to r, which must have been admitted already.
func (a *API) ask(h handler, r *http.Request) ([]byte, error) {
	b := answer{limit: mcpReply}
	outer, _ := r.Context().Value(outerKey{}).(*reply)
	w := &reply{ResponseWriter: &b, start: time.Now(), keys: a.keys.now.Load(), outer: outer}
	defer func() { a.replies.give(w.held.Load()) }() // for a request without an outer reply
	err := h(w, r)
	if b.cut {
		return nil, &problem{code: "invalid_request", detail: fmt.Sprintf("the reply would be longer than %d KiB: narrow what you ask for, with limit, symbol, quote or another filter", mcpReply>>10)}
	}
	return bytes.TrimSuffix(b.body, []byte("\n")), err
}

// answer is a ResponseWriter in memory.
type answer struct {
	status int
	header http.Header
	body   []byte
	limit  int  // of body; 0 means none
	cut    bool // body would have exceeded limit
}

// errCut is the error of a write beyond the limit.
var errCut = errors.New("the reply is too long")

func (b *answer) Header() http.Header {
	if b.header == nil {
		b.header = http.Header{}
	}
	return b.header
}

func (b *answer) WriteHeader(status int) {
	if b.status == 0 {
		b.status = status
	}
}

func (b *answer) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	if b.limit > 0 && len(b.body)+len(p) > b.limit {
		b.cut = true
		return 0, errCut
	}
	b.body = append(b.body, p...)
	return len(p), nil
}

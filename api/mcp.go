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

// mcpFile describes the tools of the Model Context Protocol: their names, what they
// take and what they return, the latter as openapi.yaml has it. TestMCP_Tools makes it
// of that document with -update, and compares them without.
//
//go:embed mcp.json
var mcpFile []byte

// mcpTool is one tool: a GET of this API, or the analysis that is not stored.
type mcpTool struct {
	Name         string          `json:"name"`
	Title        string          `json:"title"`
	Description  string          `json:"description"`
	InputSchema  json.RawMessage `json:"inputSchema"`
	OutputSchema json.RawMessage `json:"outputSchema"`
}

const (
	// mcpBytes is how long a message to POST /mcp may be.
	mcpBytes = 64 << 10
	// mcpReply is how long what a tool answers may be. It is there several times,
	// among them as text in JSON, until it is sent: about a mebibyte for this.
	mcpReply = 128 << 10
	// mcpMessages bounds the messages under way at once, mcpReads the tools among
	// them that read and put their reply together. An analysis is short; the slots
	// and ANALYSIS_QUEUE_LIMIT bound those.
	mcpMessages = 32
	mcpReads    = 4
)

// mcpMethods are the requests there is an answer to. There are neither prompts nor
// resources, and nothing to subscribe to.
var mcpMethods = map[string]bool{"initialize": true, "ping": true, "server/discover": true, "tools/list": true, "tools/call": true}

// postMCP answers POST /mcp: the Model Context Protocol over streamable HTTP without
// sessions (revision 2025-03-26 and later), every reply as JSON. Key, rate, Host and
// Origin are checked as on every route. Nothing is held for it until it is first asked.
func (a *API) postMCP(w *reply, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	if err := jsonBody(r); err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w.ResponseWriter, r.Body, mcpBytes))
	if err != nil {
		return bodyError(err)
	}
	r.Body = http.NoBody // read to its end
	w.wait(r)
	m, err := parseMessage(body)
	if err != nil {
		return err
	}
	h := w.Header()
	h["Cache-Control"] = noStore
	if m.ID == nil { // a notification, or a response to what was never asked
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
	// The answer is JSON whatever the client would take besides.
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

// mcpCall is a message under way. It travels in the context of its request, since the
// library gives a tool that context, but not always its end.
type mcpCall struct {
	client context.Context // ends when the client goes away
	reply  context.Context // ends once the reply is put together
}

type mcpCallKey struct{}

// mcpMessage is a message.
type mcpMessage struct {
	ID     jsontext.Value `json:"id,omitzero"` // a string or a number as it came; nil if there is none
	Method string         `json:"method,omitzero"`
	Result jsontext.Value `json:"result,omitzero"`
	Error  jsontext.Value `json:"error,omitzero"`
	Rest   jsontext.Value `json:",embed"` // all other members, as they came
}

// The library reads a message under an id of ours: it would make 1 of 1.5.
const renamedReply = `{"jsonrpc":"2.0","id":1,`

func (m mcpMessage) renamed() ([]byte, error) {
	m.ID = jsontext.Value("1")
	return jsonv2.Marshal(&m)
}

// parseMessage reads one JSON-RPC message. Lists of them (batches), which revision
// 2025-03-26 had, are refused: one request would stand for any number.
func parseMessage(body []byte) (m mcpMessage, err error) {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	switch d.PeekKind() {
	case '[':
		return m, badField("", "lists of messages (batches) are not taken: send one message a request")
	case 'n', 't', 'f', '"', '0':
		return m, badField("", "the body must be a JSON-RPC message, an object")
	}
	if err := jsonv2.UnmarshalDecode(d, &m); err != nil {
		return m, bodyError(err)
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

// mcpRefusal is the reply to a request there is no answer to.
type mcpRefusal struct {
	JSONRPC string         `json:"jsonrpc"`
	ID      jsontext.Value `json:"id"`
	Error   struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// mcpCodes are the problems for what the library refuses in plain text.
var mcpCodes = map[int]string{
	http.StatusBadRequest: "invalid_request", http.StatusForbidden: "cross_origin",
	http.StatusRequestEntityTooLarge: "body_too_large", http.StatusUnsupportedMediaType: "unsupported_media_type",
}

// newMCP makes the handler of POST /mcp.
func (a *API) newMCP() http.Handler {
	server := mcp.NewServer(&mcp.Implementation{Name: "tidemark", Version: a.Version}, &mcp.ServerOptions{
		Instructions: "Support and resistance levels of trading pairs, with odds. Say so when an answer is simulated or stale. Odds are of " +
			"holding once touched and of being touched, within horizon_candles; compare hold_probability with baseline_hold_probability, " +
			"which is that of any line as far away. Not advice.",
		Capabilities: &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}},
	})
	var tools []mcpTool
	if err := json.Unmarshal(mcpFile, &tools); err != nil {
		panic(fmt.Sprintf("api: mcp.json: %v", err)) // it is embedded
	}
	own := false // the world of these tools ends at this exchange
	for _, t := range tools {
		server.AddTool(&mcp.Tool{
			Name: t.Name, Title: t.Title, Description: t.Description, InputSchema: t.InputSchema, OutputSchema: t.OutputSchema,
			Annotations: &mcp.ToolAnnotations{Title: t.Title, ReadOnlyHint: true, IdempotentHint: true, OpenWorldHint: &own},
		}, func(ctx context.Context, call *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return a.callTool(ctx.Value(mcpCallKey{}).(*mcpCall), t.Name, call.Params.Arguments), nil
		})
	}
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true, DisableLocalhostProtection: true})
}

// callTool answers with what the route behind a tool answers; its problem is an error
// of the tool, which a model may read and correct.
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

// tool runs a tool, once it is one of the few that may. It contains a panic, which on a
// goroutine of the library nobody would.
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

// askTool asks the handler behind a tool.
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
		h, target, inPath = a.getLevels, "/levels/{symbol}", []string{"symbol"}
	case "explain_level":
		h, target, inPath = a.getLevel, "/levels/{symbol}/{id}", []string{"symbol", "id"}
	case "market_screen":
		h, target = a.getScreen, "/levels"
	case "list_symbols":
		h, target = a.getSymbols, "/symbols"
	case "analyze_symbol":
		if _, is := given["symbol"].(string); !is || given["store"] != nil || given["klines"] != nil || given["all"] != nil || given["symbols"] != nil {
			return nil, badParameter("symbol", "it must be given, as text, with at most interval and kline_limit beside it")
		}
		given["store"] = false
		body, err := json.Marshal(given)
		if err != nil {
			return nil, err
		}
		r, err := http.NewRequestWithContext(ctx, "POST", "/analyze", bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		r.Header["Content-Type"] = contentJSON
		return a.ask(a.postAnalyze, r)
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

// outerKey is of the reply to the agent, in the context of what a tool asks.
type outerKey struct{}

// ask has h answer r, for a request that was admitted already.
func (a *API) ask(h handler, r *http.Request) ([]byte, error) {
	b := answer{limit: mcpReply}
	outer, _ := r.Context().Value(outerKey{}).(*reply)
	w := &reply{ResponseWriter: &b, start: time.Now(), outer: outer}
	defer func() { a.replies.give(w.held.Load()) }() // if there is no outer one to do so
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
	limit  int  // of body; 0 for none
	cut    bool // there was more
}

// errCut ends the writing of a reply that is too long.
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

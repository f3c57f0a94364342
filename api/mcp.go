package api

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
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

// mcpBytes is how long a message to POST /mcp may be.
const mcpBytes = 64 << 10

// postMCP answers POST /mcp: the Model Context Protocol over streamable HTTP without
// sessions (revision 2025-03-26 and later), every reply as JSON. Key, rate and Origin
// are checked as on every route. Without keys the Host must be an address, localhost or
// a name without a dot, as containers have: a page whose own name was pointed at this
// machine (DNS rebinding) has none of these. Nothing is held for it until it is first
// asked.
func (a *API) postMCP(w *reply, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	if err := jsonBody(r); err != nil {
		return err
	}
	if len(a.keys) == 0 && !localName(r.Host) {
		return &problem{code: "cross_origin", detail: fmt.Sprintf("without API_KEYS agents ask by address, as localhost or by a name without a dot, not as %q", clip(r.Host))}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w.ResponseWriter, r.Body, mcpBytes))
	if err != nil {
		return bodyError(err)
	}
	r.Body = http.NoBody // read to its end
	w.wait(r)
	r.Body = io.NopCloser(bytes.NewReader(body))
	// The answer is JSON whatever the client would take besides.
	r.Header["Accept"] = []string{"application/json, text/event-stream"}
	var out answer
	a.mcp().ServeHTTP(&out, r.WithContext(context.WithValue(r.Context(), outerKey{}, w)))
	w.deadline(writeTimeout)
	if code := mcpCodes[out.status]; code != "" && !strings.HasPrefix(out.Header().Get("Content-Type"), "application/json") {
		return &problem{code: code, detail: strings.TrimSpace(string(out.body))}
	}
	h := w.Header()
	for name, values := range out.header {
		h[name] = values
	}
	h["Cache-Control"] = noStore
	w.WriteHeader(out.status)
	return write(w, out.body)
}

// localName tells whether a Host is one that no public name server can point anywhere.
func localName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost" || strings.HasSuffix(host, ".localhost") || host != "" && !strings.Contains(host, ".")
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
			return a.callTool(ctx, t.Name, call.Params.Arguments), nil
		})
	}
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true, DisableLocalhostProtection: true, MaxRequestBodyBytes: mcpBytes, PropagateRequestCancellation: true})
}

// callTool answers with what the route behind a tool answers; its problem is an error
// of the tool, which a model may read and correct.
func (a *API) callTool(ctx context.Context, name string, arguments json.RawMessage) *mcp.CallToolResult {
	body, err := a.askTool(ctx, name, arguments)
	if err != nil {
		r, _ := http.NewRequestWithContext(ctx, "POST", "/mcp", nil)
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
	var b answer
	outer, _ := r.Context().Value(outerKey{}).(*reply)
	w := &reply{ResponseWriter: &b, start: time.Now(), outer: outer}
	defer func() { a.replies.give(w.held.Load()) }() // if there is no outer one to do so
	err := h(w, r)
	return bytes.TrimSuffix(b.body, []byte("\n")), err
}

// answer is a ResponseWriter in memory.
type answer struct {
	status int
	header http.Header
	body   []byte
}

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
	b.body = append(b.body, p...)
	return len(p), nil
}

// Pins that the page at /docs is openapi.yaml, rendered: the test renders it
// and compares; go test ./api -run TestDocsPage -update rewrites the page. It
// also pins that the page needs nothing from anywhere and has no script.
package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"html"
	"html/template"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

var update = flag.Bool("update", false, "rewrite docs.html")

func TestDocsPage(t *testing.T) {
	page := renderDocs(t)
	if *update {
		if err := os.WriteFile("docs.html", page, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(page, docsPage) {
		t.Error("docs.html is not what openapi.yaml renders to; run go test ./api -run TestDocsPage -update")
	}
}

func TestDocsPage_IsWholeAndNeedsNothingElse(t *testing.T) {
	h := start(t)
	rec := h.get("/docs")
	want(t, rec, 200)
	page := rec.Body.String()
	for _, forbidden := range []string{"<script", "http://", "https://", "<img", "<link", "@import", "url(", "javascript:", " on"} {
		if at := strings.Index(page, forbidden); at >= 0 && (forbidden != " on" || regexp.MustCompile(` on[a-z]+=`).MatchString(page)) {
			t.Errorf("the page has %q: …%s…", forbidden, page[max(0, at-40):min(len(page), at+40)])
		}
	}
	for path, item := range document(t).doc.Paths.Map() {
		for method := range item.Operations() {
			if !strings.Contains(page, method+"</b> "+html.EscapeString(path)) {
				t.Errorf("the page does not tell of %s %s", method, path)
			}
		}
	}
	for code := range statuses {
		if code != "client_gone" && !strings.Contains(page, `id="error-`+code+`"`) {
			t.Errorf("the page has no anchor for the type of problem %q", code)
		}
	}
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if ids[m[1]] {
			t.Errorf("id %q is there twice", m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(` href="#([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if !ids[m[1]] {
			t.Errorf("a link leads to #%s, which there is not", m[1])
		}
	}
	if csp := rec.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none';") || strings.Contains(csp, "script-src") {
		t.Errorf("policy %q", csp)
	}
}

// docOperation is an operation as the page shows it.
type docOperation struct {
	ID, Method, Path string
	*openapi3.Operation
	Params    []*openapi3.Parameter
	Body      *openapi3.MediaType
	Responses []docResponse
}

type docResponse struct {
	Status string
	*openapi3.Response
}

type docTag struct {
	Name, Description string
	Operations        []docOperation
}

func renderDocs(t *testing.T) []byte {
	doc := document(t).doc
	byTag := map[string]*docTag{}
	var tags []*docTag
	for _, tag := range doc.Tags {
		d := &docTag{Name: tag.Name, Description: tag.Description}
		byTag[tag.Name], tags = d, append(tags, d)
	}
	for _, path := range doc.Paths.InMatchingOrder() {
		item := doc.Paths.Find(path)
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			op := item.GetOperation(method)
			if op == nil {
				continue
			}
			d := docOperation{ID: op.OperationID, Method: method, Path: path, Operation: op}
			for _, p := range slices.Concat(item.Parameters, op.Parameters) {
				d.Params = append(d.Params, p.Value)
			}
			if op.RequestBody != nil {
				d.Body = op.RequestBody.Value.Content["application/json"]
			}
			statuses := make([]string, 0, op.Responses.Len())
			for s := range op.Responses.Map() {
				statuses = append(statuses, s)
			}
			slices.Sort(statuses)
			for _, s := range statuses {
				d.Responses = append(d.Responses, docResponse{s, op.Responses.Value(s).Value})
			}
			byTag[op.Tags[0]].Operations = append(byTag[op.Tags[0]].Operations, d)
		}
	}
	for _, tag := range tags {
		slices.SortStableFunc(tag.Operations, func(a, b docOperation) int { return strings.Compare(a.Path, b.Path) })
	}
	order := []string{"Analysis", "Level", "Explanation", "Test", "Touch", "Finding", "Mark", "Factor", "PriceMarks", "PriceMark", "MarkRecord", "PairOnIntervals", "MissingInterval", "LevelRef", "PairOnExchanges", "PairOnExchange", "SharedLevel", "LevelPage",
		"LevelRow", "AnalyzeRequest", "HistoryRequest", "Moment", "History", "HistoryMoment", "HistoryLevel", "Job", "JobSummary", "EventPage", "Event", "EventLevel", "EventPromise", "EventCandle", "EventLinks", "Schedule", "Memory", "Outcome", "Reason", "ExchangeList", "ExchangeStatus", "LivePairs", "Reconnects", "PricesRead", "Budget", "SymbolList", "Symbol",
		"Rule", "RuleSettings", "Quiet", "RuleList", "Preview", "KindCounts", "PreviewDay", "BusiestHour", "PreviewEvent", "PreviewOutcomes", "PreviewControl", "Receiver", "ReceiverSettings", "ReceiverList", "Silence", "SilenceSettings", "SilenceList", "Watchlist", "WatchlistSettings", "WatchlistList",
		"Delivery", "DeliveryDetail", "Attempt", "DeliveryPage", "Replay", "ReplayRequest", "RotateRequest", "Rotated",
		"KlineList", "FormingKline", "Calibration", "Points", "Bins", "RecordRow", "RecordInterval", "RecordHour", "Scorecard", "LiveScore", "Problem", "PairChoice", "Interval", "Exchange",
		"Role", "State", "Status", "Source", "EventKind", "Code"}
	if len(order) != len(doc.Components.Schemas) {
		t.Fatalf("the page orders %d schemas, the document has %d", len(order), len(doc.Components.Schemas))
	}
	type namedSchema struct {
		Name string
		*openapi3.Schema
	}
	var schemas []namedSchema
	for _, name := range order {
		schemas = append(schemas, namedSchema{name, doc.Components.Schemas[name].Value})
	}
	var out bytes.Buffer
	err := template.Must(template.New("docs").Funcs(template.FuncMap{
		"prose": prose, "type": typeOf, "json": indented, "members": members, "example": exampleOf, "explained": explained,
	}).Parse(docsTemplate)).Execute(&out, map[string]any{"Info": doc.Info, "Tags": tags, "Schemas": schemas, "Security": doc.Components.SecuritySchemes})
	if err != nil {
		t.Fatal(err)
	}
	// templates leave blank lines where their actions stood
	return regexp.MustCompile(`\n\s*\n+`).ReplaceAll(out.Bytes(), []byte("\n"))
}

// prose renders the little Markdown the document uses: paragraphs and code.
func prose(text string) template.HTML {
	var b strings.Builder
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		escaped := html.EscapeString(strings.Join(strings.Fields(paragraph), " "))
		escaped = regexp.MustCompile("`([^`]*)`").ReplaceAllString(escaped, "<code>$1</code>")
		fmt.Fprintf(&b, "<p>%s</p>\n", escaped)
	}
	return template.HTML(b.String())
}

// typeOf says in a few words what a schema admits.
func typeOf(ref *openapi3.SchemaRef) template.HTML {
	if ref == nil || ref.Value == nil {
		return ""
	}
	if name, is := strings.CutPrefix(ref.Ref, "#/components/schemas/"); is {
		return template.HTML(fmt.Sprintf(`<a href="#schema-%s">%s</a>`, name, name))
	}
	s := ref.Value
	var parts []string
	for _, of := range slices.Concat(s.OneOf, s.AllOf) {
		parts = append(parts, string(typeOf(of)))
	}
	if s.Type != nil {
		for _, name := range s.Type.Slice() {
			if name == "array" && s.Items != nil && s.Items.Value != nil {
				if of := typeOf(s.Items); of != "" {
					name = "list of " + string(of)
				}
			}
			parts = append(parts, name)
		}
	}
	named := s.Format != "" && !numberWidth(s.Format)
	if named {
		parts = append(parts, html.EscapeString(s.Format))
	}
	text := strings.Join(parts, " or ")
	if named {
		text = strings.Replace(text, " or "+s.Format, " ("+s.Format+")", 1)
	}
	switch {
	case s.Min != nil && s.Max != nil:
		text += fmt.Sprintf(", %v to %v", *s.Min, *s.Max)
	case s.Min != nil:
		text += fmt.Sprintf(", at least %v", *s.Min)
	}
	if s.Default != nil {
		text += fmt.Sprintf(", default %v", s.Default)
	}
	if len(s.Enum) > 0 {
		var values []string
		for _, v := range s.Enum {
			values = append(values, html.EscapeString(fmt.Sprint(v)))
		}
		text = "one of <code>" + strings.Join(values, "</code> <code>") + "</code>"
	}
	return template.HTML(text)
}

// numberWidth reports whether a format says only which type of a language holds a number:
// generators of clients need it, people and agents do not.
func numberWidth(format string) bool { return format == "double" || format == "int64" }

type docMember struct {
	Name     string
	Required bool
	Ref      *openapi3.SchemaRef
}

// members lists the properties of an object, the required ones first, in the
// order the document requires them.
func members(s *openapi3.Schema) (list []docMember) {
	for _, name := range s.Required {
		list = append(list, docMember{name, true, s.Properties[name]})
	}
	var rest []string
	for name := range s.Properties {
		if !slices.Contains(s.Required, name) {
			rest = append(rest, name)
		}
	}
	slices.Sort(rest)
	for _, name := range rest {
		list = append(list, docMember{name, false, s.Properties[name]})
	}
	return list
}

func explained(s *openapi3.Schema) []docMember {
	all, _ := s.Extensions["x-enum-descriptions"].(map[string]any)
	var list []docMember
	for _, v := range s.Enum {
		if text, ok := all[v.(string)].(string); ok {
			list = append(list, docMember{Name: v.(string), Ref: &openapi3.SchemaRef{Value: &openapi3.Schema{Description: text}}})
		}
	}
	return list
}

func exampleOf(m *openapi3.MediaType) (list []*openapi3.Example) {
	names := make([]string, 0, len(m.Examples))
	for name := range m.Examples {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		list = append(list, m.Examples[name].Value)
	}
	return list
}

func indented(v any) (string, error) {
	b := &bytes.Buffer{}
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	// rows of numbers and short lists fit into a line
	return regexp.MustCompile(`\[\s+[^][{}]*\]`).ReplaceAllStringFunc(b.String(), func(list string) string {
		return "[" + strings.Join(strings.Fields(list[1:len(list)-1]), " ") + "]"
	}), err
}

const docsTemplate = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{.Info.Title}} API</title>
<style>
:root { --fg: #1a1c1f; --soft: #5a6069; --bg: #fff; --line: #d8dce1; --box: #f4f5f7; --link: #0b57b0; }
@media (prefers-color-scheme: dark) { :root { --fg: #e4e7eb; --soft: #a3abb6; --bg: #14171b; --line: #363c45; --box: #1e2329; --link: #7db4f5; } }
body { color: var(--fg); background: var(--bg); font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
a { color: var(--link); }
a:focus-visible, summary:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
code, pre { font: 0.875em/1.5 ui-monospace, monospace; background: var(--box); border-radius: 3px; }
code { padding: 0 0.25em; }
pre { padding: 0.75rem; overflow-x: auto; overflow-wrap: normal; }
h2 { border-bottom: 1px solid var(--line); margin-top: 3rem; }
h3 { margin-top: 2.5rem; font-family: ui-monospace, monospace; font-weight: 400; }
h4 { margin: 1rem 0 0; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.35rem 0.75rem 0.35rem 0; border-top: 1px solid var(--line); }
td p { margin: 0; }
tr:target { background: var(--box); }
.soft { color: var(--soft); }
</style>
</head>
<body>
<header>
<h1>{{.Info.Title}} API</h1>
<p>{{.Info.Summary}} The same as a document for programs: <a href="/openapi.yaml">openapi.yaml</a>.</p>
</header>
<nav aria-label="Contents">
<ul>
{{range .Tags}}<li><a href="#tag-{{.Name}}">{{.Name}}</a>: {{range $i, $o := .Operations}}{{if $i}}, {{end}}<a href="#{{.ID}}">{{.Method}} {{.Path}}</a>{{end}}</li>
{{end}}<li><a href="#schemas">objects</a></li>
<li><a href="#schema-Code">codes of problems</a></li>
</ul>
</nav>
<main>
{{prose .Info.Description}}
<h4>Keys</h4>
<ul>{{range .Security}}<li>{{prose .Value.Description}}</li>{{end}}</ul>
{{range .Tags}}
<h2 id="tag-{{.Name}}">{{.Name}}</h2>
{{prose .Description}}
{{range .Operations}}
<section aria-labelledby="{{.ID}}">
<h3 id="{{.ID}}"><b>{{.Method}}</b> {{.Path}}</h3>
<p><strong>{{.Summary}}</strong></p>
{{if .Description}}{{prose .Description}}{{end}}
{{if .Params}}
<h4>Parameters</h4>
<table>
<thead><tr><th scope="col">Name</th><th scope="col">In</th><th scope="col">Value</th><th scope="col">Meaning</th></tr></thead>
<tbody>
{{range .Params}}<tr><td><code>{{.Name}}</code>{{if .Required}} <span class="soft">required</span>{{end}}</td><td>{{.In}}</td><td>{{type .Schema}}{{if .Example}}<br><span class="soft">such as {{.Example}}</span>{{end}}</td><td>{{prose .Description}}</td></tr>
{{end}}</tbody>
</table>
{{end}}
{{with .Body}}
<h4>Body</h4>
<p>{{type .Schema}}</p>
{{range example .}}<p>{{.Summary}}</p>
<pre tabindex="0">{{json .Value}}</pre>
{{end}}
{{end}}
<h4>Responses</h4>
<table>
<thead><tr><th scope="col">Status</th><th scope="col">Meaning</th><th scope="col">Body</th></tr></thead>
<tbody>
{{range .Responses}}<tr><td>{{.Status}}</td><td>{{prose .Description}}</td><td>{{range $media, $m := .Content}}<code>{{$media}}</code> {{type $m.Schema}}<br>{{end}}</td></tr>
{{end}}</tbody>
</table>
{{range .Responses}}{{$status := .Status}}{{range .Content}}{{range example .}}{{if lt $status "400"}}
<details><summary>Example, {{$status}}{{if .Summary}}: {{.Summary}}{{end}}</summary>
<pre tabindex="0">{{json .Value}}</pre>
</details>
{{end}}{{end}}{{end}}{{end}}
</section>
{{end}}
{{end}}
<h2 id="schemas">objects</h2>
{{range .Schemas}}
<section aria-labelledby="schema-{{.Name}}">
<h3 id="schema-{{.Name}}">{{.Name}}</h3>
{{with .Description}}{{prose .}}{{end}}
{{if .Properties}}
<table>
<thead><tr><th scope="col">Name</th><th scope="col">Value</th><th scope="col">Meaning</th></tr></thead>
<tbody>
{{range members .Schema}}<tr><td><code>{{.Name}}</code>{{if not .Required}} <span class="soft">optional</span>{{end}}</td><td>{{type .Ref}}</td><td>{{prose .Ref.Value.Description}}</td></tr>
{{end}}</tbody>
</table>
{{else if explained .Schema}}
<table>
<thead><tr><th scope="col">Value</th><th scope="col">Meaning</th></tr></thead>
<tbody>
{{$code := eq .Name "Code"}}{{range explained .Schema}}<tr{{if $code}} id="error-{{.Name}}"{{end}}><td><code>{{.Name}}</code></td><td>{{prose .Ref.Value.Description}}</td></tr>
{{end}}</tbody>
</table>
{{else if .Enum}}<p>{{range .Enum}}<code>{{.}}</code> {{end}}</p>
{{end}}
</section>
{{end}}
</main>
</body>
</html>
`

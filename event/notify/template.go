package notify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
	"time"
)

// A template of one's own body is a text/template. Its data is
//
//	.id .type .title .text .link  strings of the message
//	.time                         RFC 3339, UTC
//	.body                         the JSON body; its numbers are floats (compare with 1.0)
//
// and its functions are and, or, not, len, index, slice, eq, ne, lt, le, gt, ge, printf
// and json, which encodes any value. Its work is bounded: it comes from outside, and
// runs in the process.
const (
	maxTemplate = 8 << 10
	maxWork     = 256 << 10 // bytes made by the text, values and functions
	rangeWork   = 64        // bytes that an iteration counts as
	maxArgs     = 16        // of printf
)

// functions are those of the language that cannot make much from little, and two of ours.
var functions = []string{"and", "or", "not", "len", "index", "slice", "eq", "ne", "lt", "le", "gt", "ge", "printf", "json"}

var errWork = errors.New("the template does too much work")

// parseTemplate returns the template of a text, or the reason why it is refused.
func parseTemplate(text string) (*template.Template, error) {
	if len(text) > maxTemplate {
		return nil, fmt.Errorf("the template has %d bytes, more than %d", len(text), maxTemplate)
	}
	t, err := template.New("template").Option("missingkey=error").Funcs((&work{}).functions()).Parse(text)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	if t.Tree == nil || len(t.Templates()) != 1 {
		return nil, errors.New("template: define, block and an empty text are not allowed")
	}
	if err := inspect(t.Root); err != nil {
		return nil, err
	}
	return t, nil
}

// texts is the template of the text of a chat, a push service or a mailbox. The first line
// that it makes is the title, the others are the text.
type texts struct {
	Template string `json:"template,omitempty"`

	parsed *template.Template // nil without
}

// compile reads the template.
func (t *texts) compile() (err error) {
	if t.Template != "" {
		t.parsed, err = parseTemplate(t.Template)
	}
	return err
}

// apply returns m with the title and text of the template.
func (t *texts) apply(m Message) (Message, error) {
	if t.parsed == nil {
		return m, nil
	}
	made, err := execute(t.parsed, m)
	if err != nil {
		return m, err
	}
	m.Title, m.Text, _ = strings.Cut(strings.TrimSpace(string(made)), "\n")
	if m = m.clean(); m.Title == "" {
		return m, errors.New("the template makes no text")
	}
	return m, nil
}

// templated is a shape with texts.
type templated interface {
	compile() error
	apply(m Message) (Message, error)
}

// inspect refuses functions that are not listed, and makes each iteration of a range
// write an empty text, by which they are counted.
func inspect(n parse.Node) error {
	var inner []parse.Node
	branch := func(b *parse.BranchNode) {
		inner = append(inner, b.Pipe, b.List)
		if b.ElseList != nil {
			inner = append(inner, b.ElseList)
		}
	}
	switch n := n.(type) {
	case *parse.ListNode:
		inner = n.Nodes
	case *parse.ActionNode:
		inner = append(inner, n.Pipe)
	case *parse.IfNode:
		branch(&n.BranchNode)
	case *parse.WithNode:
		branch(&n.BranchNode)
	case *parse.RangeNode:
		branch(&n.BranchNode)
		n.List.Nodes = slices.Insert(n.List.Nodes, 0, parse.Node(&parse.TextNode{NodeType: parse.NodeText, Pos: n.Pos}))
	case *parse.PipeNode:
		for _, c := range n.Cmds {
			inner = append(inner, c.Args...)
		}
	case *parse.ChainNode:
		inner = append(inner, n.Node)
	case *parse.IdentifierNode:
		if !slices.Contains(functions, n.Ident) {
			return fmt.Errorf("template: the function %s is not allowed", n.Ident)
		}
	case *parse.TemplateNode:
		return errors.New("template: calls of templates are not allowed")
	}
	for _, i := range inner {
		if err := inspect(i); err != nil {
			return err
		}
	}
	return nil
}

// execute returns the output of a template for m.
func execute(t *template.Template, m Message) ([]byte, error) {
	var body any
	if len(m.Body) > 0 {
		if err := json.Unmarshal(m.Body, &body); err != nil {
			return nil, errors.New("the body of the message is not valid JSON")
		}
	}
	t, err := t.Clone()
	if err != nil {
		return nil, err
	}
	w := new(work)
	err = t.Funcs(w.functions()).Execute(w, map[string]any{
		"id": m.ID, "type": m.Type, "title": m.Title, "text": m.Text, "link": m.Link,
		"time": m.Time.UTC().Format(time.RFC3339), "body": plain(body),
	})
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	return w.out.Bytes(), nil
}

// number is a number that prints without an exponent.
type number float64

func (n number) String() string { return strconv.FormatFloat(float64(n), 'f', -1, 64) }

// plain returns decoded JSON with numbers that print well.
func plain(v any) any {
	switch v := v.(type) {
	case float64:
		return number(v)
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	}
	return v
}

// work is the output of an execution, and its bound.
type work struct {
	out  bytes.Buffer
	done int
}

func (w *work) count(n int) error {
	if w.done += n; w.done > maxWork {
		return errWork
	}
	return nil
}

// Write appends to the output. An empty text is an iteration.
func (w *work) Write(p []byte) (int, error) {
	n := len(p)
	if n == 0 {
		n = rangeWork
	}
	if err := w.count(n); err != nil {
		return 0, err
	}
	if w.out.Len()+len(p) > MaxBody {
		return 0, fmt.Errorf("the template makes more than %d bytes", MaxBody)
	}
	return w.out.Write(p)
}

func (w *work) functions() template.FuncMap {
	return template.FuncMap{
		"json": func(v any) (string, error) {
			b, err := json.Marshal(v)
			if err != nil {
				return "", err
			}
			return string(b), w.made(len(b))
		},
		"printf": func(format string, args ...any) (string, error) {
			if len(args) > maxArgs || len(format) > maxTemplate || wide(format) {
				return "", fmt.Errorf("printf takes at most %d values, and widths and precisions of two digits", maxArgs)
			}
			s := fmt.Sprintf(format, args...)
			return s, w.made(len(s))
		},
	}
}

// made counts what a function returns.
func (w *work) made(n int) error {
	if n > MaxBody {
		return errWork
	}
	return w.count(n + 1)
}

// wide reports whether a format may contain a width or precision above 99.
func wide(format string) bool {
	inVerb, digits := false, 0
	for _, r := range format {
		switch {
		case r == '%':
			inVerb, digits = !inVerb, 0
		case !inVerb:
		case r >= '0' && r <= '9':
			if digits++; digits > 2 {
				return true
			}
		case r == '*' || r == '[':
			return true
		case strings.ContainsRune("+-# .", r):
			digits = 0
		default:
			inVerb = false
		}
	}
	return false
}

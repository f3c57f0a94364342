package alert

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tidemark/levels"
	"tidemark/wire"
)

// Problem is what is wrong with one value.
type Problem struct {
	Pointer string // RFC 6901, into the JSON; empty for the whole of it
	Detail  string // one sentence
}

// Invalid is the error of a rule, receiver, silence, watchlist or file that is refused.
type Invalid struct{ Problems []Problem } // at least one

func (e *Invalid) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteString("; ")
		}
		if p.Pointer != "" {
			b.WriteString(p.Pointer + ": ")
		}
		b.WriteString(p.Detail)
	}
	return b.String()
}

// problems collects what is wrong below a pointer.
type problems struct {
	at  string
	all *[]Problem
}

func newProblems() problems { return problems{all: new([]Problem)} }

// below returns the problems of a member or an element.
func (p problems) below(name any) problems {
	return problems{p.at + "/" + fmt.Sprint(name), p.all}
}

func (p problems) add(name, format string, args ...any) {
	at := p.at
	if name != "" {
		at += "/" + name
	}
	*p.all = append(*p.all, Problem{at, fmt.Sprintf(format, args...)})
}

// err returns what was collected, nil if nothing was.
func (p problems) err() error {
	if len(*p.all) == 0 {
		return nil
	}
	return &Invalid{*p.all}
}

// decode reads one JSON object into v, whose values are the defaults. Unknown and repeated
// names, wrong types and trailing data are refused.
func decode(body []byte, v any) error {
	if kind := jsontext.Value(bytes.TrimSpace(body)).Kind(); kind != '{' {
		return &Invalid{[]Problem{{"", "must be a JSON object"}}}
	}
	d := jsontext.NewDecoder(bytes.NewReader(body))
	err := json.UnmarshalDecode(d, v, json.RejectUnknownMembers(true))
	if err == nil {
		if _, err = d.ReadToken(); err == io.EOF {
			return nil
		}
		return &Invalid{[]Problem{{"", "something follows the JSON object"}}}
	}
	return &Invalid{[]Problem{syntaxProblem(err)}}
}

// syntaxProblem converts an error of the JSON decoder.
func syntaxProblem(err error) Problem {
	var where *json.SemanticError
	var syntax *jsontext.SyntacticError
	switch {
	case errors.As(err, &where) && where.Err == json.ErrUnknownName:
		return Problem{string(where.JSONPointer), "unknown member"}
	case where != nil:
		return Problem{string(where.JSONPointer), "must be " + article(where.GoType)}
	case errors.As(err, &syntax) && errors.Is(err, jsontext.ErrDuplicateName):
		return Problem{string(syntax.JSONPointer), "the name is there twice"}
	case syntax != nil:
		return Problem{string(syntax.JSONPointer), fmt.Sprintf("not valid JSON at byte %d", syntax.ByteOffset)}
	}
	return Problem{"", "the JSON breaks off"}
}

// article says what a value must be.
func article(t reflect.Type) string {
	if t == nil {
		return "of another type"
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "a time such as 2026-11-28T19:00:00Z"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int:
		return "a whole number"
	case t.Kind() == reflect.Float64:
		return "a number"
	case t.Kind() == reflect.String:
		return "a string"
	case t.Kind() == reflect.Slice:
		return "a list"
	}
	return "an object"
}

// maxName is the most characters of a name, and maxList the most elements of a list.
const (
	maxName = 64
	maxList = 500
)

func (p problems) name(name string) {
	switch {
	case strings.TrimSpace(name) == "":
		p.add("name", "must not be empty")
	case name != strings.TrimSpace(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		p.add("name", "must not begin or end with a space or contain control characters")
	case len([]rune(name)) > maxName:
		p.add("name", "has more than %d characters", maxName)
	}
}

// list checks the length of a list, and each element with check, which returns what is
// wrong or "".
func (p problems) list(name string, list []string, check func(s string) string) {
	if len(list) > maxList {
		p.add(name, "has more than %d elements", maxList)
		return
	}
	for i, s := range list {
		if wrong := check(s); wrong != "" {
			p.below(name).add(fmt.Sprint(i), "%s", wrong)
		}
	}
}

// oneOf returns a check for list.
func oneOf(valid []string) func(string) string {
	return func(s string) string {
		if slices.Contains(valid, s) {
			return ""
		}
		return fmt.Sprintf("%.40q is not one of %s", s, strings.Join(valid, ", "))
	}
}

func checkInterval(s string) string {
	if _, err := levels.ParseInterval(s); err != nil {
		return err.Error()
	}
	return ""
}

// checkPair returns a check of a pair or pattern. watchlists has the names that may follow
// an @; nil refuses all.
func checkPair(watchlists map[string][]string) func(string) string {
	return func(s string) string {
		name, isList := strings.CutPrefix(s, "@")
		switch {
		case s == "" || len(s) > maxName:
			return fmt.Sprintf("must have 1 to %d bytes", maxName)
		case isList && watchlists == nil:
			return "a watchlist cannot contain another one"
		case isList && watchlists[name] == nil:
			return fmt.Sprintf("unknown watchlist %q", name)
		case !isList && strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }):
			return "must not contain spaces"
		}
		return ""
	}
}

// scope checks what rules and silences have in common.
func (p problems) scope(exchanges, pairs, intervals, kinds []string, watchlists map[string][]string, known []string) {
	p.list("exchanges", exchanges, oneOf(known))
	p.list("pairs", pairs, checkPair(watchlists))
	p.list("intervals", intervals, checkInterval)
	p.list("kinds", kinds, oneOf(wire.EventKinds))
}

func defaultRule() wire.RuleSettings {
	return wire.RuleSettings{MinEdge: 3, GroupWaitMS: 2000, Top: 5, Inhibit: true}
}

// maxGroupWait is the longest time that a message about a close waits.
const maxGroupWait = 30 * time.Second

// names are what a rule may refer to.
type names struct {
	exchanges  []string
	receivers  []string
	watchlists map[string][]string // by name: their pairs
}

func (p problems) rule(r *wire.RuleSettings, n names) {
	p.name(r.Name)
	if len(r.Receivers) == 0 {
		p.add("receivers", "must name at least one receiver")
	}
	p.list("receivers", r.Receivers, func(s string) string {
		if !slices.Contains(n.receivers, s) {
			return fmt.Sprintf("there is no receiver %.64q", s)
		}
		return ""
	})
	p.scope(r.Exchanges, r.Pairs, r.Intervals, r.Kinds, n.watchlists, n.exchanges)
	p.list("roles", r.Roles, oneOf([]string{levels.Support.String(), levels.Resistance.String()}))
	if !(r.MinEdge >= 0 && r.MinEdge <= 100) {
		p.add("min_edge", "must be between 0 and 100")
	}
	if !(r.MinQuoteVolume >= 0) {
		p.add("min_quote_volume", "must not be negative")
	}
	if wait := time.Duration(r.GroupWaitMS) * time.Millisecond; wait < 0 || wait > maxGroupWait {
		p.add("group_wait_ms", "must be between 0 and %d", maxGroupWait.Milliseconds())
	}
	if r.Top < 1 || r.Top > 20 {
		p.add("top", "must be between 1 and 20")
	}
	if r.Quiet != nil {
		p.below("quiet").quiet(r.Quiet)
	}
}

// days are the names of time.Weekday in wire.Quiet.
var days = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// The values of wire.Quiet.Then.
const (
	quietDrop = "drop"
	quietHold = "hold"
)

func (p problems) quiet(q *wire.Quiet) {
	for name, text := range map[string]string{"from": q.From, "to": q.To} {
		if _, ok := clock(text); !ok {
			p.add(name, "must be a time of the day such as 22:00")
		}
	}
	if q.From == q.To {
		p.add("to", "must differ from from")
	}
	if _, err := time.LoadLocation(q.Zone); err != nil || q.Zone == "" || q.Zone == "Local" {
		p.add("zone", "%.64q is not a time zone such as Europe/Berlin", q.Zone)
	}
	p.list("days", q.Days, oneOf(days))
	if wrong := oneOf([]string{quietDrop, quietHold})(q.Then); wrong != "" {
		p.add("then", "%s", wrong)
	}
}

// clock reads hh:mm.
func clock(text string) (time.Duration, bool) {
	t, err := time.Parse("15:04", text)
	if err != nil || len(text) != 5 {
		return 0, false
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, true
}

func (p problems) silence(s *wire.SilenceSettings, n names) {
	p.scope(s.Exchanges, s.Pairs, s.Intervals, s.Kinds, n.watchlists, n.exchanges)
	if len(s.Exchanges)+len(s.Pairs)+len(s.Intervals)+len(s.Kinds) == 0 {
		p.add("", "must name exchanges, pairs, intervals or kinds; pause the rules to silence everything")
	}
	if s.Until.IsZero() {
		p.add("until", "must say when the silence ends")
	}
	if len([]rune(s.Comment)) > 500 {
		p.add("comment", "has more than 500 characters")
	}
}

func (p problems) watchlist(w *wire.WatchlistSettings) {
	p.name(w.Name)
	if len(w.Pairs) == 0 {
		p.add("pairs", "must not be empty")
	}
	p.list("pairs", w.Pairs, checkPair(nil))
}

func defaultReceiver() wire.ReceiverSettings { return wire.ReceiverSettings{PerMinute: 20} }

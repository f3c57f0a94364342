package alert

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"tidemark/wire"
)

// file is the content of RULES_FILE.
type file struct {
	Receivers  []jsontext.Value `json:"receivers"`
	Watchlists []jsontext.Value `json:"watchlists"`
	Rules      []jsontext.Value `json:"rules"`
	Silences   []jsontext.Value `json:"silences"`
}

// LoadFile replaces what earlier files configured by the content of a file: a JSON object
// with lists of receivers, watchlists, rules and silences, each as the API accepts it. The
// file is checked whole before; an *Invalid has the line of each mistake in its Detail.
// Without data, everything of earlier files is deleted.
func (a *Alerts) LoadFile(ctx context.Context, data []byte) error {
	c, err := a.fresh(ctx)
	if err != nil {
		return err
	}
	entries, receivers, err := a.readFile(c, data)
	if invalid, ok := errors.AsType[*Invalid](err); ok {
		for i := range invalid.Problems {
			p := &invalid.Problems[i]
			p.Detail = fmt.Sprintf("line %d: %s", lineOf(data, p.Pointer), p.Detail)
		}
	}
	if err != nil {
		return err
	}
	if err := a.store.ReplaceFile(ctx, entries, receivers, a.cfg.Now()); err != nil {
		return err
	}
	a.Wake()
	return nil
}

// readFile returns the entries and receivers of a file. c is what is configured.
func (a *Alerts) readFile(c *compiled, data []byte) (entries []Entry, receivers []StoredReceiver, err error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil, nil
	}
	var f file
	if err := decode(data, &f); err != nil {
		return nil, nil, err
	}
	now := a.cfg.Now().UTC().Truncate(time.Millisecond)
	p := newProblems()
	known := names{exchanges: a.cfg.Exchanges, watchlists: map[string][]string{}}
	seen := map[string]bool{} // kind and name
	for _, e := range c.entries {
		if !e.FromFile {
			seen[e.Kind+" "+e.Name] = true
			if e.Kind == watchlists {
				known.watchlists[e.Name] = c.watchlists[e.Name]
			}
		}
	}
	for _, r := range c.receivers {
		if !r.FromFile {
			seen["receiver "+r.Name] = true
			known.receivers = append(known.receivers, r.Name)
		}
	}
	unique := func(p problems, kind, name string) {
		if seen[kind+" "+name] {
			p.add("name", "there is another %s %.64q", kind, name)
		}
		seen[kind+" "+name] = true
	}
	// read decodes an element into v and reports whether it could be.
	read := func(p problems, v jsontext.Value, to any) bool {
		var invalid *Invalid
		if err := decode(v, to); errors.As(err, &invalid) {
			for _, wrong := range invalid.Problems {
				*p.all = append(*p.all, Problem{p.at + wrong.Pointer, wrong.Detail})
			}
			return false
		}
		return true
	}
	settings := make([]wire.ReceiverSettings, len(f.Receivers))
	for i, v := range f.Receivers {
		settings[i] = defaultReceiver()
		if read(p.below("receivers").below(i), v, &settings[i]) {
			known.receivers = append(known.receivers, settings[i].Name)
		}
	}
	for i := range settings {
		p, s := p.below("receivers").below(i), &settings[i]
		if s.Name == "" && s.Kind == "" {
			continue // it could not be read
		}
		if a.cfg.Sealer == nil {
			p.add("", "%v", ErrNoKey)
			continue
		}
		p.receiver(s, known.receivers, false)
		unique(p, "receiver", s.Name)
		if len(*p.all) > 0 {
			continue
		}
		r := StoredReceiver{ID: fileID("receiver", s.Name), FromFile: true, CreatedAt: now, UpdatedAt: now}
		if err := a.seal(&r, s); err != nil {
			return nil, nil, err
		}
		if k := slices.IndexFunc(c.receivers, func(o StoredReceiver) bool { return o.ID == r.ID }); k >= 0 {
			before := &c.receivers[k]
			r.CreatedAt = before.CreatedAt
			if plain, err := a.cfg.Sealer.Open(before.Sealed, []byte(r.ID)); err == nil && before.Kind == r.Kind && bytes.Equal(plain, s.Config) {
				r.Health, r.UpdatedAt = before.Health, before.UpdatedAt
				if a.cfg.Sealer.Current(before.Sealed) {
					r.Sealed = before.Sealed
				}
			}
		}
		receivers = append(receivers, r)
	}
	put := func(kind, name string, settings any) error {
		body, err := json.Marshal(settings)
		e := Entry{Kind: kind, Name: name, Body: body, FromFile: true, CreatedAt: now, UpdatedAt: now}
		if e.ID = fileID(kind, name); name == "" {
			e.ID = fileID(kind, string(body))
			e.Name = e.ID
		}
		if before := c.entry(kind, e.ID); before != nil {
			e.CreatedAt = before.CreatedAt
			if bytes.Equal(before.Body, body) {
				e.UpdatedAt = before.UpdatedAt
			}
		}
		entries = append(entries, e)
		return err
	}
	for i, v := range f.Watchlists {
		var w wire.WatchlistSettings
		if p := p.below("watchlists").below(i); read(p, v, &w) {
			p.watchlist(&w)
			unique(p, watchlists, w.Name)
			known.watchlists[w.Name] = w.Pairs
			if err := put(watchlists, w.Name, &w); err != nil {
				return nil, nil, err
			}
		}
	}
	for i, v := range f.Rules {
		r := defaultRule()
		if p := p.below("rules").below(i); read(p, v, &r) {
			p.rule(&r, known)
			unique(p, rules, r.Name)
			if err := put(rules, r.Name, &r); err != nil {
				return nil, nil, err
			}
		}
	}
	for i, v := range f.Silences {
		var s wire.SilenceSettings
		if p := p.below("silences").below(i); read(p, v, &s) {
			p.silence(&s, known)
			if err := put(silences, "", &s); err != nil {
				return nil, nil, err
			}
		}
	}
	if err := p.err(); err != nil {
		return nil, nil, err
	}
	return entries, receivers, a.checkKept(c, entries, receivers)
}

// checkKept refuses a file without something that rules, silences or receivers of the API use.
func (a *Alerts) checkKept(c *compiled, entries []Entry, receivers []StoredReceiver) error {
	for _, r := range c.receivers {
		if !r.FromFile || slices.ContainsFunc(receivers, func(o StoredReceiver) bool { return o.ID == r.ID }) {
			continue
		}
		for _, rule := range c.rules {
			if !rule.FromFile && slices.Contains(rule.Receivers, r.Name) {
				return &Invalid{[]Problem{{"/receivers", fmt.Sprintf("the receiver %q is missing, which the rule %q uses", r.Name, rule.Name)}}}
			}
		}
	}
	for _, e := range c.entries {
		if e.Kind != watchlists || !e.FromFile || slices.ContainsFunc(entries, func(o Entry) bool { return o.Kind == e.Kind && o.ID == e.ID }) {
			continue
		}
		for _, rule := range c.rules {
			if !rule.FromFile && slices.Contains(rule.Pairs, "@"+e.Name) {
				return &Invalid{[]Problem{{"/watchlists", fmt.Sprintf("the watchlist %q is missing, which the rule %q uses", e.Name, rule.Name)}}}
			}
		}
	}
	return nil
}

// fileID returns the id of something of the file, which is the same at every start.
func fileID(kind, name string) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + name))
	return "file-" + hex.EncodeToString(sum[:10])
}

// lineOf returns the line of the value with a pointer, or of the innermost one around it
// that exists. Lines begin with 1.
func lineOf(data []byte, pointer string) int {
	d := jsontext.NewDecoder(bytes.NewReader(data))
	best, line := 0, 1
	for {
		token, err := d.ReadToken()
		if err != nil {
			return max(line, atByte(data, err))
		}
		// a name has the pointer of its value
		at := string(d.StackPointer())
		if (at == pointer || strings.HasPrefix(pointer, at+"/")) && len(at) > best && token.Kind() != '}' && token.Kind() != ']' {
			best = len(at)
			line = 1 + bytes.Count(data[:d.InputOffset()], []byte{'\n'})
		}
	}
}

// atByte returns the line of a syntax error, 0 for the end.
func atByte(data []byte, err error) int {
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) {
		return 0
	}
	return 1 + bytes.Count(data[:min(syntax.ByteOffset, int64(len(data)))], []byte{'\n'})
}

// Package alert turns stored events into messages to receivers: which rule wants which
// event, what is grouped, held back or silenced, and when a message is tried again. It
// does not know HTTP or SQL; package notify sends.
package alert

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/event/notify"
	"tidemark/wire"
)

// Config is the configuration of Alerts.
type Config struct {
	Exchanges []string // names that rules may have
	// Sealer encrypts the configurations of receivers; nil: none can be stored or used.
	Sealer *notify.Sealer
	Sender *notify.Sender
	// Volumes returns the 24 h volume of each pair of an exchange, nil if this process does
	// not know the exchange.
	Volumes func(ctx context.Context, exchange string) (map[string]float64, error)
	// PublicURL is where people find this service, without a slash at its end; empty: messages
	// have no links.
	PublicURL string
	// Retention is the time after which a delivery that has ended is deleted.
	Retention time.Duration
	Now       func() time.Time // nil: time.Now
}

// Alerts are the rules, receivers, silences, watchlists and deliveries of a service. Its
// methods may be called by several goroutines at once.
type Alerts struct {
	cfg     Config
	store   Store
	log     *slog.Logger
	metrics *metrics
	wake    chan struct{}

	mu      sync.Mutex
	current *compiled // of the last revision that was read

	volumes volumes
	places  places
}

// New returns Alerts. Run dispatches them.
func New(cfg Config, store Store, reg prometheus.Registerer, log *slog.Logger) *Alerts {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	a := &Alerts{cfg: cfg, store: store, log: log, metrics: newMetrics(reg), wake: make(chan struct{}, 1), current: &compiled{revision: -1}}
	a.places = places{running: map[*place]struct{}{}, last: map[string]time.Duration{}}
	a.volumes = volumes{read: cfg.Volumes, by: map[string]volume{}}
	return a
}

// compiled is everything that is configured, ready for use.
type compiled struct {
	revision   int64
	entries    []Entry
	receivers  []StoredReceiver
	rules      []*Rule // by name
	silences   []*Silence
	watchlists map[string][]string
}

func (c *compiled) receiver(name string) *StoredReceiver {
	for i := range c.receivers {
		if c.receivers[i].Name == name {
			return &c.receivers[i]
		}
	}
	return nil
}

// rule returns the rule with an id, or nil.
func (c *compiled) rule(id string) *Rule {
	for _, r := range c.rules {
		if r.ID == id {
			return r
		}
	}
	return nil
}

func (c *compiled) entry(kind, id string) *Entry {
	for i := range c.entries {
		if c.entries[i].Kind == kind && c.entries[i].ID == id {
			return &c.entries[i]
		}
	}
	return nil
}

func (c *compiled) names(exchanges []string) names {
	n := names{exchanges: exchanges, watchlists: c.watchlists}
	for _, r := range c.receivers {
		n.receivers = append(n.receivers, r.Name)
	}
	return n
}

// configured returns what is configured now. The health of the receivers may be old.
func (a *Alerts) configured(ctx context.Context) (*compiled, error) {
	return a.compile(func(revision int64) (Configured, error) { return a.store.Configured(ctx, revision) })
}

func (a *Alerts) compile(read func(revision int64) (Configured, error)) (*compiled, error) {
	a.mu.Lock()
	before := a.current
	a.mu.Unlock()
	all, err := read(before.revision)
	if err != nil || all.Revision == before.revision {
		return before, err
	}
	c, err := compile(all)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	if a.current.revision < c.revision {
		a.current = c
	}
	a.mu.Unlock()
	return c, nil
}

func compile(all Configured) (*compiled, error) {
	c := &compiled{revision: all.Revision, entries: all.Entries, receivers: all.Receivers, watchlists: map[string][]string{}}
	read := func(kind string, f func(e *Entry) error) error {
		for i := range all.Entries {
			if e := &all.Entries[i]; e.Kind == kind {
				if err := f(e); err != nil {
					return fmt.Errorf("the stored %s %s: %w", kind, e.ID, err)
				}
			}
		}
		return nil
	}
	if err := read(watchlists, func(e *Entry) error {
		w, err := watchlistOf(e)
		c.watchlists[w.Name] = w.Pairs
		return err
	}); err != nil {
		return nil, err
	}
	if err := read(rules, func(e *Entry) error {
		r, err := ruleOf(e)
		c.rules = append(c.rules, newRule(r, c.watchlists))
		return err
	}); err != nil {
		return nil, err
	}
	if err := read(silences, func(e *Entry) error {
		s, err := silenceOf(e)
		c.silences = append(c.silences, newSilence(s, c.watchlists))
		return err
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(c.rules, func(a, b *Rule) int { return strings.Compare(a.Name, b.Name) })
	return c, nil
}

func ruleOf(e *Entry) (r wire.Rule, err error) {
	r.RuleSettings = defaultRule()
	err = json.Unmarshal(e.Body, &r.RuleSettings)
	lists(&r.Receivers, &r.Exchanges, &r.Pairs, &r.Intervals, &r.Kinds, &r.Roles)
	if r.Quiet != nil {
		lists(&r.Quiet.Days)
	}
	r.ID, r.FromFile, r.CreatedAt, r.UpdatedAt = e.ID, e.FromFile, e.CreatedAt, e.UpdatedAt
	return r, err
}

// lists makes lists that were not given empty.
func lists(all ...*[]string) {
	for _, list := range all {
		if *list == nil {
			*list = []string{}
		}
	}
}

func silenceOf(e *Entry) (s wire.Silence, err error) {
	err = json.Unmarshal(e.Body, &s.SilenceSettings)
	lists(&s.Exchanges, &s.Pairs, &s.Intervals, &s.Kinds)
	s.ID, s.FromFile, s.CreatedAt, s.UpdatedAt = e.ID, e.FromFile, e.CreatedAt, e.UpdatedAt
	return s, err
}

func watchlistOf(e *Entry) (w wire.Watchlist, err error) {
	err = json.Unmarshal(e.Body, &w.WatchlistSettings)
	lists(&w.Pairs)
	w.ID, w.FromFile, w.CreatedAt, w.UpdatedAt = e.ID, e.FromFile, e.CreatedAt, e.UpdatedAt
	return w, err
}

// moment returns a pointer to a time, nil for the zero one.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (r *StoredReceiver) wire() wire.Receiver {
	w := wire.Receiver{
		ID: r.ID, Name: r.Name, Kind: r.Kind, Shown: map[string]string{}, PerMinute: r.PerMinute, NoticesTo: r.NoticesTo, State: "new",
		FailingSince: moment(r.FailingSince), DisabledAt: moment(r.DisabledAt), DisabledWhy: text(r.DisabledWhy), LastSuccessAt: moment(r.SucceededAt),
		FromFile: r.FromFile, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
	_ = json.Unmarshal(r.Shown, &w.Shown) // nothing is shown of what cannot be read
	switch {
	case !r.DisabledAt.IsZero():
		w.State = "disabled"
	case !r.FailingSince.IsZero():
		w.State = "failing"
	case !r.SucceededAt.IsZero():
		w.State = "ok"
	}
	return w
}

// newID returns an id of a rule, receiver, silence, watchlist or message.
func newID() string { return strings.ToLower(rand.Text()) }

// Rules returns all rules, by name.
func (a *Alerts) Rules(ctx context.Context) ([]wire.Rule, error) {
	c, err := a.configured(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]wire.Rule, len(c.rules))
	for i, r := range c.rules {
		all[i] = r.Rule
	}
	return all, nil
}

// Rule returns a rule, ready to match.
func (a *Alerts) Rule(ctx context.Context, id string) (*Rule, error) {
	c, err := a.configured(ctx)
	if err != nil {
		return nil, err
	}
	if r := c.rule(id); r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("rule %q: %w", id, ErrUnknown)
}

// ParseRule reads the JSON of wire.RuleSettings without storing it. Missing members have
// their defaults. The error is an *Invalid if the rule is.
func (a *Alerts) ParseRule(ctx context.Context, body []byte) (*Rule, error) {
	c, err := a.configured(ctx)
	if err != nil {
		return nil, err
	}
	r := wire.Rule{RuleSettings: defaultRule()}
	if err := decode(body, &r.RuleSettings); err != nil {
		return nil, err
	}
	p := newProblems()
	p.rule(&r.RuleSettings, c.names(a.cfg.Exchanges))
	if err := p.err(); err != nil {
		return nil, err
	}
	return newRule(r, c.watchlists), nil
}

// PutRule stores the rule with an id, or a new one if the id is empty.
func (a *Alerts) PutRule(ctx context.Context, id string, body []byte) (wire.Rule, error) {
	r, err := a.ParseRule(ctx, body)
	if err != nil {
		return wire.Rule{}, err
	}
	e, err := a.putEntry(ctx, rules, id, r.Name, &r.RuleSettings)
	if err != nil {
		return wire.Rule{}, err
	}
	return ruleOf(&e)
}

// DeleteRule deletes a rule. Messages that it has caused are still delivered.
func (a *Alerts) DeleteRule(ctx context.Context, id string) error {
	return a.deleteEntry(ctx, rules, id)
}

// putEntry stores the settings of an entry.
func (a *Alerts) putEntry(ctx context.Context, kind, id, name string, settings any) (Entry, error) {
	c, err := a.configured(ctx)
	if err != nil {
		return Entry{}, err
	}
	now := a.cfg.Now().UTC().Truncate(time.Millisecond)
	e := Entry{Kind: kind, ID: id, Name: name, CreatedAt: now, UpdatedAt: now}
	if id == "" {
		e.ID = newID()
	} else {
		before := c.entry(kind, id)
		switch {
		case before == nil:
			return e, fmt.Errorf("%s %q: %w", kind, id, ErrUnknown)
		case before.FromFile:
			return e, fmt.Errorf("%s %q: %w", kind, id, ErrFromFile)
		case kind == watchlists && before.Name != name:
			if user := c.watching(before.Name); user != "" {
				return e, fmt.Errorf("the watchlist cannot get another name: %s uses it: %w", user, ErrInUse)
			}
		}
		e.CreatedAt = before.CreatedAt
	}
	if e.Name == "" { // silences have none
		e.Name = e.ID
	}
	if e.Body, err = json.Marshal(settings); err != nil {
		return e, err
	}
	if err := a.store.PutEntry(ctx, e); err != nil {
		return e, fmt.Errorf("%s %q: %w", kind, name, err)
	}
	a.Wake()
	return e, nil
}

func (a *Alerts) deleteEntry(ctx context.Context, kind, id string) error {
	c, err := a.configured(ctx)
	if err != nil {
		return err
	}
	switch e := c.entry(kind, id); {
	case e == nil:
		return fmt.Errorf("%s %q: %w", kind, id, ErrUnknown)
	case e.FromFile:
		return fmt.Errorf("%s %q: %w", kind, id, ErrFromFile)
	case kind == watchlists && c.watching(e.Name) != "":
		return fmt.Errorf("%s uses it: %w", c.watching(e.Name), ErrInUse)
	}
	return a.store.DeleteEntry(ctx, kind, id)
}

// watching names a rule or silence that uses a watchlist, "" if none does.
func (c *compiled) watching(name string) string {
	for _, r := range c.rules {
		if slices.Contains(r.Pairs, "@"+name) {
			return "the rule " + r.Name
		}
	}
	for _, s := range c.silences {
		if slices.Contains(s.Pairs, "@"+name) {
			return "the silence " + s.ID
		}
	}
	return ""
}

// Silences returns all silences, the last to end first.
func (a *Alerts) Silences(ctx context.Context) ([]wire.Silence, error) {
	c, err := a.configured(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]wire.Silence, len(c.silences))
	for i, s := range c.silences {
		all[i] = s.Silence
	}
	slices.SortFunc(all, func(a, b wire.Silence) int { return cmp.Or(b.Until.Compare(a.Until), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

// PutSilence stores the silence with an id, or a new one if the id is empty.
func (a *Alerts) PutSilence(ctx context.Context, id string, body []byte) (wire.Silence, error) {
	c, err := a.configured(ctx)
	if err != nil {
		return wire.Silence{}, err
	}
	var s wire.SilenceSettings
	if err := decode(body, &s); err != nil {
		return wire.Silence{}, err
	}
	p := newProblems()
	p.silence(&s, c.names(a.cfg.Exchanges))
	if !s.Until.IsZero() && !s.Until.After(a.cfg.Now()) {
		p.add("until", "must be in the future")
	}
	if err := p.err(); err != nil {
		return wire.Silence{}, err
	}
	e, err := a.putEntry(ctx, silences, id, "", &s)
	if err != nil {
		return wire.Silence{}, err
	}
	return silenceOf(&e)
}

// DeleteSilence ends a silence.
func (a *Alerts) DeleteSilence(ctx context.Context, id string) error {
	return a.deleteEntry(ctx, silences, id)
}

// Watchlists returns all watchlists, by name.
func (a *Alerts) Watchlists(ctx context.Context) ([]wire.Watchlist, error) {
	c, err := a.configured(ctx)
	if err != nil {
		return nil, err
	}
	all := []wire.Watchlist{}
	for i := range c.entries {
		if e := &c.entries[i]; e.Kind == watchlists {
			w, err := watchlistOf(e)
			if err != nil {
				return nil, err
			}
			all = append(all, w)
		}
	}
	slices.SortFunc(all, func(a, b wire.Watchlist) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// Listed returns a function that reports whether a pair is on the watchlist with a name, by
// the exchange's id and the canonical name, which may be empty. It is nil if there is no such
// watchlist.
func (a *Alerts) Listed(ctx context.Context, name string) (func(symbol, canonical string) bool, error) {
	all, err := a.Watchlists(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range all {
		if w.Name == name {
			return newPatterns(w.Pairs, nil).has, nil
		}
	}
	return nil, nil
}

// PutWatchlist stores the watchlist with an id, or a new one if the id is empty. Rules and
// silences that use it follow.
func (a *Alerts) PutWatchlist(ctx context.Context, id string, body []byte) (wire.Watchlist, error) {
	var w wire.WatchlistSettings
	if err := decode(body, &w); err != nil {
		return wire.Watchlist{}, err
	}
	p := newProblems()
	p.watchlist(&w)
	if err := p.err(); err != nil {
		return wire.Watchlist{}, err
	}
	e, err := a.putEntry(ctx, watchlists, id, w.Name, &w)
	if err != nil {
		return wire.Watchlist{}, err
	}
	return watchlistOf(&e)
}

// DeleteWatchlist deletes a watchlist that no rule and no silence uses.
func (a *Alerts) DeleteWatchlist(ctx context.Context, id string) error {
	return a.deleteEntry(ctx, watchlists, id)
}

// Receivers returns all receivers, by name.
func (a *Alerts) Receivers(ctx context.Context) ([]wire.Receiver, error) {
	c, err := a.fresh(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]wire.Receiver, len(c.receivers))
	for i := range c.receivers {
		all[i] = c.receivers[i].wire()
	}
	slices.SortFunc(all, func(a, b wire.Receiver) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// fresh returns what is configured with the present health of the receivers.
func (a *Alerts) fresh(ctx context.Context) (*compiled, error) {
	all, err := a.store.Configured(ctx, -1)
	if err != nil {
		return nil, err
	}
	return compile(all)
}

// Receiver returns a receiver.
func (a *Alerts) Receiver(ctx context.Context, id string) (wire.Receiver, error) {
	r, err := a.receiver(ctx, id)
	if err != nil {
		return wire.Receiver{}, err
	}
	return r.wire(), nil
}

func (a *Alerts) receiver(ctx context.Context, id string) (*StoredReceiver, error) {
	c, err := a.fresh(ctx)
	if err != nil {
		return nil, err
	}
	for i := range c.receivers {
		if c.receivers[i].ID == id {
			return &c.receivers[i], nil
		}
	}
	return nil, fmt.Errorf("receiver %q: %w", id, ErrUnknown)
}

// PutReceiver stores the receiver with an id, or a new one if the id is empty. Without a
// config, a stored one keeps its own. A receiver that was disabled is enabled.
func (a *Alerts) PutReceiver(ctx context.Context, id string, body []byte) (wire.Receiver, error) {
	if a.cfg.Sealer == nil {
		return wire.Receiver{}, ErrNoKey
	}
	c, err := a.fresh(ctx)
	if err != nil {
		return wire.Receiver{}, err
	}
	settings := defaultReceiver()
	if err := decode(body, &settings); err != nil {
		return wire.Receiver{}, err
	}
	now := a.cfg.Now().UTC().Truncate(time.Millisecond)
	r := StoredReceiver{ID: newID(), CreatedAt: now}
	if id != "" {
		i := slices.IndexFunc(c.receivers, func(r StoredReceiver) bool { return r.ID == id })
		if i < 0 {
			return wire.Receiver{}, fmt.Errorf("receiver %q: %w", id, ErrUnknown)
		}
		if r = c.receivers[i]; r.FromFile {
			return wire.Receiver{}, fmt.Errorf("receiver %q: %w", id, ErrFromFile)
		}
		if user := c.sending(r.Name); user != "" && r.Name != settings.Name {
			return wire.Receiver{}, fmt.Errorf("the receiver cannot get another name: %s uses it: %w", user, ErrInUse)
		}
	}
	p := newProblems()
	p.receiver(&settings, c.names(nil).receivers, r.Sealed != nil && r.Kind == settings.Kind)
	if err := p.err(); err != nil {
		return wire.Receiver{}, err
	}
	if err := a.seal(&r, &settings); err != nil {
		return wire.Receiver{}, err
	}
	r.UpdatedAt = now
	r.Health = Health{SucceededAt: r.SucceededAt}
	if err := a.store.PutReceiver(ctx, r); err != nil {
		return wire.Receiver{}, fmt.Errorf("receiver %q: %w", r.Name, err)
	}
	a.Wake()
	return r.wire(), nil
}

// seal puts settings, which are valid, into r.
func (a *Alerts) seal(r *StoredReceiver, settings *wire.ReceiverSettings) (err error) {
	r.Name, r.PerMinute, r.NoticesTo = settings.Name, settings.PerMinute, settings.NoticesTo
	if given(settings.Config) {
		parsed, err := notify.Parse(settings.Kind, settings.Config)
		if err != nil {
			return err
		}
		r.Kind, r.Sealed = settings.Kind, a.cfg.Sealer.Seal(settings.Config, []byte(r.ID))
		r.Shown, err = json.Marshal(parsed.Masked())
		return err
	}
	return nil
}

// given reports whether a member was given and is not null.
func given(v json.RawMessage) bool { return len(v) > 0 && string(v) != "null" }

// receiver checks the settings of a receiver. names are those of all, and kept is whether
// there is a stored configuration of the same kind.
func (p problems) receiver(r *wire.ReceiverSettings, names []string, kept bool) {
	p.name(r.Name)
	if wrong := oneOf(notify.Kinds())(r.Kind); wrong != "" {
		p.add("kind", "%s", wrong)
	} else if given(r.Config) {
		if _, err := notify.Parse(r.Kind, r.Config); err != nil {
			p.add("config", "%v", err)
		}
	} else if !kept {
		p.add("config", "must be an object")
	}
	if r.PerMinute < 1 || r.PerMinute > 600 {
		p.add("per_minute", "must be between 1 and 600")
	}
	if r.NoticesTo != "" && (r.NoticesTo == r.Name || !slices.Contains(names, r.NoticesTo)) {
		p.add("notices_to", "%.64q is not the name of another receiver", r.NoticesTo)
	}
}

// sending names a rule or receiver that uses a receiver, "" if none does.
func (c *compiled) sending(name string) string {
	for _, r := range c.rules {
		if slices.Contains(r.Receivers, name) {
			return "the rule " + r.Name
		}
	}
	for _, r := range c.receivers {
		if r.NoticesTo == name {
			return "the receiver " + r.Name
		}
	}
	return ""
}

// DeleteReceiver deletes a receiver that no rule and no other receiver uses, and cancels
// its deliveries.
func (a *Alerts) DeleteReceiver(ctx context.Context, id string) error {
	c, err := a.configured(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(c.receivers, func(r StoredReceiver) bool { return r.ID == id })
	switch {
	case i < 0:
		return fmt.Errorf("receiver %q: %w", id, ErrUnknown)
	case c.receivers[i].FromFile:
		return fmt.Errorf("receiver %q: %w", id, ErrFromFile)
	case c.sending(c.receivers[i].Name) != "":
		return fmt.Errorf("%s uses it: %w", c.sending(c.receivers[i].Name), ErrInUse)
	}
	return a.store.DeleteReceiver(ctx, id, a.cfg.Now())
}

// EnableReceiver lets messages be sent to a receiver that is disabled again.
func (a *Alerts) EnableReceiver(ctx context.Context, id string) (wire.Receiver, error) {
	r, err := a.receiver(ctx, id)
	if err != nil {
		return wire.Receiver{}, err
	}
	r.Health = Health{SucceededAt: r.SucceededAt}
	if err := a.store.PutReceiver(ctx, *r); err != nil {
		return wire.Receiver{}, err
	}
	return r.wire(), nil
}

// The bounds of wire.RotateRequest.OverlapHours.
const (
	defaultOverlap = 24
	maxOverlap     = 720
)

// RotateReceiver gives a webhook another secret or key. The one before signs, too, for the
// time of the overlap.
func (a *Alerts) RotateReceiver(ctx context.Context, id string, body []byte) (wire.Rotated, error) {
	if a.cfg.Sealer == nil {
		return wire.Rotated{}, ErrNoKey
	}
	q := wire.RotateRequest{Signature: "v1", OverlapHours: defaultOverlap}
	if err := decode(body, &q); err != nil {
		return wire.Rotated{}, err
	}
	r, err := a.receiver(ctx, id)
	switch {
	case err != nil:
		return wire.Rotated{}, err
	case r.FromFile:
		return wire.Rotated{}, fmt.Errorf("receiver %q: %w", id, ErrFromFile)
	case r.Kind != "webhook":
		return wire.Rotated{}, &Invalid{[]Problem{{"", "only a webhook has a secret that signs"}}}
	}
	p := newProblems()
	generate, prefix := notify.NewSecret, "whsec_"
	switch q.Signature {
	case "v1":
	case "v1a":
		generate, prefix = notify.NewKey, "whsk_"
	default:
		p.add("signature", "must be v1 or v1a")
	}
	if q.Secret != "" && !strings.HasPrefix(q.Secret, prefix) {
		p.add("secret", "must begin with %s", prefix)
	}
	if !(q.OverlapHours >= 0 && q.OverlapHours <= maxOverlap) {
		p.add("overlap_hours", "must be between 0 and %d", maxOverlap)
	}
	if err := p.err(); err != nil {
		return wire.Rotated{}, err
	}
	config, err := a.cfg.Sealer.Open(r.Sealed, []byte(r.ID))
	if err != nil {
		return wire.Rotated{}, fmt.Errorf("the configuration of receiver %q cannot be decrypted: %w", r.Name, err)
	}
	now := a.cfg.Now().UTC().Truncate(time.Millisecond)
	done := wire.Rotated{Until: now.Add(time.Duration(q.OverlapHours * float64(time.Hour)))}
	secret := q.Secret
	if secret == "" {
		if secret = generate(); q.Signature == "v1" {
			done.Secret = &secret
		}
	}
	if config, err = notify.Rotate(config, secret, done.Until); err != nil {
		p.add("secret", "%v", err)
		return wire.Rotated{}, p.err()
	}
	if err := a.seal(r, &wire.ReceiverSettings{Name: r.Name, Kind: r.Kind, Config: config, PerMinute: r.PerMinute, NoticesTo: r.NoticesTo}); err != nil {
		return wire.Rotated{}, err
	}
	r.UpdatedAt = now
	if err := a.store.PutReceiver(ctx, *r); err != nil {
		return wire.Rotated{}, err
	}
	done.Receiver = r.wire()
	return done, nil
}

// TestReceiver sends a message that is marked as a test now, in one attempt, and reports
// what became of it.
func (a *Alerts) TestReceiver(ctx context.Context, id string) (wire.Attempt, error) {
	stored, err := a.receiver(ctx, id)
	if err != nil {
		return wire.Attempt{}, err
	}
	r, err := a.open(stored)
	if err != nil {
		return wire.Attempt{}, err
	}
	now := a.cfg.Now()
	body, err := json.Marshal(map[string]any{"type": "test", "timestamp": now.UTC(), "data": map[string]any{"receiver": stored.Name}})
	if err != nil {
		return wire.Attempt{}, err
	}
	result := a.cfg.Sender.Send(ctx, r, notify.Message{
		ID: "test_" + newID(), Type: "test", Title: "Test message of tidemark", Text: "Somebody has tested the receiver " + stored.Name + ". Nothing has happened.",
		Time: now, Body: body,
	})
	if ctx.Err() != nil {
		return wire.Attempt{}, ctx.Err()
	}
	attempt := attemptOf(now, result)
	health := stored.Health
	if result.Outcome == notify.Delivered && health.DisabledAt.IsZero() {
		health = Health{SucceededAt: now, Quick: result.Latency <= quickLatency}
		stored.Health = health
		if err := a.store.PutReceiver(ctx, *stored); err != nil {
			return attempt, err
		}
	}
	return attempt, nil
}

// open returns a receiver to which messages can be sent.
func (a *Alerts) open(r *StoredReceiver) (notify.Receiver, error) {
	if a.cfg.Sealer == nil {
		return notify.Receiver{}, ErrNoKey
	}
	config, err := a.cfg.Sealer.Open(r.Sealed, []byte(r.ID))
	if err != nil {
		return notify.Receiver{}, fmt.Errorf("the configuration of receiver %q cannot be decrypted: %w; set the SECRETS_KEY with which it was stored, or store it again", r.Name, err)
	}
	return notify.Parse(r.Kind, config)
}

func attemptOf(at time.Time, r notify.Result) wire.Attempt {
	return wire.Attempt{At: at.UTC(), Status: r.Status, LatencyMS: r.Latency.Milliseconds(), Outcome: string(r.Outcome), Error: r.Error}
}

// Deliveries returns deliveries, the newest first.
func (a *Alerts) Deliveries(ctx context.Context, q DeliveryQuery) ([]wire.Delivery, error) {
	stored, err := a.store.Deliveries(ctx, q)
	if err != nil {
		return nil, err
	}
	all := make([]wire.Delivery, len(stored))
	for i := range stored {
		all[i] = stored[i].wire()
	}
	return all, nil
}

func (d *StoredDelivery) wire() wire.Delivery {
	return wire.Delivery{
		ID: d.ID, MessageID: d.Message, Reason: d.Reason, Rule: text(d.RuleName), Receiver: d.ReceiverName, State: d.State,
		Title: d.Title, Events: d.Events, LeftOut: d.LeftOut, Attempts: d.Attempts, Error: text(d.Error),
		CreatedAt: d.CreatedAt, DueAt: moment(d.DueAt), ExpiresAt: moment(d.ExpiresAt), FinishedAt: moment(d.FinalAt),
	}
}

// Delivery returns a delivery with what was sent.
func (a *Alerts) Delivery(ctx context.Context, id int64) (wire.DeliveryDetail, error) {
	d, seqs, err := a.store.Delivery(ctx, id)
	if err != nil {
		return wire.DeliveryDetail{}, fmt.Errorf("delivery %d: %w", id, err)
	}
	w := wire.DeliveryDetail{Delivery: d.wire(), Text: d.Text, Body: d.Body, Log: d.Log, Seqs: seqs}
	if w.Log == nil {
		w.Log = []wire.Attempt{}
	}
	if w.Seqs == nil {
		w.Seqs = []int64{}
	}
	return w, nil
}

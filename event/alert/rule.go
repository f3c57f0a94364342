package alert

import (
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // the image has no database of time zones

	"tidemark/wire"
)

// Rule is a rule, ready to match events. Its methods may be called by several goroutines
// at once.
type Rule struct {
	wire.Rule
	pairs *patternSet
	quiet *quiet // nil: none
}

// Reason is why a rule does not send an event.
type Reason string

const (
	Paused    Reason = "paused"
	Ended     Reason = "ended"
	Exchange  Reason = "exchange"
	Pair      Reason = "pair"
	Interval  Reason = "interval"
	Kind      Reason = "kind"
	Role      Reason = "role"
	Edge      Reason = "edge"
	Volume    Reason = "volume"
	Silenced  Reason = "silenced"
	QuietTime Reason = "quiet"
)

// Env is what a match depends on in addition to the rule and the event.
type Env struct {
	Now time.Time
	// Volume returns the 24 h volume of a pair in its quote asset, and whether it is known:
	// an unknown one does not exclude the pair. Nil: none is known.
	Volume   func(exchange, symbol string) (volume float64, known bool)
	Silences []*Silence
}

// Match reports whether r sends e, and else why not. It looks at silences and then quiet
// hours last, so that their reason says that r would send e at another time.
func (r *Rule) Match(e *wire.Event, env Env) (bool, Reason) {
	in := func(list []string, s string) bool { return len(list) == 0 || slices.Contains(list, s) }
	switch {
	case r.Paused:
		return false, Paused
	case r.Until != nil && !env.Now.Before(*r.Until):
		return false, Ended
	case !in(r.Exchanges, e.Exchange):
		return false, Exchange
	case !in(r.Kinds, e.Kind):
		return false, Kind
	case !in(r.Intervals, e.Interval):
		return false, Interval
	case !in(r.Roles, e.Level.Role):
		return false, Role
	case e.Level.Edge < r.MinEdge:
		return false, Edge
	case !r.pairs.match(e):
		return false, Pair
	}
	if r.MinQuoteVolume > 0 && env.Volume != nil {
		if v, known := env.Volume(e.Exchange, e.Symbol); known && v < r.MinQuoteVolume {
			return false, Volume
		}
	}
	for _, s := range env.Silences {
		if s.match(e, env.Now) {
			return false, Silenced
		}
	}
	if r.quiet != nil {
		if _, quiet := r.quiet.until(env.Now); quiet {
			return false, QuietTime
		}
	}
	return true, ""
}

// newRule returns a rule whose settings are valid. watchlists are the pairs by name.
func newRule(r wire.Rule, watchlists map[string][]string) *Rule {
	compiled := &Rule{Rule: r, pairs: newPatterns(r.Pairs, watchlists)}
	if r.Quiet != nil {
		compiled.quiet = newQuiet(r.Quiet)
	}
	return compiled
}

func (r *Rule) groupWait() time.Duration { return time.Duration(r.GroupWaitMS) * time.Millisecond }

// Silence is a silence, ready to match events.
type Silence struct {
	wire.Silence
	pairs *patternSet
}

func newSilence(s wire.Silence, watchlists map[string][]string) *Silence {
	return &Silence{s, newPatterns(s.Pairs, watchlists)}
}

func (s *Silence) match(e *wire.Event, now time.Time) bool {
	in := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	return now.Before(s.Until) && in(s.Exchanges, e.Exchange) && in(s.Intervals, e.Interval) && in(s.Kinds, e.Kind) && s.pairs.match(e)
}

// patternSet selects pairs. The nil set selects all.
type patternSet struct {
	exact map[string]bool // in capitals
	loose [][]string      // the parts between the * of each pattern
}

func newPatterns(pairs []string, watchlists map[string][]string) *patternSet {
	if len(pairs) == 0 {
		return nil
	}
	p := &patternSet{exact: map[string]bool{}}
	add := func(s string) {
		s = strings.ToUpper(s)
		if parts := strings.Split(s, "*"); len(parts) > 1 {
			p.loose = append(p.loose, parts)
		} else {
			p.exact[s] = true
		}
	}
	for _, s := range pairs {
		if name, isList := strings.CutPrefix(s, "@"); isList {
			for _, s := range watchlists[name] {
				add(s)
			}
		} else {
			add(s)
		}
	}
	return p
}

func (p *patternSet) match(e *wire.Event) bool {
	name := ""
	if e.Name != nil {
		name = *e.Name
	}
	return p == nil || p.has(e.Symbol, name)
}

// has reports whether p has a pair, by its id or its canonical name, which may be empty.
func (p *patternSet) has(symbol, name string) bool {
	return p.one(symbol) || name != "" && p.one(name)
}

func (p *patternSet) one(name string) bool {
	name = strings.ToUpper(name)
	if p.exact[name] {
		return true
	}
	return slices.ContainsFunc(p.loose, func(parts []string) bool { return glob(parts, name) })
}

// glob reports whether name is the parts, two or more, with any letters between them.
func glob(parts []string, name string) bool {
	name, ok := strings.CutPrefix(name, parts[0])
	if !ok {
		return false
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name = name[i+len(part):]
	}
	return strings.HasSuffix(name, parts[last])
}

// quiet are the quiet hours of a rule.
type quiet struct {
	from, to time.Duration // of the day; to is after from, and may be of the next day
	zone     *time.Location
	days     []string
	hold     bool
}

func newQuiet(q *wire.Quiet) *quiet {
	zone, err := time.LoadLocation(q.Zone)
	if err != nil {
		zone = time.UTC // it was checked; the database of time zones is gone
	}
	from, _ := clock(q.From)
	to, _ := clock(q.To)
	if to <= from {
		to += 24 * time.Hour
	}
	return &quiet{from, to, zone, q.Days, q.Then == quietHold}
}

// until returns the end of the quiet hours that now is in.
func (q *quiet) until(now time.Time) (end time.Time, in bool) {
	now = now.In(q.zone)
	for _, back := range [...]int{0, 1} {
		// a time of the day by the clock, which a change of summer time shifts
		at := func(d time.Duration) time.Time {
			return time.Date(now.Year(), now.Month(), now.Day()-back, 0, int(d.Minutes()), 0, 0, q.zone)
		}
		from, to := at(q.from), at(q.to)
		if !now.Before(from) && now.Before(to) && (len(q.days) == 0 || slices.Contains(q.days, days[from.Weekday()])) {
			return to, true
		}
	}
	return time.Time{}, false
}

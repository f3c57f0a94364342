package event

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"tidemark/levels"
	"tidemark/scorecard"
	"tidemark/service"
	"tidemark/wire"
)

// The bounds of PreviewQuery.Days.
const (
	PreviewDays    = 30 // the default
	MaxPreviewDays = 90
)

// lastEvents is how many events a preview shows.
const lastEvents = 50

// PreviewQuery says what is previewed.
type PreviewQuery struct {
	Markets []service.StoredMarket // see api.Store
	Days    int                    // 1 to MaxPreviewDays
	// Series reports whether a series may have events of the rule, which saves the others;
	// nil: all may.
	Series func(s *service.Series) bool
	// Match reports whether the rule matches an event, which has no ID, Links and Seq. It is
	// called by several goroutines at once, must not retain the event, and should use its
	// time instead of the clock.
	Match func(e *wire.Event) bool
}

// SeriesStore lists series.
type SeriesStore interface {
	// Series returns the series of an exchange and interval that have an analysis.
	Series(ctx context.Context, exchange string, interval levels.Interval) ([]service.Series, error)
}

// Preview says how often a rule would have rung in the last days, and what became of its
// levels. It uses stored candles only, on the slots of a, and stores nothing. Its errors are
// those of service.Analyzer.EachStored and of the store, or service.ErrInvalid.
func Preview(ctx context.Context, a *service.Analyzer, store SeriesStore, q PreviewQuery) (wire.Preview, error) {
	if q.Days < 1 || q.Days > MaxPreviewDays {
		return wire.Preview{}, fmt.Errorf("%w: %d days are not between 1 and %d", service.ErrInvalid, q.Days, MaxPreviewDays)
	}
	p := newPreview(q)
	_, limit := a.Defaults()
	for _, m := range q.Markets {
		all, err := store.Series(ctx, m.Exchange, m.Interval)
		if err != nil {
			return wire.Preview{}, err
		}
		if q.Series != nil {
			all = slices.DeleteFunc(all, func(s service.Series) bool { return !q.Series(&s) })
		}
		if len(all) == 0 {
			continue
		}
		if err := a.EachStored(ctx, all, min(limit, a.MaxKlines()), p.add); err != nil {
			return wire.Preview{}, err
		}
		p.endMarket()
	}
	return p.result(), nil
}

// preview is a Preview under way.
type preview struct {
	q        PreviewQuery
	from, to time.Time
	longest  levels.Interval

	mu                       sync.Mutex
	out                      wire.Preview
	days                     map[int64]*tally // by days since 1970
	hours                    map[int64]*tally // by hours since 1970
	messages                 map[message]bool
	promised, baseline, odds int               // sums of ten-thousandths, and how many
	blocks                   map[int64]*counts // of outcomes, by scorecard.BlockOf
	market                   map[int64]*counts // the lines of the current market
	pool                     [2][distances]int // levels of the market that count, by side and distance
}

type tally struct{ events, messages int }

// message is what events are grouped by.
type message struct {
	exchange string
	interval levels.Interval
	at       int64
}

func newPreview(q PreviewQuery) *preview {
	p := &preview{
		q: q, days: map[int64]*tally{}, hours: map[int64]*tally{}, messages: map[message]bool{},
		blocks: map[int64]*counts{}, market: map[int64]*counts{},
	}
	for _, m := range q.Markets {
		if m.AsOf.After(p.to) {
			p.to = m.AsOf
		}
		if m.Interval.Duration() > p.longest.Duration() {
			p.longest = m.Interval
		}
	}
	p.to = p.to.UTC()
	p.from = p.to.AddDate(0, 0, -q.Days)
	p.out = wire.Preview{From: p.from, To: p.to, Days: q.Days, RedrawnEvery: RedrawnEvery, ByDay: []wire.PreviewDay{}, Last: []wire.PreviewEvent{}}
	return p
}

// rule is the rule, and an event for it.
type rule struct {
	match func(e *wire.Event) bool
	event body
}

// matches reports whether the rule matches the event.
func (r *rule) matches(s *service.Snapshot, t *Transition) bool {
	r.event.set(s, t, t.At)
	return r.match(&r.event.Event)
}

// about reports whether the rule matches an event of any kind that happens to a level at a
// close.
func (r *rule) about(s *service.Snapshot, t *Transition) bool {
	r.event.set(s, t, t.At)
	for _, kind := range kinds {
		r.event.Kind = kind
		if r.match(&r.event.Event) {
			return true
		}
	}
	return false
}

// episodeID is what the transitions of an episode have in common.
type episodeID struct {
	level uint64
	begun int64
}

func episodeOf(t *Transition) episodeID { return episodeID{t.Level.ID, t.Begun.UnixMilli()} }

// found is what Replay has found in a series.
type found struct {
	events  []wire.PreviewEvent // without what they have in common
	kinds   []Kind              // of them
	touched map[episodeID]bool  // levels of the rule, and whether they are decided
	decided []outcome
	lines   []lineOutcome
	pool    [2][distances]int
	pending int
}

type outcome struct {
	kind     Kind
	block    int64
	ours     bool // of a level of the rule
	compared bool
	promise  *Promise
}

type lineOutcome struct {
	line
	block int64
	held  bool
}

// add adds a series.
func (p *preview) add(s *service.Stored) error {
	f := found{touched: map[episodeID]bool{}}
	rule := rule{match: p.q.Match}
	var lines control
	counting := map[uint64]bool{} // levels that count since the analysis before
	compared := map[episodeID]bool{}
	var last *service.Snapshot
	err := replay(s, p.from, RedrawnEvery, func(r *replayed) {
		a, state := r.analysis, &r.state
		for i := range r.happened {
			t := &r.happened[i]
			if rule.matches(a, t) {
				f.kinds = append(f.kinds, t.Kind)
				f.events = append(f.events, wire.PreviewEvent{
					OccurredAt: t.At, Kind: t.Kind.String(), Level: levelID(t.Level.ID), Role: t.Level.Role.String(),
					Price: t.Level.Price, Edge: wire.Rounded(float64(t.Level.Edge), 2),
				})
			}
			id := episodeOf(t)
			switch t.Kind {
			case Touched:
				if rule.about(a, t) {
					f.touched[id] = false
				}
				compared[id] = counting[t.Level.ID] && !t.Begun.Before(last.AsOf)
			case Held, Broke, Flipped:
				_, ours := f.touched[id]
				if ours {
					f.touched[id] = true
				}
				if ours || compared[id] {
					f.decided = append(f.decided, outcome{t.Kind, scorecard.BlockOf(p.longest, t.TouchedAt), ours, compared[id], t.Promise})
				}
			}
		}
		clear(counting)
		var weights [2]int
		m, ends := momentOf(a), a.AsOf.UnixMilli() == s.Candles.AsOf()
		for _, side := range sides(a) {
			for i := range side {
				l := &side[i]
				if ends || !drawn(l) || !(m.ATR > 0) || isNear(m, l.Price) || !state.isFar(l.ID) ||
					!rule.about(a, &Transition{Kind: Touched, Level: *l, Begun: a.AsOf, At: a.AsOf, Price: a.LastPrice, ATR: a.ATR}) {
					continue
				}
				counting[l.ID] = true
				role := roleAt(l.Price, a.LastPrice)
				weights[role]++
				f.pool[role][distanceBin(math.Abs(l.Price-a.LastPrice)/a.ATR)]++
			}
		}
		lines.next(a, s.Candles, r.moments, weights, func(l line, touched int64, held bool) {
			f.lines = append(f.lines, lineOutcome{l, scorecard.BlockOf(p.longest, utc(touched)), held})
		})
		if ends {
			for i := range state.tracks {
				t := &state.tracks[i]
				if decided, ours := f.touched[episodeID{t.id, t.Moment.AsOf}]; t.phase == open && ours && !decided {
					f.pending++
				}
			}
		}
		last = a
	})
	if err != nil && !errors.Is(err, levels.ErrTooFewCandles) {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.out.LeftOut++
		return nil
	}
	p.merge(s, &f)
	return nil
}

// merge adds what was found in a series.
func (p *preview) merge(s *service.Stored, f *found) {
	o := &p.out
	o.Series++
	o.Simulated = o.Simulated || s.Simulated
	if n := firstAnalysis(s.Candles, p.from); n == levels.MinOddsCandles && s.Candles.OpenTime[n] > p.from.Add(s.Interval.Duration()).UnixMilli() {
		o.Short++
	}
	for i := range f.events {
		p.count(s, f.kinds[i], &f.events[i])
	}
	for _, decided := range f.touched {
		o.Outcomes.Touched++
		if !decided {
			o.Outcomes.Undecided++
		}
	}
	o.Outcomes.Undecided -= f.pending
	o.Outcomes.Pending += f.pending
	for _, t := range f.decided {
		b := blockOf(p.blocks, t.block)
		held := 0
		if t.kind != Broke {
			held = 1
		}
		if t.compared {
			b.compare.N++
			b.compare.Held += float64(held)
		}
		if !t.ours {
			continue
		}
		b.n++
		b.held += held
		switch t.kind {
		case Held:
			o.Outcomes.Held++
		case Flipped:
			o.Outcomes.Flipped++
		case Broke:
			o.Outcomes.Broke++
		}
		if t.promise != nil {
			p.odds++
			p.promised += tenThousandths(t.promise.Hold)
			p.baseline += tenThousandths(t.promise.Baseline)
		}
	}
	for _, l := range f.lines {
		cell := &blockOf(p.market, l.block).lines[l.role][l.bin]
		cell.n += float64(l.weight)
		if l.held {
			cell.held += float64(l.weight)
		}
	}
	for side := range f.pool {
		for bin, n := range f.pool[side] {
			p.pool[side][bin] += n
		}
	}
}

func blockOf(all map[int64]*counts, block int64) *counts {
	if all[block] == nil {
		all[block] = &counts{}
	}
	return all[block]
}

func tallyOf(all map[int64]*tally, at int64) *tally {
	if all[at] == nil {
		all[at] = &tally{}
	}
	return all[at]
}

// count counts an event that the rule matches.
func (p *preview) count(s *service.Stored, k Kind, e *wire.PreviewEvent) {
	p.out.Events++
	*p.kind(k)++
	day, hour := tallyOf(p.days, dayOf(e.OccurredAt)), tallyOf(p.hours, hourOf(e.OccurredAt))
	day.events++
	hour.events++
	if m := (message{s.Exchange, s.Interval, e.OccurredAt.UnixMilli()}); !p.messages[m] {
		p.messages[m] = true
		day.messages++
		hour.messages++
	}
	e.Exchange, e.Symbol, e.Interval = s.Exchange, s.Symbol, string(s.Interval)
	if s.Name != "" {
		e.Name = &s.Name
	}
	i, _ := slices.BinarySearchFunc(p.out.Last, *e, newestFirst)
	if i < lastEvents {
		if len(p.out.Last) == lastEvents {
			p.out.Last = p.out.Last[:lastEvents-1]
		}
		p.out.Last = slices.Insert(p.out.Last, i, *e)
	}
}

func (p *preview) kind(k Kind) *int {
	c := &p.out.ByKind
	return [...]*int{&c.Appeared, &c.Approaching, &c.Touched, &c.Held, &c.Broke, &c.Flipped, &c.Vanished}[k]
}

func newestFirst(a, b wire.PreviewEvent) int {
	return cmp.Or(b.OccurredAt.Compare(a.OccurredAt), cmp.Compare(a.Exchange, b.Exchange), cmp.Compare(a.Symbol, b.Symbol),
		cmp.Compare(a.Interval, b.Interval), cmp.Compare(a.Level, b.Level), cmp.Compare(a.Kind, b.Kind))
}

// An event belongs to the hour and the day in which its candle ends.
func hourOf(t time.Time) int64 { return (t.UnixMilli() - 1) / time.Hour.Milliseconds() }
func dayOf(t time.Time) int64  { return hourOf(t) / 24 }

// endMarket gives the lines of a market their weights.
func (p *preview) endMarket() {
	for block, market := range p.market {
		b := blockOf(p.blocks, block)
		for side := range market.lines {
			all := 0
			for _, n := range p.pool[side] {
				all += n
			}
			for bin, of := range market.lines[side] {
				if share := float64(p.pool[side][bin]) / float64(max(all, 1)); share > 0 {
					b.compare.ControlN += share * of.n
					b.compare.ControlHeld += share * of.held
				}
			}
		}
	}
	clear(p.market)
	p.pool = [2][distances]int{}
}

// result returns the preview.
func (p *preview) result() wire.Preview {
	o := &p.out
	o.Messages = len(p.messages)
	if !p.to.IsZero() {
		for day := dayOf(p.from.Add(time.Millisecond)); day <= dayOf(p.to); day++ {
			t := tallyOf(p.days, day)
			o.ByDay = append(o.ByDay, wire.PreviewDay{Day: time.UnixMilli(day * 24 * time.Hour.Milliseconds()).UTC().Format(time.DateOnly), Events: t.events, Messages: t.messages})
		}
	}
	for hour, t := range p.hours {
		from := time.UnixMilli(hour * time.Hour.Milliseconds()).UTC()
		if b := o.BusiestHour; b == nil || t.events > b.Events || t.events == b.Events && from.After(b.From) {
			o.BusiestHour = &wire.BusiestHour{From: from, Events: t.events, Messages: t.messages}
		}
	}
	var all scorecard.Blocks
	var pairs []scorecard.Pair
	var ours, lines scorecard.Pair
	blocks := make([]int64, 0, len(p.blocks))
	for block := range p.blocks {
		blocks = append(blocks, block)
	}
	slices.Sort(blocks) // sums of fractions depend on their order
	for _, block := range blocks {
		b := p.blocks[block]
		if b.n > 0 {
			all.Add(b.n, b.held)
		}
		pairs = append(pairs, b.compare)
		ours.N, ours.Held = ours.N+b.compare.N, ours.Held+b.compare.Held
		lines.N, lines.Held = lines.N+b.compare.ControlN, lines.Held+b.compare.ControlHeld
	}
	if rate, ok := all.Rate(); ok {
		o.Outcomes.HoldRate = share(rate)
	}
	if interval, ok := all.Interval95(); ok {
		o.Outcomes.HoldInterval = &[2]float64{*share(interval[0]), *share(interval[1])}
	}
	if p.odds > 0 {
		n := 10_000 * float64(p.odds)
		o.Outcomes.Odds, o.Outcomes.Promised, o.Outcomes.Baseline = p.odds, share(float64(p.promised)/n), share(float64(p.baseline)/n)
	}
	p.verdict(pairs, ours, lines)
	p.notes()
	return *o
}

func share(p float64) *float64  { return new(wire.Rounded(p, 4)) }
func points(p float64) *float64 { return new(wire.Rounded(100*p, 2)) }

// verdict compares levels with lines.
func (p *preview) verdict(pairs []scorecard.Pair, ours, lines scorecard.Pair) {
	c := &p.out.Control
	c.Levels = int(ours.N)
	if ours.N > 0 {
		c.HoldRate = share(ours.Held / ours.N)
	}
	if lines.N > 0 {
		c.LineHoldRate = share(lines.Held / lines.N)
	}
	lift, interval, known, ok := scorecard.Lift(pairs)
	if ok {
		c.Lift = points(lift)
	}
	if !known {
		c.Verdict = "too_few"
		c.Text = fmt.Sprintf("%d levels that can be compared with lines were decided, on %d days or blocks of days: too few to say whether the rule picks better than lines (%d, on %d, are needed).",
			c.Levels, withOutcomes(pairs), scorecard.MinDecided, scorecard.MinBlocks)
		return
	}
	c.LiftInterval = &[2]float64{*points(interval[0]), *points(interval[1])}
	between := fmt.Sprintf("the 95 %% interval is %+.1f to %+.1f points", *points(interval[0]), *points(interval[1]))
	switch {
	case interval[0] > 0:
		c.Verdict = "better"
		c.Text = fmt.Sprintf("The levels held %.1f points more often than lines without meaning; %s.", 100*lift, between)
	case interval[1] < 0:
		c.Verdict = "worse"
		c.Text = fmt.Sprintf("The levels held %.1f points less often than lines without meaning; %s.", -100*lift, between)
	default:
		c.Verdict = "no_difference"
		c.Text = fmt.Sprintf("No difference from lines without meaning can be seen: the levels held %+.1f points more often, and %s.", 100*lift, between)
	}
}

func withOutcomes(pairs []scorecard.Pair) (n int) {
	for _, b := range pairs {
		if b.N > 0 {
			n++
		}
	}
	return n
}

// notes says how the preview differs from a running service.
func (p *preview) notes() {
	o := &p.out
	o.Notes = []string{
		fmt.Sprintf("The levels of a pair are found again every %d candles. A running service finds them at every close, so it rings at other levels, too.", RedrawnEvery),
		"Only closed candles count. Between closes a running service rings earlier, and for prices that no close confirms.",
		"Messages are counted as they are grouped at a close. What covering levels, silences and the limits of receivers hold back is not taken off.",
	}
	if o.ByKind.Appeared+o.ByKind.Vanished > 0 {
		o.Notes = append(o.Notes, fmt.Sprintf("Levels appear and vanish only where they are found again: every %d candles, at other hours than in a running service, and less often.", RedrawnEvery))
	}
	if o.Short > 0 {
		o.Notes = append(o.Notes, fmt.Sprintf("The stored candles of %d of %d series do not reach back to the begin of the period with the %d candles before it that odds need: their events are missing at its begin.", o.Short, o.Series, levels.MinOddsCandles))
	}
	if o.LeftOut > 0 {
		o.Notes = append(o.Notes, fmt.Sprintf("%d series are left out: they have too few stored candles, or none in the period.", o.LeftOut))
	}
	if o.Simulated {
		o.Notes = append(o.Notes, "Some of the prices are simulated.")
	}
}

package alert

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"tidemark/event/notify"
	"tidemark/wire"
)

// summary is what a message says about its events. It keeps those that it shows.
type summary struct {
	rule   *Rule // nil: of several, or deleted
	now    time.Time
	public string // Config.PublicURL
	covers []cover

	events             int
	kinds              map[string]int
	top                []Numbered // by edge, the highest first
	first, last        time.Time  // when the events happened
	expires            time.Time  // when the first of them is out of date; zero: none ever
	dropped            []int64    // inhibited or expired
	inhibited, expired int
}

func (a *Alerts) newSummary(rule *Rule, now time.Time) *summary {
	return &summary{rule: rule, now: now, public: a.cfg.PublicURL, kinds: map[string]int{}}
}

// shown is how many events a message shows.
func (s *summary) shown() int {
	if s.rule == nil {
		return defaultRule().Top
	}
	return s.rule.Top
}

func (s *summary) add(e Numbered) {
	until := expiry(e.Event)
	switch {
	case slices.ContainsFunc(s.covers, func(c cover) bool { return c.covers(e.Event) }):
		s.inhibited++
		s.dropped = append(s.dropped, e.Seq)
		return
	case !until.IsZero() && !s.now.Before(until):
		s.expired++
		s.dropped = append(s.dropped, e.Seq)
		return
	}
	s.events++
	s.kinds[e.Kind]++
	if s.first.IsZero() || e.OccurredAt.Before(s.first) {
		s.first = e.OccurredAt
	}
	if e.OccurredAt.After(s.last) {
		s.last = e.OccurredAt
	}
	if s.expires.IsZero() || !until.IsZero() && until.Before(s.expires) {
		s.expires = until
	}
	at, _ := slices.BinarySearchFunc(s.top, e, func(a, b Numbered) int {
		return cmp.Or(cmp.Compare(math.Abs(b.Level.Edge), math.Abs(a.Level.Edge)), cmp.Compare(a.Seq, b.Seq))
	})
	if at < s.shown() {
		s.top = slices.Insert(s.top, at, e)
		s.top = s.top[:min(len(s.top), s.shown())]
	}
}

// drop removes the events from d that its message is not about.
func (s *summary) drop(tx Tx, d *StoredDelivery) error {
	d.Events, d.LeftOut, d.ExpiresAt = s.events, d.LeftOut+len(s.dropped), s.expires
	if len(s.dropped) == 0 {
		return nil
	}
	return tx.DropEvents(d, s.dropped, s.now)
}

// trim removes the events from a queued d that are out of date by now, and renders its
// message again without them. If none is left, d keeps its message.
func (a *Alerts) trim(tx Tx, d *StoredDelivery, rule *Rule, to *StoredReceiver, now time.Time) error {
	sum := a.newSummary(rule, now)
	if err := tx.Matched(d.ID, func(e Numbered) error { sum.add(e); return nil }); err != nil {
		return err
	}
	if err := sum.drop(tx, d); err != nil || sum.events == 0 {
		return err
	}
	var before struct {
		Data struct {
			LeftOut leftOut `json:"left_out"`
		} `json:"data"`
	}
	if err := json.Unmarshal(d.Body, &before); err != nil {
		return err
	}
	sum.inhibited += before.Data.LeftOut.Inhibited
	sum.expired += before.Data.LeftOut.Expired
	sum.render(d, to)
	return nil
}

// groupBody is the data of a message about several events.
type groupBody struct {
	Reason  string         `json:"reason"` // of wire.Delivery
	Rule    string         `json:"rule"`   // its name; empty if they are of several
	Count   int            `json:"count"`
	Kinds   map[string]int `json:"kinds"`
	From    time.Time      `json:"from"` // when the first and the last of them happened
	To      time.Time      `json:"to"`
	LeftOut leftOut        `json:"left_out"`
	Events  []wire.Event   `json:"events"` // those with the highest edge
}

// leftOut counts the events that a message is not about.
type leftOut struct {
	Inhibited int `json:"inhibited"`
	Expired   int `json:"expired"`
}

// message is the body of a webhook.
type message struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`     // when the event happened
	Link      string    `json:"link,omitzero"` // the page of the level, of the first one of several; with Config.PublicURL
	Data      any       `json:"data"`          // wire.Event, or groupBody
}

// linkOf returns the link of the body of a message, if it has one.
func linkOf(body []byte) string {
	var m struct {
		Link string `json:"link"`
	}
	_ = json.Unmarshal(body, &m)
	return m.Link
}

// shownEvent returns an event as messages show it, with links that lead somewhere if there
// is a public address, and the link to its page.
func (s *summary) shownEvent(e Numbered) (event wire.Event, page string) {
	event = *e.Event
	event.Seq = e.Seq
	if s.public == "" {
		return event, ""
	}
	for _, link := range []*string{&event.Links.Levels, &event.Links.Explanation, &event.Links.Chart} {
		if *link != "" {
			*link = s.public + *link
		}
	}
	return event, s.public + "/?" + url.Values{"exchange": {e.Exchange}, "symbol": {e.Symbol}, "interval": {e.Interval}, "level": {e.Level.ID}}.Encode()
}

// render writes the message of s into d.
func (s *summary) render(d *StoredDelivery, to *StoredReceiver) {
	if s.events == 1 && s.inhibited+s.expired == 0 && d.Reason != ForQuiet && d.Reason != ForBudget {
		event, page := s.shownEvent(s.top[0])
		d.Type, d.Title, d.Text = "level."+event.Kind, singleTitle(&event), singleText(&event)
		if page != "" {
			d.Text += "\npicture " + strings.Replace(event.Links.Chart, "/chart.svg?", "/chart.png?", 1) + "\nexplanation " + event.Links.Explanation
		}
		d.Body = encode(message{d.Type, event.OccurredAt, page, &event})
		return
	}
	d.Type = "level.events"
	d.Title = s.title(d.Reason)
	var lines []string
	switch d.Reason {
	case ForQuiet:
		lines = append(lines, "They happened during the quiet hours of the rule "+d.RuleName+".")
	case ForBudget:
		lines = append(lines, fmt.Sprintf("They exceed the %d messages a minute of the receiver %s, so this one stands for all of them.", to.PerMinute, to.Name))
	}
	for _, e := range s.top {
		lines = append(lines, line(e.Event))
	}
	if more := s.events - len(s.top); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	if s.inhibited > 0 {
		lines = append(lines, fmt.Sprintf("%d left out: a level of a longer interval covers them", s.inhibited))
	}
	if s.expired > 0 {
		lines = append(lines, fmt.Sprintf("%d left out: they are out of date", s.expired))
	}
	d.Text = strings.Join(lines, "\n")
	group := groupBody{Reason: d.Reason, Rule: d.RuleName, Count: s.events, Kinds: s.kinds, From: s.first, To: s.last, LeftOut: leftOut{s.inhibited, s.expired}}
	var page string // of the first
	for i, e := range s.top {
		event, its := s.shownEvent(e)
		if group.Events = append(group.Events, event); i == 0 {
			page = its
		}
	}
	for {
		if d.Body = encode(message{d.Type, s.last, page, &group}); len(d.Body) <= notify.MaxBody || len(group.Events) == 0 {
			return
		}
		group.Events = group.Events[:len(group.Events)-1]
	}
}

// encode returns the JSON of a message.
func encode(m message) []byte {
	var b bytes.Buffer
	if err := json.MarshalWrite(&b, &m, json.Deterministic(true)); err != nil {
		panic(fmt.Sprintf("alert: %v", err)) // only for NaN or infinities, which events never hold
	}
	return b.Bytes()
}

// did says what happened to levels.
var did = map[string]string{
	"appeared": "appeared", "approaching": "is near", "touched": "was touched", "held": "held", "broke": "broke", "flipped": "flipped", "vanished": "vanished",
}

var didMany = map[string]string{
	"appeared": "appeared", "approaching": "are near", "touched": "were touched", "held": "held", "broke": "broke", "flipped": "flipped", "vanished": "vanished",
}

func pairName(e *wire.Event) string {
	if e.Name != nil {
		return *e.Name
	}
	return e.Symbol
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func mark(e *wire.Event) string {
	if e.Simulated {
		return " (simulated prices)"
	}
	return ""
}

func singleTitle(e *wire.Event) string {
	return fmt.Sprintf("%s %s: %s %s %s%s", pairName(e), e.Interval, e.Level.Role, number(e.Level.Price), did[e.Kind], mark(e))
}

const minuteLayout = "2006-01-02 15:04 UTC"

func singleText(e *wire.Event) string {
	var lines []string
	if e.Candle != nil {
		lines = append(lines, fmt.Sprintf("%s, candle closed at %s on %s", number(e.Price), e.OccurredAt.UTC().Format(minuteLayout), e.Exchange))
	} else {
		lines = append(lines, fmt.Sprintf("%s at %s on %s", number(e.Price), e.OccurredAt.UTC().Format("2006-01-02 15:04:05 UTC"), e.Exchange))
	}
	zone := fmt.Sprintf("zone %s to %s", number(e.Level.Low), number(e.Level.High))
	if e.DistanceATR != nil {
		zone = fmt.Sprintf("%.1f ATR from it, %s", math.Abs(*e.DistanceATR), zone)
	}
	lines = append(lines, zone)
	if p := e.Promise; p != nil {
		lines = append(lines, fmt.Sprintf("when touched: %.0f %% to hold, %.0f %% of all levels, from %d samples", 100*p.HoldProbability, 100*p.BaselineHoldProbability, p.Samples))
	} else if l := e.Level; l.HoldProbability != nil && l.BaselineHoldProbability != nil && l.Samples != nil {
		lines = append(lines, fmt.Sprintf("%.0f %% to hold, %.0f %% of all levels, from %d samples", 100**l.HoldProbability, 100**l.BaselineHoldProbability, *l.Samples))
	}
	return strings.Join(append(lines, fmt.Sprintf("edge %.1f", e.Level.Edge)), "\n")
}

func line(e *wire.Event) string {
	return fmt.Sprintf("%s %s: %s %s %s, edge %.1f%s", pairName(e), e.Interval, e.Level.Role, number(e.Level.Price), did[e.Kind], e.Level.Edge, mark(e))
}

// title says how many of each kind there are, and where if it is one place.
func (s *summary) title(reason string) string {
	var parts []string
	for _, kind := range wire.EventKinds {
		switch n := s.kinds[kind]; {
		case n == 1:
			parts = append(parts, "1 "+did[kind])
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", n, didMany[kind]))
		}
	}
	noun := " levels: "
	if s.events == 1 {
		noun = " level: "
	}
	title := strconv.Itoa(s.events) + noun + strings.Join(parts, ", ")
	if reason == ForQuiet || reason == ForBudget {
		return title
	}
	e := s.top[0]
	return fmt.Sprintf("%s (%s %s, %s)", title, e.Exchange, e.Interval, s.last.UTC().Format(minuteLayout))
}

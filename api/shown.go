package api

import (
	"fmt"
	"strconv"
	"strings"

	"tidemark/levels"
	"tidemark/service"
)

// Shown selects which levels of an analysis are shown. Analyses are stored with all levels
// of an edge of at least 0, at most levels.MaxSide a side, so that the selection is a
// matter of the reader and needs no other analysis.
type Shown struct {
	Edge  float64 // points; a level with less is faint, see levels.Level.Faint
	Faint bool    // faint ones are shown, too
	Least float64 // points; the least edge of a level that is shown
}

// has reports whether l is shown.
func (f *Shown) has(l *levels.Level) bool {
	return (f.Faint || !l.Faint(f.Edge)) && l.Edge >= float32(f.Least)
}

// Of returns the levels of list that are shown. It does not change list.
func (f *Shown) Of(list []levels.Level) []levels.Level {
	shown := make([]levels.Level, 0, len(list))
	for i := range list {
		if f.has(&list[i]) {
			shown = append(shown, list[i])
		}
	}
	return shown
}

// cut returns s with only the levels that are shown.
func (f *Shown) cut(s *service.Snapshot) *service.Snapshot {
	c := *s
	c.Supports, c.Resistances = f.Of(s.Supports), f.Of(s.Resistances)
	return &c
}

// Reason says why no level of a side of s is shown; it is empty if there is one.
func (f *Shown) Reason(s *service.Snapshot, role levels.Role) string {
	all := side(s, role)
	for i := range all {
		if f.has(&all[i]) {
			return ""
		}
	}
	if !(s.ATR > 0) {
		return "the price did not move"
	}
	least, where := f.Edge, "below"
	if f.Faint {
		least = f.Least
	}
	if role == levels.Resistance {
		where = "above"
	}
	least = max(least, f.Least)
	less := 0
	for i := range all {
		if float64(all[i].Edge) < least {
			less++
		}
	}
	text := "no level with an edge of at least " + points(least) + " within " + strconv.Itoa(levels.DrawDistance) + " ATR " + where + " the price"
	if less > 0 {
		text += "; " + counted(less, "has", "have") + " less"
	}
	if since := len(all) - less; since > 0 {
		text = "no drawn" + strings.TrimPrefix(text, "no") + "; " + counted(since, "has", "have") + " reached it since levels were last drawn"
	}
	return text
}

// counted returns a number of levels with the verb for it.
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 level " + one
	}
	return fmt.Sprintf("%d levels %s", n, many)
}

// points returns a number with its unit.
func points(n float64) string {
	text := strconv.FormatFloat(n, 'f', -1, 64)
	if n == 1 {
		return text + " point"
	}
	return text + " points"
}

// shown returns the selection of the parameters min_edge and faint. A least edge of the
// client's own replaces the configured one: then faint levels are shown unless faint is
// false.
func (q *query) shown(a *API) (f Shown, err error) {
	f.Edge = a.MinEdge
	given := false
	if f.Least, given, err = q.number("min_edge"); err != nil {
		return f, err
	}
	f.Faint = given
	if faint, said, err := q.boolean("faint"); err != nil {
		return f, err
	} else if said {
		f.Faint = faint
	}
	return f, nil
}

// unasked is the selection without parameters.
func (a *API) unasked() Shown { return Shown{Edge: a.MinEdge} }

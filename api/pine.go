package api

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// fullEdge is the edge, in points, of the strongest colour: few levels have more.
const fullEdge = 8

// appendPine appends a script for TradingView, in Pine version 6, that draws the zones
// of s that are shown over a chart: a box from the first touch on, and a label with price and odds.
// The script's name and the chart say if data is stale, simulated or missing, and if
// the chart is of another pair. The zones always fit: Pine keeps up to 500 boxes and
// labels of a script, and an analysis has at most twice levels.MaxSide. The language is
// that of the Pine Script v6 reference manual and user manual (Drawings: boxes, labels,
// tables).
func appendPine(b []byte, s *service.Snapshot, now time.Time, show Shown) []byte {
	asOf := s.AsOf.UTC().Format("2006-01-02 15:04 UTC")
	name := fmt.Sprintf("%s %s levels as of %s", s.Symbol, s.Interval, asOf)
	notes := []string{fmt.Sprintf("%s %s on %s, levels as of %s", s.Symbol, s.Interval, s.Exchange, asOf)}
	if reason := StaleReason(s, now); reason != "" {
		name = "STALE " + name
		notes = append(notes, "STALE: "+reason)
	}
	if s.Simulated {
		name = "SIMULATED " + name
		notes = append(notes, "SIMULATED: prices are invented or replayed, not those of a live market")
	}
	if s.Missing > 0 {
		notes = append(notes, fmt.Sprintf("%d of %d candles are missing", s.Missing, s.Missing+s.Klines))
	}
	if reason := oddsReason(s); reason != "" {
		notes = append(notes, "No odds: "+reason)
	}
	for _, role := range [...]levels.Role{levels.Support, levels.Resistance} {
		if reason := show.Reason(s, role); reason != "" {
			notes = append(notes, strings.ToUpper(reason[:1])+reason[1:])
		}
	}
	b = fmt.Appendf(b, `//@version=6
// Support and resistance found by tidemark, algorithm %s. The edge is how
// many points more often than any line it is expected to hold. "Holds" are the odds that price,
// once it is at the zone, turns there rather than runs through, within %d candles; "line"
// are those of any line at that distance.
indicator(%s, "tidemark", overlay = true, max_boxes_count = %[4]d, max_labels_count = %[4]d)

draw(float bottom, float top, int since, string words, color tint, int transparency) =>
    box.new(since, top, time, bottom, border_color = color.new(tint, 40), extend = extend.right, xloc = xloc.bar_time, bgcolor = color.new(tint, transparency))
    label.new(time, top, words, xloc = xloc.bar_time, color = color.new(tint, 100), style = label.style_label_lower_left, textcolor = tint, size = size.small)

var bool drawn = false
var table note = table.new(position.top_right, 1, 1)
if barstate.islast and not drawn
    drawn := true
    string other = syminfo.ticker == %[5]s or syminfo.ticker == %[5]s + ".P" ? "" : "\nThis chart is of " + syminfo.ticker + ": these are not its levels."
    table.cell(note, 0, 0, %[6]s + other, text_color = color.orange, text_size = size.small, text_halign = text.align_right)
`, pineText(s.Algorithm), levels.Horizon, pineString(name), 2*levels.MaxSide, pineString(s.Symbol), pineString(strings.Join(notes, "\n")))
	for _, role := range [...]levels.Role{levels.Support, levels.Resistance} {
		tint := "color.teal"
		if role == levels.Resistance {
			tint = "color.red"
		}
		for i := range side(s, role) {
			l := &side(s, role)[i]
			if !show.has(l) {
				continue
			}
			since := l.FirstTested
			if since == 0 {
				since = s.AsOf.UnixMilli()
			}
			words := fmt.Sprintf("%s %s, edge %.1f, %s", role, strconv.FormatFloat(l.Price, 'f', -1, 64), l.Edge, l.State)
			if l.Faint(show.Edge) {
				words = "faint " + words
			}
			if l.NoOdds == levels.OddsKnown {
				words += fmt.Sprintf(", holds %.0f %% (line %.0f %%)", 100*l.HoldProbability, 100*l.BaselineHold)
			}
			b = fmt.Appendf(b, "    draw(%s, %s, %d, %s, %s, %.0f)\n", pinePrice(l.Low), pinePrice(l.High), since, pineString(words), tint,
				90-50*min(max(float64(l.Edge)/fullEdge, 0), 1))
		}
	}
	return b
}

// pinePrice returns a price as a literal: digits and a point, without an exponent.
func pinePrice(f float64) string {
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if f == math.Trunc(f) {
		text += ".0"
	}
	return text
}

// pineString returns text as a string literal.
func pineString(text string) string { return `"` + pineText(text) + `"` }

// pineText returns text escaped for a string literal. Of control characters it keeps
// only the line feed.
func pineText(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r >= ' ' && r != 0x7f && r != '\u2028' && r != '\u2029':
			b.WriteRune(r)
		}
	}
	return b.String()
}

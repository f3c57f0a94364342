package command

import (
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"

	"tidemark/levels"
)

// screen is where a command prints its results: a terminal, or whatever its
// output was sent to, which gets neither colours nor a width to keep to.
type screen struct {
	io.Writer
	colours bool
	width   int // columns of the terminal; 0 if it is none
	height  int // its lines
}

// newScreen asks w what it is. Colours are for terminals only, and not for one
// that cannot show them (TERM=dumb) or whose owner does not want them: NO_COLOR,
// set to anything (no-color.org).
func newScreen(w io.Writer, environ []string) screen {
	s := screen{Writer: w}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return s
	}
	s.width, s.height = 80, 24 // of a terminal that does not know, such as a serial line
	if columns, lines, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 && lines > 0 {
		s.width, s.height = columns, lines
	}
	s.colours = !slices.Contains(environ, "TERM=dumb") && !slices.ContainsFunc(environ, func(line string) bool {
		value, ok := strings.CutPrefix(line, "NO_COLOR=")
		return ok && value != ""
	})
	return s
}

// colour is the number of a graphic rendition (ECMA-48, SGR). The plain sixteen
// are used: they follow the theme of the terminal, dark or light.
type colour string

const (
	uncoloured colour = ""
	bold       colour = "1"
	faint      colour = "2"
	red        colour = "31"
	green      colour = "32"
	yellow     colour = "33"
	warning    colour = "1;33"
)

// bright is c, easier to see.
func (c colour) bright() colour { return "1;" + c }

// sideColour is that of a level: resistances red, supports green, and bright what
// is expected to hold more often than any line at its distance even at the lower end
// of its interval.
func sideColour(role levels.Role, holdsAtLeast, anyLine float64) colour {
	c := green
	if role == levels.Resistance {
		c = red
	}
	if holdsAtLeast > anyLine {
		return c.bright()
	}
	return c
}

// paint gives text its colour, where there are colours.
func (s screen) paint(c colour, text string) string {
	if !s.colours || c == uncoloured || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// simulated is the mark before everything that was made from simulated prices.
func (s screen) simulated(simulated bool) string {
	return s.paint(warning, simulatedMark(simulated))
}

// row is one line of a table. A cell too many is not shown, one too few is empty.
type row struct {
	colour colour
	cells  []string
}

// columnWidths are those of a table's columns, with the gap before each.
func columnWidths(head []string, rows []row) []int {
	const gap = 2
	widths := make([]int, len(head))
	for i, h := range head {
		widths[i] = gap + utf8.RuneCountInString(h)
		for _, r := range rows {
			if i < len(r.cells) {
				widths[i] = max(widths[i], gap+utf8.RuneCountInString(r.cells[i]))
			}
		}
	}
	return widths
}

// columnsThatFit is how many of a table's columns, at least one, a screen so wide
// has room for side by side.
func columnsThatFit(head []string, rows []row, width int) int {
	widths := columnWidths(head, rows)
	n := 0
	for used := 0; n < len(widths) && (n == 0 || used+widths[n] <= width); n++ {
		used += widths[n]
	}
	return n
}

// table prints rows below a head, columns aligned to the right. One that is wider
// than the terminal is continued below itself, as many columns at a time as there
// is room for and the first column again before each, so that nothing is lost and
// no line is broken.
func (s screen) table(head []string, rows []row) error {
	widths := columnWidths(head, rows)
	var b strings.Builder
	line := func(r row, from, to int) {
		var text strings.Builder
		for i := range head {
			if i > 0 && (i < from || i >= to) {
				continue
			}
			cell := ""
			if i < len(r.cells) {
				cell = r.cells[i]
			}
			text.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
			text.WriteString(cell)
		}
		b.WriteString(s.paint(r.colour, text.String()))
		b.WriteByte('\n')
	}
	for from := 1; ; {
		to, width := from, widths[0]
		for to < len(head) && (s.width == 0 || to == from || width+widths[to] <= s.width) {
			width += widths[to]
			to++
		}
		if from > 1 {
			b.WriteByte('\n')
		}
		line(row{faint, head}, from, to)
		for _, r := range rows {
			line(r, from, to)
		}
		if from = to; from >= len(head) {
			break
		}
	}
	_, err := io.WriteString(s, b.String())
	return err
}

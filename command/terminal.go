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

// screen is the output of a command: a terminal, or a file or pipe, which has no colours
// and no width.
type screen struct {
	io.Writer
	colours bool
	width   int // columns; 0 if it is not a terminal
	height  int // lines
}

// newScreen returns a screen that writes to w. It has colours if w is a terminal, TERM is
// not dumb and NO_COLOR is empty (no-color.org).
func newScreen(w io.Writer, environ []string) screen {
	s := screen{Writer: w}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return s
	}
	s.width, s.height = 80, 24 // for a terminal without a known size, such as a serial line
	if columns, lines, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 && lines > 0 {
		s.width, s.height = columns, lines
	}
	s.colours = !slices.Contains(environ, "TERM=dumb") && !slices.ContainsFunc(environ, func(line string) bool {
		value, ok := strings.CutPrefix(line, "NO_COLOR=")
		return ok && value != ""
	})
	return s
}

// colour is the parameter of a graphic rendition (ECMA-48, SGR). Only the 16 basic
// colours are used: they follow the theme of the terminal.
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

// bright returns the bright variant of c.
func (c colour) bright() colour { return "1;" + c }

// sideColour returns the colour of a level: red for a resistance, green for a support. It
// is bright if the lower end of the interval of the hold odds exceeds the baseline.
func sideColour(role levels.Role, lowerBound, baseline float64) colour {
	c := green
	if role == levels.Resistance {
		c = red
	}
	if lowerBound > baseline {
		return c.bright()
	}
	return c
}

// paint returns text in colour c, if the screen has colours.
func (s screen) paint(c colour, text string) string {
	if !s.colours || c == uncoloured || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// simulated returns the coloured prefix of everything computed from simulated prices.
func (s screen) simulated(simulated bool) string {
	return s.paint(warning, simulatedMark(simulated))
}

// row is one line of a table. Extra cells are not shown, missing cells are empty.
type row struct {
	colour colour
	cells  []string
}

// columnWidths returns the widths of the columns of a table, including the gap before
// each.
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

// columnsThatFit returns the number of columns, at least one, that fit in width.
func columnsThatFit(head []string, rows []row, width int) int {
	widths := columnWidths(head, rows)
	n := 0
	for used := 0; n < len(widths) && (n == 0 || used+widths[n] <= width); n++ {
		used += widths[n]
	}
	return n
}

// table prints rows below a head, with columns aligned to the right. If the table is
// wider than the terminal, table prints it in several parts below each other. Each part
// begins with the first column.
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

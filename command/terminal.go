package command

import (
	"fmt"
	"io"
	"os"
	"regexp"
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
	width   int  // columns of the terminal; 0 if it is none
	height  int  // its lines
	picture bool // a table is cut to the width, not continued
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

// row is one line of a table or a list. A cell too many is not shown, one too few is
// empty. Cells may be painted themselves.
type row struct {
	colour colour // of the whole line
	cells  []string
}

// gap is the space between two columns.
const gap = 2

// escapes are the sequences that paint writes, which take no room on a screen.
var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

// textWidth is how many columns of a screen a cell takes.
func textWidth(cell string) int {
	return utf8.RuneCountInString(escapes.ReplaceAllString(cell, ""))
}

// columnWidths are those of so many columns.
func columnWidths(columns int, rows []row) []int {
	widths := make([]int, columns)
	for _, r := range rows {
		for i, cell := range r.cells[:min(len(r.cells), columns)] {
			widths[i] = max(widths[i], textWidth(cell))
		}
	}
	return widths
}

// list prints rows without a head, columns aligned to the left. The last one may be as
// long as it likes.
func (s screen) list(rows []row) error {
	columns := 0
	for _, r := range rows {
		columns = max(columns, len(r.cells))
	}
	widths := columnWidths(columns, rows)
	var b strings.Builder
	for _, r := range rows {
		var text strings.Builder
		for i, cell := range r.cells {
			text.WriteString(cell)
			if i < len(r.cells)-1 {
				text.WriteString(strings.Repeat(" ", gap+widths[i]-textWidth(cell)))
			}
		}
		b.WriteString(s.paint(r.colour, text.String()))
		b.WriteByte('\n')
	}
	_, err := io.WriteString(s, b.String())
	return err
}

// table prints rows below a head, columns aligned to the right. One that is wider
// than the terminal is continued below itself, as many columns at a time as there
// is room for and the first column again before each, so that nothing is lost and
// no line is broken; on a screen of one picture what there is no room for is left out.
func (s screen) table(head []string, rows []row) error {
	rows = slices.Insert(slices.Clone(rows), 0, row{faint, head})
	widths := columnWidths(len(head), rows)
	var b strings.Builder
	for from := 1; ; {
		to, width := from, gap+widths[0]
		for to < len(head) && (s.width == 0 || to == from && !s.picture || width+gap+widths[to] <= s.width) {
			width += gap + widths[to]
			to++
		}
		for _, r := range rows {
			var text strings.Builder
			for i := range head {
				if i > 0 && (i < from || i >= to) {
					continue
				}
				cell := ""
				if i < len(r.cells) {
					cell = r.cells[i]
				}
				text.WriteString(strings.Repeat(" ", gap+widths[i]-textWidth(cell)))
				text.WriteString(cell)
			}
			b.WriteString(s.paint(r.colour, text.String()))
			b.WriteByte('\n')
		}
		if from = to; from >= len(head) || s.picture {
			break
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(s, b.String())
	return err
}

// percent is a share in whole percent.
func percent(p float64) string { return fmt.Sprintf("%.0f %%", 100*p) }

// percents is an interval of shares in whole percent.
func percents(p [2]float64) string { return fmt.Sprintf("%.0f–%.0f %%", 100*p[0], 100*p[1]) }

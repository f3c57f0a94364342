package command

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/term"

	"tidemark/levels"
)

// screen is the output of a command: a terminal, or a file or pipe, which has no colours
// and no width.
type screen struct {
	io.Writer
	colours bool
	width   int  // columns; 0 if it is not a terminal
	height  int  // lines
	picture bool // a table is cut to the width, not continued
	words        // of its language
}

// newScreen returns a screen that writes to w. It has colours if w is a terminal, TERM is
// not dumb and NO_COLOR is empty (no-color.org).
func newScreen(w io.Writer, environ []string) screen {
	s := screen{Writer: w, words: wordsOf(environ)}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || !setSequences(f) {
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
	return s.paint(warning, s.simulatedMark(simulated))
}

// row is one line of a table or a list. Extra cells are not shown, missing cells are
// empty. Cells may be painted.
type row struct {
	colour colour // of the whole line
	cells  []string
}

// gap is the space between two columns.
const gap = 2

// escapes matches the sequences that paint writes, which have no width on a screen.
var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

// textWidth returns the columns of a screen that a cell takes.
func textWidth(cell string) (width int) {
	for _, r := range escapes.ReplaceAllString(cell, "") {
		width += runeWidth(r)
	}
	return width
}

// runeWidth returns the columns of a character: two for a Chinese one and its punctuation
// (Unicode, annex 11, classes W and F), one for others.
func runeWidth(r rune) int {
	if unicode.Is(unicode.Han, r) || r >= 0x3000 && r <= 0x303f || r >= 0xff01 && r <= 0xff60 {
		return 2
	}
	return 1
}

// cut returns the beginning of text, which has no colours, that is at most so many columns
// wide.
func cut(text string, width int) string {
	for i, r := range text {
		if width -= runeWidth(r); width < 0 {
			return text[:i]
		}
	}
	return text
}

// columnWidths returns the widths of the first columns of rows.
func columnWidths(columns int, rows []row) []int {
	widths := make([]int, columns)
	for _, r := range rows {
		for i, cell := range r.cells[:min(len(r.cells), columns)] {
			widths[i] = max(widths[i], textWidth(cell))
		}
	}
	return widths
}

// list prints rows without a head, with columns aligned to the left.
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

// table prints rows below a head, with columns aligned to the right. If the table is
// wider than the terminal, table prints it in several parts below each other, each
// beginning with the first column; on a screen of one picture it leaves out the columns
// that do not fit.
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

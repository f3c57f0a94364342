// Package chart draws the levels of a pair over its candles, once, as a list of
// rectangles and lines of text, which is then written as a file. All input is in its
// arguments: no clock, no I/O.
package chart

import (
	"cmp"
	"fmt"
	"image/color"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"tidemark/levels"
	"tidemark/service"
)

// The bounds of a picture: width and height in pixels, and its number of candles.
const (
	MinWidth, MaxWidth     = 480, 1600
	MinHeight, MaxHeight   = 270, 1000
	MinCandles, MaxCandles = 50, 1000
)

// Options are the options of a picture.
type Options struct {
	Light         bool    // dark on light; otherwise light on dark
	Width, Height int     // pixels
	MinEdge       float64 // points; levels that are faint by it are drawn pale
}

// Picture is the result of Draw. Later shapes cover earlier ones.
type Picture struct {
	width, height int
	ground        color.NRGBA
	title         string // a sentence that describes the picture to those who cannot see it
	shapes        []shape
}

// shape is a set of rectangles of one colour, or one line of text.
type shape struct {
	colour color.NRGBA
	rects  []rect // pixels; they do not overlap if the colour is not opaque

	text   string
	x, y   int // of the text's anchor, on the baseline
	size   int // em, pixels
	anchor anchor
	bold   bool
}

type rect struct{ x, y, w, h int }

type anchor uint8

const (
	start anchor = iota
	middle
	end
)

type theme struct{ background, grid, text, faint, up, down, support, resistance, mark, warning, last, lastText color.NRGBA }

// The colours of zones differ from those of candles, also for people who cannot tell
// red from green.
var (
	dark = theme{
		background: rgb(0x12161c), grid: rgb(0x222933), text: rgb(0xe4e8ee), faint: rgb(0x98a3b3),
		up: rgb(0x2fb5a0), down: rgb(0xee5f5b), support: rgb(0x4c9bff), resistance: rgb(0xffa630), mark: rgb(0xc792ff),
		warning: rgb(0xffcf5c), last: rgb(0xe4e8ee), lastText: rgb(0x12161c),
	}
	light = theme{
		background: rgb(0xffffff), grid: rgb(0xe8ebef), text: rgb(0x1b2430), faint: rgb(0x5b6675),
		up: rgb(0x0d8f7b), down: rgb(0xd43a3a), support: rgb(0x1f6fe0), resistance: rgb(0xe07b00), mark: rgb(0x8a2fc4),
		warning: rgb(0x9a5b00), last: rgb(0x1b2430), lastText: rgb(0xffffff),
	}
)

func rgb(v uint32) color.NRGBA {
	return color.NRGBA{R: uint8(v >> 16), G: uint8(v >> 8), B: uint8(v), A: 255}
}

// faded returns c with an opacity of 0 to 1.
func faded(c color.NRGBA, share float64) color.NRGBA {
	c.A = uint8(math.Round(255 * share))
	return c
}

// canvas is a picture in progress.
type canvas struct {
	Picture
	theme
	snap    *service.Snapshot
	marks   []levels.PriceMark
	minEdge float64
	candles *levels.Candles
	em      int  // text size
	plot    rect // candles and, to the right, the marks and then the labels of zones
	room    int  // width of those labels
	column  int  // width of the marks, 0 without any
	low     float64
	high    float64
	written []int // y of the labels of zones so far
}

// Draw draws the levels of s over at least one candle. The candles must end where the
// analysis does. Marks are drawn beside the levels; they do not change the scale. Stale is
// the reason why s is stale, empty if it is not. Notes are sentences without a full stop
// that are written below the legend.
func Draw(s *service.Snapshot, candles *levels.Candles, marks []levels.PriceMark, stale string, o Options, notes ...string) *Picture {
	c := &canvas{theme: dark, snap: s, marks: marks, minEdge: o.MinEdge, candles: candles, em: min(max(o.Width/80, 11), 18)}
	if o.Light {
		c.theme = light
	}
	c.width, c.height, c.ground = o.Width, o.Height, c.background
	c.title = fmt.Sprintf("Support and resistance of %s %s on %s as of %s", s.Symbol, s.Interval, s.Exchange, moment(s.AsOf))
	if s.Simulated {
		c.title += ", a SIMULATED market"
	}
	top := c.head(stale, notes)
	c.scale()
	c.lay(top)
	if s.Simulated {
		c.write("SIMULATED", faded(c.text, 0.07), c.plot.x+(c.plot.w-c.room-c.column)/2, c.plot.y+c.plot.h/2, min((c.plot.w-c.room-c.column)/7, c.plot.h/3), middle)
	}
	c.times()
	c.prices()
	c.zones()
	c.bars()
	c.ticksOfMarks()
	c.lastPrice()
	return &c.Picture
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

func (c *canvas) fill(colour color.NRGBA, r ...rect) {
	if len(r) > 0 {
		c.shapes = append(c.shapes, shape{colour: colour, rects: r})
	}
}

func (c *canvas) write(text string, colour color.NRGBA, x, y, size int, a anchor) {
	c.shapes = append(c.shapes, shape{colour: colour, text: text, x: x, y: y, size: size, anchor: a})
}

// wide estimates the width of a text in the fonts of viewers, in pixels.
func wide(text string, size int) int {
	sum := 0.0
	for _, r := range text {
		switch {
		case r == ' ' || r == '.' || r == ',' || r == ':' || r == 'i' || r == 'l' || r == '\'':
			sum += 0.29
		case r > 0x2e80: // Han and the like
			sum++
		case unicode.IsUpper(r) || r == 'm' || r == 'w' || r == '%':
			sum += 0.72
		default:
			sum += 0.57
		}
	}
	return int(math.Ceil(sum * float64(size)))
}

// lines breaks a text between words to fit a width.
func lines(text string, size, width int) []string {
	var out []string
	for word := range strings.FieldsSeq(text) {
		if n := len(out); n > 0 && wide(out[n-1]+" "+word, size) <= width {
			out[n-1] += " " + word
		} else {
			out = append(out, word)
		}
	}
	return out
}

// head writes the title and the warnings of the picture. It returns the y below them.
func (c *canvas) head(stale string, notes []string) int {
	s, margin := c.snap, c.em
	x, y := margin, margin+c.em+2
	large := c.em * 3 / 2
	c.write(s.Symbol, c.text, x, y, large, start)
	c.shapes[len(c.shapes)-1].bold = true
	x += wide(s.Symbol, large) + c.em
	c.write(string(s.Interval)+" · "+s.Exchange, c.text, x, y, c.em, start)
	x += wide(string(s.Interval)+" · "+s.Exchange, c.em)
	asOf := "as of " + moment(s.AsOf)
	step := c.em * 3 / 2
	if x+2*c.em+wide(asOf, c.em) > c.width-margin {
		y += step
	}
	c.write(asOf, c.text, c.width-margin, y, c.em, end)
	y += step
	c.legend(margin, y)
	if len(c.marks) > 0 {
		side := c.em * 3 / 4
		for i, line := range lines(marksNote, c.em, c.width-2*margin-side-c.em/2) {
			if y += step; i == 0 {
				c.fill(c.mark, rect{margin, y - c.em/3, side, 1})
			}
			c.write(line, c.faint, margin+side+c.em/2, y, c.em, start)
		}
	}
	for _, w := range c.warnings(stale) {
		for _, line := range lines(w, c.em, c.width-2*margin) {
			y += step
			c.write(line, c.warning, margin, y, c.em, start)
		}
	}
	for _, note := range notes {
		for _, line := range lines(strings.ToUpper(note[:1])+note[1:]+".", c.em, c.width-2*margin) {
			y += step
			c.write(line, c.faint, margin, y, c.em, start)
		}
	}
	return y + c.em
}

// legend explains the colours of the zones and their opacity.
func (c *canvas) legend(x, y int) {
	side := c.em * 3 / 4
	for _, of := range [...]struct {
		colour color.NRGBA
		name   string
	}{{c.resistance, "resistance"}, {c.support, "support"}} {
		c.fill(faded(of.colour, 0.8), rect{x, y - side, side, side})
		x += side + c.em/2
		c.write(of.name, c.faint, x, y, c.em, start)
		x += wide(of.name, c.em) + c.em
	}
	full, brief := "+4.4: the edge, points by which it holds more often than any line; the stronger the colour, the larger", "+4.4, colour: edge over any line"
	switch all := levelsOf(c.snap); {
	case len(all) == 0:
		full, brief = "no levels are drawn", "no levels are drawn"
	case all[0].NoOdds != levels.OddsKnown:
		full, brief = "the stronger the colour, the larger the edge; no odds", "colour: edge; no odds"
	}
	if slices.ContainsFunc(levelsOf(c.snap), func(l levels.Level) bool { return l.State == levels.Crossed }) {
		full, brief = full+"; dashed: broken", brief+"; dashed: broken"
	}
	if slices.ContainsFunc(levelsOf(c.snap), func(l levels.Level) bool { return c.pale(&l) }) {
		full, brief = full+"; pale: faint", brief+"; pale: faint"
	}
	words := full
	if x+wide(full, c.em) > c.width-c.em {
		words = brief
	}
	c.write(words, c.faint, x, y, c.em, start)
}

// marksNote says what marks are, and what is not claimed of them.
const marksNote = "marks: prices that many traders see, without odds; a high, low or close is that of the day, week or month before"

// warnings returns what a viewer must know about the picture.
func (c *canvas) warnings(stale string) (list []string) {
	s := c.snap
	if s.Simulated {
		list = append(list, "SIMULATED: prices are invented or replayed, not those of a live market.")
	}
	if stale != "" {
		list = append(list, "Stale: "+stale+".")
	}
	if here := c.candles.Missing(); here > 0 || s.Missing > 0 {
		list = append(list, fmt.Sprintf("Missing candles, which the exchange does not have: %d of the %d shown, %d of the %d analysed.",
			here, here+c.candles.Len(), s.Missing, s.Missing+s.Klines))
	}
	return list
}

func levelsOf(s *service.Snapshot) []levels.Level { return slices.Concat(s.Supports, s.Resistances) }

// scale computes the price range of the picture: all candles, the zones near them, and
// a margin.
func (c *canvas) scale() {
	k := c.candles
	c.low, c.high = slices.Min(k.Low), slices.Max(k.High)
	// a flat market still needs a range around its price
	least := max(3*c.snap.ATR, 1e-4*c.high)
	reach := max(0.25*(c.high-c.low), least)
	bottom, top := c.low-reach, c.high+reach
	for _, l := range levelsOf(c.snap) {
		if l.Low >= bottom && l.High <= top {
			c.low, c.high = min(c.low, l.Low), max(c.high, l.High)
		}
	}
	if lack := least - (c.high - c.low); lack > 0 {
		c.low, c.high = c.low-lack/2, c.high+lack/2
	}
	air := 0.03 * (c.high - c.low)
	c.low, c.high = c.low-air, c.high+air
}

// lay lays out the area below top.
func (c *canvas) lay(top int) {
	for _, l := range levelsOf(c.snap) {
		c.room = max(c.room, wide(c.label(&l), c.em)+c.em)
	}
	for i := range c.marks {
		c.column = max(c.column, c.tickLength()+wide(markName(&c.marks[i]), c.em-2)+c.em/2)
	}
	axis := wide(c.price(c.snap.LastPrice), c.em)
	for _, p := range c.ticks(c.height - top - 3*c.em) {
		axis = max(axis, wide(c.tick(p, c.height-top-3*c.em), c.em))
	}
	c.plot = rect{x: c.em, y: top, w: c.width - 2*c.em - axis - c.em/2, h: c.height - top - 2*c.em - c.em/2}
}

// y returns the y of a price.
func (c *canvas) y(price float64) int {
	at := (c.high - price) / (c.high - c.low)
	return c.plot.y + int(math.Round(min(max(at, 0), 1)*float64(c.plot.h)))
}

// pitch is the distance between candles, in pixels. Candles are placed by time, so
// missing candles leave a gap.
func (c *canvas) pitch() float64 {
	return float64(c.plot.w-c.room-c.column) / float64(c.candles.Len()+c.candles.Missing())
}

// x returns the x of the middle of the candle that opens at openTime, in Unix ms.
func (c *canvas) x(openTime int64) int {
	candles := float64(openTime-c.candles.OpenTime[0]) / float64(c.candles.Interval.Milliseconds())
	return c.plot.x + int((candles+0.5)*c.pitch())
}

// price formats a price with the decimals of the pair.
func (c *canvas) price(p float64) string { return short(p, c.snap.Decimals) }

// short formats a price. If the result is too long for an axis, it keeps six digits.
func short(p float64, decimals int) string {
	text := strconv.FormatFloat(p, 'f', max(decimals, 0), 64)
	if len(text) > 14 {
		text = strconv.FormatFloat(p, 'g', 6, 64)
	}
	return text
}

// step returns the distance between the lines of the price axis, which is 1, 2 or 5
// times a power of ten, and the decimals needed to distinguish them.
func (c *canvas) step(height int) (step float64, decimals int) {
	rough := (c.high - c.low) / float64(max(2, height/(3*c.em)))
	power := math.Floor(math.Log10(rough))
	for _, m := range [...]float64{1, 2, 5, 10} {
		if step = m * math.Pow(10, power); step >= rough {
			break
		}
	}
	return step, max(0, -int(math.Floor(math.Log10(step)+1e-9)))
}

func (c *canvas) ticks(height int) (list []float64) {
	step, _ := c.step(height)
	for p := math.Ceil(c.low/step) * step; p < c.high && len(list) < 40; p += step {
		list = append(list, p)
	}
	return list
}

func (c *canvas) tick(p float64, height int) string {
	_, decimals := c.step(height)
	return short(p, decimals)
}

// prices draws the price axis and the horizontal grid lines.
func (c *canvas) prices() {
	x := c.plot.x + c.plot.w
	last := c.y(c.snap.LastPrice)
	var across []rect
	for _, p := range c.ticks(c.plot.h) {
		y := c.y(p)
		across = append(across, rect{c.plot.x, y, c.plot.w, 1})
		if abs(y-last) > c.em*3/2 && y > c.plot.y+c.em/2 && y < c.plot.y+c.plot.h-c.em/2 { // otherwise the label of the last price is there
			c.write(c.tick(p, c.plot.h), c.faint, x+c.em/2, y+c.em/3, c.em, start)
		}
	}
	c.fill(c.grid, across...)
}

func abs(n int) int { return max(n, -n) }

// zones draws each level as a band with a line at its price, dashed if the level is
// broken, pale if it is faint. Of labels that would cover each other, that of the level
// with the largest edge is written; those of faint levels come last.
func (c *canvas) zones() {
	var above, below []*levels.Level
	var inside []*levels.Level
	for _, side := range [...][]levels.Level{c.snap.Supports, c.snap.Resistances} {
		for i := range side {
			switch l := &side[i]; {
			case l.Low < c.low:
				below = append(below, l)
			case l.High > c.high:
				above = append(above, l)
			default:
				inside = append(inside, l)
			}
		}
	}
	left, right := c.plot.x, c.plot.x+c.plot.w
	for _, l := range inside {
		top, bottom := c.y(l.High), c.y(l.Low)
		share := opacity(l)
		if c.pale(l) {
			share = 0.07
		}
		c.fill(faded(c.colour(l), share), rect{left, top, c.plot.w, max(bottom-top-1, 2)}) // one pixel less, to separate neighbours
	}
	slices.SortStableFunc(inside, func(a, b *levels.Level) int {
		switch p, q := c.pale(a), c.pale(b); {
		case p && !q:
			return 1
		case q && !p:
			return -1
		}
		return cmp.Compare(b.Edge, a.Edge)
	})
	for _, l := range inside {
		ink, share := c.text, 0.8
		if c.pale(l) {
			ink, share = c.faint, 0.4
		}
		y, to := c.y(l.Price), right
		if y >= c.plot.y+c.em/2 && y <= c.plot.y+c.plot.h-c.em/2 && !c.labelled(y) {
			c.written = append(c.written, y)
			c.write(c.label(l), ink, right-c.em/3, y+c.em/3, c.em-1, end)
		}
		if c.labelled(y) { // by this label or one beside it
			to -= c.room
		}
		line := []rect{{left, y, to - left, 1}}
		if l.State == levels.Crossed { // dashed
			line = line[:0]
			for x := left; x < to; x += 10 {
				line = append(line, rect{x, y, min(5, to-x), 1})
			}
		}
		c.fill(faded(c.colour(l), share), line...)
	}
	if note := c.elsewhere(above, below); note != "" {
		c.fill(faded(c.background, 0.8), rect{left, c.plot.y + c.plot.h - c.em*3/2, wide(note, c.em), c.em * 3 / 2})
		c.write(note, c.faint, c.plot.x+c.em/3, c.plot.y+c.plot.h-c.em/2, c.em-1, start)
	}
}

// ticksOfMarks draws each mark of the prices shown as a short tick between the candles and
// the labels of zones, where it covers none of those. Of names that would cover each other,
// that of the rarest mark is written.
func (c *canvas) ticksOfMarks() {
	left := c.plot.x + c.plot.w - c.room - c.column
	var inside []*levels.PriceMark
	var ticks []rect
	for i := range c.marks {
		if m := &c.marks[i]; m.Price > c.low && m.Price < c.high {
			inside = append(inside, m)
			ticks = append(ticks, rect{left, c.y(m.Price), c.tickLength(), 1})
		}
	}
	slices.SortStableFunc(inside, func(a, b *levels.PriceMark) int { return cmp.Compare(rarity(a.Kind), rarity(b.Kind)) })
	var written []int
	size := c.em - 2
	for _, m := range inside {
		y, x := c.y(m.Price), left+c.tickLength()+c.em/4
		if y < c.plot.y+size/2 || y > c.plot.y+c.plot.h-size/2 || slices.ContainsFunc(written, func(other int) bool { return abs(y-other) < size }) {
			continue
		}
		written = append(written, y)
		name := markName(m)
		c.fill(faded(c.background, 0.8), rect{x - 1, y - size/2, wide(name, size) + 1, size})
		c.write(name, c.mark, x, y+size/3, size, start)
	}
	c.fill(c.mark, ticks...)
}

// tickLength is the length of the tick of a mark, in pixels.
func (c *canvas) tickLength() int { return c.em }

// rarity orders marks: tops and bottoms first, then months, weeks, days and round numbers.
func rarity(k levels.PriceMarkKind) int {
	switch k {
	case levels.EqualHighs, levels.EqualLows:
		return 0
	case levels.MonthHigh, levels.MonthLow, levels.MonthOpen:
		return 1
	case levels.WeekHigh, levels.WeekLow, levels.WeekClose, levels.WeekOpen:
		return 2
	case levels.RoundNumber:
		return 4
	}
	return 3
}

// markName is the name of a mark in a picture, such as day high or double top.
func markName(m *levels.PriceMark) string {
	if m.Count > 0 {
		return strings.ToLower(m.Label())
	}
	return strings.ReplaceAll(m.Kind.String(), "_", " ")
}

// colour returns the colour of the side of a level.
func (c *canvas) colour(l *levels.Level) color.NRGBA {
	if l.Role == levels.Resistance {
		return c.resistance
	}
	return c.support
}

// pale reports whether a level is drawn as a faint one.
func (c *canvas) pale(l *levels.Level) bool { return c.minEdge > 0 && l.Faint(c.minEdge) }

// labelled reports whether a zone has a label at y.
func (c *canvas) labelled(y int) bool {
	return slices.ContainsFunc(c.written, func(other int) bool { return abs(y-other) < c.em })
}

// fullEdge is the edge, in points, of the strongest colour: few levels have more.
const fullEdge = 8

// opacity returns the opacity of a zone, from its edge.
func opacity(l *levels.Level) float64 {
	return 0.10 + 0.40*min(max(float64(l.Edge)/fullEdge, 0), 1)
}

// label returns the price of a level and its edge. Odds say nothing without those of any line.
func (c *canvas) label(l *levels.Level) string {
	text := c.price(l.Price)
	if l.NoOdds == levels.OddsKnown {
		text += fmt.Sprintf("  %+.1f", l.Edge)
	}
	return text
}

// elsewhere describes the levels outside the picture, each list from the nearest on.
func (c *canvas) elsewhere(above, below []*levels.Level) string {
	var parts []string
	if len(above) > 0 {
		parts = append(parts, fmt.Sprintf("%d above, from %s", len(above), c.price(above[0].Price)))
	}
	if len(below) > 0 {
		parts = append(parts, fmt.Sprintf("%d below, from %s", len(below), c.price(below[0].Price)))
	}
	if len(parts) == 0 {
		return ""
	}
	return "further levels: " + strings.Join(parts, "; ")
}

// bars draws the candles: a body and a wick, or only the range if they are too dense.
func (c *canvas) bars() {
	k := c.candles
	width := int(0.7 * c.pitch())
	if width%2 == 0 { // the wick needs a middle
		width--
	}
	var up, down []rect
	for i := range k.Len() {
		list := &up
		if k.Close[i] < k.Open[i] {
			list = &down
		}
		x, top := c.x(k.OpenTime[i]), c.y(k.High[i])
		*list = append(*list, rect{x, top, 1, max(1, c.y(k.Low[i])-top)})
		if width >= 3 {
			top = c.y(max(k.Open[i], k.Close[i]))
			*list = append(*list, rect{x - width/2, top, width, max(1, c.y(min(k.Open[i], k.Close[i]))-top)})
		}
	}
	c.fill(c.up, up...)
	c.fill(c.down, down...)
}

// lastPrice draws the last close as a dotted line with a label on the axis.
func (c *canvas) lastPrice() {
	y, x := c.y(c.snap.LastPrice), c.plot.x+c.plot.w
	to := x
	if c.labelled(y) {
		to -= c.room
	}
	var dots []rect
	for at := c.plot.x; at < to; at += 4 {
		dots = append(dots, rect{at, y, 2, 1})
	}
	c.fill(faded(c.last, 0.7), dots...)
	c.fill(c.last, rect{x, y - c.em*3/4, c.width - x, c.em*3/2 + 1})
	c.write(c.price(c.snap.LastPrice), c.lastText, x+c.em/2, y+c.em/3+1, c.em, start)
}

// The distances between the lines of the time axis: in hours below a month, then in
// months.
var (
	hourSteps  = [...]float64{1. / 60, 2. / 60, 5. / 60, 10. / 60, 15. / 60, 0.5, 1, 2, 3, 4, 6, 12, 24, 48, 96, 168, 336}
	monthSteps = [...]int{1, 2, 3, 6, 12, 24, 60, 120}
)

// times draws the time axis, in UTC, and the vertical grid lines.
func (c *canvas) times() {
	k := c.candles
	first, last := k.OpenTime[0], k.OpenTime[k.Len()-1]
	foot := c.plot.y + c.plot.h + c.em + c.em/3
	hour := c.pitch() * float64(time.Hour.Milliseconds()) / float64(k.Interval.Milliseconds()) // pixels
	least := float64(6 * c.em)
	var up []rect
	line := func(t time.Time, layout string) {
		x := c.x(t.UnixMilli())
		up = append(up, rect{x, c.plot.y, 1, c.plot.h})
		if text := t.Format(layout); x-wide(text, c.em)/2 >= 0 {
			c.write(text, c.faint, x, foot, c.em, middle)
		}
	}
	i := slices.IndexFunc(hourSteps[:], func(h float64) bool { return h*hour >= least })
	if i >= 0 {
		step := int64(math.Round(hourSteps[i] * 3600e3))
		const monday = 4 * 24 * 3600e3 // 1970-01-05
		for t := (first-monday+step-1)/step*step + monday; t <= last; t += step {
			at := time.UnixMilli(t).UTC()
			if at.Hour() == 0 && at.Minute() == 0 {
				line(at, "Jan 2")
			} else {
				line(at, "15:04")
			}
		}
	} else {
		months := monthSteps[len(monthSteps)-1]
		for _, m := range monthSteps {
			if float64(m)*30*24*hour >= least {
				months = m
				break
			}
		}
		begin := time.UnixMilli(first).UTC()
		for t := time.Date(begin.Year()/10*10, 1, 1, 0, 0, 0, 0, time.UTC); t.UnixMilli() <= last; t = t.AddDate(0, months, 0) {
			switch {
			case t.UnixMilli() < first:
			case t.Month() == 1:
				line(t, "2006")
			default:
				line(t, "Jan 2006")
			}
		}
	}
	c.fill(c.grid, up...)
	c.write("UTC", c.faint, c.plot.x+c.plot.w+c.em/2, foot, c.em, start)
}

package evaluate

import (
	"bufio"
	_ "embed"
	"fmt"
	"html"
	"io"
	"math"
	"strconv"
	"strings"
)

//go:embed report.css
var style string

// HTML writes the report as one self-contained page: no script, no font, no request.
// It does not use a template engine, which would double the report's share of the
// program's size.
func (r *Report) HTML(w io.Writer) error {
	p := &page{bufio.NewWriter(w)}
	title := "Do levels hold? " + r.title()
	p.put(`<!doctype html><html lang="en"><head><meta charset="utf-8"/>`,
		`<meta name="viewport" content="width=device-width, initial-scale=1"/>`,
		`<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"/>`,
		`<title>`, html.EscapeString(title), `</title><style>`, style, `</style></head><body><main>`)
	if r.Simulated {
		p.put(`<p class="simulated">SIMULATED: these prices are invented, and the results say nothing about a real market</p>`)
	}
	p.put(`<h1>Do levels hold?</h1><p>`, html.EscapeString(r.title()), `</p><p class="fine">`, html.EscapeString(r.scope()), `</p>`)
	if len(r.Failures) > 0 {
		p.put(`<h2>Pairs that could not be read</h2><ul>`)
		for _, f := range r.Failures {
			p.put(`<li><b>`, html.EscapeString(f.Symbol), `</b> `, html.EscapeString(f.Detail), `</li>`)
		}
		p.put(`</ul>`)
	}
	p.put(`<h2>Lift over chance</h2><p class="fine">In points: hold rate of the decided levels minus that of artificial ones at the same moments and sides. `,
		`Bars are 95 % intervals over blocks of calendar time. <b class="all">Above</b>: at any of the method's distances. `,
		`<b class="neighbour">Below</b>: within one ATR of the level's distance, over the neighbours of the price.</p>`)
	p.put(`<div class="scroll">`)
	p.lifts(r.MethodsFound)
	p.put(`</div>`)
	p.put(`<h2>Reliability</h2><p class="fine">Promised against observed, in ten bins of equal size; on the dashed line they are equal. `,
		`For a method without odds, only the <b class="yardstick">reference</b> is drawn: the touch odds of a walk without drift, on its levels.</p><div class="plots">`)
	for i := range r.MethodsFound {
		p.reliability(&r.MethodsFound[i], i == 0)
	}
	p.put(`</div>`)
	for _, t := range r.tables() {
		p.table(t)
	}
	p.put(`<h2>Methods</h2><dl>`)
	for _, m := range r.MethodsFound {
		p.put(`<dt>`, html.EscapeString(m.Name), `</dt><dd>`, html.EscapeString(m.About), `</dd>`)
	}
	p.put(`</dl><p class="fine">`, html.EscapeString(r.caution()), `</p></main></body></html>`, "\n")
	return p.Flush()
}

// page is HTML being written; Flush returns errors.
type page struct{ *bufio.Writer }

// put writes parts, which must be escaped.
func (p *page) put(parts ...string) {
	for _, s := range parts {
		p.WriteString(s)
	}
}

func (p *page) table(t table) {
	p.put(`<h2>`, html.EscapeString(first(t.caption)), `</h2><p class="fine">`, html.EscapeString(t.caption), `</p><div class="scroll"><table><thead><tr>`)
	for _, h := range t.head {
		p.put(`<th scope="col">`, html.EscapeString(h), `</th>`)
	}
	p.put(`</tr></thead><tbody>`)
	for _, row := range t.rows {
		p.put(`<tr>`)
		for _, cell := range row {
			p.put(`<td>`, html.EscapeString(cell), `</td>`)
		}
		p.put(`</tr>`)
	}
	p.put(`</tbody></table></div>`)
}

func (p *page) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(p, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, class, x1, y1, x2, y2)
}

func (p *page) text(anchor string, x, y float64, text string) {
	fmt.Fprintf(p, `<text text-anchor="%s" x="%.1f" y="%.1f">%s</text>`, anchor, x, y, html.EscapeString(text))
}

// first returns the caption up to its colon.
func first(caption string) string {
	head, _, _ := strings.Cut(caption, ":")
	return head
}

// lifts draws each method's lift with its interval.
func (p *page) lifts(methods []MethodReport) {
	const left, right, row, top = 110.0, 20.0, 44.0, 10.0
	const width = 760.0
	reach := 0.01
	for _, m := range methods {
		for _, e := range [...]Estimate{m.Lift, m.NeighbourLift} {
			for _, v := range [...]Figure{e.Value, e.Low, e.High} {
				if !math.IsNaN(float64(v)) {
					reach = max(reach, math.Abs(float64(v)))
				}
			}
		}
	}
	step := niceStep(reach / 4)
	reach = math.Ceil(reach/step) * step
	x := func(v float64) float64 { return left + (v+reach)/(2*reach)*(width-left-right) }
	bottom := top + row*float64(len(methods))
	fmt.Fprintf(p, `<svg class="lifts" viewBox="0 0 %.0f %.0f" role="img" aria-label="lift of each method with its interval; the table below has the figures">`, width, bottom+34)
	for k := -int(math.Round(reach / step)); float64(k)*step <= reach+step/2; k++ {
		v := float64(k) * step
		class := "grid"
		if k == 0 {
			class = "zero"
		}
		p.line(class, x(v), top, x(v), bottom)
		p.text("middle", x(v), bottom+20, strconv.FormatFloat(math.Round(1e4*v)/100, 'f', -1, 64))
	}
	for i, m := range methods {
		y := top + row*(float64(i)+0.5)
		p.text("end", left-12, y+4, m.Name)
		for k, e := range [...]Estimate{m.Lift, m.NeighbourLift} {
			if math.IsNaN(float64(e.Value)) {
				continue
			}
			class, at := [...]string{"all", "neighbour"}[k], y-7+14*float64(k)
			if !math.IsNaN(float64(e.Low)) {
				p.line(class, x(float64(e.Low)), at, x(float64(e.High)), at)
			}
			fmt.Fprintf(p, `<circle class="%s" cx="%.1f" cy="%.1f" r="4.5"><title>%s</title></circle>`, class, x(float64(e.Value)), at, html.EscapeString(m.Name+" "+e.points()))
		}
	}
	p.put(`</svg>`)
}

// niceStep returns the least of 1, 2 and 5 times a power of ten that is at least v.
func niceStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, k := range [...]float64{1, 2, 5} {
		if k*power >= v {
			return k * power
		}
	}
	return 10 * power
}

// reliability draws the odds of a method against outcomes. For a method without touch
// odds it draws those of the reference if wanted.
func (p *page) reliability(m *MethodReport, wanted bool) {
	switch {
	case m.TouchOdds != nil:
		p.plot(m.Name+": touches", m.TouchOdds, m.Reflection)
	case wanted && m.Reflection != nil:
		p.plot(m.Name+": touches", nil, m.Reflection)
	}
	if m.HoldOdds != nil {
		p.plot(m.Name+": holds", m.HoldOdds, nil)
	}
}

func (p *page) plot(title string, odds, yardstick *Odds) {
	const size, left, top, bottom = 280.0, 48.0, 30.0, 44.0
	low, high := 1.0, 0.0
	for _, o := range [...]*Odds{odds, yardstick} {
		if o != nil {
			for _, b := range o.Bins {
				low, high = min(low, float64(b.Promised), float64(b.Observed)), max(high, float64(b.Promised), float64(b.Observed))
			}
		}
	}
	low, high = math.Floor(10*low)/10, math.Ceil(10*high)/10
	if high-low < 0.1 {
		high = low + 0.1
	}
	x := func(v float64) float64 { return left + (v-low)/(high-low)*size }
	y := func(v float64) float64 { return top + (high-v)/(high-low)*size }
	fmt.Fprintf(p, `<svg viewBox="0 0 %.0f %.0f" role="img" aria-label="%s, promised against observed; the tables have the figures">`, left+size+14, top+size+bottom, html.EscapeString(title))
	fmt.Fprintf(p, `<text class="title" x="%.1f" y="18">%s</text>`, left, html.EscapeString(title))
	step := niceStep((high - low) / 5)
	for k := math.Ceil(low/step - 1e-9); k*step <= high+1e-9; k++ {
		v := k * step
		label := strconv.FormatFloat(math.Round(1000*v)/10, 'f', -1, 64)
		p.line("grid", x(v), y(low), x(v), y(high))
		p.line("grid", x(low), y(v), x(high), y(v))
		p.text("middle", x(v), y(low)+16, label)
		p.text("end", left-6, y(v)+4, label)
	}
	p.line("true", x(low), y(low), x(high), y(high))
	p.text("middle", left+size/2, top+size+36, "promised, %; observed upwards")
	for k, o := range [...]*Odds{yardstick, odds} {
		if o == nil {
			continue
		}
		class := [...]string{"yardstick", "all"}[k]
		var points strings.Builder
		for _, b := range o.Bins {
			fmt.Fprintf(&points, "%.1f,%.1f ", x(float64(b.Promised)), y(float64(b.Observed)))
		}
		fmt.Fprintf(p, `<polyline class="%s" points="%s"/>`, class, strings.TrimSpace(points.String()))
		for _, b := range o.Bins {
			fmt.Fprintf(p, `<circle class="%s" cx="%.1f" cy="%.1f" r="3.5"><title>%s promised, %s observed, %d levels</title></circle>`,
				class, x(float64(b.Promised)), y(float64(b.Observed)), b.Promised.percent(1), b.Observed.percent(1), b.Levels)
		}
	}
	p.put(`</svg>`)
}

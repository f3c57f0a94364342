package chart

import (
	"fmt"
	"html"
	"image/color"
	"strconv"
)

// AppendSVG appends p as an SVG document. It has no script, style or external
// reference.
func (p *Picture) AppendSVG(b []byte) []byte {
	b = fmt.Appendf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img" font-family="Helvetica,Arial,sans-serif">`, p.width, p.height)
	b = fmt.Appendf(b, "\n<title>%s</title>\n", html.EscapeString(p.title))
	b = fmt.Appendf(b, `<rect width="%d" height="%d"%s/>`, p.width, p.height, paint(p.ground))
	for i := range p.shapes {
		s := &p.shapes[i]
		b = append(b, '\n')
		if s.text != "" {
			b = fmt.Appendf(b, `<text x="%d" y="%d" font-size="%d"%s%s`, s.x, s.y, s.size, [...]string{start: "", middle: ` text-anchor="middle"`, end: ` text-anchor="end"`}[s.anchor], paint(s.colour))
			if s.bold {
				b = append(b, ` font-weight="bold"`...)
			}
			b = fmt.Appendf(b, ` xml:space="preserve">%s</text>`, html.EscapeString(s.text))
			continue
		}
		b = append(b, `<path`...)
		b = append(b, paint(s.colour)...)
		b = append(b, ` shape-rendering="crispEdges" d="`...)
		for _, r := range s.rects {
			b = strconv.AppendInt(append(b, 'M'), int64(r.x), 10)
			b = strconv.AppendInt(append(b, ' '), int64(r.y), 10)
			b = strconv.AppendInt(append(b, 'h'), int64(r.w), 10)
			b = strconv.AppendInt(append(b, 'v'), int64(r.h), 10)
			b = strconv.AppendInt(append(b, 'h'), -int64(r.w), 10)
			b = append(b, 'z')
		}
		b = append(b, `"/>`...)
	}
	return append(b, "\n</svg>\n"...)
}

func paint(c color.NRGBA) string {
	fill := fmt.Sprintf(` fill="#%02x%02x%02x"`, c.R, c.G, c.B)
	if c.A == 255 {
		return fill
	}
	return fill + ` fill-opacity="` + strconv.FormatFloat(float64(c.A)/255, 'f', 2, 64) + `"`
}

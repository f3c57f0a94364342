// Pins that the PNG is the same picture as the SVG: the size asked for, the colours
// of zones, candles and the last price where they lie, text where it is written, and
// no seam between the strips it is made of.
package chart

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"testing"

	"tidemark/levels"
)

func decoded(t *testing.T, p *Picture) image.Image {
	t.Helper()
	var b bytes.Buffer
	if err := p.WritePNG(&b); err != nil {
		t.Fatal(err)
	}
	m, err := png.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// over is what one colour gives over another, each component within 2.
func over(m image.Image, x, y int, top, bottom color.NRGBA) bool {
	r, g, b, _ := m.At(x, y).RGBA()
	near := func(got uint32, top, bottom, alpha uint8) bool {
		share := float64(alpha) / 255
		return math.Abs(float64(got>>8)-share*float64(top)-(1-share)*float64(bottom)) <= 2
	}
	return near(r, top.R, bottom.R, top.A) && near(g, top.G, bottom.G, top.A) && near(b, top.B, bottom.B, top.A)
}

func TestPNG_HasTheColoursWhereTheThingsLie(t *testing.T) {
	for _, o := range []Options{{Width: 640, Height: 360}, {Width: MinWidth, Height: MinHeight, Light: true}, {Width: 1600, Height: 1000}} {
		s, c := market(t, 60, 64000)
		p := Draw(s, c, nil, "", o)
		m := decoded(t, p)
		if m.Bounds() != image.Rect(0, 0, o.Width, o.Height) {
			t.Fatalf("%+v: the picture is %v", o, m.Bounds())
		}
		look := dark
		if o.Light {
			look = light
		}
		if !over(m, 1, 1, look.background, look.background) {
			t.Errorf("%+v: the background is %v", o, m.At(1, 1))
		}
		bands := 0
		for _, sh := range p.shapes {
			if len(sh.rects) == 1 && (sh.colour.B == look.support.B || sh.colour.B == look.resistance.B) && sh.colour.A < 200 {
				bands++
				r := sh.rects[0]
				// between the candles and the label, above the line
				if x := r.x + r.w - 3; !over(m, x, r.y, sh.colour, look.background) && !over(m, x, r.y+1, sh.colour, look.background) {
					t.Errorf("%+v: the zone at %+v is %v", o, r, m.At(x, r.y))
				}
				if x := r.x + r.w - 3; over(m, x, r.y-2, sh.colour, look.background) {
					t.Errorf("%+v: above the zone at %+v it is %v as well", o, r, m.At(x, r.y-2))
				}
			}
			if sh.colour == look.up {
				if r := sh.rects[0]; !over(m, r.x, r.y, sh.colour, look.background) {
					t.Errorf("%+v: the first candle is %v", o, m.At(r.x, r.y))
				}
			}
		}
		if bands != 4 {
			t.Errorf("%+v: %d bands", o, bands)
		}
	}
}

// The title is one line across two strips, if strips begin at its middle.
func TestPNG_WritesTextAndHasNoSeams(t *testing.T) {
	p := &Picture{width: 300, height: 3 * stripRows, ground: dark.background, shapes: []shape{
		{colour: dark.text, text: "HHH", x: 10, y: stripRows + 10, size: 40},
		{colour: faded(dark.support, 0.5), rects: []rect{{200, 3, 50, 3*stripRows - 6}}},
	}}
	m := decoded(t, p)
	ink := func(y int) (n int) {
		for x := range 150 {
			if over(m, x, y, dark.text, dark.text) {
				n++
			}
		}
		return n
	}
	if ink(stripRows-8) == 0 || ink(stripRows+8) != ink(stripRows-8) {
		t.Errorf("%d pixels of ink above the seam and %d below", ink(stripRows-8), ink(stripRows+8))
	}
	if ink(stripRows+12) != 0 {
		t.Errorf("%d pixels of ink below the line", ink(stripRows+12))
	}
	for y := range 3 * stripRows {
		if in := y >= 3 && y < 3*stripRows-3; over(m, 225, y, faded(dark.support, 0.5), dark.background) != in {
			t.Errorf("row %d is %v", y, m.At(225, y))
		}
	}
}

// The largest picture: api.pngBytes rests on what it allocates.
func BenchmarkPNG(b *testing.B) {
	s, c := market(b, MaxCandles, 64000)
	b.ReportAllocs()
	for b.Loop() {
		if err := Draw(s, c, levels.Marks(c), "", Options{Width: MaxWidth, Height: MaxHeight}).WritePNG(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

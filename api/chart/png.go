package chart

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"sync"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
)

// stripRows is the number of rows of a picture rendered at once.
const stripRows = 32

// WritePNG writes p as a PNG. It renders the picture in strips as the encoder needs
// them, so at most stripRows rows of pixels are in memory. Letters outside the Go font
// (which has Latin, Greek and Cyrillic) become boxes.
func (p *Picture) WritePNG(w io.Writer) error {
	s := strips{p: p, faces: map[int]font.Face{}}
	defer s.close()
	for _, sh := range p.shapes { // here, since At cannot return an error
		if sh.text == "" || s.faces[sh.size] != nil {
			continue
		}
		f, err := regular()
		if err != nil {
			return fmt.Errorf("the font: %w", err)
		}
		if s.faces[sh.size], err = opentype.NewFace(f, &opentype.FaceOptions{Size: float64(sh.size), DPI: 72}); err != nil {
			return fmt.Errorf("the font at %d pixels: %w", sh.size, err)
		}
	}
	return (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(w, &s)
}

// regular is the Go font, parsed from the bytes in the binary.
var regular = sync.OnceValues(func() (*sfnt.Font, error) { return opentype.Parse(goregular.TTF) })

// strips is a picture as an image for the encoder, which reads it from the top down.
type strips struct {
	p     *Picture
	faces map[int]font.Face // by size
	strip *image.RGBA       // the current rows; nil before the first
	pixel color.RGBA        // the last pixel; returning a pointer to it avoids an allocation
}

func (s *strips) ColorModel() color.Model { return color.RGBAModel }
func (s *strips) Bounds() image.Rectangle { return image.Rect(0, 0, s.p.width, s.p.height) }

// Opaque makes the encoder write three bytes for each pixel.
func (s *strips) Opaque() bool { return true }

func (s *strips) At(x, y int) color.Color {
	if s.strip == nil || y < s.strip.Rect.Min.Y || y >= s.strip.Rect.Max.Y {
		s.draw(y / stripRows * stripRows)
	}
	s.pixel = s.strip.RGBAAt(x, y)
	return &s.pixel
}

// draw draws the strip that begins at row y.
func (s *strips) draw(y int) {
	if s.strip == nil {
		s.strip = image.NewRGBA(image.Rect(0, 0, s.p.width, stripRows))
	}
	s.strip.Rect = image.Rect(0, y, s.p.width, y+stripRows)
	draw.Draw(s.strip, s.strip.Rect, image.NewUniform(s.p.ground), image.Point{}, draw.Src)
	for i := range s.p.shapes {
		sh := &s.p.shapes[i]
		ink := image.NewUniform(sh.colour)
		for _, r := range sh.rects {
			if r.y < y+stripRows && r.y+r.h > y {
				draw.Draw(s.strip, image.Rect(r.x, r.y, r.x+r.w, r.y+r.h), ink, image.Point{}, draw.Over)
			}
		}
		// no part of a line is farther than its size from the baseline
		if sh.text != "" && sh.y-sh.size < y+stripRows && sh.y+sh.size > y {
			s.write(sh, ink)
		}
	}
}

// write draws a line of text. Bold text is drawn twice, most of a pixel apart.
func (s *strips) write(sh *shape, ink image.Image) {
	d := font.Drawer{Dst: s.strip, Src: ink, Face: s.faces[sh.size]}
	x := fixed.I(sh.x) - d.MeasureString(sh.text)*fixed.Int26_6(sh.anchor)/2
	d.Dot = fixed.Point26_6{X: x, Y: fixed.I(sh.y)}
	d.DrawString(sh.text)
	if sh.bold {
		d.Dot = fixed.Point26_6{X: x + 48, Y: fixed.I(sh.y)}
		d.DrawString(sh.text)
	}
}

func (s *strips) close() {
	for _, f := range s.faces {
		f.Close() // never fails
	}
}

package api

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"time"

	"tidemark/api/chart"
	"tidemark/levels"
	"tidemark/service"
)

// The picture without parameters.
const (
	chartWidth, chartHeight = 1000, 560 // pixels
	chartCandles            = 168       // one horizon of the odds
)

// The memory for drawing the largest picture, without its candles: the allocations of
// BenchmarkSVG and BenchmarkPNG, with the reply.
const svgBytes, pngBytes = 384 << 10, 2 << 20

// pictureBytes is the memory of the largest picture while it is sent.
const pictureBytes = 256 << 10

// picture identifies the content and the look of a picture.
type picture struct {
	asOf, computedAt int64 // Unix ms
	chart.Options
	candles int
	show    Shown
	marks   bool
	png     bool // else SVG
}

var (
	contentSVG = []string{"image/svg+xml"}
	contentPNG = []string{"image/png"}
	// a picture opened as a page may load and run nothing
	pictureSecurity = []string{"default-src 'none'"}
)

// getSVG serves GET /levels/{symbol}/chart.svg.
func (a *API) getSVG(w *reply, r *http.Request) error { return a.getChart(w, r, false) }

// getPNG serves GET /levels/{symbol}/chart.png.
func (a *API) getPNG(w *reply, r *http.Request) error { return a.getChart(w, r, true) }

// getChart sends a picture, from the cache if possible. It reads the stored analysis
// first, so a picture never shows an older one.
func (a *API) getChart(w *reply, r *http.Request, png bool) error {
	q, err := parseQuery(r.URL.RawQuery, "interval", "exchange", "theme", "width", "height", "candles", "min_edge", "faint", "marks")
	if err != nil {
		return err
	}
	var key cacheKey
	p := &key.picture
	p.png = png
	if key.Key, _, err = a.series(&q, w, r); err != nil {
		return err
	}
	theme, err := q.oneOf("theme", "dark", "light")
	if err != nil {
		return err
	}
	p.Light = theme == "light"
	if p.Width, err = q.integer("width", chart.MinWidth, chart.MaxWidth, chartWidth); err != nil {
		return err
	}
	if p.Height, err = q.integer("height", chart.MinHeight, chart.MaxHeight, chartHeight); err != nil {
		return err
	}
	if p.candles, err = q.integer("candles", chart.MinCandles, chart.MaxCandles, chartCandles); err != nil {
		return err
	}
	if p.show, err = q.shown(a); err != nil {
		return err
	}
	p.MinEdge, p.marks = a.MinEdge, true
	if marks, said, err := q.boolean("marks"); err != nil {
		return err
	} else if said {
		p.marks = marks
	}
	ctx, cancel := context.WithTimeout(r.Context(), slotTimeout)
	defer cancel()
	w.wait(r)
	if err := a.hold(ctx, w, pictureBytes); err != nil {
		return err
	}
	s, err := a.Store.Snapshot(ctx, key.Key, time.Time{})
	if err != nil {
		return err
	}
	p.asOf, p.computedAt = s.AsOf.UnixMilli(), s.ComputedAt.UnixMilli()
	now := a.clock(s.Exchange, w.start)
	e, generation := a.cache.get(key, now, 0)
	if e == nil {
		a.metrics.misses.Inc()
		if e, err = a.draw(ctx, key, &s, now); err != nil {
			return err
		}
		a.cache.put(e, generation)
	} else {
		a.metrics.hits.Inc()
	}
	w.deadline(writeTimeout)
	w.Header()["Content-Security-Policy"] = pictureSecurity
	return e.send(w, r, noCache)
}

// draw draws a picture of s, one at a time, on a slot admitted with the memory for
// drawing.
func (a *API) draw(ctx context.Context, key cacheKey, s *service.Snapshot, now time.Time) (*cached, error) {
	select {
	case a.drawing <- struct{}{}:
		defer func() { <-a.drawing }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	memory, contentType := int64(svgBytes), contentSVG
	if key.picture.png {
		memory, contentType = pngBytes, contentPNG
	}
	var notes []string
	for _, role := range [...]levels.Role{levels.Support, levels.Resistance} {
		if reason := key.picture.show.Reason(s, role); reason != "" {
			notes = append(notes, reason)
		}
	}
	drawn := key.picture.show.cut(s)
	var b []byte
	paint := func(c *levels.Candles, marks []levels.PriceMark) error {
		p := chart.Draw(drawn, c, marks, StaleReason(s, now), key.picture.Options, notes...)
		if !key.picture.png {
			b = p.AppendSVG(nil)
			return nil
		}
		var out bytes.Buffer
		err := p.WritePNG(&out)
		b = out.Bytes()
		return err
	}
	err := service.ErrNotKept
	if key.picture.marks { // the month before the present one is in candles that are not drawn
		err = a.Analyzer.Recall(ctx, s, s.Klines, memory, func(c *levels.Candles) error {
			marks := levels.Marks(c)
			last := c.Slice(max(0, c.Len()-key.picture.candles), c.Len())
			return paint(&last, marks)
		})
	}
	if errors.Is(err, service.ErrNotKept) { // a picture without marks needs fewer candles
		if key.picture.marks {
			notes = append(notes, "no marks: not all candles of the analysis are stored any more")
		}
		err = a.Analyzer.Recall(ctx, s, key.picture.candles, memory, func(c *levels.Candles) error { return paint(c, nil) })
	}
	if err != nil {
		return nil, err
	}
	return newCached(key, b, contentType, s, now), nil
}

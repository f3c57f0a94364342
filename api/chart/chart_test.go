// Pins what a picture shows: the golden SVG of a small market, zones and candles
// where their prices are, axes that can be read at every scale, and in words what
// must be known of it.
package chart

import (
	"encoding/xml"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

var update = flag.Bool("update", false, "write the golden pictures anew")

var asOf = time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)

// market is an analysis of n hourly candles of a market that swings around a price,
// with two supports and two resistances, and those candles.
func market(t testing.TB, n int, price float64) (*service.Snapshot, *levels.Candles) {
	t.Helper()
	c := &levels.Candles{}
	c.Reset("1h", n)
	at := func(i int) float64 {
		x := float64(i)
		return price * (1 + 0.02*math.Sin(x/17) + 0.01*math.Sin(x/5.3) + 0.004*math.Sin(x*1.7))
	}
	for i := range n {
		k := levels.Candle{OpenTime: asOf.Add(time.Duration(i-n) * time.Hour).UnixMilli(), Open: at(i), Close: at(i + 1), Volume: 1}
		k.High, k.Low = max(k.Open, k.Close)*1.002, min(k.Open, k.Close)*0.998
		if err := c.Append(k); err != nil {
			t.Fatal(err)
		}
	}
	decimals := max(0, 5-int(math.Ceil(math.Log10(price))))
	last := c.Close[n-1]
	level := func(role levels.Role, state levels.State, off, hold float64) levels.Level {
		p := last * (1 + off)
		return levels.Level{Role: role, Record: levels.Record{State: state}, Price: p, Low: p * 0.9985, High: p * 1.0015, Edge: float32(100 * (hold - 0.45)), HoldProbability: float32(hold), Samples: 100}
	}
	return &service.Snapshot{
		Key: service.Key{Exchange: "binance", Symbol: "BTCUSDT", Interval: "1h"}, AsOf: asOf, LastPrice: last, ATR: 0.006 * price,
		Klines: n, Decimals: decimals,
		Supports:    []levels.Level{level(levels.Support, levels.Stood, -0.008, 0.53), level(levels.Support, levels.Reclaimed, -0.019, 0.45)},
		Resistances: []levels.Level{level(levels.Resistance, levels.Crossed, 0.007, 0.41), level(levels.Resistance, levels.Untested, 0.02, 0.49)},
	}, c
}

var small = Options{Width: 640, Height: 360}

// texts are the lines of text of a picture.
func texts(p *Picture) (list []string) {
	for _, s := range p.shapes {
		if s.text != "" {
			list = append(list, s.text)
		}
	}
	return list
}

func TestSVG_OfASmallMarketIsTheGoldenOne(t *testing.T) {
	s, c := market(t, 60, 64000)
	got := Draw(s, c, nil, "", small).AppendSVG(nil)
	if *update {
		if err := os.WriteFile("testdata/small.svg", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/small.svg")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the picture has changed; look at it, and run with -update if it is as it should be\n%s", got)
	}
}

func TestSVG_IsWellFormedAndEscaped(t *testing.T) {
	s, c := market(t, 60, 64000)
	s.Symbol, s.Exchange = `<A&"B>`, "]]>"
	for d := xml.NewDecoder(strings.NewReader(string(Draw(s, c, nil, "a < b & c", small).AppendSVG(nil)))); ; {
		token, err := d.Token()
		if token == nil && err.Error() == "EOF" {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, is := token.(xml.StartElement); is && !slices.Contains([]string{"svg", "title", "rect", "path", "text"}, e.Name.Local) {
			t.Errorf("there is an element %s", e.Name.Local)
		}
	}
}

func TestDraw_SaysInWordsWhatMustBeKnown(t *testing.T) {
	s, c := market(t, 80, 64000)
	plain := strings.Join(texts(Draw(s, c, nil, "", small)), "|")
	for _, want := range []string{"BTCUSDT", "1h · binance", "as of 2026-11-22 19:00 UTC", "UTC", "  +8.0", "+4.4, colour: edge over any line", "dashed: broken", fmt.Sprintf("%.0f", s.LastPrice)} {
		if !strings.Contains(plain, want) {
			t.Errorf("%q is not in %s", want, plain)
		}
	}
	for _, not := range []string{"SIMULATED", "Stale", "Missing", "further"} {
		if strings.Contains(plain, not) {
			t.Errorf("%q is in %s", not, plain)
		}
	}
	s.Simulated, s.Missing = true, 5
	for i := range s.Supports {
		s.Supports[i].NoOdds, s.Resistances[i].NoOdds = levels.UnknownInterval, levels.UnknownInterval
	}
	s.Supports[1].Price, s.Supports[1].Low, s.Supports[1].High = 100, 99, 101
	holes := &levels.Candles{}
	holes.Reset("1h", 80)
	for i := range c.Len() {
		if i < 40 || i >= 43 {
			if err := holes.Append(c.At(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	all := strings.Join(texts(Draw(s, holes, nil, "newer 1h candles have closed", Options{Width: 1000, Height: 500})), "|")
	for _, want := range []string{"SIMULATED: prices are invented or replayed, not those of a live market.", "|SIMULATED|", "Stale: newer 1h candles have closed.", "3 of the 80 shown, 5 of the 85 analysed", "the larger the edge; no odds", "further levels: 1 below, from 100"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in %s", want, all)
		}
	}
	s.Supports, s.Resistances = nil, nil
	none := strings.Join(texts(Draw(s, c, nil, "", Options{Width: 1000, Height: 500}, "no level with an edge of 3 points below the price")), "|")
	for _, want := range []string{"no levels are drawn", "No level with an edge of 3 points below the price."} {
		if !strings.Contains(none, want) {
			t.Errorf("%q is not in %s", want, none)
		}
	}
}

// What is drawn lies in the picture, and the axes have lines enough and labels
// that differ, whatever the prices, the size and the number of candles.
func TestDraw_FitsAtEveryScale(t *testing.T) {
	for _, price := range []float64{3e-9, 0.00001234, 0.98, 64000, 4.2e11} {
		for _, n := range []int{1, 2, 50, 1000} {
			for _, o := range []Options{{Width: MinWidth, Height: MinHeight}, {Width: MaxWidth, Height: MaxHeight}, {Width: MinWidth, Height: MaxHeight, Light: true}} {
				s, c := market(t, n, price)
				if n == 50 { // a flat market
					for i := range n {
						c.Open[i], c.High[i], c.Low[i], c.Close[i] = price, price, price, price
					}
					s.LastPrice, s.ATR, s.Supports, s.Resistances = price, 0, nil, nil
				}
				s.Simulated, s.Missing = true, 3
				p := Draw(s, c, levels.Marks(c), "newer 1h candles have closed since 2026-11-22T19:00:00Z; the next analysis was due by 2026-11-22T21:00:00Z", o)
				labels := map[string]int{}
				for _, sh := range p.shapes {
					for _, r := range sh.rects {
						if r.x < 0 || r.y < 0 || r.w < 1 || r.h < 1 || r.x+r.w > o.Width || r.y+r.h > o.Height {
							t.Fatalf("%v, %d candles, %+v: %+v is out of the picture", price, n, o, r)
						}
					}
					left := sh.x - int(sh.anchor)*wide(sh.text, sh.size)/2
					if sh.text != "" && (left < 0 || left+wide(sh.text, sh.size) > o.Width || sh.y > o.Height || sh.y < sh.size/2) {
						t.Errorf("%v, %d candles, %+v: %q is out of the picture", price, n, o, sh.text)
					}
					if sh.text != "" && sh.colour == light.faint || sh.colour == dark.faint {
						labels[sh.text]++
					}
				}
				for text, times := range labels {
					if times > 1 && !strings.Contains(text, ":") && text != "Jan 2" {
						t.Errorf("%v, %d candles, %+v: %q is there %d times", price, n, o, text, times)
					}
				}
				if len(labels) < 4 {
					t.Errorf("%v, %d candles, %+v: only the labels %v", price, n, o, labels)
				}
			}
		}
	}
}

func TestDraw_ZonesAndCandlesAreWhereTheirPricesAre(t *testing.T) {
	s, c := market(t, 60, 64000)
	p := Draw(s, c, nil, "", small)
	// bands are as high above one another as their prices are
	find := func(colour uint8, of float64) (r rect) {
		for _, sh := range p.shapes {
			if len(sh.rects) == 1 && sh.colour.B == colour && sh.colour.A == uint8(math.Round(255*of)) {
				r = sh.rects[0]
			}
		}
		if r.h == 0 {
			t.Fatalf("no band of opacity %v", of)
		}
		return r
	}
	near, far := find(dark.support.B, opacity(&s.Supports[0])), find(dark.support.B, opacity(&s.Supports[1]))
	above := find(dark.resistance.B, opacity(&s.Resistances[1]))
	perPixel := (s.Resistances[1].High - s.Supports[1].High) / float64(far.y-above.y)
	if got, want := float64(near.y-above.y)*perPixel, s.Resistances[1].High-s.Supports[0].High; math.Abs(got-want) > 2*perPixel {
		t.Errorf("the near support lies %v below the far resistance, want %v", got, want)
	}
	// the highest candle is at the same scale
	var top rect
	for _, sh := range p.shapes {
		if sh.colour == dark.up {
			for _, r := range sh.rects {
				if top.h == 0 || r.y < top.y {
					top = r
				}
			}
		}
	}
	if got, want := float64(top.y-above.y)*perPixel, s.Resistances[1].High-slices.Max(c.High); math.Abs(got-want) > 2*perPixel {
		t.Errorf("the highest candle lies %v below the far resistance, want %v", got, want)
	}
}

func TestDraw_TheLargerTheEdgeTheStronger(t *testing.T) {
	weak, strong := levels.Level{Edge: 3}, levels.Level{Edge: 5}
	if !(opacity(&weak) < opacity(&strong)) {
		t.Errorf("%v, %v", opacity(&weak), opacity(&strong))
	}
}

// Marks are ticks of their own colour, shorter than any line of a level, in a column
// where there are no labels of levels; what is written of levels is as without them.
func TestDraw_MarksAreNoLevels(t *testing.T) {
	s, c := market(t, 60, 64000)
	near := s.Supports[0].Price
	marks := []levels.PriceMark{
		{Kind: levels.DayLow, Price: near},
		{Kind: levels.EqualLows, Price: near, Count: 3},
		{Kind: levels.RoundNumber, Price: s.Resistances[0].Price},
		{Kind: levels.MonthHigh, Price: 2 * s.LastPrice},
	}
	for _, o := range []Options{small, {Width: MinWidth, Height: MinHeight}, {Width: MaxWidth, Height: MaxHeight, Light: true}} {
		without, with := Draw(s, c, nil, "", o), Draw(s, c, marks, "", o)
		ink := dark.mark
		if o.Light {
			ink = light.mark
		}
		var names []string
		var labels []shape
		for _, sh := range with.shapes {
			switch {
			case sh.text != "" && sh.colour == ink:
				names = append(names, sh.text)
			case strings.Contains(sh.text, "  ") && strings.Contains(sh.text, "  +"):
				labels = append(labels, sh)
			}
		}
		if want := []string{"triple bottom", "round"}; !slices.Equal(names, want) {
			t.Errorf("%+v: the marks %q are named, want %q", o, names, want)
		}
		for _, text := range texts(without) {
			if strings.Contains(text, "  +") && !slices.Contains(texts(with), text) {
				t.Errorf("%+v: with marks %q is not written", o, text)
			}
			if strings.Contains(text, "marks") {
				t.Errorf("%+v: without marks it says %q", o, text)
			}
		}
		if all := strings.Join(texts(with), " "); !strings.Contains(all, "marks: prices that many traders see, without odds") {
			t.Errorf("%+v: the legend is %s", o, all)
		}
		ticks := 0
		for _, sh := range with.shapes {
			right := 0
			if sh.colour == ink {
				for _, r := range sh.rects {
					right = r.x + r.w
					if r.h != 1 || r.w > o.Width/20 {
						t.Errorf("%+v: a tick is %+v", o, r)
					}
					ticks++
				}
				if sh.text != "" {
					right = sh.x + wide(sh.text, sh.size)
				}
			}
			for _, l := range labels {
				if left := l.x - wide(l.text, l.size); right > left && len(sh.rects) != 1 {
					t.Errorf("%+v: a mark reaches to %d, the label %q begins at %d", o, right, l.text, left)
				}
			}
		}
		if ticks != 4 || len(labels) == 0 { // with that of the legend
			t.Errorf("%+v: %d ticks, want 4", o, ticks)
		}
	}
}

// Of two overlapping labels, only that of the level with the larger edge is drawn; a faint
// level never takes the place of a solid one. The legend explains faint levels.
func TestDraw_LabelsTheLevelsWithTheLargestEdge(t *testing.T) {
	s, c := market(t, 60, 64000)
	near := s.Supports[1]
	near.Edge, near.DrawnEdge = 5.5, 5.5
	near.Price, near.Low, near.High = near.Price+20, near.Low+20, near.High+20
	s.Supports[1].Edge, s.Supports[1].DrawnEdge = 6, 1
	s.Supports = append(s.Supports, near)
	o := small
	for least, want := range map[float64]string{0: "+6.0", 3: "+5.5"} {
		o.MinEdge = least
		all := strings.Join(texts(Draw(s, c, nil, "", o)), "|")
		if strings.Contains(all, "+6.0") == strings.Contains(all, "+5.5") || !strings.Contains(all, want) || strings.Contains(all, "pale: faint") != (least > 0) {
			t.Errorf("with a least edge of %v: %s, want the label %s", least, all, want)
		}
	}
}

func TestLines_BreakBetweenWords(t *testing.T) {
	if got := lines("one two three four", 10, wide("one two", 10)); !slices.Equal(got, []string{"one two", "three", "four"}) {
		t.Errorf("%q", got)
	}
}

// The largest picture: api.PictureBytes rests on what it allocates.
func BenchmarkSVG(b *testing.B) {
	s, c := market(b, MaxCandles, 64000)
	b.ReportAllocs()
	for b.Loop() {
		Draw(s, c, levels.Marks(c), "", Options{Width: MaxWidth, Height: MaxHeight}).AppendSVG(nil)
	}
}

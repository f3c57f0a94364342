// This file measures what a level of 4h is worth to a level of 1h beside it:
//
//	go test ./levels/evaluate -run TestConfluence -v -timeout 2h -measure DIR,DIR

package evaluate

import (
	"context"
	"flag"
	"math"
	"slices"
	"strings"
	"testing"

	"tidemark/levels"
)

var measured = flag.String("measure", "", "folders of 1h candle files, separated by commas, to measure confluence on")

// besideATR is how far from each other levels of two intervals may be and count as one,
// in ATR of the shorter: as in GET /levels/{symbol}?interval=1h,4h.
const besideATR = 0.25

// longer is the candles of 4h, as many as an analysis uses, in candles of 1h.
const longer = 4 * 2000

// merged sets dst to the candles of 4h that c has whole: a bucket that began before the
// first candle, or is not over at the close of the last, is left out, as nobody knew it then.
func merged(dst, c *levels.Candles) {
	const length = 4 * hour
	dst.Reset("4h", c.Len()/4+1)
	for i := 0; i < c.Len(); {
		bucket := c.OpenTime[i] / length
		k := c.At(i)
		k.OpenTime = bucket * length
		from := i
		for i++; i < c.Len() && c.OpenTime[i]/length == bucket; i++ {
			k.High, k.Low = max(k.High, c.High[i]), min(k.Low, c.Low[i])
			k.Close, k.Volume = c.Close[i], k.Volume+c.Volume[i]
		}
		if whole := c.OpenTime[from] == k.OpenTime || from > 0; whole && (bucket+1)*length <= c.AsOf() {
			if err := dst.Append(k); err != nil {
				panic(err)
			}
		}
	}
}

// beside is the best levels of 1h on either side, as judged for tidemark itself, with
// only those that have a level of 4h beside them, or have none. faint includes levels of
// 4h that are not drawn.
func beside(name string, with, faint bool) Method {
	return Method{Name: name, New: func() Find {
		short, long := newOurs(nil), levels.Finder{Faint: faint}
		var found []Price
		var four levels.Candles
		return func(dst []Price, c *levels.Candles) []Price {
			known := c.Slice(max(0, c.Len()-longer/4), c.Len())
			found = short(found[:0], &known)
			merged(&four, c)
			a, err := long.Find(&four)
			if err != nil {
				return dst
			}
			m := levels.MomentOf(&known)
			for role := range levels.Role(sides) {
				for _, p := range strongest(found, m, role) {
					near := func(l levels.Level) bool { return math.Abs(l.Price-p.Price) <= besideATR*m.ATR }
					if with == (slices.ContainsFunc(a.Supports, near) || slices.ContainsFunc(a.Resistances, near)) {
						dst = append(dst, p)
					}
				}
			}
			return dst
		}
	}}
}

// The candles of 4h that a moment knows are the closed ones: later hours change none of
// them, and the last bucket is there from its last hour on.
func TestConfluence_KnowsNoLaterHour(t *testing.T) {
	all := walk(3, 400, false)
	var whole, known levels.Candles
	merged(&whole, all)
	for end := 1; end <= all.Len(); end++ {
		c := all.Slice(0, end)
		merged(&known, &c)
		for i := range known.Len() {
			if known.At(i) != whole.At(i) {
				t.Fatalf("%d hours: candle %d is %v, later %v", end, i, known.At(i), whole.At(i))
			}
		}
		if n := known.Len(); n > 0 && known.AsOf() != c.AsOf()/(4*hour)*(4*hour) {
			t.Fatalf("%d hours: the last candle closed at %d, the hours at %d", end, known.AsOf(), c.AsOf())
		}
	}
}

// The levels with a level of 4h beside them and those without are all that are judged.
func TestConfluence(t *testing.T) {
	computes(t)
	ours := Method{Name: "all", New: func() Find {
		find := newOurs(nil)
		return func(dst []Price, c *levels.Candles) []Price {
			known := c.Slice(max(0, c.Len()-longer/4), c.Len())
			return find(dst, &known)
		}
	}}
	o := options(ours, beside("with", true, false), beside("without", false, false), beside("with, faint too", true, true), beside("without, faint too", false, true))
	o.Klines = longer
	var series []Series
	if *measured == "" {
		for seed := range uint64(2) {
			series = append(series, market(seed+1, longer+20*(levels.Horizon+1), true))
		}
	} else {
		for dir := range strings.SplitSeq(*measured, ",") {
			files, err := Folder(dir, "1h")
			if err != nil {
				t.Fatal(err)
			}
			series = append(series, files...)
		}
	}
	pairs := observe(context.Background(), series, &o)
	blocks, moments, read := map[uint16]bool{}, 0, 0
	for i := range pairs {
		if pairs[i].err != nil {
			t.Log("left out: ", pairs[i].err)
			continue
		}
		if len(pairs[i].moments) > 0 {
			read++
		}
		moments += len(pairs[i].moments)
		for _, m := range pairs[i].moments {
			blocks[blockOf(m, o.Interval)] = true
		}
	}
	if pairs = slices.DeleteFunc(pairs, func(p pairFindings) bool { return len(p.moments) == 0 }); len(pairs) == 0 {
		t.Fatal("no moment")
	}
	t.Logf("%d files, %d moments, %d blocks", read, moments, len(blocks))
	found := make([]summary, len(o.Methods))
	for i, m := range o.Methods {
		found[i] = describe(m, i, pairs, blocks, moments, o.Seed)
		f := &found[i]
		t.Logf("%-18s %6d levels, %.2f ATR away, %6d decided, %.1f %% held, controls %.1f %%, lift %s, over its neighbours %s",
			m.Name, f.Levels, f.MedianDistance, f.Decided, 100*f.Held, 100*f.ControlHeld, f.Lift.points(), f.NeighbourLift.points())
		if f.Repainted > 0 {
			t.Errorf("%s: %d of %d moments changed once later candles were seen", m.Name, f.Repainted, f.Asked)
		}
	}
	for i := 1; i < len(found); i += 2 {
		with, without := &found[i], &found[i+1]
		if with.Levels+without.Levels != found[0].Levels {
			t.Errorf("%s: %d levels and %d without are not the %d of all", with.Name, with.Levels, without.Levels, found[0].Levels)
		}
		difference := func(figure func(*sums) float64) Estimate {
			k := -1 // the samples of both are of the same blocks
			return estimate(&with.all, with.samples, func(own *sums) float64 {
				other := &without.all
				if k >= 0 {
					other = &without.samples[k]
				}
				k++
				return figure(own) - figure(other)
			})
		}
		t.Logf("%s less without: lift %s, over its neighbours %s", with.Name, difference((*sums).lift).points(), difference((*sums).neighbourLift).points())
	}
}

package levels

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// ErrNoLevel is wrapped by Explain for an ID without a level.
var ErrNoLevel = errors.New("no such level")

// Explanation describes why a level is there and where its odds come from.
type Explanation struct {
	Level     Level
	AsOf      int64   // close time of the last candle, exclusive, Unix ms
	LastPrice float64 // its close
	ATR       float64 // as in Analysis; price units
	Candles   int
	Missing   int

	Tests   []Test   // Level.Tests of them, oldest first
	Touches []Touch  // Level.Touches of them, oldest first
	Found   []Source // one for each of Level.Sources, in their order
	// Factors explain the difference between Level.HoldProbability and
	// Level.BaselineHold: their effects add up to it. The greatest effect is first.
	// A level without odds has no factors.
	Factors []Factor
}

// Test is an approach of price to a level, judged as a level is.
type Test struct {
	From, To int64 // Unix ms: open time of the candle that reaches the touch line, close time (exclusive) of the one that settles it, or of the last one
	// Above reports whether price came from above.
	Above   bool
	Outcome Outcome
	Extreme float64 // the price farthest from the side it came from, before the outcome
}

// Touch is an episode: a run of candles that meet the zone of a level. See Level.
type Touch struct {
	From, To int64 // Unix ms: open time of its first candle, close time (exclusive) of its last
	// Above reports whether price came from above: whether the previous close was
	// above the price of the level.
	Above bool
	// Outcome is the result of the touch: whether price was back by one ATR from
	// the edge of the zone that it reached, before it was through by one. It is that
	// of Moment.Judge with this edge as the touch line, at the close before the touch
	// and with the ATR at that close. Pending means not decided yet. The touch at the
	// most prominent swing of a level held in 135 of 143 measured cases, because a
	// swing is where price turned: it says little about the next one.
	Outcome Outcome
	Extreme float64 // the price farthest from the side it came from
	Candles int     // that meet the zone
}

// Source is the contribution of one method to a level.
type Source struct {
	Method Sources // one of them
	// Weight is its share, 0 to 1, in the place of the zone. The point of control
	// has none; its weight is counted as a volume node.
	Weight float64
	Count  int // findings in the zone; for SourceEnds highs, lows and closes
	// Marks are the findings, by price; empty for ends, which are too many.
	Marks []Mark
}

// Mark is one finding of a method.
type Mark struct {
	Kind       MarkKind
	Price      float64
	Time       int64   // of a swing: open time of its candle, Unix ms; else 0
	Prominence float64 // of a swing: how far price moved away on either side, ATR; else 0
	// Share is the volume at the price as a share of that at the busiest price, 0
	// to 1; 0 for a swing.
	Share float64
}

// MarkKind is the kind of a mark.
type MarkKind uint8

// The kinds of marks.
const (
	SwingHigh MarkKind = iota
	SwingLow
	PointOfControl
	ValueAreaEdge
	VolumeNode
)

func (k MarkKind) String() string {
	return [...]string{"swing_high", "swing_low", "poc", "value_area_edge", "volume_node"}[k]
}

// Factor is one reason for the odds of a level.
type Factor struct {
	Name  string
	Value float64
	Unit  string // of Value
	// Effect is the change of the hold probability, in points: hundredths of a
	// probability. See Explain.
	Effect float64
	Text   string // the value in an English sentence
}

// Explain analyses c, as Find does, and explains the level id. The result does not
// belong to the Finder. If c has no level with this ID, Explain returns ErrNoLevel;
// other errors are those of Find.
//
// Effects are Shapley values (Shapley 1953; as explanations of a model Štrumbelj
// and Kononenko 2014, Lundberg and Lee 2017), exact and not sampled: the odds are a
// sum of trees of two comparisons, so each tree is a game of at most two players.
// The value of a tree without a factor is the mean over all zones of these candles
// that could have become levels ("interventional": Janzing, Minorics, Blöbaum
// 2020). So the factor "zones" compares the mean of those zones with any line at
// their distance, and every other factor compares this level with them. Effects
// describe how the odds are computed, not what causes a level to hold.
func (f *Finder) Explain(c *Candles, id uint64) (Explanation, error) {
	a, err := f.Find(c)
	if err != nil {
		return Explanation{}, err
	}
	all := slices.Concat(a.Supports, a.Resistances)
	k := slices.IndexFunc(all, func(l Level) bool { return l.ID == id })
	if k < 0 {
		return Explanation{}, fmt.Errorf("%w: %016x among the %d of these candles", ErrNoLevel, id, len(all))
	}
	e := Explanation{
		Level: all[k], AsOf: a.AsOf, LastPrice: a.LastPrice, ATR: a.ATR, Candles: a.Candles, Missing: a.Missing,
	}
	// On each side prices of zones are distinct, and a level has the price of its zone.
	n := &f.chosen[slices.IndexFunc(f.chosen, func(n zone) bool { return n.price == e.Level.Price })]
	e.Tests = tests(n.price, c, f.atrs)
	e.Touches = n.episodes(c)
	e.Found = f.found(n, c)
	if e.Level.NoOdds == OddsKnown {
		advance(f.drawn, c, drawn(c))
		fit, _ := f.table().For(c.Interval)
		e.Factors = f.factors(&e.Level, n, e.Found, fit)
	}
	return e, nil
}

// RecordNote says in a sentence how both can be true if the level held less often than any
// line at its distance is expected to, or has odds of holding that are no better than those
// of any line, although its edge is positive; else it is empty.
func (l *Level) RecordNote() string {
	if l.NoOdds != OddsKnown || !(l.Edge > 0) {
		return ""
	}
	var notes []string
	if note := l.heldNote(); note != "" {
		notes = append(notes, note)
	}
	if l.HoldProbability <= l.BaselineHold {
		notes = append(notes, fmt.Sprintf("its odds of holding are %.1f %%, no better than the %.1f %% of any line, and it has an edge of %.1f points: the edge is about its place, and the odds also weigh the moment, which is against it",
			100*l.HoldProbability, 100*l.BaselineHold, l.Edge))
	}
	return strings.Join(notes, "; ")
}

func (l *Level) heldNote() string {
	decided := int(l.Held) + int(l.Broke)
	if decided == 0 || float64(l.Held) >= float64(l.BaselineHold)*float64(decided) {
		return ""
	}
	return fmt.Sprintf("it held %d of %s, less often than any line, and has an edge of %.1f points: both can be true, because the edge is what became of many levels in places like this one, and the record of a single price does not say how its next test ends",
		l.Held, plural(decided, "test"), l.Edge)
}

// EntriesNote says in a sentence why tests and entries into the zone are two numbers.
func (e *Explanation) EntriesNote() string {
	return fmt.Sprintf("price entered the zone %s since it formed; tests are another count, in all candles: approaches to within a quarter of an ATR after price had left by an ATR", plural(len(e.Touches), "time"))
}

// FoundByNote says in a sentence which of the methods count in FoundBy, and why the others
// do not.
func (l *Level) FoundByNote() string {
	if names := l.FoundBy().AppendNames(nil); len(names) > 0 {
		return "found by " + strings.Join(names, " and ") + "; other methods find as much at random prices"
	}
	return "not found by any method that distinguishes it from random prices: those have as many swings and ends of candles"
}

// tests returns the tests of the level at price, oldest first.
func tests(price float64, c *Candles, atr []float64) (list []Test) {
	t := trials{c: c, atr: atr, price: price}
	for x, ok := t.next(); ok; x, ok = t.next() {
		extreme := slices.Max(c.High[x.start : x.end+1])
		if x.above {
			extreme = slices.Min(c.Low[x.start : x.end+1])
		}
		list = append(list, Test{c.OpenTime[x.start], c.OpenTime[x.end] + c.length, x.above, x.outcome, extreme})
	}
	return list
}

// episodes follows price through the zone, as track does, and returns the touches.
func (n *zone) episodes(c *Candles) []Touch {
	touches := make([]Touch, 0, n.touches)
	seen := -2
	for i := int(n.formed); i < c.Len(); i++ {
		before := c.Close[max(i-1, 0)]
		if n.low > max(c.High[i], before) || n.high < min(c.Low[i], before) {
			continue
		}
		if seen != i-1 {
			if i == 0 {
				before = c.Open[0]
			}
			touches = append(touches, Touch{From: c.OpenTime[i], Above: before > n.price, Outcome: n.judge(c, i, before), Extreme: before})
		}
		seen = i
		t := &touches[len(touches)-1]
		t.Candles++
		t.To = c.OpenTime[i] + c.length
		if t.Above {
			t.Extreme = min(t.Extreme, c.Low[i])
		} else {
			t.Extreme = max(t.Extreme, c.High[i])
		}
	}
	return touches
}

// judge returns the outcome of the touch that starts at candle i, coming from the
// price before.
func (n *zone) judge(c *Candles, i int, before float64) Outcome {
	known := c.Slice(0, i)
	m := MomentOf(&known)
	if !(m.ATR > 0) {
		return Undecided // without a unit of distance
	}
	price := n.low + frontRun*m.ATR
	if before > n.price {
		price = n.high - frontRun*m.ATR
	}
	v := m.Judge(price, c)
	if v.Outcome == Untouched {
		// The touch starts inside the zone, where the level formed, and price left on
		// the side it came from.
		return Undecided
	}
	return v.Outcome
}

// found returns what each method found in the zone.
func (f *Finder) found(n *zone, c *Candles) []Source {
	sources := make([]Source, 0, len(sourceNames))
	for bit := range sourceNames {
		if s := Sources(1 << bit); n.sources&s != 0 {
			sources = append(sources, Source{Method: s})
		}
	}
	of := func(method Sources) *Source {
		return &sources[slices.IndexFunc(sources, func(s Source) bool { return s.Method == method })]
	}
	total := 0.0
	for _, k := range f.clusters.candidates[n.from:] {
		if k.price > n.high {
			break
		}
		total += k.weight
		s := of(k.source)
		s.Weight += k.weight
		m := Mark{Price: k.price}
		switch k.source {
		case SourceSwing:
			swing := &f.swings.swings[k.swing]
			m.Kind, m.Time, m.Prominence = SwingHigh, c.OpenTime[swing.index], swing.prominence/f.around.atr
			if swing.low {
				m.Kind = SwingLow
			}
		case SourcePointOfControl:
			m.Kind = PointOfControl
		case SourceValueArea:
			m.Kind = ValueAreaEdge
		case SourceVolume:
			m.Kind = VolumeNode
		case SourceEnds:
			continue
		}
		if m.Time == 0 {
			m.Share = f.profile.share(m.Price)
		}
		s.Count++
		s.Marks = append(s.Marks, m)
	}
	for i := range sources {
		if total > 0 {
			sources[i].Weight /= total
		}
	}
	if n.sources&SourceEnds != 0 {
		s := of(SourceEnds)
		for i := range drawn(c) {
			for _, price := range [...]float64{c.High[i], c.Low[i], c.Close[i]} {
				if n.low <= price && price <= n.high {
					s.Count++
				}
			}
		}
	}
	return sources
}

// The factors that group the features.
const (
	factorDistance = iota
	factorShort    // the extremes of the last 12 to 48 candles
	factorMiddle   // 100 and 200
	factorLong     // 400 to 2,000
	factorAge
	factorTouches
	factorStay
	factorProminence
	factorSame
	factorOther
	factorVolume
	factorContrast
	factorTrend // the features of the moment: the others of them are the same for all zones
	factorCount
)

// factorOf returns the factor of a feature of hold odds.
func factorOf(feature uint8) int {
	switch {
	case feature == featureDistance:
		return factorDistance
	case feature >= holdFeatures:
		return factorTrend
	case feature >= featureZone:
		return factorAge + int(feature) - featureZone
	}
	switch span := spans[(feature-featureExtreme)%spanCount]; {
	case span < 100:
		return factorShort
	case span < 400:
		return factorMiddle
	}
	return factorLong
}

// attribute adds to shares the value of each factor of v in t, compared with a zone
// that has the features w.
func (t *Tree) attribute(shares *[factorCount]float64, v, w *[features]float32) {
	side := func(k int, of *[features]float32) int {
		if of[t.Feature[k]] > t.Cut[k] {
			return 1 << k
		}
		return 0
	}
	v0, v1, w0, w1 := side(0, v), side(1, v), side(0, w), side(1, w)
	leaf := func(a, b int) float64 { return float64(t.Leaf[a+b]) }
	one, other := factorOf(t.Feature[0]), factorOf(t.Feature[1])
	if one == other {
		shares[one] += leaf(v0, v1) - leaf(w0, w1)
		return
	}
	shares[one] += (leaf(v0, v1) - leaf(w0, v1) + leaf(v0, w1) - leaf(w0, w1)) / 2
	shares[other] += (leaf(v0, v1) - leaf(v0, w1) + leaf(w0, v1) - leaf(w0, w1)) / 2
}

// factors returns the factors of the odds of level l, whose zone is n.
func (f *Finder) factors(l *Level, n *zone, found []Source, fit *Fit) []Factor {
	var v [features]float32
	f.around.describe(&v, n, &f.profile)
	f.around.describeMoment(&v, l.Role, &f.past)
	var shares [factorCount]float64
	for k := range f.drawn {
		role := Support
		if f.drawn[k].price > f.around.last {
			role = Resistance
		}
		f.around.describe(&f.about, &f.drawn[k], &f.profile)
		f.around.describeMoment(&f.about, role, &f.past)
		for _, trees := range [...][]Tree{fit.Rank, fit.Hold} {
			for i := range trees {
				trees[i].attribute(&shares, &v, &f.about)
			}
		}
	}
	list := f.describeFactors(l, n, &v, found)
	hold, baseline := float64(l.HoldProbability), float64(l.BaselineHold)
	rest := 100 * (hold - baseline)
	for k := range list {
		list[k].Effect = 100 * shares[k] / 2 / float64(len(f.drawn)) // odds are the mean of both
		rest -= list[k].Effect
	}
	if l.HoldProbability <= minOdds || l.HoldProbability >= maxOdds {
		beyond := 100 * (hold - baseline - fit.holdExcess(&v))
		rest -= beyond
		list = append(list, Factor{"bounds", 100 * hold, "%", beyond,
			fmt.Sprintf("odds are never below %g %% or above %g %%", 100*minOdds, 100*maxOdds)})
	}
	than := "more"
	if rest < 0 {
		than = "less"
	}
	list = append(list, Factor{"zones", float64(len(f.drawn)), "zones", rest,
		fmt.Sprintf("on average the %d zones found in these candles are expected to hold %s often than any line at their distance", len(f.drawn), than)})
	slices.SortStableFunc(list, func(a, b Factor) int { return cmp.Compare(math.Abs(b.Effect), math.Abs(a.Effect)) })
	return list
}

// describeFactors returns the values of all factors, in the order of their numbers.
func (f *Finder) describeFactors(l *Level, n *zone, v *[features]float32, found []Source) []Factor {
	side, near, same, other := "below", "low", SwingLow, SwingHigh
	if l.Role == Resistance {
		side, near, same, other = "above", "high", SwingHigh, SwingLow
	}
	list := make([]Factor, 0, factorCount+2)
	add := func(name string, value float64, unit, format string, args ...any) {
		list = append(list, Factor{Name: name, Value: value, Unit: unit, Text: fmt.Sprintf(format, args...)})
	}
	distance := math.Abs(n.price-f.around.last) / f.around.atr
	add("distance", distance, "ATR", "%.1f ATR %s the last price", distance, side)
	for _, r := range [...]struct {
		name string
		span int
	}{{"range_short", 48}, {"range_middle", 200}, {"range_long", 1000}} {
		k := slices.Index(spans[:], r.span)
		inside := 100 * (1 - float64(v[featurePosition+k]))
		where := "inside"
		if inside < 0 {
			where = "beyond"
		}
		add(r.name, inside, "% of the range", "%.0f %% of the range %s the %s of the last %d candles", math.Abs(inside), where, near, min(r.span, f.around.candles))
	}
	if age := f.around.candles - 1 - int(n.seen); age == 0 {
		add("age", 0, "candles", "price is there now")
	} else {
		add("age", float64(age), "candles", "price was last here %s ago", plural(age, "candle"))
	}
	add("touches", float64(n.touches), "touches", "price entered the zone %s", plural(int(n.touches), "time"))
	stay := float64(n.met) / float64(max(n.touches, 1))
	add("stay", stay, "candles a touch", "price stayed in the zone for %.1f candles each time", stay)
	if prominence := n.prominence / f.around.atr; prominence > 0 {
		add("prominence", prominence, "ATR", "the greatest swing here stands out by %.1f ATR", prominence)
	} else {
		add("prominence", 0, "ATR", "no swing makes it stand out")
	}
	for _, s := range [...]struct {
		name string
		kind MarkKind
	}{{"swings_same", same}, {"swings_other", other}} {
		number, last := 0, int64(0)
		for _, source := range found {
			for _, m := range source.Marks {
				if m.Time > 0 && m.Kind == s.kind {
					number++
					last = max(last, m.Time)
				}
			}
		}
		word := "swing high"
		if s.kind == SwingLow {
			word = "swing low"
		}
		if number == 0 {
			add(s.name, 0, "swings", "no %s turned here", word)
			continue
		}
		add(s.name, float64(number), "swings", "%s turned here, the last on %s", plural(number, word),
			time.UnixMilli(last).UTC().Format("2006-01-02 15:04 UTC"))
	}
	share := 100 * float64(v[featureShare])
	add("volume", share, "%", "as much was traded here as %.0f %% of what was at the busiest price", share)
	contrast := math.Exp(float64(v[featureContrast]))
	add("contrast", contrast, "times", "%.1f times as much was traded here as one ATR away", contrast)
	k := slices.Index(trends[:], 100)
	move, where := float64(v[featureTrend+k])*math.Sqrt(float64(min(trends[k], f.around.candles-1))), "away from it"
	if move < 0 {
		where = "towards it"
	}
	add("trend", move, "ATR", "price moved %.1f ATR %s in the last %d candles", math.Abs(move), where, trends[k])
	return list
}

// plural returns a number with its noun.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

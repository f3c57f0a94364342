// This file pins that the words of a level say something: their distributions differ
// from those of lines moved at random by up to two ATR at the same moments. It also
// measures what the record and the state of a level say of its next outcome.
//
//	go test ./levels -run TestWords -v -measure DIR,DIR
//
// prints the tables of docs/levels-research.md for all 1h files of those folders.

package levels

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var measured = flag.String("measure", "", "folders of candle files, separated by commas, to measure the words on")

// wordNames are the words compared, each with the names of its values.
var wordNames = []struct {
	name   string
	values []string
}{
	{"tests", []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10 and more"}},
	{"held of decided", []string{"none decided", "0 to 20 %", "to 40 %", "to 60 %", "to 80 %", "to 100 %"}},
	{"held of the last four", []string{"fewer than four", "0", "1", "2", "3", "4"}},
	{"state", []string{"untested", "held", "broken", "reclaimed"}},
	{"held in its role", []string{"0", "1", "2", "3 and more"}},
	{"last tested", []string{"never", "under 50 candles ago", "under 200", "under 500", "under 1000", "before"}},
	{"first tested", []string{"never", "under 500 candles ago", "under 1000", "under 1500", "before"}},
	{"found by swing", []string{"no", "yes"}},
	{"found by poc", []string{"no", "yes"}},
	{"found by value_area", []string{"no", "yes"}},
	{"found by volume", []string{"no", "yes"}},
	{"touches (deprecated)", []string{"0 to 4", "to 9", "to 14", "to 19", "to 29", "more"}},
	{"status (deprecated)", []string{"active", "broken", "flipped"}},
}

// shown are how many of them, from the first, are shown in that form.
const shown = 7

// below returns the index of the first bound that is greater than v.
func below(v int, bounds ...int) int {
	for i, b := range bounds {
		if v < b {
			return i
		}
	}
	return len(bounds)
}

// wordValues returns the value of each word, as an index into its values.
func wordValues(r *Record, from, to int64, found Sources, asOf, length int64) []int {
	share, recent, last, first := 0, 0, 0, 0
	if n := r.Held + r.Broke; n > 0 {
		share = 1 + min(5*int(r.Held)/int(n), 4)
	}
	if r.Recent.Len() == RecentTests {
		recent = 1 + r.Recent.Held()
	}
	if r.Tests > 0 {
		last = 1 + below(int((asOf-to)/length), 50, 200, 500, 1000)
		first = 1 + below(int((asOf-from)/length), 500, 1000, 1500)
	}
	bit := func(s Sources) int {
		if found&s != 0 {
			return 1
		}
		return 0
	}
	return []int{min(int(r.Tests), 10), share, recent, int(r.State), min(int(r.HeldInRole), 3), last, first,
		bit(SourceSwing), bit(SourcePointOfControl), bit(SourceValueArea), bit(SourceVolume)}
}

// words compares levels with lines moved at random.
type words struct {
	weeks map[int64]*wordWeek // by number
}

type wordWeek struct {
	of [2][][]float64 // levels, moved lines; by word and value
	// The outcomes of levels that held three of their last four tests or more, and of
	// those that held fewer; the same of moved lines; and those of each state.
	record, moved [2]outcomes
	state         [4]outcomes
}

// outcomes sums decided outcomes, 1 for held.
type outcomes struct{ n, held, overBaseline, overOdds float64 }

func (s *outcomes) add(o Outcome, baseline, odds float64) {
	held := 0.0
	switch o {
	case Held:
		held = 1
	case Broke:
	default:
		return
	}
	s.n, s.held, s.overBaseline, s.overOdds = s.n+1, s.held+held, s.overBaseline+held-baseline, s.overOdds+held-odds
}

// group returns the index of a record in wordWeek.record; ok is false with too few tests.
func group(r *Record) (g int, ok bool) {
	if r.Recent.Held() < 3 {
		g = 1
	}
	return g, r.Recent.Len() == RecentTests
}

func (w *words) week(at int64) *wordWeek {
	at /= 7 * 24 * hour
	k := w.weeks[at]
	if k == nil {
		k = new(wordWeek)
		for side := range k.of {
			for _, word := range wordNames {
				k.of[side] = append(k.of[side], make([]float64, len(word.values)))
			}
		}
		w.weeks[at] = k
	}
	return k
}

// add adds the levels of c at moments every candles apart.
func (w *words) add(c *Candles, every int, random *rand.Rand) error {
	f := Finder{Faint: true}
	for end := min(2000, c.Len()-Horizon); end <= c.Len()-Horizon; end += every {
		known := c.Slice(max(0, end-2000), end)
		a, err := f.Find(&known)
		if err != nil {
			return err
		}
		after := c.Slice(end, min(end+Horizon, c.Len()))
		m := Moment{a.AsOf, a.LastPrice, a.ATR}
		k := w.week(a.AsOf)
		for _, l := range all(a) {
			for i, v := range wordValues(&l.Record, l.FirstTested, l.LastTested, l.Sources, a.AsOf, c.length) {
				k.of[0][i][v]++
			}
			old := len(wordNames) - 2
			k.of[0][old][below(int(l.Touches), 5, 10, 15, 20, 30)]++
			k.of[0][old+1][l.Status]++
			if l.NoOdds == OddsKnown {
				o := m.Judge(l.Price, &after).Outcome
				if g, ok := group(&l.Record); ok {
					k.record[g].add(o, float64(l.BaselineHold), float64(l.HoldProbability))
				}
				k.state[l.State].add(o, float64(l.BaselineHold), float64(l.HoldProbability))
			}
			shift := (4*random.Float64() - 2) * a.ATR
			price := l.Price + shift
			if price <= 0 {
				continue
			}
			role := Support
			if price > a.LastPrice {
				role = Resistance
			}
			r, first, last := record(price, role, &known, f.atrs, f.stretches)
			var found Sources
			for _, x := range f.clusters.candidates {
				if l.Low+shift <= x.price && x.price <= l.High+shift {
					found |= x.source
				}
			}
			for i, v := range wordValues(&r, first, last, found, a.AsOf, c.length) {
				k.of[1][i][v]++
			}
			if g, ok := group(&r); ok && l.NoOdds == OddsKnown {
				fit, _ := Odds().For(c.Interval)
				h := fit.BaselineHold(math.Abs(price-a.LastPrice) / a.ATR)
				k.moved[g].add(m.Judge(price, &after).Outcome, h, h)
			}
			z := zone{price: price, low: l.Low + shift, high: l.High + shift, seen: -2, anchor: -1}
			for _, x := range f.clusters.candidates {
				if x.swing >= 0 && z.low <= x.price && x.price <= z.high {
					z.addSwing(&f.swings.swings[x.swing])
				}
			}
			zones := []zone{z}
			advance(zones, &known, int(max(z.formed, 1)))
			k.of[1][old][below(int(zones[0].touches), 5, 10, 15, 20, 30)]++
			k.of[1][old+1][zones[0].status]++
		}
	}
	return nil
}

func (w *words) sorted() (at []int64) {
	for k := range w.weeks {
		at = append(at, k)
	}
	slices.Sort(at)
	return at
}

// distance returns the total variation distance between the words of levels and of
// moved lines, and the share of a thousand distances that exceed it when each week
// swaps the two at random: the chance of such a distance if levels were such lines.
func (w *words) distance(word int) (d, chance float64, shares [2][]float64) {
	n := len(wordNames[word].values)
	list := w.sorted()
	tv := func(swap func() int) (float64, [2][]float64) {
		sums := [2][]float64{make([]float64, n), make([]float64, n)}
		var total [2]float64
		for _, at := range list {
			s := swap()
			for side := range 2 {
				for v, x := range w.weeks[at].of[side][word] {
					sums[side^s][v] += x
					total[side^s] += x
				}
			}
		}
		d := 0.0
		for v := range n {
			for side := range 2 {
				sums[side][v] /= max(total[side], 1)
			}
			d += math.Abs(sums[0][v]-sums[1][v]) / 2
		}
		return d, sums
	}
	d, shares = tv(func() int { return 0 })
	random := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		if other, _ := tv(func() int { return random.IntN(2) }); other >= d {
			chance += 0.001
		}
	}
	return d, chance, shares
}

// interval returns a figure and its 95 % interval over weeks.
func (w *words) interval(figure func(weeks []*wordWeek) float64) (value, low, high float64) {
	var list []*wordWeek
	for _, at := range w.sorted() {
		list = append(list, w.weeks[at])
	}
	value = figure(list)
	random := rand.New(rand.NewPCG(1, 2))
	again, draws := make([]*wordWeek, len(list)), make([]float64, 1000)
	for i := range draws {
		for k := range again {
			again[k] = list[random.IntN(len(list))]
		}
		draws[i] = figure(again)
	}
	slices.Sort(draws)
	return value, draws[25], draws[974]
}

// figures are read off the outcomes, in points.
var figures = []struct {
	name string
	of   func(weeks []*wordWeek) float64
}{
	{"three of four less the others, over the baseline", func(w []*wordWeek) float64 {
		a, b := outcomesOf(w, func(k *wordWeek) *outcomes { return &k.record[0] }), outcomesOf(w, func(k *wordWeek) *outcomes { return &k.record[1] })
		return 100 * (a.overBaseline/max(a.n, 1) - b.overBaseline/max(b.n, 1))
	}},
	{"the same, over the odds", func(w []*wordWeek) float64 {
		a, b := outcomesOf(w, func(k *wordWeek) *outcomes { return &k.record[0] }), outcomesOf(w, func(k *wordWeek) *outcomes { return &k.record[1] })
		return 100 * (a.overOdds/max(a.n, 1) - b.overOdds/max(b.n, 1))
	}},
	{"the same of moved lines, over the baseline", func(w []*wordWeek) float64 {
		a, b := outcomesOf(w, func(k *wordWeek) *outcomes { return &k.moved[0] }), outcomesOf(w, func(k *wordWeek) *outcomes { return &k.moved[1] })
		return 100 * (a.overBaseline/max(a.n, 1) - b.overBaseline/max(b.n, 1))
	}},
	{"held, over the odds", stateFigure(Stood)},
	{"broken, over the odds", stateFigure(Crossed)},
	{"reclaimed, over the odds", stateFigure(Reclaimed)},
}

func stateFigure(s State) func(weeks []*wordWeek) float64 {
	return func(weeks []*wordWeek) float64 {
		a := outcomesOf(weeks, func(k *wordWeek) *outcomes { return &k.state[s] })
		return 100 * a.overOdds / max(a.n, 1)
	}
}

func outcomesOf(weeks []*wordWeek, part func(*wordWeek) *outcomes) (sum outcomes) {
	for _, k := range weeks {
		p := part(k)
		sum.n, sum.held, sum.overBaseline, sum.overOdds = sum.n+p.n, sum.held+p.held, sum.overBaseline+p.overBaseline, sum.overOdds+p.overOdds
	}
	return sum
}

// print logs the tables and returns the chance of each word; see distance.
func (w *words) print(t *testing.T) (chances []float64) {
	var b strings.Builder
	b.WriteString("| word | levels / moved lines, % | distance | chance |\n| --- | --- | --- | --- |\n")
	for i, word := range wordNames {
		d, chance, shares := w.distance(i)
		chances = append(chances, chance)
		fmt.Fprintf(&b, "| %s | ", word.name)
		for v, name := range word.values {
			if v > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s: %.1f / %.1f", name, 100*shares[0][v], 100*shares[1][v])
		}
		fmt.Fprintf(&b, " | %.1f | %.3f |\n", 100*d, chance)
	}
	for _, f := range figures {
		value, low, high := w.interval(f.of)
		fmt.Fprintf(&b, "| %s | %+.2f [%+.2f, %+.2f] |\n", f.name, value, low, high)
	}
	var list []*wordWeek
	for _, k := range w.weeks {
		list = append(list, k)
	}
	good, others := outcomesOf(list, func(k *wordWeek) *outcomes { return &k.record[0] }), outcomesOf(list, func(k *wordWeek) *outcomes { return &k.record[1] })
	fmt.Fprintf(&b, "three of four or more: %.0f of %.0f held; fewer: %.0f of %.0f; %d weeks\n", good.held, good.n, others.held, others.n, len(w.weeks))
	t.Log("\n" + b.String())
	return chances
}

// The chance of each distance is that of equal distributions. On a random walk, too,
// prices where candles turned and closed are crossed more often than others.
func TestWords_OfLevelsDifferFromThoseOfMovedLines(t *testing.T) {
	computes(t)
	w := words{weeks: map[int64]*wordWeek{}}
	random := rand.New(rand.NewPCG(5, 6))
	add := func(c *Candles) {
		if c.Len() < MinOddsCandles+Horizon {
			return
		}
		if err := w.add(c, 169, random); err != nil {
			t.Fatal(err)
		}
	}
	files := realFiles(t, "*-1h.csv.gz", 40)
	if *measured != "" {
		files = nil
		for dir := range strings.SplitSeq(*measured, ",") {
			more, err := filepath.Glob(filepath.Join(dir, "*-1h.csv.gz"))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, more...)
		}
	}
	for _, file := range files {
		c, _ := load(t, file, math.MaxInt)
		add(c)
	}
	if len(files) == 0 {
		for seed := range uint64(120) {
			add(generate(seed, 8000))
		}
	}
	for i, chance := range w.print(t) {
		kept := i < shown || wordNames[i].name == "found by poc" || wordNames[i].name == "found by volume"
		if kept && !(chance < 0.01) {
			t.Errorf("%s: levels and lines moved at random are alike: the chance of such a distance is %.3f", wordNames[i].name, chance)
		}
	}
}

package evaluate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"tidemark/levels"
)

// Figure is a number that may be unknown: NaN, which is null in JSON.
type Figure float64

// MarshalJSON writes six digits after the point, and NaN as null.
func (f Figure) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(f)) {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, float64(f), 'f', 6, 64), nil
}

// Estimate is a figure with its interval, of 95 % unless said otherwise, by bootstrap
// over blocks of calendar time.
type Estimate struct {
	Value Figure `json:"value"`
	Low   Figure `json:"low"`
	High  Figure `json:"high"`
}

// Above reports whether the whole interval lies above x.
func (e Estimate) Above(x float64) bool { return float64(e.Low) > x }

// Report is the result of an evaluation. Rates, lifts and odds are shares; 0.01 is
// one point.
type Report struct {
	Source     string          `json:"source"` // origin of the candles, for display; set by the caller
	Simulated  bool            `json:"simulated"`
	Algorithm  string          `json:"algorithm"`
	Table      string          `json:"table"` // of odds; its version
	Interval   levels.Interval `json:"interval"`
	Klines     int             `json:"klines"`
	Every      int             `json:"every_candles"`
	Horizon    int             `json:"horizon_candles"`
	Seed       uint64          `json:"seed"`
	First      time.Time       `json:"first_moment"`
	Last       time.Time       `json:"last_moment"`
	Pairs      int             `json:"pairs"` // with at least one moment
	TooShort   int             `json:"pairs_too_short"`
	Candles    int             `json:"candles"`
	Missing    int             `json:"missing_candles"`
	Moments    int             `json:"moments"` // of all pairs
	Stale      int             `json:"moments_without_candle"`
	Flat       int             `json:"moments_without_movement"`
	Unfinished int             `json:"moments_cut_off"` // the candles end within the horizon
	Blocks     int             `json:"blocks"`          // of calendar time with a moment: the clusters
	BlockDays  Figure          `json:"block_days"`
	Phases     int             `json:"phases"` // remainders of the candle's number by 24 with a moment: at 1h, hours of the day
	// Comparisons is the number of intervals that the figures of the first table are
	// read from, and Widening how much wider each must be so that, with 95 %, none
	// of them misses its figure (Bonferroni).
	Comparisons  int            `json:"comparisons"`
	Widening     Figure         `json:"widening"`
	Failures     []Failure      `json:"failures"`
	MethodsFound []MethodReport `json:"methods"`
}

// Failure is a series that could not be evaluated.
type Failure struct {
	Symbol string `json:"symbol"`
	Detail string `json:"detail"`
}

// MethodReport is the result of one method.
type MethodReport struct {
	Name  string `json:"name"`
	About string `json:"about"`
	// Levels is the number of judged levels, at most three a side.
	Levels int `json:"levels"`
	// Coverage is the share of moments and sides with a level to judge.
	Coverage       Figure `json:"coverage"`
	MedianDistance Figure `json:"median_distance_atr"`
	AcrossHoles    int    `json:"levels_across_holes"` // candles were missing before their outcome

	Touched        Figure   `json:"touched"`
	ControlTouched Figure   `json:"control_touched"`
	TouchLift      Estimate `json:"touch_lift"`
	Undecided      Figure   `json:"undecided"` // of the touched

	Decided     int      `json:"decided"`
	Held        Figure   `json:"held"` // of the decided
	ControlHeld Figure   `json:"control_held"`
	Lift        Estimate `json:"lift"`
	// NeighbourLift is the lift over controls within one ATR of the level's distance:
	// over the neighbours of the price.
	NeighbourLift Estimate `json:"neighbour_lift"`
	// AheadOfVolume is the lift minus that of the peaks of the volume profile on the
	// same moments; unknown if they were not evaluated.
	AheadOfVolume Estimate `json:"ahead_of_volume"`
	// Excludes names those of the three figures above whose interval still excludes 0
	// when it is as wide as Report.Widening says.
	Excludes []string `json:"excludes_zero"`

	// Terciles by strength, the weakest first.
	Terciles [3]Tercile `json:"terciles"`
	// TopMinusBottom is the lift of the strongest tercile minus that of the
	// weakest, with distance fixed; TopHoldsMore is the same for hold rates.
	TopMinusBottom Estimate `json:"top_minus_bottom"`
	TopHoldsMore   Estimate `json:"top_holds_more"`

	// TouchOdds and HoldOdds are nil for a method without odds.
	TouchOdds *Odds `json:"touch_odds"`
	HoldOdds  *Odds `json:"hold_odds"`
	// Reflection is the reference for touch odds on the same levels: a random walk
	// without drift.
	Reflection *Odds `json:"reflection"`
	// OverReflection is the skill of the touch odds minus that of Reflection.
	OverReflection Estimate `json:"touch_skill_over_reflection"`

	Churn []Churn `json:"churn"`
	// Repainted is how many of Asked moments had other levels when the method ran
	// again after it had seen later candles.
	Asked     int `json:"repaint_moments"`
	Repainted int `json:"repainted"`
}

// Tercile is a third of a method's levels by strength.
type Tercile struct {
	Levels int      `json:"levels"`
	Held   Figure   `json:"held"`
	Lift   Estimate `json:"lift"` // over controls within one ATR of the level's distance
}

// Odds describes the accuracy of a method's probabilities.
type Odds struct {
	Levels int    `json:"levels"`
	Base   Figure `json:"base_rate"`
	Brier  Figure `json:"brier"`
	// Skill is 1 minus the ratio of the Brier score to that of the base rate of
	// the same levels.
	Skill Estimate `json:"skill"`
	// CalibrationError is the mean difference between promised and observed over
	// the bins, weighted by their levels.
	CalibrationError Figure `json:"calibration_error"`
	Bins             []Bin  `json:"bins"` // ten of equal mass, ascending
}

// Bin is one row of a reliability table.
type Bin struct {
	Levels   int    `json:"levels"`
	Promised Figure `json:"promised"` // mean probability
	Observed Figure `json:"observed"` // share
}

// Churn is the share of the twelve strongest levels that remain.
type Churn struct {
	Later int `json:"candles_later"`
	// ByID is the share that kept its ID; null for a method without IDs.
	ByID Figure `json:"by_id"`
	// ByPrice is the share with a level in their zone.
	ByPrice Figure `json:"by_price"`
}

// The sums of each block of calendar time.
const (
	levelCount = iota
	levelTouched
	levelDecided
	levelHeld
	controlCount
	controlTouched
	controlDecided
	controlHeld
	neighbourDecided
	neighbourHeld
	oddsTouch   // oddsSums of touch odds
	oddsReflect = oddsTouch + oddsSums
	oddsHold    = oddsReflect + oddsSums
	terciles    = oddsHold + oddsSums // tercileSums of each tercile
	sumCount    = terciles + 3*tercileSums
)

// The sums of odds, and of a tercile.
const (
	oddsCount = iota
	oddsHappened
	oddsSquares // of promised minus observed
	oddsSums
)
const (
	tercileDecided = iota
	tercileHeld
	tercileControlDecided
	tercileControlHeld
	tercileSums
)

type sums [sumCount]float64

// ratio is NaN for a zero denominator.
func ratio(a, b float64) float64 {
	if b == 0 {
		return math.NaN()
	}
	return a / b
}

func (s *sums) share(a, b int) float64 { return ratio(s[a], s[b]) }

func (s *sums) touchLift() float64 {
	return s.share(levelTouched, levelCount) - s.share(controlTouched, controlCount)
}

func (s *sums) lift() float64 {
	return s.share(levelHeld, levelDecided) - s.share(controlHeld, controlDecided)
}

func (s *sums) neighbourLift() float64 {
	return s.share(levelHeld, levelDecided) - s.share(neighbourHeld, neighbourDecided)
}

func (s *sums) tercileHeld(t int) float64 {
	at := terciles + t*tercileSums
	return s.share(at+tercileHeld, at+tercileDecided)
}

func (s *sums) tercileLift(t int) float64 {
	at := terciles + t*tercileSums
	return s.tercileHeld(t) - s.share(at+tercileControlHeld, at+tercileControlDecided)
}

// skill returns the Brier skill of the odds whose sums start at index at.
func (s *sums) skill(at int) float64 {
	n := s[at+oddsCount]
	base := ratio(s[at+oddsHappened], n)
	return 1 - ratio(ratio(s[at+oddsSquares], n), base*(1-base))
}

func (s *sums) addOdds(at int, promised float64, happened bool) {
	if math.IsNaN(promised) {
		return
	}
	observed := 0.0
	if happened {
		observed = 1
	}
	s[at+oddsCount]++
	s[at+oddsHappened] += observed
	s[at+oddsSquares] += (promised - observed) * (promised - observed)
}

func (s *sums) add(r *record, tercile int) {
	s[levelCount]++
	s[controlCount]++
	s[controlTouched] += float64(r.control.touched)
	s[controlDecided] += float64(r.control.decided)
	s[controlHeld] += float64(r.control.held)
	s[neighbourDecided] += float64(r.neighbour.decided)
	s[neighbourHeld] += float64(r.neighbour.held)
	at := terciles + tercile*tercileSums
	// Over neighbours, because near levels hold more often than far ones: otherwise
	// a rank that only prefers near levels would look good.
	s[at+tercileControlDecided] += float64(r.neighbour.decided)
	s[at+tercileControlHeld] += float64(r.neighbour.held)
	s.addOdds(oddsTouch, float64(r.touch), r.touched)
	s.addOdds(oddsReflect, float64(r.reflection), r.touched)
	if r.touched {
		s[levelTouched]++
	}
	if !r.decided() {
		return
	}
	s.addOdds(oddsHold, float64(r.hold), r.held())
	s[levelDecided]++
	s[at+tercileDecided]++
	if r.held() {
		s[levelHeld]++
		s[at+tercileHeld]++
	}
}

func (r *record) held() bool    { return r.outcome == levels.Held }
func (r *record) decided() bool { return r.held() || r.outcome == levels.Broke }

const (
	resamples = 2000
	// minBlocks is the minimum for a bootstrap: the spread of fewer clusters is a
	// poor estimate of that of their mean.
	minBlocks = 8
)

// bootstrap draws blocks with replacement, as many as there are, and returns the sums
// of each sample; none if there are too few blocks. Equal seeds draw equal blocks.
func bootstrap(blocks []sums, seed uint64) []sums {
	if len(blocks) < minBlocks {
		return nil
	}
	random := rand.New(rand.NewPCG(seed, 0x626f6f7473747261))
	samples := make([]sums, resamples)
	for i := range samples {
		for range blocks {
			for k, v := range blocks[random.IntN(len(blocks))] {
				samples[i][k] += v
			}
		}
	}
	return samples
}

// estimate returns a figure of all blocks with the middle 95 % of its values in the
// samples. Samples without data for the figure are skipped; if they are more than
// one in a hundred, there is no interval.
func estimate(all *sums, samples []sums, figure func(*sums) float64) Estimate {
	e := Estimate{Figure(figure(all)), Figure(math.NaN()), Figure(math.NaN())}
	values := make([]float64, 0, len(samples))
	for i := range samples {
		if v := figure(&samples[i]); !math.IsNaN(v) && !math.IsInf(v, 0) {
			values = append(values, v)
		}
	}
	if len(values) == 0 || len(values) < len(samples)*99/100 {
		return e
	}
	slices.Sort(values)
	e.Low, e.High = Figure(quantile(values, 0.025)), Figure(quantile(values, 0.975))
	return e
}

// quantile returns a quantile of sorted values, interpolated linearly.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 == len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// summarise turns findings into a report.
func summarise(series []Series, pairs []pairFindings, o Options) (*Report, error) {
	r := &Report{
		Algorithm: levels.Algorithm, Table: o.Table, Interval: o.Interval, Klines: o.Klines, Every: o.Every,
		Horizon: levels.Horizon, Seed: o.Seed, Failures: []Failure{},
	}
	blocks, phases := map[uint16]bool{}, map[int64]bool{}
	var first, last int64
	good := pairs[:0:0]
	for i, p := range pairs {
		if p.err != nil {
			r.Failures = append(r.Failures, Failure{series[i].Symbol, p.err.Error()})
			continue
		}
		r.Candles, r.Missing = r.Candles+p.candles, r.Missing+p.missing
		r.Stale, r.Flat, r.Unfinished = r.Stale+p.stale, r.Flat+p.flat, r.Unfinished+p.unfinished
		if len(p.moments) == 0 {
			r.TooShort++
			continue
		}
		good = append(good, p)
		r.Moments += len(p.moments)
		for _, m := range p.moments {
			blocks[blockOf(m, o.Interval)] = true
			phases[m/o.Interval.Milliseconds()%24] = true
		}
		if from := p.moments[0]; r.Pairs == 0 || from < first {
			first = from
		}
		last = max(last, p.moments[len(p.moments)-1])
		r.Pairs++
	}
	if r.Moments == 0 {
		return r, fmt.Errorf("%w: no moment of %d pairs has %d candles before it and %d after it within the bounds (%d pairs could not be read)",
			ErrNothing, len(series), o.Klines, levels.Horizon, len(r.Failures))
	}
	r.First, r.Last, r.Blocks, r.Phases = time.UnixMilli(first).UTC(), time.UnixMilli(last).UTC(), len(blocks), len(phases)
	r.BlockDays = Figure(float64(blockLength(o.Interval)) / day)
	var volume *summary
	all := make([]summary, len(o.Methods))
	for i, m := range o.Methods {
		all[i] = describe(m, i, good, blocks, r.Moments, o.Seed)
		if m.Name == volumeMethod {
			volume = &all[i]
		}
	}
	for i := range all {
		r.MethodsFound = append(r.MethodsFound, all[i].ahead(volume))
	}
	r.compare()
	return r, nil
}

// summary is the report of one method and the sums behind it.
type summary struct {
	MethodReport
	all     sums
	samples []sums
}

// ahead compares the lift with that of the volume profile, which may be nil. The
// samples of both are of the same blocks.
func (s *summary) ahead(volume *summary) MethodReport {
	none := Figure(math.NaN())
	s.AheadOfVolume = Estimate{none, none, none}
	if volume != nil && volume != s {
		k := 0
		s.AheadOfVolume = estimate(&s.all, s.samples, func(own *sums) float64 {
			other := &volume.all
			if own != &s.all {
				other = &volume.samples[k]
				k++
			}
			return own.lift() - other.lift()
		})
	}
	return s.MethodReport
}

// compare counts the intervals of the first table and sets what excludes 0 when all
// of them are read together.
func (r *Report) compare() {
	named := func(m *MethodReport) []struct {
		name string
		e    Estimate
	} {
		return []struct {
			name string
			e    Estimate
		}{{"lift", m.Lift}, {"lift over its neighbours", m.NeighbourLift}, {"lift ahead of volume", m.AheadOfVolume}}
	}
	for i := range r.MethodsFound {
		for _, f := range named(&r.MethodsFound[i]) {
			if !math.IsNaN(float64(f.e.Low)) {
				r.Comparisons++
			}
		}
	}
	if r.Widening = 1; r.Comparisons > 0 {
		r.Widening = Figure(normalQuantile(1-0.025/float64(r.Comparisons)) / normalQuantile(0.975))
	}
	for i := range r.MethodsFound {
		m := &r.MethodsFound[i]
		m.Excludes = []string{}
		for _, f := range named(m) {
			if w := f.e.widened(r.Widening); w.Low > 0 || w.High < 0 {
				m.Excludes = append(m.Excludes, f.name)
			}
		}
	}
}

// widened returns e with its interval as many times as wide.
func (e Estimate) widened(by Figure) Estimate {
	return Estimate{e.Value, e.Value - by*(e.Value-e.Low), e.Value + by*(e.High-e.Value)}
}

// normalQuantile returns the value that a standard normal variable stays below with
// probability p.
func normalQuantile(p float64) float64 { return math.Sqrt2 * math.Erfinv(2*p-1) }

// describe summarises the findings of one method.
func describe(m Method, method int, pairs []pairFindings, clock map[uint16]bool, moments int, seed uint64) summary {
	out := MethodReport{Name: m.Name, About: m.About}
	var lasting persistence
	var distances, scores []float32
	covered, named := 0, 0
	for i := range pairs {
		f := &pairs[i].methods[method]
		covered += f.covered
		out.Asked, out.Repainted = out.Asked+f.asked, out.Repainted+f.changed
		for k := range later {
			lasting.levels[k] += f.lasting.levels[k]
			lasting.byID[k] += f.lasting.byID[k]
			lasting.byPrice[k] += f.lasting.byPrice[k]
			named += f.lasting.byID[k]
		}
		for j := range f.records {
			r := &f.records[j]
			distances, scores = append(distances, r.distance), append(scores, r.score)
			if r.holes {
				out.AcrossHoles++
			}
		}
	}
	out.Levels = len(distances)
	out.Coverage = Figure(ratio(float64(covered), float64(sides*moments)))
	out.MedianDistance = Figure(math.NaN())
	slices.Sort(scores)
	if n := len(distances); n > 0 {
		slices.Sort(distances)
		out.MedianDistance = Figure(distances[n/2])
	}
	for k, n := range later {
		c := Churn{n, Figure(math.NaN()), Figure(ratio(float64(lasting.byPrice[k]), float64(lasting.levels[k])))}
		if named > 0 {
			c.ByID = Figure(ratio(float64(lasting.byID[k]), float64(lasting.levels[k])))
		}
		out.Churn = append(out.Churn, c)
	}

	order := make([]uint16, 0, len(clock))
	for b := range clock {
		order = append(order, b)
	}
	slices.Sort(order)
	byBlock := make([]sums, len(order))
	var all sums
	for i := range pairs {
		records := pairs[i].methods[method].records
		for j := range records {
			r := &records[j]
			tercile := tercileOf(scores, r.score)
			out.Terciles[tercile].Levels++
			at, _ := slices.BinarySearch(order, r.block)
			byBlock[at].add(r, tercile)
		}
	}
	for i := range byBlock {
		for k, v := range byBlock[i] {
			all[k] += v
		}
	}
	samples := bootstrap(byBlock, seed)
	of := func(figure func(*sums) float64) Estimate { return estimate(&all, samples, figure) }

	out.Decided = int(all[levelDecided])
	out.Touched, out.ControlTouched = Figure(all.share(levelTouched, levelCount)), Figure(all.share(controlTouched, controlCount))
	out.Held, out.ControlHeld = Figure(all.share(levelHeld, levelDecided)), Figure(all.share(controlHeld, controlDecided))
	out.Undecided = Figure(1 - all.share(levelDecided, levelTouched))
	out.TouchLift, out.Lift, out.NeighbourLift = of((*sums).touchLift), of((*sums).lift), of((*sums).neighbourLift)
	for t := range out.Terciles {
		out.Terciles[t].Held = Figure(all.tercileHeld(t))
		out.Terciles[t].Lift = of(func(s *sums) float64 { return s.tercileLift(t) })
	}
	out.TopMinusBottom = of(func(s *sums) float64 { return s.tercileLift(2) - s.tercileLift(0) })
	out.TopHoldsMore = of(func(s *sums) float64 { return s.tercileHeld(2) - s.tercileHeld(0) })

	odds := func(at int, promised func(*record) (p float32, happened, counts bool)) *Odds {
		if all[at+oddsCount] == 0 {
			return nil
		}
		return describeOdds(&all, at, of, pairs, method, promised)
	}
	out.TouchOdds = odds(oddsTouch, func(r *record) (float32, bool, bool) { return r.touch, r.touched, true })
	out.Reflection = odds(oddsReflect, func(r *record) (float32, bool, bool) { return r.reflection, r.touched, true })
	out.HoldOdds = odds(oddsHold, func(r *record) (float32, bool, bool) { return r.hold, r.held(), r.decided() })
	out.OverReflection = of(func(s *sums) float64 { return s.skill(oddsTouch) - s.skill(oddsReflect) })
	return summary{out, all, samples}
}

// tercileOf returns the third of the sorted scores that score lies in, 0 to 2; equal
// scores are all in that of the middle one of them.
func tercileOf(sorted []float32, score float32) int {
	below, _ := slices.BinarySearch(sorted, score)
	notAbove, _ := slices.BinarySearchFunc(sorted, score, func(a, b float32) int {
		if a <= b {
			return -1
		}
		return 1
	})
	return min(3*(below+notAbove)/(2*len(sorted)), 2)
}

// binCount is the number of bins of equal mass for calibration.
const binCount = 10

func describeOdds(all *sums, at int, of func(func(*sums) float64) Estimate, pairs []pairFindings, method int, promised func(*record) (float32, bool, bool)) *Odds {
	type pledge struct {
		p        float32
		happened bool
	}
	var pledges []pledge
	for i := range pairs {
		records := pairs[i].methods[method].records
		for j := range records {
			if p, happened, counts := promised(&records[j]); counts && p == p {
				pledges = append(pledges, pledge{p, happened})
			}
		}
	}
	slices.SortStableFunc(pledges, func(a, b pledge) int { return compare(float64(a.p), float64(b.p)) })
	n := len(pledges)
	o := &Odds{
		Levels: n, Base: Figure(all.share(at+oddsHappened, at+oddsCount)), Brier: Figure(all.share(at+oddsSquares, at+oddsCount)),
		Skill: of(func(s *sums) float64 { return s.skill(at) }),
	}
	apart := 0.0
	for b := range binCount {
		from, to := b*n/binCount, (b+1)*n/binCount
		if from == to {
			continue
		}
		said, was := 0.0, 0.0
		for _, p := range pledges[from:to] {
			said += float64(p.p)
			if p.happened {
				was++
			}
		}
		size := float64(to - from)
		o.Bins = append(o.Bins, Bin{to - from, Figure(said / size), Figure(was / size)})
		apart += math.Abs(said - was)
	}
	o.CalibrationError = Figure(apart / float64(n))
	return o
}

package levels

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
)

// NoOdds is the reason why a level has no odds.
type NoOdds uint8

// The reasons.
const (
	OddsKnown       NoOdds = iota // none: the level has odds
	UnknownInterval               // no odds are calibrated for this interval
	ShortHistory                  // fewer than MinOddsCandles candles
	BeforeOdds                    // found by an Algorithm without odds; Find never sets it
)

// MinOddsCandles is the minimum number of candles for odds; the calibration used no
// shorter series.
const MinOddsCandles = 500

func (r NoOdds) String() string {
	return [...]string{"", "no odds are calibrated for this interval", "fewer than 500 candles",
		"analysed by a version that did not estimate odds"}[r]
}

// The bounds of odds: no calibration can distinguish a level that always holds from
// one that holds in 99 of 100 cases.
const (
	minOdds = 0.01
	maxOdds = 0.99
)

// Tree is a term of a fitted sum: two comparisons choose one of its four leaves.
type Tree struct {
	Feature [2]uint8   // indexes into the features
	Cut     [2]float32 // bit k of the leaf index is set if the feature exceeds it
	Leaf    [4]float32 // share of probability
}

// DeepTree is a term of a fitted sum with four comparisons.
type DeepTree struct {
	Feature [4]uint8
	Cut     [4]float32
	Leaf    [16]float32
}

// Reliability describes outcomes on unseen pairs and weeks with hold odds up to To,
// and above To of the previous one.
type Reliability struct {
	To      float32 // hold odds
	Half    float32 // half the width of the 95 % interval of the hold rate, from bootstrap samples of weeks
	Samples int32   // decided outcomes
}

// Trees are the sums fitted to the candles of all intervals together.
type Trees struct {
	Rank []Tree // the edge; it knows nothing of the moment
	// Hold knows the moment, too. The mean of Rank and Hold, added to a baseline, is
	// the odds that a level holds.
	Hold []Tree
	// Touch, added to the reflection principle, is the odds that a level is touched.
	Touch []DeepTree
}

// Fit is the calibration of one interval.
type Fit struct {
	Interval Interval
	// Baseline are the coefficients of h(d) = b0 + b1·d + b2·d², the rate at
	// which lines at distance d (ATR) held.
	Baseline [3]float64
	*Trees   // of the table; all its fits share them
	// Ranks are quantiles of the sum of Rank of levels, ascending: the strength of a
	// level is the share of levels with a smaller sum.
	Ranks       []float32
	Reliability []Reliability
}

// Provenance describes the data and the command behind a table.
type Provenance struct {
	Algorithm string // the Algorithm of the levels in the fit
	Command   string // that wrote the table
	Series    []SeriesProvenance
	Files     []string // names of all files, without path, ascending; see FilesOf
	// Validations are results of fits like those of the table on unseen data. Odds
	// do not depend on them.
	Validations []Validation
}

// Validation is the result for one interval, on pairs and times separate from those
// of the fit; docs/levels-research.md describes the method. Levels are the best
// three a side by strength, 0.5 to 12 ATR away.
type Validation struct {
	Interval   Interval
	LearntFrom string // "other pairs, other times", ...
	Levels     int
	// In points, hundredths of probability: the value and the ends of its 95 %
	// interval, from bootstrap samples of calendar weeks.
	Lift          [3]float64 // hold rate minus that of lines at the distances of all levels
	NeighbourLift [3]float64 // the same for lines at about the distance of the level itself
	Terciles      [3]float64 // hold rate of the strongest third minus that of the weakest
	HoldSkill     float64    // Brier skill of hold odds against the base rate
	HoldError     float64    // expected calibration error of hold odds, by HoldBins
	TouchSkill    float64    // Brier skill of touch odds, minus that of the reflection principle
	TouchError    float64    // expected calibration error of touch odds, by TouchBins
	// Ten bins of equal size, by rising odds: decided outcomes for hold odds, all
	// for touch odds.
	HoldBins, TouchBins []ReliabilityBin
}

// ReliabilityBin compares odds with outcomes, over levels with similar odds.
type ReliabilityBin struct {
	Promised float64 // mean of the odds
	Realised float64 // share that happened
	Samples  int
}

// FilesOf returns the files behind the series of an interval: for each pair, those of
// the interval or, without one, of the longest that divides it.
func (p *Provenance) FilesOf(i Interval) []string {
	best := map[string]Interval{}
	for _, from := range Intervals() { // shortest first
		if i.Duration() == 0 || i.Duration()%from.Duration() != 0 {
			continue
		}
		for _, file := range p.Files {
			if symbol, ok := strings.CutSuffix(file, "-"+string(from)+".csv.gz"); ok {
				best[symbol] = from
			}
		}
	}
	files := make([]string, 0, len(best))
	for symbol, from := range best {
		files = append(files, symbol+"-"+string(from)+".csv.gz")
	}
	slices.Sort(files)
	return files
}

// SeriesProvenance is the data of one interval.
type SeriesProvenance struct {
	Interval Interval
	From, To int64 // Unix ms: first open time and last close time
	Candles  int
	SHA256   string // of the names and contents of all files, as hex
}

// Table holds all fits. Its file is a line with the format, the provenance as one line
// of JSON, the trees and the fits in little-endian binary, and the SHA-256 of all of
// that.
type Table struct {
	Version    string // see OddsVersion; set by ReadTable
	Provenance Provenance
	Trees      *Trees
	Fits       []Fit
}

const tableFormat = "tidemark odds 4\n"

// ErrBadTable is wrapped by ReadTable.
var ErrBadTable = errors.New("bad table of odds")

// Encode returns the file of t.
func (t *Table) Encode() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(tableFormat)
	if err := json.NewEncoder(&b).Encode(t.Provenance); err != nil {
		return nil, err
	}
	put := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) } // a Buffer never fails
	list := func(v any) {
		put(uint32(binary.Size(v)))
		put(v)
	}
	list(t.Trees.Rank)
	list(t.Trees.Hold)
	list(t.Trees.Touch)
	put(uint32(len(t.Fits)))
	for i := range t.Fits {
		f := &t.Fits[i]
		list([]byte(f.Interval))
		put(f.Baseline)
		list(f.Ranks)
		list(f.Reliability)
	}
	sum := sha256.Sum256(b.Bytes())
	b.Write(sum[:])
	return b.Bytes(), nil
}

// ReadTable decodes a file written by Encode. For anything else it returns
// ErrBadTable.
func ReadTable(file []byte) (*Table, error) {
	body := len(file) - sha256.Size
	if body < 0 || sha256.Sum256(file[:body]) != [sha256.Size]byte(file[body:]) {
		return nil, fmt.Errorf("%w: the checksum is wrong", ErrBadTable)
	}
	rest, ok := bytes.CutPrefix(file[:body], []byte(tableFormat))
	header, rest, found := bytes.Cut(rest, []byte("\n"))
	if !ok || !found {
		return nil, fmt.Errorf("%w: not %q", ErrBadTable, tableFormat[:len(tableFormat)-1])
	}
	t := &Table{Version: version(file)}
	if err := json.Unmarshal(header, &t.Provenance); err != nil {
		return nil, fmt.Errorf("%w: provenance: %w", ErrBadTable, err)
	}
	r := reader{bytes.NewReader(rest), nil}
	t.Trees = new(Trees)
	for _, sum := range [...]*[]Tree{&t.Trees.Rank, &t.Trees.Hold} {
		*sum = make([]Tree, r.size(binary.Size(Tree{})))
		r.read(*sum)
	}
	t.Trees.Touch = make([]DeepTree, r.size(binary.Size(DeepTree{})))
	r.read(t.Trees.Touch)
	if r.err == nil {
		r.err = t.Trees.check()
	}
	for range r.size(1) {
		f := Fit{Trees: t.Trees}
		name := make([]byte, r.size(1))
		r.read(name)
		f.Interval = Interval(name)
		r.read(&f.Baseline)
		f.Ranks = make([]float32, r.size(4))
		r.read(f.Ranks)
		f.Reliability = make([]Reliability, r.size(binary.Size(Reliability{})))
		r.read(f.Reliability)
		if r.err == nil {
			r.err = f.check()
		}
		if r.err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBadTable, r.err)
		}
		t.Fits = append(t.Fits, f)
	}
	if r.err == nil && r.left.Len() > 0 {
		r.err = errors.New("data after the last fit")
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadTable, r.err)
	}
	return t, nil
}

// check returns an error if the trees cannot be used.
func (t *Trees) check() error {
	if len(t.Rank) == 0 || len(t.Hold) == 0 || len(t.Touch) == 0 {
		return errors.New("a sum of trees is missing")
	}
	known := func(used []uint8, features int) error {
		if last := slices.Max(used); int(last) >= features {
			return fmt.Errorf("a tree uses feature %d of %d", last, features)
		}
		return nil
	}
	var errs []error
	for _, sum := range [...]struct {
		trees    []Tree
		features int
	}{{t.Rank, holdFeatures}, {t.Hold, holdOddsWidth}} {
		for i := range sum.trees {
			errs = append(errs, known(sum.trees[i].Feature[:], sum.features))
		}
	}
	for i := range t.Touch {
		errs = append(errs, known(t.Touch[i].Feature[:], features))
	}
	return errors.Join(errs...)
}

// check returns an error if the fit cannot be used.
func (f *Fit) check() error {
	if f.Interval.Duration() == 0 {
		return fmt.Errorf("%w %q", ErrUnknownInterval, f.Interval)
	}
	if len(f.Ranks) < 2 || len(f.Reliability) == 0 {
		return fmt.Errorf("%s: the fit is empty", f.Interval)
	}
	if !sort.SliceIsSorted(f.Ranks, func(i, j int) bool { return f.Ranks[i] < f.Ranks[j] }) ||
		!sort.SliceIsSorted(f.Reliability, func(i, j int) bool { return f.Reliability[i].To < f.Reliability[j].To }) {
		return fmt.Errorf("%s: ranks or reliability are not ascending", f.Interval)
	}
	return nil
}

// reader reads the binary part; it stops at the first error.
type reader struct {
	left *bytes.Reader
	err  error
}

func (r *reader) read(v any) {
	if r.err == nil {
		r.err = binary.Read(r.left, binary.LittleEndian, v)
	}
}

// size reads a length in bytes and returns it in elements of the given size.
func (r *reader) size(each int) int {
	var n uint32
	r.read(&n)
	if r.err == nil && (int64(n) > int64(r.left.Len()) || int(n)%each != 0) {
		r.err = io.ErrUnexpectedEOF
	}
	if r.err != nil {
		return 0
	}
	return int(n) / each
}

//go:embed odds.table
var tableFile []byte

// Odds returns the table built into this program.
var Odds = sync.OnceValue(func() *Table {
	t, err := ReadTable(tableFile)
	if err != nil {
		panic(fmt.Sprintf("levels: odds.table: %v; write it again with tidemark calibrate", err))
	}
	return t
})

// OddsVersion returns the name of the table of Odds: the first twelve hexadecimal
// digits of its file's checksum. It changes with every fit, even if Algorithm does
// not.
func OddsVersion() string { return version(tableFile) }

func version(file []byte) string {
	sum := file[len(file)-sha256.Size:]
	return hex.EncodeToString(sum[:6])
}

// Validations returns the validations of an interval, if any.
func (t *Table) Validations(i Interval) []Validation {
	var own []Validation
	for _, v := range t.Provenance.Validations {
		if v.Interval == i {
			own = append(own, v)
		}
	}
	return own
}

// For returns the fit of the interval nearest to i, the longer of two equally near,
// and reports whether it is exactly that of i.
func (t *Table) For(i Interval) (fit *Fit, exact bool) {
	nearest := math.Inf(1)
	for k := range t.Fits {
		f := &t.Fits[k]
		ratio := math.Abs(math.Log(float64(f.Interval.Duration()) / float64(max(i.Duration(), 1))))
		if ratio <= nearest {
			fit, nearest = f, ratio
		}
	}
	return fit, fit != nil && fit.Interval == i
}

// sum returns the sum of the leaves chosen by v.
func sum(trees []Tree, v *[features]float32) float32 {
	total := float32(0)
	for i := range trees {
		t, k := &trees[i], 0
		if v[t.Feature[0]] > t.Cut[0] {
			k = 1
		}
		if v[t.Feature[1]] > t.Cut[1] {
			k += 2
		}
		total += t.Leaf[k]
	}
	return total
}

// excess returns how much more often than any line at its distance a level with the
// features v is expected to hold, as a probability. It ranks levels.
func (f *Fit) excess(v *[features]float32) float32 { return sum(f.Rank, v) }

// holdExcess is the same as known from the moment as well. It is a part of the odds.
func (f *Fit) holdExcess(v *[features]float32) float64 {
	return (float64(f.excess(v)) + float64(sum(f.Hold, v))) / 2
}

// BaselineHold returns the hold rate of lines at a distance, in ATR.
func (f *Fit) BaselineHold(distance float64) float64 {
	d := min(distance, rangeATR)
	return f.Baseline[0] + f.Baseline[1]*d + f.Baseline[2]*d*d
}

// strength returns the share of levels with a smaller excess.
func (f *Fit) strength(x float32) float32 {
	last := len(f.Ranks) - 1
	k := sort.Search(len(f.Ranks), func(i int) bool { return f.Ranks[i] > x })
	switch {
	case k == 0:
		return 0
	case k > last:
		return 1
	}
	below, above := f.Ranks[k-1], f.Ranks[k]
	return (float32(k-1) + (x-below)/(above-below)) / float32(last)
}

// odds sets the odds of the levels of the zones in b, whose excesses are known.
func (f *Fit) odds(of []*Level, b *batch, excess *[lanes]float32) {
	within := func(p float64) float64 { return min(max(p, minOdds), maxOdds) }
	hold, touch := b.sum(f.Hold), b.sumDeep(f.Touch)
	for k, l := range of {
		baseline := within(f.BaselineHold(float64(b.of[featureDistance][k])))
		p := within(baseline + (float64(excess[k])+float64(hold[k]))/2)
		r := &f.Reliability[f.HoldBin(p)]
		l.BaselineHold, l.HoldProbability = float32(baseline), float32(p)
		l.HoldInterval = [2]float32{float32(within(p - float64(r.Half))), float32(within(p + float64(r.Half)))}
		l.TouchProbability = float32(within(float64(b.of[featureReflection][k]) + float64(touch[k])))
		l.Samples = r.Samples
	}
}

// HoldBin returns the index of the Reliability for the given hold odds.
func (f *Fit) HoldBin(hold float64) int {
	return sort.Search(len(f.Reliability)-1, func(i int) bool { return float64(f.Reliability[i].To) >= hold })
}

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
	"sort"
	"sync"
)

// NoOdds tells why a level has no odds.
type NoOdds uint8

// The reasons.
const (
	OddsKnown       NoOdds = iota // none: the level has odds
	UnknownInterval               // no odds were calibrated for candles of this interval
	ShortHistory                  // fewer than MinOddsCandles candles
	BeforeOdds                    // found by an Algorithm before there were odds; Find does not give it
)

// MinOddsCandles is the least that odds are given for; the calibration saw no
// shorter series.
const MinOddsCandles = 500

func (r NoOdds) String() string {
	return [...]string{"", "no odds are calibrated for this interval", "fewer than 500 candles",
		"analysed by a version that did not estimate odds"}[r]
}

// Odds bound: no calibration can tell a level that always holds from one that
// does so ninety-nine times in a hundred.
const (
	leastOdds = 0.01
	mostOdds  = 0.99
)

// Tree is a step of a fitted sum: of its four leaves it adds the one that two
// comparisons choose.
type Tree struct {
	Feature [2]uint8   // indexes into the features
	Cut     [2]float32 // leaf bit k is set where the feature exceeds it
	Leaf    [4]float32 // share of probability
}

// Reliability is how outcomes fell, on pairs and weeks the fit had not seen,
// where hold odds up to To were given (and above those of the one before).
type Reliability struct {
	To      float32 // hold odds
	Half    float32 // half the width of the 95 % interval of the hold rate, from weeks drawn again
	Samples int32   // decided outcomes
}

// Trees are the sums that were fitted to the candles of all intervals together.
type Trees struct {
	Hold  []Tree // added to a baseline: the odds that the level holds
	Touch []Tree // added to the reflection principle's: that it is touched
}

// Fit is what was calibrated for one interval.
type Fit struct {
	Interval Interval
	// Baseline are the coefficients of h(d) = b0 + b1·d + b2·d², the rate at
	// which lines at distance d (ATR) held.
	Baseline [3]float64
	*Trees   // of the table: all its fits have the same
	// Ranks are values of the sum of Hold, ascending, which equal shares of
	// zones lie between: the strength of a level is the share below its own.
	Ranks       []float32
	Reliability []Reliability
}

// Provenance says what a table was made from.
type Provenance struct {
	Algorithm string // the Algorithm of the levels it was fitted on
	Command   string // that made it
	Series    []SeriesProvenance
	// Validations tell how fits made like those of the table did on what they had
	// not seen. They are no part of the fits: odds do not depend on them.
	Validations []Validation
}

// Validation is how such fits did for one interval, on pairs and times kept apart
// from those they learnt from; docs/levels-research.md tells how. Levels are the
// best three a side by strength, 0.5 to 8 ATR away.
type Validation struct {
	Interval   Interval
	LearntFrom string // "other pairs, other times", ...
	Levels     int
	// In points, hundredths of probability: the value and the ends of its 95 %
	// interval, from calendar weeks drawn again.
	Lift          [3]float64 // hold rate less that of lines at the distances of all levels
	NeighbourLift [3]float64 // the same for lines at about the distance of the level itself
	Terciles      [3]float64 // hold rate of the strongest third less that of the weakest
	HoldSkill     float64    // Brier skill of hold odds against the base rate
	HoldError     float64    // expected calibration error of hold odds, by HoldBins
	TouchSkill    float64    // Brier skill of touch odds, less that of the reflection principle
	TouchError    float64    // expected calibration error of touch odds, by TouchBins
	// Ten bins with as many samples each, by rising odds: decided outcomes for
	// hold odds, all for touch odds.
	HoldBins, TouchBins []ReliabilityBin
}

// ReliabilityBin compares odds with what came, over levels with much the same odds.
type ReliabilityBin struct {
	Promised float64 // mean of the odds
	Realised float64 // share that came to pass
	Samples  int
}

// SeriesProvenance is the data of one interval.
type SeriesProvenance struct {
	Interval Interval
	From, To int64 // Unix ms: first open time and last close time
	Candles  int
	Files    []string // their names, without path
	SHA256   string   // of the names and contents of all files, in order, as hex
}

// Table holds all fits. Its file is a line that names the format, the
// provenance as one line of JSON, the trees and the fits in little-endian binary, and
// the SHA-256 of all before.
type Table struct {
	Provenance Provenance
	Trees      *Trees
	Fits       []Fit
}

const tableFormat = "tidemark odds 2\n"

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

// ReadTable decodes a file that Encode made. Anything else is ErrBadTable.
func ReadTable(file []byte) (*Table, error) {
	body := len(file) - sha256.Size
	if body < 0 || sha256.Sum256(file[:body]) != [sha256.Size]byte(file[body:]) {
		return nil, fmt.Errorf("%w: the checksum does not fit", ErrBadTable)
	}
	rest, ok := bytes.CutPrefix(file[:body], []byte(tableFormat))
	header, rest, found := bytes.Cut(rest, []byte("\n"))
	if !ok || !found {
		return nil, fmt.Errorf("%w: not %q", ErrBadTable, tableFormat[:len(tableFormat)-1])
	}
	t := new(Table)
	if err := json.Unmarshal(header, &t.Provenance); err != nil {
		return nil, fmt.Errorf("%w: provenance: %w", ErrBadTable, err)
	}
	r := reader{bytes.NewReader(rest), nil}
	t.Trees = new(Trees)
	t.Trees.Hold = make([]Tree, r.size(binary.Size(Tree{})))
	r.read(t.Trees.Hold)
	t.Trees.Touch = make([]Tree, r.size(binary.Size(Tree{})))
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
		r.err = errors.New("more than the fits it names")
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadTable, r.err)
	}
	return t, nil
}

// check tells whether the trees can be used.
func (t *Trees) check() error {
	if len(t.Hold) == 0 || len(t.Touch) == 0 {
		return errors.New("there are no trees")
	}
	for _, sum := range [...]struct {
		trees []Tree
		known int
	}{{t.Hold, holdFeatures}, {t.Touch, features}} {
		for _, one := range sum.trees {
			if int(one.Feature[0]) >= sum.known || int(one.Feature[1]) >= sum.known {
				return fmt.Errorf("a tree asks for feature %d of %d", max(one.Feature[0], one.Feature[1]), sum.known)
			}
		}
	}
	return nil
}

// check tells whether a fit can be used.
func (f *Fit) check() error {
	if f.Interval.Duration() == 0 {
		return fmt.Errorf("%w %q", ErrUnknownInterval, f.Interval)
	}
	if len(f.Ranks) < 2 || len(f.Reliability) == 0 {
		return fmt.Errorf("%s: the fit is empty", f.Interval)
	}
	if !sort.SliceIsSorted(f.Ranks, func(i, j int) bool { return f.Ranks[i] < f.Ranks[j] }) ||
		!sort.SliceIsSorted(f.Reliability, func(i, j int) bool { return f.Reliability[i].To < f.Reliability[j].To }) {
		return fmt.Errorf("%s: ranks or reliability do not ascend", f.Interval)
	}
	return nil
}

// reader reads the binary part; after its first error it reads nothing more.
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

// Odds is the table this program was built with.
var Odds = sync.OnceValue(func() *Table {
	t, err := ReadTable(tableFile)
	if err != nil {
		panic(fmt.Sprintf("levels: odds.table: %v; make it anew with tidemark calibrate", err))
	}
	return t
})

// OddsVersion names the table of Odds: the first twelve hexadecimal digits of its
// file's checksum. It changes with every fit, where Algorithm may not.
func OddsVersion() string {
	sum := tableFile[len(tableFile)-sha256.Size:]
	return hex.EncodeToString(sum[:6])
}

// Validations returns those of an interval, empty where there are none.
func (t *Table) Validations(i Interval) []Validation {
	var own []Validation
	for _, v := range t.Provenance.Validations {
		if v.Interval == i {
			own = append(own, v)
		}
	}
	return own
}

// For returns the fit of the interval nearest to i, the longer of two as near,
// and whether it is i's own.
func (t *Table) For(i Interval) (fit *Fit, own bool) {
	far := math.Inf(1)
	for k := range t.Fits {
		f := &t.Fits[k]
		ratio := math.Abs(math.Log(float64(f.Interval.Duration()) / float64(max(i.Duration(), 1))))
		if ratio <= far {
			fit, far = f, ratio
		}
	}
	return fit, fit != nil && fit.Interval == i
}

// sum adds the leaves that v chooses.
func sum(trees []Tree, v *[features]float32) float64 {
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
	return float64(total)
}

// excess is by how much more often than any line at its distance a level with
// the features v holds, as a share of probability.
func (f *Fit) excess(v *[features]float32) float64 { return sum(f.Hold, v) }

// BaselineHold is how often lines at a distance, in ATR, held.
func (f *Fit) BaselineHold(distance float64) float64 {
	d := min(distance, rangeATR)
	return f.Baseline[0] + f.Baseline[1]*d + f.Baseline[2]*d*d
}

// strength is the share of zones whose excess is less.
func (f *Fit) strength(excess float64) float64 {
	x, last := float32(excess), len(f.Ranks)-1
	k := sort.Search(len(f.Ranks), func(i int) bool { return f.Ranks[i] > x })
	switch {
	case k == 0:
		return 0
	case k > last:
		return 1
	}
	below, above := f.Ranks[k-1], f.Ranks[k]
	return (float64(k-1) + float64((x-below)/(above-below))) / float64(last)
}

// odds sets the odds of l, whose features are v.
func (f *Fit) odds(l *Level, v *[features]float32, excess float64) {
	within := func(p float64) float64 { return min(max(p, leastOdds), mostOdds) }
	l.BaselineHold = within(f.BaselineHold(float64(v[featureDistance])))
	l.HoldProbability = within(l.BaselineHold + excess)
	l.TouchProbability = within(float64(v[featureReflection]) + sum(f.Touch, v))
	r := &f.Reliability[f.HoldBin(l.HoldProbability)]
	l.HoldInterval = [2]float64{within(l.HoldProbability - float64(r.Half)), within(l.HoldProbability + float64(r.Half))}
	l.Samples = int(r.Samples)
}

// HoldBin is the index of the Reliability that hold odds belong to.
func (f *Fit) HoldBin(hold float64) int {
	return sort.Search(len(f.Reliability)-1, func(i int) bool { return float64(f.Reliability[i].To) >= hold })
}

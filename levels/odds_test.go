// This file pins the odds: a table is read back from its file and a damaged file is
// refused, odds are probabilities with a baseline and an interval around them,
// uncalibrated intervals have none, and the built-in table is complete and small.

package levels

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func small() *Table {
	trees := &Trees{
		Rank:  []Tree{{Feature: [2]uint8{featureDistance, featureShare}, Cut: [2]float32{2, 0.5}, Leaf: [4]float32{-0.02, 0.01, 0.02, 0.03}}},
		Hold:  []Tree{{Feature: [2]uint8{featureDistance, featureTrend}, Cut: [2]float32{2, 0.5}, Leaf: [4]float32{-0.02, 0.01, 0.02, 0.05}}},
		Touch: []DeepTree{{Feature: [4]uint8{featureMoves, featureReflection, featureExcursion, featureDistance}, Leaf: [16]float32{15: 0.03, 11: 0.01}}},
	}
	return &Table{
		Trees: trees,
		Provenance: Provenance{Algorithm: "x", Command: "by hand", Series: []SeriesProvenance{{Interval: "1h"}}, Files: []string{"A-1h.csv.gz"},
			Validations: []Validation{{Interval: "1h", LearntFrom: "others", Levels: 9, Lift: [3]float64{1, -0.5, 2.25}, HoldSkill: 0.01, TouchBins: []ReliabilityBin{{0.5, 0.25, 9}}}}},
		Fits: []Fit{{
			Interval:    "1h",
			Baseline:    [3]float64{0.5, -0.01, 0.0005},
			Trees:       trees,
			Ranks:       []float32{-0.02, 0.01, 0.03},
			Reliability: []Reliability{{To: 0.5, Half: 0.02, Samples: 70}, {To: 1, Half: 0.05, Samples: 30}},
		}},
	}
}

func TestTable_SurvivesItsFile(t *testing.T) {
	want := small()
	file, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	want.Version = version(file)
	got, err := ReadTable(file)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	again, err := got.Encode()
	if err != nil || !bytes.Equal(again, file) {
		t.Errorf("encoded again it is another file: %v", err)
	}
}

func TestReadTable_RefusesASpoiltFile(t *testing.T) {
	file, err := small().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range file {
		spoilt := slices.Clone(file)
		spoilt[i] ^= 0x40
		if _, err := ReadTable(spoilt); !errors.Is(err, ErrBadTable) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		if _, err := ReadTable(file[:i]); !errors.Is(err, ErrBadTable) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
	seal := func(body []byte) []byte {
		sum := sha256.Sum256(body)
		return append(slices.Clone(body), sum[:]...)
	}
	body := file[:len(file)-sha256.Size]
	for name, bad := range map[string][]byte{
		"another format": seal(bytes.Replace(body, []byte("odds 4"), []byte("odds 3"), 1)),
		"no provenance":  seal(bytes.Replace(body, []byte("{"), []byte("["), 1)),
		"more than fits": seal(append(slices.Clone(body), 0)),
		"fewer":          seal(body[:len(body)-1]),
	} {
		if _, err := ReadTable(bad); !errors.Is(err, ErrBadTable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, spoil := range map[string]func(*Fit){
		"unknown interval":          func(f *Fit) { f.Interval = "7h" },
		"no trees":                  func(f *Fit) { f.Hold = nil },
		"a feature there is not":    func(f *Fit) { f.Hold[0].Feature[1] = features },
		"a deep one there is not":   func(f *Fit) { f.Touch[0].Feature[3] = features },
		"the moment moves the edge": func(f *Fit) { f.Rank[0].Feature[0] = featureMoves },
		"touches move hold odds":    func(f *Fit) { f.Hold[0].Feature[0] = featureReflection },
		"ranks that do not ascend":  func(f *Fit) { f.Ranks[0] = 1 },
		"reliability out of order":  func(f *Fit) { f.Reliability[1].To = 0.1 },
		"no reliability":            func(f *Fit) { f.Reliability = nil },
		"one rank":                  func(f *Fit) { f.Ranks = f.Ranks[:1] },
	} {
		table := small()
		spoil(&table.Fits[0])
		file, err := table.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ReadTable(file); !errors.Is(err, ErrBadTable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTable_TheNearestIntervalServesWhereThereIsNone(t *testing.T) {
	table := &Table{Fits: []Fit{{Interval: "15m"}, {Interval: "1h"}, {Interval: "4h"}}}
	for interval, want := range map[Interval]Interval{
		"1m": "15m", "15m": "15m", "30m": "1h", "1h": "1h", "2h": "4h", "4h": "4h", "6h": "4h", "1w": "4h",
	} {
		fit, own := table.For(interval)
		if fit.Interval != want || own != (interval == want) {
			t.Errorf("%s: got that of %s, own %v; want that of %s", interval, fit.Interval, own, want)
		}
	}
	if fit, own := new(Table).For("1h"); fit != nil || own {
		t.Errorf("an empty table has %v, %v", fit, own)
	}
}

func TestOdds_ByHand(t *testing.T) {
	f := &small().Fits[0]
	var v [features]float32
	v[featureDistance], v[featureShare], v[featureMoves], v[featureReflection], v[featureTrend] = 4, 0.7, 1, 0.6, 1
	excess := f.excess(&v)
	if math.Abs(float64(excess-0.03)) > 1e-6 {
		t.Fatalf("excess %v, want the leaf of both above their cuts, 0.03", excess)
	}
	var l Level
	odds := func() {
		var b batch
		b.add(&v)
		f.odds([]*Level{&l}, &b, &[lanes]float32{f.excess(&v)})
	}
	odds()
	near := func(a float32, b float64) bool { return math.Abs(float64(a)-b) < 1e-6 }
	// h(4) = 0.5 − 0.04 + 0.008 = 0.468, and the mean of 0.03 and 0.05; the walk's 0.6
	// and 0.01
	if !near(l.BaselineHold, 0.468) || !near(l.HoldProbability, 0.508) || !near(l.TouchProbability, 0.61) ||
		!near(l.HoldInterval[0], 0.458) || !near(l.HoldInterval[1], 0.558) || l.Samples != 30 || l.NoOdds != OddsKnown {
		t.Errorf("got %+v", l)
	}
	v[featureReflection] = 0.99
	f.Baseline[0] = 2
	odds()
	if l.TouchProbability != maxOdds || l.HoldProbability != maxOdds {
		t.Errorf("got %+v, want odds of at most %v", l, maxOdds)
	}
}

func TestStrength_RisesWithTheExcessFromZeroToOne(t *testing.T) {
	fit, _ := Odds().For("1h")
	last := float32(0)
	for x := float32(-0.3); x < 0.3; x += 0.0005 {
		s := fit.strength(x)
		if s < last || s > 1 {
			t.Fatalf("strength %v of %v, after %v", s, x, last)
		}
		last = s
	}
	if fit.strength(-0.3) != 0 || last != 1 {
		t.Errorf("strength runs from %v to %v", fit.strength(-0.3), last)
	}
	small := &small().Fits[0]
	if s := small.strength(0.02); math.Abs(float64(s-0.75)) > 1e-6 {
		t.Errorf("strength %v halfway between the middle rank and the last", s)
	}
}

// The reflection principle: known values of 2Φ(−x).
func TestReflection_IsTwiceTheTailOfTheNormal(t *testing.T) {
	for _, test := range [][2]float64{{0, 1}, {1, 0.3173105}, {1.959964, 0.05}, {3, 0.0026998}} {
		if p := Reflection(test[0]*math.Sqrt(Horizon*0.25), 0.25); math.Abs(p-test[1]) > 1e-6 {
			t.Errorf("%v standard deviations away: %v, want %v", test[0], p, test[1])
		}
	}
}

func TestFinder_LevelsCarryOddsOrAReason(t *testing.T) {
	known := 0
	for _, test := range []struct {
		interval Interval
		n        int
		want     NoOdds
	}{
		{"1h", 2000, OddsKnown}, {"15m", 800, OddsKnown}, {"4h", MinOddsCandles, OddsKnown},
		{"1h", MinOddsCandles - 1, ShortHistory}, {"1w", 2000, UnknownInterval}, {"5m", 60, UnknownInterval}, {"2h", 700, OddsKnown},
	} {
		found := 0
		for seed := range uint64(5) {
			c := new(Candles)
			c.Reset(test.interval, test.n)
			for i, k := 0, generate(seed, test.n); i < test.n; i++ {
				one := k.At(i)
				one.OpenTime = int64(i) * test.interval.Milliseconds()
				if err := c.Append(one); err != nil {
					t.Fatal(err)
				}
			}
			a := find(t, c)
			found += len(all(a))
			for _, l := range all(a) {
				if l.NoOdds != test.want || (l.NoOdds.String() == "") != (test.want == OddsKnown) {
					t.Fatalf("%d of %s: %q, want %q", test.n, test.interval, l.NoOdds, test.want)
				}
				if test.want != OddsKnown {
					if l.TouchProbability != 0 || l.HoldProbability != 0 || l.Samples != 0 {
						t.Fatalf("no odds, and yet %+v", l)
					}
					continue
				}
				known++
				in := func(p float32) bool { return minOdds <= p && p <= maxOdds }
				if !in(l.TouchProbability) || !in(l.HoldProbability) || !in(l.BaselineHold) || l.Samples <= 0 ||
					!(l.HoldInterval[0] < l.HoldProbability && l.HoldProbability < l.HoldInterval[1]) {
					t.Fatalf("odds of %+v", l)
				}
			}
		}
		if found == 0 {
			t.Errorf("%s: no levels", test.interval)
		}
	}
	if known == 0 {
		t.Error("no level had odds")
	}
}

// A farther level is touched less often: over many markets the odds must decrease,
// though not from each level to the next.
func TestFinder_TouchOddsFallWithDistance(t *testing.T) {
	var sum, n [3]float64
	for seed := range uint64(60) {
		c := generate(seed, 2000)
		a := find(t, c)
		for _, l := range all(a) {
			k := min(int(math.Abs(l.Price-a.LastPrice)/a.ATR/3), 2)
			sum[k] += float64(l.TouchProbability)
			n[k]++
		}
	}
	if n[0] == 0 || n[1] == 0 || n[2] == 0 || !(sum[0]/n[0] > sum[1]/n[1] && sum[1]/n[1] > sum[2]/n[2]) {
		t.Errorf("mean touch odds at 0–3, 3–6 and more ATR: %v of %v levels", sum, n)
	}
}

func TestOdds_TheTableBuiltInIsWholeSmallAndOfThisAlgorithm(t *testing.T) {
	table := Odds()
	if len(tableFile) > 100<<10 {
		t.Errorf("the table has %d bytes", len(tableFile))
	}
	if table.Provenance.Algorithm != Algorithm || !strings.HasPrefix(table.Provenance.Command, "tidemark calibrate") {
		t.Errorf("made for algorithm %q by %q", table.Provenance.Algorithm, table.Provenance.Command)
	}
	for i, interval := range []Interval{"15m", "30m", "1h", "2h", "4h"} {
		fit, own := table.For(interval)
		if p := table.Provenance.Series[i]; !own || p.Interval != interval || p.Candles == 0 || len(table.Provenance.FilesOf(interval)) == 0 || len(p.SHA256) != 64 || p.From >= p.To {
			t.Errorf("%s: own %v, %+v", interval, own, p)
		}
		if h := fit.BaselineHold(1); h < 0.40 || h > 0.52 {
			t.Errorf("%s: lines one ATR away hold with %v; a random walk's do with 0.44", interval, h)
		}
	}
}

func TestFilesOf_NamesTheLongestThatDividesForEachPair(t *testing.T) {
	p := Provenance{Files: []string{"A-15m.csv.gz", "A-4h.csv.gz", "B-1h.csv.gz", "C_PERP-1h.csv.gz"}}
	for interval, want := range map[Interval]string{
		"15m": "A-15m.csv.gz", "1h": "A-15m.csv.gz B-1h.csv.gz C_PERP-1h.csv.gz", "4h": "A-4h.csv.gz B-1h.csv.gz C_PERP-1h.csv.gz", "5m": "",
	} {
		if got := strings.Join(p.FilesOf(interval), " "); got != want {
			t.Errorf("%s: %q, want %q", interval, got, want)
		}
	}
}

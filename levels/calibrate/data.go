package calibrate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sort"

	"tidemark/levels"
)

const (
	window   = 2000 // candles before most moments, the service's default
	nearest  = 0.5  // minimum distance of judged levels, in ATR
	farthest = 8.0  // maximum distance
	// controls is the number of artificial levels of every moment on either side,
	// evenly from nearest to farthest.
	controls = 151
	// thin is the number of rows of a moment for each row that fits use: rows of one
	// moment contain nearly the same information.
	thin = 3
)

// moment is a point in time at which the levels of one pair are found.
type moment struct {
	interval int8 // index into data.intervals
	pair     int32
	at       int64 // its as-of time, Unix ms
	from, to int32 // its rows
	// judged moments lie Horizon candles apart; the others are only for fitting, and
	// have only one row in thin.
	judged  bool
	control int32 // of a judged moment: index into controls
	drawn   int32 // of a judged moment: its first row in drawn
}

// data holds the candidates of all intervals, their features and their
// outcomes.
type data struct {
	intervals []levels.Interval
	pairs     []string                      // a pair is the same on all intervals
	moments   []moment                      // by interval
	controls  [][2][controls]levels.Outcome // by role

	// by row
	distance   []float32
	reflection []float32
	sigma      []float32 // the reflection principle with the volatility of the whole window
	role       []levels.Role
	outcome    []levels.Outcome
	drawnRole  []levels.Role
	bins       [][]uint8   // by feature, then row: how many cuts the feature exceeds
	drawn      [][]uint8   // the same of the rows of judged moments, as of the last drawing
	cuts       [][]float32 // by feature, ascending
}

// horizon returns how long after its moment an outcome may occur, in ms.
func (d *data) horizon(m *moment) int64 {
	return levels.Horizon * d.intervals[m.interval].Milliseconds()
}

// every returns the number of candles between the moments of the fit: a divisor of
// Horizon.
func every(i levels.Interval) int {
	if i.Duration() >= levels.Interval("2h").Duration() {
		return 12 // they have fewer candles
	}
	return 24
}

// gather walks through all series.
func gather(all []series, log io.Writer) (*data, []levels.SeriesProvenance, error) {
	d := new(data)
	var p []levels.SeriesProvenance
	var c levels.Candles
	var f levels.Finder
	hash := sha256.New()
	number := map[string]int32{}
	for _, s := range all {
		if _, ok := number[s.symbol]; !ok {
			number[s.symbol] = int32(len(d.pairs))
			d.pairs = append(d.pairs, s.symbol)
		}
	}
	if err := d.cut(all); err != nil {
		return nil, nil, err
	}
	for i, s := range all {
		if i == 0 || s.interval != all[i-1].interval {
			d.intervals = append(d.intervals, s.interval)
			p = append(p, levels.SeriesProvenance{Interval: s.interval})
			hash.Reset()
		}
		if err := s.read(&c, hash); err != nil {
			return nil, nil, err
		}
		one := &p[len(p)-1]
		one.Files = append(one.Files, filepath.Base(s.file))
		one.Candles += c.Len()
		if c.Len() > 0 {
			if one.From == 0 || c.OpenTime[0] < one.From {
				one.From = c.OpenTime[0]
			}
			one.To = max(one.To, c.AsOf())
		}
		d.walk(&c, &f, number[s.symbol])
		if i == len(all)-1 || s.interval != all[i+1].interval {
			one.SHA256 = hex.EncodeToString(hash.Sum(nil))
			fmt.Fprintf(log, "%s: %d series, %d candles\n", s.interval, len(one.Files), one.Candles)
		}
	}
	if len(d.moments) == 0 {
		return nil, nil, fmt.Errorf("no file has the %d candles that a moment and its horizon need", levels.MinOddsCandles+levels.Horizon)
	}
	return d, p, nil
}

// cut chooses the cuts of all features from some moments of every series.
func (d *data) cut(all []series) error {
	var c levels.Candles
	var f levels.Finder
	values := make([][]float32, len(levels.FeatureNames()))
	for _, s := range all {
		if err := s.read(&c, io.Discard); err != nil {
			return err
		}
		for end := levels.MinOddsCandles; end+levels.Horizon <= c.Len(); end += 10 * levels.Horizon {
			// A market that does not move has no candidates; that is not an error here.
			_ = f.Candidates(slice(&c, max(0, end-window), end), func(k levels.Candidate) {
				for i, v := range k.Features {
					values[i] = append(values[i], v)
				}
			})
		}
	}
	d.cuts = make([][]float32, len(values))
	for k, some := range values {
		slices.Sort(some)
		for q := 1; q < maxBins && len(some) > 0; q++ {
			if v := some[q*len(some)/maxBins]; len(d.cuts[k]) == 0 || v > d.cuts[k][len(d.cuts[k])-1] {
				d.cuts[k] = append(d.cuts[k], v)
			}
		}
	}
	d.bins, d.drawn = make([][]uint8, len(values)), make([][]uint8, len(values))
	return nil
}

// bin adds a row of features to columns.
func (d *data) bin(columns [][]uint8, features []float32) {
	for k, v := range features {
		cuts := d.cuts[k]
		columns[k] = append(columns[k], uint8(sort.Search(len(cuts), func(j int) bool { return cuts[j] >= v })))
	}
}

// walk adds the moments of one series. So that the fit works for any number of
// candles, one moment in seven has only 1,000 candles before it, and one only 500;
// judged moments have all.
func (d *data) walk(c *levels.Candles, f *levels.Finder, pair int32) {
	interval := int8(len(d.intervals) - 1)
	step := every(c.Interval)
	start := levels.MinOddsCandles + int(pair)*37%levels.Horizon // so that pairs have different phases
	for k, end := 0, start; end+levels.Horizon <= c.Len(); k, end = k+1, end+step {
		judged := k*step%levels.Horizon == 0
		back := window
		if turn := k % 7; !judged && turn == 3 {
			back = 1000
		} else if !judged && turn == 5 {
			back = 500
		}
		known := slice(c, max(0, end-back), end)
		at := levels.MomentOf(known)
		m := moment{interval: interval, pair: pair, at: at.AsOf, from: int32(len(d.role)), judged: judged, drawn: int32(len(d.drawn[0]))}
		turn := k
		squared := meanSquare(known) / (at.ATR * at.ATR)
		err := f.Candidates(known, func(k levels.Candidate) {
			if k.Distance < 0.25 {
				return // touched already
			}
			turn++
			if !judged && turn%thin != 0 {
				return
			}
			d.bin(d.bins, k.Features)
			if judged {
				d.bin(d.drawn, k.Drawn)
			}
			d.distance = append(d.distance, float32(k.Distance))
			d.reflection = append(d.reflection, k.Features[levels.ReflectionFeature])
			d.sigma = append(d.sigma, float32(levels.Reflection(k.Distance-0.25, squared)))
			d.role, d.drawnRole = append(d.role, k.Role), append(d.drawnRole, k.DrawnRole)
			d.outcome = append(d.outcome, at.Judge(k.Price, c).Outcome)
		})
		m.to = int32(len(d.role))
		if err != nil || m.to == m.from {
			continue // a market that does not move
		}
		if judged {
			m.control = int32(len(d.controls))
			d.controls = append(d.controls, [2][controls]levels.Outcome{})
			for i := range controls {
				away := (nearest + (farthest-nearest)*float64(i)/(controls-1)) * at.ATR
				d.controls[m.control][levels.Resistance][i] = at.Judge(at.LastPrice+away, c).Outcome
				if at.LastPrice > away {
					d.controls[m.control][levels.Support][i] = at.Judge(at.LastPrice-away, c).Outcome
				}
			}
		}
		d.moments = append(d.moments, m)
	}
}

// slice returns a view of the candles from from up to, not including, to.
func slice(c *levels.Candles, from, to int) *levels.Candles {
	v := *c
	v.OpenTime, v.Open, v.High = c.OpenTime[from:to], c.Open[from:to], c.High[from:to]
	v.Low, v.Close, v.Volume = c.Low[from:to], c.Close[from:to], c.Volume[from:to]
	return &v
}

// meanSquare returns the mean squared change from close to close.
func meanSquare(c *levels.Candles) float64 {
	sum := 0.0
	for i := 1; i < c.Len(); i++ {
		move := c.Close[i] - c.Close[i-1]
		sum += move * move
	}
	return sum / float64(c.Len()-1)
}

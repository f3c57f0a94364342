package calibrate

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"tidemark/levels"
)

const (
	window   = 2000 // candles most moments look back over, the service's default
	nearest  = 0.5  // levels are judged from this distance on, in ATR
	farthest = 8.0  // and up to this one
	// controls are the artificial levels every moment is asked about, on either
	// side, evenly from nearest to farthest.
	controls = 151
)

// moment is a point in time at which the levels of one pair were looked for.
type moment struct {
	pair     int32
	at       int64 // its as-of time, Unix ms
	from, to int32 // its rows
	// judged moments lie Horizon candles apart; the others only serve to fit.
	judged  bool
	control int32 // of a judged moment: index into controls
	drawn   int32 // of a judged moment: its first row in drawn
}

// data is all candidates of one interval, what was known of them and what
// became of them.
type data struct {
	interval levels.Interval
	moments  []moment
	controls [][2][controls]levels.Outcome // by role

	// by row
	distance   []float32
	reflection []float32
	sigma      []float32 // the reflection principle again, with the volatility of the whole window
	role       []levels.Role
	outcome    []levels.Outcome
	drawnRole  []levels.Role
	bins       [][]uint8   // by feature, then row: how many cuts the feature exceeds
	drawn      [][]uint8   // the same of the rows of judged moments, as of the last drawing
	cuts       [][]float32 // by feature, ascending
}

// every is how many candles lie between the moments that are fitted on: a
// divisor of Horizon.
func every(i levels.Interval) int {
	if i.Duration() >= levels.Interval("4h").Duration() {
		return 6 // there are few of them
	}
	return 24
}

// gather walks through all files of one interval.
func gather(interval levels.Interval, files []string) (*data, levels.SeriesProvenance, error) {
	d := &data{interval: interval}
	p := levels.SeriesProvenance{Interval: interval}
	hash := sha256.New()
	var values, then []float32 // by row, then feature
	var c levels.Candles
	var f levels.Finder
	for pair, file := range files {
		c.Reset(interval, 0)
		fmt.Fprintln(hash, filepath.Base(file))
		if err := read(&c, file, hash); err != nil {
			return nil, p, err
		}
		if c.Len() == 0 {
			return nil, p, fmt.Errorf("%s: no candles", file)
		}
		p.Files = append(p.Files, filepath.Base(file))
		p.Candles += c.Len()
		if p.From == 0 || c.OpenTime[0] < p.From {
			p.From = c.OpenTime[0]
		}
		p.To = max(p.To, c.AsOf())
		values, then = d.walk(values, then, &c, &f, pair)
	}
	p.SHA256 = hex.EncodeToString(hash.Sum(nil))
	if len(d.moments) == 0 {
		return nil, p, fmt.Errorf("%s: no file has the %d candles a moment and its horizon need", interval, levels.MinOddsCandles+levels.Horizon)
	}
	d.quantise(values, then)
	return d, p, nil
}

// walk adds the moments of one pair and returns values with their features, and
// then with those that judged ones had at the last drawing. So that the fit
// serves whatever number of candles is asked for, one moment in seven looks back
// over 1,000 only, and one over 500; not the judged ones.
func (d *data) walk(values, then []float32, c *levels.Candles, f *levels.Finder, pair int) ([]float32, []float32) {
	step := every(d.interval)
	start := levels.MinOddsCandles + pair*37%levels.Horizon // so that pairs take turns
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
		m := moment{pair: int32(pair), at: at.AsOf, from: int32(len(d.role)), judged: judged, drawn: int32(len(then) / len(levels.FeatureNames()))}
		squared := meanSquare(known) / (at.ATR * at.ATR)
		err := f.Candidates(known, func(k levels.Candidate) {
			if k.Distance < 0.25 {
				return // touched already
			}
			values = append(values, k.Features...)
			if judged {
				then = append(then, k.Drawn...)
			}
			d.distance = append(d.distance, float32(k.Distance))
			d.reflection = append(d.reflection, k.Features[levels.ReflectionFeature])
			d.sigma = append(d.sigma, float32(levels.Reflection(k.Distance-0.25, squared)))
			d.role, d.drawnRole = append(d.role, k.Role), append(d.drawnRole, k.DrawnRole)
			d.outcome = append(d.outcome, at.Judge(k.Price, c).Outcome)
		})
		if m.to = int32(len(d.role)); err != nil || m.to == m.from {
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
	return values, then
}

// slice is a view of candles from to to, end exclusive.
func slice(c *levels.Candles, from, to int) *levels.Candles {
	v := *c
	v.OpenTime, v.Open, v.High = c.OpenTime[from:to], c.Open[from:to], c.High[from:to]
	v.Low, v.Close, v.Volume = c.Low[from:to], c.Close[from:to], c.Volume[from:to]
	return &v
}

// meanSquare is the mean squared change from close to close.
func meanSquare(c *levels.Candles) float64 {
	sum := 0.0
	for i := 1; i < c.Len(); i++ {
		move := c.Close[i] - c.Close[i-1]
		sum += move * move
	}
	return sum / float64(c.Len()-1)
}

// read appends the candles of a gzipped CSV file with the header
// open_time_ms,open,high,low,close,volume to c and its bytes to sum. A candle
// that could not be is left out, as a venue's decoder would refuse it.
func read(c *levels.Candles, file string, sum io.Writer) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	r := csv.NewReader(io.TeeReader(z, sum))
	r.ReuseRecord, r.FieldsPerRecord = true, 6
	for line := 1; ; line++ {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if line == 1 {
			if got := strings.Join(row, ","); got != "open_time_ms,open,high,low,close,volume" {
				return fmt.Errorf("%s: its header is %q, not open_time_ms,open,high,low,close,volume", file, got)
			}
			continue
		}
		at, err := strconv.ParseInt(row[0], 10, 64)
		var v [5]float64
		for i := range v {
			if err == nil {
				v[i], err = strconv.ParseFloat(row[i+1], 64)
			}
		}
		if err != nil {
			return fmt.Errorf("%s: line %d: %w", file, line, err)
		}
		_ = c.Append(levels.Candle{OpenTime: at, Open: v[0], High: v[1], Low: v[2], Close: v[3], Volume: v[4]})
	}
}

package calibrate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"tidemark/levels"
)

const (
	window   = 2000 // candles before most moments, the service's default
	nearest  = 0.5  // minimum distance of judged levels, in ATR
	farthest = 12.0 // maximum distance
	// controls is the number of artificial levels of every moment on either side,
	// evenly from nearest to farthest.
	controls = 231
	// compared is the maximum distance of rows that are fitted to their neighbours'
	// outcomes. Farther ones are seldom reached.
	compared = 8.0
	// thin is the number of rows of a moment for each row that fits use: rows of one
	// moment contain nearly the same information.
	thin = 4
)

// moment is a point in time at which the levels of one pair are found.
type moment struct {
	interval int8 // index into data.intervals
	asset    int32
	at       int64 // its as-of time, Unix ms
	from, to int32 // its rows
	// judged moments lie at least Horizon candles apart; the others are only for
	// fitting, and have only one row in thin.
	judged  bool
	control int32 // of a judged moment: index into controls
	drawn   int32 // of a judged moment: its first row in drawn
}

// data holds the candidates of all intervals, their features and their
// outcomes.
type data struct {
	intervals []levels.Interval
	assets    []string                      // base assets
	moments   []moment                      // by interval
	controls  [][2][controls]levels.Outcome // by role
	rows
	cuts [][]float32 // by feature, ascending
}

// rows holds candidates in columns.
type rows struct {
	distance   []float32
	reflection []float32
	sigma      []float32 // the reflection principle with the volatility of the whole window
	role       []levels.Role
	outcome    []levels.Outcome
	drawnRole  []levels.Role
	beyond     []bool    // farther than levels.DrawDistance at the last drawing
	bins       [][]uint8 // by feature, then row: how many cuts the feature exceeds
	drawn      [][]uint8 // the same of the rows of judged moments, as of the last drawing
}

// horizon returns how long after its moment an outcome may occur, in ms.
func (d *data) horizon(m *moment) int64 {
	return levels.Horizon * d.intervals[m.interval].Milliseconds()
}

// every is the number of candles between the moments of the fit, and judged that of
// moments from one that is judged to the next. Neither they nor their product have a
// divisor in common with 24: moments rotate through the hours of the day and through
// the candles between two drawings.
func every(i levels.Interval) (step, judged int) {
	if i.Duration() >= levels.Interval("2h").Duration() {
		return 25, 7 // they have fewer candles
	}
	return 35, 5
}

// gather walks through all series, several at once.
func gather(all []series, until int64, log io.Writer) (*data, []levels.SeriesProvenance, error) {
	d := new(data)
	var p []levels.SeriesProvenance
	pairs := 0 // of the interval
	number := map[string]int32{}
	for _, s := range all {
		if asset := base(s.symbol); number[asset] == 0 {
			d.assets = append(d.assets, asset)
			number[asset] = int32(len(d.assets))
		}
	}
	if err := d.cut(all, until); err != nil {
		return nil, nil, err
	}
	found := make([]*part, len(all))
	err := each(len(all), func() func(i int) error {
		var f levels.Finder
		return func(i int) error {
			var err error
			found[i], err = d.walk(all[i], until, &f, number[base(all[i].symbol)]-1)
			return err
		}
	}, func(i int) { // in order
		s, one := all[i], found[i]
		found[i] = nil
		if i == 0 || s.interval != all[i-1].interval {
			d.intervals = append(d.intervals, s.interval)
			p = append(p, levels.SeriesProvenance{Interval: s.interval})
		}
		d.add(one)
		last := &p[len(p)-1]
		pairs++
		last.Candles += one.candles
		if one.candles > 0 {
			if last.From == 0 || one.first < last.From {
				last.From = one.first
			}
			last.To = max(last.To, one.last)
		}
		sum := sha256.Sum256(append(one.sum[:], last.SHA256...)) // of the series so far
		last.SHA256 = hex.EncodeToString(sum[:])
		if i == len(all)-1 || s.interval != all[i+1].interval {
			fmt.Fprintf(log, "%s: %d series, %d candles\n", s.interval, pairs, last.Candles)
			pairs = 0
		}
	})
	if err != nil {
		return nil, nil, err
	}
	if len(d.moments) == 0 {
		return nil, nil, fmt.Errorf("no file has the %d candles that a moment and its horizon need", levels.MinOddsCandles+levels.Horizon)
	}
	return d, p, nil
}

// each calls a function made by worker for every i below n, several at once, and then
// done in order. It returns the first error.
func each(n int, worker func() func(i int) error, done func(i int)) error {
	workers := max(1, min(runtime.GOMAXPROCS(0), n))
	ready := make([]chan error, n)
	for i := range ready {
		ready[i] = make(chan error, 1)
	}
	var next atomic.Int64
	var failed atomic.Bool
	var all sync.WaitGroup
	room := make(chan struct{}, 4*workers) // results that wait for done need memory
	for range workers {
		all.Go(func() {
			do := worker()
			for {
				room <- struct{}{}
				i := int(next.Add(1)) - 1
				if i >= n {
					<-room
					return
				}
				var err error
				if !failed.Load() {
					err = do(i)
				}
				ready[i] <- err
			}
		})
	}
	var first error
	for i := range n {
		err := <-ready[i]
		if first == nil {
			first = err
		}
		if first != nil {
			failed.Store(true)
		} else {
			done(i)
		}
		<-room
	}
	all.Wait()
	return first
}

// cut chooses the cuts of all features from some moments of some series of every
// interval.
func (d *data) cut(all []series, until int64) error {
	const some = 4 // one series in so many
	values := make([][]float32, len(levels.FeatureNames()))
	found := make([][][]float32, (len(all)+some-1)/some)
	err := each(len(found), func() func(i int) error {
		var c levels.Candles
		var f levels.Finder
		return func(i int) error {
			if err := all[i*some].read(&c, until, io.Discard); err != nil {
				return err
			}
			found[i] = make([][]float32, len(values))
			for end := levels.MinOddsCandles; end+levels.Horizon <= c.Len(); end += 10 * levels.Horizon {
				// A market that does not move has no candidates; that is not an error here.
				_ = f.Candidates(slice(&c, max(0, end-window), end), func(k levels.Candidate) {
					for k, v := range k.Features {
						found[i][k] = append(found[i][k], v)
					}
				})
			}
			return nil
		}
	}, func(i int) {
		for k, some := range found[i] {
			values[k] = append(values[k], some...)
		}
	})
	if err != nil {
		return err
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

// part is what walk finds in one series; indexes start at 0.
type part struct {
	moments     []moment
	controls    [][2][controls]levels.Outcome
	candles     int
	first, last int64 // open time of the first candle, close time of the last
	sum         [sha256.Size]byte
	rows
}

// add appends a part.
func (d *data) add(p *part) {
	row, drawn, control := int32(len(d.role)), int32(len(d.drawn[0])), int32(len(d.controls))
	for _, m := range p.moments {
		m.interval = int8(len(d.intervals) - 1)
		m.from, m.to, m.control, m.drawn = m.from+row, m.to+row, m.control+control, m.drawn+drawn
		d.moments = append(d.moments, m)
	}
	d.controls = append(d.controls, p.controls...)
	d.distance, d.reflection, d.sigma = append(d.distance, p.distance...), append(d.reflection, p.reflection...), append(d.sigma, p.sigma...)
	d.role, d.outcome, d.drawnRole = append(d.role, p.role...), append(d.outcome, p.outcome...), append(d.drawnRole, p.drawnRole...)
	d.beyond = append(d.beyond, p.beyond...)
	for k := range d.bins {
		d.bins[k] = append(d.bins[k], p.bins[k]...)
		d.drawn[k] = append(d.drawn[k], p.drawn[k]...)
	}
}

// walk returns the moments of one series. So that the fit works for any number of
// candles, one moment in seven or five has only 1,000 candles before it, and one
// only 500; judged moments have all.
func (d *data) walk(s series, until int64, f *levels.Finder, asset int32) (*part, error) {
	p := &part{rows: rows{bins: make([][]uint8, len(d.bins)), drawn: make([][]uint8, len(d.bins))}}
	var c levels.Candles
	hash := sha256.New()
	if err := s.read(&c, until, hash); err != nil {
		return nil, err
	}
	hash.Sum(p.sum[:0])
	p.candles = c.Len()
	if c.Len() == 0 {
		return p, nil
	}
	p.first, p.last = c.OpenTime[0], c.AsOf()
	step, turns := every(c.Interval)
	start := levels.MinOddsCandles + int(asset)*37%levels.Horizon // so that pairs have different phases
	for k, end := 0, start; end+levels.Horizon <= c.Len(); k, end = k+1, end+step {
		turn := k % turns
		judged := turn == 0
		back := window
		switch turn {
		case 2:
			back = 1000
		case 4:
			back = 500
		}
		known := slice(&c, max(0, end-back), end)
		at := levels.MomentOf(known)
		m := moment{asset: asset, at: at.AsOf, from: int32(len(p.role)), judged: judged, drawn: int32(len(p.drawn[0]))}
		row := k
		squared := meanSquare(known) / (at.ATR * at.ATR)
		err := f.Candidates(known, func(k levels.Candidate) {
			if k.Distance < 0.25 {
				return // touched already
			}
			row++
			if !judged && row%thin != 0 {
				return
			}
			d.bin(p.bins, k.Features)
			if judged {
				d.bin(p.drawn, k.Drawn)
			}
			p.distance = append(p.distance, float32(k.Distance))
			p.reflection = append(p.reflection, k.Features[levels.ReflectionFeature])
			p.sigma = append(p.sigma, float32(levels.Reflection(k.Distance-0.25, squared)))
			p.role, p.drawnRole = append(p.role, k.Role), append(p.drawnRole, k.DrawnRole)
			p.beyond = append(p.beyond, k.Drawn[0] > levels.DrawDistance)
			p.outcome = append(p.outcome, at.Judge(k.Price, &c).Outcome)
		})
		m.to = int32(len(p.role))
		if err != nil || m.to == m.from {
			continue // a market that does not move
		}
		if judged {
			m.control = int32(len(p.controls))
			p.controls = append(p.controls, [2][controls]levels.Outcome{})
			lowest, highest := at.Reach(&c)
			last := &p.controls[m.control]
			for i := range controls {
				away := (nearest + (farthest-nearest)*float64(i)/(controls-1)) * at.ATR
				up, down := at.LastPrice+away, at.LastPrice-away
				last[levels.Resistance][i], last[levels.Support][i] = levels.Untouched, levels.Untouched
				if at.TouchLine(up) <= highest {
					last[levels.Resistance][i] = at.Judge(up, &c).Outcome
				}
				if down > 0 && at.TouchLine(down) >= lowest {
					last[levels.Support][i] = at.Judge(down, &c).Outcome
				}
			}
		}
		p.moments = append(p.moments, m)
	}
	return p, nil
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

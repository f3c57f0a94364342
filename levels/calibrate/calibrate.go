// Package calibrate fits the odds of package levels on files of candles and
// tells how such fits do on pairs and times they have not seen. It is what made
// levels/odds.table.
package calibrate

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"tidemark/levels"
)

// Options are what a calibration can be told.
type Options struct {
	// Folder holds the candles: files named SYMBOL-INTERVAL.csv.gz with the header
	// open_time_ms,open,high,low,close,volume. All of them are used.
	Folder  string
	Seed    uint64    // of the rows and features each tree is grown on
	Command string    // what was run, for the table's provenance
	Log     io.Writer // progress and results, in lines
}

// Run calibrates every interval that has files in the folder. Equal files and
// options give an equal table. It needs about 1.4 GB of memory for 120 series of
// 24,000 candles.
func Run(o Options) (*levels.Table, error) {
	t := &levels.Table{Provenance: levels.Provenance{Algorithm: levels.Algorithm, Command: o.Command}}
	for _, interval := range levels.Intervals() {
		files, err := filepath.Glob(filepath.Join(o.Folder, "*-"+string(interval)+".csv.gz"))
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			continue
		}
		slices.Sort(files)
		fmt.Fprintf(o.Log, "%s: reading %d files\n", interval, len(files))
		d, p, err := gather(interval, files)
		if err != nil {
			return nil, err
		}
		judged := 0
		for i := range d.moments {
			if d.moments[i].judged {
				judged++
			}
		}
		fmt.Fprintf(o.Log, "%s: %d candles, %d moments (%d judged), %d zones\n", interval, p.Candles, len(d.moments), judged, len(d.role))
		fit := levels.Fit{Interval: interval}
		horizon := levels.Horizon * interval.Milliseconds()
		for i, s := range splits(horizon) {
			all := d.predict(s, o.Seed)
			if len(all) == 0 {
				return nil, fmt.Errorf("%s: too few pairs or too short series to keep what is judged apart from what is fitted on", interval)
			}
			r := d.judge(all)
			fmt.Fprintf(o.Log, "%s: %s: %v\n", interval, s.name, &r)
			v, err := r.validation(interval, s)
			if err != nil {
				return nil, err
			}
			t.Provenance.Validations = append(t.Provenance.Validations, v)
			if i == 0 {
				fit.Reliability = d.reliability(all)
			}
		}
		m := d.fit(func(*moment) bool { return true }, o.Seed)
		fit.Baseline, fit.Hold, fit.Touch = m.baseline, d.export(m.hold), d.export(m.touch)
		fit.Ranks = d.ranks(m)
		t.Fits, t.Provenance.Series = append(t.Fits, fit), append(t.Provenance.Series, p)
	}
	if len(t.Fits) == 0 {
		return nil, fmt.Errorf("no file in %q is named SYMBOL-INTERVAL.csv.gz", o.Folder)
	}
	return t, nil
}

// ranks are the values that split the excess of all judged zones into equal
// shares.
func (d *data) ranks(m *model) []float32 {
	var all []float32
	for i := range d.moments {
		if one := &d.moments[i]; one.judged {
			for r := one.from; r < one.to; r++ {
				all = append(all, float32(sum(d.bins, m.hold, r)))
			}
		}
	}
	slices.Sort(all)
	const shares = 64
	var ranks []float32
	for k := range shares + 1 {
		v := all[min(k*len(all)/shares, len(all)-1)]
		if len(ranks) == 0 || v > ranks[len(ranks)-1] {
			ranks = append(ranks, v)
		}
	}
	return ranks
}

// Package calibrate fits the odds of package levels on candle files and validates
// such fits on unseen pairs and times. It writes levels/odds.table.
package calibrate

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"tidemark/levels"
)

// Options are the options of a calibration.
type Options struct {
	// Folder has the candles: files named SYMBOL-INTERVAL.csv.gz with the header
	// open_time_ms,open,high,low,close,volume. All of them are used.
	Folder  string
	Seed    uint64    // of the rows and features drawn for each tree
	Command string    // the command line, for the table's provenance
	Log     io.Writer // progress and results, in lines
}

// enough is the number of judged levels that an interval needs to have odds.
const enough = 100

// Run fits all intervals up to four hours together, those of the files and those
// aggregated from them. Equal files and options give an equal table. It needs about 0.5 GB of memory for
// 170 series of 24,000 candles.
func Run(o Options) (*levels.Table, error) {
	all, err := list(o.Folder)
	if err != nil {
		return nil, err
	}
	d, series, err := gather(all, o.Log)
	if err != nil {
		return nil, err
	}
	t := &levels.Table{Provenance: levels.Provenance{Algorithm: levels.Algorithm, Command: o.Command, Series: series}}
	fits := make([]*levels.Fit, len(d.intervals)) // nil for intervals that cannot be judged
	validations := make([][]levels.Validation, len(d.intervals))
	for k, interval := range d.intervals {
		fits[k] = &levels.Fit{Interval: interval}
	}
	for _, s := range splits {
		predicted := d.predict(s, o.Seed)
		for k, interval := range d.intervals {
			var own []level
			judged := 0
			for _, l := range predicted {
				if int(d.moments[l.moment].interval) == k {
					own = append(own, l)
					judged += int(share(l.judged))
				}
			}
			if judged < enough {
				fmt.Fprintf(o.Log, "%s: %s: only %d levels to judge: no odds\n", interval, s.name, judged)
				fits[k] = nil
				continue
			}
			r := d.judge(own)
			fmt.Fprintf(o.Log, "%s: %s: %v\n", interval, s.name, &r)
			v, err := r.validation(interval, s)
			if err != nil {
				return nil, err
			}
			validations[k] = append(validations[k], v)
			if fits[k] != nil && len(fits[k].Reliability) == 0 {
				fits[k].Reliability = d.reliability(own)
			}
		}
	}
	m := d.fit(func(*moment) bool { return true }, o.Seed)
	t.Trees = &levels.Trees{Hold: d.export(m.hold), Touch: d.export(m.touch)}
	for k, fit := range fits {
		if fit != nil {
			fit.Trees, fit.Baseline, fit.Ranks = t.Trees, m.baseline[k], d.ranks(m, int8(k))
			t.Fits = append(t.Fits, *fit)
			t.Provenance.Validations = append(t.Provenance.Validations, validations[k]...)
		}
	}
	if len(t.Fits) == 0 {
		return nil, errors.New("too few pairs or too short series to separate judged data from fitted data")
	}
	return t, nil
}

// ranks returns the quantiles of the excess of all judged zones of an interval.
func (d *data) ranks(m *model, interval int8) []float32 {
	var all []float32
	for i := range d.moments {
		if one := &d.moments[i]; one.judged && one.interval == interval {
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

// Package calibrate fits the odds of package levels on candle files and validates
// such fits on unseen pairs and times. It writes levels/odds.table.
package calibrate

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"tidemark/levels"
)

// Options are the options of a calibration.
type Options struct {
	// Folders have the candles, in them or below: files named SYMBOL-INTERVAL.csv.gz
	// with the header open_time_ms,open,high,low,close,volume. All of them are used.
	// Files of the same pair and interval are joined by time.
	Folders []string
	Until   time.Time // candles that close later are not read; zero for all
	Seed    uint64    // of the rows and features drawn for each tree
	Command string    // the command line, for the table's provenance
	Log     io.Writer // progress and results, in lines
}

// enough is the number of judged levels that an interval needs to have odds.
const enough = 100

// Run fits all intervals up to a day together, those of the files and those
// aggregated from them. Equal files and options give an equal table. It needs about
// 1 GB of memory for 23 million candles.
func Run(o Options) (*levels.Table, error) {
	all, err := list(o.Folders)
	if err != nil {
		return nil, err
	}
	d, series, err := gather(all, o.until(), o.Log)
	if err != nil {
		return nil, err
	}
	t := &levels.Table{Provenance: levels.Provenance{Algorithm: levels.Algorithm, Command: o.Command, Series: series, Files: names(all)}}
	fits := make([]*levels.Fit, len(d.intervals)) // nil for intervals without odds
	validations := make([][]levels.Validation, len(d.intervals))
	for k, interval := range d.intervals {
		fits[k] = &levels.Fit{Interval: interval}
	}
	var progress sync.Mutex // fits end side by side
	done := 0
	for i, s := range splits {
		predicted, moments := d.predict(s, o.Seed, func() {
			progress.Lock()
			defer progress.Unlock()
			done++
			fmt.Fprintf(o.Log, "%d of %d fits for validation\n", done, len(splits)*blocks*halves)
		})
		for k, interval := range d.intervals {
			if fits[k] == nil {
				continue
			}
			r, reason := d.judgeInterval(predicted, int8(k), moments[k])
			if reason != "" {
				fmt.Fprintf(o.Log, "%s: %s: no odds: %s\n", interval, s.name, reason)
				fits[k] = nil
				continue
			}
			fmt.Fprintf(o.Log, "%s: %s: %v\n", interval, s.name, &r)
			v, err := r.validation(interval, s.name)
			if err != nil {
				return nil, err
			}
			validations[k] = append(validations[k], v)
			if i == 0 {
				fits[k].Reliability = d.reliability(predicted, int8(k))
			}
		}
	}
	everything := func(*moment) bool { return true }
	m := d.fit(everything, o.Seed, atOnce)
	t.Trees = d.trees(m)
	for k, fit := range fits {
		if fit != nil {
			fit.Trees, fit.Baseline, fit.Ranks = t.Trees, m.baseline[k], d.ranks(m, int8(k), everything)
			t.Fits = append(t.Fits, *fit)
			t.Provenance.Validations = append(t.Provenance.Validations, validations[k]...)
		}
	}
	if len(t.Fits) == 0 {
		return nil, errors.New("too few pairs or too short series to separate judged data from fitted data")
	}
	return t, nil
}

// Fold is a time to judge, and whether to learn from what comes after it instead of
// from what came before.
type Fold struct {
	From, To  time.Time
	Backwards bool
}

func (f *Fold) String() string {
	when := "earlier"
	if f.Backwards {
		when = "later"
	}
	return fmt.Sprintf("all pairs, times %s than %s to %s", when, f.From.Format(time.DateOnly), f.To.Format(time.DateOnly))
}

// RunFold fits once, on all pairs outside the time of the fold, and writes to o.Log
// how such a fit does within it. The table is to be judged, not to be served: nothing
// in it that levels are chosen by, and no odds, come from the time of the fold, but
// their reliability does.
func RunFold(o Options, f Fold) (*levels.Table, error) {
	all, err := list(o.Folders)
	if err != nil {
		return nil, err
	}
	d, series, err := gather(all, o.until(), o.Log)
	if err != nil {
		return nil, err
	}
	from, to := f.From.UnixMilli(), f.To.UnixMilli()
	train := func(m *moment) bool {
		if f.Backwards {
			return m.at >= to
		}
		return m.at+d.horizon(m) <= from
	}
	m := d.fit(train, o.Seed, atOnce)
	var predicted []level
	moments := make([]int, len(d.intervals))
	for i := range d.moments {
		one := &d.moments[i]
		if one.judged && one.at >= from && one.at+d.horizon(one) <= to && m.baseline[one.interval] != [3]float64{} {
			predicted = d.choose(predicted, m, int32(i), 0)
			moments[one.interval]++
		}
	}
	t := &levels.Table{Trees: d.trees(m), Provenance: levels.Provenance{Algorithm: levels.Algorithm, Command: o.Command, Series: series, Files: names(all)}}
	for k, interval := range d.intervals {
		r, reason := d.judgeInterval(predicted, int8(k), moments[k])
		if reason != "" {
			fmt.Fprintf(o.Log, "%s: no odds: %s\n", interval, reason)
			continue
		}
		fmt.Fprintf(o.Log, "%s: %v\n", interval, &r)
		v, err := r.validation(interval, f.String())
		if err != nil {
			return nil, err
		}
		t.Provenance.Validations = append(t.Provenance.Validations, v)
		t.Fits = append(t.Fits, levels.Fit{
			Interval: interval, Baseline: m.baseline[k], Trees: t.Trees, Ranks: d.ranks(m, int8(k), train), Reliability: d.reliability(predicted, int8(k)),
		})
	}
	if len(t.Fits) == 0 {
		return nil, errors.New("too little data before or within the fold")
	}
	return t, nil
}

// until returns the end of the candles in Unix ms, 0 for none.
func (o *Options) until() int64 {
	if o.Until.IsZero() {
		return 0
	}
	return o.Until.UnixMilli()
}

// judgeInterval judges the levels of an interval, or says why they are too few.
func (d *data) judgeInterval(all []level, interval int8, moments int) (report, string) {
	var own []level
	judged := 0
	clusters := map[int64]bool{}
	for _, l := range all {
		if d.moments[l.moment].interval == interval {
			own = append(own, l)
			if l.judged {
				judged++
				clusters[l.cluster] = true
			}
		}
	}
	if judged < enough {
		return report{}, fmt.Sprintf("only %d levels to judge", judged)
	}
	if len(clusters) < minBlocks {
		return report{}, fmt.Sprintf("only %d times two horizons to judge", len(clusters))
	}
	return d.judge(own, moments), ""
}

// names returns the names of all files, each once, ascending.
func names(all []series) []string {
	var names []string
	for _, s := range all {
		for _, file := range s.files {
			names = append(names, filepath.Base(file))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ranks returns the quantiles of the excess of the zones of an interval with an excess of
// at least 0, at the judged moments that train accepts.
func (d *data) ranks(m *model, interval int8, train func(*moment) bool) []float32 {
	var all []float32
	for i := range d.moments {
		if one := &d.moments[i]; one.judged && one.interval == interval && train(one) {
			for r := one.from; r < one.to; r++ {
				if v := float32(sum(d.bins, m.rank, r)); v >= 0 {
					all = append(all, v)
				}
			}
		}
	}
	slices.Sort(all)
	const shares = 64
	ranks := []float32{0}
	for k := 1; k <= shares && len(all) > 0; k++ {
		if v := all[min(k*len(all)/shares, len(all)-1)]; v > ranks[len(ranks)-1] {
			ranks = append(ranks, v)
		}
	}
	return ranks
}

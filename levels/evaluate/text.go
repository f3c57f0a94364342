package evaluate

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Text writes the report as text. caption formats the title and the captions of
// tables; draw writes a table to w.
func (r *Report) Text(w io.Writer, caption func(string) string, draw func(head []string, rows [][]string) error) error {
	fmt.Fprintln(w, caption(r.title()))
	fmt.Fprintln(w, r.scope())
	for _, f := range r.Failures {
		fmt.Fprintf(w, "  %-14s %s\n", f.Symbol, f.Detail)
	}
	for _, t := range r.tables() {
		fmt.Fprintf(w, "\n%s\n", caption(t.caption))
		if err := draw(t.head, t.rows); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "\n%s\n", r.caution())
	return err
}

// caution says what may be read from many intervals.
func (r *Report) caution() string {
	if r.Comparisons == 0 {
		return "There are too few blocks of time for intervals: no figure can be told from chance."
	}
	s := fmt.Sprintf("The first table has %s of 95 %%: one in twenty misses its figure by chance. When each is %.2f times as wide, all of them contain theirs with 95 %%, and these exclude 0: ",
		count(r.Comparisons, "interval"), r.Widening)
	var all []string
	for _, m := range r.MethodsFound {
		if len(m.Excludes) > 0 {
			all = append(all, m.Name+" ("+strings.Join(m.Excludes, ", ")+")")
		}
	}
	if len(all) == 0 {
		return s + "none."
	}
	return s + strings.Join(all, "; ") + "."
}

func (r *Report) title() string {
	mark := ""
	if r.Simulated {
		mark = "SIMULATED "
	}
	return fmt.Sprintf("%s%s %s: %s, %d moments in %s of %g days from %s to %s", mark, r.Source, r.Interval,
		count(r.Pairs, "pair"), r.Moments, count(r.Blocks, "block"), r.BlockDays, r.First.Format(time.DateOnly), r.Last.Format(time.DateOnly))
}

func (r *Report) scope() string {
	return fmt.Sprintf("at each moment the last %d candles, a moment every %d (%d of 24 phases), judged by the next %d; seed %d, algorithm %s, table %s\n"+
		"%s, %d missing; skipped: %s too short, %s without a candle, %d without movement, %d cut off by the end",
		r.Klines, r.Every, r.Phases, r.Horizon, r.Seed, r.Algorithm, r.Table, count(r.Candles, "candle"), r.Missing,
		count(r.TooShort, "pair"), count(r.Stale, "moment"), r.Flat, r.Unfinished)
}

func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}

// table is one table of the report.
type table struct {
	caption string
	head    []string
	rows    [][]string
}

// tables returns the tables of the report, for text and HTML.
func (r *Report) tables() []table {
	lift := table{
		caption: "Lift: hold rate of the decided levels minus that of artificial ones at the same moments and sides, in points, with its 95 % interval",
		head:    []string{"method", "levels", "coverage", "median ATR", "touched", "undecided", "held", "control", "lift", "over its neighbours", "ahead of volume", "touch lift"},
	}
	strength := table{
		caption: "By strength: hold rates of the weakest, the middle and the strongest third, and their lifts over their neighbours",
		head:    []string{"method", "weakest", "middle", "strongest", "lift of weakest", "of middle", "of strongest", "top − bottom", "top held more"},
	}
	lasting := table{
		caption: "Lasting: the share of the twelve strongest that remain, and the moments with other levels when the method runs again",
		head:    []string{"method", "by id, 1 later", "24 later", "by price, 1 later", "24 later", "repainted", "across holes"},
	}
	odds := table{
		caption: "Odds: Brier skill over the base rate in points, and calibration error; the reference for touches is a walk without drift, for holds the base rate (0)",
		head:    []string{"method", "touch skill", "its error", "walk's skill", "its error", "over the walk", "hold skill", "its error"},
	}
	all := []table{lift, strength, lasting, odds}
	for i := range r.MethodsFound {
		m := &r.MethodsFound[i]
		t := m.Terciles
		for k, row := range [][]string{
			{strconv.Itoa(m.Levels), m.Coverage.percent(0), m.MedianDistance.fixed(2), m.Touched.percent(1), m.Undecided.percent(1),
				m.Held.percent(1), m.ControlHeld.percent(1), m.Lift.points(), m.NeighbourLift.points(), m.AheadOfVolume.points(), m.TouchLift.points()},
			{t[0].Held.percent(1), t[1].Held.percent(1), t[2].Held.percent(1), t[0].Lift.points(), t[1].Lift.points(), t[2].Lift.points(),
				m.TopMinusBottom.points(), m.TopHoldsMore.points()},
			{m.Churn[0].ByID.percent(1), m.Churn[1].ByID.percent(1), m.Churn[0].ByPrice.percent(1), m.Churn[1].ByPrice.percent(1),
				fmt.Sprintf("%d of %d", m.Repainted, m.Asked), strconv.Itoa(m.AcrossHoles)},
			slices.Concat(m.TouchOdds.cells(), m.Reflection.cells(), []string{m.OverReflection.points()}, m.HoldOdds.cells()),
		} {
			all[k].rows = append(all[k].rows, append([]string{m.Name}, row...))
		}
	}
	for i := range r.MethodsFound {
		m := &r.MethodsFound[i]
		for _, o := range m.ownOdds() {
			t := table{caption: fmt.Sprintf("Reliability: promised and observed %s of %s", o.event, m.Name), head: []string{"levels", "promised", "observed"}}
			for _, b := range o.odds.Bins {
				t.rows = append(t.rows, []string{strconv.Itoa(b.Levels), b.Promised.percent(1), b.Observed.percent(1)})
			}
			all = append(all, t)
		}
	}
	return all
}

// namedOdds are odds of a method and their event.
type namedOdds struct {
	event string
	odds  *Odds
}

// ownOdds returns the odds that the method itself gives.
func (m *MethodReport) ownOdds() []namedOdds {
	var all []namedOdds
	if m.TouchOdds != nil {
		all = append(all, namedOdds{"touches", m.TouchOdds})
	}
	if m.HoldOdds != nil {
		all = append(all, namedOdds{"holds", m.HoldOdds})
	}
	return all
}

func (o *Odds) cells() []string {
	if o == nil {
		return []string{"–", "–"}
	}
	return []string{o.Skill.points(), o.CalibrationError.fixed(4)}
}

// points prints a share as points with its interval.
func (e Estimate) points() string {
	switch {
	case math.IsNaN(float64(e.Value)):
		return "–"
	case math.IsNaN(float64(e.Low)):
		return fmt.Sprintf("%+.2f", 100*e.Value)
	}
	return fmt.Sprintf("%+.2f [%+.2f, %+.2f]", 100*e.Value, 100*e.Low, 100*e.High)
}

func (f Figure) percent(digits int) string {
	if math.IsNaN(float64(f)) {
		return "–"
	}
	return strconv.FormatFloat(100*float64(f), 'f', digits, 64) + " %"
}

func (f Figure) fixed(digits int) string {
	if math.IsNaN(float64(f)) {
		return "–"
	}
	return strconv.FormatFloat(float64(f), 'f', digits, 64)
}

package command

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tidemark/api"
	"tidemark/app"
	"tidemark/config"
	"tidemark/levels"
	"tidemark/service"
)

// explain prints the explanation of a level of a stored analysis. It sends no request to
// the exchange.
func (in *invocation) explain(ctx context.Context, cfg config.Config, name service.Spelling, at time.Time, id string, out output) (err error) {
	level, err := api.ParseLevelID(id)
	if err != nil {
		return config.Usage(fmt.Errorf("--explain: %q is not a level id: 16 hexadecimal digits, as printed by --json", id))
	}
	if out.csv {
		return config.Usage(errors.New("--explain and --csv exclude each other"))
	}
	a, err := app.Open(ctx, cfg, in.logger(quiet(cfg)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	snap, err := storedAnalysis(ctx, a.DB, cfg, name, at)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.AnalysisTimeout)
	defer cancel()
	e, err := a.Analyzer.Explain(ctx, &snap, level)
	if err != nil {
		return err
	}
	if out.json {
		_, err = in.stdout.Write(append(api.AppendExplanation(nil, &snap, &e, time.Now(), out.shown(cfg)), '\n'))
		return err
	}
	return printExplanation(newScreen(in.stdout, in.environ), &snap, &e, time.Now(), out.shown(cfg))
}

// shownTests is the number of newest tests printed; --json prints all.
const shownTests = 12

// outcomeColours are the colours of decided tests.
var outcomeColours = map[levels.Outcome]colour{levels.Held: green, levels.Broke: red}

// stateText returns the state of a level, with the number of tests it held.
func stateText(l *levels.Level) string {
	if l.State == levels.Stood {
		return fmt.Sprintf("held %d×", l.HeldInRole)
	}
	return l.State.String()
}

// printExplanation prints an explanation as text.
func printExplanation(w screen, s *service.Snapshot, e *levels.Explanation, now time.Time, show api.Shown) error {
	price := func(p float64) string { return strconv.FormatFloat(p, 'f', s.Decimals, 64) }
	moment := func(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04") }
	l := &e.Level
	fmt.Fprintf(w, "%s%s as of %s: %s %s, zone %s–%s, edge %s points, %s\n", w.simulated(s.Simulated), w.series(s),
		s.AsOf.UTC().Format("2006-01-02 15:04 UTC"), l.Role, price(l.Price), price(l.Low), price(l.High), edgeText(l, show), stateText(l))
	if reason := api.StaleReason(s, now); reason != "" {
		fmt.Fprintln(w, w.paint(warning, "STALE: "+reason))
	}

	fmt.Fprintln(w, "\n"+w.paint(bold, "Sources"))
	var found []row
	for _, f := range e.Found {
		found = append(found, row{cells: []string{"  " + f.Method.AppendNames(nil)[0], fmt.Sprintf("%.0f %% of the zone's weight", 100*f.Weight), sourceText(f, price, moment)}})
	}
	if err := w.list(found); err != nil {
		return err
	}

	fmt.Fprintln(w, w.paint(faint, "  "+sentence(l.FoundByNote())))

	fmt.Fprintln(w, "\n"+w.paint(bold, fmt.Sprintf("Tests (%d, of which %d held and %d broke)", len(e.Tests), l.Held, l.Broke)))
	fmt.Fprintln(w, w.paint(faint, "  "+sentence(e.EntriesNote())))
	if note := l.RecordNote(); note != "" {
		fmt.Fprintln(w, "  "+sentence(note))
	}
	shown := e.Tests
	if older := len(shown) - shownTests; older > 0 {
		fmt.Fprintf(w, "  and %d older ones\n", older)
		shown = shown[older:]
	}
	var tests []row
	for _, x := range shown {
		to := "up to"
		if x.Above {
			to = "down to"
		}
		tests = append(tests, row{outcomeColours[x.Outcome], []string{
			"  " + moment(x.From), "from " + api.Side(x.Above), x.Outcome.String(), to + " " + price(x.Extreme),
		}})
	}
	if err := w.list(tests); err != nil {
		return err
	}

	if l.NoOdds != levels.OddsKnown {
		_, err := fmt.Fprintf(w, "\nNo odds: %s\n", l.NoOdds)
		return err
	}
	fmt.Fprintf(w, "\n%s of cases (%.0f to %.0f), any line at its distance in %.2f %%\n",
		w.paint(bold, fmt.Sprintf("It holds in %.2f %%", 100*l.HoldProbability)), 100*l.HoldInterval[0], 100*l.HoldInterval[1], 100*l.BaselineHold)
	var factors []row
	for _, f := range e.Factors {
		factors = append(factors, row{cells: []string{fmt.Sprintf("  %+.2f", f.Effect), f.Text}})
	}
	return w.list(factors)
}

// sentence returns text with a capital and a full stop.
func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] + "." }

// sourceText returns the findings of a method as text.
func sourceText(f levels.Source, price func(float64) string, moment func(int64) string) string {
	if f.Method == levels.SourceEnds {
		return fmt.Sprintf("%d highs, lows and closes", f.Count)
	}
	marks := make([]string, 0, len(f.Marks))
	for _, m := range f.Marks {
		if f.Method == levels.SourceSwing {
			marks = append(marks, fmt.Sprintf("%s on %s (%.1f ATR)", strings.ReplaceAll(m.Kind.String(), "_", " "), moment(m.Time), m.Prominence))
		} else {
			marks = append(marks, fmt.Sprintf("%s (%.0f %% of the busiest price)", price(m.Price), 100*m.Share))
		}
	}
	return strings.Join(marks, ", ")
}

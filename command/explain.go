package command

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"tidemark/api"
	"tidemark/app"
	"tidemark/config"
	"tidemark/levels"
	"tidemark/service"
)

// levelNames are the names that levels prints.
var levelNames = regexp.MustCompile(`^[RSrs][1-9][0-9]?$`)

// pickedLevel is a level of an analysis: by its name, or by its id if that is empty.
type pickedLevel struct {
	name string
	id   uint64
}

// parseLevel reads what --explain says.
func parseLevel(text string) (pickedLevel, error) {
	if levelNames.MatchString(text) {
		return pickedLevel{name: text}, nil
	}
	id, err := api.ParseLevelID(text)
	if err != nil {
		return pickedLevel{}, config.Usage(fmt.Errorf("--explain: %q is neither the name of a level, such as R1 or S2, nor an id of 16 hexadecimal digits; without --explain, levels prints both", text))
	}
	return pickedLevel{id: id}, nil
}

// explain prints the explanation of a level of a stored analysis. It sends no request to
// the exchange.
func (in *invocation) explain(ctx context.Context, cfg config.Config, name service.Spelling, at time.Time, level pickedLevel, out output) (err error) {
	a, err := app.Open(ctx, cfg, in.logger(quiet(cfg)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	snap, err := storedAnalysis(ctx, a.DB, cfg, name, at)
	if err != nil {
		return err
	}
	if level.name != "" {
		if level.id, err = namedLevel(&snap, out.shown(cfg), level.name); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.AnalysisTimeout)
	defer cancel()
	e, err := a.Analyzer.Explain(ctx, &snap, level.id)
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
func (w words) stateText(l *levels.Level) string {
	if l.State == levels.Stood {
		return w.say("state.held", "n", l.HeldInRole)
	}
	return w.say("state." + l.State.String())
}

// printExplanation prints an explanation as text.
func printExplanation(w screen, s *service.Snapshot, e *levels.Explanation, now time.Time, show api.Shown) error {
	price := func(p float64) string { return strconv.FormatFloat(p, 'f', s.Decimals, 64) }
	moment := func(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04") }
	l := &e.Level
	fmt.Fprintln(w, w.simulated(s.Simulated)+w.say("explain.title", "series", w.series(s), "as_of", s.AsOf.UTC().Format("2006-01-02 15:04 UTC"),
		"role", w.say("role."+l.Role.String()), "price", price(l.Price), "low", price(l.Low), "high", price(l.High), "edge", w.edgeText(l, show), "state", w.stateText(l)))
	if reason := w.staleText(s, now); reason != "" {
		fmt.Fprintln(w, w.paint(warning, reason))
	}

	fmt.Fprintln(w, "\n"+w.paint(bold, w.say("explain.sources")))
	var found []row
	for _, f := range e.Found {
		found = append(found, row{cells: []string{"  " + w.say("source."+f.Method.AppendNames(nil)[0]), w.say("explain.weight", "share", percent(f.Weight)), w.sourceText(f, price, moment)}})
	}
	if err := w.list(found); err != nil {
		return err
	}

	foundBy := "explain.found_by"
	if l.FoundBy() == 0 {
		foundBy = "explain.found_by_none"
	}
	fmt.Fprintln(w, w.paint(faint, "  "+w.say(foundBy, "text", sentence(l.FoundByNote()), "methods", strings.Join(l.FoundBy().AppendNames(nil), ", "))))

	fmt.Fprintln(w, "\n"+w.paint(bold, w.say("explain.tests", "n", len(e.Tests), "held", l.Held, "broke", l.Broke)))
	fmt.Fprintln(w, w.paint(faint, "  "+w.say("explain.entries", "text", sentence(e.EntriesNote()), "n", len(e.Touches))))
	if note := l.RecordNote(); note != "" {
		fmt.Fprintln(w, "  "+w.say("explain.record", "text", sentence(note), "edge", fmt.Sprintf("%.1f", l.Edge)))
	}
	shown := e.Tests
	if older := len(shown) - shownTests; older > 0 {
		fmt.Fprintln(w, "  "+w.say("explain.older", "n", older))
		shown = shown[older:]
	}
	var tests []row
	for _, x := range shown {
		side := api.Side(x.Above)
		tests = append(tests, row{outcomeColours[x.Outcome], []string{
			"  " + moment(x.From), w.say("explain.from_" + side), w.say("outcome." + x.Outcome.String()), w.say("explain.to_"+side, "price", price(x.Extreme)),
		}})
	}
	if err := w.list(tests); err != nil {
		return err
	}

	if l.NoOdds != levels.OddsKnown {
		_, err := fmt.Fprintln(w, "\n"+w.say("explain.no_odds", "reason", l.NoOdds))
		return err
	}
	fmt.Fprintln(w, "\n"+w.say("explain.odds", "holds", w.paint(bold, w.say("explain.holds", "p", fmt.Sprintf("%.2f %%", 100*l.HoldProbability))),
		"from", fmt.Sprintf("%.0f", 100*l.HoldInterval[0]), "to", fmt.Sprintf("%.0f", 100*l.HoldInterval[1]), "line", fmt.Sprintf("%.2f %%", 100*l.BaselineHold)))
	var factors []row
	for _, f := range e.Factors {
		factors = append(factors, row{cells: []string{fmt.Sprintf("  %+.2f", f.Effect), w.say("factor."+f.Name, "text", f.Text, "value", strconv.FormatFloat(math.Round(10*f.Value)/10, 'f', -1, 64))}})
	}
	return w.list(factors)
}

// sentence returns text with a capital and a full stop.
func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] + "." }

// sourceText returns the findings of a method as text.
func (w words) sourceText(f levels.Source, price func(float64) string, moment func(int64) string) string {
	if f.Method == levels.SourceEnds {
		return w.say("explain.ends", "n", f.Count)
	}
	marks := make([]string, 0, len(f.Marks))
	for _, m := range f.Marks {
		if f.Method == levels.SourceSwing {
			marks = append(marks, w.say("found."+m.Kind.String(), "at", moment(m.Time), "atr", fmt.Sprintf("%.1f", m.Prominence)))
		} else {
			marks = append(marks, w.say("explain.busy", "price", price(m.Price), "share", percent(m.Share)))
		}
	}
	return strings.Join(marks, w.say("comma"))
}

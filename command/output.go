package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tidemark/api"
	"tidemark/app"
	"tidemark/config"
	"tidemark/levels"
	"tidemark/repository"
	"tidemark/service"
)

// output is the format of a printed analysis.
type output struct {
	json, csv bool
	faint     bool
	minEdge   float64 // points; negative for that of the settings
}

func (o *output) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.json, "json", false, "print the analysis as JSON, as the HTTP API does")
	cmd.Flags().BoolVar(&o.csv, "csv", false, "print the levels as CSV, one per line")
	cmd.Flags().BoolVar(&o.faint, "faint", false, "print faint levels, too: those with an edge below LEVELS_MIN_EDGE")
	cmd.Flags().Float64Var(&o.minEdge, "min-edge", -1, "print the levels with at least this edge, in points, instead of LEVELS_MIN_EDGE")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if o.json && o.csv {
			return config.Usage(errors.New("--json and --csv exclude each other"))
		}
		if cmd.Flags().Changed("min-edge") && !(o.minEdge >= 0 && o.minEdge <= 100) {
			return config.Usage(fmt.Errorf("--min-edge: %v is not a number from 0 to 100", o.minEdge))
		}
		return nil
	}
}

// pair loads the configuration for a command about one pair, and reads its name.
func (in *invocation) pair(cmd *cobra.Command, args []string) (config.Config, service.Spelling, error) {
	cfg, err := in.config(cmd)
	if err != nil {
		return config.Config{}, service.Spelling{}, err
	}
	plain, err := api.ParseSymbol(args[0])
	if err != nil {
		return config.Config{}, service.Spelling{}, config.Usage(err)
	}
	return cfg, service.Spell(args[0], plain), nil
}

// storedPair returns the key of a pair of the configured exchanges: of the only one that
// has it.
func storedPair(ctx context.Context, db *repository.DB, cfg config.Config, name service.Spelling) (service.Key, error) {
	known, err := db.FindPairs(ctx, "", name)
	if err != nil {
		return service.Key{}, err
	}
	known = slices.DeleteFunc(known, func(p service.KnownPair) bool { return !slices.Contains(cfg.Exchanges, p.Exchange) })
	known = service.Best(known, name)
	if len(known) == 0 { // analysed before any sweep
		for _, exchange := range cfg.Exchanges {
			key := service.Key{Exchange: exchange, Symbol: name.Plain, Interval: cfg.AnalysisInterval}
			if _, err := db.Snapshot(ctx, key, time.Time{}); !errors.Is(err, service.ErrNotAnalyzed) || errors.Is(err, service.ErrUnreadable) {
				known = append(known, service.KnownPair{Exchange: exchange, Symbol: name.Plain})
			}
		}
	}
	switch len(known) {
	case 0:
		return service.Key{Exchange: cfg.Exchanges[0], Symbol: name.Plain, Interval: cfg.AnalysisInterval}, nil
	case 1:
		return service.Key{Exchange: known[0].Exchange, Symbol: known[0].Symbol, Interval: cfg.AnalysisInterval}, nil
	}
	return service.Key{}, ambiguous(&service.AmbiguousError{Text: name.Text, Choices: known})
}

// ambiguous adds to an error with choices what to do on the command line.
func ambiguous(err error) error {
	several, ok := errors.AsType[*service.AmbiguousError](err)
	if !ok {
		return err
	}
	return config.Usage(fmt.Errorf("%w: add --exchange %s", err, several.Choices[0].Exchange))
}

// onePair returns an error unless the command line has exactly one argument.
func onePair(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("exactly one symbol is required, got %d: %s BTCUSDT", len(args), cmd.CommandPath())
	}
	return nil
}

// oneExchange returns the exchange of a command that reads one.
func oneExchange(cfg config.Config) (string, error) {
	if len(cfg.Exchanges) != 1 {
		return "", config.Usage(fmt.Errorf("EXCHANGE names %d exchanges, and this command is about one: add --exchange %s", len(cfg.Exchanges), cfg.Exchanges[0]))
	}
	return cfg.Exchanges[0], nil
}

// openStored opens an existing database. It does not create one.
func (in *invocation) openStored(ctx context.Context, cfg config.Config) (*repository.DB, error) {
	if err := in.needDatabase(ctx, cfg); err != nil {
		return nil, err
	}
	return app.OpenDatabase(ctx, app.Budget{Config: cfg}, in.logger(quiet(cfg)))
}

// needDatabase returns an error if the database does not exist.
func (in *invocation) needDatabase(ctx context.Context, cfg config.Config) error {
	found, err := repository.Inspect(ctx, app.Budget{Config: cfg}.DatabaseConfig(in.logger(quiet(cfg))))
	if err == nil && found.New {
		err = fmt.Errorf("no database at %s; create one with `tidemark sweep`, or set DATABASE_URL", found.File)
	}
	return err
}

// shown returns which levels are printed.
func (o output) shown(cfg config.Config) api.Shown {
	return api.Shown{Edge: cfg.LevelsMinEdge, Faint: o.faint || o.minEdge >= 0, Least: max(o.minEdge, 0)}
}

// print writes an analysis, judged at the time now: a table for people, JSON or CSV for
// programs.
func (o output) print(w screen, s service.Snapshot, now time.Time, cfg config.Config) error {
	show := o.shown(cfg)
	switch {
	case o.json:
		_, err := w.Write(append(api.AppendAnalysis(nil, &s, now, show), '\n'))
		return err
	case o.csv:
		_, err := w.Write(api.AppendCSV(nil, &s, now, show))
		return err
	}
	return printTable(w, s, now, show, nil)
}

// printIntervals writes the analyses of a pair on several intervals.
func (o output) printIntervals(w screen, s *api.Intervals, cfg config.Config) error {
	show, now := o.shown(cfg), time.Now()
	switch {
	case o.json:
		_, err := w.Write(append(s.AppendJSON(nil, now, show), '\n'))
		return err
	case o.csv:
		_, err := w.Write(s.AppendCSV(nil, now, show))
		return err
	}
	for i := range s.Intervals {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := s.Missing[i]; err != nil {
			reason := w.say("levels.missing", "symbol", s.Key.Symbol, "interval", s.Intervals[i])
			if errors.Is(err, service.ErrUnreadable) {
				reason = w.say("levels.unreadable")
			}
			fmt.Fprintln(w, w.paint(bold, fmt.Sprintf("%s %s %s", s.Key.Exchange, s.Key.Symbol, s.Intervals[i])), reason)
			continue
		}
		if err := printTable(w, s.Snapshots[i], now, show, s.Beside(i, now, show)); err != nil {
			return err
		}
	}
	return nil
}

// series returns whose analysis s is, with the canonical name of the pair if it is known.
func (w screen) series(s *service.Snapshot) string {
	text := w.paint(bold, fmt.Sprintf("%s %s %s", s.Exchange, s.Symbol, s.Interval))
	if s.Name != "" {
		text += " (" + s.Name + ")"
	}
	return text
}

// staleText returns why an analysis is stale, empty if it is not.
func (w screen) staleText(s *service.Snapshot, now time.Time) string {
	reason := api.StaleReason(s, now)
	switch {
	case reason == "":
		return ""
	case !s.DelistedAt.IsZero():
		return w.say("stale.delisted", "text", reason, "exchange", s.Exchange, "since", s.DelistedAt.UTC().Format("2006-01-02 15:04 UTC"))
	}
	return w.say("stale.closed", "text", reason, "interval", s.Interval, "since", s.AsOf.UTC().Format("2006-01-02 15:04 UTC"))
}

// levelName is the name of the i-th level of a side from the price outwards: R1, S1.
func levelName(role levels.Role, i int) string {
	if role == levels.Resistance {
		return "R" + strconv.Itoa(i+1)
	}
	return "S" + strconv.Itoa(i+1)
}

// namedLevel returns the id of the level that is printed under a name.
func namedLevel(s *service.Snapshot, show api.Shown, name string) (uint64, error) {
	side, role := show.Of(s.Supports), levels.Support
	if name[0] == 'R' || name[0] == 'r' {
		side, role = show.Of(s.Resistances), levels.Resistance
	}
	i := 0
	for _, l := range side {
		if strings.EqualFold(levelName(role, i), name) {
			return l.ID, nil
		}
		i++
	}
	return 0, fmt.Errorf("--explain: there is no %s: %s %s %s has %d levels of that side with enough edge (--faint and --min-edge show others)",
		strings.ToUpper(name), s.Exchange, s.Symbol, s.Interval, i)
}

// printTable writes an analysis as a table. If beside is not nil, it has a column with the
// other intervals that have a level beside one, by its id.
func printTable(w screen, s service.Snapshot, now time.Time, show api.Shown, beside map[uint64][]string) error {
	price := func(p float64) string { return strconv.FormatFloat(p, 'f', s.Decimals, 64) }
	fmt.Fprintln(w, w.simulated(s.Simulated)+w.say("levels.title", "series", w.series(&s), "as_of", s.AsOf.Format("2006-01-02 15:04 UTC"),
		"price", price(s.LastPrice), "atr", strconv.FormatFloat(s.ATR, 'g', 4, 64), "klines", s.Klines, "missing", s.Missing))
	if reason := w.staleText(&s, now); reason != "" {
		fmt.Fprintln(w, w.paint(warning, reason))
	}
	var rows []row
	add := func(role levels.Role, i int, l levels.Level) {
		last := "-"
		if l.Tests > 0 {
			last = time.UnixMilli(l.LastTested).UTC().Format("2006-01-02 15:04")
		}
		touched, holds, baseline := "-", "-", "-"
		if l.NoOdds == levels.OddsKnown {
			touched, baseline = percent(float64(l.TouchProbability)), percent(float64(l.BaselineHold))
			holds = percents([2]float64{float64(l.HoldInterval[0]), float64(l.HoldInterval[1])})
		}
		rows = append(rows, row{sideColour(role, float64(l.HoldInterval[0]), float64(l.BaselineHold)), []string{
			levelName(role, i), price(l.Price), price(l.Low) + "–" + price(l.High),
			fmt.Sprintf("%+.2f %%", 100*(l.Price-s.LastPrice)/s.LastPrice), fmt.Sprintf("%+.1f", (l.Price-s.LastPrice)/s.ATR),
			w.edgeText(&l, show), touched, holds, baseline, w.say("levels.held", "held", l.Held, "decided", l.Held+l.Broke), w.stateText(&l), last,
			cmp.Or(strings.Join(l.FoundBy().AppendNames(nil), "+"), "-"), fmt.Sprintf("%016x", l.ID), strings.Join(beside[l.ID], " "),
		}})
	}
	for i, l := range slices.Backward(show.Of(s.Resistances)) {
		add(levels.Resistance, i, l)
	}
	rows = append(rows, row{bold, []string{"", price(s.LastPrice), w.say("levels.last_price")}})
	for i, l := range show.Of(s.Supports) {
		add(levels.Support, i, l)
	}
	for _, role := range [...]levels.Role{levels.Resistance, levels.Support} {
		if reason := show.Reason(&s, role); reason != "" {
			fmt.Fprintln(w, w.paint(faint, w.say("levels.none_"+role.String(), "text", sentence(reason))))
		}
	}
	head := []string{"level", "price", "zone", "distance", "ATR", "edge", "touched", "holds", "any_line", "held", "state", "last_test", "found_by", "id"}
	if beside != nil {
		head = append(head, "also_at")
	}
	return w.table(w.heads(head), rows)
}

// edgeText returns the edge of a level, in points, and whether it is faint.
func (w words) edgeText(l *levels.Level, show api.Shown) string {
	text := fmt.Sprintf("%.1f", l.Edge)
	if l.Faint(show.Edge) {
		text += " " + w.say("faint")
	}
	return text
}

// heads returns the names of columns.
func (w words) heads(keys []string) []string {
	heads := make([]string, len(keys))
	for i, key := range keys {
		heads[i] = w.say("column." + key)
	}
	return heads
}

package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"tidemark/app"
	"tidemark/config"
	"tidemark/exchange"
	"tidemark/exchange/venues"
	"tidemark/memory"
	"tidemark/repository"
	"tidemark/service"
)

// verdict is the result of a check.
type verdict string

const (
	ok   verdict = "ok"
	warn verdict = "warn" // the service works, but something should be corrected
	fail verdict = "fail" // the service does not start, or cannot analyse
)

// finding is one line of the output of doctor.
type finding struct {
	check    string // the key of its name
	verdict  verdict
	text     phrase // the state found
	advice   phrase // what to do; empty if the verdict is ok
	exchange string // the one it is about, if there are several
	more     phrase // added to text
}

// writtenFinding is a finding in words.
type writtenFinding struct {
	Check   string  `json:"check"`
	Verdict verdict `json:"verdict"`
	Text    string  `json:"text"`
	Advice  string  `json:"advice,omitempty"`
}

func (w words) finding(f finding) writtenFinding {
	name := w.say("check." + f.check)
	if f.exchange != "" {
		name += " " + f.exchange
	}
	return writtenFinding{name, f.verdict, w.phrase(f.text) + w.phrase(f.more), w.phrase(f.advice)}
}

// doctorReport is what `doctor --json` prints.
type doctorReport struct {
	Healthy  bool             `json:"healthy"` // nothing failed
	Findings []writtenFinding `json:"findings"`
}

func (in *invocation) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check configuration, database, exchange, clock, memory and limits",
		Long: `Check the environment of a service with this configuration. doctor prints one line
per check: ok, warn (the service works, but something should be corrected) or fail,
and what to do. It does not change the database. It asks the exchange only for its
time, and sends no request while this address is banned. The exit code is 1 if a
check failed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			words := wordsOf(in.environ)
			if asJSON {
				words = english()
			}
			var r doctorReport
			failed := 0
			for _, f := range in.examine(cmd) {
				r.Findings = append(r.Findings, words.finding(f))
				if f.verdict == fail {
					failed++
				}
			}
			r.Healthy = failed == 0
			var err error
			if asJSON {
				e := json.NewEncoder(in.stdout)
				e.SetIndent("", "  ")
				err = e.Encode(r)
			} else {
				err = r.print(newScreen(in.stdout, in.environ))
			}
			if err == nil && failed > 0 {
				err = fmt.Errorf("%d of %d checks failed", failed, len(r.Findings))
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	config.AddFlags(cmd.Flags())
	return cmd
}

func (r doctorReport) print(w screen) error {
	colours := map[verdict]colour{ok: green, warn: warning, fail: red}
	rows := make([]row, len(r.Findings))
	for i, f := range r.Findings {
		text := f.Text
		if f.Advice != "" {
			text += w.say("semicolon") + f.Advice
		}
		rows[i].cells = []string{w.paint(colours[f.Verdict], w.say("verdict."+string(f.Verdict))), f.Check, text}
	}
	return w.list(rows)
}

// examine runs all checks. An invalid configuration is the only finding.
func (in *invocation) examine(cmd *cobra.Command) []finding {
	cfg, err := in.config(cmd)
	if err != nil {
		return []finding{{check: "configuration", verdict: fail, text: say("error", "error", err), advice: say("configuration.correct")}}
	}
	ctx := cmd.Context()
	all := []finding{examineExposure(cfg)}
	limit := memory.Read().Limit
	exchanges := cfg.Venues()
	addresses := make([]string, len(exchanges))
	for i, v := range exchanges {
		addresses[i] = app.Address(v)
	}
	found, err := repository.Inspect(ctx, app.NewBudget(cfg, limit).DatabaseConfig(in.logger(quiet(cfg))), addresses...)
	all = append(all, examineDatabase(found, err))
	if found.File != "" {
		all = append(all, examineDisk(filepath.Dir(found.File)))
	}
	for i, of := range examineVenues(ctx, exchanges, found.BannedUntil) {
		if len(exchanges) > 1 {
			for k := range of {
				of[k].exchange = exchanges[i].Name
			}
		}
		all = append(all, of...)
	}
	all = append(all, examineMemory(cfg, limit, found)...)
	if f, set := examineCollector(cfg, in.environ); set {
		all = append(all, f)
	}
	return append(all, examineFiles(cfg), examineAddress(ctx, cfg))
}

// examineExposure checks for a valid configuration that serve refuses.
func examineExposure(cfg config.Config) finding {
	if err := cfg.CheckExposure(); err != nil {
		return finding{check: "configuration", verdict: fail, text: say("error", "error", err), advice: say("configuration.correct")}
	}
	return finding{check: "configuration", verdict: ok, text: say("configuration.valid")}
}

func examineDatabase(found repository.Inspection, err error) finding {
	name := say("database.postgresql")
	if found.File != "" {
		name = say("database.sqlite", "file", found.File)
	}
	f := finding{check: "database", verdict: ok, text: say("database.ok", "name", name, "size", config.FormatBytes(found.Bytes), "version", found.Version)}
	switch {
	case err != nil:
		return finding{check: "database", verdict: fail, text: say("error", "error", err), advice: say("database.correct")}
	case found.New:
		f.text = say("database.new", "name", name)
	case found.Version > found.Known:
		f.verdict, f.advice = fail, say("database.newer", "version", found.Known)
	case found.Version < found.Known:
		f.more = say("database.older", "version", found.Known)
	}
	return f
}

// The free bytes of the disk below which storing analyses may fail soon (scarceDisk) or
// already now (noDisk).
const (
	scarceDisk = 1 << 30
	noDisk     = 64 << 20
)

func examineDisk(folder string) finding {
	free, err := freeBytes(folder)
	if err != nil {
		return finding{check: "disk", verdict: warn, text: say("disk.unknown", "folder", folder, "error", err), advice: say("disk.df")}
	}
	f := finding{check: "disk", verdict: ok, text: say("disk.free", "size", config.FormatBytes(free), "folder", folder)}
	switch {
	case free < noDisk:
		f.verdict, f.advice = fail, say("disk.full")
	case free < scarceDisk:
		f.verdict, f.advice = warn, say("disk.scarce")
	}
	return f
}

// Bounds of the difference between the local clock and the exchange's. The exchange's
// clock decides which candles are closed. The local clock decides which analyses are
// stale, and when schedules and bans are due.
const (
	maxSkew  = 5 * time.Second
	badSkew  = time.Minute
	askVenue = 15 * time.Second
)

// examineVenues asks all exchanges for their time at once, and returns the findings of
// each.
func examineVenues(ctx context.Context, exchanges []config.Venue, banned map[string]time.Time) [][]finding {
	all := make([][]finding, len(exchanges))
	var each sync.WaitGroup
	for i, v := range exchanges {
		each.Go(func() { all[i] = examineVenue(ctx, v, banned[app.Address(v)]) })
	}
	each.Wait()
	return all
}

// examineVenue asks an exchange for its time, but not during a ban, which each request
// would prolong.
func examineVenue(ctx context.Context, v config.Venue, banned time.Time) []finding {
	wait := say("exchange.wait")
	if left := time.Until(banned); left > 0 {
		return []finding{{check: "exchange", verdict: fail, advice: wait,
			text: say("exchange.banned", "exchange", v.Name, "until", banned.UTC().Format(time.RFC3339), "left", left.Round(time.Second))}}
	}
	if v.Name == venues.Simulated && v.BaseURL == nil {
		return []finding{{check: "exchange", verdict: ok, text: say("exchange.generated")}}
	}
	venue := app.OpenVenue(v, exchange.Config{Attempts: 1, Concurrency: 1})
	defer venue.Close()
	ctx, cancel := context.WithTimeout(ctx, askVenue)
	defer cancel()
	began := time.Now()
	now, err := venue.Now(ctx)
	took := time.Since(began)
	if err != nil {
		advice := say("exchange.network")
		if errors.Is(err, service.ErrBanned) || errors.Is(err, service.ErrRateLimited) {
			advice = wait
		}
		return []finding{{check: "exchange", verdict: fail, text: say("error", "error", err), advice: advice}}
	}
	most := exchange.Spent{}
	for _, b := range venue.Status().Budgets {
		if b.Limit > 0 && (most.Limit == 0 || b.Share() > most.Share()) {
			most = b
		}
	}
	answers := "exchange.answers"
	if venue.Market().Simulated {
		answers = "exchange.simulated"
	}
	answered := finding{check: "exchange", verdict: ok, text: say(answers, "exchange", v.Name, "took", took.Round(time.Millisecond),
		"used", most.Used, "limit", most.Limit, "period", most.Period, "name", most.Name)}
	if most.Share() > v.WeightShare {
		answered.verdict, answered.advice = warn, say("exchange.spent")
	}
	// The response was sent half a round trip ago, on average.
	skew := time.Now().Add(-took / 2).Sub(now)
	clock := finding{check: "clock", verdict: ok, text: say("clock.ok", "skew", maxSkew)}
	if venue.Status().Replay != "" && skew.Abs() > badSkew {
		clock.text = say("clock.replay", "at", now.UTC().Format("2006-01-02 15:04 UTC"))
	} else if skew.Abs() > maxSkew {
		side := "clock.ahead"
		if skew < 0 {
			side = "clock.behind"
		}
		clock = finding{check: "clock", verdict: warn, text: say(side, "skew", skew.Abs().Round(time.Second)), advice: say("clock.synchronise")}
		if skew.Abs() > badSkew {
			clock.verdict = fail
		}
	}
	return []finding{answered, clock}
}

// The memory that serve allocates before it divides its budget, in addition to that of
// doctor: 1.3 MiB measured with an existing database, 5.6 MiB with a new schema.
const (
	startShare  = 2 << 20
	schemaShare = 4 << 20
)

// examineMemory divides the budget as serve would.
func examineMemory(cfg config.Config, limit int64, database repository.Inspection) []finding {
	b := app.NewBudget(cfg, limit)
	reserved := int64(startShare)
	if database.New || database.Version < database.Known {
		reserved += schemaShare
	}
	slots, _, _, err := b.Settle(reserved)
	wanted := int64(cfg.AnalysisConcurrency)
	switch {
	case err != nil:
		return []finding{{check: "memory", verdict: fail, text: say("error", "error", err), advice: say("memory.increase")}}
	case limit > 0 && b.Total > limit:
		return []finding{{check: "memory", verdict: fail, text: say("memory.above_limit", "budget", config.FormatBytes(b.Total), "limit", config.FormatBytes(limit)), advice: say("memory.lower_budget")}}
	case b.Total == 0:
		return []finding{{check: "memory", verdict: ok, text: say("memory.no_limit", "n", wanted, "klines", cfg.AnalysisKlineLimit, "size", config.FormatBytes(wanted*b.Slot()))}}
	case slots < wanted*b.Slot():
		return []finding{{check: "memory", verdict: warn, text: say("memory.some", "budget", config.FormatBytes(b.Total), "source", b.Source, "n", slots/b.Slot(), "all", wanted), advice: say("memory.slower")}}
	}
	return []finding{{check: "memory", verdict: ok, text: say("memory.enough", "budget", config.FormatBytes(b.Total), "source", b.Source, "n", wanted, "klines", cfg.AnalysisKlineLimit)}}
}

// examineCollector checks GOMEMLIMIT, if it is set: below the memory of the slots, the
// garbage collector would run all the time.
func examineCollector(cfg config.Config, environ []string) (finding, bool) {
	at := slices.IndexFunc(environ, func(line string) bool { return strings.HasPrefix(line, "GOMEMLIMIT=") })
	if at < 0 {
		return finding{}, false
	}
	value := strings.TrimPrefix(environ[at], "GOMEMLIMIT=")
	var limit config.Bytes
	if value == "" || value == "off" {
		return finding{check: "GOMEMLIMIT", verdict: ok, text: say("collector.none")}, true
	}
	if _, err := strconv.Atoi(value); err != nil && !strings.HasSuffix(value, "B") || limit.UnmarshalText([]byte(value)) != nil {
		return finding{check: "GOMEMLIMIT", verdict: fail, text: say("collector.invalid", "value", strconv.Quote(value)), advice: say("collector.format")}, true
	}
	need := app.Growth + int64(cfg.AnalysisConcurrency)*app.NewBudget(cfg, 0).Slot()
	if int64(limit) < need {
		return finding{check: "GOMEMLIMIT", verdict: warn, text: say("collector.less", "value", value, "need", config.FormatBytes(need)), advice: say("collector.unset")}, true
	}
	return finding{check: "GOMEMLIMIT", verdict: ok, text: say("error", "error", value)}, true
}

// examineFiles checks the limit of open files: for connections to the exchange, to the
// database and of clients.
func examineFiles(cfg config.Config) finding {
	const clients = 100
	limit, err := fileLimit()
	if err != nil {
		return finding{check: "files", verdict: warn, text: say("files.unknown", "error", err), advice: say("files.ulimit")}
	}
	need := uint64(32 + clients + cfg.AnalysisConcurrency + cfg.DBPoolSize + cfg.DBMaxOverflow)
	if limit >= math.MaxInt64 {
		return finding{check: "files", verdict: ok, text: say("files.unlimited")}
	}
	f := finding{check: "files", verdict: ok, text: say("files.limit", "n", limit)}
	if limit < need {
		f.verdict, f.advice = warn, say("files.raise", "clients", clients, "need", need)
	}
	return f
}

// examineAddress checks that serve can listen on its addresses, or that a service is
// ready there.
func examineAddress(ctx context.Context, cfg config.Config) finding {
	api, profiles, err := app.Listen(cfg)
	if err == nil {
		api.Close()
		text := say("address.free", "address", cfg.HTTPAddr)
		if profiles != nil {
			profiles.Close()
			text = say("address.both_free", "address", cfg.HTTPAddr, "debug", cfg.DebugAddr)
		}
		return finding{check: "address", verdict: ok, text: text}
	}
	if !app.InUse(err) {
		return finding{check: "address", verdict: fail, text: say("error", "error", err), advice: say("address.other")}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if health := checkHealth(ctx, "http://"+reachable(cfg.HTTPAddr)+"/readyz"); health != nil {
		return finding{check: "address", verdict: fail, text: say("address.unhealthy", "error", err, "health", health), advice: say("address.log")}
	}
	return finding{check: "address", verdict: ok, text: say("address.service", "address", cfg.HTTPAddr)}
}

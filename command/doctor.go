package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
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
	Check   string  `json:"check"`
	Verdict verdict `json:"verdict"`
	Text    string  `json:"text"`             // the state found
	Advice  string  `json:"advice,omitempty"` // what to do; empty if the verdict is ok
}

// doctorReport is what `doctor --json` prints.
type doctorReport struct {
	Healthy  bool      `json:"healthy"` // nothing failed
	Findings []finding `json:"findings"`
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
			r := doctorReport{Findings: in.examine(cmd)}
			failed := 0
			for _, f := range r.Findings {
				if f.Verdict == fail {
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
			text += "; " + f.Advice
		}
		rows[i].cells = []string{w.paint(colours[f.Verdict], string(f.Verdict)), f.Check, text}
	}
	return w.list(rows)
}

// examine runs all checks. An invalid configuration is the only finding.
func (in *invocation) examine(cmd *cobra.Command) []finding {
	cfg, err := in.config(cmd)
	if err != nil {
		return []finding{{"configuration", fail, err.Error(), "correct it; README.md lists the variables"}}
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
				of[k].Check += " " + exchanges[i].Name
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
		return finding{"configuration", fail, err.Error(), "correct it; README.md lists the variables"}
	}
	return finding{"configuration", ok, "all settings are valid", ""}
}

func examineDatabase(found repository.Inspection, err error) finding {
	name := "PostgreSQL"
	if found.File != "" {
		name = "SQLite at " + found.File
	}
	f := finding{"database", ok, fmt.Sprintf("%s, %s, writable, schema version %d", name, config.Mebibytes(found.Bytes), found.Version), ""}
	switch {
	case err != nil:
		return finding{"database", fail, err.Error(), "correct DATABASE_URL or the database"}
	case found.New:
		f.Text = name + " does not exist yet; the first start creates it"
	case found.Version > found.Known:
		f.Verdict, f.Advice = fail, fmt.Sprintf("this program supports versions up to %d; run a newer tidemark", found.Known)
	case found.Version < found.Known:
		f.Text += fmt.Sprintf("; the next start migrates it to %d", found.Known)
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
		return finding{"disk", warn, fmt.Sprintf("the free space in %s is unknown: %v", folder, err), "check it with df"}
	}
	f := finding{"disk", ok, fmt.Sprintf("%s free in %s", config.Mebibytes(free), folder), ""}
	switch {
	case free < noDisk:
		f.Verdict, f.Advice = fail, "free disk space, or set DATABASE_URL to a file on another disk"
	case free < scarceDisk:
		f.Verdict, f.Advice = warn, "free disk space soon"
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
	const wait = "wait; then lower EXCHANGE_WEIGHT_SHARE, or find the other users of this address"
	if left := time.Until(banned); left > 0 {
		return []finding{{"exchange", fail, fmt.Sprintf("%s has banned this address until %s, in %s; no request was sent",
			v.Name, banned.UTC().Format(time.RFC3339), left.Round(time.Second)), wait}}
	}
	if v.Name == venues.Simulated && v.BaseURL == nil {
		return []finding{{"exchange", ok, "SIMULATED: the process generates the market; there are no requests", ""}}
	}
	venue := app.OpenVenue(v, exchange.Config{Attempts: 1, Concurrency: 1})
	defer venue.Close()
	ctx, cancel := context.WithTimeout(ctx, askVenue)
	defer cancel()
	began := time.Now()
	now, err := venue.Now(ctx)
	took := time.Since(began)
	if err != nil {
		advice := "check the network, EXCHANGE_BASE_URL, and whether the exchange serves your region"
		if errors.Is(err, service.ErrBanned) || errors.Is(err, service.ErrRateLimited) {
			advice = wait
		}
		return []finding{{"exchange", fail, err.Error(), advice}}
	}
	most := exchange.Spent{}
	for _, b := range venue.Status().Budgets {
		if b.Limit > 0 && (most.Limit == 0 || b.Share() > most.Share()) {
			most = b
		}
	}
	answered := finding{"exchange", ok, fmt.Sprintf("%s%s responds within %s; this address has used %d of %d requests by weight that are allowed in %s (%s)",
		simulatedMark(venue.Market().Simulated), v.Name, took.Round(time.Millisecond), most.Used, most.Limit, most.Period, most.Name), ""}
	if most.Share() > v.WeightShare {
		answered.Verdict, answered.Advice = warn, "it exceeds EXCHANGE_WEIGHT_SHARE of the limit; analyses wait for the next period"
	}
	// The response was sent half a round trip ago, on average.
	skew := time.Now().Add(-took / 2).Sub(now)
	clock := finding{"clock", ok, fmt.Sprintf("within %s of the exchange's", maxSkew), ""}
	if venue.Status().Replay != "" && skew.Abs() > badSkew {
		clock.Text = "the exchange is a replay at " + now.UTC().Format("2006-01-02 15:04 UTC") + ", by which analyses of it are judged"
	} else if skew.Abs() > maxSkew {
		side := "ahead of"
		if skew < 0 {
			side = "behind"
		}
		clock = finding{"clock", warn, fmt.Sprintf("%s %s the exchange's", skew.Abs().Round(time.Second), side),
			"synchronise this machine's clock with NTP; staleness and the start of schedules are wrong by this much"}
		if skew.Abs() > badSkew {
			clock.Verdict = fail
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
		return []finding{{"memory", fail, err.Error(), "increase the memory, or lower ANALYSIS_KLINE_LIMIT, HTTP_CACHE_BYTES or DB_POOL_SIZE"}}
	case limit > 0 && b.Total > limit:
		return []finding{{"memory", fail, fmt.Sprintf("the budget of %s is more than the cgroup's limit of %s, at which the kernel kills the process", config.Mebibytes(b.Total), config.Mebibytes(limit)),
			"lower MEMORY_BUDGET, or unset it to use 90 % of the limit"}}
	case b.Total == 0:
		return []finding{{"memory", ok, fmt.Sprintf("no limit is set; %d concurrent analyses of %d klines need %s in addition to the memory of the process",
			wanted, cfg.AnalysisKlineLimit, config.Mebibytes(wanted*b.Slot())), ""}}
	case slots < wanted*b.Slot():
		return []finding{{"memory", warn, fmt.Sprintf("%s (%s) is enough for %d of the %d concurrent analyses of ANALYSIS_CONCURRENCY", config.Mebibytes(b.Total), b.Source, slots/b.Slot(), wanted),
			"sweeps are slower; increase the memory, or lower ANALYSIS_CONCURRENCY or ANALYSIS_KLINE_LIMIT"}}
	}
	return []finding{{"memory", ok, fmt.Sprintf("%s (%s) is enough for all %d concurrent analyses of %d klines", config.Mebibytes(b.Total), b.Source, wanted, cfg.AnalysisKlineLimit), ""}}
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
		return finding{"GOMEMLIMIT", ok, "sets no limit", ""}, true
	}
	if _, err := strconv.Atoi(value); err != nil && !strings.HasSuffix(value, "B") || limit.UnmarshalText([]byte(value)) != nil {
		return finding{"GOMEMLIMIT", fail, strconv.Quote(value) + " is not a valid limit", `use the format of Go, such as "28MiB"; the process does not start with this value`}, true
	}
	need := app.Growth + int64(cfg.AnalysisConcurrency)*app.NewBudget(cfg, 0).Slot()
	if int64(limit) < need {
		return finding{"GOMEMLIMIT", warn, fmt.Sprintf("%s is less than the %s the analyses need", value, config.Mebibytes(need)),
			"unset it: tidemark sets it from MEMORY_BUDGET or the cgroup's limit"}, true
	}
	return finding{"GOMEMLIMIT", ok, value, ""}, true
}

// examineFiles checks the limit of open files: for connections to the exchange, to the
// database and of clients.
func examineFiles(cfg config.Config) finding {
	const clients = 100
	limit, err := fileLimit()
	if err != nil {
		return finding{"open files", warn, fmt.Sprintf("the limit is unknown: %v", err), "check it with ulimit -n"}
	}
	need := uint64(32 + clients + cfg.AnalysisConcurrency + cfg.DBPoolSize + cfg.DBMaxOverflow)
	f := finding{"open files", ok, fmt.Sprintf("the limit is %d", limit), ""}
	if limit < need {
		f.Verdict, f.Advice = warn, fmt.Sprintf("%d clients may need %d; raise the limit with ulimit -n, or LimitNOFILE of systemd", clients, need)
	}
	return f
}

// examineAddress checks that serve can listen on its addresses, or that a service is
// ready there.
func examineAddress(ctx context.Context, cfg config.Config) finding {
	api, profiles, err := app.Listen(cfg)
	if err == nil {
		api.Close()
		text := cfg.HTTPAddr
		if profiles != nil {
			profiles.Close()
			text += " and " + cfg.DebugAddr
		}
		return finding{"address", ok, text + " is free: no service listens there", ""}
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return finding{"address", fail, err.Error(), "use another address"}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if health := checkHealth(ctx, "http://"+reachable(cfg.HTTPAddr)+"/readyz"); health != nil {
		return finding{"address", fail, fmt.Sprintf("%v, and the health check of HTTP_ADDR failed: %v", err, health),
			"if tidemark listens there, read its log; otherwise use another address"}
	}
	return finding{"address", ok, "a service on " + cfg.HTTPAddr + " is ready; a second service needs another address", ""}
}

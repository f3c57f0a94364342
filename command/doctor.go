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
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tidemark/app"
	"tidemark/config"
	"tidemark/exchange/binance"
	"tidemark/memory"
	"tidemark/repository"
	"tidemark/service"
)

// verdict is how a check of the doctor ended.
type verdict string

const (
	fine     verdict = "ok"
	doubtful verdict = "warn" // the service runs, and something is not as it should be
	broken   verdict = "fail" // the service does not start, or cannot analyse
)

// finding is one line of the doctor's.
type finding struct {
	Check   string  `json:"check"`
	Verdict verdict `json:"verdict"`
	Text    string  `json:"text"`             // what is so
	Advice  string  `json:"advice,omitempty"` // what to do, unless all is well
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
		Long: `Check what a service with this configuration would meet, one line a check: ok,
warn (it runs, and something is not as it should be) or fail, and what to do. The
database is not changed, the exchange is asked for its time and nothing else, and
for nothing at all while it has banned this address. Exit code 1 tells that a check
failed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := doctorReport{Findings: in.examine(cmd)}
			failed := 0
			for _, f := range r.Findings {
				if f.Verdict == broken {
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
	colours := map[verdict]colour{fine: green, doubtful: warning, broken: red}
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

// examine makes every check. Without a configuration there is nothing to check.
func (in *invocation) examine(cmd *cobra.Command) []finding {
	cfg, err := in.config(cmd)
	if err != nil {
		return []finding{{"configuration", broken, err.Error(), "correct it; README.md lists the variables"}}
	}
	ctx := cmd.Context()
	all := []finding{examineExposure(cfg)}
	limit := memory.Read().Limit
	found, err := repository.Inspect(ctx, app.NewBudget(cfg, limit).DatabaseConfig(in.logger(quiet(cfg))), app.Address(cfg))
	all = append(all, examineDatabase(found, err))
	if found.File != "" {
		all = append(all, examineDisk(filepath.Dir(found.File)))
	}
	all = append(all, examineVenue(ctx, cfg, found.BannedUntil)...)
	all = append(all, examineMemory(cfg, limit, found)...)
	if f, ok := examineCollector(cfg, in.environ); ok {
		all = append(all, f)
	}
	return append(all, examineFiles(cfg), examineAddress(ctx, cfg))
}

// examineExposure looks at what serve refuses of a configuration that can be read.
func examineExposure(cfg config.Config) finding {
	if err := cfg.CheckExposure(); err != nil {
		return finding{"configuration", broken, err.Error(), "correct it; README.md lists the variables"}
	}
	return finding{"configuration", fine, "every setting can be read and is in range", ""}
}

func examineDatabase(found repository.Inspection, err error) finding {
	name := "PostgreSQL"
	if found.File != "" {
		name = "SQLite at " + found.File
	}
	f := finding{"database", fine, fmt.Sprintf("%s, %s, can be written, schema version %d", name, config.Mebibytes(found.Bytes), found.Version), ""}
	switch {
	case err != nil:
		return finding{"database", broken, err.Error(), "correct DATABASE_URL or what it names"}
	case found.New:
		f.Text = name + " is not there yet; the first start makes it"
	case found.Version > found.Known:
		f.Verdict, f.Advice = broken, fmt.Sprintf("this program knows versions up to %d; run a newer tidemark", found.Known)
	case found.Version < found.Known:
		f.Text += fmt.Sprintf("; the next start brings it to %d", found.Known)
	}
	return f
}

// Free bytes of the disk below which analyses could soon not be stored, or may not
// be by now.
const (
	scarceDisk = 1 << 30
	noDisk     = 64 << 20
)

func examineDisk(folder string) finding {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return finding{"disk", doubtful, fmt.Sprintf("what is free in %s is not told: %v", folder, err), "look at it by hand"}
	}
	free := int64(s.Bavail) * int64(s.Bsize)
	f := finding{"disk", fine, fmt.Sprintf("%s free in %s", config.Mebibytes(free), folder), ""}
	switch {
	case free < noDisk:
		f.Verdict, f.Advice = broken, "make room, or name a file on another disk in DATABASE_URL"
	case free < scarceDisk:
		f.Verdict, f.Advice = doubtful, "make room before it runs out"
	}
	return f
}

// How far the clock here may be from the exchange's. Which candles are closed is
// decided by the exchange's clock; ours decides what is called stale, and when
// schedules and bans are due.
const (
	maxSkew  = 5 * time.Second
	badSkew  = time.Minute
	askVenue = 15 * time.Second
)

// examineVenue asks the exchange for its time, unless it has banned us: each
// request would lengthen the ban.
func examineVenue(ctx context.Context, cfg config.Config, banned time.Time) []finding {
	const wait = "wait; then lower EXCHANGE_WEIGHT_SHARE, or find what else uses this address"
	if left := time.Until(banned); left > 0 {
		return []finding{{"exchange", broken, fmt.Sprintf("%s has banned this address until %s, in %s; nothing was asked",
			cfg.Exchange, banned.UTC().Format(time.RFC3339), left.Round(time.Second)), wait}}
	}
	if cfg.Exchange == "simulated" && cfg.ExchangeBaseURL == "" {
		return []finding{{"exchange", fine, "SIMULATED: the market is invented inside the process, and nothing is asked for it", ""}}
	}
	baseURL, err := cfg.ExchangeURL()
	if err != nil {
		return []finding{{"exchange", broken, err.Error(), "correct EXCHANGE_BASE_URL"}}
	}
	venue := binance.New(binance.Config{
		Name: cfg.Exchange, BaseURL: baseURL, WeightShare: cfg.ExchangeWeightShare,
		Timeout: cfg.ExchangeTimeout, Attempts: 1, Concurrency: 1, Simulated: cfg.Exchange == "simulated",
	})
	defer venue.Close()
	ctx, cancel := context.WithTimeout(ctx, askVenue)
	defer cancel()
	began := time.Now()
	now, err := venue.Now(ctx)
	took := time.Since(began)
	if err != nil {
		advice := "check the network, EXCHANGE_BASE_URL, and whether the exchange is served where you are"
		if errors.Is(err, service.ErrBanned) || errors.Is(err, service.ErrRateLimited) {
			advice = wait
		}
		return []finding{{"exchange", broken, err.Error(), advice}}
	}
	stats := venue.Stats()
	answers := finding{"exchange", fine, fmt.Sprintf("%s%s answers within %s; this address has used %d of the request weight of this minute",
		simulatedMark(venue.Market().Simulated), cfg.Exchange, took.Round(time.Millisecond), stats.UsedWeight), ""}
	if float64(stats.UsedWeight) > cfg.ExchangeWeightShare*float64(stats.WeightLimit) {
		answers.Verdict, answers.Advice = doubtful, "EXCHANGE_WEIGHT_SHARE of it is used up; analyses wait for the next minute"
	}
	// the answer is half the way old, on average
	skew := time.Now().Add(-took / 2).Sub(now)
	clock := finding{"clock", fine, fmt.Sprintf("within %s of the exchange's", maxSkew), ""}
	if skew.Abs() > maxSkew {
		side := "ahead of"
		if skew < 0 {
			side = "behind"
		}
		clock = finding{"clock", doubtful, fmt.Sprintf("%s %s the exchange's", skew.Abs().Round(time.Second), side),
			"set this machine's clock by NTP; until then what is called stale, and when schedules begin, is off by as much"}
		if skew.Abs() > badSkew {
			clock.Verdict = broken
		}
	}
	return []finding{answers, clock}
}

// What serve takes, before it divides its budget, besides what the doctor has by then:
// 1.3 MiB measured on a database that is there, 5.6 MiB where the schema must be made.
const (
	startShare  = 2 << 20
	schemaShare = 4 << 20
)

// examineMemory divides the budget as serve would.
func examineMemory(cfg config.Config, limit int64, database repository.Inspection) []finding {
	b := app.NewBudget(cfg, limit)
	coming := int64(startShare)
	if database.New || database.Version < database.Known {
		coming += schemaShare
	}
	slots, _, _, err := b.Settle(coming)
	wanted := int64(cfg.AnalysisConcurrency)
	switch {
	case err != nil:
		return []finding{{"memory", broken, err.Error(), "give it more memory, or lower ANALYSIS_KLINE_LIMIT, HTTP_CACHE_BYTES or DB_POOL_SIZE"}}
	case limit > 0 && b.Total > limit:
		return []finding{{"memory", broken, fmt.Sprintf("the budget of %s is more than the cgroup's limit of %s, at which the kernel kills the process", config.Mebibytes(b.Total), config.Mebibytes(limit)),
			"lower MEMORY_BUDGET, or leave it out: then 90 % of the limit are taken"}}
	case b.Total == 0:
		return []finding{{"memory", fine, fmt.Sprintf("no bound is set; %d analyses of %d klines at once take %s beside what the process takes anyway",
			wanted, cfg.AnalysisKlineLimit, config.Mebibytes(wanted*b.Slot())), ""}}
	case slots < wanted*b.Slot():
		return []finding{{"memory", doubtful, fmt.Sprintf("%s (%s) has room for %d of the %d analyses of ANALYSIS_CONCURRENCY at once", config.Mebibytes(b.Total), b.Source, slots/b.Slot(), wanted),
			"sweeps are slower for it; give it more memory, or lower ANALYSIS_CONCURRENCY or ANALYSIS_KLINE_LIMIT"}}
	}
	return []finding{{"memory", fine, fmt.Sprintf("%s (%s) has room for all %d analyses of %d klines at once", config.Mebibytes(b.Total), b.Source, wanted, cfg.AnalysisKlineLimit), ""}}
}

// examineCollector looks at GOMEMLIMIT, if it is set: below what the slots need,
// the collector would never rest.
func examineCollector(cfg config.Config, environ []string) (finding, bool) {
	at := slices.IndexFunc(environ, func(line string) bool { return strings.HasPrefix(line, "GOMEMLIMIT=") })
	if at < 0 {
		return finding{}, false
	}
	value := strings.TrimPrefix(environ[at], "GOMEMLIMIT=")
	var limit config.Bytes
	if value == "" || value == "off" {
		return finding{"GOMEMLIMIT", fine, "sets no limit", ""}, true
	}
	if _, err := strconv.Atoi(value); err != nil && !strings.HasSuffix(value, "B") || limit.UnmarshalText([]byte(value)) != nil {
		return finding{"GOMEMLIMIT", broken, strconv.Quote(value) + " is no limit", `write it as Go does, such as "28MiB"; the process does not start with this one`}, true
	}
	need := app.Growth + int64(cfg.AnalysisConcurrency)*app.NewBudget(cfg, 0).Slot()
	if int64(limit) < need {
		return finding{"GOMEMLIMIT", doubtful, fmt.Sprintf("%s is less than the %s the analyses need", value, config.Mebibytes(need)),
			"leave it out: tidemark sets it by MEMORY_BUDGET or the cgroup's limit"}, true
	}
	return finding{"GOMEMLIMIT", fine, value, ""}, true
}

// examineFiles counts what may be open at once: connections to the exchange and
// the database, and those of clients, of whom some follow events.
func examineFiles(cfg config.Config) finding {
	const clients = 100
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return finding{"open files", doubtful, fmt.Sprintf("the limit is not told: %v", err), "look at it by hand: ulimit -n"}
	}
	need := uint64(32 + clients + cfg.AnalysisConcurrency + cfg.DBPoolSize + cfg.DBMaxOverflow)
	f := finding{"open files", fine, fmt.Sprintf("up to %d may be open", r.Cur), ""}
	if uint64(r.Cur) < need {
		f.Verdict, f.Advice = doubtful, fmt.Sprintf("with %d clients %d may be needed; raise it: ulimit -n, or LimitNOFILE of systemd", clients, need)
	}
	return f
}

// examineAddress looks whether serve could take its addresses, or a service answers there.
func examineAddress(ctx context.Context, cfg config.Config) finding {
	api, profiles, err := app.Listen(cfg)
	if err == nil {
		api.Close()
		text := cfg.HTTPAddr
		if profiles != nil {
			profiles.Close()
			text += " and " + cfg.DebugAddr
		}
		return finding{"address", fine, text + " can be taken: no service listens there, and one may start", ""}
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return finding{"address", broken, err.Error(), "name another one"}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if health := checkHealth(ctx, "http://"+reachable(cfg.HTTPAddr)+"/readyz"); health != nil {
		return finding{"address", broken, fmt.Sprintf("%v, and of HTTP_ADDR it is said: %v", err, health),
			"if a tidemark listens there, read its log; if not, name another address"}
	}
	return finding{"address", fine, "a service on " + cfg.HTTPAddr + " is ready; a second one needs other addresses", ""}
}

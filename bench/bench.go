// Package bench measures the memory and speed of the program on this machine, against a
// simulated exchange and in long runs under faults. All measured programs are child
// processes.
package bench

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"tidemark/app"
	"tidemark/config"
	"tidemark/wire"
)

// Options are the options of Run.
type Options struct {
	Pairs, Klines int
	Latency       time.Duration
	Settings      []string // concurrency/batch
	Parts         []string
	SQLite        bool   // measure it
	Postgres      string // address of the one to measure, too; empty: none
	JSON          bool

	// of the part live
	Closes int     // that are measured
	Hours  int     // simulated, instead of the rest of the part; 0: none
	Speed  float64 // of the market's clock then
	Plot   string  // file for a plot of them
}

// benchReport is the output of `bench --json`. Sizes are in bytes, times in seconds.
type benchReport struct {
	Version     string             `json:"version"`
	Pairs       int                `json:"pairs"`
	Klines      int                `json:"klines"`
	LatencySecs float64            `json:"latency_seconds"`
	Settings    []settingResult    `json:"settings"`
	Growth      []growthResult     `json:"growth"`
	Repetition  []repeatResult     `json:"repetition"`
	Serving     []servingLatency   `json:"serving"`
	Throughput  []throughputResult `json:"throughput"`
	Idle        []idleResult       `json:"idle"`
	Workers     []workersResult    `json:"workers"`
	Venues      []venuesResult     `json:"venues"`
	Live        []liveResult       `json:"live"`
	Cuts        []cutsResult       `json:"cuts"`
	Hours       []soakRun          `json:"hours"`
	Ring        []ringResult       `json:"ring"`
}

type settingResult struct {
	Database    string  `json:"database"`
	Concurrency int     `json:"concurrency"`
	BatchSize   int     `json:"batch_size"`
	PeakRSS     int64   `json:"peak_rss_bytes"` // VmHWM of the whole service
	Seconds     float64 `json:"seconds"`
	BareSeconds float64 `json:"bare_seconds"` // of a client that discards the same pages
	CPUSeconds  float64 `json:"cpu_seconds"`
	Done        int     `json:"symbols_done"`
	Failed      int     `json:"symbols_failed"`
}

type growthResult struct {
	Database string `json:"database"`
	Pairs    int    `json:"pairs"`
	PeakRSS  int64  `json:"peak_rss_bytes"`
}

type repeatResult struct {
	Database string `json:"database"`
	Sweep    int    `json:"sweep"`
	RSS      int64  `json:"rss_bytes"`
}

type servingLatency struct {
	Database string  `json:"database"`
	During   string  `json:"during"` // "rest", or "sweeps at" a setting
	Requests int     `json:"requests"`
	P50      float64 `json:"p50_seconds"`
	P99      float64 `json:"p99_seconds"`
}

type idleResult struct {
	Database   string  `json:"database"`
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpu_seconds"`
	RSS        int64   `json:"rss_bytes"`
}

type workersResult struct {
	Workers int     `json:"workers"`
	Seconds float64 `json:"seconds"`
	Done    int     `json:"symbols_done"`
	Failed  int     `json:"symbols_failed"`
	PeakRSS []int64 `json:"peak_rss_bytes"` // of each
}

// Parts are the parts of a benchmark that are measured unless others are named. Each has
// its own table.
var Parts = []string{"settings", "growth", "repetition", "serving", "throughput", "idle", "workers", "venues"}

// partLive takes a quarter of an hour and needs no market of its own. Its steps are parts,
// too.
const (
	partLive   = "live"
	partClose  = "live-close"
	partVenues = "live-venues"
	partCuts   = "live-cuts"
)

var liveParts = []string{partLive, partClose, partVenues, partCuts, partRing}

// Bencher runs the processes of a benchmark.
type Bencher struct {
	Options
	Exe, Dir string
	say      func(format string, args ...any)
}

// Run measures the program and prints a report to stdout.
func Run(ctx context.Context, o Options, stdout, stderr io.Writer) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "tidemark-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &Bencher{Options: o, Exe: exe, Dir: dir, say: func(format string, args ...any) {
		fmt.Fprintf(stderr, format+"\n", args...)
	}}
	settings := make([][2]int, len(o.Settings))
	for i, s := range o.Settings {
		if settings[i], err = parseSetting(s); err != nil {
			return config.Usage(fmt.Errorf("--settings: %w", err))
		}
	}
	report := benchReport{Version: app.BuildVersion(), Pairs: o.Pairs, Klines: o.Klines, LatencySecs: o.Latency.Seconds()}
	for _, part := range o.Parts {
		if !slices.Contains(Parts, part) && !slices.Contains(liveParts, part) {
			return config.Usage(fmt.Errorf("--parts: %q is not one of %s", part, strings.Join(slices.Concat(Parts, liveParts), ", ")))
		}
	}
	var market *Process
	if slices.ContainsFunc(o.Parts, func(part string) bool { return !slices.Contains(liveParts, part) }) {
		if market, err = b.market(ctx, o.Pairs); err != nil {
			return err
		}
		defer market.End()
	}
	var databases []string
	if o.SQLite {
		databases = append(databases, "sqlite")
	}
	if o.Postgres != "" {
		databases = append(databases, "postgres")
		defer b.dropSchema(context.WithoutCancel(ctx))
	}
	for _, db := range databases {
		for _, part := range o.Parts {
			var err error
			switch part {
			case "settings":
				err = b.settingsTable(ctx, &report, market, db, settings)
			case "growth":
				err = b.growth(ctx, &report, market, db)
			case "repetition":
				err = b.repetition(ctx, &report, market, db)
			case "serving":
				if err = b.serving(ctx, &report, market, db, 3, 20, 1); err == nil {
					err = b.serving(ctx, &report, market, db, 20, 50, 4)
				}
			case "throughput":
				err = b.throughput(ctx, &report, market, db)
			case "idle":
				err = b.idle(ctx, &report, market, db)
			case "workers":
				if db == "postgres" { // a SQLite file is one machine's
					err = b.workers(ctx, &report)
				}
			case "venues":
				err = b.venues(ctx, &report, db)
			case partRing:
				err = b.ringPart(ctx, &report, db)
			default:
				err = b.live(ctx, &report, db, part)
			}
			if err != nil {
				return fmt.Errorf("%s, %s: %w", db, part, err)
			}
		}
	}
	if err := b.writePlot(report.Hours); err != nil {
		return err
	}
	if o.JSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		return e.Encode(report)
	}
	return report.print(stdout)
}

// parseSetting reads concurrency/batch.
func parseSetting(s string) (setting [2]int, err error) {
	if n, err := fmt.Sscanf(s, "%d/%d", &setting[0], &setting[1]); n != 2 || err != nil {
		return setting, fmt.Errorf("%q is not concurrency/batch, such as 3/20", s)
	}
	return setting, nil
}

// Process is a child process with a known address.
type Process struct {
	Cmd  *exec.Cmd
	Base string // http://host:port
}

// End stops the process with a signal and waits for it.
func (p *Process) End() error {
	p.Cmd.Process.Signal(syscall.SIGTERM)
	return p.Cmd.Wait()
}

var listening = regexp.MustCompile(`(?:exchange on http://|"address":")(127\.0\.0\.1:\d+)`)

// Start runs this program with args and waits until it prints the address it listens on.
func (b *Bencher) Start(ctx context.Context, args ...string) (*Process, error) {
	return b.startWith(ctx, nil, args...)
}

// startWith is Start with more variables of the environment.
func (b *Bencher) startWith(ctx context.Context, env []string, args ...string) (*Process, error) {
	cmd := exec.CommandContext(ctx, b.Exe, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	// the process does only what is requested, unless env says otherwise
	cmd.Dir, cmd.Env = b.Dir, append([]string{"ANALYSIS_LIVE=false", "PATH=" + os.Getenv("PATH"), "TMPDIR=" + b.Dir}, env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	found := make(chan string, 1)
	go func() {
		defer io.Copy(io.Discard, out)
		var output strings.Builder
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				found <- "http://" + m[1]
				return
			}
			fmt.Fprintln(&output, lines.Text())
		}
		found <- output.String()
	}()
	base := <-found
	if !strings.HasPrefix(base, "http://") {
		cmd.Wait()
		return nil, fmt.Errorf("%s did not start: %s", args[0], strings.TrimSpace(base))
	}
	return &Process{cmd, base}, nil
}

// market starts a simulated exchange and requests every page once, so that rendering the
// pages is not part of the measurement.
func (b *Bencher) market(ctx context.Context, pairs int) (*Process, error) {
	b.say("starting a simulated exchange of %d pairs", pairs)
	p, err := b.Start(ctx, "simulate", "--addr", "127.0.0.1:0", "--pairs", strconv.Itoa(pairs),
		"--latency", b.Latency.String(), "--weight-limit", "10000000", "--cache-bytes", strconv.Itoa(2<<30))
	if err != nil {
		return nil, err
	}
	s, err := b.service(ctx, p, "sqlite", 1, 1)
	if err == nil {
		var symbols []string
		if symbols, err = selected(ctx, s); err == nil {
			_, err = b.bare(ctx, p, symbols, 20)
		}
		s.End()
	}
	if err != nil {
		p.End()
		return nil, err
	}
	return p, nil
}

// service starts tidemark with an empty database; more are flags.
func (b *Bencher) service(ctx context.Context, market *Process, db string, concurrency, batch int, more ...string) (*Process, error) {
	address, err := b.database(ctx, db)
	if err != nil {
		return nil, err
	}
	return b.serve(ctx, market, address, concurrency, batch, more...)
}

// serve starts tidemark with the database at an address; more are flags.
func (b *Bencher) serve(ctx context.Context, market *Process, address string, concurrency, batch int, more ...string) (*Process, error) {
	return b.Start(ctx, append([]string{"serve", "--http-addr", "127.0.0.1:0", "--http-rate-limit", "0", "--log-format", "json",
		"--exchange", "simulated", "--exchange-base-url", market.Base, "--database-url", address,
		"--analysis-kline-limit", strconv.Itoa(b.Klines),
		"--analysis-concurrency", strconv.Itoa(concurrency), "--analysis-batch-size", strconv.Itoa(batch)}, more...)...)
}

// database returns the address of an empty database: a new file, or the PostgreSQL schema
// of the benchmark.
func (b *Bencher) database(ctx context.Context, db string) (string, error) {
	if db == "sqlite" {
		f, err := os.CreateTemp(b.Dir, "*.db")
		if err != nil {
			return "", err
		}
		return "sqlite://" + f.Name(), f.Close()
	}
	u, err := url.Parse(b.Postgres)
	if err != nil {
		return "", config.Usage(errors.New("--postgres: not the address of a database")) // which may hold a password
	}
	if err := b.dropSchema(ctx); err != nil {
		return "", err
	}
	if err := b.onPostgres(ctx, `CREATE SCHEMA tidemark_bench`); err != nil {
		return "", err
	}
	query := u.Query()
	query.Set("search_path", "tidemark_bench")
	u.RawQuery = query.Encode()
	return u.String(), nil
}

func (b *Bencher) dropSchema(ctx context.Context) error {
	return b.onPostgres(ctx, `DROP SCHEMA IF EXISTS tidemark_bench CASCADE`)
}

func (b *Bencher) onPostgres(ctx context.Context, query string) error {
	db, err := sql.Open("postgres", b.Postgres)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, query)
	return err
}

// setting measures one sweep of a new service with one setting, between two runs of the
// bare client.
func (b *Bencher) setting(ctx context.Context, market *Process, db string, concurrency, batch int) (settingResult, error) {
	b.say("%s %d/%d", db, concurrency, batch)
	r := settingResult{Database: db, Concurrency: concurrency, BatchSize: batch}
	p, err := b.service(ctx, market, db, concurrency, batch)
	if err != nil {
		return r, err
	}
	defer p.End()
	symbols, err := selected(ctx, p)
	if err != nil {
		return r, err
	}
	before, err := b.bare(ctx, market, symbols, concurrency)
	if err != nil {
		return r, err
	}
	start, err := Metric(ctx, p, "process_cpu_seconds_total")
	if err != nil {
		return r, err
	}
	job, err := SweepOver(ctx, p)
	if err != nil {
		return r, err
	}
	cpu, err := Metric(ctx, p, "process_cpu_seconds_total")
	if err != nil {
		return r, err
	}
	peak, err := Metric(ctx, p, "tidemark_process_peak_resident_memory_bytes")
	if err != nil {
		return r, err
	}
	after, err := b.bare(ctx, market, symbols, concurrency)
	if err != nil {
		return r, err
	}
	r.Seconds = job.FinishedAt.Sub(*job.StartedAt).Seconds()
	r.BareSeconds = (before + after).Seconds() / 2
	r.CPUSeconds, r.PeakRSS = cpu-start, int64(peak)
	r.Done, r.Failed = job.SymbolsDone, job.SymbolsFailed
	return r, nil
}

// settingsTable measures each setting.
func (b *Bencher) settingsTable(ctx context.Context, report *benchReport, market *Process, db string, settings [][2]int) error {
	for _, s := range settings {
		r, err := b.setting(ctx, market, db, s[0], s[1])
		if err != nil {
			return fmt.Errorf("%d/%d: %w", s[0], s[1], err)
		}
		report.Settings = append(report.Settings, r)
	}
	return nil
}

// growth measures the peak memory of a sweep of a market and of one four times as large.
func (b *Bencher) growth(ctx context.Context, report *benchReport, market *Process, db string) error {
	large, err := b.market(ctx, 4*b.Pairs)
	if err != nil {
		return err
	}
	defer large.End()
	for _, m := range []*Process{market, large} {
		b.say("%s growth", db)
		p, err := b.service(ctx, m, db, 20, 50)
		if err != nil {
			return err
		}
		job, err := SweepOver(ctx, p)
		if err == nil {
			var peak float64
			peak, err = Metric(ctx, p, "tidemark_process_peak_resident_memory_bytes")
			report.Growth = append(report.Growth, growthResult{db, job.SymbolsDone, int64(peak)})
		}
		p.End()
		if err != nil {
			return err
		}
	}
	return nil
}

// repetition sweeps ten times with one service. The first sweep fetches all candles, the
// others only new ones.
func (b *Bencher) repetition(ctx context.Context, report *benchReport, market *Process, db string) error {
	b.say("%s ten sweeps in a row", db)
	p, err := b.service(ctx, market, db, 20, 50)
	if err != nil {
		return err
	}
	defer p.End()
	for i := 1; i <= 10; i++ {
		if _, err := SweepOver(ctx, p); err != nil {
			return err
		}
		rss, err := Metric(ctx, p, "process_resident_memory_bytes")
		if err != nil {
			return err
		}
		report.Repetition = append(report.Repetition, repeatResult{db, i, int64(rss)})
	}
	return nil
}

// analyzeOne has a service store the levels of BTCUSDT.
func analyzeOne(ctx context.Context, p *Process) error {
	// once it knows the exchange's limits: earlier services have used more than the usual ones
	if _, err := selected(ctx, p); err != nil {
		return err
	}
	res, err := http.Post(p.Base+"/analyze", "application/json", strings.NewReader(`{"symbol":"BTCUSDT"}`))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err := cmp.Or(err, statusError(res)); err != nil {
		return fmt.Errorf("analysing BTCUSDT: %w: %s", err, bytes.TrimSpace(body))
	}
	return nil
}

// serving measures the latency of a pair's levels for five seconds at rest, and then
// during sweeps. Only the first sweep has candles to fetch.
func (b *Bencher) serving(ctx context.Context, report *benchReport, market *Process, db string, concurrency, batch, sweeps int) error {
	b.say("%s serving at rest and during a sweep at %d/%d", db, concurrency, batch)
	p, err := b.service(ctx, market, db, concurrency, batch)
	if err != nil {
		return err
	}
	defer p.End()
	// store the levels to serve; the first sweep still fetches all candles
	if err := analyzeOne(ctx, p); err != nil {
		return err
	}
	rest, cancel := context.WithTimeout(ctx, 5*time.Second)
	at, err := ask(rest, p, "/levels/BTCUSDT")
	cancel()
	if err != nil {
		return err
	}
	sweeping, cancel := context.WithCancel(ctx)
	swept := make(chan error, 1)
	go func() {
		defer cancel()
		var err error
		for range sweeps {
			if _, e := SweepOver(ctx, p); e != nil {
				err = e
			}
		}
		swept <- err
	}()
	during, err := ask(sweeping, p, "/levels/BTCUSDT")
	if err := errors.Join(err, <-swept); err != nil {
		return err
	}
	at.Database, at.During = db, "rest"
	during.Database, during.During = db, fmt.Sprintf("sweeps at %d/%d", concurrency, batch)
	report.Serving = append(report.Serving, at, during)
	return nil
}

// idle measures a service that has swept and is idle for a minute.
func (b *Bencher) idle(ctx context.Context, report *benchReport, market *Process, db string) error {
	b.say("%s a minute of rest", db)
	p, err := b.service(ctx, market, db, 3, 20)
	if err != nil {
		return err
	}
	defer p.End()
	if _, err := SweepOver(ctx, p); err != nil {
		return err
	}
	var cpu [2]float64
	var at [2]time.Time
	for i, pause := range [2]time.Duration{5 * time.Second, time.Minute} {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		if cpu[i], err = Metric(ctx, p, "process_cpu_seconds_total"); err != nil {
			return err
		}
		at[i] = time.Now()
	}
	rss, err := Metric(ctx, p, "process_resident_memory_bytes")
	if err != nil {
		return err
	}
	report.Idle = append(report.Idle, idleResult{db, at[1].Sub(at[0]).Seconds(), cpu[1] - cpu[0], int64(rss)})
	return nil
}

// workersLatency is the latency of a distant exchange: a sweep is then limited by latency,
// not by the processor.
const workersLatency = 100 * time.Millisecond

// workers measures a sweep with one worker and with three, limited by latency.
func (b *Bencher) workers(ctx context.Context, report *benchReport) error {
	far := *b
	far.Latency = workersLatency
	for _, n := range []int{1, 3} {
		// A worker does not ask for the exchange's limits and keeps to the usual ones, of
		// which earlier sweeps of a market would have used most.
		market, err := far.market(ctx, b.Pairs)
		if err != nil {
			return err
		}
		b.say("postgres a sweep by %d workers", n)
		err = b.workersSweep(ctx, report, market, n)
		market.End()
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *Bencher) workersSweep(ctx context.Context, report *benchReport, market *Process, n int) error {
	address, err := b.database(ctx, "postgres")
	if err != nil {
		return err
	}
	all := make([]*Process, n)
	for i := range all {
		role := "worker"
		if i == 0 {
			role = "all"
		}
		if all[i], err = b.serve(ctx, market, address, 3, 20, "--role", role, "--exchange-weight-share", "1"); err != nil {
			return err
		}
		defer all[i].End()
	}
	job, err := SweepOver(ctx, all[0])
	if err != nil {
		return err
	}
	r := workersResult{Workers: n, Seconds: job.FinishedAt.Sub(*job.StartedAt).Seconds(), Done: job.SymbolsDone, Failed: job.SymbolsFailed}
	for _, p := range all {
		peak, err := Metric(ctx, p, "tidemark_process_peak_resident_memory_bytes")
		if err != nil {
			return err
		}
		r.PeakRSS = append(r.PeakRSS, int64(peak))
	}
	report.Workers = append(report.Workers, r)
	return nil
}

// selected lists the pairs a sweep of p covers.
func selected(ctx context.Context, p *Process) ([]string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Base+"/symbols?selected=true", nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET /symbols: %s", res.Status)
	}
	var body wire.SymbolList[[]wire.Symbol]
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil {
		return nil, fmt.Errorf("GET /symbols: %s: %w", res.Status, err)
	}
	names := make([]string, len(body.Symbols))
	for i, s := range body.Symbols {
		names[i] = s.Symbol
	}
	return names, nil
}

// bare fetches the pages of a sweep of symbols, at the same concurrency, and discards
// them. It returns the duration.
func (b *Bencher) bare(ctx context.Context, market *Process, symbols []string, concurrency int) (time.Duration, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: concurrency, DisableCompression: true}}
	defer client.CloseIdleConnections()
	fetch := func(path string, query url.Values, into any) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, market.Base+path+"?"+query.Encode(), nil)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("bare client: %s: %s", path, res.Status)
		}
		if into != nil {
			return json.NewDecoder(res.Body).Decode(into)
		}
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	var clock struct{ ServerTime int64 }
	if err := fetch("/api/v3/time", nil, &clock); err != nil {
		return 0, err
	}
	start := time.Now()
	if err := fetch("/api/v3/exchangeInfo", url.Values{"showPermissionSets": {"false"}}, nil); err != nil {
		return 0, err
	}
	if err := fetch("/api/v3/ticker/24hr", url.Values{"type": {"MINI"}}, nil); err != nil {
		return 0, err
	}
	const hour = int64(time.Hour / time.Millisecond)
	end := clock.ServerTime/hour*hour - hour // open time of the last closed candle
	next := make(chan string)
	failed := make(chan error, concurrency)
	for range concurrency {
		go func() {
			var err error
			for s := range next {
				for from := end - int64(b.Klines-1)*hour; from <= end && err == nil; from += 1000 * hour {
					err = fetch("/api/v3/klines", url.Values{"symbol": {s}, "interval": {"1h"}, "limit": {"1000"},
						"startTime": {strconv.FormatInt(from, 10)}, "endTime": {strconv.FormatInt(end, 10)}}, nil)
				}
			}
			failed <- err
		}()
	}
	for _, s := range symbols {
		next <- s
	}
	close(next)
	var err error
	for range concurrency {
		err = errors.Join(err, <-failed)
	}
	return time.Since(start), err
}

// SweepOver starts a sweep of a service and waits until it ends.
func SweepOver(ctx context.Context, p *Process) (wire.Job, error) { return sweepOf(ctx, p, "") }

// sweepOf sweeps one exchange of a service; "" for its only one.
func sweepOf(ctx context.Context, p *Process, exchange string) (wire.Job, error) {
	var j wire.Job
	body := `{"all":true}`
	if exchange != "" {
		body = fmt.Sprintf(`{"all":true,"exchange":%q}`, exchange)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.Base+"/analyze", strings.NewReader(body))
	if err != nil {
		return j, err
	}
	req.Header.Set("Content-Type", "application/json")
	for {
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return j, err
		}
		var next wire.Job
		err = json.NewDecoder(res.Body).Decode(&next)
		res.Body.Close()
		if err != nil || next.ID == "" {
			return j, fmt.Errorf("starting a sweep: %s: %w", res.Status, err)
		}
		switch j = next; {
		case j.State == "completed":
			return j, nil
		case j.Ended():
			return j, fmt.Errorf("the sweep ended as %s", j.State)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return j, ctx.Err()
		}
		if req, err = http.NewRequestWithContext(ctx, http.MethodGet, p.Base+"/jobs/"+j.ID, nil); err != nil {
			return j, err
		}
	}
}

// Metric reads one unlabelled metric.
func Metric(ctx context.Context, p *Process, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Base+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	value := -1.0
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			if value, err = strconv.ParseFloat(text, 64); err != nil {
				return 0, err
			}
		}
	}
	if value < 0 {
		return 0, fmt.Errorf("%s/metrics has no %s", p.Base, name)
	}
	return value, nil
}

// ask requests path over four connections, 200 times a second in total, until ctx ends,
// and returns the latencies. The rate does not depend on the responses, so a slow response
// does not delay later requests.
func ask(ctx context.Context, p *Process, path string) (servingLatency, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var (
		mu   sync.Mutex
		took []time.Duration
		bad  atomic.Int64
		all  sync.WaitGroup
	)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			continue
		case <-tick.C:
		}
		all.Go(func() {
			start := time.Now()
			res, err := client.Get(p.Base + path)
			if err == nil {
				_, err = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
			if err != nil || res.StatusCode != http.StatusOK {
				bad.Add(1)
				return
			}
			mu.Lock()
			took = append(took, time.Since(start))
			mu.Unlock()
		})
	}
	all.Wait()
	if n := bad.Load(); n > 0 || len(took) == 0 {
		return servingLatency{}, fmt.Errorf("GET %s failed %d times, succeeded %d times", path, n, len(took))
	}
	slices.Sort(took)
	return servingLatency{
		Requests: len(took),
		P50:      took[len(took)/2].Seconds(),
		P99:      took[len(took)*99/100].Seconds(),
	}, nil
}

// markdown writes tables that are aligned as text too.
type markdown struct{ *tabwriter.Writer }

func (m markdown) head(columns ...string) {
	fmt.Fprintln(m)
	m.row(columns...)
	m.row(slices.Repeat([]string{"---"}, len(columns))...)
}

func (m markdown) row(cells ...string) {
	fmt.Fprintf(m, "| %s\t|\n", strings.Join(cells, "\t| "))
}

// print writes the report as Markdown tables.
func (r benchReport) print(w io.Writer) error {
	mib := func(n int64) string { return fmt.Sprintf("%.1f", float64(n)/(1<<20)) }
	two := func(f float64) string { return fmt.Sprintf("%.2f", f) }
	fmt.Fprintf(w, "%d pairs × %d klines, exchange latency %.0f ms, tidemark %s\n", r.Pairs, r.Klines, r.LatencySecs*1000, r.Version)
	t := markdown{tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)}
	for i, s := range r.Settings {
		if i == 0 {
			t.head("database", "concurrency/batch", "peak RSS, MiB", "sweep, s", "bare client, s", "ratio", "CPU, s", "pairs done", "failed")
		}
		t.row(s.Database, fmt.Sprintf("%d/%d", s.Concurrency, s.BatchSize), mib(s.PeakRSS), two(s.Seconds), two(s.BareSeconds),
			two(s.Seconds/s.BareSeconds), two(s.CPUSeconds), strconv.Itoa(s.Done), strconv.Itoa(s.Failed))
	}
	for i, g := range r.Growth {
		if i == 0 {
			t.head("database", "pairs, at 20/50", "peak RSS, MiB")
		}
		t.row(g.Database, strconv.Itoa(g.Pairs), mib(g.PeakRSS))
	}
	for i, p := range r.Repetition {
		if i == 0 {
			t.head("database", "after sweep, at 20/50", "RSS, MiB")
		}
		t.row(p.Database, strconv.Itoa(p.Sweep), mib(p.RSS))
	}
	for i, s := range r.Serving {
		if i == 0 {
			t.head("database", "GET /levels/BTCUSDT during", "requests", "p50, ms", "p99, ms")
		}
		t.row(s.Database, s.During, strconv.Itoa(s.Requests), two(1000*s.P50), two(1000*s.P99))
	}
	for i, s := range r.Throughput {
		if i == 0 {
			t.head("database", "GET /levels/BTCUSDT from the cache", "requests/s", "bare handler, requests/s", "ratio")
		}
		t.row(s.Database, strconv.Itoa(s.Status), fmt.Sprintf("%.0f", s.Service), fmt.Sprintf("%.0f", s.Bare), two(s.Ratio))
	}
	for i, idle := range r.Idle {
		if i == 0 {
			t.head("database", "at rest for, s", "CPU, s", "CPU, %", "RSS, MiB")
		}
		t.row(idle.Database, fmt.Sprintf("%.0f", idle.Seconds), two(idle.CPUSeconds), fmt.Sprintf("%.1f", 100*idle.CPUSeconds/idle.Seconds), mib(idle.RSS))
	}
	for i, w := range r.Workers {
		if i == 0 {
			t.head("workers on PostgreSQL, exchange latency 100 ms", "sweep, s", "pace", "pairs done", "failed", "peak RSS of each, MiB")
		}
		peaks := make([]string, len(w.PeakRSS))
		for i, n := range w.PeakRSS {
			peaks[i] = mib(n)
		}
		t.row(strconv.Itoa(w.Workers), two(w.Seconds), two(r.Workers[0].Seconds/w.Seconds), strconv.Itoa(w.Done), strconv.Itoa(w.Failed), strings.Join(peaks, ", "))
	}
	for i, v := range r.Venues {
		if i == 0 {
			t.head("database", "exchanges, at 3/20 each", "", "pairs done", "slowest sweep, s", "its exchange alone, s", "ratio", "peak RSS, MiB")
		}
		cells := []string{"–", "–", "–", "–"}
		if v.What == "sweep" {
			cells[0], cells[1] = strconv.Itoa(v.Pairs), two(v.Seconds)
		}
		if v.Floor > 0 {
			cells[2], cells[3] = two(v.Floor), two(v.Seconds/v.Floor)
		}
		t.row(append([]string{v.Database, strconv.Itoa(v.Exchanges), v.What}, append(cells, mib(v.PeakRSS))...)...)
	}
	for i, l := range r.Live {
		if i == 0 {
			t.head("database", "live exchanges", "series at 1m", "closes", "close to GET /levels, p50, ms", "p99, ms", "all stored after the close, s", "peak RSS, MiB", "CPU between closes, %")
		}
		p50, p99 := "–", "–"
		if l.P50 > 0 {
			p50, p99 = fmt.Sprintf("%.0f", 1000*l.P50), fmt.Sprintf("%.0f", 1000*l.P99)
		}
		t.row(l.Database, strconv.Itoa(l.Exchanges), strconv.Itoa(l.Series), strconv.Itoa(l.Closes), p50, p99, two(slices.Max(l.Within)), mib(l.PeakRSS), fmt.Sprintf("%.1f", 100*l.CPU))
	}
	for i, c := range r.Cuts {
		if i == 0 {
			t.head("database", "cuts", "of them kill -9", "holes", "candles compared", "lost", "doubled", "differing", "filled after the reconnect, p50, s", "most, s")
		}
		t.row(c.Database, strconv.Itoa(c.Cuts), strconv.Itoa(c.Kills), strconv.Itoa(c.Holes), strconv.Itoa(c.Candles), strconv.Itoa(c.Lost), strconv.Itoa(c.Doubled), strconv.Itoa(c.Differing), two(c.FillP50), two(c.FillMost))
	}
	for i, g := range r.Ring {
		if i == 0 {
			t.head("database", "live pairs at 1m", "messages about prices", "price to webhook, p50, ms", "p99, ms", "most, ms", "closes", "messages about them", "close to webhook, p99, s", "peak RSS, MiB")
		}
		ms := func(f float64) string { return fmt.Sprintf("%.0f", 1000*f) }
		t.row(g.Database, strconv.Itoa(g.Series), strconv.Itoa(g.Events), ms(g.P50), ms(g.P99), ms(g.Most), strconv.Itoa(g.Closes), strconv.Itoa(g.Messages), two(g.CloseP99), mib(g.PeakRSS))
	}
	for i, g := range r.Ring {
		if i == 0 {
			t.head("database", "levels broken at one close", "messages a receiver", "receivers that hang", "event to another webhook without them, most, s", "while they begin to hang, most, s", "later, most, s")
		}
		t.row(g.Database, strconv.Itoa(g.Broken), fmt.Sprintf("%g", g.PerReceiver), strconv.Itoa(g.Dead), two(g.Alone), two(g.AtOnce), two(g.KnownBad))
	}
	for i, h := range r.Hours {
		if i == 0 {
			t.head("database", "hours", "analyses", "RSS after 2.5 h, MiB", "last", "most", "goroutines", "last", "most", "open files", "last", "most")
		}
		first, last := h.Samples[min(settled, len(h.Samples))-1], h.Samples[len(h.Samples)-1]
		most := first
		for _, s := range h.Samples[min(settled, len(h.Samples))-1:] {
			most.RSS, most.Goroutines, most.OpenFiles = max(most.RSS, s.RSS), max(most.Goroutines, s.Goroutines), max(most.OpenFiles, s.OpenFiles)
		}
		t.row(h.Database, strconv.Itoa(len(h.Samples)/4), strconv.Itoa(last.Done), mib(first.RSS), mib(last.RSS), mib(most.RSS),
			strconv.Itoa(first.Goroutines), strconv.Itoa(last.Goroutines), strconv.Itoa(most.Goroutines), strconv.Itoa(first.OpenFiles), strconv.Itoa(last.OpenFiles), strconv.Itoa(most.OpenFiles))
	}
	return t.Flush()
}

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark/command"
	"tidemark/config"
	"tidemark/exchange/simulated"
	"tidemark/job"
	"tidemark/wire"
)

// These tests run the program as its users do, in this process but over real
// sockets: every command, the service on SQLite and on PostgreSQL against the
// simulated exchange, its faults, its stop in the middle of a sweep, and what
// it says to wrong use. promtool judges the metrics.

// contract is openapi.yaml, which the program has embedded. Reading it is the first that
// happens: tests run in the folder of the program, whose papers they read and which they
// build.
var contract = func() []byte {
	if _, err := os.Stat("openapi.yaml"); err != nil {
		if err := os.Chdir(".."); err != nil {
			panic(err)
		}
	}
	b, err := os.ReadFile("openapi.yaml")
	if err != nil {
		panic(err)
	}
	return b
}()

// run executes one command line, as the program does.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	return command.Run(ctx, contract, args, environ, stdout, stderr)
}

// syncBuffer is a bytes.Buffer that a running service may write to.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}
func (s *syncBuffer) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

// execute runs one command line and returns its exit code and output.
func execute(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out bytes.Buffer
	var errs syncBuffer // the log and the progress are written side by side
	code = command.ExitCode(run(t.Context(), args, environ, &out, &errs), &errs)
	return code, out.String(), errs.String()
}

// market starts a simulated exchange.
func market(t *testing.T, o simulated.Options) (*simulated.Server, string) {
	t.Helper()
	if o.Pairs == 0 {
		o.Pairs = 30
	}
	if o.WeightLimit == 0 {
		o.WeightLimit = 1_000_000
	}
	// Which faults come is drawn by the seed, too.
	if o.Seed == 0 && o.Venue == "" && o.Replay == nil && o.Faults == (simulated.Faults{}) {
		o.Seed = lively(t, o.Now)
	}
	s := simulated.New(o)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server.URL
}

func sqliteURL(t *testing.T) string {
	return "sqlite://" + filepath.Join(t.TempDir(), "levels.db")
}

// postgresURL is a schema of its own in the PostgreSQL the tests were given.
func postgresURL(t *testing.T) string {
	t.Helper()
	base := os.Getenv("TIDEMARK_TEST_POSTGRES")
	if base == "" {
		t.Fatal("TIDEMARK_TEST_POSTGRES is not set: run the tests by ./test.sh, or under scripts/with-postgres")
	}
	schema := fmt.Sprintf("main_%d", time.Now().UnixNano())
	for _, sql := range []string{"create schema " + schema} {
		if out, err := exec.Command("psql", base, "-qc", sql).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", sql, err, out)
		}
	}
	t.Cleanup(func() { exec.Command("psql", base, "-qc", "drop schema "+schema+" cascade").Run() })
	sep := "?"
	if strings.Contains(base, "?") {
		sep = "&"
	}
	return base + sep + "search_path=" + schema
}

// running is a service under test.
type running struct {
	base string
	log  *syncBuffer
	stop context.CancelFunc
	done chan error
}

// noPrices turns off the prices between closes: requests that a test did not cause. A test
// about them says otherwise, because of variables given twice the last one counts.
const noPrices = "PRICES_EVERY=0"

// serve starts a service and waits until it answers.
func serve(t *testing.T, environ ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{log: &syncBuffer{}, stop: cancel, done: make(chan error, 1)}
	environ = append([]string{"HTTP_ADDR=127.0.0.1:0", "LOG_FORMAT=json", noPrices, "EXCHANGE=simulated", "ANALYSIS_LIVE=false", fmt.Sprintf("EXCHANGE_SIMULATED_SEED=%d", lively(t, nil))}, environ...)
	go func() { r.done <- run(ctx, []string{"serve"}, environ, io.Discard, r.log) }()
	t.Cleanup(func() { r.end(t) })
	address := regexp.MustCompile(`"msg":"serving","address":"([^"]+)"`)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if m := address.FindStringSubmatch(r.log.String()); m != nil {
			r.base = "http://" + m[1]
			return r
		}
		select {
		case err := <-r.done:
			r.done <- err
			t.Fatalf("serve ended with %v\n%s", err, r.log)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("serve did not begin\n%s", r.log)
		}
	}
}

// end stops the service and returns how it ended.
func (r *running) end(t *testing.T) error {
	t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-time.After(60 * time.Second):
		t.Fatalf("serve did not end\n%s", r.log)
		return nil
	}
}

// get decodes a JSON reply and returns its status.
func (r *running) get(t *testing.T, path string, into any) int {
	t.Helper()
	res, err := http.Get(r.base + path)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, res, into)
}

// metrics returns what Prometheus would read.
func (r *running) metrics(t *testing.T) string {
	t.Helper()
	res, err := http.Get(r.base + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("/metrics: %s, %v", res.Status, err)
	}
	return string(text)
}

func (r *running) post(t *testing.T, body string, into any) int {
	t.Helper()
	res, err := http.Post(r.base+"/analyze", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, res, into)
}

func decode(t *testing.T, res *http.Response, into any) int {
	t.Helper()
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(body, into); err != nil {
			t.Fatalf("%s: %v: %s", res.Status, err, body)
		}
	}
	return res.StatusCode
}

type jobReply struct {
	ID        string
	State     job.State
	Simulated bool
	Total     int `json:"symbols_total"`
	Done      int `json:"symbols_done"`
	Failed    int `json:"symbols_failed"`
	Skipped   int `json:"symbols_skipped"`
	Failures  []struct{ Symbol, Code, Detail string }

	Batches     int       `json:"batches_total"`
	BatchesDone int       `json:"batches_done"`
	CreatedAt   time.Time `json:"created_at"`
	StartedAt   time.Time `json:"started_at"`
	FinishedAt  time.Time `json:"finished_at"`
	Error       *struct{ Code, Detail string }
}

type analysisReply struct {
	Symbol, Exchange, Interval string
	AsOf                       time.Time `json:"as_of"`
	LastPrice                  float64   `json:"last_price"`
	Klines                     int
	Stale, Simulated           bool
	Supports, Resistances      storedLevels
}

// storedLevels are the levels of one side in an analysisReply.
type storedLevels []struct {
	ID               string
	Price, Low, High float64
	State            string
	Edge             float64
	Held, Broke      *int
	HoldInterval     []float64 `json:"hold_interval"`
	HoldProbability  *float64  `json:"hold_probability"`
	Baseline         *float64  `json:"baseline_hold_probability"`
}

// unbroken returns those that the page shows unasked.
func (l storedLevels) unbroken() (out storedLevels) {
	for _, level := range l {
		if level.State != "broken" {
			out = append(out, level)
		}
	}
	return out
}

// sweepTo posts a sweep and waits for its end.
func (r *running) sweepTo(t *testing.T) jobReply {
	t.Helper()
	var j jobReply
	if status := r.post(t, `{"all":true}`, &j); status != http.StatusAccepted || !j.Simulated {
		t.Fatalf("asking for a sweep: %d %+v", status, j)
	}
	for deadline := time.Now().Add(3 * time.Minute); !j.State.Final(); time.Sleep(20 * time.Millisecond) {
		if status := r.get(t, "/jobs/"+j.ID, &j); status != http.StatusOK {
			t.Fatalf("the job: %d", status)
		}
		if time.Now().After(deadline) {
			t.Fatalf("the sweep does not end: %+v\n%s", j, r.log)
		}
	}
	return j
}

func TestServe_SweepsAndServesOnBothDatabases(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func(*testing.T) string{"sqlite": sqliteURL, "postgres": postgresURL} {
		t.Run(name, func(t *testing.T) {
			truth, exchange := market(t, simulated.Options{})
			r := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+url(t), "ANALYSIS_BATCH_SIZE=7")
			if status := r.get(t, "/levels/BTCUSDT", nil); status != http.StatusNotFound {
				t.Errorf("levels before the first sweep: %d", status)
			}
			j := r.sweepTo(t)
			if j.State != job.Completed || !j.Simulated || j.Done < 30 || j.Done+j.Failed+j.Skipped != j.Total {
				t.Errorf("the sweep ended as %+v", j)
			}
			for _, f := range j.Failures {
				if f.Code != "too_few_candles" {
					t.Errorf("%s failed: %s: %s", f.Symbol, f.Code, f.Detail)
				}
			}
			found, healthy := 0, 0
			for _, p := range truth.Pairs() {
				if p.Kind != simulated.Healthy {
					continue
				}
				healthy++
				var a analysisReply
				if status := r.get(t, "/levels/"+p.Symbol+"?faint=true", &a); status != http.StatusOK {
					t.Errorf("%s: %d", p.Symbol, status)
					continue
				}
				if a.Symbol != p.Symbol || !a.Simulated || a.Stale || a.Klines < 1900 || a.LastPrice <= 0 {
					t.Errorf("%s came out as %+v", p.Symbol, a)
				}
				if len(a.Supports)+len(a.Resistances) > 0 {
					found++
				}
			}
			if found < healthy*3/4 {
				t.Errorf("%d of %d pairs have levels with an edge above that of any line", found, healthy)
			}
			for _, interval := range []string{"4h", "1d"} {
				if status := r.post(t, `{"symbol":"BTCUSDT","interval":"`+interval+`"}`, nil); status != http.StatusOK {
					t.Errorf("BTCUSDT %s: %d", interval, status)
				}
			}
			severalIntervals(t, r)
			var one analysisReply
			if status := r.post(t, `{"symbol":"ETHUSDT","interval":"4h","kline_limit":500}`, &one); status != http.StatusOK || one.Klines < 450 || !one.Simulated {
				t.Errorf("one pair: %d %+v", status, one)
			}
			if err := r.end(t); err != nil {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

// severalIntervals checks the answer with 1h, 4h, 1d and an interval that is not there:
// each is what its own answer is, and what is beside a level lies where the prices say.
func severalIntervals(t *testing.T, r *running) {
	t.Helper()
	var all wire.PairOnIntervals[wire.OnInterval]
	if status := r.get(t, "/levels/BTC/USDT?interval=1h,4h,15m,1d&faint=true", &all); status != http.StatusOK || len(all.Intervals) != 4 {
		t.Fatalf("%d: %+v", status, all)
	}
	if p := all.Intervals[2].Problem; p == nil || p.Code != "not_analyzed" || all.Intervals[2].Interval != "15m" {
		t.Errorf("15m: %+v", all.Intervals[2])
	}
	all.Intervals = slices.Delete(all.Intervals, 2, 3) // now the shortest first
	levelsOf := func(e wire.OnInterval) []wire.Level { return slices.Concat(e.Supports, e.Resistances) }
	for i, e := range all.Intervals {
		for _, l := range levelsOf(e) {
			want := []wire.LevelRef{}
			for k, other := range all.Intervals {
				for _, o := range levelsOf(other) {
					if k != i && math.Abs(l.Price-o.Price) <= 0.25*all.Intervals[min(i, k)].ATR {
						want = append(want, wire.LevelRef{Interval: other.Interval, ID: o.ID})
					}
				}
			}
			if !reflect.DeepEqual(l.Confluence, want) {
				t.Errorf("beside %v of %s are %v, want %v", l.Price, e.Interval, l.Confluence, want)
			}
		}
		for _, side := range [][]wire.Level{e.Supports, e.Resistances} {
			for k := range side {
				side[k].Confluence = nil
			}
		}
		var alone wire.Analysis
		if status := r.get(t, "/levels/BTCUSDT?faint=true&interval="+e.Interval, &alone); status != http.StatusOK || !reflect.DeepEqual(e.Analysis, alone) {
			t.Errorf("%s is not as in its own answer:\n%+v\n%+v", e.Interval, e.Analysis, alone)
		}
	}
}

func TestServe_MetricsAreCleanAndComplete(t *testing.T) {
	_, exchange := market(t, simulated.Options{Pairs: 5})
	r := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+sqliteURL(t))
	r.sweepTo(t)
	r.get(t, "/levels/BTCUSDT", nil)
	text := r.metrics(t)
	for _, name := range []string{
		"go_memstats_heap_inuse_bytes", "go_goroutines", "go_gc_duration_seconds", "process_resident_memory_bytes",
		"process_cpu_seconds_total", "tidemark_process_peak_resident_memory_bytes", "tidemark_cgroup_working_set_bytes",
		"tidemark_cgroup_memory_limit_bytes", "tidemark_batch_duration_seconds_bucket", "tidemark_batch_peak_memory_bytes",
		`tidemark_symbols_total{outcome="analyzed"}`, "tidemark_slots", "tidemark_slots_busy", "tidemark_queue_waiting",
		`tidemark_exchange_requests_total{endpoint="klines",exchange="simulated",status="200"}`, "tidemark_exchange_used_weight",
		`tidemark_http_request_duration_seconds_bucket{code="200",method="GET",route="/levels/{symbol}"`,
		`tidemark_db_connections_open{pool="`, "tidemark_build_info",
	} {
		if !strings.Contains(text, name) {
			t.Errorf("no %s", name)
		}
	}
	if strings.Contains(text, "BTCUSDT") {
		t.Error("a symbol is a label")
	}
	promtool := exec.Command("promtool", "check", "metrics")
	promtool.Stdin = strings.NewReader(text)
	if out, err := promtool.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

func TestSweep_TenPercentFaultsLoseNoHealthyPair(t *testing.T) {
	t.Parallel()
	faults, err := simulated.ParseFaults("0.1")
	if err != nil {
		t.Fatal(err)
	}
	truth, exchange := market(t, simulated.Options{Pairs: 120, Faults: faults})
	code, out, errs := execute(t, []string{"EXCHANGE=simulated", "EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + sqliteURL(t),
		"ANALYSIS_CONCURRENCY=10", "EXCHANGE_TIMEOUT=4s", "EXCHANGE_ATTEMPTS=8"}, "sweep", "--json")
	if code != command.ExitPartial && code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	var report struct {
		State    job.State
		Done     int `json:"symbols_done"`
		Failures []struct{ Symbol, Code, Detail string }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	failed := map[string]string{}
	for _, f := range report.Failures {
		failed[f.Symbol] = f.Code + ": " + f.Detail
	}
	for _, p := range truth.Pairs() {
		if why, ok := failed[p.Symbol]; ok && p.Kind == simulated.Healthy {
			t.Errorf("%s is healthy and failed: %s", p.Symbol, why)
		}
	}
	if report.State != job.Completed || report.Done < 120 {
		t.Errorf("ended as %+v", report)
	}
	stats := truth.Stats()
	injected := 0
	for _, n := range stats.Faults {
		injected += n
	}
	if injected < 5 || stats.Faults["429"] == 0 {
		t.Errorf("faults injected: %v; the test shows nothing", stats.Faults)
	}
	for _, e := range stats.Early {
		// Those already on their way when the pause was announced arrive within
		// a moment of it, if the machine is not slow. A pause is a second.
		if e.After > 500*time.Millisecond {
			t.Errorf("%s was asked for %s into a pause, %s before its end", e.Endpoint, e.After, e.Left)
		}
	}
}

func TestServe_StoppedInTheMiddleOfASweepGoesOnWithItAfterwards(t *testing.T) {
	t.Parallel()
	for name, url := range bothDatabases {
		t.Run(name, func(t *testing.T) {
			_, exchange := market(t, simulated.Options{Pairs: 100, Latency: 40 * time.Millisecond})
			environ := []string{"EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + url(t), "STOP_TIMEOUT=10s", shortSeries}
			r := serve(t, environ...)
			var j jobReply
			r.post(t, `{"all":true}`, &j)
			j = r.waitFor(t, j.ID, func(j jobReply) bool { return j.Done >= 10 })
			if err := r.end(t); err != nil {
				t.Errorf("it ended with %v", err)
			}
			resting := serve(t, append(environ, "ROLE=api")...)
			left := resting.waitFor(t, j.ID, func(jobReply) bool { return true })
			if left.State != job.Running || left.Done < j.Done || left.Error != nil {
				t.Errorf("the job after the stop: %+v; %d were done before", left, j.Done)
			}
			if n := resting.pairs(t); n < left.Done {
				t.Errorf("%d pairs are stored, the job says %d", n, left.Done)
			}
			resting.end(t)

			again := serve(t, environ...)
			after := again.waitFor(t, j.ID, ended)
			if after.State != job.Completed || after.Done < 100 || after.Done+after.Failed+after.Skipped != after.Total {
				t.Errorf("the job after the restart: %+v", after)
			}
			if n := again.pairs(t); n != after.Done {
				t.Errorf("%d pairs are stored, the job says %d", n, after.Done)
			}
		})
	}
}

func TestServe_ABanIsRememberedOverARestart(t *testing.T) {
	faults, err := simulated.ParseFaults("ban=1")
	if err != nil {
		t.Fatal(err)
	}
	truth, exchange := market(t, simulated.Options{Faults: faults})
	database := sqliteURL(t)
	r := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+database)
	var problem struct{ Code string }
	if status := r.post(t, `{"symbol":"BTCUSDT"}`, &problem); status != http.StatusServiceUnavailable || problem.Code != "banned" {
		t.Errorf("banned: %d %+v", status, problem)
	}
	r.end(t)
	before := truth.Stats().Requests
	again := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+database)
	if status := again.post(t, `{"symbol":"BTCUSDT"}`, &problem); status != http.StatusServiceUnavailable || problem.Code != "banned" {
		t.Errorf("after the restart: %d %+v", status, problem)
	}
	if after := truth.Stats().Requests; fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("a banned client asked again: %v, then %v", before, after)
	}
}

func TestServe_ABanStopsEveryProcessBehindTheAddress(t *testing.T) {
	t.Parallel()
	faults, err := simulated.ParseFaults("ban=1")
	if err != nil {
		t.Fatal(err)
	}
	for name, url := range bothDatabases {
		t.Run(name, func(t *testing.T) {
			truth, exchange := market(t, simulated.Options{Faults: faults})
			database := url(t)
			banned := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+database)
			other := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+database)
			elsewhere := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+database, "EXCHANGE_EGRESS=second")
			var problem struct{ Code string }
			if status := banned.post(t, `{"symbol":"BTCUSDT"}`, &problem); status != http.StatusServiceUnavailable || problem.Code != "banned" {
				t.Fatalf("banned: %d %+v", status, problem)
			}
			asked := fmt.Sprint(truth.Stats().Requests)
			const open = "\ntidemark_exchange_paused_until_timestamp_seconds{exchange=\"simulated\"} 0\n"
			for deadline := time.Now().Add(2 * time.Minute); strings.Contains(other.metrics(t), open); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the other process does not hear of the ban")
				}
			}
			if status := other.post(t, `{"symbol":"BTCUSDT"}`, &problem); status != http.StatusServiceUnavailable || problem.Code != "banned" {
				t.Errorf("the other process: %d %+v", status, problem)
			}
			if now := fmt.Sprint(truth.Stats().Requests); now != asked {
				t.Errorf("the other process asked the exchange: %s, then %s", asked, now)
			}
			if elsewhere.post(t, `{"symbol":"BTCUSDT"}`, &problem); fmt.Sprint(truth.Stats().Requests) == asked {
				t.Error("a process behind another address was stopped too")
			}
		})
	}
}

func TestServe_AnExchangeThatIsDownIsAClearError(t *testing.T) {
	t.Parallel()
	r := serve(t, "EXCHANGE_BASE_URL=http://127.0.0.1:1", "DATABASE_URL="+sqliteURL(t), "EXCHANGE_ATTEMPTS=2")
	var problem struct {
		Code   string
		Status int
	}
	if status := r.post(t, `{"symbol":"BTCUSDT"}`, &problem); status != http.StatusBadGateway || problem.Code != "exchange_unavailable" {
		t.Errorf("%d %+v", status, problem)
	}
	if j := r.sweepTo(t); j.State != job.Failed || j.Error == nil || j.Error.Code != "exchange_unavailable" {
		t.Errorf("the sweep ended as %+v", j)
	}
	if status := r.get(t, "/healthz", nil); status != http.StatusOK {
		t.Errorf("healthz: %d; the process itself is well", status)
	}
}

func TestRun_SaysWhatIsWrongInOneLine(t *testing.T) {
	readOnly := filepath.Join(t.TempDir(), "file.db")
	if err := os.WriteFile(readOnly, []byte("this is no database, it is a text that is long enough"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		args    []string
		environ []string
		code    int
		want    string
	}{
		{[]string{"swep"}, nil, command.ExitUsage, "sweep"},
		{[]string{"explain", "BTCUSDT"}, nil, command.ExitUsage, "tidemark levels SYMBOL --explain R1"},
		{[]string{"sweep", "--bogus"}, nil, command.ExitUsage, "bogus"},
		{[]string{"levels"}, nil, command.ExitUsage, "exactly one symbol is required, got 0: tidemark levels BTCUSDT"},
		{[]string{"levels", "BTC USDT"}, nil, command.ExitUsage, "symbol"},
		{[]string{"levels", "BTCUSDT", "--json", "--csv"}, nil, command.ExitUsage, "csv"},
		{[]string{"levels", "BTCUSDT", "--at", "yesterday"}, nil, command.ExitUsage, "--at"},
		{[]string{"levels", "BTCUSDT", "--min-edge", "Inf"}, nil, command.ExitUsage, "--min-edge: +Inf is not a number from 0 to 100"},
		{[]string{"config"}, []string{"ANALYSIS_CONCURENCY=5"}, command.ExitUsage, "ANALYSIS_CONCURRENCY"},
		{[]string{"serve", "--http-addr", "0.0.0.0:0"}, nil, command.ExitUsage, "API_KEYS"},
		{[]string{"serve", "--debug-addr", ":0"}, nil, command.ExitUsage, "DEBUG_ADDR"},
		{[]string{"serve", "--http-addr", "127.0.0.1:99999"}, nil, command.ExitUsage, "HTTP_ADDR"},
		{[]string{"serve", "--debug-addr", "127.0.0.1:99999"}, nil, command.ExitUsage, "DEBUG_ADDR"},
		{[]string{"serve", "--exchange-base-url", "http://u:hunter2@127.0.0.1:1/?key=hunter2"}, nil, command.ExitUsage, "EXCHANGE_BASE_URL"},
		{[]string{"serve"}, []string{"DATABASE_URL=mysql://x"}, command.ExitFailed, "mysql"},
		{[]string{"serve"}, []string{"DATABASE_URL=sqlite:///no/such/folder/x.db"}, command.ExitFailed, "/no/such/folder"},
		{[]string{"serve"}, []string{"DATABASE_URL=sqlite://" + readOnly}, command.ExitFailed, "is not a SQLite database"},
		{[]string{"serve"}, []string{"DATABASE_URL=postgres://u:hunter2@127.0.0.1:1/x?sslmode=disable"}, command.ExitFailed, "127.0.0.1:1"},
		{[]string{"simulate", "--faults", "oops=1"}, nil, command.ExitUsage, "oops"},
		{[]string{"simulate", "--pairs", "-3"}, nil, command.ExitUsage, "--pairs: -3"},
		{[]string{"simulate", "--limit-times", "0"}, nil, command.ExitUsage, "--limit-times: 0"},
		{[]string{"levels", "BTCUSDT", "--explain", "zz"}, nil, command.ExitUsage, "--explain: \"zz\" is neither the name of a level"},
		{[]string{"calibrate"}, nil, command.ExitUsage, "klines"},
		{[]string{"simulate", "--addr", "8090"}, nil, command.ExitUsage, "--addr"},
		{[]string{"help", "swep"}, nil, command.ExitUsage, "swep"},
		{[]string{"completion", "nosh"}, nil, command.ExitUsage, "nosh"},
		{[]string{"serve", "--http-addr", taken.Addr().String()}, nil, command.ExitFailed, "address already in use; use another port, such as --http-addr 127.0.0.1:"},
		{[]string{"healthcheck", "--url", "http://127.0.0.1:1/readyz"}, nil, command.ExitFailed, "not reachable"},
	} {
		if c.environ == nil {
			c.environ = []string{"DATABASE_URL=" + sqliteURL(t)}
		}
		code, _, errs := execute(t, c.environ, c.args...)
		lines := strings.Split(strings.TrimSpace(errs), "\n")
		last := lines[len(lines)-1]
		if code != c.code || !strings.HasPrefix(last, "tidemark: ") || !strings.Contains(last, c.want) {
			t.Errorf("%v: exit code %d, want %d with %q; said:\n%s", c.args, code, c.code, c.want, errs)
		}
		if strings.Contains(errs, "hunter2") {
			t.Errorf("%v shows a password", c.args)
		}
	}
}

func TestCommands_DoTheirWork(t *testing.T) {
	t.Parallel()
	_, exchange := market(t, simulated.Options{Pairs: 6})
	environ := []string{"EXCHANGE=simulated", "EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + sqliteURL(t)}

	code, out, errs := execute(t, environ, "analyze", "btc-usdt")
	if code != 0 || !strings.HasPrefix(out, "SIMULATED simulated BTCUSDT 1h") || !strings.Contains(out, "last price") {
		t.Errorf("analyze: %d %s%s", code, out, errs)
	}
	code, out, errs = execute(t, environ, "sweep")
	if code != command.ExitPartial || !strings.Contains(out, "SIMULATED simulated 1h completed") || !strings.Contains(out, "too_few_candles") || !strings.Contains(errs, "pairs/s") {
		t.Errorf("sweep: %d %s%s", code, out, errs)
	}
	code, out, errs = execute(t, environ, "levels", "ETHUSDT", "--json")
	var a analysisReply
	if err := json.Unmarshal([]byte(out), &a); code != 0 || err != nil || a.Symbol != "ETHUSDT" || !a.Simulated {
		t.Errorf("levels --json: %d %v %s%s", code, err, out, errs)
	}
	code, out, _ = execute(t, environ, "levels", "ETHUSDT", "--csv")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); code != 0 || len(lines) != 1+len(a.Supports)+len(a.Resistances) {
		t.Errorf("levels --csv: %d, %d lines for %d levels", code, len(lines), len(a.Supports)+len(a.Resistances))
	}
	if code, _, errs = execute(t, environ, "analyze", "ETHUSDT", "--analysis-interval", "4h"); code != 0 {
		t.Errorf("analyze 4h: %d %s", code, errs)
	}
	code, out, _ = execute(t, environ, "levels", "ETHUSDT", "--interval", "4h,1h,1d", "--faint")
	if code != 0 || strings.Count(out, "also at") != 2 || !strings.Contains(out, "SIMULATED simulated ETHUSDT 4h") || !strings.Contains(out, "simulated ETHUSDT 1d has not been analysed; run `tidemark analyze ETHUSDT --analysis-interval 1d`") {
		t.Errorf("levels of several intervals: %d %s", code, out)
	}
	code, out, _ = execute(t, environ, "levels", "ETHUSDT", "--interval", "4h,1h,1d", "--faint", "--json")
	var all wire.PairOnIntervals[wire.OnInterval]
	if err := json.Unmarshal([]byte(out), &all); code != 0 || err != nil || len(all.Intervals) != 3 || all.Intervals[1].Interval != "1h" || all.Intervals[2].Problem == nil {
		t.Errorf("levels of several intervals --json: %d %v %s", code, err, out)
	}
	count := len(all.Intervals[0].Supports) + len(all.Intervals[0].Resistances) + len(all.Intervals[1].Supports) + len(all.Intervals[1].Resistances)
	code, out, _ = execute(t, environ, "levels", "ETHUSDT", "--interval", "4h,1h,1d", "--faint", "--csv")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); code != 0 || len(lines) != 1+count || !strings.HasSuffix(strings.TrimSpace(lines[0]), ",confluence") {
		t.Errorf("levels of several intervals --csv: %d, %d lines for %d levels", code, len(lines), count)
	}
	code, out, _ = execute(t, environ, "levels", "ETHUSDT", "--interval", "4h")
	if code != 0 || !strings.Contains(out, "ETHUSDT 4h") || strings.Contains(out, "also at") {
		t.Errorf("levels of another interval: %d %s", code, out)
	}
	for _, wrong := range [][2]string{{"1h,7h", "separated by commas"}, {"1h,1h", "1h is there twice"}} {
		if code, _, errs = execute(t, environ, "levels", "ETHUSDT", "--interval", wrong[0]); code != command.ExitUsage || !strings.Contains(errs, wrong[1]) {
			t.Errorf("--interval %s: %d %s", wrong[0], code, errs)
		}
	}
	code, out, _ = execute(t, environ, "levels", "ETHUSDT", "--at", "2020-01-01T00:00:00Z")
	if code != command.ExitFailed {
		t.Errorf("levels before the first analysis: %d %s", code, out)
	}
	code, out, _ = execute(t, environ, "config", "--analysis-concurrency", "9")
	if code != 0 || !strings.Contains(out, "ANALYSIS_CONCURRENCY=9\n") || strings.Count(out, "\n") < len(config.Variables) {
		t.Errorf("config: %d %s", code, out)
	}
	code, out, _ = execute(t, environ, "version")
	if code != 0 || !strings.HasPrefix(out, "tidemark ") {
		t.Errorf("version: %d %s", code, out)
	}
	code, _, errs = execute(t, environ, "levels", "NONEUSDT")
	if code != command.ExitFailed || !strings.Contains(errs, "tidemark analyze NONEUSDT") {
		t.Errorf("levels of nothing: %d %s", code, errs)
	}
	r := serve(t, environ...)
	if code, _, errs = execute(t, []string{"HTTP_ADDR=" + strings.TrimPrefix(r.base, "http://")}, "healthcheck"); code != 0 {
		t.Errorf("healthcheck: %d %s", code, errs)
	}
}

func TestSimulate_ServesUntilToldToStop(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out := &syncBuffer{}
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"simulate", "--addr", "127.0.0.1:0", "--pairs", "3"}, nil, out, io.Discard)
	}()
	address := regexp.MustCompile(`http://\S+`)
	for !address.MatchString(out.String()) {
		time.Sleep(5 * time.Millisecond)
	}
	res, err := http.Get(address.FindString(out.String()) + "/api/v3/time")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK || res.Header.Get("X-Tidemark-Simulated") != "true" {
		t.Errorf("%s %v", res.Status, res.Header)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestDemo_SweepsOnceAndLeavesNothing(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	ctx, cancel := context.WithCancel(t.Context())
	out, errs := &syncBuffer{}, &syncBuffer{}
	done := make(chan error, 1)
	database := filepath.Join(t.TempDir(), "real.db")
	go func() {
		environ := []string{"DATABASE_URL=sqlite://" + database, "EXCHANGE=simulated"}
		done <- run(ctx, []string{"demo", "--http-addr", "127.0.0.1:0", "--exchange-simulated-pairs", "8"}, environ, out, errs)
	}()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(out.String(), "Stop with Ctrl-C"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the demo does not get on: %s", out)
		}
	}
	address := regexp.MustCompile(`http://[0-9.:]+`).FindString(out.String())
	res, err := http.Get(address + "/levels/BTCUSDT")
	if err != nil {
		t.Fatal(err)
	}
	var a analysisReply
	if status := decode(t, res, &a); status != http.StatusOK || !a.Simulated {
		t.Errorf("levels of the demo: %d %+v", status, a)
	}
	if said := errs.String(); !strings.Contains(said, "The demo does not use DATABASE_URL of the environment; --database-url sets it.") || strings.Contains(said, "use EXCHANGE") {
		t.Errorf("of the environment it says %q", said)
	}
	if _, err := os.Stat(database); err == nil {
		t.Error("the demo wrote to the database of the environment")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(tmp, "tidemark-demo-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDemo_ReplaysAFolderAndSaysSo(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	data := recordedHours(t, "BTCUSDT", 300)
	ctx, cancel := context.WithCancel(t.Context())
	out := &syncBuffer{}
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"demo", "--http-addr", "127.0.0.1:0", "--data", data, "--data-ahead", "10"}, nil, out, io.Discard)
	}()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(out.String(), "Stop with Ctrl-C"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the demo does not get on: %s", out)
		}
	}
	if said := out.String(); !strings.HasPrefix(said, "REPLAY of 2023-05-01 to 2023-05-13 from 2023-05-13 02:00 UTC: ") || !strings.Contains(said, "1 pairs analysed") {
		t.Errorf("the demo says %s", said)
	}
	res, err := http.Get(regexp.MustCompile(`http://[0-9.:]+`).FindString(out.String()) + "/levels/BTCUSDT")
	if err != nil {
		t.Fatal(err)
	}
	var a analysisReply
	if status := decode(t, res, &a); status != http.StatusOK || !a.Simulated || a.AsOf.Format(time.RFC3339) != "2023-05-13T02:00:00Z" {
		t.Errorf("levels of the demo: %d %+v", status, a)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// recordedHours is a folder with a file of so many hourly candles from 1 May 2023 on.
func recordedHours(t *testing.T, symbol string, n int) string {
	t.Helper()
	folder := t.TempDir()
	var b strings.Builder
	for i := range n {
		price := 100 + 10*math.Sin(float64(i)/9)
		fmt.Fprintf(&b, "%d,%.4f,%.4f,%.4f,%.4f,12.5\n", 1682899200000+int64(i)*3_600_000, price, price+1, price-1, price+0.5)
	}
	if err := os.WriteFile(filepath.Join(folder, symbol+"-1h.csv"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestSimulate_SpeaksAsTheVenueAskedFor(t *testing.T) {
	for args, want := range map[string]string{
		"--venue okx": `"code":"51001"`,
		"--venue okx --data " + recordedHours(t, "NOPEUSDT", 30) + " --data-ahead 0": `"code":"51001"`,        // ended
		"--venue okx --data " + recordedHours(t, "NOPEUSDT", 30):                     `["1682949600000","109`, // more ahead than there is: the first half is history
	} {
		ctx, cancel := context.WithCancel(t.Context())
		out := &syncBuffer{}
		done := make(chan error, 1)
		go func() {
			done <- run(ctx, append([]string{"simulate", "--addr", "127.0.0.1:0", "--pairs", "3"}, strings.Fields(args)...), nil, out, io.Discard)
		}()
		address := regexp.MustCompile(`SIMULATED okx exchange on (http://\S+)`)
		for !address.MatchString(out.String()) {
			time.Sleep(5 * time.Millisecond)
		}
		res, err := http.Get(address.FindStringSubmatch(out.String())[1] + "/api/v5/market/candles?instId=NOPE-USDT&bar=1H")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || !strings.Contains(string(body), want) || strings.Contains(args, "--data") != (res.Header.Get("X-Tidemark-Replay") != "") {
			t.Errorf("%s: %v %s, want %s", args, res.Header, body, want)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for args, want := range map[string]string{
		"--venue nyse":             `--venue: "nyse" is none of `,
		"--data-ahead -1 --data .": "--data-ahead: -1 is negative",
		"--data " + t.TempDir():    "has no file of candles",
	} {
		if code, _, stderr := execute(t, nil, append([]string{"simulate"}, strings.Fields(args)...)...); code != command.ExitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: %d %s", args, code, stderr)
		}
	}
}

func TestServe_NeverLogsASecret(t *testing.T) {
	_, exchange := market(t, simulated.Options{Pairs: 3})
	const password = "another-secret-5678"
	exchange = strings.Replace(exchange, "//", "//me:"+password+"@", 1)
	key := "a-very-secret-key-1234"
	r := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+sqliteURL(t), "API_KEYS="+key, "LOG_LEVEL=DEBUG")
	req, err := http.NewRequest(http.MethodPost, r.base+"/analyze", strings.NewReader(`{"symbol":"BTCUSDT"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if status := decode(t, res, nil); status != http.StatusOK {
		t.Errorf("with the key: %d", status)
	}
	if status := r.get(t, "/levels/BTCUSDT", nil); status != http.StatusUnauthorized {
		t.Errorf("without the key: %d", status)
	}
	r.end(t)
	if strings.Contains(r.log.String(), key) || strings.Contains(r.log.String(), password) {
		t.Error("the key, or the password of the exchange's address, is in the log")
	}
	if _, shown, errs := execute(t, []string{"EXCHANGE_BASE_URL=" + exchange}, "config"); strings.Contains(shown+errs, password) || !strings.Contains(shown, "me:xxxxx@") {
		t.Errorf("config shows %s%s", shown, errs)
	}
}

func TestServe_ProfilesAreOffUnlessAsked(t *testing.T) {
	_, exchange := market(t, simulated.Options{Pairs: 3})
	r := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+sqliteURL(t), "DEBUG_ADDR=127.0.0.1:0")
	if status := r.get(t, "/debug/pprof/", nil); status != http.StatusNotFound {
		t.Errorf("profiles at the service's own address: %d", status)
	}
	m := regexp.MustCompile(`"profiles are served","address":"([^"]+)"`).FindStringSubmatch(r.log.String())
	if m == nil {
		t.Fatalf("no address for profiles in %s", r.log)
	}
	res, err := http.Get("http://" + m[1] + "/debug/pprof/goroutine?debug=1")
	if err != nil {
		t.Fatal(err)
	}
	if status := decode(t, res, nil); status != http.StatusOK {
		t.Errorf("profiles at their address: %d", status)
	}
}

func TestServe_SymbolsOfManyClientsAreOneRequest(t *testing.T) {
	t.Parallel()
	truth, exchange := market(t, simulated.Options{Pairs: 20, Latency: 20 * time.Millisecond})
	r := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+sqliteURL(t))
	ask := func() {
		res, err := http.Get(r.base + "/symbols?selected=true")
		if err != nil {
			t.Error(err)
			return
		}
		age, err := strconv.Atoi(res.Header.Get("Age"))
		if cached := res.Header.Get("Cache-Control"); err != nil || age < 0 || age > 60 || cached != "public, max-age=60" {
			t.Errorf("Age %q, Cache-Control %q", res.Header.Get("Age"), cached)
		}
		var list struct{ Count int }
		if status := decode(t, res, &list); status != http.StatusOK || list.Count < 20 {
			t.Errorf("%d with %d pairs", status, list.Count)
		}
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(ask)
	}
	wg.Wait()
	for range 20 {
		ask()
	}
	r.sweepTo(t) // shares them
	if asked := truth.Stats().Requests; asked["ticker/24hr"] != 1 || asked["exchangeInfo"] != 1 {
		t.Errorf("40 clients and a sweep cost the exchange %v", asked)
	}
}

func TestServe_EventsFollowASweep(t *testing.T) {
	t.Parallel()
	_, exchange := market(t, simulated.Options{Pairs: 20, Latency: 10 * time.Millisecond})
	r := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+sqliteURL(t))
	var j jobReply
	r.post(t, `{"all":true}`, &j)
	res, err := http.Get(r.base + "/jobs/" + j.ID + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var states []job.State
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var seen jobReply
			if err := json.Unmarshal([]byte(data), &seen); err != nil {
				t.Fatal(err)
			}
			states = append(states, seen.State)
		}
	}
	if len(states) < 2 || states[len(states)-1] != job.Completed || slices.Contains(states[:len(states)-1], job.Completed) {
		t.Errorf("the stream told %v", states)
	}
}

func TestHelp_ShowsTheFlagsOfACommandAndOnRequestAllSettings(t *testing.T) {
	_, short, _ := execute(t, nil, "sweep", "--help")
	_, all, _ := execute(t, nil, "sweep", "--help-all")
	if !strings.Contains(short, "--json") || !strings.Contains(short, "--help-all") || strings.Contains(short, "--db-pool-size") {
		t.Errorf("--help:\n%s", short)
	}
	if !strings.Contains(all, "--json") || !strings.Contains(all, "--db-pool-size") {
		t.Errorf("--help-all:\n%s", all)
	}
}

func TestVersion_IsAFlagToo(t *testing.T) {
	code, out, _ := execute(t, nil, "--version")
	_, want, _ := execute(t, nil, "version")
	if code != 0 || out != want || !strings.HasPrefix(out, "tidemark ") {
		t.Errorf("%d %q, want %q", code, out, want)
	}
}

func TestLevels_MakesNoDatabase(t *testing.T) {
	file := filepath.Join(t.TempDir(), "none.db")
	for _, args := range [][]string{{"levels", "BTCUSDT"}, {"levels", "BTCUSDT", "--explain", "0123456789abcdef"}} {
		code, out, errs := execute(t, []string{"DATABASE_URL=sqlite://" + file, "EXCHANGE=simulated"}, args...)
		if code != command.ExitFailed || out != "" || !strings.Contains(errs, "no database at "+file) {
			t.Errorf("%v: %d %q %q", args, code, out, errs)
		}
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%v made one", args)
		}
	}
}

func TestCheckHealth_TheErrorIsOneLine(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "{\"code\":\"storage_unavailable\"}\n")
	}))
	defer s.Close()
	code, _, errs := execute(t, nil, "healthcheck", "--url", s.URL)
	if code != command.ExitFailed || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "storage_unavailable") {
		t.Errorf("%d %q", code, errs)
	}
}

package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tidemark/command"
	"tidemark/exchange/simulated"
	"tidemark/levels"
	"tidemark/levels/evaluate"
)

// These tests run `tidemark evaluate` as its users do: on a folder of candle
// files, on the history of a simulated exchange, interrupted and used wrongly.

// candleFolder holds hourly candles of n pairs that walk for 4,000 hours from
// 2024-01-01.
func candleFolder(t *testing.T, n int) string {
	t.Helper()
	folder := t.TempDir()
	for i := range n {
		random := rand.New(rand.NewPCG(uint64(i), 5))
		c := new(levels.Candles)
		c.Reset("1h", 4000)
		price, at := 1000.0, time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
		for range 4000 {
			k := levels.Candle{OpenTime: at, Open: price, High: price, Low: price, Volume: 1}
			for range 12 {
				price *= 1 + 0.002*random.NormFloat64()
				k.High, k.Low = max(k.High, price), min(k.Low, price)
			}
			k.Close, at = price, at+3_600_000
			if err := c.Append(k); err != nil {
				t.Fatal(err)
			}
		}
		if err := writeSeries(filepath.Join(folder, fmt.Sprintf("P%dUSDT-1h.csv.gz", i)), c); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// writeSeries writes a file of candles as evaluate reads them.
func writeSeries(file string, c *levels.Candles) error {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	fmt.Fprintln(z, evaluate.Header)
	for i := range c.Len() {
		k := c.At(i)
		fmt.Fprintf(z, "%d,%v,%v,%v,%v,%v\n", k.OpenTime, k.Open, k.High, k.Low, k.Close, k.Volume)
	}
	return errors.Join(z.Close(), os.WriteFile(file, b.Bytes(), 0o600))
}

type evaluation struct {
	Simulated bool
	Source    string
	First     time.Time `json:"first_moment"`
	Last      time.Time `json:"last_moment"`
	Pairs     int
	TooShort  int `json:"pairs_too_short"`
	Moments   int
	Klines    int
	Failures  []evaluate.Failure
	Methods   []struct {
		Name      string
		Levels    int
		Repainted int
	}
}

func TestEvaluate_JudgesAFolder(t *testing.T) {
	t.Parallel()
	folder := candleFolder(t, 4)
	page := filepath.Join(t.TempDir(), "report.html")
	args := []string{"evaluate", folder, "--klines", "500", "--split", "2024-03-01..2024-05-31", "--pairs", "P[0-2]*", "--seed", "3"}
	code, text, progress := execute(t, nil, append(args, "--html", page)...)
	if code != 0 || !strings.HasPrefix(text, folder+" 1h: 3 pairs, 36 moments in 7 blocks of 14 days from 2024-03-05 to 2024-05-23\n") {
		t.Fatalf("exit code %d, %.200q, %s", code, text, progress)
	}
	if !strings.Contains(progress, "3/3 pairs") || strings.Contains(progress, "\x1b") {
		t.Errorf("progress %q, want plain lines to the end", progress)
	}
	for _, m := range evaluate.Methods(0, nil) {
		if !strings.Contains(text, m.Name+" ") {
			t.Errorf("no %s in the report", m.Name)
		}
	}
	html, err := os.ReadFile(page)
	if err != nil || !strings.HasSuffix(string(html), "</html>\n") {
		t.Errorf("the page: %d bytes, %v", len(html), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(page), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, again, _ := execute(t, nil, args...); again != text {
		t.Errorf("the same command says something else:\n%s\n%s", text, again)
	}

	// A file that is damaged is one pair's failure.
	bad := filepath.Join(folder, "BADUSDT-1h.csv")
	if err := os.WriteFile(bad, []byte(evaluate.Header+"\n0,1,1,1,1,1\n0,1,1,1,1,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, text, _ = execute(t, []string{"ANALYSIS_KLINE_LIMIT=300"}, "evaluate", folder, "--json", "--methods", "random,tidemark")
	var report evaluation
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		t.Fatal(err)
	}
	if code != 3 || len(report.Failures) != 1 || !strings.Contains(report.Failures[0].Detail, bad+":3: bad candle") {
		t.Errorf("exit code %d, failures %v", code, report.Failures)
	}
	if report.Pairs != 4 || report.Klines != 300 || len(report.Methods) != 2 || report.Methods[0].Name != "tidemark" || report.Methods[0].Levels == 0 || report.Simulated {
		t.Errorf("%+v", report)
	}
	if code, text, errs := execute(t, nil, "evaluate", folder, "--pairs", "BAD*"); code != 1 || text != "" || !strings.Contains(errs, "nothing to evaluate") || !strings.Contains(errs, bad+":3") {
		t.Errorf("only a damaged file: exit code %d, %q, %q", code, text, errs)
	}
}

func TestEvaluate_JudgesTheHistoryOfAnExchange(t *testing.T) {
	_, url := market(t, simulated.Options{Pairs: 12})
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	environ := []string{"DATABASE_URL=" + sqliteURL(t), "EXCHANGE_BASE_URL=" + url, "EXCHANGE=binance"}
	from := time.Now().AddDate(0, 0, -60).Format(time.DateOnly)
	code, text, errs := execute(t, environ, "evaluate", "--json", "--klines", "300", "--split", from+"..", "--methods", "tidemark")
	var report evaluation
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		t.Fatal(err, errs)
	}
	// It was told nothing of a simulation: the answers say so.
	if code != 0 || !report.Simulated || report.Source != "binance" {
		t.Errorf("exit code %d, simulated %v, source %q; %s", code, report.Simulated, report.Source, errs)
	}
	if report.Pairs < 10 || report.TooShort == 0 || report.First.Before(time.Now().AddDate(0, 0, -62)) || report.Methods[0].Repainted != 0 {
		t.Errorf("%+v", report)
	}
	if left, _ := os.ReadDir(temporary); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestEvaluate_JudgesTheStoredCandles(t *testing.T) {
	t.Parallel()
	_, url := market(t, simulated.Options{Pairs: 4})
	environ := []string{"DATABASE_URL=" + sqliteURL(t), "EXCHANGE_BASE_URL=" + url, "EXCHANGE=binance"}
	if code, _, errs := execute(t, environ, "evaluate", "--stored"); code != 1 || !strings.Contains(errs, "no pair of binance has been analysed at 1h") {
		t.Errorf("nothing stored: exit code %d, %q", code, errs)
	}
	if code, _, errs := execute(t, environ, "sweep"); code != 0 && code != 3 {
		t.Fatal(errs)
	}
	code, text, errs := execute(t, environ, "evaluate", "--stored", "--klines", "500", "--methods", "tidemark,random", "--json")
	var report evaluation
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		t.Fatal(err, errs)
	}
	if code != 0 || !report.Simulated || report.Source != "binance (stored)" || report.Pairs < 4 || report.Moments < 4*6 || report.Methods[0].Levels == 0 {
		t.Errorf("exit code %d, %+v; %s", code, report, errs)
	}
	if code, _, errs := execute(t, environ, "evaluate", "--stored"); code != 1 || !strings.Contains(errs, "nothing to evaluate") {
		t.Errorf("as many candles at a moment as are kept: exit code %d, %q", code, errs)
	}
}

func TestEvaluate_StopsWhenInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	page := filepath.Join(t.TempDir(), "report.html")
	var out, errs syncBuffer
	code := command.ExitCode(run(ctx, []string{"evaluate", candleFolder(t, 1), "--html", page}, nil, &out, &errs), &errs)
	if _, err := os.Stat(page); code != 1 || out.String() != "" || !strings.Contains(errs.String(), "interrupted") || err == nil {
		t.Errorf("exit code %d, %q, %q, page: %v", code, out.String(), errs.String(), err)
	}
}

func TestEvaluate_SaysWhatIsWrong(t *testing.T) {
	folder := candleFolder(t, 1)
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{folder, "--methods", "swingz"}, 2, `"swingz" is not one of tidemark, swings, volume`},
		{[]string{folder, "--split", "2024"}, 2, "is not FROM..TO"},
		{[]string{folder, "--split", "2024-02-01..2024-01-01"}, 2, "is not FROM..TO"},
		{[]string{folder, "--split", "2024-02-30.."}, 2, "is not FROM..TO"},
		{[]string{folder, "--klines", "10"}, 2, "at least 50 are needed"},
		{[]string{folder, "--klines", "-1"}, 2, "at least 50 are needed"},
		{[]string{folder, "--every", "0"}, 2, "is less than 1"},
		{[]string{folder, "--pairs", "["}, 2, "is not a valid pattern"},
		{[]string{folder, "--pairs", "ETH*"}, 2, `no pair matches "ETH*"`},
		{[]string{folder, "--stored"}, 2, "exclude each other"},
		{[]string{folder, "another"}, 2, "at most one folder is allowed, got 2"},
		{[]string{folder, "--analysis-interval", "4h"}, 1, "contains no file SYMBOL-4h.csv"},
		{[]string{filepath.Join(folder, "nowhere")}, 1, "nowhere"},
		{[]string{folder, "--klines", "500", "--html", filepath.Join(folder, "nowhere", "r.html")}, 1, "--html"},
		{[]string{folder, "--split", "2030-01-01.."}, 1, "nothing to evaluate"},
	} {
		code, out, errs := execute(t, nil, append([]string{"evaluate"}, test.args...)...)
		last := errs[strings.LastIndex(strings.TrimSpace(errs), "\n")+1:]
		if code != test.code || out != "" || !strings.Contains(last, test.want) || strings.Count(strings.TrimSpace(last), "\n") > 0 {
			t.Errorf("%v: exit code %d, %q, %q; want %d and %q", test.args[1:], code, out, errs, test.code, test.want)
		}
	}
}

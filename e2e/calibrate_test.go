package e2e

// This test pins the command calibrate: it requires a folder, reports errors of the
// folder, and writes a table that the program can read.

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tidemark/levels"
)

func TestCalibrate_WritesATableOrSaysWhyNot(t *testing.T) {
	t.Parallel()
	folder, out := t.TempDir(), filepath.Join(t.TempDir(), "odds.table")
	// As processes of their own: they only compute, and the race detector makes that slow.
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), program(t), args...)
		cmd.Env = []string{}
		said, err := cmd.CombinedOutput()
		return string(said), err
	}
	calibrate := func(args ...string) (string, error) { return run(append([]string{"calibrate"}, args...)...) }
	if said, err := calibrate(); err == nil || !strings.Contains(said, "klines") {
		t.Errorf("without a folder: %v, %s", err, said)
	}
	if said, err := calibrate("--klines", folder, "--out", out); err == nil || !strings.Contains(said, "SYMBOL-INTERVAL.csv.gz") {
		t.Errorf("an empty folder: %v, %s", err, said)
	}
	for pair := range 4 {
		var file bytes.Buffer
		z := gzip.NewWriter(&file)
		fmt.Fprintln(z, "open_time_ms,open,high,low,close,volume")
		r, price := rand.New(rand.NewPCG(uint64(pair), 1)), 100.0
		for i := range 6000 {
			open := price
			price *= math.Exp(0.01 * r.NormFloat64())
			fmt.Fprintf(z, "%d,%v,%v,%v,%v,%d\n", i*3_600_000, open, max(open, price)*1.002, min(open, price)*0.998, price, r.IntN(100))
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("P%d-1h.csv.gz", pair)), file.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	said, err := calibrate("--klines", folder, "--out", out, "--seed", "5")
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	file, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	table, err := levels.ReadTable(file)
	if err != nil || len(table.Fits) == 0 || table.Provenance.Command != "tidemark calibrate --klines DIR --seed 5" || len(table.Validations("1h")) != 2 {
		t.Errorf("%v: %+v", err, table)
	}
	if !strings.Contains(said, "1h: 4 series, 24000 candles") || !strings.Contains(said, "lift ") || !strings.Contains(said, out) {
		t.Errorf("it says\n%s", said)
	}

	// The table of a fold judges the time that it has not seen.
	fold := filepath.Join(t.TempDir(), "fold.table")
	const judged = "1970-05-01..1970-09-08"
	if said, err = calibrate("--klines", folder, "--fold", judged, "--out", fold); err != nil || !strings.Contains(said, "1h: lift ") {
		t.Fatalf("%v\n%s", err, said)
	}
	if file, err = os.ReadFile(fold); err != nil {
		t.Fatal(err)
	}
	if table, err = levels.ReadTable(file); err != nil || table.Provenance.Command != "tidemark calibrate --klines DIR --seed 1 --fold "+judged {
		t.Fatalf("%v: %+v", err, table)
	}
	report, err := run("evaluate", folder, "--methods", "tidemark", "--split", judged, "--table", fold)
	if err != nil || !strings.Contains(report, "table "+table.Version) || table.Version == levels.OddsVersion() {
		t.Errorf("%v\n%s", err, report)
	}
	if code, _, errs := execute(t, nil, "evaluate", folder, "--table", filepath.Join(folder, "P0-1h.csv.gz")); code != 2 || !strings.Contains(errs, "bad table of odds") {
		t.Errorf("a file that is not a table: exit code %d, %s", code, errs)
	}
}

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
	"path/filepath"
	"strings"
	"testing"

	"tidemark/levels"
)

func TestCalibrate_WritesATableOrSaysWhyNot(t *testing.T) {
	t.Parallel()
	folder, out := t.TempDir(), filepath.Join(t.TempDir(), "odds.table")
	calibrate := func(args ...string) (string, error) {
		var said bytes.Buffer
		err := run(t.Context(), append([]string{"calibrate"}, args...), nil, &said, &said)
		return said.String(), err
	}
	if _, err := calibrate(); err == nil || !strings.Contains(err.Error(), "klines") {
		t.Errorf("without a folder: %v", err)
	}
	if _, err := calibrate("--klines", folder, "--out", out); err == nil || !strings.Contains(err.Error(), "SYMBOL-INTERVAL.csv.gz") {
		t.Errorf("an empty folder: %v", err)
	}
	for pair := range 6 {
		var file bytes.Buffer
		z := gzip.NewWriter(&file)
		fmt.Fprintln(z, "open_time_ms,open,high,low,close,volume")
		r, price := rand.New(rand.NewPCG(uint64(pair), 1)), 100.0
		for i := range 4500 {
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
	if !strings.Contains(said, "1h: 6 series, 27000 candles") || !strings.Contains(said, "lift ") || !strings.Contains(said, out) {
		t.Errorf("it says\n%s", said)
	}
}

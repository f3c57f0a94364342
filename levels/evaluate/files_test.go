// This file pins which files of a folder are candles and that a bad line is
// refused, with the file and the line.

package evaluate

import (
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tidemark/levels"
)

const good = Header + "\n0,10,12,9,11,5\n3600000,11,12,10,10.5,6.25\n"

// folder writes files, gzipped where their names say so.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".gz") {
			z := gzip.NewWriter(f)
			z.Write([]byte(text))
			z.Close()
		} else {
			f.WriteString(text)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t *testing.T, s Series) (*levels.Candles, error) {
	t.Helper()
	c := new(levels.Candles)
	c.Reset("1h", 0)
	return c, s.Load(t.Context(), c)
}

func TestFolder_ListsTheFilesOfOneInterval(t *testing.T) {
	dir := folder(t, map[string]string{
		"BBB-1h.csv.gz": good, "AAA-1h.csv": strings.ReplaceAll(good, "\n", "\r\n"), "AAA-4h.csv": good, "1000X-USD-1h.csv": good,
		"INVENTORY.tsv": "", "-1h.csv": good, "AAA-1h.csv.bak": good, "CCC-11h.csv": good,
	})
	if err := os.Mkdir(filepath.Join(dir, "DDD-1h.csv"), 0o700); err != nil {
		t.Fatal(err)
	}
	series, err := Folder(dir, "1h")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range series {
		names = append(names, s.Symbol)
		c, err := load(t, s)
		if err != nil {
			t.Fatal(err)
		}
		if c.Len() != 2 || c.At(1) != (levels.Candle{OpenTime: hour, Open: 11, High: 12, Low: 10, Close: 10.5, Volume: 6.25}) {
			t.Errorf("%s: %d candles, the last %+v", s.Symbol, c.Len(), c.At(c.Len()-1))
		}
	}
	if got := strings.Join(names, " "); got != "1000X-USD AAA BBB" {
		t.Errorf("series %q", got)
	}
	if _, err := Folder(folder(t, map[string]string{"A-1h.csv": good, "A-1h.csv.gz": good}), "1h"); err == nil || !strings.Contains(err.Error(), "two files") {
		t.Errorf("two files of one pair: %v", err)
	}
	if _, err := Folder(filepath.Join(dir, "nowhere"), "1h"); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("no folder: %v", err)
	}
}

func TestFolder_RefusesBadLines(t *testing.T) {
	for name, test := range map[string]struct{ file, text, want string }{
		"no header":         {"A-1h.csv", "0,10,12,9,11,5\n", "A-1h.csv:1: the first line is"},
		"empty":             {"A-1h.csv", "", "A-1h.csv:1: the file is empty"},
		"not a number":      {"A-1h.csv", Header + "\n0,10,12,9,11,5\n3600000,11,x,10,11,6\n", `A-1h.csv:3: high: "x" is not a number`},
		"NaN":               {"A-1h.csv", Header + "\n0,NaN,12,9,11,5\n", "A-1h.csv:2: bad candle"},
		"time is no number": {"A-1h.csv", Header + "\n1.5,10,12,9,11,5\n", `A-1h.csv:2: open_time_ms: "1.5"`},
		"too few columns":   {"A-1h.csv", Header + "\n0,10,12,9,11\n", "A-1h.csv:2: a line has 6 columns, this one 5"},
		"too many columns":  {"A-1h.csv", Header + "\n0,10,12,9,11,5,6,7\n", "A-1h.csv:2: a line has 6 columns, this one 8"},
		"blank line":        {"A-1h.csv", Header + "\n\n", "A-1h.csv:2: a line has 6 columns, this one 1"},
		"high below low":    {"A-1h.csv", Header + "\n0,10,9,12,11,5\n", "A-1h.csv:2: bad candle"},
		"repeated":          {"A-1h.csv", good + "3600000,11,12,10,10.5,6.25\n", "A-1h.csv:4: bad candle: open time 3600000 is repeated"},
		"endless line":      {"A-1h.csv", good + strings.Repeat("1", 100_000), "A-1h.csv:4: "},
		"not gzipped":       {"A-1h.csv", "", ""},
		"cut off":           {"A-1h.csv.gz", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, map[string]string{test.file: test.text})
			switch name {
			case "not gzipped":
				test.want = "A-1h.csv.gz: gzip"
				if err := os.Rename(filepath.Join(dir, "A-1h.csv"), filepath.Join(dir, "A-1h.csv.gz")); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "A-1h.csv.gz"), []byte(good), 0o600); err != nil {
					t.Fatal(err)
				}
			case "cut off":
				test.want = "A-1h.csv.gz:"
				path := filepath.Join(folder(t, map[string]string{"A-1h.csv.gz": good}), "A-1h.csv.gz")
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "A-1h.csv.gz"), b[:len(b)-12], 0o600); err != nil {
					t.Fatal(err)
				}
			}
			series, err := Folder(dir, "1h")
			if err != nil || len(series) != 1 {
				t.Fatal(series, err)
			}
			if _, err := load(t, series[0]); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func FuzzParseCandle(f *testing.F) {
	f.Add("0,10,12,9,11,5")
	f.Add(",,,,,")
	f.Add("0,1e999,-1,0x1p4,Inf,")
	f.Fuzz(func(t *testing.T, line string) {
		c := new(levels.Candles)
		c.Reset("1h", 1)
		if _, err := ReadCandles(t.Context(), strings.NewReader(Header+"\n"+line), c); err == nil {
			for i := range c.Len() {
				if k := c.At(i); !(k.Low > 0 && k.Low <= k.High) {
					t.Errorf("%q is taken as %+v", line, k)
				}
			}
		}
	})
}

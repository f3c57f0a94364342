package live

// Merged candles against those of Binance Spot, as recorded: equal to the last digit. Three
// of them begin with hours without trades.

import (
	"cmp"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tidemark/levels"
	"tidemark/levels/evaluate"
)

func recorded(t *testing.T, path string, interval levels.Interval) *levels.Candles {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	c := new(levels.Candles)
	c.Reset(interval, 0)
	if line, err := evaluate.ReadCandles(t.Context(), unzipped, c); err != nil {
		t.Fatalf("%s, line %d: %v", path, line, err)
	}
	return c
}

func TestMerge_IsWhatBinanceHas(t *testing.T) {
	shared := cmp.Or(os.Getenv("TIDEMARK_SHARED"), filepath.Join("..", "..", "shared"))
	files, err := filepath.Glob(filepath.Join(shared, "klines*", "*-4h.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skipf("no real candles under %s", shared)
	}
	merged, different, notWhole, series := 0, 0, 0, 0
	for _, file := range files {
		symbol := strings.TrimSuffix(filepath.Base(file), "-4h.csv.gz")
		theirs := recorded(t, file, "4h")
		// Those of 2024 have the prices and volumes of another market.
		hours, err := filepath.Glob(filepath.Join(shared, "klines-more", "20[12][17]", symbol+"-1h.csv.gz"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range hours {
			series++
			m := merge{sums: true}
			c := recorded(t, file, "1h")
			next := 0
			for i := range c.Len() {
				if !m.add(c.At(i), hour, "4h") {
					if end := c.OpenTime[i] + hour; levels.Interval("4h").Floor(end) == end {
						notWhole++
					}
					continue
				}
				for next < theirs.Len() && theirs.OpenTime[next] < m.whole.OpenTime {
					next++
				}
				if next == theirs.Len() {
					break
				}
				if theirs.OpenTime[next] != m.whole.OpenTime {
					continue
				}
				if merged++; theirs.At(next) != m.whole {
					if different++; different < 10 {
						t.Errorf("%s: merged %+v, recorded %+v", symbol, m.whole, theirs.At(next))
					}
				}
			}
		}
	}
	if merged == 0 || different > 0 {
		t.Errorf("of %d candles %d differ", merged, different)
	}
	t.Logf("%d candles merged from %d series, %d of them different; %d could not be merged, because a part is missing or the volume has too many digits",
		merged, series, different, notWhole)
}

const hour = 60 * minute

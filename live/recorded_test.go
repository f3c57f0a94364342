package live

// Merged candles against those of Binance Spot, as recorded: equal to the last digit. Three
// of them begin with hours without trades.

import (
	"cmp"
	"os"
	"path/filepath"
	"testing"

	"tidemark/levels"
	"tidemark/levels/evaluate"
)

func TestMerge_IsWhatBinanceHas(t *testing.T) {
	shared := cmp.Or(os.Getenv("TIDEMARK_SHARED"), filepath.Join("..", "..", "shared"))
	if _, err := os.Stat(shared); err != nil {
		t.Skipf("no real candles under %s", shared)
	}
	fours := map[string]*levels.Candles{}
	load := func(folder string, interval levels.Interval) map[string]*levels.Candles {
		files, err := evaluate.Folder(filepath.Join(shared, folder), interval)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]*levels.Candles{}
		for _, f := range files {
			if interval == "1h" && fours[f.Symbol] == nil {
				continue
			}
			c := new(levels.Candles)
			c.Reset(interval, 0)
			if err := f.Load(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			all[f.Symbol] = c
		}
		return all
	}
	fours = load("klines", "4h")
	merged, different, notWhole, series := 0, 0, 0, 0
	for _, folder := range []string{"klines-more/2017", "klines-more/2021"} { // those of 2024 have the prices and volumes of another market
		for symbol, c := range load(folder, "1h") {
			theirs := fours[symbol]
			series++
			m := merge{sums: true}
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

// This file has the series of the other tests: hand-drawn candles, generated ones
// and, if the shared folder exists, real ones.

package levels

import (
	"compress/gzip"
	"encoding/csv"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

const hour = 3_600_000

// draw makes hourly candles from rows of open, high, low, close, volume.
func draw(t testing.TB, rows ...[5]float64) *Candles {
	t.Helper()
	c := new(Candles)
	c.Reset("1h", len(rows))
	for i, r := range rows {
		if err := c.Append(Candle{int64(i) * hour, r[0], r[1], r[2], r[3], r[4]}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// flat returns n rows without movement or volume.
func flat(n int, price float64) [][5]float64 {
	rows := make([][5]float64, n)
	for i := range rows {
		rows[i] = [5]float64{price, price, price, price, 0}
	}
	return rows
}

// generate makes n hourly candles: a random walk with fat tails, clustered
// volatility, volume that follows volatility and some gaps. All of it is
// integer arithmetic on ticks of 1/256, so that the series is the same on
// every machine and reflects exactly.
func generate(seed uint64, n int) *Candles {
	r := rand.New(rand.NewPCG(seed, 7))
	c := new(Candles)
	c.Reset("1h", n)
	price, spread := 1<<20, 400
	steps := func() int { // triangular, with a spread that is sometimes six times as wide
		s := spread
		if r.IntN(40) == 0 {
			s *= 6
		}
		return r.IntN(s+1) - r.IntN(s+1)
	}
	at := int64(1_600_000_000_000 / hour * hour)
	for range n {
		spread = max(100, min(2500, spread+(r.IntN(spread/4+2)-r.IntN(spread/4+2))+(400-spread)/50))
		open, high, low, moved := price, price, price, 0
		for range 12 {
			step := steps()
			price = max(price+step, 1<<14)
			high, low = max(high, price), min(low, price)
			moved += max(step, -step)
		}
		if high == low {
			high++
		}
		tick := 1.0 / 256
		volume := float64(1 + moved*(1+r.IntN(8))/64)
		if r.IntN(200) == 0 {
			volume = 0
		}
		err := c.Append(Candle{at, float64(open) * tick, float64(high) * tick, float64(low) * tick, float64(price) * tick, volume})
		if err != nil {
			panic(err)
		}
		at += hour
		if r.IntN(700) == 0 {
			at += hour * int64(1+r.IntN(5))
		}
	}
	return c
}

// window returns a view of the candles from from up to, not including, to.
func window(c *Candles, from, to int) *Candles {
	view := c.Slice(from, to)
	return &view
}

// realFiles lists the shared candle files whose name matches, at most limit of
// them, spread evenly; none without the shared folder.
func realFiles(t testing.TB, pattern string, limit int) []string {
	t.Helper()
	shared := os.Getenv("TIDEMARK_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "shared")
	}
	files, err := filepath.Glob(filepath.Join(shared, "klines", pattern))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Logf("no real candles (%s) under %s: only generated ones are tested", pattern, shared)
		return nil
	}
	if len(files) <= limit {
		return files
	}
	some := make([]string, limit)
	for i := range some {
		some[i] = files[i*len(files)/limit]
	}
	return some
}

// load reads the first limit rows of a gzipped CSV file of klines through
// Append and returns the candles accepted and the refusals.
func load(t testing.TB, path string, limit int) (*Candles, []error) {
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
	rows := csv.NewReader(unzipped)
	rows.ReuseRecord = true
	if _, err := rows.Read(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(path)
	name = name[:len(name)-len(".csv.gz")]
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '-' {
			name = name[i+1:]
			break
		}
	}
	interval, err := ParseInterval(name)
	if err != nil {
		t.Fatal(err)
	}
	c := new(Candles)
	c.Reset(interval, min(limit, 40_000))
	var refused []error
	for range limit {
		row, err := rows.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		at, err := strconv.ParseInt(row[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		var v [5]float64
		for i := range v {
			if v[i], err = strconv.ParseFloat(row[i+1], 64); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Append(Candle{at, v[0], v[1], v[2], v[3], v[4]}); err != nil {
			refused = append(refused, err)
		}
	}
	return c, refused
}

// computes marks a test that computes for long, in one goroutine: the test command
// runs it without the race detector, and what has the detector is -short.
func computes(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("only computes")
	}
}

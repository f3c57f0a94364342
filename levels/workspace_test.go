package levels

// This test pins the size of a workspace: the columns and scratch memory kept after
// many markets, of low and high volatility, do not exceed CandlesBytes and FinderBytes.

import (
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"unsafe"
)

func TestBytes_CoverQuietAndWildMarkets(t *testing.T) {
	computes(t)
	reachable := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // the second finishes what the first began to sweep
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	const workspaces = 4
	for _, n := range []int{100, 500, 1000, 2000, 5000, 10_000} {
		var candles [workspaces]Candles
		var finders [workspaces]Finder
		before := reachable()
		for w := range workspaces {
			for seed := range 36 {
				random := rand.New(rand.NewPCG(uint64(w), uint64(seed)))
				volatility := []float64{0.0003, 0.001, 0.01, 0.03}[seed%4]
				wick := []float64{0.0001, 0.003, 0.03}[seed%3]
				c := &candles[w]
				c.Reset("1h", n+1)
				price := 100.0
				for i := range n {
					open := price
					price *= math.Exp(volatility * random.NormFloat64())
					err := c.Append(Candle{
						OpenTime: int64(i) * c.Interval.Milliseconds(), Open: open, Close: price, Volume: 1000 * random.Float64(),
						High: max(open, price) * (1 + wick*random.Float64()), Low: min(open, price) * (1 - wick*random.Float64()),
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				if _, err := finders[w].Find(c); err != nil {
					t.Fatal(err)
				}
			}
		}
		used := (reachable() - before) / workspaces
		runtime.KeepAlive(&candles)
		runtime.KeepAlive(&finders)
		said := CandlesBytes(n) + FinderBytes(n)
		t.Logf("%d candles: %.1f KiB of %.1f", n, float64(used)/1024, float64(said)/1024)
		if used > said {
			t.Errorf("%d candles: a workspace holds %d bytes, expected at most %d", n, used, said)
		}
		if n >= 1000 && used < said*6/10 {
			t.Errorf("%d candles: a workspace holds %d bytes, the estimate of %d is far too high", n, used, said)
		}
	}
}

// Batches, pages and the cache hold thousands of levels.
func TestLevel_TakesAtMost144Bytes(t *testing.T) {
	if n := unsafe.Sizeof(Level{}); n > 144 {
		t.Errorf("%d bytes", n)
	}
}

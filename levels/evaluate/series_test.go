// This file makes the markets of the other tests: random walks, walks with planted
// levels that reflect, and the same candles with their returns shuffled. Real
// candles come from the shared folder, if it exists.

package evaluate

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"tidemark/levels"
)

const hour = 3_600_000

// apart is how far from the next a planted price is, some four ATR.
const apart = 500

// planted are the prices near last at which a planted market reflects.
func planted(last float64) []float64 {
	base := math.Floor(last/apart) * apart
	var all []float64
	for k := -4.0; k <= 5; k++ {
		all = append(all, base+k*apart)
	}
	return all
}

// market is a pair with the candles of walk.
func market(seed uint64, n int, reflecting bool) Series {
	return given(fmt.Sprintf("P%dUSDT", seed), walk(seed, n, reflecting))
}

// walk returns n hourly candles: a walk of 24 normal steps a candle from seed. With
// reflecting, a step over one of the planted prices is mostly turned back.
func walk(seed uint64, n int, reflecting bool) *levels.Candles {
	random := rand.New(rand.NewPCG(seed, 99))
	price := 50_000.0
	c := new(levels.Candles)
	c.Reset("1h", n)
	for i := range n {
		k := levels.Candle{OpenTime: (450_000 + int64(i)) * hour, Open: price, High: price, Low: price, Volume: 1 + random.Float64()}
		for range 24 {
			next := price + 18*random.NormFloat64()
			if wall := nearestPlanted(price, next); reflecting && wall > 0 && random.Float64() < 0.97 {
				next = wall - 3*(next-wall)
			}
			price = next
			k.High, k.Low = max(k.High, price), min(k.Low, price)
		}
		k.Close = price
		if err := c.Append(k); err != nil {
			panic(err)
		}
	}
	return c
}

// given is a pair with these candles.
func given(symbol string, c *levels.Candles) Series {
	return Series{symbol, func(_ context.Context, dst *levels.Candles) error {
		for i := range c.Len() {
			if err := dst.Append(c.At(i)); err != nil {
				return err
			}
		}
		return nil
	}}
}

// nearestPlanted is the planted price between a and b, 0 if there is none.
func nearestPlanted(a, b float64) float64 {
	low, high := min(a, b), max(a, b)
	if p := math.Ceil(low/apart) * apart; p < high {
		return p
	}
	return 0
}

// Forty pairs of half a year: walks, and walks with planted levels.
var (
	walks  = sync.OnceValue(func() []Series { return markets(40, false) })
	echoes = sync.OnceValue(func() []Series { return markets(40, true) })
)

func markets(pairs int, reflecting bool) []Series {
	all := make([]Series, pairs)
	for i := range all {
		all[i] = market(uint64(i+1), 4200, reflecting)
	}
	return all
}

// oracle knows where a market reflects.
func oracle() Method {
	return Method{Name: "oracle", New: func() Find {
		return func(dst []Price, c *levels.Candles) []Price {
			for i, p := range planted(c.Close[c.Len()-1]) {
				dst = append(dst, unsure(p, float64(i)))
			}
			return dst
		}
	}}
}

// shuffled is a pair with the candles in another order. Each keeps its shape and its
// step from the previous close, so only the order is lost, and with it every level.
func shuffled(s Series, seed uint64) Series {
	return Series{s.Symbol, func(ctx context.Context, dst *levels.Candles) error {
		c := new(levels.Candles)
		c.Reset(dst.Interval, 0)
		if err := s.Load(ctx, c); err != nil {
			return err
		}
		random := rand.New(rand.NewPCG(seed, hash(s.Symbol)))
		order := random.Perm(c.Len() - 1)
		last := c.Close[0]
		for i, from := range order {
			scale := last / c.Close[from] // the close before candle from+1
			k := c.At(from + 1)
			k.OpenTime = c.OpenTime[i+1]
			k.Open, k.High, k.Low, k.Close = k.Open*scale, k.High*scale, k.Low*scale, k.Close*scale
			// rounding may carry an open or close past the extreme it equalled
			k.High, k.Low = max(k.High, k.Open, k.Close), min(k.Low, k.Open, k.Close)
			last = k.Close
			if err := dst.Append(k); err != nil {
				return err
			}
		}
		return nil
	}}
}

// realPairs are the shared hourly candles of some pairs; none without the shared
// folder.
func realPairs(t testing.TB, limit int) []Series {
	t.Helper()
	shared := os.Getenv("TIDEMARK_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "shared")
	}
	all, err := Folder(filepath.Join(shared, "klines"), "1h")
	if err != nil {
		t.Logf("no real candles under %s: only generated ones are tested", shared)
		return nil
	}
	var some []Series
	for i := range min(limit, len(all)) {
		some = append(some, all[i*len(all)/min(limit, len(all))])
	}
	return some
}

// options for a test: a short window, so that there are many moments.
func options(methods ...Method) Options {
	return Options{Interval: "1h", Klines: 500, Every: levels.Horizon + 1, Seed: 1, Methods: methods, Workers: 2}
}

// methods picks some of Methods by name.
func methods(t testing.TB, names ...string) []Method {
	t.Helper()
	var some []Method
	for _, name := range names {
		all := Methods(1, nil)
		i := slices.IndexFunc(all, func(m Method) bool { return m.Name == name })
		if i < 0 {
			t.Fatalf("no method %q", name)
		}
		some = append(some, all[i])
	}
	return some
}

// evaluate runs and returns what was found, by method.
func evaluate(t testing.TB, series []Series, o Options) (*Report, map[string]*MethodReport) {
	t.Helper()
	r, err := Run(context.Background(), series, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Failures) > 0 {
		t.Fatal(r.Failures)
	}
	found := map[string]*MethodReport{}
	for i := range r.MethodsFound {
		m := &r.MethodsFound[i]
		found[m.Name] = m
		t.Logf("%-9s %6d levels, %6d decided, %.1f %% held, control %.1f %%: lift %s, over its neighbour %s",
			m.Name, m.Levels, m.Decided, 100*m.Held, 100*m.ControlHeld, m.Lift.points(), m.NeighbourLift.points())
	}
	return r, found
}

// computes marks a test that computes for long, with no more goroutines than others
// here have: the test command runs it without the race detector, and what has the
// detector is -short.
func computes(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("only computes")
	}
}

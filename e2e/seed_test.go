package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"tidemark/exchange/simulated"
	"tidemark/levels"
)

// lively returns the first seed of a market in which BTCUSDT has levels on both sides now.
// Many pairs have none on one side at one hour or another, and tests need some to show.
func lively(t *testing.T, now func() time.Time) uint64 {
	t.Helper()
	if now == nil {
		seeds.Lock()
		defer seeds.Unlock()
		hour := time.Now().Truncate(time.Hour)
		if seeds.of[hour] == 0 {
			seeds.of = map[time.Time]uint64{hour: lively(t, time.Now)}
		}
		return seeds.of[hour]
	}
	o := simulated.Options{Pairs: 3, Now: now}
	for o.Seed = 1; o.Seed < 100; o.Seed++ {
		c := hours(t, simulated.New(o))
		if c.Len() < levels.MinOddsCandles {
			continue
		}
		var f levels.Finder
		if a, err := f.Find(&c); err == nil && len(a.Supports) >= 2 && len(a.Resistances) >= 2 {
			return o.Seed
		}
	}
	t.Fatal("no market has levels on both sides of BTCUSDT")
	return 0
}

var seeds struct {
	sync.Mutex
	of map[time.Time]uint64 // by hour
}

// hours returns the last closed candles of BTCUSDT.
func hours(t *testing.T, market http.Handler) (c levels.Candles) {
	t.Helper()
	const hour = 3_600_000
	c.Reset("1h", 2000)
	var clock struct{ ServerTime int64 }
	get := func(path string, into any) {
		w := httptest.NewRecorder()
		market.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	get("/api/v3/time", &clock)
	newest := clock.ServerTime/hour*hour - hour
	for _, from := range []int64{newest - 1999*hour, newest - 999*hour} {
		var rows [][]any
		get(fmt.Sprintf("/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1000&startTime=%d&endTime=%d", from, min(newest, from+999*hour)), &rows)
		for _, row := range rows {
			number := func(i int) float64 {
				v, err := strconv.ParseFloat(row[i].(string), 64)
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
			k := levels.Candle{OpenTime: int64(row[0].(float64)), Open: number(1), High: number(2), Low: number(3), Close: number(4), Volume: number(5)}
			if err := c.Append(k); err != nil {
				t.Fatal(err)
			}
		}
	}
	return c
}

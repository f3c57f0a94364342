package api

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/service"
	"tidemark/wire"
)

// readPrices makes the prices of an API those of BTCUSDT and ETHUSDT, read now; the
// function returned reads them again.
func readPrices(c *Config, price float64) (read func(price float64)) {
	var now *service.Prices
	read = func(price float64) {
		var l service.PriceList
		l.Add([]byte("BTCUSDT"), price)
		l.Add([]byte("ETHUSDT"), 100)
		now = l.Prices(time.Now(), 10*time.Second)
	}
	read(price)
	c.Prices = func(exchange string) *service.Prices {
		if exchange != "simulated" {
			return nil
		}
		return now
	}
	return read
}

func TestPrices_DistancesAndRolesAreOfNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var read func(float64)
		h := start(t, func(c *Config, _ *service.Config) { read = readPrices(c, 98) })
		reads := 0
		h.store.SnapshotFunc = func(k service.Key, _ time.Time) (service.Snapshot, error) {
			reads++
			return h.store.snaps[k][0], nil
		}
		store(h, snapshot("BTCUSDT", time.Now())) // last price 100, levels at 99, 95 and 103
		ask := func() (wire.Analysis, string, string) {
			rec := h.get("/levels/BTCUSDT")
			want(t, rec, 200)
			return decode[wire.Analysis](t, rec), rec.Header().Get("ETag"), rec.Header().Get("Cache-Control")
		}
		time.Sleep(5 * time.Minute)
		read(98.5)
		a, tag, control := ask()
		if *a.Price != 98.5 || !a.PriceAt.Equal(time.Now()) || a.LastPrice != 100 || control != "public, max-age=10" {
			t.Errorf("price %v at %v, last %v, %s", *a.Price, a.PriceAt, a.LastPrice, control)
		}
		if len(a.Supports) != 1 || a.Supports[0].Price != 95 || a.Supports[0].Passed || a.Supports[0].HoldProbability == nil || a.Supports[0].DistancePct != -3.553 || *a.Supports[0].DistanceATR != -1.75 {
			t.Errorf("supports %+v", a.Supports)
		}
		if r := a.Resistances; len(r) != 2 || r[0].Price != 99 || !r[0].Passed || r[0].HoldProbability != nil || r[0].TouchProbability != nil || *r[0].DistanceATR != 0.25 || r[0].State != "held" || r[1].Passed || r[1].HoldProbability == nil {
			t.Errorf("resistances %+v", r)
		}

		// the same bytes until the next reading, and other ones after it
		time.Sleep(9 * time.Second)
		if _, same, control := ask(); same != tag || reads != 1 || control != "public, max-age=1" {
			t.Errorf("%s after %s, %d reads, %s", same, tag, reads, control)
		}
		read(98.5)
		if a, other, _ := ask(); other == tag || !a.PriceAt.Equal(time.Now()) || reads != 2 {
			t.Errorf("after a reading: %v, %d reads", a.PriceAt, reads)
		}
		want(t, h.get("/levels/BTCUSDT", "If-None-Match", tag), 200)
		time.Sleep(time.Second)
		read(110)
		if a, _, _ := ask(); len(a.Supports) != 3 || a.Supports[0].Price != 103 || !a.Supports[0].Passed || len(a.Resistances) != 0 || !strings.Contains(*a.ResistancesReason, "above the price") {
			t.Errorf("at 110: %+v, %v", a.Supports, a.ResistancesReason)
		}

		// too old after three readings have failed
		time.Sleep(30*time.Second - 1)
		if a, _, control := ask(); a.Price == nil || control != "no-cache" {
			t.Errorf("%v, %s", a.Price, control)
		}
		time.Sleep(time.Nanosecond)
		if a, _, control := ask(); a.Price != nil || a.PriceAt != nil || len(a.Supports) != 2 || a.Supports[0].DistancePct != -1 || a.Supports[0].Passed || control != "no-cache" {
			t.Errorf("an old price is shown: %v, %+v, %s", a.Price, a.Supports, control)
		}
	})
}

func TestPrices_AreInEveryFormOfTheLevels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(c *Config, _ *service.Config) { readPrices(c, 98.5) })
		h.store.pairs = []service.KnownPair{{Exchange: "simulated", Symbol: "BTCUSDT", Name: "BTC/USDT"}}
		store(h, snapshot("BTCUSDT", time.Now()), snapshot("ETHUSDT", time.Now()), snapshot("XRPUSDT", time.Now()))
		page := decode[wire.LevelPage[[]wire.Row]](t, h.get("/levels?limit=2"))
		first, second := page.Levels[0], page.Levels[1]
		if first.Symbol != "BTCUSDT" || first.Role != "resistance" || !first.Passed || *first.DistanceATR != 0.25 || *first.MarketPrice != 98.5 || !first.MarketPriceAt.Equal(time.Now()) || first.LastPrice != 100 || *second.DistanceATR != -0.5 {
			t.Errorf("%+v\n%+v", first, second)
		}
		if rows := decode[wire.LevelPage[[]wire.Row]](t, h.get("/levels?symbol=XRP")).Levels; rows[0].MarketPrice != nil || rows[0].MarketPriceAt != nil || *rows[0].DistanceATR != -0.5 {
			t.Errorf("a pair without a price: %+v", rows[0])
		}
		if rows := decode[wire.LevelPage[[]wire.Row]](t, h.get("/levels?symbol=BTC&role=support")).Levels; len(rows) != 1 || rows[0].Level.Price != 95 {
			t.Errorf("supports: %+v", rows)
		}
		for _, target := range []string{"/levels?symbols=BTCUSDT&format=csv", "/levels/BTCUSDT?format=csv"} {
			if lines := strings.Split(h.get(target).Body.String(), "\r\n"); !strings.HasSuffix(lines[0], ",market_price,market_price_at,passed") ||
				!strings.HasSuffix(lines[1], ",98.5,2000-01-01T00:00:00.000Z,false") || !strings.HasSuffix(lines[2], ",98.5,2000-01-01T00:00:00.000Z,true") {
				t.Errorf("%s: %q", target, lines)
			}
		}
		if lines := strings.Split(h.get("/levels/XRPUSDT?format=csv").Body.String(), "\r\n"); !strings.HasSuffix(lines[1], ",,,false") {
			t.Errorf("%q", lines[1])
		}
		together := decode[wire.PairOnExchanges](t, h.get("/levels/BTCUSDT?exchange=all")).Exchanges[0]
		several := decode[wire.PairOnIntervals[wire.OnInterval]](t, h.get("/levels/BTCUSDT?interval=1h,4h")).Intervals[0]
		if *together.Price != 98.5 || !together.Resistances[0].Passed || *several.Price != 98.5 || !several.Resistances[0].Passed {
			t.Errorf("%+v\n%+v", together, several)
		}
		if a := decode[wire.Analysis](t, h.get("/levels/BTCUSDT?at=2000-01-01T00:00:00Z")); a.Price != nil || len(a.Supports) != 2 {
			t.Errorf("of the past: %v", a.Price)
		}
		if script := h.get("/levels/BTCUSDT?format=pine").Body.String(); strings.Count(script, "color.teal,") != 2 {
			t.Errorf("a script is of the close: %s", script)
		}
	})
}

func TestPrices_OnlyOfTheSameMarketAndNewerThanTheClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(c *Config, _ *service.Config) { readPrices(c, 98.5) })
		real, gone := snapshot("BTCUSDT", time.Now()), snapshot("ETHUSDT", time.Now())
		real.Simulated, gone.DelistedAt = false, time.Now().Add(-time.Hour)
		store(h, real, gone)
		for _, target := range []string{"/levels/BTCUSDT", "/levels/ETHUSDT"} {
			if a := decode[wire.Analysis](t, h.get(target)); a.Price != nil || a.PriceAt != nil {
				t.Errorf("%s: %v", target, *a.Price)
			}
		}
		next := snapshot("BTCUSDT", time.Now())
		next.AsOf = time.Now().Add(time.Second) // the price was read just before the close
		store(h, next)
		h.api.Invalidate("simulated", "1h", []string{"BTCUSDT"})
		if a := decode[wire.Analysis](t, h.get("/levels/BTCUSDT")); *a.Price != 100 || !a.PriceAt.Equal(next.AsOf) || len(a.Supports) != 2 {
			t.Errorf("%v at %v", *a.Price, a.PriceAt)
		}
	})
}

func TestPrices_TheNewerOfThoseReadAndPushedCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var read func(float64)
		pushed, received := 0.0, time.Time{}
		h := start(t, func(c *Config, _ *service.Config) {
			read = readPrices(c, 98.5)
			c.Pushed = func(exchange, symbol string) (float64, time.Time) {
				if symbol != "BTCUSDT" {
					return 0, time.Time{}
				}
				return pushed, received
			}
		})
		push := func(price float64) { pushed, received = price, time.Now() }
		store(h, snapshot("BTCUSDT", time.Now()), snapshot("XRPUSDT", time.Now()))
		shows := func(price float64, at time.Time, control string) {
			t.Helper()
			rec := h.get("/levels/BTCUSDT")
			want(t, rec, 200)
			if a := decode[wire.Analysis](t, rec); a.Price == nil || *a.Price != price || !a.PriceAt.Equal(at) || rec.Header().Get("Cache-Control") != control {
				t.Errorf("%v at %v, %s", *a.Price, a.PriceAt, rec.Header().Get("Cache-Control"))
			}
		}
		started := time.Now()
		shows(98.5, started, "public, max-age=10")
		time.Sleep(2 * time.Second)
		push(97)
		shows(97, received, "public, max-age=1")
		if rows := decode[wire.LevelPage[[]wire.Row]](t, h.get("/levels?symbols=BTCUSDT&limit=1")).Levels; *rows[0].MarketPrice != 97 {
			t.Errorf("a row at %v", *rows[0].MarketPrice)
		}
		before := received
		time.Sleep(300 * time.Millisecond)
		push(96) // in the same second
		shows(97, before, "no-cache")
		time.Sleep(700 * time.Millisecond)
		push(96.5)
		shows(96.5, received, "public, max-age=1")
		time.Sleep(time.Second)
		read(99)
		shows(99, time.Now(), "no-cache") // the next push may come any time
		// readings fail, and pushes go on: then they alone
		time.Sleep(30 * time.Second)
		push(98)
		shows(98, received, "public, max-age=1")
		if a := decode[wire.Analysis](t, h.get("/levels/XRPUSDT")); a.Price != nil {
			t.Errorf("another pair has %v", *a.Price)
		}
		time.Sleep(30 * time.Second)
		if a := decode[wire.Analysis](t, h.get("/levels/BTCUSDT")); a.Price != nil {
			t.Errorf("an old push is shown: %v", *a.Price)
		}
	})
}

// A replay has a time of its own, in which its candles close and its prices are.
func TestPrices_AreByTheClockOfTheExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		behind := 30 * 24 * time.Hour
		h := start(t, func(c *Config, _ *service.Config) {
			readPrices(c, 98.5)
			c.Status = func(string) service.VenueStatus { return service.VenueStatus{ClockSkew: &behind} }
		})
		there := time.Now().Add(-behind)
		store(h, snapshot("BTCUSDT", there))
		time.Sleep(time.Second)
		rec := h.get("/levels/BTCUSDT")
		if a := decode[wire.Analysis](t, rec); *a.Price != 98.5 || !a.PriceAt.Equal(there) || a.Stale || rec.Header().Get("Cache-Control") != "public, max-age=9" {
			t.Errorf("%v at %v, stale %v, %s", *a.Price, a.PriceAt, a.Stale, rec.Header().Get("Cache-Control"))
		}
	})
}

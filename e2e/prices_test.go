package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"tidemark/wire"
)

// A process that only serves reads prices, too: the levels that another one has stored are
// shown at the current price.
func TestPrices_MoveBetweenCloses(t *testing.T) {
	t.Parallel()
	database := "DATABASE_URL=" + sqliteURL(t)
	works := serve(t, database, "EXCHANGE_SIMULATED_PAIRS=4", "ANALYSIS_KLINE_LIMIT=200")
	if status := works.post(t, `{"symbol":"BTCUSDT","interval":"1d"}`, nil); status != http.StatusOK {
		t.Fatal(status)
	}
	door := serve(t, database, "EXCHANGE_SIMULATED_PAIRS=4", "ROLE=api", "PRICES_EVERY=1s")
	another := func(than *float64) (a wire.Analysis) {
		for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			a = wire.Analysis{}
			door.get(t, "/levels/BTCUSDT?interval=1d", &a)
			if a.Price != nil && (than == nil || *a.Price != *than) {
				return a
			}
		}
		t.Fatalf("no other price: %v", a.Price)
		return a
	}
	first := another(nil)
	next := another(first.Price)
	var forming struct{ Kline []float64 }
	door.get(t, "/klines/BTCUSDT/forming?interval=1d", &forming)
	if high, low := forming.Kline[2], forming.Kline[3]; *first.Price < low || *first.Price > high || *next.Price < low || *next.Price > high {
		t.Errorf("%v and %v are not in the forming candle %v", *first.Price, *next.Price, forming.Kline)
	}
	if !next.PriceAt.After(*first.PriceAt) || time.Since(*next.PriceAt) > time.Minute || next.LastPrice != first.LastPrice || !next.AsOf.Equal(first.AsOf) {
		t.Errorf("%v at %v, then %v at %v", *first.Price, first.PriceAt, *next.Price, next.PriceAt)
	}
	for _, l := range next.Supports {
		if l.Price > *next.Price || l.DistancePct > 0 {
			t.Errorf("%+v supports %v", l, *next.Price)
		}
	}
	for _, l := range next.Resistances {
		if l.Price <= *next.Price || l.DistancePct < 0 {
			t.Errorf("%+v resists %v", l, *next.Price)
		}
	}
	var list wire.ExchangeList
	door.get(t, "/exchanges", &list)
	if p := list.Exchanges[0].Status.Prices; p == nil || p.Pairs < 4 || !p.Current || p.EverySeconds != 1 {
		t.Errorf("%+v", p)
	}
	var asOfTheClose wire.Analysis
	works.get(t, "/levels/BTCUSDT?interval=1d", &asOfTheClose)
	if asOfTheClose.Price != nil || asOfTheClose.PriceAt != nil {
		t.Errorf("with PRICES_EVERY=0: %v", *asOfTheClose.Price)
	}
	if code, out, errs := execute(t, nil, "watch", "--url", door.base, "--interval", "1d"); code != 0 || !strings.Contains(out, "BTC/USDT") && !strings.Contains(out, "BTCUSDT") || !strings.Contains(out, " price ") {
		t.Errorf("%d %q %s", code, out, errs)
	}
}

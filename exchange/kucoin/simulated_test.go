package kucoin

// The client over a real socket reads the candles of the made-up market, as it does from
// a simulated Binance, which has every interval itself.

import (
	"context"
	"math"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"
	"time"

	"tidemark/exchange"
	"tidemark/exchange/binance"
	"tidemark/exchange/simulated"
	"tidemark/levels"
)

var marketTime = time.Date(2026, 11, 22, 10, 17, 23, 0, time.UTC)

// connect returns a client of a simulated market, and the market.
func connect(t *testing.T, v exchange.Venue, faults string) (*exchange.Client, *simulated.Server) {
	t.Helper()
	spoil, err := simulated.ParseFaults(faults)
	if err != nil {
		t.Fatal(err)
	}
	market := simulated.New(simulated.Options{Venue: v.Spec().Name, Pairs: 30, Seed: 3, Now: func() time.Time { return marketTime }, LimitTimes: 1000, Faults: spoil, Hang: time.Second})
	server := httptest.NewServer(market)
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := exchange.New(v, exchange.Config{BaseURL: base, Attempts: 8, Timeout: 2 * time.Second})
	t.Cleanup(c.Close)
	return c, market
}

func candles(t *testing.T, c *exchange.Client, symbol string, i levels.Interval, from time.Time) []levels.Candle {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var dst levels.Candles
	dst.Reset(i, 1000)
	if err := c.Candles(ctx, symbol, from.UnixMilli(), &dst, make([]byte, 32<<10)); err != nil {
		t.Fatalf("%s %s: %v", symbol, i, err)
	}
	all := make([]levels.Candle, dst.Len())
	for n := range all {
		all[n] = dst.At(n)
	}
	return all
}

// near reports whether candles are equal but for volumes that were added up in another
// order; those of a are in units of size.
func near(a, b levels.Candle, size float64) bool {
	if math.Abs(b.Volume-a.Volume*size) > 1e-9*b.Volume {
		return false
	}
	a.Volume, b.Volume = 0, 0
	return a == b
}

func TestClient_ReadsTheMadeUpMarket(t *testing.T) {
	reference, market := connect(t, binance.Spot, "")
	lots := map[string]float64{}
	for _, p := range market.Pairs() {
		lots[p.Symbol] = math.Pow10(-p.LotDecimals)
	}
	for _, c := range []struct {
		venue    exchange.Venue
		btc, eth string
		contract float64 // in lots; 0: volumes are not in contracts
	}{{Spot, "BTC-USDT", "ETH-USDT", 0}, {Futures, "XBTUSDTM", "ETHUSDTM", 100}} {
		client, _ := connect(t, c.venue, "")
		for symbol, theirs := range map[string]string{c.btc: "BTCUSDT", c.eth: "ETHUSDT"} {
			size := 1.0
			if c.contract > 0 {
				size = c.contract * lots[theirs]
			}
			for _, i := range levels.Intervals() {
				// not aligned, and long enough for several pages
				from := marketTime.Add(-min(520*i.Duration(), 3*365*24*time.Hour))
				got, want := candles(t, client, symbol, i, from), candles(t, reference, theirs, i, from)
				if len(got) != len(want) || len(got) < 100 {
					t.Errorf("%s %s: %d candles, want %d", symbol, i, len(got), len(want))
					continue
				}
				for n := range got {
					if !near(got[n], want[n], size) {
						t.Errorf("%s %s: %+v, want %+v", symbol, i, got[n], want[n])
						break
					}
				}
				forming, err := client.Forming(t.Context(), symbol, i)
				theirs, err2 := reference.Forming(t.Context(), theirs, i)
				if err != nil || err2 != nil || forming == nil || theirs == nil || !near(forming.Candle, theirs.Candle, size) {
					t.Errorf("%s %s: forming %+v, %v, want %+v, %v", symbol, i, forming, err, theirs, err2)
				}
			}
		}
	}
}

func TestClient_ReadsThePairsAndVolumes(t *testing.T) {
	reference, _ := connect(t, binance.Spot, "")
	want := map[string]float64{}
	for s, err := range reference.Symbols(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		want[s.Base+"/"+s.Quote] = s.QuoteVolume
	}
	for _, v := range []exchange.Venue{Spot, Futures} {
		client, market := connect(t, v, "")
		pairs := map[string]simulated.Pair{}
		for _, p := range market.Pairs() {
			pairs[p.Symbol] = p
		}
		n := 0
		for s, err := range client.Symbols(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			n++
			p := pairs[s.Name]
			if s.Base != p.Base || s.Quote != p.Quote || s.Trading != (p.Status == "TRADING") || s.Tick.Decimals != p.TickDecimals || s.Tick.Units != 1 || (s.Settle == "USDT") != (v == Futures) {
				t.Errorf("%+v of %+v", s, p)
			}
			if w := want[s.Base+"/"+s.Quote]; s.Trading && math.Abs(s.QuoteVolume-w) > 1e-6*w {
				t.Errorf("%s: volume %v, want %v", s.Name, s.QuoteVolume, w)
			}
			if (s.Unusual != "") != (p.Kind == simulated.Leveraged) {
				t.Errorf("%s is %q", s.Name, s.Unusual)
			}
		}
		if n < 30 {
			t.Errorf("%s: %d pairs", v.Spec().Name, n)
		}
	}
}

func TestClient_FaultsChangeNothing(t *testing.T) {
	for v, symbol := range map[exchange.Venue]string{Spot: "BTC-USDT", Futures: "XBTUSDTM"} {
		clean, _ := connect(t, v, "")
		faulty, market := connect(t, v, "0.2")
		for _, i := range []levels.Interval{"15m", "1h", "4h", "1d"} {
			from := marketTime.Add(-400 * i.Duration())
			got, want := candles(t, faulty, symbol, i, from), candles(t, clean, symbol, i, from)
			if len(got) < 300 || !slices.Equal(got, want) {
				t.Errorf("%s %s: %d candles, want %d", symbol, i, len(got), len(want))
			}
		}
		for _, e := range market.Stats().Early {
			if e.Left < e.After {
				t.Errorf("%s sent %v into a pause", e.Endpoint, e.After)
			}
		}
	}
}

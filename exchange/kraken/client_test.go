package kraken

// The clients over a real socket, against the simulated exchange that speaks as Kraken
// does: its candles, pairs and volumes are those of the same market that speaks as Binance
// does, which has every interval itself.

import (
	"math"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark/exchange"
	"tidemark/exchange/binance"
	"tidemark/exchange/exchangetest"
	"tidemark/exchange/simulated"
	"tidemark/levels"
	"tidemark/service"
)

var now = time.Date(2026, 11, 20, 12, 0, 7, 0, time.UTC)

var markets = map[string]exchange.Venue{"kraken": Spot, "kraken-futures": Futures}

// connect returns a client of a market of 30 pairs.
func connect(t *testing.T, v exchange.Venue, dialect, faults string) (*exchange.Client, *simulated.Server) {
	t.Helper()
	f, err := simulated.ParseFaults(faults)
	if err != nil {
		t.Fatal(err)
	}
	venue := simulated.New(simulated.Options{
		Venue: dialect, Pairs: 30, Seed: 5, Now: func() time.Time { return now }, LimitTimes: 10_000, Faults: f, Hang: time.Second,
	})
	server := httptest.NewServer(venue)
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := exchange.New(v, exchange.Config{BaseURL: base, Attempts: 8, Timeout: 2 * time.Second, Group: exchangetest.Unlimited(v)})
	t.Cleanup(c.Close)
	return c, venue
}

// read returns candles with trades: Kraken has others even while the market is down.
func read(t *testing.T, c *exchange.Client, id string, interval levels.Interval, from int64) []levels.Candle {
	t.Helper()
	var dst levels.Candles
	dst.Reset(interval, 0)
	if err := c.Candles(t.Context(), id, from, &dst, make([]byte, 32<<10)); err != nil {
		t.Fatalf("%s %s: %v", id, interval, err)
	}
	all := make([]levels.Candle, 0, dst.Len())
	for i := range dst.Len() {
		if k := dst.At(i); k.Volume > 0 {
			all = append(all, k)
		}
	}
	return all
}

func same(a, b levels.Candle) bool {
	return a.OpenTime == b.OpenTime && a.Open == b.Open && a.High == b.High && a.Low == b.Low && a.Close == b.Close &&
		math.Abs(a.Volume-b.Volume) <= 1e-9*b.Volume
}

func TestClient_ReadsTheCandlesOfTheMarket(t *testing.T) {
	truth, _ := connect(t, binance.Spot, "binance", "")
	for name, v := range markets {
		c, venue := connect(t, v, name, "")
		for _, p := range venue.Pairs()[:2] {
			theirs := p.Base + "USDT"
			for _, interval := range levels.Intervals() {
				// more than Kraken keeps, or more than a page of the futures, and not from
				// the start of a candle
				from := now.Add(-min(2_777*interval.Duration(), 1000*24*time.Hour) - time.Second).UnixMilli()
				got, want := read(t, c, p.Symbol, interval, from), read(t, truth, theirs, interval, from)
				if v == Spot && len(want) > len(got) {
					// the newest 720 of its own candles, less the first one that is not whole
					if len(got) < 700 && slices.Contains([]levels.Interval{"1m", "5m", "15m", "30m", "1h", "4h", "1d"}, interval) || len(got) < 80 {
						t.Errorf("%s %s: %d candles", p.Symbol, interval, len(got))
					}
					want = want[len(want)-len(got):]
				}
				if len(want) < 80 || !slices.EqualFunc(got, want, same) {
					t.Errorf("%s %s: %d candles, want %d", p.Symbol, interval, len(got), len(want))
				}
				forming, err := c.Forming(t.Context(), p.Symbol, interval)
				wanted, _ := truth.Forming(t.Context(), theirs, interval)
				if err != nil || forming == nil || wanted == nil || !same(forming.Candle, wanted.Candle) {
					t.Errorf("%s %s: forming %+v, %v, want %+v", p.Symbol, interval, forming, err, wanted)
				}
			}
		}
		if s := venue.Stats(); s.Refused != 0 || s.Requests["other"] != 0 {
			t.Errorf("%+v", s)
		}
	}
}

func TestClient_ReadsThePairsOfTheMarket(t *testing.T) {
	truth, _ := connect(t, binance.Spot, "binance", "")
	volume := map[string]float64{}
	for s, err := range truth.Symbols(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		volume[s.Base+"/"+strings.Replace(s.Quote, "USDT", "USD", 1)] = s.QuoteVolume
	}
	for name, v := range markets {
		c, venue := connect(t, v, name, "")
		got := map[string]service.Symbol{}
		for s, err := range c.Symbols(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			got[s.Name] = s
		}
		n := 0
		for _, p := range venue.Pairs() {
			if p.Kind == simulated.Halted {
				continue
			}
			n++
			s := got[p.Symbol]
			want := service.Symbol{
				Name: p.Symbol, Base: p.Base, Quote: p.Quote, Trading: true, Status: "online",
				Tick: service.Tick{Units: 1, Decimals: p.TickDecimals}, QuoteVolume: s.QuoteVolume,
			}
			if v == Futures {
				want.Settle, want.Status = "USD", "tradeable"
			}
			if pair := volume[p.Base+"/"+p.Quote]; s != want || math.Abs(s.QuoteVolume-pair) > 0.001*pair {
				t.Errorf("%s: %+v, want %+v and a volume of %v", name, s, want, pair)
			}
		}
		if len(got) != n || n < 30 {
			t.Errorf("%s: %d pairs, want %d", name, len(got), n)
		}
	}
}

func TestClient_FaultsChangeNothing(t *testing.T) {
	for name, v := range markets {
		clean, _ := connect(t, v, name, "")
		faulty, venue := connect(t, v, name, "500=0.06,truncated=0.06,envelope=0.06,unordered=0.06,nan=0.06")
		from := now.Add(-3_000 * time.Hour).UnixMilli()
		for _, p := range venue.Pairs()[:4] {
			want := read(t, clean, p.Symbol, "1h", from)
			if got := read(t, faulty, p.Symbol, "1h", from); len(want) < 700 || !slices.Equal(got, want) {
				t.Errorf("%s: %d candles, want %d", p.Symbol, len(got), len(want))
			}
		}
		if s := venue.Stats(); len(s.Faults) == 0 {
			t.Errorf("%s: no faults", name)
		}
	}
}

package okx

// The client over a real socket, against the simulated exchange that speaks as OKX does:
// its candles, pairs and volumes are those of the same market that speaks as Binance does,
// which has every interval itself and no second endpoint.

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
	"tidemark/exchange/simulated"
	"tidemark/levels"
	"tidemark/service"
)

var now = time.Date(2026, 11, 20, 10, 30, 7, 0, time.UTC)

// connect returns a client of a market of 30 pairs.
func connect(t *testing.T, v exchange.Venue, dialect, faults string) (*exchange.Client, *simulated.Server) {
	t.Helper()
	f, err := simulated.ParseFaults(faults)
	if err != nil {
		t.Fatal(err)
	}
	market := simulated.New(simulated.Options{
		Venue: dialect, Pairs: 30, Seed: 5, Now: func() time.Time { return now }, LimitTimes: 100, Faults: f, Hang: time.Second,
	})
	server := httptest.NewServer(market)
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	fast := *v.Spec()
	fast.Budgets = slices.Clone(fast.Budgets)
	for i := range fast.Budgets {
		fast.Budgets[i].Limit *= 100
	}
	c := exchange.New(v, exchange.Config{BaseURL: base, Attempts: 8, Timeout: 2 * time.Second, Group: exchange.NewGroup(&fast, 1)})
	t.Cleanup(c.Close)
	return c, market
}

func read(t *testing.T, c *exchange.Client, id string, interval levels.Interval, from int64) []levels.Candle {
	t.Helper()
	var dst levels.Candles
	dst.Reset(interval, 0)
	if err := c.Candles(t.Context(), id, from, &dst, make([]byte, 32<<10)); err != nil {
		t.Fatalf("%s %s: %v", id, interval, err)
	}
	all := make([]levels.Candle, dst.Len())
	for i := range all {
		all[i] = dst.At(i)
	}
	return all
}

func same(a, b levels.Candle) bool {
	return a.OpenTime == b.OpenTime && a.Open == b.Open && a.High == b.High && a.Low == b.Low && a.Close == b.Close &&
		math.Abs(a.Volume-b.Volume) <= 1e-9*b.Volume
}

func TestClient_ReadsTheCandlesOfTheMarket(t *testing.T) {
	for name, v := range map[string]exchange.Venue{"okx": Spot, "okx-swap": Swap} {
		truth, _ := connect(t, binance.Spot, "binance", "") // both clocks begin here
		c, market := connect(t, v, name, "")
		for _, p := range market.Pairs()[:3] {
			id, theirs := p.Symbol, p.Base+p.Quote
			for _, interval := range levels.Intervals() {
				// Beyond the newest 1,440 rows where that is no more than a year, and not at
				// the start of a candle.
				span := min(1_777*interval.Duration(), 400*24*time.Hour) + time.Second
				from := now.Add(-span).UnixMilli()
				got, want := read(t, c, id, interval, from), read(t, truth, theirs, interval, from)
				if len(want) < 50 || !slices.EqualFunc(got, want, same) {
					t.Errorf("%s %s: %d candles, want %d", id, interval, len(got), len(want))
				}
				forming, err := c.Forming(t.Context(), id, interval)
				wanted, _ := truth.Forming(t.Context(), theirs, interval)
				if err != nil || forming == nil || wanted == nil || !same(forming.Candle, wanted.Candle) {
					t.Errorf("%s %s: forming %+v, %v, want %+v", id, interval, forming, err, wanted)
				}
			}
		}
		s := market.Stats()
		if s.Requests["candles"] == 0 || s.Requests["history-candles"] == 0 || s.Refused != 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func pairs(t *testing.T, c *exchange.Client) map[string]service.Symbol {
	t.Helper()
	all := map[string]service.Symbol{}
	for s, err := range c.Symbols(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all[s.Name] = s
	}
	return all
}

func TestClient_ReadsThePairsOfTheMarket(t *testing.T) {
	binanceSpot, _ := connect(t, binance.Spot, "binance", "")
	truth := pairs(t, binanceSpot)
	for name, v := range map[string]exchange.Venue{"okx": Spot, "okx-swap": Swap} {
		c, market := connect(t, v, name, "")
		got := pairs(t, c)
		n := 0
		for _, p := range market.Pairs() {
			if p.Kind == simulated.Halted {
				continue
			}
			n++
			s := got[p.Symbol]
			want := service.Symbol{
				Name: p.Symbol, Base: p.Base, Quote: p.Quote, Trading: true, Status: "live",
				Tick: service.Tick{Units: 1, Decimals: p.TickDecimals}, QuoteVolume: s.QuoteVolume,
			}
			if v == Swap {
				want.Settle = p.Quote
			}
			volume, off := truth[p.Base+p.Quote].QuoteVolume, 0.0001
			if v == Swap {
				off = 0.1 // at the last price
			}
			if s != want || math.Abs(s.QuoteVolume-volume) > off*volume {
				t.Errorf("%s: %+v, want %+v and a volume of %v", name, s, want, volume)
			}
		}
		if len(got) != n || n < 30 {
			t.Errorf("%s: %d pairs, want %d", name, len(got), n)
		}
	}
}

func TestClient_FaultsChangeNothing(t *testing.T) {
	clean, _ := connect(t, Spot, "okx", "")
	faulty, market := connect(t, Spot, "okx", "500=0.1,truncated=0.1,envelope=0.1,unordered=0.1")
	from := now.Add(-2_500 * time.Hour).UnixMilli()
	want := read(t, clean, "BTC-USDT", "1h", from)
	if got := read(t, faulty, "BTC-USDT", "1h", from); len(want) < 2_400 || !slices.Equal(got, want) {
		t.Errorf("%d candles, want %d", len(got), len(want))
	}
	if s := market.Stats(); len(s.Faults) == 0 {
		t.Error("no faults")
	}
}

// A sweep reserves its requests, but not those for candles older than the newest 1,400.
func TestClient_VisitsReadOlderCandlesToo(t *testing.T) {
	c, _ := connect(t, Spot, "okx", "")
	from := now.Add(-1_777 * time.Hour).UnixMilli()
	v := c.Visit("1h", 1_777)
	defer v.Close()
	ctx := service.Background(t.Context())
	if err := v.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if used := c.Status().Budgets[candles].Used; used != 5 {
		t.Errorf("%d requests are reserved, want 5", used)
	}
	var dst levels.Candles
	dst.Reset("1h", 0)
	if err := v.Candles(ctx, "BTC-USDT", from, &dst, make([]byte, 32<<10)); err != nil {
		t.Fatal(err)
	}
	if want := read(t, c, "BTC-USDT", "1h", from); dst.Len() < 1_700 || dst.Len() != len(want) {
		t.Errorf("%d candles, want %d", dst.Len(), len(want))
	}
}

func TestClient_SaysWhatThePairIsNot(t *testing.T) {
	c, _ := connect(t, Spot, "okx", "")
	var dst levels.Candles
	dst.Reset("1h", 0)
	err := c.Candles(t.Context(), "NOPE-USDT", now.Add(-time.Hour*9).UnixMilli(), &dst, nil)
	if err == nil || !strings.Contains(err.Error(), "51001") {
		t.Errorf("%v", err)
	}
}

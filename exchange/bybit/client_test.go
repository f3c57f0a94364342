package bybit

// The client over a real socket, against the simulated exchange that speaks as Bybit does:
// its candles, pairs and volumes are those of the same market that speaks as Binance does,
// which has every interval itself.

import (
	"errors"
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

var markets = map[string]exchange.Venue{"bybit": Spot, "bybit-linear": Linear, "bybit-inverse": Inverse}

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
	for name, v := range markets {
		truth, _ := connect(t, binance.Spot, "binance", "") // both clocks begin here
		c, market := connect(t, v, name, "")
		for _, p := range market.Pairs()[:3] {
			id, theirs := p.Symbol, p.Base+"USDT"
			for _, interval := range levels.Intervals() {
				// Two pages where that is no more than a year, and not from the start of a
				// candle.
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
		if s := market.Stats(); s.Requests["kline"] == 0 || s.Refused != 0 {
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
	for name, v := range markets {
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
				Name: p.Symbol, Base: p.Base, Quote: p.Quote, Trading: true, Status: "Trading",
				Tick: service.Tick{Units: 1, Decimals: p.TickDecimals}, QuoteVolume: s.QuoteVolume,
			}
			switch v {
			case Linear:
				want.Settle = p.Quote
			case Inverse:
				want.Settle = p.Base
			}
			theirs := p.Base + p.Quote
			if v == Inverse {
				theirs += "T"
			}
			if volume := truth[theirs].QuoteVolume; s != want || math.Abs(s.QuoteVolume-volume) > 0.0001*volume+1 {
				t.Errorf("%s: %+v, want %+v and a volume of %v", name, s, want, volume)
			}
		}
		if len(got) != n || n < 30 {
			t.Errorf("%s: %d pairs, want %d", name, len(got), n)
		}
	}
}

func TestClient_FaultsChangeNothing(t *testing.T) {
	clean, _ := connect(t, Spot, "bybit", "")
	faulty, market := connect(t, Spot, "bybit", "500=0.2,truncated=0.2,envelope=0.2")
	from := now.Add(-5_500 * time.Hour).UnixMilli()
	want := read(t, clean, "BTCUSDT", "1h", from)
	if got := read(t, faulty, "BTCUSDT", "1h", from); len(want) < 5_400 || !slices.Equal(got, want) {
		t.Errorf("%d candles, want %d", len(got), len(want))
	}
	if s := market.Stats(); len(s.Faults) == 0 {
		t.Error("no faults")
	}
}

func TestClient_SendsNothingForTenMinutesAfterTooManyRequests(t *testing.T) {
	market := simulated.New(simulated.Options{Venue: "bybit", Pairs: 1, Now: func() time.Time { return now }, WeightLimit: 3})
	server := httptest.NewServer(market)
	defer server.Close()
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	var banned time.Time
	c := exchange.New(Spot, exchange.Config{BaseURL: base, OnBan: func(until time.Time) { banned = until }})
	defer c.Close()
	var dst levels.Candles
	for range 9 {
		dst.Reset("1h", 0)
		err = c.Candles(t.Context(), "BTCUSDT", now.Add(-9*time.Hour).UnixMilli(), &dst, make([]byte, 32<<10))
	}
	later, ok := errors.AsType[*service.RetryAfterError](err)
	if !ok || !errors.Is(err, service.ErrBanned) || time.Until(later.Until) < 9*time.Minute || time.Until(banned) < 9*time.Minute {
		t.Errorf("%v, banned until %v", err, banned)
	}
	if s := market.Stats(); s.Refused != 1 || s.EarlyCount != 0 {
		t.Errorf("%+v", s)
	}
}

func TestClient_SaysWhatThePairIsNot(t *testing.T) {
	c, _ := connect(t, Spot, "bybit", "")
	var dst levels.Candles
	dst.Reset("1h", 0)
	err := c.Candles(t.Context(), "NOPEUSDT", now.Add(-time.Hour*9).UnixMilli(), &dst, nil)
	if err == nil || !strings.Contains(err.Error(), "10001") {
		t.Errorf("%v", err)
	}
}

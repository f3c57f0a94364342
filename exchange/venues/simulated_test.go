package venues

// The clients over real sockets, against the simulated exchange that speaks as their venues
// do: their candles, pairs and volumes are those of the same market that speaks as Binance
// does, which has every interval itself.

import (
	"math"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
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
	// The budgets are of the real venue, and not what is tested here.
	budgets := slices.Clone(v.Spec().Budgets)
	for i := range budgets {
		budgets[i].Limit *= 1000
	}
	group := exchange.NewGroup(&exchange.Spec{Budgets: budgets}, 1)
	c := exchange.New(v, exchange.Config{BaseURL: base, Group: group, Attempts: 8, Timeout: 2 * time.Second})
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

// finest returns the venue's own interval that another is merged from, or itself.
func finest(s *exchange.Spec, interval levels.Interval) (from levels.Interval) {
	if _, ok := s.Intervals[interval]; ok {
		return interval
	}
	for i := range s.Intervals {
		if i.Duration() < interval.Duration() && interval.Duration()%i.Duration() == 0 && i.Duration() > from.Duration() {
			from = i
		}
	}
	return from
}

var spoken = []string{"bitget", "bitget-futures", "mexc", "htx"}

func TestClients_ReadTheCandlesOfTheMarket(t *testing.T) {
	truth, _ := connect(t, binance.Spot, "binance", "")
	for _, name := range spoken {
		t.Run(name, func(t *testing.T) {
			spec := Find(name).Spec()
			c, market := connect(t, Find(name), name, "")
			ids := map[string]simulated.Pair{}
			for _, p := range market.Pairs() {
				if p.Holes || p.Thin || p.Base == "BTC" && p.Quote == "USDT" || p.Kind == simulated.Recent && p.Base == "XORA" {
					ids[p.Symbol] = p
				}
			}
			if len(ids) < 3 {
				t.Fatal(ids)
			}
			for id, p := range ids {
				theirs := p.Base + p.Quote
				for _, interval := range levels.Intervals() {
					// not at the start of a candle, and beyond the reach of recent ones
					from := now.Add(-1_777*interval.Duration() - time.Second).UnixMilli()
					if i := finest(spec, interval); spec.History > 0 {
						from = now.Add(-1_995 * i.Duration()).UnixMilli()
					}
					got, want := read(t, c, id, interval, from), read(t, truth, theirs, interval, from)
					if spec.History > 0 {
						got, want = withoutGaps(got, want, read(t, truth, theirs, finest(spec, interval), from), interval)
					}
					if len(want) < 5 && p.Kind != simulated.Recent || !slices.EqualFunc(got, want, same) {
						t.Errorf("%s %s: %d candles, want %d", id, interval, len(got), len(want))
					}
					forming, err := c.Forming(t.Context(), id, interval)
					wanted, _ := truth.Forming(t.Context(), theirs, interval)
					if err != nil || forming == nil || wanted == nil || !same(forming.Candle, wanted.Candle) {
						t.Errorf("%s %s: forming %+v, %v, want %+v", id, interval, forming, err, wanted)
					}
				}
			}
			if s := market.Stats(); s.Refused != 0 || strings.HasPrefix(name, "bitget") && (s.Requests["candles"] == 0 || s.Requests["history-candles"] == 0) {
				t.Errorf("%+v", s)
			}
		})
	}
}

// withoutGaps leaves out the candles that HTX makes up where the market was down: whole
// ones, and those merged with such a one.
func withoutGaps(got, want, parts []levels.Candle, interval levels.Interval) (_, _ []levels.Candle) {
	n := map[int64]int{}
	for _, p := range parts {
		n[interval.Floor(p.OpenTime)]++
	}
	most := 0
	for _, c := range n {
		most = max(most, c)
	}
	ragged := func(k levels.Candle) bool { return n[k.OpenTime] < most }
	return slices.DeleteFunc(got, ragged), slices.DeleteFunc(want, ragged)
}

func TestClients_ReadThePairsOfTheMarket(t *testing.T) {
	for _, name := range spoken {
		t.Run(name, func(t *testing.T) {
			c, market := connect(t, Find(name), name, "")
			got := map[string]service.Symbol{}
			for s, err := range c.Symbols(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				got[s.Name] = s
			}
			n := 0
			for _, p := range market.Pairs() {
				s, listed := got[p.Symbol]
				if listed {
					n++
				}
				if p.Kind == simulated.Halted {
					if s.Trading {
						t.Errorf("%s trades: %+v", p.Symbol, s)
					}
					continue
				}
				want := service.Symbol{
					Name: p.Symbol, Base: p.Base, Quote: p.Quote, Trading: true, Status: s.Status,
					Tick: service.Tick{Units: 1, Decimals: p.TickDecimals}, QuoteVolume: s.QuoteVolume,
				}
				if strings.HasSuffix(name, "-futures") {
					want.Settle = p.Quote
				}
				if name == "htx" && p.Kind == simulated.Leveraged {
					want.Unusual = service.Leveraged
				}
				if s != want || s.QuoteVolume <= 0 && !p.Thin {
					t.Errorf("%+v, want %+v", s, want)
				}
			}
			if len(got) != n || n < 30 {
				t.Errorf("%d pairs, want %d", len(got), n)
			}
			if s, err := c.Symbol(t.Context(), "ETH/USDT"); name != "bitget-futures" && (err != nil || s.Base != "ETH") {
				t.Errorf("ETH/USDT is %+v, %v", s, err)
			}
		})
	}
}

// The volumes are those of the last day, in the quote asset.
func TestClients_ReadTheVolumesOfTheMarket(t *testing.T) {
	volumes := func(v exchange.Venue, dialect string) map[string]float64 {
		c, _ := connect(t, v, dialect, "")
		all := map[string]float64{}
		for s, err := range c.Symbols(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if s.Trading {
				all[s.Base+s.Quote] = s.QuoteVolume
			}
		}
		return all
	}
	truth := volumes(binance.Spot, "binance")
	for _, name := range spoken {
		got := volumes(Find(name), name)
		for pair, v := range got {
			if math.Abs(v-truth[pair]) > 1e-6*truth[pair] {
				t.Errorf("%s: %s has %v, want %v", name, pair, v, truth[pair])
			}
		}
		if len(got) < 30 {
			t.Errorf("%s: %d pairs", name, len(got))
		}
	}
}

func TestClients_FaultsChangeNothing(t *testing.T) {
	for _, name := range spoken {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clean, market := connect(t, Find(name), name, "")
			faulty, bad := connect(t, Find(name), name, "500=0.1,truncated=0.1,envelope=0.1,malformed=0.05,repeat=0.05")
			from := now.Add(-1_900 * time.Hour).UnixMilli()
			for _, p := range market.Pairs()[:3] {
				want := read(t, clean, p.Symbol, "1h", from)
				if got := read(t, faulty, p.Symbol, "1h", from); len(want) < 1_800 || !slices.Equal(got, want) {
					t.Errorf("%s: %d candles, want %d", p.Symbol, len(got), len(want))
				}
			}
			if s := bad.Stats(); len(s.Faults) == 0 {
				t.Error("no faults")
			}
		})
	}
}

// With their own budgets the clients ask as often as their venues allow, and no more.
func TestClients_StayBelowTheLimits(t *testing.T) {
	for _, name := range spoken {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			market := simulated.New(simulated.Options{Venue: name, Pairs: 30, Seed: 5, Now: func() time.Time { return now }})
			server := httptest.NewServer(market)
			defer server.Close()
			base, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			c := exchange.New(Find(name), exchange.Config{BaseURL: base, Concurrency: 40})
			defer c.Close()
			var wg sync.WaitGroup
			for _, p := range market.Pairs()[:20] {
				wg.Go(func() {
					var dst levels.Candles
					dst.Reset("1h", 0)
					if err := c.Candles(t.Context(), p.Symbol, now.Add(-10*time.Hour).UnixMilli(), &dst, make([]byte, 32<<10)); err != nil || dst.Len() == 0 {
						t.Errorf("%s: %d candles, %v", p.Symbol, dst.Len(), err)
					}
				})
			}
			wg.Wait()
			if s := market.Stats(); s.Refused != 0 || s.EarlyCount != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

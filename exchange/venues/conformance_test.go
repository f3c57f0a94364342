package venues

// What every venue must do, over a real socket: each market of the table that the
// simulated exchange speaks is read through the client, and must give the candles, pairs
// and volumes of the same market that speaks as Binance does, whatever fails between, and
// without a request that the venue would refuse. A market that is added to the table is
// tested by its name.

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark/exchange"
	"tidemark/exchange/binance"
	"tidemark/exchange/exchangetest"
	"tidemark/exchange/simulated"
	"tidemark/levels"
	"tidemark/service"
)

func TestMain(m *testing.M) {
	// The tests wait for budgets and pauses most of the time.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// eachMarket runs a test for each market of the table that can be simulated, all at the
// same time.
func eachMarket(t *testing.T, test func(t *testing.T, v exchange.Venue)) {
	n := 0
	for _, v := range All {
		name := v.Spec().Name
		if !slices.Contains(simulated.Venues(), name) {
			t.Logf("%s is not simulated", name)
			continue
		}
		n++
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, v)
		})
	}
	if n < 3 {
		t.Errorf("only %d markets", n)
	}
}

// ahead is by how much the clock of a market differs from this machine's.
func ahead(v exchange.Venue) time.Duration {
	return time.Duration(len(v.Spec().Name)%3-1) * 3 * time.Minute
}

// unsaid is what the responses of a venue do not say, and why its test differs.
var unsaid = map[string]string{
	"hyperliquid-spot halted":  "the list has every pair alike",
	"hyperliquid unknown":      "an unknown coin is an HTTP 500, as any failure",
	"hyperliquid-spot unknown": "an unknown coin is an HTTP 500, as any failure",
}

type setup struct {
	faults  string
	times   int // how much looser the limits are; 1,000
	share   float64
	stopped bool // the clock of the market
	clients exchange.Config
}

// started is when the markets of a test run were made up, which are equal then.
var started = time.Now().Truncate(time.Hour)

// serve returns a client of a made-up market that speaks as v does.
func serve(t *testing.T, v exchange.Venue, o setup) (*exchange.Client, *simulated.Server) {
	t.Helper()
	faults, err := simulated.ParseFaults(o.faults)
	if err != nil {
		t.Fatal(err)
	}
	if o.times == 0 {
		o.times = 1000
	}
	// The market depends on the time it is made up at.
	skew, made := ahead(v), false
	market := simulated.New(simulated.Options{
		Venue: v.Spec().Name, Pairs: 12, Seed: 5, LimitTimes: o.times, Faults: faults, Hang: 300 * time.Millisecond,
		Now: func() time.Time {
			if !made {
				return started
			}
			if o.stopped {
				return started.Add(skew + 41*time.Minute + 17*time.Second)
			}
			return time.Now().Add(skew)
		},
	})
	made = true
	server := httptest.NewServer(market)
	t.Cleanup(server.Close)
	o.clients.BaseURL, err = url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	o.clients.Group = exchange.NewGroup(v.Spec(), max(o.share, 0.7))
	c := exchange.New(v, o.clients)
	t.Cleanup(c.Close)
	return c, market
}

// original returns a client of the same market as Binance tells it, at the same time.
func original(t *testing.T, v exchange.Venue) *exchange.Client {
	t.Helper()
	skew, made := ahead(v), false
	market := simulated.New(simulated.Options{Pairs: 12, Seed: 5, LimitTimes: 1000, Now: func() time.Time {
		if !made {
			return started
		}
		return time.Now().Add(skew)
	}})
	made = true
	c := exchange.New(binance.Spot, exchange.Config{Transport: inProcess{market}})
	t.Cleanup(c.Close)
	return c
}

type inProcess struct{ http.Handler }

func (h inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	r.RemoteAddr = "192.0.2.1:1"
	h.ServeHTTP(w, r)
	return w.Result(), nil
}

// originalName is the name of a pair there.
func originalName(p simulated.Pair) string {
	if p.Quote == "USD" || p.Quote == "USDC" {
		return p.Base + "USDT"
	}
	return p.Base + p.Quote
}

// source returns the venue's own interval from which another is merged, or itself.
func source(s *exchange.Spec, interval levels.Interval) levels.Interval {
	var from levels.Interval
	for i := range s.Intervals {
		switch {
		case i == interval:
			return i
		case i != "3d" && i != "1w" && interval.Duration()%i.Duration() == 0 && i.Duration() < interval.Duration() && i.Duration() > from.Duration():
			from = i
		}
	}
	return from
}

// merged returns the candles of an interval that parts add up to, up to one that is open.
func merged(parts []levels.Candle, interval levels.Interval, from, now int64) []levels.Candle {
	var all []levels.Candle
	for _, p := range parts {
		open := interval.Floor(p.OpenTime)
		switch n := len(all); {
		case open < from || open+interval.Milliseconds() > now:
		case n > 0 && all[n-1].OpenTime == open:
			sum := &all[n-1]
			sum.High, sum.Low, sum.Close = max(sum.High, p.High), min(sum.Low, p.Low), p.Close
			sum.Volume += p.Volume
		default:
			p.OpenTime = open
			all = append(all, p)
		}
	}
	return all
}

// differ says how two series differ; candles without a trade are left out, because some
// venues make them up and others leave them out. The newest two of either may be missing in
// the other, which was read at another time. If not exact, volumes may be rounded, and
// those of got in contracts.
func differ(got, want []levels.Candle, exact, contracts bool) string {
	quiet := func(k levels.Candle) bool { return k.Volume == 0 && !exact }
	got, want = slices.DeleteFunc(slices.Clone(got), quiet), slices.DeleteFunc(slices.Clone(want), quiet)
	size := 1.0
	if contracts && len(got) > 0 && len(want) > 0 {
		size = math.Pow(10, math.Round(math.Log10(want[0].Volume/got[0].Volume)))
	}
	for i := range min(len(got), len(want)) {
		g, w := got[i], want[i]
		if g.Volume *= size; !exact && math.Abs(g.Volume-w.Volume) <= 1e-9*w.Volume {
			g.Volume = w.Volume
		}
		if g != w {
			return fmt.Sprintf("candle %d of %d is %+v, want %+v", i, len(want), g, w)
		}
	}
	if d := len(got) - len(want); d > 2 || d < -2 {
		return fmt.Sprintf("%d candles, want %d", len(got), len(want))
	}
	return ""
}

// serves reports whether the venue has candles of a pair that it has halted. If not the
// pair is unknown to it.
func serves(t *testing.T, c *exchange.Client, id string) bool {
	t.Helper()
	var dst levels.Candles
	dst.Reset("1d", 0)
	err := c.Candles(t.Context(), id, time.Now().AddDate(0, 0, -60).UnixMilli(), &dst, nil)
	if err != nil && !errors.Is(err, service.ErrUnknownSymbol) {
		t.Errorf("%s, which is halted: %v", id, err)
	}
	return err == nil
}

// choose returns pairs of each kind, by its name.
func choose(market *simulated.Server) map[string]simulated.Pair {
	chosen := map[string]simulated.Pair{}
	for _, p := range market.Pairs() {
		name := ""
		switch {
		case p.Kind == simulated.Healthy && p.Base == "BTC":
			name = "BTC"
		case p.Kind == simulated.Healthy && p.Holes:
			name = "holes"
		case p.Kind == simulated.Healthy && p.Thin:
			name = "thin"
		case p.Kind == simulated.Recent, p.Kind == simulated.Young, p.Kind == simulated.Halted:
			name = p.Kind.String()
		default:
			continue
		}
		if _, ok := chosen[name]; !ok {
			chosen[name] = p
		}
	}
	return chosen
}

// trading returns the chosen pairs that trade.
func trading(market *simulated.Server) []simulated.Pair {
	chosen := choose(market)
	delete(chosen, simulated.Halted.String())
	return slices.SortedFunc(maps.Values(chosen), func(a, b simulated.Pair) int { return strings.Compare(a.Symbol, b.Symbol) })
}

func TestMarkets_HaveTheCandlesOfTheMarket(t *testing.T) {
	eachMarket(t, func(t *testing.T, v exchange.Venue) {
		spec := v.Spec()
		c, market := serve(t, v, setup{})
		truth := original(t, v)
		pairs := choose(market)
		if _, ok := pairs["BTC"]; !ok || len(pairs) < 4 {
			t.Fatalf("pairs %v", pairs)
		}
		for kind, p := range pairs {
			for i, interval := range levels.Intervals() {
				if kind != "BTC" && (kind != "holes" || i%2 == 1) && interval != "1h" && interval != "1d" && interval != "30m" {
					continue
				}
				from := source(spec, interval)
				unit, ratio := from.Milliseconds(), interval.Milliseconds()/from.Milliseconds()
				n := int64(spec.Intervals[from].Rows) * 13 / 10
				if spec.Reach == exchange.Since || spec.Reach == exchange.Newest {
					n = int64(spec.Intervals[from].Rows) - 3*ratio
				}
				if spec.History > 0 {
					n = min(n, int64(spec.History)-3*ratio)
				}
				n = max(min(n, 1500), 2*ratio)
				if recent := int64(spec.Intervals[from].Recent); kind == "BTC" && recent > 0 && recent < 1500 {
					n = max(n, recent+300) // older ones come from another endpoint
				}
				now := time.Now().Add(ahead(v)).UnixMilli()
				since := now - n*unit // in the middle of a candle
				if kind == "halted" && !serves(t, c, p.Symbol) {
					break
				}
				got := exchangetest.Read(t, c, p.Symbol, interval, since)
				after := time.Now().Add(ahead(v)).UnixMilli()
				where := fmt.Sprintf("%s (%s) %s", p.Symbol, kind, interval)
				for i, k := range got {
					if k.OpenTime < since || k.OpenTime+interval.Milliseconds() > after || i > 0 && k.OpenTime <= got[i-1].OpenTime {
						t.Errorf("%s: candle %d of %d opened at %v", where, i, len(got), time.UnixMilli(k.OpenTime).UTC())
					}
				}
				if kind == "BTC" {
					if len(got) == 0 || got[len(got)-1].OpenTime+2*interval.Milliseconds() < now-2000-spec.Settles.Milliseconds() {
						t.Errorf("%s: %d candles, none of them the last closed", where, len(got))
					}
					forming, err := c.Forming(t.Context(), p.Symbol, interval)
					wanted, err2 := truth.Forming(t.Context(), originalName(p), interval)
					quiet := forming == nil && wanted != nil && wanted.Volume == 0
					if err != nil || err2 != nil || !quiet && (forming == nil || wanted == nil) ||
						!quiet && forming.OpenTime == wanted.OpenTime && (forming.Open != wanted.Open || forming.Low > wanted.High || forming.High < wanted.Low) {
						t.Errorf("%s: forming %+v (%v), want %+v (%v)", where, forming, err, wanted, err2)
					}
				}
				if from == interval {
					if d := differ(got, exchangetest.Read(t, truth, originalName(p), interval, since), false, strings.Contains(spec.Name, "-")); d != "" {
						t.Errorf("%s: %s", where, d)
					}
					continue
				}
				parts := exchangetest.Read(t, c, p.Symbol, from, since)
				if d := differ(got, merged(parts, interval, since, after), true, false); d != "" {
					t.Errorf("%s merged from %s: %s", where, from, d)
				}
			}
		}
		s := market.Stats()
		if s.Refused != 0 || s.EarlyCount != 0 || s.Requests["other"] != 0 {
			t.Errorf("%d requests refused, %d early, %d of no endpoint: %+v", s.Refused, s.EarlyCount, s.Requests["other"], s.Limits)
		}
		for interval, n := range spec.Intervals {
			if older := path.Base(v.Klines("", n, exchange.Window{Old: true}).Path); n.Recent > 0 && s.Requests[older] == 0 {
				t.Errorf("%s: no request for %s", interval, older)
			}
		}
	})
}

// Of a past that is longer than a venue keeps there is what it keeps, and the rest is not
// requested.
func TestMarkets_HaveNoMoreThanTheirHistory(t *testing.T) {
	eachMarket(t, func(t *testing.T, v exchange.Venue) {
		spec := v.Spec()
		if spec.History == 0 {
			t.Skip("it keeps all")
		}
		c, market := serve(t, v, setup{})
		truth := original(t, v)
		p := choose(market)["BTC"]
		for _, interval := range []levels.Interval{"1h", "2h", "6h"} { // some are merged
			unit := source(spec, interval).Milliseconds()
			now := time.Now().Add(ahead(v)).UnixMilli()
			since := now - 2*int64(spec.History)*unit
			got := exchangetest.Read(t, c, p.Symbol, interval, since)
			want := exchangetest.Read(t, truth, originalName(p), interval, since)
			if n := int64(spec.History) * unit / interval.Milliseconds(); len(got) < int(n*98/100) || got[0].OpenTime < now-int64(spec.History+1)*unit {
				t.Errorf("%s: %d candles, want about %d", interval, len(got), n)
				continue
			}
			want = slices.DeleteFunc(want, func(k levels.Candle) bool { return k.OpenTime < got[0].OpenTime })
			if d := differ(got, want, false, strings.Contains(spec.Name, "-")); d != "" {
				t.Errorf("%s: %s", interval, d)
			}
		}
		if s := market.Stats(); s.Refused != 0 {
			t.Errorf("%d requests refused", s.Refused)
		}
	})
}

func TestMarkets_ListThePairsOfTheMarket(t *testing.T) {
	eachMarket(t, func(t *testing.T, v exchange.Venue) {
		c, market := serve(t, v, setup{})
		volumes := map[string]float64{}
		for s, err := range original(t, v).Symbols(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			volumes[s.Name] = s.QuoteVolume
		}
		got := map[string]service.Symbol{}
		names := map[string]string{}
		for s, err := range c.Symbols(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			got[s.Name] = s
			if other, ok := names[s.Canonical()]; ok && s.Trading {
				t.Errorf("%s and %s are both %s", s.Name, other, s.Canonical())
			}
			names[s.Canonical()] = s.Name
			if s.Tick == (service.Tick{}) && s.Digits == 0 {
				t.Errorf("%s has neither a tick nor digits", s.Name)
			}
		}
		kinds := map[string]bool{}
		for _, p := range market.Pairs() {
			s, ok := got[p.Symbol]
			if p.Status != "TRADING" {
				if s.Trading && unsaid[v.Spec().Name+" halted"] == "" {
					t.Errorf("%s trades, but is %s", p.Symbol, p.Status)
				}
				continue
			}
			if !ok || !s.Trading || s.Base != p.Base || s.Quote != p.Quote {
				t.Errorf("%s is %+v, want %s/%s", p.Symbol, s, p.Base, p.Quote)
				continue
			}
			if kinds[s.Kind()] = true; len(kinds) > 1 {
				t.Errorf("%s is of the kind %s, others are not", s.Name, s.Kind())
			}
			if want := volumes[originalName(p)]; math.Abs(s.QuoteVolume-want) > 0.15*want {
				t.Errorf("%s: volume %v, want about %v", p.Symbol, s.QuoteVolume, want)
			}
			if s.Digits == 0 && s.Tick.Units == 1 && s.Tick.Decimals != p.TickDecimals {
				t.Errorf("%s: tick %+v, want %d decimals", p.Symbol, s.Tick, p.TickDecimals)
			}
			for _, name := range []string{s.Name, s.Canonical()} {
				if again, err := c.Symbol(t.Context(), name); err != nil || again.Name != s.Name {
					t.Errorf("%s is %+v, %v", name, again, err)
				}
			}
		}
		quoted := false
		for _, p := range market.Pairs() {
			quoted = quoted || slices.Contains(v.Spec().Quotes, p.Quote)
		}
		if !quoted {
			t.Errorf("no pair is quoted in one of %v", v.Spec().Quotes)
		}
	})
}

// readPrices returns the prices that a client reads first.
func readPrices(t *testing.T, c *exchange.Client) *service.Prices {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	kept := make(chan struct{})
	go func() { defer close(kept); c.KeepPrices(ctx, time.Hour, func(*service.Prices) {}) }()
	for c.Prices() == nil {
		if t.Context().Err() != nil {
			t.Fatal("no prices")
		}
		time.Sleep(time.Millisecond)
	}
	stop()
	<-kept
	return c.Prices()
}

func TestMarkets_ReadRecordedPrices(t *testing.T) {
	for _, want := range []struct {
		market, folder, recording, symbol string
		price                             float64
	}{
		{"kraken", "kraken", "Ticker", "XBTUSDT", 105899.4},
		{"bitget", "bitget", "tickers_v2", "BTCUSDT", 66554.03},
		{"htx", "htx", "docs_GetTickers", "smtusdt", 0.00468},
		{"kucoin", "kucoin", "docs_Spot_GetTickers", "BTC-USDT", 11328.9},
		{"hyperliquid", "hyperliquid", "allMids", "BTC", 30135},
	} {
		v := Find(want.market)
		for _, r := range exchangetest.Recordings(t, want.folder, want.recording) {
			replies := exchangetest.Replies{"/" + v.Listing(v.Spec().Prices, "").Path: r.Body}
			c := exchange.New(v, exchange.Config{Transport: replies, Group: exchangetest.Unlimited(v)})
			if price, ok := readPrices(t, c).Last(want.symbol); price != want.price || !ok {
				t.Errorf("%s: %v %v, want %v", want.market, price, ok, want.price)
			}
			c.Close()
		}
	}
}

// The current price is the close of the candle that is forming. Hyperliquid has the middle
// between bid and ask, which is the same in a simulated market.
func TestMarkets_HaveThePriceOfNow(t *testing.T) {
	eachMarket(t, func(t *testing.T, v exchange.Venue) {
		c, market := serve(t, v, setup{stopped: true})
		if c.Prices() != nil {
			t.Error("prices before any were read")
		}
		prices, n := readPrices(t, c), 0
		if since := time.Since(prices.At); since < 0 || since > time.Minute || prices.Every != time.Hour || !prices.Until().Equal(prices.At.Add(3*time.Hour)) {
			t.Errorf("read at %v, every %v", prices.At, prices.Every)
		}
		for _, p := range trading(market) {
			price, ok := prices.Last(p.Symbol)
			if !ok {
				t.Errorf("%s has no price", p.Symbol)
				continue
			}
			if n++; n > 4 {
				continue
			}
			f, err := c.Forming(t.Context(), p.Symbol, "1h")
			if err != nil || f == nil || f.Close != price {
				t.Errorf("%s: %v, and the forming candle is %+v, %v", p.Symbol, price, f, err)
			}
		}
		if pairs := len(market.Pairs()); n == 0 || prices.Pairs() < n || prices.Pairs() > pairs {
			t.Errorf("%d prices of %d pairs, %d of which trade", prices.Pairs(), pairs, n)
		}
		if _, ok := prices.Last("NOSUCHPAIR"); ok {
			t.Error("a price of an unknown pair")
		}
	})
}

func TestMarkets_RefuseWhatTheyDoNotList(t *testing.T) {
	eachMarket(t, func(t *testing.T, v exchange.Venue) {
		c, market := serve(t, v, setup{clients: exchange.Config{Attempts: 2}})
		id := strings.NewReplacer("BTC", "QZXQ", "XBT", "QZXQ", "btc", "qzxq").Replace(choose(market)["BTC"].Symbol)
		if id == choose(market)["BTC"].Symbol { // a number
			id += "007"
		}
		want := service.ErrUnknownSymbol
		if unsaid[v.Spec().Name+" unknown"] != "" {
			want = service.ErrExchange
		}
		var dst levels.Candles
		dst.Reset("1h", 0)
		if err := c.Candles(t.Context(), id, time.Now().Add(-100*time.Hour).UnixMilli(), &dst, nil); !errors.Is(err, want) {
			t.Errorf("the candles of %s: %v", id, err)
		}
		if f, err := c.Forming(t.Context(), id, "1h"); !errors.Is(err, want) {
			t.Errorf("the open candle of %s: %+v, %v", id, f, err)
		}
		if s, err := c.Symbol(t.Context(), id); !errors.Is(err, service.ErrUnknownSymbol) {
			t.Errorf("%s: %+v, %v", id, s, err)
		}
	})
}

// Every kind of failure but those that pause is healed.
func TestMarkets_FaultsChangeNothing(t *testing.T) {
	const faults = "500=0.01,502=0.01,503=0.01,reset=0.01,hang=0.005,short=0.01,truncated=0.01,malformed=0.01,html=0.01,403=0.005,nan=0.01,highlow=0.01,repeat=0.01,unordered=0.01,envelope=0.01"
	eachMarket(t, func(t *testing.T, v exchange.Venue) {
		c, market := serve(t, v, setup{faults: faults, clients: exchange.Config{Attempts: 10, Timeout: 6 * time.Second}})
		truth, _ := serve(t, v, setup{})
		pairs := trading(market)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for i := range 6 {
					p, interval := pairs[i%len(pairs)], []levels.Interval{"5m", "1h", "12h", "1d"}[i%4]
					from := time.Now().Add(-700 * interval.Duration()).UnixMilli()
					var series [2][]levels.Candle
					for j, client := range []*exchange.Client{c, truth} {
						var dst levels.Candles
						dst.Reset(interval, 0)
						if err := client.Candles(t.Context(), p.Symbol, from, &dst, make([]byte, 8<<10)); err != nil {
							t.Errorf("%s %s: %v", p.Symbol, interval, err)
							return
						}
						for k := range dst.Len() {
							series[j] = append(series[j], dst.At(k))
						}
					}
					if d := differ(series[0], series[1], true, false); d != "" {
						t.Errorf("%s %s: %s", p.Symbol, interval, d)
					}
				}
			})
		}
		wg.Wait()
		var first, second []service.Symbol
		for j, client := range []*exchange.Client{c, truth} {
			for s, err := range client.Symbols(t.Context()) {
				if err != nil {
					t.Errorf("client %d: %v", j, err)
				}
				s.QuoteVolume = 0
				if j == 0 {
					first = append(first, s)
				} else {
					second = append(second, s)
				}
			}
		}
		if len(first) == 0 || !slices.Equal(first, second) {
			t.Errorf("%d pairs, want %d", len(first), len(second))
		}
		s := market.Stats()
		if len(s.Faults) < 2 || s.Refused != 0 {
			t.Errorf("faults %v, %d requests refused", s.Faults, s.Refused)
		}
	})
}

// A request that is refused for too many of them is the last one until the pause that the
// response, or the venue's documentation, tells.
func TestMarkets_SendNothingInAPause(t *testing.T) {
	eachMarket(t, func(t *testing.T, v exchange.Venue) {
		c, market := serve(t, v, setup{faults: "429=0.3"})
		p := choose(market)["BTC"]
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		refused := false
		for range 40 {
			_, err := c.Forming(ctx, p.Symbol, "1h")
			if ctx.Err() != nil {
				break
			}
			wait, paused := errors.AsType[*service.RetryAfterError](err)
			refused = refused || paused
			if err != nil && !paused {
				t.Errorf("%v", err)
			}
			if paused && time.Until(wait.Until) > 5*time.Second {
				break
			}
		}
		s := market.Stats()
		if s.Faults["429"] == 0 {
			t.Error("no request was refused")
		}
		if s.EarlyCount != 0 {
			t.Errorf("%d requests in a pause: %+v", s.EarlyCount, s.Early)
		}
	})
}

// No limit is exceeded by the venue's count, with the whole of it to spend and as many
// requests as it allows.
func TestMarkets_NoBudgetIsExceeded(t *testing.T) {
	eachMarket(t, func(t *testing.T, v exchange.Venue) {
		c, market := serve(t, v, setup{times: 1, share: 1})
		pairs := trading(market)
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for worker := range 4 {
			ctx := ctx
			if worker > 0 {
				ctx = service.Background(ctx)
			}
			wg.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					var err error
					switch p := pairs[(i+worker)%len(pairs)]; i % 8 {
					case 0:
						_, err = c.Symbol(ctx, p.Symbol)
					case 1:
						for _, err = range c.Symbols(ctx) {
							break
						}
					default:
						var dst levels.Candles
						dst.Reset("1h", 0)
						err = c.Candles(ctx, p.Symbol, time.Now().Add(ahead(v)-30*time.Hour).UnixMilli(), &dst, make([]byte, 8<<10))
					}
					if err != nil && ctx.Err() == nil && !errors.Is(err, service.ErrRateLimited) {
						t.Error(err)
						return
					}
					if err != nil {
						time.Sleep(20 * time.Millisecond) // the wait is longer than the test
					}
				}
			})
		}
		wg.Wait()
		s := market.Stats()
		if s.Refused != 0 || s.EarlyCount != 0 {
			t.Errorf("%d requests refused, %d in a pause", s.Refused, s.EarlyCount)
		}
		for name, l := range s.Limits {
			t.Logf("%s: cost %d, at most %d at once, %d refused", name, l.Cost, l.Most, l.Refused)
		}
	})
}

func TestMarkets_SayThatHTMLIsNoResponse(t *testing.T) {
	eachMarket(t, func(t *testing.T, v exchange.Venue) {
		for fault, says := range map[string]string{"html=1": "HTML", "403=1": "firewall", "502=1": "502", "500=1": "", "envelope=1": ""} {
			c, market := serve(t, v, setup{faults: fault, clients: exchange.Config{Attempts: 2}})
			_, err := c.Forming(t.Context(), choose(market)["BTC"].Symbol, "1h")
			if !errors.Is(err, service.ErrExchange) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "%!") {
				t.Errorf("%s: %v", fault, err)
			}
		}
	})
}

// The facts of the table agree with each other.
func TestMarkets_FactsAgree(t *testing.T) {
	groups := map[string]exchange.Venue{}
	names := map[string]bool{}
	for _, v := range All {
		s := v.Spec()
		if s.Name == "" || names[s.Name] || s.Label == "" || s.Group == "" || len(s.Quotes) == 0 || s.Listings < 1 || s.Listings > 2 {
			t.Errorf("%+v", s)
		}
		names[s.Name] = true
		if base, err := url.Parse(s.BaseURL); err != nil || base.Scheme != "https" || base.Host == "" {
			t.Errorf("%s: %s", s.Name, s.BaseURL)
		}
		if other, ok := groups[s.Group]; ok && !slices.Equal(other.Spec().Budgets, s.Budgets) {
			t.Errorf("%s and %s share budgets, which differ", s.Name, other.Spec().Name)
		}
		groups[s.Group] = v
		if len(s.Budgets) == 0 || len(s.Budgets) > exchange.MaxBudgets {
			t.Errorf("%s has %d budgets", s.Name, len(s.Budgets))
		}
		costs := []exchange.Call{v.Listing(0, ""), v.Listing(s.Prices, ""), s.Clock}
		if s.Listings == 2 {
			costs = append(costs, v.Listing(1, ""))
		}
		for _, interval := range levels.Intervals() {
			from := source(s, interval)
			n, ok := s.Intervals[from]
			if !ok || n.Rows < int(interval.Milliseconds()/from.Milliseconds()) || n.Name == "" {
				t.Errorf("%s: %s from %s, %+v", s.Name, interval, from, n)
				continue
			}
			costs = append(costs, v.Klines("", n, exchange.Window{}), v.Klines("X", n, exchange.Window{Rows: n.Rows, Step: from.Milliseconds()}))
		}
		for i, b := range s.Budgets {
			if b.Name == "" || b.Limit <= 0 || b.Period <= 0 || b.Kind == exchange.Aligned && b.Period%time.Second != 0 || b.Kind == exchange.Bucket && b.Burst < s.Heaviest[i] || s.Heaviest[i] > b.Limit {
				t.Errorf("%s: %+v, heaviest %d", s.Name, b, s.Heaviest[i])
			}
		}
		for _, call := range costs {
			paid := false
			for i, cost := range call.Cost {
				paid = paid || cost > 0
				if cost < 0 || cost > s.Heaviest[i] || cost > 0 && i >= len(s.Budgets) {
					t.Errorf("%s: %s/%s costs %v, more than the heaviest, %v", s.Name, call.Endpoint, call.Path, call.Cost, s.Heaviest)
				}
			}
			if !paid && call.Path != s.Clock.Path { // which is seldom requested
				t.Errorf("%s: %s costs nothing", s.Name, call.Path)
			}
			if strings.HasPrefix(call.Path, "/") || strings.Contains(call.Path, "?") {
				t.Errorf("%s: %s", s.Name, call.Path)
			}
		}
	}
}

package simulated

// Properties of the market for all requests: a candle is the same in any page, in
// any order and after a restart; candles of all intervals are sums of the same
// seconds; every candle is valid; returns are distributed like real ones; gaps are
// where they should be.

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testTime = time.Date(2026, 11, 22, 23, 10, 5, 123e6, time.UTC)

func clock() time.Time { return testTime }

// newMarket is a made-up market on Binance.
func newMarket(seed uint64, healthy int, now time.Time) *market {
	m := makeUp(seed, healthy, now)
	m.speak(dialects["binance"])
	return m
}

// rows are the candles a klines query gets at a time of the venue.
func rows(t testing.TB, m *market, query string, now time.Time) []candle {
	t.Helper()
	k, err := m.parseKlines(query, maxKlines)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	p := m.resolve(&k, now.Unix())
	var all []candle
	if p.first <= p.last {
		w := walk{path: &k.pair.path, iv: k.iv, span: p.span, limit: k.limit, holes: m.holes(nil, k.pair, p.span)}
		w.emit = func(c *candle) { all = append(all, *c) }
		w.run()
	}
	return all
}

func TestCandles_AreTheSameFromEveryPageInAnyOrder(t *testing.T) {
	if testing.Short() {
		t.Skip("only computes")
	}
	for _, seed := range []uint64{0, 1, 99} {
		m := newMarket(seed, 60, testTime)
		random := rand.New(rand.NewPCG(seed, 7))
		for _, p := range []int{0, 5, 25, 30, 48, 64, 70} {
			name := m.pairs[p].Symbol
			for _, iv := range intervals {
				query := "symbol=" + name + "&interval=" + iv.name
				whole := rows(t, m, query+"&limit=1000", testTime)
				if len(whole) == 0 {
					t.Fatalf("%s: nothing", query)
				}
				byOpen := map[int64]candle{}
				for _, c := range whole {
					byOpen[c.open] = c
				}
				restarted := newMarket(seed, 60, testTime)
				for range 6 {
					from := random.IntN(len(whole))
					to := from + random.IntN(len(whole)-from)
					part := rows(t, restarted, query+"&limit=1000"+
						"&startTime="+itoa(whole[from].open*1000)+"&endTime="+itoa(whole[to].open*1000), testTime)
					if len(part) != to-from+1 {
						t.Fatalf("%s: %d candles from %d to %d, want %d", query, len(part), from, to, to-from+1)
					}
					for i, c := range part {
						if c != byOpen[c.open] || c.open != whole[from+i].open {
							t.Fatalf("%s: %+v is %+v in a page of its own", query, byOpen[c.open], c)
						}
					}
				}
			}
		}
	}
}

func TestCandles_ClosedOnesNeverChangeAndFormingOnesOnlyGrow(t *testing.T) {
	m := newMarket(3, 5, testTime)
	var before []candle
	for now := testTime; now.Before(testTime.Add(3 * time.Hour)); now = now.Add(97 * time.Second) {
		got := rows(t, m, "symbol=ETHUSDT&interval=1h&limit=6", now)
		last := got[len(got)-1]
		if last.open != now.Truncate(time.Hour).Unix() {
			t.Fatalf("at %v the newest candle opened at %d", now, last.open)
		}
		for _, old := range before {
			for _, c := range got {
				if c.open != old.open {
					continue
				}
				if c.open+3600 <= now.Add(-97*time.Second).Unix() && c != old {
					t.Fatalf("a closed candle changed from %+v to %+v", old, c)
				}
				if c.o != old.o || c.h < old.h || c.l > old.l || c.volume < old.volume || c.trades < old.trades {
					t.Fatalf("the forming candle shrank from %+v to %+v", old, c)
				}
			}
		}
		before = got
	}
}

func TestCandles_OfAllIntervalsAreSumsOfTheSame(t *testing.T) {
	m := newMarket(1, 40, testTime)
	for _, p := range []string{"BTCUSDT", "SHIBUSDT", m.pairs[24].Symbol, m.pairs[30].Symbol, "XENAUSDT", "XEMUSDT"} {
		for _, c := range []struct{ short, long string }{
			{"1s", "1m"}, {"1m", "3m"}, {"1m", "5m"}, {"3m", "15m"}, {"5m", "30m"}, {"15m", "1h"}, {"1h", "2h"}, {"1h", "4h"},
			{"2h", "6h"}, {"4h", "8h"}, {"4h", "12h"}, {"1h", "1d"}, {"12h", "3d"}, {"1d", "1w"}, {"1d", "1M"},
		} {
			short := rows(t, m, "symbol="+p+"&interval="+c.short+"&limit=1000", testTime)
			iv := find(c.long)
			sums := map[int64]candle{}
			for _, s := range short {
				open := iv.floor(s.open)
				sum, ok := sums[open]
				if !ok {
					sum = candle{open: open, o: s.o, h: s.h, l: s.l}
				}
				sum.h, sum.l, sum.c = max(sum.h, s.h), min(sum.l, s.l), s.c
				sum.volume, sum.taker, sum.trades = sum.volume+s.volume, sum.taker+s.taker, sum.trades+s.trades
				sums[open] = sum
			}
			checked := 0
			for _, long := range rows(t, m, "symbol="+p+"&interval="+c.long+"&limit=1000", testTime) {
				if sum, ok := sums[long.open]; ok && long.open >= short[0].open {
					checked++
					if sum != long {
						t.Fatalf("%s: %s makes %+v, %s says %+v", p, c.short, sum, c.long, long)
					}
				}
			}
			if checked == 0 && len(short) == 1000 {
				t.Errorf("%s: no %s candle was checked", p, c.long)
			}
		}
	}
}

func TestCandles_OfEveryPairArePossible(t *testing.T) {
	if testing.Short() {
		t.Skip("only computes")
	}
	for _, seed := range []uint64{0, 2} {
		m := newMarket(seed, 500, testTime)
		lowest, highest := math.Inf(1), 0.0
		for i := range m.pairs {
			p := &m.pairs[i]
			for _, iv := range []string{"1m", "1h", "1d", "1w"} {
				all := rows(t, m, "symbol="+p.Symbol+"&limit=300&interval="+iv, testTime)
				if len(all) == 0 {
					t.Fatalf("%s %s: nothing", p.Symbol, iv)
				}
				step := find(iv).seconds
				for i, c := range all {
					switch {
					case c.l < 1 || c.l > c.o || c.l > c.c || c.h < c.o || c.h < c.c:
						t.Fatalf("%s %s: impossible prices %+v", p.Symbol, iv, c)
					case c.taker < 0 || c.taker > c.volume || c.trades < 0 || c.volume < c.trades:
						t.Fatalf("%s %s: impossible volumes %+v", p.Symbol, iv, c)
					case (c.trades == 0) != (c.volume == 0) || c.trades == 0 && c.h != c.l:
						t.Fatalf("%s %s: prices moved without trades, or trades without volume: %+v", p.Symbol, iv, c)
					case i > 0 && c.open <= all[i-1].open:
						t.Fatalf("%s %s: %d after %d", p.Symbol, iv, c.open, all[i-1].open)
					case i > 0 && c.open == all[i-1].open+step && c.o != all[i-1].c && !holeBetween(m, p, all[i-1].open, c.open+step):
						t.Fatalf("%s %s: opens at %d after a close at %d", p.Symbol, iv, c.o, all[i-1].c)
					}
					price := float64(c.c) * p.tick
					if base := math.Exp(p.path.base) * p.tick; price > base*200 || price < base/200 {
						t.Fatalf("%s %s: %g is nowhere near %g", p.Symbol, iv, price, base)
					}
					lowest, highest = min(lowest, price), max(highest, price)
				}
			}
		}
		if math.Log10(highest/lowest) < 10 {
			t.Errorf("prices from %g to %g: less than ten orders of magnitude", lowest, highest)
		}
	}
}

func holeBetween(m *market, p *pair, from, to int64) bool {
	return len(m.holes(nil, p, span{from, to})) > 0
}

func TestCandles_HaveFatTailsAndClusteredVolatility(t *testing.T) {
	m := newMarket(1, 40, testTime)
	deviation := map[string]float64{}
	for _, iv := range []string{"15m", "1h", "4h", "1d"} {
		var kurtosis, cluster, drift, volume, squares, reach, body float64
		const pairs = 20
		for i := range pairs {
			all := rows(t, m, "symbol="+m.pairs[i].Symbol+"&limit=1000&interval="+iv, testTime)
			r, a, v := make([]float64, len(all)), make([]float64, len(all)), make([]float64, len(all))
			for i, c := range all {
				r[i] = math.Log(float64(c.c) / float64(c.o))
				a[i], v[i] = math.Abs(r[i]), float64(c.volume)
				reach += math.Log(float64(c.h) / float64(c.l))
				body += a[i]
			}
			var m2, m4 float64
			for _, x := range r {
				m2 += x * x / float64(len(r))
				m4 += x * x * x * x / float64(len(r))
			}
			kurtosis += m4 / m2 / m2 / pairs
			squares += m2 / pairs
			cluster += correlation(a[1:], a[:len(a)-1]) / pairs
			drift += correlation(r[1:], r[:len(r)-1]) / pairs
			volume += correlation(a, v) / pairs
		}
		deviation[iv] = math.Sqrt(squares)
		t.Logf("%s: kurtosis %.1f, autocorrelation of |r| %.2f and of r %.3f, of |r| with volume %.2f, range over |r| %.2f, deviation %.4f",
			iv, kurtosis, cluster, drift, volume, reach/body, deviation[iv])
		switch {
		case kurtosis < 4:
			t.Errorf("%s: kurtosis %.2f, a normal distribution has 3", iv, kurtosis)
		case cluster < 0.1:
			t.Errorf("%s: volatility does not cluster: %.3f", iv, cluster)
		case math.Abs(drift) > 0.05:
			t.Errorf("%s: one return foretells the next: %.3f", iv, drift)
		case volume < 0.2:
			t.Errorf("%s: volume does not follow the price: %.3f", iv, volume)
		case reach/body < 1.8 || reach/body > 2.6:
			t.Errorf("%s: high to low is %.2f times open to close; 2 for a random walk", iv, reach/body)
		}
	}
	for _, c := range []struct {
		short, long string
		times       float64
	}{{"15m", "1h", 4}, {"1h", "4h", 4}, {"4h", "1d", 6}} {
		if got := deviation[c.long] / deviation[c.short] / math.Sqrt(c.times); got < 0.8 || got > 1.25 {
			t.Errorf("a %s return is %.2f times as wide as a random walk makes of %s", c.long, got, c.short)
		}
	}
}

func correlation(a, b []float64) float64 {
	var ma, mb, ab, aa, bb float64
	for i := range a {
		ma += a[i] / float64(len(a))
		mb += b[i] / float64(len(b))
	}
	for i := range a {
		ab += (a[i] - ma) * (b[i] - mb)
		aa += (a[i] - ma) * (a[i] - ma)
		bb += (b[i] - mb) * (b[i] - mb)
	}
	return ab / math.Sqrt(aa*bb)
}

func TestCandles_NoSingleSecondCarriesADaysExcursion(t *testing.T) {
	m := newMarket(1, 10, testTime)
	for i := range 5 {
		// the minute that reaches the day's high does not begin far below it
		worst := 0.0
		for d := range 10 {
			from := testTime.AddDate(0, 0, -d-2).Truncate(24 * time.Hour)
			var all []candle
			for half := range 2 {
				all = append(all, rows(t, m, "symbol="+m.pairs[i].Symbol+"&interval=1m&limit=720&startTime="+
					itoa(from.Add(time.Duration(half)*12*time.Hour).UnixMilli()), testTime)...)
			}
			high, low, steep := all[0].h, all[0].l, int64(0)
			for _, c := range all {
				high, low, steep = max(high, c.h), min(low, c.l), max(steep, c.h-c.l)
			}
			worst = max(worst, float64(steep)/float64(high-low))
		}
		if worst > 0.5 {
			t.Errorf("%s: one minute made %.0f %% of a day's range", m.pairs[i].Symbol, 100*worst)
		}
	}
}

func TestCandles_AreMissingWhereTheMarketOrThePairWasDown(t *testing.T) {
	m := newMarket(1, 60, testTime)
	year := span{testTime.AddDate(-1, 0, 0).Unix(), testTime.Unix()}
	var own int
	for _, name := range []string{"BTCUSDT", m.pairs[24].Symbol} {
		p := m.byName[name]
		holes := m.holes(nil, p, year)
		for i, h := range holes {
			if i > 0 && h.from <= holes[i-1].to || h.from >= h.to {
				t.Fatalf("%s: holes %v", name, holes)
			}
			for _, c := range rows(t, m, "symbol="+name+"&interval=1m&limit=1000&startTime="+itoa((h.from-7200)*1000)+"&endTime="+itoa((h.to+7200)*1000), testTime) {
				if c.open >= h.from && c.open < h.to {
					t.Fatalf("%s: a candle at %d in the hole %v", name, c.open, h)
				}
			}
			hours := rows(t, m, "symbol="+name+"&interval=1h&startTime="+itoa((h.from-86400)*1000)+"&endTime="+itoa((h.to+86400)*1000), testTime)
			want := int((h.to+86400)/3600-(h.from-86400+3599)/3600) + 1
			iv := find("1h")
			if gone := missing(iv, []span{h}, iv.ceil(h.from-86400), iv.floor(h.to+86400), m.byName[name].life); len(hours) > want-gone {
				t.Errorf("%s: %d hours around %v, want at most %d", name, len(hours), h, want-gone)
			}
		}
		own += len(holes)
		if !p.Holes && len(holes) != 4 && len(holes) != 5 {
			t.Errorf("%s: %d holes a year", name, len(holes))
		}
	}
	if own < 12 {
		t.Errorf("%d holes a year in two pairs, one of which has its own", own)
	}
}

func TestCandles_NewestPageIsFullInSpiteOfHoles(t *testing.T) {
	m := newMarket(1, 60, testTime)
	p := m.byName[m.pairs[24].Symbol]
	for d := range 400 {
		now := testTime.Add(-time.Duration(d) * 11 * time.Hour)
		for _, iv := range []string{"5m", "1h"} {
			got := rows(t, m, "symbol="+p.Symbol+"&limit=100&interval="+iv, now)
			if len(got) != 100 {
				t.Fatalf("%d candles of %s at %v", len(got), iv, now)
			}
		}
	}
}

func TestCandles_ThinPairsHaveStretchesWithoutTrades(t *testing.T) {
	m := newMarket(1, 60, testTime)
	for i := range m.pairs {
		p := &m.pairs[i]
		if !p.Thin {
			continue
		}
		empty := 0
		for _, c := range rows(t, m, "symbol="+p.Symbol+"&limit=1000&interval=1h", testTime) {
			if c.trades == 0 {
				empty++
			}
		}
		if empty < 20 || empty > 500 {
			t.Errorf("%s: %d hours of 1000 without a trade", p.Symbol, empty)
		}
		return
	}
	t.Error("no pair is thin")
}

func TestPairs_AreWhatTheirKindSays(t *testing.T) {
	for _, n := range []int{1, 3, 24, 500, 5000} {
		s := New(Options{Pairs: n, Now: clock, Seed: 5})
		kinds := map[Kind]int{}
		names := map[string]bool{}
		for _, p := range s.Pairs() {
			kinds[p.Kind]++
			if names[p.Symbol] {
				t.Fatalf("%s twice", p.Symbol)
			}
			names[p.Symbol] = true
			if p.Symbol != p.Base+p.Quote || !legal(p.Symbol) || p.TickDecimals < 0 || p.TickDecimals > 8 || p.LotDecimals < 0 || p.LotDecimals > 8 {
				t.Errorf("%+v", p)
			}
			if (p.Kind == Halted) != (p.Status == "BREAK") || (p.Kind == Halted) == p.Halted.IsZero() || (p.Kind == OtherQuote) == (p.Quote == "USDT") {
				t.Errorf("%+v", p)
			}
			if n > 500 {
				continue
			}
			hours := rows(t, s.market, "symbol="+p.Symbol+"&interval=1h&limit=1000", testTime)
			last := time.Unix(hours[len(hours)-1].open, 0)
			switch p.Kind {
			case Young:
				if len(hours) > 49 {
					t.Errorf("%s: %d hours", p.Symbol, len(hours))
				}
			case Recent:
				if len(hours) < 60 || p.Listed.Before(testTime.AddDate(0, 0, -61)) {
					t.Errorf("%s: %d hours", p.Symbol, len(hours))
				}
			case Halted:
				if !last.Before(p.Halted) || last.Before(p.Halted.Add(-7*time.Hour)) {
					t.Errorf("%s: halted %v, last candle %v", p.Symbol, p.Halted, last)
				}
			default:
				if len(hours) != 1000 || p.Listed.After(testTime.AddDate(-3, 0, 0)) {
					t.Errorf("%s: %d hours, listed %v", p.Symbol, len(hours), p.Listed)
				}
			}
			if p.Kind == NonASCII && utf8.RuneCountInString(p.Symbol) == len(p.Symbol) {
				t.Errorf("%s is ASCII", p.Symbol)
			}
		}
		want := map[Kind]int{Healthy: n, Recent: 3, Young: 4, NonASCII: 1, Leveraged: 6, Stable: 4, OtherQuote: 7, Halted: 4}
		for kind, n := range want {
			if kinds[kind] != n {
				t.Errorf("%d %s pairs, want %d", kinds[kind], kind, n)
			}
		}
	}
	first := New(Options{Pairs: 3, Now: clock}).Pairs()
	if got := []string{first[0].Symbol, first[1].Symbol, first[2].Symbol}; !slices.Equal(got, []string{"BTCUSDT", "ETHUSDT", "BNBUSDT"}) {
		t.Errorf("the first pairs are %v", got)
	}
}

func TestPrices_NeitherDieNorExplodeInACentury(t *testing.T) {
	for seed := range uint64(3) {
		m := newMarket(seed, 60, testTime)
		for i := range m.pairs {
			p := &m.pairs[i]
			for week := range int64(100 * 52) {
				n := p.path.root(week * 7 * day)
				if far := max(n.high-p.path.base, p.path.base-n.low); far > 6*p.path.spread {
					t.Fatalf("%s: a factor of %.0f from its base in week %d", p.Symbol, math.Exp(far), week)
				}
			}
			if p.path.spread > 0.9 {
				t.Errorf("%s: spread %v", p.Symbol, p.path.spread)
			}
		}
	}
}

func TestSeeds_MakeDifferentMarkets(t *testing.T) {
	one := rows(t, newMarket(1, 1, testTime), "symbol=BTCUSDT&interval=1h&limit=5", testTime)
	two := rows(t, newMarket(2, 1, testTime), "symbol=BTCUSDT&interval=1h&limit=5", testTime)
	if one[0].o == two[0].o && one[4].c == two[4].c {
		t.Errorf("seeds 1 and 2 both play %v", one)
	}
}

func find(name string) interval {
	return intervals[slices.IndexFunc(intervals, func(iv interval) bool { return iv.name == name })]
}

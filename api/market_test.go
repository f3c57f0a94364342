// Pins GET /exchanges, /symbols and /klines: what is stored of which exchange, every pair with why a sweep leaves it out,
// candles that POST /analyze takes back as they are, and the one that is not
// closed, which stands apart.
package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

type candles = levels.Candles

type symbolsJSON = wire.SymbolList[[]wire.Symbol]

func TestSymbols_TellWhichPairsASweepCoversAndWhyNot(t *testing.T) {
	h := start(t)
	for query, expected := range map[string]string{
		"":                           "BTCUSDT ETHUSDT PEPEUSDT YOUNGUSDT USDCUSDT:stable_pair ETHBTC:quote_asset OLDUSDT:not_trading",
		"?selected=true":             "BTCUSDT ETHUSDT PEPEUSDT YOUNGUSDT",
		"?selected=false":            "USDCUSDT:stable_pair ETHBTC:quote_asset OLDUSDT:not_trading",
		"?trading=false":             "OLDUSDT:not_trading",
		"?quote=btc":                 "ETHBTC:quote_asset",
		"?symbol=eth":                "ETHUSDT ETHBTC:quote_asset",
		"?reason=stable_pair":        "USDCUSDT:stable_pair",
		"?exchange=simulated&quote=": "BTCUSDT ETHUSDT PEPEUSDT YOUNGUSDT USDCUSDT:stable_pair ETHBTC:quote_asset OLDUSDT:not_trading",
		"?quote=EUR":                 "",
	} {
		rec := h.get("/symbols" + query)
		want(t, rec, 200)
		list := decode[symbolsJSON](t, rec)
		var got []string
		for _, s := range list.Symbols {
			if s.Reason != nil {
				s.Symbol += ":" + s.Reason.Code
			}
			got = append(got, s.Symbol)
		}
		if strings.Join(got, " ") != expected || list.Count != len(got) || !list.Simulated {
			t.Errorf("%s: %q, count %d; want %q", query, got, list.Count, expected)
		}
	}
}

func TestSymbols_TickSizesAreExact(t *testing.T) {
	for _, c := range []struct {
		tick service.Tick
		text string
	}{
		{service.Tick{Units: 1, Decimals: 2}, "0.01"}, {service.Tick{Units: 1, Decimals: 8}, "0.00000001"}, {service.Tick{Units: 5, Decimals: 4}, "0.0005"},
		{service.Tick{Units: 25, Decimals: 1}, "2.5"}, {service.Tick{Units: 10}, "10"}, {service.Tick{Units: 123, Decimals: 3}, "0.123"}, {service.Tick{}, "null"},
	} {
		if got := string(appendJSON(nil, new(tickOf(c.tick)))); got != c.text {
			t.Errorf("%+v: %s, want %s", c.tick, got, c.text)
		}
	}
}

func TestSymbols_SayHowOldTheyAre(t *testing.T) {
	for age, want := range map[time.Duration]string{0: "0", 59 * time.Second: "59", time.Hour: "3600", -time.Minute: "0"} {
		h := start(t)
		h.exchange.listAge = age
		rec := h.get("/symbols")
		if got, cached := rec.Header().Get("Age"), rec.Header().Get("Cache-Control"); got != want || cached != "public, max-age=60" {
			t.Errorf("%v old: Age %q, Cache-Control %q", age, got, cached)
		}
	}
	h := start(t)
	h.exchange.SymbolsFunc = func(yield func(service.Symbol, error) bool) { yield(service.Symbol{}, service.ErrExchange) }
	if rec := h.get("/symbols"); rec.Header().Get("Age") != "" || rec.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("a failure is cached: %v", rec.Header())
	}
}

func TestSymbols_RefusalsNameWhatIsWrong(t *testing.T) {
	h := start(t)
	for query, status := range map[string]int{
		"?exchange=kraken": 422, "?exchange=%2F": 400, "?selected=yes": 400, "?trading=1": 400, "?symbol=%20": 400, "?foo=": 400, "?limit=3": 400,
	} {
		want(t, h.get("/symbols"+query), status)
	}
	h.exchange.SymbolsFunc = func(yield func(service.Symbol, error) bool) {
		yield(service.Symbol{}, fmt.Errorf("%w: HTML instead of JSON", service.ErrExchange))
	}
	want(t, h.get("/symbols"), 502)
}

func TestKlines_AreWhatAnalyzeTakes(t *testing.T) {
	h := start(t)
	rec := h.get("/klines/btc-usdt?limit=200&interval=15m")
	want(t, rec, 200)
	list := decode[struct {
		Symbol, Interval string
		Simulated        bool
		Klines           []json.RawMessage
	}](t, rec)
	if list.Symbol != "BTCUSDT" || list.Interval != "15m" || len(list.Klines) != 200 || !list.Simulated {
		t.Errorf("%s %s: %d klines", list.Symbol, list.Interval, len(list.Klines))
	}
	rows, _ := json.Marshal(list.Klines)
	own := h.do("POST", "/analyze", `{"interval":"15m","klines":`+string(rows)+`}`)
	want(t, own, 200)
	asked := h.do("POST", "/analyze", `{"symbol":"BTCUSDT","interval":"15m","kline_limit":200}`)
	a, b := decode[analysisJSON](t, own), decode[analysisJSON](t, asked)
	// a market at its low has no supports
	// an id knows its series, which the caller's klines do not have
	starts := func(a analysisJSON) (all []string) {
		for _, l := range slices.Concat(a.Supports, a.Resistances) {
			all = append(all, fmt.Sprint(l.Sources, l.Touches, l.FirstTouch, l.Status, l.Strength))
		}
		return all
	}
	if !a.AsOf.Equal(b.AsOf) || len(starts(a)) == 0 || len(a.Supports) != len(b.Supports) || !slices.Equal(starts(a), starts(b)) {
		t.Errorf("the same candles give\n%s\nand\n%s", own.Body, asked.Body)
	}
}

func TestKlines_LongListsComeWhole(t *testing.T) {
	rec := start(t).get("/klines/ETHUSDT?limit=10000&interval=1m")
	want(t, rec, 200)
	if n := len(decode[struct{ Klines []json.RawMessage }](t, rec).Klines); n != 10_000 {
		t.Errorf("%d klines", n)
	}
}

// unread is a client that takes nothing of its reply until it is told to.
type unread struct {
	*httptest.ResponseRecorder
	asked, read chan struct{}
}

func (u *unread) Write(b []byte) (int, error) {
	select {
	case <-u.read:
	default:
		close(u.asked)
		<-u.read
	}
	return u.ResponseRecorder.Write(b)
}

func TestKlines_OneWhoReadsSlowlyHoldsNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(_ *Config, c *service.Config) { c.Concurrency = 1 })
		slow := &unread{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}
		done := make(chan struct{})
		go func() {
			h.api.ServeHTTP(slow, localRequest("GET", "/klines/BTCUSDT?limit=2000", nil))
			close(done)
		}()
		<-slow.asked
		want(t, h.get("/klines/ETHUSDT"), 200)
		close(slow.read)
		<-done
		if n := len(decode[struct{ Klines []json.RawMessage }](t, slow.ResponseRecorder).Klines); n != 2000 {
			t.Errorf("%d klines", n)
		}
	})
}

func TestKlines_RefusalsNameWhatIsWrong(t *testing.T) {
	h := start(t)
	for target, status := range map[string]int{
		"BTCUSDT?limit=0": 400, "BTCUSDT?limit=10001": 400, "BTCUSDT?interval=1M": 400, "BTCUSDT?exchange=kraken": 404,
		"NOPEUSDT": 422, "BTC%20USDT": 400, "BTCUSDT?at=2000-01-01T00:00:00Z": 400,
	} {
		var rec *httptest.ResponseRecorder
		if rec = h.get("/klines/" + target); rec.Code != status {
			t.Errorf("%s: %d %s", target, rec.Code, rec.Body)
		}
	}
}

func TestForming_StandsApartFromTheClosedCandles(t *testing.T) {
	h := start(t)
	before := time.Now()
	rec := h.get("/klines/btc-usdt/forming?interval=15m")
	want(t, rec, 200)
	f := decode[wire.FormingKline](t, rec)
	if f.Symbol != "BTCUSDT" || f.Exchange != "simulated" || f.Interval != "15m" || !f.Simulated || len(f.Kline) != 6 || f.At.Before(before.Truncate(time.Millisecond)) || !f.ClosesAt.After(before) {
		t.Fatalf("%s", rec.Body)
	}
	opened := int64(f.Kline[0])
	if f.ClosesAt.UnixMilli() != opened+15*60*1000 {
		t.Errorf("opened at %d, closes at %v", opened, f.ClosesAt)
	}
	closed := decode[struct{ Klines [][]float64 }](t, h.get("/klines/BTCUSDT?interval=15m&limit=3")).Klines
	if last := int64(closed[len(closed)-1][0]); last+15*60*1000 > time.Now().UnixMilli() {
		t.Errorf("the last of the closed klines opened at %d, the forming one at %d", last, opened)
	}

	h.exchange.FormingFunc = func(context.Context) (*service.Forming, error) { return nil, nil }
	rec = h.get("/klines/ETHUSDT/forming")
	want(t, rec, 200)
	if f := decode[wire.FormingKline](t, rec); f.Kline != nil || f.At != nil || f.ClosesAt != nil {
		t.Errorf("of a halted pair: %s", rec.Body)
	}
	for target, status := range map[string]int{
		"NOPEUSDT/forming": 422, "BTC%20USDT/forming": 400, "BTCUSDT/forming?interval=1M": 400, "BTCUSDT/forming?exchange=kraken": 422, "BTCUSDT/forming?limit=1": 400,
	} {
		h.exchange.FormingFunc = nil
		if rec := h.get("/klines/" + target); rec.Code != status {
			t.Errorf("%s: %d %s", target, rec.Code, rec.Body)
		}
	}
}

// What another process has stored of another exchange can be read; what would have
// to be asked of that exchange is refused.
func TestExchanges_OthersAreReadAndNotAsked(t *testing.T) {
	type list struct {
		Exchanges []struct {
			Exchange  string
			Served    bool
			Intervals []struct {
				Interval string
				Pairs    int
				AsOf     time.Time `json:"as_of"`
			}
		}
	}
	h := start(t)
	rec := h.get("/exchanges")
	want(t, rec, 200)
	if e := decode[list](t, rec).Exchanges; len(e) != 1 || e[0].Exchange != "simulated" || !e[0].Served || len(e[0].Intervals) != 0 {
		t.Errorf("before anything is stored: %s", rec.Body)
	}
	want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`), 200)
	want(t, h.do("POST", "/analyze", `{"symbol":"ETHUSDT"}`), 200)
	keeps(h)
	stored := decode[analysisJSON](t, h.get("/levels/BTCUSDT"))

	h.exchange.market = service.Market{Exchange: "binance"}
	rec = h.get("/exchanges")
	e := decode[list](t, rec).Exchanges
	if len(e) != 2 || e[0].Exchange != "binance" || !e[0].Served || len(e[0].Intervals) != 0 ||
		e[1].Exchange != "simulated" || e[1].Served || len(e[1].Intervals) != 1 || e[1].Intervals[0].Pairs != 2 || !e[1].Intervals[0].AsOf.Equal(stored.AsOf) {
		t.Fatalf("%s", rec.Body)
	}
	rec = h.get("/klines/BTCUSDT?exchange=simulated&limit=120")
	want(t, rec, 200)
	k := decode[struct {
		Exchange  string
		Simulated bool
		Klines    [][]float64
	}](t, rec)
	if last := time.UnixMilli(int64(k.Klines[len(k.Klines)-1][0])).Add(time.Hour); k.Exchange != "simulated" || !k.Simulated || len(k.Klines) != 120 || !last.Equal(stored.AsOf) {
		t.Errorf("%d klines to %v, the analysis is of %v: %.200s", len(k.Klines), last, stored.AsOf, rec.Body)
	}
	for target, status := range map[string]int{
		"/levels/BTCUSDT?exchange=simulated": 200, "/levels?exchange=simulated": 200, "/levels/BTCUSDT": 404,
		"/klines/PEPEUSDT?exchange=simulated": 404, "/klines/BTCUSDT/forming?exchange=simulated": 422,
		"/symbols?exchange=simulated": 422, "/exchanges?exchange=simulated": 400,
	} {
		want(t, h.get(target), status)
	}
	want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT","exchange":"simulated"}`), 422)
	h.store.CandlesFunc = nil // they have fallen out since
	want(t, h.get("/klines/BTCUSDT?exchange=simulated"), 409)
	h.store.err = service.ErrStorage
	want(t, h.get("/exchanges"), 503)
}

package simulated

// The wire format, field by field: the same keys, types and decimals as recorded
// from the venue (in the shared folder, if it exists) and as written here.

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// recorded reads the body of a response recorded from the venue; ok is false,
// and said, where there is none.
func recorded(t *testing.T, name string, dst any) (ok bool) {
	t.Helper()
	shared := os.Getenv("TIDEMARK_SHARED")
	if shared == "" {
		shared = "../../../shared"
	}
	b, err := os.ReadFile(filepath.Join(shared, "exchanges/fixtures/binance_spot", name+".json"))
	if err != nil {
		t.Logf("not compared with what was recorded: %v", err)
		return false
	}
	var f struct {
		Response struct{ Body json.RawMessage }
	}
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(f.Response.Body, dst); err != nil {
		t.Fatal(err)
	}
	return true
}

// shape describes a value: keys, types, and of strings that are numbers how
// many decimals they have.
func shape(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var b strings.Builder
		for _, k := range slices.Sorted(maps.Keys(v)) {
			fmt.Fprintf(&b, "%s:%s ", k, shape(v[k]))
		}
		return "{" + b.String() + "}"
	case []any:
		if len(v) == 0 {
			return "[]"
		}
		return "[" + shape(v[0]) + "...]"
	case string:
		if m := regexp.MustCompile(`^-?[0-9]+(\.([0-9]+))?$`).FindStringSubmatch(v); m != nil {
			return "decimal" + strconv.Itoa(len(m[2]))
		}
		return "text"
	case float64:
		if v == math.Trunc(v) {
			return "integer"
		}
		return "number"
	}
	return fmt.Sprintf("%T", v)
}

func get(t *testing.T, s *Server, target string, dst any) *httptest.ResponseRecorder {
	t.Helper()
	w := ask(s, "/api/v3/"+target)
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json;charset=UTF-8" {
		t.Fatalf("%s: %d %v %s", target, w.Code, w.Header(), w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), dst); err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	return w
}

func TestKlines_LookLikeTheVenuesOwn(t *testing.T) {
	s := New(Options{Pairs: 30, Now: clock})
	want := []string{"integer", "decimal8", "decimal8", "decimal8", "decimal8", "decimal8", "integer", "decimal8", "integer", "decimal8", "decimal8", "decimal0"}
	var old [][]any
	if recorded(t, "klines_BTCUSDT_1h_page1_1000", &old) {
		for i, v := range old[0] {
			if shape(v) != want[i] {
				t.Errorf("column %d of the recording is %s, not %s", i, shape(v), want[i])
			}
		}
	}
	for _, p := range s.Pairs() {
		var all [][]any
		get(t, s, "klines?interval=1h&limit=30&symbol="+p.Symbol, &all)
		for _, row := range all {
			if len(row) != len(want) {
				t.Fatalf("%s: %d columns: %v", p.Symbol, len(row), row)
			}
			for i, v := range row {
				if shape(v) != want[i] {
					t.Errorf("%s: column %d is %v, not %s", p.Symbol, i, v, want[i])
				}
			}
			if open, end := row[0].(float64), row[6].(float64); end != open+3_600_000-1 || row[11] != "0" {
				t.Errorf("%s: %v", p.Symbol, row)
			}
			low, high, volume, quote := decimal(t, row[3]), decimal(t, row[2]), decimal(t, row[5]), decimal(t, row[7])
			if quote < low*volume*(1-1e-9)-1e-8 || quote > high*volume*(1+1e-9)+1e-8 {
				t.Errorf("%s: the quote volume does not match any price of the candle: %v", p.Symbol, row)
			}
			for i, places := range map[int]int{1: p.TickDecimals, 2: p.TickDecimals, 3: p.TickDecimals, 4: p.TickDecimals, 5: p.LotDecimals, 9: p.LotDecimals} {
				if rest := row[i].(string); strings.Trim(rest[len(rest)-8+places:], "0") != "" {
					t.Errorf("%s: column %d is %s, with more than %d decimals", p.Symbol, i, rest, places)
				}
			}
		}
	}
}

func decimal(t *testing.T, v any) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(v.(string), 64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestTicker_LooksLikeTheVenuesOwnAndAgreesWithTheKlines(t *testing.T) {
	s := New(Options{Pairs: 60, Now: clock})
	var full, mini []map[string]any
	get(t, s, "ticker/24hr", &full)
	get(t, s, "ticker/24hr?type=MINI", &mini)
	if len(full) != 89 || len(mini) != 89 {
		t.Fatalf("%d and %d tickers, want 89", len(full), len(mini))
	}
	var old map[string]any
	var many []map[string]any
	if recorded(t, "ticker24hr_BTCUSDT", &old) && shape(full[0]) != shape(old) {
		t.Errorf("a ticker is %s\nrecorded was %s", shape(full[0]), shape(old))
	}
	if recorded(t, "ticker24hr_all", &many) && shape(full[1]) != shape(many[1]) {
		t.Errorf("a ticker is %s\nrecorded was %s", shape(full[1]), shape(many[1]))
	}
	for i, p := range s.Pairs() {
		tick := full[i]
		if tick["symbol"] != p.Symbol || mini[i]["symbol"] != p.Symbol {
			t.Fatalf("ticker %d is of %v, not %s", i, tick["symbol"], p.Symbol)
		}
		for k, v := range mini[i] {
			if tick[k] != v {
				t.Errorf("%s: %s is %v, mini says %v", p.Symbol, k, tick[k], v)
			}
		}
		if len(mini[i]) != 12 {
			t.Errorf("a mini ticker has %d fields", len(mini[i]))
		}
		var one map[string]any
		get(t, s, "ticker/24hr?symbol="+p.Symbol, &one)
		if !maps.Equal(one, tick) {
			t.Errorf("%s alone is %v", p.Symbol, one)
		}
		if p.Kind == Halted {
			if tick["quoteVolume"] != "0.00000000" || tick["lastPrice"] == "0.00000000" || tick["firstId"].(float64) != -1 {
				t.Errorf("%s is halted: %v", p.Symbol, tick)
			}
			continue
		}
		// the same 24 hours in seconds
		var volume, trades int64
		high, low := int64(0), int64(math.MaxInt64)
		last := int64(0)
		m := s.market
		from := testTime.Unix() + 1 - day
		for at := from; at <= testTime.Unix() && i < 3; at += 1000 {
			for _, c := range rows(t, m, fmt.Sprintf("symbol=%s&interval=1s&limit=1000&startTime=%d", p.Symbol, at*1000), testTime) {
				if c.open >= at+1000 {
					break // beyond a hole, or in the next step
				}
				volume, trades, high, low, last = volume+c.volume, trades+c.trades, max(high, c.h), min(low, c.l), c.c
			}
		}
		if q := m.byName[p.Symbol]; i < 3 {
			for name, want := range map[string]string{
				"volume": string(appendDecimal(nil, volume, q.LotDecimals)), "highPrice": string(appendDecimal(nil, high, q.TickDecimals)),
				"lowPrice": string(appendDecimal(nil, low, q.TickDecimals)), "lastPrice": string(appendDecimal(nil, last, q.TickDecimals)),
			} {
				if tick[name] != want {
					t.Errorf("%s: %s is %v, the seconds make %s", p.Symbol, name, tick[name], want)
				}
			}
			if tick["count"].(float64) != float64(trades) || tick["lastId"].(float64)-tick["firstId"].(float64)+1 != float64(trades) {
				t.Errorf("%s: %d trades in seconds, the ticker says %v", p.Symbol, trades, tick)
			}
		}
		change := decimal(t, tick["lastPrice"]) - decimal(t, tick["openPrice"])
		if math.Abs(change-decimal(t, tick["priceChange"])) > 1e-6*math.Abs(change)+1e-8 {
			t.Errorf("%s: %v", p.Symbol, tick)
		}
	}
	var two []map[string]any
	get(t, s, "ticker/24hr?symbols=[%22ETHUSDT%22,%22BTCUSDT%22]", &two)
	if len(two) != 2 || two[0]["symbol"] != "ETHUSDT" {
		t.Errorf("two tickers are %v", two)
	}
	var halted []map[string]any
	get(t, s, "ticker/24hr?symbolStatus=BREAK&type=MINI", &halted)
	if len(halted) != 4 {
		t.Errorf("%d halted pairs", len(halted))
	}
}

func TestExchangeInfo_LooksLikeTheVenuesOwn(t *testing.T) {
	s := New(Options{Pairs: 3, Now: clock, WeightLimit: 1200})
	var got map[string]any
	get(t, s, "exchangeInfo", &got)
	if got["serverTime"] != float64(testTime.UnixMilli()) || got["rateLimits"].([]any)[0].(map[string]any)["limit"] != 1200.0 {
		t.Errorf("%v %v", got["serverTime"], got["rateLimits"])
	}
	var old map[string]any
	have := recorded(t, "exchangeInfo_2025", &old)
	if have && slices.Compare(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(old))) != 0 {
		t.Errorf("keys are %v, recorded were %v", got, old)
	}
	if have && shape(got["rateLimits"]) != shape(old["rateLimits"]) {
		t.Errorf("rate limits are %s, recorded were %s", shape(got["rateLimits"]), shape(old["rateLimits"]))
	}
	for i, p := range s.Pairs() {
		symbol := got["symbols"].([]any)[i].(map[string]any)
		if symbol["symbol"] != p.Symbol || symbol["baseAsset"] != p.Base || symbol["quoteAsset"] != p.Quote || symbol["status"] != p.Status || symbol["isSpotTradingAllowed"] != true {
			t.Errorf("%+v is listed as %v", p, symbol)
		}
		filters := map[string]map[string]any{}
		for _, f := range symbol["filters"].([]any) {
			filters[f.(map[string]any)["filterType"].(string)] = f.(map[string]any)
		}
		if tick, step := filters["PRICE_FILTER"]["tickSize"], filters["LOT_SIZE"]["stepSize"]; tick != fmt.Sprintf("%.8f", math.Pow10(-p.TickDecimals)) || step != fmt.Sprintf("%.8f", math.Pow10(-p.LotDecimals)) {
			t.Errorf("%s: tick %v and step %v, want 10^-%d and 10^-%d", p.Symbol, tick, step, p.TickDecimals, p.LotDecimals)
		}
		if !have {
			continue
		}
		theirs := old["symbols"].([]any)[0].(map[string]any)
		if !slices.Equal(slices.Sorted(maps.Keys(symbol)), slices.Sorted(maps.Keys(theirs))) {
			t.Errorf("%s has the keys %v, recorded were %v", p.Symbol, slices.Sorted(maps.Keys(symbol)), slices.Sorted(maps.Keys(theirs)))
		}
		for k, v := range theirs {
			if k != "filters" && shape(symbol[k]) != shape(v) {
				t.Errorf("%s: %s is %s, recorded was %s", p.Symbol, k, shape(symbol[k]), shape(v))
			}
		}
		for _, f := range theirs["filters"].([]any) {
			f := f.(map[string]any)
			if ours := filters[f["filterType"].(string)]; shape(ours) != shape(f) {
				t.Errorf("%s: filter %s, recorded was %s", p.Symbol, shape(ours), shape(f))
			}
		}
	}
}

func TestErrorBodies_LookLikeTheVenuesOwn(t *testing.T) {
	s := New(Options{Pairs: 1, Now: clock})
	for fixture, target := range map[string]string{
		"error_invalid_symbol": "klines?symbol=NOPE&interval=1h", "error_invalid_interval": "klines?symbol=BTCUSDT&interval=7m",
	} {
		var old map[string]any
		if recorded(t, fixture, &old) {
			var got map[string]any
			if err := json.Unmarshal(ask(s, "/api/v3/"+target).Body.Bytes(), &got); err != nil || !maps.Equal(got, old) {
				t.Errorf("%s: %v, recorded was %v", target, got, old)
			}
		}
	}
}

func TestResponses_CarryTimeWeightAndWhatTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // in which no minute ends
		s := New(Options{Pairs: 3, Now: clock}) // a clock of its own, far from that
		used := 0
		for _, c := range []struct {
			target string
			weight int
		}{
			{"ping", 1}, {"time", 1}, {"exchangeInfo", 20}, {"klines?symbol=BTCUSDT&interval=1h", 2}, {"klines?symbol=NOPE&interval=1h", 2},
			{"ticker/24hr?symbol=BTCUSDT", 2}, {"ticker/24hr?symbols=[%22BTCUSDT%22,%22ETHUSDT%22]", 2}, {"ticker/24hr", 80},
		} {
			used += c.weight
			h := ask(s, "/api/v3/"+c.target).Header()
			if want := strconv.Itoa(used); h.Get("X-MBX-USED-WEIGHT-1M") != want || h.Get("X-MBX-USED-WEIGHT") != want {
				t.Errorf("%s: %v, want a used weight of %s", c.target, h, want)
			}
			if h.Get("X-Tidemark-Simulated") != "true" || h.Get("Date") != "Sun, 22 Nov 2026 23:10:05 GMT" {
				t.Errorf("%s: %v", c.target, h)
			}
		}
		var got struct{ ServerTime int64 }
		get(t, s, "time", &got)
		if got.ServerTime != testTime.UnixMilli() {
			t.Errorf("the time is %d", got.ServerTime)
		}
		if body := ask(s, "/api/v3/ping").Body.String(); body != "{}" {
			t.Errorf("ping says %s", body)
		}
	})
}

func TestTickerWeight_GrowsWithThePairs(t *testing.T) {
	m := newMarket(1, 200, testTime)
	for n, want := range map[int]int{1: 2, 20: 2, 21: 40, 100: 40, 101: 80} {
		var names []string
		for _, p := range m.pairs[:n] {
			names = append(names, strconv.Quote(p.Symbol))
		}
		k, err := m.parseTicker("symbols=["+strings.Join(names, ",")+"]", testTime.Unix())
		if err != nil || k.weight() != want {
			t.Errorf("%d pairs weigh %d, want %d (%v)", n, k.weight(), want, err)
		}
	}
}

func TestCache_ServesTheSameBytesWithinItsBytes(t *testing.T) {
	now := testTime
	plain := New(Options{Pairs: 40, Now: func() time.Time { return now }})
	cached := New(Options{Pairs: 40, Now: func() time.Time { return now }, CacheBytes: 300_000})
	for round := range 3 {
		for i := range 20 {
			target := "/api/v3/klines?interval=1h&symbol=" + plain.market.pairs[i].Symbol + "&limit=300"
			for _, more := range []string{"", "&endTime=" + itoa(testTime.Add(-2*time.Hour).UnixMilli()), "&startTime=" + itoa(testTime.AddDate(0, -1, 0).UnixMilli())} {
				a, b := ask(plain, target+more), ask(cached, target+more)
				if a.Body.String() != b.Body.String() {
					t.Fatalf("round %d: %s differs", round, target+more)
				}
				if b.Header().Get("Content-Length") != strconv.Itoa(b.Body.Len()) {
					t.Fatalf("%s: Content-Length %s of %d", target, b.Header().Get("Content-Length"), b.Body.Len())
				}
			}
		}
		sum := int64(0)
		for k, page := range cached.cache.pages {
			sum += int64(len(page.rows)) + overhead
			if k.last+3600 > now.Unix() {
				t.Errorf("a page with the candle of %d is kept at %d", k.last, now.Unix())
			}
		}
		if sum != cached.cache.size || sum > 300_000 || len(cached.cache.pages) == 0 {
			t.Errorf("%d pages, %d bytes, counted %d", len(cached.cache.pages), sum, cached.cache.size)
		}
		now = now.Add(10 * time.Minute)
	}
}

func TestDecimals_AreExact(t *testing.T) {
	for _, c := range []struct {
		units    int64
		decimals int
		want     string
	}{
		{0, 0, "0.00000000"}, {1, 8, "0.00000001"}, {123456789, 8, "1.23456789"}, {6705_82, 2, "6705.82000000"}, {500, 0, "500.00000000"},
		{math.MaxInt64, 0, "9223372036854775807.00000000"}, {99999999, 8, "0.99999999"}, {10, 1, "1.00000000"},
	} {
		if got := string(appendDecimal(nil, c.units, c.decimals)); got != c.want {
			t.Errorf("%d e-%d is %s, want %s", c.units, c.decimals, got, c.want)
		}
	}
	for v, want := range map[float64]string{0: "0.00000000", 0.125: "0.12500000", 88149249.5: "88149249.50000000", 1e300: "9000000000000000000.00000000"} {
		if got := string(appendAmount(nil, v)); got != want {
			t.Errorf("%g is %s, want %s", v, got, want)
		}
	}
}

package hyperliquid

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidemark/exchange"
	"tidemark/exchange/binance"
	"tidemark/exchange/simulated"
	"tidemark/levels"
	"tidemark/service"
)

// oracle reads candles with encoding/json; nil for what is no page of them.
func oracle(body string) []levels.Candle {
	var rows []map[string]json.RawMessage
	if json.Unmarshal([]byte(body), &rows) != nil || rows == nil {
		return nil
	}
	all := []levels.Candle{}
	for _, row := range rows {
		var f [5]float64
		for i, key := range []string{"o", "h", "l", "c", "v"} {
			f[i], _ = strconv.ParseFloat(strings.Trim(string(row[key]), `"`), 64)
		}
		open, _ := strconv.ParseInt(strings.Trim(string(row["t"]), `"`), 10, 64)
		all = append(all, levels.Candle{OpenTime: open, Open: f[0], High: f[1], Low: f[2], Close: f[3], Volume: f[4]})
	}
	return all
}

// Every recording decodes to its values. allMids holds mean prices only, and is not read.
func TestRecordings(t *testing.T) {
	left := recordings(t)
	for name, body := range left {
		if strings.HasPrefix(name, "candle") {
			got, err := decode(Perps, body)
			if want := oracle(body); err != nil || len(got) < 1 || !slices.Equal(got, want) {
				t.Errorf("%s: %v, %v, want %v", name, got, err, want)
			}
		}
	}
	if body, ok := left["meta"]; ok { // without the states, which a list needs
		var meta struct {
			Universe []struct {
				Name       string
				SzDecimals int
			}
		}
		if err := json.Unmarshal([]byte(body), &meta); err != nil {
			t.Fatal(err)
		}
		states := strings.TrimSuffix(strings.Repeat(`{"dayNtlVlm":"1.5"},`, len(meta.Universe)), ",")
		got, err := list(t, Perps, replies{"/info": `[` + body + `,[` + states + `]]`})
		var want []service.Symbol
		for _, p := range meta.Universe {
			want = append(want, perp(p.Name, 6-p.SzDecimals, 1.5))
		}
		slices.SortFunc(want, func(a, b service.Symbol) int { return strings.Compare(a.Name, b.Name) })
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%v\n%+v, want\n%+v", err, got, want)
		}
	}
	if body, ok := left["ccxt_comment_fetchSwapMarkets_0"]; ok {
		got, err := list(t, Perps, replies{"/info": body})
		if want := []service.Symbol{perp("SOL", 4, 9450588.2273)}; err != nil || !slices.Equal(got, want) {
			t.Errorf("%v, %+v", err, got)
		}
	}
	token, state := left["ccxt_comment_fetchSpotMarkets_1"], left["ccxt_comment_parseTicker_0"]
	if token != "" && state != "" {
		got, err := list(t, Spot, replies{"/info": `[{"universe":[{"tokens":[1,0],"name":"PURR","index":0}],"tokens":[` + token +
			`,{"name":"USDC","index":0,"szDecimals":8}]},[` + state + `]]`})
		want := []service.Symbol{{
			Name: "PURR", Base: "PURR", Quote: "USDC", Trading: true, Status: "listed",
			Tick: service.Tick{Units: 1, Decimals: 8}, Digits: 5, QuoteVolume: 511297257.47936022,
		}}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%v, %+v", err, got)
		}
	}
}

func perp(name string, decimals int, volume float64) service.Symbol {
	return service.Symbol{
		Name: name, Base: name, Quote: "USDC", Settle: "USDC", Trading: true, Status: "listed",
		Tick: service.Tick{Units: 1, Decimals: decimals}, Digits: 5, QuoteVolume: volume,
	}
}

func TestListing_DelistedPerpetualsStayAndDoNotTrade(t *testing.T) {
	got, err := list(t, Perps, replies{"/info": `[{"marginTables":[[1,{"description":""}]],"collateralToken":0,"universe":[` +
		`{"szDecimals":5,"name":"BTC","maxLeverage":40,"marginTableId":56},{"szDecimals":1,"name":"MATIC","maxLeverage":20,"isDelisted":true},` +
		`{"name":"kPEPE","szDecimals":0}]},[{"dayNtlVlm":"7"},{"dayNtlVlm":"0.0","midPx":null},{"dayNtlVlm":"3"}]]`})
	gone := perp("MATIC", 5, 0)
	gone.Trading, gone.Status = false, "delisted"
	if want := []service.Symbol{perp("BTC", 1, 7), gone, perp("kPEPE", 6, 3)}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%+v, want\n%+v", err, got, want)
	}
	if name := got[2].Canonical(); name != "kPEPE/USDC:USDC" {
		t.Error(name)
	}
}

// The states are found by name, and the tokens by number, not by their places. A token
// that is not listed leaves its pair out.
func TestListing_SpotIsJoinedByNamesAndNumbers(t *testing.T) {
	got, err := list(t, Spot, replies{"/info": `[{"universe":[` +
		`{"tokens":[1,0],"name":"PURR/USDC","index":0,"isCanonical":true},{"tokens":[197,0],"name":"@142","index":142},` +
		`{"tokens":[479,0],"name":"@367","index":367},{"tokens":[150,268],"name":"@207","index":207}],"tokens":[` +
		`{"name":"USDC","szDecimals":8,"index":0},{"name":"HYPE","szDecimals":2,"index":150},{"name":"PURR","szDecimals":0,"index":1},` +
		`{"name":"UBTC","szDecimals":5,"index":197},{"name":"USDT0","szDecimals":2,"index":268}]},` +
		`[{"coin":"#0","dayNtlVlm":"99"},{"dayNtlVlm":"30","coin":"@207"},{"coin":"@142","dayNtlVlm":"20"},{"coin":"PURR/USDC","dayNtlVlm":"10"}]]`})
	want := []string{"@142 BTC/USDC 3 20", "@207 HYPE/USDT 6 30", "PURR/USDC PURR/USDC 8 10"}
	var all []string
	for _, s := range got {
		all = append(all, fmt.Sprint(s.Name, " ", s.Canonical(), " ", s.Tick.Decimals, " ", s.QuoteVolume))
		if s.Kind() != "spot" || s.Digits != 5 || !s.Trading {
			t.Errorf("%+v", s)
		}
	}
	if err != nil || !slices.Equal(all, want) {
		t.Errorf("%v, %q, want %q", err, all, want)
	}
}

func TestListing_RefusesWhatItIsNot(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":              "",
		"null":                 "null",
		"an object":            `{}`,
		"no states":            `[{"universe":[{"name":"A","szDecimals":1}]}]`,
		"fewer states":         `[{"universe":[{"name":"A","szDecimals":1},{"name":"B","szDecimals":1}]},[{"dayNtlVlm":"1"}]]`,
		"more states":          `[{"universe":[{"name":"A","szDecimals":1}]},[{"dayNtlVlm":"1"},{"dayNtlVlm":"1"}]]`,
		"no pairs":             `[{"universe":[]},[]]`,
		"no size":              `[{"universe":[{"name":"A"}]},[{"dayNtlVlm":"1"}]]`,
		"no name":              `[{"universe":[{"szDecimals":1}]},[{"dayNtlVlm":"1"}]]`,
		"cut off":              `[{"universe":[{"name":"A","szDecimals":1}]},[{"dayNtlVlm":"1"}]`,
		"more after the end":   `[{"universe":[{"name":"A","szDecimals":1}]},[{"dayNtlVlm":"1"}]][]`,
		"tokens of one number": `[{"universe":[{"name":"A","szDecimals":1,"tokens":[1]}]},[{"dayNtlVlm":"1"}]]`,
	} {
		for _, v := range []exchange.Venue{Perps, Spot} {
			if got, err := list(t, v, replies{"/info": body}); err == nil {
				t.Errorf("%s: %+v", name, got)
			}
		}
	}
}

func TestRequests(t *testing.T) {
	const hour = 3_600_000
	for _, tt := range []struct {
		got  exchange.Call
		want string
		cost int
	}{
		{Perps.Listing(0, ""), `{"type":"metaAndAssetCtxs"}`, 20},
		{Spot.Listing(0, ""), `{"type":"spotMetaAndAssetCtxs"}`, 20},
		{Perps.Spec().Clock, `{"type":"exchangeStatus"}`, 2},
		{
			Spot.Klines("PURR/USDC", intervals["1h"], exchange.Window{From: hour, Through: 3*hour - 1, Rows: 2}),
			`{"type":"candleSnapshot","req":{"coin":"PURR/USDC","interval":"1h","startTime":3600000,"endTime":10799999}}`, 21,
		},
		{
			Perps.Klines("kPEPE", intervals["1d"], exchange.Window{From: 24 * hour, Through: 5000 * 24 * hour, Rows: 5000}),
			`{"type":"candleSnapshot","req":{"coin":"kPEPE","interval":"1d","startTime":86400000,"endTime":432000000000}}`, Perps.Spec().Heaviest[0],
		},
		{Perps.Klines("", exchange.Native{}, exchange.Window{From: -5, Through: -1}), `{"type":"candleSnapshot","req":{"coin":"","interval":"","startTime":0,"endTime":0}}`, 21},
	} {
		if tt.got.Body != tt.want || tt.got.Path != "info" || tt.got.Query != "" || tt.got.Cost != (exchange.Cost{tt.cost}) {
			t.Errorf("%+v, want %s, %d", tt.got, tt.want, tt.cost)
		}
	}
}

func TestRefusals(t *testing.T) {
	text := "Failed to deserialize the JSON body into the target type: req.startTime: invalid value"
	refused, ok := errors.AsType[*exchange.Refusal](Perps.Refuse(http.StatusUnprocessableEntity, nil, []byte(text+"\n")))
	if !ok || refused.Err != service.ErrExchange || refused.Msg != text || refused.Venue != "Hyperliquid" {
		t.Errorf("%+v", refused)
	}
	for _, page := range []string{"", "null", "<html></html>"} {
		if err := Perps.Refuse(http.StatusInternalServerError, nil, []byte(page)); err != nil {
			t.Errorf("%q: %v", page, err)
		}
	}
	if _, err := decode(Spot, "null"); !errors.Is(err, service.ErrExchange) {
		t.Errorf("null instead of candles: %v", err)
	}
}

func TestDecodeClock(t *testing.T) {
	for body, want := range map[string]int64{`{"specialStatuses":null,"time":1788312923270}`: 1788312923270, `{"time":5,"specialStatuses":[{"a":1}]}`: 5, `{}`: 0} {
		if got, err := Perps.DecodeClock(scan(body)); got != want || err != nil {
			t.Errorf("%s: %d, %v", body, got, err)
		}
	}
	if _, err := Perps.DecodeClock(scan("null")); err == nil {
		t.Error("null is a time")
	}
}

func TestDecodeKlines_RefusesWhatItIsNot(t *testing.T) {
	row := `{"t":3600000,"T":7199999,"s":"BTC","i":"1h","o":"1","c":"1.5","h":"2","l":"0.5","v":"10","n":3}`
	for name, body := range map[string]string{
		"an array":      `[[3600000,"1"]]`,
		"an object":     `{"error":"no"}`,
		"an empty row":  `[{}]`,
		"a bad price":   strings.Replace("["+row+"]", `"2"`, `"NaN"`, 1),
		"a null volume": strings.Replace("["+row+"]", `"10"`, `null`, 1),
		"more":          "[" + row + "][]",
	} {
		if got, err := decode(Perps, body); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, key := range []string{"t", "o", "h", "l", "c", "v"} {
		if got, err := decode(Perps, strings.Replace("["+row+"]", `"`+key+`":`, `"x":`, 1)); err == nil {
			t.Errorf("without %s: %v", key, got)
		}
	}
	whole := "[" + row + "," + row + "]"
	for i := range len(whole) {
		if got, err := decode(Perps, whole[:i]); err == nil {
			t.Errorf("cut at %d: %v", i, got)
		}
	}
	stop := errors.New("stop")
	if err := Perps.DecodeKlines(scan(whole), exchange.Native{}, func(levels.Candle) error { return stop }); err != stop {
		t.Errorf("%v", err)
	}
}

// page is a response of n rows as the venue writes them.
func page(n int) string {
	var b strings.Builder
	b.WriteByte('[')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		open := 1_684_699_200_000 + int64(i)*3_600_000
		fmt.Fprintf(&b, `{"t":%d,"T":%d,"s":"kPEPE","i":"1h","o":"0.001601","c":"0.001604","h":"0.001616","l":"0.001601","v":"520665683.0","n":709}`, open, open+3_599_999)
	}
	b.WriteByte(']')
	return b.String()
}

func BenchmarkDecodeKlines(b *testing.B) {
	body := page(5_000)
	buf := make([]byte, 32<<10)
	r := strings.NewReader(body)
	n := 0
	count := func(levels.Candle) error { n++; return nil }
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(body)
		n = 0
		if err := Perps.DecodeKlines(exchange.NewScanner(r, buf), exchange.Native{}, count); err != nil || n != 5_000 {
			b.Fatal(n, err)
		}
	}
}

func TestDecodeKlines_AllocatesAtMostTwice(t *testing.T) {
	body, buf := page(300), make([]byte, 32<<10)
	r := strings.NewReader(body)
	if n := testing.AllocsPerRun(20, func() {
		r.Reset(body)
		if err := Perps.DecodeKlines(exchange.NewScanner(r, buf), exchange.Native{}, func(levels.Candle) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecodeKlines(f *testing.F) {
	f.Add(page(2))
	f.Add(`[{"T":1,"c":"1e3","h":2,"i":"1h","l":"1","n":7,"o":"1.5","s":"A","t":"5","v":"-0"},{"t":1,"t":2,"o":1,"h":1,"l":1,"c":1,"v":1}]`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, body string) {
		got, err := decode(Perps, body)
		if err != nil {
			return
		}
		if !json.Valid([]byte(body)) {
			t.Fatalf("%q is accepted", body)
		}
		if want := oracle(body); want != nil && !slices.Equal(got, want) {
			t.Fatalf("%q: %v, want %v", body, got, want)
		}
	})
}

func FuzzDecodeListing(f *testing.F) {
	f.Add(`[{"universe":[{"name":"A","szDecimals":1,"tokens":[0,1],"isDelisted":false}],"tokens":[{"name":"A","index":0,"szDecimals":2}]},[{"coin":"A","dayNtlVlm":"1"}]]`)
	f.Fuzz(func(t *testing.T, body string) {
		for _, v := range []exchange.Venue{Perps, Spot} {
			dst := new(exchange.Listing)
			if err := v.DecodeListing(0, scan(body), dst); err == nil && !json.Valid([]byte(body)) {
				t.Fatalf("%q is accepted", body)
			}
		}
	})
}

// unlimited is a market with so large budgets that a test need not wait.
type unlimited struct {
	exchange.Venue
	spec exchange.Spec
}

func (u *unlimited) Spec() *exchange.Spec { return &u.spec }

func withoutLimits(v exchange.Venue) exchange.Venue {
	u := &unlimited{v, *v.Spec()}
	u.spec.Budgets = slices.Clone(u.spec.Budgets)
	for i := range u.spec.Budgets {
		u.spec.Budgets[i].Limit *= 1_000
	}
	return u
}

// The client reads exactly the simulated market: the pairs, the volumes, and the candles
// of every interval, its own and merged ones. A market has the same candles at every
// venue, so those of Binance are what to expect.
func TestClient_ReadsTheSimulatedMarket(t *testing.T) {
	now := time.Date(2026, 11, 20, 10, 30, 7, 0, time.UTC)
	connect := func(v exchange.Venue) *exchange.Client {
		server := httptest.NewServer(simulated.New(simulated.Options{
			Venue: v.Spec().Name, Pairs: 8, LimitTimes: 1_000, Now: func() time.Time { return now },
		}))
		t.Cleanup(server.Close)
		base, err := url.Parse(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		c := exchange.New(v, exchange.Config{BaseURL: base})
		t.Cleanup(c.Close)
		return c
	}
	candles := func(c *exchange.Client, symbol string, i levels.Interval, from time.Time) (all []levels.Candle) {
		t.Helper()
		var dst levels.Candles
		dst.Reset(i, 6_000)
		if err := c.Candles(t.Context(), symbol, from.UnixMilli(), &dst, make([]byte, 32<<10)); err != nil {
			t.Fatalf("%s %s: %v", symbol, i, err)
		}
		for n := range dst.Len() {
			all = append(all, dst.At(n))
		}
		return all
	}
	perps, spot, other := connect(Perps), connect(Spot), connect(binance.Spot)
	for _, c := range []*exchange.Client{perps, spot} {
		of := c.Spec().Name
		pairs := map[string]service.Symbol{}
		for s, err := range c.Symbols(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			pairs[s.Base] = s
		}
		btc := pairs["BTC"]
		if len(pairs) < 18 || btc.Quote != "USDC" || btc.QuoteVolume < 1e6 || pairs["XEM"].Trading != (c == spot) || (btc.Settle == "") != (c == spot) {
			t.Errorf("%s: %d pairs: %+v, %+v", of, len(pairs), btc, pairs["XEM"])
		}
		if s, err := c.Symbol(t.Context(), btc.Canonical()); err != nil || s.Name != btc.Name {
			t.Errorf("%s: %+v, %v", of, s, err)
		}
		for _, i := range levels.Intervals() {
			got := candles(c, btc.Name, i, now.Add(-700*i.Duration()))
			want := candles(other, "BTCUSDT", i, now.Add(-700*i.Duration()))
			same := slices.EqualFunc(got, want, func(a, b levels.Candle) bool {
				if math.Abs(a.Volume-b.Volume) < 1e-9*b.Volume { // a sum of floats
					a.Volume = b.Volume
				}
				return a == b
			})
			if len(got) < 380 || !same {
				t.Errorf("%s %s: %d candles, want %d", of, i, len(got), len(want))
			}
		}
		all := candles(c, btc.Name, "1h", time.Time{})
		if n := int64(len(all)); n < 4_900 || all[0].OpenTime < now.Add(-5_000*time.Hour).UnixMilli() {
			t.Errorf("%s: %d candles from %v", of, n, time.UnixMilli(all[0].OpenTime))
		}
		form, err := c.Forming(t.Context(), btc.Name, "1h")
		if err != nil || form == nil || form.OpenTime != now.Truncate(time.Hour).UnixMilli() {
			t.Errorf("%s: %+v, %v", of, form, err)
		}
	}
}

// Faulty responses are requested again, and change nothing.
func TestClient_FaultsChangeNothing(t *testing.T) {
	now := time.Date(2026, 11, 20, 10, 30, 7, 0, time.UTC)
	read := func(spec string, times int) (all [][]levels.Candle, faults map[string]int) {
		f, err := simulated.ParseFaults(spec)
		if err != nil {
			t.Fatal(err)
		}
		v := withoutLimits(Perps)
		s := simulated.New(simulated.Options{Venue: v.Spec().Name, Pairs: 4, LimitTimes: 1_000, Now: func() time.Time { return now }, Faults: f})
		server := httptest.NewServer(s)
		defer server.Close()
		base, err := url.Parse(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		c := exchange.New(v, exchange.Config{BaseURL: base, Attempts: 12})
		defer c.Close()
		for range times {
			var dst levels.Candles
			dst.Reset("1h", 300)
			if err := c.Candles(t.Context(), "BTC", now.Add(-250*time.Hour).UnixMilli(), &dst, make([]byte, 32<<10)); err != nil {
				t.Fatal(err)
			}
			var page []levels.Candle
			for n := range dst.Len() {
				page = append(page, dst.At(n))
			}
			all = append(all, page)
		}
		return all, s.Stats().Faults
	}
	want, _ := read("", 1)
	got, faults := read("500=0.05,envelope=0.05,malformed=0.05,truncated=0.05,nan=0.05,highlow=0.05,repeat=0.05,unordered=0.05,short=0.05", 10)
	for _, page := range got {
		if len(page) < 240 || !slices.Equal(page, want[0]) {
			t.Fatalf("%d candles, want %d, %v", len(page), len(want[0]), faults)
		}
	}
	if len(faults) < 2 {
		t.Errorf("only %v", faults)
	}
}

package kucoin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark/exchange"
	"tidemark/exchange/exchangetest"
	"tidemark/levels"
	"tidemark/service"
)

func envelope(data string) string { return `{"code":"200000","data":` + data + `}` }

// oracle reads candles with encoding/json.
func oracle(v exchange.Venue, body string) ([]levels.Candle, bool) {
	rows := exchangetest.Member([]byte(body), "data")
	if v == Futures {
		return exchangetest.Rows(rows, 1, 6, 0, 1, 2, 3, 4, 5)
	}
	return exchangetest.Rows(rows, 1000, 6, 0, 1, 3, 4, 2, 5)
}

func TestRecordings_AreDecoded(t *testing.T) {
	others := map[string]string{
		"NEGATIVE_futures_kline_shape": "values of another exchange",
		"ccxt_comment_fetchMarkets_1":  "pairs of margin trading, of another endpoint",
		"ccxt_comment_fetchTicker_2":   "of the unified API",
		"ccxt_comment_fetchTickers_0":  "of the unified API",
		"docs_Unified_GetKlines":       "of the unified API",
		"docs_ws_kline_8hour":          "a feed",
		"ws_candles_1min":              "a feed",
		"error_400100_validation":      "see TestRefuse",
		"error_429000":                 "see TestRefuse",
	}
	pairs := envelope(`[{"symbol":"BTC-USDT","name":"BTC-USDT","baseCurrency":"BTC","quoteCurrency":"USDT","market":"USDS","priceIncrement":"0.1","enableTrading":true}]`)
	for name, body := range exchangetest.Bodies(t, "kucoin") {
		switch {
		case others[name] != "":
		case strings.Contains(name, "andles_") || strings.HasSuffix(name, "Klines"):
			v, futures := Spot, strings.Contains(name, "Futures")
			if futures {
				v = Futures
			}
			exchangetest.Agrees(t, name, v, body, oracle)
		case strings.Contains(strings.ToLower(name), "symbols"), name == "ccxt_comment_fetchMarkets_0":
			if !strings.Contains(body, `"code"`) {
				body = envelope("[" + body + "]")
			}
			got, err := exchangetest.ListFrom(t, Spot, exchangetest.Replies{"/api/v2/symbols": body, "/api/v1/market/allTickers": envelope(`{"time":1,"ticker":[]}`), "/api/v1/timestamp": envelope("1700000000000")})
			var want struct {
				Data []struct {
					Symbol, Name, BaseCurrency, QuoteCurrency, PriceIncrement string
					EnableTrading                                             bool
				}
			}
			if err := json.Unmarshal([]byte(body), &want); err != nil {
				t.Fatal(err)
			}
			if err != nil || len(got) != len(want.Data) {
				t.Fatalf("%s: %d pairs, %v", name, len(got), err)
			}
			for _, w := range want.Data {
				i := slices.IndexFunc(got, func(s service.Symbol) bool { return s.Name == w.Symbol })
				tick, _ := exchange.ParseTick([]byte(w.PriceIncrement))
				base, _, _ := strings.Cut(w.Name, "-")
				if i < 0 || got[i].Base != base || got[i].Quote != w.QuoteCurrency || got[i].Tick != tick || got[i].Trading != w.EnableTrading || got[i].Kind() != "spot" {
					t.Errorf("%s: %+v", name, w)
				}
			}
		default: // 24 h volumes
			if !strings.Contains(body, `"code"`) {
				body = envelope(`{"ticker":[` + body + `]}`)
			} else if !strings.Contains(body, `"ticker"`) {
				body = strings.Replace(strings.TrimSuffix(strings.TrimSpace(body), "}"), `"data":`, `"data":{"ticker":[`, 1) + "]}}"
			}
			got, err := exchangetest.ListFrom(t, Spot, exchangetest.Replies{"/api/v2/symbols": pairs, "/api/v1/market/allTickers": body, "/api/v1/timestamp": envelope("1700000000000")})
			if err != nil || len(got) != 1 || got[0].QuoteVolume != 25984946.157790431 {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
	}
}

func TestKlines_RequestsAWindow(t *testing.T) {
	const hour = 3_600_000
	from := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC).UnixMilli()
	w := exchange.Window{From: from, Through: from + 3*hour - 1, Rows: 3, Step: hour}
	off := exchange.Window{From: from + 1, Through: from + 3*hour, Rows: 3, Step: hour}
	for _, c := range []struct {
		venue exchange.Venue
		w     exchange.Window
		want  string
	}{
		{Spot, w, "api/v1/market/candles?symbol=BTC-USDT&type=1hour&startAt=1793577600&endAt=1793588400"},
		{Spot, off, "api/v1/market/candles?symbol=BTC-USDT&type=1hour&startAt=1793577601&endAt=1793592000"},
		{Futures, w, "api/v1/kline/query?symbol=BTC-USDT&granularity=60&from=1793577600000&to=1793588400000"},
	} {
		call := c.venue.Klines("BTC-USDT", c.venue.Spec().Intervals["1h"], c.w)
		if got := call.Path + "?" + call.Query; got != c.want || call.Cost != (exchange.Cost{3}) {
			t.Errorf("%s, cost %v\nwant %s", got, call.Cost, c.want)
		}
		c.venue.Klines("", exchange.Native{}, exchange.Window{})
	}
}

func TestDecodeKlines_Order(t *testing.T) {
	want := levels.Candle{OpenTime: 1757659080000, Open: 1, High: 4, Low: 0.5, Close: 2, Volume: 602}
	for body, v := range map[string]exchange.Venue{
		envelope(`[["1757659080","1","2","4","0.5","602","69424.9528"]]`):       Spot,
		`{"data":[["1757659080","1","2","4","0.5","602","6"]],"code":"200000"}`: Spot,
		envelope(`[[1757659080000,1,4,0.5,2,602,69424.9528]]`):                  Futures,
		envelope(`[[1757659080000,1.0,4,5E-1,2,602]]`):                          Futures,
	} {
		if got, err := exchangetest.Decode(v, body); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s: %v, %v", body, got, err)
		}
	}
	if got, err := exchangetest.Decode(Spot, envelope("[]")); len(got) != 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestDecodeKlines_RefusesWhatIsNotComplete(t *testing.T) {
	for body, v := range map[string]exchange.Venue{
		envelope(`[["1757659080","1","2","4","0.5","602"]]`):     Spot,
		envelope(`[[1757659080000,1,4,0.5,2]]`):                  Futures,
		envelope(`[["1757659080","1","2","NaN","0.5","6","1"]]`): Spot,
		envelope(`null`):    Spot,
		`{"code":"200000"}`: Futures,
		`[]`:                Spot,
		`{"code":"200000","data":[["1757659080","1"`: Spot,
		envelope(`[]`) + "x":                         Spot,
	} {
		if got, err := exchangetest.Decode(v, body); err == nil {
			t.Errorf("%s: %v", body, got)
		}
	}
}

func TestRefuse_AndRefusalsIn200(t *testing.T) {
	for _, c := range []struct {
		venue exchange.Venue
		body  string
		want  error
	}{
		{Spot, `{"code":"400100","msg":"This pair is not provided at present"}`, service.ErrUnknownSymbol},
		{Spot, `{"msg":"Incorrect candlestick type.","code":"400100","data":null}`, levels.ErrUnknownInterval},
		{Spot, `{"code":"900001","msg":"Trading pair NOPE-USDT does not exist"}`, service.ErrUnknownSymbol},
		{Spot, `{"msg":"pageSize should not greater than 500","code":"400100"}`, service.ErrExchange},
		{Spot, `{"code":"429000","msg":"Too Many Requests"}`, service.ErrRateLimited},
		{Futures, `{"code":"429000","msg":"throttled","data":[]}`, service.ErrRateLimited},
		{Futures, `{"code":"404000","msg":"The contract information you requested does not exist"}`, service.ErrUnknownSymbol},
		{Futures, `{"code":"404000","msg":"Url Not Found"}`, service.ErrExchange},
		{Futures, `{"code":"300000","msg":"Invalid granularity"}`, levels.ErrUnknownInterval},
		{Spot, `{"code":"500000","msg":"Internal Server Error"}`, service.ErrExchange},
	} {
		refused, ok := errors.AsType[*exchange.Refusal](c.venue.Refuse(400, http.Header{}, []byte(c.body)))
		if !ok || refused.Err != c.want || refused.Code == "" || refused.Msg == "" {
			t.Errorf("%s: %+v, want %v", c.body, refused, c.want)
		}
		_, err := exchangetest.Decode(c.venue, c.body)
		if !errors.Is(err, c.want) {
			t.Errorf("klines %s: %v, want %v", c.body, err, c.want)
		}
		if _, err := c.venue.DecodeClock(exchangetest.Scan(c.body)); !errors.Is(err, c.want) {
			t.Errorf("clock %s: %v, want %v", c.body, err, c.want)
		}
		if err := c.venue.DecodeListing(0, exchangetest.Scan(c.body), new(exchange.Listing)); !errors.Is(err, c.want) {
			t.Errorf("list %s: %v, want %v", c.body, err, c.want)
		}
	}
	exchangetest.RefusesPages(t, Spot, 403, "", "<html>", `{"error":1}`, `"x"`, envelope("[]"))
	h := http.Header{}
	h.Set("gw-ratelimit-reset", "1234")
	paused, ok := errors.AsType[*exchange.Pause](Spot.Refuse(429, h, []byte(`{"code":"429000","msg":"Too Many Requests"}`)))
	if !ok || paused.For != 1234*time.Millisecond || paused.Err != service.ErrRateLimited {
		t.Errorf("%+v", paused)
	}
	for _, name := range []string{"error_400100_validation", "error_429000"} {
		if body, ok := exchangetest.Bodies(t, "kucoin")[name]; ok && Spot.Refuse(400, http.Header{}, []byte(body)) == nil {
			t.Errorf("%s is not understood", name)
		}
	}
}

func TestUsage_ReadsTheHeaders(t *testing.T) {
	for remaining, want := range map[string]int{"1997": 1, "": 0, "-3": 0, "x": 0} {
		h, n := http.Header{}, 0
		h.Set("gw-ratelimit-limit", "2000")
		h.Set("gw-ratelimit-remaining", remaining)
		Futures.Usage(h, func(u exchange.Usage) {
			n++
			if u != (exchange.Usage{Used: -1, Remaining: 1997, Limit: 2000}) {
				t.Errorf("%+v", u)
			}
		})
		if n != want {
			t.Errorf("%q: %d usages", remaining, n)
		}
	}
}

func TestDecodeClock(t *testing.T) {
	if ms, err := Spot.DecodeClock(exchangetest.Scan(envelope("1546837113087"))); ms != 1546837113087 || err != nil {
		t.Error(ms, err)
	}
}

func TestListing_MarksLeveragedTokensAndFollowsRenames(t *testing.T) {
	pair := func(id, name, zone string) string {
		base, quote, _ := strings.Cut(id, "-")
		return fmt.Sprintf(`{"symbol":%q,"name":%q,"baseCurrency":%q,"quoteCurrency":%q,"market":%q,"priceIncrement":"0.0010","enableTrading":true,"st":false}`, id, name, base, quote, zone)
	}
	got, err := exchangetest.ListFrom(t, Spot, exchangetest.Replies{
		"/api/v2/symbols": envelope("[" + strings.Join([]string{pair("BCHSV-USDT", "BSV-USDT", "USDS"), pair("BTCUP-USDT", "BTCUP-USDT", "ETF"),
			pair("ETH3S-USDT", "ETH3S-USDT", "USDS"), pair("A3L-USDT", "A3L-USDT", "USDS"), pair("SOL-BTC", "SOL-BTC", "BTC")}, ",") + "]"),
		"/api/v1/market/allTickers": envelope(`{"time":1,"ticker":[{"symbol":"SOL-BTC","vol":null,"volValue":null},{"symbol":"BCHSV-USDT","volValue":"12.5"},{"symbol":"GONE-USDT","volValue":"1"}]}`),
		"/api/v1/timestamp":         envelope("1700000000000"),
	})
	if err != nil {
		t.Fatal(err)
	}
	tick := service.Tick{Units: 1, Decimals: 3}
	want := []service.Symbol{
		{Name: "A3L-USDT", Base: "A3L", Quote: "USDT", Trading: true, Status: "enabled", Tick: tick},
		{Name: "BCHSV-USDT", Base: "BSV", Quote: "USDT", Trading: true, Status: "enabled", Tick: tick, QuoteVolume: 12.5},
		{Name: "BTCUP-USDT", Base: "BTCUP", Quote: "USDT", Trading: true, Status: "enabled", Tick: tick, Unusual: service.Leveraged},
		{Name: "ETH3S-USDT", Base: "ETH3S", Quote: "USDT", Trading: true, Status: "enabled", Tick: tick, Unusual: service.Leveraged},
		{Name: "SOL-BTC", Base: "SOL", Quote: "BTC", Trading: true, Status: "enabled", Tick: tick},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestListing_Contracts(t *testing.T) {
	got, err := exchangetest.ListFrom(t, Futures, exchangetest.Replies{"/api/v1/contracts/active": envelope(`[
		{"symbol":"XBTUSDTM","expireDate":null,"baseCurrency":"XBT","quoteCurrency":"USDT","settleCurrency":"USDT","tickSize":1.0,"multiplier":0.001,"isInverse":false,"status":"Open","turnoverOf24h":751931474.32877920,"volumeOf24h":25408.11100000},
		{"symbol":"XBTUSDM","expireDate":null,"baseCurrency":"XBT","quoteCurrency":"USD","settleCurrency":"XBT","tickSize":0.5,"multiplier":-1.0,"isInverse":true,"status":"Open","turnoverOf24h":480.86258578,"volumeOf24h":14215097.00000000},
		{"symbol":"XBTMU26","expireDate":1790323200000,"baseCurrency":"XBT","quoteCurrency":"USD","settleCurrency":"XBT","tickSize":0.1,"multiplier":-1.0,"isInverse":true,"status":"Open","turnoverOf24h":1,"volumeOf24h":10},
		{"symbol":"AIXBTUSDTM","expireDate":null,"baseCurrency":"AIXBT","quoteCurrency":"USDT","settleCurrency":"USDT","tickSize":1E-7,"multiplier":1,"isInverse":false,"status":"Paused","turnoverOf24h":null,"volumeOf24h":null},
		{"symbol":"TSLAUSDTM","expireDate":null,"baseCurrency":"TSLA","quoteCurrency":"USDT","settleCurrency":"USDT","tickSize":0.01,"multiplier":1,"isInverse":false,"status":"Open","assetClass":"STOCK","turnoverOf24h":5,"volumeOf24h":1},
		{"symbol":"NEWUSDTM","marketStage":"PRE_MARKET","assetClass":"CRYPTO","expireDate":null,"baseCurrency":"NEW","quoteCurrency":"USDT","settleCurrency":"USDT","tickSize":0.01,"multiplier":1,"isInverse":false,"status":"Open","turnoverOf24h":5,"volumeOf24h":1}]`),
		"/api/v1/timestamp": envelope("1700000000000")})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]service.Symbol{
		"BTC/USDT:USDT":      {Name: "XBTUSDTM", Trading: true, Status: "Open", Tick: service.Tick{Units: 1}, QuoteVolume: 751931474.3287792},
		"BTC/USD:BTC":        {Name: "XBTUSDM", Trading: true, Status: "Open", Tick: service.Tick{Units: 5, Decimals: 1}, QuoteVolume: 14215097},
		"BTC/USD:BTC-260925": {Name: "XBTMU26", Trading: true, Status: "Open", Tick: service.Tick{Units: 1, Decimals: 1}, QuoteVolume: 10, Unusual: service.Dated},
		"AIXBT/USDT:USDT":    {Name: "AIXBTUSDTM", Status: "Paused", Tick: service.Tick{Units: 1, Decimals: 7}},
		"TSLA/USDT:USDT":     {Name: "TSLAUSDTM", Trading: true, Status: "Open", Tick: service.Tick{Units: 1, Decimals: 2}, QuoteVolume: 5, Unusual: service.Stock},
		"NEW/USDT:USDT":      {Name: "NEWUSDTM", Trading: true, Status: "Open", Tick: service.Tick{Units: 1, Decimals: 2}, QuoteVolume: 5, Unusual: service.PreListing},
	}
	for _, s := range got {
		w, ok := want[s.Canonical()]
		w.Base, w.Quote, w.Settle, w.Expiry = s.Base, s.Quote, s.Settle, s.Expiry
		if !ok || s != w {
			t.Errorf("%s: %+v, want %+v", s.Canonical(), s, w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d contracts", len(got))
	}
}

func TestParseTick_OfNumbers(t *testing.T) {
	for text, want := range map[string]service.Tick{
		"0.05": {Units: 5, Decimals: 2}, "1.0": {Units: 1}, "1E-7": {Units: 1, Decimals: 7}, "2.50e-5": {Units: 25, Decimals: 6}, "1E+1": {Units: 10},
	} {
		if got, err := parseTick([]byte(text)); got != want || err != nil {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "1E", "1Ex", "1E-19", "1E7", "-1E-2", "null"} {
		if got, err := parseTick([]byte(text)); err == nil {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

// page is a full page of klines.
func page(futures bool) string {
	var b strings.Builder
	b.WriteString(`{"code":"200000","data":[`)
	rows := 1500
	if futures {
		rows = 200
	}
	for i := range rows {
		if i > 0 {
			b.WriteByte(',')
		}
		if futures {
			fmt.Fprintf(&b, "[%d,%d.4,%d.9,%d.2,%d.1,%d,%d.9528]", 1757659080000+60_000*int64(i), 115328+i%97, 115400+i%97, 115200+i%97, 115300+i%97, 602+i, 69424+i)
		} else {
			fmt.Fprintf(&b, `["%d","%d.4","%d.1","%d.9","%d.2","%d.98832561","%d.4761861"]`, 1757659080-60*i, 115328+i%97, 115300+i%97, 115400+i%97, 115200+i%97, 18+i, 69424+i)
		}
	}
	b.WriteString("]}")
	return b.String()
}

func BenchmarkDecodeKlines(b *testing.B) {
	b.Run("spot", func(b *testing.B) { exchangetest.BenchmarkKlines(b, Spot, page(false), 1500) })
	b.Run("futures", func(b *testing.B) { exchangetest.BenchmarkKlines(b, Futures, page(true), 200) })
}

func FuzzDecodeKlines(f *testing.F) {
	f.Add(envelope(`[["1757659080","1","2","4","0.5","602","69424.9528"]]`))
	f.Add(envelope(`[[1757659080000,1,4,0.5,2,602,69424.9528],[1757659140000,1,4,0.5,2,6]]`))
	f.Add(`{"data":[],"code":"400100","msg":"This pair is not provided at present"}`)
	exchangetest.FuzzKlines(f, oracle, "data", Spot, Futures)
}

func FuzzDecodeListing(f *testing.F) {
	f.Add(envelope(`[{"symbol":"A-B","name":"A-B","baseCurrency":"A","quoteCurrency":"B","market":"ETF","priceIncrement":"0.1","enableTrading":true}]`))
	f.Add(envelope(`{"time":1,"ticker":[{"symbol":"A-B","volValue":"1"}]}`))
	f.Add(envelope(`[{"symbol":"XBTUSDM","expireDate":1790323200000,"baseCurrency":"XBT","quoteCurrency":"USD","settleCurrency":"XBT","tickSize":1E-7,"multiplier":-1,"isInverse":true,"status":"Open","volumeOf24h":1}]`))
	exchangetest.FuzzListing(f, Spot, Futures)
}

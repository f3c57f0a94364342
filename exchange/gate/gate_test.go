package gate

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

// oracle reads candles with encoding/json.
func oracle(v exchange.Venue, body string) ([]levels.Candle, bool) {
	if v == Futures {
		return exchangetest.Objects([]byte(body), 1000, "t", "o", "h", "l", "c", "v")
	}
	return exchangetest.Rows([]byte(body), 1000, 7, 0, 5, 3, 4, 2, 6)
}

const serverTime = `{"server_time":1700000000000}`

func TestRecordings_AreDecoded(t *testing.T) {
	others := map[string]string{
		"ws_candlesticks_1m":              "messages of the feed, see TestStream_Recordings",
		"ccxt_comment_fetchSpotMarkets_1": "pairs of margin trading, of another endpoint",
	}
	quiet := `[{"currency_pair":"X_Y","quote_volume":"0"}]`
	for name, body := range exchangetest.Bodies(t, "gate") {
		switch name {
		case "candlestick_row_ccxt", "candlesticks_BTC_USDT_1h":
			exchangetest.Agrees(t, name, Spot, body, oracle)
		case "currency_pairs_2021", "ccxt_comment_fetchSpotMarkets_0":
			if body[0] == '{' {
				body = "[" + body + "]"
			}
			got, err := exchangetest.ListFrom(t, Spot, exchangetest.Replies{"/api/v4/spot/currency_pairs": body, "/api/v4/spot/tickers": quiet, "/api/v4/spot/time": serverTime})
			var want []struct {
				ID, Base, Quote string
				Precision       int
				TradeStatus     string `json:"trade_status"`
			}
			if err := json.Unmarshal([]byte(body), &want); err != nil {
				t.Fatal(err)
			}
			if err != nil || len(got) != len(want) {
				t.Fatalf("%s: %d pairs, %v", name, len(got), err)
			}
			for _, w := range want {
				if !slices.Contains(got, service.Symbol{Name: w.ID, Base: w.Base, Quote: w.Quote, Tick: service.Tick{Units: 1, Decimals: w.Precision},
					Status: w.TradeStatus, Trading: w.TradeStatus == "tradable"}) {
					t.Errorf("%s: %+v is not among %+v", name, w, got)
				}
			}
		case "futures_contracts_2023":
			got, err := exchangetest.ListFrom(t, Futures, exchangetest.Replies{"/api/v4/futures/usdt/contracts": body, "/api/v4/futures/usdt/tickers": `[{"contract":"KNC_USDT","volume_24h_quote":"5"}]`, "/api/v4/spot/time": serverTime})
			i := slices.IndexFunc(got, func(s service.Symbol) bool { return s.Name == "KNC_USDT" })
			want := service.Symbol{Name: "KNC_USDT", Base: "KNC", Quote: "USDT", Settle: "USDT", Status: "trading", Trading: true, Tick: service.Tick{Units: 1, Decimals: 4}, QuoteVolume: 5}
			if err != nil || len(got) != 6 || i < 0 || got[i] != want || got[i].Canonical() != "KNC/USDT:USDT" {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		case "ccxt_comment_parseTicker_0":
			got, err := exchangetest.ListFrom(t, Spot, exchangetest.Replies{"/api/v4/spot/currency_pairs": `[{"id":"KFC_USDT","base":"KFC","quote":"USDT","precision":3,"trade_status":"tradable"}]`,
				"/api/v4/spot/tickers": "[" + body + "]", "/api/v4/spot/time": serverTime})
			if err != nil || len(got) != 1 || got[0].QuoteVolume != 8807.40299875455 {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		case "ccxt_comment_parseTicker_1":
			got, err := exchangetest.ListFrom(t, Futures, exchangetest.Replies{"/api/v4/futures/usdt/contracts": `[{"name":"BTC_USDT","order_price_round":"0.1"}]`,
				"/api/v4/futures/usdt/tickers": "[" + body + "]", "/api/v4/spot/time": serverTime})
			if err != nil || len(got) != 1 || got[0].QuoteVolume != 184040233284 {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		case "error_invalid_currency_pair", "error_candlestick_too_long_ago":
			if _, ok := errors.AsType[*exchange.Refusal](Spot.Refuse(400, http.Header{}, []byte(body))); !ok {
				t.Errorf("%s is not understood", name)
			}
		default:
			if others[name] == "" {
				t.Errorf("%s is not tested", name)
			}
		}
	}
}

func TestKlines_RequestsAWindowByItsFirstAndLastCandle(t *testing.T) {
	const hour = 3_600_000
	from := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC).UnixMilli()
	for _, c := range []struct {
		venue exchange.Venue
		w     exchange.Window
		want  string
	}{
		{Spot, exchange.Window{From: from, Through: from + 1000*hour - 1, Step: hour}, // 1,000 rows
			"api/v4/spot/candlesticks?currency_pair=BTC_USDT&interval=1h&from=1793577600&to=1797174000"},
		{Spot, exchange.Window{From: from + 1, Through: from + 3*hour, Step: hour},
			"api/v4/spot/candlesticks?currency_pair=BTC_USDT&interval=1h&from=1793581200&to=1793588400"},
		{Spot, exchange.Window{From: from + 1, Through: from + 2, Step: hour}, // has none
			"api/v4/spot/candlesticks?currency_pair=BTC_USDT&interval=1h&from=1793581200&to=1793581200"},
		{Futures, exchange.Window{From: from, Through: from + hour, Step: hour},
			"api/v4/futures/usdt/candlesticks?contract=BTC_USDT&interval=1h&from=1793577600&to=1793581200"},
	} {
		call := c.venue.Klines("BTC_USDT", c.venue.Spec().Intervals["1h"], c.w)
		if got := call.Path + "?" + call.Query; got != c.want || call.Cost != (exchange.Cost{1}) {
			t.Errorf("%s, cost %v\nwant %s", got, call.Cost, c.want)
		}
		c.venue.Klines("", exchange.Native{}, exchange.Window{})
	}
}

func TestDecodeKlines_Order(t *testing.T) {
	want := levels.Candle{OpenTime: 1790349960000, Open: 1, High: 4, Low: 0.5, Close: 2, Volume: 291170}
	for body, v := range map[string]exchange.Venue{
		`[["1790349960","355349.00613100","2","4","0.5","1","291170","true"]]`:                  Spot,
		`[["1790349960","9","2","4","0.5","1","291170.0"]]`:                                     Spot,
		`[{"o":"1","v":291170,"t":1790349960,"c":"2","l":"0.5","h":"4","sum":"2440050.23996"}]`: Futures,
		`[{"t":1790349960,"v":"291170","c":"2","h":"4","l":"0.5","o":"1"}]`:                     Futures,
	} {
		if got, err := exchangetest.Decode(v, body); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s: %v, %v", body, got, err)
		}
	}
	if got, err := exchangetest.Decode(Spot, "[]"); len(got) != 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestDecodeKlines_RefusesWhatIsNotComplete(t *testing.T) {
	for body, v := range map[string]exchange.Venue{
		`[["1790349960","9","2","4","0.5","1"]]`:                         Spot,
		`[["1790349960","9","NaN","4","0.5","1","6"]]`:                   Spot,
		`[{"o":"1","t":1790349960,"c":"2","l":"0.5","h":"4","sum":"2"}]`: Futures, // as of an index
		`[{"o":"1","v":1,"c":"2","l":"0.5","h":"4"}]`:                    Futures,
		`[{}]`:           Futures,
		`{}`:             Spot,
		`[["1790349960"`: Spot,
		`[] x`:           Futures,
	} {
		if got, err := exchangetest.Decode(v, body); err == nil {
			t.Errorf("%s: %v", body, got)
		}
	}
}

func TestRefuse_AndRefusalsIn200(t *testing.T) {
	for body, want := range map[string]error{
		`{"label":"INVALID_CURRENCY_PAIR","message":"Invalid currency pair BTCUSDT"}`:                                service.ErrUnknownSymbol,
		`{"label":"INVALID_CURRENCY","message":"currency TON is delisted"}`:                                          service.ErrUnknownSymbol,
		`{"label":"CONTRACT_NOT_FOUND"}`:                                                                             service.ErrUnknownSymbol,
		`{"label":"INVALID_PARAM_VALUE","message":"invalid argument: interval"}`:                                     levels.ErrUnknownInterval,
		`{"label":"INVALID_PARAM_VALUE","message":"Candlestick too long ago. Maximum 10000 points ago are allowed"}`: service.ErrExchange,
		`{"label":"TOO_MANY_REQUESTS","message":"Request Rate Limit Exceeded"}`:                                      service.ErrRateLimited,
		`{"label":"SERVER_ERROR","message":"Internal server error"}`:                                                 service.ErrExchange,
	} {
		for _, v := range []exchange.Venue{Spot, Futures} {
			refused, ok := errors.AsType[*exchange.Refusal](v.Refuse(400, http.Header{}, []byte(body)))
			if !ok || refused.Err != want || refused.Code == "" {
				t.Errorf("%s: %+v, want %v", body, refused, want)
			}
			if _, err := exchangetest.Decode(v, body); !errors.Is(err, want) {
				t.Errorf("klines %s: %v, want %v", body, err, want)
			}
			if _, err := v.DecodeClock(exchangetest.Scan(body)); !errors.Is(err, want) {
				t.Errorf("clock %s: %v, want %v", body, err, want)
			}
			for i := range 2 {
				if err := v.DecodeListing(i, exchangetest.Scan(body), new(exchange.Listing)); !errors.Is(err, want) {
					t.Errorf("list %s: %v, want %v", body, err, want)
				}
			}
		}
	}
	exchangetest.RefusesPages(t, Spot, 403, "", "<html>", `{"error":1}`, `"x"`, "[]")
	h := http.Header{}
	h.Set("X-Gate-RateLimit-Reset-Timestamp", "1793577600")
	paused, ok := errors.AsType[*exchange.Pause](Spot.Refuse(429, h, []byte(`{"label":"TOO_MANY_REQUESTS","message":"x"}`)))
	if !ok || paused.Until != 1793577600000 || paused.Err != service.ErrRateLimited {
		t.Errorf("%+v", paused)
	}
}

func TestUsage_ReadsTheHeaders(t *testing.T) {
	for remaining, want := range map[string]int{"198": 1, "": 0, "-3": 0, "x": 0} {
		h, n := http.Header{}, 0
		h.Set("X-Gate-RateLimit-Limit", "200")
		h.Set("X-Gate-RateLimit-Requests-Remain", remaining)
		Futures.Usage(h, func(u exchange.Usage) {
			n++
			if u != (exchange.Usage{Used: -1, Remaining: 198, Limit: 200}) {
				t.Errorf("%+v", u)
			}
		})
		if n != want {
			t.Errorf("%q: %d usages", remaining, n)
		}
	}
}

func TestDecodeClock(t *testing.T) {
	if ms, err := Futures.DecodeClock(exchangetest.Scan(serverTime)); ms != 1700000000000 || err != nil {
		t.Error(ms, err)
	}
}

func TestListing_MarksWhatIsUnusual(t *testing.T) {
	pair := func(base, name, kind, status string) string {
		return fmt.Sprintf(`{"id":"%s_USDT","base":%[1]q,"base_name":%q,"quote":"USDT","precision":2,"trade_status":%q,"type":%q,"st_tag":false,"delisting_time":0}`, base, name, status, kind)
	}
	got, err := exchangetest.ListFrom(t, Spot, exchangetest.Replies{
		"/api/v4/spot/currency_pairs": "[" + strings.Join([]string{pair("BTC", "Bitcoin", "normal", "tradable"), pair("BTC3L", "BTC3L", "normal", "tradable"),
			pair("ETH5S", "ETH5S", "normal", "tradable"), pair("TSLAX", "Tesla xStock", "normal", "tradable"), pair("AAPLON", "Apple Ondo Tokenized", "normal", "sellable"),
			pair("NEW", "New", "premarket", "tradable"), pair("H3L", "H3L", "normal", "untradable")}, ",") + "]",
		"/api/v4/spot/tickers": `[{"currency_pair":"BTC_USDT","base_volume":"1","quote_volume":"1000"},{"currency_pair":"NEW_USDT","quote_volume":null}]`,
		"/api/v4/spot/time":    serverTime})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]service.Unusual{"BTC": "", "BTC3L": service.Leveraged, "ETH5S": service.Leveraged, "TSLAX": service.Stock, "AAPLON": service.Stock, "NEW": service.PreListing, "H3L": ""}
	for _, s := range got {
		if u, ok := want[s.Base]; !ok || u != s.Unusual || s.Trading != (s.Status == "tradable") || s.QuoteVolume != map[string]float64{"BTC": 1000}[s.Base] {
			t.Errorf("%+v", s)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d pairs", len(got))
	}

	contract := func(name, status, kind string, leaving, early bool) string {
		return fmt.Sprintf(`{"name":%q,"status":%q,"contract_type":%q,"in_delisting":%t,"is_pre_market":%t,"order_price_round":"0.50"}`, name, status, kind, leaving, early)
	}
	got, err = exchangetest.ListFrom(t, Futures, exchangetest.Replies{
		"/api/v4/futures/usdt/contracts": "[" + strings.Join([]string{contract("BTC_USDT", "trading", "", false, false), contract("AAPL_USDT", "trading", "stocks", false, false),
			contract("B200_USDT", "trading", "", false, true), contract("OLD_USDT", "trading", "", true, false), contract("GONE_USDT", "suspend", "", false, false)}, ",") + "]",
		"/api/v4/futures/usdt/tickers": "[]",
		"/api/v4/spot/time":            serverTime})
	if err != nil {
		t.Fatal(err)
	}
	tick := service.Tick{Units: 5, Decimals: 1}
	contracts := []service.Symbol{
		{Name: "AAPL_USDT", Base: "AAPL", Quote: "USDT", Settle: "USDT", Status: "trading", Trading: true, Tick: tick, Unusual: service.Stock},
		{Name: "B200_USDT", Base: "B200", Quote: "USDT", Settle: "USDT", Status: "trading", Trading: true, Tick: tick, Unusual: service.PreListing},
		{Name: "BTC_USDT", Base: "BTC", Quote: "USDT", Settle: "USDT", Status: "trading", Trading: true, Tick: tick},
		{Name: "GONE_USDT", Base: "GONE", Quote: "USDT", Settle: "USDT", Status: "suspend", Tick: tick},
		{Name: "OLD_USDT", Base: "OLD", Quote: "USDT", Settle: "USDT", Status: "delisting", Tick: tick},
	}
	if !slices.Equal(got, contracts) {
		t.Errorf("%+v", got)
	}
}

// page is a full page of klines.
func page(futures bool) string {
	var b strings.Builder
	b.WriteByte('[')
	rows := 1000
	if futures {
		rows = 1999
	}
	for i := range rows {
		if i > 0 {
			b.WriteByte(',')
		}
		if futures {
			fmt.Fprintf(&b, `{"o":"%d.3","v":%d,"t":%d,"c":"%d.9","l":"%d.1","h":"%d","sum":"%d.23996"}`, 83807+i%97, 291170+i, 1790349960+60*i, 83817+i%97, 83788+i%97, 83823+i%97, 2440050+i)
		} else {
			fmt.Fprintf(&b, `["%d","%d.00613100","%d","%d.5","%d.6","%d.4","%d.23818400","true"]`, 1790349960+60*i, 355349+i, 83859+i%97, 83864+i%97, 83829+i%97, 83853+i%97, 4+i)
		}
	}
	b.WriteByte(']')
	return b.String()
}

func BenchmarkDecodeKlines(b *testing.B) {
	b.Run("spot", func(b *testing.B) { exchangetest.BenchmarkKlines(b, Spot, page(false), 1000) })
	b.Run("futures", func(b *testing.B) { exchangetest.BenchmarkKlines(b, Futures, page(true), 1999) })
}

func FuzzDecodeKlines(f *testing.F) {
	f.Add(`[["1790349960","355349.00613100","2","4","0.5","1","291170","true"],["1790350020","9","2","4","0.5","1","2"]]`)
	f.Add(`[{"o":"1","v":291170,"t":1790349960,"c":"2","l":"0.5","h":"4","sum":"2440050.23996"}]`)
	f.Add(`{"label":"CONTRACT_NOT_FOUND"}`)
	exchangetest.FuzzKlines(f, oracle, "", Spot, Futures)
}

func FuzzDecodeListing(f *testing.F) {
	f.Add(`[{"id":"A_B","base":"A","base_name":"A xStock","quote":"B","precision":2,"trade_status":"tradable","type":"premarket"}]`)
	f.Add(`[{"currency_pair":"A_B","quote_volume":"1"}]`)
	f.Add(`[{"name":"A_USDT","status":"trading","contract_type":"stocks","in_delisting":false,"is_pre_market":true,"order_price_round":"0.50"}]`)
	exchangetest.FuzzListing(f, Spot, Futures)
}

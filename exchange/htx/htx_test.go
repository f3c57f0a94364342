package htx

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"tidemark/exchange"
	"tidemark/exchange/exchangetest"
	"tidemark/levels"
	"tidemark/service"
)

// oracle reads candles with encoding/json.
func oracle(_ exchange.Venue, body string) ([]levels.Candle, bool) {
	return exchangetest.Objects(exchangetest.Member([]byte(body), "data"), 1000, "id", "open", "high", "low", "close", "amount")
}

const noTickers = `{"data":[],"status":"ok","ts":1639547261293}`

// Every recording decodes to its values, except answers of endpoints that are not read: of
// one pair (GetTicker, GetSymbolDetails24H, fetchTicker), v2 (GetSymbols), the market's
// status, contracts (ccxt_comment_fetchTickers_1), and sockets.
func TestRecordings(t *testing.T) {
	for name, body := range exchangetest.Bodies(t, "htx") {
		switch name {
		case "kline_btcusdt_60min_2026", "kline_ethbtc_1min_ccxt", "docs_GetKlines":
			exchangetest.Agrees(t, name, Spot, body, oracle)
		case "v1_common_symbols_2021":
			got, err := exchangetest.List(t, Spot, body, noTickers)
			if want := symbols(t, body); err != nil || len(got) != 20 || !slices.Equal(got, want) {
				t.Errorf("%s: %v\n%+v, want\n%+v", name, err, got, want)
			}
		case "ccxt_comment_fetchTickers_0", "docs_GetTickers":
			want := map[string]float64{"hbcbtc": 0.0618599229, "smtusdt": 170526.0643855023, "ltcht": 14506.9381937385}
			got, err := exchangetest.List(t, Spot, pairs("hbcbtc", "ltcht", "smtusdt"), body)
			n := 0
			for _, s := range got {
				if s.QuoteVolume != 0 {
					n++
				}
				if s.QuoteVolume != 0 && s.QuoteVolume != want[s.Name] {
					t.Errorf("%s: %+v", name, s)
				}
			}
			if err != nil || n == 0 {
				t.Errorf("%s: %v, %+v", name, err, got)
			}
		case "error_invalid_symbol", "error_request_limit", "error_symbol_not_open":
			want := service.ErrUnknownSymbol
			if name == "error_request_limit" {
				want = service.ErrRateLimited
			}
			if _, err := exchangetest.Decode(Spot, body); !errors.Is(err, want) {
				t.Errorf("%s in HTTP 200: %v, want %v", name, err, want)
			}
			if err := Spot.Refuse(400, nil, []byte(body)); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
	}
}

// symbols reads a list with encoding/json.
func symbols(t *testing.T, body string) (all []service.Symbol) {
	t.Helper()
	var l struct {
		Data []struct {
			Symbol, State string
			Base          string `json:"base-currency"`
			Quote         string `json:"quote-currency"`
			Precision     int    `json:"price-precision"`
		}
	}
	if err := json.Unmarshal([]byte(body), &l); err != nil {
		t.Fatal(err)
	}
	for _, p := range l.Data {
		all = append(all, service.Symbol{
			Name: p.Symbol, Base: strings.ToUpper(p.Base), Quote: strings.ToUpper(p.Quote), Status: p.State, Trading: p.State == "online",
			Tick: service.Tick{Units: 1, Decimals: p.Precision},
		})
	}
	slices.SortFunc(all, func(a, b service.Symbol) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func pair(id, more string) string {
	return fmt.Sprintf(`{"base-currency":"btc","quote-currency":"usdt","price-precision":4,"symbol":%q%s}`, id, more)
}

// pairs is a list of pairs that trade.
func pairs(ids ...string) string {
	for i, id := range ids {
		ids[i] = pair(id, `,"state":"online","tags":""`)
	}
	return `{"status":"ok","data":[` + strings.Join(ids, ",") + `]}`
}

func TestListing_SaysWhatIsUnusual(t *testing.T) {
	body := `{"data":[` + strings.Join([]string{
		pair("a", `,"state":"online","tags":"st","leverage-ratio":5`),
		pair("b", `,"state":"online","tags":"etp,nav,holdinglimit,activities"`),
		pair("c", `,"state":"suspend","underlying":"btcusdt"`),
		pair("d", `,"state":"pre-online","underlying":"","tags":null`),
	}, ",") + `],"status":"ok"}`
	got, err := exchangetest.List(t, Spot, body, `{"status":"ok","ts":1,"data":[{"symbol":"a","vol":2.3822168242201668E8},{"vol":null,"symbol":"b"},{"symbol":"gone","vol":1}]}`)
	tick := service.Tick{Units: 1, Decimals: 4}
	want := []service.Symbol{
		{Name: "a", Base: "BTC", Quote: "USDT", Status: "online", Trading: true, Tick: tick, QuoteVolume: 238221682.42201668},
		{Name: "b", Base: "BTC", Quote: "USDT", Status: "online", Trading: true, Tick: tick, Unusual: service.Leveraged},
		{Name: "c", Base: "BTC", Quote: "USDT", Status: "suspend", Tick: tick, Unusual: service.Leveraged},
		{Name: "d", Base: "BTC", Quote: "USDT", Status: "pre-online", Tick: tick},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%+v, want\n%+v", err, got, want)
	}
}

func TestListing_RefusesWhatItIsNot(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":         "",
		"HTML":            "<html></html>",
		"a list":          "[]",
		"no data":         `{"status":"ok"}`,
		"null":            `{"status":"ok","data":null}`,
		"no envelope":     strings.Replace(pairs("a"), `"status":"ok",`, "", 1),
		"a refusal":       `{"status":"error","err-code":"system-maintenance","err-msg":"System is in maintenance!","data":null}`,
		"no pairs":        pairs(),
		"no state":        strings.Replace(pairs("a"), `"state"`, `"status"`, 1),
		"no precision":    strings.Replace(pairs("a"), "price-", "", 1),
		"a bad precision": strings.Replace(pairs("a"), ":4,", ":-4,", 1),
		"a pair twice":    pairs("a", "a"),
		"cut off":         strings.TrimSuffix(pairs("a"), "]}"),
		"more at the end": pairs("a") + "{}",
	} {
		if got, err := exchangetest.List(t, Spot, body, noTickers); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, body := range []string{`{"status":"ok","data":[{"symbol":"a"}]}`, `{"status":"ok","data":[{"vol":1}]}`, `{"status":"error","err-code":"x","data":null}`} {
		if got, err := exchangetest.List(t, Spot, pairs("a"), body); err == nil {
			t.Errorf("%s: %+v", body, got)
		}
	}
}

func TestRequests(t *testing.T) {
	one := exchange.Cost{1}
	for _, tt := range []struct {
		got  exchange.Call
		want string
	}{
		{Spot.Listing(0, ""), "v1/common/symbols?"},
		{Spot.Listing(1, ""), "market/tickers?"},
		{Spot.Spec().Clock, "v1/common/timestamp?"},
		{Spot.Klines("btcusdt", Spot.Spec().Intervals["4h"], exchange.Window{From: 1, Through: 2, Rows: 2000}), "market/history/kline?symbol=btcusdt&period=4hour&size=2000"},
		{Spot.Klines("a&b", Spot.Spec().Intervals["1m"], exchange.Window{Rows: 3}), "market/history/kline?symbol=a%26b&period=1min&size=3"},
		{Spot.Klines("", exchange.Native{}, exchange.Window{}), "market/history/kline?symbol=&period=&size=0"},
	} {
		if got := tt.got.Path + "?" + tt.got.Query; got != tt.want || tt.got.Cost != one || tt.got.Body != "" {
			t.Errorf("%s, cost %v; want %s", got, tt.got.Cost, tt.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for body, want := range map[string]error{
		`{"ts":1,"status":"error","err-code":"invalid-parameter","err-msg":"invalid symbol"}`:                                service.ErrUnknownSymbol,
		`{"status":"error","err-code":"base-symbol-error","err-msg":"The symbol is invalid","data":null}`:                    service.ErrUnknownSymbol,
		`{"err-code":"invalid-parameter","err-msg":"symbol trade not open now","status":"error"}`:                            service.ErrUnknownSymbol,
		`{"status":"error","err-code":"invalid-parameter","err-msg":"invalid period"}`:                                       levels.ErrUnknownInterval,
		`{"status":"error","err-code":"invalid-parameter","err-msg":"request limit"}`:                                        service.ErrRateLimited,
		`{"status":"error","err-code":"rate-too-many-requests","err-msg":"exceeded rate limit","data":null}`:                 service.ErrRateLimited,
		`{"status":"error","err-code":"gateway-internal-error","err-msg":"Failed to load data. Try again later.","data":[]}`: service.ErrExchange,
	} {
		for name, err := range map[string]error{
			"another status": Spot.Refuse(http.StatusBadRequest, nil, []byte(body)),
			"klines":         func() error { _, err := exchangetest.Decode(Spot, body); return err }(),
			"pairs":          Spot.DecodeListing(0, exchangetest.Scan(body), new(exchange.Listing)),
			"tickers":        Spot.DecodeListing(1, exchangetest.Scan(body), new(exchange.Listing)),
			"the time": func() error {
				_, err := Spot.DecodeClock(exchangetest.Scan(strings.Replace(body, "[]", "null", 1)))
				return err
			}(),
		} {
			exchangetest.Refused(t, name, body, err, want)
		}
		if err := Spot.Refuse(http.StatusTooManyRequests, nil, []byte(body)); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
	exchangetest.RefusesPages(t, Spot, http.StatusForbidden, "", "<html></html>", `{"status":"ok"}`, `{"message":"no"}`, `"text"`)
}

func TestDecodeClock(t *testing.T) {
	if got, err := Spot.DecodeClock(exchangetest.Scan(`{"status":"ok","data":1494900087029}`)); got != 1494900087029 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
}

func TestDecodeKlines_RefusesWhatItIsNot(t *testing.T) {
	row := `{"id":3600,"open":1,"close":1.5,"low":0.5,"high":2,"amount":10,"vol":20,"count":3}`
	for _, field := range []string{"id", "open", "close", "low", "high", "amount"} {
		if got, err := exchangetest.Decode(Spot, `{"status":"ok","data":[`+strings.Replace(row, `"`+field+`"`, `"other"`, 1)+`]}`); err == nil {
			t.Errorf("without %s: %v", field, got)
		}
	}
	for name, data := range map[string]string{
		"an empty row":   `[{}]`,
		"an object":      `{"a":1}`,
		"a row in a row": `[[` + row + `]]`,
		"a bad price":    strings.Replace(row, "0.5", `"x"`, 1),
		"a late time":    strings.Replace(row, "3600", "100000000000000000", 1),
		"null":           `null`,
	} {
		if got, err := exchangetest.Decode(Spot, `{"status":"ok","data":`+data+`}`); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	whole := `{"status":"ok","data":[` + row + `,` + row + `]}`
	exchangetest.RefusesParts(t, Spot, whole)
}

// page is a response of n rows as the venue writes them.
func page(n int) string {
	var b strings.Builder
	b.WriteString(`{"ch":"market.btcusdt.kline.60min","status":"ok","ts":1790508917481,"data":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":%d,"open":84860.22,"close":84857.99,"low":84832.26,"high":84937.44,"amount":156.82517159741286,"vol":1.330886168618912E7,"count":231}`, 1_790_506_800-i*3_600)
	}
	b.WriteString(`]}`)
	return b.String()
}

func BenchmarkDecodeKlines(b *testing.B) {
	exchangetest.BenchmarkKlines(b, Spot, page(maxRows), maxRows)
}

func TestDecodeKlines_AllocatesAtMostTwice(t *testing.T) {
	exchangetest.AllocatesLittle(t, Spot, page(maxRows))
}

func FuzzDecodeKlines(f *testing.F) {
	f.Add(page(2))
	f.Add(`{"data":[{"id":1,"open":1e3,"close":2,"low":0,"high":1E-5,"amount":-0,"x":{"id":2}}],"status":"ok"}`)
	f.Add(`{"status":"error","err-code":"invalid-parameter","err-msg":"invalid symbol"}`)
	exchangetest.FuzzKlines(f, oracle, "data", Spot)
}

func FuzzDecodeListing(f *testing.F) {
	f.Add(pairs("a"))
	f.Add(`{"status":"ok","data":[{"symbol":"a","vol":2E3}]}`)
	exchangetest.FuzzListing(f, Spot)
}

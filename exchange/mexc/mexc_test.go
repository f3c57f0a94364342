package mexc

import (
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
	return exchangetest.Rows([]byte(body), 1, 8, 0, 1, 2, 3, 4, 5)
}

// Every recording decodes to its values, except the contracts, the list of API symbols, and
// the socket, which are not read.
func TestRecordings(t *testing.T) {
	for name, body := range exchangetest.Bodies(t, "mexc") {
		switch name {
		case "klines_BTCUSDT_60m", "klines_BTCUSDT_60m_2026", "docs_GetKlines", "ccxt_static_fetchOHLCV":
			exchangetest.Agrees(t, name, Spot, body, oracle)
		case "GetExchangeInfo":
			got, err := exchangetest.List(t, Spot, body, "[]")
			want := []service.Symbol{{Name: "BROCKUSDT", Base: "BROCK", Quote: "USDT", Status: "1", Trading: true, Tick: service.Tick{Units: 1, Decimals: 5}}}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %v, %+v, want %+v", name, err, got, want)
			}
		case "docs_GetTickers": // without quote volumes
			got, err := exchangetest.List(t, Spot, pairs("BTCUSDT", "ETHUSDT"), body)
			if base, last := 1732.461487, 46263.71; err != nil || len(got) != 2 || got[1].QuoteVolume != base*last {
				t.Errorf("%s: %v, %+v", name, err, got)
			}
		case "ccxt_static_fetchTicker":
			got, err := exchangetest.List(t, Spot, pairs("BTCUSDT"), "["+body+"]")
			if err != nil || len(got) != 1 || got[0].QuoteVolume != 554877037.44 {
				t.Errorf("%s: %v, %+v", name, err, got)
			}
		case "error_invalid_symbol", "error_restricted_location":
			want := map[string]error{"error_invalid_symbol": service.ErrUnknownSymbol}[name]
			if want == nil {
				want = service.ErrExchange
			}
			if _, err := exchangetest.Decode(Spot, body); !errors.Is(err, want) {
				t.Errorf("%s in HTTP 200: %v, want %v", name, err, want)
			}
			if err := Spot.Refuse(403, nil, []byte(body)); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
	}
}

// pairs is a list of pairs that trade in USDT.
func pairs(ids ...string) string {
	for i, id := range ids {
		ids[i] = fmt.Sprintf(`{"symbol":%q,"status":"1","baseAsset":%q,"quoteAsset":"USDT","quotePrecision":9,"quoteAssetPrecision":2,"isSpotTradingAllowed":false}`, id, strings.TrimSuffix(id, "USDT"))
	}
	return `{"timezone":"CST","serverTime":1795389005123,"rateLimits":[],"symbols":[` + strings.Join(ids, ",") + `]}`
}

func TestListing_SaysWhatIsUnusual(t *testing.T) {
	body := strings.Replace(pairs("BTC3LUSDT", "DOGE5SUSDT", "G3LUSDT", "LAS9LUSDT", "OLDUSDT", "TOOLSUSDT"), `OLDUSDT","status":"1"`, `OLDUSDT","status":"3"`, 1)
	got, err := exchangetest.List(t, Spot, body, `[{"symbol":"OLDUSDT","volume":"1","quoteVolume":"","lastPrice":""},{"symbol":"BTC3LUSDT","quoteVolume":"2.5"},{"quoteVolume":"1","symbol":"GONEUSDT"}]`)
	tick := service.Tick{Units: 1, Decimals: 2}
	want := []service.Symbol{
		{Name: "BTC3LUSDT", Base: "BTC3L", Quote: "USDT", Status: "1", Trading: true, Tick: tick, Unusual: service.Leveraged, QuoteVolume: 2.5},
		{Name: "DOGE5SUSDT", Base: "DOGE5S", Quote: "USDT", Status: "1", Trading: true, Tick: tick, Unusual: service.Leveraged},
		{Name: "G3LUSDT", Base: "G3L", Quote: "USDT", Status: "1", Trading: true, Tick: tick},
		{Name: "LAS9LUSDT", Base: "LAS9L", Quote: "USDT", Status: "1", Trading: true, Tick: tick},
		{Name: "OLDUSDT", Base: "OLD", Quote: "USDT", Status: "3", Tick: tick},
		{Name: "TOOLSUSDT", Base: "TOOLS", Quote: "USDT", Status: "1", Trading: true, Tick: tick},
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
		"no pairs":        pairs(),
		"neither":         `{"serverTime":1795389005123}`,
		"a refusal":       `{"code":500,"msg":"Internal error"}`,
		"no status":       strings.Replace(pairs("AUSDT"), "status", "state", 1),
		"no precision":    strings.Replace(pairs("AUSDT"), "quoteAssetPrecision", "precision", 1),
		"a bad precision": strings.Replace(pairs("AUSDT"), `:2,`, `:-2,`, 1),
		"a pair twice":    pairs("AUSDT", "AUSDT"),
		"cut off":         strings.TrimSuffix(pairs("AUSDT"), "]}"),
		"more at the end": pairs("AUSDT") + "{}",
	} {
		if got, err := exchangetest.List(t, Spot, body, "[]"); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, body := range []string{`[{"symbol":"AUSDT"}]`, `[{"quoteVolume":"1"}]`, `{"code":500,"msg":""}`, `{}`} {
		if got, err := exchangetest.List(t, Spot, pairs("AUSDT"), body); err == nil {
			t.Errorf("%s: %+v", body, got)
		}
	}
}

func TestRequests(t *testing.T) {
	const hour = 3_600_000
	now := int64(24_000 * hour)
	for _, tt := range []struct {
		got  exchange.Call
		want string
		cost exchange.Cost
	}{
		{Spot.Listing(0, ""), "api/v3/exchangeInfo?", exchange.Cost{10}},
		{Spot.Listing(1, ""), "api/v3/ticker/24hr?", exchange.Cost{40}},
		{Spot.Spec().Clock, "api/v3/time?", exchange.Cost{1}},
		{ // neither end is the start of a candle
			Spot.Klines("BTCUSDT", Spot.Spec().Intervals["1h"], exchange.Window{From: now - 9*hour - 1, Through: now - 5*hour + 7, Rows: 5, Now: now, Step: hour}),
			"api/v3/klines?symbol=BTCUSDT&interval=60m&startTime=86367599999&endTime=86385599999&limit=5", exchange.Cost{1},
		},
		{ // up to the last millisecond of a candle
			Spot.Klines("A&B", Spot.Spec().Intervals["1d"], exchange.Window{From: now - 72*hour, Through: now - 1, Rows: 3, Now: now, Step: 24 * hour}),
			"api/v3/klines?symbol=A%26B&interval=1d&startTime=86140800000&endTime=86399999999&limit=3", exchange.Cost{1},
		},
		{ // with the forming candle
			Spot.Klines("BTCUSDT", Spot.Spec().Intervals["4h"], exchange.Window{From: now, Through: now + 8*hour - 1, Rows: 2, Now: now + 7, Step: 4 * hour}),
			"api/v3/klines?symbol=BTCUSDT&interval=4h&limit=2", exchange.Cost{1},
		},
		{Spot.Klines("", exchange.Native{}, exchange.Window{}), "api/v3/klines?symbol=&interval=&startTime=0&endTime=0&limit=0", exchange.Cost{1}},
	} {
		if got := tt.got.Path + "?" + tt.got.Query; got != tt.want || tt.got.Cost != tt.cost || tt.got.Body != "" {
			t.Errorf("%s, cost %v; want %s, %v", got, tt.got.Cost, tt.want, tt.cost)
		}
	}
}

func TestRefusals(t *testing.T) {
	for body, want := range map[string]error{
		`{"msg":"invalid symbol","code":-1121}`:                                  service.ErrUnknownSymbol,
		`{"code":10007,"msg":"bad symbol"}`:                                      service.ErrUnknownSymbol,
		`{"msg":"Invalid interval.","code":-1121}`:                               levels.ErrUnknownInterval,
		`{"code":510,"msg":"Requests are too frequent, please try again later"}`: service.ErrRateLimited,
		`{"code":429,"msg":"Too Many Requests"}`:                                 service.ErrRateLimited,
		`{"msg":"Service unavailable from a restricted location.","code":0}`:     service.ErrExchange,
		`{"code":500,"msg":"Internal error"}`:                                    service.ErrExchange,
	} {
		for name, err := range map[string]error{
			"another status": Spot.Refuse(http.StatusBadRequest, nil, []byte(body)),
			"klines":         func() error { _, err := exchangetest.Decode(Spot, body); return err }(),
			"the time":       func() error { _, err := Spot.DecodeClock(exchangetest.Scan(body)); return err }(),
			"pairs":          Spot.DecodeListing(0, exchangetest.Scan(body), new(exchange.Listing)),
			"tickers":        Spot.DecodeListing(1, exchangetest.Scan(body), new(exchange.Listing)),
		} {
			exchangetest.Refused(t, name, body, err, want)
		}
		for _, status := range []int{http.StatusTooManyRequests, http.StatusTeapot} {
			if err := Spot.Refuse(status, nil, []byte(body)); err != nil {
				t.Errorf("%d %s: %v", status, body, err)
			}
		}
	}
	exchangetest.RefusesPages(t, Spot, http.StatusForbidden, "", "<html></html>", `{"msg":"no"}`, `"text"`, "[]")
}

func TestDecodeClock(t *testing.T) {
	if got, err := Spot.DecodeClock(exchangetest.Scan(`{"serverTime":1645539742000}`)); got != 1645539742000 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	if got, err := Spot.DecodeClock(exchangetest.Scan(`{}`)); err == nil {
		t.Errorf("%d without a time", got)
	}
}

func TestDecodeKlines_RefusesWhatItIsNot(t *testing.T) {
	row := `[3600000,"1","2","0.5","1.5","10",7200000,"20"]`
	for name, body := range map[string]string{
		"a column missing": `[[3600000,"1","2","0.5","1.5","10",7200000]]`,
		"a row of none":    `[[]]`,
		"an empty object":  `{}`,
		"a row in a row":   `[[` + row + `]]`,
		"a bad price":      `[[3600000,"1","2","x","1.5","10",7200000,"20"]]`,
		"no volume":        `[[3600000,"1","2","0.5","1.5","",7200000,"20"]]`,
		"null":             `null`,
	} {
		if got, err := exchangetest.Decode(Spot, body); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	whole := `[` + row + `,` + row + `]`
	exchangetest.RefusesParts(t, Spot, whole)
}

// page is a response of n rows as the venue writes them.
func page(n int) string {
	var b strings.Builder
	b.WriteByte('[')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		open := 1_790_503_200_000 + i*3_600_000
		fmt.Fprintf(&b, `[%d,"84936.99","85080","84789.64","84867.09","276.41754731",%d,"23478691.55"]`, open, open+3_600_000)
	}
	b.WriteByte(']')
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
	f.Add(`[["1","1e3",2,"1","1.5","0","-0","0",null]]`)
	f.Add(`{"msg":"invalid symbol","code":-1121}`)
	exchangetest.FuzzKlines(f, oracle, "", Spot)
}

func FuzzDecodeListing(f *testing.F) {
	f.Add(pairs("AUSDT"))
	f.Add(`[{"symbol":"A","quoteVolume":null,"volume":"2","lastPrice":"0.1"}]`)
	exchangetest.FuzzListing(f, Spot)
}

package bybit

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
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
	volume := 5
	if v == Inverse {
		volume = 6
	}
	result := exchangetest.Member([]byte(body), "result")
	return exchangetest.Rows(exchangetest.Member(result, "list"), 1, 7, 0, 1, 2, 3, 4, volume)
}

// categoryOf returns the market of a body, which names it.
func categoryOf(body string) exchange.Venue {
	switch {
	case strings.Contains(body, `"category":"inverse"`):
		return Inverse
	case strings.Contains(body, "Linear"), strings.Contains(body, `"category":"linear"`):
		return Linear
	}
	return Spot
}

const (
	listPath, tickersPath = "/v5/market/instruments-info", "/v5/market/tickers"
	noTickers             = `{"retCode":0,"retMsg":"OK","result":{"list":[]},"time":1700000000000}`
	noPreLaunch           = `{"retCode":0,"retMsg":"OK","result":{"category":"linear","list":[],"nextPageCursor":""},"time":1700000000000}`
)

// Every recording decodes to its values. Those of sockets are in TestDecodeFrame,
// and ccxt_comment_parseTicker_2 and 3 are tickers without their envelope.
func TestRecordings(t *testing.T) {
	all := exchangetest.Bodies(t, "bybit")
	for name, body := range all {
		v := categoryOf(body)
		switch kind, _, _ := strings.Cut(name, "_"); kind {
		case "kline":
			exchangetest.Agrees(t, name, v, body, oracle)
			if at, err := v.DecodeClock(exchangetest.Scan(body)); err != nil || !strings.Contains(body, strconv.FormatInt(at, 10)) {
				t.Errorf("%s: the time %d, %v", name, at, err)
			}
		case "error":
			want := map[string]error{"error_10001_unknown_symbol": service.ErrUnknownSymbol, "error_10006_rate_limit": service.ErrRateLimited}[name]
			if _, err := exchangetest.Decode(v, body); want == nil || !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
	}
	for name, want := range map[string][]service.Symbol{
		"instruments_spot": {
			{Name: "BTCUSDT", Base: "BTC", Quote: "USDT", Trading: true, Status: "Trading", Tick: service.Tick{Units: 1, Decimals: 1}},
			{Name: "ETHUSDT", Base: "ETH", Quote: "USDT", Trading: true, Status: "Trading", Tick: service.Tick{Units: 1, Decimals: 2}},
		},
		"instruments_linear": {
			{Name: "BTCUSDT", Base: "BTC", Quote: "USDT", Settle: "USDT", Trading: true, Status: "Trading", Tick: service.Tick{Units: 5, Decimals: 1}},
			{Name: "ETHUSDT", Base: "ETH", Quote: "USDT", Settle: "USDT", Trading: true, Status: "Trading", Tick: service.Tick{Units: 5, Decimals: 2}},
		},
		"ccxt_comment_fetchSpotMarkets_0": {
			{Name: "BTCUSDT", Base: "BTC", Quote: "USDT", Trading: true, Status: "Trading", Tick: service.Tick{Units: 1, Decimals: 2}},
		},
	} {
		if body, ok := all[name]; ok {
			got, err := exchangetest.ListFrom(t, categoryOf(body), exchangetest.Replies{listPath: body, listPath + "?category=linear&limit=1000&status=PreLaunch": noPreLaunch, tickersPath: noTickers})
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %v\n%+v, want\n%+v", name, err, got, want)
			}
		}
	}
	for _, name := range []string{"ccxt_comment_fetchTicker_1", "ccxt_comment_fetchTickers_0"} {
		if body, ok := all[name]; ok {
			pair := `{"retCode":0,"result":{"list":[{"symbol":"BTCUSD","status":"Trading","baseCoin":"BTC","quoteCoin":"USD"}]}}`
			got, err := exchangetest.ListFrom(t, Inverse, exchangetest.Replies{listPath: pair, tickersPath: body})
			if err != nil || len(got) != 1 || got[0].QuoteVolume != 49337318 {
				t.Errorf("%s: %v, %+v", name, err, got)
			}
		}
	}
}

func TestListing_SaysWhatIsUnusual(t *testing.T) {
	pair := func(symbol, base, quote, status, more string) string {
		return fmt.Sprintf(`{"symbol":%q,"baseCoin":%q,"quoteCoin":%q,"status":%q,"priceFilter":{"minPrice":"1","tickSize":"0.10"}%s}`, symbol, base, quote, status, more)
	}
	body := func(cursor string, pairs ...string) string {
		return `{"result":{"list":[` + strings.Join(pairs, ",") + `],"nextPageCursor":` + cursor + `},"time":1700000000000,"retMsg":"OK","retCode":0}`
	}
	linear := func(settle, contract, more string) string {
		return `,"settleCoin":"` + settle + `","contractType":"` + contract + `","symbolType":""` + more
	}
	tick := service.Tick{Units: 1, Decimals: 1}
	first := listPath + "?category=linear&limit=1000"
	for _, tt := range []struct {
		venue   exchange.Venue
		replies exchangetest.Replies
		want    []service.Symbol
	}{
		{
			Spot,
			exchangetest.Replies{
				listPath + "?category=spot": body(`""`,
					pair("AAPLXUSDT", "AAPLX", "USDT", "Trading", `,"symbolType":"xstocks"`),
					pair("ADVUSDT", "ADV", "USDT", "Trading", `,"symbolType":"adventure"`),
					pair("BTC3LUSDT", "BTC3L", "USDT", "Trading", ""),
					pair("ETH2SUSDT", "ETH2S", "USDC", "Trading", ""),
					pair("SOLUSDT", "SOL", "USDT", "Trading", "")),
				tickersPath: `{"retCode":0,"retMsg":"OK","result":{"list":[{"symbol":"SOLUSDT","volume24h":"2","turnover24h":"300.5"}]}}`,
			},
			[]service.Symbol{
				{Name: "AAPLXUSDT", Base: "AAPLX", Quote: "USDT", Unusual: service.Stock, Trading: true, Status: "Trading", Tick: tick},
				{Name: "ADVUSDT", Base: "ADV", Quote: "USDT", Trading: true, Status: "Trading", Tick: tick},
				{Name: "BTC3LUSDT", Base: "BTC3L", Quote: "USDT", Unusual: service.Leveraged, Trading: true, Status: "Trading", Tick: tick},
				{Name: "ETH2SUSDT", Base: "ETH2S", Quote: "USDC", Unusual: service.Leveraged, Trading: true, Status: "Trading", Tick: tick},
				{Name: "SOLUSDT", Base: "SOL", Quote: "USDT", Trading: true, Status: "Trading", Tick: tick, QuoteVolume: 300.5},
			},
		},
		{
			Linear, // two pages of contracts that trade, and two before their launch
			exchangetest.Replies{
				first: body(`"a=b&c"`,
					pair("BTC-25DEC26", "BTC", "USDC", "Trading", linear("USDC", "LinearFutures", `,"deliveryTime":"1798185600000"`)),
					pair("BTCPERP", "BTC", "USDC", "Trading", linear("USDC", "LinearPerpetual", `,"deliveryTime":"0","preListingInfo":null`))),
				first + "&cursor=a%3Db%26c": body(`""`,
					pair("TSLAUSDT", "TSLA", "USDT", "Trading", `,"settleCoin":"USDT","symbolType":"stock"`)),
				first + "&status=PreLaunch": body(`"x"`,
					pair("NEWUSDT", "NEW", "USDT", "PreLaunch", linear("USDT", "LinearPerpetual", `,"isPreListing":true,"preListingInfo":{"phases":[],"curAuctionPhase":"ContinuousTrading"}`))),
				first + "&status=PreLaunch&cursor=x": body(`null`,
					pair("SOONUSDT", "SOON", "USDT", "PreLaunch", linear("USDT", "LinearPerpetual", `,"preListingInfo":{"curAuctionPhase":"CallAuction"}`))),
				tickersPath: `{"retCode":0,"retMsg":"OK","result":{"list":[{"symbol":"SOONUSDT","turnover24h":""},{"turnover24h":"7","symbol":"BTCPERP"}]}}`,
			},
			[]service.Symbol{
				{Name: "BTC-25DEC26", Base: "BTC", Quote: "USDC", Settle: "USDC", Expiry: "261225", Unusual: service.Dated, Trading: true, Status: "Trading", Tick: tick},
				{Name: "BTCPERP", Base: "BTC", Quote: "USDC", Settle: "USDC", Trading: true, Status: "Trading", Tick: tick, QuoteVolume: 7},
				{Name: "NEWUSDT", Base: "NEW", Quote: "USDT", Settle: "USDT", Unusual: service.PreListing, Trading: true, Status: "PreLaunch", Tick: tick},
				{Name: "SOONUSDT", Base: "SOON", Quote: "USDT", Settle: "USDT", Unusual: service.PreListing, Status: "PreLaunch", Tick: tick},
				{Name: "TSLAUSDT", Base: "TSLA", Quote: "USDT", Settle: "USDT", Unusual: service.Stock, Trading: true, Status: "Trading", Tick: tick},
			},
		},
		{
			Inverse,
			exchangetest.Replies{
				listPath:    body(`""`, pair("BTCUSDZ26", "BTC", "USD", "Delivering", linear("BTC", "InverseFutures", `,"deliveryTime":"1798185600000"`))),
				tickersPath: noTickers,
			},
			[]service.Symbol{
				{Name: "BTCUSDZ26", Base: "BTC", Quote: "USD", Settle: "BTC", Expiry: "261225", Unusual: service.Dated, Status: "Delivering", Tick: tick},
			},
		},
	} {
		got, err := exchangetest.ListFrom(t, tt.venue, tt.replies)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v\n%+v, want\n%+v", tt.venue.Spec().Name, err, got, tt.want)
		}
	}
}

func TestListing_RefusesWhatItIsNot(t *testing.T) {
	pair := `{"symbol":"AB","baseCoin":"A","quoteCoin":"B","status":"Trading","priceFilter":{"tickSize":"0.1"}}`
	for name, body := range map[string]string{
		"nothing":      "",
		"HTML":         "<html></html>",
		"a list":       "[]",
		"no result":    `{"retCode":0,"retMsg":"OK"}`,
		"no list":      `{"retCode":0,"retMsg":"OK","result":{}}`,
		"a refusal":    `{"retCode":10016,"retMsg":"Internal System Error.","result":{}}`,
		"null":         `{"retCode":10016,"retMsg":"Internal System Error.","result":null}`,
		"no pairs":     `{"retCode":0,"result":{"list":[]}}`,
		"no status":    `{"retCode":0,"result":{"list":[{"symbol":"AB","baseCoin":"A","quoteCoin":"B"}]}}`,
		"a bad tick":   `{"retCode":0,"result":{"list":[` + strings.Replace(pair, "0.1", "x", 1) + `]}}`,
		"a pair twice": `{"retCode":0,"result":{"list":[` + pair + `,` + pair + `]}}`,
		"cut off":      `{"retCode":0,"result":{"list":[` + pair + `]`,
	} {
		if got, err := exchangetest.ListFrom(t, Spot, exchangetest.Replies{listPath: body, tickersPath: noTickers}); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestRequests(t *testing.T) {
	const hour = 3_600_000
	for _, tt := range []struct {
		got  exchange.Call
		want string
	}{
		{Spot.Listing(0, ""), "v5/market/instruments-info?category=spot"},
		{Inverse.Listing(0, ""), "v5/market/instruments-info?category=inverse&limit=1000"},
		{Linear.Listing(0, "a=b"), "v5/market/instruments-info?category=linear&limit=1000&cursor=a%3Db"},
		{Linear.Listing(0, "PreLaunch"), "v5/market/instruments-info?category=linear&limit=1000&status=PreLaunch"},
		{Linear.Listing(0, "PreLaunchx"), "v5/market/instruments-info?category=linear&limit=1000&status=PreLaunch&cursor=x"},
		{Linear.Listing(1, ""), "v5/market/tickers?category=linear"},
		{Spot.Spec().Clock, "v5/market/time?"},
		{
			Inverse.Klines("BTCUSD", intervals["1h"], exchange.Window{From: hour + 1, Through: 999 * hour, Rows: 999}),
			"v5/market/kline?category=inverse&symbol=BTCUSD&interval=60&start=3600001&end=3596400000&limit=1000",
		},
		{Spot.Klines("", exchange.Native{}, exchange.Window{}), "v5/market/kline?category=spot&symbol=&interval=&start=0&end=0&limit=1"},
	} {
		if got := tt.got.Path + "?" + tt.got.Query; got != tt.want || tt.got.Cost != one || tt.got.Body != "" {
			t.Errorf("%s, cost %v; want %s", got, tt.got.Cost, tt.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for body, want := range map[string]error{
		`{"retCode":10001,"retMsg":"Not supported symbols","result":{}}`:                               service.ErrUnknownSymbol,
		`{"result":{"list":[]},"retMsg":"params error: Symbol Is Invalid","retCode":10001}`:            service.ErrUnknownSymbol,
		`{"retCode":10029,"retMsg":"The requested symbol is invalid."}`:                                service.ErrUnknownSymbol,
		`{"retCode":10001,"retMsg":"Invalid period!","result":{}}`:                                     levels.ErrUnknownInterval,
		`{"retCode":10001,"retMsg":"params error: intervalTime is invalid","result":{"category":"x"}}`: levels.ErrUnknownInterval,
		`{"retCode":10001,"retMsg":"Request parameter error.","result":null}`:                          service.ErrExchange,
		`{"retCode":10006,"retMsg":"Too many visits!","result":{}}`:                                    service.ErrRateLimited,
		`{"retCode":10018,"retMsg":"Exceeded the IP Rate Limit.","result":{}}`:                         service.ErrRateLimited,
		`{"retCode":10016,"retMsg":"Server error.","result":{}}`:                                       service.ErrExchange,
	} {
		for name, err := range map[string]error{
			"another status": Spot.Refuse(http.StatusBadRequest, nil, []byte(body)),
			"klines":         func() error { _, err := exchangetest.Decode(Linear, body); return err }(),
			"the time":       func() error { _, err := Spot.DecodeClock(exchangetest.Scan(body)); return err }(),
			"tickers":        Spot.DecodeListing(1, exchangetest.Scan(body), new(exchange.Listing)),
		} {
			exchangetest.Refused(t, name, body, err, want)
		}
	}
	for _, body := range []string{"access too frequent", `{"retCode":403,"retMsg":"Access too frequent"}`} {
		pause, ok := errors.AsType[*exchange.Pause](Spot.Refuse(http.StatusForbidden, nil, []byte(body)))
		if !ok || pause.Err != service.ErrBanned || pause.For != 10*time.Minute {
			t.Errorf("%s: %+v", body, pause)
		}
	}
	exchangetest.RefusesPages(t, Spot, http.StatusForbidden, "", "<html>The Amazon CloudFront distribution is configured to block access from your country.</html>", `{"retCode":0}`, `"text"`)
}

// The headers are of a user's requests to one endpoint: an address that believed them
// would wait for nothing.
func TestUsage_IsNotThatOfAUser(t *testing.T) {
	Spot.Usage(http.Header{"X-Bapi-Limit": {"10"}, "X-Bapi-Limit-Status": {"0"}}, func(u exchange.Usage) { t.Errorf("%+v", u) })
}

func TestDecodeClock(t *testing.T) {
	body := `{"retCode":0,"retMsg":"OK","result":{"timeSecond":"1688639403","timeNano":"1688639403423213947"},"retExtInfo":{},"time":1688639403423}`
	if got, err := Spot.DecodeClock(exchangetest.Scan(body)); got != 1688639403423 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
}

func TestDecodeKlines_RefusesWhatItIsNot(t *testing.T) {
	row := `["3600000","1","2","0.5","1.5","10","20"]`
	for name, list := range map[string]string{
		"a column missing": `[["3600000","1","2","0.5","1.5","10"]]`,
		"a row of none":    `[[]]`,
		"an object":        `{"a":1}`,
		"a row in a row":   `[[` + row + `]]`,
		"a bad price":      `[["3600000","1","2","x","1.5","10","20"]]`,
		"no volume":        `[["3600000","1","2","0.5","1.5","",""]]`,
		"null":             `null`,
	} {
		for _, v := range []exchange.Venue{Spot, Inverse} {
			if got, err := exchangetest.Decode(v, `{"retCode":0,"retMsg":"OK","result":{"list":`+list+`},"time":1}`); err == nil {
				t.Errorf("%s: %v", name, got)
			}
		}
	}
	whole := `{"retCode":0,"retMsg":"OK","result":{"list":[` + row + `,` + row + `]},"time":1}`
	exchangetest.RefusesParts(t, Spot, whole)
}

// page is a response of n rows as the venue writes them.
func page(n int) string {
	var b strings.Builder
	b.WriteString(`{"retCode":0,"retMsg":"OK","result":{"category":"spot","symbol":"BTCUSDT","list":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `["%d","62440.14","62841.64","62160.72","62564.68","706.187244","44137837.83110939"]`, 1_715_176_800_000-i*3_600_000)
	}
	b.WriteString(`]},"retExtInfo":{},"time":1718761678876}`)
	return b.String()
}

func BenchmarkDecodeKlines(b *testing.B) { exchangetest.BenchmarkKlines(b, Spot, page(1_000), 1_000) }

func TestDecodeKlines_AllocatesAtMostTwice(t *testing.T) {
	exchangetest.AllocatesLittle(t, Inverse, page(1_000))
}

func FuzzDecodeKlines(f *testing.F) {
	f.Add(page(2))
	f.Add(`{"time":1,"result":{"list":[["1","1e3","2","1","1.5","0","-0",7]]},"retCode":0}`)
	f.Add(`{"retCode":10001,"retMsg":"Not supported symbols","result":{}}`)
	exchangetest.FuzzKlines(f, oracle, "list", Spot, Inverse)
}

func FuzzDecodeListing(f *testing.F) {
	f.Add(`{"retCode":0,"result":{"list":[{"symbol":"AB","baseCoin":"A","quoteCoin":"B","status":"Trading","priceFilter":{"tickSize":"1"}}],"nextPageCursor":"c"},"time":5}`)
	f.Add(`{"retCode":0,"result":{"list":[{"symbol":"AB","turnover24h":"1","volume24h":"2"}]}}`)
	f.Add(`{"retCode":0,"result":{"list":[{"symbol":"AB","preListingInfo":{"curAuctionPhase":"Finished"},"deliveryTime":"5","contractType":"LinearFutures"}]}}`)
	exchangetest.FuzzListing(f, Spot, Linear)
}

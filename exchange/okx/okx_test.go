package okx

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
func oracle(v exchange.Venue, body string) ([]levels.Candle, bool) {
	volume := 5
	if v == Swap {
		volume = 6
	}
	return exchangetest.Rows(exchangetest.Member([]byte(body), "data"), 1, 9, 0, 1, 2, 3, 4, volume)
}

func marketOf(name string) exchange.Venue {
	if strings.Contains(name, "SWAP") {
		return Swap
	}
	return Spot
}

// Every recording decodes to its values. Those of sockets are in TestDecodeFrame,
// and ccxt_comment_parseTicker_2 is a ticker without its envelope.
func TestRecordings(t *testing.T) {
	left := exchangetest.Bodies(t, "okx")
	for name, body := range left {
		switch kind, _, _ := strings.Cut(name, "_"); kind {
		case "candles", "history": // candles_short_row is made up, and in another order
			exchangetest.Agrees(t, name, marketOf(name), body, oracle)
		case "instruments":
			got, err := exchangetest.ListFrom(t, marketOf(name), exchangetest.Replies{"/api/v5/public/instruments": body, "/api/v5/market/tickers": `{"code":"0","data":[]}`})
			if want := symbols(t, body); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %v\n%+v, want\n%+v", name, err, got, want)
			}
		case "error":
			want := map[string]error{
				"error_50011_429": service.ErrRateLimited, "error_50014_missing_param": service.ErrExchange,
				"error_51001_unknown_instrument": service.ErrUnknownSymbol,
			}[name]
			if _, err := exchangetest.Decode(Spot, body); want == nil || !errors.Is(err, want) {
				t.Errorf("%s in HTTP 200: %v, want %v", name, err, want)
			}
			if err := Spot.Refuse(400, nil, []byte(body)); want == nil || !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
	}
	for name, want := range map[string]service.Symbol{
		"ccxt_comment_fetchTickers_0": {Name: "BCD-BTC", QuoteVolume: 9.2877},
		"ccxt_comment_fetchTicker_1":  {Name: "ETH-BTC", QuoteVolume: 11788.887619},
	} {
		if body, ok := left[name]; ok {
			got, err := exchangetest.ListFrom(t, Spot, exchangetest.Replies{
				"/api/v5/public/instruments": `{"code":"0","data":[{"instId":"` + want.Name + `","state":"live"}]}`, "/api/v5/market/tickers": body,
			})
			if err != nil || len(got) != 1 || got[0].QuoteVolume != want.QuoteVolume {
				t.Errorf("%s: %v, %+v", name, err, got)
			}
		}
	}
}

// symbols reads a list with encoding/json.
func symbols(t *testing.T, body string) (all []service.Symbol) {
	t.Helper()
	var l struct {
		Data []struct{ InstId, BaseCcy, QuoteCcy, SettleCcy, Uly, State, TickSz string }
	}
	if err := json.Unmarshal([]byte(body), &l); err != nil {
		t.Fatal(err)
	}
	for _, p := range l.Data {
		if p.Uly != "" {
			p.BaseCcy, p.QuoteCcy, _ = strings.Cut(p.Uly, "-")
		}
		tick, err := exchange.ParseTick([]byte(p.TickSz))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, service.Symbol{
			Name: p.InstId, Base: p.BaseCcy, Quote: p.QuoteCcy, Settle: p.SettleCcy, Status: p.State, Trading: p.State == "live", Tick: tick,
		})
	}
	slices.SortFunc(all, func(a, b service.Symbol) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func TestListing_SaysWhatIsUnusual(t *testing.T) {
	instrument := func(id, settle, state, more string) string {
		return `{"instId":"` + id + `","settleCcy":"` + settle + `","tickSz":"0.10","state":"` + state + `"` + more + `}`
	}
	body := `{"msg":"","data":[` + strings.Join([]string{
		instrument("A-USDT-SWAP", "USDT", "live", `,"ruleType":"normal","instCategory":"1"`),
		instrument("B-USD-SWAP", "B", "suspend", `,"instCategory":""`),
		instrument("C-USD_UM-SWAP", "USDC", "live", ``),
		instrument("D-USDT-SWAP", "USDT", "live", `,"ruleType":"pre_market","instCategory":"1"`),
		instrument("E-USDT-SWAP", "USDT", "live", `,"instCategory":"3","ruleType":"pre_market"`),
		instrument("F-USDT-SWAP", "USDT", "live", `,"ruleType":"rebase_contract","instCategory":"4"`),
		strings.Replace(instrument("G-USDT-SWAP", "USDT", "preopen", ``), "0.10", "", 1),
	}, ",") + `],"code":"0"}`
	tickers := `{"code":"0","data":[{"instId":"A-USDT-SWAP","last":"2.5","vol24h":"7","volCcy24h":"100"},{"volCcy24h":"","last":"","instId":"G-USDT-SWAP"},` +
		`{"instId":"Z-USDT-SWAP","last":"1","volCcy24h":"1"}]}`
	got, err := exchangetest.ListFrom(t, Swap, exchangetest.Replies{"/api/v5/public/instruments": body, "/api/v5/market/tickers": tickers})
	tick := service.Tick{Units: 1, Decimals: 1}
	want := []service.Symbol{
		{Name: "A-USDT-SWAP", Base: "A", Quote: "USDT", Settle: "USDT", Trading: true, Status: "live", Tick: tick, QuoteVolume: 250},
		{Name: "B-USD-SWAP", Base: "B", Quote: "USD", Settle: "B", Status: "suspend", Tick: tick},
		{Name: "C-USD_UM-SWAP", Base: "C", Quote: "USD", Settle: "USDC", Trading: true, Status: "live", Tick: tick},
		{Name: "D-USDT-SWAP", Base: "D", Quote: "USDT", Settle: "USDT", Unusual: service.PreListing, Trading: true, Status: "live", Tick: tick},
		{Name: "E-USDT-SWAP", Base: "E", Quote: "USDT", Settle: "USDT", Unusual: service.Stock, Trading: true, Status: "live", Tick: tick},
		{Name: "F-USDT-SWAP", Base: "F", Quote: "USDT", Settle: "USDT", Unusual: service.Stock, Trading: true, Status: "live", Tick: tick},
		{Name: "G-USDT-SWAP", Base: "G", Quote: "USDT", Settle: "USDT", Status: "preopen"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%+v, want\n%+v", err, got, want)
	}
}

func TestListing_RefusesWhatItIsNot(t *testing.T) {
	pair := `{"instId":"A-USDT","state":"live","tickSz":"0.1"}`
	for name, body := range map[string]string{
		"nothing":         "",
		"HTML":            "<html></html>",
		"a list":          "[]",
		"no data":         `{"code":"0","msg":""}`,
		"a refusal":       `{"code":"50026","msg":"System error","data":[]}`,
		"no pairs":        `{"code":"0","data":[]}`,
		"no status":       `{"code":"0","data":[{"instId":"A-USDT","tickSz":"0.1"}]}`,
		"an id of one":    `{"code":"0","data":[{"instId":"A","state":"live","tickSz":"0.1"}]}`,
		"a bad tick":      `{"code":"0","data":[{"instId":"A-USDT","state":"live","tickSz":"-1"}]}`,
		"a pair twice":    `{"code":"0","data":[` + pair + `,` + pair + `]}`,
		"cut off":         `{"code":"0","data":[` + pair,
		"more at the end": `{"code":"0","data":[` + pair + `]}{}`,
	} {
		if got, err := exchangetest.ListFrom(t, Spot, exchangetest.Replies{"/api/v5/public/instruments": body, "/api/v5/market/tickers": `{"code":"0","data":[]}`}); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestRequests(t *testing.T) {
	const hour = 3_600_000
	for _, tt := range []struct {
		got  exchange.Call
		want string
		cost exchange.Cost
	}{
		{Spot.Listing(0, ""), "api/v5/public/instruments?instType=SPOT", exchange.Cost{instruments: 1}},
		{Swap.Listing(1, ""), "api/v5/market/tickers?instType=SWAP", exchange.Cost{tickers: 1}},
		{Spot.Spec().Clock, "api/v5/public/time?", exchange.Cost{}},
		{
			Spot.Klines("BTC-USDT", intervals["1d"], exchange.Window{From: 24 * hour, Through: 72*hour - 1, Rows: 2}),
			"api/v5/market/candles?instId=BTC-USDT&bar=1Dutc&before=86399999&after=259200000&limit=2", exchange.Cost{candles: 1},
		},
		{
			Swap.Klines("BTC-USD-SWAP", intervals["1h"], exchange.Window{From: hour, Through: 100 * hour, Rows: 100, Old: true}),
			"api/v5/market/history-candles?instId=BTC-USD-SWAP&bar=1H&before=3599999&after=360000001&limit=100", exchange.Cost{history: 1},
		},
		{Spot.Klines("", exchange.Native{}, exchange.Window{}), "api/v5/market/candles?instId=&bar=&before=0&after=1&limit=0", exchange.Cost{candles: 1}},
	} {
		if got := tt.got.Path + "?" + tt.got.Query; got != tt.want || tt.got.Cost != tt.cost || tt.got.Body != "" {
			t.Errorf("%s, cost %v; want %s, %v", got, tt.got.Cost, tt.want, tt.cost)
		}
	}
}

func TestRefusals(t *testing.T) {
	for body, want := range map[string]error{
		`{"code":"50011","msg":"Too Many Requests"}`:                                   service.ErrRateLimited,
		`{"msg":"Instrument ID doesn't exist.","data":[],"code":"51001"}`:              service.ErrUnknownSymbol,
		`{"code":"51000","msg":"Parameter bar error","data":[]}`:                       levels.ErrUnknownInterval,
		`{"code":"51000","msg":"Parameter instId error","data":[]}`:                    service.ErrUnknownSymbol,
		`{"code":"51000","msg":"Parameter limit error","data":[]}`:                     service.ErrExchange,
		`{"code":"50013","msg":"Systems are busy. Please try again later.","data":[]}`: service.ErrExchange,
		`{"code":"50001","msg":"Service temporarily unavailable.","data":[]}`:          service.ErrExchange,
	} {
		for name, err := range map[string]error{
			"another status": Spot.Refuse(http.StatusBadRequest, nil, []byte(body)),
			"klines":         func() error { _, err := exchangetest.Decode(Swap, body); return err }(),
			"the time":       func() error { _, err := Spot.DecodeClock(exchangetest.Scan(body)); return err }(),
			"tickers":        Spot.DecodeListing(1, exchangetest.Scan(body), new(exchange.Listing)),
		} {
			exchangetest.Refused(t, name, body, err, want)
		}
	}
	exchangetest.RefusesPages(t, Spot, http.StatusForbidden, "", "<html></html>", `{"code":"0"}`, `{"message":"no"}`, `"text"`)
}

func TestDecodeClock(t *testing.T) {
	if got, err := Spot.DecodeClock(exchangetest.Scan(`{"code":"0","msg":"","data":[{"ts":"1597026383085"}]}`)); got != 1597026383085 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
}

func TestDecodeKlines_RefusesWhatItIsNot(t *testing.T) {
	row := `["3600000","1","2","0.5","1.5","10","20","30","1"]`
	for name, data := range map[string]string{
		"a column missing": `[["3600000","1","2","0.5","1.5","10","20","30"]]`,
		"a row of none":    `[[]]`,
		"an object":        `{"a":1}`,
		"a row in a row":   `[[` + row + `]]`,
		"a bad price":      `[["3600000","1","2","x","1.5","10","20","30","1"]]`,
		"no volume":        `[["3600000","1","2","0.5","1.5","","","30","1"]]`,
		"null":             `null`,
	} {
		for _, v := range []exchange.Venue{Spot, Swap} {
			if got, err := exchangetest.Decode(v, `{"code":"0","msg":"","data":`+data+`}`); err == nil {
				t.Errorf("%s: %v", name, got)
			}
		}
	}
	whole := `{"code":"0","msg":"","data":[` + row + `,` + row + `]}`
	exchangetest.RefusesParts(t, Spot, whole)
}

// page is a response of n rows as the venue writes them.
func page(n int) string {
	var b strings.Builder
	b.WriteString(`{"code":"0","msg":"","data":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `["%d","43016.1","43183.8","42946","43169.7","404.74017381","17447600.212916623","17447600.212916623","1"]`, 1_705_431_600_000-i*3_600_000)
	}
	b.WriteString(`]}`)
	return b.String()
}

func BenchmarkDecodeKlines(b *testing.B) { exchangetest.BenchmarkKlines(b, Spot, page(300), 300) }

func TestDecodeKlines_AllocatesAtMostTwice(t *testing.T) {
	exchangetest.AllocatesLittle(t, Swap, page(300))
}

func FuzzDecodeKlines(f *testing.F) {
	f.Add(page(2))
	f.Add(`{"data":[["1","1e3","2","1","1.5","0","-0","","0",7]],"code":0}`)
	f.Add(`{"code":"51001","msg":"Instrument ID does not exist.","data":[]}`)
	exchangetest.FuzzKlines(f, oracle, "data", Spot, Swap)
}

func FuzzDecodeListing(f *testing.F) {
	f.Add(`{"code":"0","data":[{"instId":"A-USDT","state":"live","tickSz":"0.1","instCategory":"3"}]}`)
	f.Add(`{"code":"0","data":[{"instId":"A-USDT","last":"2","volCcy24h":"0.1"}]}`)
	exchangetest.FuzzListing(f, Spot, Swap)
}

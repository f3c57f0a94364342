package deribit

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tidemark/exchange"
	"tidemark/exchange/exchangetest"
	"tidemark/levels"
	"tidemark/service"
)

// oracle reads candles with encoding/json, and returns nil for a body that is not a page.
func oracle(body string) []levels.Candle {
	var r map[string]json.RawMessage
	var columns map[string]json.RawMessage
	if json.Unmarshal([]byte(body), &r) != nil || json.Unmarshal(r["result"], &columns) != nil {
		return nil
	}
	var values [6][]json.RawMessage
	for i, name := range []string{"ticks", "open", "high", "low", "close", "volume"} {
		if json.Unmarshal(columns[name], &values[i]) != nil || len(values[i]) != len(values[0]) {
			return nil
		}
	}
	all := []levels.Candle{}
	for j := range values[0] {
		f := func(i int) float64 {
			n, _ := strconv.ParseFloat(strings.Trim(string(values[i][j]), `"`), 64)
			return n
		}
		all = append(all, levels.Candle{OpenTime: int64(f(0)), Open: f(1), High: f(2), Low: f(3), Close: f(4), Volume: f(5)})
	}
	return all
}

// No response is recorded; this one is of ccxt, shortened.
const chart = `{"jsonrpc":"2.0","result":{"volume":[3.6680847969999992,22.682721123,0],"ticks":[1583916960000,1583917020000,1583917080000],` +
	`"status":"ok","open":[7834,7839,7833.5],"low":[7834,7833.5,7833.5],"high":[7839.5,7839,7833.5],"cost":[28740,177740,0],"close":[7839.5,7833.5,7833.5]},` +
	`"usIn":1583917166709801,"usOut":1583917166710175,"usDiff":374,"testnet":false}`

func TestDecodeKlines(t *testing.T) {
	want := []levels.Candle{
		{OpenTime: 1583916960000, Open: 7834, High: 7839.5, Low: 7834, Close: 7839.5, Volume: 3.6680847969999992},
		{OpenTime: 1583917020000, Open: 7839, High: 7839, Low: 7833.5, Close: 7833.5, Volume: 22.682721123},
		{OpenTime: 1583917080000, Open: 7833.5, High: 7833.5, Low: 7833.5, Close: 7833.5},
	}
	for range 2 { // the memory of the first page is used again
		if got, err := exchangetest.Decode(Futures, chart); err != nil || !slices.Equal(got, want) {
			t.Errorf("%v, %+v", err, got)
		}
	}
	none := `{"result":{"volume":[],"ticks":[],"status":"no_data","open":[],"low":[],"high":[],"cost":[],"close":[]}}`
	if got, err := exchangetest.Decode(Futures, none); err != nil || got != nil {
		t.Errorf("%v, %+v", err, got)
	}
}

func TestDecodeKlines_RefusesWhatItIsNot(t *testing.T) {
	for name, body := range map[string]string{
		"no result": `{"jsonrpc":"2.0"}`, "null": `null`, "a list": `[]`, "a null result": `{"result":null}`, "no columns": `{"result":{}}`,
		"a column missing": strings.Replace(chart, `"high"`, `"hi"`, 1),
		"a column shorter": strings.Replace(chart, `7839.5,7839,7833.5`, `7839.5,7839`, 1),
		"a column longer":  strings.Replace(chart, `7839.5,7839,7833.5`, `7839.5,7839,1,1`, 1),
		"a null":           strings.Replace(chart, `22.682721123`, `null`, 1),
		"more":             chart + "{}",
		"too many":         `{"result":{"ticks":[` + strings.Repeat("1,", 6_000) + `1]}}`,
	} {
		if got, err := exchangetest.Decode(Futures, body); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	for i := range len(chart) {
		if got, err := exchangetest.Decode(Futures, chart[:i]); err == nil {
			t.Errorf("cut at %d: %v", i, got)
		}
	}
	stop := errors.New("stop")
	if err := Futures.DecodeKlines(exchangetest.Scan(chart), exchange.Native{}, func(levels.Candle) error { return stop }); err != stop {
		t.Errorf("%v", err)
	}
}

func TestListing(t *testing.T) {
	instrument := func(name, base, quote, settle, period, tick string) string {
		return `{"tick_size":` + tick + `,"settlement_period":"` + period + `","settlement_currency":"` + settle + `","quote_currency":"` + quote +
			`","kind":"future","is_active":true,"instrument_name":"` + name + `","expiration_timestamp":1653638400000,"counter_currency":"` + quote + `","base_currency":"` + base + `"}`
	}
	summary := func(name, more string) string { return `{"volume":5,"instrument_name":"` + name + `",` + more + `}` }
	envelope := func(result string) string {
		return `{"jsonrpc":"2.0","result":[` + result + `],"usIn":1,"usOut":2,"usDiff":1,"testnet":false}`
	}
	const books = "/api/v2/public/get_book_summary_by_currency?currency="
	got, err := exchangetest.ListFrom(t, Futures, exchangetest.Replies{
		"/api/v2/public/get_instruments": envelope(strings.Join([]string{
			instrument("BTC-PERPETUAL", "BTC", "USD", "BTC", "perpetual", "0.5"),
			instrument("BTC-27MAY22", "BTC", "USD", "BTC", "month", "2.5"),
			instrument("DOGE_USDC-PERPETUAL", "DOGE", "USDC", "USDC", "perpetual", "1.0e-5"),
			strings.Replace(instrument("ETH-PERPETUAL", "ETH", "USD", "ETH", "perpetual", "0.05"), "true", "false", 1),
		}, ",")),
		books + "BTC&kind=future":  envelope(summary("BTC-PERPETUAL", `"volume_usd":7.5,"volume_notional":8`) + "," + summary("BTC-27MAY22", `"volume_usd":6`)),
		books + "ETH&kind=future":  envelope(summary("ETH-PERPETUAL", `"volume_usd":null`)),
		books + "USDC&kind=future": envelope(summary("DOGE_USDC-PERPETUAL", `"volume_notional":9`)),
		books + "USDT&kind=future": envelope(""),
	})
	want := []string{
		"BTC-27MAY22 BTC/USD:BTC-220527 dated {25 1} 6 open", "BTC-PERPETUAL BTC/USD:BTC  {5 1} 8 open",
		"DOGE_USDC-PERPETUAL DOGE/USDC:USDC  {1 5} 9 open", "ETH-PERPETUAL ETH/USD:ETH  {5 2} 0 closed",
	}
	var all []string
	for _, s := range got {
		all = append(all, fmt.Sprint(s.Name, " ", s.Canonical(), " ", s.Unusual, " ", s.Tick, " ", s.QuoteVolume, " ", s.Status))
		if s.Trading != (s.Status == "open") {
			t.Errorf("%+v", s)
		}
	}
	if err != nil || !slices.Equal(all, want) {
		t.Errorf("%v\n%q, want\n%q", err, all, want)
	}
	if got, err := exchangetest.ListFrom(t, Futures, exchangetest.Replies{"/api/v2/public/get_instruments": envelope(instrument("A", "A", "USD", "A", "perpetual", "-1"))}); err == nil {
		t.Errorf("a bad tick: %+v", got)
	}
}

func TestRequests(t *testing.T) {
	for _, tt := range []struct {
		got  exchange.Call
		want string
	}{
		{Futures.Listing(0, ""), "api/v2/public/get_instruments?currency=any&kind=future&expired=false"},
		{Futures.Listing(1, ""), "api/v2/public/get_book_summary_by_currency?currency=BTC&kind=future"},
		{Futures.Listing(1, "USDC"), "api/v2/public/get_book_summary_by_currency?currency=USDC&kind=future"},
		{Futures.Spec().Clock, "api/v2/public/get_time?"},
		{
			Futures.Klines("BTC-PERPETUAL", intervals["2h"], exchange.Window{From: 7_200_000, Through: 14_400_000, Rows: 2}),
			"api/v2/public/get_tradingview_chart_data?instrument_name=BTC-PERPETUAL&resolution=120&start_timestamp=7199999&end_timestamp=14400001",
		},
		{Futures.Klines("", exchange.Native{}, exchange.Window{}), "api/v2/public/get_tradingview_chart_data?instrument_name=&resolution=&start_timestamp=0&end_timestamp=1"},
	} {
		if got := tt.got.Path + "?" + tt.got.Query; got != tt.want || tt.got.Cost != (exchange.Cost{1}) || tt.got.Body != "" {
			t.Errorf("%s, cost %v; want %s", got, tt.got.Cost, tt.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for body, want := range map[string]error{
		`{"jsonrpc":"2.0","error":{"message":"too_many_requests","code":10028},"usIn":1}`:                                                              service.ErrRateLimited,
		`{"error":{"code":13020,"message":"not_found"},"jsonrpc":"2.0"}`:                                                                               service.ErrUnknownSymbol,
		`{"jsonrpc":"2.0","error":{"message":"Invalid params","data":{"reason":"wrong format","param":"instrument_name"},"code":-32602},"usIn":1}`:     service.ErrUnknownSymbol,
		`{"jsonrpc":"2.0","error":{"message":"Invalid params","data":{"reason":"invalid","param":"resolution"},"code":-32602}}`:                        levels.ErrUnknownInterval,
		`{"jsonrpc":"2.0","error":{"message":"Invalid params","data":{"reason":"invalid currency","param":"currency"},"code":-32602},"testnet":false}`: service.ErrExchange,
		`{"jsonrpc":"2.0","error":{"message":"system_maintenance","code":11051,"data":null}}`:                                                          service.ErrExchange,
	} {
		for name, err := range map[string]error{
			"another status": Futures.Refuse(400, nil, []byte(body)),
			"klines":         func() error { _, err := exchangetest.Decode(Futures, body); return err }(),
			"the time":       func() error { _, err := Futures.DecodeClock(exchangetest.Scan(body)); return err }(),
			"pairs":          Futures.DecodeListing(0, exchangetest.Scan(body), new(exchange.Listing)),
			"volumes":        Futures.DecodeListing(1, exchangetest.Scan(body), new(exchange.Listing)),
		} {
			refused, ok := errors.AsType[*exchange.Refusal](err)
			if !ok || !errors.Is(err, want) || refused.Msg == "" || !strings.Contains(body, refused.Code) {
				t.Errorf("%s in %s: %v, want %v", name, body, err, want)
			}
		}
	}
	for _, page := range []string{"", "<html></html>", `{"jsonrpc":"2.0"}`, `{"error":"no"}`, `[1]`, `null`} {
		if err := Futures.Refuse(500, nil, []byte(page)); err != nil {
			t.Errorf("%q: %v", page, err)
		}
	}
	if got, err := Futures.DecodeClock(exchangetest.Scan(`{"jsonrpc":"2.0","result":1550147385946,"usIn":1}`)); got != 1550147385946 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
}

// long is a response of n candles as the venue writes them.
func long(n int) string {
	column := func(name string, value func(i int) string) string {
		var all []string
		for i := range n {
			all = append(all, value(i))
		}
		return `"` + name + `":[` + strings.Join(all, ",") + `]`
	}
	number := func(text string) func(int) string { return func(int) string { return text } }
	return `{"jsonrpc":"2.0","result":{` + strings.Join([]string{
		column("volume", number("22.682721123")),
		column("ticks", func(i int) string { return strconv.Itoa(1_583_916_960_000 + i*60_000) }),
		`"status":"ok"`, column("open", number("7839.5")), column("low", number("7833.5")), column("high", number("7840.5")),
		column("cost", number("177740.0")), column("close", number("7834.0")),
	}, ",") + `},"usIn":1583917166709801,"usOut":1583917166710175,"usDiff":374,"testnet":false}`
}

func BenchmarkDecodeKlines(b *testing.B) {
	body := long(maxRows)
	buf := make([]byte, 32<<10)
	r := strings.NewReader(body)
	n := 0
	count := func(levels.Candle) error { n++; return nil }
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(body)
		n = 0
		if err := Futures.DecodeKlines(exchange.NewScanner(r, buf), exchange.Native{}, count); err != nil || n != maxRows {
			b.Fatal(n, err)
		}
	}
}

func FuzzDecodeKlines(f *testing.F) {
	f.Add(chart)
	f.Add(`{"result":{"volume":["1e3"],"ticks":["5"],"open":[2],"low":[1],"high":[-0],"close":[1],"ticks":[7]},"error":null}`)
	f.Fuzz(func(t *testing.T, body string) {
		got, err := exchangetest.Decode(Futures, body)
		if err != nil {
			return
		}
		if !json.Valid([]byte(body)) {
			t.Fatalf("%q is accepted", body)
		}
		if strings.Count(body, "result") > 1 { // of members of one name the oracle takes the last
			return
		}
		for _, name := range names {
			if strings.Count(body, `"`+name+`"`) > 1 {
				return
			}
		}
		for i, want := range oracle(body) {
			if want.OpenTime < 1e14 && want.OpenTime > -1e14 && got[i] != want {
				t.Fatalf("%q: %v, want %v", body, got[i], want)
			}
		}
	})
}

func FuzzDecodeListing(f *testing.F) {
	f.Add(`{"result":[{"instrument_name":"A","tick_size":1.0e-5,"is_active":true}]}`)
	f.Add(`{"result":[{"instrument_name":"A","volume_usd":1}],"usIn":1}`)
	exchangetest.FuzzListing(f, Futures)
}

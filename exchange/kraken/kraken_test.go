package kraken

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tidemark/exchange"
	"tidemark/exchange/exchangetest"
	"tidemark/levels"
	"tidemark/service"
)

// oracle reads candles with encoding/json.
func oracle(_ exchange.Venue, body string) (all []levels.Candle, ok bool) {
	d := json.NewDecoder(bytes.NewReader(exchangetest.Member([]byte(body), "result")))
	if open, _ := d.Token(); open != json.Delim('{') {
		return nil, false
	}
	for d.More() {
		pair, _ := d.Token()
		var rows json.RawMessage
		if d.Decode(&rows) != nil {
			return nil, false
		}
		if pair == "last" {
			continue
		}
		more, ok := exchangetest.Rows(rows, 1000, 8, 0, 1, 2, 3, 4, 6)
		if !ok {
			return nil, false
		}
		all = append(all, more...)
	}
	return all, true
}

const pairsPath, stocksPath, tickerPath = "/0/public/AssetPairs", "/0/public/AssetPairs?aclass_base=tokenized_asset", "/0/public/Ticker"

const (
	nothing = `{"error":[],"result":{}}`
	btcOnly = `{"error":[],"result":{"XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT/USD","aclass_base":"currency","base":"XXBT","quote":"ZUSD","pair_decimals":1,"tick_size":"0.1","status":"online"}}}`
)

func TestRecordings(t *testing.T) {
	all := exchangetest.Bodies(t, "kraken")
	for name, body := range all {
		switch kind, _, _ := strings.Cut(name, "_"); kind {
		case "OHLC":
			exchangetest.Agrees(t, name, Spot, body, oracle)
			got, _ := exchangetest.Decode(Spot, body)
			var c levels.Candles
			c.Reset("1m", len(got))
			for _, k := range got {
				if err := c.Append(k); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		case "error":
			want := map[string]error{
				"error_bad_interval": levels.ErrUnknownInterval, "error_too_many_requests": service.ErrRateLimited, "error_unknown_pair": service.ErrUnknownSymbol,
			}[name]
			_, err := exchangetest.Decode(Spot, body)
			exchangetest.Refused(t, name, body, err, want)
			exchangetest.Refused(t, name, body, Spot.Refuse(429, nil, []byte(body)), want)
		case "AssetPairs", "Ticker": // below
		case "SystemStatus": // has a time, but Time is shorter
		case "ws": // see TestStream_Recordings
		default:
			t.Errorf("%s is not tested", name)
		}
	}
	if len(all) == 0 {
		return
	}
	if got, _ := exchangetest.Decode(Spot, all["OHLC_XBTUSDT_1m_721"]); len(got) != 721 || got[720] != (levels.Candle{
		OpenTime: 1762820220_000, Open: 105899.4, High: 105899.4, Low: 105899.4, Close: 105899.4,
	}) {
		t.Errorf("%d candles", len(got))
	}

	got, err := exchangetest.ListFrom(t, Spot, exchangetest.Replies{pairsPath: all["AssetPairs_2025"], stocksPath: all["AssetPairs_tokenized"], tickerPath: all["Ticker"]})
	if want := []service.Symbol{
		{Name: "AAPLxUSD", Base: "AAPLx", Quote: "USD", Unusual: service.Stock, Trading: true, Status: "online", Tick: service.Tick{Units: 1, Decimals: 2}},
		{Name: "XBTUSDT", Base: "BTC", Quote: "USDT", Trading: true, Status: "online", Tick: service.Tick{Units: 1, Decimals: 1}, QuoteVolume: 163.28908096 * 105904.39279},
	}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v: %+v", err, got)
	}
	// without a status and a tick
	got, err = exchangetest.ListFrom(t, Spot, exchangetest.Replies{pairsPath: all["AssetPairs_2021"], stocksPath: nothing, tickerPath: nothing})
	names := map[string]service.Symbol{}
	for _, p := range got {
		names[p.Canonical()] = p
		if !p.Trading || p.Tick.Units != 1 || p.Name != strings.ReplaceAll(strings.ReplaceAll(p.Base+p.Quote, "BTC", "XBT"), "/", "") {
			t.Errorf("%+v", p)
		}
	}
	if err != nil || len(got) != 15 || names["AAVE/BTC"].Tick.Decimals != 6 || names["ADA/ETH"].Tick.Decimals != 7 {
		t.Errorf("%v: %+v", err, got)
	}
}

func TestKlines_Requests(t *testing.T) {
	for _, c := range []struct {
		symbol string
		from   int64
		want   string
	}{
		{"XXBTZUSD", 1762777020_000, "pair=XXBTZUSD&interval=60&since=1762777019"},
		{"XXBTZUSD", 1762777020_001, "pair=XXBTZUSD&interval=60&since=1762777020"},
		{"AAPLxUSD", 1762777020_000, "pair=AAPLxUSD&interval=60&since=1762777019&asset_class=tokenized_asset"},
		{"测USD", 0, "pair=%E6%B5%8BUSD&interval=60&since=0"},
		{"", 0, "pair=&interval=60&since=0"},
	} {
		call := Spot.Klines(c.symbol, exchange.Native{Name: "60"}, exchange.Window{From: c.from})
		if call.Path != "0/public/OHLC" || call.Query != c.want || call.Body != "" || call.Cost != one {
			t.Errorf("%+v, want %s", call, c.want)
		}
	}
}

func TestDecodeKlines(t *testing.T) {
	want := []levels.Candle{{OpenTime: 1591475580_000, Open: 2, High: 4, Low: 1, Close: 3, Volume: 9.122}}
	for _, body := range []string{
		`{"error":[],"result":{"XETHXXBT":[[1591475580,"2","4","1","3","2.5","9.12200000",5]],"last":1591475520}}`,
		` { "result" : { "last":1, "XETHXXBT" : [ [ 1591475580 , "2" , 4 , "1" , 3 , "0.0" , "9.122" , 0 , "new" ] ] } , "error":["WGeneral:Danger"], "later":{}}`,
	} {
		if got, err := exchangetest.Decode(Spot, body); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", body, got, err)
		}
	}
	if got, err := exchangetest.Decode(Spot, `{"error":[],"result":{"XETHXXBT":[],"last":0}}`); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	for _, body := range []string{
		`{"error":[],"result":{"A":[[1591475580,"2","4","1","3","2.5","9"]]}}`, `{"error":[],"result":{"A":[[1591475580000,"2","4","1","3","2.5","9",1]]}}`,
		`{"error":[],"result":{"A":[[1591475580,"2","4","1","NaN","2.5","9",1]]}}`, `{"error":[],"result":null}`, `{"error":[]}`, `{}`, `[]`, `<html>`, ``,
		`{"error":[],"result":{"A":[]}`,
	} {
		if got, err := exchangetest.Decode(Spot, body); err == nil {
			t.Errorf("%s: %v", body, got)
		}
	}
	// An error counts wherever it stands.
	late := `{"result":{"A":[]},"error":["EService:Unavailable"]}`
	_, err := exchangetest.Decode(Spot, late)
	exchangetest.Refused(t, "an error after the result", late, err, service.ErrExchange)
}

func TestDecodeListing(t *testing.T) {
	pairs := `{"error":[],"result":{
	 "XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT\/USD","aclass_base":"currency","base":"XXBT","quote":"ZUSD","pair_decimals":1,"tick_size":"0.1","status":"online","fees":[[0,0.4]]},
	 "XDGUSD":{"wsname":"XDG/USD","aclass_base":"currency","base":"XXDG","quote":"ZUSD","pair_decimals":7,"status":"cancel_only"},
	 "XETHXXBT":{"base":"XETH","quote":"XXBT","pair_decimals":5,"status":"online"},
	 "LUNA2USD":{"wsname":"LUNA2/USD","base":"LUNA2","quote":"ZUSD","pair_decimals":4,"status":"online"},
	 "LUNAEUR":{"wsname":"LUNA/EUR","base":"LUNA","quote":"ZEUR","pair_decimals":8,"status":"post_only"},
	 "ZORAUSD":{"wsname":"ZORA/USD","base":"ZORA","quote":"ZUSD","pair_decimals":5,"status":"online"},
	 "XBTUSD:BTNL":{"wsname":"XBT/USD","base":"XXBT","quote":"ZUSD","status":"online"}}}`
	stocks := `{"error":[],"result":{"TSLAxUSD":{"wsname":"TSLAx/USD","aclass_base":"tokenized_asset","base":"TSLAx","quote":"ZUSD","tick_size":"0.01","status":"online"}}}`
	ticker := `{"error":[],"result":{"XXBTZUSD":{"v":["1","2.5"],"p":["9","4"],"t":[1,2]},"XDGUSD":{"v":["0","0.00000000"],"p":["0","0.0"]},"NEWUSD":{"v":["1","1"],"p":["1","1"]}}}`
	want := []service.Symbol{
		{Name: "LUNA2USD", Base: "LUNA", Quote: "USD", Trading: true, Status: "online", Tick: service.Tick{Units: 1, Decimals: 4}},
		{Name: "LUNAEUR", Base: "LUNC", Quote: "EUR", Status: "post_only", Tick: service.Tick{Units: 1, Decimals: 8}},
		{Name: "TSLAxUSD", Base: "TSLAx", Quote: "USD", Unusual: service.Stock, Trading: true, Status: "online", Tick: service.Tick{Units: 1, Decimals: 2}},
		{Name: "XDGUSD", Base: "DOGE", Quote: "USD", Status: "cancel_only", Tick: service.Tick{Units: 1, Decimals: 7}},
		{Name: "XETHXXBT", Base: "ETH", Quote: "BTC", Trading: true, Status: "online", Tick: service.Tick{Units: 1, Decimals: 5}},
		{Name: "XXBTZUSD", Base: "BTC", Quote: "USD", Trading: true, Status: "online", Tick: service.Tick{Units: 1, Decimals: 1}, QuoteVolume: 10},
		{Name: "ZORAUSD", Base: "ZORA", Quote: "USD", Trading: true, Status: "online", Tick: service.Tick{Units: 1, Decimals: 5}},
	}
	got, err := exchangetest.ListFrom(t, Spot, exchangetest.Replies{pairsPath: pairs, stocksPath: stocks, tickerPath: ticker})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%+v, want\n%+v", err, got, want)
	}
	// If the first list has the stocks too, there is no second.
	if got, err := exchangetest.ListFrom(t, Spot, exchangetest.Replies{pairsPath: stocks, tickerPath: nothing}); err != nil || len(got) != 1 {
		t.Errorf("%v: %+v", err, got)
	}
	for name, r := range map[string]exchangetest.Replies{
		"no pairs":          {pairsPath: nothing, tickerPath: nothing},
		"a refusal":         {pairsPath: `{"error":["EService:Unavailable"]}`},
		"no tick":           {pairsPath: strings.Replace(btcOnly, "0.1", "free", 1), stocksPath: nothing, tickerPath: nothing},
		"no ticker":         {pairsPath: btcOnly, stocksPath: nothing, tickerPath: `{"error":["EService:Busy"]}`},
		"a missing column":  {pairsPath: btcOnly, stocksPath: nothing, tickerPath: `{"error":[],"result":{"XXBTZUSD":{"v":["1"],"p":["9","4"]}}}`},
		"a negative volume": {pairsPath: btcOnly, stocksPath: nothing, tickerPath: `{"error":[],"result":{"XXBTZUSD":{"v":["1","-2"],"p":["9","4"]}}}`},
	} {
		if got, err := exchangetest.ListFrom(t, Spot, r); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestDecodeClock(t *testing.T) {
	if got, err := Spot.DecodeClock(exchangetest.Scan(`{"error":[],"result":{"unixtime":1591502873,"rfc1123":"Sun,  7 Jun 20 04:07:53 +0000"}}`)); got != 1591502873_000 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	body := `{"error":["EService:Unavailable"]}`
	_, err := Spot.DecodeClock(exchangetest.Scan(body))
	exchangetest.Refused(t, "the time", body, err, service.ErrExchange)
	if got, err := Spot.DecodeClock(exchangetest.Scan(`[]`)); err == nil {
		t.Errorf("%d", got)
	}
}

func TestRefusals(t *testing.T) {
	for text, want := range map[string]error{
		"EQuery:Unknown asset pair": service.ErrUnknownSymbol, "EQuery:Invalid asset pair": service.ErrUnknownSymbol,
		"EGeneral:Invalid arguments": levels.ErrUnknownInterval, "EGeneral:Invalid arguments:price": service.ErrExchange,
		"EGeneral:Too many requests": service.ErrRateLimited, "EAPI:Rate limit exceeded": service.ErrRateLimited, "EGeneral:Temporary lockout": service.ErrRateLimited,
		"EService:Unavailable": service.ErrExchange, "EService:Busy": service.ErrExchange, "EGeneral:Internal error": service.ErrExchange, "E": service.ErrExchange,
	} {
		body := fmt.Sprintf(`{"error":[%q]}`, text)
		exchangetest.Refused(t, text, body, Spot.Refuse(400, nil, []byte(body+"\n")), want)
		_, err := exchangetest.Decode(Spot, body)
		exchangetest.Refused(t, text, body, err, want)
		if e := refusal(text); e.Code+":"+e.Msg != text && text != "E" {
			t.Errorf("%s is %+v", text, e)
		}
	}
	exchangetest.RefusesPages(t, Spot, 502, "", "<html>", "[]", "{}", `{"error":[]}`, `{"error":"x"}`)
}

func FuzzDecodeKlines(f *testing.F) {
	for _, seed := range []string{
		`{"error":[],"result":{"XETHXXBT":[[1591475580,"2","4","1","3","2.5","9.12200000",5]],"last":1591475520}}`, `{"error":["E:x"]}`, `{"result":{"A":[],"last":{}}}`,
		`{"result":{"A":[[1,1,1,1,1,1,1e3,1,[]],[-5,1,"1e-7",1,1,1,1,1]]},"error":["W"]}`,
	} {
		f.Add(seed)
	}
	exchangetest.FuzzKlines(f, oracle, "result", Spot)
}

func FuzzDecodeListing(f *testing.F) {
	f.Add(btcOnly, nothing, `{"error":[],"result":{"XXBTZUSD":{"v":["1","2.5"],"p":["9","4"]}}}`)
	f.Add(`{"error":[],"result":{"A":{"base":"ZUSD","quote":"XXBT","pair_decimals":99},"A:B":{}}}`, btcOnly, nothing)
	f.Add(`{"error":["E:x"]}`, `{}`, `[]`)
	f.Fuzz(func(t *testing.T, pairs, stocks, ticker string) {
		got, err := exchangetest.ListFrom(t, Spot, exchangetest.Replies{pairsPath: pairs, stocksPath: stocks, tickerPath: ticker})
		if err != nil {
			return
		}
		if !json.Valid([]byte(pairs)) || !json.Valid([]byte(ticker)) {
			t.Fatalf("%q, %q are accepted", pairs, ticker)
		}
		for _, p := range got {
			if p.Name == "" || p.Base == "" || p.Quote == "" || p.Status == "" || p.QuoteVolume < 0 || p.Trading && p.Status != "online" {
				t.Fatalf("%q: %+v", pairs, p)
			}
		}
	})
}

func BenchmarkDecodeKlines(b *testing.B) {
	body := []byte(`{"error":[],"result":{"XXBTZUSD":[`)
	for i := range 721 {
		body = fmt.Appendf(body, `[%d,"106%d.2","106%d.9","106%d.1","106%d.6","106%d.7","0.08%d981",%d],`, 1762777020+60*i, 100+i%99, 199+i%99, 100+i%99, 150+i%50, 140+i%50, 100+i, i)
	}
	exchangetest.BenchmarkKlines(b, Spot, strings.TrimSuffix(string(body), ",")+`],"last":1762820160}}`, 721)
}

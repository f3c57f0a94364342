package kraken

// The bodies here are written, not recorded: after the examples of docs.kraken.com and
// those in the sources of ccxt and Nautilus.

import (
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

const instrumentsPath, tickersPath = "/derivatives/api/v3/instruments", "/derivatives/api/v3/tickers"

func futuresOracle(_ exchange.Venue, body string) ([]levels.Candle, bool) {
	return exchangetest.Objects(exchangetest.Member([]byte(body), "candles"), 1, "time", "open", "high", "low", "close", "volume")
}

func TestFutures_Requests(t *testing.T) {
	w := exchange.Window{From: 1731715200_000, Through: 1731718800_000}
	call := Futures.Klines("PF_XBTUSD", exchange.Native{Name: "1h"}, w)
	if call.Path != "api/charts/v1/trade/PF_XBTUSD/1h" || call.Query != "from=1731715200&to=1731718801" || call.Cost != one {
		t.Errorf("%+v", call)
	}
	w = exchange.Window{From: 1731715200_001, Through: 1731718799_999}
	if call := Futures.Klines("PF_测", exchange.Native{Name: "1m"}, w); call.Path != "api/charts/v1/trade/PF_%E6%B5%8B/1m" || call.Query != "from=1731715201&to=1731718800" {
		t.Errorf("%+v", call)
	}
	if call := Futures.Klines("", exchange.Native{}, exchange.Window{}); call.Cost != one {
		t.Errorf("%+v", call)
	}
}

func TestFutures_DecodeKlines(t *testing.T) {
	for body, want := range map[string][]levels.Candle{
		`{"candles":[{"time":1731715200000,"open":"91069","high":"91373.5","low":"90956","close":"91045.5","volume":"319499"}],"more_candles":true}`: {
			{OpenTime: 1731715200_000, Open: 91069, High: 91373.5, Low: 90956, Close: 91045.5, Volume: 319499},
		},
		` { "more_candles" : false, "candles" : [ { "high":"4", "time":1, "volume":0, "open":"2.00000000000", "later":{}, "close":3, "low":"1" } ] } `: {
			{OpenTime: 1, Open: 2, High: 4, Low: 1, Close: 3},
		},
		`{"candles":[],"more_candles":false}`: nil,
	} {
		if got, err := exchangetest.Decode(Futures, body); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", body, got, err)
		}
	}
	for _, body := range []string{
		`{"candles":[{"time":1,"open":"2","high":"4","low":"1","close":"3"}]}`, `{"candles":[{"time":1.5,"open":"2","high":"4","low":"1","close":"3","volume":1}]}`,
		`{"candles":[{"time":1,"open":"2","high":"4","low":"1","close":"3","volume":null}]}`, `{"candles":[1]}`, `{"candles":null}`, `{"more_candles":false}`, `{}`, `[]`, ``, `<html>`,
		`{"candles":[]`,
	} {
		if got, err := exchangetest.Decode(Futures, body); err == nil {
			t.Errorf("%s: %v", body, got)
		}
	}
}

func TestFutures_DecodeListing(t *testing.T) {
	instruments := `{"result":"success","instruments":[
	 {"symbol":"PI_XBTUSD","type":"futures_inverse","underlying":"rr_xbtusd","tickSize":0.5,"contractSize":1,"tradeable":true,"marginLevels":[{"contracts":0}],"postOnly":false,"base":"BTC","quote":"USD","pair":"BTC:USD"},
	 {"symbol":"PF_XBTUSD","type":"flexible_futures","tickSize":1,"tradeable":true,"category":"Layer 1","tradfi":false,"base":"BTC","quote":"USD","isExpired":false},
	 {"symbol":"PF_PEPEUSD","type":"flexible_futures","tickSize":1e-10,"tradeable":true,"postOnly":true,"base":"PEPE","quote":"USD"},
	 {"symbol":"PF_AAPLXUSD","type":"flexible_futures","tickSize":0.01,"tradeable":true,"base":"AAPLx","quote":"USD"},
	 {"symbol":"PF_EURUSD","type":"flexible_futures","tickSize":0.0001,"tradeable":false,"tradfi":true,"base":"EUR","quote":"USD"},
	 {"symbol":"PF_ANTHROPICXUSD","type":"flexible_futures","tickSize":0.01,"tradeable":true,"category":"Pre-IPO","tradfi":true,"base":"ANTHROPICx","quote":"USD"},
	 {"symbol":"FI_XBTUSD_261226","type":"futures_inverse","tickSize":1,"lastTradingTime":"2026-12-26T15:00:00Z","tradeable":true,"base":"BTC","quote":"USD"},
	 {"symbol":"FF_XBTUSD_260925","type":"flexible_futures","tickSize":1,"lastTradingTime":"2026-09-25T15:00:00.000Z","tradeable":true,"isExpired":true,"base":"XBT","quote":"USD"},
	 {"symbol":"in_xbtusd","type":"spot index","tradeable":false}],"serverTime":"2026-10-06T19:36:58.582Z"}`
	tickers := `{"result":"success","tickers":[
	 {"tag":"perpetual","pair":"BTC:USD","symbol":"PI_XBTUSD","vol24h":21118140,"volumeQuote":260138.8647,"last":91415},
	 {"symbol":"PF_XBTUSD","last":90000.5,"vol24h":2.5,"volumeQuote":225000.75,"suspended":false},
	 {"symbol":"PF_AAPLXUSD","last":200,"vol24h":1.5},
	 {"symbol":"PF_PEPEUSD","vol24h":null,"last":null},
	 {"symbol":"in_xbtusd","last":"40411","lastTime":"2022-02-18T14:16:28.000Z"}],"serverTime":"2026-10-06T19:36:58.582Z"}`
	want := []service.Symbol{
		{Name: "FF_XBTUSD_260925", Base: "BTC", Quote: "USD", Settle: "USD", Expiry: "260925", Unusual: service.Dated, Status: "expired", Tick: service.Tick{Units: 1}},
		{Name: "FI_XBTUSD_261226", Base: "BTC", Quote: "USD", Settle: "BTC", Expiry: "261226", Unusual: service.Dated, Trading: true, Status: "tradeable", Tick: service.Tick{Units: 1}},
		{Name: "PF_AAPLXUSD", Base: "AAPLx", Quote: "USD", Settle: "USD", Unusual: service.Stock, Trading: true, Status: "tradeable", Tick: service.Tick{Units: 1, Decimals: 2}, QuoteVolume: 300},
		{Name: "PF_ANTHROPICXUSD", Base: "ANTHROPICx", Quote: "USD", Settle: "USD", Unusual: service.PreListing, Trading: true, Status: "tradeable", Tick: service.Tick{Units: 1, Decimals: 2}},
		{Name: "PF_EURUSD", Base: "EUR", Quote: "USD", Settle: "USD", Unusual: service.Stock, Status: "suspended", Tick: service.Tick{Units: 1, Decimals: 4}},
		{Name: "PF_PEPEUSD", Base: "PEPE", Quote: "USD", Settle: "USD", Status: "post_only", Tick: service.Tick{Units: 1, Decimals: 10}},
		{Name: "PF_XBTUSD", Base: "BTC", Quote: "USD", Settle: "USD", Trading: true, Status: "tradeable", Tick: service.Tick{Units: 1}, QuoteVolume: 225000.75},
		{Name: "PI_XBTUSD", Base: "BTC", Quote: "USD", Settle: "BTC", Trading: true, Status: "tradeable", Tick: service.Tick{Units: 5, Decimals: 1}, QuoteVolume: 21118140},
	}
	got, err := exchangetest.ListFrom(t, Futures, exchangetest.Replies{instrumentsPath: instruments, tickersPath: tickers})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%+v, want\n%+v", err, got, want)
	}
	for name, r := range map[string]exchangetest.Replies{
		"no contracts":      {instrumentsPath: `{"result":"success","instruments":[]}`},
		"a refusal":         {instrumentsPath: `{"result":"error","error":"Unavailable","serverTime":"2026-10-06T19:36:58.582Z"}`},
		"no base":           {instrumentsPath: `{"instruments":[{"symbol":"PF_XBTUSD","type":"flexible_futures","tickSize":1,"tradeable":true,"quote":"USD"}]}`},
		"no tickers":        {instrumentsPath: instruments, tickersPath: `{"result":"success"}`},
		"a negative volume": {instrumentsPath: instruments, tickersPath: `{"tickers":[{"symbol":"PF_XBTUSD","vol24h":1,"last":-1}]}`},
	} {
		if got, err := exchangetest.ListFrom(t, Futures, r); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestFutures_DecodeClock(t *testing.T) {
	if got, err := Futures.DecodeClock(exchangetest.Scan(`["mark","spot","trade"]`)); got != 0 || err != nil { // the Date header must do
		t.Errorf("%d, %v", got, err)
	}
	body := `{"result":"error","error":"apiLimitExceeded"}`
	_, err := Futures.DecodeClock(exchangetest.Scan(body))
	exchangetest.Refused(t, "the time", body, err, service.ErrRateLimited)
	if _, err := Futures.DecodeClock(exchangetest.Scan(`{}`)); err == nil {
		t.Error("accepted an empty object")
	}
}

func TestFutures_Refusals(t *testing.T) {
	for code, want := range map[string]error{
		"contractNotFound": service.ErrUnknownSymbol, "apiLimitExceeded": service.ErrRateLimited, "Server Error": service.ErrExchange, "Unavailable": service.ErrExchange,
	} {
		body := fmt.Sprintf(`{"result":"error","error":%q,"serverTime":"2016-02-25T09:45:53.818Z"}`, code)
		exchangetest.Refused(t, code, body, Futures.Refuse(400, nil, []byte(body+"\n")), want)
		_, err := exchangetest.Decode(Futures, body)
		exchangetest.Refused(t, code, body, err, want)
	}
	for _, body := range []string{`{}`, `[]`, `{"errors":[{"severity":"error","error_class":"x"}]}`, `"Not Found"`} {
		exchangetest.Refused(t, "HTTP 404", "404 "+body, Futures.Refuse(404, nil, []byte(body)), service.ErrUnknownSymbol)
		if err := Futures.Refuse(503, nil, []byte(body)); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
	exchangetest.RefusesPages(t, Futures, 404, "", "<html>", "404 page not found")
}

func FuzzFutures_DecodeKlines(f *testing.F) {
	for _, seed := range []string{
		`{"candles":[{"time":1731715200000,"open":"91069","high":"91373.5","low":"90956","close":"91045.5","volume":"319499"}],"more_candles":true}`,
		`{"candles":[{"time":-1,"open":2,"high":4e1,"low":"1E-9","close":3,"volume":0,"x":[{}]}]}`, `{"candles":[]}`, `{"error":"x"}`,
	} {
		f.Add(seed)
	}
	exchangetest.FuzzKlines(f, futuresOracle, "candles", Futures)
}

func FuzzFutures_DecodeListing(f *testing.F) {
	f.Add(`{"instruments":[{"symbol":"PF_XBTUSD","type":"flexible_futures","tickSize":1e-10,"tradeable":true,"base":"BTC","quote":"USD","lastTradingTime":"2026-12-26"}],"serverTime":"x"}`,
		`{"tickers":[{"symbol":"PF_XBTUSD","vol24h":1,"last":"2"},{"symbol":"PI_","vol24h":1},{"symbol":""}]}`)
	f.Add(`{"result":"error","error":"x"}`, `{}`)
	f.Fuzz(func(t *testing.T, pairs, tickers string) {
		got, err := exchangetest.ListFrom(t, Futures, exchangetest.Replies{instrumentsPath: pairs, tickersPath: tickers})
		if err != nil {
			return
		}
		if !json.Valid([]byte(pairs)) || !json.Valid([]byte(tickers)) {
			t.Fatalf("%q, %q are accepted", pairs, tickers)
		}
		for _, p := range got {
			if p.Name == "" || p.Base == "" || p.Quote == "" || p.Settle == "" || p.Status == "" || p.QuoteVolume < 0 {
				t.Fatalf("%q: %+v", pairs, p)
			}
		}
	})
}

func BenchmarkFutures_DecodeKlines(b *testing.B) {
	body := []byte(`{"candles":[`)
	for i := range 2000 {
		body = fmt.Appendf(body, `{"time":%d,"open":"91%d","high":"91%d.5","low":"90%d","close":"91%d.5","volume":"0.4893%d"},`, 1731715200000+int64(i)*3600_000, 100+i%99, 300+i%99, 100+i%99, 150+i%50, 1000+i)
	}
	exchangetest.BenchmarkKlines(b, Futures, strings.TrimSuffix(string(body), ",")+`],"more_candles":false}`, 2000)
}

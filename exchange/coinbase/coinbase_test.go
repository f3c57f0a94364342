package coinbase

import (
	"encoding/json"
	"fmt"
	"math"
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
func oracle(_ exchange.Venue, body string) ([]levels.Candle, bool) {
	return exchangetest.Rows([]byte(body), 1000, 6, 0, 3, 2, 1, 4, 5)
}

type product struct {
	ID             string
	Status         string
	QuoteIncrement string `json:"quote_increment"`
	Disabled       bool   `json:"trading_disabled"`
	CancelOnly     bool   `json:"cancel_only"`
}

// products reads pairs with encoding/json, by name.
func products(body string) []service.Symbol {
	var rows []product
	if json.Unmarshal([]byte(body), &rows) != nil {
		return nil
	}
	var all []service.Symbol
	for _, r := range rows {
		p := service.Symbol{Name: r.ID, Status: r.Status, Trading: r.Status == "online" && !r.Disabled && !r.CancelOnly}
		p.Base, p.Quote, _ = strings.Cut(r.ID, "-")
		if p.Base == "CGLD" {
			p.Base = "CELO"
		}
		step, _ := strconv.ParseFloat(r.QuoteIncrement, 64)
		p.Tick = service.Tick{Units: 1, Decimals: int(math.Round(-math.Log10(step)))}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b service.Symbol) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Every recording decodes to its values, but those of /products/{id}/ticker: the client
// reads the volumes of all products at once.
func TestRecordings(t *testing.T) {
	for name, body := range exchangetest.Bodies(t, "coinbase_exchange") {
		switch kind, _, _ := strings.Cut(name, "_"); kind {
		case "candles":
			exchangetest.Agrees(t, name, Exchange, body, oracle)
			got, _ := exchangetest.Decode(Exchange, body)
			var c levels.Candles // newest first, and all of them possible
			c.Reset("1m", len(got))
			for _, k := range slices.Backward(got) {
				if err := c.Append(k); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		case "products":
			want := products(body)
			got, err := exchangetest.ListFrom(t, Exchange, exchangetest.Replies{"/products": body, "/products/stats": "{}"})
			if err != nil || len(want) < 10 || !slices.Equal(got, want) {
				t.Errorf("%s: %v\n%+v, want\n%+v", name, err, got, want)
			}
		case "error":
			exchangetest.Refused(t, name, body, Exchange.Refuse(http.StatusNotFound, nil, []byte(body)), service.ErrUnknownSymbol)
			_, err := exchangetest.Decode(Exchange, body)
			exchangetest.Refused(t, name, body, err, service.ErrUnknownSymbol)
		case "ticker", "tickers", "ccxt":
		default:
			t.Errorf("%s is not tested", name)
		}
	}
}

func TestKlines_Requests(t *testing.T) {
	at := func(text string) int64 {
		v, err := time.Parse("02 15:04:05.000", text)
		if err != nil {
			t.Fatal(err)
		}
		return v.AddDate(2026, 10, 0).UnixMilli()
	}
	sec := func(text string) string { return strconv.FormatInt(at(text)/1000, 10) }
	for _, c := range []struct {
		name                string
		from, through, now  string
		wantStart, wantStop string
	}{
		{"a page of the past keeps its address", "01 00:00:00.000", "01 04:49:59.999", "20 10:00:00.000", "01 00:00:00.000", "01 04:50:00.000"},
		{"a start in the middle of a second", "01 00:00:00.001", "01 04:49:59.999", "20 10:00:00.000", "01 00:00:01.000", "01 04:50:00.000"},
		{"the newest page ends now", "20 08:00:00.000", "20 09:59:00.000", "20 10:00:00.000", "20 08:00:00.000", "20 10:00:01.000"},
		{"and also a few minutes later, of candles to merge", "20 08:00:00.000", "20 09:55:00.000", "20 10:01:59.900", "20 08:00:00.000", "20 10:02:00.000"},
		{"what is older than the cache may come from it", "20 08:00:00.000", "20 09:51:00.000", "20 10:00:00.000", "20 08:00:00.000", "20 09:51:01.000"},
		{"the forming candle ends now", "20 10:00:00.000", "20 10:01:59.999", "20 10:00:20.000", "20 10:00:00.000", "20 10:00:21.000"},
	} {
		call := Exchange.Klines("BTC-USD", exchange.Native{Name: "60", Rows: rows}, exchange.Window{
			From: at(c.from), Through: at(c.through), Now: at(c.now), Step: 60_000, Rows: rows,
		})
		want := "granularity=60&start=" + sec(c.wantStart) + "&end=" + sec(c.wantStop)
		if call.Path != "products/BTC-USD/candles" || call.Query != want || call.Body != "" || call.Cost != one {
			t.Errorf("%s: %s?%s, want %s", c.name, call.Path, call.Query, want)
		}
	}
	if call := Exchange.Klines("测/试-USD", exchange.Native{}, exchange.Window{}); call.Path != "products/%E6%B5%8B%2F%E8%AF%95-USD/candles" || call.Cost != one {
		t.Errorf("%+v", call)
	}
}

// A page is refused if its range is longer than 300 candles, with the moving end too.
func TestKlines_NoRangeIsTooLong(t *testing.T) {
	for interval, n := range Exchange.Spec().Intervals {
		step := interval.Milliseconds()
		now := int64(1_795_000_000_123)
		for _, late := range []int64{0, step - 1, step + cacheAge - 1, step + cacheAge} {
			through := now - late
			w := exchange.Window{From: through - int64(n.Rows)*step + 1, Through: through, Now: now, Step: step, Rows: n.Rows}
			var granularity, start, end int64
			if _, err := fmt.Sscanf(Exchange.Klines("X", n, w).Query, "granularity=%d&start=%d&end=%d", &granularity, &start, &end); err != nil {
				t.Fatal(err)
			}
			if granularity*1000 != step || end-start > 300*granularity {
				t.Errorf("%s, %d ms late: %d s are more than 300 candles", interval, late, end-start)
			}
		}
	}
}

func TestDecodeKlines(t *testing.T) {
	for body, want := range map[string][]levels.Candle{
		`[]`: nil,
		` [ [1591514160, 1.5, 4, 2, 3e0, 0.02816506] , [1591514100,1.5E-5,4,2,3,0] ] `: {
			{OpenTime: 1591514160_000, Low: 1.5, High: 4, Open: 2, Close: 3, Volume: 0.02816506},
			{OpenTime: 1591514100_000, Low: 1.5e-5, High: 4, Open: 2, Close: 3},
		},
		`[[1591514160,1,4,2,3,5,"a new column"]]`: {{OpenTime: 1591514160_000, Low: 1, High: 4, Open: 2, Close: 3, Volume: 5}},
	} {
		if got, err := exchangetest.Decode(Exchange, body); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", body, got, err)
		}
	}
	for _, body := range []string{
		`[[1591514160,1,4,2,3]]`, `[[1591514160.5,1,4,2,3,5]]`, `[[1591514160000,1,4,2,3,5]]`, `[[1591514160,null,4,2,3,5]]`,
		`[[1591514160,1,4,2,3,5],]`, `[[1591514160,1,4,2,3,5]`, `[1]`, `null`, `{}`, `<html>`, ``,
	} {
		if got, err := exchangetest.Decode(Exchange, body); err == nil {
			t.Errorf("%s: %v", body, got)
		}
	}
}

func TestDecodeListing(t *testing.T) {
	pairs := `[
	 {"id":"BTC-USD","base_currency":"BTC","quote_currency":"USD","quote_increment":"0.01","status":"online","trading_disabled":false,"cancel_only":false,"later":[{}]},
	 {"id":"BTCAUCTION-USD","base_currency":"BTC","quote_currency":"USD","quote_increment":"0.01","status":"online","cancel_only":true},
	 {"id":"CGLD-EUR","quote_increment":"0.0001","status":"online","trading_disabled":true},
	 {"id":"GAL-USDT","quote_increment":"1e-08","status":"delisted","trading_disabled":true}]`
	stats := `{"BTC-USD":{"stats_30day":{"volume":"9"},"stats_24hour":{"open":"1","high":"4","low":"1","last":"3","volume":"7.5"}},
	 "CGLD-EUR":{"stats_30day":{"volume":"9"},"stats_24hour":{"volume":"","last":null}},"NEW-USD":{"stats_24hour":{"last":"3","volume":"7.5"}},"GAL-USDT":{}}`
	want := []service.Symbol{
		{Name: "BTC-USD", Base: "BTC", Quote: "USD", Trading: true, Status: "online", Tick: service.Tick{Units: 1, Decimals: 2}, QuoteVolume: 22.5},
		{Name: "BTCAUCTION-USD", Base: "BTCAUCTION", Quote: "USD", Status: "online", Tick: service.Tick{Units: 1, Decimals: 2}},
		{Name: "CGLD-EUR", Base: "CELO", Quote: "EUR", Status: "online", Tick: service.Tick{Units: 1, Decimals: 4}},
		{Name: "GAL-USDT", Base: "GAL", Quote: "USDT", Status: "delisted", Tick: service.Tick{Units: 1, Decimals: 8}},
	}
	got, err := exchangetest.ListFrom(t, Exchange, exchangetest.Replies{"/products": pairs, "/products/stats": stats})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%+v, want\n%+v", err, got, want)
	}
	for name, r := range map[string]exchangetest.Replies{
		"no tick":             {"/products": `[{"id":"BTC-USD","quote_increment":"free","status":"online"}]`},
		"no quote":            {"/products": `[{"id":"BTC","quote_increment":"1","status":"online"}]`},
		"no pairs":            {"/products": `[]`},
		"a refusal":           {"/products": `{"message":"The exchange is under maintenance"}`},
		"a refusal of volume": {"/products": pairs, "/products/stats": `{"message":"The exchange is under maintenance"}`},
		"a negative volume":   {"/products": pairs, "/products/stats": `{"BTC-USD":{"stats_24hour":{"last":"3","volume":"-7.5"}}}`},
		"an array of volumes": {"/products": pairs, "/products/stats": `[]`},
	} {
		if got, err := exchangetest.ListFrom(t, Exchange, r); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestDecodeClock(t *testing.T) {
	if got, err := Exchange.DecodeClock(exchangetest.Scan(`{"iso":"2020-05-12T08:00:51.504Z","epoch":1589270451.504}`)); got != 1589270451504 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	for _, body := range []string{`{}`, `{"epoch":0}`, `{"epoch":1589270451504}`, `[]`, `{"epoch":1589270451.504`, `{"message":"Slow down"}`} {
		if got, err := Exchange.DecodeClock(exchangetest.Scan(body)); err == nil {
			t.Errorf("%s: %d", body, got)
		}
	}
}

func TestRefusals(t *testing.T) {
	for msg, want := range map[string]error{
		"NotFound": service.ErrUnknownSymbol, "Unsupported granularity": levels.ErrUnknownInterval,
		"Public rate limit exceeded": service.ErrRateLimited, "Slow rate limit exceeded": service.ErrRateLimited,
		"granularity too small for the requested time range. Count of aggregations requested exceeds 300": service.ErrExchange,
		"Internal server error": service.ErrExchange,
	} {
		body := fmt.Sprintf(`{"message":%q}`, msg)
		exchangetest.Refused(t, msg, body, Exchange.Refuse(400, nil, []byte(body+"\n")), want)
		_, err := exchangetest.Decode(Exchange, body)
		exchangetest.Refused(t, msg, body, err, want)
		_, err = Exchange.DecodeClock(exchangetest.Scan(body))
		exchangetest.Refused(t, msg, body, err, want)
	}
	exchangetest.RefusesPages(t, Exchange, 502, "", "<html>", "[]", "{}", `{"message":""}`, `{"message":{}}`)
}

func FuzzDecodeKlines(f *testing.F) {
	for _, seed := range []string{`[[1591514160,1.5,4,2,3,0.02]]`, `[[1591514160,1e-9,4E2,2,3,0],[1,1,1,1,1,1,[]]]`, `[]`, `{"message":"x"}`, `[[-1,1,1,1,1,1]]`, ` [ [ 1 , 1 , 1 , 1 , 1 , "1" ] ] `} {
		f.Add(seed)
	}
	exchangetest.FuzzKlines(f, oracle, "", Exchange)
}

func FuzzDecodeListing(f *testing.F) {
	f.Add(`[{"id":"BTC-USD","quote_increment":"0.01","status":"online","trading_disabled":false}]`, `{"BTC-USD":{"stats_24hour":{"last":"3","volume":"7.5"}}}`)
	f.Add(`[{"id":"A-B","quote_increment":"1","status":"x"},{"id":"A-C","quote_increment":"10","status":"online"}]`, `{"A-B":{"stats_24hour":{"last":null,"volume":""}},"A-B":{}}`)
	f.Add(`{"message":"x"}`, `{"message":"x"}`)
	f.Fuzz(func(t *testing.T, pairs, stats string) {
		got, err := exchangetest.ListFrom(t, Exchange, exchangetest.Replies{"/products": pairs, "/products/stats": stats})
		if err != nil {
			return
		}
		if !json.Valid([]byte(pairs)) || !json.Valid([]byte(stats)) {
			t.Fatalf("%q, %q are accepted", pairs, stats)
		}
		for _, p := range got {
			if p.Name == "" || p.Base == "" || p.Quote == "" || p.Status == "" || p.QuoteVolume < 0 || p.Trading && p.Status != "online" {
				t.Fatalf("%q: %+v", pairs, p)
			}
		}
	})
}

// page returns a body of n rows with prices of the usual lengths.
func page(n int) []byte {
	b := []byte{'['}
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, "[%d,115%d.97,115%d.7,115%d.6,115%d.93,0.6179%d]", 1755496620-60*i, 600+i%100, 703+i%100, 603+i%99, 639+i%60, 1000+i)
	}
	return append(b, ']')
}

func BenchmarkDecodeKlines(b *testing.B) {
	exchangetest.BenchmarkKlines(b, Exchange, string(page(rows)), rows)
}

package binance

import (
	"encoding/json"
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

// futuresOracle reads candles with encoding/json.
func futuresOracle(v exchange.Venue, body string) ([]levels.Candle, bool) {
	volume := 5
	if v == COINM {
		volume = 7
	}
	return exchangetest.Rows([]byte(body), 1, 12, 0, 1, 2, 3, 4, volume)
}

// Every recording decodes to its values, but those of web sockets: no feed is read.
func TestFutures_Recordings(t *testing.T) {
	left := exchangetest.Bodies(t, "binance_usdm")
	for name, body := range left {
		switch kind, _, _ := strings.Cut(name, "_"); kind {
		case "ws":
		case "klines":
			exchangetest.Agrees(t, name, USDM, body, futuresOracle)
			exchangetest.Agrees(t, name, COINM, body, futuresOracle)
		case "exchangeInfo":
			got, err := exchangetest.List(t, USDM, body, `[]`)
			if want := futuresSymbols(t, body); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %v\n%+v, want\n%+v", name, err, got, want)
			}
		case "error":
			want := map[string]error{"error_klines_dapi_range_too_long": service.ErrExchange, "error_ticker24hr_expired_symbol": service.ErrUnknownSymbol}[name]
			for _, v := range []exchange.Venue{USDM, COINM} {
				exchangetest.Refused(t, name, body, v.Refuse(http.StatusBadRequest, nil, []byte(body)), want)
			}
		case "ticker24hr":
			if body[0] == '{' { // asked for one pair; the client always asks for all
				body = "[" + body + "]"
			}
			if err := USDM.DecodeListing(1, exchangetest.Scan(body), new(exchange.Listing)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		default:
			t.Errorf("%s is not tested", name)
		}
	}
	if body, ok := left["ticker24hr_all"]; ok {
		got, err := exchangetest.List(t, USDM, left["exchangeInfo_2021"], body)
		i := slices.IndexFunc(got, func(s service.Symbol) bool { return s.Name == "BTCUSDT" })
		if err != nil || i < 0 || got[i].QuoteVolume != 10941924833.36 || got[i].Canonical() != "BTC/USDT:USDT" {
			t.Errorf("%v, %+v", err, got)
		}
	}
}

func futuresSymbols(t *testing.T, body string) (all []service.Symbol) {
	t.Helper()
	var l struct {
		Symbols []struct {
			Symbol, Status, BaseAsset, QuoteAsset, MarginAsset, ContractType string
			DeliveryDate                                                     int64
			Filters                                                          []struct{ FilterType, TickSize string }
		}
	}
	if err := json.Unmarshal([]byte(body), &l); err != nil {
		t.Fatal(err)
	}
	for _, p := range l.Symbols {
		s := service.Symbol{Name: p.Symbol, Base: p.BaseAsset, Quote: p.QuoteAsset, Settle: p.MarginAsset, Status: p.Status, Trading: p.Status == "TRADING"}
		if p.ContractType == "CURRENT_QUARTER" {
			s.Unusual, s.Expiry = service.Dated, time.UnixMilli(p.DeliveryDate).UTC().Format("060102")
		}
		for _, f := range p.Filters {
			if f.FilterType == "PRICE_FILTER" {
				s.Tick, _ = exchange.ParseTick([]byte(f.TickSize))
			}
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b service.Symbol) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func TestFutures_ListSaysWhatIsUnusual(t *testing.T) {
	pair := func(name, base, kind, more string) string {
		return `{"symbol":"` + name + `","contractType":"` + kind + `","deliveryDate":1798704000000,"status":"TRADING","baseAsset":"` + base +
			`","quoteAsset":"USDT","marginAsset":"USDT"` + more + `}`
	}
	got, err := exchangetest.List(t, USDM, `{"symbols":[`+strings.Join([]string{
		pair("AUSDT", "A", "PERPETUAL", `,"underlyingType":"COIN"`),
		pair("BUSDT", "B", "", `,"underlyingType":"COIN"`), // not yet trading
		pair("CUSDT", "C", "TRADIFI_PERPETUAL", `,"underlyingType":"KR_EQUITY"`),
		pair("DUSDT", "D", "TRADIFI_PERPETUAL", `,"underlyingType":"COMMODITY"`),
		pair("EUSDT", "E", "PERPETUAL", `,"underlyingType":"PREMARKET"`),
		pair("FUSDT", "F", "PERPETUAL DELIVERING", ``),
		pair("GUSDT_261231", "G", "NEXT_QUARTER", ``),
		pair("HUSDT_261231", "H", "CURRENT_QUARTER DELIVERING", ``),
	}, ",")+`]}`, `[]`)
	want := []string{"A/USDT:USDT ", "B/USDT:USDT ", "C/USDT:USDT stock", "D/USDT:USDT stock", "E/USDT:USDT pre_listing", "F/USDT:USDT ",
		"G/USDT:USDT-261231 dated", "H/USDT:USDT-261231 dated"}
	var all []string
	for _, s := range got {
		all = append(all, s.Canonical()+" "+string(s.Unusual))
	}
	if err != nil || !slices.Equal(all, want) {
		t.Errorf("%v\n%q, want\n%q", err, all, want)
	}
}

func TestFutures_COINMNamesStatusAndVolumeItsOwnWay(t *testing.T) {
	info := `{"symbols":[{"symbol":"BTCUSD_PERP","pair":"BTCUSD","contractType":"PERPETUAL","deliveryDate":4133404800000,"contractStatus":"TRADING",` +
		`"contractSize":100,"marginAsset":"BTC","baseAsset":"BTC","quoteAsset":"USD","filters":[{"filterType":"PRICE_FILTER","tickSize":"0.1"}]}]}`
	ticker := `[{"symbol":"BTCUSD_PERP","pair":"BTCUSD","weightedAvgPrice":"20000.5","volume":"500","baseVolume":"2.5"}]`
	got, err := exchangetest.List(t, COINM, info, ticker)
	want := []service.Symbol{{
		Name: "BTCUSD_PERP", Base: "BTC", Quote: "USD", Settle: "BTC", Trading: true, Status: "TRADING",
		Tick: service.Tick{Units: 1, Decimals: 1}, QuoteVolume: 50001.25,
	}}
	if err != nil || !slices.Equal(got, want) || got[0].Canonical() != "BTC/USD:BTC" {
		t.Errorf("%v, %+v", err, got)
	}
	for _, missing := range []string{"weightedAvgPrice", "baseVolume"} {
		if got, err := exchangetest.List(t, COINM, info, strings.Replace(ticker, missing, "x", 1)); err == nil {
			t.Errorf("without %s: %+v", missing, got)
		}
	}
	if got, err := exchangetest.List(t, USDM, info, ticker); err == nil {
		t.Errorf("without quoteVolume: %+v", got)
	}
}

// A range of COIN-M is at most 200 days long, and a page of either the cheapest per row.
func TestFutures_RequestsStayWithinRangeAndWeight(t *testing.T) {
	for _, v := range []exchange.Venue{USDM, COINM} {
		for i, n := range v.Spec().Intervals {
			w := exchange.Window{Through: int64(n.Rows)*i.Milliseconds() - 1, Rows: n.Rows}
			call := v.Klines("BTCUSD_PERP", n, w)
			if n.Rows > 499 || call.Cost[0] > 2 || v == COINM && w.Through-w.From > 200*24*time.Hour.Milliseconds() {
				t.Errorf("%s %s: %d rows, %+v", v.Spec().Name, i, n.Rows, call)
			}
		}
	}
	if got, want := COINM.Klines("BTCUSD_PERP", exchange.Native{Name: "1h"}, exchange.Window{From: 3_600_000, Through: 7_199_999, Rows: 1}),
		"symbol=BTCUSD_PERP&interval=1h&startTime=3600000&endTime=7199999&limit=1"; got.Path != "dapi/v1/klines" || got.Query != want {
		t.Errorf("%+v", got)
	}
}

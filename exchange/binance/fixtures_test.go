package binance

// Responses recorded from Binance, in a folder outside the repository, decode to
// their values. The folder is optional: written bodies test the same rules.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
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

func TestRecordings_Klines(t *testing.T) {
	rows := map[string]int{
		"klines_BTCUSDT_1d_2019": 366, "klines_BTCUSDT_1d_2019_end_minus1ms": 365, "klines_BTCUSDT_1h_page1_1000": 1000,
		"klines_BTCUSDT_1h_page2_468_gap": 468, "klines_BTCUSDT_1m_range60": 60, "klines_BTCUSDT_1m_single_start_eq_end": 1,
		"klines_BTCUSDT_5m_limit24": 24, "klines_ETHBTC_1d_2023_6rows": 6, "klines_ETHBTC_1m_ccxt": 3,
	}
	for name, r := range exchangetest.Recordings(t, "binance_spot", "klines_*") {
		interval := levels.Interval(strings.Split(name, "_")[2])
		var c levels.Candles
		c.Reset(interval, 0)
		if err := decodeKlines(strings.NewReader(r.Body), nil, &c, everything); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		sameCandles(t, &c, oracle(t, []byte(r.Body)))
		if want, ok := rows[name]; ok && c.Len() != want {
			t.Errorf("%s: %d rows, want %d", name, c.Len(), want)
		}
		missing := 0
		if name == "klines_BTCUSDT_1h_page2_468_gap" {
			missing = 3
		}
		if c.Missing() != missing {
			t.Errorf("%s: %d missing, want %d", name, c.Missing(), missing)
		}
	}
}

func TestRecordings_TwoPagesBecomeOneSeries(t *testing.T) {
	all := exchangetest.Recordings(t, "binance_spot", "klines_BTCUSDT_1h_page*")
	if len(all) == 0 {
		return
	}
	var c levels.Candles
	c.Reset("1h", 0)
	for _, name := range []string{"klines_BTCUSDT_1h_page1_1000", "klines_BTCUSDT_1h_page2_468_gap"} {
		if err := decodeKlines(strings.NewReader(all[name].Body), nil, &c, window{c.AsOf(), math.MaxInt64}); err != nil {
			t.Fatal(err)
		}
	}
	if c.Len() != 1468 || c.Missing() != 3 {
		t.Errorf("%d candles, %d missing", c.Len(), c.Missing())
	}
}

func TestRecordings_Tickers(t *testing.T) {
	want := map[string]map[string]float64{
		"ticker24hr_BTCUSDT":         {"BTCUSDT": 392659910.6266075},
		"ticker24hr_DOGEUSDT":        {"DOGEUSDT": 365772101.018268},
		"ticker24hr_ETHBTC":          {"ETHBTC": 16980.13811233},
		"ticker24hr_all":             {"ETHBTC": 1211.29369168, "LTCBTC": 38.04320147},
		"ticker24hr_symbols_param":   {"BTCUSDT": 2354076638.5966079},
		"ccxt_comment_parseTicker_0": {"BTCUSDT": 1744744445.8064074},
		"ccxt_comment_parseTicker_1": {"SUSDT": 38709237.2289},
	}
	all := exchangetest.Recordings(t, "binance_spot", "ticker24hr_*")
	if len(all) == 0 {
		return
	}
	for name, r := range exchangetest.Recordings(t, "binance_spot", "ccxt_comment_parseTicker_*") {
		all[name] = r
	}
	for name, r := range all {
		body := r.Body
		if body[0] == '{' { // asked for one pair; the client always asks for all
			body = "[" + body + "]"
		}
		var pairs []string // a list of those that the test knows
		for symbol := range want[name] {
			pairs = append(pairs, fmt.Sprintf(`{"symbol":"%s","status":"S","baseAsset":"A","quoteAsset":"B"}`, symbol))
		}
		if len(pairs) == 0 { // other products of Binance: no quote volume
			pairs = []string{`{"symbol":"A","status":"S","baseAsset":"A","quoteAsset":"B"}`}
		}
		all, _, err := listed(t, Spot, exchangeInfo(venueStart.UnixMilli(), page(pairs...)), body)
		if want[name] == nil {
			if err == nil || !strings.Contains(err.Error(), "without symbol or volume") {
				t.Errorf("%s: %v, %v", name, all, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got := map[string]float64{}
		for _, s := range all {
			got[s.Name] = s.QuoteVolume
		}
		for symbol, volume := range want[name] {
			if got[symbol] != volume {
				t.Errorf("%s: %s is %v, want %v", name, symbol, got[symbol], volume)
			}
		}
		delete(want, name)
	}
	if len(want) != 0 {
		t.Errorf("not recorded: %v", want)
	}
}

func TestRecordings_ExchangeInfo(t *testing.T) {
	for name, r := range exchangetest.Recordings(t, "binance_spot", "exchangeInfo_*") {
		got, c, err := listed(t, Spot, r.Body, "[]")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var whole struct {
			Symbols []struct {
				Symbol, Status, BaseAsset, QuoteAsset string
				IsSpotTradingAllowed                  bool
				Filters                               []struct{ FilterType, TickSize string }
			}
		}
		if err := json.Unmarshal([]byte(r.Body), &whole); err != nil {
			t.Fatal(err)
		}
		var want []service.Symbol
		for _, s := range whole.Symbols {
			w := service.Symbol{Name: s.Symbol, Base: s.BaseAsset, Quote: s.QuoteAsset, Status: s.Status, Trading: s.Status == "TRADING" && s.IsSpotTradingAllowed}
			for _, f := range s.Filters {
				if f.FilterType == "PRICE_FILTER" {
					w.Tick, _ = exchange.ParseTick([]byte(f.TickSize))
				}
			}
			want = append(want, w)
		}
		slices.SortFunc(want, func(a, b service.Symbol) int { return strings.Compare(a.Name, b.Name) })
		if !slices.Equal(got, want) {
			t.Errorf("%s: %+v", name, got)
		}
		if limit := map[string]int{"exchangeInfo_2021": 1200, "exchangeInfo_2025": 6000}[name]; c.Status().Budgets[0].Limit != limit {
			t.Errorf("%s: %+v, want a limit of %d", name, c.Status().Budgets, limit)
		}
		i := slices.IndexFunc(got, func(s service.Symbol) bool { return s.Name == "BTCUSDT" })
		if i < 0 || got[i].Tick != (service.Tick{Units: 1, Decimals: 2}) || !got[i].Trading {
			t.Errorf("%s: no BTCUSDT as it was", name)
		}
		if i := slices.IndexFunc(got, func(s service.Symbol) bool { return s.Name == "BCCBTC" }); i >= 0 && got[i].Trading {
			t.Errorf("%s: a delisted pair is %+v", name, got[i])
		}
	}
}

func TestRecordings_Refusals(t *testing.T) {
	for name, r := range exchangetest.Recordings(t, "binance_spot", "error_*") {
		v := &venue{listed: time.UnixMilli(0)}
		v.fault = func(_ int, w http.ResponseWriter, req *http.Request) bool {
			if !strings.HasSuffix(req.URL.Path, "klines") {
				return false
			}
			for k, value := range r.Headers {
				w.Header().Set(k, value)
			}
			return refuseWith(w, r.Status, "", r.Body)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := lastHours(ctx, overSocket(t, v, Config{Attempts: 1}), "BTCUSDT", 100)
		cancel()
		want := map[string]error{
			"error_403_cloudfront_html": service.ErrExchange, "error_418_ip_banned": service.ErrBanned, "error_429_weight": service.ErrRateLimited,
			"error_invalid_interval": levels.ErrUnknownInterval, "error_invalid_symbol": service.ErrUnknownSymbol,
		}[name]
		if want == nil || !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

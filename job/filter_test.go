package job

// This test pins which rule removes which pair.

import (
	"testing"

	"tidemark/service"
)

func TestFilter_NamesTheRuleThatRemovesAPair(t *testing.T) {
	f := Filter{QuoteAssets: []string{"USDT"}, MinQuoteVolume: 1000}
	bases := map[string]bool{"BTC": true, "JUP": true, "SYRUP": true, "BTCUP": true, "BULL": true, "ETH": true}
	for _, c := range []struct {
		symbol service.Symbol
		want   string
	}{
		{service.Symbol{Base: "BTC", Quote: "USDT", Trading: true, QuoteVolume: 5000}, ""},
		{service.Symbol{Base: "BTC", Quote: "EUR", Trading: true, QuoteVolume: 5000}, "quote_asset"},
		{service.Symbol{Base: "BTC", Quote: "USDT", Status: "BREAK", QuoteVolume: 5000}, "not_trading"},
		{service.Symbol{Base: "BTCUP", Quote: "USDT", Trading: true, QuoteVolume: 5000}, "leveraged"},
		{service.Symbol{Base: "ETHBEAR", Quote: "USDT", Trading: true, QuoteVolume: 5000}, "leveraged"},
		{service.Symbol{Base: "JUP", Quote: "USDT", Trading: true, QuoteVolume: 5000}, ""},
		{service.Symbol{Base: "SYRUP", Quote: "USDT", Trading: true, QuoteVolume: 5000}, ""},
		{service.Symbol{Base: "BULL", Quote: "USDT", Trading: true, QuoteVolume: 5000}, ""},
		{service.Symbol{Base: "USDC", Quote: "USDT", Trading: true, QuoteVolume: 5000}, "stable_pair"},
		{service.Symbol{Base: "EUR", Quote: "USDT", Trading: true, QuoteVolume: 5000}, "stable_pair"},
		{service.Symbol{Base: "BTC", Quote: "USDT", Trading: true, QuoteVolume: 999}, "quote_volume"},
	} {
		if got := f.reject(c.symbol, bases); got.Code != c.want || (got.Code != "") != (got.Detail != "") {
			t.Errorf("%s/%s: got %+v, want code %q", c.symbol.Base, c.symbol.Quote, got, c.want)
		}
	}
	open := Filter{KeepLeveraged: true, KeepStablePairs: true}
	for _, s := range []service.Symbol{{Base: "BTCUP", Quote: "USDT", Trading: true}, {Base: "USDC", Quote: "EUR", Trading: true}} {
		if got := open.reject(s, bases); got != (Outcome{}) {
			t.Errorf("an open filter removed %s: %+v", s.Base, got)
		}
	}
}

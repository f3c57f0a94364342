// Package venues is the table of the exchanges that this program knows.
package venues

import (
	"tidemark/exchange"
	"tidemark/exchange/binance"
	"tidemark/exchange/bitfinex"
	"tidemark/exchange/bitget"
	"tidemark/exchange/bybit"
	"tidemark/exchange/coinbase"
	"tidemark/exchange/deribit"
	"tidemark/exchange/gate"
	"tidemark/exchange/htx"
	"tidemark/exchange/hyperliquid"
	"tidemark/exchange/kraken"
	"tidemark/exchange/kucoin"
	"tidemark/exchange/mexc"
	"tidemark/exchange/okx"
)

// Simulated is the name of the invented market. It speaks Binance's wire format.
const Simulated = "simulated"

// All holds every market but the simulated one. A market of a venue has its own name,
// because venue ids repeat between markets.
var All = []exchange.Venue{
	binance.Spot, binance.USDM, binance.COINM,
	okx.Spot, okx.Swap,
	bybit.Spot, bybit.Linear, bybit.Inverse,
	coinbase.Exchange,
	kraken.Spot, kraken.Futures,
	kucoin.Spot, kucoin.Futures,
	gate.Spot, gate.Futures,
	bitget.Spot, bitget.Futures,
	mexc.Spot,
	htx.Spot,
	hyperliquid.Perps, hyperliquid.Spot,
	deribit.Futures,
	bitfinex.Spot,
}

// Find returns the market of a name, or nil.
func Find(name string) exchange.Venue {
	if name == Simulated {
		return binance.Spot
	}
	for _, v := range All {
		if v.Spec().Name == name {
			return v
		}
	}
	return nil
}

// Names returns the names of all exchanges, the simulated one last.
func Names() []string {
	names := make([]string, 0, len(All)+1)
	for _, v := range All {
		names = append(names, v.Spec().Name)
	}
	return append(names, Simulated)
}

// Quotes returns the quote assets of most pairs of an exchange: what a sweep covers
// unless the configuration names others.
func Quotes(name string) []string {
	if v := Find(name); v != nil {
		return v.Spec().Quotes
	}
	return nil
}

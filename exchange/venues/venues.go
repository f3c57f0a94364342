// Package venues is the table of the exchanges that this program knows.
package venues

import "slices"

// names are in the order of the documentation; the simulated exchange is the last.
var names = []string{
	"binance", "binance-usdm", "binance-coinm",
	"okx", "okx-swap",
	"bybit", "bybit-linear", "bybit-inverse",
	"coinbase",
	"kraken", "kraken-futures",
	"kucoin", "kucoin-futures",
	"gate", "gate-futures",
	"bitget", "bitget-futures",
	"mexc",
	"htx",
	"hyperliquid", "hyperliquid-spot",
	"deribit",
	"bitfinex",
	Simulated,
}

// Simulated is the name of the invented market.
const Simulated = "simulated"

// Names returns the names of all exchanges. A market of a venue has its own name, since
// venue ids repeat between markets.
func Names() []string { return slices.Clone(names) }

// Quotes returns the quote assets of most pairs of an exchange: what a sweep covers
// unless the configuration names others.
func Quotes(name string) []string {
	switch name {
	case "binance-coinm", "bybit-inverse", "coinbase", "kraken", "kraken-futures", "deribit", "bitfinex":
		return []string{"USD"}
	case "hyperliquid", "hyperliquid-spot":
		return []string{"USDC"}
	}
	return []string{"USDT"}
}

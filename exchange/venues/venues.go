// Package venues is the table of the markets that tidemark can analyse.
package venues

import (
	"tidemark/exchange"
	"tidemark/exchange/binance"
	"tidemark/exchange/coinbase"
	"tidemark/exchange/kraken"
)

// All holds every market, by venue.
var All = []exchange.Venue{
	binance.Spot,
	binance.USDM,
	binance.COINM,
	coinbase.Exchange,
	kraken.Spot,
	kraken.Futures,
}

// Find returns the market of a name, or nil.
func Find(name string) exchange.Venue {
	for _, v := range All {
		if v.Spec().Name == name {
			return v
		}
	}
	return nil
}

// Names returns the names of all markets.
func Names() []string {
	names := make([]string, len(All))
	for i, v := range All {
		names[i] = v.Spec().Name
	}
	return names
}

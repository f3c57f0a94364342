package app

import (
	"tidemark/config"
	"tidemark/service"
)

// filter is the part of the configuration that chooses pairs.
func filter(c config.Config) service.Filter {
	return service.Filter{
		QuoteAssets:     c.AnalysisQuoteAssets,
		MinQuoteVolume:  c.AnalysisMinQuoteVolume,
		KeepLeveraged:   !c.AnalysisExcludeLeveraged,
		KeepStablePairs: !c.AnalysisExcludeStablePairs,
	}
}

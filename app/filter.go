package app

import (
	"tidemark/config"
	"tidemark/exchange/venues"
	"tidemark/job"
)

// filter returns the filter of the pairs of an exchange from the configuration.
func filter(c config.Config, v config.Venue) job.Filter {
	quotes := v.QuoteAssets
	if quotes == nil {
		quotes = venues.Quotes(v.Name)
	}
	return job.Filter{
		QuoteAssets:     quotes,
		MinQuoteVolume:  v.MinQuoteVolume,
		KeepLeveraged:   !c.AnalysisExcludeLeveraged,
		KeepStablePairs: !c.AnalysisExcludeStablePairs,
	}
}

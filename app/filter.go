package app

import (
	"tidemark/config"
	"tidemark/job"
)

// filter returns the filter of pairs from the configuration.
func filter(c config.Config) job.Filter {
	return job.Filter{
		QuoteAssets:     c.AnalysisQuoteAssets,
		MinQuoteVolume:  c.AnalysisMinQuoteVolume,
		KeepLeveraged:   !c.AnalysisExcludeLeveraged,
		KeepStablePairs: !c.AnalysisExcludeStablePairs,
	}
}

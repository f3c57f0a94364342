package app

import (
	"tidemark/config"
	"tidemark/job"
)

// filter is the part of the configuration that chooses pairs.
func filter(c config.Config) job.Filter {
	return job.Filter{
		QuoteAssets:     c.AnalysisQuoteAssets,
		MinQuoteVolume:  c.AnalysisMinQuoteVolume,
		KeepLeveraged:   !c.AnalysisExcludeLeveraged,
		KeepStablePairs: !c.AnalysisExcludeStablePairs,
	}
}

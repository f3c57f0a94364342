package app

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"tidemark/api"
	"tidemark/config"
)

// keysEvery is how often the file of the API keys is read. Kubernetes replaces the file of
// a secret by a link, so its content is compared.
const keysEvery = time.Second

// rereadKeys passes the keys of API_KEYS_FILE to the API when they change, until ctx ends.
// A file that cannot be read, or whose keys are not valid, changes nothing.
func rereadKeys(ctx context.Context, cfg *config.Config, to *api.API, log *slog.Logger) {
	tick := time.NewTicker(keysEvery)
	defer tick.Stop()
	now, failure := cfg.APIKeys, ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		keys, err := cfg.ReadKeys()
		switch {
		case err == nil && !slices.Equal(keys, now):
			now = keys
			to.SetKeys(keys)
			log.Info("API keys replaced", "keys", len(keys))
		case err != nil && err.Error() != failure:
			log.Error("the API keys cannot be read again; those before remain valid", "error", err)
		}
		if failure = ""; err != nil {
			failure = err.Error()
		}
	}
}

package app

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"tidemark/api"
	"tidemark/config"
)

// keysEvery is how often the files of keys are read. Kubernetes replaces the file of a
// secret by a link, so its content is compared.
const keysEvery = time.Second

// rereadKeys passes the keys of API_KEYS_FILE and SECRETS_KEY_FILE on when they change,
// until ctx ends. A file that cannot be read, or whose keys are not valid, changes nothing.
func (a *App) rereadKeys(ctx context.Context, cfg *config.Config, to *api.API) {
	files := []*keyFile{
		{name: "API_KEYS", now: strings.Join(cfg.APIKeys, ","), read: func() (string, bool, error) {
			keys, given, err := cfg.ReadKeys()
			return strings.Join(keys, ","), given, err
		}, apply: func(keys string) error { to.SetKeys(strings.Split(keys, ",")); return nil }},
		{name: "SECRETS_KEY", now: cfg.SecretsKey, read: cfg.ReadSecretsKey, apply: func(keys string) error { return a.sealer.Replace(keys) }},
	}
	tick := time.NewTicker(keysEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, f := range files {
			f.check(a.log)
		}
	}
}

// keyFile is the file of the keys of a variable.
type keyFile struct {
	name    string
	now     string // the keys that count
	failure string // the last error; "" if there was none
	read    func() (keys string, given bool, err error)
	apply   func(keys string) error
}

func (f *keyFile) check(log *slog.Logger) {
	keys, given, err := f.read()
	if !given || f.now == "" { // without keys at the start the service is another
		return
	}
	if err == nil && keys != f.now {
		if err = f.apply(keys); err == nil {
			f.now = keys
			log.Info("keys replaced", "variable", f.name, "keys", strings.Count(keys, ",")+1)
		}
	}
	failure := ""
	if err != nil {
		if failure = err.Error(); failure != f.failure {
			log.Error("the keys of a file cannot be used; those before remain valid", "variable", f.name, "error", err)
		}
	}
	f.failure = failure
}

package app

import (
	"context"
	"log/slog"
	"time"

	"tidemark/repository"
)

// OpenDatabase opens the configured database.
func OpenDatabase(ctx context.Context, b Budget, log *slog.Logger) (*repository.DB, error) {
	return repository.Open(ctx, b.DatabaseConfig(log))
}

// DatabaseConfig returns the configuration of the database.
func (b Budget) DatabaseConfig(log *slog.Logger) repository.Config {
	cfg := b.Config
	return repository.Config{
		URL:         cfg.DatabaseURL,
		PoolSize:    cfg.DBPoolSize,
		MaxOverflow: cfg.DBMaxOverflow,
		PoolRecycle: time.Duration(cfg.DBPoolRecycle) * time.Second,
		PrePing:     cfg.DBPoolPrePing,
		History:     cfg.AnalysisHistory,
		CacheBytes:  b.pages() / 5 * 4, // the reading connection gets the other fifth
		Log:         log,
	}
}

package app

import (
	"context"
	"log/slog"
	"time"

	"tidemark/repository"
)

func OpenDatabase(ctx context.Context, b Budget, log *slog.Logger) (*repository.DB, error) {
	return repository.Open(ctx, b.DatabaseConfig(log))
}

// DatabaseConfig is the configuration of the database.
func (b Budget) DatabaseConfig(log *slog.Logger) repository.Config {
	cfg := b.Config
	return repository.Config{
		URL:         cfg.DatabaseURL,
		PoolSize:    cfg.DBPoolSize,
		MaxOverflow: cfg.DBMaxOverflow,
		PoolRecycle: time.Duration(cfg.DBPoolRecycle) * time.Second,
		PrePing:     cfg.DBPoolPrePing,
		History:     cfg.AnalysisHistory,
		CacheBytes:  b.pages() / 5 * 4, // and a quarter of it for the connection that reads
		Log:         log,
	}
}

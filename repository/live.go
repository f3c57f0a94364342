package repository

import (
	"context"

	"github.com/jmoiron/sqlx"
)

// KeepLive implements live.Store. A process that has been silent for deadAfter counts no
// more.
func (db *DB) KeepLive(ctx context.Context, exchange string) (keepers []string, self string, err error) {
	now := db.engine.queueSQL().now
	err = db.fail(ctx, db.inTx(ctx, func(tx *sqlx.Tx) error {
		if _, err := exec(ctx, tx, `INSERT INTO live_keepers (exchange, process, seen_at) VALUES (?, ?, `+now+`)
			ON CONFLICT (exchange, process) DO UPDATE SET seen_at = excluded.seen_at`, exchange, db.id); err != nil {
			return err
		}
		if _, err := exec(ctx, tx, `DELETE FROM live_keepers WHERE seen_at < `+now+` - ?`, deadAfter.Milliseconds()); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &keepers, tx.Rebind(`SELECT process FROM live_keepers WHERE exchange = ? ORDER BY process`), exchange)
	}))
	return keepers, db.id, err
}

// LeaveLive implements live.Store.
func (db *DB) LeaveLive(ctx context.Context, exchange string) error {
	return db.fail(ctx, db.inTx(ctx, func(tx *sqlx.Tx) error {
		_, err := exec(ctx, tx, `DELETE FROM live_keepers WHERE exchange = ? AND process = ?`, exchange, db.id)
		return err
	}))
}

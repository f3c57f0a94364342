package repository

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"tidemark/migrations"
)

// errSchema is wrapped when this program cannot use the schema.
var errSchema = errors.New("the database's schema does not fit")

// migrate runs the missing migrations, up to a version and one of River's; 0 is the newest.
// They run in one transaction and under a lock, so that processes that start together do
// not conflict. These sixty lines replace goose or golang-migrate: both databases run DDL
// in transactions, so those libraries would add only memory.
func (db *DB) migrate(ctx context.Context, dialect string, to, river int) error {
	files, err := fs.Glob(migrations.Files, dialect+"/*.sql") // sorted
	if err != nil {
		return err
	}
	upTo := cmp.Or(to, len(files))
	return transact(ctx, db.write, func(tx *sqlx.Tx) error { // without a time limit
		if err := db.engine.lock(ctx, tx); err != nil {
			return err
		}
		current, err := schemaVersion(ctx, tx)
		if err != nil {
			return err
		}
		if current > len(files) {
			return fmt.Errorf("%w: it has version %d and this program knows versions up to %d; run a newer tidemark", errSchema, current, len(files))
		}
		for _, file := range files[min(current, upTo):upTo] {
			name := path.Base(file)
			number, _, _ := strings.Cut(name, "_")
			version, err := strconv.Atoi(number)
			if err != nil {
				return fmt.Errorf("%w: migration %s has no number", errSchema, file)
			}
			statements, err := migrations.Files.ReadFile(file)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, string(statements)); err != nil {
				return fmt.Errorf("migration %s: %w", file, err)
			}
			if _, err := exec(ctx, tx, `INSERT INTO tidemark_migrations (version, name, applied_at) VALUES (?, ?, ?)`,
				version, name, time.Now().UnixMilli()); err != nil {
				return err
			}
			db.log.Info("database migrated", "migration", file)
		}
		return db.engine.migrateQueue(ctx, tx, river)
	})
}

// schemaVersion returns the number of the last migration that ran, or 0. It fails if
// the database cannot be written.
func schemaVersion(ctx context.Context, tx *sqlx.Tx) (version int, err error) {
	if _, err := exec(ctx, tx, `CREATE TABLE IF NOT EXISTS tidemark_migrations (
		version    BIGINT NOT NULL PRIMARY KEY,
		name       TEXT   NOT NULL,
		applied_at BIGINT NOT NULL)`); err != nil {
		return 0, err
	}
	// deletes nothing, but fails if the database cannot be written: an error at the
	// start is better than one at the first results
	if _, err := exec(ctx, tx, `DELETE FROM tidemark_migrations WHERE version < 0`); err != nil {
		return 0, err
	}
	err = tx.GetContext(ctx, &version, `SELECT COALESCE(MAX(version), 0) FROM tidemark_migrations`)
	return version, err
}

package repository

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/jmoiron/sqlx"

	"tidemark/migrations"
	"tidemark/service"
)

// Inspection is the result of Inspect.
type Inspection struct {
	File    string // of SQLite, absolute; "" on PostgreSQL
	New     bool   // the file does not exist; the first start creates it
	Version int    // of the schema; 0 for none
	Known   int    // the newest version this program knows
	Bytes   int64  // of the whole database
	// BannedUntil has the end of the last ban of each address, as DB.Ban returns it.
	BannedUntil map[string]time.Time
}

// errInspected rolls back the transaction of Inspect.
var errInspected = errors.New("inspected")

// Inspect checks a database without changing it: that it can be reached and written (in
// a transaction that it rolls back), its schema, its size, and the bans of addresses. Its errors are those of Open. Inspect does not create a missing
// SQLite file. It creates and removes another file in the folder instead, to see whether
// that is possible.
func Inspect(ctx context.Context, cfg Config, addresses ...string) (Inspection, error) {
	db, dialect, err := newDB(cfg)
	if err != nil {
		return Inspection{}, err
	}
	defer db.closePools()
	files, err := fs.Glob(migrations.Files, dialect+"/*.sql")
	if err != nil {
		return Inspection{}, err
	}
	found := Inspection{Known: len(files)}
	if e, ok := db.engine.(*sqliteEngine); ok {
		found.File = e.path
		if _, err := os.Stat(e.path); errors.Is(err, fs.ErrNotExist) {
			found.New = true
			return found, e.creatable()
		}
	}
	size := `SELECT pg_database_size(current_database())`
	if dialect == "sqlite" {
		size = `SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()`
	}
	err = db.engine.connect(ctx)
	if err == nil {
		err = db.inTx(ctx, func(tx *sqlx.Tx) error {
			if err := tx.GetContext(ctx, &found.Bytes, size); err != nil {
				return err
			}
			if err := db.engine.lock(ctx, tx); err != nil {
				return err
			}
			if found.Version, err = schemaVersion(ctx, tx); err != nil {
				return err
			}
			return errInspected
		})
	}
	if !errors.Is(err, errInspected) {
		return found, db.fail(ctx, err)
	}
	if found.Version > 0 && found.Version <= found.Known {
		found.BannedUntil = map[string]time.Time{}
		for _, address := range addresses {
			if found.BannedUntil[address], err = db.Ban(ctx, address); err != nil {
				return found, err
			}
		}
	}
	return found, nil
}

// creatable returns an error if no file can be created in the folder of the database.
func (e *sqliteEngine) creatable() error {
	f, err := os.CreateTemp(filepath.Dir(e.path), ".tidemark-*")
	if err != nil {
		return &storageError{service.ErrStorage, e.inaccessible(), err}
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

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

// Inspection is what Inspect found.
type Inspection struct {
	File        string // of SQLite, absolute; "" on PostgreSQL
	New         bool   // there is no file yet: the first start makes it
	Version     int    // of the schema; 0 for none
	Known       int    // the newest version this program knows
	Bytes       int64  // of the whole database
	BannedUntil time.Time
}

// errInspected ends the transaction of Inspect without a trace.
var errInspected = errors.New("inspected")

// Inspect looks at a database and changes nothing in it: that it can be reached,
// that it can be written (in a transaction that is taken back), its schema, its
// size, and until when the exchange has banned an address, as DB.Ban. Its errors
// are those of Open. A SQLite file that is not there is not made; whether it could be
// is tried with another file of its folder, which is removed.
func Inspect(ctx context.Context, cfg Config, address string) (Inspection, error) {
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
		found.BannedUntil, err = db.Ban(ctx, address)
		return found, err
	}
	return found, nil
}

// creatable tells whether a file can be made where the database will be.
func (e *sqliteEngine) creatable() error {
	f, err := os.CreateTemp(filepath.Dir(e.path), ".tidemark-*")
	if err != nil {
		return &storageError{service.ErrStorage, e.inaccessible(), err}
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

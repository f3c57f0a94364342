package repository

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jmoiron/sqlx"

	"tidemark/migrations"
)

// Backed describes a backup.
type Backed struct {
	Version int   // of the schema
	Bytes   int64 // of the file
}

// Backup writes the state of the database at one moment to a new file, while other processes
// write the database: a database file on SQLite; on PostgreSQL a zip archive with the rows of
// each table as COPY writes them. It does not migrate. The file appears under its name when
// it is complete and on the disk.
func Backup(ctx context.Context, cfg Config, path string) (Backed, error) {
	db, _, err := newDB(cfg)
	if err != nil {
		return Backed{}, err
	}
	defer db.closePools()
	if path, err = filepath.Abs(path); err != nil { // SQLite would read some relative names as URLs
		return Backed{}, err
	}
	if strings.Contains(path, "?") {
		return Backed{}, fmt.Errorf("%s: the name of a backup cannot have a question mark", path)
	}
	if err := absent(path); err != nil {
		return Backed{}, err
	}
	if e, ok := db.engine.(*sqliteEngine); ok {
		if _, err := os.Stat(e.path); err != nil { // connect would create it
			return Backed{}, refuse("%v", err)
		}
	}
	if err := db.engine.connect(ctx); err != nil {
		return Backed{}, db.fail(ctx, err)
	}
	return replace(path, func(f *os.File) (int, error) {
		version, err := db.engine.backup(ctx, f)
		if err != nil {
			return 0, db.fail(ctx, err)
		}
		return version, nil
	})
}

// Restore fills an empty database from a file of Backup. A SQLite file must not exist; a
// schema of PostgreSQL must have no data of this program. The next Open migrates it if the
// backup is of an earlier version.
func Restore(ctx context.Context, cfg Config, path string) (Backed, error) {
	db, dialect, err := newDB(cfg)
	if err != nil {
		return Backed{}, err
	}
	defer db.closePools()
	from, err := os.Open(path)
	if err != nil {
		return Backed{}, err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return Backed{}, err
	}
	head := make([]byte, 4)
	if _, err := from.ReadAt(head, 0); err != nil {
		return Backed{}, fmt.Errorf("%s is not a backup: %w", path, err)
	}
	of := map[string]string{"SQLi": "sqlite", "PK\x03\x04": "postgres"}[string(head)]
	switch {
	case of == "":
		return Backed{}, fmt.Errorf("%s is not a backup", path)
	case of != dialect:
		return Backed{}, fmt.Errorf("%s is a backup of a database on %s, and DATABASE_URL names one on %s",
			path, map[string]string{"sqlite": "SQLite", "postgres": "PostgreSQL"}[of], map[string]string{"sqlite": "SQLite", "postgres": "PostgreSQL"}[dialect])
	}
	version, err := db.engine.restore(ctx, db, from, info.Size())
	if err != nil {
		return Backed{}, db.fail(ctx, err)
	}
	return Backed{version, info.Size()}, nil
}

// refusal is one sentence about a file or a database that cannot be used.
type refusal string

func (r refusal) Error() string { return string(r) }

func refuse(format string, args ...any) error { return refusal(fmt.Sprintf(format, args...)) }

// absent returns an error unless no file has the name.
func absent(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return refuse("%s exists already", path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// replace lets write fill a temporary file beside path, and gives it that name once it is on
// the disk.
func replace(path string, write func(*os.File) (version int, err error)) (Backed, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return Backed{}, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	version, err := write(f)
	if err != nil {
		return Backed{}, err
	}
	if err := f.Sync(); err != nil {
		return Backed{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return Backed{}, err
	}
	if err := f.Close(); err != nil { // Windows renames only closed files
		return Backed{}, err
	}
	if err := absent(path); err != nil {
		return Backed{}, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return Backed{}, err
	}
	if folder, err := os.Open(filepath.Dir(path)); err == nil { // the name, too, where folders can be synced
		_ = folder.Sync()
		folder.Close()
	}
	return Backed{version, info.Size()}, nil
}

// usable returns an error unless this program knows the schema version of a backup.
func usable(version int, dialect string) error {
	files, err := fs.Glob(migrations.Files, dialect+"/*.sql")
	if err != nil {
		return err
	}
	switch {
	case version < 1:
		return fmt.Errorf("%w: it is not a database of tidemark", errSchema)
	case version > len(files):
		return fmt.Errorf("%w: it has version %d and this program knows versions up to %d; run a newer tidemark", errSchema, version, len(files))
	}
	return nil
}

// checkCopy returns the schema version of a SQLite file that nobody uses, and an error if it
// is damaged or this program cannot use it.
func checkCopy(ctx context.Context, path string) (version int, err error) {
	copied, err := sqlx.Open("sqlite", path+"?_query_only=1")
	if err != nil {
		return 0, err
	}
	defer copied.Close()
	var found string
	if err := copied.GetContext(ctx, &found, `PRAGMA quick_check(1)`); err != nil || found != "ok" {
		return 0, refuse("the backup is damaged: %s", cmp.Or(found, fmt.Sprint(err)))
	}
	if err = copied.GetContext(ctx, &version, `SELECT count(*) FROM sqlite_master WHERE name = 'tidemark_migrations'`); err == nil && version > 0 {
		err = copied.GetContext(ctx, &version, `SELECT COALESCE(MAX(version), 0) FROM tidemark_migrations`)
	}
	if err != nil {
		return 0, refuse("the backup cannot be read: %v", err)
	}
	return version, usable(version, "sqlite")
}

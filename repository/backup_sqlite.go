package repository

import (
	"context"
	"io"
	"os"
)

// backup copies the pages in use within one read transaction, so a writer is not disturbed
// (https://www.sqlite.org/lang_vacuum.html#vacuuminto). The write-ahead log grows meanwhile.
func (e *sqliteEngine) backup(ctx context.Context, to *os.File) (version int, err error) {
	if _, err := e.write.ExecContext(ctx, `VACUUM INTO ?`, to.Name()); err != nil {
		return 0, err
	}
	return checkCopy(ctx, to.Name())
}

func (e *sqliteEngine) restore(ctx context.Context, _ *DB, from *os.File, _ int64) (version int, err error) {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} { // SQLite would apply a log that is left over
		if err := absent(e.path + suffix); err != nil {
			return 0, refuse("%v; stop the service and move it away first", err)
		}
	}
	restored, err := replace(e.path, func(f *os.File) (int, error) {
		if _, err := io.Copy(f, from); err != nil {
			return 0, err
		}
		return checkCopy(ctx, f.Name())
	})
	return restored.Version, err
}

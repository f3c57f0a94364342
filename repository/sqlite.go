package repository

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"tidemark/service"
)

// busyTimeout is how long a writer waits for the writer of another process.
const busyTimeout = 10 * time.Second

// defaultCache is the default page cache of the connection that writes, in bytes. The
// connection that reads has a quarter of the cache: it mostly reads candles, each block
// once a sweep.
const (
	defaultCache = 512 << 10
	readShare    = 4
)

// sqliteEngine is a SQLite file in WAL mode: readers see the last commit while a writer
// writes. One connection writes and one reads, because each has its own page cache and
// a second writer would only wait.
type sqliteEngine struct {
	path  string
	file  fs.FileInfo // of path, once connected
	write *sqlx.DB
	wake  chan string // queues of this process with new work
}

func (db *DB) openSQLite(path string, cache int64) error {
	switch {
	case path == "":
		return errors.New("the database URL names no file: sqlite://PATH")
	case strings.HasPrefix(path, ":memory:"):
		return errors.New("SQLite in memory would give each connection a database of its own: name a file in a temporary folder instead")
	case strings.ContainsAny(path, "?\x00"):
		return errors.New("a sqlite:// URL is a path and nothing else, without '?'")
	}
	if name := strings.TrimPrefix(path, "/"); filepath.VolumeName(name) != "" {
		path = name // sqlite:///C:/… of Windows
	}
	// absolute, so that SQLite does not parse a name as its own file: URL
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	e := &sqliteEngine{path: path, wake: make(chan string, maxWakes)}
	db.engine = e
	if sentence := e.inspect(); sentence != "" {
		return &storageError{service.ErrStorage, sentence, fs.ErrInvalid}
	}
	// NORMAL: in WAL mode a power failure may lose the last commits, but never part
	// of one. cache_size: a negative number is in KiB instead of pages.
	options := func(cache int64) string {
		return fmt.Sprintf("?_busy_timeout=%d&_synchronous=NORMAL&_foreign_keys=1&_error_rc=1&_pragma=cache_size(-%d)", busyTimeout.Milliseconds(), max(1, cache>>10))
	}
	// immediate: a write transaction waits for the lock at its start, where the busy
	// timeout applies; at its first write it would fail
	if e.write, err = sqlx.Open("sqlite", path+options(cache)+"&_journal_mode=WAL&_txlock=immediate"); err != nil {
		return err
	}
	e.write.SetMaxOpenConns(1)
	db.write = e.write
	if db.read, err = sqlx.Open("sqlite", path+options(cache/readShare)+"&_query_only=1"); err != nil {
		return err
	}
	db.read.SetMaxOpenConns(1)
	return nil
}

// connect makes the connection that writes. If several processes set WAL mode on a new
// file at once, SQLite returns SQLITE_BUSY to all but one without waiting, so connect
// retries.
func (e *sqliteEngine) connect(ctx context.Context) error {
	for begin := time.Now(); ; {
		err := e.write.PingContext(ctx)
		if err == nil {
			e.file, err = os.Stat(e.path)
			return err
		}
		failure, ok := errors.AsType[*sqlite.Error](err)
		if !ok || failure.Code()&0xff != sqlite3.SQLITE_BUSY || time.Since(begin) > busyTimeout {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// inspect returns what is wrong with the path, or "". SQLite itself would only report
// "unable to open database file".
func (e *sqliteEngine) inspect() string {
	folder := filepath.Dir(e.path)
	if info, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("the folder %s does not exist; create it, or name another file", folder)
	} else if err == nil && !info.IsDir() {
		return fmt.Sprintf("%s is not a folder", folder)
	}
	info, err := os.Stat(e.path)
	switch {
	case err == nil && info.IsDir():
		return fmt.Sprintf("%s is a folder, not a database file", e.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("no permission to look into the folder %s", folder)
	}
	return ""
}

func (e *sqliteEngine) inaccessible() string {
	return fmt.Sprintf("%s cannot be opened or created: this process needs read and write permission for the file and its folder", e.path)
}

// lock does nothing: every write transaction is immediate, so it holds the only write
// lock of the file.
func (e *sqliteEngine) lock(context.Context, *sqlx.Tx) error { return nil }

// maxWakes is the most pending notifications of new work. More are dropped, because
// River also polls once a second.
const maxWakes = 16

// localDriver is River's SQLite driver with another listener. River's listener reads
// the file twenty times a second, so an idle process uses 2 % of a processor instead of
// 0.8 %. This one is notified of the work that this process inserts.
type localDriver struct {
	*riversqlite.Driver
	wake <-chan string
}

func (localDriver) SupportsListenNotify() bool { return false } // nothing is written

func (d localDriver) GetListener(*riverdriver.GetListenenerParams) riverdriver.Listener {
	return localListener{d.wake}
}

// localListener receives the names of the queues into which this process inserts work.
// River's poll, once a second, finds the work that other processes insert.
type localListener struct{ wake <-chan string }

func (localListener) Close(context.Context) error            { return nil }
func (localListener) Connect(context.Context) error          { return nil }
func (localListener) Listen(context.Context, string) error   { return nil }
func (localListener) Unlisten(context.Context, string) error { return nil }
func (localListener) Ping(context.Context) error             { return nil }
func (localListener) Schema() string                         { return "" }
func (localListener) SetAfterConnectExec(string)             {}

func (l localListener) WaitForNotification(ctx context.Context) (*riverdriver.Notification, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case queue := <-l.wake:
		return &riverdriver.Notification{Topic: "river_insert", Payload: `{"queue": "` + queue + `"}`}, nil
	}
}

func (e *sqliteEngine) migrateQueue(ctx context.Context, tx *sqlx.Tx, to int) error {
	m, err := rivermigrate.New(e.queueDriver(), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	//lint:ignore SA1019 tx holds the only connection; MigrateTx is deprecated because of PostgreSQL's enumerations
	_, err = m.MigrateTx(ctx, tx.Tx, rivermigrate.DirectionUp, &rivermigrate.MigrateOpts{TargetVersion: to})
	return err
}

func (e *sqliteEngine) queueDriver() riverdriver.Driver[*sql.Tx] {
	return localDriver{riversqlite.New(e.write.DB), e.wake}
}

// lockSeries does nothing: there is one transaction that writes at a time.
func (*sqliteEngine) lockSeries(context.Context, *sqlx.Tx, []service.Key) error { return nil }

func (*sqliteEngine) putBlocks(ctx context.Context, tx *sqlx.Tx, rows []blockRow) error {
	const width, most = 5, 40 // rows of a statement; SQLite copies the blocks
	var args []any
	for part := range slices.Chunk(rows, most) {
		args = args[:0]
		for _, r := range part {
			args = append(args, r.series, r.Span, r.From, r.simulated, r.Packed)
		}
		if _, err := exec(ctx, tx, `INSERT INTO candles (series_id, span, covered_from, simulated, block) VALUES `+values(len(part), width)+`
			ON CONFLICT (series_id, span) DO UPDATE SET
				covered_from = excluded.covered_from, simulated = excluded.simulated, block = excluded.block`, args...); err != nil {
			return err
		}
	}
	return nil
}

func (e *sqliteEngine) enqueued(queue string) {
	select {
	case e.wake <- queue:
	default:
	}
}

func (*sqliteEngine) queueSQL() queueSQL {
	return queueSQL{
		now:    `CAST(unixepoch('subsec') * 1000 AS INTEGER)`,
		since:  `CAST((unixepoch('subsec') - unixepoch(%s, 'subsec')) * 1000 AS INTEGER)`,
		holder: `json_extract(attempted_by, '$[#-1]')`,
	}
}

// full also accepts write errors: SQLite returns SQLITE_FULL for a full disk, but a write
// error if a quota is used up or its shared memory file cannot grow.
func (e *sqliteEngine) full(err error) bool {
	failure, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return false
	}
	switch failure.Code() {
	case sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC,
		sqlite3.SQLITE_IOERR_TRUNCATE, sqlite3.SQLITE_IOERR_SHMSIZE:
		return true
	}
	return failure.Code()&0xff == sqlite3.SQLITE_FULL
}

// probe writes a file, where possible an unnamed one, in the folder of the database. A write to the database
// would prove nothing, because it reuses the pages of the write that failed.
func (e *sqliteEngine) probe(context.Context) error {
	f, err := os.CreateTemp(filepath.Dir(e.path), filepath.Base(e.path)+"-room-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // Windows removes only closed files
	defer f.Close()
	os.Remove(f.Name())
	if _, err := f.Write(make([]byte, probeBytes)); err != nil {
		return err
	}
	return f.Sync()
}

// present checks the file system, because SQLite keeps writing to a deleted file.
func (e *sqliteEngine) present() string {
	if e.file == nil {
		return "" // not connected yet
	}
	switch now, err := os.Stat(e.path); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("%s was deleted; put it back, or start again with another", e.path)
	case err == nil && !os.SameFile(e.file, now):
		return fmt.Sprintf("%s was replaced by another file; start again to use it", e.path)
	}
	return ""
}

// maintain does nothing: there are always two connections.
func (*sqliteEngine) maintain(context.Context) {}

func (*sqliteEngine) close() {}

// inOrder does nothing: there is one writer at a time.
func (e *sqliteEngine) inOrder(context.Context, *sqlx.Tx) error { return nil }

// announce does nothing: other processes see that the file changed.
func (e *sqliteEngine) announce(context.Context, *sqlx.Tx, Change) error { return nil }

// watch checks once a second whether another process has written the file. It uses the
// connection that writes: PRAGMA data_version changes with the commits of every
// connection except the one that reads it.
func (e *sqliteEngine) watch(ctx context.Context, emit func(Change)) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var connection any // the versions of two connections cannot be compared
	var version int64
	for {
		was, seen := connection, version
		connection = nil
		if c, err := e.write.Connx(ctx); err == nil {
			if c.GetContext(ctx, &version, `PRAGMA data_version`) == nil {
				c.Raw(func(driverConn any) error { connection = driverConn; return nil })
			}
			c.Close()
		}
		if connection != nil && (connection != was || version != seen) {
			emit(Change{})
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (e *sqliteEngine) explain(err error) string {
	failure, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return fmt.Sprintf("SQLite at %s: %v", e.path, err)
	}
	switch failure.Code() & 0xff { // the higher bits are details
	case sqlite3.SQLITE_FULL:
		return fmt.Sprintf("the disk that holds %s is full", e.path)
	case sqlite3.SQLITE_READONLY:
		return fmt.Sprintf("%s is read-only: this process may not write the file or its folder", e.path)
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return e.inaccessible()
	case sqlite3.SQLITE_NOTADB:
		return fmt.Sprintf("%s is not a SQLite database", e.path)
	case sqlite3.SQLITE_CORRUPT:
		return fmt.Sprintf("the database %s is damaged; restore a copy, or move the file away to begin anew", e.path)
	case sqlite3.SQLITE_BUSY:
		return fmt.Sprintf("another process has been writing %s for more than %s", e.path, busyTimeout)
	case sqlite3.SQLITE_IOERR:
		return fmt.Sprintf("reading or writing %s failed: %v", e.path, err)
	}
	return fmt.Sprintf("SQLite at %s: %v", e.path, err)
}

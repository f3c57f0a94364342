// Package repository stores analyses and jobs in PostgreSQL or SQLite, and runs the
// queue of the jobs' work (queue.go). Both databases run the same queries. What
// differs (connecting, watching for changes of other processes, the meaning of
// errors) is in postgres.go and sqlite.go. The package does not know exchanges or
// HTTP.
package repository

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"

	"tidemark/job"
	"tidemark/service"
)

// Config selects a database and how to use it.
type Config struct {
	// URL is sqlite://PATH, relative or absolute (sqlite:///var/lib/x.db), or
	// postgres://user:password@host/database?options with the options of lib/pq.
	// Defaults: sslmode prefer, connect_timeout 5 s, application_name tidemark.
	URL string
	// The pool of PostgreSQL connections has at most PoolSize+MaxOverflow. Those
	// beyond PoolSize are closed after some idle time. SQLite always has one
	// connection that writes and one that reads.
	PoolSize    int           // 1 or more
	MaxOverflow int           // 0 or more
	PoolRecycle time.Duration // a connection older than this is replaced; 0: never
	PrePing     bool          // ping a pooled connection before it is used again
	History     int           // analyses kept for each series, 1 or more
	// CacheBytes is the page cache of the SQLite connection that writes. 0 means
	// 512 KiB, a quarter of SQLite's own default. The connection that reads has a
	// quarter of it.
	CacheBytes int64
	Log        *slog.Logger // nil: nothing is logged
}

// DB is an open database. It implements the stores of service, job and api, and is
// safe for concurrent use. Times are stored in milliseconds.
type DB struct {
	engine  engine
	write   *sqlx.DB
	read    *sqlx.DB // the same as write on PostgreSQL
	history int
	log     *slog.Logger

	// the longest a query and a transaction may take; 0 means no limit, as on
	// SQLite, which has no server to wait for
	readLimit, writeLimit time.Duration

	mu          sync.RWMutex
	subscribers []func(Change)
	statements  map[string]*sqlx.Stmt // by query; see often

	unreadable unreadable
	room       room

	gone atomic.Bool // the database file is missing or replaced, and that was logged

	id               string       // of this process, in processes and in the queue
	inserter         *riverClient // only inserts work
	queue            *queue       // nil unless this process runs jobs
	retries, rescued atomic.Int64

	stop context.CancelFunc // of the watch
	work sync.WaitGroup
}

var (
	_ service.Store     = (*DB)(nil)
	_ job.Store         = (*DB)(nil)
	_ job.ScheduleStore = (*DB)(nil)
)

// engine is what differs between PostgreSQL and SQLite.
type engine interface {
	// connect makes the first connection. It waits for other processes that do so
	// at the same time.
	connect(ctx context.Context) error
	// lock keeps other processes from migrating until tx ends.
	lock(ctx context.Context, tx *sqlx.Tx) error
	// lockSeries keeps other transactions from changing series, of which there are few,
	// until tx ends.
	lockSeries(ctx context.Context, tx *sqlx.Tx, series []service.Key) error
	// announce notifies other processes of a change once tx is committed.
	announce(ctx context.Context, tx *sqlx.Tx, c Change) error
	// inOrder makes transactions that call it before they store events commit in the
	// order of the events' numbers.
	inOrder(ctx context.Context, tx *sqlx.Tx) error
	// watch calls emit for the changes other processes make, until ctx ends.
	// Whenever it may have missed some, as at its start, it emits the zero Change.
	watch(ctx context.Context, emit func(Change))
	// maintain closes idle connections of the pool, until ctx ends.
	maintain(ctx context.Context)
	// migrateQueue migrates River's own tables up to a version; 0 is the newest. tx holds
	// the lock.
	migrateQueue(ctx context.Context, tx *sqlx.Tx, to int) error
	// backup writes a copy of the database and returns its schema version. restore
	// fills an empty database from such a file of a size.
	backup(ctx context.Context, to *os.File) (version int, err error)
	restore(ctx context.Context, db *DB, from *os.File, size int64) (version int, err error)
	// queueDriver returns River's driver on the connections that write.
	queueDriver() riverdriver.Driver[*sql.Tx]
	queueSQL() queueSQL
	// putBlocks stores blocks, which replace those of the same series and span.
	putBlocks(ctx context.Context, tx *sqlx.Tx, rows []blockRow) error
	// enqueued is called when inserted work has been committed.
	enqueued(queue string)
	// full reports whether err means that the disk is full.
	full(err error) bool
	// probe writes probeBytes to the disk of the database and removes them. An
	// error means that there is no room, or that it cannot be determined.
	probe(ctx context.Context) error
	// present returns what happened to the database file while it was open, or ""
	// if it is in place.
	present() string
	// close closes the resources of the engine other than the pools of DB.
	close()
	// explain returns one plain sentence, without secrets, about what went wrong.
	explain(err error) string
}

// Open connects, brings the schema up to date and watches for changes until
// Close. Errors wrap service.ErrStorage or are the context's, except those about cfg.
// None contains the password.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	db, dialect, err := newDB(cfg)
	if err != nil {
		return nil, err
	}
	if err = db.engine.connect(ctx); err == nil {
		err = db.migrate(ctx, dialect, 0, 0)
	}
	if err != nil {
		err = db.fail(ctx, err)
		db.closePools()
		return nil, err
	}
	if db.inserter, err = river.NewClient(db.engine.queueDriver(), &river.Config{
		Logger: db.queueLog(),
		// Within a cooldown River announces only the first insert: the batches of a job
		// would wait for a poll if they followed its plan sooner.
		FetchCooldown: river.FetchCooldownMin,
	}); err != nil {
		db.closePools()
		return nil, fmt.Errorf("the queue: %w", err)
	}
	watching, stop := context.WithCancel(context.Background())
	db.stop = stop
	db.work.Go(func() { db.engine.watch(watching, db.emit) })
	db.work.Go(func() { db.engine.maintain(watching) })
	db.work.Go(func() { db.keepRoom(watching) })
	return db, nil
}

// newDB returns the database of a configuration, not connected yet.
func newDB(cfg Config) (db *DB, dialect string, err error) {
	switch {
	case cfg.PoolSize < 1:
		return nil, "", fmt.Errorf("the pool size must be at least 1, not %d", cfg.PoolSize)
	case cfg.MaxOverflow < 0:
		return nil, "", fmt.Errorf("the pool's overflow must not be negative: %d", cfg.MaxOverflow)
	case cfg.PoolRecycle < 0:
		return nil, "", fmt.Errorf("the pool's recycle time must not be negative: %s", cfg.PoolRecycle)
	case cfg.History < 1:
		return nil, "", fmt.Errorf("at least 1 analysis must be kept for each series, not %d", cfg.History)
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	db = &DB{history: cfg.History, log: log, id: newID(), statements: map[string]*sqlx.Stmt{}, room: room{marked: make(chan struct{}, 1)}}

	switch scheme, rest, ok := strings.Cut(cfg.URL, "://"); {
	case ok && scheme == "sqlite":
		dialect = "sqlite"
		err = db.openSQLite(rest, cmp.Or(cfg.CacheBytes, defaultCache))
	case ok && (scheme == "postgres" || scheme == "postgresql"):
		dialect = "postgres"
		err = db.openPostgres(cfg)
	case ok:
		err = fmt.Errorf("no database driver is called %q: the URL must begin with sqlite://, postgres:// or postgresql://", scheme)
	default: // the URL is not shown: it may be a DSN of another form, with a password
		err = errors.New("the database URL must begin with sqlite://, postgres:// or postgresql://")
	}
	return db, dialect, err
}

// Close stops the work and the watch and closes all connections. Calls in progress
// fail.
func (db *DB) Close() error {
	stopping, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := db.StopWork(stopping)
	db.stop()
	closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(err, within(closing, func() error {
		db.work.Wait()
		return db.fail(context.Background(), db.closePools())
	}))
}

// frequent is a query that every analysis runs, with the arguments exchange, interval, symbol
// and a time in Unix ms.
type frequent struct {
	sql      string // for SQLite
	function string // of PostgreSQL that runs the same; see its migration 0012
}

// often runs a frequent query on the connection that reads. SQLite compiles it once; that
// takes a third of the time of the query. PostgreSQL keeps the plan of its function.
func (db *DB) often(ctx context.Context, q frequent, key service.Key, at int64) (*sqlx.Rows, error) {
	args := []any{key.Exchange, key.Interval, key.Symbol, at}
	if db.read == db.write {
		return db.read.QueryxContext(ctx, `SELECT * FROM `+q.function+`($1, $2, $3, $4)`, args...)
	}
	query := q.sql
	db.mu.RLock()
	s := db.statements[query]
	db.mu.RUnlock()
	if s == nil {
		var err error
		if s, err = db.read.PreparexContext(ctx, query); err != nil {
			return nil, err
		}
		db.mu.Lock()
		if before := db.statements[query]; before != nil {
			s.Close()
			s = before
		} else {
			db.statements[query] = s
		}
		db.mu.Unlock()
	}
	return s.QueryxContext(ctx, args...)
}

func (db *DB) closePools() error {
	db.engine.close()
	err := db.read.Close()
	if db.write == db.read {
		return nil // the only possible error is that the server did not receive the close message
	}
	// the writer last: the last connection to close cleans up SQLite's files
	return errors.Join(err, db.write.Close())
}

// Ping returns an error if the database does not answer or, as far as is known,
// cannot store.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.Writable(); err != nil {
		return err
	}
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var one int
	// a query, because SQLite's driver cannot ping
	return db.fail(ctx, db.read.GetContext(limited, &one, `SELECT 1`))
}

// PoolStats holds the statistics of one connection pool.
type PoolStats struct {
	Name string // "main" on PostgreSQL, "write" and "read" on SQLite
	sql.DBStats
}

// Stats returns the statistics of every connection pool.
func (db *DB) Stats() []PoolStats {
	if db.read == db.write {
		return []PoolStats{{"main", db.read.Stats()}}
	}
	return []PoolStats{{"write", db.write.Stats()}, {"read", db.read.Stats()}}
}

// present returns service.ErrGone if the database file is missing or replaced:
// everything stored from then on would be lost when this process ends.
func (db *DB) present() error {
	sentence := db.engine.present()
	if sentence == "" {
		if db.gone.Swap(false) {
			db.log.Info("the database is back where it was")
		}
		return nil
	}
	err := &storageError{service.ErrGone, sentence, fs.ErrNotExist}
	if !db.gone.Swap(true) {
		db.log.Error("nothing is stored any more", "error", err)
	}
	return err
}

// storageError is an error of the database: one sentence for people, and the error
// of the driver as its cause.
type storageError struct {
	kind     error // service.ErrStorage, or a kind of it
	sentence string
	cause    error
}

func (e *storageError) Error() string   { return service.ErrStorage.Error() + ": " + e.sentence }
func (e *storageError) Unwrap() []error { return []error{e.kind, e.cause} }

// fail converts the error of a driver into the error that a Store returns.
func (db *DB) fail(ctx context.Context, err error) error {
	var done *storageError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err() // each driver wraps or replaces it differently
	case errors.As(err, &done), errors.As(err, new(refusal)), errors.Is(err, service.ErrNotAnalyzed),
		errors.Is(err, service.ErrUnknownJob), errors.Is(err, service.ErrBusy):
		return err
	case errors.Is(err, errSnapshot), errors.Is(err, service.ErrDamaged), errors.Is(err, errSchema):
		return &storageError{service.ErrStorage, err.Error(), err}
	case db.engine.full(err):
		return &storageError{service.ErrFull, db.engine.explain(err), err}
	}
	return &storageError{service.ErrStorage, db.engine.explain(err), err}
}

// bounded returns ctx with timeout d, or without one if d is 0. Its expiry is an error
// of the database: fail gets the caller's ctx, which has not ended then.
func bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

// inTx runs f in a write transaction that lasts at most db.writeLimit, and commits it
// if f returns nil.
func (db *DB) inTx(ctx context.Context, f func(tx *sqlx.Tx) error) error {
	if err := db.present(); err != nil {
		return err
	}
	limited, cancel := bounded(ctx, db.writeLimit)
	defer cancel()
	err := transact(limited, db.write, f)
	db.noteFull(err)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return limited.Err() // each driver wraps or replaces it differently
	}
	return err
}

func transact(ctx context.Context, on *sqlx.DB, f func(tx *sqlx.Tx) error) error {
	tx, err := on.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		tx.Rollback() // the error that counts is f's
		return err
	}
	return tx.Commit()
}

// exec runs one statement, with ? for arguments, and returns the number of rows it
// changed.
func exec(ctx context.Context, on sqlx.ExtContext, query string, args ...any) (int, error) {
	res, err := on.ExecContext(ctx, on.(interface{ Rebind(string) string }).Rebind(query), args...)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

// rowsPerStatement bounds the memory and the number of arguments (at most
// 32,766 on SQLite) of a statement that stores many rows.
const rowsPerStatement = 100

// values returns the text "(?,?),(?,?)" for n rows of width arguments each.
func values(n, width int) string {
	row := "(" + strings.Repeat("?,", width-1) + "?)"
	return strings.Repeat(row+",", n-1) + row
}

// newID returns a globally unique identifier.
func newID() string { return rand.Text() }

// milliseconds returns t as it is stored: NULL for the zero time.
func milliseconds(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMilli(), Valid: !t.IsZero()}
}

// moment is the inverse of milliseconds.
func moment(ms sql.NullInt64) time.Time {
	if !ms.Valid {
		return time.Time{}
	}
	return time.UnixMilli(ms.Int64).UTC()
}

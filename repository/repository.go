// Package repository keeps analyses and jobs in PostgreSQL or SQLite, and runs
// the queue that hands the work of jobs out (queue.go). Both databases run the
// same queries; what differs between them (how to connect, how to hear of other
// processes' changes, what their errors mean) is in postgres.go and sqlite.go.
// It knows no exchange and no HTTP.
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

// Config says which database, and how it is used.
type Config struct {
	// URL is sqlite://PATH, relative or absolute (sqlite:///var/lib/x.db), or
	// postgres://user:password@host/database?options with the options of lib/pq.
	// Of these, sslmode is prefer, connect_timeout 5 s and application_name
	// tidemark unless it says otherwise.
	URL string
	// The pool of PostgreSQL connections: at most PoolSize+MaxOverflow in all, of
	// which those beyond PoolSize are closed when they have been idle for a while. SQLite has one connection that writes and
	// one that reads, whatever stands here.
	PoolSize    int           // 1 or more
	MaxOverflow int           // 0 or more
	PoolRecycle time.Duration // a connection older than this is replaced; 0: never
	PrePing     bool          // ask a pooled connection for a sign of life before each use
	History     int           // analyses kept for each series, 1 or more
	// CacheBytes is the page cache of the SQLite connection that writes; 0:
	// 512 KiB, a quarter of SQLite's own default. The one that reads has a
	// quarter of that.
	CacheBytes int64
	Log        *slog.Logger // nil: nothing is logged
}

// DB is an open database. It is the store of service, job and api, and safe for
// concurrent use.
// Times are kept to the millisecond.
type DB struct {
	engine  engine
	write   *sqlx.DB
	read    *sqlx.DB // the same as write on PostgreSQL
	history int
	log     *slog.Logger

	// how long a query and a transaction may take; 0 for no limit, as on SQLite,
	// where nobody can be away
	readLimit, writeLimit time.Duration

	mu          sync.RWMutex
	subscribers []func(Change)

	unreadable unreadable
	room       room

	gone atomic.Bool // the database is not where it was, which was logged

	id               string       // of this process, where it works
	inserter         *riverClient // inserts work, and does none
	queue            *queue       // nil unless this process works
	retries, rescued atomic.Int64

	stop context.CancelFunc // of the watch
	work sync.WaitGroup
}

var (
	_ service.Store     = (*DB)(nil)
	_ job.Store         = (*DB)(nil)
	_ job.ScheduleStore = (*DB)(nil)
)

// engine is what PostgreSQL and SQLite do not have in common.
type engine interface {
	// connect makes the first connection, and waits for other processes that
	// do so at the same time.
	connect(ctx context.Context) error
	// lock keeps other processes from migrating until tx ends.
	lock(ctx context.Context, tx *sqlx.Tx) error
	// announce tells other processes of a change, if tx is committed.
	announce(ctx context.Context, tx *sqlx.Tx, c Change) error
	// watch calls emit for the changes other processes make, until ctx ends. It
	// calls it for "anything" whenever it cannot know that it missed nothing,
	// which is so at its start.
	watch(ctx context.Context, emit func(Change))
	// maintain looks after the pool of connections, until ctx ends.
	maintain(ctx context.Context)
	// migrateQueue brings River's own tables up to date. tx holds the lock.
	migrateQueue(ctx context.Context, tx *sqlx.Tx) error
	// queueDriver is River's driver on the connections that write.
	queueDriver() riverdriver.Driver[*sql.Tx]
	queueSQL() queueSQL
	// enqueued is called when inserted work has been committed.
	enqueued(queue string)
	// full tells whether err says that the disk is.
	full(err error) bool
	// probe writes probeBytes to where the database is, and leaves no trace. An
	// error says that there is no room for them, or that nobody knows.
	probe(ctx context.Context) error
	// present tells what has become of the database under this process; "" if it is
	// where it was.
	present() string
	// close closes what is beside the pools of DB.
	close()
	// explain says in one plain sentence, without secrets, what went wrong.
	explain(err error) string
}

// Open connects, brings the schema up to date and watches for changes until
// Close. An error about cfg says what is wrong with it; all others wrap
// service.ErrStorage or are the context's. None contains the password.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	db, dialect, err := newDB(cfg)
	if err != nil {
		return nil, err
	}
	if err = db.engine.connect(ctx); err == nil {
		err = db.migrate(ctx, dialect)
	}
	if err != nil {
		err = db.fail(ctx, err)
		db.closePools()
		return nil, err
	}
	if db.inserter, err = river.NewClient(db.engine.queueDriver(), &river.Config{Logger: db.queueLog()}); err != nil {
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

// newDB is a database by its configuration, not connected yet.
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
	db = &DB{history: cfg.History, log: log, id: newID(), room: room{closed: make(chan struct{}, 1)}}

	switch scheme, rest, ok := strings.Cut(cfg.URL, "://"); {
	case ok && scheme == "sqlite":
		dialect = "sqlite"
		err = db.openSQLite(rest, cmp.Or(cfg.CacheBytes, defaultCache))
	case ok && (scheme == "postgres" || scheme == "postgresql"):
		dialect = "postgres"
		err = db.openPostgres(cfg)
	case ok:
		err = fmt.Errorf("no database driver is called %q: the URL must begin with sqlite://, postgres:// or postgresql://", scheme)
	default: // not shown: it may be another spelling of a DSN, with a password
		err = errors.New("the database URL must begin with sqlite://, postgres:// or postgresql://")
	}
	return db, dialect, err
}

// Close ends the work and the watch and closes all connections. Calls under way
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

func (db *DB) closePools() error {
	db.engine.close()
	err := db.read.Close()
	if db.write == db.read {
		return nil // all that can fail is the goodbye to a server that is gone
	}
	// last, since the last connection to close tidies SQLite's files up
	return errors.Join(err, db.write.Close())
}

// Ping tells whether the database answers, and can store as far as is known.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.Writable(); err != nil {
		return err
	}
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var one int
	// a query, since SQLite's driver has nothing to ping
	return db.fail(ctx, db.read.GetContext(limited, &one, `SELECT 1`))
}

// PoolStats are the figures of one pool of connections.
type PoolStats struct {
	Name string // "main" on PostgreSQL, "write" and "read" on SQLite
	sql.DBStats
}

// Stats returns the figures of every pool there is.
func (db *DB) Stats() []PoolStats {
	if db.read == db.write {
		return []PoolStats{{"main", db.read.Stats()}}
	}
	return []PoolStats{{"write", db.write.Stats()}, {"read", db.read.Stats()}}
}

// present is service.ErrGone if the database is not where it was: what would be
// stored in it is lost when this process ends.
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

// storageError is an error of the database: one sentence for people, and the
// driver's own behind it.
type storageError struct {
	kind     error // service.ErrStorage, or a kind of it
	sentence string
	cause    error
}

func (e *storageError) Error() string   { return service.ErrStorage.Error() + ": " + e.sentence }
func (e *storageError) Unwrap() []error { return []error{e.kind, e.cause} }

// fail turns what a driver returned into what a Store returns.
func (db *DB) fail(ctx context.Context, err error) error {
	var done *storageError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err() // drivers report it in words of their own
	case errors.As(err, &done), errors.Is(err, service.ErrNotAnalyzed),
		errors.Is(err, service.ErrUnknownJob), errors.Is(err, service.ErrBusy):
		return err
	case errors.Is(err, errSnapshot), errors.Is(err, errCandles), errors.Is(err, errSchema):
		return &storageError{service.ErrStorage, err.Error(), err}
	case db.engine.full(err):
		return &storageError{service.ErrFull, db.engine.explain(err), err}
	}
	return &storageError{service.ErrStorage, db.engine.explain(err), err}
}

// bounded is ctx for at most d, or for as long as it lasts if d is 0. What ends by it
// is an error of the database, which fail tells by the ctx that was given.
func bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

// inTx runs f in a transaction that writes, of at most db.writeLimit. After f
// returned nil it commits.
func (db *DB) inTx(ctx context.Context, f func(tx *sqlx.Tx) error) error {
	if err := db.present(); err != nil {
		return err
	}
	limited, cancel := bounded(ctx, db.writeLimit)
	defer cancel()
	err := transact(limited, db.write, f)
	db.noteFull(err)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return limited.Err() // drivers report it in words of their own
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

// exec runs one statement, with ? for arguments, and returns how many rows it
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

// values is the text "(?,?),(?,?)" for n rows of width arguments each.
func values(n, width int) string {
	row := "(" + strings.Repeat("?,", width-1) + "?)"
	return strings.Repeat(row+",", n-1) + row
}

// newID is different for every call in the world.
func newID() string { return rand.Text() }

// milliseconds is t as it is stored: NULL for the zero time.
func milliseconds(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMilli(), Valid: !t.IsZero()}
}

// moment is what milliseconds stored.
func moment(ms sql.NullInt64) time.Time {
	if !ms.Valid {
		return time.Time{}
	}
	return time.UnixMilli(ms.Int64).UTC()
}

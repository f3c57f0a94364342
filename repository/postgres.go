package repository

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/rivermigrate"

	"tidemark/levels"
	"tidemark/service"
)

// postgresEngine is a PostgreSQL server.
type postgresEngine struct {
	dsn       string
	user      string
	database  string
	address   string // host:port, for people
	id        string // marks the notifications of this process
	connector driver.Connector
	pool      *sqlx.DB
	keep      int           // connections of pool to keep when they are idle
	listener  *pgxpool.Pool // of River's one connection that listens
	log       *slog.Logger
}

func (db *DB) openPostgres(cfg Config) error {
	u, err := url.Parse(cfg.URL)
	if err != nil { // not shown, because it may quote the password
		return errors.New("the PostgreSQL URL cannot be read: in its password, @ : / ? # % and spaces must be percent-encoded")
	}
	options := u.Query()
	byDefault := func(name, value string) {
		if !options.Has(name) {
			options.Set(name, value)
		}
	}
	if os.Getenv("PGSSLMODE") == "" {
		byDefault("sslmode", "prefer") // the default of libpq; that of lib/pq refuses a server without TLS
	}
	byDefault("connect_timeout", "5")
	byDefault("fallback_application_name", "tidemark")
	// a statement with arguments takes one round trip instead of two, and blobs are
	// not encoded in hexadecimal
	byDefault("binary_parameters", "yes")
	u.RawQuery = options.Encode()
	settings, err := pq.NewConfig(u.String())
	if err != nil {
		return fmt.Errorf("the PostgreSQL URL cannot be used: %w", err)
	}
	if _, err = pq.NewConnectorConfig(settings); err != nil {
		return fmt.Errorf("the PostgreSQL URL cannot be used: %w", err)
	}
	var connector driver.Connector = unblocking{settings}
	if cfg.PrePing {
		connector = pinging{connector}
	}
	pool := sqlx.NewDb(sql.OpenDB(connector), "postgres")
	pool.SetMaxOpenConns(cfg.PoolSize + cfg.MaxOverflow)
	pool.SetConnMaxLifetime(cfg.PoolRecycle)
	listener, err := newListenerPool(*u, cfg.PoolRecycle)
	if err != nil {
		return fmt.Errorf("the PostgreSQL URL cannot be used: %w", err)
	}
	db.write, db.read = pool, pool
	db.readLimit, db.writeLimit = 4*time.Second, 20*time.Second
	db.engine = &postgresEngine{
		dsn: u.String(), user: settings.User, database: settings.Database,
		address: net.JoinHostPort(settings.Host, strconv.Itoa(int(settings.Port))),
		id:      newID(), connector: connector, pool: pool, keep: cfg.PoolSize, listener: listener, log: db.log,
	}
	return nil
}

func (e *postgresEngine) connect(ctx context.Context) error { return e.pool.PingContext(ctx) }

// newListenerPool returns the pool from which River takes its listening connection when
// it starts.
func newListenerPool(u url.URL, recycle time.Duration) (*pgxpool.Pool, error) {
	options := u.Query()
	name := options.Get("fallback_application_name")
	for _, ours := range []string{"binary_parameters", "disable_prepared_binary_result", "fallback_application_name"} {
		options.Del(ours) // pgx would send them to the server
	}
	u.RawQuery = options.Encode()
	config, err := pgxpool.ParseConfig(u.String())
	if err != nil {
		return nil, err
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = name
	}
	config.MaxConns, config.MinConns = 1, 0
	if recycle > 0 {
		config.MaxConnLifetime = recycle
	}
	return pgxpool.NewWithConfig(context.Background(), config)
}

// migrateQueue does not use tx, because a new value of an enumeration must be committed
// before it is used. It does not use the pool either, which may have no connection
// other than that of tx.
func (e *postgresEngine) migrateQueue(ctx context.Context, _ *sqlx.Tx, to int) error {
	pool := sql.OpenDB(e.connector)
	defer pool.Close()
	m, err := rivermigrate.New(riverdatabasesql.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	_, err = m.Migrate(ctx, rivermigrate.DirectionUp, &rivermigrate.MigrateOpts{TargetVersion: to})
	return err
}

func (e *postgresEngine) queueDriver() riverdriver.Driver[*sql.Tx] {
	return riverdatabasesql.NewWithPgxListener(e.pool.DB, e.listener)
}

func (*postgresEngine) queueSQL() queueSQL {
	return queueSQL{
		now:    `CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)`,
		since:  `CAST(extract(epoch FROM clock_timestamp() - %s) * 1000 AS bigint)`,
		holder: `attempted_by[array_upper(attempted_by, 1)]`,
	}
}

// putBlocks sends an array for each column and all blocks as one blob. lib/pq appends the
// parameters to a growing buffer: hundreds of them cost five times their size in garbage.
// The blob is the last one, so that the buffer does not grow again after it.
func (*postgresEngine) putBlocks(ctx context.Context, tx *sqlx.Tx, rows []blockRow) error {
	var series, spans, froms, starts, lengths pq.Int64Array
	var simulated pq.BoolArray
	blob := blobs.Get().(*[]byte)
	defer blobs.Put(blob)
	all := (*blob)[:0]
	for _, r := range rows {
		series, spans, froms = append(series, r.series), append(spans, r.Span), append(froms, r.From)
		simulated = append(simulated, r.simulated)
		starts, lengths = append(starts, int64(len(all)+1)), append(lengths, int64(len(r.Packed)))
		all = append(all, r.Packed...)
	}
	*blob = all
	_, err := tx.ExecContext(ctx, `INSERT INTO candles (series_id, span, covered_from, simulated, block)
		SELECT series_id, span, covered_from, simulated, NULLIF(substring(CAST($7 AS bytea), start, length), '')
		FROM unnest(CAST($1 AS bigint[]), CAST($2 AS bigint[]), CAST($3 AS bigint[]), CAST($4 AS boolean[]), CAST($5 AS int[]), CAST($6 AS int[]))
			AS row (series_id, span, covered_from, simulated, start, length)
		ON CONFLICT (series_id, span) DO UPDATE SET
			covered_from = excluded.covered_from, simulated = excluded.simulated, block = excluded.block`,
		series, spans, froms, simulated, starts, lengths, all)
	return err
}

// blobs holds the buffers of putBlocks, each of up to blocksPerPut blocks.
var blobs = sync.Pool{New: func() any { return new([]byte) }}

func (*postgresEngine) enqueued(string) {} // the server notifies

// diskFull is the code disk_full in Appendix A of the PostgreSQL manual.
const diskFull = "53100"

func (*postgresEngine) full(err error) bool {
	failure, ok := errors.AsType[*pq.Error](err)
	return ok && failure.Code == diskFull
}

// probe fills a new table and rolls it back.
func (e *postgresEngine) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	taken := errors.New("taken back")
	err := transact(ctx, e.pool, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, `CREATE TABLE tidemark_room (filler BYTEA)`); err != nil {
			return err
		}
		filler := make([]byte, probeBytes)
		rand.Read(filler) // PostgreSQL cannot compress random bytes
		if _, err := tx.ExecContext(ctx, `INSERT INTO tidemark_room VALUES ($1)`, filler); err != nil {
			return err
		}
		return taken
	})
	if errors.Is(err, taken) {
		return nil
	}
	return err
}

func (*postgresEngine) present() string { return "" } // the server reports it as an error

func (e *postgresEngine) close() { e.listener.Close() }

// unblocking makes connections whose calls end soon after their context, whatever the
// server does. lib/pq only sends a cancel request over a new connection and keeps
// reading: for ever, if the server is frozen or the network is down.
type unblocking struct{ settings pq.Config }

func (unblocking) Driver() driver.Driver { return pq.Driver{} }

func (u unblocking) Connect(ctx context.Context) (driver.Conn, error) {
	connector, err := pq.NewConnectorConfig(u.settings)
	if err != nil {
		return nil, err
	}
	d := &dialer{}
	connector.Dialer(d)
	stop := context.AfterFunc(ctx, d.unblock)
	c, err := connector.Connect(ctx)
	if !stop() && err == nil {
		c.Close()
		return nil, ctx.Err()
	}
	d.connected.Store(true)
	if err != nil {
		return nil, err
	}
	return unblockingConn{c.(postgresConn), d}, nil
}

type unblockingConn struct {
	postgresConn
	dialer *dialer
}

// BeginTx ends with ctx too. It is the only call in which lib/pq ignores the context.
func (c unblockingConn) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	stop := context.AfterFunc(ctx, c.dialer.unblock)
	defer stop()
	return c.postgresConn.BeginTx(ctx, options)
}

// dialer dials for one connection of lib/pq.
type dialer struct {
	net.Dialer
	connected atomic.Bool // later calls dial only to cancel a query

	mu   sync.Mutex
	conn net.Conn // the last one dialled before connected
}

// cancelTime is the longest a server may take to cancel a query. It also bounds the
// dialling of the cancel request, which lib/pq does not always bound.
const cancelTime = time.Second / 2

func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if d.connected.Load() {
		// lib/pq sends no more queries on conn; a pending read gets until then to
		// receive the cancellation
		time.AfterFunc(cancelTime, d.unblock)
		ctx, cancel := context.WithTimeout(ctx, cancelTime)
		defer cancel()
		c, err := d.Dialer.DialContext(ctx, network, address)
		if err == nil {
			time.AfterFunc(cancelTime, func() { c.SetDeadline(time.Unix(1, 0)) })
		}
		return c, err
	}
	c, err := d.Dialer.DialContext(ctx, network, address)
	if err == nil {
		d.mu.Lock()
		d.conn = c
		d.mu.Unlock()
	}
	return c, err
}

func (d *dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

// unblock makes pending and later reads and writes of the connection fail.
func (d *dialer) unblock() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		d.conn.SetDeadline(time.Unix(1, 0))
	}
}

// pinging makes connections that are pinged before they are used again. One that was
// closed in the meantime (a server restart, a firewall) is replaced instead of failing
// a query.
type pinging struct{ driver.Connector }

// pingAfter is the idle time after which a connection is pinged. Before that it is
// pinged only if something has arrived on it: a sweep takes a connection several times
// for each pair, and a ping is a round trip.
const pingAfter = time.Second

func (p pinging) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := p.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &pingingConn{unblockingConn: c.(unblockingConn)}, nil
}

// postgresConn holds the driver interfaces that connections of lib/pq implement.
type postgresConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

type pingingConn struct {
	unblockingConn
	returned time.Time // when the connection was returned to the pool
}

// IsValid is called when the connection is returned to the pool.
func (c *pingingConn) IsValid() bool {
	c.returned = time.Now()
	return c.unblockingConn.IsValid()
}

// ResetSession is called before each use of a pooled connection except the first.
func (c *pingingConn) ResetSession(ctx context.Context) error {
	if err := c.unblockingConn.ResetSession(ctx); err != nil {
		return err
	}
	if time.Since(c.returned) < pingAfter && silent(c.dialer.conn) {
		return nil
	}
	return c.Ping(ctx) // driver.ErrBadConn: the pool drops it and takes another
}

// overflowIdle is the longest a connection beyond the pool's size may be idle.
// database/sql would close it at once, and a sweep would open it again within
// milliseconds, which costs the server more than the query.
const overflowIdle = 30 * time.Second

// maintain closes idle connections beyond the pool's size, until ctx ends.
func (e *postgresEngine) maintain(ctx context.Context) {
	tick := time.NewTicker(overflowIdle)
	defer tick.Stop()
	for {
		e.closeOverflow()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// closeOverflow closes the connections beyond the pool's size that are idle now.
func (e *postgresEngine) closeOverflow() {
	e.pool.SetMaxIdleConns(e.keep)
	e.pool.SetMaxIdleConns(e.pool.Stats().MaxOpenConnections)
}

// migrationLock is the key of the advisory lock, the same in every version.
const migrationLock = 0x7469_6465_6d61_726b // "tidemark"

// lock takes a lock that ends with the transaction: a session lock would not work
// through a pooler such as PgBouncer.
func (e *postgresEngine) lock(ctx context.Context, tx *sqlx.Tx) error {
	_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(migrationLock))
	return err
}

// notification is the payload that carries a Change to other processes.
type notification struct {
	From     string          `json:"from"`
	Exchange string          `json:"exchange,omitempty"`
	Interval levels.Interval `json:"interval,omitempty"`
	Symbols  []string        `json:"symbols,omitempty"`
	Events   bool            `json:"events,omitempty"`
}

// channel is the SQL expression for the name of the channel. It contains the schema,
// because channels belong to the database and deployments in two of its schemas must
// not receive each other's notifications. A name has at most 63 bytes.
const channel = `left('tidemark.' || current_schema(), 63)`

// maxPayload is the longest payload of NOTIFY, in bytes (PostgreSQL manual,
// NOTIFY: "must be shorter than 8000 bytes").
const maxPayload = 7999

// inOrder makes transactions that store events commit one after the other: the lock is
// held until tx ends. Its number is that of the table in this schema, because locks belong
// to the database.
func (e *postgresEngine) inOrder(ctx context.Context, tx *sqlx.Tx) error {
	_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock('events'::regclass::oid::bigint)`)
	return err
}

// lockSeries locks in the order of putAnalyses, so that the two cannot deadlock. A statement
// after it sees what those that held a lock have committed.
func (*postgresEngine) lockSeries(ctx context.Context, tx *sqlx.Tx, series []service.Key) error {
	var args []any
	for _, k := range series {
		args = append(args, k.Exchange, k.Interval, k.Symbol)
	}
	_, err := exec(ctx, tx, `SELECT id FROM series WHERE (exchange, interval, symbol) IN (`+values(len(series), 3)+`)
		ORDER BY exchange COLLATE "C", interval COLLATE "C", symbol COLLATE "C" FOR NO KEY UPDATE`, args...)
	return err
}

func (e *postgresEngine) announce(ctx context.Context, tx *sqlx.Tx, c Change) error {
	payload, err := json.Marshal(notification{e.id, c.Exchange, c.Interval, c.Symbols, c.Events})
	if err == nil && len(payload) > maxPayload {
		payload, err = json.Marshal(notification{From: e.id})
	}
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `SELECT pg_notify(`+channel+`, $1)`, string(payload))
	return err
}

func (e *postgresEngine) watch(ctx context.Context, emit func(Change)) {
	const pause = time.Second // between attempts to connect
	lost := false
	for ctx.Err() == nil {
		err := e.listen(ctx, emit, func() {
			if lost {
				e.log.Info("listening to database changes again")
			}
			lost = false
		})
		if ctx.Err() != nil {
			return
		}
		if !lost {
			e.log.Warn("not hearing of changes other processes make, trying again", "error", e.explain(err))
			lost = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// listen receives notifications on its own connection, outside the pool, until the
// connection fails or ctx ends. It calls connected once it listens.
func (e *postgresEngine) listen(ctx context.Context, emit func(Change), connected func()) error {
	// the channel's name first, with a context: the calls below take none and are
	// bounded by connect_timeout
	var name string
	if err := e.pool.GetContext(ctx, &name, `SELECT `+channel); err != nil {
		return err
	}
	notifications := make(chan *pq.Notification, 16)
	c, err := pq.NewListenerConn(e.dsn, notifications)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer func() {
		stop()
		c.Close()
		for range notifications { // closed by the connection when it has ended
		}
	}()
	if _, err := c.Listen(name); err != nil {
		return err
	}
	connected()
	emit(Change{}) // changes before this may have been missed
	for n := range notifications {
		var got notification
		if err := json.Unmarshal([]byte(n.Extra), &got); err != nil {
			emit(Change{}) // from a version with another format
		} else if got.From != e.id {
			emit(Change{Exchange: got.Exchange, Interval: got.Interval, Symbols: got.Symbols, Events: got.Events})
		}
	}
	return c.Err()
}

func (e *postgresEngine) explain(err error) string {
	if failure, ok := errors.AsType[*pq.Error](err); ok {
		// https://www.postgresql.org/docs/current/errcodes-appendix.html
		switch failure.Code {
		case "28P01", "28000":
			return fmt.Sprintf("PostgreSQL at %s does not let user %q in: wrong password, or not allowed", e.address, e.user)
		case "3D000":
			return fmt.Sprintf("PostgreSQL at %s has no database %q", e.address, e.database)
		case "42501":
			return fmt.Sprintf("user %q lacks a permission in database %q: %s", e.user, e.database, failure.Message)
		case diskFull:
			return fmt.Sprintf("the disk of PostgreSQL at %s is full", e.address)
		case "53300":
			return fmt.Sprintf("PostgreSQL at %s has no connection left; lower the pool size, or raise its max_connections", e.address)
		case "57P01", "57P02", "57P03":
			return fmt.Sprintf("PostgreSQL at %s is starting or stopping", e.address)
		}
		return fmt.Sprintf("PostgreSQL at %s: %s", e.address, failure.Message)
	}
	if _, ok := errors.AsType[net.Error](err); ok || errors.Is(err, driver.ErrBadConn) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("PostgreSQL at %s cannot be reached: %v", e.address, err)
	}
	return fmt.Sprintf("PostgreSQL at %s: %v", e.address, err)
}

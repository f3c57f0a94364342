package repository

// These tests pin Open: which URLs it accepts, how it creates the schema, and that it
// reports each problem of a database in one sentence with the cause and without the
// password.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"tidemark/job"
	"tidemark/migrations"
	"tidemark/service"
)

func TestOpen_RefusesWhatItCannotUse(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no URL", func(c *Config) { c.URL = "" }, "must begin with sqlite://"},
		{"no scheme", func(c *Config) { c.URL = "host=db password=s3cret" }, "must begin with sqlite://"},
		{"another database", func(c *Config) { c.URL = "mysql://root:s3cret@db/x" }, `"mysql"`},
		{"a Python driver", func(c *Config) { c.URL = "postgresql+asyncpg://u:s3cret@db/x" }, `"postgresql+asyncpg"`},
		{"no file", func(c *Config) { c.URL = "sqlite://" }, "names no file"},
		{"in memory", func(c *Config) { c.URL = "sqlite://:memory:" }, "temporary folder"},
		{"SQLite options", func(c *Config) { c.URL = "sqlite://x.db?mode=ro" }, "without '?'"},
		{"unescaped password", func(c *Config) { c.URL = "postgres://u:s3cret/s3cret@db/x" }, "percent-encoded"},
		{"bad PostgreSQL option", func(c *Config) { c.URL = "postgres://u:s3cret@db/x?sslmode=never" }, "never"},
		{"no pool", func(c *Config) { c.PoolSize = 0 }, "at least 1"},
		{"negative overflow", func(c *Config) { c.MaxOverflow = -1 }, "negative"},
		{"negative recycling", func(c *Config) { c.PoolRecycle = -1 }, "negative"},
		{"no history", func(c *Config) { c.History = 0 }, "at least 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			db, err := Open(t.Context(), onSQLite(t).config(c.change))
			if err == nil {
				db.Close()
				t.Fatal("opened")
			}
			saysOnly(t, err, c.want)
		})
	}
}

// saysOnly fails unless err is one sentence with want in it and no secret.
func saysOnly(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if s := err.Error(); !strings.Contains(s, want) || strings.Contains(s, "s3cret") || strings.Contains(s, "\n") {
		t.Errorf("%q; want one line with %q and no password", s, want)
	}
}

func TestOpen_SQLitePaths(t *testing.T) {
	folder := t.TempDir()
	t.Chdir(folder)
	for _, c := range []struct{ url, file string }{
		{"sqlite://relative.db", "relative.db"},
		{"sqlite://./dot.db", "dot.db"},
		{"sqlite://" + filepath.Join(folder, "absolute.db"), "absolute.db"},
		{"sqlite://file:odd & 100%41 #name.db", "file:odd & 100%41 #name.db"},
	} {
		database{url: c.url}.open(t)
		if _, err := os.Stat(filepath.Join(folder, c.file)); err != nil {
			t.Errorf("%s: %v", c.url, err)
		}
	}
}

func TestOpen_TwiceKeepsWhatIsStored(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db, err := Open(t.Context(), d.config())
		if err != nil {
			t.Fatal(err)
		}
		put(t, db, snapshot("BTCUSDT", 0))
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = d.open(t)
		same(t, []string{"BTCUSDT 0"}, market(t, db))
		if n := count(t, db, "tidemark_migrations"); n != len(numbered(t, "sqlite")) {
			t.Errorf("%d migrations recorded, want %d", n, len(numbered(t, "sqlite")))
		}
	})
}

func TestOpen_ManyAtOnceOnAnEmptyDatabase(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		var work sync.WaitGroup
		for range 8 {
			work.Go(func() {
				db, err := Open(t.Context(), d.config())
				if err != nil {
					t.Error(err)
					return
				}
				defer db.Close()
				if err := db.Put(t.Context(), service.Results{Snapshots: []service.Snapshot{snapshot("BTCUSDT", 0)}}); err != nil {
					t.Error(err)
				}
			})
		}
		work.Wait()
		same(t, []string{"BTCUSDT 0"}, market(t, d.open(t)))
	})
}

func TestOpen_RefusesANewerSchema(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		if _, err := exec(t.Context(), db.write, `INSERT INTO tidemark_migrations (version, name, applied_at) VALUES (999, 'x', 0)`); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), d.config())
		saysOnly(t, err, "run a newer tidemark")
		if !errors.Is(err, service.ErrStorage) {
			t.Errorf("%v is not ErrStorage", err)
		}
	})
}

func TestOpen_EndsWithItsContext(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Open(ctx, d.config()); !errors.Is(err, context.Canceled) || errors.Is(err, service.ErrStorage) {
			t.Errorf("%v, want the context's error", err)
		}
	})
}

// numbered returns the names of a dialect's migrations, in order.
func numbered(t *testing.T, dialect string) []string {
	files, err := fs.Glob(migrations.Files, dialect+"/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for i := range files {
		files[i] = path.Base(files[i])
	}
	return files
}

func TestMigrations_SameNumbersAndSameColumnsInBothDialects(t *testing.T) {
	names := numbered(t, "sqlite")
	same(t, names, numbered(t, "postgres"))
	for i, name := range names {
		if want := fmt.Sprintf("%04d_", i+1); !strings.HasPrefix(name, want) {
			t.Errorf("migration %d is called %s, want %s…", i+1, name, want)
		}
	}
	columns := func(d database) map[string][]string {
		db := d.open(t)
		query := `SELECT name FROM sqlite_master WHERE type = 'table'`
		if d.postgres {
			query = `SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()`
		}
		var tables []string
		if err := db.read.SelectContext(t.Context(), &tables, query); err != nil {
			t.Fatal(err)
		}
		all := map[string][]string{}
		for _, table := range tables {
			if strings.HasPrefix(table, "river_") || strings.HasPrefix(table, "sqlite_") {
				continue // River's own and SQLite's own
			}
			rows, err := db.read.QueryContext(t.Context(), `SELECT * FROM `+table+` LIMIT 0`)
			if err != nil {
				t.Fatal(err)
			}
			if all[table], err = rows.Columns(); err != nil {
				t.Fatal(err)
			}
			rows.Close()
		}
		return all
	}
	same(t, columns(onSQLite(t)), columns(onPostgres(t)))
}

func TestMigrations_JobsLeftOpenByAVersionWithoutQueueHaveFailed(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		driver, dialect, dsn := "sqlite", "sqlite", strings.TrimPrefix(d.url, "sqlite://")
		if d.postgres {
			driver, dialect, dsn = "postgres", "postgres", d.url
		}
		old, err := sqlx.Connect(driver, dsn)
		if err != nil {
			t.Fatal(err)
		}
		first, err := migrations.Files.ReadFile(dialect + "/0001_analyses_and_jobs.sql")
		if err != nil {
			t.Fatal(err)
		}
		old.MustExec(string(first))
		old.MustExec(`CREATE TABLE tidemark_migrations (version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)`)
		old.MustExec(`INSERT INTO tidemark_migrations VALUES (1, '0001_analyses_and_jobs.sql', 0)`)
		for _, state := range []string{"queued", "running", "completed"} {
			old.MustExec(old.Rebind(`INSERT INTO jobs VALUES (?, 'sweep', ?, 'binance', '1h', 2000, TRUE, FALSE, 0, 0, 0, 0, 0, 0, 1, NULL, NULL, 2, NULL, NULL, NULL)`), state, state)
		}
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
		db := d.open(t)
		for _, state := range []string{"queued", "running"} {
			if j := getJob(t, db, state); j.State != job.Failed || j.Error == nil || j.Error.Code != "interrupted" || j.FinishedAt.IsZero() {
				t.Errorf("the job that was %s: %+v", state, j)
			}
		}
		if j := getJob(t, db, "completed"); j.State != job.Completed || j.Error != nil {
			t.Errorf("the job that was completed: %+v", j)
		}
	})
}

func TestSQLite_WhatIsWrongWithTheFileIsSaid(t *testing.T) {
	folder := t.TempDir()
	text := filepath.Join(folder, "letter.txt")
	if err := os.WriteFile(text, []byte(strings.Repeat("Dear database, I am not one. ", 400)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, path, want string }{
		{"no folder", filepath.Join(folder, "none", "x.db"), "the folder " + filepath.Join(folder, "none") + " does not exist"},
		{"a file as folder", filepath.Join(text, "x.db"), "is not a folder"},
		{"a folder as file", folder, "is a folder, not a database file"},
		{"another file", text, "is not a SQLite database"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(t.Context(), database{url: "sqlite://" + c.path}.config())
			saysOnly(t, err, c.want)
			if !errors.Is(err, service.ErrStorage) {
				t.Errorf("%v is not ErrStorage", err)
			}
		})
	}
	if after, err := os.ReadFile(text); err != nil || !strings.HasPrefix(string(after), "Dear database") {
		t.Errorf("the file that is no database was changed: %v", err)
	}
}

func TestSQLite_FullDiskFailsThePutAndNothingElse(t *testing.T) {
	db := onSQLite(t).open(t)
	putJob(t, db, testJob("j"))
	put(t, db, snapshot("BTCUSDT", 0))
	var pages int
	if err := db.write.Get(&pages, `PRAGMA page_count`); err != nil {
		t.Fatal(err)
	}
	limit := func(pages int) {
		if err := db.write.Get(&pages, `PRAGMA max_page_count = `+strconv.Itoa(pages)); err != nil {
			t.Fatal(err)
		}
	}
	limit(pages + 2)
	big := job.Batch{JobID: "j", Done: 50, Failures: []job.Outcome{{Symbol: "X"}}}
	for i := range 50 {
		big.Snapshots = append(big.Snapshots, snapshot(symbolOf(i), 0))
	}
	big.Snapshots = append(big.Snapshots, snapshot("BTCUSDT", 1))
	_, err := db.PutBatch(t.Context(), big)
	saysOnly(t, err, "is full")
	if !errors.Is(err, service.ErrStorage) || !errors.Is(err, service.ErrFull) {
		t.Errorf("%v is not ErrStorage and ErrFull", err)
	}
	if err := errors.Join(db.Writable(), db.Ping(t.Context())); !errors.Is(err, service.ErrFull) || db.Full().IsZero() {
		t.Errorf("after it: %v, since %v", err, db.Full())
	}
	same(t, []string{"BTCUSDT 0"}, market(t, db))
	same(t, testJob("j"), getJob(t, db, "j"))
	if n := count(t, db, "series"); n != 1 {
		t.Errorf("%d series, want 1", n)
	}

	limit(1 << 20) // there is room again
	if _, err := db.PutBatch(t.Context(), big); err != nil {
		t.Fatal(err)
	}
	if got := getJob(t, db, "j"); got.Done != 50 || len(market(t, db)) != 51 {
		t.Errorf("done %d, %d pairs; want 50 and 51", got.Done, len(market(t, db)))
	}
}

func TestSQLite_Settings(t *testing.T) {
	db := onSQLite(t).open(t)
	for _, c := range []struct{ pragma, write, read string }{
		{"journal_mode", "wal", "wal"},
		{"synchronous", "1", "1"}, // NORMAL
		{"cache_size", "-512", "-128"},
		{"foreign_keys", "1", "1"},
		{"busy_timeout", "10000", "10000"},
		{"query_only", "0", "1"},
	} {
		var write, read string
		if err := errors.Join(db.write.Get(&write, "PRAGMA "+c.pragma), db.read.Get(&read, "PRAGMA "+c.pragma)); err != nil {
			t.Fatal(err)
		}
		if write != c.write || read != c.read {
			t.Errorf("%s: %s for writing and %s for reading, want %s and %s", c.pragma, write, read, c.write, c.read)
		}
	}
	for _, s := range db.Stats() {
		if s.MaxOpenConnections != 1 {
			t.Errorf("%s: at most %d connections, want 1", s.Name, s.MaxOpenConnections)
		}
	}
}

func TestPostgres_WhatIsWrongWithTheServerIsSaid(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	server, err := url.Parse(serverURL(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(u *url.URL)
		want   string
	}{
		{"nobody there", func(u *url.URL) { u.Host = closed.Addr().String() }, "PostgreSQL at " + closed.Addr().String() + " cannot be reached"},
		{"wrong password", func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "s3cret-not") }, "does not let user"},
		{"unknown user", func(u *url.URL) { u.User = url.UserPassword("nobody", "s3cret") }, `does not let user "nobody" in`},
		{"unknown database", func(u *url.URL) { u.Path = "/nowhere" }, `has no database "nowhere"`},
		{"unknown option", func(u *url.URL) { u.RawQuery += "&sepal_length=4" }, "sepal_length"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := *server
			c.change(&u)
			_, err := Open(t.Context(), database{url: u.String()}.config())
			saysOnly(t, err, c.want)
			if !errors.Is(err, service.ErrStorage) {
				t.Errorf("%v is not ErrStorage", err)
			}
		})
	}
}

func TestPostgres_PoolAsConfigured(t *testing.T) {
	db := onPostgres(t).open(t, func(c *Config) { c.PoolSize, c.MaxOverflow = 2, 1 })
	var work sync.WaitGroup
	for range 12 {
		work.Go(func() {
			if _, err := db.write.Exec(`SELECT pg_sleep(0.05)`); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	db.engine.(*postgresEngine).closeOverflow()
	s := db.Stats()
	if len(s) != 1 || s[0].MaxOpenConnections != 3 || s[0].Idle > 2 || s[0].WaitCount == 0 {
		t.Errorf("%+v; want at most 3 open, at most 2 idle, and waiting", s)
	}
}

// The server closes pooled connections, and a firewall drops others: with pre-ping no
// call fails.
func TestPostgres_DeadConnectionsAreReplaced(t *testing.T) {
	t.Run("terminated", func(t *testing.T) {
		d := onPostgres(t)
		db := d.open(t)
		put(t, db, snapshot("BTCUSDT", 0))
		terminate(t, db)
		put(t, db, snapshot("BTCUSDT", 1))
		same(t, []string{"BTCUSDT 1"}, market(t, db))
	})
	t.Run("reset on the way", func(t *testing.T) {
		d := onPostgres(t)
		through := proxyTo(t, d)
		db := through.d.open(t)
		var work sync.WaitGroup
		for range 5 { // fill the pool
			work.Go(func() {
				if _, err := db.write.Exec(`SELECT pg_sleep(0.05)`); err != nil {
					t.Error(err)
				}
			})
		}
		work.Wait()
		through.reset()
		put(t, db, snapshot("BTCUSDT", 1))
		same(t, []string{"BTCUSDT 1"}, market(t, db))
	})
}

// terminate closes every connection of the test's schema except its own.
func terminate(t *testing.T, db *DB) {
	t.Helper()
	admin := administrator(t)
	var schema string
	if err := db.read.Get(&schema, `SELECT current_schema()`); err != nil {
		t.Fatal(err)
	}
	// connections of this test have the schema as their application name
	var n int
	if err := admin.Get(&n, `SELECT COUNT(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1) x`, schema); err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		t.Fatal("no connection to terminate")
	}
}

// proxy forwards between the program and the server.
type proxy struct {
	d      database
	mu     sync.Mutex
	conns  []*net.TCPConn // of the program
	frozen chan struct{}  // closed while bytes pass, as they do at first
}

// freeze keeps and accepts connections but passes no bytes, as a stopped server does,
// until the returned function is called.
func (p *proxy) freeze() (thaw func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	frozen := make(chan struct{})
	p.frozen = frozen
	return sync.OnceFunc(func() { close(frozen) })
}

// thawed waits until bytes pass.
func (p *proxy) thawed() {
	p.mu.Lock()
	frozen := p.frozen
	p.mu.Unlock()
	<-frozen
}

func proxyTo(t *testing.T, d database) *proxy {
	u, err := url.Parse(d.url)
	if err != nil {
		t.Fatal(err)
	}
	server := u.Host
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.Host = listener.Addr().String()
	p := &proxy{d: database{u.String(), true}, frozen: make(chan struct{})}
	close(p.frozen)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns = append(p.conns, c.(*net.TCPConn))
			p.mu.Unlock()
			pass := func(to, from net.Conn) {
				buf := make([]byte, 32<<10)
				for {
					n, err := from.Read(buf)
					p.thawed()
					if _, failed := to.Write(buf[:n]); err != nil || failed != nil {
						break
					}
				}
				to.Close()
				from.Close()
			}
			work.Go(func() {
				p.thawed()
				s, err := net.Dial("tcp", server)
				if err != nil {
					c.Close()
					return
				}
				work.Go(func() { pass(s, c) })
				pass(c, s)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.reset()
		work.Wait()
	})
	return p
}

// reset breaks every connection, as a firewall does after it has dropped its state.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.SetLinger(0)
		c.Close()
	}
	p.conns = nil
}

func TestClose_LaterCallsFailWithErrStorage(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db, err := Open(t.Context(), d.config())
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err := db.Ping(t.Context()); !errors.Is(err, service.ErrStorage) {
			t.Errorf("Ping: %v", err)
		}
	})
}

func TestPostgres_CloseWhileTheServerIsAway(t *testing.T) {
	d := onPostgres(t)
	through := proxyTo(t, d)
	db, err := Open(t.Context(), through.d.config())
	if err != nil {
		t.Fatal(err)
	}
	// the listener connects, loses its connection, and is between two attempts
	events := subscribe(db)
	await(t, events, func(c Change) bool { return c.Exchange == "" })
	through.reset()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// await returns the next change for which wanted is true.
func await(t *testing.T, events <-chan Change, wanted func(Change) bool) Change {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		select {
		case c := <-events:
			if wanted(c) {
				return c
			}
		case <-deadline:
			t.Fatal("no such change was told")
		}
	}
}

func subscribe(db *DB) <-chan Change {
	events := make(chan Change, 1000)
	db.Subscribe(func(c Change) {
		c.Symbols = slices.Clone(c.Symbols)
		events <- c
	})
	return events
}

// A frozen server (SIGSTOP, a thrashing host, a broken network) accepts connections and
// answers nothing. Every call still ends, and the pool works again afterwards.
func TestPostgres_EveryCallEndsWhileTheServerIsFrozen(t *testing.T) {
	t.Parallel()
	for _, prePing := range []bool{true, false} {
		t.Run(fmt.Sprintf("pre-ping %v", prePing), func(t *testing.T) {
			through := proxyTo(t, onPostgres(t))
			db := through.d.open(t, func(c *Config) { c.PrePing = prePing })
			db.readLimit, db.writeLimit = time.Second, 2*time.Second
			put(t, db, snapshot("BTCUSDT", 0))
			var work sync.WaitGroup
			for range 5 { // pooled connections; the next one is in a transaction
				work.Go(func() { db.Ping(t.Context()) })
			}
			work.Wait()
			inside, frozen, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
			begun := make(chan error, 1)
			go func() {
				defer close(ended)
				begun <- db.inTx(t.Context(), func(tx *sqlx.Tx) error {
					close(inside)
					<-frozen
					return errors.New("so that it rolls back") // with no context of its own
				})
			}()
			<-inside
			thaw := through.freeze()
			defer thaw()
			close(frozen)
			calls := map[string]func() error{
				"Ping":     func() error { return db.Ping(t.Context()) },
				"Snapshot": func() error { _, err := db.Snapshot(t.Context(), key("BTCUSDT"), time.Time{}); return err },
				"Job":      func() error { _, err := db.Job(t.Context(), "j"); return err },
				"Latest": func() error {
					for _, err := range db.Latest(t.Context(), "binance", "1h") {
						return err
					}
					return nil
				},
				"Put": func() error {
					err := db.Put(t.Context(), service.Results{Snapshots: []service.Snapshot{snapshot("BTCUSDT", 1)}})
					return err
				},
			}
			all := make(chan struct{})
			for name, call := range calls {
				for range 5 { // more than there are connections
					work.Go(func() {
						if err := call(); !errors.Is(err, service.ErrStorage) {
							t.Errorf("%s: %v, want ErrStorage", name, err)
						}
					})
				}
			}
			go func() { work.Wait(); <-ended; close(all) }()
			select {
			case <-all:
			case <-time.After(time.Minute):
				t.Fatal("a call hangs")
			}
			<-begun
			thaw()
			put(t, db, snapshot("BTCUSDT", 1))
			same(t, []string{"BTCUSDT 1"}, market(t, db))
			// connections still being opened for ended calls count as in use
			for deadline := time.Now().Add(time.Minute); db.Stats()[0].InUse > 0; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d connections are still taken", db.Stats()[0].InUse)
				}
			}
		})
	}
}

func TestPostgres_CloseWhileTheServerIsFrozen(t *testing.T) {
	through := proxyTo(t, onPostgres(t))
	db, err := Open(t.Context(), through.d.config())
	if err != nil {
		t.Fatal(err)
	}
	put(t, db, snapshot("BTCUSDT", 0))
	thaw := through.freeze()
	defer thaw()
	closed := make(chan struct{})
	go func() { db.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Fatal("Close hangs")
	}
}

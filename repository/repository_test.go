package repository

// The basis of all tests here: each runs on SQLite and on PostgreSQL, in its own database
// or schema, and no goroutine may remain after the last one.

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"go.uber.org/goleak"

	"tidemark/levels"
	"tidemark/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// database is an empty database for one test.
type database struct {
	url      string
	postgres bool
}

// onBoth runs f on both kinds of databases.
func onBoth(t *testing.T, f func(t *testing.T, d database)) {
	t.Run("sqlite", func(t *testing.T) { f(t, onSQLite(t)) })
	t.Run("postgres", func(t *testing.T) { f(t, onPostgres(t)) })
}

func onSQLite(t testing.TB) database {
	return database{url: "sqlite://" + filepath.Join(t.TempDir(), "test.db")}
}

func onPostgres(t testing.TB) database {
	admin := administrator(t)
	schema := "test_" + strings.ToLower(newID())
	admin.MustExec(`CREATE SCHEMA ` + schema)
	t.Cleanup(func() { admin.MustExec(`DROP SCHEMA ` + schema + ` CASCADE`) })
	u, err := url.Parse(serverURL(t))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("search_path", schema)
	q.Set("application_name", schema) // identifies the connections of this test
	u.RawQuery = q.Encode()
	return database{url: u.String(), postgres: true}
}

// serverURL returns the URL of the PostgreSQL server for tests.
func serverURL(t testing.TB) string {
	u := os.Getenv("TIDEMARK_TEST_POSTGRES")
	if u == "" {
		t.Fatal("TIDEMARK_TEST_POSTGRES is not set: run the tests with scripts/with-postgres go test ./...")
	}
	return u
}

func administrator(t testing.TB) *sqlx.DB {
	admin, err := sqlx.Connect("postgres", serverURL(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { admin.Close() })
	return admin
}

func (d database) config(change ...func(*Config)) Config {
	cfg := Config{URL: d.url, PoolSize: 5, MaxOverflow: 10, PoolRecycle: time.Hour, PrePing: true, History: 3}
	for _, f := range change {
		f(&cfg)
	}
	return cfg
}

// open opens the database until the end of the test.
func (d database) open(t testing.TB, change ...func(*Config)) *DB {
	t.Helper()
	db, err := Open(t.Context(), d.config(change...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// start is the AsOf of the first analysis of every test.
var start = time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)

// at returns the AsOf of the analysis n candles later.
func at(n int) time.Time { return start.Add(time.Duration(n) * time.Hour) }

func key(symbol string) service.Key {
	return service.Key{Exchange: "binance", Symbol: symbol, Interval: "1h"}
}

// snapshot returns an analysis of symbol at at(n), with ten levels on each side whose
// numbers depend on both.
func snapshot(symbol string, n int) service.Snapshot {
	r := rand.New(rand.NewPCG(uint64(n), uint64(len(symbol))))
	price := 100 + r.Float64()
	s := service.Snapshot{
		Key: key(symbol), AsOf: at(n), ComputedAt: at(n).Add(1234 * time.Millisecond),
		LastPrice: price, ATR: 1.25, Klines: 2000, Missing: 3, Simulated: true, Algorithm: "1", Decimals: 2,
	}
	for i := range 20 {
		l := levels.Level{
			ID: r.Uint64(), Status: levels.Status(i % 3), Sources: levels.Sources(1 + i%15),
			Price: price - float64(i+1), Low: price - float64(i) - 1.2, High: price - float64(i) - 0.8,
			Edge: float32(10-i%10) / 2, DrawnEdge: 5, Strength: r.Float32(), Touches: uint16(i),
			TouchProbability: float32(0.5 + float64(i)/1e4), HoldProbability: 0.4567, HoldInterval: [2]float32{0.4444, 0.4681}, BaselineHold: 0.4399, Samples: int32(4000 + i),
		}
		if i > 0 {
			l.FirstTouch, l.LastTouch = at(n-1500+i).UnixMilli(), at(n-20-i).UnixMilli()
		}
		if i < 10 {
			s.Supports = append(s.Supports, l)
		} else {
			l.Role = levels.Resistance
			s.Resistances = append(s.Resistances, l)
		}
	}
	return s
}

// put stores snapshots as one batch.
func put(t testing.TB, db *DB, snapshots ...service.Snapshot) {
	t.Helper()
	if err := db.Put(t.Context(), service.Results{Snapshots: snapshots}); err != nil {
		t.Fatal(err)
	}
}

func ctxOf(t testing.TB, timeout time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	return ctx
}

func symbolOf(i int) string { return fmt.Sprintf("P%05dUSDT", i) }

package repository

// These tests pin stored analyses: which one is the newest, how the history is trimmed,
// in which order a market is read, and that a batch is stored whole, once, or not at all.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tidemark/job"
	"tidemark/levels"
	"tidemark/service"
)

// same fails unless got equals want. An empty slice equals a nil one; what only a reader adds
// to a snapshot is left out.
func same(t *testing.T, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(service.Snapshot{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestSnapshot_ComesBackAsItWasPut(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		want := snapshot("BTCUSDT", 0)
		put(t, db, want)
		got, err := db.Snapshot(t.Context(), key("BTCUSDT"), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		same(t, want, got)
	})
}

func TestPut_KeepsNothingItIsHanded(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		s := snapshot("BTCUSDT", 0)
		put(t, db, s)
		for i := range s.Supports {
			s.Supports[i] = levels.Level{}
		}
		got, err := db.Snapshot(t.Context(), key("BTCUSDT"), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		same(t, snapshot("BTCUSDT", 0), got)
	})
}

func TestSnapshot_NotAnalyzed(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		put(t, db, snapshot("BTCUSDT", 0))
		for _, c := range []struct {
			name string
			key  service.Key
			at   time.Time
		}{
			{"another symbol", key("ETHUSDT"), time.Time{}},
			{"another spelling", key("btcusdt"), time.Time{}},
			{"another interval", service.Key{Exchange: "binance", Symbol: "BTCUSDT", Interval: "4h"}, time.Time{}},
			{"another exchange", service.Key{Exchange: "okx", Symbol: "BTCUSDT", Interval: "1h"}, time.Time{}},
			{"before the first", key("BTCUSDT"), at(0).Add(-time.Millisecond)},
		} {
			if _, err := db.Snapshot(t.Context(), c.key, c.at); !errors.Is(err, service.ErrNotAnalyzed) {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	})
}

func TestSnapshot_NewestNotAfterTheMomentAsked(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		for _, n := range []int{0, 2, 4} {
			put(t, db, snapshot("BTCUSDT", n))
		}
		for _, c := range []struct {
			at   time.Time
			want int
		}{
			{time.Time{}, 4}, {at(9), 4}, {at(4), 4}, {at(4).Add(-time.Millisecond), 2}, {at(2), 2}, {at(1), 0}, {at(0), 0},
		} {
			got, err := db.Snapshot(t.Context(), key("BTCUSDT"), c.at)
			if err != nil {
				t.Fatal(err)
			}
			if !got.AsOf.Equal(at(c.want)) {
				t.Errorf("at %v: the analysis of %v, want %v", c.at, got.AsOf, at(c.want))
			}
		}
	})
}

func TestPut_SameMomentReplaces(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		put(t, db, snapshot("BTCUSDT", 0))
		second := snapshot("BTCUSDT", 0)
		second.LastPrice, second.Supports = 7, second.Supports[:1]
		put(t, db, second)
		got, err := db.Snapshot(t.Context(), key("BTCUSDT"), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		same(t, second, got)
		if n := count(t, db, "analyses"); n != 1 {
			t.Errorf("%d analyses stored, want 1", n)
		}
	})
}

func TestPut_OlderJoinsTheHistoryOnly(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		put(t, db, snapshot("BTCUSDT", 5))
		var changes []Change
		db.Subscribe(func(c Change) {
			if c.Exchange != "" {
				changes = append(changes, c)
			}
		})
		put(t, db, snapshot("BTCUSDT", 3))
		if got, err := db.Snapshot(t.Context(), key("BTCUSDT"), time.Time{}); err != nil || !got.AsOf.Equal(at(5)) {
			t.Errorf("newest is of %v, %v; want %v", got.AsOf, err, at(5))
		}
		if got, err := db.Snapshot(t.Context(), key("BTCUSDT"), at(4)); err != nil || !got.AsOf.Equal(at(3)) {
			t.Errorf("as of %v: %v, %v; want %v", at(4), got.AsOf, err, at(3))
		}
		same(t, []string{"BTCUSDT 5"}, market(t, db))
		if len(changes) > 0 {
			t.Errorf("a change is told where the newest analysis did not change: %v", changes)
		}
	})
}

func TestPut_TrimsTheHistory(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t) // keeps 3
		for _, n := range []int{1, 9, 5, 3, 7, 2} {
			put(t, db, snapshot("BTCUSDT", n), snapshot("ETHUSDT", n))
		}
		for _, symbol := range []string{"BTCUSDT", "ETHUSDT"} {
			var kept []int
			for n := range 10 {
				s, err := db.Snapshot(t.Context(), key(symbol), at(n))
				if err == nil && s.AsOf.Equal(at(n)) {
					kept = append(kept, n)
				}
			}
			same(t, []int{5, 7, 9}, kept)
		}
		if n := count(t, db, "analyses"); n != 6 {
			t.Errorf("%d analyses stored, want 6", n)
		}
	})
}

func TestPut_HistoryMadeShorterIsTrimmedByTheNextPut(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		for n := range 3 {
			put(t, db, snapshot("BTCUSDT", n))
		}
		db = d.open(t, func(c *Config) { c.History = 1 })
		put(t, db, snapshot("BTCUSDT", 3))
		if n := count(t, db, "analyses"); n != 1 {
			t.Errorf("%d analyses stored, want 1", n)
		}
	})
}

func TestPut_OnePairTwiceInABatch(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		last := snapshot("BTCUSDT", 4)
		last.LastPrice = 9
		put(t, db, snapshot("BTCUSDT", 4), snapshot("BTCUSDT", 2), snapshot("AAAUSDT", 1), last)
		same(t, []string{"AAAUSDT 1", "BTCUSDT 4"}, market(t, db))
		if got, err := db.Snapshot(t.Context(), key("BTCUSDT"), time.Time{}); err != nil || got.LastPrice != 9 {
			t.Errorf("the last of two of one moment must count: %v, %v", got.LastPrice, err)
		}
		if got, err := db.Snapshot(t.Context(), key("BTCUSDT"), at(3)); err != nil || !got.AsOf.Equal(at(2)) {
			t.Errorf("as of %v: %v, %v", at(3), got.AsOf, err)
		}
	})
}

func TestPut_ManyRowsAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		var all []service.Snapshot
		var want []string
		for i := range 2*rowsPerStatement + 1 {
			all = append(all, snapshot(symbolOf(i), 0))
			want = append(want, symbolOf(i)+" 0")
		}
		slices.Reverse(all)
		put(t, db, all...)
		same(t, want, market(t, db))
	})
}

func TestLatest_OneMarketBySymbol(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		other := snapshot("BTCUSDT", 9)
		other.Exchange = "okx"
		longer := snapshot("BTCUSDT", 9)
		longer.Interval = "4h"
		// in byte order: capitals, "_", small letters, others
		put(t, db, snapshot("é", 0), snapshot("b", 0), snapshot("_", 0), snapshot("a", 0), snapshot("B", 0), snapshot("1INCHUSDT", 1), other, longer)
		same(t, []string{"1INCHUSDT 1", "B 0", "_ 0", "a 0", "b 0", "é 0"}, market(t, db))
	})
}

func TestMarkets_AreThoseWithAnalyses(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		if all, err := db.Markets(t.Context()); err != nil || len(all) != 0 {
			t.Fatalf("of an empty database: %v, %v", all, err)
		}
		of := func(exchange, symbol string, interval levels.Interval, n int) service.Snapshot {
			s := snapshot(symbol, n)
			s.Exchange, s.Interval = exchange, interval
			return s
		}
		b := service.Results{Snapshots: []service.Snapshot{
			of("other", "A", "15m", 0), of("binance", "B", "1w", 1), of("binance", "A", "2h", 3), of("binance", "B", "2h", 2), of("binance", "A", "15m", 0),
		}}
		// candles alone are not an analysis
		b.Candles = []service.CandleChange{{Key: service.Key{Exchange: "kept", Symbol: "A", Interval: "1h"}, Blocks: []service.KeptBlock{{Packed: []byte{1}}}}}
		if err := db.Put(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		got, err := db.Markets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := "[{binance 15m 1 " + at(0).String() + "} {binance 2h 2 " + at(3).String() + "} {binance 1w 1 " + at(1).String() + "} {other 15m 1 " + at(0).String() + "}]"
		if fmt.Sprint(got) != want {
			t.Errorf("%v\nwant %s", got, want)
		}
	})
}

func TestLatest_EveryPairOnceWhateverTheNumberOfPages(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		n := 0
		for _, total := range []int{1, latestPage - 1, latestPage, latestPage + 1, 2 * latestPage} {
			var want []string
			var batch []service.Snapshot
			for ; n < total; n++ {
				batch = append(batch, snapshot(symbolOf(n), 0))
			}
			put(t, db, batch...)
			for i := range total {
				want = append(want, symbolOf(i)+" 0")
			}
			same(t, want, market(t, db))
		}
	})
}

func TestLatest_CarriesWholeAnalyses(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		short := snapshot("BBBUSDT", 1)
		short.Supports, short.Resistances = nil, nil
		want := []service.Snapshot{snapshot("AAAUSDT", 1), short, snapshot("CCCUSDT", 2)}
		put(t, db, want...)
		i := 0
		for got, err := range db.Latest(t.Context(), "binance", "1h") {
			if err != nil {
				t.Fatal(err)
			}
			same(t, want[i], got)
			i++
		}
		if i != len(want) {
			t.Errorf("%d analyses, want %d", i, len(want))
		}
	})
}

func TestLatest_CallerMayStopAndMayAskMeanwhile(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t, func(c *Config) { c.PoolSize, c.MaxOverflow = 1, 0 })
		put(t, db, snapshot("AAAUSDT", 0), snapshot("BBBUSDT", 0))
		seen := 0
		for s, err := range db.Latest(t.Context(), "binance", "1h") {
			if err != nil {
				t.Fatal(err)
			}
			// the one connection must be free while the caller runs
			if _, err := db.Snapshot(ctxOf(t, 5*time.Second), s.Key, time.Time{}); err != nil {
				t.Fatal(err)
			}
			seen++
			break
		}
		if seen != 1 {
			t.Errorf("%d analyses seen, want 1", seen)
		}
	})
}

func TestPut_ConcurrentBatchesOfTheSamePairs(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db, other := d.open(t), d.open(t)
		var work sync.WaitGroup
		errs := make(chan error, 40)
		for n := range 20 {
			for _, on := range []*DB{db, other} {
				work.Go(func() {
					batch := service.Results{}
					for i := range 20 {
						batch.Snapshots = append(batch.Snapshots, snapshot(symbolOf((i+n)%20), n))
					}
					err := on.Put(t.Context(), batch)
					errs <- err
				})
			}
		}
		work.Wait()
		close(errs)
		for err := range errs {
			if err != nil {
				t.Error(err)
			}
		}
		var want []string
		for i := range 20 {
			want = append(want, symbolOf(i)+" 19")
		}
		same(t, want, market(t, db))
		if n := count(t, db, "analyses"); n != 20*3 {
			t.Errorf("%d analyses stored, want %d", n, 20*3)
		}
	})
}

func TestReaders_AreNotBlockedByAWriter(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		put(t, db, snapshot("BTCUSDT", 0))
		tx, err := db.write.BeginTxx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if _, err := exec(t.Context(), tx, `UPDATE analyses SET snapshot = ?`, []byte("unfinished")); err != nil {
			t.Fatal(err)
		}
		var work sync.WaitGroup
		for range 8 {
			work.Go(func() {
				for range 20 {
					got, err := db.Snapshot(ctxOf(t, 5*time.Second), key("BTCUSDT"), time.Time{})
					if err != nil || !got.AsOf.Equal(at(0)) {
						t.Errorf("%v, %v", got.AsOf, err)
						return
					}
				}
			})
		}
		work.Wait()
	})
}

func TestCalls_EndWithTheirContext(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		put(t, db, snapshot("BTCUSDT", 0))
		over, cancel := context.WithCancel(t.Context())
		cancel()
		for name, call := range map[string]func(ctx context.Context) error{
			"Put": func(ctx context.Context) error {
				err := db.Put(ctx, service.Results{Snapshots: []service.Snapshot{snapshot("X", 1)}})
				return err
			},
			"Snapshot": func(ctx context.Context) error { _, err := db.Snapshot(ctx, key("BTCUSDT"), time.Time{}); return err },
			"Latest": func(ctx context.Context) (err error) {
				for _, err = range db.Latest(ctx, "binance", "1h") {
				}
				return err
			},
			"PutJob": func(ctx context.Context) error { return db.PutJob(ctx, job.Job{ID: "x"}) },
			"Job":    func(ctx context.Context) error { _, err := db.Job(ctx, "x"); return err },
			"Jobs":   func(ctx context.Context) error { _, err := db.Jobs(ctx, "", 1); return err },
			"Ping":   db.Ping,
		} {
			if err := call(over); !errors.Is(err, context.Canceled) || errors.Is(err, service.ErrStorage) {
				t.Errorf("%s: %v, want the context's error", name, err)
			}
		}
		same(t, []string{"BTCUSDT 0"}, market(t, db))
	})
}

// A writer that waits for another returns when its context ends, stores nothing, and the
// next writer works.
func TestPut_WaitingForAnotherWriterEndsWithItsContext(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db, other := d.open(t), d.open(t)
		put(t, db, snapshot("BTCUSDT", 0))
		tx, err := other.write.BeginTxx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := exec(t.Context(), tx, `UPDATE series SET latest_as_of = latest_as_of`); err != nil {
			t.Fatal(err)
		}
		err = db.Put(ctxOf(t, 50*time.Millisecond), service.Results{Snapshots: []service.Snapshot{snapshot("BTCUSDT", 1)}})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want the context's error", err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		same(t, []string{"BTCUSDT 0"}, market(t, db))
		put(t, db, snapshot("BTCUSDT", 2))
		same(t, []string{"BTCUSDT 2"}, market(t, db))
	})
}

// market returns the newest analyses of the market of these tests, as "SYMBOL n" for the
// one of at(n).
func market(t testing.TB, db *DB) []string {
	t.Helper()
	var list []string
	for s, err := range db.Latest(t.Context(), "binance", "1h") {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%s %d", s.Symbol, s.AsOf.Sub(start)/time.Hour))
	}
	return list
}

// count returns the number of rows of a table.
func count(t testing.TB, db *DB, table string) (n int) {
	t.Helper()
	if err := db.read.GetContext(t.Context(), &n, `SELECT COUNT(*) FROM `+table); err != nil {
		t.Fatal(err)
	}
	return n
}

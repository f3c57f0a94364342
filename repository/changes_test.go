package repository

// These tests pin who is notified of new analyses: this process before Put returns, and
// every other process that uses the database.

import (
	"slices"
	"testing"

	"tidemark/job"
	"tidemark/service"
)

func TestSubscribe_OwnChangesBeforePutReturns(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		var told []Change
		visible := true
		db.Subscribe(func(c Change) {
			if c.Exchange == "" {
				return // the watch began
			}
			told = append(told, c)
			visible = visible && len(market(t, db)) > 0
		})
		at := snapshot("AAA", 0).AsOf.UnixMilli()
		other := snapshot("AAA", 0)
		other.Interval = "4h"
		okx := snapshot("BBB", 0)
		okx.Exchange = "okx"
		put(t, db, snapshot("BTCUSDT", 0), okx, other, snapshot("ADAUSDT", 0))
		same(t, []Change{
			{Exchange: "binance", Interval: "1h", Symbols: []string{"ADAUSDT", "BTCUSDT"}, AsOf: []int64{at, at}},
			{Exchange: "binance", Interval: "4h", Symbols: []string{"AAA"}, AsOf: []int64{at}},
			{Exchange: "okx", Interval: "1h", Symbols: []string{"BBB"}, AsOf: []int64{at}},
		}, told)
		if !visible {
			t.Error("told of a change that could not be read yet")
		}
	})
}

func TestSubscribe_NothingToldOfWhatWasNotStored(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		putJob(t, db, testJob("j"))
		b := job.Batch{JobID: "j", Results: service.Results{Snapshots: []service.Snapshot{snapshot("X", 0)}}}
		if _, err := db.PutBatch(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		db.Subscribe(func(c Change) {
			if c.Exchange != "" {
				t.Errorf("told of %v", c)
			}
		})
		if _, err := db.PutBatch(t.Context(), b); err != nil { // stored already
			t.Fatal(err)
		}
		b.JobID = "nobody"
		if _, err := db.PutBatch(t.Context(), b); err == nil {
			t.Error("no error")
		}
		putJob(t, db, testJob("k"))
		if _, err := db.PutBatch(t.Context(), job.Batch{JobID: "k", Failures: []job.Outcome{{Symbol: "Y"}}}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSubscribe_ChangesOfAnotherProcess(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d database) {
		db, other := d.open(t), d.open(t)
		events := subscribe(db)
		if d.postgres {
			listening(t, other, events)
			put(t, other, snapshot("BTCUSDT", 0), snapshot("ADAUSDT", 0))
			got := await(t, events, func(c Change) bool { return len(c.Symbols) == 2 })
			same(t, Change{Exchange: "binance", Interval: "1h", Symbols: []string{"ADAUSDT", "BTCUSDT"}}, got)
			return
		}
		// one event may be from the start of the watch, three cannot
		for n := range 3 {
			put(t, other, snapshot("BTCUSDT", n))
			same(t, Change{}, await(t, events, func(Change) bool { return true }))
		}
	})
}

// listening returns once the changes of other reach events.
func listening(t *testing.T, other *DB, events <-chan Change) {
	t.Helper()
	for n := 0; ; n++ {
		put(t, other, snapshot("KNOCK", n))
		// in order: the change above, or the start of the watch
		if await(t, events, func(Change) bool { return true }).Exchange != "" {
			return
		}
	}
}

func TestPostgres_ListSoLongThatAnythingMayHaveChanged(t *testing.T) {
	d := onPostgres(t)
	db, other := d.open(t), d.open(t)
	events := subscribe(db)
	listening(t, other, events)
	var long []service.Snapshot
	for i := range 800 { // of 13 bytes each with their quotes
		long = append(long, service.Snapshot{Key: key(symbolOf(i)), AsOf: at(0)})
	}
	put(t, other, long...)
	await(t, events, func(c Change) bool { return c.Exchange == "" })
}

func TestPostgres_ListeningSurvivesALostConnection(t *testing.T) {
	d := onPostgres(t)
	db, other := d.open(t), d.open(t)
	events := subscribe(db)
	listening(t, other, events)
	terminate(t, db)
	// changes in between are unknown, so anything may have changed
	await(t, events, func(c Change) bool { return c.Exchange == "" })
	put(t, other, snapshot("BTCUSDT", 0))
	await(t, events, func(c Change) bool { return slices.Contains(c.Symbols, "BTCUSDT") })
}

func TestPostgres_OwnChangesAreToldOnce(t *testing.T) {
	d := onPostgres(t)
	db, other := d.open(t), d.open(t)
	events := subscribe(db)
	listening(t, other, events)
	put(t, db, snapshot("MINE", 0))
	put(t, other, snapshot("THEIRS", 0))
	mine := 0
	await(t, events, func(c Change) bool {
		if slices.Contains(c.Symbols, "MINE") {
			mine++
		}
		return slices.Contains(c.Symbols, "THEIRS") // notifications arrive in the order of commits
	})
	if mine != 1 {
		t.Errorf("told %d times of the own change, want once", mine)
	}
}

// The watch of SQLite depends on this: the connection that writes sees a new version
// after the commits of others, and not after its own.
func TestSQLite_OwnChangesDoNotLookLikeThoseOfOthers(t *testing.T) {
	d := onSQLite(t)
	db, other := d.open(t), d.open(t)
	version := func() (v int) {
		t.Helper()
		if err := db.write.Get(&v, `PRAGMA data_version`); err != nil {
			t.Fatal(err)
		}
		return v
	}
	before := version()
	put(t, db, snapshot("BTCUSDT", 0))
	market(t, db)
	if after := version(); after != before {
		t.Errorf("version %d after an own change, want still %d", after, before)
	}
	put(t, other, snapshot("BTCUSDT", 1))
	if after := version(); after == before {
		t.Errorf("version still %d after the change of another", after)
	}
}

package repository

// These tests pin Backup and Restore: a backup has the state of one moment while others
// write, every row of it, and what is not a whole backup, or does not fit, is refused.

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"tidemark/service"
)

// empty returns another database of the same kind.
func (d database) empty(t *testing.T) database {
	if d.postgres {
		return onPostgres(t)
	}
	return onSQLite(t)
}

// rows returns all rows of all tables but those of running processes, as text, sorted.
func rows(t *testing.T, db *DB, d database) map[string][]string {
	t.Helper()
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
		if strings.Contains(table, "migration") { // with the time at which they ran
			continue
		}
		found, err := db.read.QueryxContext(t.Context(), `SELECT * FROM `+table)
		if err != nil {
			t.Fatal(err)
		}
		for found.Next() {
			row, err := found.SliceScan()
			if err != nil {
				t.Fatal(err)
			}
			all[table] = append(all[table], fmt.Sprint(row...))
		}
		if err := found.Err(); err != nil {
			t.Fatal(err)
		}
		slices.Sort(all[table])
	}
	return all
}

func TestBackup_IsOfOneMomentAndHasEveryRow(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db, folder := d.open(t), t.TempDir()
		n := 0
		write := func() error { // two analyses, with an event and new series, in one transaction
			r := service.Results{Snapshots: []service.Snapshot{snapshot("AAAUSDT", n), snapshot("BBBUSDT", n), snapshot(symbolOf(n), n)}}
			for i := range r.Snapshots[:2] {
				s := &r.Snapshots[i]
				r.Watches = append(r.Watches, service.Watch{Key: s.Key, AsOf: s.AsOf, State: []byte("near"), Events: []service.Event{happened(s.Symbol, n)}})
			}
			n++
			return db.Put(t.Context(), r)
		}
		if err := write(); err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		var work sync.WaitGroup
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := write(); err != nil {
					t.Error(err)
					return
				}
			}
		})
		restored := func(name string) (*DB, database) {
			t.Helper()
			file, to := filepath.Join(folder, name), d.empty(t)
			for _, step := range []func() (Backed, error){
				func() (Backed, error) { return Backup(t.Context(), d.config(), file) },
				func() (Backed, error) { return Restore(t.Context(), to.config(), file) },
			} {
				b, err := step()
				if err != nil {
					t.Fatal(err)
				}
				if info, err := os.Stat(file); err != nil || b.Bytes != info.Size() || b.Version != len(numbered(t, "sqlite")) || info.Mode().Perm() != 0o600 {
					t.Errorf("%+v of %v, %v", b, info.Mode(), err)
				}
			}
			return to.open(t), to
		}
		for i := range 3 {
			got, _ := restored(fmt.Sprint("under load ", i))
			m := market(t, got)
			if len(m) < 3 || m[0][len("AAAUSDT"):] != m[1][len("BBBUSDT"):] || len(m) != count(t, got, "events")/2+2 {
				t.Errorf("%d pairs, the first are %v, %d events", len(m), m[:min(2, len(m))], count(t, got, "events"))
			}
		}
		close(stop)
		work.Wait()
		got, to := restored("the last")
		same(t, rows(t, db, d), rows(t, got, to))
		// and it continues where it was
		before, err := got.Events(t.Context(), service.EventQuery{Limit: 10000})
		if err != nil {
			t.Fatal(err)
		}
		db = got
		if err := write(); err != nil {
			t.Fatal(err)
		}
		after, err := got.Events(t.Context(), service.EventQuery{Limit: 10000})
		if err != nil || len(after) != len(before)+2 || after[len(after)-1].Seq != before[len(before)-1].Seq+2 {
			t.Errorf("%d events, then %d: %v", len(before), len(after), err)
		}
		if left, err := os.ReadDir(folder); err != nil || len(left) != 4 {
			t.Errorf("%v are left in the folder: %v", left, err)
		}
	})
}

func TestBackup_OfAnEarlierVersionIsMigratedAtTheNextOpen(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		old, dialect, err := newDB(d.config())
		if err != nil {
			t.Fatal(err)
		}
		if err := old.engine.connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := old.migrate(t.Context(), dialect, 9, 6); err != nil {
			t.Fatal(err)
		}
		if _, err := exec(t.Context(), old.write, `INSERT INTO exchange_bans (exchange, banned_until) VALUES ('somewhere', 99)`); err != nil {
			t.Fatal(err)
		}
		old.closePools()
		file, to := filepath.Join(t.TempDir(), "old"), d.empty(t)
		if b, err := Backup(t.Context(), d.config(), file); err != nil || b.Version != 9 {
			t.Fatalf("%+v, %v", b, err)
		}
		if b, err := Restore(t.Context(), to.config(), file); err != nil || b.Version != 9 {
			t.Fatalf("%+v, %v", b, err)
		}
		db := to.open(t)
		put(t, db, snapshot("BTCUSDT", 0))
		if n := count(t, db, "exchange_bans"); n != 1 || count(t, db, "tidemark_migrations") != len(numbered(t, dialect)) {
			t.Errorf("%d bans, %d migrations", n, count(t, db, "tidemark_migrations"))
		}
	})
}

func TestBackup_WhatDoesNotFitIsRefusedAndLeavesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		folder := t.TempDir()
		file := func(name string) string { return filepath.Join(folder, name) }
		refused := func(err error, want string) {
			t.Helper()
			saysOnly(t, err, want)
		}
		_, err := Backup(t.Context(), d.config(), file("none"))
		if d.postgres {
			refused(err, "it is not a database of tidemark")
		} else {
			refused(err, "no such file")
		}
		db := d.open(t)
		for n := range 30 {
			put(t, db, snapshot(symbolOf(n), n))
		}
		if _, err := Backup(t.Context(), d.config(), file("good")); err != nil {
			t.Fatal(err)
		}
		_, err = Backup(t.Context(), d.config(), file("good"))
		refused(err, "exists already")
		_, err = Restore(t.Context(), d.config(), file("good"))
		refused(err, map[bool]string{true: "the database is in use", false: "exists already; stop the service"}[d.postgres])
		_, err = Restore(t.Context(), d.config(), file("missing"))
		refused(err, "no such file")

		other := onPostgres(t)
		if d.postgres {
			other = onSQLite(t)
		}
		_, err = Restore(t.Context(), other.config(), file("good"))
		refused(err, "is a backup of a database on")

		whole, err := os.ReadFile(file("good"))
		if err != nil {
			t.Fatal(err)
		}
		damaged := slices.Clone(whole)
		for i := len(damaged) / 3; i < len(damaged)/3+8192; i++ {
			damaged[i] ^= 0x55
		}
		for name, content := range map[string][]byte{"cut": whole[:len(whole)/2], "damaged": damaged, "text": []byte("no backup at all"), "empty": nil} {
			if err := os.WriteFile(file(name), content, 0o600); err != nil {
				t.Fatal(err)
			}
			to := d.empty(t)
			if _, err := Restore(t.Context(), to.config(), file(name)); err == nil {
				t.Errorf("%s is restored", name)
			} else {
				refused(err, "")
			}
			if _, err := os.Stat(strings.TrimPrefix(to.url, "sqlite://")); !d.postgres && err == nil {
				t.Errorf("%s leaves a file", name)
			}
			// what is left of the attempt is no obstacle
			if _, err := Restore(t.Context(), to.config(), file("good")); err != nil {
				t.Errorf("after %s: %v", name, err)
			}
		}

		if _, err := exec(t.Context(), db.write, `INSERT INTO tidemark_migrations (version, name, applied_at) VALUES (999, 'x', 0)`); err != nil {
			t.Fatal(err)
		}
		_, err = Backup(t.Context(), d.config(), file("newer"))
		refused(err, "run a newer tidemark")
		if left, err := os.ReadDir(folder); err != nil || len(left) != 5 {
			t.Errorf("%v are left in the folder: %v", left, err)
		}
	})
}

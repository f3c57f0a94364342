package repository

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"tidemark/service"
	"tidemark/wire"
)

// putWatches stores the states of series and what happened to their levels, and reports
// whether anything did. shown has the ids of the series. Of a series whose newest analysis
// another process has stored meanwhile, only the events are.
func (db *DB) putWatches(ctx context.Context, tx *sqlx.Tx, watches []service.Watch, shown []*analysis) (happened bool, err error) {
	var args []any
	rows := 0
	for i := range watches {
		w := &watches[i]
		k, ok := slices.BinarySearchFunc(shown, w.Key, func(a *analysis, k service.Key) int { return compareKeys(a.key, k) })
		if ok && shown[k].newest && shown[k].asOf == w.AsOf.UnixMilli() {
			args = append(args, shown[k].id, w.AsOf.UnixMilli(), w.State)
			rows++
		}
	}
	if rows > 0 {
		if err := putStates(ctx, tx, rows, args); err != nil {
			return false, err
		}
	}
	return db.putEvents(ctx, tx, watches)
}

func putStates(ctx context.Context, tx *sqlx.Tx, rows int, args []any) error {
	_, err := exec(ctx, tx, `INSERT INTO watches (series_id, as_of, state) VALUES `+values(rows, 3)+`
		ON CONFLICT (series_id) DO UPDATE SET as_of = excluded.as_of, state = excluded.state
		WHERE watches.as_of <= excluded.as_of`, args...)
	return err
}

// putEvents stores the events that are not stored yet.
func (db *DB) putEvents(ctx context.Context, tx *sqlx.Tx, watches []service.Watch) (happened bool, err error) {
	var events []*service.Event
	for i := range watches {
		for k := range watches[i].Events {
			events = append(events, &watches[i].Events[k])
		}
	}
	if len(events) == 0 {
		return false, nil
	}
	if err := db.engine.inOrder(ctx, tx); err != nil {
		return false, err
	}
	now := time.Now().UnixMilli()
	added := record{}
	for part := range slices.Chunk(events, rowsPerStatement) {
		var args []any
		for _, e := range part {
			args = append(args, e.ID, e.Exchange, e.Symbol, e.Interval, e.Kind, e.Role.String(), levelID(e.Level), e.Edge, e.At.UnixMilli(), now, e.Body)
		}
		insert := `INSERT INTO events (id, exchange, symbol, interval, kind, role, level, edge, at, stored_at, body)
			VALUES ` + values(len(part), 11) + ` ON CONFLICT (id) DO NOTHING`
		if !slices.ContainsFunc(part, func(e *service.Event) bool { return e.Touch != nil }) {
			n, err := exec(ctx, tx, insert, args...)
			if err != nil {
				return false, err
			}
			happened = happened || n > 0
			continue
		}
		var stored []string // those that were not stored before
		if err := tx.SelectContext(ctx, &stored, tx.Rebind(insert+` RETURNING id`), args...); err != nil {
			return false, err
		}
		happened = happened || len(stored) > 0
		added.add(part, stored)
	}
	return happened, added.put(ctx, tx)
}

// levelID returns the id of a level as the API writes it.
func levelID(id uint64) string {
	return string(wire.AppendID(nil, id))
}

// Cross implements event.Store. The series are locked first: of two processes that see the
// same price come, the later one sees what the earlier has stored.
func (db *DB) Cross(ctx context.Context, series []service.Key, f func(s *service.Snapshot, state []byte) *service.Watch) error {
	happened := false
	err := db.inTx(ctx, func(tx *sqlx.Tx) error {
		if err := db.engine.lockSeries(ctx, tx, series); err != nil {
			return err
		}
		var watches []service.Watch
		var states []any
		for _, key := range series {
			var row struct {
				ID       int64
				Snapshot []byte
				State    []byte
				Name     sql.NullString
			}
			err := tx.GetContext(ctx, &row, tx.Rebind(`SELECT s.id, a.snapshot, w.state, p.name FROM series s
				JOIN analyses a ON a.series_id = s.id AND a.as_of = s.latest_as_of
				LEFT JOIN watches w ON w.series_id = s.id
				LEFT JOIN pairs p ON p.exchange = s.exchange AND p.symbol = s.symbol
				WHERE s.exchange = ? AND s.interval = ? AND s.symbol = ?`), key.Exchange, key.Interval, key.Symbol)
			if err == sql.ErrNoRows {
				continue
			}
			if err != nil {
				return err
			}
			var s service.Snapshot
			if decodeSnapshot(row.Snapshot, &s) != nil {
				continue // said where it is read for itself
			}
			s.Name = row.Name.String
			if w := f(&s, row.State); w != nil {
				watches = append(watches, *w)
				states = append(states, row.ID, w.AsOf.UnixMilli(), w.State)
			}
		}
		if len(watches) == 0 {
			return nil
		}
		err := putStates(ctx, tx, len(watches), states)
		if err != nil {
			return err
		}
		if happened, err = db.putEvents(ctx, tx, watches); err != nil || !happened {
			return err
		}
		return db.engine.announce(ctx, tx, Change{Events: true})
	})
	if happened { // the commit may have succeeded even if its reply was lost
		db.emit(Change{Events: true})
	}
	return db.fail(ctx, err)
}

// Events returns the selected events in the order of their numbers.
func (db *DB) Events(ctx context.Context, q service.EventQuery) ([]service.StoredEvent, error) {
	where, args := selection(q)
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var all []service.StoredEvent
	err := db.read.SelectContext(limited, &all, db.read.Rebind(`SELECT seq, kind, body FROM events WHERE `+where+` ORDER BY seq LIMIT ?`), append(args, q.Limit)...)
	return all, db.fail(ctx, err)
}

// NewestEvents returns the number after which the newest q.Limit of the selected events
// come, or all of them if there are fewer; q.After if there are none.
func (db *DB) NewestEvents(ctx context.Context, q service.EventQuery) (after int64, err error) {
	where, args := selection(q)
	seq, err := db.eventSeq(ctx, `SELECT MIN(seq) FROM (SELECT seq FROM events WHERE `+where+` ORDER BY seq DESC LIMIT ?) AS newest`, append(args, q.Limit)...)
	return max(seq-1, q.After), err
}

// selection returns the condition of a query and its arguments.
func selection(q service.EventQuery) (where string, args []any) {
	all, args := []string{"seq > ?"}, []any{q.After}
	in := func(column string, list []string) {
		if len(list) > 0 {
			all = append(all, column+" IN "+values(1, len(list)))
			for _, v := range list {
				args = append(args, v)
			}
		}
	}
	one := func(column, value string) {
		if value != "" {
			in(column, []string{value})
		}
	}
	one("exchange", q.Exchange)
	one("role", q.Role)
	in("interval", q.Intervals)
	in("kind", q.Kinds)
	ids := make([]string, len(q.Levels))
	for i, id := range q.Levels {
		ids[i] = levelID(id)
	}
	in("level", ids)
	if len(q.Pairs) > 0 {
		// the first condition is for the index
		symbols := make([]string, len(q.Pairs))
		for i, p := range q.Pairs {
			symbols[i] = p.Symbol
		}
		in("symbol", symbols)
		all = append(all, "(exchange, symbol) IN (VALUES "+values(len(q.Pairs), 2)+")")
		for _, p := range q.Pairs {
			args = append(args, p.Exchange, p.Symbol)
		}
	}
	if q.MinEdge != 0 {
		all, args = append(all, "edge >= ?"), append(args, q.MinEdge)
	}
	return strings.Join(all, " AND "), args
}

// EventBounds returns the numbers of the oldest and the newest stored event; 0 and 0
// without events.
func (db *DB) EventBounds(ctx context.Context) (first, last int64, err error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var row struct{ First, Last sql.NullInt64 }
	err = db.read.GetContext(limited, &row, `SELECT (SELECT MIN(seq) FROM events) AS first, (SELECT MAX(seq) FROM events) AS last`)
	return row.First.Int64, row.Last.Int64, db.fail(ctx, err)
}

// EventSeq returns the number of the event with an id; 0 if it is not stored.
func (db *DB) EventSeq(ctx context.Context, id string) (seq int64, err error) {
	return db.eventSeq(ctx, `SELECT MAX(seq) FROM events WHERE id = ?`, id)
}

// EventsSince returns a number after which all events come that were stored at a time or
// later: at least the last before them all.
func (db *DB) EventsSince(ctx context.Context, at time.Time) (after int64, err error) {
	return db.eventSeq(ctx, `SELECT COALESCE((SELECT MIN(seq) - 1 FROM events WHERE stored_at >= ?), (SELECT MAX(seq) FROM events))`, at.UnixMilli())
}

func (db *DB) eventSeq(ctx context.Context, query string, args ...any) (int64, error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var seq sql.NullInt64
	err := db.read.GetContext(limited, &seq, db.read.Rebind(query), args...)
	return seq.Int64, db.fail(ctx, err)
}

// prunedAtOnce is the number of events deleted in one transaction: others wait for it on
// SQLite.
const prunedAtOnce = 2000

// PruneEvents deletes the oldest events: those that were stored before a time, and those
// beyond keep. It returns how many. The newest event stays, so that a reader who continues
// after it knows that it has missed none.
func (db *DB) PruneEvents(ctx context.Context, before time.Time, keep int) (n int, err error) {
	since, err := db.EventsSince(ctx, before)
	if err != nil {
		return 0, err
	}
	last, err := db.eventSeq(ctx, `SELECT (SELECT seq FROM events ORDER BY seq DESC LIMIT 1 OFFSET ?)`, max(keep, 1))
	if err != nil {
		return 0, err
	}
	_, newest, err := db.EventBounds(ctx)
	if err != nil {
		return 0, err
	}
	last = min(max(last, since), newest-1)
	for {
		deleted := 0
		err := db.inTx(ctx, func(tx *sqlx.Tx) error {
			deleted, err = exec(ctx, tx, `DELETE FROM events WHERE seq <= ? AND seq IN (SELECT seq FROM events ORDER BY seq LIMIT ?)`, last, prunedAtOnce)
			return err
		})
		if n += deleted; err != nil || deleted < prunedAtOnce {
			return n, db.fail(ctx, err)
		}
	}
}

package repository

import (
	"context"
	"database/sql"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"tidemark/service"
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
	for part := range slices.Chunk(events, rowsPerStatement) {
		var args []any
		for _, e := range part {
			args = append(args, e.ID, e.Exchange, e.Symbol, e.Interval, e.Kind, e.Role.String(), levelID(e.Level), e.Edge, e.At.UnixMilli(), now, e.Body)
		}
		n, err := exec(ctx, tx, `INSERT INTO events (id, exchange, symbol, interval, kind, role, level, edge, at, stored_at, body)
			VALUES `+values(len(part), 11)+` ON CONFLICT (id) DO NOTHING`, args...)
		if err != nil {
			return false, err
		}
		happened = happened || n > 0
	}
	return happened, nil
}

// levelID returns the id of a level as the API writes it.
func levelID(id uint64) string {
	s := strconv.FormatUint(id, 16)
	return strings.Repeat("0", 16-len(s)) + s
}

// Cross implements event.Store. f may be called for the same series in several processes at
// once; the states of which the later one counts then differ at most in what both saw.
func (db *DB) Cross(ctx context.Context, series []service.Key, f func(s *service.Snapshot, state []byte) *service.Watch) error {
	happened := false
	err := db.inTx(ctx, func(tx *sqlx.Tx) error {
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
	where, args := []string{"seq > ?"}, []any{q.After}
	in := func(column string, all []string) {
		if len(all) > 0 {
			where = append(where, column+" IN "+values(1, len(all)))
			for _, v := range all {
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
	in("symbol", q.Symbols)
	in("kind", q.Kinds)
	ids := make([]string, len(q.Levels))
	for i, id := range q.Levels {
		ids[i] = levelID(id)
	}
	in("level", ids)
	if q.MinEdge != 0 {
		where, args = append(where, "edge >= ?"), append(args, q.MinEdge)
	}
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var all []service.StoredEvent
	err := db.read.SelectContext(limited, &all, db.read.Rebind(`SELECT seq, body FROM events WHERE `+strings.Join(where, " AND ")+` ORDER BY seq LIMIT ?`), append(args, q.Limit)...)
	return all, db.fail(ctx, err)
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

// EventBefore returns the number of the last event that was stored before a time; 0 if
// there is none.
func (db *DB) EventBefore(ctx context.Context, at time.Time) (seq int64, err error) {
	return db.eventSeq(ctx, `SELECT MAX(seq) FROM events WHERE stored_at < ?`, at.UnixMilli())
}

func (db *DB) eventSeq(ctx context.Context, query string, arg any) (int64, error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var seq sql.NullInt64
	err := db.read.GetContext(limited, &seq, db.read.Rebind(query), arg)
	return seq.Int64, db.fail(ctx, err)
}

// PruneEvents deletes the events that were stored before a time, and the oldest of those
// beyond keep, and returns how many.
func (db *DB) PruneEvents(ctx context.Context, before time.Time, keep int) (n int, err error) {
	err = db.inTx(ctx, func(tx *sqlx.Tx) error {
		n, err = exec(ctx, tx, `DELETE FROM events WHERE stored_at < ?
			OR seq <= (SELECT seq FROM events ORDER BY seq DESC LIMIT 1 OFFSET ?)`, before.UnixMilli(), keep)
		return err
	})
	return n, db.fail(ctx, err)
}

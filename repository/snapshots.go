package repository

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"tidemark/job"
	"tidemark/levels"
	"tidemark/service"
)

// Put stores results, as service.Store requires.
func (db *DB) Put(ctx context.Context, r service.Results) error {
	return db.fail(ctx, db.put(ctx, r, func(*sqlx.Tx) (bool, error) { return false, nil }))
}

// PutBatch stores a batch, as job.Store requires.
func (db *DB) PutBatch(ctx context.Context, b job.Batch) (ended bool, err error) {
	err = db.put(ctx, b.Results, func(tx *sqlx.Tx) (stored bool, err error) {
		stored, ended, err = db.putProgress(ctx, tx, b)
		return stored, err
	})
	return ended && err == nil, db.fail(ctx, err)
}

// put stores results in one transaction. It first calls first, and stores nothing if
// that reports them as stored.
func (db *DB) put(ctx context.Context, r service.Results, first func(tx *sqlx.Tx) (stored bool, err error)) error {
	all, shown := newAnalyses(r.Snapshots)
	var changes []Change
	written := false
	err := db.inTx(ctx, func(tx *sqlx.Tx) error {
		if stored, err := first(tx); err != nil || stored {
			return err
		}
		if err := db.putAnalyses(ctx, tx, all, shown); err != nil {
			return err
		}
		if err := db.putCandles(ctx, tx, r.Candles, shown); err != nil {
			return err
		}
		if err := db.putJudged(ctx, tx, r.Judged); err != nil {
			return err
		}
		if err := db.putPromises(ctx, tx, r.Snapshots, shown); err != nil {
			return err
		}
		changes = changesOf(shown)
		happened, err := db.putWatches(ctx, tx, r.Watches, shown)
		if err != nil {
			return err
		}
		if happened {
			changes = append(changes, Change{Events: true})
		}
		for _, c := range changes {
			if err := db.engine.announce(ctx, tx, c); err != nil {
				return err
			}
		}
		written = true
		return nil
	})
	switch {
	case err == nil:
		db.unreadable.healed(shown)
		for _, c := range changes {
			db.emit(c)
		}
	case written && len(changes) > 0:
		// the commit may have succeeded although its reply was lost
		db.emit(Change{})
	}
	return err
}

// analysis is a snapshot that is being stored.
type analysis struct {
	key      service.Key
	asOf     int64
	snapshot []byte

	id     int64 // of its series, once known
	newest bool  // whether it is now the newest analysis of its series
}

// newAnalyses encodes the snapshots and sorts them by key and AsOf. Of several with the
// same key and AsOf it keeps the last. shown is the newest of each key. The order is the
// same in every process: two that store the same pairs lock them in the same order and
// cannot deadlock.
func newAnalyses(snapshots []service.Snapshot) (all []analysis, shown []*analysis) {
	if len(snapshots) == 0 {
		return nil, nil
	}
	all = make([]analysis, len(snapshots))
	var buf []byte
	ends := make([]int, len(snapshots))
	for i := range snapshots {
		buf = appendSnapshot(buf, &snapshots[i])
		ends[i] = len(buf)
		if i == 0 { // the lengths are similar
			buf = slices.Grow(buf, (len(snapshots)-1)*(len(buf)+len(buf)/4))
		}
	}
	start := 0
	for i := range snapshots {
		s := &snapshots[i]
		all[i] = analysis{key: s.Key, asOf: s.AsOf.UnixMilli(), snapshot: buf[start:ends[i]]}
		start = ends[i]
	}
	slices.SortStableFunc(all, func(a, b analysis) int {
		return cmp.Or(compareKeys(a.key, b.key), cmp.Compare(a.asOf, b.asOf))
	})
	kept := all[:0]
	for i, a := range all {
		if i+1 == len(all) || all[i+1].key != a.key || all[i+1].asOf != a.asOf {
			kept = append(kept, a)
		}
	}
	all = kept
	for i := range all {
		if i+1 == len(all) || all[i+1].key != all[i].key {
			shown = append(shown, &all[i])
		}
	}
	return all, shown
}

func compareKeys(a, b service.Key) int {
	return cmp.Or(cmp.Compare(a.Exchange, b.Exchange), cmp.Compare(a.Interval, b.Interval), cmp.Compare(a.Symbol, b.Symbol))
}

// changesOf lists the series whose newest analysis is among those shown.
func changesOf(shown []*analysis) []Change {
	var changes []Change
	for _, a := range shown {
		if !a.newest {
			continue
		}
		n := len(changes) - 1
		if n < 0 || changes[n].Exchange != a.key.Exchange || changes[n].Interval != a.key.Interval {
			changes = append(changes, Change{Exchange: a.key.Exchange, Interval: a.key.Interval})
			n++
		}
		changes[n].Symbols = append(changes[n].Symbols, a.key.Symbol)
		changes[n].AsOf = append(changes[n].AsOf, a.asOf)
	}
	return changes
}

// putAnalyses stores all and trims the history of their series. It sets the id of all,
// and newest of those in shown.
func (db *DB) putAnalyses(ctx context.Context, tx *sqlx.Tx, all []analysis, shown []*analysis) error {
	var args []any
	for rows := range slices.Chunk(shown, rowsPerStatement) {
		args = args[:0]
		for _, a := range rows {
			args = append(args, a.key.Exchange, a.key.Interval, a.key.Symbol, a.asOf)
		}
		if err := db.putSeries(ctx, tx, rows, args); err != nil {
			return err
		}
	}
	next := 0 // all and shown are in the same order
	for i := range all {
		if all[i].key != shown[next].key {
			next++
		}
		all[i].id = shown[next].id
	}
	for rows := range slices.Chunk(all, rowsPerStatement) {
		args = args[:0]
		for _, a := range rows {
			args = append(args, a.id, a.asOf, a.snapshot)
		}
		if _, err := exec(ctx, tx, `INSERT INTO analyses (series_id, as_of, snapshot) VALUES `+values(len(rows), 3)+`
			ON CONFLICT (series_id, as_of) DO UPDATE SET snapshot = excluded.snapshot`, args...); err != nil {
			return err
		}
	}
	for rows := range slices.Chunk(shown, rowsPerStatement) {
		if err := db.trim(ctx, tx, rows); err != nil {
			return err
		}
	}
	return nil
}

// trim deletes the analyses beyond the history limit of the series of rows. It takes
// two statements, of which the first looks up the primary key once for each series:
// PostgreSQL runs a single statement as a scan of the whole table.
func (db *DB) trim(ctx context.Context, tx *sqlx.Tx, rows []*analysis) error {
	args := []any{db.history}
	for _, a := range rows {
		args = append(args, a.id)
	}
	var found []struct {
		ID    int64
		First sql.NullInt64 // the newest analysis beyond the limit; NULL if there are none
	}
	err := tx.SelectContext(ctx, &found, tx.Rebind(`SELECT s.id, (
			SELECT a.as_of FROM analyses a WHERE a.series_id = s.id ORDER BY a.as_of DESC LIMIT 1 OFFSET ?
		) AS first FROM series s WHERE s.id IN `+values(1, len(rows))), args...)
	if err != nil {
		return err
	}
	args = args[:0]
	var past []string
	for _, f := range found {
		if f.First.Valid {
			past = append(past, "series_id = ? AND as_of <= ?")
			args = append(args, f.ID, f.First.Int64)
		}
	}
	if len(past) == 0 {
		return nil
	}
	_, err = exec(ctx, tx, `DELETE FROM analyses WHERE `+strings.Join(past, " OR "), args...)
	return err
}

// putSeries creates or updates the series of rows, which have distinct keys, and sets
// their id and newest.
func (db *DB) putSeries(ctx context.Context, tx *sqlx.Tx, rows []*analysis, args []any) error {
	found, err := tx.QueryContext(ctx, tx.Rebind(`INSERT INTO series (exchange, interval, symbol, latest_as_of) VALUES `+values(len(rows), 4)+`
		ON CONFLICT (exchange, interval, symbol) DO UPDATE SET latest_as_of =
			CASE WHEN excluded.latest_as_of > series.latest_as_of THEN excluded.latest_as_of ELSE series.latest_as_of END,
			delisted_at = NULL
		RETURNING id, exchange, interval, symbol, latest_as_of`), args...)
	if err != nil {
		return err
	}
	defer found.Close()
	n := 0
	for ; found.Next(); n++ {
		var key service.Key
		var id, latest int64
		if err := found.Scan(&id, &key.Exchange, &key.Interval, &key.Symbol, &latest); err != nil {
			return err
		}
		i, ok := slices.BinarySearchFunc(rows, key, func(a *analysis, k service.Key) int { return compareKeys(a.key, k) })
		if !ok {
			return fmt.Errorf("series %v was not asked for", key)
		}
		rows[i].id, rows[i].newest = id, rows[i].asOf == latest
	}
	if err := found.Err(); err != nil {
		return err
	}
	if n != len(rows) {
		return fmt.Errorf("%d series stored instead of %d", n, len(rows))
	}
	return found.Close()
}

// Snapshot returns the newest analysis with AsOf not after at, as api.Store requires.
func (db *DB) Snapshot(ctx context.Context, key service.Key, at time.Time) (service.Snapshot, error) {
	newest := int64(math.MaxInt64)
	if !at.IsZero() {
		newest = at.UnixMilli()
	}
	s, _, err := db.snapshot(ctx, key, newest)
	if errors.Is(err, service.ErrNotAnalyzed) && !errors.Is(err, service.ErrUnreadable) && !at.IsZero() {
		err = fmt.Errorf("%w at %s", err, at.UTC().Format(time.RFC3339))
	}
	return s, err
}

// Watched implements service.Store.
func (db *DB) Watched(ctx context.Context, key service.Key) (service.Snapshot, []byte, error) {
	return db.snapshot(ctx, key, math.MaxInt64)
}

// MAX takes one index step on both databases; for ORDER BY … LIMIT 1, PostgreSQL may fetch and
// sort the whole history.
var newestAnalysis = frequent{function: "newest_analysis", sql: `SELECT a.snapshot, s.delisted_at, p.name, w.state FROM series s JOIN analyses a ON a.series_id = s.id
		LEFT JOIN pairs p ON p.exchange = s.exchange AND p.symbol = s.symbol
		LEFT JOIN watches w ON w.series_id = s.id
	WHERE s.exchange = ? AND s.interval = ? AND s.symbol = ?
		AND a.as_of = (SELECT MAX(k.as_of) FROM analyses k WHERE k.series_id = s.id AND k.as_of <= ?)`}

// snapshot returns the newest analysis with AsOf not after newest, Unix ms, and the state of
// its levels.
func (db *DB) snapshot(ctx context.Context, key service.Key, newest int64) (s service.Snapshot, state []byte, err error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var stored []struct { // at most one
		Snapshot   []byte
		DelistedAt sql.NullInt64 `db:"delisted_at"`
		Name       sql.NullString
		State      []byte
	}
	rows, err := db.often(limited, newestAnalysis, key, newest)
	if err == nil {
		err = sqlx.StructScan(rows, &stored) // which closes rows
	}
	if err != nil {
		return s, nil, db.fail(ctx, err)
	}
	if len(stored) == 0 {
		return s, nil, fmt.Errorf("%w: %s %s on %s", service.ErrNotAnalyzed, key.Symbol, key.Interval, key.Exchange)
	}
	if err := decodeSnapshot(stored[0].Snapshot, &s); err != nil {
		return service.Snapshot{}, nil, db.cannotRead(key, err)
	}
	s.DelistedAt, s.Name = moment(stored[0].DelistedAt), stored[0].Name.String
	return s, stored[0].State, nil
}

// latestPage is the number of encoded analyses that Latest holds at once.
const latestPage = 64

// Latest streams the newest analyses of a market by symbol, as api.Store requires. It
// reads a page at a time, and holds no connection or transaction while the caller runs:
// a slow reader of the whole market neither blocks others nor delays SQLite's
// checkpoints. Each analysis is the newest at the time its page is read.
func (db *DB) Latest(ctx context.Context, exchange string, interval levels.Interval) iter.Seq2[service.Snapshot, error] {
	return func(yield func(service.Snapshot, error) bool) {
		var s service.Snapshot
		var page []byte
		var pairs []storedPair
		for after, more := "", true; more; more = len(pairs) == latestPage {
			var err error
			if page, pairs, err = db.latest(ctx, exchange, interval, after, page[:0], pairs[:0]); err != nil {
				yield(service.Snapshot{}, db.fail(ctx, err))
				return
			}
			start := 0
			for _, p := range pairs {
				err := decodeSnapshot(page[start:p.end], &s)
				start, after = p.end, p.symbol
				if err != nil {
					key := service.Key{Exchange: exchange, Symbol: p.symbol, Interval: interval}
					if !yield(service.Snapshot{Key: key}, db.cannotRead(key, err)) {
						return
					}
					continue
				}
				s.Name = p.name
				if !yield(s, nil) {
					return
				}
			}
		}
	}
}

// storedPair is a pair in a page of Latest.
type storedPair struct {
	symbol string
	name   string // canonical; empty if it is not known
	end    int    // of its analysis in the page
}

// latest reads the next page: the newest analyses of the symbols that follow after. It
// appends the analyses to page and their pairs to pairs.
func (db *DB) latest(ctx context.Context, exchange string, interval levels.Interval, after string, page []byte, pairs []storedPair) ([]byte, []storedPair, error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	rows, err := db.read.QueryContext(limited, db.read.Rebind(`SELECT s.symbol, p.name, a.snapshot FROM series s
		JOIN analyses a ON a.series_id = s.id AND a.as_of = s.latest_as_of
		LEFT JOIN pairs p ON p.exchange = s.exchange AND p.symbol = s.symbol
		WHERE s.exchange = ? AND s.interval = ? AND s.symbol > ? AND s.delisted_at IS NULL ORDER BY s.symbol LIMIT ?`), exchange, interval, after, latestPage)
	if err != nil {
		return page, pairs, err
	}
	defer rows.Close()
	var symbol string
	var name sql.NullString
	var stored sql.RawBytes
	for rows.Next() {
		if err := rows.Scan(&symbol, &name, &stored); err != nil {
			return page, pairs, err
		}
		page = append(page, stored...)
		pairs = append(pairs, storedPair{symbol, name.String, len(page)})
	}
	return page, pairs, rows.Err()
}

// Markets returns the exchanges and intervals that have analyses, as api.Store
// requires. It reads every series: some hundreds for each interval.
func (db *DB) Markets(ctx context.Context) ([]service.StoredMarket, error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var rows []struct {
		Exchange string
		Interval levels.Interval
		Pairs    int
		AsOf     int64 `db:"as_of"`
	}
	err := db.read.SelectContext(limited, &rows, `SELECT exchange, interval, COUNT(*) AS pairs, MAX(latest_as_of) AS as_of
		FROM series WHERE latest_as_of > 0 AND delisted_at IS NULL GROUP BY exchange, interval`)
	if err != nil {
		return nil, db.fail(ctx, err)
	}
	all := make([]service.StoredMarket, len(rows))
	for i, r := range rows {
		all[i] = service.StoredMarket{Exchange: r.Exchange, Interval: r.Interval, Pairs: r.Pairs, AsOf: time.UnixMilli(r.AsOf).UTC()}
	}
	slices.SortFunc(all, func(a, b service.StoredMarket) int {
		return cmp.Or(strings.Compare(a.Exchange, b.Exchange), cmp.Compare(a.Interval.Milliseconds(), b.Interval.Milliseconds()))
	})
	return all, nil
}

// Series returns the series of an exchange and interval that have an analysis, by symbol,
// without those of delisted pairs.
func (db *DB) Series(ctx context.Context, exchange string, interval levels.Interval) ([]service.Series, error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var rows []struct {
		Symbol   string
		AsOf     int64 `db:"latest_as_of"`
		Name     sql.NullString
		Units    sql.NullInt64
		Decimals sql.NullInt64
		Digits   sql.NullInt64
	}
	err := db.read.SelectContext(limited, &rows, db.read.Rebind(`SELECT s.symbol, s.latest_as_of, p.name, p.tick_units AS units, p.tick_decimals AS decimals, p.digits
		FROM series s LEFT JOIN pairs p ON p.exchange = s.exchange AND p.symbol = s.symbol
		WHERE s.exchange = ? AND s.interval = ? AND s.latest_as_of > 0 AND s.delisted_at IS NULL ORDER BY s.symbol`), exchange, interval)
	if err != nil {
		return nil, db.fail(ctx, err)
	}
	all := make([]service.Series, len(rows))
	for i, r := range rows {
		all[i] = service.Series{
			Key: service.Key{Exchange: exchange, Symbol: r.Symbol, Interval: interval}, AsOf: time.UnixMilli(r.AsOf).UTC(),
			Name: r.Name.String, Tick: service.Tick{Units: r.Units.Int64, Decimals: int(r.Decimals.Int64)}, Digits: int(r.Digits.Int64),
		}
	}
	return all, nil
}

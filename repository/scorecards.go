package repository

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"tidemark/levels"
	"tidemark/scorecard"
	"tidemark/service"
)

// A promise is encoded like a snapshot: the version, then the fields in the order of
// appendPromise, then a checksum. A level takes 26 bytes. Version 1 has no checksum.
const (
	promiseVersion     = 2
	promiseBeforeCheck = 1
)

const promisedLevelSize = 3*8 + 2

func appendPromise(b []byte, p *scorecard.Promise) []byte {
	start := len(b)
	b = append(b, promiseVersion, 0)
	if p.Simulated {
		b[len(b)-1] = 1
	}
	b = appendString(b, p.Algorithm)
	b = appendString(b, p.Table)
	b = appendFloat(b, p.LastPrice)
	b = appendFloat(b, p.ATR)
	b = binary.AppendUvarint(b, uint64(len(p.Levels)))
	for _, l := range p.Levels {
		b = appendFloat(b, l.Price)
		b = appendFloat(b, l.Hold)
		b = appendFloat(b, l.Touch)
		b = append(b, byte(l.HoldBin), byte(l.TouchBin))
	}
	return appendChecksum(b, start)
}

// decodePromise decodes the output of appendPromise; ok is false for other bytes.
func decodePromise(b []byte) (p scorecard.Promise, ok bool) {
	switch {
	case len(b) > 0 && b[0] == promiseVersion:
		if b, ok = checked(b); !ok {
			return scorecard.Promise{}, false
		}
	case len(b) == 0 || b[0] != promiseBeforeCheck:
		return scorecard.Promise{}, false
	}
	d := decoder{b: b[1:]}
	simulated := d.byte()
	p.Simulated = simulated == 1
	decodeString(&d, &p.Algorithm)
	decodeString(&d, &p.Table)
	p.LastPrice, p.ATR = d.float(), d.float()
	n := d.uvarint()
	if simulated > 1 || p.Algorithm == "" || n != uint64(len(d.b))/promisedLevelSize {
		return scorecard.Promise{}, false
	}
	for range n {
		l := scorecard.PromisedLevel{Price: d.float(), Hold: d.float(), Touch: d.float(), HoldBin: int(d.byte()), TouchBin: int(d.byte())}
		if max(l.HoldBin, l.TouchBin) >= scorecard.Bins {
			return scorecard.Promise{}, false
		}
		p.Levels = append(p.Levels, l)
	}
	if d.short || d.odd || len(d.b) > 0 {
		return scorecard.Promise{}, false
	}
	return p, true
}

var duePromise = frequent{function: "due_promise", sql: `SELECT p.as_of, p.promise FROM series s JOIN promises p ON p.series_id = s.id
	WHERE s.exchange = ? AND s.interval = ? AND s.symbol = ? AND p.as_of <= ?`}

// DuePromise returns the promise of a series, as service.Store requires.
func (db *DB) DuePromise(ctx context.Context, key service.Key, by time.Time) (scorecard.Promise, bool, error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var found []struct { // at most one
		AsOf    int64 `db:"as_of"`
		Promise []byte
	}
	rows, err := db.often(limited, duePromise, key, by.UnixMilli())
	if err == nil {
		err = sqlx.StructScan(rows, &found) // which closes rows
	}
	if err != nil || len(found) == 0 {
		return scorecard.Promise{}, false, db.fail(ctx, err)
	}
	p, _ := decodePromise(found[0].Promise)
	p.AsOf = time.UnixMilli(found[0].AsOf).UTC()
	return p, true, nil
}

// putPromises stores a promise for each snapshot that is the newest of a series without
// one. shown is the second result of newAnalyses.
func (db *DB) putPromises(ctx context.Context, tx *sqlx.Tx, snapshots []service.Snapshot, shown []*analysis) error {
	var encoded []byte
	var args []any
	for rows := range slices.Chunk(shown, rowsPerStatement) {
		args = args[:0]
		for _, a := range rows {
			args = append(args, a.id)
		}
		var without []int64
		if err := tx.SelectContext(ctx, &without, tx.Rebind(`SELECT s.id FROM series s WHERE s.id IN `+values(1, len(rows))+`
			AND NOT EXISTS (SELECT 1 FROM promises p WHERE p.series_id = s.id)`), args...); err != nil {
			return err
		}
		args = args[:0]
		for i := range snapshots {
			s := &snapshots[i]
			at, _ := slices.BinarySearchFunc(rows, s.Key, func(a *analysis, k service.Key) int { return compareKeys(a.key, k) })
			if at == len(rows) || rows[at].key != s.Key || rows[at].asOf != s.AsOf.UnixMilli() || !rows[at].newest || !slices.Contains(without, rows[at].id) {
				continue
			}
			if p, ok := s.Promise(); ok {
				start := len(encoded)
				encoded = appendPromise(encoded, &p)
				args = append(args, rows[at].id, rows[at].asOf, encoded[start:len(encoded):len(encoded)])
			}
		}
		if len(args) == 0 {
			continue
		}
		// conflicts: another process was first, or the batch holds an analysis twice
		if _, err := exec(ctx, tx, `INSERT INTO promises (series_id, as_of, promise) VALUES `+values(len(args)/3, 3)+`
			ON CONFLICT (series_id) DO NOTHING`, args...); err != nil {
			return err
		}
	}
	return nil
}

// card is the key of a scorecard.
type card struct {
	exchange         string
	interval         levels.Interval
	algorithm, table string
	simulated        bool
}

// putJudged deletes the judged promises. It adds the outcomes of those that still
// existed to their scorecards.
func (db *DB) putJudged(ctx context.Context, tx *sqlx.Tx, judged []service.Judged) error {
	cards := map[card]*scorecard.Card{}
	judged = slices.Clone(judged)
	slices.SortFunc(judged, func(a, b service.Judged) int { return compareKeys(a.Key, b.Key) })
	for i := range judged {
		j := &judged[i]
		n, err := exec(ctx, tx, `DELETE FROM promises WHERE as_of = ? AND series_id = (
			SELECT id FROM series WHERE exchange = ? AND interval = ? AND symbol = ?)`, j.AsOf.UnixMilli(), j.Exchange, j.Interval, j.Symbol)
		if err != nil {
			return err
		}
		if n == 0 || j.Algorithm == "" {
			continue // another process has counted it; or it is unreadable, and its scorecard unknown
		}
		name := card{j.Exchange, j.Interval, j.Algorithm, j.Table, j.Simulated}
		c := cards[name]
		if c == nil {
			c = &scorecard.Card{Since: j.AsOf, Until: j.AsOf}
			cards[name] = c
		}
		if j.AsOf.Before(c.Since) {
			c.Since = j.AsOf
		}
		if j.AsOf.After(c.Until) {
			c.Until = j.AsOf
		}
		if j.Skipped != "" {
			c.Skipped++
			continue
		}
		c.Moments++
		for b := range scorecard.Bins {
			c.Hold[b].Add(j.Hold[b])
			c.Touch[b].Add(j.Touch[b])
		}
	}
	var names []card
	for name := range cards {
		names = append(names, name)
	}
	// in the same order in every process, because tx keeps their rows locked
	slices.SortFunc(names, func(a, b card) int {
		simulated := func(c card) int {
			if c.simulated {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(a.exchange, b.exchange), cmp.Compare(a.interval, b.interval), cmp.Compare(a.algorithm, b.algorithm),
			cmp.Compare(a.table, b.table), cmp.Compare(simulated(a), simulated(b)))
	})
	for _, name := range names {
		if err := db.putCard(ctx, tx, name, cards[name]); err != nil {
			return err
		}
	}
	return nil
}

// putCard adds the counts of c to the stored scorecard called name.
func (db *DB) putCard(ctx context.Context, tx *sqlx.Tx, name card, c *scorecard.Card) error {
	var id int64
	err := tx.GetContext(ctx, &id, tx.Rebind(`INSERT INTO scorecards (exchange, interval, algorithm, odds_table, simulated, first_as_of, last_as_of, moments, skipped)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (exchange, interval, algorithm, odds_table, simulated) DO UPDATE SET
			first_as_of = CASE WHEN excluded.first_as_of < scorecards.first_as_of THEN excluded.first_as_of ELSE scorecards.first_as_of END,
			last_as_of = CASE WHEN excluded.last_as_of > scorecards.last_as_of THEN excluded.last_as_of ELSE scorecards.last_as_of END,
			moments = scorecards.moments + excluded.moments, skipped = scorecards.skipped + excluded.skipped
		RETURNING id`),
		name.exchange, name.interval, name.algorithm, name.table, name.simulated, c.Since.UnixMilli(), c.Until.UnixMilli(), c.Moments, c.Skipped)
	if err != nil {
		return err
	}
	var args []any
	for _, part := range [...]struct {
		kind   string
		scores *scorecard.Scores
	}{{"hold", &c.Hold}, {"touch", &c.Touch}} {
		for bin, s := range part.scores {
			if s.Samples > 0 {
				args = append(args, id, part.kind, bin, s.Samples, s.Realised, s.Promised, s.SquaredError)
			}
		}
	}
	if len(args) == 0 {
		return nil
	}
	_, err = exec(ctx, tx, `INSERT INTO scores (scorecard_id, kind, bin, samples, realised, promised, missed) VALUES `+values(len(args)/7, 7)+`
		ON CONFLICT (scorecard_id, kind, bin) DO UPDATE SET
			samples = scores.samples + excluded.samples, realised = scores.realised + excluded.realised,
			promised = scores.promised + excluded.promised, missed = scores.missed + excluded.missed`, args...)
	return err
}

// Scorecards returns the scorecards of an exchange, as api.Store requires.
func (db *DB) Scorecards(ctx context.Context, exchange string) ([]scorecard.Card, []scorecard.Open, error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var cards []struct {
		ID        int64
		Interval  levels.Interval
		Algorithm string
		Table     string `db:"odds_table"`
		Simulated bool
		First     int64 `db:"first_as_of"`
		Last      int64 `db:"last_as_of"`
		Moments   int
		Skipped   int
	}
	var scores []struct {
		Card     int64 `db:"scorecard_id"`
		Kind     string
		Bin      int
		Samples  int
		Realised int
		Promised float64
		Missed   float64
	}
	var open []struct {
		Interval levels.Interval
		Count    int
		First    int64
	}
	for _, q := range [...]struct {
		into  any
		query string
	}{
		{&cards, `SELECT id, interval, algorithm, odds_table, simulated, first_as_of, last_as_of, moments, skipped FROM scorecards WHERE exchange = ? ORDER BY id`},
		{&scores, `SELECT s.* FROM scores s JOIN scorecards c ON c.id = s.scorecard_id WHERE c.exchange = ?`},
		{&open, `SELECT s.interval, COUNT(*) AS count, MIN(p.as_of) AS first FROM promises p JOIN series s ON s.id = p.series_id WHERE s.exchange = ? GROUP BY s.interval`},
	} {
		if err := db.read.SelectContext(limited, q.into, db.read.Rebind(q.query), exchange); err != nil {
			return nil, nil, db.fail(ctx, err)
		}
	}
	all, at := make([]scorecard.Card, len(cards)), map[int64]*scorecard.Card{}
	for i, c := range cards {
		all[i] = scorecard.Card{
			Exchange: exchange, Interval: c.Interval, Simulated: c.Simulated, Algorithm: c.Algorithm, Table: c.Table,
			Since: time.UnixMilli(c.First).UTC(), Until: time.UnixMilli(c.Last).UTC(), Moments: c.Moments, Skipped: c.Skipped,
		}
		at[c.ID] = &all[i]
	}
	for _, s := range scores {
		c := at[s.Card]
		if c == nil || s.Bin < 0 || s.Bin >= scorecard.Bins {
			continue // of a card that another process created after the first query
		}
		of := &c.Hold
		if s.Kind == "touch" {
			of = &c.Touch
		}
		of[s.Bin] = scorecard.Score{Samples: s.Samples, Realised: s.Realised, Promised: s.Promised, SquaredError: s.Missed}
	}
	slices.SortStableFunc(all, func(a, b scorecard.Card) int { return cmp.Compare(a.Interval.Duration(), b.Interval.Duration()) })
	waiting := make([]scorecard.Open, len(open))
	for i, o := range open {
		waiting[i] = scorecard.Open{Interval: o.Interval, Count: o.Count, First: time.UnixMilli(o.First).UTC()}
	}
	slices.SortFunc(waiting, func(a, b scorecard.Open) int { return cmp.Compare(a.Interval.Duration(), b.Interval.Duration()) })
	return all, waiting, nil
}

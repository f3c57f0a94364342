package repository

import (
	"context"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"tidemark/job"
	"tidemark/levels"
	"tidemark/scorecard"
	"tidemark/service"
)

// Listed returns the pairs of an exchange, as job.Store requires.
func (db *DB) Listed(ctx context.Context, exchange string) (map[string]job.PairState, error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var rows []struct {
		Symbol string
		Listed bool
	}
	err := db.read.SelectContext(limited, &rows, db.read.Rebind(`SELECT DISTINCT symbol, delisted_at IS NULL AS listed FROM series WHERE exchange = ?`), exchange)
	if err != nil {
		return nil, db.fail(ctx, err)
	}
	all := make(map[string]job.PairState, len(rows))
	for _, r := range rows {
		s := all[r.Symbol]
		s.Listed, s.Delisted = s.Listed || r.Listed, s.Delisted || !r.Listed
		all[r.Symbol] = s
	}
	return all, nil
}

// SetListed marks pairs as delisted or listed again, as job.Store requires.
func (db *DB) SetListed(ctx context.Context, exchange string, gone, back []string, now time.Time) error {
	if len(gone)+len(back) == 0 {
		return nil
	}
	// batches lock series in the same order
	gone, back = slices.Sorted(slices.Values(gone)), slices.Sorted(slices.Values(back))
	err := db.inTx(ctx, func(tx *sqlx.Tx) error {
		for part := range slices.Chunk(gone, rowsPerStatement) {
			args := append([]any{milliseconds(now), exchange}, anys(part)...)
			if _, err := exec(ctx, tx, `UPDATE series SET delisted_at = ? WHERE exchange = ? AND delisted_at IS NULL AND symbol IN `+values(1, len(part)), args...); err != nil {
				return err
			}
			judged, err := db.openPromises(ctx, tx, exchange, part)
			if err != nil {
				return err
			}
			if err := db.putJudged(ctx, tx, judged); err != nil {
				return err
			}
		}
		for part := range slices.Chunk(back, rowsPerStatement) {
			args := append([]any{exchange}, anys(part)...)
			if _, err := exec(ctx, tx, `UPDATE series SET delisted_at = NULL WHERE exchange = ? AND symbol IN `+values(1, len(part)), args...); err != nil {
				return err
			}
		}
		return db.engine.announce(ctx, tx, Change{})
	})
	if err == nil {
		db.emit(Change{})
	}
	return db.fail(ctx, err)
}

// openPromises returns a skipping judgement of each open promise of delisted pairs: the
// candles to judge it will never exist.
func (db *DB) openPromises(ctx context.Context, tx *sqlx.Tx, exchange string, symbols []string) ([]service.Judged, error) {
	var found []struct {
		Symbol   string
		Interval levels.Interval
		AsOf     int64 `db:"as_of"`
		Promise  []byte
	}
	err := tx.SelectContext(ctx, &found, tx.Rebind(`SELECT s.symbol, s.interval, p.as_of, p.promise FROM series s JOIN promises p ON p.series_id = s.id
		WHERE s.exchange = ? AND s.symbol IN `+values(1, len(symbols))), append([]any{exchange}, anys(symbols)...)...)
	if err != nil {
		return nil, err
	}
	judged := make([]service.Judged, len(found))
	for i, f := range found {
		p, _ := decodePromise(f.Promise)
		judged[i].Key = service.Key{Exchange: exchange, Symbol: f.Symbol, Interval: f.Interval}
		judged[i].Judgement = scorecard.Judgement{
			AsOf: time.UnixMilli(f.AsOf).UTC(), Simulated: p.Simulated, Algorithm: p.Algorithm, Table: p.Table,
			Skipped: "the pair is delisted",
		}
	}
	return judged, nil
}

func anys(list []string) []any {
	all := make([]any, len(list))
	for i, s := range list {
		all[i] = s
	}
	return all
}

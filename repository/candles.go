package repository

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"

	"tidemark/levels"
	"tidemark/service"
)

// blocksPerPut bounds the memory for storing blocks of about 800 bytes. It is a little
// more than a job stores ahead of a batch.
const blocksPerPut = 160

// blockRow is a row of the table candles.
type blockRow struct {
	series    int64
	simulated bool
	service.KeptBlock
}

// Candles reads the stored candles of a series, as service.Store requires. It copies
// the blocks into buf first, so that it holds no connection while it unpacks them.
func (db *DB) Candles(ctx context.Context, key service.Key, from int64, dst *levels.Candles, buf []byte) (service.Kept, error) {
	blocks, packed, err := db.blocks(ctx, key, from, buf[:0])
	if err != nil {
		return service.Kept{}, db.fail(ctx, err)
	}
	if len(blocks) == 0 {
		return service.Kept{}, fmt.Errorf("%w: no candles of %s %s on %s are kept", service.ErrNotAnalyzed, key.Symbol, key.Interval, key.Exchange)
	}
	var kept service.Kept
	start := 0
	for i, b := range blocks {
		if i == 0 || b.kept.From != dst.AsOf() || b.kept.Simulated != kept.Simulated {
			// an analysis of another window stored the blocks before this one
			dst.Truncate(0)
			kept = b.kept
		}
		if err := dst.AppendBlock(packed[start:b.end]); err != nil {
			return service.Kept{}, db.fail(ctx, fmt.Errorf("%w: %s %s on %s: %w", service.ErrDamaged, key.Symbol, key.Interval, key.Exchange, err))
		}
		start = b.end
		if i == 0 && len(blocks) > 1 {
			// the newest block stays whole: the caller stores it again from dst
			older, _ := slices.BinarySearch(dst.OpenTime, from)
			dst.KeepLast(dst.Len() - older)
		}
	}
	return kept, nil
}

// WithCandles returns the pairs among symbols that have stored candles, as job.Store
// requires.
func (db *DB) WithCandles(ctx context.Context, exchange string, interval levels.Interval, symbols []string) (map[string]bool, error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	with := map[string]bool{}
	for part := range slices.Chunk(symbols, rowsPerStatement) {
		args := []any{exchange, interval}
		for _, s := range part {
			args = append(args, s)
		}
		var found []struct {
			Symbol string
			Span   sql.NullInt64 // of the newest block; NULL if there is none
		}
		// MAX takes one index step; for EXISTS, PostgreSQL may scan all candles
		err := db.read.SelectContext(limited, &found, db.read.Rebind(`SELECT s.symbol,
				(SELECT MAX(c.span) FROM candles c WHERE c.series_id = s.id) AS span
			FROM series s WHERE s.exchange = ? AND s.interval = ? AND s.symbol IN `+values(1, len(part))), args...)
		if err != nil {
			return nil, db.fail(ctx, err)
		}
		for _, f := range found {
			if f.Span.Valid {
				with[f.Symbol] = true
			}
		}
	}
	return with, nil
}

// keptBlock is a stored block.
type keptBlock struct {
	kept service.Kept
	end  int // of its bytes in the buffer of all blocks
}

var keptBlocks = frequent{function: "kept_blocks", sql: `SELECT c.covered_from, c.simulated, c.block FROM series s JOIN candles c ON c.series_id = s.id
	WHERE s.exchange = ? AND s.interval = ? AND s.symbol = ?
		AND c.span >= COALESCE((SELECT MAX(k.span) FROM candles k WHERE k.series_id = s.id AND k.span <= ?), 0)
	ORDER BY c.span`}

// blocks appends to buf the blocks of a series, beginning with the one that contains
// from or else the last one before it.
func (db *DB) blocks(ctx context.Context, key service.Key, from int64, buf []byte) ([]keptBlock, []byte, error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	rows, err := db.often(limited, keptBlocks, key, from)
	if err != nil {
		return nil, buf, err
	}
	defer rows.Close()
	var blocks []keptBlock
	var block sql.RawBytes
	for rows.Next() {
		var b keptBlock
		if err := rows.Scan(&b.kept.From, &b.kept.Simulated, &block); err != nil {
			return nil, buf, err
		}
		buf = append(buf, block...)
		b.end = len(buf)
		blocks = append(blocks, b)
	}
	return blocks, buf, rows.Err()
}

// putCandles applies changes, which are of distinct series. A series is locked before
// its candles: those in shown are locked already and have ids, and putCandles locks the
// others.
func (db *DB) putCandles(ctx context.Context, tx *sqlx.Tx, changes []service.CandleChange, shown []*analysis) error {
	changes = slices.Clone(changes)
	slices.SortFunc(changes, func(a, b service.CandleChange) int { return compareKeys(a.Key, b.Key) })
	ids := make([]int64, len(changes))
	var args []any // of the series that are not among shown
	for i, c := range changes {
		at, ok := slices.BinarySearchFunc(shown, c.Key, func(a *analysis, k service.Key) int { return compareKeys(a.key, k) })
		if ok {
			ids[i] = shown[at].id
		} else {
			args = append(args, c.Exchange, c.Interval, c.Symbol, 0)
		}
	}
	for part := range slices.Chunk(args, 4*rowsPerStatement) {
		// Candles may be stored before the first analysis; every analysis is newer
		// than 0.
		var found []struct {
			ID               int64
			Exchange, Symbol string
			Interval         levels.Interval
		}
		err := tx.SelectContext(ctx, &found, tx.Rebind(`INSERT INTO series (exchange, interval, symbol, latest_as_of) VALUES `+values(len(part)/4, 4)+`
			ON CONFLICT (exchange, interval, symbol) DO UPDATE SET latest_as_of = series.latest_as_of RETURNING id, exchange, interval, symbol`), part...)
		if err != nil {
			return err
		}
		for _, f := range found {
			key := service.Key{Exchange: f.Exchange, Symbol: f.Symbol, Interval: f.Interval}
			at, _ := slices.BinarySearchFunc(changes, key, func(c service.CandleChange, k service.Key) int { return compareKeys(c.Key, k) })
			ids[at] = f.ID
		}
	}
	for len(changes) > 0 {
		n := min(len(changes), rowsPerStatement)
		if err := db.putBlocks(ctx, tx, changes[:n], ids[:n]); err != nil {
			return err
		}
		changes, ids = changes[n:], ids[n:]
	}
	return nil
}

func (db *DB) putBlocks(ctx context.Context, tx *sqlx.Tx, changes []service.CandleChange, ids []int64) error {
	var args []any
	for i, c := range changes {
		if c.Keep > 0 {
			args = append(args, ids[i], c.Keep)
		}
	}
	if len(args) > 0 {
		past := strings.Repeat(" OR series_id = ? AND span < ?", len(args)/2)[len(" OR "):]
		if _, err := exec(ctx, tx, `DELETE FROM candles WHERE `+past, args...); err != nil {
			return err
		}
	}
	rows := make([]blockRow, 0, blocksPerPut)
	for i, c := range changes {
		for _, b := range c.Blocks {
			if rows = append(rows, blockRow{ids[i], c.Simulated, b}); len(rows) == cap(rows) {
				if err := db.engine.putBlocks(ctx, tx, rows); err != nil {
					return err
				}
				rows = rows[:0]
			}
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return db.engine.putBlocks(ctx, tx, rows)
}

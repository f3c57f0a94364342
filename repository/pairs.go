package repository

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"tidemark/service"
)

// ActivePairs returns the ids of the pairs of an exchange that are stored as listed and
// trading, as job.Store requires.
func (db *DB) ActivePairs(ctx context.Context, exchange string) (map[string]bool, error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var symbols []string
	err := db.read.SelectContext(limited, &symbols, db.read.Rebind(`SELECT symbol FROM pairs WHERE exchange = ? AND active`), exchange)
	if err != nil {
		return nil, db.fail(ctx, err)
	}
	active := make(map[string]bool, len(symbols))
	for _, s := range symbols {
		active[s] = true
	}
	return active, nil
}

// PutPairs stores pairs of an exchange as its list shows them, and marks those in gone as
// delisted, as job.Store requires. It writes only rows that change.
func (db *DB) PutPairs(ctx context.Context, exchange string, listed []service.Symbol, gone []string, now time.Time) error {
	if len(listed)+len(gone) == 0 {
		return nil
	}
	// several processes may store the same list: they lock its rows in the same order
	listed = slices.SortedFunc(slices.Values(listed), func(x, y service.Symbol) int { return cmp.Compare(x.Name, y.Name) })
	gone = slices.Sorted(slices.Values(gone))
	return db.fail(ctx, db.inTx(ctx, func(tx *sqlx.Tx) error {
		for part := range slices.Chunk(listed, rowsPerStatement) {
			const columns = 12
			args := make([]any, 0, columns*len(part))
			for i := range part {
				s := &part[i]
				var delisted any
				if !s.Trading {
					delisted = milliseconds(now)
				}
				args = append(args, exchange, s.Name, s.Canonical(), s.Base, s.Quote, s.Settle, s.Kind(),
					s.Tick.Units, s.Tick.Decimals, s.Digits, s.Trading, delisted)
			}
			if _, err := exec(ctx, tx, `INSERT INTO pairs (exchange, symbol, name, base, quote, settle, kind, tick_units, tick_decimals, digits, active, delisted_at)
				VALUES `+values(len(part), columns)+`
				ON CONFLICT (exchange, symbol) DO UPDATE SET name = excluded.name, base = excluded.base, quote = excluded.quote, settle = excluded.settle,
					kind = excluded.kind, tick_units = excluded.tick_units, tick_decimals = excluded.tick_decimals, digits = excluded.digits,
					active = excluded.active, delisted_at = CASE WHEN pairs.active = excluded.active THEN pairs.delisted_at ELSE excluded.delisted_at END
				WHERE pairs.name <> excluded.name OR pairs.base <> excluded.base OR pairs.quote <> excluded.quote OR pairs.settle <> excluded.settle
					OR pairs.kind <> excluded.kind OR pairs.tick_units <> excluded.tick_units OR pairs.tick_decimals <> excluded.tick_decimals
					OR pairs.digits <> excluded.digits OR pairs.active <> excluded.active`, args...); err != nil {
				return err
			}
		}
		for part := range slices.Chunk(gone, rowsPerStatement) {
			args := append([]any{milliseconds(now), exchange}, anys(part)...)
			if _, err := exec(ctx, tx, `UPDATE pairs SET active = FALSE, delisted_at = ? WHERE exchange = ? AND active AND symbol IN `+values(1, len(part)), args...); err != nil {
				return err
			}
		}
		return nil
	}))
}

// FindPairs returns the pairs with a spelling, as service.Store requires.
func (db *DB) FindPairs(ctx context.Context, exchange string, s service.Spelling) ([]service.KnownPair, error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var found []service.KnownPair
	// each part of the union has its index
	const columns = `SELECT exchange, symbol, name, base, quote, settle, active FROM pairs WHERE `
	where, args := ``, []any(nil)
	if exchange != "" {
		where, args = ` AND exchange = ?`, []any{exchange}
	}
	all := append([]any{s.Text, s.Upper, s.Plain}, args...)
	all = append(append(all, s.Text, s.Upper), args...)
	all = append(append(all, s.Plain), args...)
	err := db.read.SelectContext(limited, &found, db.read.Rebind(columns+`symbol IN (?, ?, ?)`+where+
		` UNION `+columns+`name IN (?, ?)`+where+` UNION `+columns+`base || quote = ?`+where), all...)
	return found, db.fail(ctx, err)
}

// HasPairs reports whether pairs of an exchange are stored, as service.Store requires.
func (db *DB) HasPairs(ctx context.Context, exchange string) (bool, error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var has bool
	err := db.read.GetContext(limited, &has, db.read.Rebind(`SELECT EXISTS (SELECT 1 FROM pairs WHERE exchange = ?)`), exchange)
	return has, db.fail(ctx, err)
}

// PairCounts returns the number of active pairs of each exchange, as api.Store requires.
func (db *DB) PairCounts(ctx context.Context) (map[string]int, error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var rows []struct {
		Exchange string
		N        int
	}
	if err := db.read.SelectContext(limited, &rows, `SELECT exchange, COUNT(*) AS n FROM pairs WHERE active GROUP BY exchange`); err != nil {
		return nil, db.fail(ctx, err)
	}
	counts := make(map[string]int, len(rows))
	for _, r := range rows {
		counts[r.Exchange] = r.N
	}
	return counts, nil
}

package repository

import (
	"cmp"
	"context"
	"slices"

	"github.com/jmoiron/sqlx"

	"tidemark/levels"
	"tidemark/scorecard"
	"tidemark/service"
)

// recordKey is the key of a row of the table record.
type recordKey struct {
	exchange  string
	interval  levels.Interval
	simulated bool
	block     int64
	role      levels.Role
	retest    bool
	hour      int
}

// recordRow is its sums.
type recordRow struct{ decided, held, odds, oddsHeld, promised, baseline int }

// record is what a transaction adds to the table record.
type record map[recordKey]*recordRow

// add adds the events of all whose ids are in stored: each once.
func (r record) add(all []*service.Event, stored []string) {
	slices.Sort(stored)
	for _, e := range all {
		i, ok := slices.BinarySearch(stored, e.ID)
		if !ok {
			continue
		}
		stored = slices.Delete(stored, i, i+1)
		t := e.Touch
		if t == nil {
			continue
		}
		k := recordKey{e.Exchange, e.Interval, t.Simulated, scorecard.BlockOf(e.Interval, t.At), e.Role, t.Retest, scorecard.HourOf(t.At)}
		row := r[k]
		if row == nil {
			row = &recordRow{}
			r[k] = row
		}
		held := 0
		if t.Held {
			held = 1
		}
		row.decided++
		row.held += held
		if t.Odds {
			row.odds++
			row.oddsHeld += held
			row.promised += t.Promised
			row.baseline += t.Baseline
		}
	}
}

// put adds r to what is stored. It is called under the lock of putEvents.
func (r record) put(ctx context.Context, tx *sqlx.Tx) error {
	keys := make([]recordKey, 0, len(r))
	for k := range r {
		keys = append(keys, k)
	}
	const columns = 13
	for part := range slices.Chunk(keys, rowsPerStatement) {
		args := make([]any, 0, columns*len(part))
		for _, k := range part {
			row := r[k]
			args = append(args, k.exchange, k.interval, k.simulated, k.block, k.role.String(), k.retest, k.hour,
				row.decided, row.held, row.odds, row.oddsHeld, row.promised, row.baseline)
		}
		if _, err := exec(ctx, tx, `INSERT INTO record (exchange, interval, simulated, block, role, retest, hour, decided, held, odds, odds_held, promised, baseline)
			VALUES `+values(len(part), columns)+`
			ON CONFLICT (exchange, interval, simulated, block, role, retest, hour) DO UPDATE SET
				decided = record.decided + excluded.decided, held = record.held + excluded.held,
				odds = record.odds + excluded.odds, odds_held = record.odds_held + excluded.odds_held,
				promised = record.promised + excluded.promised, baseline = record.baseline + excluded.baseline`, args...); err != nil {
			return err
		}
	}
	return nil
}

// Record returns what became of the touched levels of an exchange, as api.Store requires:
// the shortest interval first, and for each the cells of all hours before those of one.
func (db *DB) Record(ctx context.Context, exchange string) ([]scorecard.Cell, error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	// first the sums of a block, then those over the blocks
	query := func(hour string) string {
		return `SELECT interval, simulated, role, retest, hour, MIN(block) AS first, COUNT(*) AS blocks,
				CAST(SUM(decided) AS BIGINT) AS n, CAST(SUM(held) AS BIGINT) AS held,
				CAST(SUM(decided * decided) AS BIGINT) AS nn, CAST(SUM(decided * held) AS BIGINT) AS nh, CAST(SUM(held * held) AS BIGINT) AS hh,
				CAST(SUM(odds) AS BIGINT) AS odds, CAST(SUM(odds_held) AS BIGINT) AS odds_held,
				CAST(SUM(promised) AS BIGINT) AS promised, CAST(SUM(baseline) AS BIGINT) AS baseline
			FROM (SELECT interval, simulated, role, retest, ` + hour + ` AS hour, block,
					CAST(SUM(decided) AS BIGINT) AS decided, CAST(SUM(held) AS BIGINT) AS held,
					SUM(odds) AS odds, SUM(odds_held) AS odds_held, SUM(promised) AS promised, SUM(baseline) AS baseline
				FROM record WHERE exchange = ? GROUP BY 1, 2, 3, 4, 5, 6) AS blocks
			GROUP BY 1, 2, 3, 4, 5`
	}
	var all []scorecard.Cell
	for _, hour := range [...]string{"-1", "hour"} {
		var rows []struct {
			Interval   levels.Interval
			Simulated  bool
			Role       string
			Retest     bool
			Hour       int
			First      int64
			Blocks     int
			N, Held    int
			NN, NH, HH int64
			Odds       int
			OddsHeld   int `db:"odds_held"`
			Promised   int64
			Baseline   int64
		}
		if err := db.read.SelectContext(limited, &rows, db.read.Rebind(query(hour)), exchange); err != nil {
			return nil, db.fail(ctx, err)
		}
		for _, r := range rows {
			c := scorecard.Cell{
				Interval: r.Interval, Simulated: r.Simulated, Retest: r.Retest, Hour: r.Hour, Since: scorecard.BlockStart(r.Interval, r.First),
				Blocks: scorecard.Blocks{Blocks: r.Blocks, N: r.N, Held: r.Held, NN: float64(r.NN), NH: float64(r.NH), HH: float64(r.HH)},
				Odds:   r.Odds, OddsHeld: r.OddsHeld, Promised: r.Promised, Baseline: r.Baseline,
			}
			if r.Role == levels.Resistance.String() {
				c.Role = levels.Resistance
			}
			all = append(all, c)
		}
	}
	flag := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	slices.SortFunc(all, func(a, b scorecard.Cell) int {
		return cmp.Or(cmp.Compare(a.Interval.Duration(), b.Interval.Duration()), cmp.Compare(flag(a.Simulated), flag(b.Simulated)),
			cmp.Compare(a.Role, b.Role), cmp.Compare(flag(a.Retest), flag(b.Retest)), cmp.Compare(a.Hour, b.Hour))
	})
	return all, nil
}

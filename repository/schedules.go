package repository

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"tidemark/job"
	"tidemark/levels"
)

// scheduleRow is a row of schedules.
type scheduleRow struct {
	Exchange string
	Interval levels.Interval
	Schedule string
	NextRun  int64          `db:"next_run"`
	LastRun  sql.NullInt64  `db:"last_run"`
	LastJob  sql.NullString `db:"last_job"`
}

// SetSchedules replaces the schedules of an exchange, as job.ScheduleStore requires.
func (db *DB) SetSchedules(ctx context.Context, exchange string, schedules []job.ScheduleState, now time.Time) (removed int, err error) {
	err = db.inTx(ctx, func(tx *sqlx.Tx) error {
		args := []any{exchange}
		for _, s := range schedules {
			args = append(args, s.Interval)
			// a new schedule has no missed run, so its next run is in the future
			if _, err := exec(ctx, tx, `INSERT INTO schedules (exchange, interval, schedule, next_run) VALUES (?, ?, ?, ?)
				ON CONFLICT (exchange, interval) DO UPDATE SET schedule = excluded.schedule,
					next_run = CASE WHEN schedules.next_run <= ? THEN schedules.next_run ELSE excluded.next_run END
				WHERE schedules.schedule <> excluded.schedule`,
				exchange, s.Interval, s.Text, s.NextRun.UnixMilli(), now.UnixMilli()); err != nil {
				return err
			}
		}
		others := `DELETE FROM schedules WHERE exchange = ?`
		if len(schedules) > 0 {
			others += ` AND interval NOT IN (?` + strings.Repeat(", ?", len(schedules)-1) + `)`
		} else {
			others += ` AND NOT EXISTS (SELECT 1 FROM processes WHERE id <> ? AND seen_at >= ` + db.engine.queueSQL().now + ` - ?)`
			args = append(args, db.id, deadAfter.Milliseconds())
		}
		removed, err = exec(ctx, tx, others, args...)
		return err
	})
	return removed, db.fail(ctx, err)
}

// Schedules returns the schedules of an exchange, as job.ScheduleStore requires.
func (db *DB) Schedules(ctx context.Context, exchange string) ([]job.ScheduleState, error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var rows []scheduleRow
	err := db.read.SelectContext(limited, &rows, db.read.Rebind(`SELECT * FROM schedules WHERE exchange = ?`), exchange)
	if err != nil {
		return nil, db.fail(ctx, err)
	}
	slices.SortFunc(rows, func(a, b scheduleRow) int { return int(a.Interval.Milliseconds() - b.Interval.Milliseconds()) })
	all := make([]job.ScheduleState, len(rows))
	for i, r := range rows {
		all[i] = job.ScheduleState{
			Exchange: r.Exchange, Interval: r.Interval, Text: r.Schedule,
			NextRun: time.UnixMilli(r.NextRun).UTC(), LastRun: moment(r.LastRun), LastJob: r.LastJob.String,
		}
	}
	return all, nil
}

// RunSchedule starts a due run, as job.ScheduleStore requires.
func (db *DB) RunSchedule(ctx context.Context, due job.ScheduleState, next time.Time, j job.Job, work string, scope job.Scope, limit int) (run job.ScheduledRun, err error) {
	err = db.inTx(ctx, func(tx *sqlx.Tx) error {
		run = job.ScheduledRun{}
		// first, because it locks out other processes until tx ends
		n, err := exec(ctx, tx, `UPDATE schedules SET next_run = ? WHERE exchange = ? AND interval = ? AND schedule = ? AND next_run = ?`,
			next.UnixMilli(), due.Exchange, due.Interval, due.Text, due.NextRun.UnixMilli())
		if err != nil || n == 0 {
			run.Elsewhere = err == nil
			return err
		}
		if run.Job, run.Joined, err = db.submit(ctx, tx, j, work, scope, limit); err != nil || run.Joined {
			return err
		}
		_, err = exec(ctx, tx, `UPDATE schedules SET last_run = ?, last_job = ? WHERE exchange = ? AND interval = ?`,
			j.CreatedAt.UnixMilli(), j.ID, due.Exchange, due.Interval)
		return err
	})
	if err == nil && !run.Elsewhere && !run.Joined {
		db.engine.enqueued(queueOf(j.Exchange))
	}
	return run, db.fail(ctx, err)
}

package repository

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"tidemark/levels"
	"tidemark/service"
)

// jobRow is a row of jobs.
type jobRow struct {
	ID          string
	Kind        string
	State       service.JobState
	Exchange    string
	Interval    levels.Interval
	KlineLimit  int `db:"kline_limit"`
	Store       bool
	Simulated   bool
	Symbols     int
	Done        int
	Failed      int
	Skipped     int
	Batches     int
	BatchesDone int            `db:"batches_done"`
	CreatedAt   int64          `db:"created_at"`
	StartedAt   sql.NullInt64  `db:"started_at"`
	FinishedAt  sql.NullInt64  `db:"finished_at"`
	UpdatedAt   int64          `db:"updated_at"`
	ErrorCode   sql.NullString `db:"error_code"`
	ErrorDetail sql.NullString `db:"error_detail"`
	Result      []byte
}

func newJobRow(j *service.Job) jobRow {
	r := jobRow{
		ID: j.ID, Kind: j.Kind, State: j.State, Exchange: j.Exchange, Interval: j.Interval,
		KlineLimit: j.KlineLimit, Store: j.Store, Simulated: j.Simulated,
		Symbols: j.Symbols, Done: j.Done, Failed: j.Failed, Skipped: j.Skipped,
		Batches: j.Batches, BatchesDone: j.BatchesDone,
		CreatedAt: j.CreatedAt.UnixMilli(), StartedAt: milliseconds(j.StartedAt),
		FinishedAt: milliseconds(j.FinishedAt), UpdatedAt: time.Now().UnixMilli(),
	}
	if j.Error != nil {
		r.ErrorCode = sql.NullString{String: j.Error.Code, Valid: true}
		r.ErrorDetail = sql.NullString{String: j.Error.Detail, Valid: true}
	}
	if j.Result != nil {
		r.Result = appendSnapshot(nil, j.Result)
	}
	return r
}

func (r *jobRow) job() (service.Job, error) {
	j := service.Job{
		ID: r.ID, Kind: r.Kind, State: r.State, Exchange: r.Exchange, Interval: r.Interval,
		KlineLimit: r.KlineLimit, Store: r.Store, Simulated: r.Simulated,
		Symbols: r.Symbols, Done: r.Done, Failed: r.Failed, Skipped: r.Skipped,
		Batches: r.Batches, BatchesDone: r.BatchesDone,
		CreatedAt: time.UnixMilli(r.CreatedAt).UTC(), StartedAt: moment(r.StartedAt), FinishedAt: moment(r.FinishedAt),
	}
	if r.ErrorCode.Valid {
		j.Error = &service.Outcome{Code: r.ErrorCode.String, Detail: r.ErrorDetail.String}
	}
	if r.Result != nil {
		j.Result = new(service.Snapshot)
		if err := decodeSnapshot(r.Result, j.Result); err != nil {
			return service.Job{}, err
		}
	}
	return j, nil
}

// The kinds of outcomes.
const (
	failure = "failure"
	skip    = "skip"
)

// ofJob is the batch of outcomes that came with the job itself.
const ofJob = -1

// PutJob creates or replaces a job, as service.Store has it.
func (db *DB) PutJob(ctx context.Context, j service.Job) error {
	row := newJobRow(&j)
	return db.fail(ctx, db.inTx(ctx, func(tx *sqlx.Tx) error {
		res, err := tx.NamedExecContext(ctx, `INSERT INTO jobs (id, kind, state, exchange, interval, kline_limit, store, simulated,
				symbols, done, failed, skipped, batches, batches_done,
				created_at, started_at, finished_at, updated_at, error_code, error_detail, result)
			VALUES (:id, :kind, :state, :exchange, :interval, :kline_limit, :store, :simulated,
				:symbols, :done, :failed, :skipped, :batches, :batches_done,
				:created_at, :started_at, :finished_at, :updated_at, :error_code, :error_detail, :result)
			ON CONFLICT (id) DO NOTHING`, row)
		if err != nil {
			return err
		}
		created, err := res.RowsAffected()
		if err != nil {
			return err
		}
		if created == 1 {
			if err := putOutcomes(ctx, tx, j.ID, failure, ofJob, j.Failures); err != nil {
				return err
			}
			return putOutcomes(ctx, tx, j.ID, skip, ofJob, j.Skips)
		}
		if _, err := tx.NamedExecContext(ctx, `UPDATE jobs SET kind = :kind, state = :state, exchange = :exchange, interval = :interval,
				kline_limit = :kline_limit, store = :store, simulated = :simulated,
				symbols = :symbols, skipped = :skipped, batches = :batches,
				created_at = :created_at, started_at = :started_at, finished_at = :finished_at, updated_at = :updated_at,
				error_code = :error_code, error_detail = :error_detail, result = :result
			WHERE id = :id`, row); err != nil {
			return err
		}
		if _, err := exec(ctx, tx, `DELETE FROM job_outcomes WHERE job_id = ? AND kind = ?`, j.ID, skip); err != nil {
			return err
		}
		return putOutcomes(ctx, tx, j.ID, skip, ofJob, j.Skips)
	}))
}

func putOutcomes(ctx context.Context, tx *sqlx.Tx, id, kind string, batch int, outcomes []service.Outcome) error {
	pos := 0
	var args []any
	for rows := range slices.Chunk(outcomes, rowsPerStatement) {
		args = args[:0]
		for _, o := range rows {
			args = append(args, id, kind, batch, pos, o.Symbol, o.Code, o.Detail)
			pos++
		}
		if _, err := exec(ctx, tx, `INSERT INTO job_outcomes (job_id, kind, batch, pos, symbol, code, detail) VALUES `+values(len(rows), 7), args...); err != nil {
			return err
		}
	}
	return nil
}

// putProgress notes that a batch of a job is stored; stored is true, and
// nothing is done, if it has been before.
func (db *DB) putProgress(ctx context.Context, tx *sqlx.Tx, b service.Batch) (stored bool, err error) {
	now := time.Now().UnixMilli()
	n, err := exec(ctx, tx, `INSERT INTO job_batches (job_id, idx, stored_at)
		SELECT id, CAST(? AS BIGINT), CAST(? AS BIGINT) FROM jobs WHERE id = ? ON CONFLICT (job_id, idx) DO NOTHING`, b.Index, now, b.JobID)
	if err != nil {
		return false, err
	}
	if n == 0 {
		var found bool
		err := tx.GetContext(ctx, &found, tx.Rebind(`SELECT EXISTS (SELECT 1 FROM jobs WHERE id = ?)`), b.JobID)
		if err == nil && !found {
			err = fmt.Errorf("%w: %s", service.ErrUnknownJob, b.JobID)
		}
		return true, err
	}
	if err := putOutcomes(ctx, tx, b.JobID, failure, b.Index, b.Failures); err != nil {
		return false, err
	}
	_, err = exec(ctx, tx, `UPDATE jobs SET done = done + ?, failed = failed + ?, batches_done = batches_done + 1, updated_at = ? WHERE id = ?`,
		b.Done, len(b.Failures), now, b.JobID)
	return false, err
}

// Job returns a job with its failures and skips, as service.Store has it.
func (db *DB) Job(ctx context.Context, id string) (service.Job, error) {
	j, err := db.job(ctx, id)
	return j, db.fail(ctx, err)
}

func (db *DB) job(ctx context.Context, id string) (service.Job, error) {
	// the job and its outcomes as of one moment; SQLite has no weaker isolation
	tx, err := db.read.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return service.Job{}, err
	}
	defer tx.Rollback() // it has only read
	var rows []jobRow   // none or one
	if err := tx.SelectContext(ctx, &rows, tx.Rebind(`SELECT * FROM jobs WHERE id = ?`), id); err != nil {
		return service.Job{}, err
	}
	if len(rows) == 0 {
		return service.Job{}, fmt.Errorf("%w: %s", service.ErrUnknownJob, id)
	}
	j, err := rows[0].job()
	if err != nil {
		return service.Job{}, err
	}
	outcomes, err := tx.QueryContext(ctx, tx.Rebind(`SELECT kind, symbol, code, detail FROM job_outcomes WHERE job_id = ? ORDER BY kind, batch, pos`), id)
	if err != nil {
		return service.Job{}, err
	}
	defer outcomes.Close()
	for outcomes.Next() {
		var kind string
		var o service.Outcome
		if err := outcomes.Scan(&kind, &o.Symbol, &o.Code, &o.Detail); err != nil {
			return service.Job{}, err
		}
		if kind == failure {
			j.Failures = append(j.Failures, o)
		} else {
			j.Skips = append(j.Skips, o)
		}
	}
	return j, outcomes.Err()
}

// Jobs returns the newest limit jobs, as service.Store has it.
func (db *DB) Jobs(ctx context.Context, limit int) ([]service.Job, error) {
	var rows []jobRow
	err := db.read.SelectContext(ctx, &rows, db.read.Rebind(`SELECT id, kind, state, exchange, interval, kline_limit, store, simulated,
			symbols, done, failed, skipped, batches, batches_done,
			created_at, started_at, finished_at, updated_at, error_code, error_detail
		FROM jobs ORDER BY created_at DESC, id DESC LIMIT ?`), limit)
	if err != nil {
		return nil, db.fail(ctx, err)
	}
	jobs := make([]service.Job, len(rows))
	for i := range rows {
		if jobs[i], err = rows[i].job(); err != nil {
			return nil, db.fail(ctx, err)
		}
	}
	return jobs, nil
}

// FailStale fails the open jobs that nobody has touched for longer than
// olderThan, which is what a process that died leaves behind, with the code
// "interrupted", and returns how many they were. PutJob and Put touch a job.
// Clocks of machines that share a database must agree to a fraction of
// olderThan.
func (db *DB) FailStale(ctx context.Context, olderThan time.Duration) (int, error) {
	now := time.Now()
	n := 0
	err := db.inTx(ctx, func(tx *sqlx.Tx) (err error) {
		n, err = exec(ctx, tx, `UPDATE jobs SET state = ?, error_code = ?, error_detail = ?, finished_at = ?, updated_at = ?
			WHERE state IN (?, ?) AND updated_at < ?`,
			service.JobFailed, "interrupted", "the process that ran the job ended before the job did",
			now.UnixMilli(), now.UnixMilli(), service.JobQueued, service.JobRunning, now.Add(-olderThan).UnixMilli())
		return err
	})
	return n, db.fail(ctx, err)
}

// PruneJobs deletes the jobs that finished before a moment, with their
// outcomes, and returns how many they were. Analyses stay.
func (db *DB) PruneJobs(ctx context.Context, before time.Time) (int, error) {
	n := 0
	err := db.inTx(ctx, func(tx *sqlx.Tx) (err error) {
		n, err = exec(ctx, tx, `DELETE FROM jobs WHERE finished_at < ?`, before.UnixMilli())
		return err
	})
	return n, db.fail(ctx, err)
}

// PutBan remembers that an exchange has banned this address until a moment. A
// ban that lasts longer already stays.
func (db *DB) PutBan(ctx context.Context, exchange string, until time.Time) error {
	return db.fail(ctx, db.inTx(ctx, func(tx *sqlx.Tx) error {
		_, err := exec(ctx, tx, `INSERT INTO exchange_bans (exchange, banned_until) VALUES (?, ?)
			ON CONFLICT (exchange) DO UPDATE SET banned_until = excluded.banned_until
			WHERE excluded.banned_until > exchange_bans.banned_until`, exchange, until.UnixMilli())
		return err
	}))
}

// Ban returns until when an exchange has banned this address, which may be
// over; the zero time if it never has.
func (db *DB) Ban(ctx context.Context, exchange string) (time.Time, error) {
	var until sql.NullInt64
	err := db.read.GetContext(ctx, &until, db.read.Rebind(`SELECT MAX(banned_until) FROM exchange_bans WHERE exchange = ?`), exchange)
	if err != nil {
		return time.Time{}, db.fail(ctx, err)
	}
	return moment(until), nil
}

package repository

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/riverqueue/river"

	"tidemark/job"
	"tidemark/levels"
	"tidemark/service"
)

// jobRow is a row of jobs.
type jobRow struct {
	ID          string
	Kind        string
	State       job.State
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
	Work        sql.NullString
}

func newJobRow(j *job.Job) jobRow {
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

func (r *jobRow) job() (job.Job, error) {
	j := job.Job{
		ID: r.ID, Kind: r.Kind, State: r.State, Exchange: r.Exchange, Interval: r.Interval,
		KlineLimit: r.KlineLimit, Store: r.Store, Simulated: r.Simulated,
		Symbols: r.Symbols, Done: r.Done, Failed: r.Failed, Skipped: r.Skipped,
		Batches: r.Batches, BatchesDone: r.BatchesDone,
		CreatedAt: time.UnixMilli(r.CreatedAt).UTC(), StartedAt: moment(r.StartedAt), FinishedAt: moment(r.FinishedAt),
	}
	if r.ErrorCode.Valid {
		j.Error = &job.Outcome{Code: r.ErrorCode.String, Detail: r.ErrorDetail.String}
	}
	if r.Result != nil {
		j.Result = new(service.Snapshot)
		if err := decodeSnapshot(r.Result, j.Result); err != nil {
			return job.Job{}, fmt.Errorf("the result of job %s: %w", r.ID, err)
		}
	}
	return j, nil
}

// The kinds of outcomes.
const (
	failure = "failure"
	skip    = "skip"
)

// ofJob is the batch index of outcomes stored with the job itself.
const ofJob = -1

// PutJob creates a job that has already ended, as job.Store requires.
func (db *DB) PutJob(ctx context.Context, j job.Job) error {
	return db.fail(ctx, db.inTx(ctx, func(tx *sqlx.Tx) error {
		if _, err := createJob(ctx, tx, &j, sql.NullString{}); err != nil {
			return err
		}
		if err := putOutcomes(ctx, tx, j.ID, failure, ofJob, j.Failures); err != nil {
			return err
		}
		return putOutcomes(ctx, tx, j.ID, skip, ofJob, j.Skips)
	}))
}

// createJob inserts the row of a job unless a job of the same work is open.
func createJob(ctx context.Context, tx *sqlx.Tx, j *job.Job, work sql.NullString) (created bool, err error) {
	row := newJobRow(j)
	row.Work = work
	res, err := tx.NamedExecContext(ctx, `INSERT INTO jobs (id, kind, state, exchange, interval, kline_limit, store, simulated,
			symbols, done, failed, skipped, batches, batches_done,
			created_at, started_at, finished_at, updated_at, error_code, error_detail, result, work)
		VALUES (:id, :kind, :state, :exchange, :interval, :kline_limit, :store, :simulated,
			:symbols, :done, :failed, :skipped, :batches, :batches_done,
			:created_at, :started_at, :finished_at, :updated_at, :error_code, :error_detail, :result, :work)
		ON CONFLICT DO NOTHING`, row)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// isOpen is the condition for a job that has not ended.
const isOpen = `state IN ('queued', 'running')`

// SubmitJob creates a job and queues its plan, or joins an open job of the same work,
// as job.Store requires. The limit is not exact: concurrent requests may each take the
// last free place.
func (db *DB) SubmitJob(ctx context.Context, j job.Job, work string, scope job.Scope, limit int) (open job.Job, joined bool, err error) {
	err = db.inTx(ctx, func(tx *sqlx.Tx) error {
		open, joined, err = db.submit(ctx, tx, j, work, scope, limit)
		return err
	})
	if err == nil && !joined {
		db.engine.enqueued(queueOf(j.Exchange))
	}
	return open, joined, db.fail(ctx, err)
}

// submit is SubmitJob within tx.
func (db *DB) submit(ctx context.Context, tx *sqlx.Tx, j job.Job, work string, scope job.Scope, limit int) (job.Job, bool, error) {
	for {
		var rows []jobRow // at most one
		err := tx.SelectContext(ctx, &rows, tx.Rebind(`SELECT `+progressColumns+` FROM jobs WHERE work = ? AND `+isOpen), work)
		if err == nil && len(rows) == 1 {
			open, err := rows[0].job()
			return open, true, err
		}
		var open int
		if err == nil {
			err = tx.GetContext(ctx, &open, tx.Rebind(`SELECT COUNT(*) FROM jobs WHERE exchange = ? AND `+isOpen), j.Exchange)
		}
		if err != nil {
			return job.Job{}, false, err
		}
		if open >= limit {
			return job.Job{}, false, service.ErrBusy
		}
		created, err := createJob(ctx, tx, &j, sql.NullString{String: work, Valid: true})
		if err != nil {
			return job.Job{}, false, err
		}
		if created {
			return j, false, db.enqueue(ctx, tx, j.Exchange, planPriority, []river.JobArgs{planArgs{j.ID, scope.Symbols, scope.Filter}})
		}
		// another process has just created a job of the same work
	}
}

// PlanJob starts a job, stores its plan and queues its batches, as job.Store requires.
func (db *DB) PlanJob(ctx context.Context, id string, started time.Time, p job.Plan) (ended bool, err error) {
	now := time.Now().UnixMilli()
	batches := (len(p.Pairs) + p.BatchSize - 1) / p.BatchSize
	var planned []jobRow // at most one
	err = db.inTx(ctx, func(tx *sqlx.Tx) error {
		// COALESCE: a process of an earlier version may have started the job.
		// batches = 0: the job has not been planned.
		state, finished := job.Running, sql.NullInt64{}
		if batches == 0 {
			state, finished = job.Completed, sql.NullInt64{Int64: now, Valid: true}
		}
		if err := tx.SelectContext(ctx, &planned, tx.Rebind(`UPDATE jobs SET state = ?, started_at = COALESCE(started_at, ?), finished_at = ?,
			symbols = ?, skipped = ?, batches = ?, simulated = ?, updated_at = ?
			WHERE id = ? AND `+isOpen+` AND batches = 0 RETURNING kind, exchange`),
			state, started.UnixMilli(), finished, len(p.Pairs)+len(p.Skips), len(p.Skips), batches, p.Simulated, now, id); err != nil || len(planned) == 0 {
			return err
		}
		if err := putOutcomes(ctx, tx, id, skip, ofJob, p.Skips); err != nil || batches == 0 {
			return err
		}
		work := make([]river.JobArgs, 0, batches)
		for pairs := range slices.Chunk(p.Pairs, p.BatchSize) {
			work = append(work, batchArgs{Job: id, Index: len(work), Pairs: pairs})
		}
		return db.enqueue(ctx, tx, planned[0].Exchange, batchPriority(planned[0].Kind), work)
	})
	if err != nil || len(planned) == 0 {
		return false, db.fail(ctx, err)
	}
	db.engine.enqueued(queueOf(planned[0].Exchange))
	return batches == 0, nil
}

// EndJob ends an open job, as job.Store requires.
func (db *DB) EndJob(ctx context.Context, id string, state job.State, reason *job.Outcome) (ended bool, err error) {
	var code, detail sql.NullString
	if reason != nil {
		code, detail = sql.NullString{String: reason.Code, Valid: true}, sql.NullString{String: reason.Detail, Valid: true}
	}
	now := time.Now().UnixMilli()
	err = db.inTx(ctx, func(tx *sqlx.Tx) error {
		n, err := exec(ctx, tx, `UPDATE jobs SET state = ?, error_code = ?, error_detail = ?, finished_at = ?, updated_at = ?
			WHERE id = ? AND `+isOpen, state, code, detail, now, now, id)
		if err != nil || n == 0 {
			return err
		}
		ended = true
		return db.dequeue(ctx, tx, id)
	})
	return ended, db.fail(ctx, err)
}

func putOutcomes(ctx context.Context, tx *sqlx.Tx, id, kind string, batch int, outcomes []job.Outcome) error {
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

// putProgress records that a batch of a job is stored. If it was already, putProgress
// does nothing and stored is true. The last batch of a running job completes it; ended
// is then true.
func (db *DB) putProgress(ctx context.Context, tx *sqlx.Tx, b job.Batch) (stored, ended bool, err error) {
	now := time.Now().UnixMilli()
	n, err := exec(ctx, tx, `INSERT INTO job_batches (job_id, idx, stored_at)
		SELECT id, CAST(? AS BIGINT), CAST(? AS BIGINT) FROM jobs WHERE id = ? ON CONFLICT (job_id, idx) DO NOTHING`, b.Index, now, b.JobID)
	if err != nil {
		return false, false, err
	}
	if n == 0 {
		var found bool
		err := tx.GetContext(ctx, &found, tx.Rebind(`SELECT EXISTS (SELECT 1 FROM jobs WHERE id = ?)`), b.JobID)
		if err == nil && !found {
			err = fmt.Errorf("%w: %s", service.ErrUnknownJob, b.JobID)
		}
		return true, false, err
	}
	if err := putOutcomes(ctx, tx, b.JobID, failure, b.Index, b.Failures); err != nil {
		return false, false, err
	}
	var result []byte
	if b.Result != nil {
		result = appendSnapshot(nil, b.Result)
	}
	if _, err := exec(ctx, tx, `UPDATE jobs SET done = done + ?, failed = failed + ?, batches_done = batches_done + 1,
			simulated = simulated OR ?, result = COALESCE(?, result), updated_at = ? WHERE id = ?`,
		b.Done, len(b.Failures), b.Simulated, result, now, b.JobID); err != nil {
		return false, false, err
	}
	n, err = exec(ctx, tx, `UPDATE jobs SET state = 'completed', finished_at = ?
		WHERE id = ? AND state = 'running' AND batches_done = batches`, now, b.JobID)
	return false, n == 1, err
}

// Job returns a job with its failures and skips, as job.Store requires.
func (db *DB) Job(ctx context.Context, id string) (job.Job, error) {
	j, err := db.job(ctx, id)
	return j, db.fail(ctx, err)
}

func (db *DB) job(ctx context.Context, id string) (job.Job, error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	// the job and its outcomes from one state of the database; SQLite has no weaker
	// isolation
	tx, err := db.read.BeginTxx(limited, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return job.Job{}, err
	}
	defer tx.Rollback() // it only reads
	var rows []jobRow   // at most one
	if err := tx.SelectContext(ctx, &rows, tx.Rebind(`SELECT * FROM jobs WHERE id = ?`), id); err != nil {
		return job.Job{}, err
	}
	if len(rows) == 0 {
		return job.Job{}, fmt.Errorf("%w: %s", service.ErrUnknownJob, id)
	}
	j, err := rows[0].job()
	if err != nil {
		return job.Job{}, err
	}
	outcomes, err := tx.QueryContext(ctx, tx.Rebind(`SELECT kind, symbol, code, detail FROM job_outcomes WHERE job_id = ? ORDER BY kind, batch, pos`), id)
	if err != nil {
		return job.Job{}, err
	}
	defer outcomes.Close()
	for outcomes.Next() {
		var kind string
		var o job.Outcome
		if err := outcomes.Scan(&kind, &o.Symbol, &o.Code, &o.Detail); err != nil {
			return job.Job{}, err
		}
		if kind == failure {
			j.Failures = append(j.Failures, o)
		} else {
			j.Skips = append(j.Skips, o)
		}
	}
	return j, outcomes.Err()
}

// progressColumns are the columns of jobs without the result and the work.
const progressColumns = `id, kind, state, exchange, interval, kline_limit, store, simulated,
	symbols, done, failed, skipped, batches, batches_done,
	created_at, started_at, finished_at, updated_at, error_code, error_detail`

// Progress returns a job without its details, as job.Store requires.
func (db *DB) Progress(ctx context.Context, id string) (job.Job, error) {
	j, _, err := db.BatchProgress(ctx, id, ofJob)
	return j, err
}

// BatchProgress returns a job without its details, and whether a batch of it is
// stored, as job.Store requires.
func (db *DB) BatchProgress(ctx context.Context, id string, index int) (j job.Job, stored bool, err error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var rows []struct { // at most one
		jobRow
		Stored bool
	}
	err = db.read.SelectContext(limited, &rows, db.read.Rebind(`SELECT `+progressColumns+`,
		EXISTS (SELECT 1 FROM job_batches WHERE job_id = jobs.id AND idx = ?) AS stored FROM jobs WHERE id = ?`), index, id)
	if err == nil && len(rows) == 0 {
		err = fmt.Errorf("%w: %s", service.ErrUnknownJob, id)
	}
	if err != nil {
		return job.Job{}, false, db.fail(ctx, err)
	}
	j, err = rows[0].job()
	return j, rows[0].Stored, db.fail(ctx, err)
}

// Jobs returns the newest limit jobs, as api.Store requires.
func (db *DB) Jobs(ctx context.Context, exchange string, limit int) ([]job.Job, error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var rows []jobRow
	where, args := ``, []any{limit}
	if exchange != "" {
		where, args = `WHERE exchange = ?`, []any{exchange, limit}
	}
	err := db.read.SelectContext(limited, &rows, db.read.Rebind(`SELECT `+progressColumns+`
		FROM jobs `+where+` ORDER BY created_at DESC, id DESC LIMIT ?`), args...)
	if err != nil {
		return nil, db.fail(ctx, err)
	}
	jobs := make([]job.Job, len(rows))
	for i := range rows {
		if jobs[i], err = rows[i].job(); err != nil {
			return nil, db.fail(ctx, err)
		}
	}
	return jobs, nil
}

// PruneJobs deletes the jobs that finished before a time, with their outcomes, and
// returns their number. It keeps the analyses.
func (db *DB) PruneJobs(ctx context.Context, before time.Time) (int, error) {
	n := 0
	err := db.inTx(ctx, func(tx *sqlx.Tx) (err error) {
		n, err = exec(ctx, tx, `DELETE FROM jobs WHERE finished_at < ?`, before.UnixMilli())
		return err
	})
	return n, db.fail(ctx, err)
}

// PutBan stores that an exchange has banned an address until a time, and notifies other
// processes with the zero Change. A stored ban that lasts longer stays.
func (db *DB) PutBan(ctx context.Context, address string, until time.Time) error {
	return db.fail(ctx, db.inTx(ctx, func(tx *sqlx.Tx) error {
		_, err := exec(ctx, tx, `INSERT INTO exchange_bans (exchange, banned_until) VALUES (?, ?)
			ON CONFLICT (exchange) DO UPDATE SET banned_until = excluded.banned_until
			WHERE excluded.banned_until > exchange_bans.banned_until`, address, until.UnixMilli())
		if err != nil {
			return err
		}
		return db.engine.announce(ctx, tx, Change{})
	}))
}

// Ban returns the end of the last ban of an address by an exchange, which may be in
// the past, or the zero time if the address was never banned.
func (db *DB) Ban(ctx context.Context, address string) (time.Time, error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var until sql.NullInt64
	err := db.read.GetContext(limited, &until, db.read.Rebind(`SELECT MAX(banned_until) FROM exchange_bans WHERE exchange = ?`), address)
	if err != nil {
		return time.Time{}, db.fail(ctx, err)
	}
	return moment(until), nil
}

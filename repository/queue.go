package repository

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/riverqueue/river"

	"tidemark/service"
)

// The queue is River, in tables of its own beside ours. Work enters it by plain
// SQL in the transaction that makes it necessary (a job's plan with the job, its
// batches with the plan), which River documents for programs in other languages:
// on PostgreSQL our transactions are lib/pq's and River's are pgx's, and no
// transaction can be both. So there is nothing to reconcile: an open job has its
// work in the queue, always.
//
// A process that dies leaves what it had taken marked as running. Every process
// that works touches its row in processes twice in five seconds and gives back
// what is held by one that has not for deadAfter. River's own rescue only knows
// how long a job has been running, and so waits for the longest there may be.

// Worker does the work of jobs: a service.Analyzer, which says what the methods
// do and what their errors mean.
type Worker interface {
	Plan(ctx context.Context, jobID string, symbols []string, last bool) error
	RunBatch(ctx context.Context, jobID string, index int, pairs []service.Pair, last bool) error
	Workers() int
}

const (
	queueName = "tidemark"
	// beatEvery is how often a process that works says that it lives.
	beatEvery = 2 * time.Second
	// deadAfter is how long a process may be silent before its work is given to
	// others: what it still does then is done twice, and stored once.
	deadAfter = 10 * time.Second
	// tries is how often a plan or batch is tried that ends with an error.
	tries = 4
	// begins is how often one is begun at most. A process that dies under it
	// does not count as a try.
	begins = 100
	// runLimit is how long one may take; then it is broken off and begun anew.
	runLimit = time.Hour
)

// What River tells its clients by when there is new work.
const (
	insertTopic   = "river_insert"
	insertPayload = `{"queue": "` + queueName + `"}`
)

// planArgs and batchArgs are what the queue keeps of a plan and of a batch.
type planArgs struct {
	Job     string   `json:"job"`
	Symbols []string `json:"symbols,omitempty"`
}

type batchArgs struct {
	Job   string         `json:"job"`
	Index int            `json:"index"`
	Pairs []service.Pair `json:"pairs"`
}

func (planArgs) Kind() string  { return "plan" }
func (batchArgs) Kind() string { return "batch" }

// The priorities of River: 1 comes first. What is short goes before sweeps.
const (
	planPriority     = 1
	analysisPriority = 2
	sweepPriority    = 3
)

func batchPriority(kind string) int {
	if kind == service.KindSweep {
		return sweepPriority
	}
	return analysisPriority
}

// queueSQL is how the statements about River's tables differ.
type queueSQL struct {
	json   string // an argument as the JSON type
	now    string // the database's clock, in Unix milliseconds
	holder string // the process that took a row of river_job last
	since  string // how long ago the moment in column %s was, in milliseconds
	notify string // tells every process of new work; empty: engine.enqueued does, in this one
}

// enqueue asks the queue for work, if tx is committed.
func (db *DB) enqueue(ctx context.Context, tx *sqlx.Tx, priority int, work []river.JobArgs) error {
	dialect := db.engine.queueSQL()
	row := `(?, ` + dialect.json + `, '` + queueName + `', ?, ?)`
	var args []any
	for part := range slices.Chunk(work, rowsPerStatement) {
		args = args[:0]
		for _, w := range part {
			text, err := json.Marshal(w)
			if err != nil {
				return err
			}
			args = append(args, w.Kind(), string(text), priority, begins)
		}
		if _, err := exec(ctx, tx, `INSERT INTO river_job (kind, args, queue, priority, max_attempts) VALUES `+
			strings.Repeat(row+", ", len(part)-1)+row, args...); err != nil {
			return err
		}
	}
	if dialect.notify == "" {
		return nil
	}
	_, err := exec(ctx, tx, dialect.notify, insertPayload)
	return err
}

// riverClient is what is needed of a river.Client of either driver.
type riverClient interface {
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
	StopAndCancel(ctx context.Context) error
}

// QueueStats is how the queue stands, and what this process has done for it since
// it was opened. A piece of work is a plan or a batch of a job.
type QueueStats struct {
	Waiting int // pieces that could be begun
	Running int // in all processes
	Delayed int // pieces that are begun again later, after an error or a ban
	// Oldest is how long the first of the waiting pieces has been waiting.
	Oldest time.Duration
	// Retries counts the errors of this process after which a piece was, or will
	// be, begun again.
	Retries int64
	// Rescued counts the pieces this process gave back to the queue: of processes
	// that died, and of its own whose end could not be stored.
	Rescued int64
}

// QueueStats returns how the queue stands. With an error, Retries and Rescued are
// valid all the same.
func (db *DB) QueueStats(ctx context.Context) (QueueStats, error) {
	s := QueueStats{Retries: db.retries.Load(), Rescued: db.rescued.Load()}
	var rows []struct {
		State string
		N     int
		Age   int64
	}
	err := db.read.SelectContext(ctx, &rows, `SELECT state, COUNT(*) AS n, `+fmt.Sprintf(db.engine.queueSQL().since, `MIN(scheduled_at)`)+` AS age
		FROM river_job WHERE queue = '`+queueName+`' AND state IN ('available', 'running', 'retryable', 'scheduled') GROUP BY state`)
	if err != nil {
		return s, db.fail(ctx, err)
	}
	for _, r := range rows {
		switch r.State {
		case "available":
			s.Waiting = r.N
			s.Oldest = max(0, time.Duration(r.Age)*time.Millisecond)
		case "running":
			s.Running = r.N
		default:
			s.Delayed += r.N
		}
	}
	return s, nil
}

// queue is the queue of a process that works.
type queue struct {
	db     *DB
	worker Worker
	client riverClient

	mu   sync.Mutex
	held map[int64]bool // the rows of river_job that this process works on
	odd  []int64        // those it holds and does not work on, as of the last beat

	stop context.CancelFunc // of the beat
	beat sync.WaitGroup
}

// Work has w do the work of jobs, of this and every other process, until
// StopWork or Close. It is called once.
func (db *DB) Work(ctx context.Context, w Worker) error {
	q := &queue{db: db, worker: w, held: map[int64]bool{}}
	workers := river.NewWorkers()
	river.AddWorker(workers, &planner{queue: q})
	river.AddWorker(workers, &batcher{queue: q})
	var err error
	q.client, err = db.engine.client(&river.Config{
		ID:                          q.db.id,
		Queues:                      map[string]river.QueueConfig{queueName: {MaxWorkers: w.Workers()}},
		Workers:                     workers,
		FetchCooldown:               10 * time.Millisecond,
		JobTimeout:                  runLimit,
		RescueStuckJobsAfter:        runLimit + time.Hour,
		CompletedJobRetentionPeriod: 10 * time.Minute, // our own tables know what became of them
		DiscardedJobRetentionPeriod: 24 * time.Hour,
		Logger:                      slog.New(quietHandler{db.log.Handler()}),
	})
	if err != nil {
		return fmt.Errorf("the queue: %w", err)
	}
	// before the first work is taken, so that nobody takes it for a dead
	// process's
	if err := q.pulse(ctx); err != nil {
		return db.fail(ctx, err)
	}
	if err := q.client.Start(context.WithoutCancel(ctx)); err != nil {
		return db.fail(ctx, err)
	}
	beating, stop := context.WithCancel(context.Background())
	q.stop = stop
	q.beat.Go(func() { q.keepBeating(beating) })
	db.queue = q
	return nil
}

// StopWork takes no more work and waits for what is under way, which its Worker
// should have been told to end, and is broken off when ctx is done.
func (db *DB) StopWork(ctx context.Context) error {
	q := db.queue
	if q == nil {
		return nil
	}
	db.queue = nil
	err := q.client.Stop(ctx)
	if err != nil {
		breaking, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errors.Join(err, q.client.StopAndCancel(breaking))
	}
	q.stop()
	q.beat.Wait()
	// what is still held, after an error, is free at once
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, db.fail(leaving, db.inTx(leaving, func(tx *sqlx.Tx) error {
		_, err := exec(leaving, tx, `DELETE FROM processes WHERE id = ?`, q.db.id)
		return err
	})))
}

// keepBeating says that this process lives, until ctx ends.
func (q *queue) keepBeating(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := q.pulse(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			q.db.log.Warn("this process cannot say that it lives; others may take over its work", "error", q.db.engine.explain(err))
		}
		failing = err != nil
	}
}

// pulse says that this process lives and gives back to the queue what was taken
// by those that do not, and what this one lost: work whose end could not be
// stored while the database was away. Not on the first look, since the end of
// work is stored a moment after it.
func (q *queue) pulse(ctx context.Context) error {
	dialect := q.db.engine.queueSQL()
	ctx, cancel := context.WithTimeout(ctx, deadAfter)
	defer cancel()
	rescued := 0
	err := q.db.inTx(ctx, func(tx *sqlx.Tx) error {
		if _, err := exec(ctx, tx, `INSERT INTO processes (id, seen_at) VALUES (?, `+dialect.now+`)
			ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at`, q.db.id); err != nil {
			return err
		}
		if _, err := exec(ctx, tx, `DELETE FROM processes WHERE seen_at < `+dialect.now+` - ?`, deadAfter.Milliseconds()); err != nil {
			return err
		}
		n, err := exec(ctx, tx, `UPDATE river_job SET state = 'available' WHERE state = 'running' AND queue = '`+queueName+`'
			AND `+dialect.holder+` NOT IN (SELECT id FROM processes)`)
		if err != nil {
			return err
		}
		if n > 0 {
			q.db.log.Warn("work of a process that died was given back to the queue", "pieces", n)
		}
		lost, err := q.giveBackLost(ctx, tx, dialect)
		rescued = n + lost
		return err
	})
	if err == nil {
		q.db.rescued.Add(int64(rescued))
	}
	return err
}

func (q *queue) giveBackLost(ctx context.Context, tx *sqlx.Tx, dialect queueSQL) (n int, err error) {
	var taken []int64
	err = tx.SelectContext(ctx, &taken, tx.Rebind(`SELECT id FROM river_job WHERE state = 'running' AND queue = '`+queueName+`'
		AND `+dialect.holder+` = ?`), q.db.id)
	if err != nil {
		return 0, err
	}
	q.mu.Lock()
	odd := slices.DeleteFunc(taken, func(id int64) bool { return q.held[id] })
	q.mu.Unlock()
	for _, id := range odd {
		if !slices.Contains(q.odd, id) {
			continue
		}
		if _, err := exec(ctx, tx, `UPDATE river_job SET state = 'available' WHERE id = ? AND state = 'running'`, id); err != nil {
			return 0, err
		}
		n++
		q.db.log.Warn("work whose end was not stored was given back to the queue", "pieces", 1)
	}
	q.odd = odd
	return n, nil
}

// run runs one piece of work and turns its error into what River does next.
func (q *queue) run(id int64, errs int, begun int, f func(last bool) error) error {
	q.mu.Lock()
	q.held[id] = true
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		delete(q.held, id)
		q.mu.Unlock()
	}()
	err := f(errs+1 >= tries || begun >= begins)
	if errors.Is(err, service.ErrStopping) {
		return river.JobSnooze(0) // another process may have it at once
	}
	if pause, ok := errors.AsType[*service.RetryAfterError](err); ok && errors.Is(err, service.ErrRateLimited) {
		return river.JobSnooze(max(0, time.Until(pause.Until)))
	}
	if err != nil {
		q.db.retries.Add(1)
	}
	return err
}

// nextRetry is 1 s after the first error, then 4 s, then 9 s; with what the
// scheduler of River adds, up to 5 s.
func nextRetry(errs int) time.Time {
	return time.Now().Add(time.Duration((errs+1)*(errs+1)) * time.Second)
}

type planner struct {
	river.WorkerDefaults[planArgs]
	queue *queue
}

func (p *planner) NextRetry(j *river.Job[planArgs]) time.Time { return nextRetry(len(j.Errors)) }

func (p *planner) Work(ctx context.Context, j *river.Job[planArgs]) error {
	return p.queue.run(j.ID, len(j.Errors), j.Attempt, func(last bool) error {
		return p.queue.worker.Plan(ctx, j.Args.Job, j.Args.Symbols, last)
	})
}

type batcher struct {
	river.WorkerDefaults[batchArgs]
	queue *queue
}

func (b *batcher) NextRetry(j *river.Job[batchArgs]) time.Time { return nextRetry(len(j.Errors)) }

func (b *batcher) Work(ctx context.Context, j *river.Job[batchArgs]) error {
	return b.queue.run(j.ID, len(j.Errors), j.Attempt, func(last bool) error {
		return b.queue.worker.RunBatch(ctx, j.Args.Job, j.Args.Index, j.Args.Pairs, last)
	})
}

// quietHandler lets through what River warns of; it has much to say otherwise.
type quietHandler struct{ slog.Handler }

func (h quietHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

func (h quietHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quietHandler{h.Handler.WithAttrs(attrs)}
}

func (h quietHandler) WithGroup(name string) slog.Handler {
	return quietHandler{h.Handler.WithGroup(name)}
}

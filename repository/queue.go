package repository

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"tidemark/job"
	"tidemark/service"
)

// The queue is River, in tables of its own beside ours. Work is inserted through River
// in the transaction that makes it necessary (a job's plan with the job, its batches
// with the plan), and what is left of a job that ended is deleted in the transaction
// that ends it. So an open job always has its work in the queue.
//
// Work belongs to an exchange. Each has a queue of its own, and a process works on
// the queues of the exchanges it serves; what else shapes the result of a job is in
// the arguments of its work.
//
// Three statements of ours use River's tables, for what River lacks. It has no
// heartbeat: its rescue only knows how long a job has been running, and so waits for
// the longest there may be; pulse returns the work of processes that have been silent
// for deadAfter. It cannot move jobs between queues: pulse moves those of versions with
// one queue for all exchanges. And it does not count jobs by state: QueueStats does.

// Worker does the work of jobs: a job.Runner, which says what the methods
// do and what their errors mean.
type Worker interface {
	Plan(ctx context.Context, jobID string, scope job.Scope, last bool) error
	RunBatch(ctx context.Context, jobID string, index int, pairs []service.Pair, last bool) error
	GiveUp(ctx context.Context, jobID string, begun int) error
	Workers() int
}

// queueOf names the queue of an exchange. River takes lower-case letters, digits
// and single hyphens, which names of exchanges are made of.
func queueOf(exchange string) string { return "tidemark-" + exchange }

const (
	// ourQueues is the condition for rows of river_job in a queue of ours.
	ourQueues = `queue LIKE 'tidemark%'`
	// sharedQueue was the one queue of versions before exchanges had their own.
	sharedQueue = "tidemark"
	// beatEvery is how often a process that works says that it lives.
	beatEvery = 2 * time.Second
	// deadAfter is how long a process may be silent before its work is given to
	// others: what it still does then is done twice, and stored once.
	deadAfter = 10 * time.Second
	// tries is how often a plan or batch is tried that ends with an error.
	tries = 4
	// begins is how often one is begun at most, whether it ended with an error or
	// its process died under it. River counts before it calls, so that work which
	// kills its process is counted too. A batch takes seconds to minutes: one that
	// only happens to run when processes die does not get here, and one that kills
	// them has done so twenty times by then.
	begins = 20
	// riverBegins is after how many River would drop a piece: never before its
	// job has been ended.
	riverBegins = 1000
	// runLimit is how long one may take; then it is broken off and begun again.
	runLimit = time.Hour
)

// planArgs and batchArgs are what the queue keeps of a plan and of a batch.
type planArgs struct {
	Job     string      `json:"job" river:"unique"`
	Symbols []string    `json:"symbols,omitempty"`
	Filter  *job.Filter `json:"filter,omitempty"`
}

type batchArgs struct {
	Job   string         `json:"job" river:"unique"`
	Index int            `json:"index" river:"unique"`
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
	if kind == job.KindSweep {
		return sweepPriority
	}
	return analysisPriority
}

// queueSQL is how the statements about River's tables differ.
type queueSQL struct {
	now    string // the database's clock, in Unix milliseconds
	holder string // the process that took a row of river_job last
	since  string // how long ago the moment in column %s was, in milliseconds
}

// riverClient inserts work, and does it if it was configured to.
type riverClient = river.Client[*sql.Tx]

// enqueue inserts work into the queue of an exchange.
func (db *DB) enqueue(ctx context.Context, tx *sqlx.Tx, exchange string, priority int, work []river.JobArgs) error {
	opts := &river.InsertOpts{
		Queue: queueOf(exchange), Priority: priority, MaxAttempts: riverBegins,
		UniqueOpts: river.UniqueOpts{ByArgs: true},
	}
	for part := range slices.Chunk(work, rowsPerStatement) {
		params := make([]river.InsertManyParams, len(part))
		for i, args := range part {
			params[i] = river.InsertManyParams{Args: args, InsertOpts: opts}
		}
		if _, err := db.inserter.InsertManyFastTx(ctx, tx.Tx, params); err != nil {
			return err
		}
	}
	return nil
}

// dequeue deletes the work of a job that nobody has begun.
func (db *DB) dequeue(ctx context.Context, tx *sqlx.Tx, jobID string) error {
	const part = 1000
	for {
		deleted, err := db.inserter.JobDeleteManyTx(ctx, tx.Tx, river.NewJobDeleteManyParams().
			States(rivertype.JobStateAvailable, rivertype.JobStateRetryable, rivertype.JobStateScheduled).
			Where("args ->> 'job' = @job", river.NamedArgs{"job": jobID}).First(part))
		if err != nil || len(deleted.Jobs) < part {
			return err
		}
	}
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
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	s := QueueStats{Retries: db.retries.Load(), Rescued: db.rescued.Load()}
	var rows []struct {
		State string
		N     int
		Age   int64
	}
	err := db.read.SelectContext(limited, &rows, `SELECT state, COUNT(*) AS n, `+fmt.Sprintf(db.engine.queueSQL().since, `MIN(scheduled_at)`)+` AS age
		FROM river_job WHERE `+ourQueues+` AND state IN ('available', 'running', 'retryable', 'scheduled') GROUP BY state`)
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

// queue is what a process that works knows of its queues.
type queue struct {
	db      *DB
	workers map[string]Worker // by queue
	client  *riverClient

	mu   sync.Mutex
	held map[int64]bool // the rows of river_job that this process works on
	odd  []int64        // those it holds and does not work on, as of the last beat

	stop context.CancelFunc // of the beat
	beat sync.WaitGroup
}

// Work has each worker do the work of jobs of its exchange, of this and every
// other process, until StopWork or Close. It is called once.
func (db *DB) Work(ctx context.Context, byExchange map[string]Worker) error {
	q := &queue{db: db, workers: map[string]Worker{}, held: map[int64]bool{}}
	queues := map[string]river.QueueConfig{}
	for exchange, w := range byExchange {
		name := queueOf(exchange)
		q.workers[name], queues[name] = w, river.QueueConfig{MaxWorkers: w.Workers()}
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &planner{queue: q})
	river.AddWorker(workers, &batcher{queue: q})
	var err error
	q.client, err = river.NewClient(db.engine.queueDriver(), &river.Config{
		ID:                          q.db.id,
		Queues:                      queues,
		Workers:                     workers,
		FetchCooldown:               10 * time.Millisecond,
		JobTimeout:                  runLimit,
		RescueStuckJobsAfter:        runLimit + time.Hour,
		CompletedJobRetentionPeriod: 10 * time.Minute, // our own tables know what became of them
		DiscardedJobRetentionPeriod: 24 * time.Hour,
		Logger:                      db.queueLog(),
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

// farewell is how long StopWork takes for what is left at the end: long enough for
// a database that answers.
const farewell = 2 * time.Second

// StopWork takes no more work and waits for what is under way, which its Worker
// should have been told to end, and is broken off when ctx is done. It returns at
// most farewell after that: what a database that does not answer leaves undone is
// given back by others, as that of a process that died.
func (db *DB) StopWork(ctx context.Context) error {
	q := db.queue
	if q == nil {
		return nil
	}
	db.queue = nil
	err := q.client.Stop(ctx)
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err != nil {
		err = errors.Join(err, q.client.StopAndCancel(leaving))
	}
	q.stop()
	return errors.Join(err, within(leaving, func() error {
		q.beat.Wait()
		// what is still held, after an error, is free at once
		return db.fail(leaving, db.inTx(leaving, func(tx *sqlx.Tx) error {
			_, err := exec(leaving, tx, `DELETE FROM processes WHERE id = ?`, q.db.id)
			return err
		}))
	}))
}

// within returns what f does, or an error when ctx is done first: drivers
// wait for a server that does not answer for longer than a context allows.
func within(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("the database does not answer: %w", ctx.Err())
	}
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
		// A process of a version with one queue for all may still put work there.
		if _, err := exec(ctx, tx, `UPDATE river_job SET queue = ? || (SELECT exchange FROM jobs WHERE id = args ->> 'job')
			WHERE queue = ? AND state NOT IN ('completed', 'cancelled', 'discarded')
			AND EXISTS (SELECT 1 FROM jobs WHERE id = args ->> 'job')`, queueOf(""), sharedQueue); err != nil {
			return err
		}
		n, err := exec(ctx, tx, `UPDATE river_job SET state = 'available' WHERE state = 'running' AND `+ourQueues+`
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
	err = tx.SelectContext(ctx, &taken, tx.Rebind(`SELECT id FROM river_job WHERE state = 'running' AND `+ourQueues+`
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

// run runs one piece of work of a job and turns its error into what River does
// next.
func (q *queue) run(ctx context.Context, row *rivertype.JobRow, jobID string, f func(w Worker, last bool) error) error {
	q.mu.Lock()
	q.held[row.ID] = true
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		delete(q.held, row.ID)
		q.mu.Unlock()
	}()
	w := q.workers[row.Queue]
	if row.Attempt > begins {
		return w.GiveUp(ctx, jobID, begins)
	}
	err := f(w, len(row.Errors)+1 >= tries || row.Attempt >= begins)
	if errors.Is(err, service.ErrStopping) {
		return river.JobSnooze(0) // another process may have it at once
	}
	if later, ok := errors.AsType[*service.RetryAfterError](err); ok &&
		(errors.Is(err, service.ErrRateLimited) || errors.Is(err, service.ErrFull) || errors.Is(err, service.ErrGone)) {
		return river.JobSnooze(max(0, time.Until(later.Until)))
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
	return p.queue.run(ctx, j.JobRow, j.Args.Job, func(w Worker, last bool) error {
		return w.Plan(ctx, j.Args.Job, job.Scope{Symbols: j.Args.Symbols, Filter: j.Args.Filter}, last)
	})
}

type batcher struct {
	river.WorkerDefaults[batchArgs]
	queue *queue
}

func (b *batcher) NextRetry(j *river.Job[batchArgs]) time.Time { return nextRetry(len(j.Errors)) }

func (b *batcher) Work(ctx context.Context, j *river.Job[batchArgs]) error {
	return b.queue.run(ctx, j.JobRow, j.Args.Job, func(w Worker, last bool) error {
		return w.RunBatch(ctx, j.Args.Job, j.Args.Index, j.Args.Pairs, last)
	})
}

// queueLog is the log River writes to: warnings and errors only.
func (db *DB) queueLog() *slog.Logger { return slog.New(quietHandler{db.log.Handler()}) }

// quietHandler drops records below warnings.
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

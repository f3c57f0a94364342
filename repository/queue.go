package repository

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"tidemark/event/alert"
	"tidemark/job"
	"tidemark/service"
)

// The queue is River, which has its own tables in the same database. Work is inserted
// through River in the transaction that requires it: the plan with the job, the batches
// with the plan. The transaction that ends a job deletes the rest of its work. So an
// open job always has its work in the queue.
//
// Each exchange has its own queue, and a process works on the queues of the exchanges
// it serves. The arguments of the work hold everything else that affects the result.
//
// This package also uses River's tables directly, for three features that River lacks.
// River has no heartbeat: it rescues a job by its running time, so only after the
// longest possible one; pulse returns the work of processes silent for deadAfter. River
// cannot move jobs between queues: pulse moves those of versions with one queue for all
// exchanges. River does not count jobs by state: QueueStats does.

// Worker does the work of jobs. job.Runner implements it and documents the methods and
// their errors.
type Worker interface {
	Plan(ctx context.Context, jobID string, scope job.Scope, last bool) error
	RunBatch(ctx context.Context, jobID string, index int, pairs []service.Pair, last bool) error
	GiveUp(ctx context.Context, jobID string, begun int) error
	Workers() int
}

// queueOf returns the name of an exchange's queue. River accepts lower-case letters,
// digits and single hyphens, and names of exchanges contain nothing else.
func queueOf(exchange string) string { return "tidemark-" + exchange }

const (
	// ourQueues selects the rows of river_job in the queues of this package.
	ourQueues = `queue LIKE 'tidemark%'`
	// ofJobs selects those of jobs among them.
	ofJobs = `queue NOT LIKE 'tidemark-deliveries%'`
	// The queues of attempts to deliver messages: to receivers that accept them soon, and to
	// others. No exchange is named like them.
	quickDeliveries = "tidemark-deliveries"
	slowDeliveries  = "tidemark-deliveries-slow"
	// sharedQueue is the queue of older versions, shared by all exchanges.
	sharedQueue = "tidemark"
	// beatEvery is the period of the heartbeat of a process that runs jobs.
	beatEvery = 2 * time.Second
	// deadAfter is the silence after which other processes get the work of a
	// process. What it still does then is done twice, and stored once.
	deadAfter = 10 * time.Second
	// tries is how often a plan or batch is tried while it returns errors.
	tries = 4
	// maxStarts is how often one is started at most, including the starts in which
	// its process died. River counts a start before the call, so work that kills
	// its process is counted too. A batch takes seconds to minutes: one that only
	// happens to run when processes die does not reach the limit, and one that
	// kills them has then done so twenty times.
	maxStarts = 20
	// riverMaxAttempts is the number of starts after which River drops work. It is
	// out of reach, because maxStarts ends the job first.
	riverMaxAttempts = 1000
	// runLimit is the longest one may run; then it is cancelled and started again.
	runLimit = time.Hour
)

// planArgs and batchArgs are the arguments of a plan and of a batch in the queue.
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

// deliveryArgs are the arguments of the attempt of a delivery that follows a number of
// failures.
type deliveryArgs struct {
	Delivery int64 `json:"delivery"`
	Attempts int   `json:"attempts"`
}

func (planArgs) Kind() string     { return "plan" }
func (batchArgs) Kind() string    { return "batch" }
func (deliveryArgs) Kind() string { return "delivery" }

// River's priorities; 1 is the first. Short work goes before sweeps.
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

// queueSQL holds the expressions on River's tables that differ between the databases.
type queueSQL struct {
	now    string // the database's clock, in Unix milliseconds
	holder string // the last process that took a row of river_job
	since  string // the age of the time in column %s, in milliseconds
}

// riverClient inserts work, and runs it if it is configured with workers.
type riverClient = river.Client[*sql.Tx]

// enqueue inserts work into the queue of an exchange.
func (db *DB) enqueue(ctx context.Context, tx *sqlx.Tx, exchange string, priority int, work []river.JobArgs) error {
	opts := &river.InsertOpts{
		Queue: queueOf(exchange), Priority: priority, MaxAttempts: riverMaxAttempts,
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

// dequeue deletes the work of a job, except work that is running.
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

// QueueStats holds the state of the queue, and counters of this process since Open. A
// piece of work is a plan or a batch of a job.
type QueueStats struct {
	Waiting int // pieces ready to start
	Running int // in all processes
	Delayed int // pieces that start again later, after an error or a ban
	// Oldest is the longest time that a waiting piece has been ready.
	Oldest time.Duration
	// Retries counts the errors in this process after which a piece starts again.
	Retries int64
	// Rescued counts the pieces this process returned to the queue: those of
	// processes that died, and its own whose end could not be stored.
	Rescued int64
}

// QueueStats returns the state of the queue. Retries and Rescued are valid even with
// an error.
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
		FROM river_job WHERE `+ourQueues+` AND `+ofJobs+` AND state IN ('available', 'running', 'retryable', 'scheduled') GROUP BY state`)
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

// queue is the state of the queues in a process that runs jobs.
type queue struct {
	db      *DB
	workers map[string]Worker // by queue
	client  *riverClient
	deliver func(ctx context.Context, delivery int64, attempts int, l alert.Lane) error // set by StartDeliveries

	mu      sync.Mutex
	working map[int64]bool // the rows of river_job that this process works on
	// rows assigned to this process that it did not work on at the last heartbeat
	unaccounted []int64

	stop context.CancelFunc // of the heartbeat
	beat sync.WaitGroup
}

// Work runs the queued work of each exchange on its worker, whichever process queued
// it, until StopWork or Close. It is called once.
func (db *DB) Work(ctx context.Context, byExchange map[string]Worker) error {
	q := &queue{db: db, workers: map[string]Worker{}, working: map[int64]bool{}}
	queues := map[string]river.QueueConfig{}
	for exchange, w := range byExchange {
		name := queueOf(exchange)
		q.workers[name], queues[name] = w, river.QueueConfig{MaxWorkers: w.Workers()}
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &planner{queue: q})
	river.AddWorker(workers, &batcher{queue: q})
	river.AddWorker(workers, &deliverer{queue: q})
	var err error
	q.client, err = river.NewClient(db.engine.queueDriver(), &river.Config{
		ID:                          q.db.id,
		Queues:                      queues,
		Workers:                     workers,
		FetchCooldown:               10 * time.Millisecond,
		JobTimeout:                  runLimit,
		RescueStuckJobsAfter:        runLimit + time.Hour,
		CompletedJobRetentionPeriod: 10 * time.Minute, // the result is in our own tables
		DiscardedJobRetentionPeriod: 24 * time.Hour,
		Logger:                      db.queueLog(),
	})
	if err != nil {
		return fmt.Errorf("the queue: %w", err)
	}
	// first, so that other processes do not take this one for dead
	if err := q.pulse(ctx); err != nil {
		return db.fail(ctx, err)
	}
	if err := q.client.Start(context.WithoutCancel(ctx)); err != nil {
		return db.fail(ctx, err)
	}
	beating, stop := context.WithCancel(context.Background())
	q.stop = stop
	q.beat.Go(func() { q.keepBeating(beating) })
	db.setQueue(q)
	return nil
}

// setQueue sets the queue and returns the one before.
func (db *DB) setQueue(q *queue) *queue {
	db.mu.Lock()
	defer db.mu.Unlock()
	before := db.queue
	db.queue = q
	return before
}

func (db *DB) working() *queue {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return db.queue
}

// stopGrace bounds the last steps of StopWork. It is long enough for a database that
// answers.
const stopGrace = 2 * time.Second

// StopWork takes no more work and waits for running work. The caller stops the Workers
// first. When ctx is done, StopWork cancels what still runs and returns within
// stopGrace. If the database does not answer, other processes return the rest to the
// queue, as that of a process that died.
func (db *DB) StopWork(ctx context.Context) error {
	q := db.setQueue(nil)
	if q == nil {
		return nil
	}
	err := q.client.Stop(ctx)
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	if err != nil {
		err = errors.Join(err, q.client.StopAndCancel(leaving))
	}
	q.stop()
	return errors.Join(err, within(leaving, func() error {
		q.beat.Wait()
		// other processes can take work left after an error at once
		return db.fail(leaving, db.inTx(leaving, func(tx *sqlx.Tx) error {
			_, err := exec(leaving, tx, `DELETE FROM processes WHERE id = ?`, q.db.id)
			return err
		}))
	}))
}

// within returns the result of f, or an error if ctx is done first: drivers wait for
// an unresponsive server beyond the end of a context.
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

// keepBeating stores the heartbeat of this process until ctx ends.
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

// pulse stores a heartbeat of this process. It returns to the queue the work of dead
// processes, and work of this one whose end could not be stored while the database was
// unavailable. The latter must be found by two calls in a row, because the end of work
// is stored a moment after it.
func (q *queue) pulse(ctx context.Context) error {
	dialect := q.db.engine.queueSQL()
	ctx, cancel := context.WithTimeout(ctx, deadAfter)
	defer cancel()
	var died, lost int
	err := q.db.inTx(ctx, func(tx *sqlx.Tx) error {
		if _, err := exec(ctx, tx, `INSERT INTO processes (id, seen_at) VALUES (?, `+dialect.now+`)
			ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at`, q.db.id); err != nil {
			return err
		}
		if _, err := exec(ctx, tx, `DELETE FROM processes WHERE seen_at < `+dialect.now+` - ?`, deadAfter.Milliseconds()); err != nil {
			return err
		}
		// A process of an older version may still insert into the shared queue.
		if _, err := exec(ctx, tx, `UPDATE river_job SET queue = ? || (SELECT exchange FROM jobs WHERE id = args ->> 'job')
			WHERE queue = ? AND state NOT IN ('completed', 'cancelled', 'discarded')
			AND EXISTS (SELECT 1 FROM jobs WHERE id = args ->> 'job')`, queueOf(""), sharedQueue); err != nil {
			return err
		}
		var err error
		if died, err = exec(ctx, tx, `UPDATE river_job SET state = 'available' WHERE state = 'running' AND `+ourQueues+`
			AND `+dialect.holder+` NOT IN (SELECT id FROM processes)`); err != nil {
			return err
		}
		lost, err = q.giveBackLost(ctx, tx, dialect)
		return err
	})
	if err != nil {
		return err
	}
	if died > 0 {
		q.db.log.Warn("work of a process that died was given back to the queue", "pieces", died)
	}
	if lost > 0 {
		q.db.log.Warn("work whose end was not stored was given back to the queue", "pieces", lost)
	}
	q.db.rescued.Add(int64(died + lost))
	return nil
}

func (q *queue) giveBackLost(ctx context.Context, tx *sqlx.Tx, dialect queueSQL) (n int, err error) {
	var taken []int64
	err = tx.SelectContext(ctx, &taken, tx.Rebind(`SELECT id FROM river_job WHERE state = 'running' AND `+ourQueues+`
		AND `+dialect.holder+` = ?`), q.db.id)
	if err != nil {
		return 0, err
	}
	q.mu.Lock()
	unaccounted := slices.DeleteFunc(taken, func(id int64) bool { return q.working[id] })
	q.mu.Unlock()
	for _, id := range unaccounted {
		if !slices.Contains(q.unaccounted, id) {
			continue
		}
		if _, err := exec(ctx, tx, `UPDATE river_job SET state = 'available' WHERE id = ? AND state = 'running'`, id); err != nil {
			return 0, err
		}
		n++
	}
	q.unaccounted = unaccounted
	return n, nil
}

// account says that this process works on a row until end is called.
func (q *queue) account(row *rivertype.JobRow) (end func()) {
	q.mu.Lock()
	q.working[row.ID] = true
	q.mu.Unlock()
	return func() {
		q.mu.Lock()
		delete(q.working, row.ID)
		q.mu.Unlock()
	}
}

// run runs one piece of work of a job and converts its error into what River does
// next.
func (q *queue) run(ctx context.Context, row *rivertype.JobRow, jobID string, f func(w Worker, last bool) error) error {
	defer q.account(row)()
	w := q.workers[row.Queue]
	if row.Attempt > maxStarts {
		return w.GiveUp(ctx, jobID, maxStarts)
	}
	err := f(w, len(row.Errors)+1 >= tries || row.Attempt >= maxStarts)
	if errors.Is(err, service.ErrStopping) {
		return river.JobSnooze(0) // another process may take it at once
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

// nextRetry returns the time 1 s after the first error, 4 s after the second and 9 s
// after the third. River's scheduler adds up to 5 s.
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

// maxSlow is the most attempts of a process at once in the slow queue.
const maxSlow = 4

// StartDeliveries implements alert.Queue. Work has been called.
func (db *DB) StartDeliveries(f func(ctx context.Context, delivery int64, attempts int, l alert.Lane) error) error {
	q := db.working()
	if q == nil {
		return errors.New("this process runs no queued work")
	}
	q.mu.Lock()
	q.deliver = f
	q.mu.Unlock()
	for name, most := range map[string]int{quickDeliveries: alert.QuickPlaces, slowDeliveries: maxSlow} {
		err := q.client.Queues().Add(name, river.QueueConfig{MaxWorkers: most})
		if err != nil && !errors.As(err, new(*river.QueueAlreadyAddedError)) {
			return fmt.Errorf("the queue: %w", err)
		}
	}
	return nil
}

// StopDeliveries implements alert.Queue.
func (db *DB) StopDeliveries(ctx context.Context) error {
	q := db.working()
	if q == nil {
		return nil
	}
	var err error
	for _, name := range []string{quickDeliveries, slowDeliveries} {
		err = errors.Join(err, q.client.Queues().Remove(ctx, name))
	}
	return err
}

// deliverer makes attempts to deliver messages.
type deliverer struct {
	river.WorkerDefaults[deliveryArgs]
	queue *queue
}

// NextRetry is for attempts whose result could not be stored.
func (d *deliverer) NextRetry(j *river.Job[deliveryArgs]) time.Time {
	return nextRetry(min(len(j.Errors), 5))
}

func (d *deliverer) Work(ctx context.Context, j *river.Job[deliveryArgs]) error {
	q := d.queue
	defer q.account(j.JobRow)()
	q.mu.Lock()
	deliver := q.deliver
	q.mu.Unlock()
	lane := alert.Slow
	if j.Queue == quickDeliveries {
		lane = alert.Quick
	}
	err := deliver(ctx, j.Args.Delivery, j.Args.Attempts, lane)
	if errors.Is(err, service.ErrStopping) {
		return river.JobSnooze(0) // another process may make it at once
	}
	return err
}

// queueLog returns the logger for River, which keeps warnings and errors only.
func (db *DB) queueLog() *slog.Logger { return slog.New(queueHandler{db.log.Handler()}) }

// queueHandler drops records below warnings. It lowers those of River's maintenance by one
// level: what cleans the tables, and what chooses the process that does, tries again by
// itself, and no work of the queue waits for it.
type queueHandler struct{ slog.Handler }

func (h queueHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

func (h queueHandler) Handle(ctx context.Context, r slog.Record) error {
	// the beginning is the package and type in River (baseservice.Init)
	part, what, _ := strings.Cut(r.Message, ": ")
	if strings.HasPrefix(part, "maintenance.") || strings.HasPrefix(part, "leadership.") {
		lowered := slog.NewRecord(r.Time, r.Level-(slog.LevelError-slog.LevelWarn), "maintenance of the queue, tried again later: "+what, r.PC)
		lowered.AddAttrs(slog.String("part", part))
		r.Attrs(func(a slog.Attr) bool { lowered.AddAttrs(a); return true })
		if r = lowered; !h.Handler.Enabled(ctx, r.Level) {
			return nil
		}
	}
	return h.Handler.Handle(ctx, r)
}

func (h queueHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return queueHandler{h.Handler.WithAttrs(attrs)}
}

func (h queueHandler) WithGroup(name string) slog.Handler {
	return queueHandler{h.Handler.WithGroup(name)}
}

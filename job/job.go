// Package job turns requests for many pairs into work that survives the process: a job
// is planned once, worked on in batches, each stored in one transaction, and ended
// once. Schedules submit jobs by themselves. It knows no HTTP, no SQL and no exchange's
// wire format: those stand behind the ports in this file.
package job

import (
	"context"
	"iter"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// The kinds of a job.
const (
	KindSweep    = "sweep"    // every pair of the exchange that passes the filter
	KindAnalysis = "analysis" // named symbols, or the caller's own klines
)

// Job is the work one request asked for, and how far it is. Symbols is the sum
// of Done, Failed and Skipped once the job has completed.
type Job struct {
	ID         string
	Kind       string // "sweep" (a whole market) or "analysis" (named symbols, or klines)
	State      State
	Exchange   string
	Interval   levels.Interval
	KlineLimit int
	Store      bool
	Simulated  bool

	Symbols, Done, Failed, Skipped int
	Batches, BatchesDone           int
	Failures                       []Outcome // one for each failed symbol
	Skips                          []Outcome // one for each pair a filter removed, with which and why

	CreatedAt, StartedAt, FinishedAt time.Time // zero until it has
	Error                            *Outcome  // why a failed job failed; Symbol is empty
	// Result is the analysis of an asynchronous job that was asked not to store
	// it, or has no symbol to store it under.
	Result *service.Snapshot
}

// State is where a job stands.
type State string

// The states of a job. The last three are final.
const (
	Queued    State = "queued"
	Running   State = "running"
	Completed State = "completed" // every symbol has an outcome
	Failed    State = "failed"
	Cancelled State = "cancelled"
)

// Final reports whether a job in this state will not change any more.
func (s State) Final() bool { return s == Completed || s == Failed || s == Cancelled }

// Took returns how long a job that has ended took, from its start if it had one.
func (j *Job) Took() time.Duration {
	if j.StartedAt.IsZero() {
		return j.FinishedAt.Sub(j.CreatedAt)
	}
	return j.FinishedAt.Sub(j.StartedAt)
}

// Scope says which pairs a job covers: those named or, with none named, those of
// the market that pass the filter. It travels with the job, so that the job is the
// same whichever process plans it.
type Scope struct {
	Symbols []string
	// Filter is nil if Symbols are named. In jobs of old versions, which did not
	// carry it, nil means the filter of the process.
	Filter *Filter
}

// Plan is what a job turned out to consist of.
type Plan struct {
	Pairs     []service.Pair
	BatchSize int       // pairs in a batch; the last may have fewer
	Skips     []Outcome // one for each pair a filter removed
	Simulated bool
}

// Batch is the unit of durability: what one batch of a job leaves behind, stored in
// one transaction.
type Batch struct {
	JobID string
	Index int // of the batch in its job, from 0
	service.Results
	Done      int // symbols analysed, whether or not they are to be stored
	Failures  []Outcome
	Simulated bool              // the market turned out to be simulated
	Result    *service.Snapshot // of a job that is asked not to store its analysis
}

// Outcome is why a symbol was not analysed.
type Outcome struct {
	Symbol string
	Code   string // machine-readable: too_few_candles, quote_volume, ...
	Detail string // one sentence
}

// PairState says how the stored series of a pair are marked. They may differ: one may
// have been stored after the others were marked.
type PairState struct{ Listed, Delisted bool }

// Exchange is what a job needs of a venue. Its errors are those of service.Exchange.
type Exchange interface {
	Market() service.Market
	// Symbols streams the pairs the venue lists, all of them, with their 24 h
	// quote volume, in an order that is the same from call to call while the
	// list is. Both are at most a minute old and shared by all callers within it.
	// An error ends the sequence.
	Symbols(ctx context.Context) iter.Seq2[service.Symbol, error]
	// LastSymbols returns what Symbols streams, and when it was read. If it cannot
	// be read now, that is what was read last, however old.
	LastSymbols(ctx context.Context) (iter.Seq2[service.Symbol, error], time.Time, error)
	// Now is service.Exchange's.
	Now(ctx context.Context) (time.Time, error)
}

// Store keeps jobs, and the queue that hands out their work. Its errors wrap
// service.ErrStorage or service.ErrUnknownJob, or are the context's. It keeps nothing
// it is handed.
type Store interface {
	// SubmitJob creates j, queued, and in the same transaction asks the queue of
	// its exchange for its Runner.Plan with this scope. While a job of the same
	// work is open, in any process, it returns that one instead: joined. When
	// limit jobs are open it is service.ErrBusy.
	SubmitJob(ctx context.Context, j Job, work string, scope Scope, limit int) (job Job, joined bool, err error)
	// PlanJob makes a queued job a running one, as of started, stores what it
	// consists of and asks the queue of its exchange for a Runner.RunBatch of each
	// batch, in one transaction. A job planned before is left alone. One without
	// pairs is completed: ended.
	PlanJob(ctx context.Context, id string, started time.Time, p Plan) (ended bool, err error)
	// BatchProgress returns a job without its details, and whether one of its
	// batches is stored.
	BatchProgress(ctx context.Context, id string, index int) (j Job, stored bool, err error)
	// Put is service.Store's.
	Put(ctx context.Context, r service.Results) error
	// PutBatch is service.Store's Put for a batch, and notes its failures and the
	// progress of the job (Done, Failed, BatchesDone) in the same transaction. A
	// batch that is stored already is left alone and no error, so that a batch may
	// be run twice. The last batch of a running job completes it: ended.
	PutBatch(ctx context.Context, b Batch) (ended bool, err error)
	// EndJob ends an open job as failed, with the reason, or as cancelled; ended
	// is false if it had ended before.
	EndJob(ctx context.Context, id string, state State, reason *Outcome) (ended bool, err error)
	// PutJob creates a job that has ended.
	PutJob(ctx context.Context, j Job) error
	// Job returns a job with its failures and skips.
	Job(ctx context.Context, id string) (Job, error)
	// Progress returns a job without its details: failures, skips and result.
	Progress(ctx context.Context, id string) (Job, error)
	// Writable is service.Store's.
	Writable() error

	// Listed returns the pairs of an exchange that something is stored about.
	Listed(ctx context.Context, exchange string) (map[string]PairState, error)
	// SetListed notes that an exchange no longer lists the pairs in gone, or not as
	// trading, and that it lists those in back again. Open promises of the former
	// are skipped in their scorecards. Putting an analysis lists its series, too.
	SetListed(ctx context.Context, exchange string, gone, back []string, now time.Time) error
}

// Package job runs the analyses of many pairs as jobs that survive the process. A job
// is planned once, runs in batches, each stored in one transaction, and ends once.
// Schedules submit jobs. The package does not know HTTP, SQL or the wire format of an
// exchange; adapters implement the interfaces in this file.
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
	KindAnalysis = "analysis" // named symbols, or the caller's klines
)

// Job is the work of one request, and its progress. Symbols is the sum of Done, Failed
// and Skipped once the job has completed.
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
	Skips                          []Outcome // one for each pair that the filter rejected

	CreatedAt, StartedAt, FinishedAt time.Time // zero until then
	Error                            *Outcome  // why the job failed; Symbol is empty
	// Result is the analysis of a job that does not store it, because of the request
	// or because it has no symbol.
	Result *service.Snapshot
}

// State is the state of a job.
type State string

// The states of a job. The last three are final.
const (
	Queued    State = "queued"
	Running   State = "running"
	Completed State = "completed" // every symbol has an outcome
	Failed    State = "failed"
	Cancelled State = "cancelled"
)

// Final reports whether a job in this state no longer changes.
func (s State) Final() bool { return s == Completed || s == Failed || s == Cancelled }

// Took returns the duration of a job that has ended, from its start if it had one.
func (j *Job) Took() time.Duration {
	if j.StartedAt.IsZero() {
		return j.FinishedAt.Sub(j.CreatedAt)
	}
	return j.FinishedAt.Sub(j.StartedAt)
}

// Scope is the set of pairs a job covers: the named symbols or, without any, the pairs
// of the market that pass the filter. It is stored with the job, so that every process
// plans the same pairs.
type Scope struct {
	Symbols []string
	// Filter is nil if Symbols is not empty. Jobs of old versions have no filter; for
	// them nil means the filter of the process.
	Filter *Filter
}

// Plan is the list of pairs that a job analyses.
type Plan struct {
	Pairs     []service.Pair
	BatchSize int       // pairs in a batch; the last may have fewer
	Skips     []Outcome // one for each pair that the filter rejected
	Simulated bool
}

// Batch is the unit of durability: the results of one batch of a job, stored in one
// transaction.
type Batch struct {
	JobID string
	Index int // of the batch in its job, from 0
	service.Results
	Done      int // symbols analysed, stored or not
	Failures  []Outcome
	Simulated bool              // the market is simulated
	Result    *service.Snapshot // of a job that does not store its analysis
}

// Outcome is why a symbol was not analysed.
type Outcome struct {
	Symbol string
	Code   string // machine-readable: too_few_candles, quote_volume, ...
	Detail string // one sentence
}

// PairState holds the marks of the stored series of a pair. Both may be set, if one
// series was stored after the others were marked as delisted.
type PairState struct{ Listed, Delisted bool }

// Exchange is the part of a venue that jobs need. Its errors are those of
// service.Exchange.
type Exchange interface {
	Market() service.Market
	// Symbols streams all pairs the venue lists, with their 24 h quote volume. The
	// order is the same in every call while the list does not change. Lists and
	// volumes are at most a minute old and shared by all callers. An error ends the
	// sequence.
	Symbols(ctx context.Context) iter.Seq2[service.Symbol, error]
	// LastSymbols returns the stream of Symbols and the time at which it was read. If
	// it cannot be read now, LastSymbols returns the last one that was read, of any
	// age.
	LastSymbols(ctx context.Context) (iter.Seq2[service.Symbol, error], time.Time, error)
	// Now is service.Exchange.Now.
	Now(ctx context.Context) (time.Time, error)
}

// Store stores jobs and the queue of their work. Its errors wrap service.ErrStorage or
// service.ErrUnknownJob, or are the context's. It does not retain its arguments.
type Store interface {
	// SubmitJob creates the queued job j and, in the same transaction, queues
	// Runner.Plan with this scope for its exchange. If a job of the same work is
	// open in any process, SubmitJob returns that job, and joined is true. It
	// returns service.ErrBusy if limit jobs of the exchange are open.
	SubmitJob(ctx context.Context, j Job, work string, scope Scope, limit int) (job Job, joined bool, err error)
	// PlanJob sets a queued job to running since started, stores its plan and queues
	// a Runner.RunBatch for each batch, in one transaction. It does not change a job
	// that has been planned. A job without pairs completes; ended is then true.
	PlanJob(ctx context.Context, id string, started time.Time, p Plan) (ended bool, err error)
	// BatchProgress returns a job without its details, and whether the batch with
	// this index is stored.
	BatchProgress(ctx context.Context, id string, index int) (j Job, stored bool, err error)
	// WithCandles returns the pairs among symbols that have stored candles.
	WithCandles(ctx context.Context, exchange string, interval levels.Interval, symbols []string) (map[string]bool, error)
	// Put is service.Store.Put.
	Put(ctx context.Context, r service.Results) error
	// PutBatch stores the results of a batch as Put does, and in the same transaction
	// its failures and the progress of the job (Done, Failed, BatchesDone). It does
	// nothing if the batch is stored already, so a batch may run twice. The last
	// batch of a running job completes it; ended is then true.
	PutBatch(ctx context.Context, b Batch) (ended bool, err error)
	// EndJob ends an open job as failed, with the reason, or as cancelled. ended is
	// false if the job had ended before.
	EndJob(ctx context.Context, id string, state State, reason *Outcome) (ended bool, err error)
	// PutJob creates a job that has already ended.
	PutJob(ctx context.Context, j Job) error
	// Job returns a job with its failures and skips.
	Job(ctx context.Context, id string) (Job, error)
	// Progress returns a job without its details: failures, skips and result.
	Progress(ctx context.Context, id string) (Job, error)
	// Writable is service.Store.Writable.
	Writable() error

	// ActivePairs returns the ids of the pairs of an exchange that are stored as listed
	// and trading.
	ActivePairs(ctx context.Context, exchange string) (map[string]bool, error)
	// PutPairs stores pairs of an exchange as its list shows them, and marks those in
	// gone as delisted.
	PutPairs(ctx context.Context, exchange string, listed []service.Symbol, gone []string, now time.Time) error

	// Listed returns the pairs of an exchange that have stored data.
	Listed(ctx context.Context, exchange string) (map[string]PairState, error)
	// SetListed marks the pairs in gone as delisted (no longer listed, or not as
	// trading) and those in back as listed again. It skips the open promises of
	// delisted pairs in their scorecards. Put also marks a series as listed.
	SetListed(ctx context.Context, exchange string, gone, back []string, now time.Time) error
}

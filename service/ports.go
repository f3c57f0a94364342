package service

import (
	"context"
	"iter"
	"time"

	"tidemark/levels"
)

// Symbol is one pair as the exchange lists it.
type Symbol struct {
	Name        string // the venue's id: BTCUSDT
	Base, Quote string
	Trading     bool // open for spot trading now
	Status      string
	Tick        Tick
	QuoteVolume float64 // traded in the last 24 h, in the quote asset
}

// Tick is the price step of a pair: Units × 10^-Decimals. Binance's "0.00050000"
// is {5, 4}. The zero Tick means unknown and rounds nothing.
type Tick struct {
	Units    int64
	Decimals int
}

// Market describes where the data of an Exchange comes from.
type Market struct {
	Exchange string // the venue's name in our API: "binance"
	// Simulated is true when the exchange is configured as simulated, and from
	// the first response that says it is, whatever the configuration.
	Simulated bool
}

// Exchange is a venue: one client, one weight budget, shared by all callers.
//
// Errors wrap ErrUnknownSymbol, ErrRateLimited, ErrBanned (in a RetryAfterError)
// or ErrExchange, or are the context's. A call waits out a rate limit of some
// minutes when the context's deadline allows it. Where it does not, and for a
// longer one, it returns a RetryAfterError at once.
type Exchange interface {
	Market() Market
	// Symbols streams the pairs the venue lists, all of them, with their 24 h
	// quote volume, in an order that is the same from call to call while the
	// list is. Both are at most a minute old, and shared by all who ask within it.
	// An error ends the sequence.
	Symbols(ctx context.Context) iter.Seq2[Symbol, error]
	// LastSymbols returns what Symbols streams, and when it was read. Where it
	// cannot be read now, that is what was read last, however old.
	LastSymbols(ctx context.Context) (iter.Seq2[Symbol, error], time.Time, error)
	// Symbol returns one pair, without QuoteVolume.
	Symbol(ctx context.Context, name string) (Symbol, error)
	// Candles appends to dst, which carries the interval, the closed candles
	// that opened at or after from (Unix ms), oldest first, through the last one
	// closed by the venue's clock. A young or halted pair yields few or none.
	// buf is scratch memory the caller lends for decoding.
	Candles(ctx context.Context, symbol string, from int64, dst *levels.Candles, buf []byte) error
	// Forming returns the candle of a pair that is open now; nil if there is
	// none, as for a halted pair.
	Forming(ctx context.Context, symbol string, interval levels.Interval) (*Forming, error)
	// Now is a time the venue's clock has certainly reached. Once one is known it
	// waits for no rate limit to end.
	Now(ctx context.Context) (time.Time, error)
}

// Forming is a candle that is not closed: all of it but its opening may still
// change, and no analysis sees it.
type Forming struct {
	levels.Candle
	At time.Time // by the venue's clock; the candle is as it was then, or later
}

// Key names a series of candles, and so what is stored about it.
type Key struct {
	Exchange string
	Symbol   string
	Interval levels.Interval
}

// Snapshot is one analysis with where it came from: what is stored and served.
// Prices are rounded to the pair's tick.
type Snapshot struct {
	Key
	AsOf, ComputedAt      time.Time // UTC
	LastPrice, ATR        float64
	Klines, Missing       int
	Simulated             bool
	Algorithm             string
	Decimals              int // of the tick, for printing prices
	Supports, Resistances []levels.Level
	// DelistedAt is since when the exchange no longer lists the pair, or not as
	// trading; zero while it does. It is known of stored analyses only.
	DelistedAt time.Time
}

// StoredMarket is an exchange and interval there are analyses of.
type StoredMarket struct {
	Exchange string
	Interval levels.Interval
	Pairs    int
	AsOf     time.Time // of the newest analysis
}

// PairState tells what the series stored of a pair are taken for. They may differ,
// where one was stored after the others were marked.
type PairState struct{ Listed, Delisted bool }

// Level returns the level with an id, or nil.
func (s *Snapshot) Level(id uint64) *levels.Level {
	for _, side := range [...][]levels.Level{s.Supports, s.Resistances} {
		for i := range side {
			if side[i].ID == id {
				return &side[i]
			}
		}
	}
	return nil
}

// Kept says what is known about the candles that Store.Candles has read.
type Kept struct {
	// From is where knowledge begins (Unix ms): the venue has no candle that
	// opened since and is not there.
	From      int64
	Simulated bool
}

// KeptBlock is a block of candles that is to be kept.
type KeptBlock struct {
	Span   int64  // first open time the block is for, Unix ms, inclusive
	From   int64  // the venue has no other candles from here to the last of the block
	Packed []byte // by levels.Candles.Pack
}

// CandleChange is what an analysis changes about the candles kept of a series.
type CandleChange struct {
	Key
	Simulated bool
	// Keep is the first span that stays: blocks before it have fallen out of the
	// last KlineLimit candles. math.MaxInt64 if none is of use any more.
	Keep   int64
	Blocks []KeptBlock // in the place of those of their span
}

// Batch is the unit of durability: what one batch of a job, or analyses of no
// job (JobID empty), leave behind. It is stored in one transaction.
type Batch struct {
	JobID     string
	Index     int // of the batch in its job, from 0
	Done      int // symbols analysed, whether or not they are to be stored
	Snapshots []Snapshot
	Candles   []CandleChange // of a series each
	Judged    []Judgement    // of a series each, whose promise it ends
	Failures  []Outcome
	Simulated bool      // the market turned out to be simulated
	Result    *Snapshot // of a job that is asked not to store its analysis
}

// Pair is what a batch knows of a symbol.
type Pair struct {
	Name string
	Tick Tick // zero: to be asked of the exchange, with the symbol itself
}

// Scope says which pairs a job covers: those named or, with none named, those of
// the market that pass the filter. It travels with the job, so that the job is the
// same whichever process plans it.
type Scope struct {
	Symbols []string
	// Filter is nil where Symbols are named, and in jobs of versions that did not
	// carry it, which the filter of the process is for.
	Filter *Filter
}

// Plan is what a job turned out to consist of.
type Plan struct {
	Pairs     []Pair
	BatchSize int       // pairs in a batch; the last may have fewer
	Skips     []Outcome // one for each pair a filter removed
	Simulated bool
}

// Outcome is why a symbol was not analysed.
type Outcome struct {
	Symbol string
	Code   string // machine-readable: too_few_candles, quote_volume, ...
	Detail string // one sentence
}

// ScheduledRun is what became of a run that was due.
type ScheduledRun struct {
	Job       Job
	Joined    bool // Job was open already; none was created
	Elsewhere bool // another process has begun the run; Job is zero
}

// JobState is where a job stands.
type JobState string

// The states of a job. The last three are final.
const (
	JobQueued    JobState = "queued"
	JobRunning   JobState = "running"
	JobCompleted JobState = "completed" // every symbol has an outcome
	JobFailed    JobState = "failed"
	JobCancelled JobState = "cancelled"
)

// Final reports whether a job in this state will not change any more.
func (s JobState) Final() bool { return s == JobCompleted || s == JobFailed || s == JobCancelled }

// Job is the work one request asked for, and how far it is. Symbols is the sum
// of Done, Failed and Skipped once the job has completed.
type Job struct {
	ID         string
	Kind       string // "sweep" (a whole market) or "analysis" (named symbols, or klines)
	State      JobState
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
	Result *Snapshot
}

// Store keeps analyses and jobs, and the queue that hands the work of jobs out.
// Its errors wrap ErrStorage, ErrNotAnalyzed or ErrUnknownJob, or are the
// context's. It keeps nothing it is handed.
type Store interface {
	// Put stores a batch in one transaction: every snapshot with its history
	// trimmed, every change of the candles kept, every failure, and the progress of
	// the job (Done, Failed, BatchesDone). A batch of a job that is stored already is
	// left alone and no error, so that a batch may be run twice. The last batch of a
	// running job completes it, which ended tells. A snapshot older than the newest
	// one stored for its key joins the history and does not replace it.
	//
	// Every promise judged is deleted and what became of it added to its scorecard,
	// unless it is gone already: so it counts once, however many processes have
	// judged it. Then each snapshot that is the newest of a series without a promise
	// becomes one, where PromiseOf says that it can.
	Put(ctx context.Context, b Batch) (ended bool, err error)
	// Snapshot returns the newest analysis with AsOf not after at; a zero at
	// means the newest of all. ErrNotAnalyzed when there is none, which is
	// ErrUnreadable when it cannot be read.
	Snapshot(ctx context.Context, key Key, at time.Time) (Snapshot, error)
	// Latest streams the newest analysis of every pair of an exchange and
	// interval that is not delisted, by symbol. The slices of a Snapshot are valid until the next. One
	// that cannot be read comes as its Key with ErrUnreadable, and the others
	// follow; any other error ends the sequence.
	Latest(ctx context.Context, exchange string, interval levels.Interval) iter.Seq2[Snapshot, error]

	// Markets returns what there are analyses of, but for delisted pairs, by
	// exchange, and of each the shortest interval first.
	Markets(ctx context.Context) ([]StoredMarket, error)
	// Listed returns the pairs of an exchange there is something stored about.
	Listed(ctx context.Context, exchange string) (map[string]PairState, error)
	// SetListed notes that an exchange no longer lists the pairs in gone, or not as
	// trading, and that it lists those in back again. Open promises of the former
	// are skipped in their scorecards. Putting an analysis lists its series, too.
	SetListed(ctx context.Context, exchange string, gone, back []string, now time.Time) error

	// Candles fills dst, which is empty and carries the interval of key, with the
	// candles kept that opened at or after from (Unix ms), oldest first: never
	// fetched, and with no other holes than the venue's. At times it begins
	// earlier. What cannot be read is ErrStorage, and dst may have some of it
	// then; ErrNotAnalyzed when there are none. buf is scratch memory the caller
	// lends.
	Candles(ctx context.Context, key Key, from int64, dst *levels.Candles, buf []byte) (Kept, error)

	// DuePromise returns the promise of a series if it was made at or before by.
	DuePromise(ctx context.Context, key Key, by time.Time) (p Promise, due bool, err error)
	// Scorecards returns those of an exchange, the shortest interval first, and
	// what it still waits for, in the same order.
	Scorecards(ctx context.Context, exchange string) ([]Scorecard, []OpenPromises, error)

	// SubmitJob creates j, queued, and in the same transaction asks the queue of
	// its exchange for its Analyzer.Plan with this scope. While a job of the same
	// work is open, in whichever process, it returns that one instead: joined. When
	// limit jobs are open it is ErrBusy.
	SubmitJob(ctx context.Context, j Job, work string, scope Scope, limit int) (job Job, joined bool, err error)
	// SetSchedules makes these the schedules of an exchange, and tells how many of
	// other intervals it removed. One that is there with the same text stays as it
	// is; under another text it becomes the new one, unless it is due by now: then
	// that run is still made. None removes all, but only from a process that works
	// alone: one that was started without them must not stop the others'.
	SetSchedules(ctx context.Context, exchange string, schedules []ScheduleState, now time.Time) (removed int, err error)
	// Schedules returns the schedules of an exchange, the shortest interval first.
	Schedules(ctx context.Context, exchange string) ([]ScheduleState, error)
	// RunSchedule puts off a schedule that is due to its next run, and submits j as
	// SubmitJob does, in one transaction. If the schedule is not as due has it any
	// more, another process has done so, and this one does nothing.
	RunSchedule(ctx context.Context, due ScheduleState, next time.Time, j Job, work string, scope Scope, limit int) (ScheduledRun, error)
	// StartJob notes that a queued job runs, and returns it without its details.
	StartJob(ctx context.Context, id string) (Job, error)
	// PlanJob stores what a running job consists of and in the same transaction
	// asks the queue of its exchange for an Analyzer.RunBatch of each batch. A job planned before
	// is left alone. One without pairs is completed, which ended tells.
	PlanJob(ctx context.Context, id string, p Plan) (ended bool, err error)
	// BatchStored tells whether a batch is.
	BatchStored(ctx context.Context, id string, index int) (bool, error)
	// EndJob ends an open job as failed, with the reason, or as cancelled; ended
	// is false if it had ended before.
	EndJob(ctx context.Context, id string, state JobState, reason *Outcome) (ended bool, err error)
	// PutJob creates a job that has ended.
	PutJob(ctx context.Context, j Job) error
	// Job returns a job with its failures and skips; ErrUnknownJob.
	Job(ctx context.Context, id string) (Job, error)
	// Progress returns a job without its details: failures, skips and result.
	Progress(ctx context.Context, id string) (Job, error)
	// Jobs returns the newest limit jobs, newest first, without their details.
	Jobs(ctx context.Context, limit int) ([]Job, error)
	// Writable tells why nothing can be stored at present, ErrFull or ErrGone, as
	// far as is known; nil if nothing is in the way. It asks nobody.
	Writable() error
	// Ping tells whether the database answers, and is what Writable says.
	Ping(ctx context.Context) error
}

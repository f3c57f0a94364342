package service

import (
	"context"
	"iter"
	"time"

	"tidemark/levels"
)

// Config is what an Analyzer is told once.
type Config struct {
	Concurrency int             // slots: pairs analysed at once, each with its workspace
	BatchSize   int             // pairs stored in one transaction
	KlineLimit  int             // candles per pair, unless a request says otherwise
	QueueLimit  int             // requests that may wait for a slot; one more is ErrBusy
	Interval    levels.Interval // unless a request says otherwise
	Filter      Filter          // which pairs a sweep covers
}

// Bounds of a request's kline limit.
const (
	MinKlineLimit = 100
	MaxKlineLimit = 10_000
)

// Filter decides which pairs a sweep covers. Pairs of other quote assets and
// pairs not trading are outside the market swept; the other rules skip a pair
// of that market, and the job says which and why.
type Filter struct {
	QuoteAssets     []string // upper case; empty means every quote asset
	MinQuoteVolume  float64  // 24 h, in the quote asset
	KeepLeveraged   bool     // UP, DOWN, BULL, BEAR tokens
	KeepStablePairs bool     // a stable coin or fiat against another
}

// Listing is a pair of the exchange and whether a sweep covers it.
type Listing struct {
	Symbol
	Selected bool
	Reason   Outcome // why not; zero if selected
}

// Request asks for the analysis of one pair. Zero values mean the configured
// ones.
type Request struct {
	Symbol     string
	Interval   levels.Interval
	KlineLimit int
	Store      bool
}

// JobRequest asks for a job: All pairs that pass the filter, or those named.
type JobRequest struct {
	All        bool
	Symbols    []string // order kept, repeats dropped
	Interval   levels.Interval
	KlineLimit int
	Store      bool
}

// Analyzer runs analyses on a fixed number of slots. A slot is a workspace:
// the candle columns, scratch and decode buffer its holder needs. There are
// exactly Config.Concurrency of them, so memory is a configured number.
type Analyzer struct{}

// Analyze analyses one pair now. Identical requests under way are joined.
func (a *Analyzer) Analyze(ctx context.Context, r Request) (Snapshot, error) { panic("construction") }

// AnalyzeCandles analyses the caller's own candles: it takes a slot, lets fill
// reset and fill the slot's columns, and returns the analysis, whose Key has
// neither exchange nor symbol and which is never stored. A last candle that
// is not closed yet is ErrInvalid. Errors of fill are returned as they are.
func (a *Analyzer) AnalyzeCandles(ctx context.Context, fill func(dst *levels.Candles) error) (Snapshot, error) {
	panic("construction")
}

// SubmitCandles does the same as a job that is complete when it returns and
// carries the analysis as its Result.
func (a *Analyzer) SubmitCandles(ctx context.Context, fill func(dst *levels.Candles) error) (Job, error) {
	panic("construction")
}

// Submit starts a job and returns at once. The same work already queued or
// running is joined: the job returned is that one.
func (a *Analyzer) Submit(ctx context.Context, r JobRequest) (Job, error) { panic("construction") }

// Job returns a job as it stands.
func (a *Analyzer) Job(ctx context.Context, id string) (Job, error) { panic("construction") }

// Jobs returns the newest limit jobs, newest first, without failures and skips.
func (a *Analyzer) Jobs(ctx context.Context, limit int) ([]Job, error) { panic("construction") }

// Cancel asks a job to stop and returns it as it stands; pairs under way
// finish first. ErrJobFinished if it has ended.
func (a *Analyzer) Cancel(ctx context.Context, id string) (Job, error) { panic("construction") }

// Watch yields the job as it stands and again whenever it changed, at most
// once in every interval, until it has ended, which is the last one yielded.
func (a *Analyzer) Watch(ctx context.Context, id string, every time.Duration) iter.Seq2[Job, error] {
	panic("construction")
}

// Symbols streams the pairs of the exchange and whether a sweep covers them.
func (a *Analyzer) Symbols(ctx context.Context) iter.Seq2[Listing, error] { panic("construction") }

// Candles fetches the last limit closed candles of a pair and lends them to fn,
// whose slot they are in: fn must not keep them.
func (a *Analyzer) Candles(ctx context.Context, symbol string, interval levels.Interval, limit int, fn func(c *levels.Candles) error) error {
	panic("construction")
}

// Market tells where the data comes from.
func (a *Analyzer) Market() Market { panic("construction") }

// Defaults returns the interval and kline limit of a request that names none.
func (a *Analyzer) Defaults() (levels.Interval, int) { panic("construction") }

// Package service analyses pairs: it fetches their candles, bounds how many
// analyses run at once, and stores the results. It does not know HTTP, SQL or the
// wire format of an exchange; adapters implement the interfaces in ports.go.
package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tidemark/levels"
)

// The errors of the service. Adapters wrap them; api.status maps them to HTTP.
// levels.ErrTooFewCandles belongs to this list too. levels.ErrBadCandle does not:
// the caller of Append wraps it in an error that names the source of the candle,
// as an exchange client does with ErrExchange.
var (
	// ErrInvalid: the request is not valid; the text says why.
	ErrInvalid = errors.New("invalid request")
	// ErrNotAnalyzed: no analysis is stored for this pair, interval and moment.
	ErrNotAnalyzed = errors.New("not analyzed")
	// ErrUnreadable: the stored analysis cannot be read. A new analysis replaces it.
	ErrUnreadable = fmt.Errorf("%w: the stored analysis cannot be read", ErrNotAnalyzed)
	// ErrUnknownLevel: the stored analysis has no level with this id.
	ErrUnknownLevel = errors.New("unknown level")
	// ErrNotExplainable: the candles of a stored analysis are no longer kept, or
	// another version made the analysis.
	ErrNotExplainable = errors.New("not explainable")
	// ErrNotKept: the candles of a stored analysis are no longer kept.
	ErrNotKept = errors.New("candles not kept")
	// ErrDamaged: stored candles cannot be read. The next analysis fetches them again.
	ErrDamaged = errors.New("kept candles cannot be read")
	// ErrUnknownSymbol: the exchange does not list the pair, or not as tradable.
	ErrUnknownSymbol = errors.New("unknown symbol")
	// ErrAmbiguousSymbol: several pairs have the name. An AmbiguousError around it holds
	// them.
	ErrAmbiguousSymbol = errors.New("ambiguous symbol")
	// ErrUnknownExchange: this process does not serve the exchange.
	ErrUnknownExchange = errors.New("unknown exchange")
	// ErrUnknownJob: no job has this id, or it has been pruned.
	ErrUnknownJob = errors.New("unknown job")
	// ErrJobFinished: a job that has ended cannot be cancelled.
	ErrJobFinished = errors.New("job has finished")
	// ErrBusy: the queue for slots is full.
	ErrBusy = errors.New("busy")
	// ErrStopping: the process is shutting down and accepts no new work.
	ErrStopping = errors.New("stopping")
	// ErrCancelled: the job has ended, usually by request.
	ErrCancelled = errors.New("cancelled")
	// ErrRateLimited: the exchange asked for a pause that is longer than the caller
	// can wait. A RetryAfterError around it holds the end of the pause.
	ErrRateLimited = errors.New("rate limited by the exchange")
	// ErrBanned: the exchange banned this IP address (HTTP 418 on Binance). It is
	// also ErrRateLimited. A job waits for a short ban to end and fails on a long one.
	ErrBanned = fmt.Errorf("banned: %w", ErrRateLimited)
	// ErrLater: the exchange is to be asked again by Visit.Wait. It ends no request.
	ErrLater = errors.New("the exchange must be asked again later")
	// ErrExchange: the exchange sent an invalid response, or failed after all retries.
	ErrExchange = errors.New("exchange unavailable")
	// ErrStorage: the database returned an error or cannot be reached.
	ErrStorage = errors.New("storage unavailable")
	// ErrFull: the disk of the database is full. Reads still work.
	ErrFull = fmt.Errorf("%w: the disk is full", ErrStorage)
	// ErrGone: the file of the database was deleted or replaced under the process.
	ErrGone = fmt.Errorf("%w: the file is gone", ErrStorage)
)

// Unwritable reports whether err means that nothing can be stored for some time.
func Unwritable(err error) bool { return errors.Is(err, ErrFull) || errors.Is(err, ErrGone) }

// RetryAfterError carries the earliest time at which the same call may succeed.
type RetryAfterError struct {
	Err   error     // ErrRateLimited, ErrBanned, ErrBusy, ...
	Until time.Time // not before
}

func (e *RetryAfterError) Error() string {
	return fmt.Sprintf("%v until %s", e.Err, e.Until.UTC().Format(time.RFC3339))
}

func (e *RetryAfterError) Unwrap() error { return e.Err }

// Code returns the name of an error in the API: the "code" of a problem document
// and of a failure line. It returns "internal" for errors that are not listed.
func Code(err error) string {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return "internal"
}

var codes = []struct {
	err  error
	code string
}{
	{ErrInvalid, "invalid_request"},
	{levels.ErrUnknownInterval, "invalid_request"},
	{ErrNotAnalyzed, "not_analyzed"},
	{ErrUnknownLevel, "unknown_level"},
	{ErrNotExplainable, "not_explainable"},
	{ErrNotKept, "candles_not_kept"},
	{ErrUnknownSymbol, "unknown_symbol"},
	{ErrAmbiguousSymbol, "ambiguous_symbol"},
	{ErrUnknownExchange, "unknown_exchange"},
	{ErrUnknownJob, "unknown_job"},
	{ErrJobFinished, "job_finished"},
	{levels.ErrTooFewCandles, "too_few_candles"},
	{ErrBusy, "busy"},
	{ErrStopping, "stopping"},
	{ErrCancelled, "cancelled"},
	{ErrBanned, "banned"},
	{ErrRateLimited, "rate_limited"},
	{ErrExchange, "exchange_unavailable"},
	{ErrStorage, "storage_unavailable"},
	{context.DeadlineExceeded, "timeout"},
}

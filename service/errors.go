// Package service decides which symbols are analysed, how many at once and what
// becomes of each. It knows no HTTP, no SQL and no exchange's wire format: those
// stand behind the ports in ports.go.
package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tidemark/levels"
)

// The errors of the service. Adapters wrap them; api.status maps them to HTTP.
// levels.ErrTooFewCandles belongs to this list too. levels.ErrBadCandle does not: it
// says what is wrong with a candle, and the caller of Append says whose candle it
// was, as an exchange client does with ErrExchange.
var (
	// ErrInvalid: the request asks for what cannot be; the text says what.
	ErrInvalid = errors.New("invalid request")
	// ErrNotAnalyzed: nothing is stored for this pair, interval and moment.
	ErrNotAnalyzed = errors.New("not analyzed")
	// ErrUnreadable: what is stored for it cannot be read, until it is analysed again.
	ErrUnreadable = fmt.Errorf("%w: what is stored cannot be read", ErrNotAnalyzed)
	// ErrUnknownLevel: the stored analysis has no level with this id.
	ErrUnknownLevel = errors.New("unknown level")
	// ErrNotExplainable: the candles a stored analysis was made from are not kept
	// any more, or another version made it.
	ErrNotExplainable = errors.New("not explainable")
	// ErrNotKept: the candles a stored analysis was made from are not kept any more.
	ErrNotKept = errors.New("candles not kept")
	// ErrUnknownSymbol: the exchange does not list the pair, or not as tradable.
	ErrUnknownSymbol = errors.New("unknown symbol")
	// ErrUnknownExchange: this process does not talk to the exchange named.
	ErrUnknownExchange = errors.New("unknown exchange")
	// ErrUnknownJob: no job has this id, or it has been pruned.
	ErrUnknownJob = errors.New("unknown job")
	// ErrJobFinished: a job that has ended cannot be cancelled.
	ErrJobFinished = errors.New("job has finished")
	// ErrBusy: the queue for slots is full.
	ErrBusy = errors.New("busy")
	// ErrStopping: the process is shutting down and takes no new work.
	ErrStopping = errors.New("stopping")
	// ErrCancelled: the job has been ended, mostly by request.
	ErrCancelled = errors.New("cancelled")
	// ErrRateLimited: the exchange asked to be left alone for longer than the
	// caller can wait. A RetryAfterError around it says until when.
	ErrRateLimited = errors.New("rate limited by the exchange")
	// ErrBanned: the exchange banned this address (HTTP 418 on Binance). It is
	// also ErrRateLimited. A job waits for its end, or fails if that is far away.
	ErrBanned = fmt.Errorf("banned: %w", ErrRateLimited)
	// ErrExchange: the exchange answered nonsense, or failed after all retries.
	ErrExchange = errors.New("exchange unavailable")
	// ErrStorage: the database refused or cannot be reached.
	ErrStorage = errors.New("storage unavailable")
	// ErrFull: the disk of the database is full. What is read is still answered.
	ErrFull = fmt.Errorf("%w: the disk is full", ErrStorage)
	// ErrGone: the file of the database was deleted or replaced under the process.
	ErrGone = fmt.Errorf("%w: the file is gone", ErrStorage)
)

// Unwritable reports whether err means that nothing can be stored for a while.
func Unwritable(err error) bool { return errors.Is(err, ErrFull) || errors.Is(err, ErrGone) }

// RetryAfterError says when the same call may succeed.
type RetryAfterError struct {
	Err   error     // ErrRateLimited, ErrBanned, ErrBusy, ...
	Until time.Time // not before
}

func (e *RetryAfterError) Error() string {
	return fmt.Sprintf("%v until %s", e.Err, e.Until.UTC().Format(time.RFC3339))
}

func (e *RetryAfterError) Unwrap() error { return e.Err }

// Code is the name the client reads for an error: the "code" of a problem
// document and of a failure line. Errors that are not ours are "internal".
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

package service

import (
	"context"
	"time"

	"tidemark/levels"
	"tidemark/scorecard"
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
	// last KlineLimit candles. math.MaxInt64 if none is of use any more, 0 if there
	// are none.
	Keep   int64
	Blocks []KeptBlock // in the place of those of their span
}

// Pair is a symbol that is to be analysed.
type Pair struct {
	Name string
	Tick Tick // zero: to be asked of the exchange, with the symbol itself
}

// Judged is what became of the promise of a series.
type Judged struct {
	Key
	scorecard.Judgement
}

// Results are what analyses leave behind. They are stored in one transaction.
type Results struct {
	Snapshots []Snapshot
	Candles   []CandleChange // one for each series
	Judged    []Judged       // one for each series, whose promise it ends
}

// Store keeps what analyses leave behind. Its errors wrap ErrStorage or
// ErrNotAnalyzed, or are the context's. It keeps nothing it is handed.
type Store interface {
	// Put stores results in one transaction: every snapshot with its history
	// trimmed, and every change of the candles kept. A snapshot older than the
	// newest one stored for its key joins the history and does not replace it.
	//
	// Every judged promise is deleted and its outcome added to its scorecard,
	// unless it has been deleted already: so it counts once, however many
	// processes have judged it. Then each snapshot that is the newest of a series
	// without a promise becomes one, if Snapshot.Promise allows it.
	Put(ctx context.Context, r Results) error
	// Candles fills dst, which is empty and carries the interval of key, with the
	// candles kept that opened at or after from (Unix ms), oldest first: never
	// fetched, and with no other holes than the venue's. It may begin earlier.
	// What cannot be read is ErrStorage, and dst may have some of it then;
	// ErrNotAnalyzed when no candles are kept. buf is scratch memory the caller
	// lends.
	Candles(ctx context.Context, key Key, from int64, dst *levels.Candles, buf []byte) (Kept, error)
	// DuePromise returns the promise of a series if it was made at or before by.
	DuePromise(ctx context.Context, key Key, by time.Time) (p scorecard.Promise, due bool, err error)
	// Writable returns why nothing can be stored at present, ErrFull or ErrGone,
	// as far as is known; nil if nothing is in the way. It does no I/O.
	Writable() error
}

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
	Canonical   string // BASE/QUOTE or BASE/QUOTE:SETTLE; empty: Base/Quote
	Base, Quote string // the market's usual names: BTC, not XBT
	Settle      string // the asset in which a contract is settled; empty for spot
	Kind        string // of contract: KindSpot or KindSwap; empty: KindSpot
	Trading     bool   // open for trading now
	Status      string
	Tick        Tick
	Digits      int     // significant digits of a price, where the venue has no tick; 0 elsewhere
	QuoteVolume float64 // traded in the last 24 h, in the quote asset
	Flags       Flags
}

// The kinds of contract.
const (
	KindSpot = "spot"
	KindSwap = "swap"
)

// Flags mark pairs that a sweep leaves out, as far as the venue says so.
type Flags uint8

// The flags of a pair.
const (
	Leveraged  Flags = 1 << iota // a token with leverage
	Stock                        // a tokenised share
	Prelisting                   // a contract on an asset that has no market yet
)

// PairName returns the canonical name: BASE/QUOTE or BASE/QUOTE:SETTLE.
func (s *Symbol) PairName() string {
	if s.Canonical != "" {
		return s.Canonical
	}
	return s.Base + "/" + s.Quote
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
	// Simulated is true if the configuration says that the exchange is simulated,
	// or once a response has said so.
	Simulated bool
}

// Exchange is a venue: one client, one weight budget, shared by all callers.
//
// Errors wrap ErrUnknownSymbol, ErrRateLimited, ErrBanned (in a RetryAfterError)
// or ErrExchange, or are the context's. A call waits for a rate limit of a few
// minutes to end if the context's deadline allows it; otherwise it returns a
// RetryAfterError at once.
type Exchange interface {
	Market() Market
	// Symbol returns one pair, without QuoteVolume.
	Symbol(ctx context.Context, name string) (Symbol, error)
	// Candles appends to dst the closed candles that opened at or after from
	// (Unix ms), oldest first, through the last one closed by the venue's clock.
	// dst carries the interval. A young or halted pair has few candles or none.
	// buf is scratch memory for decoding; the caller owns it.
	Candles(ctx context.Context, symbol string, from int64, dst *levels.Candles, buf []byte) error
	// Forming returns the open candle of a pair, or nil if the pair has none, for
	// example because it is halted.
	Forming(ctx context.Context, symbol string, interval levels.Interval) (*Forming, error)
	// Now returns a lower bound of the venue's clock. It does not wait for a rate
	// limit once it knows a bound.
	Now(ctx context.Context) (time.Time, error)
}

// Forming is a candle that is not closed. Only its opening is final. Analyses do
// not use it.
type Forming struct {
	levels.Candle
	At time.Time // by the venue's clock; the candle is at least as new
}

// Key identifies a series of candles and the data stored for it.
type Key struct {
	Exchange string
	Symbol   string
	Interval levels.Interval
}

// Snapshot is one analysis and its origin, as it is stored and served. Prices are
// rounded to the pair's tick.
type Snapshot struct {
	Key
	AsOf, ComputedAt      time.Time // UTC
	LastPrice, ATR        float64
	Klines, Missing       int
	Simulated             bool
	Algorithm             string
	Decimals              int // of the tick, for printing prices
	Supports, Resistances []levels.Level
	// DelistedAt is when the exchange stopped listing the pair as trading; zero
	// while it lists it. Only stored analyses have it.
	DelistedAt time.Time
	// Name is the canonical name of the pair; empty if it is not known.
	Name string
}

// StoredMarket is an exchange and interval with stored analyses.
type StoredMarket struct {
	Exchange string
	Interval levels.Interval
	Pairs    int
	AsOf     time.Time // of the newest analysis
}

// Level returns the level with the given id, or nil.
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

// Kept describes the candles that Store.Candles has read.
type Kept struct {
	// From is the time (Unix ms) from which the candles are complete: the venue
	// has no other candle between it and the last one.
	From      int64
	Simulated bool
}

// KeptBlock is a block of candles to store.
type KeptBlock struct {
	Span   int64  // first open time of the block's span, Unix ms, inclusive
	From   int64  // the venue has no other candles from here to the last of the block
	Packed []byte // by levels.Candles.Pack
}

// CandleChange is a change of the stored candles of a series.
type CandleChange struct {
	Key
	Simulated bool
	// Keep is the first span that stays. Earlier blocks are older than the last
	// KlineLimit candles. math.MaxInt64 drops all stored blocks; 0 means that there
	// are none.
	Keep   int64
	Blocks []KeptBlock // replace the stored blocks of the same spans
}

// Pair is a symbol to analyse.
type Pair struct {
	Name string
	Tick Tick // zero: the analysis asks the exchange for the symbol
}

// Judged is the judgement of the promise of a series.
type Judged struct {
	Key
	scorecard.Judgement
}

// Results are the results of analyses, stored in one transaction.
type Results struct {
	Snapshots []Snapshot
	Candles   []CandleChange // at most one for each series
	Judged    []Judged       // at most one for each series; it ends the promise
}

// Store stores the results of analyses. Its errors wrap ErrStorage or
// ErrNotAnalyzed, or are the context's. It does not retain its arguments.
type Store interface {
	// Put stores results in one transaction: every snapshot, with its history
	// trimmed, and every change of the stored candles. A snapshot older than the
	// newest one stored for its key joins the history and does not replace it.
	//
	// Put deletes every judged promise and adds its outcome to the scorecard. If
	// the promise has been deleted already, its outcome is dropped, so that it
	// counts once even if several processes judge it. Then each snapshot that is
	// the newest of a series without a promise becomes the promise, if
	// Snapshot.Promise allows it.
	Put(ctx context.Context, r Results) error
	// Candles fills dst, which is empty and carries the interval of key, with the
	// stored candles that opened at or after from (Unix ms), oldest first. It
	// never fetches. The only gaps are the venue's. dst may begin before from.
	// It returns ErrNotAnalyzed if no candles are stored, and ErrStorage if they
	// cannot be read; dst may then be filled in part. buf is scratch memory; the
	// caller owns it.
	Candles(ctx context.Context, key Key, from int64, dst *levels.Candles, buf []byte) (Kept, error)
	// DuePromise returns the promise of a series if it was made at or before by.
	DuePromise(ctx context.Context, key Key, by time.Time) (p scorecard.Promise, due bool, err error)
	// FindPairs returns the known pairs with one of the spellings, of one exchange or,
	// if it is empty, of all.
	FindPairs(ctx context.Context, exchange string, s Spelling) ([]KnownPair, error)
	// HasPairs reports whether the pairs of an exchange are known: whether a sweep has
	// been planned.
	HasPairs(ctx context.Context, exchange string) (bool, error)
	// Writable returns ErrFull or ErrGone if, as far as is known, nothing can be
	// stored at present, and nil otherwise. It does no I/O.
	Writable() error
}

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
	Base, Quote string // as most venues name them: BTC, not XBT
	Settle      string // what a contract is settled in; empty for a spot pair
	Expiry      string // of a dated future, as YYMMDD
	Unusual     Unusual
	Trading     bool // open for trading now
	Status      string
	Tick        Tick
	Digits      int     // significant digits of a price, where the step depends on it and Tick is the finest; 0 elsewhere
	QuoteVolume float64 // traded in the last 24 h, in the quote asset
}

// Unusual is why most sweeps leave a pair out.
type Unusual string

// The reasons that a venue's own list gives.
const (
	Leveraged  Unusual = "leveraged"   // a leveraged token
	Stock      Unusual = "stock"       // a tokenised stock or another asset of a traditional market
	PreListing Unusual = "pre_listing" // traded before its asset is listed
	Dated      Unusual = "dated"       // a future that expires
)

// Canonical returns the name that all venues share: BASE/QUOTE for a spot pair,
// BASE/QUOTE:SETTLE for a perpetual, and BASE/QUOTE:SETTLE-YYMMDD for a dated future.
func (s Symbol) Canonical() string {
	name := s.Base + "/" + s.Quote
	if s.Settle != "" {
		name += ":" + s.Settle
	}
	if s.Expiry != "" {
		name += "-" + s.Expiry
	}
	return name
}

// Kind returns "spot", "swap" or "future".
func (s Symbol) Kind() string {
	switch {
	case s.Expiry != "":
		return "future"
	case s.Settle != "":
		return "swap"
	}
	return "spot"
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
	// LateVolume is true if the volume of a candle may still change after its close, and
	// with it what a late trade changes.
	LateVolume bool
	// Settles is the time after the close of a candle until which it is not used.
	Settles time.Duration
	// Sums is true if its candles of a longer interval are known to be those of a shorter one
	// put together, to the last digit.
	Sums bool
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
	// History returns how many of the newest candles of an interval the exchange has; 0
	// for all.
	History(interval levels.Interval) int
	// Visit begins the requests for the candles of one pair: about klines of them. The
	// caller closes it.
	Visit(symbol string, interval levels.Interval, klines int) Visit
	// Forming returns the open candle of a pair, or nil if the pair has none, for
	// example because it is halted.
	Forming(ctx context.Context, symbol string, interval levels.Interval) (*Forming, error)
	// Now returns a lower bound of the venue's clock. It does not wait for a rate
	// limit once it knows a bound.
	Now(ctx context.Context) (time.Time, error)
}

// Visit is the work on one pair at an exchange. All long waits are in Wait, so that a
// caller takes its slot after it: an exchange that pauses or does not answer holds no
// memory and delays no other exchange.
type Visit interface {
	// Wait waits until the requests may be sent: the exchange answers, demands no pause,
	// and its budgets have room for them.
	Wait(ctx context.Context) error
	// Candles appends to dst the closed candles that opened at or after from (Unix ms),
	// oldest first, through the last one closed by the venue's clock. dst carries the
	// interval. A young or halted pair has few candles or none. buf is scratch memory for
	// decoding; the caller owns it. If Candles would have to wait, it returns ErrLater:
	// the caller releases its slot, and calls Wait and Candles again.
	Candles(ctx context.Context, symbol string, from int64, dst *levels.Candles, buf []byte) error
	// Close gives back what Wait has reserved and Candles has not used.
	Close()
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
	// Price is the last price at PriceAt, which is not before AsOf; both are zero unless
	// Reprice has set them. They are not stored.
	Price   float64
	PriceAt time.Time
	passed  [2]int // levels at the start of Supports and of Resistances, see Passed
}

// StoredMarket is an exchange and interval with stored analyses.
type StoredMarket struct {
	Exchange string
	Interval levels.Interval
	Pairs    int
	AsOf     time.Time // of the newest analysis
}

// Level returns the level with the given id, or nil. It also accepts the id that the
// level had before ids knew their series.
func (s *Snapshot) Level(id uint64) *levels.Level {
	if l := s.find(id); l != nil {
		return l
	}
	return s.find(s.LevelID(id))
}

func (s *Snapshot) find(id uint64) *levels.Level {
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
	Name   string
	Tick   Tick // zero, without Digits: the analysis asks the exchange for the symbol
	Digits int  `json:",omitempty"` // significant digits of a price; see Symbol
	// New is set if no candles of the pair are stored: the analysis does not look for
	// them. If another analysis stores some meanwhile, this one replaces them.
	New bool `json:"-"`
	// Whole is set if stored candles of the pair are known to be wrong: the whole window
	// is fetched, and replaces them.
	Whole bool `json:"-"`
	// Corrected is the open time of the first stored candle that the exchange has corrected,
	// Unix ms: it and later ones are fetched again. 0: none is known to be.
	Corrected int64 `json:"-"`
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
	Watches   []Watch        // at most one for each series
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
	//
	// Put stores the state of each watch, unless a newer one is stored, and those of its
	// events whose ID is not stored yet; of these it adds what became of touched levels to
	// the record.
	Put(ctx context.Context, r Results) error
	// Candles fills dst, which is empty and carries the interval of key, with the
	// stored candles that opened at or after from (Unix ms), oldest first. It
	// never fetches. The only gaps are the venue's. dst may begin before from.
	// It returns ErrNotAnalyzed if no candles are stored, and ErrStorage if they
	// cannot be read; dst may then be filled in part. buf is scratch memory; the
	// caller owns it.
	Candles(ctx context.Context, key Key, from int64, dst *levels.Candles, buf []byte) (Kept, error)
	// Watched returns the newest analysis of a series and the state of its levels, which is
	// nil if none is stored. It returns ErrNotAnalyzed if there is no analysis.
	Watched(ctx context.Context, key Key) (s Snapshot, state []byte, err error)
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

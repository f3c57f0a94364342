package exchange

import (
	"net/http"
	"strconv"
	"time"

	"tidemark/levels"
)

// Venue is what differs between exchanges. It builds requests and decodes bodies; it
// sends nothing and keeps no state. A Venue is one market: spot and perpetuals of one
// exchange are two, because their ids repeat.
type Venue interface {
	// Spec returns the facts of the market. It is the same in every call.
	Spec() *Spec
	// Listing returns the request number i for the list of pairs: 0 is for the pairs, 1,
	// if Spec.Listings is 2, for their 24 h volumes, and Spec.Prices for their last prices.
	// cursor is empty for the first page and then what DecodeListing has set.
	Listing(i int, cursor string) Call
	// DecodeListing reads the response to Listing.
	DecodeListing(i int, s *Scanner, dst *Listing) error
	// Klines returns the request for the candles of w. Its Weight, Endpoint and MaxBody
	// may be left out.
	Klines(symbol string, n Native, w Window) Call
	// DecodeKlines reads the response to Klines and yields its rows in the order of the
	// venue, the forming one included. It returns the first error of yield.
	DecodeKlines(s *Scanner, n Native, yield func(levels.Candle) error) error
	// DecodeClock reads the response to Spec.Clock, Unix ms; 0 if the body has no time
	// and the Date header must do.
	DecodeClock(s *Scanner) (int64, error)
	// Refuse returns the error for a response other than 200: a *Refusal, a *Pause, a
	// *Final, or nil for one that the venue does not send itself, such as a proxy's page.
	// body is the start of the body. The decoders return the same errors for a refusal
	// in a 200.
	Refuse(status int, h http.Header, body []byte) error
	// Usage yields what the headers of a response say about the budgets.
	Usage(h http.Header, yield func(Usage))
}

// Spec holds the facts of a market.
type Spec struct {
	Name string // in our API: "okx-swap"
	// Group is the name of the markets that share the budgets and the bans of an
	// address. They have equal Budgets.
	Group   string
	Label   string // for people: "OKX"
	BaseURL string
	Quotes  []string // the assets most pairs are quoted in, which a sweep covers
	// Intervals are the venue's own candles, whose days open at 00:00 UTC and whose weeks
	// on Mondays. The others are merged from them.
	Intervals map[levels.Interval]Native
	Reach     Reach
	History   int // number of the newest candles there are; 0: all
	// LateVolume is set if the volume of a candle may change after its close.
	LateVolume bool
	// Settles is the time after the close of a candle until which it may be missing from
	// the venue's responses; it counts as closed only then.
	Settles time.Duration
	// Sums is set if recorded candles of a longer interval are those of a shorter one put
	// together, to the last digit; see service.Market.
	Sums     bool
	Budgets  []Budget // at most MaxBudgets
	Heaviest Cost     // of a request
	Clock    Call     // a cheap request that shows the venue's time
	Listings int      // 1 or 2, see Venue.Listing
	Prices   int      // the request of Venue.Listing with the last price of every pair: 1, or 2 for one of its own
}

// Native is a candle length of a venue.
type Native struct {
	Name string // on the wire
	Rows int    // most rows of a response
	// Recent is set if candles before the newest Recent ones come from another endpoint,
	// of which Older is the most rows of a response. See Window.Old.
	Recent, Older int
	// Sure, if not 0, is the number of rows that an older response has for certain: if a
	// longer range brings exactly so many of its newest, it is requested in such parts.
	Sure int
}

// Reach says how candles of the past are requested.
type Reach uint8

// The reaches.
const (
	// Bounded: both ends of a range are given, and the response has all its candles.
	Bounded Reach = iota
	// Oldest is Bounded, but of a longer range the response has the oldest candles, so
	// that an empty page is the end.
	Oldest
	// Until is Bounded, but of the range only the end and the number of rows may count, so
	// that a gap brings older candles.
	Until
	// Since: the response has all candles from a time on, as far as there are any.
	Since
	// Newest: the response has the given number of newest candles.
	Newest
)

// Window is the range of candles of one request.
type Window struct {
	From, Through int64 // open times, Unix ms, both inclusive; they need not be aligned
	Rows          int   // most rows, the forming one included
	Old           bool  // From is before the newest Native.Recent candles
	Now           int64 // a lower bound of the venue's clock, Unix ms
	Step          int64 // length of a candle, ms
}

// Call is one request.
type Call struct {
	Endpoint string // its name in metrics, logs and errors
	Path     string // without a slash at the front
	Query    string // encoded
	Body     string // JSON; if not empty the request is a POST
	Cost     Cost
	MaxBody  int64 // bytes, after decompression; a longer body is an error
	// Compress requests gzip, for long, repetitive and rare responses. Pages are not
	// compressed, see NewTransport.
	Compress bool

	attempts int // instead of those of the Caller; 0 for those
}

// Refusal is an error in the venue's own words.
type Refusal struct {
	Venue string // Spec.Label
	Code  string
	Msg   string
	// Err is service.ErrUnknownSymbol, levels.ErrUnknownInterval, service.ErrRateLimited
	// or service.ErrExchange.
	Err error
}

func (e *Refusal) Error() string {
	switch {
	case e.Code == "":
		return e.Venue + " error: " + clip(e.Msg)
	case e.Msg == "":
		return e.Venue + " error " + e.Code
	}
	return e.Venue + " error " + e.Code + ": " + clip(e.Msg)
}

// Unwrap returns the error of package service or levels.
func (e *Refusal) Unwrap() error { return e.Err }

// clip quotes a text of the venue and shortens it.
func clip(text string) string {
	if len(text) > 200 {
		text = text[:200]
	}
	return strconv.Quote(text)
}

// The bounds of a time that a venue shows, Unix ms.
const (
	earliestStamp = 1_483_228_800_000 // 2017
	latestStamp   = 253_402_300_799_999
)

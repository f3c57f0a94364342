package wire

import "time"

// SymbolList is the pairs of an exchange. Symbols is []Symbol, unless they are encoded or
// decoded one at a time.
type SymbolList[Symbols any] struct {
	Exchange  string  `json:"exchange"`
	Symbols   Symbols `json:"symbols"`
	Count     int     `json:"count"`
	Simulated bool    `json:"simulated"`
}

// Symbol is a pair as the exchange lists it.
type Symbol struct {
	Symbol      string   `json:"symbol"`
	Exchange    string   `json:"exchange"`
	Name        string   `json:"name"` // canonical: BASE/QUOTE or BASE/QUOTE:SETTLE
	Base        string   `json:"base"`
	Quote       string   `json:"quote"`
	Trading     bool     `json:"trading"`
	Status      string   `json:"status"`       // the exchange's word for that
	TickSize    *float64 `json:"tick_size"`    // nil if unknown
	QuoteVolume float64  `json:"quote_volume"` // of the last 24 hours, in the quote asset
	Selected    bool     `json:"selected"`     // a sweep covers it
	Reason      *Reason  `json:"reason"`       // why not; nil if it does
}

// ExchangeList is the exchanges the process talks to, and others the database has levels of.
type ExchangeList struct {
	Exchanges []Exchange `json:"exchanges"`
}

// Exchange is an exchange and what there is of it.
type Exchange struct {
	Exchange  string           `json:"exchange"`
	Served    bool             `json:"served"` // this process talks to it
	Pairs     *int             `json:"pairs"`  // listed and trading; nil before the first sweep is planned
	Status    *ExchangeStatus  `json:"status"` // nil if it is not served
	Intervals []StoredInterval `json:"intervals"`
}

// ExchangeStatus is how requests to an exchange fare.
type ExchangeStatus struct {
	Simulated   bool        `json:"simulated"` // its prices are invented, or replayed
	Replay      *string     `json:"replay"`    // first and last day of what it replays, 2021-04-04/2023-12-30; nil without
	Budgets     []Budget    `json:"budgets"`
	PausedUntil *time.Time  `json:"paused_until"`  // no request is sent before; nil while requests are sent
	PauseReason *string     `json:"pause_reason"`  // rate_limited, banned; nil while requests are sent
	ClockSkewMS *int64      `json:"clock_skew_ms"` // this machine's clock less the exchange's; nil if unknown
	LastSuccess *time.Time  `json:"last_success"`  // of a request; nil before the first
	Reachable   *bool       `json:"reachable"`     // the last request was answered; nil before the first
	Live        *LivePairs  `json:"live"`          // nil if this process keeps no pair of it live
	Prices      *PricesRead `json:"prices"`        // nil if this process reads no prices between closes
}

// PricesRead is the state of the last prices of the pairs of an exchange.
type PricesRead struct {
	Pairs        int        `json:"pairs"`         // with a price
	ReadAt       *time.Time `json:"read_at"`       // nil before the first time
	EverySeconds float64    `json:"every_seconds"` // from one reading to the next
	Current      bool       `json:"current"`       // replies use them
}

// LivePairs is the state of the live pairs of an exchange.
type LivePairs struct {
	Series        int        `json:"series"`        // pairs times intervals that this process keeps live
	Polled        int        `json:"polled"`        // of these are not pushed: the exchange is asked after each close
	Merged        int        `json:"merged"`        // are put together from candles of a shorter interval
	Unkept        int        `json:"unkept"`        // series that no process keeps live, because limits do not allow it
	Waiting       int        `json:"waiting"`       // series with a candle to analyse
	Connections   int        `json:"connections"`   // to the exchange's feed; 0: candles are asked for at their close
	Subscriptions int        `json:"subscriptions"` // on them
	Frames        int64      `json:"frames"`        // messages received
	Reconnects    Reconnects `json:"reconnects"`
	LastFrame     *time.Time `json:"last_frame"`        // nil before the first
	Audits        int64      `json:"audits"`            // series whose last candles were compared with the exchange
	Differences   int64      `json:"audit_differences"` // candles of these that differed; their pairs were fetched again
}

// Reconnects counts by their reason how often a connection to a feed was opened again.
type Reconnects struct {
	Planned int64 `json:"planned"` // before the exchange closes it
	Closed  int64 `json:"closed"`  // it was closed
	Silent  int64 `json:"silent"`  // nothing came for too long
	Failed  int64 `json:"failed"`  // it could not be opened
}

// Budget is a limit of requests to an exchange, as it counts them.
type Budget struct {
	Name      string  `json:"name"`       // weight, requests
	Used      int     `json:"used"`       // in the current period, by all behind this address
	Limit     int     `json:"limit"`      // of a period
	UsedShare float64 `json:"used_share"` // Used of Limit, three decimals
	Share     float64 `json:"share"`      // of Limit that the process uses at most
}

// StoredInterval is an interval there are levels of.
type StoredInterval struct {
	Interval string    `json:"interval"`
	Pairs    int       `json:"pairs"`
	AsOf     time.Time `json:"as_of"` // of the newest analysis
}

// Kline is a row of open time (Unix milliseconds), open, high, low, close and volume.
type Kline [6]float64

// KlineList is closed candles of a pair. Klines is []Kline, unless they are encoded or
// decoded one at a time.
type KlineList[Klines any] struct {
	Symbol        string  `json:"symbol"`
	Name          *string `json:"name"` // canonical; nil if it is not known
	Exchange      string  `json:"exchange"`
	Interval      string  `json:"interval"`
	Simulated     bool    `json:"simulated"`
	MissingKlines int     `json:"missing_klines"` // holes between the first and the last
	Klines        Klines  `json:"klines"`
}

// FormingKline is the candle that is not closed, as it is now.
type FormingKline struct {
	Symbol    string     `json:"symbol"`
	Name      *string    `json:"name"` // canonical; nil if it is not known
	Exchange  string     `json:"exchange"`
	Interval  string     `json:"interval"`
	Simulated bool       `json:"simulated"`
	At        *time.Time `json:"at"`        // by the exchange's clock; nil if none is open
	ClosesAt  *time.Time `json:"closes_at"` // nil if none is open
	Kline     *Kline     `json:"kline"`     // nil if none is open
}

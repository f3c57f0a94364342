package wire

import "time"

// Analysis is what the closed candles of a pair say, as of the close of the last one.
type Analysis struct {
	Symbol         *string    `json:"symbol"`   // nil for klines of one's own
	Name           *string    `json:"name"`     // canonical: BASE/QUOTE or BASE/QUOTE:SETTLE; nil if it is not known
	Exchange       *string    `json:"exchange"` // nil for klines of one's own, unless the request named one
	Interval       string     `json:"interval"`
	AsOf           time.Time  `json:"as_of"` // close time of the last closed candle
	ComputedAt     time.Time  `json:"computed_at"`
	LastPrice      float64    `json:"last_price"` // close of that candle
	Price          *float64   `json:"price"`      // the last one, from which distances and roles are; nil: they are from LastPrice
	PriceAt        *time.Time `json:"price_at"`   // when the exchange had it, not before AsOf; nil with Price
	ATR            float64    `json:"atr"`        // price units, six significant digits
	Klines         int        `json:"klines"`
	MissingKlines  int        `json:"missing_klines"`
	Stale          bool       `json:"stale"`        // the next candle has closed and its analysis is overdue
	StaleReason    *string    `json:"stale_reason"` // nil while it is fresh
	DelistedAt     *time.Time `json:"delisted_at"`  // nil while the exchange lists it
	Simulated      bool       `json:"simulated"`    // the prices are invented
	Algorithm      string     `json:"algorithm"`
	HorizonCandles int        `json:"horizon_candles"` // how far odds look ahead
	OddsReason     *string    `json:"odds_reason"`     // why odds are nil; nil when they are not
	MinEdge        float64    `json:"min_edge"`        // edge, in points, from which levels are shown unasked
	Supports       []Level    `json:"supports"`        // from the nearest downwards
	Resistances    []Level    `json:"resistances"`     // from the nearest upwards
	// Why there are no supports, or no resistances; nil if there are.
	SupportsReason    *string `json:"supports_reason"`
	ResistancesReason *string `json:"resistances_reason"`
}

// Level is a price at which a market may turn, and the zone around it.
type Level struct {
	ID    string  `json:"id"` // 16 hexadecimal digits; stays the same while the level does
	Price float64 `json:"price"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	// Edge is how much more often than any line at its distance the level is expected to
	// hold once touched, in points (hundredths of a probability), two decimals.
	Edge     float64 `json:"edge"`
	Faint    bool    `json:"faint"`    // its edge is too small to be shown unasked
	Strength float64 `json:"strength"` // 0 to 1, three decimals; the rank of Edge, not a probability
	// Deprecated: Tests, FirstTested, LastTested, FoundBy and State replace Touches,
	// FirstTouch, LastTouch, Sources and Status, which will be gone in the next version.
	Touches     int        `json:"touches"`
	FirstTouch  *time.Time `json:"first_touch"` // nil without touches
	LastTouch   *time.Time `json:"last_touch"`  // nil without touches
	Sources     []string   `json:"sources"`
	DistancePct float64    `json:"distance_pct"` // percent of the price, three decimals; negative below
	DistanceATR *float64   `json:"distance_atr"` // two decimals; nil when the market did not move
	Status      string     `json:"status"`       // active, broken, flipped
	// Passed is set if price has passed the level since AsOf: its role was the other one
	// then. The odds were those of that role and are nil.
	Passed bool `json:"passed"`

	// What tests of the level have shown: approaches of price, each an ATR of then away
	// from the one before.
	State       string     `json:"state"`        // untested, held, broken, reclaimed; unknown if another version found it
	HeldInRole  *int       `json:"held_in_role"` // tests it held since it took its present role; nil if unknown
	Tests       *int       `json:"tests"`        // nil if unknown
	Held        *int       `json:"held"`         // of Tests; nil if unknown
	Broke       *int       `json:"broke"`        // of Tests; nil if unknown
	Recent      []string   `json:"recent"`       // held or broke: of the last four decided tests, the newest first; nil if unknown
	FirstTested *time.Time `json:"first_tested"` // nil without tests
	LastTested  *time.Time `json:"last_tested"`  // nil without tests
	FoundBy     []string   `json:"found_by"`     // poc, volume; empty for most levels
	Replaces    *string    `json:"replaces"`     // id of the level that it replaced; nil for none

	// Odds, 0 to 1, all nil where nothing can be said.
	TouchProbability        *float64    `json:"touch_probability"`
	HoldProbability         *float64    `json:"hold_probability"`          // once touched and decided
	HoldInterval            *[2]float64 `json:"hold_interval"`             // 95 %, of the hold rate of levels with such odds
	BaselineHoldProbability *float64    `json:"baseline_hold_probability"` // of any line at this distance
	Samples                 *int        `json:"samples"`

	// Confluence is the levels of the other intervals beside it; nil, and not there,
	// unless the request asked for several.
	Confluence []LevelRef `json:"confluence,omitzero"`
}

// LevelRef names a level of another interval of the same pair.
type LevelRef struct {
	Interval string `json:"interval"`
	ID       string `json:"id"`
}

// PairOnIntervals is the levels of a pair on several intervals. Entry is OnInterval,
// unless they are encoded already.
type PairOnIntervals[Entry any] struct {
	Symbol    string  `json:"symbol"`
	Exchange  string  `json:"exchange"`
	Intervals []Entry `json:"intervals"` // in the order of the request
}

// OnInterval is the analysis of a pair on one of several intervals. If there is none,
// only Interval is set, and Problem says why.
type OnInterval struct {
	Analysis
	Problem *Reason `json:"problem,omitzero"`
}

// MissingInterval is an interval without an analysis, as it is encoded.
type MissingInterval struct {
	Interval string `json:"interval"`
	Problem  Reason `json:"problem"`
}

// PairOnExchanges is the levels of a pair on several exchanges.
type PairOnExchanges struct {
	Name      string           `json:"name"` // canonical
	Interval  string           `json:"interval"`
	Exchanges []PairOnExchange `json:"exchanges"` // in the order of the configuration
}

// PairOnExchange is the levels of a pair on one of several exchanges.
type PairOnExchange struct {
	Symbol      string        `json:"symbol"`
	Exchange    string        `json:"exchange"`
	AsOf        time.Time     `json:"as_of"`
	LastPrice   float64       `json:"last_price"`
	Price       *float64      `json:"price"`    // as in Analysis
	PriceAt     *time.Time    `json:"price_at"` // as in Analysis
	ATR         float64       `json:"atr"`      // price units, six significant digits
	Stale       bool          `json:"stale"`
	Simulated   bool          `json:"simulated"`
	Supports    []SharedLevel `json:"supports"`    // from the nearest downwards
	Resistances []SharedLevel `json:"resistances"` // from the nearest upwards
	// Why there are no supports, or no resistances; nil if there are.
	SupportsReason    *string `json:"supports_reason"`
	ResistancesReason *string `json:"resistances_reason"`
}

// SharedLevel is a level and the number of exchanges that have it.
type SharedLevel struct {
	Level
	Confluence struct{} `json:"confluence,omitzero"` // of one interval there is none
	Venues     int      `json:"venues"`              // that have a level within 0.25 ATR on the same side, its own included
}

// Row is a level with what its analysis says of the pair.
type Row struct {
	Symbol    string    `json:"symbol"`
	Name      *string   `json:"name"` // canonical; nil if it is not known
	Exchange  string    `json:"exchange"`
	Interval  string    `json:"interval"`
	AsOf      time.Time `json:"as_of"`
	LastPrice float64   `json:"last_price"`
	// MarketPrice and MarketPriceAt are Price and PriceAt of the analysis; Price is that of
	// the level.
	MarketPrice   *float64   `json:"market_price"`
	MarketPriceAt *time.Time `json:"market_price_at"`
	ATR           float64    `json:"atr"` // price units, six significant digits
	Stale         bool       `json:"stale"`
	Simulated     bool       `json:"simulated"`
	Role          string     `json:"role"` // support, resistance
	Level
}

// LevelPage is a page of the levels of a market. Rows is []Row, unless they are encoded or
// decoded one at a time.
type LevelPage[Rows any] struct {
	Exchange   string  `json:"exchange"`
	Interval   string  `json:"interval"`
	OddsReason *string `json:"odds_reason"` // why this interval has no odds; nil if it has
	Levels     Rows    `json:"levels"`
	Unreadable int     `json:"unreadable"` // pairs that were left out
	Next       *string `json:"next"`       // cursor of the next page; nil on the last one
}

// Explanation tells why a level is there.
type Explanation struct {
	Symbol      string    `json:"symbol"`
	Name        *string   `json:"name"` // canonical; nil if it is not known
	Exchange    string    `json:"exchange"`
	Interval    string    `json:"interval"`
	AsOf        time.Time `json:"as_of"`
	Simulated   bool      `json:"simulated"`
	Stale       bool      `json:"stale"`
	StaleReason *string   `json:"stale_reason"` // nil while it is fresh
	Role        string    `json:"role"`         // support, resistance
	Level       Level     `json:"level"`
	Tests       []Test    `json:"tests"`         // oldest first
	Touches     []Touch   `json:"touches"`       // oldest first
	Sources     []Finding `json:"sources"`       // in the order of Level.Sources
	OddsReason  *string   `json:"odds_reason"`   // why there are no factors; nil if there are
	Factors     []Factor  `json:"factors"`       // the greatest effect first; nil without odds
	EntriesNote string    `json:"entries_note"`  // why tests and entries into the zone are two numbers
	FoundByNote string    `json:"found_by_note"` // which sources found_by has, and why
	RecordNote  *string   `json:"record_note"`   // how both can be true if the record or the odds say less than the edge; else nil
}

// Test is an approach of price to the level and what came of it.
type Test struct {
	From    time.Time `json:"from"`    // open time of the candle that reached the level
	To      time.Time `json:"to"`      // close time of the candle that settled it, or of the last one
	Side    string    `json:"side"`    // above, below: where price came from
	Outcome string    `json:"outcome"` // held, broke, undecided, pending
	Extreme float64   `json:"extreme"` // the price farthest from that side
}

// Touch is a run of candles that met the zone.
type Touch struct {
	From    time.Time `json:"from"`    // open time of the first
	To      time.Time `json:"to"`      // close time of the last
	Side    string    `json:"side"`    // above, below: where price came from
	Outcome string    `json:"outcome"` // held, broke, undecided, pending
	Extreme float64   `json:"extreme"` // the price farthest from that side
	Candles int       `json:"candles"`
}

// Finding is what one method found in the zone.
type Finding struct {
	Name   string  `json:"name"`
	Weight float64 `json:"weight"` // its part in where the zone was drawn, 0 to 1, three decimals
	Count  int     `json:"count"`
	Found  []Mark  `json:"found"` // by price; empty for ends
}

// Mark is one thing that a method found.
type Mark struct {
	Kind          string     `json:"kind"`
	Price         float64    `json:"price"`
	Time          *time.Time `json:"time"`           // nil for volume
	ProminenceATR *float64   `json:"prominence_atr"` // two decimals; nil for volume
	VolumeShare   *float64   `json:"volume_share"`   // of the busiest price, three decimals; nil for a swing
}

// Factor is one reason for the hold odds. The effects of all add up to the hold
// probability less its baseline.
type Factor struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"` // two decimals
	Unit   string  `json:"unit"`
	Effect float64 `json:"effect"` // points (hundredths of probability), two decimals
	Text   string  `json:"text"`
}

// PriceMarks are the prices that every trader sees, as of the close of the last candle of
// an analysis. They are no levels and have no odds.
type PriceMarks struct {
	Symbol      string       `json:"symbol"`
	Name        *string      `json:"name"` // canonical; nil if it is not known
	Exchange    string       `json:"exchange"`
	Interval    string       `json:"interval"`
	AsOf        time.Time    `json:"as_of"`
	LastPrice   float64      `json:"last_price"`
	ATR         float64      `json:"atr"` // price units, six significant digits
	Stale       bool         `json:"stale"`
	StaleReason *string      `json:"stale_reason"` // nil while it is fresh
	Simulated   bool         `json:"simulated"`
	Marks       []PriceMark  `json:"marks"`   // by price
	Records     []MarkRecord `json:"records"` // of every kind
}

// PriceMark is one of them.
type PriceMark struct {
	Kind        string     `json:"kind"`
	Label       string     `json:"label"` // in plain English
	Price       float64    `json:"price"`
	Time        *time.Time `json:"time"`         // when it was made; nil for a round number
	DistancePct float64    `json:"distance_pct"` // percent of the last price, three decimals; negative below
	DistanceATR float64    `json:"distance_atr"` // two decimals; negative below
}

// MarkRecord is what became of marks of a kind, on 1h candles of many pairs.
type MarkRecord struct {
	Kind         string  `json:"kind"`
	Held         int     `json:"held"`
	Decided      int     `json:"decided"`
	LineHoldRate float64 `json:"line_hold_rate"` // of lines moved from them at random by up to two ATR
}

// AnalyzeRequest is what to analyse. Exactly one of Symbol, Symbols, All and Klines is
// given, and Interval with Klines. Klines is any list of rows [open time in Unix
// milliseconds, open, high, low, close, volume], the prices as numbers or as text.
type AnalyzeRequest[Klines any] struct {
	Symbol     string   `json:"symbol,omitzero"`
	Symbols    []string `json:"symbols,omitzero"` // at most 500
	All        bool     `json:"all,omitzero"`
	Klines     Klines   `json:"klines,omitzero"` // 50 to 10,000, oldest first
	Exchange   string   `json:"exchange,omitzero"`
	Interval   string   `json:"interval,omitzero"`    // empty for the service's own
	KlineLimit int      `json:"kline_limit,omitzero"` // 100 to 10,000; 0 for the service's own
	Store      *bool    `json:"store,omitzero"`       // nil: unless KlineLimit is not the service's own
	Faint      *bool    `json:"faint,omitzero"`       // whether the reply has the faint levels, too; not with Symbols or All
	TickSize   float64  `json:"tick_size,omitzero"`   // with Klines, to which prices are rounded; 0: inferred from their decimals
}

// HistoryRequest asks for the levels as of many past moments of one series. Klines are as in
// AnalyzeRequest. Exactly one of Moments and Every is given. Moments are a list of times, and
// From is a time, as text (RFC 3339) or as a number in the unit of the open times of Klines.
type HistoryRequest[Klines, Moments, From any] struct {
	Klines     Klines   `json:"klines"` // at most 10,000, oldest first
	Interval   string   `json:"interval"`
	Moments    Moments  `json:"moments,omitzero"`     // at most 10,000
	Every      int64    `json:"every,omitzero"`       // at closes of a multiple of so many intervals since 1970
	From       From     `json:"from,omitzero"`        // with Every: the first moment
	KlineLimit int      `json:"kline_limit,omitzero"` // candles of each analysis, from 100; 0 for the service's own
	TickSize   float64  `json:"tick_size,omitzero"`   // to which prices are rounded; 0: inferred from their decimals
	Faint      *bool    `json:"faint,omitzero"`       // whether faint levels are included; nil: with MinEdge
	MinEdge    *float64 `json:"min_edge,omitzero"`    // points; nil for that of the service
}

// History is the levels as of past moments. Moments is []HistoryMoment, unless they are
// encoded one at a time.
type History[Moments any] struct {
	Interval   string   `json:"interval"`
	Klines     int      `json:"klines"`      // in the request
	KlineLimit int      `json:"kline_limit"` // of each analysis
	TimeUnit   string   `json:"time_unit"`   // of the klines as sent: seconds, milliseconds, microseconds
	TickSize   *float64 `json:"tick_size"`   // of the request; nil: prices are rounded to the decimals of the klines up to each moment
	Algorithm  string   `json:"algorithm"`
	MinEdge    float64  `json:"min_edge"` // edge, in points, from which levels are shown unasked
	Moments    Moments  `json:"moments"`  // in the order of the request
}

// HistoryMoment is what the candles that had closed at a moment say. No later one has any
// influence.
type HistoryMoment struct {
	At        time.Time      `json:"at"`
	AsOf      *time.Time     `json:"as_of"`      // close of the last of these candles; nil without candles
	LastPrice *float64       `json:"last_price"` // close of that candle; nil with Problem
	ATR       *float64       `json:"atr"`        // price units, six significant digits; nil with Problem
	Klines    int            `json:"klines"`     // in the analysis
	Levels    []HistoryLevel `json:"levels"`     // supports from the nearest downwards, then resistances from the nearest upwards
	Problem   *Reason        `json:"problem"`    // why there is no analysis; nil if there is
}

// HistoryLevel is a Level with only the fields that tests of strategies need most.
type HistoryLevel struct {
	ID                      string   `json:"id"`
	Role                    string   `json:"role"` // support, resistance
	Price                   float64  `json:"price"`
	Low                     float64  `json:"low"`
	High                    float64  `json:"high"`
	Edge                    float64  `json:"edge"`
	Faint                   bool     `json:"faint"`
	State                   string   `json:"state"`
	TouchProbability        *float64 `json:"touch_probability"` // nil without odds, as the next two
	HoldProbability         *float64 `json:"hold_probability"`
	BaselineHoldProbability *float64 `json:"baseline_hold_probability"`
}

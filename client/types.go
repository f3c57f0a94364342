package client

import "time"

// Analysis is the levels of a pair, as of the close of its last closed candle.
type Analysis struct {
	Symbol         *string    `json:"symbol"`   // nil for your own klines
	Exchange       *string    `json:"exchange"` // nil for your own klines
	Interval       string     `json:"interval"`
	AsOf           time.Time  `json:"as_of"` // close time of the last closed candle
	ComputedAt     time.Time  `json:"computed_at"`
	LastPrice      float64    `json:"last_price"` // close of that candle
	ATR            float64    `json:"atr"`        // price units
	Klines         int        `json:"klines"`
	MissingKlines  int        `json:"missing_klines"`
	Stale          bool       `json:"stale"` // the next candle has closed and its analysis is overdue
	StaleReason    *string    `json:"stale_reason"`
	DelistedAt     *time.Time `json:"delisted_at"` // nil while the exchange lists it
	Simulated      bool       `json:"simulated"`   // the prices are invented
	Algorithm      string     `json:"algorithm"`
	HorizonCandles int        `json:"horizon_candles"` // horizon of the odds
	OddsReason     *string    `json:"odds_reason"`     // why odds are nil
	Supports       []Level    `json:"supports"`        // from the nearest downwards
	Resistances    []Level    `json:"resistances"`     // from the nearest upwards
}

// Level is a price at which a market may turn, and the zone around it.
type Level struct {
	ID          string     `json:"id"` // stable for the same level
	Price       float64    `json:"price"`
	Low         float64    `json:"low"`
	High        float64    `json:"high"`
	Strength    float64    `json:"strength"` // 0 to 1; a rank, not a probability
	Touches     int        `json:"touches"`
	FirstTouch  *time.Time `json:"first_touch"`
	LastTouch   *time.Time `json:"last_touch"`
	Sources     []string   `json:"sources"`
	DistancePct float64    `json:"distance_pct"` // from the last price; negative below
	DistanceATR *float64   `json:"distance_atr"` // nil if the market did not move
	Status      string     `json:"status"`       // active, broken, flipped

	// Odds, 0 to 1; all nil if unknown.
	TouchProbability        *float64    `json:"touch_probability"`
	HoldProbability         *float64    `json:"hold_probability"`          // once touched and decided
	HoldInterval            *[2]float64 `json:"hold_interval"`             // 95 %
	BaselineHoldProbability *float64    `json:"baseline_hold_probability"` // of any line at this distance
	Samples                 *int        `json:"samples"`
}

// Row is a level with fields of its analysis.
type Row struct {
	Symbol    string    `json:"symbol"`
	Exchange  string    `json:"exchange"`
	Interval  string    `json:"interval"`
	AsOf      time.Time `json:"as_of"`
	LastPrice float64   `json:"last_price"`
	ATR       float64   `json:"atr"`
	Stale     bool      `json:"stale"`
	Simulated bool      `json:"simulated"`
	Role      string    `json:"role"` // support, resistance
	Level
}

type page struct {
	Exchange   string  `json:"exchange"`
	Interval   string  `json:"interval"`
	OddsReason *string `json:"odds_reason"`
	Levels     []Row   `json:"levels"`
	Unreadable int     `json:"unreadable"`
	Next       *string `json:"next"`
}

// Explanation describes why a level is there.
type Explanation struct {
	Symbol      string    `json:"symbol"`
	Exchange    string    `json:"exchange"`
	Interval    string    `json:"interval"`
	AsOf        time.Time `json:"as_of"`
	Simulated   bool      `json:"simulated"`
	Stale       bool      `json:"stale"`
	StaleReason *string   `json:"stale_reason"`
	Role        string    `json:"role"`
	Level       Level     `json:"level"`
	Touches     []Touch   `json:"touches"` // oldest first
	Sources     []Finding `json:"sources"`
	OddsReason  *string   `json:"odds_reason"`
	Factors     []Factor  `json:"factors"` // greatest effect first
}

// Touch is a run of candles that meet the zone.
type Touch struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Side    string    `json:"side"`    // above, below: where price came from
	Outcome string    `json:"outcome"` // held, broke, undecided, pending
	Extreme float64   `json:"extreme"`
	Candles int       `json:"candles"`
}

// Finding is what one method found in the zone.
type Finding struct {
	Name   string  `json:"name"`
	Weight float64 `json:"weight"` // its share in the place of the zone, 0 to 1
	Count  int     `json:"count"`
	Found  []Mark  `json:"found"`
}

// Mark is one finding of a method.
type Mark struct {
	Kind          string     `json:"kind"`
	Price         float64    `json:"price"`
	Time          *time.Time `json:"time"`
	ProminenceATR *float64   `json:"prominence_atr"`
	VolumeShare   *float64   `json:"volume_share"`
}

// Factor is one reason for the hold odds. The effects of all factors add up to the hold
// probability minus its baseline.
type Factor struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Effect float64 `json:"effect"` // points: hundredths of probability
	Text   string  `json:"text"`
}

// Job is requested work and its progress.
type Job struct {
	ID             string     `json:"id"`
	Kind           string     `json:"kind"`  // sweep, analysis
	State          string     `json:"state"` // queued, running, completed, failed, cancelled
	Exchange       *string    `json:"exchange"`
	Interval       string     `json:"interval"`
	KlineLimit     int        `json:"kline_limit"`
	SymbolsTotal   int        `json:"symbols_total"`
	SymbolsDone    int        `json:"symbols_done"`
	SymbolsFailed  int        `json:"symbols_failed"`
	SymbolsSkipped int        `json:"symbols_skipped"`
	BatchesTotal   int        `json:"batches_total"`
	BatchesDone    int        `json:"batches_done"`
	Store          bool       `json:"store"`
	Simulated      bool       `json:"simulated"`
	CreatedAt      time.Time  `json:"created_at"`
	StartedAt      *time.Time `json:"started_at"`
	FinishedAt     *time.Time `json:"finished_at"`
	Error          *Reason    `json:"error"`
	Failures       []Outcome  `json:"failures"`
	Skips          []Outcome  `json:"skips"`
	Result         *Analysis  `json:"result"`
}

// Ended reports whether the job is in a final state.
func (j *Job) Ended() bool {
	return j.State == "completed" || j.State == "failed" || j.State == "cancelled"
}

// Reason is a code and a sentence.
type Reason struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Outcome is why a symbol was not analysed.
type Outcome struct {
	Symbol string `json:"symbol"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

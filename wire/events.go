package wire

import "time"

// EventKinds are the values of Event.Kind.
var EventKinds = []string{"appeared", "approaching", "touched", "held", "broke", "flipped", "vanished"}

// Event is something that happened to a level.
type Event struct {
	Seq  int64  `json:"seq,omitzero"` // its place in the order of all events, which grows, with holes
	ID   string `json:"id"`           // made of what happened: the same wherever and whenever it is found
	Kind string `json:"kind"`         // of EventKinds

	Exchange  string  `json:"exchange"`
	Symbol    string  `json:"symbol"`
	Name      *string `json:"name"` // canonical; nil if it is not known
	Interval  string  `json:"interval"`
	Simulated bool    `json:"simulated"` // the prices are invented

	OccurredAt time.Time `json:"occurred_at"` // close of the candle, or time of the price
	EmittedAt  time.Time `json:"emitted_at"`
	LateMS     int64     `json:"late_ms"`     // from OccurredAt to EmittedAt
	AsOf       time.Time `json:"as_of"`       // close of the last candle that was known
	DataAgeMS  int64     `json:"data_age_ms"` // from AsOf to EmittedAt

	Price  float64      `json:"price"`  // the last one when it happened
	Candle *EventCandle `json:"candle"` // closed, which decided; nil if a price between closes did
	ATR    float64      `json:"atr"`    // at Begun, price units, six significant digits
	// DistanceATR is how far Price is from the level, in ATR, negative below the level; nil
	// when the market did not move.
	DistanceATR *float64 `json:"distance_atr"`

	// Begun is the close at which the episode began, whose level, ATR and odds count until
	// it ends.
	Begun     time.Time     `json:"begun"`
	TouchedAt *time.Time    `json:"touched_at"` // of held, broke and flipped; else nil
	Promise   *EventPromise `json:"promise"`    // of held, broke and flipped: the odds when it was touched; else nil, and without odds

	Level      EventLevel `json:"level"`
	Replaces   *string    `json:"replaces"`    // of appeared: id of the level it replaces; else nil
	ReplacedBy *string    `json:"replaced_by"` // of vanished: id of the level that replaces it; else nil
	Links      EventLinks `json:"links"`
}

// EventCandle is a closed candle.
type EventCandle struct {
	OpenTime time.Time `json:"open_time"`
	Open     float64   `json:"open"`
	High     float64   `json:"high"`
	Low      float64   `json:"low"`
	Close    float64   `json:"close"`
	Volume   float64   `json:"volume"`
}

// EventLevel is a level as it was when something happened to it. Its fields are those of
// Level.
type EventLevel struct {
	ID                      string      `json:"id"`
	Role                    string      `json:"role"` // support, resistance
	Price                   float64     `json:"price"`
	Low                     float64     `json:"low"`
	High                    float64     `json:"high"`
	Edge                    float64     `json:"edge"`
	State                   string      `json:"state"`
	Tests                   int         `json:"tests"`
	Held                    int         `json:"held"`
	TouchProbability        *float64    `json:"touch_probability"`
	HoldProbability         *float64    `json:"hold_probability"`
	HoldInterval            *[2]float64 `json:"hold_interval"`
	BaselineHoldProbability *float64    `json:"baseline_hold_probability"`
	Samples                 *int        `json:"samples"`
}

// EventPromise is what the odds of a level said when it was touched.
type EventPromise struct {
	HoldProbability         float64    `json:"hold_probability"`
	HoldInterval            [2]float64 `json:"hold_interval"`
	BaselineHoldProbability float64    `json:"baseline_hold_probability"`
	Edge                    float64    `json:"edge"`
	Samples                 int        `json:"samples"`
}

// EventLinks are paths of the API.
type EventLinks struct {
	Levels      string `json:"levels"`
	Explanation string `json:"explanation"`
	Chart       string `json:"chart"`
}

// EventPage is a page of events.
type EventPage struct {
	Events []Event `json:"events"` // in the order of Seq
	// Next is the number after which the next page begins: that of the last event, or of the
	// last one that the filter has passed over.
	Next int64 `json:"next"`
	// More is whether there are more events now.
	More bool `json:"more"`
	// Missed is set if events after the given number may have been deleted, because they
	// were too old: the event with that number has been.
	Missed bool `json:"missed"`
}

package wire

import "time"

// Preview is what a rule would have sent in the last days, on the candles that are stored.
type Preview struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"` // close of the newest candle
	Days int       `json:"days"`
	// RedrawnEvery is how many candles apart the levels of a pair are found again.
	RedrawnEvery int `json:"redrawn_every"`
	Series       int `json:"series"` // pairs on an interval whose candles are used
	// Short is how many of these have too few stored candles for the whole period.
	Short     int  `json:"short"`
	LeftOut   int  `json:"left_out"`  // series that have too few for any of it
	Simulated bool `json:"simulated"` // some prices are invented

	Events      int          `json:"events"` // that the rule matches
	ByKind      KindCounts   `json:"by_kind"`
	Messages    int          `json:"messages"` // that these are grouped into
	ByDay       []PreviewDay `json:"by_day"`   // all days of the period
	BusiestHour *BusiestHour `json:"busiest_hour"`
	// Last are the newest events, the newest first.
	Last []PreviewEvent `json:"last"`

	Outcomes PreviewOutcomes `json:"outcomes"`
	Control  PreviewControl  `json:"control"`
	Notes    []string        `json:"notes"` // how a preview differs from a running service, in sentences
}

// KindCounts counts events by their kind.
type KindCounts struct {
	Appeared    int `json:"appeared"`
	Approaching int `json:"approaching"`
	Touched     int `json:"touched"`
	Held        int `json:"held"`
	Broke       int `json:"broke"`
	Flipped     int `json:"flipped"`
	Vanished    int `json:"vanished"`
}

// PreviewDay counts the events and messages of a day (UTC).
type PreviewDay struct {
	Day      string `json:"day"` // 2026-11-28
	Events   int    `json:"events"`
	Messages int    `json:"messages"`
}

// BusiestHour is the hour with most events.
type BusiestHour struct {
	From     time.Time `json:"from"`
	Events   int       `json:"events"`
	Messages int       `json:"messages"`
}

// PreviewEvent is an event in brief.
type PreviewEvent struct {
	OccurredAt time.Time `json:"occurred_at"` // close of the candle
	Kind       string    `json:"kind"`
	Exchange   string    `json:"exchange"`
	Symbol     string    `json:"symbol"`
	Name       *string   `json:"name"` // canonical; nil if it is not known
	Interval   string    `json:"interval"`
	Level      string    `json:"level"` // its id
	Role       string    `json:"role"`
	Price      float64   `json:"price"` // of the level
	Edge       float64   `json:"edge"`
}

// PreviewOutcomes is what became of the levels of the rule that were touched, whether the
// rule rings at the touch or not.
type PreviewOutcomes struct {
	Touched   int `json:"touched"`
	Held      int `json:"held"` // without Flipped
	Flipped   int `json:"flipped"`
	Broke     int `json:"broke"`
	Undecided int `json:"undecided"`
	Pending   int `json:"pending"` // not decided yet
	// HoldRate is the share of the decided ones that held or flipped; nil without any.
	HoldRate     *float64    `json:"hold_rate"`
	HoldInterval *[2]float64 `json:"hold_interval"` // of 95 %, over blocks of days; nil if there are too few
	// Promised and Baseline are the means of what the decided levels with odds, Odds of
	// them, had been given: odds that they hold, and hold rate of any line at their distance.
	Promised *float64 `json:"promised"`
	Baseline *float64 `json:"baseline"`
	Odds     int      `json:"odds"`
}

// PreviewControl compares levels of the rule with lines at prices without meaning. Both
// are those that price had yet to come to when the levels were drawn; the lines are on the
// same sides at the same moments, at the distances of all these levels, and are judged on
// the same candles.
type PreviewControl struct {
	Levels       int         `json:"levels"` // decided
	HoldRate     *float64    `json:"hold_rate"`
	LineHoldRate *float64    `json:"line_hold_rate"`
	Lift         *float64    `json:"lift"`          // HoldRate minus LineHoldRate, points
	LiftInterval *[2]float64 `json:"lift_interval"` // of 95 %, over blocks of days; nil if there are too few
	// Verdict is what that says: better, no_difference, worse, too_few.
	Verdict string `json:"verdict"`
	Text    string `json:"text"` // the verdict in a sentence
}

package wire

import "time"

// Calibration is how far the odds of an exchange can be believed.
type Calibration struct {
	Exchange       string                `json:"exchange"`
	Simulated      bool                  `json:"simulated"`
	Algorithm      string                `json:"algorithm"`
	Table          string                `json:"table"`   // names the table of odds
	Command        string                `json:"command"` // that made it
	HorizonCandles int                   `json:"horizon_candles"`
	Intervals      []CalibrationInterval `json:"intervals"` // the shortest first
}

// CalibrationInterval is that of one interval.
type CalibrationInterval struct {
	Interval    string        `json:"interval"`
	Reason      *string       `json:"reason"`    // why there are no odds; nil if there are
	FittedOn    *FittedOn     `json:"fitted_on"` // nil without odds
	OutOfSample []OutOfSample `json:"out_of_sample"`
	Live        Live          `json:"live"`
	// Record is what became of the levels that were touched while this service watched: for
	// each side, and for first tests and retests. It is empty before the first outcome.
	Record []RecordRow `json:"record"`
}

// RecordRow is the outcomes of touched levels of one side and kind.
type RecordRow struct {
	Simulated    bool         `json:"simulated"`
	Role         string       `json:"role"`
	Kind         string       `json:"kind"`          // test, or retest: from the side to which price had passed the level
	Since        time.Time    `json:"since"`         // begin of the day, or block of days, of the first
	Decided      int          `json:"decided"`       // that held or broke
	Held         int          `json:"held"`          // of these
	HoldRate     float64      `json:"hold_rate"`     // Held of Decided
	HoldInterval *[2]float64  `json:"hold_interval"` // of 95 %, over blocks of days; nil if there are too few
	WithOdds     int          `json:"with_odds"`     // decided ones that had odds when they were touched
	Promised     *float64     `json:"promised"`      // mean of these odds
	Realised     *float64     `json:"realised"`      // how many of them held
	Baseline     *float64     `json:"baseline"`      // mean hold rate of any line at their distance
	Hours        []RecordHour `json:"hours"`         // those with outcomes
}

// RecordHour is the part of a RecordRow that was touched in an hour of the day.
type RecordHour struct {
	Hour         int         `json:"hour"` // UTC; on longer intervals the last of the candle
	Decided      int         `json:"decided"`
	Held         int         `json:"held"`
	HoldRate     float64     `json:"hold_rate"`
	HoldInterval *[2]float64 `json:"hold_interval"`
	WithOdds     int         `json:"with_odds"`
	Promised     *float64    `json:"promised"`
	Realised     *float64    `json:"realised"`
	Baseline     *float64    `json:"baseline"`
}

// FittedOn is the candles that odds were fitted on.
type FittedOn struct {
	From    time.Time `json:"from"` // first open time
	To      time.Time `json:"to"`   // last close time
	Pairs   int       `json:"pairs"`
	Candles int       `json:"candles"`
	Files   []string  `json:"files"`
	SHA256  string    `json:"sha256"` // of names and contents of all files
}

// OutOfSample is how fits did on pairs and times they had not seen.
type OutOfSample struct {
	LearntFrom       string     `json:"learnt_from"`
	Levels           int        `json:"levels"`
	Lift             Points     `json:"lift"`
	NeighbourLift    Points     `json:"neighbour_lift"`
	StrengthTerciles Points     `json:"strength_terciles"`
	Hold             HoldSkill  `json:"hold"`
	Touch            TouchSkill `json:"touch"`
}

// Points is a value in points (hundredths of probability) with its 95 % interval.
type Points struct {
	Points   float64    `json:"points"`
	Interval [2]float64 `json:"interval"`
}

// HoldSkill is how well hold odds did.
type HoldSkill struct {
	BrierSkill       float64 `json:"brier_skill"` // against the base rate
	CalibrationError float64 `json:"calibration_error"`
	Bins             []Bin   `json:"bins"`
}

// TouchSkill is how well touch odds did.
type TouchSkill struct {
	BrierSkillAboveReflection float64 `json:"brier_skill_above_reflection"`
	CalibrationError          float64 `json:"calibration_error"`
	Bins                      []Bin   `json:"bins"`
}

// Bin counts odds of about the same value, and their outcomes.
type Bin struct {
	Promised float64 `json:"promised"` // mean of the odds
	Realised float64 `json:"realised"` // share that came to pass
	Samples  int     `json:"samples"`
}

// Live compares the odds this service has served with their outcomes.
type Live struct {
	Waiting    int         `json:"waiting"`    // analyses that are not judged yet
	NextDue    *time.Time  `json:"next_due"`   // nil if none waits
	Reason     *string     `json:"reason"`     // why there is no current scorecard; nil if there is
	Scorecards []Scorecard `json:"scorecards"` // the current one first
}

// Scorecard is the sums of all outcomes of one table of odds.
type Scorecard struct {
	Current   bool      `json:"current"`
	Algorithm string    `json:"algorithm"`
	Table     string    `json:"table"`
	Simulated bool      `json:"simulated"`
	Since     time.Time `json:"since"` // moment of the first analysis that was due
	Until     time.Time `json:"until"` // moment of the last
	Moments   int       `json:"moments"`
	Skipped   int       `json:"skipped"`
	Levels    int       `json:"levels"`
	Touched   int       `json:"touched"`
	Decided   int       `json:"decided"`
	Held      int       `json:"held"`
	Hold      LiveScore `json:"hold"`
	Touch     LiveScore `json:"touch"`
}

// LiveScore is what the outcomes of a scorecard say, each six decimals and nil where
// they are too few.
type LiveScore struct {
	Promised         *float64 `json:"promised"`
	Realised         *float64 `json:"realised"`
	BrierScore       *float64 `json:"brier_score"`
	BrierSkill       *float64 `json:"brier_skill"`
	CalibrationError *float64 `json:"calibration_error"`
	Reason           *string  `json:"reason"` // why one of them is nil; nil if none is
	Bins             []Bin    `json:"bins"`
}

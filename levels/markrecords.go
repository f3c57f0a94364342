package levels

// MarkRecord is what became of marks of one kind.
type MarkRecord struct {
	Kind          PriceMarkKind
	Held, Decided int // outcomes by Moment.Judge
	// LineHold is the share of lines that held: of lines at the same moments and on the
	// same sides, moved from the marks at random by up to two ATR.
	LineHold float64
}

// MarkRecords returns the record of each kind, measured on 1h candles; see
// docs/levels-research.md.
func MarkRecords() []MarkRecord { return markRecords[:] }

// The comments are hold rates less those of the lines, in points, with 95 % intervals
// over calendar weeks.
var markRecords = [markKinds]MarkRecord{
	{DayHigh, 13935, 31651, 0.4466},     // -0.63 [-1.25, -0.05]
	{DayLow, 15014, 32150, 0.4722},      // -0.52 [-1.37, +0.31]
	{DayClose, 14584, 30729, 0.4706},    // +0.40 [-0.41, +1.24]
	{DayOpen, 14552, 30713, 0.4680},     // +0.58 [-0.23, +1.34]
	{WeekHigh, 6169, 13865, 0.4502},     // -0.53 [-1.32, +0.37]
	{WeekLow, 7658, 17213, 0.4549},      // -1.00 [-1.78, -0.27]
	{WeekClose, 13002, 27770, 0.4674},   // +0.08 [-0.46, +0.74]
	{WeekOpen, 12973, 27804, 0.4645},    // +0.21 [-0.43, +0.83]
	{MonthHigh, 2582, 5722, 0.4597},     // -0.84 [-2.30, +0.50]
	{MonthLow, 3459, 7895, 0.4451},      // -0.70 [-1.79, +0.42]
	{MonthOpen, 7563, 15998, 0.4615},    // +1.12 [+0.43, +1.80]
	{EqualHighs, 1823, 4636, 0.4147},    // -2.14 [-3.62, -0.72]
	{EqualLows, 2614, 6292, 0.4401},     // -2.46 [-3.65, -1.22]
	{RoundNumber, 29739, 66614, 0.4449}, // +0.16 [-0.20, +0.52]
}

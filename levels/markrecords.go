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

var markRecords = [markKinds]MarkRecord{}

package levels

// Finder finds levels and owns the scratch memory that takes, so that after
// the first few series it allocates nothing. A Finder must not be used by two
// goroutines at once; its zero value is ready.
type Finder struct{}

// Find analyses c, which it does not change. Fewer than MinCandles candles are
// ErrTooFewCandles. The levels in the result are valid until the next Find.
func (f *Finder) Find(c *Candles) (Analysis, error) { panic("levels: under construction") }

package job

import (
	"testing"
	"testing/synctest"

	"tidemark/service"
)

// A sweep rounds prices as an analysis of one pair does: where the step depends on the
// price, the list's significant digits count.
func TestSweep_KeepsTheSignificantDigitsOfPrices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &fakeExchange{symbols: market(1)}
		x.symbols[0].Tick, x.symbols[0].Digits = service.Tick{Units: 1, Decimals: 6}, 5
		store := &fakeStore{}
		r := newTestRunner(t, testConfig{}, x, store)
		finished(t, r, submit(t, r, Request{All: true}).ID)
		for _, s := range store.snapshots { // prices of about 100
			if s.Decimals > 3 {
				t.Errorf("%s has prices of %d decimals, want five digits", s.Symbol, s.Decimals)
			}
		}
		if len(store.snapshots) != 1 {
			t.Errorf("%d analyses", len(store.snapshots))
		}
	})
}

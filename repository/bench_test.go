package repository

// The cost of storing a sweep, of reading a market and of reading the candles of a pair.
// CPU time is that of this process: all of it on SQLite, without the server's on
// PostgreSQL.

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"tidemark/job"
	"tidemark/levels"
	"tidemark/service"
)

// BenchmarkPut stores 500 pairs with a full history in batches of a job, of the usual
// sizes. Each pair has its newest block of candles, which is half full on average.
func BenchmarkPut(b *testing.B) {
	for _, name := range []string{"sqlite", "postgres"} {
		for _, size := range []int{5, 20, 50} {
			b.Run(fmt.Sprintf("%s/batch=%d", name, size), func(b *testing.B) {
				var d database
				if name == "sqlite" {
					d = onSQLite(b)
				} else {
					d = onPostgres(b)
				}
				db := d.open(b)
				const pairs = 500
				sweep := make([]service.Snapshot, pairs)
				candles := make([]service.CandleChange, pairs)
				block := halfBlock(b)
				for i := range candles {
					candles[i] = service.CandleChange{Key: key(symbolOf(i)), Blocks: []service.KeptBlock{{Span: 1, Packed: block}}}
				}
				n := 0
				run := func() {
					id := newID()
					if err := db.PutJob(b.Context(), job.Job{ID: id, State: job.Running}); err != nil {
						b.Fatal(err)
					}
					for i := 0; i < pairs; i += size {
						if _, err := db.PutBatch(b.Context(), job.Batch{JobID: id, Index: i / size, Done: size, Results: service.Results{Snapshots: sweep[i : i+size], Candles: candles[i : i+size]}}); err != nil {
							b.Fatal(err)
						}
					}
				}
				next := func() {
					n++
					for i := range sweep {
						sweep[i] = snapshot(symbolOf(i), n)
					}
				}
				for range 4 {
					next()
					run()
				}
				var cpu time.Duration
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					next()
					before := cpuTime(b)
					b.StartTimer()
					run()
					cpu += cpuTime(b) - before
				}
				b.ReportMetric(float64(cpu.Microseconds())/1000/float64(b.N), "cpu-ms/op")
			})
		}
	}
}

// halfBlock returns a block with half of its candles.
func halfBlock(b *testing.B) []byte {
	c := new(levels.Candles)
	c.Reset("1h", 0)
	v := &venue{now: service.BlockCandles / 2 * hour}
	if err := v.candles(0, c); err != nil {
		b.Fatal(err)
	}
	return c.Pack(nil, 0, c.Len())
}

// BenchmarkCandles reads the 2,000 stored candles of a pair.
func BenchmarkCandles(b *testing.B) {
	for name, on := range map[string]func(testing.TB) database{"sqlite": onSQLite, "postgres": onPostgres} {
		b.Run(name, func(b *testing.B) {
			db := on(b).open(b)
			v := &venue{now: at(0).UnixMilli()}
			if _, err := analyzerOn(db, v, 2000).Analyze(b.Context(), service.Request{Symbol: "BTCUSDT", Store: true}); err != nil {
				b.Fatal(err)
			}
			c, buf := new(levels.Candles), make([]byte, 32<<10)
			b.ReportAllocs()
			for b.Loop() {
				c.Reset("1h", 2001)
				if _, err := db.Candles(b.Context(), key("BTCUSDT"), v.now-2001*hour, c, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLatest reads a market of 2,000 pairs.
func BenchmarkLatest(b *testing.B) {
	db := onSQLite(b).open(b)
	for i := 0; i < 2000; i += 100 {
		var batch []service.Snapshot
		for k := range 100 {
			batch = append(batch, snapshot(symbolOf(i+k), 0))
		}
		put(b, db, batch...)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range db.Latest(b.Context(), "binance", "1h") {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkSnapshot(b *testing.B) {
	db := onSQLite(b).open(b)
	put(b, db, snapshot("BTCUSDT", 0))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := db.Snapshot(b.Context(), key("BTCUSDT"), time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCodec(b *testing.B) {
	s := snapshot("BTCUSDT", 0)
	encoded := appendSnapshot(nil, &s)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(encoded)))
		for b.Loop() {
			encoded = appendSnapshot(encoded[:0], &s)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(encoded)))
		for b.Loop() {
			if err := decodeSnapshot(encoded, &s); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// cpuTime returns the user and system time of this process.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

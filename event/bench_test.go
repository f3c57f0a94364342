package event

import (
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/levels"
	"tidemark/repository"
	"tidemark/service"
	"tidemark/wire"
)

// BenchmarkPreview previews a rule on 500 pairs with 2,000 hourly candles in SQLite, for 30
// days and for the longest period.
func BenchmarkPreview(b *testing.B) {
	db, err := repository.Open(b.Context(), repository.Config{URL: "sqlite://" + b.TempDir() + "/bench.db", PoolSize: 1, History: 2})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for i := range 500 {
		c := rounded(b, walk(b, uint64(i), 2000))
		key := service.Key{Exchange: "binance", Symbol: fmt.Sprintf("P%03dUSDT", i), Interval: "1h"}
		change := service.CandleChange{Key: key}
		covered := c.OpenTime[0]
		for from := 0; from < c.Len(); {
			span := service.BlockCandles * int64(hour)
			start, to := c.OpenTime[from]/span*span, from
			for to < c.Len() && c.OpenTime[to] < start+span {
				to++
			}
			change.Blocks = append(change.Blocks, service.KeptBlock{Span: start, From: covered, Packed: c.Pack(nil, from, to)})
			covered = c.OpenTime[to-1] + hour
			from = to
		}
		snap := service.Snapshot{Key: key, AsOf: utc(c.AsOf()), ComputedAt: utc(c.AsOf()), LastPrice: c.Close[c.Len()-1], ATR: 1, Klines: c.Len(), Algorithm: levels.Algorithm}
		if err := db.Put(b.Context(), service.Results{Snapshots: []service.Snapshot{snap}, Candles: []service.CandleChange{change}}); err != nil {
			b.Fatal(err)
		}
	}
	markets, err := db.Markets(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	a := service.New(service.Config{Concurrency: 8, KlineLimit: 2000, QueueLimit: 10, Interval: "1h", Timeout: time.Minute}, []service.Exchange{venue{&stocked{}}}, db, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	for _, days := range []int{PreviewDays, MaxPreviewDays} {
		for name, match := range map[string]func(*wire.Event) bool{
			"everything": everything,
			"strong":     func(e *wire.Event) bool { return e.Level.Edge >= 6 && (e.Kind == "touched" || e.Kind == "broke") },
		} {
			b.Run(fmt.Sprintf("days=%d/%s", days, name), func(b *testing.B) {
				b.ReportAllocs()
				cpu := cpuTime(b)
				defer func() { b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/1000/float64(b.N), "cpu-ms/op") }()
				for b.Loop() {
					p, err := Preview(b.Context(), a, db, PreviewQuery{Markets: markets, Days: days, Match: match})
					if err != nil || p.Series != 500 {
						b.Fatal(p.Series, err)
					}
				}
			})
		}
	}
}

// cpuTime returns the processor time of the process.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

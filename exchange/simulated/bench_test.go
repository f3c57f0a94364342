package simulated

// The cost of a page: the server must not limit the measured client, which runs on
// the same machine.

import (
	"net/http"
	"testing"
	"time"
)

// discard is a connection that takes everything.
type discard struct {
	header http.Header
	bytes  int64
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(int)     {}
func (d *discard) Write(b []byte) (int, error) {
	d.bytes += int64(len(b))
	return len(b), nil
}

func benchmarkPage(b *testing.B, s *Server, target string) {
	w := &discard{header: http.Header{}}
	r, err := http.NewRequest(http.MethodGet, "http://127.0.0.1/api/v3/"+target, nil)
	if err != nil {
		b.Fatal(err)
	}
	r.RemoteAddr = "127.0.0.1:5000"
	s.ServeHTTP(w, r)
	b.SetBytes(w.bytes)
	b.ReportAllocs()
	for b.Loop() {
		s.ServeHTTP(w, r)
	}
}

func BenchmarkKlinesPage(b *testing.B) {
	day := clock().AddDate(0, 0, -1).UnixMilli()
	for _, iv := range []string{"1m", "5m", "1h", "1d"} {
		target := "klines?symbol=ETHUSDT&limit=1000&interval=" + iv + "&endTime=" + itoa(day)
		b.Run("cold/"+iv, func(b *testing.B) {
			benchmarkPage(b, New(Options{Pairs: 10, Now: clock, WeightLimit: 1 << 40}), target)
		})
	}
	b.Run("cached/1h", func(b *testing.B) {
		benchmarkPage(b, New(Options{Pairs: 10, Now: clock, WeightLimit: 1 << 40, CacheBytes: 1 << 20}),
			"klines?symbol=ETHUSDT&limit=1000&interval=1h&endTime="+itoa(day))
	})
}

func BenchmarkTickerOfAll(b *testing.B) {
	benchmarkPage(b, New(Options{Now: clock, WeightLimit: 1 << 40}), "ticker/24hr?type=MINI")
}

func BenchmarkExchangeInfo(b *testing.B) {
	benchmarkPage(b, New(Options{Now: clock, WeightLimit: 1 << 40}), "exchangeInfo?showPermissionSets=false")
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		New(Options{Now: func() time.Time { return testTime }})
	}
}

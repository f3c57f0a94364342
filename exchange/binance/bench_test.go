package binance

// The cost of a page over a real socket, compared with a bare client that reads
// and discards the same bytes: the difference is this package.

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"tidemark/levels"
)

// BenchmarkCandles fetches one page of 1,000 klines, server included.
func BenchmarkCandles(b *testing.B) {
	body := []byte(manyRows(1000))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v3/time" {
			io.WriteString(w, `{"serverTime":1700000000000}`)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body)
	}))
	defer server.Close()
	buf := make([]byte, 32<<10)

	b.Run("client", func(b *testing.B) {
		c := New(Config{BaseURL: address(b, server.URL)})
		defer c.Close()
		c.caller.Limiter.SetLimit(1 << 40)
		// The thousand hours of body are closed, and the server's Date is skewed.
		c.clock.Set(1000*hour, time.Now(), time.Now())
		var dst levels.Candles
		b.ReportAllocs()
		for b.Loop() {
			dst.Reset("1h", 1000)
			if err := c.Candles(b.Context(), "BTCUSDT", 0, &dst, buf); err != nil || dst.Len() != 1000 {
				b.Fatal(dst.Len(), err)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		client := http.Client{Transport: &http.Transport{DisableCompression: true}}
		defer client.CloseIdleConnections()
		url := server.URL + "/api/v3/klines?symbol=BTCUSDT&interval=1h&startTime=0&endTime=3596400000&limit=1000"
		b.ReportAllocs()
		for b.Loop() {
			resp, err := client.Get(url)
			if err != nil {
				b.Fatal(err)
			}
			for err == nil {
				_, err = resp.Body.Read(buf)
			}
			resp.Body.Close()
			if err != io.EOF {
				b.Fatal(err)
			}
		}
	})
}

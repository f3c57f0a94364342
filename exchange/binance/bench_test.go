package binance

// The cost of a page over a real socket, compared with a bare client that reads
// and discards the same bytes: the difference is this package.

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"tidemark/levels"
)

// BenchmarkCandles fetches one page of 1,000 klines, server included.
func BenchmarkCandles(b *testing.B) {
	const end = 1_700_000_000_000 / hour * hour
	body := []byte(manyRows(end-1000*hour, 1000))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil
		switch r.URL.Path {
		case "/api/v3/time":
			fmt.Fprintf(w, `{"serverTime":%d}`, end)
		case "/api/v3/exchangeInfo": // with a limit that is never reached
			io.WriteString(w, strings.Replace(exchangeInfo(end, listedPairs), `"limit":6000`, `"limit":10000000`, 1))
		default:
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			w.Write(body)
		}
	}))
	defer server.Close()
	buf := make([]byte, 32<<10)

	b.Run("client", func(b *testing.B) {
		c := New(Config{BaseURL: address(b, server.URL), WeightShare: 1})
		defer c.Close()
		if _, err := c.Symbol(b.Context(), "BTCUSDT"); err != nil {
			b.Fatal(err)
		}
		var dst levels.Candles
		b.ReportAllocs()
		for b.Loop() {
			dst.Reset("1h", 1000)
			if err := c.Candles(b.Context(), "BTCUSDT", end-1000*hour, &dst, buf); err != nil || dst.Len() != 1000 {
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

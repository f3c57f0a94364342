package exchange

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
)

// The oldest candle may be gone when the request arrives: a merged candle of which only
// the rest is left is not one.
func TestCandles_TheHistoryMovesOnDuringTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(Bounded, 50, "1h")
		f.spec.History = 41
		start, began := time.Date(2026, 11, 20, 10, 59, 59, 0, time.UTC), time.Now()
		f.now = func() time.Time { return start.Add(time.Since(began)) }
		f.respond = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/klines" {
				time.Sleep(2 * time.Second)
			}
			return false
		}
		for _, interval := range []levels.Interval{"2h", "4h"} {
			began = time.Now()
			c := f.client(Config{})
			defer c.Close()
			got, err := fetch(t, c, interval, 0)
			if err != nil || len(got) < 8 {
				t.Fatalf("%d candles, %v", len(got), err)
			}
			open := got[0].OpenTime
			want := merged(f.between("1h", open, open+interval.Milliseconds()-1), interval, open, f.now().UnixMilli())
			if len(want) != 1 || got[0] != want[0] {
				t.Errorf("%s: the first candle is %+v, want %+v", interval, got[0], want)
			}
		}
	})
}

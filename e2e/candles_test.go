package e2e

// This test pins the purpose of stored candles: a second sweep of a market requests at
// most half as many pages of klines as the first, almost none within the same candle, and
// finds the same levels as a sweep that fetches everything.

import (
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidemark/exchange/simulated"
	"tidemark/job"
)

func TestSweep_TheSecondOneFetchesOnlyWhatIsNew(t *testing.T) {
	t.Parallel()
	pairs := number(t, "TIDEMARK_TEST_PAIRS", 40)
	for name, url := range bothDatabases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var later atomic.Int64
			// In the middle of a candle, so that none closes while a sweep runs, and always the
			// same one: how many pairs have a hole at the end depends on the hour.
			middle := time.Date(2026, 11, 2, 12, 30, 0, 0, time.UTC)
			truth, exchange := market(t, simulated.Options{Pairs: pairs, Now: func() time.Time {
				return middle.Add(time.Duration(later.Load()))
			}})
			environ := []string{"EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + url(t)}
			// sweeps in a process that has just begun, and so knows the venue's clock
			sweep := func(pages int) *running {
				t.Helper()
				r := serve(t, environ...)
				before := truth.Stats().Requests["klines"]
				j := r.sweepTo(t)
				asked := truth.Stats().Requests["klines"] - before
				t.Logf("%d pairs analysed with %d requests for klines", j.Done, asked)
				if j.State != job.Completed || j.Done < pairs || pages >= 0 && asked > pages {
					t.Errorf("%d requests for klines, want at most %d, and %+v", asked, pages, j)
				}
				return r
			}
			first := sweep(-1)
			first.end(t)
			pages := truth.Stats().Requests["klines"]
			if pages < 2*pairs {
				t.Errorf("the first sweep made %d requests for klines: this shows nothing", pages)
			}
			// All that is missing is what the few pairs with a hole at the end may have by now.
			sweep(pages / 10).end(t)
			later.Add(int64(time.Hour))
			second := sweep(pages / 2)
			if m := second.metrics(t); strings.Contains(m, "tidemark_candles_total{source=\"store\"} 0\n") {
				t.Error("no candle is counted as kept")
			}
			environ[1] = "DATABASE_URL=" + url(t)
			fresh := sweep(-1)
			for _, p := range truth.Pairs() {
				if p.Kind != simulated.Healthy {
					continue
				}
				var got, want analysisReply
				second.get(t, "/levels/"+p.Symbol, &got)
				if status := fresh.get(t, "/levels/"+p.Symbol, &want); status != http.StatusOK || !reflect.DeepEqual(got, want) {
					t.Fatalf("%s is\n%+v\nwith all candles fetched it is (%d)\n%+v", p.Symbol, got, status, want)
				}
			}
		})
	}
}

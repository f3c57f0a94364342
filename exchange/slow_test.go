package exchange

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// dribble sends candles byte by byte, a second each, until it is told to be quick.
type dribble struct {
	quick http.RoundTripper
	slow  bool
}

func (d *dribble) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := d.quick.RoundTrip(r)
	if err == nil && d.slow && strings.HasSuffix(r.URL.Path, "klines") {
		resp.Body = io.NopCloser(&drops{r.Context(), resp.Body})
	}
	return resp, err
}

type drops struct {
	ctx context.Context
	r   io.Reader
}

func (d *drops) Read(p []byte) (int, error) {
	if err := sleep(d.ctx, time.Second); err != nil {
		return 0, err
	}
	return d.r.Read(p[:1])
}

// A body that takes too long is like no response: the memory of the visit is free after one
// attempt, and not only when all have failed.
func TestVisit_ABodyThatDribblesHoldsNoMemoryBetweenAttempts(t *testing.T) {
	for range 20 { // pauses are random
		synctest.Test(t, func(t *testing.T) {
			f := newFake(Bounded, 100, "1h")
			d := &dribble{quick: served{f}, slow: true}
			c := New(f, Config{Transport: d, Timeout: 10 * time.Second})
			defer c.Close()
			ctx := service.Background(t.Context())
			v := c.Visit("BTCUSDT", "1h", 100)
			defer v.Close()
			if err := v.Wait(ctx); err != nil {
				t.Fatal(err)
			}
			var dst levels.Candles
			dst.Reset("1h", 0)
			start := time.Now()
			from := fakeNow.UnixMilli() - 100*3_600_000
			if err := v.Candles(ctx, "A", from, &dst, nil); !errors.Is(err, service.ErrLater) || time.Since(start) > 10*time.Second {
				t.Fatalf("%v after %v", err, time.Since(start))
			}
			if !c.Status().Silent {
				t.Error("the exchange counts as one that answers")
			}
			d.slow = false
			if err := v.Wait(ctx); err != nil {
				t.Fatal(err)
			}
			if err := v.Candles(ctx, "A", from, &dst, nil); err != nil || dst.Len() != 99 {
				t.Errorf("%d candles, %v", dst.Len(), err)
			}
		})
	}
}

package exchange

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// Whatever happens to visits, nothing of them stays reserved.
func TestVisit_NothingStaysReserved(t *testing.T) {
	for kind := range Bucket + 1 {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(Bounded, 100, "1h")
			f.cost = func(rows int) Cost { return Cost{1 + rows/50} }
			f.spec.Heaviest = Cost{3}
			f.spec.Budgets = []Budget{{Name: "requests", Kind: kind, Limit: 60, Period: 10 * time.Second, Burst: 20}}
			var mu sync.Mutex
			random := rand.New(rand.NewPCG(1, uint64(kind)))
			roll := func(n int) int { mu.Lock(); defer mu.Unlock(); return random.IntN(n) }
			f.respond = func(w http.ResponseWriter, r *http.Request) bool {
				time.Sleep(time.Duration(roll(200)) * time.Millisecond)
				switch roll(20) {
				case 0:
					w.Header().Set("Retry-After", "2")
					w.WriteHeader(429)
				case 1:
					w.WriteHeader(500)
				case 2:
					fmt.Fprint(w, `[[1`)
				case 3:
					<-r.Context().Done()
				case 4:
					w.WriteHeader(403)
				default:
					return false
				}
				return true
			}
			c := f.client(Config{})
			defer c.Close()
			var all sync.WaitGroup
			done := 0
			for i := range 40 {
				all.Go(func() {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if i%3 > 0 {
						ctx = service.Background(ctx)
					}
					if i%5 == 0 {
						time.AfterFunc(time.Duration(roll(20_000))*time.Millisecond, cancel)
					}
					var dst levels.Candles
					_, _, err := visitAll(ctx, c, "1h", 100+roll(2_000), &dst)
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						done++
					} else if i%5 > 0 && errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				})
			}
			all.Wait()
			c.Close()
			l := c.caller.limiter
			if b := &l.budgets[0]; b.inFlight != 0 || l.people != 0 || done == 0 {
				t.Errorf("kind %d: %d reserved, %d waiting, %d visits done", kind, b.inFlight, l.people, done)
			}
		})
	}
}

package exchange

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/service"
)

// worded is a venue whose refusals have a reason that this program does not know.
type worded struct{ *fake }

func (worded) Refuse(int, http.Header, []byte) error {
	return &Refusal{Venue: "Fake", Code: "4711", Err: service.ErrExchange}
}

// HTTP 429 and 418 shut the gate, whatever the venue's words.
func TestClient_TooManyRequestsIsAPauseWhateverTheReason(t *testing.T) {
	for status, want := range map[int]error{http.StatusTooManyRequests: service.ErrRateLimited, http.StatusTeapot: service.ErrBanned} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(Bounded, 100, "1h")
			start, asked := time.Now(), 0
			f.respond = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/klines" {
					return false
				}
				asked++
				refuse := time.Since(start) < time.Second
				if refuse {
					w.WriteHeader(status)
					fmt.Fprint(w, `{"code":4711}`)
				}
				return refuse
			}
			c := New(worded{f}, Config{Transport: served{f}, WeightShare: 1})
			defer c.Close()
			from := fakeNow.UnixMilli() - 50*3_600_000
			_, err := fetch(t, c, "1h", from)
			if want == service.ErrBanned {
				if !errors.Is(err, want) || !c.Status().Banned {
					t.Errorf("%d: %v", status, err)
				}
			} else if err != nil || time.Since(start) < defaultPause || asked != 2 {
				t.Errorf("%d: %v after %v and %d requests", status, err, time.Since(start), asked)
			}
		})
	}
}

package exchange

import (
	"net/http"
	"testing"
)

// A simulated market whose limits are looser than the venue's loosens nothing for a real
// one that has the same budgets.
func TestGroup_ASimulatedMarketLoosensNoRealOne(t *testing.T) {
	real, simulated := newFake(Bounded, 100, "1h"), newFake(Bounded, 100, "1h")
	simulated.respond = func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("X-Tidemark-Simulated", "true")
		w.Header().Set("X-Tidemark-Limit-Times", "100")
		return false
	}
	limit := func(fakes ...*fake) int {
		group := NewGroup(&real.spec, 0.5)
		var last *Client
		for _, f := range fakes {
			last = f.client(Config{Group: group})
			defer last.Close()
		}
		if _, err := last.Now(t.Context()); err != nil {
			t.Fatal(err)
		}
		return last.Status().Budgets[0].Limit
	}
	for _, c := range []struct {
		fakes []*fake
		want  int
	}{{[]*fake{real, simulated}, 10_000}, {[]*fake{simulated}, 1_000_000}} {
		if got := limit(c.fakes...); got != c.want {
			t.Errorf("%d of %d markets: a limit of %d, want %d", len(c.fakes)-1, len(c.fakes), got, c.want)
		}
	}
}

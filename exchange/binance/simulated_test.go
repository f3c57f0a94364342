package binance

// The client against the simulated exchange over real sockets, with every tenth
// response faulty: the result equals that of a faultless venue, and during a pause
// only requests arrive that were on their way when it was announced.

import (
	"context"
	"net/http/httptest"
	"reflect"
	"sync"
	"testing"
	"time"

	"tidemark/exchange/simulated"
	"tidemark/levels"
	"tidemark/service"
)

// wholeMarket fetches 1,200 hours of every tradable pair with 12 calls at once.
func wholeMarket(t *testing.T, c *Client, now time.Time) map[string][]levels.Candle {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var names []string
	for s, err := range c.Symbols(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if s.Trading {
			names = append(names, s.Name)
		}
	}
	var mu sync.Mutex
	all := map[string][]levels.Candle{}
	next := make(chan string)
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			var dst levels.Candles
			buf := make([]byte, 32<<10)
			for name := range next {
				dst.Reset("1h", 1200)
				if err := c.Candles(ctx, name, now.Add(-1200*time.Hour).UnixMilli(), &dst, buf); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				got := make([]levels.Candle, dst.Len())
				for i := range got {
					got[i] = dst.At(i)
				}
				mu.Lock()
				all[name] = got
				mu.Unlock()
			}
		})
	}
	for _, name := range names {
		next <- name
	}
	close(next)
	wg.Wait()
	return all
}

func TestClient_FaultsChangeNothing(t *testing.T) {
	now := venueStart
	connect := func(spec string) (*Client, *simulated.Server) {
		faults, err := simulated.ParseFaults(spec)
		if err != nil {
			t.Fatal(err)
		}
		venue := simulated.New(simulated.Options{Pairs: 40, Seed: 3, Now: func() time.Time { return now }, Faults: faults, Hang: time.Second})
		server := httptest.NewServer(venue)
		t.Cleanup(server.Close)
		c := New(Config{BaseURL: address(t, server.URL), Name: "simulated", Concurrency: 12, Attempts: 8, Timeout: 500 * time.Millisecond})
		t.Cleanup(c.Close)
		return c, venue
	}
	clean, _ := connect("")
	want := wholeMarket(t, clean, now)
	faulty, venue := connect("0.1")
	got := wholeMarket(t, faulty, now)
	if len(want) < 40 || !reflect.DeepEqual(got, want) {
		t.Errorf("%d pairs, want %d, with the same candles", len(got), len(want))
	}
	if m := faulty.Market(); m != (service.Market{Exchange: "simulated", Simulated: true, Sums: true}) {
		t.Errorf("%+v", m)
	}
	s := venue.Stats()
	if len(s.Faults) < 5 {
		t.Errorf("only %v faults", s.Faults)
	}
	for _, e := range s.Early {
		if e.Left < e.After {
			t.Errorf("%s sent %v into a pause", e.Endpoint, e.After)
		}
	}
	t.Logf("%d requests, %v faults, %d on their way when a pause began", s.Requests["klines"], s.Faults, s.EarlyCount)
}

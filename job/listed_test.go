package job

// These tests pin how a sweep marks stored pairs: a pair missing from the exchange's list
// is delisted, a pair that is back is listed again, and a list that lacks more than a
// third of the pairs delists none.

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/service"
)

func TestPlan_DelistsWhatTheExchangeNoLongerLists(t *testing.T) {
	for _, c := range []struct {
		name     string
		gone     int // of nine pairs stored
		delisted bool
	}{{"a third", 3, true}, {"more than a third", 4, false}, {"all", 9, false}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, store := &fakeExchange{}, &fakeStore{listed: map[string]PairState{"BACKUSDT": {Delisted: true}, "LONGGONE": {Delisted: true}}}
				x.symbols = []service.Symbol{{Name: "NEWUSDT", Base: "NEW", Quote: "USDT", Trading: true}, {Name: "BACKUSDT", Base: "BACK", Quote: "USDT", Trading: true}}
				for i := range 9 {
					name := fmt.Sprintf("P%dUSDT", i)
					store.listed[name] = PairState{Listed: true}
					switch {
					case i >= c.gone: // of another quote asset, which no filter lets pass
						x.symbols = append(x.symbols, service.Symbol{Name: name, Base: "P", Quote: "EUR", Trading: true})
					case i%2 == 0: // listed, and halted
						x.symbols = append(x.symbols, service.Symbol{Name: name, Base: "P", Quote: "USDT", Status: "BREAK"})
					}
				}
				a := newIdleRunner(t, testConfig{Concurrency: 1}, x, store)
				if _, err := a.plan(t.Context(), "fake", Scope{}, nil); err != nil {
					t.Fatal(err)
				}
				for i := range 9 {
					want := PairState{Listed: true}
					if i < c.gone && c.delisted {
						want = PairState{Delisted: true}
					}
					if name := fmt.Sprintf("P%dUSDT", i); store.listed[name] != want {
						t.Errorf("%s: %+v, want %+v", name, store.listed[name], want)
					}
				}
				if got := store.listed["BACKUSDT"]; got != (PairState{Listed: true}) {
					t.Errorf("a pair that is listed again: %+v", got)
				}
				if got := store.listed["LONGGONE"]; got != (PairState{Delisted: true}) {
					t.Errorf("a pair delisted before: %+v", got)
				}
			})
		})
	}
}

func TestPlan_WaitsUntilWhatIsDelistedCanBeStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, store := &fakeExchange{symbols: market(2)}, &fakeStore{listed: map[string]PairState{"P000USDT": {Delisted: true}}}
		full := time.Now().Add(10 * time.Minute)
		store.ListedFunc = func() error {
			if time.Now().Before(full) {
				return service.ErrFull
			}
			return nil
		}
		store.WritableFunc = store.ListedFunc
		a := newTestRunner(t, testConfig{}, x, store)
		j, _, err := a.Submit(t.Context(), Request{All: true, Store: true})
		if err != nil {
			t.Fatal(err)
		}
		if j = finished(t, a, j.ID); j.State != Completed || j.Done != 2 || time.Now().Before(full) {
			t.Errorf("%v before there is room: %+v, %+v", time.Until(full), j, j.Error)
		}
		if got := store.listed["P000USDT"]; got != (PairState{Listed: true}) {
			t.Errorf("a pair that is listed again: %+v", got)
		}
	})
}

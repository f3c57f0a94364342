package service

// These tests pin the semaphore: it bounds the number of busy slots and the bytes they
// reserve; it serves callers in order of arrival; it frees idle workspaces when memory
// is needed; it refuses at once what can never fit; and reads of stored data do not
// wait for slots that wait for the exchange.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
)

func TestSlots_AreAdmittedByTheBytesTheyMayNeed(t *testing.T) {
	for _, c := range []struct{ klines, want int }{
		{200, 6},  // the number of slots is the bound
		{2000, 3}, // the bytes are
		{10_000, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			x := &fakeExchange{CandlesFunc: slow(time.Second)}
			memory := max(3*SlotBytes(2000), SlotBytes(10_000)+finderBytes(10_000))
			a := newTestAnalyzer(t, Config{Concurrency: 6, QueueLimit: 100, Memory: memory}, x, &fakeStore{})
			results := make(chan error)
			for i := range 12 {
				go func() {
					_, err := a.Analyze(t.Context(), Request{Symbol: fmt.Sprint("P", i), KlineLimit: c.klines})
					results <- err
				}()
			}
			start := time.Now()
			for range 12 {
				if err := <-results; err != nil {
					t.Error(err)
				}
			}
			if x.maximum != c.want {
				t.Errorf("%d klines: %d at once, want %d", c.klines, x.maximum, c.want)
			}
			if took, want := time.Since(start), time.Duration(12/c.want)*time.Second; took != want {
				t.Errorf("%d klines: 12 analyses of 1 s took %s, want %s", c.klines, took, want)
			}
			if slots, bytes := a.slots.inUse(); slots != 0 || bytes != 0 {
				t.Errorf("%d slots with %d bytes are still in use", slots, bytes)
			}
		})
	}
}

func TestSlots_ALargeRequestIsNotPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &fakeExchange{CandlesFunc: slow(time.Second)}
		a := newTestAnalyzer(t, Config{Concurrency: 4, QueueLimit: 100, Memory: SlotBytes(10_000) + finderBytes(10_000)}, x, &fakeStore{})
		var ended []string
		results := make(chan string)
		ask := func(symbol string, klines int) {
			go func() {
				if _, err := a.Analyze(t.Context(), Request{Symbol: symbol, KlineLimit: klines}); err != nil {
					t.Error(err)
				}
				results <- symbol
			}()
			time.Sleep(100 * time.Millisecond)
		}
		ask("FIRST", 200)
		ask("LARGE", 10_000)
		ask("LAST", 200) // would fit together with FIRST
		for range 3 {
			ended = append(ended, <-results)
		}
		if got := strings.Join(ended, " "); got != "FIRST LARGE LAST" {
			t.Errorf("they ended as %s", got)
		}
	})
}

func TestSlots_WhoLeavesTheLineMakesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &fakeExchange{CandlesFunc: slow(time.Minute)}
		a := newTestAnalyzer(t, Config{Concurrency: 4, QueueLimit: 100, Memory: SlotBytes(10_000) + finderBytes(10_000), Timeout: time.Hour}, x, &fakeStore{})
		go a.Analyze(t.Context(), Request{Symbol: "FIRST", KlineLimit: 200})
		synctest.Wait()
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Analyze(impatient, Request{Symbol: "LARGE", KlineLimit: 10_000}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it ended with %v", err)
		}
		start := time.Now()
		if _, err := a.Analyze(t.Context(), Request{Symbol: "LAST", KlineLimit: 200}); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != time.Minute {
			t.Errorf("together with FIRST it took %s, want its own minute", took)
		}
		a.Stop(t.Context())
	})
}

func TestSlots_WhatHasNoRoomIsRefusedAndSaysWhatHas(t *testing.T) {
	a := newTestAnalyzer(t, Config{KlineLimit: 500, Memory: SlotBytes(1000)}, &fakeExchange{}, &fakeStore{})
	_, err1 := a.Analyze(t.Context(), Request{Symbol: "A", KlineLimit: 1001})
	interval, limit := levels.Interval("1h"), 10_000
	err2 := a.Settle(&interval, &limit)
	err3 := a.Candles(t.Context(), Key{Symbol: "A", Interval: "1h"}, 1001, func(*levels.Candles) error { return nil })
	for i, err := range []error{err1, err2, err3} {
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "at most 1000") {
			t.Errorf("refusal %d: %v", i+1, err)
		}
	}
	if _, err := a.Analyze(t.Context(), Request{Symbol: "A", KlineLimit: 1000}); err != nil {
		t.Errorf("an analysis that fits exactly: %v", err)
	}
	if most := a.MaxKlines(); most != 1000 {
		t.Errorf("the caller may send %d candles, want 1000", most)
	}
	if _, err := a.AnalyzeCandles(t.Context(), 1001, Tick{}, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("one more candle of the caller: %v", err)
	}
}

// held returns the real size of the workspaces of the slots.
func held(slots []*slot) (bytes int64) {
	for _, s := range slots {
		if s.buf != nil || s.candles.OpenTime != nil {
			bytes += SlotBytes(cap(s.candles.OpenTime))
		}
	}
	return bytes
}

func TestSlots_BusyAndIdleTogetherStayWithinTheirBytes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	limit := 5 * SlotBytes(2000)
	p := newPool(12, []string{"fake"}, limit, SlotBytes(4000))
	var busy []*slot
	type place struct {
		*waiter
		klines int
	}
	var line []place
	largest := 0
	for range 20_000 {
		switch {
		case random.IntN(2) == 0:
			klines := 100 + random.IntN(5000)
			l := p.fetching[0]
			if random.IntN(8) == 0 {
				l = p.local
			}
			s, w := p.acquire(l, SlotBytes(klines), nil)
			if w != nil {
				line = append(line, place{w, klines})
				break
			}
			s.candles.Reset("1h", klines+1)
			busy = append(busy, s)
		case len(busy) > 0 && random.IntN(4) > 0:
			i := random.IntN(len(busy))
			p.release(busy[i])
			busy = append(busy[:i], busy[i+1:]...)
		case len(line) > 0:
			i := random.IntN(len(line))
			p.cancel(line[i].waiter)
			line = append(line[:i], line[i+1:]...)
		}
		for i := 0; i < len(line); i++ {
			select {
			case s := <-line[i].ready:
				s.candles.Reset("1h", line[i].klines+1)
				busy = append(busy, s)
				line = append(line[:i], line[i+1:]...)
				i--
			default:
			}
		}
		idle := slices.Concat(p.fetching[0].idle, p.local.idle)
		if len(busy)+len(idle) != 13 || len(p.fetching[0].idle) > 12 || len(p.local.idle) > 1 {
			t.Fatalf("%d busy slots, %d and %d idle ones", len(busy), len(p.fetching[0].idle), len(p.local.idle))
		}
		if p.busy+p.idling > limit || p.busy < 0 || p.idling < 0 {
			t.Fatalf("accounted: %d busy and %d idle of %d bytes", p.busy, p.idling, limit)
		}
		// Columns are rounded up by the allocator, by a fifth at worst (of 4,097 klines,
		// beyond 32 KiB it rounds to pages), which the quarter in SlotBytes allows for.
		if got := held(idle) + held(busy); got > limit/4*5 {
			t.Fatalf("the workspaces hold %d bytes, at most %d are allowed", got, limit/4*5)
		}
		largest = max(largest, len(busy))
	}
	if largest < 6 {
		t.Errorf("never more than %d slots were busy: the test shows little", largest)
	}
	for _, w := range line {
		p.cancel(w.waiter)
	}
	for _, s := range busy {
		p.release(s)
	}
	if p.busy != 0 || len(p.fetching[0].idle) != 12 || len(p.local.idle) != 1 {
		t.Errorf("in the end %d bytes are busy, %d and %d slots idle", p.busy, len(p.fetching[0].idle), len(p.local.idle))
	}
}

// A sweep takes the memory that its other pairs release. With a separate queue, other
// work would not get memory until the sweep ends.
func TestSlots_OneLineForWhatFetchesAndWhatDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &fakeExchange{CandlesFunc: slow(time.Second)}
		a := newTestAnalyzer(t, Config{Concurrency: 3, KlineLimit: 600, QueueLimit: 100, Timeout: time.Hour, Memory: 2 * SlotBytes(600)}, x, &fakeStore{})
		end := time.Now().Add(time.Minute)
		for i := range 4 { // two have all the bytes, two wait for those
			go func() {
				for time.Now().Before(end) {
					if _, err := a.Analyze(t.Context(), Request{Symbol: fmt.Sprint("P", i), KlineLimit: 600}); err != nil {
						t.Error(err)
					}
				}
			}()
		}
		synctest.Wait()
		start := time.Now()
		if _, err := a.AnalyzeCandles(t.Context(), 200, Tick{}, func(dst *levels.Candles) error {
			dst.Reset("1h", 200)
			return wave(time.Now().Add(-200*time.Hour).UnixMilli(), dst)
		}); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 2*time.Second { // behind the two that waited already
			t.Errorf("the caller's klines waited %s", took)
		}
		time.Sleep(2 * time.Minute)
		a.Stop(t.Context())
	})
}

// Stored candles are served while all fetches wait for the exchange.
func TestSlots_WhatIsKeptDoesNotWaitForTheExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &fakeExchange{CandlesFunc: tides}
		a := newTestAnalyzer(t, Config{Concurrency: 2, KlineLimit: 600, QueueLimit: 100, Timeout: time.Hour}, x, &fakeStore{})
		snap := analyzeOne(t, a, 600)
		x.CandlesFunc = slow(time.Minute)
		for _, symbol := range []string{"A", "B", "C"} { // two have the slots, one waits
			go a.Analyze(t.Context(), Request{Symbol: symbol, KlineLimit: 200})
		}
		synctest.Wait()
		if slots, _ := a.slots.inUse(); slots != 2 {
			t.Fatalf("%d slots are in use", slots)
		}
		start, lent := time.Now(), 0
		count := func(c *levels.Candles) error { lent += c.Len(); return nil }
		for _, limit := range []int{1, 200, 600} {
			if err := a.Candles(t.Context(), snap.Key, limit, count); err != nil {
				t.Error(err)
			}
		}
		if err := a.Recall(t.Context(), &snap, 100, 0, count); err != nil {
			t.Error(err)
		}
		if _, err := a.Explain(t.Context(), &snap, both(&snap)[0].ID); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 0 || lent != 901 {
			t.Errorf("fn got %d candles after %s", lent, took)
		}
		if _, err := a.AnalyzeCandles(t.Context(), 200, Tick{}, func(dst *levels.Candles) error {
			dst.Reset("1h", 200)
			return wave(time.Now().Add(-200*time.Hour).UnixMilli(), dst)
		}); err != nil || time.Since(start) != 0 {
			t.Errorf("the caller's candles: after %s %v", time.Since(start), err)
		}
		// candles that are not stored must be fetched, and wait for a slot
		if err := a.Candles(t.Context(), Key{Symbol: "D", Interval: "1h"}, 100, count); err != nil || time.Since(start) < time.Minute {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		a.Stop(t.Context())
	})
}

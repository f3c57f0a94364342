package service

// These tests pin the explanation of a stored level: it uses the kept candles up to
// the analysis, its rounded effects add up, and a refusal has a reason.

import (
	"context"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
)

// tides fills dst like wave, with a less regular market.
func tides(_ context.Context, _ string, from int64, dst *levels.Candles) error {
	length := dst.Interval.Milliseconds()
	now := time.Now().UnixMilli()
	for open := (from + length - 1) / length * length; open+length <= now; open += length {
		p := func(t int64) float64 {
			x := float64(t / length)
			return 100 + 10*math.Sin(x/41) + 4*math.Sin(x/9.7) + math.Sin(x*1.3)
		}
		o, c := p(open), p(open+length)
		err := dst.Append(levels.Candle{OpenTime: open, Open: o, Close: c, High: max(o, c) + 0.5, Low: min(o, c) - 0.5, Volume: 10})
		if err != nil {
			return err
		}
	}
	return nil
}

func both(s *Snapshot) []levels.Level { return slices.Concat(s.Supports, s.Resistances) }

// rename gives the first level of s another ID, in a copy of its side.
func rename(s *Snapshot, id uint64) {
	side := &s.Supports
	if len(*side) == 0 { // a side may have no level
		side = &s.Resistances
	}
	*side = slices.Clone(*side)
	(*side)[0].ID = id
}

func TestExplain_TellsTheStoredLevelFromKeptCandles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, store := &fakeExchange{CandlesFunc: tides}, &fakeStore{}
		a := newTestAnalyzer(t, Config{KlineLimit: 600}, x, store)
		snap := analyzeOne(t, a, 600)
		x.CandlesFunc = func(context.Context, string, int64, *levels.Candles) error {
			t.Error("the exchange was asked")
			return ErrExchange
		}
		all := both(&snap)
		if len(all) < 4 {
			t.Fatalf("only %d levels", len(all))
		}
		for _, l := range all {
			e, err := a.Explain(t.Context(), &snap, l.ID)
			if err != nil {
				t.Fatal(err)
			}
			if e.Level != l || e.AsOf != snap.AsOf.UnixMilli() || e.Candles != snap.Klines || len(e.Touches) != int(l.Touches) || len(e.Found) == 0 {
				t.Errorf("the explanation of %+v is %+v", l, e)
			}
			var sum int64
			for _, f := range e.Factors {
				hundredths := math.Round(100 * f.Effect)
				if f.Effect != hundredths/100 {
					t.Errorf("%s moves %v points, which has more than two decimals", f.Name, f.Effect)
				}
				sum += int64(hundredths)
			}
			if want := int64(math.Round(1e4*float64(l.HoldProbability))) - int64(math.Round(1e4*float64(l.BaselineHold))); sum != want || len(e.Factors) == 0 {
				t.Errorf("%d factors move %d hundredths of a point, want %d", len(e.Factors), sum, want)
			}
		}
	})
}

func TestExplain_LooksAtNoCandleAfterTheAnalysis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		a := newTestAnalyzer(t, Config{KlineLimit: 600}, &fakeExchange{CandlesFunc: tides}, store)
		first := analyzeOne(t, a, 600)
		id := both(&first)[0].ID
		before, err := a.Explain(t.Context(), &first, id)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Hour)
		analyzeOne(t, a, 600)
		if kept := keptCandles(t, store); kept.AsOf() != first.AsOf.Add(3*time.Hour).UnixMilli() {
			t.Fatalf("candles are kept until %v", time.UnixMilli(kept.AsOf()))
		}
		after, err := a.Explain(t.Context(), &first, id)
		if err != nil || !reflect.DeepEqual(before, after) {
			t.Errorf("three candles later: %v %+v\nwant %+v", err, after, before)
		}
		// The first of its candles are no longer kept.
		time.Sleep(200 * time.Hour)
		analyzeOne(t, a, 600)
		if _, err := a.Explain(t.Context(), &first, id); !errors.Is(err, ErrNotExplainable) || !strings.Contains(err.Error(), "of its 600 candles") {
			t.Errorf("200 hours later: %v", err)
		}
	})
}

func TestExplain_SaysWhyItCannot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		a := newTestAnalyzer(t, Config{KlineLimit: 600}, &fakeExchange{CandlesFunc: tides}, store)
		snap := analyzeOne(t, a, 600)
		id := both(&snap)[0].ID
		broken := errors.New("the disk is gone")
		for name, test := range map[string]struct {
			change func(s *Snapshot) (restore func())
			id     uint64
			err    error
			says   string
		}{
			"no such level":     {nil, 1, ErrUnknownLevel, "has no level 0000000000000001"},
			"another algorithm": {func(s *Snapshot) func() { s.Algorithm = "0"; return nil }, id, ErrNotExplainable, "algorithm 0"},
			"another market":    {func(s *Snapshot) func() { s.Simulated = true; return nil }, id, ErrNotExplainable, "simulated"},
			"another pair":      {func(s *Snapshot) func() { s.Symbol = "P001USDT"; return nil }, id, ErrNotExplainable, "none of its candles"},
			"more than kept":    {func(s *Snapshot) func() { s.Klines = 900; return nil }, id, ErrNotExplainable, "of its 900 candles"},
			"other candles":     {func(s *Snapshot) func() { s.ATR *= 1.001; return nil }, id, ErrNotExplainable, "have changed"},
			"another level": {func(s *Snapshot) func() {
				rename(s, 7)
				return nil
			}, 7, ErrNotExplainable, "this level is not found"},
			"no database": {func(*Snapshot) func() {
				store.CandlesErr = broken
				return func() { store.CandlesErr = nil }
			}, id, broken, ""},
		} {
			s, restore := snap, func() {}
			if test.change != nil {
				if r := test.change(&s); r != nil {
					restore = r
				}
			}
			if _, err := a.Explain(t.Context(), &s, test.id); !errors.Is(err, test.err) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s: %v", name, err)
			}
			restore()
		}
		if _, err := a.Explain(t.Context(), &snap, id); err != nil {
			t.Errorf("with everything restored: %v", err)
		}
	})
}

func TestExplain_NeedsASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestAnalyzer(t, Config{Concurrency: 1, KlineLimit: 600}, &fakeExchange{CandlesFunc: tides}, &fakeStore{})
		snap := analyzeOne(t, a, 600)
		until := make(chan struct{})
		for range 2 {
			go a.Recall(t.Context(), &snap, 100, 0, func(*levels.Candles) error { <-until; return nil })
		}
		synctest.Wait() // they have the slot of analyses and the one aside of it
		explained := make(chan error, 1)
		go func() {
			_, err := a.Explain(t.Context(), &snap, both(&snap)[0].ID)
			explained <- err
		}()
		synctest.Wait()
		select {
		case err := <-explained:
			t.Fatalf("explained without a slot: %v", err)
		default:
		}
		close(until)
		if err := <-explained; err != nil {
			t.Error(err)
		}
		a.Stop(t.Context())
		if _, err := a.Explain(t.Context(), &snap, both(&snap)[0].ID); !errors.Is(err, ErrStopping) {
			t.Errorf("while stopping: %v", err)
		}
	})
}

func TestRecall_LendsTheLastCandlesOfTheAnalysis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		a := newTestAnalyzer(t, Config{KlineLimit: 600}, &fakeExchange{CandlesFunc: tides}, store)
		snap := analyzeOne(t, a, 600)
		time.Sleep(3 * time.Hour)
		analyzeOne(t, a, 600) // three more candles are kept
		for _, n := range []int{1, 50, 600, 5000} {
			lent := 0
			err := a.Recall(t.Context(), &snap, n, 0, func(c *levels.Candles) error {
				lent = c.Len()
				if c.AsOf() != snap.AsOf.UnixMilli() {
					t.Errorf("%d candles end at %v, the analysis at %v", n, time.UnixMilli(c.AsOf()), snap.AsOf)
				}
				return nil
			})
			// three of the 600 may have fallen out of what is kept, with their block
			if err != nil && n < 600 || err == nil && lent != min(n, 600) {
				t.Errorf("%d candles: %d, %v", n, lent, err)
			}
		}
		broken := errors.New("the pen is dry")
		if err := a.Recall(t.Context(), &snap, 50, 0, func(*levels.Candles) error { return broken }); !errors.Is(err, broken) {
			t.Errorf("the error of the caller became %v", err)
		}
		for says, change := range map[string]func(s *Snapshot){
			"one of them is simulated":        func(s *Snapshot) { s.Simulated = true },
			"none of its candles":             func(s *Snapshot) { s.Symbol = "P001USDT" },
			"of its 600 candles, 50":          func(s *Snapshot) { s.AsOf = s.AsOf.Add(4 * time.Hour) },
			"have changed since the analysis": func(s *Snapshot) { s.LastPrice += 11 },
		} {
			s := snap
			change(&s)
			err := a.Recall(t.Context(), &s, 50, 0, func(*levels.Candles) error {
				t.Errorf("%s: fn was called", says)
				return nil
			})
			if !errors.Is(err, ErrNotKept) || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v", says, err)
			}
		}
	})
}

func TestRecall_IsAdmittedWithTheBytesOfItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const more = 1 << 20
		c := Config{KlineLimit: 600, Concurrency: 3}
		c.Memory = c.need(600+BlockCandles) + more
		a := newTestAnalyzer(t, c, &fakeExchange{CandlesFunc: tides}, &fakeStore{})
		snap := analyzeOne(t, a, 600)
		if err := a.Recall(t.Context(), &snap, 50, more, func(*levels.Candles) error {
			if _, bytes := a.slots.inUse(); bytes < c.Memory {
				t.Errorf("%d bytes are in use, want %d", bytes, c.Memory)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		err := a.Recall(t.Context(), &snap, 50, more+1, func(*levels.Candles) error { return nil })
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "MEMORY_BUDGET") {
			t.Errorf("with one more byte: %v", err)
		}
	})
}

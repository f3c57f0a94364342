package service

import (
	"fmt"
	"math"
	"testing"
	"time"

	"tidemark/levels"
)

func TestPrices_HaveTheLastPriceOfEachPair(t *testing.T) {
	at := time.UnixMilli(1_795_000_000_000)
	var l PriceList
	for i := 999; i >= 0; i-- {
		l.Add(fmt.Appendf(nil, "P%dUSDT", i), float64(i)+0.5)
	}
	l.Add([]byte("P7USDT"), 3) // twice: the first counts
	for _, none := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		l.Add([]byte("NONEUSDT"), none)
	}
	n := l.Len()
	l.Add([]byte("CUTUSDT"), 1)
	l.Cut(n)
	p := l.Prices(at, 10*time.Second)
	if p.Pairs() != 1000 || !p.At.Equal(at) || !p.Until().Equal(at.Add(30*time.Second)) {
		t.Errorf("%d pairs at %v until %v", p.Pairs(), p.At, p.Until())
	}
	for i := range 1000 {
		if price, ok := p.Last(fmt.Sprintf("P%dUSDT", i)); !ok || price != float64(i)+0.5 {
			t.Errorf("P%dUSDT: %v %v", i, price, ok)
		}
	}
	for _, unknown := range []string{"", "P", "P1USD", "P1USDTX", "NONEUSDT", "CUTUSDT", "ZZZ", "\xff"} {
		if price, ok := p.Last(unknown); ok {
			t.Errorf("%q: %v", unknown, price)
		}
	}
	if _, ok := new(PriceList).Prices(at, time.Second).Last("P1USDT"); ok {
		t.Error("a price of nothing")
	}
}

func TestReprice_MovesTheLevelsThatPriceHasPassed(t *testing.T) {
	side := func(prices ...float64) (all []levels.Level) {
		for i, p := range prices {
			all = append(all, levels.Level{ID: uint64(p), Price: p, Samples: int32(i)})
		}
		return all
	}
	s := &Snapshot{LastPrice: 100, ATR: 1, Supports: side(99, 97, 95), Resistances: side(101, 103)}
	for _, c := range []struct {
		price                 float64
		supports, resistances []float64
		passed                [2]int
	}{
		{100, []float64{99, 97, 95}, []float64{101, 103}, [2]int{}},
		{99, []float64{99, 97, 95}, []float64{101, 103}, [2]int{}}, // at the price: it stands on it
		{98.99, []float64{97, 95}, []float64{99, 101, 103}, [2]int{0, 1}},
		{96, []float64{95}, []float64{97, 99, 101, 103}, [2]int{0, 2}},
		{90, nil, []float64{95, 97, 99, 101, 103}, [2]int{0, 3}},
		{101, []float64{101, 99, 97, 95}, []float64{103}, [2]int{1, 0}},
		{110, []float64{103, 101, 99, 97, 95}, nil, [2]int{2, 0}},
	} {
		got := s.Reprice(c.price, time.UnixMilli(1))
		for role, want := range [...][]float64{levels.Support: c.supports, levels.Resistance: c.resistances} {
			all := [...][]levels.Level{levels.Support: got.Supports, levels.Resistance: got.Resistances}[role]
			same := len(all) == len(want)
			for i := range min(len(all), len(want)) {
				same = same && all[i].Price == want[i] && got.Passed(levels.Role(role), i) == (i < c.passed[role])
			}
			if !same {
				t.Errorf("at %v: %v %+v", c.price, levels.Role(role), all)
			}
		}
		if got.Reference() != c.price || s.Reference() != 100 || len(s.Supports) != 3 || s.Supports[0].Price != 99 || s.Resistances[0].Price != 101 {
			t.Errorf("at %v: the analysis itself has changed: %+v", c.price, s)
		}
	}
}

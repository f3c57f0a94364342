package service

// These tests pin how prices meet the pair's tick, which rule removes a pair
// from a sweep, and which error becomes which code.

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tidemark/levels"
)

func TestTick_RoundsToTheDecimalTheVenueWouldWrite(t *testing.T) {
	for _, c := range []struct {
		tick Tick
		in   float64
		want string
	}{
		{Tick{1, 2}, 60800.104999, "60800.10"},
		{Tick{1, 2}, 0.1 + 0.2, "0.30"},
		{Tick{5, 4}, 1.00026, "1.0005"},
		{Tick{5, 4}, 1.00024, "1.0000"},
		{Tick{1, 8}, 0.00000001234, "0.00000001"},
		{Tick{1, 8}, 0.000000001, "0.00000001"}, // never zero
		{Tick{10, 0}, 61234, "61230"},
		{Tick{}, math.Pi, "3.141592653589793"}, // no tick known
	} {
		decimals := c.tick.Decimals
		if c.tick.Units == 0 {
			decimals = -1
		}
		if got := strconv.FormatFloat(c.tick.Round(c.in), 'f', decimals, 64); got != c.want {
			t.Errorf("%v on tick %v: %s, want %s", c.in, c.tick, got, c.want)
		}
	}
}

func TestTick_RoundedPricesAreTheNearestFloatOfTheirDecimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tick := Tick{rapid.SampledFrom([]int64{1, 2, 5, 10, 25}).Draw(t, "units"), rapid.IntRange(0, 8).Draw(t, "decimals")}
		p := math.Pow(10, rapid.Float64Range(-6, 6).Draw(t, "log price"))
		got := tick.Round(p)
		text := strconv.FormatFloat(got, 'f', tick.Decimals, 64)
		if back, _ := strconv.ParseFloat(text, 64); back != got {
			t.Fatalf("%v on %v gives %v, which is not %s", p, tick, got, text)
		}
		if step := float64(tick.Units) / math.Pow10(tick.Decimals); math.Abs(got-p) > step/2*(1+1e-9) && got > step {
			t.Fatalf("%v on %v moved to %v, over half a tick", p, tick, got)
		}
	})
}

func TestTick_LevelsThatFallTogetherAreOne(t *testing.T) {
	got := Tick{1, 0}.appendRounded(nil, []levels.Level{{Price: 9.9, Low: 9.8, High: 10}, {Price: 9.6, Low: 9.5, High: 9.7}, {Price: 8, Low: 8, High: 8}}, 11)
	if len(got) != 2 || got[0].Price != 10 || got[1].Price != 8 {
		t.Errorf("got %+v", got)
	}
}

func TestTick_AResistanceStaysAboveTheLastPrice(t *testing.T) {
	for _, c := range []struct{ last, price, want float64 }{{100, 100.2, 101}, {99.6, 100.3, 101}, {100, 100.6, 101}, {100, 102.4, 102}} {
		in := []levels.Level{{Role: levels.Resistance, Price: c.price, Low: c.price - 0.3, High: c.price + 0.1}}
		got := Tick{1, 0}.appendRounded(nil, in, c.last)[0]
		if got.Price != c.want || got.Low > got.Price || got.High < got.Price {
			t.Errorf("%v above %v: %v, zone %v to %v, want %v", c.price, c.last, got.Price, got.Low, got.High, c.want)
		}
	}
	if got := (Tick{1, 0}).appendRounded(nil, []levels.Level{{Price: 99.8, Low: 99, High: 100}}, 100)[0]; got.Price != 100 {
		t.Errorf("a support at 99.8 below 100: %v", got.Price)
	}
}

func TestCode_NamesEveryErrorThroughItsChain(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("a: %w", fmt.Errorf("b: %w", ErrNotAnalyzed)), "not_analyzed"},
		{&RetryAfterError{ErrBanned, time.Now()}, "banned"}, // before rate_limited, which it also is
		{&RetryAfterError{ErrRateLimited, time.Now()}, "rate_limited"},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), "timeout"},
		{levels.ErrTooFewCandles, "too_few_candles"},
		{errors.New("surprise"), "internal"},
	} {
		if got := Code(c.err); got != c.want {
			t.Errorf("%v is %q, want %q", c.err, got, c.want)
		}
	}
	if !errors.Is(ErrBanned, ErrRateLimited) {
		t.Error("a ban is a rate limit too")
	}
}

func TestSignificant_StepsGrowWithThePriceAndEndAtTheFinest(t *testing.T) {
	for _, c := range []struct {
		price  float64
		finest Tick
		want   Tick
	}{
		{61_234.5, Tick{}, Tick{1, 0}},
		{1_234_567, Tick{1, 3}, Tick{1, 0}}, // whole numbers are always valid
		{123.45, Tick{}, Tick{1, 2}},
		{0.0123456, Tick{}, Tick{1, 6}},
		{0.0123456, Tick{1, 6}, Tick{1, 6}},
		{0.0123456, Tick{1, 5}, Tick{1, 5}},
		{0.0000123, Tick{1, 8}, Tick{1, 8}},
		{2_500.5, Tick{1, 4}, Tick{1, 1}},
		{0.0123456, Tick{5, 6}, Tick{5, 6}},
		{61_234.5, Tick{1, 1}, Tick{1, 0}},
	} {
		if got := significant(c.price, 5, c.finest); got != c.want {
			t.Errorf("%v, at least %v: %v, want %v", c.price, c.finest, got, c.want)
		}
	}
}

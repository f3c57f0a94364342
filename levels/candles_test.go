// This file pins the validation of the library: which intervals and candles it
// accepts, its errors for the others, and how it counts missing candles.

package levels

import (
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseInterval_AcceptsExactlyWhatIntervalsLists(t *testing.T) {
	want := []Interval{"1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w"}
	if got := Intervals(); !slices.Equal(got, want) {
		t.Fatalf("Intervals() = %v", got)
	}
	for _, name := range want {
		if got, err := ParseInterval(string(name)); got != name || err != nil {
			t.Errorf("ParseInterval(%q) = %q, %v", name, got, err)
		}
	}
	if !slices.IsSortedFunc(want, func(a, b Interval) int { return int(a.Duration() - b.Duration()) }) {
		t.Error("intervals are not listed shortest first")
	}
	if d := Interval("3d").Duration(); d != 72*time.Hour {
		t.Errorf("3d lasts %v", d)
	}
	if ms := Interval("1w").Milliseconds(); ms != 604_800_000 {
		t.Errorf("1w lasts %d ms", ms)
	}
}

func TestParseInterval_RefusesAnythingElseWithTheValidNames(t *testing.T) {
	for _, name := range []string{"", "1M", "1H", " 1h", "60m", "7h", "1", "h", "1h\x00"} {
		got, err := ParseInterval(name)
		if got != "" || !errors.Is(err, ErrUnknownInterval) {
			t.Errorf("ParseInterval(%q) = %q, %v", name, got, err)
			continue
		}
		if !strings.Contains(err.Error(), "1m, 3m, 5m") || !strings.Contains(err.Error(), "1w") {
			t.Errorf("the error for %q does not say what is valid: %v", name, err)
		}
		if Interval(name).Duration() != 0 {
			t.Errorf("%q has a duration", name)
		}
	}
}

func TestNextBoundary_IsAMultipleSinceTheEpochAndForWeeksAMonday(t *testing.T) {
	from := time.Date(2026, 11, 23, 1, 20, 0, 0, time.UTC) // a Monday
	for d, want := range map[time.Duration]time.Time{
		time.Hour:        time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC),
		4 * time.Hour:    time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC),
		24 * time.Hour:   time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC),
		168 * time.Hour:  time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC),
		80 * time.Minute: time.Date(2026, 11, 23, 2, 40, 0, 0, time.UTC),
	} {
		if got := NextBoundary(from, d); !got.Equal(want) {
			t.Errorf("the boundary of %s after %s is %s, want %s", d, from, got, want)
		}
		if got := NextBoundary(want, d); !got.Equal(want.Add(d)) {
			t.Errorf("the boundary of %s after the boundary %s is %s, want one step later", d, want, got)
		}
	}
	if got := NextBoundary(time.UnixMilli(-1), time.Hour); got.UnixMilli() != 0 {
		t.Errorf("the boundary after a moment before the epoch is %s", got)
	}
}

func TestCandles_AppendRefuses(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, test := range []struct {
		name, says string
		candle     Candle
	}{
		{"NaN open", "open NaN lies outside", Candle{5 * hour, nan, 3, 1, 2, 1}},
		{"NaN high", "finite", Candle{5 * hour, 2, nan, 1, 2, 1}},
		{"NaN low", "finite", Candle{5 * hour, 2, 3, nan, 2, 1}},
		{"NaN close", "close NaN lies outside", Candle{5 * hour, 2, 3, 1, nan, 1}},
		{"NaN volume", "volume", Candle{5 * hour, 2, 3, 1, 2, nan}},
		{"infinite high", "finite", Candle{5 * hour, 2, inf, 1, 2, 1}},
		{"infinite volume", "volume", Candle{5 * hour, 2, 3, 1, 2, inf}},
		{"zero low", "positive", Candle{5 * hour, 2, 3, 0, 2, 1}},
		{"negative low", "positive", Candle{5 * hour, 2, 3, -1, 2, 1}},
		{"negative volume", "not negative", Candle{5 * hour, 2, 3, 1, 2, -1}},
		{"high below low", "below low", Candle{5 * hour, 2, 1, 3, 2, 1}},
		{"open above high", "open 4 lies outside", Candle{5 * hour, 4, 3, 1, 2, 1}},
		{"open below low", "open 0.5 lies outside", Candle{5 * hour, 0.5, 3, 1, 2, 1}},
		{"close above high", "close 4 lies outside", Candle{5 * hour, 2, 3, 1, 4, 1}},
		{"close below low", "close 0.5 lies outside", Candle{5 * hour, 2, 3, 1, 0.5, 1}},
		{"repeated open time", "repeated", Candle{4 * hour, 2, 3, 1, 2, 1}},
		{"earlier open time", "ascending", Candle{3 * hour, 2, 3, 1, 2, 1}},
		{"half an interval later", "less than one interval (1h)", Candle{4*hour + hour/2, 2, 3, 1, 2, 1}},
		{"negative open time", "Unix milliseconds", Candle{-1, 2, 3, 1, 2, 1}},
		{"microseconds", "Unix milliseconds", Candle{1_600_000_000_000_000, 2, 3, 1, 2, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var c Candles
			c.Reset("1h", 2)
			if err := c.Append(Candle{4 * hour, 2, 3, 1, 2, 1}); err != nil {
				t.Fatal(err)
			}
			err := c.Append(test.candle)
			if !errors.Is(err, ErrBadCandle) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("Append: %v, want ErrBadCandle saying %q", err, test.says)
			}
			if c.Len() != 1 || len(c.Volume) != 1 {
				t.Error("a refused candle changed the series")
			}
		})
	}
}

func TestCandles_AppendAcceptsTheExtremesOfWhatIsValid(t *testing.T) {
	var c Candles
	c.Reset("1h", 0)
	for i, k := range []Candle{
		{0, 1, 1, 1, 1, 0},
		{1, 5e-324, math.MaxFloat64, 5e-324, math.MaxFloat64, math.MaxFloat64},
		{9, 1e-8, 1e-8, 1e-8, 1e-8, 1},
	} {
		k.OpenTime *= hour
		if err := c.Append(k); err != nil {
			t.Fatal(err)
		}
		if c.At(i) != k {
			t.Errorf("candle %d came back as %v", i, c.At(i))
		}
	}
}

func TestCandles_AppendWithoutResetIsRefused(t *testing.T) {
	var c Candles
	if err := c.Append(Candle{0, 1, 1, 1, 1, 0}); !errors.Is(err, ErrBadCandle) || !strings.Contains(err.Error(), "Reset") {
		t.Errorf("Append: %v", err)
	}
}

func TestCandles_HolesAreCountedNotFilled(t *testing.T) {
	var c Candles
	c.Reset("1h", 4)
	if c.Missing() != 0 || c.AsOf() != 0 {
		t.Errorf("empty: %d missing, as of %d", c.Missing(), c.AsOf())
	}
	// venues sometimes restart late: the fourth candle is off the grid
	for _, at := range []int64{10 * hour, 11 * hour, 14 * hour, 15*hour + 60_000, 16*hour + 60_000} {
		if err := c.Append(Candle{at, 1, 1, 1, 1, 0}); err != nil {
			t.Fatal(err)
		}
	}
	if c.Missing() != 2 || c.Len() != 5 {
		t.Errorf("%d missing of %d, want 2 of 5", c.Missing(), c.Len())
	}
	if c.AsOf() != 17*hour+60_000 {
		t.Errorf("as of %d", c.AsOf())
	}
	// a late first candle does not hide a gap after it
	c.Reset("1h", 2)
	for _, at := range []int64{10*hour + 60_000, 12 * hour} {
		if err := c.Append(Candle{at, 1, 1, 1, 1, 0}); err != nil {
			t.Fatal(err)
		}
	}
	if c.Missing() != 1 {
		t.Errorf("%d missing between 10:01 and 12:00, want 1", c.Missing())
	}
	if literal := (&Candles{OpenTime: []int64{0, hour}}); literal.Missing() != 0 {
		t.Error("a series without an interval cannot count missing candles")
	}
}

func TestCandles_ResetKeepsTheMemory(t *testing.T) {
	var c Candles
	fill := func() {
		c.Reset("5m", 100)
		for i := range int64(100) {
			if err := c.Append(Candle{i * 300_000, 1, 1, 1, 1, 0}); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill()
	if n := testing.AllocsPerRun(10, fill); n != 0 {
		t.Errorf("%v allocations to fill a used value", n)
	}
	if c.Reset("1h", 10); c.Len() != 0 || c.Interval != "1h" {
		t.Errorf("after Reset: %d candles of %s", c.Len(), c.Interval)
	}
}

func TestCandles_RealKlinesPassTheDoor(t *testing.T) {
	computes(t)
	for _, file := range realFiles(t, "*.csv.gz", 30) {
		c, refused := load(t, file, 100_000)
		if len(refused) > 0 {
			t.Errorf("%s: %d rows refused of %d, first: %v", filepath.Base(file), len(refused), c.Len()+len(refused), refused[0])
		}
	}
}

package exchange

// Pages become one series whatever their order and reach, and intervals that a venue lacks
// are merged from finer ones exactly as by a straight sum.

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// holes leaves out every third of some stretches, and whole hours.
func holes(step, open int64) bool {
	n := open / step
	return n%29 < 6 && n%3 == 0 || open/3_600_000%31 == 5
}

func TestCandles_MergedAreTheStraightSum(t *testing.T) {
	if testing.Short() {
		t.Skip("only computes")
	}
	reaches := map[string]Reach{"bounded": Bounded, "oldest": Oldest, "until": Until, "since": Since, "newest": Newest}
	for reachName, reach := range reaches {
		for _, descending := range []bool{false, true} {
			for absentName, absent := range map[string]func(step, open int64) bool{"whole": nil, "holes": holes} {
				for _, interval := range []levels.Interval{"1m", "3m", "15m", "1h", "4h", "12h", "1d", "3d", "1w"} {
					f := newFake(reach, 700, "1m", "5m", "1h", "1d")
					f.descending, f.absent = descending, absent
					c := f.client(Config{Attempts: 1})
					src, err := f.spec.source(interval)
					if err != nil {
						t.Fatal(err)
					}
					n := int64(1500) // three pages
					if reach == Since || reach == Newest {
						n = 600
					}
					now := fakeNow.UnixMilli()
					for _, from := range []int64{now - n*src.from.Milliseconds(), interval.Floor(now - n*src.from.Milliseconds())} {
						name := fmt.Sprintf("%s, newest first %v, %s, %s from %d", reachName, descending, absentName, interval, from)
						got, err := fetch(t, c, interval, from)
						if err != nil {
							t.Errorf("%s: %v", name, err)
							continue
						}
						want := merged(f.between(src.from, from-interval.Milliseconds(), now), interval, from, now)
						if len(got) == 0 && n > 8*int64(src.ratio) || !slices.Equal(got, want) {
							t.Errorf("%s: %d candles, want %d", name, len(got), len(want))
						}
						if interval == "1w" && len(got) > 0 && time.UnixMilli(got[0].OpenTime).UTC().Weekday() != time.Monday {
							t.Errorf("%s: a week opens at %v", name, time.UnixMilli(got[0].OpenTime).UTC())
						}
					}
					c.Close()
				}
			}
		}
	}
}

// A candle that begins before what the venue still has is left out, whole or not; nothing
// is lost if the response could hold all.
func TestCandles_TheFirstMergedCandleIsWhole(t *testing.T) {
	now := fakeNow.UnixMilli()
	for name, reach := range map[string]Reach{"since": Since, "newest": Newest} {
		for _, descending := range []bool{false, true} {
			f := newFake(reach, 101, "1m")
			f.descending = descending
			c := f.client(Config{})
			defer c.Close()
			got, err := fetch(t, c, "15m", now-10*3_600_000)
			// 101 minutes to 10:30 begin at 8:50
			first := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC).UnixMilli()
			want := merged(f.between("1m", first, now), "15m", 0, now)
			if err != nil || !slices.Equal(got, want) || len(got) != 6 {
				t.Errorf("%s, newest first %v: %d candles, want %d; %v", name, descending, len(got), len(want), err)
			}
			// The first minutes of a pair, and a hole at the start of a range, are no cut.
			young := time.Date(2026, 11, 20, 9, 7, 0, 0, time.UTC).UnixMilli()
			f.listed = young
			if got, err := fetch(t, c, "15m", now-95*60_000); err != nil || len(got) != 6 || got[0].OpenTime != first || got[0].Open != f.candle(60_000, young).Open {
				t.Errorf("%s, newest first %v: a young pair has %d candles, %v", name, descending, len(got), err)
			}
		}
	}
}

func TestCandles_ContinueAMergedSeries(t *testing.T) {
	for _, reach := range []Reach{Bounded, Since, Newest} {
		f := newFake(reach, 700, "1m")
		f.absent = holes
		c := f.client(Config{})
		defer c.Close()
		var dst levels.Candles
		dst.Reset("5m", 0)
		from := fakeNow.UnixMilli() - 600*60_000
		if err := c.Candles(t.Context(), "A", from, &dst, nil); err != nil {
			t.Fatal(err)
		}
		whole := listOf(&dst)
		for _, keep := range []int{1, 17, len(whole) - 1, len(whole)} {
			dst.Truncate(keep)
			if err := c.Candles(t.Context(), "A", from, &dst, nil); err != nil || !slices.Equal(listOf(&dst), whole) {
				t.Errorf("reach %d from %d: %d candles, want %d, %v", reach, keep, dst.Len(), len(whole), err)
			}
			dst.Truncate(keep)
			for _, k := range whole[keep:] {
				if dst.Append(k) != nil {
					t.Fatal(k)
				}
			}
		}
	}
}

// No candle is split between pages, no page has more rows than the venue sends, and the
// range is requested once.
func TestCandles_PagesOfMergedIntervalsAreAligned(t *testing.T) {
	f := newFake(Bounded, 100, "1m", "1d")
	c := f.client(Config{})
	defer c.Close()
	if _, err := fetch(t, c, "1h", fakeNow.UnixMilli()-48*3_600_000); err != nil {
		t.Fatal(err)
	}
	pages := f.requested()
	if len(pages) != 47 { // whole hours, one each, as 100 minutes hold one
		t.Errorf("%d pages", len(pages))
	}
	for i, w := range pages {
		if levels.Interval("1h").Floor(w.From) != w.From || w.Rows > 100 || w.Through-w.From != int64(w.Rows)*60_000-1 && w.Through-w.From != int64(w.Rows-1)*60_000 ||
			i > 0 && w.From != pages[i-1].From+3_600_000 {
			t.Errorf("page %d is %+v", i, w)
		}
	}
}

func TestCandles_AHistoryIsNotExceeded(t *testing.T) {
	f := newFake(Bounded, 300, "1h", "1d")
	f.spec.History = 500
	c := f.client(Config{})
	defer c.Close()
	now := fakeNow.UnixMilli()
	oldest := levels.Interval("1h").Floor(now) - 499*3_600_000
	got, err := fetch(t, c, "1h", 0)
	if err != nil || len(got) != 499 || got[0].OpenTime != oldest {
		t.Errorf("%d candles, %v", len(got), err)
	}
	if w := f.requested(); len(w) != 2 || w[0].From != oldest {
		t.Errorf("pages %+v", w)
	}
	got, err = fetch(t, c, "4h", 0)
	want := merged(f.between("1h", oldest, now), "4h", oldest, now)
	if err != nil || !slices.Equal(got, want) || got[0].OpenTime < oldest {
		t.Errorf("%d candles, want %d, %v", len(got), len(want), err)
	}
}

func TestCandles_RowsOfAnotherTimeAreAnError(t *testing.T) {
	hour := int64(3_600_000)
	old := fakeNow.UnixMilli() / hour * hour
	row := func(open int64) string { return fmt.Sprintf("[%d,1,2,1,2,3]", open) }
	for _, tt := range []struct {
		name  string
		body  string
		reach Reach
		rows  int // -1: an error
	}{
		{"none", `[]`, Bounded, 0},
		{"1970", "[" + row(hour) + "," + row(2*hour) + "]", Bounded, -1},
		{"1970, of another order", "[" + row(2*hour) + "," + row(hour) + "]", Oldest, -1},
		{"another year, with one of the range", "[" + row(hour) + "," + row(old-5*hour) + "]", Bounded, 1},
		{"just before, as of a halted pair", "[" + row(old-12*hour) + "]", Bounded, 0},
		{"older, where only the end counts", "[" + row(old-500*hour) + "]", Until, 0},
		{"older, of a venue without ranges", "[" + row(old-500*hour) + "]", Newest, 0},
		{"only the open one", "[" + row(old) + "]", Bounded, 0},
		{"a day from now", "[" + row(old+24*hour) + "]", Bounded, 0},
		{"the same twice", "[" + row(old-5*hour) + "," + row(old-5*hour) + "]", Bounded, 1},
		{"one time twice", "[" + row(old-5*hour) + "," + strings.Replace(row(old-5*hour), "3]", "4]", 1) + "]", Bounded, -1},
		{"not in order", "[" + row(old-5*hour) + "," + row(old-3*hour) + "," + row(old-4*hour) + "]", Bounded, -1},
		{"too near", "[" + row(old-5*hour) + "," + row(old-5*hour+1) + "]", Bounded, -1},
		{"high below low", fmt.Sprintf("[[%d,1,1,2,1,3]]", old-5*hour), Bounded, -1},
	} {
		f := newFake(tt.reach, 100, "1h")
		f.respond = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/klines" || len(f.requested()) > 1 {
				return false
			}
			io.WriteString(w, tt.body)
			return true
		}
		f.listed = old // no rows in later pages
		c := f.client(Config{Attempts: 1})
		got, err := fetch(t, c, "1h", old-10*hour)
		c.Close()
		if (err != nil) != (tt.rows < 0) || err == nil && len(got) != tt.rows || err != nil && !errors.Is(err, service.ErrExchange) {
			t.Errorf("%s: %v, %v", tt.name, got, err)
		}
	}
}

// What is wrong with a part would not show in the sum.
func TestCandles_EachPartOfAMergedCandleIsChecked(t *testing.T) {
	at := fakeNow.Truncate(4*time.Hour).UnixMilli() - 4*3_600_000
	for name, second := range map[string]string{
		"good": "1,3,1,2,3", "high below low": "1.5,1,2,1.5,3", "open outside": "7,2,1,2,3", "close outside": "1,2,1,7,3", "a negative volume": "1,2,1,2,-3",
	} {
		f := newFake(Bounded, 100, "1h")
		f.respond = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/klines" {
				fmt.Fprintf(w, "[[%d,1,9,1,2,9],[%d,%s],[%d,1,2,1,2,3]]", at, at+3_600_000, second, at+2*3_600_000)
			}
			return r.URL.Path == "/klines"
		}
		c := f.client(Config{Attempts: 1})
		_, err := fetch(t, c, "4h", at)
		c.Close()
		if (name == "good") != (err == nil) || err != nil && !errors.Is(err, levels.ErrBadCandle) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCandles_DaysThatOpenAtAnotherHourAreRefused(t *testing.T) {
	for _, tt := range []struct {
		interval levels.Interval
		shift    time.Duration
		ok       bool
	}{
		{"1d", 0, true}, {"1d", -8 * time.Hour, false}, {"1w", 0, true}, {"1w", 24 * time.Hour, false}, {"12h", 4 * time.Hour, false},
		{"6h", 2 * time.Hour, false}, {"3d", 24 * time.Hour, true}, {"4h", 0, true},
	} {
		f := newFake(Bounded, 100, tt.interval)
		f.shift = tt.shift
		c := f.client(Config{Attempts: 1})
		_, err := fetch(t, c, tt.interval, fakeNow.UnixMilli()-20*tt.interval.Milliseconds())
		c.Close()
		if (err == nil) != tt.ok || err != nil && !strings.Contains(err.Error(), "not a multiple of its length") {
			t.Errorf("%s at %v: %v", tt.interval, tt.shift, err)
		}
	}
}

func TestForming_IsMergedToo(t *testing.T) {
	now := fakeNow.UnixMilli()
	for _, reach := range []Reach{Bounded, Oldest, Until, Since, Newest} {
		for _, descending := range []bool{false, true} {
			for _, interval := range []levels.Interval{"1m", "15m", "1h", "1d", "1w"} {
				f := newFake(reach, 2000, "1m", "1d")
				f.descending = descending
				c := f.client(Config{})
				got, err := c.Forming(t.Context(), "A", interval)
				src, _ := f.spec.source(interval)
				open := interval.Floor(now)
				want := merged(f.between(src.from, open, now), interval, open, open+interval.Milliseconds())
				if err != nil || got == nil || got.Candle != want[len(want)-1] {
					t.Errorf("reach %d, newest first %v, %s: %+v, want %+v; %v", reach, descending, interval, got, want, err)
				}
				c.Close()
			}
		}
	}
}

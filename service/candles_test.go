package service

// These tests pin the use of stored candles: an analysis fetches only new candles,
// and it counts and logs when it cannot use the stored ones.

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"tidemark/levels"
)

// asked records the first open time of every request for candles.
func asked(x *fakeExchange) *[]time.Time {
	all := new([]time.Time)
	fill := x.CandlesFunc
	x.CandlesFunc = func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
		*all = append(*all, time.UnixMilli(from).UTC())
		if fill != nil {
			return fill(ctx, symbol, from, dst)
		}
		return wave(from, dst)
	}
	return all
}

func analyzeOne(t *testing.T, a *Analyzer, klines int) Snapshot {
	t.Helper()
	snap, err := a.Analyze(t.Context(), Request{Symbol: "P000USDT", KlineLimit: klines, Store: true})
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// keptCandles reads the stored candles of P000USDT.
func keptCandles(t *testing.T, s *fakeStore) *levels.Candles {
	t.Helper()
	c := new(levels.Candles)
	c.Reset("1h", 0)
	if _, err := s.Candles(t.Context(), Key{"fake", "P000USDT", "1h"}, 0, c, nil); err != nil && !errors.Is(err, ErrNotAnalyzed) {
		t.Fatal(err)
	}
	return c
}

func TestAnalyze_FetchesOnlyWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, store := &fakeExchange{}, &fakeStore{}
		requests := asked(x)
		a := newTestAnalyzer(t, Config{}, x, store)
		analyzeOne(t, a, 200)
		time.Sleep(10 * time.Minute)
		analyzeOne(t, a, 200)
		if len(*requests) != 1 {
			t.Errorf("asked for %v although no candle has closed since", *requests)
		}
		for _, hours := range []int{1, 2, 150} {
			last := time.UnixMilli(keptCandles(t, store).AsOf()).Add(-time.Hour).UTC()
			*requests = nil
			time.Sleep(time.Duration(hours) * time.Hour)
			got := analyzeOne(t, a, 200)
			if !slices.Equal(*requests, []time.Time{last}) {
				t.Errorf("%d hours later: asked for candles since %v, want since %v, the last one kept", hours, *requests, last)
			}
			for _, side := range [...][]levels.Level{got.Supports, got.Resistances} {
				for i := range side {
					side[i].Replaces = 0 // only this depends on earlier analyses
				}
			}
			fresh := newTestAnalyzer(t, Config{}, &fakeExchange{}, &fakeStore{})
			if want := analyzeOne(t, fresh, 200); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%d hours later: the analysis is\n%v\nwith all candles fetched it is\n%v", hours, got, want)
			}
		}
		if n := testutil.ToFloat64(a.metrics.candles.WithLabelValues("store")); n < 600 {
			t.Errorf("%v candles counted as read from the store", n)
		}
		if most := 200 + BlockCandles; keptCandles(t, store).Len() > most {
			t.Errorf("%d candles are kept, want at most %d", keptCandles(t, store).Len(), most)
		}
	})
}

func TestAnalyze_FetchesAnewWhatKeptCandlesAreOfNoUseFor(t *testing.T) {
	other := func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
		if err := wave(from, dst); err != nil {
			return err
		}
		for i := range dst.Len() {
			dst.Volume[i]++
		}
		return nil
	}
	for _, c := range []struct {
		name, reason string
		spoil        func(x *fakeExchange, s *fakeStore)
		klines       int
		later        time.Duration
	}{
		{"the venue's candle differs", refetchDisagree, func(x *fakeExchange, s *fakeStore) { x.CandlesFunc = other }, 200, time.Hour},
		{"the venue has it no more", refetchDisagree, func(x *fakeExchange, s *fakeStore) {
			begin := time.Now()
			x.CandlesFunc = func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
				return wave(max(from, begin.UnixMilli()), dst)
			}
		}, 200, 60 * time.Hour},
		{"they are of the future", refetchDisagree, func(x *fakeExchange, s *fakeStore) {
			x.NowFunc = func() (time.Time, error) { return time.Now().Add(-3 * time.Hour), nil }
			x.CandlesFunc = func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
				err := wave(from, dst)
				dst.Truncate(dst.Len() - 3)
				return err
			}
		}, 200, 0},
		{"a block is damaged", refetchDamaged, func(x *fakeExchange, s *fakeStore) {
			for _, b := range s.candles[Key{"fake", "P000USDT", "1h"}] {
				b.packed[len(b.packed)/2]++
			}
		}, 200, time.Hour},
		{"the database cannot be read", refetchDamaged, func(x *fakeExchange, s *fakeStore) { s.CandlesErr = ErrStorage }, 200, time.Hour},
		{"the market is simulated", refetchSimulated, func(x *fakeExchange, s *fakeStore) { x.simulated = true }, 200, time.Hour},
		{"the market turns out to be simulated", refetchSimulated, func(x *fakeExchange, s *fakeStore) {
			x.CandlesFunc = func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
				x.simulated = true
				return wave(from, dst)
			}
		}, 200, time.Hour},
		{"more are asked for", refetchShort, func(x *fakeExchange, s *fakeStore) {}, 400, time.Hour},
		{"they are too old", refetchShort, func(x *fakeExchange, s *fakeStore) {}, 200, 300 * time.Hour},
		{"a block is missing", refetchShort, func(x *fakeExchange, s *fakeStore) {
			blocks := s.candles[Key{"fake", "P000USDT", "1h"}]
			delete(blocks, spanOf(time.Now().Add(-130*time.Hour).UnixMilli(), "1h"))
		}, 200, time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, store := &fakeExchange{}, &fakeStore{}
				a := newTestAnalyzer(t, Config{}, x, store)
				analyzeOne(t, a, 200)
				c.spoil(x, store)
				requests := asked(x)
				time.Sleep(c.later)
				snap := analyzeOne(t, a, c.klines)
				now, err := x.Now(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				from := now.Add(-time.Duration(c.klines+1)*time.Hour + time.Millisecond).UTC()
				if all := *requests; len(all) == 0 || !all[len(all)-1].Equal(from) {
					t.Errorf("asked for candles since %v, want all since %v", all, from)
				}
				if n := testutil.ToFloat64(a.metrics.refetched.WithLabelValues(c.reason)); n != 1 {
					t.Errorf("%v refetches counted as %q", n, c.reason)
				}
				if snap.Simulated != x.simulated {
					t.Errorf("the analysis says simulated: %v", snap.Simulated)
				}
				// What has been fetched is what is kept now.
				store.CandlesErr = nil
				*requests = nil
				analyzeOne(t, a, 200)
				if len(*requests) > 0 {
					t.Errorf("the whole window was fetched twice, since %v", *requests)
				}
			})
		})
	}
}

func TestAnalyze_OfFewerKlinesShrinksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, store := &fakeExchange{}, &fakeStore{}
		a := newTestAnalyzer(t, Config{KlineLimit: 600}, x, store)
		analyzeOne(t, a, 600)
		for range 40 {
			time.Sleep(5 * time.Hour)
			analyzeOne(t, a, 100)
		}
		requests := asked(x)
		if snap := analyzeOne(t, a, 600); snap.Klines != 600 || len(*requests) > 0 {
			t.Errorf("an analysis of %d klines asked for candles since %v", snap.Klines, *requests)
		}
	})
}

func TestAnalyze_YoungPairIsNotFetchedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listed := time.Now().Add(-80 * time.Hour).UnixMilli()
		x, store := &fakeExchange{CandlesFunc: func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
			return wave(max(from, listed), dst)
		}}, &fakeStore{}
		a := newTestAnalyzer(t, Config{}, x, store)
		analyzeOne(t, a, 200)
		time.Sleep(time.Hour)
		requests := asked(x)
		if snap := analyzeOne(t, a, 200); snap.Klines != 81 || len(*requests) != 1 || time.Since((*requests)[0]) > 3*time.Hour {
			t.Errorf("an analysis of %d klines asked for candles since %v", snap.Klines, *requests)
		}
	})
}

func TestAnalyze_PairThatCannotHaveEnoughCandlesYetIsNotAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listed := time.Now().Add(-10 * time.Hour).UnixMilli()
		x := &fakeExchange{CandlesFunc: func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
			return wave(max(from, listed), dst)
		}}
		a := newTestAnalyzer(t, Config{}, x, &fakeStore{})
		requests := asked(x)
		for hours := 10; hours <= levels.MinCandles; hours++ {
			snap, err := a.Analyze(t.Context(), Request{Symbol: "P000USDT", Store: true})
			if young := hours < levels.MinCandles; young != errors.Is(err, levels.ErrTooFewCandles) || !young && snap.Klines != hours {
				t.Errorf("after %d hours: %d klines, %v", hours, snap.Klines, err)
			}
			if want := 1 + hours/levels.MinCandles; len(*requests) != want {
				t.Errorf("after %d hours: asked for candles since %v", hours, *requests)
			}
			err = a.Candles(t.Context(), Key{Symbol: "P000USDT", Interval: "1h"}, 100, func(c *levels.Candles) error {
				if c.Len() != hours {
					t.Errorf("after %d hours fn got %d candles", hours, c.Len())
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			*requests = (*requests)[:1]
			time.Sleep(time.Hour)
		}
	})
}

func TestAnalyze_WithoutStoringKeepsNoCandles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		a := newTestAnalyzer(t, Config{}, &fakeExchange{}, store)
		if _, err := a.Analyze(t.Context(), Request{Symbol: "P000USDT"}); err != nil {
			t.Fatal(err)
		}
		if n := keptCandles(t, store).Len(); n > 0 {
			t.Errorf("%d candles are kept", n)
		}
	})
}

func TestCandles_AreLentFromTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, store := &fakeExchange{}, &fakeStore{}
		a := newTestAnalyzer(t, Config{}, x, store)
		analyzeOne(t, a, 200)
		time.Sleep(90 * time.Minute)
		requests := asked(x)
		puts := len(store.puts)
		for _, limit := range []int{1, 3, 150, 200} {
			err := a.Candles(t.Context(), Key{Symbol: "P000USDT", Interval: "1h"}, limit, func(c *levels.Candles) error {
				if age := time.Since(time.UnixMilli(c.AsOf())); c.Len() != limit || c.Missing() != 0 || age >= time.Hour {
					t.Errorf("%d of %d candles, %d missing, the last closed %v ago", c.Len(), limit, c.Missing(), age)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
		for _, from := range *requests {
			if time.Since(from) > 3*time.Hour {
				t.Errorf("asked for candles since %v", from)
			}
		}
		if len(store.puts) != puts {
			t.Error("reading klines stored candles")
		}
	})
}

// Where the exchange has fewer candles than are kept, a longer analysis uses the kept ones
// and does not replace them by the fewer.
func TestAnalyze_KeptCandlesLengthenAShortHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, store := &fakeExchange{history: 150}, &fakeStore{}
		a := newTestAnalyzer(t, Config{}, x, store)
		analyzeOne(t, a, 200)
		time.Sleep(100 * time.Hour)
		if got := analyzeOne(t, a, 200); got.Klines != 200 {
			t.Errorf("%d candles, want the 150 of the first analysis and newer ones", got.Klines)
		}
		a = newTestAnalyzer(t, Config{KlineLimit: 400}, x, store)
		kept := keptCandles(t, store).Len()
		requests := asked(x)
		for range 3 {
			if got := analyzeOne(t, a, 400); got.Klines < kept || keptCandles(t, store).Len() < kept {
				t.Fatalf("%d candles, and %d kept, of %d", got.Klines, keptCandles(t, store).Len(), kept)
			}
			time.Sleep(time.Hour)
			kept++
		}
		if first := (*requests)[len(*requests)-1]; time.Since(first) > 4*time.Hour {
			t.Errorf("asked for candles since %v", first)
		}
	})
}

// A trade that is reported after the close changes the last kept candle. That is no reason
// to fetch all again, which would lose what is older than the history of the exchange; but
// a change that no trade can make is one.
func TestAnalyze_LateTradesChangeTheLastCandleOnly(t *testing.T) {
	for name, c := range map[string]struct {
		late   func(k *levels.Candle)
		klines int
	}{
		"volume":   {func(k *levels.Candle) { k.Volume++ }, 200},
		"price":    {func(k *levels.Candle) { k.Volume, k.High, k.Close = k.Volume+1, k.High+1, k.High+1 }, 200},
		"another":  {func(k *levels.Candle) { k.Open, k.Volume = k.Low, k.Volume+1 }, 150},
		"narrower": {func(k *levels.Candle) { k.High, k.Volume = max(k.Open, k.Close), k.Volume+1 }, 150},
	} {
		synctest.Test(t, func(t *testing.T) {
			x, store := &fakeExchange{history: 150, late: true}, &fakeStore{}
			a := newTestAnalyzer(t, Config{}, x, store)
			analyzeOne(t, a, 200)
			time.Sleep(100 * time.Hour)
			analyzeOne(t, a, 200)
			kept := keptCandles(t, store)
			last := kept.OpenTime[kept.Len()-1]
			x.CandlesFunc = func(_ context.Context, _ string, from int64, dst *levels.Candles) error {
				var all levels.Candles
				all.Reset("1h", 0)
				if err := wave(from, &all); err != nil {
					return err
				}
				for i := range all.Len() {
					k := all.At(i)
					if k.OpenTime == last {
						c.late(&k)
					}
					if err := dst.Append(k); err != nil {
						return err
					}
				}
				return nil
			}
			time.Sleep(2 * time.Hour)
			if got := analyzeOne(t, a, 200); got.Klines != c.klines {
				t.Errorf("%s: %d candles, want %d", name, got.Klines, c.klines)
			}
			kept = keptCandles(t, store)
			i, _ := slices.BinarySearch(kept.OpenTime, last)
			var all levels.Candles
			all.Reset("1h", 0)
			if err := x.CandlesFunc(t.Context(), "", last, &all); err != nil {
				t.Fatal(err)
			}
			if want := all.At(0); kept.At(i) != want {
				t.Errorf("%s: kept %+v, want %+v", name, kept.At(i), want)
			}
		})
	}
}

func TestAnalyzer_FetchesAPairWholeWhoseCandlesAreWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, store := &fakeExchange{}, &fakeStore{}
		a := newTestAnalyzer(t, Config{}, x, store)
		analyzeOne(t, a, 200)
		requests := asked(x)
		var got Results
		pair := Pair{Name: "P000USDT", Whole: true}
		err := a.AnalyzeEach(t.Context(), slices.Values([]Pair{pair}), Request{Interval: "1h", KlineLimit: 200, Store: true, Urgent: true}, func(_ Pair, one Analysis, err error) {
			if err != nil {
				t.Error(err)
			}
			got.Add(one)
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(*requests) != 1 || len(got.Candles) != 1 || got.Candles[0].Keep != math.MaxInt64 || len(got.Candles[0].Blocks) < 2 {
			t.Errorf("asked for candles since %v; the change of the stored candles is %+v", *requests, got.Candles)
		}
	})
}

// A corrected candle that is stored already is fetched again, and only what follows it.
func TestAnalyzer_ReplacesACandleThatTheExchangeHasCorrected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, store := &fakeExchange{}, &fakeStore{}
		a := newTestAnalyzer(t, Config{}, x, store)
		analyzeOne(t, a, 200)
		kept := keptCandles(t, store)
		last := kept.Len() - 1
		wrong := kept.OpenTime[last]
		var requests []time.Time
		x.CandlesFunc = func(_ context.Context, _ string, from int64, dst *levels.Candles) error {
			requests = append(requests, time.UnixMilli(from).UTC())
			err := wave(from, dst)
			i, _ := slices.BinarySearch(dst.OpenTime, wrong)
			dst.Volume[i]++
			return err
		}
		pair := Pair{Name: "P000USDT", Corrected: wrong}
		err := a.AnalyzeEach(t.Context(), slices.Values([]Pair{pair}), Request{Interval: "1h", KlineLimit: 200, Store: true, Urgent: true}, func(_ Pair, one Analysis, err error) {
			if err != nil {
				t.Fatal(err)
			}
			var got Results
			got.Add(one)
			if err := store.Put(t.Context(), got); err != nil {
				t.Fatal(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		now := keptCandles(t, store)
		if now.Len() != kept.Len() || now.Volume[last] != kept.Volume[last]+1 || now.At(last-1) != kept.At(last-1) {
			t.Errorf("kept %+v, was %+v", now.At(last), kept.At(last))
		}
		if want := time.UnixMilli(kept.OpenTime[last-1]).UTC(); !slices.Equal(requests, []time.Time{want}) {
			t.Errorf("asked for candles since %v, want %v", requests, want)
		}
	})
}

package repository

// These tests pin the stored candles of a series: an analyzer that uses them gets the
// same candles as one without them, in any order of analyses and processes and for any
// data of the venue; damaged or unsuitable candles are not used.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/levels"
	"tidemark/service"
)

// venue is an exchange with one pair, whose candles a test removes or changes.
type venue struct {
	service.Exchange // an analysis uses only the methods below

	now     int64 // Unix ms
	listed  int64 // first open time
	seed    uint64
	holes   map[int64]bool // open times without a candle
	fetched int            // candles since the test reset it
	asked   int            // requests
}

func (v *venue) Market() service.Market { return service.Market{Exchange: "binance"} }

func (v *venue) Symbol(_ context.Context, name string) (service.Symbol, error) {
	return service.Symbol{Name: name, Trading: true, Tick: service.Tick{Units: 1, Decimals: 2}}, nil
}

func (v *venue) Now(context.Context) (time.Time, error) { return time.UnixMilli(v.now), nil }

func (v *venue) History(levels.Interval) int { return 0 }

func (v *venue) Visit(string, levels.Interval, int) service.Visit { return venueVisit{v} }

// venueVisit never waits.
type venueVisit struct{ *venue }

func (venueVisit) Wait(context.Context) error { return nil }
func (venueVisit) Close()                     {}

func (v *venue) Candles(_ context.Context, _ string, from int64, dst *levels.Candles, _ []byte) error {
	v.asked++
	before := dst.Len()
	err := v.candles(from, dst)
	v.fetched += dst.Len() - before
	return err
}

func (v *venue) candles(from int64, dst *levels.Candles) error {
	step := dst.Interval.Milliseconds()
	for open := max(v.listed, (from+step-1)/step*step); open+step <= v.now; open += step {
		if v.holes[open] {
			continue
		}
		r := rand.New(rand.NewPCG(uint64(open), v.seed))
		cents := func() float64 { return math.Round(10_000+2000*r.Float64()) / 100 }
		o, c, x, y := cents(), cents(), cents(), cents()
		k := levels.Candle{OpenTime: open, Open: o, Close: c, High: max(o, c, x, y), Low: min(o, c, x, y), Volume: math.Round(1e5*r.ExpFloat64()) / 1e3}
		if err := dst.Append(k); err != nil {
			return err
		}
	}
	return nil
}

func analyzerOn(db *DB, v *venue, limit int) *service.Analyzer {
	return service.New(service.Config{
		Concurrency: 1, KlineLimit: limit, QueueLimit: 1, Interval: "1h", Timeout: time.Minute,
	}, []service.Exchange{v}, db, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(io.Discard, nil)))
}

// lent copies what Analyzer.Candles lends.
func lent(t testing.TB, a *service.Analyzer, limit int) (all []levels.Candle) {
	t.Helper()
	err := a.Candles(t.Context(), service.Key{Symbol: "BTCUSDT", Interval: "1h"}, limit, func(c *levels.Candles) error {
		for i := range c.Len() {
			all = append(all, c.At(i))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

const hour = int64(time.Hour / time.Millisecond)

// truth returns the last limit candles of the venue.
func (v *venue) truth(t testing.TB, limit int) (all []levels.Candle) {
	t.Helper()
	c := new(levels.Candles)
	c.Reset("1h", limit+1)
	if err := v.candles(v.now-int64(limit+1)*hour+1, c); err != nil {
		t.Fatal(err)
	}
	for i := max(0, c.Len()-limit); i < c.Len(); i++ {
		all = append(all, c.At(i))
	}
	return all
}

func TestCandles_AnAnalyzerSeesWhatItWouldSeeWithoutThem(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d database) {
		fetched, seen := 0, 0
		for seed := range uint64(8) {
			d := d
			if seed > 0 { // an empty database for each
				if d.url[:6] == "sqlite" {
					d = onSQLite(t)
				} else {
					d = onPostgres(t)
				}
			}
			r := rand.New(rand.NewPCG(seed, 3))
			v := &venue{now: at(0).UnixMilli() + r.Int64N(hour), seed: seed, holes: map[int64]bool{}}
			v.listed = v.now/hour*hour - (60+r.Int64N(1500))*hour
			db := d.open(t)
			// processes that keep different numbers of candles
			all := []*service.Analyzer{analyzerOn(db, v, 600), analyzerOn(db, v, 600)}
			if seed%3 == 0 {
				all[1] = analyzerOn(db, v, 200)
			}
			for step := range 60 {
				switch r.IntN(6) {
				case 0: // within the same candle, or the next
					v.now += r.Int64N(hour)
				case 1: // after a pause
					v.now += r.Int64N(300 * hour)
				case 2: // the venue halts
					for range r.IntN(200) {
						v.holes[v.now/hour*hour] = true
						v.now += hour
					}
				default:
					v.now += hour
				}
				for range r.IntN(3) {
					v.holes[(v.now/hour-r.Int64N(2))*hour] = r.IntN(20) == 0
				}
				if r.IntN(40) == 0 {
					v.seed++ // every candle changes, which the next fetch reveals
					v.now += hour
				}
				a := all[r.IntN(2)]
				limit := []int{100, 130, 200, 600, 600, 600, 600, 600, 600, 900}[r.IntN(10)]
				want := v.truth(t, limit)
				v.fetched = 0
				if got := lent(t, a, limit); !slices.Equal(got, want) {
					t.Fatalf("seed %d, step %d: %d candles are lent, want %d: %v", seed, step, len(got), len(want), differ(got, want))
				}
				snap, err := a.Analyze(t.Context(), service.Request{Symbol: "BTCUSDT", KlineLimit: limit, Store: true})
				switch {
				case errors.Is(err, levels.ErrTooFewCandles) && len(want) < levels.MinCandles:
				case err != nil:
					t.Fatal(err)
				case snap.Klines != len(want):
					t.Fatalf("seed %d, step %d: %d candles analysed, want %d", seed, step, snap.Klines, len(want))
				}
				fetched += v.fetched
				seen += 2 * len(want)
				if n := count(t, db, "candles"); n > 600/service.BlockCandles+3 {
					t.Fatalf("seed %d, step %d: %d blocks are kept of 600 candles", seed, step, n)
				}
			}
		}
		if fetched > seen/2 {
			t.Errorf("%d candles fetched to see %d: hardly any were kept", fetched, seen)
		}
	})
}

func differ(got, want []levels.Candle) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("candle %d is %v, want %v", i, got[i], want[i])
		}
	}
	return "one has more"
}

// kept returns all stored candles of BTCUSDT.
func kept(t testing.TB, db *DB) (*levels.Candles, service.Kept, error) {
	t.Helper()
	c := new(levels.Candles)
	c.Reset("1h", 0)
	k, err := db.Candles(t.Context(), key("BTCUSDT"), 0, c, nil)
	return c, k, err
}

func TestCandles_WhatDoesNotFollowIsNotUsed(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		v := &venue{now: at(0).UnixMilli()}
		a := analyzerOn(db, v, 600)
		if _, err := a.Analyze(t.Context(), service.Request{Symbol: "BTCUSDT", Store: true}); err != nil {
			t.Fatal(err)
		}
		all, k, err := kept(t, db)
		if err != nil || all.Len() < 600 || k.From > all.OpenTime[0] || k.Simulated {
			t.Fatalf("%d candles kept: %+v, %v", all.Len(), k, err)
		}
		third := fmt.Sprint(`(SELECT MAX(span) FROM candles) - `, 2*service.BlockCandles*hour)
		for _, c := range []struct{ what, spoil string }{
			{"a block of another market", `UPDATE candles SET simulated = TRUE WHERE span = ` + third},
			{"a block that begins later", `UPDATE candles SET covered_from = covered_from + 3600000 WHERE span = ` + third},
			{"a missing block", `DELETE FROM candles WHERE span = ` + third},
		} {
			if _, err := exec(t.Context(), db.write, c.spoil); err != nil {
				t.Fatal(err)
			}
			rest, k, err := kept(t, db)
			if err != nil || rest.Len() == 0 || rest.Missing() != 0 || k.From > rest.OpenTime[0] || rest.AsOf() != all.AsOf() || rest.Len() >= all.Len() {
				t.Errorf("%s: %d of %d candles, %+v, %v", c.what, rest.Len(), all.Len(), k, err)
			}
			if got, want := lent(t, a, 600), v.truth(t, 600); !slices.Equal(got, want) {
				t.Errorf("%s: %s", c.what, differ(got, want))
			}
		}
	})
}

func TestCandles_DamageIsSaidAndHealsWithTheNextAnalysis(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		v := &venue{now: at(0).UnixMilli()}
		a := analyzerOn(db, v, 600)
		analyze := func() {
			t.Helper()
			if _, err := a.Analyze(t.Context(), service.Request{Symbol: "BTCUSDT", Store: true}); err != nil {
				t.Fatal(err)
			}
		}
		analyze()
		if _, err := exec(t.Context(), db.write, `UPDATE candles SET block = ? WHERE span = (SELECT MIN(span) FROM candles)`, []byte("rust")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := kept(t, db); !errors.Is(err, service.ErrStorage) || !errors.Is(err, levels.ErrBadBlock) {
			t.Errorf("a damaged block: %v", err)
		}
		analyze()
		if c, _, err := kept(t, db); err != nil || c.Len() < 600 {
			t.Errorf("%d candles kept, %v", c.Len(), err)
		}
		if _, _, err := kept(t, db); err != nil {
			t.Error(err)
		}
	})
}

func TestCandles_NoneKeptIsNotAnalyzed(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		put(t, db, snapshot("BTCUSDT", 0))
		if _, _, err := kept(t, db); !errors.Is(err, service.ErrNotAnalyzed) {
			t.Errorf("%v", err)
		}
	})
}

func TestWithCandles_FindsThePairsWithStoredCandles(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		c := new(levels.Candles)
		c.Reset("1h", 10)
		if err := (&venue{now: 10 * hour}).candles(0, c); err != nil {
			t.Fatal(err)
		}
		put(t, db, snapshot("WITHOUT", 0))
		var changes []service.CandleChange
		for _, k := range []service.Key{
			key("BOTH"), key("CANDLES"), key("UNASKED"),
			{Exchange: "binance", Symbol: "DAILY", Interval: "1d"}, {Exchange: "kraken", Symbol: "ELSEWHERE", Interval: "1h"},
		} {
			changes = append(changes, service.CandleChange{Key: k, Blocks: []service.KeptBlock{{Packed: c.Pack(nil, 0, 5)}, {Span: hour, Packed: c.Pack(nil, 5, 10)}}})
		}
		if err := db.Put(t.Context(), service.Results{Snapshots: []service.Snapshot{snapshot("BOTH", 0)}, Candles: changes}); err != nil {
			t.Fatal(err)
		}
		asked := []string{"WITHOUT", "BOTH", "CANDLES", "DAILY", "ELSEWHERE", "UNKNOWN"}
		for i := range 2 * rowsPerStatement {
			asked = append(asked, fmt.Sprintf("MORE%d", i))
		}
		with, err := db.WithCandles(t.Context(), "binance", "1h", append(asked, "LAST"))
		if want := map[string]bool{"BOTH": true, "CANDLES": true}; err != nil || !maps.Equal(with, want) {
			t.Errorf("with candles are %v, %v; want %v", with, err, want)
		}
	})
}

func TestCandles_StoredWhileAPairWasTakenForNewAreReplaced(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		v := &venue{now: at(0).UnixMilli()}
		a := analyzerOn(db, v, 600)
		store := func(p service.Pair) {
			t.Helper()
			err := a.AnalyzeEach(t.Context(), slices.Values([]service.Pair{p}), service.Request{Interval: "1h", KlineLimit: 600, Store: true},
				func(_ service.Pair, got service.Analysis, err error) {
					var r service.Results
					if r.Add(got); err == nil {
						err = db.Put(t.Context(), r)
					}
					if err != nil {
						t.Error(err)
					}
				})
			if err != nil {
				t.Fatal(err)
			}
		}
		pair := service.Pair{Name: "BTCUSDT", Tick: service.Tick{Units: 1, Decimals: 2}}
		store(pair)
		v.seed, v.now = 1, v.now+3*hour // other candles, so that a mixture shows
		taken := pair
		taken.New = true
		store(taken)
		want := new(levels.Candles)
		want.Reset("1h", 601)
		if err := v.candles(v.now-600*hour, want); err != nil {
			t.Fatal(err)
		}
		got, _, err := kept(t, db)
		if err != nil {
			t.Fatal(err)
		}
		got.KeepLast(600)
		if !slices.Equal(got.OpenTime, want.OpenTime) || !slices.Equal(got.Close, want.Close) {
			t.Errorf("%d candles are kept from %d, want %d from %d, those of the last analysis", got.Len(), got.OpenTime[0], want.Len(), want.OpenTime[0])
		}
	})
}

func TestCandles_KeptBeforeAFirstAnalysisAreNoAnalysis(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		c := new(levels.Candles)
		c.Reset("1h", 10)
		v := &venue{now: 10 * hour}
		if err := v.candles(0, c); err != nil {
			t.Fatal(err)
		}
		change := service.CandleChange{Key: key("BTCUSDT"), Blocks: []service.KeptBlock{{Packed: c.Pack(nil, 0, c.Len())}}}
		if err := db.Put(t.Context(), service.Results{Candles: []service.CandleChange{change}}); err != nil {
			t.Fatal(err)
		}
		if got, _, err := kept(t, db); err != nil || got.Len() != 10 {
			t.Errorf("%d candles kept, %v", got.Len(), err)
		}
		if _, err := db.Snapshot(t.Context(), key("BTCUSDT"), time.Time{}); !errors.Is(err, service.ErrNotAnalyzed) {
			t.Errorf("an analysis of candles alone: %v", err)
		}
		for s, err := range db.Latest(t.Context(), "binance", "1h") {
			t.Errorf("on the screen: %+v, %v", s, err)
		}
		put(t, db, snapshot("BTCUSDT", 0))
		if _, err := db.Snapshot(t.Context(), key("BTCUSDT"), time.Time{}); err != nil {
			t.Error(err)
		}
	})
}

func TestPut_StoresCandlesWithTheirBatchOrNotAtAll(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		v := &venue{now: at(0).UnixMilli()}
		a := analyzerOn(db, v, 600)
		if _, err := a.Analyze(t.Context(), service.Request{Symbol: "BTCUSDT", Store: true}); err != nil {
			t.Fatal(err)
		}
		before, _, _ := kept(t, db)
		// one statement cannot store a series twice, so it fails
		again := service.CandleChange{Key: key("ETHUSDT"), Blocks: []service.KeptBlock{{Packed: nil}}}
		change := service.CandleChange{Key: key("BTCUSDT"), Keep: math.MaxInt64}
		if err := db.Put(t.Context(), service.Results{Snapshots: []service.Snapshot{snapshot("BTCUSDT", 1)}, Candles: []service.CandleChange{change, again}}); !errors.Is(err, service.ErrStorage) {
			t.Fatalf("a block without bytes: %v", err)
		}
		if after, _, err := kept(t, db); err != nil || after.Len() != before.Len() {
			t.Errorf("%d candles kept of %d, %v", after.Len(), before.Len(), err)
		}
		if s, err := db.Snapshot(t.Context(), key("BTCUSDT"), time.Time{}); err != nil || s.AsOf.Equal(at(1)) {
			t.Errorf("the newest analysis is of %v, %v", s.AsOf, err)
		}
	})
}
